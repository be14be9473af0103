/* SPDX-License-Identifier: Apache-2.0 */
/* e2e_bf16.c - the shipped model in bf16: near fp32 on real photos, the same bits
** for any threads and batches and on texts packed or not, judged by the reference
** device, and what its artifact states. */
#include "tests/e2e/e2e_kit.h"

#include <glob.h>
#include <string.h>

#include "base/io.h"

enum { WIDTH = 512, PHOTOS = 100, CLASSES = 100, FEW = 6 };
#define SMALL_CLIP VLPC_SOURCE_DIR "/models/small_clip/"
#define CALTECH VLPC_SOURCE_DIR "/models/photos/caltech101/"

static const char *fp32, *bf16;
static vlpc_image photo[PHOTOS];

static const char *compile(const char *precision, const char *calibrate, const char *name) {
  vlpc_compile_options o = {.models = {SMALL_CLIP "model.onnx"},
                            .tokenizer = SMALL_CLIP "tokenizer.json",
                            .preprocess = SMALL_CLIP "preprocessor_config.json",
                            .precision = precision,
                            .calibrate = calibrate};
  return e2e_compile(o, name);
}

static int set_up(void **state) {
  glob_t g;
  if (e2e_set_up(state)) return 1;
  fp32 = compile("fp32", NULL, "fp32.vlpc");
  bf16 = compile("bf16", "none", "bf16.vlpc");
  if (glob(CALTECH "*/*.jpg", 0, NULL, &g) != 0 || g.gl_pathc < PHOTOS) return 1;
  for (size_t i = 0; i < PHOTOS; i++)
    photo[i].path = arena_strdup(e2e, g.gl_pathv[i * g.gl_pathc / PHOTOS]);
  globfree(&g);
  return 0;
}

static Line open_on(const char *artifact, const char *isa, int32_t threads) {
  return line_open(artifact, (vlpc_session_options){.threads = threads, .isa = isa});
}

static float *embed(const Line *l, uint32_t n) {
  float *out = arena_array(e2e, float, n *WIDTH);
  if (vlpc_embed_images(l->s, photo, n, out) != VLPC_OK) fail_msg("%s", vlpc_session_error(l->s));
  return out;
}

static void near_rows(const float *a, const float *b, uint32_t n, double least, const char *what) {
  for (uint32_t i = 0; i < n; i++) {
    double c = cosine(a + (size_t)i * WIDTH, b + (size_t)i * WIDTH, WIDTH);
    if (!(c >= least)) fail_msg("%s, row %d: cosine %.7f", what, (int)i, c);
  }
}

/* ---- near fp32 ------------------------------------------------------------ */

static uint32_t nearest(const float *image, const float *classes) {
  uint32_t best = 0;
  double most = -2;
  for (uint32_t i = 0; i < CLASSES; i++) {
    double c = cosine(image, classes + (size_t)i * WIDTH, WIDTH);
    if (c > most) most = c, best = i;
  }
  return best;
}

static void read_names(const char *names[CLASSES]) {
  uint8_t *bytes = NULL;
  size_t n = 0;
  assert_int_equal(io_read(CALTECH "labels.txt", 1 << 20, e2e, NULL, &bytes, &n), VLPC_OK);
  char *at = arena_strndup(e2e, (char *)bytes, n);
  for (size_t i = 0; i < CLASSES; i++, at += strlen(at) + 1) {
    at[strcspn(at, "\n")] = 0;
    names[i] = arena_printf(e2e, "a photo of a %s.", at);
  }
}

/* Features and first answers of all photos. */
static float *answers(const char *artifact, const char *const *names, uint32_t *first) {
  Line l = open_on(artifact, NULL, 2);
  float *features = embed(&l, PHOTOS), *classes = arena_array(e2e, float, CLASSES *WIDTH);
  assert_int_equal(vlpc_embed_texts(l.s, names, CLASSES, classes), VLPC_OK);
  for (uint32_t i = 0; i < PHOTOS; i++) first[i] = nearest(features + (size_t)i * WIDTH, classes);
  line_close(&l);
  return features;
}

