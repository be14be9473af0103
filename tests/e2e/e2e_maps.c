/* SPDX-License-Identifier: Apache-2.0 */
/* e2e_maps.c - vlpc_attention_maps: what ONNX Runtime's last softmax of the image tower
** gives for the same photo, with prompts and without, and where there are none. */
#include <math.h>
#include <string.h>

#include "tests/e2e/e2e_kit.h"

enum { ROWS = 197, VPT_ROWS = ROWS + 8, CLASSES = 2 };

#define SMALL VLPC_SOURCE_DIR "/models/small_clip/"
#define PHOTO VLPC_SOURCE_DIR "/models/photos/eurosat_test/Forest/Forest_1015.jpg"

static const vlpc_image photo = {.path = PHOTO};

static void ok(const Line *l, vlpc_status st) {
  if (st != VLPC_OK) fail_msg("%s", vlpc_session_error(l->s));
}

static Line open_method(const char *method, bool train) {
  vlpc_prompt_options o = {.struct_size = sizeof o, .method = method, .top_classes = CLASSES,
                           .models = {SMALL "model.onnx"}, .classes = CLASSES};
  if (strcmp(method, "dpt-cavpt") != 0) o.top_classes = o.classes = 0;
  o.output = e2e_file("%s.onnx", method);
  e2e_ok(vlpc_prompt_write(e2e_compiler, &o));
  vlpc_compile_options k = {.models = {SMALL "model.onnx"}, .prompt = o.output, .train = train};
  k.tokenizer = SMALL "tokenizer.json", k.preprocess = SMALL "preprocessor_config.json";
  return line_open(e2e_compile(k, arena_printf(e2e, "%s%d.vlpc", method, train)),
                   (vlpc_session_options){.threads = 2});
}

static void start(const Line *l) {
  static const char *const name[CLASSES] = {"forest", "river"};
  vlpc_start_options o = {.struct_size = sizeof o, .seed = 3, .classes = name,
                          .n_classes = CLASSES};
  vlpc_prompts *p;
  ok(l, vlpc_prompts_start(l->s, &o, &p));
  ok(l, vlpc_session_set_prompts(l->s, p));
  vlpc_prompts_close(p);
  ok(l, vlpc_set_labels(l->s, name, CLASSES, NULL));
}

static void shares(const float *map, uint32_t n) {
  double sum = 0;
  for (uint32_t i = 0; i < n; i++) {
    assert_true(map[i] > 0 && map[i] < 1);
    sum += (double)map[i];
  }
  assert_true(fabs(sum - 1) < 1e-5);
}

/* Learned words leave the image tower as it is: one map. */
static void is_that_of_the_model(const float *map) {
  static const struct {
    uint32_t row;
    double want;
  } at[] = {{0, 0.10924865}, {1, 0.02412423}, {2, 0.00087426},
            {13, 0.09278978}, {14, 0.11165205}, {196, 0.00948682}};
  for (size_t i = 0; i < VL_COUNT(at); i++)
    if (fabs((double)map[at[i].row] - at[i].want) > 2e-6)
      fail_msg("row %u: %.8f is not %.8f", at[i].row, (double)map[at[i].row], at[i].want);
  shares(map, ROWS);
}

static void without_prompts(void **state) {
  (void)state;
  float map[ROWS];
  Line l = open_method("coop", true);
  start(&l);
  ok(&l, vlpc_attention_maps(l.s, &photo, 1, "attention", map));
  is_that_of_the_model(map);
  assert_int_equal(vlpc_attention_maps(l.s, &photo, 1, "plain_attention", map), VLPC_E_UNSUPPORTED);
  assert_non_null(strstr(vlpc_session_error(l.s), "error[E0913]"));
  assert_non_null(strstr(vlpc_session_error(l.s), "no map 'plain_attention'"));
  line_close(&l);
}

/* Each photo alone gives what it gives beside others. */
static void with_prompts(void **state) {
  (void)state;
  static float plain[ROWS], map[3 * VPT_ROWS], alone[VPT_ROWS];
  const vlpc_image images[3] = {photo, {.path = SMALL "../photos/caltech101/Faces/image_0081.jpg"},
                                photo};
  Line l = open_method("vpt-deep", true);
  start(&l);
  ok(&l, vlpc_attention_maps(l.s, &photo, 1, "plain_attention", plain));
  is_that_of_the_model(plain);
  ok(&l, vlpc_attention_maps(l.s, images, 3, "attention", map));
  for (int i = 0; i < 3; i++) shares(map + i * VPT_ROWS, VPT_ROWS);
  assert_true(fabs((double)map[0] - (double)plain[0]) > 1e-4);
  ok(&l, vlpc_attention_maps(l.s, &images[1], 1, "attention", alone));
  same_bits(alone, map + VPT_ROWS, sizeof alone, "a photo alone");
  same_bits(map, map + 2 * VPT_ROWS, sizeof alone, "a photo again");
  line_close(&l);
}

/* Rows that are made of the classes' texts. */
static void with_classes(void **state) {
  (void)state;
  vlpc_port p = {.struct_size = sizeof p};
  float map[2 * ROWS];
  Line l = open_method("dpt-cavpt", true);
  assert_true(vlpc_artifact_port(l.a, "attention", VLPC_OUTPUT, 0, &p));
  assert_in_range(p.shape[1], ROWS + 1, VL_COUNT(map));
  start(&l);
  ok(&l, vlpc_attention_maps(l.s, &photo, 1, "attention", map));
  shares(map, (uint32_t)p.shape[1]);
  line_close(&l);
}

static void refuses(void **state) {
  (void)state;
  float map[VPT_ROWS];
  Line l = open_method("coop", false);
  assert_int_equal(vlpc_attention_maps(l.s, &photo, 1, "attention", map), VLPC_E_UNSUPPORTED);
  assert_int_equal(vlpc_attention_maps(l.s, &photo, 1, NULL, map), VLPC_E_INVALID_ARG);
  assert_int_equal(vlpc_attention_maps(l.s, NULL, 1, "attention", map), VLPC_E_INVALID_ARG);
  line_close(&l);
  l = open_method("vpt-deep", true);
  assert_int_equal(vlpc_attention_maps(l.s, &photo, 1, "attention", map), VLPC_E_INVALID_ARG);
  assert_non_null(strstr(vlpc_session_error(l.s), "needs a prompt set"));
  line_close(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(without_prompts),
      cmocka_unit_test(with_prompts),
      cmocka_unit_test(with_classes),
      cmocka_unit_test(refuses),
  };
  return cmocka_run_group_tests(tests, e2e_set_up, e2e_tear_down);
}
