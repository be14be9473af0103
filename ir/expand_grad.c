/* SPDX-License-Identifier: Apache-2.0 */
/* expand_grad.c - the parts of gradients in primitives, equal in exact
** arithmetic.  Several attention_grad nodes of one attention share scores,
** probabilities and their gradients, because equal nodes are one. */
#include <math.h>
#include <string.h>

#include "ir/ir_int.h"
#include "ir/words.h"

typedef struct {
  Graph *g; /* where nodes go */
  const Graph *src;
  Val v; /* of src: the attributes */
  const Val *in;
  uint32_t n_in;
} Expand;

static Val operand(const Expand *e, uint32_t i) { return i < e->n_in ? e->in[i] : VAL_NONE; }

/* ---- rows ---------------------------------------------------------------- */

static Val expand_softmax_grad(const Expand *e) {
  uint32_t axis = (uint32_t)ir_attr_int(e->src, e->v, A_axis, 0);
  Val dy = operand(e, 0), y = operand(e, 1);
  if (ir_op(e->src, e->v) == OP_log_softmax_grad) {
    Val sum = w_over(e->g, OP_reduce_sum, dy, axis);
    return w_ew2(e->g, OP_sub, dy, w_ew2(e->g, OP_mul, w_ew1(e->g, OP_exp, y), sum));
  }
  Val sum = w_over(e->g, OP_reduce_sum, w_ew2(e->g, OP_mul, dy, y), axis);
  return w_ew2(e->g, OP_mul, y, w_ew2(e->g, OP_sub, dy, sum));
}

static Val expand_layernorm_grad(const Expand *e) {
  Graph *g = e->g;
  Val x = operand(e, 1), dy = operand(e, 0);
  if (val_ok(operand(e, 2))) dy = w_ew2(g, OP_mul, dy, operand(e, 2));
  Val low = w_ew2(g, OP_sub, x, w_over_last(g, OP_reduce_mean, x));
  Val var = w_over_last(g, OP_reduce_mean, w_ew2(g, OP_mul, low, low));
  double eps = ir_attr_float(e->src, e->v, A_eps, 0);
  Val sd = w_ew1(g, OP_sqrt, w_with(g, OP_add, var, eps));
  Val z = w_ew2(g, OP_div, low, sd);
  Val along = w_over_last(g, OP_reduce_mean, w_ew2(g, OP_mul, dy, z));
  Val rest = w_ew2(g, OP_sub, dy, w_over_last(g, OP_reduce_mean, dy));
  return w_ew2(g, OP_div, w_ew2(g, OP_sub, rest, w_ew2(g, OP_mul, z, along)), sd);
}

static Val expand_l2norm_grad(const Expand *e) {
  Graph *g = e->g;
  Val dy = operand(e, 0), x = operand(e, 1);
  double eps = ir_attr_float(e->src, e->v, A_eps, 0);
  Val square = w_over_last(g, OP_reduce_sum, w_ew2(g, OP_mul, x, x));
  Val dots = w_over_last(g, OP_reduce_sum, w_ew2(g, OP_mul, dy, x));
  Val norm = w_ew1(g, OP_sqrt, square), is_short = w_with(g, OP_lt, norm, eps);
  if (!val_ok(is_short)) return VAL_NONE;
  VlDtype t = ir_type_of(g, dy)->dtype;
  Val along = w_where(g, is_short, ir_scalar(g, t, 0), w_ew2(g, OP_div, dots, square));
  Val rest = w_ew2(g, OP_sub, dy, w_ew2(g, OP_mul, x, along));
  return w_ew2(g, OP_div, rest, w_with(g, OP_max, norm, eps));
}

/* ---- gelu ---------------------------------------------------------------- */

/* s + c·x·s·(1-s) for s = sigmoid(c·x) */
static Val slope_quick(Graph *g, Val x) {
  Val cx = w_with(g, OP_mul, x, 1.702), s = w_ew1(g, OP_sigmoid, cx);
  Val bend = w_ew2(g, OP_mul, w_ew2(g, OP_mul, cx, s), w_from(g, OP_sub, 1, s));
  return w_ew2(g, OP_add, s, bend);
}

