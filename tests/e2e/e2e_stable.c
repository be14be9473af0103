/* SPDX-License-Identifier: Apache-2.0 */
/* e2e_stable.c - what must not change a result: where and when a file was
** compiled, whether its code came from a cache, and which pass was left out. */
#include "tests/e2e/e2e_kit.h"

#include <fcntl.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

static const char *tiny_model(void) {
  return arena_printf(e2e, "%s/model.onnx", e2e_tiny("tiny", false, 17));
}

/* ---- bytes ---------------------------------------------------------------- */

static const char *compile_from(const char *cwd, const char *model, const char *output) {
  int before = open(".", O_RDONLY | O_DIRECTORY);
  assert_true(before >= 0);
  assert_int_equal(chdir(cwd), 0);
  vlpc_compile_options o = {.seal = "all"};
  o.models[0] = model;
  const char *path = e2e_compile(o, output);
  assert_int_equal(fchdir(before), 0);
  close(before);
  return path;
}

/* Decimal commas, where the system has such a locale, must not reach a file. */
static void set_locale(void) {
  static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "C.UTF-8"};
  for (size_t i = 0; i < VL_COUNT(names); i++) {
    if (setlocale(LC_ALL, names[i])) return;
  }
}

static void equal_inputs_give_equal_bytes(void **state) {
  (void)state;
  const char *model = tiny_model();
  const char *a = compile_from("/", model, "a.vlpc");
  setenv("LC_ALL", "de_DE.UTF-8", 1);
  setenv("TZ", "Asia/Tokyo", 1);
  set_locale();
  const char *b = compile_from(e2e_file("tiny"), "model.onnx", "b.vlpc");
  setlocale(LC_ALL, "C");
  vlpc_compiler *other = e2e_compiler;
  assert_int_equal(vlpc_compiler_open(NULL, &e2e_compiler), VLPC_OK);
  const char *c = compile_from(e2e_file("."), "tiny/model.onnx", "c.vlpc");
  vlpc_compiler_close(e2e_compiler);
  e2e_compiler = other;
  same_files(a, b);
  same_files(a, c);
}

/* ---- code ----------------------------------------------------------------- */

static vlpc_code_origin origin(const Line *l) {
  vlpc_session_info info = {.struct_size = sizeof info};
  assert_true(vlpc_session_get_info(l->s, &info));
  return info.code;
}

static vlpc_tensor kept(const Line *l, const char *entry, const char *name) {
  vlpc_tensor t = line_output(l, entry, name);
  float *copy = arena_array(e2e, float, tensor_count(&t));
  memcpy(copy, t.data, (size_t)tensor_count(&t) * sizeof *copy);
  t.data = copy;
  return t;
}

static void code_from_anywhere_gives_equal_results(void **state) {
  (void)state;
  Npz in = tiny_inputs(2, 3);
  vlpc_compile_options plain = {0}, sealed = {.seal = "all"};
  plain.models[0] = sealed.models[0] = tiny_model();
  const char *path[3];
  path[0] = path[1] = e2e_compile(plain, "plain.vlpc");
  path[2] = e2e_compile(sealed, "sealed.vlpc");
  static const vlpc_code_origin from[] = {VLPC_CODE_MADE, VLPC_CODE_CACHE, VLPC_CODE_SEALED};
  vlpc_tensor first = {0};
  for (int i = 0; i < 3; i++) {
    vlpc_session_options o = {.threads = 2, .trust_code = i == 2};
    if (i < 2) o.cache_dir = e2e_file("cache");
    Line l = line_open(path[i], o);
    assert_int_equal(origin(&l), from[i]);
    line_run(&l, "model", &in);
    vlpc_tensor got = kept(&l, "model", "logits_per_image");
    if (i == 0) first = got;
    same_bits(got.data, first.data, (size_t)tensor_count(&got) * sizeof(float), "logits");
    line_close(&l);
  }
}

/* ---- passes --------------------------------------------------------------- */

static const char *const rewrites[] = {
    "fuse_elementwise", "epilogue", "concat", "inplace", "absorb", "narrow",
#define PASS(id, needs, makes, what) #id,
#include "passes/passes.def"
};

typedef struct {
  vlpc_tensor image, text, logits;
} Outputs;

static Outputs outputs_without(const char *model, const char *switches, const Npz *in) {
  Outputs out;
  vlpc_compile_options o = {.passes = switches};
  o.models[0] = model;
  Line l = line_open(e2e_compile(o, "some.vlpc"), (vlpc_session_options){.threads = 2});
  line_run(&l, "model", in);
  out.image = kept(&l, "model", "image_embeds");
  out.text = kept(&l, "model", "text_embeds");
  out.logits = kept(&l, "model", "logits_per_image");
  line_close(&l);
  return out;
}

static void near(const vlpc_tensor *got, const vlpc_tensor *want, double atol, const char *what) {
  NpyArray w = {what, VLPC_F32, (uint32_t)want->rank, {0}, want->data, 0};
  memcpy(w.size, want->shape, sizeof w.size);
  near_array(got, &w, atol, what);
}

/* Embeddings have unit length; logits are up to 100 times as large. */
static void check_without(const char *model, const Npz *in, const Outputs *want, const char *sw) {
  Outputs got = outputs_without(model, sw, in);
  near(&got.image, &want->image, 1e-5, sw);
  near(&got.text, &want->text, 1e-5, sw);
  near(&got.logits, &want->logits, 1e-3, sw);
}

/* LayerNorm is one operator from opset 17 on; the older file, and every second pass,
** wait for the long tests. */
static void each_pass_can_be_left_out(void **state) {
  (void)state;
  Npz in = tiny_inputs(2, 3);
  Str all = {.arena = e2e};
  const char *models[2];
  bool is_long = getenv("VLPC_TEST_LONG") != NULL;
  size_t n_models = is_long ? 2 : 1;
  models[0] = arena_printf(e2e, "%s/model.onnx", e2e_tiny("tiny", false, 17));
  models[1] = arena_printf(e2e, "%s/model.onnx", e2e_tiny("tiny14", false, 14));
  for (size_t i = 0; i < VL_COUNT(rewrites); i++) str_printf(&all, "--no-%s ", rewrites[i]);
  for (size_t m = 0; m < n_models; m++) {
    Outputs want = outputs_without(models[m], NULL, &in);
    for (size_t i = 0; i < VL_COUNT(rewrites); i += is_long ? 1 : 2)
      check_without(models[m], &in, &want, arena_printf(e2e, "--no-%s", rewrites[i]));
    check_without(models[m], &in, &want, str_text(&all));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(equal_inputs_give_equal_bytes),
      cmocka_unit_test(code_from_anywhere_gives_equal_results),
      cmocka_unit_test(each_pass_can_be_left_out),
  };
  return cmocka_run_group_tests(tests, e2e_set_up, e2e_tear_down);
}
