/* SPDX-License-Identifier: Apache-2.0 */
/* llvm_rows_test.c - layernorm, softmax, log-softmax and l2norm against doubles,
** on every target, with odd widths, strided rows and extreme values. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/device/llvm_kit.h"

typedef struct {
  KernelKind kind;
  int64_t g, m, cols;
  bool gamma, beta, log;
  float scale, shift; /* of x: scale · [-1, 1) + shift */
} Case;

enum { GAP = 3 };

static int64_t row_stride(const Case *c) { return c->cols + GAP; }
static int64_t entry_stride(const Case *c) { return c->m * row_stride(c) + GAP; }
static int64_t n_elements(const Case *c) { return c->g * entry_stride(c) + 1; }

static Kernel kernel_of(const Case *c) {
  Kernel k = {.kind = c->kind, .n_operands = 2u + c->gamma + c->beta, .n_sizes = 2};
  k.rows = (KRows){.g = {0, 0}, .m = ksize(c->m), .cols = {0, 1}, .o_g = ksize(entry_stride(c)),
                   .o_m = ksize(row_stride(c)), .x_g = ksize(entry_stride(c)),
                   .x_m = ksize(row_stride(c)), .eps = 1e-5f, .has_gamma = c->gamma,
                   .has_beta = c->beta, .log = c->log};
  return k;
}

static void want_layernorm(const Case *c, const float *x, const float *gamma, const float *beta,
                           double *y) {
  double mean = 0, var = 0;
  for (int64_t i = 0; i < c->cols; i++) mean += (double)x[i] / (double)c->cols;
  for (int64_t i = 0; i < c->cols; i++) var += pow((double)x[i] - mean, 2) / (double)c->cols;
  for (int64_t i = 0; i < c->cols; i++) {
    y[i] = ((double)x[i] - mean) / sqrt(var + (double)1e-5f);
    if (gamma) y[i] *= (double)gamma[i];
    if (beta) y[i] += (double)beta[i];
  }
}

static void want_softmax(const Case *c, const float *x, double *y) {
  double top = -INFINITY, sum = 0;
  for (int64_t i = 0; i < c->cols; i++) top = fmax(top, (double)x[i]);
  for (int64_t i = 0; i < c->cols; i++) sum += exp((double)x[i] - top);
  for (int64_t i = 0; i < c->cols; i++)
    y[i] = c->log ? (double)x[i] - top - log(sum) : exp((double)x[i] - top) / sum;
}

static void want_l2norm(const Case *c, const float *x, double *y) {
  double sum = 0;
  for (int64_t i = 0; i < c->cols; i++) sum += (double)x[i] * (double)x[i];
  for (int64_t i = 0; i < c->cols; i++) y[i] = (double)x[i] / fmax(sqrt(sum), (double)1e-5f);
}

static void check_case(const Kit *kit, uint32_t kernel, const Case *c, const char *target) {
  int64_t n = n_elements(c);
  float *x = kit_floats(kit, 5, n), *gamma = kit_floats(kit, 6, c->cols);
  float *beta = kit_floats(kit, 7, c->cols);
  for (int64_t i = 0; i < n; i++) x[i] = x[i] * c->scale + c->shift;
  double *want = arena_array(kit->arena, double, n);
  for (int64_t i = 0; i < n; i++) want[i] = 9;
  for (int64_t g = 0; g < c->g; g++)
    for (int64_t m = 0; m < c->m; m++) {
      int64_t at = g * entry_stride(c) + m * row_stride(c);
      if (c->kind == KK_LAYERNORM)
        want_layernorm(c, x + at, c->gamma ? gamma : NULL, c->beta ? beta : NULL, want + at);
      else if (c->kind == KK_SOFTMAX) want_softmax(c, x + at, want + at);
      else want_l2norm(c, x + at, want + at);
    }
  void *operand[4] = {kit_filled(kit, n, 9), x};
  uint32_t used = 2;
  if (c->gamma) operand[used++] = gamma;
  if (c->beta) operand[used++] = beta;
  const int64_t sizes[2] = {c->g, c->cols};
  assert_int_equal(kit_run(kit, kernel, operand, sizes, 1), FAULT_NONE);
  char what[64];
  snprintf(what, sizeof what, "%s kind %d, %d columns", target, (int)c->kind, (int)c->cols);
  kit_near(operand[0], want, n, 2e-6 * (1 + fabs((double)(c->shift / c->scale))), what);
  float *one = operand[0];
  operand[0] = kit_filled(kit, n, 9);
  assert_int_equal(kit_run(kit, kernel, operand, sizes, 4), FAULT_NONE);
  kit_same(one, operand[0], n, "tasks divided");
}

static const Case cases[] = {
    {KK_LAYERNORM, 2, 5, 768, true, true, false, 1, 0},
    {KK_LAYERNORM, 3, 1, 65, true, false, false, 4, 8},
    {KK_LAYERNORM, 1, 2, 1, false, true, false, 1, 0},
    {KK_LAYERNORM, 1, 3, 100, false, false, false, 1e-3f, 0},
    {KK_SOFTMAX, 2, 3, 197, false, false, false, 10, 0},
    {KK_SOFTMAX, 1, 4, 1000, false, false, true, 30, 50},
    {KK_SOFTMAX, 1, 1, 3, false, false, false, 1, 1e4f},
    {KK_L2NORM, 4, 1, 512, false, false, false, 1, 0},
    {KK_L2NORM, 1, 2, 33, false, false, false, 1e-8f, 0},
    {KK_L2NORM, 0, 2, 16, false, false, false, 1, 0},
};

