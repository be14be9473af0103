/* SPDX-License-Identifier: Apache-2.0 */
/* opencl_tiles_test.c - gemms have the same bits with every tile, and the table of tiles is
** read for its own device alone and only where it is whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>

#include "backends/opencl/cl_tiles.h"
#include "tests/device/llvm_kit.h"

enum { K = 151, N = 150, ROWS = 77, PANELS = (N + 15) / 16 };

static Arena *arena;
static Kernel gemms[2]; /* f32 with all that can be fused, and bf16 */

static Kernel gemm(KNum in) {
  bool f32 = in == NUM_F32;
  KSize none = ksize(0);
  return (Kernel){.kind = KK_GEMM, .n_operands = f32 ? 5 : 3,
                  .gemm = {.in = in, .out = NUM_F32, .g = ksize(1), .m = ksize(ROWS), .k = K,
                           .n = N, .c_g = none, .c_m = ksize(N), .a_g = none, .a_m = ksize(K),
                           .r_g = none, .r_m = ksize(N), .has_bias = f32, .has_residual = f32,
                           .act = f32 ? ACT_GELU_ERF : ACT_NONE}};
}

static DeviceCode *load(void) {
  DeviceCode *c = NULL;
  Diag *d = diag_new();
  size_t n = 0;
  DeviceLoad l = {.artifact = "tiles", .target = kit_target(0), .scratch_dir = VLPC_TEST_TILES};
  kernels_write((KernelList){gemms, VL_COUNT(gemms)}, arena, &l.kernels, &n);
  l.kernels_bytes = n;
  if (device_opencl.load(&l, d, &c) != VLPC_OK) fail_msg("%s", diag_text(d));
  diag_free(d);
  return c;
}

static ClTuned row(const KGemm *g, ClTile tile) {
  ClTuned r = cl_tuned_key(g);
  r.tile = tile;
  return r;
}

static void keep(const ClDevice *x, ClTuned *rows, uint32_t n) {
  cl_table_keep(x, VLPC_TEST_TILES, arena, &(ClTable){rows, n});
}

static void has_tile(const DeviceCode *c, ClTile want) {
  ClTile got = cl_tile(&c->target, &gemms[0].gemm);
  if (!cl_tile_same(got, want))
    fail_msg("%ux%u, not %ux%u", got.rows, got.cols, want.rows, want.cols);
}

/* A tile that is not the class's. */
static ClTile other_tile(const ClClass *c) {
  ClTile t;
  for (uint32_t i = 0; cl_tile_at(c, i, &t); i++)
    if (!cl_tile_same(t, c->tile)) return t;
  fail_msg("no other tile");
  return t;
}

/* ---- bits ------------------------------------------------------------------- */

static float a[ROWS * K], w[PANELS * (K + 1) * 16], bias[PANELS * 16], residual[ROWS * N];

static void run(DeviceCode *c, uint32_t kernel, float *out) {
  const void *host[] = {out, a, w, bias, residual};
  const size_t bytes[] = {ROWS * N * sizeof(float), sizeof a, sizeof w, sizeof bias,
                          sizeof residual};
  DeviceStream *s = NULL;
  DeviceMem memory[5] = {0};
  DeviceSpan args[5];
  DeviceFault fault;
  ProgStep step = {.kernel = kernel};
  assert_int_equal(device_opencl.stream_new(c, NULL, NULL, &s), VLPC_OK);
  assert_int_equal(device_opencl.ready(s, &step, 1, NULL), VLPC_OK);
  for (uint32_t i = 0; i < 5; i++) {
    assert_true(device_opencl.alloc(s, bytes[i], &memory[i]));
    args[i] = (DeviceSpan){memory[i].handle, 0};
    assert_int_equal(device_opencl.write(s, args[i], host[i], bytes[i]), VLPC_OK);
  }
  DeviceLaunch l = {.kernel = kernel, .n_args = gemms[kernel].n_operands, .args = args};
  assert_int_equal(device_opencl.launch(s, &l), VLPC_OK);
  assert_int_equal(device_opencl.wait(s, &fault), VLPC_OK);
  assert_int_equal(device_opencl.read(s, out, args[0], bytes[0]), VLPC_OK);
  for (uint32_t i = 0; i < 5; i++) device_opencl.release(s, &memory[i]);
  device_opencl.stream_free(s);
}

