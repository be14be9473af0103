/* SPDX-License-Identifier: Apache-2.0 */
/* cl_attention_tensor.c - attention of bf16 by matrix instructions.
**
** A warp has 16 queries, a group four warps that share KEYS keys and values at a time in
** local memory, the next ones on their way.  Scores come out of an instruction laid as the
** next one takes its left factor, so they stay where they are (Dao, FlashAttention-2).
** exp(scale · s - most) is 2 to the power of (scale · log2 e) · s - most'. */
#include "backends/opencl/cl_tensor.h"

#include <string.h>

/* Rows begin at 16 bytes. */
static bool is_even(KSize x) { return cl_is_multiple(x, 8); }

bool cl_attention_is_tensor(const ClTarget *t, const KAttention *a) {
  bool even = is_even(a->q_b) && is_even(a->q_r) && is_even(a->o_b) && is_even(a->o_r);
  if (t->tensor == TENSOR_NONE || a->in != NUM_BF16 || a->causal || a->has_mask || a->varlen)
    return false;
  if (a->d != a->dv || a->d % 32 != 0 || a->d > 128) return false;
  for (uint32_t i = 0; i < a->n_segments; i++) {
    const KSegment *g = &a->segment[i];
    even = even && is_even(g->k_b) && is_even(g->k_r) && is_even(g->v_b) && is_even(g->v_r);
  }
  return even;
}

/* '@' is the text that finds rows kr and vr of key n. */
static const char places[] =
    "  enum { CHUNKS = D / 8, SIDE = KEYS * CHUNKS * 16 };\n"
    "  VL_TENSOR(ITEMS)\n"
    "  local uint4 tile[2 * SIDE * 2 / 16];\n"
    "  const uint base = VL_LOCAL(tile);\n"
    "  const uint t = get_local_id(0), lane = t % 32;\n"
    "  const long q0 = ((long)get_group_id(0) * ITEMS + t) / 32 * 16 + lane / 4;\n"
    "  uint q[D / 16][4];\n"
    "#pragma unroll\n"
    "  for (uint i = 0; i < 2; i++) {\n"
    "    global const uint *from = (global const uint *)\n"
    "        (x1 + b * q_b + min(q0 + i * 8, lq - 1) * q_r + h * D) + lane % 4;\n"
    "#pragma unroll\n"
    "    for (uint k = 0; k < D / 16; k++) q[k][i] = from[k * 8], q[k][i + 2] = from[k * 8 + 4];\n"
    "  }\n"
    /* chunk c of row r lies at c ^ r % 8, as far as there are chunks */
    "  enum { MIX = CHUNKS < 8 ? CHUNKS - 1 : 7 };\n"
    "  const uint row = t / CHUNKS, chunk = t % CHUNKS;\n"
    "  const uint to = (row * CHUNKS + (chunk ^ (row & MIX))) * 16;\n"
    "#define FETCH(slot, j0) do { \\\n"
    "    _Pragma(\"unroll\") for (uint i = 0; i < KEYS * CHUNKS / ITEMS; i++) { \\\n"
    "      const long n = min((j0) + row + i * (ITEMS / CHUNKS), lk - 1); \\\n"
    "@"
    "      VL_COPY16((slot) + to + i * (ITEMS * 16), kr + h * D + chunk * 8); \\\n"
    "      VL_COPY16((slot) + SIDE + to + i * (ITEMS * 16), vr + h * D + chunk * 8); \\\n"
    "    } \\\n"
    "  } while (0)\n"
    "  uint k_from[D / 32], v_from[D / 16];\n"
    "#pragma unroll\n"
    "  for (uint k = 0; k < D / 32; k++)\n"
    "    k_from[k] = (lane % 8 * CHUNKS + ((k * 4 + lane / 8) ^ (lane & MIX))) * 16;\n"
    "#pragma unroll\n"
    "  for (uint e = 0; e < D / 16; e++)\n"
    "    v_from[e] = SIDE + (lane % 16 * CHUNKS + ((e * 2 + lane / 16) ^ (lane & MIX))) * 16;\n"
    "  float acc[D / 8][4], most[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};\n"
    "#pragma unroll\n"
    "  for (uint e = 0; e < D / 8; e++)\n"
    "    acc[e][0] = 0, acc[e][1] = 0, acc[e][2] = 0, acc[e][3] = 0;\n"
    "  uint slot = base;\n";

