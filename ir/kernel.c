/* SPDX-License-Identifier: Apache-2.0 */
/* kernel.c - kernels as values: fields, bytes, invariants and spans.
**
** One walk (visit_kernel) names every field of every kind once; writing
** and reading are that walk with another visitor, so they cannot
** drift apart. */
#include "ir/kernel.h"

#include <string.h>

#include "base/bytes.h"

#define KERNELS_VERSION 4u
#define KERNELS_MAX 65536u

/* ---- the walk ----------------------------------------------------------- */

typedef struct {
  ByteWriter *w; /* writing when set */
  ByteReader *r; /* else reading */
  Arena *a;
} Walk;

static void walk_i64(Walk *k, int64_t *v) {
  if (k->w)
    put_i64(k->w, *v);
  else
    *v = get_i64(k->r);
}
static void walk_u32(Walk *k, uint32_t *v) {
  if (k->w)
    put_u32(k->w, *v);
  else
    *v = get_u32(k->r);
}
static void walk_f64(Walk *k, double *v) {
  if (k->w)
    put_f64(k->w, *v);
  else
    *v = get_f64(k->r);
}
static void walk_f32(Walk *k, float *v) {
  double d = (double)*v;
  walk_f64(k, &d);
  *v = (float)d;
}
static void walk_bool(Walk *k, bool *v) {
  uint32_t u = *v;
  walk_u32(k, &u);
  *v = u != 0;
}
/* Enums are unsigned or int sized; they travel as u32. */
#define WALK_ENUM(k, T, v)                                                                         \
  do {                                                                                             \
    uint32_t u_ = (uint32_t)(v);                                                                   \
    walk_u32(k, &u_);                                                                              \
    (v) = (T)u_;                                                                                   \
  } while (0)

/* Ops travel by name, so that a row added to ops.def changes no artifact. */
static void walk_op(Walk *k, OpCode *op) {
  if (k->w) {
    put_text(k->w, op_info(*op)->name);
    return;
  }
  const char *name = get_text(k->r, k->a, 64);
  if (!op_find(name, strlen(name), op)) k->r->ok = false;
}

static void walk_size(Walk *k, KSize *s) {
  walk_i64(k, &s->c);
  uint32_t dyn = (uint32_t)s->dyn;
  walk_u32(k, &dyn);
  s->dyn = (int32_t)dyn;
}

static void walk_access(Walk *k, KAccess *x, uint32_t rank) {
  walk_u32(k, &x->operand);
  for (uint32_t i = 0; i < rank; i++) walk_size(k, &x->stride[i]);
  walk_u32(k, &x->n_indirect);
  if (x->n_indirect > LOOPS_MAX_INDIRECT) {
    if (k->r) k->r->ok = false;
    return;
  }
  for (uint32_t i = 0; i < x->n_indirect; i++) {
    walk_u32(k, &x->ind[i].row);
    walk_size(k, &x->ind[i].stride);
    walk_size(k, &x->ind[i].size);
  }
}

static void walk_body(Walk *k, KBody *b, uint32_t rank) {
  WALK_ENUM(k, KBodyKind, b->kind);
  WALK_ENUM(k, VlDtype, b->dtype);
  walk_u32(k, &b->a);
  walk_u32(k, &b->b);
  walk_u32(k, &b->c);
  walk_f64(k, &b->lit);
  walk_i64(k, &b->lit_i);
  if (b->kind == KB_OP) walk_op(k, &b->op);
  if (b->kind == KB_SIZE) walk_size(k, &b->size);
  if (b->kind == KB_LOAD) walk_access(k, &b->load, rank);
}

static void walk_loops(Walk *k, KLoops *l) {
  walk_u32(k, &l->rank);
  walk_u32(k, &l->n_reduce);
  walk_u32(k, &l->n_body);
  if (k->r) {
    if (l->rank > VLPC_MAX_RANK || l->n_body == 0 || l->n_body > LOOPS_MAX_BODY) {
      k->r->ok = false;
      return;
    }
    l->body = arena_array(k->a, KBody, l->n_body);
  }
  for (uint32_t i = 0; i < l->rank; i++) walk_size(k, &l->size[i]);
  WALK_ENUM(k, KReduce, l->reduce);
  for (uint32_t i = 0; i < l->n_body; i++) walk_body(k, &l->body[i], l->rank);
  walk_access(k, &l->store, l->rank);
  walk_bool(k, &l->serial);
}

