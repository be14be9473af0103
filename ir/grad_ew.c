/* SPDX-License-Identifier: Apache-2.0 */
/* grad_ew.c - gradients of elementwise ops.
**
** y is the node itself, so that exp, tanh and their like use the result.  At a
** kink: abs, relu give 0; equal operands of min and max share dy in halves; pow
** takes the limits that make x^0 and 0^x flat. */
#include <math.h>

#include "ir/ir_int.h"
#include "ir/words.h"

static Val in(const GradCtx *c, uint32_t i) { return ir_in(c->g, c->v, i); }

/* ---- one operand --------------------------------------------------------- */

Val grad_neg(const GradCtx *c) { return w_ew1(c->g, OP_neg, c->dy); }

Val grad_abs(const GradCtx *c) {
  return w_ew2(c->g, OP_mul, c->dy, w_ew1(c->g, OP_sign, in(c, 0)));
}

Val grad_exp(const GradCtx *c) { return w_ew2(c->g, OP_mul, c->dy, c->v); }

Val grad_log(const GradCtx *c) { return w_ew2(c->g, OP_div, c->dy, in(c, 0)); }

Val grad_sqrt(const GradCtx *c) {
  return w_ew2(c->g, OP_div, w_with(c->g, OP_mul, c->dy, 0.5), c->v);
}

Val grad_recip(const GradCtx *c) {
  Val square = w_ew2(c->g, OP_mul, c->v, c->v);
  return w_ew1(c->g, OP_neg, w_ew2(c->g, OP_mul, c->dy, square));
}

/* 2/√π · exp(-x²) */
Val grad_erf(const GradCtx *c) {
  Val square = w_ew2(c->g, OP_mul, in(c, 0), in(c, 0));
  Val bell = w_ew1(c->g, OP_exp, w_ew1(c->g, OP_neg, square));
  return w_ew2(c->g, OP_mul, c->dy, w_with(c->g, OP_mul, bell, 2 / sqrt(acos(-1.0))));
}

Val grad_tanh(const GradCtx *c) {
  Val square = w_ew2(c->g, OP_mul, c->v, c->v);
  return w_ew2(c->g, OP_mul, c->dy, w_from(c->g, OP_sub, 1, square));
}

Val grad_sigmoid(const GradCtx *c) {
  Val slope = w_ew2(c->g, OP_mul, c->v, w_from(c->g, OP_sub, 1, c->v));
  return w_ew2(c->g, OP_mul, c->dy, slope);
}

static Val where_else_zero(const GradCtx *c, Val cond, Val a) {
  return w_where(c->g, cond, a, ir_scalar(c->g, ir_type_of(c->g, c->dy)->dtype, 0));
}

Val grad_relu(const GradCtx *c) {
  return where_else_zero(c, w_from(c->g, OP_lt, 0, in(c, 0)), c->dy);
}

Val grad_cast(const GradCtx *c) {
  return w_cast(c->g, c->dy, ir_type_of(c->g, in(c, 0))->dtype);
}

/* ---- two operands -------------------------------------------------------- */

Val grad_add(const GradCtx *c) { return c->dy; }

Val grad_sub(const GradCtx *c) { return c->i == 0 ? c->dy : grad_neg(c); }

Val grad_mul(const GradCtx *c) { return w_ew2(c->g, OP_mul, c->dy, in(c, 1 - c->i)); }

Val grad_div(const GradCtx *c) {
  Val over = w_ew2(c->g, OP_div, c->dy, in(c, 1));
  if (c->i == 0) return over;
  return w_ew1(c->g, OP_neg, w_ew2(c->g, OP_mul, over, c->v));
}

/* a - b·floor(a/b) */
Val grad_mod(const GradCtx *c) {
  if (c->i == 0) return c->dy;
  Val times = w_ew1(c->g, OP_floor, w_ew2(c->g, OP_div, in(c, 0), in(c, 1)));
  return w_ew1(c->g, OP_neg, w_ew2(c->g, OP_mul, c->dy, times));
}

/* a - b·trunc(a/b) */
Val grad_fmod(const GradCtx *c) {
  if (c->i == 0) return c->dy;
  Val ratio = w_ew2(c->g, OP_div, in(c, 0), in(c, 1));
  Val whole = w_ew1(c->g, OP_floor, w_ew1(c->g, OP_abs, ratio));
  Val times = w_ew2(c->g, OP_mul, whole, w_ew1(c->g, OP_sign, ratio));
  return w_ew1(c->g, OP_neg, w_ew2(c->g, OP_mul, c->dy, times));
}

/* b·a^(b-1), and 0 where b is 0. */
static Val grad_base(const GradCtx *c) {
  Val lower = w_ew2(c->g, OP_pow, in(c, 0), w_with(c->g, OP_sub, in(c, 1), 1));
  Val slope = w_ew2(c->g, OP_mul, w_ew2(c->g, OP_mul, c->dy, in(c, 1)), lower);
  double b = 0;
  if (ir_is_splat(c->g, in(c, 1), &b) && b != 0) return slope;
  Val flat = w_with(c->g, OP_eq, in(c, 1), 0);
  return w_where(c->g, flat, ir_scalar(c->g, ir_type_of(c->g, c->dy)->dtype, 0), slope);
}

/* y·log a, and 0 where a is 0. */
static Val grad_exponent(const GradCtx *c) {
  Val flat = w_with(c->g, OP_eq, in(c, 0), 0);
  Val one = ir_scalar(c->g, ir_type_of(c->g, c->dy)->dtype, 1);
  Val log = w_ew1(c->g, OP_log, w_where(c->g, flat, one, in(c, 0)));
  return w_ew2(c->g, OP_mul, w_ew2(c->g, OP_mul, c->dy, c->v), log);
}

Val grad_pow(const GradCtx *c) { return c->i == 0 ? grad_base(c) : grad_exponent(c); }

Val grad_extreme(const GradCtx *c) {
  Val mine = in(c, c->i), other = in(c, 1 - c->i);
  bool greatest = ir_op(c->g, c->v) == OP_max;
  Val wins = w_ew2(c->g, OP_lt, greatest ? other : mine, greatest ? mine : other);
  Val half = w_with(c->g, OP_mul, c->dy, 0.5);
  return w_where(c->g, wins, c->dy, where_else_zero(c, w_ew2(c->g, OP_eq, mine, other), half));
}

Val grad_where(const GradCtx *c) {
  Val zero = ir_scalar(c->g, ir_type_of(c->g, c->dy)->dtype, 0);
  return c->i == 1 ? w_where(c->g, in(c, 0), c->dy, zero) : w_where(c->g, in(c, 0), zero, c->dy);
}
