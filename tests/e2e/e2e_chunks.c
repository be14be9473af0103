/* SPDX-License-Identifier: Apache-2.0 */
/* e2e_chunks.c - a step of training whose texts run some classes at a time: the same loss,
** gradients that differ in the order of their sums alone, and little memory for each class. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/str.h"
#include "runtime/artifact.h"
#include "runtime/manifest.h"
#include "runs.h"

enum { MOST = 600, BATCH = 2, SIDE = 224, GRADS = 24 };

typedef struct {
  const char *method, *place;
  bool own; /* rows of each class's own */
  uint32_t batch, classes;
} Case;

static const Case maple = {"maple", NULL, false, BATCH, 100};

static const char *artifact_with(const Case *x, const char *switches) {
  const char *name = arena_printf(e2e, "%s%s%s%s", x->method, x->own ? "_own" : "",
                                  x->place ? x->place : "", switches ? switches : "");
  const char *module = e2e_file("%s.onnx", name);
  vlpc_prompt_options p = {.struct_size = sizeof p, .method = x->method, .output = module,
                           .models = {CLIP "model.onnx"}, .place = x->place,
                           .class_rows = x->own, .classes = x->own ? x->classes : 0,
                           .tokenizer = CLIP "tokenizer.json"};
  e2e_ok(vlpc_prompt_write(e2e_compiler, &p));
  vlpc_compile_options o = {.models = {CLIP "model.onnx"}, .tokenizer = CLIP "tokenizer.json",
                            .prompt = module, .passes = switches, .train = 1};
  return e2e_compile(o, arena_printf(e2e, "%s.vlpc", name));
}

/* Made once. */
static const char *maple_artifact(void) {
  static const char *a;
  if (!a) a = artifact_with(&maple, NULL);
  return a;
}

/* ---- a step ------------------------------------------------------------------ */

static const char *class_name[MOST]; /* of one to three words */
static float *pixels;

static void draw(void) {
  Rng r = {7, 1};
  for (uint32_t i = 0; i < MOST; i++)
    class_name[i] = arena_printf(e2e, "%.*s%u", (int)(i % 3 * 6), "great blue ", i);
  pixels = arena_array(e2e, float, BATCH * 3 * SIDE * SIDE);
  for (uint32_t i = 0; i < BATCH * 3 * SIDE * SIDE; i++)
    pixels[i] = (float)(rng_u32(r, i) % 1000) / 500 - 1;
}

static void session_ok(const Line *l, vlpc_status s) {
  if (s != VLPC_OK) fail_msg("%s", vlpc_session_error(l->s));
}

/* A session with a fresh set and the step's inputs. */
static Line ready(const char *artifact, const Case *x, vlpc_session_options o) {
  static const char *const plain[] = {"a photo of a {}."};
  static int64_t label[BATCH] = {99, 3};
  vlpc_prompts *p = NULL;
  vlpc_start_options start = {.struct_size = sizeof start, .classes = class_name,
                              .n_classes = x->classes};
  vlpc_tensor image = {pixels, VLPC_F32, 4, {x->batch, 3, SIDE, SIDE}};
  vlpc_tensor labels = {label, VLPC_I64, 1, {x->batch}};
  Line l = line_open(artifact, o);
  session_ok(&l, vlpc_set_labels(l.s, class_name, x->classes, NULL));
  session_ok(&l, vlpc_prompts_start(l.s, &start, &p));
  session_ok(&l, vlpc_session_set_prompts(l.s, p));
  vlpc_prompts_close(p);
  session_ok(&l, vlpc_label_inputs(l.s, "train", plain, 1));
  session_ok(&l, vlpc_session_set_input(l.s, "train", "image", &image));
  session_ok(&l, vlpc_session_set_input(l.s, "train", "labels", &labels));
  vlpc_port port = {.struct_size = sizeof port};
  vlpc_tensor features = {pixels, VLPC_F32, 2, {x->batch, 512}};
  for (uint32_t i = 0; vlpc_artifact_port(l.a, "train", VLPC_INPUT, i, &port); i++)
    if (strcmp(port.name, "image_features") == 0)
      session_ok(&l, vlpc_session_set_input(l.s, "train", port.name, &features));
  return l;
}

/* The plan of a name; its own name is NULL when there is none. */
static vlpc_plan plan_of(const Line *l, const char *name) {
  vlpc_plan p = {.struct_size = sizeof p};
  for (uint32_t i = 0;; i++) {
    session_ok(l, vlpc_session_plan(l->s, "train", i, &p));
    if (!p.name || strcmp(p.name, name) == 0) return p;
  }
}

static uint64_t bytes_of(const char *artifact, const Case *x, const char *plan) {
  Line l = ready(artifact, x, (vlpc_session_options){.threads = 1});
  vlpc_plan p = plan_of(&l, plan);
  assert_non_null(p.name);
  line_close(&l);
  return p.activation_bytes;
}

static void count_step(void *user, const vlpc_step_info *step) {
  (void)step;
  ++*(uint32_t *)user;
}

typedef struct {
  uint32_t n;
  const char *name[GRADS];
  vlpc_tensor at[GRADS]; /* the loss and gradients */
} Step;

