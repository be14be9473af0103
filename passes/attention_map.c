/* SPDX-License-Identifier: Apache-2.0 */
/* attention_map.c - where the features of an image come from.
**
** in:     a lowered graph, and the features of its image tower
** out:    f32[batch, keys]: how much of its last attention the first query row, the
**         class row, gives to each row of the stream: softmax(scale · q kᵀ), mean over
**         the heads.  Keys are the class row, patches in row-major order, then rows that
**         prompts insert
** method: the last attention that the features depend on; everything but its scores is
**         what the tower computes anyway */
#include "passes/pass_int.h"

#include "ir/words.h"

static Val last_attention(const Graph *g, Val features) {
  bool *reached = arena_array(ir_arena(g), bool, ir_n_vals(g) + 1);
  reached[features.i] = true;
  for (uint32_t i = features.i; i > 0; i--) {
    if (!reached[i]) continue;
    if (ir_op(g, (Val){i}) == OP_attention) return (Val){i};
    for (uint32_t k = 0; k < ir_n_in(g, (Val){i}); k++) reached[ir_in(g, (Val){i}, k).i] = true;
  }
  return VAL_NONE;
}

/* [B, rows, heads · d] as [B, heads, rows, d]. */
static Val heads_apart(Graph *g, Val x, int64_t heads) {
  Type t = w_type(g, x);
  DimId h = dim_const(ir_dims(g), heads), d = dim_div(ir_dims(g), t.dim[2], h);
  Val apart = ir_reshape(g, x, (DimId[]){t.dim[0], t.dim[1], h, d}, 4);
  return val_ok(apart) ? ir_permute(g, apart, (int64_t[]){0, 2, 1, 3}, 4) : VAL_NONE;
}

/* Scores of a segment's keys, [batch, heads, 1, rows]. */
static Val scores(Graph *g, Val q, Val keys, DimId batch, int64_t heads) {
  Val k = heads_apart(g, keys, heads);
  Val s = w_matmul(g, q, w_transpose(g, k));
  if (!val_ok(s)) return VAL_NONE;
  Type t = w_type(g, s);
  t.dim[0] = batch;
  return w_broadcast(g, s, t);
}

Val pass_attention_map(Graph *g, Val features) {
  Val at = last_attention(g, features), part[ATTENTION_SEGMENTS];
  uint32_t n = val_ok(at) ? ir_n_in(g, at) : 0;
  if (n == 0 || attention_masked(n) || ir_attr_int(g, at, A_causal, 0) != 0) return VAL_NONE;
  DimTable *t = ir_dims(g);
  DimId batch = w_type(g, at).dim[0], one = dim_const(t, 1);
  int64_t heads = ir_attr_int(g, at, A_heads, 1);
  Val first = ir_slice_axis(g, ir_in(g, at, 0), 1, dim_const(t, 0), one);
  Val q = w_with(g, OP_mul, heads_apart(g, first, heads), ir_attr_float(g, at, A_scale, 1));
  n = attention_segments(n);
  for (uint32_t i = 0; i < n; i++) {
    part[i] = scores(g, q, ir_in(g, at, 1 + 2 * i), batch, heads);
    if (!val_ok(part[i])) return VAL_NONE;
  }
  Val all = ir_concat(g, part, n, 3);
  Attr axis = attr_int(A_axis, 3);
  Val p = val_ok(all) ? ir_node(g, OP_softmax, 1, &all, 1, &axis) : VAL_NONE;
  p = w_over(g, OP_reduce_mean, p, 1);
  return val_ok(p) ? ir_reshape(g, p, (DimId[]){batch, w_type(g, p).dim[3]}, 2) : VAL_NONE;
}
