/* SPDX-License-Identifier: Apache-2.0 */
/* lc_scalar.c - see lc_scalar.h.  In order: kinds, memory, conversion, then the
** ops over floats, over integers, and the choice between them. */
#include "backends/llvm_cpu/lc_scalar.h"

#include "backends/llvm_cpu/lc_math.h"

#include <math.h>

/* ---- kinds --------------------------------------------------------------- */

LsType ls_type(VlDtype d) {
  if (d == VLPC_F64) return LS_F64;
  if (d == VLPC_BOOL) return LS_BOOL;
  return dtype_is_float(d) ? LS_F32 : LS_INT;
}

static Lt lanes_of(Lt t, uint32_t lanes) { return lanes == 1 ? t : LLVMVectorType(t, lanes); }

Lt ls_llvm(Lb *b, LsType t, uint32_t lanes) {
  Lt one[] = {[LS_F32] = b->f32, [LS_F64] = b->f64, [LS_INT] = b->i64, [LS_BOOL] = b->i1};
  return lanes_of(one[t], lanes);
}

Lt ls_raw(Lb *b, VlDtype d, uint32_t lanes) {
  if (d == VLPC_F32) return lanes_of(b->f32, lanes);
  if (d == VLPC_F64) return lanes_of(b->f64, lanes);
  return lanes_of(LLVMIntTypeInContext(b->cx, (unsigned)dtype_size(d) * 8), lanes);
}

static uint32_t lanes_in(Lv v) {
  Lt t = LLVMTypeOf(v);
  return LLVMGetTypeKind(t) == LLVMVectorTypeKind ? LLVMGetVectorSize(t) : 1;
}

static bool is_unsigned(VlDtype d) {
  return d == VLPC_U8 || d == VLPC_U16 || d == VLPC_U32 || d == VLPC_U64;
}

static Lv num(Lb *b, Lv like, double f) { return lb_const(b, LLVMTypeOf(like), f); }
static Lv whole(Lb *b, Lv like, int64_t i) { return lb_const_int(b, LLVMTypeOf(like), i); }

Lv ls_number(Lb *b, LsType t, uint32_t lanes, double f, int64_t i) {
  Lt type = ls_llvm(b, t, lanes);
  return t == LS_F32 || t == LS_F64 ? lb_const(b, type, f) : lb_const_int(b, type, i);
}

/* ---- memory -------------------------------------------------------------- */

static Lv widen(Lb *b, VlDtype d, Lv raw) {
  Lt t = lanes_of(b->i64, lanes_in(raw));
  return is_unsigned(d) ? LLVMBuildZExt(b->b, raw, t, "") : LLVMBuildSExt(b->b, raw, t, "");
}

Lv ls_from_raw(Lb *b, VlDtype d, Lv raw) {
  if (d == VLPC_F32 || d == VLPC_F64) return raw;
  if (d == VLPC_F16) return lm_f32_of_half(b, raw);
  if (d == VLPC_BF16) return lm_f32_of_bf16(b, raw);
  if (d == VLPC_BOOL) return lb_icmp(b, LLVMIntNE, raw, whole(b, raw, 0));
  return dtype_size(d) == 8 ? raw : widen(b, d, raw);
}

Lv ls_to_raw(Lb *b, VlDtype d, Lv v) {
  if (d == VLPC_F32 || d == VLPC_F64) return v;
  if (d == VLPC_F16) return lm_half_of_f32(b, v);
  if (d == VLPC_BF16) return lm_bf16_of_f32(b, v);
  Lt t = ls_raw(b, d, lanes_in(v));
  if (d == VLPC_BOOL) return LLVMBuildZExt(b->b, v, t, "");
  return dtype_size(d) == 8 ? v : LLVMBuildTrunc(b->b, v, t, "");
}

Lv ls_load_one(Lb *b, VlDtype d, Lv p) {
  return ls_from_raw(b, d, lb_load(b, ls_raw(b, d, 1), p, (uint32_t)dtype_size(d)));
}

void ls_store_one(Lb *b, VlDtype d, Lv v, Lv p) {
  lb_store(b, ls_to_raw(b, d, v), p, (uint32_t)dtype_size(d));
}

/* ---- conversion ---------------------------------------------------------- */

