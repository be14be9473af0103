/* SPDX-License-Identifier: Apache-2.0 */
/* test_golden.c - what each pass makes of small graphs.
**
** A golden file is a line `; RUN pass …`, a graph, and after `; EXPECT` the
** graph that the passes named, and no others, make of it.  For every file: the
** result is as written, running again changes nothing, and outputs on random
** inputs stay the same.  With VLPC_BLESS set, the files are rewritten. */
#include "tests/passes/golden_files.h"

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

static void test_golden_files(void **state) {
  golden_files(*state, VLPC_TEST_DIR "/golden", 40, outcome);
}

int main(void) {
  const struct CMUnitTest tests[] = {TEST(test_golden_files)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
