/* SPDX-License-Identifier: Apache-2.0 */
/* lc_axis.c - cumulative sums and top-k along one axis.
**
** Both are scalar code, one task per line of the axis.  Top-k picks k times the
** next element in the order (value, then lower index); elements compare by an
** integer key that sorts as the values do, NaN above everything. */
#include "backends/llvm_cpu/lc_emit.h"

#include "backends/llvm_cpu/lc_scalar.h"
#include "runtime/code.h"

typedef struct {
  Lv out, x;      /* first element of the line */
  Lv n, pitch;    /* elements, and bytes between them in x */
  int64_t bytes;  /* of an element of x */
} Line;

static Line line_at(Emit *e, const KAxis *k, Lv task, Lv out_axis, int64_t out_bytes) {
  Lb *b = &e->b;
  Line l = {.n = le_size(e, k->axis), .bytes = (int64_t)dtype_size(k->dtype)};
  Lv inner = le_size(e, k->inner);
  l.pitch = lb_mulc(b, inner, l.bytes);
  Lv o = LLVMBuildUDiv(b->b, task, inner, ""), i = LLVMBuildURem(b->b, task, inner, "");
  Lv x = lb_add(b, lb_mul(b, lb_mul(b, o, l.n), inner), i);
  Lv y = lb_add(b, lb_mul(b, lb_mul(b, o, out_axis), inner), i);
  l.x = lb_at(b, le_operand(e, 1), lb_mulc(b, x, l.bytes));
  l.out = lb_at(b, le_operand(e, 0), lb_mulc(b, y, out_bytes));
  return l;
}

static Lv axis_tasks(Emit *e, const Kernel *k) {
  return lb_mul(&e->b, le_size(e, k->axis.outer), le_size(e, k->axis.inner));
}

static void scan_run(Emit *e, const Kernel *kernel) {
  Lb *b = &e->b;
  const KAxis *k = &kernel->axis;
  LbLoop tasks, loop;
  Lv task = lb_for(b, &tasks, e->begin, e->end, 1);
  Line l = line_at(e, k, task, le_size(e, k->axis), (int64_t)dtype_size(k->dtype));
  LsType t = ls_type(k->dtype);
  Lv sum = lb_var(b, ls_llvm(b, t, 1), ls_number(b, t, 1, 0, 0));
  Lv i = lb_for(b, &loop, lb_i64(b, 0), l.n, 1);
  Lv at = k->reverse ? lb_sub(b, lb_addc(b, l.n, -1), i) : i, offset = lb_mul(b, at, l.pitch);
  Lv before = lb_get(b, sum), v = ls_load_one(b, k->dtype, lb_at(b, l.x, offset));
  Lv after = ls_round(b, k->dtype, ls_add(b, t, before, v));
  lb_set(b, sum, after);
  ls_store_one(b, k->dtype, k->exclusive ? before : after, lb_at(b, l.out, offset));
  lb_end_for(b, &loop);
  lb_end_for(b, &tasks);
}

/* An i64 that sorts as the value does. */
static Lv sort_key(Lb *b, VlDtype d, Lv v) {
  LsType t = ls_type(d);
  if (t != LS_F32 && t != LS_F64) return ls_to_i64(b, d, v);
  Lv nan = lb_fcmp(b, LLVMRealUNO, v, v);
  v = lb_fadd(b, v, lb_const(b, LLVMTypeOf(v), 0)); /* -0 to +0 */
  if (t == LS_F32) v = LLVMBuildFPExt(b->b, v, b->f64, "");
  Lv bits = lb_bits(b, v, b->i64);
  Lv sign = LLVMBuildAShr(b->b, bits, lb_i64(b, 63), "");
  Lv key = LLVMBuildXor(b->b, bits, LLVMBuildLShr(b->b, sign, lb_i64(b, 1), ""), "");
  return lb_select(b, nan, lb_i64(b, INT64_MAX), key);
}

