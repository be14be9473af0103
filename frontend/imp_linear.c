/* SPDX-License-Identifier: Apache-2.0 */
/* imp_linear.c - matrix products and convolution. */
#include <inttypes.h>

#include "frontend/fe_int.h"

bool imp_matmul(OnnxNode *x) {
  Val rows = n_rows(x, 0), b = x->in[1];
  if (!val_ok(rows)) return n_out(x, 0, n_matmul(x, x->in[0], b));
  if (n_rank(x, b) == 2) return n_out_rows(x, n_matmul(x, rows, b));
  return n_fail(x, DIAG_ONNX_FORM, "rows of two axes need a matrix on the right");
}

static Val scaled(OnnxNode *x, Val a, double factor) {
  return factor == 1 ? a : n_ew2(x, OP_mul, a, n_like(x, a, factor));
}

/* Rows of two axes stay apart: the product treats each row alike. */
static bool gemm_of_rows(OnnxNode *x, Val rows) {
  Val b = x->in[1], c = n_in(x, 2);
  double beta = get_float(x, "beta", 1);
  if (get_int(x, "transA", 0) || n_rank(x, b) != 2 || (val_ok(c) && n_rank(x, c) > 1)) {
    return n_fail(x, DIAG_ONNX_FORM, "this product does not treat rows alike");
  }
  if (get_int(x, "transB", 0)) b = n_swap(x, b);
  Val y = scaled(x, n_matmul(x, rows, b), get_float(x, "alpha", 1));
  return n_out_rows(x, val_ok(c) && beta != 0 ? n_ew2(x, OP_add, y, scaled(x, c, beta)) : y);
}

bool imp_gemm(OnnxNode *x) {
  Val a = x->in[0], b = x->in[1], c = n_in(x, 2);
  double beta = get_float(x, "beta", 1);
  if (val_ok(n_rows(x, 0))) return gemm_of_rows(x, n_rows(x, 0));
  if (n_rank(x, a) != 2 || n_rank(x, b) != 2) {
    n_fail(x, DIAG_ONNX_SHAPE, "Gemm needs matrices");
    diag_found(x->im->d, "rank %" PRIu32 " and %" PRIu32, n_rank(x, a), n_rank(x, b));
    return false;
  }
  if (get_int(x, "transA", 0)) a = n_swap(x, a);
  if (get_int(x, "transB", 0)) b = n_swap(x, b);
  Val y = scaled(x, n_matmul(x, a, b), get_float(x, "alpha", 1));
  if (!val_ok(y) || !val_ok(c) || beta == 0) return n_out(x, 0, y);
  Val sum = n_ew2(x, OP_add, y, scaled(x, c, beta));
  if (!val_ok(sum) || ir_type_id(x->g, sum).i == ir_type_id(x->g, y).i) return n_out(x, 0, sum);
  return n_fail(x, DIAG_ONNX_SHAPE, "C is larger than the product");
}

bool imp_fused_matmul(OnnxNode *x) {
  Val a = x->in[0], b = x->in[1];
  if (get_int(x, "transBatchA", 0) || get_int(x, "transBatchB", 0)) {
    return n_fail(x, DIAG_ONNX_FORM, "transposed batch axes are not supported");
  }
  if (n_rank(x, a) < 2 || n_rank(x, b) < 2) {
    return n_fail(x, DIAG_ONNX_SHAPE, "FusedMatMul needs matrices");
  }
  if (get_int(x, "transA", 0)) a = n_swap(x, a);
  if (get_int(x, "transB", 0)) b = n_swap(x, b);
  return n_out(x, 0, scaled(x, n_matmul(x, a, b), get_float(x, "alpha", 1)));
}

/* ---- convolution -------------------------------------------------------- */

