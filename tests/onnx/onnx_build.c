/* SPDX-License-Identifier: Apache-2.0 */
/* onnx_build.c - small ONNX models for the tests. */
#include "onnx_build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *push(Arena *a, void *list, size_t *n, void *item) {
  void **grown = arena_array(a, void *, *n + 1);
  if (*n && list) memcpy(grown, list, *n * sizeof *grown);
  grown[(*n)++] = item;
  return grown;
}

/* The k-th of comma-separated words; NULL past the last. */
static char *word(Arena *a, const char *text, size_t k) {
  if (!text) return NULL;
  for (; k > 0; k--) {
    text = strchr(text, ',');
    if (!text++) return NULL;
  }
  return arena_strndup(a, text, strcspn(text, ","));
}

static char **words(Arena *a, const char *text, size_t *n) {
  char **list = NULL;
  for (*n = 0; word(a, text, *n);) list = push(a, list, n, word(a, text, *n));
  return list;
}

Onnx__GraphProto *build_graph(Arena *a) {
  Onnx__GraphProto *g = arena_one(a, Onnx__GraphProto);
  onnx__graph_proto__init(g);
  g->name = arena_strdup(a, "g");
  return g;
}

Build build_new(Arena *a, int64_t opset) {
  Build b = {.a = a};
  Onnx__OperatorSetIdProto *o = arena_one(a, Onnx__OperatorSetIdProto);
  onnx__model_proto__init(&b.model);
  onnx__operator_set_id_proto__init(o);
  o->domain = arena_strdup(a, "");
  o->has_version = true;
  o->version = opset;
  b.model.has_ir_version = true;
  b.model.ir_version = 8;
  b.model.graph = b.graph = build_graph(a);
  b.model.opset_import = push(a, NULL, &b.model.n_opset_import, o);
  return b;
}

static Onnx__TensorShapeProto *shape_of(Arena *a, const char *sizes) {
  Onnx__TensorShapeProto *s = arena_one(a, Onnx__TensorShapeProto);
  onnx__tensor_shape_proto__init(s);
  if (!*sizes) return s;
  for (size_t k = 0; word(a, sizes, k); k++) {
    Onnx__TensorShapeProto__Dimension *d = arena_one(a, Onnx__TensorShapeProto__Dimension);
    char *text = word(a, sizes, k);
    onnx__tensor_shape_proto__dimension__init(d);
    if ((*text >= '0' && *text <= '9') || *text == '-') {
      d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
      d->dim_value = strtoll(text, NULL, 10);
    } else if (*text) {
      d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
      d->dim_param = text;
    }
    s->dim = push(a, s->dim, &s->n_dim, d);
  }
  return s;
}

static Onnx__ValueInfoProto *value_of(Arena *a, const char *name, int dtype, const char *sizes) {
  Onnx__ValueInfoProto *v = arena_one(a, Onnx__ValueInfoProto);
  Onnx__TypeProto *t = arena_one(a, Onnx__TypeProto);
  Onnx__TypeProto__Tensor *x = arena_one(a, Onnx__TypeProto__Tensor);
  onnx__value_info_proto__init(v);
  onnx__type_proto__init(t);
  onnx__type_proto__tensor__init(x);
  x->has_elem_type = true;
  x->elem_type = dtype;
  x->shape = sizes ? shape_of(a, sizes) : NULL;
  t->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
  t->tensor_type = x;
  v->name = arena_strdup(a, name);
  v->type = t;
  return v;
}

void build_input(Build *b, const char *name, int dtype, const char *sizes) {
  b->graph->input =
      push(b->a, b->graph->input, &b->graph->n_input, value_of(b->a, name, dtype, sizes));
}

void build_output(Build *b, const char *name, int dtype, const char *sizes) {
  b->graph->output =
      push(b->a, b->graph->output, &b->graph->n_output, value_of(b->a, name, dtype, sizes));
}

Onnx__TensorProto *build_tensor(Arena *a, const char *name, int dtype, const char *sizes,
                                const void *data, size_t bytes) {
  Onnx__TensorProto *t = arena_one(a, Onnx__TensorProto);
  onnx__tensor_proto__init(t);
  t->name = arena_strdup(a, name);
  t->has_data_type = true;
  t->data_type = dtype;
  t->dims = arena_array(a, int64_t, 9);
  for (char *w; *sizes && (w = word(a, sizes, t->n_dims)) != NULL;) {
    t->dims[t->n_dims++] = strtoll(w, NULL, 10);
  }
  t->has_raw_data = true;
  t->raw_data.len = bytes;
  t->raw_data.data = arena_alloc(a, bytes + 1);
  if (bytes) memcpy(t->raw_data.data, data, bytes);
  return t;
}

