/* SPDX-License-Identifier: Apache-2.0 */
/* test_rewrite.c - rebuilding: replacement, what follows and what is dropped,
** places, and extraction. */
#include "ir/graph_int.h"
#include "tests/ir/ir_case.h"

static const char two_towers[] =
    "graph {\n  sym batch\n  sym classes\n"
    "  %1 = input {name=\"image\"} : f32[batch,4]\n"
    "  %2 = input {name=\"text\"} : f32[classes,4]\n"
    "  %3 = exp %1 : f32[batch,4]  @\"/exp\"\n"
    "  %4 = tanh %2 : f32[classes,4]  @\"/tanh\"\n"
    "  %5 = neg %3 : f32[batch,4]  @\"/neg\"\n"
    "  %6 = iota {dims=[classes]} : i64[classes]\n"
    "  out \"image_features\" %5\n  out \"text_features\" %4\n  out \"ids\" %6\n"
    "  point \"V.0\" %3\n  point \"T.0\" %4\n}\n";

/* neg(x) becomes 0 - x, exp(x) becomes x. */
static Val replace(Rewrite *rw, Val v, const Val *in, uint32_t n_in) {
  ++*(int *)rw->ctx;
  if (ir_op(rw->src, v) == OP_exp) return in[0];
  if (ir_op(rw->src, v) != OP_neg) return VAL_NONE;
  assert_int_equal(n_in, 1);
  return ir_ew2(rw->dst, OP_sub, ir_scalar(rw->dst, VLPC_F32, 0), in[0]);
}

static void replacements_take_the_place_of_nodes(void **state) {
  Graph *g = graph_of(*state, two_towers);
  int n_asked = 0;
  bool changed = false;
  Graph *to = ir_rewrite(g, *state, replace, &n_asked, &changed);
  assert_true(changed);
  assert_int_equal(n_asked, 6);
  assert_string_equal(text_of(to, PRINT_LOCS),
                      "graph {\n  sym batch\n  sym classes\n"
                      "  %1 = input {name=\"image\"} : f32[batch,4]\n"
                      "  %2 = input {name=\"text\"} : f32[classes,4]\n"
                      "  %3 = tanh %2 : f32[classes,4]  @\"/tanh\"\n"
                      "  %4 = const {value=[0]} : f32[]  @\"/neg\"\n"
                      "  %5 = sub %4, %1 : f32[batch,4]  @\"/neg\"\n"
                      "  %6 = iota {dims=[classes]} : i64[classes]\n"
                      "  out \"image_features\" %5\n  out \"text_features\" %3\n"
                      "  out \"ids\" %6\n  point \"V.0\" %1\n  point \"T.0\" %3\n}\n");
}

static void nothing_replaced_is_not_changed(void **state) {
  Graph *g = graph_of(*state, two_towers);
  bool changed = true;
  Graph *to = ir_rewrite(g, *state, NULL, NULL, &changed);
  assert_false(changed);
  assert_string_equal(text_of(to, PRINT_LOCS), text_of(g, PRINT_LOCS));
}

/* tanh(x) gives way to the older exp(x). */
static Val to_older(Rewrite *rw, Val v, const Val *in, uint32_t n_in) {
  (void)n_in;
  return ir_op(rw->src, v) == OP_tanh ? ir_ew1(rw->dst, OP_exp, in[0]) : VAL_NONE;
}

static void places_merge_into_the_older_node(void **state) {
  Graph *g = graph_of(*state, "graph {\n  %1 = input {name=\"x\"} : f32[4]\n"
                              "  %2 = exp %1 : f32[4]  @\"/a\"\n"
                              "  %3 = tanh %1 : f32[4]  @\"/b\"\n"
                              "  %4 = add %2, %3 : f32[4]  @\"/c\"\n  out \"y\" %4\n}\n");
  assert_string_equal(text_of(ir_rewrite(g, *state, to_older, NULL, NULL), PRINT_LOCS),
                      "graph {\n  %1 = input {name=\"x\"} : f32[4]\n"
                      "  %2 = exp %1 : f32[4]  @\"/a\"  @\"/b\"\n"
                      "  %3 = add %2, %2 : f32[4]  @\"/c\"\n  out \"y\" %3\n}\n");
}

/* An input bound to a constant. */
static Val bind_input(Rewrite *rw, Val v, const Val *in, uint32_t n_in) {
  (void)in;
  if (ir_op(rw->src, v) != OP_input) return VAL_NONE;
  assert_int_equal(n_in, 0);
  assert_int_equal(ir_op(rw->dst, rw->map[v.i]), OP_input);
  return ir_scalar(rw->dst, VLPC_F32, 3);
}

static void a_bound_input_folds_and_still_stands(void **state) {
  Graph *g = graph_of(*state, "graph {\n  %1 = input {name=\"x\"} : f32[]\n"
                              "  %2 = neg %1 : f32[]\n  out \"y\" %2\n}\n");
  assert_string_equal(text_of(ir_rewrite(g, *state, bind_input, NULL, NULL), 0),
                      "graph {\n  %1 = input {name=\"x\"} : f32[]\n"
                      "  %2 = const {value=[-3]} : f32[]\n  out \"y\" %2\n}\n");
}

