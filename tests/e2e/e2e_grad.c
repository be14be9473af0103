/* SPDX-License-Identifier: Apache-2.0 */
/* e2e_grad.c - gradients of a whole prompted CLIP: two prompt rows join the image
** stream before block 0, four context rows replace text rows there, the loss is
** cross-entropy (scripts/golden/grad.py has the same in PyTorch).
**
** In double by the interpreter: against PyTorch's autograd and against
** differences.  In f32: the plan's kernels, by the reference and as code for
** every target, against the interpreter.  Frozen weights cost nothing. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/frontend.h"
#include "passes/pass.h"
#include "tests/device/llvm_kit.h"
#include "tests/device/plan_kit.h"
#include "tests/e2e/e2e_kit.h"

enum { WIDTH = 64, PROMPTS = 2, CONTEXT = 4, IMAGES = 2, CLASSES = 3, N_IN = 5 };
#define TORCH_RTOL 1e-9
#define DIFFERENCE_RTOL 1e-6
#define F32_RTOL 2e-5

static Graph *forward, *graph; /* the loss; with grad.prompt and grad.context */
static RefTensor input[N_IN];

/* ---- the prompted graph -------------------------------------------------- */

typedef struct {
  Val image, text; /* V.0 and T.0 of the source */
  Val prompt, context;
} Sites;

static Val point_of(const Graph *g, const char *name) {
  const Named *at = NULL;
  uint32_t n = ir_points(g, &at);
  for (uint32_t i = 0; i < n; i++)
    if (strcmp(at[i].name, name) == 0) return at[i].v;
  fail_msg("no point %s", name);
  return VAL_NONE;
}

static Val copied(Rewrite *rw, Val src, const Val *in, uint32_t n_in) {
  const Attr *attr = NULL;
  uint32_t n = ir_attrs(rw->src, src, &attr);
  return ir_node(rw->dst, ir_op(rw->src, src), n_in, in, n, attr);
}

/* rows f32[n,WIDTH], once for each of a batch like that of x. */
static Val for_batch(Graph *g, const char *name, int64_t n, Val x, Val *rows) {
  *rows = ir_input(g, name, ir_type_fixed(g, VLPC_F32, 2, (int64_t[]){n, WIDTH}));
  Type t = *ir_type_of(g, x);
  t.dim[1] = dim_const(ir_dims(g), n);
  return ir_broadcast(g, *rows, t.dim, 3);
}

/* A slice of columns takes all rows, however many there are now. */
static Val whole_rows(Rewrite *rw, Val src, const Val *in) {
  Type was = *ir_type_of(rw->src, ir_in(rw->src, src, 0)), t = *ir_type_of(rw->src, src);
  const Attr *starts = ir_attr(rw->src, src, A_starts), *steps = ir_attr(rw->src, src, A_steps);
  if (t.rank != 3 || was.dim[1] != t.dim[1]) return VAL_NONE;
  t.dim[1] = ir_type_of(rw->dst, in[0])->dim[1];
  Attr at[3] = {*starts, *steps, attr_dims(A_dims, t.dim, 3)};
  return ir_node(rw->dst, OP_slice, 1, in, 3, at);
}

static Val with_prompts(Rewrite *rw, Val src, const Val *in, uint32_t n_in) {
  Sites *s = rw->ctx;
  Graph *g = rw->dst;
  DimTable *d = ir_dims(g);
  if (val_eq(src, s->image)) {
    Val x = copied(rw, src, in, n_in);
    Val part[2] = {x, for_batch(g, "prompt", PROMPTS, x, &s->prompt)};
    return ir_concat(g, part, 2, 1);
  }
  if (ir_op(rw->src, src) == OP_slice) return whole_rows(rw, src, in);
  if (!val_eq(src, s->text)) return VAL_NONE;
  Val x = copied(rw, src, in, n_in);
  DimId one = dim_const(d, 1), at = dim_const(d, 1 + CONTEXT);
  Val part[3] = {ir_slice_axis(g, x, 1, dim_const(d, 0), one),
                 for_batch(g, "context", CONTEXT, x, &s->context),
                 ir_slice_axis(g, x, 1, at, dim_sub(d, ir_type_of(g, x)->dim[1], at))};
  return ir_concat(g, part, 3, 1);
}

