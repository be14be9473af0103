/* SPDX-License-Identifier: Apache-2.0 */
/* lc_attention_grad.c - the gradients of one head's attention at a time.
**
** A task is one head of one batch entry, so no sum is shared.  Everything is
** laid out by key, so that a query is a lane: the softmax needs no sums across
** lanes, and both pᵀ·dy and dsᵀ·q find their rows where they are made.
**
**   pack q and dy both ways, transposed for products over columns and plain for
**   products over rows; pack the keys if dq is wanted
**   pᵀ = softmax over keys of scale · k qᵀ
**   for each segment, for each block of at most ROWS keys
**     dsᵀ = scale · pᵀ (v dyᵀ - Σ dy y)
**     dv = pᵀ · dy;  dk = dsᵀ · q;  ds, transposed 16 × 16 at a time
**   dq = ds · k
**
** All products run on the GEMM tiles.  Lanes past the last query hold what the
** last query's would be, and no product reads them.  With causal, what is hidden
** is zero: nothing is skipped.
**
** With varlen a task is a head of all runs, one after another: a run's keys are the
** rows of run 0 and then its own, and what it gives to run 0 is added there. */
#include "backends/llvm_cpu/lc_emit.h"

#include "backends/llvm_cpu/lc_math.h"

#include <math.h>

enum {
  ROWS = 48, /* of a block: a multiple of LC_W */
  TILE = 8   /* rows of a tile, at most */
};

static int64_t in_panels(int64_t n) { return (n + GEMM_PANEL - 1) / GEMM_PANEL; }
/* Row pitches in bytes, off the powers of two: padding beside whole panels. */
enum { QUERY_PAD = 64, KEY_PAD = 192 };
static int64_t query_pitch(const KAttentionGrad *k) { return 64 * in_panels(k->lq) + QUERY_PAD; }
static int64_t key_pitch(const KAttentionGrad *k) {
  return 64 * in_panels(kgrad_keys(k)) + KEY_PAD;
}

/* Areas of scratch, in this order; bytes. */
typedef enum {
  P_T,       /* pᵀ: a row for each key */
  DS,        /* ds: a row for each query */
  BLOCK,     /* dsᵀ of a block of keys */
  RESULT,    /* one tile */
  Q_T,       /* q transposed in panels: [panel of queries][column][16] */
  DY_T,
  Q_ROWS,    /* q in panels of columns: [panel of columns][query][16] */
  DY_ROWS,
  K_ROWS,
  MEANS,     /* Σ dy y of each query */
  Q_PTR,     /* pointers to rows */
  DY_PTR,
  K_PTR,
  V_PTR,
  P_PTR,
  DS_PTR,
  BLOCK_PTR,
  AREA__COUNT
} Area;

static int64_t area_bytes(const KAttentionGrad *k, Area a) {
  int64_t keys = kgrad_keys(k), lanes = GEMM_PANEL * in_panels(k->lq), cols = 64 * in_panels(k->d);
  switch (a) {
  case P_T: return keys * query_pitch(k);
  case DS: return kgrad_wants(k, 0) ? lanes * key_pitch(k) : 0;
  case BLOCK: return ROWS * query_pitch(k);
  case RESULT: return TILE * cols;
  case Q_T:
  case DY_T: return 4 * k->d * lanes;
  case Q_ROWS:
  case DY_ROWS: return cols * k->lq;
  case K_ROWS: return kgrad_wants(k, 0) ? cols * keys : 0;
  case MEANS: return 4 * lanes;
  case Q_PTR:
  case DY_PTR:
  case DS_PTR: return 8 * k->lq;
  case K_PTR:
  case V_PTR:
  case P_PTR: return 8 * keys;
  case BLOCK_PTR: return 8 * ROWS;
  case AREA__COUNT: break;
  }
  return 0;
}

static int64_t area_offset(const KAttentionGrad *k, Area a) {
  int64_t at = 0;
  for (int i = 0; i < (int)a; i++) at += (area_bytes(k, (Area)i) + 63) & ~INT64_C(63);
  return at;
}

static uint64_t grad_scratch(const Kernel *kernel) {
  return (uint64_t)area_offset(&kernel->attention_grad, AREA__COUNT);
}

