/* SPDX-License-Identifier: Apache-2.0 */
/* ir_case.h - what the tests of ir/ share: cmocka, an arena per test, and
** graphs to and from text in one call. */
#ifndef VLPC_TESTS_IR_IR_CASE_H
#define VLPC_TESTS_IR_IR_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ir/ir.h"

/* Setup and teardown: *state is the test's arena. */
static inline int arena_begin(void **state) {
  *state = arena_new(0);
  return *state == NULL ? -1 : 0;
}

static inline int arena_end(void **state) {
  arena_free(*state);
  return 0;
}

static inline const char *text_of(const Graph *g, uint32_t flags) {
  Str s = {.arena = ir_arena(g)};
  ir_print(g, flags, &s);
  return str_text(&s);
}

/* All blobs of g, for parsing its text. */
static inline BlobTable blobs_of(const Graph *g) {
  uint32_t n = ir_n_blobs(g);
  Blob *at = arena_array(ir_arena(g), Blob, n);
  for (uint32_t i = 0; i < n; i++) at[i] = *ir_blob_get(g, (BlobId){i + 1});
  return (BlobTable){at, n};
}

/* The graph of a text that must be sound. */
static inline Graph *graph_of(Arena *a, const char *text) {
  Diag *d = diag_new();
  Graph *g = ir_parse(a, "test.vl", text, strlen(text), (BlobTable){NULL, 0}, d);
  if (g == NULL) print_error("%s", diag_text(d));
  diag_free(d);
  assert_non_null(g);
  return g;
}

static inline TypeId type_f32(Graph *g, uint32_t rank, const int64_t *size) {
  return ir_type_fixed(g, VLPC_F32, rank, size);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, arena_begin, arena_end)

#endif
