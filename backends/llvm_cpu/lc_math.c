/* SPDX-License-Identifier: Apache-2.0 */
/* lc_math.c - see lc_math.h.
**
** exp, log and tanh in f32 use the polynomials of Cephes (S. Moshier), erf the
** two-branch form of N. Juffa; the f64 forms of exp and log use those of
** fdlibm.  Both branches are computed and selected, as lanes differ. */
#include "backends/llvm_cpu/lc_math.h"

#include <math.h>

/* ---- shape of a value ---------------------------------------------------- */

static Lt element(Lv x) {
  Lt t = LLVMTypeOf(x);
  return LLVMGetTypeKind(t) == LLVMVectorTypeKind ? LLVMGetElementType(t) : t;
}

static bool is_f64(Lv x) { return LLVMGetTypeKind(element(x)) == LLVMDoubleTypeKind; }

/* t with the lane count of x. */
static Lt like(Lv x, Lt t) {
  Lt xt = LLVMTypeOf(x);
  return LLVMGetTypeKind(xt) == LLVMVectorTypeKind ? LLVMVectorType(t, LLVMGetVectorSize(xt)) : t;
}

static Lt int_like(Lb *e, Lv x) { return like(x, is_f64(x) ? e->i64 : e->i32); }
static Lv c(Lb *e, Lv x, double v) { return lb_const(e, LLVMTypeOf(x), v); }
static Lv ci(Lb *e, Lv x, int64_t v) { return lb_const_int(e, LLVMTypeOf(x), v); }

static Lv horner(Lb *e, Lv x, const double *k, uint32_t n) {
  Lv y = c(e, x, k[0]);
  for (uint32_t i = 1; i < n; i++) y = lb_fma(e, y, x, c(e, x, k[i]));
  return y;
}

static Lv fabs_of(Lb *e, Lv x) { return lb_unary(e, "llvm.fabs", x); }

static Lv copysign_of(Lb *e, Lv size, Lv sign) {
  Lt t = LLVMTypeOf(size);
  Lv arg[2] = {size, sign};
  return lb_intrinsic(e, "llvm.copysign", 1, &t, 2, arg);
}

/* ---- exp ----------------------------------------------------------------- */

/* y · 2^n for integral n; exact but for the last rounding, also to denormals:
** the power is applied in two halves, each a normal number. */
static Lv scale_by_power(Lb *e, Lv y, Lv n) {
  bool f64 = is_f64(y);
  Lv k = LLVMBuildFPToSI(e->b, n, int_like(e, y), "");
  Lv low = LLVMBuildAShr(e->b, k, ci(e, k, 1), "");
  Lv high = LLVMBuildSub(e->b, k, low, "");
  Lv half[2] = {low, high};
  for (int i = 0; i < 2; i++) {
    Lv biased = LLVMBuildAdd(e->b, half[i], ci(e, k, f64 ? 1023 : 127), "");
    Lv bits = LLVMBuildShl(e->b, biased, ci(e, k, f64 ? 52 : 23), "");
    y = lb_fmul(e, y, lb_bits(e, bits, LLVMTypeOf(y)));
  }
  return y;
}

static bool has_scalef(Lb *e, Lv x) {
  return e->target->isa >= ISA_AVX512 && LLVMTypeOf(x) == e->vf;
}

/* Underflow takes an Intel processor 200 cycles: y becomes zero beforehand where the result is
** (below 2^-150), but SCALEF is fast for an n that is small enough (exp_f32). */
static Lv scale_f32(Lb *e, Lv y, Lv n) {
  if (!has_scalef(e, y)) {
    Lv none = lb_fcmp(e, LLVMRealOLT, n, c(e, n, -150));
    return scale_by_power(e, lb_select(e, none, c(e, y, 0), y), n);
  }
  Lv arg[5] = {y, n, y, LLVMConstInt(e->i16, 0xffff, 0), lb_i32(e, 4)};
  return lb_intrinsic(e, "llvm.x86.avx512.mask.scalef.ps.512", 0, NULL, 5, arg);
}

