/* SPDX-License-Identifier: Apache-2.0 */
/* e2e_clblast.c - matrix products by CLBlast, where the table of vlpc tune names it: features
** agree with native code, a row does not depend on its batch, CLBlast is one thread's at a
** time, and one that is wrong or fails is told. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/opencl/cl_clblast.h"
#include "tests/e2e/clblast_shim.h"
#include "tests/e2e/tune_table.h"

#define ATOL 2e-5

enum { SKIPPED = 77, EMBED = 48, IMAGES = 2 };

static const char *const entries[] = {"image", "text"};
static const char *const features[] = {"image_features", "text_features"};
static const char *artifact, *folder; /* whose table names CLBlast */
static Npz inputs;
static uint32_t version;
static ClBlastShim *shim;

/* ---- results ---------------------------------------------------------------- */

static void near_native_code(const Line *l, const char *entry, const char *output) {
  Line cpu = line_open(artifact, (vlpc_session_options){.device = "cpu", .threads = 1});
  line_run(&cpu, entry, &inputs);
  vlpc_tensor want = line_output(&cpu, entry, output), got = line_output(l, entry, output);
  NpyArray array = {arena_strdup(e2e, output), VLPC_F32, (uint32_t)want.rank, {0}, want.data, 0};
  memcpy(array.size, want.shape, sizeof array.size);
  near_array(&got, &array, ATOL, entry);
  line_close(&cpu);
}

static void towers_agree_with_native_code(void **state) {
  (void)state;
  int warned;
  *shim = (ClBlastShim){.alpha = 1};
  Line l = tuned_line(artifact, folder, &warned);
  for (int i = 0; i < 2; i++) {
    int before = shim->products;
    line_run(&l, entries[i], &inputs);
    assert_true(shim->products >= before + 6); /* gemms of a layer and around */
    near_native_code(&l, entries[i], features[i]);
  }
  line_close(&l);
  assert_int_equal(warned, 0);
  assert_int_equal(shim->clears, 1); /* what it kept went with the session */
}

static void batches_do_not_matter(void **state) {
  (void)state;
  int warned;
  float first[EMBED];
  Npz one = tiny_inputs(1, 1), many = tiny_inputs(40, 1);
  Line l = tuned_line(artifact, folder, &warned);
  line_run(&l, "image", &one);
  memcpy(first, line_output(&l, "image", "image_features").data, sizeof first);
  line_run(&l, "image", &inputs);
  same_bits(line_output(&l, "image", "image_features").data, first, sizeof first, "of 2");
  line_run(&l, "image", &many);
  same_bits(line_output(&l, "image", "image_features").data, first, sizeof first, "of 40");
  line_close(&l);
}

typedef struct {
  Line line;
  float got[IMAGES * EMBED];
} Worker;

static void *work(void *at) {
  Worker *w = at;
  for (int i = 0; i < 3; i++) line_run(&w->line, "image", &inputs);
  memcpy(w->got, line_output(&w->line, "image", "image_features").data, sizeof w->got);
  return NULL;
}

static void one_thread_at_a_time(void **state) {
  (void)state;
  int warned;
  Worker w[2];
  pthread_t t[2];
  *shim = (ClBlastShim){.alpha = 1};
  for (int i = 0; i < 2; i++) w[i].line = tuned_line(artifact, folder, &warned);
  for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&t[i], NULL, work, &w[i]), 0);
  for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
  same_bits(w[0].got, w[1].got, sizeof w[0].got, "two threads");
  line_close(&w[0].line);
  assert_int_equal(shim->clears, 1); /* or a server that opens before it closes keeps all */
  line_close(&w[1].line);
  assert_int_equal(shim->clears, 2);
  assert_int_equal(shim->overlaps, 0);
}

/* ---- trouble ----------------------------------------------------------------- */

static void an_error_has_its_name_and_a_cure(void **state) {
  (void)state;
  int warned;
  *shim = (ClBlastShim){.alpha = 1, .error = -2046};
  Line l = tuned_line(artifact, folder, &warned);
  line_set(&l, "image", &inputs);
  assert_int_equal(vlpc_session_run(l.s, "image"), VLPC_E_DEVICE);
  const char *text = vlpc_session_error(l.s);
  if (!strstr(text, "CLBlast failed with CLBlastInvalidLocalMemUsage (-2046)") ||
      !strstr(text, "run vlpc tune again without --clblast"))
    fail_msg("%s", text);
  shim->error = 0; /* the session goes on */
  line_run(&l, "image", &inputs);
  near_native_code(&l, "image", "image_features");
  line_close(&l);
}

