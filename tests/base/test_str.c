/* SPDX-License-Identifier: Apache-2.0 */
/* test_str.c - the builder, numbers in both directions, JSON and UTF-8. */
#include "base/str.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <string.h>

#include "base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static Arena *arena;

static int set_up(void **state) {
  (void)state;
  arena = arena_new(0);
  return arena == NULL;
}

static int tear_down(void **state) {
  (void)state;
  arena_free(arena);
  return 0;
}

static const char *f64(double v) {
  Str s = {.arena = arena};
  str_f64(&s, v);
  return str_text(&s);
}

static const char *f32(float v) {
  Str s = {.arena = arena};
  str_f32(&s, v);
  return str_text(&s);
}

static void test_builder(void **state) {
  (void)state;
  Str s = {.arena = arena};
  assert_string_equal(str_text(&s), "");
  for (int i = 0; i < 1000; i++) str_printf(&s, "%03d,", i);
  str_add(&s, "end");
  str_addn(&s, "!xyz", 1);
  assert_int_equal(s.n, 4004);
  assert_string_equal(str_text(&s) + 3996, "999,end!");
  assert_memory_equal(str_text(&s), "000,001,", 8);
}

static void test_shortest_numbers(void **state) {
  (void)state;
  assert_string_equal(f64(0), "0");
  assert_string_equal(f64(-0.0), "-0");
  assert_string_equal(f64(2), "2");
  assert_string_equal(f64(100), "100");
  assert_string_equal(f64(0.1), "0.1");
  assert_string_equal(f64(-1.5), "-1.5");
  assert_string_equal(f64(1.0 / 3), "0.3333333333333333");
  assert_string_equal(f64(0.1 + 0.2), "0.30000000000000004");
  assert_string_equal(f64(1e20), "1e+20");
  assert_string_equal(f64(1e-5), "1e-05");
  assert_string_equal(f64(DBL_MAX), "1.7976931348623157e+308");
  assert_string_equal(f64(0x1p-1074), "5e-324");
  assert_string_equal(f64(INFINITY), "inf");
  assert_string_equal(f64(-INFINITY), "-inf");
  assert_string_equal(f64(-NAN), "nan");
  assert_string_equal(f32(0.1f), "0.1");
  assert_string_equal(f32(1.0f / 3), "0.33333334");
  assert_string_equal(f32(FLT_MAX), "3.4028235e+38");
  assert_string_equal(f32(100.0f), "100");
}

static void test_numbers_read_back(void **state) {
  (void)state;
  for (uint64_t i = 0; i < 20000; i++) {
    uint32_t w[4];
    double v, back = 0;
    float f;
    rng_block((Rng){5, 6}, i, w);
    memcpy(&v, w, sizeof v);
    memcpy(&f, w + 2, sizeof f);
    if (isfinite(v)) assert_true(parse_f64(f64(v), &back) && back == v);
    if (isfinite(f)) assert_true(parse_f64(f32(f), &back) && (float)back == f);
  }
}

/* Needs a locale whose decimal point is a comma on the machine. */
static void test_locale_changes_nothing(void **state) {
  (void)state;
  static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "fr_FR"};
  const char *set = NULL;
  for (size_t i = 0; set == NULL && i < VL_COUNT(names); i++) set = setlocale(LC_ALL, names[i]);
  if (set == NULL) {
    print_message("skipped: no German or French locale on this machine\n");
    skip();
  }
  double v = 0;
  assert_string_equal(localeconv()->decimal_point, ",");
  assert_string_equal(f64(0.5), "0.5");
  assert_true(parse_f64("0.5", &v));
  assert_true(v == 0.5);
  assert_false(parse_f64("0,5", &v));
  assert_string_equal(localeconv()->decimal_point, ",");
  setlocale(LC_ALL, "C");
}

static void test_parse_i64(void **state) {
  (void)state;
  int64_t v = 0;
  assert_true(parse_i64("-9223372036854775808", &v));
  assert_true(v == INT64_MIN);
  assert_true(parse_i64("+12", &v));
  assert_int_equal(v, 12);
  static const char *const bad[] = {
      "", " 1", "1 ", "0x10", "1.0", "-", "--1", "9223372036854775808", "1e3"};
  for (size_t i = 0; i < VL_COUNT(bad); i++) assert_false(parse_i64(bad[i], &v));
  assert_int_equal(v, 12);
}

static void test_parse_f64(void **state) {
  (void)state;
  double v = 0;
  assert_true(parse_f64("-1.25e2", &v));
  assert_true(v == -125);
  assert_true(parse_f64("-inf", &v));
  assert_true(isinf(v) && v < 0);
  assert_true(parse_f64("nan", &v));
  assert_true(isnan(v));
  assert_true(parse_f64("1e-400", &v));
  assert_true(v == 0);
  static const char *const bad[] = {"",         " 1",     "1 ", "0x1p3", "1e",    "1e999",
                                    "infinity", "nan(1)", ".",  "-",     "1.2.3", "1-2"};
  for (size_t i = 0; i < VL_COUNT(bad); i++) assert_false(parse_f64(bad[i], &v));
  assert_true(v == 0);
}

static void test_json(void **state) {
  (void)state;
  Str s = {.arena = arena};
  static const char text[] = "a\"b\\c/\n\t\r\b\f\0\x01\x7f é\xff\xe2\x82 \xf0\x9f\x98\x80";
  str_json(&s, text, sizeof text - 1);
  assert_string_equal(str_text(&s), "\"a\\\"b\\\\c/\\n\\t\\r\\b\\f\\u0000\\u0001\\u007f é"
                                    "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd \xf0\x9f\x98\x80\"");
}

/* Every letter of the escape table's second column stands for itself. */
static void test_json_plain_letters(void **state) {
  (void)state;
  Str s = {.arena = arena};
  str_json(&s, "bfnrtu", 6);
  assert_string_equal(str_text(&s), "\"bfnrtu\"");
}

static void test_utf8(void **state) {
  (void)state;
  assert_int_equal(utf8_length("a", 1), 1);
  assert_int_equal(utf8_length("a", 0), 0);
  assert_int_equal(utf8_length("\xc3\xa9", 2), 2);
  assert_int_equal(utf8_length("\xc3\xa9", 1), 0);
  assert_int_equal(utf8_length("\xe2\x82\xac", 3), 3);
  assert_int_equal(utf8_length("\xf0\x9f\x98\x80", 4), 4);
  assert_int_equal(utf8_length("\xf4\x8f\xbf\xbf", 4), 4);
  static const char *const bad[] = {
      "\x80\x80\x80\x80", "\xc0\x80..",       "\xc1\xbf..",       "\xe0\x9f\xbf.", "\xed\xa0\x80.",
      "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xc3(..",       "\xe2\x82(."};
  for (size_t i = 0; i < VL_COUNT(bad); i++) assert_int_equal(utf8_length(bad[i], 4), 0);
}

#define STR_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      STR_TEST(test_builder),
      STR_TEST(test_shortest_numbers),
      STR_TEST(test_numbers_read_back),
      STR_TEST(test_locale_changes_nothing),
      STR_TEST(test_parse_i64),
      STR_TEST(test_parse_f64),
      STR_TEST(test_json),
      STR_TEST(test_json_plain_letters),
      STR_TEST(test_utf8),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
