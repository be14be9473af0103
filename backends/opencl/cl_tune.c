/* SPDX-License-Identifier: Apache-2.0 */
/* cl_tune.c - each gemm of an artifact with each tile on one device, timed, and the fastest
** kept in the device's table.
**
** A tile has a load of the device of its own, whose kernels are one for each gemm, without
** bias and activation, on random factors.  The class's tile is tried first; another is taken
** only when its results are the same (cl_trial.h).  CLBlast is one more, where it is asked for. */
#include <stdlib.h>
#include <string.h>

#include "backends/opencl/cl_gemm.h"
#include "backends/opencl/cl_tensor.h"
#include "backends/opencl/cl_tiles.h"
#include "backends/opencl/cl_trial.h"
#include "base/clock.h"

#define ELEMENTS_MAX ((int64_t)1 << 28) /* of an operand */

typedef struct {
  Arena *arena;
  Diag *diag;
  const DeviceLoad *load;
  const OpenclTuneOptions *options;
  uint8_t *weights;   /* for CLBlast, whose weights are constants */
  KernelList kernels; /* one for each gemm */
  ClTuned *gemm;      /* their keys */
  OpenclTuning *out;
  ClCandidate tile[OPENCL_TILES_MAX];
  int64_t deadline; /* of clock_ns */
} Tuner;

/* ---- gemms --------------------------------------------------------------- */

static bool fits(const KGemm *g) {
  int64_t most = VL_MAX(g->k, g->n), c = 0;
  return g->k > 0 && g->n > 0 && vl_mul_i64(g->k, g->n, &c) && c <= ELEMENTS_MAX &&
         most <= ELEMENTS_MAX / CL_TRIAL_ROWS;
}

