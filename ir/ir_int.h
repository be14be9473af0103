/* SPDX-License-Identifier: Apache-2.0 */
/* ir_int.h - what the files of ir/ share: the contexts in which the rules of
** the op table run.  Nobody outside ir/ includes this. */
#ifndef VLPC_IR_IR_INT_H
#define VLPC_IR_IR_INT_H

#include "ir/ir.h"

/* A node about to be made.  A shape rule reads the operands' types through g
** and fills out; on a misfit it sets why (texts in g's arena) and returns
** false.  A rule may also correct attributes (negative axis) in attr.  For
** input and const the caller sets out before; for dims it may (a scalar or
** another integer type), else the result is i64 [n]. */
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

/* One node being computed by its reference kernel.  out has its dtype and
** sizes and is zeroed; the kernel fills it.  Integer results are wrapped to
** their dtype by the caller.  A data error (index out of range) sets why and
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

/* ---- op.c ---------------------------------------------------------------- */

/* Every rule that the table names: a missing one is a link error. */
#define OP(id, min_in, max_in, kind, shape, ref, flags) \
  ShapeFn shape_##shape; \
  RefFn ref_##ref;
#include "ir/ops.def"

/* The columns of the op table. */
ShapeFn *op_shape(OpCode op);
RefFn *op_ref(OpCode op);

/* ---- op_rule.c: what the rules share ------------------------------------- */

/* Checks the operands' number and presence, runs the op's rule, and checks the
** result's limits (rank, sizes, TYPE_MAX_COUNT elements).  The only way to run
** a rule, which may so rely on its required operands. */
bool infer_run(Infer *x);
#define TYPE_MAX_COUNT ((int64_t)1 << 40)

Attr *infer_attr(const Infer *x, AttrKey k);       /* NULL when absent */
bool infer_has(const Infer *x, uint32_t i);        /* operand i is given */
const Type *infer_type(const Infer *x, uint32_t i); /* NULL when not given */
/* Sets why and returns false.  sentence is a literal. */
bool infer_fail(Infer *x, const char *sentence, const char *found, const char *expected);
/* The same; found and expected are the operands a and b. */
bool infer_misfit(Infer *x, const char *sentence, uint32_t a, uint32_t b);
/* An integer attribute in [lo, hi]; otherwise when absent. */
bool infer_int(Infer *x, AttrKey k, int64_t lo, int64_t hi, int64_t otherwise, int64_t *out);
/* The attribute axis, corrected to 0 … rank-1. */
bool infer_axis(Infer *x, uint32_t rank, uint32_t *out);
/* The list attribute k with exactly n entries. */
bool infer_list(Infer *x, AttrKey k, uint32_t n, const Attr **out);
bool infer_float(Infer *x, uint32_t i);   /* operand i has a float type */
bool infer_integer(Infer *x, uint32_t i); /* operand i has an integer type */
bool infer_same_dtype(Infer *x, uint32_t a, uint32_t b);
/* Numpy broadcasting of two sizes lists (equal dims, or one is the constant 1);
** the one place of this rule.  false when they do not fit. */
bool type_broadcast(Graph *g, const Type *a, const Type *b, Type *out);
/* True when d is the constant c. */
bool dim_is(const Graph *g, DimId d, int64_t c);
/* The least value of d when every symbol is 0 or more; false when unbounded. */
bool dim_least(const Graph *g, DimId d, int64_t *out);
/* floor(d / by) for by >= 1 when affine, else DIM_NONE. */
DimId dim_floor_div(Graph *g, DimId d, int64_t by);
/* Products of two lists of sizes are provably equal: common sizes cancel, the
** rest multiply out to equal affine sizes. */
bool dims_same_count(Graph *g, const DimId *a, uint32_t n_a, const DimId *b, uint32_t n_b);
const char *dim_text(Graph *g, DimId d);
const char *type_text(Graph *g, const Type *t); /* "f32[batch,50,768]" */

/* ---- eval.c -------------------------------------------------------------- */

/* A row-major walk over sizes that keeps one offset per operand. */
enum { WALK_MAX = 3 };
typedef struct {
  uint32_t rank, n;
  int64_t size[VLPC_MAX_RANK], at[VLPC_MAX_RANK];
  int64_t stride[WALK_MAX][VLPC_MAX_RANK];
  int64_t off[WALK_MAX];
} Walk;
Walk walk_new(uint32_t rank, const int64_t *size);
/* Adds an operand that broadcasts to the walk's sizes. */
void walk_add(Walk *w, const RefTensor *t);
void walk_next(Walk *w);
/* Row-major strides of t, in elements. */
void ref_strides(const RefTensor *t, int64_t *stride);
/* Copies element i of src to element o of dst (equal dtypes). */
void ref_copy(RefTensor *dst, int64_t o, const RefTensor *src, int64_t i);
bool ref_fail(RefCtx *c, const char *sentence, int64_t found, const char *expected);
int64_t ref_wrap(VlDtype d, int64_t v); /* to the range of an integer type */

/* ---- fold_dims.c --------------------------------------------------------- */

/* The node's result as sizes when its operands are known sizes (Shape, Gather,
** Concat … chains of exporters): fills dim[0 … *n) and returns true, else
** false.  x->out is already inferred; bool results are 0 or 1. */
bool fold_dims(Graph *g, const Infer *x, DimId *dim, uint32_t cap, uint32_t *n);

#endif
