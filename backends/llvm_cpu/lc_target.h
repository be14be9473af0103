/* SPDX-License-Identifier: Apache-2.0 */
/* lc_target.h - which instruction sets exist, which one this CPU can run, and
** what LLVM must be told for each.
**
** A level is a promise about features; the CPU model only tunes scheduling.  The probe checks the CPU and the operating system (XGETBV): a
** CPU that has AVX-512 under a system that does not save its registers is not
** an AVX-512 machine. */
#ifndef VLPC_BACKENDS_LLVM_CPU_LC_TARGET_H
#define VLPC_BACKENDS_LLVM_CPU_LC_TARGET_H

#include "base/base.h"

typedef enum {
  LC_PORTABLE, /* x86-64-v2, or AArch64 with NEON */
  LC_AVX2,     /* + AVX2, FMA, F16C */
  LC_AVX512,   /* + AVX-512 F, BW, DQ, VL */
  LC_AVX512_BF16,
  LC_AMX_BF16, /* + AMX tiles */
  LC__LEVELS
} LcLevel;

typedef struct {
  LcLevel level;
  const char *triple;
  const char *cpu;      /* LLVM's baseline model, the level without features */
  const char *tune;     /* LLVM's name of the CPU to schedule for */
  const char *features; /* LLVM's feature string */
  bool has_fma;
  bool has_f16;     /* half <-> float in hardware */
  uint32_t lanes;   /* floats in one register */
  uint32_t mr;      /* GEMM tile: most rows, */
  uint32_t panels;  /* and panels of 16 columns */
} LcTarget;

/* Highest level that this CPU and system run. */
LcLevel lc_level_here(void);
const char *lc_level_name(LcLevel l); /* "portable", "avx2", "avx512", … */
bool lc_level_parse(const char *name, LcLevel *out);
/* What code of a level is made for. */
LcTarget lc_target(LcLevel l);

#endif
