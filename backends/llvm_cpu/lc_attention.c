/* SPDX-License-Identifier: Apache-2.0 */
/* lc_attention.c - softmax(scale · q kᵀ + mask) v for one head at a time.
**
** A task is at most QUERIES query rows of one head.  K is transposed and V
** copied into panels of 16 columns in scratch, so both products run on the GEMM
** tiles; consecutive tasks of a head share the panels.
**
**   for each task
**     for each chunk of at most KEYS keys       (one chunk up to 512 keys)
**       pack K and V, unless the last task left them there
**       for each block of at most TILES tiles of query rows
**         scores = q · kᵀ;  exp;  out = out · rescale + scores · v
**
** A block takes each group of panels through all its tiles before the next, so
** panels come from L1 for all but the first.  Several chunks are joined with
** the running maximum and sum, as usual.  With causal, a tile multiplies only
** keys up to its last query; the masked ones before that are zeroes, which
** leave sums as they are.  Every row's result depends on its own q and on all
** of k and v, never on the other rows.
**
** In bf16 the words of a tile's step are pairs (lc_bf16.c): columns of q and k, and
** keys of scores and v.  exp(score) is rounded as it is stored, over the scores.
**
** Keys come from one source after another: the segments of the kernel, or, with
** varlen, where a task is all rows of one run for one head, the rows of run 0 and
** then its own, `past` of them before its first query. */
#include "backends/llvm_cpu/lc_emit.h"

#include "backends/llvm_cpu/lc_math.h"
#include "runtime/code.h"

#include <math.h>

enum {
  QUERIES = 72,
  KEYS = 512,
  TILES = 3,
  ROWS = TILES * 8,     /* of a block, at most */
  PITCH = 4 * KEYS + 64 /* of a score row: off the power of two */
};

typedef struct {
  Emit *e;
  const KAttention *k;
  Lv lq, lk, blocks; /* query blocks per head */
  Lv out, q, mask;
  Lv q_b, q_r, o_b, o_r, mask_b[4]; /* bytes */
  struct {
    Lv start, key, v;          /* number of its first key */
    Lv k_b, k_r, v_b, v_r;     /* bytes */
  } segment[ATTENTION_SEGMENTS];
  Lv k_pack, v_pack, scores, values, top, sum, parts;   /* in scratch */
  Lv q_row, s_row, rescale;                             /* on the stack, per row of a block */
  Lv packed;                                            /* variable: head in the panels */
  Lv bounds;                                            /* of varlen */
} Attn;

/* What one task works on. */
typedef struct {
  Lv head_id;      /* of batch × heads */
  Lv out, q, mask; /* of this batch entry (or run) and head */
  uint32_t n_sources;
  struct {
    Lv start, key, v, k_r, v_r; /* number and rows of its first key */
  } source[ATTENTION_SEGMENTS];
  Lv lq, lk, past;         /* queries and keys in all; past of varlen, or NULL */
  Lv chunks;               /* of keys */
  Lv first, n, n_tiles;    /* query rows; tiles, of nearly equal height */
  Lv key0, n_keys;         /* of the chunk at hand */
} Part;

static int64_t panels(int64_t cols) {
  return (cols + GEMM_PANEL - 1) / GEMM_PANEL;
}
static int64_t in_bytes(const KAttention *k) {
  return (int64_t)dtype_size(knum_dtype(k->in));
}
static int64_t out_bytes(const KAttention *k) {
  return (int64_t)dtype_size(knum_dtype(k->out));
}
/* Columns of q and k as words of a tile's step: one f32 or two bf16. */
static int64_t words(const KAttention *k) {
  return k->d * in_bytes(k) / 4;
}
static int64_t k_pack_bytes(const KAttention *k) {
  return 4 * KEYS * words(k);
}
static int64_t v_pack_bytes(const KAttention *k) {
  return 64 * KEYS * panels(k->dv);
}
static int64_t value_pitch(const KAttention *k) {
  return 64 * panels(k->dv);
}

static uint64_t attention_scratch(const Kernel *kernel) {
  const KAttention *k = &kernel->attention;
  int64_t tile = ROWS * (PITCH + value_pitch(k));
  if (k->out != NUM_F32) tile += QUERIES * value_pitch(k);
  return (uint64_t)(k_pack_bytes(k) + v_pack_bytes(k) + tile + 8 * QUERIES);
}

static Lv attention_tasks(Emit *e, const Kernel *kernel) {
  const KAttention *k = &kernel->attention;
  Lv heads = lb_mulc(&e->b, le_size(e, k->batch), k->heads);
  if (k->varlen) return heads;
  return lb_mul(&e->b, heads, le_ceil_div(e, le_size(e, k->lq), QUERIES));
}

