/* SPDX-License-Identifier: Apache-2.0 */
/* test_manifest.c - what the manifest says of prompts is read as it was written,
** and each lie in it is refused in words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "tests/runtime/toy.h"

#define WITH (TOY_PROMPTS | TOY_TEMPLATES)

static void reads_what_was_written(void **state) {
  (void)state;
  Arena *a = arena_new(0);
  Program p = toy_program(a, WITH);
  const char *text = toy_manifest(a, WITH);
  Manifest m;
  Str again = {.arena = a};
  assert_int_equal(manifest_read(text, strlen(text), &p, a, "x.vlpc", NULL, &m), VLPC_OK);
  assert_string_equal(m.prompts.method, "toy");
  assert_string_equal(m.prompts.base, TOY_BASE);
  assert_string_equal(m.prompts.entry, "prompts");
  assert_int_equal(m.prompts.slot_rows, 4);
  assert_string_equal(m.prompts.slot_place, "end");
  assert_string_equal(m.prompts.slot_phrase, "a photo of a");
  assert_int_equal(m.prompts.n_templates, 2);
  assert_string_equal(m.prompts.templates[1], TOY_TEMPLATE_1);
  assert_int_equal(m.prompts.n_trainables, 3);
  const ManifestTrainable *t = m.prompts.trainable;
  assert_string_equal(t[0].name, "ctx");
  assert_true(t[0].dtype == VLPC_F32 && t[0].rank == 2 && t[0].size[0] == 4 && t[0].size[1] == 8);
  assert_true(t[0].init.kind == INIT_words && !t[0].class_rows);
  assert_string_equal(t[0].init.text, "a photo of a");
  assert_true(t[1].init.kind == INIT_normal && t[1].init.value == 0.02);
  assert_true(t[2].class_rows && t[2].size[0] == -1 && t[2].init.kind == INIT_none);
  manifest_write(&m, &p, &again);
  assert_string_equal(str_text(&again), text);
  arena_free(a);
}

static void without_a_module_it_says_nothing(void **state) {
  (void)state;
  Arena *a = arena_new(0);
  Program p = toy_program(a, 0);
  const char *text = toy_manifest(a, 0);
  Manifest m;
  assert_null(strstr(text, "prompts"));
  assert_int_equal(manifest_read(text, strlen(text), &p, a, "x.vlpc", NULL, &m), VLPC_OK);
  assert_null(m.prompts.method);
  arena_free(a);
}

/* text with its first `from` replaced; NULL when there is none. */
static const char *replaced(Arena *a, const char *text, const char *from, const char *to) {
  const char *at = strstr(text, from);
  if (!at) return NULL;
  return arena_printf(a, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
}

static void lies_are_refused(void **state) {
  static const struct {
    const char *from, *to, *error;
  } row[] = {
      {"\"method\": \"toy\"", "\"method\": 3", "\"method\" is missing"},
      {"\"base\": \"0001", "\"base\": \"x001", "\"base\" is not 32 hexadecimal digits"},
      {"\"entry\": \"prompts\"", "\"entry\": \"nowhere\"",
       "it names an entry that the program does not have"},
      {"\"entry\": \"prompts\"", "\"entry\": \"sum\"",
       "its entry does not stand behind the entries for callers"},
      {"\"rows\": 4", "\"rows\": 0", "the slot's rows are missing or out of range"},
      {"\"rows\": 4", "\"rows\": 1e3", "the slot's rows are missing or out of range"},
      {"\"rows\": 4", "\"rows\": 1025", "the slot's rows are missing or out of range"},
      {"\"place\": \"end\"", "\"place\": \"side\"", "the slot's place is not end, middle or front"},
      {"\"templates\": [", "\"templates\": 3, \"x\": [",
       "\"templates\" is not a list, or too long"},
      {"itap of a {}", "itap of a", "a template is no text with {}"},
      {"\"" TOY_TEMPLATE_0 "\"", "7", "a template is no text with {}"},
      {"\"trainable\": [", "\"trainable\": 3, \"x\": [",
       "\"trainable\" is not a list, or too long"},
      {"\"trainable\": [", "\"layout\": 3, \"trainable\": [",
       "\"layout\" is not a list, or too long"},
      {"\"trainable\": [", "\"layout\": [{\"point\": \"V.0\"}], \"trainable\": [",
       "a row of \"layout\" lacks its point or action, or a number is out of range"},
      {"\"trainable\": [",
       "\"layout\": [{\"point\": \"V.0\", \"action\": \"keep\", \"stream\": -2}], \"trainable\": [",
       "a row of \"layout\" lacks its point or action, or a number is out of range"},
      {"\"name\": \"bias\"", "\"name\": \"ctx\"",
       "a trainable has no name, or the name of another"},
      {"\"name\": \"bias\"", "\"name\": \"\"", "a trainable has no name, or the name of another"},
      {"\"dtype\": \"f32\", \"shape\": [4, 8]", "\"dtype\": \"i64\", \"shape\": [4, 8]",
       "a trainable's element type is none of f32, f16, bf16, f64"},
      {"[4, 8]", "[4, 0]", "a trainable's shape is missing or out of range"},
      {"[4, 8]", "[-1, 8]", "a trainable's shape is missing or out of range"},
      {"[4, 8]", "[4, 8.5]", "a trainable's shape is missing or out of range"},
      {"[4, 8]", "[4, 2147483647, 2147483647, 2147483647]",
       "a trainable's shape is missing or out of range"},
      {"[4, 8]", "[1, 1, 1, 1, 1, 1, 1, 4, 8]", "a trainable's shape is missing or out of range"},
      {"[-1, 4]", "[-2, 4]", "a trainable's shape is missing or out of range"},
      {"[4, 8]", "[4, 9]", "a trainable does not fit the input of its name"},
      {"[4, 8]", "[32]", "a trainable does not fit the input of its name"},
      {"\"dtype\": \"f32\", \"shape\": [4, 8]", "\"dtype\": \"f16\", \"shape\": [4, 8]",
       "a trainable does not fit the input of its name"},
      {"{\"normal\": 0.02}", "{\"normal\": \"x\"}", "a trainable's init is of no known kind"},
      {"{\"normal\": 0.02}", "{\"gamma\": 1}", "a trainable's init is of no known kind"},
      {"\"first\": 0", "\"first\": -1", "a trainable's init is of no known kind"},
      {"{\"name\": \"ctx\"", "{\"name\": \"xtc\"", "its entry has an input that is no trainable"},
  };
  (void)state;
  for (size_t i = 0; i < VL_COUNT(row); i++) {
    Arena *a = arena_new(0);
    Diag *d = diag_new();
    Program p = toy_program(a, WITH);
    const char *text = replaced(a, toy_manifest(a, WITH), row[i].from, row[i].to);
    assert_non_null(text);
    Manifest m;
    assert_int_equal(manifest_read(text, strlen(text), &p, a, "x.vlpc", d, &m), VLPC_E_BAD_FILE);
    const char *want =
        arena_printf(a,
                     "vlpc: error[E0509]: x.vlpc: manifest: prompts: %s\n"
                     "  fix:      make the artifact again with vlpc compile\n",
                     row[i].error);
    assert_string_equal(diag_text(d), want);
    diag_free(d);
    arena_free(a);
  }
}

/* An output of the prompts' entry that another entry takes in another type or length. */
static void results_must_fit_their_inputs(void **state) {
  (void)state;
  for (int lie = 0; lie < 2; lie++) {
    Arena *a = arena_new(0);
    Diag *d = diag_new();
    Program p = toy_program(a, WITH);
    const char *text = toy_manifest(a, WITH);
    Manifest m;
    for (uint32_t i = 0; i < p.n_ports; i++) {
      ProgBuf *b = &p.bufs[p.ports[i].buf];
      if (strcmp(p.ports[i].name, "rows") != 0 || b->kind != BUF_INPUT) continue;
      if (lie == 0) b->dtype = VLPC_F16;
      else b->size[0] = dim_const(p.dims, 5);
    }
    assert_int_equal(manifest_read(text, strlen(text), &p, a, "x.vlpc", d, &m), VLPC_E_BAD_FILE);
    assert_non_null(
        strstr(diag_text(d), "a result of its entry does not fit the input of its name"));
    diag_free(d);
    arena_free(a);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(reads_what_was_written),
      cmocka_unit_test(without_a_module_it_says_nothing),
      cmocka_unit_test(lies_are_refused),
      cmocka_unit_test(results_must_fit_their_inputs),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
