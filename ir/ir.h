/* SPDX-License-Identifier: Apache-2.0 */
/* ir.h - the graph: typed SSA values, the op table's view, builder, text form.
**
** A node computes exactly one value, so Val names both.  Nodes lie in one
** array in topological order (an operand's index is below its user's); types,
** dims, attribute lists and locations are interned, so equal ids mean equal
** things.  Weights are never in the graph: a `const` node refers to a Blob, a
** span of a mapped file or of the arena.
**
** ir_node is the only way to add a node.  It infers the type, folds nodes whose
** operands are small constants or known sizes, and shares equal nodes, so a
** graph is always folded and free of common subexpressions.  Passes do not
** edit: they rebuild (ir_rewrite) into a new graph, which drops dead nodes.
**
** Growth moves the node array: hold Val, not Node pointers, across ir_node.
** Memory: all on the graph's arena.  Threads: one thread at a time while
** building; any number may read a finished graph. */
#ifndef VLPC_IR_IR_H
#define VLPC_IR_IR_H

#include "base/diag.h"
#include "base/dim.h"
#include "base/dtype.h"
#include "base/str.h"

typedef struct { uint32_t i; } Val;    /* 0: none */
typedef struct { uint32_t i; } TypeId; /* 0: none */
typedef struct { uint32_t i; } LocId;  /* 0: no place */
typedef struct { uint32_t i; } AttrId; /* 0: the empty list */
typedef struct { uint32_t i; } BlobId; /* 0: none */
#define VAL_NONE ((Val){0})
static inline bool val_ok(Val v) { return v.i != 0; }
static inline bool val_eq(Val a, Val b) { return a.i == b.i; }

typedef struct Graph Graph;

/* ---- ops (op.c; the rows are in ops.def) -------------------------------- */

typedef enum {
  OP_none,
#define OP(id, ...) OP_##id,
#include "ir/ops.def"
#undef OP
  OP__COUNT
} OpCode;

typedef enum {
  K_SOURCE,   /* input, const, dims, iota */
  K_EW,       /* elementwise with broadcasting */
  K_REDUCE,   /* over axes */
  K_MOVE,     /* permute, reshape, slice, …: no arithmetic */
  K_CONTRACT, /* matmul, conv */
  K_INDEX,    /* gather, scatter, top-k */
  K_SEMANTIC  /* linear, attention, …: own kernels, exact expansion beside */
} OpKind;

enum {                /* flags */
  F_COMM = 1 << 0,    /* f(a, b) = f(b, a) */
  F_ASSOC = 1 << 1,
  F_ROWWISE = 1 << 2, /* treats the last axis as a row, rows independent */
  F_BOOL_OUT = 1 << 3, /* result is bool whatever the operands are */
  F_FLOAT_IN = 1 << 4, /* operands are float */
  F_BOOL_IN = 1 << 5   /* operands are bool */
};

typedef struct {
  const char *name;
  uint8_t min_in, max_in; /* max 255: any number */
  OpKind kind;
  uint32_t flags;
} OpInfo;

const OpInfo *op_info(OpCode op);
bool op_find(const char *name, size_t n, OpCode *out);

/* Operands of an attention: q, then k and v of each segment of keys, then a mask
** when their number n is even. */
enum { ATTENTION_SEGMENTS = 4 };
static inline uint32_t attention_segments(uint32_t n) { return (n - 1) / 2; }
static inline bool attention_masked(uint32_t n) { return n % 2 == 0; }

/* ---- attributes (attr.c; the keys are in attrs.def) --------------------- */

typedef enum { AK_INT, AK_FLOAT, AK_INTS, AK_DIMS, AK_STR, AK_DTYPE, AK_BLOB } AttrKind;

typedef enum {
  A_none,
#define ATTR(key, kind, what) A_##key,
#include "ir/attrs.def"
#undef ATTR
  A__COUNT
} AttrKey;

typedef struct {
  AttrKey key;
  uint32_t n; /* of ints or dims */
  union {
    int64_t i; /* AK_INT, AK_DTYPE */
    double f;
    const int64_t *ints;
    const DimId *dims;
    const char *str;
    BlobId blob;
  };
} Attr;

