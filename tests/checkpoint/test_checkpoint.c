/* SPDX-License-Identifier: Apache-2.0 */
/* test_checkpoint.c - checkpoints of the papers' own code give the numbers that
** this code computed; archives that lie are errors in words; what is written is
** what torch.load reads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/npz.h"
#include "base/zip.h"
#include "checkpoint/checkpoint.h"

#define DATA VLPC_TEST_DIR "/data/"

typedef struct {
  Arena *a;
  Diag *d;
  char path[64];
} Setup;

static int begin(void **state) {
  Setup *s = calloc(1, sizeof *s);
  s->a = arena_new(0);
  s->d = diag_new();
  snprintf(s->path, sizeof s->path, "%s/vlpc-checkpoint-XXXXXX", P_tmpdir);
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

static const float *floats(Setup *s, const Checkpoint *c, const char *name, uint64_t *n) {
  const CheckpointTensor *t = checkpoint_find(c, name);
  if (!t) fail_msg("no key '%s'", name);
  float *out = NULL;
  if (checkpoint_floats(c, t, s->d, &out) != VLPC_OK) fail_msg("%s", diag_text(s->d));
  *n = 1;
  for (uint32_t i = 0; i < t->rank; i++) *n *= (uint64_t)t->size[i];
  return out;
}

static void read_or_fail(Setup *s, const char *path, Checkpoint *c) {
  if (checkpoint_read(path, s->a, s->d, c) != VLPC_OK) fail_msg("%s", diag_text(s->d));
}

/* ---- the papers' own ---------------------------------------------------- */

/* Arrays "CASE/KEY" whole, or rows of them as "CASE/KEY#rows" at "#rowidx". */
static void check_case(Setup *s, const char *name, const char *path) {
  Npz z;
  Checkpoint c;
  size_t n_name = strlen(name);
  uint32_t checked = 0;
  assert_int_equal(npz_read(DATA "after3.npz", s->a, s->d, &z), VLPC_OK);
  read_or_fail(s, path, &c);
  assert_int_equal(c.epoch, 1);
  for (uint32_t i = 0; i < z.n; i++) {
    const NpyArray *x = &z.at[i];
    const char *key = x->name + n_name + 1, *tail = strchr(key, '#');
    if (strncmp(x->name, name, n_name) != 0 || (tail && strcmp(tail, "#rows") != 0)) continue;
    char *plain = arena_strndup(s->a, key, tail ? (size_t)(tail - key) : strlen(key));
    uint64_t n;
    const float *got = floats(s, &c, plain, &n), *want = x->data;
    const NpyArray *rows = tail ? npz_find(&z, arena_printf(s->a, "%s/%s#rowidx", name, plain)) : 0;
    for (int64_t r = 0; r < x->size[0]; r++) {
      int64_t from = rows ? dtype_load_i64(rows->dtype, rows->data, r) : r;
      assert_memory_equal(got + from * x->size[1], want + r * x->size[1],
                          (size_t)x->size[1] * sizeof *got);
    }
    checked++;
  }
  assert_true(checked > 0);
}

static const char *const cases[] = {"coop_end_m4", "kgcoop_w8", "provp_m8", "vpt_deep_m4_d3"};

static void official_checkpoints_hold_what_their_code_computed(void **state) {
  Setup *s = *state;
  const char *root = getenv("VLPC_SHARED");
  for (size_t i = 0; i < VL_COUNT(cases); i++) {
    check_case(s, cases[i], arena_printf(s->a, DATA "%s.pth.tar", cases[i]));
    const char *whole =
        arena_printf(s->a, "%s/data/official/checkpoints/%s.pth.tar", root ? root : "", cases[i]);
    if (root && access(whole, R_OK) == 0) check_case(s, cases[i], whole);
  }
}

