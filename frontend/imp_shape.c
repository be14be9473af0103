/* SPDX-License-Identifier: Apache-2.0 */
/* imp_shape.c - sizes and views: the same elements under other axes. */
#include <inttypes.h>

#include "frontend/fe_int.h"

/* ---- sizes as values ---------------------------------------------------- */

static uint32_t clamp_axis(int64_t v, uint32_t rank) {
  if (v < 0) v += rank;
  return (uint32_t)VL_MIN(VL_MAX(v, 0), (int64_t)rank);
}

bool imp_shape(OnnxNode *x) {
  const Type *t = n_type(x, x->in[0]);
  uint32_t start = clamp_axis(get_int(x, "start", 0), t->rank);
  uint32_t end = clamp_axis(get_int(x, "end", t->rank), t->rank);
  DimId dim[VLPC_MAX_RANK];
  for (uint32_t i = start; i < end; i++) dim[i - start] = t->dim[i];
  return n_out(x, 0, ir_dims_vec(x->g, dim, end > start ? end - start : 0));
}

bool imp_size(OnnxNode *x) {
  const Type *t = n_type(x, x->in[0]);
  DimId dim[VLPC_MAX_RANK], all = n_size(x, 1);
  uint32_t rank = t->rank;
  for (uint32_t i = 0; i < rank; i++) {
    dim[i] = t->dim[i];
    all = dim_mul(n_dims(x), all, dim[i]);
  }
  if (all != DIM_NONE) return n_out(x, 0, n_reshape(x, ir_dims_vec(x->g, &all, 1), NULL, 0));
  Axes first = {true, 1, {0}};
  return n_out(x, 0, n_reduce(x, OP_reduce_prod, ir_dims_vec(x->g, dim, rank), &first, false));
}

/* ---- reshape ------------------------------------------------------------ */

typedef struct {
  DimId at[VLPC_MAX_RANK];
  uint32_t n;
} Sizes;

static Sizes sizes_of(OnnxNode *x, Val v) {
  const Type *t = n_type(x, v);
  Sizes s = {.n = t->rank};
  for (uint32_t i = 0; i < t->rank; i++) s.at[i] = t->dim[i];
  return s;
}

static DimId product(OnnxNode *x, const Sizes *s) {
  DimId d = n_size(x, 1);
  for (uint32_t i = 0; i < s->n; i++) d = dim_mul(n_dims(x), d, s->at[i]);
  return d;
}

/* all / part, with equal sizes cancelled first: symbols need not multiply. */
static DimId quotient(OnnxNode *x, Sizes all, Sizes part) {
  for (uint32_t i = 0; i < part.n;) {
    uint32_t k = 0;
    while (k < all.n && all.at[k] != part.at[i]) k++;
    int64_t zero;
    if (k == all.n || (n_is_size(x, all.at[k], &zero) && zero == 0)) {
      i++;
      continue;
    }
    all.at[k] = all.at[--all.n];
    part.at[i] = part.at[--part.n];
  }
  return dim_div(n_dims(x), product(x, &all), product(x, &part));
}

/* The sizes that Reshape's second input means: 0 copies, -1 is what is left.
** A size that is left and not affine becomes DIM_NONE. */
static bool meant_sizes(OnnxNode *x, const Sizes *in, Sizes *to) {
  bool zero_is_zero = get_int(x, "allowzero", 0) != 0;
  uint32_t hole = UINT32_MAX;
  int64_t v;
  for (uint32_t i = 0; i < to->n; i++) {
    if (!n_is_size(x, to->at[i], &v) || v > 0 || (v == 0 && zero_is_zero)) continue;
    if (v < -1 || (v == -1 && hole != UINT32_MAX) || (v == 0 && i >= in->n)) {
      n_fail(x, DIAG_ONNX_SHAPE, "the sizes to reshape to make no sense");
      diag_found(x->im->d, "%" PRId64 " for axis %" PRIu32, v, i);
      return false;
    }
    if (v == 0) to->at[i] = in->at[i];
    else hole = i;
  }
  if (hole == UINT32_MAX) return true;
  Sizes others = {0};
  for (uint32_t i = 0; i < to->n; i++) {
    if (i != hole) others.at[others.n++] = to->at[i];
  }
  to->at[hole] = quotient(x, *in, others);
  return true;
}

