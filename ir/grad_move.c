/* SPDX-License-Identifier: Apache-2.0 */
/* grad_move.c - gradients of ops that move elements: the move backwards, with
** zeros where nothing came from. */
#include "ir/ir_int.h"
#include "ir/words.h"

static Type operand_type(const GradCtx *c) { return w_type(c->g, ir_in(c->g, c->v, c->i)); }

Val grad_permute(const GradCtx *c) {
  const Attr *perm = ir_attr(c->g, c->v, A_perm);
  int64_t back[VLPC_MAX_RANK];
  for (uint32_t i = 0; i < perm->n; i++) back[perm->ints[i]] = i;
  return w_permute(c->g, c->dy, back);
}

Val grad_reshape(const GradCtx *c) { return w_reshape(c->g, c->dy, operand_type(c)); }

Val grad_broadcast(const GradCtx *c) { return c->dy; }

/* ---- slice --------------------------------------------------------------- */

/* One axis being cut: element k of the slice is element start + k·step. */
typedef struct {
  DimId start, size, whole;
  int64_t step;
} Cut;

static Val zero_pad(Graph *g, Val a, const DimId *before, const DimId *after) {
  if (!val_ok(a)) return VAL_NONE;
  Type t = w_type(g, a);
  Val in[2] = {a, ir_scalar(g, t.dtype, 0)};
  Attr at[2] = {attr_dims(A_before, before, t.rank), attr_dims(A_after, after, t.rank)};
  return ir_node(g, OP_pad, 2, in, 2, at);
}

static void no_padding(Graph *g, DimId *before, DimId *after) {
  for (uint32_t i = 0; i < VLPC_MAX_RANK; i++) before[i] = after[i] = dim_const(ir_dims(g), 0);
}

/* The axis turned round. */
static Val reversed(Graph *g, Val a, uint32_t axis) {
  if (!val_ok(a)) return VAL_NONE;
  Type t = w_type(g, a);
  DimId starts[VLPC_MAX_RANK];
  int64_t steps[VLPC_MAX_RANK];
  DimTable *d = ir_dims(g);
  for (uint32_t i = 0; i < t.rank; i++) {
    starts[i] = i == axis ? dim_sub(d, t.dim[i], dim_const(d, 1)) : dim_const(d, 0);
    steps[i] = i == axis ? -1 : 1;
  }
  Attr at[3] = {attr_dims(A_starts, starts, t.rank), attr_ints(A_steps, steps, t.rank),
                attr_dims(A_dims, t.dim, t.rank)};
  return ir_node(g, OP_slice, 1, &a, 3, at);
}

/* step - 1 zeros between the elements of an axis: [n] as [n, 1], padded to
** [n, step], as [n·step], without the last step - 1. */
static Val spaced(Graph *g, Val a, uint32_t axis, int64_t step) {
  DimId before[VLPC_MAX_RANK], after[VLPC_MAX_RANK];
  DimTable *d = ir_dims(g);
  if (!val_ok(a)) return VAL_NONE;
  Type t = w_type(g, a), apart = t, joined = t;
  if (t.rank == VLPC_MAX_RANK) return VAL_NONE;
  for (uint32_t i = t.rank; i > axis + 1; i--) apart.dim[i] = t.dim[i - 1];
  apart.dim[axis + 1] = dim_const(d, 1);
  apart.rank++;
  no_padding(g, before, after);
  after[axis + 1] = dim_const(d, step - 1);
  joined.dim[axis] = dim_mul(d, t.dim[axis], dim_const(d, step));
  Val wide = w_reshape(g, zero_pad(g, w_reshape(g, a, apart), before, after), joined);
  DimId size = dim_sub(d, joined.dim[axis], dim_const(d, step - 1));
  return val_ok(wide) ? ir_slice_axis(g, wide, axis, dim_const(d, 0), size) : VAL_NONE;
}

