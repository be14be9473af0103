/* SPDX-License-Identifier: Apache-2.0 */
/* test_safetensors.c - the format's own library's file is read and written byte
** for byte; each rule of the format, broken, is an error in words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/safetensors.h"

typedef struct {
  Arena *a;
  Diag *d;
} Setup;

static int begin(void **state) {
  Setup *s = calloc(1, sizeof *s);
  s->a = arena_new(0);
  s->d = diag_new();
  *state = s;
  return 0;
}

static int end(void **state) {
  Setup *s = *state;
  arena_free(s->a);
  diag_free(s->d);
  free(s);
  return 0;
}

static const char golden[] = VLPC_TEST_DIR "/data/golden.safetensors";

static void the_formats_own_file_is_read(void **state) {
  Setup *s = *state;
  Safetensors t;
  assert_int_equal(safetensors_read(golden, s->a, s->d, &t), VLPC_OK);
  assert_int_equal(t.n, 14);
  assert_string_equal(safetensors_text(&t, "method"), "co\"op\u00e9");
  assert_null(safetensors_text(&t, "other"));
  const SafeTensor *x = safetensors_find(&t, "x.f2");
  assert_true(x && x->dtype == VLPC_F16 && x->rank == 2 && x->size[0] == 2 && x->size[1] == 3);
  for (int i = 0; i < 6; i++) assert_true(dtype_load(VLPC_F16, x->data, i) == i + 4);
  x = safetensors_find(&t, "a");
  assert_true(x && x->dtype == VLPC_F32 && x->rank == 0 && *(const float *)x->data == 0.5f);
  x = safetensors_find(&t, "b");
  assert_true(x && x->dtype == VLPC_BOOL && memcmp(x->data, "\1\0\1", 3) == 0);
  x = safetensors_find(&t, "empty");
  assert_true(x && x->size[0] == 0 && x->size[1] == 7 && x->bytes == 0);
  assert_null(safetensors_find(&t, "missing"));
}

static void equal_tensors_give_its_bytes(void **state) {
  Setup *s = *state;
  char path[] = P_tmpdir "/vlpc-safetensors-XXXXXX";
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  close(fd);
  Safetensors t;
  assert_int_equal(safetensors_read(golden, s->a, s->d, &t), VLPC_OK);
  for (uint32_t i = 0; i < t.n / 2; i++) { /* any order gives the same file */
    SafeTensor swap = t.at[i];
    t.at[i] = t.at[t.n - 1 - i];
    t.at[t.n - 1 - i] = swap;
  }
  assert_int_equal(safetensors_write(path, &t, s->a, s->d), VLPC_OK);
  uint8_t *want, *got;
  size_t n_want, n_got;
  assert_int_equal(io_read(golden, 1 << 20, s->a, s->d, &want, &n_want), VLPC_OK);
  assert_int_equal(io_read(path, 1 << 20, s->a, s->d, &got, &n_got), VLPC_OK);
  assert_int_equal(n_got, n_want);
  assert_memory_equal(got, want, n_want);
  unlink(path);
}

static void every_cut_and_every_tail_is_an_error(void **state) {
  Setup *s = *state;
  uint8_t *file;
  size_t n;
  Safetensors t;
  assert_int_equal(io_read(golden, 1 << 20, s->a, s->d, &file, &n), VLPC_OK);
  for (size_t i = 0; i < n; i++) {
    Arena *a = arena_new(0);
    uint8_t *cut = malloc(i + 1); /* so that a sanitizer sees a read past it */
    memcpy(cut, file, i);
    assert_int_equal(safetensors_parse(cut, i, "x", a, s->d, &t), VLPC_E_BAD_FILE);
    free(cut);
    arena_free(a);
  }
  assert_int_equal(safetensors_parse(file, n + 1, "x", s->a, s->d, &t), VLPC_E_BAD_FILE);
}

static void touch(const Safetensors *t) {
  static volatile uint8_t sum;
  for (uint32_t i = 0; i < t->n; i++)
    for (uint64_t b = 0; b < t->at[i].bytes; b++) sum ^= ((const uint8_t *)t->at[i].data)[b];
}

/* Every byte of the header changed in a few ways never reads outside, whether
** it is still sound or not. */
static void every_flip_is_safe(void **state) {
  Setup *s = *state;
  static const uint8_t with[] = {0x00, 0xff, 0x80, '9', '"', '{', '['};
  uint8_t *file;
  size_t n;
  Safetensors t;
  assert_int_equal(io_read(golden, 1 << 20, s->a, s->d, &file, &n), VLPC_OK);
  for (size_t i = 0; i < 0x388; i++) {
    for (size_t k = 0; k < VL_COUNT(with); k++) {
      Arena *a = arena_new(0);
      uint8_t was = file[i];
      file[i] = with[k];
      if (safetensors_parse(file, n, "x", a, s->d, &t) == VLPC_OK) touch(&t);
      file[i] = was;
      arena_free(a);
    }
  }
}