static inline Attr attr_int(AttrKey k, int64_t i) { return (Attr){.key = k, .i = i}; }
static inline Attr attr_float(AttrKey k, double f) { return (Attr){.key = k, .f = f}; }
static inline Attr attr_ints(AttrKey k, const int64_t *v, uint32_t n) {
  return (Attr){.key = k, .n = n, .ints = v};
}
static inline Attr attr_dims(AttrKey k, const DimId *v, uint32_t n) {
  return (Attr){.key = k, .n = n, .dims = v};
}
static inline Attr attr_str(AttrKey k, const char *s) { return (Attr){.key = k, .str = s}; }
static inline Attr attr_blob(BlobId b);

/* Of a key of attrs.def. */
AttrKind attr_kind(AttrKey k);
/* NULL when the node has no such attribute. */
const Attr *ir_attr(const Graph *g, Val v, AttrKey k);
int64_t ir_attr_int(const Graph *g, Val v, AttrKey k, int64_t otherwise);
double ir_attr_float(const Graph *g, Val v, AttrKey k, double otherwise);
/* All attributes of a node, sorted by key. */
uint32_t ir_attrs(const Graph *g, Val v, const Attr **out);

/* ---- graph (graph.c) ---------------------------------------------------- */

typedef struct {
  VlDtype dtype;
  uint32_t rank;
  DimId dim[VLPC_MAX_RANK];
} Type;

/* A constant's bytes, row-major, little-endian. */
typedef struct {
  const void *data;
  uint64_t bytes;
  const char *name; /* of the initializer, or NULL */
} Blob;

typedef struct {
  const char *file; /* model file; borrowed from the graph's arena */
  const char *name; /* node name, or NULL */
  const char *op;   /* operator as the file calls it */
  int32_t index;    /* of the node in the file, -1 unknown */
  int32_t opset;
  LocId also;       /* next location merged into this one */
} Loc;

typedef struct {
  const char *name;
  Val v;
} Named;

Graph *ir_graph_new(Arena *a);
Arena *ir_arena(const Graph *g);
DimTable *ir_dims(const Graph *g);
uint32_t ir_n_vals(const Graph *g); /* values are 1 … n */

TypeId ir_type(Graph *g, VlDtype dtype, uint32_t rank, const DimId *dim);
/* A type with constant sizes. */
TypeId ir_type_fixed(Graph *g, VlDtype dtype, uint32_t rank, const int64_t *size);
const Type *ir_type_of(const Graph *g, Val v);
const Type *ir_type_get(const Graph *g, TypeId t);
TypeId ir_type_id(const Graph *g, Val v);
/* Number of elements when all sizes are constant; false otherwise. */
bool ir_count_const(const Graph *g, Val v, int64_t *out);
/* Size of axis (negative counts from the end) when constant. */
bool ir_size_const(const Graph *g, Val v, int axis, int64_t *out);

OpCode ir_op(const Graph *g, Val v);
uint32_t ir_n_in(const Graph *g, Val v);
Val ir_in(const Graph *g, Val v, uint32_t i); /* VAL_NONE: absent optional */
uint32_t ir_most_in(const Graph *g); /* operands of the node that has most */
LocId ir_loc(const Graph *g, Val v);
AttrId ir_attr_id(const Graph *g, Val v);

/* data is borrowed for the graph's life unless copied. */
BlobId ir_blob(Graph *g, const void *data, uint64_t bytes, const char *name);
BlobId ir_blob_copy(Graph *g, const void *data, uint64_t bytes, const char *name);
const Blob *ir_blob_get(const Graph *g, BlobId b);
uint32_t ir_n_blobs(const Graph *g); /* blobs are 1 … n */
static inline Attr attr_blob(BlobId b) { return (Attr){.key = A_blob, .blob = b}; }

/* Inputs and outputs in order; points are names for inner values (T.0, V.feat):
** they do not keep a value alive.  ir_input gives VAL_NONE, and ir_why, for a
** type that passes a limit. */
Val ir_input(Graph *g, const char *name, TypeId t);
void ir_output(Graph *g, const char *name, Val v);
void ir_point(Graph *g, const char *name, Val v);
uint32_t ir_inputs(const Graph *g, const Named **out);
uint32_t ir_outputs(const Graph *g, const Named **out);
uint32_t ir_points(const Graph *g, const Named **out);
/* The one of a name; VAL_NONE: there is none. */
Val ir_input_named(const Graph *g, const char *name);
Val ir_output_named(const Graph *g, const char *name);
Val ir_point_named(const Graph *g, const char *name);

