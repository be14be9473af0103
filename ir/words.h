/* SPDX-License-Identifier: Apache-2.0 */
/* words.h - short words for building arithmetic.  Each passes VAL_NONE on, so
** that a chain is checked once, at its end.  Types are taken by value: the
** graph's table moves as it grows. */
#ifndef VLPC_IR_WORDS_H
#define VLPC_IR_WORDS_H

#include "ir/ir.h"

Val w_ew1(Graph *g, OpCode op, Val a);
Val w_ew2(Graph *g, OpCode op, Val a, Val b);
/* op(a, c) and op(c, a) for a number c of a's element type. */
Val w_with(Graph *g, OpCode op, Val a, double c);
Val w_from(Graph *g, OpCode op, double c, Val a);
Val w_where(Graph *g, Val cond, Val a, Val b);
Val w_cast(Graph *g, Val a, VlDtype to);
Val w_reshape(Graph *g, Val a, Type t);
Val w_broadcast(Graph *g, Val a, Type t);
Val w_permute(Graph *g, Val a, const int64_t *perm);
/* Axis `from` becomes axis `to`, the others keep their order. */
Val w_move_axis(Graph *g, Val a, uint32_t from, uint32_t to);
/* The last two axes change places. */
Val w_transpose(Graph *g, Val a);
Val w_matmul(Graph *g, Val a, Val b);
/* Over one axis; its size stays as 1. */
Val w_over(Graph *g, OpCode op, Val a, uint32_t axis);
Val w_over_last(Graph *g, OpCode op, Val a);
/* a summed to sizes that broadcast to its own. */
Val w_sum_to(Graph *g, Val a, Type t);
Val w_iota(Graph *g, DimId n);
/* A number for every element of a type. */
Val w_fill(Graph *g, Type t, double c);
Type w_type(const Graph *g, Val a);
/* a as [product of the leading sizes, last]; VAL_NONE when it is not affine. */
Val w_rows(Graph *g, Val a);

#endif
