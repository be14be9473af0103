/* SPDX-License-Identifier: Apache-2.0 */
/* e2e_train.c - runs of training on the shipped model and photos, through vlpc_train.h. */
#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "e2e_kit.h"
#include "train/checkpoint.h"
#include "vlpc/vlpc_train.h"

#define CLIP VLPC_SOURCE_DIR "/models/small_clip/"
#define PHOTOS VLPC_SOURCE_DIR "/models/photos/"

/* ---- what is trained ------------------------------------------------------- */

static const char *artifact_of(const char *method, int64_t length) {
  const char *module = e2e_file("%s.onnx", method);
  vlpc_prompt_options p = {.struct_size = sizeof p, .method = method, .output = module,
                           .models = {CLIP "model.onnx"}, .length = length,
                           .tokenizer = CLIP "tokenizer.json"};
  e2e_ok(vlpc_prompt_write(e2e_compiler, &p));
  vlpc_compile_options o = {.models = {CLIP "model.onnx"}, .tokenizer = CLIP "tokenizer.json",
                            .preprocess = CLIP "preprocessor_config.json", .prompt = module,
                            .train = 1};
  return e2e_compile(o, arena_printf(e2e, "%s.vlpc", method));
}

/* Up to n photos of each class of a folder. */
static void few(const char *from, const char *to, uint32_t n) {
  struct dirent **class = NULL, **photo = NULL;
  int classes = scandir(arena_printf(e2e, PHOTOS "%s", from), &class, NULL, alphasort);
  mkdir(e2e_file("%s", to), 0777);
  for (int i = 0; i < classes; i++) {
    const char *source = arena_printf(e2e, PHOTOS "%s/%s", from, class[i]->d_name);
    int photos = class[i]->d_name[0] == '.' ? 0 : scandir(source, &photo, NULL, alphasort);
    uint32_t taken = 0;
    if (photos > 0) mkdir(e2e_file("%s/%s", to, class[i]->d_name), 0777);
    for (int k = 0; k < photos; k++) {
      const char *name = photo[k]->d_name;
      if (name[0] != '.' && taken++ < n)
        assert_int_equal(symlink(arena_printf(e2e, "%s/%s", source, name),
                                 e2e_file("%s/%s/%s", to, class[i]->d_name, name)), 0);
      free(photo[k]);
    }
    if (photos > 0) free(photo);
    free(class[i]);
  }
  free(class);
}

/* The one photo of each class below a folder, in the order of the classes. */
static void only_photos(const char *folder, uint32_t n, const char **out) {
  struct dirent **class = NULL, **photo = NULL;
  int classes = scandir(folder, &class, NULL, alphasort);
  uint32_t taken = 0;
  for (int i = 0; i < classes; i++) {
    const char *at = arena_printf(e2e, "%s/%s", folder, class[i]->d_name);
    int photos = class[i]->d_name[0] == '.' ? 0 : scandir(at, &photo, NULL, alphasort);
    if (photos > 0) assert_true(photos == 3 && taken < n); /* with . and .. */
    if (photos > 0) out[taken++] = arena_printf(e2e, "%s/%s", at, photo[2]->d_name);
    for (int k = 0; k < photos; k++) free(photo[k]);
    if (photos > 0) free(photo);
    free(class[i]);
  }
  free(class);
  assert_int_equal(taken, n);
}

/* EuroSAT's shipped photos as train and test, with the names that CoOp gives them; a
** photo of each class as "one". */
static void eurosat(void) {
  mkdir(e2e_file("one"), 0777);
  few("eurosat_train16", "one/train", 1);
  few("eurosat_test", "one/val", 2);
  assert_int_equal(symlink(PHOTOS "eurosat_test/labels.txt", e2e_file("one/classes.txt")), 0);
  mkdir(e2e_file("eurosat"), 0777);
  assert_int_equal(symlink(PHOTOS "eurosat_train16", e2e_file("eurosat/train")), 0);
  few("eurosat_test", "eurosat/test", 20);
  assert_int_equal(symlink(PHOTOS "eurosat_test/labels.txt", e2e_file("eurosat/classes.txt")), 0);
}

typedef struct {
  const char *artifact, *run, *start;
  const char *data; /* NULL: eurosat */
  const char *const *set;
  int32_t threads, resume;
  uint64_t memory; /* of activations; 0: no limit */
  const char *features; /* folder where they are kept; NULL: nowhere */
} Run;

static vlpc_artifact *open_artifact(const char *path) {
  vlpc_artifact *a = NULL;
  assert_int_equal(vlpc_artifact_open(path, NULL, &a), VLPC_OK);
  return a;
}

static vlpc_trainer_options options_of(const Run *r, vlpc_session_options *s) {
  *s = (vlpc_session_options){.struct_size = sizeof *s, .threads = r->threads,
                              .memory_limit = r->memory,
                              .cache_dir = e2e_file("cache")};
  return (vlpc_trainer_options){.struct_size = sizeof(vlpc_trainer_options),
                                .data = e2e_file("%s", r->data ? r->data : "eurosat"),
                                .run = r->run,
                                .set = r->set,
                                .start = r->start,
                                .resume = r->resume,
                                .session = s,
                                .cache_dir = r->features};
}

