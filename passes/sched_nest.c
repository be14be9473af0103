/* SPDX-License-Identifier: Apache-2.0 */
/* sched_nest.c - see sched_nest.h. */
#include "passes/sched_nest.h"

#include <string.h>

Nest *nest_begin(Sched *s, Val v) {
  Nest *n = arena_one(s->a, Nest);
  n->s = s;
  n->v = v;
  return n;
}

int8_t nest_axis(Nest *n, DimId size) {
  if (n->rank == VLPC_MAX_RANK || size == DIM_NONE) {
    n->full = true;
    return 0;
  }
  n->size[n->rank] = size;
  return (int8_t)n->rank++;
}

static uint32_t add_row(Nest *n, KBody row) {
  if (n->n_body == LOOPS_MAX_BODY) {
    n->full = true;
    return 0;
  }
  n->body[n->n_body] = row;
  return n->n_body++;
}

uint32_t nest_op(Nest *n, OpCode op, VlDtype t, uint32_t a, uint32_t b, uint32_t c) {
  return add_row(n, (KBody){.kind = KB_OP, .dtype = t, .op = op, .a = a, .b = b, .c = c});
}

uint32_t nest_literal(Nest *n, VlDtype t, double v) {
  KBody row = {.kind = KB_LITERAL, .dtype = t};
  if (dtype_is_float(t))
    row.lit = v;
  else
    row.lit_i = (int64_t)v;
  return add_row(n, row);
}

uint32_t nest_index(Nest *n, uint32_t axis) {
  n->uses_index = true;
  return add_row(n, (KBody){.kind = KB_INDEX, .dtype = VLPC_I64, .a = axis});
}

uint32_t nest_size(Nest *n, DimId d) {
  /* the dim waits in the access table until nest_end numbers it */
  uint32_t row = add_row(n, (KBody){.kind = KB_SIZE, .dtype = VLPC_I64});
  n->access[row].stride[0] = d;
  return row;
}

uint32_t nest_load(Nest *n, VlDtype t, const NestAccess *x) {
  uint32_t row = add_row(n, (KBody){.kind = KB_LOAD, .dtype = t});
  n->access[row] = *x;
  return row;
}

NestAccess nest_access(Nest *n, const Place *p, const AxisMap *map) {
  NestAccess x = {.at = *p};
  for (uint32_t i = 0; i < VLPC_MAX_RANK; i++) x.stride[i] = sched_const(n->s, 0);
  for (uint32_t i = 0; i < p->rank; i++) {
    if (map->axis[i] < 0) continue;
    DimId *to = &x.stride[map->axis[i]];
    DimId sum = sched_add(n->s, *to, p->stride[i]);
    if (sum == DIM_NONE)
      n->full = true;
    else
      *to = sum;
  }
  return x;
}

static bool is_one(Sched *s, DimId d) {
  int64_t c = 0;
  return dim_is_const(s->dims, d, &c) && c == 1;
}

AxisMap nest_broadcast(Nest *n, const AxisMap *result, const Type *rt, const Type *t) {
  AxisMap m;
  uint32_t lead = rt->rank - t->rank;
  for (uint32_t i = 0; i < t->rank; i++) {
    bool spread = is_one(n->s, t->dim[i]) && !is_one(n->s, rt->dim[i + lead]);
    m.axis[i] = spread ? -1 : result->axis[i + lead];
  }
  return m;
}

/* ---- expressions -------------------------------------------------------- */

/* gelu(x) in elementwise ops, as in the papers' formulas. */
static uint32_t gelu_rows(Nest *n, Val v, uint32_t x) {
  const Attr *approx = ir_attr(n->s->g, v, A_approx);
  VlDtype t = ir_type_of(n->s->g, v)->dtype;
  if (approx && strcmp(approx->str, "quick") == 0) {
    uint32_t k = nest_op(n, OP_mul, t, x, nest_literal(n, t, 1.702), 0);
    return nest_op(n, OP_mul, t, x, nest_op(n, OP_sigmoid, t, k, 0, 0), 0);
  }
  uint32_t u;
  if (approx && strcmp(approx->str, "tanh") == 0) {
    uint32_t x3 = nest_op(n, OP_mul, t, nest_op(n, OP_mul, t, x, x, 0), x, 0);
    uint32_t in =
        nest_op(n, OP_add, t, x, nest_op(n, OP_mul, t, x3, nest_literal(n, t, 0.044715), 0), 0);
    u = nest_op(n, OP_tanh, t, nest_op(n, OP_mul, t, in, nest_literal(n, t, 0.7978845608028654), 0),
                0, 0);
  } else {
    u = nest_op(n, OP_erf, t, nest_op(n, OP_mul, t, x, nest_literal(n, t, 0.7071067811865476), 0),
                0, 0);
  }
  uint32_t half = nest_op(n, OP_mul, t, x, nest_literal(n, t, 0.5), 0);
  return nest_op(n, OP_mul, t, half, nest_op(n, OP_add, t, u, nest_literal(n, t, 1), 0), 0);
}

