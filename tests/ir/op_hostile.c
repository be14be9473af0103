/* SPDX-License-Identifier: Apache-2.0 */
/* op_hostile.c - random ops on random types with random attributes: a node is
** refused with words, or it has a sound type and runs, or says why it cannot.
** The sanitizer builds give this test its teeth. */
#include "base/rng.h"
#include "ir/graph_int.h"
#include "op_case.h"

enum { ROUNDS = 60000 };

typedef struct {
  Arena *a;
  Graph *g;
  Rng rng;
  uint64_t at;
} Draw;

static uint32_t pick(Draw *d, uint32_t n) { return rng_u32(d->rng, d->at++) % n; }

static const int64_t numbers[] = {0, 1, 1, 2, 2, 3, 4, 6, -1, -2, 8, 100, 1 << 20,
                                  INT64_C(1) << 40, INT64_MAX, INT64_MIN, INT64_MIN + 1};

/* Mostly small, now and then absurd. */
static int64_t draw_number(Draw *d) {
  return numbers[pick(d, pick(d, 8) == 0 ? VL_COUNT(numbers) : 8)];
}

static DimId draw_dim(Draw *d) {
  DimTable *t = ir_dims(d->g);
  if (pick(d, 4) != 0) return dim_const(t, draw_number(d));
  DimId s = dim_of_symbol(t, dim_symbol(t, pick(d, 2) ? "n" : "m"));
  DimId scaled = dim_mul(t, s, dim_const(t, draw_number(d)));
  DimId sum = scaled == DIM_NONE ? s : dim_add(t, scaled, dim_const(t, draw_number(d)));
  return sum == DIM_NONE || pick(d, 2) ? s : sum;
}

static Val draw_operand(Draw *d, const Val *before, uint32_t n) {
  static const VlDtype dtypes[] = {VLPC_F32, VLPC_F32, VLPC_F32, VLPC_I64, VLPC_BOOL, VLPC_I8};
  DimId dim[VLPC_MAX_RANK];
  if (pick(d, 12) == 0) return VAL_NONE;
  if (n > 0 && pick(d, 3) == 0) return before[pick(d, n)];
  uint32_t rank = pick(d, pick(d, 6) == 0 ? VLPC_MAX_RANK + 1 : 4);
  for (uint32_t i = 0; i < rank; i++) dim[i] = draw_dim(d);
  return ir_input(d->g, "x", ir_type(d->g, dtypes[pick(d, VL_COUNT(dtypes))], rank, dim));
}

static Attr draw_list(Draw *d, AttrKey k) {
  uint32_t n = pick(d, pick(d, 8) == 0 ? 12 : 4);
  int64_t *ints = arena_array(d->a, int64_t, 12);
  DimId *dims = arena_array(d->a, DimId, 12);
  for (uint32_t i = 0; i < n; i++) {
    ints[i] = draw_number(d);
    dims[i] = draw_dim(d);
  }
  return is_dims_key(k) ? attr_dims(k, dims, n) : attr_ints(k, ints, n);
}

static Attr draw_attr(Draw *d, AttrKey k) {
  static const char *const words[] = {"erf", "tanh", "quick", "", "fast"};
  if (k == A_eps || k == A_scale) return attr_float(k, (double)draw_number(d));
  if (k == A_approx) return attr_str(k, words[pick(d, VL_COUNT(words))]);
  bool is_list = is_dims_key(k) || k == A_axes || k == A_perm || k == A_steps || k == A_strides ||
                 k == A_pads || k == A_dilations || k == A_patch;
  return is_list ? draw_list(d, k) : attr_int(k, draw_number(d));
}

static Val draw_node(Draw *d, OpCode op) {
  Val in[8];
  Attr at[4];
  uint32_t n = 0, n_at = 0, want = op_info(op)->min_in;
  if (pick(d, 3) == 0) want = pick(d, 5);
  for (; n < want; n++) in[n] = draw_operand(d, in, n);
  for (AttrKey k = A_none + 1; k < A__COUNT && n_at < 4; k++)
    if (attr_takes(op, k) && pick(d, 8) != 0) at[n_at++] = draw_attr(d, k);
  return ir_node(d->g, op, n, in, n_at, at);
}

/* The value at n = 2, m = 3 on zeros, when it is small. */
static void run_small(Draw *d, Val v) {
  RefTensor in[8], out;
  int64_t sym[DIM_MAX_SYMS] = {0}, size[VLPC_MAX_RANK], value = 0;
  DimTable *t = ir_dims(d->g);
  sym[dim_symbol(t, "n")] = 2;
  sym[dim_symbol(t, "m")] = 3;
  for (uint32_t i = 0; i <= ir_n_in(d->g, v); i++) {
    Val x = i == 0 ? v : ir_in(d->g, v, i - 1);
    if (!val_ok(x)) continue;
    const Type *type = ir_type_of(d->g, x);
    int64_t count = 1;
    for (uint32_t k = 0; k < type->rank; k++) {
      if (!dim_eval(t, type->dim[k], sym, &size[k]) || size[k] < 0) return;
      if (!vl_mul_i64(count, size[k] + (size[k] == 0), &count) || count > 4096) return;
    }
    if (i > 0) in[i - 1] = ref_tensor(d->a, type->dtype, type->rank, size);
  }
  for (uint32_t i = 0; i < ir_n_in(d->g, v); i++)
    if (!val_ok(ir_in(d->g, v, i))) in[i] = (RefTensor){.dtype = 0};
  Diag *diag = diag_new();
  VlStatus s = ir_eval_node(d->g, d->a, v, sym, in, &out, diag);
  if (s != VLPC_OK) assert_string_not_equal(diag_text(diag), "");
  for (uint32_t k = 0; s == VLPC_OK && k < out.rank; k++) {
    assert_true(dim_eval(t, ir_type_of(d->g, v)->dim[k], sym, &value));
    assert_int_equal(out.size[k], value);
  }
  diag_free(diag);
}

static void test_hostile_nodes(void **state) {
  (void)state;
  for (uint64_t round = 0; round < ROUNDS; round++) {
    Draw d = {.a = arena_new(0), .rng = {7, round}};
    d.g = ir_graph_new(d.a);
    OpCode op = (OpCode)(OP_none + 1 + pick(&d, OP__COUNT - 1));
    if (op != OP_input && op != OP_const) {
      Val v = draw_node(&d, op);
      if (!val_ok(v)) assert_non_null(ir_why(d.g).sentence);
      if (val_ok(v) && ir_op(d.g, v) == op) run_small(&d, v);
    }
    arena_free(d.a);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_hostile_nodes)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