static vlpc_status open_run(const Run *r, vlpc_artifact *a, vlpc_trainer **out) {
  vlpc_session_options s;
  vlpc_trainer_options o = options_of(r, &s);
  return vlpc_trainer_new(a, &o, out);
}

static void trainer_ok(const vlpc_trainer *t, vlpc_status s) {
  if (s != VLPC_OK) fail_msg("%s", vlpc_trainer_error(t));
}

/* A trainer that has to be made. */
static vlpc_trainer *trainer_of(const Run *r, vlpc_artifact *a) {
  vlpc_trainer *t = NULL;
  vlpc_status s = open_run(r, a, &t);
  trainer_ok(t, s);
  return t;
}

/* Goes on for n steps, or to the end and the result; true when it is the end. */
static bool go(const Run *r, uint32_t n) {
  vlpc_artifact *a = open_artifact(r->artifact);
  vlpc_train_step step = {.struct_size = sizeof step};
  vlpc_trainer *t = trainer_of(r, a);
  while (n-- > 0 && !step.done) trainer_ok(t, vlpc_trainer_step(t, &step));
  if (step.done) trainer_ok(t, vlpc_trainer_finish(t));
  vlpc_trainer_free(t);
  vlpc_artifact_close(a);
  return step.done;
}

static const char *result(const Run *r) {
  return arena_printf(e2e, "%s/prompts.safetensors", r->run);
}

/* ---- facts ----------------------------------------------------------------- */

/* 8.4 % before, more than 70 % after 50 epochs. */
static void coop_learns_eurosat(void **state) {
  static const char *const set[] = {"epochs=50", "shots=0", "augment=none", NULL};
  Run r = {.artifact = artifact_of("coop", 0), .set = set};
  vlpc_artifact *a = open_artifact(r.artifact);
  vlpc_train_step step = {.struct_size = sizeof step};
  vlpc_train_scores scores = {.struct_size = sizeof scores};
  (void)state;
  vlpc_trainer *t = trainer_of(&r, a);
  trainer_ok(t, vlpc_trainer_evaluate(t, VLPC_TEST, &scores));
  assert_int_equal(scores.n, 200);
  assert_true(scores.top1 < 0.3);
  double first = 0;
  while (!step.done) {
    trainer_ok(t, vlpc_trainer_step(t, &step));
    if (step.step == 1) first = step.loss;
  }
  assert_int_equal(step.step, 250);
  trainer_ok(t, vlpc_trainer_evaluate(t, VLPC_TEST, &scores));
  printf("first loss %.4f, accuracy %.4f\n", first, scores.top1);
  assert_true(scores.top1 > 0.7);
  vlpc_trainer_free(t);
  vlpc_artifact_close(a);
}

static const char *const short_run[] = {"epochs=3",     "shots=1",      "batch=4",
                                        "augment=none", "save_steps=1", NULL};
static const char *const crops[] = {"epochs=2", "shots=1", "batch=4", "views=0", NULL};

/* A new process after each step, in the middle of epochs too, and one that runs through. */
static void resumed_runs_equal_unbroken_ones(void **state) {
  (void)state;
  Run whole = {.artifact = e2e_file("coop.vlpc"), .run = e2e_file("whole"), .set = short_run};
  Run parts = {.artifact = whole.artifact, .run = e2e_file("parts"), .set = short_run};
  assert_true(go(&whole, UINT32_MAX));
  for (; !go(&parts, 1); parts.resume = 1) continue;
  same_files(result(&whole), result(&parts));
}

static void any_number_of_threads_gives_the_same(void **state) {
  (void)state;
  Run one = {.artifact = e2e_file("coop.vlpc"), .run = e2e_file("threads1"), .set = crops,
             .threads = 1};
  assert_true(go(&one, UINT32_MAX));
  for (int32_t n = 2; n <= 3; n++) {
    Run more = {.artifact = one.artifact, .run = e2e_file("threads%d", n), .set = crops,
                .threads = n};
    assert_true(go(&more, UINT32_MAX));
    same_files(result(&one), result(&more));
  }
}

/* Plan i of the step that the run would take first. */
static vlpc_plan plan_of(const Run *r, uint32_t loss, uint32_t i) {
  vlpc_artifact *a = open_artifact(r->artifact);
  vlpc_plan p = {.struct_size = sizeof p};
  vlpc_trainer *t = trainer_of(r, a);
  trainer_ok(t, vlpc_trainer_plan(t, loss, i, &p));
  assert_int_equal(vlpc_trainer_plan(t, loss, i, NULL), VLPC_E_INVALID_ARG);
  if (p.name) p.name = arena_strdup(e2e, p.name); /* the artifact's */
  vlpc_trainer_free(t);
  vlpc_artifact_close(a);
  return p;
}

