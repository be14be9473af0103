/* SPDX-License-Identifier: Apache-2.0 */
/* constants.c - what a graph needs of its constants, apart from how the file had them.
**
** A constant here is a value that is computed from const nodes alone and read by a
** node that is not, or an output: `permute(const)` for a linear, not the const
** behind it. */
#include <string.h>

#include "passes/pass_int.h"

static bool is_inline(const Graph *g, Val v) {
  int64_t n = 0;
  return ir_op(g, v) == OP_const && ir_count_const(g, v, &n) && n <= PASS_CONSTANT_INLINE;
}

uint32_t pass_constants(const Graph *g, Arena *a, Val **out) {
  const Named *result = NULL;
  uint32_t n_out = ir_outputs(g, &result), n = 0, count = ir_n_vals(g);
  bool *is_const = arena_array(a, bool, count + 1), *is_read = arena_array(a, bool, count + 1);
  *out = arena_array(a, Val, count);
  for (uint32_t i = 1; i <= count; i++) is_const[i] = m_const(g, (Val){i});
  for (uint32_t i = 1; i <= count; i++)
    for (uint32_t k = 0; !is_const[i] && k < ir_n_in(g, (Val){i}); k++)
      is_read[ir_in(g, (Val){i}, k).i] = true;
  for (uint32_t i = 0; i < n_out; i++) is_read[result[i].v.i] = true;
  for (uint32_t i = 1; i <= count; i++)
    if (is_const[i] && is_read[i] && !is_inline(g, (Val){i})) (*out)[n++] = (Val){i};
  return n;
}

/* ---- the same constant in two graphs -------------------------------------- */

typedef struct {
  const Graph *a, *b;
} Pair;

static bool same_dims(const Pair *p, const DimId *x, const DimId *y, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    int64_t s = 0, t = 0;
    if (!dim_is_const(ir_dims(p->a), x[i], &s) || !dim_is_const(ir_dims(p->b), y[i], &t) || s != t)
      return false;
  }
  return true;
}

/* Bytes of one place, or small and equal. */
static bool same_blob(const Pair *p, BlobId x, BlobId y) {
  const Blob *s = ir_blob_get(p->a, x), *t = ir_blob_get(p->b, y);
  if (s->bytes != t->bytes) return false;
  return s->data == t->data || (s->bytes <= 64 && memcmp(s->data, t->data, s->bytes) == 0);
}

static bool same_attr(const Pair *p, const Attr *x, const Attr *y) {
  if (x->key != y->key || x->n != y->n) return false;
  switch (attr_kind(x->key)) {
  case AK_INT:
  case AK_DTYPE: return x->i == y->i;
  case AK_FLOAT: return memcmp(&x->f, &y->f, sizeof x->f) == 0;
  case AK_INTS: return x->n == 0 || memcmp(x->ints, y->ints, x->n * sizeof *x->ints) == 0;
  case AK_DIMS: return same_dims(p, x->dims, y->dims, x->n);
  case AK_STR: return strcmp(x->str, y->str) == 0;
  case AK_BLOB: return same_blob(p, x->blob, y->blob);
  }
  return false;
}

static bool same_node(const Pair *p, Val x, Val y) {
  const Type *s = ir_type_of(p->a, x), *t = ir_type_of(p->b, y);
  const Attr *i = NULL, *k = NULL;
  uint32_t n = ir_attrs(p->a, x, &i);
  if (ir_op(p->a, x) != ir_op(p->b, y) || ir_n_in(p->a, x) != ir_n_in(p->b, y)) return false;
  if (s->dtype != t->dtype || s->rank != t->rank || !same_dims(p, s->dim, t->dim, s->rank))
    return false;
  if (ir_attrs(p->b, y, &k) != n) return false;
  for (uint32_t at = 0; at < n; at++)
    if (!same_attr(p, &i[at], &k[at])) return false;
  return true;
}

/* As deep as m_const looks. */
static bool same_value(const Pair *p, Val x, Val y) {
  if (!val_ok(x) || !val_ok(y)) return val_ok(x) == val_ok(y);
  if (!same_node(p, x, y)) return false;
  for (uint32_t i = 0; i < ir_n_in(p->a, x); i++)
    if (!same_value(p, ir_in(p->a, x, i), ir_in(p->b, y, i))) return false;
  return true;
}

bool pass_same_constant(const Graph *a, Val x, const Graph *b, Val y) {
  return m_const(a, x) && m_const(b, y) && same_value(&(Pair){a, b}, x, y);
}

/* ---- constants put in ------------------------------------------------------- */

static Val put(Rewrite *rw, Val src, const Val *in, uint32_t n_in) {
  const Blob *const *with = rw->ctx;
  const Blob *b = with[src.i];
  (void)in, (void)n_in;
  if (b == NULL) return VAL_NONE;
  return ir_const(rw->dst, ir_type_id(rw->src, src),
                  ir_blob(rw->dst, b->data, b->bytes, b->name));
}

Graph *pass_with_constants(const Graph *g, Arena *a, const Blob *const *with) {
  return ir_rewrite(g, a, put, (void *)(uintptr_t)with, NULL);
}