/* For x in [-105, 89.5], with SCALEF in [-700, 89.5], or NaN. */
static Lv exp_f32_near(Lb *e, Lv x) {
  static const double poly[] = {1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3,
                                4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1};
  Lv n = lb_unary(e, "llvm.roundeven", lb_fmul(e, x, c(e, x, 1.44269504088896341)));
  Lv r = lb_fma(e, n, c(e, x, -0.693359375), x);
  r = lb_fma(e, n, c(e, x, 2.12194440e-4), r);
  Lv y = lb_fma(e, horner(e, r, poly, VL_COUNT(poly)), lb_fmul(e, r, r), r);
  return scale_f32(e, lb_fadd(e, y, c(e, x, 1)), n);
}

/* Of x, or of `most` (at most 89.5) where x is above. */
static Lv exp_f32(Lb *e, Lv x, double most) {
  double least = has_scalef(e, x) ? -700 : -105;
  return exp_f32_near(e, lb_fmax(e, c(e, x, least), lb_fmin(e, c(e, x, most), x)));
}

static Lv exp_f64(Lb *e, Lv x) {
  static const double poly[] = {4.13813679705723846039e-08, -1.65339022054652515390e-06,
                                6.61375632143793436117e-05, -2.77777777770155933842e-03,
                                1.66666666666666019037e-01};
  x = lb_fmax(e, c(e, x, -750), lb_fmin(e, c(e, x, 711), x));
  Lv n = lb_unary(e, "llvm.roundeven", lb_fmul(e, x, c(e, x, 1.44269504088896338700)));
  Lv hi = lb_fma(e, n, c(e, x, -6.93147180369123816490e-01), x);
  Lv lo = lb_fmul(e, n, c(e, x, 1.90821492927058770002e-10));
  Lv r = lb_fsub(e, hi, lo);
  Lv t = lb_fmul(e, r, r);
  Lv q = lb_fsub(e, r, lb_fmul(e, t, horner(e, t, poly, VL_COUNT(poly))));
  Lv frac = lb_fdiv(e, lb_fmul(e, r, q), lb_fsub(e, c(e, x, 2), q));
  Lv y = lb_fsub(e, c(e, x, 1), lb_fsub(e, lb_fsub(e, lo, frac), hi));
  return scale_by_power(e, y, n);
}

Lv lm_exp(Lb *e, Lv x) { return is_f64(x) ? exp_f64(e, x) : exp_f32(e, x, 89.5); }

/* ---- log ----------------------------------------------------------------- */

typedef struct {
  Lv f; /* mantissa - 1, mantissa in [√½, √2) */
  Lv n; /* exponent, as a float */
} Split;

static Split split_float(Lb *e, Lv x) {
  bool f64 = is_f64(x);
  int64_t shift = f64 ? 52 : 23, bias = f64 ? 1022 : 126;
  Lv tiny = lb_fcmp(e, LLVMRealOLT, x, c(e, x, f64 ? 0x1p-1022 : 0x1p-126));
  Lv big = lb_select(e, tiny, lb_fmul(e, x, c(e, x, f64 ? 0x1p54 : 0x1p25)), x);
  Lv bits = lb_bits(e, big, int_like(e, x));
  Lv exponent = LLVMBuildSub(e->b, LLVMBuildLShr(e->b, bits, ci(e, bits, shift), ""),
                             ci(e, bits, bias), "");
  Lv keep = LLVMBuildAnd(e->b, bits, ci(e, bits, ((int64_t)1 << shift) - 1), "");
  Lv m = lb_bits(e, LLVMBuildOr(e->b, keep, ci(e, bits, bias << shift), ""), LLVMTypeOf(x));
  Lv n = LLVMBuildSIToFP(e->b, exponent, LLVMTypeOf(x), "");
  n = lb_select(e, tiny, lb_fsub(e, n, c(e, x, f64 ? 54 : 25)), n);
  Lv small = lb_fcmp(e, LLVMRealOLT, m, c(e, x, 0.707106781186547524));
  n = lb_select(e, small, lb_fsub(e, n, c(e, x, 1)), n);
  m = lb_select(e, small, lb_fadd(e, m, m), m);
  return (Split){lb_fsub(e, m, c(e, x, 1)), n};
}

