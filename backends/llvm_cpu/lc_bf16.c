/* SPDX-License-Identifier: Apache-2.0 */
/* lc_bf16.c - bf16 in vectors: dot products of pairs and rounding.
**
** VDPBF16PS adds the product of the odd elements and then that of the even
** ones, each as a multiply-add rounded once (to nearest even).  Products of two
** bf16 are exact in f32, so multiply-adds of the expanded halves give the same
** bits, with FMA or without, and come sooner on Intel's processors (base/cpu.c).
** Only what is below 2^-126 differs: the instructions take it for zero, going in
** and coming out. */
#include "backends/llvm_cpu/lc_emit.h"

#include "backends/llvm_cpu/lc_math.h"

static Lt like(Lv v, Lt element) {
  return LLVMVectorType(element, LLVMGetVectorSize(LLVMTypeOf(v)));
}

static Lt bf16_type(Lb *b) { return LLVMBFloatTypeInContext(b->cx); }

Lv le_dot_bf16(Emit *e, Lv a, Lv w, Lv sum) {
  Lb *b = &e->b;
  if (b->target->has_dot) {
    Lt pairs = LLVMVectorType(bf16_type(b), 2 * LLVMGetVectorSize(LLVMTypeOf(a)));
    Lv arg[3] = {sum, lb_bits(b, a, pairs), lb_bits(b, w, pairs)};
    return lb_intrinsic(b, "llvm.x86.avx512bf16.dpbf16ps.512", 0, NULL, 3, arg);
  }
  Lt i = LLVMTypeOf(a), f = like(a, b->f32);
  Lv half = lb_const_int(b, i, 16), high = lb_const_int(b, i, (int64_t)0xffff0000);
  Lv a1 = lb_bits(b, LLVMBuildAnd(b->b, a, high, ""), f);
  Lv w1 = lb_bits(b, LLVMBuildAnd(b->b, w, high, ""), f);
  Lv a0 = lb_bits(b, LLVMBuildShl(b->b, a, half, ""), f);
  Lv w0 = lb_bits(b, LLVMBuildShl(b->b, w, half, ""), f);
  return lb_fma(b, a0, w0, lb_fma(b, a1, w1, sum));
}

Lv le_bf16(Emit *e, Lv v) {
  Lb *b = &e->b;
  if (!b->target->has_bf16) return lm_bf16_of_f32(b, v);
  Lv r = lb_intrinsic(b, "llvm.x86.avx512bf16.cvtneps2bf16.512", 0, NULL, 1, &v);
  return lb_bits(b, r, like(v, b->i16));
}

Lv le_load_bf16(Emit *e, Lv p, Lv mask) {
  Lb *b = &e->b;
  Lt half = LLVMVectorType(b->i16, LC_W), over[2] = {half, b->ptr};
  Lv arg[4] = {p, lb_i32(b, 2), mask, LLVMConstNull(half)};
  Lv v = mask ? lb_intrinsic(b, "llvm.masked.load", 2, over, 4, arg) : lb_load(b, half, p, 2);
  return LLVMBuildZExt(b->b, v, b->vi, "");
}

void le_store_rounded(Emit *e, VlDtype d, Lv v, Lv p, Lv mask) {
  Lb *b = &e->b;
  if (d != VLPC_BF16) {
    lb_store_vf(b, v, p, mask);
    return;
  }
  v = le_bf16(e, v);
  if (!mask) {
    lb_store(b, v, p, 2);
    return;
  }
  Lt over[2] = {LLVMTypeOf(v), b->ptr};
  Lv arg[4] = {v, p, lb_i32(b, 2), mask};
  lb_intrinsic(b, "llvm.masked.store", 2, over, 4, arg);
}
