/* SPDX-License-Identifier: Apache-2.0 */
/* test_prompts.c - prompt sets are refused in words when they do not fit, give
** what their values say, and changing between them computes nothing anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/safetensors.h"
#include "base/str.h"
#include "tests/runtime/toy.h"
#include "vlpc/vlpc.h"

static char folder[256], artifact[300], plain[300], classes[300], follows[300];
static char templates[300];

static int setup(void **state) {
  (void)state;
  toy_folder(folder);
  snprintf(artifact, sizeof artifact, "%s/a.vlpc", folder);
  snprintf(plain, sizeof plain, "%s/plain.vlpc", folder);
  snprintf(classes, sizeof classes, "%s/classes.vlpc", folder);
  snprintf(follows, sizeof follows, "%s/follows.vlpc", folder);
  toy_write(artifact, TOY_PROMPTS | TOY_TOKENIZER);
  toy_write(classes, TOY_PROMPTS | TOY_CLASSES | TOY_TOKENIZER);
  snprintf(templates, sizeof templates, "%s/templates.vlpc", folder);
  toy_write(templates, TOY_PROMPTS | TOY_TEMPLATES | TOY_TOKENIZER);
  toy_write(follows, TOY_PROMPTS | TOY_FOLLOWS | TOY_TOKENIZER);
  toy_write(plain, TOY_TOKENIZER);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  toy_clean(folder);
  return 0;
}

static vlpc_session *new_session(const char *path) {
  vlpc_artifact *a;
  vlpc_session *s;
  vlpc_session_options o = {.struct_size = sizeof o, .threads = 2,
                            .compiler_library = toy_compiler()};
  assert_int_equal(vlpc_artifact_open(path, NULL, &a), VLPC_OK);
  assert_int_equal(vlpc_session_new(a, &o, &s), VLPC_OK);
  vlpc_artifact_close(a);
  return s;
}

/* ---- sets --------------------------------------------------------------- */

/* A set of ctx[i] = k, bias[i] = 10 k + i; head when rows > 0.  texts ends with a
** NULL key and is changed by no call. */
typedef struct {
  float ctx[32], bias[4], head[40];
  SafeTensor t[4];
  Safetensors set;
} Set;

static const SafeText texts[] = {{"vlpc_prompt", "1"},
                                 {"method", "toy"},
                                 {"base", TOY_BASE},
                                 {"classes", "[\"cat\", \"dog\"]"}};

static void fill(Set *x, float k, int64_t rows) {
  for (int i = 0; i < 32; i++) x->ctx[i] = k;
  for (int i = 0; i < 4; i++) x->bias[i] = 10 * k + (float)i;
  memset(x->head, 0, sizeof x->head);
  x->t[0] = (SafeTensor){"ctx", VLPC_F32, 2, {4, 8}, x->ctx, sizeof x->ctx};
  x->t[1] = (SafeTensor){"bias", VLPC_F32, 1, {4}, x->bias, sizeof x->bias};
  x->t[2] = (SafeTensor){"head", VLPC_F32, 2, {rows, 4}, x->head, (uint64_t)rows * 16};
  x->set = (Safetensors){x->t, rows ? 3 : 2, (SafeText *)(uintptr_t)texts, VL_COUNT(texts)};
}

/* The set as bytes of a file, opened from memory under the name "x". */
static vlpc_status open_set(const Safetensors *set, vlpc_prompts **out) {
  char path[300];
  uint8_t *bytes;
  size_t n;
  Arena *a = arena_new(0);
  snprintf(path, sizeof path, "%s/set.safetensors", folder);
  assert_int_equal(safetensors_write(path, set, a, NULL), VLPC_OK);
  assert_int_equal(io_read(path, 1 << 20, a, NULL, &bytes, &n), VLPC_OK);
  vlpc_status st = vlpc_prompts_open_memory(bytes, n, "x", out);
  arena_free(a);
  return st;
}

static vlpc_prompts *sound_set(float k) {
  Set x;
  vlpc_prompts *p;
  fill(&x, k, 2);
  if (open_set(&x.set, &p) != VLPC_OK) fail_msg("%s", vlpc_prompts_error(p));
  return p;
}

