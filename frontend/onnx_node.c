/* SPDX-License-Identifier: Apache-2.0 */
/* onnx_node.c - the words in which importers are written.
**
** After the first misfit every builder gives VAL_NONE, and n_out reports that
** misfit once.  Sizes that must be equal and are not the same expression say
** something of a symbol: that is noted and the import starts again. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "frontend/fe_int.h"

bool n_fail(OnnxNode *x, DiagCode code, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  const char *text = arena_vprintf(x->a, fmt, ap);
  va_end(ap);
  x->is_reported = true;
  VL_IGNORE(diag_error(x->im->d, code, x->at, "%s", text)); /* the report itself is the result */
  return false;
}

/* "'x' f32[1,77,512], 'w' f32[768,512]": what the node was given. */
static const char *operands_text(const OnnxNode *x) {
  Str s = {.arena = x->a};
  for (uint32_t i = 0; i < x->n_in && i < 4; i++) {
    if (!val_ok(x->in[i])) continue;
    const Type *t = n_type(x, x->in[i]);
    str_printf(&s, "%s'%.60s' %s[", s.n ? ", " : "", x->proto->input[i], dtype_name(t->dtype));
    for (uint32_t k = 0; k < t->rank; k++) {
      if (k) str_add(&s, ",");
      dim_print(n_dims(x), t->dim[k], &s);
    }
    str_add(&s, "]");
  }
  return str_text(&s);
}

/* The builder's reason, or nothing when the import starts again anyway. */
static void report_misfit(OnnxNode *x) {
  if (x->is_reported || x->im->is_restart) return;
  Why why = ir_why(x->g);
  n_fail(x, DIAG_ONNX_SHAPE, "%s", why.sentence ? why.sentence : "the operands do not fit");
  if (why.found) diag_found(x->im->d, "%s", why.found);
  if (why.expected) diag_expected(x->im->d, "%s", why.expected);
  if (x->n_in) diag_note(x->im->d, "inputs are %s", operands_text(x));
}

bool n_out(OnnxNode *x, uint32_t i, Val v) {
  if (!val_ok(v)) {
    report_misfit(x);
    return false;
  }
  if (i < x->n_out) x->out[i] = v;
  return true;
}

bool n_out_rows(OnnxNode *x, Val v) {
  if (!val_ok(v)) return n_out(x, 0, v);
  Seq *s = arena_one(x->a, Seq);
  s->at = arena_one(x->a, Val);
  s->at[0] = v;
  s->n = 1;
  s->is_rows = true;
  x->out_seq[0] = s;
  return true;
}

Val n_rows(const OnnxNode *x, uint32_t i) {
  bool is_rows = i < x->n_in && x->seq[i] && x->seq[i]->is_rows;
  return is_rows ? x->seq[i]->at[0] : VAL_NONE;
}

bool n_wants(const OnnxNode *x, uint32_t i) {
  return i < x->n_out && x->proto->output[i][0] != 0;
}

const Type *n_type(const OnnxNode *x, Val v) { return ir_type_of(x->g, v); }
VlDtype n_dtype(const OnnxNode *x, Val v) { return ir_type_of(x->g, v)->dtype; }
uint32_t n_rank(const OnnxNode *x, Val v) { return ir_type_of(x->g, v)->rank; }

/* ---- axes --------------------------------------------------------------- */

bool n_axis(OnnxNode *x, int64_t axis, uint32_t rank, uint32_t *out) {
  int64_t r = rank;
  if (axis < -r || axis >= r) {
    n_fail(x, DIAG_ONNX_ATTRIBUTE, "the axis is out of range");
    diag_found(x->im->d, "axis %" PRId64, axis);
    if (r) diag_expected(x->im->d, "%" PRId64 " to %" PRId64, -r, r - 1);
    else diag_expected(x->im->d, "no axis: the operand is a scalar");
    return false;
  }
  *out = (uint32_t)(axis < 0 ? axis + r : axis);
  return true;
}

static int by_value(const void *a, const void *b) {
  int64_t p = *(const int64_t *)a, q = *(const int64_t *)b;
  return (p > q) - (p < q);
}

