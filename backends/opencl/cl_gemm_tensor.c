/* SPDX-License-Identifier: Apache-2.0 */
/* cl_gemm_tensor.c - a gemm of bf16 by matrix instructions.
**
** A group makes ROWS × COLS results, each of its warps WARP_ROWS × WARP_COLS.  DEPTH of K
** of A and W lie in local memory STAGES times, so that copies run ahead; within a stage the
** chunks of 16 bytes are permuted, so that no two lanes of a read meet in a bank.  What a
** step of 16 of K multiplies is read while the step before is multiplied.
**
** The 16 × 8 results of an instruction are 16 columns of W, a panel, by 8 rows of A: a
** panel's words are pairs of K for one column as they are packed, so a lane's part of W is
** four words of it, and a lane's results are two columns beside each other.
**
** A kernel has two shapes: large tiles, which load least, where they are enough for the
** device's units, else small ones.  A result's sum is the same in both. */
#include "backends/opencl/cl_gemm.h"
#include "backends/opencl/cl_tensor.h"

typedef struct {
  uint32_t rows, cols, depth, stages, warp_rows, warp_cols;
} Shape;

static const Shape many = {128, 256, 16, 4, 64, 64}, third = {128, 192, 16, 4, 64, 48},
                   few = {64, 128, 32, 4, 32, 32}, narrow = {64, 64, 32, 4, 32, 32};
enum { DEPTH_MOST = 32, WIDE_ITEMS = 256, NARROW_ITEMS = 128, TILE_BYTES = 48 * 1024 };

static bool is_narrow(const KGemm *g) { return g->n <= narrow.cols; }

/* The fewer tiles across, the more their number matters: 768 columns of a ViT are four. */
static const Shape *large_of(const KGemm *g) {
  return g->n % third.cols == 0 && g->n <= 4 * third.cols ? &third : &many;
}

static const Shape *small_of(const KGemm *g) { return is_narrow(g) ? &narrow : &few; }

static uint32_t items_of(const KGemm *g) { return is_narrow(g) ? NARROW_ITEMS : WIDE_ITEMS; }

/* Groups across say which shape it is. */
static void tensor_grid(const ClTarget *t, const KGemm *g, uint64_t rows, ClGrid *out) {
  const Shape *x = large_of(g);
  uint64_t n = (uint64_t)g->n;
  bool enough = cl_div_up(rows, x->rows) * cl_div_up(n, x->cols) >= t->units;
  if (is_narrow(g) || !enough) x = small_of(g);
  out->local[0] = items_of(g);
  out->global[0] = cl_div_up(n, x->cols) * out->local[0];
  out->global[1] = cl_div_up(rows, x->rows);
}

/* Rows begin at 16 bytes. */
bool cl_gemm_is_tensor(const ClTarget *t, const KGemm *g) {
  const KSize stride[] = {g->c_m, g->a_m, g->c_g, g->a_g, g->r_g, g->r_m};
  if (t->tensor == TENSOR_NONE || g->in != NUM_BF16 || g->transposed) return false;
  if (g->k % DEPTH_MOST != 0 || g->n % GEMM_PANEL != 0) return false;
  for (size_t i = 0; i < VL_COUNT(stride); i++)
    if (!cl_is_multiple(stride[i], 8)) return false;
  return true;
}

static const char head[] =
    "  VL_TENSOR(ITEMS)\n"
    "  local uint4 tile[TILE_BYTES / 16];\n"
    "  const uint base = VL_LOCAL(tile);\n"
    "  const uint t = get_local_id(0), lane = t % 32, warp = t / 32;\n";

static const char places[] =
    "  enum { CHUNKS = DEPTH / 8, SLICE = DEPTH * 2, EACH_A = ROWS * CHUNKS / ITEMS,\n"
    "         EACH_W = (COLS * CHUNKS + ITEMS - 1) / ITEMS, A_BYTES = ROWS * DEPTH * 2,\n"
    "         STAGE = A_BYTES + COLS * DEPTH * 2, STEPS = DEPTH / 16, TWO = 3 - STEPS,\n"
    "         ACROSS = WARP_COLS / 16, DOWN = WARP_ROWS / 8 };\n"
    "  const uint row0 = get_global_id(1) * ROWS, panel0 = get_group_id(0) * (COLS / 16);\n"
    "  const uint down = warp / (COLS / WARP_COLS) * WARP_ROWS;\n"
    "  const uint across = warp % (COLS / WARP_COLS) * WARP_COLS;\n"
    /* chunk c of row r lies at c ^ r / (8 / CHUNKS) % CHUNKS */
    "  const uint a_to = (t / CHUNKS * CHUNKS +\n"
    "                     (t % CHUNKS ^ t / CHUNKS / (8 / CHUNKS) % CHUNKS)) * 16;\n"
    "  global const uchar *a_next = (global const uchar *)x1;\n"
    "  uint a_at[EACH_A];\n"
    /* four columns c of pair k lie at c ^ (k & 2) */
    "  const uint w_to = A_BYTES + (t / SLICE * SLICE +\n"
    "                               (t % SLICE ^ (t % SLICE / 4 & 2))) * 16;\n"
    "  global const uchar *w_next = (global const uchar *)x2 + t % SLICE * 16;\n"
    "  uint w_at[EACH_W];\n"
    "#pragma unroll\n"
    "  for (uint i = 0; i < EACH_W; i++)\n"
    "    w_at[i] = min(panel0 + t / SLICE + i * (ITEMS / SLICE), PANELS - 1u) * (WORDS * 4);\n"
    "#pragma unroll\n"
    "  for (uint i = 0; i < EACH_A; i++) {\n"
    "    const uint row = min(row0 + t / CHUNKS + i * (ITEMS / CHUNKS), rows - 1);\n";