static Lv grad_tasks(Emit *e, const Kernel *kernel) {
  const KAttentionGrad *k = &kernel->attention_grad;
  if (k->varlen) return lb_i64(&e->b, k->heads);
  return lb_mulc(&e->b, le_size(e, k->batch), k->heads);
}

typedef struct {
  Emit *e;
  const KAttentionGrad *k;
  Lv area[AREA__COUNT];
  Lv out, dy, y, q, bounds;               /* operands */
  Lv dy_b, dy_r, y_b, y_r, q_b, q_r;      /* bytes */
  Lv out_r;                               /* bytes from row to row of out */
  struct {
    Lv key, v, k_b, k_r, v_b, v_r;
  } segment[ATTENTION_SEGMENTS];
} Back;

/* Keys [first, first + n) of all. */
typedef struct {
  Lv first, n;
} Keys;

/* One head of one batch entry or run. */
typedef struct {
  Lv lq, n_keys;
  Lv q_pitch, k_pitch; /* bytes: of rows by query, by key */
  Lv past;             /* keys before the first query's own: those of run 0 */
  Lv y, dq;            /* first rows */
  uint32_t n_segments;
  struct {
    Keys keys;
    uint32_t operand; /* of its keys, in want */
    bool adds;        /* to what its part holds */
    Lv dk, dv;        /* first rows */
  } segment[ATTENTION_SEGMENTS];
} Head;

/* ---- rows ---------------------------------------------------------------- */

/* to[i] = base + i·step for i < n. */
static void list_rows(const Back *x, Lv to, Lv base, Lv step, Lv n) {
  Lb *b = &x->e->b;
  LbLoop loop;
  Lv i = lb_for(b, &loop, lb_i64(b, 0), n, 1);
  lb_store(b, lb_at(b, base, lb_mul(b, i, step)), lb_at(b, to, lb_mulc(b, i, 8)), 8);
  lb_end_for(b, &loop);
}

static Lv row_at(const Back *x, Lv list, Lv i) {
  Lb *b = &x->e->b;
  return lb_load(b, b->ptr, lb_at(b, list, lb_mulc(b, i, 8)), 8);
}

/* Columns [c, c + 16) of d, as a mask where they are not all there. */
static Lv column_mask(const Back *x, Lv c) {
  Lb *b = &x->e->b;
  return x->k->d % LC_W ? lb_tail_mask(b, lb_sub(b, lb_i64(b, x->k->d), c)) : NULL;
}

/* to[p][c][l] = row 16p + l, column c; rows past the last repeat it. */
static void pack_transposed(const Back *x, Lv list, Lv n, Lv to) {
  Lb *b = &x->e->b;
  int64_t d = x->k->d;
  LbLoop rows, cols;
  Lv first = lb_for(b, &rows, lb_i64(b, 0), n, LC_W), row[LC_W], v[LC_W];
  for (int i = 0; i < LC_W; i++)
    row[i] = row_at(x, list, lb_min(b, lb_addc(b, first, i), lb_addc(b, n, -1)));
  Lv panel = lb_at(b, to, lb_mulc(b, first, 4 * d));
  Lv c = lb_for(b, &cols, lb_i64(b, 0), lb_i64(b, d), LC_W), mask = column_mask(x, c);
  for (int i = 0; i < LC_W; i++)
    v[i] = lb_load_vf(b, lb_at(b, row[i], lb_mulc(b, c, 4)), mask, NULL);
  le_transpose(b, v);
  Lv at = lb_at(b, panel, lb_mulc(b, c, 64)), left = lb_sub(b, lb_i64(b, d), c);
  for (int i = 0; i < LC_W; i++) {
    LbIf inside;
    if (mask) lb_if(b, &inside, lb_icmp(b, LLVMIntSGT, left, lb_i64(b, i)));
    lb_store_vf(b, v[i], lb_atc(b, at, 64 * i), NULL);
    if (mask) lb_end_if(b, &inside);
  }
  lb_end_for(b, &cols);
  lb_end_for(b, &rows);
}

