/* SPDX-License-Identifier: Apache-2.0 */
/* scale.c - the factor of cosines: the graph's own, the one asked for, that of the artifact
** the towers come from, or the one of all released CLIPs. */
#include <math.h>
#include <string.h>

#include "compiler/compiler.h"

/* exp(logit_scale) of released CLIPs, whose towers in files of their own do not hold it. */
#define SCALE_OTHERWISE 100.0
#define SCALE_MOST 1e6 /* of the manifest */

static bool scale_in_graph(const Graph *g, double *out) {
  const Named *point = NULL;
  uint32_t n = ir_points(g, &point);
  for (uint32_t i = 0; i < n; i++) {
    if (strcmp(point[i].name, "logits") != 0) continue;
    Val v = point[i].v;
    if (ir_op(g, v) == OP_permute) v = ir_in(g, v, 0);
    for (uint32_t k = 0; ir_op(g, v) == OP_mul && k < 2; k++)
      if (ir_is_splat(g, ir_in(g, v, k), out)) return true;
  }
  return false;
}

static VlStatus refuse(Compile *c, const char *what, const char *expected) {
  VlStatus s = diag_error(c->d, DIAG_USAGE, (DiagAt){c->o->models[0], NULL}, "%s", what);
  diag_found(c->d, "%g", c->o->logit_scale);
  diag_expected(c->d, "%s", expected);
  return s;
}

VlStatus compile_logit_scale(Compile *c) {
  double own = 0, asked = c->o->logit_scale;
  if (!(asked >= 0 && asked < SCALE_MOST))
    return refuse(c, "no logit scale", "a factor above 0 and below 1000000, such as 100");
  bool has = scale_in_graph(c->graph, &own);
  if (has && asked > 0 && fabs(asked - own) > 1e-5 * own)
    return refuse(c, "the model has a logit scale of its own", arena_printf(c->a, "%g", own));
  if (has)
    c->logit_scale = own;
  else if (asked > 0)
    c->logit_scale = asked;
  else if (!(c->logit_scale > 0))
    c->logit_scale = SCALE_OTHERWISE;
  return VLPC_OK;
}
