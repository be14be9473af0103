/* SPDX-License-Identifier: Apache-2.0 */
/* cl_loops.c - generic loop nests: one work-item per element of the result, the
** reduced axes in a loop of its own, in ascending order.  Dimension 0 of the
** grid is the innermost kept axis, dimension 1 the product of the others.
**
** Points that must run in order run in one work-item, but for an innermost axis that
** stands aside: its points meet none of another of its places. */
#include "backends/opencl/cl_text.h"

#include <math.h>

static uint32_t kept(const KLoops *l) { return l->rank - l->n_reduce; }

static uint32_t power_of_two(uint64_t n, uint32_t most) {
  uint32_t p = 1;
  while (p < n && p < most) p *= 2;
  return p;
}

/* ---- serial points ------------------------------------------------------- */

static bool is_const(KSize x, int64_t c) { return x.dyn < 0 && x.c == c; }

static bool same_size(KSize a, KSize b) { return a.dyn == b.dyn && a.c == b.c; }

static bool same_place(const KLoops *l, const KAccess *a, const KAccess *b) {
  if (a->n_indirect != b->n_indirect) return false;
  for (uint32_t i = 0; i < a->n_indirect; i++)
    if (a->ind[i].row != b->ind[i].row || !same_size(a->ind[i].stride, b->ind[i].stride))
      return false;
  for (uint32_t i = 0; i < l->rank; i++)
    if (!same_size(a->stride[i], b->stride[i])) return false;
  return true;
}

/* Columns of rows that are scattered: beside each other, each within its row wherever the
** indices lead, which are the same for all. */
static bool stands_aside(const KLoops *l) {
  uint32_t n = kept(l);
  if (!l->serial || l->n_reduce || n == 0 || l->size[n - 1].dyn >= 0) return false;
  const KAccess *x = &l->store;
  int64_t columns = l->size[n - 1].c;
  if (columns < 1 || !is_const(x->stride[n - 1], 1)) return false;
  for (uint32_t i = 0; i + 1 < n; i++)
    if (!cl_is_multiple(x->stride[i], columns)) return false;
  for (uint32_t i = 0; i < x->n_indirect; i++) {
    const KBody *index = &l->body[x->ind[i].row];
    if (!cl_is_multiple(x->ind[i].stride, columns) || index->kind != KB_LOAD) return false;
    if (index->load.n_indirect || !is_const(index->load.stride[n - 1], 0)) return false;
  }
  for (uint32_t i = 0; i < l->n_body; i++) {
    const KBody *b = &l->body[i];
    if (b->kind == KB_LOAD && b->load.operand == 0 && !same_place(l, &b->load, x)) return false;
  }
  return true;
}

/* ---- grid ---------------------------------------------------------------- */

/* An axis known to be short leaves work-items to the other dimension. */
static void local_size(const ClTarget *t, const KLoops *l, uint64_t out[2]) {
  uint32_t items = t->class->items, n = kept(l);
  out[0] = out[1] = 1;
  if (n == 0 || (l->serial && !stands_aside(l))) return;
  KSize inner = l->size[n - 1];
  out[0] = power_of_two(inner.dyn < 0 ? (uint64_t)inner.c : items, items);
  out[1] = n > 1 && !l->serial ? items / out[0] : 1;
}

static void loops_grid(const ClTarget *t, const Kernel *k, const int64_t *sizes, ClGrid *g) {
  const KLoops *l = &k->loops;
  uint64_t n[2] = {1, 1};
  local_size(t, l, g->local);
  for (uint32_t i = 0; i < kept(l); i++)
    n[i + 1 < kept(l)] *= (uint64_t)cl_value(l->size[i], sizes);
  bool none = n[0] == 0 || n[1] == 0;
  if (l->serial) n[1] = 1;
  if (l->serial && !stands_aside(l)) n[0] = 1;
  for (int i = 0; i < 2; i++) g->global[i] = none ? 0 : vl_align_up(n[i], g->local[i]);
}

/* ---- addresses ----------------------------------------------------------- */