static void another_version_is_not_used(void **state) {
  (void)state;
  int warned;
  const char *other = e2e_file("other"), *text = NULL;
  e2e_ok(tune(artifact, other, false, &text));
  Line plain = tuned_line(artifact, other, &warned);
  assert_int_equal(warned, 0);
  table_names_clblast(other, version + 1);
  *shim = (ClBlastShim){.alpha = 1};
  Line l = tuned_line(artifact, other, &warned);
  assert_int_equal(warned, 1);
  line_run(&l, "image", &inputs);
  line_run(&plain, "image", &inputs);
  assert_int_equal(shim->products, 0);
  same_bits(line_output(&l, "image", "image_features").data,
            line_output(&plain, "image", "image_features").data, IMAGES * EMBED * sizeof(float),
            "tiles");
  line_close(&l);
  line_close(&plain);
}

/* ---- tuning ------------------------------------------------------------------- */

static int count_of(const char *text, const char *words) {
  int n = 0;
  for (const char *at = text; (at = strstr(at, words)); at++) n++;
  return n;
}

/* Each gemm has a time with CLBlast, or none with this reason. */
static void tries(const ClBlastShim *how, const char *why) {
  const char *text = NULL;
  *shim = *how;
  e2e_ok(tune(artifact, e2e_file("tried"), true, &text));
  int gemms = count_of(text, "\"turned\":");
  int good = count_of(text, "{\"tile\":\"clblast\",\"ns\":") -
             count_of(text, "{\"tile\":\"clblast\",\"ns\":null");
  int refused = why ? count_of(text, arena_printf(e2e, "\"ns\":null,\"why\":\"%s\"}", why)) : 0;
  assert_true(gemms >= 6);
  if (good != (why ? 0 : gemms) || refused != (why ? gemms : 0)) fail_msg("%s", text);
}

static void tuning_tries_it_and_trusts_no_wrong_one(void **state) {
  (void)state;
  tries(&(ClBlastShim){.alpha = 1}, NULL);
  tries(&(ClBlastShim){.alpha = 1.001f}, "its results are not those of the tiles");
  tries(&(ClBlastShim){.alpha = 1, .idle = 1}, "its results are not those of the tiles");
  tries(&(ClBlastShim){.alpha = 1.000001f, .rows = 50},
        "a row's bits depend on the number of rows");
  tries(&(ClBlastShim){.alpha = 1, .error = -11},
        "CLBlast failed with CL_BUILD_PROGRAM_FAILURE (-11)");
}

/* The table names it already: what it keeps goes all the same. */
static void tuning_again_lets_go(void **state) {
  (void)state;
  const char *text = NULL;
  *shim = (ClBlastShim){.alpha = 1};
  e2e_ok(tune(artifact, folder, true, &text));
  assert_int_equal(shim->clears, 1);
}

/* ---- all ---------------------------------------------------------------------- */

static int skip_all(const char *why) {
  printf("skipped: %s\n", why);
  exit(SKIPPED);
}

static int set_up(void **state) {
  const char *why, *text = NULL;
  vlpc_found_device d = {.struct_size = sizeof d};
  int32_t more = 0;
  if (e2e_set_up(state)) return 1;
  if (vlpc_compiler_device(e2e_compiler, 0, &d, &more) != VLPC_OK || !more)
    return skip_all("no OpenCL device");
  version = cl_clblast(&why);
  if (version == 0) return skip_all(why);
  shim = dlsym(dlopen("libclblast.so.1", RTLD_NOW), CLBLAST_SHIM);
  if (!shim) return skip_all("CLBlast is not the shim: run by ctest");
  inputs = tiny_inputs(IMAGES, 3);
  vlpc_compile_options o = {.models = {arena_printf(e2e, "%s/model.onnx",
                                                    e2e_tiny("tiny", false, 17))}};
  artifact = e2e_compile(o, "tiny.vlpc");
  folder = e2e_file("tuned");
  e2e_ok(tune(artifact, folder, false, &text));
  table_names_clblast(folder, version);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(towers_agree_with_native_code),
      cmocka_unit_test(batches_do_not_matter),
      cmocka_unit_test(one_thread_at_a_time),
      cmocka_unit_test(an_error_has_its_name_and_a_cure),
      cmocka_unit_test(another_version_is_not_used),
      cmocka_unit_test(tuning_tries_it_and_trusts_no_wrong_one),
      cmocka_unit_test(tuning_again_lets_go),
  };
  return cmocka_run_group_tests(tests, set_up, e2e_tear_down);
}