/* Mean over the images of -log softmax(logits)[label]. */
static Val cross_entropy(Graph *g, Val logits) {
  DimId size[2] = {ir_type_of(g, logits)->dim[0], dim_const(ir_dims(g), 1)};
  Attr last = attr_int(A_axis, 1), batch = attr_int(A_batch_dims, 1);
  Val log = ir_node(g, OP_log_softmax, 1, &logits, 1, &last);
  Val in[2] = {log, ir_input(g, "label", ir_type(g, VLPC_I64, 2, size))};
  Val picked = ir_node(g, OP_gather_nd, 2, in, 1, &batch);
  return ir_ew1(g, OP_neg, ir_reduce(g, OP_reduce_mean, picked, (int64_t[]){0}, 1, false));
}

static Val named_input(const Graph *g, const char *name) {
  const Named *at = NULL;
  uint32_t n = ir_inputs(g, &at);
  for (uint32_t i = 0; i < n; i++)
    if (strcmp(at[i].name, name) == 0) return at[i].v;
  fail_msg("no input %s", name);
  return VAL_NONE;
}

/* The graph as exported, lowered, with prompts and the loss as its only output. */
static Graph *prompted(const char *path, Diag *d) {
  FeModel *m = NULL;
  Graph *g = NULL;
  PassResult lowered;
  if (fe_read(e2e, path, NULL, d, &m) != VLPC_OK || fe_import(m, &g) != VLPC_OK ||
      pass_lower(g, NULL, d, &lowered) != VLPC_OK)
    fail_msg("%s", diag_text(d));
  Sites s = {.image = point_of(lowered.g, "V.0"), .text = point_of(lowered.g, "T.0")};
  g = ir_rewrite(lowered.g, e2e, with_prompts, &s, NULL);
  Named loss = {"loss", cross_entropy(g, point_of(g, "logits"))};
  return ir_extract(g, e2e, &loss, 1);
}

static Graph *differentiated(Graph *of, Diag *d) {
  const Named *out = NULL;
  Graph *g = ir_rewrite(of, e2e, NULL, NULL, NULL), *to = NULL;
  assert_int_equal(ir_outputs(g, &out), 1);
  Named by[2] = {{"prompt", named_input(g, "prompt")}, {"context", named_input(g, "context")}};
  GradSpec spec = {out[0].v, by, 2, PASS_GRAD, GRAD_KEEP_all, 0};
  if (pass_grad(g, &spec, d, &to) != VLPC_OK) fail_msg("%s", diag_text(d));
  Str faults = {.arena = e2e};
  if (!ir_verify(to, SPEC_CORE, &faults)) fail_msg("%s", str_text(&faults));
  return to;
}

/* ---- inputs -------------------------------------------------------------- */

/* What grad.py makes of the numbers 0 … n-1. */
static RefTensor small_numbers(int64_t rows) {
  RefTensor t = ref_tensor(e2e, VLPC_F32, 2, (int64_t[]){rows, WIDTH});
  for (int64_t i = 0; i < t.count; i++) t.f[i] = (double)(i * 29 % 97 - 48) / 128;
  return t;
}

static RefTensor tensor_for(const char *name) {
  if (strcmp(name, "prompt") == 0) return small_numbers(PROMPTS);
  if (strcmp(name, "context") == 0) return small_numbers(CONTEXT);
  if (strcmp(name, "label") == 0)
    return ref_from_bytes(e2e, VLPC_I64, 2, (int64_t[]){IMAGES, 1}, (int64_t[]){2, 0});
  Npz given = tiny_inputs(IMAGES, CLASSES);
  const NpyArray *x = npz_find(&given, name);
  assert_non_null(x);
  return ref_from_bytes(e2e, x->dtype, x->rank, x->size, x->data);
}

