/* SPDX-License-Identifier: Apache-2.0 */
/* bench.h - inputs of an entry; one run, observed step by step. */
#ifndef VLPC_CLI_BENCH_H
#define VLPC_CLI_BENCH_H

#include "base/vec.h"
#include "cli/model.h"

typedef struct {
  const char *text; /* kernel and sizes */
  const char *place;
  int64_t start_ns, end_ns, flops;
} BenchStep;

typedef struct {
  const char *text;
  uint32_t steps;
  int64_t ns, flops;
} BenchKernel;

typedef struct {
  VEC(BenchStep) step;
  BenchKernel *kernel; /* steps with equal text added up, slowest first */
  uint32_t n_kernels;
  int64_t flops; /* 0: not known */
} BenchRun;

typedef struct {
  const char *entry;
  int64_t batch, seed;
  int64_t classes; /* 0: as many as the batch */
  bool trains;     /* a step of training */
} BenchSpec;

/* Gives an entry inputs that are random of the seed; texts are class prompts ("a photo of
** a NAME.") of 8 to 10 tokens.  Trainables come from --prompts where it is given. */
VL_MUST_USE VlStatus bench_set_inputs(Cli *c, Model *m, const BenchSpec *spec);

/* Runs an entry whose inputs are set.  Without the compiler library steps are
** only numbered, and operations are not known. */
VL_MUST_USE VlStatus bench_observe(Cli *c, Model *m, const char *entry, BenchRun *out);
/* Writes the steps in Chrome's trace format. */
VL_MUST_USE VlStatus bench_write_trace(Cli *c, const char *path, const BenchRun *r);

#endif
