/* SPDX-License-Identifier: Apache-2.0 */
/* op_semantic.c - ops with a meaning of their own: softmax, layernorm, l2norm,
** gelu, linear, patch_embed, attention.  (embedding is in op_index.c.)
**
** expand.c says each of them again in primitives.  softmax of a row that is all
** -inf is NaN, as in ONNX; attention gives zeros for such a row. */
#include <math.h>
#include <string.h>

#include "ir/ir_int.h"

/* ---- softmax, log_softmax ------------------------------------------------ */

bool shape_softmax(Infer *x) {
  uint32_t axis;
  x->out = *infer_type(x, 0);
  return infer_float(x, 0) && infer_axis(x, x->out.rank, &axis);
}

/* n elements inner apart, from x to o. */
typedef struct {
  const double *x;
  double *o;
  int64_t n, inner;
} Line;

static void softmax_line(Line l, bool take_log) {
  double top = -INFINITY, sum = 0;
  for (int64_t k = 0; k < l.n; k++) top = fmax(top, l.x[k * l.inner]);
  for (int64_t k = 0; k < l.n; k++) sum += exp(l.x[k * l.inner] - top);
  for (int64_t k = 0; k < l.n; k++) {
    double v = l.x[k * l.inner] - top;
    l.o[k * l.inner] = take_log ? v - log(sum) : exp(v) / sum;
  }
}

static bool each_line(RefCtx *c, bool take_log) {
  Split s = ref_split(&c->in[0], ir_attr_int(c->g, c->v, A_axis, 0));
  for (int64_t l = 0; l < s.outer * s.inner; l++) {
    int64_t from = l / s.inner * s.n * s.inner + l % s.inner;
    softmax_line((Line){c->in[0].f + from, c->out->f + from, s.n, s.inner}, take_log);
  }
  return true;
}

bool ref_softmax(RefCtx *c) { return each_line(c, false); }
bool ref_log_softmax(RefCtx *c) { return each_line(c, true); }

/* ---- layernorm, l2norm --------------------------------------------------- */

static DimId last_dim(const Type *t) { return t->dim[t->rank - 1]; }

static int64_t row_size(const RefTensor *t) { return t->size[t->rank - 1]; }

static int64_t row_count(const RefTensor *t) {
  int64_t n = row_size(t);
  return n == 0 ? 0 : t->count / n;
}

bool shape_layernorm(Infer *x) {
  if (!infer_float(x, 0) || !infer_rank(x, 0, 1, VLPC_MAX_RANK)) return false;
  x->out = *infer_type(x, 0);
  return infer_number_attr(x, A_eps) && infer_vector(x, 1, last_dim(&x->out), 0) &&
         infer_vector(x, 2, last_dim(&x->out), 0);
}

bool ref_layernorm(RefCtx *c) {
  int64_t n = row_size(&c->in[0]);
  double eps = ir_attr_float(c->g, c->v, A_eps, 0);
  for (int64_t r = 0; r < row_count(&c->in[0]); r++) {
    const double *x = c->in[0].f + r * n;
    double mean = 0, var = 0, *o = c->out->f + r * n;
    for (int64_t k = 0; k < n; k++) mean += x[k];
    mean /= (double)n;
    for (int64_t k = 0; k < n; k++) var += (x[k] - mean) * (x[k] - mean);
    double sd = sqrt(var / (double)n + eps);
    for (int64_t k = 0; k < n; k++) {
      o[k] = (x[k] - mean) / sd;
      if (ref_given(c, 1)) o[k] *= c->in[1].f[k];
      if (ref_given(c, 2)) o[k] += c->in[2].f[k];
    }
  }
  return true;
}

bool shape_l2norm(Infer *x) {
  if (!infer_float(x, 0) || !infer_rank(x, 0, 1, VLPC_MAX_RANK)) return false;
  x->out = *infer_type(x, 0);
  return infer_number_attr(x, A_eps);
}

bool ref_l2norm(RefCtx *c) {
  int64_t n = row_size(&c->in[0]);
  double eps = ir_attr_float(c->g, c->v, A_eps, 0);
  for (int64_t r = 0; r < row_count(&c->in[0]); r++) {
    const double *x = c->in[0].f + r * n;
    double sum = 0;
    for (int64_t k = 0; k < n; k++) sum += x[k] * x[k];
    double norm = sqrt(sum);
    if (norm < eps) norm = eps;
    for (int64_t k = 0; k < n; k++) c->out->f[r * n + k] = x[k] / norm;
  }
  return true;
}

