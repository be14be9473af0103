/* SPDX-License-Identifier: Apache-2.0 */
/* llvm_bf16_test.c - kernels with bf16 operands against the reference device, on
** every target: the same bits from each, however tasks and rows are divided. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "backends/ref/ref.h"
#include "base/cpu.h"
#include "tests/device/amx.h"
#include "tests/device/llvm_kit.h"

enum { GAP = 5, OPERANDS = 6 };

/* Those of the kit, and AMX, which amx.h computes where it is not. */
static const char *target(int i) {
  const char *last = i > 0 ? kit_bf16_target(i - 1) : NULL;
  bool next = !kit_bf16_target(i) && last && strcmp(last, "avx512bf16") == 0 && amx_runs();
  return next ? "amx" : kit_bf16_target(i);
}

/* Sums of AMX have an order of their own. */
static bool by_amx(const char *name, const Kernel *k) {
  return strcmp(name, "amx") == 0 && k->kind == KK_GEMM && k->gemm.in == NUM_BF16 &&
         k->gemm.k % 32 == 0;
}

typedef struct {
  void *op[OPERANDS];
  int64_t n[OPERANDS]; /* elements */
} Data;

/* Values in [-1, 1), as the operand's elements. */
static void *values(const Kit *kit, uint64_t seed, int64_t n, VlDtype d) {
  float *from = kit_floats(kit, seed, n);
  if (d == VLPC_F32) return from;
  uint8_t *to = arena_array_bytes(kit->arena, (uint64_t)n + 16, dtype_size(d));
  for (int64_t i = 0; i < n; i++) dtype_store(d, to, i, (double)from[i]);
  return to;
}

/* As many elements as the operand's spans reach, and GAP more. */
static int64_t extent(const Kernel *k, uint32_t operand, const int64_t *sizes) {
  double reach[2 * OPERANDS];
  ref_reach(k, sizes, reach);
  return (int64_t)reach[2 * operand + 1] / (int64_t)dtype_size(kernel_operand_dtype(k, operand)) +
         GAP;
}

static Data data_of(const Kit *kit, const Kernel *k, const int64_t *sizes) {
  Data d = {0};
  for (uint32_t i = 0; i < k->n_operands; i++) {
    d.n[i] = extent(k, i, sizes);
    d.op[i] = values(kit, 3 + i, d.n[i], kernel_operand_dtype(k, i));
  }
  return d;
}

static void *copy_of(const Kit *kit, const Data *d, VlDtype t, uint32_t i) {
  uint64_t n = (uint64_t)d->n[i] + 16;
  uint8_t *to = arena_array_bytes(kit->arena, n, dtype_size(t));
  memcpy(to, d->op[i], (size_t)d->n[i] * dtype_size(t));
  return to;
}

/* Keys that a kernel may take in parts: then factors round against other maxima. */
static bool in_parts(const Kernel *k, const int64_t *sizes) {
  return k->kind == KK_ATTENTION && sizes[2] > kit_keys();
}

/* bf16 results are one step apart at most, and few are: a sum near the middle
** of two steps may fall to either side. */
static void check(const Kernel *k, const Data *d, const void *got, const void *want, double bound,
                  bool few) {
  VlDtype t = kernel_operand_dtype(k, 0);
  int64_t apart = 0;
  for (int64_t i = 0; i < d->n[0]; i++) {
    double g = dtype_load(t, got, i), w = dtype_load(t, want, i);
    if (g == w) continue;
    apart++;
    double step = t == VLPC_BF16 ? 0x1p-7 * fabs(w) : 0;
    if (!(fabs(g - w) <= bound * (1 + fabs(w)) + step))
      fail_msg("kind %d: element %lld is %.9g, should be %.9g", (int)k->kind, (long long)i, g, w);
  }
  if (few && t == VLPC_BF16 && apart > d->n[0] / 50 + 1)
    fail_msg("kind %d: %lld of %lld differ", (int)k->kind, (long long)apart, (long long)d->n[0]);
}

typedef struct {
  Kernel k;
  int64_t sizes[4];
  double bound;
  const uint8_t *first; /* what the first target gave */
} Check;

