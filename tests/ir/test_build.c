/* SPDX-License-Identifier: Apache-2.0 */
/* test_build.c - the builder: inference and its words, canonical forms, limits
** of folding, and what is known about values.  Folding rules themselves are
** golden files (golden/fold_*). */
#include "ir/graph_int.h"
#include "tests/ir/ir_case.h"

static Val input_f32(Graph *g, const char *name, uint32_t rank, const int64_t *size) {
  return ir_input(g, name, type_f32(g, rank, size));
}

static void a_misfit_says_what_was_found(void **state) {
  Graph *g = ir_graph_new(*state);
  const int64_t a[2] = {2, 3}, b[2] = {4, 3};
  Val x = input_f32(g, "x", 2, a), y = input_f32(g, "y", 2, b);
  assert_false(val_ok(ir_ew2(g, OP_matmul, x, y)));
  assert_non_null(ir_why(g).sentence);
  assert_string_equal(ir_why(g).found, "f32[2,3] and f32[4,3]");
  assert_true(val_ok(ir_ew2(g, OP_add, x, x)));
  assert_null(ir_why(g).sentence);
}

static void an_unknown_attribute_is_refused(void **state) {
  Graph *g = ir_graph_new(*state);
  const int64_t size[1] = {2};
  Val x = input_f32(g, "x", 1, size);
  Attr a = attr_int(A_axis, 0);
  assert_false(val_ok(ir_node(g, OP_exp, 1, &x, 1, &a)));
  assert_string_equal(ir_why(g).sentence, "the op has no such attribute");
  assert_string_equal(ir_why(g).found, "axis");
  assert_string_equal(ir_why(g).expected, "no attribute");
}

static void a_type_beyond_the_limit_is_no_input(void **state) {
  Graph *g = ir_graph_new(*state);
  const int64_t size[2] = {INT64_C(1) << 30, INT64_C(1) << 30};
  assert_false(val_ok(input_f32(g, "x", 2, size)));
  const Named *at = NULL;
  assert_int_equal(ir_inputs(g, &at), 0);
}

static void zero_flags_and_order_of_attributes_do_not_matter(void **state) {
  Graph *g = ir_graph_new(*state);
  const int64_t size[2] = {2, 3}, axes[1] = {1};
  Val x = input_f32(g, "x", 2, size);
  Attr bare[1] = {attr_ints(A_axes, axes, 1)};
  Attr full[2] = {attr_int(A_keepdims, 0), attr_ints(A_axes, axes, 1)};
  Val v = ir_node(g, OP_reduce_sum, 1, &x, 1, bare);
  assert_true(val_eq(v, ir_node(g, OP_reduce_sum, 1, &x, 2, full)));
  assert_true(val_eq(v, ir_reduce(g, OP_reduce_sum, x, axes, 1, false)));
  assert_false(val_eq(v, ir_reduce(g, OP_reduce_sum, x, axes, 1, true)));
}

static void commuting_operands_stand_in_order(void **state) {
  Graph *g = ir_graph_new(*state);
  const int64_t size[1] = {2};
  Val x = input_f32(g, "x", 1, size), y = input_f32(g, "y", 1, size);
  Val s = ir_ew2(g, OP_mul, y, x);
  assert_true(val_eq(ir_in(g, s, 0), x));
  assert_true(val_eq(s, ir_ew2(g, OP_mul, x, y)));
  assert_true(val_eq(ir_in(g, ir_ew2(g, OP_sub, y, x), 0), y));
}

static void a_node_carries_the_place_set_before(void **state) {
  Graph *g = ir_graph_new(*state);
  const int64_t size[1] = {2};
  Val x = input_f32(g, "x", 1, size);
  LocId l = ir_loc_add(g, (Loc){.name = "a", .index = 4});
  ir_set_loc(g, l);
  assert_int_equal(ir_loc(g, ir_ew1(g, OP_exp, x)).i, l.i);
  assert_int_equal(ir_loc(g, x).i, 0);
}

/* ---- limits of folding ---------------------------------------------------- */

static Val zeros(Graph *g, int64_t n) {
  float *data = arena_array(ir_arena(g), float, n);
  return ir_const(g, type_f32(g, 1, &n), ir_blob(g, data, (uint64_t)n * sizeof *data, "w"));
}

static OpCode op_of_cast(Graph *g, int64_t n) {
  return ir_op(g, ir_cast(g, zeros(g, n), VLPC_F16));
}

static void casts_of_weights_stay(void **state) {
  Graph *g = ir_graph_new(*state);
  assert_int_equal(op_of_cast(g, 8192), OP_const);
  assert_int_equal(op_of_cast(g, 8193), OP_cast);
}

static void arithmetic_on_a_table_folds(void **state) {
  Graph *g = ir_graph_new(*state);
  assert_int_equal(ir_op(g, ir_ew1(g, OP_exp, zeros(g, 262144))), OP_const);
  assert_int_equal(ir_op(g, ir_ew1(g, OP_exp, zeros(g, 262145))), OP_exp);
}

