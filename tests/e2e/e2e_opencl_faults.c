/* SPDX-License-Identifier: Apache-2.0 */
/* e2e_opencl_faults.c - an OpenCL driver that fails, call by call (cl_shim.h): a clear
** error each time, the process goes on, and a session without faults then gives the bits
** that it gave before. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/e2e/cl_shim.h"
#include "tests/e2e/e2e_kit.h"
#include "vlpc/vlpc_train.h"

enum { SKIPPED = 77, EMBED = 48, IMAGES = 2, MOST_CALLS = 400, MOST_LAUNCHES = 1 << 30 };
enum {
  NOT_FOUND = -1,
  NO_ALLOC = -4,
  NO_RESOURCES = -5,
  BUILD_FAILURE = -11,
  NO_QUEUE = -36,
  NO_PLATFORM = -1001
};

static const char *artifact;
static Npz inputs;
static ClShim *shim;
static float want[IMAGES * EMBED];

static void fail_from(const char *function, int nth, int error) {
  *shim = (ClShim){.function = function, .nth = nth, .error = error};
}

/* What the image entry gives on the device; text gets the error. */
static vlpc_status run(const char *cache, float *out, char text[512]) {
  vlpc_artifact *a = NULL;
  vlpc_session *s = NULL;
  vlpc_session_options o = {.struct_size = sizeof o, .threads = 2, .device = "opencl",
                            .cache_dir = cache};
  assert_int_equal(vlpc_artifact_open(artifact, NULL, &a), VLPC_OK);
  vlpc_status st = vlpc_session_new(a, &o, &s);
  if (st == VLPC_OK) {
    Line l = {a, s};
    line_set(&l, "image", &inputs);
    st = vlpc_session_run(s, "image");
    if (st == VLPC_OK) memcpy(out, line_output(&l, "image", "image_features").data, sizeof want);
  }
  snprintf(text, 512, "%s", st == VLPC_OK ? "" : vlpc_session_error(s));
  vlpc_session_free(s);
  vlpc_artifact_close(a);
  return st;
}

static void says(const char *cache, vlpc_status status, const char *code, const char *words) {
  char text[512];
  float out[IMAGES * EMBED];
  vlpc_status st = run(cache, out, text);
  if (st != status || !strstr(text, code) || !strstr(text, words))
    fail_msg("status %d: %s", (int)st, text);
}

static void works(const char *cache) {
  char text[512];
  float out[IMAGES * EMBED];
  fail_from(NULL, 0, 0);
  if (run(cache, out, text) != VLPC_OK) fail_msg("%s", text);
  same_bits(out, want, sizeof want, "after the fault");
}

static void without_platform_or_device(void **state) {
  (void)state;
  const char *cache = e2e_file("cache");
  fail_from("clGetPlatformIDs", 1, NO_PLATFORM);
  says(cache, VLPC_E_DEVICE, "error[E0621]", "no OpenCL driver is installed");
  fail_from("clGetDeviceIDs", 1, NOT_FOUND);
  says(cache, VLPC_E_DEVICE, "error[E0621]", "no OpenCL platform has a device");
  works(cache);
}

/* Its self-test at first use says so, for each of its kernels, and the verdict is kept. */
static void computes_wrong(void **state) {
  (void)state;
  static const char *const kernel[] = {
      "gemm", "attention", "layernorm", "softmax", "l2norm", "loops", "gemm", "layernorm_grad",
      "attention_grad", "gemm bf16", "attention bf16", "layernorm bf16",
      "gemm bf16", "attention bf16"};
  for (int i = 0; i < (int)VL_COUNT(kernel); i++) {
    const char *cache = e2e_file("wrong_%d", i);
    *shim = (ClShim){.spoilt = i + 1};
    for (int again = 0; again < 2; again++) {
      says(cache, VLPC_E_DEVICE, "error[E0625]",
           arena_printf(e2e, "computes a test kernel wrong\n  found:    %s ", kernel[i]));
      assert_int_equal(shim->reads, i + 1);
    }
  }
  works(e2e_file("cache"));
}

