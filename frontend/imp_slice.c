/* SPDX-License-Identifier: Apache-2.0 */
/* imp_slice.c - parts of tensors: slice, split, concat, pad.
**
** Bounds may be sizes that are known at run time only.  ONNX clamps a bound to
** the axis; where neither the bound nor the axis is a number, the bound is
** taken as it stands, and the graph's check of the slice holds it. */
#include <inttypes.h>

#include "frontend/fe_int.h"

bool imp_concat(OnnxNode *x) {
  uint32_t axis;
  return n_axis(x, get_int(x, "axis", 0), n_rank(x, x->in[0]), &axis) &&
         n_out(x, 0, n_concat(x, x->in, x->n_in, axis));
}

/* ---- slice -------------------------------------------------------------- */

typedef struct {
  DimId start[VLPC_MAX_RANK], size[VLPC_MAX_RANK];
  int64_t step[VLPC_MAX_RANK];
} Cut;

/* A bound as an index: below zero it counts from the end, then it is clamped to
** [low, axis size + high]. */
static DimId bound(OnnxNode *x, DimId b, DimId size, int64_t high) {
  DimTable *t = n_dims(x);
  int64_t v, n;
  if (!n_is_size(x, b, &v)) return b;
  if (n_is_size(x, size, &n)) {
    if (v < 0) v = v < -n ? -n - 1 + n : v + n;
    int64_t least = high < 0 ? -1 : 0;
    return n_size(x, VL_MIN(VL_MAX(v, least), n + high));
  }
  if (v >= INT32_MAX) return dim_add(t, size, n_size(x, high));
  if (v <= -(int64_t)INT32_MAX) return n_size(x, high < 0 ? -1 : 0);
  return v < 0 ? dim_add(t, size, b) : b;
}

/* Elements of start, start + step, … before end. */
static DimId cut_size(OnnxNode *x, DimId start, DimId end, int64_t step) {
  DimId span = step > 0 ? dim_sub(n_dims(x), end, start) : dim_sub(n_dims(x), start, end);
  uint64_t by = step > 0 ? (uint64_t)step : 0 - (uint64_t)step;
  int64_t n;
  if (n_is_size(x, span, &n)) {
    return n_size(x, n <= 0 ? 0 : (int64_t)(((uint64_t)n + by - 1) / by));
  }
  return by == 1          ? span
         : by < INT32_MAX ? dim_div(n_dims(x), span, n_size(x, (int64_t)by))
                          : DIM_NONE;
}

static bool cut_axis(OnnxNode *x, Cut *c, uint32_t axis, const DimId bounds[2], int64_t step) {
  DimId size = n_dim(x, x->in[0], axis);
  if (step == 0) return n_fail(x, DIAG_ONNX_SHAPE, "a slice has step 0");
  c->step[axis] = step;
  c->start[axis] = bound(x, bounds[0], size, step > 0 ? 0 : -1);
  DimId end = bound(x, bounds[1], size, step > 0 ? 0 : -1);
  c->size[axis] = cut_size(x, c->start[axis], end, step);
  int64_t n;
  if (n_is_size(x, c->size[axis], &n) && n == 0) c->start[axis] = n_size(x, 0);
  if (c->size[axis] != DIM_NONE) return true;
  return n_fail(x, DIAG_ONNX_NOT_CONST, "the slice's size on axis %" PRIu32 " is no whole number",
                axis);
}

static Val cut_node(OnnxNode *x, const Cut *c) {
  uint32_t n = n_rank(x, x->in[0]);
  Attr attr[3] = {attr_dims(A_starts, c->start, n), attr_dims(A_dims, c->size, n),
                  attr_ints(A_steps, c->step, n)};
  return n_node(x, OP_slice, 1, x->in, 3, attr);
}