/* The segment's rows are taken as at most 2^40, so that the sum does not wrap and
** a key's row lies in its segment whatever sizes a damaged program passes. */
static void add_segment(Attn *x, uint32_t i) {
  Emit *e = x->e;
  Lb *b = &e->b;
  const KSegment *s = &x->k->segment[i];
  VlDtype in = knum_dtype(x->k->in);
  x->segment[i].start = x->lk;
  x->segment[i].key = le_operand(e, 2 + 2 * i), x->segment[i].v = le_operand(e, 3 + 2 * i);
  x->segment[i].k_b = le_bytes_of(e, s->k_b, in), x->segment[i].k_r = le_bytes_of(e, s->k_r, in);
  x->segment[i].v_b = le_bytes_of(e, s->v_b, in), x->segment[i].v_r = le_bytes_of(e, s->v_r, in);
  Lv n = le_size(e, s->n);
  if (x->k->n_segments > 1)
    n = lb_min(b, lb_max(b, n, lb_i64(b, 0)), lb_i64(b, INT64_C(1) << 40));
  x->lk = i == 0 ? n : lb_add(b, x->lk, n);
}

static Attn prologue(Emit *e, const KAttention *k) {
  Lb *b = &e->b;
  Attn x = {.e = e, .k = k, .lq = le_size(e, k->lq), .lk = lb_i64(b, 0)};
  x.blocks = le_ceil_div(e, x.lq, QUERIES);
  x.out = le_operand(e, 0), x.q = le_operand(e, 1);
  VlDtype in = knum_dtype(k->in), out = knum_dtype(k->out);
  x.q_b = le_bytes_of(e, k->q_b, in), x.q_r = le_bytes_of(e, k->q_r, in);
  x.o_b = le_bytes_of(e, k->o_b, out), x.o_r = le_bytes_of(e, k->o_r, out);
  for (uint32_t i = 0; i < k->n_segments; i++) add_segment(&x, i);
  if (k->has_mask) x.mask = le_operand(e, kattention_extra(k));
  if (k->varlen) x.bounds = le_operand(e, kattention_extra(k));
  for (int i = 0; k->has_mask && i < 4; i++) x.mask_b[i] = le_bytes(e, k->mask[i]);
  x.k_pack = e->scratch;
  x.v_pack = lb_atc(b, x.k_pack, k_pack_bytes(k));
  x.scores = lb_atc(b, x.v_pack, v_pack_bytes(k));
  x.values = lb_atc(b, x.scores, ROWS * PITCH);
  x.top = lb_atc(b, x.values, ROWS * value_pitch(k));
  x.sum = lb_atc(b, x.top, 4 * QUERIES);
  x.parts = lb_atc(b, x.sum, 4 * QUERIES);
  x.q_row = lb_array(b, b->ptr, ROWS), x.s_row = lb_array(b, b->ptr, ROWS);
  x.rescale = lb_array(b, b->f32, ROWS);
  x.packed = lb_var(b, b->i64, lb_i64(b, -1));
  for (int i = 0; i < ROWS; i++)
    lb_store(b, lb_atc(b, x.scores, i * PITCH), lb_atc(b, x.s_row, 8 * i), 8);
  return x;
}

/* ---- packing ------------------------------------------------------------- */

static void swap_halves(Lb *b, Lv v[LC_W], int i, int j, const int low[LC_W],
                        const int high[LC_W]) {
  Lv a = v[i], c = v[j];
  v[i] = lb_shuffle(b, a, c, low, LC_W);
  v[j] = lb_shuffle(b, a, c, high, LC_W);
}

/* v as a 16 × 16 matrix, transposed: 4 stages of 16 shuffles, each one
** instruction on AVX-512 (unpack ps, unpack pd, and two 128-bit shuffles). */
void le_transpose(Lb *b, Lv v[LC_W]) {
  int lo[4][LC_W], hi[4][LC_W];
  for (int i = 0; i < LC_W; i++) {
    int quad = i / 4 * 4, r = i % 4, other = LC_W * (r & 1);
    lo[0][i] = quad + r / 2 + other, hi[0][i] = lo[0][i] + 2;
    lo[1][i] = quad + r % 2 + LC_W * (r / 2), hi[1][i] = lo[1][i] + 2;
    int q = i / 4;
    lo[2][i] = q % 2 * 8 + r + LC_W * (q / 2), hi[2][i] = lo[2][i] + 4;
  }
  for (int i = 0; i < LC_W; i += 2) swap_halves(b, v, i, i + 1, lo[0], hi[0]);
  for (int i = 0; i < LC_W; i += 4)
    for (int j = 0; j < 2; j++) swap_halves(b, v, i + j, i + j + 2, lo[1], hi[1]);
  /* v[4g + …] now holds, in quad q, column 4q + c(…) of rows 4g … 4g+3 */
  for (int g = 0; g < LC_W; g += 8)
    for (int j = 0; j < 4; j++) swap_halves(b, v, g + j, g + j + 4, lo[2], hi[2]);
  for (int j = 0; j < 8; j++) swap_halves(b, v, j, j + 8, lo[2], hi[2]);
  /* after the two quad stages v[i] holds column quad_of[i/4]·4 + order[i%4] */
  static const int order[4] = {0, 2, 1, 3};
  Lv out[LC_W];
  for (int i = 0; i < LC_W; i++) {
    int quad = (i / 4 & 1) | (i / 8 & 1) << 1;
    out[quad * 4 + order[i % 4]] = v[i];
  }
  for (int i = 0; i < LC_W; i++) v[i] = out[i];
}

