/* SPDX-License-Identifier: Apache-2.0 */
/* test_pickle.c - pickles that checkpoints do not need are errors in words, and
** what they name is never called. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/zip.h"
#include "checkpoint/pickle.h"

static VlStatus read_bytes(const void *at, size_t n, Arena *a, Diag *d, const PickleValue **out) {
  uint8_t *copy = malloc(n + 1); /* so that a sanitizer sees a read past it */
  memcpy(copy, at, n);
  VlStatus s = pickle_read(copy, n, (DiagAt){"x", "data.pkl"}, a, d, out);
  free(copy);
  return s;
}

typedef struct {
  const char *bytes;
  size_t n;
  const char *error;
} Row;
#define ROW(bytes, error) {bytes, sizeof(bytes) - 1, error}

#define DICT "ccollections\nOrderedDict\n"
#define REBUILD "ctorch._utils\n_rebuild_tensor_v2\n"
/* the storage "0" of n floats */
#define STORAGE(n) "(\x8c\x07storagectorch\nFloatStorage\n\x8c\x01" "0\x8c\x03" "cpu" n "tQ"
/* a tensor of a storage of 8 floats: offset, sizes and strides as opcodes */
#define TENSOR(offset, size, stride) \
  REBUILD "(" STORAGE("K\x08") offset size stride "\x89" DICT ")RtR"

