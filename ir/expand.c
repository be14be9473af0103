/* SPDX-License-Identifier: Apache-2.0 */
/* expand.c - the semantic ops in primitives, equal in exact arithmetic.
**
** Used where a backend has no kernel, by tests, and as the definition that
** docs/ir.md shows.  Every function takes the operands as values of dst. */
#include <math.h>
#include <string.h>

#include "ir/ir_int.h"

typedef struct {
  Graph *g; /* where nodes go */
  const Graph *src;
  Val v; /* of src: the attributes */
  const Val *in;
  uint32_t n_in;
} Expand;

/* ---- words --------------------------------------------------------------- */

static Val operand(const Expand *e, uint32_t i) { return i < e->n_in ? e->in[i] : VAL_NONE; }

static const Type *type_of(const Expand *e, Val v) { return ir_type_of(e->g, v); }

static Val number(const Expand *e, Val like, double v) {
  return ir_scalar(e->g, type_of(e, like)->dtype, v);
}

static Val apply(const Expand *e, OpCode op, Val a, Val b) {
  return val_ok(a) && val_ok(b) ? ir_ew2(e->g, op, a, b) : VAL_NONE;
}

static Val with_number(const Expand *e, OpCode op, Val a, double v) {
  return val_ok(a) ? ir_ew2(e->g, op, a, number(e, a, v)) : VAL_NONE;
}

static Val apply1(const Expand *e, OpCode op, Val a) {
  return val_ok(a) ? ir_ew1(e->g, op, a) : VAL_NONE;
}

static Val over_axis(const Expand *e, OpCode op, Val a, int64_t axis) {
  return val_ok(a) ? ir_reduce(e->g, op, a, &axis, 1, true) : VAL_NONE;
}

static Val over_last(const Expand *e, OpCode op, Val a) {
  return val_ok(a) ? over_axis(e, op, a, (int64_t)type_of(e, a)->rank - 1) : VAL_NONE;
}

static Val select(const Expand *e, Val c, Val a, Val b) {
  Val in[3] = {c, a, b};
  return val_ok(c) && val_ok(a) && val_ok(b) ? ir_node(e->g, OP_where, 3, in, 0, NULL) : VAL_NONE;
}

static Val reshape(const Expand *e, Val a, const DimId *dim, uint32_t n) {
  return val_ok(a) ? ir_reshape(e->g, a, dim, n) : VAL_NONE;
}

static Val permute(const Expand *e, Val a, const int64_t *perm, uint32_t n) {
  return val_ok(a) ? ir_permute(e->g, a, perm, n) : VAL_NONE;
}

static DimId size(const Expand *e, int64_t v) { return dim_const(ir_dims(e->g), v); }

/* ---- rows ---------------------------------------------------------------- */

static Val expand_softmax(const Expand *e) {
  int64_t axis = ir_attr_int(e->src, e->v, A_axis, 0);
  Val x = operand(e, 0);
  Val low = apply(e, OP_sub, x, over_axis(e, OP_reduce_max, x, axis));
  Val power = apply1(e, OP_exp, low);
  Val sum = over_axis(e, OP_reduce_sum, power, axis);
  if (ir_op(e->src, e->v) == OP_softmax) return apply(e, OP_div, power, sum);
  return apply(e, OP_sub, low, apply1(e, OP_log, sum));
}

static Val expand_layernorm(const Expand *e) {
  Val x = operand(e, 0), gamma = operand(e, 1), beta = operand(e, 2);
  Val low = apply(e, OP_sub, x, over_last(e, OP_reduce_mean, x));
  Val var = over_last(e, OP_reduce_mean, apply(e, OP_mul, low, low));
  Val sd = apply1(e, OP_sqrt, with_number(e, OP_add, var, ir_attr_float(e->src, e->v, A_eps, 0)));
  Val y = apply(e, OP_div, low, sd);
  if (val_ok(gamma)) y = apply(e, OP_mul, y, gamma);
  return val_ok(beta) ? apply(e, OP_add, y, beta) : y;
}

static Val expand_l2norm(const Expand *e) {
  Val x = operand(e, 0);
  Val norm = apply1(e, OP_sqrt, over_last(e, OP_reduce_sum, apply(e, OP_mul, x, x)));
  norm = with_number(e, OP_max, norm, ir_attr_float(e->src, e->v, A_eps, 0));
  return apply(e, OP_div, x, norm);
}

