/* SPDX-License-Identifier: Apache-2.0 */
/* plan_test.c - the scheduler against the interpreter: every op, whole chains,
** random graphs; each fusion on and off gives the same. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "tests/device/plan_cases.h"
#include "tests/device/plan_kit.h"
#include "tests/ir/random_graph.h"

static RefTensor random_input(Arena *a, const Graph *g, Val v, const int64_t *sym, uint64_t seed) {
  const Type *t = ir_type_of(g, v);
  int64_t size[VLPC_MAX_RANK];
  for (uint32_t i = 0; i < t->rank; i++)
    assert_true(dim_eval(ir_dims(g), t->dim[i], sym, &size[i]));
  RefTensor x = ref_tensor(a, t->dtype, t->rank, size);
  Rng r = {seed, v.i};
  for (int64_t i = 0; i < x.count; i++) {
    if (x.f)
      x.f[i] = (double)(float)rng_normal(r, (uint64_t)i);
    else
      x.i[i] = t->dtype == VLPC_BOOL ? rng_u32(r, (uint64_t)i) % 2 : rng_u32(r, (uint64_t)i) % 3;
  }
  return x;
}

/* Expanded semantic ops round each step where the interpreter rounds once, which
** shows in half precision. */
static double tolerance(const Graph *g, uint32_t flags) {
  if (flags & SCHED_BF16) return 3e-2;
  for (uint32_t i = 1; i <= ir_n_vals(g); i++) {
    if (ir_type_of(g, (Val){i})->dtype == VLPC_F16) return 3e-2;
  }
  return 2e-6;
}

static void same(const RefTensor *a, const RefTensor *b, double within, const char *what) {
  assert_int_equal(a->rank, b->rank);
  assert_int_equal(a->count, b->count);
  double most = 1e-6;
  for (int64_t i = 0; a->f && i < a->count; i++) most = fabs(a->f[i]) > most ? fabs(a->f[i]) : most;
  for (int64_t i = 0; i < a->count; i++) {
    if (a->i) {
      if (a->i[i] != b->i[i])
        fail_msg("%s: element %lld is %lld, not %lld", what, (long long)i, (long long)b->i[i],
                 (long long)a->i[i]);
      continue;
    }
    bool equal = a->f[i] == b->f[i] || (a->f[i] != a->f[i] && b->f[i] != b->f[i]);
    if (!equal && !(fabs(a->f[i] - b->f[i]) <= within * most))
      fail_msg("%s: element %lld is %.9g, not %.9g", what, (long long)i, b->f[i], a->f[i]);
  }
}

/* False when the graph has a node that has no kernel. */
static bool check_graph(const Graph *read, Arena *a, uint32_t flags, const char *what) {
  const Graph *g = sched_expand(read, a);
  static const int64_t some[] = {3, 2, 5, 4};
  int64_t sym[DIM_MAX_SYMS];
  for (int i = 0; i < DIM_MAX_SYMS; i++) sym[i] = some[i % 4];
  const Named *in = NULL, *out = NULL;
  uint32_t n_in = ir_inputs(g, &in), n_out = ir_outputs(g, &out);
  RefTensor *x = arena_array(a, RefTensor, n_in), *want = arena_array(a, RefTensor, n_out);
  RefTensor *got = arena_array(a, RefTensor, n_out);
  for (uint32_t i = 0; i < n_in; i++) x[i] = random_input(a, g, in[i].v, sym, 7);
  Diag *d = diag_new();
  if (ir_eval(g, a, EVAL_ROUND, x, want, d) != VLPC_OK) fail_msg("%s: %s", what, diag_text(d));
  SchedEntry e = {.name = "all", .out = out, .n_out = n_out};
  Schedule p;
  VlStatus status = sched_run(g, &e, 1, flags, a, d, &p);
  diag_free(d);
  if (status != VLPC_OK) return false;
  plan_run(g, &p, sym, x, got, a, plan_ref_kernel, NULL);
  for (uint32_t i = 0; i < n_out; i++) same(&want[i], &got[i], tolerance(g, flags), what);
  return true;
}