/* A file of this header and n bytes behind it, in memory of its size. */
static VlStatus parse(Setup *s, const char *header, size_t n, Safetensors *t) {
  size_t h = strlen(header);
  uint8_t *file = arena_alloc(s->a, 8 + h + n);
  for (int i = 0; i < 8; i++) file[i] = (uint8_t)((uint64_t)h >> (8 * i));
  memcpy(file + 8, header, h);
  diag_clear(s->d);
  return safetensors_parse(file, 8 + h + n, "x", s->a, s->d, t);
}

static void broken_rules_are_errors(void **state) {
  Setup *s = *state;
  static const struct {
    const char *header;
    size_t n;
    const char *error;
  } row[] = {
      {"", 0, "error[E1001]: x: the header is no JSON object\n"},
      {" {}", 0, "error[E1001]: x: the header is no JSON object\n"},
      {"[]", 0, "error[E1001]: x: the header is no JSON object\n"},
      {"{\"a\":", 0,
       "error[E1001]: x: header: is no sound JSON\n"
       "  found:    unexpected token near end of file (byte 5)\n"},
      {"{}x", 0,
       "error[E1001]: x: header: is no sound JSON\n"
       "  found:    end of file expected near 'x' (byte 3)\n"},
      {"{\"\xff\":1}", 0,
       "error[E1001]: x: header: is no sound JSON\n"
       "  found:    unable to decode byte 0xff near '\"' (byte 2)\n"},
      {"{\"a\\u0000\":1}", 0,
       "error[E1001]: x: header: is no sound JSON\n"
       "  found:    NUL byte in object key not supported near '\"a\\u0000\"' (byte 10)\n"},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
       "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
       "error[E1001]: x: header: is no sound JSON\n"
       "  found:    duplicate object key near '\"a\"' (byte 56)\n"},
      {"{\"a\":1}", 0, "error[E1001]: x: tensor 'a': is no object\n"},
      {"{\"a\":{}}", 0, "error[E1001]: x: tensor 'a': has no dtype\n"},
      {"{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
       "error[E1002]: x: tensor 'a': the element type is not supported\n"
       "  found:    F8_E4M3\n"
       "  expected: F32 F16 BF16 F64 I64 I32 I16 I8 U64 U32 U16 U8 BOOL\n"},
      {"{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1,
       "error[E1001]: x: tensor 'a': has no shape\n"},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1,
       "error[E1002]: x: tensor 'a': has too many axes\n"
       "  found:    9\n"
       "  expected: at most 8\n"},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[-1],\"data_offsets\":[0,1]}}", 1,
       "error[E1001]: x: tensor 'a': the shape has an element that is no size\n"},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1.0],\"data_offsets\":[0,1]}}", 1,
       "error[E1001]: x: tensor 'a': the shape has an element that is no size\n"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0,
       "error[E1001]: x: tensor 'a': the shape's size overflows\n"},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
       "error[E1001]: x: tensor 'a': the shape's size overflows\n"},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4294967296,4294967296,0],\"data_offsets\":[0,0]}}", 0,
       "error[E1001]: x: tensor 'a': the shape's size overflows\n"},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[18446744073709551616],\"data_offsets\":[0,1]}}", 1,
       "error[E1001]: x: header: is no sound JSON\n"
       "  found:    too big integer near '18446744073709551616' (byte 48)\n"},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}}", 1,
       "error[E1001]: x: tensor 'a': data_offsets are not two sizes\n"},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[-1,0]}}", 1,
       "error[E1001]: x: tensor 'a': data_offsets are not two sizes\n"},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,0]}}", 1,
       "error[E1001]: x: tensor 'a': data_offsets end before they begin\n"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4,
       "error[E1001]: x: tensor 'a': the bytes do not match type and shape\n"
       "  found:    4 bytes\n"
       "  expected: 8\n"},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":1}}", 1,
       "error[E1001]: x: tensor 'a': has a key that is not known\n"},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
       "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}", 3,
       "error[E1001]: x: tensor 'b': overlaps another tensor\n"
       "  found:    begins at 1\n"
       "  expected: 2\n"},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
       "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[3,5]}}", 5,
       "error[E1001]: x: tensor 'b': lies behind a hole\n"
       "  found:    begins at 3\n"
       "  expected: 2\n"},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}", 2,
       "error[E1001]: x: tensor 'a': lies behind a hole\n"
       "  found:    begins at 1\n"
       "  expected: 0\n"},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 1,
       "error[E1001]: x: the tensors do not fill the file\n"
       "  found:    1 bytes behind the header\n"
       "  expected: 2\n"},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 3,
       "error[E1001]: x: the tensors do not fill the file\n"
       "  found:    3 bytes behind the header\n"
       "  expected: 2\n"},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[9007199254740992],"
       "\"data_offsets\":[0,9007199254740992]}}", 1,
       "error[E1001]: x: the tensors do not fill the file\n"
       "  found:    1 bytes behind the header\n"
       "  expected: 9007199254740992\n"},
      {"{\"__metadata__\":[]}", 0, "error[E1001]: x: __metadata__: is no object\n"},
      {"{\"__metadata__\":{\"a\":1}}", 0,
       "error[E1001]: x: __metadata__: has a value that is no text\n"},
  };
  for (size_t i = 0; i < VL_COUNT(row); i++) {
    Safetensors t;
    assert_int_not_equal(parse(s, row[i].header, row[i].n, &t), VLPC_OK);
    const char *want = arena_printf(s->a, "vlpc: %s", row[i].error);
    assert_string_equal(diag_text(s->d), want);
  }
}

