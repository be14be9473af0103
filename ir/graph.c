/* SPDX-License-Identifier: Apache-2.0 */
/* graph.c - the store: types, blobs, nodes, inputs, outputs and points.
**
** Order: interning, creation, types, blobs, nodes, named values, liveness. */
#include <string.h>

#include "ir/graph_int.h"

/* Blobs up to this size are found again by their bytes, larger ones by their
** address: hashing weights would read the whole file. */
#define BLOB_BY_CONTENT 4096

uint32_t graph_intern(const Graph *g, const Lookup *l) {
  for (uint64_t key = l->hash;; key++) {
    uint32_t id = 0;
    if (!map_get(l->index, key, &id)) {
      map_set(l->index, key, l->next);
      return l->next;
    }
    if (l->same(g, id, l->item)) return id;
  }
}

const char *graph_text(Graph *g, const char *s) {
  return s != NULL ? names_text(g->text, names_add(g->text, s, strlen(s))) : NULL;
}

/* ---- creation ------------------------------------------------------------- */

void graph_reset_tables(Graph *g) {
  memset(&g->attr, 0, sizeof g->attr);
  memset(&g->attr_list, 0, sizeof g->attr_list);
  memset(&g->blob, 0, sizeof g->blob);
  g->node_index = map_new(g->arena);
  g->attr_index = map_new(g->arena);
  g->blob_index = map_new(g->arena);
  *vec_push(g->arena, &g->attr_list) = (AttrList){0};
  *vec_push(g->arena, &g->blob) = (BlobRow){0};
}

Graph *ir_graph_new(Arena *a) {
  Graph *g = arena_one(a, Graph);
  g->arena = a;
  g->dims = dim_table_new(a);
  g->text = names_new(a);
  g->type_index = map_new(a);
  g->loc_index = map_new(a);
  *vec_push(a, &g->node) = (Node){0};
  *vec_push(a, &g->type) = (Type){0};
  *vec_push(a, &g->loc) = (Loc){.index = -1};
  graph_reset_tables(g);
  return g;
}

Graph *graph_like(const Graph *src, Arena *to) {
  Graph *g = ir_graph_new(to);
  for (SymId s = 0; s < dim_n_symbols(src->dims); s++)
    VL_CHECK(dim_symbol(g->dims, dim_symbol_name(src->dims, s)) == s, "symbols keep their ids");
  for (DimId d = 1; d <= dim_count(src->dims); d++) {
    Dim x = dim_get(src->dims, d);
    VL_CHECK(dim_intern(g->dims, &x) == d, "sizes keep their ids");
  }
  for (uint32_t t = 1; t < src->type.n; t++) {
    const Type *x = &src->type.at[t];
    VL_CHECK(ir_type(g, x->dtype, x->rank, x->dim).i == t, "types keep their ids");
  }
  for (uint32_t l = 1; l < src->loc.n; l++)
    VL_CHECK(ir_loc_add(g, src->loc.at[l]).i == l, "places keep their ids");
  return g;
}

Arena *ir_arena(const Graph *g) { return g->arena; }
DimTable *ir_dims(const Graph *g) { return g->dims; }
uint32_t ir_n_vals(const Graph *g) { return g->node.n - 1; }

/* ---- types ---------------------------------------------------------------- */

static bool same_type(const Graph *g, uint32_t id, const void *item) {
  return memcmp(&g->type.at[id], item, sizeof(Type)) == 0;
}

TypeId ir_type(Graph *g, VlDtype dtype, uint32_t rank, const DimId *dim) {
  VL_CHECK(dtype_valid((int)dtype) && rank <= VLPC_MAX_RANK, "ir_type: no such type");
  Type t;
  memset(&t, 0, sizeof t);
  t.dtype = dtype;
  t.rank = rank;
  for (uint32_t i = 0; i < rank; i++) {
    VL_CHECK(dim[i] != DIM_NONE && dim[i] <= dim_count(g->dims), "ir_type: no such size");
    t.dim[i] = dim[i];
  }
  Lookup l = {g->type_index, hash_bytes(&t, sizeof t, 0), same_type, &t, g->type.n};
  uint32_t id = graph_intern(g, &l);
  if (id == l.next) *vec_push(g->arena, &g->type) = t;
  return (TypeId){id};
}

TypeId ir_type_fixed(Graph *g, VlDtype dtype, uint32_t rank, const int64_t *size) {
  VL_CHECK(rank <= VLPC_MAX_RANK, "ir_type_fixed: rank");
  DimId dim[VLPC_MAX_RANK] = {0};
  for (uint32_t i = 0; i < rank; i++) dim[i] = dim_const(g->dims, size[i]);
  return ir_type(g, dtype, rank, dim);
}

const Type *ir_type_get(const Graph *g, TypeId t) {
  VL_CHECK(t.i != 0 && t.i < g->type.n, "ir_type_get: no such type");
  return &g->type.at[t.i];
}

