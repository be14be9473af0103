/* SPDX-License-Identifier: Apache-2.0 */
/* narrow.c - a product makes the columns that are read, no others.
**
** in:     a lowered graph: linears whose readers are slices of columns, as keys
**         and values are of packed q, k and v whose queries nobody reads
** out:    the linear of these columns of the weights
** method: once, after lowering: until then equal products are shared the easier
**         the wider they are.  Where other nodes take the weights whole, the
**         scheduler lets the columns be a part of them (panels lie side by side). */
#include "passes/pass_int.h"

typedef struct {
  int64_t from, to; /* columns read; to 0: all */
} Columns;

typedef struct {
  Columns *read;   /* by value: of linears */
  bool *is_whole;  /* by value: weights that a linear takes whole */
  Val *made;       /* by linear: the narrow one, for all its readers */
} Narrow;

static bool columns_of(const Graph *g, Val slice, Columns *out) {
  const Type *t = ir_type_of(g, slice), *x = ir_type_of(g, ir_in(g, slice, 0));
  const Attr *starts = ir_attr(g, slice, A_starts), *steps = ir_attr(g, slice, A_steps);
  uint32_t last = t->rank - 1;
  for (uint32_t i = 0; i < last; i++)
    if (t->dim[i] != x->dim[i]) return false;
  for (uint32_t i = 0; steps != NULL && i <= last; i++)
    if (steps->ints[i] != 1) return false;
  if (!dim_is_const(ir_dims(g), starts->dims[last], &out->from)) return false;
  if (!dim_is_const(ir_dims(g), t->dim[last], &out->to)) return false;
  out->to += out->from;
  return true;
}

/* What is read of each linear; a reader of another kind reads all. */
static void note_reads(const Graph *g, Arena *a, Columns *read) {
  uint32_t n = ir_n_vals(g), *seen = arena_array(a, uint32_t, n + 1), *uses = ir_uses(g, a);
  for (uint32_t i = 1; i <= n; i++) {
    Val s = {i}, v = ir_n_in(g, s) == 1 ? ir_in(g, s, 0) : VAL_NONE;
    Columns c;
    if (!m_is(g, s, OP_slice) || !m_is(g, v, OP_linear) || !columns_of(g, s, &c)) continue;
    Columns *r = &read[v.i];
    *r = seen[v.i]++ == 0 ? c : (Columns){VL_MIN(r->from, c.from), VL_MAX(r->to, c.to)};
  }
  for (uint32_t i = 1; i <= n; i++) {
    int64_t size = 0;
    bool is_linear = m_is(g, (Val){i}, OP_linear);
    bool part = is_linear && seen[i] == uses[i] && m_const(g, ir_in(g, (Val){i}, 1)) &&
                ir_size_const(g, (Val){i}, -1, &size) && read[i].to - read[i].from < size;
    if (!part) read[i] = (Columns){0};
  }
}

/* Columns of weights or of a bias.  Of a concat that nobody takes whole: the
** operands. */
static Val columns(Graph *g, Val w, Columns c, bool is_whole) {
  uint32_t last = ir_type_of(g, w)->rank - 1, n = 0;
  int64_t at = 0, size = 0;
  if (m_is(g, w, OP_concat) && !is_whole && ir_attr_int(g, w, A_axis, 0) == last) {
    Val *part = arena_array(ir_arena(g), Val, ir_n_in(g, w));
    bool fits = true;
    for (uint32_t i = 0; i < ir_n_in(g, w); i++, at += size) {
      if (!ir_size_const(g, ir_in(g, w, i), -1, &size)) return VAL_NONE;
      bool inside = at >= c.from && at + size <= c.to;
      fits = fits && (inside || at + size <= c.from || at >= c.to);
      if (inside) part[n++] = ir_in(g, w, i);
    }
    if (fits && n > 0) return ir_concat(g, part, n, last);
  }
  DimTable *t = ir_dims(g);
  return ir_slice_axis(g, w, last, dim_const(t, c.from), dim_const(t, c.to - c.from));
}

/* The linear of the source on the columns that are read; v is its copy. */
static Val narrow_linear(Rewrite *rw, Val linear, Val v) {
  const Narrow *x = rw->ctx;
  Graph *g = rw->dst;
  Val to[3] = {ir_in(g, v, 0)};
  bool is_whole = x->is_whole[ir_in(rw->src, linear, 1).i];
  for (uint32_t i = 1; i < ir_n_in(g, v); i++) {
    to[i] = columns(g, ir_in(g, v, i), x->read[linear.i], is_whole);
    if (!val_ok(to[i])) return VAL_NONE;
  }
  return ir_node(g, OP_linear, ir_n_in(g, v), to, 0, NULL);
}

static Val narrowed(Rewrite *rw, Val src, const Val *in, uint32_t n_in) {
  const Narrow *x = rw->ctx;
  DimTable *t = ir_dims(rw->dst);
  (void)n_in;
  Columns own;
  Val linear = m_is(rw->src, src, OP_slice) ? ir_in(rw->src, src, 0) : VAL_NONE;
  if (!val_ok(linear) || x->read[linear.i].to == 0) return VAL_NONE;
  if (!m_is(rw->dst, in[0], OP_linear) || !columns_of(rw->src, src, &own)) return VAL_NONE;
  Val *made = &x->made[linear.i];
  if (!val_ok(*made)) *made = narrow_linear(rw, linear, in[0]);
  if (!val_ok(*made)) return VAL_NONE;
  return ir_slice_axis(rw->dst, *made, ir_type_of(rw->src, src)->rank - 1,
                       dim_const(t, own.from - x->read[linear.i].from),
                       dim_const(t, own.to - own.from));
}

Graph *pass_narrow(const Graph *g, Arena *a) {
  Narrow x = {.read = arena_array(a, Columns, ir_n_vals(g) + 1),
              .is_whole = arena_array(a, bool, ir_n_vals(g) + 1),
              .made = arena_array(a, Val, ir_n_vals(g) + 1)};
  note_reads(g, a, x.read);
  for (uint32_t i = 1; i <= ir_n_vals(g); i++)
    if (m_is(g, (Val){i}, OP_linear) && x.read[i].to == 0)
      x.is_whole[ir_in(g, (Val){i}, 1).i] = true;
  return ir_rewrite(g, a, narrowed, &x, NULL);
}
