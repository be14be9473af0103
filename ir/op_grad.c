/* SPDX-License-Identifier: Apache-2.0 */
/* op_grad.c - ops that are parts of gradients: of rows, of gelu, of attention.
**
** expand_grad.c says each again in primitives.  Kinks as in grad_ew.c; l2norm
** below its least norm is a division by a constant. */
#include <math.h>
#include <string.h>

#include "ir/ir_int.h"

/* ---- rows ---------------------------------------------------------------- */

static bool same_type(Infer *x, uint32_t a, uint32_t b) {
  const Type *p = infer_type(x, a), *q = infer_type(x, b);
  bool same = p->dtype == q->dtype && p->rank == q->rank;
  for (uint32_t i = 0; same && i < p->rank; i++) same = p->dim[i] == q->dim[i];
  return same || infer_misfit(x, "a gradient does not fit its value", a, b, "one type");
}

static int64_t row_size(const RefTensor *t) { return t->size[t->rank - 1]; }

static int64_t row_count(const RefTensor *t) {
  int64_t n = row_size(t);
  return n == 0 ? 0 : t->count / n;
}

bool shape_softmax_grad(Infer *x) {
  uint32_t axis;
  x->out = *infer_type(x, 0);
  return infer_float(x, 0) && same_type(x, 0, 1) && infer_axis(x, x->out.rank, &axis);
}

/* softmax: y (dy - Σ dy y); log_softmax: dy - exp(y) Σ dy. */
static bool softmax_lines(RefCtx *c, bool is_log) {
  Split s = ref_split(&c->in[0], ir_attr_int(c->g, c->v, A_axis, 0));
  for (int64_t l = 0; l < s.outer * s.inner; l++) {
    int64_t from = l / s.inner * s.n * s.inner + l % s.inner;
    const double *dy = c->in[0].f + from, *y = c->in[1].f + from;
    double sum = 0;
    for (int64_t k = 0; k < s.n; k++) sum += dy[k * s.inner] * (is_log ? 1 : y[k * s.inner]);
    for (int64_t k = 0; k < s.n; k++) {
      double d = dy[k * s.inner], v = y[k * s.inner];
      c->out->f[from + k * s.inner] = is_log ? d - exp(v) * sum : v * (d - sum);
    }
  }
  return true;
}

bool ref_softmax_grad(RefCtx *c) { return softmax_lines(c, false); }
bool ref_log_softmax_grad(RefCtx *c) { return softmax_lines(c, true); }

bool shape_layernorm_grad(Infer *x) {
  if (!infer_float(x, 0) || !infer_rank(x, 0, 1, VLPC_MAX_RANK)) return false;
  x->out = *infer_type(x, 0);
  return same_type(x, 0, 1) && infer_number_attr(x, A_eps) &&
         infer_vector(x, 2, x->out.dim[x->out.rank - 1], 0);
}

/* With z the normalised row and g = dy gamma: (g - mean g - z mean(g z)) / sd. */
static void layernorm_row(RefCtx *c, int64_t r, int64_t n, double eps) {
  const double *dy = c->in[0].f + r * n, *x = c->in[1].f + r * n;
  double mean = 0, var = 0, g_mean = 0, gz_mean = 0, *o = c->out->f + r * n;
  for (int64_t k = 0; k < n; k++) mean += x[k] / (double)n;
  for (int64_t k = 0; k < n; k++) var += (x[k] - mean) * (x[k] - mean) / (double)n;
  double sd = sqrt(var + eps);
  for (int64_t k = 0; k < n; k++) {
    o[k] = dy[k] * (ref_given(c, 2) ? c->in[2].f[k] : 1);
    g_mean += o[k] / (double)n;
    gz_mean += o[k] * (x[k] - mean) / sd / (double)n;
  }
  for (int64_t k = 0; k < n; k++) o[k] = (o[k] - g_mean - (x[k] - mean) / sd * gz_mean) / sd;
}

bool ref_layernorm_grad(RefCtx *c) {
  double eps = ir_attr_float(c->g, c->v, A_eps, 0);
  int64_t n = row_size(&c->in[0]);
  for (int64_t r = 0; r < row_count(&c->in[0]); r++) layernorm_row(c, r, n, eps);
  return true;
}

bool shape_l2norm_grad(Infer *x) {
  if (!infer_float(x, 0) || !infer_rank(x, 0, 1, VLPC_MAX_RANK)) return false;
  x->out = *infer_type(x, 0);
  return same_type(x, 0, 1) && infer_number_attr(x, A_eps);
}

