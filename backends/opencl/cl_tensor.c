/* SPDX-License-Identifier: Apache-2.0 */
/* cl_tensor.c - see cl_tensor.h: the words. */
#include "backends/opencl/cl_tensor.h"

#include <string.h>

static const char ptx_words[] =
    "#define VL_TENSOR(items)\n"
    "#define VL_LOCAL(tile) ((uint)(size_t)(tile))\n"
    "#define VL_COPY16(to, from) \\\n"
    "  __asm__ volatile(\"cp.async.cg.shared.global [%0], [%1], 16;\" \\\n"
    "                   :: \"r\"(to), \"l\"(from) : \"memory\")\n"
    "#define VL_COMMIT() __asm__ volatile(\"cp.async.commit_group;\" ::: \"memory\")\n"
    "#define VL_ARRIVE(n) __asm__ volatile(\"cp.async.wait_group %0;\" :: \"n\"(n) : \"memory\")\n"
    "#define VL_LDMATRIX(kind, r, from) \\\n"
    "  __asm__ volatile(\"ldmatrix.sync.aligned.m8n8.x4\" kind \".shared.b16 \" \\\n"
    "                   \"{%0,%1,%2,%3}, [%4];\" \\\n"
    "                   : \"=r\"((r)[0]), \"=r\"((r)[1]), \"=r\"((r)[2]), \"=r\"((r)[3]) \\\n"
    "                   : \"r\"(from))\n"
    "#define VL_MATRICES(r, from) VL_LDMATRIX(\"\", r, from)\n"
    "#define VL_TURNED(r, from) VL_LDMATRIX(\".trans\", r, from)\n"
    "#define VL_TWO(r, from) \\\n"
    "  __asm__ volatile(\"ld.shared.v2.u32 {%0,%1}, [%2];\" \\\n"
    "                   : \"=r\"((r)[0]), \"=r\"((r)[1]) : \"r\"(from))\n"
    "#define VL_MMA(c, a, b0, b1) \\\n"
    "  __asm__(\"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 \" \\\n"
    "          \"{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\" \\\n"
    "          : \"+f\"((c)[0]), \"+f\"((c)[1]), \"+f\"((c)[2]), \"+f\"((c)[3]) \\\n"
    "          : \"r\"((a)[0]), \"r\"((a)[1]), \"r\"((a)[2]), \"r\"((a)[3]), \\\n"
    "            \"r\"(b0), \"r\"(b1))\n"
    "#define VL_ACROSS(r, v, by) \\\n"
    "  __asm__ volatile(\"shfl.sync.bfly.b32 %0, %1, %2, 31, 0xffffffff;\" \\\n"
    "                   : \"=f\"(r) : \"f\"(v), \"r\"(by))\n"
    "static uint vl_pair(float x, float y) {\n"
    "  uint r;\n"
    "  __asm__(\"cvt.rn.bf16x2.f32 %0, %1, %2;\" : \"=r\"(r) : \"f\"(y), \"f\"(x));\n"
    "  return r;\n"
    "}\n"
    "#define VL_PAIR(x, y) vl_pair(x, y)\n"
    "static float vl_exp2(float x) {\n"
    "  float r;\n"
    "  __asm__(\"ex2.approx.ftz.f32 %0, %1;\" : \"=f\"(r) : \"f\"(x));\n"
    "  return r;\n"
    "}\n"
    "#define VL_EXP2(x) vl_exp2(x)\n"
    "#define VL_RECIP(x) native_recip(x)\n"; /* there rcp.approx */

