/* SPDX-License-Identifier: Apache-2.0 */
/* cl_gemm.h - the ways to make a gemm, and what they share. */
#ifndef VLPC_BACKENDS_OPENCL_CL_GEMM_H
#define VLPC_BACKENDS_OPENCL_CL_GEMM_H

#include "backends/opencl/cl_text.h"

typedef struct {
  bool (*takes)(const ClTarget *t, const KGemm *g);
  /* groups have one size for any rows */
  void (*grid)(const ClTarget *t, const KGemm *g, uint64_t rows, ClGrid *out);
  /* after cl_begin, K, N, PANELS, WORDS and rows */
  void (*text)(Str *s, const ClTarget *t, const KGemm *g);
  /* another kernel of the program, u<i>; NULL: none */
  void (*beside)(Str *s, const KGemm *g, uint32_t i);
} ClGemmWay;

extern const ClGemmWay cl_gemm_library, cl_gemm_tensor, cl_gemm_warpgroup;

/* cl_gemm_tensor.c: the end of a tile, from acc[ACROSS][DOWN][4] as VL_MMA leaves them, rows
** from row0 + down on, columns from column0 on, 16 apart. */
void cl_gemm_tensor_finish(Str *s, const KGemm *g);

/* "    const long NAME = …;\n": where a row begins, of two levels of rows. */
void cl_gemm_row(Str *s, const char *name, const char *row, const KSize gm[2],
                 const KSize stride[2]);
/* Statements that activate v, floats of any number, in place. */
const char *cl_gemm_act(KAct act);
/* The end of one vector of `lanes` results at column `column` of a row whose offsets are c_row
** and r_row; v holds the sums. */
void cl_gemm_finish(Str *s, const KGemm *g, uint32_t lanes);

/* cl_gemm_library.c: whether CLBlast makes the sums of a gemm; elements from row to row of
** them.  Kernel u<i> is (panels, where the weight begins in them, rows of N). */
bool cl_gemm_is_library(const ClTarget *t, const KGemm *g);
uint64_t cl_gemm_sums_row(const KGemm *g);

#endif
