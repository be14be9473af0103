/* SPDX-License-Identifier: Apache-2.0 */
/* random_graph.c - each maker draws operands and attributes and tries one node;
** what does not fit is dropped. */
#include "tests/ir/random_graph.h"

#include "base/rng.h"
#include "ir/graph_int.h"

typedef struct {
  Graph *g;
  Rng rng;
  uint64_t n_drawn;
  RandomForm form;
  VEC(Val) pool;
} Gen;

static uint32_t draw(Gen *r, uint32_t below) { return rng_u32(r->rng, r->n_drawn++) % below; }

/* Later values more often, so that graphs grow deep. */
static Val draw_value(Gen *r) {
  uint32_t a = draw(r, r->pool.n), b = draw(r, r->pool.n);
  return r->pool.at[VL_MAX(a, b)];
}

static Val node(Gen *r, OpCode op, uint32_t n_in, const Val *in, uint32_t n_attr, const Attr *at) {
  NodeSpec s = {op, n_in, in, n_attr, at, {0}};
  return r->form == RANDOM_EXACT ? graph_node_exact(r->g, &s) : graph_node_folded(r->g, &s);
}

/* ---- makers --------------------------------------------------------------- */

static Val make_const(Gen *r) {
  static const float some[] = {0, 1, -1, 0.5f, 2, 3};
  float v[6];
  for (uint32_t i = 0; i < 6; i++) v[i] = some[draw(r, VL_COUNT(some))];
  if (draw(r, 2) == 0)
    for (uint32_t i = 1; i < 6; i++) v[i] = v[0];
  const int64_t size[1] = {6};
  uint32_t rank = draw(r, 2);
  BlobId b = ir_blob_copy(r->g, v, (rank == 1 ? 6 : 1) * sizeof *v, NULL);
  Attr a = attr_blob(b);
  NodeSpec s = {OP_const, 0, NULL, 1, &a, ir_type_fixed(r->g, VLPC_F32, rank, size)};
  return r->form == RANDOM_EXACT ? graph_node_exact(r->g, &s) : graph_node_folded(r->g, &s);
}

static Val make_ew1(Gen *r) {
  static const OpCode ops[] = {OP_neg, OP_abs, OP_exp, OP_tanh, OP_sigmoid, OP_relu,
                               OP_floor, OP_round, OP_erf, OP_sign, OP_gelu};
  OpCode op = ops[draw(r, VL_COUNT(ops))];
  Val in = draw_value(r);
  Attr a = attr_str(A_approx, "tanh");
  return node(r, op, 1, &in, op == OP_gelu, &a);
}

static Val make_ew2(Gen *r) {
  static const OpCode ops[] = {OP_add, OP_sub, OP_mul, OP_min, OP_max, OP_lt, OP_eq};
  Val in[2] = {draw_value(r), draw_value(r)};
  return node(r, ops[draw(r, VL_COUNT(ops))], 2, in, 0, NULL);
}

static Val make_where(Gen *r) {
  Val in[3] = {draw_value(r), draw_value(r), draw_value(r)};
  Val to[2] = {in[0], in[1]};
  if (ir_type_of(r->g, in[0])->dtype != VLPC_BOOL) in[0] = node(r, OP_le, 2, to, 0, NULL);
  return in[0].i != 0 ? node(r, OP_where, 3, in, 0, NULL) : VAL_NONE;
}

static Val make_cast(Gen *r) {
  static const VlDtype to[] = {VLPC_F32, VLPC_F16, VLPC_I64, VLPC_F32};
  Val in = draw_value(r);
  Attr a = attr_int(A_dtype, (int64_t)to[draw(r, VL_COUNT(to))]);
  return node(r, OP_cast, 1, &in, 1, &a);
}

static Val make_permute(Gen *r) {
  Val in = draw_value(r);
  uint32_t rank = ir_type_of(r->g, in)->rank;
  int64_t perm[VLPC_MAX_RANK];
  for (uint32_t i = 0; i < rank; i++) {
    uint32_t j = draw(r, i + 1);
    perm[i] = perm[j];
    perm[j] = i;
  }
  Attr a = attr_ints(A_perm, perm, rank);
  return node(r, OP_permute, 1, &in, 1, &a);
}

/* The first two axes become one. */
static Val make_reshape(Gen *r) {
  Val in = draw_value(r);
  Type t = *ir_type_of(r->g, in);
  if (t.rank < 2) return VAL_NONE;
  t.dim[1] = dim_mul(r->g->dims, t.dim[0], t.dim[1]);
  if (t.dim[1] == DIM_NONE) return VAL_NONE;
  Attr a = attr_dims(A_dims, t.dim + 1, t.rank - 1);
  return node(r, OP_reshape, 1, &in, 1, &a);
}

static Val make_broadcast(Gen *r) {
  Val in = draw_value(r);
  const Type *t = ir_type_of(r->g, in);
  DimId dim[VLPC_MAX_RANK] = {dim_const(r->g->dims, 1 + draw(r, 2))};
  uint32_t rank = t->rank + draw(r, 2);
  if (rank > 4) return VAL_NONE;
  for (uint32_t i = 0; i < t->rank; i++) dim[rank - t->rank + i] = t->dim[i];
  Attr a = attr_dims(A_dims, dim, rank);
  return node(r, OP_broadcast, 1, &in, 1, &a);
}

