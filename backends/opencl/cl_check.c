/* SPDX-License-Identifier: Apache-2.0 */
/* cl_check.c - what a device computes against what the reference does: small
** kernels of each kind with sizes that leave rests everywhere.  Drivers have
** been wrong; a wrong feature would go unseen. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backends/opencl/cl_code.h"
#include "backends/ref/ref.h"
#include "base/rng.h"
#include "runtime/code_store.h"

enum { ELEMENTS = 32768, OPERANDS = 6, KERNELS = 14 };

/* ---- the kernels --------------------------------------------------------- */

static const KBody loops_body[] = {
    {.kind = KB_LOAD, .dtype = VLPC_F32, .load = {.operand = 1, .stride = {{1, -1}, {67, -1}}}},
    {.kind = KB_OP, .dtype = VLPC_F32, .op = OP_tanh},
};

/* A size or stride left out below is run-time size 0, which is 0. */
static const int64_t sizes[1] = {0};

static Kernel plain(KernelKind kind, uint32_t operands) {
  return (Kernel){.kind = kind, .n_operands = operands, .n_sizes = VL_COUNT(sizes)};
}

/* Three of the way back. */
static void gradients(Kernel *k) {
  KSize row = ksize(32), width = ksize(203);
  k[0] = plain(KK_GEMM, 3);
  k[0].gemm = (KGemm){.g = ksize(1), .m = ksize(37), .k = 70, .n = 150, .c_m = ksize(150),
                      .a_m = ksize(70), .transposed = true};
  k[1] = plain(KK_LAYERNORM_GRAD, 3);
  k[1].rows = (KRows){.g = ksize(1), .m = ksize(5), .cols = width, .o_m = width, .x_m = width,
                      .dy_m = width, .eps = 1e-5f, .has_dy = true};
  k[2] = plain(KK_ATTENTION_GRAD, 6);
  k[2].attention_grad = (KAttentionGrad){.batch = ksize(1), .lq = 41, .heads = 2, .d = 16,
                                         .n_segments = 1, .want = 7, .scale = 0.25f,
                                         .causal = true, .dy_r = row, .y_r = row, .q_r = row};
  k[2].attention_grad.segment[0] = (KGradSegment){.n = 41, .k_r = row, .v_r = row};
}

/* With bf16, after the f32 kernels that they differ from; odd k ends in half a pair. */
static void halves(const Kernel *like, Kernel *k) {
  for (int i = 0; i < 3; i++) k[i] = like[i];
  k[0].gemm.k = 71, k[0].gemm.a_m = ksize(71);
  k[0].gemm.in = k[0].gemm.out = NUM_BF16;
  k[1].attention.in = k[1].attention.out = NUM_BF16;
  k[2].rows.out = NUM_BF16;
}

/* Those two for matrix instructions (cl_tensor.h), deep enough for copies to go round. */
static void even_halves(const Kernel *like, Kernel *k) {
  KSize none = ksize(0), row = ksize(64), deep = ksize(384), wide = ksize(80);
  for (int i = 0; i < 2; i++) k[i] = like[i];
  KGemm *g = &k[0].gemm;
  KAttention *t = &k[1].attention;
  g->k = deep.c, g->n = wide.c, g->a_m = deep, g->c_m = g->r_m = wide;
  g->a_g = g->c_g = g->r_g = none;
  t->d = t->dv = 32, t->causal = false;
  t->q_b = t->o_b = none, t->q_r = t->o_r = row;
  t->segment[0] = (KSegment){t->segment[0].n, none, row, none, row};
}