/* It is remembered: the driver is not asked again. */
static void build_that_fails(void **state) {
  (void)state;
  const char *cache = e2e_file("build_cache");
  works(cache); /* the self-test's verdict */
  fail_from("clBuildProgram", 1, BUILD_FAILURE);
  says(cache, VLPC_E_CODEGEN, "error[E0624]", "the OpenCL driver could not build the kernels");
  assert_true(shim->builds > 0);
  fail_from(NULL, 0, 0);
  says(cache, VLPC_E_CODEGEN, "error[E0624]", "the OpenCL driver could not build the kernels");
  assert_int_equal(shim->builds, 0);
  works(e2e_file("cache"));
}

/* A function that fails from a call on, until none is left to fail: from each in turn, or
** outside of a long test from calls further and further apart. */
static void every_call(const char *function, int error, const char *const code[]) {
  char text[512];
  float out[IMAGES * EMBED];
  int nth = 1;
  for (vlpc_status st = VLPC_E_DEVICE; st != VLPC_OK; nth += e2e_is_long() ? 1 : 1 + nth / 2) {
    fail_from(function, nth, error);
    st = run(e2e_file("cache"), out, text);
    bool known = st == VLPC_OK;
    for (int i = 0; code[i]; i++) known = known || strstr(text, code[i]);
    if (!known) fail_msg("%s, call %d: status %d: %s", function, nth, (int)st, text);
    if (st != VLPC_OK && !strstr(text, "fix:")) fail_msg("%s: no advice: %s", function, text);
    assert_true(nth < MOST_CALLS);
  }
  assert_true(nth > 2); /* it failed at least once */
  works(e2e_file("cache"));
}

static void memory_that_runs_out(void **state) {
  (void)state;
  static const char *const code[] = {"error[E0623]", "error[E0104]", NULL};
  every_call("clCreateBuffer", NO_ALLOC, code);
}

static void calls_that_fail(void **state) {
  (void)state;
  static const char *const setup[] = {"error[E0623]", NULL};
  every_call("clCreateContext", NO_ALLOC, setup);
  every_call("clCreateCommandQueue", NO_ALLOC, setup);
  every_call("clCreateProgramWithSource", NO_ALLOC, setup);
  static const char *const step[] = {"error[E0623]", "error[E0609]", NULL};
  every_call("clCreateKernel", NO_ALLOC, step);
  every_call("clEnqueueWriteBuffer", NO_ALLOC, step);
  every_call("clEnqueueReadBuffer", NO_ALLOC, step);
  every_call("clEnqueueNDRangeKernel", NO_ALLOC, step);
  every_call("clFlush", NO_ALLOC, step);
  every_call("clSetEventCallback", NO_ALLOC, step);
}

static void same_session_again(void **state) {
  (void)state;
  static const char *const function[] = {"clEnqueueNDRangeKernel", "clEnqueueReadBuffer", "clFlush",
                                         "clSetEventCallback"};
  Line l = line_open(artifact, (vlpc_session_options){.threads = 2, .device = "opencl",
                                                      .cache_dir = e2e_file("cache")});
  line_run(&l, "image", &inputs);
  for (size_t i = 0; i < VL_COUNT(function); i++) {
    *shim = (ClShim){.function = function[i], .nth = 1, .once = 1, .error = NO_ALLOC};
    assert_int_equal(vlpc_session_run(l.s, "image"), VLPC_E_DEVICE);
    line_run(&l, "image", &inputs);
    same_bits(line_output(&l, "image", "image_features").data, want, sizeof want, function[i]);
  }
  line_close(&l);
}