/* Kernel i of the kit against the reference, in one piece and in five. */
static void check_one(const Kit *kit, const char *name, uint32_t i, Check *c, Arena *kept) {
  Data d = data_of(kit, &c->k, c->sizes);
  VlDtype type = kernel_operand_dtype(&c->k, 0);
  size_t bytes = (size_t)d.n[0] * dtype_size(type);
  void *want = copy_of(kit, &d, type, 0), *split = copy_of(kit, &d, type, 0), *got = d.op[0];
  assert_int_equal(kit_run(kit, i, d.op, c->sizes, 1), FAULT_NONE);
  d.op[0] = split;
  assert_int_equal(kit_run(kit, i, d.op, c->sizes, 5), FAULT_NONE);
  assert_memory_equal(got, split, bytes);
  d.op[0] = want;
  assert_int_equal(ref_run(&c->k, d.op, c->sizes, kit->arena), 0);
  check(&c->k, &d, got, want, c->bound, !in_parts(&c->k, c->sizes));
  if (!c->first) c->first = memcpy(arena_array_bytes(kept, bytes, 1), got, bytes);
  bool exact = c->k.kind == KK_GEMM && c->k.gemm.in == NUM_BF16 && c->k.gemm.act == ACT_NONE &&
               !by_amx(name, &c->k);
  if (exact) assert_memory_equal(got, c->first, bytes);
}

/* On every target; products of bf16 have the same bits on all but AMX. */
static void check_all(Check *c, uint32_t n) {
  Arena *kept = arena_new(0);
  Kernel *k = arena_array(kept, Kernel, n);
  for (uint32_t i = 0; i < n; i++) k[i] = c[i].k;
  for (int t = 0; target(t); t++) {
    Kit kit = kit_open(target(t), k, n);
    for (uint32_t i = 0; i < n; i++)
      if (kit_has_time(&k[i], c[i].sizes)) check_one(&kit, target(t), i, &c[i], kept);
    kit_close(&kit);
  }
  arena_free(kept);
}

/* ---- gemm ---------------------------------------------------------------- */

typedef struct {
  int64_t g, m, k, n, gap;
  KNum in, out;
  KAct act;
  bool bias, residual;
} Gemm;

static Kernel gemm_of(const Gemm *c) {
  Kernel k = {.kind = KK_GEMM, .n_operands = 3u + c->bias + c->residual, .n_sizes = 2};
  int64_t a_m = c->k + c->gap, c_m = c->n + c->gap;
  k.gemm = (KGemm){.in = c->in, .out = c->out, .g = {0, 0}, .m = {0, 1}, .k = c->k, .n = c->n,
                   .act = c->act, .has_bias = c->bias, .has_residual = c->residual,
                   .c_g = ksize(c_m * c->m + c->gap), .c_m = ksize(c_m), .a_m = ksize(a_m),
                   .a_g = ksize(a_m * c->m + c->gap), .r_g = ksize(c_m * c->m + c->gap),
                   .r_m = ksize(c_m)};
  return k;
}

