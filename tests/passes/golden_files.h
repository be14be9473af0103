/* SPDX-License-Identifier: Apache-2.0 */
/* golden_files.h - files of a graph and, after `; EXPECT`, what is made of it.
** With VLPC_BLESS set, the files are rewritten. */
#ifndef VLPC_TESTS_PASSES_GOLDEN_FILES_H
#define VLPC_TESTS_PASSES_GOLDEN_FILES_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/io.h"
#include "tests/passes/pass_case.h"

#define EXPECT "; EXPECT\n"

/* What is made of the n bytes of text of a file. */
typedef const char *GoldenFn(Arena *a, const char *name, const char *text, size_t n);

static inline void golden_bless(const char *path, const char *text, size_t n, const char *got) {
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  fwrite(text, 1, n, f);
  fprintf(f, EXPECT "%s", got);
  assert_int_equal(fclose(f), 0);
}

static inline bool golden_file(Arena *a, const char *path, const char *name, GoldenFn *outcome) {
  uint8_t *bytes = NULL;
  size_t n = 0;
  assert_int_equal(io_read(path, 1 << 20, a, NULL, &bytes, &n), VLPC_OK);
  char *text = (char *)bytes, *expect = strstr(text, EXPECT);
  const char *want = expect != NULL ? expect + strlen(EXPECT) : "";
  size_t n_text = expect != NULL ? (size_t)(expect - text) : n;
  const char *got = outcome(a, name, arena_strndup(a, text, n_text), n_text);
  if (getenv("VLPC_BLESS") != NULL) golden_bless(path, text, n_text, got);
  else if (strcmp(got, want) != 0) print_error("%s: got\n%s", name, got);
  return strcmp(got, want) == 0;
}

/* Every .vl file of a folder; at least that many. */
static inline void golden_files(Arena *a, const char *folder, int least, GoldenFn *outcome) {
  DIR *dir = opendir(folder);
  int n = 0, bad = 0;
  assert_non_null(dir);
  for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
    if (strstr(e->d_name, ".vl") == NULL) continue;
    bad += !golden_file(a, arena_printf(a, "%s/%s", folder, e->d_name), e->d_name, outcome);
    n++;
  }
  closedir(dir);
  assert_int_equal(bad, 0);
  assert_true(n >= least);
}

#endif
