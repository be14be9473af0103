/* SPDX-License-Identifier: Apache-2.0 */
/* e2e_small_clip.c - the shipped model with trained weights, from JPEG files and
** strings to answers.
**
** data/small_clip.npz: features of shipped photos (the rows of small_clip_photos.txt)
** and of texts (small_clip_texts.txt) as PyTorch computes them, in half
** precision (scripts/golden/e2e.py).  Accuracies are those of ONNX Runtime. */
#include "tests/e2e/e2e_kit.h"

#include <glob.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"

enum { WIDTH = 512, MOST_LINES = 1100, AT_ONCE = 50 };
#define PHOTOS VLPC_SOURCE_DIR "/models/photos/"

typedef struct {
  const char *at[MOST_LINES];
  uint32_t n;
} Lines;

static Lines read_lines(const char *path) {
  Lines l = {.n = 0};
  uint8_t *bytes = NULL;
  size_t n = 0;
  Diag *d = diag_new();
  if (io_read(path, 1 << 20, e2e, d, &bytes, &n) != VLPC_OK) fail_msg("%s", diag_text(d));
  diag_free(d);
  char *text = arena_strndup(e2e, (char *)bytes, n);
  for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
    *end = 0;
    assert_true(l.n < MOST_LINES);
    l.at[l.n++] = line;
  }
  return l;
}

/* ---- features ------------------------------------------------------------- */

static const NpyArray *golden(const char *name) {
  static Npz z;
  if (!z.at)
    assert_int_equal(npz_read(VLPC_TEST_DIR "/data/small_clip.npz", e2e, NULL, &z), VLPC_OK);
  const NpyArray *x = npz_find(&z, name);
  assert_non_null(x);
  return x;
}

static void check_rows(const float *got, uint32_t n, const char *array, const char *const *what) {
  const NpyArray *want = golden(array);
  float row[WIDTH];
  assert_int_equal(want->rank, 2);
  assert_int_equal(want->size[0], n);
  assert_int_equal(want->size[1], WIDTH);
  for (uint32_t i = 0; i < n; i++) {
    for (int64_t k = 0; k < WIDTH; k++)
      row[k] = (float)dtype_load(want->dtype, want->data, i * WIDTH + k);
    double c = cosine(got + (size_t)i * WIDTH, row, WIDTH);
    if (!(c >= 0.999999)) fail_msg("%s: cosine %.9f", what[i], c);
  }
}

static void photos_have_pytorchs_features(void **state) {
  (void)state;
  Line l = line_open(e2e_small_clip("tokenizer.json"), (vlpc_session_options){.threads = 2});
  Lines names = read_lines(VLPC_TEST_DIR "/data/small_clip_photos.txt");
  vlpc_image *photo = arena_array(e2e, vlpc_image, names.n);
  float *out = arena_array(e2e, float, names.n *WIDTH);
  for (uint32_t i = 0; i < names.n; i++)
    photo[i].path = arena_printf(e2e, PHOTOS "%s", names.at[i]);
  if (vlpc_embed_images(l.s, photo, names.n, out) != VLPC_OK)
    fail_msg("%s", vlpc_session_error(l.s));
  check_rows(out, names.n, "image_features", names.at);
  line_close(&l);
}

/* By the tokenizers of both libraries, which agree on these strings. */
static void texts_have_pytorchs_features(void **state) {
  (void)state;
  static const char *const tokenizers[] = {"tokenizer.json", "bpe_small_vocab_4000.txt.gz"};
  Lines texts = read_lines(VLPC_TEST_DIR "/data/small_clip_texts.txt");
  float *out = arena_array(e2e, float, texts.n *WIDTH);
  for (size_t t = 0; t < VL_COUNT(tokenizers); t++) {
    Line l = line_open(e2e_small_clip(tokenizers[t]), (vlpc_session_options){.threads = 2});
    if (vlpc_embed_texts(l.s, texts.at, texts.n, out) != VLPC_OK)
      fail_msg("%s", vlpc_session_error(l.s));
    check_rows(out, texts.n, "text_features", texts.at);
    line_close(&l);
  }
}

/* ---- accuracy ------------------------------------------------------------- */

typedef struct {
  vlpc_image *photo;
  int *label;
  uint32_t n;
} PhotoSet;

