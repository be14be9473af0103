/* SPDX-License-Identifier: Apache-2.0 */
/* test_loader.c - order, the rule for the last batch, the same bytes for any
** number of threads, and a bad photo. */
#include "train/loader.h"

#include <string.h>

#include "base/map.h"
#include "tests/runtime/golden.h"
#include "train_kit.h"

static Dataset photos(Kit *k) {
  char path[512];
  Dataset d;
  source_path("models/photos/eurosat_test", path);
  DatasetSource s = {arena_strdup(k->arena, path), NULL};
  assert_int_equal(dataset_open(&s, k->arena, k->diag, &d), VLPC_OK);
  return d;
}

static Loader *loader(Kit *k, LoaderSpec spec) {
  Loader *l = NULL;
  VlStatus st = loader_new(&spec, k->arena, k->diag, &l);
  assert_string_equal(diag_text(k->diag), "");
  assert_int_equal(st, VLPC_OK);
  return l;
}

static LoaderSpec spec_of(const Dataset *d, uint32_t batch, ThreadPool *pool) {
  return (LoaderSpec){.data = d, .seed = 7, .batch = batch, .train = true,
                      .preprocess = preprocess_clip(32), .pool = pool};
}

static void last_batches(void **state) {
  Kit *k = *state;
  static const struct {
    uint32_t n, batch;
    bool train;
    uint32_t batches;
  } rows[] = {{10, 4, true, 2}, {10, 4, false, 3}, {3, 4, true, 1}, {3, 4, false, 1},
              {8, 4, true, 2},  {8, 4, false, 2},  {4, 4, true, 1},  {6, 4, true, 1}};
  Item item[10] = {{"x", 0, -1, 0, 0}};
  for (size_t i = 0; i < VL_COUNT(rows); i++) {
    Dataset d = {.split = {{item, rows[i].n}}, .n_classes = 1};
    LoaderSpec s = spec_of(&d, rows[i].batch, NULL);
    s.train = rows[i].train;
    assert_int_equal(loader_batches(loader(k, s)), rows[i].batches);
  }
  Dataset none = {0};
  Loader *l;
  LoaderSpec s = spec_of(&none, 1, NULL);
  kit_expect(k, loader_new(&s, k->arena, k->diag, &l), DIAG_DATA_SPLIT,
             "vlpc: error[E1106]: the train split has no photos\n"
             "  fix:      name a data set that has this split\n");
}

/* Each epoch is a permutation of its own; all places are equally likely. */
static void orders(void **state) {
  Kit *k = *state;
  Item item[8] = {{"x", 0, -1, 0, 0}};
  Dataset d = {.split = {{item, 8}}, .n_classes = 1};
  Loader *l = loader(k, spec_of(&d, 4, NULL));
  uint32_t at[8][8] = {{0}}, order[8], first[8];
  for (uint32_t e = 0; e < 8000; e++) {
    uint32_t seen = 0;
    loader_order(l, e, order);
    for (uint32_t i = 0; i < 8; i++) seen |= 1u << order[i], at[i][order[i]]++;
    assert_int_equal(seen, 255);
    if (e == 0) memcpy(first, order, sizeof order);
  }
  for (int i = 0; i < 64; i++) assert_in_range(at[i / 8][i % 8], 850, 1150);
  loader_order(l, 0, order);
  assert_memory_equal(order, first, sizeof order);
  LoaderSpec s = spec_of(&d, 4, NULL);
  s.train = false;
  loader_order(loader(k, s), 3, order);
  for (uint32_t i = 0; i < 8; i++) assert_int_equal(order[i], i);
}

static void any_threads(void **state) {
  Kit *k = *state;
  Dataset d = photos(k);
  Augment g = augment_papers(32);
  uint64_t want[3] = {0};
  for (int n = 1; n <= 4; n++) {
    ThreadPool *pool = threads_new(n, false);
    LoaderSpec s = spec_of(&d, 24, pool);
    s.augment = &g;
    Loader *l = loader(k, s);
    for (uint32_t i = 0; i < 3; i++) {
      /* Backwards with more threads: a batch depends on no other. */
      uint32_t j = n == 1 ? i : 2 - i;
      Batch b;
      assert_int_equal(loader_batch(l, 5, j, k->diag, &b), VLPC_OK);
      assert_int_equal(b.n, 24);
      for (uint32_t p = 0; p < b.n; p++)
        assert_int_equal(b.label[p], d.split[SPLIT_train].at[b.item[p]].label);
      uint64_t hash = hash_bytes(b.pixels, (size_t)b.n * 3 * 32 * 32 * sizeof(float), b.label[0]);
      if (n == 1) want[j] = hash;
      assert_true(hash == want[j]);
    }
    threads_free(pool);
  }
  assert_true(want[0] != want[1]);
}

/* Evaluation gives what preprocess_image does; a shard gives what files do. */
static void evaluation(void **state) {
  Kit *k = *state;
  Dataset d = photos(k);
  ThreadPool *pool = threads_new(2, false);
  LoaderSpec s = spec_of(&d, 3, pool);
  s.train = false;
  Loader *l = loader(k, s);
  Batch b;
  float want[3 * 32 * 32];
  Image im;
  Mapped m;
  const char *path = d.split[SPLIT_train].at[4].path;
  assert_int_equal(loader_batch(l, 0, 1, k->diag, &b), VLPC_OK);
  assert_int_equal(image_read(path, k->diag, &im), VLPC_OK);
  assert_int_equal(preprocess_image(&s.preprocess, &im, path, k->diag, want), VLPC_OK);
  assert_memory_equal(b.pixels + 3 * 32 * 32, want, sizeof want);
  assert_int_equal(io_map(path, k->diag, &m), VLPC_OK);
  Item item = {"shard:x", 2, 0, 0, m.n};
  Dataset shard = {.split = {{&item, 1}}, .n_classes = 3, .shards = &m, .n_shards = 1};
  s.data = &shard;
  assert_int_equal(loader_batch(loader(k, s), 0, 0, k->diag, &b), VLPC_OK);
  assert_memory_equal(b.pixels, want, sizeof want);
  assert_int_equal(b.label[0], 2);
  io_unmap(&m);
  image_fini(&im);
  threads_free(pool);
}

static void bad_photo(void **state) {
  Kit *k = *state;
  kit_put_text("p/a/1.jpg", "<html>");
  kit_put_text("p/a/2.jpg", "GIF89a");
  Dataset d;
  assert_int_equal(dataset_open(&(DatasetSource){"p", NULL}, k->arena, k->diag, &d), VLPC_OK);
  ThreadPool *pool = threads_new(3, false);
  LoaderSpec s = spec_of(&d, 2, pool);
  s.train = false;
  Batch b;
  VlStatus st = loader_batch(loader(k, s), 0, 0, k->diag, &b);
  kit_expect(k, st, DIAG_IMAGE_FORMAT,
             "vlpc: error[E0701]: p/a/1.jpg: this is not a JPEG or PNG image\n"
             "  found:    a web page or XML text\n"
             "  expected: a file that begins with ff d8 ff (JPEG) or 89 50 4e 47 (PNG)\n"
             "  fix:      convert the photo to JPEG or PNG, or fetch it again\n");
  threads_free(pool);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      kit_test(last_batches), kit_test(orders),    kit_test(any_threads),
      kit_test(evaluation),   kit_test(bad_photo),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
