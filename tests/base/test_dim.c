/* SPDX-License-Identifier: Apache-2.0 */
/* test_dim.c - identity, arithmetic and text of symbolic sizes. */
#include "base/dim.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static Arena *arena;
static DimTable *table;

static int set_up(void **state) {
  (void)state;
  arena = arena_new(0);
  if (arena == NULL) return 1;
  table = dim_table_new(arena);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  arena_free(arena);
  return 0;
}

static DimId parse(const char *text) {
  return dim_parse(table, text, strlen(text));
}

static const char *print(DimId d) {
  Str s = {.arena = arena};
  dim_print(table, d, &s);
  return str_text(&s);
}

static void test_equal_sizes_have_equal_ids(void **state) {
  (void)state;
  SymId batch = dim_symbol(table, "batch");
  DimId b = dim_of_symbol(table, batch);
  assert_int_equal(b, 1);
  assert_int_equal(dim_symbol(table, "batch"), batch);
  assert_int_equal(dim_of_symbol(table, batch), b);
  assert_int_equal(dim_add(table, b, b), dim_mul(table, dim_const(table, 2), b));
  assert_int_equal(dim_sub(table, dim_add(table, b, b), b), b);
  assert_int_equal(dim_const(table, 7), dim_const(table, 7));
  assert_int_not_equal(dim_const(table, 7), dim_const(table, 8));
}

static void test_many_sizes_stay_apart(void **state) {
  (void)state;
  for (int64_t i = 0; i < 5000; i++) assert_int_equal(dim_const(table, i * 3), i + 1);
  for (int64_t i = 0; i < 5000; i++) assert_int_equal(dim_get(table, (DimId)i + 1).c, i * 3);
  assert_int_equal(dim_count(table), 5000);
}

static void test_text_round_trip(void **state) {
  (void)state;
  static const char *const texts[] = {"batch",
                                      "50*batch",
                                      "2*batch+1",
                                      "batch+length",
                                      "-1*batch+3",
                                      "7",
                                      "0",
                                      "-9223372036854775808",
                                      "9223372036854775807",
                                      "batch-3*length-4",
                                      "batch+length+'unk 1 '+x.y_2+9",
                                      "-9223372036854775808*batch",
                                      "'50*x'",
                                      "'é'"};
  for (size_t i = 0; i < VL_COUNT(texts); i++) {
    DimId d = parse(texts[i]);
    assert_int_not_equal(d, DIM_NONE);
    assert_string_equal(print(d), texts[i]);
  }
  assert_int_equal(parse("1+batch+batch"), parse("2*batch+1"));
  assert_int_equal(parse("batch-batch"), parse("0"));
  assert_int_equal(parse("-batch+3"), parse("-1*batch+3"));
  assert_string_equal(print(DIM_NONE), "?");
}

static void test_malformed_text(void **state) {
  (void)state;
  static const char *const texts[] = {"",
                                      "+",
                                      "-",
                                      "*",
                                      "batch+",
                                      "batch*2",
                                      "2*",
                                      "2**batch",
                                      "2 *batch",
                                      " 7",
                                      "7 ",
                                      "batch batch",
                                      "+batch",
                                      "--7",
                                      "'open",
                                      "''",
                                      "'",
                                      "9223372036854775808",
                                      "-9223372036854775809",
                                      "9223372036854775807+1",
                                      "a+b+c+d+e",
                                      "é",
                                      "2*3",
                                      "?",
                                      "'a\nb'"};
  for (size_t i = 0; i < VL_COUNT(texts); i++) assert_int_equal(parse(texts[i]), DIM_NONE);
  assert_int_equal(dim_parse(table, "7\0", 2), DIM_NONE);
}

static void test_arithmetic(void **state) {
  (void)state;
  assert_string_equal(print(dim_add(table, parse("2*batch+1"), parse("length-2*batch"))),
                      "length+1");
  assert_string_equal(print(dim_sub(table, parse("4"), parse("batch+1"))), "-1*batch+3");
  assert_string_equal(print(dim_mul(table, parse("batch+2"), parse("50"))), "50*batch+100");
  assert_string_equal(print(dim_mul(table, parse("0"), parse("batch"))), "0");
  assert_string_equal(print(dim_div(table, parse("50*batch+100"), parse("50"))), "batch+2");
  assert_string_equal(print(dim_div(table, parse("50*batch+100"), parse("batch+2"))), "50");
  assert_string_equal(print(dim_div(table, parse("0"), parse("batch"))), "0");
}

static void test_results_that_are_not_affine(void **state) {
  (void)state;
  DimId b = parse("batch"), l = parse("length");
  assert_int_equal(dim_mul(table, b, l), DIM_NONE);
  assert_int_equal(dim_mul(table, b, b), DIM_NONE);
  assert_int_equal(dim_div(table, parse("50*batch"), parse("3")), DIM_NONE);
  assert_int_equal(dim_div(table, parse("50*batch+1"), parse("batch")), DIM_NONE);
  assert_int_equal(dim_div(table, parse("7"), b), DIM_NONE);
  assert_int_equal(dim_div(table, b, parse("0")), DIM_NONE);
  assert_int_equal(dim_add(table, parse("a+b+c+d"), b), DIM_NONE);
  assert_int_equal(dim_add(table, DIM_NONE, b), DIM_NONE);
  assert_int_equal(dim_sub(table, b, DIM_NONE), DIM_NONE);
  assert_int_equal(dim_mul(table, DIM_NONE, DIM_NONE), DIM_NONE);
  assert_int_equal(dim_div(table, DIM_NONE, b), DIM_NONE);
}

