/* SPDX-License-Identifier: Apache-2.0 */
/* test_grad_ops.c - the gradient of every op in the table against differences of
** the interpreter in double, to 1e-6 of the largest element: random shapes with
** broadcasting, axes of size 1 and of size 0.  An op without a draw fails. */
#include <math.h>

#include "base/rng.h"
#include "tests/passes/pass_case.h"

enum { ROUNDS = 200, OPERANDS = 12, ELEMENTS = 10 };

typedef struct {
  Arena *a;
  Graph *g;
  Rng rng;
  uint64_t at;
  uint32_t n; /* inputs of the graph */
  Val in[OPERANDS];
  RefTensor value[OPERANDS];
} Draw;

#define COUNT(T, ...) (sizeof((const T[]){__VA_ARGS__}) / sizeof(T))
#define SHAPE(...) COUNT(int64_t, __VA_ARGS__), (const int64_t[]){__VA_ARGS__}

/* ---- values -------------------------------------------------------------- */

static int64_t draw_to(Draw *d, int64_t most) {
  return most <= 1 ? most : 1 + (int64_t)(rng_u32(d->rng, d->at++) % (uint32_t)most);
}

static bool draw_bool(Draw *d) { return (rng_u32(d->rng, d->at++) & 1) != 0; }

/* An axis: sometimes 0, often 1. */
static int64_t draw_axis(Draw *d, int64_t most) {
  uint32_t u = rng_u32(d->rng, d->at++) % 16;
  return u == 0 ? 0 : u < 4 ? 1 : draw_to(d, most);
}

/* Off the grid by half a cell, so that no kink is near: no zeros, no almost
** equal elements.  Equal ones may be. */
static double draw_value(Draw *d) {
  return round(rng_normal(d->rng, d->at++) * 50) * 0.02 + 0.01;
}

static RefTensor add_input(Draw *d, VlDtype t, uint32_t rank, const int64_t *size) {
  RefTensor v = ref_tensor(d->a, t, rank, size);
  for (int64_t i = 0; v.f && i < v.count; i++) v.f[i] = draw_value(d);
  TypeId type = ir_type_fixed(d->g, t, rank, size);
  d->in[d->n] = ir_input(d->g, arena_printf(d->a, "x%u", d->n), type);
  d->value[d->n++] = v;
  return v;
}

static RefTensor add_real(Draw *d, uint32_t rank, const int64_t *size) {
  return add_input(d, VLPC_F64, rank, size);
}

/* Indices into n elements, some from the end. */
static void add_ids(Draw *d, uint32_t rank, const int64_t *size, int64_t n) {
  RefTensor v = add_input(d, VLPC_I64, rank, size);
  for (int64_t i = 0; i < v.count; i++) {
    v.i[i] = draw_to(d, n) - 1;
    if (draw_bool(d)) v.i[i] -= n;
  }
}

/* Each element once: its number, shuffled by a stride. */
static void make_distinct(Draw *d, RefTensor v) {
  for (int64_t i = 0; i < v.count; i++)
    v.f[i] = 0.1 * (double)((i * 7919 + 13) % 65537 % 997) + 1e-3 * (double)i;
  (void)d;
}

static void make_positive(RefTensor v) {
  for (int64_t i = 0; i < v.count; i++) v.f[i] = fabs(v.f[i]) + 0.5;
}

static uint32_t draw_shape(Draw *d, int64_t *size, uint32_t least_rank) {
  uint32_t rank = least_rank + (uint32_t)draw_to(d, 3) - 1;
  for (uint32_t i = 0; i < rank; i++) size[i] = draw_axis(d, 4);
  return rank;
}

/* ---- draws: each makes the node ------------------------------------------ */

typedef Val DrawFn(Draw *d, OpCode op);

