/* SPDX-License-Identifier: Apache-2.0 */
/* test_errors.c - the exact words of the importer's errors: code, file, node,
** found and expected, next step. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "onnx_build.h"
#include "onnx_run.h"

typedef struct {
  Arena *a;
  Build b;
} Setup;

static int begin(void **state) {
  Setup *s = calloc(1, sizeof *s);
  s->a = arena_new(0);
  s->b = build_new(s->a, 17);
  build_input(&s->b, "x", ONNX_FLOAT, "batch,4");
  *state = s;
  return 0;
}

static int end(void **state) {
  Setup *s = *state;
  arena_free(s->a);
  free(s);
  return 0;
}

/* Imports the model as ./m.onnx, so that the text has no folder. */
static void assert_text(Setup *s, const char *want) {
  assert_int_equal(chdir(scratch_folder()), 0);
  build_write(&s->b, "m.onnx");
  Imported x = imported_new("m.onnx", NULL);
  assert_null(x.g);
  assert_string_equal(diag_text(x.d), want);
  imported_free(&x);
}

static void output(Setup *s, const char *name) { build_output(&s->b, name, ONNX_FLOAT, NULL); }

static void test_sizes_that_do_not_fit(void **state) {
  Setup *s = *state;
  build_floats(&s->b, "w", "5,2", 1, 10);
  build_node(&s->b, "MatMul", "x,w", "y")->name = arena_strdup(s->a, "/text/MatMul");
  output(s, "y");
  assert_text(
      s,
      "vlpc: error[E0203]: m.onnx: node 0 '/text/MatMul' (MatMul, opset 17): inner sizes differ\n"
      "  found:    f32[batch,4] and f32[5,2]\n"
      "  expected: 4 and 5 equal\n"
      "  note:     inputs are 'x' f32[batch,4], 'w' f32[5,2]\n");
}

static void test_all_unsupported_nodes_are_in_one_report(void **state) {
  Setup *s = *state;
  build_node(&s->b, "Sin", "x", "a");
  build_node(&s->b, "MatMull", "a,a", "b");
  build_node(&s->b, "Abs", "b", "c");
  build_node(&s->b, "SkipLayerNormalization", "c", "d")->domain =
      arena_strdup(s->a, "com.microsoft");
  build_node(&s->b, "Gelu", "d", "y");
  output(s, "y");
  assert_text(
      s,
      "vlpc: error[E0207]: m.onnx: node 0 'a' (Sin, opset 17): the operator is not supported\n"
      "  fix:      export for inference with opset_version=17; docs/onnx.md lists what is "
      "supported\n"
      "vlpc: error[E0207]: m.onnx: node 1 'b' (MatMull, opset 17): the operator is not supported\n"
      "  note:     a supported operator has a similar name: MatMul\n"
      "  fix:      export for inference with opset_version=17; docs/onnx.md lists what is "
      "supported\n"
      "vlpc: error[E0207]: m.onnx: node 3 'd' (SkipLayerNormalization, opset 1): the operator is "
      "not supported\n"
      "  found:    SkipLayerNormalization of domain 'com.microsoft'\n"
      "  fix:      use the model as exported, before ONNX Runtime optimised it\n"
      "vlpc: error[E0207]: m.onnx: node 4 'y' (Gelu, opset 17): this version of the operator is "
      "not "
      "supported\n"
      "  fix:      export again with opset_version=20 or later\n");
}

static void test_an_operator_set_that_is_too_old(void **state) {
  Setup *s = *state;
  s->b.model.opset_import[0]->version = 9;
  build_node(&s->b, "Abs", "x", "y");
  output(s, "y");
  assert_text(s, "vlpc: error[E0206]: m.onnx: the operator set is not supported\n"
                 "  found:    opset 9\n"
                 "  expected: opset 11 to 27\n"
                 "  fix:      export again with opset_version=17\n");
}

static void test_a_file_that_is_not_onnx(void **state) {
  (void)state;
  assert_int_equal(chdir(scratch_folder()), 0);
  write_file("m.onnx", "{\"a\": 1}", 8);
  Imported x = imported_new("m.onnx", NULL);
  assert_string_equal(diag_text(x.d),
                      "vlpc: error[E0201]: m.onnx: byte 0: groups are not part of ONNX\n"
                      "  fix:      check that the file is an ONNX model and was copied whole\n");
  assert_int_equal(x.status, VLPC_E_BAD_FILE);
  imported_free(&x);
}

