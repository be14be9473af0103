/* SPDX-License-Identifier: Apache-2.0 */
/* sched_grad.c - attention's gradients: the nodes of one attention become one
** step.
**
** in:      attention_grad nodes, equal but for the operand that they are of
** out:     one KK_ATTENTION_GRAD step where the first of them stands; each node's
**          value is a part of its result, summed over the batch for an operand
**          that has one entry for all; over runs of rows the parts are columns, and
**          lie in a concat when it is made of them
** The kernel computes probabilities anew, so nobody needs the lse (sched.c does
** not mark it). */
#include "passes/sched_int.h"
#include "passes/sched_nest.h"

#include <string.h>

static bool fixed(const Graph *g, Val v, int axis, int64_t most, int64_t *out) {
  return ir_size_const(g, v, axis, out) && *out >= 1 && *out <= most;
}

static bool is_varlen(const Graph *g, Val v) {
  return ir_op(g, v) == OP_attention_varlen_grad;
}

static bool varlen_has_kernel(const Graph *g, Val v) {
  int64_t most = 4096 * ir_attr_int(g, v, A_heads, 1), width = 0, width_v = 0;
  return ir_type_of(g, v)->dtype == VLPC_F32 && most <= 4096 * 4096 &&
         fixed(g, ir_in(g, v, 3), -1, most, &width) &&
         fixed(g, ir_in(g, v, 5), -1, most, &width_v) && width == width_v;
}

bool sched_grad_has_kernel(const Graph *g, Val v) {
  if (is_varlen(g, v)) return varlen_has_kernel(g, v);
  uint32_t n = ir_n_in(g, v) - 3;
  int64_t lq = 0, width = 0, width_v = 0, keys = 0, rows = 0;
  const Type *t = ir_type_of(g, ir_in(g, v, 0));
  int64_t heads = ir_attr_int(g, v, A_heads, 1);
  if (t->dtype != VLPC_F32 || t->rank > 3 || attention_masked(n) || heads > 4096) return false;
  if (!fixed(g, ir_in(g, v, 3), -2, ATTENTION_GRAD_ROWS, &lq)) return false;
  if (!fixed(g, ir_in(g, v, 3), -1, heads * 4096, &width)) return false;
  if (!fixed(g, ir_in(g, v, 5), -1, heads * 4096, &width_v) || width != width_v) return false;
  for (uint32_t s = 0; s < attention_segments(n); s++, keys += rows)
    if (!fixed(g, ir_in(g, v, 4 + 2 * s), -2, ATTENTION_GRAD_ROWS, &rows)) return false;
  return keys <= ATTENTION_GRAD_ROWS;
}

/* ---- the group ----------------------------------------------------------- */

typedef struct {
  uint32_t n; /* operands of the attention */
  Val of[1 + 2 * ATTENTION_SEGMENTS]; /* the node for each; VAL_NONE: not wanted */
} Group;

static bool same_attention(const Graph *g, Val a, Val b) {
  bool same = ir_op(g, b) == ir_op(g, a) && ir_n_in(g, a) == ir_n_in(g, b);
  for (uint32_t i = 0; same && i < ir_n_in(g, a); i++)
    same = val_eq(ir_in(g, a, i), ir_in(g, b, i));
  return same && ir_attr_int(g, a, A_heads, 1) == ir_attr_int(g, b, A_heads, 1) &&
         ir_attr_int(g, a, A_causal, 0) == ir_attr_int(g, b, A_causal, 0) &&
         ir_attr_float(g, a, A_scale, 1) == ir_attr_float(g, b, A_scale, 1);
}

static Group group_of(const Sched *s, Val v) {
  Group group = {.n = is_varlen(s->g, v) ? 3 : ir_n_in(s->g, v) - 3};
  for (uint32_t i = v.i; i <= ir_n_vals(s->g); i++) {
    Val w = {i};
    const Info *in = &s->info[i];
    if (!in->needed || in->at_compile || in->given || !same_attention(s->g, v, w)) continue;
    group.of[ir_attr_int(s->g, w, A_operand, 0)] = w;
  }
  return group;
}

/* ---- the step ------------------------------------------------------------ */