static bool is_causal(const Attn *x) {
  return x->k->causal || x->k->varlen;
}

/* Where a query stands among the keys. */
static Lv key_of(const Attn *x, const Part *p, Lv query) {
  return p->past ? lb_add(&x->e->b, query, p->past) : query;
}

/* Where the row of key number `key` stands, or of its value. */
static Lv source_row(const Attn *x, const Part *p, Lv key, bool of_values) {
  Lb *b = &x->e->b;
  Lv at = NULL;
  for (uint32_t i = 0; i < p->n_sources; i++) {
    Lv base = of_values ? p->source[i].v : p->source[i].key;
    Lv row = i == 0 ? key : lb_sub(b, key, p->source[i].start);
    Lv here = lb_at(b, base, lb_mul(b, row, of_values ? p->source[i].v_r : p->source[i].k_r));
    at = i == 0 ? here : lb_select(b, lb_icmp(b, LLVMIntSGE, key, p->source[i].start), here, at);
  }
  return at;
}

/* k_pack[p][c][l] = key[16p + l][c], in words; moved as f32, whatever they hold.
** Rows past the last key repeat it: their scores are masked. */
static void pack_keys(const Attn *x, const Part *p) {
  Lb *b = &x->e->b;
  int64_t d = words(x->k);
  Lv last = lb_addc(b, p->n_keys, -1);
  LbLoop loop;
  Lv key = lb_for(b, &loop, lb_i64(b, 0), p->n_keys, LC_W);
  Lv row[LC_W];
  for (int i = 0; i < LC_W; i++) {
    Lv at = lb_add(b, p->key0, lb_min(b, lb_addc(b, key, i), last));
    row[i] = source_row(x, p, at, false);
  }
  Lv to = lb_at(b, x->k_pack, lb_mulc(b, key, 4 * d));
  LbLoop cols;
  Lv col = lb_for(b, &cols, lb_i64(b, 0), lb_i64(b, d), LC_W);
  Lv left = lb_sub(b, lb_i64(b, d), col), mask = d % LC_W ? lb_tail_mask(b, left) : NULL;
  Lv v[LC_W];
  for (int i = 0; i < LC_W; i++)
    v[i] = lb_load_vf(b, lb_at(b, row[i], lb_mulc(b, col, 4)), mask, NULL);
  le_transpose(b, v);
  Lv at = lb_at(b, to, lb_mulc(b, col, 64));
  for (int i = 0; i < LC_W; i++) {
    LbIf inside;
    if (mask) lb_if(b, &inside, lb_icmp(b, LLVMIntSGT, left, lb_i64(b, i)));
    lb_store_vf(b, v[i], lb_atc(b, at, 64 * i), NULL);
    if (mask) lb_end_if(b, &inside);
  }
  lb_end_for(b, &cols);
  lb_end_for(b, &loop);
}

/* v_pack[p][j][l] = v[j][16p + l], zero past dv. */
static void pack_values(const Attn *x, const Part *p) {
  Lb *b = &x->e->b;
  LbLoop loop;
  Lv j = lb_for(b, &loop, lb_i64(b, 0), p->n_keys, 1);
  Lv row = source_row(x, p, lb_add(b, p->key0, j), true);
  for (int64_t c = 0; c < panels(x->k->dv); c++) {
    int64_t left = x->k->dv - c * LC_W;
    Lv mask = left < LC_W ? lb_tail_mask(b, lb_i64(b, left)) : NULL;
    Lv at = lb_mulc(b, lb_add(b, lb_mulc(b, p->n_keys, c), j), 64);
    lb_store_vf(b, lb_load_vf(b, lb_atc(b, row, 64 * c), mask, NULL), lb_at(b, x->v_pack, at),
                NULL);
  }
  lb_end_for(b, &loop);
}

/* The same of bf16, two keys to a word: v_pack[p][j/2][l] = v[j], v[j+1][16p + l];
** an odd last key stands beside zeros. */
static void pack_value_pairs(const Attn *x, const Part *p) {
  Emit *e = x->e;
  Lb *b = &e->b;
  LbLoop loop;
  Lv pairs = le_ceil_div(e, p->n_keys, 2), last = lb_addc(b, p->n_keys, -1);
  Lv j = lb_for(b, &loop, lb_i64(b, 0), pairs, 1), even = lb_mulc(b, j, 2);
  Lv odd = lb_min(b, lb_addc(b, even, 1), last);
  Lv row[2] = {source_row(x, p, lb_add(b, p->key0, even), true),
               source_row(x, p, lb_add(b, p->key0, odd), true)};
  Lv there = lb_splat(b, lb_icmp(b, LLVMIntNE, odd, even));
  for (int64_t c = 0; c < panels(x->k->dv); c++) {
    int64_t left = x->k->dv - c * LC_W;
    Lv mask = left < LC_W ? lb_tail_mask(b, lb_i64(b, left)) : NULL;
    Lv low = le_load_bf16(e, lb_atc(b, row[0], 32 * c), mask);
    Lv high = le_load_bf16(e, lb_atc(b, row[1], 32 * c), mask);
    high = lb_select(b, there, LLVMBuildShl(b->b, high, lb_vi(b, 16), ""), lb_vi(b, 0));
    Lv at = lb_mulc(b, lb_add(b, lb_mulc(b, pairs, c), j), 64);
    lb_store(b, LLVMBuildOr(b->b, low, high, ""), lb_at(b, x->v_pack, at), 4);
  }
  lb_end_for(b, &loop);
}