static Val draw_ew1(Draw *d, OpCode op) {
  int64_t size[4];
  uint32_t rank = draw_shape(d, size, 0);
  RefTensor v = add_real(d, rank, size);
  if (op == OP_log || op == OP_sqrt || op == OP_recip) make_positive(v);
  return ir_ew1(d->g, op, d->in[0]);
}

static Val draw_gelu(Draw *d, OpCode op) {
  static const char *const kinds[] = {"erf", "tanh", "quick"};
  int64_t size[4];
  uint32_t rank = draw_shape(d, size, 1);
  add_real(d, rank, size);
  Attr at = attr_str(A_approx, kinds[draw_to(d, 3) - 1]);
  return ir_node(d->g, op, 1, d->in, 1, &at);
}

/* The second operand broadcasts, or the first does. */
static void add_pair(Draw *d, RefTensor out[2]) {
  int64_t size[4], part[4];
  uint32_t rank = draw_shape(d, size, 0), cut = rank > 0 ? (uint32_t)draw_to(d, rank + 1) - 1 : 0;
  for (uint32_t i = cut; i < rank; i++) part[i - cut] = draw_bool(d) ? 1 : size[i];
  bool swap = draw_bool(d);
  for (int k = 0; k < 2; k++)
    out[k] = (k == 0) == swap ? add_real(d, rank - cut, part) : add_real(d, rank, size);
}

static Val draw_ew2(Draw *d, OpCode op) {
  RefTensor v[2];
  add_pair(d, v);
  if (op == OP_pow) make_positive(v[0]);
  if (op == OP_div) make_positive(v[1]);
  return ir_ew2(d->g, op, d->in[0], d->in[1]);
}

/* Negative bases with whole exponents: only the base is trained. */
static Val draw_pow(Draw *d, OpCode op) {
  if (draw_bool(d)) return draw_ew2(d, op);
  int64_t size[4];
  uint32_t rank = draw_shape(d, size, 0);
  RefTensor v = add_real(d, rank, size);
  for (int64_t i = 0; i < v.count; i++) v.f[i] += v.f[i] < 0 ? -0.5 : 0.5;
  return ir_ew2(d->g, op, d->in[0], ir_scalar(d->g, VLPC_F64, (double)draw_to(d, 4) - 2));
}

/* a lies well between multiples of b. */
static Val draw_mod(Draw *d, OpCode op) {
  int64_t size[4];
  uint32_t rank = draw_shape(d, size, 1);
  RefTensor a = add_real(d, rank, size), b = add_real(d, rank, size);
  for (int64_t i = 0; i < a.count; i++) {
    b.f[i] = copysign(fabs(b.f[i]) + 0.5, b.f[i]);
    a.f[i] = b.f[i] * (0.3 * (double)draw_to(d, 20) - 2.95);
  }
  return ir_ew2(d->g, op, d->in[0], d->in[1]);
}

static Val draw_where(Draw *d, OpCode op) {
  RefTensor v[2];
  add_pair(d, v);
  const RefTensor *like = &v[draw_to(d, 2) - 1];
  RefTensor c = add_input(d, VLPC_BOOL, like->rank, like->size);
  for (int64_t i = 0; i < c.count; i++) c.i[i] = draw_bool(d);
  Val in[3] = {d->in[2], d->in[0], d->in[1]};
  return ir_node(d->g, op, 3, in, 0, NULL);
}

/* Down to f32 and up again: the interpreter in double does not round between. */
static Val draw_cast(Draw *d, OpCode op) {
  int64_t size[4];
  uint32_t rank = draw_shape(d, size, 0);
  add_real(d, rank, size);
  (void)op;
  return ir_cast(d->g, ir_cast(d->g, d->in[0], VLPC_F32), VLPC_F64);
}

static Val draw_reduce(Draw *d, OpCode op) {
  int64_t size[4], axes[4];
  uint32_t rank = draw_shape(d, size, 1), n = 0;
  RefTensor v = add_real(d, rank, size);
  if (op == OP_reduce_max || op == OP_reduce_min) make_distinct(d, v);
  for (uint32_t i = 0; i < rank; i++)
    if (draw_bool(d)) axes[n++] = i;
  return ir_reduce(d->g, op, d->in[0], axes, n, draw_bool(d));
}

