/* SPDX-License-Identifier: Apache-2.0 */
/* test_keys.c - every method's prompt set becomes checkpoints and comes back the
** same; what does not belong is an error in words; the table is in the docs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/npz.h"
#include "base/vec.h"
#include "checkpoint/keys_int.h"

#define DATA VLPC_TEST_DIR "/data/"

typedef struct {
  Arena *a;
  Diag *d;
  char folder[64];
} Setup;

static int begin(void **state) {
  Setup *s = calloc(1, sizeof *s);
  s->a = arena_new(0);
  s->d = diag_new();
  snprintf(s->folder, sizeof s->folder, "%s/vlpc-keys-XXXXXX", P_tmpdir);
  *state = s;
  return mkdtemp(s->folder) == NULL;
}

static int end(void **state) {
  Setup *s = *state;
  rmdir(s->folder);
  arena_free(s->a);
  diag_free(s->d);
  free(s);
  return 0;
}

/* ---- there and back ----------------------------------------------------- */

typedef VEC(SafeTensor) Tensors;

static void add_tensor(Setup *s, Tensors *v, const char *name) {
  float *x = arena_array(s->a, float, 6);
  for (int i = 0; i < 6; i++) x[i] = (float)(10 * v->n) + (float)i;
  *vec_push(s->a, v) = (SafeTensor){name, VLPC_F32, 2, {2, 3}, x, 6 * sizeof *x};
}

/* Two of each trainable with a number, one of each other. */
static Safetensors make_set(Setup *s, const char *method) {
  uint32_t n;
  const KeyRow *row = keys_of(method, &n);
  Tensors v = {0};
  for (uint32_t i = 0; i < n; i++) {
    if (!row[i].trainable) continue;
    uint32_t many = strchr(row[i].trainable, '#') ? 2 : 1;
    for (uint32_t k = 0; k < many; k++)
      add_tensor(s, &v, keys_name(row[i].trainable, row[i].first + k, s->a));
  }
  return (Safetensors){.at = v.at, .n = v.n};
}

/* Removes files, and of several the folders that hold them. */
static void clean(Setup *s, const char *const *file, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    unlink(file[i]);
    const char *slash = strrchr(file[i], '/');
    if (n > 1) rmdir(arena_strndup(s->a, file[i], (size_t)(slash - file[i])));
  }
  rmdir(arena_printf(s->a, "%s/x", s->folder));
}

static void every_method_goes_there_and_back(void **state) {
  Setup *s = *state;
  const char **method, **file, **folder;
  uint32_t n = keys_methods(s->a, &method);
  assert_int_equal(n, 16);
  for (uint32_t i = 0; i < n; i++) {
    Safetensors set = make_set(s, method[i]), back;
    uint32_t parts = keys_folders(method[i], s->a, &folder);
    const char *path = arena_printf(s->a, parts == 1 ? "%s/x.pth.tar" : "%s/x", s->folder);
    if (keys_export(method[i], &set, "x", path, s->a, s->d, &file) != VLPC_OK ||
        keys_import(method[i], file, parts, s->a, s->d, &back) != VLPC_OK)
      fail_msg("%s: %s", method[i], diag_text(s->d));
    assert_int_equal(back.n, set.n);
    for (uint32_t k = 0; k < set.n; k++) {
      const SafeTensor *x = safetensors_find(&back, set.at[k].name);
      assert_true(x && x->dtype == VLPC_F32 && x->rank == 2 && x->size[0] == 2 && x->size[1] == 3);
      assert_memory_equal(x->data, set.at[k].data, 24);
    }
    clean(s, file, parts);
  }
}

