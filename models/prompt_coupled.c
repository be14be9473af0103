/* SPDX-License-Identifier: Apache-2.0 */
/* prompt_coupled.c - methods of both towers: IVLP and PromptSRC side by side,
** MaPLe with projections from text to image, DPT. */
#include "models/prompt_int.h"

void prompt_both(Module *m) {
  add_text(m);
  add_vpt(m, "visual.");
}

void prompt_dpt(Module *m) {
  add_text(m);
  add_renewed(m, "visual.ctx", m->plan->vision.depth);
}

/* ---- MaPLe ------------------------------------------------------------------ */

typedef struct {
  const char *weight, *bias;
} Coupling;

/* start NULL: random; otherwise equal to that coupling. */
static Coupling add_coupling(Module *m, const char *name, const Coupling *start) {
  int64_t in = m->plan->host.text_width, out = m->plan->host.vision_width;
  Trainable w = {arena_printf(m->arena, "%s.weight", name), init_linear(in), 2, {out, in}, 0, 0};
  Trainable b = {arena_printf(m->arena, "%s.bias", name), init_linear(in), 1, {out}, 0, 0};
  if (start != NULL) {
    w.init = init_copy(start->weight);
    b.init = init_copy(start->bias);
  }
  Coupling c;
  c.weight = module_trainable(m, &w);
  c.bias = module_trainable(m, &b);
  return c;
}

static void add_pair(Module *m, int64_t l, const char *rows, const Coupling *c) {
  module_text_rows(m, l, rows);
  module_vision_rows(m, l == 0 ? "V.pre" : vision_point(m, l), l,
                     module_linear(m, rows, c->weight, c->bias));
}

static const char *deep_rows(Module *m, int64_t l) {
  const PromptPlan *p = m->plan;
  Trainable t = {.name = arena_printf(m->arena, "compound_prompts_text.%d", (int)l - 1),
                 .init = init_normal(PROMPT_SD),
                 .rank = 2,
                 .size = {p->text.rows, p->host.text_width}};
  return module_trainable(m, &t);
}

/* The deeper couplings start as copies of the first of them. */
void prompt_maple(Module *m) {
  const char *ctx = add_context(m);
  Coupling first = add_coupling(m, "proj", NULL), deep = {NULL, NULL};
  add_pair(m, 0, ctx, &first);
  for (int64_t l = 1; l < m->plan->text.depth; l++) {
    const char *rows = deep_rows(m, l);
    const char *name = arena_printf(m->arena, "compound_prompt_projections.%d", (int)l - 1);
    Coupling c = add_coupling(m, name, l == 1 ? NULL : &deep);
    if (l == 1) deep = c;
    add_pair(m, l, rows, &c);
  }
}

void prompt_maple_unified(Module *m) {
  const char *ctx = add_context(m);
  Coupling c = add_coupling(m, "proj", NULL);
  add_pair(m, 0, ctx, &c);
  for (int64_t l = 1; l < m->plan->text.depth; l++) add_pair(m, l, deep_rows(m, l), &c);
}