static void walk_gemm(Walk *k, KGemm *g) {
  WALK_ENUM(k, KNum, g->in);
  WALK_ENUM(k, KNum, g->out);
  walk_size(k, &g->g);
  walk_size(k, &g->m);
  walk_i64(k, &g->k);
  walk_i64(k, &g->n);
  KSize *stride[] = {&g->c_g, &g->c_m, &g->a_g, &g->a_m, &g->r_g, &g->r_m};
  for (size_t i = 0; i < VL_COUNT(stride); i++) walk_size(k, stride[i]);
  walk_bool(k, &g->has_bias);
  walk_bool(k, &g->has_residual);
  walk_bool(k, &g->transposed);
  WALK_ENUM(k, KAct, g->act);
}

static void walk_attention(Walk *k, KAttention *t) {
  WALK_ENUM(k, KNum, t->in);
  WALK_ENUM(k, KNum, t->out);
  KSize *size[] = {&t->batch, &t->lq,      &t->q_b,     &t->q_r,     &t->o_b,
                   &t->o_r,   &t->mask[0], &t->mask[1], &t->mask[2], &t->mask[3]};
  for (size_t i = 0; i < VL_COUNT(size); i++) walk_size(k, size[i]);
  walk_u32(k, &t->n_segments);
  if (t->n_segments == 0 || t->n_segments > ATTENTION_SEGMENTS) {
    if (k->r) k->r->ok = false;
    return;
  }
  for (uint32_t i = 0; i < t->n_segments; i++) {
    KSegment *g = &t->segment[i];
    KSize *part[] = {&g->n, &g->k_b, &g->k_r, &g->v_b, &g->v_r};
    for (size_t p = 0; p < VL_COUNT(part); p++) walk_size(k, part[p]);
  }
  walk_i64(k, &t->heads);
  walk_i64(k, &t->d);
  walk_i64(k, &t->dv);
  walk_f32(k, &t->scale);
  walk_bool(k, &t->causal);
  walk_bool(k, &t->has_mask);
  walk_bool(k, &t->varlen);
}

static void walk_attention_grad(Walk *k, KAttentionGrad *t) {
  KSize *size[] = {&t->batch, &t->dy_b, &t->dy_r, &t->y_b, &t->y_r, &t->q_b, &t->q_r};
  for (size_t i = 0; i < VL_COUNT(size); i++) walk_size(k, size[i]);
  walk_i64(k, &t->lq);
  walk_i64(k, &t->heads);
  walk_i64(k, &t->d);
  walk_u32(k, &t->n_segments);
  walk_u32(k, &t->want);
  if (t->n_segments > ATTENTION_SEGMENTS) {
    if (k->r) k->r->ok = false;
    return;
  }
  for (uint32_t s = 0; s < t->n_segments; s++) {
    KGradSegment *g = &t->segment[s];
    walk_i64(k, &g->n);
    KSize *stride[] = {&g->k_b, &g->k_r, &g->v_b, &g->v_r};
    for (size_t i = 0; i < VL_COUNT(stride); i++) walk_size(k, stride[i]);
  }
  walk_f32(k, &t->scale);
  walk_bool(k, &t->causal);
  walk_bool(k, &t->varlen);
  walk_size(k, &t->rows);
  walk_size(k, &t->o_r);
}

static void walk_rows(Walk *k, KRows *r) {
  WALK_ENUM(k, KNum, r->out);
  KSize *size[] = {&r->g,   &r->m,   &r->cols, &r->o_g, &r->o_m,
                   &r->x_g, &r->x_m, &r->dy_g, &r->dy_m};
  for (size_t i = 0; i < VL_COUNT(size); i++) walk_size(k, size[i]);
  walk_f32(k, &r->eps);
  walk_bool(k, &r->has_dy);
  walk_bool(k, &r->has_gamma);
  walk_bool(k, &r->has_beta);
  walk_bool(k, &r->log);
}

static void walk_axis(Walk *k, KAxis *x) {
  WALK_ENUM(k, VlDtype, x->dtype);
  walk_size(k, &x->outer);
  walk_size(k, &x->axis);
  walk_size(k, &x->inner);
  walk_i64(k, &x->k);
  walk_bool(k, &x->exclusive);
  walk_bool(k, &x->reverse);
  walk_bool(k, &x->largest);
  walk_bool(k, &x->want_indices);
}

