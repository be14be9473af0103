/* SPDX-License-Identifier: Apache-2.0 */
/* lc_loops.c - generic loop nests: elementwise, broadcasts, moves, gathers and
** reductions.
**
** Lanes run along one axis, the one with the fewest scattered accesses: the
** last result axis, or the last reduced one.
**
**   unit = one point of the other result axes × one chunk of the lanes' axis
**   lanes along a result axis:   for each reduced point: accumulate LC_W (or
**                                STREAMS · LC_W) results side by side, in order
**   lanes along a reduced axis:  STREAMS · LC_W partial sums per result, joined
**                                in one fixed tree
**
** A unit is a task, so a result's bits never depend on how tasks are dealt.
** Serial kernels run all units in one task, one lane at a time. */
#include "backends/llvm_cpu/lc_body.h"

#include <math.h>

enum { STREAMS = 4, CHUNK_MOVE = 4096, CHUNK_REDUCE = STREAMS * LC_W };

/* ---- choices ------------------------------------------------------------- */

static uint32_t out_rank(const KLoops *k) { return k->rank - k->n_reduce; }

static bool is_argmax(const KLoops *k) {
  return k->reduce == KR_ARGMAX || k->reduce == KR_ARGMAX_LAST;
}

static int lane_axis(const KLoops *k) {
  if (k->serial || k->rank == 0) return -1;
  int out = (int)out_rank(k) - 1, red = (int)k->rank - 1;
  if (k->n_reduce == 0) return out;
  if (is_argmax(k)) return out >= 0 && body_cost(k, out) == 0 ? out : -1;
  if (out < 0) return red;
  return body_cost(k, out) <= body_cost(k, red) ? out : red;
}

static bool lanes_in_result(const KLoops *k, int axis) {
  return axis >= 0 && (uint32_t)axis < out_rank(k);
}

static int64_t chunk_of(const KLoops *k) { return k->n_reduce ? CHUNK_REDUCE : CHUNK_MOVE; }

static VlDtype value_dtype(const KLoops *k) { return k->body[k->n_body - 1].dtype; }

/* ---- units --------------------------------------------------------------- */

static Lv count_units(Emit *e, const KLoops *k) {
  Lb *b = &e->b;
  int axis = lane_axis(k);
  Lv n = lb_i64(b, 1);
  for (uint32_t i = 0; i < out_rank(k); i++) {
    Lv size = le_size(e, k->size[i]);
    n = lb_mul(b, n, (int)i == axis ? le_ceil_div(e, size, chunk_of(k)) : size);
  }
  return n;
}

static Lv loops_tasks(Emit *e, const Kernel *kernel) {
  const KLoops *k = &kernel->loops;
  return k->serial ? lb_i64(&e->b, 1) : count_units(e, k);
}

/* The unit counter as one digit per result axis, last axis fastest; the digit
** of the lanes' axis counts chunks. */
typedef struct {
  Lv digit[VLPC_MAX_RANK], base[VLPC_MAX_RANK]; /* variables; sizes */
  uint32_t n;
} Odometer;

static Odometer odometer_at(const Body *x, Lv unit) {
  Lb *b = &x->e->b;
  Odometer o = {.n = out_rank(x->k)};
  for (uint32_t i = o.n; i-- > 0;) {
    Lv size = x->size[i];
    if ((int)i == x->axis) size = le_ceil_div(x->e, size, chunk_of(x->k));
    o.base[i] = lb_max(b, size, lb_i64(b, 1));
    o.digit[i] = lb_var(b, b->i64, LLVMBuildURem(b->b, unit, o.base[i], ""));
    unit = LLVMBuildUDiv(b->b, unit, o.base[i], "");
  }
  return o;
}

static void odometer_next(const Body *x, const Odometer *o) {
  Lb *b = &x->e->b;
  Lv carry = lb_i64(b, 1);
  for (uint32_t i = o->n; i-- > 0;) {
    Lv next = lb_add(b, lb_get(b, o->digit[i]), carry);
    Lv wraps = lb_icmp(b, LLVMIntEQ, next, o->base[i]);
    lb_set(b, o->digit[i], lb_select(b, wraps, lb_i64(b, 0), next));
    carry = LLVMBuildZExt(b->b, wraps, b->i64, "");
  }
}

