/* SPDX-License-Identifier: Apache-2.0 */
/* match.c - small forms that several passes look for. */
#include "passes/pass_int.h"

#include <math.h>

bool m_is(const Graph *g, Val v, OpCode op) { return val_ok(v) && ir_op(g, v) == op; }

/* Looks at no more than *budget nodes, so that no graph makes it slow. */
static bool const_within(const Graph *g, Val v, int *budget) {
  OpCode op = ir_op(g, v);
  if (op == OP_const) return true;
  if (op_info(op)->kind == K_SOURCE || --*budget < 0) return false;
  for (uint32_t i = 0; i < ir_n_in(g, v); i++) {
    Val in = ir_in(g, v, i);
    if (val_ok(in) && !const_within(g, in, budget)) return false;
  }
  int64_t count = 0;
  return ir_count_const(g, v, &count);
}

bool m_const(const Graph *g, Val v) {
  int budget = 16;
  return val_ok(v) && const_within(g, v, &budget);
}

bool m_splat(const Graph *g, Val v, double *out) {
  for (int i = 0; i < CHAIN_MAX; i++) {
    if (!m_is(g, v, OP_broadcast) && !m_is(g, v, OP_reshape)) break;
    v = ir_in(g, v, 0);
  }
  return val_ok(v) && ir_is_splat(g, v, out);
}

bool m_near(double v, double c, double rel) { return fabs(v - c) <= rel * fabs(c); }

bool m_is_splat(const Graph *g, Val v, double c, double rel) {
  double x = 0;
  return m_splat(g, v, &x) && m_near(x, c, rel);
}

/* One step of m_scaled. */
static bool strip_scale(const Graph *g, Val v, Val *x, double *c) {
  bool is_mul = m_is(g, v, OP_mul);
  if (!is_mul && !m_is(g, v, OP_div)) return false;
  for (uint32_t i = is_mul ? 0 : 1; i < 2; i++) {
    double s = 0;
    Val other = ir_in(g, v, 1 - i);
    if (!m_splat(g, ir_in(g, v, i), &s) || ir_type_id(g, other).i != ir_type_id(g, v).i) continue;
    *x = other;
    *c = is_mul ? s : 1 / s;
    return true;
  }
  return false;
}

void m_scaled(const Graph *g, Val v, Val *x, double *c) {
  double s = 1;
  *c = 1;
  *x = v;
  for (int i = 0; i < CHAIN_MAX && strip_scale(g, *x, x, &s); i++) *c *= s;
}

bool m_with_splat(const Graph *g, Val v, OpCode op, double c, Val *other) {
  if (!m_is(g, v, op)) return false;
  for (uint32_t i = 0; i < 2; i++) {
    if (!m_is_splat(g, ir_in(g, v, i), c, 1e-6)) continue;
    *other = ir_in(g, v, 1 - i);
    return true;
  }
  return false;
}

bool m_dim_is(const Graph *g, DimId d, int64_t c) {
  int64_t size = 0;
  return dim_is_const(ir_dims(g), d, &size) && size == c;
}

DimId m_last_dim(const Graph *g, Val v) {
  const Type *t = ir_type_of(g, v);
  return t->rank == 0 ? DIM_NONE : t->dim[t->rank - 1];
}

Val m_vector(Graph *g, Val v, DimId n) {
  if (!m_const(g, v) || m_last_dim(g, v) != n) return VAL_NONE;
  const Type *t = ir_type_of(g, v);
  for (uint32_t i = 0; i + 1 < t->rank; i++)
    if (!m_dim_is(g, t->dim[i], 1)) return VAL_NONE;
  return ir_reshape(g, v, &n, 1);
}

bool m_reduces_last(const Graph *g, Val v, OpCode op) {
  if (!m_is(g, v, op) || ir_attr_int(g, v, A_keepdims, 0) == 0) return false;
  const Attr *axes = ir_attr(g, v, A_axes);
  return axes != NULL && axes->n == 1 && axes->ints[0] + 1 == ir_type_of(g, v)->rank;
}

const Val *m_readers(const Rewrite *rw, Val v, uint32_t *n) {
  const PassCtx *cx = rw->ctx;
  *n = cx->reader_at[v.i + 1] - cx->reader_at[v.i];
  return cx->reader + cx->reader_at[v.i];
}

uint32_t m_uses(const Rewrite *rw, Val v) { return ((const PassCtx *)rw->ctx)->uses[v.i]; }

void m_list_readers(const Graph *g, Arena *a, PassCtx *cx) {
  uint32_t n = ir_n_vals(g), *at = arena_array(a, uint32_t, n + 3);
  for (uint32_t i = 1; i <= n; i++)
    for (uint32_t k = 0; k < ir_n_in(g, (Val){i}); k++) at[ir_in(g, (Val){i}, k).i + 2]++;
  for (uint32_t i = 2; i <= n + 2; i++) at[i] += at[i - 1];
  Val *reader = arena_array(a, Val, at[n + 2]);
  for (uint32_t i = 1; i <= n; i++)
    for (uint32_t k = 0; k < ir_n_in(g, (Val){i}); k++)
      reader[at[ir_in(g, (Val){i}, k).i + 1]++] = (Val){i};
  cx->reader = reader;
  cx->reader_at = at;
}

bool m_sole_use(const Rewrite *rw, Val src, uint32_t i) {
  const PassCtx *cx = rw->ctx;
  return cx->uses[ir_in(rw->src, src, i).i] == 1;
}

Val m_copy(Rewrite *rw, Val src, const Val *in) {
  const Attr *attr = NULL;
  uint32_t n = ir_attrs(rw->src, src, &attr);
  return ir_node(rw->dst, ir_op(rw->src, src), ir_n_in(rw->src, src), in, n, attr);
}