/* a op c, and c op a, for a number c. */
static uint32_t op_with(Nest *n, OpCode op, VlDtype t, uint32_t a, double c) {
  return nest_op(n, op, t, a, nest_literal(n, t, c), 0);
}

static uint32_t op_from(Nest *n, OpCode op, VlDtype t, double c, uint32_t a) {
  return nest_op(n, op, t, nest_literal(n, t, c), a, 0);
}

/* s + c·x·s·(1-s) for s = sigmoid(c·x) */
static uint32_t slope_quick(Nest *n, VlDtype t, uint32_t x) {
  uint32_t cx = op_with(n, OP_mul, t, x, 1.702), s = nest_op(n, OP_sigmoid, t, cx, 0, 0);
  uint32_t bend = nest_op(n, OP_mul, t, nest_op(n, OP_mul, t, cx, s, 0),
                          op_from(n, OP_sub, t, 1, s), 0);
  return nest_op(n, OP_add, t, s, bend, 0);
}

/* (1 + erf(x/√2))/2 + x·exp(-x²/2)/√(2π) */
static uint32_t slope_erf(Nest *n, VlDtype t, uint32_t x) {
  uint32_t half = op_with(n, OP_mul, t, nest_op(n, OP_mul, t, x, x, 0), -0.5);
  uint32_t bell = op_with(n, OP_mul, t, nest_op(n, OP_exp, t, half, 0, 0), 0.3989422804014327);
  uint32_t e = nest_op(n, OP_erf, t, op_with(n, OP_mul, t, x, 0.7071067811865476), 0, 0);
  uint32_t area = op_with(n, OP_mul, t, op_with(n, OP_add, t, e, 1), 0.5);
  return nest_op(n, OP_add, t, area, nest_op(n, OP_mul, t, x, bell, 0), 0);
}

/* (1+u)/2 + x/2·(1-u²)·c·(1+3·0.044715·x²) for u = tanh(c·(x + 0.044715·x³)) */
static uint32_t slope_tanh(Nest *n, VlDtype t, uint32_t x) {
  const double c = 0.7978845608028654;
  uint32_t square = nest_op(n, OP_mul, t, x, x, 0), cube = nest_op(n, OP_mul, t, square, x, 0);
  uint32_t sum = nest_op(n, OP_add, t, x, op_with(n, OP_mul, t, cube, 0.044715), 0);
  uint32_t u = nest_op(n, OP_tanh, t, op_with(n, OP_mul, t, sum, c), 0, 0);
  uint32_t inner = op_with(n, OP_add, t, op_with(n, OP_mul, t, square, 3 * 0.044715 * c), c);
  uint32_t flat = op_from(n, OP_sub, t, 1, nest_op(n, OP_mul, t, u, u, 0));
  uint32_t bend = nest_op(n, OP_mul, t, op_with(n, OP_mul, t, x, 0.5), flat, 0);
  uint32_t level = op_with(n, OP_mul, t, op_with(n, OP_add, t, u, 1), 0.5);
  return nest_op(n, OP_add, t, level, nest_op(n, OP_mul, t, bend, inner, 0), 0);
}

static uint32_t gelu_grad_rows(Nest *n, Val v, uint32_t dy, uint32_t x) {
  const char *kind = ir_attr(n->s->g, v, A_approx)->str;
  VlDtype t = ir_type_of(n->s->g, v)->dtype;
  uint32_t slope = strcmp(kind, "quick") == 0  ? slope_quick(n, t, x)
                   : strcmp(kind, "tanh") == 0 ? slope_tanh(n, t, x)
                                               : slope_erf(n, t, x);
  return nest_op(n, OP_mul, t, dy, slope, 0);
}

static uint32_t op_rows(Nest *n, Val v, const AxisMap *map) {
  const Graph *g = n->s->g;
  const Type *t = ir_type_of(g, v);
  uint32_t in[3] = {0};
  for (uint32_t i = 0; i < ir_n_in(g, v) && i < 3; i++) {
    AxisMap m = nest_broadcast(n, map, t, ir_type_of(g, ir_in(g, v, i)));
    in[i] = nest_value(n, ir_in(g, v, i), &m);
  }
  if (ir_op(g, v) == OP_gelu) return gelu_rows(n, v, in[0]);
  if (ir_op(g, v) == OP_gelu_grad) return gelu_grad_rows(n, v, in[0], in[1]);
  return nest_op(n, ir_op(g, v), t->dtype, in[0], in[1], in[2]);
}

static bool find_made(const Nest *n, Val v, const AxisMap *map, uint32_t rank, uint32_t *row) {
  for (uint32_t i = 0; i < n->n_body; i++) {
    if (val_eq(n->made[i].v, v) && memcmp(n->made[i].map.axis, map->axis, rank) == 0) {
      *row = i;
      return true;
    }
  }
  return false;
}

