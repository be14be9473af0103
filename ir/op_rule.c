/* SPDX-License-Identifier: Apache-2.0 */
/* op_rule.c - what the shape rules share: the frame in which a rule runs,
** access to operands and attributes, the words of a misfit, and questions about
** sizes that may be symbolic.
**
** Two sizes are equal when their ids are: sizes that might agree for some value
** of a symbol do not fit.  A symbol stands for a size of 0 or more. */
#include "ir/graph_int.h"

/* ---- words --------------------------------------------------------------- */

const char *dim_text(Graph *g, DimId d) {
  Str s = {.arena = ir_arena(g)};
  dim_print(ir_dims(g), d, &s);
  return str_text(&s);
}

const char *type_text(Graph *g, const Type *t) {
  Str s = {.arena = ir_arena(g)};
  str_printf(&s, "%s[", dtype_name(t->dtype));
  for (uint32_t i = 0; i < t->rank; i++) {
    if (i > 0) str_add(&s, ",");
    dim_print(ir_dims(g), t->dim[i], &s);
  }
  str_add(&s, "]");
  return str_text(&s);
}

bool infer_fail(Infer *x, const char *sentence, const char *found, const char *expected) {
  x->why = (Why){sentence, found, expected};
  return false;
}

bool infer_misfit(Infer *x, const char *sentence, uint32_t a, uint32_t b, const char *expected) {
  const char *found = arena_printf(ir_arena(x->g), "%s and %s", type_text(x->g, infer_type(x, a)),
                                   type_text(x->g, infer_type(x, b)));
  return infer_fail(x, sentence, found, expected);
}

/* ---- operands ------------------------------------------------------------ */

bool infer_has(const Infer *x, uint32_t i) { return i < x->n_in && val_ok(x->in[i]); }

const Type *infer_type(const Infer *x, uint32_t i) {
  return infer_has(x, i) ? ir_type_of(x->g, x->in[i]) : NULL;
}

static bool check_operand(Infer *x, uint32_t i, bool ok, const char *expected) {
  if (ok) return true;
  return infer_fail(x, "an operand has the wrong element type",
                    type_text(x->g, infer_type(x, i)), expected);
}

bool infer_float(Infer *x, uint32_t i) {
  return check_operand(x, i, dtype_is_float(infer_type(x, i)->dtype), "a float type");
}

bool infer_integer(Infer *x, uint32_t i) {
  return check_operand(x, i, dtype_is_int(infer_type(x, i)->dtype), "an integer type");
}

bool infer_bool(Infer *x, uint32_t i) {
  return check_operand(x, i, infer_type(x, i)->dtype == VLPC_BOOL, "bool");
}

bool infer_number(Infer *x, uint32_t i) {
  return check_operand(x, i, infer_type(x, i)->dtype != VLPC_BOOL, "a number type");
}

bool infer_same_dtype(Infer *x, uint32_t a, uint32_t b) {
  if (infer_type(x, a)->dtype == infer_type(x, b)->dtype) return true;
  return infer_misfit(x, "element types differ", a, b, "one element type");
}

bool infer_rank(Infer *x, uint32_t i, uint32_t lo, uint32_t hi) {
  const Type *t = infer_type(x, i);
  if (t->rank >= lo && t->rank <= hi) return true;
  Arena *a = ir_arena(x->g);
  const char *want = lo == hi ? arena_printf(a, "rank %u", lo)
                              : arena_printf(a, "rank %u to %u", lo, hi);
  return infer_fail(x, "an operand has the wrong rank", type_text(x->g, t), want);
}

bool infer_vector(Infer *x, uint32_t i, DimId n, uint32_t like) {
  if (!infer_has(x, i)) return true;
  const Type *t = infer_type(x, i);
  if (t->rank == 1 && t->dim[0] == n && t->dtype == infer_type(x, like)->dtype) return true;
  Type want = {.dtype = infer_type(x, like)->dtype, .rank = 1, .dim = {n}};
  return infer_fail(x, "an operand does not fit the others", type_text(x->g, t),
                    type_text(x->g, &want));
}

/* ---- attributes ---------------------------------------------------------- */

Attr *infer_attr(const Infer *x, AttrKey k) {
  for (uint32_t i = 0; i < x->n_attr; i++)
    if (x->attr[i].key == k) return &x->attr[i];
  return NULL;
}

static bool fail_missing(Infer *x, AttrKey k) {
  return infer_fail(x, "an attribute is missing", "none", attr_name(k));
}

