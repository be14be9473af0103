/* SPDX-License-Identifier: Apache-2.0 */
/* llvm_varlen_grad_test.c - gradients of attention over runs of rows, on every target:
** against the reference kernel, parts that nobody wants, tasks divided, bad bounds. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "backends/ref/ref.h"
#include "base/rng.h"
#include "tests/device/llvm_kit.h"

enum { HEADS = 3, D = 20, W = HEADS * D, RUNS = 7, MOST = 80, DY_R = W + 3, Q_R = 3 * W + 5 };

static Kernel varlen_grad(uint32_t want) {
  Kernel k = {.kind = KK_ATTENTION_GRAD, .n_operands = 7, .n_sizes = 2};
  k.attention_grad = (KAttentionGrad){.batch = {0, 0}, .rows = {0, 1}, .lq = MOST, .heads = HEADS,
                                      .d = D, .n_segments = 1, .want = want, .scale = 0.3f,
                                      .varlen = true, .dy_b = ksize(0), .dy_r = ksize(DY_R),
                                      .y_b = ksize(0), .y_r = ksize(W), .q_b = ksize(0),
                                      .q_r = ksize(Q_R)};
  k.attention_grad.o_r = ksize(kgrad_wanted(&k.attention_grad, 3) * W + 1);
  k.attention_grad.segment[0] =
      (KGradSegment){2 * MOST, ksize(0), ksize(Q_R), ksize(0), ksize(Q_R)};
  return k;
}

typedef struct {
  int64_t bounds[RUNS + 1], n, n_out;
  void *op[7];
} Data;

/* Runs of few, some or many rows; q, k and v side by side in one array. */
static Data draw(const Kit *kit, const Kernel *k, uint64_t seed) {
  static const uint32_t at_most[] = {MOST, 6, 20, 6};
  Rng r = {seed, 5};
  Data x = {0};
  for (int i = 0; i < RUNS; i++) {
    uint32_t most = at_most[seed % 4];
    if (i == 0 && seed % 3 == 0) most = 0;
    x.bounds[i + 1] = x.bounds[i] + rng_u32(r, (uint64_t)i) % (most + 1);
  }
  x.n = x.bounds[RUNS];
  x.n_out = x.n * k->attention_grad.o_r.c + 1;
  float *rows = kit_floats(kit, seed, x.n * Q_R + Q_R);
  x.op[1] = kit_floats(kit, seed + 100, x.n * DY_R + DY_R);
  x.op[2] = kit_floats(kit, seed + 200, x.n * W + W);
  for (int i = 0; i < 3; i++) x.op[3 + i] = rows + i * W;
  return x;
}

static void check_draw(const Kit *kit, const Kernel *k, uint64_t seed, const char *what) {
  Data x = draw(kit, k, seed);
  int64_t size[2] = {RUNS, x.n};
  if (!kit_has_time(k, size)) return;
  float *got = kit_filled(kit, x.n_out, 7), *want = kit_filled(kit, x.n_out, 7);
  float *split = kit_filled(kit, x.n_out, 7);
  x.op[6] = x.bounds, x.op[0] = want;
  assert_int_equal(ref_run(k, x.op, size, kit->arena), FAULT_NONE);
  x.op[0] = got;
  assert_int_equal(kit_run(kit, 0, x.op, size, 1), FAULT_NONE);
  double *expected = arena_array(kit->arena, double, x.n_out), most = 1;
  for (int64_t i = 0; i < x.n_out; i++) {
    expected[i] = (double)want[i];
    most = fmax(most, fabs(expected[i]));
  }
  kit_near(got, expected, x.n_out, 3e-6 * most, what);
  x.op[0] = split;
  assert_int_equal(kit_run(kit, 0, x.op, size, (int)(2 + seed % 3)), FAULT_NONE);
  kit_same(got, split, x.n_out, "tasks divided");
}

static void agrees_with_the_reference(void **state) {
  (void)state;
  static const uint32_t want[] = {7, 6, 1, 4};
  for (int t = 0; kit_target(t); t++) {
    for (size_t w = 0; w < VL_COUNT(want); w++) {
      Kernel k = varlen_grad(want[w]);
      Kit kit = kit_open(kit_target(t), &k, 1);
      char what[64];
      snprintf(what, sizeof what, "%s want=%x", kit_target(t), want[w]);
      for (uint64_t seed = 1; seed <= 8; seed++) check_draw(&kit, &k, seed, what);
      kit_close(&kit);
    }
  }
}

static void stops_at_bad_bounds(void **state) {
  (void)state;
  enum { ROWS = 2 * MOST + 10, N_BOUNDS = 4 };
  /* not rising, past the rows, from below, a run too long, too many keys */
  static const int64_t bad[][N_BOUNDS] = {{0, 9, 5, ROWS}, {0, 2, 4, ROWS + 1}, {0, -1, 3, ROWS},
                                          {-2, 0, 80, ROWS}, {0, 2, 2 + MOST + 1, ROWS},
                                          {0, MOST + 1, ROWS - MOST, ROWS}};
  Kernel k = varlen_grad(7);
  for (int t = 0; kit_target(t); t++) {
    Kit kit = kit_open(kit_target(t), &k, 1);
    for (size_t i = 0; i < VL_COUNT(bad); i++) {
      int64_t size[2] = {N_BOUNDS - 1, ROWS}, bounds[N_BOUNDS];
      float *rows = kit_floats(&kit, i, ROWS * Q_R + Q_R), *out = kit_filled(&kit, ROWS * Q_R, 0);
      for (int b = 0; b < N_BOUNDS; b++) bounds[b] = bad[i][b];
      void *op[7] = {out, rows, rows, rows, rows + W, rows + 2 * W, bounds};
      assert_int_equal(kit_run(&kit, 0, op, size, 1), FAULT_INDEX);
      assert_int_equal(ref_run(&k, op, size, kit.arena), FAULT_INDEX);
    }
    kit_close(&kit);
  }
}

static void damaged_kernels_are_refused(void **state) {
  (void)state;
  Arena *a = arena_new(0);
  Str faults = {.arena = a};
  Kernel good = varlen_grad(7);
  assert_true(kernel_verify(&good, &faults));
  for (int i = 0; i < 3; i++) {
    Kernel k = good;
    if (i == 0) k.n_operands = 6;
    if (i == 1) k.attention_grad.n_segments = 2, k.n_operands = 9;
    if (i == 2) k.attention_grad.segment[0].n = ATTENTION_GRAD_ROWS + 1;
    assert_false(kernel_verify(&k, &faults));
  }
  arena_free(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(agrees_with_the_reference),
      cmocka_unit_test(stops_at_bad_bounds),
      cmocka_unit_test(damaged_kernels_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
