/* SPDX-License-Identifier: Apache-2.0 */
/* e2e_learn.c - a program learns from photos that it has in memory, through vlpc_train.h:
** the bits are those of the same photos in files. */
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "runs.h"
#include "train/loader.h"

enum { CLASSES = 3, EACH = 3, N = CLASSES * EACH, BATCH = 4, STEPS = 6, SEED = 3 };

/* ---- photos and artifacts -------------------------------------------------- */

static const char *const class_name[CLASSES] = {"Forest", "River", "Sea lake"};
static const char *list; /* of the photos in files */
static Dataset files;    /* as it is read */
static vlpc_image image[N]; /* their pixels, in its order */
static uint32_t label[N];

static Dataset open_data(const char *path) {
  Dataset d;
  Diag *diag = diag_new();
  VlStatus s = dataset_open(&(DatasetSource){path, NULL}, e2e, diag, &d);
  if (s != VLPC_OK) fail_msg("%s", diag_text(diag));
  diag_free(diag);
  return d;
}

/* A list of the first photos of three classes. */
static void write_list(void) {
  static const uint32_t class[CLASSES] = {1, 8, 9};
  Dataset all = open_data(PHOTOS "eurosat_test");
  FILE *f = fopen(list = e2e_file("photos.csv"), "w");
  assert_non_null(f);
  for (uint32_t c = 0; c < CLASSES; c++)
    for (uint32_t i = 0, taken = 0; i < all.split[SPLIT_train].n && taken < EACH; i++) {
      const Item *it = &all.split[SPLIT_train].at[i];
      if (it->label != class[c]) continue;
      fprintf(f, "%s,%u,%s\n", it->path, c, class_name[c]);
      taken++;
    }
  assert_int_equal(fclose(f), 0);
}

static void read_photos(void) {
  write_list();
  files = open_data(list);
  assert_int_equal(files.split[SPLIT_train].n, N);
  for (uint32_t i = 0; i < N; i++) {
    const Item *it = &files.split[SPLIT_train].at[i];
    Image im;
    assert_int_equal(image_read(it->path, NULL, &im), VLPC_OK);
    size_t n = 3 * (size_t)im.width * (size_t)im.height;
    uint8_t *rgb = arena_array(e2e, uint8_t, n);
    memcpy(rgb, im.pixels, n);
    image[i] = (vlpc_image){.rgb = rgb, .width = im.width, .height = im.height};
    label[i] = it->label;
    image_fini(&im);
  }
}

static int set_up(void **state) {
  int failed = e2e_set_up(state);
  if (failed) return failed;
  read_photos();
  VL_IGNORE(artifact_of("coop", 0));
  return 0;
}

/* ---- trainers -------------------------------------------------------------- */

/* Rates that do not follow epochs, which are longer with files. */
static const char *const of_files[] = {"epochs=3", "batch=4", "seed=3", "augment=none",
                                       "schedule=constant", "warmup_epochs=0", "shots=0",
                                       "classes=all", NULL};
static const char *const of_memory[] = {"epochs=6", "batch=4", "seed=3", "augment=none",
                                        "schedule=constant", "warmup_epochs=0", "save_steps=1",
                                        NULL};

static const vlpc_session_options shared_code = {.struct_size = sizeof shared_code,
                                                 .cache_dir = E2E_CODE};

static vlpc_trainer *on_files(vlpc_artifact *a) {
  vlpc_trainer *t = NULL;
  vlpc_trainer_options o = {.struct_size = sizeof o, .session = &shared_code,
                            .data = list, .set = of_files};
  vlpc_status s = vlpc_trainer_new(a, &o, &t);
  trainer_ok(t, s);
  return t;
}

static vlpc_trainer *in_memory(vlpc_artifact *a, const char *run, bool resume) {
  vlpc_trainer *t = NULL;
  vlpc_trainer_options o = {.struct_size = sizeof o, .session = &shared_code,
                            .set = of_memory, .classes = class_name,
                            .n_classes = CLASSES, .run = run, .resume = resume};
  vlpc_status s = vlpc_trainer_new(a, &o, &t);
  trainer_ok(t, s);
  return t;
}

typedef struct {
  vlpc_image image[BATCH];
  uint32_t label[BATCH];
} Batch4;

/* The photos of step i with files: epochs have two, one photo is left over. */
static vlpc_photos batch_of(uint32_t i, Batch4 *b) {
  uint32_t order[N];
  Loader *l = NULL;
  LoaderSpec spec = {.data = &files, .seed = SEED, .batch = BATCH, .train = true,
                     .preprocess = preprocess_clip(32)};
  assert_int_equal(loader_new(&spec, e2e, NULL, &l), VLPC_OK);
  loader_order(l, i / 2, order);
  for (uint32_t k = 0; k < BATCH; k++) {
    uint32_t photo = order[i % 2 * BATCH + k];
    b->image[k] = image[photo], b->label[k] = label[photo];
  }
  return (vlpc_photos){sizeof(vlpc_photos), b->image, b->label, BATCH};
}