bool n_axes(OnnxNode *x, uint32_t i, uint32_t rank, Axes *out) {
  uint32_t n = 0;
  const int64_t *v = get_ints(x, "axes", &n);
  int64_t *list = NULL;
  *out = (Axes){0};
  if (!v && val_ok(n_in(x, i))) {
    if (!n_const_ints(x, i, "the list of axes", &list, &n)) return false;
    v = list;
  }
  if (!v) return true;
  if (n > VLPC_MAX_RANK) {
    n_fail(x, DIAG_ONNX_ATTRIBUTE, "the list of axes is too long");
    diag_found(x->im->d, "%" PRIu32, n);
    diag_expected(x->im->d, "at most %d", VLPC_MAX_RANK);
    return false;
  }
  out->given = true;
  out->n = n;
  for (uint32_t k = 0; k < n; k++) {
    uint32_t axis = 0;
    if (!n_axis(x, v[k], rank, &axis)) return false;
    out->at[k] = axis;
  }
  qsort(out->at, n, sizeof out->at[0], by_value);
  for (uint32_t k = 1; k < n; k++) {
    if (out->at[k] != out->at[k - 1]) continue;
    return n_fail(x, DIAG_ONNX_ATTRIBUTE, "axis %" PRId64 " comes twice", out->at[k]);
  }
  return true;
}

/* ---- sizes -------------------------------------------------------------- */

DimTable *n_dims(const OnnxNode *x) { return ir_dims(x->g); }
DimId n_dim(const OnnxNode *x, Val v, uint32_t axis) { return n_type(x, v)->dim[axis]; }
DimId n_size(const OnnxNode *x, int64_t size) { return dim_const(n_dims(x), size); }
bool n_is_size(const OnnxNode *x, DimId d, int64_t *out) {
  return dim_is_const(n_dims(x), d, out);
}

static const char *symbol_text(OnnxNode *x, SymId s) {
  return arena_strdup(x->a, dim_symbol_name(n_dims(x), s));
}

/* c + k * symbol = size */
static bool agree_number(OnnxNode *x, const Dim *d, int64_t size) {
  int64_t rest = 0;
  if (d->n != 1 || __builtin_sub_overflow(size, d->c, &rest)) return false;
  int64_t k = d->term[0].k;
  if (k <= 0 || rest < 0 || rest % k != 0) return false;
  *vec_push(x->a, &x->im->alias) = (Alias){symbol_text(x, d->term[0].sym), NULL, rest / k};
  x->im->is_restart = true;
  return true;
}

bool n_agree(OnnxNode *x, DimId a, DimId b) {
  if (a == b) return true;
  if (a == DIM_NONE || b == DIM_NONE || x->im->is_restart) return false;
  Dim p = dim_get(n_dims(x), a), q = dim_get(n_dims(x), b);
  if (p.n == 0) return agree_number(x, &q, p.c);
  if (q.n == 0) return agree_number(x, &p, q.c);
  if (p.c != q.c || p.n != 1 || q.n != 1 || p.term[0].k != q.term[0].k) return false;
  SymId first = VL_MIN(p.term[0].sym, q.term[0].sym), last = VL_MAX(p.term[0].sym, q.term[0].sym);
  *vec_push(x->a, &x->im->alias) = (Alias){symbol_text(x, last), symbol_text(x, first), 0};
  x->im->is_restart = true;
  return true;
}

/* Aligned from the last axis, as numpy broadcasts; skip leaves out the last
** axes (those of a matrix product). */
static void agree_broadcast(OnnxNode *x, Val a, Val b, uint32_t skip) {
  const Type *p = n_type(x, a), *q = n_type(x, b);
  for (uint32_t i = skip; i < p->rank && i < q->rank; i++) {
    DimId d = p->dim[p->rank - 1 - i], e = q->dim[q->rank - 1 - i];
    int64_t size = 0;
    bool is_one = (n_is_size(x, d, &size) && size == 1) || (n_is_size(x, e, &size) && size == 1);
    if (!is_one) n_agree(x, d, e);
  }
}

/* ---- builders ----------------------------------------------------------- */

Val n_node(OnnxNode *x, OpCode op, uint32_t n_operands, const Val *in, uint32_t n_attr,
           const Attr *attr) {
  if (x->is_reported || x->im->is_restart) return VAL_NONE;
  for (uint32_t i = 0; i < n_operands; i++) {
    if (!val_ok(in[i])) return VAL_NONE;
  }
  return ir_node(x->g, op, n_operands, in, n_attr, attr);
}

Val n_ew1(OnnxNode *x, OpCode op, Val a) { return n_node(x, op, 1, &a, 0, NULL); }