/* Floats whose halves are equal, so that they are two of bf16 as well. */
static void fill(float *x, size_t n) {
  for (size_t i = 0; i < n; i++) {
    uint32_t word;
    x[i] = (float)((i * 7919 + 13) % 1009) / 505.0f - 1;
    memcpy(&word, &x[i], sizeof word);
    word = (word & 0xffff0000u) | word >> 16;
    memcpy(&x[i], &word, sizeof word);
  }
}

/* Numbers, and not all one. */
static bool tells_apart(const float *x) {
  for (uint32_t i = 0; i < ROWS * N; i++)
    if (!(x[i] > -1e9f && x[i] < 1e9f)) return false;
  return x[0] != x[1] && x[0] != x[N];
}

static void every_tile_has_the_same_bits(void **state) {
  (void)state;
  static float want[2][ROWS * N], got[ROWS * N];
  ClTile tile;
  fill(a, VL_COUNT(a)), fill(w, VL_COUNT(w)), fill(bias, N), fill(residual, VL_COUNT(residual));
  DeviceCode *c = load();
  c->target.tuned = NULL;
  const ClClass *class = c->device.class;
  for (uint32_t k = 0; k < 2; k++) {
    run(c, k, want[k]);
    assert_true(tells_apart(want[k]));
  }
  device_opencl.unload(c);
  for (uint32_t i = 0; cl_tile_at(class, i, &tile); i++) {
    ClTuned rows[] = {row(&gemms[0].gemm, tile), row(&gemms[1].gemm, tile)};
    c = load();
    c->target.tuned = &(ClTable){rows, 2};
    for (uint32_t k = 0; k < 2; k++) {
      memset(got, 0, sizeof got);
      run(c, k, got);
      if (memcmp(got, want[k], sizeof got) != 0)
        fail_msg("gemm %u with %ux%ux%u", k, tile.rows, tile.cols, tile.depth);
    }
    device_opencl.unload(c);
  }
}

/* ---- the table --------------------------------------------------------------- */

static void loads_read_the_table(void **state) {
  (void)state;
  DeviceCode *c = load();
  ClDevice x = c->device;
  ClTile other = other_tile(x.class), unknown = {7, 13, 5};
  ClTuned rows[] = {row(&gemms[0].gemm, other)};
  device_opencl.unload(c);
  keep(&x, rows, 1);
  c = load();
  has_tile(c, other);
  assert_true(cl_tile_same(cl_tile(&c->target, &gemms[1].gemm), x.class->tile)); /* has no row */
  device_opencl.unload(c);
  rows[0].tile = unknown; /* of no tile that is known */
  keep(&x, rows, 1);
  c = load();
  has_tile(c, x.class->tile);
  device_opencl.unload(c);
}

static void tables_of_other_devices_are_not_read(void **state) {
  (void)state;
  DeviceCode *c = load();
  ClDevice x = c->device, driver = x, name = x;
  ClTable t;
  ClTuned rows[] = {row(&gemms[0].gemm, other_tile(x.class))};
  device_opencl.unload(c);
  keep(&x, rows, 1);
  strcpy(driver.driver, "another");
  strcpy(name.name, "another");
  assert_int_equal(cl_table_read(&driver, VLPC_TEST_TILES, arena, NULL, &t), VLPC_OK);
  assert_int_equal(t.n, 0);
  assert_int_equal(cl_table_read(&name, VLPC_TEST_TILES, arena, NULL, &t), VLPC_OK);
  assert_int_equal(t.n, 0);
  assert_int_equal(cl_table_read(&x, VLPC_TEST_TILES, arena, NULL, &t), VLPC_OK);
  assert_int_equal(t.n, 1);
}

