/* SPDX-License-Identifier: Apache-2.0 */
/* cl_gemm_library.c - kernels around a gemm whose sums another makes, of rows and in rows:
** one that turns the weight's panels into rows, and one that adds what is fused,
**   C = act(sums + bias) + residual
** where operand 1 is the sums instead of A. */
#include "backends/opencl/cl_gemm.h"
#include "backends/opencl/cl_tiles.h"

enum { LANES = 4, ITEMS = 64 };

/* Panels of W as they are; rows of A with one distance, known and no less than K. */
static bool serves(const KGemm *g) {
  bool f32 = g->in == NUM_F32 && g->out == NUM_F32;
  return f32 && !g->transposed && cl_is_one(g->g) && g->a_m.dyn < 0 && g->a_m.c >= g->k;
}

bool cl_gemm_is_library(const ClTarget *t, const KGemm *g) {
  if (t->clblast == 0 || !t->tuned || !serves(g)) return false;
  ClTuned key = cl_tuned_key(g);
  const ClTuned *r = cl_tuned_find(t->tuned, &key);
  return r && r->clblast == t->clblast;
}

uint64_t cl_gemm_sums_row(const KGemm *g) { return vl_align_up((uint64_t)g->n, LANES); }

static void library_grid(const ClTarget *t, const KGemm *g, uint64_t rows, ClGrid *out) {
  (void)t;
  out->local[0] = ITEMS, out->local[1] = 1;
  out->global[0] = vl_align_up(cl_gemm_sums_row(g) / LANES, ITEMS);
  out->global[1] = rows;
}

static void library_text(Str *s, const ClTarget *t, const KGemm *g) {
  (void)t;
  KSize gm[2] = {g->g, g->m};
  str_printf(s, "  const uint column = (uint)get_global_id(0) * %d, row = get_global_id(1);\n"
                "  if (column >= N || row >= rows) return;\n", LANES);
  cl_gemm_row(s, "c_row", "row", gm, (KSize[2]){g->c_g, g->c_m});
  if (g->has_residual) cl_gemm_row(s, "r_row", "row", gm, (KSize[2]){g->r_g, g->r_m});
  str_printf(s, "      float4 v = vload4(0, x1 + (long)row * %llu + column);\n",
             (unsigned long long)cl_gemm_sums_row(g));
  cl_gemm_finish(s, g, LANES);
}

static void unpack_text(Str *s, const KGemm *g, uint32_t i) {
  str_printf(s, "\nkernel void u%u(global const float *panels, long at, global float *to) {\n"
                "  const long column = get_global_id(0), row = get_global_id(1);\n"
                "  if (column < %lld)\n"
                "    to[row * %lld + column] =\n"
                "        panels[at + (column / 16 * %lld + row) * 16 + column %% 16];\n}\n",
             i, (long long)g->n, (long long)g->n, (long long)g->k);
}

const ClGemmWay cl_gemm_library = {.takes = cl_gemm_is_library, .grid = library_grid,
                                   .text = library_text, .beside = unpack_text};
