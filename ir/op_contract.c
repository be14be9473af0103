/* SPDX-License-Identifier: Apache-2.0 */
/* op_contract.c - contractions: matmul by numpy's rules and convolution over
** any number of spatial axes.  Each sum runs in one fixed order. */
#include "ir/ir_int.h"

/* ---- matmul -------------------------------------------------------------- */

/* A vector becomes a row on the left and a column on the right. */
static Type as_matrix(Graph *g, const Type *t, bool left) {
  DimId one = dim_const(ir_dims(g), 1);
  if (t->rank != 1) return *t;
  return (Type){t->dtype, 2, {left ? one : t->dim[0], left ? t->dim[0] : one}};
}

static Type batch_of(const Type *t) {
  Type b = *t;
  b.rank -= 2;
  return b;
}

bool shape_matmul(Infer *x) {
  const Type *a = infer_type(x, 0), *b = infer_type(x, 1);
  if (!infer_same_dtype(x, 0, 1) || !infer_number(x, 0)) return false;
  if (!infer_rank(x, 0, 1, VLPC_MAX_RANK) || !infer_rank(x, 1, 1, VLPC_MAX_RANK)) return false;
  Type p = as_matrix(x->g, a, true), q = as_matrix(x->g, b, false);
  if (p.dim[p.rank - 1] != q.dim[q.rank - 2])
    return infer_misfit(x, "inner sizes differ", 0, 1,
                        arena_printf(ir_arena(x->g), "%s and %s equal",
                                     dim_text(x->g, p.dim[p.rank - 1]),
                                     dim_text(x->g, q.dim[q.rank - 2])));
  Type batch_a = batch_of(&p), batch_b = batch_of(&q);
  if (!type_broadcast(x->g, &batch_a, &batch_b, &x->out))
    return infer_misfit(x, "batch axes do not broadcast", 0, 1, "equal sizes, or 1");
  if (a->rank > 1) x->out.dim[x->out.rank++] = p.dim[p.rank - 2];
  if (b->rank > 1) x->out.dim[x->out.rank++] = q.dim[q.rank - 1];
  return true;
}

static RefTensor matrix_view(const RefTensor *t, bool left) {
  RefTensor r = *t;
  if (t->rank != 1) return r;
  r.rank = 2;
  r.size[0] = left ? 1 : t->size[0];
  r.size[1] = left ? t->size[0] : 1;
  return r;
}

/* Integers modulo 2^64. */
static void gemm_int(int64_t *o, const int64_t *a, const int64_t *b, const int64_t mkn[3]) {
  int64_t m = mkn[0], k = mkn[1], n = mkn[2];
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++) {
      uint64_t s = 0;
      for (int64_t p = 0; p < k; p++) s += (uint64_t)a[i * k + p] * (uint64_t)b[p * n + j];
      o[i * n + j] = (int64_t)s;
    }
}

bool ref_matmul(RefCtx *c) {
  RefTensor a = matrix_view(&c->in[0], true), b = matrix_view(&c->in[1], false);
  int64_t mkn[3] = {a.size[a.rank - 2], a.size[a.rank - 1], b.size[b.rank - 1]};
  int64_t vectors = (c->in[0].rank == 1) + (c->in[1].rank == 1);
  a.rank -= 2;
  b.rank -= 2;
  Walk w = walk_new((uint32_t)(c->out->rank + vectors - 2), c->out->size);
  walk_add(&w, &a);
  walk_add(&w, &b);
  for (int64_t at = 0; at < w.count; at++, walk_next(&w)) {
    int64_t ao = w.off[0] * mkn[0] * mkn[1], bo = w.off[1] * mkn[1] * mkn[2];
    int64_t oo = at * mkn[0] * mkn[2];
    if (a.f) ref_gemm(c->out->f + oo, a.f + ao, b.f + bo, mkn);
    else gemm_int(c->out->i + oo, a.i + ao, b.i + bo, mkn);
  }
  return true;
}

/* ---- conv ---------------------------------------------------------------- */

/* Steps and paddings are bounded so that no position overflows. */
static const int64_t conv_most = 1 << 20;

static int64_t entry(const Attr *a, uint32_t i, int64_t otherwise) {
  return a ? a->ints[i] : otherwise;
}

static bool check_entries(Infer *x, AttrKey k, uint32_t n, int64_t lo) {
  const Attr *a = infer_attr(x, k);
  if (!a) return true;
  if (!infer_list(x, k, n, &a)) return false;
  for (uint32_t i = 0; i < n; i++)
    if (a->ints[i] < lo || a->ints[i] > conv_most)
      return infer_fail(x, "a step, padding or spacing is out of range",
                        arena_printf(ir_arena(x->g), "%lld", (long long)a->ints[i]),
                        arena_printf(ir_arena(x->g), "%lld to %lld", (long long)lo,
                                     (long long)conv_most));
  return true;
}

