/* SPDX-License-Identifier: Apache-2.0 */
/* llvm_attention_test.c - attention against doubles, on every target: packed
** qkv rows, causal, masks of any stride, several key chunks, keys in segments,
** nothing to see. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "backends/ref/ref.h"
#include "tests/device/llvm_kit.h"

typedef enum { MASK_NONE, MASK_KEYS, MASK_FULL } Mask;

typedef struct {
  int64_t batch, lq, lk, heads, d, dv;
  bool causal;
  Mask mask;
} Case;

typedef struct {
  int64_t q_b, q_r, k_b, k_r, v_b, v_r, o_b, o_r, mask[4];
} Strides;

/* q, k and v rows are padded, as when they are columns of one qkv buffer. */
static Strides strides_of(const Case *c) {
  Strides s = {.q_r = c->heads * c->d + 7, .k_r = c->heads * c->d + 3,
               .v_r = c->heads * c->dv + 5, .o_r = c->heads * c->dv + 2};
  s.q_b = c->lq * s.q_r, s.k_b = c->lk * s.k_r, s.v_b = c->lk * s.v_r, s.o_b = c->lq * s.o_r;
  if (c->mask == MASK_KEYS) s.mask[0] = c->lk, s.mask[3] = 1;
  if (c->mask == MASK_FULL) {
    s.mask[3] = c->lq, s.mask[2] = 1, s.mask[1] = c->lq * c->lk;
    s.mask[0] = c->heads * s.mask[1];
  }
  return s;
}

static const float scale = 0.3f;

static Kernel kernel_of(const Case *c) {
  Strides s = strides_of(c);
  Kernel k = {.kind = KK_ATTENTION, .n_operands = 4u + (c->mask != MASK_NONE), .n_sizes = 3};
  k.attention = (KAttention){.batch = {0, 0}, .lq = {0, 1}, .n_segments = 1, .heads = c->heads,
                             .d = c->d, .dv = c->dv, .scale = scale, .causal = c->causal,
                             .has_mask = c->mask != MASK_NONE, .q_b = ksize(s.q_b),
                             .q_r = ksize(s.q_r), .o_b = ksize(s.o_b), .o_r = ksize(s.o_r)};
  k.attention.segment[0] = (KSegment){
      {0, 2}, ksize(s.k_b), ksize(s.k_r), ksize(s.v_b), ksize(s.v_r)};
  for (int i = 0; i < 4; i++) k.attention.mask[i] = ksize(s.mask[i]);
  return k;
}

typedef struct {
  float *q, *k, *v, *mask, *out;
  int64_t n_out;
} Data;

static Data data_of(const Kit *kit, const Case *c) {
  Strides s = strides_of(c);
  int64_t n_mask = c->batch * c->heads * c->lq * c->lk + c->lk;
  Data d = {.q = kit_floats(kit, 1, c->batch * s.q_b), .k = kit_floats(kit, 2, c->batch * s.k_b),
            .v = kit_floats(kit, 3, c->batch * s.v_b), .mask = kit_floats(kit, 4, n_mask),
            .n_out = c->batch * s.o_b};
  for (int64_t i = 0; i < n_mask; i++)
    d.mask[i] = d.mask[i] > 0.3f ? -INFINITY : 3 * d.mask[i];
  d.out = kit_filled(kit, d.n_out, 5);
  return d;
}

static void run_kernel(const Kit *kit, uint32_t kernel, const Case *c, const Data *d, float *out,
                       int pieces) {
  void *operand[5] = {out, d->q, d->k, d->v, d->mask};
  const int64_t sizes[3] = {c->batch, c->lq, c->lk};
  assert_int_equal(kit_run(kit, kernel, operand, sizes, pieces), FAULT_NONE);
}

static void run(const Kit *kit, const Case *c, const Data *d, float *out, int pieces) {
  run_kernel(kit, 0, c, d, out, pieces);
}

static void one_row(const Case *c, const Data *d, int64_t b, int64_t h, int64_t i, double *out) {
  Strides s = strides_of(c);
  double p[2048], top = -INFINITY, sum = 0;
  int64_t n = c->causal && i + 1 < c->lk ? i + 1 : c->lk;
  for (int64_t j = 0; j < n; j++) {
    p[j] = 0;
    for (int64_t e = 0; e < c->d; e++)
      p[j] += (double)d->q[b * s.q_b + i * s.q_r + h * c->d + e] *
              (double)d->k[b * s.k_b + j * s.k_r + h * c->d + e];
    p[j] *= (double)scale;
    if (c->mask)
      p[j] += (double)d->mask[b * s.mask[0] + h * s.mask[1] + i * s.mask[2] + j * s.mask[3]];
    top = fmax(top, p[j]);
  }
  for (int64_t j = 0; j < n; j++) sum += p[j] = top == -INFINITY ? 0 : exp(p[j] - top);
  for (int64_t e = 0; e < c->dv; e++) {
    double v = 0;
    for (int64_t j = 0; j < n; j++) v += p[j] * (double)d->v[b * s.v_b + j * s.v_r + h * c->dv + e];
    out[e] = sum == 0 ? 0 : v / sum;
  }
}