static void tells_what_it_holds(void **state) {
  (void)state;
  vlpc_prompts *p = sound_set(1);
  vlpc_prompts_info info = {.struct_size = sizeof info};
  const char *name;
  vlpc_tensor t;
  assert_true(vlpc_prompts_get_info(p, &info));
  assert_string_equal(info.method, "toy");
  assert_string_equal(info.base, TOY_BASE);
  assert_null(info.template_text);
  assert_true(info.n_classes == 2 && info.n_tensors == 3 && info.bytes == 128 + 16 + 32);
  assert_string_equal(vlpc_prompts_class(p, 1), "dog");
  assert_null(vlpc_prompts_class(p, 2));
  assert_true(vlpc_prompts_tensor(p, 0, &name, &t));
  assert_string_equal(name, "bias"); /* in the order of the file */
  assert_true(t.rank == 1 && t.shape[0] == 4 && ((const float *)t.data)[3] == 13);
  assert_false(vlpc_prompts_tensor(p, 3, &name, &t));
  vlpc_prompts_close(p);
}

static void the_artifact_tells_what_it_takes(void **state) {
  (void)state;
  vlpc_artifact *a;
  vlpc_module_info info = {.struct_size = sizeof info};
  vlpc_port port = {.struct_size = sizeof port};
  assert_int_equal(vlpc_artifact_open(artifact, NULL, &a), VLPC_OK);
  assert_true(vlpc_artifact_module(a, &info));
  assert_string_equal(info.method, "toy");
  assert_true(info.slot_rows == 4 && info.n_trainables == 3);
  assert_string_equal(info.slot_phrase, "a photo of a");
  assert_true(vlpc_artifact_trainable(a, 2, &port));
  assert_string_equal(port.name, "head");
  assert_true(port.rank == 2 && port.shape[0] == -1 && port.shape[1] == 4);
  assert_string_equal(port.symbol[0], "classes");
  assert_false(vlpc_artifact_trainable(a, 3, &port));
  assert_true(vlpc_artifact_port(a, "image", VLPC_INPUT, 0, &port) && !port.of_prompts);
  assert_true(vlpc_artifact_port(a, "image", VLPC_INPUT, 1, &port) && port.of_prompts);
  assert_true(vlpc_artifact_port(a, "text", VLPC_INPUT, 1, &port) && port.of_prompts);
  for (uint32_t i = 0; vlpc_artifact_entry(a, i); i++)
    assert_string_not_equal(vlpc_artifact_entry(a, i), "prompts");
  vlpc_artifact_close(a);
  assert_int_equal(vlpc_artifact_open(plain, NULL, &a), VLPC_OK);
  assert_false(vlpc_artifact_module(a, &info));
  vlpc_artifact_close(a);
}

static void sets_that_lie_are_errors(void **state) {
  static const struct {
    SafeText text; /* in the place of the one with this key */
    const char *error;
  } row[] = {
      {{"method", ""},
       "x: is no prompt set: its texts lack vlpc_prompt or method\n"
       "  fix:      import a checkpoint with vlpc prompt import"},
      {{"vlpc_prompt", "2"},
       "x: vlpc_prompt: is a version that this vlpc does not know\n  found:    2\n  expected: 1"},
      {{"base", "00"}, "x: base: is not 32 hexadecimal digits"},
      {{"template", "a photo"}, "x: template: has no place {} for the class name"},
      {{"classes", "cat"}, "x: classes: is no sound JSON"},
      {{"classes", "{}"}, "x: classes: is no list of 1 to 100000 names"},
      {{"classes", "[]"}, "x: classes: is no list of 1 to 100000 names"},
      {{"classes", "[\"a\", 1]"}, "x: classes: has an element that is no name of 1 to 1024 bytes"},
      {{"classes", "[\"a\", \"\"]"},
       "x: classes: has an element that is no name of 1 to 1024 bytes"},
  };
  (void)state;
  for (size_t i = 0; i < VL_COUNT(row); i++) {
    Set x;
    vlpc_prompts *p;
    char want[300];
    SafeText own[VL_COUNT(texts) + 1];
    size_t n = VL_COUNT(texts);
    memcpy(own, texts, sizeof texts);
    own[n] = row[i].text;
    for (size_t k = 0; k < n; k++)
      if (strcmp(own[k].key, row[i].text.key) == 0) own[k] = row[i].text, own[n].key = NULL;
    fill(&x, 1, 2);
    x.set.text = own, x.set.n_texts = (uint32_t)(n + (own[n].key != NULL));
    assert_int_equal(open_set(&x.set, &p), VLPC_E_BAD_FILE);
    snprintf(want, sizeof want, "vlpc: error[E1023]: %s\n", row[i].error);
    assert_string_equal(vlpc_prompts_error(p), want);
    assert_false(vlpc_prompts_get_info(p, &(vlpc_prompts_info){.struct_size = 8}));
    vlpc_prompts_close(p);
  }
  Set x;
  vlpc_prompts *p;
  fill(&x, 1, 2);
  x.t[0].dtype = VLPC_I32;
  assert_int_equal(open_set(&x.set, &p), VLPC_E_BAD_FILE);
  assert_string_equal(vlpc_prompts_error(p),
                      "vlpc: error[E1023]: x: tensor 'ctx': a trainable has a name and floats\n");
  vlpc_prompts_close(p);
  assert_int_equal(vlpc_prompts_open("absent.safetensors", &p), VLPC_E_IO);
  vlpc_prompts_close(p);
  assert_int_equal(vlpc_prompts_open(NULL, &p), VLPC_E_INVALID_ARG);
  vlpc_prompts_close(p);
}

