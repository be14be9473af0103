/* SPDX-License-Identifier: Apache-2.0 */
/* test_exports.c - the exports of real libraries, when the shared data are
** there: everything is recognised, outputs are PyTorch's before and after
** lowering, and exports of one model have one normal form. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/npz.h"
#include "frontend/frontend.h"
#include "tests/passes/pass_case.h"

static const char *data_file(Arena *a, const char *name) {
  const char *root = getenv("VLPC_SHARED");
  if (root == NULL) root = VLPC_SOURCE_DIR "/../shared";
  return arena_printf(a, "%s/data/exports/%s", root, name);
}

static void need_data(Arena *a) {
  if (access(data_file(a, "inputs.npz"), R_OK) == 0) return;
  print_message("no shared data: set VLPC_SHARED to their folder\n");
  skip();
}

static Graph *imported(Arena *a, const char *name) {
  Diag *d = diag_new();
  FeModel *m = NULL;
  Graph *g = NULL;
  VlStatus s = fe_read(a, data_file(a, arena_printf(a, "%s.onnx", name)), NULL, d, &m);
  if (s == VLPC_OK) s = fe_import(m, &g);
  if (s != VLPC_OK) print_error("%s", diag_text(d));
  diag_free(d);
  assert_int_equal(s, VLPC_OK);
  return g;
}

/* ---- running against PyTorch's outputs -------------------------------------- */

static Npz arrays(Arena *a, const char *name) {
  Npz z = {NULL, 0};
  assert_int_equal(npz_read(data_file(a, name), a, NULL, &z), VLPC_OK);
  return z;
}

static RefTensor input_tensor(Arena *a, const Npz *z, const char *name) {
  if (strcmp(name, "pixel_values") == 0) name = "image";
  if (strcmp(name, "input_ids") == 0) name = "text";
  const NpyArray *x = npz_find(z, name);
  assert_non_null(x);
  return ref_from_bytes(a, x->dtype, x->rank, x->size, x->data);
}

static void compare(const RefTensor *got, const NpyArray *want, double atol) {
  double dot = 0, n_got = 0, n_want = 0;
  int64_t n = 1;
  for (uint32_t i = 0; i < want->rank; i++) n *= want->size[i];
  assert_int_equal(got->count, n);
  for (int64_t i = 0; i < n; i++) {
    double w = dtype_load(want->dtype, want->data, i), g = got->f[i];
    if (!(fabs(w - g) <= atol)) fail_msg("%s[%d]: %g, not %g", want->name, (int)i, g, w);
    dot += w * g;
    n_got += g * g;
    n_want += w * w;
  }
  assert_true(dot >= 0.999999 * sqrt(n_got * n_want));
}

/* Outputs keep their order, so the file's names serve before and after. */
static void check_outputs(Arena *a, const char *name, const Graph *file, const Graph *g) {
  Npz given = arrays(a, "inputs.npz"), want = arrays(a, arena_printf(a, "%s.npz", name));
  const Named *in = NULL, *out = NULL;
  uint32_t n_in = ir_inputs(g, &in), n_out = ir_outputs(file, &out);
  RefTensor x[8], y[8];
  for (uint32_t i = 0; i < n_in; i++) x[i] = input_tensor(a, &given, in[i].name);
  assert_int_equal(ir_eval(g, a, EVAL_DOUBLE, x, y, NULL), VLPC_OK);
  for (uint32_t i = 0; i < n_out; i++) {
    const NpyArray *w = npz_find(&want, out[i].name);
    assert_non_null(w);
    compare(&y[i], w, strstr(out[i].name, "logits") != NULL ? 1e-3 : 1e-4);
  }
}

/* ---- one export --------------------------------------------------------------- */

typedef struct {
  const char *name;
  uint32_t attention, layernorm, gelu, linear;
  const char *points; /* in any order */
} Export;

#define V_POINTS "V.pre V.0 V.1 V.2 V.feat"
#define T_POINTS "T.emb T.0 T.1 T.2 T.feat"
static const Export exports[] = {
    {"openai_image_legacy17", 3, 8, 3, 14, V_POINTS},
    {"openai_image_dynamo18", 3, 8, 3, 14, V_POINTS},
    {"openai_text_legacy17", 3, 7, 3, 13, T_POINTS},
    {"openai_text_dynamo18", 3, 7, 3, 13, T_POINTS},
    {"openai_joint_legacy17", 6, 15, 6, 27, V_POINTS " " T_POINTS " logits"},
    {"openclip_image_dynamo20", 3, 8, 3, 14, V_POINTS},
    {"openclip_text_legacy17", 3, 7, 3, 13, T_POINTS},
    {"openclip_text_dynamo20", 3, 7, 3, 13, T_POINTS},
    {"hf_eager_joint_legacy14", 6, 15, 6, 27, V_POINTS " " T_POINTS " logits"},
    {"hf_eager_joint_legacy17", 6, 15, 6, 27, V_POINTS " " T_POINTS " logits"},
    {"hf_sdpa_joint_dynamo18", 6, 15, 6, 27, V_POINTS " " T_POINTS " logits"},
};

