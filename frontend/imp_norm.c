/* SPDX-License-Identifier: Apache-2.0 */
/* imp_norm.c - normalisations.
**
** LayerNormalization becomes the layernorm op, the others are written out.
** ONNX computes the statistics in stash_type (float32 unless said otherwise) and
** converts back before the scale, so 16-bit inputs are cast there and back. */
#include <inttypes.h>

#include "frontend/fe_int.h"

static bool is_narrow(VlDtype t) { return t == VLPC_F16 || t == VLPC_BF16; }

/* x -> (x - mean) / sqrt(var + eps) over axes, with scale and offset 1 and 0. */
static Val standardized(OnnxNode *x, Val a, const Axes *axes, double eps) {
  Val mean = n_reduce(x, OP_reduce_mean, a, axes, true), d = n_ew2(x, OP_sub, a, mean);
  Val var = n_reduce(x, OP_reduce_mean, n_ew2(x, OP_mul, d, d), axes, true);
  Val sd = n_ew1(x, OP_sqrt, n_ew2(x, OP_add, var, n_like(x, a, eps)));
  return n_ew2(x, OP_div, d, sd);
}

/* ---- LayerNormalization ------------------------------------------------- */

/* The optional second and third outputs: mean and 1 / standard deviation. */
static bool layer_statistics(OnnxNode *x, Val a, uint32_t axis, double eps) {
  Axes axes = {.given = true};
  if (!n_wants(x, 1) && !n_wants(x, 2)) return true;
  for (uint32_t i = axis; i < n_rank(x, a); i++) axes.at[axes.n++] = i;
  Val mean = n_reduce(x, OP_reduce_mean, a, &axes, true), d = n_ew2(x, OP_sub, a, mean);
  Val var = n_reduce(x, OP_reduce_mean, n_ew2(x, OP_mul, d, d), &axes, true);
  Val sd = n_ew1(x, OP_sqrt, n_ew2(x, OP_add, var, n_like(x, a, eps)));
  if (n_wants(x, 1) && !n_out(x, 1, mean)) return false;
  return !n_wants(x, 2) || n_out(x, 2, n_ew1(x, OP_recip, sd));
}

/* The axes from `axis` on as one last axis. */
static Val as_rows(OnnxNode *x, Val a, uint32_t axis) {
  DimId dim[VLPC_MAX_RANK], row = n_size(x, 1);
  if (!val_ok(a)) return VAL_NONE;
  uint32_t rank = n_rank(x, a);
  if (axis + 1 == rank) return a;
  for (uint32_t i = 0; i < rank; i++) {
    if (i < axis) dim[i] = n_dim(x, a, i);
    else row = dim_mul(n_dims(x), row, n_dim(x, a, i));
  }
  dim[axis] = row;
  return n_reshape(x, a, dim, axis + 1);
}

/* A parameter as the op wants it: one value per element of the row. */
static bool is_row_vector(OnnxNode *x, Val p, Val a, uint32_t axis) {
  uint32_t rank = n_rank(x, a), n = rank - axis;
  if (!val_ok(p)) return true;
  if (n_rank(x, p) != n) return false;
  for (uint32_t i = 0; i < n; i++) {
    if (n_dim(x, p, i) != n_dim(x, a, axis + i)) return false;
  }
  return true;
}

static Val layernorm(OnnxNode *x, Val rows, Val gamma, Val beta, double eps) {
  Attr attr = attr_float(A_eps, eps);
  Val in[3] = {rows, gamma, beta};
  uint32_t n = val_ok(beta) ? 3 : val_ok(gamma) ? 2 : 1;
  return n_node(x, OP_layernorm, n, in, 1, &attr);
}

static Val unrowed(OnnxNode *x, Val v, Val like) {
  DimId dim[VLPC_MAX_RANK];
  uint32_t rank = n_rank(x, like);
  for (uint32_t i = 0; i < rank; i++) dim[i] = n_dim(x, like, i);
  return n_reshape(x, v, dim, rank);
}

