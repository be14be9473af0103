/* SPDX-License-Identifier: Apache-2.0 */
/* op_move.c - ops that move elements without arithmetic.
**
** reshape is accepted when both element counts are equal whatever the symbols.
** slice is refused when it reads outside for every value of the symbols; where
** that depends on them, the reference checks when it runs. */
#include "ir/ir_int.h"

/* ---- permute ------------------------------------------------------------- */

bool shape_permute(Infer *x) {
  const Type *t = infer_type(x, 0);
  const Attr *perm;
  uint32_t seen = 0;
  if (!infer_list(x, A_perm, t->rank, &perm)) return false;
  x->out = (Type){.dtype = t->dtype, .rank = t->rank};
  for (uint32_t i = 0; i < t->rank; i++) {
    int64_t p = perm->ints[i];
    if (p < 0 || p >= t->rank || (seen & 1u << p))
      return infer_fail(x, "perm is no permutation",
                        arena_printf(ir_arena(x->g), "axis %lld", (long long)p),
                        arena_printf(ir_arena(x->g), "each axis of rank %u once", t->rank));
    seen |= 1u << p;
    x->out.dim[i] = t->dim[p];
  }
  return true;
}

bool ref_permute(RefCtx *c) {
  const RefTensor *a = &c->in[0];
  const Attr *perm = ir_attr(c->g, c->v, A_perm);
  int64_t own[VLPC_MAX_RANK], stride[VLPC_MAX_RANK];
  ref_strides(a->rank, a->size, own);
  for (uint32_t i = 0; i < a->rank; i++) stride[i] = own[perm->ints[i]];
  Walk w = walk_new(c->out->rank, c->out->size);
  walk_add_strides(&w, stride, 0);
  for (int64_t at = 0; at < w.count; at++, walk_next(&w)) ref_copy(c->out, at, a, w.off[0], 1);
  return true;
}

/* ---- reshape and broadcast ----------------------------------------------- */

/* The attribute dims as the result's sizes. */
static bool take_dims(Infer *x) {
  const Attr *d = infer_attr(x, A_dims);
  if (!d) return infer_fail(x, "an attribute is missing", "none", "dims");
  if (d->n > VLPC_MAX_RANK)
    return infer_fail(x, "the result has too many axes",
                      arena_printf(ir_arena(x->g), "rank %u", d->n), "rank 8 at most");
  x->out = (Type){.dtype = infer_type(x, 0)->dtype, .rank = d->n};
  for (uint32_t i = 0; i < d->n; i++) x->out.dim[i] = d->dims[i];
  return true;
}

bool shape_reshape(Infer *x) {
  const Type *t = infer_type(x, 0);
  if (!take_dims(x)) return false;
  if (dims_same_count(x->g, t->dim, t->rank, x->out.dim, x->out.rank)) return true;
  return infer_fail(x, "the numbers of elements differ",
                    arena_printf(ir_arena(x->g), "%s to %s", type_text(x->g, t),
                                 type_text(x->g, &x->out)),
                    "equal whatever the symbols");
}

bool ref_reshape(RefCtx *c) {
  if (c->in[0].count != c->out->count)
    return ref_fail(c, "the numbers of elements differ", c->in[0].count, "equal");
  ref_copy(c->out, 0, &c->in[0], 0, c->out->count);
  return true;
}

bool shape_broadcast(Infer *x) {
  const Type *t = infer_type(x, 0);
  Type both;
  if (!take_dims(x)) return false;
  bool fits = type_broadcast(x->g, t, &x->out, &both) && both.rank == x->out.rank;
  for (uint32_t i = 0; fits && i < both.rank; i++) fits = both.dim[i] == x->out.dim[i];
  if (fits) return true;
  return infer_fail(x, "an operand does not broadcast to the sizes", type_text(x->g, t),
                    type_text(x->g, &x->out));
}