/* ---- reduction ----------------------------------------------------------- */

/* One running result: a value, and for argmax the index where it stood. */
typedef struct {
  Lv value, index; /* variables; index NULL unless argmax */
} Acc;

static Lv neutral(const Body *x) {
  static const double f[] = {[KR_SUM] = 0, [KR_MEAN] = 0, [KR_MAX] = -INFINITY,
                             [KR_MIN] = INFINITY, [KR_PROD] = 1,
                             [KR_ARGMAX] = -INFINITY, [KR_ARGMAX_LAST] = -INFINITY};
  static const int64_t i[] = {[KR_SUM] = 0, [KR_MEAN] = 0, [KR_MAX] = INT64_MIN,
                              [KR_MIN] = INT64_MAX, [KR_PROD] = 1,
                              [KR_ARGMAX] = INT64_MIN, [KR_ARGMAX_LAST] = INT64_MIN};
  LsType t = ls_type(value_dtype(x->k));
  int64_t whole = i[x->k->reduce];
  if (t == LS_BOOL) whole = x->k->reduce == KR_MIN || x->k->reduce == KR_PROD;
  return ls_number(&x->e->b, t, x->lanes, f[x->k->reduce], whole);
}

static Acc acc_new(const Body *x) {
  Lb *b = &x->e->b;
  Acc a = {.value = lb_var(b, ls_llvm(b, ls_type(value_dtype(x->k)), x->lanes), neutral(x))};
  if (is_argmax(x->k)) {
    Lt t = ls_llvm(b, LS_INT, x->lanes);
    a.index = lb_var(b, t, lb_const_int(b, t, -1));
  }
  return a;
}

/* Two partial results, or one and a new element, in the accumulator's kind:
** half precision accumulates in f32 and is rounded once, at the end. */
static Lv join(const Body *x, Lv a, Lv v) {
  Lb *b = &x->e->b;
  VlDtype d = value_dtype(x->k);
  if (ls_type(d) == LS_F32) d = VLPC_F32;
  if (ls_type(d) == LS_INT) d = VLPC_I64;
  static const OpCode op[] = {[KR_SUM] = OP_add, [KR_MEAN] = OP_add, [KR_MAX] = OP_max,
                              [KR_MIN] = OP_min, [KR_PROD] = OP_mul};
  return ls_op(b, op[x->k->reduce], (VlDtype[3]){d, d, d}, (Lv[3]){a, v, NULL}, d);
}

/* The first (or last) greatest element; NaN counts as greatest. */
static void acc_argmax(const Body *x, const Acc *acc, Lv v, Lv index) {
  Lb *b = &x->e->b;
  VlDtype d = value_dtype(x->k);
  Lv best = lb_get(b, acc->value), at = lb_get(b, acc->index);
  if (x->lanes > 1) index = lb_splat(b, index);
  bool last = x->k->reduce == KR_ARGMAX_LAST;
  Lv less =
      ls_op(b, last ? OP_le : OP_lt, (VlDtype[3]){d, d, d}, (Lv[3]){best, v, NULL}, VLPC_BOOL);
  if (ls_type(d) == LS_F32 || ls_type(d) == LS_F64) {
    Lv v_nan = lb_fcmp(b, LLVMRealUNO, v, v), best_nan = lb_fcmp(b, LLVMRealUNO, best, best);
    Lv rises = last ? v_nan : LLVMBuildAnd(b->b, v_nan, LLVMBuildNot(b->b, best_nan, ""), "");
    less = LLVMBuildOr(b->b, less, rises, "");
  }
  Lv none = lb_icmp(b, LLVMIntSLT, at, lb_const_int(b, LLVMTypeOf(at), 0));
  Lv take = LLVMBuildOr(b->b, none, less, "");
  lb_set(b, acc->value, lb_select(b, take, v, best));
  lb_set(b, acc->index, lb_select(b, take, index, at));
}

