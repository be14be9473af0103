/* SPDX-License-Identifier: Apache-2.0 */
/* ref_kernel.c - the meaning of each kernel kind, in double. */
#include <math.h>
#include <string.h>

#include "backends/ref/ref.h"
#include "base/program.h"
#include "runtime/code.h"

typedef struct {
  void *const *op;
  const int64_t *size;
  Arena *a;
  VlDtype type[PROG_MAX_ARGS]; /* of the operands, but for loops */
} Run;

static int64_t at(const Run *r, KSize s) {
  return s.dyn < 0 ? s.c : r->size[s.dyn];
}

static double load(const Run *r, uint32_t operand, int64_t i) {
  return dtype_load(r->type[operand], r->op[operand], i);
}

static void store(const Run *r, int64_t i, double v) {
  dtype_store(r->type[0], r->op[0], i, v);
}

/* ---- reach --------------------------------------------------------------- */

/* Every element is written once, so points beyond the extent are damage (and
** could be work without end).  A scatter may repeat itself. */
static bool writes_once(const Run *r, const Kernel *k, const KSpan *span, uint32_t n,
                        double extent) {
  double points = 1;
  if (k->kind == KK_LOOPS && k->loops.serial) return true;
  if (k->kind == KK_LOOPS) n = k->loops.rank - k->loops.n_reduce;
  for (uint32_t i = 0; i < n; i++) points *= (double)at(r, span[i].size);
  return points <= extent;
}

void ref_reach(const Kernel *k, const int64_t *size, double *lo_hi) {
  Run r = {.size = size};
  for (uint32_t o = 0; o < k->n_operands; o++) {
    KSpan span[KSPAN_MAX];
    uint32_t n = kernel_spans(k, o, span);
    double lo = 0, hi = 1, elem = (double)dtype_size(kernel_operand_dtype(k, o));
    bool some = true, sound = true;
    for (uint32_t i = 0; i < n; i++) {
      double last = (double)at(&r, span[i].size) - 1, stride = (double)at(&r, span[i].stride);
      lo += fmin(last * stride, 0);
      hi += fmax(last * stride, 0);
      some = some && (last >= 0 || stride == 0);
      sound = sound && last >= -1;
    }
    if (o == 0) sound = sound && writes_once(&r, k, span, n, hi - lo);
    lo_hi[2 * o] = !sound ? 1 : some ? lo * elem : 0;
    lo_hi[2 * o + 1] = !sound ? -1 : some ? hi * elem : 0;
  }
}

/* ---- loops --------------------------------------------------------------- */

typedef struct {
  double f;
  int64_t i;
} Cell;

typedef struct {
  const Run *r;
  const KLoops *l;
  int64_t size[VLPC_MAX_RANK], index[VLPC_MAX_RANK];
  Cell row[LOOPS_MAX_BODY];
  int fault;
} Nest;

static int64_t address(Nest *n, const KAccess *x) {
  int64_t sum = 0;
  for (uint32_t i = 0; i < n->l->rank; i++) sum += n->index[i] * at(n->r, x->stride[i]);
  for (uint32_t i = 0; i < x->n_indirect; i++) {
    int64_t size = at(n->r, x->ind[i].size), v = n->row[x->ind[i].row].i;
    if (v < -size || v >= size) {
      n->fault = FAULT_INDEX;
      return 0;
    }
    sum += (v < 0 ? v + size : v) * at(n->r, x->ind[i].stride);
  }
  return sum;
}

static Cell cell_load(VlDtype t, const void *p, int64_t i) {
  if (dtype_is_float(t)) return (Cell){.f = dtype_load(t, p, i)};
  return (Cell){.i = dtype_load_i64(t, p, i)};
}

static void cell_store(VlDtype t, void *p, int64_t i, Cell v) {
  if (dtype_is_float(t))
    dtype_store(t, p, i, v.f);
  else
    dtype_store_i64(t, p, i, v.i);
}

/* A value rounded to its type, as a device's registers hold it. */
static Cell rounded(VlDtype t, Cell v) {
  uint64_t bits = 0;
  cell_store(t, &bits, 0, v);
  return cell_load(t, &bits, 0);
}