static void test_a_missing_file(void **state) {
  (void)state;
  assert_int_equal(chdir(scratch_folder()), 0);
  Imported x = imported_new("no.onnx", NULL);
  assert_string_equal(diag_text(x.d),
                      "vlpc: error[E0101]: no.onnx: cannot be opened: No such file or directory\n"
                      "  fix:      check the spelling of the path and of its folders\n");
  imported_free(&x);
}

static void test_a_value_that_nothing_makes_is_said_once(void **state) {
  Setup *s = *state;
  build_node(&s->b, "Add", "x,typo", "a");
  build_node(&s->b, "Add", "a,typo", "y");
  output(s, "y");
  assert_text(s, "vlpc: error[E0211]: m.onnx: node 0 'a' (Add, opset 17): 'typo' is used but "
                 "nothing makes it\n"
                 "  expected: an input, an initializer or the output of an earlier node\n");
}

static void test_a_cycle(void **state) {
  Setup *s = *state;
  build_node(&s->b, "Add", "x,y", "a");
  build_node(&s->b, "Abs", "a", "y");
  output(s, "y");
  assert_text(
      s, "vlpc: error[E0222]: m.onnx: node 0 'a' (Add, opset 17): 'y' is used before it is made\n"
         "  found:    made by node 1 'y'\n"
         "  expected: nodes in topological order, without cycles\n");
}

static void test_a_name_defined_twice(void **state) {
  Setup *s = *state;
  build_node(&s->b, "Abs", "x", "y");
  build_node(&s->b, "Neg", "x", "y");
  output(s, "y");
  assert_text(
      s, "vlpc: error[E0212]: m.onnx: node 1 'y' (Neg, opset 17): the name 'y' is defined twice\n");
}

static void test_an_element_type_that_does_not_fit(void **state) {
  Setup *s = *state;
  build_input(&s->b, "ids", ONNX_INT64, "batch,4");
  build_node(&s->b, "Add", "x,ids", "a");
  build_node(&s->b, "Erf", "ids", "y");
  output(s, "y");
  assert_text(
      s,
      "vlpc: error[E0209]: m.onnx: node 0 'a' (Add, opset 17): input 1 has the wrong element type\n"
      "  found:    i64\n"
      "  expected: f32, as input 0\n"
      "vlpc: error[E0209]: m.onnx: node 1 'y' (Erf, opset 17): input 0 has the wrong element type\n"
      "  found:    i64\n"
      "  expected: f16, bf16, f32 or f64\n");
}

static void test_the_wrong_number_of_inputs(void **state) {
  Setup *s = *state;
  build_node(&s->b, "Add", "x", "y");
  output(s, "y");
  assert_text(s, "vlpc: error[E0210]: m.onnx: node 0 'y' (Add, opset 17): the node has the wrong "
                 "number of inputs\n"
                 "  found:    1\n"
                 "  expected: 2\n");
}

