/* SPDX-License-Identifier: Apache-2.0 */
/* test_arena.c - what an arena gives, when it jumps, and in which order it
** releases; vectors, which grow on it. */
#include "base/vec.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define BIG ((size_t)3 << 20)

static void test_memory_is_zeroed_and_aligned(void **state) {
  (void)state;
  static const char zeroes[5000];
  Arena *a = arena_new(0);
  assert_false(ARENA_GUARD(a));
  for (size_t n = 0; n < 5000; n += 7) {
    char *p = arena_alloc(a, n);
    assert_int_equal((uintptr_t)p % 16, 0);
    assert_memory_equal(p, zeroes, n);
    memset(p, 0xff, n);
  }
  char *big = arena_alloc(a, BIG);
  assert_int_equal(big[0] | big[BIG - 1], 0);
  arena_free(a);
}

static void test_pieces_do_not_overlap(void **state) {
  (void)state;
  Arena *a = arena_new(0);
  assert_false(ARENA_GUARD(a));
  unsigned char *p[300];
  for (size_t i = 0; i < 300; i++) {
    p[i] = arena_alloc(a, 1 + i * 37 % 9000);
    memset(p[i], (int)(i % 251), 1 + i * 37 % 9000);
  }
  for (size_t i = 0; i < 300; i++)
    for (size_t j = 0; j < 1 + i * 37 % 9000; j++) assert_int_equal(p[i][j], i % 251);
  arena_free(a);
}

static void test_bytes_counts_in_steps_of_16(void **state) {
  (void)state;
  Arena *a = arena_new(0);
  assert_false(ARENA_GUARD(a));
  assert_int_equal(arena_bytes(a), 0);
  arena_alloc(a, 1);
  arena_alloc(a, 17);
  assert_int_equal(arena_bytes(a), 48);
  arena_free(a);
}

static void test_limit_jumps(void **state) {
  (void)state;
  Arena *a = arena_new(1024);
  volatile int given = 0;
  if (!ARENA_GUARD(a)) {
    for (;;) {
      arena_alloc(a, 100);
      given++;
    }
  }
  assert_int_equal(given, 9);
  assert_int_equal(arena_bytes(a), 9 * 112);
  arena_free(a);
}

static void test_overflowing_product_jumps(void **state) {
  (void)state;
  Arena *a = arena_new(0);
  volatile int jumps = 0;
  if (ARENA_GUARD(a)) jumps++;
  if (jumps == 0) arena_array_bytes(a, UINT64_MAX / 2, 3);
  if (jumps == 1) arena_alloc(a, SIZE_MAX);
  if (jumps == 2) arena_strndup(a, "x", SIZE_MAX);
  assert_int_equal(jumps, 3);
  assert_int_equal(arena_bytes(a), 0);
  arena_free(a);
}

static char order[8];
static void note(void *p) {
  strcat(order, p);
}

static void test_defer_runs_newest_first(void **state) {
  (void)state;
  static char one[] = "1", two[] = "2", three[] = "3";
  order[0] = '\0';
  Arena *a = arena_new(0);
  assert_false(ARENA_GUARD(a));
  arena_defer(a, note, one);
  arena_defer(a, note, two);
  arena_defer(a, note, three);
  assert_string_equal(order, "");
  arena_free(a);
  assert_string_equal(order, "321");
}

static void test_defer_without_memory_releases_at_once(void **state) {
  (void)state;
  static char one[] = "1";
  order[0] = '\0';
  Arena *a = arena_new(16);
  volatile bool jumped = true;
  if (!ARENA_GUARD(a)) {
    arena_defer(a, note, one);
    jumped = false;
  }
  assert_true(jumped);
  assert_string_equal(order, "1");
  arena_free(a);
  assert_string_equal(order, "1");
}

static void test_strings(void **state) {
  (void)state;
  Arena *a = arena_new(0);
  assert_false(ARENA_GUARD(a));
  assert_string_equal(arena_strdup(a, "clip"), "clip");
  assert_string_equal(arena_strndup(a, "clip", 2), "cl");
  assert_string_equal(arena_strndup(a, NULL, 0), "");
  assert_string_equal(arena_printf(a, "%s-%d", "node", 412), "node-412");
  arena_free(a);
}

static void test_free_takes_null(void **state) {
  (void)state;
  arena_free(NULL);
}

static void test_vector_keeps_what_was_pushed(void **state) {
  (void)state;
  Arena *a = arena_new(0);
  assert_false(ARENA_GUARD(a));
  VEC(uint64_t) v = {0};
  for (uint64_t i = 0; i < 1000; i++) *vec_push(a, &v) = i * i;
  assert_int_equal(v.n, 1000);
  assert_int_equal(v.cap, 1024);
  for (uint64_t i = 0; i < 1000; i++) assert_int_equal(v.at[i], i * i);
  arena_free(a);
}

static void test_vector_beyond_32_bits_jumps(void **state) {
  (void)state;
  Arena *a = arena_new(0);
  volatile bool jumped = true;
  if (!ARENA_GUARD(a)) {
    uint32_t cap = UINT32_C(1) << 31;
    vec_grow(a, NULL, cap, &cap, 1);
    jumped = false;
  }
  assert_true(jumped);
  arena_free(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_memory_is_zeroed_and_aligned),
      cmocka_unit_test(test_pieces_do_not_overlap),
      cmocka_unit_test(test_bytes_counts_in_steps_of_16),
      cmocka_unit_test(test_limit_jumps),
      cmocka_unit_test(test_overflowing_product_jumps),
      cmocka_unit_test(test_defer_runs_newest_first),
      cmocka_unit_test(test_defer_without_memory_releases_at_once),
      cmocka_unit_test(test_strings),
      cmocka_unit_test(test_free_takes_null),
      cmocka_unit_test(test_vector_keeps_what_was_pushed),
      cmocka_unit_test(test_vector_beyond_32_bits_jumps),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