bool infer_int(Infer *x, AttrKey k, int64_t lo, int64_t hi, int64_t *out) {
  const Attr *a = infer_attr(x, k);
  if (!a) return fail_missing(x, k);
  *out = a->i;
  if (a->i >= lo && a->i <= hi) return true;
  Arena *m = ir_arena(x->g);
  return infer_fail(x, "an attribute is out of range",
                    arena_printf(m, "%s = %lld", attr_name(k), (long long)a->i),
                    arena_printf(m, "%lld to %lld", (long long)lo, (long long)hi));
}

bool infer_flag(Infer *x, AttrKey k) {
  int64_t on = 0;
  return !infer_attr(x, k) || infer_int(x, k, 0, 1, &on);
}

bool infer_number_attr(Infer *x, AttrKey k) {
  return infer_attr(x, k) ? true : fail_missing(x, k);
}

bool infer_axis(Infer *x, uint32_t rank, uint32_t *out) {
  Attr *a = infer_attr(x, A_axis);
  if (!a) return fail_missing(x, A_axis);
  int64_t r = rank, axis = a->i < 0 && a->i >= -r ? a->i + r : a->i;
  if (axis < 0 || axis >= r)
    return infer_fail(x, "an axis is out of range",
                      arena_printf(ir_arena(x->g), "axis %lld", (long long)a->i),
                      arena_printf(ir_arena(x->g), "an axis of rank %u", rank));
  a->i = axis;
  *out = (uint32_t)axis;
  return true;
}

bool infer_list(Infer *x, AttrKey k, uint32_t n, const Attr **out) {
  *out = infer_attr(x, k);
  if (!*out) return fail_missing(x, k);
  if ((*out)->n == n) return true;
  Arena *a = ir_arena(x->g);
  return infer_fail(x, "an attribute has the wrong length",
                    arena_printf(a, "%s has %u entries", attr_name(k), (*out)->n),
                    arena_printf(a, "%u", n));
}

/* ---- sizes --------------------------------------------------------------- */

bool dim_is(const Graph *g, DimId d, int64_t c) {
  int64_t v;
  return d != DIM_NONE && dim_is_const(ir_dims(g), d, &v) && v == c;
}

bool dim_least(const Graph *g, DimId d, int64_t *out) {
  if (d == DIM_NONE) return false;
  Dim e = dim_get(ir_dims(g), d);
  for (uint32_t i = 0; i < e.n; i++)
    if (e.term[i].k < 0) return false;
  *out = e.c;
  return true;
}

bool dim_below(Graph *g, DimId a, DimId b) {
  int64_t least;
  return dim_least(g, dim_sub(ir_dims(g), b, a), &least) && least > 0;
}

DimId dim_floor_div(Graph *g, DimId d, int64_t by) {
  if (d == DIM_NONE || by < 1) return DIM_NONE;
  Dim e = dim_get(ir_dims(g), d);
  for (uint32_t i = 0; i < e.n; i++) {
    if (e.term[i].k % by != 0) return DIM_NONE;
    e.term[i].k /= by;
  }
  e.c = e.c / by - (e.c % by < 0);
  return dim_intern(ir_dims(g), &e);
}

bool type_broadcast(Graph *g, const Type *a, const Type *b, Type *out) {
  Type r = {.dtype = a->dtype, .rank = VL_MAX(a->rank, b->rank)};
  for (uint32_t i = 1; i <= r.rank; i++) {
    DimId p = i <= a->rank ? a->dim[a->rank - i] : DIM_NONE;
    DimId q = i <= b->rank ? b->dim[b->rank - i] : DIM_NONE;
    if (p == DIM_NONE || q == DIM_NONE) r.dim[r.rank - i] = p == DIM_NONE ? q : p;
    else if (p == q || dim_is(g, q, 1)) r.dim[r.rank - i] = p;
    else if (dim_is(g, p, 1)) r.dim[r.rank - i] = q;
    else return false;
  }
  *out = r;
  return true;
}

static uint64_t gcd(uint64_t a, uint64_t b) {
  while (b != 0) {
    uint64_t r = a % b;
    a = b;
    b = r;
  }
  return a;
}

static uint64_t magnitude(int64_t v) { return v < 0 ? 0 - (uint64_t)v : (uint64_t)v; }

/* A size as number × primitive expression whose first coefficient is positive;
** DIM_NONE for the primitive part of a plain number. */
typedef struct {
  int64_t number;
  DimId rest;
} Factored;

