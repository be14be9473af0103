/* SPDX-License-Identifier: Apache-2.0 */
/* llvm_axis_test.c - cumulative sums and top-k on every target, against plain
** loops: ties, NaN, the ends of the integers, any position of the axis. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/device/llvm_kit.h"

enum { OUTER = 3, AXIS = 37, INNER = 5, COUNT = OUTER * AXIS * INNER };

static Kernel axis_kernel(KernelKind kind, VlDtype d) {
  Kernel k = {.kind = kind, .n_operands = 2, .n_sizes = 1};
  k.axis = (KAxis){.dtype = d, .outer = {0, 0}, .axis = ksize(AXIS), .inner = ksize(INNER)};
  return k;
}

static void run(const char *target, Kernel *k, void *out, const void *x) {
  Kit kit = kit_open(target, k, 1);
  void *operand[2] = {out, (void *)(uintptr_t)x};
  assert_int_equal(kit_run(&kit, 0, operand, (int64_t[]){OUTER}, 3), FAULT_NONE);
  kit_close(&kit);
}

#define EACH_TARGET(t) for (int t = 0; kit_target(t); t++)
#define EACH_LINE(o, i) for (int o = 0; o < OUTER; o++) for (int i = 0; i < INNER; i++)
static int place(int o, int a, int i, int axis) { return (o * axis + a) * INNER + i; }

static void test_scan(void **state) {
  (void)state;
  EACH_TARGET(t)
    for (int mode = 0; mode < 4; mode++) {
      int32_t x[COUNT], y[COUNT];
      for (int i = 0; i < COUNT; i++) x[i] = i * 40503 % 1000003 * 2000;
      Kernel k = axis_kernel(KK_SCAN, VLPC_I32);
      k.axis.exclusive = mode & 1, k.axis.reverse = mode & 2;
      run(kit_target(t), &k, y, x);
      EACH_LINE(o, i) {
        uint32_t sum = 0;
        for (int s = 0; s < AXIS; s++) {
          int a = mode & 2 ? AXIS - 1 - s : s;
          uint32_t before = sum;
          sum += (uint32_t)x[place(o, a, i, AXIS)];
          assert_int_equal((uint32_t)y[place(o, a, i, AXIS)], mode & 1 ? before : sum);
        }
      }
    }
}

static void test_scan_float(void **state) {
  (void)state;
  EACH_TARGET(t) {
    float x[COUNT], y[COUNT];
    for (int i = 0; i < COUNT; i++) x[i] = (float)(i % 17) * 0.37f;
    Kernel k = axis_kernel(KK_SCAN, VLPC_F32);
    run(kit_target(t), &k, y, x);
    EACH_LINE(o, i) {
      float sum = 0;
      for (int a = 0; a < AXIS; a++) {
        sum += x[place(o, a, i, AXIS)];
        assert_true(y[place(o, a, i, AXIS)] == sum);
      }
    }
  }
}

/* Order of the elements a and b of a line: NaN above all, ties by index. */
static bool goes_before(double a, int ai, double b, int bi, bool largest) {
  double x = isnan(a) ? INFINITY : a, y = isnan(b) ? INFINITY : b;
  if (isnan(a) != isnan(b) && x == y) return largest ? isnan(a) : isnan(b);
  if (x != y) return largest ? x > y : x < y;
  return ai < bi;
}

static void check_top(const char *target, VlDtype d, const void *x, int64_t k_top, bool largest) {
  int64_t index[COUNT];
  char value[COUNT * 8];
  Kernel k = axis_kernel(KK_TOPK, d);
  k.axis.k = k_top, k.axis.largest = largest, k.axis.want_indices = true;
  run(target, &k, index, x);
  k.axis.want_indices = false;
  run(target, &k, value, x);
  EACH_LINE(o, i)
    for (int a = 0; a < AXIS; a++) {
      int rank = 0, at = place(o, a, i, AXIS);
      for (int b = 0; b < AXIS; b++)
        rank += goes_before(dtype_load(d, x, place(o, b, i, AXIS)), b, dtype_load(d, x, at), a,
                            largest);
      if (rank >= k_top) continue;
      int to = place(o, rank, i, (int)k_top);
      assert_int_equal(index[to], a);
      size_t size = dtype_size(d);
      assert_memory_equal(value + (size_t)to * size, (const char *)x + (size_t)at * size, size);
    }
}

static void test_topk(void **state) {
  (void)state;
  EACH_TARGET(t) {
    float f[COUNT];
    int64_t n[COUNT];
    for (int i = 0; i < COUNT; i++) {
      f[i] = i % 41 == 7   ? NAN
             : i % 29 == 3 ? -INFINITY
             : i % 23 == 5 ? -0.0f
                           : (float)(i * 37 % 19);
      n[i] = i % 31 == 4 ? -1000000 : i * 37 % 19;
    }
    for (int largest = 0; largest < 2; largest++) {
      check_top(kit_target(t), VLPC_F32, f, 5, largest);
      check_top(kit_target(t), VLPC_F32, f, AXIS, largest);
      check_top(kit_target(t), VLPC_I64, n, 3, largest);
    }
  }
}

/* Along a last axis of a size known at run time; a line too short stops it. */
static void test_topk_of_run_time_size(void **state) {
  (void)state;
  EACH_TARGET(t) {
    Kernel k = {.kind = KK_TOPK, .n_operands = 2, .n_sizes = 1};
    k.axis = (KAxis){.dtype = VLPC_F32, .outer = ksize(2), .axis = {0, 0}, .inner = ksize(1),
                     .k = 3, .largest = true, .want_indices = true};
    Kit kit = kit_open(kit_target(t), &k, 1);
    float x[10] = {4, 9, 1, 7, 9, 2, 0, 5, 5, 8};
    int64_t out[6] = {0}, size = 5;
    static const int64_t want[6] = {1, 4, 3, 4, 2, 3};
    void *operand[2] = {out, x};
    assert_int_equal(kit_run(&kit, 0, operand, &size, 1), FAULT_NONE);
    assert_memory_equal(out, want, sizeof want);
    size = 2;
    assert_int_equal(kit_run(&kit, 0, operand, &size, 1), FAULT_INDEX);
    kit_close(&kit);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_scan),
      cmocka_unit_test(test_scan_float),
      cmocka_unit_test(test_topk),
      cmocka_unit_test(test_topk_of_run_time_size),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
