/* SPDX-License-Identifier: Apache-2.0 */
/* cl_gemm.c - C = act(A · W + bias) + residual, W in panels of 16 columns.
**
** Processors: a work-item makes 8 × 48 results in 24 vectors of 16, straight
** from A's rows and three panels.  Rows run fastest through the grid, so a
** block of W stays in a core's cache.
**
** Others: a work-group makes a tile of ROWS × COLS, a work-item 8 × 8 of it, as
** two by two blocks of 4 × 4 half a tile apart.  A and W go through local
** memory, DEPTH of K at a time, the next slice being fetched into registers
** while this one is multiplied.  A panel's slice lies in one run of DEPTH × 64
** bytes, so the packed layout is read as it is.
**
** Transposed, W's panels hold 16 of K for each column.  Processors take them as lanes: a
** work-item makes 8 × 3 results, each of 16 sums that are joined at the end.  Others fetch
** four of K at once and turn them on the way to local memory.
**
** Words of bf16 hold a pair of K, and become two floats each on their way.
**
** Matrix instructions, where there are some: cl_gemm_tensor.c, cl_gemm_warpgroup.c.  Sums by
** CLBlast, where `vlpc tune` chose it: cl_gemm_library.c.
**
** Each result is summed in one order, by one work-item. */
#include "backends/opencl/cl_gemm.h"

#include "backends/opencl/cl_tensor.h"

#define LANES GEMM_PANEL

static void tile_grid(const ClTarget *t, const KGemm *k, uint64_t rows, ClGrid *g) {
  const ClClass *c = t->class;
  ClTile tile = cl_tile(t, k);
  uint64_t down = cl_div_up(rows, tile.rows), across = cl_div_up((uint64_t)k->n, tile.cols);
  g->local[0] = c->cpu ? 1 : (uint64_t)tile.rows / 8 * (tile.cols / 8);
  g->global[0] = c->cpu ? down : across * g->local[0];
  g->global[1] = c->cpu ? across : down;
}

static void constants(Str *s, const KGemm *g) {
  int64_t words = g->in == NUM_BF16 ? (g->k + 1) / 2 : g->k;
  str_printf(s, "  enum { K = %lld, WORDS = %lld, N = %lld, PANELS = (N + 15) / 16, PIECE = 128",
             (long long)g->k, (long long)words, (long long)g->n);
  str_add(s, " };\n");
  cl_const(s, "G", g->g);
  cl_const(s, "M", g->m);
  str_add(s, "  const uint rows = (uint)(G * M);\n");
}

static void tile_constants(Str *s, ClTile tile) {
  str_printf(s, "  enum { ROWS = %u, COLS = %u", tile.rows, tile.cols);
  if (tile.depth) str_printf(s, ", DEPTH = %u, ITEMS = ROWS / 8 * (COLS / 8)", tile.depth);
  str_add(s, " };\n");
}

/* text with each '@' replaced. */
static void filled(Str *s, const char *text, const char *with) {
  for (const char *p = text; *p; p++) {
    if (*p == '@')
      str_add(s, with);
    else
      str_addn(s, p, 1);
  }
}

/* text with each '@' replaced by i. */
static void numbered(Str *s, const char *text, uint32_t i) {
  Str number = {.arena = s->arena};
  str_printf(&number, "%u", i);
  filled(s, text, str_text(&number));
}

void cl_gemm_row(Str *s, const char *name, const char *row, const KSize gm[2],
                 const KSize stride[2]) {
  str_printf(s, "    const long %s = ", name);
  cl_row(s, row, gm, stride);
  str_add(s, ";\n");
}

static const char *const act_text[] = {
    [ACT_NONE] = "",
    [ACT_GELU_ERF] = "v = 0.5f * v * (1.0f + erf(v * 0.70710678118654752f));\n",
    [ACT_GELU_TANH] =
        "v = 0.5f * v * (1.0f + tanh(0.79788456080286536f * (v + 0.044715f * v * v * v)));\n",
    [ACT_GELU_QUICK] = "v = v / (1.0f + exp(-1.702f * v));\n",
    [ACT_RELU] = "v = select(v, 0.0f, v < 0.0f);\n",
    [ACT_TANH] = "v = tanh(v);\n",
};

