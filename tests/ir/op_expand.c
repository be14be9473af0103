/* SPDX-License-Identifier: Apache-2.0 */
/* op_expand.c - on random shapes, attributes and values a semantic op and its
** expansion into primitives agree to 1e-12 in double precision. */
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "op_case.h"

enum { ROUNDS = 200, OPERANDS = 16 };

typedef struct {
  Arena *a;
  Graph *g;
  Rng rng;
  uint64_t at; /* draws so far */
  uint32_t n;
  Val in[OPERANDS];
  RefTensor value[OPERANDS];
} Draw;

/* 1 … most */
static int64_t draw_size(Draw *d, int64_t most) {
  return 1 + (int64_t)(rng_u32(d->rng, d->at++) % (uint32_t)most);
}

static bool draw_bool(Draw *d) { return (rng_u32(d->rng, d->at++) & 1) != 0; }

/* A normal operand, with `hidden` of its elements -inf. */
static void add_operand(Draw *d, uint32_t rank, const int64_t *size, double hidden) {
  RefTensor t = ref_tensor(d->a, VLPC_F64, rank, size);
  for (int64_t i = 0; i < t.count; i++) {
    t.f[i] = rng_normal(d->rng, d->at++);
    if (rng_uniform(d->rng, d->at++) < hidden) t.f[i] = -INFINITY;
  }
  TypeId type = ir_type_fixed(d->g, VLPC_F64, rank, size);
  d->in[d->n] = ir_input(d->g, arena_printf(d->a, "x%u", d->n), type);
  d->value[d->n++] = t;
}

#define SHAPE(...) COUNT(int64_t, __VA_ARGS__), (const int64_t[]){__VA_ARGS__}

/* ---- one draw per op ----------------------------------------------------- */

static Val draw_row_op(Draw *d, OpCode op, Attr at) {
  add_operand(d, SHAPE(draw_size(d, 3), draw_size(d, 4), draw_size(d, 9)), 0);
  return ir_node(d->g, op, 1, d->in, 1, &at);
}

static Val draw_softmax(Draw *d, OpCode op) {
  return draw_row_op(d, op, attr_int(A_axis, draw_size(d, 3) - 1));
}

static Val draw_l2norm(Draw *d, OpCode op) {
  return draw_row_op(d, op, attr_float(A_eps, draw_bool(d) ? 1e-12 : 1));
}

static Val draw_gelu(Draw *d, OpCode op) {
  static const char *const kinds[] = {"erf", "tanh", "quick"};
  return draw_row_op(d, op, attr_str(A_approx, kinds[draw_size(d, 3) - 1]));
}

static Val draw_layernorm(Draw *d, OpCode op) {
  int64_t width = draw_size(d, 16);
  Attr at = attr_float(A_eps, 1e-5);
  add_operand(d, SHAPE(draw_size(d, 3), draw_size(d, 3), width), 0);
  if (draw_bool(d)) add_operand(d, SHAPE(width), 0);
  if (d->n == 2 && draw_bool(d)) add_operand(d, SHAPE(width), 0);
  return ir_node(d->g, op, d->n, d->in, 1, &at);
}

static Val draw_linear(Draw *d, OpCode op) {
  int64_t k = draw_size(d, 9), n = draw_size(d, 9);
  add_operand(d, SHAPE(draw_size(d, 3), draw_size(d, 5), k), 0);
  add_operand(d, SHAPE(k, n), 0);
  if (draw_bool(d)) add_operand(d, SHAPE(n), 0);
  return ir_node(d->g, op, d->n, d->in, 0, NULL);
}

static Val draw_embedding(Draw *d, OpCode op) {
  int64_t rows = draw_size(d, 9), size[2] = {draw_size(d, 3), draw_size(d, 4)};
  add_operand(d, SHAPE(rows, draw_size(d, 5)), 0);
  RefTensor ids = ref_tensor(d->a, VLPC_I64, 2, size);
  for (int64_t i = 0; i < ids.count; i++) ids.i[i] = draw_size(d, rows) - 1;
  d->in[d->n] = ir_input(d->g, "ids", ir_type_fixed(d->g, VLPC_I64, 2, size));
  d->value[d->n++] = ids;
  return ir_node(d->g, op, 2, d->in, 0, NULL);
}

static Val draw_patch_embed(Draw *d, OpCode op) {
  int64_t patch[2] = {draw_size(d, 4), draw_size(d, 4)}, c = draw_size(d, 3), n = draw_size(d, 5);
  Attr at = attr_ints(A_patch, patch, 2);
  add_operand(d, SHAPE(draw_size(d, 2), c, patch[0] * draw_size(d, 3), patch[1] * draw_size(d, 3)),
              0);
  add_operand(d, SHAPE(c * patch[0] * patch[1], n), 0);
  if (draw_bool(d)) add_operand(d, SHAPE(n), 0);
  return ir_node(d->g, op, d->n, d->in, 1, &at);
}