/* to[p][i][l] = row i, column 16p + l, zero past d. */
static void pack_rows(const Back *x, Lv list, Lv n, Lv to) {
  Lb *b = &x->e->b;
  LbLoop loop;
  Lv i = lb_for(b, &loop, lb_i64(b, 0), n, 1), row = row_at(x, list, i);
  for (int64_t p = 0; p < in_panels(x->k->d); p++) {
    Lv v = lb_load_vf(b, lb_atc(b, row, 64 * p), column_mask(x, lb_i64(b, p * LC_W)), NULL);
    lb_store_vf(b, v, lb_at(b, to, lb_mulc(b, lb_add(b, i, lb_mulc(b, n, p)), 64)), NULL);
  }
  lb_end_for(b, &loop);
}

/* ---- products ------------------------------------------------------------ */

/* out[i][16p + l] = Σ_k rows[i][k] · b[p][k][l] */
typedef struct {
  Lv rows, n_rows; /* list; an i64 */
  Lv b, k, n_panels;
  Lv out, pitch; /* bytes */
} Product;

static void tile(const Back *x, const Product *p, Lv row, Lv panel, Lv out) {
  Emit *e = x->e;
  Lb *b = &e->b;
  Lv panel_bytes = lb_mulc(b, p->k, 64), at = lb_at(b, p->b, lb_mul(b, panel, panel_bytes));
  LeTile t = {.dtype = VLPC_F32,
              .n_rows = lb_min(b, lb_i64(b, b->target->mr), lb_sub(b, p->n_rows, row)),
              .n_panels = lb_min(b, lb_i64(b, b->target->panels), lb_sub(b, p->n_panels, panel)),
              .rows = lb_at(b, p->rows, lb_mulc(b, row, 8)),
              .b = at,
              .panel_bytes = panel_bytes,
              .k = p->k,
              .out = lb_at(b, out, lb_mulc(b, panel, 64)),
              .out_bytes = p->pitch,
              .ahead = at,
              .ahead_step = lb_i64(b, 0)};
  le_tile(e, &t);
}

/* Each group of panels goes through all rows before the next, from L1. */
static void multiply(const Back *x, const Product *p) {
  Lb *b = &x->e->b;
  LbLoop panels, loop;
  Lv panel = lb_for(b, &panels, lb_i64(b, 0), p->n_panels, b->target->panels);
  Lv row = lb_for(b, &loop, lb_i64(b, 0), p->n_rows, b->target->mr);
  tile(x, p, row, panel, lb_at(b, p->out, lb_mul(b, row, p->pitch)));
  lb_end_for(b, &loop);
  lb_end_for(b, &panels);
}

/* The same to rows of the result, d columns each, from row `to` on. */
static void multiply_out(const Back *x, Product p, Lv to, bool adds) {
  Lb *b = &x->e->b;
  int64_t n_panels = in_panels(x->k->d);
  LbLoop loop, rows, cols;
  p.n_panels = lb_i64(b, n_panels);
  p.pitch = lb_i64(b, 64 * n_panels);
  Lv row = lb_for(b, &loop, lb_i64(b, 0), p.n_rows, b->target->mr);
  for (int64_t panel = 0; panel < n_panels; panel += b->target->panels)
    tile(x, &p, row, lb_i64(b, panel), x->area[RESULT]);
  Lv n = lb_min(b, lb_i64(b, b->target->mr), lb_sub(b, p.n_rows, row));
  Lv i = lb_for(b, &rows, lb_i64(b, 0), n, 1);
  Lv from = lb_at(b, x->area[RESULT], lb_mul(b, i, p.pitch));
  Lv line = lb_at(b, to, lb_mul(b, lb_add(b, row, i), x->out_r));
  Lv c = lb_for(b, &cols, lb_i64(b, 0), lb_i64(b, x->k->d), LC_W), at = lb_mulc(b, c, 4);
  Lv v = lb_load_vf(b, lb_at(b, from, at), NULL, NULL), mask = column_mask(x, c);
  if (adds) v = lb_fadd(b, lb_load_vf(b, lb_at(b, line, at), mask, NULL), v);
  lb_store_vf(b, v, lb_at(b, line, at), mask);
  lb_end_for(b, &cols);
  lb_end_for(b, &rows);
  lb_end_for(b, &loop);
}