static void check_points(Arena *a, const Graph *g, const char *want) {
  const Named *p = NULL;
  uint32_t n = ir_points(g, &p), n_want = 1;
  for (const char *c = want; *c != 0; c++) n_want += *c == ' ';
  assert_int_equal(n, n_want);
  for (uint32_t i = 0; i < n; i++) {
    const char *spaced = arena_printf(a, " %s ", want);
    assert_non_null(strstr(spaced, arena_printf(a, " %s ", p[i].name)));
  }
}

static void check_export(Arena *a, const Export *e) {
  Graph *g = imported(a, e->name);
  check_outputs(a, e->name, g, g);
  PassOpts opt = {.check = PASS_CHECK_CLONE | PASS_CHECK_ROUNDTRIP};
  PassResult r = lowered(g, &opt);
  assert_int_equal(r.report.n[FUSE_attention], e->attention);
  assert_int_equal(r.report.n[FUSE_layernorm], e->layernorm);
  assert_int_equal(r.report.n[FUSE_gelu], e->gelu);
  assert_int_equal(r.report.n[FUSE_linear], e->linear);
  assert_int_equal(r.report.n_miss, 0);
  Str faults = {.arena = a};
  assert_true(ir_verify(r.g, SPEC_CORE, &faults));
  check_points(a, r.g, e->points);
  check_outputs(a, e->name, g, r.g);
}

static void test_every_export(void **state) {
  need_data(*state);
  for (size_t i = 0; i < VL_COUNT(exports); i++) {
    print_message("%s\n", exports[i].name);
    Arena *a = arena_new(0);
    check_export(a, &exports[i]);
    arena_free(a);
  }
}

/* Each pass keeps the outputs of a graph with every form in it. */
static void test_each_pass_keeps_outputs(void **state) {
  need_data(*state);
  PassOpts opt = {.check = PASS_CHECK_EVAL};
  lowered(imported(*state, "hf_eager_joint_legacy14"), &opt);
  lowered(imported(*state, "openai_text_legacy17"), &opt);
}

/* Leaving a pass out gives a graph that computes the same. */
static void test_each_pass_can_be_left_out(void **state) {
  need_data(*state);
  for (int p = 1; p < PASS__COUNT; p++) {
    Arena *a = arena_new(0);
    Graph *g = imported(a, "openai_image_legacy17");
    PassOpts opt = {.skip = UINT64_C(1) << p};
    PassResult r = lowered(g, &opt);
    check_outputs(a, "openai_image_legacy17", g, r.g);
    arena_free(a);
  }
}

/* ---- normal forms ----------------------------------------------------------------- */

static const char *normal_text(Arena *a, const char *name) {
  PassResult r = lowered(imported(a, name), NULL);
  Str s = {.arena = a};
  assert_int_equal(pass_normal_text(r.g, NULL, &s), VLPC_OK);
  return str_text(&s);
}

static void test_exports_of_one_model_are_equal(void **state) {
  static const char *pairs[][2] = {
      {"openai_image_legacy17", "openai_image_dynamo18"},
      {"openai_text_legacy17", "openai_text_dynamo18"},
      {"openclip_text_legacy17", "openclip_text_dynamo20"},
      {"hf_eager_joint_legacy14", "hf_eager_joint_legacy17"},
      {"hf_eager_joint_legacy17", "hf_sdpa_joint_dynamo18"},
  };
  need_data(*state);
  for (size_t i = 0; i < VL_COUNT(pairs); i++)
    assert_string_equal(normal_text(*state, pairs[i][0]), normal_text(*state, pairs[i][1]));
  assert_string_not_equal(normal_text(*state, "openai_text_legacy17"),
                          normal_text(*state, "openclip_text_legacy17"));
}

/* ---- towers in two files ------------------------------------------------------------- */

static void test_two_files_become_one(void **state) {
  need_data(*state);
  PassResult image = lowered(imported(*state, "openai_image_legacy17"), NULL);
  PassResult text = lowered(imported(*state, "openai_text_dynamo18"), NULL);
  Graph *both = NULL;
  assert_int_equal(pass_join(image.g, text.g, *state, NULL, &both), VLPC_OK);
  Str faults = {.arena = *state};
  assert_true(ir_verify(both, SPEC_CORE, &faults));
  check_points(*state, both, V_POINTS " " T_POINTS);
  PassEntry e[ENTRY_MAX];
  assert_int_equal(pass_entries(both, e), 2);
  assert_string_equal(e[0].name, "image");
  assert_string_equal(e[1].out[0].name, "text_features");
  Npz given = arrays(*state, "inputs.npz"), want = arrays(*state, "openai_text_dynamo18.npz");
  RefTensor x[2] = {input_tensor(*state, &given, "image"), input_tensor(*state, &given, "text")};
  RefTensor y[2];
  assert_int_equal(ir_eval(both, *state, EVAL_DOUBLE, x, y, NULL), VLPC_OK);
  compare(&y[1], npz_find(&want, "text_features"), 1e-4);
}