/* Two runs of the step, which give the same bits. */
static Step step_of(const char *artifact, const Case *x, vlpc_session_options o) {
  Line l = ready(artifact, x, o);
  vlpc_port port = {.struct_size = sizeof port};
  Step s = {0};
  session_ok(&l, vlpc_session_run(l.s, "train"));
  for (; vlpc_artifact_port(l.a, "train", VLPC_OUTPUT, s.n, &port); s.n++) {
    assert_true(s.n < GRADS);
    s.name[s.n] = arena_strdup(e2e, port.name);
    s.at[s.n] = line_output(&l, "train", port.name);
    size_t n = (size_t)tensor_count(&s.at[s.n]);
    float *copy = arena_array(e2e, float, n);
    memcpy(copy, s.at[s.n].data, n * sizeof *copy);
    s.at[s.n].data = copy;
  }
  session_ok(&l, vlpc_session_run(l.s, "train"));
  for (uint32_t i = 0; i < s.n; i++)
    same_bits(s.at[i].data, line_output(&l, "train", s.name[i]).data,
              (size_t)tensor_count(&s.at[i]) * sizeof(float), s.name[i]);
  line_close(&l);
  return s;
}

/* A device may have other bits where other rows are packed together. */
static void same_loss(float a, float b) {
  if (getenv("VLPC_TEST_DEVICE") == NULL) same_bits(&a, &b, sizeof a, "loss");
  else assert_true(fabsf(a - b) <= 1e-6f * fabsf(a));
}

static void near_step(const Step *a, const Step *b) {
  assert_int_equal(a->n, b->n);
  assert_string_equal(a->name[0], "loss");
  same_loss(*(const float *)a->at[0].data, *(const float *)b->at[0].data);
  for (uint32_t i = 1; i < a->n; i++) {
    const float *x = a->at[i].data, *y = b->at[i].data;
    double apart = 0, most = 0;
    assert_int_equal(tensor_count(&a->at[i]), tensor_count(&b->at[i]));
    assert_memory_equal(a->at[i].shape, b->at[i].shape, sizeof a->at[i].shape);
    for (int64_t k = 0; k < tensor_count(&a->at[i]); k++) {
      apart = fmax(apart, fabs((double)x[k] - (double)y[k]));
      most = fmax(most, fabs((double)x[k]));
    }
    bool of_images = strstr(a->name[i], "proj") != NULL; /* MaPLe's, alone: nothing is parted */
    if (of_images && getenv("VLPC_TEST_DEVICE") == NULL) assert_true(apart == 0);
    if (!(most > 0 && apart <= 2e-5 * most)) fail_msg("%s: %g of %g", a->name[i], apart, most);
  }
}

/* ---- facts ------------------------------------------------------------------- */

/* Methods whose texts have rows that all share, of each class's own, around the name, frozen
** texts beside them, or follow an image; the first alone in a short test. */
static void parts_give_what_the_whole_gives(void **state) {
  static const Case cases[] = {{"maple", NULL, false, BATCH, 100},
                               {"coop", NULL, true, BATCH, 150},
                               {"coop", NULL, false, BATCH, 300},
                               {"coop", "middle", false, BATCH, 150},
                               {"kgcoop", NULL, false, BATCH, MOST},
                               {"cocoop", NULL, false, 1, 150}};
  (void)state;
  for (size_t i = 0; i < (e2e_is_long() ? VL_COUNT(cases) : 1); i++) {
    const Case *x = &cases[i];
    const char *a = i == 0 ? maple_artifact() : artifact_with(x, NULL);
    uint64_t sums = bytes_of(a, x, "train_sums"), parts = bytes_of(a, x, "train_chunks");
    printf("%s: %.1f MiB, in parts %.1f\n", x->method, (double)sums / 1048576,
           (double)parts / 1048576);
    assert_true(parts < sums);
    Step whole = step_of(a, x, (vlpc_session_options){.threads = 2});
    Step some = step_of(a, x, (vlpc_session_options){.threads = 2, .memory_limit = sums - 1});
    Step one = step_of(a, x, (vlpc_session_options){.threads = 1, .memory_limit = sums - 1});
    near_step(&whole, &some);
    for (uint32_t k = 0; k < some.n; k++)
      same_bits(some.at[k].data, one.at[k].data,
                (size_t)tensor_count(&some.at[k]) * sizeof(float), some.name[k]);
  }
}

/* Four times the classes: of each its features and their gradient, and a column of scores. */
static void classes_take_little_memory(void **state) {
  Case few = maple, many = maple;
  const char *a = maple_artifact();
  (void)state;
  many.classes = 400;
  double sums = (double)(bytes_of(a, &many, "train_sums") - bytes_of(a, &few, "train_sums"));
  double parts = (double)(bytes_of(a, &many, "train_chunks") - bytes_of(a, &few, "train_chunks"));
  uint32_t more = many.classes - few.classes;
  printf("a class takes %.0f bytes, in parts %.0f\n", sums / more, parts / more);
  assert_true(parts / more < 4 * 512 * sizeof(float));
  assert_true(sums > 10 * parts);
}

