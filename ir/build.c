/* SPDX-License-Identifier: Apache-2.0 */
/* build.c - the one way to add a node, and its short forms.
**
** ir_node: copy the caller's lists, check the attributes, infer the type, put
** the operands of commutative ops in order of their index, let simplify.c find
** a value that makes the node needless, else share an equal node or append. */
#include <string.h>

#include "ir/graph_int.h"

bool graph_fail(Graph *g, const char *sentence, const char *found, const char *expected) {
  g->why = (Why){sentence, found, expected};
  return false;
}

void ir_set_loc(Graph *g, LocId l) {
  VL_CHECK(l.i < g->loc.n, "ir_set_loc: no such place");
  g->here = l;
}

Why ir_why(const Graph *g) { return g->why; }

/* ---- inference ------------------------------------------------------------ */

/* "axis, keepdims" */
static const char *keys_of(const Graph *g, OpCode op) {
  Str s = {.arena = g->arena};
  for (AttrKey k = A_none + 1; k < A__COUNT; k++)
    if (attr_takes(op, k)) str_printf(&s, "%s%s", s.n > 0 ? ", " : "", attr_name(k));
  return s.n > 0 ? str_text(&s) : "no attribute";
}

static bool check_attrs(Graph *g, const NodeSpec *s, Draft *d) {
  if (s->n_attr > ATTR_MAX) return graph_fail(g, "too many attributes", NULL, NULL);
  for (uint32_t i = 0; i < s->n_attr; i++) {
    d->attr[i] = s->attr[i];
    if (!attr_takes(s->op, s->attr[i].key))
      return graph_fail(g, "the op has no such attribute", attr_name(s->attr[i].key),
                        keys_of(g, s->op));
  }
  if (!attr_sort(d->attr, s->n_attr)) return graph_fail(g, "an attribute stands twice", NULL, NULL);
  return true;
}

/* Flags that are zero mean the same as flags left out; left out is the form
** that is kept. */
static void drop_zero_flags(Infer *x) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < x->n_attr; i++) {
    const Attr *a = &x->attr[i];
    bool is_flag = a->key == A_keepdims || a->key == A_last || a->key == A_exclusive ||
                   a->key == A_reverse || a->key == A_causal;
    if (!is_flag || a->i != 0) x->attr[n++] = *a;
  }
  x->n_attr = n;
}

/* Absent operands at the end are dropped. */
static void copy_operands(Graph *g, const NodeSpec *s, Draft *d) {
  uint32_t n = s->n_in;
  while (n > op_info(s->op)->min_in && s->in[n - 1].i == 0) n--;
  Val *to = n <= VL_COUNT(d->in) ? d->in : arena_array(g->arena, Val, n);
  for (uint32_t i = 0; i < n; i++) {
    VL_CHECK(s->in[i].i < g->node.n, "ir_node: no such operand");
    to[i] = s->in[i];
  }
  d->x.in = to;
  d->x.n_in = n;
}

bool draft_infer(Graph *g, const NodeSpec *s, Draft *d) {
  VL_CHECK(s->op > OP_none && s->op < OP__COUNT, "ir_node: no such op");
  memset(d, 0, sizeof *d);
  if (!check_attrs(g, s, d)) return false;
  d->x.g = g;
  d->x.op = s->op;
  d->x.n_attr = s->n_attr;
  d->x.attr = d->attr;
  copy_operands(g, s, d);
  if (s->type.i != 0) d->x.out = *ir_type_get(g, s->type);
  if (!infer_run(&d->x)) {
    g->why = d->x.why;
    return false;
  }
  drop_zero_flags(&d->x);
  return true;
}

static NewNode finish(Graph *g, const Draft *d) {
  TypeId type = ir_type(g, d->x.out.dtype, d->x.out.rank, d->x.out.dim);
  AttrId attr = attr_intern(g, d->x.attr, d->x.n_attr);
  return (NewNode){d->x.op, d->x.n_in, d->x.in, type, attr};
}

Val graph_node_exact(Graph *g, const NodeSpec *s) {
  Draft d;
  g->why = (Why){0};
  if (!draft_infer(g, s, &d)) return VAL_NONE;
  NewNode n = finish(g, &d);
  return graph_push(g, &n);
}

static void order_operands(Draft *d) {
  bool is_comm = (op_info(d->x.op)->flags & F_COMM) != 0 && d->x.n_in == 2;
  if (!is_comm || d->in[0].i <= d->in[1].i) return;
  Val first = d->in[0];
  d->in[0] = d->in[1];
  d->in[1] = first;
}

