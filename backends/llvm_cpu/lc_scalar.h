/* SPDX-License-Identifier: Apache-2.0 */
/* lc_scalar.h - the scalar ops of loop bodies, on 1 or LC_W lanes of any dtype.
**
** In registers there are four kinds of value: f32 (also for f16 and bf16,
** rounded after every op), f64, i64 (for every integer, wrapped to its dtype
** after every op) and i1 (bool).  Operands of the wrong kind are converted, so
** no kernel list can make a malformed instruction. */
#ifndef VLPC_BACKENDS_LLVM_CPU_LC_SCALAR_H
#define VLPC_BACKENDS_LLVM_CPU_LC_SCALAR_H

#include "backends/llvm_cpu/lc_build.h"
#include "ir/ir.h"

typedef enum { LS_F32, LS_F64, LS_INT, LS_BOOL } LsType;

LsType ls_type(VlDtype d);
Lt ls_llvm(Lb *b, LsType t, uint32_t lanes); /* in registers; lanes 1: a scalar */
Lt ls_raw(Lb *b, VlDtype d, uint32_t lanes); /* in memory */

Lv ls_from_raw(Lb *b, VlDtype d, Lv raw);
Lv ls_to_raw(Lb *b, VlDtype d, Lv v);
Lv ls_load_one(Lb *b, VlDtype d, Lv p);
void ls_store_one(Lb *b, VlDtype d, Lv v, Lv p);

/* f for the float kinds, i for the others. */
Lv ls_number(Lb *b, LsType t, uint32_t lanes, double f, int64_t i);
Lv ls_convert(Lb *b, VlDtype from, VlDtype to, Lv v);
/* v as a value of d: rounded or wrapped to what d holds. */
Lv ls_round(Lb *b, VlDtype d, Lv v);
Lv ls_add(Lb *b, LsType t, Lv x, Lv y);
Lv ls_to_i64(Lb *b, VlDtype d, Lv v);

/* An elementwise op of ir/ops.def on operands of dtypes in[]. */
Lv ls_op(Lb *b, OpCode op, const VlDtype in[3], const Lv v[3], VlDtype out);

#endif