static Lv log_f32(Lb *e, Split s) {
  static const double poly[] = {7.0376836292e-2,  -1.1514610310e-1, 1.1676998740e-1,
                                -1.2420140846e-1, 1.4249322787e-1,  -1.6668057665e-1,
                                2.0000714765e-1,  -2.4999993993e-1, 3.3333331174e-1};
  Lv z = lb_fmul(e, s.f, s.f);
  Lv y = lb_fmul(e, lb_fmul(e, s.f, z), horner(e, s.f, poly, VL_COUNT(poly)));
  y = lb_fma(e, s.n, c(e, z, -2.12194440e-4), y);
  y = lb_fma(e, z, c(e, z, -0.5), y);
  return lb_fma(e, s.n, c(e, z, 0.693359375), lb_fadd(e, s.f, y));
}

static Lv log_f64(Lb *e, Split p) {
  static const double poly[] = {1.479819860511658591e-01, 1.531383769920937332e-01,
                                1.818357216161805012e-01, 2.222219843214978396e-01,
                                2.857142874366239149e-01, 3.999999999940941908e-01,
                                6.666666666666735130e-01};
  Lv s = lb_fdiv(e, p.f, lb_fadd(e, p.f, c(e, p.f, 2)));
  Lv z = lb_fmul(e, s, s);
  Lv r = lb_fmul(e, z, horner(e, z, poly, VL_COUNT(poly)));
  Lv h = lb_fmul(e, lb_fmul(e, p.f, p.f), c(e, z, 0.5));
  Lv t = lb_fma(e, p.n, c(e, z, 1.90821492927058770002e-10), lb_fmul(e, s, lb_fadd(e, h, r)));
  Lv low = lb_fsub(e, lb_fsub(e, h, t), p.f);
  return lb_fsub(e, lb_fmul(e, p.n, c(e, z, 6.93147180369123816490e-01)), low);
}

Lv lm_log(Lb *e, Lv x) {
  Split s = split_float(e, x);
  Lv y = is_f64(x) ? log_f64(e, s) : log_f32(e, s);
  y = lb_select(e, lb_fcmp(e, LLVMRealOEQ, x, c(e, x, INFINITY)), x, y);
  y = lb_select(e, lb_fcmp(e, LLVMRealOEQ, x, c(e, x, 0)), c(e, x, -INFINITY), y);
  return lb_select(e, lb_fcmp(e, LLVMRealOGE, x, c(e, x, 0)), y, c(e, x, NAN));
}

/* ---- erf and tanh -------------------------------------------------------- */

static Lv erf_f32(Lb *e, Lv x) {
  static const double near_[] = {-5.96761703e-4, 4.99119423e-3,  -2.67681349e-2,
                                 1.12819925e-1,  -3.76125336e-1, 1.28379166e-1};
  static const double far_[] = {-1.72853470e-5, 3.83197126e-4,  -3.88396438e-3, 2.42546219e-2,
                                -1.06777877e-1, -6.34846687e-1, -1.28717512e-1};
  Lv t = fabs_of(e, x), s = lb_fmul(e, x, x);
  Lv low = lb_fma(e, horner(e, s, near_, VL_COUNT(near_)), x, x);
  /* beyond 4 the result rounds to 1; the limit also keeps the powers finite */
  Lv u = lb_fmin(e, c(e, x, 4), t);
  Lv high = lb_fma(e, horner(e, u, far_, VL_COUNT(far_)), u, lb_fneg(e, u));
  high = copysign_of(e, lb_fsub(e, c(e, x, 1), exp_f32_near(e, high)), x);
  return lb_select(e, lb_fcmp(e, LLVMRealOGT, t, c(e, x, 0.927734375)), high, low);
}

