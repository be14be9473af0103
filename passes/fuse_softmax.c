/* SPDX-License-Identifier: Apache-2.0 */
/* fuse_softmax.c - softmax and log_softmax from their parts.
**
** in:   exp(x) / sum(exp(x)) and exp(x - max(x)) / sum(exp(x - max(x))) over one
**       axis; log of a softmax
** out:  softmax and log_softmax of x */
#include "passes/pass_int.h"

/* The one axis of a reduction that keeps its axes; -1: none. */
static int64_t axis_of(const Graph *g, Val v, OpCode op) {
  if (!m_is(g, v, op) || ir_attr_int(g, v, A_keepdims, 0) == 0) return -1;
  const Attr *axes = ir_attr(g, v, A_axes);
  return axes != NULL && axes->n == 1 ? axes->ints[0] : -1;
}

static Val over(Graph *g, OpCode op, Val x, int64_t axis) {
  Attr at = attr_int(A_axis, axis);
  return ir_node(g, op, 1, &x, 1, &at);
}

static Val from_quotient(Graph *g, Val e, Val sum) {
  int64_t axis = axis_of(g, sum, OP_reduce_sum);
  if (axis < 0 || !m_is(g, e, OP_exp) || !val_eq(ir_in(g, sum, 0), e)) return VAL_NONE;
  Val x = ir_in(g, e, 0);
  bool is_shifted = m_is(g, x, OP_sub) && axis_of(g, ir_in(g, x, 1), OP_reduce_max) == axis &&
                    val_eq(ir_in(g, ir_in(g, x, 1), 0), ir_in(g, x, 0));
  return over(g, OP_softmax, is_shifted ? ir_in(g, x, 0) : x, axis);
}

Val pass_fuse_softmax(Rewrite *rw, Val src, const Val *in, uint32_t n_in) {
  (void)n_in;
  Graph *g = rw->dst;
  OpCode op = ir_op(rw->src, src);
  if (op == OP_div) return from_quotient(g, in[0], in[1]);
  if (op != OP_log || !m_is(g, in[0], OP_softmax)) return VAL_NONE;
  return over(g, OP_log_softmax, ir_in(g, in[0], 0), ir_attr_int(g, in[0], A_axis, 0));
}
