/* SPDX-License-Identifier: Apache-2.0 */
/* sched_fuse.c - decides, before anything is placed, which nodes are computed
** inside another node's step: elementwise chains with one reader, a gemm's
** activation and residual, and parts of a concat. */
#include "passes/sched_int.h"

bool sched_is_view(OpCode op) {
  return op == OP_permute || op == OP_slice || op == OP_broadcast || op == OP_reshape ||
         op == OP_again;
}

static bool is_elementwise(OpCode op) {
  return (op_info(op)->kind == K_EW && !sched_is_view(op)) || op == OP_gelu ||
         op == OP_gelu_grad;
}

/* Body rows that a node takes, about. */
static uint32_t rows_of(OpCode op) { return op == OP_gelu ? 12 : op == OP_gelu_grad ? 20 : 2; }

static bool live(const Sched *s, Val v) {
  const Info *in = &s->info[v.i];
  return in->needed && !in->at_compile && !in->given;
}

/* The only reader of each value, VAL_NONE when there are several or none. */
static Val *only_readers(Sched *s) {
  Val *reader = arena_array(s->a, Val, ir_n_vals(s->g) + 1);
  for (uint32_t i = 1; i <= ir_n_vals(s->g); i++) {
    Val v = {i};
    if (!live(s, v)) continue;
    for (uint32_t k = 0; k < ir_n_in(s->g, v); k++) {
      Val x = ir_in(s->g, v, k);
      if (val_ok(x) && s->info[x.i].uses == 1) reader[x.i] = v;
    }
  }
  return reader;
}

static bool absorbs_values(OpCode op) {
  OpKind kind = op_info(op)->kind;
  return is_elementwise(op) || (kind == K_REDUCE);
}

/* An elementwise node joins its only reader's nest, unless the reader repeats
** it (a broadcast would compute it again and again). */
static void inline_elementwise(Sched *s, const Val *reader) {
  if (s->flags & SCHED_NO_FUSE_EW) return;
  uint32_t *size = arena_array(s->a, uint32_t, ir_n_vals(s->g) + 1);
  for (uint32_t i = 1; i <= ir_n_vals(s->g); i++) {
    Val v = {i}, r = reader[i];
    if (!live(s, v) || !is_elementwise(ir_op(s->g, v))) continue;
    size[i] += rows_of(ir_op(s->g, v));
    if (!val_ok(r) || s->info[i].output || !absorbs_values(ir_op(s->g, r))) continue;
    const Type *t = ir_type_of(s->g, v), *rt = ir_type_of(s->g, r);
    bool same = ir_op(s->g, r) != OP_gelu && op_info(ir_op(s->g, r))->kind == K_REDUCE;
    if (!same) {
      same = t->rank == rt->rank;
      for (uint32_t k = 0; same && k < t->rank; k++) same = t->dim[k] == rt->dim[k];
    }
    if (!same || size[i] + size[r.i] > 14) continue;
    s->info[i].inlined = true;
    size[r.i] += size[i];
  }
}

static bool same_sizes(const Graph *g, Val a, Val b) {
  const Type *ta = ir_type_of(g, a), *tb = ir_type_of(g, b);
  bool same = ta->rank == tb->rank && ta->dtype == tb->dtype;
  for (uint32_t i = 0; same && i < ta->rank; i++) same = ta->dim[i] == tb->dim[i];
  return same;
}

static bool is_act(const Graph *g, Val v) {
  OpCode op = ir_op(g, v);
  return op == OP_gelu || op == OP_relu || op == OP_tanh;
}

static Val other_operand(const Graph *g, Val sum, Val one) {
  return val_eq(ir_in(g, sum, 0), one) ? ir_in(g, sum, 1) : ir_in(g, sum, 0);
}

/* A gemm takes the activation that alone reads it, then the sum that alone
** reads that. */
static void absorb_epilogue(Sched *s, const Val *reader, Val v) {
  Val last = v, act = VAL_NONE, residual = VAL_NONE, r = reader[v.i];
  if (val_ok(r) && is_act(s->g, r) && !s->info[last.i].output) act = last = r, r = reader[r.i];
  if (val_ok(r) && ir_op(s->g, r) == OP_add && same_sizes(s->g, r, v) && !s->info[last.i].output) {
    Val x = other_operand(s->g, r, last);
    bool taken = val_ok(s->info[r.i].residual) || val_eq(s->info[x.i].into, r);
    if (!val_eq(x, last) && !taken) residual = x, last = r;
  }
  if (val_eq(last, v)) return;
  s->info[v.i].into = last;
  s->info[last.i].act = act;
  s->info[last.i].residual = residual;
  if (val_ok(act) && !val_eq(act, last)) s->info[act.i].into = last;
}