static Val slope_erf(Graph *g, Val x) {
  Val half = w_with(g, OP_mul, w_ew2(g, OP_mul, x, x), -0.5);
  Val bell = w_with(g, OP_mul, w_ew1(g, OP_exp, half), 1 / sqrt(2 * acos(-1.0)));
  Val e = w_ew1(g, OP_erf, w_with(g, OP_div, x, sqrt(2.0)));
  Val area = w_with(g, OP_mul, w_with(g, OP_add, e, 1), 0.5);
  return w_ew2(g, OP_add, area, w_ew2(g, OP_mul, x, bell));
}

/* (1+t)/2 + x/2·(1-t²)·c·(1+3·0.044715·x²) for t = tanh(c·(x + 0.044715·x³)) */
static Val slope_tanh(Graph *g, Val x) {
  double c = sqrt(2 / acos(-1.0));
  Val square = w_ew2(g, OP_mul, x, x), cube = w_ew2(g, OP_mul, square, x);
  Val sum = w_ew2(g, OP_add, x, w_with(g, OP_mul, cube, 0.044715));
  Val t = w_ew1(g, OP_tanh, w_with(g, OP_mul, sum, c));
  Val inner = w_with(g, OP_add, w_with(g, OP_mul, square, 3 * 0.044715 * c), c);
  Val flat = w_from(g, OP_sub, 1, w_ew2(g, OP_mul, t, t));
  Val bend = w_ew2(g, OP_mul, w_ew2(g, OP_mul, w_with(g, OP_mul, x, 0.5), flat), inner);
  return w_ew2(g, OP_add, w_with(g, OP_mul, w_with(g, OP_add, t, 1), 0.5), bend);
}

static Val expand_gelu_grad(const Expand *e) {
  const char *kind = ir_attr(e->src, e->v, A_approx)->str;
  Val x = operand(e, 1);
  Val slope = strcmp(kind, "quick") == 0 ? slope_quick(e->g, x)
              : strcmp(kind, "erf") == 0 ? slope_erf(e->g, x)
                                         : slope_tanh(e->g, x);
  return w_ew2(e->g, OP_mul, operand(e, 0), slope);
}

/* ---- attention ----------------------------------------------------------- */

/* […, L, h·d] → […, h, L, d] */
static Val split_heads(const Expand *e, Val x) {
  Type t = w_type(e->g, x);
  DimId h = dim_const(ir_dims(e->g), ir_attr_int(e->src, e->v, A_heads, 1));
  t.dim[t.rank] = dim_div(ir_dims(e->g), t.dim[t.rank - 1], h);
  t.dim[t.rank - 1] = h;
  t.rank++;
  return w_move_axis(e->g, w_reshape(e->g, x, t), t.rank - 2, t.rank - 3);
}

static Val hide(Graph *g, Val seen, Val scores) {
  if (!val_ok(scores)) return VAL_NONE;
  return w_where(g, seen, scores, ir_scalar(g, ir_type_of(g, scores)->dtype, -INFINITY));
}

static Val as_column(Graph *g, Val v) {
  if (!val_ok(v)) return VAL_NONE;
  Type t = w_type(g, v);
  return w_reshape(g, v, (Type){t.dtype, 2, {t.dim[0], dim_const(ir_dims(g), 1)}});
}

/* [Lq, Lk]: key j does not come after query i. */
static Val not_later(Graph *g, DimId queries, DimId keys) {
  return w_ew2(g, OP_le, w_iota(g, keys), as_column(g, w_iota(g, queries)));
}

/* [R, R]: row j is in run 0 or in the run of row i, and not after it.  A row's
** run is the number of bounds that are not above it. */
static Val seen_in_runs(Graph *g, Val bounds, DimId rows) {
  int64_t axis = 0;
  Val below = w_cast(g, w_ew2(g, OP_le, as_column(g, bounds), w_iota(g, rows)), VLPC_I64);
  Val run = val_ok(below) ? ir_reduce(g, OP_reduce_sum, below, &axis, 1, false) : VAL_NONE;
  Val own = w_ew2(g, OP_eq, as_column(g, run), run), first = w_with(g, OP_eq, run, 1);
  return w_ew2(g, OP_and, w_ew2(g, OP_or, own, first), not_later(g, rows, rows));
}