static const char words[] =
    "#define FETCH(to) do { \\\n"
    "    _Pragma(\"unroll\") for (uint i = 0; i < EACH_A; i++) \\\n"
    "      VL_COPY16((to) + a_to + i * (ITEMS * 16), a_next + (ulong)a_at[i] * 16); \\\n"
    "    _Pragma(\"unroll\") for (uint i = 0; i < EACH_W; i++) \\\n"
    "      if (COLS * CHUNKS % ITEMS == 0 || t + i * ITEMS < COLS * CHUNKS) \\\n"
    "        VL_COPY16((to) + w_to + i * (ITEMS * 16), w_next + (ulong)w_at[i] * 16); \\\n"
    "    a_next += DEPTH * 2, w_next += DEPTH * 32; \\\n"
    "  } while (0)\n"
    "#define LOAD(one, k) do { \\\n"
    "    _Pragma(\"unroll\") for (uint p = 0; p < ACROSS; p++) { \\\n"
    "      VL_TWO(w[one][p], slot + w_from + p * (SLICE * 16) + (k) * 512); \\\n"
    "      VL_TWO(w[one][p] + 2, slot + w_from + p * (SLICE * 16) + (k) * 512 + 256); \\\n"
    "    } \\\n"
    "    _Pragma(\"unroll\") for (uint i = 0; i < DOWN / 2; i++) \\\n"
    "      VL_MATRICES(a[one][i], slot + a_from[k] + i * (CHUNKS * 256)); \\\n"
    "  } while (0)\n"
    "#define NEXT(x) x = (x) == base + (STAGES - 1) * STAGE ? base : (x) + STAGE\n";

static const char sums[] =
    "    a_at[i] = (uint)(at / 8) + t % CHUNKS;\n"
    "  }\n"
    "  float acc[ACROSS][DOWN][4];\n"
    "#pragma unroll\n"
    "  for (uint p = 0; p < ACROSS; p++)\n"
    "#pragma unroll\n"
    "    for (uint i = 0; i < DOWN; i++)\n"
    "      acc[p][i][0] = 0, acc[p][i][1] = 0, acc[p][i][2] = 0, acc[p][i][3] = 0;\n"
    "#pragma unroll\n"
    "  for (uint s = 0; s < STAGES - 1; s++) {\n"
    "    if (s * DEPTH < K) FETCH(base + s * STAGE);\n"
    "    VL_COMMIT();\n"
    "  }\n"
    "  const uint w_from = A_BYTES + (lane / 4 & 1) * 8 +\n"
    "      (across / 16 * SLICE + lane % 4 * 4 + (lane / 8 ^ (lane & 2))) * 16;\n"
    "  uint a_from[STEPS];\n"
    "#pragma unroll\n"
    "  for (uint k = 0; k < STEPS; k++) {\n"
    "    const uint r = down + lane % 8 + lane / 16 * 8, c = k * 2 + lane / 8 % 2;\n"
    "    a_from[k] = (r * CHUNKS + (c ^ r / (8 / CHUNKS) % CHUNKS)) * 16;\n"
    "  }\n"
    "  uint slot = base, next = base + (STAGES - 1) * STAGE;\n"
    "  uint w[2][ACROSS][4], a[2][DOWN / 2][4];\n"
    "  VL_ARRIVE(STAGES - 2);\n"
    "  barrier(CLK_LOCAL_MEM_FENCE);\n"
    "  LOAD(0, 0);\n"
    "  for (uint k0 = 0; k0 < K; k0 += DEPTH * TWO)\n"
    "#pragma unroll\n"
    "    for (uint u = 0; u < STEPS * TWO; u++) {\n"
    "      if (u % STEPS == 0) {\n"
    "        if (k0 + (u / STEPS + STAGES - 1) * DEPTH < K) FETCH(next);\n"
    "        VL_COMMIT();\n"
    "        NEXT(next);\n"
    "      }\n"
    "      if (u % STEPS == STEPS - 1) {\n"
    "        VL_ARRIVE(STAGES - 2);\n"
    "        barrier(CLK_LOCAL_MEM_FENCE);\n"
    "        NEXT(slot);\n"
    "      }\n"
    "      LOAD((u + 1) % 2, (u + 1) % STEPS);\n"
    "#pragma unroll\n"
    "      for (uint p = 0; p < ACROSS; p++)\n"
    "#pragma unroll\n"
    "        for (uint i = 0; i < DOWN; i++)\n"
    "          VL_MMA(acc[p][i], w[u % 2][p], a[u % 2][i / 2][i % 2 * 2],\n"
    "                 a[u % 2][i / 2][i % 2 * 2 + 1]);\n"
    "    }\n"
    "  const uint column0 = panel0 * 16 + across + lane / 4 * 2;\n";

