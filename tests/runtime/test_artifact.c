/* SPDX-License-Identifier: Apache-2.0 */
/* test_artifact.c - the .vlpc container: what is written is read back, and no
** byte of header, table or padding can change unseen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include "runtime/model.h"
#include "tests/runtime/toy.h"

static char folder[256];
static char path[300];

static int setup(void **state) {
  (void)state;
  toy_folder(folder);
  snprintf(path, sizeof path, "%s/a.vlpc", folder);
  toy_write(path, TOY_SEALED);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  toy_clean(folder);
  return 0;
}

/* A copy of the file to damage. */
typedef struct {
  uint8_t *at;
  uint64_t n;
} Copy;

static Copy copy_file(void) {
  Mapped m;
  assert_int_equal(io_map(path, NULL, &m), VLPC_OK);
  Copy c = {malloc((size_t)m.n), m.n};
  memcpy(c.at, m.at, (size_t)m.n);
  io_unmap(&m);
  return c;
}

/* Opens damaged bytes; the code of the first error, or OK's ''. */
static VlStatus check(const uint8_t *at, uint64_t n, char code[8], char *text, size_t cap) {
  Diag *d = diag_new();
  ArtifactFile f;
  Mapped m = {at, n, "damaged.vlpc"};
  VlStatus s = artifact_check(&m, d, &f);
  assert_int_equal(s, diag_status(d));
  const char *all = diag_text(d), *e = strstr(all, "error[");
  snprintf(code, 8, "%.5s", e ? e + 6 : "");
  if (text) snprintf(text, cap, "%s", all);
  if (s != VLPC_OK) assert_non_null(strstr(all, "damaged.vlpc"));
  diag_free(d);
  return s;
}

/* Header and table are hashed again, so that inner checks are reached. */
static void rehash(Copy c) {
  ArtifactHeader h;
  memcpy(&h, c.at, sizeof h);
  XXH128_canonical_t canon;
  XXH64_hash_t seed = XXH3_64bits(c.at, offsetof(ArtifactHeader, hash));
  XXH128_canonicalFromHash(&canon, XXH3_128bits_withSeed(c.at + sizeof h,
                                                         h.n_sections * sizeof(ArtifactRow), seed));
  memcpy(c.at + offsetof(ArtifactHeader, hash), canon.digest, 16);
}

static void reads_what_was_written(void **state) {
  (void)state;
  ArtifactFile f;
  assert_int_equal(artifact_map(path, NULL, &f), VLPC_OK);
  assert_int_equal(f.header.n_sections, 7);
  Section k = artifact_section(&f, SECTION_kernels), c = artifact_section(&f, SECTION_classes);
  assert_int_equal(k.bytes, 4);
  assert_memory_equal(k.at, "toy!", 4);
  assert_memory_equal(c.at, "cat\ndog\n", 8);
  assert_null(artifact_section(&f, SECTION_graph).at);
  for (uint32_t i = 0; i < f.header.n_sections; i++) assert_int_equal(f.row[i].offset % 4096, 0);
  assert_int_equal(artifact_check_weights(&f, NULL), VLPC_OK);
  artifact_unmap(&f);
}

static void equal_inputs_give_equal_bytes(void **state) {
  (void)state;
  char other[300];
  snprintf(other, sizeof other, "%s/b.vlpc", folder);
  toy_write(other, TOY_SEALED);
  Copy a = copy_file();
  Mapped b;
  assert_int_equal(io_map(other, NULL, &b), VLPC_OK);
  assert_int_equal(a.n, b.n);
  assert_memory_equal(a.at, b.at, (size_t)b.n);
  io_unmap(&b);
  free(a.at);
}

static void every_cut_is_an_error(void **state) {
  (void)state;
  Copy c = copy_file();
  char code[8];
  assert_true(c.n <= 65536);
  for (uint64_t n = 0; n < c.n; n++) {
    uint8_t *exact = malloc((size_t)n + !n); /* so that a read past the cut is caught */
    memcpy(exact, c.at, (size_t)n);
    assert_int_equal(check(exact, n, code, NULL, 0), VLPC_E_BAD_FILE);
    assert_string_equal(code, n == 0 ? "E0501" : "E0505");
    free(exact);
  }
  free(c.at);
}