static void every_form_of_a_tensor_is_read(void **state) {
  static const struct {
    const char *name;
    uint32_t rank;
    int64_t size[3];
    float at[3]; /* first, second, last */
  } row[] = {{"f32", 2, {4, 6}, {0, 1, 23}},      {"turned", 2, {6, 4}, {0, 6, 23}},
             {"part", 2, {2, 3}, {8, 9, 16}},     {"f16", 2, {2, 12}, {0, 1, 23}},
             {"bf16", 1, {24}, {0, 1, 23}},       {"f64", 3, {2, 3, 4}, {0, 1, 23}},
             {"parameter", 1, {6}, {0, 1, 5}}};
  Setup *s = *state;
  Checkpoint c;
  uint64_t n;
  read_or_fail(s, DATA "forms.pth.tar", &c);
  assert_int_equal(c.n, 10);
  assert_int_equal(c.epoch, 3);
  for (size_t i = 0; i < VL_COUNT(row); i++) {
    const float *x = floats(s, &c, row[i].name, &n);
    const CheckpointTensor *t = checkpoint_find(&c, row[i].name);
    assert_int_equal(t->rank, row[i].rank);
    for (uint32_t k = 0; k < t->rank; k++) assert_int_equal(t->size[k], row[i].size[k]);
    assert_true(x[0] == row[i].at[0] && x[1] == row[i].at[1] && x[n - 1] == row[i].at[2]);
  }
  assert_true(floats(s, &c, "scalar", &n)[0] == 4.5f && n == 1);
  floats(s, &c, "empty", &n);
  assert_int_equal(n, 0);
  float *out;
  assert_int_equal(checkpoint_floats(&c, checkpoint_find(&c, "steps"), s->d, &out),
                   VLPC_E_UNSUPPORTED);
  assert_string_equal(diag_text(s->d), "vlpc: error[E1012]: " DATA "forms.pth.tar: key 'steps': "
                                       "the tensor's elements are no floats\n"
                                       "  found:    i64\n");
  read_or_fail(s, DATA "plain.pt", &c); /* protocol 4, the dictionary itself */
  assert_true(floats(s, &c, "b", &n)[1] == 1 && n == 2 && c.epoch == -1);
}

/* ---- files that are none ------------------------------------------------ */

static void check_error(Setup *s, VlStatus want, const char *text) {
  Checkpoint c;
  diag_clear(s->d);
  VlStatus got = checkpoint_read(s->path, s->a, s->d, &c);
  const char *full = arena_printf(s->a, "vlpc: error[%s]: %s: %s\n",
                                  want == VLPC_E_UNSUPPORTED ? "E1012" : "E1011", s->path, text);
  assert_string_equal(diag_text(s->d), full);
  assert_int_equal(got, want);
}

static void other_files_are_errors(void **state) {
  Setup *s = *state;
  Checkpoint c;
  assert_int_equal(checkpoint_read(DATA "old.pth", s->a, s->d, &c), VLPC_E_UNSUPPORTED);
  assert_string_equal(
      diag_text(s->d),
      "vlpc: error[E1012]: " DATA "old.pth: was saved in PyTorch's old format\n"
      "  expected: a zip archive, as torch.save writes since 1.6\n"
      "  fix:      write it anew: python3 -c \"import sys, torch; f = sys.argv[1]; "
      "torch.save(torch.load(f, 'cpu', weights_only=False), f)\" FILE (it runs what the file asks "
      "for: only when you trust it)\n");
  assert_int_equal(io_write_file(s->path, "", 0, NULL), VLPC_OK);
  check_error(s, VLPC_E_BAD_FILE, "is no PyTorch checkpoint: not a zip archive");
  assert_int_equal(io_write_file(s->path, "ustar and more", 14, NULL), VLPC_OK);
  check_error(s, VLPC_E_BAD_FILE, "is no PyTorch checkpoint: not a zip archive");
  assert_int_equal(io_write_file(s->path, "PK\3\4", 4, NULL), VLPC_OK);
  check_error(s, VLPC_E_BAD_FILE, "not a zip archive");
}