/* A leaner way computes more and takes less; a limit takes it, for the whole run.  Runs of all
** ways give the same bits. */
static void a_limit_chooses_the_plan(void **state) {
  static const char *const set[] = {"epochs=1", "shots=1", "batch=4", NULL};
  (void)state;
  Run most = {.artifact = artifact_of("maple", 0), .set = set}, lean = most, least = most;
  vlpc_plan all = plan_of(&most, 0, 0), sums = plan_of(&most, 0, 2);
  lean.memory = plan_of(&most, 0, 1).activation_bytes;
  assert_string_equal(all.name, "train_rows");
  assert_string_equal(sums.name, "train_sums");
  assert_true(all.used && !sums.used);
  assert_true(sums.activation_bytes < all.activation_bytes && sums.steps > all.steps);
  assert_null(plan_of(&most, 0, 3).name);
  assert_null(plan_of(&most, 1, 0).name); /* it has one loss */
  assert_null(plan_of(&most, 2, 0).name);
  least.memory = sums.activation_bytes;
  assert_true(plan_of(&least, 0, 2).used && !plan_of(&least, 0, 0).used);
  assert_true(plan_of(&lean, 0, 1).used);
  if (getenv("VLPC_TEST_LONG") == NULL) return;
  most.run = e2e_file("most"), lean.run = e2e_file("lean"), least.run = e2e_file("least");
  assert_true(go(&lean, UINT32_MAX));
  assert_true(go(&least, UINT32_MAX));
  assert_true(go(&most, UINT32_MAX));
  same_files(result(&most), result(&least));
  same_files(result(&lean), result(&least));
}

/* Features of photos that are kept take memory too: what says that it fits does. */
static void plans_have_room_for_photos(void **state) {
  (void)state;
  Run r = {.artifact = e2e_file("coop.vlpc"), .run = e2e_file("room"), .set = short_run};
  r.memory = plan_of(&r, 0, 0).activation_bytes - 1;
  for (uint32_t i = 0; i < 3; i++) assert_false(plan_of(&r, 0, i).used);
  r.memory++;
  assert_true(plan_of(&r, 0, 0).used);
  assert_true(go(&r, UINT32_MAX));
  same_files(e2e_file("whole/prompts.safetensors"), result(&r));
}

typedef struct {
  uint64_t found, made;
} Kept;

/* A whole run, with the loss on the validation photos at its end. */
static Kept run_of(const Run *r, double *loss) {
  vlpc_artifact *a = open_artifact(r->artifact);
  vlpc_train_step step = {.struct_size = sizeof step};
  vlpc_train_scores scores = {.struct_size = sizeof scores};
  vlpc_trainer_info info = {.struct_size = sizeof info};
  vlpc_trainer *t = trainer_of(r, a);
  while (!step.done) trainer_ok(t, vlpc_trainer_step(t, &step));
  trainer_ok(t, vlpc_trainer_finish(t));
  trainer_ok(t, vlpc_trainer_evaluate(t, VLPC_VAL, &scores));
  assert_true(vlpc_trainer_get_info(t, &info));
  vlpc_trainer_free(t);
  vlpc_artifact_close(a);
  *loss = scores.loss;
  return (Kept){info.features_found, info.features_made};
}

static void expect_run(Run r, const char *run, Kept want, double loss) {
  double got;
  r.run = e2e_file("%s", run);
  Kept k = run_of(&r, &got);
  assert_int_equal(k.found, want.found);
  assert_int_equal(k.made, want.made);
  assert_true(got == loss);
}

/* What is kept between runs changes no bit: with crops that come back, and for evaluation. */
static void a_second_run_makes_no_features(void **state) {
  static const char *const set[] = {"epochs=4", "shots=1", "batch=5", "views=2", NULL};
  static const char *const other[] = {"epochs=6", "shots=1", "batch=5", "views=3", NULL};
  (void)state;
  Run r = {.artifact = e2e_file("coop.vlpc"), .run = e2e_file("none"), .set = set, .data = "one"};
  double loss, more;
  Kept none = run_of(&r, &loss);
  assert_int_equal(none.found + none.made, 0);
  r.features = e2e_file("features");
  expect_run(r, "cold", (Kept){0, 20 + 10}, loss);
  r.threads = 1;
  expect_run(r, "warm", (Kept){20 + 10, 0}, loss);
  same_files(e2e_file("none/prompts.safetensors"), e2e_file("cold/prompts.safetensors"));
  same_files(e2e_file("none/prompts.safetensors"), e2e_file("warm/prompts.safetensors"));
  r.set = other, r.run = e2e_file("other");
  Kept k = run_of(&r, &more); /* one view more */
  assert_int_equal(k.found, 20 + 10);
  assert_int_equal(k.made, 10);
}

static void a_run_is_not_mixed_with_another(void **state) {
  static const char *const longer[] = {"epochs=4",     "shots=1",      "batch=4",
                                       "augment=none", "save_steps=1", NULL};
  Run r = {.artifact = e2e_file("coop.vlpc"), .run = e2e_file("whole"), .set = short_run};
  vlpc_artifact *a = open_artifact(r.artifact);
  vlpc_trainer *t = NULL;
  (void)state;
  assert_int_equal(open_run(&r, a, &t), VLPC_E_INVALID_ARG);
  assert_non_null(strstr(vlpc_trainer_error(t), "error[E1126]"));
  vlpc_trainer_free(t);
  r.resume = 1, r.set = longer;
  assert_int_equal(open_run(&r, a, &t), VLPC_E_MISMATCH);
  assert_non_null(strstr(vlpc_trainer_error(t), "of another configuration"));
  vlpc_trainer_free(t);
  vlpc_artifact_close(a);
}