/* What stands before the operands of an attention in the parts of its gradient. */
static void add_parts(Draw *d, OpCode op, const int64_t *y, uint32_t rank, int64_t heads) {
  int64_t lse[4];
  if (op != OP_attention_grad && op != OP_attention_varlen_grad) return;
  memcpy(lse, y, (rank - 2) * sizeof *y);
  lse[rank - 2] = heads;
  lse[rank - 1] = y[rank - 2];
  add_operand(d, rank, y, 0);
  add_operand(d, rank, y, 0);
  add_operand(d, rank, lse, 0);
}

/* The node, with the operand whose gradient it is when it is one. */
static Val attention_node(Draw *d, OpCode op, Attr *at, uint32_t n) {
  bool is_grad = op == OP_attention_grad || op == OP_attention_varlen_grad;
  int64_t most = op == OP_attention_grad ? d->n - 3 : 3;
  if (is_grad) at[n++] = attr_int(A_operand, draw_size(d, most) - 1);
  return ir_node(d->g, op, d->n, d->in, n, at);
}

static Val draw_attention(Draw *d, OpCode op) {
  int64_t b = draw_size(d, 3), l_q = draw_size(d, 5), l_k = 0;
  int64_t heads = draw_size(d, 3), width = heads * draw_size(d, 4);
  int64_t width_v = heads * draw_size(d, 4);
  Attr at[4] = {attr_int(A_heads, heads), attr_float(A_scale, 0.5),
                attr_int(A_causal, draw_bool(d))};
  add_parts(d, op, (int64_t[]){b, l_q, width_v}, 3, heads);
  add_operand(d, SHAPE(b, l_q, width), 0);
  for (int64_t s = draw_size(d, ATTENTION_SEGMENTS), n; s > 0; s--, l_k += n) {
    n = draw_size(d, 4);
    add_operand(d, SHAPE(draw_bool(d) ? b : 1, n, width), 0);
    add_operand(d, SHAPE(draw_bool(d) ? b : 1, n, width_v), 0);
  }
  int64_t mask_b = draw_bool(d) ? b : 1, mask_h = draw_bool(d) ? heads : 1;
  if (draw_bool(d)) add_operand(d, SHAPE(mask_b, mask_h, l_q, l_k), 0.6);
  return attention_node(d, op, at, 3);
}

/* Bounds rise from 0 to the rows; runs may be empty. */
static Val draw_varlen(Draw *d, OpCode op) {
  int64_t heads = draw_size(d, 3), width = heads * draw_size(d, 4);
  int64_t width_v = heads * draw_size(d, 4), n_runs = draw_size(d, 4);
  int64_t bounds[8] = {0};
  for (int64_t i = 0; i < n_runs; i++) bounds[i + 1] = bounds[i] + draw_size(d, 4) - 1;
  int64_t rows = bounds[n_runs];
  Attr at[3] = {attr_int(A_heads, heads), attr_float(A_scale, 0.5)};
  add_parts(d, op, (int64_t[]){rows, width_v}, 2, heads);
  add_operand(d, SHAPE(rows, width), 0);
  add_operand(d, SHAPE(rows, width), 0);
  add_operand(d, SHAPE(rows, width_v), 0);
  d->in[d->n++] = ir_const_i64(d->g, bounds, (uint32_t)n_runs + 1);
  return attention_node(d, op, at, 2);
}

/* ---- parts of gradients -------------------------------------------------- */

/* op(dy, x): the draw of the op itself, with one more operand of x's sizes. */
static Val draw_with_dy(Draw *d, OpCode op, Attr at) {
  int64_t size[3] = {draw_size(d, 3), draw_size(d, 4), draw_size(d, 9)};
  add_operand(d, 3, size, 0);
  add_operand(d, 3, size, 0);
  if (op == OP_layernorm_grad && draw_bool(d)) add_operand(d, 1, size + 2, 0);
  return ir_node(d->g, op, d->n, d->in, 1, &at);
}

static Val draw_softmax_grad(Draw *d, OpCode op) {
  return draw_with_dy(d, op, attr_int(A_axis, draw_size(d, 3) - 1));
}

static Val draw_norm_grad(Draw *d, OpCode op) {
  return draw_with_dy(d, op, attr_float(A_eps, draw_bool(d) ? 1e-5 : 1));
}

static Val draw_gelu_grad(Draw *d, OpCode op) {
  static const char *const kinds[] = {"erf", "tanh", "quick"};
  return draw_with_dy(d, op, attr_str(A_approx, kinds[draw_size(d, 3) - 1]));
}

typedef Val DrawFn(Draw *d, OpCode op);

