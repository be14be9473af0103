/* SPDX-License-Identifier: Apache-2.0 */
/* mask.c - what an added mask says.
**
** Masks come as constants (zeros, a triangle of -inf or of the least float), as
** where(allowed, 0, -inf) with `allowed` a conjunction, and as sums of these.
** Each part is a triangle (causal), nothing, or stays an added mask. */
#include "passes/pass_int.h"

#define MASKED (-1e4) /* this or less takes a key out */
enum { DEPTH = 6 };   /* sums and conjunctions are taken apart so deep */

typedef enum { MASK_none, MASK_causal, MASK_other } MaskKind;

static Val through_broadcast(const Graph *g, Val v) {
  for (int i = 0; i < CHAIN_MAX && m_is(g, v, OP_broadcast); i++) v = ir_in(g, v, 0);
  return v;
}

/* ---- constants ---------------------------------------------------------------- */

/* Element at (row, col) of a mask that says whether the key is seen. */
static bool is_seen(const RefTensor *t, int64_t i, bool is_allowed, bool *is_plain) {
  if (is_allowed) return t->i[i] != 0;
  bool out = t->f[i] <= MASKED;
  *is_plain = *is_plain && (out || t->f[i] == 0);
  return !out;
}

static MaskKind classify(const RefTensor *t, bool is_allowed) {
  int64_t cols = t->rank > 0 ? t->size[t->rank - 1] : 1;
  int64_t rows = t->rank > 1 ? t->size[t->rank - 2] : 1;
  bool is_none = true, is_causal = rows > 1 && rows == cols, is_plain = true;
  for (int64_t i = 0; i < t->count; i++) {
    bool seen = is_seen(t, i, is_allowed, &is_plain);
    is_none = is_none && seen;
    is_causal = is_causal && seen == (i % cols <= i / cols % rows);
  }
  if (!is_plain) return MASK_other;
  return is_none ? MASK_none : is_causal ? MASK_causal : MASK_other;
}

/* All memory is scratch's: running out of it only means that nothing is known. */
static bool eval_in(const Graph *g, Arena *scratch, Val v, RefTensor *out) {
  if (ARENA_GUARD(scratch)) return false;
  return ir_eval_const(g, scratch, v, out, NULL) == VLPC_OK;
}

static bool classify_const(const Graph *g, Val v, bool is_allowed, MaskKind *out) {
  Arena *scratch = arena_new(0);
  RefTensor t;
  bool ok = scratch != NULL && eval_in(g, scratch, v, &t);
  if (ok) *out = classify(&t, is_allowed);
  arena_free(scratch);
  return ok;
}

/* ---- allowed = a and b and … ---------------------------------------------------- */

/* A counter along one axis counted from the end (1: keys, 2: queries). */
static bool counts_from_end(const Graph *g, Val v, uint32_t axis) {
  v = through_broadcast(g, v);
  const Type *t = ir_type_of(g, v);
  if (t->rank < axis) return false;
  for (uint32_t i = 0; i < t->rank; i++)
    if (i + axis != t->rank && !m_dim_is(g, t->dim[i], 1)) return false;
  if (m_is(g, v, OP_reshape)) v = ir_in(g, v, 0);
  return m_is(g, v, OP_iota);
}

/* key <= query, of counters whose length is known at run time only */
static bool is_triangle(const Graph *g, Val v) {
  if (m_is(g, v, OP_le))
    return counts_from_end(g, ir_in(g, v, 0), 1) && counts_from_end(g, ir_in(g, v, 1), 2);
  bool is_not_above = m_is(g, v, OP_not) && m_is(g, ir_in(g, v, 0), OP_lt);
  if (!is_not_above) return false;
  Val lt = ir_in(g, v, 0);
  return counts_from_end(g, ir_in(g, lt, 0), 2) && counts_from_end(g, ir_in(g, lt, 1), 1);
}

static Val both(Graph *g, OpCode op, Val a, Val b) {
  if (!val_ok(a) || !val_ok(b)) return val_ok(a) ? a : b;
  return ir_ew2(g, op, a, b);
}

