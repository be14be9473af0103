/* SPDX-License-Identifier: Apache-2.0 */
/* imp_math.c - elementwise operators, conversions and activations. */
#include <math.h>

#include "frontend/fe_int.h"

bool imp_ew1(OnnxNode *x) { return n_out(x, 0, n_ew1(x, (OpCode)x->row->arg, x->in[0])); }

bool imp_ew2(OnnxNode *x) {
  return n_out(x, 0, n_ew2(x, (OpCode)x->row->arg, x->in[0], x->in[1]));
}

/* a > b is b < a. */
bool imp_ew2_swapped(OnnxNode *x) {
  return n_out(x, 0, n_ew2(x, (OpCode)x->row->arg, x->in[1], x->in[0]));
}

bool imp_xor(OnnxNode *x) {
  return n_out(x, 0, n_ew1(x, OP_not, n_ew2(x, OP_eq, x->in[0], x->in[1])));
}

bool imp_mod(OnnxNode *x) {
  bool is_c = get_int(x, "fmod", 0) != 0;
  if (!is_c && dtype_is_float(n_dtype(x, x->in[0]))) {
    return n_fail(x, DIAG_ONNX_ATTRIBUTE, "Mod of floats needs fmod=1");
  }
  return n_out(x, 0, n_ew2(x, is_c ? OP_fmod : OP_mod, x->in[0], x->in[1]));
}

/* The result has the base's type; a float exponent of an integer base is
** computed in floats. */
bool imp_pow(OnnxNode *x) {
  VlDtype base = n_dtype(x, x->in[0]), exponent = n_dtype(x, x->in[1]);
  VlDtype in = !dtype_is_float(base) && dtype_is_float(exponent) ? exponent : base;
  Val v = n_ew2(x, OP_pow, n_cast(x, x->in[0], in), n_cast(x, x->in[1], in));
  return n_out(x, 0, n_cast(x, v, base));
}

static Val fold_inputs(OnnxNode *x) {
  Val v = x->in[0];
  for (uint32_t i = 1; i < x->n_in; i++) v = n_ew2(x, (OpCode)x->row->arg, v, x->in[i]);
  return v;
}

bool imp_fold(OnnxNode *x) { return n_out(x, 0, fold_inputs(x)); }

bool imp_mean(OnnxNode *x) {
  Val sum = fold_inputs(x);
  return n_out(x, 0, n_ew2(x, OP_div, sum, n_like(x, sum, x->n_in)));
}

bool imp_where(OnnxNode *x) { return n_out(x, 0, n_where(x, x->in[0], x->in[1], x->in[2])); }

bool imp_cast(OnnxNode *x) {
  int64_t to = get_int(x, "to", 0);
  VlDtype t = VLPC_F32;
  if (to < 0 || to > INT32_MAX || !onnx_dtype((int32_t)to, &t)) {
    n_fail(x, DIAG_ONNX_FORM, "a cast to this element type is not supported");
    diag_found(x->im->d, "%s", to < 0 || to > 100 ? "unknown" : onnx_dtype_name((int32_t)to));
    return false;
  }
  return n_out(x, 0, n_cast(x, x->in[0], t));
}

bool imp_cast_like(OnnxNode *x) {
  return n_out(x, 0, n_cast(x, x->in[0], n_dtype(x, x->in[1])));
}

bool imp_clip_attr(OnnxNode *x) {
  Val v = x->in[0];
  if (has_attr(x, "min")) v = n_ew2(x, OP_max, v, n_like(x, v, get_float(x, "min", 0)));
  if (has_attr(x, "max")) v = n_ew2(x, OP_min, v, n_like(x, v, get_float(x, "max", 0)));
  return n_out(x, 0, v);
}

bool imp_clip(OnnxNode *x) {
  Val v = x->in[0];
  for (uint32_t i = 1; i < x->n_in; i++) {
    if (!val_ok(x->in[i])) continue;
    if (n_rank(x, x->in[i]) > 1) return n_fail(x, DIAG_ONNX_SHAPE, "a bound of Clip is no scalar");
    v = n_ew2(x, i == 1 ? OP_max : OP_min, v, n_reshape(x, x->in[i], NULL, 0));
  }
  return n_out(x, 0, v);
}

bool imp_isinf(OnnxNode *x) {
  bool negative = get_int(x, "detect_negative", 1) != 0;
  bool positive = get_int(x, "detect_positive", 1) != 0;
  Val a = x->in[0], up = n_ew2(x, OP_eq, a, n_like(x, a, INFINITY));
  Val down = n_ew2(x, OP_eq, a, n_like(x, a, -INFINITY)), none = n_scalar(x, VLPC_BOOL, 0);
  if (!positive) up = n_ew2(x, OP_and, up, none);
  if (!negative) down = n_ew2(x, OP_and, down, none);
  return n_out(x, 0, n_ew2(x, OP_or, up, down));
}

/* ---- activations -------------------------------------------------------- */

static Val times(OnnxNode *x, Val a, double f) { return n_ew2(x, OP_mul, a, n_like(x, a, f)); }
static Val plus(OnnxNode *x, Val a, double f) { return n_ew2(x, OP_add, a, n_like(x, a, f)); }
static Val is_below(OnnxNode *x, Val a, double f) { return n_ew2(x, OP_lt, a, n_like(x, a, f)); }

/* alpha * (exp(a / scale) - 1) */
static Val exp_tail(OnnxNode *x, Val a, double alpha, double scale) {
  Val e = n_ew1(x, OP_exp, scale == 1 ? a : n_ew2(x, OP_div, a, n_like(x, a, scale)));
  return times(x, plus(x, e, -1), alpha);
}