static void pack(const Attn *x, const Part *p) {
  Lb *b = &x->e->b;
  Lv stale = lb_icmp(b, LLVMIntNE, lb_get(b, x->packed), p->head_id);
  Lv several = lb_icmp(b, LLVMIntSGT, p->chunks, lb_i64(b, 1));
  LbIf need;
  lb_if(b, &need, LLVMBuildOr(b->b, stale, several, ""));
  pack_keys(x, p);
  if (x->k->in == NUM_BF16)
    pack_value_pairs(x, p);
  else
    pack_values(x, p);
  lb_set(b, x->packed, p->head_id);
  lb_end_if(b, &need);
}

/* ---- one block of query rows --------------------------------------------- */

typedef struct {
  Lv tile0, n_tiles; /* of the tiles of the task */
  Lv row0, n;        /* of the rows of the task */
  Lv query;          /* row0's index among all queries */
  Lv seen;           /* keys of this chunk that some row sees */
  Lv first, last;    /* i1: the first, the last chunk that these rows see */
  Lv top, sum;       /* running maximum and sum, an f32 per row */
} Block;

/* Rows [row, end) of a block and the keys of the chunk that they see. */
typedef struct {
  LbLoop loop;
  Lv row, end, seen;
} RowTile;

static void begin_tile(const Attn *x, const Part *p, const Block *q, RowTile *t) {
  Emit *e = x->e;
  Lb *b = &e->b;
  Lv i = lb_for(b, &t->loop, q->tile0, lb_add(b, q->tile0, q->n_tiles), 1);
  t->row = lb_sub(b, le_part(e, p->n, i, p->n_tiles), q->row0);
  t->end = lb_sub(b, le_part(e, p->n, lb_addc(b, i, 1), p->n_tiles), q->row0);
  t->seen = q->seen;
  if (is_causal(x)) {
    Lv end = key_of(x, p, lb_add(b, q->query, t->end));
    t->seen = lb_min(b, q->seen, lb_sub(b, end, p->key0));
  }
}

static void end_tile(const Attn *x, RowTile *t) {
  lb_end_for(&x->e->b, &t->loop);
}

/* Panels [from, from + n) of group g. */
typedef struct {
  LbLoop loop;
  Lv from, n;
} Group;

static void begin_group(const Attn *x, Lv n_panels, Group *g) {
  Emit *e = x->e;
  Lb *b = &e->b;
  Lv groups = le_ceil_div(e, n_panels, b->target->panels);
  Lv i = lb_for(b, &g->loop, lb_i64(b, 0), groups, 1);
  g->from = le_part(e, n_panels, i, groups);
  g->n = lb_sub(b, le_part(e, n_panels, lb_addc(b, i, 1), groups), g->from);
}

static void end_group(const Attn *x, Group *g) {
  lb_end_for(&x->e->b, &g->loop);
}

/* The tile of group g and row tile t; rows, b and out are of the whole block. */
static void tile_product(const Attn *x, const Group *g, const RowTile *t, LeTile p) {
  Lb *b = &x->e->b;
  p.n_rows = lb_sub(b, t->end, t->row), p.n_panels = g->n;
  p.rows = lb_at(b, p.rows, lb_mulc(b, t->row, 8));
  p.b = lb_at(b, p.b, lb_mul(b, g->from, p.panel_bytes));
  Lv at = lb_add(b, lb_mul(b, t->row, p.out_bytes), lb_mulc(b, g->from, 4 * GEMM_PANEL));
  p.out = lb_at(b, p.out, at);
  p.ahead = p.b, p.ahead_step = lb_i64(b, 0);
  le_tile(x->e, &p);
}

static void make_scores(const Attn *x, const Part *p, const Block *q) {
  Lb *b = &x->e->b;
  LbLoop loop;
  Lv i = lb_for(b, &loop, lb_i64(b, 0), q->n, 1);
  Lv row = lb_at(b, p->q, lb_mul(b, lb_add(b, q->query, i), x->q_r));
  lb_store(b, row, lb_at(b, x->q_row, lb_mulc(b, i, 8)), 8);
  lb_end_for(b, &loop);
  Group g;
  RowTile t;
  LbIf visible;
  begin_group(x, le_ceil_div(x->e, q->seen, GEMM_PANEL), &g);
  begin_tile(x, p, q, &t);
  lb_if(b, &visible, lb_icmp(b, LLVMIntSLT, lb_mulc(b, g.from, GEMM_PANEL), t.seen));
  tile_product(x, &g, &t,
               (LeTile){.dtype = knum_dtype(x->k->in),
                        .rows = x->q_row,
                        .b = x->k_pack,
                        .panel_bytes = lb_i64(b, 64 * words(x->k)),
                        .k = lb_i64(b, x->k->d),
                        .out = x->scores,
                        .out_bytes = lb_i64(b, PITCH)});
  lb_end_if(b, &visible);
  end_tile(x, &t);
  end_group(x, &g);
}