static void check_case(const Kit *kit, uint32_t kernel, const Case *c, const char *target) {
  Strides s = strides_of(c);
  Data d = data_of(kit, c);
  run_kernel(kit, kernel, c, &d, d.out, 1);
  double *want = arena_array(kit->arena, double, d.n_out + 1);
  for (int64_t i = 0; i < d.n_out; i++) want[i] = 5;
  for (int64_t b = 0; b < c->batch; b++)
    for (int64_t h = 0; h < c->heads; h++)
      for (int64_t i = 0; i < c->lq; i++)
        one_row(c, &d, b, h, i, want + b * s.o_b + i * s.o_r + h * c->dv);
  char what[80];
  snprintf(what, sizeof what, "%s lq=%d lk=%d d=%d dv=%d", target, (int)c->lq, (int)c->lk,
           (int)c->d, (int)c->dv);
  kit_near(d.out, want, d.n_out, 3e-6, what);
  float *split = kit_filled(kit, d.n_out, 5);
  run_kernel(kit, kernel, c, &d, split, 7);
  kit_same(d.out, split, d.n_out, "tasks divided");
}

static const Case cases[] = {
    {2, 50, 50, 3, 64, 64, false, MASK_NONE}, {1, 77, 77, 2, 64, 64, true, MASK_NONE},
    {1, 130, 197, 2, 64, 64, false, MASK_NONE}, {2, 9, 33, 2, 8, 20, false, MASK_KEYS},
    {2, 21, 21, 3, 17, 16, true, MASK_FULL}, {1, 3, 1100, 1, 32, 40, false, MASK_NONE},
    {1, 700, 700, 1, 16, 16, true, MASK_NONE}, {2, 5, 600, 2, 24, 8, false, MASK_FULL},
    {1, 1, 1, 1, 1, 1, false, MASK_NONE}, {3, 1, 18, 4, 64, 64, false, MASK_NONE},
    {2, 4, 0, 2, 16, 16, false, MASK_NONE}, {2, 3, 21, 1, 768, 520, false, MASK_NONE},
    {0, 4, 4, 2, 16, 16, false, MASK_NONE},
};

/* Few queries of wide heads, whose numbers are known when kernels are made. */
static const Case few[] = {
    {2, 12, 199, 1, 768, 768, false, MASK_NONE}, {1, 3, 21, 2, 132, 40, false, MASK_NONE},
    {3, 9, 9, 1, 20, 140, true, MASK_NONE},
};

static void check_cases(const Case *c, Kernel *kernels, uint32_t n) {
  for (int t = 0; kit_target(t); t++) {
    Kit kit = kit_open(kit_target(t), kernels, n);
    for (uint32_t i = 0; i < n; i++)
      if (kit_has_time(&kernels[i], (int64_t[]){c[i].batch, c[i].lq, c[i].lk}))
        check_case(&kit, i, &c[i], kit_target(t));
    kit_close(&kit);
  }
}

static void test_against_double(void **state) {
  (void)state;
  Kernel kernels[VL_COUNT(cases)];
  for (uint32_t i = 0; i < VL_COUNT(cases); i++) kernels[i] = kernel_of(&cases[i]);
  check_cases(cases, kernels, VL_COUNT(cases));
}

static void test_few_queries(void **state) {
  (void)state;
  Kernel kernels[VL_COUNT(few)];
  for (uint32_t i = 0; i < VL_COUNT(few); i++) {
    kernels[i] = kernel_of(&few[i]);
    kernels[i].attention.lq = ksize(few[i].lq);
    kernels[i].attention.segment[0].n = ksize(few[i].lk);
  }
  check_cases(few, kernels, VL_COUNT(few));
}

/* A batch entry has the bits that it has alone, and a query row those that it
** has when fewer queries are asked. */
static void test_alone(void **state) {
  (void)state;
  for (int t = 0; kit_target(t); t++) {
    Case c = {3, 40, 40, 2, 32, 32, false, MASK_NONE};
    Kernel k = kernel_of(&c);
    Strides s = strides_of(&c);
    Kit kit = kit_open(kit_target(t), &k, 1);
    Data d = data_of(&kit, &c);
    run(&kit, &c, &d, d.out, 1);
    Case one = c;
    one.batch = 1, one.lq = 13;
    Data part = d;
    part.q = d.q + s.q_b + 27 * s.q_r, part.k = d.k + s.k_b, part.v = d.v + s.v_b;
    float *out = kit_filled(&kit, d.n_out, 5);
    run(&kit, &one, &part, out, 1);
    for (int64_t i = 0; i < 13; i++)
      kit_same(out + i * s.o_r, d.out + s.o_b + (27 + i) * s.o_r, c.heads * c.dv, "alone");
    kit_close(&kit);
  }
}

