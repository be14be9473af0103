/* SPDX-License-Identifier: Apache-2.0 */
/* lc_build.h - a thin layer over the LLVM IR builder: variables, loops,
** branches, vectors of LC_W lanes, masks for tails.
**
** A variable is an alloca in the entry block; the passes run later make SSA of it.
** Addresses are byte offsets from a pointer.  A vector always has LC_W lanes of
** 32-bit elements, whatever the target: the code generator splits it into what
** the target has, and results do not depend on the split.
** Every function here appends to the current block of the current function. */
#ifndef VLPC_BACKENDS_LLVM_CPU_LC_BUILD_H
#define VLPC_BACKENDS_LLVM_CPU_LC_BUILD_H

#include <llvm-c/Core.h>

#include "backends/llvm_cpu/lc_target.h"
#include "base/dtype.h"

typedef LLVMValueRef Lv;
typedef LLVMTypeRef Lt;

#define LC_W 16

typedef struct {
  const LcTarget *target;
  LLVMContextRef cx;
  LLVMModuleRef mod;
  LLVMBuilderRef b;
  Lv fn;                  /* function being filled */
  LLVMBasicBlockRef entry; /* where its variables live */
  Lt void_t, i1, i8, i16, i32, i64, f16, f32, f64, ptr;
  Lt vf, vi, vm; /* LC_W lanes of f32, i32, i1 */
} Lb;

/* Creates context, module and builder.  lb_fini takes a zeroed Lb too. */
void lb_init(Lb *e, const LcTarget *t, const char *module);
void lb_fini(Lb *e);

/* Starts a function; every later call appends to it until the next one.
** internal: callable only inside the module, else inside the image.  The values of
** the parameters are read with LLVMGetParam(e->fn, i). */
Lv lb_function(Lb *e, const char *name, Lt result, uint32_t n, const Lt *param, bool internal);
/* One of another module of the same image. */
Lv lb_declare(Lb *e, const char *name, Lt result, uint32_t n, const Lt *param);
void lb_param_attr(Lb *e, uint32_t param, const char *attr);
Lv lb_call(Lb *e, Lv fn, uint32_t n, const Lv *arg);
/* An LLVM intrinsic overloaded on the n_over types. */
Lv lb_intrinsic(Lb *e, const char *name, uint32_t n_over, Lt *over, uint32_t n, Lv *arg);

/* constants */
Lv lb_i64(Lb *e, int64_t v);
Lv lb_i32(Lb *e, int32_t v);
Lv lb_f32(Lb *e, double v);
Lv lb_vf(Lb *e, double v);  /* splat constant */
Lv lb_vi(Lb *e, int32_t v); /* splat constant */
/* The constant v as type t: float, integer, or a vector of either. */
Lv lb_const(Lb *e, Lt t, double v);
Lv lb_const_int(Lb *e, Lt t, int64_t v);

/* i64 arithmetic */
Lv lb_add(Lb *e, Lv a, Lv b);
Lv lb_sub(Lb *e, Lv a, Lv b);
Lv lb_mul(Lb *e, Lv a, Lv b);
Lv lb_addc(Lb *e, Lv a, int64_t c);
Lv lb_mulc(Lb *e, Lv a, int64_t c);
Lv lb_divc(Lb *e, Lv a, int64_t c); /* a >= 0, c > 0 */
Lv lb_remc(Lb *e, Lv a, int64_t c); /* a >= 0, c > 0 */
Lv lb_min(Lb *e, Lv a, Lv b);       /* signed */
Lv lb_max(Lb *e, Lv a, Lv b);
Lv lb_icmp(Lb *e, LLVMIntPredicate p, Lv a, Lv b);

/* variables */
Lv lb_var(Lb *e, Lt t, Lv init); /* init may be NULL */
Lv lb_get(Lb *e, Lv var);
void lb_set(Lb *e, Lv var, Lv v);
/* A 64-byte aligned array on the stack of the current function. */
Lv lb_array(Lb *e, Lt t, uint32_t n);

/* control */
typedef struct {
  LLVMBasicBlockRef head, body, exit;
  Lv var, to;
  int64_t step;
} LbLoop;
/* for (i = from; i < to; i += step); returns i inside the body. */
Lv lb_for(Lb *e, LbLoop *l, Lv from, Lv to, int64_t step);
void lb_end_for(Lb *e, LbLoop *l);
typedef struct {
  LLVMBasicBlockRef no, join;
  bool has_else;
} LbIf;
void lb_if(Lb *e, LbIf *s, Lv cond);
void lb_else(Lb *e, LbIf *s);
void lb_end_if(Lb *e, LbIf *s);
LLVMBasicBlockRef lb_block(Lb *e, const char *name);

/* memory */
Lv lb_at(Lb *e, Lv p, Lv bytes);       /* p + bytes */
Lv lb_atc(Lb *e, Lv p, int64_t bytes); /* p + constant */
Lv lb_load(Lb *e, Lt t, Lv p, uint32_t align);
void lb_store(Lb *e, Lv v, Lv p, uint32_t align);
void lb_prefetch(Lb *e, Lv p, int locality);
/* Lane i is i; lanes [0, n) of a mask, n an i64 (lanes past LC_W are fine). */
Lv lb_lanes(Lb *e);
Lv lb_tail_mask(Lb *e, Lv n);
/* LC_W floats; with a mask (may be NULL: all) the rest of the lanes is `pass`
** (NULL: zero) and their memory is not touched. */
Lv lb_load_vf(Lb *e, Lv p, Lv mask, Lv pass);
void lb_store_vf(Lb *e, Lv v, Lv p, Lv mask);

/* float vectors and scalars (any float type) */
Lv lb_splat(Lb *e, Lv scalar); /* to LC_W lanes */
Lv lb_fadd(Lb *e, Lv a, Lv b);
Lv lb_fsub(Lb *e, Lv a, Lv b);
Lv lb_fmul(Lb *e, Lv a, Lv b);
Lv lb_fdiv(Lb *e, Lv a, Lv b);
/* a·b + c, rounded once where the target has FMA, twice elsewhere. */
Lv lb_fma(Lb *e, Lv a, Lv b, Lv c);
Lv lb_fneg(Lb *e, Lv a);
Lv lb_fmax(Lb *e, Lv a, Lv b); /* b when either is NaN */
Lv lb_fmin(Lb *e, Lv a, Lv b);
Lv lb_fcmp(Lb *e, LLVMRealPredicate p, Lv a, Lv b);
Lv lb_select(Lb *e, Lv c, Lv a, Lv b);
Lv lb_unary(Lb *e, const char *intrinsic, Lv a);
Lv lb_bits(Lb *e, Lv a, Lt t); /* bitcast */
Lv lb_shuffle(Lb *e, Lv a, Lv b, const int *index, uint32_t n); /* -1: undefined */
Lv lb_lane(Lb *e, Lv v, int i);
Lv lb_set_lane(Lb *e, Lv v, Lv s, int i);
/* Horizontal sum and maximum in one fixed tree: 8+8, 4+4, 2+2, 1+1. */
Lv lb_hsum(Lb *e, Lv v);
Lv lb_hmax(Lb *e, Lv v);

#endif
