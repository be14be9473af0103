/* SPDX-License-Identifier: Apache-2.0 */
/* e2e_adapters.c - vlpc_classify with methods that change features or scores, and with
** averaged templates: the probabilities of what the entry `model` gives for the same
** photo and texts (tests/prompts holds that entry against the formulas in PyTorch). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/safetensors.h"
#include "tests/e2e/e2e_kit.h"

enum { LABELS = 3, SIDE = 224, IDS_MOST = 128, EMBED_MOST = 1024 };

#define PHOTO VLPC_SOURCE_DIR "/models/photos/eurosat_test/Forest/Forest_1015.jpg"
#define MODEL VLPC_SOURCE_DIR "/models/small_clip/model.onnx"

static const char *const labels[LABELS] = {"forest", "river", "annual crop"};
static const vlpc_image photo = {.path = PHOTO};

static Line open_with(vlpc_prompt_options o) {
  o.struct_size = sizeof o;
  o.models[0] = MODEL;
  o.output = e2e_file("%s.onnx", o.method);
  e2e_ok(vlpc_prompt_write(e2e_compiler, &o));
  vlpc_compile_options k = {.models = {MODEL}, .prompt = o.output};
  k.tokenizer = VLPC_SOURCE_DIR "/models/small_clip/tokenizer.json";
  return line_open(e2e_compile(k, arena_printf(e2e, "%s.vlpc", o.method)),
                   (vlpc_session_options){.threads = 2});
}

static void ok(const Line *l, vlpc_status st) {
  if (st != VLPC_OK) fail_msg("%s", vlpc_session_error(l->s));
}

/* Values for all that the artifact takes: small, of both signs, none like the next. */
static Safetensors fill(const Line *l, const char *method) {
  SafeText *text = arena_array(e2e, SafeText, 2);
  text[0] = (SafeText){"vlpc_prompt", "1"}, text[1] = (SafeText){"method", method};
  Safetensors set = {arena_array(e2e, SafeTensor, 8), 0, text, 2};
  vlpc_port p = {.struct_size = sizeof p};
  for (; vlpc_artifact_trainable(l->a, set.n, &p); set.n++) {
    SafeTensor *t = &set.at[set.n];
    size_t n = 1;
    *t = (SafeTensor){.name = arena_strdup(e2e, p.name), .dtype = p.dtype};
    t->rank = (uint32_t)p.rank;
    for (int32_t i = 0; i < p.rank; i++) {
      t->size[i] = p.shape[i] < 0 ? LABELS : p.shape[i];
      n *= (size_t)t->size[i];
    }
    float *x = arena_array(e2e, float, n);
    for (size_t i = 0; i < n; i++) x[i] = p.rank == 0 ? 2 : (float)((i * 37 % 101) / 505.0 - 0.09);
    t->data = (const void *)x, t->bytes = n * sizeof *x;
  }
  return set;
}

static void give_prompts(const Line *l, const char *method) {
  Safetensors set = fill(l, method);
  const char *path = e2e_file("%s.safetensors", method);
  vlpc_prompts *p;
  assert_int_equal(safetensors_write(path, &set, e2e, NULL), VLPC_OK);
  if (vlpc_prompts_open(path, &p) != VLPC_OK) fail_msg("%s", vlpc_prompts_error(p));
  ok(l, vlpc_session_set_prompts(l->s, p));
  vlpc_prompts_close(p);
}

static void softmax(const float *x, double *out) {
  double most = fmax(x[0], fmax(x[1], x[2])), sum = 0;
  for (int i = 0; i < LABELS; i++) sum += exp(x[i] - most);
  for (int i = 0; i < LABELS; i++) out[i] = exp(x[i] - most) / sum;
}