static void walk_kernel(Walk *k, Kernel *x) {
  WALK_ENUM(k, KernelKind, x->kind);
  walk_u32(k, &x->n_operands);
  walk_u32(k, &x->n_sizes);
  switch (x->kind) {
  case KK_LOOPS:
    walk_loops(k, &x->loops);
    break;
  case KK_GEMM:
    walk_gemm(k, &x->gemm);
    break;
  case KK_ATTENTION:
    walk_attention(k, &x->attention);
    break;
  case KK_ATTENTION_GRAD:
    walk_attention_grad(k, &x->attention_grad);
    break;
  case KK_LAYERNORM:
  case KK_LAYERNORM_GRAD:
  case KK_SOFTMAX:
  case KK_L2NORM:
    walk_rows(k, &x->rows);
    break;
  case KK_SCAN:
  case KK_TOPK:
    walk_axis(k, &x->axis);
    break;
  case KK__END:
  default:
    if (k->r) k->r->ok = false;
  }
}

/* ---- bytes -------------------------------------------------------------- */

static void put_kernel(ByteWriter *w, const Kernel *k) {
  Kernel copy = *k; /* the walk takes non-const; writing changes nothing */
  Walk walk = {.w = w};
  walk_kernel(&walk, &copy);
}

void kernels_write(KernelList l, Arena *a, const uint8_t **out, size_t *n) {
  ByteWriter w = {.out = {.arena = a}};
  put_u32(&w, KERNELS_VERSION);
  put_u32(&w, l.n);
  for (uint32_t i = 0; i < l.n; i++) put_kernel(&w, &l.at[i]);
  *out = (const uint8_t *)w.out.at;
  *n = w.out.n;
}

VlStatus kernels_read(const uint8_t *at, size_t n, Arena *a, DiagAt where, Diag *d,
                      KernelList *out) {
  ByteReader r = {.at = at, .n = n, .ok = true};
  Walk walk = {.r = &r, .a = a};
  Str faults = {.arena = a};
  if (get_u32(&r) != KERNELS_VERSION) r.ok = false;
  out->n = get_count(&r, 12);
  if (out->n > KERNELS_MAX) r.ok = false;
  if (!r.ok) out->n = 0;
  out->at = arena_array(a, Kernel, out->n);
  for (uint32_t i = 0; r.ok && i < out->n; i++) {
    walk_kernel(&walk, &out->at[i]);
    if (r.ok && !kernel_verify(&out->at[i], &faults)) r.ok = false;
  }
  if (r.ok && r.pos == n) return VLPC_OK;
  VlStatus s = diag_error(d, DIAG_PROGRAM, where, "the kernel list is damaged");
  diag_found(d, "%s at byte %zu of %zu", faults.n ? str_text(&faults) : "a bad record", r.pos, n);
  diag_fix(d, "make the artifact again with vlpc compile");
  return s;
}

/* ---- spans: where an operand is touched ---------------------------------- */

typedef struct {
  KSpan *at;
  uint32_t n;
} SpanList;

static void add_span(SpanList *l, KSize size, KSize stride) {
  l->at[l->n++] = (KSpan){size, stride};
}

static void access_spans(const KLoops *l, const KAccess *x, SpanList *out) {
  for (uint32_t i = 0; i < l->rank; i++) add_span(out, l->size[i], x->stride[i]);
  for (uint32_t i = 0; i < x->n_indirect; i++) add_span(out, x->ind[i].size, x->ind[i].stride);
}

static const KAccess *loops_access(const KLoops *l, uint32_t operand) {
  if (operand == 0) return &l->store;
  for (uint32_t i = 0; i < l->n_body; i++) {
    if (l->body[i].kind == KB_LOAD && l->body[i].load.operand == operand) return &l->body[i].load;
  }
  return NULL;
}

