/* SPDX-License-Identifier: Apache-2.0 */
/* rewrite.c - rebuilding a graph with some nodes replaced.
**
** Values are visited in order, so operands come mapped.  The new graph starts
** with the old one's dims, types and places under the same ids; constants that
** the old arena owns are copied.  At the end what nobody needs is removed. */
#include <string.h>

#include "ir/graph_int.h"

typedef struct {
  Rewrite rw;
  Val *map;
  RewriteFn *fn;
  bool changed;
} Job;

static Val copy_node(Job *j, Val v, const Val *in) {
  Graph *dst = j->rw.dst;
  OpCode op = ir_op(j->rw.src, v);
  TypeId t = ir_type_id(j->rw.src, v);
  if (op == OP_input) return ir_input(dst, ir_attr(j->rw.src, v, A_name)->str, t);
  Attr attr[ATTR_MAX];
  uint32_t n_attr = attr_bring(dst, j->rw.src, ir_attr_id(j->rw.src, v), attr);
  bool is_typed = op == OP_const || op == OP_dims;
  NodeSpec s = {op, ir_n_in(j->rw.src, v), in, n_attr, attr, is_typed ? t : (TypeId){0}};
  return graph_node_folded(dst, &s);
}

/* Places of a node that gave way to an older one stay findable. */
static void merge_place(Graph *dst, Val v, uint32_t n_before, LocId l) {
  Node *n = &dst->node.at[v.i];
  if (v.i <= n_before && op_info(n->op)->kind != K_SOURCE) n->loc = ir_loc_merge(dst, n->loc, l);
}

static Val ask(Job *j, Val v, const Val *in) {
  if (j->fn == NULL) return VAL_NONE;
  uint32_t n_before = ir_n_vals(j->rw.dst);
  Val to = j->fn(&j->rw, v, in, ir_n_in(j->rw.src, v));
  if (to.i == 0) return to;
  j->changed = true;
  merge_place(j->rw.dst, to, n_before, ir_loc(j->rw.src, v));
  return to;
}

static void visit(Job *j, Val v, Val *in, bool is_live) {
  const Graph *src = j->rw.src;
  for (uint32_t i = 0; i < ir_n_in(src, v); i++) in[i] = j->map[ir_in(src, v, i).i];
  ir_set_loc(j->rw.dst, ir_loc(src, v));
  bool is_input = ir_op(src, v) == OP_input;
  if (is_input) j->map[v.i] = copy_node(j, v, in);
  Val to = is_live ? ask(j, v, in) : VAL_NONE;
  if (to.i != 0) j->map[v.i] = to;
  else if (!is_input) j->map[v.i] = copy_node(j, v, in);
  VL_CHECK(j->map[v.i].i != 0, "ir_rewrite: a node does not fit its new operands");
}

/* Copies live values, and all inputs or only the live ones. */
static void copy_live(Job *j, const bool *live, bool all_inputs) {
  const Graph *src = j->rw.src;
  Val *in = arena_array(j->rw.dst->arena, Val, ir_most_in(src));
  for (uint32_t i = 1; i < src->node.n; i++) {
    bool is_kept = all_inputs && src->node.at[i].op == OP_input;
    if (live[i] || is_kept) visit(j, (Val){i}, in, live[i]);
  }
  ir_set_loc(j->rw.dst, (LocId){0});
}

static void copy_points(Job *j) {
  const Graph *src = j->rw.src;
  for (uint32_t i = 0; i < src->point.n; i++) {
    Val v = j->map[src->point.at[i].v.i];
    if (v.i != 0) ir_point(j->rw.dst, src->point.at[i].name, v);
  }
}

static Job job_new(const Graph *src, Arena *to, RewriteFn *fn, void *ctx) {
  Graph *dst = graph_like(src, to);
  Val *map = arena_array(to, Val, src->node.n);
  return (Job){{src, dst, map, ctx}, map, fn, false};
}

Graph *ir_rewrite(const Graph *src, Arena *to, RewriteFn *fn, void *ctx, bool *changed) {
  Job j = job_new(src, to, fn, ctx);
  copy_live(&j, graph_live(src, to, src->output.at, src->output.n), true);
  for (uint32_t i = 0; i < src->output.n; i++)
    ir_output(j.rw.dst, src->output.at[i].name, j.map[src->output.at[i].v.i]);
  copy_points(&j);
  graph_compact(j.rw.dst);
  if (changed != NULL) *changed = j.changed;
  return j.rw.dst;
}

/* Makes an input live when only it gives a symbol that live values use. */
static void keep_binding_inputs(const Graph *g, bool *live) {
  uint64_t used = 0, bound = 0;
  for (uint32_t i = 1; i < g->node.n; i++) {
    if (!live[i]) continue;
    used |= graph_symbols(g, (Val){i});
    if (g->node.at[i].op == OP_input) bound |= graph_symbols(g, (Val){i});
  }
  for (uint32_t i = 0; i < g->input.n; i++) {
    uint64_t has = graph_symbols(g, g->input.at[i].v);
    if ((has & used & ~bound) == 0) continue;
    live[g->input.at[i].v.i] = true;
    bound |= has;
  }
}

Graph *ir_extract(const Graph *src, Arena *to, const Named *outputs, uint32_t n) {
  Named *root = arena_array(to, Named, n);
  for (uint32_t i = 0; i < n; i++) {
    root[i] = outputs[i];
    if (root[i].v.i == 0) root[i].v = ir_output_named(src, root[i].name);
    if (root[i].v.i == 0) root[i].v = ir_point_named(src, root[i].name);
    if (root[i].v.i == 0) return NULL;
  }
  Job j = job_new(src, to, NULL, NULL);
  bool *live = graph_live(src, to, root, n);
  keep_binding_inputs(src, live);
  copy_live(&j, live, false);
  for (uint32_t i = 0; i < n; i++) ir_output(j.rw.dst, root[i].name, j.map[root[i].v.i]);
  copy_points(&j);
  graph_compact(j.rw.dst);
  return j.rw.dst;
}