/* ---- gelu ---------------------------------------------------------------- */

static double gelu_erf(double x) { return 0.5 * x * (1 + erf(x / sqrt(2.0))); }

static double gelu_tanh(double x) {
  return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1.0)) * (x + 0.044715 * x * x * x)));
}

static double gelu_quick(double x) { return x / (1 + exp(-1.702 * x)); }

static const struct {
  const char *name;
  double (*fn)(double);
} gelus[] = {{"erf", gelu_erf}, {"tanh", gelu_tanh}, {"quick", gelu_quick}};

bool shape_gelu(Infer *x) {
  const Attr *kind = infer_attr(x, A_approx);
  if (!infer_float(x, 0)) return false;
  x->out = *infer_type(x, 0);
  for (uint32_t i = 0; kind && i < VL_COUNT(gelus); i++)
    if (strcmp(kind->str, gelus[i].name) == 0) return true;
  return infer_fail(x, "no such kind of gelu", kind ? kind->str : "none", "erf, tanh or quick");
}

bool ref_gelu(RefCtx *c) {
  const char *kind = ir_attr(c->g, c->v, A_approx)->str;
  uint32_t k = 0;
  while (strcmp(kind, gelus[k].name) != 0) k++;
  for (int64_t i = 0; i < c->out->count; i++) c->out->f[i] = gelus[k].fn(c->in[0].f[i]);
  return true;
}

/* ---- linear, patch_embed ------------------------------------------------- */

/* Operand 1 is a matrix with k rows, operand 2 its bias; *n gets the columns. */
static bool check_weights(Infer *x, DimId k, DimId *n) {
  const Type *w = infer_type(x, 1);
  if (!infer_same_dtype(x, 0, 1) || !infer_rank(x, 1, 2, 2)) return false;
  *n = w->dim[1];
  if (w->dim[0] != k)
    return infer_misfit(x, "weights do not fit the rows", 0, 1,
                        arena_printf(ir_arena(x->g), "weights of %s rows", dim_text(x->g, k)));
  return infer_vector(x, 2, *n, 0);
}

bool shape_linear(Infer *x) {
  if (!infer_float(x, 0) || !infer_rank(x, 0, 1, VLPC_MAX_RANK)) return false;
  x->out = *infer_type(x, 0);
  return check_weights(x, last_dim(&x->out), &x->out.dim[x->out.rank - 1]);
}

/* out rows = rows · w + bias */
static void apply_weights(RefCtx *c, const double *rows, int64_t m) {
  int64_t mkn[3] = {m, c->in[1].size[0], c->in[1].size[1]};
  for (int64_t i = 0; i < m * mkn[2]; i++) c->out->f[i] = 0;
  ref_gemm(c->out->f, rows, c->in[1].f, mkn);
  for (int64_t i = 0; ref_given(c, 2) && i < m * mkn[2]; i++)
    c->out->f[i] += c->in[2].f[i % mkn[2]];
}

bool ref_linear(RefCtx *c) {
  int64_t m = 1;
  for (uint32_t i = 0; i + 1 < c->in[0].rank; i++) m *= c->in[0].size[i];
  apply_weights(c, c->in[0].f, m);
  return true;
}

bool shape_patch_embed(Infer *x) {
  const Type *t = infer_type(x, 0);
  DimTable *d = ir_dims(x->g);
  const Attr *patch;
  DimId width;
  if (!infer_float(x, 0) || !infer_rank(x, 0, 4, 4) || !infer_list(x, A_patch, 2, &patch))
    return false;
  int64_t area;
  bool ok = patch->ints[0] > 0 && patch->ints[1] > 0 &&
            vl_mul_i64(patch->ints[0], patch->ints[1], &area) && area < TYPE_MAX_COUNT;
  DimId rows = ok ? dim_div(d, t->dim[2], dim_const(d, patch->ints[0])) : DIM_NONE;
  DimId columns = ok ? dim_div(d, t->dim[3], dim_const(d, patch->ints[1])) : DIM_NONE;
  if (rows == DIM_NONE || columns == DIM_NONE)
    return infer_fail(x, "patches do not tile the image", type_text(x->g, t),
                      arena_printf(ir_arena(x->g), "multiples of %lld by %lld",
                                   (long long)patch->ints[0], (long long)patch->ints[1]));
  if (!check_weights(x, dim_mul(d, t->dim[1], dim_const(d, area)), &width)) return false;
  x->out = (Type){t->dtype, 3, {t->dim[0], dim_mul(d, rows, columns), width}};
  return true;
}