/* Whether (key, index) comes before (other, other_index). */
static Lv precedes(Lb *b, bool largest, Lv key, Lv index, Lv other, Lv other_index) {
  Lv better = lb_icmp(b, largest ? LLVMIntSGT : LLVMIntSLT, key, other);
  Lv tie = LLVMBuildAnd(b->b, lb_icmp(b, LLVMIntEQ, key, other),
                        lb_icmp(b, LLVMIntSLT, index, other_index), "");
  return LLVMBuildOr(b->b, better, tie, "");
}

/* Stops the kernel when a line has fewer elements than are picked. */
static void need_elements(Emit *e, const KAxis *k) {
  Lb *b = &e->b;
  if (k->axis.dyn < 0) return;
  LLVMBasicBlockRef stop = lb_block(b, "fault"), go = lb_block(b, "enough");
  Lv few = lb_icmp(b, LLVMIntSLT, le_size(e, k->axis), lb_i64(b, k->k));
  LLVMBuildCondBr(b->b, few, stop, go);
  LLVMPositionBuilderAtEnd(b->b, stop);
  LLVMBuildRet(b->b, lb_i32(b, FAULT_INDEX));
  LLVMPositionBuilderAtEnd(b->b, go);
}

static void topk_run(Emit *e, const Kernel *kernel) {
  Lb *b = &e->b;
  const KAxis *k = &kernel->axis;
  VlDtype out_dtype = k->want_indices ? VLPC_I64 : k->dtype;
  int64_t out_bytes = (int64_t)dtype_size(out_dtype);
  LbLoop tasks, picks, scan;
  need_elements(e, k);
  Lv task = lb_for(b, &tasks, e->begin, e->end, 1);
  Line l = line_at(e, k, task, lb_i64(b, k->k), out_bytes);
  Lv out_pitch = lb_mulc(b, le_size(e, k->inner), out_bytes);
  Lv last = lb_var(b, b->i64, lb_i64(b, k->largest ? INT64_MAX : INT64_MIN));
  Lv last_i = lb_var(b, b->i64, lb_i64(b, -1));
  Lv best = lb_var(b, b->i64, NULL), best_i = lb_var(b, b->i64, NULL);
  Lv pick = lb_for(b, &picks, lb_i64(b, 0), lb_i64(b, k->k), 1);
  lb_set(b, best_i, lb_i64(b, -1));
  lb_set(b, best, lb_i64(b, 0));
  Lv i = lb_for(b, &scan, lb_i64(b, 0), l.n, 1);
  Lv key = sort_key(b, k->dtype, ls_load_one(b, k->dtype, lb_at(b, l.x, lb_mul(b, i, l.pitch))));
  Lv fresh = precedes(b, k->largest, lb_get(b, last), lb_get(b, last_i), key, i);
  Lv none = lb_icmp(b, LLVMIntSLT, lb_get(b, best_i), lb_i64(b, 0));
  Lv better = precedes(b, k->largest, key, i, lb_get(b, best), lb_get(b, best_i));
  Lv take = LLVMBuildAnd(b->b, fresh, LLVMBuildOr(b->b, none, better, ""), "");
  lb_set(b, best, lb_select(b, take, key, lb_get(b, best)));
  lb_set(b, best_i, lb_select(b, take, i, lb_get(b, best_i)));
  lb_end_for(b, &scan);
  lb_set(b, last, lb_get(b, best));
  lb_set(b, last_i, lb_get(b, best_i));
  Lv v = lb_get(b, best_i);
  if (!k->want_indices) v = ls_load_one(b, k->dtype, lb_at(b, l.x, lb_mul(b, v, l.pitch)));
  ls_store_one(b, out_dtype, v, lb_at(b, l.out, lb_mul(b, pick, out_pitch)));
  lb_end_for(b, &picks);
  lb_end_for(b, &tasks);
}

const LcKind lc_scan = {.run = scan_run, .tasks = axis_tasks};
const LcKind lc_topk = {.run = topk_run, .tasks = axis_tasks};
