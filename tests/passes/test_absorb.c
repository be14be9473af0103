/* SPDX-License-Identifier: Apache-2.0 */
/* test_absorb.c - attention of one query row without keys and values: the same
** results to the last digits of double, and only where it may be done. */
#include <math.h>

#include "base/rng.h"
#include "tests/passes/pass_case.h"

/* Two segments of keys (16 and 3 rows, the second shared by the batch), two heads. */
#define TOWER(queries, attrs)                                                  \
  "graph {\n"                                                                  \
  "  sym n\n"                                                                  \
  "  %1 = input {name=\"q\"} : f32[n," queries ",2]\n"                         \
  "  %2 = input {name=\"x\"} : f32[n,16,2]\n"                                  \
  "  %3 = input {name=\"p\"} : f32[1,3,2]\n"                                   \
  "  %4 = const {value=[1,-2,0.5,4,2,-1,3,0.25]} : f32[2,4]\n"                 \
  "  %5 = const {value=[1,2,3,-4]} : f32[4]\n"                                 \
  "  %6 = linear %2, %4, %5 : f32[n,16,4]\n"                                   \
  "  %7 = linear %3, %4, %5 : f32[1,3,4]\n"                                    \
  "  %8 = slice %6 {dims=[n,16,2], starts=[0,0,0], steps=[1,1,1]} : f32[n,16,2]\n" \
  "  %9 = slice %6 {dims=[n,16,2], starts=[0,0,2], steps=[1,1,1]} : f32[n,16,2]\n" \
  "  %10 = slice %7 {dims=[1,3,2], starts=[0,0,0], steps=[1,1,1]} : f32[1,3,2]\n" \
  "  %11 = slice %7 {dims=[1,3,2], starts=[0,0,2], steps=[1,1,1]} : f32[1,3,2]\n" \
  "  %12 = attention %1, %8, %9, %10, %11 {heads=2, scale=0.5" attrs "} : f32[n," queries ",2]\n" \
  "  out \"y\" %12\n"                                                          \
  "}\n"

static RefTensor noise(Arena *a, uint64_t seed, int64_t n, int64_t rows) {
  RefTensor t = ref_tensor(a, VLPC_F32, 3, (int64_t[]){n, rows, 2});
  for (int64_t i = 0; i < t.count; i++) t.f[i] = rng_normal((Rng){seed, 0}, (uint64_t)i);
  return t;
}

static RefTensor result(const Graph *g, Arena *a) {
  RefTensor in[3] = {noise(a, 1, 5, 1), noise(a, 2, 5, 16), noise(a, 3, 1, 3)}, out;
  assert_int_equal(ir_eval(g, a, EVAL_DOUBLE, in, &out, NULL), VLPC_OK);
  return out;
}

static void test_same_results(void **state) {
  Arena *a = *state;
  Graph *g = graph_of(a, "absorb", TOWER("1", ""), strlen(TOWER("1", "")));
  Graph *to = pass_absorb(g, a);
  assert_non_null(strstr(text_of(to), "attention %"));
  assert_non_null(strstr(text_of(to), "{heads=1, scale=0.5} : f32[n,2,2]"));
  assert_null(strstr(text_of(to), "f32[n,16,4]")); /* no keys, no values */
  RefTensor want = result(g, a), got = result(to, a);
  assert_int_equal(got.count, want.count);
  for (int64_t i = 0; i < want.count; i++) assert_true(fabs(got.f[i] - want.f[i]) < 1e-12);
}

static void stays(Arena *a, const char *text) {
  Graph *g = graph_of(a, "absorb", text, strlen(text));
  const char *before = text_of(g);
  assert_string_equal(text_of(pass_absorb(g, a)), before);
}

static void test_two_queries_stay(void **state) { stays(*state, TOWER("2", "")); }

/* A query that does not see all keys: the probabilities are over others. */
static void test_causal_stays(void **state) { stays(*state, TOWER("1", ", causal=1")); }

static void test_few_keys_stay(void **state) {
  stays(*state, "graph {\n"
                "  %1 = input {name=\"q\"} : f32[1,1,2]\n"
                "  %2 = input {name=\"x\"} : f32[1,15,2]\n"
                "  %3 = const {value=[1,2,3,4]} : f32[2,2]\n"
                "  %4 = linear %2, %3 : f32[1,15,2]\n"
                "  %5 = attention %1, %4, %4 {heads=2, scale=1} : f32[1,1,2]\n"
                "  out \"y\" %5\n"
                "}\n");
}

/* Keys of one input, values of another. */
static void test_other_values_stay(void **state) {
  stays(*state, "graph {\n"
                "  %1 = input {name=\"q\"} : f32[1,1,2]\n"
                "  %2 = input {name=\"x\"} : f32[1,16,2]\n"
                "  %3 = input {name=\"z\"} : f32[1,16,2]\n"
                "  %4 = const {value=[1,2,3,4]} : f32[2,2]\n"
                "  %5 = linear %2, %4 : f32[1,16,2]\n"
                "  %6 = linear %3, %4 : f32[1,16,2]\n"
                "  %7 = attention %1, %5, %6 {heads=2, scale=1} : f32[1,1,2]\n"
                "  out \"y\" %7\n"
                "}\n");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_same_results),  TEST(test_two_queries_stay),  TEST(test_causal_stays),
      TEST(test_few_keys_stay), TEST(test_other_values_stay),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