/* Eight single bits, all zeros and all ones at every byte of the first page,
** which holds header, table and padding. */
static void every_flip_of_the_head_is_an_error(void **state) {
  (void)state;
  Copy c = copy_file();
  char code[8];
  for (uint32_t at = 0; at < ARTIFACT_ALIGN; at++) {
    uint8_t old = c.at[at];
    for (int k = 0; k < 10; k++) {
      c.at[at] = k < 8 ? (uint8_t)(old ^ (1u << k)) : k == 8 ? 0 : 0xff;
      if (c.at[at] == old) continue;
      assert_int_not_equal(check(c.at, c.n, code, NULL, 0), VLPC_OK);
      if (at < 8) assert_string_equal(code, "E0501");
      else if (at < 12) assert_string_equal(code, "E0503");
      else if (at < 16) assert_string_equal(code, "E0504");
    }
    c.at[at] = old;
  }
  assert_int_equal(check(c.at, c.n, code, NULL, 0), VLPC_OK);
  free(c.at);
}

/* With the head's hash made right again: the error then comes from what the
** fields say, and nothing is read outside the file. */
static void every_flip_with_a_right_hash_is_safe(void **state) {
  (void)state;
  Copy c = copy_file();
  Copy whole = copy_file();
  char code[8];
  for (uint32_t at = 16; at < 64 + 7 * sizeof(ArtifactRow); at++) {
    if (at >= 48 && at < 64) continue;
    for (int k = 0; k < 10; k++) {
      memcpy(c.at, whole.at, ARTIFACT_ALIGN);
      c.at[at] = k < 8 ? (uint8_t)(c.at[at] ^ (1u << k)) : k == 8 ? 0 : 0xff;
      if (c.at[at] == whole.at[at]) continue;
      ArtifactHeader h;
      memcpy(&h, c.at, sizeof h);
      if (h.n_sections <= ARTIFACT_MAX_SECTIONS) rehash(c);
      VlStatus s = check(c.at, c.n, code, NULL, 0);
      /* a row's flags may be 0, a kind may become another that fits its place; weights
      ** are hashed on request only, so they may also take in some padding */
      uint32_t in_row = (at - 64) % (uint32_t)sizeof(ArtifactRow);
      bool weights = at >= 64 && (at - 64) / sizeof(ArtifactRow) == 3;
      bool may_pass =
          at >= 64 && (in_row == 4 || in_row == 0 || (weights && in_row >= 16 && in_row < 40));
      if (!may_pass) assert_int_not_equal(s, VLPC_OK);
    }
  }
  free(c.at), free(whole.at);
}

static void a_flip_in_any_section_is_found(void **state) {
  (void)state;
  Copy c = copy_file();
  char code[8];
  ArtifactFile f;
  Mapped m = {c.at, c.n, path};
  assert_int_equal(artifact_check(&m, NULL, &f), VLPC_OK);
  for (uint32_t i = 0; i < f.header.n_sections; i++) {
    uint64_t at = f.row[i].offset + f.row[i].bytes / 2;
    c.at[at] ^= 4;
    bool weights = f.row[i].kind == SECTION_weights;
    VlStatus s = check(c.at, c.n, code, NULL, 0);
    assert_int_equal(s, weights ? VLPC_OK : VLPC_E_CORRUPT);
    assert_string_equal(code, weights ? "" : "E0506");
    assert_int_equal(artifact_check_weights(&f, NULL), weights ? VLPC_E_CORRUPT : VLPC_OK);
    c.at[at] ^= 4;
  }
  free(c.at);
}

static void padding_must_be_zero(void **state) {
  (void)state;
  Copy c = copy_file();
  char code[8];
  ArtifactFile f;
  Mapped m = {c.at, c.n, path};
  assert_int_equal(artifact_check(&m, NULL, &f), VLPC_OK);
  c.at[f.row[1].offset - 1] = 1;
  assert_int_equal(check(c.at, c.n, code, NULL, 0), VLPC_E_BAD_FILE);
  assert_string_equal(code, "E0507");
  free(c.at);
}

