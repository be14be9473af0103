/* SPDX-License-Identifier: Apache-2.0 */
/* algebra.c - the equalities of algebra.def.
**
** in:     any graph
** out:    none of the rows holds at any node
** method: each row is a function that looks at one node whose operands are
**         rewritten, and returns the equal value or VAL_NONE. */
#include "passes/pass_int.h"

#include <string.h>

/* The node at which a row is tried. */
typedef struct {
  const Rewrite *rw;
  Graph *g; /* the new graph */
  const Graph *src;
  Val v; /* in src */
  OpCode op;
  const Val *in; /* in g */
  uint32_t n;
  TypeId type;
} At;

static Val like(const At *at, Val v) {
  const Type *t = ir_type_of(at->src, at->v);
  return ir_broadcast(at->g, v, t->dim, t->rank);
}

/* The op on other operands, when the type stays. */
static Val with_operand(const At *at, uint32_t i, Val v) {
  Val in[3];
  for (uint32_t k = 0; k < at->n; k++) in[k] = k == i ? v : at->in[k];
  Val r = ir_node(at->g, at->op, at->n, in, 0, NULL);
  return val_ok(r) && ir_type_id(at->g, r).i == at->type.i ? r : VAL_NONE;
}

static const struct {
  OpCode op;
  double unit;
} units[] = {{OP_add, 0}, {OP_mul, 1}, {OP_and, 1}, {OP_or, 0}};

static Val alg_unit(const At *at) {
  for (uint32_t u = 0; u < VL_COUNT(units); u++)
    for (uint32_t i = 0; i < 2 && units[u].op == at->op; i++) {
      double c = 0;
      if (m_splat(at->g, at->in[i], &c) && c == units[u].unit) return like(at, at->in[1 - i]);
    }
  return VAL_NONE;
}

static Val alg_drop_broadcast(const At *at) {
  for (uint32_t i = 0; i < at->n && at->n > 1; i++) {
    if (!m_is(at->g, at->in[i], OP_broadcast)) continue;
    Val r = with_operand(at, i, ir_in(at->g, at->in[i], 0));
    if (val_ok(r)) return r;
  }
  return VAL_NONE;
}

/* c without leading axes of size 1; VAL_NONE when it has none. */
static Val stripped(Graph *g, Val c) {
  const Type *t = ir_type_of(g, c);
  uint32_t ones = 0;
  while (ones < t->rank && m_dim_is(g, t->dim[ones], 1)) ones++;
  if (ones == 0 || !m_const(g, c)) return VAL_NONE;
  Type s = *t;
  return ir_reshape(g, c, s.dim + ones, s.rank - ones);
}

static Val alg_strip_ones(const At *at) {
  for (uint32_t i = 0; i < at->n && at->n > 1; i++) {
    Val c = stripped(at->g, at->in[i]);
    Val r = val_ok(c) ? with_operand(at, i, c) : VAL_NONE;
    if (val_ok(r)) return r;
  }
  return VAL_NONE;
}

static Val alg_strip_spread(const At *at) {
  Val c = stripped(at->g, at->in[0]);
  return val_ok(c) ? like(at, c) : VAL_NONE;
}

static Val alg_pow_const(const At *at) {
  double p = 0;
  Val x = at->in[0];
  bool is_float = dtype_is_float(ir_type_of(at->g, x)->dtype);
  if (!m_splat(at->g, at->in[1], &p) || !is_float || ir_type_id(at->g, x).i != at->type.i)
    return VAL_NONE;
  if (p == 2) return ir_ew2(at->g, OP_mul, x, x);
  if (p == 0.5) return ir_ew1(at->g, OP_sqrt, x);
  return p == -1 ? ir_ew1(at->g, OP_recip, x) : VAL_NONE;
}

static Val alg_twice(const At *at) {
  return m_is(at->g, at->in[0], at->op) ? ir_in(at->g, at->in[0], 0) : VAL_NONE;
}

static Val alg_twice_not(const At *at) { return alg_twice(at); }