static Val draw_cumsum(Draw *d, OpCode op) {
  int64_t size[4];
  uint32_t rank = draw_shape(d, size, 1);
  add_real(d, rank, size);
  Attr at[3] = {attr_int(A_axis, draw_to(d, rank) - 1), attr_int(A_exclusive, draw_bool(d)),
                attr_int(A_reverse, draw_bool(d))};
  return ir_node(d->g, op, 1, d->in, 3, at);
}

static Val draw_permute(Draw *d, OpCode op) {
  int64_t perm[3] = {0, 1, 2}, k = draw_to(d, 3) - 1, swap = perm[k];
  perm[k] = perm[0];
  perm[0] = swap;
  add_real(d, SHAPE(draw_axis(d, 3), draw_axis(d, 4), draw_axis(d, 5)));
  (void)op;
  return ir_permute(d->g, d->in[0], perm, 3);
}

static DimId size_of(Draw *d, int64_t n) { return dim_const(ir_dims(d->g), n); }

static Val draw_reshape(Draw *d, OpCode op) {
  int64_t p = draw_axis(d, 3), q = draw_axis(d, 4);
  add_real(d, SHAPE(p, q, 6));
  (void)op;
  return ir_reshape(d->g, d->in[0], (DimId[]){size_of(d, 2 * q), size_of(d, 3 * p)}, 2);
}

static Val draw_broadcast(Draw *d, OpCode op) {
  int64_t p = draw_axis(d, 3), q = draw_axis(d, 4);
  add_real(d, SHAPE(draw_bool(d) ? 1 : p, draw_bool(d) ? 1 : q));
  (void)op;
  return ir_broadcast(d->g, d->in[0], (DimId[]){size_of(d, 2), size_of(d, p), size_of(d, q)}, 3);
}

/* start + k·step of a large enough axis. */
static Val draw_slice(Draw *d, OpCode op) {
  int64_t size[3], steps[3];
  DimId starts[3], cut[3];
  for (int i = 0; i < 3; i++) {
    int64_t n = draw_axis(d, 4), step = draw_to(d, 3), before = draw_to(d, 3) - 1;
    int64_t reach = n > 0 ? (n - 1) * step + 1 : 0;
    size[i] = before + reach + draw_to(d, 3) - 1;
    bool back = draw_bool(d) && n > 0;
    starts[i] = size_of(d, back ? before + reach - 1 : before);
    steps[i] = back ? -step : step;
    cut[i] = size_of(d, n);
  }
  add_real(d, 3, size);
  Attr at[3] = {attr_dims(A_starts, starts, 3), attr_ints(A_steps, steps, 3),
                attr_dims(A_dims, cut, 3)};
  return ir_node(d->g, op, 1, d->in, 3, at);
}

static Val draw_concat(Draw *d, OpCode op) {
  int64_t axis = draw_to(d, 3) - 1, n = draw_to(d, 3);
  int64_t size[3] = {draw_axis(d, 3), draw_axis(d, 3), draw_axis(d, 3)};
  for (int64_t i = 0; i < n; i++) {
    size[axis] = draw_axis(d, 4);
    add_real(d, 3, size);
  }
  d->in[d->n] = d->in[0]; /* one operand twice */
  (void)op;
  return ir_concat(d->g, d->in, d->n + 1, axis);
}

static Val draw_pad(Draw *d, OpCode op) {
  DimId before[2], after[2];
  for (int i = 0; i < 2; i++) {
    before[i] = size_of(d, draw_to(d, 3) - 1);
    after[i] = size_of(d, draw_to(d, 3) - 1);
  }
  add_real(d, SHAPE(draw_axis(d, 4), draw_axis(d, 4)));
  add_real(d, 0, NULL);
  Attr at[2] = {attr_dims(A_before, before, 2), attr_dims(A_after, after, 2)};
  return ir_node(d->g, op, 2, d->in, 2, at);
}

