/* SPDX-License-Identifier: Apache-2.0 */
/* sched_rows.c - the nodes with kernels of their own: linear, attention, the
** row-wise ones, scans and top-k. */
#include "passes/sched_int.h"

#include <string.h>

/* The value as a place whose last axis is contiguous and whose other axes
** make two levels; copied when it is not. */
typedef struct {
  Place out, x, residual;
  bool has_residual, detour; /* detour: out is a temporary, copied at the end */
  Place target;
  Rows rows;
} RowPlan;

static bool plan_levels(Sched *s, RowPlan *p) {
  const Place *list[3] = {&p->out, &p->x, &p->residual};
  return places_rows(s, list, p->has_residual ? 3 : 2, &p->rows);
}

static Place temp_like(Sched *s, Val v, const Place *p) {
  Type t = *ir_type_of(s->g, v);
  t.dtype = place_dtype(s, p);
  t.rank = p->rank;
  memcpy(t.dim, p->size, sizeof t.dim);
  return place_contiguous(s, sched_temp(s, &t), &t);
}

/* False, and the node refused, when its rows have no two levels. */
static bool plan_rows(Sched *s, Val v, RowPlan *p) {
  p->target = p->out;
  if (plan_levels(s, p)) return true;
  if (!place_is_contiguous(s, &p->x)) p->x = sched_copied(s, v, &p->x, place_dtype(s, &p->x));
  if (plan_levels(s, p)) return true;
  if (p->has_residual) p->residual = sched_copied(s, v, &p->residual, VLPC_F32);
  p->out = temp_like(s, v, &p->target);
  p->detour = true;
  if (plan_levels(s, p)) return true;
  sched_refuse(s, v, "the number of its rows is not affine in the sizes");
  return false;
}

static void finish_rows(Sched *s, Val v, const RowPlan *p) {
  if (p->detour) sched_copy(s, v, &p->out, &p->target);
}

/* A rank-0 or rank-1 operand as one row. */
static Place at_least_matrix(Sched *s, Place p) {
  while (p.rank < 2) {
    for (uint32_t i = p.rank; i > 0; i--) p.size[i] = p.size[i - 1], p.stride[i] = p.stride[i - 1];
    p.size[0] = sched_const(s, 1);
    p.stride[0] = sched_const(s, 0);
    if (p.rank == 0) p.stride[0] = sched_const(s, 1);
    p.rank++;
  }
  return p;
}

/* ---- linear ------------------------------------------------------------- */

static KAct act_of(Sched *s, Val act) {
  if (!val_ok(act)) return ACT_NONE;
  OpCode op = ir_op(s->g, act);
  if (op == OP_relu) return ACT_RELU;
  if (op == OP_tanh) return ACT_TANH;
  const Attr *approx = ir_attr(s->g, act, A_approx);
  if (approx && strcmp(approx->str, "quick") == 0) return ACT_GELU_QUICK;
  return approx && strcmp(approx->str, "tanh") == 0 ? ACT_GELU_TANH : ACT_GELU_ERF;
}

static bool runs_in_place(Sched *s, Val last, Val residual, const Place *r) {
  const Info *in = &s->info[residual.i], *to = &s->info[last.i];
  if (s->flags & SCHED_NO_INPLACE || to->output || val_ok(to->concat) || in->at_compile)
    return false;
  if (to->held != NUM_F32) return false;
  if (val_ok(in->concat) || in->output || in->last_use != to->emit_at) return false;
  if (sched_is_view(ir_op(s->g, residual))) return false;
  return s->bufs.at[r->buf].kind == BUF_TEMP && place_is_contiguous(s, r) &&
         ir_type_id(s->g, last).i == ir_type_id(s->g, residual).i;
}

static bool is_bf16(const Sched *s, const Place *p) {
  return place_dtype(s, p) == VLPC_BF16;
}

static bool is_turned(const Graph *g, Val v, Val of) {
  const Attr *perm = ir_op(g, v) == OP_permute ? ir_attr(g, v, A_perm) : NULL;
  return perm != NULL && perm->n == 2 && val_eq(ir_in(g, v, 0), of);
}