/* ---- fit ---------------------------------------------------------------- */

typedef void LieFn(Set *x, SafeText *own);
static void lie_method(Set *x, SafeText *own) { (void)x, own[1].value = "coop"; }
static void lie_base(Set *x, SafeText *own) {
  (void)x, own[2].value = "ffffffffffffffffffffffffffffffff";
}
static void lie_shape(Set *x, SafeText *own) {
  (void)own, x->t[0].size[0] = 8, x->t[0].size[1] = 4;
}
static void lie_rank(Set *x, SafeText *own) {
  (void)own, x->t[0].rank = 1, x->t[0].size[0] = 32;
}
static void lie_dtype(Set *x, SafeText *own) {
  (void)own, x->t[0].dtype = VLPC_F16, x->t[0].bytes = 64;
}
static void lie_missing(Set *x, SafeText *own) { (void)own, x->set.at = x->t + 1, x->set.n = 2; }
static void lie_name(Set *x, SafeText *own) { (void)own, x->t[2].name = "other"; }
static void lie_classes(Set *x, SafeText *own) { (void)x, own[3].value = "[\"a\",\"b\",\"c\"]"; }

static void sets_that_do_not_fit_are_errors(void **state) {
  static const struct {
    LieFn *lie;
    const char *error;
  } row[] = {
      {lie_method, "x: is of another method than the artifact\n"
                   "  found:    coop\n  expected: toy\n"},
      {lie_base, "x: was trained on another model\n"
                 "  found:    base ffffffffffffffffffffffffffffffff\n  expected: " TOY_BASE "\n"},
      {lie_shape, "x: tensor 'ctx': does not fit the artifact's trainable\n"
                  "  found:    f32[8, 4]\n  expected: f32[4, 8]\n"},
      {lie_rank, "x: tensor 'ctx': does not fit the artifact's trainable\n"
                 "  found:    f32[32]\n  expected: f32[4, 8]\n"},
      {lie_dtype, "x: tensor 'ctx': does not fit the artifact's trainable\n"
                  "  found:    f16[4, 8]\n  expected: f32[4, 8]\n"},
      {lie_missing, "x: lacks a tensor that the artifact takes\n  expected: ctx\n"},
      {lie_name, "x: has a tensor that the artifact does not take\n  found:    other\n"},
      {lie_classes,
       "x: its tensors with a row for each class differ in the number of classes\n"},
  };
  (void)state;
  vlpc_session *s = new_session(artifact);
  for (size_t i = 0; i < VL_COUNT(row); i++) {
    Set x;
    vlpc_prompts *p;
    char want[700];
    SafeText own[VL_COUNT(texts)];
    memcpy(own, texts, sizeof texts);
    fill(&x, 1, 2);
    x.set.text = own;
    row[i].lie(&x, own);
    if (open_set(&x.set, &p) != VLPC_OK) fail_msg("%s", vlpc_prompts_error(p));
    assert_int_equal(vlpc_session_set_prompts(s, p), VLPC_E_MISMATCH);
    snprintf(want, sizeof want, "vlpc: error[E1024]: %s  note:     the artifact is %s\n",
             row[i].error, artifact);
    assert_string_equal(vlpc_session_error(s), want);
    vlpc_prompts_close(p);
  }
  vlpc_session_free(s);
  s = new_session(plain);
  vlpc_prompts *p = sound_set(1);
  assert_int_equal(vlpc_session_set_prompts(s, p), VLPC_E_MISMATCH);
  assert_non_null(strstr(vlpc_session_error(s), "x: the artifact takes no prompts\n"));
  assert_non_null(strstr(vlpc_session_error(s), "fix:      compile it with --prompt MODULE.onnx"));
  vlpc_prompts_close(p);
  vlpc_session_free(s);
}

