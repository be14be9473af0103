/* SPDX-License-Identifier: Apache-2.0 */
/* e2e_exports.c - files of CLIP through the compiler and native code: their
** outputs are PyTorch's, everything is fused, and exports of one model have one
** normal form.
**
** data/tiny.npz holds what ONNX Runtime computes from CLIP "tiny" of seed 1
** (scripts/golden/e2e.py), so that a bare clone checks the same things on the
** models that it writes itself; the real exports lie in the shared data. */
#include "tests/e2e/e2e_kit.h"

#include <stdio.h>
#include <string.h>

#define FEATURES_ATOL 1e-4
#define LOGITS_ATOL 1e-3

static Npz arrays(const char *path) {
  Npz z = {NULL, 0};
  Diag *d = diag_new();
  if (npz_read(path, e2e, d, &z) != VLPC_OK) fail_msg("%s", diag_text(d));
  diag_free(d);
  return z;
}

/* Runs every entry for which there are inputs and holds each output that has an
** expected array against it; every expected array must have been met. */
static void check_outputs(const char *artifact, const Npz *in, const Npz *want, const char *isa) {
  Line l = line_open(artifact, (vlpc_session_options){.threads = 2, .isa = isa});
  bool met[16] = {false};
  const char *entry;
  assert_in_range(want->n, 1, VL_COUNT(met));
  for (uint32_t e = 0; (entry = vlpc_artifact_entry(l.a, e)); e++) {
    line_run(&l, entry, in);
    for (uint32_t i = 0; i < want->n; i++) {
      const NpyArray *w = &want->at[i];
      vlpc_tensor got;
      if (!line_find(&l, entry, w->name, &got)) continue;
      near_array(&got, w, strstr(w->name, "logits") ? LOGITS_ATOL : FEATURES_ATOL, artifact);
      met[i] = true;
    }
  }
  for (uint32_t i = 0; i < want->n; i++) {
    if (!met[i]) fail_msg("%s gives no %s", artifact, want->at[i].name);
  }
  line_close(&l);
}

static void check_report(const char *want) {
  const char *text = vlpc_compile_report(e2e_compiler, VLPC_TEXT);
  if (!strstr(text, want)) fail_msg("'%s' is not in: %s", want, text);
}

/* ---- what vlpc writes itself --------------------------------------------- */

#define FUSED "attention,layernorm,gelu"

static void check_tiny(int opset) {
  Npz in = tiny_inputs(2, 3), want = arrays(VLPC_TEST_DIR "/data/tiny.npz");
  const char *joint = e2e_tiny("joint", false, opset), *two = e2e_tiny("two", true, opset);
  vlpc_compile_options one = {.require_fused = FUSED};
  vlpc_compile_options both = {.require_fused = FUSED};
  one.models[0] = arena_printf(e2e, "%s/model.onnx", joint);
  both.models[0] = arena_printf(e2e, "%s/text.onnx", two);
  both.models[1] = arena_printf(e2e, "%s/image.onnx", two);
  const char *a = e2e_compile(one, "joint.vlpc");
  check_report("fused: attention 6/6, layernorm 15/15, gelu 6/6, ");
  for (int i = 0; e2e_isa(i); i++) check_outputs(a, &in, &want, e2e_isa(i));
  a = e2e_compile(both, "two.vlpc");
  Npz features = {arena_array(e2e, NpyArray, want.n), 0};
  for (uint32_t i = 0; i < want.n; i++) {
    if (strstr(want.at[i].name, "_features")) features.at[features.n++] = want.at[i];
  }
  for (int i = 0; e2e_isa(i); i++) check_outputs(a, &in, &features, e2e_isa(i));
}

static void written_models_give_the_golden_outputs(void **state) {
  (void)state;
  check_tiny(17);
  check_tiny(14);
}