/* 2/√π · x · exp(-x²) · Σ (2x²)^i / (1·3·…·(2i+1)): every term is positive, so
** nothing cancels.  f64 erf is rare; 128 terms reach |x| = 6. */
static Lv erf_f64(Lb *e, Lv x) {
  Lt t = LLVMTypeOf(x);
  Lv a = lb_fmin(e, c(e, x, 6), fabs_of(e, x));
  Lv square = lb_fmul(e, a, a), twice = lb_fadd(e, square, square);
  Lv term = lb_var(e, t, a), sum = lb_var(e, t, a);
  LbLoop loop;
  Lv i = lb_for(e, &loop, lb_i64(e, 1), lb_i64(e, 128), 1);
  Lv odd = LLVMBuildSIToFP(e->b, lb_addc(e, lb_mulc(e, i, 2), 1), e->f64, "");
  if (LLVMGetTypeKind(t) == LLVMVectorTypeKind) odd = lb_splat(e, odd);
  lb_set(e, term, lb_fdiv(e, lb_fmul(e, lb_get(e, term), twice), odd));
  lb_set(e, sum, lb_fadd(e, lb_get(e, sum), lb_get(e, term)));
  lb_end_for(e, &loop);
  Lv y = lb_fmul(e, lb_fmul(e, lb_get(e, sum), exp_f64(e, lb_fneg(e, square))),
                 c(e, x, 1.12837916709551257390));
  return copysign_of(e, y, x);
}

Lv lm_erf(Lb *e, Lv x) { return is_f64(x) ? erf_f64(e, x) : erf_f32(e, x); }

/* 1 - 2 / (exp(2|x|) + 1), with the sign of x. */
static Lv tanh_far(Lb *e, Lv x) {
  Lv t = fabs_of(e, x), ex = lm_exp(e, lb_fadd(e, t, t));
  Lv y = lb_fdiv(e, c(e, x, 2), lb_fadd(e, ex, c(e, x, 1)));
  return copysign_of(e, lb_fsub(e, c(e, x, 1), y), x);
}

Lv lm_tanh(Lb *e, Lv x) {
  static const double k32[] = {-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2,
                               1.33314422036e-1, -3.33332819422e-1};
  static const double k64[] = {-1382.0 / 155925, 62.0 / 2835, -17.0 / 315, 2.0 / 15, -1.0 / 3};
  bool f64 = is_f64(x);
  Lv z = lb_fmul(e, x, x);
  Lv near_ = lb_fma(e, lb_fmul(e, horner(e, z, f64 ? k64 : k32, 5), z), x, x);
  Lv small = lb_fcmp(e, LLVMRealOLT, fabs_of(e, x), c(e, x, f64 ? 0.05 : 0.625));
  return lb_select(e, small, near_, tanh_far(e, x));
}

/* 1 / x for a normal f32 in [1, 2^126], within 2 ulp: a division takes longer than exp.  The
** first guess, from the exponent, is off by 5 % at most; a step cubes that. */
static Lv reciprocal(Lb *e, Lv x) {
  Lv bits = lb_bits(e, x, like(x, e->i32)), one = c(e, x, 1);
  Lv y = lb_bits(e, LLVMBuildSub(e->b, ci(e, bits, 0x7ef311c7), bits, ""), LLVMTypeOf(x));
  for (int i = 0; i < 2; i++) {
    Lv off = lb_fma(e, lb_fneg(e, x), y, one);
    y = lb_fma(e, y, lb_fma(e, off, off, off), y);
  }
  return y;
}

Lv lm_sigmoid(Lb *e, Lv x) {
  Lv one = c(e, x, 1), minus = lb_fneg(e, x);
  if (is_f64(x)) return lb_fdiv(e, one, lb_fadd(e, one, exp_f64(e, minus)));
  return reciprocal(e, lb_fadd(e, one, exp_f32(e, minus, 87)));
}

/* All in the order of their expansion (ir/expand.c): the same bits where they are fused into a
** product and where that product is kept for the way back. */