Val n_ew2(OnnxNode *x, OpCode op, Val a, Val b) {
  if (!val_ok(a) || !val_ok(b)) return VAL_NONE;
  agree_broadcast(x, a, b, 0);
  return n_node(x, op, 2, (Val[]){a, b}, 0, NULL);
}

Val n_where(OnnxNode *x, Val c, Val a, Val b) {
  if (!val_ok(c) || !val_ok(a) || !val_ok(b)) return VAL_NONE;
  agree_broadcast(x, c, a, 0);
  agree_broadcast(x, a, b, 0);
  agree_broadcast(x, c, b, 0);
  return n_node(x, OP_where, 3, (Val[]){c, a, b}, 0, NULL);
}

Val n_cast(OnnxNode *x, Val a, VlDtype t) {
  if (!val_ok(a) || n_dtype(x, a) == t) return a;
  Attr to = attr_int(A_dtype, t);
  return n_node(x, OP_cast, 1, &a, 1, &to);
}

Val n_scalar(OnnxNode *x, VlDtype t, double v) { return ir_scalar(x->g, t, v); }

Val n_like(OnnxNode *x, Val a, double v) {
  return val_ok(a) ? ir_scalar(x->g, n_dtype(x, a), v) : VAL_NONE;
}

Val n_reshape(OnnxNode *x, Val a, const DimId *dim, uint32_t n) {
  Attr to = attr_dims(A_dims, dim, n);
  return n_node(x, OP_reshape, 1, &a, 1, &to);
}

Val n_broadcast(OnnxNode *x, Val a, const DimId *dim, uint32_t n) {
  Attr to = attr_dims(A_dims, dim, n);
  return n_node(x, OP_broadcast, 1, &a, 1, &to);
}

Val n_permute(OnnxNode *x, Val a, const int64_t *perm, uint32_t n) {
  Attr p = attr_ints(A_perm, perm, n);
  return n_node(x, OP_permute, 1, &a, 1, &p);
}

Val n_swap(OnnxNode *x, Val a) {
  int64_t perm[VLPC_MAX_RANK];
  if (!val_ok(a)) return VAL_NONE;
  uint32_t n = n_rank(x, a);
  for (uint32_t i = 0; i < n; i++) perm[i] = i;
  perm[n - 1] = n - 2;
  perm[n - 2] = n - 1;
  return n_permute(x, a, perm, n);
}

Val n_slice(OnnxNode *x, Val a, uint32_t axis, DimId start, DimId size) {
  DimId starts[VLPC_MAX_RANK], sizes[VLPC_MAX_RANK];
  int64_t steps[VLPC_MAX_RANK];
  if (!val_ok(a)) return VAL_NONE;
  uint32_t n = n_rank(x, a);
  for (uint32_t i = 0; i < n; i++) {
    starts[i] = i == axis ? start : n_size(x, 0);
    sizes[i] = i == axis ? size : n_dim(x, a, i);
    steps[i] = 1;
  }
  Attr attr[3] = {attr_dims(A_starts, starts, n), attr_dims(A_dims, sizes, n),
                  attr_ints(A_steps, steps, n)};
  return n_node(x, OP_slice, 1, &a, 3, attr);
}

Val n_concat(OnnxNode *x, const Val *in, uint32_t n, uint32_t axis) {
  for (uint32_t i = 0; i < n; i++) {
    if (!val_ok(in[i])) return VAL_NONE;
    bool same = n_rank(x, in[i]) == n_rank(x, in[0]);
    for (uint32_t k = 0; same && k < n_rank(x, in[0]); k++) {
      if (k != axis) n_agree(x, n_dim(x, in[0], k), n_dim(x, in[i], k));
    }
  }
  Attr a = attr_int(A_axis, axis);
  return n_node(x, OP_concat, n, in, 1, &a);
}

Val n_reduce(OnnxNode *x, OpCode op, Val a, const Axes *axes, bool keepdims) {
  if (val_ok(a) && axes->n == 0) return a;
  Attr attr[2] = {attr_ints(A_axes, axes->at, axes->n), attr_int(A_keepdims, keepdims)};
  return n_node(x, op, 1, &a, 2, attr);
}

Val n_reduce1(OnnxNode *x, OpCode op, Val a, uint32_t axis) {
  Axes one = {true, 1, {axis}};
  return n_reduce(x, op, a, &one, true);
}

Val n_softmax(OnnxNode *x, OpCode op, Val a, uint32_t axis) {
  Attr attr = attr_int(A_axis, axis);
  return n_node(x, op, 1, &a, 1, &attr);
}