static void gemm_spans(const KGemm *g, uint32_t operand, SpanList *out) {
  int64_t columns = (g->n + GEMM_PANEL - 1) / GEMM_PANEL * GEMM_PANEL;
  uint32_t bias = g->has_bias ? 3 : UINT32_MAX;
  uint32_t residual = g->has_residual ? 3u + g->has_bias : UINT32_MAX;
  if (operand == 2 && g->transposed)
    add_span(out, ksize((g->k + GEMM_PANEL - 1) / GEMM_PANEL * GEMM_PANEL * g->n), ksize(1));
  else if (operand == 2)
    add_span(out, ksize(gemm_panel_elements(g)), ksize(1));
  else if (operand == bias)
    add_span(out, ksize(columns), ksize(1));
  else {
    bool is_c = operand == 0, is_r = operand == residual;
    add_span(out, g->g, is_c ? g->c_g : is_r ? g->r_g : g->a_g);
    add_span(out, g->m, is_c ? g->c_m : is_r ? g->r_m : g->a_m);
    add_span(out, ksize(is_c || is_r ? g->n : g->k), ksize(1));
  }
}

static void attention_spans(const KAttention *t, uint32_t operand, SpanList *out) {
  bool is_extra = operand == kattention_extra(t);
  if (is_extra && t->varlen) {
    add_span(out, t->batch, ksize(1));
    add_span(out, ksize(2), ksize(1));
    return;
  }
  if (is_extra) {
    const KSize size[] = {t->batch, ksize(t->heads), t->lq, t->segment[0].n};
    for (int i = 0; i < 4; i++) add_span(out, size[i], t->mask[i]);
    return;
  }
  bool of_keys = operand >= 2, of_values = operand == 0 || (of_keys && operand % 2 == 1);
  KSize n = t->lq, batch = operand == 0 ? t->o_b : t->q_b, row = operand == 0 ? t->o_r : t->q_r;
  if (of_keys) {
    const KSegment *g = &t->segment[operand / 2 - 1];
    n = g->n, batch = of_values ? g->v_b : g->k_b, row = of_values ? g->v_r : g->k_r;
  }
  if (!t->varlen) add_span(out, t->batch, batch);
  add_span(out, n, row);
  add_span(out, ksize(t->heads * (of_values ? t->dv : t->d)), ksize(1));
}

static int64_t part_rows(const KAttentionGrad *k, uint32_t operand) {
  return operand == 0 ? k->lq : k->segment[(operand - 1) / 2].n;
}

int64_t kgrad_rows(const KAttentionGrad *k, uint32_t operand) {
  int64_t rows = 0;
  for (uint32_t i = 0; i < operand; i++) rows += kgrad_wants(k, i) ? part_rows(k, i) : 0;
  return rows;
}

uint32_t kgrad_wanted(const KAttentionGrad *k, uint32_t operand) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < operand; i++) n += kgrad_wants(k, i);
  return n;
}

int64_t kgrad_keys(const KAttentionGrad *k) {
  int64_t n = 0;
  for (uint32_t s = 0; s < k->n_segments; s++) n += k->segment[s].n;
  return n;
}

static uint32_t grad_bounds(const KAttentionGrad *t) {
  return 3 + kgrad_parts(t);
}

static void varlen_grad_spans(const KAttentionGrad *t, uint32_t operand, SpanList *out) {
  const KGradSegment *s = &t->segment[0];
  const KSize row[] = {t->o_r, t->dy_r, t->y_r, t->q_r, s->k_r, s->v_r};
  bool is_bounds = operand == grad_bounds(t);
  int64_t parts = operand == 0 ? kgrad_wanted(t, kgrad_parts(t)) : 1;
  add_span(out, is_bounds ? t->batch : t->rows, is_bounds ? ksize(1) : row[operand]);
  add_span(out, ksize(is_bounds ? 2 : parts * t->heads * t->d), ksize(1));
}

static void attention_grad_spans(const KAttentionGrad *t, uint32_t operand, SpanList *out) {
  int64_t width = t->heads * t->d;
  if (t->varlen) {
    varlen_grad_spans(t, operand, out);
    return;
  }
  if (operand == 0) {
    int64_t rows = kgrad_rows(t, 1 + 2 * t->n_segments);
    add_span(out, t->batch, ksize(rows * width));
    add_span(out, ksize(rows), ksize(width));
  } else if (operand <= 3) {
    const KSize batch[] = {t->dy_b, t->y_b, t->q_b}, row[] = {t->dy_r, t->y_r, t->q_r};
    add_span(out, t->batch, batch[operand - 1]);
    add_span(out, ksize(t->lq), row[operand - 1]);
  } else {
    const KGradSegment *s = &t->segment[(operand - 4) / 2];
    bool keys = operand % 2 == 0;
    add_span(out, t->batch, keys ? s->k_b : s->v_b);
    add_span(out, ksize(s->n), keys ? s->k_r : s->v_r);
  }
  add_span(out, ksize(width), ksize(1));
}

