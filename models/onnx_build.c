/* SPDX-License-Identifier: Apache-2.0 */
/* onnx_build.c - nodes, weights and ports of a graph to be written. */
#include <stdio.h>
#include <string.h>

#include "base/rng.h"
#include "models/onnx_int.h"

OnnxGraph *onnx_new(Arena *a, const OnnxOptions *o) {
  OnnxGraph *g = arena_one(a, OnnxGraph);
  g->arena = a;
  g->o = *o;
  g->scope = "";
  return g;
}

void onnx_scope(OnnxGraph *g, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  g->scope = arena_vprintf(g->arena, fmt, ap);
  va_end(ap);
}

/* --- nodes --- */

const char *onnx_op(OnnxGraph *g, const char *op, const char *a, const char *b, const char *c) {
  Onnx__NodeProto *n = arena_one(g->arena, Onnx__NodeProto);
  onnx__node_proto__init(n);
  const char *input[] = {a, b, c};
  n->input = arena_array(g->arena, char *, VL_COUNT(input));
  while (n->n_input < VL_COUNT(input) && input[n->n_input] != NULL) {
    n->input[n->n_input] = arena_strdup(g->arena, input[n->n_input]);
    n->n_input++;
  }
  n->name = arena_printf(g->arena, "%s/%s_%u", g->scope, op, g->node.n);
  n->op_type = arena_strdup(g->arena, op);
  n->n_output = 1;
  n->output = arena_array(g->arena, char *, 2);
  n->output[0] = arena_printf(g->arena, "%s_output_0", n->name);
  n->attribute = arena_array(g->arena, Onnx__AttributeProto *, ONNX_ATTRIBUTES_MAX);
  *vec_push(g->arena, &g->node) = n;
  return n->output[0];
}

static Onnx__NodeProto *last_node(OnnxGraph *g) {
  VL_CHECK(g->node.n > 0, "an attribute or a name belongs to a node");
  return g->node.at[g->node.n - 1];
}

const char *onnx_rename(OnnxGraph *g, const char *name) {
  return last_node(g)->output[0] = arena_strdup(g->arena, name);
}

const char *onnx_second(OnnxGraph *g) {
  Onnx__NodeProto *n = last_node(g);
  VL_CHECK(n->n_output == 1, "a node has at most two outputs");
  n->n_output = 2;
  return n->output[1] = arena_printf(g->arena, "%s_output_1", n->name);
}

static Onnx__AttributeProto *attribute(OnnxGraph *g, const char *name,
                                       Onnx__AttributeProto__AttributeType type) {
  Onnx__NodeProto *n = last_node(g);
  VL_CHECK(n->n_attribute < ONNX_ATTRIBUTES_MAX, "a node has too many attributes");
  Onnx__AttributeProto *at = arena_one(g->arena, Onnx__AttributeProto);
  onnx__attribute_proto__init(at);
  at->name = arena_strdup(g->arena, name);
  at->has_type = true;
  at->type = type;
  n->attribute[n->n_attribute++] = at;
  return at;
}

