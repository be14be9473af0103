/* SPDX-License-Identifier: Apache-2.0 */
/* imp_attn.c - ONNX's Attention (opset 23 and later), written out:
**   softmax(softcap(√s·Q · √s·Kᵀ) + bias) · V
** with grouped heads repeated, a cache put before the keys, and bias made of the
** mask, the causal triangle, the window and the cache's valid length.  A row of
** the bias that masks every key gives zeroes. */
#include <inttypes.h>
#include <math.h>

#include "frontend/fe_int.h"

typedef struct {
  Val q, k, v, bias; /* [batch, heads, length, size]; bias may be none */
  int64_t q_heads, kv_heads;
  DimId batch, q_len, kv_len;
  VlDtype dtype;
  bool is_flat;       /* operands have 3 axes */
  bool may_mask_rows; /* the bias may mask every key of a row */
} Attn;

enum { IN_MASK = 3, IN_PAST_K = 4, IN_PAST_V = 5, IN_VALID = 6 };

/* [batch, length, heads * size] -> [batch, heads, length, size] */
static Val split_heads(OnnxNode *x, Val a, int64_t heads) {
  static const int64_t perm[4] = {0, 2, 1, 3};
  DimId h = n_size(x, heads);
  DimId dim[4] = {n_dim(x, a, 0), n_dim(x, a, 1), h, dim_div(n_dims(x), n_dim(x, a, 2), h)};
  return n_permute(x, n_reshape(x, a, dim, 4), perm, 4);
}

static bool read_operands(OnnxNode *x, Attn *t) {
  uint32_t rank = n_rank(x, x->in[0]);
  t->is_flat = rank == 3;
  if ((rank != 3 && rank != 4) || n_rank(x, x->in[1]) != rank || n_rank(x, x->in[2]) != rank) {
    return n_fail(x, DIAG_ONNX_SHAPE, "Q, K and V must all have 3 axes or all have 4");
  }
  t->q_heads = get_int(x, "q_num_heads", 0);
  t->kv_heads = get_int(x, "kv_num_heads", 0);
  if (t->is_flat && (t->q_heads < 1 || t->kv_heads < 1)) {
    return n_fail(x, DIAG_ONNX_ATTRIBUTE, "operands with 3 axes need q_num_heads and kv_num_heads");
  }
  t->q = t->is_flat ? split_heads(x, x->in[0], t->q_heads) : x->in[0];
  t->k = t->is_flat ? split_heads(x, x->in[1], t->kv_heads) : x->in[1];
  t->v = t->is_flat ? split_heads(x, x->in[2], t->kv_heads) : x->in[2];
  if (!val_ok(t->q) || !val_ok(t->k) || !val_ok(t->v)) return n_out(x, 0, VAL_NONE);
  bool known = n_is_size(x, n_dim(x, t->q, 1), &t->q_heads) &&
               n_is_size(x, n_dim(x, t->k, 1), &t->kv_heads);
  if (!known || t->kv_heads < 1 || t->q_heads % t->kv_heads != 0) {
    n_fail(x, DIAG_ONNX_SHAPE, "the query heads do not divide among the key heads");
    diag_found(x->im->d, "%" PRId64 " and %" PRId64, t->q_heads, t->kv_heads);
    return false;
  }
  return true;
}

static bool append_cache(OnnxNode *x, Attn *t) {
  Val pk = n_in(x, IN_PAST_K), pv = n_in(x, IN_PAST_V);
  if (val_ok(pk) != val_ok(pv)) {
    return n_fail(x, DIAG_ONNX_COUNT, "past_key and past_value belong together");
  }
  if (val_ok(pk)) {
    if (n_rank(x, pk) != 4 || n_rank(x, pv) != 4) {
      return n_fail(x, DIAG_ONNX_SHAPE, "past_key and past_value must have 4 axes");
    }
    t->k = n_concat(x, (Val[]){pk, t->k}, 2, 2);
    t->v = n_concat(x, (Val[]){pv, t->v}, 2, 2);
  }
  if (!val_ok(t->k) || !val_ok(t->v)) return n_out(x, 0, VAL_NONE);
  t->batch = n_dim(x, t->q, 0);
  t->q_len = n_dim(x, t->q, 2);
  t->kv_len = n_dim(x, t->k, 2);
  return (!n_wants(x, 1) || n_out(x, 1, t->k)) && (!n_wants(x, 2) || n_out(x, 2, t->v));
}

