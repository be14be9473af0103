/* SPDX-License-Identifier: Apache-2.0 */
/* grad_index.c - gradients of ops by index.  What was gathered is added back,
** element by element in the order of the indices (scatter_add), so repeated
** indices sum in one fixed order. */
#include "ir/ir_int.h"
#include "ir/words.h"

static Val in(const GradCtx *c, uint32_t i) { return ir_in(c->g, c->v, i); }

/* Zeros of the operand's sizes with updates added at ids[…, k]. */
static Val add_into(const GradCtx *c, Type t, Val ids, Val updates) {
  Val args[3] = {w_fill(c->g, t, 0), ids, updates};
  if (!val_ok(ids) || !val_ok(updates) || !val_ok(args[0])) return VAL_NONE;
  return ir_node(c->g, OP_scatter_add, 3, args, 0, NULL);
}

/* ids as tuples of one index. */
static Val as_tuples(Graph *g, Val ids) {
  Type t = w_type(g, ids);
  if (t.rank == VLPC_MAX_RANK) return VAL_NONE;
  t.dim[t.rank++] = dim_const(ir_dims(g), 1);
  return w_reshape(g, ids, t);
}

/* The gathered axis comes first, is added into, and goes back. */
static Val scatter_axis(const GradCtx *c, uint32_t axis) {
  Graph *g = c->g;
  Type t = w_type(g, in(c, 0)), ids = w_type(g, in(c, 1)), first = t;
  int64_t perm[VLPC_MAX_RANK];
  uint32_t n = 0;
  for (uint32_t i = 0; i < ids.rank; i++) perm[n++] = axis + i;
  for (uint32_t i = 0; i < axis; i++) perm[n++] = i;
  for (uint32_t i = axis + 1; i < t.rank; i++) perm[n++] = ids.rank + i - 1;
  first.dim[0] = t.dim[axis];
  for (uint32_t i = 0; i < axis; i++) first.dim[i + 1] = t.dim[i];
  Val dx = add_into(c, first, as_tuples(g, in(c, 1)), w_permute(g, c->dy, perm));
  return w_move_axis(g, dx, 0, axis);
}

Val grad_gather(const GradCtx *c) {
  return scatter_axis(c, (uint32_t)ir_attr_int(c->g, c->v, A_axis, 0));
}

Val grad_embedding(const GradCtx *c) { return scatter_axis(c, 0); }

/* 0 … n-1 along an axis of `like`, whose last axis becomes 1: one component of
** index tuples, of the ids' element type. */
static Val component(Graph *g, Type like, uint32_t axis) {
  Type along = like, full = like;
  for (uint32_t i = 0; i < like.rank; i++)
    if (i != axis) along.dim[i] = dim_const(ir_dims(g), 1);
  full.dim[full.rank - 1] = along.dim[along.rank - 1] = dim_const(ir_dims(g), 1);
  Val count = w_cast(g, w_iota(g, like.dim[axis]), like.dtype);
  return w_broadcast(g, w_reshape(g, count, along), full);
}

static Val join_components(Graph *g, const Val *part, uint32_t n, uint32_t axis) {
  for (uint32_t i = 0; i < n; i++)
    if (!val_ok(part[i])) return VAL_NONE;
  return ir_concat(g, part, n, axis);
}

Val grad_gather_nd(const GradCtx *c) {
  Graph *g = c->g;
  Type ids = w_type(g, in(c, 1));
  uint32_t batch = (uint32_t)ir_attr_int(g, c->v, A_batch_dims, 0);
  Val part[VLPC_MAX_RANK + 1];
  for (uint32_t i = 0; i < batch; i++) part[i] = component(g, ids, i);
  part[batch] = in(c, 1);
  Val full = batch == 0 ? in(c, 1) : join_components(g, part, batch + 1, ids.rank - 1);
  return add_into(c, w_type(g, in(c, 0)), full, c->dy);
}

