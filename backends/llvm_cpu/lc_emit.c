/* SPDX-License-Identifier: Apache-2.0 */
/* lc_emit.c - what the kernel emitters share; see lc_emit.h. */
#include "backends/llvm_cpu/lc_emit.h"

#include "backends/llvm_cpu/lc_math.h"

Lv le_size(Emit *e, KSize s) {
  Lb *b = &e->b;
  if (s.dyn < 0) return lb_i64(b, s.c);
  return lb_load(b, b->i64, lb_atc(b, e->sizes, 8 * (int64_t)s.dyn), 8);
}

Lv le_bytes_of(Emit *e, KSize stride, VlDtype d) {
  return lb_mulc(&e->b, le_size(e, stride), (int64_t)dtype_size(d));
}

Lv le_bytes(Emit *e, KSize stride) { return le_bytes_of(e, stride, VLPC_F32); }

Lv le_operand(Emit *e, uint32_t i) {
  return lb_load(&e->b, e->b.ptr, lb_atc(&e->b, e->operands, 8 * (int64_t)i), 8);
}

Lv le_ceil_div(Emit *e, Lv a, int64_t c) {
  return lb_divc(&e->b, lb_addc(&e->b, a, c - 1), c);
}

Lv le_part(Emit *e, Lv total, Lv i, Lv n) {
  return LLVMBuildUDiv(e->b.b, lb_mul(&e->b, total, i), n, "");
}

LeRows le_rows_at(Emit *e, Lv row, Lv m) {
  Lb *b = &e->b;
  Lv g = LLVMBuildUDiv(b->b, row, lb_max(b, m, lb_i64(b, 1)), "");
  return (LeRows){.g = lb_var(b, b->i64, g),
                  .i = lb_var(b, b->i64, lb_sub(b, row, lb_mul(b, g, m))), .m = m};
}

Lv le_row_offset(Emit *e, const LeRows *r, Lv g_bytes, Lv m_bytes) {
  Lb *b = &e->b;
  return lb_add(b, lb_mul(b, lb_get(b, r->g), g_bytes), lb_mul(b, lb_get(b, r->i), m_bytes));
}

void le_rows_next(Emit *e, LeRows *r) {
  Lb *b = &e->b;
  Lv next = lb_addc(b, lb_get(b, r->i), 1);
  Lv wraps = lb_icmp(b, LLVMIntEQ, next, r->m);
  lb_set(b, r->i, lb_select(b, wraps, lb_i64(b, 0), next));
  lb_set(b, r->g, lb_add(b, lb_get(b, r->g), LLVMBuildZExt(b->b, wraps, b->i64, "")));
}

Lv le_activate(Emit *e, KAct act, Lv x) {
  Lb *b = &e->b;
  switch (act) {
  case ACT_NONE: return x;
  case ACT_GELU_ERF: return lm_gelu_erf(b, x);
  case ACT_GELU_TANH: return lm_gelu_tanh(b, x);
  case ACT_GELU_QUICK: return lm_gelu_quick(b, x);
  case ACT_RELU: return lb_fmax(b, lb_vf(b, 0), x);
  case ACT_TANH: return lm_tanh(b, x);
  }
  VL_UNREACHABLE("unknown activation");
}