const char *cl_gemm_act(KAct act) { return act_text[act]; }

void cl_gemm_finish(Str *s, const KGemm *g, uint32_t lanes) {
  VlDtype out = knum_dtype(g->out);
  Str one = {.arena = s->arena};
  if (g->has_bias) str_printf(s, "      v += vload%u(0, x3 + column);\n", lanes);
  if (g->act != ACT_NONE) str_printf(s, "      %s", act_text[g->act]);
  str_printf(s, "      if (column + %u <= N) {\n", lanes);
  if (g->has_residual)
    str_printf(s, "        v += vload%u(0, x%u + r_row + column);\n", lanes, 3u + g->has_bias);
  str_printf(s, "        %svstore%u(v, 0, x0 + c_row + column);\n      } else {\n", cl_wide(out),
             lanes);
  str_printf(s, "        float one[%u];\n        vstore%u(v, 0, one);\n", lanes, lanes);
  str_add(&one, "one[j]");
  if (g->has_residual) str_printf(&one, " + x%u[r_row + column + j]", 3u + g->has_bias);
  str_add(s, "        for (uint j = 0; column + j < N; j++)\n          ");
  cl_store(s, out, "x0", "c_row + column + j", str_text(&one));
  str_add(s, "\n      }\n");
}

/* ---- processors ---------------------------------------------------------- */

/* In a loop: the text of an activation is long, and its time short. */
static void cpu_finish(Str *s, const KGemm *g, ClTile tile) {
  KSize gm[2] = {g->g, g->m};
  uint32_t panels = tile.cols / LANES;
  str_printf(s, "  float16 all[ROWS * %u];\n", panels);
  for (uint32_t i = 0; i < tile.rows * panels; i++)
    str_printf(s, "  all[%u] = c%u_%u;\n", i, i / panels, i % panels);
  str_add(s, "  for (uint i = 0; i < ROWS && row + i < rows; i++) {\n");
  cl_gemm_row(s, "c_row", "(row + i)", gm, (KSize[2]){g->c_g, g->c_m});
  if (g->has_residual) cl_gemm_row(s, "r_row", "(row + i)", gm, (KSize[2]){g->r_g, g->r_m});
  str_printf(s, "    for (uint p = 0; p < %u && panel + p < PANELS; p++) {\n"
                "      const uint column = (panel + p) * 16;\n"
                "      float16 v = all[i * %u + p];\n", panels, panels);
  cl_gemm_finish(s, g, LANES);
  str_add(s, "    }\n  }\n");
}

/* Multiply-adds of a column of A, `a` ('@': of which row), with a row of the panels, which
** `b` loads ('@': of which). */
static void cpu_step(Str *s, ClTile tile, const char *b, const char *a) {
  uint32_t panels = tile.cols / LANES;
  for (uint32_t p = 0; p < panels; p++) numbered(s, b, p);
  for (uint32_t i = 0; i < tile.rows; i++) {
    str_printf(s, "    const float16 r%u = ", i);
    numbered(s, a, i);
    str_add(s, ";\n");
    for (uint32_t p = 0; p < panels; p++)
      str_printf(s, "    c%u_%u = fma(r%u, b%u, c%u_%u);\n", i, p, i, p, i, p);
  }
  str_add(s, "  }\n");
}

/* A piece of each row as floats, so that a multiply-add reads one number for all lanes. */
static const char widen_row[] =
    "    for (long e = 0; e < n / 16; e++) vstore16(vl_bf16_vload16(e, a@ + k0), e, wide[@]);\n"
    "    for (long e = n / 16 * 16; e < n; e++) wide[@][e] = IN(a@, k0 + e);\n";

