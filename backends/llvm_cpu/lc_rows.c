/* SPDX-License-Identifier: Apache-2.0 */
/* lc_rows.c - layernorm and its gradient, softmax and l2norm: one result row from one row.
**
** A task is one row.  Sums run in LANES accumulators of LC_W lanes over the
** columns in ascending order, then join in one fixed tree, so a row's bits
** depend on the row alone.  Rows are short (CLIP: 512 … 1024 columns) and stay
** in L1 between the passes. */
#include "backends/llvm_cpu/lc_emit.h"

#include "backends/llvm_cpu/lc_math.h"

#include <math.h>

enum { LANES = 4 };

typedef struct {
  Emit *e;
  const KRows *k;
  Lv cols, out, x, dy; /* of the row at hand; dy of a gradient */
} Row;

/* A pass over the columns: body gets LC_W columns from `col` on, under a mask
** or all (NULL), and accumulator `lane` of LANES. */
typedef struct Pass Pass;
struct Pass {
  void (*body)(const Row *, Pass *, Lv col, Lv mask, int lane);
  Lv acc[LANES]; /* variables, when body sums */
  Lv a, b, c, d; /* values the pass uses */
  Lv gamma, beta;
};

static void over_columns(const Row *r, Pass *p) {
  Lb *b = &r->e->b;
  Lv all = LLVMBuildAnd(b->b, r->cols, lb_i64(b, -(int64_t)(LANES * LC_W)), "");
  LbLoop wide, rest;
  Lv col = lb_for(b, &wide, lb_i64(b, 0), all, LANES * LC_W);
  for (int i = 0; i < LANES; i++) p->body(r, p, lb_addc(b, col, i * LC_W), NULL, i);
  lb_end_for(b, &wide);
  col = lb_for(b, &rest, all, r->cols, LC_W);
  p->body(r, p, col, lb_tail_mask(b, lb_sub(b, r->cols, col)), 0);
  lb_end_for(b, &rest);
}

static void start(const Row *r, Pass *p, double value) {
  for (int i = 0; i < LANES; i++) p->acc[i] = lb_var(&r->e->b, r->e->b.vf, lb_vf(&r->e->b, value));
}

static Lv joined(const Row *r, const Pass *p, Lv (*join)(Lb *, Lv, Lv), Lv (*fold)(Lb *, Lv)) {
  Lb *b = &r->e->b;
  Lv low = join(b, lb_get(b, p->acc[0]), lb_get(b, p->acc[1]));
  Lv high = join(b, lb_get(b, p->acc[2]), lb_get(b, p->acc[3]));
  return fold(b, join(b, low, high));
}

static Lv at_col(const Row *r, Lv base, Lv col) {
  return lb_at(&r->e->b, base, lb_mulc(&r->e->b, col, 4));
}

static void put(const Row *r, Lv v, Lv col, Lv mask) {
  Lb *b = &r->e->b;
  VlDtype d = knum_dtype(r->k->out);
  le_store_rounded(r->e, d, v, lb_at(b, r->out, lb_mulc(b, col, (int64_t)dtype_size(d))), mask);
}

static Lv load(const Row *r, Lv base, Lv col, Lv mask) {
  return lb_load_vf(&r->e->b, at_col(r, base, col), mask, NULL);
}

static void add_to(const Row *r, Pass *p, int lane, Lv v) {
  Lb *b = &r->e->b;
  lb_set(b, p->acc[lane], lb_fadd(b, lb_get(b, p->acc[lane]), v));
}

/* ---- passes -------------------------------------------------------------- */

static void pass_sum(const Row *r, Pass *p, Lv col, Lv mask, int lane) {
  add_to(r, p, lane, load(r, r->x, col, mask));
}

static void pass_square(const Row *r, Pass *p, Lv col, Lv mask, int lane) {
  Lb *b = &r->e->b;
  Lv v = load(r, r->x, col, mask);
  lb_set(b, p->acc[lane], lb_fma(b, v, v, lb_get(b, p->acc[lane])));
}

/* Σ (x - a)² */
static void pass_variance(const Row *r, Pass *p, Lv col, Lv mask, int lane) {
  Lb *b = &r->e->b;
  Lv v = lb_fsub(b, load(r, r->x, col, mask), p->a);
  if (mask) v = lb_select(b, mask, v, lb_vf(b, 0));
  lb_set(b, p->acc[lane], lb_fma(b, v, v, lb_get(b, p->acc[lane])));
}

/* (x - a) · b · gamma + beta */
static void pass_normalise(const Row *r, Pass *p, Lv col, Lv mask, int lane) {
  (void)lane;
  Lb *b = &r->e->b;
  Lv v = lb_fmul(b, lb_fsub(b, load(r, r->x, col, mask), p->a), p->b);
  if (p->gamma) v = lb_fmul(b, v, load(r, p->gamma, col, mask));
  if (p->beta) v = lb_fadd(b, v, load(r, p->beta, col, mask));
  put(r, v, col, mask);
}