bool ref_patch_embed(RefCtx *c) {
  const RefTensor *x = &c->in[0];
  const int64_t *patch = ir_attr(c->g, c->v, A_patch)->ints;
  int64_t rows = x->size[2] / patch[0], columns = x->size[3] / patch[1];
  /* Axes of the operand, seen as [b, c, rows, ph, columns, pw], in the order
  ** b, row, column, c, y, x. */
  int64_t size[6] = {x->size[0], rows, columns, x->size[1], patch[0], patch[1]};
  int64_t line = x->size[3], plane = x->size[2] * line;
  int64_t stride[6] = {x->size[1] * plane, patch[0] * line, patch[1], plane, line, 1};
  Walk w = walk_new(6, size);
  walk_add_strides(&w, stride, 0);
  double *unfolded = arena_array(c->a, double, w.count);
  for (int64_t at = 0; at < w.count; at++, walk_next(&w)) unfolded[at] = x->f[w.off[0]];
  apply_weights(c, unfolded, x->size[0] * rows * columns);
  return true;
}

/* ---- attention ----------------------------------------------------------- */

/* The mask broadcasts to [batch …, heads, Lq, Lk] without growing it. */
static bool mask_fits(Infer *x, DimId heads, DimId keys) {
  const Type *q = &x->out, *mask = infer_type(x, x->n_in - 1);
  Type scores = {.dtype = q->dtype, .rank = q->rank + 1}, both;
  for (uint32_t i = 0; i + 2 < q->rank; i++) scores.dim[i] = q->dim[i];
  scores.dim[q->rank - 2] = heads;
  scores.dim[q->rank - 1] = q->dim[q->rank - 2];
  scores.dim[q->rank] = keys;
  bool fits = mask->dtype == q->dtype && type_broadcast(x->g, mask, &scores, &both) &&
              both.rank == scores.rank;
  for (uint32_t i = 0; fits && i < both.rank; i++) fits = both.dim[i] == scores.dim[i];
  if (fits) return true;
  return infer_fail(x, "the mask does not broadcast to the scores", type_text(x->g, mask),
                    type_text(x->g, &scores));
}

/* The axes of batch are those of all, or 1; all takes the larger. */
static bool join_leads(Graph *g, const Type *t, Type *all) {
  if (t->rank != all->rank) return false;
  for (uint32_t i = 0; i + 2 < t->rank; i++) {
    if (dim_is(g, all->dim[i], 1)) all->dim[i] = t->dim[i];
    if (t->dim[i] != all->dim[i] && !dim_is(g, t->dim[i], 1)) return false;
  }
  return true;
}

/* Keys and values of one segment against the queries and the first values. */
static bool segment_fits(Infer *x, uint32_t segment) {
  uint32_t ki = 1 + 2 * segment, vi = ki + 1;
  const Type *q = infer_type(x, 0), *k = infer_type(x, ki), *v = infer_type(x, vi);
  if (k == NULL || v == NULL)
    return infer_fail(x, "an operand is missing", "none", "keys and values of each segment");
  if (!infer_same_dtype(x, 0, ki) || !infer_same_dtype(x, 0, vi)) return false;
  if (!join_leads(x->g, k, &x->out) || last_dim(q) != last_dim(k))
    return infer_misfit(x, "queries and keys do not fit", 0, ki, "q[…,Lq,h*d] and k[…,Lk,h*d]");
  bool fits = join_leads(x->g, v, &x->out) && k->dim[k->rank - 2] == v->dim[v->rank - 2];
  if (!fits || last_dim(v) != last_dim(infer_type(x, 2)))
    return infer_misfit(x, "keys and values do not fit", ki, vi, "k[…,Lk,h*d] and v[…,Lk,h*dv]");
  return true;
}