static KernelList test_kernels(Arena *a) {
  Kernel *k = arena_array(a, Kernel, KERNELS);
  k[0] = plain(KK_GEMM, 5);
  k[0].gemm = (KGemm){.g = ksize(1), .m = ksize(37), .k = 70, .n = 150, .c_m = ksize(150),
                      .a_m = ksize(70), .r_m = ksize(150), .has_bias = true,
                      .has_residual = true, .act = ACT_GELU_QUICK};
  k[1] = plain(KK_ATTENTION, 4);
  k[1].attention = (KAttention){.batch = ksize(1), .lq = ksize(41), .n_segments = 1, .heads = 2,
                                .d = 16, .dv = 16, .scale = 0.25f, .causal = true,
                                .q_r = ksize(32), .o_r = ksize(32)};
  k[1].attention.segment[0] = (KSegment){.n = ksize(41), .k_r = ksize(32), .v_r = ksize(32)};
  for (int i = 2; i < 5; i++) {
    static const KernelKind kind[] = {KK_LAYERNORM, KK_SOFTMAX, KK_L2NORM};
    k[i] = plain(kind[i - 2], 2);
    k[i].rows = (KRows){.g = ksize(1), .m = ksize(5), .cols = ksize(203), .o_m = ksize(203),
                        .x_m = ksize(203), .eps = 1e-5f};
  }
  k[5] = plain(KK_LOOPS, 2);
  k[5].loops = (KLoops){.rank = 2, .size = {{67, -1}, {35, -1}}, .n_body = 2,
                        .body = arena_array(a, KBody, 2),
                        .store = {.stride = {{35, -1}, {1, -1}}}};
  memcpy(k[5].loops.body, loops_body, sizeof loops_body);
  gradients(k + 6);
  halves(k, k + 9);
  even_halves(k + 9, k + 12);
  return (KernelList){k, KERNELS};
}

/* ---- both ways ----------------------------------------------------------- */

typedef struct {
  float *host[OPERANDS];
  DeviceMem memory[OPERANDS];
} Operands;

static bool fill(DeviceStream *s, Operands *o, Arena *a) {
  for (uint32_t i = 0; i < OPERANDS; i++) {
    o->host[i] = arena_array(a, float, ELEMENTS);
    for (uint32_t j = 0; j < ELEMENTS; j++)
      o->host[i][j] = (float)(2 * rng_uniform((Rng){i + 1, 1}, j) - 1);
    if (!device_opencl.alloc(s, ELEMENTS * sizeof(float), &o->memory[i])) return false;
  }
  return true;
}

static void *elements(const float *from, VlDtype t, Arena *a) {
  void *to = arena_array_bytes(a, ELEMENTS, dtype_size(t));
  for (uint32_t i = 0; i < ELEMENTS; i++) dtype_store(t, to, i, (double)from[i]);
  return to;
}

/* A result in bf16 may be the next one, and attention's factors round before they are summed. */
static bool same(const void *got, const void *want, VlDtype t) {
  double close = t == VLPC_F32 ? 2e-5 : 0x1p-7;
  for (uint32_t i = 0; i < ELEMENTS; i++) {
    double w = dtype_load(t, want, i);
    if (!(fabs(dtype_load(t, got, i) - w) <= close * (1 + fabs(w)))) return false;
  }
  return true;
}

static bool run_one(DeviceStream *s, const Kernel *k, uint32_t i, Operands *o, Arena *a) {
  DeviceSpan args[OPERANDS];
  void *operand[OPERANDS];
  DeviceFault fault;
  VlDtype out = kernel_operand_dtype(k, 0);
  uint64_t bytes = ELEMENTS * dtype_size(out);
  void *got = arena_array_bytes(a, ELEMENTS, dtype_size(out));
  for (uint32_t j = 0; j < k->n_operands; j++) {
    VlDtype t = kernel_operand_dtype(k, j);
    args[j] = (DeviceSpan){o->memory[j].handle, 0};
    operand[j] = elements(o->host[j], t, a);
    if (device_opencl.write(s, args[j], operand[j], ELEMENTS * dtype_size(t)) != VLPC_OK)
      return false;
  }
  DeviceLaunch l = {.kernel = i, .n_args = k->n_operands, .n_sizes = k->n_sizes,
                    .args = args, .sizes = sizes};
  return ref_run(k, operand, sizes, a) == 0 && device_opencl.launch(s, &l) == VLPC_OK &&
         device_opencl.wait(s, &fault) == VLPC_OK &&
         device_opencl.read(s, got, args[0], bytes) == VLPC_OK && same(got, operand[0], out);
}