static int set_up(void **state) {
  if (e2e_set_up(state) != 0) return -1;
  const char *folder = e2e_tiny("tiny", false, 17);
  Diag *d = diag_new();
  const Named *in = NULL;
  forward = prompted(arena_printf(e2e, "%s/model.onnx", folder), d);
  graph = differentiated(forward, d);
  assert_int_equal(ir_inputs(graph, &in), N_IN);
  for (uint32_t i = 0; i < N_IN; i++) input[i] = tensor_for(in[i].name);
  diag_free(d);
  return 0;
}

/* ---- in double ----------------------------------------------------------- */

static void near_values(const RefTensor *got, const double *want, double rtol, const char *what) {
  double most = 0;
  for (int64_t i = 0; i < got->count; i++) most = fmax(most, fabs(want[i]));
  for (int64_t i = 0; i < got->count; i++)
    if (!(fabs(got->f[i] - want[i]) <= rtol * most))
      fail_msg("%s[%d]: %.12g, not %.12g", what, (int)i, got->f[i], want[i]);
}

static void gradients_are_pytorchs(void **state) {
  (void)state;
  static const char *const name[] = {"loss", "prompt", "context"};
  RefTensor out[3];
  Npz want;
  assert_int_equal(npz_read(VLPC_TEST_DIR "/data/grad_tiny.npz", e2e, NULL, &want), VLPC_OK);
  assert_int_equal(ir_eval(graph, e2e, EVAL_DOUBLE, input, out, NULL), VLPC_OK);
  for (int i = 0; i < 3; i++) {
    const NpyArray *x = npz_find(&want, name[i]);
    assert_int_equal(x->dtype, VLPC_F64);
    near_values(&out[i], x->data, TORCH_RTOL, name[i]);
  }
}

static double loss_of(void) {
  Arena *a = arena_new(0);
  RefTensor out;
  assert_int_equal(ir_eval(forward, a, EVAL_DOUBLE, input, &out, NULL), VLPC_OK);
  double v = out.f[0];
  arena_free(a);
  return v;
}

static double slope_at(double *x) {
  static const double at[4] = {-2, -1, 1, 2}, weight[4] = {1, -8, 8, -1};
  double was = *x, sum = 0, step = 1e-3;
  for (int i = 0; i < 4; i++) {
    *x = was + at[i] * step;
    sum += weight[i] * loss_of();
  }
  *x = was;
  return sum / (12 * step);
}

/* Some elements of both: each needs four evaluations of both towers. */
static void gradients_are_differences(void **state) {
  (void)state;
  RefTensor out[3];
  const Named *in = NULL;
  ir_inputs(graph, &in);
  assert_int_equal(ir_eval(graph, e2e, EVAL_DOUBLE, input, out, NULL), VLPC_OK);
  for (uint32_t i = 0; i < N_IN; i++) {
    bool is_prompt = strcmp(in[i].name, "prompt") == 0;
    if (!is_prompt && strcmp(in[i].name, "context") != 0) continue;
    const RefTensor *got = &out[is_prompt ? 1 : 2];
    double most = 0;
    for (int64_t k = 0; k < got->count; k++) most = fmax(most, fabs(got->f[k]));
    for (int64_t k = 5; k < got->count; k += 41) {
      double want = slope_at(&input[i].f[k]);
      if (!(fabs(want - got->f[k]) <= DIFFERENCE_RTOL * most))
        fail_msg("%s[%d]: %.12g by differences, %.12g", in[i].name, (int)k, want, got->f[k]);
    }
  }
}

/* ---- in f32 -------------------------------------------------------------- */

static int run_code(void *ctx, uint32_t kernel, const Kernel *k, void *const *operand,
                    const int64_t *size, Arena *a) {
  (void)k, (void)a;
  return kit_run(ctx, kernel, operand, size, 2);
}

