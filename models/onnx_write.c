/* SPDX-License-Identifier: Apache-2.0 */
/* onnx_write.c - a graph as an ONNX file, weights streamed.
**
** protobuf-c packs the model without its weights.  A field's bytes may stand
** anywhere among those of its message, so the weights follow as fields of the
** graph, and the graph as a field of the model; their lengths are known before,
** and so is every length that must come first:
**
**   model fields │ 7: graph length │ graph fields │ { 5: tensor length │ tensor
**   fields │ 9: raw length │ raw bytes } …
**
** External weights lie at multiples of 4096 in a file of their own. */
#include "models/onnx_write.h"

#include <inttypes.h>
#include <string.h>

#include "base/io.h"
#include "base/str.h"
#include "models/onnx_int.h"

enum { PIECE = 8192, EXTERNAL_ALIGN = 4096 };
enum { MODEL_GRAPH = 7, GRAPH_INITIALIZER = 5, TENSOR_RAW = 9, BYTES_FIELD = 2 };

static uint64_t weight_count(const OnnxWeight *w) {
  uint64_t n = 1;
  for (uint32_t k = 0; k < w->rank; k++) n *= (uint64_t)w->size[k];
  return n;
}

static uint64_t weight_bytes(const OnnxGraph *g, const OnnxWeight *w) {
  return weight_count(w) * dtype_size(g->o.dtype);
}

/* Writes a weight's elements in pieces. */
static VlStatus write_elements(const OnnxGraph *g, const OnnxWeight *w, FileWriter *f) {
  float at[PIECE];
  uint16_t half[PIECE];
  uint64_t count = weight_count(w);
  for (uint64_t i = 0; i < count; i += PIECE) {
    uint32_t n = (uint32_t)VL_MIN(count - i, (uint64_t)PIECE);
    w->fill(w, i, n, at);
    if (g->o.dtype == VLPC_F16)
      for (uint32_t k = 0; k < n; k++) half[k] = half_from_f32(at[k]);
    const void *bytes = g->o.dtype == VLPC_F16 ? (const void *)half : (const void *)at;
    VL_TRY(io_write(f, bytes, n * dtype_size(g->o.dtype)));
  }
  return VLPC_OK;
}

/* --- messages --- */

/* Adds a field's number and the length of its bytes. */
static void add_field(Str *s, int number, uint64_t length) {
  char byte = (char)(number << 3 | BYTES_FIELD);
  str_addn(s, &byte, 1);
  do {
    byte = (char)((length & 0x7f) | (length > 0x7f ? 0x80 : 0));
    str_addn(s, &byte, 1);
    length >>= 7;
  } while (length > 0);
}

static void add_packed(Str *s, const ProtobufCMessage *m) {
  size_t n = protobuf_c_message_get_packed_size(m);
  uint8_t *at = arena_alloc(s->arena, n);
  protobuf_c_message_pack(m, at);
  str_addn(s, (const char *)at, n);
}

typedef struct {
  const char *location; /* NULL: weights inside the file */
  uint64_t offset;
} Place;

static void tensor_place(Onnx__TensorProto *t, Arena *a, const Place *p, uint64_t bytes) {
  t->has_data_location = true;
  t->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
  t->n_external_data = 3;
  t->external_data = arena_array(a, Onnx__StringStringEntryProto *, 3);
  t->external_data[0] = onnx_entry(a, "location", p->location);
  t->external_data[1] = onnx_entry(a, "offset", arena_printf(a, "%" PRIu64, p->offset));
  t->external_data[2] = onnx_entry(a, "length", arena_printf(a, "%" PRIu64, bytes));
}

/* A weight's fields up to its raw bytes; *raw is how many of those follow. */
static Str tensor_head(const OnnxGraph *g, const Stored *s, const Place *p, uint64_t *raw) {
  Onnx__TensorProto t = ONNX__TENSOR_PROTO__INIT;
  Str head = {.arena = g->arena}, out = {.arena = g->arena};
  uint64_t bytes = weight_bytes(g, &s->w);
  t.name = arena_strdup(g->arena, s->name);
  t.n_dims = s->w.rank;
  t.dims = arena_array(g->arena, int64_t, s->w.rank);
  memcpy(t.dims, s->w.size, s->w.rank * sizeof *t.dims);
  t.has_data_type = true;
  t.data_type = g->o.dtype == VLPC_F16 ? ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16
                                       : ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
  *raw = p->location != NULL ? 0 : bytes;
  if (p->location != NULL) tensor_place(&t, g->arena, p, bytes);
  add_packed(&head, &t.base);
  if (p->location == NULL) add_field(&head, TENSOR_RAW, bytes);
  add_field(&out, GRAPH_INITIALIZER, head.n + *raw);
  str_addn(&out, head.at, head.n);
  return out;
}