LocId ir_loc_add(Graph *g, Loc l);
LocId ir_loc_merge(Graph *g, LocId a, LocId b);
const Loc *ir_loc_get(const Graph *g, LocId l);
/* "node 412 '/text/MatMul' (MatMul, opset 17)" in the graph's arena. */
DiagAt ir_at(const Graph *g, LocId l);

/* ---- building (build.c) ------------------------------------------------- */

/* Nodes made from now on carry this place. */
void ir_set_loc(Graph *g, LocId l);

/* Adds a node, or returns an equal or folded one.  VAL_NONE when the operands
** do not fit the op: ir_why then says what was found and expected. */
Val ir_node(Graph *g, OpCode op, uint32_t n_in, const Val *in, uint32_t n_attr, const Attr *attr);
typedef struct {
  const char *sentence, *found, *expected; /* any may be NULL */
} Why;
Why ir_why(const Graph *g);

/* Short forms of ir_node. */
Val ir_ew1(Graph *g, OpCode op, Val a);
Val ir_ew2(Graph *g, OpCode op, Val a, Val b);
Val ir_cast(Graph *g, Val a, VlDtype to);
Val ir_permute(Graph *g, Val a, const int64_t *perm, uint32_t n);
Val ir_reshape(Graph *g, Val a, const DimId *dim, uint32_t n);
Val ir_broadcast(Graph *g, Val a, const DimId *dim, uint32_t n);
/* One axis: [start, start + size) with step 1. */
Val ir_slice_axis(Graph *g, Val a, uint32_t axis, DimId start, DimId size);
Val ir_concat(Graph *g, const Val *in, uint32_t n, int64_t axis);
Val ir_reduce(Graph *g, OpCode op, Val a, const int64_t *axes, uint32_t n, bool keepdims);
Val ir_const(Graph *g, TypeId t, BlobId b);
Val ir_scalar(Graph *g, VlDtype t, double v);             /* rank 0 */
Val ir_const_i64(Graph *g, const int64_t *v, uint32_t n); /* rank 1 */
Val ir_dims_vec(Graph *g, const DimId *dim, uint32_t n);  /* i64 [n]: folds to const */

/* What a value is known to be at compile time. */
bool ir_is_const(const Graph *g, Val v); /* a const node */
/* Elements of a small const as doubles / int64, into out[cap]; false if not a
** const or larger than cap. */
bool ir_const_f64(const Graph *g, Val v, double *out, uint32_t cap, uint32_t *n);
bool ir_const_ints(const Graph *g, Val v, int64_t *out, uint32_t cap, uint32_t *n);
bool ir_is_splat(const Graph *g, Val v, double *out); /* const, all elements equal */
/* An integer vector or scalar known as sizes (const or dims node). */
bool ir_known_dims(const Graph *g, Val v, DimId *out, uint32_t cap, uint32_t *n);

/* Copies every node that an output needs into a new graph on arena `to`, asking
** fn (may be NULL) first.  fn gets the operands already mapped to dst; it
** returns the replacement in dst, or VAL_NONE to copy the node.  Nodes it makes
** carry src's place.  Inputs stay, in order, needed or not: map[src] is already
** the copy when fn is asked about one.  Points follow if still there.  DimId,
** TypeId and LocId of src mean the same in dst; Val and BlobId do not.  In the
** end dead nodes are removed, so a Val of dst that fn kept is void afterwards.
** *changed (may be NULL) tells whether any replacement was made. */
typedef struct {
  const Graph *src;
  Graph *dst;
  const Val *map; /* src value index → dst value; VAL_NONE when not copied */
  void *ctx;
} Rewrite;
typedef Val RewriteFn(Rewrite *rw, Val src, const Val *in, uint32_t n_in);
Graph *ir_rewrite(const Graph *src, Arena *to, RewriteFn *fn, void *ctx, bool *changed);
/* A copy with only these outputs, and the inputs they need.  v is a value of
** src, or none: then name is one of src's outputs or points, and NULL comes
** back when it is not. */
Graph *ir_extract(const Graph *src, Arena *to, const Named *outputs, uint32_t n);

/* uses[v] = number of operands (and outputs) that read v; arena array. */
uint32_t *ir_uses(const Graph *g, Arena *a);

/* ---- text (print.c, parse.c; grammar in docs/ir.md) --------------------- */