static void acc_add(const Body *x, const Acc *acc, Lv v, Lv index) {
  Lb *b = &x->e->b;
  if (acc->index) acc_argmax(x, acc, v, index);
  else lb_set(b, acc->value, join(x, lb_get(b, acc->value), v));
}

/* Lanes to one value, in the fixed tree 8+8, 4+4, 2+2, 1+1, the last of scalars:
** a conversion knows no vector of one lane. */
static Lv fold(const Body *x, Lv v) {
  Lb *b = &x->e->b;
  for (int half = LC_W / 2; half > 1; half /= 2) {
    int low[LC_W], high[LC_W];
    for (int i = 0; i < half; i++) low[i] = i, high[i] = half + i;
    v = join(x, lb_shuffle(b, v, NULL, low, (uint32_t)half),
             lb_shuffle(b, v, NULL, high, (uint32_t)half));
  }
  return join(x, lb_lane(b, v, 0), lb_lane(b, v, 1));
}

/* The number of reduced points, as a value of the result's kind. */
static Lv reduced_count(const Body *x, uint32_t lanes) {
  Lb *b = &x->e->b;
  Lv n = lb_i64(b, 1);
  for (uint32_t i = out_rank(x->k); i < x->k->rank; i++) n = lb_mul(b, n, x->size[i]);
  Lv v = ls_convert(b, VLPC_I64, value_dtype(x->k), n);
  return lanes > 1 ? lb_splat(b, v) : v;
}

static Lv acc_result(const Body *x, Lv v, uint32_t lanes, VlDtype *d) {
  *d = value_dtype(x->k);
  if (x->k->reduce == KR_MEAN)
    v = ls_op(&x->e->b, OP_div, (VlDtype[3]){*d, *d, *d},
              (Lv[3]){v, reduced_count(x, lanes), NULL}, *d);
  return ls_round(&x->e->b, *d, v);
}

/* Loops over the reduced axes [from, to); sets x->at. */
static void open_reduced(Body *x, LbLoop loop[], uint32_t to) {
  Lb *b = &x->e->b;
  for (uint32_t i = out_rank(x->k); i < to; i++)
    x->at[i] = lb_for(b, &loop[i], lb_i64(b, 0), x->size[i], 1);
}

static void close_reduced(Body *x, LbLoop loop[], uint32_t to) {
  for (uint32_t i = to; i-- > out_rank(x->k);) lb_end_for(&x->e->b, &loop[i]);
}

/* Row-major index among the reduced points. */
static Lv reduced_index(const Body *x) {
  Lb *b = &x->e->b;
  Lv n = lb_i64(b, 0);
  for (uint32_t i = out_rank(x->k); i < x->k->rank; i++)
    n = lb_add(b, lb_mul(b, n, x->size[i]), x->at[i]);
  return n;
}

/* `streams` vectors of results from lane position pos on (or one result). */
static void reduce_in_order(Body *x, Lv pos, uint32_t streams, Lv mask) {
  Lb *b = &x->e->b;
  Acc acc[STREAMS];
  Lv values[LOOPS_MAX_BODY];
  LbLoop loop[VLPC_MAX_RANK];
  for (uint32_t s = 0; s < streams; s++) acc[s] = acc_new(x);
  open_reduced(x, loop, x->k->rank);
  for (uint32_t s = 0; s < streams; s++) {
    if (pos) x->at[x->axis] = lb_addc(b, pos, s * LC_W);
    Lv v = body_value(x, mask, values);
    acc_add(x, &acc[s], v, is_argmax(x->k) ? reduced_index(x) : NULL);
  }
  close_reduced(x, loop, x->k->rank);
  for (uint32_t s = 0; s < streams; s++) {
    if (pos) x->at[x->axis] = lb_addc(b, pos, s * LC_W);
    VlDtype d = VLPC_I64;
    Lv v = acc[s].index ? lb_get(b, acc[s].index)
                        : acc_result(x, lb_get(b, acc[s].value), x->lanes, &d);
    body_store(x, d, v, mask, NULL);
  }
}