static void a_reshaped_weight_is_the_same_bytes(void **state) {
  Graph *g = ir_graph_new(*state);
  Val w = zeros(g, 1 << 20);
  DimId dim[2] = {dim_const(ir_dims(g), 1 << 10), dim_const(ir_dims(g), 1 << 10)};
  Val r = ir_reshape(g, w, dim, 2);
  assert_int_equal(ir_op(g, r), OP_const);
  assert_int_equal(ir_attr(g, r, A_blob)->blob.i, ir_attr(g, w, A_blob)->blob.i);
}

static void a_fault_in_constant_data_leaves_the_node(void **state) {
  Graph *g = ir_graph_new(*state);
  const int64_t far = 9;
  Val in[2] = {zeros(g, 3), ir_const_i64(g, &far, 1)};
  Attr axis = attr_int(A_axis, 0);
  assert_int_equal(ir_op(g, ir_node(g, OP_gather, 2, in, 1, &axis)), OP_gather);
}

static void integers_fold_exactly_beyond_doubles(void **state) {
  Graph *g = ir_graph_new(*state);
  const int64_t a = (INT64_C(1) << 53) + 1, two = 2;
  Val v = ir_ew2(g, OP_add, ir_const_i64(g, &a, 1), ir_const_i64(g, &two, 1));
  int64_t got = 0;
  uint32_t n = 0;
  assert_true(ir_const_ints(g, v, &got, 1, &n));
  assert_int_equal(got, (INT64_C(1) << 53) + 3);
}

/* ---- what is known -------------------------------------------------------- */

static void elements_of_constants_are_known(void **state) {
  Graph *g = ir_graph_new(*state);
  const int64_t v[3] = {5, -1, 7}, same[2] = {4, 4};
  Val c = ir_const_i64(g, v, 3), s = ir_const_i64(g, same, 2);
  int64_t ints[3] = {0};
  double reals[3] = {0}, splat = 0;
  uint32_t n = 0;
  assert_true(ir_const_ints(g, c, ints, 3, &n));
  assert_int_equal(n, 3);
  assert_int_equal(ints[1], -1);
  assert_false(ir_const_ints(g, c, ints, 2, &n));
  assert_true(ir_const_f64(g, c, reals, 3, &n));
  assert_true(reals[2] == 7);
  assert_false(ir_is_splat(g, c, &splat));
  assert_true(ir_is_splat(g, s, &splat));
  assert_true(splat == 4);
  assert_true(ir_is_splat(g, ir_scalar(g, VLPC_F16, 0.5), &splat));
  assert_true(splat == 0.5);
  assert_false(ir_is_splat(g, ir_const_i64(g, NULL, 0), &splat));
  assert_false(ir_const_ints(g, ir_scalar(g, VLPC_F32, 1), ints, 3, &n));
}

static void sizes_are_known_through_arithmetic(void **state) {
  Graph *g = ir_graph_new(*state);
  DimId b = dim_of_symbol(ir_dims(g), dim_symbol(ir_dims(g), "batch"));
  DimId dim[2] = {b, dim_const(ir_dims(g), 6)}, got[2] = {0};
  Val v = ir_dims_vec(g, dim, 2);
  uint32_t n = 0;
  assert_int_equal(ir_op(g, v), OP_dims);
  assert_true(ir_known_dims(g, ir_ew2(g, OP_mul, v, ir_scalar(g, VLPC_I64, 2)), got, 2, &n));
  assert_int_equal(n, 2);
  assert_int_equal(got[0], dim_mul(ir_dims(g), b, dim_const(ir_dims(g), 2)));
  assert_int_equal(got[1], dim_const(ir_dims(g), 12));
  assert_false(ir_known_dims(g, v, got, 1, &n));
  assert_true(ir_is_const(g, ir_dims_vec(g, &dim[1], 1)));
}

static void a_scalar_size_stays_a_scalar(void **state) {
  Graph *g = ir_graph_new(*state);
  DimId b = dim_of_symbol(ir_dims(g), dim_symbol(ir_dims(g), "batch")), got = 0;
  Val v = ir_reshape(g, ir_dims_vec(g, &b, 1), NULL, 0);
  uint32_t n = 0;
  assert_int_equal(ir_op(g, v), OP_dims);
  assert_int_equal(ir_type_of(g, v)->rank, 0);
  assert_true(ir_known_dims(g, v, &got, 1, &n));
  assert_int_equal(got, b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_misfit_says_what_was_found),
      TEST(an_unknown_attribute_is_refused),
      TEST(a_type_beyond_the_limit_is_no_input),
      TEST(zero_flags_and_order_of_attributes_do_not_matter),
      TEST(commuting_operands_stand_in_order),
      TEST(a_node_carries_the_place_set_before),
      TEST(casts_of_weights_stay),
      TEST(arithmetic_on_a_table_folds),
      TEST(a_reshaped_weight_is_the_same_bytes),
      TEST(a_fault_in_constant_data_leaves_the_node),
      TEST(integers_fold_exactly_beyond_doubles),
      TEST(elements_of_constants_are_known),
      TEST(sizes_are_known_through_arithmetic),
      TEST(a_scalar_size_stays_a_scalar),
  };
  return cmocka_run_group_tests_name("ir_build", tests, NULL, NULL);
}
