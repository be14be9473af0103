/* SPDX-License-Identifier: Apache-2.0 */
/* pass_case.h - what the tests of passes/ share: cmocka, an arena per test,
** and graphs to and from text. */
#ifndef VLPC_TESTS_PASSES_PASS_CASE_H
#define VLPC_TESTS_PASSES_PASS_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "passes/pass.h"

static inline int arena_begin(void **state) {
  *state = arena_new(0);
  return *state == NULL ? -1 : 0;
}

static inline int arena_end(void **state) {
  arena_free(*state);
  return 0;
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, arena_begin, arena_end)

static inline const char *text_of(const Graph *g) {
  Str s = {.arena = ir_arena(g)};
  ir_print(g, 0, &s);
  return str_text(&s);
}

/* The graph of a text that must be sound. */
static inline Graph *graph_of(Arena *a, const char *file, const char *text, size_t n) {
  Diag *d = diag_new();
  Graph *g = ir_parse(a, file, text, n, (BlobTable){NULL, 0}, d);
  if (g == NULL) print_error("%s", diag_text(d));
  diag_free(d);
  assert_non_null(g);
  return g;
}

/* Lowers a graph that must not fail. */
static inline PassResult lowered(Graph *g, const PassOpts *opt) {
  Diag *d = diag_new();
  PassResult r;
  VlStatus s = pass_lower(g, opt, d, &r);
  if (s != VLPC_OK) print_error("%s", diag_text(d));
  diag_free(d);
  assert_int_equal(s, VLPC_OK);
  return r;
}

#endif