static void a_step_is_sgd_on_its_gradient(void **state) {
  Run r = {.artifact = e2e_file("coop.vlpc"), .set = short_run};
  vlpc_artifact *a = open_artifact(r.artifact);
  vlpc_train_step step = {.struct_size = sizeof step};
  vlpc_tensor value, grad, before;
  const char *name = NULL;
  (void)state;
  vlpc_trainer *t = trainer_of(&r, a);
  assert_true(vlpc_trainer_tensor(t, 0, &name, &before, NULL));
  float old[4];
  memcpy(old, before.data, sizeof old);
  trainer_ok(t, vlpc_trainer_step(t, &step));
  assert_true(vlpc_trainer_tensor(t, 0, &name, &value, &grad));
  assert_string_equal(name, "ctx");
  assert_false(vlpc_trainer_tensor(t, 1, &name, &value, &grad));
  /* at the warm-up rate of 1e-5: v = g + decay · p, p -= rate · v */
  assert_float_equal(step.lr, 1e-5, 0);
  for (int i = 0; i < 4; i++) {
    float g = ((const float *)grad.data)[i];
    float v = fmaf(old[i], 5e-4f, g), now = fmaf(v, -1e-5f, old[i]);
    assert_true(g != 0);
    assert_memory_equal(&now, (const float *)value.data + i, sizeof now);
  }
  vlpc_trainer_free(t);
  vlpc_artifact_close(a);
}

/* A value that is no number stops the run before it is used, and is named. */
static void what_is_no_number_is_named(void **state) {
  Run r = {.artifact = e2e_file("coop.vlpc"), .set = short_run,
           .start = e2e_file("nan.safetensors")};
  vlpc_artifact *a = open_artifact(r.artifact);
  vlpc_session *s = NULL;
  vlpc_prompts *p = NULL, *bad = NULL;
  vlpc_train_step step = {.struct_size = sizeof step};
  vlpc_tensor x;
  (void)state;
  assert_int_equal(vlpc_session_new(a, NULL, &s), VLPC_OK);
  assert_int_equal(vlpc_prompts_start(s, NULL, &p), VLPC_OK);
  assert_true(vlpc_prompts_tensor(p, 0, NULL, &x));
  float *value = arena_array(e2e, float, (uint64_t)tensor_count(&x));
  memcpy(value, x.data, (size_t)tensor_count(&x) * sizeof *value);
  value[7] = NAN;
  assert_int_equal(vlpc_prompts_copy(p, (const void *const[]){value}, &bad), VLPC_OK);
  assert_int_equal(vlpc_prompts_write(bad, r.start), VLPC_OK);
  vlpc_prompts_close(bad), vlpc_prompts_close(p), vlpc_session_free(s);
  vlpc_trainer *t = trainer_of(&r, a);
  assert_int_equal(vlpc_trainer_step(t, &step), VLPC_E_NUMERIC);
  assert_non_null(strstr(vlpc_trainer_error(t), "error[E1127]"));
  assert_non_null(strstr(vlpc_trainer_error(t), "the loss is not finite in step 1"));
  assert_non_null(strstr(vlpc_trainer_error(t), "eurosat/train/"));
  vlpc_trainer_free(t);
  vlpc_artifact_close(a);
}

/* Copies the first trainable's values. */
static float *values_of(const vlpc_trainer *t, uint64_t *n) {
  vlpc_tensor x;
  assert_true(vlpc_trainer_tensor(t, 0, NULL, &x, NULL));
  *n = (uint64_t)tensor_count(&x);
  float *copy = arena_array(e2e, float, *n);
  memcpy(copy, x.data, *n * sizeof *copy);
  return copy;
}

/* After a warm-up, whose end is saved, values explode; the batch whose loss is no number is
** left out (skip), or what was saved comes back (rewind). */
static void a_run_may_go_on_where_a_loss_is_no_number(void **state) {
  static const char *const mode[] = {"on_nonfinite=skip", "on_nonfinite=rewind"};
  (void)state;
  for (int rewind = 0; rewind < 2; rewind++) {
    const char *const set[] = {"batch=5",  "epochs=9",         "save_steps=1000",   "lr=1e6",
                               "momentum=0", "weight_decay=1e6", "schedule=constant", mode[rewind],
                               "shots=0",  "augment=none",     "eval_epochs=0",     NULL};
    Run r = {.artifact = e2e_file("coop.vlpc"), .data = "one", .set = set,
             .run = e2e_file("nonfinite%d", rewind)};
    vlpc_artifact *a = open_artifact(r.artifact);
    vlpc_trainer *t = trainer_of(&r, a);
    vlpc_train_step step = {.struct_size = sizeof step};
    uint64_t n;
    for (int i = 0; i < 2; i++) trainer_ok(t, vlpc_trainer_step(t, &step));
    trainer_ok(t, vlpc_trainer_save(t));
    float *saved = values_of(t, &n), *before = saved;
    do {
      before = values_of(t, &n);
      trainer_ok(t, vlpc_trainer_step(t, &step));
      assert_false(step.done);
    } while (isfinite(step.loss));
    assert_true(step.step > 3);
    assert_memory_equal(values_of(t, &n), rewind ? saved : before, n * sizeof(float));
    assert_memory_not_equal(saved, before, n * sizeof(float));
    vlpc_trainer_free(t);
    vlpc_artifact_close(a);
  }
}

