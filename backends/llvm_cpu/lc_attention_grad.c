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
** is zero: nothing is skipped. */
#include "backends/llvm_cpu/lc_emit.h"

#include "backends/llvm_cpu/lc_math.h"

#include <math.h>

enum {
  ROWS = 48, /* of a block: a multiple of LC_W */
  TILE = 8   /* rows of a tile, at most */
};

static int64_t in_panels(int64_t n) { return (n + GEMM_PANEL - 1) / GEMM_PANEL; }
/* Row pitches in bytes, off the powers of two. */
static int64_t query_pitch(const KAttentionGrad *k) { return 64 * in_panels(k->lq) + 64; }
static int64_t key_pitch(const KAttentionGrad *k) { return 64 * in_panels(kgrad_keys(k)) + 192; }

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
  return lb_mulc(&e->b, le_size(e, k->batch), k->heads);
}

typedef struct {
  Emit *e;
  const KAttentionGrad *k;
  Lv area[AREA__COUNT];
  Lv out, dy, y, q;                       /* operands */
  Lv dy_b, dy_r, y_b, y_r, q_b, q_r;      /* bytes */
  struct {
    Lv key, v, k_b, k_r, v_b, v_r;
  } segment[ATTENTION_SEGMENTS];
} Back;

/* One head of one batch entry: first rows. */
typedef struct {
  Lv out, y;
} Head;

/* ---- rows ---------------------------------------------------------------- */