/* The weight of an earlier linear that is this one's turned: on the way back a
** gradient reads the panels of the way there. */
static Val turned_weight(const Sched *s, Val lin) {
  Val w = ir_in(s->g, lin, 1);
  for (uint32_t i = 1; i < lin.i; i++) {
    Val v = {i};
    if (ir_op(s->g, v) != OP_linear || !s->info[i].needed || s->info[i].at_compile) continue;
    Val u = ir_in(s->g, v, 1);
    if (is_turned(s->g, w, u) || is_turned(s->g, u, w)) return u;
  }
  return VAL_NONE;
}

/* C = act(x·W + b) + residual, where x's rows and W, b come from node lin and
** the result is node last. */
static void emit_gemm(Sched *s, Val lin, Val last, const Place *x) {
  const Graph *g = s->g;
  const Info *in = &s->info[last.i];
  Val w = ir_in(g, lin, 1), b = ir_n_in(g, lin) > 2 ? ir_in(g, lin, 2) : VAL_NONE;
  Val turned = turned_weight(s, lin);
  RowPlan p = {.x = at_least_matrix(s, *x), .has_residual = val_ok(in->residual)};
  if (p.has_residual) {
    Place r = sched_source(s, in->residual);
    if (r.buf != x->buf && runs_in_place(s, last, in->residual, &r)) {
      s->info[last.i].place = r;
      s->info[last.i].placed = true;
    }
    r = place_broadcast(s, &r, ir_type_of(g, last));
    p.residual = at_least_matrix(s, r);
  }
  p.out = at_least_matrix(s, sched_dest(s, last));
  if (!plan_rows(s, last, &p)) return;
  Draft d = draft_begin(s, last, KK_GEMM);
  KGemm *k = &d.k.gemm;
  VL_CHECK(ir_size_const(g, w, 0, &k->k) && ir_size_const(g, w, 1, &k->n), "linear weight");
  draft_arg(&d, &p.out);
  draft_arg(&d, &p.x);
  ConstLayout panels = is_bf16(s, &p.x) ? CONST_PANELS_BF16 : CONST_PANELS;
  k->transposed = val_ok(turned) && panels == CONST_PANELS;
  Place wp = sched_weight(s, k->transposed ? turned : w, panels);
  draft_arg(&d, &wp);
  if (val_ok(b)) {
    Place bp = sched_weight(s, b, CONST_PADDED);
    draft_arg(&d, &bp);
  }
  if (p.has_residual) draft_arg(&d, &p.residual);
  k->g = draft_size(&d, p.rows.g), k->m = draft_size(&d, p.rows.m);
  k->c_g = draft_size(&d, p.rows.g_stride[0]), k->c_m = draft_size(&d, p.rows.m_stride[0]);
  k->a_g = draft_size(&d, p.rows.g_stride[1]), k->a_m = draft_size(&d, p.rows.m_stride[1]);
  k->r_g = k->r_m = ksize(0);
  if (p.has_residual) {
    k->r_g = draft_size(&d, p.rows.g_stride[2]);
    k->r_m = draft_size(&d, p.rows.m_stride[2]);
  }
  k->in = is_bf16(s, &p.x) ? NUM_BF16 : NUM_F32;
  k->out = is_bf16(s, &p.out) ? NUM_BF16 : NUM_F32;
  k->has_bias = val_ok(b);
  k->has_residual = p.has_residual;
  k->act = act_of(s, in->act);
  draft_end(&d);
  finish_rows(s, last, &p);
}

static bool gemm_ready(Sched *s, Val v) {
  const Info *w = &s->info[ir_in(s->g, v, 1).i];
  bool bias = ir_n_in(s->g, v) > 2 && val_ok(ir_in(s->g, v, 2));
  if (ir_type_of(s->g, v)->dtype != VLPC_F32) {
    sched_refuse(s, v, "only f32 has a kernel");
    return false;
  }
  if (!w->at_compile || (bias && !s->info[ir_in(s->g, v, 2).i].at_compile)) {
    sched_refuse(s, v, "its weight is not a constant");
    return false;
  }
  return true;
}