enum {
  PRINT_LOCS = 1 << 0,   /* @"node name" at line ends */
  PRINT_NORMAL = 1 << 1  /* no names and places, constants as content hashes in
                            canonical layout, inputs and outputs kept */
};
/* Constants of up to 8 elements stand in the text, larger ones as blob#N with
** N their BlobId.  Works on the text's arena. */
void ir_print(const Graph *g, uint32_t flags, Str *out);
/* Blob references: blob#3 is at[2].  The blobs of a graph in their order (1 …
** ir_n_blobs) are the table with which its text parses back. */
typedef struct {
  const Blob *at;
  uint32_t n;
} BlobTable;
/* text need not be NUL-terminated and is hostile.  NULL with a diagnostic that
** gives line and column.  The graph has the nodes of the text, none folded or
** shared; blobs are borrowed from the table. */
Graph *ir_parse(Arena *a, const char *file, const char *text, size_t n, BlobTable blobs, Diag *d);

/* ---- checks and reference (verify.c, eval.c) ---------------------------- */

typedef enum {
  SPEC_IMPORT, /* anything in the op table */
  SPEC_CORE    /* after recognition: also every symbol stands in an input's sizes */
} Spec;
/* Checks every invariant; all faults are collected in the text, one a line.
** true: sound.  Works on the text's arena (about the size of the graph). */
bool ir_verify(const Graph *g, Spec spec, Str *faults);

/* A value of the interpreter: doubles for float types, int64 for the rest. */
typedef struct {
  VlDtype dtype;
  uint32_t rank;
  int64_t size[VLPC_MAX_RANK];
  int64_t count;
  double *f;  /* float dtypes */
  int64_t *i; /* integer and bool dtypes */
} RefTensor;

RefTensor ref_tensor(Arena *a, VlDtype dtype, uint32_t rank, const int64_t *size);
RefTensor ref_from_bytes(Arena *a, VlDtype dtype, uint32_t rank, const int64_t *size,
                         const void *data);
void ref_to_bytes(const RefTensor *t, void *out); /* rounds to the dtype */

enum { EVAL_DOUBLE = 0, EVAL_ROUND = 1 }; /* ROUND: each result to its dtype */
/* Runs the whole graph; in[] follows ir_inputs, out[] ir_outputs.  Symbols are
** bound from the inputs' sizes.  Fails on sizes that contradict the types and
** on indices out of range. */
VL_MUST_USE VlStatus ir_eval(const Graph *g, Arena *a, uint32_t mode, const RefTensor *in,
                             RefTensor *out, Diag *d);
/* One value that depends on constants only; each result is rounded to its
** dtype.  Fails when the value depends on an input. */
VL_MUST_USE VlStatus ir_eval_const(const Graph *g, Arena *a, Val v, RefTensor *out, Diag *d);
/* One node on given operands (used by folding and by the op tests), unrounded;
** sym may be NULL when the graph has no symbols. */
VL_MUST_USE VlStatus ir_eval_node(const Graph *g, Arena *a, Val v, const int64_t *sym,
                                  const RefTensor *in, RefTensor *out, Diag *d);

/* One elementwise row of the op table on scalars: b is ignored by ops of one
** operand, results of truth are 0 or 1, integers wrap (op_ew.c).  where and cast
** have no such row. */
double ew_f64(OpCode op, double a, double b);
int64_t ew_i64(OpCode op, int64_t a, int64_t b);
/* A float as an integer or bool of the type, as cast does it. */
int64_t ew_int_of(VlDtype to, double v);

/* ---- gradients (grad.c; the rules are named in the op table) ------------- */

typedef enum {
  GRAD_NONE, /* no rule: training through the op is refused */
  GRAD_ZERO, /* discrete or flat: no gradient comes through */
  GRAD_RULE
} GradKind;
GradKind op_grad_kind(OpCode op);
/* What float operand i of v gets when v, whose op has a rule, gets dy (of v's
** type): a value of the operand's type, from nodes added to g.  The same sums in
** the same order each time.  VAL_NONE when no sizes describe it: see ir_why. */
Val ir_grad(Graph *g, Val v, uint32_t i, Val dy);
/* Zeros of a type. */
Val ir_zeros(Graph *g, TypeId t);

/* ---- expansions (expand.c) ---------------------------------------------- */

/* The value of a semantic node v of src, built from primitives in dst on the
** operands in[] (values of dst; dst may be src).  VAL_NONE when v is not
** semantic. */
Val ir_expand(Graph *dst, const Graph *src, Val v, const Val *in);

#endif