/* Vectors, matrices, and batches that broadcast either way. */
static Val draw_matmul(Draw *d, OpCode op) {
  int64_t m = draw_axis(d, 3), k = draw_axis(d, 4), n = draw_axis(d, 3), b = draw_axis(d, 3);
  int64_t form = draw_to(d, 3), other = draw_to(d, 3);
  if (form == 1) add_real(d, SHAPE(k));
  else if (form == 2) add_real(d, SHAPE(m, k));
  else add_real(d, SHAPE(draw_bool(d) ? 1 : b, 2, m, k));
  if (other == 1) add_real(d, SHAPE(k));
  else if (other == 2) add_real(d, SHAPE(k, n));
  else add_real(d, SHAPE(b, draw_bool(d) ? 1 : 2, k, n));
  return ir_ew2(d->g, op, d->in[0], d->in[1]);
}

/* ---- by index ------------------------------------------------------------ */

static Val draw_gather(Draw *d, OpCode op) {
  int64_t axis = draw_to(d, 3) - 1, size[3] = {draw_axis(d, 3), draw_axis(d, 3), draw_axis(d, 3)};
  size[axis] = draw_to(d, 4);
  add_real(d, 3, size);
  if (draw_bool(d)) add_ids(d, SHAPE(draw_axis(d, 3), draw_axis(d, 4)), size[axis]);
  else add_ids(d, 0, NULL, size[axis]);
  Attr at = attr_int(A_axis, axis);
  return ir_node(d->g, op, 2, d->in, 1, &at);
}

static Val draw_elements(Draw *d, OpCode op) {
  int64_t axis = draw_to(d, 2) - 1, size[2] = {draw_axis(d, 4), draw_axis(d, 4)};
  size[axis] = draw_to(d, 4);
  add_real(d, 2, size);
  int64_t n = size[axis];
  size[axis] = draw_axis(d, 5);
  add_ids(d, 2, size, n);
  Attr at = attr_int(A_axis, axis);
  return ir_node(d->g, op, 2, d->in, 1, &at);
}

static Val draw_embedding(Draw *d, OpCode op) {
  int64_t rows = draw_to(d, 4);
  add_real(d, SHAPE(rows, draw_axis(d, 5)));
  add_ids(d, SHAPE(draw_axis(d, 3), draw_axis(d, 4)), rows);
  return ir_node(d->g, op, 2, d->in, 0, NULL);
}

static Val draw_gather_nd(Draw *d, OpCode op) {
  int64_t batch = draw_to(d, 3) - 1, k = draw_to(d, 2), side = draw_to(d, 3);
  int64_t size[4] = {draw_axis(d, 3), draw_axis(d, 3), side, side}, ids[4];
  for (int64_t i = 0; i < batch; i++) ids[i] = size[i];
  for (int64_t i = batch; i < batch + k; i++) size[i] = side;
  ids[batch] = draw_axis(d, 3);
  ids[batch + 1] = k;
  add_real(d, 4, size);
  add_ids(d, (uint32_t)batch + 2, ids, side);
  Attr at = attr_int(A_batch_dims, batch);
  return ir_node(d->g, op, 2, d->in, 1, &at);
}

/* Indices of two rows repeat. */
static Val draw_scatter_nd(Draw *d, OpCode op) {
  int64_t side = draw_to(d, 3), width = draw_axis(d, 3), n = draw_axis(d, 5);
  add_real(d, SHAPE(side, side, width));
  add_ids(d, SHAPE(n, 2), side);
  add_real(d, SHAPE(n, width));
  return ir_node(d->g, op, 3, d->in, 0, NULL);
}