/* One result from lanes along the last reduced axis. */
static void reduce_across(Body *x) {
  Lb *b = &x->e->b;
  Acc acc[STREAMS];
  Lv values[LOOPS_MAX_BODY];
  LbLoop loop[VLPC_MAX_RANK], wide, rest;
  uint32_t axis = (uint32_t)x->axis;
  for (uint32_t s = 0; s < STREAMS; s++) acc[s] = acc_new(x);
  open_reduced(x, loop, axis);
  Lv n = x->size[axis], whole = LLVMBuildAnd(b->b, n, lb_i64(b, -(int64_t)CHUNK_REDUCE), "");
  Lv pos = lb_for(b, &wide, lb_i64(b, 0), whole, CHUNK_REDUCE);
  for (uint32_t s = 0; s < STREAMS; s++) {
    x->at[axis] = lb_addc(b, pos, s * LC_W);
    acc_add(x, &acc[s], body_value(x, NULL, values), NULL);
  }
  lb_end_for(b, &wide);
  x->at[axis] = lb_for(b, &rest, whole, n, LC_W);
  Lv mask = lb_tail_mask(b, lb_sub(b, n, x->at[axis]));
  acc_add(x, &acc[0], lb_select(b, mask, body_value(x, mask, values), neutral(x)), NULL);
  lb_end_for(b, &rest);
  close_reduced(x, loop, axis);
  Lv low = join(x, lb_get(b, acc[0].value), lb_get(b, acc[1].value));
  Lv high = join(x, lb_get(b, acc[2].value), lb_get(b, acc[3].value));
  VlDtype d;
  Lv v = acc_result(x, fold(x, join(x, low, high)), 1, &d);
  body_store(x, d, v, NULL, NULL);
}

/* ---- units of work ------------------------------------------------------- */

static void move_lanes(Body *x, Lv mask) {
  Lv values[LOOPS_MAX_BODY];
  Lv v = body_value(x, mask, values);
  body_store(x, value_dtype(x->k), v, mask, values);
}

/* One chunk of the lanes' result axis, whole vectors then a masked rest. */
static void run_chunk(Body *x, Lv chunk) {
  Lb *b = &x->e->b;
  const int64_t size = chunk_of(x->k), wide = x->k->n_reduce ? CHUNK_REDUCE : LC_W;
  Lv from = lb_mulc(b, chunk, size);
  Lv to = lb_min(b, x->size[x->axis], lb_addc(b, from, size));
  Lv n = lb_sub(b, to, from);
  Lv whole = lb_add(b, from, LLVMBuildAnd(b->b, n, lb_i64(b, -wide), ""));
  LbLoop all, rest;
  Lv pos = lb_for(b, &all, from, whole, wide);
  x->at[x->axis] = pos;
  if (x->k->n_reduce) reduce_in_order(x, pos, STREAMS, NULL);
  else move_lanes(x, NULL);
  lb_end_for(b, &all);
  pos = lb_for(b, &rest, whole, to, LC_W);
  x->at[x->axis] = pos;
  Lv mask = lb_tail_mask(b, lb_sub(b, to, pos));
  if (x->k->n_reduce) reduce_in_order(x, pos, 1, mask);
  else move_lanes(x, mask);
  lb_end_for(b, &rest);
}

static void loops_run(Emit *e, const Kernel *kernel) {
  Lb *b = &e->b;
  const KLoops *k = &kernel->loops;
  Body x;
  body_begin(&x, e, kernel, lane_axis(k));
  Lv from = e->begin, to = e->end;
  if (k->serial) to = lb_mul(b, lb_sub(b, to, from), count_units(e, k));
  Odometer o = odometer_at(&x, from);
  LbLoop units;
  lb_for(b, &units, from, to, 1);
  for (uint32_t i = 0; i < o.n; i++) x.at[i] = lb_get(b, o.digit[i]);
  if (lanes_in_result(k, x.axis)) run_chunk(&x, x.at[x.axis]);
  else if (x.axis >= 0) reduce_across(&x);
  else if (k->n_reduce) reduce_in_order(&x, NULL, 1, NULL);
  else move_lanes(&x, NULL);
  odometer_next(&x, &o);
  lb_end_for(b, &units);
}

const LcKind lc_loops = {.run = loops_run, .tasks = loops_tasks};
