/* SPDX-License-Identifier: Apache-2.0 */
/* test_import.c - facts of the importer on small models made here: symbols,
** constants, branches, functions, sequences, external data. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
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
  *state = s;
  return 0;
}

static int end(void **state) {
  Setup *s = *state;
  arena_free(s->a);
  free(s);
  return 0;
}

static const char *model_path(Setup *s) {
  return arena_printf(s->a, "%s/model.onnx", scratch_folder());
}

static Imported import(Setup *s) {
  build_write(&s->b, model_path(s));
  return imported_new(model_path(s), NULL);
}

/* The graph's text without places, or the errors. */
static const char *text_of(Setup *s, Imported *x) {
  Str out = {.arena = s->a};
  if (!x->g) return arena_strdup(s->a, diag_text(x->d));
  ir_print(x->g, 0, &out);
  return str_text(&out);
}

static void assert_symbols(const Imported *x, const char *const *names, uint32_t n) {
  DimTable *t = ir_dims(x->g);
  assert_int_equal(dim_n_symbols(t), n);
  for (uint32_t i = 0; i < n; i++) assert_string_equal(dim_symbol_name(t, i), names[i]);
}

static double only_output(Imported *x) {
  RefTensor out[1];
  if (!x->g || imported_run(x, EVAL_ROUND, NULL, out) != VLPC_OK) fail_msg("%s", diag_text(x->d));
  return out[0].f ? out[0].f[0] : (double)out[0].i[0];
}

/* ---- symbols ------------------------------------------------------------ */

static void test_one_name_on_images_and_texts_gives_two_symbols(void **state) {
  Setup *s = *state;
  build_input(&s->b, "image", ONNX_FLOAT, "batch,3,8,8");
  build_input(&s->b, "text", ONNX_INT64, "batch,16");
  build_input(&s->b, "mask", ONNX_INT64, "batch,16");
  build_node(&s->b, "Abs", "image", "y");
  build_node(&s->b, "Add", "text,mask", "z");
  build_output(&s->b, "y", ONNX_FLOAT, "batch,3,8,8");
  build_output(&s->b, "z", ONNX_INT64, "batch,16");
  Imported x = import(s);
  assert_non_null(x.g);
  assert_symbols(&x, (const char *const[]){"batch", "batch_text"}, 2);
  imported_free(&x);
}

static void test_sizes_without_a_name_get_one(void **state) {
  Setup *s = *state;
  build_input(&s->b, "pixel values", ONNX_FLOAT, ",3");
  build_node(&s->b, "Abs", "pixel values", "y");
  build_output(&s->b, "y", ONNX_FLOAT, NULL);
  Imported x = import(s);
  assert_non_null(x.g);
  assert_symbols(&x, (const char *const[]){"pixel_values_0"}, 1);
  imported_free(&x);
}

static void test_symbols_that_an_operator_needs_equal_become_one(void **state) {
  Setup *s = *state;
  build_input(&s->b, "ids", ONNX_INT64, "n_ids,16");
  build_input(&s->b, "mask", ONNX_INT64, "n_mask,16");
  build_node(&s->b, "Mul", "ids,mask", "y");
  build_output(&s->b, "y", ONNX_INT64, "n_ids,16");
  Imported x = import(s);
  assert_non_null(x.g);
  assert_symbols(&x, (const char *const[]){"n_ids"}, 1);
  imported_free(&x);
}

static void test_a_size_that_the_export_baked_in_is_a_number(void **state) {
  Setup *s = *state;
  static const int64_t shape[3] = {16, 8, 4};
  build_input(&s->b, "x", ONNX_FLOAT, "batch,seq,4");
  build_ints(&s->b, "shape", "3", shape, 3);
  build_floats(&s->b, "mask", "8,4", 1, 32);
  build_node(&s->b, "Add", "x,mask", "a");
  build_node(&s->b, "Reshape", "a,shape", "y");
  build_output(&s->b, "y", ONNX_FLOAT, NULL);
  Imported x = import(s);
  if (!x.g) fail_msg("%s", diag_text(x.d));
  const Named *in;
  int64_t size[2] = {0};
  assert_int_equal(ir_inputs(x.g, &in), 1);
  for (int i = 0; i < 2; i++) assert_true(ir_size_const(x.g, in[0].v, i, &size[i]));
  assert_true(size[0] == 16 && size[1] == 8);
  imported_free(&x);
}

