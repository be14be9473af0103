/* SPDX-License-Identifier: Apache-2.0 */
/* grad_semantic.c - gradients of semantic ops, in the ops made for them.  (linear
** and patch_embed are in grad_contract.c, embedding in grad_index.c.)
**
** Attention keeps its result and the log-sum-exp of each row: probabilities are
** computed again from them.  Nodes for several operands of one attention have
** equal operands themselves, so a scheduler can compute them together. */
#include "ir/ir_int.h"
#include "ir/words.h"

enum { ATTR_MOST = 8 };

/* The node's own attributes and room for one more. */
static uint32_t own_attrs(const GradCtx *c, Attr *at) {
  const Attr *own = NULL;
  uint32_t n = ir_attrs(c->g, c->v, &own);
  VL_CHECK(n < ATTR_MOST, "a node has more attributes than any op takes");
  for (uint32_t i = 0; i < n; i++) at[i] = own[i];
  return n;
}

/* op(dy, a, …) with the node's attributes. */
static Val from_dy(const GradCtx *c, OpCode op, Val a, Val b) {
  Attr at[ATTR_MOST];
  Val in[3] = {c->dy, a, b};
  uint32_t n = own_attrs(c, at);
  return ir_node(c->g, op, val_ok(b) ? 3 : 2, in, n, at);
}

Val grad_softmax(const GradCtx *c) { return from_dy(c, OP_softmax_grad, c->v, VAL_NONE); }

Val grad_log_softmax(const GradCtx *c) { return from_dy(c, OP_log_softmax_grad, c->v, VAL_NONE); }

Val grad_l2norm(const GradCtx *c) {
  return from_dy(c, OP_l2norm_grad, ir_in(c->g, c->v, 0), VAL_NONE);
}

Val grad_gelu(const GradCtx *c) {
  return from_dy(c, OP_gelu_grad, ir_in(c->g, c->v, 0), VAL_NONE);
}

/* gamma's gradient is dy times the row without gamma and beta. */
Val grad_layernorm(const GradCtx *c) {
  Val x = ir_in(c->g, c->v, 0), gamma = ir_n_in(c->g, c->v) > 1 ? ir_in(c->g, c->v, 1) : VAL_NONE;
  Attr at[ATTR_MOST];
  uint32_t n = own_attrs(c, at);
  if (c->i == 0) return from_dy(c, OP_layernorm_grad, x, gamma);
  if (c->i == 2) return c->dy;
  return w_ew2(c->g, OP_mul, c->dy, ir_node(c->g, OP_layernorm, 1, &x, n, at));
}

/* ---- attention ----------------------------------------------------------- */

static Val of_attention(const GradCtx *c, OpCode lse, OpCode grad) {
  Attr at[ATTR_MOST];
  uint32_t n = own_attrs(c, at), n_in = ir_n_in(c->g, c->v);
  Val *in = arena_array(ir_arena(c->g), Val, n_in + 3);
  for (uint32_t i = 0; i < n_in; i++) in[i + 3] = ir_in(c->g, c->v, i);
  in[0] = c->dy;
  in[1] = c->v;
  in[2] = ir_node(c->g, lse, n_in, in + 3, n, at);
  at[n] = attr_int(A_operand, c->i);
  return val_ok(in[2]) ? ir_node(c->g, grad, n_in + 3, in, n + 1, at) : VAL_NONE;
}

Val grad_attention(const GradCtx *c) {
  return of_attention(c, OP_attention_lse, OP_attention_grad);
}

Val grad_attention_varlen(const GradCtx *c) {
  return of_attention(c, OP_attention_varlen_lse, OP_attention_varlen_grad);
}