static void a_set_without_losses_tensors_fits(void **state) {
  (void)state;
  Set x;
  vlpc_prompts *p;
  vlpc_session *s = new_session(artifact);
  fill(&x, 1, 0);
  assert_int_equal(open_set(&x.set, &p), VLPC_OK);
  assert_int_equal(vlpc_session_set_prompts(s, p), VLPC_OK);
  vlpc_prompts_close(p);
  vlpc_session_free(s);
}

/* ---- results ------------------------------------------------------------ */

/* features of a photo of zeros: bias of the set. */
static vlpc_status image_of_zeros(vlpc_session *s, float out[4]) {
  static float pixels[192];
  vlpc_tensor v = {pixels, VLPC_F32, 4, {1, 3, 8, 8}}, t;
  vlpc_status st = vlpc_session_set_input(s, "image", "pixels", &v);
  if (st == VLPC_OK) st = vlpc_session_run(s, "image");
  if (st == VLPC_OK) st = vlpc_session_output(s, "image", "image_features", &t);
  if (st == VLPC_OK) memcpy(out, t.data, 16);
  return st;
}

/* features of ids that are 0: [Σ (i + 4), 0, 0, 0] = [184, 0, 0, 0] plus 8 k. */
static vlpc_status text_of_zeros(vlpc_session *s, float out[4]) {
  static int64_t ids[16];
  vlpc_tensor v = {ids, VLPC_I64, 2, {1, 16}}, t;
  vlpc_status st = vlpc_session_set_input(s, "text", "ids", &v);
  if (st == VLPC_OK) st = vlpc_session_run(s, "text");
  if (st == VLPC_OK) st = vlpc_session_output(s, "text", "text_features", &t);
  if (st == VLPC_OK) memcpy(out, t.data, 16);
  return st;
}

static void check_results(vlpc_session *s, float k) {
  float x[4];
  assert_int_equal(image_of_zeros(s, x), VLPC_OK);
  for (int i = 0; i < 4; i++) assert_true(x[i] == 10 * k + (float)i);
  assert_int_equal(text_of_zeros(s, x), VLPC_OK);
  assert_true(x[0] == 184 + 8 * k && x[3] == 8 * k);
}

static void check_missing(vlpc_session *s, vlpc_status st, const char *entry) {
  char want[600];
  snprintf(want, sizeof want,
           "vlpc: error[E1025]: %s: entry '%s' needs a prompt set\n"
           "  expected: one of method toy\n"
           "  fix:      give one with --prompts FILE (vlpc_session_set_prompts)\n",
           artifact, entry);
  assert_int_equal(st, VLPC_E_INVALID_ARG);
  assert_string_equal(vlpc_session_error(s), want);
}

static void a_set_gives_its_values(void **state) {
  (void)state;
  float x[4];
  vlpc_session *s = new_session(artifact);
  check_missing(s, image_of_zeros(s, x), "image");
  check_missing(s, text_of_zeros(s, x), "text");
  vlpc_prompts *p = sound_set(1), *q = sound_set(2);
  assert_int_equal(vlpc_session_set_prompts(s, p), VLPC_OK);
  vlpc_prompts_close(p); /* the session holds it */
  check_results(s, 1);
  assert_int_equal(vlpc_session_set_prompts(s, q), VLPC_OK);
  check_results(s, 2);
  assert_int_equal(vlpc_session_set_prompts(s, NULL), VLPC_OK);
  check_missing(s, image_of_zeros(s, x), "image");
  assert_int_equal(vlpc_session_set_prompts(s, q), VLPC_OK);
  check_results(s, 2);
  assert_int_equal(vlpc_session_forget_prompts(s, q), VLPC_OK);
  check_missing(s, text_of_zeros(s, x), "text");
  vlpc_prompts_close(q);
  vlpc_session_free(s);
}

static uint64_t launches(const vlpc_session *s) {
  vlpc_session_info info = {.struct_size = sizeof info};
  assert_true(vlpc_session_get_info(s, &info));
  return info.launches;
}

