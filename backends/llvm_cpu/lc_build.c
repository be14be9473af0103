/* SPDX-License-Identifier: Apache-2.0 */
/* lc_build.c - see lc_build.h.  In order: life, functions, constants, integer
** arithmetic, variables, control, memory, floats. */
#include "backends/llvm_cpu/lc_build.h"

#include <stdio.h>
#include <string.h>

/* ---- life and functions -------------------------------------------------- */

void lb_init(Lb *e, const LcTarget *t, const char *module) {
  *e = (Lb){.target = t};
  e->cx = LLVMContextCreate();
  e->mod = LLVMModuleCreateWithNameInContext(module, e->cx);
  e->b = LLVMCreateBuilderInContext(e->cx);
  e->void_t = LLVMVoidTypeInContext(e->cx);
  e->i1 = LLVMInt1TypeInContext(e->cx);
  e->i8 = LLVMInt8TypeInContext(e->cx);
  e->i16 = LLVMInt16TypeInContext(e->cx);
  e->i32 = LLVMInt32TypeInContext(e->cx);
  e->i64 = LLVMInt64TypeInContext(e->cx);
  e->f16 = LLVMHalfTypeInContext(e->cx);
  e->f32 = LLVMFloatTypeInContext(e->cx);
  e->f64 = LLVMDoubleTypeInContext(e->cx);
  e->ptr = LLVMPointerTypeInContext(e->cx, 0);
  e->vf = LLVMVectorType(e->f32, LC_W);
  e->vi = LLVMVectorType(e->i32, LC_W);
  e->vm = LLVMVectorType(e->i1, LC_W);
}

void lb_fini(Lb *e) {
  if (e->b) LLVMDisposeBuilder(e->b);
  if (e->mod) LLVMDisposeModule(e->mod);
  if (e->cx) LLVMContextDispose(e->cx);
  *e = (Lb){0};
}

static void fn_attr(Lb *e, Lv fn, const char *name) {
  unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));
  VL_CHECK(kind != 0, "unknown LLVM attribute");
  LLVMAttributeRef a = LLVMCreateEnumAttribute(e->cx, kind, 0);
  LLVMAddAttributeAtIndex(fn, (LLVMAttributeIndex)LLVMAttributeFunctionIndex, a);
}

static void fn_text_attr(Lb *e, Lv fn, const char *key, const char *value) {
  LLVMAttributeRef a = LLVMCreateStringAttribute(e->cx, key, (unsigned)strlen(key), value,
                                                 (unsigned)strlen(value));
  LLVMAddAttributeAtIndex(fn, (LLVMAttributeIndex)LLVMAttributeFunctionIndex, a);
}

Lv lb_declare(Lb *e, const char *name, Lt result, uint32_t n, const Lt *param) {
  Lt type = LLVMFunctionType(result, (Lt *)(uintptr_t)param, n, 0);
  Lv fn = LLVMAddFunction(e->mod, name, type);
  LLVMSetVisibility(fn, LLVMHiddenVisibility);
  fn_attr(e, fn, "nounwind");
  return fn;
}

Lv lb_function(Lb *e, const char *name, Lt result, uint32_t n, const Lt *param, bool internal) {
  e->fn = lb_declare(e, name, result, n, param);
  LLVMSetLinkage(e->fn, internal ? LLVMInternalLinkage : LLVMExternalLinkage);
  if (internal) fn_attr(e, e->fn, "noinline");
  /* Without the width a tuning that prefers 256 bits halves every register. */
  fn_text_attr(e, e->fn, "prefer-vector-width", "512");
  fn_text_attr(e, e->fn, "min-legal-vector-width", "512");
  fn_text_attr(e, e->fn, "tune-cpu", e->target->tune);
  fn_text_attr(e, e->fn, "no-jump-tables", "true");
  e->entry = lb_block(e, "entry");
  LLVMBasicBlockRef body = lb_block(e, "body");
  LLVMPositionBuilderAtEnd(e->b, e->entry);
  LLVMBuildBr(e->b, body);
  LLVMPositionBuilderAtEnd(e->b, body);
  return e->fn;
}

void lb_param_attr(Lb *e, uint32_t param, const char *attr) {
  unsigned kind = LLVMGetEnumAttributeKindForName(attr, strlen(attr));
  VL_CHECK(kind != 0, "unknown LLVM attribute");
  LLVMAddAttributeAtIndex(e->fn, param + 1, LLVMCreateEnumAttribute(e->cx, kind, 0));
}

