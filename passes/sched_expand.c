/* SPDX-License-Identifier: Apache-2.0 */
/* sched_expand.c - semantic ops that no kernel takes become primitives.
**
** in:      a lowered graph
** out:     linear, attention, … only on f32 and of no empty rows, linear and
**          patch_embed only with weights known at compile time; of the parts
**          of gradients only those of attention, layernorm and gelu; no stop
** leaves:  gelu, gelu_grad and embedding, which loop nests do in any type */
#include "passes/sched_int.h"

bool *sched_constants(const Graph *g, Arena *a) {
  bool *at_compile = arena_array(a, bool, ir_n_vals(g) + 1);
  for (uint32_t i = 1; i <= ir_n_vals(g); i++) {
    Val v = {i};
    int64_t count = 0;
    bool known = ir_op(g, v) == OP_const || op_info(ir_op(g, v))->kind != K_SOURCE;
    for (uint32_t k = 0; known && k < ir_n_in(g, v); k++) {
      Val x = ir_in(g, v, k);
      known = !val_ok(x) || at_compile[x.i];
    }
    at_compile[i] = known && ir_count_const(g, v, &count);
  }
  return at_compile;
}

/* Kernels take at least one row of weights and one column. */
static bool is_empty(const Graph *g, Val v) {
  const Type *t = ir_type_of(g, v);
  bool empty = false;
  for (uint32_t i = 0; i < t->rank; i++) {
    int64_t n = 1;
    empty = empty || (ir_size_const(g, v, (int32_t)i, &n) && n == 0);
  }
  return empty;
}

/* Of masks over several segments there is no kernel. */
static bool attention_has_kernel(const Graph *g, Val v) {
  uint32_t n = ir_n_in(g, v), segments = attention_segments(n);
  if (segments > 1 && attention_masked(n)) return false;
  return !is_empty(g, ir_in(g, v, 0)) && !is_empty(g, ir_in(g, v, 2));
}

/* Parts of gradients that run as primitives. */
static bool is_gradient(OpCode op) {
  switch ((int)op) {
  case OP_softmax_grad:
  case OP_log_softmax_grad:
  case OP_l2norm_grad:
  case OP_attention_lse:
  case OP_attention_varlen_lse:
    return true;
  default:
    return false;
  }
}

static bool has_kernel(const Graph *g, Val v, const bool *at_compile) {
  OpCode op = ir_op(g, v);
  if (is_gradient(op)) return false;
  if (op == OP_attention_grad || op == OP_attention_varlen_grad)
    return at_compile[v.i] || sched_grad_has_kernel(g, v);
  if (op_info(op)->kind != K_SEMANTIC || op == OP_gelu || op == OP_embedding ||
      op == OP_gelu_grad)
    return true;
  if (at_compile[v.i]) return true;
  if (ir_type_of(g, v)->dtype != VLPC_F32) return false;
  if (op == OP_attention && !attention_has_kernel(g, v)) return false;
  if (op != OP_linear && op != OP_patch_embed) return true;
  if (is_empty(g, ir_in(g, v, 1))) return false;
  Val bias = ir_n_in(g, v) > 2 ? ir_in(g, v, 2) : VAL_NONE;
  return at_compile[ir_in(g, v, 1).i] && (!val_ok(bias) || at_compile[bias.i]);
}

static Val expand_node(Rewrite *rw, Val src, const Val *in, uint32_t n_in) {
  (void)n_in;
  if (ir_op(rw->src, src) == OP_stop) return in[0];
  return has_kernel(rw->src, src, rw->ctx) ? VAL_NONE : ir_expand(rw->dst, rw->src, src, in);
}

Graph *sched_expand(const Graph *g, Arena *a) {
  return ir_rewrite(g, a, expand_node, sched_constants(g, a), NULL);
}
