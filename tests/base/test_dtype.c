/* SPDX-License-Identifier: Apache-2.0 */
/* test_dtype.c - sizes, names and every rounding of the narrow floats.  The
** middles between all neighbouring halves are the expected values. */
#include "base/dtype.h"

#include <math.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static uint32_t bits(float f) {
  uint32_t u;
  memcpy(&u, &f, sizeof u);
  return u;
}

static float from_bits(uint32_t u) {
  float f;
  memcpy(&f, &u, sizeof f);
  return f;
}

static void test_table(void **state) {
  (void)state;
  static const struct {
    VlDtype d;
    const char *name;
    size_t size;
    bool is_float, is_int;
  } rows[] = {
      {VLPC_F32, "f32", 4, true, false},    {VLPC_F16, "f16", 2, true, false},
      {VLPC_BF16, "bf16", 2, true, false},  {VLPC_F64, "f64", 8, true, false},
      {VLPC_I64, "i64", 8, false, true},    {VLPC_I32, "i32", 4, false, true},
      {VLPC_I8, "i8", 1, false, true},      {VLPC_U8, "u8", 1, false, true},
      {VLPC_BOOL, "bool", 1, false, false}, {VLPC_I16, "i16", 2, false, true},
      {VLPC_U16, "u16", 2, false, true},    {VLPC_U32, "u32", 4, false, true},
      {VLPC_U64, "u64", 8, false, true},
  };
  for (size_t i = 0; i < VL_COUNT(rows); i++) {
    VlDtype d = VLPC_F32;
    assert_true(dtype_valid((int)rows[i].d));
    assert_string_equal(dtype_name(rows[i].d), rows[i].name);
    assert_int_equal(dtype_size(rows[i].d), rows[i].size);
    assert_int_equal(dtype_is_float(rows[i].d), rows[i].is_float);
    assert_int_equal(dtype_is_int(rows[i].d), rows[i].is_int);
    assert_true(dtype_parse(rows[i].name, strlen(rows[i].name), &d));
    assert_int_equal(d, rows[i].d);
  }
  VlDtype d = VLPC_F32;
  assert_false(dtype_valid(0));
  assert_false(dtype_valid(14));
  assert_false(dtype_valid(-1));
  assert_false(dtype_parse("f3", 2, &d));
  assert_false(dtype_parse("", 0, &d));
  assert_true(dtype_parse("f16x", 3, &d));
}

static void test_all_halves_round_trip(void **state) {
  (void)state;
  for (uint32_t h = 0; h < 65536; h++) {
    assert_int_equal(half_from_f32(half_to_f32((uint16_t)h)), h);
    assert_int_equal(bf16_from_f32(bf16_to_f32((uint16_t)h)), h);
  }
}

/* The value of a half from its definition. */
static double half_value(uint16_t h) {
  int exponent = h >> 10 & 31, fraction = h & 1023;
  double v = exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
  return h & 0x8000 ? -v : v;
}

static void test_half_values(void **state) {
  (void)state;
  for (uint32_t h = 0; h < 65536; h++)
    if ((h & 0x7c00) != 0x7c00)
      assert_true((double)half_to_f32((uint16_t)h) == half_value((uint16_t)h));
  assert_true(half_to_f32(0x3c00) == 1.0f);
  assert_true(half_to_f32(0x0001) == 0x1p-24f);
  assert_true(half_to_f32(0x7bff) == 65504.0f);
  assert_true(isinf(half_to_f32(0x7c00)));
  assert_true(isnan(half_to_f32(0x7c01)));
  assert_int_equal(bits(half_to_f32(0x8000)), 0x80000000u);
}

/* Between each two neighbours: the middle goes to the even one, and one float
** to either side of the middle to the nearer one. */
static void test_half_rounds_to_nearest_even(void **state) {
  (void)state;
  for (uint32_t h = 0; h < 0x7bff; h++) {
    float middle = (float)((half_value((uint16_t)h) + half_value((uint16_t)(h + 1))) / 2);
    assert_int_equal(half_from_f32(middle), h + (h & 1));
    assert_int_equal(half_from_f32(nextafterf(middle, 0)), h);
    assert_int_equal(half_from_f32(nextafterf(middle, INFINITY)), h + 1);
    assert_int_equal(half_from_f32(-middle), 0x8000 + h + (h & 1));
  }
}

static void test_half_edges(void **state) {
  (void)state;
  assert_int_equal(half_from_f32(65519.996f), 0x7bff);
  assert_int_equal(half_from_f32(65520.0f), 0x7c00);
  assert_int_equal(half_from_f32(INFINITY), 0x7c00);
  assert_int_equal(half_from_f32(-1e30f), 0xfc00);
  assert_int_equal(half_from_f32(0x1p-25f), 0);
  assert_int_equal(half_from_f32(nextafterf(0x1p-25f, 1)), 1);
  assert_int_equal(half_from_f32(-0.0f), 0x8000);
  assert_int_equal(half_from_f32(0x1p-149f), 0);
  assert_int_equal(half_from_f32(from_bits(0x7f800001)), 0x7e00);
  assert_int_equal(half_from_f32(from_bits(0xffc00000)), 0xfe00);
}