static Cell cast(VlDtype from, VlDtype to, Cell v) {
  if (dtype_is_float(to)) return (Cell){.f = dtype_is_float(from) ? v.f : (double)v.i};
  if (dtype_is_float(from)) return (Cell){.i = ew_int_of(to, v.f)};
  return (Cell){.i = to == VLPC_BOOL ? v.i != 0 : v.i};
}

static Cell op_cell(const Nest *n, const KBody *b) {
  uint32_t n_in = op_info(b->op)->min_in;
  Cell x = n->row[b->a], y = n_in > 1 ? n->row[b->b] : (Cell){0};
  VlDtype from = n->l->body[b->a].dtype;
  if (b->op == OP_where) return x.i ? y : n->row[b->c];
  if (b->op == OP_cast) return cast(from, b->dtype, x);
  if (!dtype_is_float(from)) return (Cell){.i = ew_i64(b->op, x.i, y.i), .f = 0};
  double v = ew_f64(b->op, x.f, y.f);
  return b->dtype == VLPC_BOOL ? (Cell){.i = v != 0} : (Cell){.f = v};
}

static Cell body_cell(Nest *n, const KBody *b) {
  switch (b->kind) {
  case KB_LOAD: {
    int64_t i = address(n, &b->load);
    return n->fault ? (Cell){0} : cell_load(b->dtype, n->r->op[b->load.operand], i);
  }
  case KB_LITERAL:
    return (Cell){b->lit, b->lit_i};
  case KB_INDEX:
    return (Cell){.i = n->index[b->a]};
  case KB_SIZE:
    return (Cell){.i = at(n->r, b->size)};
  case KB_OP:
    return op_cell(n, b);
  default:
    VL_UNREACHABLE("body row");
  }
}

static Cell point(Nest *n) {
  for (uint32_t i = 0; i < n->l->n_body && !n->fault; i++)
    n->row[i] = rounded(n->l->body[i].dtype, body_cell(n, &n->l->body[i]));
  return n->row[n->l->n_body - 1];
}

/* Next index of axes [from, to); false after the last. */
static bool step(Nest *n, uint32_t from, uint32_t to) {
  for (uint32_t i = to; i-- > from;) {
    if (++n->index[i] < n->size[i]) return true;
    n->index[i] = 0;
  }
  return false;
}

static bool empty(const Nest *n, uint32_t from, uint32_t to) {
  for (uint32_t i = from; i < to; i++) {
    if (n->size[i] <= 0) return true;
  }
  return false;
}

typedef struct {
  Cell sum, best;
  int64_t count, where;
  bool any;
} Acc;

static bool better(bool is_float, Cell v, Cell best, bool largest, bool last) {
  if (is_float && v.f != v.f) return best.f == best.f || last;
  if (is_float && best.f != best.f) return false;
  double a = is_float ? v.f : (double)v.i, b = is_float ? best.f : (double)best.i;
  if (!is_float && v.i != best.i) return largest ? v.i > best.i : v.i < best.i;
  if (a == b) return last;
  return largest ? a > b : a < b;
}

static void accumulate(Acc *acc, KReduce kind, bool is_float, Cell v) {
  bool largest = kind != KR_MIN, last = kind == KR_ARGMAX_LAST;
  if (kind == KR_SUM || kind == KR_MEAN)
    acc->sum.f += v.f, acc->sum.i = ew_i64(OP_add, acc->sum.i, v.i);
  if (kind == KR_PROD) acc->sum.f *= v.f, acc->sum.i = ew_i64(OP_mul, acc->sum.i, v.i);
  if (!acc->any || better(is_float, v, acc->best, largest, last))
    acc->best = v, acc->where = acc->count;
  acc->any = true;
  acc->count++;
}

/* What an empty reduction gives. */
static Cell identity(KReduce kind, VlDtype t) {
  double inf = kind == KR_MAX ? -(double)INFINITY : kind == KR_MIN ? (double)INFINITY : 0;
  if (kind == KR_MEAN) return (Cell){.f = (double)NAN};
  if (kind == KR_PROD) return (Cell){1, 1};
  if (dtype_is_float(t)) return (Cell){.f = inf};
  return (Cell){.i = inf == 0 ? 0 : ew_int_of(t, inf)};
}