bool imp_layer_norm(OnnxNode *x) {
  uint32_t axis;
  Val a = x->in[0], scale = x->in[1], bias = n_in(x, 2);
  double eps = get_float(x, "epsilon", 1e-5f);
  VlDtype t = n_dtype(x, a);
  if (!n_axis(x, get_int(x, "axis", -1), n_rank(x, a), &axis)) return false;
  Val wide = is_narrow(t) ? n_cast(x, a, VLPC_F32) : a;
  if (!layer_statistics(x, wide, axis, eps)) return false;
  bool fits = is_row_vector(x, scale, a, axis) && is_row_vector(x, bias, a, axis) &&
              n_dtype(x, scale) == t && (!val_ok(bias) || n_dtype(x, bias) == t);
  if (fits && !is_narrow(t)) {
    Val gamma = as_rows(x, scale, 0), beta = val_ok(bias) ? as_rows(x, bias, 0) : bias;
    return n_out(x, 0, unrowed(x, layernorm(x, as_rows(x, a, axis), gamma, beta, eps), a));
  }
  Val v = layernorm(x, as_rows(x, wide, axis), VAL_NONE, VAL_NONE, eps);
  v = n_cast(x, unrowed(x, v, a), n_dtype(x, scale));
  v = n_ew2(x, OP_mul, v, scale);
  return n_out(x, 0, val_ok(bias) ? n_ew2(x, OP_add, v, bias) : v);
}

bool imp_rms_norm(OnnxNode *x) {
  uint32_t axis;
  Axes axes = {.given = true};
  Val a = x->in[0];
  if (!n_axis(x, get_int(x, "axis", -1), n_rank(x, a), &axis)) return false;
  for (uint32_t i = axis; i < n_rank(x, a); i++) axes.at[axes.n++] = i;
  Val wide = is_narrow(n_dtype(x, a)) ? n_cast(x, a, VLPC_F32) : a;
  Val mean = n_reduce(x, OP_reduce_mean, n_ew2(x, OP_mul, wide, wide), &axes, true);
  Val eps = n_like(x, wide, get_float(x, "epsilon", 1e-5f));
  Val v = n_ew2(x, OP_div, wide, n_ew1(x, OP_sqrt, n_ew2(x, OP_add, mean, eps)));
  return n_out(x, 0, n_ew2(x, OP_mul, n_cast(x, v, n_dtype(x, x->in[1])), x->in[1]));
}

/* ---- by channel --------------------------------------------------------- */

/* A vector over channels, shaped [C, 1, …] for rank axes with the channel second. */
static Val per_channel(OnnxNode *x, Val v, uint32_t rank) {
  DimId dim[VLPC_MAX_RANK];
  if (n_rank(x, v) != 1) {
    n_fail(x, DIAG_ONNX_SHAPE, "a parameter by channel must have one axis");
    return VAL_NONE;
  }
  for (uint32_t i = 0; i + 1 < rank; i++) dim[i] = i ? n_size(x, 1) : n_dim(x, v, 0);
  return n_reshape(x, v, dim, rank - 1);
}

static bool has_channels(OnnxNode *x, uint32_t least) {
  uint32_t rank = n_rank(x, x->in[0]);
  if (rank >= least) return true;
  n_fail(x, DIAG_ONNX_SHAPE, "the input has too few axes");
  diag_found(x->im->d, "rank %" PRIu32, rank);
  diag_expected(x->im->d, "%" PRIu32 " or more", least);
  return false;
}

