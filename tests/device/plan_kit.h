/* SPDX-License-Identifier: Apache-2.0 */
/* plan_kit.h - runs a graph through the scheduler and the reference kernels, so
** that a plan can be held against the interpreter. */
#ifndef VLPC_TESTS_DEVICE_PLAN_KIT_H
#define VLPC_TESTS_DEVICE_PLAN_KIT_H

#include "passes/sched.h"

typedef int RunKernel(void *ctx, uint32_t kernel, const Kernel *k, void *const *operand,
                      const int64_t *size, Arena *a);

/* Runs the only entry of a plan of g on the inputs in order, each kernel
** through fn; symbols are sym[].  Outputs are as ir_eval gives them.  Every
** operand is checked to stay in its buffer. */
void plan_run(const Graph *g, const Schedule *p, const int64_t *sym, const RefTensor *in,
              RefTensor *out, Arena *a, RunKernel *fn, void *ctx);
/* The same with the reference kernels. */
int plan_ref_kernel(void *ctx, uint32_t kernel, const Kernel *k, void *const *operand,
                    const int64_t *size, Arena *a);
/* g with the gradient of a sum over its outputs for each float input (pass_grad),
** in a graph of the same arena; NULL when it has no float output or passes no
** gradient. */
Graph *plan_gradients(Graph *g);
/* Symbols' values from the inputs' sizes. */
void plan_bind(const Graph *g, const RefTensor *in, int64_t *sym);

#endif
