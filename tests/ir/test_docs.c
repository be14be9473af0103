/* SPDX-License-Identifier: Apache-2.0 */
/* test_docs.c - docs/ir.md holds the tables of ops and attributes as ops.def,
** attrs.def and attrs_of.def state them.  With VLPC_BLESS set, the tables in the
** page are written anew. */
#include <stdio.h>
#include <stdlib.h>

#include "base/io.h"
#include "ir/graph_int.h"
#include "tests/ir/ir_case.h"

#define PAGE VLPC_SOURCE_DIR "/docs/ir.md"
#define BEGIN "<!-- tables -->\n"
#define END "<!-- end of tables -->\n"

static const char *const kinds[] = {
    [K_SOURCE] = "source",           [K_EW] = "elementwise", [K_REDUCE] = "reduce",
    [K_MOVE] = "move",               [K_CONTRACT] = "contraction", [K_INDEX] = "index",
    [K_SEMANTIC] = "semantic"};

static const char *const attr_kinds[] = {
    [AK_INT] = "`1`",           [AK_FLOAT] = "`1e-05`", [AK_INTS] = "`[0,2,1]`",
    [AK_DIMS] = "`[batch,50]`", [AK_STR] = "`\"text\"`",  [AK_DTYPE] = "`f32`",
    [AK_BLOB] = "`blob#3`"};

/* What an elementwise op computes, as the table states it. */
static const char *const meaning[OP__COUNT] = {
#define OP(id, ...)
#define EW1(id, expr, grad, flags) [OP_##id] = #expr,
#define EW2(id, expr, grad, flags) [OP_##id] = #expr,
#include "ir/ops.def"
#undef OP
};

static void add_operands(const OpInfo *o, Str *s) {
  if (o->max_in == 255) str_printf(s, "%u or more", o->min_in);
  else if (o->min_in == o->max_in) str_printf(s, "%u", o->min_in);
  else str_printf(s, "%u to %u", o->min_in, o->max_in);
}

/* A | in a table's cell stands escaped. */
static void add_code(const char *text, Str *s) {
  str_add(s, " `");
  for (; *text != '\0'; text++) {
    if (*text == '|') str_add(s, "\\");
    str_addn(s, text, 1);
  }
  str_add(s, "`");
}

static void add_ops(Str *s) {
  str_add(s, "| op | operands | attributes | kind | value |\n|---|---|---|---|---|\n");
  for (OpCode op = OP_none + 1; op < OP__COUNT; op++) {
    str_printf(s, "| `%s` | ", op_info(op)->name);
    add_operands(op_info(op), s);
    str_add(s, " |");
    for (AttrKey k = A_none + 1; k < A__COUNT; k++)
      if (attr_takes(op, k)) str_printf(s, " `%s`", attr_name(k));
    str_printf(s, " | %s |", kinds[op_info(op)->kind]);
    if (meaning[op] != NULL) add_code(meaning[op], s);
    str_add(s, " |\n");
  }
}

static void add_attrs(Str *s) {
  str_add(s, "\n| attribute | written as | meaning |\n|---|---|---|\n");
  for (AttrKey k = A_none + 1; k < A__COUNT; k++)
    str_printf(s, "| `%s` | %s | %s |\n", attr_name(k), attr_kinds[attr_kind(k)], attr_what(k));
}

static void bless(const char *before, size_t n, const char *tables, const char *after) {
  FILE *f = fopen(PAGE, "wb");
  assert_non_null(f);
  fwrite(before, 1, n, f);
  fprintf(f, "%s%s", tables, after);
  assert_int_equal(fclose(f), 0);
}

static void the_page_holds_the_tables(void **state) {
  uint8_t *bytes = NULL;
  size_t n = 0;
  Str s = {.arena = *state};
  add_ops(&s);
  add_attrs(&s);
  assert_int_equal(io_read(PAGE, 1 << 20, *state, NULL, &bytes, &n), VLPC_OK);
  const char *page = (const char *)bytes, *begin = strstr(page, BEGIN), *end = strstr(page, END);
  assert_non_null(begin);
  assert_non_null(end);
  begin += strlen(BEGIN);
  if (getenv("VLPC_BLESS") != NULL) bless(page, (size_t)(begin - page), str_text(&s), end);
  else assert_string_equal(arena_strndup(*state, begin, (size_t)(end - begin)), str_text(&s));
}

int main(void) {
  const struct CMUnitTest tests[] = {TEST(the_page_holds_the_tables)};
  return cmocka_run_group_tests_name("ir_docs", tests, NULL, NULL);
}
