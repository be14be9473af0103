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
**   VL_EXP2(x), VL_RECIP(x)     2 to the x, 1 / x, to about 2^-22 */
#ifndef VLPC_BACKENDS_OPENCL_CL_TENSOR_H
#define VLPC_BACKENDS_OPENCL_CL_TENSOR_H

#include "backends/opencl/cl_text.h"

/* For a program's head. */
void cl_tensor_words(const ClTarget *t, Str *s);

/* cl_gemm_tensor.c: whether a gemm is one of these; its groups; its text after cl_begin, K,
** N, PANELS, WORDS and rows. */
bool cl_gemm_is_tensor(const ClTarget *t, const KGemm *g);
void cl_gemm_tensor_local(const KGemm *g, uint64_t out[2]);
void cl_gemm_tensor_grid(const ClTarget *t, const KGemm *g, uint64_t rows, ClGrid *out);
void cl_gemm_tensor_text(Str *s, const KGemm *g);

/* cl_attention_tensor.c: of a group of CL_TENSOR_QUERIES; text after cl_attention.c's head. */
enum { CL_TENSOR_QUERIES = 64, CL_TENSOR_KEYS = 32, CL_TENSOR_ITEMS = 128 };
bool cl_attention_is_tensor(const ClTarget *t, const KAttention *a);
void cl_attention_tensor_text(Str *s, const KAttention *a);

#endif