/* Turns the last byte of each file in the folder. */
static void damage_all(void) {
  DIR *dir = opendir(VLPC_TEST_TILES);
  assert_non_null(dir);
  for (struct dirent *e; (e = readdir(dir));) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", VLPC_TEST_TILES, e->d_name);
    FILE *f = e->d_name[0] == '.' ? NULL : fopen(path, "r+b");
    if (!f) continue;
    fseek(f, -1, SEEK_END);
    int byte = fgetc(f);
    fseek(f, -1, SEEK_END);
    fputc(byte ^ 1, f);
    fclose(f);
  }
  closedir(dir);
}

static void damaged_tables_are_made_again(void **state) {
  (void)state;
  DeviceCode *c = load();
  ClDevice x = c->device;
  ClTuned rows[] = {row(&gemms[0].gemm, other_tile(x.class))};
  device_opencl.unload(c);
  keep(&x, rows, 1);
  damage_all();
  c = load();
  has_tile(c, x.class->tile);
  device_opencl.unload(c);
  keep(&x, rows, 1);
  c = load();
  has_tile(c, rows[0].tile);
  device_opencl.unload(c);
}

/* ---- tuning ------------------------------------------------------------------- */

static OpenclTuning tune(double seconds) {
  OpenclTuning t;
  Diag *d = diag_new();
  size_t n = 0;
  DeviceLoad l = {.artifact = "tiles", .target = kit_target(0), .scratch_dir = VLPC_TEST_TILES};
  kernels_write((KernelList){gemms, VL_COUNT(gemms)}, arena, &l.kernels, &n);
  l.kernels_bytes = n;
  OpenclTuneOptions o = {.seconds = seconds};
  if (opencl_tune(&l, &o, arena, d, &t) != VLPC_OK) fail_msg("%s", diag_text(d));
  diag_free(d);
  return t;
}

static void the_fastest_is_kept(void **state) {
  (void)state;
  OpenclTuning t = tune(1e9);
  assert_int_equal(t.n_gemms, 2);
  for (uint32_t i = 0; i < 2; i++) {
    const OpenclGemm *g = &t.gemm[i];
    assert_int_equal(g->n_tried, t.n_tiles);
    for (uint32_t j = 0; j < g->n_tried; j++) assert_true(g->ns[j] >= g->ns[g->best]);
    assert_true(g->ns[g->best] > 0);
  }
  OpenclTile best = t.tile[t.gemm[0].best];
  DeviceCode *c = load();
  assert_int_equal(c->target.tuned->n, 2);
  has_tile(c, (ClTile){best.rows, best.cols, best.depth});
  device_opencl.unload(c);
}

/* Without time nothing is tried, and what an earlier run found stays. */
static void the_time_is_a_bound(void **state) {
  (void)state;
  OpenclTuning t = tune(0);
  assert_int_equal(t.n_gemms, 2);
  for (uint32_t i = 0; i < 2; i++) assert_int_equal(t.gemm[i].n_tried, 0);
  DeviceCode *c = load();
  assert_int_equal(c->target.tuned->n, 2);
  device_opencl.unload(c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_tile_has_the_same_bits),
      cmocka_unit_test(loads_read_the_table),
      cmocka_unit_test(tables_of_other_devices_are_not_read),
      cmocka_unit_test(damaged_tables_are_made_again),
      cmocka_unit_test(the_fastest_is_kept),
      cmocka_unit_test(the_time_is_a_bound),
  };
  arena = arena_new(0);
  gemms[0] = gemm(NUM_F32);
  gemms[1] = gemm(NUM_BF16);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  arena_free(arena);
  return failed;
}