/* A hundred sets in one session: changing launches nothing, the first run with a set
** computes it, once, and their tensors are used where they are. */
static void changing_is_a_change_of_pointers(void **state) {
  enum { SETS = 100 };
  vlpc_prompts *p[SETS];
  (void)state;
  vlpc_session *s = new_session(artifact);
  for (int i = 0; i < SETS; i++) {
    p[i] = sound_set((float)i);
    assert_int_equal(vlpc_session_set_prompts(s, p[i]), VLPC_OK);
  }
  assert_int_equal(launches(s), 0);
  for (int i = 0; i < 2 * SETS; i++) {
    assert_int_equal(vlpc_session_set_prompts(s, p[i % SETS]), VLPC_OK);
    uint64_t before = launches(s);
    check_results(s, (float)(i % SETS));
    assert_int_equal(launches(s) - before, i < SETS ? 5 : 4);
  }
  assert_int_equal(vlpc_session_set_prompts(s, p[98]), VLPC_OK);
  const char *name;
  vlpc_tensor t;
  assert_true(vlpc_prompts_tensor(p[98], 0, &name, &t));
  ((float *)t.data)[0] = -1; /* from memory, so that it can be written here */
  float x[4];
  assert_int_equal(image_of_zeros(s, x), VLPC_OK);
  assert_true(x[0] == -1 && x[1] == 981);
  for (int i = 0; i < SETS; i++) vlpc_prompts_close(p[i]);
  vlpc_session_free(s);
}

typedef struct {
  vlpc_session *s;
  vlpc_prompts *const *p;
  int wrong;
} Worker;

static void *change_and_run(void *ctx) {
  Worker *w = ctx;
  for (int i = 0; i < 60; i++) {
    float x[4] = {0};
    w->wrong += vlpc_session_set_prompts(w->s, w->p[i % 3]) != VLPC_OK;
    w->wrong += image_of_zeros(w->s, x) != VLPC_OK || x[1] != (float)(10 * (i % 3) + 1);
    if (i % 7 == 0) w->wrong += vlpc_session_forget_prompts(w->s, w->p[i % 3]) != VLPC_OK;
  }
  vlpc_session_free(w->s);
  return NULL;
}

