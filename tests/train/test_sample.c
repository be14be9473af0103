/* SPDX-License-Identifier: Apache-2.0 */
/* test_sample.c - the twister against CPython, few-shot draws against the index
** files that were published for CoOp's splits, and the base / new rule. */
#include "train/sample.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/runtime/golden.h"
#include "train_kit.h"

typedef struct {
  uint64_t seed;
  uint32_t word[2];
  double real;
  uint32_t below[5];    /* randrange of 1, 2, 37, 1000, 1 << 20 */
  uint32_t shuffled[10];
  uint32_t sampled[37]; /* (10, 4), (500, 5), (85, 6), (86, 6), (300, 16) */
} PythonDraws;

static const PythonDraws python[] = {
#include "data/python_random.inc"
};

static void twister(void **state) {
  Kit *k = *state;
  static const uint32_t below[] = {1, 2, 37, 1000, 1u << 20};
  static const uint32_t size[][2] = {{10, 4}, {500, 5}, {85, 6}, {86, 6}, {300, 16}};
  for (size_t i = 0; i < VL_COUNT(python); i++) {
    const PythonDraws *p = &python[i];
    Mt m;
    mt_seed(&m, p->seed);
    for (int j = 0; j < 2; j++) assert_int_equal(mt_u32(&m), p->word[j]);
    assert_true(mt_random(&m) == p->real);
    for (int j = 0; j < 5; j++) assert_int_equal(mt_below(&m, below[j]), p->below[j]);
    uint32_t x[10], s[16];
    for (uint32_t j = 0; j < 10; j++) x[j] = j;
    mt_shuffle(&m, x, 10);
    assert_memory_equal(x, p->shuffled, sizeof x);
    const uint32_t *want = p->sampled;
    for (size_t j = 0; j < VL_COUNT(size); j++) {
      mt_sample(&m, size[j][0], size[j][1], s, k->arena);
      assert_memory_equal(s, want, size[j][1] * sizeof *s);
      want += size[j][1];
    }
  }
}

static Dataset open_split(Kit *k, const char *name) {
  Dataset d;
  kit_unpack(arena_printf(k->arena, "split_zhou_%s.json.gz", name), "s.json");
  assert_int_equal(dataset_open(&(DatasetSource){"s.json", ""}, k->arena, k->diag, &d), VLPC_OK);
  return d;
}

/* Every line of few_shot.txt: set, shots, split, label, path. */
static void published_draws(void **state) {
  Kit *k = *state;
  char path[512], set[32] = "";
  size_t n = 0;
  source_path("tests/train/data/few_shot.txt.gz", path);
  char *text = golden_read(path, &n), *at = text;
  Dataset all = {0}, drawn = {0};
  uint32_t next[SPLIT__COUNT] = {0}, shots = 0, lines = 0;
  for (char *line = golden_line(&at); line != NULL; line = golden_line(&at), lines++) {
    char *name = golden_field(&line, ' ');
    uint32_t want_shots = (uint32_t)strtoul(golden_field(&line, ' '), NULL, 10);
    SplitId s = strcmp(golden_field(&line, ' '), "train") == 0 ? SPLIT_train : SPLIT_val;
    uint32_t label = (uint32_t)strtoul(golden_field(&line, ' '), NULL, 10);
    if (strcmp(name, set) != 0) all = open_split(k, name);
    if (strcmp(name, set) != 0 || shots != want_shots) {
      for (int i = 0; i < SPLIT_test; i++) assert_int_equal(next[i], drawn.split[i].n);
      assert_int_equal(sample_dataset(&all, want_shots, 1, k->arena, k->diag, &drawn), VLPC_OK);
      memset(next, 0, sizeof next);
    }
    snprintf(set, sizeof set, "%s", name);
    shots = want_shots;
    assert_true(next[s] < drawn.split[s].n);
    assert_string_equal(drawn.split[s].at[next[s]].path, line);
    assert_int_equal(drawn.split[s].at[next[s]++].label, label);
  }
  assert_int_equal(lines, 4410);
  free(text);
}

static void few_photos(void **state) {
  Kit *k = *state;
  Item items[] = {{"a", 3, -1, 0, 0}, {"b", 1, -1, 0, 0}, {"c", 3, -1, 0, 0}};
  Dataset d = {.split = {{items, 3}}, .n_classes = 4}, out;
  assert_int_equal(sample_dataset(&d, 2, 1, k->arena, k->diag, &out), VLPC_OK);
  assert_int_equal(out.split[SPLIT_train].n, 3);
  assert_int_equal(out.split[SPLIT_train].at[2].label, 1); /* taken whole, after class 3 */
  assert_int_equal(sample_dataset(&d, UINT32_MAX, 1, k->arena, k->diag, &out), VLPC_OK);
  assert_string_equal(out.split[SPLIT_train].at[1].path, "c");
  assert_int_equal(sample_dataset(&d, 0, 1, k->arena, k->diag, &out), VLPC_OK);
  assert_string_equal(out.split[SPLIT_train].at[1].path, "b");
  kit_expect(k, sample_dataset(&(Dataset){0}, 1, 1, k->arena, k->diag, &out), DIAG_DATA_SPLIT,
             "vlpc: error[E1106]: the data set has no photos to train on\n"
             "  fix:      add a train split\n");
}

static void base_and_new(void **state) {
  Kit *k = *state;
  Dataset all = open_split(k, "OxfordPets"), base, new;
  assert_int_equal(sample_classes(&all, CLASSES_base, k->arena, k->diag, &base), VLPC_OK);
  assert_int_equal(sample_classes(&all, CLASSES_new, k->arena, k->diag, &new), VLPC_OK);
  assert_int_equal(base.n_classes, 19);
  assert_int_equal(new.n_classes, 18);
  assert_string_equal(new.classes[0], all.classes[19]);
  for (int s = 0; s < SPLIT__COUNT; s++) {
    assert_int_equal(base.split[s].n + new.split[s].n, all.split[s].n);
    for (uint32_t i = 0; i < new.split[s].n; i++) assert_true(new.split[s].at[i].label < 18);
  }
  /* The first photo of class 19 is the first of class 0 among the new ones. */
  uint32_t i = 0;
  while (all.split[SPLIT_test].at[i].label < 19) i++;
  assert_string_equal(new.split[SPLIT_test].at[0].path, all.split[SPLIT_test].at[i].path);
  assert_int_equal(new.split[SPLIT_test].at[0].label, all.split[SPLIT_test].at[i].label - 19);
  Item one = {"a", 0, -1, 0, 0};
  Dataset d = {.split = {{&one, 1}}, .n_classes = 1};
  kit_expect(k, sample_classes(&d, CLASSES_new, k->arena, k->diag, &new), DIAG_DATA_SPLIT,
             "vlpc: error[E1106]: this part of the classes is empty\n"
             "  fix:      use more classes, or all of them\n");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      kit_test(twister),
      kit_test(published_draws),
      kit_test(few_photos),
      kit_test(base_and_new),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