Lv lb_call(Lb *e, Lv fn, uint32_t n, const Lv *arg) {
  Lt type = LLVMGlobalGetValueType(fn);
  return LLVMBuildCall2(e->b, type, fn, (Lv *)(uintptr_t)arg, n, "");
}

Lv lb_intrinsic(Lb *e, const char *name, uint32_t n_over, Lt *over, uint32_t n, Lv *arg) {
  unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
  VL_CHECK(id != 0, "unknown LLVM intrinsic");
  Lv fn = LLVMGetIntrinsicDeclaration(e->mod, id, over, n_over);
  return LLVMBuildCall2(e->b, LLVMIntrinsicGetType(e->cx, id, over, n_over), fn, arg, n, "");
}

/* ---- constants ----------------------------------------------------------- */

static Lv splat_const(Lv scalar, uint32_t n) {
  Lv lane[64];
  VL_ASSERT(n <= VL_COUNT(lane));
  for (uint32_t i = 0; i < n; i++) lane[i] = scalar;
  return LLVMConstVector(lane, n);
}

Lv lb_const(Lb *e, Lt t, double v) {
  if (LLVMGetTypeKind(t) == LLVMVectorTypeKind)
    return splat_const(lb_const(e, LLVMGetElementType(t), v), LLVMGetVectorSize(t));
  if (LLVMGetTypeKind(t) == LLVMIntegerTypeKind) return lb_const_int(e, t, (int64_t)v);
  return LLVMConstReal(t, v);
}

Lv lb_const_int(Lb *e, Lt t, int64_t v) {
  if (LLVMGetTypeKind(t) == LLVMVectorTypeKind)
    return splat_const(lb_const_int(e, LLVMGetElementType(t), v), LLVMGetVectorSize(t));
  return LLVMConstInt(t, (uint64_t)v, 1);
}

Lv lb_i64(Lb *e, int64_t v) { return LLVMConstInt(e->i64, (uint64_t)v, 1); }
Lv lb_i32(Lb *e, int32_t v) { return LLVMConstInt(e->i32, (uint64_t)(int64_t)v, 1); }
Lv lb_f32(Lb *e, double v) { return LLVMConstReal(e->f32, v); }
Lv lb_vf(Lb *e, double v) { return splat_const(lb_f32(e, v), LC_W); }
Lv lb_vi(Lb *e, int32_t v) { return splat_const(lb_i32(e, v), LC_W); }

/* ---- integers ------------------------------------------------------------ */

Lv lb_add(Lb *e, Lv a, Lv b) { return LLVMBuildAdd(e->b, a, b, ""); }
Lv lb_sub(Lb *e, Lv a, Lv b) { return LLVMBuildSub(e->b, a, b, ""); }
Lv lb_mul(Lb *e, Lv a, Lv b) { return LLVMBuildMul(e->b, a, b, ""); }
Lv lb_addc(Lb *e, Lv a, int64_t c) { return lb_add(e, a, lb_i64(e, c)); }
Lv lb_mulc(Lb *e, Lv a, int64_t c) { return lb_mul(e, a, lb_i64(e, c)); }
Lv lb_divc(Lb *e, Lv a, int64_t c) { return LLVMBuildUDiv(e->b, a, lb_i64(e, c), ""); }
Lv lb_remc(Lb *e, Lv a, int64_t c) { return LLVMBuildURem(e->b, a, lb_i64(e, c), ""); }
Lv lb_icmp(Lb *e, LLVMIntPredicate p, Lv a, Lv b) { return LLVMBuildICmp(e->b, p, a, b, ""); }
Lv lb_select(Lb *e, Lv c, Lv a, Lv b) { return LLVMBuildSelect(e->b, c, a, b, ""); }
Lv lb_min(Lb *e, Lv a, Lv b) { return lb_select(e, lb_icmp(e, LLVMIntSLT, a, b), a, b); }
Lv lb_max(Lb *e, Lv a, Lv b) { return lb_select(e, lb_icmp(e, LLVMIntSGT, a, b), a, b); }

/* ---- variables ----------------------------------------------------------- */

static Lv entry_alloca(Lb *e, Lt t) {
  LLVMBasicBlockRef here = LLVMGetInsertBlock(e->b);
  LLVMPositionBuilderBefore(e->b, LLVMGetBasicBlockTerminator(e->entry));
  Lv var = LLVMBuildAlloca(e->b, t, "");
  LLVMPositionBuilderAtEnd(e->b, here);
  return var;
}

