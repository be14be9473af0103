/* SPDX-License-Identifier: Apache-2.0 */
/* llvm_math_test.c - errors of the vector functions over their whole range, in
** units of the last place or absolute, on every target; and that the vector and
** the scalar form of a function are the same bits. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/device/llvm_kit.h"

static double quiet_sigmoid(double x) { return 1 / (1 + exp(-x)); }

typedef struct {
  OpCode op;
  double (*f)(double);
  double from, to;
  double ulp, absolute; /* either may hold */
} Limit;

static const Limit limits[] = {
    {OP_exp, exp, -104, 89, 2, 0},        {OP_log, log, 1e-42, 1e38, 2, 0},
    {OP_log, log, 0.5, 2, 3, 0},          {OP_erf, erf, -6, 6, 3, 2e-7},
    {OP_tanh, tanh, -12, 12, 3, 2e-7},    {OP_sigmoid, quiet_sigmoid, -80, 80, 4, 0},
    {OP_sqrt, sqrt, 0, 1e10, 0.51, 0},
};

static Kernel unary(OpCode op, KBody body[2], int64_t n) {
  Kernel k = {.kind = KK_LOOPS, .n_operands = 2};
  body[0] = (KBody){.kind = KB_LOAD, .dtype = VLPC_F32};
  body[0].load.operand = 1, body[0].load.stride[0] = ksize(1);
  body[1] = (KBody){.kind = KB_OP, .dtype = VLPC_F32, .op = op};
  k.loops.rank = 1, k.loops.size[0] = ksize(n), k.loops.store.stride[0] = ksize(1);
  k.loops.n_body = 2, k.loops.body = body;
  return k;
}

enum { POINTS = 200003 };

static float point(const Limit *l, int64_t i) {
  double u = (double)i / (POINTS - 1);
  if (l->from > 0 && l->to / l->from > 1e6) return (float)(l->from * pow(l->to / l->from, u));
  return (float)(l->from + (l->to - l->from) * u);
}

static void check_limit(const char *target, const Limit *l) {
  KBody body[2];
  Kernel k = unary(l->op, body, POINTS);
  Kit kit = kit_open(target, &k, 1);
  float *x = kit_filled(&kit, POINTS, 0), *y = kit_filled(&kit, POINTS, 0);
  for (int64_t i = 0; i < POINTS; i++) x[i] = point(l, i);
  assert_int_equal(kit_run(&kit, 0, (void *[]){y, x}, NULL, 1), FAULT_NONE);
  for (int64_t i = 0; i < POINTS; i++) {
    double want = l->f((double)x[i]), error = fabs((double)y[i] - want);
    double unit = fmax(ldexp(1, ilogb(fmax(fabs(want), FLT_MIN)) - 23), 0x1p-149);
    if (fabs(want) > (double)FLT_MAX && isinf(y[i])) continue;
    if (!(error <= l->ulp * unit || error <= l->absolute))
      fail_msg("%s %s(%.9g) is %.9g, should be %.9g: %.2f ulp", target, op_info(l->op)->name,
               (double)x[i], (double)y[i], want, error / unit);
  }
  kit_close(&kit);
}

static void test_limits(void **state) {
  (void)state;
  for (int t = 0; kit_target(t); t++)
    for (size_t i = 0; i < VL_COUNT(limits); i++) check_limit(kit_target(t), &limits[i]);
}

/* A tail of one lane and a whole vector give the same bits. */
static void test_tail_bits(void **state) {
  (void)state;
  for (int t = 0; kit_target(t); t++)
    for (size_t i = 0; i < VL_COUNT(limits); i++) {
      KBody body[2][2];
      Kernel k[2] = {unary(limits[i].op, body[0], 64), unary(limits[i].op, body[1], 1)};
      Kit kit = kit_open(kit_target(t), k, 2);
      float *x = kit_floats(&kit, 3, 64), *y = kit_filled(&kit, 64, 0),
            *one = kit_filled(&kit, 64, 0);
      assert_int_equal(kit_run(&kit, 0, (void *[]){y, x}, NULL, 1), FAULT_NONE);
      for (int j = 0; j < 64; j++)
        assert_int_equal(kit_run(&kit, 1, (void *[]){one + j, x + j}, NULL, 1), FAULT_NONE);
      kit_same(y, one, 64, op_info(limits[i].op)->name);
      kit_close(&kit);
    }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_limits),
      cmocka_unit_test(test_tail_bits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