/* dy · gamma, zero past the row's end */
static Lv slope(const Row *r, const Pass *p, Lv col, Lv mask) {
  Lv v = load(r, r->dy, col, mask);
  return p->gamma ? lb_fmul(&r->e->b, v, load(r, p->gamma, col, mask)) : v;
}

static void pass_slope(const Row *r, Pass *p, Lv col, Lv mask, int lane) {
  add_to(r, p, lane, slope(r, p, col, mask));
}

/* Σ slope · (x - a) */
static void pass_along(const Row *r, Pass *p, Lv col, Lv mask, int lane) {
  Lb *b = &r->e->b;
  Lv low = lb_fsub(b, load(r, r->x, col, mask), p->a);
  lb_set(b, p->acc[lane], lb_fma(b, slope(r, p, col, mask), low, lb_get(b, p->acc[lane])));
}

/* (slope - c - (x - a) · d) · b */
static void pass_back(const Row *r, Pass *p, Lv col, Lv mask, int lane) {
  (void)lane;
  Lb *b = &r->e->b;
  Lv low = lb_fsub(b, load(r, r->x, col, mask), p->a);
  Lv v = lb_fsub(b, lb_fsub(b, slope(r, p, col, mask), p->c), lb_fmul(b, low, p->d));
  lb_store_vf(b, lb_fmul(b, v, p->b), at_col(r, r->out, col), mask);
}

/* x · a */
static void pass_scale(const Row *r, Pass *p, Lv col, Lv mask, int lane) {
  (void)lane;
  Lb *b = &r->e->b;
  lb_store_vf(b, lb_fmul(b, load(r, r->x, col, mask), p->a), at_col(r, r->out, col), mask);
}

static void pass_max(const Row *r, Pass *p, Lv col, Lv mask, int lane) {
  Lb *b = &r->e->b;
  Lv v = lb_load_vf(b, at_col(r, r->x, col), mask, lb_vf(b, -INFINITY));
  lb_set(b, p->acc[lane], lb_fmax(b, lb_get(b, p->acc[lane]), v));
}

/* out = exp(x - a), summed */
static void pass_exp(const Row *r, Pass *p, Lv col, Lv mask, int lane) {
  Lb *b = &r->e->b;
  Lv v = lm_exp(b, lb_fsub(b, load(r, r->x, col, mask), p->a));
  if (mask) v = lb_select(b, mask, v, lb_vf(b, 0));
  lb_store_vf(b, v, at_col(r, r->out, col), mask);
  add_to(r, p, lane, v);
}

/* Σ exp(x - a) */
static void pass_exp_sum(const Row *r, Pass *p, Lv col, Lv mask, int lane) {
  Lb *b = &r->e->b;
  Lv v = lm_exp(b, lb_fsub(b, load(r, r->x, col, mask), p->a));
  if (mask) v = lb_select(b, mask, v, lb_vf(b, 0));
  add_to(r, p, lane, v);
}

/* out = x - a - b */
static void pass_shift(const Row *r, Pass *p, Lv col, Lv mask, int lane) {
  (void)lane;
  Lb *b = &r->e->b;
  Lv v = lb_fsub(b, lb_fsub(b, load(r, r->x, col, mask), p->a), p->b);
  lb_store_vf(b, v, at_col(r, r->out, col), mask);
}

/* ---- kernels ------------------------------------------------------------- */

static Lv run_sum(const Row *r, void (*body)(const Row *, Pass *, Lv, Lv, int), Lv a) {
  Pass p = {.body = body, .a = a};
  start(r, &p, 0);
  over_columns(r, &p);
  return joined(r, &p, lb_fadd, lb_hsum);
}

static Lv column_count(const Row *r) {
  return LLVMBuildSIToFP(r->e->b.b, r->cols, r->e->b.f32, "");
}

/* A pass with the row's mean in a and one over its deviation, a scalar, in *inv. */
static Pass centred(const Row *r, void (*body)(const Row *, Pass *, Lv, Lv, int), Lv *inv) {
  Lb *b = &r->e->b;
  Lv n = column_count(r), mean = lb_splat(b, lb_fdiv(b, run_sum(r, pass_sum, NULL), n));
  Lv var = lb_fdiv(b, run_sum(r, pass_variance, mean), n);
  Lv sd = lb_unary(b, "llvm.sqrt", lb_fadd(b, var, lb_f32(b, (double)r->k->eps)));
  *inv = lb_fdiv(b, lb_f32(b, 1), sd);
  return (Pass){.body = body, .a = mean, .b = lb_splat(b, *inv)};
}

static void layernorm_row(const Row *r) {
  Lv inv;
  Pass p = centred(r, pass_normalise, &inv);
  if (r->k->has_gamma) p.gamma = le_operand(r->e, 2);
  if (r->k->has_beta) p.beta = le_operand(r->e, 2u + r->k->has_gamma);
  over_columns(r, &p);
}

