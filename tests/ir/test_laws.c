/* SPDX-License-Identifier: Apache-2.0 */
/* test_laws.c - what holds of every graph, tried on random ones.  A failing
** seed is printed; random_graph(a, seed, …) gives the graph again. */
#include <math.h>

#include "base/rng.h"
#include "tests/ir/ir_case.h"
#include "tests/ir/random_graph.h"

enum { N_SEEDS = 300 };

/* Calls law on a fresh arena for each seed and form. */
typedef void Law(Arena *a, uint64_t seed, Graph *g);
static void for_all(Law *law) {
  for (uint64_t seed = 0; seed < 2 * N_SEEDS; seed++) {
    Arena *a = arena_new(0);
    law(a, seed, random_graph(a, seed, seed % 2 == 0 ? RANDOM_FOLDED : RANDOM_EXACT));
    arena_free(a);
  }
}

static void expect_text(uint64_t seed, const char *got, const char *want) {
  if (strcmp(got, want) != 0)
    print_error("seed %llu:\n%s\n%s\n", (unsigned long long)seed, got, want);
  assert_string_equal(got, want);
}

static Graph *reparsed(Arena *a, const Graph *g) {
  const char *text = text_of(g, PRINT_LOCS);
  Diag *d = diag_new();
  Graph *back = ir_parse(a, NULL, text, strlen(text), blobs_of(g), d);
  if (back == NULL) print_error("%s\n%s", text, diag_text(d));
  diag_free(d);
  assert_non_null(back);
  return back;
}

/* ---- laws of text and rebuilding ------------------------------------------ */

static void is_sound(Arena *a, uint64_t seed, Graph *g) {
  Str faults = {.arena = a};
  bool ok = ir_verify(g, SPEC_CORE, &faults);
  expect_text(seed, str_text(&faults), "");
  assert_true(ok);
}

static void parses_back(Arena *a, uint64_t seed, Graph *g) {
  expect_text(seed, text_of(reparsed(a, g), PRINT_LOCS), text_of(g, PRINT_LOCS));
}

static void rebuilds_to_itself(Arena *a, uint64_t seed, Graph *g) {
  Graph *once = ir_rewrite(g, a, NULL, NULL, NULL);
  Graph *twice = ir_rewrite(once, a, NULL, NULL, NULL);
  expect_text(seed, text_of(twice, PRINT_LOCS), text_of(once, PRINT_LOCS));
  is_sound(a, seed, once);
}

static void has_one_normal_form(Arena *a, uint64_t seed, Graph *g) {
  Graph *once = ir_rewrite(g, a, NULL, NULL, NULL);
  expect_text(seed, text_of(reparsed(a, once), PRINT_NORMAL), text_of(once, PRINT_NORMAL));
  expect_text(seed, text_of(ir_rewrite(reparsed(a, once), a, NULL, NULL, NULL), PRINT_NORMAL),
              text_of(once, PRINT_NORMAL));
}

static void graphs_are_sound(void **state) {
  (void)state;
  for_all(is_sound);
}

static void text_parses_back_to_itself(void **state) {
  (void)state;
  for_all(parses_back);
}

static void a_rebuilt_graph_rebuilds_to_itself(void **state) {
  (void)state;
  for_all(rebuilds_to_itself);
}

static void the_normal_form_is_stable(void **state) {
  (void)state;
  for_all(has_one_normal_form);
}

/* ---- folding keeps values ------------------------------------------------- */

static RefTensor random_tensor(Arena *a, uint64_t seed, uint32_t stream, const Type *t,
                               const DimTable *dims) {
  int64_t size[VLPC_MAX_RANK];
  for (uint32_t i = 0; i < t->rank; i++)
    if (!dim_is_const(dims, t->dim[i], &size[i])) size[i] = 3;
  RefTensor r = ref_tensor(a, t->dtype, t->rank, size);
  for (int64_t i = 0; i < r.count; i++)
    r.f[i] = (double)(float)rng_normal((Rng){seed, stream}, (uint64_t)i);
  return r;
}

static void run(Arena *a, uint64_t seed, const Graph *g, RefTensor *out) {
  const Named *at = NULL;
  uint32_t n = ir_inputs(g, &at);
  RefTensor *in = arena_array(a, RefTensor, n);
  for (uint32_t i = 0; i < n; i++)
    in[i] = random_tensor(a, seed, i, ir_type_of(g, at[i].v), ir_dims(g));
  Diag *d = diag_new();
  VlStatus s = ir_eval(g, a, EVAL_ROUND, in, out, d);
  if (s != VLPC_OK) print_error("seed %llu: %s\n", (unsigned long long)seed, diag_text(d));
  diag_free(d);
  assert_int_equal(s, VLPC_OK);
}

static bool same_element(const RefTensor *a, const RefTensor *b, int64_t i) {
  if (a->f == NULL) return a->i[i] == b->i[i];
  return a->f[i] == b->f[i] || (isnan(a->f[i]) && isnan(b->f[i]));
}

static void keeps_values(Arena *a, uint64_t seed, Graph *g) {
  RefTensor before[3], after[3];
  run(a, seed, g, before);
  run(a, seed, ir_rewrite(g, a, NULL, NULL, NULL), after);
  for (uint32_t i = 0; i < 3; i++) {
    assert_int_equal(before[i].dtype, after[i].dtype);
    assert_int_equal(before[i].count, after[i].count);
    for (int64_t k = 0; k < before[i].count; k++) {
      if (!same_element(&before[i], &after[i], k))
        print_error("seed %llu, output %u, element %lld\n%s", (unsigned long long)seed, i,
                    (long long)k, text_of(g, 0));
      assert_true(same_element(&before[i], &after[i], k));
    }
  }
}

static void folding_keeps_every_value(void **state) {
  (void)state;
  for_all(keeps_values);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(graphs_are_sound),
      cmocka_unit_test(text_parses_back_to_itself),
      cmocka_unit_test(a_rebuilt_graph_rebuilds_to_itself),
      cmocka_unit_test(the_normal_form_is_stable),
      cmocka_unit_test(folding_keeps_every_value),
  };
  return cmocka_run_group_tests_name("ir_laws", tests, NULL, NULL);
}
