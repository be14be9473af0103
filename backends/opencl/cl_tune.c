/* SPDX-License-Identifier: Apache-2.0 */
/* cl_tune.c - each gemm of an artifact with each tile on one device, timed, and the fastest
** kept in the device's table.
**
** A tile has a load of the device of its own, whose kernels are one for each gemm, without
** bias and activation, on random factors.  The class's tile is tried first; another whose
** results are not the same to the bit is not taken.  A gemm's time with a tile is the sum
** over the rows of about 1, 16 and 64 photos, of each the best of a few runs. */
#include <stdlib.h>
#include <string.h>

#include "backends/opencl/cl_tensor.h"
#include "backends/opencl/cl_tiles.h"
#include "base/clock.h"
#include "base/rng.h"

static const int64_t row_counts[] = {50, 800, 3200};
enum { ROWS_MAX = 3200, RUNS = 3, OPERANDS = 3 };
#define ELEMENTS_MAX ((int64_t)1 << 28) /* of an operand */

typedef struct {
  ClTable table; /* each gemm with this tile */
  DeviceCode *code;
  DeviceStream *stream;
} Tile;

typedef struct {
  Arena *arena;
  Diag *diag;
  const DeviceLoad *load;
  KernelList kernels; /* one for each gemm */
  ClTuned *gemm;      /* their keys */
  OpenclTuning *out;
  Tile tile[OPENCL_TILES_MAX];
  int64_t deadline; /* of clock_ns */
} Tuner;

/* ---- gemms --------------------------------------------------------------- */

static uint64_t factor_bytes(const KGemm *g, int64_t rows, int64_t cols) {
  return (uint64_t)rows * (uint64_t)cols * dtype_size(knum_dtype(g->in));
}

/* Of C, A and W, with panels and pairs filled up. */
static void operand_bytes(const KGemm *g, uint64_t out[OPERANDS]) {
  out[0] = (uint64_t)ROWS_MAX * (uint64_t)g->n * dtype_size(knum_dtype(g->out));
  out[1] = factor_bytes(g, ROWS_MAX, g->k);
  out[2] = factor_bytes(g, g->k + GEMM_PANEL, g->n + GEMM_PANEL);
}

static bool fits(const KGemm *g) {
  int64_t most = VL_MAX(g->k, g->n), c = 0;
  return g->k > 0 && g->n > 0 && vl_mul_i64(g->k, g->n, &c) && c <= ELEMENTS_MAX &&
         most <= ELEMENTS_MAX / ROWS_MAX;
}

static Kernel alone(const KGemm *g) {
  KSize none = ksize(0);
  return (Kernel){.kind = KK_GEMM, .n_operands = OPERANDS, .n_sizes = 1,
                  .gemm = {.in = g->in, .out = g->out, .g = ksize(1), .m = {.dyn = 0},
                           .k = g->k, .n = g->n, .c_g = none, .c_m = ksize(g->n), .a_g = none,
                           .a_m = ksize(g->k), .r_g = none, .r_m = none,
                           .transposed = g->transposed}};
}

/* Those that differ in more than rows and what is fused.  Processors have one tile for turned
** weights, matrix instructions have tiles of their own. */
static void find_gemms(Tuner *t, KernelList all, const ClTarget *target) {
  ClTable seen = {.at = arena_array(t->arena, ClTuned, all.n + 1)};
  t->kernels.at = arena_array(t->arena, Kernel, all.n + 1);
  for (uint32_t i = 0; i < all.n && t->kernels.n < CL_TUNED_MAX; i++) {
    const KGemm *g = &all.at[i].gemm;
    if (all.at[i].kind != KK_GEMM || !fits(g)) continue;
    if ((target->class->cpu && g->transposed) || cl_gemm_is_tensor(target, g)) continue;
    ClTuned key = cl_tuned_key(g);
    if (cl_tuned_find(&seen, &key)) continue;
    seen.at[seen.n++] = key;
    t->kernels.at[t->kernels.n++] = alone(g);
  }
  t->gemm = seen.at;
}

/* ---- tiles --------------------------------------------------------------- */

static VlStatus open_tile(Tuner *t, const DeviceLoad *load, ClTile tile) {
  Tile *x = &t->tile[t->out->n_tiles];
  x->table = (ClTable){arena_array(t->arena, ClTuned, t->kernels.n + 1), t->kernels.n};
  for (uint32_t i = 0; i < t->kernels.n; i++) {
    x->table.at[i] = t->gemm[i];
    x->table.at[i].tile = tile;
  }
  VL_TRY(device_opencl.load(load, t->diag, &x->code));
  t->out->tile[t->out->n_tiles++] = (OpenclTile){tile.rows, tile.cols, tile.depth};
  x->code->target.tuned = &x->table;
  VL_TRY(device_opencl.stream_new(x->code, NULL, t->diag, &x->stream));
  if (device_opencl.profile(x->stream, true)) return VLPC_OK;
  return cl_fail(t->diag, "clCreateCommandQueue", CL_INVALID_QUEUE_PROPERTIES);
}

