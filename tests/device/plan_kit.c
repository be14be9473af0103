/* SPDX-License-Identifier: Apache-2.0 */
/* plan_kit.c - see plan_kit.h. */
#include "tests/device/plan_kit.h"

#include <stdlib.h>
#include <string.h>

#include "backends/ref/ref.h"
#include "passes/pass.h"

static int64_t size_of(const DimTable *t, DimId d, const int64_t *sym) {
  int64_t v = 0;
  VL_CHECK(dim_eval(t, d, sym, &v), "a size overflows");
  return v;
}

void plan_bind(const Graph *g, const RefTensor *in, int64_t *sym) {
  const Named *at = NULL;
  uint32_t n = ir_inputs(g, &at);
  for (uint32_t i = 0; i < n; i++) {
    const Type *t = ir_type_of(g, at[i].v);
    for (uint32_t k = 0; k < t->rank; k++) {
      Dim d = dim_get(ir_dims(g), t->dim[k]);
      if (d.n == 1 && d.c == 0 && d.term[0].k == 1) sym[d.term[0].sym] = in[i].size[k];
    }
  }
}

static int64_t buf_elems(const Program *p, const ProgBuf *b, const int64_t *sym) {
  int64_t n = 1;
  for (uint32_t i = 0; i < b->rank; i++) n *= size_of(p->dims, b->size[i], sym);
  return n;
}

static void panels(const RefTensor *t, float *out) {
  int64_t k = t->size[0], n = t->size[1];
  for (int64_t r = 0; r < k; r++) {
    for (int64_t c = 0; c < n; c++) out[(c / 16 * k + r) * 16 + c % 16] = (float)t->f[r * n + c];
  }
}

static void panels_bf16(const RefTensor *t, uint16_t *out) {
  int64_t k = t->size[0], n = t->size[1], pairs = (k + 1) / 2;
  for (int64_t r = 0; r < k; r++) {
    for (int64_t c = 0; c < n; c++)
      out[((c / 16 * pairs + r / 2) * 16 + c % 16) * 2 + r % 2] =
          bf16_from_f32((float)t->f[r * n + c]);
  }
}

static void fill_const(const Graph *g, const SchedConst *c, void *out, Arena *a) {
  RefTensor t;
  Diag *d = diag_new();
  VL_CHECK(ir_eval_const(g, a, c->v, &t, d) == VLPC_OK, diag_text(d));
  diag_free(d);
  if (c->layout == CONST_PANELS)
    panels(&t, out);
  else if (c->layout == CONST_PANELS_BF16)
    panels_bf16(&t, out);
  else
    ref_to_bytes(&t, out);
}

int plan_ref_kernel(void *ctx, uint32_t kernel, const Kernel *k, void *const *operand,
                    const int64_t *size, Arena *a) {
  (void)ctx, (void)kernel;
  return ref_run(k, operand, size, a);
}

typedef struct {
  uint8_t **at;
  uint64_t *bytes;
} Buffers;

static Buffers allocate(const Program *p, const int64_t *sym, Arena *a) {
  Buffers b = {arena_array(a, uint8_t *, p->n_bufs), arena_array(a, uint64_t, p->n_bufs)};
  for (uint32_t i = 0; i < p->n_bufs; i++) {
    b.bytes[i] = (uint64_t)buf_elems(p, &p->bufs[i], sym) * dtype_size(p->bufs[i].dtype);
    b.at[i] = arena_array_bytes(a, b.bytes[i] + 128, 1);
    b.at[i] += 64 - (uintptr_t)b.at[i] % 64;
    memset(b.at[i], p->bufs[i].kind == BUF_CONST ? 0 : 0xAB, b.bytes[i]);
  }
  return b;
}

