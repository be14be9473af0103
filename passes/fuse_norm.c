/* SPDX-License-Identifier: Apache-2.0 */
/* fuse_norm.c - layernorm and l2norm from their parts.
**
** LayerNorm comes as (x - mean) / sqrt(mean((x - mean)²) + eps), then · gamma,
** then + beta; each step is taken on its own, so parts may be missing.  The
** norm of a row comes as sqrt of a sum of squares, perhaps held above eps. */
#include "passes/pass_int.h"

static Val with_eps(Graph *g, OpCode op, const Val *in, uint32_t n, double eps) {
  Attr at = attr_float(A_eps, (double)(float)eps);
  return ir_node(g, op, n, in, 1, &at);
}

/* v = n / d written as a quotient or as a product with 1/d. */
static bool quotient(const Graph *g, Val v, Val *n, Val *d) {
  if (m_is(g, v, OP_div)) {
    *n = ir_in(g, v, 0);
    *d = ir_in(g, v, 1);
    return true;
  }
  for (uint32_t i = 0; i < 2 && m_is(g, v, OP_mul); i++) {
    if (!m_is(g, ir_in(g, v, i), OP_recip)) continue;
    *n = ir_in(g, v, 1 - i);
    *d = ir_in(g, ir_in(g, v, i), 0);
    return true;
  }
  return false;
}

static bool is_square_of(const Graph *g, Val v, Val x) {
  return m_is(g, v, OP_mul) && val_eq(ir_in(g, v, 0), x) && val_eq(ir_in(g, v, 1), x);
}

/* ---- layernorm ------------------------------------------------------------ */

const char *match_layernorm(const Graph *g, Val root, Val *x, double *eps) {
  Val dev = VAL_NONE, sd = VAL_NONE, var = VAL_NONE;
  if (!quotient(g, root, &dev, &sd)) return "it is not divided by a deviation";
  if (!m_is(g, dev, OP_sub)) return "the dividend is not x - mean(x)";
  *x = ir_in(g, dev, 0);
  Val mean = ir_in(g, dev, 1);
  if (!m_reduces_last(g, mean, OP_reduce_mean) || !val_eq(ir_in(g, mean, 0), *x))
    return "what is subtracted is not the mean over the last axis";
  if (!m_is(g, sd, OP_sqrt)) return "the divisor is not a square root";
  Val sum = ir_in(g, sd, 0);
  bool has_eps = false;
  for (uint32_t i = 0; i < 2 && m_is(g, sum, OP_add) && !has_eps; i++) {
    has_eps = m_splat(g, ir_in(g, sum, i), eps);
    var = ir_in(g, sum, 1 - i);
  }
  if (!has_eps) return "no constant is added to the variance";
  if (!m_reduces_last(g, var, OP_reduce_mean))
    return "the variance is not a mean over the last axis";
  return is_square_of(g, ir_in(g, var, 0), dev) ? NULL : "the variance is not of x - mean(x)";
}

/* layernorm(x) · gamma and layernorm(x, gamma?) + beta. */
static Val add_affine(Rewrite *rw, Val src, const Val *in) {
  Graph *g = rw->dst;
  bool is_mul = ir_op(rw->src, src) == OP_mul;
  for (uint32_t i = 0; i < 2; i++) {
    Val ln = in[i];
    uint32_t n = m_is(g, ln, OP_layernorm) ? ir_n_in(g, ln) : 0;
    if (n == 0 || n > (is_mul ? 1u : 2u) || !m_sole_use(rw, src, i)) continue;
    Val p = m_vector(g, in[1 - i], m_last_dim(g, ln));
    if (!val_ok(p) || ir_type_of(g, p)->dtype != ir_type_of(g, ln)->dtype) continue;
    Val gamma = is_mul ? p : n == 2 ? ir_in(g, ln, 1) : VAL_NONE;
    Val to[3] = {ir_in(g, ln, 0), gamma, is_mul ? VAL_NONE : p};
    return with_eps(g, OP_layernorm, to, 3, ir_attr_float(g, ln, A_eps, 0));
  }
  return VAL_NONE;
}

Val pass_fuse_layernorm(Rewrite *rw, Val src, const Val *in, uint32_t n_in) {
  (void)n_in;
  OpCode op = ir_op(rw->src, src);
  Val x = VAL_NONE;
  double eps = 0;
  if (op != OP_div && op != OP_mul && op != OP_add) return VAL_NONE;
  if (op != OP_div) {
    Val v = add_affine(rw, src, in);
    if (val_ok(v) || op == OP_add) return v;
  }
  Val root = ir_ew2(rw->dst, op, in[0], in[1]);
  if (match_layernorm(rw->dst, root, &x, &eps) != NULL) return VAL_NONE;
  return with_eps(rw->dst, OP_layernorm, &x, 1, eps);
}

/* ---- l2norm ---------------------------------------------------------------- */

/* max(n, eps), min(max(n, eps), inf); *n becomes the norm. */
static void strip_floor(const Graph *g, Val *n, double *eps) {
  double c = 0;
  *eps = 0;
  if (m_is(g, *n, OP_broadcast)) *n = ir_in(g, *n, 0);
  for (uint32_t i = 0; i < 2 && m_is(g, *n, OP_max); i++)
    if (m_splat(g, ir_in(g, *n, i), &c) && c >= 0) {
      *eps = c;
      *n = ir_in(g, *n, 1 - i);
    }
}

const char *match_l2norm(const Graph *g, Val root, Val *x, double *eps) {
  Val norm = VAL_NONE;
  if (!quotient(g, root, x, &norm)) return "nothing is divided by the norm";
  strip_floor(g, &norm, eps);
  if (!m_is(g, norm, OP_sqrt)) return "the divisor is not the square root of a sum";
  Val sum = ir_in(g, norm, 0);
  if (!m_reduces_last(g, sum, OP_reduce_sum)) return "the sum does not run over the last axis";
  return is_square_of(g, ir_in(g, sum, 0), *x) ? NULL : "the sum is not of the dividend's squares";
}

Val pass_fuse_l2norm(Rewrite *rw, Val src, const Val *in, uint32_t n_in) {
  (void)n_in;
  OpCode op = ir_op(rw->src, src);
  if (op != OP_div && op != OP_mul) return VAL_NONE;
  Val x = VAL_NONE, root = ir_ew2(rw->dst, op, in[0], in[1]);
  double eps = 0;
  if (match_l2norm(rw->dst, root, &x, &eps) != NULL) return VAL_NONE;
  return with_eps(rw->dst, OP_l2norm, &x, 1, eps);
}
