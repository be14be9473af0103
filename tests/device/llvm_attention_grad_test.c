/* SPDX-License-Identifier: Apache-2.0 */
/* llvm_attention_grad_test.c - gradients of attention against the reference
** kernel, on every target: odd sizes, blocks that end anywhere, segments shared by
** the batch, causal, parts that nobody wants. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "backends/ref/ref.h"
#include "tests/device/llvm_kit.h"

typedef struct {
  int64_t batch, lq, heads, d;
  uint32_t n_segments, want;
  int64_t n[ATTENTION_SEGMENTS];
  bool shared, causal; /* shared: the last segment serves every batch entry */
} Case;

static const Case cases[] = {
    {2, 5, 2, 16, 1, 7, {5}, false, false},
    {1, 1, 1, 1, 1, 7, {1}, false, false},
    {2, 17, 3, 20, 1, 7, {49}, false, false},
    {1, 33, 2, 64, 1, 7, {33}, false, true},
    {2, 77, 2, 8, 1, 7, {77}, false, true},
    {3, 50, 1, 64, 2, 31, {50, 3}, true, false},
    {2, 7, 2, 12, 3, 127, {1, 48, 2}, true, false},
    {2, 20, 1, 32, 4, 511, {16, 5, 1, 97}, false, true},
    {2, 19, 2, 16, 2, 24, {19, 4}, true, false}, /* the first prompted layer */
    {2, 19, 2, 16, 2, 1, {19, 4}, false, false},
    {2, 19, 2, 16, 1, 4, {19}, false, false},
    {1, 203, 1, 64, 1, 7, {203}, false, false},
    {2, 12, 1, 200, 1, 7, {199}, false, false},
    {1, 16, 2, 132, 2, 31, {9, 7}, true, true},
};

/* Columns of a row; of some cases it begins at 16 bytes. */
static int64_t row_of(const Case *c) { return c->heads * c->d + (c->d % 32 ? 3 : 4); }

static Kernel kernel_of(const Case *c) {
  int64_t w = c->heads * c->d, r = row_of(c);
  Kernel k = {.kind = KK_ATTENTION_GRAD, .n_operands = 4 + 2 * c->n_segments, .n_sizes = 1};
  k.attention_grad = (KAttentionGrad){.batch = {0, 0}, .lq = c->lq, .heads = c->heads, .d = c->d,
                                      .n_segments = c->n_segments, .want = c->want,
                                      .scale = 0.3f, .causal = c->causal,
                                      .dy_b = ksize(c->lq * r), .dy_r = ksize(r),
                                      .y_b = ksize(c->lq * w), .y_r = ksize(w),
                                      .q_b = ksize(c->lq * r), .q_r = ksize(r)};
  for (uint32_t s = 0; s < c->n_segments; s++) {
    bool once = c->shared && s + 1 == c->n_segments;
    KSize entry = ksize(once ? 0 : c->n[s] * r);
    k.attention_grad.segment[s] = (KGradSegment){c->n[s], entry, ksize(r), entry, ksize(r)};
  }
  return k;
}

static void check_case(const char *target, const Case *c) {
  Kernel k = kernel_of(c);
  Str faults = {0};
  Kit kit = kit_open(target, &k, 1);
  faults.arena = kit.arena;
  assert_true(kernel_verify(&k, &faults));
  int64_t w = c->heads * c->d, r = row_of(c), parts = 1 + 2 * c->n_segments;
  int64_t n = c->batch * kgrad_rows(&k.attention_grad, (uint32_t)parts) * w;
  void *operand[4 + 2 * ATTENTION_SEGMENTS];
  float *got = kit_filled(&kit, n, 5), *want = kit_filled(&kit, n, 5), *split;
  for (uint32_t i = 1; i < k.n_operands; i++)
    operand[i] = kit_floats(&kit, i, c->batch * (i < 4 ? c->lq : c->n[(i - 4) / 2]) * r);
  operand[0] = want;
  assert_int_equal(ref_run(&k, operand, &c->batch, kit.arena), 0);
  operand[0] = got;
  assert_int_equal(kit_run(&kit, 0, operand, &c->batch, 1), FAULT_NONE);
  double *expected = arena_array(kit.arena, double, n), most = 1;
  for (int64_t i = 0; i < n; i++) {
    expected[i] = (double)want[i];
    most = fmax(most, fabs(expected[i]));
  }
  char what[80];
  snprintf(what, sizeof what, "%s lq=%d lk=%d d=%d want=%x", target, (int)c->lq,
           (int)kgrad_keys(&k.attention_grad), (int)c->d, c->want);
  kit_near(got, expected, n, 2e-6 * most, what);
  operand[0] = split = kit_filled(&kit, n, 5);
  assert_int_equal(kit_run(&kit, 0, operand, &c->batch, 5), FAULT_NONE);
  kit_same(got, split, n, "tasks divided");
  kit_close(&kit);
}

static void agrees_with_the_reference(void **state) {
  (void)state;
  for (int t = 0; kit_target(t); t++)
    for (size_t i = 0; i < VL_COUNT(cases); i++) check_case(kit_target(t), &cases[i]);
}

static void damaged_kernels_are_refused(void **state) {
  (void)state;
  Arena *a = arena_new(0);
  Str faults = {.arena = a};
  for (int i = 0; i < 5; i++) {
    Kernel k = kernel_of(&cases[5]);
    if (i == 0) k.attention_grad.want = 0;
    if (i == 1) k.attention_grad.want = 32;
    if (i == 2) k.attention_grad.segment[1].n = 0;
    if (i == 3) k.attention_grad.segment[1].n = ATTENTION_GRAD_ROWS - 49;
    if (i == 4) k.attention_grad.n_segments = ATTENTION_SEGMENTS + 1;
    assert_false(kernel_verify(&k, &faults));
  }
  arena_free(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(agrees_with_the_reference),
      cmocka_unit_test(damaged_kernels_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
