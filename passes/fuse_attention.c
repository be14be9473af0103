/* SPDX-License-Identifier: Apache-2.0 */
/* fuse_attention.c - attention from matmul, softmax and matmul.
**
** in:     softmax(scale q kᵀ + mask) v with any batch axes: [N, H, L, d],
**         [N·H, L, d], [N, L, d]; q, k and v are views (view.c)
** out:    attention on [B, L, h·d] and a view of its result
** method: the factors of q, k and their product become one number, which is
**         exactly 1/sqrt(d) when it is within 1e-6 of it; masks are taken apart
**         (mask.c); a guard against NaN falls away, because a row of attention
**         that sees no key is zero. */
#include "passes/pass_int.h"

#include <math.h>
#include <string.h>

static void swap_last(View *w) {
  int64_t perm[VLPC_MAX_RANK];
  for (uint32_t i = 0; i < w->rank; i++) perm[i] = i;
  perm[w->rank - 1] = w->rank - 2;
  perm[w->rank - 2] = w->rank - 1;
  view_permute(w, perm);
}

/* ---- the chain from the first product to the probabilities ------------------- */

typedef struct {
  Val scores; /* matmul(q, kᵀ) */
  Val mask;
  double scale;
  bool causal;
} Chain;

static bool leads_within(const Graph *g, Val v, int depth) {
  Val x = VAL_NONE;
  double c = 1;
  m_scaled(g, v, &x, &c);
  if (m_is(g, x, OP_matmul)) return !m_const(g, ir_in(g, x, 0)) && !m_const(g, ir_in(g, x, 1));
  if (!m_is(g, x, OP_add) || depth == 0) return false;
  return leads_within(g, ir_in(g, x, 0), depth - 1) || leads_within(g, ir_in(g, x, 1), depth - 1);
}

/* Through sums and factors to a product of two values. */
static bool leads_to_scores(const Graph *g, Val v) { return leads_within(g, v, 4); }

static const char *add_mask(Graph *g, Val mask, Chain *c) {
  Val rest = VAL_NONE;
  if (c->scale != 1) return "the scores are scaled after the mask is added";
  if (!mask_split(g, mask, &c->causal, &rest)) return "its mask cannot be evaluated";
  if (val_ok(rest)) c->mask = val_ok(c->mask) ? ir_ew2(g, OP_add, c->mask, rest) : rest;
  return NULL;
}

/* where(hidden, low, scores) as an added mask */
static Val fill_as_mask(Graph *g, Val v, Val *scores) {
  for (uint32_t i = 1; i < 3; i++) {
    double low = 0;
    if (!m_splat(g, ir_in(g, v, i), &low) || low > -1e4) continue;
    VlDtype t = ir_type_of(g, v)->dtype;
    Val in[3] = {ir_in(g, v, 0), ir_scalar(g, t, 0), ir_scalar(g, t, 0)};
    in[i] = ir_scalar(g, t, low);
    *scores = ir_in(g, v, 3 - i);
    return ir_node(g, OP_where, 3, in, 0, NULL);
  }
  return VAL_NONE;
}

static const char *walk_scores(Graph *g, Val v, Chain *c) {
  for (int i = 0; i < CHAIN_MAX; i++) {
    double s = 1;
    Val x = VAL_NONE, mask = VAL_NONE;
    m_scaled(g, v, &x, &s);
    const char *why = NULL;
    if (m_is(g, x, OP_matmul)) {
      c->scale *= s;
      c->scores = x;
      return leads_to_scores(g, x) ? NULL : "the softmax is over a product with weights";
    }
    c->scale *= s;
    if (m_is(g, x, OP_add)) {
      uint32_t k = leads_to_scores(g, ir_in(g, x, 0)) ? 0 : 1;
      v = ir_in(g, x, k);
      why = add_mask(g, ir_in(g, x, 1 - k), c);
    } else if (m_is(g, x, OP_where)) {
      mask = fill_as_mask(g, x, &v);
      if (!val_ok(mask)) return "a where that is no mask stands before the softmax";
      why = add_mask(g, mask, c);
    } else {
      return "the softmax is not over scores of a matmul";
    }
    if (why != NULL) return why;
  }
  return "too many masks are added";
}

/* where(isnan(p), 0, p) is p */
static Val without_guard(const Graph *g, Val p) {
  if (!m_is(g, p, OP_where) || !m_is(g, ir_in(g, p, 0), OP_isnan)) return p;
  bool is_zero = m_is_splat(g, ir_in(g, p, 1), 0, 0);
  Val x = ir_in(g, p, 2);
  return is_zero && val_eq(ir_in(g, ir_in(g, p, 0), 0), x) ? x : p;
}