/* log(1 + exp(a)) without overflow. */
static Val softplus(OnnxNode *x, Val a) {
  Val e = n_ew1(x, OP_exp, n_ew1(x, OP_neg, n_ew1(x, OP_abs, a)));
  return n_ew2(x, OP_add, n_ew1(x, OP_relu, a), n_ew1(x, OP_log, plus(x, e, 1)));
}

bool imp_elu(OnnxNode *x) {
  Val a = x->in[0], tail = exp_tail(x, a, get_float(x, "alpha", 1), 1);
  return n_out(x, 0, n_where(x, is_below(x, a, 0), tail, a));
}

bool imp_selu(OnnxNode *x) {
  Val a = x->in[0], tail = exp_tail(x, a, get_float(x, "alpha", 1.67326319217681884765625), 1);
  double gamma = get_float(x, "gamma", 1.05070102214813232421875);
  return n_out(x, 0, times(x, n_where(x, is_below(x, a, 0), tail, a), gamma));
}

bool imp_celu(OnnxNode *x) {
  double alpha = get_float(x, "alpha", 1);
  Val a = x->in[0], tail = exp_tail(x, a, alpha, alpha);
  return n_out(x, 0, n_where(x, is_below(x, a, 0), tail, a));
}

bool imp_leaky_relu(OnnxNode *x) {
  Val a = x->in[0], tail = times(x, a, get_float(x, "alpha", 0.01f));
  return n_out(x, 0, n_where(x, is_below(x, a, 0), tail, a));
}

bool imp_prelu(OnnxNode *x) {
  Val a = x->in[0], tail = n_ew2(x, OP_mul, a, x->in[1]);
  return n_out(x, 0, n_where(x, is_below(x, a, 0), tail, a));
}

bool imp_thresholded_relu(OnnxNode *x) {
  Val a = x->in[0], at = n_like(x, a, get_float(x, "alpha", 1));
  return n_out(x, 0, n_where(x, n_ew2(x, OP_lt, at, a), a, n_like(x, a, 0)));
}

static Val hard_sigmoid(OnnxNode *x, Val a, double alpha, double beta) {
  Val v = plus(x, times(x, a, alpha), beta);
  return n_ew2(x, OP_max, n_ew2(x, OP_min, v, n_like(x, a, 1)), n_like(x, a, 0));
}

bool imp_hard_sigmoid(OnnxNode *x) {
  return n_out(x, 0, hard_sigmoid(x, x->in[0], get_float(x, "alpha", 0.2f),
                                  get_float(x, "beta", 0.5)));
}

bool imp_hard_swish(OnnxNode *x) {
  return n_out(x, 0, n_ew2(x, OP_mul, x->in[0], hard_sigmoid(x, x->in[0], 1.0 / 6, 0.5)));
}

bool imp_swish(OnnxNode *x) {
  Val a = x->in[0], s = n_ew1(x, OP_sigmoid, times(x, a, get_float(x, "alpha", 1)));
  return n_out(x, 0, n_ew2(x, OP_mul, a, s));
}

bool imp_softplus(OnnxNode *x) { return n_out(x, 0, softplus(x, x->in[0])); }

bool imp_mish(OnnxNode *x) {
  Val t = n_ew1(x, OP_tanh, softplus(x, x->in[0]));
  return n_out(x, 0, n_ew2(x, OP_mul, x->in[0], t));
}

bool imp_softsign(OnnxNode *x) {
  Val a = x->in[0];
  return n_out(x, 0, n_ew2(x, OP_div, a, plus(x, n_ew1(x, OP_abs, a), 1)));
}

bool imp_shrink(OnnxNode *x) {
  double lambd = get_float(x, "lambd", 0.5), bias = get_float(x, "bias", 0);
  Val a = x->in[0], low = is_below(x, a, -lambd), high = n_ew2(x, OP_lt, n_like(x, a, lambd), a);
  Val v = n_where(x, high, plus(x, a, -bias), n_like(x, a, 0));
  return n_out(x, 0, n_where(x, low, plus(x, a, bias), v));
}

/* ---- GELU --------------------------------------------------------------- */

static Val gelu(OnnxNode *x, Val a, const char *approx) {
  Attr attr = attr_str(A_approx, approx);
  return n_node(x, OP_gelu, 1, &a, 1, &attr);
}

bool imp_gelu(OnnxNode *x) {
  static const char *const forms[] = {"none", "tanh", NULL};
  int form = get_choice(x, "approximate", forms);
  return form >= 0 && n_out(x, 0, gelu(x, x->in[0], form ? "tanh" : "erf"));
}

bool imp_gelu_ms(OnnxNode *x) { return n_out(x, 0, gelu(x, x->in[0], "erf")); }

bool imp_bias_gelu(OnnxNode *x) {
  return n_out(x, 0, gelu(x, n_ew2(x, OP_add, x->in[0], x->in[1]), "erf"));
}

bool imp_fast_gelu(OnnxNode *x) {
  Val a = x->in[0];
  if (val_ok(n_in(x, 1))) a = n_ew2(x, OP_add, a, x->in[1]);
  return n_out(x, 0, gelu(x, a, "tanh"));
}

bool imp_quick_gelu(OnnxNode *x) {
  double alpha = get_float(x, "alpha", 1.702f);
  Val a = x->in[0];
  if (alpha == (double)1.702f) return n_out(x, 0, gelu(x, a, "quick"));
  return n_out(x, 0, n_ew2(x, OP_mul, a, n_ew1(x, OP_sigmoid, times(x, a, alpha))));
}