/* ---- probabilities ------------------------------------------------------- */

/* Queries [at, at + 16) of the row of key j. */
static Lv p_at(const Back *x, const Head *h, Lv j, Lv at) {
  Lb *b = &x->e->b;
  Lv row = lb_at(b, x->area[P_T], lb_mul(b, j, h->q_pitch));
  return lb_at(b, row, lb_mulc(b, at, 4));
}

/* Scales the column's scores in place, hides what causal hides; the maxima. */
static Lv scale_column(const Back *x, const Head *h, Lv at) {
  Lb *b = &x->e->b;
  Lv top = lb_var(b, b->vf, lb_vf(b, -INFINITY));
  Lv first = lb_splat(b, LLVMBuildTrunc(b->b, lb_add(b, at, h->past), b->i32, ""));
  Lv lane = lb_add(b, first, lb_lanes(b));
  LbLoop loop;
  Lv j = lb_for(b, &loop, lb_i64(b, 0), h->n_keys, 1), p = p_at(x, h, j, at);
  Lv s = lb_fmul(b, lb_load_vf(b, p, NULL, NULL), lb_vf(b, (double)x->k->scale));
  if (x->k->causal || x->k->varlen) {
    Lv key = lb_splat(b, LLVMBuildTrunc(b->b, j, b->i32, ""));
    s = lb_select(b, lb_icmp(b, LLVMIntSGE, lane, key), s, lb_vf(b, -INFINITY));
  }
  lb_store_vf(b, s, p, NULL);
  lb_set(b, top, lb_fmax(b, lb_get(b, top), s));
  lb_end_for(b, &loop);
  return lb_get(b, top);
}

/* Scores of 16 queries to probabilities, in place.  A query that sees nothing
** gets zeros. */
static void softmax_column(const Back *x, const Head *h, Lv at) {
  Lb *b = &x->e->b;
  Lv zero = lb_vf(b, 0), top = scale_column(x, h, at);
  Lv shift = lb_select(b, lb_fcmp(b, LLVMRealOEQ, top, lb_vf(b, -INFINITY)), zero, top);
  Lv sum = lb_var(b, b->vf, zero);
  LbLoop powers, parts;
  Lv j = lb_for(b, &powers, lb_i64(b, 0), h->n_keys, 1), p = p_at(x, h, j, at);
  Lv v = lm_exp(b, lb_fsub(b, lb_load_vf(b, p, NULL, NULL), shift));
  lb_store_vf(b, v, p, NULL);
  lb_set(b, sum, lb_fadd(b, lb_get(b, sum), v));
  lb_end_for(b, &powers);
  Lv total = lb_get(b, sum), none = lb_fcmp(b, LLVMRealOEQ, total, zero);
  Lv part = lb_select(b, none, zero, lb_fdiv(b, lb_vf(b, 1), total));
  j = lb_for(b, &parts, lb_i64(b, 0), h->n_keys, 1), p = p_at(x, h, j, at);
  lb_store_vf(b, lb_fmul(b, lb_load_vf(b, p, NULL, NULL), part), p, NULL);
  lb_end_for(b, &parts);
}

static void make_probabilities(const Back *x, const Head *h) {
  Lb *b = &x->e->b;
  multiply(x, &(Product){.rows = x->area[K_PTR],
                         .n_rows = h->n_keys,
                         .b = x->area[Q_T],
                         .k = lb_i64(b, x->k->d),
                         .n_panels = le_ceil_div(x->e, h->lq, GEMM_PANEL),
                         .out = x->area[P_T],
                         .pitch = h->q_pitch});
  LbLoop loop;
  softmax_column(x, h, lb_for(b, &loop, lb_i64(b, 0), h->lq, LC_W));
  lb_end_for(b, &loop);
}

