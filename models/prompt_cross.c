/* SPDX-License-Identifier: Apache-2.0 */
/* prompt_cross.c - DPT's class-aware rows (CAVPT).
**
**   G = prompted text features of the classes that the frozen model likes best
**   Q0 = meta(G)     KV = [class row and patches before the last layer │ learned rows]
**   O = softmax(qmlp(Q0) kmlp(KV)ᵀ / √32) KV, then vmlp
**   rows = LayerNorm2(O + Q0)     layer logits = classfiers(LayerNorm(O))
**
** Values are projected after they are mixed, and no gradient enters KV's image
** rows: both as in DPT's own code, whose spelling the trainables keep. */
#include <math.h>

#include "models/prompt_int.h"

enum { INNER = 32 }; /* width of queries and keys */

#define EXTRACTOR "extractor."

static const char *matrix(Module *m, const char *name, int64_t out, int64_t in) {
  Trainable t = {name, init_linear(in), 2, {out, in}, 0, 0};
  return module_trainable(m, &t);
}

static const char *norm(Module *m, const char *x, const char *name) {
  int64_t width = m->plan->host.vision_width;
  Trainable w = {arena_printf(m->arena, "%s.weight", name), init_fill(1), 1, {width}, 0, 0};
  Trainable b = {arena_printf(m->arena, "%s.bias", name), init_fill(0), 1, {width}, 0, 0};
  const char *weight = module_trainable(m, &w), *bias = module_trainable(m, &b);
  const char *y = onnx_op(m->g, "LayerNormalization", x, weight, bias);
  onnx_attr_int(m->g, "axis", -1);
  onnx_attr_float(m->g, "epsilon", 1e-5f);
  return y;
}

/* Indices [images, top] of the classes with the largest frozen scores, best first. */
static const char *best_classes(Module *m) {
  Tap s = {.port = {"scores", VLPC_F32, 2, {-1, -1}, {"images", "classes"}},
           .from = "frozen.logits",
           .stop = true};
  M_OP2("TopK", module_tap(m, &s), onnx_ints(m->g, 1, &m->plan->top));
  onnx_attr_int(m->g, "axis", -1);
  return onnx_second(m->g);
}

/* Prompted text features of those classes, as queries' raw form [images, top, width]. */
static const char *queries(Module *m, const char *picked) {
  int64_t embed = m->plan->host.embed, width = m->plan->host.vision_width;
  Tap g = {.port = {"g", VLPC_F32, 2, {-1, embed}, {"classes"}}, .from = "T.feat"};
  const char *rows = onnx_gather(m->g, module_tap(m, &g), picked, 0);
  Trainable b = {EXTRACTOR "meta_nets.0.bias", init_linear(embed), 1, {width}, 0, 0};
  const char *weight = matrix(m, EXTRACTOR "meta_nets.0.weight", width, embed);
  return module_linear(m, rows, weight, module_trainable(m, &b));
}

/* What the queries look at: [images, rows + learned, width]. */
static const char *keys(Module *m, const char *point) {
  const PromptPlan *p = m->plan;
  int64_t width = p->host.vision_width;
  Tap t = {.port = {"x", VLPC_F32, 3, {-1, -1, width}, {"images", "rows"}},
           .from = point,
           .segment = "cls+patch",
           .stop = true};
  Trainable own = {EXTRACTOR "ctx", init_normal(PROMPT_SD), 3, {1, p->vision.rows, width}, 0, 0};
  const char *x = module_tap(m, &t), *learned = module_trainable(m, &own);
  const char *images = onnx_gather(m->g, M_OP1("Shape", x), onnx_ints(m->g, 1, (int64_t[]){0}), 0);
  const char *shape =
      M_OP2("Concat", images, onnx_ints(m->g, 2, (int64_t[]){p->vision.rows, width}));
  onnx_attr_int(m->g, "axis", 0);
  const char *y = M_OP2("Concat", x, M_OP2("Expand", learned, shape));
  onnx_attr_int(m->g, "axis", 1);
  return y;
}

static const char *attend(Module *m, const char *q0, const char *kv) {
  int64_t width = m->plan->host.vision_width;
  const char *wk = matrix(m, EXTRACTOR "attns.0.kmlp.weight", INNER, width);
  const char *wq = matrix(m, EXTRACTOR "attns.0.qmlp.weight", INNER, width);
  const char *k = module_linear(m, kv, wk, NULL), *q = module_linear(m, q0, wq, NULL);
  const char *score = M_OP2("MatMul", q, onnx_transpose(m->g, k, 3, (int64_t[]){0, 2, 1}));
  const char *share = M_OP1("Softmax", module_scaled(m, score, 1 / sqrt((double)INNER)));
  onnx_attr_int(m->g, "axis", -1);
  const char *value = matrix(m, EXTRACTOR "attns.0.vmlp.weight", width, width);
  return module_linear(m, M_OP2("MatMul", share, kv), value, NULL);
}

/* What the loss of the class-aware rows reads. */
static void give_layer_logits(Module *m, const char *o, const char *picked) {
  const PromptPlan *p = m->plan;
  Trainable t = {EXTRACTOR "classfiers.0.weight",
                 init_linear(p->host.vision_width),
                 2,
                 {p->classes, p->host.vision_width},
                 .class_rows = true};
  const char *z = norm(m, o, EXTRACTOR "lns.0");
  z = module_linear(m, z, module_trainable(m, &t), NULL);
  OnnxPort logits = {"layer_logits", VLPC_F32, 3, {-1, p->top, p->classes}, {"images"}};
  OnnxPort index = {"picked", VLPC_I64, 2, {-1, p->top}, {"images"}};
  module_output(m, z, &logits);
  module_output(m, picked, &index);
}

void prompt_cavpt(Module *m) {
  const PromptPlan *p = m->plan;
  int64_t last = p->host.vision_layers - 1;
  const char *point = vision_point(m, last);
  add_text(m);
  add_renewed(m, "visual.ctx", last);
  const char *picked = best_classes(m), *kv = keys(m, point), *q0 = queries(m, picked);
  const char *o = attend(m, q0, kv);
  give_layer_logits(m, o, picked);
  const char *rows = norm(m, M_OP2("Add", o, q0), EXTRACTOR "lns2.0");
  OnnxPort port = {arena_printf(m->arena, "v%d", (int)last),
                   VLPC_F32,
                   3,
                   {-1, p->top, p->host.vision_width},
                   {"images"}};
  module_write(m, point, "prompt", module_output(m, rows, &port));
}