/* Each epoch ends with a look at the validation photos; the best is kept. */
static void epochs_are_validated(void **state) {
  static const char *const set[] = {"epochs=3", "shots=0", "batch=10", "augment=none",
                                    "lr=0.5",   NULL};
  Run r = {.artifact = e2e_file("coop.vlpc"), .data = "one", .run = e2e_file("val"), .set = set};
  vlpc_artifact *a = open_artifact(r.artifact);
  vlpc_train_step step = {.struct_size = sizeof step};
  vlpc_train_scores scores = {.struct_size = sizeof scores};
  double best = -1;
  uint8_t *lines;
  size_t n;
  (void)state;
  vlpc_trainer *t = trainer_of(&r, a);
  for (int epoch = 0; epoch < 3; epoch++) { /* of one step */
    trainer_ok(t, vlpc_trainer_step(t, &step));
    trainer_ok(t, vlpc_trainer_evaluate(t, VLPC_VAL, &scores));
    assert_int_equal(scores.n, 20);
    assert_true(step.val_top1 == scores.top1);
    best = fmax(best, scores.top1);
  }
  vlpc_trainer_free(t);
  vlpc_artifact_close(a);
  assert_int_equal(io_read(e2e_file("val/metrics.jsonl"), 1 << 20, e2e, NULL, &lines, &n), 0);
  uint32_t seen = 0;
  for (const char *at = (const char *)lines; (at = strstr(at, "\"val/top1\":")) != NULL; at++)
    seen++;
  assert_int_equal(seen, 3);
  RunState kept;
  assert_int_equal(run_state_read(e2e_file("val/best.ckpt"), e2e, NULL, &kept), VLPC_OK);
  assert_true(kept.best == best);
}

/* DPT: mixed pairs with the frozen towers, then the cross-entropy of its own scores. */
static void a_second_loss_takes_over(void **state) {
  static const char *const set[] = {"epochs=2",     "stage_epochs=1", "shots=1",     "batch=10",
                                    "augment=none", "groups=",        "save_steps=1", NULL};
  Run whole = {.artifact = artifact_of("dpt", 4), .run = e2e_file("dpt_whole"), .set = set};
  Run parts = {.artifact = whole.artifact, .run = e2e_file("dpt_parts"), .set = set};
  vlpc_artifact *a = open_artifact(whole.artifact);
  vlpc_train_step step = {.struct_size = sizeof step};
  vlpc_train_scores before = {.struct_size = sizeof before};
  (void)state;
  vlpc_trainer *t = trainer_of(&whole, a);
  for (int epoch = 0; epoch < 2; epoch++) { /* of one step, with all photos */
    trainer_ok(t, vlpc_trainer_evaluate(t, VLPC_TRAIN, &before));
    trainer_ok(t, vlpc_trainer_step(t, &step));
    assert_int_equal(step.n, before.n);
    bool is_cross_entropy = fabs(step.loss - before.loss) < 1e-4 * before.loss;
    assert_int_equal(is_cross_entropy, epoch == 1);
  }
  trainer_ok(t, vlpc_trainer_finish(t));
  vlpc_trainer_free(t);
  vlpc_artifact_close(a);
  for (; !go(&parts, 1); parts.resume = 1) continue;
  same_files(result(&whole), result(&parts));
}