static bool is_varlen(const Expand *e) {
  OpCode op = ir_op(e->src, e->v);
  return op == OP_attention_varlen_lse || op == OP_attention_varlen_grad;
}

/* How an attention's operands lie: they stand from `at` on. */
typedef struct {
  uint32_t at, segments;
  bool masked;
} Layout;

static Layout layout_of(const Expand *e, uint32_t at) {
  uint32_t n = e->n_in - at;
  if (is_varlen(e)) return (Layout){at, 1, false};
  return (Layout){at, attention_segments(n), attention_masked(n)};
}

/* Keys (0) or values (1) of all segments, one after another. */
static Val all_segments(const Expand *e, const Layout *l, uint32_t values, Type whole) {
  Val part[ATTENTION_SEGMENTS];
  for (uint32_t s = 0; s < l->segments; s++) {
    part[s] = operand(e, l->at + 1 + 2 * s + values);
    Type t = w_type(e->g, part[s]);
    for (uint32_t i = 0; l->segments > 1 && i + 2 < t.rank; i++) t.dim[i] = whole.dim[i];
    part[s] = w_broadcast(e->g, part[s], t);
    if (!val_ok(part[s])) return VAL_NONE;
  }
  return ir_concat(e->g, part, l->segments, (int64_t)whole.rank - 2);
}

/* […, h, Lq, Lk] with -inf where nothing is seen. */
static Val scores_of(const Expand *e, const Layout *l, Val q, Val k) {
  Graph *g = e->g;
  Val s = w_matmul(g, q, w_transpose(g, k));
  s = w_with(g, OP_mul, s, ir_attr_float(e->src, e->v, A_scale, 1));
  if (!val_ok(s)) return VAL_NONE;
  Type t = w_type(g, s);
  DimId keys = t.dim[t.rank - 1];
  if (is_varlen(e)) return hide(g, seen_in_runs(g, operand(e, l->at + 3), keys), s);
  if (l->masked) s = w_ew2(g, OP_add, s, operand(e, e->n_in - 1));
  if (ir_attr_int(e->src, e->v, A_causal, 0) == 0) return s;
  return hide(g, not_later(g, t.dim[t.rank - 2], keys), s);
}

static Val without_last(Graph *g, Val a) {
  if (!val_ok(a)) return VAL_NONE;
  Type t = w_type(g, a);
  t.rank--;
  return w_reshape(g, a, t);
}

static Val with_last(Graph *g, Val a) {
  if (!val_ok(a)) return VAL_NONE;
  Type t = w_type(g, a);
  t.dim[t.rank++] = dim_const(ir_dims(g), 1);
  return w_reshape(g, a, t);
}

/* […, h, L, d] of all keys or values; VAL_NONE when they cannot be joined. */
static Val joined_heads(const Expand *e, const Layout *l, uint32_t values, Type whole) {
  Val all = all_segments(e, l, values, whole);
  return val_ok(all) ? split_heads(e, all) : VAL_NONE;
}

static Val expand_lse(const Expand *e) {
  Graph *g = e->g;
  Layout l = layout_of(e, 0);
  Val k = joined_heads(e, &l, 0, *ir_type_of(e->src, e->v));
  Val s = scores_of(e, &l, split_heads(e, operand(e, 0)), k);
  Val top = w_over_last(g, OP_reduce_max, s), blind = w_with(g, OP_eq, top, -INFINITY);
  if (!val_ok(blind)) return VAL_NONE;
  VlDtype t = ir_type_of(g, s)->dtype;
  Val from = w_where(g, blind, ir_scalar(g, t, 0), top);
  Val power = w_ew1(g, OP_exp, w_ew2(g, OP_sub, s, from));
  Val log = w_ew1(g, OP_log, w_over_last(g, OP_reduce_sum, power));
  Val lse = w_where(g, blind, ir_scalar(g, t, INFINITY), w_ew2(g, OP_add, from, log));
  return without_last(g, lse);
}