static void rows_spans(const KRows *r, uint32_t operand, SpanList *out) {
  const KSize g[] = {r->o_g, r->x_g, r->dy_g}, m[] = {r->o_m, r->x_m, r->dy_m};
  if (operand < 2u + r->has_dy) {
    add_span(out, r->g, g[operand]);
    add_span(out, r->m, m[operand]);
  }
  add_span(out, r->cols, ksize(1));
}

/* [outer, axis, inner] is contiguous, so the outermost stride is a product of
** run-time sizes: nested spans express it as axis·inner repeated. */
static bool axis_is_plain(const Kernel *k) {
  const KAxis *x = &k->axis;
  bool is_last = x->inner.dyn < 0 && x->inner.c == 1;
  return x->inner.dyn < 0 && (x->axis.dyn < 0 || (k->kind == KK_TOPK && is_last));
}

static void axis_spans(const Kernel *k, uint32_t operand, SpanList *out) {
  const KAxis *x = &k->axis;
  int64_t inner = x->inner.c;
  KSize axis = k->kind == KK_TOPK && operand == 0 ? ksize(x->k) : x->axis;
  add_span(out, x->outer, axis.dyn < 0 ? ksize(axis.c * inner) : axis);
  add_span(out, axis, ksize(inner));
  add_span(out, ksize(inner), ksize(1));
}

uint32_t kernel_spans(const Kernel *k, uint32_t operand, KSpan out[KSPAN_MAX]) {
  SpanList l = {.at = out};
  switch (k->kind) {
  case KK_LOOPS: {
    const KAccess *x = loops_access(&k->loops, operand);
    if (x) access_spans(&k->loops, x, &l);
    break;
  }
  case KK_GEMM:
    gemm_spans(&k->gemm, operand, &l);
    break;
  case KK_ATTENTION:
    attention_spans(&k->attention, operand, &l);
    break;
  case KK_ATTENTION_GRAD:
    attention_grad_spans(&k->attention_grad, operand, &l);
    break;
  case KK_LAYERNORM:
  case KK_LAYERNORM_GRAD:
  case KK_SOFTMAX:
  case KK_L2NORM:
    rows_spans(&k->rows, operand, &l);
    break;
  case KK_SCAN:
  case KK_TOPK:
    axis_spans(k, operand, &l);
    break;
  case KK__END:
  default:
    VL_UNREACHABLE("kernel kind");
  }
  return l.n;
}

/* ---- element types ------------------------------------------------------- */

static VlDtype attention_dtype(const KAttention *t, uint32_t operand) {
  if (operand == kattention_extra(t)) return t->varlen ? VLPC_I64 : VLPC_F32;
  return knum_dtype(operand ? t->in : t->out);
}

static VlDtype loops_dtype(const KLoops *l, uint32_t operand) {
  if (operand == 0) {
    bool index = l->reduce == KR_ARGMAX || l->reduce == KR_ARGMAX_LAST;
    return index ? VLPC_I64 : l->body[l->n_body - 1].dtype;
  }
  for (uint32_t i = 0; i < l->n_body; i++) {
    if (l->body[i].kind == KB_LOAD && l->body[i].load.operand == operand) return l->body[i].dtype;
  }
  VL_UNREACHABLE("an operand that no row loads");
}

VlDtype kernel_operand_dtype(const Kernel *k, uint32_t operand) {
  if (k->kind == KK_LOOPS) return loops_dtype(&k->loops, operand);
  if (k->kind == KK_ATTENTION) return attention_dtype(&k->attention, operand);
  if (k->kind == KK_ATTENTION_GRAD && operand == grad_bounds(&k->attention_grad)) return VLPC_I64;
  if (k->kind == KK_TOPK && operand == 0 && k->axis.want_indices) return VLPC_I64;
  if (k->kind == KK_SCAN || k->kind == KK_TOPK) return k->axis.dtype;
  if (k->kind == KK_GEMM && operand <= 2)
    return knum_dtype(operand ? k->gemm.in : k->gemm.out);
  if (k->kind == KK_LAYERNORM && operand == 0) return knum_dtype(k->rows.out);
  return VLPC_F32;
}

