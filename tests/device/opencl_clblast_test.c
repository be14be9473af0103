/* SPDX-License-Identifier: Apache-2.0 */
/* opencl_clblast_test.c - gemms whose sums CLBlast makes against those of tiles: what is fused,
** sizes that leave rests, a weight that begins somewhere, rows in pieces, and sizes large enough
** for CLBlast's other way. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/opencl/cl_clblast.h"
#include "backends/opencl/cl_tiles.h"
#include "tests/device/llvm_kit.h"

#define NEAR 1e-5 /* of the largest */

enum { OPERANDS = 5, SKIPPED = 77 };
enum { GAP = 64 }; /* elements of the weights before those that are read */

static Arena *arena;

typedef struct {
  Kernel kernel;
  int64_t k, n, rows; /* rows: most */
  float *operand[OPERANDS], *weights;
} Case;

static float *numbers(int64_t n) {
  float *x = arena_array(arena, float, (size_t)n);
  for (int64_t i = 0; i < n; i++) x[i] = (float)((i * 7919 + 13) % 1009) / 505.0f - 1;
  return x;
}

static Case case_of(int64_t k, int64_t n, int64_t rows, bool fused) {
  KSize none = ksize(0);
  int64_t padded = (n + 15) / 16 * 16;
  Case c = {.k = k, .n = n, .rows = rows};
  c.kernel = (Kernel){.kind = KK_GEMM, .n_operands = fused ? 5 : 3, .n_sizes = 1,
                      .gemm = {.g = ksize(1), .m = {.dyn = 0}, .k = k, .n = n, .c_g = none,
                               .c_m = ksize(n), .a_g = none, .a_m = ksize(k + 3), .r_g = none,
                               .r_m = ksize(n), .has_bias = fused, .has_residual = fused,
                               .act = fused ? ACT_GELU_ERF : ACT_NONE}};
  c.operand[0] = numbers(rows * n); /* the residual too */
  c.operand[1] = numbers(rows * (k + 3));
  c.operand[3] = numbers(padded);
  c.weights = numbers(GAP + padded * k);
  return c;
}

static DeviceCode *load(const Case *x, bool clblast) {
  DeviceCode *c = NULL;
  Diag *d = diag_new();
  size_t n = 0;
  DeviceLoad l = {.artifact = "clblast", .target = kit_target(0), .weights = (void *)x->weights,
                  .weight_bytes = (uint64_t)(GAP + (x->n + 15) / 16 * 16 * x->k) * sizeof(float)};
  kernels_write((KernelList){(Kernel *)&x->kernel, 1}, arena, &l.kernels, &n);
  l.kernels_bytes = n;
  if (device_opencl.load(&l, d, &c) != VLPC_OK) fail_msg("%s", diag_text(d));
  diag_free(d);
  ClTable *t = arena_one(c->arena, ClTable);
  *t = (ClTable){arena_one(c->arena, ClTuned), clblast};
  *t->at = cl_tuned_key(&x->kernel.gemm);
  t->at->tile = c->device.class->tile;
  c->target.tuned = t;
  if (clblast) cl_clblast_hold(c);
  t->at->clblast = c->target.clblast;
  return c;
}

/* C on the arena. */
static float *run(const Case *x, DeviceCode *c, int64_t rows) {
  DeviceStream *s = NULL;
  DeviceMem memory[OPERANDS] = {0};
  DeviceSpan args[OPERANDS];
  DeviceFault fault;
  ProgStep step = {0};
  size_t padded = (size_t)(x->n + 15) / 16 * 16, result = (size_t)(rows * x->n) * sizeof(float);
  const size_t bytes[] = {result, (size_t)(rows * (x->k + 3)) * sizeof(float), 0,
                          padded * sizeof(float), 0};
  assert_int_equal(device_opencl.stream_new(c, NULL, NULL, &s), VLPC_OK);
  assert_int_equal(device_opencl.ready(s, &step, 1, NULL), VLPC_OK);
  for (uint32_t i = 0; i < OPERANDS; i++) {
    if (bytes[i] == 0) continue;
    assert_true(device_opencl.alloc(s, bytes[i], &memory[i]));
    args[i] = (DeviceSpan){memory[i].handle, 0};
    assert_int_equal(device_opencl.write(s, args[i], x->operand[i], bytes[i]), VLPC_OK);
  }
  args[2] = (DeviceSpan){device_opencl.weights(c).handle, GAP * sizeof(float)};
  args[4] = args[0];
  DeviceLaunch l = {.n_args = x->kernel.n_operands, .n_sizes = 1, .args = args, .sizes = &rows};
  VL_IGNORE(device_opencl.launch(s, &l));
  if (device_opencl.wait(s, &fault) != VLPC_OK) fail_msg("%s", fault.what);
  float *out = arena_alloc(arena, result);
  assert_int_equal(device_opencl.read(s, out, args[0], result), VLPC_OK);
  for (uint32_t i = 0; i < OPERANDS; i++)
    if (bytes[i]) device_opencl.release(s, &memory[i]);
  device_opencl.stream_free(s);
  return out;
}