bool ref_broadcast(RefCtx *c) {
  Walk w = walk_new(c->out->rank, c->out->size);
  walk_add(&w, &c->in[0]);
  for (int64_t at = 0; at < w.count; at++, walk_next(&w))
    ref_copy(c->out, at, &c->in[0], w.off[0], 1);
  return true;
}

/* ---- slice --------------------------------------------------------------- */

static int64_t step_of(const Attr *steps, uint32_t axis) { return steps ? steps->ints[axis] : 1; }

/* d is below zero for every value of the symbols (0 or more). */
static bool surely_negative(Graph *g, DimId d) {
  DimTable *t = ir_dims(g);
  int64_t least;
  DimId minus = d == DIM_NONE ? DIM_NONE : dim_sub(t, dim_const(t, 0), d);
  return dim_least(g, minus, &least) && least > 0;
}

/* Reads start, start + step … size times; size 0 reads nothing. */
static bool slice_axis_fits(Infer *x, DimId dim, DimId start, DimId size, int64_t step) {
  DimTable *t = ir_dims(x->g);
  if (dim_is(x->g, size, 0)) return true;
  DimId one = dim_const(t, 1);
  DimId last = dim_add(t, start, dim_mul(t, dim_sub(t, size, one), dim_const(t, step)));
  DimId low = step < 0 ? last : start, high = step < 0 ? start : last;
  if (surely_negative(x->g, low)) return false;
  return !surely_negative(x->g, dim_sub(t, dim_sub(t, dim, one), high));
}

bool shape_slice(Infer *x) {
  const Type *t = infer_type(x, 0);
  const Attr *starts, *sizes, *steps = infer_attr(x, A_steps);
  if (!infer_list(x, A_starts, t->rank, &starts)) return false;
  if (!infer_list(x, A_dims, t->rank, &sizes)) return false;
  if (steps && !infer_list(x, A_steps, t->rank, &steps)) return false;
  x->out = (Type){.dtype = t->dtype, .rank = t->rank};
  for (uint32_t i = 0; i < t->rank; i++) {
    DimId start = starts->dims[i], size = sizes->dims[i];
    if (start == DIM_NONE || size == DIM_NONE)
      return infer_fail(x, "a size is malformed", "?", "a size");
    if (!slice_axis_fits(x, t->dim[i], start, size, step_of(steps, i)))
      return infer_fail(x, "a slice reads outside its operand",
                        arena_printf(ir_arena(x->g), "axis %u: %s elements from %s, step %lld", i,
                                     dim_text(x->g, size), dim_text(x->g, start),
                                     (long long)step_of(steps, i)),
                        arena_printf(ir_arena(x->g), "within %s elements",
                                     dim_text(x->g, t->dim[i])));
    x->out.dim[i] = size;
  }
  return true;
}

/* Index of the last element read on an axis; false when it overflows. */
static bool last_read(int64_t start, int64_t size, int64_t step, int64_t *out) {
  return vl_mul_i64(size - 1, step, out) && vl_add_i64(*out, start, out);
}

bool ref_slice(RefCtx *c) {
  const RefTensor *a = &c->in[0];
  const Attr *starts = ir_attr(c->g, c->v, A_starts), *steps = ir_attr(c->g, c->v, A_steps);
  int64_t own[VLPC_MAX_RANK], stride[VLPC_MAX_RANK], start, last, from = 0;
  if (c->out->count == 0) return true;
  ref_strides(a->rank, a->size, own);
  for (uint32_t i = 0; i < a->rank; i++) {
    int64_t step = step_of(steps, i);
    if (!ref_size(c, starts->dims[i], &start)) return false;
    if (start >= a->size[i] || !last_read(start, c->out->size[i], step, &last) || last < 0 ||
        last >= a->size[i])
      return ref_fail(c, "a slice reads outside its operand", start, "a start within the axis");
    from += start * own[i];
    stride[i] = c->out->size[i] == 1 ? 0 : step * own[i];
  }
  Walk w = walk_new(c->out->rank, c->out->size);
  walk_add_strides(&w, stride, from);
  for (int64_t at = 0; at < w.count; at++, walk_next(&w)) ref_copy(c->out, at, a, w.off[0], 1);
  return true;
}

