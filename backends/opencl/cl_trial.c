/* SPDX-License-Identifier: Apache-2.0 */
/* cl_trial.c - see cl_trial.h. */
#include "backends/opencl/cl_trial.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

enum { ROWS_MIN = 50, RUNS = 3 };
static const int64_t row_counts[] = {ROWS_MIN, 800, CL_TRIAL_ROWS};
#define CLBLAST_NEAR 1e-5 /* of the largest result */

/* ---- operands ------------------------------------------------------------ */

static uint64_t factor_bytes(const KGemm *g, int64_t rows, int64_t cols) {
  return (uint64_t)rows * (uint64_t)cols * dtype_size(knum_dtype(g->in));
}

void cl_trial_bytes(const KGemm *g, uint64_t out[CL_TRIAL_OPERANDS]) {
  out[0] = (uint64_t)CL_TRIAL_ROWS * (uint64_t)g->n * dtype_size(knum_dtype(g->out));
  out[1] = factor_bytes(g, CL_TRIAL_ROWS, g->k);
  out[2] = factor_bytes(g, g->k + GEMM_PANEL, g->n + GEMM_PANEL);
}

void cl_trial_fill(uint8_t *to, uint64_t bytes, size_t each) {
  for (uint64_t i = 0; i < bytes / each; i++) { /* bf16 is a float's upper half */
    float x = (float)(2 * rng_uniform((Rng){1, 1}, i) - 1);
    memcpy(to + i * each, (const uint8_t *)&x + sizeof x - each, each);
  }
}

bool cl_operands_new(const KGemm *g, ClOperands *o) {
  uint64_t most = 0;
  cl_trial_bytes(g, o->bytes);
  o->block_bytes = o->bytes[0] / CL_TRIAL_ROWS * ROWS_MIN;
  most = VL_MAX(o->bytes[1], o->bytes[2]);
  o->factors = malloc((size_t)most);
  o->want = malloc((size_t)o->block_bytes);
  o->got = malloc((size_t)o->block_bytes);
  o->block = malloc((size_t)o->block_bytes);
  if (!o->factors || !o->want || !o->got || !o->block) return false;
  cl_trial_fill(o->factors, most, dtype_size(knum_dtype(g->in)));
  return true;
}

void cl_operands_free(ClOperands *o) {
  free(o->factors), free(o->want), free(o->got), free(o->block);
}

/* The first `part` bytes of the factors, again and again. */
static bool repeat(DeviceStream *s, const ClOperands *o, uint32_t i, uint64_t part) {
  for (uint64_t at = 0; at < o->bytes[i]; at += part) {
    DeviceSpan to = {o->memory[i].handle, at};
    if (device_opencl.write(s, to, o->factors, part) != VLPC_OK) return false;
  }
  return true;
}

static bool upload(DeviceStream *s, ClOperands *o) {
  for (uint32_t i = 0; i < CL_TRIAL_OPERANDS; i++)
    if (!device_opencl.alloc(s, o->bytes[i], &o->memory[i])) return false;
  return repeat(s, o, 1, o->bytes[1] / CL_TRIAL_ROWS * ROWS_MIN) && repeat(s, o, 2, o->bytes[2]);
}

static VlStatus run(ClTrial *x, int64_t rows) {
  DeviceSpan args[CL_TRIAL_OPERANDS];
  DeviceStream *s = x->with->stream;
  for (uint32_t i = 0; i < CL_TRIAL_OPERANDS; i++)
    args[i] = (DeviceSpan){x->o->memory[i].handle, 0};
  if (x->with->clblast) args[2].handle = device_opencl.weights(x->with->code).handle;
  DeviceLaunch l = {.kernel = x->kernel, .n_args = CL_TRIAL_OPERANDS, .n_sizes = 1, .args = args,
                    .sizes = &rows};
  VL_IGNORE(device_opencl.launch(s, &l)); /* wait says it too */
  return device_opencl.wait(s, &x->fault);
}

static VlStatus read_rows(const ClTrial *x, int64_t from, int64_t n, uint8_t *to) {
  uint64_t row = x->o->block_bytes / ROWS_MIN;
  DeviceSpan at = {x->o->memory[0].handle, (uint64_t)from * row};
  return device_opencl.read(x->with->stream, to, at, (uint64_t)n * row);
}

/* Whether a tile's results are those of the class's. */
static VlStatus has_its_bits(ClTrial *x, bool *good) {
  ClOperands *o = x->o;
  uint8_t *to = o->known ? o->got : o->want;
  VL_TRY(run(x, ROWS_MIN));
  VL_TRY(read_rows(x, 0, ROWS_MIN, to));
  o->known = true;
  *good = memcmp(to, o->want, (size_t)o->block_bytes) == 0;
  return VLPC_OK;
}

