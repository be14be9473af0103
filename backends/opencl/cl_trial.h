/* SPDX-License-Identifier: Apache-2.0 */
/* cl_trial.h - one gemm with one tile, or with CLBlast, on a device: whether its results are
** good, and its time, which is the sum over the rows of about 1, 16 and 64 photos, of each the
** best of a few runs.
**
** Results of a tile are the class's to the bit.  CLBlast's sums have another order, so they
** only have to be near; but rows of A repeat, and each result row must be the same to the bit
** wherever it stands and however many there are. */
#ifndef VLPC_BACKENDS_OPENCL_CL_TRIAL_H
#define VLPC_BACKENDS_OPENCL_CL_TRIAL_H

#include "backends/opencl/cl_clblast.h"

enum { CL_TRIAL_ROWS = CLBLAST_ROWS, CL_TRIAL_OPERANDS = 3 };

/* A load of the device whose gemms all have one tile. */
typedef struct {
  ClTable table;    /* each gemm with this tile */
  uint32_t clblast; /* its version: it is tried in the place of the tile; 0: it is not */
  DeviceCode *code; /* with CLBlast it has weights, those of every gemm */
  DeviceStream *stream;
} ClCandidate;

/* Of C, A and W, as the largest trial wants them, with panels and pairs filled up. */
void cl_trial_bytes(const KGemm *g, uint64_t out[CL_TRIAL_OPERANDS]);
/* Factors from -1 to 1, of `each` bytes. */
void cl_trial_fill(uint8_t *to, uint64_t bytes, size_t each);

/* One gemm's, for trial after trial; the class's tile comes first. */
typedef struct {
  uint64_t bytes[CL_TRIAL_OPERANDS], block_bytes; /* block: of the fewest rows */
  uint8_t *factors, *want, *got, *block; /* want: what the class's tile gives */
  DeviceMem memory[CL_TRIAL_OPERANDS];
  bool known; /* want is there */
} ClOperands;

/* false: there is no memory; free it all the same. */
bool cl_operands_new(const KGemm *g, ClOperands *o);
void cl_operands_free(ClOperands *o);

typedef struct {
  const ClCandidate *with;
  uint32_t kernel;
  ClOperands *o;
  DeviceFault fault; /* of the last run */
  int64_t ns;        /* -1: not usable */
  const char *why;   /* and this is the reason, as long as the stream; NULL: none is known */
} ClTrial;

/* The first three are given, zeros follow.  Fails with DEVICE_LOST alone, of a tile. */
VL_MUST_USE VlStatus cl_trial(ClTrial *x);

#endif