Lv ls_round(Lb *b, VlDtype d, Lv v) {
  if (d == VLPC_F16 || d == VLPC_BF16) return ls_from_raw(b, d, ls_to_raw(b, d, v));
  if (ls_type(d) != LS_INT || dtype_size(d) == 8) return v;
  return widen(b, d, ls_to_raw(b, d, v));
}

/* Cuts towards zero and stays in d's range; NaN is 0. */
static Lv int_of_float(Lb *b, VlDtype d, Lv v) {
  Lt over[2] = {ls_raw(b, d, lanes_in(v)), LLVMTypeOf(v)};
  const char *how = is_unsigned(d) ? "llvm.fptoui.sat" : "llvm.fptosi.sat";
  Lv raw = lb_intrinsic(b, how, 2, over, 1, &v);
  return ls_from_raw(b, d, raw);
}

static Lv convert_to_float(Lb *b, LsType from, LsType to, Lv v) {
  Lt t = ls_llvm(b, to, lanes_in(v));
  if (from == LS_INT) return LLVMBuildSIToFP(b->b, v, t, "");
  if (from == LS_BOOL) return LLVMBuildUIToFP(b->b, v, t, "");
  if (from == to) return v;
  return to == LS_F64 ? LLVMBuildFPExt(b->b, v, t, "") : LLVMBuildFPTrunc(b->b, v, t, "");
}

Lv ls_convert(Lb *b, VlDtype from, VlDtype to, Lv v) {
  LsType f = ls_type(from), t = ls_type(to);
  bool is_float = f == LS_F32 || f == LS_F64;
  if (t == LS_F32 || t == LS_F64) return ls_round(b, to, convert_to_float(b, f, t, v));
  if (t == LS_BOOL) {
    if (f == LS_BOOL) return v;
    return is_float ? lb_fcmp(b, LLVMRealUNE, v, num(b, v, 0))
                    : lb_icmp(b, LLVMIntNE, v, whole(b, v, 0));
  }
  if (is_float) return int_of_float(b, to, v);
  if (f == LS_BOOL) return LLVMBuildZExt(b->b, v, ls_llvm(b, LS_INT, lanes_in(v)), "");
  return ls_round(b, to, v);
}

Lv ls_to_i64(Lb *b, VlDtype d, Lv v) { return ls_convert(b, d, VLPC_I64, v); }

Lv ls_add(Lb *b, LsType t, Lv x, Lv y) {
  if (t == LS_BOOL) return LLVMBuildOr(b->b, x, y, "");
  return t == LS_INT ? lb_add(b, x, y) : lb_fadd(b, x, y);
}

/* ---- floats -------------------------------------------------------------- */

/* The lesser or greater; NaN when either is. */
static Lv extreme_f(Lb *b, LLVMRealPredicate better, Lv x, Lv y) {
  Lv pick = lb_select(b, lb_fcmp(b, better, x, y), x, y);
  return lb_select(b, lb_fcmp(b, LLVMRealUNO, x, y), lb_fadd(b, x, y), pick);
}

static Lv sign_f(Lb *b, Lv x) {
  Lv zero = num(b, x, 0);
  Lv above = lb_select(b, lb_fcmp(b, LLVMRealOGT, x, zero), num(b, x, 1), zero);
  return lb_select(b, lb_fcmp(b, LLVMRealOLT, x, zero), num(b, x, -1), above);
}

/* Sign of y, as Python. */
static Lv mod_f(Lb *b, Lv x, Lv y) {
  Lv r = lm_fmod(b, x, y), zero = num(b, x, 0);
  Lv differ = LLVMBuildXor(b->b, lb_fcmp(b, LLVMRealOLT, r, zero),
                           lb_fcmp(b, LLVMRealOLT, y, zero), "");
  Lv moved = lb_select(b, differ, lb_fadd(b, r, y), r);
  Lv arg[2] = {zero, y};
  Lt t = LLVMTypeOf(x);
  Lv none = lb_intrinsic(b, "llvm.copysign", 1, &t, 2, arg);
  return lb_select(b, lb_fcmp(b, LLVMRealOEQ, r, zero), none, moved);
}