/* Each key head serves q_heads / kv_heads query heads in turn. */
static Val repeat_heads(OnnxNode *x, const Attn *t, Val a) {
  int64_t times = t->q_heads / t->kv_heads;
  if (times == 1) return a;
  DimId dim[5] = {n_dim(x, a, 0), n_dim(x, a, 1), n_size(x, times), n_dim(x, a, 2), n_dim(x, a, 3)};
  Val wide = n_broadcast(x, n_unsqueeze(x, a, 2), dim, 5);
  DimId all[4] = {dim[0], n_size(x, t->q_heads), dim[3], dim[4]};
  return n_reshape(x, wide, all, 4);
}

/* ---- the bias ----------------------------------------------------------- */

static Val zero_or_out(OnnxNode *x, const Attn *t, Val allowed) {
  return n_where(x, allowed, n_scalar(x, t->dtype, 0), n_scalar(x, t->dtype, -INFINITY));
}

static void add_bias(OnnxNode *x, Attn *t, Val bias) {
  t->bias = val_ok(t->bias) ? n_ew2(x, OP_add, t->bias, bias) : bias;
}

/* A mask may be shorter than the keys: what it does not name is masked. */
static bool add_mask(OnnxNode *x, Attn *t) {
  Val mask = n_in(x, IN_MASK);
  if (!val_ok(mask)) return true;
  uint32_t rank = n_rank(x, mask);
  if (rank < 1 || rank > 4) return n_fail(x, DIAG_ONNX_SHAPE, "the mask must have 1 to 4 axes");
  if (n_dtype(x, mask) != VLPC_BOOL && n_dtype(x, mask) != t->dtype) {
    return n_fail(x, DIAG_ONNX_DTYPE, "the mask must be bool or have Q's element type");
  }
  DimId zero[4], more[4], own = n_dim(x, mask, rank - 1);
  for (uint32_t i = 0; i < rank; i++) zero[i] = more[i] = n_size(x, 0);
  int64_t missing = 0;
  more[rank - 1] = dim_sub(n_dims(x), t->kv_len, own);
  bool is_short = n_is_size(x, more[rank - 1], &missing) && missing > 0;
  Val bias = n_dtype(x, mask) == VLPC_BOOL ? zero_or_out(x, t, mask) : mask;
  if (is_short) {
    Attr attr[2] = {attr_dims(A_before, zero, rank), attr_dims(A_after, more, rank)};
    bias = n_node(x, OP_pad, 2, (Val[]){bias, n_scalar(x, t->dtype, -INFINITY)}, 2, attr);
  } else {
    n_agree(x, own, t->kv_len);
  }
  add_bias(x, t, bias);
  t->may_mask_rows = true;
  return true;
}

/* Position of each key minus that of each query, [.., q_len, kv_len]: queries
** follow the cache, or end at the cache's valid length. */
static Val distances(OnnxNode *x, const Attn *t) {
  DimId row[2] = {n_size(x, 1), t->kv_len}, column[2] = {t->q_len, n_size(x, 1)};
  Val keys = n_reshape(x, n_iota(x, t->kv_len), row, 2);
  Val queries = n_reshape(x, n_iota(x, t->q_len), column, 2);
  Val valid = n_in(x, IN_VALID), past = n_in(x, IN_PAST_K), offset;
  if (val_ok(past)) {
    DimId d = n_dim(x, past, 2);
    offset = n_reshape(x, ir_dims_vec(x->g, &d, 1), NULL, 0);
  } else if (val_ok(valid)) {
    DimId dim[4] = {n_dim(x, valid, 0), n_size(x, 1), n_size(x, 1), n_size(x, 1)};
    Val length = n_reshape(x, ir_dims_vec(x->g, &t->q_len, 1), NULL, 0);
    offset = n_ew2(x, OP_sub, n_reshape(x, valid, dim, 4), length);
  } else {
    return n_ew2(x, OP_sub, keys, queries);
  }
  return n_ew2(x, OP_sub, keys, n_ew2(x, OP_add, queries, offset));
}

static bool add_position_masks(OnnxNode *x, Attn *t) {
  int64_t left = get_int(x, "left_window_size", -1), right = get_int(x, "right_window_size", -1);
  bool is_causal = get_int(x, "is_causal", 0) != 0, has_valid = val_ok(n_in(x, IN_VALID));
  if (left < -1 || right < -1 || left > INT32_MAX || right > INT32_MAX) {
    return n_fail(x, DIAG_ONNX_ATTRIBUTE, "a window size is out of range");
  }
  if (has_valid && n_rank(x, x->in[IN_VALID]) != 1) {
    return n_fail(x, DIAG_ONNX_SHAPE, "nonpad_kv_seqlen must have one axis");
  }
  if (is_causal || left >= 0 || right >= 0) {
    Val far = distances(x, t), zero = n_scalar(x, VLPC_I64, 0);
    if (is_causal) add_bias(x, t, zero_or_out(x, t, n_ew2(x, OP_le, far, zero)));
    Val least = n_scalar(x, VLPC_I64, -(double)left), most = n_scalar(x, VLPC_I64, (double)right);
    if (left >= 0) add_bias(x, t, zero_or_out(x, t, n_ew2(x, OP_le, least, far)));
    if (right >= 0) add_bias(x, t, zero_or_out(x, t, n_ew2(x, OP_le, far, most)));
    t->may_mask_rows = t->may_mask_rows || left >= 0 || right >= 0 || has_valid;
  }
  if (has_valid) {
    DimId row[4] = {n_size(x, 1), n_size(x, 1), n_size(x, 1), t->kv_len};
    DimId each[4] = {n_dim(x, x->in[IN_VALID], 0), row[0], row[0], row[0]};
    Val keys = n_reshape(x, n_iota(x, t->kv_len), row, 4);
    Val is_valid = n_ew2(x, OP_lt, keys, n_reshape(x, x->in[IN_VALID], each, 4));
    add_bias(x, t, zero_or_out(x, t, is_valid));
    t->may_mask_rows = true;
  }
  return true;
}