const Type *ir_type_of(const Graph *g, Val v) { return ir_type_get(g, graph_node(g, v)->type); }
TypeId ir_type_id(const Graph *g, Val v) { return graph_node(g, v)->type; }

bool graph_count(const Graph *g, const Type *t, int64_t *out) {
  int64_t count = 1;
  for (uint32_t i = 0; i < t->rank; i++) {
    int64_t size = 0;
    if (!dim_is_const(g->dims, t->dim[i], &size) || !vl_mul_i64(count, size, &count)) return false;
  }
  *out = count;
  return true;
}

bool ir_count_const(const Graph *g, Val v, int64_t *out) {
  return graph_count(g, ir_type_of(g, v), out);
}

bool ir_size_const(const Graph *g, Val v, int axis, int64_t *out) {
  const Type *t = ir_type_of(g, v);
  int i = axis < 0 ? axis + (int)t->rank : axis;
  return i >= 0 && i < (int)t->rank && dim_is_const(g->dims, t->dim[i], out);
}

/* ---- blobs ---------------------------------------------------------------- */

static bool same_blob(const Graph *g, uint32_t id, const void *item) {
  const Blob *a = &g->blob.at[id].blob, *b = item;
  if (a->bytes != b->bytes) return false;
  if (a->data == b->data || b->bytes == 0) return true;
  return b->bytes <= BLOB_BY_CONTENT && memcmp(a->data, b->data, b->bytes) == 0;
}

static uint64_t hash_blob(const Blob *b) {
  if (b->bytes == 0) return 0;
  if (b->bytes <= BLOB_BY_CONTENT) return hash_bytes(b->data, (size_t)b->bytes, 0);
  return hash_bytes(&b->data, sizeof b->data, b->bytes);
}

static BlobId intern_blob(Graph *g, BlobRow row) {
  VL_CHECK(row.blob.data != NULL || row.blob.bytes == 0, "ir_blob: no bytes");
  Lookup l = {g->blob_index, hash_blob(&row.blob), same_blob, &row.blob, g->blob.n};
  uint32_t id = graph_intern(g, &l);
  row.blob.name = graph_text(g, row.blob.name);
  if (id == l.next) *vec_push(g->arena, &g->blob) = row;
  return (BlobId){id};
}

BlobId ir_blob(Graph *g, const void *data, uint64_t bytes, const char *name) {
  return intern_blob(g, (BlobRow){{data, bytes, name}, false});
}

BlobId graph_blob_own(Graph *g, const void *data, uint64_t bytes, const char *name) {
  return intern_blob(g, (BlobRow){{data, bytes, name}, true});
}

BlobId ir_blob_copy(Graph *g, const void *data, uint64_t bytes, const char *name) {
  void *to = arena_array_bytes(g->arena, bytes, 1);
  if (bytes != 0) memcpy(to, data, (size_t)bytes);
  return graph_blob_own(g, to, bytes, name);
}

const Blob *ir_blob_get(const Graph *g, BlobId b) {
  VL_CHECK(b.i != 0 && b.i < g->blob.n, "ir_blob_get: no such blob");
  return &g->blob.at[b.i].blob;
}

uint32_t ir_n_blobs(const Graph *g) { return g->blob.n - 1; }

/* ---- nodes ---------------------------------------------------------------- */

const Node *graph_node(const Graph *g, Val v) {
  VL_CHECK(v.i != 0 && v.i < g->node.n, "no such value");
  return &g->node.at[v.i];
}

OpCode ir_op(const Graph *g, Val v) { return graph_node(g, v)->op; }
uint32_t ir_n_in(const Graph *g, Val v) { return graph_node(g, v)->n_in; }
uint32_t ir_most_in(const Graph *g) {
  uint32_t most = 0;
  for (uint32_t i = 1; i < g->node.n; i++) most = VL_MAX(most, g->node.at[i].n_in);
  return most;
}

LocId ir_loc(const Graph *g, Val v) { return graph_node(g, v)->loc; }
AttrId ir_attr_id(const Graph *g, Val v) { return graph_node(g, v)->attr; }

Val ir_in(const Graph *g, Val v, uint32_t i) {
  const Node *n = graph_node(g, v);
  return i < n->n_in ? g->operand.at[n->in_at + i] : VAL_NONE;
}

Val graph_push(Graph *g, const NewNode *n) {
  Node node = {n->op, n->n_in, g->operand.n, n->type, n->attr, g->here};
  for (uint32_t i = 0; i < n->n_in; i++) *vec_push(g->arena, &g->operand) = n->in[i];
  *vec_push(g->arena, &g->node) = node;
  return (Val){g->node.n - 1};
}

void graph_pop(Graph *g) {
  VL_CHECK(g->node.n > 1, "graph_pop: no node");
  g->operand.n = g->node.at[g->node.n - 1].in_at;
  g->node.n--;
}

