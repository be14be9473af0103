/* SPDX-License-Identifier: Apache-2.0 */
/* index.c - gathers whose indices are known or partly known.
**
** in:     gather and gather_nd as exporters write x[i], x[:, 0], x[arange, eot]
**         and mask[b, j]
** out:    slices and reshapes where the indices are 0, 1, 2 … or one number;
**         gather_nd{batch_dims=1}(x, eot) where row b reads x[b, eot[b]]
** method: an index is taken apart into a sum of counters (iota along an axis of
**         the index, times a factor), a number and at most one other value. */
#include "passes/pass_int.h"

typedef struct {
  int64_t c;
  int64_t coef[VLPC_MAX_RANK]; /* of the position along each axis of the index */
  Val other;                   /* VAL_NONE: nothing else */
} Affine;

static bool affine(Graph *g, Val v, Affine *out);

/* A counter of n positions along one axis, all other axes 1. */
static bool is_axis(const Graph *g, const Type *t, uint32_t axis) {
  for (uint32_t i = 0; i < t->rank; i++)
    if (i != axis && !m_dim_is(g, t->dim[i], 1)) return false;
  return true;
}

/* The index is made of few nodes, so taking it apart ends soon. */
static bool shallow_within(const Graph *g, Val v, int *budget) {
  if (--*budget < 0) return false;
  for (uint32_t i = 0; i < ir_n_in(g, v); i++)
    if (val_ok(ir_in(g, v, i)) && op_info(ir_op(g, v))->kind != K_REDUCE &&
        !shallow_within(g, ir_in(g, v, i), budget))
      return false;
  return true;
}

static bool is_shallow(const Graph *g, Val v) {
  int budget = 2 * CHAIN_MAX;
  return shallow_within(g, v, &budget);
}

/* c + step · position along the one axis that is not 1. */
static bool affine_const(Graph *g, Val v, Affine *out) {
  enum { CAP = 4096 };
  int64_t *at = arena_array(ir_arena(g), int64_t, CAP);
  uint32_t n = 0, axis = 0;
  const Type *t = ir_type_of(g, v);
  if (!ir_const_ints(g, v, at, CAP, &n) || n == 0) return false;
  while (axis + 1 < t->rank && m_dim_is(g, t->dim[axis], 1)) axis++;
  if (t->rank > 0 && !is_axis(g, t, axis)) return false;
  int64_t step = n > 1 ? at[1] - at[0] : 0;
  for (uint32_t i = 0; i < n; i++)
    if (at[i] != at[0] + step * (int64_t)i) return false;
  out->c = at[0];
  out->coef[axis] = step;
  return true;
}

static bool affine_sum(Graph *g, Val v, int64_t sign, Affine *out) {
  Affine a = {0}, b = {0};
  Val x = ir_in(g, v, 0), y = ir_in(g, v, 1);
  if (!affine(g, x, &a)) a = (Affine){.other = x};
  if (!affine(g, y, &b)) b = (Affine){.other = y};
  if (val_ok(b.other) && (val_ok(a.other) || sign < 0)) return false;
  uint32_t rank = ir_type_of(g, v)->rank, ra = ir_type_of(g, x)->rank, rb = ir_type_of(g, y)->rank;
  out->c = a.c + sign * b.c;
  for (uint32_t i = 0; i < rank; i++) {
    if (i + ra >= rank) out->coef[i] += a.coef[i + ra - rank];
    if (i + rb >= rank) out->coef[i] += sign * b.coef[i + rb - rank];
  }
  out->other = val_ok(a.other) ? a.other : b.other;
  return true;
}

static bool affine_product(Graph *g, Val v, Affine *out) {
  for (uint32_t i = 0; i < 2; i++) {
    double f = 0;
    Affine a = {0};
    Val x = ir_in(g, v, 1 - i);
    if (!m_splat(g, ir_in(g, v, i), &f) || !affine(g, x, &a) || val_ok(a.other)) continue;
    uint32_t rank = ir_type_of(g, v)->rank, from = rank - ir_type_of(g, x)->rank;
    out->c = a.c * (int64_t)f;
    for (uint32_t k = from; k < rank; k++) out->coef[k] = a.coef[k - from] * (int64_t)f;
    return true;
  }
  return false;
}

/* Axes of size 1 come or go. */
static bool affine_reshape(Graph *g, Val v, Affine *out) {
  Affine a = {0};
  Val x = ir_in(g, v, 0);
  if (!affine(g, x, &a) || val_ok(a.other)) return false;
  Type s = *ir_type_of(g, x), t = *ir_type_of(g, v);
  uint32_t i = 0;
  for (uint32_t k = 0; k < t.rank; k++) {
    if (m_dim_is(g, t.dim[k], 1)) continue;
    while (i < s.rank && m_dim_is(g, s.dim[i], 1)) i++;
    if (i == s.rank || s.dim[i] != t.dim[k]) return false;
    out->coef[k] = a.coef[i++];
  }
  out->c = a.c;
  return true;
}

