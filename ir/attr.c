/* SPDX-License-Identifier: Apache-2.0 */
/* attr.c - attribute keys, which op takes which, and interned lists.
**
** A list is sorted by key and compared by content, so two nodes have equal
** AttrIds exactly when they carry equal attributes.  Doubles compare by their
** bits.  Strings, ints and dims are copied into the graph's arena. */
#include <string.h>

#include "ir/graph_int.h"

typedef struct {
  const char *name, *what;
  AttrKind kind;
} KeyInfo;

static const KeyInfo keys[A__COUNT] = {
    [A_none] = {"none", "", AK_INT},
#define ATTR(key, kind, what) [A_##key] = {#key, what, kind},
#include "ir/attrs.def"
#undef ATTR
};

/* Rows of attrs_of.def as bit sets. */
_Static_assert(A__COUNT <= 64, "the keys of an op are a 64-bit set");
static const uint64_t takes[OP__COUNT] = {
#define HAS(key) (UINT64_C(1) << A_##key)
#define TAKES(op, set) [OP_##op] = set,
#include "ir/attrs_of.def"
#undef TAKES
#undef HAS
};

const char *attr_name(AttrKey k) {
  VL_CHECK(k < A__COUNT, "attr_name: no such key");
  return keys[k].name;
}

AttrKind attr_kind(AttrKey k) {
  VL_CHECK(k < A__COUNT, "attr_kind: no such key");
  return keys[k].kind;
}

const char *attr_what(AttrKey k) {
  VL_CHECK(k < A__COUNT, "attr_what: no such key");
  return keys[k].what;
}

bool attr_find(const char *name, size_t n, AttrKey *out) {
  for (AttrKey k = A_none + 1; k < A__COUNT; k++) {
    if (strlen(keys[k].name) != n || memcmp(keys[k].name, name, n) != 0) continue;
    *out = k;
    return true;
  }
  return false;
}

bool attr_takes(OpCode op, AttrKey k) {
  VL_CHECK(op < OP__COUNT && k < A__COUNT, "attr_takes: no such op or key");
  return (takes[op] >> k & 1) != 0;
}

bool attr_sort(Attr *at, uint32_t n) {
  for (uint32_t i = 1; i < n; i++)
    for (uint32_t j = i; j > 0 && at[j - 1].key >= at[j].key; j--) {
      if (at[j - 1].key == at[j].key) return false;
      Attr moved = at[j];
      at[j] = at[j - 1];
      at[j - 1] = moved;
    }
  return true;
}

/* ---- interning ------------------------------------------------------------ */

/* The bytes that tell two attributes of one key apart. */
static const void *content(const Attr *a, size_t *n) {
  switch (attr_kind(a->key)) {
  case AK_INT:
  case AK_DTYPE:
  case AK_FLOAT: *n = sizeof a->i; return &a->i;
  case AK_BLOB: *n = sizeof a->blob; return &a->blob;
  case AK_INTS: *n = a->n * sizeof *a->ints; return a->ints;
  case AK_DIMS: *n = a->n * sizeof *a->dims; return a->dims;
  case AK_STR: *n = strlen(a->str); return a->str;
  }
  VL_UNREACHABLE("content: no such kind");
}

static bool same_attr(const Attr *a, const Attr *b) {
  if (a->key != b->key) return false;
  size_t n = 0, m = 0;
  const void *p = content(a, &n), *q = content(b, &m);
  return n == m && (n == 0 || memcmp(p, q, n) == 0);
}

typedef struct {
  const Attr *at;
  uint32_t n;
} Span;

static bool same_list(const Graph *g, uint32_t id, const void *item) {
  const Span *s = item;
  AttrList l = g->attr_list.at[id];
  if (l.n != s->n) return false;
  for (uint32_t i = 0; i < l.n; i++)
    if (!same_attr(&g->attr.at[l.at + i], &s->at[i])) return false;
  return true;
}

static uint64_t hash_list(const Attr *at, uint32_t n) {
  uint64_t h = n;
  for (uint32_t i = 0; i < n; i++) {
    size_t bytes = 0;
    const void *p = content(&at[i], &bytes);
    h = hash_bytes(&at[i].key, sizeof at[i].key, h);
    if (bytes != 0) h = hash_bytes(p, bytes, h);
  }
  return h;
}

static Attr kept(Graph *g, Attr a) {
  AttrKind kind = attr_kind(a.key);
  if (kind == AK_STR) {
    a.str = graph_text(g, a.str);
  } else if (kind == AK_INTS) {
    int64_t *to = arena_array(g->arena, int64_t, a.n);
    if (a.n != 0) memcpy(to, a.ints, a.n * sizeof *to);
    a.ints = to;
  } else if (kind == AK_DIMS) {
    DimId *to = arena_array(g->arena, DimId, a.n);
    if (a.n != 0) memcpy(to, a.dims, a.n * sizeof *to);
    a.dims = to;
  }
  return a;
}

AttrId attr_intern(Graph *g, const Attr *at, uint32_t n) {
  if (n == 0) return (AttrId){0};
  Span s = {at, n};
  Lookup l = {g->attr_index, hash_list(at, n), same_list, &s, g->attr_list.n};
  uint32_t id = graph_intern(g, &l);
  if (id != l.next) return (AttrId){id};
  *vec_push(g->arena, &g->attr_list) = (AttrList){g->attr.n, n};
  for (uint32_t i = 0; i < n; i++) {
    Attr a = kept(g, at[i]);
    *vec_push(g->arena, &g->attr) = a;
  }
  return (AttrId){id};
}

static BlobId bring_blob(Graph *to, const Graph *from, BlobId id) {
  const BlobRow *r = &from->blob.at[id.i];
  const Blob *b = &r->blob;
  if (!r->is_owned) return ir_blob(to, b->data, b->bytes, b->name);
  if (to->arena == from->arena) return graph_blob_own(to, b->data, b->bytes, b->name);
  return ir_blob_copy(to, b->data, b->bytes, b->name);
}

uint32_t attr_bring(Graph *to, const Graph *from, AttrId list, Attr *out) {
  AttrList l = from->attr_list.at[list.i];
  for (uint32_t i = 0; i < l.n; i++) {
    out[i] = from->attr.at[l.at + i];
    if (attr_kind(out[i].key) == AK_BLOB) out[i].blob = bring_blob(to, from, out[i].blob);
  }
  return l.n;
}

/* ---- reading -------------------------------------------------------------- */

uint32_t ir_attrs(const Graph *g, Val v, const Attr **out) {
  AttrList l = g->attr_list.at[graph_node(g, v)->attr.i];
  *out = l.n != 0 ? &g->attr.at[l.at] : NULL;
  return l.n;
}

const Attr *ir_attr(const Graph *g, Val v, AttrKey k) {
  const Attr *at = NULL;
  uint32_t n = ir_attrs(g, v, &at);
  for (uint32_t i = 0; i < n; i++)
    if (at[i].key == k) return &at[i];
  return NULL;
}

int64_t ir_attr_int(const Graph *g, Val v, AttrKey k, int64_t otherwise) {
  const Attr *a = ir_attr(g, v, k);
  return a != NULL ? a->i : otherwise;
}

double ir_attr_float(const Graph *g, Val v, AttrKey k, double otherwise) {
  const Attr *a = ir_attr(g, v, k);
  return a != NULL ? a->f : otherwise;
}