/* The class's own first. */
static VlStatus open_tiles(Tuner *t, const ClClass *class) {
  DeviceLoad load = *t->load;
  size_t n = 0;
  ClTile tile;
  kernels_write(t->kernels, t->arena, &load.kernels, &n);
  load.kernels_bytes = n;
  VL_TRY(open_tile(t, &load, class->tile));
  for (uint32_t i = 0; cl_tile_at(class, i, &tile) && t->out->n_tiles < OPENCL_TILES_MAX; i++)
    if (!cl_tile_same(tile, class->tile)) VL_TRY(open_tile(t, &load, tile));
  return VLPC_OK;
}

static void close_tiles(Tuner *t) {
  for (uint32_t i = 0; i < OPENCL_TILES_MAX; i++) {
    device_opencl.stream_free(t->tile[i].stream);
    device_opencl.unload(t->tile[i].code);
  }
}

/* ---- timing -------------------------------------------------------------- */

typedef struct {
  uint64_t bytes[OPERANDS], check_bytes;
  uint8_t *factors, *want, *got; /* want: results with the class's tile */
  DeviceMem memory[OPERANDS];
  bool known; /* want is there */
} Operands;

static bool operands_new(const KGemm *g, Operands *o) {
  uint64_t most = 0;
  operand_bytes(g, o->bytes);
  o->check_bytes = o->bytes[0] / ROWS_MAX * (uint64_t)row_counts[0];
  most = VL_MAX(o->bytes[1], o->bytes[2]);
  o->factors = malloc((size_t)most);
  o->want = malloc((size_t)o->check_bytes);
  o->got = malloc((size_t)o->check_bytes);
  if (!o->factors || !o->want || !o->got) return false;
  size_t each = dtype_size(knum_dtype(g->in)); /* bf16 is a float's upper half */
  for (uint64_t i = 0; i < most / each; i++) {
    float x = (float)(2 * rng_uniform((Rng){1, 1}, i) - 1);
    memcpy(o->factors + i * each, (const uint8_t *)&x + sizeof x - each, each);
  }
  return true;
}

static void operands_free(Operands *o) { free(o->factors), free(o->want), free(o->got); }

static bool upload(DeviceStream *s, Operands *o) {
  for (uint32_t i = 0; i < OPERANDS; i++) {
    if (!device_opencl.alloc(s, o->bytes[i], &o->memory[i])) return false;
    DeviceSpan to = {o->memory[i].handle, 0};
    if (i > 0 && device_opencl.write(s, to, o->factors, o->bytes[i]) != VLPC_OK) return false;
  }
  return true;
}

static VlStatus run(DeviceStream *s, uint32_t kernel, const Operands *o, int64_t rows) {
  DeviceFault fault;
  DeviceSpan args[OPERANDS];
  for (uint32_t i = 0; i < OPERANDS; i++) args[i] = (DeviceSpan){o->memory[i].handle, 0};
  DeviceLaunch l = {.kernel = kernel, .n_args = OPERANDS, .n_sizes = 1, .args = args,
                    .sizes = &rows};
  VL_IGNORE(device_opencl.launch(s, &l)); /* wait says it too */
  return device_opencl.wait(s, &fault);
}

/* Whether the results of the last run, of the fewest rows, are those of the class's tile. */
static VlStatus compare(DeviceStream *s, Operands *o, bool *same) {
  uint8_t *to = o->known ? o->got : o->want;
  VL_TRY(device_opencl.read(s, to, (DeviceSpan){o->memory[0].handle, 0}, o->check_bytes));
  o->known = true;
  *same = memcmp(to, o->want, (size_t)o->check_bytes) == 0;
  return VLPC_OK;
}

/* The sum over the numbers of rows; *ns is -1 where results differ. */
static VlStatus measure(DeviceStream *s, uint32_t kernel, Operands *o, int64_t *ns) {
  int64_t sum = 0;
  bool same = true;
  *ns = -1;
  for (size_t r = 0; r < VL_COUNT(row_counts); r++) {
    int64_t best = INT64_MAX;
    VL_TRY(run(s, kernel, o, row_counts[r]));
    if (r == 0) VL_TRY(compare(s, o, &same));
    if (!same) return VLPC_OK;
    for (int i = 0; i < RUNS; i++) {
      VL_TRY(run(s, kernel, o, row_counts[r]));
      int64_t took = device_opencl.elapsed(s);
      if (took < 0) return VLPC_OK;
      best = VL_MIN(best, took);
    }
    sum += best;
  }
  *ns = sum;
  return VLPC_OK;
}

