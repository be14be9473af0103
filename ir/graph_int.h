/* SPDX-License-Identifier: Apache-2.0 */
/* graph_int.h - the graph as its builder, printer, parser and verifier see it.
**
** Nodes, operands, types, attribute lists, blobs and locations lie in growing
** arrays; row 0 of each is the "none" row.  An interned table finds a row by
** the hash of its content: equal hashes take the next key, so equal ids never
** rest on a hash alone.  Included by graph.c, attr.c, loc.c, build.c,
** simplify.c, known.c, rewrite.c, print.c, parse.c, verify.c, op_rule.c and
** their tests. */
#ifndef VLPC_IR_GRAPH_INT_H
#define VLPC_IR_GRAPH_INT_H

#include "base/map.h"
#include "base/vec.h"
#include "ir/ir_int.h"

typedef struct {
  OpCode op;
  uint32_t n_in;
  uint32_t in_at; /* first operand in Graph.operand */
  TypeId type;
  AttrId attr;
  LocId loc;
} Node;

typedef struct {
  uint32_t at, n; /* span of Graph.attr */
} AttrList;

typedef struct {
  Blob blob;
  bool is_owned; /* bytes lie in the graph's arena */
} BlobRow;

struct Graph {
  Arena *arena;
  DimTable *dims;
  Names *text; /* every string the graph keeps */
  VEC(Node) node;
  VEC(Val) operand;
  VEC(Type) type;
  VEC(Attr) attr;
  VEC(AttrList) attr_list;
  VEC(BlobRow) blob;
  VEC(Loc) loc;
  Map *node_index, *type_index, *attr_index, *blob_index, *loc_index;
  VEC(Named) input, output, point;
  LocId here; /* of the nodes made now */
  Why why;
};

/* ---- graph.c -------------------------------------------------------------- */

/* Looks the item up under hash; same says whether row id of g equals it.
** Returns the row, or `next` (then recorded: the caller appends that row). */
typedef bool SameFn(const Graph *g, uint32_t id, const void *item);
typedef struct {
  Map *index;
  uint64_t hash;
  SameFn *same;
  const void *item;
  uint32_t next;
} Lookup;
uint32_t graph_intern(const Graph *g, const Lookup *l);
const char *graph_text(Graph *g, const char *s); /* kept copy; NULL stays NULL */
const Node *graph_node(const Graph *g, Val v);
bool graph_count(const Graph *g, const Type *t, int64_t *out); /* as ir_count_const */

/* A node whose type is known. */
typedef struct {
  OpCode op;
  uint32_t n_in;
  const Val *in;
  TypeId type;
  AttrId attr;
} NewNode;
Val graph_push(Graph *g, const NewNode *n);  /* appends */
Val graph_share(Graph *g, const NewNode *n); /* an equal node, else appends */
void graph_pop(Graph *g);                    /* removes the last pushed node */
BlobId graph_blob_own(Graph *g, const void *data, uint64_t bytes, const char *name);
/* A new graph with src's dims, types and places under the same ids. */
Graph *graph_like(const Graph *src, Arena *to);
/* live[v] for values that an output needs (roots: these values instead). */
bool *graph_live(const Graph *g, Arena *a, const Named *root, uint32_t n);
/* Symbols in the type and the attributes of v: bit s for SymId s. */
uint64_t graph_symbols(const Graph *g, Val v);
/* Lets node v be found as an equal node. */
void graph_index(Graph *g, Val v);
/* Empties the tables of attribute lists and blobs, and the index of nodes. */
void graph_reset_tables(Graph *g);

/* ---- compact.c -------------------------------------------------------------*/

/* Removes nodes that neither an output needs nor are inputs, points at them,
** and blobs without nodes.  Values and blobs are renumbered. */
void graph_compact(Graph *g);

/* ---- attr.c ----------------------------------------------------------------*/

const char *attr_name(AttrKey k);
const char *attr_what(AttrKey k);
bool attr_find(const char *name, size_t n, AttrKey *out);
bool attr_takes(OpCode op, AttrKey k); /* the op has such an attribute */
#define ATTR_MAX 8                     /* attributes of one node */
/* Sorts by key; false when a key stands twice. */
bool attr_sort(Attr *at, uint32_t n);
/* Interns a sorted list, copying what it points at. */
AttrId attr_intern(Graph *g, const Attr *at, uint32_t n);
/* A list of `from` (at most ATTR_MAX long) with the blobs as `to` knows them:
** bytes that another arena owns are copied. */
uint32_t attr_bring(Graph *to, const Graph *from, AttrId list, Attr *out);

/* ---- build.c ---------------------------------------------------------------*/

/* A node being made: what infer_run gets, and room for its copies. */
typedef struct {
  Infer x;
  Val in[4];
  Attr attr[ATTR_MAX];
} Draft;
typedef struct {
  OpCode op;
  uint32_t n_in;
  const Val *in;
  uint32_t n_attr;
  const Attr *attr;
  TypeId type; /* of input, const and dims; else none */
} NodeSpec;
/* Copies the spec into d and infers the type; false with g's why set. */
bool draft_infer(Graph *g, const NodeSpec *s, Draft *d);
/* Adds exactly this node: no folding, no sharing, operands as they stand. */
Val graph_node_exact(Graph *g, const NodeSpec *s);
/* ir_node with the type of input, const or dims given. */
Val graph_node_folded(Graph *g, const NodeSpec *s);
bool graph_fail(Graph *g, const char *sentence, const char *found, const char *expected);

/* ---- simplify.c ------------------------------------------------------------*/

/* The value of an inferred node when it need not exist, else VAL_NONE. */
Val simplify(Graph *g, Draft *d);

#endif