/* Σ dy y of each query. */
static void make_means(const Back *x, const Head *h) {
  Lb *b = &x->e->b;
  LbLoop loop, cols;
  Lv i = lb_for(b, &loop, lb_i64(b, 0), h->lq, 1);
  Lv dy = row_at(x, x->area[DY_PTR], i), y = lb_at(b, h->y, lb_mul(b, i, x->y_r));
  Lv sum = lb_var(b, b->vf, lb_vf(b, 0));
  Lv c = lb_for(b, &cols, lb_i64(b, 0), lb_i64(b, x->k->d), LC_W), at = lb_mulc(b, c, 4);
  Lv mask = column_mask(x, c), a = lb_load_vf(b, lb_at(b, dy, at), mask, NULL);
  lb_set(b, sum, lb_fma(b, a, lb_load_vf(b, lb_at(b, y, at), mask, NULL), lb_get(b, sum)));
  lb_end_for(b, &cols);
  lb_store(b, lb_hsum(b, lb_get(b, sum)), lb_at(b, x->area[MEANS], lb_mulc(b, i, 4)), 4);
  lb_end_for(b, &loop);
}

/* ---- blocks of keys ------------------------------------------------------ */

static Lv block_at(const Back *x, const Head *h, Lv row, Lv at) {
  Lb *b = &x->e->b;
  Lv line = lb_at(b, x->area[BLOCK], lb_mul(b, row, h->q_pitch));
  return lb_at(b, line, lb_mulc(b, at, 4));
}

/* The block's rows of dsᵀ. */
static void make_ds(const Back *x, const Head *h, const Keys *keys) {
  Lb *b = &x->e->b;
  LbLoop rows, cols;
  multiply(x, &(Product){.rows = lb_at(b, x->area[V_PTR], lb_mulc(b, keys->first, 8)),
                         .n_rows = keys->n,
                         .b = x->area[DY_T],
                         .k = lb_i64(b, x->k->d),
                         .n_panels = le_ceil_div(x->e, h->lq, GEMM_PANEL),
                         .out = x->area[BLOCK],
                         .pitch = h->q_pitch});
  Lv i = lb_for(b, &rows, lb_i64(b, 0), keys->n, 1), j = lb_add(b, keys->first, i);
  Lv at = lb_for(b, &cols, lb_i64(b, 0), h->lq, LC_W), to = block_at(x, h, i, at);
  Lv mean = lb_load_vf(b, lb_at(b, x->area[MEANS], lb_mulc(b, at, 4)), NULL, NULL);
  Lv p = lb_fmul(b, lb_load_vf(b, p_at(x, h, j, at), NULL, NULL), lb_vf(b, (double)x->k->scale));
  lb_store_vf(b, lb_fmul(b, p, lb_fsub(b, lb_load_vf(b, to, NULL, NULL), mean)), to, NULL);
  lb_end_for(b, &cols);
  lb_end_for(b, &rows);
}

/* The block as columns of ds.  Up to 15 columns too many are written, which the
** next block, or the padding, takes. */
static void turn_block(const Back *x, const Head *h, const Keys *keys) {
  Lb *b = &x->e->b;
  LbLoop rows, cols;
  Lv v[LC_W], i = lb_for(b, &rows, lb_i64(b, 0), keys->n, LC_W);
  Lv at = lb_for(b, &cols, lb_i64(b, 0), h->lq, LC_W);
  for (int l = 0; l < LC_W; l++)
    v[l] = lb_load_vf(b, block_at(x, h, lb_addc(b, i, l), at), NULL, NULL);
  le_transpose(b, v);
  Lv to = lb_at(b, x->area[DS], lb_mul(b, at, h->k_pitch));
  to = lb_at(b, to, lb_mulc(b, lb_add(b, keys->first, i), 4));
  for (int l = 0; l < LC_W; l++)
    lb_store_vf(b, v[l], lb_at(b, to, lb_mulc(b, h->k_pitch, l)), NULL);
  lb_end_for(b, &cols);
  lb_end_for(b, &rows);
}

/* The block from key `at` of a segment on. */
static void run_block(const Back *x, const Head *h, uint32_t segment, Lv at, const Keys *keys) {
  Lb *b = &x->e->b;
  const KAttentionGrad *k = x->k;
  uint32_t operand = h->segment[segment].operand;
  bool adds = h->segment[segment].adds;
  Lv to = lb_mul(b, at, x->out_r);
  Product p = {.n_rows = keys->n, .k = h->lq};
  if (kgrad_wants(k, operand + 1)) {
    p.rows = lb_at(b, x->area[P_PTR], lb_mulc(b, keys->first, 8)), p.b = x->area[DY_ROWS];
    multiply_out(x, p, lb_at(b, h->segment[segment].dv, to), adds);
  }
  if (!kgrad_wants(k, operand) && !kgrad_wants(k, 0)) return;
  make_ds(x, h, keys);
  if (kgrad_wants(k, operand)) {
    p.rows = x->area[BLOCK_PTR], p.b = x->area[Q_ROWS];
    multiply_out(x, p, lb_at(b, h->segment[segment].dk, to), adds);
  }
  if (kgrad_wants(k, 0)) turn_block(x, h, keys);
}