static void fill_sizes(Draft *d, Val v, const Group *group, const Heads *h) {
  KAttentionGrad *k = &d->k.attention_grad;
  const Graph *g = d->s->g;
  int64_t width = 0;
  k->batch = draft_size(d, h[0].batch);
  k->heads = ir_attr_int(g, v, A_heads, 1);
  k->scale = (float)ir_attr_float(g, v, A_scale, 1);
  k->causal = ir_attr_int(g, v, A_causal, 0) != 0;
  VL_CHECK(ir_size_const(g, ir_in(g, v, 3), -2, &k->lq) &&
               ir_size_const(g, ir_in(g, v, 3), -1, &width), "sched_grad_has_kernel");
  k->d = width / k->heads;
  k->n_segments = attention_segments(group->n);
  for (uint32_t i = 0; i < group->n; i++) k->want |= (uint32_t)val_ok(group->of[i]) << i;
  k->dy_b = draft_size(d, h[0].b_stride), k->dy_r = draft_size(d, h[0].r_stride);
  k->y_b = draft_size(d, h[1].b_stride), k->y_r = draft_size(d, h[1].r_stride);
  k->q_b = draft_size(d, h[2].b_stride), k->q_r = draft_size(d, h[2].r_stride);
  for (uint32_t i = 0; i < k->n_segments; i++) {
    KGradSegment *t = &k->segment[i];
    const Heads *key = &h[3 + 2 * i], *value = key + 1;
    VL_CHECK(ir_size_const(g, ir_in(g, v, 4 + 2 * i), -2, &t->n), "sched_grad_has_kernel");
    t->k_b = draft_size(d, key->b_stride), t->k_r = draft_size(d, key->r_stride);
    t->v_b = draft_size(d, value->b_stride), t->v_r = draft_size(d, value->r_stride);
  }
}

/* All parts, [batch, rows, width]. */
static Place result_place(Sched *s, const KAttentionGrad *k, DimId batch) {
  Type t = {.dtype = VLPC_F32, .rank = 3, .dim = {batch}};
  t.dim[1] = sched_const(s, kgrad_rows(k, 1 + 2 * k->n_segments));
  t.dim[2] = sched_const(s, k->heads * k->d);
  return place_contiguous(s, sched_temp(s, &t), &t);
}

/* ---- the parts ----------------------------------------------------------- */

/* part [batch, rows, width] summed over the batch, in its order. */
static void sum_batch(Sched *s, Val v, const Place *part) {
  Place to = sched_dest(s, v);
  Nest *n = nest_begin(s, v);
  AxisMap from = {{2, 0, 1}}, out;
  memset(&out, -1, sizeof out);
  (void)nest_axis(n, part->size[1]);
  (void)nest_axis(n, part->size[2]);
  (void)nest_axis(n, part->size[0]);
  n->n_reduce = 1;
  n->reduce = KR_SUM;
  out.axis[to.rank - 2] = 0, out.axis[to.rank - 1] = 1;
  NestAccess x = nest_access(n, part, &from), store = nest_access(n, &to, &out);
  nest_load(n, VLPC_F32, &x);
  nest_end(n, &store);
}

/* The node's value: a view of its part, or a step that takes it elsewhere. */
static void place_part(Sched *s, Val v, Place part) {
  const Type *t = ir_type_of(s->g, v);
  Info *in = &s->info[v.i];
  if (t->rank == 3 && t->dim[0] != part.size[0]) {
    sum_batch(s, v, &part);
    return;
  }
  if (t->rank == 2 && part.rank == 3) {
    part.size[0] = part.size[1], part.size[1] = part.size[2];
    part.stride[0] = part.stride[1], part.stride[1] = part.stride[2];
    part.rank = 2;
  }
  if (in->output || val_ok(in->concat)) {
    Place to = sched_dest(s, v);
    sched_copy(s, v, &part, &to);
    return;
  }
  in->place = part;
  in->placed = true;
}

/* ---- over runs ----------------------------------------------------------- */

static void fill_runs(Draft *d, Val v, const Group *group, const Place *rows, DimId runs) {
  KAttentionGrad *k = &d->k.attention_grad;
  const Graph *g = d->s->g;
  int64_t width = 0;
  VL_CHECK(ir_size_const(g, ir_in(g, v, 3), -1, &width), "sched_grad_has_kernel");
  k->varlen = true;
  k->heads = ir_attr_int(g, v, A_heads, 1);
  k->d = width / k->heads;
  k->scale = (float)ir_attr_float(g, v, A_scale, 1);
  k->n_segments = 1;
  k->lq = k->segment[0].n = ATTENTION_GRAD_ROWS;
  for (uint32_t i = 0; i < group->n; i++) k->want |= (uint32_t)val_ok(group->of[i]) << i;
  k->batch = draft_size(d, runs);
  k->rows = draft_size(d, rows[0].size[0]);
  k->dy_b = k->y_b = k->q_b = k->segment[0].k_b = k->segment[0].v_b = ksize(0);
  KSize *stride[] = {&k->dy_r, &k->y_r, &k->q_r, &k->segment[0].k_r, &k->segment[0].v_r};
  for (uint32_t i = 0; i < VL_COUNT(stride); i++)
    *stride[i] = draft_size(d, rows[i].stride[0]);
}

