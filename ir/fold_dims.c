/* SPDX-License-Identifier: Apache-2.0 */
/* fold_dims.c - arithmetic on sizes: the result of a node whose operands are
** known sizes, as sizes.
**
** Exporters compute shapes with ordinary nodes (Shape, Gather, Concat, Mul …).
** This file follows them through scalars and vectors of integers whose elements
** may name symbols.  A result is given only when it holds for every value 0 or
** more of the symbols (1 or more of a divisor); comparisons and choices must be
** decided. */
#include "ir/ir_int.h"

#define MAX_SIZES 64

/* A scalar or vector of sizes; truth values are 0 and 1. */
typedef struct {
  uint32_t rank, n;
  DimId d[MAX_SIZES];
} Sizes;

typedef struct {
  Graph *g;
  const Infer *x;
} Fold;

static DimId number(const Fold *f, int64_t v) { return dim_const(ir_dims(f->g), v); }

static bool number_of(const Fold *f, DimId d, int64_t *out) {
  return d != DIM_NONE && dim_is_const(ir_dims(f->g), d, out);
}

static bool holds_sizes(VlDtype d) { return d == VLPC_I64 || d == VLPC_I32 || d == VLPC_BOOL; }

static bool load(const Fold *f, uint32_t i, Sizes *s) {
  if (!infer_has(f->x, i)) return false;
  Val v = f->x->in[i];
  if (!holds_sizes(ir_type_of(f->g, v)->dtype)) return false;
  s->rank = ir_type_of(f->g, v)->rank;
  if (s->rank > 1) return false;
  if (ir_known_dims(f->g, v, s->d, MAX_SIZES, &s->n)) return true;
  int64_t truth[MAX_SIZES];
  if (ir_type_of(f->g, v)->dtype != VLPC_BOOL) return false;
  if (!ir_const_ints(f->g, v, truth, MAX_SIZES, &s->n)) return false;
  for (uint32_t k = 0; k < s->n; k++) s->d[k] = number(f, truth[k]);
  return true;
}

/* Operand i as plain numbers. */
static bool load_numbers(const Fold *f, uint32_t i, int64_t *out, uint32_t *n) {
  Sizes s;
  if (!load(f, i, &s)) return false;
  *n = s.n;
  for (uint32_t k = 0; k < s.n; k++)
    if (!number_of(f, s.d[k], &out[k])) return false;
  return true;
}

static DimId element(const Sizes *s, uint32_t k) { return s->d[s->n == 1 ? 0 : k]; }

/* ---- arithmetic ---------------------------------------------------------- */

/* d < 0: -1, d == 0: 0, d > 0: 1, for all values of the symbols; else 2. */
static int sign_of(const Fold *f, DimId d) {
  int64_t v;
  if (d == DIM_NONE) return 2;
  if (number_of(f, d, &v)) return (v > 0) - (v < 0);
  if (dim_least(f->g, d, &v) && v > 0) return 1;
  DimId minus = dim_sub(ir_dims(f->g), number(f, 0), d);
  if (minus != DIM_NONE && dim_least(f->g, minus, &v) && v > 0) return -1;
  return 2;
}

/* d >= 0 for all values of the symbols. */
static bool is_natural(const Fold *f, DimId d) {
  int64_t least;
  return dim_least(f->g, d, &least) && least >= 0;
}

/* Truncating division: exact, or floor of what is never negative. */
static DimId divide(const Fold *f, DimId a, DimId b) {
  int64_t p, by;
  DimId exact = dim_div(ir_dims(f->g), a, b);
  if (exact != DIM_NONE || !number_of(f, b, &by)) return exact;
  if (number_of(f, a, &p) && by == 0) return number(f, 0);
  if (number_of(f, a, &p) && !(p == INT64_MIN && by == -1)) return number(f, p / by);
  return by > 0 && is_natural(f, a) ? dim_floor_div(f->g, a, by) : DIM_NONE;
}

/* a - by * floor(a / by): the sign of b, as the op has it. */
static DimId modulo(const Fold *f, DimId a, DimId b) {
  DimTable *t = ir_dims(f->g);
  int64_t by;
  if (!number_of(f, b, &by) || by < 1) return DIM_NONE;
  DimId whole = dim_floor_div(f->g, a, by);
  return whole == DIM_NONE ? DIM_NONE : dim_sub(t, a, dim_mul(t, whole, b));
}

/* Of two sizes the first when a - b has the wanted sign or is zero. */
static DimId choose(const Fold *f, DimId a, DimId b, int wanted) {
  DimTable *t = ir_dims(f->g);
  DimId less = dim_sub(t, a, b), more = dim_sub(t, b, a);
  if (less == DIM_NONE || more == DIM_NONE) return DIM_NONE;
  if (is_natural(f, less)) return wanted > 0 ? a : b;
  if (is_natural(f, more)) return wanted > 0 ? b : a;
  return DIM_NONE;
}