static const uint32_t all_flags[] = {
    0, SCHED_NO_FUSE_EW, SCHED_NO_EPILOGUE, SCHED_NO_CONCAT, SCHED_NO_INPLACE, 15};
static const uint32_t bf16_flags[] = {SCHED_BF16, SCHED_BF16 | 15,
                                      SCHED_BF16 | SCHED_NO_BF16_ATTENTION};

static void check_cases(const uint32_t *flags, size_t n_flags) {
  for (size_t i = 0; i < VL_COUNT(plan_cases); i++) {
    for (size_t f = 0; f < n_flags; f++) {
      Arena *a = arena_new(0);
      Diag *d = diag_new();
      const char *text = plan_cases[i].text;
      Graph *g = ir_parse(a, plan_cases[i].name, text, strlen(text), (BlobTable){0}, d);
      if (!g) fail_msg("%s", diag_text(d));
      assert_true(check_graph(g, a, flags[f], plan_cases[i].name));
      diag_free(d);
      arena_free(a);
    }
  }
}

static void agrees_on_cases(void **state) {
  (void)state;
  check_cases(all_flags, VL_COUNT(all_flags));
}

static void agrees_on_cases_in_bf16(void **state) {
  (void)state;
  check_cases(bf16_flags, VL_COUNT(bf16_flags));
}

/* Gradients of all cases but one with a convolution, one without a float input
** and one without a float output. */
static void agrees_on_gradients(void **state) {
  (void)state;
  size_t n = 0;
  for (size_t i = 0; i < VL_COUNT(plan_cases); i++) {
    Arena *a = arena_new(0);
    const char *text = plan_cases[i].text;
    Graph *g = plan_gradients(ir_parse(a, "case", text, strlen(text), (BlobTable){0}, NULL));
    if (g != NULL) assert_true(check_graph(g, a, 0, plan_cases[i].name));
    n += g != NULL;
    arena_free(a);
  }
  assert_int_equal(n, VL_COUNT(plan_cases) - 3);
}

static void agrees_on_random_graphs(void **state) {
  (void)state;
  int planned = 0;
  for (uint64_t seed = 1; seed <= 150; seed++) {
    Arena *a = arena_new(0);
    Graph *g = random_graph(a, seed, RANDOM_FOLDED);
    char what[32];
    snprintf(what, sizeof what, "seed %d", (int)seed);
    planned += check_graph(g, a, all_flags[seed % VL_COUNT(all_flags)], what);
    arena_free(a);
  }
  assert_in_range(planned, 120, 150); /* the rest sums along a run-time size */
}

static const char *steps_of(const char *text, uint32_t flags, Arena *a) {
  Diag *d = diag_new();
  Graph *g = ir_parse(a, "steps", text, strlen(text), (BlobTable){0}, d);
  const Named *out = NULL;
  Schedule p;
  assert_non_null(g);
  uint32_t n = ir_outputs(g, &out);
  SchedEntry e = {.name = "all", .out = out, .n_out = n};
  assert_int_equal(sched_run(g, &e, 1, flags, a, d, &p), VLPC_OK);
  Str s = {.arena = a};
  for (uint32_t i = 0; i < p.program.n_steps; i++) {
    kernel_describe(&p.kernels.at[p.program.steps[i].kernel], &s);
    str_add(&s, "\n");
  }
  diag_free(d);
  return str_text(&s);
}