Lv lm_gelu_erf(Lb *e, Lv x) {
  Lv y = lm_erf(e, lb_fmul(e, x, c(e, x, 0.70710678118654752440)));
  return lb_fmul(e, lb_fmul(e, x, c(e, x, 0.5)), lb_fadd(e, y, c(e, x, 1)));
}

Lv lm_gelu_tanh(Lb *e, Lv x) {
  Lv cube = lb_fmul(e, lb_fmul(e, x, x), x);
  Lv sum = lb_fadd(e, x, lb_fmul(e, cube, c(e, x, 0.044715)));
  Lv y = lm_tanh(e, lb_fmul(e, sum, c(e, x, 0.79788456080286535588))); /* √(2/π) */
  return lb_fmul(e, lb_fmul(e, x, c(e, x, 0.5)), lb_fadd(e, y, c(e, x, 1)));
}

Lv lm_gelu_quick(Lb *e, Lv x) {
  return lb_fmul(e, x, lm_sigmoid(e, lb_fmul(e, x, c(e, x, 1.702))));
}

/* ---- pow and fmod -------------------------------------------------------- */

static Lv pow_f64(Lb *e, Lv a, Lv b) {
  Lv y = exp_f64(e, lb_fmul(e, b, lm_log(e, fabs_of(e, a))));
  Lv whole = lb_fcmp(e, LLVMRealOEQ, lb_unary(e, "llvm.floor", b), b);
  Lv half = lb_fmul(e, b, c(e, b, 0.5));
  Lv even = lb_fcmp(e, LLVMRealOEQ, lb_unary(e, "llvm.floor", half), half);
  Lv negative = lb_select(e, even, y, lb_fneg(e, y));
  negative = lb_select(e, whole, negative, c(e, a, NAN));
  y = lb_select(e, lb_fcmp(e, LLVMRealOLT, a, c(e, a, 0)), negative, y);
  Lv one = LLVMBuildOr(e->b, lb_fcmp(e, LLVMRealOEQ, b, c(e, b, 0)),
                       lb_fcmp(e, LLVMRealOEQ, a, c(e, a, 1)), "");
  return lb_select(e, one, c(e, a, 1), y);
}

static Lv fmod_f64(Lb *e, Lv a, Lv b) {
  Lv q = lb_unary(e, "llvm.trunc", lb_fdiv(e, a, b));
  Lv r = copysign_of(e, lb_fma(e, lb_fneg(e, q), b, a), a);
  Lv beyond = LLVMBuildAnd(e->b, lb_fcmp(e, LLVMRealOEQ, fabs_of(e, b), c(e, b, INFINITY)),
                           lb_fcmp(e, LLVMRealONE, fabs_of(e, a), c(e, a, INFINITY)), "");
  return lb_select(e, beyond, a, r);
}

static Lv through_f64(Lb *e, Lv a, Lv b, Lv (*f)(Lb *, Lv, Lv)) {
  if (is_f64(a)) return f(e, a, b);
  Lt wide = like(a, e->f64);
  Lv y = f(e, LLVMBuildFPExt(e->b, a, wide, ""), LLVMBuildFPExt(e->b, b, wide, ""));
  return LLVMBuildFPTrunc(e->b, y, LLVMTypeOf(a), "");
}

Lv lm_pow(Lb *e, Lv a, Lv b) { return through_f64(e, a, b, pow_f64); }
Lv lm_fmod(Lb *e, Lv a, Lv b) { return through_f64(e, a, b, fmod_f64); }

/* ---- 16-bit floats ------------------------------------------------------- */

Lv lm_f32_of_bf16(Lb *e, Lv bits) {
  Lv wide = LLVMBuildZExt(e->b, bits, like(bits, e->i32), "");
  return lb_bits(e, LLVMBuildShl(e->b, wide, ci(e, wide, 16), ""), like(bits, e->f32));
}

