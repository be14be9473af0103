/* SPDX-License-Identifier: Apache-2.0 */
/* op_eval.c - the interpreter: symbols from sizes, exact integers, rounding,
** errors in data, and limits. */
#include <math.h>

#include "op_case.h"

typedef struct {
  Arena *a;
  Graph *g;
  Diag *d;
} World;

static int begin(void **state) {
  Arena *a = arena_new(0);
  World *w = arena_one(a, World);
  *w = (World){a, ir_graph_new(a), diag_new()};
  *state = w;
  return 0;
}

static int end(void **state) {
  World *w = *state;
  diag_free(w->d);
  arena_free(w->a);
  return 0;
}

static Val input(World *w, const char *name, VlDtype dtype, const char *sizes) {
  DimId dim[VLPC_MAX_RANK + 1];
  uint32_t n = read_dims(w->g, sizes, dim);
  return ir_input(w->g, name, ir_type(w->g, dtype, n, dim));
}

static RefTensor ints(World *w, int64_t n, const int64_t *v) {
  RefTensor t = ref_tensor(w->a, VLPC_I64, 1, &n);
  memcpy(t.i, v, (size_t)n * sizeof *v);
  return t;
}

#define INTS_OF(w, ...) \
  ints(w, (int64_t)COUNT(int64_t, __VA_ARGS__), (const int64_t[]){__VA_ARGS__})

static RefTensor zeros(World *w, VlDtype dtype, uint32_t rank, const int64_t *size) {
  return ref_tensor(w->a, dtype, rank, size);
}