static void test_an_initializer_that_is_also_an_input_is_a_constant(void **state) {
  Setup *s = *state;
  build_input(&s->b, "w", ONNX_FLOAT, "2");
  build_floats(&s->b, "w", "2", 3, 2);
  build_node(&s->b, "Neg", "w", "y");
  build_output(&s->b, "y", ONNX_FLOAT, "2");
  Imported x = import(s);
  assert_non_null(x.g);
  const Named *in;
  assert_int_equal(ir_inputs(x.g, &in), 0);
  assert_true(only_output(&x) == -3);
  imported_free(&x);
}

/* ---- constants ---------------------------------------------------------- */

static void test_large_weights_are_not_copied(void **state) {
  Setup *s = *state;
  build_input(&s->b, "x", ONNX_FLOAT, "n,1024");
  build_floats(&s->b, "w", "1024,1024", 0.5f, 1 << 20);
  build_node(&s->b, "MatMul", "x,w", "y");
  build_output(&s->b, "y", ONNX_FLOAT, "n,1024");
  Imported x = import(s);
  assert_non_null(x.g);
  assert_true(arena_bytes(x.a) < 1 << 20);
  assert_non_null(strstr(text_of(s, &x), "f32[1024,1024]"));
  imported_free(&x);
}

static void test_weights_in_half_stay_half_and_are_cast(void **state) {
  Setup *s = *state;
  static const uint16_t half[2] = {0x3c00, 0xc000}; /* 1, -2 */
  Onnx__TensorProto *t = build_tensor(s->a, "w", ONNX_FLOAT16, "2", half, sizeof half);
  build_initializer(s->a, s->b.graph, t);
  build_input(&s->b, "x", ONNX_FLOAT, "2");
  build_attr_int(s->a, build_node(&s->b, "Cast", "w", "f"), "to", ONNX_FLOAT);
  build_node(&s->b, "Mul", "x,f", "y");
  build_output(&s->b, "y", ONNX_FLOAT, "2");
  Imported x = import(s);
  assert_non_null(x.g);
  RefTensor in = ref_tensor(x.a, VLPC_F32, 1, (const int64_t[]){2}), out[1];
  in.f[0] = 5;
  in.f[1] = 7;
  assert_int_equal(imported_run(&x, EVAL_ROUND, &in, out), VLPC_OK);
  assert_true(out[0].f[0] == 5 && out[0].f[1] == -14);
  imported_free(&x);
}

/* ---- branches, functions, sequences ------------------------------------- */

static void test_a_constant_branch_is_taken(void **state) {
  Setup *s = *state;
  static const char yes = 1;
  build_initializer(s->a, s->b.graph, build_tensor(s->a, "c", ONNX_BOOL, "", &yes, 1));
  build_floats(&s->b, "one", "", 1, 1);
  Onnx__GraphProto *branch[2];
  for (int i = 0; i < 2; i++) {
    branch[i] = build_graph(s->a);
    build_node_in(s->a, branch[i], i ? "Neg" : "Identity", "one", "r");
    Build inner = {.a = s->a, .graph = branch[i]};
    build_output(&inner, "r", ONNX_FLOAT, "");
  }
  Onnx__NodeProto *n = build_node(&s->b, "If", "c", "y");
  build_attr(s->a, n, "then_branch", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH)->g = branch[1];
  build_attr(s->a, n, "else_branch", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH)->g = branch[0];
  build_output(&s->b, "y", ONNX_FLOAT, "");
  Imported x = import(s);
  assert_true(only_output(&x) == -1);
  imported_free(&x);
}

