/* SPDX-License-Identifier: Apache-2.0 */
/* words.c - see words.h. */
#include "ir/words.h"

#include "ir/ir_int.h"

Type w_type(const Graph *g, Val a) { return *ir_type_of(g, a); }

static Val number(Graph *g, Val like, double c) {
  return ir_scalar(g, ir_type_of(g, like)->dtype, c);
}

/* ---- elementwise --------------------------------------------------------- */

Val w_ew1(Graph *g, OpCode op, Val a) { return val_ok(a) ? ir_ew1(g, op, a) : VAL_NONE; }

Val w_ew2(Graph *g, OpCode op, Val a, Val b) {
  return val_ok(a) && val_ok(b) ? ir_ew2(g, op, a, b) : VAL_NONE;
}

Val w_with(Graph *g, OpCode op, Val a, double c) {
  return val_ok(a) ? ir_ew2(g, op, a, number(g, a, c)) : VAL_NONE;
}

Val w_from(Graph *g, OpCode op, double c, Val a) {
  return val_ok(a) ? ir_ew2(g, op, number(g, a, c), a) : VAL_NONE;
}

Val w_where(Graph *g, Val cond, Val a, Val b) {
  Val in[3] = {cond, a, b};
  if (!val_ok(cond) || !val_ok(a) || !val_ok(b)) return VAL_NONE;
  return ir_node(g, OP_where, 3, in, 0, NULL);
}

Val w_cast(Graph *g, Val a, VlDtype to) { return val_ok(a) ? ir_cast(g, a, to) : VAL_NONE; }

/* ---- moves --------------------------------------------------------------- */

Val w_reshape(Graph *g, Val a, Type t) {
  return val_ok(a) ? ir_reshape(g, a, t.dim, t.rank) : VAL_NONE;
}

Val w_broadcast(Graph *g, Val a, Type t) {
  return val_ok(a) ? ir_broadcast(g, a, t.dim, t.rank) : VAL_NONE;
}

Val w_permute(Graph *g, Val a, const int64_t *perm) {
  return val_ok(a) ? ir_permute(g, a, perm, ir_type_of(g, a)->rank) : VAL_NONE;
}

Val w_move_axis(Graph *g, Val a, uint32_t from, uint32_t to) {
  int64_t perm[VLPC_MAX_RANK];
  if (!val_ok(a)) return VAL_NONE;
  uint32_t rank = ir_type_of(g, a)->rank;
  for (uint32_t i = 0, next = 0; i < rank; i++) {
    if (next == from) next++;
    perm[i] = i == to ? from : next++;
  }
  return w_permute(g, a, perm);
}

Val w_transpose(Graph *g, Val a) {
  if (!val_ok(a)) return VAL_NONE;
  uint32_t rank = ir_type_of(g, a)->rank;
  return w_move_axis(g, a, rank - 1, rank - 2);
}

Val w_rows(Graph *g, Val a) {
  if (!val_ok(a)) return VAL_NONE;
  Type t = w_type(g, a), rows = {.dtype = t.dtype, .rank = 2};
  rows.dim[0] = dim_const(ir_dims(g), 1);
  rows.dim[1] = t.dim[t.rank - 1];
  for (uint32_t i = 0; i + 1 < t.rank; i++)
    rows.dim[0] = dim_mul(ir_dims(g), rows.dim[0], t.dim[i]);
  return rows.dim[0] != DIM_NONE ? w_reshape(g, a, rows) : VAL_NONE;
}

/* ---- products and sums --------------------------------------------------- */

Val w_matmul(Graph *g, Val a, Val b) { return w_ew2(g, OP_matmul, a, b); }

Val w_over(Graph *g, OpCode op, Val a, uint32_t axis) {
  int64_t at = axis;
  return val_ok(a) ? ir_reduce(g, op, a, &at, 1, true) : VAL_NONE;
}

Val w_over_last(Graph *g, OpCode op, Val a) {
  return val_ok(a) ? w_over(g, op, a, ir_type_of(g, a)->rank - 1) : VAL_NONE;
}

Val w_sum_to(Graph *g, Val a, Type t) {
  int64_t axes[VLPC_MAX_RANK];
  uint32_t n = 0;
  if (!val_ok(a)) return VAL_NONE;
  Type from = w_type(g, a);
  uint32_t lead = from.rank - t.rank;
  for (uint32_t i = 0; i < from.rank; i++)
    if (i < lead || t.dim[i - lead] != from.dim[i]) axes[n++] = i;
  if (n == 0) return a;
  Val sum = ir_reduce(g, OP_reduce_sum, a, axes, n, false);
  return w_reshape(g, sum, t);
}

/* ---- sources ------------------------------------------------------------- */

Val w_iota(Graph *g, DimId n) {
  Attr dims = attr_dims(A_dims, &n, 1);
  return ir_node(g, OP_iota, 0, NULL, 1, &dims);
}

Val w_fill(Graph *g, Type t, double c) {
  return w_broadcast(g, ir_scalar(g, t.dtype, c), t);
}