bool ref_l2norm_grad(RefCtx *c) {
  double eps = ir_attr_float(c->g, c->v, A_eps, 0);
  int64_t n = row_size(&c->in[0]);
  for (int64_t r = 0; r < row_count(&c->in[0]); r++) {
    const double *dy = c->in[0].f + r * n, *x = c->in[1].f + r * n;
    double sum = 0, dot = 0;
    for (int64_t k = 0; k < n; k++) sum += x[k] * x[k];
    for (int64_t k = 0; k < n; k++) dot += dy[k] * x[k];
    double norm = sqrt(sum), along = norm < eps ? 0 : dot / sum;
    if (norm < eps) norm = eps;
    for (int64_t k = 0; k < n; k++) c->out->f[r * n + k] = (dy[k] - x[k] * along) / norm;
  }
  return true;
}

/* ---- gelu ---------------------------------------------------------------- */

static double slope_erf(double x) {
  double bell = exp(-x * x / 2) / sqrt(2 * acos(-1.0));
  return 0.5 * (1 + erf(x / sqrt(2.0))) + x * bell;
}

static double slope_tanh(double x) {
  double c = sqrt(2 / acos(-1.0)), t = tanh(c * (x + 0.044715 * x * x * x));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x);
}

static double slope_quick(double x) {
  double s = 1 / (1 + exp(-1.702 * x));
  return s + 1.702 * x * s * (1 - s);
}

static const struct {
  const char *name;
  double (*fn)(double);
} slopes[] = {{"erf", slope_erf}, {"tanh", slope_tanh}, {"quick", slope_quick}};

bool shape_gelu_grad(Infer *x) {
  const Attr *kind = infer_attr(x, A_approx);
  if (!infer_float(x, 0) || !same_type(x, 0, 1)) return false;
  x->out = *infer_type(x, 0);
  for (uint32_t i = 0; kind && i < VL_COUNT(slopes); i++)
    if (strcmp(kind->str, slopes[i].name) == 0) return true;
  return infer_fail(x, "no such kind of gelu", kind ? kind->str : "none", "erf, tanh or quick");
}

bool ref_gelu_grad(RefCtx *c) {
  const char *kind = ir_attr(c->g, c->v, A_approx)->str;
  uint32_t k = 0;
  while (strcmp(kind, slopes[k].name) != 0) k++;
  for (int64_t i = 0; i < c->out->count; i++)
    c->out->f[i] = c->in[0].f[i] * slopes[k].fn(c->in[1].f[i]);
  return true;
}

/* ---- attention: types ---------------------------------------------------- */

/* [batch …, heads, rows] for a result y[batch …, rows, width]. */
static Type lse_type(Infer *x, const Type *y) {
  Type t = *y;
  t.dim[y->rank - 1] = y->dim[y->rank - 2];
  t.dim[y->rank - 2] = dim_const(ir_dims(x->g), infer_attr(x, A_heads)->i);
  return t;
}

bool shape_attention_lse(Infer *x) {
  if (!shape_attention(x)) return false;
  x->out = lse_type(x, &x->out);
  return true;
}

bool shape_attention_varlen_lse(Infer *x) {
  if (!shape_attention_varlen(x)) return false;
  x->out = lse_type(x, &x->out);
  return true;
}

static bool has_type(Infer *x, uint32_t i, const Type *want) {
  const Type *t = infer_type(x, i);
  bool same = t->dtype == want->dtype && t->rank == want->rank;
  for (uint32_t k = 0; same && k < t->rank; k++) same = t->dim[k] == want->dim[k];
  return same || infer_fail(x, "a gradient's operand does not fit the attention",
                            type_text(x->g, t), type_text(x->g, want));
}

/* dy, y and lse before the operands of an attention, whose own rule it is. */
static bool shape_parts(Infer *x, ShapeFn *rule, uint32_t n_float) {
  Infer of = *x;
  int64_t operand;
  if (x->n_in < 6 || !infer_has(x, x->n_in - 1))
    return infer_fail(x, "an operand is missing", "none", "dy, y, lse and those of the attention");
  of.in += 3;
  of.n_in -= 3;
  if (!rule(&of)) return infer_fail(x, of.why.sentence, of.why.found, of.why.expected);
  Type lse = lse_type(x, &of.out);
  if (!has_type(x, 0, &of.out) || !has_type(x, 1, &of.out) || !has_type(x, 2, &lse)) return false;
  if (!infer_int(x, A_operand, 0, n_float - 1, &operand)) return false;
  x->out = *infer_type(x, 3 + (uint32_t)operand);
  return true;
}

bool shape_attention_grad(Infer *x) { return shape_parts(x, shape_attention, x->n_in - 3); }

bool shape_attention_varlen_grad(Infer *x) { return shape_parts(x, shape_attention_varlen, 3); }

/* ---- attention: one row at a time ---------------------------------------- */

/* A row that a query sees: of which segment, and where in its keys and values
** (their batches may differ: one of them may be 1). */
typedef struct {
  uint32_t segment;
  int64_t k_row, v_row;
  int64_t mask; /* place in the mask */
} Seen;