static void test_attributes(void **state) {
  Setup *s = *state;
  Onnx__NodeProto *n = build_node(&s->b, "Concat", "x,x", "a");
  build_attr(s->a, n, "axis", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
  build_attr_int(s->a, build_node(&s->b, "Softmax", "x", "b"), "axes", 1);
  build_attr_int(s->a, build_node(&s->b, "Softmax", "x", "c"), "axis", 2);
  build_node(&s->b, "Cast", "x", "y");
  output(s, "y");
  assert_text(
      s,
      "vlpc: error[E0208]: m.onnx: node 0 'a' (Concat, opset 17): attribute 'axis' has the wrong "
      "kind\n"
      "  found:    a float\n"
      "  expected: an int\n"
      "vlpc: error[E0208]: m.onnx: node 1 'b' (Softmax, opset 17): attribute 'axes' is not known\n"
      "  expected: axis\n"
      "vlpc: error[E0208]: m.onnx: node 2 'c' (Softmax, opset 17): the axis is out of range\n"
      "  found:    axis 2\n"
      "  expected: -2 to 1\n"
      "vlpc: error[E0208]: m.onnx: node 3 'y' (Cast, opset 17): attribute 'to' is missing\n");
}

static void test_a_shape_that_depends_on_data(void **state) {
  Setup *s = *state;
  build_input(&s->b, "sizes", ONNX_INT64, "2");
  build_node(&s->b, "Reshape", "x,sizes", "y");
  output(s, "y");
  assert_text(s, "vlpc: error[E0220]: m.onnx: node 0 'y' (Reshape, opset 17): the sizes to reshape "
                 "to must be known at compile time\n"
                 "  found:    input 1 'sizes' is computed from the model's data\n"
                 "  fix:      export with this value as a constant or derived from input shapes\n");
}

static void test_a_branch_that_depends_on_data(void **state) {
  Setup *s = *state;
  build_input(&s->b, "c", ONNX_BOOL, "");
  Onnx__NodeProto *n = build_node(&s->b, "If", "c", "y");
  build_attr(s->a, n, "then_branch", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH)->g =
      build_graph(s->a);
  build_attr(s->a, n, "else_branch", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH)->g =
      build_graph(s->a);
  output(s, "y");
  assert_text(s,
              "vlpc: error[E0213]: m.onnx: node 0 'y' (If, opset 17): the condition of If must be "
              "known at compile time\n"
              "  found:    'c' depends on the model's inputs\n"
              "  fix:      export with fixed sizes, or with a newer exporter that needs no If\n");
}

static void test_a_function_that_calls_itself(void **state) {
  Setup *s = *state;
  Onnx__FunctionProto *f = build_function(&s->b, "l", "F", "p", "q");
  build_function_node(&s->b, f, "F", "p", "q")->domain = arena_strdup(s->a, "l");
  build_node(&s->b, "F", "x", "y")->domain = arena_strdup(s->a, "l");
  output(s, "y");
  assert_text(s,
              "vlpc: error[E0221]: m.onnx: node 0 'F/q' (F, opset 1): the function calls itself\n");
}

static void test_tensors(void **state) {
  Setup *s = *state;
  build_floats(&s->b, "w", "3", 1, 2);
  build_initializer(s->a, s->b.graph, build_tensor(s->a, "q", 17, "1", "a", 1));
  Onnx__TensorProto *t = build_tensor(s->a, "e", ONNX_FLOAT, "2", "", 0);
  build_external(t, s->a, "location", "../w.bin");
  build_initializer(s->a, s->b.graph, t);
  t = build_tensor(s->a, "m", ONNX_FLOAT, "2", "", 0);
  build_external(t, s->a, "location", "gone.bin");
  build_initializer(s->a, s->b.graph, t);
  build_node(&s->b, "Add", "x,w", "y");
  output(s, "y");
  assert_text(
      s,
      "vlpc: error[E0215]: m.onnx: initializer 0 'w': the tensor's data do not fit its shape\n"
      "  found:    8 bytes\n"
      "  expected: 12\n"
      "vlpc: error[E0218]: m.onnx: initializer 1 'q': the tensor's element type is not supported\n"
      "  found:    float8e4m3fn (17)\n"
      "  expected: float, float16, bfloat16, double, int8 … int64, uint8 … uint64 or bool\n"
      "  fix:      export the model in float32 or float16\n"
      "vlpc: error[E0216]: m.onnx: initializer 2 'e': external data leave the model's folder\n"
      "  found:    location '../w.bin'\n"
      "  expected: a file in the model's folder, named relative to it\n"
      "  fix:      put the file beside the model, or allow its folder with --allow-external-root\n"
      "vlpc: error[E0223]: m.onnx: initializer 3 'm': external data cannot be opened: no such "
      "file\n"
      "  found:    location 'gone.bin'\n"
      "  fix:      copy the data file to the model's folder; it belongs to the model\n");
}

static void test_forms_that_are_not_supported(void **state) {
  Setup *s = *state;
  static const int64_t at[2] = {0, 1};
  build_ints(&s->b, "at", "1,2", at, 2);
  build_floats(&s->b, "v", "1", 1, 1);
  Onnx__AttributeProto *t =
      build_attr(s->a, build_node(&s->b, "ScatterND", "x,at,v", "a"), "reduction",
                 ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);
  t->has_s = true;
  t->s = (ProtobufCBinaryData){3, (uint8_t *)arena_strdup(s->a, "add")};
  t = build_attr(s->a, build_node(&s->b, "Einsum", "x,x", "y"), "equation",
                 ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);
  t->has_s = true;
  t->s = (ProtobufCBinaryData){9, (uint8_t *)arena_strdup(s->a, "ij,k->ijk")};
  output(s, "y");
  assert_text(s, "vlpc: error[E0214]: m.onnx: node 0 'a' (ScatterND, opset 17): scattering with a "
                 "reduction is not supported\n"
                 "  found:    reduction 'add'\n"
                 "  expected: 'none'\n"
                 "vlpc: error[E0214]: m.onnx: node 1 'y' (Einsum, opset 17): the equation does not "
                 "fit its operands\n"
                 "  found:    \"ij,k->ijk\"\n");
}

static void test_inputs_and_outputs(void **state) {
  Setup *s = *state;
  build_input(&s->b, "noshape", ONNX_FLOAT, NULL);
  build_input(&s->b, "text", 8, "2");
  build_input(&s->b, "x", ONNX_FLOAT, "2");
  build_node(&s->b, "Abs", "x", "y");
  build_output(&s->b, "y", ONNX_INT64, NULL);
  build_output(&s->b, "gone", ONNX_FLOAT, NULL);
  assert_text(s, "vlpc: error[E0219]: m.onnx: input 1 'noshape': its shape is missing\n"
                 "  fix:      export with the input's rank known; sizes may be named\n"
                 "vlpc: error[E0219]: m.onnx: input 2 'text': its element type is not supported\n"
                 "  found:    string (8)\n"
                 "vlpc: error[E0212]: m.onnx: input 3 'x': the name is defined twice\n"
                 "vlpc: error[E0219]: m.onnx: output 0 'y': the output's declared element type is "
                 "not what its node makes\n"
                 "  found:    f32\n"
                 "  expected: i64\n"
                 "vlpc: error[E0211]: m.onnx: output 1 'gone': nothing makes this output\n");
}

static void test_a_file_without_a_graph(void **state) {
  Setup *s = *state;
  s->b.model.graph = NULL;
  assert_text(s, "vlpc: error[E0205]: m.onnx: the file holds no graph\n"
                 "  fix:      check that the file is an ONNX model\n");
}

static void test_twenty_errors_are_shown_and_the_rest_counted(void **state) {
  Setup *s = *state;
  for (int i = 0; i < 25; i++) build_node(&s->b, "Sin", "x", arena_printf(s->a, "y%d", i));
  output(s, "y0");
  assert_int_equal(chdir(scratch_folder()), 0);
  build_write(&s->b, "m.onnx");
  Imported x = imported_new("m.onnx", NULL);
  assert_int_equal(diag_count(x.d), 25);
  assert_int_equal(x.status, VLPC_E_UNSUPPORTED);
  assert_non_null(strstr(diag_text(x.d), "node 19 'y19'"));
  assert_null(strstr(diag_text(x.d), "node 20 'y20'"));
  assert_non_null(strstr(diag_text(x.d), "vlpc: and 5 more errors\n"));
  imported_free(&x);
}

#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void) {
  const struct CMUnitTest tests[] = {
      T(test_sizes_that_do_not_fit),
      T(test_all_unsupported_nodes_are_in_one_report),
      T(test_an_operator_set_that_is_too_old),
      T(test_a_file_that_is_not_onnx),
      T(test_a_missing_file),
      T(test_a_value_that_nothing_makes_is_said_once),
      T(test_a_cycle),
      T(test_a_name_defined_twice),
      T(test_an_element_type_that_does_not_fit),
      T(test_the_wrong_number_of_inputs),
      T(test_attributes),
      T(test_a_shape_that_depends_on_data),
      T(test_a_branch_that_depends_on_data),
      T(test_a_function_that_calls_itself),
      T(test_tensors),
      T(test_forms_that_are_not_supported),
      T(test_inputs_and_outputs),
      T(test_a_file_without_a_graph),
      T(test_twenty_errors_are_shown_and_the_rest_counted),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