static const char sums[] =
    "  FETCH(slot, 0L);\n"
    "  VL_COMMIT();\n"
    "  for (long j0 = 0; j0 < lk; j0 += KEYS) {\n"
    "    VL_ARRIVE(0);\n"
    "    barrier(CLK_LOCAL_MEM_FENCE);\n"
    "    if (j0 + KEYS < lk) FETCH(base + base + 2 * SIDE - slot, j0 + KEYS);\n"
    "    VL_COMMIT();\n"
    "    float s[KEYS / 8][4];\n"
    "#pragma unroll\n"
    "    for (uint n = 0; n < KEYS / 8; n++) {\n"
    "      s[n][0] = 0, s[n][1] = 0, s[n][2] = 0, s[n][3] = 0;\n"
    "#pragma unroll\n"
    "      for (uint k = 0; k < D / 32; k++) {\n"
    "        uint keys[4];\n"
    "        VL_MATRICES(keys, slot + k_from[k] + n * (CHUNKS * 128));\n"
    "        VL_MMA(s[n], q[2 * k], keys[0], keys[1]);\n"
    "        VL_MMA(s[n], q[2 * k + 1], keys[2], keys[3]);\n"
    "      }\n"
    "    }\n"
    "    const uint count = (uint)min((long)KEYS, lk - j0);\n"
    "    float top[2] = {most[0], most[1]};\n"
    "#pragma unroll\n"
    "    for (uint n = 0; n < KEYS / 8; n++)\n"
    "#pragma unroll\n"
    "      for (uint i = 0; i < 4; i++) {\n"
    "        s[n][i] = n * 8 + lane % 4 * 2 + i % 2 < count ? s[n][i] * SCALE : -INFINITY;\n"
    "        top[i / 2] = fmax(top[i / 2], s[n][i]);\n"
    "      }\n"
    "#pragma unroll\n"
    "    for (uint i = 0; i < 2; i++) {\n"
    "      float other;\n"
    "      VL_ACROSS(other, top[i], 1);\n"
    "      top[i] = fmax(top[i], other);\n"
    "      VL_ACROSS(other, top[i], 2);\n"
    "      top[i] = fmax(top[i], other);\n"
    "      const float factor = most[i] == top[i] ? 1.0f : VL_EXP2(most[i] - top[i]);\n"
    "      most[i] = top[i];\n"
    "      sum[i] *= factor;\n"
    "#pragma unroll\n"
    "      for (uint e = 0; e < D / 8; e++) acc[e][i * 2] *= factor, acc[e][i * 2 + 1] *= factor;\n"
    "    }\n"
    "#pragma unroll\n"
    "    for (uint n = 0; n < KEYS / 8; n++)\n"
    "#pragma unroll\n"
    "      for (uint i = 0; i < 4; i++) {\n"
    "        s[n][i] = s[n][i] == -INFINITY ? 0.0f : VL_EXP2(s[n][i] - top[i / 2]);\n"
    "        sum[i / 2] += s[n][i];\n"
    "      }\n"
    "#pragma unroll\n"
    "    for (uint n = 0; n < KEYS / 16; n++) {\n"
    "      const uint p[4] = {VL_PAIR(s[2 * n][0], s[2 * n][1]),\n"
    "                         VL_PAIR(s[2 * n][2], s[2 * n][3]),\n"
    "                         VL_PAIR(s[2 * n + 1][0], s[2 * n + 1][1]),\n"
    "                         VL_PAIR(s[2 * n + 1][2], s[2 * n + 1][3])};\n"
    "#pragma unroll\n"
    "      for (uint e = 0; e < D / 16; e++) {\n"
    "        uint values[4];\n"
    "        VL_TURNED(values, slot + v_from[e] + n * (CHUNKS * 256));\n"
    "        VL_MMA(acc[2 * e], p, values[0], values[1]);\n"
    "        VL_MMA(acc[2 * e + 1], p, values[2], values[3]);\n"
    "      }\n"
    "    }\n"
    "    slot = base + base + 2 * SIDE - slot;\n"
    "  }\n"
    "#pragma unroll\n"
    "  for (uint i = 0; i < 2; i++) {\n"
    "    float all = sum[i], other;\n"
    "    VL_ACROSS(other, all, 1);\n"
    "    all += other;\n"
    "    VL_ACROSS(other, all, 2);\n"
    "    all += other;\n"
    "    const float one = all == 0 ? 0 : 1 / all;\n"
    "    const long to_row = b * o_b + (q0 + i * 8) * o_r + h * D + lane % 4 * 2;\n"
    "    if (q0 + i * 8 >= lq) continue;\n"
    "#pragma unroll\n"
    "    for (uint e = 0; e < D / 8; e++) {\n"
    "      const float x = acc[e][i * 2] * one, y = acc[e][i * 2 + 1] * one;\n"
    "      STORE(to_row + e * 8, x, y);\n"
    "    }\n"
    "  }\n";

static const char *const stores[] = {
    [NUM_F32] = "*(global float2 *)(x0 + (at)) = (float2)(x, y)",
    [NUM_BF16] = "*(global uint *)(x0 + (at)) = VL_PAIR(x, y)",
};

/* Lines of a macro. */
static void add_lines(Str *s, const char *lines) {
  for (const char *p = lines; *p; p++) {
    if (*p == '\n') str_add(s, " \\");
    str_addn(s, p, 1);
  }
}

void cl_attention_tensor_text(Str *s, const KAttention *a) {
  Str where = {.arena = s->arena};
  cl_attention_locate(&where, a);
  str_printf(s, "#define STORE(at, x, y) %s\n", stores[a->out]);
  str_printf(s, "#define SCALE %af\n", (double)a->scale * 1.4426950408889634);
  const char *at = strchr(places, '@');
  str_addn(s, places, (size_t)(at - places));
  add_lines(s, str_text(&where));
  str_add(s, at + 1);
  str_add(s, sums);
}
