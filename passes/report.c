/* SPDX-License-Identifier: Apache-2.0 */
/* report.c - what was recognised, and what looks as if it should have been.
**
** The matchers of the passes are asked again about leftovers, so the reason
** given is the first thing that did not fit. */
#include "passes/pass_int.h"

#include <string.h>

#include "base/vec.h"

static const struct {
  const char *name;
  OpCode op;
} kinds[FUSE__COUNT] = {
    [FUSE_attention] = {"attention", OP_attention},
    [FUSE_layernorm] = {"layernorm", OP_layernorm},
    [FUSE_gelu] = {"gelu", OP_gelu},
    [FUSE_linear] = {"linear", OP_linear},
    [FUSE_embedding] = {"embedding", OP_embedding},
    [FUSE_patch_embed] = {"patch_embed", OP_patch_embed},
    [FUSE_l2norm] = {"l2norm", OP_l2norm},
};

const char *fuse_name(FuseKind k) { return kinds[k].name; }

bool fuse_find(const char *name, size_t n, FuseKind *out) {
  for (int k = 0; k < FUSE__COUNT; k++) {
    if (strlen(kinds[k].name) != n || memcmp(kinds[k].name, name, n) != 0) continue;
    *out = (FuseKind)k;
    return true;
  }
  return false;
}

/* ---- leftovers ---------------------------------------------------------------------- */

typedef struct {
  Graph *g; /* a copy: matchers build operands in it */
  Arena *a;
  uint32_t n; /* values */
  Val *user;  /* by value: one of its readers */
  VEC(FuseMiss) miss;
} Look;

static void add_miss(Look *l, FuseKind k, Val v, const char *reason) {
  *vec_push(l->a, &l->miss) = (FuseMiss){k, v, ir_at(l->g, ir_loc(l->g, v)), reason};
}

/* Whether the value reaches op through readers of these ops, and where. */
static Val reach(const Look *l, Val v, OpCode op, const OpCode *through, uint32_t n) {
  v = l->user[v.i];
  for (int step = 0; val_ok(v) && !m_is(l->g, v, op); step++, v = l->user[v.i]) {
    bool may_pass = false;
    for (uint32_t i = 0; i < n; i++) may_pass = may_pass || m_is(l->g, v, through[i]);
    if (!may_pass || step == CHAIN_MAX) return VAL_NONE;
  }
  return v;
}

/* A softmax whose result is multiplied with something is an attention. */
static void look_at_softmax(Look *l, Val v) {
  static const OpCode through[] = {OP_where, OP_isnan, OP_cast, OP_reshape, OP_permute, OP_mul};
  Val root = reach(l, v, OP_matmul, through, VL_COUNT(through));
  if (!val_ok(root)) return;
  Attention m;
  const char *why = match_attention(l->g, ir_in(l->g, root, 0), ir_in(l->g, root, 1), &m);
  add_miss(l, FUSE_attention, v, why != NULL ? why : "recognition was left out");
}

/* erf, tanh or sigmoid that ends in a product. */
static void look_at_gate(Look *l, Val v) {
  static const OpCode through[] = {OP_add, OP_div};
  Val root = reach(l, v, OP_mul, through, VL_COUNT(through)), x = VAL_NONE;
  const char *approx = NULL, *why = "it does not end in a product";
  bool is_sigmoid = m_is(l->g, v, OP_sigmoid) || m_is(l->g, v, OP_tanh);
  if (!val_ok(root) && is_sigmoid) return;
  for (int i = 0; i < 3 && m_is(l->g, root, OP_mul) && why != NULL; i++, root = l->user[root.i])
    why = match_gelu(l->g, root, &x, &approx);
  add_miss(l, FUSE_gelu, v, why != NULL ? why : "recognition was left out");
}

/* A mean over the last axis whose operand loses it, and is divided. */
static void look_at_mean(Look *l, Val v) {
  static const OpCode through[] = {OP_sub};
  if (!m_reduces_last(l->g, v, OP_reduce_mean) || !m_is(l->g, l->user[v.i], OP_sub)) return;
  Val root = reach(l, v, OP_div, through, VL_COUNT(through)), x = VAL_NONE;
  double eps = 0;
  const char *why = val_ok(root) ? match_layernorm(l->g, root, &x, &eps)
                                 : "x - mean(x) is not divided by a deviation";
  add_miss(l, FUSE_layernorm, v, why != NULL ? why : "recognition was left out");
}