/* One axis of constant size from a random start, forwards or backwards. */
static Val make_slice(Gen *r) {
  Val in = draw_value(r);
  Type t = *ir_type_of(r->g, in);
  DimId starts[VLPC_MAX_RANK];
  int64_t steps[VLPC_MAX_RANK], size = 0;
  if (t.rank == 0) return VAL_NONE;
  uint32_t axis = draw(r, t.rank);
  if (!dim_is_const(r->g->dims, t.dim[axis], &size) || size == 0) return VAL_NONE;
  for (uint32_t i = 0; i < t.rank; i++) {
    starts[i] = dim_const(r->g->dims, 0);
    steps[i] = 1;
  }
  int64_t start = draw(r, (uint32_t)size);
  bool back = draw(r, 2) == 0;
  steps[axis] = back ? -1 : 1;
  starts[axis] = dim_const(r->g->dims, start);
  t.dim[axis] = dim_const(r->g->dims, back ? start + 1 : size - start);
  Attr a[3] = {attr_dims(A_starts, starts, t.rank), attr_ints(A_steps, steps, t.rank),
               attr_dims(A_dims, t.dim, t.rank)};
  return node(r, OP_slice, 1, &in, 3, a);
}

static Val make_on_axis(Gen *r) {
  static const OpCode ops[] = {OP_softmax, OP_log_softmax, OP_argmax, OP_cumsum, OP_concat};
  Val in[2] = {draw_value(r), draw_value(r)};
  OpCode op = ops[draw(r, VL_COUNT(ops))];
  uint32_t rank = ir_type_of(r->g, in[0])->rank;
  if (rank == 0) return VAL_NONE;
  Attr a = attr_int(A_axis, (int64_t)draw(r, rank) - (int64_t)draw(r, 2) * rank);
  return node(r, op, op == OP_concat ? 1 + draw(r, 2) : 1, in, 1, &a);
}

static Val make_reduce(Gen *r) {
  static const OpCode ops[] = {OP_reduce_sum, OP_reduce_mean, OP_reduce_max, OP_reduce_min};
  Val in = draw_value(r);
  uint32_t rank = ir_type_of(r->g, in)->rank;
  if (rank == 0) return VAL_NONE;
  const int64_t axis = draw(r, rank);
  Attr a[2] = {attr_ints(A_axes, &axis, 1), attr_int(A_keepdims, draw(r, 2))};
  return node(r, ops[draw(r, VL_COUNT(ops))], 1, &in, 2, a);
}

static Val make_matmul(Gen *r) {
  Val in[2] = {draw_value(r), draw_value(r)};
  return node(r, OP_matmul, 2, in, 0, NULL);
}

static Val make_norm(Gen *r) {
  Val in = draw_value(r);
  Attr a = attr_float(A_eps, 1e-5);
  return node(r, draw(r, 2) == 0 ? OP_layernorm : OP_l2norm, 1, &in, 1, &a);
}

/* The sizes of a value, or arithmetic on them. */
static Val make_sizes(Gen *r) {
  Val v = draw_value(r);
  const Type *t = ir_type_of(r->g, v);
  Attr a = attr_dims(A_dims, t->dim, t->rank);
  if (t->rank == 0) return v;
  if (t->rank > 1 || t->dtype != VLPC_I64) return node(r, OP_dims, 0, NULL, 1, &a);
  Val in[2] = {v, draw_value(r)};
  return node(r, draw(r, 2) == 0 ? OP_add : OP_mul, 2, in, 0, NULL);
}

/* ---- the graph ------------------------------------------------------------ */

typedef Val Maker(Gen *r);
static Maker *const makers[] = {
    make_const,   make_ew1,     make_ew1,       make_ew2,   make_ew2,     make_ew2,
    make_where,   make_cast,    make_permute,   make_reshape, make_broadcast, make_slice,
    make_on_axis, make_reduce,  make_matmul,    make_norm,  make_sizes};

/* Small enough to go on with. */
static bool is_small(const Graph *g, Val v) {
  const Type *t = ir_type_of(g, v);
  int64_t count = 1;
  for (uint32_t i = 0; i < t->rank; i++) {
    Dim d = dim_get(g->dims, t->dim[i]);
    int64_t size = d.c;
    for (uint32_t k = 0; k < d.n; k++) size += 3 * d.term[k].k;
    count *= size;
  }
  return count <= 2000 && t->rank <= 5;
}

static void add_inputs(Gen *r) {
  DimTable *t = r->g->dims;
  DimId batch = dim_of_symbol(t, dim_symbol(t, "batch"));
  DimId x[3] = {batch, dim_const(t, 4), dim_const(t, 6)}, z[3] = {batch, dim_const(t, 1), x[2]};
  Val in[3] = {ir_input(r->g, "x", ir_type(r->g, VLPC_F32, 3, x)),
               ir_input(r->g, "y", ir_type(r->g, VLPC_F32, 2, x + 1)),
               ir_input(r->g, "z", ir_type(r->g, VLPC_F32, 3, z))};
  for (uint32_t i = 0; i < 3; i++) *vec_push(r->g->arena, &r->pool) = in[i];
}

static void add_nodes(Gen *r) {
  for (int32_t i = 0; i < 60; i++) {
    const char *name = arena_printf(r->g->arena, "/n%d", i);
    ir_set_loc(r->g, ir_loc_add(r->g, (Loc){.name = name, .index = i}));
    Val v = makers[draw(r, VL_COUNT(makers))](r);
    if (v.i == 0 || !is_small(r->g, v)) continue;
    *vec_push(r->g->arena, &r->pool) = v;
    if (draw(r, 8) == 0) ir_point(r->g, arena_printf(r->g->arena, "P.%d", i), v);
  }
}

Graph *random_graph(Arena *a, uint64_t seed, RandomForm form) {
  Gen r = {.g = ir_graph_new(a), .rng = {seed, 7}, .form = form};
  add_inputs(&r);
  add_nodes(&r);
  for (uint32_t i = 0; i < 3; i++)
    ir_output(r.g, arena_printf(a, "out%u", i), r.pool.at[r.pool.n - 1 - 2 * i]);
  return r.g;
}