bool imp_slice(OnnxNode *x) {
  DimId *starts = NULL, *ends = NULL;
  int64_t *axes = NULL, *steps = NULL;
  uint32_t n[4] = {0}, rank = n_rank(x, x->in[0]), seen = 0;
  if (!n_known_dims(x, 1, "the starts of a slice", &starts, &n[0])) return false;
  if (!n_known_dims(x, 2, "the ends of a slice", &ends, &n[1])) return false;
  bool has_axes = val_ok(n_in(x, 3)), has_steps = val_ok(n_in(x, 4));
  if (has_axes && !n_const_ints(x, 3, "the list of axes", &axes, &n[2])) return false;
  if (has_steps && !n_const_ints(x, 4, "the steps of a slice", &steps, &n[3])) return false;
  if (n[0] != n[1] || (has_axes && n[0] != n[2]) || (has_steps && n[0] != n[3]) || n[0] > rank) {
    return n_fail(x, DIAG_ONNX_SHAPE, "starts, ends, axes and steps do not belong together");
  }
  Cut c;
  for (uint32_t i = 0; i < rank; i++) {
    c.start[i] = n_size(x, 0);
    c.size[i] = n_dim(x, x->in[0], i);
    c.step[i] = 1;
  }
  for (uint32_t i = 0; i < n[0]; i++) {
    uint32_t axis = i;
    if (has_axes && !n_axis(x, axes[i], rank, &axis)) return false;
    if (seen & 1u << axis) return n_fail(x, DIAG_ONNX_SHAPE, "axis %" PRIu32 " comes twice", axis);
    seen |= 1u << axis;
    if (!cut_axis(x, &c, axis, (DimId[]){starts[i], ends[i]}, has_steps ? steps[i] : 1))
      return false;
  }
  return n_out(x, 0, cut_node(x, &c));
}

/* ---- split -------------------------------------------------------------- */

/* Sizes of the parts: given, or equal with a smaller last one. */
static bool part_sizes(OnnxNode *x, DimId whole, DimId **out) {
  uint32_t n = 0;
  const int64_t *listed = get_ints(x, "split", &n);
  *out = arena_array(x->a, DimId, x->n_out + 1);
  if (val_ok(n_in(x, 1))) {
    if (!n_known_dims(x, 1, "the sizes of the parts", out, &n)) return false;
  } else if (listed) {
    for (uint32_t i = 0; i < n && i < x->n_out; i++) (*out)[i] = n_size(x, listed[i]);
  } else {
    int64_t size = 0, parts = x->n_out;
    n = x->n_out;
    if (get_int(x, "num_outputs", parts) != parts) n = 0;
    bool is_known = n_is_size(x, whole, &size);
    int64_t each = (size + parts - 1) / parts;
    for (int64_t i = 0; i < parts; i++) {
      int64_t left = VL_MAX(size - i * each, 0);
      (*out)[i] = is_known ? n_size(x, VL_MIN(each, left))
                           : dim_div(n_dims(x), whole, n_size(x, parts));
    }
  }
  if (n == x->n_out) return true;
  n_fail(x, DIAG_ONNX_COUNT, "the number of parts is not the number of outputs");
  diag_found(x->im->d, "%" PRIu32 " parts", n);
  diag_expected(x->im->d, "%" PRIu32, x->n_out);
  return false;
}

bool imp_split(OnnxNode *x) {
  uint32_t axis;
  DimId *size = NULL, at = n_size(x, 0), whole;
  if (!n_axis(x, get_int(x, "axis", 0), n_rank(x, x->in[0]), &axis)) return false;
  whole = n_dim(x, x->in[0], axis);
  if (!part_sizes(x, whole, &size)) return false;
  for (uint32_t i = 0; i < x->n_out; i++) {
    if (!n_out(x, i, n_slice(x, x->in[0], axis, at, size[i]))) return false;
    at = dim_add(n_dims(x), at, size[i]);
  }
  if (at == whole) return true;
  return n_fail(x, DIAG_ONNX_SHAPE, "the parts do not add up to the axis");
}

/* ---- pad ---------------------------------------------------------------- */

typedef enum { PAD_CONSTANT, PAD_REFLECT, PAD_EDGE, PAD_WRAP } PadMode;

typedef struct {
  int64_t before[VLPC_MAX_RANK], after[VLPC_MAX_RANK];
} Pads;