static Val expand_gelu(const Expand *e) {
  const char *kind = ir_attr(e->src, e->v, A_approx)->str;
  Val x = operand(e, 0);
  if (strcmp(kind, "quick") == 0)
    return apply(e, OP_mul, x, apply1(e, OP_sigmoid, with_number(e, OP_mul, x, 1.702)));
  Val inner;
  if (strcmp(kind, "erf") == 0) {
    inner = apply1(e, OP_erf, with_number(e, OP_div, x, sqrt(2.0)));
  } else {
    Val cube = apply(e, OP_mul, apply(e, OP_mul, x, x), x);
    Val sum = apply(e, OP_add, x, with_number(e, OP_mul, cube, 0.044715));
    inner = apply1(e, OP_tanh, with_number(e, OP_mul, sum, sqrt(2 / acos(-1.0))));
  }
  return apply(e, OP_mul, with_number(e, OP_mul, x, 0.5), with_number(e, OP_add, inner, 1));
}

/* ---- weights ------------------------------------------------------------- */

static Val times_weights(const Expand *e, Val x) {
  Val y = apply(e, OP_matmul, x, operand(e, 1));
  return val_ok(operand(e, 2)) ? apply(e, OP_add, y, operand(e, 2)) : y;
}

static Val expand_linear(const Expand *e) { return times_weights(e, operand(e, 0)); }

static Val expand_embedding(const Expand *e) {
  Attr axis = attr_int(A_axis, 0);
  return ir_node(e->g, OP_gather, 2, e->in, 1, &axis);
}

/* [b,c,H,W] → [b,c,rows,ph,columns,pw] → [b,rows,columns,c,ph,pw] → rows. */
static Val expand_patch_embed(const Expand *e) {
  DimTable *d = ir_dims(e->g);
  Type t = *type_of(e, operand(e, 0)), w = *type_of(e, operand(e, 1));
  const int64_t *patch = ir_attr(e->src, e->v, A_patch)->ints;
  DimId ph = size(e, patch[0]), pw = size(e, patch[1]);
  DimId rows = dim_div(d, t.dim[2], ph), columns = dim_div(d, t.dim[3], pw);
  DimId split[6] = {t.dim[0], t.dim[1], rows, ph, columns, pw};
  DimId joined[3] = {t.dim[0], dim_mul(d, rows, columns), w.dim[0]};
  Val x = reshape(e, operand(e, 0), split, 6);
  x = permute(e, x, (int64_t[]){0, 2, 4, 1, 3, 5}, 6);
  return times_weights(e, reshape(e, x, joined, 3));
}

/* ---- attention ----------------------------------------------------------- */

/* […, L, h·d] → […, h, L, d], or […, h, d, L] for keys. */
static Val split_heads(const Expand *e, Val x, bool keys) {
  Type t = *type_of(e, x);
  uint32_t n = t.rank;
  int64_t perm[VLPC_MAX_RANK];
  DimId h = size(e, ir_attr_int(e->src, e->v, A_heads, 1));
  t.dim[n] = dim_div(ir_dims(e->g), t.dim[n - 1], h);
  t.dim[n - 1] = h;
  for (uint32_t i = 0; i < n; i++) perm[i] = i;
  perm[n - 2] = n - 1;
  perm[n - 1] = keys ? n : n - 2;
  perm[n] = keys ? n - 2 : n;
  return permute(e, reshape(e, x, t.dim, n + 1), perm, n + 1);
}

static Val join_heads(const Expand *e, Val x) {
  Type t = *type_of(e, x), out = t;
  uint32_t n = t.rank - 1;
  int64_t perm[VLPC_MAX_RANK];
  for (uint32_t i = 0; i <= n; i++) perm[i] = i;
  perm[n - 2] = n - 1;
  perm[n - 1] = n - 2;
  out.dim[n - 2] = t.dim[n - 1];
  out.dim[n - 1] = dim_mul(ir_dims(e->g), t.dim[n - 2], t.dim[n]);
  return reshape(e, permute(e, x, perm, n + 1), out.dim, n);
}

/* All keys (0) or values (1), one segment after another. */
static Val all_segments(const Expand *e, uint32_t values) {
  Val part[ATTENTION_SEGMENTS];
  uint32_t n = attention_segments(e->n_in);
  Type all = *ir_type_of(e->src, e->v);
  for (uint32_t s = 0; s < n; s++) {
    part[s] = operand(e, 1 + 2 * s + values);
    Type t = *type_of(e, part[s]);
    for (uint32_t i = 0; n > 1 && i + 2 < t.rank; i++) t.dim[i] = all.dim[i];
    part[s] = ir_broadcast(e->g, part[s], t.dim, t.rank);
    if (!val_ok(part[s])) return VAL_NONE;
  }
  return ir_concat(e->g, part, n, (int64_t)all.rank - 2);
}

static Val count_to(const Expand *e, DimId n) {
  Attr dims = attr_dims(A_dims, &n, 1);
  return ir_node(e->g, OP_iota, 0, NULL, 1, &dims);
}