static DimId compare(const Fold *f, OpCode op, DimId a, DimId b) {
  DimId diff = dim_sub(ir_dims(f->g), a, b);
  int s = sign_of(f, diff);
  if (s != 2) return number(f, op == OP_eq ? s == 0 : op == OP_lt ? s < 0 : s <= 0);
  if (diff == DIM_NONE || op == OP_eq) return DIM_NONE;
  DimId back = dim_sub(ir_dims(f->g), b, a);
  if (op == OP_lt && is_natural(f, diff)) return number(f, 0);
  return op == OP_le && back != DIM_NONE && is_natural(f, back) ? number(f, 1) : DIM_NONE;
}

static DimId connect(const Fold *f, OpCode op, DimId a, DimId b) {
  int64_t p, q;
  if (!number_of(f, a, &p) || !number_of(f, b, &q)) return DIM_NONE;
  return number(f, op == OP_and ? p && q : p || q);
}

static DimId combine(const Fold *f, DimId a, DimId b) {
  DimTable *t = ir_dims(f->g);
  OpCode op = f->x->op;
  switch ((int)op) {
  case OP_add: return dim_add(t, a, b);
  case OP_sub: return dim_sub(t, a, b);
  case OP_mul: return dim_mul(t, a, b);
  case OP_div: return divide(f, a, b);
  case OP_mod: return modulo(f, a, b);
  case OP_min: return choose(f, a, b, -1);
  case OP_max: return choose(f, a, b, 1);
  case OP_eq:
  case OP_lt:
  case OP_le: return compare(f, op, a, b);
  case OP_and:
  case OP_or: return connect(f, op, a, b);
  default: return DIM_NONE;
  }
}

static uint32_t joint_count(const Sizes *a, const Sizes *b) {
  return a->n == 1 ? b->n : a->n;
}

static bool fold_binary(const Fold *f, Sizes *out) {
  Sizes a, b;
  if (!load(f, 0, &a) || !load(f, 1, &b)) return false;
  out->n = joint_count(&a, &b);
  for (uint32_t k = 0; k < out->n; k++) {
    out->d[k] = combine(f, element(&a, k), element(&b, k));
    if (out->d[k] == DIM_NONE) return false;
  }
  return true;
}

static DimId turn(const Fold *f, DimId a) {
  DimId minus = dim_sub(ir_dims(f->g), number(f, 0), a);
  int s = sign_of(f, a);
  switch ((int)f->x->op) {
  case OP_neg: return minus;
  case OP_abs: return is_natural(f, a) ? a : s == -1 ? minus : DIM_NONE;
  case OP_relu: return is_natural(f, a) ? a : s == -1 ? number(f, 0) : DIM_NONE;
  case OP_sign: return s != 2 ? number(f, s) : DIM_NONE;
  case OP_not: return s != 2 ? number(f, s == 0) : DIM_NONE;
  default: return a; /* floor, ceil, round */
  }
}

static bool fold_unary(const Fold *f, Sizes *out) {
  if (!load(f, 0, out)) return false;
  for (uint32_t k = 0; k < out->n; k++) {
    out->d[k] = turn(f, out->d[k]);
    if (out->d[k] == DIM_NONE) return false;
  }
  return true;
}

/* Where both sides are equal the condition need not be known. */
static bool fold_where(const Fold *f, Sizes *out) {
  Sizes c, a, b;
  if (!load(f, 1, &a) || !load(f, 2, &b)) return false;
  bool known = load(f, 0, &c);
  out->n = joint_count(&a, &b);
  if (known) out->n = joint_count(&c, &(Sizes){.n = out->n});
  if (!known && ir_type_of(f->g, f->x->in[0])->rank > 0) return false;
  for (uint32_t k = 0; k < out->n; k++) {
    DimId p = element(&a, k), q = element(&b, k);
    int side = known ? sign_of(f, element(&c, k)) : 2;
    if (side == 2 && p != q) return false;
    out->d[k] = side == 0 ? q : p;
  }
  return true;
}

/* Between integers, or to bool: is it zero. */
static bool fold_cast(const Fold *f, Sizes *out) {
  if (!load(f, 0, out)) return false;
  for (uint32_t k = 0; k < out->n && f->x->out.dtype == VLPC_BOOL; k++) {
    int s = sign_of(f, out->d[k]);
    if (s == 2) return false;
    out->d[k] = number(f, s != 0);
  }
  return true;
}

/* ---- moves --------------------------------------------------------------- */

static bool fold_gather(const Fold *f, Sizes *out) {
  Sizes data;
  int64_t at[MAX_SIZES];
  if (!load(f, 0, &data) || data.rank != 1 || !load_numbers(f, 1, at, &out->n)) return false;
  for (uint32_t k = 0; k < out->n; k++) {
    if (at[k] < 0) at[k] += data.n;
    if (at[k] < 0 || at[k] >= data.n) return false;
    out->d[k] = data.d[at[k]];
  }
  return true;
}