static void near_all(const float *got, const float *want, int64_t n) {
  double largest = 0, worst = 0;
  for (int64_t i = 0; i < n; i++) {
    largest = fmax(largest, fabs((double)want[i]));
    double off = fabs((double)got[i] - (double)want[i]);
    if (!(off <= worst)) worst = off;
  }
  if (!(worst <= NEAR * largest)) fail_msg("%g of %g", worst, largest);
}

static void what_is_fused_is_added(void **state) {
  (void)state;
  static const int64_t size[][2] = {{151, 150}, {70, 1}, {16, 16}};
  for (size_t i = 0; i < 2 * VL_COUNT(size); i++) {
    Case x = case_of(size[i / 2][0], size[i / 2][1], 77, i % 2);
    DeviceCode *tiles = load(&x, false), *clblast = load(&x, true);
    near_all(run(&x, clblast, x.rows), run(&x, tiles, x.rows), x.rows * x.n);
    device_opencl.unload(tiles);
    device_opencl.unload(clblast);
  }
}

/* Of 7 rows, as on a device where a launch must be short. */
static void pieces_have_the_same_bits(void **state) {
  (void)state;
  Case x = case_of(151, 150, 77, true);
  DeviceCode *c = load(&x, true);
  ClClass class = *c->target.class;
  float *whole = run(&x, c, x.rows);
  class.launch_flops = 7.5 * 2 * 151 * 150;
  c->target.class = &class;
  float *parts = run(&x, c, x.rows);
  assert_memory_equal(parts, whole, (size_t)(x.rows * x.n) * sizeof(float));
  device_opencl.unload(c);
}

/* More rows than one call may have; CLBlast copies its operands first where they are large. */
static void rows_do_not_depend_on_their_number(void **state) {
  (void)state;
  enum { FEW = 50 };
  Case x = case_of(768, 768, CLBLAST_ROWS + 5, false);
  DeviceCode *c = load(&x, true), *tiles = load(&x, false);
  float *all = run(&x, c, x.rows), *few = run(&x, c, FEW);
  assert_memory_equal(all, few, (size_t)(FEW * x.n) * sizeof(float));
  near_all(all, run(&x, tiles, x.rows), x.rows * x.n);
  device_opencl.unload(tiles);
  device_opencl.unload(c);
}

/* A weight that may change has no copy. */
static void weights_are_constants(void **state) {
  (void)state;
  Case x = case_of(16, 16, 4, false);
  DeviceCode *c = load(&x, true);
  DeviceStream *s = NULL;
  DeviceMem memory = {0};
  DeviceFault fault;
  DeviceSpan args[3];
  ProgStep step = {0};
  assert_int_equal(device_opencl.stream_new(c, NULL, NULL, &s), VLPC_OK);
  assert_int_equal(device_opencl.ready(s, &step, 1, NULL), VLPC_OK);
  assert_true(device_opencl.alloc(s, 4096, &memory));
  for (uint32_t i = 0; i < 3; i++) args[i] = (DeviceSpan){memory.handle, 0};
  DeviceLaunch l = {.n_args = 3, .n_sizes = 1, .args = args, .sizes = &x.rows};
  assert_int_equal(device_opencl.launch(s, &l), VLPC_E_DEVICE);
  assert_int_equal(device_opencl.wait(s, &fault), VLPC_E_DEVICE);
  assert_string_equal(fault.what, "CLBlast failed with CL_INVALID_MEM_OBJECT (-38)");
  device_opencl.release(s, &memory);
  device_opencl.stream_free(s);
  device_opencl.unload(c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_fused_is_added),
      cmocka_unit_test(pieces_have_the_same_bits),
      cmocka_unit_test(rows_do_not_depend_on_their_number),
      cmocka_unit_test(weights_are_constants),
  };
  const char *why;
  kit_target(0); /* skips without a device */
  if (cl_clblast(&why) == 0) {
    printf("skipped: %s\n", why);
    return SKIPPED;
  }
  arena = arena_new(0);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  arena_free(arena);
  return failed;
}
