/* SPDX-License-Identifier: Apache-2.0 */
/* pack_qkv.c - one linear for q, k and v of one input.
**
** in:   attention whose q, k and v are three linears of one value
** out:  slices of one linear with weights [Wq | Wk | Wv], as OpenAI's exports
**       have it; a missing bias counts as zeros when another one is there */
#include "passes/pass_int.h"

static Val bias_of(Graph *g, Val linear) {
  if (ir_n_in(g, linear) == 3) return ir_in(g, linear, 2);
  DimId n = m_last_dim(g, linear);
  return ir_broadcast(g, ir_scalar(g, ir_type_of(g, linear)->dtype, 0), &n, 1);
}

static bool can_pack(const Graph *g, const Val *in) {
  for (uint32_t i = 0; i < 3; i++) {
    if (!m_is(g, in[i], OP_linear) || !val_eq(ir_in(g, in[i], 0), ir_in(g, in[0], 0))) return false;
    for (uint32_t k = 1; k < ir_n_in(g, in[i]); k++)
      if (!m_const(g, ir_in(g, in[i], k))) return false;
    for (uint32_t k = 0; k < i; k++)
      if (val_eq(in[i], in[k])) return false;
  }
  return true;
}

static Val packed(Graph *g, const Val *in) {
  Val w[3], b[3];
  bool has_bias = false;
  for (uint32_t i = 0; i < 3; i++) {
    w[i] = ir_in(g, in[i], 1);
    has_bias = has_bias || ir_n_in(g, in[i]) == 3;
  }
  for (uint32_t i = 0; i < 3 && has_bias; i++) b[i] = bias_of(g, in[i]);
  Val to[3] = {ir_in(g, in[0], 0), ir_concat(g, w, 3, 1),
               has_bias ? ir_concat(g, b, 3, 0) : VAL_NONE};
  return ir_node(g, OP_linear, 3, to, 0, NULL);
}

Val pass_pack_qkv(Rewrite *rw, Val src, const Val *in, uint32_t n_in) {
  Graph *g = rw->dst;
  if (ir_op(rw->src, src) != OP_attention || !can_pack(g, in)) return VAL_NONE;
  Val all = packed(g, in), to[4] = {VAL_NONE, VAL_NONE, VAL_NONE, n_in == 4 ? in[3] : VAL_NONE};
  if (!val_ok(all)) return VAL_NONE;
  DimId at = dim_const(ir_dims(g), 0);
  for (uint32_t i = 0; i < 3; i++) {
    DimId n = m_last_dim(g, in[i]);
    to[i] = ir_slice_axis(g, all, ir_type_of(g, all)->rank - 1, at, n);
    at = dim_add(ir_dims(g), at, n);
  }
  return m_copy(rw, src, to);
}
