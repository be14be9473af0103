/* SPDX-License-Identifier: Apache-2.0 */
/* op_dims.c - arithmetic on sizes: what fold_dims knows, what it leaves alone,
** and that what it knows is what the interpreter computes. */
#include "op_case.h"

/* Operands and results: "[batch,50]" a vector, "batch" a scalar, "t[1,0]" truth
** values; NULL: not known. */
typedef struct {
  OpCode op;
  const char *in[3];
  AttrSet attr;
  const char *out;
} Row;

#define ROW(op, in, attr, out) {OP_##op, in, attr, out}
#define OF(...) {__VA_ARGS__}
#define DIMS(k, text) TEXT(k, text)

static const Row rows[] = {
    ROW(add, OF("[batch,2]", "[1,classes]"), NONE, "[batch+1,classes+2]"),
    ROW(add, OF("[batch,2]", "3"), NONE, "[batch+3,5]"),
    ROW(sub, OF("batch", "batch"), NONE, "0"),
    ROW(neg, OF("[2*batch]"), NONE, "[-2*batch]"),
    ROW(mul, OF("[batch,3]", "[50,classes]"), NONE, "[50*batch,3*classes]"),
    ROW(mul, OF("batch", "classes"), NONE, NULL),
    ROW(div, OF("[50*batch,9]", "[50,2]"), NONE, "[batch,4]"),
    ROW(div, OF("50*batch", "batch"), NONE, "50"),
    ROW(div, OF("2*batch+1", "2"), NONE, "batch"),
    ROW(div, OF("2*batch-1", "2"), NONE, NULL),
    ROW(div, OF("batch", "2"), NONE, NULL),
    ROW(mod, OF("[7,4*batch+9]", "4"), NONE, "[3,1]"),
    ROW(mod, OF("batch", "2"), NONE, NULL),
    ROW(min, OF("batch", "batch+1"), NONE, "batch"),
    ROW(max, OF("[batch+1,batch]", "[batch,-1]"), NONE, "[batch+1,batch]"),
    ROW(max, OF("batch", "1"), NONE, NULL),
    ROW(eq, OF("[batch,-1,5]", "-1"), NONE, "t[0,1,0]"),
    ROW(eq, OF("batch", "batch"), NONE, "t1"),
    ROW(eq, OF("batch", "1"), NONE, NULL),
    ROW(lt, OF("batch", "batch+1"), NONE, "t1"),
    ROW(lt, OF("batch", "0"), NONE, "t0"),
    ROW(lt, OF("batch", "classes"), NONE, NULL),
    ROW(le, OF("0", "batch"), NONE, "t1"),
    ROW(le, OF("batch", "3"), NONE, NULL),
    ROW(and, OF("t[1,0]", "t1"), NONE, "t[1,0]"),
    ROW(not, OF("t[1,0]"), NONE, "t[0,1]"),
    ROW(where, OF("t[1,0]", "[batch,2]", "[7,classes]"), NONE, "[batch,classes]"),
    ROW(where, OF("t0", "batch", "[7,classes]"), NONE, "[7,classes]"),
    ROW(abs, OF("[batch,-3]"), NONE, "[batch,3]"),
    ROW(abs, OF("batch-1"), NONE, NULL),
    ROW(cast, OF("[batch,3]"), ATTRS(INT(dtype, VLPC_I32)), "[batch,3]"),
    ROW(cast, OF("batch+1"), ATTRS(INT(dtype, VLPC_BOOL)), "t1"),
    ROW(cast, OF("batch"), ATTRS(INT(dtype, VLPC_BOOL)), NULL),
    ROW(gather, OF("[batch,50,classes]", "[2,-3]"), ATTRS(INT(axis, 0)), "[classes,batch]"),
    ROW(gather, OF("[batch,50]", "0"), ATTRS(INT(axis, 0)), "batch"),
    ROW(slice, OF("[batch,50,classes]"), ATTRS(DIMS(starts, "1"), DIMS(dims, "2")),
        "[50,classes]"),
    ROW(slice, OF("[batch,50,classes]"),
        ATTRS(DIMS(starts, "2"), INTS(steps, -2), DIMS(dims, "2")), "[classes,batch]"),
    ROW(concat, OF("[batch]", "[50]", "[2*batch,1]"), ATTRS(INT(axis, 0)), "[batch,50,2*batch,1]"),
    ROW(reshape, OF("batch"), ATTRS(DIMS(dims, "1")), "[batch]"),
    ROW(reshape, OF("[batch]"), ATTRS(DIMS(dims, "")), "batch"),
    ROW(broadcast, OF("batch"), ATTRS(DIMS(dims, "3")), "[batch,batch,batch]"),
    ROW(reduce_prod, OF("[batch,50,2]"), ATTRS(INTS(axes, 0)), "100*batch"),
    ROW(reduce_prod, OF("[batch,2]"), ATTRS(INTS(axes, 0), INT(keepdims, 1)), "[2*batch]"),
    ROW(reduce_prod, OF("[batch,classes]"), ATTRS(INTS(axes, 0)), NULL),
    ROW(reduce_sum, OF("[batch,classes,3]"), ATTRS(INTS(axes, 0)), "batch+classes+3"),
    ROW(reduce_max, OF("[batch,batch+2,1]"), ATTRS(INTS(axes, 0)), "batch+2"),
};

