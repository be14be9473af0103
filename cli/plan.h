/* SPDX-License-Identifier: Apache-2.0 */
/* plan.h - the ways to run a step of training, as many bytes as each takes. */
#ifndef VLPC_CLI_PLAN_H
#define VLPC_CLI_PLAN_H

#include <stdio.h>

#include "cli/json.h"
#include "cli/model.h"

#define PLANS_MOST 8

typedef struct {
  const Model *m;
  const char *entry;
  uint32_t n;
  vlpc_plan at[PLANS_MOST];
} Plans;

/* Way i: out->name is NULL past the last. */
typedef VlStatus plan_fn(void *user, uint32_t i, vlpc_plan *out);

/* All ways that plan tells of the step called p->entry in p->m.  Fails as plan does, and with
** MEMORY_LIMIT, naming what would do, when none keeps within --memory. */
VL_MUST_USE VlStatus plans_take(Cli *c, Plans *p, plan_fn *plan, void *user);
/* Of an entry whose inputs are set. */
VL_MUST_USE VlStatus plans_read(Cli *c, const Model *m, const char *entry, Plans *out);
void plans_print(const Plans *p, FILE *f);
void plans_json(const Plans *p, Json *j);

#endif
