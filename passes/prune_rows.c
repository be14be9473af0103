/* SPDX-License-Identifier: Apache-2.0 */
/* prune_rows.c - rows that nobody reads are not computed.
**
** in:     a slice of rows (the class token) or gather_nd of one row a sequence
**         (the end of a text) behind row-wise nodes
** out:    the rows are taken first: of the last block only these go through the
**         MLP, and for a slice through the attention as queries and their projection
** method: taking rows and a row-wise node change places, when nobody else reads
**         the node; repeated until something else stands there. */
#include "passes/pass_int.h"

#include <string.h>

/* The node takes whole rows: its last axis is as it was. */
static bool takes_rows(const Graph *g, Val src) {
  if (ir_op(g, src) == OP_gather_nd) return ir_attr_int(g, src, A_batch_dims, 0) == 1;
  if (ir_op(g, src) != OP_slice) return false;
  const Type *t = ir_type_of(g, src), *x = ir_type_of(g, ir_in(g, src, 0));
  const Attr *steps = ir_attr(g, src, A_steps);
  uint32_t last = t->rank - 1;
  return t->rank >= 2 && t->dim[last] == x->dim[last] && (steps == NULL || steps->ints[last] == 1);
}

/* The same rows of x, which has the rows of the node's operand but perhaps
** another width. */
static Val take(Rewrite *rw, Val src, const Val *in, Val x) {
  const Attr *a = NULL;
  Attr attr[4];
  uint32_t n = ir_attrs(rw->src, src, &a);
  Type t = *ir_type_of(rw->src, src);
  t.dim[t.rank - 1] = m_last_dim(rw->dst, x);
  for (uint32_t i = 0; i < n; i++)
    attr[i] = a[i].key == A_dims ? attr_dims(A_dims, t.dim, t.rank) : a[i];
  Val to[2] = {x, ir_n_in(rw->src, src) == 2 ? in[1] : VAL_NONE};
  return ir_node(rw->dst, ir_op(rw->src, src), ir_n_in(rw->src, src), to, n, attr);
}

/* Operand of an elementwise node: taken from, left (it is the same for all
** rows), or in the way. */
static bool take_operand(Rewrite *rw, Val src, const Val *in, Val *x) {
  Graph *g = rw->dst;
  const Type *t = ir_type_of(g, *x), *whole = ir_type_of(g, in[0]);
  if (t->rank <= 1) return true;
  if (t->rank != whole->rank) return false;
  for (uint32_t i = 0; i < t->rank; i++)
    if (t->dim[i] != whole->dim[i]) return false;
  *x = take(rw, src, in, *x);
  return val_ok(*x);
}

static Val same_op(Graph *g, Val v, const Val *to) {
  const Attr *attr = NULL;
  uint32_t n = ir_attrs(g, v, &attr);
  return ir_node(g, ir_op(g, v), ir_n_in(g, v), to, n, attr);
}

static Val through_ew(Rewrite *rw, Val src, const Val *in) {
  Graph *g = rw->dst;
  Val to[3];
  for (uint32_t i = 0; i < ir_n_in(g, in[0]); i++) {
    to[i] = ir_in(g, in[0], i);
    if (!take_operand(rw, src, in, &to[i])) return VAL_NONE;
  }
  return same_op(g, in[0], to);
}

static Val through_rows(Rewrite *rw, Val src, const Val *in) {
  Graph *g = rw->dst;
  if (ir_attr(g, in[0], A_axis) != NULL) return VAL_NONE; /* softmax: no need */
  Val to[3] = {take(rw, src, in, ir_in(g, in[0], 0))};
  for (uint32_t i = 1; i < ir_n_in(g, in[0]); i++) to[i] = ir_in(g, in[0], i);
  return val_ok(to[0]) ? same_op(g, in[0], to) : VAL_NONE;
}

/* Queries are rows too, when each sees the same keys. */
static Val through_attention(Rewrite *rw, Val src, const Val *in) {
  Graph *g = rw->dst;
  Val v = in[0], to[2 + 2 * ATTENTION_SEGMENTS] = {VAL_NONE};
  uint32_t n = ir_n_in(g, v);
  if (ir_op(rw->src, src) != OP_slice || ir_attr_int(g, v, A_causal, 0) != 0) return VAL_NONE;
  const Type *q = ir_type_of(g, ir_in(g, v, 0)), *some = ir_type_of(rw->src, src);
  for (uint32_t i = 0; i + 2 < q->rank; i++)
    if (q->dim[i] != some->dim[i]) return VAL_NONE;
  const Type *mask = attention_masked(n) ? ir_type_of(g, ir_in(g, v, n - 1)) : NULL;
  if (mask != NULL && mask->rank > 1 && !m_dim_is(g, mask->dim[mask->rank - 2], 1)) return VAL_NONE;
  for (uint32_t i = 0; i < n; i++) to[i] = ir_in(g, v, i);
  to[0] = take(rw, src, in, to[0]);
  return val_ok(to[0]) ? same_op(g, v, to) : VAL_NONE;
}