static void step_on(vlpc_trainer *t, uint32_t i, vlpc_train_step *out) {
  Batch4 b;
  vlpc_photos p = batch_of(i, &b);
  trainer_ok(t, vlpc_trainer_step_on(t, &p, out));
  memset(&b, 0, sizeof b); /* they are not looked at any more */
}

static size_t bytes_of(const vlpc_tensor *x) {
  size_t n = sizeof(float);
  for (int32_t k = 0; k < x->rank; k++) n *= (size_t)x->shape[k];
  return n;
}

/* Values and gradients of all trainables. */
static void same_tensors(const vlpc_trainer *a, const vlpc_trainer *b) {
  vlpc_tensor va, ga, vb, gb;
  uint32_t i = 0;
  for (; vlpc_trainer_tensor(a, i, NULL, &va, &ga); i++) {
    assert_true(vlpc_trainer_tensor(b, i, NULL, &vb, &gb));
    assert_int_equal(bytes_of(&va), bytes_of(&vb));
    assert_memory_equal(va.data, vb.data, bytes_of(&va));
    assert_int_equal(!ga.data, !gb.data);
    if (ga.data) assert_memory_equal(ga.data, gb.data, bytes_of(&ga));
  }
  assert_true(i > 0);
}

/* ---- facts ----------------------------------------------------------------- */

static void steps_give_the_bits_of_files(const char *artifact) {
  vlpc_artifact *a = open_artifact(artifact);
  vlpc_trainer *f = on_files(a), *m = in_memory(a, NULL, false);
  vlpc_train_step sf = {.struct_size = sizeof sf}, sm = sf;
  vlpc_train_scores xf = {.struct_size = sizeof xf}, xm = xf;
  vlpc_photos all = {sizeof all, image, label, N};
  for (uint32_t i = 0; i < STEPS; i++) {
    trainer_ok(f, vlpc_trainer_step(f, &sf));
    step_on(m, i, &sm);
    assert_true(sm.loss == sf.loss && sm.n == BATCH && sm.step == i + 1 && sm.epoch == i);
    assert_true(sm.epoch_done && !sm.done);
    same_tensors(f, m);
  }
  trainer_ok(f, vlpc_trainer_evaluate(f, VLPC_TRAIN, &xf));
  for (int again = 0; again < 2; again++) {
    trainer_ok(m, vlpc_trainer_evaluate_on(m, &all, &xm));
    assert_memory_equal(&xf, &xm, sizeof xf);
  }
  trainer_ok(f, vlpc_trainer_evaluate_on(f, &all, &xm));
  assert_memory_equal(&xf, &xm, sizeof xf);
  step_on(m, 0, &sm); /* there is none left */
  assert_true(sm.done && sm.step == STEPS);
  same_tensors(f, m);
  vlpc_trainer_free(f);
  vlpc_trainer_free(m);
  vlpc_artifact_close(a);
}

static void steps_of_texts_give_the_bits_of_files(void **state) {
  (void)state;
  steps_give_the_bits_of_files(e2e_file("coop.vlpc"));
}

static void steps_of_pixels_give_the_bits_of_files(void **state) {
  (void)state;
  steps_give_the_bits_of_files(artifact_of("maple", 0));
}

/* A photo's features are made once, also for evaluation. */
static void photos_are_known_again(void **state) {
  vlpc_artifact *a = open_artifact(e2e_file("coop.vlpc"));
  vlpc_trainer *t = in_memory(a, NULL, false);
  vlpc_train_step step = {.struct_size = sizeof step};
  vlpc_train_scores scores = {.struct_size = sizeof scores};
  vlpc_trainer_info info = {.struct_size = sizeof info};
  vlpc_photos all = {sizeof all, image, label, N};
  (void)state;
  for (uint32_t i = 0; i < 3; i++) step_on(t, 0, &step);
  for (uint32_t i = 0; i < 2; i++) trainer_ok(t, vlpc_trainer_evaluate_on(t, &all, &scores));
  assert_true(vlpc_trainer_get_info(t, &info));
  assert_int_equal(info.features_made, BATCH + N);
  assert_int_equal(info.features_found, 2 * BATCH + N);
  assert_int_equal(info.photos, 0);
  assert_int_equal(info.steps, STEPS);
  assert_int_equal(info.n_classes, CLASSES);
  assert_int_equal(vlpc_trainer_split(t, VLPC_TRAIN), 0);
  vlpc_trainer_free(t);
  vlpc_artifact_close(a);
}

