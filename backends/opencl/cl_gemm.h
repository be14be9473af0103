/* SPDX-License-Identifier: Apache-2.0 */
/* cl_gemm.h - what the ways of a gemm share. */
#ifndef VLPC_BACKENDS_OPENCL_CL_GEMM_H
#define VLPC_BACKENDS_OPENCL_CL_GEMM_H

#include "backends/opencl/cl_text.h"

/* "    const long NAME = …;\n": where a row begins, of two levels of rows. */
void cl_gemm_row(Str *s, const char *name, const char *row, const KSize gm[2],
                 const KSize stride[2]);
/* Statements that activate v, floats of any number, in place. */
const char *cl_gemm_act(KAct act);

#endif