static const Gemm gemms[] = {
    {1, 1, 1, 1, 0, NUM_BF16, NUM_F32, ACT_NONE, false, false},
    {1, 1, 2, 16, 0, NUM_BF16, NUM_BF16, ACT_NONE, false, false},
    {1, 50, 64, 96, 0, NUM_BF16, NUM_BF16, ACT_NONE, true, false},
    {1, 7, 33, 17, 3, NUM_BF16, NUM_BF16, ACT_GELU_ERF, true, false},
    {2, 9, 67, 130, 1, NUM_BF16, NUM_F32, ACT_GELU_QUICK, true, true},
    {3, 5, 49, 48, 0, NUM_BF16, NUM_F32, ACT_NONE, false, true},
    {100, 1, 41, 50, 7, NUM_BF16, NUM_BF16, ACT_TANH, true, true},
    {1, 217, 20, 64, 0, NUM_F32, NUM_BF16, ACT_NONE, true, false},
    {0, 4, 9, 16, 0, NUM_BF16, NUM_BF16, ACT_NONE, true, false},
    {4, 0, 8, 16, 0, NUM_BF16, NUM_F32, ACT_NONE, true, false},
    {1, 333, 13, 100, 0, NUM_BF16, NUM_F32, ACT_NONE, false, false},
    {1, 23, 767, 49, 1, NUM_BF16, NUM_F32, ACT_NONE, true, false},
    {2, 133, 160, 208, 8, NUM_BF16, NUM_F32, ACT_GELU_QUICK, true, true},
    {3, 21, 32, 48, 8, NUM_BF16, NUM_BF16, ACT_NONE, false, true},
    {1, 200, 96, 192, 0, NUM_BF16, NUM_BF16, ACT_NONE, true, false},
    {70, 1, 64, 50, 7, NUM_BF16, NUM_F32, ACT_NONE, true, true},
    {3, 17, 32, 16, 0, NUM_BF16, NUM_BF16, ACT_GELU_QUICK, true, false},
    {1, 150, 256, 64, 0, NUM_BF16, NUM_F32, ACT_NONE, true, true},
    {1, 70, 384, 80, 8, NUM_BF16, NUM_BF16, ACT_GELU_QUICK, false, false},
    {1, 5, 288, 16, 0, NUM_BF16, NUM_F32, ACT_NONE, true, false},
    {1, 3, 512, 16, 8, NUM_BF16, NUM_BF16, ACT_NONE, false, true},
};

/* What the odd k of the last pair would read lies past the row and is not a
** number: it must not be used. */
static void test_odd_k(void **state) {
  (void)state;
  Gemm c = {1, 9, 33, 40, 3, NUM_BF16, NUM_F32, ACT_NONE, false, false};
  Kernel k = gemm_of(&c);
  int64_t sizes[] = {c.g, c.m};
  for (int t = 0; target(t); t++) {
    Kit kit = kit_open(target(t), &k, 1);
    Data d = data_of(&kit, &k, sizes);
    for (int64_t m = 0; m < c.m; m++)
      for (int64_t j = 0; j < c.gap; j++)
        dtype_store(VLPC_BF16, d.op[1], m * (c.k + c.gap) + c.k + j, (double)NAN);
    assert_int_equal(kit_run(&kit, 0, d.op, sizes, 1), FAULT_NONE);
    for (int64_t m = 0; m < c.m; m++)
      for (int64_t j = 0; j < c.n; j++) {
        double v = dtype_load(VLPC_F32, d.op[0], m * (c.n + c.gap) + j);
        assert_true(isfinite(v));
      }
    kit_close(&kit);
  }
}

static void test_gemm(void **state) {
  (void)state;
  Check check[VL_COUNT(gemms)];
  for (size_t i = 0; i < VL_COUNT(gemms); i++) {
    const Gemm *c = &gemms[i];
    double bound = 1e-6 * sqrt((double)c->k) + 1e-6;
    check[i] = (Check){gemm_of(c), {c->g, c->m}, bound, NULL};
  }
  check_all(check, VL_COUNT(gemms));
}

/* Of each pair the odd k first, each a multiply-add rounded once. */
static float in_order(const Data *d, const Gemm *c, int64_t m, int64_t n) {
  const int64_t pairs = (c->k + 1) / 2;
  const uint16_t *a = (const uint16_t *)d->op[1] + m * c->k;
  const uint16_t *w = (const uint16_t *)d->op[2] + (n / 16 * pairs * 16 + n % 16) * 2;
  float sum = 0;
  for (int64_t k = 0; k < pairs; k++, w += 32) {
    if (2 * k + 1 < c->k) sum = fmaf(bf16_to_f32(a[2 * k + 1]), bf16_to_f32(w[1]), sum);
    sum = fmaf(bf16_to_f32(a[2 * k]), bf16_to_f32(w[0]), sum);
  }
  return sum;
}

