/* SPDX-License-Identifier: Apache-2.0 */
/* e2e_bitwise.c - results do not depend on the number of threads nor on what
** else is in a batch: the same bits, on the shipped model. */
#include "tests/e2e/e2e_kit.h"

#include <string.h>

enum { WIDTH = 512, SIDE = 224, IMAGES = 7, TEXTS = 7, CONTEXT = 77 };
static const int32_t threads[] = {1, 2, 3, 8};
static const int64_t batches[] = {1, 2, 5, 7};

static const char *artifact;
static float *pixels, *alone;
static int64_t *ids;

static int make_artifact(void **state) {
  if (e2e_set_up(state)) return 1;
  artifact = e2e_small_clip("tokenizer.json");
  return 0;
}

static Npz image_array(int64_t first, int64_t n) {
  int64_t one = 3 * SIDE * SIDE;
  NpyArray *x = arena_one(e2e, NpyArray);
  *x = (NpyArray){"image", VLPC_F32, 4, {n, 3, SIDE, SIDE}, pixels + first * one,
                  (uint64_t)(n * one) * sizeof(float)};
  return (Npz){x, 1};
}

static Npz text_array(int64_t first, int64_t n, int64_t length) {
  NpyArray *x = arena_one(e2e, NpyArray);
  int64_t *rows = arena_array(e2e, int64_t, n *length);
  for (int64_t i = 0; i < n; i++)
    memcpy(rows + i * length, ids + (first + i) * CONTEXT, (size_t)length * sizeof *rows);
  *x = (NpyArray){"text", VLPC_I64, 2, {n, length}, rows, (uint64_t)(n * length) * sizeof *rows};
  return (Npz){x, 1};
}

/* Runs of [first, first + n) for each n of `batches` from `from` on, at several
** first, must give the rows that each has alone. */
static void check_rows(const Line *l, bool image, size_t from) {
  const char *entry = image ? "image" : "text", *name = image ? "image_features" : "text_features";
  for (size_t b = from; b < VL_COUNT(batches); b++) {
    for (int64_t first = 0; first + batches[b] <= IMAGES; first += batches[b] > 2 ? 1 : 3) {
      int64_t n = batches[b];
      Npz in = image ? image_array(first, n) : text_array(first, n, CONTEXT);
      line_run(l, entry, &in);
      vlpc_tensor got = line_output(l, entry, name);
      assert_int_equal(tensor_count(&got), n * WIDTH);
      same_bits(got.data, alone + first * WIDTH, (size_t)(n * WIDTH) * sizeof(float),
                arena_printf(e2e, "%s, rows %d to %d", name, (int)first, (int)(first + n - 1)));
    }
  }
}

/* Row by row, on one thread. */
static void run_alone(const Line *l, bool image) {
  alone = arena_array(e2e, float, IMAGES *WIDTH);
  for (int64_t i = 0; i < IMAGES; i++) {
    const char *entry = image ? "image" : "text";
    Npz in = image ? image_array(i, 1) : text_array(i, 1, CONTEXT);
    line_run(l, entry, &in);
    vlpc_tensor got = line_output(l, entry, image ? "image_features" : "text_features");
    memcpy(alone + i * WIDTH, got.data, WIDTH * sizeof(float));
  }
}

/* All thread counts and batches on the best target, one of each on the others. */
static void check_tower(bool image) {
  for (int isa = 0; e2e_isa(isa); isa++) {
    bool is_best = !e2e_isa(isa + 1);
    Line one = line_open(artifact, (vlpc_session_options){.threads = 1, .isa = e2e_isa(isa)});
    run_alone(&one, image);
    if (is_best) check_rows(&one, image, 0);
    for (size_t t = is_best ? 1 : 2; t < (is_best ? VL_COUNT(threads) : 3); t++) {
      Line l = line_share(&one, (vlpc_session_options){.threads = threads[t], .isa = e2e_isa(isa)});
      check_rows(&l, image, is_best ? 0 : 3);
      vlpc_session_free(l.s);
    }
    line_close(&one);
  }
}

static void images_are_the_same_in_any_batch(void **state) {
  (void)state;
  static const char *const photos[IMAGES] = {
      "cup/image_0039.jpg", "cup/image_0043.jpg",    "bass/image_0002.jpg", "bass/image_0024.jpg",
      "cup/image_0052.jpg", "Faces/image_0372.jpg", "cougar_body/image_0006.jpg"};
  pixels = arena_array(e2e, float, IMAGES * 3 * SIDE * SIDE);
  Line l = line_open(artifact, (vlpc_session_options){.threads = 1});
  for (int i = 0; i < IMAGES; i++) {
    vlpc_image photo = {.path = arena_printf(
                            e2e, VLPC_SOURCE_DIR "/models/photos/caltech101/%s", photos[i])};
    if (vlpc_preprocess(l.s, &photo, pixels + i * 3 * SIDE * SIDE) != VLPC_OK)
      fail_msg("%s", vlpc_session_error(l.s));
  }
  line_close(&l);
  check_tower(true);
}

static const char *const texts[TEXTS] = {
    "a photo of a cat.", "b", "", "a centered satellite photo of a highway or road.",
    "two dogs playing in the snow, seen from far above, on a sunny winter day", "a photo of a dog.",
    "the"};

static void texts_are_the_same_in_any_batch(void **state) {
  (void)state;
  ids = arena_array(e2e, int64_t, TEXTS *CONTEXT);
  Line l = line_open(artifact, (vlpc_session_options){.threads = 1});
  for (int i = 0; i < TEXTS; i++) {
    uint32_t used = 0;
    if (vlpc_tokenize(l.s, texts[i], ids + i * CONTEXT, CONTEXT, &used) != VLPC_OK)
      fail_msg("%s", vlpc_session_error(l.s));
  }
  line_close(&l);
  check_tower(false);
}

/* Strings of any length together: the easy path may cut a batch as it likes. */
static void strings_are_the_same_in_any_list(void **state) {
  (void)state;
  float one[WIDTH], all[TEXTS * WIDTH];
  for (size_t t = 0; t < VL_COUNT(threads); t++) {
    Line l = line_open(artifact, (vlpc_session_options){.threads = threads[t]});
    assert_int_equal(vlpc_embed_texts(l.s, texts, TEXTS, all), VLPC_OK);
    for (int i = 0; i < TEXTS; i++) {
      assert_int_equal(vlpc_embed_texts(l.s, &texts[i], 1, one), VLPC_OK);
      same_bits(one, all + i * WIDTH, sizeof one, texts[i]);
    }
    line_close(&l);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(images_are_the_same_in_any_batch),
      cmocka_unit_test(texts_are_the_same_in_any_batch),
      cmocka_unit_test(strings_are_the_same_in_any_list),
  };
  return cmocka_run_group_tests(tests, make_artifact, e2e_tear_down);
}
