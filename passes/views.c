/* SPDX-License-Identifier: Apache-2.0 */
/* views.c - permutes, reshapes and slices in one form, and as late as possible.
**
** in:     any graph
** out:    a chain of permutes and reshapes is one view of its base (view.c);
**         slices stand below views; elementwise and row-wise nodes work on the
**         base, and the view follows them
** method: an operand's view is found from its node; the node is made on the
**         base and the same view put on its result.  So OpenAI's [L, N, D]
**         streams become [N, L, D]: the permute sinks until another cancels it.
**         A reshape that only drops axes of size 1 stays where it is. */
#include "passes/pass_int.h"

static Val emit_like(Rewrite *rw, Val src, const View *w) {
  const Type *t = ir_type_of(rw->src, src);
  Val v = view_emit(rw->dst, w, t->dim);
  VL_ASSERT(!val_ok(v) || ir_type_id(rw->dst, v).i == ir_type_id(rw->src, src).i);
  return v;
}

/* w on another base of the same sizes but for the last axis, which is whole. */
static View on_base(Graph *g, const View *w, Val base) {
  View to = *w;
  to.base = base;
  const Type *b = ir_type_of(g, base);
  uint32_t n_last = w->n_of[w->rank - 1];
  if (b->dim[b->rank - 1] == ir_type_of(g, w->base)->dim[b->rank - 1]) return to;
  bool is_one = m_dim_is(g, b->dim[b->rank - 1], 1);
  to.n = w->n - n_last + !is_one;
  to.n_of[w->rank - 1] = !is_one;
  uint32_t a = w->n - n_last; /* the last axis has the last atoms */
  to.order[a] = a;
  to.atom[a].axis = b->rank - 1;
  to.atom[a].size = b->dim[b->rank - 1];
  return to;
}

/* ---- moves ---------------------------------------------------------------- */

static Val sink_move(Rewrite *rw, Val src, const Val *in) {
  Val v = m_copy(rw, src, in);
  View w = view_of(rw->dst, v);
  return val_eq(w.base, v) ? VAL_NONE : emit_like(rw, src, &w);
}

/* The slice of one axis of the value, taken from the base: the axis must be one
** atom, the first of its base's axis. */
static bool slice_base(Graph *g, View *w, uint32_t axis, DimId from, DimId size) {
  DimTable *t = ir_dims(g);
  if (w->n_of[axis] != 1) return false;
  uint32_t p = view_first(w, axis), a = w->order[p], base_axis = w->atom[a].axis;
  if (a > 0 && w->atom[a - 1].axis == base_axis) return false;
  DimId inner = dim_const(t, 1);
  for (uint32_t i = a + 1; i < w->n && w->atom[i].axis == base_axis; i++)
    inner = dim_mul(t, inner, w->atom[i].size);
  from = dim_mul(t, from, inner);
  DimId all = dim_mul(t, size, inner);
  if (from == DIM_NONE || all == DIM_NONE) return false;
  Val base = ir_slice_axis(g, w->base, base_axis, from, all);
  if (!val_ok(base)) return false;
  w->base = base;
  w->atom[a].size = size;
  return true;
}

static Val sink_slice(Rewrite *rw, Val src, const Val *in) {
  Graph *g = rw->dst;
  View w = view_of(g, in[0]);
  if (val_eq(w.base, in[0])) return VAL_NONE;
  const Attr *starts = ir_attr(rw->src, src, A_starts), *steps = ir_attr(rw->src, src, A_steps);
  Type from = *ir_type_of(g, in[0]), to = *ir_type_of(rw->src, src);
  for (uint32_t i = 0; i < to.rank; i++) {
    bool is_whole = from.dim[i] == to.dim[i] && m_dim_is(g, starts->dims[i], 0);
    if (steps != NULL && steps->ints[i] != 1) return VAL_NONE;
    if (!is_whole && !slice_base(g, &w, i, starts->dims[i], to.dim[i])) return VAL_NONE;
  }
  view_drop_ones(g, &w);
  return emit_like(rw, src, &w);
}

/* ---- elementwise ------------------------------------------------------------ */

/* The operand whose view the others are to follow: rearranged, and as large as
** the result. */
static int leader(Rewrite *rw, Val src, const Val *in, uint32_t n) {
  const Type *r = ir_type_of(rw->src, src);
  for (uint32_t i = 0; i < n; i++) {
    const Type *t = ir_type_of(rw->dst, in[i]);
    bool is_full = t->rank == r->rank;
    for (uint32_t k = 0; k < r->rank && is_full; k++) is_full = t->dim[k] == r->dim[k];
    View w = view_of(rw->dst, in[i]);
    if (is_full && view_moves(rw->dst, &w) && !m_const(rw->dst, in[i])) return (int)i;
  }
  return -1;
}

static Val sink_ew(Rewrite *rw, Val src, const Val *in, uint32_t n) {
  Graph *g = rw->dst;
  int lead = leader(rw, src, in, n);
  if (lead < 0) return VAL_NONE;
  View w = view_of(g, in[lead]);
  Val to[3];
  for (uint32_t i = 0; i < n; i++) {
    View own = view_of(g, in[i]);
    if (!m_const(g, in[i]) && view_same(g, &w, &own)) to[i] = own.base;
    else if (m_const(g, in[i])) to[i] = view_invert(g, &w, in[i]);
    else return VAL_NONE;
    if (!val_ok(to[i])) return VAL_NONE;
  }
  Val base = m_copy(rw, src, to);
  if (!val_ok(base)) return VAL_NONE;
  w.base = base;
  return emit_like(rw, src, &w);
}

/* ---- row-wise ---------------------------------------------------------------- */

static Val sink_rows(Rewrite *rw, Val src, const Val *in, uint32_t n) {
  Graph *g = rw->dst;
  View w = view_of(g, in[0]);
  if (!view_moves(g, &w) || !view_keeps_rows(g, &w)) return VAL_NONE;
  Val to[3] = {w.base};
  for (uint32_t i = 1; i < n; i++) to[i] = in[i];
  const Attr *a = NULL;
  Attr attr[4];
  uint32_t n_attr = ir_attrs(rw->src, src, &a);
  for (uint32_t i = 0; i < n_attr; i++) {
    attr[i] = a[i];
    if (a[i].key != A_axis) continue;
    if (a[i].i + 1 != w.rank) return VAL_NONE;
    attr[i].i = ir_type_of(g, w.base)->rank - 1;
  }
  Val base = ir_node(g, ir_op(rw->src, src), n, to, n_attr, attr);
  if (!val_ok(base)) return VAL_NONE;
  View r = on_base(g, &w, base);
  return emit_like(rw, src, &r);
}

Val pass_views(Rewrite *rw, Val src, const Val *in, uint32_t n_in) {
  OpCode op = ir_op(rw->src, src);
  if (m_const(rw->src, src)) return VAL_NONE;
  if (op == OP_permute || op == OP_reshape) return sink_move(rw, src, in);
  if (op == OP_slice) return sink_slice(rw, src, in);
  if (op_info(op)->kind == K_EW || op == OP_gelu) return sink_ew(rw, src, in, n_in);
  if (op_info(op)->flags & F_ROWWISE) return sink_rows(rw, src, in, n_in);
  return VAL_NONE;
}