static Cell reduce(Nest *n) {
  const KLoops *l = n->l;
  VlDtype t = l->body[l->n_body - 1].dtype;
  bool is_float = dtype_is_float(t);
  uint32_t kept = l->rank - l->n_reduce;
  Acc acc = {.sum = {l->reduce == KR_PROD, l->reduce == KR_PROD}};
  if (empty(n, kept, l->rank)) return identity(l->reduce, t);
  do accumulate(&acc, l->reduce, is_float, point(n));
  while (!n->fault && step(n, kept, l->rank));
  if (l->reduce == KR_ARGMAX || l->reduce == KR_ARGMAX_LAST) return (Cell){.i = acc.where};
  if (l->reduce == KR_MAX || l->reduce == KR_MIN) return acc.best;
  if (l->reduce == KR_MEAN) return (Cell){acc.sum.f / (double)acc.count, acc.sum.i / acc.count};
  return acc.sum;
}

static int run_loops(const Run *r, const Kernel *k) {
  const KLoops *l = &k->loops;
  Nest n = {.r = r, .l = l};
  uint32_t kept = l->rank - l->n_reduce;
  for (uint32_t i = 0; i < l->rank; i++) n.size[i] = at(r, l->size[i]);
  if (empty(&n, 0, kept)) return 0;
  VlDtype t = kernel_operand_dtype(k, 0);
  do {
    Cell v = l->n_reduce ? reduce(&n) : point(&n);
    int64_t to = n.fault ? 0 : address(&n, &l->store);
    if (n.fault) return n.fault;
    cell_store(t, r->op[0], to, v);
  } while (step(&n, 0, kept));
  return 0;
}

/* ---- gemm ---------------------------------------------------------------- */

static double gelu(double x, KAct act) {
  if (act == ACT_GELU_QUICK) return x / (1 + exp(-1.702 * x));
  if (act == ACT_GELU_ERF) return 0.5 * x * (1 + erf(x * 0.70710678118654752));
  return 0.5 * x * (1 + tanh(0.79788456080286536 * (x + 0.044715 * x * x * x)));
}

static double activate(double x, KAct act) {
  if (act == ACT_NONE) return x;
  if (act == ACT_RELU) return x < 0 ? 0 : x;
  return act == ACT_TANH ? tanh(x) : gelu(x, act);
}

/* Where W[k, c] lies. */
static int64_t panel_at(const KGemm *g, int64_t k, int64_t c) {
  if (g->transposed) return (k / GEMM_PANEL * g->n + c) * GEMM_PANEL + k % GEMM_PANEL;
  int64_t pair = g->in == NUM_BF16 ? 2 : 1, words = (g->k + pair - 1) / pair;
  int64_t word = (c / GEMM_PANEL * words + k / pair) * GEMM_PANEL + c % GEMM_PANEL;
  return word * pair + k % pair;
}

static double gemm_cell(const Run *r, const KGemm *g, int64_t a, int64_t c) {
  double sum = 0;
  for (int64_t k = 0; k < g->k; k++) sum += load(r, 1, a + k) * load(r, 2, panel_at(g, k, c));
  if (g->has_bias) sum += load(r, 3, c);
  return activate(sum, g->act);
}

static int run_gemm(const Run *r, const Kernel *k) {
  const KGemm *g = &k->gemm;
  uint32_t residual = 3u + g->has_bias;
  for (int64_t i = 0; i < at(r, g->g); i++) {
    for (int64_t m = 0; m < at(r, g->m); m++) {
      int64_t to = i * at(r, g->c_g) + m * at(r, g->c_m), a = i * at(r, g->a_g) + m * at(r, g->a_m);
      int64_t from = i * at(r, g->r_g) + m * at(r, g->r_m);
      for (int64_t c = 0; c < g->n; c++) {
        double v = gemm_cell(r, g, a, c);
        store(r, to + c, g->has_residual ? v + load(r, residual, from + c) : v);
      }
    }
  }
  return 0;
}

/* ---- attention ----------------------------------------------------------- */

typedef struct {
  int64_t b, h, q;
} Query;

/* Key j of all segments: its operand (the value's is one more) and row. */
typedef struct {
  const KSegment *segment;
  uint32_t operand;
  int64_t row;
} KeyAt;

static int64_t segment_keys(const Run *r, const KSegment *s) {
  return VL_MIN(VL_MAX(at(r, s->n), 0), INT64_C(1) << 40); /* sums do not wrap */
}

