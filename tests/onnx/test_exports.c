/* SPDX-License-Identifier: Apache-2.0 */
/* test_exports.c - files as openai/CLIP, open_clip and Hugging Face really
** export them, by both of torch's exporters, give PyTorch's outputs in the
** reference interpreter. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "onnx_run.h"

static const char *const exports[] = {
    "openai_image_legacy17", "openai_image_dynamo18", "openai_text_legacy17",
    "openai_text_dynamo18",  "openai_joint_legacy17", "openclip_image_dynamo20",
    "openclip_text_legacy17", "openclip_text_dynamo20", "hf_eager_joint_legacy14",
    "hf_eager_joint_legacy17", "hf_sdpa_joint_dynamo18"};

/* Hugging Face's names for the same inputs. */
static const NpyArray *input_array(const Npz *z, const char *name) {
  if (strcmp(name, "pixel_values") == 0) return npz_find(z, "image");
  if (strcmp(name, "input_ids") == 0) return npz_find(z, "text");
  return npz_find(z, name);
}

static double worst_difference(const RefTensor *got, const RefTensor *want) {
  double worst = 0;
  assert_int_equal(got->rank, want->rank);
  for (uint32_t k = 0; k < got->rank; k++) assert_int_equal(got->size[k], want->size[k]);
  for (int64_t i = 0; i < got->count; i++) {
    double d = fabs(got->f[i] - want->f[i]);
    worst = d <= worst ? worst : d;
    if (!(d < INFINITY)) worst = INFINITY;
  }
  return worst;
}

static void check_export(const char *folder, const char *name) {
  char path[512];
  snprintf(path, sizeof path, "%s/%s.onnx", folder, name);
  Imported x = imported_new(path, NULL);
  if (!x.g) fail_msg("%s", diag_text(x.d));
  Npz inputs, expected;
  assert_int_equal(npz_read(test_path(x.a, folder, "inputs.npz"), x.a, x.d, &inputs), VLPC_OK);
  snprintf(path, sizeof path, "%s/%s.npz", folder, name);
  assert_int_equal(npz_read(path, x.a, x.d, &expected), VLPC_OK);
  const Named *in, *out;
  uint32_t n_in = ir_inputs(x.g, &in), n_out = ir_outputs(x.g, &out);
  RefTensor given[8], got[8];
  assert_true(n_in <= 8 && n_out <= 8 && n_out == expected.n);
  for (uint32_t i = 0; i < n_in; i++) {
    const NpyArray *y = input_array(&inputs, in[i].name);
    assert_non_null(y);
    given[i] = tensor_of_npy(x.a, y);
  }
  if (imported_run(&x, EVAL_ROUND, given, got) != VLPC_OK) fail_msg("%s", diag_text(x.d));
  for (uint32_t i = 0; i < n_out; i++) {
    const NpyArray *y = npz_find(&expected, out[i].name);
    assert_non_null(y);
    RefTensor want = tensor_of_npy(x.a, y);
    double most = strstr(out[i].name, "logits") ? 1e-3 : 1e-4;
    double d = worst_difference(&got[i], &want);
    if (!(d <= most)) fail_msg("%s, %s: off by %g", name, out[i].name, d);
  }
  imported_free(&x);
}

static void test_exports_give_pytorchs_outputs(void **state) {
  (void)state;
  char folder[400];
  const char *shared = shared_data();
  if (!shared) {
    print_message("no shared data: set VLPC_SHARED\n");
    skip();
  }
  snprintf(folder, sizeof folder, "%s/data/exports", shared);
  for (size_t i = 0; i < VL_COUNT(exports); i++) check_export(folder, exports[i]);
}

/* Half-precision weights, both towers, both batches and the text length open. */
static void test_the_shipped_model_is_imported(void **state) {
  (void)state;
  static const char *const sizes[] = {"text_batch_size", "sequence_length", "image_batch_size"};
  static const char *const results[] = {"logits_per_image", "logits_per_text", "text_embeds",
                                        "image_embeds"};
  Imported x = imported_new(VLPC_SOURCE_DIR "/models/small_clip/model.onnx", NULL);
  if (!x.g) fail_msg("%s", diag_text(x.d));
  assert_int_equal(dim_n_symbols(ir_dims(x.g)), VL_COUNT(sizes));
  for (uint32_t i = 0; i < VL_COUNT(sizes); i++) {
    assert_string_equal(dim_symbol_name(ir_dims(x.g), i), sizes[i]);
  }
  const Named *out;
  assert_int_equal(ir_outputs(x.g, &out), VL_COUNT(results));
  for (uint32_t i = 0; i < VL_COUNT(results); i++) assert_string_equal(out[i].name, results[i]);
  assert_true(arena_bytes(x.a) < 16 << 20); /* of a 17 MB file */
  imported_free(&x);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_the_shipped_model_is_imported),
                                     cmocka_unit_test(test_exports_give_pytorchs_outputs)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