static void cpu_sums(Str *s, const KGemm *g, ClTile tile) {
  static const char odd[] =
      "    const float16 b@ = as_float16(vload16(k0 / 2 + k, w@) & 0xffff0000u);\n";
  static const char even[] = "    const float16 b@ = as_float16(vload16(k0 / 2 + k, w@) << 16);\n";
  static const char last[] = "    const float16 b@ = as_float16(vload16(K / 2, w@) << 16);\n";
  if (g->in == NUM_F32) {
    str_add(s, "  for (long k = 0; k < K; k++) {\n");
    cpu_step(s, tile, "    const float16 b@ = vload16(k, w@);\n", "a@[k]");
    return;
  }
  str_add(s, "  float wide[ROWS][PIECE];\n  for (long k0 = 0; k0 < K; k0 += PIECE) {\n"
             "    const long n = min((long)PIECE, K - k0);\n");
  for (uint32_t i = 0; i < tile.rows; i++) numbered(s, widen_row, i);
  str_add(s, "  for (long k = 0; k < n / 2; k++) {\n  {\n");
  cpu_step(s, tile, odd, "wide[@][2 * k + 1]");
  str_add(s, "  {\n");
  cpu_step(s, tile, even, "wide[@][2 * k]");
  str_add(s, "  }\n  }\n");
  if (g->k % 2 == 0) return;
  str_add(s, "  {\n");
  cpu_step(s, tile, last, "IN(a@, K - 1)");
}

static void cpu_text(Str *s, const KGemm *g, ClTile tile) {
  KSize gm[2] = {g->g, g->m};
  uint32_t panels = tile.cols / LANES;
  const char *word = g->in == NUM_BF16 ? "uint" : "float";
  str_add(s, "  const uint row = get_global_id(0) * ROWS;\n"
             "  const uint panel = get_global_id(1) * (COLS / 16);\n");
  for (uint32_t i = 0; i < tile.rows; i++) {
    Str name = {.arena = s->arena}, row = {.arena = s->arena};
    str_printf(&name, "at%u", i);
    str_printf(&row, "min(row + %u, rows - 1)", i);
    cl_gemm_row(s, str_text(&name), str_text(&row), gm, (KSize[2]){g->a_g, g->a_m});
    str_printf(s, "    global const %s *a%u = x1 + at%u;\n", cl_type(knum_dtype(g->in)), i, i);
  }
  for (uint32_t p = 0; p < panels; p++)
    str_printf(s, "  global const %s *w%u = (global const %s *)x2\n"
                  "      + (long)min(panel + %u, PANELS - 1u) * WORDS * 16;\n",
               word, p, word, p);
  for (uint32_t i = 0; i < tile.rows; i++) {
    str_add(s, "  float16");
    for (uint32_t p = 0; p < panels; p++) str_printf(s, "%s c%u_%u = 0", p ? "," : "", i, p);
    str_add(s, ";\n");
  }
  cpu_sums(s, g, tile);
  cpu_finish(s, g, tile);
}

/* K as lanes: eight rows by three columns, whose lanes are joined at the end. */
static void turned_text(Str *s, const KGemm *g) {
  KSize gm[2] = {g->g, g->m};
  str_add(s, "  const uint row = get_global_id(0) * ROWS, column = get_global_id(1) * COLS;\n"
             "  global const float *a[ROWS], *w[COLS];\n  float16 sum[ROWS * COLS];\n"
             "#pragma unroll\n  for (uint i = 0; i < ROWS; i++) {\n");
  cl_gemm_row(s, "at", "min(row + i, rows - 1)", gm, (KSize[2]){g->a_g, g->a_m});
  str_add(s, "    a[i] = x1 + at;\n  }\n"
             "#pragma unroll\n  for (uint j = 0; j < COLS; j++)\n"
             "    w[j] = x2 + (long)min(column + j, N - 1u) * 16;\n"
             "#pragma unroll\n  for (uint i = 0; i < ROWS * COLS; i++) sum[i] = 0;\n"
             "  for (long k = 0; k < K; k += 16) {\n    float16 b[COLS];\n"
             "#pragma unroll\n"
             "    for (uint j = 0; j < COLS; j++) b[j] = vload16(k / 16 * N, w[j]);\n"
             "#pragma unroll\n    for (uint i = 0; i < ROWS; i++) {\n      float16 r = 0;\n"
             "      if (k + 16 <= K) r = vload16(0, a[i] + k);\n"
             "      else for (uint e = 0; k + e < K; e++) ((private float *)&r)[e] = a[i][k + e];\n"
             "#pragma unroll\n      for (uint j = 0; j < COLS; j++)\n"
             "        sum[i * COLS + j] = fma(r, b[j], sum[i * COLS + j]);\n    }\n  }\n"
             "  for (uint i = 0; i < ROWS && row + i < rows; i++) {\n");
  cl_gemm_row(s, "c_row", "(row + i)", gm, (KSize[2]){g->c_g, g->c_m});
  if (g->has_residual) cl_gemm_row(s, "r_row", "(row + i)", gm, (KSize[2]){g->r_g, g->r_m});
  str_add(s, "    for (uint j = 0; j < COLS && column + j < N; j++) {\n"
             "      float v = vl_sum16(sum[i * COLS + j]);\n");
  if (g->has_bias) str_add(s, "      v += x3[column + j];\n");
  if (g->act != ACT_NONE) str_printf(s, "      %s", act_text[g->act]);
  if (g->has_residual)
    str_printf(s, "      v += x%u[r_row + column + j];\n", 3u + g->has_bias);
  str_add(s, "      ");
  cl_store(s, knum_dtype(g->out), "x0", "c_row + column + j", "v");
  str_add(s, "\n    }\n  }\n");
}