/* Even and odd k of 32 by themselves, then both to the sum. */
static float in_amx_order(const Data *d, const Gemm *c, int64_t m, int64_t n) {
  const uint16_t *a = (const uint16_t *)d->op[1] + m * c->k;
  const uint16_t *w = (const uint16_t *)d->op[2] + (n / 16 * c->k / 2 * 16 + n % 16) * 2;
  float sum = 0;
  for (int64_t k = 0; k < c->k; k += 32) {
    float half[2] = {0, 0};
    for (int64_t i = k; i < k + 32; i++)
      half[i % 2] = fmaf(bf16_to_f32(a[i]), bf16_to_f32(w[i / 2 * 32 + i % 2]), half[i % 2]);
    sum += half[0] + half[1];
  }
  return sum;
}

static void check_order(const Gemm *c) {
  Kernel k = gemm_of(c);
  int64_t sizes[] = {c->g, c->m};
  for (int t = 0; target(t); t++) {
    Kit kit = kit_open(target(t), &k, 1);
    Data d = data_of(&kit, &k, sizes);
    bool amx = by_amx(target(t), &k);
    uint64_t before = amx_products();
    assert_int_equal(kit_run(&kit, 0, d.op, sizes, 1), FAULT_NONE);
    if (amx && !cpu_isa_runs(ISA_AMX)) assert_true(amx_products() > before);
    for (int64_t i = 0; i < c->m * c->n; i++) {
      float want = (amx ? in_amx_order : in_order)(&d, c, i / c->n, i % c->n);
      kit_same((float *)d.op[0] + i, &want, 1, target(t));
    }
    kit_close(&kit);
  }
}

static void test_order(void **state) {
  (void)state;
  check_order(&(Gemm){1, 13, 77, 41, 0, NUM_BF16, NUM_F32, ACT_NONE, false, false});
  check_order(&(Gemm){1, 37, 96, 70, 0, NUM_BF16, NUM_F32, ACT_NONE, false, false});
}

/* Each row has the bits that it has when it is alone. */
static void check_row_alone(Gemm c) {
  Kernel k = gemm_of(&c);
  for (int t = 0; target(t); t++) {
    Kit kit = kit_open(target(t), &k, 1);
    Data d = data_of(&kit, &k, (int64_t[]){1, c.m}), one = d;
    one.op[0] = copy_of(&kit, &d, VLPC_BF16, 0);
    assert_int_equal(kit_run(&kit, 0, d.op, (int64_t[]){1, c.m}, 1), FAULT_NONE);
    for (int64_t m = 0; m < c.m; m++) {
      one.op[1] = (uint8_t *)d.op[1] + 2 * m * c.k;
      assert_int_equal(kit_run(&kit, 0, one.op, (int64_t[]){1, 1}, 1), FAULT_NONE);
      assert_memory_equal(one.op[0], (uint8_t *)d.op[0] + 2 * m * c.n, (size_t)(2 * c.n));
    }
    kit_close(&kit);
  }
}

static void test_row_alone(void **state) {
  (void)state;
  check_row_alone((Gemm){1, 23, 71, 112, 0, NUM_BF16, NUM_BF16, ACT_GELU_ERF, true, false});
  check_row_alone((Gemm){1, 23, 64, 112, 0, NUM_BF16, NUM_BF16, ACT_GELU_ERF, true, false});
}

/* ---- rounding ------------------------------------------------------------ */

/* One row of n columns. */
static KRows one_row(int64_t n) {
  KSize none = ksize(0);
  return (KRows){.g = ksize(1), .m = ksize(1), .cols = ksize(n), .o_g = none, .o_m = none,
                 .x_g = none, .x_m = none};
}

