/* SPDX-License-Identifier: Apache-2.0 */
/* test_segments.c - a tower whose every block gets prompts of its own (deep
** prompting): with segments its prompt rows cost keys and values alone, once for
** the whole batch, and the results are as without. */
#include "base/rng.h"
#include "passes/sched.h"
#include "tests/passes/pass_case.h"

enum { D = 128, HEADS = 2, N = 5, M = 3, LAYERS = 3, BATCH = 7 };

static Val weights(Graph *g, uint64_t seed, int64_t k, int64_t n) {
  float *w = arena_array(ir_arena(g), float, k * n);
  for (int64_t i = 0; i < k * n; i++) w[i] = (float)rng_normal((Rng){seed, 1}, (uint64_t)i) * 0.1f;
  TypeId t = ir_type_fixed(g, VLPC_F32, 2, (int64_t[]){k, n});
  return ir_const(g, t, ir_blob(g, w, (uint64_t)(k * n) * sizeof *w, NULL));
}

static Val norm(Graph *g, Val x) {
  Attr eps = attr_float(A_eps, 1e-5);
  return ir_node(g, OP_layernorm, 1, &x, 1, &eps);
}

static Val linear(Graph *g, Val x, uint64_t seed, int64_t n) {
  int64_t k = 0;
  assert_true(ir_size_const(g, x, -1, &k));
  return ir_node(g, OP_linear, 2, (Val[]){x, weights(g, seed, k, n)}, 0, NULL);
}

static Val block(Graph *g, Val x, uint64_t seed) {
  DimTable *t = ir_dims(g);
  Val qkv = linear(g, norm(g, x), seed, 3 * D), in[3];
  Attr heads[2] = {attr_int(A_heads, HEADS), attr_float(A_scale, 0.25)};
  for (int i = 0; i < 3; i++)
    in[i] = ir_slice_axis(g, qkv, 2, dim_const(t, i * D), dim_const(t, D));
  x = ir_ew2(g, OP_add, x, linear(g, ir_node(g, OP_attention, 3, in, 2, heads), seed + 1, D));
  Attr quick = attr_str(A_approx, "quick");
  Val h = linear(g, norm(g, x), seed + 2, 4 * D);
  h = ir_node(g, OP_gelu, 1, &h, 1, &quick);
  return ir_ew2(g, OP_add, x, linear(g, h, seed + 3, D));
}

/* x, then M rows of input p<layer>, the same for all of the batch. */
static Val with_prompt(Graph *g, Val x, int layer) {
  DimTable *t = ir_dims(g);
  DimId n = ir_type_of(g, x)->dim[0], size[3] = {n, dim_const(t, M), dim_const(t, D)};
  const char *name = arena_printf(ir_arena(g), "p%d", layer);
  Val p = ir_input(g, name, ir_type(g, VLPC_F32, 2, size + 1));
  return ir_concat(g, (Val[]){x, ir_broadcast(g, p, size, 3)}, 2, 1);
}

static Graph *deep_tower(Arena *a) {
  Graph *g = ir_graph_new(a);
  DimTable *t = ir_dims(g);
  DimId n = dim_of_symbol(t, dim_symbol(t, "n"));
  DimId size[3] = {n, dim_const(t, N), dim_const(t, D)};
  Val x = ir_input(g, "x", ir_type(g, VLPC_F32, 3, size));
  for (int i = 0; i < LAYERS; i++) {
    x = block(g, with_prompt(g, x, i), 10 * (uint64_t)i);
    x = ir_slice_axis(g, x, 1, dim_const(t, 0), dim_const(t, N));
  }
  x = ir_slice_axis(g, x, 1, dim_const(t, 0), dim_const(t, 1));
  ir_output(g, "y", norm(g, x));
  return g;
}

static Schedule scheduled(const Graph *g, Arena *a) {
  Schedule s;
  Diag *d = diag_new();
  const Named *out = NULL;
  Graph *to = sched_expand(g, a);
  SchedEntry e = {.name = "y"};
  e.n_out = ir_outputs(to, &out);
  e.out = out;
  assert_int_equal(sched_run(to, &e, 1, 0, a, d, &s), VLPC_OK);
  diag_free(d);
  return s;
}

static int64_t flops_of_entry(const Schedule *s, uint32_t entry) {
  int64_t sum = 0, sym[DIM_MAX_SYMS], size[PROG_MAX_SIZES];
  const Program *p = &s->program;
  const ProgEntry *e = &p->entries[entry];
  for (int i = 0; i < DIM_MAX_SYMS; i++) sym[i] = BATCH;
  for (uint32_t i = e->step; i < e->step + e->n_steps; i++) {
    for (uint32_t k = 0; k < p->steps[i].n_sizes; k++)
      assert_true(dim_eval(p->dims, p->sizes[p->steps[i].size + k], sym, &size[k]));
    sum += kernel_flops(&s->kernels.at[p->steps[i].kernel], size);
  }
  return sum;
}

