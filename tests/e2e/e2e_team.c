/* SPDX-License-Identifier: Apache-2.0 */
/* e2e_team.c - runs of several processes, which are threads here. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runs.h"
#include "runtime/image.h"

/* ---- a team ---------------------------------------------------------------- */

enum { TEAM_MOST = 4 };

enum { CLASSES = 10 }; /* of photos in memory */

static const char *const class_name[CLASSES] = {
    "annual crop", "forest", "vegetation", "highway", "industry",
    "pasture", "permanent crop", "residential", "river", "lake"};

/* What the members give is put together between two barriers. */
typedef struct {
  pthread_barrier_t all;
  float *row[TEAM_MOST];
  uint32_t size;
  bool broken;
  const char *const *set_of_last; /* NULL: that of all */
} Team;

typedef struct {
  Team *team;
  uint32_t rank;
  vlpc_trainer_options o;
  vlpc_artifact *a;
  const vlpc_photos *photos; /* of each step and to score; NULL: those of o.data */
  vlpc_status status;
  double first_loss, val_top1;
  vlpc_train_scores scores; /* of the validation photos, after the run */
  float value[8]; /* the first of the first trainable, after the run */
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

static vlpc_status step(const Member *m, vlpc_trainer *t, vlpc_train_step *out) {
  return m->photos ? vlpc_trainer_step_on(t, m->photos, out) : vlpc_trainer_step(t, out);
}

static vlpc_status score(Member *m, vlpc_trainer *t) {
  m->scores.struct_size = sizeof m->scores;
  if (m->photos) return vlpc_trainer_evaluate_on(t, m->photos, &m->scores);
  if (vlpc_trainer_split(t, VLPC_VAL) == 0) return VLPC_OK;
  return vlpc_trainer_evaluate(t, VLPC_VAL, &m->scores);
}

static void *take_part(void *ctx) {
  Member *m = ctx;
  vlpc_trainer *t = NULL;
  vlpc_team team = {.struct_size = sizeof team, .rank = m->rank, .size = m->team->size,
                    .gather = gather, .user = m};
  vlpc_train_step now = {.struct_size = sizeof now};
  vlpc_tensor value;
  m->o.team = &team;
  m->status = vlpc_trainer_new(m->a, &m->o, &t);
  while (m->status == VLPC_OK && !now.done) {
    m->status = step(m, t, &now);
    if (now.step == 1) m->first_loss = now.loss;
    if (now.epoch_done) m->val_top1 = now.val_top1;
  }
  if (m->status == VLPC_OK && m->o.run) m->status = vlpc_trainer_finish(t);
  if (m->status == VLPC_OK) m->status = score(m, t);
  if (vlpc_trainer_tensor(t, 0, NULL, &value, NULL))
    memcpy(m->value, value.data, sizeof m->value);
  snprintf(m->error, sizeof m->error, "%s", vlpc_trainer_error(t));
  vlpc_trainer_free(t);
  return NULL;
}

/* Runs a team of the size to the end; m[i] tells how it went.  photos: of
** each step, instead of the run's. */
static void go_on(const Run *r, const vlpc_photos *photos, Team *team, Member m[TEAM_MOST]) {
  pthread_t thread[TEAM_MOST];
  vlpc_session_options s[TEAM_MOST];
  vlpc_artifact *a = open_artifact(r->artifact);
  assert_int_equal(pthread_barrier_init(&team->all, NULL, team->size), 0);
  for (uint32_t i = 0; i < team->size; i++) {
    m[i] = (Member){.team = team, .rank = i, .o = options_of(r, &s[i]), .a = a, .photos = photos};
    if (i + 1 == team->size && team->set_of_last) m[i].o.set = team->set_of_last;
    if (photos) m[i].o.data = NULL, m[i].o.classes = class_name, m[i].o.n_classes = CLASSES;
    assert_int_equal(pthread_create(&thread[i], NULL, take_part, &m[i]), 0);
  }
  for (uint32_t i = 0; i < team->size; i++) pthread_join(thread[i], NULL);
  pthread_barrier_destroy(&team->all);
  vlpc_artifact_close(a);
}

static void go_together(const Run *r, Team *team, Member m[TEAM_MOST]) {
  go_on(r, NULL, team, m);
}

/* ---- photos in files ------------------------------------------------------- */

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

/* The one photo to validate on is the second process's. */
static void one_validates(const char *folder) {
  mkdir(e2e_file("%s", folder), 0777);
  mkdir(e2e_file("%s/val", folder), 0777);
  mkdir(e2e_file("%s/val/Forest", folder), 0777);
  assert_int_equal(symlink(e2e_file("one/train"), e2e_file("%s/train", folder)), 0);
}

static void who_cannot_score_is_named(void **state) {
  static const char *const set[] = {"epochs=1", "batch=10", "shards=2", "augment=none",
                                    "shots=0", NULL};
  Run r = {.artifact = e2e_file("coop.vlpc"), .threads = 1, .data = "bad", .set = set,
           .run = e2e_file("bad_scored")};
  Team team = {.size = 2};
  Member m[TEAM_MOST];
  (void)state;
  one_validates("bad");
  FILE *f = fopen(e2e_file("bad/val/Forest/x.jpg"), "w");
  assert_true(f && fputs("no photo", f) >= 0 && fclose(f) == 0);
  go_together(&r, &team, m);
  assert_string_equal(m[0].error, "vlpc: error[E1129]: process 1 could not do its part\n"
                                  "  fix:      see what it says; then go on with --resume\n");
  assert_int_equal(m[1].status, VLPC_E_BAD_FILE);
  assert_non_null(strstr(m[1].error, "Forest/x.jpg: this is not a JPEG or PNG image"));
}

/* Scores that are not finite, which one process makes, are so for all. */
static void scores_of_one_may_be_no_numbers(void **state) {
  static const char *const mode[] = {"on_nonfinite=stop", "on_nonfinite=skip"};
  (void)state;
  one_validates("far");
  const char *photo[10];
  only_photos(e2e_file("one/train"), 10, photo);
  assert_int_equal(symlink(photo[0], e2e_file("far/val/Forest/x.jpg")), 0);
  for (int k = 0; k < 2; k++) {
    const char *const set[] = {"epochs=5",          "batch=10",         "shards=2",
                               "augment=none",      "warmup_epochs=0",  "shots=0",
                               "lr=1e6",            "weight_decay=1e6", "momentum=0",
                               "schedule=constant", mode[k],            NULL};
    Run r = {.artifact = artifact_of("vpt-shallow", 0), .threads = 1, .data = "far", .set = set,
             .run = e2e_file("far_scored%d", k)};
    Team team = {.size = 2};
    Member m[TEAM_MOST];
    go_together(&r, &team, m);
    for (int i = 0; i < 2; i++) { /* what is scored after the run is an error always */
      assert_int_equal(m[i].status, VLPC_E_NUMERIC);
      assert_true(k == 0 || isnan(m[i].val_top1));
      assert_string_equal(m[i].error,
                          k ? "vlpc: error[E0914]: photo 0: a score is not finite\n"
                            : "vlpc: error[E0914]: photo 0: a score is not finite\n"
                              "  fix:      lower lr, or set on_nonfinite to skip or rewind\n");
    }
  }
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

/* One that asks for another configuration is found before a step. */
static void a_team_has_the_same(void **state) {
  static const char *const set[] = {"shots=1", "batch=4", "shards=2", "epochs=1", NULL};
  static const char *const other[] = {"shots=1", "batch=4", "shards=2", "epochs=2", NULL};
  Run r = {.artifact = e2e_file("coop.vlpc"), .threads = 1, .set = set,
           .run = e2e_file("team_apart")};
  Team team = {.size = 2, .set_of_last = other};
  Member m[TEAM_MOST];
  (void)state;
  go_together(&r, &team, m);
  for (uint32_t i = 0; i < 2; i++) {
    assert_int_equal(m[i].status, VLPC_E_MISMATCH);
    assert_string_equal(m[i].error,
                        "vlpc: error[E1130]: the processes have not the same photos, artifact or "
                        "configuration\n"
                        "  fix:      have all of them see the same files, which nobody changes "
                        "meanwhile\n");
  }
}

/* ---- photos in memory ------------------------------------------------------ */

/* Those of the folder "one", decoded. */
static vlpc_photos in_memory(void) {
  static vlpc_image image[CLASSES];
  static uint32_t label[CLASSES];
  const char *path[CLASSES];
  only_photos(e2e_file("one/train"), CLASSES, path);
  for (uint32_t i = 0; i < CLASSES; i++) {
    Image im;
    assert_int_equal(image_read(path[i], NULL, &im), VLPC_OK);
    size_t n = 3 * (size_t)im.width * (size_t)im.height;
    uint8_t *rgb = arena_array(e2e, uint8_t, n);
    memcpy(rgb, im.pixels, n);
    image[i] = (vlpc_image){.rgb = rgb, .width = im.width, .height = im.height};
    label[i] = i;
    image_fini(&im);
  }
  return (vlpc_photos){sizeof(vlpc_photos), image, label, CLASSES};
}

/* Ten photos in four parts, as files have them: one process, and others together, have the
** same losses, values and scores; in rounds of 3 a process to score, the last is not full. */
static void a_team_learns_from_memory(void **state) {
  static const char *const set[] = {"epochs=3",   "batch=10",     "shards=4", "augment=none",
                                    "lr=0.1",     "test_batch=3", NULL};
  static const char *const methods[] = {"coop", "maple"}; /* images kept, and not */
  vlpc_photos photos = in_memory();
  (void)state;
  for (uint32_t k = 0; k < VL_COUNT(methods); k++) {
    Member one[TEAM_MOST], m[TEAM_MOST];
    for (uint32_t size = 1; size <= TEAM_MOST; size *= 2) {
      Run r = {.artifact = e2e_file("%s.vlpc", methods[k]), .threads = 1, .set = set};
      Team team = {.size = size};
      go_on(&r, &photos, &team, size == 1 ? one : m);
      if (size == 1 && one[0].status != VLPC_OK) fail_msg("%s", one[0].error);
      for (uint32_t i = 0; size > 1 && i < size; i++) {
        if (m[i].status != VLPC_OK) fail_msg("%s", m[i].error);
        assert_true(m[i].first_loss == one[0].first_loss);
        assert_memory_equal(m[i].value, one[0].value, sizeof m[i].value);
        assert_memory_equal(&m[i].scores, &one[0].scores, sizeof m[i].scores);
      }
    }
    assert_int_equal(one[0].scores.n, CLASSES);
    assert_true(one[0].scores.top1 > 0.1);
  }
}

/* The photo that is none is the second process's part. */
static void a_photo_that_one_cannot_read_ends_all(void **state) {
  static const char *const set[] = {"epochs=1", "batch=10", "shards=2", "augment=none", NULL};
  vlpc_photos photos = in_memory();
  vlpc_image image[CLASSES];
  Run r = {.artifact = e2e_file("coop.vlpc"), .threads = 1, .set = set};
  Team team = {.size = 2};
  Member m[TEAM_MOST];
  (void)state;
  memcpy(image, photos.image, sizeof image);
  image[CLASSES - 1] = (vlpc_image){.path = "none.jpg"};
  photos.image = image;
  go_on(&r, &photos, &team, m);
  assert_int_equal(m[0].status, VLPC_E_DEVICE_LOST);
  assert_string_equal(m[0].error, "vlpc: error[E1129]: process 1 could not do its part\n"
                                  "  fix:      see what it says; then go on with --resume\n");
  assert_int_equal(m[1].status, VLPC_E_IO);
  assert_string_equal(m[1].error,
                      "vlpc: error[E0101]: none.jpg: cannot be opened: No such file or directory\n"
                      "  fix:      check the spelling of the path and of its folders\n");
}

static int set_up(void **state) {
  int failed = e2e_set_up(state);
  if (failed) return failed;
  eurosat();
  VL_IGNORE(artifact_of("coop", 0));
  VL_IGNORE(artifact_of("maple", 0));
  return failed;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_team_gives_what_one_gives),
      cmocka_unit_test(a_team_scores_what_one_scores),
      cmocka_unit_test(who_cannot_score_is_named),
      cmocka_unit_test(scores_of_one_may_be_no_numbers),
      cmocka_unit_test(a_team_that_cannot_says_so),
      cmocka_unit_test(a_team_has_the_same),
      cmocka_unit_test(a_team_learns_from_memory),
      cmocka_unit_test(a_photo_that_one_cannot_read_ends_all),
  };
  return cmocka_run_group_tests(tests, set_up, e2e_tear_down);
}