static Str graph_head(OnnxGraph *g) {
  Onnx__GraphProto graph = ONNX__GRAPH_PROTO__INIT;
  Str out = {.arena = g->arena};
  graph.name = arena_strdup(g->arena, g->o.name);
  graph.n_node = g->node.n, graph.node = g->node.at;
  graph.n_initializer = g->constant.n, graph.initializer = g->constant.at;
  graph.n_input = g->input.n, graph.input = g->input.at;
  graph.n_output = g->output.n, graph.output = g->output.at;
  add_packed(&out, &graph.base);
  return out;
}

static Str model_head(OnnxGraph *g) {
  Onnx__OperatorSetIdProto set = ONNX__OPERATOR_SET_ID_PROTO__INIT, *sets = &set;
  Onnx__ModelProto model = ONNX__MODEL_PROTO__INIT;
  Str out = {.arena = g->arena};
  set.domain = arena_strdup(g->arena, "");
  set.has_version = true;
  set.version = g->o.opset;
  model.has_ir_version = true;
  model.ir_version = g->o.opset <= 18 ? 8 : g->o.opset <= 20 ? 9 : 10;
  model.producer_name = arena_strdup(g->arena, "vlpc");
  model.n_opset_import = 1;
  model.opset_import = &sets;
  model.n_metadata_props = g->metadata.n, model.metadata_props = g->metadata.at;
  add_packed(&out, &model.base);
  return out;
}

/* --- files --- */

static VlStatus write_model(OnnxGraph *g, const Str *head, bool inside, FileWriter *f) {
  Str graph = graph_head(g), model = model_head(g);
  uint64_t length = graph.n;
  for (uint32_t i = 0; i < g->weight.n; i++)
    length += head[i].n + (inside ? weight_bytes(g, &g->weight.at[i].w) : 0);
  add_field(&model, MODEL_GRAPH, length);
  VL_TRY(io_write(f, model.at, model.n));
  VL_TRY(io_write(f, graph.at, graph.n));
  for (uint32_t i = 0; i < g->weight.n; i++) {
    VL_TRY(io_write(f, head[i].at, head[i].n));
    if (inside) VL_TRY(write_elements(g, &g->weight.at[i].w, f));
  }
  return VLPC_OK;
}

static VlStatus write_weights(OnnxGraph *g, FileWriter *f) {
  for (uint32_t i = 0; i < g->weight.n; i++) {
    VL_TRY(io_pad_to(f, EXTERNAL_ALIGN));
    VL_TRY(write_elements(g, &g->weight.at[i].w, f));
  }
  return VLPC_OK;
}

/* Commits a file when its bytes went well. */
static VlStatus finish(FileWriter *f, VlStatus s) {
  if (s == VLPC_OK) return io_commit(f);
  io_abandon(f);
  return s;
}

/* Heads of all weights, at their places in the external file when it has a
** name. */
static const Str *tensor_heads(const OnnxGraph *g, const char *location) {
  Str *head = arena_array(g->arena, Str, g->weight.n);
  Place p = {location, 0};
  for (uint32_t i = 0; i < g->weight.n; i++) {
    uint64_t raw;
    p.offset = vl_align_up(p.offset, EXTERNAL_ALIGN);
    head[i] = tensor_head(g, &g->weight.at[i], &p, &raw);
    p.offset += weight_bytes(g, &g->weight.at[i].w);
  }
  return head;
}

static VlStatus write_external(OnnxGraph *g, const char *path, Diag *d) {
  FileWriter *f;
  VL_TRY(io_create(path, d, &f));
  return finish(f, write_weights(g, f));
}

VlStatus onnx_write(OnnxGraph *g, const char *path, Diag *d) {
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < g->weight.n; i++) bytes += weight_bytes(g, &g->weight.at[i].w);
  bool inside = bytes <= ONNX_EXTERNAL_ABOVE;
  const char *data = arena_printf(g->arena, "%s.data", path), *slash = strrchr(data, '/');
  const Str *head = tensor_heads(g, inside ? NULL : slash != NULL ? slash + 1 : data);
  if (!inside) VL_TRY(write_external(g, data, d));
  FileWriter *f;
  VL_TRY(io_create(path, d, &f));
  return finish(f, write_model(g, head, inside, f));
}
