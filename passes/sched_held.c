/* SPDX-License-Identifier: Apache-2.0 */
/* sched_held.c - decides which values lie in memory as bf16 (SCHED_BF16).
**
** in:      what sched_fuse decided
** out:     Info.held of every value that a step stores, Info.bf16 of attention
** method:  a value is held as bf16 when everything that reads it multiplies it as
**          bf16 and its step can round what it stores, so each value is rounded
**          once and no pass over memory is added.  Attention multiplies in bf16
**          when all its operands are so held, which may widen what they read:
**          decided again until nothing changes.
**          A gemm's rows that stay f32, as another reader wants them whole, are
**          rounded into a copy when the gemm is made.
** leaves:  patch_embed, which multiplies in f32: pixels of an even area round
**          alike, so errors add up instead of cancelling (small_clip on photos of
**          the sea: cosine to f32 0.9993; with whole pixels 0.99996) */
#include "passes/sched_int.h"

static bool is_attention(OpCode op) {
  return op == OP_attention || op == OP_attention_varlen;
}

static bool is_gemm(OpCode op) {
  return op == OP_linear || op == OP_patch_embed;
}

/* q, k and v: the operands of an attention but for mask and bounds. */
static uint32_t n_factors(const Sched *s, Val v) {
  uint32_t n = ir_n_in(s->g, v);
  return ir_op(s->g, v) == OP_attention_varlen ? 3 : 1 + 2 * attention_segments(n);
}

/* Whether v multiplies its operand k as bf16. */
static bool multiplies(const Sched *s, Val v, uint32_t k) {
  OpCode op = ir_op(s->g, v);
  if (is_attention(op)) return s->info[v.i].bf16 && k < n_factors(s, v);
  return op == OP_linear && k == 0;
}

/* Whether the step that stores v can round it. */
static bool rounds(const Sched *s, Val v) {
  const Info *in = &s->info[v.i];
  OpCode op = ir_op(s->g, v);
  if (in->at_compile || in->given || in->inlined || val_ok(in->into)) return false;
  if (is_attention(op)) return in->bf16;
  bool ends_gemm = val_ok(in->act) || val_ok(in->residual);
  return ends_gemm || is_gemm(op) || op == OP_layernorm;
}

/* Columns of q and k go by pairs. */
static bool has_pairs(const Sched *s, Val v) {
  int64_t width = 0, heads = ir_attr_int(s->g, v, A_heads, 1);
  return ir_size_const(s->g, ir_in(s->g, v, 0), -1, &width) && width / heads % 2 == 0;
}

static void note_reader(Sched *s, Val v) {
  Info *in = &s->info[v.i];
  if (in->output || val_ok(in->concat)) s->info[sched_root(s, v).i].whole = true;
  if (sched_is_view(ir_op(s->g, v))) return;
  for (uint32_t k = 0; k < ir_n_in(s->g, v); k++) {
    Val x = ir_in(s->g, v, k);
    if (!val_ok(x)) continue;
    Info *root = &s->info[sched_root(s, x).i];
    *(multiplies(s, v, k) ? &root->multiplied : &root->whole) = true;
  }
}

static void decide(Sched *s) {
  for (uint32_t i = 1; i <= ir_n_vals(s->g); i++)
    s->info[i].whole = s->info[i].multiplied = false;
  for (uint32_t i = 1; i <= ir_n_vals(s->g); i++) {
    const Info *in = &s->info[i];
    if (in->needed && !in->at_compile && !in->given) note_reader(s, (Val){i});
  }
  for (uint32_t i = 1; i <= ir_n_vals(s->g); i++) {
    Info *in = &s->info[i];
    bool bf16 = in->multiplied && !in->whole && rounds(s, (Val){i});
    in->held = bf16 ? NUM_BF16 : NUM_F32;
  }
}

/* Attention with an operand that stays f32 multiplies in f32; true when there
** was one. */
static bool widen_attention(Sched *s) {
  bool changed = false;
  for (uint32_t i = 1; i <= ir_n_vals(s->g); i++) {
    Val v = {i};
    if (!s->info[i].bf16 || !is_attention(ir_op(s->g, v))) continue;
    for (uint32_t k = 0; k < n_factors(s, v) && s->info[i].bf16; k++) {
      if (s->info[sched_root(s, ir_in(s->g, v, k)).i].held == NUM_BF16) continue;
      s->info[i].bf16 = false;
      changed = true;
    }
  }
  return changed;
}

void sched_hold(Sched *s) {
  if (!(s->flags & SCHED_BF16)) return;
  for (uint32_t i = 1; i <= ir_n_vals(s->g); i++) {
    Info *in = &s->info[i];
    Val v = {i};
    bool attends = in->needed && !in->at_compile && !in->given && is_attention(ir_op(s->g, v));
    in->bf16 = attends && !(s->flags & SCHED_NO_BF16_ATTENTION) && has_pairs(s, v);
  }
  do decide(s);
  while (widen_attention(s));
}