static void test_functions_are_inlined_with_their_attributes(void **state) {
  Setup *s = *state;
  build_floats(&s->b, "m", "2,3", 1, 6);
  Onnx__FunctionProto *f = build_function(&s->b, "local", "Total", "a", "b");
  Onnx__NodeProto *n = build_function_node(&s->b, f, "ReduceMean", "a", "t");
  Onnx__AttributeProto *axes =
      build_attr(s->a, n, "axes", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
  axes->ref_attr_name = arena_strdup(s->a, "over");
  build_attr_int(s->a, n, "keepdims", 0);
  build_function_node(&s->b, f, "ReduceSum", "t", "b");
  Onnx__NodeProto *call = build_node(&s->b, "Total", "m", "y");
  call->domain = arena_strdup(s->a, "local");
  Onnx__AttributeProto *over =
      build_attr(s->a, call, "over", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
  over->n_ints = 1;
  over->ints = arena_array(s->a, int64_t, 1);
  over->ints[0] = 0;
  build_output(&s->b, "y", ONNX_FLOAT, NULL);
  Imported x = import(s);
  assert_true(only_output(&x) == 3); /* mean over axis 0 leaves three ones */
  imported_free(&x);
}

static void test_sequences_vanish(void **state) {
  Setup *s = *state;
  static const float v[4] = {1, 2, 3, 4};
  static const int64_t two = 2;
  build_initializer(s->a, s->b.graph, build_tensor(s->a, "x", ONNX_FLOAT, "4", v, sizeof v));
  build_ints(&s->b, "at", "", &two, 1);
  build_node(&s->b, "SplitToSequence", "x", "parts");
  build_node(&s->b, "SequenceAt", "parts,at", "y");
  build_output(&s->b, "y", ONNX_FLOAT, NULL);
  Imported x = import(s);
  assert_true(only_output(&x) == 3);
  imported_free(&x);
}

static void test_rows_of_two_dynamic_axes_are_gathered(void **state) {
  Setup *s = *state;
  static const int64_t flat[2] = {-1, 4};
  build_input(&s->b, "x", ONNX_FLOAT, "n,l,4");
  build_ints(&s->b, "flat", "2", flat, 2);
  build_input(&s->b, "at", ONNX_INT64, "k");
  build_node(&s->b, "Reshape", "x,flat", "rows");
  build_node(&s->b, "Gather", "rows,at", "y");
  build_output(&s->b, "y", ONNX_FLOAT, "k,4");
  Imported x = import(s);
  if (!x.g) fail_msg("%s", diag_text(x.d));
  RefTensor in[2] = {ref_tensor(x.a, VLPC_F32, 3, (const int64_t[]){2, 3, 4}),
                     ref_tensor(x.a, VLPC_I64, 1, (const int64_t[]){3})}, out[1];
  for (int64_t i = 0; i < 24; i++) in[0].f[i] = (double)i;
  in[1].i[0] = 0;
  in[1].i[1] = 4;
  in[1].i[2] = -1;
  assert_int_equal(imported_run(&x, EVAL_ROUND, in, out), VLPC_OK);
  assert_true(out[0].f[0] == 0 && out[0].f[4] == 16 && out[0].f[8] == 20);
  imported_free(&x);
}

/* ---- places ------------------------------------------------------------- */

static void test_nodes_keep_their_place_in_the_file(void **state) {
  Setup *s = *state;
  build_input(&s->b, "x", ONNX_FLOAT, "n");
  build_node(&s->b, "Abs", "x", "a");
  build_node(&s->b, "Exp", "a", "y")->name = arena_strdup(s->a, "/text/Exp");
  build_output(&s->b, "y", ONNX_FLOAT, "n");
  Imported x = import(s);
  assert_non_null(x.g);
  const Named *out;
  ir_outputs(x.g, &out);
  DiagAt at = ir_at(x.g, ir_loc(x.g, out[0].v));
  assert_string_equal(at.place, "node 1 '/text/Exp' (Exp, opset 17)");
  imported_free(&x);
}

static void test_metadata_and_producer_are_kept(void **state) {
  Setup *s = *state;
  Onnx__StringStringEntryProto *e = arena_one(s->a, Onnx__StringStringEntryProto);
  onnx__string_string_entry_proto__init(e);
  e->key = arena_strdup(s->a, "vlpc.method");
  e->value = arena_strdup(s->a, "maple");
  s->b.model.metadata_props = &e;
  s->b.model.n_metadata_props = 1;
  s->b.model.producer_name = arena_strdup(s->a, "pytorch");
  s->b.model.producer_version = arena_strdup(s->a, "2.13.0");
  build_input(&s->b, "x", ONNX_FLOAT, "n");
  build_node(&s->b, "Abs", "x", "y");
  build_output(&s->b, "y", ONNX_FLOAT, "n");
  Imported x = import(s);
  assert_non_null(x.g);
  assert_string_equal(fe_metadata(x.m, "vlpc.method"), "maple");
  assert_null(fe_metadata(x.m, "other"));
  assert_string_equal(fe_producer(x.m), "pytorch 2.13.0");
  assert_int_equal(fe_opset(x.m), 17);
  imported_free(&x);
}

/* ---- external data ------------------------------------------------------ */

static void external_model(Setup *s, const char *location, const char *offset, const char *length) {
  Onnx__TensorProto *t = build_tensor(s->a, "w", ONNX_FLOAT, "2", "", 0);
  build_external(t, s->a, "location", location);
  if (offset) build_external(t, s->a, "offset", offset);
  if (length) build_external(t, s->a, "length", length);
  build_initializer(s->a, s->b.graph, t);
  build_node(&s->b, "ReduceSum", "w", "y");
  build_output(&s->b, "y", ONNX_FLOAT, NULL);
}

static void test_external_data_are_read_at_their_offset(void **state) {
  Setup *s = *state;
  static const float v[4] = {1, 2, 4, 8};
  write_file(arena_printf(s->a, "%s/w.bin", scratch_folder()), v, sizeof v);
  external_model(s, "w.bin", "8", "8");
  Imported x = import(s);
  assert_true(only_output(&x) == 12);
  imported_free(&x);
}

/* snapshots/rev/{model.onnx,w.bin} are links into blobs/. */
static void test_hugging_faces_cache_works(void **state) {
  Setup *s = *state;
  static const float v[2] = {3, 4};
  const char *hub = arena_printf(s->a, "%s/hub", scratch_folder());
  mkdir(hub, 0700);
  mkdir(arena_printf(s->a, "%s/blobs", hub), 0700);
  mkdir(arena_printf(s->a, "%s/snapshots", hub), 0700);
  mkdir(arena_printf(s->a, "%s/snapshots/rev", hub), 0700);
  external_model(s, "w.bin", NULL, NULL);
  build_write(&s->b, arena_printf(s->a, "%s/blobs/m0", hub));
  write_file(arena_printf(s->a, "%s/blobs/w0", hub), v, sizeof v);
  const char *model = arena_printf(s->a, "%s/snapshots/rev/model.onnx", hub);
  assert_int_equal(symlink("../../blobs/m0", model), 0);
  assert_int_equal(symlink("../../blobs/w0", arena_printf(s->a, "%s/snapshots/rev/w.bin", hub)), 0);
  Imported x = imported_new(model, NULL);
  assert_true(only_output(&x) == 7);
  imported_free(&x);
}

static void test_another_folder_may_be_allowed(void **state) {
  Setup *s = *state;
  static const float v[2] = {5, 6};
  const char *other = arena_printf(s->a, "%s/other", scratch_folder());
  const char *home = arena_printf(s->a, "%s/home", scratch_folder());
  mkdir(other, 0700);
  mkdir(home, 0700);
  write_file(arena_printf(s->a, "%s/w.bin", other), v, sizeof v);
  external_model(s, "../other/w.bin", NULL, NULL);
  const char *model = arena_printf(s->a, "%s/model.onnx", home);
  build_write(&s->b, model);
  FeOptions opt = {.external_root = other};
  Imported x = imported_new(model, &opt);
  assert_true(only_output(&x) == 11);
  imported_free(&x);
  x = imported_new(model, NULL);
  assert_null(x.g);
  assert_int_equal(x.status, VLPC_E_BAD_FILE);
  imported_free(&x);
}

static void test_the_manual_lists_every_row_of_the_table(void **state) {
  Setup *s = *state;
  FeOp op;
  Diag *d = diag_new();
  uint8_t *manual = NULL;
  size_t n_bytes = 0;
  uint32_t n = 0, lines = 0;
  const char *path = VLPC_SOURCE_DIR "/docs/onnx.md";
  assert_int_equal(io_read(path, 1 << 20, s->a, d, &manual, &n_bytes), VLPC_OK);
  for (; fe_op_row(n, &op); n++) {
    const char *until = op.until ? arena_printf(s->a, "%d", op.until) : "newest";
    const char *line = arena_printf(s->a, "\n| %s%s%s | %d to %s | %s |\n", op.domain,
                                    *op.domain ? "." : "", op.op, op.since, until, op.note);
    if (!strstr((const char *)manual, line)) fail_msg("docs/onnx.md lacks%s", line);
  }
  for (const char *p = (const char *)manual; (p = strstr(p, "\n| ")) != NULL; p++) lines++;
  assert_int_equal(lines, n + 1); /* and the heading */
  diag_free(d);
}

#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void) {
  const struct CMUnitTest tests[] = {
      T(test_one_name_on_images_and_texts_gives_two_symbols),
      T(test_sizes_without_a_name_get_one),
      T(test_symbols_that_an_operator_needs_equal_become_one),
      T(test_a_size_that_the_export_baked_in_is_a_number),
      T(test_an_initializer_that_is_also_an_input_is_a_constant),
      T(test_large_weights_are_not_copied),
      T(test_weights_in_half_stay_half_and_are_cast),
      T(test_a_constant_branch_is_taken),
      T(test_functions_are_inlined_with_their_attributes),
      T(test_sequences_vanish),
      T(test_rows_of_two_dynamic_axes_are_gathered),
      T(test_nodes_keep_their_place_in_the_file),
      T(test_metadata_and_producer_are_kept),
      T(test_external_data_are_read_at_their_offset),
      T(test_hugging_faces_cache_works),
      T(test_another_folder_may_be_allowed),
      T(test_the_manual_lists_every_row_of_the_table),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
