/* SPDX-License-Identifier: Apache-2.0 */
/* compact.c - removing what a finished rewrite left over: nodes that neither an
** output needs nor are inputs, points at them, and blobs that no node names.
** What stays keeps its order and is numbered densely; the indices that find
** equal nodes, attribute lists and blobs are made anew. */
#include "ir/graph_int.h"

/* Moves node i down to the end of what is kept. */
static Val keep_node(Graph *g, uint32_t i, const Val *to) {
  Node n = g->node.at[i];
  uint32_t at = g->operand.n;
  for (uint32_t j = 0; j < n.n_in; j++) {
    Val in = g->operand.at[n.in_at + j];
    g->operand.at[g->operand.n++] = to[in.i];
  }
  n.in_at = at;
  g->node.at[g->node.n++] = n;
  return (Val){g->node.n - 1};
}

/* Moves the names whose value stays to their new values; returns how many. */
static uint32_t keep_names(Named *at, uint32_t n, const Val *to) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < n; i++)
    if (to[at[i].v.i].i != 0) at[kept++] = (Named){at[i].name, to[at[i].v.i]};
  return kept;
}

static void compact_nodes(Graph *g) {
  uint32_t n = g->node.n;
  bool *live = graph_live(g, g->arena, g->output.at, g->output.n);
  Val *to = arena_array(g->arena, Val, n);
  g->node.n = 1;
  g->operand.n = 0;
  for (uint32_t i = 1; i < n; i++)
    if (live[i] || g->node.at[i].op == OP_input) to[i] = keep_node(g, i, to);
  g->input.n = keep_names(g->input.at, g->input.n, to);
  g->output.n = keep_names(g->output.at, g->output.n, to);
  g->point.n = keep_names(g->point.at, g->point.n, to);
}

/* Attribute lists and blobs in order of first use. */
static void compact_tables(Graph *g) {
  const Graph old = *g;
  graph_reset_tables(g);
  for (uint32_t i = 1; i < g->node.n; i++) {
    Node *n = &g->node.at[i];
    Attr at[ATTR_MAX];
    uint32_t n_attr = attr_bring(g, &old, n->attr, at);
    n->attr = attr_intern(g, at, n_attr);
    graph_index(g, (Val){i});
  }
}

void graph_compact(Graph *g) {
  compact_nodes(g);
  compact_tables(g);
}