static void a_miss_is_an_error(void **state) {
  (void)state;
  vlpc_compile_options o = {.struct_size = sizeof o, .require_fused = FUSED,
                            .passes = "--no-fuse_gelu", .output = e2e_file("missed.vlpc")};
  o.models[0] = arena_printf(e2e, "%s/model.onnx", e2e_tiny("joint", false, 17));
  assert_int_equal(vlpc_compile(e2e_compiler, &o), VLPC_E_UNSUPPORTED);
  assert_non_null(strstr(vlpc_compiler_error(e2e_compiler), "error[E0401]"));
  assert_null(fopen(o.output, "rb"));
}

/* ---- what real libraries export ------------------------------------------ */

typedef struct {
  const char *name, *fused;
} Export;

#define IMAGE "fused: attention 3/3, layernorm 8/8, gelu 3/3, linear 14/14, "
#define TEXT "fused: attention 3/3, layernorm 7/7, gelu 3/3, linear 13/13, "
#define JOINT "fused: attention 6/6, layernorm 15/15, gelu 6/6, linear 27/27, "
static const Export exports[] = {
    {"openai_image_legacy17", IMAGE},    {"openai_image_dynamo18", IMAGE},
    {"openai_text_legacy17", TEXT},      {"openai_text_dynamo18", TEXT},
    {"openai_joint_legacy17", JOINT},    {"openclip_image_dynamo20", IMAGE},
    {"openclip_text_legacy17", TEXT},    {"openclip_text_dynamo20", TEXT},
    {"hf_eager_joint_legacy14", JOINT},  {"hf_eager_joint_legacy17", JOINT},
    {"hf_sdpa_joint_dynamo18", JOINT},
};

static void exports_give_pytorchs_outputs(void **state) {
  (void)state;
  const char *folder = e2e_shared("exports");
  Npz in = arrays(arena_printf(e2e, "%s/inputs.npz", folder));
  for (size_t i = 0; i < VL_COUNT(exports); i++) {
    const char *name = exports[i].name;
    Npz want = arrays(arena_printf(e2e, "%s/%s.npz", folder, name));
    vlpc_compile_options o = {.require_fused = FUSED};
    o.models[0] = arena_printf(e2e, "%s/%s.onnx", folder, name);
    const char *a = e2e_compile(o, arena_printf(e2e, "%s.vlpc", name));
    check_report(exports[i].fused);
    check_outputs(a, &in, &want, NULL);
  }
}

static char *normal_text(const char *folder, const char *name) {
  const char *text = NULL;
  vlpc_compile_options o = {.struct_size = sizeof o};
  o.models[0] = arena_printf(e2e, "%s/%s.onnx", folder, name);
  e2e_ok(vlpc_compile_emit(e2e_compiler, &o, "normal", &text));
  assert_true(strlen(text) > 1000);
  return arena_strdup(e2e, text);
}

static void exports_of_one_model_have_one_normal_form(void **state) {
  (void)state;
  static const char *const pairs[][2] = {
      {"openai_image_legacy17", "openai_image_dynamo18"},
      {"openai_text_legacy17", "openai_text_dynamo18"},
      {"openclip_text_legacy17", "openclip_text_dynamo20"},
      {"hf_eager_joint_legacy14", "hf_eager_joint_legacy17"},
  };
  const char *folder = e2e_shared("exports");
  for (size_t i = 0; i < VL_COUNT(pairs); i++) {
    if (strcmp(normal_text(folder, pairs[i][0]), normal_text(folder, pairs[i][1])) != 0)
      fail_msg("%s and %s differ", pairs[i][0], pairs[i][1]);
  }
  assert_string_not_equal(normal_text(folder, "openai_text_legacy17"),
                          normal_text(folder, "openclip_text_legacy17"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(written_models_give_the_golden_outputs),
      cmocka_unit_test(a_miss_is_an_error),
      cmocka_unit_test(exports_give_pytorchs_outputs),
      cmocka_unit_test(exports_of_one_model_have_one_normal_form),
  };
  return cmocka_run_group_tests(tests, e2e_set_up, e2e_tear_down);
}