/* Results of a few rows at a time, of which all residuals are on their way before the first
** is stored: they may be what is stored to. */
static const char batch_text[] =
    "  enum { BATCH = ACROSS == 1 ? 8 : 4 };\n"
    "#pragma unroll\n"
    "  for (uint i0 = 0; i0 < DOWN * 2; i0 += BATCH) {\n"
    "    float2 r[BATCH][ACROSS];\n";
static const char rows_text[] =
    "#pragma unroll\n"
    "    for (uint j = 0; j < BATCH; j++) {\n"
    "      const uint i = i0 + j, row = row0 + down + i / 2 * 8 + lane % 4 * 2 + i % 2;\n";
static const char columns_text[] =
    "#pragma unroll\n"
    "      for (uint p = 0; p < ACROSS; p++) {\n"
    "        const uint column = column0 + p * 16;\n";

/* Activations to about a float's precision: results are rounded to bf16, or summed with what
** was. */
static const char *activate(KAct act) {
  static const char quick[] = "v.x *= VL_RECIP(1.0f + VL_EXP2(-2.45546696f * v.x));\n"
                              "        v.y *= VL_RECIP(1.0f + VL_EXP2(-2.45546696f * v.y));\n";
  return act == ACT_GELU_QUICK ? quick : cl_gemm_act(act);
}

void cl_gemm_tensor_finish(Str *s, const KGemm *g) {
  KSize gm[2] = {g->g, g->m};
  if (g->has_bias)
    str_add(s, "  float2 bias[ACROSS];\n#pragma unroll\n  for (uint p = 0; p < ACROSS; p++)\n"
               "    bias[p] = *(global const float2 *)(x3 + min(column0 + p * 16, N - 2u));\n");
  str_add(s, batch_text);
  if (g->has_residual) {
    str_add(s, rows_text);
    cl_gemm_row(s, "r_row", "min(row, rows - 1)", gm, (KSize[2]){g->r_g, g->r_m});
    str_add(s, columns_text);
    str_printf(s, "        r[j][p] = *(global const float2 *)(x%u + r_row + min(column, N - 2u));\n"
                  "      }\n    }\n", 3u + g->has_bias);
  }
  str_add(s, rows_text);
  str_add(s, "      if (row >= rows) continue;\n");
  cl_gemm_row(s, "c_row", "row", gm, (KSize[2]){g->c_g, g->c_m});
  str_add(s, columns_text);
  str_add(s, "        if (column >= N) continue;\n"
             "        float2 v = (float2)(acc[p][i / 2][i % 2], acc[p][i / 2][i % 2 + 2]);\n");
  if (g->has_bias) str_add(s, "        v += bias[p];\n");
  if (g->act != ACT_NONE) str_printf(s, "        %s", activate(g->act));
  if (g->has_residual) str_add(s, "        v += r[j][p];\n");
  str_add(s, g->out == NUM_BF16
                 ? "        *(global uint *)(x0 + c_row + column) = VL_PAIR(v.x, v.y);\n"
                 : "        *(global float2 *)(x0 + c_row + column) = v;\n");
  str_add(s, "      }\n    }\n  }\n");
}

static void shape_text(Str *s, const KGemm *g, const Shape *x) {
  KSize gm[2] = {g->g, g->m};
  str_printf(s, "  {\n  enum { ROWS = %u, COLS = %u, DEPTH = %u, STAGES = %u, WARP_ROWS = %u, "
                "WARP_COLS = %u };\n",
             x->rows, x->cols, x->depth, x->stages, x->warp_rows, x->warp_cols);
  str_add(s, places);
  cl_gemm_row(s, "at", "row", gm, (KSize[2]){g->a_g, g->a_m});
  str_add(s, sums);
  cl_gemm_tensor_finish(s, g);
  str_add(s, "  }\n");
}

static void tensor_text(Str *s, const ClTarget *t, const KGemm *g) {
  (void)t;
  str_printf(s, "  enum { ITEMS = %u, TILE_BYTES = %d, MANY = %u };\n", items_of(g), TILE_BYTES,
             (uint32_t)cl_div_up((uint64_t)g->n, large_of(g)->cols));
  str_add(s, head);
  str_add(s, words);
  if (!is_narrow(g)) {
    str_add(s, "  if (get_num_groups(0) == MANY)\n");
    shape_text(s, g, large_of(g));
    str_add(s, "  else\n");
  }
  shape_text(s, g, small_of(g));
}

const ClGemmWay cl_gemm_tensor = {
    .takes = cl_gemm_is_tensor, .grid = tensor_grid, .text = tensor_text};
