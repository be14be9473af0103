/* SPDX-License-Identifier: Apache-2.0 */
/* test_graph.c - the store: what is interned, named values, places, the tables
** of ops and attributes. */
#include "ir/graph_int.h"
#include "tests/ir/ir_case.h"

static void equal_types_have_equal_ids(void **state) {
  Graph *g = ir_graph_new(*state);
  DimId b = dim_of_symbol(ir_dims(g), dim_symbol(ir_dims(g), "batch"));
  DimId dim[2] = {b, dim_const(ir_dims(g), 4)};
  TypeId t = ir_type(g, VLPC_F32, 2, dim);
  assert_int_equal(ir_type(g, VLPC_F32, 2, dim).i, t.i);
  assert_int_not_equal(ir_type(g, VLPC_F16, 2, dim).i, t.i);
  assert_int_not_equal(ir_type(g, VLPC_F32, 1, dim).i, t.i);
  const int64_t size[2] = {2, 4};
  assert_int_equal(type_f32(g, 2, size).i, type_f32(g, 2, size).i);
}

static void counts_are_known_for_constant_sizes_only(void **state) {
  Graph *g = graph_of(*state, "graph {\n sym n\n %1 = input {name=\"x\"} : f32[3,5]\n"
                              " %2 = input {name=\"y\"} : f32[n,7]\n"
                              " %3 = input {name=\"z\"} : f32[]\n}\n");
  int64_t n = 0;
  assert_true(ir_count_const(g, (Val){1}, &n));
  assert_int_equal(n, 15);
  assert_false(ir_count_const(g, (Val){2}, &n));
  assert_true(ir_count_const(g, (Val){3}, &n));
  assert_int_equal(n, 1);
  assert_true(ir_size_const(g, (Val){2}, -1, &n));
  assert_int_equal(n, 7);
  assert_false(ir_size_const(g, (Val){2}, 0, &n));
  assert_false(ir_size_const(g, (Val){2}, 2, &n));
  assert_false(ir_size_const(g, (Val){3}, -1, &n));
}

static void small_blobs_are_found_by_content(void **state) {
  Graph *g = ir_graph_new(*state);
  const int64_t a[2] = {1, 2}, b[2] = {1, 2}, c[2] = {1, 3};
  assert_int_equal(ir_blob(g, a, sizeof a, NULL).i, ir_blob_copy(g, b, sizeof b, NULL).i);
  assert_int_not_equal(ir_blob(g, a, sizeof a, NULL).i, ir_blob(g, c, sizeof c, NULL).i);
  assert_int_equal(ir_n_blobs(g), 2);
}

static void large_blobs_are_found_by_address(void **state) {
  Graph *g = ir_graph_new(*state);
  static const uint8_t a[5000], b[5000];
  assert_int_equal(ir_blob(g, a, sizeof a, "a").i, ir_blob(g, a, sizeof a, "a").i);
  assert_int_not_equal(ir_blob(g, a, sizeof a, "a").i, ir_blob(g, b, sizeof b, "b").i);
}

static void named_values_keep_their_order(void **state) {
  Graph *g = ir_graph_new(*state);
  const int64_t size[1] = {2};
  Val x = ir_input(g, "x", type_f32(g, 1, size)), y = ir_input(g, "y", type_f32(g, 1, size));
  Val s = ir_ew2(g, OP_add, x, y);
  ir_output(g, "s", s);
  ir_output(g, "x again", x);
  ir_point(g, "T.0", s);
  const Named *at = NULL;
  assert_int_equal(ir_inputs(g, &at), 2);
  assert_string_equal(at[1].name, "y");
  assert_true(val_eq(at[1].v, y));
  assert_int_equal(ir_outputs(g, &at), 2);
  assert_string_equal(at[1].name, "x again");
  assert_int_equal(ir_points(g, &at), 1);
  uint32_t *uses = ir_uses(g, *state);
  assert_int_equal(uses[x.i], 2);
  assert_int_equal(uses[y.i], 1);
  assert_int_equal(uses[s.i], 1);
}

/* ---- places --------------------------------------------------------------- */

static LocId place(Graph *g, const char *name, int32_t index) {
  return ir_loc_add(g, (Loc){"clip.onnx", name, "MatMul", index, 17, {0}});
}

