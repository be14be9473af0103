/* SPDX-License-Identifier: Apache-2.0 */
/* cl_tensor.h - kernels that multiply bf16 by the matrix instructions of NVIDIA GPUs
** (PTX ISA: mma.m16n8k16, ldmatrix, cp.async; compute capability 8.0).
**
** Warps of 32 work-items make 16 × 8 results of 16 products each; sums are f32, in the
** device's order.  The text is made of the words below.  A device without the instructions
** gets the same words in plain OpenCL C, slow: how tests see to the text anywhere.
**   VL_TENSOR(items)            at a kernel's head: work-items of a group
**   VL_LOCAL(tile)              what a uint4 array in local memory adds to an offset in bytes
**   VL_COPY16(to, from)         16 bytes of global memory to a local offset, in the background
**   VL_COMMIT(), VL_ARRIVE(n)   the copies so far are a batch; all but the last n are there
**   VL_MATRICES(r, from)        r[4]: 8 × 8 matrices; lane i has the offset of row i % 8 of
**                               matrix i / 8, and gets of row lane / 4 the pair lane % 4
**   VL_TURNED(r, from)          the same of each matrix turned
**   VL_TWO(r, from)             r[2]: the words at a local offset
**   VL_MMA(c, a, b0, b1)        c[4] += a[4] · (b0, b1)
**   VL_ACROSS(r, v, by)         r: v of the lane whose number differs in the bits of `by`
**   VL_PAIR(x, y)               two floats as a pair of bf16
**   VL_EXP2(x), VL_RECIP(x)     2 to the x, 1 / x, to about 2^-22
**
** Capability 9.0 multiplies by four warps at once, in the background (wgmma.mma_async):
** 64 × n results of 16 products each, n rows of 32 products in local memory.  What came there
** by VL_COPY16 is multiplied after a barrier, as NVIDIA's own kernels do (CUTLASS), though the
** PTX ISA asks for fence.proxy.async: that waits for W's loads too.  The self-test sees to it.
**   VL_WG_BEGIN()               registers are as those that follow shall read them
**   VL_WG_MULTIPLY_n(c, a, at)  c[n / 8][4] += a[4] · n rows from `at` on, as VL_MMA of 8 rows
**                               each; 16 bytes i of row r lie at i ^ r / 2 % 4
**   VL_WG_COMMIT()              those so far are a batch
**   VL_WG_DONE(n)               all but the last n are done
**   VL_WG_RESULTS_n(c)          all are, and c may be read */
#ifndef VLPC_BACKENDS_OPENCL_CL_TENSOR_H
#define VLPC_BACKENDS_OPENCL_CL_TENSOR_H

#include "backends/opencl/cl_text.h"

/* For the head of a program with these kernels. */
void cl_tensor_words(const ClTarget *t, const char *kernels, Str *s);

/* n of the words of warpgroups. */
enum { CL_WG_MANY = 192, CL_WG_SOME = 96, CL_WG_FEW = 32 };

/* The driver compiles OpenCL C for sm_90, which lacks wgmma, but takes PTX for sm_90a as a
** program's binary.  So these instructions stand in comments of the text, which the driver
** hands down to its PTX; cl_tensor_shown takes them out, on the arena.  NULL: not such PTX. */
#define CL_HIDDEN "/*sm_90a "
#define CL_HIDDEN_END " */"
const char *cl_tensor_shown(const char *ptx, Arena *a);

/* cl_gemm_tensor.c: whether a gemm is one of these. */
bool cl_gemm_is_tensor(const ClTarget *t, const KGemm *g);

/* cl_attention_tensor.c: of a group of CL_TENSOR_QUERIES; text after cl_attention.c's head. */
enum { CL_TENSOR_QUERIES = 64, CL_TENSOR_KEYS = 32, CL_TENSOR_ITEMS = 128 };
bool cl_attention_is_tensor(const ClTarget *t, const KAttention *a);
void cl_attention_tensor_text(Str *s, const KAttention *a);

#endif
