/* SPDX-License-Identifier: Apache-2.0 */
/* lc_gemm.c - C = act(A·W + bias) + residual over packed panels of W.
**
** A task is one group of panels (48 columns on AVX-512) by one block of at
** most ROWS rows.  Two neighbouring blocks share a group before the next group
** comes, so a group is read from memory once per 2·ROWS rows and stays in L2
** while A streams by:
**
**   for each pair of blocks      tasks are numbered in this order, so a thread
**     for each group             that takes a run of them finds its group hot
**       for each block of the pair
**
** Where there are just two blocks they come one after the other: two threads then have rows of
** their own, whose products the next kernel finds in the same core's cache (B/16, one image, two
** threads of a Xeon: 4 % less).
**
** While a tile runs it may fetch its share of the next group.  Without that the
** first tile of each group waits on memory: 77-85 % of peak at 50 rows instead
** of 92-98 %.  Rows of a block are cut into tiles of nearly equal height (50 =
** 6·7 + 8): thin tiles would be bound by loads.  A is not packed and K is not
** blocked: both were measured slower at K <= 3072.
**
** With bf16 and AMX, tiles are those of lc_amx.c, of another size.
**
** With transposed, a group's panels are turned into scratch, 16 × 16 at a time,
** when a task comes to it first; the blocks after it, four instead of two, find
** them there. */
#include "backends/llvm_cpu/lc_emit.h"

enum {
  ROWS = 104,
  AMX_ROWS = 4 * LE_AMX_ROWS,
  FETCH_TILES = 12,
  TURNED_BLOCKS = 4,
  TURNED_PANELS = 3
};

/* How C is cut: most rows and panels of a tile, most rows of a block. */
typedef struct {
  uint32_t rows, panels, block;
  bool amx;
} Cut;

static Cut cut_of(const LcTarget *t, const KGemm *k) {
  bool amx = t->has_amx && knum_dtype(k->in) == VLPC_BF16 && k->k % LE_AMX_K == 0;
  return amx ? (Cut){LE_AMX_ROWS, LE_AMX_PANELS, AMX_ROWS, true}
             : (Cut){t->mr, t->panels, ROWS, false};
}

typedef struct {
  Emit *e;
  const KGemm *k;
  Lv m, rows, blocks; /* rows of a batch entry, all rows, row blocks */
  int64_t panels, groups, panel_bytes;
  Lv c, a, w, bias, res;
  Lv c_g, c_m, a_g, a_m, r_g, r_m; /* bytes */
  Lv a_row, c_row, r_row;          /* arrays of a block's pointers */
  Cut cut;
  Lv tile; /* the floats of one */
  Lv turned;                       /* variable: first panel of the group in scratch */
} Gemm;

static int64_t n_groups(Emit *e, const KGemm *k) {
  int64_t panels = (k->n + GEMM_PANEL - 1) / GEMM_PANEL, wide = cut_of(e->b.target, k).panels;
  return (panels + wide - 1) / wide;
}

static Lv gemm_tasks(Emit *e, const Kernel *kernel) {
  const KGemm *k = &kernel->gemm;
  Lv rows = lb_mul(&e->b, le_size(e, k->g), le_size(e, k->m));
  return lb_mulc(&e->b, le_ceil_div(e, rows, cut_of(e->b.target, k).block), n_groups(e, k));
}