static void test_against_double(void **state) {
  (void)state;
  Kernel kernels[VL_COUNT(cases)];
  for (uint32_t i = 0; i < VL_COUNT(cases); i++) kernels[i] = kernel_of(&cases[i]);
  for (int t = 0; kit_target(t); t++) {
    Kit kit = kit_open(kit_target(t), kernels, VL_COUNT(cases));
    for (uint32_t i = 0; i < VL_COUNT(cases); i++) check_case(&kit, i, &cases[i], kit_target(t));
    kit_close(&kit);
  }
}

static void run_softmax(const char *target, float *x, float *y, int64_t cols) {
  Case c = {KK_SOFTMAX, 1, 1, cols, false, false, false, 1, 0};
  Kernel k = kernel_of(&c);
  Kit kit = kit_open(target, &k, 1);
  void *operand[2] = {y, x};
  assert_int_equal(kit_run(&kit, 0, operand, (int64_t[]){1, cols}, 1), FAULT_NONE);
  kit_close(&kit);
}

/* The gradient by x of Σ dy·layernorm(x), on rows that lie apart. */
static void want_gradient(int64_t n, const float *x, const float *dy, const float *gamma,
                          double *out) {
  double mean = 0, var = 0, sum = 0, along = 0;
  for (int64_t i = 0; i < n; i++) mean += (double)x[i] / (double)n;
  for (int64_t i = 0; i < n; i++) var += pow((double)x[i] - mean, 2) / (double)n;
  double sd = sqrt(var + (double)1e-5f);
  for (int64_t i = 0; i < n; i++) {
    double g = (double)dy[i] * (gamma ? (double)gamma[i] : 1);
    sum += g / (double)n;
    along += g * ((double)x[i] - mean) / sd / (double)n;
    out[i] = g;
  }
  for (int64_t i = 0; i < n; i++)
    out[i] = (out[i] - sum - ((double)x[i] - mean) / sd * along) / sd;
}

static void check_gradient(const char *target, int64_t cols, bool has_gamma) {
  enum { M = 7 };
  int64_t r = cols + GAP, n = M * r;
  Kernel k = {.kind = KK_LAYERNORM_GRAD, .n_operands = 3u + has_gamma, .n_sizes = 1};
  k.rows = (KRows){.g = ksize(1), .m = {0, 0}, .cols = ksize(cols), .o_m = ksize(r),
                   .x_m = ksize(r), .dy_m = ksize(cols), .eps = 1e-5f, .has_dy = true,
                   .has_gamma = has_gamma};
  Kit kit = kit_open(target, &k, 1);
  float *x = kit_floats(&kit, 5, n), *dy = kit_floats(&kit, 6, n);
  float *gamma = kit_floats(&kit, 7, cols);
  double *want = arena_array(kit.arena, double, n);
  for (int64_t i = 0; i < n; i++) want[i] = 9;
  for (int64_t m = 0; m < M; m++)
    want_gradient(cols, x + m * r, dy + m * cols, has_gamma ? gamma : NULL, want + m * r);
  void *operand[4] = {kit_filled(&kit, n, 9), x, dy, gamma};
  const int64_t rows = M;
  assert_int_equal(kit_run(&kit, 0, operand, &rows, 3), FAULT_NONE);
  /* two columns are ±1 at once: all but rounding cancels, scaled by eps^-1/2 */
  kit_near(operand[0], want, n, cols < 3 ? 1e-4 : 1e-5, target);
  kit_close(&kit);
}

static void test_layernorm_gradient(void **state) {
  (void)state;
  static const int64_t cols[] = {1, 2, 15, 16, 64, 65, 200, 768};
  for (int t = 0; kit_target(t); t++)
    for (size_t i = 0; i < VL_COUNT(cols); i++) check_gradient(kit_target(t), cols[i], i % 2);
}

static void test_softmax_extremes(void **state) {
  (void)state;
  for (int t = 0; kit_target(t); t++) {
    float y[4], masked[4] = {-INFINITY, 0, -INFINITY, 0}, none[2] = {-INFINITY, -INFINITY};
    float huge[3] = {3e38f, -3e38f, 3e38f}, nan[3] = {1, NAN, 2};
    run_softmax(kit_target(t), masked, y, 4);
    assert_true(y[0] == 0 && y[1] == 0.5f && y[2] == 0 && y[3] == 0.5f);
    run_softmax(kit_target(t), none, y, 2);
    assert_true(isnan(y[0]) && isnan(y[1]));
    run_softmax(kit_target(t), huge, y, 3);
    assert_true(y[0] == 0.5f && y[1] == 0 && y[2] == 0.5f);
    run_softmax(kit_target(t), nan, y, 3);
    assert_true(isnan(y[0]) && isnan(y[1]) && isnan(y[2]));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_against_double),
      cmocka_unit_test(test_layernorm_gradient),
      cmocka_unit_test(test_softmax_extremes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