/* Loss and gradient of the whole entry for all photos, which the step has from kept
** features: the same but for rounding. */
static void kept_features_give_what_the_whole_gives(void **state) {
  static const char *const set[] = {"epochs=1", "shots=0", "batch=10", "augment=none", NULL};
  Run r = {.artifact = e2e_file("coop.vlpc"), .data = "one", .set = set};
  vlpc_artifact *a = open_artifact(r.artifact);
  vlpc_session *s = NULL;
  vlpc_train_step step = {.struct_size = sizeof step};
  vlpc_tensor ctx, grad, whole, loss, image = {NULL, VLPC_F32, 4, {10, 3, 224, 224}};
  vlpc_tensor labels = {(int64_t[]){0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, VLPC_I64, 1, {10}};
  const char *class[10], *path[10];
  (void)state;
  only_photos(e2e_file("one/train"), 10, path);
  vlpc_trainer *t = trainer_of(&r, a);
  for (uint32_t i = 0; i < 10; i++) class[i] = vlpc_trainer_class(t, i);
  assert_int_equal(vlpc_session_new(a, NULL, &s), VLPC_OK);
  assert_int_equal(vlpc_set_labels(s, class, 10, NULL), VLPC_OK);
  assert_int_equal(vlpc_label_inputs(s, "train", NULL, 0), VLPC_OK);
  float *pixels = image.data = arena_array(e2e, float, 10 * 3 * 224 * 224);
  for (uint32_t i = 0; i < 10; i++) {
    vlpc_image photo = {.path = path[i]};
    assert_int_equal(vlpc_preprocess(s, &photo, pixels + i * 3 * 224 * 224), VLPC_OK);
  }
  assert_true(vlpc_trainer_tensor(t, 0, NULL, &ctx, NULL));
  assert_int_equal(vlpc_session_set_input(s, "train", "ctx", &ctx), VLPC_OK);
  assert_int_equal(vlpc_session_set_input(s, "train", "image", &image), VLPC_OK);
  assert_int_equal(vlpc_session_set_input(s, "train", "labels", &labels), VLPC_OK);
  assert_int_equal(vlpc_session_run(s, "train"), VLPC_OK);
  assert_int_equal(vlpc_session_output(s, "train", "loss", &loss), VLPC_OK);
  assert_int_equal(vlpc_session_output(s, "train", "grad.ctx", &whole), VLPC_OK);
  trainer_ok(t, vlpc_trainer_step(t, &step));
  assert_true(vlpc_trainer_tensor(t, 0, NULL, &ctx, &grad));
  assert_float_equal(step.loss, *(const float *)loss.data, 1e-5 * step.loss);
  double apart = 0, most = 0;
  for (int64_t i = 0; i < tensor_count(&grad); i++) {
    double g = ((const float *)grad.data)[i], w = ((const float *)whole.data)[i];
    apart = fmax(apart, fabs(g - w)), most = fmax(most, fabs(w));
  }
  assert_true(most > 0 && apart < 1e-5 * most);
  vlpc_trainer_free(t);
  vlpc_session_free(s);
  vlpc_artifact_close(a);
}

/* ---- several processes, as threads ------------------------------------------ */

enum { TEAM_MOST = 4 };

/* What the members give is put together between two barriers. */
typedef struct {
  pthread_barrier_t all;
  float *row[TEAM_MOST];
  uint32_t size;
  bool broken;
} Team;

typedef struct {
  Team *team;
  uint32_t rank;
  vlpc_trainer_options o;
  vlpc_artifact *a;
  vlpc_status status;
  double first_loss, val_top1;
  vlpc_train_scores scores; /* of the validation photos, after the run */
  char error[512];
} Member;

static bool gather(void *user, float *all, size_t n) {
  Member *m = user;
  Team *t = m->team;
  t->row[m->rank] = all + m->rank * n;
  pthread_barrier_wait(&t->all);
  for (uint32_t i = 0; i < t->size; i++)
    if (i != m->rank) memcpy(all + i * n, t->row[i], n * sizeof *all);
  pthread_barrier_wait(&t->all);
  return !t->broken;
}

static void *take_part(void *ctx) {
  Member *m = ctx;
  vlpc_trainer *t = NULL;
  vlpc_team team = {.struct_size = sizeof team, .rank = m->rank, .size = m->team->size,
                    .gather = gather, .user = m};
  vlpc_train_step step = {.struct_size = sizeof step};
  m->o.team = &team;
  m->status = vlpc_trainer_new(m->a, &m->o, &t);
  while (m->status == VLPC_OK && !step.done) {
    m->status = vlpc_trainer_step(t, &step);
    if (step.step == 1) m->first_loss = step.loss;
    if (step.epoch_done) m->val_top1 = step.val_top1;
  }
  if (m->status == VLPC_OK) m->status = vlpc_trainer_finish(t);
  m->scores.struct_size = sizeof m->scores;
  if (m->status == VLPC_OK && vlpc_trainer_split(t, VLPC_VAL) > 0)
    m->status = vlpc_trainer_evaluate(t, VLPC_VAL, &m->scores);
  snprintf(m->error, sizeof m->error, "%s", vlpc_trainer_error(t));
  vlpc_trainer_free(t);
  return NULL;
}

/* Runs a team of the size to the end; m[i] tells how it went. */
static void go_together(const Run *r, Team *team, Member m[TEAM_MOST]) {
  pthread_t thread[TEAM_MOST];
  vlpc_session_options s;
  vlpc_artifact *a = open_artifact(r->artifact);
  assert_int_equal(pthread_barrier_init(&team->all, NULL, team->size), 0);
  for (uint32_t i = 0; i < team->size; i++) {
    m[i] = (Member){.team = team, .rank = i, .o = options_of(r, &s), .a = a};
    assert_int_equal(pthread_create(&thread[i], NULL, take_part, &m[i]), 0);
  }
  for (uint32_t i = 0; i < team->size; i++) pthread_join(thread[i], NULL);
  pthread_barrier_destroy(&team->all);
  vlpc_artifact_close(a);
}

/* Five photos in four parts, so one has two; 1, 2 and 4 processes give the same bits, and the
** mean is that of the whole batch but for rounding. */
static void a_team_gives_what_one_gives(void **state) {
  static const char *const set[] = {"epochs=2", "shots=1",  "batch=5", "views=0", "shards=4", NULL};
  static const char *const uncut[] = {"epochs=2", "shots=1", "batch=5", "views=0", NULL};
  Run one = {.artifact = e2e_file("coop.vlpc"), .threads = 1};
  Member m[TEAM_MOST];
  double loss = 0;
  (void)state;
  for (uint32_t size = 1; size <= TEAM_MOST; size *= 2) {
    Run r = one;
    Team team = {.size = size};
    r.run = e2e_file("team%u", size), r.set = set;
    go_together(&r, &team, m);
    for (uint32_t i = 0; i < size; i++) {
      if (m[i].status != VLPC_OK) fail_msg("%s", m[i].error);
      if (loss == 0) loss = m[i].first_loss;
      assert_true(m[i].first_loss == loss);
    }
    same_files(e2e_file("team1/prompts.safetensors"), result(&r));
  }
  Team alone = {.size = 1};
  one.run = e2e_file("team_uncut"), one.set = uncut;
  go_together(&one, &alone, m);
  assert_int_equal(m[0].status, VLPC_OK);
  assert_float_equal(m[0].first_loss, loss, 1e-5 * loss);
}

/* Of 20 photos in rounds of 3 a process, some have none in the last; every process has the
** scores that one has, and all take the same step for the best. */
static void a_team_scores_what_one_scores(void **state) {
  static const char *const set[] = {"epochs=2", "batch=10", "shards=4", "augment=none",
                                    "shots=0", "classes=all", "test_batch=3", NULL};
  static const char *const methods[] = {"coop", "maple"}; /* images kept, and not */
  (void)state;
  for (uint32_t k = 0; k < VL_COUNT(methods); k++) {
    vlpc_train_scores one = {.n = 0};
    double val = 0;
    for (uint32_t size = 1; size <= TEAM_MOST; size *= 2) {
      Run r = {.artifact = e2e_file("%s.vlpc", methods[k]), .threads = 1, .data = "one",
               .set = set, .run = e2e_file("%s_scored%u", methods[k], size)};
      Team team = {.size = size};
      Member m[TEAM_MOST];
      go_together(&r, &team, m);
      if (size == 1) one = m[0].scores, val = m[0].val_top1;
      for (uint32_t i = 0; i < size; i++) {
        if (m[i].status != VLPC_OK) fail_msg("%s", m[i].error);
        assert_memory_equal(&m[i].scores, &one, sizeof one);
        assert_true(m[i].val_top1 == val);
      }
      same_files(e2e_file("%s_scored1/best.ckpt", methods[k]),
                 e2e_file("%s_scored%u/best.ckpt", methods[k], size));
    }
    assert_int_equal(one.n, 20);
    assert_true(val == one.top1);
  }
}

/* The one photo to validate on is the second process's, and none. */
static void who_cannot_score_is_named(void **state) {
  static const char *const set[] = {"epochs=1", "batch=10", "shards=2", "augment=none",
                                    "shots=0", NULL};
  Run r = {.artifact = e2e_file("coop.vlpc"), .threads = 1, .data = "bad", .set = set,
           .run = e2e_file("bad_scored")};
  Team team = {.size = 2};
  Member m[TEAM_MOST];
  (void)state;
  mkdir(e2e_file("bad"), 0777);
  mkdir(e2e_file("bad/val"), 0777);
  mkdir(e2e_file("bad/val/Forest"), 0777);
  assert_int_equal(symlink(e2e_file("one/train"), e2e_file("bad/train")), 0);
  FILE *f = fopen(e2e_file("bad/val/Forest/x.jpg"), "w");
  assert_true(f && fputs("no photo", f) >= 0 && fclose(f) == 0);
  go_together(&r, &team, m);
  assert_string_equal(m[0].error, "vlpc: error[E1129]: process 1 could not do its part\n"
                                  "  fix:      see what it says; then go on with --resume\n");
  assert_int_equal(m[1].status, VLPC_E_BAD_FILE);
  assert_non_null(strstr(m[1].error, "Forest/x.jpg: this is not a JPEG or PNG image"));
}

static void a_team_that_cannot_says_so(void **state) {
  static const char *const three[] = {"shots=1", "batch=4", "shards=4", "epochs=1", NULL};
  static const char *const two[] = {"shots=1", "batch=4", "shards=2", "epochs=1", NULL};
  Run r = {.artifact = e2e_file("coop.vlpc"), .threads = 1, .set = three,
           .run = e2e_file("team_none")};
  Team team = {.size = 3};
  Member m[TEAM_MOST];
  (void)state;
  go_together(&r, &team, m);
  for (uint32_t i = 0; i < 3; i++)
    assert_string_equal(m[i].error,
                        "vlpc: error[E1128]: a batch has not a part for each process\n"
                        "  found:    4 shards, 3 processes\n"
                        "  fix:      set shards to a multiple of the processes\n");
  team = (Team){.size = 2, .broken = true};
  r.set = two;
  go_together(&r, &team, m);
  for (uint32_t i = 0; i < 2; i++)
    assert_string_equal(m[i].error, "vlpc: error[E1129]: a process is gone\n");
  r.artifact = artifact_of("provp-ref", 4);
  go_together(&r, &team, m);
  assert_string_equal(m[0].error,
                      "vlpc: error[E1128]: the loss is not a mean over photos, so a batch has no "
                      "parts\n"
                      "  fix:      set shards=1 and train in one process\n");
}

/* ---- frozen texts ----------------------------------------------------------- */

static const char *const teacher[] = {
#define TEACHER(text) text,
#include "models/prompt_templates.def"
};

enum { CLASSES = 2, FROZEN = CLASSES * 512 };

static float loss_of(vlpc_session *s) {
  vlpc_tensor loss;
  assert_int_equal(vlpc_session_run(s, "train"), VLPC_OK);
  assert_int_equal(vlpc_session_output(s, "train", "loss", &loss), VLPC_OK);
  return *(const float *)loss.data;
}

/* Features of the classes in the first n templates, their mean. */
static void frozen_texts(vlpc_session *s, uint32_t n, float out[FROZEN]) {
  double sum[FROZEN] = {0};
  for (uint32_t i = 0; i < n; i++) {
    const char *hole = strstr(teacher[i], "{}");
    int64_t ids[CLASSES * 77];
    uint32_t used;
    for (uint32_t k = 0; k < CLASSES; k++) {
      const char *text = arena_printf(e2e, k ? "%.*sriver%s" : "%.*sforest%s",
                                      (int)(hole - teacher[i]), teacher[i], hole + 2);
      assert_int_equal(vlpc_tokenize(s, text, ids + k * 77, 77, &used), VLPC_OK);
    }
    vlpc_tensor t = {ids, VLPC_I64, 2, {CLASSES, 77}};
    assert_int_equal(vlpc_session_set_input(s, "frozen_text", "text", &t), VLPC_OK);
    assert_int_equal(vlpc_session_run(s, "frozen_text"), VLPC_OK);
    assert_int_equal(vlpc_session_output(s, "frozen_text", "frozen_text_features", &t), VLPC_OK);
    for (int k = 0; k < FROZEN; k++) sum[k] += (double)((const float *)t.data)[k];
  }
  for (int k = 0; k < FROZEN; k++) out[k] = (float)(sum[k] / n);
}

/* PromptSRC's teacher: the mean over 60 templates, whatever template the labels have. */
static void frozen_texts_are_the_mean_of_the_modules(void **state) {
  static const char *const names[] = {"forest", "river"}, *const other[] = {"a {}."};
  vlpc_artifact *a = open_artifact(artifact_of("promptsrc", 0));
  vlpc_session *s = NULL;
  vlpc_prompts *p = NULL;
  vlpc_start_options start = {.struct_size = sizeof start};
  float mean[FROZEN], first[FROZEN];
  float *pixels = arena_array(e2e, float, CLASSES * 3 * 224 * 224);
  vlpc_tensor image = {pixels, VLPC_F32, 4, {CLASSES, 3, 224, 224}};
  vlpc_tensor labels = {(int64_t[]){0, 1}, VLPC_I64, 1, {CLASSES}};
  vlpc_tensor frozen = {mean, VLPC_F32, 2, {CLASSES, 512}};
  (void)state;
  assert_int_equal(vlpc_session_new(a, NULL, &s), VLPC_OK);
  assert_int_equal(vlpc_prompts_start(s, &start, &p), VLPC_OK);
  assert_int_equal(vlpc_session_set_prompts(s, p), VLPC_OK);
  assert_int_equal(vlpc_set_labels(s, names, CLASSES, NULL), VLPC_OK);
  assert_int_equal(vlpc_label_inputs(s, "train", other, 1), VLPC_OK);
  assert_int_equal(vlpc_session_set_input(s, "train", "image", &image), VLPC_OK);
  assert_int_equal(vlpc_session_set_input(s, "train", "labels", &labels), VLPC_OK);
  float own = loss_of(s);
  frozen_texts(s, VL_COUNT(teacher), mean);
  assert_int_equal(vlpc_session_set_input(s, "train", "frozen_text_features", &frozen), VLPC_OK);
  assert_true(loss_of(s) == own);
  frozen_texts(s, 1, first);
  frozen.data = first;
  assert_int_equal(vlpc_session_set_input(s, "train", "frozen_text_features", &frozen), VLPC_OK);
  assert_true(loss_of(s) != own);
  vlpc_prompts_close(p);
  vlpc_session_free(s);
  vlpc_artifact_close(a);
}

static int set_up(void **state) {
  int failed = e2e_set_up(state);
  if (failed) return failed;
  eurosat();
  mkdir(e2e_file("cache"), 0700);
  return failed;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(coop_learns_eurosat),
      cmocka_unit_test(resumed_runs_equal_unbroken_ones),
      cmocka_unit_test(any_number_of_threads_gives_the_same),
      cmocka_unit_test(a_limit_chooses_the_plan),
      cmocka_unit_test(plans_have_room_for_photos),
      cmocka_unit_test(a_second_run_makes_no_features),
      cmocka_unit_test(a_run_is_not_mixed_with_another),
      cmocka_unit_test(a_step_is_sgd_on_its_gradient),
      cmocka_unit_test(what_is_no_number_is_named),
      cmocka_unit_test(a_run_may_go_on_where_a_loss_is_no_number),
      cmocka_unit_test(epochs_are_validated),
      cmocka_unit_test(a_second_loss_takes_over),
      cmocka_unit_test(kept_features_give_what_the_whole_gives),
      cmocka_unit_test(a_team_gives_what_one_gives),
      cmocka_unit_test(a_team_scores_what_one_scores),
      cmocka_unit_test(who_cannot_score_is_named),
      cmocka_unit_test(a_team_that_cannot_says_so),
      cmocka_unit_test(frozen_texts_are_the_mean_of_the_modules),
  };
  return cmocka_run_group_tests(tests, set_up, e2e_tear_down);
}