/* Lanes tell each other through local memory.  Where a word is, all work-items of a group
** come by. */
static const char plain_words[] =
    "#define VL_TENSOR(items) \\\n"
    "  local uint vl_told[items][6]; \\\n"
    "  const uint vl_me = get_local_id(0), vl_warp = vl_me & ~31u;\n"
    "#define VL_TELL() barrier(CLK_LOCAL_MEM_FENCE)\n"
    "#define VL_LOCAL(tile) 0; local uchar *vl_tile = (local uchar *)(tile)\n"
    "#define VL_AT(T, from) (*(local T *)(vl_tile + (from)))\n"
    "#define VL_COPY16(to, from) VL_AT(uint4, to) = *(global const uint4 *)(from)\n"
    "#define VL_COMMIT()\n"
    "#define VL_ARRIVE(n)\n"
    "#define VL_TWO(r, from) (r)[0] = VL_AT(uint, from), (r)[1] = VL_AT(uint, (from) + 4)\n"
    "#define VL_ROW(i) vl_told[vl_warp + (i)][0]\n"
    "#define VL_EACH(r, from, word) do { \\\n"
    "    VL_TELL(); vl_told[vl_me][0] = (from); VL_TELL(); \\\n"
    "    for (uint vl_i = 0; vl_i < 4; vl_i++) (r)[vl_i] = word; \\\n"
    "  } while (0)\n"
    "#define VL_MATRICES(r, from) VL_EACH(r, from, \\\n"
    "    VL_AT(uint, VL_ROW(vl_i * 8 + vl_me % 32 / 4) + vl_me % 4 * 4))\n"
    "#define VL_HALF(i) (uint)VL_AT(ushort, VL_ROW(vl_i * 8 + (i)) + vl_me % 32 / 4 * 2)\n"
    "#define VL_TURNED(r, from) VL_EACH(r, from, \\\n"
    "    VL_HALF(vl_me % 4 * 2) | VL_HALF(vl_me % 4 * 2 + 1) << 16)\n"
    "static float vl_of_pair(uint pair, uint odd) {\n"
    "  return as_float(odd ? pair & 0xffff0000u : pair << 16);\n"
    "}\n"
    "static void vl_mma(float *c, local uint (*told)[6], uint lane) {\n"
    "  for (uint i = 0; i < 4; i++)\n"
    "    for (uint k = 0; k < 16; k++)\n"
    "      c[i] = fma(vl_of_pair(told[lane / 4 * 4 + k % 8 / 2][i / 2 + k / 8 * 2], k % 2),\n"
    "                 vl_of_pair(told[(lane % 4 * 2 + i % 2) * 4 + k % 8 / 2][4 + k / 8], k % 2),\n"
    "                 c[i]);\n"
    "}\n"
    "#define VL_MMA(c, a, b0, b1) do { \\\n"
    "    VL_TELL(); \\\n"
    "    for (uint vl_i = 0; vl_i < 4; vl_i++) vl_told[vl_me][vl_i] = (a)[vl_i]; \\\n"
    "    vl_told[vl_me][4] = (b0), vl_told[vl_me][5] = (b1); \\\n"
    "    VL_TELL(); \\\n"
    "    vl_mma(c, vl_told + vl_warp, vl_me % 32); \\\n"
    "  } while (0)\n"
    "#define VL_ACROSS(r, v, by) do { \\\n"
    "    VL_TELL(); vl_told[vl_me][0] = as_uint(v); VL_TELL(); \\\n"
    "    r = as_float(vl_told[vl_me ^ (by)][0]); \\\n"
    "  } while (0)\n"
    "#define VL_PAIR(x, y) ((uint)vl_bf16_bits(x) | (uint)vl_bf16_bits(y) << 16)\n"
    "#define VL_EXP2(x) exp2(x)\n"
    "#define VL_RECIP(x) (1.0f / (x))\n";

/* ---- warpgroups ---------------------------------------------------------- */

#define HIDDEN(text) "__asm__ volatile(\"" CL_HIDDEN text CL_HIDDEN_END "\" "

static const char ptx_wg_words[] =
    "#define VL_WG_BEGIN() " HIDDEN("wgmma.fence.sync.aligned;") "::: \"memory\")\n"
    "#define VL_WG_COMMIT() " HIDDEN("wgmma.commit_group.sync.aligned;") "::: \"memory\")\n"
    "#define VL_WG_DONE(n) " HIDDEN("wgmma.wait_group.sync.aligned %0;")
    ":: \"n\"(n) : \"memory\")\n"
    /* a matrix in local memory: bytes from 8 rows to the next 8, 64-byte swizzle */
    "#define VL_WG_MATRIX(at) (2ul << 62 | 32ul << 32 | 1ul << 16 | (ulong)((at) >> 4))\n";

static void each(Str *s, uint32_t n, const char *before, const char *after) {
  for (uint32_t i = 0; i < n; i++) str_printf(s, "%s%s%u%s", i ? ", " : "", before, i, after);
}

static void sums(Str *s, uint32_t n) {
  for (uint32_t i = 0; i < n; i++)
    str_printf(s, "%s\"+f\"((c)[%u][%u])", i ? ", " : "", i / 4, i % 4);
}

