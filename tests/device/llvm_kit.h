/* SPDX-License-Identifier: Apache-2.0 */
/* llvm_kit.h - runs kernels of the llvm_cpu backend in a test, or, linked with
** opencl_kit.c, those of an OpenCL device.
**
** kit_open makes code for one target, of a kernel once in a run of the tests, and maps it;
** kit_run runs one kernel,
** cutting its tasks into `pieces` separate calls, each with scratch full of
** NaN, so that a result which leans on an earlier task shows.  Any failure
** fails the test.  Random numbers are counted, so a test repeats exactly. */
#ifndef VLPC_TESTS_DEVICE_LLVM_KIT_H
#define VLPC_TESTS_DEVICE_LLVM_KIT_H

#include "backends/llvm_cpu/llvm_cpu.h"
#include "runtime/code.h"

typedef struct {
  Arena *arena;
  Diag *diag;
  const uint8_t *code; /* the code file */
  void *image;         /* mapped read-execute */
  size_t image_bytes;
} Kit;

/* The targets this machine runs that differ in code, lowest first; NULL past the last.  Of those
** with AVX-512, which differ in products of bf16, the highest alone, unless the test is long. */
const char *kit_target(int i);

/* All that it runs, for kernels of bf16. */
const char *kit_bf16_target(int i);

/* Whether a test has time for every dtype on this target, not only those with
** code of their own. */
bool kit_every_dtype(int i);

/* Whether a test has time for a kernel with these sizes: a simulator has for small ones. */
bool kit_has_time(const Kernel *k, const int64_t *sizes);

/* The keys that attention takes before it may round factors against another maximum. */
int64_t kit_keys(void);

Kit kit_open(const char *target, Kernel *kernels, uint32_t n);
void kit_close(Kit *k);
/* The fault code.  sizes may be NULL when there are none. */
int kit_run(const Kit *k, uint32_t kernel, void *const *operands, const int64_t *sizes, int pieces);
int64_t kit_tasks(const Kit *k, uint32_t kernel, const int64_t *sizes);
/* Bytes [lo, hi) of an operand that the kernel says it touches. */
void kit_reach(const Kit *k, uint32_t kernel, uint32_t operand, const int64_t *sizes, double *lo,
               double *hi);

/* n floats in [-1, 1), the same for the same seed; on the kit's arena. */
float *kit_floats(const Kit *k, uint64_t seed, int64_t n);
float *kit_filled(const Kit *k, int64_t n, float value);
/* Whether a and b are the same bits. */
void kit_same(const float *a, const float *b, int64_t n, const char *what);
/* |got - want| <= abs_error + rel_error·|want| for every element. */
void kit_near(const float *got, const double *want, int64_t n, double abs_error, const char *what);

#endif
