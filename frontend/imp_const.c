/* SPDX-License-Identifier: Apache-2.0 */
/* imp_const.c - values that are made, not read: constants, ranges, triangles. */
#include <inttypes.h>
#include <math.h>

#include "frontend/fe_int.h"

static Val vector_of(OnnxNode *x, VlDtype t, const void *data, uint32_t n) {
  int64_t size = n;
  BlobId b = ir_blob_copy(x->g, n ? data : "", (uint64_t)n * dtype_size(t), NULL);
  return ir_const(x->g, ir_type_fixed(x->g, t, 1, &size), b);
}

static bool tensor_value(OnnxNode *x, const Onnx__TensorProto *t, Val *out) {
  int errors = diag_count(x->im->d);
  VlStatus st = tensor_import(x->im->m, x->g, t, x->at, out);
  x->is_reported = diag_count(x->im->d) > errors;
  return st == VLPC_OK;
}

bool imp_constant(OnnxNode *x) {
  uint32_t n = 0;
  if (x->n_attr != 1) {
    n_fail(x, DIAG_ONNX_ATTRIBUTE, "a constant must have one value");
    diag_found(x->im->d, "%" PRIu32 " attributes", x->n_attr);
    return false;
  }
  const Onnx__TensorProto *t = get_tensor(x, "value");
  if (t) {
    Val v = VAL_NONE;
    return tensor_value(x, t, &v) && n_out(x, 0, v);
  }
  const float *floats = get_floats(x, "value_floats", &n);
  if (floats) return n_out(x, 0, vector_of(x, VLPC_F32, floats, n));
  const int64_t *ints = get_ints(x, "value_ints", &n);
  if (ints) return n_out(x, 0, vector_of(x, VLPC_I64, ints, n));
  int64_t i = get_int(x, "value_int", 0);
  float f = (float)get_float(x, "value_float", 0);
  Val one =
      has_attr(x, "value_int") ? vector_of(x, VLPC_I64, &i, 1) : vector_of(x, VLPC_F32, &f, 1);
  return n_out(x, 0, n_reshape(x, one, NULL, 0));
}

bool imp_constant_of_shape(OnnxNode *x) {
  DimId *dim = NULL;
  uint32_t n = 0;
  int64_t count = 0;
  Val v = n_scalar(x, VLPC_F32, 0);
  const Onnx__TensorProto *t = get_tensor(x, "value");
  if (t && !tensor_value(x, t, &v)) return false;
  if (!ir_count_const(x->g, v, &count) || count != 1) {
    return n_fail(x, DIAG_ONNX_ATTRIBUTE, "the value must have one element");
  }
  if (!n_known_dims(x, 0, "the sizes of a filled tensor", &dim, &n)) return false;
  if (n > VLPC_MAX_RANK) {
    return n_fail(x, DIAG_ONNX_FORM, "the result has more than %d axes", VLPC_MAX_RANK);
  }
  return n_out(x, 0, n_broadcast(x, n_reshape(x, v, NULL, 0), dim, n));
}

/* ---- ranges ------------------------------------------------------------- */

/* start + step · (0 … n-1) in the operands' type. */
static Val ramp(OnnxNode *x, DimId n) {
  Val at = n_cast(x, n_iota(x, n), n_dtype(x, x->in[0]));
  Val step = n_reshape(x, x->in[2], NULL, 0), start = n_reshape(x, x->in[0], NULL, 0);
  return n_ew2(x, OP_add, n_ew2(x, OP_mul, at, step), start);
}

static bool too_long(OnnxNode *x, double n) {
  n_fail(x, DIAG_ONNX_SHAPE, "the range has no usable length");
  diag_found(x->im->d, "%g elements", n);
  return false;
}

static bool range_of_floats(OnnxNode *x) {
  double v[3];
  static const char *const what[3] = {"the start of a range", "the end of a range",
                                      "the step of a range"};
  for (uint32_t i = 0; i < 3; i++) {
    if (!n_const_float(x, i, what[i], &v[i])) return false;
  }
  double n = ceil((v[1] - v[0]) / v[2]);
  if (!(n < FE_MAX_INTS)) return too_long(x, n);
  return n_out(x, 0, ramp(x, n_size(x, n > 0 ? (int64_t)n : 0)));
}