/* Every element's own place but on the axis, where the index stands. */
static Val scatter_elements(const GradCtx *c, Val ids, uint32_t axis) {
  Graph *g = c->g;
  Val part[VLPC_MAX_RANK], tuples = as_tuples(g, ids);
  if (!val_ok(tuples)) return VAL_NONE;
  Type t = w_type(g, tuples);
  uint32_t rank = t.rank - 1;
  for (uint32_t i = 0; i < rank; i++) part[i] = i == axis ? tuples : component(g, t, i);
  return add_into(c, w_type(g, in(c, 0)), join_components(g, part, rank, rank), c->dy);
}

Val grad_gather_elements(const GradCtx *c) {
  return scatter_elements(c, in(c, 1), (uint32_t)ir_attr_int(c->g, c->v, A_axis, 0));
}

/* To the picked elements. */
Val grad_topk_values(const GradCtx *c) {
  const Attr *own = NULL;
  Attr at[8];
  uint32_t n = ir_attrs(c->g, c->v, &own);
  for (uint32_t i = 0; i < n && i < VL_COUNT(at); i++) at[i] = own[i];
  Val x = in(c, 0), ids = ir_node(c->g, OP_topk_indices, 1, &x, n, at);
  uint32_t axis = (uint32_t)ir_attr_int(c->g, c->v, A_axis, 0);
  return val_ok(ids) ? scatter_elements(c, ids, axis) : VAL_NONE;
}

/* ---- scatter ------------------------------------------------------------- */

/* Updates that stay: the last of equal indices.  Their numbers, scattered and
** gathered again, are their own. */
static Val is_last(Graph *g, Val data, Val ids) {
  Type t = w_type(g, ids), whole = w_type(g, data), tuples = t;
  int64_t k = 0;
  bool known = dim_is_const(ir_dims(g), t.dim[t.rank - 1], &k);
  DimId n = dim_const(ir_dims(g), 1);
  for (uint32_t i = 0; i + 1 < t.rank; i++) n = dim_mul(ir_dims(g), n, t.dim[i]);
  if (!known || n == DIM_NONE) return VAL_NONE;
  tuples.rank--;
  tuples.dtype = whole.dtype = VLPC_I64;
  whole.rank = (uint32_t)k;
  Val number = w_reshape(g, w_iota(g, n), tuples), none = w_fill(g, whole, 0);
  Val args[3] = {none, ids, number};
  Val winner = val_ok(none) && val_ok(number) ? ir_node(g, OP_scatter_nd, 3, args, 0, NULL) : none;
  Val back[2] = {winner, ids};
  return val_ok(winner) ? w_ew2(g, OP_eq, ir_node(g, OP_gather_nd, 2, back, 0, NULL), number)
                        : VAL_NONE;
}

/* cond, of the leading sizes of a, for every element of a. */
static Val over_rest(Graph *g, Val cond, Type a) {
  if (!val_ok(cond)) return VAL_NONE;
  Type t = w_type(g, cond);
  for (uint32_t i = t.rank; i < a.rank; i++) t.dim[i] = dim_const(ir_dims(g), 1);
  t.rank = a.rank;
  return w_reshape(g, cond, t);
}

Val grad_scatter_nd(const GradCtx *c) {
  Graph *g = c->g;
  Type up = w_type(g, in(c, 2));
  if (c->i == 0) {
    Val args[3] = {c->dy, in(c, 1), w_fill(g, up, 0)};
    return val_ok(args[2]) ? ir_node(g, OP_scatter_nd, 3, args, 0, NULL) : VAL_NONE;
  }
  Val args[2] = {c->dy, in(c, 1)}, all = ir_node(g, OP_gather_nd, 2, args, 0, NULL);
  Val stays = over_rest(g, is_last(g, in(c, 0), in(c, 1)), up);
  return w_where(g, stays, all, ir_scalar(g, up.dtype, 0));
}
