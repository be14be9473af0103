/* SPDX-License-Identifier: Apache-2.0 */
/* prompt_loss.c - losses as graphs: taps in, the scalar `loss` out.
**
** Weights are the plan's.  Where a loss compares with the model as it is
** without prompts, that model's results are taps of their own (frozen.…). */
#include <math.h>

#include "models/prompt_int.h"

void loss_none(Module *m) {
  (void)m;
}

/* ---- taps ------------------------------------------------------------------- */

static const char *scores(Module *m, const char *name, const char *from) {
  Tap t = {.port = {name, VLPC_F32, 2, {-1, -1}, {"images", "classes"}}, .from = from};
  return module_tap(m, &t);
}

static const char *labels(Module *m) {
  Tap t = {.port = {"labels", VLPC_I64, 1, {-1}, {"images"}}, .from = "labels"};
  return module_tap(m, &t);
}

static const char *features(Module *m, const char *name, const char *from, const char *rows) {
  Tap t = {.port = {name, VLPC_F32, 2, {-1, m->plan->host.embed}, {rows}}, .from = from};
  return module_tap(m, &t);
}

#define IMAGE(m) features(m, "image", "V.feat", "images")
#define TEXT(m) features(m, "text", "T.feat", "classes")
#define FROZEN_IMAGE(m) features(m, "frozen_image", "frozen.V.feat", "images")
#define FROZEN_TEXT(m) features(m, "frozen_text", "frozen.T.feat", "classes")
#define FROZEN_SCORES(m) scores(m, "frozen_logits", "frozen.logits")

/* ---- parts ------------------------------------------------------------------ */

static const char *entropy(Module *m, const char *logits, const char *label) {
  const char *y = M_OP2("SoftmaxCrossEntropyLoss", logits, label);
  return y; /* the mean, which is its default */
}

static const char *mean(Module *m, const char *x) {
  const char *y = M_OP1("ReduceMean", x);
  onnx_attr_int(m->g, "keepdims", 0);
  return y;
}

static const char *sum_rows(Module *m, const char *x) {
  const char *y = M_OP2("ReduceSum", x, onnx_ints(m->g, 1, (int64_t[]){-1}));
  onnx_attr_int(m->g, "keepdims", 0);
  return y;
}

static const char *sum_all(Module *m, const char *x) {
  const char *y = M_OP1("ReduceSum", x);
  onnx_attr_int(m->g, "keepdims", 0);
  return y;
}

static const char *cosines(Module *m, const char *unit_rows, const char *unit_cols) {
  return M_OP2("MatMul", unit_rows, onnx_transpose(m->g, unit_cols, 2, (int64_t[]){1, 0}));
}

static const char *log_softmax(Module *m, const char *x) {
  const char *y = M_OP1("LogSoftmax", x);
  onnx_attr_int(m->g, "axis", -1);
  return y;
}

static void finish(Module *m, const char *x) {
  OnnxPort port = {.name = "loss", .dtype = VLPC_F32};
  module_output(m, x, &port);
}

/* ---- losses ------------------------------------------------------------------ */

void loss_ce(Module *m) {
  const char *logits = scores(m, "logits", "logits");
  finish(m, entropy(m, logits, labels(m)));
}

/* CE + w_text (1 - mean cosine of learned and hand-written texts) */
void loss_kgcoop(Module *m) {
  const char *logits = scores(m, "logits", "logits"), *ce = entropy(m, logits, labels(m));
  const char *a = module_unit(m, TEXT(m)), *b = module_unit(m, FROZEN_TEXT(m));
  const char *cosine = mean(m, sum_rows(m, M_OP2("Mul", a, b)));
  const char *apart = M_OP2("Sub", onnx_float(m->g, 1), cosine);
  finish(m, M_OP2("Add", ce, module_scaled(m, apart, m->plan->weights.text)));
}

static const char *apart(Module *m, const char *a, const char *b, double weight) {
  const char *d = M_OP2("Sub", module_unit(m, a), module_unit(m, b));
  return module_scaled(m, mean(m, M_OP1("Abs", d)), weight);
}

/* CE + w_text L1 of texts + w_image L1 of images + w_logit KL(frozen ‖ prompted) /
** (images · classes) */
void loss_promptsrc(Module *m) {
  const char *logits = scores(m, "logits", "logits"), *ce = entropy(m, logits, labels(m));
  const char *text = TEXT(m), *image = IMAGE(m);
  const char *l1 = M_OP2("Add", apart(m, text, FROZEN_TEXT(m), m->plan->weights.text),
                         apart(m, image, FROZEN_IMAGE(m), m->plan->weights.image));
  const char *teacher = log_softmax(m, FROZEN_SCORES(m));
  const char *away = M_OP2("Sub", teacher, log_softmax(m, logits));
  const char *kl = mean(m, M_OP2("Mul", M_OP1("Exp", teacher), away));
  kl = module_scaled(m, kl, m->plan->weights.logit);
  finish(m, M_OP2("Add", M_OP2("Add", ce, l1), kl));
}