static void fuses_as_it_says(void **state) {
  (void)state;
  Arena *a = arena_new(0);
  assert_string_equal(steps_of(case_text("mlp"), 0, a), "layernorm cols=8\n"
                                                        "gemm m=? k=8 n=20 bias gelu_quick\n"
                                                        "gemm m=? k=20 n=8 bias residual\n");
  assert_string_equal(steps_of(case_text("mlp"), SCHED_NO_EPILOGUE, a),
                      "layernorm cols=8\n"
                      "gemm m=? k=8 n=20 bias\n"
                      "loops [?] mul sigmoid mul\n"
                      "gemm m=? k=20 n=8 bias\n"
                      "loops [?] add\n");
  assert_string_equal(steps_of(case_text("chain"), 0, a), "loops [?] mul exp add\n");
  assert_string_equal(steps_of(case_text("chain"), SCHED_NO_FUSE_EW, a),
                      "loops [?] mul\nloops [?] exp\nloops [?] add\n");
  assert_string_equal(steps_of(case_text("packed_attention"), 0, a),
                      "gemm m=? k=8 n=24 bias\n"
                      "attention heads=2 d=4 lq=5 lk=5 causal\n");
  arena_free(a);
}

static void rounds_once(void **state) {
  (void)state;
  Arena *a = arena_new(0);
  assert_string_equal(steps_of(case_text("mlp"), SCHED_BF16, a),
                      "layernorm bf16 cols=8\n"
                      "gemm bf16 m=? k=8 n=20 bias gelu_quick\n"
                      "gemm bf16 m=? k=20 n=8 bias residual\n");
  assert_string_equal(steps_of(case_text("packed_attention"), SCHED_BF16, a),
                      "loops [?] cast\n"
                      "gemm bf16 m=? k=8 n=24 bias\n"
                      "attention bf16 heads=2 d=4 lq=5 lk=5 causal\n");
  assert_string_equal(
      steps_of(case_text("packed_attention"), SCHED_BF16 | SCHED_NO_BF16_ATTENTION, a),
      "loops [?] cast\n"
      "gemm bf16 m=? k=8 n=24 bias\n"
      "attention heads=2 d=4 lq=5 lk=5 causal\n");
  arena_free(a);
}

/* Schedules a text that cannot be; the words of what is said must be there. */
static void refuse(const char *text, const char *const *words, size_t n_words) {
  Arena *a = arena_new(0);
  Diag *d = diag_new();
  Graph *g = ir_parse(a, "t", text, strlen(text), (BlobTable){0}, d);
  if (!g) fail_msg("%s", diag_text(d));
  const Named *out = NULL;
  Schedule p;
  uint32_t n = ir_outputs(g, &out);
  SchedEntry e = {.name = "all", .out = out, .n_out = n};
  assert_int_equal(sched_run(g, &e, 1, 0, a, d, &p), VLPC_E_UNSUPPORTED);
  for (size_t i = 0; i < n_words; i++) {
    if (!strstr(diag_text(d), words[i])) fail_msg("'%s' is not in: %s", words[i], diag_text(d));
  }
  diag_free(d);
  arena_free(a);
}

static void refuses_with_the_node(void **state) {
  (void)state;
  static const char text[] = "graph {\n sym n\n %1 = input {name=\"x\"} : f32[2,n]\n"
                             " %3 = cumsum %1 {axis=1} : f32[2,n] @\"/sum\"\n out \"a\" %3\n}\n";
  static const char *const words[] = {"error[E0410]", "'/sum'",
                                      "cumsum cannot be scheduled: its axis has a run-time size"};
  refuse(text, words, VL_COUNT(words));
}

/* Strides of a·b elements are beyond the program's sizes: refused, all of them. */
static void refuses_sizes_that_are_not_affine(void **state) {
  (void)state;
  static const char *const words[] = {"layernorm cannot be scheduled", "linear cannot be scheduled",
                                      "attention cannot be scheduled"};
  refuse(not_affine_text, words, VL_COUNT(words));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(agrees_on_cases),
      cmocka_unit_test(agrees_on_cases_in_bf16),
      cmocka_unit_test(rounds_once),
      cmocka_unit_test(agrees_on_gradients),
      cmocka_unit_test(agrees_on_random_graphs),
      cmocka_unit_test(fuses_as_it_says),
      cmocka_unit_test(refuses_with_the_node),
      cmocka_unit_test(refuses_sizes_that_are_not_affine),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
