/* SPDX-License-Identifier: Apache-2.0 */
/* test_text.c - the golden files of the text form, and what they cannot hold:
** large constants and texts that are hostile by size or by cutting.
**
** A golden file is a graph, a line `; RUN word`, and after `; EXPECT` the text
** that must come out: `exact` prints what was parsed, `fold` rebuilds it first,
** `normal` prints the normal form of that, `error` shows the diagnostics.
** With VLPC_BLESS set, the files are rewritten with what comes out. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/io.h"
#include "tests/ir/ir_case.h"

#define EXPECT "; EXPECT\n"

/* ---- golden files --------------------------------------------------------- */

static const char *outcome(Arena *a, const char *text, size_t n, const char *file) {
  Diag *d = diag_new();
  Graph *g = ir_parse(a, file, text, n, (BlobTable){NULL, 0}, d);
  const char *errors = arena_strdup(a, diag_text(d));
  diag_free(d);
  if (strstr(text, "; RUN error\n") != NULL) return errors;
  if (g == NULL) return errors;
  if (strstr(text, "; RUN exact\n") != NULL) return text_of(g, PRINT_LOCS);
  g = ir_rewrite(g, a, NULL, NULL, NULL);
  return text_of(g, strstr(text, "; RUN normal\n") != NULL ? PRINT_NORMAL : PRINT_LOCS);
}

static void bless(const char *path, const char *text, size_t n, const char *got) {
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  fwrite(text, 1, n, f);
  fprintf(f, EXPECT "%s", got);
  assert_int_equal(fclose(f), 0);
}

static bool run_file(Arena *a, const char *path, const char *name) {
  uint8_t *bytes = NULL;
  size_t n = 0;
  assert_int_equal(io_read(path, 1 << 20, a, NULL, &bytes, &n), VLPC_OK);
  char *text = (char *)bytes, *expect = strstr(text, EXPECT);
  const char *want = expect != NULL ? expect + strlen(EXPECT) : "";
  size_t n_text = expect != NULL ? (size_t)(expect - text) : n;
  const char *got = outcome(a, arena_strndup(a, text, n_text), n_text, name);
  if (getenv("VLPC_BLESS") != NULL) bless(path, text, n_text, got);
  else if (strcmp(got, want) != 0) print_error("%s: got\n%s", name, got);
  return strcmp(got, want) == 0;
}

static void golden_files_hold(void **state) {
  const char *dir = VLPC_TEST_DIR "/golden";
  int n = 0, n_wrong = 0;
  DIR *d = opendir(dir);
  assert_non_null(d);
  for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
    if (strstr(e->d_name, ".vl") == NULL) continue;
    n++;
    n_wrong += !run_file(*state, arena_printf(*state, "%s/%s", dir, e->d_name), e->d_name);
  }
  closedir(d);
  assert_true(n >= 20);
  assert_int_equal(n_wrong, 0);
}

/* ---- large constants ------------------------------------------------------ */

static Graph *with_large_const(Arena *a, const float *data) {
  Graph *g = ir_graph_new(a);
  const int64_t size[1] = {12};
  Val x = ir_input(g, "x", type_f32(g, 1, size));
  Val c = ir_const(g, type_f32(g, 1, size), ir_blob(g, data, 12 * sizeof *data, "w"));
  ir_output(g, "y", ir_ew2(g, OP_add, x, c));
  return g;
}

static void large_constants_are_blob_references(void **state) {
  const float data[12] = {1, 2, 3};
  Graph *g = with_large_const(*state, data);
  const char *text = text_of(g, 0);
  assert_non_null(strstr(text, "%2 = const {blob=blob#1} : f32[12]\n"));
  Diag *d = diag_new();
  Graph *back = ir_parse(*state, NULL, text, strlen(text), blobs_of(g), d);
  assert_non_null(back);
  assert_string_equal(text_of(back, 0), text);
  assert_ptr_equal(ir_blob_get(back, (BlobId){1})->data, data);
  diag_free(d);
}

static void normal_form_shows_a_hash_of_the_bytes(void **state) {
  float data[12] = {1, 2, 3}, same[12] = {1, 2, 3}, other[12] = {1, 2, 4};
  const char *text = text_of(with_large_const(*state, data), PRINT_NORMAL);
  assert_non_null(strstr(text, "const {blob=xxh3#"));
  assert_string_equal(text_of(with_large_const(*state, same), PRINT_NORMAL), text);
  assert_string_not_equal(text_of(with_large_const(*state, other), PRINT_NORMAL), text);
}

static void bool_constants_hash_by_truth(void **state) {
  const char *text[2];
  for (int k = 0; k < 2; k++) {
    Graph *g = ir_graph_new(*state);
    const int64_t size[1] = {9};
    const uint8_t data[9] = {1, 0, (uint8_t)(k ? 255 : 1)};
    BlobId b = ir_blob_copy(g, data, sizeof data, NULL);
    ir_output(g, "m", ir_const(g, ir_type_fixed(g, VLPC_BOOL, 1, size), b));
    text[k] = text_of(g, PRINT_NORMAL);
  }
  assert_string_equal(text[0], text[1]);
}