static Gemm prologue(Emit *e, const KGemm *k) {
  Lb *b = &e->b;
  Gemm x = {.e = e, .k = k, .cut = cut_of(b->target, k),
            .panels = (k->n + GEMM_PANEL - 1) / GEMM_PANEL};
  x.groups = n_groups(e, k);
  VlDtype in = knum_dtype(k->in), out = knum_dtype(k->out);
  x.panel_bytes = gemm_panel_elements(k) / x.panels * (int64_t)dtype_size(in);
  x.m = le_size(e, k->m);
  x.rows = lb_mul(b, le_size(e, k->g), x.m);
  x.blocks = le_ceil_div(e, x.rows, x.cut.block);
  x.c = le_operand(e, 0), x.a = le_operand(e, 1), x.w = le_operand(e, 2);
  if (k->has_bias) x.bias = le_operand(e, 3);
  if (k->has_residual) x.res = le_operand(e, 3 + k->has_bias);
  x.c_g = le_bytes_of(e, k->c_g, out), x.c_m = le_bytes_of(e, k->c_m, out);
  x.a_g = le_bytes_of(e, k->a_g, in), x.a_m = le_bytes_of(e, k->a_m, in);
  x.r_g = le_bytes(e, k->r_g), x.r_m = le_bytes(e, k->r_m);
  x.a_row = lb_array(b, b->ptr, x.cut.block), x.c_row = lb_array(b, b->ptr, x.cut.block);
  if (k->has_residual) x.r_row = lb_array(b, b->ptr, x.cut.block);
  x.tile = lb_array(b, b->f32, x.cut.rows * x.cut.panels * GEMM_PANEL);
  if (k->transposed) x.turned = lb_var(b, b->i64, lb_i64(b, -1));
  return x;
}

/* Addresses of rows [first, first + n). */
static void list_rows(const Gemm *x, Lv first, Lv n) {
  Emit *e = x->e;
  Lb *b = &e->b;
  LeRows r = le_rows_at(e, first, x->m);
  LbLoop loop;
  Lv i = lb_for(b, &loop, lb_i64(b, 0), n, 1);
  Lv slot = lb_mulc(b, i, 8);
  lb_store(b, lb_at(b, x->a, le_row_offset(e, &r, x->a_g, x->a_m)), lb_at(b, x->a_row, slot), 8);
  lb_store(b, lb_at(b, x->c, le_row_offset(e, &r, x->c_g, x->c_m)), lb_at(b, x->c_row, slot), 8);
  if (x->r_row)
    lb_store(b, lb_at(b, x->res, le_row_offset(e, &r, x->r_g, x->r_m)), lb_at(b, x->r_row, slot),
             8);
  le_rows_next(e, &r);
  lb_end_for(b, &loop);
}

/* From one row of the tile to the next. */
static int64_t tile_bytes(const Gemm *x) { return 4 * GEMM_PANEL * (int64_t)x->cut.panels; }

/* One row of the tile at hand, and where it goes. */
typedef struct {
  Lv from, to, res; /* in the tile buffer, in C, in the residual (or NULL) */
  Lv panel0;        /* first panel of the tile */
} OutRow;

typedef void PanelFn(const Gemm *x, const OutRow *r, Lv j); /* j-th panel of the row */

/* Of a panel in a row of C. */
static int64_t out_bytes(const Gemm *x) {
  return GEMM_PANEL * (int64_t)dtype_size(knum_dtype(x->k->out));
}

/* Where the result goes and what is added to it is asked for before the tile
** runs: short pieces of far-apart rows are nothing a prefetcher sees. */
static void fetch_panel(const Gemm *x, const OutRow *r, Lv j) {
  Lb *b = &x->e->b;
  Lv panel = lb_add(b, r->panel0, j), at = lb_mulc(b, panel, 4 * GEMM_PANEL);
  lb_prefetch(b, lb_at(b, r->to, lb_mulc(b, panel, out_bytes(x))), 3);
  if (r->res) lb_prefetch(b, lb_at(b, r->res, at), 3);
}

/* Bias, activation and residual on the way out. */
static void finish_panel(const Gemm *x, const OutRow *r, Lv j) {
  Lb *b = &x->e->b;
  Lv panel = lb_add(b, r->panel0, j), at = lb_mulc(b, panel, 4 * GEMM_PANEL), mask = NULL;
  if (x->k->n % GEMM_PANEL != 0)
    mask = lb_tail_mask(b, lb_sub(b, lb_i64(b, x->k->n), lb_mulc(b, panel, GEMM_PANEL)));
  Lv v = lb_load_vf(b, lb_at(b, r->from, lb_mulc(b, j, 4 * GEMM_PANEL)), NULL, NULL);
  if (x->bias) v = lb_fadd(b, v, lb_load_vf(b, lb_at(b, x->bias, at), NULL, NULL));
  v = le_activate(x->e, x->k->act, v);
  if (r->res) v = lb_fadd(b, v, lb_load_vf(b, lb_at(b, r->res, at), mask, NULL));
  Lv to = lb_at(b, r->to, lb_mulc(b, panel, out_bytes(x)));
  le_store_rounded(x->e, knum_dtype(x->k->out), v, to, mask);
}