static Lv op_float(Lb *b, OpCode op, Lv x, Lv y) {
  switch ((int)op) {
  case OP_neg: return lb_fneg(b, x);
  case OP_abs: return lb_unary(b, "llvm.fabs", x);
  case OP_exp: return lm_exp(b, x);
  case OP_log: return lm_log(b, x);
  case OP_sqrt: return lb_unary(b, "llvm.sqrt", x);
  case OP_recip: return lb_fdiv(b, num(b, x, 1), x);
  case OP_erf: return lm_erf(b, x);
  case OP_tanh: return lm_tanh(b, x);
  case OP_sigmoid: return lm_sigmoid(b, x);
  case OP_relu: return lb_select(b, lb_fcmp(b, LLVMRealOLT, x, num(b, x, 0)), num(b, x, 0), x);
  case OP_sign: return sign_f(b, x);
  case OP_floor: return lb_unary(b, "llvm.floor", x);
  case OP_ceil: return lb_unary(b, "llvm.ceil", x);
  case OP_round: return lb_unary(b, "llvm.roundeven", x);
  case OP_again:
  case OP_stop: return x;
  case OP_isnan: return lb_fcmp(b, LLVMRealUNO, x, x);
  case OP_not: return lb_fcmp(b, LLVMRealOEQ, x, num(b, x, 0));
  case OP_add: return lb_fadd(b, x, y);
  case OP_sub: return lb_fsub(b, x, y);
  case OP_mul: return lb_fmul(b, x, y);
  case OP_div: return lb_fdiv(b, x, y);
  case OP_mod: return mod_f(b, x, y);
  case OP_fmod: return lm_fmod(b, x, y);
  case OP_pow: return lm_pow(b, x, y);
  case OP_min: return extreme_f(b, LLVMRealOLT, x, y);
  case OP_max: return extreme_f(b, LLVMRealOGT, x, y);
  case OP_eq: return lb_fcmp(b, LLVMRealOEQ, x, y);
  case OP_lt: return lb_fcmp(b, LLVMRealOLT, x, y);
  case OP_le: return lb_fcmp(b, LLVMRealOLE, x, y);
  default: VL_UNREACHABLE("elementwise op without float code");
  }
}

/* ---- integers ------------------------------------------------------------ */

/* Truncated quotient and remainder; 0 by zero, and no trap on min / -1. */
static Lv divide(Lb *b, Lv x, Lv y, bool remainder) {
  Lv zero = whole(b, x, 0), one = whole(b, x, 1);
  Lv by_zero = lb_icmp(b, LLVMIntEQ, y, zero), by_minus = lb_icmp(b, LLVMIntEQ, y, whole(b, x, -1));
  Lv safe = lb_select(b, LLVMBuildOr(b->b, by_zero, by_minus, ""), one, y);
  Lv r = remainder ? LLVMBuildSRem(b->b, x, safe, "") : LLVMBuildSDiv(b->b, x, safe, "");
  r = lb_select(b, by_minus, remainder ? zero : LLVMBuildNeg(b->b, x, ""), r);
  return lb_select(b, by_zero, zero, r);
}

static Lv mod_i(Lb *b, Lv x, Lv y) {
  Lv r = divide(b, x, y, true), zero = whole(b, x, 0);
  Lv differ = lb_icmp(b, LLVMIntSLT, LLVMBuildXor(b->b, r, y, ""), zero);
  Lv move = LLVMBuildAnd(b->b, differ, lb_icmp(b, LLVMIntNE, r, zero), "");
  return lb_select(b, move, lb_add(b, r, y), r);
}

/* By squaring, modulo 2^64; a negative power of anything but 1 and -1 is 0. */
static Lv pow_i(Lb *b, Lv x, Lv y) {
  Lt t = LLVMTypeOf(x);
  Lv zero = whole(b, x, 0), one = whole(b, x, 1);
  Lv base = lb_var(b, t, x), left = lb_var(b, t, y), r = lb_var(b, t, one);
  LbLoop loop;
  lb_for(b, &loop, lb_i64(b, 0), lb_i64(b, 63), 1);
  Lv odd = lb_icmp(b, LLVMIntNE, LLVMBuildAnd(b->b, lb_get(b, left), one, ""), zero);
  lb_set(b, r, lb_select(b, odd, lb_mul(b, lb_get(b, r), lb_get(b, base)), lb_get(b, r)));
  lb_set(b, base, lb_mul(b, lb_get(b, base), lb_get(b, base)));
  lb_set(b, left, LLVMBuildLShr(b->b, lb_get(b, left), one, ""));
  lb_end_for(b, &loop);
  Lv even = lb_icmp(b, LLVMIntEQ, LLVMBuildAnd(b->b, y, one, ""), zero);
  Lv inverse = lb_select(b, even, one, whole(b, x, -1));
  inverse = lb_select(b, lb_icmp(b, LLVMIntEQ, x, whole(b, x, -1)), inverse, zero);
  inverse = lb_select(b, lb_icmp(b, LLVMIntEQ, x, one), one, inverse);
  return lb_select(b, lb_icmp(b, LLVMIntSLT, y, zero), inverse, lb_get(b, r));
}

