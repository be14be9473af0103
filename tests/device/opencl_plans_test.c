/* SPDX-License-Identifier: Apache-2.0 */
/* opencl_plans_test.c - every case of the scheduler and some random graphs on an
** OpenCL device, kernel by kernel against the reference; all in one program, for
** a driver's time goes by programs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "tests/device/both_ways.h"
#include "tests/device/plan_cases.h"
#include "tests/ir/random_graph.h"

enum { SEEDS = 12, PLANS_MAX = 64, KERNELS_MAX = 1024 };

typedef struct {
  const Graph *g;
  const char *name;
  Schedule plan;
  uint32_t first; /* of its kernels among all */
} Plan;

typedef struct {
  Arena *a;
  Plan plan[PLANS_MAX];
  uint32_t n_plans, n_kernels;
  Kernel kernels[KERNELS_MAX];
} Plans;

/* False when the graph has no plan. */
static bool add_plan(Plans *all, const Graph *read, const char *name) {
  Plan *p = &all->plan[all->n_plans];
  const Named *out = NULL;
  Diag *d = diag_new();
  assert_true(all->n_plans < PLANS_MAX);
  *p = (Plan){.g = sched_expand(read, all->a), .name = name, .first = all->n_kernels};
  uint32_t n = ir_outputs(p->g, &out);
  SchedEntry e = {.name = "all", .out = out, .n_out = n};
  bool ok = sched_run(p->g, &e, 1, 0, all->a, d, &p->plan) == VLPC_OK;
  diag_free(d);
  if (!ok) return false;
  assert_true(all->n_kernels + p->plan.kernels.n <= KERNELS_MAX);
  for (uint32_t i = 0; i < p->plan.kernels.n; i++)
    all->kernels[all->n_kernels++] = p->plan.kernels.at[i];
  all->n_plans++;
  return true;
}

static RefTensor random_input(Arena *a, const Graph *g, Val v, const int64_t *sym) {
  const Type *t = ir_type_of(g, v);
  int64_t size[VLPC_MAX_RANK];
  for (uint32_t i = 0; i < t->rank; i++)
    assert_true(dim_eval(ir_dims(g), t->dim[i], sym, &size[i]));
  RefTensor x = ref_tensor(a, t->dtype, t->rank, size);
  for (int64_t i = 0; i < x.count; i++) {
    Rng r = {7, v.i};
    if (x.f) x.f[i] = (double)(float)rng_normal(r, (uint64_t)i);
    else x.i[i] = rng_u32(r, (uint64_t)i) % (t->dtype == VLPC_BOOL ? 2 : 3);
  }
  return x;
}

static void run_plan(const Kit *kit, const Plan *p, int64_t batch) {
  Arena *a = arena_new(0);
  int64_t sym[DIM_MAX_SYMS];
  for (int i = 0; i < DIM_MAX_SYMS; i++) sym[i] = i ? 2 + i % 4 : batch;
  const Named *in = NULL, *out = NULL;
  uint32_t n_in = ir_inputs(p->g, &in), n_out = ir_outputs(p->g, &out);
  RefTensor *x = arena_array(a, RefTensor, n_in), *got = arena_array(a, RefTensor, n_out);
  for (uint32_t i = 0; i < n_in; i++) x[i] = random_input(a, p->g, in[i].v, sym);
  BothWays both = {.kit = kit, .first = p->first, .what = p->name};
  plan_run(p->g, &p->plan, sym, x, got, a, both_ways, &both);
  arena_free(a);
}

static void run_all(Plans *all) {
  Kit kit = kit_open(kit_target(0), all->kernels, all->n_kernels);
  for (uint32_t i = 0; i < all->n_plans; i++) {
    run_plan(&kit, &all->plan[i], 3);
    if (i % 4 == 0 && strcmp(all->plan[i].name, "by_index") != 0)
      run_plan(&kit, &all->plan[i], 0);
  }
  kit_close(&kit);
}

static void every_case(void **state) {
  (void)state;
  Arena *a = arena_new(0);
  Plans *all = arena_one(a, Plans);
  Diag *d = diag_new();
  all->a = a;
  for (size_t i = 0; i < VL_COUNT(plan_cases); i++) {
    const PlanCase *c = &plan_cases[i];
    Graph *g = ir_parse(a, c->name, c->text, strlen(c->text), (BlobTable){0}, d);
    if (!g) fail_msg("%s", diag_text(d));
    assert_true(add_plan(all, g, c->name));
  }
  run_all(all);
  diag_free(d);
  arena_free(a);
}

static void random_graphs(void **state) {
  (void)state;
  Arena *a = arena_new(0);
  Plans *all = arena_one(a, Plans);
  all->a = a;
  uint64_t seeds = getenv("VLPC_TEST_LONG") ? PLANS_MAX : SEEDS;
  for (uint64_t seed = 1; seed <= seeds; seed++)
    (void)add_plan(all, random_graph(a, seed, RANDOM_FOLDED),
                   arena_printf(a, "seed %d", (int)seed));
  assert_true(all->n_plans * 2 > seeds);
  run_all(all);
  arena_free(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_case),
      cmocka_unit_test(random_graphs),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