/* An integer input, perhaps rearranged. */
static bool is_ids(const Graph *g, Val v) {
  for (int i = 0; i < CHAIN_MAX; i++) {
    if (!m_is(g, v, OP_reshape) && !m_is(g, v, OP_permute) && !m_is(g, v, OP_slice)) break;
    v = ir_in(g, v, 0);
  }
  return m_is(g, v, OP_input) && dtype_is_int(ir_type_of(g, v)->dtype);
}

/* The ids behind a cast to another integer type of 32 bits or more. */
static Val behind_cast(const Graph *g, Val v) {
  if (!m_is(g, v, OP_cast) || !is_ids(g, ir_in(g, v, 0))) return VAL_NONE;
  VlDtype to = ir_type_of(g, v)->dtype;
  return dtype_is_int(to) && dtype_size(to) >= 4 ? ir_in(g, v, 0) : VAL_NONE;
}

static Val alg_ids_cast(const At *at) {
  Val ids = behind_cast(at->g, at->in[0]);
  return val_ok(ids) && ir_type_id(at->g, ids).i == at->type.i ? ids : VAL_NONE;
}

static Val alg_ids_equal(const At *at) {
  for (uint32_t i = 0; i < 2; i++) {
    Val ids = behind_cast(at->g, at->in[i]), c = at->in[1 - i];
    if (val_ok(ids) && m_const(at->g, c))
      return ir_ew2(at->g, OP_eq, ids, ir_cast(at->g, c, ir_type_of(at->g, ids)->dtype));
  }
  return VAL_NONE;
}

static bool has_unit_steps(const Graph *g, Val v) {
  const Attr *steps = ir_attr(g, v, A_steps);
  for (uint32_t i = 0; steps != NULL && i < steps->n; i++)
    if (steps->ints[i] != 1) return false;
  return true;
}

static bool keeps_columns(const Graph *g, Val slice) {
  const Type *t = ir_type_of(g, slice), *x = ir_type_of(g, ir_in(g, slice, 0));
  return t->rank >= 2 && t->dim[t->rank - 1] == x->dim[t->rank - 1];
}

/* Rows of rows that others read too stay so: whoever makes the rows is then asked
** for no more than these (prune_rows). */
static bool is_of_shared_rows(const At *at) {
  Val inner = ir_in(at->src, at->v, 0);
  return m_is(at->src, inner, OP_slice) && m_uses(at->rw, inner) > 1 &&
         keeps_columns(at->src, inner) && keeps_columns(at->src, at->v);
}

static Val alg_slice_slice(const At *at) {
  Val inner = at->in[0];
  if (!m_is(at->g, inner, OP_slice) || !has_unit_steps(at->g, inner)) return VAL_NONE;
  if (is_of_shared_rows(at)) return VAL_NONE;
  const Attr *a = NULL, *in_starts = ir_attr(at->g, inner, A_starts);
  uint32_t n = ir_attrs(at->src, at->v, &a);
  DimId starts[VLPC_MAX_RANK];
  Attr attr[3];
  for (uint32_t i = 0; i < n; i++) {
    attr[i] = a[i];
    if (a[i].key != A_starts) continue;
    for (uint32_t k = 0; k < a[i].n; k++) {
      starts[k] = dim_add(ir_dims(at->g), a[i].dims[k], in_starts->dims[k]);
      if (starts[k] == DIM_NONE) return VAL_NONE;
    }
    attr[i].dims = starts;
  }
  Val x = ir_in(at->g, inner, 0);
  return ir_node(at->g, OP_slice, 1, &x, n, attr);
}

/* Slice [from, from + size) of the axis lies within [at, at + n). */
static bool lies_within(DimTable *t, DimId from, DimId size, DimId at, DimId n, DimId *start) {
  int64_t before = 0, after = 0;
  *start = dim_sub(t, from, at);
  if (*start == DIM_NONE || !dim_is_const(t, *start, &before) || before < 0) return false;
  DimId left = dim_sub(t, n, dim_add(t, *start, size));
  return left != DIM_NONE && dim_is_const(t, left, &after) && after >= 0;
}