void build_initializer(Arena *a, Onnx__GraphProto *g, Onnx__TensorProto *t) {
  g->initializer = push(a, g->initializer, &g->n_initializer, t);
}

void build_ints(Build *b, const char *name, const char *sizes, const int64_t *v, size_t n) {
  build_initializer(b->a, b->graph, build_tensor(b->a, name, ONNX_INT64, sizes, v, n * sizeof *v));
}

void build_floats(Build *b, const char *name, const char *sizes, float v, size_t n) {
  float *all = arena_array(b->a, float, n + 1);
  for (size_t i = 0; i < n; i++) all[i] = v;
  build_initializer(b->a, b->graph, build_tensor(b->a, name, ONNX_FLOAT, sizes, all, n * 4));
}

void build_external(Onnx__TensorProto *t, Arena *a, const char *key, const char *value) {
  Onnx__StringStringEntryProto *e = arena_one(a, Onnx__StringStringEntryProto);
  onnx__string_string_entry_proto__init(e);
  e->key = arena_strdup(a, key);
  e->value = arena_strdup(a, value);
  t->has_raw_data = false;
  t->raw_data.len = 0;
  t->has_data_location = true;
  t->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
  t->external_data = push(a, t->external_data, &t->n_external_data, e);
}

static Onnx__NodeProto *node_of(Arena *a, const char *op, const char *in, const char *out) {
  Onnx__NodeProto *n = arena_one(a, Onnx__NodeProto);
  onnx__node_proto__init(n);
  n->op_type = arena_strdup(a, op);
  n->input = words(a, in, &n->n_input);
  n->output = words(a, out, &n->n_output);
  return n;
}

Onnx__NodeProto *build_node_in(Arena *a, Onnx__GraphProto *g, const char *op, const char *in,
                               const char *out) {
  Onnx__NodeProto *n = node_of(a, op, in, out);
  g->node = push(a, g->node, &g->n_node, n);
  return n;
}

Onnx__NodeProto *build_node(Build *b, const char *op, const char *in, const char *out) {
  return build_node_in(b->a, b->graph, op, in, out);
}

Onnx__AttributeProto *build_attr(Arena *a, Onnx__NodeProto *n, const char *name,
                                 Onnx__AttributeProto__AttributeType type) {
  Onnx__AttributeProto *t = arena_one(a, Onnx__AttributeProto);
  onnx__attribute_proto__init(t);
  t->name = arena_strdup(a, name);
  t->has_type = true;
  t->type = type;
  n->attribute = push(a, n->attribute, &n->n_attribute, t);
  return t;
}

void build_attr_int(Arena *a, Onnx__NodeProto *n, const char *name, int64_t v) {
  Onnx__AttributeProto *t = build_attr(a, n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
  t->has_i = true;
  t->i = v;
}

Onnx__FunctionProto *build_function(Build *b, const char *domain, const char *name,
                                    const char *in, const char *out) {
  Onnx__FunctionProto *f = arena_one(b->a, Onnx__FunctionProto);
  onnx__function_proto__init(f);
  f->domain = arena_strdup(b->a, domain);
  f->name = arena_strdup(b->a, name);
  f->input = words(b->a, in, &f->n_input);
  f->output = words(b->a, out, &f->n_output);
  f->opset_import = b->model.opset_import;
  f->n_opset_import = b->model.n_opset_import;
  b->model.functions = push(b->a, b->model.functions, &b->model.n_functions, f);
  return f;
}

Onnx__NodeProto *build_function_node(Build *b, Onnx__FunctionProto *f, const char *op,
                                     const char *in, const char *out) {
  Onnx__NodeProto *n = node_of(b->a, op, in, out);
  f->node = push(b->a, f->node, &f->n_node, n);
  return n;
}

uint8_t *build_bytes(Build *b, size_t *n) {
  *n = onnx__model_proto__get_packed_size(&b->model);
  uint8_t *p = arena_alloc(b->a, *n + 1);
  onnx__model_proto__pack(&b->model, p);
  return p;
}

void write_file(const char *path, const void *p, size_t n) {
  unlink(path); /* writing over a file would wait for the disk */
  FILE *f = fopen(path, "wb");
  VL_CHECK(f && fwrite(p, 1, n, f) == n && fclose(f) == 0, "a test file cannot be written");
}

void build_write(Build *b, const char *path) {
  size_t n = 0;
  uint8_t *p = build_bytes(b, &n);
  write_file(path, p, n);
}

static char folder[64];

static void remove_folder(void) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  if (system(command) != 0) fprintf(stderr, "%s stays\n", folder);
}

const char *scratch_folder(void) {
  if (folder[0]) return folder;
  snprintf(folder, sizeof folder, "%s/vlpc-onnx-XXXXXX", P_tmpdir);
  VL_CHECK(mkdtemp(folder), "no folder for a test");
  atexit(remove_folder);
  return folder;
}