static void multiply_values(const Attn *x, const Part *p, const Block *q) {
  Lb *b = &x->e->b;
  Group g;
  RowTile t;
  Lv steps = x->k->in == NUM_BF16 ? le_ceil_div(x->e, p->n_keys, 2) : p->n_keys;
  begin_group(x, lb_i64(b, panels(x->k->dv)), &g);
  begin_tile(x, p, q, &t);
  tile_product(x, &g, &t,
               (LeTile){.dtype = knum_dtype(x->k->in),
                        .rows = x->s_row,
                        .b = x->v_pack,
                        .panel_bytes = lb_mulc(b, steps, 4 * GEMM_PANEL),
                        .k = lb_max(b, t.seen, lb_i64(b, 0)), /* below 0 in later chunks */
                        .out = x->values,
                        .out_bytes = lb_i64(b, value_pitch(x->k))});
  end_tile(x, &t);
  end_group(x, &g);
}

/* mask[query, key … key+15] for the lanes seen; its key stride may be any. */
static Lv mask_values(const Attn *x, Lv mask_row, Lv key, Lv seen) {
  Lb *b = &x->e->b;
  Lt wide = LLVMVectorType(b->i64, LC_W);
  Lv index = LLVMBuildAdd(b->b, LLVMBuildSExt(b->b, lb_lanes(b), wide, ""), lb_splat(b, key), "");
  Lv offset = LLVMBuildMul(b->b, index, lb_splat(b, x->mask_b[3]), "");
  Lt over[2] = {b->vf, LLVMVectorType(b->ptr, LC_W)};
  Lv arg[4] = {lb_at(b, mask_row, offset), lb_i32(b, 4), seen, lb_vf(b, 0)};
  return lb_intrinsic(b, "llvm.masked.gather", 2, over, 4, arg);
}

static Lv score_row(const Attn *x, Lv i) {
  return lb_at(&x->e->b, x->scores, lb_mulc(&x->e->b, i, PITCH));
}

/* Scales and masks row i's scores in place; returns their maximum.  What the
** row does not see becomes -inf. */
static Lv mask_scores(const Attn *x, const Part *p, const Block *q, const RowTile *t, Lv i) {
  Lb *b = &x->e->b;
  Lv query = lb_add(b, q->query, i), limit = t->seen;
  if (is_causal(x))
    limit = lb_min(b, limit, lb_sub(b, lb_addc(b, key_of(x, p, query), 1), p->key0));
  Lv limits = lb_splat(b, LLVMBuildTrunc(b->b, limit, b->i32, ""));
  Lv mask_row = x->mask ? lb_at(b, p->mask, lb_mul(b, query, x->mask_b[2])) : NULL;
  Lv top = lb_var(b, b->vf, lb_vf(b, -INFINITY)), lane = lb_var(b, b->vi, lb_lanes(b));
  LbLoop loop;
  Lv key = lb_for(b, &loop, lb_i64(b, 0), t->seen, LC_W);
  Lv at = lb_at(b, score_row(x, i), lb_mulc(b, key, 4));
  Lv seen = lb_icmp(b, LLVMIntSLT, lb_get(b, lane), limits);
  Lv s = lb_fmul(b, lb_load_vf(b, at, NULL, NULL), lb_vf(b, (double)x->k->scale));
  if (mask_row) s = lb_fadd(b, s, mask_values(x, mask_row, lb_add(b, p->key0, key), seen));
  s = lb_select(b, seen, s, lb_vf(b, -INFINITY));
  lb_store_vf(b, s, at, NULL);
  lb_set(b, top, lb_fmax(b, lb_get(b, top), s));
  lb_set(b, lane, lb_add(b, lb_get(b, lane), lb_vi(b, LC_W)));
  lb_end_for(b, &loop);
  return lb_hmax(b, lb_get(b, top));
}

/* Row i's scores to exp(score - shift) in place, bf16 at half the pitch; returns
** their sum. */
static Lv exp_scores(const Attn *x, const RowTile *t, Lv i, Lv shift) {
  Lb *b = &x->e->b;
  Lv shifts = lb_splat(b, shift), sum = lb_var(b, b->vf, lb_vf(b, 0));
  LbLoop loop;
  Lv key = lb_for(b, &loop, lb_i64(b, 0), t->seen, LC_W);
  Lv at = lb_at(b, score_row(x, i), lb_mulc(b, key, 4));
  Lv s = lm_exp(b, lb_fsub(b, lb_load_vf(b, at, NULL, NULL), shifts));
  Lv to = lb_at(b, score_row(x, i), lb_mulc(b, key, in_bytes(x->k)));
  le_store_rounded(x->e, knum_dtype(x->k->in), s, to, NULL);
  lb_set(b, sum, lb_fadd(b, lb_get(b, sum), s));
  lb_end_for(b, &loop);
  return lb_hsum(b, lb_get(b, sum));
}

