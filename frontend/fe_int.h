/* SPDX-License-Identifier: Apache-2.0 */
/* fe_int.h - what the files of frontend/ share: the model as read, the import
** in progress, and the words in which importers are written.
**
** An importer lowers one ONNX node.  Before it runs, its table row has checked
** the number of inputs and outputs, the kinds of attributes and the element
** types.  The n_* builders take VAL_NONE and give VAL_NONE after the first
** misfit, so an importer is straight-line code; the misfit is reported once,
** when the importer returns. */
#ifndef VLPC_FRONTEND_FE_INT_H
#define VLPC_FRONTEND_FE_INT_H

#include "base/io.h"
#include "base/map.h"
#include "base/vec.h"
#include "frontend/frontend.h"
#include "onnx.pb-c.h"

enum {
  FE_MAX_NODES = 250000, /* also after inlining */
  FE_MAX_ERRORS = 200,    /* after these a list is not read further */
  FE_MAX_ATTRS = 64,      /* of one node */
  FE_MAX_NESTING = 64,    /* calls of functions and subgraphs */
  FE_MAX_INTS = 65536     /* elements of a constant that an importer reads */
};

typedef struct {
  const char *location;
  Mapped map;
} ExtFile;

struct FeModel {
  Arena *a;
  Diag *d;
  const char *path;
  FeOptions opt;
  Mapped file;
  int dir_fd; /* the model's folder, -1 until external data are met */
  VEC(ExtFile) ext;
  Onnx__ModelProto *proto;
  int64_t opset;
  const FeInput *input; /* initializers that become inputs */
  uint32_t n_inputs;
};

/* ---- onnx_external.c ---------------------------------------------------- */

/* The bytes that an EXTERNAL tensor names; want is what its type and shape
** need.  Every kind of tensor comes through here. */
VL_MUST_USE VlStatus ext_find(FeModel *m, const Onnx__TensorProto *t, uint64_t want, DiagAt at,
                              const void **out);

/* ---- onnx_tensor.c ------------------------------------------------------ */

bool onnx_dtype(int32_t onnx, VlDtype *out);
const char *onnx_dtype_name(int32_t onnx);
int32_t onnx_dtype_code(VlDtype t);

/* A const node for t.  Errors: E0215 … E0218, E0223, E0224. */
VL_MUST_USE VlStatus tensor_import(FeModel *m, Graph *g, const Onnx__TensorProto *t, DiagAt at,
                                   Val *out);

/* ---- names in scope ----------------------------------------------------- */

/* A sequence of known length.  is_rows: not a sequence but one value whose first
** two axes count as one, because the product of their sizes (batch × length) is
** no affine expression; it exists until something takes the axes apart again. */
typedef struct {
  Val *at;
  uint32_t n;
  bool is_rows;
} Seq;

/* What a name stands for: a value, a sequence, or the result of a node that
** failed (bad: reported already). */
typedef struct {
  Val v;
  Seq *seq;
  bool is_set, bad, is_initializer;
} Slot;

typedef struct Scope {
  struct Scope *outer; /* of a subgraph; NULL for functions and the main graph */
  Names *names;
  VEC(Slot) slot;
} Scope;

/* What the graph says of a symbol: it equals another, or (to NULL) a number. */
typedef struct {
  const char *from, *to;
  int64_t size;
} Alias;

typedef struct {
  FeModel *m;
  Arena *a;
  Diag *d;
  Graph *g;
  Names *fn_names; /* "domain:name:overload" → index in functions */
  Names *missing;  /* reported already */
  VEC(Alias) alias;
  bool is_restart; /* more is known of a symbol: import again */
  bool is_over;    /* a limit was passed: no more nodes */
  uint32_t n_nodes, depth;
} Import;

/* An attribute of a call, for ref_attr_name in the function. */
typedef struct {
  const char *name;
  const Onnx__AttributeProto *a;
} CallAttr;

/* A list of nodes being imported: the main graph, a branch, or a function. */
typedef struct Body {
  Scope *scope;
  Onnx__NodeProto **node;
  size_t n_node;
  Onnx__OperatorSetIdProto **opset;
  size_t n_opset;
  const struct Body *outer;  /* the body that holds the call, or NULL */
  const char *path;          /* "" or "call/…/" */
  int32_t call_index;        /* node index in the main graph, -1 there */
  const CallAttr *call_attr;
  uint32_t n_call_attr;
  const Onnx__FunctionProto *fn; /* NULL outside functions */
} Body;