static KeyAt key_at(const Run *r, const KAttention *t, int64_t j) {
  uint32_t s = 0;
  for (; j >= segment_keys(r, &t->segment[s]); s++) j -= segment_keys(r, &t->segment[s]);
  return (KeyAt){&t->segment[s], 2 + 2 * s, j};
}

static int64_t n_keys(const Run *r, const KAttention *t) {
  int64_t n = 0;
  for (uint32_t s = 0; s < t->n_segments; s++) n += segment_keys(r, &t->segment[s]);
  return n;
}

static int64_t scores(const Run *r, const KAttention *t, Query x, double *p) {
  int64_t n = n_keys(r, t);
  if (t->causal) n = VL_MIN(n, x.q + 1);
  int64_t q = x.b * at(r, t->q_b) + x.q * at(r, t->q_r) + x.h * t->d;
  for (int64_t j = 0; j < n; j++) {
    KeyAt key = key_at(r, t, j);
    int64_t k = x.b * at(r, key.segment->k_b) + key.row * at(r, key.segment->k_r) + x.h * t->d;
    p[j] = 0;
    for (int64_t c = 0; c < t->d; c++) p[j] += load(r, 1, q + c) * load(r, key.operand, k + c);
    p[j] *= (double)t->scale;
    if (t->has_mask)
      p[j] += load(r, 4,
                   x.b * at(r, t->mask[0]) + x.h * at(r, t->mask[1]) + x.q * at(r, t->mask[2]) +
                       j * at(r, t->mask[3]));
  }
  return n;
}

/* exp(p - max) and its sum; a row of nothing but -inf sums to 0. */
static double exponentials(double *p, int64_t n) {
  double most = -(double)INFINITY, sum = 0;
  for (int64_t j = 0; j < n; j++) most = p[j] > most || p[j] != p[j] ? p[j] : most;
  for (int64_t j = 0; j < n; j++) {
    p[j] = most == -(double)INFINITY ? 0 : exp(p[j] - most);
    sum += p[j];
  }
  return sum;
}

static void round_factors(const KAttention *t, double *p, int64_t n) {
  for (int64_t j = 0; j < n && t->in == NUM_BF16; j++) {
    uint16_t bits = 0;
    dtype_store(VLPC_BF16, &bits, 0, p[j]);
    p[j] = dtype_load(VLPC_BF16, &bits, 0);
  }
}

static void attend(const Run *r, const KAttention *t, Query x, double *p) {
  int64_t n = scores(r, t, x, p);
  double sum = exponentials(p, n);
  round_factors(t, p, n);
  int64_t to = x.b * at(r, t->o_b) + x.q * at(r, t->o_r) + x.h * t->dv;
  for (int64_t c = 0; c < t->dv; c++) {
    double v = 0;
    for (int64_t j = 0; j < n; j++) {
      KeyAt key = key_at(r, t, j);
      int64_t row = x.b * at(r, key.segment->v_b) + key.row * at(r, key.segment->v_r);
      v += p[j] * load(r, key.operand + 1, row + x.h * t->dv + c);
    }
    store(r, to + c, sum == 0 ? 0 : v / sum);
  }
}

/* Row i of run: the whole of run 0, then its own run up to itself. */
static void attend_run(const Run *r, const KAttention *t, Query x, const int64_t *bounds,
                       double *p) {
  int64_t run = x.b, prefix = run ? bounds[1] : 0, n = prefix + x.q - bounds[run] + 1;
  int64_t q = x.q * at(r, t->q_r) + x.h * t->d, to = x.q * at(r, t->o_r) + x.h * t->dv;
  for (int64_t j = 0; j < n; j++) {
    int64_t row = j < prefix ? j : bounds[run] + j - prefix;
    int64_t k = row * at(r, t->segment[0].k_r) + x.h * t->d;
    p[j] = 0;
    for (int64_t c = 0; c < t->d; c++) p[j] += load(r, 1, q + c) * load(r, 2, k + c);
    p[j] *= (double)t->scale;
  }
  double sum = exponentials(p, n);
  round_factors(t, p, n);
  for (int64_t c = 0; c < t->dv; c++) {
    double v = 0;
    for (int64_t j = 0; j < n; j++) {
      int64_t row = j < prefix ? j : bounds[run] + j - prefix;
      v += p[j] * load(r, 3, row * at(r, t->segment[0].v_r) + x.h * t->dv + c);
    }
    store(r, to + c, v / sum);
  }
}