/* To nearest, ties to even, infinity and NaN kept, as base/dtype.h rounds: a
** layernorm of equal columns gives beta. */
static void test_rounding(void **state) {
  (void)state;
  static const float at[] = {1.00390625f, 1.01171875f, 1.0039063f, 3.4e38f, 3.39e38f, 1e-30f, 0};
  enum { N = 16 * (int)VL_COUNT(at) };
  Kernel k = {.kind = KK_LAYERNORM, .n_operands = 4, .n_sizes = 0};
  k.rows = one_row(N);
  k.rows.out = NUM_BF16, k.rows.eps = 1, k.rows.has_gamma = k.rows.has_beta = true;
  for (int t = 0; target(t); t++) {
    Kit kit = kit_open(target(t), &k, 1);
    float *x = kit_filled(&kit, N, 4), *gamma = kit_filled(&kit, N, 1);
    float *beta = kit_filled(&kit, N, 0);
    uint16_t out[N + 16];
    for (int i = 0; i < N; i++) beta[i] = at[i % (int)VL_COUNT(at)] * (i & 1 ? -1.0f : 1.0f);
    beta[5] = INFINITY, beta[6] = NAN;
    void *op[] = {out, x, gamma, beta};
    assert_int_equal(kit_run(&kit, 0, op, NULL, 1), FAULT_NONE);
    for (int i = 0; i < N; i++) {
      if (i == 6) assert_true(isnan(bf16_to_f32(out[i])));
      else assert_int_equal(out[i], bf16_from_f32(0 + beta[i]));
    }
    kit_close(&kit);
  }
}

static void test_layernorm(void **state) {
  (void)state;
  static const int64_t cols[] = {1, 15, 64, 100, 768};
  Check check[2 * VL_COUNT(cols)];
  for (uint32_t i = 0; i < VL_COUNT(cols); i++) {
    Kernel k = {.kind = KK_LAYERNORM, .n_operands = 4, .n_sizes = 2};
    k.rows = (KRows){.out = NUM_BF16, .g = {0, 0}, .m = {0, 1}, .cols = ksize(cols[i]),
                     .o_g = ksize(7 * cols[i] + 3), .o_m = ksize(cols[i]),
                     .x_g = ksize(7 * cols[i]), .x_m = ksize(cols[i]), .eps = 1e-5f,
                     .has_gamma = true, .has_beta = true};
    check[2 * i] = (Check){k, {3, 7}, 2e-6, NULL};
    check[2 * i + 1] = (Check){k, {0, 7}, 2e-6, NULL};
  }
  check_all(check, VL_COUNT(check));
}

/* ---- attention ----------------------------------------------------------- */

typedef struct {
  int64_t batch, lq, lk, heads, d, dv;
  bool causal;
  KNum in, out;
  bool even;      /* rows begin at 16 bytes */
  int64_t shared; /* keys of a second segment, the same for the batch */
} Attn;

/* Rows of q, k, v and out are a little longer than what is used of them. */
static Kernel attention_of(const Attn *c) {
  Kernel k = {.kind = KK_ATTENTION, .n_operands = c->shared ? 6 : 4, .n_sizes = 3};
  int64_t q_r = c->heads * c->d + (c->even ? 8 : 6), v_r = c->heads * c->dv + (c->even ? 16 : 5);
  KSize q_b = ksize(q_r * c->lq), k_b = ksize(q_r * c->lk), v_b = ksize(v_r * c->lk);
  k.attention = (KAttention){.in = c->in, .out = c->out, .batch = {0, 0}, .lq = {0, 1},
                             .n_segments = c->shared ? 2 : 1, .heads = c->heads, .d = c->d,
                             .dv = c->dv,
                             .scale = 0.3f, .causal = c->causal, .q_b = q_b, .q_r = ksize(q_r),
                             .o_b = ksize(v_r * c->lq), .o_r = ksize(v_r)};
  k.attention.segment[0] = (KSegment){{0, 2}, k_b, ksize(q_r), v_b, ksize(v_r)};
  k.attention.segment[1] =
      (KSegment){ksize(c->shared), ksize(0), ksize(q_r), ksize(0), ksize(v_r)};
  for (int i = 0; i < 4; i++) k.attention.mask[i] = ksize(0);
  return k;
}