Lv lb_var(Lb *e, Lt t, Lv init) {
  Lv var = entry_alloca(e, t);
  if (init) LLVMBuildStore(e->b, init, var);
  return var;
}

Lv lb_get(Lb *e, Lv var) { return LLVMBuildLoad2(e->b, LLVMGetAllocatedType(var), var, ""); }
void lb_set(Lb *e, Lv var, Lv v) { LLVMBuildStore(e->b, v, var); }

Lv lb_array(Lb *e, Lt t, uint32_t n) {
  Lv var = entry_alloca(e, LLVMArrayType2(t, n));
  LLVMSetAlignment(var, 64);
  return var;
}

/* ---- control ------------------------------------------------------------- */

LLVMBasicBlockRef lb_block(Lb *e, const char *name) {
  return LLVMAppendBasicBlockInContext(e->cx, e->fn, name);
}

Lv lb_for(Lb *e, LbLoop *l, Lv from, Lv to, int64_t step) {
  *l = (LbLoop){.head = lb_block(e, "head"), .body = lb_block(e, "do"),
                .exit = lb_block(e, "done"), .var = lb_var(e, e->i64, from), .to = to,
                .step = step};
  LLVMBuildBr(e->b, l->head);
  LLVMPositionBuilderAtEnd(e->b, l->head);
  Lv more = lb_icmp(e, LLVMIntSLT, lb_get(e, l->var), to);
  LLVMBuildCondBr(e->b, more, l->body, l->exit);
  LLVMPositionBuilderAtEnd(e->b, l->body);
  return lb_get(e, l->var);
}

void lb_end_for(Lb *e, LbLoop *l) {
  lb_set(e, l->var, lb_addc(e, lb_get(e, l->var), l->step));
  LLVMBuildBr(e->b, l->head);
  LLVMPositionBuilderAtEnd(e->b, l->exit);
}

void lb_if(Lb *e, LbIf *s, Lv cond) {
  LLVMBasicBlockRef yes = lb_block(e, "yes");
  *s = (LbIf){.no = lb_block(e, "no"), .join = lb_block(e, "join")};
  LLVMBuildCondBr(e->b, cond, yes, s->no);
  LLVMPositionBuilderAtEnd(e->b, yes);
}

void lb_else(Lb *e, LbIf *s) {
  LLVMBuildBr(e->b, s->join);
  LLVMPositionBuilderAtEnd(e->b, s->no);
  s->has_else = true;
}

void lb_end_if(Lb *e, LbIf *s) {
  LLVMBuildBr(e->b, s->join);
  if (!s->has_else) {
    LLVMPositionBuilderAtEnd(e->b, s->no);
    LLVMBuildBr(e->b, s->join);
  }
  LLVMPositionBuilderAtEnd(e->b, s->join);
}

/* ---- memory -------------------------------------------------------------- */

Lv lb_at(Lb *e, Lv p, Lv bytes) { return LLVMBuildGEP2(e->b, e->i8, p, &bytes, 1, ""); }
Lv lb_atc(Lb *e, Lv p, int64_t bytes) { return lb_at(e, p, lb_i64(e, bytes)); }

Lv lb_load(Lb *e, Lt t, Lv p, uint32_t align) {
  Lv v = LLVMBuildLoad2(e->b, t, p, "");
  LLVMSetAlignment(v, align);
  return v;
}

void lb_store(Lb *e, Lv v, Lv p, uint32_t align) {
  LLVMSetAlignment(LLVMBuildStore(e->b, v, p), align);
}

void lb_prefetch(Lb *e, Lv p, int locality) {
  Lv arg[4] = {p, lb_i32(e, 0), lb_i32(e, locality), lb_i32(e, 1)};
  lb_intrinsic(e, "llvm.prefetch", 1, &e->ptr, 4, arg);
}

Lv lb_lanes(Lb *e) {
  Lv lane[LC_W];
  for (int i = 0; i < LC_W; i++) lane[i] = lb_i32(e, i);
  return LLVMConstVector(lane, LC_W);
}

Lv lb_tail_mask(Lb *e, Lv n) {
  Lv few = LLVMBuildTrunc(e->b, lb_max(e, lb_min(e, n, lb_i64(e, LC_W)), lb_i64(e, 0)), e->i32, "");
  return lb_icmp(e, LLVMIntSLT, lb_lanes(e), lb_splat(e, few));
}

Lv lb_load_vf(Lb *e, Lv p, Lv mask, Lv pass) {
  if (!mask) return lb_load(e, e->vf, p, 4);
  Lt over[2] = {e->vf, e->ptr};
  Lv arg[4] = {p, lb_i32(e, 4), mask, pass ? pass : lb_vf(e, 0)};
  return lb_intrinsic(e, "llvm.masked.load", 2, over, 4, arg);
}