static void official_checkpoints_give_their_trainables(void **state) {
  static const struct {
    const char *method, *file, *array, *name;
    uint32_t n;
  } row[] = {
      {"coop", "coop_end_m4", "coop_end_m4/ctx", "ctx", 1},
      {"kgcoop", "kgcoop_w8", "kgcoop_w8/ctx", "ctx", 1},
      {"provp", "provp_m8", "provp_m8/prompt_embeddings#rows", "prompt_embeddings", 1},
      {"vpt-deep", "vpt_deep_m4_d3", "vpt_deep_m4_d3/image_encoder.VPT", "VPT", 3},
      {"vpt-deep", "vpt_deep_m4_d3",
       "vpt_deep_m4_d3/image_encoder.transformer.resblocks.2.VPT_shallow",
       "resblocks.2.VPT_shallow", 3},
  };
  Setup *s = *state;
  Npz z;
  assert_int_equal(npz_read(DATA "after3.npz", s->a, s->d, &z), VLPC_OK);
  for (size_t i = 0; i < VL_COUNT(row); i++) {
    const char *path = arena_printf(s->a, DATA "%s.pth.tar", row[i].file);
    Safetensors set;
    if (keys_import(row[i].method, &path, 1, s->a, s->d, &set) != VLPC_OK)
      fail_msg("%s", diag_text(s->d));
    assert_int_equal(set.n, row[i].n);
    const SafeTensor *x = safetensors_find(&set, row[i].name);
    const NpyArray *want = npz_find(&z, row[i].array);
    assert_true(x && want);
    if (strchr(row[i].array, '#')) continue; /* some rows: test_checkpoint.c compares them */
    assert_int_equal(x->bytes, want->bytes);
    assert_memory_equal(x->data, want->data, want->bytes);
  }
}

/* ---- what does not belong ----------------------------------------------- */

static void write_keys(Setup *s, const char *path, const char *const *key) {
  static const float x[2];
  CheckpointFloats t[8];
  uint32_t n = 0;
  for (; key[n]; n++) t[n] = (CheckpointFloats){key[n], 1, {2}, x};
  assert_int_equal(checkpoint_write(path, t, n, 0, s->a, s->d), VLPC_OK);
}

static void keys_that_do_not_belong_are_errors(void **state) {
  static const struct {
    const char *method, *key[4], *code, *error;
  } row[] = {
      {"coop", {"ctx", "meta_net.linear1.weight"}, "E1022",
       ": key 'meta_net.linear1.weight': method coop has no such key\n"
       "  expected: ctx\n"
       "  fix:      name the method that the checkpoint was trained with\n"},
      {"coop", {"token_prefix"}, "E1022",
       ": lacks a key of method coop\n  expected: ctx, saved in prompt_learner\n"},
      {"vpt-deep", {"image_encoder.VPT", "image_encoder.transformer.resblocks.2.VPT_shallow"},
       "E1022",
       ": lacks a key of method vpt-deep\n"
       "  expected: image_encoder.transformer.resblocks.1.VPT_shallow, saved in prompt_learner\n"},
      {"vpt-deep", {"image_encoder.VPT", "image_encoder.transformer.resblocks.1.VPT_shallow",
                    "image_encoder.transformer.resblocks.3.VPT_shallow"},
       "E1022",
       ": lacks a key of method vpt-deep\n"
       "  expected: image_encoder.transformer.resblocks.2.VPT_shallow, saved in prompt_learner\n"},
      {"dpt", {"ctx"}, "E1022",
       ": which part of method dpt it holds is not clear\n"
       "  found:    in the folder '%s'\n"
       "  expected: a folder of image_encoder.transformer.ctx_learner, prompt_learner\n"},
  };
  Setup *s = *state;
  const char *path = arena_printf(s->a, "%s/x.pth.tar", s->folder);
  for (size_t i = 0; i < VL_COUNT(row); i++) {
    Safetensors set;
    write_keys(s, path, row[i].key);
    diag_clear(s->d);
    assert_int_not_equal(keys_import(row[i].method, &path, 1, s->a, s->d, &set), VLPC_OK);
    const char *own = strrchr(s->folder, '/') + 1, *hole = strstr(row[i].error, "%s");
    const char *error = hole ? arena_printf(s->a, "%.*s%s%s", (int)(hole - row[i].error),
                                            row[i].error, own, hole + 2)
                             : row[i].error;
    const char *want = arena_printf(s->a, "vlpc: error[%s]: %s%s", row[i].code, path, error);
    assert_string_equal(diag_text(s->d), want);
  }
  diag_clear(s->d);
  assert_int_equal(keys_import("mapel", &path, 1, s->a, s->d, &(Safetensors){0}),
                   VLPC_E_INVALID_ARG);
  assert_string_equal(
      diag_text(s->d),
      "vlpc: error[E1021]: no method of this name has official checkpoints\n"
      "  found:    mapel\n"
      "  expected: one of coop, cocoop, kgcoop, deep-text, vpt-shallow, vpt-deep, deep-visual, "
      "vpt-dpt, ivlp, promptsrc, maple, provp, provp-ref, dpt, dpt-cavpt, clip-adapter\n");
  unlink(path);
}

