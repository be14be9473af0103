/* SPDX-License-Identifier: Apache-2.0 */
/* imp_reduce.c - operators over axes: reductions, softmax, arg-max, top-k.
**
** A reduction without axes goes over all of them, unless
** noop_with_empty_axes says that it then does nothing. */
#include <math.h>

#include "frontend/fe_int.h"

static bool reduce_axes(OnnxNode *x, Axes *out) {
  uint32_t rank = n_rank(x, x->in[0]);
  if (!n_axes(x, 1, rank, out)) return false;
  if (out->n || get_int(x, "noop_with_empty_axes", 0)) return true;
  *out = (Axes){.given = true, .n = rank};
  for (uint32_t i = 0; i < rank; i++) out->at[i] = i;
  return true;
}

static bool keeps(const OnnxNode *x) { return get_int(x, "keepdims", 1) != 0; }

bool imp_reduce(OnnxNode *x) {
  Axes axes;
  return reduce_axes(x, &axes) &&
         n_out(x, 0, n_reduce(x, (OpCode)x->row->arg, x->in[0], &axes, keeps(x)));
}

static bool sum_of(OnnxNode *x, Val v, Val *out) {
  Axes axes;
  if (!reduce_axes(x, &axes)) return false;
  *out = n_reduce(x, OP_reduce_sum, v, &axes, keeps(x));
  return true;
}

bool imp_reduce_l1(OnnxNode *x) {
  Val v;
  return sum_of(x, n_ew1(x, OP_abs, x->in[0]), &v) && n_out(x, 0, v);
}

bool imp_reduce_sum_square(OnnxNode *x) {
  Val v;
  return sum_of(x, n_ew2(x, OP_mul, x->in[0], x->in[0]), &v) && n_out(x, 0, v);
}

bool imp_reduce_l2(OnnxNode *x) {
  Val v;
  return sum_of(x, n_ew2(x, OP_mul, x->in[0], x->in[0]), &v) && n_out(x, 0, n_ew1(x, OP_sqrt, v));
}

bool imp_reduce_log_sum(OnnxNode *x) {
  Val v;
  return sum_of(x, x->in[0], &v) && n_out(x, 0, n_ew1(x, OP_log, v));
}

/* log(sum(exp(a - m))) + m, with m the largest element, or 0 where that is not
** finite. */
bool imp_reduce_log_sum_exp(OnnxNode *x) {
  Axes axes;
  Val a = x->in[0];
  if (!reduce_axes(x, &axes)) return false;
  Val top = n_reduce(x, OP_reduce_max, a, &axes, true);
  Val finite = n_ew2(x, OP_lt, n_ew1(x, OP_abs, top), n_like(x, a, INFINITY));
  top = n_where(x, finite, top, n_like(x, a, 0));
  Val sum = n_reduce(x, OP_reduce_sum, n_ew1(x, OP_exp, n_ew2(x, OP_sub, a, top)), &axes, true);
  Val v = n_ew2(x, OP_add, n_ew1(x, OP_log, sum), top);
  /* The kept axes have size 1: dropping them is a reduction of one element. */
  return n_out(x, 0, keeps(x) ? v : n_reduce(x, OP_reduce_sum, v, &axes, false));
}

static Val arg_of(OnnxNode *x, Val a, uint32_t axis) {
  Attr attr[3] = {attr_int(A_axis, axis), attr_int(A_keepdims, keeps(x)),
                  attr_int(A_last, get_int(x, "select_last_index", 0) != 0)};
  return n_node(x, OP_argmax, 1, &a, 3, attr);
}

bool imp_argmax(OnnxNode *x) {
  uint32_t axis;
  return n_axis(x, get_int(x, "axis", 0), n_rank(x, x->in[0]), &axis) &&
         n_out(x, 0, arg_of(x, x->in[0], axis));
}

/* Of integers -1 - a orders backwards without overflow. */
bool imp_argmin(OnnxNode *x) {
  Val a = x->in[0];
  uint32_t axis;
  if (!n_axis(x, get_int(x, "axis", 0), n_rank(x, a), &axis)) return false;
  VlDtype t = n_dtype(x, a);
  if (t == VLPC_U8 || t == VLPC_U16 || t == VLPC_U32) a = n_cast(x, a, VLPC_I64);
  bool is_float = dtype_is_float(t);
  Val b = is_float ? n_ew1(x, OP_neg, a) : n_ew2(x, OP_sub, n_like(x, a, -1), a);
  return n_out(x, 0, arg_of(x, b, axis));
}