/* Bounds of runs of rows, from 0 up to all. */
static bool rising(const int64_t *bounds, int64_t runs, int64_t rows) {
  bool ok = runs > 0 && bounds[0] == 0 && bounds[runs] == rows;
  for (int64_t s = 0; ok && s < runs; s++) ok = bounds[s] <= bounds[s + 1];
  return ok;
}

static int run_varlen(const Run *r, const KAttention *t, double *p) {
  const int64_t *bounds = r->op[4];
  int64_t runs = at(r, t->batch), rows = at(r, t->lq);
  if (!rising(bounds, runs, rows)) return FAULT_INDEX;
  for (Query x = {0}; x.b < runs; x.b++) {
    for (x.h = 0; x.h < t->heads; x.h++) {
      for (x.q = bounds[x.b]; x.q < bounds[x.b + 1]; x.q++) attend_run(r, t, x, bounds, p);
    }
  }
  return 0;
}

static int run_attention(const Run *r, const Kernel *k) {
  const KAttention *t = &k->attention;
  double *p = arena_array(r->a, double, n_keys(r, t) + 1);
  if (t->varlen) return run_varlen(r, t, p);
  for (Query x = {0}; x.b < at(r, t->batch); x.b++) {
    for (x.h = 0; x.h < t->heads; x.h++) {
      for (x.q = 0; x.q < at(r, t->lq); x.q++) attend(r, t, x, p);
    }
  }
  return 0;
}

/* ---- attention_grad ------------------------------------------------------ */

/* One head of one batch entry.  Offsets are of its first row. */
typedef struct {
  const Run *r;
  const KAttentionGrad *t;
  int64_t b, h;
  double *p, *ds; /* [lq][keys] */
} GradHead;

/* Row i of dy, y or q (operands 1 to 3). */
static int64_t query_row(const GradHead *g, uint32_t operand, int64_t i) {
  const KAttentionGrad *t = g->t;
  const KSize batch[] = {t->dy_b, t->y_b, t->q_b}, row[] = {t->dy_r, t->y_r, t->q_r};
  return g->b * at(g->r, batch[operand - 1]) + i * at(g->r, row[operand - 1]) + g->h * t->d;
}

/* Key j's row (values: its value's), and which operand it is of. */
static int64_t grad_key_row(const GradHead *g, int64_t j, bool values, uint32_t *operand) {
  uint32_t s = 0;
  for (; j >= g->t->segment[s].n; s++) j -= g->t->segment[s].n;
  const KGradSegment *k = &g->t->segment[s];
  *operand = 4 + 2 * s + values;
  return g->b * at(g->r, values ? k->v_b : k->k_b) + j * at(g->r, values ? k->v_r : k->k_r) +
         g->h * g->t->d;
}

static double dot(const GradHead *g, uint32_t x, int64_t x_at, uint32_t y, int64_t y_at) {
  double sum = 0;
  for (int64_t c = 0; c < g->t->d; c++) sum += load(g->r, x, x_at + c) * load(g->r, y, y_at + c);
  return sum;
}

/* Row i of p and ds. */
static void grad_row(const GradHead *g, int64_t i) {
  int64_t keys = kgrad_keys(g->t), n = g->t->causal ? VL_MIN(i + 1, keys) : keys;
  double *p = g->p + i * keys, *ds = g->ds + i * keys;
  uint32_t operand = 0;
  for (int64_t j = 0; j < n; j++) {
    int64_t k = grad_key_row(g, j, false, &operand);
    p[j] = dot(g, 3, query_row(g, 3, i), operand, k) * (double)g->t->scale;
  }
  double sum = exponentials(p, n), mean = dot(g, 1, query_row(g, 1, i), 2, query_row(g, 2, i));
  for (int64_t j = 0; j < keys; j++) {
    p[j] = j < n && sum != 0 ? p[j] / sum : 0;
    int64_t v = grad_key_row(g, j, true, &operand);
    ds[j] = p[j] * (dot(g, 1, query_row(g, 1, i), operand, v) - mean) * (double)g->t->scale;
  }
}

