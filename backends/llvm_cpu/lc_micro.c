/* SPDX-License-Identifier: Apache-2.0 */
/* lc_micro.c - the register-tile kernels under GEMM and attention.
**
** One function per (rows, panels), all with the same inner step: load one
** vector per panel register, broadcast one element per row, and multiply-add
** each pair into its own accumulator, k ascending.  With 8 rows × 3 panels of
** 16 on AVX-512 (24 accumulators, 3 + 1 temporaries) the step keeps both FMA
** pipes full: 98-100 % of peak from L1, 93-99 % with B streaming from L2.  A
** tile of fewer rows gives the same bits, as rows never meet.
**
** The sum starts from zero and is stored as it is: bias and activation follow
** from the tile buffer, which costs two memory operations a vector per tile. */
#include "backends/llvm_cpu/lc_emit.h"

#include <stdio.h>

enum { UNROLL = 4, MAX_ROWS = 8, MAX_REGS = 16 };

enum { P_ROWS, P_B, P_PANEL, P_K, P_OUT, P_PITCH, P_AHEAD, P_STEP, P__COUNT };

typedef struct {
  Emit *e;
  uint32_t rows, panels, per_panel; /* registers per panel */
  VlDtype dtype;                    /* of rows and panels */
  Lt vec, word;                     /* a register of sums; what one step takes of a row */
  Lv row[MAX_ROWS];
  Lv acc[MAX_ROWS * MAX_REGS]; /* variables */
  Lv k, b;                     /* variables: bytes into a row, B's position */
} Tile;

static Lv param(const Tile *t, unsigned i) { return LLVMGetParam(t->e->b.fn, i); }

static Lt words(const Tile *t) { return LLVMVectorType(t->word, t->e->b.target->lanes); }

static Lv broadcast(const Tile *t, Lv scalar) {
  Lb *b = &t->e->b;
  Lv one = LLVMBuildInsertElement(b->b, LLVMGetPoison(words(t)), scalar, lb_i32(b, 0), "");
  Lv zeros = LLVMConstNull(LLVMVectorType(b->i32, t->e->b.target->lanes));
  return LLVMBuildShuffleVector(b->b, one, LLVMGetPoison(words(t)), zeros, "");
}

/* The word of a row at p; half of one when k is odd and ends there. */
static Lv load_word(const Tile *t, Lv p, bool half) {
  Lb *b = &t->e->b;
  if (half) return LLVMBuildZExt(b->b, lb_load(b, b->i16, p, 2), b->i32, "");
  return lb_load(b, t->word, p, (uint32_t)dtype_size(t->dtype));
}

/* One word: `u` steps past the loop's position. */
static void step(Tile *t, uint32_t u, bool half) {
  Lb *b = &t->e->b;
  uint32_t regs = t->panels * t->per_panel, lane_bytes = 64 / t->per_panel;
  Lv col[MAX_REGS];
  for (uint32_t j = 0; j < regs; j++) {
    Lv panel = lb_at(b, lb_get(b, t->b), lb_mulc(b, param(t, P_PANEL), j / t->per_panel));
    col[j] = lb_load(b, words(t), lb_atc(b, panel, 64 * u + j % t->per_panel * lane_bytes), 4);
  }
  for (uint32_t i = 0; i < t->rows; i++) {
    Lv at = lb_atc(b, lb_at(b, t->row[i], lb_get(b, t->k)), 4 * u);
    Lv a = broadcast(t, load_word(t, at, half));
    for (uint32_t j = 0; j < regs; j++) {
      Lv acc = t->acc[i * regs + j];
      Lv sum = lb_get(b, acc);
      lb_set(b, acc, t->dtype == VLPC_BF16 ? le_dot_bf16(t->e, a, col[j], sum)
                                           : lb_fma(b, a, col[j], sum));
    }
  }
}

/* Runs steps of `unroll` while they fit into `to` bytes of a row. */
static void steps(Tile *t, Lv to, uint32_t unroll, Lv ahead) {
  Lb *b = &t->e->b;
  LLVMBasicBlockRef head = lb_block(b, "k"), done = lb_block(b, "k.done");
  LLVMBuildCondBr(b->b, lb_icmp(b, LLVMIntSLT, lb_get(b, t->k), to), head, done);
  LLVMPositionBuilderAtEnd(b->b, head);
  for (uint32_t u = 0; u < unroll; u++) {
    step(t, u, false);
    if (!ahead) continue;
    lb_prefetch(b, lb_get(b, ahead), 2);
    lb_set(b, ahead, lb_at(b, lb_get(b, ahead), param(t, P_STEP)));
  }
  lb_set(b, t->b, lb_atc(b, lb_get(b, t->b), 64 * unroll));
  lb_set(b, t->k, lb_addc(b, lb_get(b, t->k), 4 * unroll));
  LLVMBuildCondBr(b->b, lb_icmp(b, LLVMIntSLT, lb_get(b, t->k), to), head, done);
  LLVMPositionBuilderAtEnd(b->b, done);
}

static void store(Tile *t) {
  Lb *b = &t->e->b;
  uint32_t regs = t->panels * t->per_panel, lane_bytes = 64 / t->per_panel;
  for (uint32_t i = 0; i < t->rows; i++) {
    Lv row = lb_at(b, param(t, P_OUT), lb_mulc(b, param(t, P_PITCH), i));
    for (uint32_t j = 0; j < regs; j++)
      lb_store(b, lb_get(b, t->acc[i * regs + j]), lb_atc(b, row, j * lane_bytes), 4);
  }
}