static Val alg_slice_concat(const At *at) {
  Graph *g = at->g;
  Val cat = at->in[0];
  if (!m_is(g, cat, OP_concat) || !has_unit_steps(at->src, at->v)) return VAL_NONE;
  uint32_t axis = (uint32_t)ir_attr_int(g, cat, A_axis, 0);
  const Attr *starts = ir_attr(at->src, at->v, A_starts);
  const Type *t = ir_type_of(at->src, at->v);
  DimId from = dim_const(ir_dims(g), 0);
  for (uint32_t i = 0; i < ir_n_in(g, cat); i++) {
    Val part = ir_in(g, cat, i);
    DimId n = ir_type_of(g, part)->dim[axis], begin[VLPC_MAX_RANK];
    memcpy(begin, starts->dims, t->rank * sizeof *begin);
    if (lies_within(ir_dims(g), begin[axis], t->dim[axis], from, n, &begin[axis])) {
      Attr attr[3] = {attr_dims(A_starts, begin, t->rank), attr_dims(A_dims, t->dim, t->rank)};
      const Attr *steps = ir_attr(at->src, at->v, A_steps);
      if (steps != NULL) attr[2] = *steps;
      return ir_node(g, OP_slice, 1, &part, steps != NULL ? 3 : 2, attr);
    }
    from = dim_add(ir_dims(g), from, n);
  }
  return VAL_NONE;
}

static Val alg_same_branches(const At *at) {
  bool is_same = val_eq(at->in[1], at->in[2]);
  return is_same && ir_type_id(at->g, at->in[1]).i == at->type.i ? at->in[1] : VAL_NONE;
}

static Val alg_scale_scale(const At *at) {
  for (uint32_t i = 0; i < 2; i++) {
    double a = 0, b = 0;
    Val x = VAL_NONE;
    if (!m_splat(at->g, at->in[i], &a)) continue;
    m_scaled(at->g, at->in[1 - i], &x, &b);
    bool is_float = dtype_is_float(ir_type_of(at->g, x)->dtype);
    if (val_eq(x, at->in[1 - i]) || !is_float || m_const(at->g, x)) continue;
    return ir_ew2(at->g, OP_mul, x, ir_scalar(at->g, ir_type_of(at->g, x)->dtype, a * b));
  }
  return VAL_NONE;
}

static Val alg_div_splat(const At *at) {
  double a = 0;
  VlDtype t = ir_type_of(at->g, at->in[0])->dtype;
  if (!dtype_is_float(t) || !m_splat(at->g, at->in[1], &a) || a == 0) return VAL_NONE;
  if (ir_type_id(at->g, at->in[0]).i != at->type.i) return VAL_NONE;
  return ir_ew2(at->g, OP_mul, at->in[0], ir_scalar(at->g, t, 1 / a));
}

/* ---- the table -------------------------------------------------------------- */

enum { EXACT, APPROX };

static const struct {
  Val (*fn)(const At *);
  OpCode op;
  int exact;
} rows[] = {
#define ALG(id, op, exact, what) {alg_##id, op, exact},
#include "passes/algebra.def"
};

Val pass_algebra(Rewrite *rw, Val src, const Val *in, uint32_t n_in) {
  const PassCtx *cx = rw->ctx;
  OpCode op = ir_op(rw->src, src);
  At at = {rw, rw->dst, rw->src, src, op, in, n_in, ir_type_id(rw->src, src)};
  bool is_ew = op_info(op)->kind == K_EW && op != OP_cast;
  for (uint32_t i = 0; i < VL_COUNT(rows); i++) {
    if (rows[i].exact == APPROX && !cx->approx) continue;
    if (rows[i].op == OP_none ? !is_ew : rows[i].op != op) continue;
    Val v = rows[i].fn(&at);
    if (val_ok(v)) return v;
  }
  return VAL_NONE;
}