static void hostile_pickles_are_errors(void **state) {
  static const Row row[] = {
      ROW("", "byte 0: has no end"),
      ROW("N", "byte 1: has no end"),
      ROW("NN.", "byte 2: does not end with one value"),
      ROW(".", "byte 0: does not end with one value"),
      ROW("(N.", "byte 2: does not end with one value"),
      ROW("N.N", "byte 1: goes on behind its end"),
      ROW("\x80", "byte 0: ends inside an opcode"),
      ROW("\x80\x01N.", "byte 0: has no protocol of 2 to 5"),
      ROW("\x80\x06N.", "byte 0: has no protocol of 2 to 5"),
      ROW("\x80\x02\x80\x02N.", "byte 2: names its protocol twice"),
      ROW("\x95\xff\xff\xff\xff\xff\xff\xff\xffN.", "byte 0: a frame is longer than the pickle"),
      ROW("i", "byte 0: an opcode is none of those that checkpoints need\n  found:    0x69"),
      ROW("\x82", "byte 0: an opcode is none of those that checkpoints need\n  found:    0x82"),
      ROW("\xff", "byte 0: an opcode is none of those that checkpoints need\n  found:    0xff"),
      ROW("X\xff\xff\xff\x7fhello", "byte 0: ends inside an opcode"),
      ROW("X\xff\xff\xff\xff", "byte 0: ends inside an opcode"),
      ROW("X\x01\x00\x00\x00\xff.", "byte 0: a text is not UTF-8 or holds a NUL"),
      ROW("X\x01\x00\x00\x00\x00.", "byte 0: a text is not UTF-8 or holds a NUL"),
      ROW("\x8a\x09" "123456789.", "byte 0: a whole number has more than 64 bits"),
      ROW("J\x01\x02", "byte 0: ends inside an opcode"),
      ROW("G1234567", "byte 0: ends inside an opcode"),
      ROW("t.", "byte 0: takes values up to a mark that is not there"),
      ROW("\x85.", "byte 0: takes a value that is not there"),
      ROW("N(\x85.", "byte 2: takes a value that is not there"),
      ROW("NNa.", "byte 2: appends to what is no list"),
      ROW("}(Ne.", "byte 3: appends to what is no list"),
      ROW("K\x01NNs.", "byte 4: sets items of what is no dictionary"),
      ROW("](NNu.", "byte 4: sets items of what is no dictionary"),
      ROW("}(NNNu.", "byte 5: sets a key without a value"),
      ROW("q\x00.", "byte 0: takes a value that is not there"),
      ROW("Nq\xff.", "byte 1: the memo has no such place"),
      ROW("Nr\xff\xff\xff\xff.", "byte 1: the memo has no such place"),
      ROW("h\x00.", "byte 0: the memo has nothing in that place"),
      ROW("Nq\x02h\x01.", "byte 3: the memo has nothing in that place"),
      ROW("j\x00\x00\x00\x01.", "byte 0: the memo has nothing in that place"),
      ROW("cos", "byte 0: a name has no end"),
      ROW("cos\nsystem", "byte 0: a name has no end"),
      ROW("c\xff\nsystem\n.", "byte 0: a text is not UTF-8 or holds a NUL"),
      ROW("NN\x93.", "byte 2: a class or a function has no name"),
      ROW("N)R.", "byte 2: calls what is no function"),
      ROW("cos\nsystem\nNR.", "byte 12: calls what is no function"),
      ROW("cos\nsystem\n)R)R.", "byte 14: calls what is no function"),
      ROW("N)\x81.", "byte 2: makes an object of what is no class"),
      ROW("cos\nsystem\nN\x81.", "byte 12: makes an object of what is no class"),
      ROW("NNb.", "byte 2: gives a state to what is no object"),
      ROW("cos\nsystem\nNb.", "byte 12: gives a state to what is no object"),
      ROW("NQ.", "byte 1: a reference to a storage is malformed"),
      ROW("(tQ.", "byte 2: a reference to a storage is malformed"),
      ROW("(\x8c\x07storagectorch\nFloatStorage\n\x8c\x02..\x8c\x03" "cpuK\x01tQ.",
          "byte 42: a reference to a storage is malformed"),
      ROW("(\x8c\x07storagectorch\nFloatStorage\n\x8c\x01" "0\x8c\x03" "cpuJ\xff\xff\xff\xfftQ.",
          "byte 44: a reference to a storage is malformed"),
      ROW("(\x8c\x07storagecos\nsystem\n\x8c\x01" "0\x8c\x03" "cpuK\x01tQ.",
          "byte 32: a storage is of a kind that vlpc does not read\n"
          "  found:    os system\n"
          "  expected: torch FloatStorage, HalfStorage, BFloat16Storage, …"),
      ROW(REBUILD ")R.", "byte 34: a tensor's description is malformed"),
      ROW(REBUILD "NR.", "byte 34: calls what is no function"),
      ROW(DICT "N\x85R.", "byte 27: an ordered dictionary is made of something"),
      ROW("ctorch._utils\n_rebuild_parameter\n(N\x89NtR.", "byte 38: a parameter is no tensor"),
      ROW(TENSOR("K\x09", "(t", "(t") ".", "byte 111: a tensor leaves its storage"),
      ROW(TENSOR("K\x08", "(t", "(t") ".", "byte 111: a tensor leaves its storage"),
      ROW(TENSOR("K\x07", "(K\x02t", "(K\x01t") ".", "byte 115: a tensor leaves its storage"),
      ROW(TENSOR("K\x00", "(K\x03t", "(K\x04t") ".", "byte 115: a tensor leaves its storage"),
      ROW(TENSOR("K\x00", "(K\x09t", "(K\x00t") ".", "byte 115: a tensor leaves its storage"),
      ROW(TENSOR("K\x00", "(J\xff\xff\xff\x7fJ\xff\xff\xff\x7fJ\xff\xff\xff\x7ft",
                 "(K\x00K\x00K\x00t") ".",
          "byte 132: a tensor leaves its storage"),
      ROW(TENSOR("K\x00", "(K\x02t", "(\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7ft") ".",
          "byte 123: a tensor leaves its storage"),
      ROW(TENSOR("J\xff\xff\xff\xff", "(t", "(t") ".",
          "byte 114: a tensor's description is malformed"),
      ROW(TENSOR("K\x00", "(J\xff\xff\xff\xfft", "(K\x01t") ".",
          "byte 118: a tensor's description is malformed"),
      ROW(TENSOR("K\x00", "(K\x02t", "(t") ".", "byte 113: a tensor's description is malformed"),
      ROW(TENSOR("K\x00", "(K\x02t", "(Nt") ".", "byte 114: a tensor's description is malformed"),
      ROW(TENSOR("K\x00", "(K\x01K\x01K\x01K\x01K\x01K\x01K\x01K\x01K\x01t",
                 "(K\x01K\x01K\x01K\x01K\x01K\x01K\x01K\x01K\x01t") ".",
          "byte 147: a tensor has more than 8 axes"),
  };
  (void)state;
  for (size_t i = 0; i < VL_COUNT(row); i++) {
    Arena *a = arena_new(1 << 20);
    Diag *d = diag_new();
    const PickleValue *v;
    VlStatus s = read_bytes(row[i].bytes, row[i].n, a, d, &v);
    if (s == VLPC_OK) fail_msg("row %zu is read: %s", i, row[i].error);
    const char *at = strstr(diag_text(d), "x: data.pkl, ");
    if (!at || strncmp(at + 13, row[i].error, strlen(row[i].error)) != 0)
      fail_msg("row %zu: '%s' is not in:\n%s", i, row[i].error, diag_text(d));
    diag_free(d);
    arena_free(a);
  }
}

