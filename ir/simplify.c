/* SPDX-License-Identifier: Apache-2.0 */
/* simplify.c - nodes that need not be made.
**
** In this order: results that are known sizes become `dims` or a constant;
** nodes that change nothing become their operand, and moves of moves one move;
** results of constants are computed, within limits that keep weights from being
** copied.  Every rule gives an equal value (only the sign of a zero may differ
** in x + 0), keeps the type, and leaves no more nodes than there were. */
#include <string.h>

#include "ir/graph_int.h"

/* Elements of a folded result: moves and casts of weights stay nodes, masks of
** 77 × 77 do not; arithmetic on a position table is folded. */
#define FOLD_MOVE 8192
#define FOLD_ARITH 262144
#define FOLD_HEAVY 4096 /* contractions and semantic ops */
#define FOLD_READ ((int64_t)1 << 20)
#define MAX_SIZES 64

static TypeId type_of_draft(Graph *g, const Infer *x) {
  return ir_type(g, x->out.dtype, x->out.rank, x->out.dim);
}

/* ---- known sizes ---------------------------------------------------------- */

static Val const_of_ints(Graph *g, TypeId type, const int64_t *v, uint32_t n) {
  VlDtype dtype = ir_type_get(g, type)->dtype;
  uint64_t bytes = (uint64_t)n * dtype_size(dtype);
  void *data = arena_array_bytes(g->arena, bytes, 1);
  for (uint32_t i = 0; i < n; i++) dtype_store_i64(dtype, data, i, v[i]);
  return ir_const(g, type, graph_blob_own(g, data, bytes, NULL));
}

static Val value_of_sizes(Graph *g, const Infer *x, const DimId *dim, uint32_t n) {
  int64_t size[MAX_SIZES];
  uint32_t known = 0;
  while (known < n && dim_is_const(g->dims, dim[known], &size[known])) known++;
  TypeId type = type_of_draft(g, x);
  if (known == n) return const_of_ints(g, type, size, n);
  if (x->op == OP_dims || x->out.rank > 1) return VAL_NONE;
  Attr a = attr_dims(A_dims, dim, n);
  NodeSpec s = {OP_dims, 0, NULL, 1, &a, type};
  return graph_node_folded(g, &s);
}

static Val as_sizes(Graph *g, const Infer *x) {
  if (x->op == OP_dims) {
    const Attr *a = infer_attr(x, A_dims);
    return a->n <= MAX_SIZES ? value_of_sizes(g, x, a->dims, a->n) : VAL_NONE;
  }
  if (op_info(x->op)->kind == K_SOURCE || dtype_is_float(x->out.dtype)) return VAL_NONE;
  DimId dim[MAX_SIZES];
  uint32_t n = 0;
  return fold_dims(g, x, dim, MAX_SIZES, &n) ? value_of_sizes(g, x, dim, n) : VAL_NONE;
}

/* ---- nodes that change nothing -------------------------------------------- */

static bool keeps_type(Graph *g, const Infer *x, Val v) {
  return ir_type_id(g, v).i == type_of_draft(g, x).i;
}

/* Operand `unit` of the op, on the right or (left: also) on the left, gives the
** other operand. */
static const struct {
  OpCode op;
  double unit;
  bool left;
} units[] = {{OP_add, 0, true},  {OP_sub, 0, false}, {OP_mul, 1, true}, {OP_div, 1, false},
             {OP_pow, 1, false}, {OP_and, 1, true},  {OP_or, 0, true}};

static Val without_unit(Graph *g, const Infer *x) {
  for (uint32_t u = 0; u < VL_COUNT(units); u++) {
    if (units[u].op != x->op) continue;
    for (uint32_t i = units[u].left ? 0 : 1; i < 2; i++) {
      double v = 0;
      Val other = x->in[1 - i];
      if (ir_is_splat(g, x->in[i], &v) && v == units[u].unit && keeps_type(g, x, other))
        return other;
    }
  }
  return VAL_NONE;
}

static Val chosen_branch(Graph *g, const Infer *x) {
  double v = 0;
  if (!ir_is_splat(g, x->in[0], &v)) return VAL_NONE;
  Val branch = v != 0 ? x->in[1] : x->in[2];
  return keeps_type(g, x, branch) ? branch : VAL_NONE;
}

static bool is_whole_slice(Graph *g, const Infer *x) {
  if (!keeps_type(g, x, x->in[0])) return false;
  const Attr *steps = infer_attr(x, A_steps);
  for (uint32_t i = 0; steps != NULL && i < steps->n; i++)
    if (steps->ints[i] != 1) return false;
  return true;
}

static Val without_permute(Graph *g, const Infer *x) {
  const Attr *perm = infer_attr(x, A_perm);
  bool is_identity = true;
  for (uint32_t i = 0; i < perm->n; i++) is_identity = is_identity && perm->ints[i] == i;
  if (is_identity) return x->in[0];
  if (ir_op(g, x->in[0]) != OP_permute) return VAL_NONE;
  const int64_t *inner = ir_attr(g, x->in[0], A_perm)->ints;
  int64_t both[VLPC_MAX_RANK];
  for (uint32_t i = 0; i < perm->n; i++) both[i] = inner[perm->ints[i]];
  return ir_permute(g, ir_in(g, x->in[0], 0), both, perm->n);
}