static void ids_of_types_sizes_and_places_stay(void **state) {
  Graph *g = graph_of(*state, two_towers);
  Graph *to = ir_rewrite(g, *state, NULL, NULL, NULL);
  for (uint32_t i = 1; i <= ir_n_vals(g); i++) {
    assert_int_equal(ir_type_id(to, (Val){i}).i, ir_type_id(g, (Val){i}).i);
    assert_int_equal(ir_loc(to, (Val){i}).i, ir_loc(g, (Val){i}).i);
  }
}

static void owned_constants_outlive_their_arena(void **state) {
  Arena *first = arena_new(0);
  Graph *g = graph_of(first, "graph {\n  %1 = const {value=[1,2,3]} : f32[3]  @\"/w\"\n"
                             "  out \"y\" %1\n}\n");
  Graph *to = ir_rewrite(g, *state, NULL, NULL, NULL);
  assert_ptr_not_equal(ir_blob_get(to, (BlobId){1})->data, ir_blob_get(g, (BlobId){1})->data);
  arena_free(first);
  assert_string_equal(text_of(to, PRINT_LOCS),
                      "graph {\n  %1 = const {value=[1,2,3]} : f32[3]  @\"/w\"\n"
                      "  out \"y\" %1\n}\n");
}

static void a_rebuilt_graph_goes_on_sharing(void **state) {
  Graph *g = ir_rewrite(graph_of(*state, two_towers), *state, NULL, NULL, NULL);
  uint32_t n = ir_n_vals(g);
  assert_int_equal(ir_ew1(g, OP_exp, (Val){1}).i, 3);
  assert_int_equal(ir_n_vals(g), n);
}

static void blobs_without_nodes_go(void **state) {
  static const float w[2][2000];
  Graph *g = ir_graph_new(*state);
  const int64_t size[1] = {2000};
  ir_const(g, type_f32(g, 1, size), ir_blob(g, w[0], sizeof w[0], "dead"));
  Val c = ir_const(g, type_f32(g, 1, size), ir_blob(g, w[1], sizeof w[1], "live"));
  ir_output(g, "w", c);
  Graph *to = ir_rewrite(g, *state, NULL, NULL, NULL);
  assert_int_equal(ir_n_blobs(to), 1);
  assert_string_equal(ir_blob_get(to, (BlobId){1})->name, "live");
  assert_ptr_equal(ir_blob_get(to, (BlobId){1})->data, w[1]);
}

/* ---- extraction ----------------------------------------------------------- */

static void an_extract_has_one_towers_nodes(void **state) {
  Graph *g = graph_of(*state, two_towers);
  const Named want = {"image_features", VAL_NONE};
  assert_string_equal(text_of(ir_extract(g, *state, &want, 1), 0),
                      "graph {\n  sym batch\n  sym classes\n"
                      "  %1 = input {name=\"image\"} : f32[batch,4]\n"
                      "  %2 = exp %1 : f32[batch,4]\n  %3 = neg %2 : f32[batch,4]\n"
                      "  out \"image_features\" %3\n  point \"V.0\" %2\n}\n");
}

static void an_extract_may_end_at_a_point_or_value(void **state) {
  Graph *g = graph_of(*state, two_towers);
  const Named want[2] = {{"V.0", VAL_NONE}, {"mine", {4}}};
  const Named *at = NULL;
  Graph *to = ir_extract(g, *state, want, 2);
  assert_int_equal(ir_outputs(to, &at), 2);
  assert_int_equal(ir_op(to, at[0].v), OP_exp);
  assert_string_equal(at[1].name, "mine");
  assert_int_equal(ir_op(to, at[1].v), OP_tanh);
  const Named unknown = {"V.1", VAL_NONE};
  assert_null(ir_extract(g, *state, &unknown, 1));
}

static void an_input_that_binds_a_symbol_stays(void **state) {
  Graph *g = graph_of(*state, two_towers);
  const Named want = {"ids", VAL_NONE};
  const Named *at = NULL;
  Graph *to = ir_extract(g, *state, &want, 1);
  assert_int_equal(ir_inputs(to, &at), 1);
  assert_string_equal(at[0].name, "text");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(replacements_take_the_place_of_nodes),
      TEST(nothing_replaced_is_not_changed),
      TEST(places_merge_into_the_older_node),
      TEST(a_bound_input_folds_and_still_stands),
      TEST(ids_of_types_sizes_and_places_stay),
      TEST(owned_constants_outlive_their_arena),
      TEST(a_rebuilt_graph_goes_on_sharing),
      TEST(blobs_without_nodes_go),
      TEST(an_extract_has_one_towers_nodes),
      TEST(an_extract_may_end_at_a_point_or_value),
      TEST(an_input_that_binds_a_symbol_stays),
  };
  return cmocka_run_group_tests_name("ir_rewrite", tests, NULL, NULL);
}