/* ---- reading and writing ------------------------------------------------- */

typedef struct {
  bool truth, scalar;
  uint32_t n;
  DimId dim[VLPC_MAX_RANK + 1];
} Sizes;

static Sizes read_sizes(Graph *g, const char *text) {
  Sizes s = {.truth = *text == 't'};
  text += s.truth;
  s.scalar = *text != '[';
  s.n = read_dims(g, text + !s.scalar, s.dim);
  return s;
}

static Val truth_const(Graph *g, const Sizes *s) {
  int64_t size = s->n, v;
  uint8_t bytes[VLPC_MAX_RANK];
  for (uint32_t i = 0; i < s->n; i++) {
    assert_true(dim_is_const(ir_dims(g), s->dim[i], &v));
    bytes[i] = (uint8_t)v;
  }
  TypeId t = ir_type_fixed(g, VLPC_BOOL, s->scalar ? 0 : 1, &size);
  return ir_const(g, t, ir_blob_copy(g, bytes, s->n, NULL));
}

static Val known_value(Graph *g, const char *text) {
  Sizes s = read_sizes(g, text);
  if (s.truth) return truth_const(g, &s);
  Val v = ir_dims_vec(g, s.dim, s.n);
  return s.scalar ? ir_reshape(g, v, NULL, 0) : v;
}

/* "?" when v is not known. */
static const char *text_of(Graph *g, Val v) {
  Str s = {.arena = ir_arena(g)};
  DimId dim[64];
  int64_t truth[64];
  uint32_t n;
  const Type *t = ir_type_of(g, v);
  if (t->dtype == VLPC_BOOL) {
    if (!ir_const_ints(g, v, truth, 64, &n)) return "?";
    for (uint32_t i = 0; i < n; i++) dim[i] = dim_const(ir_dims(g), truth[i]);
    str_add(&s, "t");
  } else if (!ir_known_dims(g, v, dim, 64, &n)) {
    return "?";
  }
  if (t->rank == 1) str_add(&s, "[");
  for (uint32_t i = 0; i < n; i++) {
    if (i > 0) str_add(&s, ",");
    dim_print(ir_dims(g), dim[i], &s);
  }
  if (t->rank == 1) str_add(&s, "]");
  return str_text(&s);
}

static Val make(Graph *g, const Row *r, const Val *in, uint32_t n) {
  Attr at[4];
  for (uint32_t i = 0; i < r->attr.n; i++) at[i] = read_attr(g, r->attr.at[i]);
  Val v = ir_node(g, r->op, n, in, r->attr.n, at);
  if (!val_ok(v)) fail_msg("%s: %s", op_info(r->op)->name, ir_why(g).sentence);
  return v;
}

/* ---- tests --------------------------------------------------------------- */