/* ---- invariants --------------------------------------------------------- */

/* Constants are bounded so that no product of two wraps. */
#define SIZE_LIMIT ((int64_t)1 << 31)

static bool size_ok(const Kernel *k, KSize s, bool may_be_negative) {
  if (s.dyn >= 0) return (uint32_t)s.dyn < k->n_sizes;
  return s.dyn == -1 && s.c <= SIZE_LIMIT && s.c >= (may_be_negative ? -SIZE_LIMIT : 0);
}

static bool access_ok(const Kernel *k, const KAccess *x, uint32_t before) {
  if (x->operand >= k->n_operands || x->n_indirect > LOOPS_MAX_INDIRECT) return false;
  for (uint32_t i = 0; i < k->loops.rank; i++) {
    if (!size_ok(k, x->stride[i], true)) return false;
  }
  for (uint32_t i = 0; i < x->n_indirect; i++) {
    if (x->ind[i].row >= before || !dtype_is_int(k->loops.body[x->ind[i].row].dtype)) return false;
    if (!size_ok(k, x->ind[i].size, false) || !size_ok(k, x->ind[i].stride, true)) return false;
  }
  return true;
}

static bool op_row_ok(const KLoops *l, uint32_t i) {
  const KBody *b = &l->body[i];
  if (b->op <= OP_none || b->op >= OP__COUNT || op_info(b->op)->kind != K_EW) return false;
  const uint32_t in[] = {b->a, b->b, b->c}, n_in = op_info(b->op)->min_in;
  for (uint32_t k = 0; k < n_in; k++) {
    if (in[k] >= i) return false;
    if ((op_info(b->op)->flags & F_FLOAT_IN) && !dtype_is_float(l->body[in[k]].dtype)) return false;
  }
  return n_in != 2 || l->body[b->a].dtype == l->body[b->b].dtype;
}

static bool body_ok(const Kernel *k, uint32_t i) {
  const KLoops *l = &k->loops;
  const KBody *b = &l->body[i];
  if (!dtype_valid((int)b->dtype)) return false;
  switch (b->kind) {
  case KB_LOAD:
    return b->load.operand > 0 && access_ok(k, &b->load, i);
  case KB_LITERAL:
    return true;
  case KB_INDEX:
    return b->a < l->rank && b->dtype == VLPC_I64;
  case KB_SIZE:
    return b->dtype == VLPC_I64 && size_ok(k, b->size, true);
  case KB_OP:
    return op_row_ok(l, i);
  default:
    return false;
  }
}

/* Each operand is read through one access only, so spans tell all of it. */
static bool operands_once(const Kernel *k) {
  uint64_t seen = 1;
  for (uint32_t i = 0; i < k->loops.n_body; i++) {
    if (k->loops.body[i].kind != KB_LOAD) continue;
    uint64_t bit = UINT64_C(1) << k->loops.body[i].load.operand;
    if (seen & bit) return false;
    seen |= bit;
  }
  return seen == (UINT64_C(1) << k->n_operands) - 1;
}

static bool loops_ok(const Kernel *k) {
  const KLoops *l = &k->loops;
  if (l->rank > VLPC_MAX_RANK || l->n_reduce > l->rank || l->n_body == 0 ||
      l->n_body > LOOPS_MAX_BODY || (unsigned)l->reduce > KR_ARGMAX_LAST ||
      (l->reduce != KR_NONE) != (l->n_reduce > 0) || l->store.operand != 0)
    return false;
  for (uint32_t i = 0; i < l->rank; i++) {
    if (!size_ok(k, l->size[i], false)) return false;
  }
  for (uint32_t i = l->rank - l->n_reduce; i < l->rank; i++) {
    if (l->store.stride[i].dyn >= 0 || l->store.stride[i].c != 0) return false;
  }
  for (uint32_t i = 0; i < l->n_body; i++) {
    if (!body_ok(k, i)) return false;
  }
  if (l->store.n_indirect && (l->n_reduce || !l->serial)) return false;
  return access_ok(k, &l->store, l->n_body) && operands_once(k);
}

