/* SPDX-License-Identifier: Apache-2.0 */
/* test_linked.c - every prompt method through the whole line: the module written,
** linked into CLIP, run.
**
** Expected features and scores come from the formulas in PyTorch
** (tests/prompts/reference): of the tiny CLIP with parameters of the goldens, of the
** small trained one and of B/16 with the modules' own start values. */
#include <stdlib.h>
#include <string.h>

#include "tests/e2e/e2e_kit.h"
#include "tests/prompts/linked_kit.h"

#define DATA LINKED_DATA

/* Runs the cases of a list, or all of them in a long test. */
static void check_list(const char *device, const char *const *name, size_t n) {
  Host h = linked_tiny(device);
  PromptCase *c;
  uint32_t n_cases = prompt_cases(e2e, DATA "cases.txt", &c);
  for (uint32_t i = 0; i < n_cases; i++) {
    size_t k = 0;
    while (k < n && strcmp(c[i].name, name[k]) != 0) k++;
    if (k == n && !e2e_is_long()) continue;
    Npz z = linked_golden(c[i].name);
    linked_case(&h, &c[i], linked_module(&h, &c[i]), &z);
  }
}

/* On the reference device, in double. */
static void test_every_method_gives_the_formulas(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(e2e));
  static const char *const brief[] = {
      "zero_shot",    "coop_front", "coop_csc_end", "kgcoop",      "deep_text_m2_d2", "vpt_shallow",
      "vpt_deep",     "vpt_dpt_d2", "ivlp_t4d2_v3d3", "maple_m4_d2", "maple_unified",   "provp_ref",
      "dpt",          "promptsrc",  "clip_adapter", "tip_adapter", "coop_middle",     "maple"};
  check_list("ref", brief, VL_COUNT(brief));
}

static void test_native_code_gives_the_same(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(e2e));
  static const char *const brief[] = {"cocoop", "provp", "dpt_cavpt"};
  check_list(NULL, brief, VL_COUNT(brief));
}

/* ---- real sizes -------------------------------------------------------------------- */

enum { IMAGES = 2, SIDE = 224, PIXELS = IMAGES * 3 * SIDE * SIDE };

static Npz formula_pixels(void) {
  float *x = arena_array(e2e, float, PIXELS);
  NpyArray *a = arena_one(e2e, NpyArray);
  for (int64_t i = 0; i < PIXELS; i++) x[i] = (float)((double)(i * 37 % 101) / 50 - 1);
  *a = (NpyArray){"pixels", VLPC_F32, 4, {IMAGES, 3, SIDE, SIDE}, x, PIXELS * sizeof *x};
  return (Npz){a, 1};
}

/* One of the cases, or all of them in a long test. */
static void check_sized(const char *clip, const char *golden) {
  Host h = {.clip = clip, .inputs = formula_pixels(), .near = LINKED_NEAR, .scale = 100};
  PromptCase *c;
  Npz all;
  assert_int_equal(npz_read(golden, e2e, NULL, &all), VLPC_OK);
  uint32_t n = prompt_cases(e2e, DATA "sized.txt", &c);
  for (uint32_t i = 0; i < n; i++) {
    if (!e2e_is_long() && strcmp(c[i].name, "maple") != 0) continue;
    Npz z = linked_part(&all, c[i].name);
    c[i].o.seed = 7;
    linked_case(&h, &c[i], linked_module(&h, &c[i]), &z);
  }
}

static void test_the_small_clip_gives_the_formulas(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(e2e));
  check_sized(VLPC_SOURCE_DIR "/models/small_clip/model.onnx", DATA "small.npz");
}

static void test_b16_gives_the_formulas(void **state) {
  (void)state;
  if (!e2e_is_long()) skip();
  assert_false(ARENA_GUARD(e2e));
  vlpc_model_options o = {.struct_size = sizeof o, .kind = "clip", .size = "b16", .seed = 1,
                          .directory = e2e_file("b16")};
  e2e_ok(vlpc_model_write(e2e_compiler, &o));
  check_sized(arena_printf(e2e, "%s/model.onnx", o.directory), DATA "b16.npz");
}

/* ---- learners by PyTorch ------------------------------------------------------------ */

static void test_exported_learners_give_the_formulas(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(e2e));
  static const char *const row[][2] = {{"maple_legacy", "maple"},
                                       {"maple_dynamo", "maple"},
                                       {"vpt_legacy", "vpt_deep_m3_d2"},
                                       {"vpt_dynamo", "vpt_deep_m3_d2"}};
  Host h = linked_tiny("ref");
  for (size_t i = 0; i < VL_COUNT(row); i++) {
    PromptCase c = {row[i][0], {.method = i < 2 ? "my-maple" : "my-vpt"}};
    Npz z = linked_golden(row[i][1]);
    linked_case(&h, &c, arena_printf(e2e, DATA "exported/%s.onnx", row[i][0]), &z);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_method_gives_the_formulas),
      cmocka_unit_test(test_native_code_gives_the_same),
      cmocka_unit_test(test_the_small_clip_gives_the_formulas),
      cmocka_unit_test(test_b16_gives_the_formulas),
      cmocka_unit_test(test_exported_learners_give_the_formulas),
  };
  return cmocka_run_group_tests(tests, e2e_set_up, e2e_tear_down);
}