/* The factor on what the row has summed before, and the new maximum stored. */
static void raise_top(const Attn *x, const Block *q, Lv slot, Lv top) {
  Lb *b = &x->e->b;
  Lv at = lb_at(b, q->top, slot), lowest = lb_f32(b, -INFINITY);
  Lv new_top = lb_var(b, b->f32, top);
  LbIf again;
  lb_if(b, &again, LLVMBuildNot(b->b, q->first, ""));
  Lv old = lb_load(b, b->f32, at, 4), most = lb_fmax(b, old, top);
  lb_set(b, new_top, most);
  /* nothing seen yet: the factor falls on zeroes, but must not be NaN */
  Lv none = lb_fcmp(b, LLVMRealOEQ, most, lowest);
  Lv factor = lm_exp(b, lb_select(b, none, lowest, lb_fsub(b, old, most)));
  lb_store(b, factor, lb_at(b, x->rescale, slot), 4);
  lb_end_if(b, &again);
  lb_store(b, lb_get(b, new_top), at, 4);
}

/* All maxima come before the first exp, so that rows overlap in the pipeline. */
static void softmax_rows(const Attn *x, const Part *p, const Block *q) {
  Lb *b = &x->e->b;
  Lv zero = lb_f32(b, 0);
  RowTile t;
  LbLoop rows;
  LbIf again;
  begin_tile(x, p, q, &t);
  Lv i = lb_for(b, &rows, t.row, t.end, 1);
  raise_top(x, q, lb_mulc(b, i, 4), mask_scores(x, p, q, &t, i));
  lb_end_for(b, &rows);
  end_tile(x, &t);
  begin_tile(x, p, q, &t);
  i = lb_for(b, &rows, t.row, t.end, 1);
  Lv slot = lb_mulc(b, i, 4), at = lb_at(b, q->sum, slot);
  Lv top = lb_load(b, b->f32, lb_at(b, q->top, slot), 4);
  /* nothing seen yet: any finite shift keeps exp(-inf) at 0 */
  Lv shift = lb_select(b, lb_fcmp(b, LLVMRealOEQ, top, lb_f32(b, -INFINITY)), zero, top);
  Lv sum = lb_var(b, b->f32, exp_scores(x, &t, i, shift));
  lb_if(b, &again, LLVMBuildNot(b->b, q->first, ""));
  Lv factor = lb_load(b, b->f32, lb_at(b, x->rescale, slot), 4);
  lb_set(b, sum, lb_fma(b, lb_load(b, b->f32, at, 4), factor, lb_get(b, sum)));
  lb_end_if(b, &again);
  lb_store(b, lb_get(b, sum), at, 4);
  lb_end_for(b, &rows);
  end_tile(x, &t);
}

typedef struct {
  Lv out, part; /* a row of the result, and of its sum so far */
} OutRow;

/* The sum lies in the result itself when that is f32. */
static OutRow out_row(const Attn *x, const Part *p, const Block *q, Lv i) {
  Lb *b = &x->e->b;
  OutRow r = {.out = lb_at(b, p->out, lb_mul(b, lb_add(b, q->query, i), x->o_r))};
  Lv row = lb_mulc(b, lb_add(b, q->row0, i), value_pitch(x->k));
  r.part = x->k->out == NUM_F32 ? r.out : lb_at(b, x->parts, row);
  return r;
}

/* v to the row of out; what chunks to come are added to stays f32, in parts. */
static void store_values(const Attn *x, const Block *q, const OutRow *r, Lv c, Lv v, Lv mask) {
  Lb *b = &x->e->b;
  Lv part = lb_at(b, r->part, lb_mulc(b, c, 4));
  if (x->k->out == NUM_F32) {
    lb_store_vf(b, v, part, mask);
    return;
  }
  LbIf last;
  lb_if(b, &last, q->last);
  Lv to = lb_at(b, r->out, lb_mulc(b, c, out_bytes(x->k)));
  le_store_rounded(x->e, knum_dtype(x->k->out), v, to, mask);
  lb_else(b, &last);
  lb_store_vf(b, v, part, NULL);
  lb_end_if(b, &last);
}