static void look_at_sum(Look *l, Val v) {
  static const OpCode through[] = {OP_sqrt, OP_max, OP_broadcast, OP_recip};
  Val root = reach(l, v, OP_div, through, VL_COUNT(through)), x = VAL_NONE;
  double eps = 0;
  if (!val_ok(root)) return;
  const char *why = match_l2norm(l->g, root, &x, &eps);
  add_miss(l, FUSE_l2norm, v, why != NULL ? why : "recognition was left out");
}

static void look_at_matmul(Look *l, Val v) {
  bool has_weight = m_const(l->g, ir_in(l->g, v, 1)) || m_const(l->g, ir_in(l->g, v, 0));
  if (!has_weight) return;
  add_miss(l, FUSE_linear, v,
           m_const(l->g, ir_in(l->g, v, 0)) ? "the weights stand on the left"
           : ir_type_of(l->g, ir_in(l->g, v, 1))->rank != 2 ? "the weights are not a matrix"
                                                            : "recognition was left out");
}

static void look_at(Look *l, Val v) {
  switch ((int)ir_op(l->g, v)) {
  case OP_softmax: look_at_softmax(l, v); break;
  case OP_erf:
  case OP_tanh:
  case OP_sigmoid: look_at_gate(l, v); break;
  case OP_reduce_mean: look_at_mean(l, v); break;
  case OP_reduce_sum: look_at_sum(l, v); break;
  case OP_matmul: look_at_matmul(l, v); break;
  case OP_conv:
    add_miss(l, FUSE_patch_embed, v, "its kernel and stride differ, or it is padded");
    break;
  default: break;
  }
}

FuseReport pass_report(const Graph *g, Arena *a) {
  FuseReport r = {0};
  Look l = {.g = ir_rewrite(g, a, NULL, NULL, NULL), .a = a};
  l.n = ir_n_vals(l.g);
  l.user = arena_array(a, Val, l.n + 1);
  for (uint32_t i = l.n; i > 0; i--) {
    Val v = {i};
    for (int k = 0; k < FUSE__COUNT; k++) r.n[k] += kinds[k].op == ir_op(l.g, v);
    for (uint32_t k = 0; k < ir_n_in(l.g, v); k++) l.user[ir_in(l.g, v, k).i] = v;
  }
  for (uint32_t i = 1; i <= l.n; i++) look_at(&l, (Val){i});
  r.n_miss = l.miss.n;
  r.miss = l.miss.at;
  return r;
}

/* ---- saying it ------------------------------------------------------------------------- */

static uint32_t misses_of(const FuseReport *r, FuseKind k) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < r->n_miss; i++) n += r->miss[i].kind == k;
  return n;
}

void pass_report_text(const FuseReport *r, Str *out) {
  const char *comma = "fused: ";
  for (int k = 0; k < FUSE__COUNT; k++) {
    uint32_t all = r->n[k] + misses_of(r, (FuseKind)k);
    if (all == 0) continue;
    str_printf(out, "%s%s %u/%u", comma, kinds[k].name, r->n[k], all);
    comma = ", ";
  }
  str_add(out, "\n");
  for (uint32_t i = 0; i < r->n_miss; i++) {
    const FuseMiss *m = &r->miss[i];
    str_printf(out, "not fused: %s at %s: %s\n", kinds[m->kind].name,
               m->at.place != NULL ? m->at.place : "a node without a name", m->reason);
  }
}

VlStatus pass_require(const FuseReport *r, uint32_t set, Diag *d) {
  VlStatus s = VLPC_OK;
  for (uint32_t i = 0; i < r->n_miss; i++) {
    const FuseMiss *m = &r->miss[i];
    if ((set >> m->kind & 1) == 0) continue;
    s = diag_error(d, DIAG_NOT_FUSED, m->at, "this looks like %s but was not fused",
                   kinds[m->kind].name);
    diag_found(d, "%s", m->reason);
    diag_fix(d, "compile without --require-fused=%s: the model runs, only slower there",
             kinds[m->kind].name);
  }
  return s;
}

VlStatus pass_require_parse(const char *text, Diag *d, uint32_t *set) {
  *set = 0;
  for (const char *p = text; *p != 0;) {
    size_t n = strcspn(p, ",");
    FuseKind k = FUSE__COUNT;
    if (!fuse_find(p, n, &k)) {
      VlStatus s = diag_error(d, DIAG_FUSE_WORD, DIAG_NOWHERE, "'%.*s' is nothing that is fused",
                              (int)n, p);
      diag_expected(d, "attention, layernorm, gelu, linear, embedding, patch_embed or l2norm");
      return s;
    }
    *set |= 1u << k;
    p += n + (p[n] == ',');
  }
  return VLPC_OK;
}
