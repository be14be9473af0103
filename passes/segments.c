/* SPDX-License-Identifier: Apache-2.0 */
/* segments.c - keys and values in the pieces that they come in.
**
** in:     attention whose keys and values are row-wise functions of one concat
**         of rows, some of them the same for the whole batch (prompt rows)
** out:    a segment for each part of the concat; what all entries of the batch
**         share is computed once, and no concat is made
** leaves: concats whose queries are read whole: there the rows stay one value,
**         and so one product with the weights.  Rows that nobody reads are taken
**         from the queries by prune_rows, which comes before
** method: the row-wise nodes between concat and attention are made again on
**         each part; a part that is spread over the batch is used unspread. */
#include "passes/pass_int.h"

/* ---- what stands between a concat of rows and its reader --------------------- */

static bool is_rows_concat(const Graph *g, Val v) {
  uint32_t rank = ir_type_of(g, v)->rank;
  return m_is(g, v, OP_concat) && rank >= 3 && ir_attr_int(g, v, A_axis, 0) + 2 == rank;
}

/* A slice of columns: all other axes are whole. */
static bool takes_columns(const Graph *g, Val v) {
  const Type *t = ir_type_of(g, v), *x = ir_type_of(g, ir_in(g, v, 0));
  const Attr *steps = ir_attr(g, v, A_steps);
  for (uint32_t i = 0; i < t->rank; i++) {
    if (i + 1 < t->rank && t->dim[i] != x->dim[i]) return false;
    if (steps != NULL && steps->ints[i] != 1) return false;
  }
  return true;
}

static bool same_for_rows(const Graph *g, Val v) {
  const Type *t = ir_type_of(g, v);
  return t->rank <= 1 || m_dim_is(g, t->dim[t->rank - 2], 1);
}

/* The elementwise node's one operand with rows of its own; its index, or n. */
static uint32_t operand_of_rows(const Graph *g, Val v) {
  uint32_t n = ir_n_in(g, v), at = n;
  for (uint32_t i = 0; i < n; i++) {
    if (same_for_rows(g, ir_in(g, v, i))) continue;
    if (at != n || ir_type_of(g, ir_in(g, v, i))->rank != ir_type_of(g, v)->rank) return n;
    at = i;
  }
  return at;
}

/* Which operand the rows of a row-wise node come from; n_in when it is none. */
static uint32_t rows_from(const Graph *g, Val v) {
  OpCode op = ir_op(g, v);
  uint32_t n = ir_n_in(g, v);
  if (ir_type_of(g, v)->rank < 2) return n;
  if (op == OP_slice) return takes_columns(g, v) ? 0 : n;
  if (op == OP_linear || op == OP_layernorm || op == OP_l2norm || op == OP_gelu) return 0;
  return op_info(op)->kind == K_EW && op != OP_where ? operand_of_rows(g, v) : n;
}

/* The concat of rows that v is a row-wise function of; VAL_NONE: there is none. */
static Val rows_concat(const Graph *g, Val v) {
  for (int i = 0; i < CHAIN_MAX; i++) {
    if (is_rows_concat(g, v)) return v;
    uint32_t from = rows_from(g, v);
    if (from == ir_n_in(g, v)) break;
    v = ir_in(g, v, from);
  }
  return VAL_NONE;
}

/* ---- one part ---------------------------------------------------------------- */

/* x before it was spread over the batch, as [1, …, rows, width]; else x. */
static Val unspread(Graph *g, Val x) {
  if (!m_is(g, x, OP_broadcast)) return x;
  Val from = ir_in(g, x, 0);
  Type t = *ir_type_of(g, x), f = *ir_type_of(g, from);
  if (f.rank < 2) return x;
  for (uint32_t i = 1; i <= f.rank; i++) {
    bool kept = i <= 2 && f.dim[f.rank - i] == t.dim[t.rank - i];
    if (!kept && !(i > 2 && m_dim_is(g, f.dim[f.rank - i], 1))) return x;
  }
  for (uint32_t i = 0; i + 2 < t.rank; i++) t.dim[i] = dim_const(ir_dims(g), 1);
  return ir_reshape(g, from, t.dim, t.rank);
}

static bool has_shared_part(Graph *g, Val concat) {
  for (uint32_t i = 0; i < ir_n_in(g, concat); i++)
    if (!val_eq(unspread(g, ir_in(g, concat, i)), ir_in(g, concat, i))) return true;
  return false;
}

/* v, made on part i of the concat alone. */
static Val on_part(Graph *g, Val v, Val concat, uint32_t i) {
  if (val_eq(v, concat)) return unspread(g, ir_in(g, concat, i));
  uint32_t from = rows_from(g, v), n = ir_n_in(g, v);
  Val to[3] = {VAL_NONE}, x = on_part(g, ir_in(g, v, from), concat, i);
  if (!val_ok(x) || n > 3) return VAL_NONE;
  for (uint32_t k = 0; k < n; k++) to[k] = k == from ? x : ir_in(g, v, k);
  const Attr *attr = NULL;
  uint32_t n_attr = ir_attrs(g, v, &attr);
  if (ir_op(g, v) != OP_slice) return ir_node(g, ir_op(g, v), n, to, n_attr, attr);
  uint32_t last = ir_type_of(g, v)->rank - 1;
  return ir_slice_axis(g, x, last, ir_attr(g, v, A_starts)->dims[last], m_last_dim(g, v));
}

/* ---- attention --------------------------------------------------------------- */

typedef struct {
  Val in[2 + 2 * ATTENTION_SEGMENTS];
  uint32_t n;
} Operands;

static void add_segment(Operands *o, Val k, Val v) {
  o->in[o->n++] = k;
  o->in[o->n++] = v;
}

/* The concat that segment s comes from, when it is to be split into at most
** `most` parts. */
static Val to_split(Graph *g, const Val *in, uint32_t s, uint32_t most) {
  Val k = rows_concat(g, in[1 + 2 * s]), v = rows_concat(g, in[2 + 2 * s]);
  bool same = val_ok(k) && val_eq(k, v) && !val_eq(k, rows_concat(g, in[0]));
  return same && ir_n_in(g, k) <= most && has_shared_part(g, k) ? k : VAL_NONE;
}

static bool add_parts(Graph *g, Operands *o, const Val *kv, Val concat) {
  for (uint32_t i = 0; i < ir_n_in(g, concat); i++) {
    Val k = on_part(g, kv[0], concat, i), v = on_part(g, kv[1], concat, i);
    if (!val_ok(k) || !val_ok(v)) return false;
    add_segment(o, k, v);
  }
  return true;
}

Val pass_segments(Rewrite *rw, Val src, const Val *in, uint32_t n_in) {
  Graph *g = rw->dst;
  if (ir_op(rw->src, src) != OP_attention || attention_masked(n_in)) return VAL_NONE;
  uint32_t segments = attention_segments(n_in), room = ATTENTION_SEGMENTS - segments;
  Operands to = {{in[0]}, 1};
  bool is_split = false;
  for (uint32_t s = 0; s < segments; s++) {
    Val concat = to_split(g, in, s, room + 1);
    if (!val_ok(concat)) {
      add_segment(&to, in[1 + 2 * s], in[2 + 2 * s]);
      continue;
    }
    if (!add_parts(g, &to, &in[1 + 2 * s], concat)) return VAL_NONE;
    room -= ir_n_in(g, concat) - 1;
    is_split = true;
  }
  const Attr *attr = NULL;
  uint32_t n_attr = ir_attrs(rw->src, src, &attr);
  return is_split ? ir_node(g, OP_attention, to.n, to.in, n_attr, attr) : VAL_NONE;
}
