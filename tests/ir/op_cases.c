/* SPDX-License-Identifier: Apache-2.0 */
/* op_cases.c - every op against results of numpy and PyTorch (op_cases.inc): as
** the interpreter runs it, as the builder folds it from constants, with sizes
** as symbols, and, for semantic ops, expanded into primitives. */
#include <math.h>

#include "op_case.h"

typedef struct {
  VlDtype dtype;
  uint32_t rank;
  int64_t size[VLPC_MAX_RANK];
  const double *v;
} Value;

typedef struct {
  uint32_t n;
  Value at[16];
} Operands;

typedef struct {
  OpCode op;
  Operands in;
  AttrSet attr;
  Value out;
} Case;

#define RANK(...) COUNT(int64_t, __VA_ARGS__)
#define SIZES(...) {__VA_ARGS__}
#define VALUE(t, dims, ...) {VLPC_##t, RANK dims, SIZES dims, (const double[]){__VA_ARGS__}}
#define SCALAR(t, v) {VLPC_##t, 0, {0}, (const double[]){v}}
#define ABSENT {0, 0, {0}, NULL}
#define IN(...) {COUNT(Value, __VA_ARGS__), {__VA_ARGS__}}

static const Case cases[] = {
#include "op_cases.inc"
};

/* ---- making graphs ------------------------------------------------------- */

typedef enum { FROM_INPUTS, FROM_CONSTS, FROM_SYMBOLS } From;

typedef struct {
  const Case *c;
  Arena *a;
  Graph *g;
  From from;
  Val in[16], v;
} Made;

static RefTensor tensor_of(Arena *a, const Value *v) {
  RefTensor t = ref_tensor(a, v->dtype, v->rank, v->size);
  for (int64_t i = 0; i < t.count; i++) {
    if (t.f) t.f[i] = v->v[i];
    else t.i[i] = (int64_t)v->v[i];
  }
  return t;
}

static bool is_operand_size(const Case *c, int64_t n) {
  for (uint32_t i = 0; i < c->in.n; i++)
    for (uint32_t k = 0; k < c->in.at[i].rank; k++)
      if (c->in.at[i].size[k] == n) return true;
  return false;
}

/* Sizes of 2 and more that the operands have become one symbol for each size. */
static DimId size_of(Made *m, int64_t n) {
  DimTable *t = ir_dims(m->g);
  if (m->from != FROM_SYMBOLS || n < 2 || !is_operand_size(m->c, n)) return dim_const(t, n);
  return dim_of_symbol(t, dim_symbol(t, arena_printf(m->a, "n%d", (int)n)));
}

static TypeId type_of(Made *m, const Value *v) {
  DimId dim[VLPC_MAX_RANK];
  for (uint32_t i = 0; i < v->rank; i++) dim[i] = size_of(m, v->size[i]);
  return ir_type(m->g, v->dtype, v->rank, dim);
}

static Val operand_of(Made *m, const Value *v, uint32_t i) {
  if (v->dtype == 0) return VAL_NONE;
  if (m->from != FROM_CONSTS) return ir_input(m->g, arena_printf(m->a, "x%u", i), type_of(m, v));
  RefTensor t = tensor_of(m->a, v);
  void *bytes = arena_array(m->a, double, t.count);
  ref_to_bytes(&t, bytes);
  uint64_t n = (uint64_t)t.count * dtype_size(v->dtype);
  return ir_const(m->g, type_of(m, v), ir_blob_copy(m->g, bytes, n, NULL));
}

static Attr attr_of(Made *m, Attr at) {
  if (!is_dims_key(at.key)) return at;
  DimId *dim = arena_array(m->a, DimId, at.n);
  for (uint32_t i = 0; i < at.n; i++) dim[i] = size_of(m, at.ints[i]);
  return attr_dims(at.key, dim, at.n);
}

static Made make(const Case *c, From from) {
  Arena *a = arena_new(0);
  Made m = {.c = c, .a = a, .g = ir_graph_new(a), .from = from};
  Attr at[4];
  for (uint32_t i = 0; i < c->in.n; i++) m.in[i] = operand_of(&m, &c->in.at[i], i);
  for (uint32_t i = 0; i < c->attr.n; i++) at[i] = attr_of(&m, c->attr.at[i]);
  bool is_source = c->op == OP_input || c->op == OP_const;
  m.v = is_source ? m.in[0] : ir_node(m.g, c->op, c->in.n, m.in, c->attr.n, at);
  return m;
}

/* ---- comparing ----------------------------------------------------------- */

static bool is_near(double got, double want, bool exact) {
  if (got != got || want != want) return got != got && want != want;
  if (got == want) return true;
  return !exact && fabs(got - want) <= 1e-12 * (1 + fabs(want));
}

