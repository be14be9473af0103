/* SPDX-License-Identifier: Apache-2.0 */
/* lc_reach.c - which bytes of its operands a kernel touches, as code: the
** spans of ir/kernel.h, computed in doubles, which cannot wrap whatever sizes a
** damaged program passes. */
#include "backends/llvm_cpu/lc_emit.h"

static Lv as_double(Emit *e, KSize s) {
  return LLVMBuildSIToFP(e->b.b, le_size(e, s), e->b.f64, "");
}

/* Every element is written once, so points beyond the extent are damage (and
** could be work without end).  A scatter may repeat itself. */
static Lv writes_once(Emit *e, const Kernel *k, const KSpan *span, uint32_t n, Lv extent) {
  Lb *b = &e->b;
  Lv points = lb_const(b, b->f64, 1);
  if (k->kind == KK_LOOPS && k->loops.serial) return lb_const_int(b, b->i1, 1);
  if (k->kind == KK_LOOPS) n = k->loops.rank - k->loops.n_reduce;
  for (uint32_t i = 0; i < n; i++) points = lb_fmul(b, points, as_double(e, span[i].size));
  return lb_fcmp(b, LLVMRealOLE, points, extent);
}

static void reach_operand(Emit *e, const Kernel *k, uint32_t operand, Lv at) {
  Lb *b = &e->b;
  KSpan span[KSPAN_MAX];
  uint32_t n = kernel_spans(k, operand, span);
  Lv zero = lb_const(b, b->f64, 0), one = lb_const(b, b->f64, 1);
  Lv lo = zero, hi = one, some = lb_const_int(b, b->i1, 1);
  Lv sound = some;
  for (uint32_t i = 0; i < n; i++) {
    Lv last = lb_fsub(b, as_double(e, span[i].size), one), stride = as_double(e, span[i].stride);
    Lv end = lb_fmul(b, last, stride);
    lo = lb_fadd(b, lo, lb_fmin(b, end, zero));
    hi = lb_fadd(b, hi, lb_fmax(b, end, zero));
    /* an axis of size 0 and stride 0 is an empty reduction: its result is written */
    Lv there = LLVMBuildOr(b->b, lb_fcmp(b, LLVMRealOGE, last, zero),
                           lb_fcmp(b, LLVMRealOEQ, stride, zero), "");
    some = LLVMBuildAnd(b->b, some, there, "");
    Lv sized = lb_fcmp(b, LLVMRealOGE, last, lb_const(b, b->f64, -1));
    sound = LLVMBuildAnd(b->b, sound, sized, "");
  }
  if (operand == 0) {
    Lv once = writes_once(e, k, span, n, lb_fsub(b, hi, lo));
    sound = LLVMBuildAnd(b->b, sound, once, "");
  }
  Lv elem = lb_const(b, b->f64, (double)dtype_size(kernel_operand_dtype(k, operand)));
  lo = lb_select(b, sound, lb_select(b, some, lo, zero), one);
  hi = lb_select(b, sound, lb_select(b, some, hi, zero), lb_const(b, b->f64, -1));
  lb_store(b, lb_fmul(b, lo, elem), at, 8);
  lb_store(b, lb_fmul(b, hi, elem), lb_atc(b, at, 8), 8);
}

void le_reach(Emit *e, const Kernel *k, Lv lo_hi) {
  for (uint32_t i = 0; i < k->n_operands; i++)
    reach_operand(e, k, i, lb_atc(&e->b, lo_hi, 16 * (int64_t)i));
}