static const char *walk_chain(Graph *g, Val probs, Chain *c) {
  Val p = without_guard(g, probs);
  if (!m_is(g, p, OP_softmax)) return "the left factor is not a softmax";
  if (ir_attr_int(g, p, A_axis, 0) + 1 != ir_type_of(g, p)->rank)
    return "the softmax does not run over the keys";
  return walk_scores(g, ir_in(g, p, 0), c);
}

/* ---- batch and heads ----------------------------------------------------------- */

/* Which atoms of q's batch axes are heads, by place; the rest is batch. */
typedef struct {
  uint32_t n;
  bool is_head[VIEW_MAX];
  DimId size[VIEW_MAX];
} Batch;

static uint32_t n_batch(const View *w) { return view_first(w, w->rank - 2); }

/* Heads share the base's axis with the width; a base that has an axis for them
** has it next to the width's rows: then the last of two batch atoms is taken. */
static const char *batch_of(const View *q, Batch *b) {
  b->n = n_batch(q);
  if (q->n_of[q->rank - 1] == 0) return "the heads have width 1";
  uint32_t width_axis = q->atom[q->order[q->n - 1]].axis, heads = 0;
  for (uint32_t p = 0; p < b->n; p++) {
    b->size[p] = q->atom[q->order[p]].size;
    b->is_head[p] = q->atom[q->order[p]].axis == width_axis;
    heads += b->is_head[p];
  }
  if (heads > 1) return "the heads are not one factor of the width";
  if (heads == 0 && b->n > 2) return "there are more batch axes than batch and heads";
  if (heads == 0 && b->n == 2) b->is_head[1] = true;
  return NULL;
}

static bool same_batch(const View *w, const Batch *b) {
  if (n_batch(w) != b->n) return false;
  for (uint32_t p = 0; p < b->n; p++)
    if (w->atom[w->order[p]].size != b->size[p]) return false;
  return true;
}

/* q, k or v as [B, L, h·d]. */
static Val as_rows(Graph *g, const View *w, const Batch *b) {
  View to = *w;
  uint32_t rows = w->n_of[w->rank - 2], width = w->n_of[w->rank - 1], at = 0, heads = 0;
  to.rank = 3;
  for (uint32_t p = 0; p < b->n; p++)
    if (!b->is_head[p]) to.order[at++] = w->order[p];
    else heads++;
  to.n_of[0] = at;
  to.n_of[1] = rows;
  to.n_of[2] = heads + width;
  for (uint32_t k = 0; k < rows; k++) to.order[at++] = w->order[b->n + k];
  for (uint32_t p = 0; p < b->n; p++)
    if (b->is_head[p]) to.order[at++] = w->order[p];
  for (uint32_t k = 0; k < width; k++) to.order[at++] = w->order[b->n + rows + k];
  DimId dim[3];
  for (uint32_t i = 0; i < 3; i++)
    if ((dim[i] = view_dim(g, &to, i)) == DIM_NONE) return VAL_NONE;
  return view_emit(g, &to, dim);
}

static void add_atom(View *w, uint32_t axis, DimId size) {
  w->atom[w->n].axis = axis;
  w->atom[w->n++].size = size;
}

/* The matmul's result as a view of [B, Lq, h·dv]: batch as q has it. */
static View result_view(Graph *g, const View *q, const Batch *b, DimId rows, DimId width) {
  View w = {.rank = q->rank};
  memcpy(w.n_of, q->n_of, sizeof w.n_of);
  uint32_t place[VIEW_MAX], at = 0;
  for (int heads = 0; heads < 2; heads++) {
    for (uint32_t p = 0; p < b->n; p++) {
      if (b->is_head[p] != (heads == 1)) continue;
      place[p] = w.n;
      add_atom(&w, heads == 1 ? 2 : 0, b->size[p]);
    }
    if (heads == 0 && !m_dim_is(g, rows, 1)) add_atom(&w, 1, rows);
  }
  for (uint32_t p = 0; p < b->n; p++) w.order[at++] = place[p];
  w.n_of[w.rank - 2] = !m_dim_is(g, rows, 1);
  for (uint32_t a = 0; a < w.n; a++)
    if (w.atom[a].axis == 1) w.order[at++] = a;
  w.n_of[w.rank - 1] = !m_dim_is(g, width, 1);
  if (w.n_of[w.rank - 1] == 1) {
    w.order[at++] = w.n;
    add_atom(&w, 2, width);
  }
  return w;
}