/* out = (out · rescale, unless first) + scores · v, divided by the sum at last */
static void add_values(const Attn *x, const Part *p, const Block *q) {
  Lb *b = &x->e->b;
  Lv zero = lb_f32(b, 0), one = lb_f32(b, 1);
  LbLoop rows, cols;
  Lv i = lb_for(b, &rows, lb_i64(b, 0), q->n, 1), slot = lb_mulc(b, i, 4);
  OutRow r = out_row(x, p, q, i);
  Lv sum = lb_load(b, b->f32, lb_at(b, q->sum, slot), 4);
  Lv whole = lb_select(b, lb_fcmp(b, LLVMRealOEQ, sum, zero), zero, lb_fdiv(b, one, sum));
  Lv factor = lb_splat(b, lb_select(b, q->last, whole, one));
  Lv rescale = lb_splat(b, lb_load(b, b->f32, lb_at(b, x->rescale, slot), 4));
  Lv from = lb_at(b, x->values, lb_mulc(b, i, value_pitch(x->k)));
  Lv c = lb_for(b, &cols, lb_i64(b, 0), lb_i64(b, x->k->dv), LC_W), at = lb_mulc(b, c, 4);
  Lv mask = x->k->dv % LC_W ? lb_tail_mask(b, lb_sub(b, lb_i64(b, x->k->dv), c)) : NULL;
  Lv v = lb_var(b, b->vf, lb_load_vf(b, lb_at(b, from, at), NULL, NULL));
  LbIf again;
  lb_if(b, &again, LLVMBuildNot(b->b, q->first, ""));
  lb_set(b, v, lb_fma(b, lb_load_vf(b, lb_at(b, r.part, at), mask, NULL), rescale, lb_get(b, v)));
  lb_end_if(b, &again);
  store_values(x, q, &r, c, lb_fmul(b, lb_get(b, v), factor), mask);
  lb_end_for(b, &cols);
  lb_end_for(b, &rows);
}

/* ---- tasks --------------------------------------------------------------- */

/* The query rows of a task against one chunk of keys. */
static void run_chunk(const Attn *x, const Part *p) {
  Emit *e = x->e;
  Lb *b = &e->b;
  Lv blocks = le_ceil_div(e, p->n_tiles, TILES);
  LbLoop loop;
  Lv i = lb_for(b, &loop, lb_i64(b, 0), blocks, 1);
  Block q = {.tile0 = le_part(e, p->n_tiles, i, blocks)};
  Lv end = le_part(e, p->n_tiles, lb_addc(b, i, 1), blocks);
  q.n_tiles = lb_sub(b, end, q.tile0);
  q.row0 = le_part(e, p->n, q.tile0, p->n_tiles);
  q.n = lb_sub(b, le_part(e, p->n, end, p->n_tiles), q.row0);
  q.query = lb_add(b, p->first, q.row0);
  Lv slot = lb_mulc(b, q.row0, 4);
  q.top = lb_at(b, x->top, slot), q.sum = lb_at(b, x->sum, slot);
  Lv visible = p->lk;
  if (is_causal(x)) visible = lb_min(b, visible, key_of(x, p, lb_add(b, q.query, q.n)));
  q.seen = lb_min(b, p->n_keys, lb_sub(b, visible, p->key0));
  q.first = lb_icmp(b, LLVMIntEQ, p->key0, lb_i64(b, 0));
  q.last = lb_icmp(b, LLVMIntSGE, lb_add(b, p->key0, p->n_keys), visible);
  LbIf any;
  lb_if(b, &any, LLVMBuildOr(b->b, q.first, lb_icmp(b, LLVMIntSGT, q.seen, lb_i64(b, 0)), ""));
  make_scores(x, p, &q);
  softmax_rows(x, p, &q);
  multiply_values(x, p, &q);
  add_values(x, p, &q);
  lb_end_if(b, &any);
  lb_end_for(b, &loop);
}

/* Base addresses for head h; entry offsets are added by the callers. */
static void locate_head(const Attn *x, Lv h, Part *p) {
  Lb *b = &x->e->b;
  Lv d = lb_mulc(b, h, in_bytes(x->k) * x->k->d), dv = lb_mulc(b, h, in_bytes(x->k) * x->k->dv);
  p->out = lb_at(b, x->out, lb_mulc(b, h, out_bytes(x->k) * x->k->dv));
  p->q = lb_at(b, x->q, d);
  p->n_sources = x->k->n_segments;
  for (uint32_t i = 0; i < p->n_sources; i++) {
    p->source[i].start = x->segment[i].start;
    p->source[i].key = lb_at(b, x->segment[i].key, d);
    p->source[i].v = lb_at(b, x->segment[i].v, dv);
    p->source[i].k_r = x->segment[i].k_r, p->source[i].v_r = x->segment[i].v_r;
  }
}

static Part locate(const Attn *x, Lv task) {
  Emit *e = x->e;
  Lb *b = &e->b;
  Part p = {.head_id = LLVMBuildUDiv(b->b, task, x->blocks, ""), .lq = x->lq, .lk = x->lk};
  Lv block = lb_sub(b, task, lb_mul(b, p.head_id, x->blocks));
  Lv batch = lb_divc(b, p.head_id, x->k->heads), h = lb_remc(b, p.head_id, x->k->heads);
  locate_head(x, h, &p);
  p.out = lb_at(b, p.out, lb_mul(b, batch, x->o_b));
  p.q = lb_at(b, p.q, lb_mul(b, batch, x->q_b));
  for (uint32_t i = 0; i < p.n_sources; i++) {
    p.source[i].key = lb_at(b, p.source[i].key, lb_mul(b, batch, x->segment[i].k_b));
    p.source[i].v = lb_at(b, p.source[i].v, lb_mul(b, batch, x->segment[i].v_b));
  }
  if (x->mask)
    p.mask =
        lb_at(b, x->mask, lb_add(b, lb_mul(b, batch, x->mask_b[0]), lb_mul(b, h, x->mask_b[1])));
  p.first = le_part(e, x->lq, block, x->blocks);
  p.n = lb_sub(b, le_part(e, x->lq, lb_addc(b, block, 1), x->blocks), p.first);
  return p;
}