static void test_bf16_rounds_to_nearest_even(void **state) {
  (void)state;
  for (uint32_t h = 0; h < 0x7f80; h++) {
    assert_int_equal(bf16_from_f32(from_bits(h << 16 | 0x8000)), h + (h & 1));
    assert_int_equal(bf16_from_f32(from_bits(h << 16 | 0x7fff)), h);
    assert_int_equal(bf16_from_f32(from_bits(h << 16 | 0x8001)), h + 1);
  }
  assert_int_equal(bf16_from_f32(from_bits(0x7f800001)), 0x7fc0);
  assert_int_equal(bf16_from_f32(from_bits(0xff800001)), 0xffc0);
}

/* A double just above the middle of two halves, and on it once a float. */
static void test_doubles_round_once(void **state) {
  (void)state;
  uint16_t h = 0;
  double middle = 1.0 + 0x1p-11, bf_middle = 1.0 + 0x1p-8;
  dtype_store(VLPC_F16, &h, 0, middle);
  assert_int_equal(h, 0x3c00);
  dtype_store(VLPC_F16, &h, 0, nextafter(middle, 2));
  assert_int_equal(h, 0x3c01);
  dtype_store(VLPC_F16, &h, 0, nextafter(1.0 + 3 * 0x1p-11, 1));
  assert_int_equal(h, 0x3c01);
  dtype_store(VLPC_BF16, &h, 0, bf_middle);
  assert_int_equal(h, 0x3f80);
  dtype_store(VLPC_BF16, &h, 0, -nextafter(bf_middle, 2));
  assert_int_equal(h, 0xbf81);
  dtype_store(VLPC_F16, &h, 0, 1e300);
  assert_int_equal(h, 0x7c00);
  dtype_store(VLPC_BF16, &h, 0, -1e300);
  assert_int_equal(h, 0xff80);
  dtype_store(VLPC_F16, &h, 0, NAN);
  assert_int_equal(h & 0x7fff, 0x7e00);
}

static void test_elements_of_every_type(void **state) {
  (void)state;
  for (int d = VLPC_F32; d <= VLPC_U64; d++) {
    char storage[8 * 3 + 1], *at = storage + 1; /* unaligned on purpose */
    double one = d == VLPC_BOOL ? 1 : 100;
    for (int i = 0; i < 3; i++) dtype_store((VlDtype)d, at, i, 100.0 * (i == 1));
    assert_true(dtype_load((VlDtype)d, at, 0) == 0);
    assert_true(dtype_load((VlDtype)d, at, 1) == one);
    assert_true(dtype_load((VlDtype)d, at, 2) == 0);
    dtype_store_i64((VlDtype)d, at, 2, 100);
    assert_int_equal(dtype_load_i64((VlDtype)d, at, 2), (int64_t)one);
    float f[3] = {0};
    dtype_to_f32((VlDtype)d, at, f, 3);
    assert_true(f[0] == 0.0f && f[1] == (float)one && f[2] == (float)one);
  }
}

static int64_t stored(VlDtype d, double v) {
  uint64_t storage = 0;
  dtype_store(d, &storage, 0, v);
  return dtype_load_i64(d, &storage, 0);
}

static void test_stores_hold_to_the_range(void **state) {
  (void)state;
  assert_int_equal(stored(VLPC_I8, 1e9), 127);
  assert_int_equal(stored(VLPC_I8, -1e9), -128);
  assert_int_equal(stored(VLPC_I8, -1.9), -1);
  assert_int_equal(stored(VLPC_U8, -1), 0);
  assert_int_equal(stored(VLPC_U8, INFINITY), 255);
  assert_int_equal(stored(VLPC_U16, 65536), 65535);
  assert_int_equal(stored(VLPC_U32, 4294967295.0), 4294967295);
  assert_int_equal(stored(VLPC_I32, NAN), 0);
  assert_int_equal(stored(VLPC_I64, 0x1p63), INT64_MAX);
  assert_int_equal(stored(VLPC_I64, -INFINITY), INT64_MIN);
  assert_int_equal((uint64_t)stored(VLPC_U64, 0x1p64), UINT64_MAX);
  assert_int_equal((uint64_t)stored(VLPC_U64, 0x1p63), UINT64_C(1) << 63);
  assert_int_equal(stored(VLPC_BOOL, 0.25), 1);
  assert_int_equal(stored(VLPC_F32, -2.75), -2);
}

static void test_integers_are_exact(void **state) {
  (void)state;
  int64_t big = (INT64_C(1) << 62) + 1, at = 0;
  dtype_store_i64(VLPC_I64, &at, 0, big);
  assert_int_equal(dtype_load_i64(VLPC_I64, &at, 0), big);
  int8_t low = 0;
  dtype_store_i64(VLPC_I8, &low, 0, 0x1ff);
  assert_int_equal(low, -1);
  uint8_t two = 2;
  assert_int_equal(dtype_load_i64(VLPC_BOOL, &two, 0), 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_table),
      cmocka_unit_test(test_all_halves_round_trip),
      cmocka_unit_test(test_half_values),
      cmocka_unit_test(test_half_rounds_to_nearest_even),
      cmocka_unit_test(test_half_edges),
      cmocka_unit_test(test_bf16_rounds_to_nearest_even),
      cmocka_unit_test(test_doubles_round_once),
      cmocka_unit_test(test_elements_of_every_type),
      cmocka_unit_test(test_stores_hold_to_the_range),
      cmocka_unit_test(test_integers_are_exact),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
