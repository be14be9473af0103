/* SPDX-License-Identifier: Apache-2.0 */
/* eval.c - the interpreter: one node, one constant value, or a whole graph.
**
** Only values that the outputs need are computed, in the order of the array.
** Symbols get their values from the inputs' sizes: an axis with one unknown
** symbol gives it, until nothing changes; then every axis must agree. */
#include "ir/ir_int.h"

/* ---- results of one node ------------------------------------------------- */

static void round_result(RefTensor *t) {
  uint64_t cell = 0;
  if (t->dtype == VLPC_F64) return;
  for (int64_t i = 0; i < t->count; i++) {
    dtype_store(t->dtype, &cell, 0, t->f[i]);
    t->f[i] = dtype_load(t->dtype, &cell, 0);
  }
}

static void wrap_result(RefTensor *t) {
  uint64_t cell = 0;
  if (t->dtype == VLPC_I64) return;
  for (int64_t i = 0; i < t->count; i++) {
    dtype_store_i64(t->dtype, &cell, 0, t->i[i]);
    t->i[i] = dtype_load_i64(t->dtype, &cell, 0);
  }
}

/* The sizes of a type at run time, within the limit of types. */
static bool concrete(RefCtx *c, const Type *t, int64_t *size) {
  int64_t count = 1;
  for (uint32_t i = 0; i < t->rank; i++) {
    if (!ref_size(c, t->dim[i], &size[i])) return false;
    if (!vl_mul_i64(count, VL_MAX(size[i], 1), &count) || count > TYPE_MAX_COUNT)
      return ref_fail(c, "a value has too many elements", size[i], "2^40 elements at most");
  }
  return true;
}

static VlStatus report(const RefCtx *c, Diag *d) {
  VlStatus s = diag_error(d, DIAG_EVAL_DATA, ir_at(c->g, ir_loc(c->g, c->v)), "%s: %s",
                          op_info(ir_op(c->g, c->v))->name, c->why.sentence);
  if (c->why.found) diag_found(d, "%s", c->why.found);
  if (c->why.expected) diag_expected(d, "%s", c->why.expected);
  return s;
}

VlStatus ir_eval_node(const Graph *g, Arena *a, Val v, const int64_t *sym, const RefTensor *in,
                      RefTensor *out, Diag *d) {
  const Type *t = ir_type_of(g, v);
  int64_t size[VLPC_MAX_RANK];
  RefCtx c = {.g = g, .v = v, .sym = sym, .a = a, .n_in = ir_n_in(g, v), .in = in, .out = out};
  if (!concrete(&c, t, size)) return report(&c, d);
  *out = ref_tensor(a, t->dtype, t->rank, size);
  if (!op_ref(ir_op(g, v))(&c)) return report(&c, d);
  if (out->i) wrap_result(out);
  return VLPC_OK;
}

/* ---- runs ---------------------------------------------------------------- */

typedef struct {
  const Graph *g;
  Arena *a;
  const int64_t *sym;
  uint32_t mode;
  bool *needed;     /* by value */
  RefTensor *value; /* by value; dtype 0: not computed */
} Run;

static Run run_new(const Graph *g, Arena *a, uint32_t mode) {
  uint64_t n = (uint64_t)ir_n_vals(g) + 1;
  return (Run){.g = g,
               .a = a,
               .mode = mode,
               .needed = arena_array(a, bool, n),
               .value = arena_array(a, RefTensor, n)};
}

static void mark_operands(Run *r) {
  for (uint32_t i = ir_n_vals(r->g); i > 0; i--) {
    Val v = {i};
    for (uint32_t k = 0; r->needed[i] && k < ir_n_in(r->g, v); k++)
      r->needed[ir_in(r->g, v, k).i] = true;
  }
}

static VlStatus run_node(Run *r, Val v, Diag *d) {
  uint32_t n = ir_n_in(r->g, v);
  RefTensor *in = arena_array(r->a, RefTensor, n);
  for (uint32_t k = 0; k < n; k++) in[k] = r->value[ir_in(r->g, v, k).i];
  VL_TRY(ir_eval_node(r->g, r->a, v, r->sym, in, &r->value[v.i], d));
  if (r->mode == EVAL_ROUND && r->value[v.i].f) round_result(&r->value[v.i]);
  return VLPC_OK;
}

static VlStatus run_needed(Run *r, Diag *d) {
  mark_operands(r);
  for (uint32_t i = 1; i <= ir_n_vals(r->g); i++)
    if (r->needed[i] && r->value[i].dtype == 0) VL_TRY(run_node(r, (Val){i}, d));
  return VLPC_OK;
}

VlStatus ir_eval_const(const Graph *g, Arena *a, Val v, RefTensor *out, Diag *d) {
  Run r = run_new(g, a, EVAL_ROUND);
  r.needed[v.i] = true;
  mark_operands(&r);
  for (uint32_t i = 1; i <= ir_n_vals(g); i++)
    if (r.needed[i] && ir_op(g, (Val){i}) == OP_input)
      return diag_error(d, DIAG_EVAL_CONST, ir_at(g, ir_loc(g, v)),
                        "a value depends on the input '%s'", ir_attr(g, (Val){i}, A_name)->str);
  VL_TRY(run_needed(&r, d));
  *out = r.value[v.i];
  return VLPC_OK;
}