static const PickleValue *sound(const char *bytes, size_t n, Arena *a) {
  Diag *d = diag_new();
  const PickleValue *v = NULL;
  if (read_bytes(bytes, n, a, d, &v) != VLPC_OK) fail_msg("%s", diag_text(d));
  diag_free(d);
  return v;
}
#define SOUND(bytes, a) sound(bytes, sizeof(bytes) - 1, a)

/* The classic payload: a name, a call, an object, a state; and nothing happens. */
static void calls_give_opaque_values(void **state) {
  (void)state;
  Arena *a = arena_new(0);
  const PickleValue *v = SOUND("cos\nsystem\n\x8c\x09" "exit 3 \\n\x85R.", a);
  assert_int_equal(v->kind, PICKLE_opaque);
  v = SOUND("cbuiltins\neval\n(\x8c\x01" "1tR}b(NNuNNs(Ne.", a);
  assert_int_equal(v->kind, PICKLE_opaque);
  v = SOUND("\x8c\x05posix\x8c\x06system\x93.", a);
  assert_int_equal(v->kind, PICKLE_global);
  assert_string_equal(v->as.text, "posix system");
  v = SOUND("ctorch.optim\nAdam\n)\x81}b.", a);
  assert_int_equal(v->kind, PICKLE_opaque);
  arena_free(a);
}

static void values_are_read(void **state) {
  (void)state;
  Arena *a = arena_new(0);
  const PickleValue *v = SOUND("\x80\x02}(\x8c\x01" "aK\x05\x8c\x01" "bJ\xfe\xff\xff\xff"
                               "\x8c\x01" "c"
                               "\x8a\x02\x00\x80\x8c\x01" "dG\x3f\xe0\x00\x00\x00\x00\x00\x00u"
                               "\x8c\x01" "aK\x06s.", a);
  assert_int_equal(pickle_find(v, "a")->as.i, 6); /* the later of two */
  assert_int_equal(pickle_find(v, "b")->as.i, -2);
  assert_int_equal(pickle_find(v, "c")->as.i, -32768);
  assert_true(pickle_find(v, "d")->as.f == 0.5);
  assert_null(pickle_find(v, "e"));
  v = SOUND(TENSOR("K\x01", "(K\x02K\x03t", "(K\x01K\x02t") ".", a);
  assert_int_equal(v->kind, PICKLE_tensor);
  assert_int_equal(v->as.tensor->offset, 1);
  assert_int_equal(v->as.tensor->size[1], 3);
  assert_int_equal(v->as.tensor->stride[1], 2);
  v = SOUND(TENSOR("K\x08", "(K\x00K\x63t", "(K\x01K\x63t") ".", a); /* empty, at the end */
  assert_int_equal(v->kind, PICKLE_tensor);
  arena_free(a);
}