/* ---- others -------------------------------------------------------------- */

static const char tile_head[] =
    "  local float a_tile[2][DEPTH][ROWS + 4] __attribute__((aligned(16)));\n"
    "  local float w_tile[2][DEPTH][COLS + 16] __attribute__((aligned(16)));\n"
    "  enum { A_EACH = ROWS * DEPTH / ITEMS, W_EACH = COLS * DEPTH / 4 / ITEMS };\n"
    "  const uint t = get_local_id(0);\n"
    "  const uint row0 = get_global_id(1) * ROWS, panel0 = get_group_id(0) * (COLS / 16);\n";

/* A warp of 32 covers 4 × 8 work-items of the tile where it is large enough. */
static const char place_wide[] =
    "  const uint tx = (t & 7) | ((t >> 5) & 1) << 3, ty = ((t >> 3) & 3) | (t >> 6) << 2;\n";
static const char place_plain[] =
    "  const uint tx = t % (COLS / 8), ty = t / (COLS / 8);\n";

/* W4(p, k, j): columns 4j … 4j+3 of row k of panel p; of a pair of bf16 one half. */
static const char *const columns[] = {
    [NUM_F32] = "#define W4(p, k, j) \\\n"
                "  ((global const float4 *)x2)[((long)(p) * WORDS + (k)) * 4 + (j)]\n",
    [NUM_BF16] = "#define W4(p, k, j) as_float4(0xffff0000u & \\\n"
                 "  ((global const uint4 *)x2)[((long)(p) * WORDS + (k) / 2) * 4 + (j)] \\\n"
                 "      << (16 - (k) % 2 * 16))\n",
};

static const char fetch_w[] =
    "#pragma unroll\n"
    "    for (uint i = 0; i < W_EACH; i++) {\n"
    "      const uint f = t + i * ITEMS, p = min(panel0 + f / (DEPTH * 4), PANELS - 1u);\n"
    "      const uint k = k0 + ORDER(f / 4 % DEPTH);\n"
    "      w_next[i] = @ W4(p, k, f % 4);\n"
    "    }\n";
/* Four of K for a column at a time. */
static const char fetch_turned[] =
    "#pragma unroll\n"
    "    for (uint i = 0; i < W_EACH; i++) {\n"
    "      const uint f = t + i * ITEMS, k = k0 + f % (DEPTH / 4) * 4;\n"
    "      const uint column = min(panel0 * 16 + f / (DEPTH / 4), N - 1u);\n"
    "      const long at = ((long)(k / 16) * N + column) * 4 + k % 16 / 4;\n"
    "      w_next[i] = @ ((global const float4 *)x2)[at];\n"
    "    }\n";