static void every_cut_is_an_error(void **state) {
  Setup *s = *state;
  uint8_t *file;
  size_t n;
  assert_int_equal(io_read(DATA "forms.pth.tar", 1 << 20, s->a, s->d, &file, &n), VLPC_OK);
  for (size_t i = 0; i < n; i++) {
    Arena *a = arena_new(0);
    Checkpoint c;
    uint8_t *cut = malloc(i + 1); /* so that a sanitizer sees a read past it */
    memcpy(cut, file, i);
    assert_int_equal(checkpoint_parse(cut, i, "x", a, s->d, &c), VLPC_E_BAD_FILE);
    free(cut);
    arena_free(a);
  }
}

/* Every byte changed: an error, or tensors that can be read. */
static void every_flip_is_safe(void **state) {
  Setup *s = *state;
  uint8_t *file;
  size_t n, read = 0;
  bool all = getenv("VLPC_TEST_LONG") != NULL;
  assert_int_equal(io_read(DATA "forms.pth.tar", 1 << 20, s->a, s->d, &file, &n), VLPC_OK);
  for (size_t i = 0; i < n; i++) {
    for (int k = 0; k < (all ? 8 : 2); k++) {
      Arena *a = arena_new((size_t)64 << 20);
      Checkpoint c;
      float *out;
      file[i] ^= (uint8_t)(all ? 1 << k : k ? 0x80 : 0x01);
      if (checkpoint_parse(file, n, "x", a, NULL, &c) == VLPC_OK) {
        for (uint32_t t = 0; t < c.n; t++) read += checkpoint_floats(&c, &c.at[t], NULL, &out) == 0;
      }
      file[i] ^= (uint8_t)(all ? 1 << k : k ? 0x80 : 0x01);
      arena_free(a);
    }
  }
  assert_true(read > 0);
}

/* ---- archives that lie -------------------------------------------------- */

typedef struct {
  const char *name, *bytes;
  size_t n;
} Part;

static void write_archive(Setup *s, const Part *part, size_t n) {
  ZipWriter z = {.arena = s->a};
  assert_int_equal(io_create(s->path, s->d, &z.file), VLPC_OK);
  for (size_t i = 0; i < n; i++)
    assert_int_equal(zip_add(&z, part[i].name, 1, &(ZipSpan){part[i].bytes, part[i].n}, 1), 0);
  assert_int_equal(zip_finish(&z), VLPC_OK);
  assert_int_equal(io_commit(z.file), VLPC_OK);
}

#define DICT "ccollections\nOrderedDict\n"
#define TENSOR(n) \
  "ctorch._utils\n_rebuild_tensor_v2\n((\x8c\x07storagectorch\nFloatStorage\n\x8c\x01" "0" \
  "\x8c\x03" "cpu" n "tQK\x00(K\x02t(K\x01t\x89" DICT ")RtR"
#define PART(name, bytes) {name, bytes, sizeof(bytes) - 1}