static void run_in(const char *folder, bool in_parts) {
  vlpc_artifact *a = open_artifact(e2e_file("coop.vlpc"));
  vlpc_trainer *t = in_memory(a, folder, false);
  vlpc_train_step step = {.struct_size = sizeof step};
  for (uint32_t i = 0; i < STEPS; i++) {
    step_on(t, i, &step);
    if (!in_parts) continue;
    vlpc_trainer_free(t);
    t = in_memory(a, folder, true);
  }
  trainer_ok(t, vlpc_trainer_finish(t));
  vlpc_trainer_free(t);
  vlpc_artifact_close(a);
}

/* A run that is saved and gone on with after each step, and one at a stretch. */
static void a_run_is_saved_and_gone_on_with(void **state) {
  vlpc_prompts *p = NULL;
  vlpc_artifact *a = open_artifact(e2e_file("coop.vlpc"));
  vlpc_trainer *t = NULL;
  vlpc_trainer_options o = {.struct_size = sizeof o, .session = &shared_code,
                            .set = of_memory, .classes = class_name,
                            .n_classes = 2, .run = e2e_file("whole"), .resume = 1};
  (void)state;
  run_in(e2e_file("whole"), false);
  run_in(e2e_file("parts"), true);
  same_files(e2e_file("whole/prompts.safetensors"), e2e_file("parts/prompts.safetensors"));
  assert_int_equal(vlpc_prompts_open(e2e_file("whole/prompts.safetensors"), &p), VLPC_OK);
  assert_string_equal(vlpc_prompts_class(p, 2), "Sea lake");
  vlpc_prompts_close(p);
  assert_int_equal(vlpc_trainer_new(a, &o, &t), VLPC_E_MISMATCH); /* of other classes */
  assert_non_null(strstr(vlpc_trainer_error(t), "error[E1125]"));
  vlpc_trainer_free(t);
  vlpc_artifact_close(a);
}

/* A set that was learned says for which classes, and learning goes on from its values. */
static void a_set_is_gone_on_from(void **state) {
  vlpc_artifact *a = open_artifact(e2e_file("coop.vlpc"));
  vlpc_trainer *t = NULL;
  vlpc_prompts *p = NULL;
  vlpc_tensor was, is;
  vlpc_train_step step = {.struct_size = sizeof step};
  const char *set = e2e_file("whole/prompts.safetensors");
  vlpc_trainer_options o = {.struct_size = sizeof o, .session = &shared_code,
                            .set = of_memory, .start = set};
  (void)state;
  vlpc_status s = vlpc_trainer_new(a, &o, &t);
  trainer_ok(t, s);
  for (uint32_t i = 0; i < CLASSES; i++)
    assert_string_equal(vlpc_trainer_class(t, i), class_name[i]);
  assert_null(vlpc_trainer_class(t, CLASSES));
  assert_int_equal(vlpc_prompts_open(set, &p), VLPC_OK);
  assert_true(vlpc_prompts_tensor(p, 0, NULL, &was));
  assert_true(vlpc_trainer_tensor(t, 0, NULL, &is, NULL));
  assert_memory_equal(was.data, is.data, bytes_of(&was));
  step_on(t, 0, &step);
  assert_memory_not_equal(was.data, is.data, bytes_of(&was));
  vlpc_prompts_close(p);
  vlpc_trainer_free(t);
  vlpc_artifact_close(a);
}

/* ---- what cannot be -------------------------------------------------------- */

static void expect_error(const vlpc_trainer *t, vlpc_status s, const char *text) {
  assert_int_equal(s, VLPC_E_INVALID_ARG);
  assert_string_equal(vlpc_trainer_error(t), text);
}

