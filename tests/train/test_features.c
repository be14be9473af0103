/* SPDX-License-Identifier: Apache-2.0 */
/* test_features.c - rows come back by key, for what made them alone; damage, other users'
** folders and full entries do no harm. */
#include "train/features.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "train_kit.h"

#define WIDTH 3
#define ROW (sizeof(Hash128) + WIDTH * sizeof(float))

static Features *open_kept(Kit *k, const char *of, uint64_t most) {
  FeaturesSpec spec = {"kept", of, WIDTH, most, false};
  Features *f = NULL;
  assert_int_equal(features_open(&spec, k->arena, k->diag, &f), VLPC_OK);
  assert_non_null(f);
  return f;
}

static Hash128 key_of(uint32_t photo) { return hash_128(&photo, sizeof photo, 0); }

static void add(Features *f, uint32_t photo) {
  Hash128 key = key_of(photo);
  features_add(f, &key, (float[WIDTH]){(float)photo, 0.5f, -1});
}

static bool has(Features *f, uint32_t photo) {
  Hash128 key = key_of(photo);
  const float *row = features_find(f, &key);
  if (row) assert_true(row[0] == (float)photo && row[1] == 0.5f && row[2] == -1);
  return row != NULL;
}

/* The only file in the folder. */
static const char *entry(Kit *k) {
  DIR *d = opendir("kept");
  const char *out = NULL;
  assert_non_null(d);
  for (struct dirent *e; (e = readdir(d));) {
    if (e->d_name[0] == '.') continue;
    assert_null(out);
    out = arena_printf(k->arena, "kept/%s", e->d_name);
  }
  closedir(d);
  return out;
}

static void rows_come_back(void **state) {
  Kit *k = *state;
  uint64_t found = 0, made = 0;
  Features *f = open_kept(k, "model a", FEATURES_MAX);
  assert_false(has(f, 1));
  add(f, 1), add(f, 2);
  assert_true(has(f, 1) && has(f, 2));
  features_keep(f);
  f = open_kept(k, "model a", FEATURES_MAX);
  assert_true(has(f, 1) && has(f, 2) && !has(f, 3));
  features_count(f, &found, &made);
  assert_true(found == 2 && made == 0);
  assert_false(has(open_kept(k, "model b", FEATURES_MAX), 1));
}

static void a_photo_in_two_runs_is_kept_once(void **state) {
  Kit *k = *state;
  struct stat st;
  Features *a = open_kept(k, "m", FEATURES_MAX), *b = open_kept(k, "m", FEATURES_MAX);
  add(a, 1), add(a, 2), add(b, 2), add(b, 3);
  features_keep(a);
  features_keep(b);
  Features *f = open_kept(k, "m", FEATURES_MAX);
  assert_true(has(f, 1) && has(f, 2) && has(f, 3));
  assert_int_equal(stat(entry(k), &st), 0);
  assert_int_equal(st.st_size, sizeof(StoredHeader) + 3 * ROW);
  assert_int_equal(st.st_mode & 0777, 0600);
}

static void an_entry_is_bounded_and_the_newest_stay(void **state) {
  Kit *k = *state;
  struct stat st;
  for (uint32_t i = 0; i < 5; i++) {
    Features *f = open_kept(k, "m", 3 * ROW + 1);
    add(f, i);
    features_keep(f);
  }
  Features *f = open_kept(k, "m", 3 * ROW + 1);
  assert_true(has(f, 4) && has(f, 3) && has(f, 2) && !has(f, 1) && !has(f, 0));
  assert_int_equal(stat(entry(k), &st), 0);
  assert_int_equal(st.st_size, sizeof(StoredHeader) + 3 * ROW);
  f = open_kept(k, "none", 0); /* no room for a single row */
  add(f, 1);
  features_keep(f);
  assert_false(has(open_kept(k, "none", 0), 1));
}

/* Every byte damaged, every length: no row of it is taken, and the entry is made again. */
static void a_damaged_entry_is_none(void **state) {
  Kit *k = *state;
  Features *f = open_kept(k, "m", FEATURES_MAX);
  uint8_t *good;
  size_t n;
  add(f, 1), add(f, 2);
  features_keep(f);
  const char *path = entry(k);
  assert_int_equal(io_read(path, 4096, k->arena, k->diag, &good, &n), VLPC_OK);
  for (size_t i = 0; i < 2 * n; i++) {
    uint8_t *bad = arena_alloc(k->arena, n);
    memcpy(bad, good, n);
    if (i < n) bad[i] ^= 1;
    assert_int_equal(remove(path), 0);
    assert_int_equal(io_write_file(path, bad, i < n ? n : i - n, k->diag), VLPC_OK);
    assert_int_equal(chmod(path, 0600), 0);
    f = open_kept(k, "m", FEATURES_MAX);
    assert_false(has(f, 1) || has(f, 2));
    add(f, 1), add(f, 2);
    features_keep(f);
    f = open_kept(k, "m", FEATURES_MAX);
    assert_true(has(f, 1) && has(f, 2));
  }
}

static void a_folder_for_all_is_refused(void **state) {
  Kit *k = *state;
  FeaturesSpec spec = {"open", "m", WIDTH, FEATURES_MAX, false};
  Features *f = NULL;
  assert_int_equal(mkdir("open", 0755), 0);
  assert_int_equal(chmod("open", 0755), 0);
  VlStatus st = features_open(&spec, k->arena, k->diag, &f);
  assert_null(f);
  assert_int_equal(st, VLPC_E_IO);
  assert_non_null(strstr(diag_text(k->diag), "[E0607]: open: the cache folder is not private"));
}

static void without_a_folder_nothing_is_kept(void **state) {
  Kit *k = *state;
  FeaturesSpec spec = {NULL, "m", WIDTH, FEATURES_MAX, false};
  FeaturesSpec nowhere = {"/dev/null/x", "m", WIDTH, 64, false};
  Features *f = NULL;
  assert_int_equal(features_open(&spec, k->arena, k->diag, &f), VLPC_OK);
  assert_null(f);
  assert_int_equal(features_open(&nowhere, k->arena, k->diag, &f), VLPC_OK);
  assert_null(f);
  add(NULL, 1);
  assert_false(has(NULL, 1));
  features_keep(NULL);
}

/* As many rows as there is room for, and no file. */
static void rows_stay_in_memory_where_asked(void **state) {
  Kit *k = *state;
  FeaturesSpec spec = {NULL, "m", WIDTH, 2 * ROW, true};
  Features *f = NULL, *other = NULL;
  uint64_t found = 0, made = 0;
  assert_int_equal(features_open(&spec, k->arena, k->diag, &f), VLPC_OK);
  for (uint32_t i = 1; i <= 3; i++) add(f, i);
  features_keep(f);
  assert_true(has(f, 1) && has(f, 2) && !has(f, 3));
  features_count(f, &found, &made);
  assert_true(found == 2 && made == 2);
  assert_int_equal(features_open(&spec, k->arena, k->diag, &other), VLPC_OK);
  assert_false(has(other, 1));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      kit_test(rows_come_back),
      kit_test(a_photo_in_two_runs_is_kept_once),
      kit_test(an_entry_is_bounded_and_the_newest_stay),
      kit_test(a_damaged_entry_is_none),
      kit_test(a_folder_for_all_is_refused),
      kit_test(without_a_folder_nothing_is_kept),
      kit_test(rows_stay_in_memory_where_asked),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