/* A list in itself and a million of marks, lists and names take no stack and no
** more memory than a multiple of the bytes. */
static void depth_and_cycles_cost_nothing(void **state) {
  (void)state;
  Arena *a = arena_new(0);
  const PickleValue *v = SOUND("]q\x00h\x00" "a.", a);
  assert_ptr_equal(v->as.item[0], v);
  arena_free(a);
  static const char fill[] = {'(', ']', 'N', ')'};
  for (size_t f = 0; f < VL_COUNT(fill); f++) {
    size_t n = 1000000;
    char *bytes = malloc(n);
    memset(bytes, fill[f], n);
    Diag *d = diag_new();
    a = arena_new((size_t)200 << 20);
    assert_int_equal(read_bytes(bytes, n, a, d, &v), VLPC_E_BAD_FILE);
    diag_free(d);
    arena_free(a);
    free(bytes);
  }
  size_t n = (size_t)PICKLE_MAX_BYTES + 1;
  char *bytes = malloc(n);
  memset(bytes, 'N', n);
  Diag *d = diag_new();
  a = arena_new(0);
  assert_int_equal(read_bytes(bytes, n, a, d, &v), VLPC_E_LIMIT);
  assert_string_equal(diag_text(d), "vlpc: error[E0105]: x: data.pkl: the pickle is too long\n"
                                    "  found:    16777217 bytes\n"
                                    "  expected: at most 16777216\n");
  diag_free(d);
  arena_free(a);
  free(bytes);
}

/* The pickle that torch.save wrote, each byte set to many values, cut everywhere, and
** changed in several places at once: an error, or values that can be looked at. */
static void changed_pickles_are_safe(void **state) {
  (void)state;
  Arena *a = arena_new(0);
  uint8_t *file;
  size_t n_file, sound = 0;
  bool all = getenv("VLPC_TEST_LONG") != NULL;
  assert_int_equal(io_read(VLPC_TEST_DIR "/data/forms.pth.tar", 1 << 20, a, NULL, &file, &n_file),
                   VLPC_OK);
  Zip z = {.at = file, .n = n_file, .file = "x", .arena = a, .code = DIAG_CHECKPOINT};
  assert_int_equal(zip_list(&z), VLPC_OK);
  assert_non_null(strstr(z.member[0].name, "/data.pkl"));
  const uint8_t *bytes;
  assert_int_equal(zip_bytes(&z, &z.member[0], &bytes), VLPC_OK);
  size_t n = (size_t)z.member[0].size;
  uint8_t *changed = malloc(n);
  uint32_t seed = 1;
  for (size_t i = 0; i < n * (all ? 256 : 8); i++) {
    Arena *b = arena_new((size_t)64 << 20);
    const PickleValue *v;
    memcpy(changed, bytes, n);
    changed[i % n] = (uint8_t)(all ? i / n : (i / n) * 37 + 40);
    for (int k = 0; k < (int)(i % 3); k++) {
      seed = seed * 1664525u + 1013904223u;
      changed[(seed >> 8) % n] = (uint8_t)(seed >> 24);
    }
    if (read_bytes(changed, n, b, NULL, &v) == VLPC_OK) sound += pickle_find(v, "epoch") != NULL;
    arena_free(b);
  }
  for (size_t i = 0; i < n; i++) {
    Arena *b = arena_new((size_t)64 << 20);
    const PickleValue *v;
    assert_int_equal(read_bytes(bytes, i, b, NULL, &v), VLPC_E_BAD_FILE);
    arena_free(b);
  }
  assert_true(sound > 0);
  free(changed);
  arena_free(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(hostile_pickles_are_errors),
      cmocka_unit_test(calls_give_opaque_values),
      cmocka_unit_test(values_are_read),
      cmocka_unit_test(depth_and_cycles_cost_nothing),
      cmocka_unit_test(changed_pickles_are_safe),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