/* A query of one head: its row in q, in dy and y, and its place in lse. */
typedef struct {
  int64_t q_row, y_row, lse, head;
  int64_t n; /* rows that it sees */
  const Seen *seen;
} Query;

typedef struct {
  RefCtx *c;
  const RefTensor *in;             /* q, then k and v of each segment */
  const RefTensor *mask;           /* NULL: none */
  const RefTensor *dy, *y, *lse;   /* NULL when only the lse is wanted */
  int64_t heads, d, dv;
  double scale;
  double *p, *ds;  /* of the rows seen */
  int64_t operand; /* whose gradient */
} Back;

static Back back_of(RefCtx *c, uint32_t first, int64_t most_keys) {
  const RefTensor *in = c->in + first;
  int64_t heads = ir_attr_int(c->g, c->v, A_heads, 1);
  return (Back){.c = c,
                .in = in,
                .heads = heads,
                .d = row_size(&in[0]) / heads,
                .dv = row_size(&in[2]) / heads,
                .scale = ir_attr_float(c->g, c->v, A_scale, 1),
                .dy = first ? &c->in[0] : NULL,
                .y = first ? &c->in[1] : NULL,
                .lse = first ? &c->in[2] : NULL,
                .p = arena_array(c->a, double, most_keys),
                .ds = arena_array(c->a, double, most_keys),
                .operand = ir_attr_int(c->g, c->v, A_operand, 0)};
}

static double *row_of(const Back *b, const RefTensor *t, int64_t row, int64_t head) {
  return t->f + row * row_size(t) + head * (row_size(t) / b->heads);
}

static const double *key_of(const Back *b, const Query *u, int64_t j) {
  return row_of(b, &b->in[1 + 2 * u->seen[j].segment], u->seen[j].k_row, u->head);
}

static const double *value_of(const Back *b, const Query *u, int64_t j) {
  return row_of(b, &b->in[2 + 2 * u->seen[j].segment], u->seen[j].v_row, u->head);
}

static double dot(const double *a, const double *b, int64_t n) {
  double s = 0;
  for (int64_t i = 0; i < n; i++) s += a[i] * b[i];
  return s;
}

static void add_times(double *to, double s, const double *a, int64_t n) {
  for (int64_t i = 0; i < n; i++) to[i] += s * a[i];
}

static void scores(const Back *b, const Query *u) {
  const double *q = row_of(b, &b->in[0], u->q_row, u->head);
  for (int64_t j = 0; j < u->n; j++) {
    b->p[j] = b->scale * dot(q, key_of(b, u, j), b->d);
    if (b->mask) b->p[j] += b->mask->f[u->seen[j].mask];
  }
}

static void lse_row(const Back *b, const Query *u) {
  double top = -INFINITY, sum = 0;
  scores(b, u);
  for (int64_t j = 0; j < u->n; j++) top = fmax(top, b->p[j]);
  for (int64_t j = 0; j < u->n; j++) sum += exp(b->p[j] - top);
  b->c->out->f[u->lse] = top == -INFINITY ? INFINITY : top + log(sum);
}

/* What one seen row adds to the gradient of the wanted operand. */
static void add_part(const Back *b, const Query *u, int64_t j) {
  const Seen *s = &u->seen[j];
  RefTensor *to = b->c->out;
  const double *q = row_of(b, &b->in[0], u->q_row, u->head);
  bool is_mask = b->mask && &b->in[b->operand] == b->mask;
  if (is_mask)
    to->f[s->mask] += b->ds[j];
  else if (b->operand == 0)
    add_times(row_of(b, to, u->q_row, u->head), b->ds[j] * b->scale, key_of(b, u, j), b->d);
  else if (b->operand == 1 + 2 * (int64_t)s->segment)
    add_times(row_of(b, to, s->k_row, u->head), b->ds[j] * b->scale, q, b->d);
  else if (b->operand == 2 + 2 * (int64_t)s->segment)
    add_times(row_of(b, to, s->v_row, u->head), b->p[j], row_of(b, b->dy, u->y_row, u->head),
              b->dv);
}

/* p = exp(s - lse); ds = p (dy·v - dy·y). */
static void grad_row(const Back *b, const Query *u) {
  const double *dy = row_of(b, b->dy, u->y_row, u->head);
  double mean = dot(dy, row_of(b, b->y, u->y_row, u->head), b->dv);
  scores(b, u);
  for (int64_t j = 0; j < u->n; j++) {
    b->p[j] = exp(b->p[j] - b->lse->f[u->lse]);
    b->ds[j] = b->p[j] * (dot(dy, value_of(b, u, j), b->dv) - mean);
  }
  for (int64_t j = 0; j < u->n; j++) add_part(b, u, j);
}

typedef void RowFn(const Back *b, const Query *u);

