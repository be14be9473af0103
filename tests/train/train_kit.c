/* SPDX-License-Identifier: Apache-2.0 */
#include "train_kit.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/runtime/golden.h"

int kit_begin(void **state) {
  Kit *k = calloc(1, sizeof *k);
  if (k == NULL) return 1;
  *state = k;
  k->arena = arena_new(0);
  k->diag = diag_new();
  k->start = open(".", O_RDONLY | O_DIRECTORY);
  strcpy(k->folder, "vlpc-train-XXXXXX");
  if (!k->arena || !k->diag || k->start < 0 || !mkdtemp(k->folder)) return 1;
  return chdir(k->folder);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at) {
  (void)st, (void)kind, (void)at;
  return remove(path);
}

int kit_end(void **state) {
  Kit *k = *state;
  int bad = fchdir(k->start);
  bad |= nftw(k->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
  close(k->start);
  diag_free(k->diag);
  arena_free(k->arena);
  free(k);
  return bad;
}

void kit_put(const char *path, const void *bytes, size_t n) {
  char dir[512];
  snprintf(dir, sizeof dir, "%s", path);
  for (char *c = strchr(dir, '/'); c != NULL; c = strchr(c + 1, '/')) {
    *c = '\0';
    mkdir(dir, 0777);
    *c = '/';
  }
  FILE *f = fopen(path, "wb"); /* without the fsync of io_write_file: tests write thousands */
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, n, f), n);
  assert_int_equal(fclose(f), 0);
}

void kit_put_text(const char *path, const char *text) { kit_put(path, text, strlen(text)); }

void kit_unpack(const char *name, const char *path) {
  char from[512], rel[256];
  size_t n = 0;
  snprintf(rel, sizeof rel, "tests/train/data/%s", name);
  source_path(rel, from);
  char *text = golden_read(from, &n);
  assert_non_null(text);
  kit_put(path, text, n);
  free(text);
}

void kit_expect(Kit *k, VlStatus st, DiagCode code, const char *text) {
  assert_string_equal(diag_text(k->diag), text);
  assert_int_equal(diag_count(k->diag), 1);
  assert_int_equal(st, diag_status(k->diag));
  assert_non_null(strstr(text, diag_code_name(code)));
  diag_clear(k->diag);
}