/* [b, l, …] with its first two axes merged to one of size b·l, which is no
** affine size; `to` has DIM_NONE there. */
static bool merge_rows(OnnxNode *x, Val a, const Sizes *in, Sizes to) {
  if (to.n < 1 || to.n >= VLPC_MAX_RANK || in->n < 2 || to.at[0] != DIM_NONE) {
    n_fail(x, DIAG_ONNX_SHAPE, "the size left over is no whole number of elements");
    diag_fix(x->im->d, "export with the text length fixed, only the batch dynamic");
    return false;
  }
  for (uint32_t i = to.n; i > 0; i--) to.at[i] = to.at[i - 1];
  to.n++;
  to.at[0] = in->at[0];
  to.at[1] = in->at[1];
  return n_out_rows(x, n_reshape(x, a, to.at, to.n));
}

/* k·symbol as k and symbol, anything else as 1 and itself. */
static DimId primitive(OnnxNode *x, DimId d, int64_t *factor) {
  Dim e = dim_get(n_dims(x), d);
  bool is_multiple = e.n == 1 && e.c == 0;
  *factor = is_multiple ? e.term[0].k : 1;
  return is_multiple ? dim_of_symbol(n_dims(x), e.term[0].sym) : d;
}

static Sizes primitives(OnnxNode *x, const Sizes *s) {
  Sizes out = {.n = s->n};
  DimId all = n_size(x, 1);
  for (uint32_t i = 0; i < s->n; i++) {
    int64_t factor = 1;
    out.at[i] = primitive(x, s->at[i], &factor);
    all = dim_mul(n_dims(x), all, n_size(x, factor));
  }
  if (out.n < VLPC_MAX_RANK) out.at[out.n++] = all;
  return out;
}

/* The numbers of elements must be equal: may say what a symbol is. */
static void agree_counts(OnnxNode *x, const Sizes *in, const Sizes *to) {
  Sizes a = primitives(x, in), b = primitives(x, to);
  for (uint32_t i = 0; i < b.n;) {
    uint32_t k = 0;
    while (k < a.n && a.at[k] != b.at[i]) k++;
    if (k == a.n) {
      i++;
      continue;
    }
    a.at[k] = a.at[--a.n];
    b.at[i] = b.at[--b.n];
  }
  int64_t v;
  DimId p = product(x, &a), q = product(x, &b);
  bool is_empty = (n_is_size(x, p, &v) && v == 0) || (n_is_size(x, q, &v) && v == 0);
  if (!is_empty) n_agree(x, p, q);
}

bool imp_reshape(OnnxNode *x) {
  DimId *given = NULL;
  Val a = val_ok(n_rows(x, 0)) ? n_rows(x, 0) : x->in[0];
  Sizes in = sizes_of(x, a), to = {0};
  uint32_t n = 0;
  if (!n_known_dims(x, 1, "the sizes to reshape to", &given, &n)) return false;
  if (n > VLPC_MAX_RANK) {
    return n_fail(x, DIAG_ONNX_FORM, "the result has more than %d axes", VLPC_MAX_RANK);
  }
  to.n = n;
  for (uint32_t i = 0; i < n; i++) to.at[i] = given[i];
  if (!meant_sizes(x, &in, &to)) return false;
  for (uint32_t i = 0; i < to.n; i++) {
    if (to.at[i] == DIM_NONE) return merge_rows(x, a, &in, to);
  }
  agree_counts(x, &in, &to);
  return n_out(x, 0, n_reshape(x, a, to.at, to.n));
}