static void photos_that_are_wrong_are_named(void **state) {
  vlpc_artifact *a = open_artifact(e2e_file("coop.vlpc"));
  vlpc_trainer *t = in_memory(a, NULL, false);
  vlpc_image one[BATCH + 1] = {image[0], image[1], image[2], image[3], image[4]};
  uint32_t of[BATCH + 1] = {0};
  vlpc_photos p = {sizeof p, one, of, 2};
  vlpc_train_scores scores = {.struct_size = sizeof scores};
  vlpc_prompts *prompts = NULL;
  (void)state;
  of[1] = CLASSES;
  expect_error(t, vlpc_trainer_step_on(t, &p, NULL),
               "vlpc: error[E0909]: photo 1 is of no class\n"
               "  found:    class 3\n"
               "  expected: 0 to 2\n");
  of[1] = 0, p.n = BATCH + 1;
  expect_error(t, vlpc_trainer_step_on(t, &p, NULL),
               "vlpc: error[E0909]: a step takes one batch of photos\n"
               "  found:    5 photos\n"
               "  expected: at most 4\n"
               "  fix:      give fewer, or set batch\n");
  static const char none[] = "vlpc: error[E0909]: photos has a wrong struct_size, no images or "
                             "no labels\n"
                             "  found:    0 photos\n"
                             "  expected: 1 to 16777216\n";
  p.n = 0;
  expect_error(t, vlpc_trainer_step_on(t, &p, NULL), none);
  expect_error(t, vlpc_trainer_evaluate_on(t, NULL, &scores), none);
  p = (vlpc_photos){sizeof p, one, of, 2};
  one[1].height = 0;
  static const char size[] =
      "vlpc: error[E0909]: photo 1 has neither a path nor pixels of a sane size\n";
  expect_error(t, vlpc_trainer_step_on(t, &p, NULL), size);
  one[1] = image[1], one[1].rgb = NULL;
  expect_error(t, vlpc_trainer_evaluate_on(t, &p, &scores), size);
  one[1] = image[1], one[1].width = one[1].height = 65535;
  expect_error(t, vlpc_trainer_step_on(t, &p, NULL), size);
  one[1] = image[1];
  trainer_ok(t, vlpc_trainer_prompts(t, &prompts));
  one[1].prompts = prompts;
  expect_error(t, vlpc_trainer_step_on(t, &p, NULL),
               "vlpc: error[E0909]: photo 1 has prompts of its own, which learning takes no "
               "account of\n");
  vlpc_prompts_close(prompts);
  one[1] = (vlpc_image){.path = "none.jpg"};
  assert_int_equal(vlpc_trainer_step_on(t, &p, NULL), VLPC_E_IO);
  assert_non_null(strstr(vlpc_trainer_error(t), "none.jpg"));
  expect_error(t, vlpc_trainer_step(t, NULL),
               "vlpc: error[E0909]: the trainer has no photos of its own: options.data is NULL\n"
               "  fix:      call vlpc_trainer_step_on\n");
  assert_int_equal(vlpc_trainer_evaluate(t, VLPC_TRAIN, &scores), VLPC_E_INVALID_ARG);
  assert_non_null(strstr(vlpc_trainer_error(t), "error[E1106]"));
  one[1] = (vlpc_image){.path = files.split[SPLIT_train].at[1].path};
  trainer_ok(t, vlpc_trainer_step_on(t, &p, NULL)); /* files are photos too */
  assert_int_equal(vlpc_trainer_step_on(NULL, &p, NULL), VLPC_E_INVALID_ARG);
  vlpc_trainer_free(t);
  t = on_files(a);
  expect_error(t, vlpc_trainer_step_on(t, &p, NULL),
               "vlpc: error[E0909]: the trainer has photos of its own: options.data\n"
               "  fix:      call vlpc_trainer_step\n");
  vlpc_trainer_free(t);
  vlpc_artifact_close(a);
}

static void classes_have_names(void **state) {
  static const char *const hole[] = {"Forest", NULL, "River"};
  vlpc_artifact *a = open_artifact(e2e_file("coop.vlpc"));
  (void)state;
  const struct {
    vlpc_trainer_options o;
    const char *says;
  } row[] = {
      {{.n_classes = 0}, "found:    0 names of 0 classes"},
      {{.n_classes = 3}, "found:    0 names of 0 classes"},
      {{.classes = hole, .n_classes = 3}, "found:    1 names of 3 classes"},
      {{.classes = class_name, .n_classes = 3, .data = list},
       "the classes are those of options.data"},
  };
  for (size_t i = 0; i < VL_COUNT(row); i++) {
    vlpc_trainer_options o = row[i].o;
    vlpc_trainer *t = NULL;
    o.struct_size = sizeof o;
    assert_int_equal(vlpc_trainer_new(a, &o, &t), VLPC_E_INVALID_ARG);
    assert_non_null(strstr(vlpc_trainer_error(t), row[i].says));
    vlpc_trainer_free(t);
  }
  vlpc_artifact_close(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(steps_of_texts_give_the_bits_of_files),
      cmocka_unit_test(steps_of_pixels_give_the_bits_of_files),
      cmocka_unit_test(photos_are_known_again),
      cmocka_unit_test(a_run_is_saved_and_gone_on_with),
      cmocka_unit_test(a_set_is_gone_on_from),
      cmocka_unit_test(photos_that_are_wrong_are_named),
      cmocka_unit_test(classes_have_names),
  };
  return cmocka_run_group_tests(tests, set_up, e2e_tear_down);
}