static void names_that_do_not_belong_are_errors(void **state) {
  Setup *s = *state;
  Tensors v = {0};
  const char **files, *path = arena_printf(s->a, "%s/x.pth.tar", s->folder);
  add_tensor(s, &v, "ctx");
  add_tensor(s, &v, "VPT");
  Safetensors set = {.at = v.at, .n = v.n};
  assert_int_equal(keys_export("coop", &set, "a.safetensors", path, s->a, s->d, &files),
                   VLPC_E_MISMATCH);
  assert_string_equal(diag_text(s->d),
                      "vlpc: error[E1022]: a.safetensors: tensor 'VPT': method coop has no such "
                      "trainable\n"
                      "  fix:      name the method that the prompt set was trained with\n");
  assert_int_equal(access(path, F_OK), -1);
}

static void patterns_match_numbers(void **state) {
  (void)state;
  uint32_t n;
  assert_true(keys_match("a.#.b", "a.12.b", &n) && n == 12);
  assert_true(keys_match("a.#", "a.0", &n) && n == 0);
  assert_true(keys_match("a.*", "a.", &n) && keys_match("a.*", "a.b.c", &n));
  assert_false(keys_match("a.#.b", "a..b", &n));
  assert_false(keys_match("a.#.b", "a.01.b", &n));
  assert_false(keys_match("a.#.b", "a.123456.b", &n));
  assert_false(keys_match("a.#.b", "a.1.bc", &n));
  assert_false(keys_match("a.#.b", "a.1", &n));
  assert_false(keys_match("ctx", "ctxs", &n));
}

/* ---- docs/prompt-sets.md ------------------------------------------------ */

static const char *make_table(Setup *s) {
  Str out = {.arena = s->a};
  const char **method;
  uint32_t n = keys_methods(s->a, &method), n_rows;
  str_add(&out, "| method | saved in | official key | trainable |\n|---|---|---|---|\n");
  for (uint32_t i = 0; i < n; i++) {
    const KeyRow *row = keys_of(method[i], &n_rows);
    for (uint32_t k = 0; k < n_rows; k++) {
      if (!row[k].trainable) continue;
      str_printf(&out, "| %s | `%s` | `%s` | `%s`%s |\n", method[i], row[k].folder,
                 row[k].official, row[k].trainable, row[k].needed ? "" : " (may be absent)");
    }
  }
  return str_text(&out);
}

static void the_docs_show_the_table(void **state) {
  static const char path[] = VLPC_SOURCE_DIR "/docs/prompt-sets.md";
  static const char first[] = "| method | saved in ";
  Setup *s = *state;
  uint8_t *page;
  size_t n;
  assert_int_equal(io_read(path, 1 << 20, s->a, s->d, &page, &n), VLPC_OK);
  char *start = strstr((char *)page, first), *stop = start ? strstr(start, "\n\n") : NULL;
  assert_true(start && stop);
  const char *want = make_table(s);
  if (getenv("VLPC_BLESS")) {
    const char *text = arena_printf(s->a, "%.*s%s%s", (int)(start - (char *)page), (char *)page,
                                    want, stop + 1);
    assert_int_equal(io_write_file(path, text, strlen(text), s->d), VLPC_OK);
    return;
  }
  stop[1] = 0;
  assert_string_equal(start, want);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(every_method_goes_there_and_back),
      TEST(official_checkpoints_give_their_trainables),
      TEST(keys_that_do_not_belong_are_errors),
      TEST(names_that_do_not_belong_are_errors),
      TEST(patterns_match_numbers),
      TEST(the_docs_show_the_table),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