static void run_queries(const Attn *x, Part *p) {
  Emit *e = x->e;
  Lb *b = &e->b;
  LbLoop chunks;
  p->n_tiles = le_ceil_div(e, p->n, b->target->mr);
  Lv chunk = lb_for(b, &chunks, lb_i64(b, 0), p->chunks, 1);
  p->key0 = lb_mulc(b, chunk, KEYS);
  p->n_keys = lb_min(b, lb_i64(b, KEYS), lb_sub(b, p->lk, p->key0));
  pack(x, p);
  run_chunk(x, p);
  lb_end_for(b, &chunks);
}

/* ---- varlen -------------------------------------------------------------- */

static Lv bound(const Attn *x, Lv i) {
  Lb *b = &x->e->b;
  return lb_load(b, b->i64, lb_at(b, x->bounds, lb_mulc(b, i, 8)), 8);
}

void le_need_rising(Emit *e, Lv a, Lv z) {
  Lb *b = &e->b;
  LLVMBasicBlockRef stop = lb_block(b, "fault"), go = lb_block(b, "rising");
  Lv falls = lb_icmp(b, LLVMIntUGT, a, z);
  Lv below = lb_icmp(b, LLVMIntSLT, z, lb_i64(b, 0));
  LLVMBuildCondBr(b->b, LLVMBuildOr(b->b, falls, below, ""), stop, go);
  LLVMPositionBuilderAtEnd(b->b, stop);
  LLVMBuildRet(b->b, lb_i32(b, FAULT_INDEX));
  LLVMPositionBuilderAtEnd(b->b, go);
}

static Part locate_run(const Attn *x, Lv task) {
  Emit *e = x->e;
  Lb *b = &e->b;
  Lv run = lb_divc(b, task, x->k->heads), zero = lb_i64(b, 0);
  Lv from = bound(x, run), to = bound(x, lb_addc(b, run, 1)), prefix = bound(x, lb_i64(b, 1));
  le_need_rising(e, from, to);
  le_need_rising(e, to, x->lq);
  le_need_rising(e, prefix, lb_select(b, lb_icmp(b, LLVMIntEQ, run, zero), to, from));
  Part p = {.head_id = task, .lq = lb_sub(b, to, from)};
  p.past = lb_select(b, lb_icmp(b, LLVMIntEQ, run, zero), zero, prefix);
  p.lk = lb_add(b, p.past, p.lq);
  locate_head(x, lb_remc(b, task, x->k->heads), &p);
  p.source[1] = p.source[0], p.n_sources = 2;
  p.source[1].start = p.past;
  p.source[1].key = lb_at(b, p.source[1].key, lb_mul(b, from, p.source[1].k_r));
  p.source[1].v = lb_at(b, p.source[1].v, lb_mul(b, from, p.source[1].v_r));
  p.out = lb_at(b, p.out, lb_mul(b, from, x->o_r));
  p.q = lb_at(b, p.q, lb_mul(b, from, x->q_r));
  p.chunks = le_ceil_div(e, p.lk, KEYS);
  return p;
}

/* All blocks of query rows of a run. */
static void run_run(const Attn *x, Part *p) {
  Emit *e = x->e;
  Lb *b = &e->b;
  Lv blocks = le_ceil_div(e, p->lq, QUERIES);
  LbLoop loop;
  Lv i = lb_for(b, &loop, lb_i64(b, 0), blocks, 1);
  p->first = le_part(e, p->lq, i, blocks);
  p->n = lb_sub(b, le_part(e, p->lq, lb_addc(b, i, 1), blocks), p->first);
  run_queries(x, p);
  lb_end_for(b, &loop);
}

static void attention_run(Emit *e, const Kernel *kernel) {
  Lb *b = &e->b;
  Attn x = prologue(e, &kernel->attention);
  LbLoop tasks;
  Lv chunks = lb_max(b, le_ceil_div(e, x.lk, KEYS), lb_i64(b, 1));
  Lv task = lb_for(b, &tasks, e->begin, e->end, 1);
  if (x.bounds) {
    Part p = locate_run(&x, task);
    run_run(&x, &p);
  } else {
    Part p = locate(&x, task);
    p.chunks = chunks;
    run_queries(&x, &p);
  }
  lb_end_for(b, &tasks);
}

static LeShared attention_calls(const LcTarget *t, const Kernel *kernel) {
  (void)t;
  return kernel->attention.in == NUM_BF16 ? LE_TILES_BF16 : LE_TILES_F32;
}

const LcKind lc_attention = {.run = attention_run,
                             .tasks = attention_tasks,
                             .scratch = attention_scratch,
                             .calls = attention_calls};
