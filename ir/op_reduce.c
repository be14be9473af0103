/* SPDX-License-Identifier: Apache-2.0 */
/* op_reduce.c - ops over axes: sums, means, extremes, products, argmax, cumsum.
**
** Sums and products run in row-major order.  max and min give NaN when an
** element is NaN; over no elements they are -inf and inf, and an error for
** integers.  A mean of integers truncates. */
#include <math.h>

#include "ir/ir_int.h"

/* ---- reduce -------------------------------------------------------------- */

/* Corrects negative axes and sorts them; false when one is twice or outside. */
static bool normal_axes(Infer *x, uint32_t rank, uint32_t *mask) {
  Attr *at = infer_attr(x, A_axes);
  if (!at) return infer_fail(x, "an attribute is missing", "none", "axes");
  *mask = 0;
  for (uint32_t i = 0; i < at->n; i++) {
    int64_t axis = at->ints[i] < 0 ? at->ints[i] + rank : at->ints[i];
    if (axis < 0 || axis >= rank || (*mask & 1u << axis))
      return infer_fail(x, "an axis is out of range or given twice",
                        arena_printf(ir_arena(x->g), "axis %lld", (long long)at->ints[i]),
                        arena_printf(ir_arena(x->g), "distinct axes of rank %u", rank));
    *mask |= 1u << axis;
  }
  int64_t *sorted = arena_array(ir_arena(x->g), int64_t, VLPC_MAX_RANK);
  uint32_t n = 0;
  for (uint32_t i = 0; i < rank; i++)
    if (*mask & 1u << i) sorted[n++] = i;
  at->ints = sorted;
  return true;
}

/* t without the axes of mask, or with size 1 there. */
static Type without_axes(Infer *x, const Type *t, uint32_t mask, bool keep) {
  Type r = {.dtype = t->dtype};
  for (uint32_t i = 0; i < t->rank; i++) {
    if (!(mask & 1u << i)) r.dim[r.rank++] = t->dim[i];
    else if (keep) r.dim[r.rank++] = dim_const(ir_dims(x->g), 1);
  }
  return r;
}

static bool keeps_dims(const Infer *x) {
  const Attr *keep = infer_attr(x, A_keepdims);
  return keep && keep->i != 0;
}

bool shape_reduce(Infer *x) {
  const Type *t = infer_type(x, 0);
  uint32_t mask = 0;
  bool extreme = x->op == OP_reduce_max || x->op == OP_reduce_min;
  if (!extreme && !infer_number(x, 0)) return false;
  if (!normal_axes(x, t->rank, &mask) || !infer_flag(x, A_keepdims)) return false;
  x->out = without_axes(x, t, mask, keeps_dims(x));
  return true;
}

/* A walk over the operand whose offset 0 is the result element. */
static Walk reduce_walk(const RefCtx *c) {
  const RefTensor *a = &c->in[0];
  const Attr *axes = ir_attr(c->g, c->v, A_axes);
  int64_t size[VLPC_MAX_RANK], stride[VLPC_MAX_RANK];
  for (uint32_t i = 0; i < a->rank; i++) size[i] = a->size[i];
  for (uint32_t i = 0; i < axes->n; i++) size[axes->ints[i]] = 1;
  ref_strides(a->rank, size, stride);
  for (uint32_t i = 0; i < axes->n; i++) stride[axes->ints[i]] = 0;
  Walk w = walk_new(a->rank, a->size);
  walk_add_strides(&w, stride, 0);
  return w;
}

static void reduce_start(RefTensor *o, OpCode op) {
  double f = op == OP_reduce_max ? -INFINITY : op == OP_reduce_min ? INFINITY : 0;
  int64_t i = op == OP_reduce_max ? INT64_MIN : op == OP_reduce_min ? INT64_MAX : 0;
  if (op == OP_reduce_prod) f = 1, i = 1;
  for (int64_t k = 0; k < o->count; k++) {
    if (o->f) o->f[k] = f;
    else o->i[k] = i;
  }
}

static double step_float(OpCode op, double s, double v) {
  switch ((int)op) {
  case OP_reduce_prod: return s * v;
  case OP_reduce_max: return s != s || s > v ? s : v;
  case OP_reduce_min: return s != s || s < v ? s : v;
  default: return s + v;
  }
}

static int64_t step_int(OpCode op, int64_t s, int64_t v) {
  switch ((int)op) {
  case OP_reduce_prod: return (int64_t)((uint64_t)s * (uint64_t)v);
  case OP_reduce_max: return VL_MAX(s, v);
  case OP_reduce_min: return VL_MIN(s, v);
  default: return (int64_t)((uint64_t)s + (uint64_t)v);
  }
}