void sched_linear(Sched *s, Val v) {
  if (!gemm_ready(s, v)) return;
  Place x = sched_source(s, ir_in(s->g, v, 0));
  if (s->flags & SCHED_BF16 && !is_bf16(s, &x)) x = sched_copied(s, v, &x, VLPC_BF16);
  emit_gemm(s, v, val_ok(s->info[v.i].into) ? s->info[v.i].into : v, &x);
}

void sched_patch_embed(Sched *s, Val v) {
  if (!gemm_ready(s, v)) return;
  Place x = sched_patches(s, v);
  emit_gemm(s, v, val_ok(s->info[v.i].into) ? s->info[v.i].into : v, &x);
}

/* ---- attention ---------------------------------------------------------- */

static bool heads_of(Sched *s, const Place *p, Heads *out) {
  Rows r;
  Place own = *p;
  const Place *list[1] = {&own};
  if (own.rank == 2) {
    out->batch = sched_const(s, 1);
    out->b_stride = sched_const(s, 0);
    out->r_stride = own.stride[0];
    return own.stride[1] == sched_const(s, 1);
  }
  /* the row axis stays apart: hold it as the column axis of a row walk */
  Place lead = own;
  lead.rank--;
  lead.stride[lead.rank - 1] = sched_const(s, 1);
  list[0] = &lead;
  if (!places_rows(s, list, 1, &r) || r.g != sched_const(s, 1)) return false;
  *out = (Heads){r.m, r.m_stride[0], own.stride[own.rank - 2]};
  return own.stride[own.rank - 1] == sched_const(s, 1);
}

bool sched_heads(Sched *s, Val v, const Type *whole, Val x, Place *p, Heads *out) {
  Type t = *ir_type_of(s->g, x);
  *p = sched_source(s, x);
  for (uint32_t i = 0; i + 2 < t.rank; i++) t.dim[i] = whole->dim[i];
  *p = place_broadcast(s, p, &t);
  if (heads_of(s, p, out)) return true;
  *p = sched_copied(s, v, p, place_dtype(s, p));
  return heads_of(s, p, out);
}

static bool mask_strides(Sched *s, Val v, Draft *d, const Place *m) {
  const Type *q = ir_type_of(s->g, v), *k = ir_type_of(s->g, ir_in(s->g, v, 1));
  if (q->rank > 3 || m->rank > 4) return false;
  DimId one = sched_const(s, 1);
  Type full = {.dtype = VLPC_F32, .rank = 4};
  full.dim[0] = q->rank == 3 ? q->dim[0] : one;
  full.dim[1] = sched_const(s, ir_attr_int(s->g, v, A_heads, 1));
  full.dim[2] = q->dim[q->rank - 2];
  full.dim[3] = k->dim[k->rank - 2];
  Place p = place_broadcast(s, m, &full);
  for (int i = 0; i < 4; i++) d->k.attention.mask[i] = draft_size(d, p.stride[i]);
  return true;
}

/* Operands and result of an attention, each with its batch and row strides. */
typedef struct {
  uint32_t n; /* q and the segments' keys and values */
  Place in[1 + 2 * ATTENTION_SEGMENTS], out, target;
  Heads heads[1 + 2 * ATTENTION_SEGMENTS], out_heads;
} AttnPlan;

static bool plan_attention(Sched *s, Val v, AttnPlan *p) {
  bool ready = true, varlen = ir_op(s->g, v) == OP_attention_varlen;
  p->n = varlen ? 3 : 1 + 2 * attention_segments(ir_n_in(s->g, v));
  Type whole = *ir_type_of(s->g, v);
  for (uint32_t i = 0; i < p->n; i++)
    ready = sched_heads(s, v, &whole, ir_in(s->g, v, i), &p->in[i], &p->heads[i]) && ready;
  p->out = p->target = sched_dest(s, v);
  if (heads_of(s, &p->out, &p->out_heads)) return ready;
  p->out = temp_like(s, v, &p->target);
  return heads_of(s, &p->out, &p->out_heads) && ready;
}

