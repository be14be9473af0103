/* SPDX-License-Identifier: Apache-2.0 */
/* grad.c - one step of reverse mode: what an operand gets when a node does.
**
** The op table names a rule for each op; the rules lie by family in grad_*.c and
** build from existing ops.  An operand that the node broadcasts gets the sum over
** the axes it was repeated on, here and in one place. */
#include "ir/ir_int.h"
#include "ir/words.h"

/* Words of the table, not rules. */
Val grad_zero(const GradCtx *c) {
  (void)c;
  VL_UNREACHABLE("no gradient comes through");
}

Val grad_none(const GradCtx *c) {
  (void)c;
  VL_UNREACHABLE("no gradient is known");
}

GradKind op_grad_kind(OpCode op) {
  GradFn *fn = op_grad(op);
  return fn == grad_none ? GRAD_NONE : fn == grad_zero ? GRAD_ZERO : GRAD_RULE;
}

Val ir_grad(Graph *g, Val v, uint32_t i, Val dy) {
  GradCtx c = {g, v, i, dy};
  VL_CHECK(op_grad_kind(ir_op(g, v)) == GRAD_RULE, "ir_grad: the op has no rule");
  Val dx = op_grad(ir_op(g, v))(&c);
  return w_sum_to(g, dx, w_type(g, ir_in(g, v, i)));
}

Val ir_zeros(Graph *g, TypeId t) { return w_fill(g, *ir_type_get(g, t), 0); }
