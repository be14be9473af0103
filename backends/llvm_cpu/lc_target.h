/* SPDX-License-Identifier: Apache-2.0 */
/* lc_target.h - what LLVM must be told for each instruction-set level of
** base/cpu.h, and the tile sizes that fit its registers.
**
** A level is a promise about features; the CPU model only tunes scheduling.
** What LLVM is told depends on the level alone, never on the machine that
** compiles, so sealed code is the same wherever it was made.  Portable code on
** x86-64 needs SSE4.2 (x86-64-v2, every CPU since 2009). */
#ifndef VLPC_BACKENDS_LLVM_CPU_LC_TARGET_H
#define VLPC_BACKENDS_LLVM_CPU_LC_TARGET_H

#include "base/base.h"
#include "base/cpu.h"

typedef struct {
  CpuIsa isa;
  const char *triple;
  const char *cpu;      /* LLVM's baseline model, the level without features */
  const char *tune;     /* LLVM's name of the CPU to schedule for */
  const char *features; /* LLVM's feature string */
  bool has_fma;
  bool has_f16;     /* half <-> float in hardware */
  bool has_bf16;    /* float -> bf16 in hardware, */
  bool has_dot;     /* and sums of two bf16 products, faster than multiply-adds */
  bool has_amx;     /* tile registers, and products of bf16 in them */
  uint32_t lanes;   /* floats in one register */
  uint32_t mr;      /* GEMM tile: most rows, */
  uint32_t panels;  /* and panels of 16 columns */
} LcTarget;

/* What code of a level of this architecture is made for. */
LcTarget lc_target(CpuIsa isa);
/* "x86_64-avx512", or "avx512" alone. */
bool lc_target_parse(const char *name, LcTarget *out);
/* All that lc_target_parse takes, for messages. */
const char *lc_target_names(void);

#endif
