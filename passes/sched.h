/* SPDX-License-Identifier: Apache-2.0 */
/* sched.h - from a recognised graph to the planned program.
**
** Scheduling turns values into buffers and nodes into kernel launches.  Moves
** (permute, slice, broadcast, most reshapes) become views and cost nothing;
** elementwise chains become one loop nest; a linear takes its activation and
** residual along; what a concat joins is written in place.
**
** Constants are only requested here: (value, layout) pairs that the packer
** evaluates and writes at the offsets given in the program. */
#ifndef VLPC_PASSES_SCHED_H
#define VLPC_PASSES_SCHED_H

#include "base/program.h"
#include "ir/kernel.h"

typedef enum {
  CONST_PLAIN = 0, /* row-major */
  CONST_PANELS,    /* [K, N] in panels of GEMM_PANEL columns (kernel.h) */
  CONST_PADDED,    /* [N] padded with zeroes to a multiple of GEMM_PANEL */
  CONST_PANELS_BF16 /* [K, N] in bf16 panels of pairs of k (kernel.h) */
} ConstLayout;

typedef struct {
  Val v;
  ConstLayout layout;
  uint32_t buf;
} SchedConst;

typedef struct {
  const char *name; /* "image" */
  const Named *out; /* values and their names */
  uint32_t n_out;
  const Named *given; /* inner values that are inputs of this entry, and their names */
  uint32_t n_given;
} SchedEntry;

enum {                             /* rewrites that can be switched off */
       SCHED_NO_FUSE_EW = 1 << 0,  /* each elementwise node its own loop nest */
       SCHED_NO_EPILOGUE = 1 << 1, /* activations and residuals apart from gemm */
       SCHED_NO_CONCAT = 1 << 2,   /* concat copies its operands */
       SCHED_NO_INPLACE = 1 << 3,  /* a residual sum gets a buffer of its own */
       SCHED_NO_BF16_ATTENTION = 1 << 4, /* attention multiplies in f32 */
       SCHED_BF16 = 1 << 5         /* asked for: factors of products are held as bf16 */
};

typedef struct {
  Program program;
  KernelList kernels;
  const SchedConst *consts;
  uint32_t n_consts;
  uint64_t weight_bytes; /* of the weight section */
} Schedule;

/* Rebuilds g so that every semantic op left has a kernel (sched_expand.c). */
Graph *sched_expand(const Graph *g, Arena *a);

/* g must come from sched_expand.  Everything lies on the arena; the
** program's dims are the graph's table, extended.  Fails with SCHEDULE when a
** node has no kernel (all such nodes are reported). */
VL_MUST_USE VlStatus sched_run(const Graph *g, const SchedEntry *entry, uint32_t n_entries,
                               uint32_t flags, Arena *a, Diag *d, Schedule *out);

#endif