#define ZEROS(w, t, ...) \
  zeros(w, VLPC_##t, (uint32_t)COUNT(int64_t, __VA_ARGS__), (const int64_t[]){__VA_ARGS__})

static VlStatus run(World *w, const RefTensor *in, RefTensor *out) {
  return ir_eval(w->g, w->a, EVAL_DOUBLE, in, out, w->d);
}

static void assert_text(const World *w, const char *part) {
  if (!strstr(diag_text(w->d), part)) fail_msg("'%s' is not in:\n%s", part, diag_text(w->d));
}

/* ---- symbols ------------------------------------------------------------- */

static void test_symbols_from_sizes(void **state) {
  World *w = *state;
  Val x = input(w, "x", VLPC_F32, "batch+len,3"), y = input(w, "y", VLPC_F32, "2*len");
  (void)x, (void)y;
  DimId dim[VLPC_MAX_RANK + 1];
  uint32_t n = read_dims(w->g, "batch,len,4*batch+1", dim);
  ir_output(w->g, "sizes", ir_dims_vec(w->g, dim, n));
  RefTensor in[2] = {ZEROS(w, F32, 7, 3), ZEROS(w, F32, 4)}, out;
  assert_int_equal(run(w, in, &out), VLPC_OK);
  assert_int_equal(out.i[0], 5);
  assert_int_equal(out.i[1], 2);
  assert_int_equal(out.i[2], 21);
}

static void test_sizes_that_contradict(void **state) {
  World *w = *state;
  input(w, "x", VLPC_F32, "batch,3");
  input(w, "y", VLPC_F32, "2*batch");
  RefTensor wrong_number[2] = {ZEROS(w, F32, 5, 4), ZEROS(w, F32, 10)};
  assert_int_equal(run(w, wrong_number, NULL), VLPC_E_INVALID_ARG);
  assert_text(w, "E0341");
  assert_text(w, "the input 'x' does not fit its type");
  assert_text(w, "f32[5,4]");
  assert_text(w, "f32[batch,3]");
  RefTensor odd[2] = {ZEROS(w, F32, 5, 3), ZEROS(w, F32, 11)};
  assert_int_equal(run(w, odd, NULL), VLPC_E_INVALID_ARG);
  assert_text(w, "the input 'y' does not fit its type");
  RefTensor wrong_type[2] = {ZEROS(w, F32, 5, 3), ZEROS(w, F64, 10)};
  assert_int_equal(run(w, wrong_type, NULL), VLPC_E_INVALID_ARG);
  assert_text(w, "f64[10]");
  RefTensor wrong_rank[2] = {ZEROS(w, F32, 5), ZEROS(w, F32, 10)};
  assert_int_equal(run(w, wrong_rank, NULL), VLPC_E_INVALID_ARG);
}

static void test_negative_symbol_is_refused(void **state) {
  World *w = *state;
  input(w, "x", VLPC_F32, "batch+3");
  RefTensor in = ZEROS(w, F32, 2);
  assert_int_equal(run(w, &in, NULL), VLPC_E_INVALID_ARG);
  assert_text(w, "f32[batch+3]");
}

static void test_unknown_symbol_is_refused(void **state) {
  World *w = *state;
  DimId dim[VLPC_MAX_RANK + 1];
  uint32_t n = read_dims(w->g, "batch", dim);
  ir_output(w->g, "sizes", ir_dims_vec(w->g, dim, n));
  RefTensor out;
  assert_int_equal(run(w, NULL, &out), VLPC_E_INVALID_ARG);
  assert_text(w, "dims: a size is not known");
}

/* ---- numbers ------------------------------------------------------------- */

static RefTensor big(World *w, bool right) {
  if (right) return INTS_OF(w, 1, -1, 3, -1, 0, INT64_MIN);
  return INTS_OF(w, INT64_C(1) << 53, INT64_MIN, INT64_MAX, INT64_MAX, INT64_MIN, INT64_MIN);
}

static void check_ints(OpCode op, const int64_t *want, void **state) {
  World *w = *state;
  RefTensor in[2] = {big(w, false), big(w, true)}, out;
  Val v[2] = {input(w, "a", VLPC_I64, "n"), input(w, "b", VLPC_I64, "n")};
  ir_output(w->g, "y", ir_ew2(w->g, op, v[0], v[1]));
  assert_int_equal(run(w, in, &out), VLPC_OK);
  for (int64_t i = 0; i < out.count; i++) assert_int_equal(out.i[i], want[i]);
}

static void test_add_is_exact(void **state) {
  const int64_t want[] = {9007199254740993, INT64_MAX, INT64_MIN + 2, INT64_MAX - 1, INT64_MIN, 0};
  check_ints(OP_add, want, state);
}

static void test_mul_wraps(void **state) {
  const int64_t want[] = {INT64_C(1) << 53, INT64_MIN, INT64_MAX - 2, -INT64_MAX, 0, 0};
  check_ints(OP_mul, want, state);
}

static void test_div_never_traps(void **state) {
  const int64_t want[] = {INT64_C(1) << 53, INT64_MIN, INT64_MAX / 3, -INT64_MAX, 0, 1};
  check_ints(OP_div, want, state);
}

static void test_mod_never_traps(void **state) {
  const int64_t want[] = {0, 0, INT64_MAX % 3, 0, 0, 0};
  check_ints(OP_mod, want, state);
}

static void test_sums_of_ints_wrap(void **state) {
  World *w = *state;
  Val x = input(w, "x", VLPC_I64, "3");
  int64_t axis = 0;
  ir_output(w->g, "sum", ir_reduce(w->g, OP_reduce_sum, x, &axis, 1, false));
  ir_output(w->g, "dot", ir_ew2(w->g, OP_matmul, x, x));
  RefTensor in = INTS_OF(w, INT64_MAX, 1, 1), out[2];
  assert_int_equal(run(w, &in, out), VLPC_OK);
  assert_int_equal(out[0].i[0], INT64_MIN + 1);
  assert_int_equal(out[1].i[0], 3);
}

static void test_rounding_per_node(void **state) {
  World *w = *state;
  Val x = input(w, "x", VLPC_F32, "1");
  Val third = ir_ew2(w->g, OP_div, x, ir_scalar(w->g, VLPC_F32, 3));
  ir_output(w->g, "y", ir_ew2(w->g, OP_mul, third, ir_scalar(w->g, VLPC_F32, 7)));
  ir_output(w->g, "h", ir_cast(w->g, ir_ew2(w->g, OP_add, x, x), VLPC_F16));
  RefTensor in = ZEROS(w, F32, 1), out[2];
  in.f[0] = 1.1F;
  assert_int_equal(ir_eval(w->g, w->a, EVAL_ROUND, &in, out, w->d), VLPC_OK);
  float step = 1.1F / 3.0F;
  assert_true(out[0].f[0] == (double)(step * 7.0F));
  assert_true(out[1].f[0] == (double)half_to_f32(half_from_f32(2.2F)));
  assert_int_equal(run(w, &in, out), VLPC_OK);
  assert_true(out[0].f[0] == (double)1.1F / 3 * 7);
}

/* Big constants stay nodes and are computed when asked, rounded as they fold. */
static void test_eval_const(void **state) {
  World *w = *state;
  enum { N = 20000 };
  float *data = arena_array(w->a, float, N);
  for (int i = 0; i < N; i++) data[i] = (float)i / 7;
  int64_t size[2] = {100, N / 100}, perm[2] = {1, 0};
  BlobId b = ir_blob(w->g, data, N * sizeof *data, "w");
  Val c = ir_const(w->g, ir_type_fixed(w->g, VLPC_F32, 2, size), b);
  Val v = ir_permute(w->g, c, perm, 2);
  assert_int_equal(ir_op(w->g, v), OP_permute);
  RefTensor out;
  assert_int_equal(ir_eval_const(w->g, w->a, v, &out, w->d), VLPC_OK);
  assert_int_equal(out.size[0], N / 100);
  assert_true(out.f[1] == (double)data[N / 100]);
  Val x = input(w, "x", VLPC_F32, "200,100");
  Val sum = ir_ew2(w->g, OP_add, v, x);
  assert_int_equal(ir_eval_const(w->g, w->a, sum, &out, w->d), VLPC_E_UNSUPPORTED);
  assert_text(w, "a value depends on the input 'x'");
}

/* ---- data ---------------------------------------------------------------- */

static void test_index_out_of_range(void **state) {
  World *w = *state;
  Val in[2] = {input(w, "x", VLPC_F32, "3"), input(w, "i", VLPC_I64, "n")};
  Attr axis = attr_int(A_axis, 0);
  ir_output(w->g, "y", ir_node(w->g, OP_gather, 2, in, 1, &axis));
  RefTensor good[2] = {ZEROS(w, F32, 3), INTS_OF(w, -3, 2)}, out;
  assert_int_equal(run(w, good, &out), VLPC_OK);
  RefTensor bad[2] = {good[0], INTS_OF(w, 0, 3)};
  assert_int_equal(run(w, bad, &out), VLPC_E_INVALID_ARG);
  assert_text(w, "gather: an index is out of range");
  assert_text(w, "-3 to 2");
}

static void test_slice_outside_at_run_time(void **state) {
  World *w = *state;
  Val x = input(w, "x", VLPC_F32, "n");
  DimTable *t = ir_dims(w->g);
  ir_output(w->g, "y", ir_slice_axis(w->g, x, 0, dim_const(t, 2), dim_const(t, 2)));
  RefTensor good = ZEROS(w, F32, 4), bad = ZEROS(w, F32, 3), out;
  assert_int_equal(run(w, &good, &out), VLPC_OK);
  assert_int_equal(run(w, &bad, &out), VLPC_E_INVALID_ARG);
  assert_text(w, "slice: a slice reads outside its operand");
}

static void test_slice_backwards_at_run_time(void **state) {
  World *w = *state;
  Val x = input(w, "x", VLPC_F32, "n");
  DimTable *t = ir_dims(w->g);
  DimId start = dim_const(t, 1), size = ir_type_of(w->g, x)->dim[0];
  int64_t step = -1;
  Attr at[3] = {attr_dims(A_starts, &start, 1), attr_ints(A_steps, &step, 1),
                attr_dims(A_dims, &size, 1)};
  ir_output(w->g, "y", ir_node(w->g, OP_slice, 1, &x, 3, at));
  RefTensor good = ZEROS(w, F32, 2), bad = ZEROS(w, F32, 3), out;
  good.f[1] = 5;
  assert_int_equal(run(w, &good, &out), VLPC_OK);
  assert_true(out.f[0] == 5);
  assert_int_equal(run(w, &bad, &out), VLPC_E_INVALID_ARG);
  assert_text(w, "slice: a slice reads outside its operand");
}

static void test_extreme_of_nothing(void **state) {
  World *w = *state;
  Val x = input(w, "x", VLPC_I64, "n");
  int64_t axis = 0;
  ir_output(w->g, "y", ir_reduce(w->g, OP_reduce_max, x, &axis, 1, false));
  RefTensor in = ZEROS(w, I64, 0), out;
  assert_int_equal(run(w, &in, &out), VLPC_E_INVALID_ARG);
  assert_text(w, "reduce_max: the greatest or least of nothing");
}

static void test_result_too_large_at_run_time(void **state) {
  World *w = *state;
  Val x = input(w, "x", VLPC_F32, "n,0");
  DimId dim[VLPC_MAX_RANK + 1];
  read_dims(w->g, "9*n,999999*n,999999*n", dim);
  Val zero = ir_reduce(w->g, OP_reduce_sum, x, (int64_t[]){0, 1}, 2, false);
  ir_output(w->g, "y", ir_broadcast(w->g, zero, dim, 3));
  RefTensor in = ZEROS(w, F32, 1000, 0), out;
  assert_int_equal(run(w, &in, &out), VLPC_E_INVALID_ARG);
  assert_text(w, "broadcast: a value has too many elements");
}

/* The arena's limit is the interpreter's: the caller gets control back. */
static void test_memory_runs_out(void **state) {
  World *w = *state;
  Val x = input(w, "x", VLPC_F32, "n");
  DimId dim[VLPC_MAX_RANK + 1];
  read_dims(w->g, "1000000,n", dim);
  ir_output(w->g, "y", ir_broadcast(w->g, x, dim, 2));
  RefTensor in = ZEROS(w, F32, 1000), out;
  Arena *small = arena_new(1 << 20);
  volatile bool ran_out = true;
  if (!ARENA_GUARD(small)) {
    VL_IGNORE(ir_eval(w->g, small, EVAL_DOUBLE, &in, &out, w->d)); /* jumps */
    ran_out = false;
  }
  assert_true(ran_out);
  arena_free(small);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, begin, end)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_symbols_from_sizes),
      TEST(test_sizes_that_contradict),
      TEST(test_negative_symbol_is_refused),
      TEST(test_unknown_symbol_is_refused),
      TEST(test_add_is_exact),
      TEST(test_mul_wraps),
      TEST(test_div_never_traps),
      TEST(test_mod_never_traps),
      TEST(test_sums_of_ints_wrap),
      TEST(test_rounding_per_node),
      TEST(test_eval_const),
      TEST(test_index_out_of_range),
      TEST(test_slice_outside_at_run_time),
      TEST(test_slice_backwards_at_run_time),
      TEST(test_extreme_of_nothing),
      TEST(test_result_too_large_at_run_time),
      TEST(test_memory_runs_out),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
