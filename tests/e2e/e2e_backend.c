/* SPDX-License-Identifier: Apache-2.0 */
/* e2e_backend.c - emitted code against the reference interpreter: every case of
** the scheduler and random graphs, with sizes of zero too.
**
** Tolerance.  Each kernel is run twice on the same operands, by its code and by
** the reference kernel in double (both_ways.h).  Whole graphs
** are then held against ir_eval within GRAPH_RTOL, errors having added up.  One
** random graph in fifty may differ there: rounding turns a comparison, or a
** LayerNorm scales the noise of a constant row. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "tests/device/both_ways.h"
#include "tests/device/plan_cases.h"
#include "tests/device/plan_kit.h"
#include "tests/ir/random_graph.h"

#define GRAPH_RTOL 1e-4

/* ---- one graph ------------------------------------------------------------ */

static RefTensor random_input(Arena *a, const Graph *g, Val v, const int64_t *sym) {
  const Type *t = ir_type_of(g, v);
  int64_t size[VLPC_MAX_RANK];
  for (uint32_t i = 0; i < t->rank; i++)
    assert_true(dim_eval(ir_dims(g), t->dim[i], sym, &size[i]));
  RefTensor x = ref_tensor(a, t->dtype, t->rank, size);
  Rng r = {7, v.i};
  for (int64_t i = 0; i < x.count; i++) {
    uint32_t u = rng_u32(r, (uint64_t)i);
    if (x.f) x.f[i] = (double)(float)rng_normal(r, (uint64_t)i);
    else x.i[i] = u % (t->dtype == VLPC_BOOL ? 2 : 3);
  }
  return x;
}

static double graph_rtol(const Graph *g) {
  double most = GRAPH_RTOL;
  for (uint32_t i = 1; i <= ir_n_vals(g); i++)
    most = fmax(most, both_ways_rtol(ir_type_of(g, (Val){i})->dtype, GRAPH_RTOL));
  return most;
}

/* Elements of b that are not those of a. */
static int64_t differences(const RefTensor *a, const RefTensor *b, double rtol) {
  double most = 1e-6;
  int64_t n = 0;
  assert_int_equal(a->rank, b->rank);
  for (uint32_t i = 0; i < a->rank; i++) assert_int_equal(a->size[i], b->size[i]);
  for (int64_t i = 0; a->f && i < a->count; i++)
    if (isfinite(a->f[i])) most = fmax(most, fabs(a->f[i]));
  for (int64_t i = 0; i < a->count; i++)
    n += a->f ? !both_ways_close(b->f[i], a->f[i], rtol * most) : a->i[i] != b->i[i];
  return n;
}

typedef enum { NO_PLAN, NO_VALUE, DIFFERS, AGREES } Verdict;

/* A graph's plan with its code. */
typedef struct {
  const Graph *g;
  Schedule plan;
  Kit kit;
  const char *what;
} Emitted;

/* False when there is no plan. */
static bool emit(const Graph *read, Arena *a, const char *target, const char *what, Emitted *x) {
  *x = (Emitted){.g = sched_expand(read, a), .what = arena_printf(a, "%s, %s", what, target)};
  const Named *out = NULL;
  SchedEntry e = {.name = "all", .n_out = ir_outputs(x->g, &out)};
  Diag *d = diag_new();
  e.out = out;
  VlStatus status = sched_run(x->g, &e, 1, 0, a, d, &x->plan);
  diag_free(d);
  if (status == VLPC_OK) x->kit = kit_open(target, x->plan.kernels.at, x->plan.kernels.n);
  return status == VLPC_OK;
}

/* Runs the plan's kernels both ways, and holds the outputs of the code against ir_eval. */
static Verdict check_run(const Emitted *x, Arena *a, int64_t batch) {
  int64_t sym[DIM_MAX_SYMS];
  for (int i = 0; i < DIM_MAX_SYMS; i++) sym[i] = i ? 2 + i % 4 : batch;
  const Named *in = NULL, *out = NULL;
  uint32_t n_in = ir_inputs(x->g, &in), n_out = ir_outputs(x->g, &out);
  RefTensor *give = arena_array(a, RefTensor, n_in), *want = arena_array(a, RefTensor, n_out);
  RefTensor *got = arena_array(a, RefTensor, n_out);
  for (uint32_t i = 0; i < n_in; i++) give[i] = random_input(a, x->g, in[i].v, sym);
  if (ir_eval(x->g, a, EVAL_ROUND, give, want, NULL) != VLPC_OK) return NO_VALUE;
  BothWays dev = {.kit = &x->kit, .what = x->what};
  plan_run(x->g, &x->plan, sym, give, got, a, both_ways, &dev);
  int64_t wrong = 0;
  for (uint32_t i = 0; i < n_out; i++) wrong += differences(&want[i], &got[i], graph_rtol(x->g));
  return wrong ? DIFFERS : AGREES;
}