static void what_is_odd_and_sound_is_read(void **state) {
  Setup *s = *state;
  Safetensors t;
  assert_int_equal(parse(s, "{}", 0, &t), VLPC_OK);
  assert_int_equal(t.n + t.n_texts, 0);
  assert_int_equal(parse(s, "{\"__metadata__\":{}}   ", 0, &t), VLPC_OK);
  /* misaligned, with an empty tensor where another begins */
  assert_int_equal(parse(s,
                         "{\"z\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[1,5]},"
                         "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                         "\"e\":{\"dtype\":\"F64\",\"shape\":[0],\"data_offsets\":[1,1]}}",
                         5, &t),
                   VLPC_OK);
  assert_int_equal(t.n, 3);
  for (uint32_t i = 0; i < 3; i++)
    assert_int_equal((uintptr_t)t.at[i].data % dtype_size(t.at[i].dtype), 0);
}

static void lengths_that_lie_are_errors(void **state) {
  Setup *s = *state;
  static const struct {
    uint8_t length[8];
    const char *error;
  } row[] = {
      {{0}, "the header is no JSON object"},
      {{3}, "the header is longer than the file"},
      {{255, 255, 255, 255, 255, 255, 255, 255}, "the header is longer than the file"},
      {{0, 0, 0, 0, 0, 0, 0, 128}, "the header is longer than the file"},
      {{248, 255, 255, 255, 255, 255, 255, 255}, "the header is longer than the file"},
  };
  for (size_t i = 0; i < VL_COUNT(row); i++) {
    uint8_t file[10] = {[8] = '{', [9] = '}'};
    Safetensors t;
    memcpy(file, row[i].length, 8);
    diag_clear(s->d);
    assert_int_equal(safetensors_parse(file, 10, "x", s->a, s->d, &t), VLPC_E_BAD_FILE);
    assert_non_null(strstr(diag_text(s->d), row[i].error));
  }
  uint64_t n = (uint64_t)SAFETENSORS_MAX_HEADER + 1;
  uint8_t *big = arena_alloc(s->a, 8 + n);
  Safetensors t;
  for (int i = 0; i < 8; i++) big[i] = (uint8_t)(n >> (8 * i));
  memset(big + 8, '{', n);
  diag_clear(s->d);
  assert_int_equal(safetensors_parse(big, 8 + n, "x", s->a, s->d, &t), VLPC_E_LIMIT);
  assert_string_equal(diag_text(s->d), "vlpc: error[E0105]: x: the header is too long\n"
                                       "  found:    4194305 bytes\n"
                                       "  expected: at most 4194304\n");
  /* the longest that is read, nested as deep as it goes */
  for (int i = 0; i < 8; i++) big[i] = (uint8_t)((n - 1) >> (8 * i));
  memset(big + 9, '[', n - 1);
  diag_clear(s->d);
  assert_int_equal(safetensors_parse(big, 8 + n - 1, "x", s->a, s->d, &t), VLPC_E_BAD_FILE);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(the_formats_own_file_is_read),  TEST(equal_tensors_give_its_bytes),
      TEST(every_cut_and_every_tail_is_an_error), TEST(every_flip_is_safe),
      TEST(broken_rules_are_errors),       TEST(what_is_odd_and_sound_is_read),
      TEST(lengths_that_lie_are_errors),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