static void run_segment(const Back *x, const Head *h, uint32_t segment) {
  Lb *b = &x->e->b;
  const KAttentionGrad *k = x->k;
  const Keys *all = &h->segment[segment].keys;
  uint32_t both = 3u << h->segment[segment].operand;
  if (!kgrad_wants(k, 0) && (k->want & both) == 0) return;
  LbLoop loop;
  Lv i = lb_for(b, &loop, lb_i64(b, 0), all->n, ROWS);
  Keys keys = {lb_add(b, i, all->first), lb_min(b, lb_i64(b, ROWS), lb_sub(b, all->n, i))};
  run_block(x, h, segment, i, &keys);
  lb_end_for(b, &loop);
}

static void run_head(const Back *x, const Head *h) {
  Lb *b = &x->e->b;
  list_rows(x, x->area[P_PTR], x->area[P_T], h->q_pitch, h->n_keys);
  list_rows(x, x->area[BLOCK_PTR], x->area[BLOCK], h->q_pitch,
            lb_min(b, lb_i64(b, ROWS), h->n_keys));
  pack_transposed(x, x->area[Q_PTR], h->lq, x->area[Q_T]);
  pack_transposed(x, x->area[DY_PTR], h->lq, x->area[DY_T]);
  pack_rows(x, x->area[Q_PTR], h->lq, x->area[Q_ROWS]);
  pack_rows(x, x->area[DY_PTR], h->lq, x->area[DY_ROWS]);
  make_means(x, h);
  make_probabilities(x, h);
  for (uint32_t s = 0; s < h->n_segments; s++) run_segment(x, h, s);
  if (!kgrad_wants(x->k, 0)) return;
  list_rows(x, x->area[DS_PTR], x->area[DS], h->k_pitch, h->lq);
  pack_rows(x, x->area[K_PTR], h->n_keys, x->area[K_ROWS]);
  Product p = {.rows = x->area[DS_PTR], .n_rows = h->lq, .b = x->area[K_ROWS], .k = h->n_keys};
  multiply_out(x, p, h->dq, false);
}

/* ---- tasks --------------------------------------------------------------- */

static Back prologue(Emit *e, const KAttentionGrad *k) {
  Lb *b = &e->b;
  Back x = {.e = e, .k = k};
  for (int i = 0; i < AREA__COUNT; i++)
    x.area[i] = lb_atc(b, e->scratch, area_offset(k, (Area)i));
  x.out = le_operand(e, 0), x.dy = le_operand(e, 1), x.y = le_operand(e, 2);
  x.q = le_operand(e, 3);
  x.dy_b = le_bytes(e, k->dy_b), x.dy_r = le_bytes(e, k->dy_r);
  x.y_b = le_bytes(e, k->y_b), x.y_r = le_bytes(e, k->y_r);
  x.q_b = le_bytes(e, k->q_b), x.q_r = le_bytes(e, k->q_r);
  x.out_r = k->varlen ? le_bytes(e, k->o_r) : lb_i64(b, 4 * k->heads * k->d);
  if (k->varlen) x.bounds = le_operand(e, 3 + kgrad_parts(k));
  for (uint32_t s = 0; s < k->n_segments; s++) {
    const KGradSegment *g = &k->segment[s];
    x.segment[s].key = le_operand(e, 4 + 2 * s), x.segment[s].v = le_operand(e, 5 + 2 * s);
    x.segment[s].k_b = le_bytes(e, g->k_b), x.segment[s].k_r = le_bytes(e, g->k_r);
    x.segment[s].v_b = le_bytes(e, g->v_b), x.segment[s].v_r = le_bytes(e, g->v_r);
  }
  return x;
}