uint32_t nest_value(Nest *n, Val v, const AxisMap *map) {
  const Type *t = ir_type_of(n->s->g, v);
  const Info *in = &n->s->info[v.i];
  uint32_t row = 0;
  double splat = 0;
  if (find_made(n, v, map, t->rank, &row)) return row;
  if (dtype_is_float(t->dtype) && ir_is_splat(n->s->g, v, &splat)) {
    row = nest_literal(n, t->dtype, splat);
  } else if ((in->inlined || val_eq(v, n->v)) && !in->at_compile) {
    row = op_rows(n, v, map);
  } else {
    Place p = sched_source(n->s, v);
    NestAccess x = nest_access(n, &p, map);
    row = nest_load(n, t->dtype, &x);
  }
  if (!n->full) {
    n->made[row].v = v;
    n->made[row].map = *map;
  }
  return row;
}

/* ---- finishing ---------------------------------------------------------- */

static void each_access(Nest *n, NestAccess **out, uint32_t *count) {
  *count = 0;
  for (uint32_t i = 0; i < n->n_body; i++) {
    if (n->body[i].kind == KB_LOAD) out[(*count)++] = &n->access[i];
  }
  out[(*count)++] = &n->store;
}

static void drop_axis(Nest *n, NestAccess **x, uint32_t n_x, uint32_t axis) {
  if (axis >= n->rank - n->n_reduce) n->n_reduce--;
  for (uint32_t i = axis; i + 1 < n->rank; i++) {
    n->size[i] = n->size[i + 1];
    for (uint32_t k = 0; k < n_x; k++) x[k]->stride[i] = x[k]->stride[i + 1];
  }
  n->rank--;
}

/* True when axis and axis + 1 are one walk for every access. */
static bool merges(Nest *n, NestAccess **x, uint32_t n_x, uint32_t axis) {
  if (axis + 1 == n->rank - n->n_reduce) return false; /* kept | reduced */
  for (uint32_t k = 0; k < n_x; k++) {
    DimId want = sched_mul(n->s, x[k]->stride[axis + 1], n->size[axis + 1]);
    if (want == DIM_NONE || want != x[k]->stride[axis]) return false;
  }
  return sched_mul(n->s, n->size[axis], n->size[axis + 1]) != DIM_NONE;
}

static void simplify(Nest *n) {
  NestAccess *x[LOOPS_MAX_BODY + 1];
  uint32_t n_x = 0;
  each_access(n, x, &n_x);
  for (uint32_t i = n->rank; i-- > 0;) {
    bool only_reduced = i >= n->rank - n->n_reduce && n->n_reduce == 1;
    if (is_one(n->s, n->size[i]) && !only_reduced) drop_axis(n, x, n_x, i);
  }
  for (uint32_t i = n->rank; i-- > 1;) {
    if (!merges(n, x, n_x, i - 1)) continue;
    DimId size = dim_mul(n->s->dims, n->size[i - 1], n->size[i]);
    DimId inner[LOOPS_MAX_BODY + 1];
    for (uint32_t k = 0; k < n_x; k++) inner[k] = x[k]->stride[i];
    drop_axis(n, x, n_x, i - 1);
    n->size[i - 1] = size;
    for (uint32_t k = 0; k < n_x; k++) x[k]->stride[i - 1] = inner[k];
  }
}

static KAccess final_access(Nest *n, Draft *d, const NestAccess *x) {
  KAccess out = {.operand = draft_arg(d, &x->at), .n_indirect = x->n_indirect};
  for (uint32_t i = 0; i < n->rank; i++) out.stride[i] = draft_size(d, x->stride[i]);
  for (uint32_t i = 0; i < x->n_indirect; i++) {
    out.ind[i].row = x->ind[i].row;
    out.ind[i].stride = draft_size(d, x->ind[i].stride);
    out.ind[i].size = draft_size(d, x->ind[i].size);
  }
  return out;
}

void nest_end(Nest *n, const NestAccess *store) {
  if (n->full) {
    sched_refuse(n->s, n->v, "its loop nest has too many axes, operations or mixed sizes");
    return;
  }
  n->store = *store;
  if (!n->uses_index) simplify(n);
  Draft d = draft_begin(n->s, n->v, KK_LOOPS);
  KLoops *l = &d.k.loops;
  *l = (KLoops){.rank = n->rank,
                .n_reduce = n->n_reduce,
                .reduce = n->reduce,
                .n_body = n->n_body,
                .serial = n->serial};
  l->store = final_access(n, &d, &n->store);
  for (uint32_t i = 0; i < n->rank; i++) l->size[i] = draft_size(&d, n->size[i]);
  l->body = arena_array(n->s->a, KBody, n->n_body);
  memcpy(l->body, n->body, n->n_body * sizeof(KBody));
  for (uint32_t i = 0; i < n->n_body; i++) {
    if (l->body[i].kind == KB_LOAD) l->body[i].load = final_access(n, &d, &n->access[i]);
    if (l->body[i].kind == KB_SIZE) l->body[i].size = draft_size(&d, n->access[i].stride[0]);
  }
  draft_end(&d);
}