/* to[i] = base + i·step for i < n. */
static void list_rows(const Back *x, Lv to, Lv base, Lv step, int64_t n) {
  Lb *b = &x->e->b;
  LbLoop loop;
  Lv i = lb_for(b, &loop, lb_i64(b, 0), lb_i64(b, n), 1);
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
static void pack_transposed(const Back *x, Lv list, int64_t n, Lv to) {
  Lb *b = &x->e->b;
  int64_t d = x->k->d;
  LbLoop rows, cols;
  Lv first = lb_for(b, &rows, lb_i64(b, 0), lb_i64(b, n), LC_W), row[LC_W], v[LC_W];
  for (int i = 0; i < LC_W; i++)
    row[i] = row_at(x, list, lb_min(b, lb_addc(b, first, i), lb_i64(b, n - 1)));
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
static void pack_rows(const Back *x, Lv list, int64_t n, Lv to) {
  Lb *b = &x->e->b;
  LbLoop loop;
  Lv i = lb_for(b, &loop, lb_i64(b, 0), lb_i64(b, n), 1), row = row_at(x, list, i);
  for (int64_t p = 0; p < in_panels(x->k->d); p++) {
    Lv v = lb_load_vf(b, lb_atc(b, row, 64 * p), column_mask(x, lb_i64(b, p * LC_W)), NULL);
    lb_store_vf(b, v, lb_at(b, to, lb_mulc(b, lb_addc(b, i, p * n), 64)), NULL);
  }
  lb_end_for(b, &loop);
}

/* ---- products ------------------------------------------------------------ */

/* out[i][16p + l] = Σ_k rows[i][k] · b[p][k][l] */
typedef struct {
  Lv rows, n_rows; /* list; an i64 */
  Lv b;
  int64_t k, n_panels;
  Lv out;
  int64_t pitch; /* bytes */
} Product;

static void tile(const Back *x, const Product *p, Lv row, int64_t panel, Lv out) {
  Emit *e = x->e;
  Lb *b = &e->b;
  Lv at = lb_atc(b, p->b, panel * p->k * 64), mr = lb_i64(b, b->target->mr);
  LeTile t = {.dtype = VLPC_F32,
              .n_rows = lb_min(b, mr, lb_sub(b, p->n_rows, row)),
              .n_panels = lb_i64(b, VL_MIN(p->n_panels - panel, b->target->panels)),
              .rows = lb_at(b, p->rows, lb_mulc(b, row, 8)),
              .b = at,
              .panel_bytes = lb_i64(b, p->k * 64),
              .k = lb_i64(b, p->k),
              .out = lb_atc(b, out, panel * 64),
              .out_bytes = lb_i64(b, p->pitch),
              .ahead = at,
              .ahead_step = lb_i64(b, 0)};
  le_tile(e, &t);
}

/* Each group of panels goes through all rows before the next, from L1. */
static void multiply(const Back *x, const Product *p) {
  Lb *b = &x->e->b;
  for (int64_t panel = 0; panel < p->n_panels; panel += b->target->panels) {
    LbLoop loop;
    Lv row = lb_for(b, &loop, lb_i64(b, 0), p->n_rows, b->target->mr);
    tile(x, p, row, panel, lb_at(b, p->out, lb_mulc(b, row, p->pitch)));
    lb_end_for(b, &loop);
  }
}

/* The same to rows of the result, d columns each, from row `to` on. */
static void multiply_out(const Back *x, Product p, Lv to) {
  Lb *b = &x->e->b;
  int64_t pitch = 4 * x->k->heads * x->k->d;
  LbLoop loop, rows, cols;
  p.n_panels = in_panels(x->k->d);
  p.pitch = 64 * p.n_panels;
  Lv row = lb_for(b, &loop, lb_i64(b, 0), p.n_rows, b->target->mr);
  for (int64_t panel = 0; panel < p.n_panels; panel += b->target->panels)
    tile(x, &p, row, panel, x->area[RESULT]);
  Lv n = lb_min(b, lb_i64(b, b->target->mr), lb_sub(b, p.n_rows, row));
  Lv i = lb_for(b, &rows, lb_i64(b, 0), n, 1);
  Lv from = lb_at(b, x->area[RESULT], lb_mulc(b, i, p.pitch));
  Lv line = lb_at(b, to, lb_mulc(b, lb_add(b, row, i), pitch));
  Lv c = lb_for(b, &cols, lb_i64(b, 0), lb_i64(b, x->k->d), LC_W), at = lb_mulc(b, c, 4);
  lb_store_vf(b, lb_load_vf(b, lb_at(b, from, at), NULL, NULL), lb_at(b, line, at),
              column_mask(x, c));
  lb_end_for(b, &cols);
  lb_end_for(b, &rows);
  lb_end_for(b, &loop);
}

/* ---- probabilities ------------------------------------------------------- */

/* Queries [at, at + 16) of the row of key j. */
static Lv p_at(const Back *x, Lv j, Lv at) {
  Lb *b = &x->e->b;
  Lv row = lb_at(b, x->area[P_T], lb_mulc(b, j, query_pitch(x->k)));
  return lb_at(b, row, lb_mulc(b, at, 4));
}

/* Scales the column's scores in place, hides what causal hides; the maxima. */
static Lv scale_column(const Back *x, Lv at, Lv n_keys) {
  Lb *b = &x->e->b;
  Lv top = lb_var(b, b->vf, lb_vf(b, -INFINITY));
  Lv first = lb_splat(b, LLVMBuildTrunc(b->b, at, b->i32, ""));
  Lv lane = lb_add(b, first, lb_lanes(b));
  LbLoop loop;
  Lv j = lb_for(b, &loop, lb_i64(b, 0), n_keys, 1), p = p_at(x, j, at);
  Lv s = lb_fmul(b, lb_load_vf(b, p, NULL, NULL), lb_vf(b, (double)x->k->scale));
  if (x->k->causal) {
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
static void softmax_column(const Back *x, Lv at) {
  Lb *b = &x->e->b;
  Lv n_keys = lb_i64(b, kgrad_keys(x->k)), zero = lb_vf(b, 0);
  Lv top = scale_column(x, at, n_keys);
  Lv shift = lb_select(b, lb_fcmp(b, LLVMRealOEQ, top, lb_vf(b, -INFINITY)), zero, top);
  Lv sum = lb_var(b, b->vf, zero);
  LbLoop powers, parts;
  Lv j = lb_for(b, &powers, lb_i64(b, 0), n_keys, 1), p = p_at(x, j, at);
  Lv v = lm_exp(b, lb_fsub(b, lb_load_vf(b, p, NULL, NULL), shift));
  lb_store_vf(b, v, p, NULL);
  lb_set(b, sum, lb_fadd(b, lb_get(b, sum), v));
  lb_end_for(b, &powers);
  Lv total = lb_get(b, sum), none = lb_fcmp(b, LLVMRealOEQ, total, zero);
  Lv part = lb_select(b, none, zero, lb_fdiv(b, lb_vf(b, 1), total));
  j = lb_for(b, &parts, lb_i64(b, 0), n_keys, 1), p = p_at(x, j, at);
  lb_store_vf(b, lb_fmul(b, lb_load_vf(b, p, NULL, NULL), part), p, NULL);
  lb_end_for(b, &parts);
}

static void make_probabilities(const Back *x) {
  Lb *b = &x->e->b;
  const KAttentionGrad *k = x->k;
  multiply(x, &(Product){.rows = x->area[K_PTR],
                         .n_rows = lb_i64(b, kgrad_keys(k)),
                         .b = x->area[Q_T],
                         .k = k->d,
                         .n_panels = in_panels(k->lq),
                         .out = x->area[P_T],
                         .pitch = query_pitch(k)});
  LbLoop loop;
  softmax_column(x, lb_for(b, &loop, lb_i64(b, 0), lb_i64(b, k->lq), LC_W));
  lb_end_for(b, &loop);
}

/* Σ dy y of each query. */
static void make_means(const Back *x, const Head *h) {
  Lb *b = &x->e->b;
  LbLoop loop, cols;
  Lv i = lb_for(b, &loop, lb_i64(b, 0), lb_i64(b, x->k->lq), 1);
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

/* Keys [first, first + n) of all, in one segment. */
typedef struct {
  Lv first, n;
} Keys;

static Lv block_at(const Back *x, Lv row, Lv at) {
  Lb *b = &x->e->b;
  Lv line = lb_at(b, x->area[BLOCK], lb_mulc(b, row, query_pitch(x->k)));
  return lb_at(b, line, lb_mulc(b, at, 4));
}

/* The block's rows of dsᵀ. */
static void make_ds(const Back *x, const Keys *keys) {
  Lb *b = &x->e->b;
  LbLoop rows, cols;
  multiply(x, &(Product){.rows = lb_at(b, x->area[V_PTR], lb_mulc(b, keys->first, 8)),
                         .n_rows = keys->n,
                         .b = x->area[DY_T],
                         .k = x->k->d,
                         .n_panels = in_panels(x->k->lq),
                         .out = x->area[BLOCK],
                         .pitch = query_pitch(x->k)});
  Lv i = lb_for(b, &rows, lb_i64(b, 0), keys->n, 1), j = lb_add(b, keys->first, i);
  Lv at = lb_for(b, &cols, lb_i64(b, 0), lb_i64(b, x->k->lq), LC_W), to = block_at(x, i, at);
  Lv mean = lb_load_vf(b, lb_at(b, x->area[MEANS], lb_mulc(b, at, 4)), NULL, NULL);
  Lv p = lb_fmul(b, lb_load_vf(b, p_at(x, j, at), NULL, NULL), lb_vf(b, (double)x->k->scale));
  lb_store_vf(b, lb_fmul(b, p, lb_fsub(b, lb_load_vf(b, to, NULL, NULL), mean)), to, NULL);
  lb_end_for(b, &cols);
  lb_end_for(b, &rows);
}

/* The block as columns of ds.  Up to 15 columns too many are written, which the
** next block, or the padding, takes. */
static void turn_block(const Back *x, const Keys *keys) {
  Lb *b = &x->e->b;
  LbLoop rows, cols;
  Lv v[LC_W], i = lb_for(b, &rows, lb_i64(b, 0), keys->n, LC_W);
  Lv at = lb_for(b, &cols, lb_i64(b, 0), lb_i64(b, x->k->lq), LC_W);
  for (int l = 0; l < LC_W; l++)
    v[l] = lb_load_vf(b, block_at(x, lb_addc(b, i, l), at), NULL, NULL);
  le_transpose(b, v);
  Lv to = lb_at(b, x->area[DS], lb_mulc(b, at, key_pitch(x->k)));
  to = lb_at(b, to, lb_mulc(b, lb_add(b, keys->first, i), 4));
  for (int l = 0; l < LC_W; l++) lb_store_vf(b, v[l], lb_atc(b, to, l * key_pitch(x->k)), NULL);
  lb_end_for(b, &cols);
  lb_end_for(b, &rows);
}

/* Rows of the result for an operand, from one of its rows on. */
static Lv part_row(const Back *x, const Head *h, uint32_t operand, Lv row) {
  Lb *b = &x->e->b;
  Lv at = lb_addc(b, row, kgrad_rows(x->k, operand));
  return lb_at(b, h->out, lb_mulc(b, at, 4 * x->k->heads * x->k->d));
}

static void run_block(const Back *x, const Head *h, uint32_t segment, const Keys *keys) {
  Lb *b = &x->e->b;
  const KAttentionGrad *k = x->k;
  int64_t before = 0;
  for (uint32_t s = 0; s < segment; s++) before += k->segment[s].n;
  Lv row = lb_addc(b, keys->first, -before);
  Product p = {.n_rows = keys->n, .k = k->lq};
  if (kgrad_wants(k, 2 + 2 * segment)) {
    p.rows = lb_at(b, x->area[P_PTR], lb_mulc(b, keys->first, 8)), p.b = x->area[DY_ROWS];
    multiply_out(x, p, part_row(x, h, 2 + 2 * segment, row));
  }
  if (!kgrad_wants(k, 1 + 2 * segment) && !kgrad_wants(k, 0)) return;
  make_ds(x, keys);
  if (kgrad_wants(k, 1 + 2 * segment)) {
    p.rows = x->area[BLOCK_PTR], p.b = x->area[Q_ROWS];
    multiply_out(x, p, part_row(x, h, 1 + 2 * segment, row));
  }
  if (kgrad_wants(k, 0)) turn_block(x, keys);
}

static void run_segment(const Back *x, const Head *h, uint32_t segment) {
  Lb *b = &x->e->b;
  const KAttentionGrad *k = x->k;
  uint32_t both = 3u << (1 + 2 * segment);
  if (!kgrad_wants(k, 0) && (k->want & both) == 0) return;
  int64_t first = 0, n = k->segment[segment].n;
  for (uint32_t s = 0; s < segment; s++) first += k->segment[s].n;
  LbLoop loop;
  Lv i = lb_for(b, &loop, lb_i64(b, 0), lb_i64(b, n), ROWS);
  Keys keys = {lb_addc(b, i, first), lb_min(b, lb_i64(b, ROWS), lb_sub(b, lb_i64(b, n), i))};
  run_block(x, h, segment, &keys);
  lb_end_for(b, &loop);
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
  for (uint32_t s = 0; s < k->n_segments; s++) {
    const KGradSegment *g = &k->segment[s];
    x.segment[s].key = le_operand(e, 4 + 2 * s), x.segment[s].v = le_operand(e, 5 + 2 * s);
    x.segment[s].k_b = le_bytes(e, g->k_b), x.segment[s].k_r = le_bytes(e, g->k_r);
    x.segment[s].v_b = le_bytes(e, g->v_b), x.segment[s].v_r = le_bytes(e, g->v_r);
  }
  list_rows(&x, x.area[P_PTR], x.area[P_T], lb_i64(b, query_pitch(k)), kgrad_keys(k));
  list_rows(&x, x.area[BLOCK_PTR], x.area[BLOCK], lb_i64(b, query_pitch(k)), ROWS);
  list_rows(&x, x.area[DS_PTR], x.area[DS], lb_i64(b, key_pitch(k)), k->lq);
  return x;
}

/* The head's rows listed; where its result and its y begin. */
static Head locate(const Back *x, Lv task) {
  Lb *b = &x->e->b;
  const KAttentionGrad *k = x->k;
  Lv batch = lb_divc(b, task, k->heads), head = lb_remc(b, task, k->heads);
  Lv column = lb_mulc(b, head, 4 * k->d);
  Lv q = lb_at(b, lb_at(b, x->q, column), lb_mul(b, batch, x->q_b));
  Lv dy = lb_at(b, lb_at(b, x->dy, column), lb_mul(b, batch, x->dy_b));
  list_rows(x, x->area[Q_PTR], q, x->q_r, k->lq);
  list_rows(x, x->area[DY_PTR], dy, x->dy_r, k->lq);
  int64_t first = 0;
  for (uint32_t s = 0; s < k->n_segments; first += k->segment[s++].n) {
    Lv key = lb_at(b, lb_at(b, x->segment[s].key, column), lb_mul(b, batch, x->segment[s].k_b));
    Lv v = lb_at(b, lb_at(b, x->segment[s].v, column), lb_mul(b, batch, x->segment[s].v_b));
    list_rows(x, lb_atc(b, x->area[K_PTR], 8 * first), key, x->segment[s].k_r, k->segment[s].n);
    list_rows(x, lb_atc(b, x->area[V_PTR], 8 * first), v, x->segment[s].v_r, k->segment[s].n);
  }
  int64_t entry = 4 * k->heads * k->d * kgrad_rows(k, 1 + 2 * k->n_segments);
  return (Head){lb_at(b, lb_at(b, x->out, column), lb_mulc(b, batch, entry)),
                lb_at(b, lb_at(b, x->y, column), lb_mul(b, batch, x->y_b))};
}

static void run_head(const Back *x, const Head *h) {
  Lb *b = &x->e->b;
  const KAttentionGrad *k = x->k;
  pack_transposed(x, x->area[Q_PTR], k->lq, x->area[Q_T]);
  pack_transposed(x, x->area[DY_PTR], k->lq, x->area[DY_T]);
  pack_rows(x, x->area[Q_PTR], k->lq, x->area[Q_ROWS]);
  pack_rows(x, x->area[DY_PTR], k->lq, x->area[DY_ROWS]);
  make_means(x, h);
  make_probabilities(x);
  for (uint32_t s = 0; s < k->n_segments; s++) run_segment(x, h, s);
  if (!kgrad_wants(k, 0)) return;
  pack_rows(x, x->area[K_PTR], kgrad_keys(k), x->area[K_ROWS]);
  Product p = {.rows = x->area[DS_PTR],
               .n_rows = lb_i64(b, k->lq),
               .b = x->area[K_ROWS],
               .k = kgrad_keys(k)};
  multiply_out(x, p, part_row(x, h, 0, lb_i64(b, 0)));
}

static void grad_run(Emit *e, const Kernel *kernel) {
  Lb *b = &e->b;
  Back x = prologue(e, &kernel->attention_grad);
  LbLoop tasks;
  Head h = locate(&x, lb_for(b, &tasks, e->begin, e->end, 1));
  run_head(&x, &h);
  lb_end_for(b, &tasks);
}

static void grad_need(Emit *e, const Kernel *kernel) {
  (void)kernel;
  le_need_tiles(e, VLPC_F32);
}

const LcKind lc_attention_grad = {.run = grad_run,
                                  .tasks = grad_tasks,
                                  .scratch = grad_scratch,
                                  .need = grad_need};
