/* SPDX-License-Identifier: Apache-2.0 */
/* cl_few.h - attention of few queries over wide heads, as the last block's after `absorb`:
** its heads are queries over all columns (cl_attention_few.c). */
#ifndef VLPC_BACKENDS_OPENCL_CL_FEW_H
#define VLPC_BACKENDS_OPENCL_CL_FEW_H

#include "backends/opencl/cl_text.h"

enum { CL_FEW_ITEMS = 256 };

/* Text after cl_attention.c's and cl_attention_grad.c's head. */
bool cl_attention_is_few(const ClTarget *t, const KAttention *a);
void cl_attention_few_text(Str *s, const KAttention *a);
bool cl_grad_is_few(const ClTarget *t, const KAttentionGrad *a);
void cl_grad_few_text(Str *s, const KAttentionGrad *a);

#endif