static bool is_near(const ClOperands *o) {
  double largest = 0, worst = 0;
  for (uint64_t i = 0; i < o->block_bytes / sizeof(float); i++) {
    double want = dtype_load(VLPC_F32, o->want, i), got = dtype_load(VLPC_F32, o->got, i);
    if (!(fabs(got - want) <= (double)INFINITY)) return false;
    largest = fmax(largest, fabs(want));
    worst = fmax(worst, fabs(got - want));
  }
  return worst <= CLBLAST_NEAR * largest;
}

/* Results that are none, so that what is not written is seen. */
static VlStatus blank(const ClTrial *x, int64_t rows) {
  const ClOperands *o = x->o;
  memset(o->block, 0xff, (size_t)o->block_bytes);
  for (int64_t at = 0; at < rows; at += ROWS_MIN) {
    DeviceSpan to = {o->memory[0].handle, (uint64_t)at / ROWS_MIN * o->block_bytes};
    VL_TRY(device_opencl.write(x->with->stream, to, o->block, o->block_bytes));
  }
  return VLPC_OK;
}

/* Whether rows of a run are those of CLBlast's first, which are repeated. */
static VlStatus repeats(ClTrial *x, int64_t rows, bool *good) {
  VL_TRY(blank(x, rows));
  VL_TRY(run(x, rows));
  for (int64_t at = 0; *good && at < rows; at += ROWS_MIN) {
    int64_t n = VL_MIN(rows - at, ROWS_MIN);
    VL_TRY(read_rows(x, at, n, x->o->block));
    *good = memcmp(x->o->block, x->o->got,
                   (size_t)(x->o->block_bytes / ROWS_MIN * (uint64_t)n)) == 0;
  }
  return VLPC_OK;
}

static VlStatus can_be_trusted(ClTrial *x, bool *good) {
  static const int64_t counts[] = {1, 800, CL_TRIAL_ROWS};
  VL_TRY(blank(x, ROWS_MIN));
  VL_TRY(run(x, ROWS_MIN));
  VL_TRY(read_rows(x, 0, ROWS_MIN, x->o->got));
  *good = is_near(x->o);
  if (!*good) x->why = "its results are not those of the tiles";
  for (size_t i = 0; *good && i < VL_COUNT(counts); i++) {
    VL_TRY(repeats(x, counts[i], good));
    if (!*good) x->why = "a row's bits depend on the number of rows";
  }
  return VLPC_OK;
}

/* The sum over the numbers of rows, where results are good. */
static VlStatus measure(ClTrial *x) {
  int64_t sum = 0;
  bool good = true;
  VL_TRY((x->with->clblast ? can_be_trusted : has_its_bits)(x, &good));
  if (!good) return VLPC_OK;
  for (size_t r = 0; r < VL_COUNT(row_counts); r++) {
    int64_t best = INT64_MAX;
    VL_TRY(run(x, row_counts[r]));
    for (int i = 0; i < RUNS; i++) {
      VL_TRY(run(x, row_counts[r]));
      int64_t took = device_opencl.elapsed(x->with->stream);
      if (took < 0) {
        x->why = "the device tells no time";
        return VLPC_OK;
      }
      best = VL_MIN(best, took);
    }
    sum += best;
  }
  x->ns = sum;
  return VLPC_OK;
}

/* A tile that the driver refuses, by its build or its memory, has no time; nor has CLBlast,
** whose device is its own, whatever happens. */
VlStatus cl_trial(ClTrial *x) {
  DeviceStream *s = x->with->stream;
  ProgStep step = {.kernel = x->kernel};
  x->ns = -1;
  x->why = "its kernels are not built";
  if (device_opencl.ready(s, &step, 1, NULL) != VLPC_OK) return VLPC_OK;
  x->why = "there is no memory for its operands";
  if (upload(s, x->o)) x->why = NULL;
  VlStatus ran = x->why ? VLPC_OK : measure(x);
  for (uint32_t i = 0; i < CL_TRIAL_OPERANDS; i++)
    if (x->o->memory[i].handle) device_opencl.release(s, &x->o->memory[i]);
  if (ran != VLPC_OK) x->ns = -1;
  if (ran != VLPC_OK && x->with->clblast) x->why = x->fault.what;
  return ran == VLPC_E_DEVICE_LOST && !x->with->clblast ? ran : VLPC_OK;
}