static VlStatus lost(const Tuner *t) {
  VlStatus s = diag_error(t->diag, DIAG_DEVICE_LOST, (DiagAt){NULL, "device opencl"},
                          "the device stopped answering while a tile was tried");
  diag_fix(t->diag, "look for the driver's messages; the table is as it was");
  return s;
}

/* A tile that the driver refuses, by its build or its memory, has no time. */
static VlStatus try_tile(Tuner *t, uint32_t tile, uint32_t kernel, Operands *o, int64_t *ns) {
  DeviceStream *s = t->tile[tile].stream;
  ProgStep step = {.kernel = kernel};
  *ns = -1;
  if (device_opencl.ready(s, &step, 1, NULL) != VLPC_OK) return VLPC_OK;
  VlStatus ran = upload(s, o) ? measure(s, kernel, o, ns) : VLPC_OK;
  for (uint32_t i = 0; i < OPERANDS; i++)
    if (o->memory[i].handle) device_opencl.release(s, &o->memory[i]);
  if (ran != VLPC_OK) *ns = -1;
  return ran == VLPC_E_DEVICE_LOST ? lost(t) : VLPC_OK;
}

static VlStatus tune_gemm(Tuner *t, uint32_t kernel, OpenclGemm *out) {
  Operands o = {0};
  VlStatus s = VLPC_OK;
  if (!operands_new(&t->kernels.at[kernel].gemm, &o))
    s = diag_error(t->diag, DIAG_NOMEM, DIAG_NOWHERE, "no memory for a gemm's operands");
  for (uint32_t i = 0; s == VLPC_OK && i < t->out->n_tiles && clock_ns() < t->deadline; i++) {
    int64_t *ns = &out->ns[out->n_tried++];
    s = try_tile(t, i, kernel, &o, ns);
    if (*ns < 0 && i == 0) break; /* nothing to hold others against */
    if (*ns >= 0 && *ns < out->ns[out->best]) out->best = i;
  }
  operands_free(&o);
  return s;
}

/* ---- all ----------------------------------------------------------------- */

static VlStatus tune_gemms(Tuner *t) {
  t->out->n_gemms = t->kernels.n;
  t->out->gemm = arena_array(t->arena, OpenclGemm, t->kernels.n + 1);
  for (uint32_t i = 0; i < t->kernels.n; i++) {
    const KGemm *g = &t->kernels.at[i].gemm;
    OpenclGemm *to = &t->out->gemm[i];
    *to = (OpenclGemm){.k = g->k, .n = g->n, .transposed = g->transposed, .in = knum_dtype(g->in),
                       .out = knum_dtype(g->out)};
    VL_TRY(tune_gemm(t, i, to));
  }
  return VLPC_OK;
}

/* Rows of other artifacts stay. */
static VlStatus keep(Tuner *t) {
  const ClDevice *x = &t->tile[0].code->device;
  ClTable table, again;
  VL_TRY(cl_table_read(x, t->load->scratch_dir, t->arena, t->diag, &table));
  for (uint32_t i = 0; i < t->out->n_gemms; i++) {
    const OpenclGemm *g = &t->out->gemm[i];
    if (g->n_tried == 0 || g->ns[g->best] < 0) continue;
    if (!cl_table_put(&table, &t->tile[g->best].table.at[i])) break;
  }
  cl_table_keep(x, t->load->scratch_dir, t->arena, &table);
  VL_TRY(cl_table_read(x, t->load->scratch_dir, t->arena, t->diag, &again));
  if (again.n == table.n && memcmp(again.at, table.at, table.n * sizeof *table.at) == 0)
    return VLPC_OK;
  VlStatus s = diag_error(t->diag, DIAG_WRITE, (DiagAt){t->load->scratch_dir, NULL},
                          "the table of tiles could not be kept");
  diag_fix(t->diag, "name a private folder with --cache-dir that can be written");
  return s;
}

VlStatus opencl_tune(const DeviceLoad *l, double seconds, Arena *a, Diag *d, OpenclTuning *out) {
  Tuner *t = arena_one(a, Tuner);
  DeviceCode *c = NULL;
  KernelList all;
  *t = (Tuner){.arena = a, .diag = d, .load = l, .out = out};
  *out = (OpenclTuning){0};
  t->deadline = clock_ns() + (int64_t)(VL_MIN(seconds, 1e6) * 1e9);
  VL_TRY(kernels_read(l->kernels, (size_t)l->kernels_bytes, a, (DiagAt){l->artifact, NULL}, d,
                      &all));
  VL_TRY(cl_code_new(l, d, &c));
  out->device = arena_strdup(a, c->device.name);
  find_gemms(t, all, &c->target);
  VlStatus s = open_tiles(t, c->device.class);
  if (s == VLPC_OK) s = tune_gemms(t);
  if (s == VLPC_OK) s = keep(t);
  close_tiles(t);
  device_opencl.unload(c);
  return s;
}
