/* SPDX-License-Identifier: Apache-2.0 */
/* lc_emit.h - what the kernel emitters share.
**
** An emitter fills two functions of the code ABI (runtime/code.h): run, which
** does a range of tasks, and tasks, which counts them.  Each kernel is a module of its own,
** and so are the GEMM micro-kernels, which the kernels of an image share. */
#ifndef VLPC_BACKENDS_LLVM_CPU_LC_EMIT_H
#define VLPC_BACKENDS_LLVM_CPU_LC_EMIT_H

#include "backends/llvm_cpu/lc_build.h"
#include "ir/kernel.h"

typedef struct {
  Lb b;
  Lv micro[2]; /* the tile functions below, of f32 and bf16; NULL until first used */
  Lv amx;      /* that of AMX */
  Lv operands, sizes, begin, end, scratch; /* of the function being filled */
} Emit;

/* What kernels call in another module of the image. */
typedef enum { LE_NOTHING, LE_TILES_F32, LE_TILES_BF16, LE_TILES_AMX, LE_SHARED__END } LeShared;

/* One row per kernel kind.  run emits the body of the run function for all
** tasks and falls through at its end; faults return inside. */
typedef struct {
  void (*run)(Emit *, const Kernel *);
  Lv (*tasks)(Emit *, const Kernel *);
  uint64_t (*scratch)(const Kernel *); /* bytes per thread; NULL: none */
  LeShared (*calls)(const LcTarget *, const Kernel *); /* NULL: nothing */
} LcKind;

extern const LcKind lc_gemm, lc_attention, lc_attention_grad, lc_layernorm, lc_layernorm_grad,
    lc_softmax, lc_l2norm, lc_loops, lc_scan, lc_topk;

/* lc_emit.c */

/* The value of a size, as i64.  Call it before loops: it may be a load. */
Lv le_size(Emit *e, KSize s);
Lv le_bytes_of(Emit *e, KSize stride, VlDtype d);
Lv le_bytes(Emit *e, KSize stride); /* of an f32 stride */
Lv le_operand(Emit *e, uint32_t i);
/* ceil(a / c), a >= 0 */
Lv le_ceil_div(Emit *e, Lv a, int64_t c);
/* Start of part i of n when `total` is cut into n nearly equal parts. */
Lv le_part(Emit *e, Lv total, Lv i, Lv n);

/* Two-level rows, walked in ascending order: row r is (r / m, r % m). */
typedef struct {
  Lv g, i; /* variables */
  Lv m;
} LeRows;
LeRows le_rows_at(Emit *e, Lv row, Lv m);
Lv le_row_offset(Emit *e, const LeRows *r, Lv g_bytes, Lv m_bytes);
void le_rows_next(Emit *e, LeRows *r);

/* v as a 16 × 16 matrix, transposed (lc_attention.c). */
void le_transpose(Lb *b, Lv v[LC_W]);

/* Stops the kernel unless 0 <= a <= z (lc_attention.c). */
void le_need_rising(Emit *e, Lv a, Lv z);

/* act(x) on LC_W lanes. */
Lv le_activate(Emit *e, KAct act, Lv x);

/* lc_reach.c: the body of the reach function of the code ABI. */
void le_reach(Emit *e, const Kernel *k, Lv lo_hi);

/* lc_micro.c: one tile of A·B.
** out[i][16p + l] = Σ_k rows[i][k] · b[p·panel_bytes + 64k + 4l], k ascending,
** for i < n_rows (1 … target->mr) and p < n_panels (1 … target->panels).  The
** order of the sum depends on nothing else.  With bf16, k goes by pairs that
** share 4 bytes in rows and b, the odd one of a pair first. */
typedef struct {
  VlDtype dtype; /* of rows and b: f32 or bf16 */
  Lv n_rows, n_panels;
  Lv rows; /* array of n_rows pointers */
  Lv b, panel_bytes, k;
  Lv out, out_bytes; /* row pitch of out */
  Lv ahead, ahead_step; /* the cache line at ahead, + step every k, is fetched
                           towards L2; any address is fine */
} LeTile;
void le_tile(Emit *e, const LeTile *t);
void le_emit_tiles(Emit *e, VlDtype dtype); /* what le_tile calls: a module */

/* lc_amx.c: the same of bf16 by AMX, for k a multiple of LE_AMX_K and rows that lie a_bytes
** apart: out as above for n_rows of 1 … LE_AMX_ROWS, n_panels of 1 … LE_AMX_PANELS, in
** another order of sums, which depends on nothing else either. */
enum { LE_AMX_ROWS = 32, LE_AMX_PANELS = 4, LE_AMX_K = 32 };
typedef struct {
  Lv n_rows, n_panels;
  Lv a, a_bytes;
  Lv w, panel_bytes, k;
  Lv out, out_bytes;
} LeAmxTile;
void le_amx_tile(Emit *e, const LeAmxTile *t);
void le_emit_amx(Emit *e); /* what le_amx_tile calls: a module */
void le_amx_release(Emit *e); /* after the last tile of a function */

/* lc_bf16.c */
/* sum + a[1]·w[1] + a[0]·w[0], in this order, rounded after each, for pairs of
** bf16 in words of 32 bits. */
Lv le_dot_bf16(Emit *e, Lv a, Lv w, Lv sum);
/* LC_W bf16 as 32-bit integers, the bf16 in the low half; masked-off lanes are 0. */
Lv le_load_bf16(Emit *e, Lv p, Lv mask);
/* LC_W floats rounded to bf16, as 16-bit integers, and stored. */
Lv le_bf16(Emit *e, Lv v);
void le_store_rounded(Emit *e, VlDtype d, Lv v, Lv p, Lv mask);

#endif