static bool attention_widths(Sched *s, Val v, KAttention *k) {
  int64_t wq = 0, wv = 0;
  k->heads = ir_attr_int(s->g, v, A_heads, 1);
  if (!ir_size_const(s->g, ir_in(s->g, v, 0), -1, &wq) ||
      !ir_size_const(s->g, ir_in(s->g, v, 2), -1, &wv))
    return false;
  k->d = wq / k->heads, k->dv = wv / k->heads;
  return true;
}

static void attention_sizes(Draft *d, const AttnPlan *p) {
  KAttention *k = &d->k.attention;
  const Heads *h = p->heads;
  k->batch = draft_size(d, h[0].batch);
  k->lq = draft_size(d, p->in[0].size[p->in[0].rank - 2]);
  k->q_b = draft_size(d, h[0].b_stride), k->q_r = draft_size(d, h[0].r_stride);
  k->o_b = draft_size(d, p->out_heads.b_stride), k->o_r = draft_size(d, p->out_heads.r_stride);
  k->n_segments = (p->n - 1) / 2;
  for (uint32_t i = 0; i < k->n_segments; i++) {
    KSegment *g = &k->segment[i];
    const Heads *kh = &h[1 + 2 * i], *vh = kh + 1;
    g->n = draft_size(d, p->in[1 + 2 * i].size[p->in[1 + 2 * i].rank - 2]);
    g->k_b = draft_size(d, kh->b_stride), g->k_r = draft_size(d, kh->r_stride);
    g->v_b = draft_size(d, vh->b_stride), g->v_r = draft_size(d, vh->r_stride);
  }
  for (int i = 0; i < 4; i++) k->mask[i] = ksize(0);
}

/* The last operand: a mask, or the bounds of the runs. */
static bool attention_extra(Sched *s, Val v, Draft *d) {
  KAttention *k = &d->k.attention;
  uint32_t n = ir_n_in(s->g, v);
  k->varlen = ir_op(s->g, v) == OP_attention_varlen;
  k->has_mask = !k->varlen && attention_masked(n);
  if (!k->varlen && !k->has_mask) return true;
  Place extra = sched_source(s, ir_in(s->g, v, n - 1));
  if (k->varlen && !place_is_contiguous(s, &extra)) extra = sched_copied(s, v, &extra, VLPC_I64);
  draft_arg(d, &extra);
  if (k->has_mask) return mask_strides(s, v, d, &extra);
  k->batch = draft_size(d, sched_add(s, extra.size[0], sched_const(s, -1)));
  return true;
}

void sched_attention(Sched *s, Val v) {
  AttnPlan p;
  if (ir_type_of(s->g, v)->dtype != VLPC_F32) {
    sched_refuse(s, v, "only f32 has a kernel");
    return;
  }
  if (!plan_attention(s, v, &p)) {
    sched_refuse(s, v, "the size of its batch is not affine in the sizes");
    return;
  }
  Draft d = draft_begin(s, v, KK_ATTENTION);
  KAttention *k = &d.k.attention;
  if (!attention_widths(s, v, k)) {
    sched_refuse(s, v, "its width is a run-time size");
    return;
  }
  draft_arg(&d, &p.out);
  for (uint32_t i = 0; i < p.n; i++) draft_arg(&d, &p.in[i]);
  k->in = is_bf16(s, &p.in[0]) ? NUM_BF16 : NUM_F32;
  k->out = is_bf16(s, &p.out) ? NUM_BF16 : NUM_F32;
  k->scale = (float)ir_attr_float(s->g, v, A_scale, 1);
  k->causal = ir_attr_int(s->g, v, A_causal, 0) != 0;
  attention_sizes(&d, &p);
  if (!attention_extra(s, v, &d)) {
    sched_refuse(s, v, "a mask over more than one batch axis has no kernel");
    return;
  }
  draft_end(&d);
  if (p.out.buf != p.target.buf) sched_copy(s, v, &p.out, &p.target);
}

