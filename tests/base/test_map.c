/* SPDX-License-Identifier: Apache-2.0 */
/* test_map.c - the map, the interner and the hashes. */
#include "base/map.h"

#include <stdio.h>
#include <string.h>

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

static void test_map_holds_many_keys(void **state) {
  (void)state;
  Map *m = map_new(arena);
  uint32_t v = 77;
  assert_false(map_get(m, 0, &v));
  assert_int_equal(v, 77);
  for (uint32_t i = 0; i < 20000; i++) map_set(m, (uint64_t)i << 32, i);
  for (uint32_t i = 0; i < 20000; i += 2) map_set(m, (uint64_t)i << 32, i + 1);
  assert_int_equal(map_count(m), 20000);
  for (uint32_t i = 0; i < 20000; i++) {
    assert_true(map_get(m, (uint64_t)i << 32, &v));
    assert_int_equal(v, i + (i % 2 == 0));
  }
  assert_false(map_get(m, 1, &v));
  assert_false(map_get(m, UINT64_MAX, &v));
}

static void test_names_are_dense(void **state) {
  (void)state;
  Names *t = names_new(arena);
  char name[24];
  for (uint32_t i = 0; i < 5000; i++) {
    int n = snprintf(name, sizeof name, "/block.%u/Add", i);
    assert_int_equal(names_add(t, name, (size_t)n), i);
    assert_int_equal(names_add(t, name, (size_t)n), i);
  }
  assert_int_equal(names_count(t), 5000);
  assert_string_equal(names_text(t, 0), "/block.0/Add");
  assert_string_equal(names_text(t, 4999), "/block.4999/Add");
}

static void test_names_compare_by_length(void **state) {
  (void)state;
  Names *t = names_new(arena);
  uint32_t id = 9;
  assert_int_equal(names_add(t, "", 0), 0);
  assert_int_equal(names_add(t, "a\0b", 3), 1);
  assert_int_equal(names_add(t, "a\0c", 3), 2);
  assert_int_equal(names_add(t, "a", 1), 3);
  assert_true(names_find(t, "ab", 1, &id));
  assert_int_equal(id, 3);
  assert_true(names_find(t, NULL, 0, &id));
  assert_int_equal(id, 0);
  assert_false(names_find(t, "ab", 2, &id));
  assert_int_equal(names_count(t), 4);
}

/* Values of XXH3 as its authors' library gives for these inputs. */
static void test_hashes(void **state) {
  (void)state;
  char hex[33];
  assert_int_equal(hash_bytes("", 0, 0), UINT64_C(0x2d06800538d394c2));
  assert_int_not_equal(hash_bytes("a", 1, 0), hash_bytes("a", 1, 1));
  hash_hex128("", 0, hex);
  assert_string_equal(hex, "99aa06d3014798d86001c324468d497f");
  hash_hex128("abc", 3, hex);
  assert_int_equal(strlen(hex), 32);
  assert_int_equal(strspn(hex, "0123456789abcdef"), 32);
}

#define MAP_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      MAP_TEST(test_map_holds_many_keys),
      MAP_TEST(test_names_are_dense),
      MAP_TEST(test_names_compare_by_length),
      cmocka_unit_test(test_hashes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