static bool read_pads(OnnxNode *x, Pads *p) {
  uint32_t rank = n_rank(x, x->in[0]), n = 0, n_axes_given = rank;
  int64_t *v = NULL, *axes = NULL;
  *p = (Pads){0};
  if (!n_const_ints(x, 1, "the padding", &v, &n)) return false;
  bool has_axes = val_ok(n_in(x, 3));
  if (has_axes && !n_const_ints(x, 3, "the list of axes", &axes, &n_axes_given)) return false;
  if (n != 2 * n_axes_given || n_axes_given > rank) {
    n_fail(x, DIAG_ONNX_SHAPE, "there must be two numbers for each padded axis");
    diag_found(x->im->d, "%" PRIu32 " for %" PRIu32 " axes", n, n_axes_given);
    return false;
  }
  for (uint32_t i = 0; i < n_axes_given; i++) {
    uint32_t axis = i;
    if (has_axes && !n_axis(x, axes[i], rank, &axis)) return false;
    p->before[axis] = v[i];
    p->after[axis] = v[n_axes_given + i];
    if (v[i] > INT32_MAX || v[i] < -INT32_MAX || p->after[axis] > INT32_MAX ||
        p->after[axis] < -INT32_MAX) {
      return n_fail(x, DIAG_ONNX_SHAPE, "the padding is out of range");
    }
  }
  return true;
}

/* Negative padding cuts off. */
static Val crop(OnnxNode *x, Val a, Pads *p) {
  for (uint32_t i = 0; i < n_rank(x, x->in[0]) && val_ok(a); i++) {
    int64_t head = VL_MIN(p->before[i], 0), tail = VL_MIN(p->after[i], 0);
    if (!head && !tail) continue;
    DimId size = dim_add(n_dims(x), n_dim(x, a, i), n_size(x, head + tail));
    a = n_slice(x, a, i, n_size(x, -head), size);
    p->before[i] = VL_MAX(p->before[i], 0);
    p->after[i] = VL_MAX(p->after[i], 0);
  }
  return a;
}

static Val pad_constant(OnnxNode *x, Val a, const Pads *p) {
  DimId before[VLPC_MAX_RANK], after[VLPC_MAX_RANK];
  if (!val_ok(a)) return VAL_NONE;
  uint32_t n = n_rank(x, a);
  for (uint32_t i = 0; i < n; i++) {
    before[i] = n_size(x, p->before[i]);
    after[i] = n_size(x, p->after[i]);
  }
  Val value = val_ok(n_in(x, 2)) ? n_reshape(x, x->in[2], NULL, 0) : n_like(x, a, 0);
  Attr attr[2] = {attr_dims(A_before, before, n), attr_dims(A_after, after, n)};
  return n_node(x, OP_pad, 2, (Val[]){a, value}, 2, attr);
}

/* Where padded position i (0 is the first real element) reads from. */
static int64_t mirrored(int64_t i, int64_t n, PadMode mode) {
  if (mode == PAD_EDGE || n == 1) return VL_MIN(VL_MAX(i, 0), n - 1);
  int64_t period = mode == PAD_WRAP ? n : 2 * (n - 1);
  int64_t k = i % period;
  if (k < 0) k += period;
  return k < n ? k : period - k;
}

static Val pad_by_index(OnnxNode *x, Val a, const Pads *p, PadMode mode) {
  for (uint32_t i = 0; i < n_rank(x, x->in[0]) && val_ok(a); i++) {
    int64_t size = 0;
    if (!p->before[i] && !p->after[i]) continue;
    bool is_known = n_is_size(x, n_dim(x, a, i), &size);
    int64_t all = p->before[i] + size + p->after[i];
    if (!is_known || size == 0 || all > FE_MAX_INTS) {
      n_fail(x, DIAG_ONNX_FORM, "padding by position needs axis %" PRIu32 " known and short", i);
      return VAL_NONE;
    }
    int64_t *at = arena_array(x->a, int64_t, all);
    for (int64_t k = 0; k < all; k++) at[k] = mirrored(k - p->before[i], size, mode);
    Attr axis = attr_int(A_axis, i);
    a = n_node(x, OP_gather, 2, (Val[]){a, ir_const_i64(x->g, at, (uint32_t)all)}, 1, &axis);
  }
  return a;
}

bool imp_pad(OnnxNode *x) {
  static const char *const modes[] = {"constant", "reflect", "edge", "wrap", NULL};
  int mode = get_choice(x, "mode", modes);
  Pads p;
  if (mode < 0 || !read_pads(x, &p)) return false;
  Val a = crop(x, x->in[0], &p);
  return n_out(x, 0, mode == PAD_CONSTANT ? pad_constant(x, a, &p)
                                          : pad_by_index(x, a, &p, (PadMode)mode));
}
