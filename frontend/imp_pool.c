/* SPDX-License-Identifier: Apache-2.0 */
/* imp_pool.c - pooling, as a chain of strided slices: one per element of the
** window, joined by max or by addition. */
#include <inttypes.h>
#include <math.h>

#include "frontend/fe_int.h"

enum { WINDOW_MOST = 256 };

/* Sizes of the result, and with ceil_mode the padding that the last windows
** need beyond the file's. */
static bool pool_sizes(OnnxNode *x, Window *w, DimId *out, int64_t *extra) {
  bool is_ceil = get_int(x, "ceil_mode", 0) != 0;
  for (uint32_t i = 0; i < w->n; i++) {
    int64_t size = 0, reach = (w->kernel[i] - 1) * w->dilation[i] + 1;
    if (!n_is_size(x, n_dim(x, x->in[0], 2 + i), &size)) {
      return n_fail(x, DIAG_ONNX_NOT_CONST, "pooling needs known spatial sizes");
    }
    int64_t room = size + w->pad[i] + w->pad[w->n + i] - reach;
    if (room < 0) return n_fail(x, DIAG_ONNX_SHAPE, "the window is larger than the input");
    int64_t n = (room + (is_ceil ? w->stride[i] - 1 : 0)) / w->stride[i] + 1;
    if (is_ceil && (n - 1) * w->stride[i] >= size + w->pad[i]) n--;
    out[i] = n_size(x, n);
    extra[i] = VL_MAX((n - 1) * w->stride[i] - room, 0);
  }
  return true;
}

static Val padded(OnnxNode *x, Val a, const Window *w, const int64_t *extra, double value) {
  DimId before[VLPC_MAX_RANK], after[VLPC_MAX_RANK];
  bool any = false;
  if (!val_ok(a)) return VAL_NONE;
  for (uint32_t i = 0; i < w->n + 2; i++) {
    int64_t p = i < 2 ? 0 : w->pad[i - 2], q = i < 2 ? 0 : w->pad[w->n + i - 2] + extra[i - 2];
    before[i] = n_size(x, p);
    after[i] = n_size(x, q);
    any = any || p || q;
  }
  if (!any) return a;
  Attr attr[2] = {attr_dims(A_before, before, w->n + 2), attr_dims(A_after, after, w->n + 2)};
  return n_node(x, OP_pad, 2, (Val[]){a, n_like(x, a, value)}, 2, attr);
}

/* The element `at` of every window. */
static Val window_slice(OnnxNode *x, Val a, const Window *w, const DimId *out, const int64_t *at) {
  DimId start[VLPC_MAX_RANK], size[VLPC_MAX_RANK];
  int64_t step[VLPC_MAX_RANK];
  for (uint32_t i = 0; i < w->n + 2; i++) {
    bool is_spatial = i >= 2;
    start[i] = n_size(x, is_spatial ? at[i - 2] * w->dilation[i - 2] : 0);
    size[i] = is_spatial ? out[i - 2] : n_dim(x, a, i);
    step[i] = is_spatial ? w->stride[i - 2] : 1;
  }
  Attr attr[3] = {attr_dims(A_starts, start, w->n + 2), attr_dims(A_dims, size, w->n + 2),
                  attr_ints(A_steps, step, w->n + 2)};
  return n_node(x, OP_slice, 1, &a, 3, attr);
}

static Val pooled(OnnxNode *x, OpCode op, Val a, const Window *w, const DimId *out) {
  int64_t at[VLPC_MAX_RANK] = {0};
  Val v = VAL_NONE;
  if (!val_ok(a)) return VAL_NONE;
  for (bool more = true, first = true; more; first = false) {
    Val s = window_slice(x, a, w, out, at);
    v = first ? s : n_ew2(x, op, v, s);
    more = false;
    for (uint32_t i = w->n; i-- > 0 && !more;) {
      more = ++at[i] < w->kernel[i];
      if (!more) at[i] = 0;
    }
  }
  return v;
}

static bool pool_window(OnnxNode *x, Window *w) {
  uint32_t n = 0, rank = n_rank(x, x->in[0]);
  const int64_t *kernel = get_ints(x, "kernel_shape", &n);
  int64_t all = 1;
  if (rank < 3 || n != rank - 2) {
    n_fail(x, DIAG_ONNX_ATTRIBUTE, "kernel_shape does not fit the input");
    diag_found(x->im->d, "%" PRIu32 " sizes for an input of rank %" PRIu32, n, rank);
    return false;
  }
  w->n = n;
  if (!window_read(x, kernel, w)) return false;
  for (uint32_t i = 0; i < n && all <= WINDOW_MOST; i++) all *= w->kernel[i];
  if (all <= WINDOW_MOST) return true;
  return n_fail(x, DIAG_ONNX_FORM, "a window has more than %d elements", WINDOW_MOST);
}

bool imp_max_pool(OnnxNode *x) {
  Window w;
  DimId out[VLPC_MAX_RANK];
  int64_t extra[VLPC_MAX_RANK];
  if (!pool_window(x, &w) || !pool_sizes(x, &w, out, extra)) return false;
  VlDtype t = n_dtype(x, x->in[0]);
  double least = dtype_is_float(t) ? -INFINITY : t == VLPC_I8 ? -128 : 0;
  if (!dtype_is_float(t) && t != VLPC_I8 && t != VLPC_U8) {
    return n_fail(x, DIAG_ONNX_DTYPE, "MaxPool does not take %s", dtype_name(t));
  }
  return n_out(x, 0, pooled(x, OP_max, padded(x, x->in[0], &w, extra, least), &w, out));
}

/* How many elements each window averages over: those of the input, or with
** count_include_pad also those of the padding that the file asks for. */
static Val window_counts(OnnxNode *x, const Window *w, const DimId *out, const int64_t *extra) {
  DimId dim[VLPC_MAX_RANK];
  bool with_pad = get_int(x, "count_include_pad", 0) != 0;
  Window rest = *w;
  dim[0] = dim[1] = n_size(x, 1);
  for (uint32_t i = 0; i < w->n; i++) {
    DimId pads = n_size(x, with_pad ? w->pad[i] + w->pad[w->n + i] : 0);
    dim[2 + i] = dim_add(n_dims(x), n_dim(x, x->in[0], 2 + i), pads);
    if (with_pad) rest.pad[i] = rest.pad[w->n + i] = 0;
  }
  Val ones = n_broadcast(x, n_like(x, x->in[0], 1), dim, w->n + 2);
  return pooled(x, OP_add, padded(x, ones, &rest, extra, 0), w, out);
}

bool imp_average_pool(OnnxNode *x) {
  Window w;
  DimId out[VLPC_MAX_RANK];
  int64_t extra[VLPC_MAX_RANK];
  if (!pool_window(x, &w) || !pool_sizes(x, &w, out, extra)) return false;
  Val sum = pooled(x, OP_add, padded(x, x->in[0], &w, extra, 0), &w, out);
  return n_out(x, 0, n_ew2(x, OP_div, sum, window_counts(x, &w, out, extra)));
}

bool imp_global_pool(OnnxNode *x) {
  uint32_t rank = n_rank(x, x->in[0]);
  Axes axes = {.given = true};
  if (rank < 2) return n_fail(x, DIAG_ONNX_SHAPE, "pooling needs batch and channel axes");
  for (uint32_t i = 2; i < rank; i++) axes.at[axes.n++] = i;
  return n_out(x, 0, n_reduce(x, (OpCode)x->row->arg, x->in[0], &axes, true));
}
