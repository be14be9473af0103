/* SPDX-License-Identifier: Apache-2.0 */
/* test_golden.c - what each pass makes of small graphs.
**
** A golden file is a line `; RUN pass …`, a graph, and after `; EXPECT` the
** graph that the passes named, and no others, make of it.  For every file: the
** result is as written, running again changes nothing, and outputs on random
** inputs stay the same.  With VLPC_BLESS set, the files are rewritten. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/io.h"
#include "tests/passes/pass_case.h"

#define EXPECT "; EXPECT\n"

/* All passes but those of the RUN line. */
static uint64_t others(const char *text) {
  uint64_t skip = ~UINT64_C(0);
  assert_true(strncmp(text, "; RUN ", 6) == 0);
  char line[200];
  snprintf(line, sizeof line, "%.*s", (int)strcspn(text, "\n"), text);
  for (char *w = strtok(line + 6, " "); w != NULL; w = strtok(NULL, " ")) {
    PassId p = PASS_none;
    assert_true(pass_find(w, &p));
    skip &= ~(UINT64_C(1) << p);
  }
  return skip;
}

static const char *outcome(Arena *a, const char *name, const char *text, size_t n) {
  PassOpts opt = {.skip = others(text), .check = PASS_CHECK_EVAL | PASS_CHECK_ROUNDTRIP};
  PassResult once = lowered(graph_of(a, name, text, n), &opt);
  const char *got = text_of(once.g);
  PassResult again = lowered(once.g, &opt);
  for (uint32_t i = 0; i < again.n_runs; i++) assert_false(again.run[i].changed);
  return got;
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
  const char *got = outcome(a, name, arena_strndup(a, text, n_text), n_text);
  if (getenv("VLPC_BLESS") != NULL) bless(path, text, n_text, got);
  else if (strcmp(got, want) != 0) print_error("%s: got\n%s", name, got);
  return strcmp(got, want) == 0;
}

static void test_golden_files(void **state) {
  DIR *dir = opendir(VLPC_TEST_DIR "/golden");
  int n = 0, bad = 0;
  assert_non_null(dir);
  for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
    if (strstr(e->d_name, ".vl") == NULL) continue;
    bad += !run_file(*state, arena_printf(*state, "%s/golden/%s", VLPC_TEST_DIR, e->d_name),
                     e->d_name);
    n++;
  }
  closedir(dir);
  assert_int_equal(bad, 0);
  assert_true(n >= 40);
}

int main(void) {
  const struct CMUnitTest tests[] = {TEST(test_golden_files)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
