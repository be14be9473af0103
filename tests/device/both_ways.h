/* SPDX-License-Identifier: Apache-2.0 */
/* both_ways.h - one kernel by its code and by the reference kernel in double, on
** the same operands.  They may differ by KERNEL_RTOL (both_ways.c) of the largest
** magnitude that is written, or summed; integers and booleans are equal. */
#ifndef VLPC_TESTS_DEVICE_BOTH_WAYS_H
#define VLPC_TESTS_DEVICE_BOTH_WAYS_H

#include "tests/device/llvm_kit.h"
#include "tests/device/plan_kit.h"

#define HALF_RTOL 3e-2 /* where a value is in half precision */

typedef struct {
  const Kit *kit;
  uint32_t first; /* the plan's first kernel in the kit */
  const char *what;
  uint64_t n_kernels;
} BothWays;

/* A RunKernel on a BothWays: fails the test where they differ; the code's result
** stays. */
int both_ways(void *ctx, uint32_t kernel, const Kernel *k, void *const *operand,
              const int64_t *size, Arena *a);
double both_ways_rtol(VlDtype t, double rtol); /* HALF_RTOL for halves */
bool both_ways_close(double got, double want, double within);

#endif