bool ref_reduce(RefCtx *c) {
  const RefTensor *a = &c->in[0];
  RefTensor *o = c->out;
  OpCode op = ir_op(c->g, c->v);
  bool extreme = op == OP_reduce_max || op == OP_reduce_min;
  if (a->count == 0 && o->count > 0 && extreme && !o->f)
    return ref_fail(c, "the greatest or least of nothing", 0, "1 element or more");
  reduce_start(o, op);
  Walk w = reduce_walk(c);
  for (int64_t at = 0; at < w.count; at++, walk_next(&w)) {
    if (o->f) o->f[w.off[0]] = step_float(op, o->f[w.off[0]], a->f[at]);
    else o->i[w.off[0]] = step_int(op, o->i[w.off[0]], a->i[at]);
  }
  if (op != OP_reduce_mean || o->count == 0) return true;
  int64_t n = a->count / o->count;
  for (int64_t k = 0; k < o->count; k++) {
    if (o->f) o->f[k] /= (double)n;
    else if (n > 0) o->i[k] /= n;
  }
  return true;
}

/* ---- argmax -------------------------------------------------------------- */

bool shape_argmax(Infer *x) {
  const Type *t = infer_type(x, 0);
  uint32_t axis;
  if (!infer_number(x, 0) || !infer_axis(x, t->rank, &axis)) return false;
  if (!infer_flag(x, A_keepdims) || !infer_flag(x, A_last)) return false;
  if (dim_is(x->g, t->dim[axis], 0))
    return infer_fail(x, "argmax over no elements", type_text(x->g, t), "1 element or more");
  x->out = without_axes(x, t, 1u << axis, keeps_dims(x));
  x->out.dtype = VLPC_I64;
  return true;
}

/* Element i is greater than j; NaN is greater than any number. */
static bool is_greater(const RefTensor *t, int64_t i, int64_t j) {
  if (!t->f) return t->i[i] > t->i[j];
  double a = t->f[i], b = t->f[j];
  return a > b || (a != a && b == b);
}

bool ref_argmax(RefCtx *c) {
  const RefTensor *a = &c->in[0];
  Split s = ref_split(a, ir_attr_int(c->g, c->v, A_axis, 0));
  bool last = ir_attr_int(c->g, c->v, A_last, 0) != 0;
  if (s.n == 0 && c->out->count > 0)
    return ref_fail(c, "argmax over no elements", 0, "1 element or more");
  for (int64_t o = 0; o < c->out->count; o++) {
    int64_t base = o / s.inner * s.n * s.inner + o % s.inner, best = 0;
    for (int64_t k = 1; k < s.n; k++) {
      int64_t here = base + k * s.inner, there = base + best * s.inner;
      if (last ? !is_greater(a, there, here) : is_greater(a, here, there)) best = k;
    }
    c->out->i[o] = best;
  }
  return true;
}

/* ---- cumsum -------------------------------------------------------------- */

bool shape_cumsum(Infer *x) {
  uint32_t axis;
  if (!infer_number(x, 0) || !infer_axis(x, infer_type(x, 0)->rank, &axis)) return false;
  if (!infer_flag(x, A_exclusive) || !infer_flag(x, A_reverse)) return false;
  x->out = *infer_type(x, 0);
  return true;
}

bool ref_cumsum(RefCtx *c) {
  const RefTensor *a = &c->in[0];
  Split s = ref_split(a, ir_attr_int(c->g, c->v, A_axis, 0));
  bool exclusive = ir_attr_int(c->g, c->v, A_exclusive, 0) != 0;
  bool reverse = ir_attr_int(c->g, c->v, A_reverse, 0) != 0;
  for (int64_t line = 0; line < s.outer * s.inner; line++) {
    int64_t base = line / s.inner * s.n * s.inner + line % s.inner;
    double f = 0;
    int64_t i = 0;
    for (int64_t k = 0; k < s.n; k++) {
      int64_t at = base + (reverse ? s.n - 1 - k : k) * s.inner;
      double f_next = a->f ? f + a->f[at] : 0;
      int64_t i_next = a->f ? 0 : step_int(OP_reduce_sum, i, a->i[at]);
      if (a->f) c->out->f[at] = exclusive ? f : f_next;
      else c->out->i[at] = exclusive ? i : i_next;
      f = f_next;
      i = i_next;
    }
  }
  return true;
}
