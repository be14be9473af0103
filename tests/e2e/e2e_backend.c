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

/* Schedules g, runs its plan's kernels both ways, and holds the outputs of the
** code against ir_eval. */
static Verdict check_graph(const Graph *read, Arena *a, int64_t batch, const char *target,
                           const char *what) {
  const Graph *g = sched_expand(read, a);
  int64_t sym[DIM_MAX_SYMS];
  for (int i = 0; i < DIM_MAX_SYMS; i++) sym[i] = i ? 2 + i % 4 : batch;
  const Named *in = NULL, *out = NULL;
  uint32_t n_in = ir_inputs(g, &in), n_out = ir_outputs(g, &out);
  RefTensor *x = arena_array(a, RefTensor, n_in), *want = arena_array(a, RefTensor, n_out);
  RefTensor *got = arena_array(a, RefTensor, n_out);
  for (uint32_t i = 0; i < n_in; i++) x[i] = random_input(a, g, in[i].v, sym);
  if (ir_eval(g, a, EVAL_ROUND, x, want, NULL) != VLPC_OK) return NO_VALUE;
  SchedEntry e = {.name = "all", .out = out, .n_out = n_out};
  Schedule p;
  Diag *d = diag_new();
  VlStatus status = sched_run(g, &e, 1, 0, a, d, &p);
  diag_free(d);
  if (status != VLPC_OK) return NO_PLAN;
  Kit kit = kit_open(target, p.kernels.at, p.kernels.n);
  BothWays dev = {.kit = &kit, .what = arena_printf(a, "%s, %s", what, target)};
  plan_run(g, &p, sym, x, got, a, both_ways, &dev);
  int64_t wrong = 0;
  for (uint32_t i = 0; i < n_out; i++) wrong += differences(&want[i], &got[i], graph_rtol(g));
  kit_close(&kit);
  return wrong ? DIFFERS : AGREES;
}

typedef enum { FORWARDS, WITH_GRADIENTS } Direction;

/* AGREES too when no gradient passes. */
static Verdict check_case(const PlanCase *c, int64_t batch, const char *target, Direction way) {
  Arena *a = arena_new(0);
  Diag *d = diag_new();
  Graph *g = ir_parse(a, c->name, c->text, strlen(c->text), (BlobTable){0}, d);
  if (!g) fail_msg("%s", diag_text(d));
  if (way == WITH_GRADIENTS) g = plan_gradients(g);
  Verdict v = g != NULL ? check_graph(g, a, batch, target, c->name) : AGREES;
  diag_free(d);
  arena_free(a);
  return v;
}

/* ---- tests ---------------------------------------------------------------- */

static void every_case_on_every_target(void **state) {
  (void)state;
  for (int t = 0; kit_target(t); t++) {
    for (size_t i = 0; i < VL_COUNT(plan_cases); i++) {
      if (check_case(&plan_cases[i], 3, kit_target(t), FORWARDS) != AGREES)
        fail_msg("%s, %s: not as ir_eval says", plan_cases[i].name, kit_target(t));
    }
  }
}

static void gradients_of_every_case_on_every_target(void **state) {
  (void)state;
  for (int t = 0; kit_target(t); t++) {
    for (size_t i = 0; i < VL_COUNT(plan_cases); i++) {
      if (check_case(&plan_cases[i], 3, kit_target(t), WITH_GRADIENTS) != AGREES)
        fail_msg("%s, %s: not as ir_eval says", plan_cases[i].name, kit_target(t));
    }
  }
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

static void every_case_with_an_empty_batch(void **state) {
  (void)state;
  for (size_t i = 0; i < VL_COUNT(plan_cases); i++) {
    Verdict v = check_case(&plan_cases[i], 0, some_target(i), FORWARDS);
    if (v != (has_no_value(plan_cases[i].name) ? NO_VALUE : AGREES))
      fail_msg("%s: verdict %d", plan_cases[i].name, v);
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
    Verdict v = check_graph(g, a, batch, some_target(seed), what);
    if (v == DIFFERS) print_message("%s, %s: not as ir_eval says\n", what, some_target(seed));
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
      cmocka_unit_test(every_case_with_an_empty_batch),
      cmocka_unit_test(random_graphs_on_some_target),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
