/* SPDX-License-Identifier: Apache-2.0 */
/* llvm_varlen_test.c - attention over runs of rows, on every target: against
** the reference kernel, each run alone against all together, bad bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "backends/ref/ref.h"
#include "base/rng.h"
#include "tests/device/llvm_kit.h"

enum { HEADS = 3, D = 20, DV = 16, Q_R = 3 * HEADS * D + 5, OUT_R = HEADS * DV + 1, RUNS = 9 };

static Kernel varlen(void) {
  Kernel k = {.kind = KK_ATTENTION, .n_operands = 5, .n_sizes = 2};
  k.attention = (KAttention){.batch = {0, 0},
                             .lq = {0, 1},
                             .n_segments = 1,
                             .segment[0] = {{0, 1}, ksize(0), ksize(Q_R), ksize(0), ksize(Q_R)},
                             .heads = HEADS,
                             .d = D,
                             .dv = DV,
                             .scale = 0.3f,
                             .varlen = true,
                             .q_b = ksize(0),
                             .q_r = ksize(Q_R),
                             .o_b = ksize(0),
                             .o_r = ksize(OUT_R)};
  return k;
}

typedef struct {
  float *rows, *out;
  int64_t bounds[RUNS + 1], n;
} Data;

static void operands(Data *x, void **op) {
  op[0] = x->out;
  op[1] = x->rows;
  op[2] = x->rows + HEADS * D;
  op[3] = x->rows + 2 * HEADS * D;
  op[4] = x->bounds;
}

/* Runs of few rows, of some, or of many behind a prefix that spans key chunks. */
static Data draw(const Kit *kit, uint64_t seed) {
  static const uint32_t at_most[] = {100, 6, 20, 6};
  Rng r = {seed, 5};
  Data x = {0};
  for (int i = 0; i < RUNS; i++) {
    uint32_t most = i == 0 && seed % 4 == 0 ? 600 : at_most[seed % 4];
    x.bounds[i + 1] = x.bounds[i] + rng_u32(r, (uint64_t)i) % (most + 1);
  }
  x.n = x.bounds[RUNS];
  x.rows = kit_floats(kit, seed, x.n * Q_R + Q_R);
  x.out = kit_filled(kit, x.n * OUT_R + OUT_R, 7);
  return x;
}

static void agrees_with_the_reference(void **state) {
  (void)state;
  Kernel k = varlen();
  for (int t = 0; kit_target(t); t++) {
    Kit kit = kit_open(kit_target(t), &k, 1);
    for (uint64_t seed = 1; seed <= 12; seed++) {
      Data x = draw(&kit, seed), want = x;
      int64_t size[2] = {RUNS, x.n}, n = x.n * OUT_R + OUT_R;
      void *op[5], *ref_op[5];
      if (!kit_has_time(&k, size)) continue;
      want.out = kit_filled(&kit, n, 7);
      operands(&x, op), operands(&want, ref_op);
      assert_int_equal(kit_run(&kit, 0, op, size, (int)(1 + seed % 5)), FAULT_NONE);
      assert_int_equal(ref_run(&k, ref_op, size, kit.arena), FAULT_NONE);
      double *d = arena_array(kit.arena, double, n);
      for (int64_t i = 0; i < n; i++) d[i] = (double)want.out[i];
      kit_near(x.out, d, n, 3e-6, kit_target(t));
    }
    kit_close(&kit);
  }
}

/* A run's rows come out the same whatever other runs there are. */
static void runs_do_not_see_each_other(void **state) {
  (void)state;
  Kernel k = varlen();
  for (int t = 0; kit_target(t); t++) {
    Kit kit = kit_open(kit_target(t), &k, 1);
    for (uint64_t seed = 1; seed <= 6; seed++) {
      Data x = draw(&kit, seed);
      int64_t size[2] = {RUNS, x.n};
      void *op[5];
      if (!kit_has_time(&k, size)) continue;
      operands(&x, op);
      assert_int_equal(kit_run(&kit, 0, op, size, 1), FAULT_NONE);
      for (int run = 1; run < RUNS; run++) {
        int64_t prefix = x.bounds[1], from = x.bounds[run], n = x.bounds[run + 1] - from;
        Data one = {.bounds = {0, prefix, prefix + n}, .n = prefix + n};
        one.rows = kit_filled(&kit, (one.n + 1) * Q_R, 0);
        one.out = kit_filled(&kit, (one.n + 1) * OUT_R, 7);
        memcpy(one.rows, x.rows, (size_t)(prefix * Q_R) * 4);
        memcpy(one.rows + prefix * Q_R, x.rows + from * Q_R, (size_t)(n * Q_R) * 4);
        int64_t one_size[2] = {2, one.n};
        operands(&one, op);
        assert_int_equal(kit_run(&kit, 0, op, one_size, 1), FAULT_NONE);
        kit_same(one.out, x.out, prefix * OUT_R, "prefix");
        kit_same(one.out + prefix * OUT_R, x.out + from * OUT_R, n * OUT_R, "run");
      }
    }
    kit_close(&kit);
  }
}

static void stops_at_bounds_that_do_not_rise(void **state) {
  (void)state;
  static const int64_t bad[][4] = {{0, 2, 1, 5}, {0, 2, 4, 6},  {0, -1, 3, 5},
                                   {0, 9, 3, 5}, {-2, 0, 3, 5}, {0, 6, 6, 5}};
  Kernel k = varlen();
  for (int t = 0; kit_target(t); t++) {
    Kit kit = kit_open(kit_target(t), &k, 1);
    for (size_t i = 0; i < VL_COUNT(bad); i++) {
      Data x = {
          .rows = kit_floats(&kit, 1, 6 * Q_R), .out = kit_filled(&kit, 6 * OUT_R, 0), .n = 5};
      int64_t size[2] = {3, 5};
      void *op[5];
      memcpy(x.bounds, bad[i], sizeof bad[i]);
      operands(&x, op);
      assert_int_equal(kit_run(&kit, 0, op, size, 1), FAULT_INDEX);
      assert_int_equal(ref_run(&k, op, size, kit.arena), FAULT_INDEX);
    }
    kit_close(&kit);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(agrees_with_the_reference),
      cmocka_unit_test(runs_do_not_see_each_other),
      cmocka_unit_test(stops_at_bounds_that_do_not_rise),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