static const char keep_turned[] =
    "#pragma unroll\n"
    "    for (uint i = 0; i < W_EACH; i++) {\n"
    "      const uint f = t + i * ITEMS, k = f % (DEPTH / 4) * 4, column = f / (DEPTH / 4);\n"
    "      w_tile[slot][k][column] = w_next[i].x;\n"
    "      w_tile[slot][k + 1][column] = w_next[i].y;\n"
    "      w_tile[slot][k + 2][column] = w_next[i].z;\n"
    "      w_tile[slot][k + 3][column] = w_next[i].w;\n"
    "    }\n";
static const char fetch_a[] =
    "#pragma unroll\n"
    "    for (uint i = 0; i < A_EACH; i++) {\n"
    "      const uint k = k0 + ORDER(t % DEPTH);\n"
    "      a_next[i] = @ IN(x1, a_row[i] + k);\n"
    "    }\n";
static const char keep_a[] =
    "#pragma unroll\n"
    "    for (uint i = 0; i < A_EACH; i++)\n"
    "      a_tile[slot][t % DEPTH][t / DEPTH + i * (ITEMS / DEPTH)] = a_next[i];\n";
static const char keep_w[] =
    "#pragma unroll\n"
    "    for (uint i = 0; i < W_EACH; i++) {\n"
    "      const uint f = t + i * ITEMS, at = f / (DEPTH * 4) * 16 + f % 4 * 4;\n"
    "      *(local float4 *)&w_tile[slot][f / 4 % DEPTH][at] = w_next[i];\n"
    "    }\n";
static const char multiply[] =
    "#pragma unroll\n"
    "    for (uint k = 0; k < DEPTH; k++) {\n"
    "      const float4 a0 = *(local const float4 *)&a_tile[slot][k][ty * 4];\n"
    "      const float4 a1 = *(local const float4 *)&a_tile[slot][k][ROWS / 2 + ty * 4];\n"
    "      const float4 w0 = *(local const float4 *)&w_tile[slot][k][tx * 4];\n"
    "      const float4 w1 = *(local const float4 *)&w_tile[slot][k][COLS / 2 + tx * 4];\n";

/* '@' is the guard of a K that is no multiple of DEPTH. */
static void fetch(Str *s, const KGemm *g, bool whole) {
  filled(s, fetch_a, whole ? "" : "k >= K ? 0.0f :");
  filled(s, g->transposed ? fetch_turned : fetch_w, whole ? "" : "k >= K ? (float4)(0.0f) :");
}

static void keep(Str *s, const KGemm *g) {
  str_add(s, keep_a);
  str_add(s, g->transposed ? keep_turned : keep_w);
}

static void multiply_text(Str *s) {
  str_add(s, multiply);
  for (uint32_t i = 0; i < 8; i++) {
    const char *a = i < 4 ? "a0" : "a1";
    for (uint32_t h = 0; h < 2; h++)
      str_printf(s, "      c%u_%u = fma((float4)(%s.s%u), w%u, c%u_%u);\n", i, h, a, i % 4, h, i,
                 h);
  }
  str_add(s, "    }\n");
}

static void finish_tile(Str *s, const KGemm *g) {
  KSize gm[2] = {g->g, g->m};
  for (uint32_t i = 0; i < 8; i++) {
    str_printf(s, "  if (row0 + ROWS / 2 * %u + ty * 4 + %u < rows) {\n"
                  "    const uint row = row0 + ROWS / 2 * %u + ty * 4 + %u;\n",
               i / 4, i % 4, i / 4, i % 4);
    cl_gemm_row(s, "c_row", "row", gm, (KSize[2]){g->c_g, g->c_m});
    if (g->has_residual) cl_gemm_row(s, "r_row", "row", gm, (KSize[2]){g->r_g, g->r_m});
    for (uint32_t h = 0; h < 2; h++) {
      str_printf(s, "    {\n      const uint column = panel0 * 16 + COLS / 2 * %u + tx * 4;\n"
                    "      float4 v = c%u_%u;\n      if (column < N) {\n", h, i, h);
      cl_gemm_finish(s, g, 4);
      str_add(s, "      }\n    }\n");
    }
    str_add(s, "  }\n");
  }
}

