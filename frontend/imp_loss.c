/* SPDX-License-Identifier: Apache-2.0 */
/* imp_loss.c - the classification losses, which a training graph ends in.
**
** For each target t the loss is -w[t] · log p[t], 0 where t is ignore_index;
** the mean divides by the sum of the weights that were used. */
#include "frontend/fe_int.h"

typedef enum { REDUCE_MEAN, REDUCE_SUM, REDUCE_NONE } Reduction;

typedef struct {
  Val loss, weight; /* [N, d…] each */
} Parts;

static bool loss_parts(OnnxNode *x, Val log_p, Parts *out) {
  Val target = n_cast(x, x->in[1], VLPC_I64), weight = n_in(x, 2);
  uint32_t rank = n_rank(x, log_p);
  if (rank < 2 || n_rank(x, target) != rank - 1) {
    return n_fail(x, DIAG_ONNX_SHAPE, "scores [N, C, …] and targets [N, …] do not belong together");
  }
  bool has_ignored = has_attr(x, "ignore_index");
  Val zero = n_scalar(x, VLPC_I64, 0), none = n_like(x, log_p, 0), is_ignored = VAL_NONE;
  if (has_ignored) {
    int64_t index = get_int(x, "ignore_index", 0);
    Val ignored = n_reshape(x, ir_const_i64(x->g, &index, 1), NULL, 0);
    is_ignored = n_ew2(x, OP_eq, target, ignored);
    target = n_where(x, is_ignored, zero, target);
  }
  Attr one = attr_int(A_axis, 1), first = attr_int(A_axis, 0);
  Val in[2] = {log_p, n_unsqueeze(x, target, 1)};
  Val picked = n_squeeze(x, n_node(x, OP_gather_elements, 2, in, 1, &one), 1);
  out->loss = n_ew1(x, OP_neg, picked);
  out->weight = n_like(x, log_p, 1);
  if (val_ok(weight)) {
    if (n_rank(x, weight) != 1) return n_fail(x, DIAG_ONNX_SHAPE, "the weights must have one axis");
    out->weight = n_node(x, OP_gather, 2, (Val[]){weight, target}, 1, &first);
    out->loss = n_ew2(x, OP_mul, out->loss, out->weight);
  }
  if (has_ignored) {
    out->loss = n_where(x, is_ignored, none, out->loss);
    out->weight = n_where(x, is_ignored, none, out->weight);
  }
  return true;
}

static Val sum_all(OnnxNode *x, Val v) {
  Axes axes = {.given = true};
  if (!val_ok(v)) return VAL_NONE;
  for (uint32_t i = 0; i < n_rank(x, v); i++) axes.at[axes.n++] = i;
  return n_reduce(x, OP_reduce_sum, v, &axes, false);
}

static bool loss_out(OnnxNode *x, Val log_p) {
  static const char *const kinds[] = {"mean", "sum", "none", NULL};
  int kind = get_choice(x, "reduction", kinds);
  Parts p;
  if (kind < 0 || !loss_parts(x, log_p, &p)) return false;
  if (kind == REDUCE_NONE || !val_ok(p.loss)) return n_out(x, 0, p.loss);
  Val sum = sum_all(x, p.loss);
  if (kind == REDUCE_SUM || !val_ok(p.weight)) return n_out(x, 0, sum);
  DimId dim[VLPC_MAX_RANK];
  uint32_t rank = n_rank(x, p.loss);
  for (uint32_t i = 0; i < rank; i++) dim[i] = n_dim(x, p.loss, i);
  return n_out(x, 0, n_ew2(x, OP_div, sum, sum_all(x, n_broadcast(x, p.weight, dim, rank))));
}

bool imp_nll_loss(OnnxNode *x) { return loss_out(x, x->in[0]); }

bool imp_sce_loss(OnnxNode *x) {
  if (n_rank(x, x->in[0]) < 2) return n_fail(x, DIAG_ONNX_SHAPE, "scores need two axes or more");
  Val log_p = n_softmax(x, OP_log_softmax, x->in[0], 1);
  if (!val_ok(log_p)) return n_out(x, 0, log_p);
  return loss_out(x, log_p) && (!n_wants(x, 1) || n_out(x, 1, log_p));
}
