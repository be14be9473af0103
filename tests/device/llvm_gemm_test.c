/* SPDX-License-Identifier: Apache-2.0 */
/* llvm_gemm_test.c - the GEMM kernel against sums in double, on every target;
** equal bits however rows and tasks are divided. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/device/llvm_kit.h"

typedef struct {
  int64_t g, m, k, n;
  KAct act;
  bool bias, residual, strided; /* strided: rows and entries apart */
  bool transposed;
} Case;

typedef struct {
  int64_t a_m, a_g, c_m, c_g, a_n, c_n; /* strides; elements of A and of C */
} Layout;

static Layout layout_of(const Case *c) {
  int64_t gap = c->strided ? 5 : 0;
  Layout l = {.a_m = c->k + gap, .c_m = c->n + gap};
  l.a_g = l.a_m * c->m + 2 * gap, l.c_g = l.c_m * c->m + 3 * gap;
  l.a_n = l.a_g * c->g + 1, l.c_n = l.c_g * c->g + 1;
  return l;
}

/* The batch size is passed at run time, rows per entry too. */
static Kernel kernel_of(const Case *c) {
  Layout l = layout_of(c);
  Kernel k = {.kind = KK_GEMM, .n_operands = 3u + c->bias + c->residual, .n_sizes = 2};
  k.gemm = (KGemm){.g = {0, 0}, .m = {0, 1}, .k = c->k, .n = c->n, .act = c->act,
                   .c_g = ksize(l.c_g), .c_m = ksize(l.c_m), .a_g = ksize(l.a_g),
                   .a_m = ksize(l.a_m), .r_g = ksize(l.c_g), .r_m = ksize(l.c_m),
                   .has_bias = c->bias, .has_residual = c->residual,
                   .transposed = c->transposed};
  return k;
}

static float *pack(const Kit *kit, const float *w, int64_t k, int64_t n) {
  int64_t panels = (n + GEMM_PANEL - 1) / GEMM_PANEL;
  float *p = kit_filled(kit, panels * k * GEMM_PANEL, 0);
  for (int64_t i = 0; i < k; i++)
    for (int64_t j = 0; j < n; j++)
      p[(j / GEMM_PANEL * k + i) * GEMM_PANEL + j % GEMM_PANEL] = w[i * n + j];
  return p;
}

/* The same matrix as the panels of its transpose. */
static float *pack_turned(const Kit *kit, const float *w, int64_t k, int64_t n) {
  float *turned = kit_filled(kit, k * n, 0);
  for (int64_t i = 0; i < k; i++)
    for (int64_t j = 0; j < n; j++) turned[j * k + i] = w[i * n + j];
  return pack(kit, turned, n, k);
}

static double activate(KAct a, double x) {
  switch (a) {
  case ACT_NONE: return x;
  case ACT_GELU_ERF: return 0.5 * x * (1 + erf(x / sqrt(2)));
  case ACT_GELU_TANH:
    return 0.5 * x * (1 + tanh(sqrt(2 / 3.14159265358979) * (x + 0.044715 * x * x * x)));
  case ACT_GELU_QUICK: return x / (1 + exp(-1.702 * x));
  case ACT_RELU: return x > 0 ? x : 0;
  case ACT_TANH: return tanh(x);
  }
  return NAN;
}

typedef struct {
  float *a, *w, *packed, *bias, *res, *c;
} Data;

static Data data_of(const Kit *kit, const Case *c, uint64_t seed) {
  Layout l = layout_of(c);
  Data d = {.a = kit_floats(kit, seed, l.a_n), .w = kit_floats(kit, seed + 1, c->k * c->n),
            .bias = kit_floats(kit, seed + 2, (c->n + 15) / 16 * 16),
            .res = kit_floats(kit, seed + 3, l.c_n), .c = kit_filled(kit, l.c_n, 77)};
  d.packed = c->transposed ? pack_turned(kit, d.w, c->k, c->n) : pack(kit, d.w, c->k, c->n);
  return d;
}

static void run_kernel(const Kit *kit, uint32_t kernel, const Case *c, const Data *d, float *out,
                       int pieces) {
  void *operand[5] = {out, d->a, d->packed};
  uint32_t n = 3;
  if (c->bias) operand[n++] = d->bias;
  if (c->residual) operand[n++] = d->res;
  int fault = kit_run(kit, kernel, operand, (int64_t[]){c->g, c->m}, pieces);
  assert_int_equal(fault, FAULT_NONE);
}

static void run(const Kit *kit, const Case *c, const Data *d, float *out, int pieces) {
  run_kernel(kit, 0, c, d, out, pieces);
}

/* Also holds every element between rows at its old value. */
static void check(const Kit *kit, const Case *c, const Data *d, const float *out) {
  Layout l = layout_of(c);
  double *want = arena_array(kit->arena, double, l.c_n);
  for (int64_t i = 0; i < l.c_n; i++) want[i] = 77;
  for (int64_t g = 0; g < c->g; g++)
    for (int64_t m = 0; m < c->m; m++)
      for (int64_t j = 0; j < c->n; j++) {
        double s = 0;
        for (int64_t k = 0; k < c->k; k++)
          s += (double)d->a[g * l.a_g + m * l.a_m + k] * (double)d->w[k * c->n + j];
        if (c->bias) s += (double)d->bias[j];
        s = activate(c->act, s);
        int64_t at = g * l.c_g + m * l.c_m + j;
        want[at] = c->residual ? s + (double)d->res[at] : s;
      }
  char what[80];
  snprintf(what, sizeof what, "g=%d m=%d k=%d n=%d act=%d", (int)c->g, (int)c->m, (int)c->k,
           (int)c->n, (int)c->act);
  kit_near(out, want, l.c_n, 1e-6 * sqrt((double)c->k) + 1e-6, what);
}