static Kernel alone(const KGemm *g) {
  KSize none = ksize(0);
  return (Kernel){.kind = KK_GEMM, .n_operands = CL_TRIAL_OPERANDS, .n_sizes = 1,
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

static VlStatus no_memory(Tuner *t) {
  return diag_error(t->diag, DIAG_NOMEM, DIAG_NOWHERE, "no memory for a gemm's operands");
}

/* ---- tiles --------------------------------------------------------------- */

static VlStatus open_tile(Tuner *t, const DeviceLoad *load, ClTile tile, uint32_t clblast) {
  ClCandidate *x = &t->tile[t->out->n_tiles];
  x->clblast = clblast;
  x->table = (ClTable){arena_array(t->arena, ClTuned, t->kernels.n + 1), t->kernels.n};
  for (uint32_t i = 0; i < t->kernels.n; i++) {
    x->table.at[i] = t->gemm[i];
    x->table.at[i].tile = tile;
    x->table.at[i].clblast = clblast;
  }
  VL_TRY(device_opencl.load(load, t->diag, &x->code));
  t->out->tile[t->out->n_tiles++] = (OpenclTile){tile.rows, tile.cols, tile.depth};
  x->code->target.tuned = &x->table;
  if (clblast) cl_clblast_hold(x->code);
  VL_TRY(device_opencl.stream_new(x->code, NULL, t->diag, &x->stream));
  if (device_opencl.profile(x->stream, true)) return VLPC_OK;
  return cl_fail(t->diag, "clCreateCommandQueue", CL_INVALID_QUEUE_PROPERTIES);
}

static VlStatus no_clblast(Tuner *t, const char *why) {
  VlStatus s = diag_error(t->diag, DIAG_CLBLAST, (DiagAt){NULL, "device opencl"},
                          "CLBlast cannot be tried");
  diag_found(t->diag, "%s", why);
  diag_fix(t->diag, "install a release (Debian: libclblast1), or tune without --clblast");
  return s;
}

static VlStatus open_clblast(Tuner *t, DeviceLoad *load, const ClClass *class) {
  enum { SOUND = 10603 }; /* those before were wrong on GPUs of Intel's */
  const char *why;
  uint32_t version = cl_clblast(&why);
  uint64_t bytes[CL_TRIAL_OPERANDS], most = 0;
  if (version == 0) return no_clblast(t, why);
  t->out->clblast = cl_clblast_name(version, t->arena);
  t->out->clblast_is_old = version < SOUND;
  for (uint32_t i = 0; i < t->kernels.n; i++) {
    cl_trial_bytes(&t->kernels.at[i].gemm, bytes);
    most = VL_MAX(most, bytes[2]);
  }
  t->weights = malloc((size_t)most + 1);
  if (!t->weights) return no_memory(t);
  cl_trial_fill(t->weights, most, sizeof(float));
  load->weights = t->weights;
  load->weight_bytes = most;
  VL_TRY(open_tile(t, load, class->tile, version));
  t->out->tile[t->out->n_tiles - 1] = (OpenclTile){0};
  return VLPC_OK;
}

/* The class's own first, CLBlast last. */
static VlStatus open_tiles(Tuner *t, const ClClass *class) {
  DeviceLoad load = *t->load;
  size_t n = 0;
  ClTile tile;
  kernels_write(t->kernels, t->arena, &load.kernels, &n);
  load.kernels_bytes = n;
  VL_TRY(open_tile(t, &load, class->tile, 0));
  for (uint32_t i = 0; cl_tile_at(class, i, &tile) && t->out->n_tiles + 1 < OPENCL_TILES_MAX; i++)
    if (!cl_tile_same(tile, class->tile)) VL_TRY(open_tile(t, &load, tile, 0));
  return t->options->clblast ? open_clblast(t, &load, class) : VLPC_OK;
}

static void close_tiles(Tuner *t) {
  for (uint32_t i = 0; i < OPENCL_TILES_MAX; i++) {
    device_opencl.stream_free(t->tile[i].stream);
    device_opencl.unload(t->tile[i].code);
  }
  free(t->weights);
}

/* ---- timing -------------------------------------------------------------- */

static VlStatus lost(const Tuner *t) {
  VlStatus s = diag_error(t->diag, DIAG_DEVICE_LOST, (DiagAt){NULL, "device opencl"},
                          "the device stopped answering while a tile was tried");
  diag_fix(t->diag, "look for the driver's messages; the table is as it was");
  return s;
}

static VlStatus try_one(Tuner *t, uint32_t i, uint32_t kernel, ClOperands *o, OpenclGemm *out) {
  ClTrial x = {.with = &t->tile[i], .kernel = kernel, .o = o, .ns = -1};
  VlStatus s = VLPC_OK;
  if (x.with->clblast &&
      !cl_gemm_is_library(&x.with->code->target, &t->kernels.at[kernel].gemm))
    x.why = "it takes fp32 alone, and no turned weights";
  else
    s = cl_trial(&x);
  out->ns[i] = x.ns;
  out->why[i] = x.why ? arena_strdup(t->arena, x.why) : NULL;
  return s == VLPC_OK ? VLPC_OK : lost(t);
}

static VlStatus tune_gemm(Tuner *t, uint32_t kernel, OpenclGemm *out) {
  ClOperands o = {0};
  VlStatus s = cl_operands_new(&t->kernels.at[kernel].gemm, &o) ? VLPC_OK : no_memory(t);
  for (uint32_t i = 0; s == VLPC_OK && i < t->out->n_tiles && clock_ns() < t->deadline; i++) {
    int64_t *ns = &out->ns[out->n_tried++];
    s = try_one(t, i, kernel, &o, out);
    if (*ns < 0 && i == 0) break; /* nothing to hold others against */
    if (*ns >= 0 && *ns < out->ns[out->best]) out->best = i;
  }
  cl_operands_free(&o);
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

/* The fastest tile, and CLBlast if it is faster still; so there is a tile where CLBlast is
** not installed. */
static ClTuned chosen(const Tuner *t, uint32_t gemm) {
  const OpenclGemm *g = &t->out->gemm[gemm];
  uint32_t tile = 0;
  for (uint32_t i = 0; i < g->n_tried; i++)
    if (!t->tile[i].clblast && g->ns[i] >= 0 && g->ns[i] < g->ns[tile]) tile = i;
  ClTuned row = t->tile[tile].table.at[gemm];
  row.clblast = t->tile[g->best].clblast;
  return row;
}

/* Rows of other artifacts stay. */
static VlStatus keep(Tuner *t) {
  const ClDevice *x = &t->tile[0].code->device;
  ClTable table, again;
  VL_TRY(cl_table_read(x, t->load->scratch_dir, t->arena, t->diag, &table));
  for (uint32_t i = 0; i < t->out->n_gemms; i++) {
    const OpenclGemm *g = &t->out->gemm[i];
    if (g->n_tried == 0 || g->ns[g->best] < 0) continue;
    ClTuned row = chosen(t, i);
    if (!cl_table_put(&table, &row)) break;
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

VlStatus opencl_tune(const DeviceLoad *l, const OpenclTuneOptions *o, Arena *a, Diag *d,
                     OpenclTuning *out) {
  Tuner *t = arena_one(a, Tuner);
  DeviceCode *c = NULL;
  KernelList all;
  *t = (Tuner){.arena = a, .diag = d, .load = l, .options = o, .out = out};
  *out = (OpenclTuning){0};
  t->deadline = clock_ns() + (int64_t)(VL_MIN(o->seconds, 1e6) * 1e9);
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