void lb_store_vf(Lb *e, Lv v, Lv p, Lv mask) {
  if (!mask) {
    lb_store(e, v, p, 4);
    return;
  }
  Lt over[2] = {e->vf, e->ptr};
  Lv arg[4] = {v, p, lb_i32(e, 4), mask};
  lb_intrinsic(e, "llvm.masked.store", 2, over, 4, arg);
}

/* ---- floats -------------------------------------------------------------- */

Lv lb_splat(Lb *e, Lv scalar) {
  Lt vec = LLVMVectorType(LLVMTypeOf(scalar), LC_W);
  Lv one = LLVMBuildInsertElement(e->b, LLVMGetPoison(vec), scalar, lb_i32(e, 0), "");
  return LLVMBuildShuffleVector(e->b, one, LLVMGetPoison(vec), LLVMConstNull(e->vi), "");
}

Lv lb_fadd(Lb *e, Lv a, Lv b) { return LLVMBuildFAdd(e->b, a, b, ""); }
Lv lb_fsub(Lb *e, Lv a, Lv b) { return LLVMBuildFSub(e->b, a, b, ""); }
Lv lb_fmul(Lb *e, Lv a, Lv b) { return LLVMBuildFMul(e->b, a, b, ""); }
Lv lb_fdiv(Lb *e, Lv a, Lv b) { return LLVMBuildFDiv(e->b, a, b, ""); }
Lv lb_fneg(Lb *e, Lv a) { return LLVMBuildFNeg(e->b, a, ""); }
Lv lb_fcmp(Lb *e, LLVMRealPredicate p, Lv a, Lv b) { return LLVMBuildFCmp(e->b, p, a, b, ""); }
Lv lb_fmax(Lb *e, Lv a, Lv b) { return lb_select(e, lb_fcmp(e, LLVMRealOGT, a, b), a, b); }
Lv lb_fmin(Lb *e, Lv a, Lv b) { return lb_select(e, lb_fcmp(e, LLVMRealOLT, a, b), a, b); }

Lv lb_fma(Lb *e, Lv a, Lv b, Lv c) {
  if (!e->target->has_fma) return lb_fadd(e, lb_fmul(e, a, b), c);
  Lt t = LLVMTypeOf(a);
  Lv arg[3] = {a, b, c};
  return lb_intrinsic(e, "llvm.fma", 1, &t, 3, arg);
}

Lv lb_unary(Lb *e, const char *intrinsic, Lv a) {
  Lt t = LLVMTypeOf(a);
  return lb_intrinsic(e, intrinsic, 1, &t, 1, &a);
}

Lv lb_bits(Lb *e, Lv a, Lt t) { return LLVMBuildBitCast(e->b, a, t, ""); }

Lv lb_shuffle(Lb *e, Lv a, Lv b, const int *index, uint32_t n) {
  Lv at[64];
  VL_ASSERT(n <= VL_COUNT(at));
  for (uint32_t i = 0; i < n; i++)
    at[i] = index[i] < 0 ? LLVMGetPoison(e->i32) : lb_i32(e, index[i]);
  if (!b) b = LLVMGetPoison(LLVMTypeOf(a));
  return LLVMBuildShuffleVector(e->b, a, b, LLVMConstVector(at, n), "");
}

Lv lb_lane(Lb *e, Lv v, int i) { return LLVMBuildExtractElement(e->b, v, lb_i32(e, i), ""); }
Lv lb_set_lane(Lb *e, Lv v, Lv s, int i) {
  return LLVMBuildInsertElement(e->b, v, s, lb_i32(e, i), "");
}

static Lv fold_lanes(Lb *e, Lv v, Lv (*join)(Lb *, Lv, Lv)) {
  for (int half = LC_W / 2; half >= 1; half /= 2) {
    int low[LC_W / 2], high[LC_W / 2];
    for (int i = 0; i < half; i++) low[i] = i, high[i] = half + i;
    v = join(e, lb_shuffle(e, v, NULL, low, (uint32_t)half),
             lb_shuffle(e, v, NULL, high, (uint32_t)half));
  }
  return lb_lane(e, v, 0);
}

Lv lb_hsum(Lb *e, Lv v) { return fold_lanes(e, v, lb_fadd); }
Lv lb_hmax(Lb *e, Lv v) { return fold_lanes(e, v, lb_fmax); }