/* The session stays lost; another one works. */
static void loses(const char *function, int nth, const char *name, int error) {
  fail_from(NULL, 0, 0);
  Line l = line_open(artifact, (vlpc_session_options){.threads = 2, .device = "opencl",
                                                      .cache_dir = e2e_file("cache")});
  line_run(&l, "image", &inputs);
  *shim = (ClShim){.function = function, .nth = nth, .once = 1, .error = error};
  for (int i = 0; i < 3; i++) {
    assert_int_equal(vlpc_session_run(l.s, "image"), VLPC_E_DEVICE_LOST);
    assert_non_null(strstr(vlpc_session_error(l.s), "error[E0626]"));
    assert_non_null(strstr(vlpc_session_error(l.s), name));
  }
  line_close(&l);
  works(e2e_file("cache"));
}

static void device_that_is_lost(void **state) {
  (void)state;
  loses("clEnqueueNDRangeKernel", 7, "CL_OUT_OF_RESOURCES", NO_RESOURCES);
  loses("clGetEventInfo", 1, "CL_INVALID_COMMAND_QUEUE", NO_QUEUE);
}

/* Kernels of other entries are not built. */
static void builds_what_is_run(void **state) {
  (void)state;
  char text[512];
  float out[IMAGES * EMBED];
  const char *cache = e2e_file("cache");
  fail_from(NULL, 0, 0);
  assert_int_equal(run(cache, out, text), VLPC_OK);
  int image = shim->builds;
  Line l = line_open(artifact, (vlpc_session_options){.threads = 2, .device = "opencl",
                                                      .cache_dir = cache});
  fail_from(NULL, 0, 0);
  line_run(&l, "image", &inputs);
  line_run(&l, "image", &inputs);
  assert_int_equal(shim->builds, image);
  line_run(&l, "text", &inputs);
  assert_true(shim->builds > image);
  line_close(&l);
}

/* ---- training ------------------------------------------------------------- */

#define CLIP VLPC_SOURCE_DIR "/models/small_clip/"
#define PHOTOS VLPC_SOURCE_DIR "/models/photos/eurosat_test/"

enum { CLASSES = 2, EACH = 2, STEPS = 6 };

static const char *learner(void) {
  vlpc_prompt_options p = {.struct_size = sizeof p, .method = "coop", .length = 2,
                           .models = {CLIP "model.onnx"}, .output = e2e_file("coop.onnx")};
  e2e_ok(vlpc_prompt_write(e2e_compiler, &p));
  vlpc_compile_options o = {.models = {CLIP "model.onnx"}, .tokenizer = CLIP "tokenizer.json",
                            .prompt = p.output, .train = 1};
  return e2e_compile(o, "coop.vlpc");
}

/* A folder of few photos. */
static const char *photos(void) {
  static const char *const name[CLASSES][EACH] = {{"Forest_1015.jpg", "Forest_1026.jpg"},
                                                  {"River_1006.jpg", "River_1078.jpg"}};
  static const char *const class[CLASSES] = {"Forest", "River"};
  assert_int_equal(mkdir(e2e_file("data"), 0777), 0);
  for (int i = 0; i < CLASSES; i++) {
    assert_int_equal(mkdir(e2e_file("data/%s", class[i]), 0777), 0);
    for (int k = 0; k < EACH; k++)
      assert_int_equal(symlink(arena_printf(e2e, PHOTOS "%s/%s", class[i], name[i][k]),
                               e2e_file("data/%s/%s", class[i], name[i][k])), 0);
  }
  return e2e_file("data");
}

typedef struct {
  vlpc_artifact *a;
  vlpc_trainer *t;
} Training;

static Training begin(const char *artifact_file, const char *folder, const char *data, int resume) {
  static const char *const set[] = {"epochs=3", "batch=2", "augment=none", "lr=0.01", NULL};
  vlpc_session_options s = {.struct_size = sizeof s, .threads = 2, .device = "opencl",
                            .cache_dir = e2e_file("cache")};
  vlpc_trainer_options o = {.struct_size = sizeof o, .data = data, .run = folder, .set = set,
                            .resume = resume, .session = &s};
  Training x = {NULL, NULL};
  assert_int_equal(vlpc_artifact_open(artifact_file, NULL, &x.a), VLPC_OK);
  if (vlpc_trainer_new(x.a, &o, &x.t) != VLPC_OK) fail_msg("%s", vlpc_trainer_error(x.t));
  return x;
}