/* Element c of row `row` of the part of an operand. */
static double grad_cell(const GradHead *g, uint32_t part, int64_t row, int64_t c) {
  int64_t keys = kgrad_keys(g->t), first = 0;
  uint32_t operand = 0;
  double sum = 0;
  for (uint32_t s = 0; part > 0 && s < (part - 1) / 2; s++) first += g->t->segment[s].n;
  if (part == 0) {
    for (int64_t j = 0; j < keys; j++) {
      int64_t k = grad_key_row(g, j, false, &operand);
      sum += g->ds[row * keys + j] * load(g->r, operand, k + c);
    }
    return sum;
  }
  const double *weight = part % 2 ? g->ds : g->p;
  for (int64_t i = 0; i < g->t->lq; i++)
    sum += weight[i * keys + first + row] *
           load(g->r, part % 2 ? 3 : 1, query_row(g, part % 2 ? 3 : 1, i) + c);
  return sum;
}

static void grad_head(const GradHead *g) {
  const KAttentionGrad *t = g->t;
  uint32_t parts = 1 + 2 * t->n_segments;
  int64_t rows = kgrad_rows(t, parts);
  for (int64_t i = 0; i < t->lq; i++) grad_row(g, i);
  for (uint32_t part = 0; part < parts; part++) {
    int64_t first = kgrad_rows(t, part), n = kgrad_rows(t, part + 1) - first;
    for (int64_t row = 0; row < n; row++) {
      int64_t to = ((g->b * rows + first + row) * t->heads + g->h) * t->d;
      for (int64_t c = 0; c < t->d; c++) store(g->r, to + c, grad_cell(g, part, row, c));
    }
  }
}

/* ---- the same over runs ---- */

/* One head over all rows: row i sees keys seen(i, ·) of all. */
static void varlen_row(const GradHead *g, int64_t i, const bool *seen) {
  int64_t rows = at(g->r, g->t->rows);
  const KGradSegment *s = &g->t->segment[0];
  double *p = g->p + i * rows, *ds = g->ds + i * rows, most = -(double)INFINITY, sum = 0;
  for (int64_t j = 0; j < rows; j++) {
    int64_t k = j * at(g->r, s->k_r) + g->h * g->t->d;
    p[j] = seen[j] ? dot(g, 3, query_row(g, 3, i), 4, k) * (double)g->t->scale : -(double)INFINITY;
    most = fmax(most, p[j]);
  }
  for (int64_t j = 0; j < rows; j++) sum += p[j] = seen[j] ? exp(p[j] - most) : 0;
  double mean = dot(g, 1, query_row(g, 1, i), 2, query_row(g, 2, i));
  for (int64_t j = 0; j < rows; j++) {
    p[j] /= sum;
    int64_t v = j * at(g->r, s->v_r) + g->h * g->t->d;
    ds[j] = p[j] * (dot(g, 1, query_row(g, 1, i), 5, v) - mean) * (double)g->t->scale;
  }
}

/* Element c of row `row` of the part of an operand. */
static double varlen_cell(const GradHead *g, uint32_t part, int64_t row, int64_t c) {
  int64_t rows = at(g->r, g->t->rows);
  double sum = 0;
  for (int64_t i = 0; i < rows; i++) {
    if (part == 0) {
      sum += g->ds[row * rows + i] *
             load(g->r, 4, i * at(g->r, g->t->segment[0].k_r) + g->h * g->t->d + c);
      continue;
    }
    const double *weight = part == 1 ? g->ds : g->p;
    uint32_t operand = part == 1 ? 3 : 1;
    sum += weight[i * rows + row] * load(g->r, operand, query_row(g, operand, i) + c);
  }
  return sum;
}

static void varlen_head(const GradHead *g, const int64_t *bounds) {
  const KAttentionGrad *t = g->t;
  int64_t rows = at(g->r, t->rows), run = 0;
  bool *seen = arena_array(g->r->a, bool, rows + 1);
  for (int64_t i = 0; i < rows; i++) {
    while (i >= bounds[run + 1]) run++;
    for (int64_t j = 0; j < rows; j++)
      seen[j] = j <= i && (j < bounds[1] || j >= bounds[run]);
    varlen_row(g, i, seen);
  }
  for (uint32_t part = 0; part < 3; part++) {
    int64_t column = (kgrad_wanted(t, part) * t->heads + g->h) * t->d;
    for (int64_t row = 0; kgrad_wants(t, part) && row < rows; row++)
      for (int64_t c = 0; c < t->d; c++)
        store(g->r, row * at(g->r, t->o_r) + column + c, varlen_cell(g, part, row, c));
  }
}

