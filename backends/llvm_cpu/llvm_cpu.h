/* SPDX-License-Identifier: Apache-2.0 */
/* llvm_cpu.h - the CPU backend: kernels to machine code with LLVM 19.
**
** Targets are the levels of base/cpu.h: "avx512" or "x86_64-avx512".  The same kernels and target
** give the same bytes on every machine.  Threads: any number of calls may run
** at once; each has its own LLVM context. */
#ifndef VLPC_BACKENDS_LLVM_CPU_LLVM_CPU_H
#define VLPC_BACKENDS_LLVM_CPU_LLVM_CPU_H

#include "backends/backend.h"

/* Code in the file form of runtime/code.h, on the arena. */
VL_MUST_USE VlStatus lc_emit(KernelList kernels, const CodeTarget *target, Arena *a, Diag *d,
                             const uint8_t **out, size_t *n);
/* The optimised LLVM IR, or the assembly, of the same code. */
VL_MUST_USE VlStatus lc_print(KernelList kernels, const char *target, bool assembly, Arena *a,
                              Diag *d, const char **out);

#endif
