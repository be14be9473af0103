/* SPDX-License-Identifier: Apache-2.0 */
/* op_ew.c - elementwise ops.  The kernels are the expressions of ops.def, once
** over double and once over integers.
**
** Integers are computed in 128 bits and wrap to their type, so every sum and
** product of two int64 is exact before the wrap and nothing traps.  u64 values
** are read as int64.  relu, min and max give NaN when an operand is NaN. */
#include <math.h>

#include "ir/ir_int.h"

__extension__ typedef __int128 Wide;

/* ---- the expressions over double ----------------------------------------- */

static double least(double a, double b) { return a != a || b != b ? a + b : a < b ? a : b; }
static double greatest(double a, double b) { return a != a || b != b ? a + b : a > b ? a : b; }

static double floor_mod(double a, double b) {
  double r = fmod(a, b);
  if (r == 0) return copysign(0, b);
  return (r < 0) != (b < 0) ? r + b : r;
}

#define V_ABS(x) fabs(x)
#define V_EXP(x) exp(x)
#define V_LOG(x) log(x)
#define V_SQRT(x) sqrt(x)
#define V_ERF(x) erf(x)
#define V_TANH(x) tanh(x)
#define V_RELU(x) ((x) < 0 ? 0 : (x))
#define V_FLOOR(x) floor(x)
#define V_CEIL(x) ceil(x)
#define V_ROUND(x) nearbyint(x)
#define V_DIV(x, y) ((x) / (y))
#define V_MOD(x, y) floor_mod(x, y)
#define V_FMOD(x, y) fmod(x, y)
#define V_POW(x, y) pow(x, y)
#define V_MIN(x, y) least(x, y)
#define V_MAX(x, y) greatest(x, y)

#define OP(id, ...)
#define EW1(id, expr, grad, flags) \
  static double f_##id(double a, double b) { \
    (void)b; \
    return expr; \
  }
#define EW2(id, expr, grad, flags) \
  static double f_##id(double a, double b) { return expr; }
#include "ir/ops.def"

#undef V_ABS
#undef V_EXP
#undef V_LOG
#undef V_SQRT
#undef V_ERF
#undef V_TANH
#undef V_RELU
#undef V_FLOOR
#undef V_CEIL
#undef V_ROUND
#undef V_DIV
#undef V_MOD
#undef V_FMOD
#undef V_POW
#undef V_MIN
#undef V_MAX

/* ---- the expressions over integers --------------------------------------- */

static Wide wide_mod(Wide a, Wide b) {
  if (b == 0) return 0;
  Wide r = a % b;
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

/* Modulo 2^64; a negative power of anything but 1 and -1 is 0. */
static Wide wide_pow(Wide a, Wide b) {
  if (b < 0) return a == 1 || (a == -1 && b % 2 == 0) ? 1 : a == -1 ? -1 : 0;
  uint64_t base = (uint64_t)a, r = 1;
  for (uint64_t e = (uint64_t)b; e != 0; e >>= 1) {
    if (e & 1) r *= base;
    base *= base;
  }
  return (int64_t)r;
}

#define V_ABS(x) ((x) < 0 ? -(x) : (x))
#define V_EXP(x) ((x) * 0) /* float only: the table's flags keep integers out */
#define V_LOG(x) V_EXP(x)
#define V_SQRT(x) V_EXP(x)
#define V_ERF(x) V_EXP(x)
#define V_TANH(x) V_EXP(x)
#define V_RELU(x) ((x) < 0 ? 0 : (x))
#define V_FLOOR(x) (x)
#define V_CEIL(x) (x)
#define V_ROUND(x) (x)
#define V_DIV(x, y) ((y) == 0 ? 0 : (x) / (y))
#define V_MOD(x, y) wide_mod(x, y)
#define V_FMOD(x, y) ((y) == 0 ? 0 : (x) % (y))
#define V_POW(x, y) wide_pow(x, y)
#define V_MIN(x, y) ((x) < (y) ? (x) : (y))
#define V_MAX(x, y) ((x) > (y) ? (x) : (y))

#define OP(id, ...)
#define EW1(id, expr, grad, flags) \
  static Wide i_##id(Wide a, Wide b) { \
    (void)b; \
    return expr; \
  }
#define EW2(id, expr, grad, flags) \
  static Wide i_##id(Wide a, Wide b) { return expr; }
/* isnan is a != a, which no integer is. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wtautological-compare"
#include "ir/ops.def"
#pragma GCC diagnostic pop

typedef struct {
  double (*f)(double, double);
  Wide (*i)(Wide, Wide); /* NULL: float only */
} EwFns;

static const EwFns ew_fns[OP__COUNT] = {
#define OP(id, ...)
#define EW1(id, expr, grad, flags) [OP_##id] = {f_##id, (flags) & F_FLOAT_IN ? NULL : i_##id},
#define EW2(id, expr, grad, flags) EW1(id, expr, grad, flags)
#include "ir/ops.def"
};