/* A full group is unrolled unless fn is long; others loop. */
static void each_panel(const Gemm *x, const OutRow *r, Lv n_panels, PanelFn *fn) {
  Lb *b = &x->e->b;
  int64_t wide = x->cut.panels;
  bool is_long = fn == finish_panel && x->k->act != ACT_NONE;
  LbIf full;
  LbLoop loop;
  if (!is_long) {
    lb_if(b, &full, lb_icmp(b, LLVMIntEQ, n_panels, lb_i64(b, wide)));
    for (int64_t j = 0; j < wide; j++) fn(x, r, lb_i64(b, j));
    lb_else(b, &full);
  }
  fn(x, r, lb_for(b, &loop, lb_i64(b, 0), n_panels, 1));
  lb_end_for(b, &loop);
  if (!is_long) lb_end_if(b, &full);
}

static void each_row(const Gemm *x, Lv row0, Lv n_rows, Lv panel0, Lv n_panels, PanelFn *fn) {
  Lb *b = &x->e->b;
  LbLoop rows;
  Lv i = lb_for(b, &rows, lb_i64(b, 0), n_rows, 1);
  Lv slot = lb_mulc(b, lb_add(b, row0, i), 8);
  OutRow r = {.from = lb_at(b, x->tile, lb_mulc(b, i, tile_bytes(x))), .panel0 = panel0};
  r.to = lb_load(b, b->ptr, lb_at(b, x->c_row, slot), 8);
  if (x->r_row) r.res = lb_load(b, b->ptr, lb_at(b, x->r_row, slot), 8);
  each_panel(x, &r, n_panels, fn);
  lb_end_for(b, &rows);
}

typedef struct {
  Lv first, n;        /* rows of this block */
  Lv panel, n_panels; /* of this group */
  Lv next;            /* address of the next group */
  Lv share, shares;   /* this block's place among the blocks of the pair */
} Task;

/* Task t in the order of the file head. */
static Task locate(const Gemm *x, Lv t) {
  Emit *e = x->e;
  Lb *b = &e->b;
  Task k = {0};
  Lv two = lb_icmp(b, LLVMIntEQ, x->blocks, lb_i64(b, 2));
  Lv set = x->k->transposed ? lb_i64(b, TURNED_BLOCKS)
                            : lb_select(b, two, lb_i64(b, 1), lb_i64(b, 2));
  Lv in_set = lb_mulc(b, set, x->groups), nth = LLVMBuildUDiv(b->b, t, in_set, "");
  Lv left = lb_sub(b, t, lb_mul(b, nth, in_set)), block0 = lb_mul(b, nth, set);
  k.shares = lb_min(b, set, lb_sub(b, x->blocks, block0));
  Lv group = LLVMBuildUDiv(b->b, left, k.shares, "");
  k.share = lb_sub(b, left, lb_mul(b, group, k.shares));
  Lv block = lb_add(b, block0, k.share);
  k.first = le_part(e, x->rows, block, x->blocks);
  k.n = lb_sub(b, le_part(e, x->rows, lb_addc(b, block, 1), x->blocks), k.first);
  Lv groups = lb_i64(b, x->groups), panels = lb_i64(b, x->panels);
  k.panel = le_part(e, panels, group, groups);
  Lv after = le_part(e, panels, lb_addc(b, group, 1), groups);
  k.n_panels = lb_sub(b, after, k.panel);
  Lv has_next = lb_icmp(b, LLVMIntSLT, after, panels);
  k.next = lb_at(b, x->w, lb_mulc(b, lb_select(b, has_next, after, k.panel), x->panel_bytes));
  return k;
}