static uint32_t steps_of(const Schedule *p, KernelKind kind) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < p->program.n_steps; i++)
    n += p->kernels.at[p->program.steps[i].kernel].kind == kind;
  return n;
}

/* How many weights are packed, but for small ones, which fold when turned. */
static uint32_t packed_weights(const Graph *g, const Schedule *p) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < p->n_consts; i++) {
    int64_t count = 0;
    bool is_large = ir_count_const(g, p->consts[i].v, &count) && count > 8192;
    n += is_large && p->consts[i].layout == CONST_PANELS;
  }
  return n;
}

static void kernels_agree(void **state) {
  (void)state;
  const Graph *g = sched_expand(graph, e2e);
  const Named *out = NULL;
  uint32_t n_out = ir_outputs(g, &out);
  SchedEntry e = {.name = "step", .out = out, .n_out = n_out};
  Schedule plan;
  Diag *d = diag_new();
  RefTensor want[3], got[3];
  int64_t sym[DIM_MAX_SYMS] = {0};
  if (sched_run(g, &e, 1, 0, e2e, d, &plan) != VLPC_OK) fail_msg("%s", diag_text(d));
  diag_free(d);
  /* of qkv and the MLP in six blocks, and of the patches: both ways read them */
  assert_int_equal(packed_weights(g, &plan), 19);
  assert_int_equal(steps_of(&plan, KK_ATTENTION), 6);
  assert_int_equal(steps_of(&plan, KK_ATTENTION_GRAD), 6);
  plan_bind(g, input, sym);
  assert_int_equal(ir_eval(graph, e2e, EVAL_DOUBLE, input, want, NULL), VLPC_OK);
  plan_run(g, &plan, sym, input, got, e2e, plan_ref_kernel, NULL);
  for (int i = 0; i < 3; i++) near_values(&got[i], want[i].f, F32_RTOL, out[i].name);
  for (int t = 0; kit_target(t); t++) {
    Kit kit = kit_open(kit_target(t), plan.kernels.at, plan.kernels.n);
    plan_run(g, &plan, sym, input, got, e2e, run_code, &kit);
    for (int i = 0; i < 3; i++)
      near_values(&got[i], want[i].f, F32_RTOL,
                  arena_printf(e2e, "%s, %s", kit_target(t), out[i].name));
    kit_close(&kit);
  }
}

/* ---- what is not built --------------------------------------------------- */

static uint32_t count_of(const Graph *g, OpCode op) {
  uint32_t n = 0;
  for (uint32_t i = 1; i <= ir_n_vals(g); i++) n += ir_op(g, (Val){i}) == op;
  return n;
}

/* Every projection goes back once, for its rows alone: a product with rows on both
** sides, as a weight's gradient is, does not exist.  Nothing goes back to the image
** or the table of tokens. */
static void frozen_weights_have_no_gradient(void **state) {
  (void)state;
  assert_int_equal(count_of(graph, OP_linear), 2 * count_of(forward, OP_linear));
  assert_int_equal(count_of(graph, OP_matmul), 3);
  assert_int_equal(count_of(graph, OP_layernorm), count_of(forward, OP_layernorm));
  assert_int_equal(count_of(graph, OP_layernorm_grad), count_of(forward, OP_layernorm) - 1);
  assert_int_equal(count_of(graph, OP_gelu_grad), 6);
  assert_int_equal(count_of(graph, OP_attention_lse), 6);
  assert_int_equal(count_of(graph, OP_attention_grad), 18);
  assert_int_equal(count_of(graph, OP_patch_embed), 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gradients_are_pytorchs),
      cmocka_unit_test(gradients_are_differences),
      cmocka_unit_test(kernels_agree),
      cmocka_unit_test(frozen_weights_have_no_gradient),
  };
  return cmocka_run_group_tests_name("e2e_grad", tests, set_up, e2e_tear_down);
}