static void test_overflow(void **state) {
  (void)state;
  DimId max = dim_const(table, INT64_MAX), min = dim_const(table, INT64_MIN);
  DimId one = dim_const(table, 1), minus = dim_const(table, -1);
  assert_int_equal(dim_add(table, max, one), DIM_NONE);
  assert_int_equal(dim_sub(table, min, one), DIM_NONE);
  assert_int_equal(dim_mul(table, min, minus), DIM_NONE);
  assert_int_equal(dim_div(table, min, minus), DIM_NONE);
  assert_int_equal(dim_mul(table, parse("9223372036854775807*batch"), dim_const(table, 2)),
                   DIM_NONE);
  assert_int_equal(dim_sub(table, min, min), dim_const(table, 0));
}

static void test_eval(void **state) {
  (void)state;
  DimId d = parse("50*batch-1*length+3");
  int64_t value[] = {4, 77}, out = -1;
  assert_true(dim_eval(table, d, value, &out));
  assert_int_equal(out, 126);
  assert_true(dim_eval(table, dim_const(table, 9), NULL, &out));
  assert_int_equal(out, 9);
  value[0] = INT64_MAX;
  assert_false(dim_eval(table, d, value, &out));
  assert_false(dim_eval(table, DIM_NONE, value, &out));
}

static void test_is_const(void **state) {
  (void)state;
  int64_t c = -1;
  assert_true(dim_is_const(table, parse("12"), &c));
  assert_int_equal(c, 12);
  assert_false(dim_is_const(table, parse("batch"), &c));
  assert_false(dim_is_const(table, DIM_NONE, &c));
}

static void test_malformed_expressions(void **state) {
  (void)state;
  SymId a = dim_symbol(table, "a"), b = dim_symbol(table, "b");
  Dim good = {.c = 1, .n = 2, .term = {{a, 1}, {b, 2}}};
  Dim zero = good, order = good, twice = good, unknown = good, many = good;
  zero.term[1].k = 0;
  order.term[0].sym = b, order.term[1].sym = a;
  twice.term[1].sym = a;
  unknown.term[1].sym = 2;
  many.n = DIM_MAX_TERMS + 1;
  assert_int_not_equal(dim_intern(table, &good), DIM_NONE);
  assert_int_equal(dim_intern(table, &zero), DIM_NONE);
  assert_int_equal(dim_intern(table, &order), DIM_NONE);
  assert_int_equal(dim_intern(table, &twice), DIM_NONE);
  assert_int_equal(dim_intern(table, &unknown), DIM_NONE);
  assert_int_equal(dim_intern(table, &many), DIM_NONE);
  assert_int_equal(dim_of_symbol(table, DIM_MAX_SYMS), DIM_NONE);
}

static void test_symbols(void **state) {
  (void)state;
  char name[16];
  assert_int_equal(dim_symbol(table, ""), DIM_MAX_SYMS);
  assert_int_equal(dim_symbol(table, "it's"), DIM_MAX_SYMS);
  assert_int_equal(dim_symbol(table, "a\nb"), DIM_MAX_SYMS);
  for (uint32_t i = 0; i < DIM_MAX_SYMS; i++) {
    snprintf(name, sizeof name, "s%u", i);
    assert_int_equal(dim_symbol(table, name), i);
  }
  assert_int_equal(dim_symbol(table, "one_more"), DIM_MAX_SYMS);
  assert_int_equal(parse("one_more"), DIM_NONE);
  assert_int_equal(dim_symbol(table, "s63"), 63);
  assert_int_equal(dim_n_symbols(table), DIM_MAX_SYMS);
}

static void test_rename(void **state) {
  (void)state;
  DimId d = parse("50*N+C");
  SymId n = dim_symbol(table, "N");
  assert_true(dim_rename(table, n, "batch"));
  assert_string_equal(print(d), "50*batch+C");
  assert_string_equal(dim_symbol_name(table, n), "batch");
  assert_false(dim_rename(table, n, "C"));
  assert_false(dim_rename(table, n, ""));
  assert_true(dim_rename(table, n, "batch"));
  assert_string_equal(print(d), "50*batch+C");
}

#define DIM_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      DIM_TEST(test_equal_sizes_have_equal_ids),
      DIM_TEST(test_many_sizes_stay_apart),
      DIM_TEST(test_text_round_trip),
      DIM_TEST(test_malformed_text),
      DIM_TEST(test_arithmetic),
      DIM_TEST(test_results_that_are_not_affine),
      DIM_TEST(test_overflow),
      DIM_TEST(test_eval),
      DIM_TEST(test_is_const),
      DIM_TEST(test_malformed_expressions),
      DIM_TEST(test_symbols),
      DIM_TEST(test_rename),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