static bool affine_broadcast(Graph *g, Val v, Affine *out) {
  Affine a = {0};
  Val x = ir_in(g, v, 0);
  if (!affine(g, x, &a) || val_ok(a.other)) return false;
  Type s = *ir_type_of(g, x);
  uint32_t from = ir_type_of(g, v)->rank - s.rank;
  out->c = a.c;
  for (uint32_t k = 0; k < s.rank; k++)
    if (!m_dim_is(g, s.dim[k], 1)) out->coef[from + k] = a.coef[k];
  return true;
}

/* False when nothing is known of v. */
static bool affine(Graph *g, Val v, Affine *out) {
  *out = (Affine){0};
  if (!is_shallow(g, v)) return false;
  switch ((int)ir_op(g, v)) {
  case OP_const: return affine_const(g, v, out);
  case OP_iota: out->coef[0] = 1; return true;
  case OP_add: return affine_sum(g, v, 1, out);
  case OP_sub: return affine_sum(g, v, -1, out);
  case OP_mul: return affine_product(g, v, out);
  case OP_reshape: return affine_reshape(g, v, out);
  case OP_broadcast: return affine_broadcast(g, v, out);
  case OP_cast: return dtype_is_int(ir_type_of(g, ir_in(g, v, 0))->dtype) &&
                       affine(g, ir_in(g, v, 0), out);
  default: return false;
  }
}

/* Position along `axis`, once, and nothing else. */
static bool is_counter(const Affine *a, uint32_t rank, uint32_t axis) {
  if (val_ok(a->other) || a->c != 0) return false;
  for (uint32_t i = 0; i < rank; i++)
    if (a->coef[i] != (i == axis)) return false;
  return true;
}

/* v is argmax over an axis of that size: so 0 <= v < size. */
static bool is_argmax_below(const Graph *g, Val v, DimId size) {
  for (int i = 0; i < CHAIN_MAX && (m_is(g, v, OP_reshape) || m_is(g, v, OP_cast)); i++)
    v = ir_in(g, v, 0);
  if (!m_is(g, v, OP_argmax)) return false;
  const Type *t = ir_type_of(g, ir_in(g, v, 0));
  int64_t axis = ir_attr_int(g, v, A_axis, 0);
  return axis >= 0 && axis < t->rank && t->dim[axis] == size;
}

/* ---- one index, or a range -------------------------------------------------- */

static Val reshape_like(Rewrite *rw, Val src, Val v) {
  const Type *t = ir_type_of(rw->src, src);
  return ir_reshape(rw->dst, v, t->dim, t->rank);
}

/* The one axis of the index that counts upwards, or none: all positions then
** read one row.  *n is how many rows are read. */
static bool is_range(Graph *g, Val index, const Affine *a, DimId *n) {
  const Type *t = ir_type_of(g, index);
  *n = dim_const(ir_dims(g), 1);
  for (uint32_t i = 0; i < t->rank; i++) {
    if (m_dim_is(g, t->dim[i], 1)) continue;
    if (a->coef[i] != 1 || !m_dim_is(g, *n, 1)) return false;
    *n = t->dim[i];
  }
  return true;
}

/* x[:, 2] and x[:, 0:n] */
static Val gather_range(Rewrite *rw, Val src, Val x, Val index) {
  Graph *g = rw->dst;
  Affine a;
  DimId n = DIM_NONE;
  uint32_t axis = (uint32_t)ir_attr_int(rw->src, src, A_axis, 0);
  if (!affine(g, index, &a) || val_ok(a.other) || !is_range(g, index, &a, &n)) return VAL_NONE;
  DimId all = ir_type_of(g, x)->dim[axis], from = dim_const(ir_dims(g), a.c);
  int64_t size = 0, count = 0;
  if (a.c < 0) from = dim_add(ir_dims(g), all, from);
  bool is_known = dim_is_const(ir_dims(g), n, &count);
  if (a.c < 0 && (!is_known || a.c + count > 0)) return VAL_NONE;
  if (is_known && dim_is_const(ir_dims(g), all, &size) && (a.c < -size || a.c + count > size))
    return VAL_NONE;
  Val s = ir_slice_axis(g, x, axis, from, n);
  return val_ok(s) ? reshape_like(rw, src, s) : VAL_NONE;
}

/* ---- rows of a flattened pair of axes --------------------------------------- */

/* x viewed with its first axis as two: hi × lo. */
static Val two_axes(Graph *g, Val x, DimId hi, DimId lo) {
  Type t = *ir_type_of(g, x);
  if (t.rank == VLPC_MAX_RANK) return VAL_NONE;
  DimId dim[VLPC_MAX_RANK] = {hi, lo};
  for (uint32_t i = 1; i < t.rank; i++) dim[i + 1] = t.dim[i];
  return ir_reshape(g, x, dim, t.rank + 1);
}