/* ---- gradients ------------------------------------------------------------------------ */

/* Of Σ v² over the first output by the image, in a copy of g. */
static RefTensor image_gradient(Arena *a, const Graph *of, const RefTensor *x, double *loss) {
  Graph *g = ir_rewrite(of, a, NULL, NULL, NULL), *to = NULL;
  const Named *in = NULL, *out = NULL;
  uint32_t n_in = ir_inputs(g, &in), n_out = ir_outputs(g, &out);
  int64_t axes[2] = {0, 1};
  Named image = {"image", VAL_NONE};
  RefTensor y[8];
  for (uint32_t i = 0; i < n_in; i++)
    if (dtype_is_float(ir_type_of(g, in[i].v)->dtype)) image.v = in[i].v;
  assert_int_equal(ir_type_of(g, out[0].v)->rank, 2);
  Val v = ir_ew2(g, OP_mul, out[0].v, out[0].v);
  Val sum = ir_reduce(g, OP_reduce_sum, v, axes, 2, false);
  ir_output(g, "loss", sum);
  GradSpec spec = {sum, &image, 1, PASS_GRAD, GRAD_KEEP_all, 0};
  assert_int_equal(pass_grad(g, &spec, NULL, &to), VLPC_OK);
  assert_int_equal(ir_eval(to, a, EVAL_DOUBLE, x, y, NULL), VLPC_OK);
  *loss = y[n_out].f[0];
  return y[n_out + 1];
}

/* The loss without the gradient. */
static double image_loss(const Graph *g, const RefTensor *x) {
  Arena *a = arena_new(0);
  RefTensor y[8];
  double sum = 0;
  assert_int_equal(ir_eval(g, a, EVAL_DOUBLE, x, y, NULL), VLPC_OK);
  for (int64_t i = 0; i < y[0].count; i++) sum += y[0].f[i] * y[0].f[i];
  arena_free(a);
  return sum;
}

/* Recognised or in primitives, the gradient is the same, and that of differences. */
static void check_gradient(Arena *a, const char *name) {
  Npz given = arrays(a, "inputs.npz");
  PassOpts plain = {.skip = ~PASS_BIT(fuse_patch)};
  Graph *g = lowered(imported(a, name), NULL).g, *raw = lowered(imported(a, name), &plain).g;
  const Named *in = NULL;
  RefTensor x[8], *image = NULL;
  double loss = 0, raw_loss = 0, most = 0, step = 1e-3;
  uint32_t n = ir_inputs(g, &in);
  for (uint32_t i = 0; i < n; i++) {
    x[i] = input_tensor(a, &given, in[i].name);
    if (x[i].f) image = &x[i];
  }
  RefTensor got = image_gradient(a, g, x, &loss), of_raw = image_gradient(a, raw, x, &raw_loss);
  for (int64_t i = 0; i < got.count; i++) most = fmax(most, fabs(got.f[i]));
  for (int64_t i = 0; i < got.count; i++)
    if (!(fabs(got.f[i] - of_raw.f[i]) <= 1e-5 * most))
      fail_msg("%s[%d]: %.12g recognised, %.12g not", name, (int)i, got.f[i], of_raw.f[i]);
  for (int64_t i = 7; i < image->count; i += image->count / 3) {
    double was = image->f[i], low, high;
    image->f[i] = was + step;
    high = image_loss(g, x);
    image->f[i] = was - step;
    low = image_loss(g, x);
    image->f[i] = was;
    if (!(fabs((high - low) / (2 * step) - got.f[i]) <= 1e-6 * most))
      fail_msg("%s[%d]: %.12g, %.12g by differences", name, (int)i, got.f[i],
               (high - low) / (2 * step));
  }
}

static void test_gradients(void **state) {
  static const char *const names[] = {"openai_image_legacy17", "openclip_image_dynamo20",
                                      "hf_eager_joint_legacy14", "openai_joint_legacy17"};
  need_data(*state);
  for (size_t i = 0; i < VL_COUNT(names); i++) {
    Arena *a = arena_new(0);
    check_gradient(a, names[i]);
    arena_free(a);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_every_export),
      TEST(test_each_pass_keeps_outputs),
      TEST(test_each_pass_can_be_left_out),
      TEST(test_exports_of_one_model_are_equal),
      TEST(test_two_files_become_one),
      TEST(test_gradients),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