/* Rows "file,label,…" behind a heading; the files are below root. */
static PhotoSet photo_set(const char *root) {
  Lines rows = read_lines(arena_printf(e2e, "%s/labels.csv", root));
  vlpc_image *photo = arena_array(e2e, vlpc_image, rows.n);
  int *label = arena_array(e2e, int, rows.n);
  for (uint32_t i = 1; i < rows.n; i++) {
    size_t n = strcspn(rows.at[i], ",");
    photo[i - 1].path = arena_printf(e2e, "%s/%.*s", root, (int)n, rows.at[i]);
    label[i - 1] = atoi(rows.at[i] + n + 1);
  }
  return (PhotoSet){photo, label, rows.n - 1};
}

static uint32_t best(const float *p, uint32_t n) {
  uint32_t b = 0;
  for (uint32_t i = 1; i < n; i++) b = p[i] > p[b] ? i : b;
  return b;
}

/* Percent of the photos whose first answer is right. */
static double accuracy(const PhotoSet *set, const char *const *names, uint32_t n_names) {
  Line l = line_open(e2e_small_clip("tokenizer.json"), (vlpc_session_options){.threads = 2});
  float *p = arena_array(e2e, float, AT_ONCE *n_names);
  uint32_t right = 0;
  if (vlpc_set_labels(l.s, names, n_names, "a photo of a {}.") != VLPC_OK)
    fail_msg("%s", vlpc_session_error(l.s));
  for (uint32_t i = 0; i < set->n; i += AT_ONCE) {
    uint32_t n = VL_MIN(AT_ONCE, set->n - i);
    if (vlpc_classify(l.s, set->photo + i, n, p) != VLPC_OK)
      fail_msg("%s", vlpc_session_error(l.s));
    for (uint32_t k = 0; k < n; k++)
      right += best(p + (size_t)k * n_names, n_names) == (uint32_t)set->label[i + k];
  }
  line_close(&l);
  return 100.0 * right / set->n;
}

static void within(double got, double want, double by) {
  print_message("top-1 %.2f %%, expected %.1f +- %.1f\n", got, want, by);
  if (!(got >= want - by && got <= want + by)) fail_msg("%.2f %%", got);
}

static void caltech_is_answered_as_well_as_it_should(void **state) {
  (void)state;
  PhotoSet set = photo_set(PHOTOS "caltech101");
  Lines names = read_lines(PHOTOS "caltech101/labels.txt");
  assert_int_equal(set.n, 500);
  assert_int_equal(names.n, 100);
  within(accuracy(&set, names.at, names.n), 69.8, 0.4);
}

/* Below chance, as it must be without learned prompts.  In long campaigns: the test of
** training holds a part of these photos against the same. */
static void eurosat_is_answered_no_better_than_it_should(void **state) {
  (void)state;
  if (getenv("VLPC_TEST_LONG") == NULL) skip();
  PhotoSet set = photo_set(PHOTOS "eurosat_test");
  Lines names = read_lines(PHOTOS "eurosat_test/labels.txt");
  assert_int_equal(set.n, 1000);
  assert_int_equal(names.n, 10);
  within(accuracy(&set, names.at, names.n), 8.4, 0.3);
}

static void flowers_are_answered_as_well_as_they_should(void **state) {
  (void)state;
  static const char *const names[] = {"daisy", "dandelion", "rose", "sunflower", "tulip"};
  static const char *const folders[] = {"daisy", "dandelion", "roses", "sunflowers", "tulips"};
  const char *root = e2e_shared("photos/tf_flower_photos_val");
  PhotoSet set = {arena_array(e2e, vlpc_image, 150), arena_array(e2e, int, 150), 0};
  for (size_t i = 0; i < VL_COUNT(folders); i++) {
    glob_t files;
    const char *pattern = arena_printf(e2e, "%s/%s/*.jpg", root, folders[i]);
    assert_int_equal(glob(pattern, 0, NULL, &files), 0);
    for (size_t k = 0; k < files.gl_pathc && set.n < 150; k++) {
      set.photo[set.n].path = arena_strdup(e2e, files.gl_pathv[k]);
      set.label[set.n++] = (int)i;
    }
    globfree(&files);
  }
  assert_int_equal(set.n, 150);
  within(accuracy(&set, names, VL_COUNT(names)), 35.3, 0.7);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(photos_have_pytorchs_features),
      cmocka_unit_test(texts_have_pytorchs_features),
      cmocka_unit_test(caltech_is_answered_as_well_as_it_should),
      cmocka_unit_test(eurosat_is_answered_no_better_than_it_should),
      cmocka_unit_test(flowers_are_answered_as_well_as_they_should),
  };
  return cmocka_run_group_tests(tests, e2e_set_up, e2e_tear_down);
}
