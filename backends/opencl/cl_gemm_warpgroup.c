/* SPDX-License-Identifier: Apache-2.0 */
/* cl_gemm_warpgroup.c - a gemm of bf16 by the instructions of warpgroups.
**
** A group is three warpgroups of 128 work-items, each of which makes ROWS rows of 64 columns:
** side by side, so that all read the same rows of A, or one below the other.  DEPTH of K of
** A lie in local memory, STAGES times, so that copies run ahead.  W never does: an
** instruction takes 16 columns, a panel, from each warp's registers, and no two warps of
** those side by side want the same words.  They are loaded SLOTS - 1 steps of 16 of K ahead.
**
** Instructions run in the background: one is given while the one before is at work, and what
** that one read may be written when both are told apart by VL_WG_DONE.
**
** A kernel has three shapes; the first whose tiles are enough for the device's units is
** taken.  A result's sum is the same in all. */
#include "backends/opencl/cl_gemm.h"
#include "backends/opencl/cl_tensor.h"

enum {
  WARPGROUPS = 3,
  ITEMS = WARPGROUPS * 128,
  COLS = 64, /* of a warpgroup */
  DEPTH = 32,
  TILE_BYTES = 48 * 1024,
  SLOTS_MOST = 8,
};

typedef struct {
  uint32_t rows, across; /* of a warpgroup; warpgroups side by side */
} Shape;

static const Shape shapes[] = {
    {CL_WG_MANY, WARPGROUPS}, {CL_WG_SOME, WARPGROUPS}, {CL_WG_FEW, 1}};

static uint32_t tile_rows(const Shape *x) { return x->rows * (WARPGROUPS / x->across); }

static uint64_t tiles_across(const Shape *x, const KGemm *g) {
  return cl_div_up((uint64_t)g->n, COLS * x->across);
}

static void warpgroup_grid(const ClTarget *t, const KGemm *g, uint64_t rows, ClGrid *out) {
  const Shape *x = shapes, *last = shapes + VL_COUNT(shapes) - 1;
  while (x < last && cl_div_up(rows, tile_rows(x)) * tiles_across(x, g) < t->units) x++;
  out->local[0] = ITEMS;
  out->global[0] = tiles_across(x, g) * ITEMS;
  out->global[1] = cl_div_up(rows, tile_rows(x));
}

static bool is_warpgroup(const ClTarget *t, const KGemm *g) {
  return t->warpgroups && cl_gemm_is_tensor(t, g);
}

static const char head[] =
    "  VL_TENSOR(ITEMS)\n"
    "  local uint4 tile[TILE_BYTES / 16] __attribute__((aligned(1024)));\n"
    "  const uint base = VL_LOCAL(tile);\n"
    "  const uint t = get_local_id(0), lane = t % 32, warp = t / 32;\n";

static const char places[] =
    "  enum { TILE_ROWS = ROWS * (ITEMS / 128 / WIDE), STAGE = TILE_ROWS * DEPTH * 2,\n"
    "         STAGES = TILE_BYTES / STAGE, CHUNKS = DEPTH / 8, STEPS = DEPTH / 16,\n"
    "         COPIES = TILE_ROWS * CHUNKS / ITEMS, ACROSS = 1, DOWN = ROWS / 8 };\n"
    "  const uint row0 = get_global_id(1) * TILE_ROWS, down = warp / 4 / WIDE * ROWS;\n"
    "  const uint panel = get_group_id(0) * (4 * WIDE) + warp / 4 % WIDE * 4 + warp % 4;\n"
    /* chunk c of row r lies at c ^ r / 2 % 4 */
    "  const uint to = (t / CHUNKS * CHUNKS + (t % CHUNKS ^ t / CHUNKS / 2 % CHUNKS)) * 16;\n"
    "  global const uchar *a_next = (global const uchar *)x1;\n"
    "  global const uchar *w_next = (global const uchar *)x2 + lane % 4 * 64 + lane / 4 * 8 +\n"
    "                               (ulong)min(panel, PANELS - 1u) * (WORDS * 64);\n"
    "  uint a_at[COPIES];\n"
    "#pragma unroll\n"
    "  for (uint i = 0; i < COPIES; i++) {\n"
    "    const uint row = min(row0 + t / CHUNKS + i * (ITEMS / CHUNKS), rows - 1);\n";

static const char words[] =
    "#define FETCH(slot) do { \\\n"
    "    _Pragma(\"unroll\") for (uint i = 0; i < COPIES; i++) \\\n"
    "      VL_COPY16((slot) + to + i * (ITEMS * 16), a_next + (ulong)a_at[i] * 16); \\\n"
    "    a_next += DEPTH * 2; \\\n"
    "  } while (0)\n"
    "#define TAKE(one, step) do { \\\n"
    "    const uint2 low = *(global const uint2 *)(w_next + (step) * 512); \\\n"
    "    const uint2 high = *(global const uint2 *)(w_next + (step) * 512 + 256); \\\n"
    "    w[one][0] = low.x, w[one][1] = low.y, w[one][2] = high.x, w[one][3] = high.y; \\\n"
    "  } while (0)\n"
    "#define NEXT(x) x = (x) == base + (STAGES - 1) * STAGE ? base : (x) + STAGE\n";