/* The part of the next group that tile i of n fetches: one line a step, some of them twice.
** Only the last tiles before the group's turn fetch: what comes sooner may leave L2 again. */
static void fetch_ahead(const Gemm *x, const Task *k, Lv i, Lv n, LeTile *tile) {
  Lb *b = &x->e->b;
  int64_t steps = VL_MAX(x->panel_bytes / 64, 1);
  Lv bytes = lb_i64(b, x->panel_bytes * x->cut.panels), none = lb_i64(b, 0);
  Lv tiles = lb_mul(b, n, k->shares), parts = lb_min(b, tiles, lb_i64(b, FETCH_TILES));
  Lv at = lb_add(b, lb_mul(b, k->share, n), i), part = lb_sub(b, lb_add(b, at, parts), tiles);
  Lv from = le_part(x->e, bytes, lb_max(b, part, none), parts);
  Lv to = le_part(x->e, bytes, lb_max(b, lb_addc(b, part, 1), none), parts);
  tile->ahead = lb_at(b, k->next, from);
  tile->ahead_step = le_ceil_div(x->e, lb_sub(b, to, from), steps);
}

/* One block: 16 rows of W, which are output columns, of one of its panels. */
static void turn_block(const Gemm *x, Lv panel, Lv depth, Lv to) {
  Lb *b = &x->e->b;
  int64_t k = x->k->k, n = x->k->n;
  Lv v[LC_W], first = lb_mulc(b, panel, GEMM_PANEL), from = lb_mulc(b, depth, 4 * n);
  for (int i = 0; i < LC_W; i++) {
    Lv row = lb_min(b, lb_addc(b, first, i), lb_i64(b, n - 1)); /* past n: nobody's columns */
    v[i] = lb_load_vf(b, lb_at(b, x->w, lb_add(b, from, lb_mulc(b, row, 64))), NULL, NULL);
  }
  le_transpose(b, v);
  Lv at = lb_at(b, to, lb_mulc(b, depth, 64));
  for (int i = 0; i < LC_W; i++) {
    LbIf inside;
    bool may_end = k % GEMM_PANEL != 0 && k % GEMM_PANEL <= i;
    if (may_end) lb_if(b, &inside, lb_icmp(b, LLVMIntSLT, lb_addc(b, depth, i), lb_i64(b, k)));
    lb_store_vf(b, v[i], lb_atc(b, at, 64 * i), NULL);
    if (may_end) lb_end_if(b, &inside);
  }
}

/* The group's panels as an ordinary gemm has them, in scratch. */
static void turn_group(const Gemm *x, const Task *k) {
  Lb *b = &x->e->b;
  LbIf stale;
  LbLoop panels, depths;
  lb_if(b, &stale, lb_icmp(b, LLVMIntNE, lb_get(b, x->turned), k->panel));
  Lv j = lb_for(b, &panels, lb_i64(b, 0), k->n_panels, 1);
  Lv to = lb_at(b, x->e->scratch, lb_mulc(b, j, 64 * x->k->k));
  Lv depth = lb_for(b, &depths, lb_i64(b, 0), lb_i64(b, x->k->k), GEMM_PANEL);
  turn_block(x, lb_add(b, k->panel, j), depth, to);
  lb_end_for(b, &depths);
  lb_end_for(b, &panels);
  lb_set(b, x->turned, k->panel);
  lb_end_if(b, &stale);
}

static uint64_t gemm_scratch(const Kernel *kernel) {
  const KGemm *k = &kernel->gemm;
  return k->transposed ? (uint64_t)(4 * GEMM_PANEL * TURNED_PANELS * k->k) : 0;
}

/* Rows [row0, row0 + n_rows) of the block, by vectors; tile i of n. */
static void vector_tile(const Gemm *x, const Task *k, Lv i, Lv n, Lv row0, Lv n_rows) {
  Emit *e = x->e;
  Lb *b = &e->b;
  LeTile tile = {.dtype = knum_dtype(x->k->in),
                 .n_rows = n_rows,
                 .n_panels = k->n_panels,
                 .rows = lb_at(b, x->a_row, lb_mulc(b, row0, 8)),
                 .b = x->turned ? e->scratch
                                : lb_at(b, x->w, lb_mulc(b, k->panel, x->panel_bytes)),
                 .panel_bytes = lb_i64(b, x->panel_bytes),
                 .k = lb_i64(b, x->k->k),
                 .out = x->tile,
                 .out_bytes = lb_i64(b, tile_bytes(x))};
  fetch_ahead(x, k, i, n, &tile);
  each_row(x, row0, n_rows, k->panel, k->n_panels, fetch_panel);
  le_tile(e, &tile);
}