/* Padding that makes ceil(size / stride) outputs. */
static bool window_same(OnnxNode *x, Window *w, bool is_upper) {
  for (uint32_t i = 0; i < w->n; i++) {
    int64_t size = 0;
    if (!n_is_size(x, n_dim(x, x->in[0], 2 + i), &size)) {
      return n_fail(x, DIAG_ONNX_NOT_CONST, "auto_pad needs known spatial sizes");
    }
    int64_t outputs = (size + w->stride[i] - 1) / w->stride[i];
    int64_t reach = (w->kernel[i] - 1) * w->dilation[i] + 1;
    int64_t pad = VL_MAX((outputs - 1) * w->stride[i] + reach - size, 0);
    w->pad[i] = is_upper ? pad / 2 : pad - pad / 2;
    w->pad[w->n + i] = pad - w->pad[i];
  }
  return true;
}

bool window_read(OnnxNode *x, const int64_t *kernel, Window *w) {
  static const char *const modes[] = {"NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", NULL};
  uint32_t n[3] = {0};
  const int64_t *stride = get_ints(x, "strides", &n[0]), *gap = get_ints(x, "dilations", &n[1]);
  const int64_t *pad = get_ints(x, "pads", &n[2]);
  int mode = get_choice(x, "auto_pad", modes);
  if (mode < 0) return false;
  if ((stride && n[0] != w->n) || (gap && n[1] != w->n) || (pad && n[2] != 2 * w->n)) {
    n_fail(x, DIAG_ONNX_ATTRIBUTE, "strides, dilations or pads do not fit the spatial axes");
    diag_expected(x->im->d, "%" PRIu32 " spatial axes", w->n);
    return false;
  }
  for (uint32_t i = 0; i < w->n; i++) {
    w->kernel[i] = kernel[i];
    w->stride[i] = stride ? stride[i] : 1;
    w->dilation[i] = gap ? gap[i] : 1;
    w->pad[i] = pad && mode == 0 ? pad[i] : 0;
    w->pad[w->n + i] = pad && mode == 0 ? pad[w->n + i] : 0;
    int64_t most = 1 << 20, least = VL_MIN(VL_MIN(w->kernel[i], w->stride[i]), w->dilation[i]);
    int64_t top = VL_MAX(VL_MAX(w->kernel[i], w->stride[i]), w->dilation[i]);
    bool pads_ok =
        VL_MIN(w->pad[i], w->pad[w->n + i]) >= 0 && VL_MAX(w->pad[i], w->pad[w->n + i]) <= most;
    if (least < 1 || top > most || !pads_ok) {
      return n_fail(x, DIAG_ONNX_ATTRIBUTE,
                    "a kernel size, stride, dilation or pad is out of range");
    }
  }
  return mode != 1 && mode != 2 ? true : window_same(x, w, mode == 1);
}

bool imp_conv(OnnxNode *x) {
  uint32_t rank = n_rank(x, x->in[0]), n = 0;
  Window w = {.n = rank - 2};
  int64_t kernel[VLPC_MAX_RANK] = {0};
  if (rank < 3 || n_rank(x, x->in[1]) != rank) {
    n_fail(x, DIAG_ONNX_SHAPE, "input and weights must have one rank, 3 or more");
    diag_found(x->im->d, "rank %" PRIu32 " and %" PRIu32, rank, n_rank(x, x->in[1]));
    return false;
  }
  const int64_t *given = get_ints(x, "kernel_shape", &n);
  for (uint32_t i = 0; i < w.n; i++) {
    if (!ir_size_const(x->g, x->in[1], (int)(2 + i), &kernel[i])) {
      return n_fail(x, DIAG_ONNX_NOT_CONST, "the kernel's size must be known at compile time");
    }
    if (given && (n != w.n || given[i] != kernel[i])) {
      return n_fail(x, DIAG_ONNX_ATTRIBUTE, "kernel_shape is not the shape of the weights");
    }
  }
  if (!window_read(x, kernel, &w)) return false;
  Attr attr[4] = {attr_ints(A_strides, w.stride, w.n), attr_ints(A_pads, w.pad, 2 * w.n),
                  attr_ints(A_dilations, w.dilation, w.n),
                  attr_int(A_group, get_int(x, "group", 1))};
  return n_out(x, 0, n_node(x, OP_conv, val_ok(n_in(x, 2)) ? 3 : 2, x->in, 4, attr));
}