/* ---- the op table (onnx_ops.c) ------------------------------------------ */

typedef struct OnnxNode OnnxNode;
typedef bool ImportFn(OnnxNode *x);

typedef struct {
  const char *domain, *op;
  int16_t since, until; /* until 0: open */
  ImportFn *fn;
  int32_t arg;          /* an OpCode or a choice of the importer */
  uint8_t min_in, max_in, max_out; /* max_in 255: any number */
  const char *types;    /* a letter per operand, the last repeats; onnx_ops.c */
  const char *attrs;    /* "axis:i to:i!" */
  const char *note;
} OnnxOp;

struct OnnxNode {
  Import *im;
  const Body *body;
  const Onnx__NodeProto *proto;
  const OnnxOp *row;
  Arena *a;
  Graph *g;
  DiagAt at;
  int64_t opset;
  uint32_t n_in, n_out, n_attr;
  Val *in;   /* VAL_NONE: absent, or a sequence */
  Seq **seq; /* of in[i], or NULL */
  const Onnx__AttributeProto **attr;
  Val *out;
  Seq **out_seq;
  bool is_reported; /* a diagnostic for this node was given */
};

/* NULL with *known false when the op is unknown, true when only other opset
** versions are covered. */
const OnnxOp *op_row_find(const char *domain, const char *op, int64_t opset, bool *known);
/* The oldest version that a row of op covers. */
int op_row_since(const char *domain, const char *op);
/* The nearest name in the table, for "did you mean", or NULL. */
const char *op_row_near(const char *op);
/* Everything the row promises about x.  Reports and returns false. */
bool op_row_check(OnnxNode *x);

/* ---- import of bodies (onnx_import.c) ----------------------------------- */

/* Imports all nodes; errors are in the Diag. */
void body_import(Import *im, const Body *b);
Scope *scope_new(Import *im, Scope *outer);
/* False, with nothing set, when the name is taken in this very scope. */
bool scope_set(Import *im, Scope *s, const char *name, Slot v);
Slot *scope_find(Scope *s, const char *name); /* looks outwards; NULL when unset */
void initializers_import(Import *im, Scope *s, Onnx__GraphProto *g);

/* ---- graph inputs (onnx_inputs.c) --------------------------------------- */

void inputs_import(Import *im, Scope *s, const Onnx__GraphProto *g);
void outputs_import(Import *im, Scope *s, const Onnx__GraphProto *g);

/* ---- attributes (onnx_attr.c) ------------------------------------------- */

/* Values of a node's attributes, or the given default.  Kinds are checked by
** the row, so a getter finds the attribute in its kind or not at all. */
bool has_attr(const OnnxNode *x, const char *name);
int64_t get_int(const OnnxNode *x, const char *name, int64_t otherwise);
double get_float(const OnnxNode *x, const char *name, double otherwise);
/* 0 … n-1 of `among` (NULL-terminated), or a report and -1. */
int get_choice(OnnxNode *x, const char *name, const char *const *among);
/* NUL-terminated copy, or otherwise. */
const char *get_str(const OnnxNode *x, const char *name, const char *otherwise);
/* NULL when absent; *n elements of the file's list. */
const int64_t *get_ints(const OnnxNode *x, const char *name, uint32_t *n);
const float *get_floats(const OnnxNode *x, const char *name, uint32_t *n);
const Onnx__TensorProto *get_tensor(const OnnxNode *x, const char *name);
Onnx__GraphProto *get_graph(const OnnxNode *x, const char *name);
const Onnx__AttributeProto *find_attr(const OnnxNode *x, const char *name);
bool str_is(const char *a, const char *b);

/* ---- words for importers (onnx_node.c) ---------------------------------- */

/* Reports an error of this node (found / expected follow by diag_found …);
** returns false. */
bool n_fail(OnnxNode *x, DiagCode code, const char *fmt, ...) VL_PRINTF(3, 4);
/* Sets output i; true, or false with a report of the builder's misfit when v
** is none. */
bool n_out(OnnxNode *x, uint32_t i, Val v);
/* Sets output 0 to v with its first two axes merged; n_rows gives that v back
** when input i is such, else VAL_NONE. */
bool n_out_rows(OnnxNode *x, Val v);
Val n_rows(const OnnxNode *x, uint32_t i);
bool n_wants(const OnnxNode *x, uint32_t i); /* output i is named */
static inline Val n_in(const OnnxNode *x, uint32_t i) { return i < x->n_in ? x->in[i] : VAL_NONE; }