static void address(Str *s, const KLoops *l, const KAccess *x, uint32_t id) {
  bool any = false;
  for (uint32_t i = 0; i < l->rank; i++) {
    KSize stride = x->stride[i];
    if (stride.dyn < 0 && stride.c == 0) continue;
    str_printf(s, "%si%u * ", any ? " + " : "", i);
    cl_size(s, stride);
    any = true;
  }
  for (uint32_t i = 0; i < x->n_indirect; i++) {
    str_printf(s, "%sj%u_%u * ", any ? " + " : "", id, i);
    cl_size(s, x->ind[i].stride);
    any = true;
  }
  if (!any) str_add(s, "0");
}

/* Checks and wraps the indices of an access: j<id>_<n>. */
static void indices(Str *s, const KLoops *l, const KAccess *x, uint32_t id) {
  for (uint32_t i = 0; i < x->n_indirect; i++) {
    Str from = {.arena = s->arena};
    str_printf(&from, "v%u", x->ind[i].row);
    str_printf(s, "    long j%u_%u = ", id, i);
    cl_convert(s, l->body[x->ind[i].row].dtype, VLPC_I64, str_text(&from));
    str_printf(s, ";\n    if (j%u_%u < -", id, i);
    cl_size(s, x->ind[i].size);
    str_printf(s, " || j%u_%u >= ", id, i);
    cl_size(s, x->ind[i].size);
    str_printf(s, ") {\n      vl_fault(fault, step);\n      return;\n    }\n");
    str_printf(s, "    if (j%u_%u < 0) j%u_%u += ", id, i, id, i);
    cl_size(s, x->ind[i].size);
    str_add(s, ";\n");
  }
}

/* ---- body ---------------------------------------------------------------- */

static void row_value(ClText *t, Str *s, const KLoops *l, const KBody *b) {
  Str pointer = {.arena = s->arena}, index = {.arena = s->arena};
  switch (b->kind) {
  case KB_LOAD:
    str_printf(&pointer, "x%u", b->load.operand);
    address(&index, l, &b->load, (uint32_t)(b - l->body));
    cl_load(s, b->dtype, str_text(&pointer), str_text(&index));
    break;
  case KB_LITERAL:
    cl_literal(s, b->dtype, b->lit, b->lit_i);
    break;
  case KB_INDEX:
    str_printf(&index, "i%u", b->a);
    cl_convert(s, VLPC_I64, b->dtype, str_text(&index));
    break;
  case KB_SIZE:
    cl_size(s, b->size);
    break;
  case KB_OP:
    cl_op(t, s, l->body, b);
    break;
  default:
    VL_UNREACHABLE("body row");
  }
}

static void body(ClText *t, const KLoops *l) {
  Str *s = &t->out;
  for (uint32_t i = 0; i < l->n_body; i++) {
    const KBody *b = &l->body[i];
    if (b->kind == KB_LOAD) indices(s, l, &b->load, i);
    str_printf(s, "    const %s v%u = ", cl_held(b->dtype), i);
    row_value(t, s, l, b);
    str_add(s, ";\n");
  }
}

static void store(Str *s, const Kernel *k, const char *value) {
  const KLoops *l = &k->loops;
  Str index = {.arena = s->arena};
  indices(s, l, &l->store, LOOPS_MAX_BODY);
  address(&index, l, &l->store, LOOPS_MAX_BODY);
  str_add(s, "    ");
  cl_store(s, kernel_operand_dtype(k, 0), "x0", str_text(&index), value);
  str_add(s, "\n");
}

/* ---- reductions ---------------------------------------------------------- */

static VlDtype value_dtype(const KLoops *l) { return l->body[l->n_body - 1].dtype; }

static bool picks_place(KReduce r) { return r == KR_ARGMAX || r == KR_ARGMAX_LAST; }

/* Whether v takes the place of acc; NaN does, and stays. */
static void better(Str *s, const KLoops *l) {
  bool last = l->reduce == KR_ARGMAX_LAST;
  const char *sign = l->reduce == KR_MIN ? "<" : ">";
  if (dtype_is_float(value_dtype(l)))
    str_printf(s, "count == 0 || (v != v ? %s : acc == acc && v %s%s acc)",
               last ? "true" : "acc == acc", sign, last ? "=" : "");
  else
    str_printf(s, "count == 0 || v %s%s acc", sign, last ? "=" : "");
}