/* ---- layernorm, softmax, l2norm ------------------------------------------ */

/* The permutation that makes axis the last one, and its inverse. */
static void axis_last(uint32_t rank, uint32_t axis, int64_t *perm, int64_t *back) {
  uint32_t k = 0;
  for (uint32_t i = 0; i < rank; i++) {
    if (i != axis) perm[k++] = i;
  }
  perm[k] = axis;
  for (uint32_t i = 0; i < rank; i++) back[perm[i]] = i;
}

/* Operand and result with the axis last; the result may become a permuted view
** of a new temporary. */
static RowPlan along_axis(Sched *s, Val v, uint32_t axis) {
  uint32_t rank = ir_type_of(s->g, v)->rank;
  Place x = sched_source(s, ir_in(s->g, v, 0));
  RowPlan p = {0};
  if (axis + 1 == rank) {
    p.x = at_least_matrix(s, x);
    p.out = at_least_matrix(s, sched_dest(s, v));
    return p;
  }
  int64_t perm[VLPC_MAX_RANK], back[VLPC_MAX_RANK];
  axis_last(rank, axis, perm, back);
  p.x = place_permuted(&x, perm);
  Info *in = &s->info[v.i];
  if (in->output || val_ok(in->concat) || in->placed) {
    Place to = sched_dest(s, v);
    p.out = place_permuted(&to, perm);
  } else {
    p.out = temp_like(s, v, &p.x);
    in->place = place_permuted(&p.out, back);
    in->placed = true;
  }
  return p;
}

static Place row_operand(Sched *s, Val v, Val x) {
  Place p = sched_source(s, x);
  return place_is_contiguous(s, &p) ? p : sched_copied(s, v, &p, VLPC_F32);
}

void sched_rows(Sched *s, Val v) {
  const Graph *g = s->g;
  const Type *t = ir_type_of(g, v);
  OpCode op = ir_op(g, v);
  bool soft = op == OP_softmax || op == OP_log_softmax;
  if (t->dtype != VLPC_F32) {
    sched_refuse(s, v, "only f32 has a kernel");
    return;
  }
  uint32_t axis = soft ? (uint32_t)ir_attr_int(g, v, A_axis, t->rank - 1) : t->rank - 1;
  RowPlan p = along_axis(s, v, axis);
  if (!plan_rows(s, v, &p)) return;
  Draft d = draft_begin(s, v, soft ? KK_SOFTMAX : op == OP_l2norm ? KK_L2NORM : KK_LAYERNORM);
  KRows *k = &d.k.rows;
  draft_arg(&d, &p.out);
  draft_arg(&d, &p.x);
  for (uint32_t i = 1; i < ir_n_in(g, v); i++) {
    if (!val_ok(ir_in(g, v, i))) continue;
    Place r = row_operand(s, v, ir_in(g, v, i));
    draft_arg(&d, &r);
    *(i == 1 ? &k->has_gamma : &k->has_beta) = true;
  }
  k->g = draft_size(&d, p.rows.g), k->m = draft_size(&d, p.rows.m);
  k->cols = draft_size(&d, p.x.size[p.x.rank - 1]);
  k->o_g = draft_size(&d, p.rows.g_stride[0]), k->o_m = draft_size(&d, p.rows.m_stride[0]);
  k->x_g = draft_size(&d, p.rows.g_stride[1]), k->x_m = draft_size(&d, p.rows.m_stride[1]);
  k->out = is_bf16(s, &p.out) ? NUM_BF16 : NUM_F32;
  k->eps = (float)ir_attr_float(g, v, A_eps, 0);
  k->log = op == OP_log_softmax;
  draft_end(&d);
  finish_rows(s, v, &p);
}