static int run_varlen_grad(const Run *r, const KAttentionGrad *t) {
  const int64_t *bounds = r->op[6];
  int64_t rows = at(r, t->rows), runs = at(r, t->batch);
  if (!rising(bounds, runs, rows)) return FAULT_INDEX;
  for (int64_t s = 0; s < runs; s++) {
    int64_t n = bounds[s + 1] - bounds[s], prefix = s ? bounds[1] : 0;
    if (n > t->lq || n + prefix > t->segment[0].n) return FAULT_INDEX;
  }
  GradHead g = {.r = r, .t = t};
  g.p = arena_array(r->a, double, rows * rows + 1);
  g.ds = arena_array(r->a, double, rows * rows + 1);
  for (g.h = 0; g.h < t->heads; g.h++) varlen_head(&g, bounds);
  return 0;
}

static int run_attention_grad(const Run *r, const Kernel *k) {
  const KAttentionGrad *t = &k->attention_grad;
  if (t->varlen) return run_varlen_grad(r, t);
  GradHead g = {.r = r, .t = t};
  g.p = arena_array(r->a, double, t->lq * kgrad_keys(t));
  g.ds = arena_array(r->a, double, t->lq * kgrad_keys(t));
  for (g.b = 0; g.b < at(r, t->batch); g.b++)
    for (g.h = 0; g.h < t->heads; g.h++) grad_head(&g);
  return 0;
}

/* ---- rows ---------------------------------------------------------------- */

static void layernorm(const Run *r, const KRows *k, int64_t x, int64_t o, int64_t n) {
  double mean = 0, var = 0;
  for (int64_t i = 0; i < n; i++) mean += load(r, 1, x + i) / (double)n;
  for (int64_t i = 0; i < n; i++) {
    double d = load(r, 1, x + i) - mean;
    var += d * d / (double)n;
  }
  for (int64_t i = 0; i < n; i++) {
    double v = (load(r, 1, x + i) - mean) / sqrt(var + (double)k->eps);
    if (k->has_gamma) v *= load(r, 2, i);
    if (k->has_beta) v += load(r, 2u + k->has_gamma, i);
    store(r, o + i, v);
  }
}

/* With z the normalised row and g = dy gamma: (g - mean g - z mean(g z)) / sd. */
static void layernorm_grad(const Run *r, const KRows *k, int64_t x, int64_t dy, int64_t o) {
  int64_t n = at(r, k->cols);
  double mean = 0, var = 0, sum = 0, along = 0;
  for (int64_t i = 0; i < n; i++) mean += load(r, 1, x + i) / (double)n;
  for (int64_t i = 0; i < n; i++) var += pow(load(r, 1, x + i) - mean, 2) / (double)n;
  double sd = sqrt(var + (double)k->eps);
  for (int pass = 0; pass < 2; pass++) {
    for (int64_t i = 0; i < n; i++) {
      double g = load(r, 2, dy + i) * (k->has_gamma ? load(r, 3, i) : 1);
      double z = (load(r, 1, x + i) - mean) / sd;
      if (pass == 0) sum += g / (double)n, along += g * z / (double)n;
      else store(r, o + i, (g - sum - z * along) / sd);
    }
  }
}

static void softmax(const Run *r, const KRows *k, int64_t x, int64_t o, int64_t n) {
  double most = -(double)INFINITY, sum = 0;
  for (int64_t i = 0; i < n; i++) most = fmax(most, load(r, 1, x + i));
  for (int64_t i = 0; i < n; i++) sum += exp(load(r, 1, x + i) - most);
  for (int64_t i = 0; i < n; i++) {
    double v = load(r, 1, x + i) - most;
    store(r, o + i, k->log ? v - log(sum) : exp(v) / sum);
  }
}