static const Attn attentions[] = {
    {1, 1, 1, 1, 2, 1, false, NUM_BF16, NUM_BF16, false, 0},
    {2, 50, 50, 3, 64, 64, false, NUM_BF16, NUM_BF16, false, 0},
    {1, 77, 77, 2, 64, 64, true, NUM_BF16, NUM_BF16, false, 0},
    {1, 9, 33, 2, 10, 17, false, NUM_BF16, NUM_F32, false, 0},
    {3, 7, 7, 1, 6, 48, true, NUM_BF16, NUM_BF16, false, 0},
    {1, 80, 1100, 1, 16, 33, false, NUM_BF16, NUM_BF16, false, 0},
    {1, 1030, 1030, 1, 8, 16, true, NUM_BF16, NUM_BF16, false, 0},
    {1, 5, 600, 2, 9, 16, false, NUM_F32, NUM_BF16, false, 0},
    {0, 4, 4, 1, 8, 8, false, NUM_BF16, NUM_BF16, false, 0},
    {2, 0, 4, 1, 8, 8, false, NUM_BF16, NUM_BF16, false, 0},
    {2, 3, 0, 1, 8, 8, false, NUM_BF16, NUM_BF16, false, 0},
    {2, 70, 50, 3, 64, 64, false, NUM_BF16, NUM_BF16, true, 0},
    {3, 20, 31, 2, 32, 32, false, NUM_BF16, NUM_F32, true, 5},
    {1, 18, 66, 1, 128, 128, false, NUM_BF16, NUM_BF16, true, 64},
};

/* Factors exp(…) that round otherwise than the reference's move a result by at most
** 2^-8 of the largest |v|, and by far less where there are many. */
static void test_attention(void **state) {
  (void)state;
  Check check[VL_COUNT(attentions)];
  for (size_t i = 0; i < VL_COUNT(attentions); i++) {
    const Attn *c = &attentions[i];
    check[i] = (Check){attention_of(c), {c->batch, c->lq, c->lk}, 1e-3, NULL};
  }
  check_all(check, VL_COUNT(check));
}

/* ---- reach and invariants ------------------------------------------------ */

static void test_reach(void **state) {
  (void)state;
  Gemm c = {3, 5, 47, 50, 5, NUM_BF16, NUM_BF16, ACT_NONE, true, true};
  Kernel k = gemm_of(&c);
  Kit kit = kit_open("portable", &k, 1);
  static const int64_t sizes[] = {3, 5};
  double lo, hi;
  kit_reach(&kit, 0, 0, sizes, &lo, &hi);
  assert_true(lo == 0 && hi == 2.0 * (double)(2 * k.gemm.c_g.c + 4 * k.gemm.c_m.c + 50));
  kit_reach(&kit, 0, 1, sizes, &lo, &hi);
  assert_true(lo == 0 && hi == 2.0 * (double)(2 * k.gemm.a_g.c + 4 * k.gemm.a_m.c + 47));
  kit_reach(&kit, 0, 2, sizes, &lo, &hi);
  assert_true(lo == 0 && hi == 2 * 64 * 48);
  kit_reach(&kit, 0, 3, sizes, &lo, &hi);
  assert_true(lo == 0 && hi == 4 * 64);
  kit_close(&kit);
}

static void test_verify(void **state) {
  (void)state;
  Arena *a = arena_new(0);
  Str faults = {.arena = a};
  Gemm c = {1, 5, 48, 50, 0, NUM_BF16, NUM_BF16, ACT_NONE, false, false};
  Kernel k = gemm_of(&c);
  assert_true(kernel_verify(&k, &faults));
  k.gemm.in = (KNum)2;
  assert_false(kernel_verify(&k, &faults));
  Kernel r = {.kind = KK_SOFTMAX, .n_operands = 2};
  r.rows = one_row(4);
  assert_true(kernel_verify(&r, &faults));
  r.rows.out = NUM_BF16;
  assert_false(kernel_verify(&r, &faults));
  Attn c2 = {1, 4, 4, 1, 8, 8, false, NUM_BF16, NUM_BF16, false, 0};
  Kernel t = attention_of(&c2);
  assert_true(kernel_verify(&t, &faults));
  t.attention.d = 7;
  assert_false(kernel_verify(&t, &faults));
  arena_free(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_gemm),      cmocka_unit_test(test_odd_k),
      cmocka_unit_test(test_row_alone), cmocka_unit_test(test_rounding),
      cmocka_unit_test(test_layernorm), cmocka_unit_test(test_reach),
      cmocka_unit_test(test_verify),    cmocka_unit_test(test_attention),
      cmocka_unit_test(test_order),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