static void expect_error(const char *text, BlobTable blobs, Arena *a, const char *part) {
  Diag *d = diag_new();
  assert_null(ir_parse(a, "t.vl", text, strlen(text), blobs, d));
  if (strstr(diag_text(d), part) == NULL) print_error("%s", diag_text(d));
  assert_non_null(strstr(diag_text(d), part));
  diag_free(d);
}

static void blob_of_the_wrong_size_is_refused(void **state) {
  const Blob b = {"abcdefghijkl", 12, NULL};
  expect_error("graph {\n %1 = const {blob=blob#1} : f32[4]\n}\n", (BlobTable){&b, 1}, *state,
               "error[E0303]: t.vl: line 2:7: a constant's data do not fit its type");
  expect_error("graph {\n %1 = const {blob=blob#2} : f32[3]\n}\n", (BlobTable){&b, 1}, *state,
               "error[E0302]: t.vl: line 2:24: there is no blob of this number");
}

/* ---- hostile texts -------------------------------------------------------- */

static const char sample[] =
    "graph {\n  sym batch\n"
    "  %1 = input {name=\"im\\u0061ge\"} : f32[batch,4,4]  @\"in\"\n"
    "  %2 = const {value=[1.5,-2,inf,nan]} : f32[4]\n"
    "  %3 = add %1, %2 : f32[batch,4,4]  @\"/a\"  @7\n"
    "  %4 = layernorm %3, _, %2 {eps=1e-05} : f32[batch,4,4]\n"
    "  %5 = reshape %4 {dims=[4*batch,4]} : f32[4*batch,4]\n"
    "  out \"y\" %5\n  point \"V.0\" %3\n}\n";

static void every_cut_of_a_text_is_an_error(void **state) {
  size_t n = strlen(sample);
  for (size_t cut = 0; cut + 1 < n; cut++) {
    Arena *a = arena_new(0);
    char *text = arena_strndup(a, sample, cut);
    Diag *d = diag_new();
    assert_null(ir_parse(a, "t", text, cut, (BlobTable){NULL, 0}, d));
    assert_int_equal(diag_count(d), 1);
    diag_free(d);
    arena_free(a);
  }
  (void)state;
}

/* Either refused with a diagnostic, or a graph that is sound. */
static void flipped_bytes_never_break_a_graph(void **state) {
  size_t n = strlen(sample);
  const char put[] = "%_,{}[]:@\"0-;'x\\\n\xff";
  for (size_t i = 0; i < n * (sizeof put - 1); i++) {
    Arena *a = arena_new(0);
    char *text = arena_strdup(a, sample);
    text[i / (sizeof put - 1)] = put[i % (sizeof put - 1)];
    Diag *d = diag_new();
    Graph *g = ir_parse(a, "t", text, n, (BlobTable){NULL, 0}, d);
    Str faults = {.arena = a};
    if (g != NULL) assert_true(ir_verify(g, SPEC_IMPORT, &faults));
    else assert_int_equal(diag_count(d), 1);
    diag_free(d);
    arena_free(a);
  }
  (void)state;
}

static void lists_are_bounded(void **state) {
  Str s = {.arena = *state};
  str_add(&s, "graph {\n%x = input {name=\"x\"} : f32[1]\n%y = concat %x");
  for (int i = 0; i < 70000; i++) str_add(&s, ",%x");
  str_add(&s, " {axis=0} : f32[70001]\n}\n");
  expect_error(str_text(&s), (BlobTable){NULL, 0}, *state, "error[E0304]: t.vl: line 3:");
  Str t = {.arena = *state};
  str_add(&t, "graph {\n%x = input {name=\"x\"} : f32[1,1,1,1,1,1,1,1,1]\n}\n");
  expect_error(str_text(&t), (BlobTable){NULL, 0}, *state, "too many sizes");
}

static void symbols_are_bounded(void **state) {
  Str s = {.arena = *state};
  str_add(&s, "graph {\n");
  for (int i = 0; i < DIM_MAX_SYMS + 1; i++) str_printf(&s, "sym s%d\n", i);
  str_add(&s, "}\n");
  expect_error(str_text(&s), (BlobTable){NULL, 0}, *state,
               "error[E0304]: t.vl: line 66:5: too many symbols");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(golden_files_hold),
      TEST(large_constants_are_blob_references),
      TEST(normal_form_shows_a_hash_of_the_bytes),
      TEST(bool_constants_hash_by_truth),
      TEST(blob_of_the_wrong_size_is_refused),
      TEST(every_cut_of_a_text_is_an_error),
      TEST(flipped_bytes_never_break_a_graph),
      TEST(lists_are_bounded),
      TEST(symbols_are_bounded),
  };
  return cmocka_run_group_tests_name("ir_text", tests, NULL, NULL);
}
