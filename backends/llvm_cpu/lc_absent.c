/* SPDX-License-Identifier: Apache-2.0 */
/* lc_absent.c - the CPU backend of a vlpc that was built without LLVM: it says
** so. */
#include "backends/llvm_cpu/llvm_cpu.h"

VlStatus lc_emit(KernelList kernels, const CodeTarget *target, Arena *a, Diag *d,
                 const uint8_t **out, size_t *n) {
  (void)kernels, (void)target, (void)a;
  *out = NULL;
  *n = 0;
  VlStatus s = diag_error(d, DIAG_CODEGEN, DIAG_NOWHERE, "this vlpc was built without LLVM");
  diag_fix(d, "build it with VLPC_LLVM=ON, or run with --device opencl");
  return s;
}