static bool same_node(const Graph *g, uint32_t id, const void *item) {
  const Node *a = &g->node.at[id];
  const NewNode *b = item;
  if (a->op != b->op || a->n_in != b->n_in || a->type.i != b->type.i || a->attr.i != b->attr.i)
    return false;
  for (uint32_t i = 0; i < a->n_in; i++)
    if (g->operand.at[a->in_at + i].i != b->in[i].i) return false;
  return true;
}

static uint64_t hash_node(const NewNode *n) {
  uint32_t head[4] = {(uint32_t)n->op, n->type.i, n->attr.i, n->n_in};
  uint64_t h = hash_bytes(head, sizeof head, 0);
  return n->n_in != 0 ? hash_bytes(n->in, n->n_in * sizeof *n->in, h) : h;
}

Val graph_share(Graph *g, const NewNode *n) {
  Lookup l = {g->node_index, hash_node(n), same_node, n, g->node.n};
  uint32_t id = graph_intern(g, &l);
  return id == l.next ? graph_push(g, n) : (Val){id};
}

void graph_index(Graph *g, Val v) {
  const Node *n = graph_node(g, v);
  if (n->op == OP_input) return;
  NewNode key = {n->op, n->n_in, g->operand.at + n->in_at, n->type, n->attr};
  Lookup l = {g->node_index, hash_node(&key), same_node, &key, v.i};
  graph_intern(g, &l);
}

/* ---- named values --------------------------------------------------------- */

void ir_output(Graph *g, const char *name, Val v) {
  VL_CHECK(v.i != 0 && v.i < g->node.n, "ir_output: no such value");
  const char *kept = graph_text(g, name);
  *vec_push(g->arena, &g->output) = (Named){kept, v};
}

void ir_point(Graph *g, const char *name, Val v) {
  VL_CHECK(v.i != 0 && v.i < g->node.n, "ir_point: no such value");
  const char *kept = graph_text(g, name);
  *vec_push(g->arena, &g->point) = (Named){kept, v};
}

uint32_t ir_inputs(const Graph *g, const Named **out) {
  *out = g->input.at;
  return g->input.n;
}

uint32_t ir_outputs(const Graph *g, const Named **out) {
  *out = g->output.at;
  return g->output.n;
}

uint32_t ir_points(const Graph *g, const Named **out) {
  *out = g->point.at;
  return g->point.n;
}

static Val named(const Named *at, uint32_t n, const char *name) {
  for (uint32_t i = 0; i < n; i++)
    if (strcmp(at[i].name, name) == 0) return at[i].v;
  return VAL_NONE;
}

Val ir_input_named(const Graph *g, const char *name) {
  return named(g->input.at, g->input.n, name);
}

Val ir_output_named(const Graph *g, const char *name) {
  return named(g->output.at, g->output.n, name);
}

Val ir_point_named(const Graph *g, const char *name) {
  return named(g->point.at, g->point.n, name);
}

/* ---- liveness ------------------------------------------------------------- */

uint32_t *ir_uses(const Graph *g, Arena *a) {
  uint32_t *uses = arena_array(a, uint32_t, g->node.n);
  for (uint32_t i = 1; i < g->node.n; i++) {
    const Node *n = &g->node.at[i];
    for (uint32_t j = 0; j < n->n_in; j++) uses[g->operand.at[n->in_at + j].i]++;
  }
  for (uint32_t i = 0; i < g->output.n; i++) uses[g->output.at[i].v.i]++;
  uses[0] = 0;
  return uses;
}

bool *graph_live(const Graph *g, Arena *a, const Named *root, uint32_t n) {
  bool *live = arena_array(a, bool, g->node.n);
  for (uint32_t i = 0; i < n; i++) live[root[i].v.i] = true;
  for (uint32_t i = g->node.n - 1; i > 0; i--) {
    if (!live[i]) continue;
    const Node *node = &g->node.at[i];
    for (uint32_t j = 0; j < node->n_in; j++) live[g->operand.at[node->in_at + j].i] = true;
  }
  live[0] = false;
  return live;
}

_Static_assert(DIM_MAX_SYMS <= 64, "symbols are a 64-bit set");

static uint64_t symbols_of(const Graph *g, const DimId *dim, uint32_t n) {
  uint64_t set = 0;
  for (uint32_t i = 0; i < n; i++) {
    Dim d = dim_get(g->dims, dim[i]);
    for (uint32_t j = 0; j < d.n; j++) set |= UINT64_C(1) << d.term[j].sym;
  }
  return set;
}

uint64_t graph_symbols(const Graph *g, Val v) {
  const Type *t = ir_type_of(g, v);
  uint64_t set = symbols_of(g, t->dim, t->rank);
  const Attr *at = NULL;
  uint32_t n = ir_attrs(g, v, &at);
  for (uint32_t i = 0; i < n; i++)
    if (attr_kind(at[i].key) == AK_DIMS) set |= symbols_of(g, at[i].dims, at[i].n);
  return set;
}