static DrawFn *const draws[OP__COUNT] = {
    [OP_softmax] = draw_softmax,         [OP_log_softmax] = draw_softmax,
    [OP_layernorm] = draw_layernorm,     [OP_l2norm] = draw_l2norm,
    [OP_gelu] = draw_gelu,               [OP_linear] = draw_linear,
    [OP_embedding] = draw_embedding,     [OP_patch_embed] = draw_patch_embed,
    [OP_attention] = draw_attention,     [OP_attention_varlen] = draw_varlen,
    [OP_softmax_grad] = draw_softmax_grad, [OP_log_softmax_grad] = draw_softmax_grad,
    [OP_layernorm_grad] = draw_norm_grad, [OP_l2norm_grad] = draw_norm_grad,
    [OP_gelu_grad] = draw_gelu_grad,     [OP_attention_lse] = draw_attention,
    [OP_attention_grad] = draw_attention, [OP_attention_varlen_lse] = draw_varlen,
    [OP_attention_varlen_grad] = draw_varlen,
};

/* ---- tests --------------------------------------------------------------- */

static void check_round(OpCode op, uint64_t round) {
  Draw d = {.a = arena_new(0), .rng = {round, op}};
  RefTensor out[2];
  d.g = ir_graph_new(d.a);
  Val v = draws[op](&d, op);
  if (!val_ok(v)) fail_msg("%s: %s", op_info(op)->name, ir_why(d.g).sentence);
  Val in[OPERANDS];
  memcpy(in, d.in, sizeof in);
  ir_output(d.g, "kernel", v);
  Val expanded = ir_expand(d.g, d.g, v, in);
  if (!val_ok(expanded)) fail_msg("%s: %s", op_info(op)->name, ir_why(d.g).sentence);
  assert_int_equal(ir_type_id(d.g, expanded).i, ir_type_id(d.g, v).i);
  ir_output(d.g, "expansion", expanded);
  assert_int_equal(ir_eval(d.g, d.a, EVAL_DOUBLE, d.value, out, NULL), VLPC_OK);
  for (int64_t i = 0; i < out[0].count; i++) {
    double a = out[0].f[i], b = out[1].f[i];
    if (a != b && !(fabs(a - b) <= 1e-12 * (1 + fabs(a)))) /* both may be inf */
      fail_msg("%s, round %d, element %d: %.17g and %.17g", op_info(op)->name, (int)round,
               (int)i, a, b);
  }
  arena_free(d.a);
}

static void test_expansions_agree(void **state) {
  (void)state;
  for (OpCode op = OP_none + 1; op < OP__COUNT; op++) {
    if (op_info(op)->kind != K_SEMANTIC) continue;
    if (!draws[op]) fail_msg("%s has no draw", op_info(op)->name);
    for (uint64_t round = 0; round < ROUNDS; round++) check_round(op, round);
  }
}

static bool is_primitive(const Graph *g, Val v) { return op_info(ir_op(g, v))->kind != K_SEMANTIC; }

static Val expand_all(Rewrite *rw, Val src, const Val *in, uint32_t n_in) {
  (void)n_in;
  return is_primitive(rw->src, src) ? VAL_NONE : ir_expand(rw->dst, rw->src, src, in);
}

/* Across graphs, with symbols: nothing semantic is left and types stay. */
static void test_expansion_by_rewrite(void **state) {
  (void)state;
  Arena *a = arena_new(0);
  Graph *g = ir_graph_new(a);
  DimTable *t = ir_dims(g);
  DimId n = dim_of_symbol(t, dim_symbol(t, "n")), b = dim_of_symbol(t, dim_symbol(t, "b"));
  Val x = ir_input(g, "x", ir_type(g, VLPC_F32, 3, (DimId[]){b, n, dim_const(t, 8)}));
  Val in[3] = {x, x, x};
  Attr at[3] = {attr_int(A_heads, 2), attr_float(A_scale, 0.5), attr_int(A_causal, 1)};
  Val y = ir_node(g, OP_attention, 3, in, 3, at);
  Attr eps = attr_float(A_eps, 1e-5);
  ir_output(g, "y", ir_node(g, OP_layernorm, 1, &y, 1, &eps));
  assert_false(val_ok(ir_expand(g, g, x, NULL)));
  bool changed = false;
  Graph *dst = ir_rewrite(g, a, expand_all, NULL, &changed);
  assert_true(changed);
  for (uint32_t i = 1; i <= ir_n_vals(dst); i++) assert_true(is_primitive(dst, (Val){i}));
  const Named *out;
  assert_int_equal(ir_outputs(dst, &out), 1);
  const Type *type = ir_type_of(dst, out[0].v);
  assert_int_equal(type->rank, 3);
  Str s = {.arena = a};
  dim_print(ir_dims(dst), type->dim[1], &s);
  assert_string_equal(str_text(&s), "n");
  arena_free(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_expansions_agree),
      cmocka_unit_test(test_expansion_by_rewrite),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