static bool nums_ok(KNum in, KNum out) {
  return (unsigned)in <= NUM_BF16 && (unsigned)out <= NUM_BF16;
}

static bool attention_grad_ok(const Kernel *k) {
  const KAttentionGrad *t = &k->attention_grad;
  if (t->n_segments < 1 || t->n_segments > ATTENTION_SEGMENTS ||
      k->n_operands != grad_bounds(t) + t->varlen || (t->varlen && t->n_segments > 1))
    return false;
  bool ok = t->lq >= 1 && t->lq <= ATTENTION_GRAD_ROWS && t->heads > 0 && t->heads <= 4096 &&
            t->d > 0 && t->d <= 4096 && t->want != 0 && t->want >> (1 + 2 * t->n_segments) == 0;
  for (uint32_t s = 0; s < t->n_segments; s++)
    ok = ok && t->segment[s].n >= 1 && t->segment[s].n <= ATTENTION_GRAD_ROWS;
  return ok && kgrad_keys(t) <= ATTENTION_GRAD_ROWS;
}

static bool plain_ok(const Kernel *k) {
  switch (k->kind) {
  case KK_GEMM: {
    const KGemm *g = &k->gemm;
    return k->n_operands == 3u + g->has_bias + g->has_residual && g->k > 0 && g->n > 0 &&
           nums_ok(g->in, g->out) && !(g->transposed && g->in != NUM_F32) &&
           g->k <= SIZE_LIMIT / 64 && g->n <= SIZE_LIMIT / 64 && (unsigned)g->act <= ACT_TANH;
  }
  case KK_ATTENTION: {
    const KAttention *t = &k->attention;
    if (!nums_ok(t->in, t->out) || (t->in == NUM_BF16 && t->d % 2)) return false;
    return t->n_segments >= 1 && t->n_segments <= ATTENTION_SEGMENTS &&
           k->n_operands == kattention_extra(t) + t->has_mask + t->varlen &&
           t->varlen + t->has_mask + (t->n_segments > 1) <= 1 && t->heads > 0 &&
           t->heads <= 4096 && t->d > 0 && t->dv > 0 && t->d <= 65536 && t->dv <= 65536;
  }
  case KK_ATTENTION_GRAD:
    return attention_grad_ok(k);
  case KK_LAYERNORM:
    return k->n_operands == 2u + k->rows.has_gamma + k->rows.has_beta && !k->rows.has_dy &&
           nums_ok(NUM_F32, k->rows.out);
  case KK_LAYERNORM_GRAD:
    return k->n_operands == 3u + k->rows.has_gamma && k->rows.has_dy && !k->rows.has_beta &&
           k->rows.out == NUM_F32;
  case KK_SOFTMAX:
  case KK_L2NORM:
    return k->n_operands == 2 && !k->rows.has_gamma && !k->rows.has_beta && !k->rows.has_dy &&
           k->rows.out == NUM_F32;
  case KK_SCAN:
    return k->n_operands == 2 && axis_is_plain(k) && dtype_valid((int)k->axis.dtype);
  case KK_TOPK:
    return k->n_operands == 2 && axis_is_plain(k) && dtype_valid((int)k->axis.dtype) &&
           k->axis.k >= 0 && k->axis.k <= (k->axis.axis.dyn < 0 ? k->axis.axis.c : SIZE_LIMIT);
  case KK_LOOPS:
  case KK__END:
  default:
    return false;
  }
}

static bool spans_ok(const Kernel *k) {
  KSpan span[KSPAN_MAX];
  for (uint32_t i = 0; i < k->n_operands; i++) {
    uint32_t n = kernel_spans(k, i, span);
    for (uint32_t s = 0; s < n; s++) {
      if (!size_ok(k, span[s].size, false) || !size_ok(k, span[s].stride, true)) return false;
    }
  }
  return true;
}

bool kernel_verify(const Kernel *k, Str *faults) {
  bool ok = k->kind >= KK_LOOPS && k->kind < KK__END && k->n_operands >= 1 && k->n_operands <= 16 &&
            k->n_sizes <= 64;
  if (ok) ok = k->kind == KK_LOOPS ? loops_ok(k) : plain_ok(k);
  if (ok) ok = spans_ok(k);
  if (!ok) str_printf(faults, "a kernel of kind %d is malformed; ", (int)k->kind);
  return ok;
}