static void messages_say_what_to_do(void **state) {
  (void)state;
  Copy c = copy_file();
  char code[8], text[2000];
  uint32_t version = 9;
  memcpy(c.at + 8, &version, 4);
  assert_int_equal(check(c.at, c.n, code, text, sizeof text), VLPC_E_UNSUPPORTED);
  assert_non_null(strstr(text, "container version 9"));
  assert_non_null(strstr(text, "version 1 to 1, which vlpc 0.1.0 reads"));
  assert_non_null(strstr(text, "vlpc compile MODEL.onnx -o OUT.vlpc"));
  assert_int_equal(check((const uint8_t *)"\x89PNG", 4, code, text, sizeof text),
                   VLPC_E_BAD_FILE);
  assert_non_null(strstr(text, "error[E0501]: damaged.vlpc: not a vlpc artifact"));
  assert_non_null(strstr(text, "89 50 4e 47"));
  free(c.at);
}

/* ---- tables that lie, with right hashes --------------------------------- */

typedef struct {
  uint32_t row;
  ArtifactRow value;
  const char *code;
} Lie;

static void lying_rows_are_errors(void **state) {
  (void)state;
  Copy c = copy_file();
  ArtifactRow row[7];
  char code[8];
  memcpy(row, c.at + 64, sizeof row);
  Lie lies[] = {
      {1, row[1], "E0507"}, {1, row[1], "E0507"}, {1, row[1], "E0507"}, {6, row[6], "E0508"},
      {6, row[6], "E0507"}, {0, row[0], "E0508"}, {5, row[5], "E0507"},
  };
  lies[0].value.offset += 64;              /* not aligned */
  lies[1].value.offset = row[0].offset;    /* overlaps */
  lies[2].value.bytes = UINT64_MAX - 4096; /* wraps */
  lies[3].value.kind = 77;                 /* required and unknown */
  lies[4].value.flags = 2;                 /* unknown flag */
  lies[5].value.kind = SECTION_graph;      /* no manifest any more */
  lies[6].value.kind = row[4].kind;        /* twice the same */
  for (size_t i = 0; i < VL_COUNT(lies); i++) {
    memcpy(c.at + 64, row, sizeof row);
    memcpy(c.at + 64 + lies[i].row * sizeof row[0], &lies[i].value, sizeof row[0]);
    rehash(c);
    assert_int_not_equal(check(c.at, c.n, code, NULL, 0), VLPC_OK);
    if (i != 5) assert_string_equal(code, lies[i].code);
  }
  free(c.at);
}

static void unknown_optional_sections_are_skipped(void **state) {
  (void)state;
  Copy c = copy_file();
  ArtifactRow row;
  char code[8];
  memcpy(&row, c.at + 64 + 6 * sizeof row, sizeof row);
  row.kind = 77;
  row.flags = 0;
  memcpy(c.at + 64 + 6 * sizeof row, &row, sizeof row);
  rehash(c);
  assert_int_equal(check(c.at, c.n, code, NULL, 0), VLPC_OK);
  free(c.at);
}

/* ---- above the container ------------------------------------------------ */

/* The file's bytes in memory, under a path: this is done some thousand times. */
static void write_memory(int fd, Copy c) {
  assert_int_equal(pwrite(fd, c.at, (size_t)c.n, 0), c.n);
}