bool imp_batch_norm(OnnxNode *x) {
  if (get_int(x, "training_mode", 0)) {
    n_fail(x, DIAG_ONNX_FORM, "BatchNormalization in training mode is not supported");
    diag_fix(x->im->d, "export the model in evaluation mode (model.eval())");
    return false;
  }
  if (!has_channels(x, 2)) return false;
  Val a = x->in[0], p[4];
  VlDtype t = n_dtype(x, a);
  for (int i = 0; i < 4; i++) p[i] = n_cast(x, per_channel(x, x->in[1 + i], n_rank(x, a)), t);
  Val eps = n_like(x, a, get_float(x, "epsilon", 1e-5f));
  Val sd = n_ew1(x, OP_sqrt, n_ew2(x, OP_add, p[3], eps));
  Val v = n_ew2(x, OP_div, n_ew2(x, OP_sub, a, p[2]), sd);
  return n_out(x, 0, n_ew2(x, OP_add, n_ew2(x, OP_mul, v, p[0]), p[1]));
}

static Val with_parameters(OnnxNode *x, Val v, uint32_t rank) {
  Val scale = per_channel(x, x->in[1], rank), bias = per_channel(x, x->in[2], rank);
  return n_ew2(x, OP_add, n_ew2(x, OP_mul, v, scale), bias);
}

bool imp_instance_norm(OnnxNode *x) {
  if (!has_channels(x, 3)) return false;
  uint32_t rank = n_rank(x, x->in[0]);
  Axes axes = {.given = true};
  for (uint32_t i = 2; i < rank; i++) axes.at[axes.n++] = i;
  Val v = standardized(x, x->in[0], &axes, get_float(x, "epsilon", 1e-5f));
  return n_out(x, 0, with_parameters(x, v, rank));
}

/* [N, C, …] -> [N, groups, C/groups, …], standardised over all but the first two. */
bool imp_group_norm(OnnxNode *x) {
  if (!has_channels(x, 3)) return false;
  Val a = x->in[0];
  VlDtype t = n_dtype(x, a);
  uint32_t rank = n_rank(x, a);
  int64_t groups = get_int(x, "num_groups", 1), channels = 0;
  bool fits = n_is_size(x, n_dim(x, a, 1), &channels) && groups > 0 && channels % groups == 0;
  if (!fits || rank == VLPC_MAX_RANK) {
    n_fail(x, DIAG_ONNX_SHAPE, "the channels do not divide into the groups");
    diag_found(x->im->d, "%" PRId64 " channels, %" PRId64 " groups", channels, groups);
    return false;
  }
  DimId dim[VLPC_MAX_RANK];
  Axes axes = {.given = true};
  dim[0] = n_dim(x, a, 0);
  dim[1] = n_size(x, groups);
  dim[2] = n_size(x, channels / groups);
  for (uint32_t i = 2; i < rank; i++) dim[i + 1] = n_dim(x, a, i);
  for (uint32_t i = 2; i <= rank; i++) axes.at[axes.n++] = i;
  Val v = n_reshape(x, is_narrow(t) ? n_cast(x, a, VLPC_F32) : a, dim, rank + 1);
  v = standardized(x, v, &axes, get_float(x, "epsilon", 1e-5f));
  if (val_ok(v)) v = n_cast(x, unrowed(x, v, a), t);
  return n_out(x, 0, with_parameters(x, v, rank));
}

/* (x - mean) / (sqrt(mean(x²) - mean²) + 1e-9), as the standard writes it. */
bool imp_mean_variance_norm(OnnxNode *x) {
  Val a = x->in[0];
  Axes axes;
  if (!n_axes(x, 1, n_rank(x, a), &axes)) return false;
  if (!axes.given) {
    if (!has_channels(x, 4)) return false;
    axes = (Axes){true, 3, {0, 2, 3}};
  }
  Val mean = n_reduce(x, OP_reduce_mean, a, &axes, true);
  Val square = n_reduce(x, OP_reduce_mean, n_ew2(x, OP_mul, a, a), &axes, true);
  Val sd = n_ew1(x, OP_sqrt, n_ew2(x, OP_sub, square, n_ew2(x, OP_mul, mean, mean)));
  Val d = n_ew2(x, OP_sub, a, mean);
  return n_out(x, 0, n_ew2(x, OP_div, d, n_ew2(x, OP_add, sd, n_like(x, a, 1e-9))));
}
