/* SPDX-License-Identifier: Apache-2.0 */
/* llvm_loops_ref.c - see llvm_loops_ref.h. */
#include "tests/device/llvm_loops_ref.h"

#include <math.h>

#include "runtime/code.h"

typedef struct {
  double f;
  int64_t i;
} Num;

static double least(double a, double b) { return a != a || b != b ? a + b : a < b ? a : b; }
static double greatest(double a, double b) { return a != a || b != b ? a + b : a > b ? a : b; }
static double floor_mod(double a, double b) {
  double r = fmod(a, b);
  if (r == 0) return copysign(0, b);
  return (r < 0) != (b < 0) ? r + b : r;
}

#define V_ABS(x) fabs(x)
#define V_EXP(x) exp(x)
#define V_LOG(x) log(x)
#define V_SQRT(x) sqrt(x)
#define V_ERF(x) erf(x)
#define V_TANH(x) tanh(x)
#define V_RELU(x) ((x) < 0 ? 0 : (x))
#define V_FLOOR(x) floor(x)
#define V_CEIL(x) ceil(x)
#define V_ROUND(x) nearbyint(x)
#define V_DIV(x, y) ((x) / (y))
#define V_MOD(x, y) floor_mod(x, y)
#define V_FMOD(x, y) fmod(x, y)
#define V_POW(x, y) pow(x, y)
#define V_MIN(x, y) least(x, y)
#define V_MAX(x, y) greatest(x, y)

static double float_op(OpCode op, double a, double b) {
  switch ((int)op) {
#define OP(id, ...)
#define EW1(id, expr, grad, flags) case OP_##id: return expr;
#define EW2(id, expr, grad, flags) case OP_##id: return expr;
#include "ir/ops.def"
  }
  return NAN;
}

static int64_t int_div(int64_t a, int64_t b) {
  return b == 0 ? 0 : b == -1 ? (int64_t)(0 - (uint64_t)a) : a / b;
}
static int64_t int_rem(int64_t a, int64_t b) { return b == 0 || b == -1 ? 0 : a % b; }