static void accumulate(Str *s, const KLoops *l) {
  if (l->reduce == KR_SUM || l->reduce == KR_MEAN)
    str_add(s, "    acc += v;\n");
  else if (l->reduce == KR_PROD)
    str_add(s, "    acc *= v;\n");
  else {
    str_add(s, "    if (");
    better(s, l);
    str_add(s, picks_place(l->reduce) ? ") { acc = v; place = count; }\n" : ") acc = v;\n");
  }
  str_add(s, "    count++;\n");
}

/* What a reduction of nothing gives. */
static void identity(Str *s, const KLoops *l) {
  VlDtype t = value_dtype(l);
  double inf = l->reduce == KR_MAX ? -(double)INFINITY : (double)INFINITY;
  bool one = l->reduce == KR_PROD;
  if (l->reduce == KR_MAX || l->reduce == KR_MIN)
    cl_literal(s, t, inf, dtype_is_float(t) ? 0 : ew_int_of(t, inf));
  else if (l->reduce == KR_MEAN)
    cl_literal(s, t, (double)NAN, 0);
  else
    cl_literal(s, t, one, one);
}

static void reduce(ClText *t, const Kernel *k) {
  const KLoops *l = &k->loops;
  Str *s = &t->out;
  const char *held = dtype_is_float(value_dtype(l)) ? cl_held(value_dtype(l)) : "long";
  str_printf(s, "  %s acc = %d;\n  long count = 0, place = 0;\n", held, l->reduce == KR_PROD);
  for (uint32_t i = kept(l); i < l->rank; i++)
    str_printf(s, "  for (long i%u = 0; i%u < n%u; i%u++)\n", i, i, i, i);
  str_add(s, "  {\n");
  body(t, l);
  str_printf(s, "    const %s v = v%u;\n", held, l->n_body - 1);
  accumulate(s, l);
  str_add(s, "  }\n  if (count == 0) acc = ");
  identity(s, l);
  str_add(s, ";\n");
  if (l->reduce == KR_MEAN)
    str_printf(s, "  if (count != 0) acc = acc / (%s)count;\n", held);
  store(s, k, picks_place(l->reduce) ? "place" : "acc");
}

static void point(ClText *t, const Kernel *k) {
  Str value = {.arena = t->out.arena};
  body(t, &k->loops);
  str_printf(&value, "v%u", k->loops.n_body - 1);
  store(&t->out, k, str_text(&value));
}

/* ---- the nest ------------------------------------------------------------ */

/* The innermost axis from the first dimension of the grid. */
static void decode_inner(Str *s, const KLoops *l) {
  uint32_t n = kept(l);
  if (n == 0) return;
  str_printf(s, "  const long i%u = get_global_id(0);\n", n - 1);
  str_printf(s, "  if (i%u >= n%u) return;\n", n - 1, n - 1);
}

/* The others from the second. */
static void decode_outer(Str *s, const KLoops *l) {
  uint32_t n = kept(l);
  if (n < 2) return;
  str_add(s, "  uint rest = get_global_id(1);\n");
  for (uint32_t i = n - 1; i-- > 1;)
    str_printf(s, "  const long i%u = rest %% (uint)n%u;\n  rest /= (uint)n%u;\n", i, i, i);
  str_add(s, "  const long i0 = rest;\n  if (i0 >= n0) return;\n");
}

static void loops_text(ClText *t, const Kernel *k, uint32_t i) {
  const KLoops *l = &k->loops;
  Str *s = &t->out;
  uint64_t local[2];
  local_size(t->target, l, local);
  cl_begin(t, k, i, local);
  for (uint32_t x = 0; x < l->rank; x++) {
    Str name = {.arena = s->arena};
    str_printf(&name, "n%u", x);
    cl_const(s, str_text(&name), l->size[x]);
  }
  bool inner = !l->serial || stands_aside(l);
  if (inner) decode_inner(s, l);
  if (!l->serial) decode_outer(s, l);
  for (uint32_t x = 0; l->serial && x + inner < kept(l); x++)
    str_printf(s, "  for (long i%u = 0; i%u < n%u; i%u++)\n", x, x, x, x);
  str_add(s, "  {\n");
  if (l->n_reduce)
    reduce(t, k);
  else
    point(t, k);
  str_add(s, "  }\n");
  cl_end(t);
}

const ClKind cl_loops = {.text = loops_text, .grid = loops_grid};