Val graph_node_folded(Graph *g, const NodeSpec *s) {
  Draft d;
  g->why = (Why){0};
  if (!draft_infer(g, s, &d)) return VAL_NONE;
  order_operands(&d);
  Val known = simplify(g, &d);
  if (known.i != 0) return known;
  NewNode n = finish(g, &d);
  return s->op == OP_input ? graph_push(g, &n) : graph_share(g, &n);
}

Val ir_node(Graph *g, OpCode op, uint32_t n_in, const Val *in, uint32_t n_attr, const Attr *attr) {
  VL_CHECK(op != OP_input && op != OP_const, "ir_node: ir_input and ir_const make sources");
  NodeSpec s = {op, n_in, in, n_attr, attr, {0}};
  return graph_node_folded(g, &s);
}

/* ---- sources -------------------------------------------------------------- */

Val ir_input(Graph *g, const char *name, TypeId t) {
  Attr a = attr_str(A_name, name);
  NodeSpec s = {OP_input, 0, NULL, 1, &a, t};
  Val v = graph_node_folded(g, &s);
  if (v.i == 0) return v;
  const char *kept = graph_text(g, name);
  *vec_push(g->arena, &g->input) = (Named){kept, v};
  return v;
}

Val ir_const(Graph *g, TypeId t, BlobId b) {
  Attr a = attr_blob(b);
  NodeSpec s = {OP_const, 0, NULL, 1, &a, t};
  return graph_node_folded(g, &s);
}

Val ir_scalar(Graph *g, VlDtype t, double v) {
  uint64_t room = 0;
  dtype_store(t, &room, 0, v);
  return ir_const(g, ir_type(g, t, 0, NULL), ir_blob_copy(g, &room, dtype_size(t), NULL));
}

Val ir_const_i64(Graph *g, const int64_t *v, uint32_t n) {
  int64_t size = n;
  TypeId t = ir_type_fixed(g, VLPC_I64, 1, &size);
  return ir_const(g, t, ir_blob_copy(g, v, (uint64_t)n * sizeof *v, NULL));
}

Val ir_dims_vec(Graph *g, const DimId *dim, uint32_t n) {
  Attr a = attr_dims(A_dims, dim, n);
  return ir_node(g, OP_dims, 0, NULL, 1, &a);
}

/* ---- short forms ---------------------------------------------------------- */

Val ir_ew1(Graph *g, OpCode op, Val a) { return ir_node(g, op, 1, &a, 0, NULL); }

Val ir_ew2(Graph *g, OpCode op, Val a, Val b) {
  Val in[2] = {a, b};
  return ir_node(g, op, 2, in, 0, NULL);
}

Val ir_cast(Graph *g, Val a, VlDtype to) {
  Attr at = attr_int(A_dtype, (int64_t)to);
  return ir_node(g, OP_cast, 1, &a, 1, &at);
}

Val ir_permute(Graph *g, Val a, const int64_t *perm, uint32_t n) {
  Attr at = attr_ints(A_perm, perm, n);
  return ir_node(g, OP_permute, 1, &a, 1, &at);
}

Val ir_reshape(Graph *g, Val a, const DimId *dim, uint32_t n) {
  Attr at = attr_dims(A_dims, dim, n);
  return ir_node(g, OP_reshape, 1, &a, 1, &at);
}

Val ir_broadcast(Graph *g, Val a, const DimId *dim, uint32_t n) {
  Attr at = attr_dims(A_dims, dim, n);
  return ir_node(g, OP_broadcast, 1, &a, 1, &at);
}

Val ir_slice_axis(Graph *g, Val a, uint32_t axis, DimId start, DimId size) {
  Type t = *ir_type_of(g, a);
  VL_CHECK(axis < t.rank, "ir_slice_axis: no such axis");
  DimId starts[VLPC_MAX_RANK];
  int64_t steps[VLPC_MAX_RANK];
  for (uint32_t i = 0; i < t.rank; i++) {
    starts[i] = i == axis ? start : dim_const(g->dims, 0);
    steps[i] = 1;
  }
  t.dim[axis] = size;
  Attr at[3] = {attr_dims(A_starts, starts, t.rank), attr_ints(A_steps, steps, t.rank),
                attr_dims(A_dims, t.dim, t.rank)};
  return ir_node(g, OP_slice, 1, &a, 3, at);
}

Val ir_concat(Graph *g, const Val *in, uint32_t n, int64_t axis) {
  Attr at = attr_int(A_axis, axis);
  return ir_node(g, OP_concat, n, in, 1, &at);
}

Val ir_reduce(Graph *g, OpCode op, Val a, const int64_t *axes, uint32_t n, bool keepdims) {
  Attr at[2] = {attr_ints(A_axes, axes, n), attr_int(A_keepdims, keepdims)};
  return ir_node(g, op, 1, &a, 2, at);
}