/* Query i sees keys 0 … i. */
static Val hide_later(const Expand *e, Val scores) {
  Type t = *type_of(e, scores);
  DimId column[2] = {t.dim[t.rank - 2], size(e, 1)};
  Val i = reshape(e, count_to(e, column[0]), column, 2);
  Val seen = apply(e, OP_le, count_to(e, t.dim[t.rank - 1]), i);
  return select(e, seen, scores, number(e, scores, -INFINITY));
}

/* softmax over the last axis that gives zeros when all is -inf. */
static Val masked_softmax(const Expand *e, Val scores) {
  Val top = over_last(e, OP_reduce_max, scores);
  Val none = with_number(e, OP_eq, top, -INFINITY);
  Val low = apply(e, OP_sub, scores, select(e, none, number(e, top, 0), top));
  Val power = apply1(e, OP_exp, low);
  Val sum = over_last(e, OP_reduce_sum, power);
  return apply(e, OP_div, power, select(e, none, number(e, sum, 1), sum));
}

static Val expand_attention(const Expand *e) {
  Val keys = all_segments(e, 0), values = all_segments(e, 1);
  if (!val_ok(keys) || !val_ok(values)) return VAL_NONE;
  Val q = split_heads(e, operand(e, 0), false), k = split_heads(e, keys, true);
  Val v = split_heads(e, values, false);
  double scale = ir_attr_float(e->src, e->v, A_scale, 1);
  Val scores = with_number(e, OP_mul, apply(e, OP_matmul, q, k), scale);
  if (attention_masked(e->n_in)) scores = apply(e, OP_add, scores, operand(e, e->n_in - 1));
  if (val_ok(scores) && ir_attr_int(e->src, e->v, A_causal, 0)) scores = hide_later(e, scores);
  Val y = apply(e, OP_matmul, masked_softmax(e, scores), v);
  return val_ok(y) ? join_heads(e, y) : VAL_NONE;
}

/* Which run each row is in: how many bounds are not above it, as a row vector. */
static Val run_of_rows(const Expand *e, DimId rows) {
  Type b = *type_of(e, operand(e, 3));
  DimId column[2] = {b.dim[0], size(e, 1)};
  Val not_above = apply(e, OP_le, reshape(e, operand(e, 3), column, 2), count_to(e, rows));
  Val ones = val_ok(not_above) ? ir_cast(e->g, not_above, VLPC_I64) : VAL_NONE;
  return ir_reduce(e->g, OP_reduce_sum, ones, (int64_t[]){0}, 1, false);
}

/* scores[h, i, j] where j is seen from i, else -inf. */
static Val hide_other_runs(const Expand *e, Val scores) {
  DimId rows = type_of(e, operand(e, 0))->dim[0], column[2] = {rows, size(e, 1)};
  Val run_j = run_of_rows(e, rows), run_i = reshape(e, run_j, column, 2);
  Val first = ir_cast(e->g, ir_scalar(e->g, VLPC_F32, 1), VLPC_I64);
  Val seen = apply(e, OP_or, apply(e, OP_eq, run_i, run_j), apply(e, OP_eq, run_j, first));
  Val earlier = apply(e, OP_le, count_to(e, rows), reshape(e, count_to(e, rows), column, 2));
  return select(e, apply(e, OP_and, seen, earlier), scores, number(e, scores, -INFINITY));
}

static Val expand_varlen(const Expand *e) {
  Val q = split_heads(e, operand(e, 0), false), k = split_heads(e, operand(e, 1), true);
  Val v = split_heads(e, operand(e, 2), false);
  double scale = ir_attr_float(e->src, e->v, A_scale, 1);
  Val scores = with_number(e, OP_mul, apply(e, OP_matmul, q, k), scale);
  if (val_ok(scores)) scores = hide_other_runs(e, scores);
  Val y = apply(e, OP_matmul, masked_softmax(e, scores), v);
  return val_ok(y) ? join_heads(e, y) : VAL_NONE;
}

Val ir_expand(Graph *dst, const Graph *src, Val v, const Val *in) {
  Expand e = {dst, src, v, in, ir_n_in(src, v)};
  switch ((int)ir_op(src, v)) {
  case OP_softmax:
  case OP_log_softmax: return expand_softmax(&e);
  case OP_layernorm: return expand_layernorm(&e);
  case OP_l2norm: return expand_l2norm(&e);
  case OP_gelu: return expand_gelu(&e);
  case OP_linear: return expand_linear(&e);
  case OP_embedding: return expand_embedding(&e);
  case OP_patch_embed: return expand_patch_embed(&e);
  case OP_attention: return expand_attention(&e);
  case OP_attention_varlen: return expand_varlen(&e);
  default: return expand_grad(dst, src, v, in);
  }
}
