/* SPDX-License-Identifier: Apache-2.0 */
/* prompt_visual.c - methods that learn rows beside the patches: VPT in both
** ports, ProVP. */
#include <math.h>

#include "models/prompt_int.h"

/* The share of the rows that come from the layer before, in ProVP. */
#define PROVP_KEPT 0.01

void add_vpt(Module *m, const char *prefix) {
  const PromptPlan *p = m->plan;
  Trainable t = {.init = init_normal(PROMPT_SD),
                 .rank = 2,
                 .size = {p->vision.rows, p->host.vision_width}};
  t.name = arena_printf(m->arena, "%sVPT", prefix);
  module_vision_rows(m, "V.pre", 0, module_trainable(m, &t));
  for (int64_t l = 1; l < p->vision.depth; l++) {
    t.name = arena_printf(m->arena, "%sresblocks.%d.VPT_shallow", prefix, (int)l);
    module_vision_rows(m, vision_point(m, l), l, module_trainable(m, &t));
  }
}

void prompt_vpt(Module *m) {
  add_vpt(m, "");
}

/* Rows of equal number follow each other, so dropping and inserting is
** overwriting; after the last of them they go. */
void add_renewed(Module *m, const char *name, int64_t depth) {
  const PromptPlan *p = m->plan;
  Trainable t = {.name = name,
                 .init = init_normal(PROMPT_SD),
                 .rank = 3,
                 .size = {depth, p->vision.rows, p->host.vision_width}};
  const char *rows = module_trainable(m, &t);
  for (int64_t l = 0; l < depth; l++)
    module_vision_rows(m, vision_point(m, l), l, module_part(m, rows, l));
  if (depth < p->host.vision_layers) module_drop(m, vision_point(m, depth));
}

void prompt_vpt_dpt(Module *m) {
  add_renewed(m, "ctx", m->plan->vision.depth);
}

/* 0.01 · what comes from the layer before + 0.99 · the layer's own rows. */
static void add_mixed(Module *m, int64_t l, const char *own) {
  const PromptPlan *p = m->plan;
  const char *point = vision_point(m, l), *name = arena_printf(m->arena, "v%d", (int)l);
  OnnxPort in = {arena_printf(m->arena, "x%d", (int)l),
                 VLPC_F32,
                 3,
                 {-1, p->vision.rows, p->host.vision_width},
                 {"images"}};
  OnnxPort out = in;
  out.name = name;
  Tap t = {.port = in, .from = point, .segment = "prompt"};
  const char *kept = module_scaled(m, module_tap(m, &t), PROVP_KEPT);
  const char *mixed = M_OP2("Add", kept, module_scaled(m, own, 1 - PROVP_KEPT));
  module_write(m, point, "prompt", module_output(m, mixed, &out));
}

/* The bound is VPT's for patches of 14 pixels, whatever they are, and there may be
** rows for more layers than the model has: so in ProVP's own code, which has 12. */
void prompt_provp(Module *m) {
  const PromptPlan *p = m->plan;
  double width = (double)p->host.vision_width;
  Trainable t = {.name = "prompt_embeddings",
                 .init = init_uniform(sqrt(6 / (3.0 * 14 * 14 + width))),
                 .rank = 3,
                 .size = {p->vision.depth, p->vision.rows, p->host.vision_width}};
  const char *rows = module_trainable(m, &t);
  module_vision_rows(m, "V.0", 0, module_part(m, rows, 0));
  int64_t depth = VL_MIN(p->vision.depth, p->host.vision_layers);
  for (int64_t l = 1; l < depth; l++) add_mixed(m, l, module_part(m, rows, l));
}