bool imp_range(OnnxNode *x) {
  DimId *start = NULL, *end = NULL;
  uint32_t n[2] = {0};
  int64_t step = 0, span = 0;
  if (dtype_is_float(n_dtype(x, x->in[0]))) return range_of_floats(x);
  if (!n_known_dims(x, 0, "the start of a range", &start, &n[0])) return false;
  if (!n_known_dims(x, 1, "the end of a range", &end, &n[1])) return false;
  if (!n_const_int(x, 2, "the step of a range", &step)) return false;
  if (n[0] != 1 || n[1] != 1) return n_fail(x, DIAG_ONNX_SHAPE, "a range needs scalars");
  if (step == 0) return n_fail(x, DIAG_ONNX_SHAPE, "a range has step 0");
  DimId size = dim_sub(n_dims(x), end[0], start[0]);
  if (n_is_size(x, size, &span)) {
    double count = ceil((double)span / (double)step);
    if (!(count < FE_MAX_INTS)) return too_long(x, count);
    size = n_size(x, count > 0 ? (int64_t)count : 0);
  } else if (step != 1) {
    size = step > 0 ? dim_div(n_dims(x), size, n_size(x, step)) : DIM_NONE;
  }
  if (size != DIM_NONE) return n_out(x, 0, ramp(x, size));
  return n_fail(x, DIAG_ONNX_NOT_CONST, "the range's length is no whole size");
}

/* ---- triangles ---------------------------------------------------------- */

/* Positions along `axis` of two, as a column or a row. */
static Val positions(OnnxNode *x, DimId n, bool column) {
  DimId dim[2] = {column ? n : n_size(x, 1), column ? n_size(x, 1) : n};
  return n_reshape(x, n_iota(x, n), dim, 2);
}

bool imp_trilu(OnnxNode *x) {
  int64_t k = 0;
  Val a = x->in[0];
  uint32_t rank = n_rank(x, a);
  if (rank < 2) return n_fail(x, DIAG_ONNX_SHAPE, "a triangle needs two axes or more");
  if (val_ok(n_in(x, 1)) && !n_const_int(x, 1, "the diagonal", &k)) return false;
  k = VL_MIN(VL_MAX(k, INT32_MIN), INT32_MAX);
  Val row = positions(x, n_dim(x, a, rank - 2), true);
  Val column = positions(x, n_dim(x, a, rank - 1), false);
  Val edge = n_ew2(x, OP_add, row, n_like(x, row, (double)k));
  bool is_upper = get_int(x, "upper", 1) != 0;
  Val keep = is_upper ? n_ew2(x, OP_le, edge, column) : n_ew2(x, OP_le, column, edge);
  return n_out(x, 0, n_where(x, keep, a, n_like(x, a, 0)));
}

bool imp_eye_like(OnnxNode *x) {
  Val a = x->in[0];
  VlDtype t = n_dtype(x, a);
  int64_t k = get_int(x, "k", 0), code = get_int(x, "dtype", 0);
  if (n_rank(x, a) != 2) return n_fail(x, DIAG_ONNX_SHAPE, "EyeLike needs two axes");
  if (has_attr(x, "dtype") && (code < 0 || code > 100 || !onnx_dtype((int32_t)code, &t))) {
    return n_fail(x, DIAG_ONNX_FORM, "this element type is not supported");
  }
  k = VL_MIN(VL_MAX(k, INT32_MIN), INT32_MAX);
  Val row = positions(x, n_dim(x, a, 0), true), column = positions(x, n_dim(x, a, 1), false);
  Val edge = n_ew2(x, OP_add, row, n_like(x, row, (double)k));
  return n_out(x, 0, n_cast(x, n_ew2(x, OP_eq, edge, column), t));
}

bool imp_one_hot(OnnxNode *x) {
  double depth = 0;
  int64_t two = 0;
  uint32_t axis, rank = n_rank(x, x->in[0]);
  if (!n_const_float(x, 1, "the depth", &depth)) return false;
  if (!(depth >= 0 && depth < INT32_MAX))
    return n_fail(x, DIAG_ONNX_SHAPE, "the depth is out of range");
  if (n_rank(x, x->in[2]) != 1 || !ir_size_const(x->g, x->in[2], 0, &two) || two != 2) {
    return n_fail(x, DIAG_ONNX_SHAPE, "OneHot needs two values");
  }
  if (!n_axis(x, get_int(x, "axis", -1), rank + 1, &axis)) return false;
  DimId size = n_size(x, (int64_t)depth), dim[VLPC_MAX_RANK], one = n_size(x, 1);
  Val at = n_unsqueeze(x, n_cast(x, x->in[0], VLPC_I64), axis);
  if (!val_ok(at)) return n_out(x, 0, at);
  Val wrapped = n_ew2(x, OP_add, at, n_scalar(x, VLPC_I64, floor(depth)));
  at = n_where(x, n_ew2(x, OP_lt, at, n_scalar(x, VLPC_I64, 0)), wrapped, at);
  for (uint32_t i = 0; i <= rank; i++) dim[i] = i == axis ? size : one;
  Val is_hot = n_ew2(x, OP_eq, at, n_reshape(x, n_iota(x, size), dim, rank + 1));
  Val off = n_reshape(x, n_slice(x, x->in[2], 0, n_size(x, 0), one), NULL, 0);
  Val on = n_reshape(x, n_slice(x, x->in[2], 0, one, one), NULL, 0);
  return n_out(x, 0, n_where(x, is_hot, on, off));
}