static void check_result(const Case *c, const RefTensor *got, const char *how) {
  OpKind kind = op_info(c->op)->kind;
  bool exact = kind == K_MOVE || kind == K_SOURCE || (kind == K_INDEX && c->op != OP_cumsum);
  long row = (long)(c - cases);
  assert_int_equal(got->dtype, c->out.dtype);
  assert_int_equal(got->rank, c->out.rank);
  for (uint32_t i = 0; i < got->rank; i++) assert_int_equal(got->size[i], c->out.size[i]);
  for (int64_t i = 0; i < got->count; i++) {
    double v = got->f ? got->f[i] : (double)got->i[i];
    if (!is_near(v, c->out.v[i], exact || !got->f))
      fail_msg("%s, row %ld, %s: element %ld is %.17g, not %.17g", op_info(c->op)->name, row, how,
               (long)i, v, c->out.v[i]);
  }
}

static RefTensor run(const Case *c, Made *m, Val v) {
  RefTensor in[16], out;
  uint32_t n = 0;
  Diag *d = diag_new();
  for (uint32_t i = 0; i < c->in.n; i++)
    if (c->in.at[i].dtype != 0) in[n++] = tensor_of(m->a, &c->in.at[i]);
  ir_output(m->g, "y", v);
  if (ir_eval(m->g, m->a, EVAL_DOUBLE, in, &out, d) != VLPC_OK)
    fail_msg("%s: %s", op_info(c->op)->name, diag_text(d));
  diag_free(d);
  return out;
}

/* ---- tests --------------------------------------------------------------- */

static void test_every_op_has_a_case(void **state) {
  (void)state;
  bool seen[OP__COUNT] = {false};
  for (size_t i = 0; i < VL_COUNT(cases); i++) seen[cases[i].op] = true;
  for (OpCode op = OP_none + 1; op < OP__COUNT; op++)
    if (!seen[op]) fail_msg("op_cases.inc has no case of %s", op_info(op)->name);
}

static void test_results(void **state) {
  (void)state;
  for (size_t i = 0; i < VL_COUNT(cases); i++) {
    Made m = make(&cases[i], cases[i].op == OP_const ? FROM_CONSTS : FROM_INPUTS);
    if (!val_ok(m.v))
      fail_msg("%s: %s", op_info(cases[i].op)->name, ir_why(m.g).sentence);
    Case none = cases[i];
    if (cases[i].op == OP_const) none.in.n = 0;
    RefTensor got = run(&none, &m, m.v);
    check_result(&cases[i], &got, "run");
    arena_free(m.a);
  }
}

static void test_folded_results(void **state) {
  (void)state;
  for (size_t i = 0; i < VL_COUNT(cases); i++) {
    if (cases[i].op == OP_input) continue;
    RefTensor got;
    Made m = make(&cases[i], FROM_CONSTS);
    assert_true(ir_is_const(m.g, m.v));
    assert_int_equal(ir_eval_const(m.g, m.a, m.v, &got, NULL), VLPC_OK);
    if (got.dtype != VLPC_F32) check_result(&cases[i], &got, "folded");
    arena_free(m.a);
  }
}

/* Rules that need numbers (channels, heads) may refuse symbols, the others may
** not; what is accepted computes the same. */
static void test_symbolic_results(void **state) {
  (void)state;
  for (size_t i = 0; i < VL_COUNT(cases); i++) {
    OpKind kind = op_info(cases[i].op)->kind;
    Made m = make(&cases[i], FROM_SYMBOLS);
    bool must = kind == K_EW || kind == K_REDUCE || cases[i].op == OP_permute ||
                cases[i].op == OP_matmul || cases[i].op == OP_linear;
    if (must && !val_ok(m.v)) fail_msg("%s: %s", op_info(cases[i].op)->name, ir_why(m.g).sentence);
    bool has_inputs = cases[i].in.n > 0 && cases[i].op != OP_const;
    if (val_ok(m.v) && has_inputs) {
      RefTensor got = run(&cases[i], &m, m.v);
      check_result(&cases[i], &got, "with symbols");
    }
    arena_free(m.a);
  }
}

static void test_expansions(void **state) {
  (void)state;
  for (size_t i = 0; i < VL_COUNT(cases); i++) {
    if (op_info(cases[i].op)->kind != K_SEMANTIC) continue;
    Made m = make(&cases[i], FROM_INPUTS);
    Val v = ir_expand(m.g, m.g, m.v, m.in);
    if (!val_ok(v)) fail_msg("%s: %s", op_info(cases[i].op)->name, ir_why(m.g).sentence);
    RefTensor got = run(&cases[i], &m, v);
    check_result(&cases[i], &got, "expanded");
    arena_free(m.a);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_op_has_a_case), cmocka_unit_test(test_results),
      cmocka_unit_test(test_folded_results),      cmocka_unit_test(test_symbolic_results),
      cmocka_unit_test(test_expansions),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