/* How an operand's rows lie. */
typedef struct {
  Lv base, row_bytes, batch_bytes;
} Rows;

static Lv first_row(const Back *x, Rows r, Lv column, Lv batch) {
  Lb *b = &x->e->b;
  return lb_at(b, lb_at(b, r.base, column), lb_mul(b, batch, r.batch_bytes));
}

/* Of a batch entry; its rows listed. */
static Head locate(const Back *x, Lv task) {
  Lb *b = &x->e->b;
  const KAttentionGrad *k = x->k;
  Lv batch = lb_divc(b, task, k->heads), head = lb_remc(b, task, k->heads), zero = lb_i64(b, 0);
  Lv column = lb_mulc(b, head, 4 * k->d);
  int64_t width = 4 * k->heads * k->d, first = 0;
  Head h = {.lq = lb_i64(b, k->lq), .n_keys = lb_i64(b, kgrad_keys(k)), .past = zero,
            .q_pitch = lb_i64(b, query_pitch(k)), .k_pitch = lb_i64(b, key_pitch(k)),
            .n_segments = k->n_segments};
  Rows q = {x->q, x->q_r, x->q_b}, dy = {x->dy, x->dy_r, x->dy_b}, y = {x->y, x->y_r, x->y_b};
  list_rows(x, x->area[Q_PTR], first_row(x, q, column, batch), x->q_r, h.lq);
  list_rows(x, x->area[DY_PTR], first_row(x, dy, column, batch), x->dy_r, h.lq);
  h.y = first_row(x, y, column, batch);
  Rows out = {x->out, x->out_r, lb_i64(b, width * kgrad_rows(k, kgrad_parts(k)))};
  h.dq = first_row(x, out, column, batch);
  for (uint32_t s = 0; s < k->n_segments; first += k->segment[s++].n) {
    Rows key = {x->segment[s].key, x->segment[s].k_r, x->segment[s].k_b};
    Rows v = {x->segment[s].v, x->segment[s].v_r, x->segment[s].v_b};
    Lv n = lb_i64(b, k->segment[s].n), at = lb_i64(b, 8 * first);
    list_rows(x, lb_at(b, x->area[K_PTR], at), first_row(x, key, column, batch), key.row_bytes, n);
    list_rows(x, lb_at(b, x->area[V_PTR], at), first_row(x, v, column, batch), v.row_bytes, n);
    h.segment[s].keys = (Keys){lb_i64(b, first), n};
    h.segment[s].operand = 1 + 2 * s;
    h.segment[s].dk = lb_atc(b, h.dq, width * kgrad_rows(k, 1 + 2 * s));
    h.segment[s].dv = lb_atc(b, h.dq, width * kgrad_rows(k, 2 + 2 * s));
  }
  return h;
}

/* ---- runs ---------------------------------------------------------------- */

/* Rows from row `from` on, listed behind the first `at` of a list. */
static void list_from(const Back *x, Area list, Lv at, Rows r, Lv from, Lv n) {
  Lb *b = &x->e->b;
  Lv base = lb_at(b, r.base, lb_mul(b, from, r.row_bytes));
  list_rows(x, lb_at(b, x->area[list], lb_mulc(b, at, 8)), base, r.row_bytes, n);
}

/* First row of the part of an operand, from the head's column on. */
static Lv part_of(const Back *x, uint32_t operand, Lv column) {
  Lb *b = &x->e->b;
  int64_t width = 4 * x->k->heads * x->k->d;
  return lb_atc(b, lb_at(b, x->out, column), width * kgrad_wanted(x->k, operand));
}

static Lv bound(const Back *x, Lv i) {
  Lb *b = &x->e->b;
  return lb_load(b, b->i64, lb_at(b, x->bounds, lb_mulc(b, i, 8)), 8);
}