static Val rows_of(Graph *g, Val x, Val index, DimId batch) {
  DimId dim[2] = {batch, dim_const(ir_dims(g), 1)};
  Val in[2] = {x, ir_reshape(g, index, dim, 2)};
  Attr at = attr_int(A_batch_dims, 1);
  return val_ok(in[1]) ? ir_node(g, OP_gather_nd, 2, in, 1, &at) : VAL_NONE;
}

/* x[(b · L) + eot[b]] of x[B·L, …] */
static Val gather_row(Rewrite *rw, Val x, Val index, const Affine *a) {
  Graph *g = rw->dst;
  const Type *t = ir_type_of(g, index);
  DimId lo = dim_const(ir_dims(g), a->coef[0]);
  if (t->rank != 1 || a->c != 0 || !is_argmax_below(g, a->other, lo)) return VAL_NONE;
  DimId hi = t->dim[0];
  if (dim_mul(ir_dims(g), hi, lo) != ir_type_of(g, x)->dim[0]) return VAL_NONE;
  Val pairs = two_axes(g, x, hi, lo);
  return val_ok(pairs) ? rows_of(g, pairs, a->other, hi) : VAL_NONE;
}

/* x[(b · L) + j] of x[B·L, …], b and j along two axes of the index: a reshape. */
static Val gather_all(Rewrite *rw, Val src, Val x, Val index, const Affine *a) {
  Graph *g = rw->dst;
  const Type *t = ir_type_of(g, index);
  DimId below = dim_const(ir_dims(g), 1);
  if (a->c != 0) return VAL_NONE;
  for (uint32_t i = t->rank; i-- > 0;) {
    if (m_dim_is(g, t->dim[i], 1)) continue;
    if (!m_dim_is(g, below, a->coef[i])) return VAL_NONE;
    below = dim_mul(ir_dims(g), below, t->dim[i]);
  }
  return below == ir_type_of(g, x)->dim[0] ? reshape_like(rw, src, x) : VAL_NONE;
}

static Val index_gather(Rewrite *rw, Val src, const Val *in) {
  Graph *g = rw->dst;
  Val v = gather_range(rw, src, in[0], in[1]);
  if (val_ok(v) || ir_attr_int(rw->src, src, A_axis, 0) != 0) return v;
  Affine a;
  if (m_const(g, in[0]) || !affine(g, in[1], &a)) return VAL_NONE;
  return val_ok(a.other) ? gather_row(rw, in[0], in[1], &a) : gather_all(rw, src, in[0], in[1], &a);
}

/* ---- gather_nd(x, [b, eot[b]]) and gather_nd(x, [b, j]) ---------------------- */

static Val nd_operand(Graph *g, Val index, uint32_t i) {
  if (m_is(g, index, OP_cast)) index = ir_in(g, index, 0);
  bool is_pair = m_is(g, index, OP_concat) && ir_n_in(g, index) == 2;
  const Type *t = ir_type_of(g, index);
  if (!is_pair || ir_attr_int(g, index, A_axis, 0) + 1 != t->rank) return VAL_NONE;
  return m_dim_is(g, m_last_dim(g, ir_in(g, index, i)), 1) ? ir_in(g, index, i) : VAL_NONE;
}

/* The axis of t along which v counts to the size of x's axis; -1: none. */
static int64_t counts_along(Graph *g, Val v, DimId size) {
  Affine a;
  Type t = *ir_type_of(g, v);
  if (!affine(g, v, &a)) return -1;
  for (uint32_t i = 0; i < t.rank; i++)
    if (t.dim[i] == size && is_counter(&a, t.rank, i)) return i;
  return -1;
}

static Val index_gather_nd(Rewrite *rw, Val src, const Val *in) {
  Graph *g = rw->dst;
  Val first = nd_operand(g, in[1], 0), second = nd_operand(g, in[1], 1);
  Type x = *ir_type_of(g, in[0]), t = *ir_type_of(g, in[1]);
  if (ir_attr_int(rw->src, src, A_batch_dims, 0) != 0 || x.rank < 2) return VAL_NONE;
  if (!val_ok(first) || !val_ok(second)) return VAL_NONE;
  int64_t b = counts_along(g, first, x.dim[0]), j = counts_along(g, second, x.dim[1]);
  if (b < 0) return VAL_NONE;
  if (b == 0 && t.rank == 2 && is_argmax_below(g, second, x.dim[1]))
    return rows_of(g, in[0], second, x.dim[0]);
  if (j <= b) return VAL_NONE;
  for (uint32_t i = 0; i + 1 < t.rank; i++)
    if (i != b && i != j && !m_dim_is(g, t.dim[i], 1)) return VAL_NONE;
  return reshape_like(rw, src, in[0]);
}

Val pass_index(Rewrite *rw, Val src, const Val *in, uint32_t n_in) {
  (void)n_in;
  if (ir_op(rw->src, src) == OP_gather) return index_gather(rw, src, in);
  if (ir_op(rw->src, src) == OP_gather_nd) return index_gather_nd(rw, src, in);
  return VAL_NONE;
}
