/* SPDX-License-Identifier: Apache-2.0 */
/* lc_math.h - exp, log, erf, tanh … as straight-line code, never a call.
**
** Each takes a scalar or a vector of f32 or f64.  f32 errors: exp and log at
** most 2 ulp, erf and tanh 2e-7 absolute and 2 ulp, gelu 4e-7 · (1 + |x|).
** Infinities, NaN and denormals behave as in C. */
#ifndef VLPC_BACKENDS_LLVM_CPU_LC_MATH_H
#define VLPC_BACKENDS_LLVM_CPU_LC_MATH_H

#include "backends/llvm_cpu/lc_build.h"

Lv lm_exp(Lb *e, Lv x);
Lv lm_log(Lb *e, Lv x);
Lv lm_erf(Lb *e, Lv x);
Lv lm_tanh(Lb *e, Lv x);
Lv lm_sigmoid(Lb *e, Lv x);
Lv lm_gelu_erf(Lb *e, Lv x);
Lv lm_gelu_tanh(Lb *e, Lv x);
Lv lm_gelu_quick(Lb *e, Lv x); /* x · sigmoid(1.702 x) */
Lv lm_pow(Lb *e, Lv a, Lv b);
Lv lm_fmod(Lb *e, Lv a, Lv b); /* sign of a; exact while |a / b| < 2^53 */

/* Half and bfloat16 as 16-bit integers <-> f32; to nearest even. */
Lv lm_f32_of_bf16(Lb *e, Lv bits);
Lv lm_bf16_of_f32(Lb *e, Lv x);
Lv lm_f32_of_half(Lb *e, Lv bits);
Lv lm_half_of_f32(Lb *e, Lv x);

#endif