/* Undoes one axis; a cut of no elements gives zeros. */
static Val uncut(Graph *g, Val a, uint32_t axis, Cut cut) {
  DimId before[VLPC_MAX_RANK], after[VLPC_MAX_RANK];
  DimTable *d = ir_dims(g);
  if (!val_ok(a) || (cut.step == 1 && cut.size == cut.whole)) return a;
  no_padding(g, before, after);
  if (dim_is(g, cut.size, 0)) {
    after[axis] = cut.whole;
    return zero_pad(g, a, before, after);
  }
  DimId last = dim_add(d, cut.start, dim_mul(d, dim_sub(d, cut.size, dim_const(d, 1)),
                                             dim_const(d, cut.step)));
  DimId low = cut.step < 0 ? last : cut.start, high = cut.step < 0 ? cut.start : last;
  if (cut.step < 0) a = reversed(g, a, axis);
  int64_t step = cut.step < 0 ? -cut.step : cut.step;
  if (step > 1) a = spaced(g, a, axis, step);
  before[axis] = low;
  after[axis] = dim_sub(d, dim_sub(d, cut.whole, dim_const(d, 1)), high);
  return zero_pad(g, a, before, after);
}

Val grad_slice(const GradCtx *c) {
  Type t = operand_type(c), cut = w_type(c->g, c->v);
  DimId starts[VLPC_MAX_RANK];
  int64_t steps[VLPC_MAX_RANK];
  const Attr *at = ir_attr(c->g, c->v, A_starts), *by = ir_attr(c->g, c->v, A_steps);
  for (uint32_t i = 0; i < t.rank; i++) {
    starts[i] = at->dims[i];
    steps[i] = by ? by->ints[i] : 1;
  }
  Val dx = c->dy;
  for (uint32_t i = 0; i < t.rank; i++)
    dx = uncut(c->g, dx, i, (Cut){starts[i], cut.dim[i], t.dim[i], steps[i]});
  return dx;
}

/* ---- concat and pad ------------------------------------------------------ */

Val grad_concat(const GradCtx *c) {
  uint32_t axis = (uint32_t)ir_attr_int(c->g, c->v, A_axis, 0);
  DimTable *d = ir_dims(c->g);
  DimId at = dim_const(d, 0);
  for (uint32_t i = 0; i < c->i; i++)
    at = dim_add(d, at, ir_type_of(c->g, ir_in(c->g, c->v, i))->dim[axis]);
  return ir_slice_axis(c->g, c->dy, axis, at, operand_type(c).dim[axis]);
}

/* What is inside the padding. */
static Val inner(const GradCtx *c) {
  Type t = w_type(c->g, ir_in(c->g, c->v, 0));
  DimId before[VLPC_MAX_RANK];
  const Attr *at = ir_attr(c->g, c->v, A_before);
  for (uint32_t i = 0; i < t.rank; i++) before[i] = at->dims[i];
  Val dx = c->dy;
  for (uint32_t i = 0; i < t.rank && val_ok(dx); i++)
    dx = ir_slice_axis(c->g, dx, i, before[i], t.dim[i]);
  return dx;
}

/* The padding's value: dy where a padded field of ones is not zero. */
static Val around(const GradCtx *c) {
  Type t = w_type(c->g, ir_in(c->g, c->v, 0));
  DimId before[VLPC_MAX_RANK], after[VLPC_MAX_RANK];
  const Attr *low = ir_attr(c->g, c->v, A_before), *high = ir_attr(c->g, c->v, A_after);
  for (uint32_t i = 0; i < t.rank; i++) {
    before[i] = low->dims[i];
    after[i] = high->dims[i];
  }
  Val inside = zero_pad(c->g, w_fill(c->g, t, 1), before, after);
  Val is_inside = w_with(c->g, OP_eq, inside, 1);
  return w_where(c->g, is_inside, ir_scalar(c->g, t.dtype, 0), c->dy);
}

Val grad_pad(const GradCtx *c) { return c->i == 0 ? inner(c) : around(c); }