bool imp_cumsum(OnnxNode *x) {
  int64_t given = 0;
  uint32_t axis;
  if (!n_const_int(x, 1, "the axis", &given)) return false;
  if (!n_axis(x, given, n_rank(x, x->in[0]), &axis)) return false;
  Attr attr[3] = {attr_int(A_axis, axis), attr_int(A_exclusive, get_int(x, "exclusive", 0) != 0),
                  attr_int(A_reverse, get_int(x, "reverse", 0) != 0)};
  return n_out(x, 0, n_node(x, OP_cumsum, 1, x->in, 3, attr));
}

bool imp_topk(OnnxNode *x) {
  int64_t k = 0;
  uint32_t axis;
  if (!n_const_int(x, 1, "the number of elements", &k)) return false;
  if (!n_axis(x, get_int(x, "axis", -1), n_rank(x, x->in[0]), &axis)) return false;
  Attr attr[3] = {attr_int(A_axis, axis), attr_int(A_k, k),
                  attr_int(A_largest, get_int(x, "largest", 1) != 0)};
  return n_out(x, 0, n_node(x, OP_topk_values, 1, x->in, 3, attr)) &&
         n_out(x, 1, n_node(x, OP_topk_indices, 1, x->in, 3, attr));
}

/* ---- softmax ------------------------------------------------------------ */

bool imp_softmax(OnnxNode *x) {
  uint32_t axis;
  return n_axis(x, get_int(x, "axis", -1), n_rank(x, x->in[0]), &axis) &&
         n_out(x, 0, n_softmax(x, (OpCode)x->row->arg, x->in[0], axis));
}

/* Before opset 13 the axes from `axis` on are one row. */
bool imp_softmax_flat(OnnxNode *x) {
  Val a = x->in[0];
  uint32_t axis, rank = n_rank(x, a);
  DimId dim[VLPC_MAX_RANK];
  if (!n_axis(x, get_int(x, "axis", 1), rank, &axis)) return false;
  DimId row = n_size(x, 1);
  for (uint32_t i = 0; i < rank; i++) {
    dim[i] = n_dim(x, a, i);
    if (i >= axis) row = dim_mul(n_dims(x), row, dim[i]);
  }
  if (axis + 1 == rank) return n_out(x, 0, n_softmax(x, (OpCode)x->row->arg, a, axis));
  DimId all[VLPC_MAX_RANK];
  for (uint32_t i = 0; i < rank; i++) all[i] = dim[i];
  dim[axis] = row;
  Val flat = n_softmax(x, (OpCode)x->row->arg, n_reshape(x, a, dim, axis + 1), axis);
  return n_out(x, 0, n_reshape(x, flat, all, rank));
}

bool imp_hardmax(OnnxNode *x) {
  Val a = x->in[0];
  uint32_t axis, rank = n_rank(x, a);
  if (!n_axis(x, get_int(x, "axis", -1), rank, &axis)) return false;
  Attr attr[3] = {attr_int(A_axis, axis), attr_int(A_keepdims, 1), attr_int(A_last, 0)};
  Val best = n_node(x, OP_argmax, 1, &a, 3, attr);
  DimId dim[VLPC_MAX_RANK];
  for (uint32_t i = 0; i < rank; i++) dim[i] = i == axis ? n_dim(x, a, i) : n_size(x, 1);
  Val at = n_reshape(x, n_iota(x, n_dim(x, a, axis)), dim, rank);
  return n_out(x, 0, n_cast(x, n_ew2(x, OP_eq, best, at), n_dtype(x, a)));
}

/* A row of zeroes stays zero. */
bool imp_lp_norm(OnnxNode *x) {
  Val a = x->in[0];
  uint32_t axis;
  int64_t p = get_int(x, "p", 2);
  if (!n_axis(x, get_int(x, "axis", -1), n_rank(x, a), &axis)) return false;
  if (p != 1 && p != 2) return n_fail(x, DIAG_ONNX_ATTRIBUTE, "p must be 1 or 2");
  Val part = p == 1 ? n_ew1(x, OP_abs, a) : n_ew2(x, OP_mul, a, a);
  Val norm = n_reduce1(x, OP_reduce_sum, part, axis);
  if (p == 2) norm = n_ew1(x, OP_sqrt, norm);
  Val zero = n_ew2(x, OP_eq, norm, n_like(x, a, 0));
  return n_out(x, 0, n_where(x, zero, n_like(x, a, 0), n_ew2(x, OP_div, a, norm)));
}