static bool fold_slice(const Fold *f, Sizes *out) {
  Sizes data;
  const Attr *starts = infer_attr(f->x, A_starts), *dims = infer_attr(f->x, A_dims);
  const Attr *steps = infer_attr(f->x, A_steps);
  int64_t start, n, step = steps && steps->n == 1 ? steps->ints[0] : 1;
  if (!load(f, 0, &data) || data.rank != 1) return false;
  if (!number_of(f, starts->dims[0], &start) || !number_of(f, dims->dims[0], &n)) return false;
  if (n > data.n) return false;
  out->n = (uint32_t)n;
  for (uint32_t k = 0; k < out->n; k++, start += step) {
    if (start < 0 || start >= data.n) return false;
    out->d[k] = data.d[start];
    if (step > MAX_SIZES || step < -MAX_SIZES) return n == 1;
  }
  return true;
}

static bool fold_concat(const Fold *f, Sizes *out) {
  Sizes part;
  out->n = 0;
  for (uint32_t i = 0; i < f->x->n_in; i++) {
    if (!load(f, i, &part) || out->n + part.n > MAX_SIZES) return false;
    for (uint32_t k = 0; k < part.n; k++) out->d[out->n++] = part.d[k];
  }
  return true;
}

static bool fold_broadcast(const Fold *f, Sizes *out) {
  Sizes a;
  int64_t n = 1;
  if (!load(f, 0, &a)) return false;
  if (f->x->out.rank == 1 && !number_of(f, f->x->out.dim[0], &n)) return false;
  if (n < 0 || n > MAX_SIZES || (a.n != 1 && a.n != n)) return false;
  out->n = (uint32_t)n;
  for (uint32_t k = 0; k < out->n; k++) out->d[k] = element(&a, k);
  return true;
}

/* ---- over the one axis --------------------------------------------------- */

static bool fold_reduce(const Fold *f, Sizes *out) {
  Sizes a;
  DimTable *t = ir_dims(f->g);
  OpCode op = f->x->op;
  const Attr *axes = infer_attr(f->x, A_axes);
  if (!load(f, 0, &a)) return false;
  if (axes->n == 0 || a.rank == 0) {
    *out = a;
    return true;
  }
  bool extreme = op == OP_reduce_max || op == OP_reduce_min;
  if (extreme && a.n == 0) return false;
  DimId s = extreme ? a.d[0] : number(f, op == OP_reduce_prod ? 1 : 0);
  for (uint32_t k = extreme ? 1 : 0; k < a.n; k++) {
    s = op == OP_reduce_sum    ? dim_add(t, s, a.d[k])
        : op == OP_reduce_prod ? dim_mul(t, s, a.d[k])
                               : choose(f, s, a.d[k], op == OP_reduce_max ? 1 : -1);
    if (s == DIM_NONE) return false;
  }
  out->n = 1;
  out->d[0] = s;
  return true;
}

/* ---- the node ------------------------------------------------------------ */

static bool fold(const Fold *f, Sizes *out) {
  switch ((int)f->x->op) {
  case OP_neg: case OP_abs: case OP_relu: case OP_sign: case OP_not:
  case OP_floor: case OP_ceil: case OP_round: return fold_unary(f, out);
  case OP_add: case OP_sub: case OP_mul: case OP_div: case OP_mod: case OP_min: case OP_max:
  case OP_eq: case OP_lt: case OP_le: case OP_and: case OP_or: return fold_binary(f, out);
  case OP_where: return fold_where(f, out);
  case OP_cast: return fold_cast(f, out);
  case OP_gather: return fold_gather(f, out);
  case OP_slice: return fold_slice(f, out);
  case OP_concat: return fold_concat(f, out);
  case OP_reshape: case OP_permute: return load(f, 0, out);
  case OP_broadcast: return fold_broadcast(f, out);
  case OP_reduce_sum: case OP_reduce_prod: case OP_reduce_max:
  case OP_reduce_min: return fold_reduce(f, out);
  default: return false;
  }
}

/* An i32 that would wrap is left to the arithmetic on constants. */
static bool fits_type(const Fold *f, DimId d) {
  int64_t v;
  return f->x->out.dtype != VLPC_I32 || !number_of(f, d, &v) || (v >= INT32_MIN && v <= INT32_MAX);
}

bool fold_dims(Graph *g, const Infer *x, DimId *dim, uint32_t cap, uint32_t *n) {
  Fold f = {g, x};
  Sizes out = {0};
  if (x->out.rank > 1 || !holds_sizes(x->out.dtype)) return false;
  if (!fold(&f, &out) || out.n > cap) return false;
  VL_ASSERT(x->out.rank == 0 ? out.n == 1 : dim_is(g, x->out.dim[0], out.n));
  for (uint32_t k = 0; k < out.n; k++) {
    if (!fits_type(&f, out.d[k])) return false;
    dim[k] = out.d[k];
  }
  *n = out.n;
  return true;
}