/* reshape of reshape, broadcast of broadcast: only the last sizes count. */
static Val without_inner(Graph *g, const Infer *x) {
  if (keeps_type(g, x, x->in[0])) return x->in[0];
  if (ir_op(g, x->in[0]) != x->op) return VAL_NONE;
  Val inner = ir_in(g, x->in[0], 0);
  return ir_node(g, x->op, 1, &inner, x->n_attr, x->attr);
}

static Val without_reshape(Graph *g, const Infer *x) {
  Val v = without_inner(g, x);
  if (v.i != 0 || ir_op(g, x->in[0]) != OP_const) return v;
  return ir_const(g, type_of_draft(g, x), ir_attr(g, x->in[0], A_blob)->blob);
}

static Val as_operand(Graph *g, const Infer *x) {
  switch ((int)x->op) {
  case OP_reshape: return without_reshape(g, x);
  case OP_broadcast: return without_inner(g, x);
  case OP_permute: return without_permute(g, x);
  case OP_cast: return keeps_type(g, x, x->in[0]) ? x->in[0] : VAL_NONE;
  case OP_slice: return is_whole_slice(g, x) ? x->in[0] : VAL_NONE;
  case OP_concat: return x->n_in == 1 ? x->in[0] : VAL_NONE;
  case OP_where: return chosen_branch(g, x);
  default: return x->n_in == 2 ? without_unit(g, x) : VAL_NONE;
  }
}

/* ---- constants ------------------------------------------------------------ */

static int64_t fold_limit(OpCode op) {
  OpKind kind = op_info(op)->kind;
  if (kind == K_CONTRACT || kind == K_SEMANTIC) return FOLD_HEAVY;
  return kind == K_MOVE || op == OP_cast ? FOLD_MOVE : FOLD_ARITH;
}

static bool may_fold(const Graph *g, const Infer *x, int64_t *count) {
  if (x->op == OP_input || x->op == OP_const || x->op == OP_dims) return false;
  int64_t read = 0, n = 0;
  if (!graph_count(g, &x->out, count) || *count > fold_limit(x->op)) return false;
  for (uint32_t i = 0; i < x->n_in; i++) {
    if (x->in[i].i == 0) continue;
    if (ir_op(g, x->in[i]) != OP_const || !ir_count_const(g, x->in[i], &n)) return false;
    if (!vl_add_i64(read, n, &read) || read > FOLD_READ) return false;
  }
  return true;
}

static RefTensor const_tensor(const Graph *g, Arena *a, Val v) {
  const Type *t = ir_type_of(g, v);
  int64_t size[VLPC_MAX_RANK] = {0};
  for (uint32_t i = 0; i < t->rank; i++)
    VL_CHECK(dim_is_const(g->dims, t->dim[i], &size[i]), "a constant has constant sizes");
  const Blob *b = ir_blob_get(g, ir_attr(g, v, A_blob)->blob);
  return ref_from_bytes(a, t->dtype, t->rank, size, b->data);
}

/* Computes node v, whose operands are constants, into data.  All memory is
** scratch's, so running out of it only means that the node stays. */
static bool compute(const Graph *g, Arena *scratch, Val v, void *data) {
  if (ARENA_GUARD(scratch)) return false;
  uint32_t n = ir_n_in(g, v);
  RefTensor *in = arena_array(scratch, RefTensor, n), out;
  for (uint32_t i = 0; i < n; i++)
    if (ir_in(g, v, i).i != 0) in[i] = const_tensor(g, scratch, ir_in(g, v, i));
  if (ir_eval_node(g, scratch, v, NULL, in, &out, NULL) != VLPC_OK) return false;
  ref_to_bytes(&out, data);
  return true;
}

/* The node is pushed while it is computed, for its attributes. */
static bool compute_draft(Graph *g, const Infer *x, TypeId type, void *data) {
  NewNode n = {x->op, x->n_in, x->in, type, attr_intern(g, x->attr, x->n_attr)};
  Val v = graph_push(g, &n);
  Arena *scratch = arena_new(0);
  bool ok = scratch != NULL && compute(g, scratch, v, data);
  arena_free(scratch);
  graph_pop(g);
  return ok;
}

static Val as_const(Graph *g, const Infer *x) {
  int64_t count = 0;
  if (!may_fold(g, x, &count)) return VAL_NONE;
  TypeId type = type_of_draft(g, x);
  uint64_t bytes = (uint64_t)count * dtype_size(x->out.dtype);
  void *data = arena_array_bytes(g->arena, bytes, 1);
  if (!compute_draft(g, x, type, data)) return VAL_NONE;
  return ir_const(g, type, graph_blob_own(g, data, bytes, NULL));
}

Val simplify(Graph *g, Draft *d) {
  Val v = as_sizes(g, &d->x);
  if (v.i == 0) v = as_operand(g, &d->x);
  return v.i != 0 ? v : as_const(g, &d->x);
}
