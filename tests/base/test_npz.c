/* SPDX-License-Identifier: Apache-2.0 */
/* test_npz.c - files that numpy wrote are read, files written here are read
** again, damaged ones are errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/npz.h"

typedef struct {
  Arena *a;
  Diag *d;
  char path[64];
} Setup;

static int begin(void **state) {
  Setup *s = calloc(1, sizeof *s);
  s->a = arena_new(1 << 28);
  s->d = diag_new();
  snprintf(s->path, sizeof s->path, "%s/vlpc-npz-XXXXXX", P_tmpdir);
  int fd = mkstemp(s->path);
  if (fd >= 0) close(fd);
  *state = s;
  return fd < 0;
}

static int end(void **state) {
  Setup *s = *state;
  unlink(s->path);
  arena_free(s->a);
  diag_free(s->d);
  free(s);
  return 0;
}

static const char *data_file(Setup *s, const char *name) {
  return arena_printf(s->a, VLPC_TEST_DIR "/data/%s", name);
}

static void check_numpys_arrays(const Npz *z) {
  assert_int_equal(z->n, 7);
  const NpyArray *x = npz_find(z, "a");
  assert_true(x && x->dtype == VLPC_F32 && x->rank == 2 && x->size[0] == 2 && x->size[1] == 3);
  assert_true(((const float *)x->data)[5] == 5);
  x = npz_find(z, "f"); /* stored in Fortran order */
  assert_true(x && x->dtype == VLPC_F64 && x->rank == 3);
  for (int i = 0; i < 24; i++) assert_true(((const double *)x->data)[i] == i);
  x = npz_find(z, "s");
  assert_true(x && x->dtype == VLPC_I64 && x->rank == 0 && *(const int64_t *)x->data == -7);
  x = npz_find(z, "e");
  assert_true(x && x->dtype == VLPC_U8 && x->size[0] == 0 && x->size[1] == 3 && x->bytes == 0);
  x = npz_find(z, "t");
  assert_true(x && x->dtype == VLPC_BOOL && memcmp(x->data, "\1\0\1", 3) == 0);
  x = npz_find(z, "h");
  assert_true(x && x->dtype == VLPC_F16 && dtype_load(VLPC_F16, x->data, 299) == 299);
  x = npz_find(z, "u");
  assert_true(x && x->dtype == VLPC_U64 && *(const uint64_t *)x->data == UINT64_MAX);
  assert_null(npz_find(z, "missing"));
}

static void test_numpys_files_are_read(void **state) {
  Setup *s = *state;
  Npz z;
  assert_int_equal(npz_read(data_file(s, "numpy_stored.npz"), s->a, s->d, &z), VLPC_OK);
  check_numpys_arrays(&z);
  assert_int_equal(npz_read_any(data_file(s, "numpy_deflated.npz"), s->a, s->d, &z), VLPC_OK);
  check_numpys_arrays(&z);
  NpyArray x;
  assert_int_equal(npy_read(data_file(s, "one.npy"), s->a, s->d, &x), VLPC_OK);
  assert_true(x.dtype == VLPC_I16 && x.size[0] == 5 && ((const int16_t *)x.data)[4] == 4);
}

static void test_what_is_written_is_read_again(void **state) {
  Setup *s = *state;
  Npz z, again;
  assert_int_equal(npz_read(data_file(s, "numpy_stored.npz"), s->a, s->d, &z), VLPC_OK);
  assert_int_equal(npz_write(s->path, &z, s->a, s->d), VLPC_OK);
  assert_int_equal(npz_read(s->path, s->a, s->d, &again), VLPC_OK);
  check_numpys_arrays(&again);
  assert_int_equal(npy_write(s->path, npz_find(&z, "f"), s->a, s->d), VLPC_OK);
  assert_int_equal(npz_read_any(s->path, s->a, s->d, &again), VLPC_OK);
  assert_true(again.n == 1 && again.at[0].name == NULL && again.at[0].size[2] == 4);
}

static void test_rows_one_by_one_are_the_whole_array(void **state) {
  Setup *s = *state;
  float rows[120][3];
  for (int i = 0; i < 360; i++) rows[i / 3][i % 3] = (float)i;
  NpyArray x = {
      .dtype = VLPC_F32, .rank = 2, .size = {120, 3}, .data = rows, .bytes = sizeof rows};
  uint8_t *want, *got;
  size_t n_want, n_got;
  assert_int_equal(npy_write(s->path, &x, s->a, s->d), VLPC_OK);
  assert_int_equal(io_read(s->path, 1 << 20, s->a, s->d, &want, &n_want), VLPC_OK);
  NpyRows *r;
  assert_int_equal(npy_rows_create(s->path, 3, s->a, s->d, &r), VLPC_OK);
  for (int i = 0; i < 120; i += 40) assert_int_equal(npy_rows_add(r, rows[i], 40), VLPC_OK);
  assert_int_equal(npy_rows_count(r), 120);
  assert_int_equal(npy_rows_commit(r), VLPC_OK);
  assert_int_equal(io_read(s->path, 1 << 20, s->a, s->d, &got, &n_got), VLPC_OK);
  assert_int_equal(n_got, n_want);
  assert_memory_equal(got, want, n_want);
}