static void archives_that_lie_are_errors(void **state) {
  static const struct {
    Part part[3];
    VlStatus status;
    const char *error;
  } row[] = {
      {{PART("a/data.txt", "N.")}, VLPC_E_BAD_FILE, "the archive has no member data.pkl"},
      {{PART("data.pkl", "N.")}, VLPC_E_BAD_FILE, "the archive has no member data.pkl"},
      {{PART("a/data.pkl", "}."), PART("b/data.pkl", "}.")}, VLPC_E_BAD_FILE,
       "the archive has two members data.pkl"},
      {{PART("a/data.pkl", "}."), PART("a/data.pkl", "}.")}, VLPC_E_BAD_FILE,
       "member 'a/data.pkl': the archive has two members of this name"},
      {{PART("a/data.pkl", "}."), PART("a/byteorder", "big")}, VLPC_E_UNSUPPORTED,
       "member 'byteorder': the byte order is not little-endian"},
      {{PART("a/data.pkl", "N.")}, VLPC_E_BAD_FILE,
       "member 'data.pkl': holds no state dictionary\n  found:    None"},
      {{PART("a/data.pkl", "cos\nsystem\n\x8c\x04true\x85R.")}, VLPC_E_BAD_FILE,
       "member 'data.pkl': holds no state dictionary\n  found:    an object"},
      {{PART("a/data.pkl", "}\x8c\x0astate_dict]s.")}, VLPC_E_BAD_FILE,
       "member 'data.pkl': holds no state dictionary\n  found:    a list"},
      {{PART("a/data.pkl", "}\x8c\x0astate_dict}\x8c\x03" "ctxcos\nsystem\n\x8c\x04true\x85Rss.")},
       VLPC_E_BAD_FILE,
       "state_dict, key 'ctx': the value is no tensor\n  found:    an object"},
      {{PART("a/data.pkl", "}\x8c\x0astate_dict}K\x01K\x02ss.")}, VLPC_E_BAD_FILE,
       "state_dict: a key is no text"},
      {{PART("a/data.pkl",
             "}\x8c\x0astate_dict}(\x8c\x01" "a" TENSOR("K\x02") "\x8c\x08module.a" TENSOR("K\x02")
             "us.")},
       VLPC_E_BAD_FILE, "state_dict, key 'a': the key is there twice"},
  };
  Setup *s = *state;
  for (size_t i = 0; i < VL_COUNT(row); i++) {
    size_t n = 0;
    while (n < 3 && row[i].part[n].name) n++;
    write_archive(s, row[i].part, n);
    check_error(s, row[i].status, row[i].error);
  }
}

static void storages_that_lie_are_errors(void **state) {
  static const struct {
    Part part[2];
    const char *error;
  } row[] = {
      {{PART("a/data.pkl", "}\x8c\x01" "w" TENSOR("K\x02") "s."), PART("a/other", "x")},
       "key 'w': the archive lacks the tensor's storage\n  expected: a member a/data/0"},
      {{PART("a/data.pkl", "}\x8c\x01" "w" TENSOR("K\x02") "s."), PART("a/data/0", "1234567")},
       "key 'w': the storage's bytes do not match its elements\n"
       "  found:    7 bytes\n  expected: 2 elements of f32"},
      {{PART("a/data.pkl", "}\x8c\x01" "w" TENSOR("\x8a\x08\x02\0\0\0\0\0\0\x40") "s."),
        PART("a/data/0", "12345678")},
       "key 'w': the storage's bytes do not match its elements\n"
       "  found:    8 bytes\n  expected: 4611686018427387906 elements of f32"},
  };
  Setup *s = *state;
  for (size_t i = 0; i < VL_COUNT(row); i++) {
    Checkpoint c;
    float *out;
    write_archive(s, row[i].part, 2);
    read_or_fail(s, s->path, &c);
    diag_clear(s->d);
    assert_int_equal(checkpoint_floats(&c, &c.at[0], s->d, &out), VLPC_E_BAD_FILE);
    assert_string_equal(diag_text(s->d), arena_printf(s->a, "vlpc: error[E1011]: %s: %s\n",
                                                      s->path, row[i].error));
  }
}