/* Output size of spatial axis i; DIM_NONE when not affine. */
static DimId conv_size(Infer *x, uint32_t i, uint32_t n) {
  DimTable *t = ir_dims(x->g);
  const Attr *pads = infer_attr(x, A_pads);
  int64_t kernel;
  if (!dim_is_const(t, infer_type(x, 1)->dim[2 + i], &kernel) || kernel < 1) return DIM_NONE;
  if (kernel > conv_most) return DIM_NONE;
  int64_t reach = (kernel - 1) * entry(infer_attr(x, A_dilations), i, 1);
  int64_t extra = entry(pads, i, 0) + entry(pads, n + i, 0) - reach - 1;
  DimId span = dim_add(t, infer_type(x, 0)->dim[2 + i], dim_const(t, extra));
  DimId steps = dim_floor_div(x->g, span, entry(infer_attr(x, A_strides), i, 1));
  return dim_add(t, steps, dim_const(t, 1));
}

static bool conv_channels(Infer *x) {
  const Type *t = infer_type(x, 0), *w = infer_type(x, 1);
  DimTable *d = ir_dims(x->g);
  int64_t group = 1, m;
  if (infer_attr(x, A_group) && !infer_int(x, A_group, 1, conv_most, &group)) return false;
  bool even = dim_is_const(d, w->dim[0], &m) && m % group == 0;
  if (even && dim_mul(d, w->dim[1], dim_const(d, group)) == t->dim[1]) return true;
  return infer_misfit(x, "channels do not fit the weights", 0, 1,
                      arena_printf(ir_arena(x->g), "x[n,c,…] and w[m,c/%lld,…]", (long long)group));
}

bool shape_conv(Infer *x) {
  const Type *t = infer_type(x, 0), *w = infer_type(x, 1);
  if (!infer_float(x, 0) || !infer_same_dtype(x, 0, 1)) return false;
  if (!infer_rank(x, 0, 3, VLPC_MAX_RANK) || !infer_rank(x, 1, t->rank, t->rank)) return false;
  uint32_t n = t->rank - 2;
  if (!check_entries(x, A_strides, n, 1) || !check_entries(x, A_dilations, n, 1)) return false;
  if (!check_entries(x, A_pads, 2 * n, 0) || !conv_channels(x)) return false;
  if (!infer_vector(x, 2, w->dim[0], 0)) return false;
  x->out = (Type){t->dtype, t->rank, {t->dim[0], w->dim[0]}};
  for (uint32_t i = 0; i < n; i++) x->out.dim[2 + i] = conv_size(x, i, n);
  return true;
}

typedef struct {
  uint32_t n; /* spatial axes */
  const Attr *strides, *pads, *dilations;
  Walk out, kernel;
} Conv;

/* Offset of the element under kernel position kernel.at; false on padding. */
static bool conv_offset(const Conv *v, const RefTensor *x, int64_t *out) {
  *out = 0;
  for (uint32_t i = 0; i < v->n; i++) {
    int64_t at = v->out.at[i] * entry(v->strides, i, 1) - entry(v->pads, i, 0) +
                 v->kernel.at[i] * entry(v->dilations, i, 1);
    if (at < 0 || at >= x->size[2 + i]) return false;
    *out = *out * x->size[2 + i] + at;
  }
  return true;
}

/* One output element: channels of one group times kernel positions. */
static double conv_element(Conv *v, const RefTensor *x, const double *w, int64_t from,
                           int64_t channels) {
  int64_t plane = 1, each = v->kernel.count, off;
  double s = 0;
  for (uint32_t i = 0; i < v->n; i++) plane *= x->size[2 + i];
  for (int64_t ch = 0; ch < channels; ch++)
    for (int64_t k = 0; k < each; k++, walk_next(&v->kernel))
      if (conv_offset(v, x, &off)) s += x->f[(from + ch) * plane + off] * w[ch * each + k];
  return s;
}

bool ref_conv(RefCtx *c) {
  const RefTensor *x = &c->in[0], *w = &c->in[1];
  RefTensor *o = c->out;
  Conv v = {.n = x->rank - 2,
            .strides = ir_attr(c->g, c->v, A_strides),
            .pads = ir_attr(c->g, c->v, A_pads),
            .dilations = ir_attr(c->g, c->v, A_dilations)};
  v.out = walk_new(v.n, o->size + 2);
  v.kernel = walk_new(v.n, w->size + 2);
  int64_t group = ir_attr_int(c->g, c->v, A_group, 1), each = o->size[1] / group;
  int64_t channels = w->size[1];
  for (int64_t p = 0; p < o->size[0] * o->size[1]; p++) {
    int64_t n = p / o->size[1], m = p % o->size[1];
    int64_t from = n * x->size[1] + m / VL_MAX(each, 1) * channels;
    double bias = ref_given(c, 2) ? c->in[2].f[m] : 0;
    for (int64_t k = 0; k < v.out.count; k++, walk_next(&v.out))
      o->f[p * v.out.count + k] =
          bias + conv_element(&v, x, w->f + m * channels * v.kernel.count, from, channels);
  }
  return true;
}