void onnx_attr_int(OnnxGraph *g, const char *name, int64_t v) {
  Onnx__AttributeProto *at = attribute(g, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
  at->has_i = true;
  at->i = v;
}

void onnx_attr_ints(OnnxGraph *g, const char *name, uint32_t n, const int64_t *v) {
  Onnx__AttributeProto *at = attribute(g, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
  at->n_ints = n;
  at->ints = arena_array(g->arena, int64_t, n);
  memcpy(at->ints, v, n * sizeof *v);
}

void onnx_attr_float(OnnxGraph *g, const char *name, float v) {
  Onnx__AttributeProto *at = attribute(g, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
  at->has_f = true;
  at->f = v;
}

const char *onnx_reshape(OnnxGraph *g, const char *x, uint32_t n, const int64_t *to) {
  return onnx_op(g, "Reshape", x, onnx_ints(g, n, to), NULL);
}

const char *onnx_transpose(OnnxGraph *g, const char *x, uint32_t n, const int64_t *perm) {
  const char *y = onnx_op(g, "Transpose", x, NULL, NULL);
  onnx_attr_ints(g, "perm", n, perm);
  return y;
}

const char *onnx_gather(OnnxGraph *g, const char *x, const char *index, int64_t axis) {
  const char *y = onnx_op(g, "Gather", x, index, NULL);
  onnx_attr_int(g, "axis", axis);
  return y;
}

/* --- metadata --- */

Onnx__StringStringEntryProto *onnx_entry(Arena *a, const char *key, const char *value) {
  Onnx__StringStringEntryProto *e = arena_one(a, Onnx__StringStringEntryProto);
  onnx__string_string_entry_proto__init(e);
  e->key = arena_strdup(a, key);
  e->value = arena_strdup(a, value);
  return e;
}

void onnx_metadata(OnnxGraph *g, const char *key, const char *value) {
  *vec_push(g->arena, &g->metadata) = onnx_entry(g->arena, key, value);
}

/* --- weights and constants --- */

static Rng numbers_of(const OnnxWeight *w) {
  const char *name = w->stream != NULL ? w->stream : w->name;
  return (Rng){w->seed, hash_bytes(name, strlen(name), 0)};
}

void onnx_normal(const OnnxWeight *w, uint64_t begin, uint32_t n, float *out) {
  Rng r = numbers_of(w);
  for (uint32_t i = 0; i < n; i++)
    out[i] = (float)(w->center + w->spread * rng_normal(r, begin + i));
}

void onnx_fill(const OnnxWeight *w, uint64_t begin, uint32_t n, float *out) {
  (void)begin;
  for (uint32_t i = 0; i < n; i++) out[i] = (float)w->center;
}

void onnx_copy(const OnnxWeight *w, uint64_t begin, uint32_t n, float *out) {
  memcpy(out, w->data + begin, n * sizeof *out);
}

void onnx_uniform(const OnnxWeight *w, uint64_t begin, uint32_t n, float *out) {
  Rng r = numbers_of(w);
  uint32_t word[4] = {0};
  for (uint64_t i = begin; i < begin + n; i++) {
    if (i == begin || i % 4 == 0) rng_block(r, i / 4, word);
    double unit = ((double)(word[i % 4] >> 8) + 0.5) * 0x1p-23 - 1.0; /* (-1, 1), never 0 */
    out[i - begin] = (float)(w->center + w->spread * unit);
  }
}

const char *onnx_weight(OnnxGraph *g, const OnnxWeight *w) {
  for (uint32_t i = 0; i < g->weight.n; i++)
    if (strcmp(g->weight.at[i].w.name, w->name) == 0) return g->weight.at[i].value;
  Stored s = {.w = *w, .name = w->name, .value = w->name};
  s.w.name = s.name = s.value = arena_strdup(g->arena, w->name);
  if (w->stream != NULL) s.w.stream = arena_strdup(g->arena, w->stream);
  s.w.seed = g->o.seed;
  if (g->o.dtype == VLPC_F16) {
    s.name = arena_printf(g->arena, "%s.fp16", w->name);
    onnx_op(g, "Cast", s.name, NULL, NULL);
    onnx_attr_int(g, "to", ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT);
    s.value = onnx_rename(g, w->name);
  }
  *vec_push(g->arena, &g->weight) = s;
  return s.value;
}

/* A small initializer; its name is made. */
static const char *constant(OnnxGraph *g, int type, int32_t n, const void *at, size_t bytes) {
  Onnx__TensorProto *t = arena_one(g->arena, Onnx__TensorProto);
  onnx__tensor_proto__init(t);
  t->name = arena_printf(g->arena, "constant_%u", g->constant.n);
  t->has_data_type = true;
  t->data_type = type;
  t->dims = arena_one(g->arena, int64_t);
  t->n_dims = n >= 0;
  t->dims[0] = n;
  t->has_raw_data = true;
  t->raw_data.len = bytes;
  t->raw_data.data = arena_alloc(g->arena, bytes);
  memcpy(t->raw_data.data, at, bytes);
  *vec_push(g->arena, &g->constant) = t;
  return t->name;
}

const char *onnx_float(OnnxGraph *g, float v) {
  return constant(g, ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT, -1, &v, sizeof v);
}
const char *onnx_int(OnnxGraph *g, int64_t v) {
  return constant(g, ONNX__TENSOR_PROTO__DATA_TYPE__INT64, -1, &v, sizeof v);
}
const char *onnx_ints(OnnxGraph *g, uint32_t n, const int64_t *v) {
  return constant(g, ONNX__TENSOR_PROTO__DATA_TYPE__INT64, (int32_t)n, v, n * sizeof *v);
}

/* --- inputs and outputs --- */

static Onnx__TensorShapeProto__Dimension *dimension(OnnxGraph *g, const OnnxPort *p, uint32_t k) {
  Onnx__TensorShapeProto__Dimension *d = arena_one(g->arena, Onnx__TensorShapeProto__Dimension);
  onnx__tensor_shape_proto__dimension__init(d);
  if (p->size[k] < 0) {
    d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
    d->dim_param = arena_strdup(g->arena, p->symbol[k]);
  } else {
    d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
    d->dim_value = p->size[k];
  }
  return d;
}

static Onnx__ValueInfoProto *port(OnnxGraph *g, const OnnxPort *p) {
  Onnx__TensorShapeProto *shape = arena_one(g->arena, Onnx__TensorShapeProto);
  Onnx__TypeProto__Tensor *tensor = arena_one(g->arena, Onnx__TypeProto__Tensor);
  Onnx__TypeProto *type = arena_one(g->arena, Onnx__TypeProto);
  Onnx__ValueInfoProto *v = arena_one(g->arena, Onnx__ValueInfoProto);
  onnx__tensor_shape_proto__init(shape);
  onnx__type_proto__tensor__init(tensor);
  onnx__type_proto__init(type);
  onnx__value_info_proto__init(v);
  shape->n_dim = p->rank;
  shape->dim = arena_array(g->arena, Onnx__TensorShapeProto__Dimension *, p->rank);
  for (uint32_t k = 0; k < p->rank; k++) shape->dim[k] = dimension(g, p, k);
  tensor->has_elem_type = true;
  tensor->elem_type = p->dtype == VLPC_I64 ? ONNX__TENSOR_PROTO__DATA_TYPE__INT64
                                           : ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
  tensor->shape = shape;
  type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
  type->tensor_type = tensor;
  v->name = arena_strdup(g->arena, p->name);
  v->type = type;
  return v;
}

void onnx_input(OnnxGraph *g, const OnnxPort *p) {
  *vec_push(g->arena, &g->input) = port(g, p);
}
void onnx_output(OnnxGraph *g, const OnnxPort *p) {
  *vec_push(g->arena, &g->output) = port(g, p);
}