/* The same by AMX, which wants rows at one distance: those of a batch entry, one entry after
** the other unless all have it. */
static void amx_tile(const Gemm *x, const Task *k, Lv row0, Lv n_rows) {
  Lb *b = &x->e->b;
  LbLoop loop;
  Lv single = lb_icmp(b, LLVMIntEQ, x->m, lb_i64(b, 1));
  Lv even = lb_icmp(b, LLVMIntEQ, x->a_g, lb_mul(b, x->m, x->a_m));
  Lv all = LLVMBuildOr(b->b, single, even, "");
  Lv run = lb_select(b, all, x->rows, x->m);
  Lv first = lb_add(b, k->first, row0), end = lb_add(b, first, n_rows);
  Lv g0 = LLVMBuildUDiv(b->b, first, run, "");
  Lv g1 = lb_addc(b, LLVMBuildUDiv(b->b, lb_addc(b, end, -1), run, ""), 1);
  Lv g = lb_for(b, &loop, g0, g1, 1);
  Lv from = lb_sub(b, lb_max(b, first, lb_mul(b, g, run)), first);
  Lv to = lb_sub(b, lb_min(b, end, lb_mul(b, lb_addc(b, g, 1), run)), first);
  Lv at = lb_at(b, x->a_row, lb_mulc(b, lb_add(b, row0, from), 8));
  le_amx_tile(x->e, &(LeAmxTile){.n_rows = lb_sub(b, to, from),
                                 .n_panels = k->n_panels,
                                 .a = lb_load(b, b->ptr, at, 8),
                                 .a_bytes = lb_select(b, single, x->a_g, x->a_m),
                                 .w = lb_at(b, x->w, lb_mulc(b, k->panel, x->panel_bytes)),
                                 .panel_bytes = lb_i64(b, x->panel_bytes),
                                 .k = lb_i64(b, x->k->k),
                                 .out = lb_at(b, x->tile, lb_mulc(b, from, tile_bytes(x))),
                                 .out_bytes = lb_i64(b, tile_bytes(x))});
  lb_end_for(b, &loop);
}

static void run_task(const Gemm *x, const Task *k) {
  Emit *e = x->e;
  Lb *b = &e->b;
  list_rows(x, k->first, k->n);
  if (x->turned) turn_group(x, k);
  Lv n_tiles = le_ceil_div(e, k->n, x->cut.rows);
  LbLoop loop;
  Lv i = lb_for(b, &loop, lb_i64(b, 0), n_tiles, 1);
  Lv row0 = le_part(e, k->n, i, n_tiles);
  Lv n_rows = lb_sub(b, le_part(e, k->n, lb_addc(b, i, 1), n_tiles), row0);
  if (x->cut.amx) amx_tile(x, k, row0, n_rows);
  else vector_tile(x, k, i, n_tiles, row0, n_rows);
  each_row(x, row0, n_rows, k->panel, k->n_panels, finish_panel);
  lb_end_for(b, &loop);
}

static void gemm_run(Emit *e, const Kernel *kernel) {
  Gemm x = prologue(e, &kernel->gemm);
  LbLoop loop;
  Lv t = lb_for(&e->b, &loop, e->begin, e->end, 1);
  Task k = locate(&x, t);
  run_task(&x, &k);
  lb_end_for(&e->b, &loop);
  if (x.cut.amx) le_amx_release(e);
}

static LeShared gemm_calls(const LcTarget *t, const Kernel *kernel) {
  if (cut_of(t, &kernel->gemm).amx) return LE_TILES_AMX;
  return kernel->gemm.in == NUM_BF16 ? LE_TILES_BF16 : LE_TILES_F32;
}

const LcKind lc_gemm = {
    .run = gemm_run, .tasks = gemm_tasks, .scratch = gemm_scratch, .calls = gemm_calls};