const Type *n_type(const OnnxNode *x, Val v);
VlDtype n_dtype(const OnnxNode *x, Val v);
uint32_t n_rank(const OnnxNode *x, Val v);
/* Axis as 0 … rank-1 (rank when `past` allows one past the end); false with a
** report when out of range. */
bool n_axis(OnnxNode *x, int64_t axis, uint32_t rank, uint32_t *out);
/* The axes of an attribute (before an opset) or of input i: sorted, unique,
** checked.  *given false when there are none. */
typedef struct {
  bool given;
  uint32_t n;
  int64_t at[VLPC_MAX_RANK];
} Axes;
bool n_axes(OnnxNode *x, uint32_t i, uint32_t rank, Axes *out);

Val n_node(OnnxNode *x, OpCode op, uint32_t n_operands, const Val *in, uint32_t n_attr,
           const Attr *attr);
Val n_ew1(OnnxNode *x, OpCode op, Val a);
Val n_ew2(OnnxNode *x, OpCode op, Val a, Val b); /* makes broadcast symbols agree */
Val n_where(OnnxNode *x, Val c, Val a, Val b);
Val n_cast(OnnxNode *x, Val a, VlDtype t);
Val n_scalar(OnnxNode *x, VlDtype t, double v);
Val n_like(OnnxNode *x, Val a, double v); /* scalar of a's dtype */
Val n_reshape(OnnxNode *x, Val a, const DimId *dim, uint32_t n);
Val n_broadcast(OnnxNode *x, Val a, const DimId *dim, uint32_t n);
Val n_permute(OnnxNode *x, Val a, const int64_t *perm, uint32_t n);
Val n_swap(OnnxNode *x, Val a); /* the last two axes */
Val n_slice(OnnxNode *x, Val a, uint32_t axis, DimId start, DimId size);
Val n_concat(OnnxNode *x, const Val *in, uint32_t n, uint32_t axis);
Val n_reduce(OnnxNode *x, OpCode op, Val a, const Axes *axes, bool keepdims);
Val n_reduce1(OnnxNode *x, OpCode op, Val a, uint32_t axis); /* keeps the axis */
Val n_softmax(OnnxNode *x, OpCode op, Val a, uint32_t axis);
Val n_matmul(OnnxNode *x, Val a, Val b);
Val n_unsqueeze(OnnxNode *x, Val a, uint32_t axis);
Val n_squeeze(OnnxNode *x, Val a, uint32_t axis);
Val n_iota(OnnxNode *x, DimId n);

/* Sizes. */
DimTable *n_dims(const OnnxNode *x);
DimId n_dim(const OnnxNode *x, Val v, uint32_t axis);
DimId n_size(const OnnxNode *x, int64_t size);
bool n_is_size(const OnnxNode *x, DimId d, int64_t *out);
/* Makes two sizes equal where they must be: a symbol becomes another one, or the
** number that an export baked in, and the import starts again.  false when they
** cannot be equal. */
bool n_agree(OnnxNode *x, DimId a, DimId b);

/* Input i as constants or sizes; a report (E0220) when not known. */
bool n_const_ints(OnnxNode *x, uint32_t i, const char *what, int64_t **out, uint32_t *n);
bool n_known_dims(OnnxNode *x, uint32_t i, const char *what, DimId **out, uint32_t *n);
bool n_const_int(OnnxNode *x, uint32_t i, const char *what, int64_t *out);
bool n_const_float(OnnxNode *x, uint32_t i, const char *what, double *out);


/* ---- sliding windows (imp_linear.c; also for pooling) ------------------- */

typedef struct {
  uint32_t n; /* spatial axes */
  int64_t kernel[VLPC_MAX_RANK], stride[VLPC_MAX_RANK], dilation[VLPC_MAX_RANK];
  int64_t pad[2 * VLPC_MAX_RANK]; /* before each axis, then after each */
} Window;

/* Reads the attributes into w, whose n is set; auto_pad becomes padding. */
bool window_read(OnnxNode *x, const int64_t *kernel, Window *w);

/* ---- importers (imp_*.c): one per name in the table's fourth column ----- */

#define ONNX(op, since, until, fn, arg, in, out, types, attrs, note) bool imp_##fn(OnnxNode *x);
#define MICROSOFT(op, fn, arg, in, out, types, attrs, note) bool imp_##fn(OnnxNode *x);
#include "frontend/onnx_ops.def"
#undef ONNX
#undef MICROSOFT

#endif