/* CE + w_image CE over the batch: each image's feature finds its own frozen one.  Row i
** of that is logsumexp of its cosines less the i-th. */
void loss_provp_ref(Module *m) {
  const char *logits = scores(m, "logits", "logits"), *ce = entropy(m, logits, labels(m));
  const char *z = module_unit(m, IMAGE(m)), *u = module_unit(m, FROZEN_IMAGE(m));
  m->whole_batch = true;
  const char *all = M_OP1("Log", sum_rows(m, M_OP1("Exp", cosines(m, z, u))));
  const char *own = sum_rows(m, M_OP2("Mul", z, u));
  const char *apart = mean(m, M_OP2("Sub", all, own));
  finish(m, M_OP2("Add", ce, module_scaled(m, apart, m->plan->weights.image)));
}

/* CE(frozen image, text) + CE(image, frozen text) + w_logit CE(image, text).
** The scale of scores is that of the frozen ones: the ratio of their norm to that of the
** frozen cosines. */
static const char *mixed_pairs(Module *m, const char *label) {
  const char *logits = scores(m, "logits", "logits"), *frozen = FROZEN_SCORES(m);
  const char *f = module_unit(m, IMAGE(m)), *g = module_unit(m, TEXT(m));
  const char *f0 = module_unit(m, FROZEN_IMAGE(m)), *g0 = module_unit(m, FROZEN_TEXT(m));
  const char *c0 = cosines(m, f0, g0);
  const char *ratio = M_OP2("Div", sum_all(m, M_OP2("Mul", frozen, frozen)),
                            sum_all(m, M_OP2("Mul", c0, c0)));
  const char *scale = M_OP1("Sqrt", ratio);
  const char *a = entropy(m, M_OP2("Mul", cosines(m, f0, g), scale), label);
  const char *b = entropy(m, M_OP2("Mul", cosines(m, f, g0), scale), label);
  const char *own = module_scaled(m, entropy(m, logits, label), m->plan->weights.logit);
  return M_OP2("Add", M_OP2("Add", a, b), own);
}

void loss_dpt(Module *m) {
  finish(m, mixed_pairs(m, labels(m)));
}

/* w_aux times the mean CE of the class-aware rows whose class is the label, 0 when
** there is none. */
static const char *class_rows(Module *m, const char *label) {
  const PromptPlan *p = m->plan;
  Tap z = {.port = {"layer_logits", VLPC_F32, 3, {-1, p->top, -1}, {"images", NULL, "classes"}},
           .from = "aux.layer_logits"};
  Tap k = {.port = {"picked", VLPC_I64, 2, {-1, p->top}, {"images"}}, .from = "aux.picked"};
  m->whole_batch = true;
  const char *logits = module_tap(m, &z), *picked = module_tap(m, &k);
  const char *column = onnx_reshape(m->g, label, 2, (int64_t[]){-1, 1});
  const char *hit = M_OP2("Equal", picked, column);
  const char *zero = M_OP2("Mul", picked, onnx_int(m->g, 0)); /* as picked, all zeros */
  const char *index = onnx_reshape(m->g, M_OP2("Add", zero, column), 3, (int64_t[]){0, 0, 1});
  const char *own = M_OP2("GatherElements", log_softmax(m, logits), index);
  onnx_attr_int(m->g, "axis", 2);
  own = onnx_reshape(m->g, own, 2, (int64_t[]){0, 0});
  const char *count = M_OP1("Cast", hit);
  onnx_attr_int(m->g, "to", 1); /* float32 */
  const char *sum = sum_all(m, M_OP2("Mul", own, count));
  const char *most = M_OP2("Max", sum_all(m, count), onnx_float(m->g, 1));
  return module_scaled(m, M_OP2("Div", sum, most), -p->weights.aux);
}

void loss_cavpt(Module *m) {
  const char *label = labels(m), *pairs = mixed_pairs(m, label);
  finish(m, M_OP2("Add", pairs, class_rows(m, label)));
}

void loss_cavpt_later(Module *m) {
  const char *logits = scores(m, "logits", "logits"), *label = labels(m);
  const char *ce = entropy(m, logits, label);
  finish(m, M_OP2("Add", ce, class_rows(m, label)));
}