bool shape_attention(Infer *x) {
  DimTable *d = ir_dims(x->g);
  int64_t heads;
  DimId keys = dim_const(d, 0);
  if (!infer_float(x, 0) || !infer_rank(x, 0, 2, VLPC_MAX_RANK - 1)) return false;
  x->out = *infer_type(x, 0);
  for (uint32_t s = 0; s < attention_segments(x->n_in); s++) {
    if (!segment_fits(x, s)) return false;
    keys = dim_add(d, keys, infer_type(x, 1 + 2 * s)->dim[x->out.rank - 2]);
  }
  if (keys == DIM_NONE)
    return infer_fail(x, "the number of keys is no affine expression", NULL, NULL);
  const Type *v = infer_type(x, 2);
  if (!infer_int(x, A_heads, 1, 1 << 20, &heads) || !infer_number_attr(x, A_scale)) return false;
  DimId h = dim_const(d, heads);
  if (dim_div(d, last_dim(&x->out), h) == DIM_NONE || dim_div(d, last_dim(v), h) == DIM_NONE)
    return infer_misfit(x, "heads do not divide the width", 0, 2,
                        arena_printf(ir_arena(x->g), "multiples of %lld", (long long)heads));
  if (!infer_flag(x, A_causal)) return false;
  if (attention_masked(x->n_in) && !mask_fits(x, h, keys)) return false;
  x->out.dim[x->out.rank - 1] = last_dim(v);
  return true;
}

bool shape_attention_varlen(Infer *x) {
  const Type *q = infer_type(x, 0), *k = infer_type(x, 1), *v = infer_type(x, 2);
  const Type *bounds = infer_type(x, 3);
  DimTable *d = ir_dims(x->g);
  int64_t heads;
  if (!infer_float(x, 0) || !infer_same_dtype(x, 0, 1) || !infer_same_dtype(x, 0, 2)) return false;
  if (!infer_rank(x, 0, 2, 2) || !infer_rank(x, 1, 2, 2) || !infer_rank(x, 2, 2, 2)) return false;
  if (q->dim[0] != k->dim[0] || q->dim[0] != v->dim[0] || last_dim(q) != last_dim(k))
    return infer_misfit(x, "queries and keys do not fit", 0, 1, "q[R,h*d] and k[R,h*d]");
  if (bounds->dtype != VLPC_I64 || bounds->rank != 1)
    return infer_misfit(x, "the bounds of the runs do not fit", 0, 3, "i64[S+1]");
  if (!infer_int(x, A_heads, 1, 1 << 20, &heads) || !infer_number_attr(x, A_scale)) return false;
  DimId h = dim_const(d, heads);
  if (dim_div(d, last_dim(q), h) == DIM_NONE || dim_div(d, last_dim(v), h) == DIM_NONE)
    return infer_misfit(x, "heads do not divide the width", 0, 2,
                        arena_printf(ir_arena(x->g), "multiples of %lld", (long long)heads));
  x->out = *v;
  return true;
}

typedef struct {
  int64_t batches, heads, l_q, l_k, d, d_v;
  double scale;
  bool causal, masked;
} Attend;

static Attend attend_of(const RefCtx *c, uint32_t n_segments) {
  const RefTensor *q = &c->in[0];
  Attend s = {.batches = 1,
              .heads = ir_attr_int(c->g, c->v, A_heads, 1),
              .l_q = q->size[q->rank - 2],
              .scale = ir_attr_float(c->g, c->v, A_scale, 1),
              .causal = ir_attr_int(c->g, c->v, A_causal, 0) != 0};
  for (uint32_t i = 0; i < n_segments; i++) s.l_k += c->in[1 + 2 * i].size[q->rank - 2];
  for (uint32_t i = 0; i + 2 < q->rank; i++) s.batches *= c->out->size[i];
  s.d = row_size(q) / s.heads;
  s.d_v = row_size(&c->in[2]) / s.heads;
  return s;
}

/* A walk over [batch …, heads, Lq, Lk] that carries the mask's offset. */
static Walk score_walk(const RefCtx *c, const Attend *s) {
  int64_t size[VLPC_MAX_RANK];
  uint32_t n = c->out->rank - 2;
  for (uint32_t i = 0; i < n; i++) size[i] = c->out->size[i];
  size[n] = s->heads;
  size[n + 1] = s->l_q;
  size[n + 2] = s->l_k;
  Walk w = walk_new(n + 3, size);
  if (s->masked) walk_add(&w, &c->in[c->n_in - 1]);
  return w;
}

/* Scores of one query to probabilities; all zero when nothing is seen. */
static void normalise(double *p, int64_t n) {
  double top = -INFINITY, sum = 0;
  for (int64_t j = 0; j < n; j++) top = fmax(top, p[j]);
  for (int64_t j = 0; j < n; j++) {
    p[j] = top == -INFINITY && p[j] == top ? 0 : exp(p[j] - top);
    sum += p[j];
  }
  for (int64_t j = 0; j < n && sum != 0; j++) p[j] /= sum;
}