static void params(Lb *b, Lt type[P__COUNT]) {
  for (int i = 0; i < P__COUNT; i++) type[i] = b->i64;
  type[P_ROWS] = type[P_B] = type[P_OUT] = type[P_AHEAD] = b->ptr;
}

/* The last k of an odd number: the panels hold zeros beside it. */
static void half_step(Tile *t, Lv k) {
  Lb *b = &t->e->b;
  LbIf odd;
  lb_if(b, &odd, lb_icmp(b, LLVMIntNE, lb_remc(b, k, 2), lb_i64(b, 0)));
  step(t, 0, true);
  lb_end_if(b, &odd);
}

static Lv tile_function(Emit *e, VlDtype dtype, uint32_t rows, uint32_t panels) {
  Lb *b = &e->b;
  Tile t = {.e = e, .dtype = dtype, .rows = rows, .panels = panels,
            .per_panel = GEMM_PANEL / b->target->lanes};
  t.vec = LLVMVectorType(b->f32, b->target->lanes);
  t.word = dtype == VLPC_BF16 ? b->i32 : b->f32;
  VL_CHECK(rows <= MAX_ROWS && panels * t.per_panel <= MAX_REGS, "tile is too large");
  char name[32];
  snprintf(name, sizeof name, "tile_%s_%ux%u", dtype_name(dtype), rows, panels);
  Lt type[P__COUNT];
  params(b, type);
  Lv fn = lb_function(b, name, b->void_t, P__COUNT, type, true);
  unsigned pure[] = {P_ROWS, P_B, P_OUT};
  for (uint32_t i = 0; i < VL_COUNT(pure); i++) lb_param_attr(b, pure[i], "noalias");
  for (uint32_t i = 0; i < rows; i++)
    t.row[i] = lb_load(b, b->ptr, lb_atc(b, param(&t, P_ROWS), 8 * i), 8);
  for (uint32_t i = 0; i < rows * panels * t.per_panel; i++)
    t.acc[i] = lb_var(b, t.vec, LLVMConstNull(t.vec));
  t.k = lb_var(b, b->i64, lb_i64(b, 0));
  t.b = lb_var(b, b->ptr, param(&t, P_B));
  Lv ahead = lb_var(b, b->ptr, param(&t, P_AHEAD));
  Lv k = lb_divc(b, param(&t, P_K), 4 / (int64_t)dtype_size(dtype));
  Lv whole = LLVMBuildAnd(b->b, k, lb_i64(b, -(int64_t)UNROLL), "");
  steps(&t, lb_mulc(b, whole, 4), UNROLL, ahead);
  steps(&t, lb_mulc(b, k, 4), 1, NULL);
  if (dtype == VLPC_BF16) half_step(&t, param(&t, P_K));
  store(&t);
  LLVMBuildRetVoid(b->b);
  return fn;
}

static const char *chooser(VlDtype dtype) { return dtype == VLPC_BF16 ? "tile_bf16" : "tile"; }

void le_emit_tiles(Emit *e, VlDtype dtype) {
  Lb *b = &e->b;
  uint32_t mr = b->target->mr, np = b->target->panels;
  Lv tile[MAX_ROWS * MAX_REGS];
  for (uint32_t i = 0; i < mr * np; i++)
    tile[i] = tile_function(e, dtype, i / np + 1, i % np + 1);
  Lt type[P__COUNT + 1] = {b->i64};
  params(b, type + 1);
  Lv fn = lb_function(b, chooser(dtype), b->void_t, P__COUNT + 1, type, false);
  Lv arg[P__COUNT];
  for (unsigned i = 0; i < P__COUNT; i++) arg[i] = LLVMGetParam(fn, i + 1);
  LLVMBasicBlockRef done = lb_block(b, "out");
  Lv sw = LLVMBuildSwitch(b->b, LLVMGetParam(fn, 0), done, mr * np);
  for (uint32_t i = 0; i < mr * np; i++) {
    LLVMBasicBlockRef at = lb_block(b, "size");
    LLVMAddCase(sw, lb_i64(b, i), at);
    LLVMPositionBuilderAtEnd(b->b, at);
    lb_call(b, tile[i], P__COUNT, arg);
    LLVMBuildBr(b->b, done);
  }
  LLVMPositionBuilderAtEnd(b->b, done);
  LLVMBuildRetVoid(b->b);
}

/* The module's declaration of the chooser. */
static Lv micro_of(Emit *e, VlDtype dtype) {
  Lb *b = &e->b;
  Lv *micro = &e->micro[dtype == VLPC_BF16];
  Lt type[P__COUNT + 1] = {b->i64};
  params(b, type + 1);
  if (!*micro) *micro = lb_declare(b, chooser(dtype), b->void_t, P__COUNT + 1, type);
  return *micro;
}

void le_tile(Emit *e, const LeTile *t) {
  Lb *b = &e->b;
  Lv which = lb_add(b, lb_mulc(b, lb_addc(b, t->n_rows, -1), b->target->panels),
                    lb_addc(b, t->n_panels, -1));
  Lv arg[P__COUNT + 1] = {which};
  Lv *p = arg + 1;
  p[P_ROWS] = t->rows, p[P_B] = t->b, p[P_PANEL] = t->panel_bytes, p[P_K] = t->k;
  p[P_OUT] = t->out, p[P_PITCH] = t->out_bytes, p[P_AHEAD] = t->ahead, p[P_STEP] = t->ahead_step;
  lb_call(b, micro_of(e, t->dtype), P__COUNT + 1, arg);
}