/* Rows [from, to) of a run, which is one that the kernel takes. */
static Head measure_run(const Back *x, Lv run, Lv *from) {
  Lb *b = &x->e->b;
  const KAttentionGrad *k = x->k;
  Lv zero = lb_i64(b, 0), is_first = lb_icmp(b, LLVMIntEQ, run, zero);
  Lv to = bound(x, lb_addc(b, run, 1)), prefix = bound(x, lb_i64(b, 1));
  *from = bound(x, run);
  le_need_rising(x->e, *from, to);
  le_need_rising(x->e, to, le_size(x->e, k->rows));
  le_need_rising(x->e, prefix, lb_select(b, is_first, to, *from));
  Head h = {.lq = lb_sub(b, to, *from), .past = lb_select(b, is_first, zero, prefix)};
  h.n_keys = lb_add(b, h.lq, h.past);
  le_need_rising(x->e, h.lq, lb_i64(b, k->lq));
  le_need_rising(x->e, h.n_keys, lb_i64(b, k->segment[0].n));
  Lv lanes = le_ceil_div(x->e, h.lq, LC_W), keys = le_ceil_div(x->e, h.n_keys, LC_W);
  h.q_pitch = lb_addc(b, lb_mulc(b, lanes, 64), QUERY_PAD);
  h.k_pitch = lb_addc(b, lb_mulc(b, keys, 64), KEY_PAD);
  return h;
}

static Head locate_run(const Back *x, Lv run, Lv column) {
  Lb *b = &x->e->b;
  Lv from, zero = lb_i64(b, 0);
  Head h = measure_run(x, run, &from);
  Rows q = {lb_at(b, x->q, column), x->q_r, NULL}, dy = {lb_at(b, x->dy, column), x->dy_r, NULL};
  Rows key = {lb_at(b, x->segment[0].key, column), x->segment[0].k_r, NULL};
  Rows v = {lb_at(b, x->segment[0].v, column), x->segment[0].v_r, NULL};
  list_from(x, Q_PTR, zero, q, from, h.lq);
  list_from(x, DY_PTR, zero, dy, from, h.lq);
  list_from(x, K_PTR, zero, key, zero, h.past);
  list_from(x, K_PTR, h.past, key, from, h.lq);
  list_from(x, V_PTR, zero, v, zero, h.past);
  list_from(x, V_PTR, h.past, v, from, h.lq);
  Lv row = lb_mul(b, from, x->out_r);
  h.y = lb_at(b, lb_at(b, x->y, column), lb_mul(b, from, x->y_r));
  h.dq = lb_at(b, part_of(x, 0, column), row);
  h.n_segments = 2;
  for (uint32_t s = 0; s < 2; s++) {
    bool own = s == 1;
    h.segment[s].keys = own ? (Keys){h.past, h.lq} : (Keys){zero, h.past};
    h.segment[s].operand = 1;
    h.segment[s].adds = !own;
    h.segment[s].dk = lb_at(b, part_of(x, 1, column), own ? row : zero);
    h.segment[s].dv = lb_at(b, part_of(x, 2, column), own ? row : zero);
  }
  return h;
}

/* All runs for one head. */
static void run_runs(const Back *x, Lv head) {
  Lb *b = &x->e->b;
  LbLoop loop;
  LbIf some;
  Lv column = lb_mulc(b, head, 4 * x->k->d);
  Lv run = lb_for(b, &loop, lb_i64(b, 0), le_size(x->e, x->k->batch), 1);
  Head h = locate_run(x, run, column);
  lb_if(b, &some, lb_icmp(b, LLVMIntSGT, h.lq, lb_i64(b, 0)));
  run_head(x, &h);
  lb_end_if(b, &some);
  lb_end_for(b, &loop);
}

static void grad_run(Emit *e, const Kernel *kernel) {
  Lb *b = &e->b;
  Back x = prologue(e, &kernel->attention_grad);
  LbLoop tasks;
  Lv task = lb_for(b, &tasks, e->begin, e->end, 1);
  if (x.bounds) {
    run_runs(&x, task);
  } else {
    Head h = locate(&x, task);
    run_head(&x, &h);
  }
  lb_end_for(b, &tasks);
}

static LeShared grad_calls(const LcTarget *t, const Kernel *kernel) {
  (void)t, (void)kernel;
  return LE_TILES_F32;
}

const LcKind lc_attention_grad = {.run = grad_run,
                                  .tasks = grad_tasks,
                                  .scratch = grad_scratch,
                                  .calls = grad_calls};