static void l2norm(const Run *r, const KRows *k, int64_t x, int64_t o, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += load(r, 1, x + i) * load(r, 1, x + i);
  double norm = fmax(sqrt(sum), (double)k->eps);
  for (int64_t i = 0; i < n; i++) store(r, o + i, load(r, 1, x + i) / norm);
}

static int run_rows(const Run *r, const Kernel *k) {
  const KRows *w = &k->rows;
  for (int64_t g = 0; g < at(r, w->g); g++) {
    for (int64_t m = 0; m < at(r, w->m); m++) {
      int64_t x = g * at(r, w->x_g) + m * at(r, w->x_m), o = g * at(r, w->o_g) + m * at(r, w->o_m);
      int64_t n = at(r, w->cols);
      if (k->kind == KK_LAYERNORM)
        layernorm(r, w, x, o, n);
      else if (k->kind == KK_LAYERNORM_GRAD)
        layernorm_grad(r, w, x, g * at(r, w->dy_g) + m * at(r, w->dy_m), o);
      else if (k->kind == KK_SOFTMAX)
        softmax(r, w, x, o, n);
      else
        l2norm(r, w, x, o, n);
    }
  }
  return 0;
}

/* ---- scan and top-k ------------------------------------------------------ */

static void scan_row(const Run *r, const KAxis *x, int64_t base) {
  Cell sum = {0};
  for (int64_t i = 0; i < x->axis.c; i++) {
    int64_t p = base + (x->reverse ? x->axis.c - 1 - i : i) * x->inner.c;
    Cell v = cell_load(x->dtype, r->op[1], p), before = sum;
    sum = rounded(x->dtype, (Cell){sum.f + v.f, ew_i64(OP_add, sum.i, v.i)});
    cell_store(x->dtype, r->op[0], p, x->exclusive ? before : sum);
  }
}

static void topk_row(const Run *r, const KAxis *x, int64_t from, int64_t to, bool *taken) {
  int64_t n = at(r, x->axis);
  memset(taken, 0, (size_t)n);
  for (int64_t k = 0; k < x->k; k++) {
    int64_t best = -1;
    Cell most = {0};
    for (int64_t i = 0; i < n; i++) {
      Cell v = cell_load(x->dtype, r->op[1], from + i * x->inner.c);
      if (taken[i] || (best >= 0 && !better(dtype_is_float(x->dtype), v, most, x->largest, false)))
        continue;
      best = i, most = v;
    }
    taken[best] = true;
    if (x->want_indices)
      dtype_store_i64(VLPC_I64, r->op[0], to + k * x->inner.c, best);
    else
      cell_store(x->dtype, r->op[0], to + k * x->inner.c, most);
  }
}

static int run_axis(const Run *r, const Kernel *k) {
  const KAxis *x = &k->axis;
  int64_t n = at(r, x->axis);
  if (k->kind == KK_TOPK && n < x->k) return FAULT_INDEX;
  bool *taken = arena_array(r->a, bool, n + 1);
  for (int64_t o = 0; o < at(r, x->outer); o++) {
    for (int64_t i = 0; i < x->inner.c; i++) {
      int64_t from = o * n * x->inner.c + i;
      if (k->kind == KK_SCAN)
        scan_row(r, x, from);
      else
        topk_row(r, x, from, o * x->k * x->inner.c + i, taken);
    }
  }
  return 0;
}

int ref_run(const Kernel *k, void *const *operand, const int64_t *size, Arena *a) {
  Run r = {.op = operand, .size = size, .a = a};
  for (uint32_t i = 0; k->kind != KK_LOOPS && i < k->n_operands; i++)
    r.type[i] = kernel_operand_dtype(k, i);
  switch (k->kind) {
  case KK_LOOPS:
    return run_loops(&r, k);
  case KK_GEMM:
    return run_gemm(&r, k);
  case KK_ATTENTION:
    return run_attention(&r, k);
  case KK_ATTENTION_GRAD:
    return run_attention_grad(&r, k);
  case KK_LAYERNORM:
  case KK_LAYERNORM_GRAD:
  case KK_SOFTMAX:
  case KK_L2NORM:
    return run_rows(&r, k);
  case KK_SCAN:
  case KK_TOPK:
    return run_axis(&r, k);
  case KK__END:
  default:
    VL_UNREACHABLE("kernel kind");
  }
}