/* Steps until one fails or none is left; returns how many were done. */
static int steps(const Training *x, vlpc_status *st) {
  vlpc_train_step step = {.struct_size = sizeof step};
  int n = 0;
  while ((*st = vlpc_trainer_step(x->t, &step)) == VLPC_OK && !step.done) n++;
  return n;
}

static void end(Training *x) {
  vlpc_trainer_free(x->t);
  vlpc_artifact_close(x->a);
}

static void finish(Training *x) {
  if (vlpc_trainer_finish(x->t) != VLPC_OK) fail_msg("%s", vlpc_trainer_error(x->t));
  end(x);
}

/* The run goes on from its last checkpoint as if nothing had been. */
static void training_that_loses_its_device(void **state) {
  (void)state;
  vlpc_status st;
  const char *file = learner(), *data = photos();
  fail_from("clEnqueueNDRangeKernel", MOST_LAUNCHES, NO_RESOURCES); /* counts, and never fails */
  Training whole = begin(file, e2e_file("whole"), data, 0);
  assert_int_equal(steps(&whole, &st), STEPS);
  assert_int_equal(st, VLPC_OK);
  int launches = shim->calls;
  finish(&whole);
  fail_from("clEnqueueNDRangeKernel", launches * 2 / 3, NO_RESOURCES);
  Training cut = begin(file, e2e_file("cut"), data, 0);
  int done = steps(&cut, &st);
  assert_int_equal(st, VLPC_E_DEVICE_LOST);
  assert_in_range(done, 2, STEPS - 1);
  assert_non_null(strstr(vlpc_trainer_error(cut.t), "error[E0626]"));
  end(&cut);
  fail_from(NULL, 0, 0);
  Training rest = begin(file, e2e_file("cut"), data, 1);
  assert_in_range(steps(&rest, &st), 1, STEPS - 1);
  assert_int_equal(st, VLPC_OK);
  finish(&rest);
  same_files(e2e_file("whole/prompts.safetensors"), e2e_file("cut/prompts.safetensors"));
}

static int skip_all(const char *why) {
  printf("skipped: %s\n", why);
  exit(SKIPPED);
}

static int set_up(void **state) {
  int failed = e2e_set_up(state);
  vlpc_found_device d = {.struct_size = sizeof d};
  int32_t more = 0;
  char text[512];
  if (failed) return failed;
  if (vlpc_compiler_device(e2e_compiler, 0, &d, &more) != VLPC_OK || !more)
    return skip_all("no OpenCL device");
  void *lib = dlopen("libOpenCL.so.1", RTLD_NOW | RTLD_NOLOAD);
  shim = lib ? dlsym(lib, CL_SHIM) : NULL;
  if (!shim) return skip_all("the loader is not the shim: run by ctest");
  inputs = tiny_inputs(IMAGES, 3);
  vlpc_compile_options o = {.models = {arena_printf(e2e, "%s/model.onnx",
                                                    e2e_tiny("tiny", false, 17))}};
  artifact = e2e_compile(o, "tiny.vlpc");
  if (run(e2e_file("cache"), want, text) != VLPC_OK) fail_msg("%s", text);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(without_platform_or_device), cmocka_unit_test(build_that_fails),
      cmocka_unit_test(memory_that_runs_out),       cmocka_unit_test(calls_that_fail),
      cmocka_unit_test(same_session_again),         cmocka_unit_test(computes_wrong),
      cmocka_unit_test(device_that_is_lost),        cmocka_unit_test(builds_what_is_run),
      cmocka_unit_test(training_that_loses_its_device),
  };
  return cmocka_run_group_tests(tests, set_up, e2e_tear_down);
}
