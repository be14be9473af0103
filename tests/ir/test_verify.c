/* SPDX-License-Identifier: Apache-2.0 */
/* test_verify.c - the verifier: each invariant, broken once in the store. */
#include "ir/graph_int.h"
#include "tests/ir/ir_case.h"

static const char sound[] = "graph {\n  sym n\n"
                            "  %1 = input {name=\"x\"} : f32[n,3]\n"
                            "  %2 = input {name=\"w\"} : f32[3,5]\n"
                            "  %3 = matmul %1, %2 : f32[n,5]\n"
                            "  %4 = reduce_sum %3 {axes=[1]} : f32[n]\n"
                            "  %5 = const {value=[1,2]} : f32[2]\n"
                            "  out \"y\" %4\n  out \"c\" %5\n  point \"p\" %3\n}\n";

static const char *faults_of(const Graph *g, Spec spec) {
  Str s = {.arena = ir_arena(g)};
  bool ok = ir_verify(g, spec, &s);
  assert_int_equal(ok, s.n == 0);
  return str_text(&s);
}

static void a_sound_graph_has_no_faults(void **state) {
  Graph *g = graph_of(*state, sound);
  assert_string_equal(faults_of(g, SPEC_IMPORT), "");
  assert_string_equal(faults_of(g, SPEC_CORE), "");
}

static void an_operand_stands_before_its_user(void **state) {
  Graph *g = graph_of(*state, sound);
  g->operand.at[g->node.at[3].in_at].i = 4;
  assert_string_equal(faults_of(g, SPEC_IMPORT),
                      "%3 matmul: an operand does not stand before it\n");
}

static void ids_lie_in_their_tables(void **state) {
  Graph *g = graph_of(*state, sound);
  g->node.at[1].type.i = 0;
  g->node.at[2].attr.i = 99;
  g->node.at[3].op = OP__COUNT;
  g->node.at[4].loc.i = 99;
  g->node.at[5].n_in = 99;
  assert_string_equal(faults_of(g, SPEC_IMPORT),
                      "%1 input: it has no type\n"
                      "%2 input: its attributes are not in the table\n"
                      "%3 no op: there is no such op\n"
                      "%4 reduce_sum: its place is not in the table\n"
                      "%5 const: its operands are not in the table\n");
}

static void a_stored_type_is_the_inferred_one(void **state) {
  Graph *g = graph_of(*state, sound);
  g->node.at[4].type = g->node.at[3].type;
  assert_string_equal(faults_of(g, SPEC_IMPORT),
                      "%4 reduce_sum: its type is f32[n,5], its operands give f32[n]\n");
}

static void the_number_of_operands_is_right(void **state) {
  Graph *g = graph_of(*state, sound);
  g->node.at[3].n_in = 1;
  assert_string_equal(faults_of(g, SPEC_IMPORT),
                      "%3 matmul: the number of operands is wrong, found 1, expected 2\n");
}

static void an_attribute_belongs_to_its_op(void **state) {
  Graph *g = graph_of(*state, sound);
  g->node.at[3].attr = g->node.at[4].attr;
  assert_string_equal(
      faults_of(g, SPEC_IMPORT),
      "%3 matmul: the op has no such attribute, found axes, expected no attribute\n");
}

static void a_blob_is_in_its_table(void **state) {
  Graph *g = graph_of(*state, sound);
  g->attr.at[g->attr_list.at[g->node.at[5].attr.i].at].blob.i = 99;
  assert_string_equal(faults_of(g, SPEC_IMPORT), "%5 const: its blob is not in the table\n");
}

static void named_values_exist_and_names_differ(void **state) {
  Graph *g = graph_of(*state, sound);
  g->output.at[0].name = g->output.at[1].name;
  g->point.at[0].v.i = 99;
  assert_string_equal(faults_of(g, SPEC_IMPORT), "output 1: the name c stands twice\n"
                                                 "point 0: no such value or no name\n");
}

static void inputs_are_the_input_nodes(void **state) {
  Graph *g = graph_of(*state, sound);
  g->input.n = 1;
  assert_string_equal(faults_of(g, SPEC_IMPORT), "%2 input: it is not the next input\n"
                                                 "inputs: 1 are listed, 2 are nodes\n");
}

static void one_fault_is_reported_once(void **state) {
  Graph *g = graph_of(*state, "graph {\n  %1 = input {name=\"x\"} : f32[2]\n"
                              "  %2 = exp %1 : f32[2]\n  %3 = exp %2 : f32[2]\n"
                              "  %4 = exp %3 : f32[2]\n  out \"y\" %4\n}\n");
  const int64_t size[1] = {3};
  for (uint32_t i = 2; i <= 4; i++) g->node.at[i].type = type_f32(g, 1, size);
  assert_string_equal(faults_of(g, SPEC_IMPORT),
                      "%2 exp: its type is f32[3], its operands give f32[2]\n");
}

static void core_symbols_are_bound_by_inputs(void **state) {
  Graph *g = graph_of(*state, "graph {\n  sym n\n  %1 = iota {dims=[n]} : i64[n]\n"
                              "  out \"y\" %1\n}\n");
  assert_string_equal(faults_of(g, SPEC_IMPORT), "");
  assert_string_equal(faults_of(g, SPEC_CORE),
                      "%1 iota: it has a symbol that no input's size gives\n");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(a_sound_graph_has_no_faults),
      TEST(an_operand_stands_before_its_user),
      TEST(ids_lie_in_their_tables),
      TEST(a_stored_type_is_the_inferred_one),
      TEST(the_number_of_operands_is_right),
      TEST(an_attribute_belongs_to_its_op),
      TEST(a_blob_is_in_its_table),
      TEST(named_values_exist_and_names_differ),
      TEST(inputs_are_the_input_nodes),
      TEST(one_fault_is_reported_once),
      TEST(core_symbols_are_bound_by_inputs),
  };
  return cmocka_run_group_tests_name("ir_verify", tests, NULL, NULL);
}
