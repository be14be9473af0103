/* SPDX-License-Identifier: Apache-2.0 */
/* e2e_towers.c - whole towers three ways: native code of every target, the
** reference device on the same plan, and the interpreter on the imported graph.
**
** The device "ref" computes in double and rounds what it stores, so it and
** ir_eval agree more closely than native code does with either. */
#include "tests/e2e/e2e_kit.h"

#include <math.h>
#include <string.h>

#include "frontend/frontend.h"

#define REF_ATOL 2e-6 /* features are of size 1 */
#define CPU_ATOL 1e-5

static Npz inputs;

/* The only output of a tower's graph, by ir_eval, in f32. */
static NpyArray evaluated(const char *path, const NpyArray *in) {
  Diag *d = diag_new();
  FeModel *m = NULL;
  Graph *g = NULL;
  const Named *out = NULL;
  if (fe_read(e2e, path, NULL, d, &m) != VLPC_OK || fe_import(m, &g) != VLPC_OK)
    fail_msg("%s", diag_text(d));
  assert_int_equal(ir_outputs(g, &out), 1);
  RefTensor x = ref_from_bytes(e2e, in->dtype, in->rank, in->size, in->data), y;
  if (ir_eval(g, e2e, EVAL_ROUND, &x, &y, d) != VLPC_OK) fail_msg("%s", diag_text(d));
  float *data = arena_array(e2e, float, y.count);
  ref_to_bytes(&y, data);
  NpyArray r = {arena_strdup(e2e, out[0].name), VLPC_F32, y.rank, {0}, data, 0};
  memcpy(r.size, y.size, sizeof r.size);
  fe_close(m);
  diag_free(d);
  return r;
}

static void check_device(const char *artifact, const char *device, const char *isa,
                         const NpyArray want[2], double atol) {
  static const char *const entry[] = {"image", "text"};
  Line l = line_open(artifact, (vlpc_session_options){.threads = 2, .device = device, .isa = isa});
  for (int i = 0; i < 2; i++) {
    line_run(&l, entry[i], &inputs);
    vlpc_tensor got = line_output(&l, entry[i], want[i].name);
    near_array(&got, &want[i], atol, isa ? isa : device);
  }
  line_close(&l);
}

static void towers_agree_three_ways(void **state) {
  (void)state;
  static const int opsets[] = {17, 14};
  for (size_t i = 0; i < VL_COUNT(opsets); i++) {
    const char *folder = e2e_tiny("tiny", true, opsets[i]);
    vlpc_compile_options o = {0};
    o.models[0] = arena_printf(e2e, "%s/image.onnx", folder);
    o.models[1] = arena_printf(e2e, "%s/text.onnx", folder);
    NpyArray want[2] = {evaluated(o.models[0], &inputs.at[0]),
                        evaluated(o.models[1], &inputs.at[1])};
    const char *artifact = e2e_compile(o, "tiny.vlpc");
    check_device(artifact, "ref", NULL, want, REF_ATOL);
    for (int t = 0; e2e_isa(t); t++) check_device(artifact, "cpu", e2e_isa(t), want, CPU_ATOL);
  }
}

/* No rows in, no rows out, on every device. */
static void empty_batches_give_empty_results(void **state) {
  (void)state;
  Npz none = tiny_inputs(0, 0);
  vlpc_compile_options o = {0};
  o.models[0] = arena_printf(e2e, "%s/model.onnx", e2e_tiny("tiny", false, 17));
  const char *artifact = e2e_compile(o, "tiny.vlpc");
  for (int i = -1; i < 0 || e2e_isa(i); i++) {
    vlpc_session_options s = {.device = i < 0 ? "ref" : "cpu", .isa = i < 0 ? NULL : e2e_isa(i)};
    Line l = line_open(artifact, s);
    line_run(&l, "image", &none);
    vlpc_tensor t = line_output(&l, "image", "image_features");
    assert_int_equal(t.shape[0], 0);
    assert_int_equal(t.shape[1], 48);
    line_run(&l, "model", &none);
    t = line_output(&l, "model", "logits_per_image");
    assert_int_equal(tensor_count(&t), 0);
    line_close(&l);
  }
}

static int set_up(void **state) {
  int fault = e2e_set_up(state);
  if (!fault) inputs = tiny_inputs(2, 3);
  return fault;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(towers_agree_three_ways),
      cmocka_unit_test(empty_batches_give_empty_results),
  };
  return cmocka_run_group_tests(tests, set_up, e2e_tear_down);
}