bool imp_flatten(OnnxNode *x) {
  Sizes in = sizes_of(x, x->in[0]);
  int64_t rank = in.n, axis = get_int(x, "axis", 1);
  if (axis < -rank || axis > rank) {
    n_fail(x, DIAG_ONNX_ATTRIBUTE, "the axis is out of range");
    diag_found(x->im->d, "axis %" PRId64, axis);
    diag_expected(x->im->d, "%" PRId64 " to %" PRId64, -rank, rank);
    return false;
  }
  if (axis < 0) axis += rank;
  Sizes head = {.n = (uint32_t)axis}, tail = {.n = in.n - (uint32_t)axis};
  for (uint32_t i = 0; i < in.n; i++) {
    if (i < head.n) head.at[i] = in.at[i];
    else tail.at[i - head.n] = in.at[i];
  }
  Sizes to = {{product(x, &head), product(x, &tail)}, 2};
  if (axis == 2 && to.at[0] == DIM_NONE) return merge_rows(x, x->in[0], &in, to);
  return n_out(x, 0, n_reshape(x, x->in[0], to.at, 2));
}

bool imp_squeeze(OnnxNode *x) {
  Sizes in = sizes_of(x, x->in[0]), to = {0};
  Axes axes;
  if (!n_axes(x, 1, in.n, &axes)) return false;
  for (uint32_t i = 0, k = 0; i < in.n; i++) {
    int64_t size = 0;
    bool is_one = n_is_size(x, in.at[i], &size) && size == 1;
    bool is_named = k < axes.n && axes.at[k] == i;
    k += is_named;
    if (is_named && !is_one) {
      n_fail(x, DIAG_ONNX_SHAPE, "an axis to squeeze does not have size 1");
      diag_found(x->im->d, "axis %" PRIu32, i);
      return false;
    }
    if (axes.given ? !is_named : !is_one) to.at[to.n++] = in.at[i];
  }
  return n_out(x, 0, n_reshape(x, x->in[0], to.at, to.n));
}

bool imp_unsqueeze(OnnxNode *x) {
  Sizes in = sizes_of(x, x->in[0]), to = {0};
  int64_t *list = NULL;
  uint32_t n = 0;
  Axes axes;
  if (has_attr(x, "axes")) get_ints(x, "axes", &n);
  else if (!n_const_ints(x, 1, "the list of axes", &list, &n)) return false;
  if (n + in.n > VLPC_MAX_RANK) {
    return n_fail(x, DIAG_ONNX_FORM, "the result has more than %d axes", VLPC_MAX_RANK);
  }
  if (!n_axes(x, 1, in.n + n, &axes)) return false;
  for (uint32_t i = 0, k = 0, from = 0; i < in.n + n; i++) {
    bool is_new = k < axes.n && axes.at[k] == i;
    to.at[to.n++] = is_new ? n_size(x, 1) : in.at[from++];
    k += is_new;
  }
  return n_out(x, 0, n_reshape(x, x->in[0], to.at, to.n));
}

bool imp_transpose(OnnxNode *x) {
  uint32_t rank = n_rank(x, x->in[0]), n = 0;
  const int64_t *perm = get_ints(x, "perm", &n);
  int64_t reversed[VLPC_MAX_RANK];
  for (uint32_t i = 0; i < rank; i++) reversed[i] = rank - 1 - i;
  if (!perm || (n == 0 && rank)) perm = reversed, n = rank;
  return n_out(x, 0, n_permute(x, x->in[0], perm, n));
}

/* ---- repetition --------------------------------------------------------- */

static const DimId *leading_ones(OnnxNode *x, const Sizes *s, uint32_t rank, DimId *out) {
  for (uint32_t i = 0; i < rank; i++) {
    out[i] = i + s->n < rank ? n_size(x, 1) : s->at[i + s->n - rank];
  }
  return out;
}