static const char start[] =
    "    a_at[i] = (uint)(at / 8) + t % CHUNKS;\n"
    "  }\n"
    "  float acc[ACROSS][DOWN][4];\n"
    "#pragma unroll\n"
    "  for (uint i = 0; i < DOWN; i++)\n"
    "    acc[0][i][0] = 0, acc[0][i][1] = 0, acc[0][i][2] = 0, acc[0][i][3] = 0;\n"
    "#pragma unroll\n"
    "  for (uint s = 0; s < STAGES - 1; s++) {\n"
    "    if (s * DEPTH < K) FETCH(base + s * STAGE);\n"
    "    VL_COMMIT();\n"
    "  }\n"
    "  uint w[SLOTS][4];\n"
    "#pragma unroll\n"
    "  for (uint u = 0; u < SLOTS - 1; u++) TAKE(u, u);\n"
    "  VL_ARRIVE(STAGES - 2);\n"
    "  barrier(CLK_LOCAL_MEM_FENCE);\n"
    "  uint slot = base, next = base + (STAGES - 1) * STAGE;\n"
    "  for (uint k0 = 0; k0 < K; k0 += 16 * SLOTS) {\n"
    "#pragma unroll\n"
    "    for (uint u = 0; u < SLOTS; u++) {\n"
    "      VL_WG_BEGIN();\n"
    "      VL_WG_MULTIPLY_";

/* Where every item is done with the stage before, the copy after the next takes its place. */
static const char step[] =
    "(acc[0], w[u], slot + down * (DEPTH * 2) + u % STEPS * 32);\n"
    "      VL_WG_COMMIT();\n"
    "      VL_WG_DONE(1);\n"
    "      if (u == 0 || k0 + 16 * SLOTS < K) TAKE((u + SLOTS - 1) % SLOTS, u + SLOTS - 1);\n"
    "      if (u % STEPS == 0) {\n"
    "        VL_ARRIVE(STAGES - 3);\n"
    "        barrier(CLK_LOCAL_MEM_FENCE);\n"
    "        if (k0 + (u / STEPS + STAGES - 1) * DEPTH < K) FETCH(next);\n"
    "        VL_COMMIT();\n"
    "        NEXT(next);\n"
    "      }\n"
    "      if (u % STEPS == STEPS - 1) NEXT(slot);\n"
    "    }\n"
    "    w_next += 512 * SLOTS;\n"
    "  }\n"
    "  VL_WG_RESULTS_";

static void shape_text(Str *s, const KGemm *g, const Shape *x) {
  KSize gm[2] = {g->g, g->m};
  str_printf(s, "  {\n  enum { ROWS = %u, WIDE = %u };\n", x->rows, x->across);
  str_add(s, places);
  cl_gemm_row(s, "at", "row", gm, (KSize[2]){g->a_g, g->a_m});
  str_add(s, start);
  str_printf(s, "%u", x->rows);
  str_add(s, step);
  str_printf(s, "%u(acc[0]);\n  const uint column0 = panel * 16 + lane / 4 * 2;\n", x->rows);
  cl_gemm_tensor_finish(s, g);
  str_add(s, "  }\n");
}

/* Steps of 16 of K in a turn of the loop: they divide K. */
static int64_t slots_of(const KGemm *g) {
  int64_t slots = SLOTS_MOST;
  while (g->k % (16 * slots) != 0) slots /= 2;
  return slots;
}

static void warpgroup_text(Str *s, const ClTarget *t, const KGemm *g) {
  str_printf(s, "  enum { ITEMS = %d, TILE_BYTES = %d, DEPTH = %d, SLOTS = %d };\n", ITEMS,
             TILE_BYTES, DEPTH, (int)slots_of(g));
  str_add(s, head);
  str_add(s, words);
  for (const Shape *x = shapes; x < shapes + VL_COUNT(shapes) - 1; x++) {
    str_printf(s, "  if ((rows + %u) / %u * %lluu >= %uu)\n", tile_rows(x) - 1, tile_rows(x),
               (unsigned long long)tiles_across(x, g), t->units);
    shape_text(s, g, x);
    str_add(s, "  else\n");
  }
  shape_text(s, g, &shapes[VL_COUNT(shapes) - 1]);
}

const ClGemmWay cl_gemm_warpgroup = {
    .takes = is_warpgroup, .grid = warpgroup_grid, .text = warpgroup_text};
