/* SPDX-License-Identifier: Apache-2.0 */
/* cpu.h - what this processor and its operating system can run.
**
** A level is a set of instructions that code is made for; each includes the
** ones below it of the same architecture.  The operating system's support for
** the registers (XGETBV) counts as much as CPUID; AMX's must be asked for, which
** the first question does. */
#ifndef VLPC_BASE_CPU_H
#define VLPC_BASE_CPU_H

#include <stdbool.h>

typedef enum {
  ISA_PORTABLE = 0, /* the architecture's baseline, 4 lanes */
  ISA_AVX2,         /* AVX2 and FMA, 8 lanes */
  ISA_AVX512,       /* AVX-512 F, BW, DQ, VL, 16 lanes */
  ISA_AVX512_BF16,  /* and AVX512-BF16: dot products of bf16 pairs */
  ISA_AMX,          /* and AMX-TILE, AMX-BF16: products of bf16 matrices */
  ISA__COUNT
} CpuIsa;

CpuIsa cpu_isa_best(void);
bool cpu_isa_runs(CpuIsa isa);
/* The level to make code for: the best, or AVX-512 where products of bf16 gain nothing: f32
** has none, and some processors are slower with them. */
CpuIsa cpu_isa_for(bool bf16);
const char *cpu_isa_name(CpuIsa isa); /* "portable" … "amx" */
bool cpu_isa_parse(const char *name, CpuIsa *out);
const char *cpu_arch(void);           /* "x86_64", "aarch64" */
/* Processors this process may use (affinity and cgroup quota). */
int cpu_count(void);
/* "AMD EPYC …" or the architecture; static storage. */
const char *cpu_model(void);

#endif