static Val draw_topk(Draw *d, OpCode op) {
  int64_t axis = draw_to(d, 3) - 1, size[3] = {draw_axis(d, 3), draw_axis(d, 3), draw_axis(d, 3)};
  size[axis] = draw_to(d, 5);
  make_distinct(d, add_real(d, 3, size));
  Attr at[3] = {attr_int(A_axis, axis), attr_int(A_k, draw_to(d, size[axis])),
                attr_int(A_largest, draw_bool(d))};
  return ir_node(d->g, op, 1, d->in, 3, at);
}

/* ---- semantic ------------------------------------------------------------ */

static Val draw_row_op(Draw *d, OpCode op, Attr at) {
  add_real(d, SHAPE(draw_axis(d, 3), draw_axis(d, 4), draw_to(d, 7)));
  return ir_node(d->g, op, 1, d->in, 1, &at);
}

static Val draw_softmax(Draw *d, OpCode op) {
  return draw_row_op(d, op, attr_int(A_axis, draw_to(d, 3) - 1));
}

static Val draw_l2norm(Draw *d, OpCode op) {
  return draw_row_op(d, op, attr_float(A_eps, draw_bool(d) ? 1e-12 : 30));
}

static Val draw_layernorm(Draw *d, OpCode op) {
  int64_t width = draw_to(d, 9) + 1;
  Attr at = attr_float(A_eps, 1e-2);
  add_real(d, SHAPE(draw_axis(d, 3), draw_axis(d, 3), width));
  if (draw_bool(d)) add_real(d, SHAPE(width));
  if (d->n == 2 && draw_bool(d)) add_real(d, SHAPE(width));
  return ir_node(d->g, op, d->n, d->in, 1, &at);
}

static Val draw_linear(Draw *d, OpCode op) {
  int64_t k = draw_axis(d, 5), n = draw_axis(d, 5), size[3];
  uint32_t rank = draw_shape(d, size, 1);
  size[rank - 1] = k;
  add_real(d, rank, size);
  add_real(d, SHAPE(k, n));
  if (draw_bool(d)) add_real(d, SHAPE(n));
  return ir_node(d->g, op, d->n, d->in, 0, NULL);
}

static Val draw_patch_embed(Draw *d, OpCode op) {
  int64_t patch[2] = {draw_to(d, 3), draw_to(d, 3)}, c = draw_to(d, 2), n = draw_to(d, 3);
  Attr at = attr_ints(A_patch, patch, 2);
  add_real(d, SHAPE(draw_axis(d, 2), c, patch[0] * draw_to(d, 2), patch[1] * draw_to(d, 3)));
  add_real(d, SHAPE(c * patch[0] * patch[1], n));
  if (draw_bool(d)) add_real(d, SHAPE(n));
  return ir_node(d->g, op, d->n, d->in, 1, &at);
}

static Val draw_attention(Draw *d, OpCode op) {
  int64_t b = draw_axis(d, 3), l_q = draw_axis(d, 4), l_k = 0;
  int64_t heads = draw_to(d, 2), width = heads * draw_to(d, 3), width_v = heads * draw_to(d, 3);
  Attr at[3] = {attr_int(A_heads, heads), attr_float(A_scale, 0.5),
                attr_int(A_causal, draw_bool(d))};
  add_real(d, SHAPE(draw_bool(d) ? b : 1, l_q, width));
  for (int64_t s = draw_to(d, ATTENTION_SEGMENTS), n; s > 0; s--, l_k += n) {
    n = draw_axis(d, 3);
    add_real(d, SHAPE(draw_bool(d) ? b : 1, n, width));
    add_real(d, SHAPE(draw_bool(d) ? b : 1, n, width_v));
  }
  if (draw_bool(d)) add_real(d, SHAPE(1, draw_bool(d) ? heads : 1, l_q, l_k));
  return ir_node(d->g, op, d->n, d->in, 3, at);
}

