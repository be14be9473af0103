/* SPDX-License-Identifier: Apache-2.0 */
/* test_rng.c - Philox4x32-10 against the vectors published with Random123
** (kat_vectors), and the draws made of it. */
#include "base/rng.h"

#include <math.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void check_block(Rng r, uint64_t index, const uint32_t want[4]) {
  uint32_t got[4];
  rng_block(r, index, got);
  for (int i = 0; i < 4; i++) assert_int_equal(got[i], want[i]);
  assert_int_equal(rng_u32(r, index), want[0]);
}

static void test_known_answers(void **state) {
  (void)state;
  check_block((Rng){0, 0}, 0, (const uint32_t[]){0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  check_block((Rng){UINT64_MAX, UINT64_MAX}, UINT64_MAX,
              (const uint32_t[]){0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  Rng pi = {UINT64_C(0x299f31d0a4093822), UINT64_C(0x0370734413198a2e)};
  check_block(pi, UINT64_C(0x85a308d3243f6a88),
              (const uint32_t[]){0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

static void test_uniform(void **state) {
  (void)state;
  Rng r = {1, 2};
  double sum = 0;
  for (uint64_t i = 0; i < 100000; i++) {
    double v = rng_uniform(r, i);
    assert_true(v >= 0 && v < 1);
    sum += v;
  }
  assert_true(fabs(sum / 100000 - 0.5) < 0.005);
  assert_true(rng_uniform((Rng){0, 0}, 0) ==
              (double)(UINT64_C(0xe169c58d6627e8d5) >> 11) * 0x1p-53);
}

static void test_normal(void **state) {
  (void)state;
  Rng r = {3, 4};
  double sum = 0, squares = 0;
  for (uint64_t i = 0; i < 100000; i++) {
    double v = rng_normal(r, i);
    assert_true(isfinite(v));
    sum += v;
    squares += v * v;
  }
  assert_true(fabs(sum / 100000) < 0.015);
  assert_true(fabs(squares / 100000 - 1) < 0.02);
}

static void test_streams_differ(void **state) {
  (void)state;
  assert_int_not_equal(rng_u32((Rng){1, 0}, 0), rng_u32((Rng){1, 1}, 0));
  assert_int_not_equal(rng_u32((Rng){1, 0}, 0), rng_u32((Rng){2, 0}, 0));
  assert_int_not_equal(rng_u32((Rng){1, 0}, 0), rng_u32((Rng){1, 0}, 1));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_known_answers),
      cmocka_unit_test(test_uniform),
      cmocka_unit_test(test_normal),
      cmocka_unit_test(test_streams_differ),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