static void photos_are_answered_as_in_fp32(void **state) {
  (void)state;
  const char *names[CLASSES];
  uint32_t exact[PHOTOS], rounded[PHOTOS], same = 0;
  read_names(names);
  float *a = answers(fp32, names, exact), *b = answers(bf16, names, rounded);
  near_rows(a, b, PHOTOS, 0.9999, "bf16 beside fp32");
  for (size_t i = 0; i < PHOTOS; i++) same += exact[i] == rounded[i];
  print_message("the same first answer: %d of %d\n", (int)same, PHOTOS);
  assert_true(same >= 99 * PHOTOS / 100);
}

/* By a short text, as the reference takes its time. */
static void targets_and_reference_agree(void **state) {
  (void)state;
  const char *text = "dog";
  float want[WIDTH], got[WIDTH];
  Line judge = line_open(bf16, (vlpc_session_options){.threads = 1, .device = "ref"});
  assert_int_equal(vlpc_embed_texts(judge.s, &text, 1, want), VLPC_OK);
  line_close(&judge);
  for (int i = 0; e2e_isa(i); i++) {
    Line l = open_on(bf16, e2e_isa(i), 1);
    assert_int_equal(vlpc_embed_texts(l.s, &text, 1, got), VLPC_OK);
    near_rows(want, got, 1, 0.99995, e2e_isa(i));
    line_close(&l);
  }
}

/* ---- the same bits -------------------------------------------------------- */

static void threads_and_batches_change_nothing(void **state) {
  (void)state;
  static const int32_t threads[] = {1, 2, 3, 8};
  float *alone = arena_array(e2e, float, FEW *WIDTH);
  for (size_t t = 0; t < VL_COUNT(threads); t++) {
    Line l = open_on(bf16, NULL, threads[t]);
    for (uint32_t i = 0; t == 0 && i < FEW; i++)
      assert_int_equal(vlpc_embed_images(l.s, &photo[i], 1, alone + i * WIDTH), VLPC_OK);
    for (uint32_t n = 2; n <= FEW; n += 2)
      same_bits(embed(&l, n), alone, n * WIDTH * sizeof(float), "a batch");
    line_close(&l);
  }
}

static const char *const texts[FEW] = {
    "a photo of a cat.", "b", "", "a centered satellite photo of a highway or road.",
    "two dogs playing in the snow, seen from far above, on a sunny winter day", "the"};

/* Alone, together, and with all 77 places: the entry on packed rows and the one
** as exported. */
static void texts_have_the_same_bits(void **state) {
  (void)state;
  vlpc_compile_options o = {.models = {SMALL_CLIP "model.onnx"}, .precision = "bf16",
                            .tokenizer = SMALL_CLIP "tokenizer.json", .calibrate = "none",
                            .passes = "--no-text_rows"};
  const char *whole = e2e_compile(o, "whole.vlpc");
  float all[FEW * WIDTH], other[FEW * WIDTH], one[WIDTH];
  Line l = open_on(bf16, NULL, 2), w = open_on(whole, NULL, 3), f = open_on(fp32, NULL, 2);
  assert_int_equal(vlpc_embed_texts(l.s, texts, FEW, all), VLPC_OK);
  assert_int_equal(vlpc_embed_texts(w.s, texts, FEW, other), VLPC_OK);
  same_bits(all, other, sizeof all, "packed rows");
  for (int i = 0; i < FEW; i++) {
    assert_int_equal(vlpc_embed_texts(l.s, &texts[i], 1, one), VLPC_OK);
    same_bits(one, all + i * WIDTH, sizeof one, texts[i]);
  }
  assert_int_equal(vlpc_embed_texts(f.s, texts, FEW, other), VLPC_OK);
  near_rows(other, all, FEW, 0.9999, "texts beside fp32");
  line_close(&l), line_close(&w), line_close(&f);
}

/* ---- what the artifact states --------------------------------------------- */