static bool factor(Graph *g, DimId d, Factored *out) {
  Dim e = dim_get(ir_dims(g), d);
  *out = (Factored){.number = e.c};
  if (e.n == 0) return true;
  uint64_t m = magnitude(e.c);
  for (uint32_t i = 0; i < e.n; i++) m = gcd(m, magnitude(e.term[i].k));
  if (m > INT64_MAX) return false;
  int64_t by = e.term[0].k < 0 ? -(int64_t)m : (int64_t)m;
  if (by == -1 && e.c == INT64_MIN) return false;
  e.c /= by;
  for (uint32_t i = 0; i < e.n; i++) {
    if (by == -1 && e.term[i].k == INT64_MIN) return false;
    e.term[i].k /= by;
  }
  *out = (Factored){by, dim_intern(ir_dims(g), &e)};
  return out->rest != DIM_NONE;
}

/* The sizes' product as one number and a list of primitive expressions. */
static bool factor_all(Graph *g, const DimId *d, uint32_t n, int64_t *number, DimId *rest,
                       uint32_t *n_rest) {
  *number = 1;
  *n_rest = 0;
  for (uint32_t i = 0; i < n; i++) {
    Factored f;
    if (d[i] == DIM_NONE || !factor(g, d[i], &f)) return false;
    if (!vl_mul_i64(*number, f.number, number)) return false;
    if (f.rest != DIM_NONE) rest[(*n_rest)++] = f.rest;
  }
  return true;
}

/* Primitive affine expressions are irreducible, so two products are equal as
** polynomials exactly when their numbers and their primitive parts agree. */
bool dims_same_count(Graph *g, const DimId *a, uint32_t n_a, const DimId *b, uint32_t n_b) {
  DimId p[VLPC_MAX_RANK], q[VLPC_MAX_RANK];
  uint32_t n_p, n_q;
  int64_t u, v;
  if (n_a > VLPC_MAX_RANK || n_b > VLPC_MAX_RANK) return false;
  if (!factor_all(g, a, n_a, &u, p, &n_p) || !factor_all(g, b, n_b, &v, q, &n_q)) return false;
  if (u == 0 || v == 0) return u == v;
  if (u != v || n_p != n_q) return false;
  for (uint32_t i = 0; i < n_p; i++) {
    uint32_t j = i;
    while (j < n_q && q[j] != p[i]) j++;
    if (j == n_q) return false;
    q[j] = q[i];
  }
  return true;
}

/* ---- the frame ----------------------------------------------------------- */

static bool check_operands(Infer *x, const OpInfo *o) {
  Arena *a = ir_arena(x->g);
  bool any = o->max_in == 255;
  if (x->n_in < o->min_in || (!any && x->n_in > o->max_in))
    return infer_fail(x, "the number of operands is wrong", arena_printf(a, "%u", x->n_in),
                      any                      ? arena_printf(a, "%u or more", o->min_in)
                      : o->min_in == o->max_in ? arena_printf(a, "%u", o->min_in)
                                               : arena_printf(a, "%u to %u", o->min_in, o->max_in));
  for (uint32_t i = 0; i < x->n_in; i++)
    if (!infer_has(x, i) && (any || i < o->min_in))
      return infer_fail(x, "an operand is missing", arena_printf(a, "none as operand %u", i),
                        "a value");
  return true;
}

static bool check_result(Infer *x) {
  const char *text;
  int64_t count = 1, size;
  for (uint32_t i = 0; i < x->out.rank; i++)
    if (x->out.dim[i] == DIM_NONE)
      return infer_fail(x, "a size of the result is no affine expression",
                        type_text(x->g, &x->out), "sizes c + k*symbol + …");
  text = type_text(x->g, &x->out);
  for (uint32_t i = 0; i < x->out.rank; i++) {
    if (!dim_is_const(ir_dims(x->g), x->out.dim[i], &size)) continue;
    if (size < 0) return infer_fail(x, "a size of the result is negative", text, "0 or more");
    if (size == 0) size = 1;
    if (!vl_mul_i64(count, size, &count) || count > TYPE_MAX_COUNT)
      return infer_fail(x, "the result has too many elements", text, "at most 2^40 elements");
  }
  return true;
}

bool infer_run(Infer *x) {
  if (!check_operands(x, op_info(x->op))) return false;
  if (!op_shape(x->op)(x)) return false;
  VL_CHECK(x->out.rank <= VLPC_MAX_RANK && dtype_valid((int)x->out.dtype),
           "a shape rule gave no type");
  return check_result(x);
}