static int64_t int_mod(int64_t a, int64_t b) {
  int64_t r = int_rem(a, b);
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

static int64_t int_pow(int64_t a, int64_t b) {
  if (b < 0) return a == 1 ? 1 : a == -1 ? (b % 2 ? -1 : 1) : 0;
  uint64_t r = 1, base = (uint64_t)a;
  for (uint64_t e = (uint64_t)b; e != 0; e >>= 1, base *= base)
    if (e & 1) r *= base;
  return (int64_t)r;
}

static int64_t int_op(OpCode op, int64_t a, int64_t b) {
  uint64_t x = (uint64_t)a, y = (uint64_t)b;
  switch ((int)op) {
  case OP_neg: return (int64_t)(0 - x);
  case OP_abs: return a < 0 ? (int64_t)(0 - x) : a;
  case OP_relu: return a < 0 ? 0 : a;
  case OP_sign: return (a > 0) - (a < 0);
  case OP_not: return !a;
  case OP_add: return (int64_t)(x + y);
  case OP_sub: return (int64_t)(x - y);
  case OP_mul: return (int64_t)(x * y);
  case OP_div: return int_div(a, b);
  case OP_mod: return int_mod(a, b);
  case OP_fmod: return int_rem(a, b);
  case OP_pow: return int_pow(a, b);
  case OP_min: return a < b ? a : b;
  case OP_max: return a > b ? a : b;
  case OP_eq: return a == b;
  case OP_lt: return a < b;
  case OP_le: return a <= b;
  case OP_and: return a && b;
  case OP_or: return a || b;
  default: return a; /* floor, ceil, round */
  }
}

/* v as dtype d holds it. */
static Num hold(VlDtype d, Num v) {
  int64_t cell = 0;
  if (d == VLPC_F64 || d == VLPC_I64) return v;
  if (dtype_is_float(d)) {
    dtype_store(d, &cell, 0, v.f);
    return (Num){.f = dtype_load(d, &cell, 0)};
  }
  if (d == VLPC_BOOL) return (Num){.i = v.i != 0};
  dtype_store_i64(d, &cell, 0, v.i);
  return (Num){.i = dtype_load_i64(d, &cell, 0)};
}

static Num convert(VlDtype from, VlDtype to, Num v) {
  if (dtype_is_float(to)) return hold(to, (Num){.f = dtype_is_float(from) ? v.f : (double)v.i});
  if (!dtype_is_float(from)) return hold(to, v);
  if (to == VLPC_BOOL) return (Num){.i = v.f != 0};
  int64_t cell = 0;
  dtype_store(to, &cell, 0, v.f);
  return (Num){.i = dtype_load_i64(to, &cell, 0)};
}

typedef struct {
  const Kernel *k;
  void *const *operand;
  const int64_t *size;
  int64_t at[VLPC_MAX_RANK];
  Num row[LOOPS_MAX_BODY];
  int fault;
} Point;

static int64_t size_of(const Point *p, KSize s) { return s.dyn < 0 ? s.c : p->size[s.dyn]; }

static int64_t offset_of(Point *p, const KAccess *a, uint32_t rank) {
  int64_t at = 0;
  for (uint32_t i = 0; i < rank; i++) at += p->at[i] * size_of(p, a->stride[i]);
  for (uint32_t i = 0; i < a->n_indirect; i++) {
    int64_t n = size_of(p, a->ind[i].size), v = p->row[a->ind[i].row].i;
    if (v < 0) v += n;
    if (v < 0 || v >= n) p->fault = FAULT_INDEX, v = 0;
    at += v * size_of(p, a->ind[i].stride);
  }
  return at;
}

static Num load(Point *p, VlDtype d, const KAccess *a) {
  int64_t at = offset_of(p, a, p->k->loops.rank);
  if (p->fault) return (Num){0};
  const void *from = p->operand[a->operand];
  if (dtype_is_float(d)) return (Num){.f = dtype_load(d, from, at)};
  return (Num){.i = dtype_load_i64(d, from, at)};
}

static Num apply(const Point *p, const KBody *r) {
  const KBody *body = p->k->loops.body;
  VlDtype in = body[r->a].dtype;
  Num a = p->row[r->a], b = p->row[r->b], c = p->row[r->c];
  if (r->op == OP_cast) return convert(in, r->dtype, a);
  if (r->op == OP_where) return a.i ? b : c;
  bool is_bool = r->dtype == VLPC_BOOL;
  if (!dtype_is_float(in)) return hold(r->dtype, (Num){.i = int_op(r->op, a.i, b.i)});
  double v = float_op(r->op, a.f, b.f);
  return is_bool ? (Num){.i = v != 0} : hold(r->dtype, (Num){.f = v});
}

static Num value_at(Point *p) {
  const KLoops *k = &p->k->loops;
  for (uint32_t i = 0; i < k->n_body; i++) {
    const KBody *r = &k->body[i];
    if (r->kind == KB_LOAD) p->row[i] = load(p, r->dtype, &r->load);
    else if (r->kind == KB_LITERAL) p->row[i] = hold(r->dtype, (Num){r->lit, r->lit_i});
    else if (r->kind == KB_INDEX) p->row[i] = (Num){.i = p->at[r->a]};
    else if (r->kind == KB_SIZE) p->row[i] = (Num){.i = size_of(p, r->size)};
    else p->row[i] = apply(p, r);
  }
  return p->row[k->n_body - 1];
}

static void store(Point *p, VlDtype d, Num v) {
  const KLoops *k = &p->k->loops;
  int64_t at = offset_of(p, &k->store, k->rank - k->n_reduce);
  if (p->fault) return;
  if (dtype_is_float(d)) dtype_store(d, p->operand[0], at, v.f);
  else dtype_store_i64(d, p->operand[0], at, v.i);
}

/* Next point of axes [from, to); false after the last. */
static bool next(Point *p, uint32_t from, uint32_t to) {
  for (uint32_t i = to; i-- > from;) {
    if (++p->at[i] < size_of(p, p->k->loops.size[i])) return true;
    p->at[i] = 0;
  }
  return false;
}

static int64_t count(const Point *p, uint32_t from, uint32_t to) {
  int64_t n = 1;
  for (uint32_t i = from; i < to; i++) n *= size_of(p, p->k->loops.size[i]);
  return n;
}

static bool is_better(KReduce r, bool is_float, Num v, Num best) {
  if (is_float && isnan(v.f)) return r == KR_ARGMAX_LAST || !isnan(best.f);
  if (is_float) return r == KR_ARGMAX_LAST ? v.f >= best.f : v.f > best.f;
  return r == KR_ARGMAX_LAST ? v.i >= best.i : v.i > best.i;
}

static Num combine(KReduce r, bool is_float, Num a, Num v) {
  static const OpCode op[] = {[KR_SUM] = OP_add, [KR_MEAN] = OP_add, [KR_MAX] = OP_max,
                              [KR_MIN] = OP_min, [KR_PROD] = OP_mul};
  if (is_float) return (Num){.f = float_op(op[r], a.f, v.f)};
  return (Num){.i = int_op(op[r], a.i, v.i)};
}

static void reduce(Point *p) {
  const KLoops *k = &p->k->loops;
  uint32_t out = k->rank - k->n_reduce;
  VlDtype d = k->body[k->n_body - 1].dtype;
  bool is_float = dtype_is_float(d), arg = k->reduce >= KR_ARGMAX;
  Num acc = {.f = k->reduce == KR_PROD, .i = k->reduce == KR_PROD};
  int64_t n = count(p, out, k->rank), index = -1;
  for (int64_t i = 0; i < n; i++, next(p, out, k->rank)) {
    Num v = value_at(p);
    bool first = i == 0 && k->reduce >= KR_MAX && k->reduce != KR_PROD;
    if (arg && (first || is_better(k->reduce, is_float, v, acc))) acc = v, index = i;
    else if (first) acc = v;
    else if (!arg) acc = combine(k->reduce, is_float, acc, v);
  }
  if (k->reduce == KR_MEAN) acc.f /= (double)n, acc.i = int_div(acc.i, n);
  if (arg) store(p, VLPC_I64, (Num){.i = index});
  else store(p, d, hold(d, acc));
}

int loops_ref(const Kernel *k, void *const *operands, const int64_t *sizes) {
  Point p = {.k = k, .operand = operands, .size = sizes};
  uint32_t out = k->loops.rank - k->loops.n_reduce;
  int64_t n = count(&p, 0, out);
  for (int64_t i = 0; i < n && !p.fault; i++, next(&p, 0, out)) {
    if (k->loops.n_reduce) reduce(&p);
    else store(&p, k->loops.body[k->loops.n_body - 1].dtype, value_at(&p));
  }
  return p.fault;
}