static Val draw_varlen(Draw *d, OpCode op) {
  int64_t heads = draw_to(d, 2), width = heads * draw_to(d, 3), width_v = heads * draw_to(d, 3);
  int64_t bounds[6] = {0}, n_runs = draw_to(d, 4);
  for (int64_t i = 0; i < n_runs; i++) bounds[i + 1] = bounds[i] + draw_to(d, 3) - 1;
  Attr at[2] = {attr_int(A_heads, heads), attr_float(A_scale, 0.5)};
  add_real(d, SHAPE(bounds[n_runs], width));
  add_real(d, SHAPE(bounds[n_runs], width));
  add_real(d, SHAPE(bounds[n_runs], width_v));
  d->in[3] = ir_const_i64(d->g, bounds, (uint32_t)n_runs + 1);
  return ir_node(d->g, op, 4, d->in, 2, at);
}

static DrawFn *const draws[OP__COUNT] = {
    [OP_neg] = draw_ew1,           [OP_abs] = draw_ew1,
    [OP_exp] = draw_ew1,           [OP_log] = draw_ew1,
    [OP_sqrt] = draw_ew1,          [OP_recip] = draw_ew1,
    [OP_erf] = draw_ew1,           [OP_tanh] = draw_ew1,
    [OP_sigmoid] = draw_ew1,       [OP_relu] = draw_ew1,
    [OP_add] = draw_ew2,           [OP_sub] = draw_ew2,
    [OP_mul] = draw_ew2,           [OP_div] = draw_ew2,
    [OP_mod] = draw_mod,           [OP_fmod] = draw_mod,
    [OP_pow] = draw_pow,           [OP_min] = draw_ew2,
    [OP_max] = draw_ew2,           [OP_where] = draw_where,
    [OP_cast] = draw_cast,         [OP_reduce_sum] = draw_reduce,
    [OP_reduce_mean] = draw_reduce, [OP_reduce_max] = draw_reduce,
    [OP_reduce_min] = draw_reduce, [OP_cumsum] = draw_cumsum,
    [OP_permute] = draw_permute,   [OP_reshape] = draw_reshape,
    [OP_broadcast] = draw_broadcast, [OP_slice] = draw_slice,
    [OP_concat] = draw_concat,     [OP_pad] = draw_pad,
    [OP_matmul] = draw_matmul,     [OP_gather] = draw_gather,
    [OP_gather_elements] = draw_elements, [OP_gather_nd] = draw_gather_nd,
    [OP_scatter_nd] = draw_scatter_nd, [OP_topk_values] = draw_topk,
    [OP_softmax] = draw_softmax,   [OP_log_softmax] = draw_softmax,
    [OP_layernorm] = draw_layernorm, [OP_l2norm] = draw_l2norm,
    [OP_gelu] = draw_gelu,         [OP_linear] = draw_linear,
    [OP_embedding] = draw_embedding, [OP_patch_embed] = draw_patch_embed,
    [OP_attention] = draw_attention, [OP_attention_varlen] = draw_varlen,
};

/* ---- differences --------------------------------------------------------- */

/* Σ node · weights, so that every element of dy differs. */
static Val make_loss(Draw *d, Val v) {
  const Type *t = ir_type_of(d->g, v);
  int64_t size[VLPC_MAX_RANK], axes[VLPC_MAX_RANK];
  uint32_t rank = t->rank;
  for (uint32_t i = 0; i < rank; i++) {
    assert_true(ir_size_const(d->g, v, (int)i, &size[i]));
    axes[i] = i;
  }
  add_real(d, rank, size);
  Val product = ir_ew2(d->g, OP_mul, v, d->in[d->n - 1]);
  return rank == 0 ? product : ir_reduce(d->g, OP_reduce_sum, product, axes, rank, false);
}

static double value_at(const Graph *g, const Draw *d, Arena *scratch) {
  RefTensor out[OPERANDS];
  assert_int_equal(ir_eval(g, scratch, EVAL_DOUBLE, d->value, out, NULL), VLPC_OK);
  return out[0].f[0];
}