Lv lm_bf16_of_f32(Lb *e, Lv x) {
  Lv u = lb_bits(e, x, like(x, e->i32));
  Lv odd = LLVMBuildAnd(e->b, LLVMBuildLShr(e->b, u, ci(e, u, 16), ""), ci(e, u, 1), "");
  Lv up = LLVMBuildAdd(e->b, u, LLVMBuildAdd(e->b, odd, ci(e, u, 0x7fff), ""), "");
  Lv quiet = LLVMBuildOr(e->b, u, ci(e, u, 0x400000), "");
  Lv r = lb_select(e, lb_fcmp(e, LLVMRealUNO, x, x), quiet, up);
  return LLVMBuildTrunc(e->b, LLVMBuildLShr(e->b, r, ci(e, r, 16), ""), like(x, e->i16), "");
}

Lv lm_f32_of_half(Lb *e, Lv bits) {
  if (e->target->has_f16)
    return LLVMBuildFPExt(e->b, lb_bits(e, bits, like(bits, e->f16)), like(bits, e->f32), "");
  /* Exponent and mantissa move to f32's place; the multiply rebiases the
  ** exponent, and makes denormals right too.  Infinity and NaN are set after. */
  Lv u = LLVMBuildZExt(e->b, bits, like(bits, e->i32), "");
  Lv sign = LLVMBuildShl(e->b, LLVMBuildAnd(e->b, u, ci(e, u, 0x8000), ""), ci(e, u, 16), "");
  Lv body = LLVMBuildShl(e->b, LLVMBuildAnd(e->b, u, ci(e, u, 0x7fff), ""), ci(e, u, 13), "");
  Lt f = like(bits, e->f32);
  Lv y = lb_bits(e, lb_fmul(e, lb_bits(e, body, f), lb_const(e, f, 0x1p112)), LLVMTypeOf(u));
  Lv top = LLVMBuildOr(e->b, body, ci(e, u, 0x7f800000), "");
  y = lb_select(e, lb_icmp(e, LLVMIntUGE, body, ci(e, u, 0x0f800000)), top, y);
  return lb_bits(e, LLVMBuildOr(e->b, y, sign, ""), f);
}

Lv lm_half_of_f32(Lb *e, Lv x) {
  Lt i16 = like(x, e->i16);
  if (e->target->has_f16)
    return lb_bits(e, LLVMBuildFPTrunc(e->b, x, like(x, e->f16), ""), i16);
  /* Normal results: round at bit 13 in integers.  Denormal results: adding 0.5
  ** aligns the last kept bit with f32's last bit, and the adder rounds. */
  Lv u = lb_bits(e, x, like(x, e->i32));
  Lv sign = LLVMBuildAnd(e->b, LLVMBuildLShr(e->b, u, ci(e, u, 16), ""), ci(e, u, 0x8000), "");
  Lv a = LLVMBuildAnd(e->b, u, ci(e, u, 0x7fffffff), "");
  Lv odd = LLVMBuildAnd(e->b, LLVMBuildLShr(e->b, a, ci(e, u, 13), ""), ci(e, u, 1), "");
  Lv sum = LLVMBuildAdd(e->b, LLVMBuildAdd(e->b, a, odd, ""), ci(e, u, 0xfff - 0x38000000), "");
  Lv normal = LLVMBuildLShr(e->b, sum, ci(e, u, 13), "");
  Lv af = lb_bits(e, a, like(x, e->f32));
  Lv aligned = lb_bits(e, lb_fadd(e, af, c(e, af, 0.5)), LLVMTypeOf(u));
  Lv tiny = LLVMBuildSub(e->b, aligned, ci(e, u, 0x3f000000), "");
  Lv h = lb_select(e, lb_icmp(e, LLVMIntULT, a, ci(e, u, 0x38800000)), tiny, normal);
  h = lb_select(e, lb_icmp(e, LLVMIntUGE, a, ci(e, u, 0x477ff000)), ci(e, u, 0x7c00), h);
  h = lb_select(e, lb_icmp(e, LLVMIntUGT, a, ci(e, u, 0x7f800000)), ci(e, u, 0x7e00), h);
  return LLVMBuildTrunc(e->b, LLVMBuildOr(e->b, h, sign, ""), i16, "");
}
