/* SPDX-License-Identifier: Apache-2.0 */
/* pass_int.h - what the passes share: matching of small forms, views, and the
** matchers that passes and report both ask.  Nobody outside passes/ includes
** this.
**
** A pass is a RewriteFn: it looks at a node whose operands are already in the
** new graph and returns what should stand there, or VAL_NONE to copy it. */
#ifndef VLPC_PASSES_PASS_INT_H
#define VLPC_PASSES_PASS_INT_H

#include "passes/pass.h"

/* What a RewriteFn finds behind Rewrite.ctx. */
typedef struct {
  Arena *arena;
  const uint32_t *uses; /* of the source graph, by value index */
  const Val *reader;    /* the nodes that read value v, once for each operand … */
  const uint32_t *reader_at; /* … at [reader_at[v], reader_at[v + 1]) */
  const uint8_t *depends; /* likewise: kinds of input (towers.c) */
  bool approx;
} PassCtx;

#define PASS(id, needs, makes, what) RewriteFn pass_##id;
#include "passes/passes.def"

/* ---- match.c: small forms ------------------------------------------------ */

/* Chains longer than this are not followed: graphs come from anywhere. */
enum { CHAIN_MAX = 16 };

/* The node of that op; false for VAL_NONE too. */
bool m_is(const Graph *g, Val v, OpCode op);
/* Depends on constants only (weights, reshaped, cast, … weights). */
bool m_const(const Graph *g, Val v);
/* A constant of equal elements, seen through broadcast. */
bool m_splat(const Graph *g, Val v, double *out);
/* |v - c| <= rel·|c| */
bool m_near(double v, double c, double rel);
bool m_is_splat(const Graph *g, Val v, double c, double rel);
/* v = c·x for a splat c: *x and *c (v itself and 1 otherwise). */
void m_scaled(const Graph *g, Val v, Val *x, double *c);
/* One operand of the commutative v is a splat near c: the other one. */
bool m_with_splat(const Graph *g, Val v, OpCode op, double c, Val *other);
/* v as vector [n] when it is a constant that broadcasts as its last axis only. */
Val m_vector(Graph *g, Val v, DimId n);
/* Size of the last axis; DIM_NONE for rank 0. */
DimId m_last_dim(const Graph *g, Val v);
/* A reduction over exactly the last axis, size kept. */
bool m_reduces_last(const Graph *g, Val v, OpCode op);
bool m_dim_is(const Graph *g, DimId d, int64_t c);
/* The source nodes that read a source value. */
const Val *m_readers(const Rewrite *rw, Val v, uint32_t *n);
/* How often a source value is read, as an output too. */
uint32_t m_uses(const Rewrite *rw, Val v);
/* Lists readers for a PassCtx. */
void m_list_readers(const Graph *g, Arena *a, PassCtx *cx);
/* Source operand i of the source node is read by nobody else. */
bool m_sole_use(const Rewrite *rw, Val src, uint32_t i);
/* Operand i of the source node, given its image in[]: the other one. */
Val m_copy(Rewrite *rw, Val src, const Val *in);

/* ---- view.c -------------------------------------------------------------- */

/* A value as a rearrangement of a base: the base's axes are split into atoms
** (none of size 1), which the value's axes list from major to minor. */
enum { VIEW_MAX = 12 };
typedef struct {
  Val base;
  uint32_t n; /* atoms, in base order */
  struct {
    uint32_t axis; /* of base */
    DimId size;
  } atom[VIEW_MAX];
  uint32_t rank; /* of the value */
  uint32_t n_of[VLPC_MAX_RANK]; /* atoms of each axis */
  uint32_t order[VIEW_MAX];     /* atoms as the value lists them */
} View;