/* dx [batch…, h, L, d] as rows of the operand, summed over a batch that it has
** but once. */
static Val rows_of(const Expand *e, Val dx, Val like) {
  if (!val_ok(dx)) return VAL_NONE;
  Type t = w_type(e->g, like), whole = w_type(e->g, dx);
  Type rows = t;
  for (uint32_t i = 0; i + 2 < t.rank; i++) rows.dim[i] = whole.dim[i];
  uint32_t rank = whole.rank;
  Val y = w_reshape(e->g, w_move_axis(e->g, dx, rank - 3, rank - 2), rows);
  return w_sum_to(e->g, y, t);
}

/* The part of dx [batch…, h, L, d] that belongs to one segment. */
static Val segment_of(const Expand *e, const Layout *l, Val dx, uint32_t segment) {
  if (!val_ok(dx)) return VAL_NONE;
  DimTable *d = ir_dims(e->g);
  DimId at = dim_const(d, 0), n = DIM_NONE;
  uint32_t rank = ir_type_of(e->g, dx)->rank;
  for (uint32_t s = 0; s <= segment; s++) {
    if (s > 0) at = dim_add(d, at, n);
    n = ir_type_of(e->g, operand(e, l->at + 1 + 2 * s))->dim[rank - 3];
  }
  return ir_slice_axis(e->g, dx, rank - 2, at, n);
}

static Val expand_attention_grad(const Expand *e) {
  Graph *g = e->g;
  Layout l = layout_of(e, 3);
  uint32_t of = (uint32_t)ir_attr_int(e->src, e->v, A_operand, 0);
  Val to = operand(e, 3 + of), q = split_heads(e, operand(e, 3));
  Val k = joined_heads(e, &l, 0, w_type(g, operand(e, 0)));
  Val v = joined_heads(e, &l, 1, w_type(g, operand(e, 0)));
  Val dy = split_heads(e, operand(e, 0)), y = split_heads(e, operand(e, 1));
  Val s = scores_of(e, &l, q, k);
  Val p = w_ew1(g, OP_exp, w_ew2(g, OP_sub, s, with_last(g, operand(e, 2))));
  bool is_mask = l.masked && of == 1 + 2 * l.segments;
  if (of > 0 && of % 2 == 0 && !is_mask)
    return rows_of(e, segment_of(e, &l, w_matmul(g, w_transpose(g, p), dy), of / 2 - 1), to);
  Val dp = w_matmul(g, dy, w_transpose(g, v));
  Val mean = w_over_last(g, OP_reduce_sum, w_ew2(g, OP_mul, dy, y));
  Val ds = w_ew2(g, OP_mul, p, w_ew2(g, OP_sub, dp, mean));
  if (is_mask) return val_ok(ds) ? w_sum_to(g, ds, w_type(g, to)) : VAL_NONE;
  ds = w_with(g, OP_mul, ds, ir_attr_float(e->src, e->v, A_scale, 1));
  if (of == 0) return rows_of(e, w_matmul(g, ds, k), to);
  return rows_of(e, segment_of(e, &l, w_matmul(g, w_transpose(g, ds), q), of / 2), to);
}

Val expand_grad(Graph *dst, const Graph *src, Val v, const Val *in) {
  Expand e = {dst, src, v, in, ir_n_in(src, v)};
  switch ((int)ir_op(src, v)) {
  case OP_softmax_grad:
  case OP_log_softmax_grad: return expand_softmax_grad(&e);
  case OP_layernorm_grad: return expand_layernorm_grad(&e);
  case OP_l2norm_grad: return expand_l2norm_grad(&e);
  case OP_gelu_grad: return expand_gelu_grad(&e);
  case OP_attention_lse:
  case OP_attention_varlen_lse: return expand_lse(&e);
  case OP_attention_grad:
  case OP_attention_varlen_grad: return expand_attention_grad(&e);
  default: return VAL_NONE;
  }
}