/* [rows, columns], columns side by side. */
static Place with_columns(Sched *s, Val x) {
  Place p = sched_source(s, x);
  if (p.stride[1] != sched_const(s, 1)) p = sched_copied(s, x, &p, VLPC_F32);
  return p;
}

/* The wanted parts are what one concat's columns are made of, side by side. */
static bool in_one_concat(Sched *s, const Group *group, Place *out) {
  DimId at = DIM_NONE;
  Val concat = VAL_NONE;
  for (uint32_t i = 0; i < group->n; i++) {
    if (!val_ok(group->of[i])) continue;
    const Info *in = &s->info[group->of[i].i];
    if (!val_ok(in->concat) || in->output || ir_attr_int(s->g, in->concat, A_axis, 0) != 1)
      return false;
    if (val_ok(concat) && (!val_eq(in->concat, concat) || in->concat_at != at)) return false;
    at = dim_add(s->dims, in->concat_at, ir_type_of(s->g, group->of[i])->dim[1]);
    if (!val_ok(concat)) *out = sched_dest(s, group->of[i]);
    concat = in->concat;
  }
  return out->stride[1] == sched_const(s, 1);
}

static void grad_of_runs(Sched *s, Val v, const Group *group) {
  const Graph *g = s->g;
  uint32_t wanted = 0;
  Place in[5], all = {0}, bounds = sched_source(s, ir_in(g, v, 6));
  for (uint32_t i = 0; i < 5; i++) in[i] = with_columns(s, ir_in(g, v, i < 2 ? i : i + 1));
  if (!place_is_contiguous(s, &bounds)) bounds = sched_copied(s, v, &bounds, VLPC_I64);
  bool is_there = in_one_concat(s, group, &all);
  for (uint32_t i = 0; i < group->n; i++) wanted += val_ok(group->of[i]);
  if (!is_there) {
    Type t = *ir_type_of(g, v);
    t.dim[1] = sched_mul(s, t.dim[1], sched_const(s, wanted));
    all = place_contiguous(s, sched_temp(s, &t), &t);
  }
  Draft d = draft_begin(s, v, KK_ATTENTION_GRAD);
  draft_arg(&d, &all);
  for (uint32_t i = 0; i < 5; i++) draft_arg(&d, &in[i]);
  draft_arg(&d, &bounds);
  fill_runs(&d, v, group, in, sched_add(s, bounds.size[0], sched_const(s, -1)));
  d.k.attention_grad.o_r = draft_size(&d, all.stride[0]);
  draft_end(&d);
  DimId at = sched_const(s, 0);
  for (uint32_t i = 0; i < group->n; i++) {
    Place part;
    if (!val_ok(group->of[i])) continue;
    DimId width = ir_type_of(g, group->of[i])->dim[1];
    VL_CHECK(place_shifted(s, &all, 1, at, &part), "a column's place");
    part.size[1] = width;
    at = dim_add(s->dims, at, width);
    s->info[group->of[i].i].placed = true;
    if (is_there) s->info[group->of[i].i].place = part;
    else place_part(s, group->of[i], part);
  }
}

void sched_attention_grad(Sched *s, Val v) {
  if (s->info[v.i].placed) return; /* with the first of its group */
  Group group = group_of(s, v);
  if (is_varlen(s->g, v)) {
    grad_of_runs(s, v, &group);
    return;
  }
  Type whole = *ir_type_of(s->g, ir_in(s->g, v, 0));
  Place in[3 + 2 * ATTENTION_SEGMENTS];
  Heads heads[3 + 2 * ATTENTION_SEGMENTS];
  bool ready = true;
  for (uint32_t i = 0; i < group.n + 2; i++) { /* dy, y, then past the lse */
    Val x = ir_in(s->g, v, i < 2 ? i : i + 1);
    ready = sched_heads(s, v, &whole, x, &in[i], &heads[i]) && ready;
  }
  if (!ready) {
    sched_refuse(s, v, "the size of its batch is not affine in the sizes");
    return;
  }
  Draft d = draft_begin(s, v, KK_ATTENTION_GRAD);
  fill_sizes(&d, v, &group, heads);
  KAttentionGrad k = d.k.attention_grad;
  Place all = result_place(s, &k, heads[0].batch);
  draft_arg(&d, &all);
  for (uint32_t i = 0; i < group.n + 2; i++) draft_arg(&d, &in[i]);
  draft_end(&d);
  for (uint32_t i = 0; i < group.n; i++) {
    Place part;
    if (!val_ok(group.of[i])) continue;
    VL_CHECK(place_shifted(s, &all, 1, sched_const(s, kgrad_rows(&k, i)), &part), "a row's place");
    part.size[1] = sched_const(s, kgrad_rows(&k, i + 1) - kgrad_rows(&k, i));
    place_part(s, group.of[i], part);
  }
}