bool imp_expand(OnnxNode *x) {
  DimId *given = NULL, a[VLPC_MAX_RANK], b[VLPC_MAX_RANK];
  Sizes in = sizes_of(x, x->in[0]), to = {0};
  uint32_t n = 0;
  if (!n_known_dims(x, 1, "the sizes to expand to", &given, &n)) return false;
  if (n > VLPC_MAX_RANK) {
    return n_fail(x, DIAG_ONNX_FORM, "the result has more than %d axes", VLPC_MAX_RANK);
  }
  to.n = n;
  for (uint32_t i = 0; i < n; i++) to.at[i] = given[i];
  uint32_t rank = VL_MAX(in.n, to.n);
  leading_ones(x, &in, rank, a);
  leading_ones(x, &to, rank, b);
  for (uint32_t i = 0; i < rank; i++) {
    int64_t from = 0, want = 0;
    bool from_known = n_is_size(x, a[i], &from), want_known = n_is_size(x, b[i], &want);
    if (want_known && want == 1) b[i] = a[i];
    else if (!(from_known && from == 1) && !n_agree(x, a[i], b[i])) {
      n_fail(x, DIAG_ONNX_SHAPE, "a size does not expand");
      diag_found(x->im->d, "axis %" PRIu32, i);
      diag_expected(x->im->d, "equal sizes, or 1");
      return false;
    }
  }
  return n_out(x, 0, n_broadcast(x, x->in[0], b, rank));
}

/* [.., d, ..] → [.., 1, d, ..] → [.., r, d, ..] → [.., r·d, ..] */
static Val repeat_axis(OnnxNode *x, Val a, uint32_t axis, DimId times) {
  if (!val_ok(a)) return VAL_NONE;
  Sizes s = sizes_of(x, a);
  int64_t size = 0;
  DimId own = s.at[axis];
  if (n_is_size(x, times, &size) && size == 1) return a;
  bool is_one = n_is_size(x, own, &size) && size == 1;
  Val v = is_one ? a : n_unsqueeze(x, a, axis);
  if (!val_ok(v)) return VAL_NONE;
  Sizes wide = sizes_of(x, v);
  wide.at[axis] = times;
  v = n_broadcast(x, v, wide.at, wide.n);
  s.at[axis] = dim_mul(n_dims(x), times, own);
  return n_reshape(x, v, s.at, s.n);
}

bool imp_tile(OnnxNode *x) {
  DimId *times = NULL;
  uint32_t n = 0, rank = n_rank(x, x->in[0]);
  if (!n_known_dims(x, 1, "the repetitions", &times, &n)) return false;
  if (n != rank) {
    n_fail(x, DIAG_ONNX_SHAPE, "there must be one repetition for each axis");
    diag_found(x->im->d, "%" PRIu32, n);
    diag_expected(x->im->d, "%" PRIu32, rank);
    return false;
  }
  Val v = x->in[0];
  for (uint32_t i = 0; i < rank; i++) v = repeat_axis(x, v, i, times[i]);
  return n_out(x, 0, v);
}

/* ---- pass through ------------------------------------------------------- */

bool imp_identity(OnnxNode *x) {
  x->out_seq[0] = x->seq[0];
  x->out[0] = x->in[0];
  return true;
}

bool imp_dropout(OnnxNode *x) {
  int64_t training = 0;
  if (val_ok(n_in(x, 2)) && !n_const_int(x, 2, "training_mode", &training)) return false;
  if (training) {
    n_fail(x, DIAG_ONNX_FORM, "Dropout in training mode is not supported");
    diag_fix(x->im->d, "export the model in evaluation mode (model.eval())");
    return false;
  }
  if (!n_out(x, 0, x->in[0])) return false;
  if (!n_wants(x, 1)) return true;
  Sizes s = sizes_of(x, x->in[0]);
  return n_out(x, 1, n_broadcast(x, n_scalar(x, VLPC_BOOL, 1), s.at, s.n));
}