void plan_run(const Graph *g, const Schedule *plan, const int64_t *sym, const RefTensor *in,
              RefTensor *out, Arena *a, RunKernel *fn, void *ctx) {
  const Program *p = &plan->program;
  const ProgEntry *e = &p->entries[0];
  Buffers b = allocate(p, sym, a);
  for (uint32_t i = 0; i < plan->n_consts; i++)
    fill_const(g, &plan->consts[i], b.at[plan->consts[i].buf], a);
  const Named *named = NULL;
  uint32_t n_in = ir_inputs(g, &named);
  for (uint32_t i = 0; i < e->n_in; i++) {
    for (uint32_t k = 0; k < n_in; k++) {
      if (strcmp(named[k].name, p->ports[e->in + i].name) == 0)
        ref_to_bytes(&in[k], b.at[p->ports[e->in + i].buf]);
    }
  }
  for (uint32_t i = 0; i < e->n_steps; i++) {
    const ProgStep *s = &p->steps[e->step + i];
    void *operand[PROG_MAX_ARGS];
    uint64_t before[PROG_MAX_ARGS], after[PROG_MAX_ARGS];
    int64_t size[PROG_MAX_SIZES] = {0};
    for (uint32_t k = 0; k < s->n_sizes; k++)
      size[k] = size_of(p->dims, p->sizes[s->size + k], sym);
    for (uint32_t k = 0; k < s->n_args; k++) {
      const ProgArg *arg = &p->args[s->arg + k];
      uint64_t off =
          (uint64_t)size_of(p->dims, arg->offset, sym) * dtype_size(p->bufs[arg->buf].dtype);
      if (b.bytes[arg->buf] == 0) off = 0; /* as the runtime does */
      VL_CHECK(off <= b.bytes[arg->buf], "an offset lies outside its buffer");
      operand[k] = b.at[arg->buf] + off;
      before[k] = off;
      after[k] = b.bytes[arg->buf] - off;
    }
    const Kernel *k = &plan->kernels.at[s->kernel];
    for (uint32_t o = 0; o < s->n_args; o++)
      VL_CHECK(kernel_operand_dtype(k, o) == p->bufs[p->args[s->arg + o].buf].dtype, s->place);
    double reach[2 * PROG_MAX_ARGS];
    ref_reach(k, size, reach);
    for (uint32_t o = 0; o < s->n_args; o++)
      VL_CHECK(-reach[2 * o] <= (double)before[o] && reach[2 * o + 1] <= (double)after[o],
               s->place);
    VL_CHECK(fn(ctx, s->kernel, k, operand, size, a) == 0, s->place);
  }
  for (uint32_t i = 0; i < e->n_out; i++) {
    const ProgBuf *buf = &p->bufs[p->ports[e->out + i].buf];
    int64_t shape[VLPC_MAX_RANK];
    for (uint32_t k = 0; k < buf->rank; k++) shape[k] = size_of(p->dims, buf->size[k], sym);
    out[i] = ref_from_bytes(a, buf->dtype, buf->rank, shape, b.at[p->ports[e->out + i].buf]);
  }
}

/* ---- gradients ------------------------------------------------------------ */

/* Σ v² / 2 over all elements as f32, so that dy is v. */
static Val half_squares(Graph *g, Val v) {
  int64_t axes[VLPC_MAX_RANK];
  uint32_t rank = ir_type_of(g, v)->rank;
  for (uint32_t i = 0; i < rank; i++) axes[i] = i;
  Val wide = ir_cast(g, v, VLPC_F32), square = ir_ew2(g, OP_mul, wide, wide);
  Val half = ir_ew2(g, OP_mul, square, ir_scalar(g, VLPC_F32, 0.5));
  return rank == 0 ? half : ir_reduce(g, OP_reduce_sum, half, axes, rank, false);
}

Graph *plan_gradients(Graph *g) {
  const Named *in = NULL, *out = NULL;
  uint32_t n_in = ir_inputs(g, &in), n_out = ir_outputs(g, &out), n = 0;
  Named *of = arena_array(ir_arena(g), Named, n_in);
  Val loss = VAL_NONE;
  Graph *to = NULL;
  for (uint32_t i = 0; i < n_out; i++) {
    if (!dtype_is_float(ir_type_of(g, out[i].v)->dtype)) continue;
    Val part = half_squares(g, out[i].v);
    loss = val_ok(loss) ? ir_ew2(g, OP_add, loss, part) : part;
  }
  for (uint32_t i = 0; i < n_in; i++)
    if (dtype_is_float(ir_type_of(g, in[i].v)->dtype)) of[n++] = in[i];
  if (!val_ok(loss) || n == 0) return NULL;
  ir_output(g, "loss", loss);
  GradSpec spec = {loss, of, n, PASS_GRAD, GRAD_KEEP_all, 0};
  return pass_grad(g, &spec, NULL, &to) == VLPC_OK ? to : NULL;
}