static void ptx_rows_words(Str *s, uint32_t rows) {
  uint32_t n = rows / 2;
  str_printf(s, "#define VL_WG_MULTIPLY_%u(c, a, at) __asm__ volatile(\"%s{ .reg .pred p; "
                "setp.eq.u32 p, 0, 0; wgmma.mma_async.sync.aligned.m64n%uk16.f32.bf16.bf16 {",
             rows, CL_HIDDEN, rows);
  each(s, n, "%", "");
  str_printf(s, "}, {%%%u, %%%u, %%%u, %%%u}, %%%u, p, 1, 1, 0; }%s\" : ", n, n + 1, n + 2, n + 3,
             n + 4, CL_HIDDEN_END);
  sums(s, n);
  str_add(s, " : ");
  each(s, 4, "\"r\"((a)[", "])");
  str_printf(s, ", \"l\"(VL_WG_MATRIX(at)) : \"memory\")\n#define VL_WG_RESULTS_%u(c) %s", rows,
             HIDDEN("wgmma.wait_group.sync.aligned 0;") ": ");
  sums(s, n);
  str_add(s, " :: \"memory\")\n");
}

static const char plain_wg_words[] =
    "#define VL_WG_BEGIN()\n"
    "#define VL_WG_COMMIT()\n"
    "#define VL_WG_DONE(n)\n"
    "static void vl_wg_multiply(float (*c)[4], uint n, local uint (*told)[6], uint lane,\n"
    "                           local const uchar *tile, uint at) {\n"
    "  for (uint i = 0; i < n; i++)\n"
    "    for (uint k = 0; k < 16; k++) {\n"
    "      const uint byte = at + (i / 4 * 8 + lane % 4 * 2 + i % 2) * 64 + k * 2;\n"
    "      const ushort b = *(local const ushort *)(tile + (byte ^ (byte >> 7 & 3) << 4));\n"
    "      const uint a = told[lane / 4 * 4 + k % 8 / 2][i / 2 % 2 + k / 8 * 2];\n"
    "      c[i / 4][i % 4] = fma(vl_of_pair(a, k % 2), vl_of_pair(b, 0), c[i / 4][i % 4]);\n"
    "    }\n"
    "}\n"
    "#define VL_WG_PLAIN(n, c, a, at) do { \\\n"
    "    VL_TELL(); \\\n"
    "    for (uint vl_i = 0; vl_i < 4; vl_i++) vl_told[vl_me][vl_i] = (a)[vl_i]; \\\n"
    "    VL_TELL(); \\\n"
    "    vl_wg_multiply(c, n, vl_told + vl_warp, vl_me % 32, vl_tile, at); \\\n"
    "  } while (0)\n";

static void plain_rows_words(Str *s, uint32_t rows) {
  str_printf(s, "#define VL_WG_MULTIPLY_%u(c, a, at) VL_WG_PLAIN(%u, c, a, at)\n"
                "#define VL_WG_RESULTS_%u(c)\n", rows, rows / 2, rows);
}

static void warpgroup_words(Str *s, bool ptx) {
  static const uint32_t rows[] = {CL_WG_MANY, CL_WG_SOME, CL_WG_FEW};
  str_add(s, ptx ? ptx_wg_words : plain_wg_words);
  for (size_t i = 0; i < VL_COUNT(rows); i++)
    (ptx ? ptx_rows_words : plain_rows_words)(s, rows[i]);
}

const char *cl_tensor_shown(const char *ptx, Arena *a) {
  static const char target[] = ".target sm_90";
  Str s = {.arena = a};
  const char *at = strstr(ptx, target), *hidden;
  if (!at) return NULL;
  at += sizeof target - 1;
  str_addn(&s, ptx, (size_t)(at - ptx));
  if (*at != 'a') str_add(&s, "a");
  while ((hidden = strstr(at, CL_HIDDEN)) != NULL) {
    const char *text = hidden + sizeof CL_HIDDEN - 1, *end = strstr(text, CL_HIDDEN_END);
    if (!end) return NULL;
    str_addn(&s, at, (size_t)(hidden - at));
    str_addn(&s, text, (size_t)(end - text));
    at = end + sizeof CL_HIDDEN_END - 1;
  }
  str_add(&s, at);
  return str_text(&s);
}

/* Hidden words make a program be built twice: only where they are used. */
void cl_tensor_words(const ClTarget *t, const char *kernels, Str *s) {
  if (t->tensor == TENSOR_NONE) return;
  str_add(s, t->tensor == TENSOR_PTX ? ptx_words : plain_words);
  if (strstr(kernels, "VL_WG_")) warpgroup_words(s, t->tensor == TENSOR_PTX);
}