static Lv mean_of(const Row *r, const Pass *like,
                  void (*body)(const Row *, Pass *, Lv, Lv, int)) {
  Pass p = *like;
  p.body = body;
  start(r, &p, 0);
  over_columns(r, &p);
  return lb_fdiv(&r->e->b, joined(r, &p, lb_fadd, lb_hsum), column_count(r));
}

static void layernorm_grad_row(const Row *r) {
  Lb *b = &r->e->b;
  Lv inv;
  Pass p = centred(r, pass_back, &inv);
  if (r->k->has_gamma) p.gamma = le_operand(r->e, 3);
  p.c = lb_splat(b, mean_of(r, &p, pass_slope));
  Lv along = mean_of(r, &p, pass_along);
  p.d = lb_splat(b, lb_fmul(b, lb_fmul(b, along, inv), inv));
  over_columns(r, &p);
}

static void softmax_row(const Row *r) {
  Lb *b = &r->e->b;
  Pass m = {.body = pass_max};
  start(r, &m, -INFINITY);
  over_columns(r, &m);
  Lv top = joined(r, &m, lb_fmax, lb_hmax);
  /* a row of -inf: subtract 0, so that exp gives 0 and not NaN - and divide by
  ** the sum 0 to the NaN that a softmax of nothing is */
  top = lb_select(b, lb_fcmp(b, LLVMRealOEQ, top, lb_f32(b, -INFINITY)), lb_f32(b, 0), top);
  Lv a = lb_splat(b, top);
  if (r->k->log) {
    Lv sum = run_sum(r, pass_exp_sum, a);
    Pass p = {.body = pass_shift, .a = a, .b = lb_splat(b, lm_log(b, sum))};
    over_columns(r, &p);
    return;
  }
  Lv sum = run_sum(r, pass_exp, a);
  Row out = *r;
  out.x = r->out;
  Pass p = {.body = pass_scale, .a = lb_splat(b, lb_fdiv(b, lb_f32(b, 1), sum))};
  over_columns(&out, &p);
}

static void l2norm_row(const Row *r) {
  Lb *b = &r->e->b;
  Lv norm = lb_unary(b, "llvm.sqrt", run_sum(r, pass_square, NULL));
  norm = lb_fmax(b, lb_f32(b, (double)r->k->eps), norm);
  Pass p = {.body = pass_scale, .a = lb_splat(b, lb_fdiv(b, lb_f32(b, 1), norm))};
  over_columns(r, &p);
}

static void each_row(Emit *e, const KRows *k, void (*row)(const Row *)) {
  Lb *b = &e->b;
  Row r = {.e = e, .k = k, .cols = le_size(e, k->cols)};
  Lv out = le_operand(e, 0), x = le_operand(e, 1);
  VlDtype d = knum_dtype(k->out);
  Lv o_g = le_bytes_of(e, k->o_g, d), o_m = le_bytes_of(e, k->o_m, d);
  Lv x_g = le_bytes(e, k->x_g), x_m = le_bytes(e, k->x_m);
  Lv dy = k->has_dy ? le_operand(e, 2) : NULL;
  Lv dy_g = le_bytes(e, k->dy_g), dy_m = le_bytes(e, k->dy_m);
  LeRows at = le_rows_at(e, e->begin, le_size(e, k->m));
  LbLoop loop;
  lb_for(b, &loop, e->begin, e->end, 1);
  r.out = lb_at(b, out, le_row_offset(e, &at, o_g, o_m));
  r.x = lb_at(b, x, le_row_offset(e, &at, x_g, x_m));
  if (dy) r.dy = lb_at(b, dy, le_row_offset(e, &at, dy_g, dy_m));
  row(&r);
  le_rows_next(e, &at);
  lb_end_for(b, &loop);
}

static void run_layernorm(Emit *e, const Kernel *k) { each_row(e, &k->rows, layernorm_row); }
static void run_layernorm_grad(Emit *e, const Kernel *k) {
  each_row(e, &k->rows, layernorm_grad_row);
}
static void run_softmax(Emit *e, const Kernel *k) { each_row(e, &k->rows, softmax_row); }
static void run_l2norm(Emit *e, const Kernel *k) { each_row(e, &k->rows, l2norm_row); }

static Lv count_rows(Emit *e, const Kernel *k) {
  return lb_mul(&e->b, le_size(e, k->rows.g), le_size(e, k->rows.m));
}

const LcKind lc_layernorm = {.run = run_layernorm, .tasks = count_rows};
const LcKind lc_layernorm_grad = {.run = run_layernorm_grad, .tasks = count_rows};
const LcKind lc_softmax = {.run = run_softmax, .tasks = count_rows};
const LcKind lc_l2norm = {.run = run_l2norm, .tasks = count_rows};
