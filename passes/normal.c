/* SPDX-License-Identifier: Apache-2.0 */
/* normal.c - the text that equal models share.
**
** in:     a lowered graph
** out:    ir_print's normal form of a copy in which weights that are computed
**         from constants (permuted, joined, cast) are constants, and scalars
**         have six digits */
#include "passes/pass_int.h"


typedef struct {
  Diag *d;
  VlStatus status;
} Normal;

/* All memory is scratch's but the bytes. */
static VlStatus compute(Graph *g, Arena *scratch, Val v, void *bytes, Diag *d) {
  if (ARENA_GUARD(scratch)) return VLPC_E_NOMEM;
  RefTensor t;
  VL_TRY(ir_eval_const(g, scratch, v, &t, d));
  ref_to_bytes(&t, bytes);
  return VLPC_OK;
}

static Val folded(Graph *g, Val v, Normal *n) {
  int64_t count = 0;
  if (!ir_count_const(g, v, &count)) return VAL_NONE;
  uint64_t size = (uint64_t)count * dtype_size(ir_type_of(g, v)->dtype);
  void *bytes = arena_array_bytes(ir_arena(g), size, 1);
  Arena *scratch = arena_new(0);
  VlStatus s = scratch == NULL ? VLPC_E_NOMEM : compute(g, scratch, v, bytes, n->d);
  arena_free(scratch);
  if (s == VLPC_OK) return ir_const(g, ir_type_id(g, v), ir_blob(g, bytes, size, NULL));
  n->status = s;
  return VAL_NONE;
}

/* A number with six digits. */
static double short_number(Arena *a, double v) {
  char *text = arena_printf(a, "%.6g", v);
  for (char *p = text; *p != 0; p++)
    if (*p == ',') *p = '.'; /* whatever the locale writes */
  double to = v;
  return parse_f64(text, &to) ? to : v;
}

static Val normalise(Rewrite *rw, Val src, const Val *in, uint32_t n_in) {
  (void)n_in;
  Graph *g = rw->dst;
  double v = 0;
  if (ir_op(rw->src, src) == OP_const) {
    const Type *t = ir_type_of(rw->src, src);
    bool is_number = t->rank == 0 && dtype_is_float(t->dtype) && ir_is_splat(rw->src, src, &v);
    return is_number ? ir_scalar(g, t->dtype, short_number(ir_arena(g), v)) : VAL_NONE;
  }
  if (op_info(ir_op(rw->src, src))->kind == K_SOURCE || !m_const(rw->src, src)) return VAL_NONE;
  return folded(g, m_copy(rw, src, in), rw->ctx);
}

VlStatus pass_normal_text(const Graph *g, Diag *d, Str *out) {
  Normal n = {d, VLPC_OK};
  Graph *to = ir_rewrite(g, out->arena, normalise, &n, NULL);
  VL_TRY(n.status);
  ir_print(to, PRINT_NORMAL, out);
  return VLPC_OK;
}