/* The central directory of an archive of two members, changed in one field. */
static void directories_that_lie_are_errors(void **state) {
  static const struct {
    size_t field, n; /* in the second member's row */
    uint32_t value;
    VlStatus status;
    const char *error;
  } row[] = {
      {42, 4, 0, VLPC_E_BAD_FILE, "member 'a/x': the member shares bytes with another part"},
      {42, 4, 0x7fffffff, VLPC_E_BAD_FILE,
       "member 'a/x': the member's header lies outside the file"},
      {42, 4, 10, VLPC_E_BAD_FILE, "member 'a/x': the member's header lies outside the file"},
      {20, 4, 0x7fffffff, VLPC_E_BAD_FILE, "member 'a/x': the member is cut short"},
      {20, 4, 30, VLPC_E_BAD_FILE, "member 'a/x': the member shares bytes with another part"},
      {28, 2, 0xffff, VLPC_E_BAD_FILE, "the archive's directory is damaged"},
      {0, 4, 0, VLPC_E_BAD_FILE, "the archive's directory is damaged"},
  };
  Setup *s = *state;
  static const Part part[] = {PART("a/data.pkl", "}."), PART("a/x", "123")};
  for (size_t i = 0; i < VL_COUNT(row); i++) {
    uint8_t *file;
    size_t n;
    write_archive(s, part, 2);
    assert_int_equal(io_read(s->path, 4096, s->a, s->d, &file, &n), VLPC_OK);
    size_t at = n - 22 - (46 + 3) + row[i].field;
    for (size_t k = 0; k < row[i].n; k++) file[at + k] = (uint8_t)(row[i].value >> (8 * k));
    assert_int_equal(io_write_file(s->path, file, n, s->d), VLPC_OK);
    check_error(s, row[i].status, row[i].error);
  }
}

static void compressed_members_are_errors(void **state) {
  Setup *s = *state;
  static const Part part[] = {PART("a/data.pkl", "}.")};
  uint8_t *file;
  size_t n;
  write_archive(s, part, 1);
  assert_int_equal(io_read(s->path, 4096, s->a, s->d, &file, &n), VLPC_OK);
  file[n - 22 - (46 + 10) + 10] = 8;
  assert_int_equal(io_write_file(s->path, file, n, s->d), VLPC_OK);
  check_error(s, VLPC_E_UNSUPPORTED,
              "member 'a/data.pkl': the member is compressed, which torch.save never does");
}

/* ---- writing ------------------------------------------------------------ */

static void what_is_written_is_what_torch_load_read(void **state) {
  Setup *s = *state;
  float x[6] = {0, 1, 2, 3, 4, 5}, y[1] = {-0.5f}, big[300];
  for (int i = 0; i < 300; i++) big[i] = (float)i / 4;
  const CheckpointFloats t[] = {{"prompt_learner.ctx", 2, {2, 3}, x},
                                {"scalar", 0, {0}, y},
                                {"proj.weight", 2, {1, 300}, big},
                                {"empty", 2, {0, 3}, x}};
  const char *golden = DATA "written.pth.tar";
  assert_int_equal(checkpoint_write(s->path, t, VL_COUNT(t), 70000, s->a, s->d), VLPC_OK);
  if (getenv("VLPC_BLESS")) /* then scripts/golden/prompts.py check written.pth.tar */
    assert_int_equal(checkpoint_write(golden, t, VL_COUNT(t), 70000, s->a, s->d), VLPC_OK);
  uint8_t *got, *want;
  size_t n_got, n_want;
  assert_int_equal(io_read(s->path, 1 << 20, s->a, s->d, &got, &n_got), VLPC_OK);
  assert_int_equal(io_read(golden, 1 << 20, s->a, s->d, &want, &n_want), VLPC_OK);
  assert_int_equal(n_got, n_want);
  assert_memory_equal(got, want, n_want);
  Checkpoint c;
  uint64_t n;
  read_or_fail(s, s->path, &c);
  assert_true(c.n == 4 && c.epoch == 70000);
  assert_memory_equal(floats(s, &c, "prompt_learner.ctx", &n), x, sizeof x);
  assert_memory_equal(floats(s, &c, "proj.weight", &n), big, sizeof big);
  assert_memory_equal(floats(s, &c, "scalar", &n), y, sizeof y);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(official_checkpoints_hold_what_their_code_computed),
      TEST(every_form_of_a_tensor_is_read),
      TEST(other_files_are_errors),
      TEST(every_cut_is_an_error),
      TEST(every_flip_is_safe),
      TEST(archives_that_lie_are_errors),
      TEST(storages_that_lie_are_errors),
      TEST(directories_that_lie_are_errors),
      TEST(compressed_members_are_errors),
      TEST(what_is_written_is_what_torch_load_read),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
