/* SPDX-License-Identifier: Apache-2.0 */
/* absorb.c - for one query row, keys and values are not made.
**
** in:     attention of one query row whose keys and values are linears of rows x,
**         k = x Wk + bk and v = x Wv + bv
** out:    attention of the heads as queries over x itself:
**           u_h = q_h Wk_hᵀ,  a_h = softmax(scale · u_h xᵀ) x,  out_h = a_h Wv_h + bv_h
** method: q·(x Wk + bk) = (q Wkᵀ)·x + q·bk; the last term is the same for all
**         keys, so the softmax does not see it, and probabilities sum to 1
** worth:  2·D·heads·d multiply-adds a key less; the last block of an image tower
**         reads its class row alone, so this is a twelfth of its q, k and v */
#include "passes/pass_int.h"

enum { MIN_KEYS = 16, MAX_HEADS = 64 };

/* v = x w + b, with w and b known when compiling. */
typedef struct {
  Val x, w, b; /* b: VAL_NONE without a bias */
} Linear;

/* First column of a slice of columns; false for any other slice. */
static bool column_slice(const Graph *g, Val v, DimId *first) {
  const Type *t = ir_type_of(g, v), *whole = ir_type_of(g, ir_in(g, v, 0));
  const Attr *starts = ir_attr(g, v, A_starts), *steps = ir_attr(g, v, A_steps);
  for (uint32_t i = 0; i + 1 < t->rank; i++)
    if (t->dim[i] != whole->dim[i]) return false;
  *first = starts->dims[t->rank - 1];
  return steps == NULL || steps->ints[t->rank - 1] == 1;
}

static bool linear_of(Graph *g, Val v, Linear *out) {
  DimId first = dim_const(ir_dims(g), 0), n = m_last_dim(g, v);
  Val lin = v;
  if (m_is(g, v, OP_slice)) {
    if (!column_slice(g, v, &first)) return false;
    lin = ir_in(g, v, 0);
  }
  if (!m_is(g, lin, OP_linear) || !m_const(g, ir_in(g, lin, 1))) return false;
  bool has_bias = ir_n_in(g, lin) == 3;
  if (has_bias && !m_const(g, ir_in(g, lin, 2))) return false;
  *out = (Linear){.x = ir_in(g, lin, 0), .w = ir_slice_axis(g, ir_in(g, lin, 1), 1, first, n)};
  if (has_bias) out->b = ir_slice_axis(g, ir_in(g, lin, 2), 0, first, n);
  return true;
}

typedef struct {
  uint32_t n; /* segments */
  Val x[ATTENTION_SEGMENTS];
  Linear k, v;
  int64_t heads;
} Absorb;

/* Every segment's keys come from the same rows and weights as its values do. */
static bool matches(Graph *g, const Val *in, uint32_t n_in, Absorb *out) {
  int64_t keys = 0, rows = 0;
  out->n = attention_segments(n_in);
  for (uint32_t i = 0; i < out->n; i++) {
    Linear k, v;
    if (!ir_size_const(g, in[1 + 2 * i], -2, &rows)) return false;
    if (!linear_of(g, in[1 + 2 * i], &k) || !linear_of(g, in[2 + 2 * i], &v)) return false;
    if (!val_eq(k.x, v.x) || ir_type_of(g, k.x)->rank != 3) return false;
    if (i == 0) out->k = k, out->v = v;
    if (!val_eq(k.w, out->k.w) || !val_eq(v.w, out->v.w)) return false;
    if (!val_eq(k.b, out->k.b) || !val_eq(v.b, out->v.b)) return false;
    out->x[i] = k.x;
    keys += rows;
  }
  return keys >= MIN_KEYS;
}

/* Columns [h·n, h·n + n) along an axis, n the h-th part of heads. */
static Val head_part(Graph *g, Val v, uint32_t axis, int64_t h, int64_t heads) {
  DimTable *t = ir_dims(g);
  DimId n = dim_div(t, ir_type_of(g, v)->dim[axis], dim_const(t, heads));
  return ir_slice_axis(g, v, axis, dim_mul(t, n, dim_const(t, h)), n);
}

static Val queries(Graph *g, Val q, const Absorb *a) {
  Val u[MAX_HEADS];
  for (int64_t h = 0; h < a->heads; h++) {
    Val w = ir_permute(g, head_part(g, a->k.w, 1, h, a->heads), (int64_t[]){1, 0}, 2);
    u[h] = ir_node(g, OP_linear, 2, (Val[]){head_part(g, q, 2, h, a->heads), w}, 0, NULL);
  }
  return ir_concat(g, u, (uint32_t)a->heads, 1);
}

static Val results(Graph *g, Val mixed, const Absorb *a) {
  Val out[MAX_HEADS];
  for (int64_t h = 0; h < a->heads; h++) {
    Val to[3] = {head_part(g, mixed, 1, h, a->heads), head_part(g, a->v.w, 1, h, a->heads)};
    if (val_ok(a->v.b)) to[2] = head_part(g, a->v.b, 0, h, a->heads);
    out[h] = ir_node(g, OP_linear, val_ok(a->v.b) ? 3 : 2, to, 0, NULL);
  }
  return ir_concat(g, out, (uint32_t)a->heads, 2);
}

static Val absorbed(Rewrite *rw, Val src, const Val *in, uint32_t n_in) {
  Graph *g = rw->dst;
  if (ir_op(rw->src, src) != OP_attention || attention_masked(n_in)) return VAL_NONE;
  if (ir_attr_int(rw->src, src, A_causal, 0) != 0) return VAL_NONE;
  const Type *q = ir_type_of(g, in[0]);
  if (q->rank != 3 || !m_dim_is(g, q->dim[1], 1)) return VAL_NONE;
  Absorb a = {.heads = ir_attr_int(rw->src, src, A_heads, 1)};
  if (a.heads < 2 || a.heads > MAX_HEADS || !matches(g, in, n_in, &a)) return VAL_NONE;
  Val to[1 + 2 * ATTENTION_SEGMENTS] = {queries(g, in[0], &a)};
  for (uint32_t i = 0; i < a.n; i++) to[1 + 2 * i] = to[2 + 2 * i] = a.x[i];
  Attr attr[2] = {attr_int(A_heads, 1),
                  attr_float(A_scale, ir_attr_float(rw->src, src, A_scale, 1))};
  Val mixed = ir_node(g, OP_attention, n_in, to, 2, attr);
  return val_ok(mixed) ? results(g, mixed, &a) : VAL_NONE;
}

Graph *pass_absorb(const Graph *g, Arena *a) { return ir_rewrite(g, a, absorbed, NULL, NULL); }