/* Row j of x for entry b of the batch whose sizes are those of `whole`: an axis
** of size 1 serves every entry. */
static int64_t batch_row(const RefTensor *x, const RefTensor *whole, int64_t b, int64_t j) {
  int64_t entry = 0, step = 1;
  for (uint32_t i = x->rank - 2; i-- > 0; step *= x->size[i]) {
    int64_t at = b % whole->size[i];
    b /= whole->size[i];
    if (x->size[i] != 1) entry += at * step;
  }
  return entry * x->size[x->rank - 2] + j;
}

/* All rows of all segments for entry b of the batch; the mask's place is set for
** each query anew. */
static void list_rows(const RefTensor *in, uint32_t n_segments, const RefTensor *whole, int64_t b,
                      Seen *out) {
  for (uint32_t s = 0; s < n_segments; s++) {
    const RefTensor *k = &in[1 + 2 * s], *v = &in[2 + 2 * s];
    for (int64_t j = 0; j < k->size[k->rank - 2]; j++)
      *out++ = (Seen){s, batch_row(k, whole, b, j), batch_row(v, whole, b, j), 0};
  }
}

static int64_t count_rows(const RefTensor *in, uint32_t n_segments) {
  int64_t n = 0;
  for (uint32_t s = 0; s < n_segments; s++) n += in[1 + 2 * s].size[in[1 + 2 * s].rank - 2];
  return n;
}

/* Every query of a batch, by head and row, with what it sees. */
static bool each_row(RefCtx *c, uint32_t first, RowFn *fn) {
  const RefTensor *in = c->in + first, *whole = first ? &c->in[2] : c->out; /* [batch…, h, Lq] */
  uint32_t lead = whole->rank - 2, n_segments = attention_segments(c->n_in - first);
  int64_t l_q = whole->size[lead + 1], l_k = count_rows(in, n_segments), size[VLPC_MAX_RANK];
  Seen *seen = arena_array(c->a, Seen, l_k);
  bool causal = ir_attr_int(c->g, c->v, A_causal, 0) != 0;
  Back b = back_of(c, first, l_k);
  if (attention_masked(c->n_in - first)) b.mask = &c->in[c->n_in - 1];
  for (uint32_t i = 0; i < whole->rank; i++) size[i] = whole->size[i];
  size[whole->rank] = l_k;
  Walk w = walk_new(whole->rank + 1, size);
  if (b.mask) walk_add(&w, b.mask);
  for (int64_t row = 0; row < whole->count; row++) {
    int64_t i = row % l_q, h = row / l_q % b.heads, n = row / l_q / b.heads;
    list_rows(in, n_segments, whole, n, seen);
    for (int64_t j = 0; j < l_k; j++, walk_next(&w)) seen[j].mask = w.off[0];
    fn(&b, &(Query){.q_row = batch_row(&in[0], whole, n, i),
                    .y_row = n * l_q + i,
                    .lse = row,
                    .head = h,
                    .n = causal ? VL_MIN(i + 1, l_k) : l_k,
                    .seen = seen});
  }
  return true;
}

bool ref_attention_lse(RefCtx *c) { return each_row(c, 0, lse_row); }

bool ref_attention_grad(RefCtx *c) { return each_row(c, 3, grad_row); }

/* ---- runs of rows -------------------------------------------------------- */

static bool bounds_hold(RefCtx *c, const RefTensor *b, int64_t rows) {
  bool ok = b->count >= 2 && b->i[0] == 0 && b->i[b->count - 1] == rows;
  for (int64_t s = 1; ok && s < b->count; s++) ok = b->i[s - 1] <= b->i[s];
  if (!ok) c->why = (Why){.sentence = "the bounds of the runs do not rise from 0 to the rows"};
  return ok;
}

static bool each_run_row(RefCtx *c, uint32_t first, RowFn *fn) {
  const RefTensor *bounds = &c->in[first + 3];
  int64_t rows = c->in[first].size[0], run = 0;
  Seen *seen = arena_array(c->a, Seen, rows);
  if (!bounds_hold(c, bounds, rows)) return false;
  Back b = back_of(c, first, rows);
  for (int64_t i = 0; i < rows; i++) {
    while (bounds->i[run + 1] <= i) run++;
    int64_t n = 0, prefix = run ? bounds->i[1] : 0;
    for (int64_t j = 0; j < prefix; j++) seen[n++] = (Seen){0, j, j, 0};
    for (int64_t j = bounds->i[run]; j <= i; j++) seen[n++] = (Seen){0, j, j, 0};
    for (int64_t h = 0; h < b.heads; h++) fn(&b, &(Query){i, i, h * rows + i, h, n, seen});
  }
  return true;
}

bool ref_attention_varlen_lse(RefCtx *c) { return each_run_row(c, 0, lse_row); }

bool ref_attention_varlen_grad(RefCtx *c) { return each_run_row(c, 3, grad_row); }
