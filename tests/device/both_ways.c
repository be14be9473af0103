/* SPDX-License-Identifier: Apache-2.0 */
/* both_ways.c - see both_ways.h. */
#include "tests/device/both_ways.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "backends/ref/ref.h"

#define KERNEL_RTOL 4e-6

double both_ways_rtol(VlDtype t, double rtol) {
  return t == VLPC_F16 || t == VLPC_BF16 ? HALF_RTOL : rtol;
}

bool both_ways_close(double got, double want, double within) {
  return got == want || (isnan(got) && isnan(want)) || fabs(got - want) <= within;
}

static double largest(VlDtype dtype, const uint8_t *at, size_t n_bytes) {
  double most = 0;
  for (size_t i = 0; dtype_is_float(dtype) && i < n_bytes; i += dtype_size(dtype)) {
    double v = fabs(dtype_load(dtype, at + i, 0));
    if (isfinite(v)) most = fmax(most, v);
  }
  return most;
}

/* A sum may cancel, and so may a row less its mean: their error is of their
** operands' size. */
static double operands_scale(const Kernel *k, void *const *operand, const double *reach) {
  double most = 0;
  bool sums = k->kind == KK_GEMM || k->kind == KK_LAYERNORM ||
              k->kind == KK_LAYERNORM_GRAD || k->kind == KK_ATTENTION_GRAD;
  if (!sums && !(k->kind == KK_LOOPS && k->loops.n_reduce)) return 0;
  for (uint32_t o = 1; o < k->n_operands; o++) {
    const uint8_t *at = (const uint8_t *)operand[o] + (ptrdiff_t)reach[2 * o];
    size_t n = (size_t)(reach[2 * o + 1] - reach[2 * o]);
    most = fmax(most, largest(kernel_operand_dtype(k, o), at, n));
  }
  return most;
}

/* LayerNorm scales what is left of an almost constant row by up to eps^-1/2. */
static double tolerance(const Kernel *k, double most) {
  double rtol = both_ways_rtol(kernel_operand_dtype(k, 0), KERNEL_RTOL);
  return most * (k->kind == KK_LAYERNORM ? fmax(rtol, 4 * 0x1p-24 / sqrt(k->rows.eps)) : rtol);
}

/* What a kernel left of the bytes that it may touch, both ways. */
typedef struct {
  const uint8_t *got, *want, *before;
  size_t n;
  double scale; /* operands_scale */
} Results;

static void check_results(const BothWays *dev, const Kernel *k, const Results *r) {
  VlDtype dtype = kernel_operand_dtype(k, 0);
  size_t size = dtype_size(dtype);
  Str text = {.arena = dev->kit->arena};
  double most = fmax(1e-6, r->scale);
  for (size_t i = 0; i < r->n; i += size) { /* of what was written */
    if (memcmp(r->want + i, r->before + i, size))
      most = fmax(most, largest(dtype, r->want + i, size));
  }
  for (size_t i = 0; i < r->n; i += size) {
    if (memcmp(r->got + i, r->want + i, size) == 0) continue;
    double g = dtype_load(dtype, r->got + i, 0), w = dtype_load(dtype, r->want + i, 0);
    if (dtype_is_float(dtype) && both_ways_close(g, w, tolerance(k, most))) continue;
    kernel_describe(k, &text);
    fail_msg("%s: %s: element %zu is %.9g, not %.9g", dev->what, str_text(&text), i / size, g, w);
  }
}

static void check_reach(const BothWays *dev, uint32_t kernel, const Kernel *k, const int64_t *size,
                        double *reach) {
  ref_reach(k, size, reach);
  for (uint32_t o = 0; o < k->n_operands; o++) {
    double lo, hi;
    kit_reach(dev->kit, dev->first + kernel, o, size, &lo, &hi);
    if (lo != reach[2 * o] || hi != reach[2 * o + 1])
      fail_msg("%s: operand %u: reach %g to %g, not %g to %g", dev->what, o, lo, hi, reach[2 * o],
               reach[2 * o + 1]);
  }
}

/* A RunKernel: by the reference first, then, from the same bytes, by the code,
** whose result stays. */
int both_ways(void *ctx, uint32_t kernel, const Kernel *k, void *const *operand,
                    const int64_t *size, Arena *a) {
  BothWays *dev = ctx;
  double reach[2 * 16];
  check_reach(dev, kernel, k, size, reach);
  size_t n = (size_t)(reach[1] - reach[0]);
  uint8_t *out = (uint8_t *)operand[0] + (ptrdiff_t)reach[0];
  uint8_t *before = arena_alloc(a, n + 1), *want = arena_alloc(a, n + 1);
  Results r = {out, want, before, n, operands_scale(k, operand, reach)};
  memcpy(before, out, n);
  int fault = ref_run(k, operand, size, a);
  memcpy(want, out, n);
  memcpy(out, before, n);
  int pieces = 1 + (int)(dev->n_kernels++ % 3);
  assert_int_equal(kit_run(dev->kit, dev->first + kernel, operand, size, pieces), fault);
  check_results(dev, k, &r);
  return fault;
}