static void check_case(const Kit *kit, uint32_t kernel, const Case *c) {
  Data d = data_of(kit, c, 7);
  run_kernel(kit, kernel, c, &d, d.c, 1);
  check(kit, c, &d, d.c);
  Layout l = layout_of(c);
  float *split = kit_filled(kit, l.c_n, 77);
  run_kernel(kit, kernel, c, &d, split, 5);
  kit_same(d.c, split, l.c_n, "tasks divided");
}

static const Case cases[] = {
    {1, 1, 1, 1, ACT_NONE, false, false, false, true},
    {1, 50, 64, 96, ACT_NONE, false, false, false, true},
    {2, 9, 67, 130, ACT_NONE, true, true, true, true},
    {1, 7, 15, 17, ACT_NONE, false, false, true, true},
    {1, 217, 33, 64, ACT_NONE, false, true, false, true},
    {1, 430, 40, 100, ACT_NONE, false, false, false, true},
    {0, 4, 8, 16, ACT_NONE, false, false, false, true},
    {1, 1, 1, 1, ACT_NONE, false, false, false, false},
    {1, 50, 64, 96, ACT_NONE, true, false, false, false},
    {1, 7, 33, 17, ACT_GELU_ERF, true, false, true, false},
    {2, 9, 67, 130, ACT_GELU_QUICK, true, true, true, false},
    {3, 5, 48, 48, ACT_GELU_TANH, false, true, true, false},
    {100, 1, 40, 50, ACT_TANH, true, false, true, false},
    {1, 217, 20, 64, ACT_RELU, true, true, false, false},
    {0, 4, 8, 16, ACT_NONE, true, false, false, false},
    {4, 0, 8, 16, ACT_NONE, true, false, false, false},
    {1, 333, 12, 100, ACT_NONE, false, false, false, false},
};

static void test_against_double(void **state) {
  (void)state;
  Kernel kernels[VL_COUNT(cases)];
  for (uint32_t i = 0; i < VL_COUNT(cases); i++) kernels[i] = kernel_of(&cases[i]);
  for (int t = 0; kit_target(t); t++) {
    Kit kit = kit_open(kit_target(t), kernels, VL_COUNT(cases));
    for (uint32_t i = 0; i < VL_COUNT(cases); i++) check_case(&kit, i, &cases[i]);
    kit_close(&kit);
  }
}

/* Every remainder of rows: each row has the bits it has when it is alone. */
static void test_row_alone(void **state) {
  (void)state;
  for (int t = 0; kit_target(t); t++) {
    Case all = {1, 23, 70, 112, ACT_GELU_ERF, true, false, false, false};
    Kernel k = kernel_of(&all);
    Kit kit = kit_open(kit_target(t), &k, 1);
    Data d = data_of(&kit, &all, 3);
    run(&kit, &all, &d, d.c, 1);
    for (int64_t m = 1; m < all.m; m++) {
      Case some = all;
      some.m = m;
      Data part = d;
      int64_t first = all.m - m;
      part.a = d.a + first * all.k;
      float *out = kit_filled(&kit, all.m * all.n, 0);
      run(&kit, &some, &part, out, 1);
      kit_same(out, d.c + first * all.n, m * all.n, "fewer rows");
    }
    kit_close(&kit);
  }
}

/* C may be the residual. */
static void test_in_place(void **state) {
  (void)state;
  for (int t = 0; kit_target(t); t++) {
    Case c = {2, 11, 40, 60, ACT_NONE, true, true, false, false};
    Kernel k = kernel_of(&c);
    Kit kit = kit_open(kit_target(t), &k, 1);
    Data d = data_of(&kit, &c, 9);
    run(&kit, &c, &d, d.c, 1);
    float *c2 = d.res;
    run(&kit, &c, &d, c2, 3);
    kit_same(c2, d.c, c.g * c.m * c.n, "in place");
    kit_close(&kit);
  }
}

/* An infinity in the operands reaches exactly its row and column. */
static void test_infinity(void **state) {
  (void)state;
  for (int t = 0; kit_target(t); t++) {
    Case c = {1, 10, 30, 40, ACT_NONE, false, false, false, false};
    Kernel k = kernel_of(&c);
    Kit kit = kit_open(kit_target(t), &k, 1);
    Data d = data_of(&kit, &c, 11);
    d.a[3 * c.k + 4] = INFINITY;
    run(&kit, &c, &d, d.c, 1);
    for (int64_t m = 0; m < c.m; m++)
      for (int64_t j = 0; j < c.n; j++) assert_int_equal(!isfinite(d.c[m * c.n + j]), m == 3);
    kit_close(&kit);
  }
}

static void test_reach(void **state) {
  (void)state;
  Case c = {3, 5, 48, 50, ACT_NONE, true, true, true, false};
  Kernel k = kernel_of(&c);
  Kit kit = kit_open("portable", &k, 1);
  Layout l = layout_of(&c);
  double lo, hi;
  kit_reach(&kit, 0, 0, (int64_t[]){3, 5}, &lo, &hi);
  assert_true(lo == 0 && hi == 4.0 * (double)(2 * l.c_g + 4 * l.c_m + 50));
  kit_reach(&kit, 0, 2, (int64_t[]){3, 5}, &lo, &hi);
  assert_true(lo == 0 && hi == 4 * 64 * 48);
  kit_reach(&kit, 0, 1, (int64_t[]){0, 5}, &lo, &hi);
  assert_true(lo == 0 && hi == 0);
  kit_close(&kit);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_against_double), cmocka_unit_test(test_row_alone),
      cmocka_unit_test(test_in_place),       cmocka_unit_test(test_infinity),
      cmocka_unit_test(test_reach),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
