/* SPDX-License-Identifier: Apache-2.0 */
/* sched_int.h - what the files of the scheduler share.
**
** A Place says where a value lies: a buffer, an offset and a stride for each
** axis, all affine.  A Draft is a step being made: a kernel, its arguments and
** the list of run-time sizes it refers to. */
#ifndef VLPC_PASSES_SCHED_INT_H
#define VLPC_PASSES_SCHED_INT_H

#include "base/map.h"
#include "base/vec.h"
#include "passes/sched.h"

typedef struct {
  uint32_t buf; /* UINT32_MAX: nowhere yet */
  DimId off;
  uint32_t rank;
  DimId size[VLPC_MAX_RANK], stride[VLPC_MAX_RANK];
} Place;

typedef struct {
  bool needed;       /* by this entry */
  bool given;        /* an inner value that this entry gets as an input */
  bool at_compile;   /* constant: the packer computes it */
  bool inlined;      /* computed inside its only reader's loop nest */
  Val into;          /* gemm: the last node of its epilogue; else none */
  Val act, residual; /* on that last node: what the epilogue holds */
  Val concat;        /* written into this concat's buffer … */
  DimId concat_at;   /* … at this index of its axis */
  uint32_t uses;     /* readers in this entry, outputs counted */
  uint32_t emit_at;  /* index of the node in whose step it is computed */
  uint32_t last_use;
  uint32_t output; /* port number + 1 */
  KNum held;       /* how it lies in memory (sched_held.c) */
  bool bf16;       /* attention: multiplies in bf16 */
  bool whole, multiplied; /* read as f32; as a factor of bf16 products */
  bool placed;
  Place place;
} Info;

typedef struct {
  const Graph *g;
  DimTable *dims; /* the graph's: it grows */
  Arena *a;
  Diag *d;
  uint32_t flags;
  Info *info;
  Names *kernel_names; /* kernel bytes → index */
  Map *const_bufs;     /* (value, layout) → buffer */
  bool *is_weight;     /* by value: a linear takes it whole as weights or bias */
  VEC(Kernel) kernels;
  VEC(ProgBuf) bufs;
  VEC(ProgArg) args;
  VEC(DimId) sizes;
  VEC(ProgStep) steps;
  VEC(ProgPort) ports;
  VEC(SchedConst) consts;
  uint64_t weight_bytes;
} Sched;

typedef struct {
  Sched *s;
  Val v; /* for the place */
  Kernel k;
  uint32_t n_args;
  ProgArg arg[PROG_MAX_ARGS];
  uint32_t n_sizes;
  DimId size[PROG_MAX_SIZES];
  bool full; /* a table ran over */
} Draft;

/* Products and sums that pass DIM_NONE on (sched_place.c).  A size that is not
** affine in the symbols ends here: whoever needs it refuses the node. */
DimId sched_mul(Sched *s, DimId a, DimId b);
DimId sched_add(Sched *s, DimId a, DimId b);

/* A node without a kernel: reported with its place; scheduling goes on. */
void sched_refuse(Sched *s, Val v, const char *why);

/* sched_place.c */
DimId sched_const(Sched *s, int64_t c);
Place place_contiguous(Sched *s, uint32_t buf, const Type *t);
bool place_is_contiguous(Sched *s, const Place *p);
Place place_permuted(const Place *p, const int64_t *perm);
bool place_sliced(Sched *s, const Place *p, Val slice, Place *out);
Place place_broadcast(Sched *s, const Place *p, const Type *to);
bool place_reshaped(Sched *s, const Place *p, const Type *to, Place *out);
/* Axis of p from index at (size kept in p). */
bool place_shifted(Sched *s, const Place *p, uint32_t axis, DimId at, Place *out);
uint32_t sched_temp(Sched *s, const Type *t);
/* Where v's result goes: an output, its part of a concat, or a temporary. */
Place sched_dest(Sched *s, Val v);
/* Where v lies; constants are requested with the layout. */
Place sched_source(Sched *s, Val v);
uint32_t sched_const_buf(Sched *s, Val v, ConstLayout layout);
/* Weights or bias of a gemm in their layout: columns of a value that another
** gemm takes whole are a part of its panels. */
Place sched_weight(Sched *s, Val v, ConstLayout layout);
VlDtype place_dtype(const Sched *s, const Place *p); /* of its buffer */
/* A copy of p in row-major order in a new temporary; both convert between
** floats where the types differ. */
Place sched_copied(Sched *s, Val v, const Place *p, VlDtype dtype);
void sched_copy(Sched *s, Val v, const Place *from, const Place *to);
/* Two levels of rows (g, m) that all n places share; false when they have
** none.  The last axis must be contiguous in each. */
typedef struct {
  DimId g, m;
  DimId g_stride[3], m_stride[3];
} Rows;
bool places_rows(Sched *s, const Place *const *p, uint32_t n, Rows *out);

/* sched_step.c */
Draft draft_begin(Sched *s, Val v, KernelKind kind);
KSize draft_size(Draft *d, DimId dim);
/* Adds an argument, returns its operand number. */
uint32_t draft_arg(Draft *d, const Place *p);
void draft_end(Draft *d);

/* sched_loops.c: everything that becomes a loop nest */
void sched_elementwise(Sched *s, Val v);
void sched_reduce(Sched *s, Val v);
void sched_matmul(Sched *s, Val v);
void sched_conv(Sched *s, Val v);
void sched_gather(Sched *s, Val v);
void sched_scatter_nd(Sched *s, Val v);
void sched_pad(Sched *s, Val v);
void sched_concat(Sched *s, Val v);
void sched_generated(Sched *s, Val v); /* dims, iota */
Place sched_patches(Sched *s, Val v);  /* rows of a patch_embed's operand */

/* sched_rows.c: kernels of their own */
void sched_linear(Sched *s, Val v);
void sched_patch_embed(Sched *s, Val v);
void sched_attention(Sched *s, Val v);
/* batch, rows and contiguous columns of an operand [..., L, width]. */
typedef struct {
  DimId batch, b_stride, r_stride;
} Heads;
/* x, an operand of node v, with the axes of batch of `whole` where its own are 1:
** as it lies, or a copy.  False when its batch is not one walk. */
bool sched_heads(Sched *s, Val v, const Type *whole, Val x, Place *p, Heads *out);
void sched_rows(Sched *s, Val v); /* layernorm, softmax, l2norm */
void sched_layernorm_grad(Sched *s, Val v);
void sched_axis(Sched *s, Val v); /* cumsum, topk */

/* sched_grad.c: the first node of a group makes the step */
void sched_attention_grad(Sched *s, Val v);
bool sched_grad_has_kernel(const Graph *g, Val v);

/* sched_expand.c: by value, what depends on constants only and has a size known
** when compiling: the packer computes it. */
bool *sched_constants(const Graph *g, Arena *a);

/* sched_fuse.c */
void sched_fuse(Sched *s);
bool sched_is_view(OpCode op);
/* The value whose buffer v is a view of. */
Val sched_root(const Sched *s, Val v);

/* sched_held.c */
void sched_hold(Sched *s);

#endif