/* The first row of x that batch entry b of the result reads. */
static const double *batch_rows(const RefCtx *c, const RefTensor *x, int64_t b) {
  int64_t entry = 0, step = 1;
  for (uint32_t i = x->rank - 2; i-- > 0; step *= x->size[i]) {
    int64_t at = b % c->out->size[i];
    b /= c->out->size[i];
    if (x->size[i] != 1) entry += at * step;
  }
  return x->f + entry * x->size[x->rank - 2] * row_size(x);
}

/* Row j of all segments together: keys (0) or values (1). */
static const double *segment_row(const RefCtx *c, uint32_t values, int64_t b, int64_t j) {
  uint32_t i = 1 + values;
  int64_t n = 0;
  for (;; i += 2, j -= n) {
    n = c->in[i].size[c->in[i].rank - 2];
    if (j < n) return batch_rows(c, &c->in[i], b) + j * row_size(&c->in[i]);
  }
}

bool ref_attention(RefCtx *c) {
  Attend s = attend_of(c, attention_segments(c->n_in));
  s.masked = attention_masked(c->n_in);
  Walk w = score_walk(c, &s);
  double *p = arena_array(c->a, double, s.l_k);
  for (int64_t row = 0; row < s.batches * s.heads * s.l_q; row++) {
    int64_t i = row % s.l_q, h = row / s.l_q % s.heads, b = row / s.l_q / s.heads;
    const double *q = batch_rows(c, &c->in[0], b) + (i * s.heads + h) * s.d;
    for (int64_t j = 0; j < s.l_k; j++, walk_next(&w)) {
      const double *k = segment_row(c, 0, b, j) + h * s.d;
      double dot = 0;
      for (int64_t e = 0; e < s.d; e++) dot += q[e] * k[e];
      p[j] = dot * s.scale + (s.masked ? c->in[c->n_in - 1].f[w.off[0]] : 0);
      if (s.causal && j > i) p[j] = -INFINITY;
    }
    normalise(p, s.l_k);
    double *o = c->out->f + ((b * s.l_q + i) * s.heads + h) * s.d_v;
    for (int64_t j = 0; j < s.l_k; j++) {
      const double *v = segment_row(c, 1, b, j) + h * s.d_v;
      for (int64_t e = 0; e < s.d_v; e++) o[e] += p[j] * v[e];
    }
  }
  return true;
}

/* Bounds rise from 0 to the number of rows. */
static bool bounds_hold(RefCtx *c) {
  const RefTensor *b = &c->in[3];
  int64_t rows = c->in[0].size[0];
  bool ok = b->count >= 2 && b->i[0] == 0 && b->i[b->count - 1] == rows;
  for (int64_t s = 1; ok && s < b->count; s++) ok = b->i[s - 1] <= b->i[s];
  if (!ok) c->why = (Why){.sentence = "the bounds of the runs do not rise from 0 to the rows"};
  return ok;
}

static void attend_row(RefCtx *c, const Attend *s, int64_t i, int64_t run, double *p) {
  int64_t prefix = run ? c->in[3].i[1] : 0, first = c->in[3].i[run], n = prefix + i - first + 1;
  for (int64_t h = 0; h < s->heads; h++) {
    for (int64_t j = 0; j < n; j++) {
      int64_t row = j < prefix ? j : first + j - prefix;
      const double *q = c->in[0].f + (i * s->heads + h) * s->d;
      const double *k = c->in[1].f + (row * s->heads + h) * s->d;
      p[j] = 0;
      for (int64_t e = 0; e < s->d; e++) p[j] += q[e] * k[e] * s->scale;
    }
    normalise(p, n);
    double *o = c->out->f + (i * s->heads + h) * s->d_v;
    for (int64_t j = 0; j < n; j++) {
      int64_t row = j < prefix ? j : first + j - prefix;
      const double *v = c->in[2].f + (row * s->heads + h) * s->d_v;
      for (int64_t e = 0; e < s->d_v; e++) o[e] += p[j] * v[e];
    }
  }
}

bool ref_attention_varlen(RefCtx *c) {
  if (!bounds_hold(c)) return false;
  Attend s = attend_of(c, 1);
  const RefTensor *bounds = &c->in[3];
  double *p = arena_array(c->a, double, s.l_q + 1);
  for (int64_t run = 0; run + 1 < bounds->count; run++) {
    for (int64_t i = bounds->i[run]; i < bounds->i[run + 1]; i++) attend_row(c, &s, i, run, p);
  }
  return true;
}
