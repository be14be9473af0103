/* SPDX-License-Identifier: Apache-2.0 */
/* prompt_adapter.c - methods that change features or scores: CLIP-Adapter,
** Tip-Adapter. */
#include "models/prompt_int.h"

#define ADAPTED 0.2 /* share of CLIP-Adapter's network */

static const char *layer(Module *m, const char *x, const char *name, int64_t in, int64_t out) {
  Trainable t = {name, init_linear(in), 2, {out, in}, 0, 0};
  return M_OP1("Relu", module_linear(m, x, module_trainable(m, &t), NULL));
}

/* 0.2 · relu(W2 relu(W1 f)) + 0.8 · f */
void prompt_clip_adapter(Module *m) {
  int64_t embed = m->plan->host.embed, inner = embed / 4 > 0 ? embed / 4 : 1;
  Tap t = {.port = {"f", VLPC_F32, 2, {-1, embed}, {"images"}}, .from = "V.feat"};
  const char *f = module_tap(m, &t);
  const char *x = layer(m, f, "fc.0.weight", embed, inner);
  x = layer(m, x, "fc.2.weight", inner, embed);
  x = M_OP2("Add", module_scaled(m, x, ADAPTED), module_scaled(m, f, 1 - ADAPTED));
  OnnxPort out = {"adapted", VLPC_F32, 2, {-1, embed}, {"images"}};
  module_write(m, "V.feat", NULL, module_output(m, x, &out));
}

static const char *number(Module *m, const char *name, double start) {
  Trainable t = {.name = name, .init = init_fill(start), .fixed = true};
  return module_trainable(m, &t);
}

/* logits + alpha · exp(-beta (1 - f · keysᵀ)) · valuesᵀ, a row of values for each
** class.  All of it comes with the prompt set; only the keys are ever learned
** (Tip-Adapter-F). */
void prompt_tip_adapter(Module *m) {
  const PromptPlan *p = m->plan;
  int64_t embed = p->host.embed;
  Tap t = {.port = {"f", VLPC_F32, 2, {-1, embed}, {"images"}}, .from = "V.feat.norm"};
  Tap s = {.port = {"scores", VLPC_F32, 2, {-1, -1}, {"images", "classes"}}, .from = "logits"};
  Trainable k = {"keys", init_fill(0), 2, {p->keys, embed}, 0, 0};
  Trainable v = {
      "values", init_fill(0), 2, {p->classes, p->keys}, .class_rows = true, .fixed = true};
  const char *f = module_tap(m, &t), *scores = module_tap(m, &s);
  const char *near = module_linear(m, f, module_trainable(m, &k), NULL);
  const char *values = module_trainable(m, &v);
  const char *far = M_OP2("Sub", near, onnx_float(m->g, 1));
  const char *weight = M_OP1("Exp", M_OP2("Mul", far, number(m, "beta", 5.5)));
  const char *x = module_linear(m, weight, values, NULL);
  x = M_OP2("Mul", x, number(m, "alpha", 1));
  OnnxPort out = {"scored", VLPC_F32, 2, {-1, p->classes}, {"images"}};
  module_write(m, "logits", NULL, module_output(m, M_OP2("Add", scores, x), &out));
}
