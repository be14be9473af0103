/* SPDX-License-Identifier: Apache-2.0 */
/* test_attention_map.c - a map against attention itself: values that are unit vectors, one
** for each key, make its result the probabilities. */
#include <math.h>

#include "base/rng.h"
#include "tests/passes/pass_case.h"

/* Two queries, two heads of two; keys of three rows, and of two that the batch shares. */
#define TOWER(attrs)                                                                          \
  "graph {\n"                                                                                 \
  "  sym n\n"                                                                                 \
  "  %1 = input {name=\"q\"} : f32[n,2,4]\n"                                                  \
  "  %2 = input {name=\"x\"} : f32[n,3,4]\n"                                                  \
  "  %3 = input {name=\"p\"} : f32[1,2,4]\n"                                                  \
  "  %4 = const {value=[1,0,0,0,0,1,0,0,0,0, 0,1,0,0,0,0,1,0,0,0, 0,0,1,0,0,0,0,1,0,0]}"      \
  " : f32[1,3,10]\n"                                                                          \
  "  %5 = const {value=[0,0,0,1,0,0,0,0,1,0, 0,0,0,0,1,0,0,0,0,1]} : f32[1,2,10]\n"           \
  "  %6 = attention %1, %2, %4, %3, %5 {heads=2, scale=0.5" attrs "} : f32[n,2,10]\n"         \
  "  out \"probabilities\" %6\n"                                                              \
  "}\n"

enum { BATCH = 3, KEYS = 5, HEADS = 2 };

static RefTensor noise(Arena *a, uint64_t seed, int64_t n, int64_t rows) {
  RefTensor t = ref_tensor(a, VLPC_F32, 3, (int64_t[]){n, rows, 4});
  for (int64_t i = 0; i < t.count; i++) t.f[i] = rng_normal((Rng){seed, 0}, (uint64_t)i);
  return t;
}

static Graph *tower(Arena *a, const char *text, Val *attention) {
  const Named *out = NULL;
  Graph *g = graph_of(a, "map", text, strlen(text));
  assert_int_equal(ir_outputs(g, &out), 1);
  *attention = out[0].v;
  return g;
}

static void test_is_the_mean_over_heads(void **state) {
  Arena *a = *state;
  Val attention;
  Graph *g = tower(a, TOWER(""), &attention);
  Val map = pass_attention_map(g, attention);
  assert_true(val_ok(map));
  ir_output(g, "map", map);
  RefTensor in[3] = {noise(a, 1, BATCH, 2), noise(a, 2, BATCH, 3), noise(a, 3, 1, 2)}, out[2];
  assert_int_equal(ir_eval(g, a, EVAL_DOUBLE, in, out, NULL), VLPC_OK);
  assert_int_equal(out[1].count, BATCH * KEYS);
  for (int b = 0; b < BATCH; b++)
    for (int k = 0; k < KEYS; k++) {
      const double *first = out[0].f + b * 2 * HEADS * KEYS; /* the first of two queries */
      double want = (first[k] + first[KEYS + k]) / 2;
      assert_true(fabs(out[1].f[b * KEYS + k] - want) < 1e-12);
    }
}

static void test_not_where_keys_are_hidden(void **state) {
  Val attention;
  Graph *g = tower(*state, TOWER(", causal=1"), &attention);
  assert_false(val_ok(pass_attention_map(g, attention)));
}

static void test_not_without_attention(void **state) {
  Val v;
  Graph *g = tower(*state, "graph {\n"
                           "  %1 = input {name=\"x\"} : f32[2]\n"
                           "  %2 = exp %1 : f32[2]\n"
                           "  out \"y\" %2\n"
                           "}\n", &v);
  assert_false(val_ok(pass_attention_map(g, v)));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_is_the_mean_over_heads),
      TEST(test_not_where_keys_are_hidden),
      TEST(test_not_without_attention),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