/* ---- rules --------------------------------------------------------------- */

static bool check_kind(Infer *x, uint32_t i, uint32_t flags) {
  if (flags & F_FLOAT_IN) return infer_float(x, i);
  if (flags & F_BOOL_IN) return infer_bool(x, i);
  return (flags & F_BOOL_OUT) || infer_number(x, i);
}

bool shape_ew(Infer *x) {
  uint32_t flags = op_info(x->op)->flags;
  if (!check_kind(x, 0, flags)) return false;
  x->out = *infer_type(x, 0);
  if (x->n_in == 2) {
    if (!infer_same_dtype(x, 0, 1)) return false;
    if (!type_broadcast(x->g, infer_type(x, 0), infer_type(x, 1), &x->out))
      return infer_misfit(x, "operands do not broadcast", 0, 1, "equal sizes, or 1");
  }
  if (flags & F_BOOL_OUT) x->out.dtype = VLPC_BOOL;
  return true;
}

static void set_element(RefTensor *t, int64_t at, double f, int64_t i, bool is_float) {
  if (t->f) t->f[at] = is_float ? f : (double)i;
  else t->i[at] = is_float ? f != 0 : i;
}

bool ref_ew(RefCtx *c) {
  EwFns fn = ew_fns[ir_op(c->g, c->v)];
  const RefTensor *a = &c->in[0], *b = &c->in[c->n_in - 1];
  Walk w = walk_new(c->out->rank, c->out->size);
  walk_add(&w, a);
  walk_add(&w, b);
  for (int64_t at = 0; at < w.count; at++, walk_next(&w)) {
    if (a->f) set_element(c->out, at, fn.f(a->f[w.off[0]], b->f[w.off[1]]), 0, true);
    else set_element(c->out, at, 0, (int64_t)fn.i(a->i[w.off[0]], b->i[w.off[1]]), false);
  }
  return true;
}

/* Float to integer cuts towards zero and stays in the type's range; NaN is 0. */
static int64_t int_of(VlDtype to, double v) {
  int64_t cell = 0;
  if (to == VLPC_BOOL) return v != 0;
  dtype_store(to, &cell, 0, v);
  return dtype_load_i64(to, &cell, 0);
}

double ew_f64(OpCode op, double a, double b) { return ew_fns[op].f(a, b); }

int64_t ew_i64(OpCode op, int64_t a, int64_t b) {
  return ew_fns[op].i ? (int64_t)ew_fns[op].i(a, b) : 0;
}

int64_t ew_int_of(VlDtype to, double v) { return int_of(to, v); }

bool shape_where(Infer *x) {
  Type sides;
  if (!infer_bool(x, 0) || !infer_same_dtype(x, 1, 2)) return false;
  if (!type_broadcast(x->g, infer_type(x, 1), infer_type(x, 2), &sides))
    return infer_misfit(x, "operands do not broadcast", 1, 2, "equal sizes, or 1");
  if (type_broadcast(x->g, &sides, infer_type(x, 0), &x->out)) return true;
  return infer_fail(x, "the condition does not broadcast", type_text(x->g, infer_type(x, 0)),
                    type_text(x->g, &sides));
}

bool ref_where(RefCtx *c) {
  Walk w = walk_new(c->out->rank, c->out->size);
  for (uint32_t k = 0; k < 3; k++) walk_add(&w, &c->in[k]);
  for (int64_t at = 0; at < w.count; at++, walk_next(&w)) {
    uint32_t side = c->in[0].i[w.off[0]] ? 1 : 2;
    ref_copy(c->out, at, &c->in[side], w.off[side], 1);
  }
  return true;
}

bool shape_cast(Infer *x) {
  const Attr *to = infer_attr(x, A_dtype);
  if (!to) return infer_fail(x, "an attribute is missing", "none", "dtype");
  if (to->i < 0 || to->i > 255 || !dtype_valid((int)to->i))
    return infer_fail(x, "an element type does not exist",
                      arena_printf(ir_arena(x->g), "%lld", (long long)to->i), "an element type");
  x->out = *infer_type(x, 0);
  x->out.dtype = (VlDtype)to->i;
  return true;
}

bool ref_cast(RefCtx *c) {
  const RefTensor *a = &c->in[0];
  RefTensor *o = c->out;
  for (int64_t at = 0; at < o->count; at++) {
    if (o->f) o->f[at] = a->f ? a->f[at] : (double)a->i[at];
    else if (a->f) o->i[at] = int_of(o->dtype, a->f[at]);
    else o->i[at] = o->dtype == VLPC_BOOL ? a->i[at] != 0 : a->i[at];
  }
  return true;
}
