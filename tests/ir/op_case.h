/* SPDX-License-Identifier: Apache-2.0 */
/* op_case.h - what the tests of the op table share: cmocka, and attribute lists
** as constant initialisers of a row. */
#ifndef VLPC_TESTS_IR_OP_CASE_H
#define VLPC_TESTS_IR_OP_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ir/ir.h"

#define COUNT(T, ...) (sizeof((const T[]){__VA_ARGS__}) / sizeof(T))

typedef struct {
  uint32_t n;
  Attr at[4];
} AttrSet;

#define NONE {0, {{0}}}
#define ATTRS(...) {COUNT(Attr, __VA_ARGS__), {__VA_ARGS__}}
#define INT(k, v) {.key = A_##k, .i = v}
#define REAL(k, v) {.key = A_##k, .f = v}
#define TEXT(k, v) {.key = A_##k, .str = v}
#define EMPTY(k) {.key = A_##k, .n = 0}
#define INTS(k, ...) \
  {.key = A_##k, .n = COUNT(int64_t, __VA_ARGS__), .ints = (const int64_t[]){__VA_ARGS__}}

/* Attributes of kind AK_DIMS: rows hold them as numbers (INTS) or text (TEXT). */
static inline bool is_dims_key(AttrKey k) {
  return k == A_dims || k == A_starts || k == A_before || k == A_after;
}

/* "batch,50" up to the end or a closing bracket; returns how many. */
static inline uint32_t read_dims(Graph *g, const char *text, DimId dim[VLPC_MAX_RANK + 1]) {
  uint32_t n = 0;
  while (*text != '\0' && *text != ']') {
    size_t len = strcspn(text, ",]");
    dim[n] = dim_parse(ir_dims(g), text, len);
    assert_int_not_equal(dim[n++], DIM_NONE);
    text += len + (text[len] == ',');
  }
  return n;
}

/* A row's attribute whose AK_DIMS are text, ready for ir_node. */
static inline Attr read_attr(Graph *g, Attr at) {
  if (!is_dims_key(at.key)) return at;
  DimId *dim = arena_array(ir_arena(g), DimId, VLPC_MAX_RANK + 1);
  return attr_dims(at.key, dim, read_dims(g, at.str, dim));
}

#endif