/* x and dy are rows alike; the result may lie as either does. */
void sched_layernorm_grad(Sched *s, Val v) {
  const Graph *g = s->g;
  RowPlan p = {.has_residual = true};
  p.residual = at_least_matrix(s, sched_source(s, ir_in(g, v, 0)));
  p.x = at_least_matrix(s, sched_source(s, ir_in(g, v, 1)));
  p.out = at_least_matrix(s, sched_dest(s, v));
  if (!plan_rows(s, v, &p)) return;
  Draft d = draft_begin(s, v, KK_LAYERNORM_GRAD);
  KRows *k = &d.k.rows;
  draft_arg(&d, &p.out);
  draft_arg(&d, &p.x);
  draft_arg(&d, &p.residual);
  k->has_dy = true;
  k->has_gamma = ir_n_in(g, v) > 2;
  if (k->has_gamma) {
    Place gamma = row_operand(s, v, ir_in(g, v, 2));
    draft_arg(&d, &gamma);
  }
  k->g = draft_size(&d, p.rows.g), k->m = draft_size(&d, p.rows.m);
  k->cols = draft_size(&d, p.x.size[p.x.rank - 1]);
  k->o_g = draft_size(&d, p.rows.g_stride[0]), k->o_m = draft_size(&d, p.rows.m_stride[0]);
  k->x_g = draft_size(&d, p.rows.g_stride[1]), k->x_m = draft_size(&d, p.rows.m_stride[1]);
  k->dy_g = draft_size(&d, p.rows.g_stride[2]), k->dy_m = draft_size(&d, p.rows.m_stride[2]);
  k->eps = (float)ir_attr_float(g, v, A_eps, 0);
  draft_end(&d);
  finish_rows(s, v, &p);
}

/* ---- scan and top-k ------------------------------------------------------ */

void sched_axis(Sched *s, Val v) {
  const Graph *g = s->g;
  const Type *xt = ir_type_of(g, ir_in(g, v, 0));
  uint32_t axis = (uint32_t)ir_attr_int(g, v, A_axis, 0);
  int64_t perm[VLPC_MAX_RANK], back[VLPC_MAX_RANK], size = 0;
  bool scan = ir_op(g, v) == OP_cumsum;
  if (scan && !dim_is_const(s->dims, xt->dim[axis], &size)) {
    sched_refuse(s, v, "its axis has a run-time size");
    return;
  }
  axis_last(xt->rank, axis, perm, back);
  Place x = sched_source(s, ir_in(g, v, 0)), to = sched_dest(s, v);
  x = place_permuted(&x, perm);
  if (!place_is_contiguous(s, &x)) x = sched_copied(s, v, &x, xt->dtype);
  Place turned = place_permuted(&to, perm), out = turned;
  bool detour = !place_is_contiguous(s, &turned);
  if (detour) out = temp_like(s, v, &turned);
  DimId outer = sched_const(s, 1);
  for (uint32_t i = 0; i + 1 < x.rank && outer != DIM_NONE; i++)
    outer = sched_mul(s, outer, x.size[i]);
  if (outer == DIM_NONE) {
    sched_refuse(s, v, "the number of its rows is not affine in the sizes");
    return;
  }
  Draft d = draft_begin(s, v, scan ? KK_SCAN : KK_TOPK);
  draft_arg(&d, &out);
  draft_arg(&d, &x);
  d.k.axis = (KAxis){.dtype = xt->dtype,
                     .outer = draft_size(&d, outer),
                     .axis = draft_size(&d, xt->dim[axis]),
                     .inner = ksize(1),
                     .k = scan ? 0 : ir_attr_int(g, v, A_k, 1),
                     .exclusive = ir_attr_int(g, v, A_exclusive, 0) != 0,
                     .reverse = ir_attr_int(g, v, A_reverse, 0) != 0,
                     .largest = ir_attr_int(g, v, A_largest, 1) != 0,
                     .want_indices = ir_op(g, v) == OP_topk_indices};
  draft_end(&d);
  if (detour) sched_copy(s, v, &out, &turned);
}