static void a_plan_tells_its_steps(void **state) {
  const char *a = maple_artifact();
  Line l = ready(a, &maple, (vlpc_session_options){.threads = 1});
  vlpc_plan p = plan_of(&l, "train_chunks");
  uint32_t seen = 0;
  (void)state;
  line_close(&l);
  l = ready(a, &maple, (vlpc_session_options){.threads = 1, .memory_limit = p.activation_bytes});
  assert_true(plan_of(&l, "train_chunks").used && !plan_of(&l, "train_sums").used);
  session_ok(&l, vlpc_session_on_step(l.s, count_step, &seen));
  session_ok(&l, vlpc_session_run(l.s, "train"));
  assert_int_equal(seen, p.steps);
  line_close(&l);
  l = ready(a, &maple,
            (vlpc_session_options){.threads = 1, .memory_limit = p.activation_bytes - 1});
  assert_false(plan_of(&l, "train_chunks").used);
  assert_int_equal(vlpc_session_run(l.s, "train"), VLPC_E_LIMIT);
  assert_string_equal(vlpc_session_error(l.s),
                      arena_printf(e2e,
                                   "vlpc: error[E0912]: %s: train_chunks: the activations pass "
                                   "the memory limit\n"
                                   "  found:    %llu bytes\n"
                                   "  expected: at most %llu\n"
                                   "  fix:      run a smaller batch, or raise the limit\n",
                                   a, (unsigned long long)p.activation_bytes,
                                   (unsigned long long)p.activation_bytes - 1));
  line_close(&l);
}

static void there_is_none_without_texts_to_learn_of(void **state) {
  static const Case vpt = {"vpt-deep", NULL, false, BATCH, 150};
  Line l = ready(artifact_with(&vpt, NULL), &vpt, (vlpc_session_options){.threads = 1});
  (void)state;
  assert_null(plan_of(&l, "train_chunks").name);
  line_close(&l);
  l = ready(artifact_with(&maple, "--no-recompute"), &maple, (vlpc_session_options){.threads = 1});
  assert_null(plan_of(&l, "train_chunks").name);
  line_close(&l);
}

/* ---- damage ------------------------------------------------------------------ */

static char *replaced(const char *text, const char *from, const char *to) {
  const char *at = strstr(text, from);
  if (!at) fail_msg("no %s", from);
  return arena_printf(e2e, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
}

/* Entries that are not what the head needs are found when the manifest is read. */
static void entries_that_do_not_fit_are_refused(void **state) {
  static const char *const change[][2] = {
      {"\"ahead\": \"train_ahead\"", "\"ahead\": \"train_back\""},
      {"\"ahead\": \"train_ahead\"", "\"ahead\": \"image\""},
      {"\"ahead\": \"train_ahead\"", "\"ahead\": \"none\""},
      {"\"ahead\": \"train_ahead\", ", ""},
      {"\"back\": \"train_back\"", "\"back\": \"train_ahead\""},
      {"\"back\": \"train_back\"", "\"back\": \"train_sums\""},
      {"\"back\": \"train_back\", ", ""},
      {"\"lean\": \"train_chunks\"", "\"lean\": \"train_back\""},
      {"\"lean\": \"train_chunks\", ", ""},
  };
  ArtifactFile f;
  Program p;
  Manifest m;
  Diag *d = diag_new();
  (void)state;
  assert_int_equal(artifact_map(maple_artifact(), d, &f), VLPC_OK);
  Section text = artifact_section(&f, SECTION_manifest);
  Section program = artifact_section(&f, SECTION_program);
  const char *sound = arena_strndup(e2e, (const char *)text.at, (size_t)text.bytes);
  assert_int_equal(program_read(program.at, (size_t)program.bytes,
                                artifact_section(&f, SECTION_weights).bytes, e2e, DIAG_NOWHERE, d,
                                &p), VLPC_OK);
  assert_int_equal(manifest_read(sound, strlen(sound), &p, e2e, "x.vlpc", d, &m), VLPC_OK);
  for (size_t i = 0; i < VL_COUNT(change); i++) {
    const char *bad = replaced(sound, change[i][0], change[i][1]);
    diag_clear(d);
    assert_int_equal(manifest_read(bad, strlen(bad), &p, e2e, "x.vlpc", d, &m),
                     VLPC_E_BAD_FILE);
    assert_string_equal(diag_text(d),
                        "vlpc: error[E0509]: x.vlpc: manifest: entries: an entry that stands in "
                        "for another does not fit it\n"
                        "  fix:      make the artifact again with vlpc compile\n");
  }
  artifact_unmap(&f);
  diag_free(d);
}

static int set_up(void **state) {
  int failed = e2e_set_up(state);
  if (failed) return failed;
  draw();
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(parts_give_what_the_whole_gives),
      cmocka_unit_test(classes_take_little_memory),
      cmocka_unit_test(a_plan_tells_its_steps),
      cmocka_unit_test(there_is_none_without_texts_to_learn_of),
      cmocka_unit_test(entries_that_do_not_fit_are_refused),
  };
  return cmocka_run_group_tests(tests, set_up, e2e_tear_down);
}