static const char *calibration(const char *artifact) {
  vlpc_artifact *a = NULL;
  vlpc_section s = {.struct_size = sizeof s};
  const char *text = NULL;
  assert_int_equal(vlpc_artifact_open(artifact, NULL, &a), VLPC_OK);
  for (uint32_t i = 0; vlpc_artifact_section(a, i, &s); i++) {
    if (strcmp(s.name, "calibration") == 0)
      text = arena_strndup(e2e, (const char *)s.data, (size_t)s.bytes);
  }
  vlpc_artifact_close(a);
  return text;
}

static void artifacts_state_their_error(void **state) {
  (void)state;
  vlpc_artifact_info info = {.struct_size = sizeof info};
  vlpc_artifact *a = NULL;
  assert_int_equal(vlpc_artifact_open(bf16, NULL, &a), VLPC_OK);
  vlpc_artifact_get_info(a, &info);
  assert_string_equal(info.precision, "bf16");
  vlpc_artifact_close(a);
  assert_null(calibration(bf16));
  assert_null(calibration(fp32));
  const char *text = calibration(compile("bf16", CALTECH "cup", "photos.vlpc"));
  assert_non_null(text);
  assert_non_null(strstr(text, "{\"against\": \"fp32\", \"inputs\": \"photos\", \"image\": {"));
  assert_non_null(strstr(text, "\"cosine_min\": 0.9999"));
  assert_non_null(strstr(text, "\"text\": {\"rows\": 16, "));
  vlpc_compile_options o = {.precision = "bf16"};
  o.models[0] = arena_printf(e2e, "%s/model.onnx", e2e_tiny("tiny", false, 17));
  text = calibration(e2e_compile(o, "seeded.vlpc"));
  assert_non_null(strstr(text, "\"inputs\": \"seeded\", \"image\": {\"rows\": 8, "));
  assert_non_null(strstr(text, "\"top1\": {\"rows\": 8, \"classes\": 16, \"same\": "));
}

/* A session finds the code that measuring made. */
static void code_that_measured_is_kept(void **state) {
  (void)state;
  vlpc_compile_options o = {.precision = "bf16", .cache_dir = e2e_file("measured")};
  vlpc_session_info info = {.struct_size = sizeof info};
  o.models[0] = arena_printf(e2e, "%s/model.onnx", e2e_tiny("tiny", false, 17));
  Line l = line_open(e2e_compile(o, "measured.vlpc"),
                     (vlpc_session_options){.cache_dir = o.cache_dir, .device = "cpu"});
  vlpc_session_get_info(l.s, &info);
  assert_int_equal(info.code, VLPC_CODE_CACHE);
  line_close(&l);
}

static void refuses_what_it_cannot_measure_on(void **state) {
  (void)state;
  vlpc_compile_options o = {.struct_size = sizeof o, .models = {SMALL_CLIP "model.onnx"},
                            .precision = "bf16", .output = e2e_file("no.vlpc"),
                            .calibrate = SMALL_CLIP "licenses"};
  assert_int_equal(vlpc_compile(e2e_compiler, &o), VLPC_E_INVALID_ARG);
  assert_non_null(strstr(vlpc_compiler_error(e2e_compiler), "error[E0099]"));
  assert_non_null(strstr(vlpc_compiler_error(e2e_compiler), "there is no photo to calibrate with"));
  o.precision = "fp8";
  assert_int_equal(vlpc_compile(e2e_compiler, &o), VLPC_E_INVALID_ARG);
  assert_non_null(strstr(vlpc_compiler_error(e2e_compiler), "expected: fp32 or bf16"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(photos_are_answered_as_in_fp32),
      cmocka_unit_test(targets_and_reference_agree),
      cmocka_unit_test(threads_and_batches_change_nothing),
      cmocka_unit_test(texts_have_the_same_bits),
      cmocka_unit_test(artifacts_state_their_error),
      cmocka_unit_test(code_that_measured_is_kept),
      cmocka_unit_test(refuses_what_it_cannot_measure_on),
  };
  return cmocka_run_group_tests(tests, set_up, e2e_tear_down);
}