/* ---- mask and scale -------------------------------------------------------------- */

/* The mask of scores [batch …, Lq, Lk] for [B, h, Lq, Lk]. */
static Val place_mask(Graph *g, Val mask, const View *q, const Batch *b) {
  Type t = *ir_type_of(g, mask);
  if (t.rank <= 2) return mask;
  bool is_plain = q->rank == 4 && q->n_of[0] == (b->n > 0 && !b->is_head[0]) &&
                  (b->n == 0 || b->is_head[b->n - 1] || q->n_of[1] == 0);
  if (is_plain) return mask;
  uint32_t lead = t.rank - 2;
  bool is_shared = true;
  for (uint32_t i = 0; i < lead; i++) is_shared = is_shared && m_dim_is(g, t.dim[i], 1);
  if (is_shared) return ir_reshape(g, mask, t.dim + lead, 2);
  bool is_batch_only = q->rank == 3 && t.rank == 3 && b->n == 1 && !b->is_head[0];
  if (!is_batch_only) return VAL_NONE;
  DimId dim[4] = {t.dim[0], dim_const(ir_dims(g), 1), t.dim[1], t.dim[2]};
  return ir_reshape(g, mask, dim, 4);
}

static double snapped(double scale, int64_t d) {
  double exact = 1 / sqrt((double)d);
  return (double)(float)(m_near(scale, exact, 1e-6) ? exact : scale);
}

static const char *match_sides(Graph *g, const Chain *c, Val v, Attention *out) {
  double scale = c->scale;
  View q = view_of(g, view_unscaled(g, ir_in(g, c->scores, 0), &scale));
  View k = view_of(g, view_unscaled(g, ir_in(g, c->scores, 1), &scale));
  View w = view_of(g, v);
  Batch b = {0};
  if (q.rank < 3 || k.rank != q.rank || w.rank != q.rank)
    return "q, k and v have different ranks, or no batch axis";
  swap_last(&k);
  const char *why = batch_of(&q, &b);
  if (why != NULL) return why;
  if (!same_batch(&k, &b) || !same_batch(&w, &b))
    return "q, k and v have different batch sizes or heads";
  int64_t d = 0;
  if (!dim_is_const(ir_dims(g), view_dim(g, &q, q.rank - 1), &d)) return "the width is unknown";
  out->heads = 1;
  for (uint32_t p = 0; p < b.n; p++)
    if (b.is_head[p] && !dim_is_const(ir_dims(g), b.size[p], &out->heads))
      return "the number of heads is unknown";
  out->q = as_rows(g, &q, &b);
  out->k = as_rows(g, &k, &b);
  out->v = as_rows(g, &w, &b);
  if (!val_ok(out->q) || !val_ok(out->k) || !val_ok(out->v))
    return "q, k or v cannot be written as [batch, rows, width]";
  out->scale = snapped(scale, d);
  out->out = result_view(g, &q, &b, view_dim(g, &q, q.rank - 2),
                         view_dim(g, &w, w.rank - 1));
  if (val_ok(c->mask)) out->mask = place_mask(g, c->mask, &q, &b);
  if (val_ok(c->mask) && !val_ok(out->mask)) return "its mask does not fit [batch, heads, q, k]";
  return NULL;
}

const char *match_attention(Graph *g, Val probs, Val v, Attention *out) {
  Chain c = {.scale = 1};
  *out = (Attention){0};
  const char *why = walk_chain(g, probs, &c);
  if (why != NULL) return why;
  if (m_const(g, v)) return "the values are weights";
  out->causal = c.causal;
  return match_sides(g, &c, v, out);
}

Val pass_fuse_attention(Rewrite *rw, Val src, const Val *in, uint32_t n_in) {
  (void)n_in;
  Graph *g = rw->dst;
  Attention m;
  if (ir_op(rw->src, src) != OP_matmul || match_attention(g, in[0], in[1], &m) != NULL)
    return VAL_NONE;
  Val to[4] = {m.q, m.k, m.v, m.mask};
  Attr attr[3] = {attr_int(A_heads, m.heads), attr_float(A_scale, m.scale),
                  attr_int(A_causal, m.causal)};
  m.out.base = ir_node(g, OP_attention, 4, to, 3, attr);
  if (!val_ok(m.out.base)) return VAL_NONE;
  const Type *t = ir_type_of(rw->src, src);
  return view_emit(g, &m.out, t->dim);
}
