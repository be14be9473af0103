/* SPDX-License-Identifier: Apache-2.0 */
/* ir_int.h - what the files of ir/ share: the contexts in which the rules of
** the op table run.  Nobody outside ir/ includes this. */
#ifndef VLPC_IR_IR_INT_H
#define VLPC_IR_IR_INT_H

#include "ir/ir.h"

/* A node about to be made.  A shape rule reads the operands' types through g
** and fills out; on a misfit it sets why (texts in g's arena) and returns
** false.  A rule may also correct attributes (negative axis) in attr. */
typedef struct {
  Graph *g;
  OpCode op;
  uint32_t n_in;
  const Val *in;
  uint32_t n_attr;
  Attr *attr; /* the caller's list, copied; a rule may edit values */
  Type out;
  Why why;
} Infer;

typedef bool ShapeFn(Infer *x);

const Attr *infer_attr(const Infer *x, AttrKey k); /* NULL when absent */
const Type *infer_type(const Infer *x, uint32_t i);
/* Sets why and returns false.  sentence is a literal. */
bool infer_fail(Infer *x, const char *sentence, const char *found, const char *expected);
/* Numpy broadcasting of two sizes lists (equal dims, or one is the constant 1);
** the one place of this rule.  false when they do not fit. */
bool shape_broadcast(Graph *g, const Type *a, const Type *b, Type *out);
const char *type_text(Graph *g, const Type *t); /* "f32[batch,50,768]" */

/* One node being computed by its reference kernel.  out has its dtype and
** sizes; the kernel fills it.  A data error (index out of range) sets why and
** returns false. */
typedef struct {
  const Graph *g;
  Val v; /* for attributes */
  const int64_t *sym; /* value of each symbol */
  Arena *a;
  uint32_t n_in;
  const RefTensor *in; /* dtype 0: absent optional operand */
  RefTensor *out;
  Why why;
} RefCtx;

typedef bool RefFn(RefCtx *c);

/* The columns of the op table (op.c). */
ShapeFn *op_shape(OpCode op);
RefFn *op_ref(OpCode op);

/* The node's result as sizes when its operands are known sizes (Shape, Gather,
** Concat … chains of exporters): fills dim[0 … *n) and returns true, else
** false.  (fold_dims.c) */
bool fold_dims(Graph *g, const Infer *x, DimId *dim, uint32_t cap, uint32_t *n);

#endif