Val n_matmul(OnnxNode *x, Val a, Val b) {
  if (!val_ok(a) || !val_ok(b)) return VAL_NONE;
  const Type *p = n_type(x, a), *q = n_type(x, b);
  agree_broadcast(x, a, b, 2);
  if (p->rank && q->rank) n_agree(x, p->dim[p->rank - 1], q->dim[q->rank == 1 ? 0 : q->rank - 2]);
  return n_node(x, OP_matmul, 2, (Val[]){a, b}, 0, NULL);
}

Val n_unsqueeze(OnnxNode *x, Val a, uint32_t axis) {
  DimId dim[VLPC_MAX_RANK + 1];
  if (!val_ok(a)) return VAL_NONE;
  uint32_t n = n_rank(x, a);
  if (n == VLPC_MAX_RANK) {
    n_fail(x, DIAG_ONNX_FORM, "the result has more than %d axes", VLPC_MAX_RANK);
    return VAL_NONE;
  }
  for (uint32_t i = 0; i <= n; i++) {
    dim[i] = i == axis ? n_size(x, 1) : n_dim(x, a, i < axis ? i : i - 1);
  }
  return n_reshape(x, a, dim, n + 1);
}

Val n_squeeze(OnnxNode *x, Val a, uint32_t axis) {
  DimId dim[VLPC_MAX_RANK];
  if (!val_ok(a)) return VAL_NONE;
  uint32_t n = n_rank(x, a);
  for (uint32_t i = 0; i + 1 < n; i++) dim[i] = n_dim(x, a, i < axis ? i : i + 1);
  return n_reshape(x, a, dim, n - 1);
}

Val n_iota(OnnxNode *x, DimId n) {
  Attr a = attr_dims(A_dims, &n, 1);
  return n_node(x, OP_iota, 0, NULL, 1, &a);
}

/* ---- known operands ----------------------------------------------------- */

static bool not_known(OnnxNode *x, uint32_t i, const char *what) {
  n_fail(x, DIAG_ONNX_NOT_CONST, "%s must be known at compile time", what);
  diag_found(x->im->d, "input %" PRIu32 " '%.100s' is computed from the model's data", i,
             x->proto->input[i]);
  diag_fix(x->im->d, "export with this value as a constant or derived from input shapes");
  return false;
}

bool n_const_ints(OnnxNode *x, uint32_t i, const char *what, int64_t **out, uint32_t *n) {
  int64_t count = 0;
  *out = NULL;
  *n = 0;
  if (!ir_count_const(x->g, x->in[i], &count) || count > FE_MAX_INTS) return not_known(x, i, what);
  int64_t *v = arena_array(x->a, int64_t, count + 1);
  if (!ir_const_ints(x->g, x->in[i], v, (uint32_t)count, n)) return not_known(x, i, what);
  *out = v;
  return true;
}

bool n_known_dims(OnnxNode *x, uint32_t i, const char *what, DimId **out, uint32_t *n) {
  int64_t count = 0;
  *n = 0;
  if (!ir_count_const(x->g, x->in[i], &count) || count > 64) return not_known(x, i, what);
  *out = arena_array(x->a, DimId, count + 1);
  return ir_known_dims(x->g, x->in[i], *out, (uint32_t)count, n) || not_known(x, i, what);
}

static bool one_of(OnnxNode *x, uint32_t i, const char *what, uint32_t n) {
  if (n == 1) return true;
  n_fail(x, DIAG_ONNX_SHAPE, "%s must be one number", what);
  diag_found(x->im->d, "input %" PRIu32 " has %" PRIu32 " elements", i, n);
  return false;
}

bool n_const_int(OnnxNode *x, uint32_t i, const char *what, int64_t *out) {
  int64_t *v = NULL;
  uint32_t n = 0;
  if (!n_const_ints(x, i, what, &v, &n) || !one_of(x, i, what, n)) return false;
  *out = v[0];
  return true;
}

bool n_const_float(OnnxNode *x, uint32_t i, const char *what, double *out) {
  uint32_t n = 0;
  int64_t count = 0;
  if (ir_count_const(x->g, x->in[i], &count) && count != 1) {
    return one_of(x, i, what, (uint32_t)VL_MIN(count, UINT32_MAX));
  }
  return ir_const_f64(x->g, x->in[i], out, 1, &n) || not_known(x, i, what);
}