static Lv sign_i(Lb *b, Lv x) {
  Lv zero = whole(b, x, 0);
  Lv above = lb_select(b, lb_icmp(b, LLVMIntSGT, x, zero), whole(b, x, 1), zero);
  return lb_select(b, lb_icmp(b, LLVMIntSLT, x, zero), whole(b, x, -1), above);
}

static Lv op_int(Lb *b, OpCode op, Lv x, Lv y) {
  switch ((int)op) {
  case OP_neg: return LLVMBuildNeg(b->b, x, "");
  case OP_abs: return lb_max(b, x, LLVMBuildNeg(b->b, x, ""));
  case OP_relu: return lb_max(b, x, whole(b, x, 0));
  case OP_sign: return sign_i(b, x);
  case OP_floor:
  case OP_ceil:
  case OP_again:
  case OP_stop:
  case OP_round: return x;
  case OP_recip: return divide(b, whole(b, x, 1), x, false);
  case OP_isnan: return lb_icmp(b, LLVMIntNE, x, x);
  case OP_not: return lb_icmp(b, LLVMIntEQ, x, whole(b, x, 0));
  case OP_add: return lb_add(b, x, y);
  case OP_sub: return lb_sub(b, x, y);
  case OP_mul: return lb_mul(b, x, y);
  case OP_div: return divide(b, x, y, false);
  case OP_mod: return mod_i(b, x, y);
  case OP_fmod: return divide(b, x, y, true);
  case OP_pow: return pow_i(b, x, y);
  case OP_min: return lb_min(b, x, y);
  case OP_max: return lb_max(b, x, y);
  case OP_eq: return lb_icmp(b, LLVMIntEQ, x, y);
  case OP_lt: return lb_icmp(b, LLVMIntSLT, x, y);
  case OP_le: return lb_icmp(b, LLVMIntSLE, x, y);
  default: VL_UNREACHABLE("elementwise op without integer code");
  }
}

/* ---- choice -------------------------------------------------------------- */

static bool gives_bool(OpCode op) { return (op_info(op)->flags & F_BOOL_OUT) != 0; }

/* The dtype in which op computes on operands of dtype d. */
static VlDtype working_dtype(OpCode op, VlDtype d) {
  if (op == OP_and || op == OP_or) return VLPC_BOOL;
  if (ls_type(d) == LS_BOOL) return VLPC_I64;
  if (ls_type(d) == LS_INT && (op_info(op)->flags & F_FLOAT_IN)) return VLPC_F32;
  return d;
}

Lv ls_op(Lb *b, OpCode op, const VlDtype in[3], const Lv v[3], VlDtype out) {
  if (op == OP_cast) return ls_convert(b, in[0], out, v[0]);
  if (op == OP_where)
    return lb_select(b, ls_convert(b, in[0], VLPC_BOOL, v[0]), ls_convert(b, in[1], out, v[1]),
                     ls_convert(b, in[2], out, v[2]));
  VlDtype d = working_dtype(op, in[0]);
  Lv x = ls_convert(b, in[0], d, v[0]);
  Lv y = op_info(op)->min_in > 1 ? ls_convert(b, in[1], d, v[1]) : x;
  Lv r;
  if (op == OP_and) r = LLVMBuildAnd(b->b, x, y, "");
  else if (op == OP_or) r = LLVMBuildOr(b->b, x, y, "");
  else r = ls_type(d) == LS_INT ? op_int(b, op, x, y) : op_float(b, op, x, y);
  VlDtype made = gives_bool(op) ? VLPC_BOOL : d;
  return ls_round(b, out, ls_convert(b, made, out, r));
}