static int64_t flops_of(const Schedule *s) { return flops_of_entry(s, 0); }

/* Multiply-adds of q, k, v (parts of D columns), the rest of a block, attention. */
static int64_t projected(int64_t rows, int64_t parts) { return 2 * rows * parts * D * D; }
static int64_t rest(int64_t rows) { return 2 * rows * 9 * D * D; }
static int64_t attended(int64_t queries, int64_t keys) { return 4 * queries * keys * D; }

static void test_prompts_cost_keys_and_values(void **state) {
  Arena *a = *state;
  PassOpts opt = {.check = PASS_CHECK_EVAL | PASS_CHECK_ROUNDTRIP};
  Graph *g = pass_narrow(lowered(deep_tower(a), &opt).g, a);
  Schedule s = scheduled(g, a);
  int64_t want = 0, b = BATCH;
  for (int i = 0; i + 1 < LAYERS; i++)
    want += projected(b * N, 3) + projected(M, 2) + attended(b * N, N + M) + rest(b * N);
  want += projected(b * N, 2) + projected(M, 2) + projected(b, 1) + attended(b, N + M) + rest(b);
  assert_int_equal(flops_of(&s), want);
  /* each block's weights are there once: prompt rows take columns of them */
  assert_int_equal(s.weight_bytes, LAYERS * 12 * D * D * 4);
  assert_null(strstr(text_of(g), "concat"));
}

static void test_switched_off(void **state) {
  Arena *a = *state;
  PassOpts opt = {.check = PASS_CHECK_EVAL, .skip = PASS_BIT(segments)};
  Schedule s = scheduled(pass_narrow(lowered(deep_tower(a), &opt).g, a), a);
  int64_t want = 0, b = BATCH;
  for (int i = 0; i + 1 < LAYERS; i++)
    want += projected(b * N, 1) + projected(b * (N + M), 2) + attended(b * N, N + M) + rest(b * N);
  want += projected(b * (N + M), 2) + projected(b, 1) + attended(b, N + M) + rest(b);
  assert_int_equal(flops_of(&s), want);
  opt.skip |= PASS_BIT(prune_rows);
  s = scheduled(lowered(deep_tower(a), &opt).g, a);
  want = LAYERS * (projected(b * (N + M), 3) + attended(b * (N + M), N + M) + rest(b * (N + M)));
  assert_int_equal(flops_of(&s), want);
}

/* What prompts alone decide is an entry of its own: one product a block. */
static void test_prompts_are_cut_out(void **state) {
  Arena *a = *state;
  Schedule s;
  Diag *d = diag_new();
  const Named *out = NULL;
  const char *const names[LAYERS] = {"p0", "p1", "p2"};
  TrainableNames trainables = {names, LAYERS};
  Graph *g = sched_expand(pass_narrow(lowered(deep_tower(a), NULL).g, a), a);
  PassEntry image = {.name = "image", .n_out = ir_outputs(g, &out)};
  image.out = out;
  BindTime *at = pass_binding(g, a, &trainables, BIND_prompts);
  Cut c = {.at = at, .time = BIND_prompts, .late = &image, .n_late = 1};
  CutList cut = pass_cut(g, a, &c);
  assert_int_equal(cut.n, LAYERS);
  assert_string_equal(cut.at[2].name, "prompts.2");
  SchedEntry e[2] = {{"image", image.out, image.n_out, cut.at, cut.n},
                     {"prompts", cut.at, cut.n, NULL, 0}};
  assert_int_equal(sched_run(g, e, 2, 0, a, d, &s), VLPC_OK);
  assert_int_equal(flops_of_entry(&s, 1), LAYERS * projected(M, 2));
  int64_t b = BATCH, want = (LAYERS - 1) * (projected(b * N, 3) + attended(b * N, N + M));
  want += (LAYERS - 1) * rest(b * N) + projected(b * N, 2) + projected(b, 1);
  assert_int_equal(flops_of_entry(&s, 0), want + attended(b, N + M) + rest(b));
  assert_int_equal(s.program.entries[0].n_in, 1 + LAYERS);
  assert_string_equal(s.program.ports[s.program.entries[0].in + 1].name, "prompts.0");
  assert_int_equal(s.program.entries[1].n_in, LAYERS);
  diag_free(d);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_prompts_cost_keys_and_values),
      TEST(test_switched_off),
      TEST(test_prompts_are_cut_out),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
