/* SPDX-License-Identifier: Apache-2.0 */
/* lc_amx.c - products of bf16 by AMX's tile registers.
**
** A call computes up to 32 rows by 4 panels in pieces of 32 × 32: four tiles of sums, 16 × 16
** each, two of A, 16 rows × 32 k as they lie, and two of W, 16 pairs of k × 16 columns as
** they are packed.  A piece with fewer rows has lower tiles; its rows have the same bits.
**
** TDPBF16PS (Intel SDM 2) sums the even k of its 32 apart from the odd ones, each product added
** by one rounding and ascending, and adds the two sums' sum to the tile.  So bits are not those
** of VDPBF16PS.  Like that, it takes for zero what is below 2^-126. */
#include "backends/llvm_cpu/lc_emit.h"

enum { SUM, A = 4, W = 6, TILES = 8 }; /* tile registers: first sum, of A, of W */
enum { HIGH = 16, BYTES = 64 }; /* rows of a tile, and of each, 32 k of bf16 or 16 sums */

enum { P_ROWS, P_PANELS, P_A, P_A_PITCH, P_W, P_PANEL, P_K, P_OUT, P_PITCH, P__COUNT };

static Lv param(Lb *b, unsigned i) { return LLVMGetParam(b->fn, i); }

static Lv number(Lb *b, int tile) { return LLVMConstInt(b->i8, (unsigned)tile, false); }

static void load(Lb *b, int tile, Lv at, Lv pitch) {
  lb_intrinsic(b, "llvm.x86.tileloadd64", 0, NULL, 3, (Lv[]){number(b, tile), at, pitch});
}

static int sum_of(int i, int j) { return SUM + 2 * i + j; }

/* One product of 32 k, which begin at byte `at` of a row. */
static void product(Lb *b, int high, int wide, Lv at, Lv w) {
  for (int i = 0; i < high; i++)
    load(b, A + i,
         lb_at(b, param(b, P_A), lb_add(b, at, lb_mulc(b, param(b, P_A_PITCH), HIGH * i))),
         param(b, P_A_PITCH));
  for (int j = 0; j < wide; j++)
    load(b, W + j,
         lb_at(b, w, lb_add(b, lb_mulc(b, at, HIGH), lb_mulc(b, param(b, P_PANEL), j))),
         lb_i64(b, BYTES));
  for (int i = 0; i < high; i++)
    for (int j = 0; j < wide; j++)
      lb_intrinsic(b, "llvm.x86.tdpbf16ps", 0, NULL, 3,
                   (Lv[]){number(b, sum_of(i, j)), number(b, A + i), number(b, W + j)});
}

/* high × wide tiles of sums, the first panel of which is `panel`. */
static void piece(Lb *b, int high, int wide, Lv panel) {
  LbLoop loop;
  for (int i = 0; i < high; i++)
    for (int j = 0; j < wide; j++) {
      Lv tile = number(b, sum_of(i, j));
      lb_intrinsic(b, "llvm.x86.tilezero", 0, NULL, 1, &tile);
    }
  Lv w = lb_at(b, param(b, P_W), lb_mul(b, panel, param(b, P_PANEL)));
  Lv row_bytes = lb_mulc(b, param(b, P_K), 2);
  product(b, high, wide, lb_for(b, &loop, lb_i64(b, 0), row_bytes, BYTES), w);
  lb_end_for(b, &loop);
  for (int i = 0; i < high; i++)
    for (int j = 0; j < wide; j++) {
      Lv at = lb_add(b, lb_mulc(b, lb_addc(b, panel, j), BYTES),
                     lb_mulc(b, param(b, P_PITCH), HIGH * i));
      lb_intrinsic(b, "llvm.x86.tilestored64", 0, NULL, 3,
                   (Lv[]){number(b, sum_of(i, j)), lb_at(b, param(b, P_OUT), at),
                          param(b, P_PITCH)});
    }
}

/* Palette 1: bytes of a tile's row from 16 on, rows from 48 on.  A tile that is not used has one
** row. */
static void configure(Lb *b) {
  Lv at = lb_array(b, b->i64, 8), rows = param(b, P_ROWS);
  Lv upper = lb_min(b, rows, lb_i64(b, HIGH));
  Lv lower = lb_max(b, lb_addc(b, rows, -HIGH), lb_i64(b, 1));
  for (int i = 0; i < 8; i++) lb_store(b, lb_i64(b, i == 0), lb_atc(b, at, 8 * i), 8);
  for (int t = 0; t < TILES; t++) {
    bool is_lower = t == sum_of(1, 0) || t == sum_of(1, 1) || t == A + 1;
    Lv high = t >= W ? lb_i64(b, HIGH) : is_lower ? lower : upper;
    lb_store(b, LLVMConstInt(b->i16, BYTES, false), lb_atc(b, at, 16 + 2 * t), 2);
    lb_store(b, LLVMBuildTrunc(b->b, high, b->i8, ""), lb_atc(b, at, 48 + t), 1);
  }
  lb_intrinsic(b, "llvm.x86.ldtilecfg", 0, NULL, 1, &at);
}

/* high tiles over the panels, two at a time. */
static void pieces(Lb *b, int high) {
  LbLoop loop;
  LbIf two;
  Lv panel = lb_for(b, &loop, lb_i64(b, 0), param(b, P_PANELS), 2);
  lb_if(b, &two, lb_icmp(b, LLVMIntSLT, lb_addc(b, panel, 1), param(b, P_PANELS)));
  piece(b, high, 2, panel);
  lb_else(b, &two);
  piece(b, high, 1, panel);
  lb_end_if(b, &two);
  lb_end_for(b, &loop);
}

#define NAME "tile_amx"

static void params(Lb *b, Lt type[P__COUNT]) {
  for (int i = 0; i < P__COUNT; i++) type[i] = b->i64;
  type[P_A] = type[P_W] = type[P_OUT] = b->ptr;
}

void le_emit_amx(Emit *e) {
  Lb *b = &e->b;
  LbIf below;
  Lt type[P__COUNT];
  params(b, type);
  lb_function(b, NAME, b->void_t, P__COUNT, type, false);
  configure(b);
  lb_if(b, &below, lb_icmp(b, LLVMIntSGT, param(b, P_ROWS), lb_i64(b, HIGH)));
  pieces(b, 2);
  lb_else(b, &below);
  pieces(b, 1);
  lb_end_if(b, &below);
  LLVMBuildRetVoid(b->b);
}

void le_amx_tile(Emit *e, const LeAmxTile *t) {
  Lv arg[P__COUNT];
  Lt type[P__COUNT];
  params(&e->b, type);
  if (!e->amx) e->amx = lb_declare(&e->b, NAME, e->b.void_t, P__COUNT, type);
  arg[P_ROWS] = t->n_rows, arg[P_PANELS] = t->n_panels;
  arg[P_A] = t->a, arg[P_A_PITCH] = t->a_bytes;
  arg[P_W] = t->w, arg[P_PANEL] = t->panel_bytes, arg[P_K] = t->k;
  arg[P_OUT] = t->out, arg[P_PITCH] = t->out_bytes;
  lb_call(&e->b, e->amx, P__COUNT, arg);
}

void le_amx_release(Emit *e) {
  lb_intrinsic(&e->b, "llvm.x86.tilerelease", 0, NULL, 0, NULL);
}
