/* SPDX-License-Identifier: Apache-2.0 */
/* cl_tensor.c - see cl_tensor.h: the words, and which kernels are made of them. */
#include "backends/opencl/cl_tensor.h"

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
    "#define VL_EXP2(x) vl_exp2(x)\n";

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
    "#define VL_EXP2(x) exp2(x)\n";

void cl_tensor_words(const ClTarget *t, Str *s) {
  if (t->tensor != TENSOR_NONE) str_add(s, t->tensor == TENSOR_PTX ? ptx_words : plain_words);
}

bool cl_wants_vectors(const ClTarget *t, const Kernel *k, uint32_t o) {
  enum { GEMM_WEIGHTS = 2 };
  switch (k->kind) {
  case KK_GEMM: return o == GEMM_WEIGHTS || cl_gemm_is_tensor(t, &k->gemm);
  case KK_ATTENTION: return cl_attention_is_tensor(t, &k->attention);
  case KK_ATTENTION_GRAD: return cl_grad_wants_vectors(t, &k->attention_grad, o);
  case KK_LAYERNORM:
  case KK_LAYERNORM_GRAD:
  case KK_SOFTMAX:
  case KK_L2NORM: return cl_rows_want_vectors(t, &k->rows);
  default: return false;
  }
}