/* The keys of a case in segments of n[] rows (until 0), segment 1 the same for the
** whole batch: the bits are those of the keys in one piece. */
typedef struct {
  Case c;
  int64_t n[ATTENTION_SEGMENTS];
} Split;

static const Split splits[] = {
    {{2, 50, 53, 3, 64, 64, false, MASK_NONE}, {50, 3}},
    {{3, 1, 199, 2, 64, 64, false, MASK_NONE}, {197, 2}},
    {{2, 21, 40, 2, 17, 20, false, MASK_NONE}, {7, 1, 16, 16}},
    {{2, 40, 40, 2, 32, 16, true, MASK_NONE}, {1, 18, 21}},
    {{2, 5, 1100, 1, 16, 8, false, MASK_NONE}, {511, 2, 87, 500}},
    {{2, 3, 9, 1, 8, 8, false, MASK_NONE}, {9, 0}},
    {{2, 3, 9, 1, 8, 8, false, MASK_NONE}, {0, 9}},
};

static void check_split(const char *target, const Split *x) {
  const Case *c = &x->c;
  Kernel k[2] = {kernel_of(c), kernel_of(c)};
  KAttention *t = &k[1].attention;
  Strides s = strides_of(c);
  int64_t size[3 + ATTENTION_SEGMENTS] = {c->batch, c->lq, c->lk}, first = 0;
  t->n_segments = 0;
  for (uint32_t i = 0; i < ATTENTION_SEGMENTS && (i < 2 || x->n[i]); i++) {
    t->segment[i] = k[0].attention.segment[0];
    t->segment[i].n = (KSize){0, 3 + (int32_t)i};
    if (i == 1) t->segment[i].k_b = t->segment[i].v_b = ksize(0);
    size[3 + i] = x->n[i];
    t->n_segments++;
  }
  k[1].n_operands = kattention_extra(t), k[1].n_sizes = 3 + t->n_segments;
  if (!kit_has_time(&k[1], size)) return;
  Kit kit = kit_open(target, k, 2);
  Data d = data_of(&kit, c);
  float *parts = kit_filled(&kit, d.n_out, 5);
  for (int64_t b = 1; b < c->batch; b++) {
    memcpy(d.k + b * s.k_b + x->n[0] * s.k_r, d.k + x->n[0] * s.k_r,
           (size_t)(x->n[1] * s.k_r) * sizeof(float));
    memcpy(d.v + b * s.v_b + x->n[0] * s.v_r, d.v + x->n[0] * s.v_r,
           (size_t)(x->n[1] * s.v_r) * sizeof(float));
  }
  void *operand[2 + 2 * ATTENTION_SEGMENTS] = {parts, d.q};
  for (uint32_t i = 0; i < t->n_segments; first += x->n[i++]) {
    operand[2 + 2 * i] = d.k + first * s.k_r;
    operand[3 + 2 * i] = d.v + first * s.v_r;
  }
  run(&kit, c, &d, d.out, 1);
  assert_int_equal(kit_run(&kit, 1, operand, size, 3), FAULT_NONE);
  kit_same(parts, d.out, d.n_out, "segments");
  float *ref = kit_filled(&kit, d.n_out, 5);
  double *want = arena_array(kit.arena, double, d.n_out + 1);
  operand[0] = ref;
  assert_int_equal(ref_run(&k[1], operand, size, kit.arena), FAULT_NONE);
  for (int64_t i = 0; i < d.n_out; i++) want[i] = (double)ref[i];
  kit_near(parts, want, d.n_out, 3e-6, "the reference");
  assert_int_equal(kernel_flops(&k[1], size), kernel_flops(&k[0], size));
  kit_close(&kit);
}

static void test_segments(void **state) {
  (void)state;
  for (int t = 0; kit_target(t); t++)
    for (size_t i = 0; i < VL_COUNT(splits); i++) check_split(kit_target(t), &splits[i]);
}

/* A NaN in one head's keys stays in that head. */
static void test_nan_stays(void **state) {
  (void)state;
  for (int t = 0; kit_target(t); t++) {
    Case c = {1, 12, 12, 2, 16, 16, false, MASK_NONE};
    Kernel k = kernel_of(&c);
    Strides s = strides_of(&c);
    Kit kit = kit_open(kit_target(t), &k, 1);
    Data d = data_of(&kit, &c);
    d.k[3 * s.k_r + 2] = NAN;
    run(&kit, &c, &d, d.out, 1);
    for (int64_t i = 0; i < c.lq; i++)
      for (int64_t e = 0; e < 32; e++) assert_int_equal(isnan(d.out[i * s.o_r + e]) != 0, e < 16);
    kit_close(&kit);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_against_double), cmocka_unit_test(test_few_queries),
      cmocka_unit_test(test_alone),
      cmocka_unit_test(test_segments),
      cmocka_unit_test(test_nan_stays),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