static void tile_text(Str *s, const KGemm *g, ClTile tile) {
  KSize gm[2] = {g->g, g->m};
  bool whole = g->k % tile.depth == 0;
  str_add(s, columns[g->in]);
  str_add(s, tile_head);
  str_add(s, tile.rows % 64 == 0 && tile.cols == 128 ? place_wide : place_plain);
  str_add(s, "  float a_next[A_EACH];\n  float4 w_next[W_EACH];\n  long a_row[A_EACH];\n");
  for (uint32_t i = 0; i < 8; i++) str_printf(s, "  float4 c%u_0 = 0, c%u_1 = 0;\n", i, i);
  str_add(s, "#pragma unroll\n  for (uint i = 0; i < A_EACH; i++) {\n"
             "    const uint row = min(row0 + t / DEPTH + i * (ITEMS / DEPTH), rows - 1);\n");
  cl_gemm_row(s, "at", "row", gm, (KSize[2]){g->a_g, g->a_m});
  str_add(s, "    a_row[i] = at;\n  }\n  uint slot = 0;\n  {\n    const uint k0 = 0;\n");
  fetch(s, g, whole);
  keep(s, g);
  str_add(s, "  }\n  barrier(CLK_LOCAL_MEM_FENCE);\n"
             "  for (uint k0 = DEPTH; k0 < K; k0 += DEPTH) {\n");
  fetch(s, g, whole);
  multiply_text(s);
  str_add(s, "    slot ^= 1;\n");
  keep(s, g);
  str_add(s, "    barrier(CLK_LOCAL_MEM_FENCE);\n  }\n  {\n");
  multiply_text(s);
  str_add(s, "  }\n");
  finish_tile(s, g);
}

static void any_tile_text(Str *s, const ClTarget *t, const KGemm *g) {
  ClTile tile = cl_tile(t, g);
  tile_constants(s, tile);
  if (!t->class->cpu)
    tile_text(s, g, tile);
  else if (g->transposed)
    turned_text(s, g);
  else
    cpu_text(s, g, tile);
}

/* ---- all ----------------------------------------------------------------- */

static bool any(const ClTarget *t, const KGemm *g) {
  (void)t, (void)g;
  return true;
}

static const ClGemmWay tiles = {.takes = any, .grid = tile_grid, .text = any_tile_text};

/* The first that takes a gemm makes it. */
static const ClGemmWay *way_of(const ClTarget *t, const KGemm *g) {
  static const ClGemmWay *const ways[] = {&cl_gemm_warpgroup, &cl_gemm_tensor,
                                          &cl_gemm_library, &tiles};
  size_t i = 0;
  while (!ways[i]->takes(t, g)) i++;
  return ways[i];
}

static void gemm_grid(const ClTarget *t, const Kernel *k, const int64_t *sizes, ClGrid *g) {
  uint64_t rows = (uint64_t)cl_value(k->gemm.g, sizes) * (uint64_t)cl_value(k->gemm.m, sizes);
  way_of(t, &k->gemm)->grid(t, &k->gemm, rows, g);
  if (rows == 0) g->global[0] = g->global[1] = 0;
}

static void gemm_text(ClText *t, const Kernel *k, uint32_t i) {
  const ClGemmWay *way = way_of(t->target, &k->gemm);
  ClGrid grid = {.local = {1, 1}};
  way->grid(t->target, &k->gemm, 0, &grid);
  cl_begin(t, k, i, grid.local);
  cl_factors(&t->out, k->gemm.in);
  constants(&t->out, &k->gemm);
  way->text(&t->out, t->target, &k->gemm);
  cl_end(t);
  if (way->beside) way->beside(&t->out, &k->gemm, i);
}

/* Panels always. */
static bool gemm_vectors(const ClTarget *t, const Kernel *k, uint32_t o) {
  enum { WEIGHTS = 2 };
  return o == WEIGHTS || cl_gemm_is_tensor(t, &k->gemm);
}

const ClKind cl_gemm = {.text = gemm_text, .grid = gemm_grid, .vectors = gemm_vectors};