static void a_place_is_told_in_words(void **state) {
  Graph *g = ir_graph_new(*state);
  DiagAt at = ir_at(g, place(g, "/text/MatMul", 412));
  assert_string_equal(at.file, "clip.onnx");
  assert_string_equal(at.place, "node 412 '/text/MatMul' (MatMul, opset 17)");
  assert_string_equal(ir_at(g, place(g, NULL, 3)).place, "node 3 (MatMul, opset 17)");
  LocId bare = ir_loc_add(g, (Loc){NULL, "a", NULL, -1, 0, {0}});
  assert_string_equal(ir_at(g, bare).place, "node 'a'");
  assert_null(ir_at(g, (LocId){0}).place);
}

static void merged_places_are_a_set_in_order(void **state) {
  Graph *g = ir_graph_new(*state);
  LocId a = place(g, "a", 1), b = place(g, "b", 2), c = place(g, "c", 3);
  LocId ab = ir_loc_merge(g, a, b), abc = ir_loc_merge(g, ab, ir_loc_merge(g, b, c));
  const char *want = "abc";
  for (LocId l = abc; l.i != 0; l = ir_loc_get(g, l)->also)
    assert_int_equal(ir_loc_get(g, l)->name[0], *want++);
  assert_int_equal(*want, '\0');
  assert_int_equal(ir_loc_merge(g, abc, a).i, abc.i);
  assert_int_equal(ir_loc_merge(g, a, (LocId){0}).i, a.i);
  assert_int_equal(ir_loc_merge(g, (LocId){0}, a).i, a.i);
}

static void chains_of_places_are_bounded(void **state) {
  Graph *g = ir_graph_new(*state);
  LocId all = {0};
  for (int32_t i = 0; i < 100; i++) all = ir_loc_merge(g, all, place(g, "n", i));
  int n = 0;
  for (LocId l = all; l.i != 0; l = ir_loc_get(g, l)->also) n++;
  assert_int_equal(n, 32);
  assert_int_equal(ir_loc_get(g, all)->index, 0);
}

/* ---- tables --------------------------------------------------------------- */

static void ops_are_found_by_name(void **state) {
  (void)state;
  for (OpCode op = OP_none + 1; op < OP__COUNT; op++) {
    OpCode found = OP_none;
    const char *name = op_info(op)->name;
    assert_true(op_find(name, strlen(name), &found));
    assert_int_equal(found, op);
  }
  OpCode none = OP_none;
  assert_false(op_find("none", 4, &none));
  assert_false(op_find("ad", 2, &none));
  assert_false(op_find("", 0, &none));
}

static void attributes_are_found_by_name(void **state) {
  (void)state;
  for (AttrKey k = A_none + 1; k < A__COUNT; k++) {
    AttrKey found = A_none;
    assert_true(attr_find(attr_name(k), strlen(attr_name(k)), &found));
    assert_int_equal(found, k);
    bool is_taken = false;
    for (OpCode op = OP_none + 1; op < OP__COUNT; op++) is_taken = is_taken || attr_takes(op, k);
    assert_true(is_taken);
  }
}

static void equal_attributes_have_equal_ids(void **state) {
  Graph *g = graph_of(*state, "graph {\n %1 = input {name=\"x\"} : f32[2,3]\n"
                              " %2 = permute %1 {perm=[1,0]} : f32[3,2]\n"
                              " %3 = permute %2 {perm=[1,0]} : f32[2,3]\n"
                              " %4 = permute %1 {perm=[0,1]} : f32[2,3]\n"
                              " %5 = exp %1 : f32[2,3]\n}\n");
  assert_int_equal(ir_attr_id(g, (Val){2}).i, ir_attr_id(g, (Val){3}).i);
  assert_int_not_equal(ir_attr_id(g, (Val){2}).i, ir_attr_id(g, (Val){4}).i);
  assert_int_equal(ir_attr_id(g, (Val){5}).i, 0);
  assert_null(ir_attr(g, (Val){5}, A_axis));
  assert_int_equal(ir_attr_int(g, (Val){5}, A_axis, -7), -7);
  assert_int_equal(ir_attr(g, (Val){2}, A_perm)->ints[0], 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(equal_types_have_equal_ids),
      TEST(counts_are_known_for_constant_sizes_only),
      TEST(small_blobs_are_found_by_content),
      TEST(large_blobs_are_found_by_address),
      TEST(named_values_keep_their_order),
      TEST(a_place_is_told_in_words),
      TEST(merged_places_are_a_set_in_order),
      TEST(chains_of_places_are_bounded),
      TEST(ops_are_found_by_name),
      TEST(attributes_are_found_by_name),
      TEST(equal_attributes_have_equal_ids),
  };
  return cmocka_run_group_tests_name("ir_graph", tests, NULL, NULL);
}