/* Every byte of program and manifest with right hashes throughout: opening
** gives an error or a model, never a crash. */
static void flipped_sections_with_right_hashes_are_safe(void **state) {
  (void)state;
  Copy whole = copy_file();
  Copy c = copy_file();
  char bad[300];
  ArtifactRow row[7];
  int fd = memfd_create("bad.vlpc", MFD_CLOEXEC);
  assert_true(fd >= 0);
  snprintf(bad, sizeof bad, "/proc/self/fd/%d", fd);
  memcpy(row, c.at + 64, sizeof row);
  vlpc_artifact_options o = {0};
  uint32_t opened = 0, refused = 0;
  for (int r = 0; r < 2; r++) {
    for (uint64_t i = 0; i < row[r].bytes; i++) {
      memcpy(c.at, whole.at, (size_t)whole.n);
      c.at[row[r].offset + i] ^= (uint8_t)(1u << (i % 8));
      XXH128_canonical_t canon;
      XXH128_canonicalFromHash(&canon,
                               XXH3_128bits(c.at + row[r].offset, (size_t)row[r].bytes));
      memcpy(c.at + 64 + (size_t)r * sizeof row[0] + offsetof(ArtifactRow, hash), canon.digest, 16);
      rehash(c);
      write_memory(fd, c);
      Model *m;
      Diag *d = diag_new();
      if (model_open(bad, &o, d, &m) == VLPC_OK) opened++, model_release(m);
      else refused++, assert_int_not_equal(diag_count(d), 0);
      diag_free(d);
    }
  }
  assert_true(opened > 0 && refused > opened / 4);
  close(fd);
  free(c.at), free(whole.at);
}

static void manifest_must_fit_the_program(void **state) {
  (void)state;
  static const char *const texts[] = {
      "", "[1]", "{}", "{\"compiler\": 3}", "{\"compiler\":\"a\",\"compiler\":\"b\"}",
      "{\"compiler\":\"0\",\"model\":\"m\",\"precision\":\"p\",\"image_size\":-1}",
  };
  Program p = {0};
  for (size_t i = 0; i < VL_COUNT(texts); i++) {
    Arena *a = arena_new(0);
    Diag *d = diag_new();
    Manifest m;
    assert_int_equal(manifest_read(texts[i], strlen(texts[i]), &p, a, "x.vlpc", d, &m),
                     VLPC_E_BAD_FILE);
    assert_non_null(strstr(diag_text(d), "error[E0509]: x.vlpc: manifest: "));
    diag_free(d);
    arena_free(a);
  }
}

/* Text features of the toy's two classes, four numbers each. */
static void features_must_fit_the_classes(void **state) {
  static const struct {
    size_t n;
    float third;
    const char *error; /* NULL: opens */
  } row[] = {{8, 3, NULL},
             {7, 3, "not one row of features for each class"},
             {12, 3, "not one row of features for each class"},
             {8, NAN, "a feature is not finite"}};
  char to[300];
  (void)state;
  snprintf(to, sizeof to, "%s/features.vlpc", folder);
  for (size_t i = 0; i < VL_COUNT(row); i++) {
    float x[12] = {0, 0, row[i].third};
    vlpc_artifact *a;
    Str bytes = {.at = (char *)x, .n = row[i].n * sizeof *x};
    assert_int_equal(artifact_append(path, to, SECTION_features, &bytes, NULL), VLPC_OK);
    assert_int_equal(vlpc_artifact_open(to, NULL, &a), row[i].error ? VLPC_E_BAD_FILE : VLPC_OK);
    if (row[i].error) assert_non_null(strstr(vlpc_artifact_error(a), row[i].error));
    vlpc_artifact_close(a);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(reads_what_was_written),
      cmocka_unit_test(equal_inputs_give_equal_bytes),
      cmocka_unit_test(every_cut_is_an_error),
      cmocka_unit_test(every_flip_of_the_head_is_an_error),
      cmocka_unit_test(every_flip_with_a_right_hash_is_safe),
      cmocka_unit_test(a_flip_in_any_section_is_found),
      cmocka_unit_test(padding_must_be_zero),
      cmocka_unit_test(messages_say_what_to_do),
      cmocka_unit_test(lying_rows_are_errors),
      cmocka_unit_test(unknown_optional_sections_are_skipped),
      cmocka_unit_test(flipped_sections_with_right_hashes_are_safe),
      cmocka_unit_test(features_must_fit_the_classes),
      cmocka_unit_test(manifest_must_fit_the_program),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