View view_whole(const Graph *g, Val v);
/* Follows permutes and reshapes down to the base. */
View view_of(Graph *g, Val v);
bool view_permute(View *w, const int64_t *perm);
bool view_reshape(Graph *g, View *w, const DimId *dim, uint32_t rank);
/* Leaves out atoms that have come down to size 1. */
void view_drop_ones(const Graph *g, View *w);
/* The value with those sizes: at most reshape, permute, reshape of the base.
** VAL_NONE when it cannot be written so. */
Val view_emit(Graph *g, const View *w, const DimId *dim);
/* First atom in order of an axis. */
uint32_t view_first(const View *w, uint32_t axis);
/* v = c' · result, with *c multiplied by c': factors anywhere in the chain. */
Val view_unscaled(Graph *g, Val v, double *c);
/* The value's last axis is the base's last axis, whole. */
bool view_keeps_rows(const Graph *g, const View *w);
/* More than axes of size 1 that go. */
bool view_moves(const Graph *g, const View *w);
/* Equal rearrangements of bases of equal sizes. */
bool view_same(const Graph *g, const View *a, const View *b);
/* c, which broadcasts to the viewed value, as it broadcasts to the base;
** VAL_NONE when it cannot. */
Val view_invert(Graph *g, const View *w, Val c);
/* Size of the value's axis. */
DimId view_dim(Graph *g, const View *w, uint32_t axis);

/* ---- matchers: NULL when the form is there, else what did not fit --------- */

typedef struct {
  Val q, k, v;    /* [B, L, h·d] */
  Val mask;       /* broadcasts to [B, h, Lq, Lk]; VAL_NONE: none */
  int64_t heads;
  double scale;
  bool causal;
  View out;       /* how the matmul's result views [B, Lq, h·dv]; base unset */
} Attention;
/* Of matmul(probs, v); builds the operands in g. */
const char *match_attention(Graph *g, Val probs, Val v, Attention *out);
const char *match_gelu(const Graph *g, Val root, Val *x, const char **approx);
const char *match_layernorm(const Graph *g, Val root, Val *x, double *eps);
const char *match_l2norm(const Graph *g, Val root, Val *x, double *eps);

/* ---- mask.c -------------------------------------------------------------- */

/* An added mask taken apart: a causal triangle, and the rest (VAL_NONE when
** nothing is left).  False when a part cannot be told apart. */
bool mask_split(Graph *g, Val mask, bool *causal, Val *rest);

/* ---- graft.c ------------------------------------------------------------- */

/* A copy of a graph into another one that may hold something already.  Sizes
** keep their symbols' names.  Bytes of constants are borrowed: the source's
** arena must live as long. */
typedef struct {
  const Graph *src;
  Graph *dst;
  const char **input_name; /* by source value, an entry or all NULL: as it is */
  const char **size_name;  /* by symbol, likewise; equal names become one symbol */
  const DimId *size;       /* by symbol: what stands in its place; NULL, DIM_NONE: nothing */
  const char *tag;         /* added to the names of symbols that dst has already */
  Val *map;                /* out: by source value */
  Arena *arena;            /* of dst; it and sym are graft_begin's */
  DimId *sym;              /* by symbol: its size in dst */
} Graft;
/* All values of src. */
void graft_copy(Graft *gr);
/* Then its outputs and points. */
void graft_names(const Graft *gr);
/* Or one by one: begin, then each node on operands of dst.  VAL_NONE: it does not
** fit them (ir_why). */
void graft_begin(Graft *gr);
Val graft_node(const Graft *gr, Val v, const Val *in);
/* Nodes made from now on stand where v does. */
void graft_place(const Graft *gr, Val v);
DimId graft_dim(const Graft *gr, DimId d);
TypeId graft_type(const Graft *gr, Val v);

/* ---- towers.c ------------------------------------------------------------ */

enum { DEPENDS_IMAGE = 1, DEPENDS_TEXT = 2, DEPENDS_OTHER = 4 };
/* By value index: which kinds of input a value depends on; arena array. */
uint8_t *tower_depends(const Graph *g, Arena *a);
/* A mask of [n, length] beside a text of [classes, length]: one size for both,
** though no operator of the export may need it. */
Graph *tower_sizes(const Graph *g, Arena *a);
/* Names points, inputs, outputs and sizes; aliases are appended. */
Graph *tower_names(const Graph *g, Arena *a, PassResult *out);

#endif