static bool split_allowed(Graph *g, Val v, int depth, bool *causal, Val *rest) {
  MaskKind kind = MASK_other;
  v = through_broadcast(g, v);
  if (m_is(g, v, OP_and) && depth > 0) {
    Val a = VAL_NONE, b = VAL_NONE;
    if (!split_allowed(g, ir_in(g, v, 0), depth - 1, causal, &a)) return false;
    if (!split_allowed(g, ir_in(g, v, 1), depth - 1, causal, &b)) return false;
    *rest = both(g, OP_and, a, b);
    return true;
  }
  if (m_const(g, v) && !classify_const(g, v, true, &kind)) return false;
  if (kind == MASK_other && is_triangle(g, v)) kind = MASK_causal;
  *causal = *causal || kind == MASK_causal;
  *rest = kind == MASK_other ? v : VAL_NONE;
  return true;
}

/* where(allowed, 0, low) or where(hidden, low, 0) */
static bool split_where(Graph *g, Val v, bool *causal, Val *rest) {
  double a = 0, b = 0;
  bool ok = m_splat(g, ir_in(g, v, 1), &a) && m_splat(g, ir_in(g, v, 2), &b);
  bool is_seen_first = ok && a == 0 && b <= MASKED, is_seen_last = ok && b == 0 && a <= MASKED;
  Val allowed = ir_in(g, v, 0), left = VAL_NONE;
  *rest = v;
  if (!is_seen_first && !is_seen_last) return true;
  if (is_seen_last) allowed = ir_ew1(g, OP_not, through_broadcast(g, allowed));
  if (!split_allowed(g, allowed, DEPTH, causal, &left)) return false;
  *rest = left;
  if (!val_ok(left)) return true;
  VlDtype t = ir_type_of(g, v)->dtype;
  Val in[3] = {left, ir_scalar(g, t, 0), ir_scalar(g, t, is_seen_first ? b : a)};
  *rest = ir_node(g, OP_where, 3, in, 0, NULL);
  return val_ok(*rest);
}

/* The leading corner of a constant, as long as the text of the day: a corner of
** a triangle is a triangle. */
static Val through_corner(const Graph *g, Val v) {
  if (!m_is(g, v, OP_slice)) return v;
  const Attr *starts = ir_attr(g, v, A_starts), *steps = ir_attr(g, v, A_steps);
  const Type *t = ir_type_of(g, v);
  for (uint32_t i = 0; i < t->rank; i++) {
    bool is_leading = m_dim_is(g, starts->dims[i], 0) && (steps == NULL || steps->ints[i] == 1);
    if (!is_leading) return v;
  }
  bool is_square = t->rank >= 2 && t->dim[t->rank - 1] == t->dim[t->rank - 2];
  return is_square ? ir_in(g, v, 0) : v;
}

static bool split_const(const Graph *g, Val mask, Val whole, bool *causal, Val *rest) {
  MaskKind kind = MASK_other;
  if (!classify_const(g, whole, false, &kind)) return false;
  *causal = *causal || kind == MASK_causal;
  *rest = kind == MASK_other ? mask : VAL_NONE;
  return true;
}

static bool split(Graph *g, Val mask, int depth, bool *causal, Val *rest) {
  mask = through_broadcast(g, mask);
  Val whole = through_corner(g, mask);
  if (m_const(g, whole)) return split_const(g, mask, whole, causal, rest);
  if (m_is(g, mask, OP_where)) return split_where(g, mask, causal, rest);
  if (m_is(g, mask, OP_add) && depth > 0) {
    Val a = VAL_NONE, b = VAL_NONE;
    if (!split(g, ir_in(g, mask, 0), depth - 1, causal, &a)) return false;
    if (!split(g, ir_in(g, mask, 1), depth - 1, causal, &b)) return false;
    *rest = both(g, OP_add, a, b);
    return true;
  }
  *rest = mask;
  return true;
}

bool mask_split(Graph *g, Val mask, bool *causal, Val *rest) {
  return split(g, mask, DEPTH, causal, rest);
}
