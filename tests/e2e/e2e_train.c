/* SPDX-License-Identifier: Apache-2.0 */
/* e2e_train.c - runs of training on the shipped model and photos, through vlpc_train.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "runs.h"
#include "train/checkpoint.h"

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

/* A leaner way computes more and takes less; a limit takes it, for the whole run.  Runs of the
** first three ways give the same bits. */
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
  assert_string_equal(plan_of(&most, 0, 3).name, "train_chunks"); /* e2e_chunks.c */
  assert_null(plan_of(&most, 0, 4).name);
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

/* The first that has the folder keeps it until it ends. */
static void a_run_has_one_trainer_at_a_time(void **state) {
  Run r = {.artifact = e2e_file("coop.vlpc"), .run = e2e_file("taken"), .set = short_run};
  vlpc_artifact *a = open_artifact(r.artifact);
  vlpc_trainer *first = trainer_of(&r, a), *second = NULL;
  (void)state;
  assert_int_equal(open_run(&r, a, &second), VLPC_E_IO);
  const char *says =
      arena_printf(e2e, "vlpc: error[E1133]: %s: the folder is in use by another process\n"
                        "  found:    process %ld\n"
                        "  fix:      wait for it or end it, or name another folder\n",
                   r.run, (long)getpid());
  assert_string_equal(vlpc_trainer_error(second), says);
  vlpc_trainer_free(second);
  vlpc_trainer_free(first);
  vlpc_trainer_free(trainer_of(&r, a));
  vlpc_artifact_close(a);
}

/* Photos that have moved are those of before; others are not. */
static void a_run_finds_its_photos_elsewhere(void **state) {
  Run whole = {.artifact = e2e_file("coop.vlpc"), .data = "one", .run = e2e_file("stayed"),
               .set = short_run};
  Run moved = {.artifact = whole.artifact, .data = "one", .run = e2e_file("moved"),
               .set = short_run};
  vlpc_artifact *a = open_artifact(whole.artifact);
  vlpc_trainer *t = NULL;
  (void)state;
  assert_true(go(&whole, UINT32_MAX));
  assert_false(go(&moved, 2));
  assert_int_equal(mkdir(e2e_file("few"), 0777), 0);
  assert_int_equal(symlink(e2e_file("one/train"), e2e_file("few/train")), 0);
  moved.resume = 1, moved.data = "few";
  assert_int_equal(open_run(&moved, a, &t), VLPC_E_MISMATCH);
  const char *says =
      arena_printf(e2e, "vlpc: error[E1125]: %s/step-00000002.ckpt: the run is of other photos\n"
                        "  found:    10 photos of 10 classes\n"
                        "  expected: those it was begun with: classes, names below the folder, "
                        "bytes of each\n"
                        "  fix:      name the folder that has them now, or begin another run\n",
                   moved.run);
  assert_string_equal(vlpc_trainer_error(t), says);
  vlpc_trainer_free(t);
  assert_int_equal(symlink(e2e_file("one"), e2e_file("elsewhere")), 0);
  moved.data = "elsewhere";
  assert_true(go(&moved, UINT32_MAX));
  same_files(result(&whole), result(&moved));
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

static vlpc_session *session_of(vlpc_artifact *a) {
  vlpc_session_options o = {.struct_size = sizeof o, .cache_dir = E2E_CODE};
  vlpc_session *s = NULL;
  assert_int_equal(vlpc_session_new(a, &o, &s), VLPC_OK);
  return s;
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
  s = session_of(a);
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

/* Values explode until no photo can be scored with them; what comes back (rewind) has a loss. */
static void scores_may_be_no_numbers(void **state) {
  static const char *const mode[] = {"on_nonfinite=stop", "on_nonfinite=skip",
                                     "on_nonfinite=rewind"};
  (void)state;
  for (int i = 0; i < 3; i++) {
    const char *const set[] = {"batch=10",          "epochs=9",     "save_steps=1000",
                               "lr=1e6",            "momentum=0",   "weight_decay=1e6",
                               "schedule=constant", "augment=none", "shots=0",
                               "warmup_epochs=0",   mode[i],        NULL};
    Run r = {.artifact = e2e_file("coop.vlpc"), .data = "one", .set = set,
             .run = e2e_file("unscored%d", i)};
    vlpc_artifact *a = open_artifact(r.artifact);
    vlpc_trainer *t = trainer_of(&r, a);
    vlpc_train_step step = {.struct_size = sizeof step};
    vlpc_status s;
    do s = vlpc_trainer_step(t, &step);
    while (s == VLPC_OK && isfinite(step.val_top1));
    if (i == 0) {
      assert_int_equal(s, VLPC_E_NUMERIC);
      assert_string_equal(vlpc_trainer_error(t),
                          "vlpc: error[E0914]: features of the classes are not finite\n"
                          "  fix:      lower lr, or set on_nonfinite to skip or rewind\n");
    } else {
      trainer_ok(t, s);
      assert_true(isfinite(step.loss) && step.epoch_done && isnan(step.val_top1));
      trainer_ok(t, vlpc_trainer_step(t, &step));
      assert_int_equal(isfinite(step.loss) != 0, i == 2);
    }
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
  s = session_of(a);
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
  s = session_of(a);
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
      cmocka_unit_test(a_run_has_one_trainer_at_a_time),
      cmocka_unit_test(a_run_finds_its_photos_elsewhere),
      cmocka_unit_test(a_step_is_sgd_on_its_gradient),
      cmocka_unit_test(what_is_no_number_is_named),
      cmocka_unit_test(a_run_may_go_on_where_a_loss_is_no_number),
      cmocka_unit_test(scores_may_be_no_numbers),
      cmocka_unit_test(epochs_are_validated),
      cmocka_unit_test(a_second_loss_takes_over),
      cmocka_unit_test(kept_features_give_what_the_whole_gives),
      cmocka_unit_test(frozen_texts_are_the_mean_of_the_modules),
  };
  return cmocka_run_group_tests(tests, set_up, e2e_tear_down);
}