/* Sets are shared by sessions on threads of their own. */
static void sessions_share_sets(void **state) {
  enum { THREADS = 4 };
  pthread_t thread[THREADS];
  Worker w[THREADS];
  (void)state;
  vlpc_prompts *p[3] = {sound_set(0), sound_set(1), sound_set(2)};
  for (int i = 0; i < THREADS; i++) {
    w[i] = (Worker){new_session(artifact), p, 0};
    assert_int_equal(pthread_create(&thread[i], NULL, change_and_run, &w[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
  for (int i = 0; i < THREADS; i++) assert_int_equal(w[i].wrong, 0);
  for (int i = 0; i < 3; i++) vlpc_prompts_close(p[i]);
}

/* ---- labels ------------------------------------------------------------- */

static void classify(vlpc_session *s, float out[2]) {
  static const uint8_t grey[8 * 8 * 3];
  if (vlpc_classify(s, &(vlpc_image){.rgb = grey, .width = 8, .height = 8}, 1, out) != VLPC_OK)
    fail_msg("%s", vlpc_session_error(s));
}

static void labels_follow_the_set(void **state) {
  static const char *const labels[] = {"cat", "dog"};
  float fresh[2][2], now[2];
  (void)state;
  vlpc_prompts *p[2] = {sound_set(-3), sound_set(2)};
  for (int i = 0; i < 2; i++) {
    vlpc_session *s = new_session(artifact);
    assert_int_equal(vlpc_session_set_prompts(s, p[i]), VLPC_OK);
    assert_int_equal(vlpc_set_labels(s, labels, 2, "a photo of a {}."), VLPC_OK);
    classify(s, fresh[i]);
    vlpc_session_free(s);
  }
  assert_memory_not_equal(fresh[0], fresh[1], sizeof fresh[0]);
  vlpc_session *s = new_session(artifact);
  assert_int_equal(vlpc_set_labels(s, labels, 2, NULL), VLPC_OK); /* the slot's phrase */
  static const uint8_t grey[8 * 8 * 3];
  check_missing(s, vlpc_classify(s, &(vlpc_image){.rgb = grey, .width = 8, .height = 8}, 1, now),
                "text");
  for (int i = 0; i < 6; i++) {
    assert_int_equal(vlpc_session_set_prompts(s, p[i % 2]), VLPC_OK);
    uint64_t before = launches(s);
    classify(s, now);
    assert_memory_equal(now, fresh[i % 2], sizeof now);
    /* prompts and texts only the first time */
    assert_int_equal(launches(s) - before, i < 2 ? 5 : 2);
  }
  vlpc_session_free(s);
  vlpc_prompts_close(p[0]), vlpc_prompts_close(p[1]);
}

/* Other labels are other features with each set, and sets stay bound between calls. */
static void labels_can_change(void **state) {
  static const char *const labels[] = {"cat", "dog"}, *const swapped[] = {"dog", "cat"};
  float first[2], now[2];
  (void)state;
  vlpc_prompts *p[2] = {sound_set(-3), sound_set(2)};
  vlpc_session *s = new_session(artifact);
  assert_int_equal(vlpc_session_set_prompts(s, p[0]), VLPC_OK);
  assert_int_equal(vlpc_set_labels(s, labels, 2, NULL), VLPC_OK);
  classify(s, first);
  classify(s, now);
  assert_memory_equal(now, first, sizeof now);
  assert_true(first[0] != first[1]);
  assert_int_equal(vlpc_session_set_prompts(s, p[1]), VLPC_OK);
  assert_int_equal(vlpc_set_labels(s, swapped, 2, NULL), VLPC_OK);
  assert_int_equal(vlpc_session_set_prompts(s, p[0]), VLPC_OK);
  classify(s, now);
  assert_true(now[0] == first[1] && now[1] == first[0]);
  vlpc_session_free(s);
  vlpc_prompts_close(p[0]), vlpc_prompts_close(p[1]);
}

#define LONG_NAME "a a a a a a a a a"
#define TOO_LONG(text, words, fix) \
  "vlpc: error[E0809]: %s: the text " text " has more rows than the model takes\n" \
  "  found:    " words "\n  expected: at most 16\n  fix:      shorten the " fix "\n"

/* Learned rows, template and name are held against the context when labels are set, with
** prompts and without; a text that fits to the row is taken. */
static void classes_that_do_not_fit_are_named(void **state) {
  static const char *const labels[] = {"cat", LONG_NAME " a"};
  static const char *const fit[] = {LONG_NAME};
  const char *path[] = {artifact, artifact, follows}, *text = "a photo of a " LONG_NAME "aa.";
  char want[700];
  float f[4];
  (void)state;
  for (int i = 0; i < 3; i++) {
    vlpc_session *s = new_session(path[i]);
    vlpc_prompts *p = sound_set(1);
    if (i > 0) assert_int_equal(vlpc_session_set_prompts(s, p), VLPC_OK);
    assert_int_equal(vlpc_set_labels(s, labels, 2, NULL), VLPC_E_LIMIT);
    snprintf(want, sizeof want,
             TOO_LONG("of class '" LONG_NAME " a'",
                      "17 rows: start, 4 learned, 11 of words, end",
                      "name or template, or learn fewer rows"), path[i]);
    assert_string_equal(vlpc_session_error(s), want);
    assert_int_equal(vlpc_set_labels(s, labels, 2, "{}"), VLPC_OK);
    assert_int_equal(vlpc_set_labels(s, fit, 1, NULL), VLPC_OK);
    if (i == 1) {
      assert_int_equal(vlpc_embed_texts(s, &text, 1, f), VLPC_E_LIMIT);
      snprintf(want, sizeof want,
               TOO_LONG("'a photo of a " LONG_NAME "aa.'",
                        "17 rows: start, 4 learned, 11 of words, end",
                        "text, or learn fewer rows"), path[i]);
      assert_string_equal(vlpc_session_error(s), want);
    }
    vlpc_session_free(s);
    vlpc_prompts_close(p);
  }
}

/* Photos of one call may name sets of their own; NULL is the session's. */
static void photos_of_a_batch_name_their_sets(void **state) {
  enum { PHOTOS = 7 };
  static const char *const labels[] = {"cat", "dog"};
  static const uint8_t grey[8 * 8 * 3];
  float alone[3][2], features[3][4], all[PHOTOS][2], embedded[PHOTOS][4];
  vlpc_image image[PHOTOS];
  (void)state;
  vlpc_prompts *p[3] = {sound_set(-3), sound_set(2), sound_set(5)};
  vlpc_session *s = new_session(artifact);
  assert_int_equal(vlpc_set_labels(s, labels, 2, NULL), VLPC_OK);
  for (int i = 2; i >= 0; i--) {
    assert_int_equal(vlpc_session_set_prompts(s, p[i]), VLPC_OK);
    classify(s, alone[i]);
    image[0] = (vlpc_image){.rgb = grey, .width = 8, .height = 8};
    assert_int_equal(vlpc_embed_images(s, image, 1, features[i]), VLPC_OK);
  }
  for (int i = 0; i < PHOTOS; i++) {
    image[i] = image[0];
    image[i].prompts = i % 3 ? p[i % 3] : NULL; /* the session's is p[0] */
  }
  uint64_t before = launches(s);
  assert_int_equal(vlpc_classify(s, image, PHOTOS, all[0]), VLPC_OK);
  assert_int_equal(launches(s) - before, 3 * 2); /* a run for each set */
  assert_int_equal(vlpc_embed_images(s, image, PHOTOS, embedded[0]), VLPC_OK);
  for (int i = 0; i < PHOTOS; i++) {
    assert_memory_equal(all[i], alone[i % 3], sizeof all[i]);
    assert_memory_equal(embedded[i], features[i % 3], sizeof embedded[i]);
  }
  classify(s, all[0]); /* the session's set is still its own */
  assert_memory_equal(all[0], alone[0], sizeof all[0]);
  vlpc_session_free(s);
  for (int i = 0; i < 3; i++) vlpc_prompts_close(p[i]);
}

/* ---- what a module may ask for -------------------------------------------- */

static void read_output(vlpc_session *s, const char *entry, const char *name, float out[2]) {
  vlpc_tensor t;
  if (vlpc_session_output(s, entry, name, &t) != VLPC_OK) fail_msg("%s", vlpc_session_error(s));
  assert_true(t.dtype == VLPC_F32 && t.rank == 1 && t.shape[0] == 2);
  memcpy(out, t.data, 2 * sizeof *out);
}

/* Sums of a text's features are those of its ids plus 4 · 8 k of the set. */
static void images_take_results_of_texts(void **state) {
  static const char *const labels[] = {"cat", "golden retriever"};
  float p[2], sums[2], plain_sums[2], lengths[2], again[2];
  (void)state;
  vlpc_prompts *set[2] = {sound_set(-3), sound_set(2)};
  vlpc_session *s = new_session(classes);
  float x[4];
  assert_int_equal(vlpc_session_set_prompts(s, set[0]), VLPC_OK);
  assert_int_equal(image_of_zeros(s, x), VLPC_E_INVALID_ARG); /* no labels yet */
  assert_non_null(strstr(vlpc_session_error(s), "input 'text_features' of entry 'image'"));
  assert_int_equal(vlpc_set_labels(s, labels, 2, "a photo of a {}."), VLPC_OK);
  read_output(s, "text", "lengths", lengths);
  assert_true(lengths[0] == 11 && lengths[1] >= 12); /* the table begins with 10 */
  for (int i = 0; i < 4; i++) {
    assert_int_equal(vlpc_session_set_prompts(s, set[i % 2]), VLPC_OK);
    classify(s, p);
    read_output(s, "image", "class_sums", sums);
    read_output(s, "image", "plain_sums", plain_sums);
    for (int k = 0; k < 2; k++)
      assert_true(sums[k] - plain_sums[k] == 32 * (i % 2 ? 2 : -3));
  }
  assert_int_equal(image_of_zeros(s, x), VLPC_OK); /* they stay bound */
  read_output(s, "image", "class_sums", again);
  assert_memory_equal(again, sums, sizeof sums);
  const char *one = "a cat";
  float f[4];
  assert_int_equal(vlpc_embed_texts(s, &one, 1, f), VLPC_E_UNSUPPORTED);
  assert_non_null(strstr(vlpc_session_error(s), "no way to tell names in these texts"));
  vlpc_session_free(s);
  vlpc_prompts_close(set[0]), vlpc_prompts_close(set[1]);
}

/* Texts that an image changes: each photo has its own, whatever the batch. */
static void texts_may_follow_images(void **state) {
  static const char *const labels[] = {"cat", "dog"};
  static uint8_t rgb[3][8 * 8 * 3];
  vlpc_image image[3];
  float all[3][2], one[2], of_ids[8] = {0};
  (void)state;
  for (int i = 0; i < 3; i++) {
    memset(rgb[i], 80 * i, sizeof rgb[i]);
    image[i] = (vlpc_image){.rgb = rgb[i], .width = 8, .height = 8};
  }
  vlpc_prompts *p = sound_set(1);
  vlpc_session *s = new_session(follows);
  assert_int_equal(vlpc_session_set_prompts(s, p), VLPC_OK);
  assert_int_equal(vlpc_set_labels(s, labels, 2, NULL), VLPC_OK);
  if (vlpc_classify(s, image, 3, all[0]) != VLPC_OK) fail_msg("%s", vlpc_session_error(s));
  for (int i = 0; i < 3; i++) {
    assert_int_equal(vlpc_classify(s, &image[i], 1, one), VLPC_OK);
    assert_memory_equal(one, all[i], sizeof one);
    /* the text entry's features are those of the ids plus the photo's */
    vlpc_tensor photo, text;
    float with[8];
    assert_int_equal(vlpc_session_output(s, "image", "image_features", &photo), VLPC_OK);
    assert_int_equal(vlpc_session_output(s, "text", "text_features", &text), VLPC_OK);
    memcpy(with, text.data, sizeof with);
    const float *f = photo.data;
    for (int k = 0; k < 8; k++) {
      float ids = roundf(with[k] - f[k % 4]); /* whole, and the same for every photo */
      assert_true(fabsf(with[k] - f[k % 4] - ids) < 0.01f && (i == 0 || ids == of_ids[k]));
      of_ids[k] = ids;
    }
  }
  vlpc_session_free(s);
  vlpc_prompts_close(p);
}

/* One label's features are those of its two texts, averaged; probabilities of two labels
** tell their difference: log(p / q) / 10 = (f_0 - f_1) · photo. */
static void templates_are_averaged(void **state) {
  static const char *const labels[] = {"cat", "dog"};
  static const char *const texts_of[] = {"itap of a cat.", "a cat in a video game.",
                                         "itap of a dog.", "a dog in a video game."};
  static const uint8_t grey[8 * 8 * 3];
  vlpc_image image = {.rgb = grey, .width = 8, .height = 8};
  float p[2], photo[4], text[4][4];
  double mean[2][4], dot[2] = {0, 0};
  (void)state;
  vlpc_prompts *set = sound_set(1);
  vlpc_session *s = new_session(templates);
  assert_int_equal(vlpc_session_set_prompts(s, set), VLPC_OK);
  assert_int_equal(vlpc_set_labels(s, labels, 2, NULL), VLPC_OK);
  classify(s, p);
  assert_int_equal(vlpc_embed_images(s, &image, 1, photo), VLPC_OK);
  assert_int_equal(vlpc_embed_texts(s, texts_of, 4, text[0]), VLPC_OK);
  for (int i = 0; i < 2; i++) {
    double square = 0;
    for (int k = 0; k < 4; k++) {
      mean[i][k] = (double)text[2 * i][k] + (double)text[2 * i + 1][k];
      square += mean[i][k] * mean[i][k];
    }
    for (int k = 0; k < 4; k++) dot[i] += mean[i][k] / sqrt(square) * (double)photo[k];
  }
  assert_true(dot[0] != dot[1]);
  assert_true(fabs(log((double)p[0] / (double)p[1]) / 10 - (dot[0] - dot[1])) < 1e-5);
  vlpc_session_free(s);
  vlpc_prompts_close(set);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(tells_what_it_holds),
      cmocka_unit_test(the_artifact_tells_what_it_takes),
      cmocka_unit_test(sets_that_lie_are_errors),
      cmocka_unit_test(sets_that_do_not_fit_are_errors),
      cmocka_unit_test(a_set_without_losses_tensors_fits),
      cmocka_unit_test(a_set_gives_its_values),
      cmocka_unit_test(changing_is_a_change_of_pointers),
      cmocka_unit_test(sessions_share_sets),
      cmocka_unit_test(labels_follow_the_set),
      cmocka_unit_test(labels_can_change),
      cmocka_unit_test(classes_that_do_not_fit_are_named),
      cmocka_unit_test(photos_of_a_batch_name_their_sets),
      cmocka_unit_test(images_take_results_of_texts),
      cmocka_unit_test(texts_may_follow_images),
      cmocka_unit_test(templates_are_averaged),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