/* Of the entry `model`, which computes both towers and all that the module adds. */
static void want_of_model(const Line *l, const char *pattern, double *out) {
  float *pixels = arena_array(e2e, float, 3 * SIDE * SIDE);
  int64_t *ids = arena_array(e2e, int64_t, LABELS * IDS_MOST);
  vlpc_artifact_info info = {.struct_size = sizeof info};
  uint32_t used;
  assert_true(vlpc_artifact_get_info(l->a, &info) && info.context_length <= IDS_MOST);
  uint32_t length = info.context_length ? (uint32_t)info.context_length : 77;
  for (uint32_t i = 0; i < LABELS; i++)
    ok(l, vlpc_tokenize(l->s, arena_printf(e2e, "%s%s.", pattern, labels[i]), ids + i * length,
                        length, &used));
  ok(l, vlpc_preprocess(l->s, &photo, pixels));
  vlpc_tensor image = {pixels, VLPC_F32, 4, {1, 3, SIDE, SIDE}};
  vlpc_tensor text = {ids, VLPC_I64, 2, {LABELS, length}};
  ok(l, vlpc_session_set_input(l->s, "model", "image", &image));
  ok(l, vlpc_session_set_input(l->s, "model", "text", &text));
  ok(l, vlpc_session_run(l->s, "model"));
  softmax(line_output(l, "model", "logits_per_image").data, out);
}

static void near_want(const float *got, const double *want) {
  for (int i = 0; i < LABELS; i++)
    if (fabs(got[i] - want[i]) > 2e-5) fail_msg("%d: %.8g, not %.8g", i, (double)got[i], want[i]);
}

static void adapters_change_the_answers(void **state) {
  static const vlpc_prompt_options method[] = {
      {.method = "clip-adapter"}, {.method = "tip-adapter", .classes = LABELS, .keys = 7}};
  double want[LABELS], plain[LABELS];
  float got[LABELS];
  (void)state;
  Line zero = open_with((vlpc_prompt_options){.method = "zero-shot"});
  want_of_model(&zero, "a photo of a ", plain);
  ok(&zero, vlpc_set_labels(zero.s, labels, LABELS, "a photo of a {}."));
  ok(&zero, vlpc_classify(zero.s, &photo, 1, got));
  near_want(got, plain);
  for (size_t i = 0; i < VL_COUNT(method); i++) {
    Line l = open_with(method[i]);
    give_prompts(&l, method[i].method);
    ok(&l, vlpc_set_labels(l.s, labels, LABELS, "a photo of a {}."));
    ok(&l, vlpc_classify(l.s, &photo, 1, got));
    want_of_model(&l, "a photo of a ", want);
    near_want(got, want);
    assert_true(fabs(want[0] - plain[0]) > 1e-3);
    line_close(&l);
  }
  line_close(&zero);
}

/* Of CoOp's eight templates; features of unit length are averaged, and then have it. */
static void templates_are_averaged(void **state) {
  static const char *const begin[] = {"itap of a ", "a bad photo of the ", "a origami ",
                                      "a photo of the large ", "a ", "art of the ",
                                      "a photo of the small ", "a photo of a "};
  float one[EMBED_MOST], image[EMBED_MOST], got[LABELS], scores[LABELS];
  double want[LABELS];
  (void)state;
  Line l = open_with((vlpc_prompt_options){.method = "zero-shot-ensemble"});
  vlpc_artifact_info info = {.struct_size = sizeof info};
  assert_true(vlpc_artifact_get_info(l.a, &info) && info.embed_dim <= EMBED_MOST);
  ok(&l, vlpc_embed_images(l.s, &photo, 1, image));
  for (int i = 0; i < LABELS; i++) {
    double sum[EMBED_MOST] = {0}, square = 0, dot = 0;
    for (size_t t = 0; t < VL_COUNT(begin); t++) {
      const char *more = t == 4 ? " in a video game" : "";
      const char *text = arena_printf(e2e, "%s%s%s.", begin[t], labels[i], more);
      ok(&l, vlpc_embed_texts(l.s, &text, 1, one));
      for (int k = 0; k < info.embed_dim; k++) sum[k] += (double)one[k];
    }
    for (int k = 0; k < info.embed_dim; k++) square += sum[k] * sum[k], dot += sum[k] * image[k];
    scores[i] = (float)(info.logit_scale * dot / sqrt(square));
  }
  softmax(scores, want);
  ok(&l, vlpc_set_labels(l.s, labels, LABELS, NULL));
  ok(&l, vlpc_classify(l.s, &photo, 1, got));
  near_want(got, want);
  line_close(&l);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(adapters_change_the_answers),
      cmocka_unit_test(templates_are_averaged),
  };
  return cmocka_run_group_tests(tests, e2e_set_up, e2e_tear_down);
}