/* The number of the first kernel that is wrong; -1: none. */
static VlStatus first_wrong(DeviceCode *c, KernelList l, Arena *a, Diag *d, int *wrong) {
  DeviceStream *s = NULL;
  Operands o = {0};
  *wrong = -1;
  VL_TRY(device_opencl.stream_new(c, NULL, d, &s));
  ProgStep *step = arena_array(a, ProgStep, l.n);
  for (uint32_t i = 0; i < l.n; i++) step[i].kernel = i;
  VlStatus built = device_opencl.ready(s, step, l.n, d);
  bool ready = built == VLPC_OK && fill(s, &o, a);
  for (uint32_t i = 0; ready && *wrong < 0 && i < l.n; i++)
    if (!run_one(s, &l.at[i], i, &o, a)) *wrong = (int)i;
  for (uint32_t i = 0; i < OPERANDS; i++)
    if (o.memory[i].handle) device_opencl.release(s, &o.memory[i]);
  device_opencl.stream_free(s);
  if (built != VLPC_OK) return built;
  return ready ? VLPC_OK : cl_fail(d, "clCreateBuffer", CL_MEM_OBJECT_ALLOCATION_FAILURE);
}

/* ---- the verdict --------------------------------------------------------- */

static VlStatus wrong_results(const ClDevice *x, const char *kernel, Diag *d) {
  VlStatus s = diag_error(d, DIAG_CL_SELF_TEST, (DiagAt){NULL, x->name},
                          "the device computes a test kernel wrong");
  diag_found(d, "%s, driver %s", kernel, x->driver);
  diag_fix(d, "update the driver, or run with --device cpu");
  return s;
}

static VlStatus judge(const ClDevice *x, const DeviceLoad *l, Arena *a, Diag *d) {
  KernelList kernels = test_kernels(a);
  DeviceLoad test = {.artifact = l->artifact, .target = l->target, .scratch_dir = l->scratch_dir};
  uint8_t key[16];
  CodeFound found;
  size_t n = 0;
  Str text = {.arena = a};
  kernels_write(kernels, a, &test.kernels, &n);
  test.kernels_bytes = n;
  cl_identity(&text, x);
  ClTarget plain = cl_target_of(x, NULL);
  str_printf(&text, "self-test\n%s", cl_program_text(kernels, &plain, a));
  store_key(text.at, text.n, key);
  VL_TRY(store_find(l->scratch_dir, key, 0, d, &found));
  int wrong = found.code_bytes ? (int)(int8_t)found.code[0] : -2;
  code_release(&found);
  if (wrong == -2) {
    DeviceCode *c = NULL;
    VL_TRY(cl_code_new(&test, d, &c));
    VlStatus ran = first_wrong(c, kernels, a, d, &wrong);
    device_opencl.unload(c);
    if (ran != VLPC_OK) return ran;
    int8_t verdict = (int8_t)wrong;
    store_keep(l->scratch_dir, key, 0, (Section){(const uint8_t *)&verdict, sizeof verdict});
  }
  if (wrong < 0) return VLPC_OK;
  Str name = {.arena = a};
  kernel_describe(&kernels.at[(uint32_t)wrong % kernels.n], &name);
  return wrong_results(x, str_text(&name), d);
}

VlStatus cl_check(const ClDevice *x, const DeviceLoad *l, Diag *d) {
  Arena *a = arena_new(0);
  if (!a || ARENA_GUARD(a)) {
    arena_free(a);
    return diag_error(d, DIAG_NOMEM, DIAG_NOWHERE, "no memory for the device's self-test");
  }
  VlStatus s = judge(x, l, a, d);
  arena_free(a);
  return s;
}
