/* SPDX-License-Identifier: Apache-2.0 */
/* plan.c - the ways to run a step of training in --memory. */
#include "cli/plan.h"

#include <inttypes.h>

#define MIB (UINT64_C(1) << 20)

static uint64_t whole_mib(const Model *m, const vlpc_plan *p) {
  return (m->other_bytes + p->activation_bytes + MIB - 1) / MIB;
}

static VlStatus refuse(Cli *c, const Plans *p) {
  uint64_t least = UINT64_MAX;
  for (uint32_t i = 0; i < p->n; i++) least = VL_MIN(least, whole_mib(p->m, &p->at[i]));
  VlStatus s = diag_error(c->diag, DIAG_MEMORY_LIMIT, (DiagAt){c->arg[0], p->entry},
                          "no way to run the step keeps within --memory");
  diag_found(c->diag, "%" PRIu64 " MiB for the leanest", least);
  diag_expected(c->diag, "at most %s", opt(c, memory));
  diag_fix(c->diag, "give --memory %" PRIu64 "M, or a smaller batch or fewer classes", least);
  return s;
}

VlStatus plans_take(Cli *c, Plans *p, plan_fn *plan, void *user) {
  bool fits = !opt_given(c, memory);
  for (;;) {
    vlpc_plan x = {.struct_size = sizeof x};
    VL_TRY(plan(user, p->n, &x));
    if (x.name == NULL || p->n == PLANS_MOST) break;
    fits = fits || x.used;
    p->at[p->n++] = x;
  }
  return fits || p->n == 0 ? VLPC_OK : refuse(c, p);
}

typedef struct {
  Cli *c;
  const Plans *p;
} OfSession;

static VlStatus plan_of_session(void *user, uint32_t i, vlpc_plan *out) {
  const OfSession *of = user;
  const Model *m = of->p->m;
  return fail_session(of->c, m, vlpc_session_plan(m->session, of->p->entry, i, out));
}

VlStatus plans_read(Cli *c, const Model *m, const char *entry, Plans *out) {
  OfSession of = {c, out};
  *out = (Plans){.m = m, .entry = entry};
  return plans_take(c, out, plan_of_session, &of);
}

void plans_print(const Plans *p, FILE *f) {
  fprintf(f, "  %-14s %12s %8s\n", "plan", "memory MiB", "steps");
  for (uint32_t i = 0; i < p->n; i++)
    fprintf(f, "%s %-14s %12" PRIu64 " %8" PRIu32 "\n", p->at[i].used ? "*" : " ", p->at[i].name,
            whole_mib(p->m, &p->at[i]), p->at[i].steps);
}

void plans_json(const Plans *p, Json *j) {
  js_list(j, "plans");
  for (uint32_t i = 0; i < p->n; i++) {
    js_object(j, NULL);
    js_text(j, "plan", p->at[i].name);
    js_int(j, "bytes", (int64_t)(p->m->other_bytes + p->at[i].activation_bytes));
    js_int(j, "activation_bytes", (int64_t)p->at[i].activation_bytes);
    js_int(j, "steps", p->at[i].steps);
    js_int(j, "used", p->at[i].used);
    js_end(j);
  }
  js_end(j);
}