/* ---- scores and result -------------------------------------------------- */

static Val raw_scores(OnnxNode *x, const Attn *t, Val k) {
  int64_t size = 0;
  double scale = get_float(x, "scale", 0);
  if (!has_attr(x, "scale")) {
    if (!n_is_size(x, n_dim(x, t->q, 3), &size) || size < 1) {
      n_fail(x, DIAG_ONNX_NOT_CONST, "the head size must be known at compile time");
      return VAL_NONE;
    }
    scale = 1 / sqrt((double)size);
  }
  Val root = n_scalar(x, t->dtype, sqrt(scale));
  return n_matmul(x, n_ew2(x, OP_mul, t->q, root), n_ew2(x, OP_mul, n_swap(x, k), root));
}

static Val soft_capped(OnnxNode *x, Val scores) {
  double cap = get_float(x, "softcap", 0);
  if (!(cap > 0)) return scores;
  Val c = n_like(x, scores, cap);
  return n_ew2(x, OP_mul, n_ew1(x, OP_tanh, n_ew2(x, OP_div, scores, c)), c);
}

static Val weights_of(OnnxNode *x, const Attn *t, Val scores) {
  VlDtype precise = t->dtype;
  int64_t code = get_int(x, "softmax_precision", 0);
  if (code && (code < 0 || code > 100 || !onnx_dtype((int32_t)code, &precise))) {
    n_fail(x, DIAG_ONNX_ATTRIBUTE, "softmax_precision is no supported element type");
    return VAL_NONE;
  }
  Val p = n_cast(x, n_softmax(x, OP_softmax, n_cast(x, scores, precise), 3), t->dtype);
  if (!t->may_mask_rows || !val_ok(t->bias)) return p;
  uint32_t last = n_rank(x, t->bias) - 1;
  Val top = n_reduce1(x, OP_reduce_max, t->bias, last);
  Val is_masked = n_ew2(x, OP_eq, top, n_scalar(x, t->dtype, -INFINITY));
  return n_where(x, is_masked, n_scalar(x, t->dtype, 0), p);
}

/* [batch, heads, length, size] -> [batch, length, heads * size] */
static Val merge_heads(OnnxNode *x, Val y) {
  static const int64_t perm[4] = {0, 2, 1, 3};
  if (!val_ok(y)) return VAL_NONE;
  DimId wide = dim_mul(n_dims(x), n_dim(x, y, 1), n_dim(x, y, 3));
  DimId dim[3] = {n_dim(x, y, 0), n_dim(x, y, 2), wide};
  return n_reshape(x, n_permute(x, y, perm, 4), dim, 3);
}

bool imp_attention(OnnxNode *x) {
  Attn t = {.dtype = n_dtype(x, x->in[0])};
  int64_t mode = get_int(x, "qk_matmul_output_mode", 0);
  if (mode < 0 || mode > 3) {
    return n_fail(x, DIAG_ONNX_ATTRIBUTE, "qk_matmul_output_mode must be 0 to 3");
  }
  if (!read_operands(x, &t) || !append_cache(x, &t) || !add_mask(x, &t)) return false;
  if (!add_position_masks(x, &t)) return false;
  Val raw = raw_scores(x, &t, repeat_heads(x, &t, t.k)), capped = soft_capped(x, raw);
  Val biased = val_ok(t.bias) ? n_ew2(x, OP_add, capped, t.bias) : capped;
  Val p = weights_of(x, &t, biased), y = n_matmul(x, p, repeat_heads(x, &t, t.v));
  Val shown[4] = {raw, capped, biased, p};
  if (n_wants(x, 3) && !n_out(x, 3, shown[mode])) return false;
  return n_out(x, 0, t.is_flat ? merge_heads(x, y) : y);
}