static void absorb_epilogues(Sched *s, const Val *reader) {
  if (s->flags & SCHED_NO_EPILOGUE) return;
  for (uint32_t i = 1; i <= ir_n_vals(s->g); i++) {
    Val v = {i};
    if (!live(s, v)) continue;
    OpCode op = ir_op(s->g, v);
    bool f32 = ir_type_of(s->g, v)->dtype == VLPC_F32;
    if (f32 && (op == OP_linear || op == OP_patch_embed)) absorb_epilogue(s, reader, v);
  }
}

/* Index of a part times the concat's stride must be affine. */
static bool has_place(Sched *s, Val concat, uint32_t axis, DimId at) {
  const Type *t = ir_type_of(s->g, concat);
  DimId stride = dim_const(s->dims, 1);
  for (uint32_t i = t->rank; i-- > axis + 1;) stride = sched_mul(s, stride, t->dim[i]);
  return sched_mul(s, stride, at) != DIM_NONE;
}

/* A value that only a concat reads, and that a step computes, is written where
** the concat wants it. */
static void place_in_concats(Sched *s, const Val *reader) {
  if (s->flags & SCHED_NO_CONCAT) return;
  for (uint32_t i = 1; i <= ir_n_vals(s->g); i++) {
    Val c = {i};
    if (!live(s, c) || ir_op(s->g, c) != OP_concat) continue;
    uint32_t axis = (uint32_t)ir_attr_int(s->g, c, A_axis, 0);
    DimId at = dim_const(s->dims, 0);
    for (uint32_t k = 0; k < ir_n_in(s->g, c); k++) {
      Val x = ir_in(s->g, c, k);
      OpCode op = ir_op(s->g, x);
      bool computed = live(s, x) && op != OP_input && !sched_is_view(op);
      bool alone = val_eq(reader[x.i], c) && !s->info[x.i].output;
      if (computed && alone && has_place(s, c, axis, at)) {
        s->info[x.i].concat = c;
        s->info[x.i].concat_at = at;
        s->info[x.i].inlined = false;
      }
      at = sched_add(s, at, ir_type_of(s->g, x)->dim[axis]);
    }
  }
}

Val sched_root(const Sched *s, Val v) {
  while (sched_is_view(ir_op(s->g, v)) && !s->info[v.i].at_compile && !s->info[v.i].given)
    v = ir_in(s->g, v, 0);
  return v;
}

static void note_uses(Sched *s) {
  for (uint32_t i = ir_n_vals(s->g); i > 0; i--) {
    Info *in = &s->info[i];
    Val v = {i};
    if (!live(s, v)) continue;
    if (in->output) in->last_use = UINT32_MAX;
    if (!in->emit_at) in->emit_at = i;
    if (val_ok(in->into)) in->emit_at = s->info[in->into.i].emit_at;
    for (uint32_t k = 0; k < ir_n_in(s->g, v); k++) {
      Val x = ir_in(s->g, v, k);
      if (!val_ok(x) || !live(s, x)) continue;
      Info *xi = &s->info[x.i], *ri = &s->info[sched_root(s, x).i];
      if (xi->inlined) xi->emit_at = VL_MAX(xi->emit_at, in->emit_at);
      uint32_t at = sched_is_view(ir_op(s->g, v)) ? in->last_use : in->emit_at;
      ri->last_use = VL_MAX(ri->last_use, at);
      xi->last_use = VL_MAX(xi->last_use, at);
    }
  }
}

void sched_fuse(Sched *s) {
  const Val *reader = only_readers(s);
  absorb_epilogues(s, reader);
  inline_elementwise(s, reader);
  for (uint32_t i = 1; i <= ir_n_vals(s->g); i++) {
    Info *in = &s->info[i];
    if (val_ok(in->into) || val_ok(in->act) || val_ok(in->residual)) in->inlined = false;
    if (val_ok(in->residual)) s->info[in->residual.i].inlined = false; /* a gemm reads it */
  }
  place_in_concats(s, reader);
  note_uses(s);
}
