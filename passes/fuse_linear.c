/* SPDX-License-Identifier: Apache-2.0 */
/* fuse_linear.c - linear, embedding and patch_embed: work with weights.
**
** Weights are constants, perhaps permuted or cast; linear's are [K, N] and
** patch_embed's [C·ph·pw, D]. */
#include "passes/pass_int.h"

static bool is_float(const Graph *g, Val v) { return dtype_is_float(ir_type_of(g, v)->dtype); }

/* ---- linear ----------------------------------------------------------------- */

static Val from_matmul(Rewrite *rw, const Val *in) {
  Graph *g = rw->dst;
  bool is_weight = m_const(g, in[1]) && !m_const(g, in[0]);
  if (!is_weight || !is_float(g, in[0]) || ir_type_of(g, in[1])->rank != 2) return VAL_NONE;
  return ir_type_of(g, in[0])->rank < 2 ? VAL_NONE : ir_node(g, OP_linear, 2, in, 0, NULL);
}

static Val add_bias(Rewrite *rw, Val src, const Val *in) {
  Graph *g = rw->dst;
  for (uint32_t i = 0; i < 2; i++) {
    bool is_open = m_is(g, in[i], OP_linear) && ir_n_in(g, in[i]) == 2 && m_sole_use(rw, src, i);
    Val bias = is_open ? m_vector(g, in[1 - i], m_last_dim(g, in[i])) : VAL_NONE;
    if (!val_ok(bias) || ir_type_of(g, bias)->dtype != ir_type_of(g, in[i])->dtype) continue;
    Val to[3] = {ir_in(g, in[i], 0), ir_in(g, in[i], 1), bias};
    return ir_node(g, OP_linear, 3, to, 0, NULL);
  }
  return VAL_NONE;
}

Val pass_fuse_linear(Rewrite *rw, Val src, const Val *in, uint32_t n_in) {
  (void)n_in;
  if (ir_op(rw->src, src) == OP_matmul) return from_matmul(rw, in);
  if (ir_op(rw->src, src) == OP_add) return add_bias(rw, src, in);
  return VAL_NONE;
}

/* ---- embedding --------------------------------------------------------------- */

Val pass_fuse_embedding(Rewrite *rw, Val src, const Val *in, uint32_t n_in) {
  (void)n_in;
  Graph *g = rw->dst;
  OpCode op = ir_op(rw->src, src);
  bool is_gather = op == OP_gather && ir_attr_int(rw->src, src, A_axis, 0) == 0;
  if (!is_gather && op != OP_embedding) return VAL_NONE;
  Val ids = in[1];
  if (m_is(g, ids, OP_cast) && dtype_is_int(ir_type_of(g, ir_in(g, ids, 0))->dtype))
    ids = ir_in(g, ids, 0);
  if (op == OP_embedding && val_eq(ids, in[1])) return VAL_NONE;
  if (!m_const(g, in[0]) || m_const(g, ids) || !is_float(g, in[0])) return VAL_NONE;
  Val to[2] = {in[0], ids};
  return ir_type_of(g, in[0])->rank == 2 ? ir_node(g, OP_embedding, 2, to, 0, NULL) : VAL_NONE;
}

/* ---- patch_embed ------------------------------------------------------------- */

static bool is_all(const Attr *a, int64_t value) {
  for (uint32_t i = 0; a != NULL && i < a->n; i++)
    if (a->ints[i] != value) return false;
  return true;
}

/* Kernel height and width when the convolution reads each pixel once. */
static bool patch_of(const Rewrite *rw, Val src, const Val *in, int64_t patch[2]) {
  const Graph *g = rw->dst;
  const Attr *strides = ir_attr(rw->src, src, A_strides);
  if (ir_type_of(g, in[0])->rank != 4 || !m_const(g, in[1])) return false;
  if (!is_all(ir_attr(rw->src, src, A_pads), 0) || !is_all(ir_attr(rw->src, src, A_dilations), 1))
    return false;
  if (ir_attr_int(rw->src, src, A_group, 1) != 1 || strides == NULL) return false;
  for (int i = 0; i < 2; i++) {
    int64_t size = 0;
    if (!ir_size_const(g, in[1], 2 + i, &patch[i]) || strides->ints[i] != patch[i]) return false;
    if (!ir_size_const(g, in[0], 2 + i, &size) || size % patch[i] != 0) return false;
  }
  return true;
}

/* [D, C, ph, pw] to [C·ph·pw, D] */
static Val patch_weight(Graph *g, Val w) {
  const Type *t = ir_type_of(g, w);
  DimId dim[2] = {t->dim[0], dim_const(ir_dims(g), 1)};
  for (uint32_t i = 1; i < 4; i++) dim[1] = dim_mul(ir_dims(g), dim[1], t->dim[i]);
  return ir_permute(g, ir_reshape(g, w, dim, 2), (int64_t[]){1, 0}, 2);
}

Val pass_fuse_patch(Rewrite *rw, Val src, const Val *in, uint32_t n_in) {
  Graph *g = rw->dst;
  int64_t patch[2];
  if (ir_op(rw->src, src) != OP_conv || !patch_of(rw, src, in, patch)) return VAL_NONE;
  Type t = *ir_type_of(rw->src, src);
  Val to[3] = {in[0], patch_weight(g, in[1]), n_in == 3 ? in[2] : VAL_NONE};
  Attr at = attr_ints(A_patch, patch, 2);
  Val rows = ir_node(g, OP_patch_embed, 3, to, 1, &at);
  if (!val_ok(rows)) return VAL_NONE;
  DimId grid[4] = {t.dim[0], t.dim[2], t.dim[3], t.dim[1]};
  return ir_permute(g, ir_reshape(g, rows, grid, 4), (int64_t[]){0, 3, 1, 2}, 4);
}