/* ---- rows and columns at once: the queries among packed q, k and v ------------ */

static bool column_range(const Graph *g, Val slice, int64_t *from, int64_t *to) {
  const Attr *starts = ir_attr(g, slice, A_starts), *steps = ir_attr(g, slice, A_steps);
  uint32_t last = ir_type_of(g, slice)->rank - 1;
  if (steps != NULL && steps->ints[last] != 1) return false;
  if (!dim_is_const(ir_dims(g), starts->dims[last], from)) return false;
  if (!dim_is_const(ir_dims(g), ir_type_of(g, slice)->dim[last], to)) return false;
  *to += *from;
  return true;
}

/* Nobody else reads the columns of the operand that the slice takes. */
static bool columns_alone(const Rewrite *rw, Val src) {
  Val x = ir_in(rw->src, src, 0);
  int64_t from = 0, to = 0, other_from = 0, other_to = 0;
  uint32_t n = 0;
  const Val *reader = m_readers(rw, x, &n);
  if (!column_range(rw->src, src, &from, &to) || m_uses(rw, x) != n) return false;
  for (uint32_t i = 0; i < n; i++) {
    if (val_eq(reader[i], src)) continue;
    if (!m_is(rw->src, reader[i], OP_slice)) return false;
    if (!column_range(rw->src, reader[i], &other_from, &other_to)) return false;
    if (other_from < to && from < other_to) return false;
  }
  return true;
}

static Val through_packed(Rewrite *rw, Val src, const Val *in) {
  Graph *g = rw->dst;
  Type some = *ir_type_of(rw->src, src);
  const Type *all = ir_type_of(g, in[0]), *x = ir_type_of(g, ir_in(g, in[0], 0));
  const Attr *starts = ir_attr(rw->src, src, A_starts), *steps = ir_attr(rw->src, src, A_steps);
  uint32_t last = some.rank - 1;
  bool fewer = false;
  for (uint32_t i = 0; i < last; i++) fewer = fewer || some.dim[i] != all->dim[i];
  if (!fewer || !columns_alone(rw, src)) return VAL_NONE;
  DimId begin[VLPC_MAX_RANK], columns = some.dim[last];
  memcpy(begin, starts->dims, some.rank * sizeof *begin);
  begin[last] = dim_const(ir_dims(g), 0);
  some.dim[last] = x->dim[last];
  Attr attr[3] = {attr_dims(A_starts, begin, some.rank), attr_dims(A_dims, some.dim, some.rank)};
  if (steps != NULL) attr[2] = *steps;
  Val to[3] = {ir_in(g, in[0], 0)};
  to[0] = ir_node(g, OP_slice, 1, to, steps != NULL ? 3 : 2, attr);
  for (uint32_t i = 1; i < ir_n_in(g, in[0]); i++) to[i] = ir_in(g, in[0], i);
  Val rows = val_ok(to[0]) ? same_op(g, in[0], to) : VAL_NONE;
  return val_ok(rows) ? ir_slice_axis(g, rows, last, starts->dims[last], columns) : VAL_NONE;
}

Val pass_prune_rows(Rewrite *rw, Val src, const Val *in, uint32_t n_in) {
  (void)n_in;
  Graph *g = rw->dst;
  bool is_slice = ir_op(rw->src, src) == OP_slice;
  if (is_slice && !takes_rows(rw->src, src) && m_is(g, in[0], OP_linear) && !m_const(g, in[0]))
    return through_packed(rw, src, in);
  if (!takes_rows(rw->src, src) || !m_sole_use(rw, src, 0) || m_const(g, in[0])) return VAL_NONE;
  OpCode op = ir_op(g, in[0]);
  if (op == OP_attention) return through_attention(rw, src, in);
  if (op_info(op)->kind == K_EW || op == OP_gelu) return through_ew(rw, src, in);
  if (op_info(op)->flags & F_ROWWISE) return through_rows(rw, src, in);
  return VAL_NONE;
}