/* ---- tests ---------------------------------------------------------------- */

static Graph *read_case(const PlanCase *c, Arena *a) {
  Diag *d = diag_new();
  Graph *g = ir_parse(a, c->name, c->text, strlen(c->text), (BlobTable){0}, d);
  if (!g) fail_msg("%s", diag_text(d));
  diag_free(d);
  return g;
}

/* The greatest of no elements has no value, and no row can be picked from none. */
static bool has_no_value(const char *name) {
  return strcmp(name, "reductions") == 0 || strcmp(name, "by_index") == 0;
}

static const char *some_target(uint64_t i) {
  uint64_t n = 0;
  while (kit_target((int)n)) n++;
  return kit_target((int)(i % n));
}

/* On one target each, with an empty batch too. */
static void every_case_on_every_target(void **state) {
  (void)state;
  for (int t = 0; kit_target(t); t++) {
    for (size_t i = 0; i < VL_COUNT(plan_cases); i++) {
      const PlanCase *c = &plan_cases[i];
      Arena *a = arena_new(0);
      Emitted x;
      assert_true(emit(read_case(c, a), a, kit_target(t), c->name, &x));
      if (check_run(&x, a, 3) != AGREES) fail_msg("%s: not as ir_eval says", x.what);
      if (some_target(i) == kit_target(t)) {
        Verdict v = check_run(&x, a, 0);
        if (v != (has_no_value(c->name) ? NO_VALUE : AGREES))
          fail_msg("%s: verdict %d on an empty batch", x.what, v);
      }
      kit_close(&x.kit);
      arena_free(a);
    }
  }
}

static void gradients_of_every_case_on_every_target(void **state) {
  (void)state;
  for (int t = 0; kit_target(t); t++) {
    for (size_t i = 0; i < VL_COUNT(plan_cases); i++) {
      Arena *a = arena_new(0);
      const Graph *g = plan_gradients(read_case(&plan_cases[i], a));
      Emitted x;
      if (g) { /* a gradient passes */
        assert_true(emit(g, a, kit_target(t), plan_cases[i].name, &x));
        if (check_run(&x, a, 3) != AGREES) fail_msg("%s: not as ir_eval says", x.what);
        kit_close(&x.kit);
      }
      arena_free(a);
    }
  }
}

/* The targets in turn; each eighth batch is empty.  Some graphs sum along a
** run-time size and have no plan. */
static void random_graphs_on_some_target(void **state) {
  (void)state;
  uint64_t n[AGREES + 1] = {0}, seeds = getenv("VLPC_TEST_LONG") ? 900 : 48;
  for (uint64_t seed = 1; seed <= seeds; seed++) {
    Arena *a = arena_new(0);
    Graph *g = random_graph(a, seed, RANDOM_FOLDED);
    const char *what = arena_printf(a, "seed %d", (int)seed);
    int64_t batch = seed % 8 ? 1 + (int64_t)(seed % 4) : 0;
    Emitted x;
    Verdict v = NO_PLAN;
    if (emit(g, a, some_target(seed), what, &x)) {
      v = check_run(&x, a, batch);
      kit_close(&x.kit);
    }
    if (v == DIFFERS) print_message("%s: not as ir_eval says\n", x.what);
    n[v]++;
    arena_free(a);
  }
  print_message("%d agree, %d without plan, %d without value\n", (int)n[AGREES], (int)n[NO_PLAN],
                (int)n[NO_VALUE]);
  assert_true(n[DIFFERS] * 50 <= seeds);
  assert_true(n[AGREES] * 20 >= seeds * 17);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_case_on_every_target),
      cmocka_unit_test(gradients_of_every_case_on_every_target),
      cmocka_unit_test(random_graphs_on_some_target),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