/* ---- symbols ------------------------------------------------------------- */

typedef struct {
  const Graph *g;
  int64_t *value;
  bool *known;
} Symbols;

/* The symbol that alone is unknown in e; false when there is none or more. */
static bool one_unknown(const Symbols *s, const Dim *e, uint32_t *term) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < e->n; i++) {
    if (s->known[e->term[i].sym]) continue;
    *term = i;
    n++;
  }
  return n == 1;
}

/* Solves e = size for its one unknown symbol when that is a whole number. */
static bool solve(Symbols *s, const Dim *e, uint32_t term, int64_t size) {
  int64_t rest = size, part;
  if (__builtin_sub_overflow(size, e->c, &rest)) return false;
  for (uint32_t i = 0; i < e->n; i++) {
    if (i == term) continue;
    if (!vl_mul_i64(e->term[i].k, s->value[e->term[i].sym], &part)) return false;
    if (__builtin_sub_overflow(rest, part, &rest)) return false;
  }
  int64_t k = e->term[term].k;
  if (k == -1 ? rest == INT64_MIN : rest % k != 0) return false;
  SymId sym = e->term[term].sym;
  s->value[sym] = rest / k;
  s->known[sym] = true;
  return true;
}

static void bind_symbols(Symbols *s, const Named *input, uint32_t n, const RefTensor *in) {
  bool changed = true;
  while (changed) {
    changed = false;
    for (uint32_t i = 0; i < n; i++) {
      const Type *t = ir_type_of(s->g, input[i].v);
      for (uint32_t k = 0; k < t->rank; k++) {
        Dim e = dim_get(ir_dims(s->g), t->dim[k]);
        uint32_t term = 0;
        if (one_unknown(s, &e, &term) && solve(s, &e, term, in[i].size[k])) changed = true;
      }
    }
  }
}

static VlStatus fail_input(const Symbols *s, const Named *input, const RefTensor *t, Diag *d) {
  Arena *a = ir_arena(s->g);
  Str found = {.arena = a}, want = {.arena = a};
  const Type *type = ir_type_of(s->g, input->v);
  for (uint32_t i = 0; i < t->rank; i++)
    str_printf(&found, "%s%lld", i ? "," : "", (long long)t->size[i]);
  for (uint32_t i = 0; i < type->rank; i++) {
    if (i > 0) str_add(&want, ",");
    dim_print(ir_dims(s->g), type->dim[i], &want);
  }
  VlStatus status = diag_error(d, DIAG_EVAL_SIZES, DIAG_NOWHERE,
                               "the input '%s' does not fit its type", input->name);
  const char *dtype = dtype_valid((int)t->dtype) ? dtype_name(t->dtype) : "none";
  diag_found(d, "%s[%s]", dtype, str_text(&found));
  diag_expected(d, "%s[%s]", dtype_name(type->dtype), str_text(&want));
  return status;
}

static bool input_fits(const Symbols *s, const Named *input, const RefTensor *t) {
  const Type *type = ir_type_of(s->g, input->v);
  if (type->dtype != t->dtype || type->rank != t->rank) return false;
  for (uint32_t k = 0; k < t->rank; k++) {
    Dim e = dim_get(ir_dims(s->g), type->dim[k]);
    int64_t size;
    for (uint32_t i = 0; i < e.n; i++)
      if (!s->known[e.term[i].sym] || s->value[e.term[i].sym] < 0) return false;
    if (!dim_eval(ir_dims(s->g), type->dim[k], s->value, &size) || size != t->size[k]) return false;
  }
  return true;
}

VlStatus ir_eval(const Graph *g, Arena *a, uint32_t mode, const RefTensor *in, RefTensor *out,
                 Diag *d) {
  const Named *input, *output;
  uint32_t n_in = ir_inputs(g, &input), n_out = ir_outputs(g, &output);
  uint32_t n_sym = dim_n_symbols(ir_dims(g));
  Symbols s = {g, arena_array(a, int64_t, n_sym), arena_array(a, bool, n_sym)};
  Run r = run_new(g, a, mode);
  for (uint32_t i = 0; i < n_sym; i++) s.value[i] = SYM_UNKNOWN;
  for (uint32_t i = 0; i < n_in; i++)
    if (in[i].rank != ir_type_of(g, input[i].v)->rank) return fail_input(&s, &input[i], &in[i], d);
  bind_symbols(&s, input, n_in, in);
  for (uint32_t i = 0; i < n_in; i++) {
    if (!input_fits(&s, &input[i], &in[i])) return fail_input(&s, &input[i], &in[i], d);
    r.value[input[i].v.i] = in[i];
  }
  r.sym = s.value;
  for (uint32_t i = 0; i < n_out; i++) r.needed[output[i].v.i] = true;
  VL_TRY(run_needed(&r, d));
  for (uint32_t i = 0; i < n_out; i++) out[i] = r.value[output[i].v.i];
  return VLPC_OK;
}
