/* SPDX-License-Identifier: Apache-2.0 */
/* prompt_text.c - methods that learn words: CoOp, KgCoOp, deep text, CoCoOp;
** and those that learn nothing. */
#include "models/prompt_int.h"

/* A graph must give something: text features as they are. */
void prompt_nothing(Module *m) {
  OnnxPort port = {"g", VLPC_F32, 2, {-1, m->plan->host.embed}, {"classes"}};
  Tap t = {.port = port, .from = "T.feat"};
  const char *g = module_tap(m, &t);
  port.name = "text";
  module_write(m, "T.feat", NULL, module_output(m, g, &port));
}

/* The same: its templates are the declaration's (prompt.c). */
void prompt_ensemble(Module *m) {
  prompt_nothing(m);
}

const char *add_context(Module *m) {
  const PromptPlan *p = m->plan;
  Trainable t = {.name = "ctx", .init = init_normal(PROMPT_SD), .class_rows = p->class_rows};
  if (p->phrase != NULL) t.init = init_words(p->phrase);
  if (p->class_rows) t.size[t.rank++] = p->classes;
  t.size[t.rank++] = p->text.rows;
  t.size[t.rank++] = p->host.text_width;
  return module_trainable(m, &t);
}

void add_text(Module *m) {
  const PromptPlan *p = m->plan;
  module_text_rows(m, 0, add_context(m));
  for (int64_t l = 1; l < p->text.depth; l++) {
    Trainable t = {.name = arena_printf(m->arena, "text.resblocks.%d.VPT_shallow", (int)l),
                   .init = init_normal(PROMPT_SD),
                   .rank = 2,
                   .size = {p->text.rows, p->host.text_width}};
    module_text_rows(m, l, module_trainable(m, &t));
  }
}

void prompt_text(Module *m) {
  add_text(m);
}

/* A linear layer's trainables; x · weightᵀ + bias. */
static const char *layer(Module *m, const char *x, const char *name, int64_t in, int64_t out) {
  Trainable w = {arena_printf(m->arena, "%s.weight", name), init_linear(in), 2, {out, in}, 0, 0};
  Trainable b = {arena_printf(m->arena, "%s.bias", name), init_linear(in), 1, {out}, 0, 0};
  const char *weight = module_trainable(m, &w);
  return module_linear(m, x, weight, module_trainable(m, &b));
}

/* Every row of the context moves by the image's own vector, so that each image
** has texts of its own: [images, 1, rows, width]. */
void prompt_cocoop(Module *m) {
  const PromptPlan *p = m->plan;
  int64_t width = p->host.text_width, embed = p->host.embed;
  int64_t inner = embed / 16 > 0 ? embed / 16 : 1;
  const char *ctx = add_context(m);
  Tap f = {.port = {"f", VLPC_F32, 2, {-1, embed}, {"images"}},
           .from = "V.feat.norm",
           .stop = true};
  const char *x = layer(m, module_tap(m, &f), "meta_net.linear1", embed, inner);
  x = layer(m, M_OP1("Relu", x), "meta_net.linear2", inner, width);
  x = onnx_reshape(m->g, x, 4, (int64_t[]){-1, 1, 1, width});
  OnnxPort port = {"t0", VLPC_F32, 4, {-1, 1, p->text.rows, width}, {"images"}};
  module_write(m, "T.emb", "slot", module_output(m, M_OP2("Add", x, ctx), &port));
  m->lift = true;
}
