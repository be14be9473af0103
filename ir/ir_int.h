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

#define SYM_UNKNOWN INT64_MIN

/* One node being computed by its reference kernel.  out has its dtype and
** sizes and is zeroed; the kernel fills it.  Integer results are wrapped to
** their dtype by the caller.  A data error (index out of range) sets why and
** returns false. */
typedef struct {
  const Graph *g;
  Val v; /* for attributes */
  const int64_t *sym; /* value of each symbol, or SYM_UNKNOWN; NULL: none known */
  Arena *a;
  uint32_t n_in;
  const RefTensor *in; /* dtype 0: absent optional operand */
  RefTensor *out;
  Why why;
} RefCtx;

typedef bool RefFn(RefCtx *c);

/* A gradient being passed down: dy, which has the type of node v, to operand i,
** which is float.  A rule adds nodes to g and returns what operand i gets, of its
** sizes or, for operands that v broadcasts, of v's sizes (ir_grad then sums). */
typedef struct {
  Graph *g;
  Val v;
  uint32_t i;
  Val dy;
} GradCtx;

typedef Val GradFn(const GradCtx *c);

/* ---- op.c ---------------------------------------------------------------- */

/* Every rule that the table names: a missing one is a link error. */
#define OP(id, min_in, max_in, kind, shape, ref, grad, flags) \
  ShapeFn shape_##shape; \
  RefFn ref_##ref; \
  GradFn grad_##grad;
#include "ir/ops.def"

/* The columns of the op table. */
ShapeFn *op_shape(OpCode op);
RefFn *op_ref(OpCode op);
GradFn *op_grad(OpCode op);

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
/* The same; found are the types of operands a and b. */
bool infer_misfit(Infer *x, const char *sentence, uint32_t a, uint32_t b, const char *expected);
/* Each is true when the fact holds, else why is set.  i is a given operand. */
bool infer_float(Infer *x, uint32_t i);   /* it has a float type */
bool infer_integer(Infer *x, uint32_t i); /* it has an integer type */
bool infer_bool(Infer *x, uint32_t i);    /* it is bool */
bool infer_number(Infer *x, uint32_t i);  /* it is not bool */
bool infer_same_dtype(Infer *x, uint32_t a, uint32_t b);
bool infer_rank(Infer *x, uint32_t i, uint32_t lo, uint32_t hi);
/* Operand i is absent, or a vector of n elements of the type of `like`. */
bool infer_vector(Infer *x, uint32_t i, DimId n, uint32_t like);
bool infer_int(Infer *x, AttrKey k, int64_t lo, int64_t hi, int64_t *out); /* required */
bool infer_flag(Infer *x, AttrKey k);        /* absent, 0 or 1 */
bool infer_number_attr(Infer *x, AttrKey k); /* a float attribute is there */
/* The attribute axis, corrected to 0 … rank-1. */
bool infer_axis(Infer *x, uint32_t rank, uint32_t *out);
/* The list attribute k is there with exactly n entries. */
bool infer_list(Infer *x, AttrKey k, uint32_t n, const Attr **out);
/* Numpy broadcasting of two sizes lists (equal dims, or one is the constant 1);
** the one place of this rule.  false when they do not fit. */
bool type_broadcast(Graph *g, const Type *a, const Type *b, Type *out);
/* True when d is the constant c. */
bool dim_is(const Graph *g, DimId d, int64_t c);
/* The least value of d when every symbol is 0 or more; false when unbounded. */
bool dim_least(const Graph *g, DimId d, int64_t *out);
bool dim_below(Graph *g, DimId a, DimId b); /* provably a < b */
/* floor(d / by) for by >= 1 when affine, else DIM_NONE. */
DimId dim_floor_div(Graph *g, DimId d, int64_t by);
/* The products of two lists of sizes (ranks of types) are equal whatever the
** symbols. */
bool dims_same_count(Graph *g, const DimId *a, uint32_t n_a, const DimId *b, uint32_t n_b);
const char *dim_text(Graph *g, DimId d);
const char *type_text(Graph *g, const Type *t); /* "f32[batch,50,768]" */

/* ---- ref.c: what the reference kernels share ----------------------------- */

/* A row-major walk over sizes that keeps one offset per operand. */
enum { WALK_MAX = 3 };
typedef struct {
  uint32_t rank, n;
  int64_t count; /* elements to visit */
  int64_t size[VLPC_MAX_RANK], at[VLPC_MAX_RANK];
  int64_t stride[WALK_MAX][VLPC_MAX_RANK];
  int64_t off[WALK_MAX];
} Walk;
Walk walk_new(uint32_t rank, const int64_t *size);
/* Adds an operand that broadcasts to the walk's sizes. */
void walk_add(Walk *w, const RefTensor *t);
/* Adds an operand with its own stride per axis. */
void walk_add_strides(Walk *w, const int64_t *stride, int64_t start);
void walk_next(Walk *w);
/* Row-major strides, in elements. */
void ref_strides(uint32_t rank, const int64_t *size, int64_t *stride);
/* t as [outer, n, inner] around one axis. */
typedef struct {
  int64_t outer, n, inner;
} Split;
Split ref_split(const RefTensor *t, int64_t axis);
/* Copies n elements from i of src to o of dst (equal dtypes). */
void ref_copy(RefTensor *dst, int64_t o, const RefTensor *src, int64_t i, int64_t n);
bool ref_given(const RefCtx *c, uint32_t i); /* operand i is given */
/* Sets why and returns false; expected is a literal. */
bool ref_fail(RefCtx *c, const char *sentence, int64_t found, const char *expected);
/* The value of d at run time; fails when a symbol is unknown. */
bool ref_affine(RefCtx *c, DimId d, int64_t *out);
/* The same, and 0 or more. */
bool ref_size(RefCtx *c, DimId d, int64_t *out);
/* An index, from the end when negative, into n elements. */
bool ref_index(RefCtx *c, int64_t index, int64_t n, int64_t *out);
/* o[m,n] += a[m,k] · b[k,n], each sum in the order of k. */
void ref_gemm(double *o, const double *a, const double *b, const int64_t mkn[3]);

/* ---- expand_grad.c ------------------------------------------------------- */

/* ir_expand for the ops that are parts of gradients. */
Val expand_grad(Graph *dst, const Graph *src, Val v, const Val *in);

/* ---- fold_dims.c --------------------------------------------------------- */

/* The node's result as sizes when its operands are known sizes (Shape, Gather,
** Concat … chains of exporters): fills dim[0 … *n) and returns true, else
** false.  x->out is already inferred; bool results are 0 or 1. */
bool fold_dims(Graph *g, const Infer *x, DimId *dim, uint32_t cap, uint32_t *n);

#endif
