/* SPDX-License-Identifier: Apache-2.0 */
/* fuse_gelu.c - the three GELUs from their parts.
**
** Exporters multiply x, one half and the gate in any order, so the product is
** first taken apart into a number and other factors. */
#include "passes/pass_int.h"

enum { FACTORS = 4 };
typedef struct {
  double c;
  uint32_t n;
  Val at[FACTORS];
} Product;

static bool factors(const Graph *g, Val v, int depth, Product *p) {
  double c = 0;
  if (m_splat(g, v, &c)) {
    p->c *= c;
    return true;
  }
  if (m_is(g, v, OP_mul) && depth > 0)
    return factors(g, ir_in(g, v, 0), depth - 1, p) && factors(g, ir_in(g, v, 1), depth - 1, p);
  if (p->n == FACTORS) return false;
  p->at[p->n++] = v;
  return true;
}

/* The gate 1 + op(u): u, or VAL_NONE. */
static Val gate_of(const Graph *g, Val v, OpCode op) {
  Val other = VAL_NONE;
  if (!m_with_splat(g, v, OP_add, 1, &other) || !m_is(g, other, op)) return VAL_NONE;
  return ir_in(g, other, 0);
}

static bool is_scaled(const Graph *g, Val v, Val x, double c) {
  Val base = VAL_NONE;
  double s = 1;
  m_scaled(g, v, &base, &s);
  return val_eq(base, x) && m_near(s, c, 1e-5);
}

static bool is_cube(const Graph *g, Val v, Val x) {
  if (m_is(g, v, OP_pow)) return val_eq(ir_in(g, v, 0), x) && m_is_splat(g, ir_in(g, v, 1), 3, 0);
  Product p = {.c = 1};
  return factors(g, v, 2, &p) && p.n == 3 && p.c == 1 && val_eq(p.at[0], x) &&
         val_eq(p.at[1], x) && val_eq(p.at[2], x);
}

/* u = sqrt(2/pi) (x + 0.044715 x³) */
static bool is_tanh_argument(const Graph *g, Val u, Val x) {
  Val sum = VAL_NONE, cube = VAL_NONE;
  double c = 1, k = 1;
  m_scaled(g, u, &sum, &c);
  if (!m_is(g, sum, OP_add) || !m_near(c, 0.7978845608028654, 1e-4)) return false;
  for (uint32_t i = 0; i < 2; i++) {
    if (!val_eq(ir_in(g, sum, i), x)) continue;
    m_scaled(g, ir_in(g, sum, 1 - i), &cube, &k);
    return m_near(k, 0.044715, 1e-4) && is_cube(g, cube, x);
  }
  return false;
}

static const char *match_gate(const Graph *g, Val gate, Val x, double c, const char **approx) {
  Val u = gate_of(g, gate, OP_erf);
  if (val_ok(u)) {
    *approx = "erf";
    if (!m_near(c, 0.5, 1e-5)) return "the product with 1 + erf is not halved";
    return is_scaled(g, u, x, 0.7071067811865476) ? NULL : "erf is not taken of x / sqrt(2)";
  }
  u = gate_of(g, gate, OP_tanh);
  if (val_ok(u)) {
    *approx = "tanh";
    if (!m_near(c, 0.5, 1e-5)) return "the product with 1 + tanh is not halved";
    return is_tanh_argument(g, u, x) ? NULL : "tanh is not taken of GELU's polynomial of x";
  }
  if (!m_is(g, gate, OP_sigmoid)) return "neither factor is a gate of x";
  *approx = "quick";
  if (!m_near(c, 1, 1e-6)) return "x sigmoid(1.702 x) is scaled";
  return is_scaled(g, ir_in(g, gate, 0), x, 1.702) ? NULL : "sigmoid is not taken of 1.702 x";
}

static bool is_gate(const Graph *g, Val v) {
  return m_is(g, v, OP_sigmoid) || val_ok(gate_of(g, v, OP_erf)) || val_ok(gate_of(g, v, OP_tanh));
}

const char *match_gelu(const Graph *g, Val root, Val *x, const char **approx) {
  Product p = {.c = 1};
  if (!m_is(g, root, OP_mul)) return "it is not a product";
  /* x itself may be a product of a number: keep the shallowest reading */
  for (int depth = 1; depth <= 3; depth++) {
    p = (Product){.c = 1};
    if (!factors(g, root, depth, &p) || p.n != 2) continue;
    uint32_t k = is_gate(g, p.at[0]) ? 0 : 1;
    *x = p.at[1 - k];
    const char *why = match_gate(g, p.at[k], *x, p.c, approx);
    if (why == NULL || depth == 3) return why;
  }
  return "it is not a product of x and a gate";
}

Val pass_fuse_gelu(Rewrite *rw, Val src, const Val *in, uint32_t n_in) {
  (void)n_in;
  if (ir_op(rw->src, src) != OP_mul) return VAL_NONE;
  Val x = VAL_NONE, root = ir_ew2(rw->dst, OP_mul, in[0], in[1]);
  const char *approx = NULL;
  if (!dtype_is_float(ir_type_of(rw->dst, root)->dtype)) return VAL_NONE;
  if (match_gelu(rw->dst, root, &x, &approx) != NULL) return VAL_NONE;
  Attr at = attr_str(A_approx, approx);
  return ir_node(rw->dst, OP_gelu, 1, &x, 1, &at);
}