/* ---- concat -------------------------------------------------------------- */

static bool concat_fits(const Type *a, const Type *b, uint32_t axis) {
  if (a->dtype != b->dtype || a->rank != b->rank) return false;
  for (uint32_t i = 0; i < a->rank; i++)
    if (i != axis && a->dim[i] != b->dim[i]) return false;
  return true;
}

bool shape_concat(Infer *x) {
  const Type *t = infer_type(x, 0);
  uint32_t axis;
  if (!infer_axis(x, t->rank, &axis)) return false;
  x->out = *t;
  for (uint32_t i = 1; i < x->n_in; i++) {
    const Type *next = infer_type(x, i);
    if (!concat_fits(t, next, axis))
      return infer_misfit(x, "operands differ beside the joined axis", 0, i,
                          arena_printf(ir_arena(x->g), "equal but on axis %u", axis));
    x->out.dim[axis] = dim_add(ir_dims(x->g), x->out.dim[axis], next->dim[axis]);
  }
  return true;
}

bool ref_concat(RefCtx *c) {
  int64_t axis = ir_attr_int(c->g, c->v, A_axis, 0), before = 0;
  Split all = ref_split(c->out, axis);
  for (uint32_t i = 0; i < c->n_in; i++) {
    Split s = ref_split(&c->in[i], axis);
    for (int64_t o = 0; o < s.outer; o++)
      ref_copy(c->out, (o * all.n + before) * all.inner, &c->in[i], o * s.n * s.inner,
               s.n * s.inner);
    before += s.n;
  }
  return true;
}

/* ---- pad ----------------------------------------------------------------- */

bool shape_pad(Infer *x) {
  const Type *t = infer_type(x, 0);
  const Attr *before, *after;
  DimTable *d = ir_dims(x->g);
  if (!infer_same_dtype(x, 0, 1) || !infer_rank(x, 1, 0, 0)) return false;
  if (!infer_list(x, A_before, t->rank, &before)) return false;
  if (!infer_list(x, A_after, t->rank, &after)) return false;
  x->out = (Type){.dtype = t->dtype, .rank = t->rank};
  for (uint32_t i = 0; i < t->rank; i++) {
    if (surely_negative(x->g, before->dims[i]) || surely_negative(x->g, after->dims[i]))
      return infer_fail(x, "padding is negative",
                        arena_printf(ir_arena(x->g), "axis %u: %s before, %s after", i,
                                     dim_text(x->g, before->dims[i]),
                                     dim_text(x->g, after->dims[i])),
                        "0 or more");
    x->out.dim[i] = dim_add(d, dim_add(d, before->dims[i], t->dim[i]), after->dims[i]);
  }
  return true;
}

bool ref_pad(RefCtx *c) {
  const RefTensor *a = &c->in[0];
  const Attr *before = ir_attr(c->g, c->v, A_before), *after = ir_attr(c->g, c->v, A_after);
  int64_t stride[VLPC_MAX_RANK], from = 0, low, high;
  ref_strides(c->out->rank, c->out->size, stride);
  for (uint32_t i = 0; i < a->rank; i++) {
    if (!ref_size(c, before->dims[i], &low) || !ref_size(c, after->dims[i], &high)) return false;
    from += low * stride[i];
  }
  for (int64_t at = 0; at < c->out->count; at++) ref_copy(c->out, at, &c->in[1], 0, 1);
  Walk w = walk_new(a->rank, a->size);
  walk_add_strides(&w, stride, from);
  for (int64_t at = 0; at < w.count; at++, walk_next(&w)) ref_copy(c->out, w.off[0], a, at, 1);
  return true;
}
