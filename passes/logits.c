/* SPDX-License-Identifier: Apache-2.0 */
/* logits.c - the scores of images against texts.
**
** in:   products of image and text features, scaled before or after, images or
**       texts first
** out:  matmul(images, textsᵀ) · scale, and the other way round its permute */
#include "passes/pass_int.h"

static Val product(Rewrite *rw, Val src, Val a, Val b) {
  const PassCtx *cx = rw->ctx;
  Graph *g = rw->dst;
  uint8_t da = cx->depends[ir_in(rw->src, src, 0).i], db = cx->depends[ir_in(rw->src, src, 1).i];
  bool is_turned = (da & DEPENDS_TEXT) != 0 && (da & DEPENDS_IMAGE) == 0 && db == DEPENDS_IMAGE;
  if (!is_turned) return ir_ew2(g, OP_matmul, a, b);
  int64_t swap[2] = {1, 0};
  Val m = ir_ew2(g, OP_matmul, ir_permute(g, b, swap, 2), ir_permute(g, a, swap, 2));
  return ir_permute(g, m, swap, 2);
}

Val pass_logits(Rewrite *rw, Val src, const Val *in, uint32_t n_in) {
  (void)n_in;
  Graph *g = rw->dst;
  if (ir_op(rw->src, src) != OP_matmul || ir_type_of(rw->src, src)->rank != 2) return VAL_NONE;
  if (ir_type_of(g, in[0])->rank != 2 || ir_type_of(g, in[1])->rank != 2) return VAL_NONE;
  if (m_const(g, in[0]) || m_const(g, in[1])) return VAL_NONE;
  double c = 1;
  Val a = view_unscaled(g, in[0], &c), b = view_unscaled(g, in[1], &c);
  Val m = product(rw, src, a, b);
  VlDtype t = ir_type_of(g, m)->dtype;
  return c == 1 ? m : ir_ew2(g, OP_mul, m, ir_scalar(g, t, c));
}