static void test_known_sizes(void **state) {
  (void)state;
  for (size_t i = 0; i < VL_COUNT(rows); i++) {
    Arena *a = arena_new(0);
    Graph *g = ir_graph_new(a);
    Val in[3];
    uint32_t n = 0;
    for (; n < 3 && rows[i].in[n]; n++) in[n] = known_value(g, rows[i].in[n]);
    Val v = make(g, &rows[i], in, n);
    if (strcmp(text_of(g, v), rows[i].out ? rows[i].out : "?") != 0)
      fail_msg("row %zu, %s: %s", i, op_info(rows[i].op)->name, text_of(g, v));
    arena_free(a);
  }
}

static RefTensor values_of(Graph *g, Arena *a, const char *text, const int64_t *sym) {
  Sizes s = read_sizes(g, text);
  int64_t size = s.n;
  RefTensor t = ref_tensor(a, s.truth ? VLPC_BOOL : VLPC_I64, s.scalar ? 0 : 1, &size);
  for (uint32_t i = 0; i < s.n; i++) assert_true(dim_eval(ir_dims(g), s.dim[i], sym, &t.i[i]));
  return t;
}

/* The same node on inputs, which nothing folds, at some values of the symbols. */
static void check_at(const Row *r, int64_t batch, int64_t classes) {
  Arena *a = arena_new(0);
  Graph *g = ir_graph_new(a);
  DimTable *d = ir_dims(g);
  int64_t sym[DIM_MAX_SYMS] = {0};
  sym[dim_symbol(d, "batch")] = batch;
  sym[dim_symbol(d, "classes")] = classes;
  RefTensor in[3], got, want = values_of(g, a, r->out, sym);
  Val v[3];
  uint32_t n = 0;
  for (; n < 3 && r->in[n]; n++) {
    in[n] = values_of(g, a, r->in[n], sym);
    v[n] = ir_input(g, r->in[n], ir_type_fixed(g, in[n].dtype, in[n].rank, in[n].size));
  }
  ir_output(g, "y", make(g, r, v, n));
  assert_int_equal(ir_eval(g, a, EVAL_ROUND, in, &got, NULL), VLPC_OK);
  assert_int_equal(got.count, want.count);
  for (int64_t i = 0; i < got.count; i++) assert_int_equal(got.i[i], want.i[i]);
  arena_free(a);
}

static void test_sizes_are_what_runs(void **state) {
  (void)state;
  for (size_t i = 0; i < VL_COUNT(rows); i++) {
    if (!rows[i].out) continue;
    check_at(&rows[i], 3, 5);
    check_at(&rows[i], 1, 1);
    check_at(&rows[i], 1, 1000);
  }
}

/* The chain that exporters write for x.reshape(x.shape[0], -1, 64). */
static void test_exporter_chain(void **state) {
  (void)state;
  Arena *a = arena_new(0);
  Graph *g = ir_graph_new(a);
  Val shape = known_value(g, "[batch,50,768]");
  Attr axis = attr_int(A_axis, 0);
  Val pick[2] = {shape, known_value(g, "0")};
  Val batch = ir_reshape(g, ir_node(g, OP_gather, 2, pick, 1, &axis),
                         (DimId[]){dim_const(ir_dims(g), 1)}, 1);
  Val all = ir_reduce(g, OP_reduce_prod, shape, (int64_t[]){0}, 1, true);
  Val rest = ir_ew2(g, OP_div, all, ir_ew2(g, OP_mul, batch, known_value(g, "[64]")));
  Val parts[3] = {batch, rest, known_value(g, "[64]")};
  Val to = ir_concat(g, parts, 3, 0);
  assert_string_equal(text_of(g, to), "[batch,600,64]");
  Val unset[3] = {ir_ew2(g, OP_eq, to, known_value(g, "-1")), known_value(g, "[9,9,9]"), to};
  assert_true(val_eq(ir_node(g, OP_where, 3, unset, 0, NULL), to));
  arena_free(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_known_sizes),
      cmocka_unit_test(test_sizes_are_what_runs),
      cmocka_unit_test(test_exporter_chain),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