/* Five points: exact to the fourth power of the step. */
static double slope_at(const Graph *g, const Draw *d, double *x, double step) {
  static const double at[4] = {-2, -1, 1, 2}, weight[4] = {1, -8, 8, -1};
  double was = *x, sum = 0;
  Arena *scratch = arena_new(0);
  for (int i = 0; i < 4; i++) {
    *x = was + at[i] * step;
    sum += weight[i] * value_at(g, d, scratch);
  }
  *x = was;
  arena_free(scratch);
  return sum / (12 * step);
}

typedef struct {
  OpCode op;
  uint64_t round;
  uint32_t operand;
} Where;

static void check_operand(const Graph *g, Draw *d, const RefTensor *got, Where w) {
  RefTensor *x = &d->value[w.operand];
  double most = 1e-3, step = w.op == OP_cast ? 1 : 1e-3, bar = w.op == OP_cast ? 1e-4 : 1e-6;
  assert_int_equal(got->count, x->count);
  for (int64_t i = 0; i < got->count; i++) most = fmax(most, fabs(got->f[i]));
  for (int64_t k = 0; k < VL_MIN(x->count, ELEMENTS); k++) {
    int64_t i = x->count <= ELEMENTS ? k : draw_to(d, x->count) - 1;
    double want = slope_at(g, d, &x->f[i], step);
    if (!(fabs(want - got->f[i]) <= bar * most))
      fail_msg("%s, round %d, operand %u, element %d: %.12g by differences, %.12g",
               op_info(w.op)->name, (int)w.round, w.operand, (int)i, want, got->f[i]);
  }
}

static void check_round(OpCode op, uint64_t round) {
  Draw d = {.a = arena_new(0), .rng = {round, op}};
  Named of[OPERANDS];
  RefTensor out[OPERANDS + 1];
  uint32_t n = 0, at[OPERANDS];
  d.g = ir_graph_new(d.a);
  Val v = draws[op](&d, op);
  if (!val_ok(v)) fail_msg("%s: %s", op_info(op)->name, ir_why(d.g).sentence);
  for (uint32_t i = 0; i < d.n; i++) {
    if (!d.value[i].f) continue;
    at[n] = i;
    of[n++] = (Named){arena_printf(d.a, "x%u", i), d.in[i]};
  }
  Val loss = make_loss(&d, v);
  ir_output(d.g, "loss", loss);
  Graph *forward = ir_rewrite(d.g, d.a, NULL, NULL, NULL), *g = NULL;
  Diag *diag = diag_new();
  GradSpec spec = {loss, of, n, PASS_GRAD, GRAD_KEEP_all, 0};
  if (pass_grad(d.g, &spec, diag, &g) != VLPC_OK) fail_msg("%s", diag_text(diag));
  diag_free(diag);
  Str faults = {.arena = d.a};
  if (!ir_verify(g, SPEC_CORE, &faults)) fail_msg("%s", str_text(&faults));
  assert_int_equal(ir_eval(g, d.a, EVAL_DOUBLE, d.value, out, NULL), VLPC_OK);
  for (uint32_t i = 0; i < n; i++)
    check_operand(forward, &d, &out[i + 1], (Where){op, round, at[i]});
  arena_free(d.a);
}

static void every_rule_agrees_with_differences(void **state) {
  (void)state;
  for (OpCode op = OP_none + 1; op < OP__COUNT; op++) {
    if (op_grad_kind(op) != GRAD_RULE) continue;
    if (!draws[op]) fail_msg("%s has no draw", op_info(op)->name);
    for (uint64_t round = 0; round < ROUNDS; round++) check_round(op, round);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_rule_agrees_with_differences)};
  return cmocka_run_group_tests_name("passes_grad_ops", tests, NULL, NULL);
}