static void test_rows_left_alone_change_nothing(void **state) {
  Setup *s = *state;
  assert_int_equal(io_write_file(s->path, "old", 3, s->d), VLPC_OK);
  Arena *a = arena_new(1 << 20);
  assert_non_null(a);
  NpyRows *r;
  assert_int_equal(npy_rows_create(s->path, 1, a, s->d, &r), VLPC_OK);
  assert_int_equal(npy_rows_add(r, (float[]){1}, 1), VLPC_OK);
  arena_free(a);
  uint8_t *p;
  size_t n;
  assert_int_equal(io_read(s->path, 1 << 20, s->a, s->d, &p, &n), VLPC_OK);
  assert_int_equal(n, 3);
}

static void test_types_that_vlpc_lacks(void **state) {
  Setup *s = *state;
  NpyArray x, bf = {.dtype = VLPC_BF16, .rank = 0, .data = "ab", .bytes = 2};
  assert_int_equal(npy_read(data_file(s, "complex.npy"), s->a, s->d, &x), VLPC_E_UNSUPPORTED);
  assert_non_null(strstr(diag_text(s->d), "error[E0111]"));
  assert_non_null(strstr(diag_text(s->d), "found:    '<c8'"));
  assert_int_equal(npy_read(data_file(s, "big_endian.npy"), s->a, s->d, &x), VLPC_E_UNSUPPORTED);
  assert_int_equal(npy_write(s->path, &bf, s->a, s->d), VLPC_E_UNSUPPORTED);
  assert_int_equal(npy_read("no/such.npy", s->a, s->d, &x), VLPC_E_IO);
}

static VlStatus read_bytes(Setup *s, const uint8_t *p, size_t n) {
  Npz z;
  Arena *a = arena_new(1 << 24);
  unlink(s->path); /* writing over a file would wait for the disk */
  FILE *f = fopen(s->path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(p, 1, n, f), n);
  fclose(f);
  diag_clear(s->d);
  VlStatus st = ARENA_GUARD(a) ? VLPC_E_NOMEM : npz_read_any(s->path, a, s->d, &z);
  if (st != VLPC_OK && st != VLPC_E_NOMEM) assert_true(diag_count(s->d) > 0);
  assert_int_not_equal(st, VLPC_E_NOMEM); /* small files ask for little */
  arena_free(a);
  return st;
}

static void check_damage(Setup *s, const char *name) {
  uint8_t *p = NULL;
  size_t n = 0;
  assert_int_equal(io_read(data_file(s, name), 1 << 20, s->a, s->d, &p, &n), VLPC_OK);
  for (size_t k = 0; k < n; k++) assert_int_not_equal(read_bytes(s, p, k), VLPC_OK);
  for (size_t k = 0; k < n; k++) {
    p[k] ^= 0x81;
    VL_IGNORE(read_bytes(s, p, n)); /* a name or a date may change without harm */
    p[k] ^= 0x81;
  }
}

static void test_damaged_files_are_errors(void **state) {
  Setup *s = *state;
  check_damage(s, "numpy_stored.npz");
  check_damage(s, "numpy_deflated.npz");
  check_damage(s, "one.npy");
}

static void test_sizes_that_wrap_are_errors(void **state) {
  Setup *s = *state;
  static const char *const shapes[] = {"(9223372036854775807, 9223372036854775807)",
                                       "(99999999999999999999,)", "(-1,)", "(1,1,1,1,1,1,1,1,1)",
                                       "(0, 9223372036854775807, 9223372036854775807)", "(1"};
  for (size_t i = 0; i < VL_COUNT(shapes); i++) {
    char text[256];
    int n = snprintf(text + 10, 200, "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }",
                     shapes[i]);
    memcpy(text, "\x93NUMPY\x01\x00", 8);
    text[8] = (char)n;
    text[9] = 0;
    assert_int_equal(read_bytes(s, (const uint8_t *)text, (size_t)n + 10), VLPC_E_BAD_FILE);
  }
}

#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void) {
  const struct CMUnitTest tests[] = {
      T(test_numpys_files_are_read),       T(test_what_is_written_is_read_again),
      T(test_types_that_vlpc_lacks),       T(test_damaged_files_are_errors),
      T(test_sizes_that_wrap_are_errors),  T(test_rows_one_by_one_are_the_whole_array),
      T(test_rows_left_alone_change_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
