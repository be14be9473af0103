/* SPDX-License-Identifier: Apache-2.0 */
/* cl_text.h - kernels as OpenCL C 1.2 text, and the grids they are launched on.
**
** Kernel i becomes `kernel void k<i>(operands…, sizes…, fault, step)`: each
** operand a pointer and an offset in elements, each run-time size a long; what
** is known is a literal.  A kernel that meets a bad index writes step to
** *fault once.  No float atomics; each result is summed in one fixed order, so
** a device gives the same bits run after run.
**
** Text comes in files by kind (cl_gemm.c …); each has an emitter and a grid. */
#ifndef VLPC_BACKENDS_OPENCL_CL_TEXT_H
#define VLPC_BACKENDS_OPENCL_CL_TEXT_H

#include "base/str.h"
#include "ir/kernel.h"

/* What a work-group of a gemm makes (cpu: a work-item), and K of it at a time. */
typedef struct {
  uint32_t rows, cols, depth;
} ClTile;

/* What suits a kind of device: a row of cl_classes.def. */
typedef struct {
  const char *name;
  bool cpu;                   /* wide vectors and few work-items, no local memory */
  ClTile tile;                /* of gemms */
  uint32_t row_items;         /* work-items of one row of layernorm …; a power of 2 */
  uint32_t queries, keys;     /* attention: queries of a group, keys at a time */
  uint32_t items;             /* work-items of a group elsewhere; a power of 2 */
  double launch_flops;        /* most work of one launch; 0: any */
  uint32_t tensor;            /* 1: may have words of cl_tensor.h; 2: those of warpgroups too */
  const char *spare;          /* class where this one's kernels cannot be built; NULL: none */
} ClClass;

/* A gemm and its tile, as `vlpc tune` found it (cl_tiles.c). */
typedef struct {
  int64_t k, n;
  uint16_t in, out;
  uint32_t transposed;
  ClTile tile;      /* the fastest */
  uint32_t clblast; /* the version of CLBlast that is faster still (cl_clblast.h); 0: none is */
} ClTuned;
_Static_assert(sizeof(ClTuned) == 40, "rows of a table are kept and compared as bytes");

typedef struct {
  ClTuned *at;
  uint32_t n;
} ClTable;

/* How bf16 is multiplied by matrix instructions (cl_tensor.h). */
typedef enum { TENSOR_NONE, TENSOR_PTX, TENSOR_PLAIN } ClTensor;

typedef struct {
  const ClClass *class;
  bool fp64;
  ClTensor tensor;
  bool warpgroups; /* has the words of warpgroups as well */
  uint32_t units; /* compute units */
  const ClTable *tuned; /* NULL: the class's tiles */
  uint32_t clblast;     /* the version that gemms may go to; 0: none */
} ClTarget;

#define CL_LOCAL_BYTES 32768 /* of local memory, which every device has */

typedef struct {
  const ClTarget *target;
  Str out;                   /* kernels */
  uint8_t used[OP__COUNT];   /* elementwise ops by kind of number, bits of ClNumber */
} ClText;

typedef enum { NUM_FLOAT = 1, NUM_LONG = 2, NUM_DOUBLE = 4 } ClNumber;

/* Work-items; a global size of 0 means that there is nothing to do.  The last
** dimension may be cut into launches (global offsets). */
typedef struct {
  uint32_t dims;
  uint64_t global[2], local[2];
} ClGrid;

typedef struct {
  void (*text)(ClText *t, const Kernel *k, uint32_t i);
  void (*grid)(const ClTarget *target, const Kernel *k, const int64_t *sizes, ClGrid *out);
  /* Whether operand o is read or written in vectors of 16 bytes; NULL: none is. */
  bool (*vectors)(const ClTarget *target, const Kernel *k, uint32_t o);
} ClKind;

extern const ClKind cl_loops, cl_gemm, cl_attention, cl_attention_grad, cl_rows, cl_axis;

/* cl_tiles.c: cols of work-items on processors, else of groups. */
ClTile cl_tile(const ClTarget *target, const KGemm *g);

/* cl_attention.c: statements that find rows kr and vr of key n. */
void cl_attention_locate(Str *s, const KAttention *a);

/* cl_emit.c */

/* The program of a list of kernels, on the arena; the grid of one launch. */
const char *cl_program_text(KernelList l, const ClTarget *target, Arena *a);
void cl_grid(const ClTarget *target, const Kernel *k, const int64_t *sizes, ClGrid *out);
bool cl_wants_vectors(const ClTarget *target, const Kernel *k, uint32_t o);
/* Why a kernel cannot run: the device lacks double precision; NULL: it can. */
const char *cl_cannot_run(const ClTarget *target, const Kernel *k);

/* Signature and the operands' pointers x0, x1 … at their offsets. */
void cl_begin(ClText *t, const Kernel *k, uint32_t i, const uint64_t local[2]);
void cl_end(ClText *t);
const char *cl_type(VlDtype d); /* as memory holds it */
/* "768L" or "s3". */
void cl_size(Str *s, KSize x);
/* "  const long NAME = …;\n" */
void cl_const(Str *s, const char *name, KSize x);
/* "((r / m) * gs + (r % m) * ms)" of two levels of rows. */
void cl_row(Str *s, const char *row, const KSize gm[2], const KSize stride[2]);

/* Words for kernels that multiply: IN(p, i) is element i of p, held as `in` says, and
** ORDER(i) what is summed in the place of i: of each pair of bf16 the odd one first. */
void cl_factors(Str *s, KNum in);

static inline int64_t cl_value(KSize x, const int64_t *sizes) {
  return x.dyn < 0 ? x.c : sizes[x.dyn];
}

static inline bool cl_is_one(KSize x) { return x.dyn < 0 && x.c == 1; }

/* Known when the text is made, and a multiple. */
static inline bool cl_is_multiple(KSize x, int64_t of) { return x.dyn < 0 && x.c % of == 0; }

static inline uint64_t cl_div_up(uint64_t n, uint64_t by) { return (n + by - 1) / by; }

/* cl_scalar.c */

/* "float", "long", "double" or "int" (bool): how a row of this type is held. */
const char *cl_held(VlDtype d);
void cl_load(Str *s, VlDtype d, const char *pointer, const char *index); /* an expression */
/* A statement that stores the held value. */
void cl_store(Str *s, VlDtype d, const char *pointer, const char *index, const char *value);
/* "" or "vl_bf16_": what stands before vload<n> and vstore<n> of vectors of floats. */
const char *cl_wide(VlDtype d);
/* An expression that converts and rounds. */
void cl_convert(Str *s, VlDtype from, VlDtype to, const char *value);
void cl_literal(Str *s, VlDtype d, double f, int64_t i);
/* Body row: an op on earlier rows v<a>, v<b>, v<c>. */
void cl_op(ClText *t, Str *s, const KBody *body, const KBody *row);
/* Functions that the program uses, for its head. */
void cl_prelude(const ClText *t, Str *s);

#endif
