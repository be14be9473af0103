/* SPDX-License-Identifier: Apache-2.0 */
/* llvm_loops_ref.h - loop kernels run point by point in plain C, as the judge
** of the compiled ones.  Values are doubles for float dtypes and int64 for the
** rest; f16 and bf16 are rounded after each op. */
#ifndef VLPC_TESTS_DEVICE_LLVM_LOOPS_REF_H
#define VLPC_TESTS_DEVICE_LLVM_LOOPS_REF_H

#include "ir/kernel.h"

/* Runs the kernel on the operands; a float sum is made in double.  Returns a
** FAULT_* code. */
int loops_ref(const Kernel *k, void *const *operands, const int64_t *sizes);

#endif
