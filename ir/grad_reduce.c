/* SPDX-License-Identifier: Apache-2.0 */
/* grad_reduce.c - gradients of ops over axes.  Equal extremes share evenly. */
#include "ir/ir_int.h"
#include "ir/words.h"

/* A value of the reduced sizes, repeated over the operand's. */
static Val spread(const GradCtx *c, Val a) {
  Type t = w_type(c->g, ir_in(c->g, c->v, 0)), kept = t;
  const Attr *axes = ir_attr(c->g, c->v, A_axes);
  for (uint32_t i = 0; i < axes->n; i++) kept.dim[axes->ints[i]] = dim_const(ir_dims(c->g), 1);
  return w_broadcast(c->g, w_reshape(c->g, a, kept), t);
}

Val grad_reduce_sum(const GradCtx *c) { return spread(c, c->dy); }

/* dy over the number of reduced elements, axis by axis: their product may be no
** affine size. */
Val grad_reduce_mean(const GradCtx *c) {
  Type t = w_type(c->g, ir_in(c->g, c->v, 0)), scalar = {.dtype = VLPC_I64};
  const Attr *axes = ir_attr(c->g, c->v, A_axes);
  Val dy = c->dy;
  for (uint32_t i = 0; i < axes->n; i++) {
    Val n = w_reshape(c->g, ir_dims_vec(c->g, &t.dim[axes->ints[i]], 1), scalar);
    dy = w_ew2(c->g, OP_div, dy, w_cast(c->g, n, t.dtype));
  }
  return spread(c, dy);
}

Val grad_reduce_extreme(const GradCtx *c) {
  Val x = ir_in(c->g, c->v, 0), equal = w_ew2(c->g, OP_eq, x, spread(c, c->v));
  VlDtype dtype = ir_type_of(c->g, x)->dtype;
  const Attr *axes = ir_attr(c->g, c->v, A_axes);
  Val ones = w_cast(c->g, equal, dtype);
  if (!val_ok(ones)) return VAL_NONE;
  bool keep = ir_attr_int(c->g, c->v, A_keepdims, 0) != 0;
  Val count = ir_reduce(c->g, OP_reduce_sum, ones, axes->ints, axes->n, keep);
  Val each = spread(c, w_ew2(c->g, OP_div, c->dy, count));
  return w_where(c->g, equal, each, ir_scalar(c->g, dtype, 0));
}

/* The sums run the other way. */
Val grad_cumsum(const GradCtx *c) {
  Attr at[3] = {attr_int(A_axis, ir_attr_int(c->g, c->v, A_axis, 0)),
                attr_int(A_exclusive, ir_attr_int(c->g, c->v, A_exclusive, 0)),
                attr_int(A_reverse, !ir_attr_int(c->g, c->v, A_reverse, 0))};
  return ir_node(c->g, OP_cumsum, 1, &c->dy, 3, at);
}
