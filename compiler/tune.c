/* SPDX-License-Identifier: Apache-2.0 */
/* tune.c - vlpc tune: asks the device for times of tiles and tells them. */
#include <inttypes.h>
#include <string.h>

#include "backends/opencl/opencl.h"
#include "base/dtype.h"
#include "compiler/compiler.h"

static const char *tile_text(Arena *a, OpenclTile t) {
  if (t.rows == 0) return "clblast";
  return t.depth ? arena_printf(a, "%ux%ux%u", t.rows, t.cols, t.depth)
                 : arena_printf(a, "%ux%u", t.rows, t.cols);
}

static bool has_choice(const OpenclGemm *g) { return g->n_tried > 0 && g->ns[g->best] >= 0; }

static uint32_t n_left(const OpenclTuning *t) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < t->n_gemms; i++) n += t->gemm[i].n_tried < t->n_tiles;
  return n;
}

/* ---- text ---------------------------------------------------------------- */

static void gemm_text(const OpenclTuning *t, const OpenclGemm *g, Arena *a, Str *out) {
  str_printf(out, "gemm k=%" PRId64 " n=%" PRId64 " %s%s%s:", g->k, g->n, dtype_name(g->in),
             g->out == g->in ? "" : arena_printf(a, " to %s", dtype_name(g->out)),
             g->transposed ? " turned" : "");
  for (uint32_t i = 0; i < g->n_tried; i++) {
    str_printf(out, "%s %s ", i ? "," : "", tile_text(a, t->tile[i]));
    if (g->ns[i] < 0)
      str_printf(out, "not usable%s%s", g->why[i] ? ": " : "", g->why[i] ? g->why[i] : "");
    else
      str_printf(out, "%.3f ms", (double)g->ns[i] * 1e-6);
  }
  if (has_choice(g))
    str_printf(out, "; %s taken, %.2f times as fast as %s\n", tile_text(a, t->tile[g->best]),
               (double)g->ns[0] / (double)VL_MAX(g->ns[g->best], 1), tile_text(a, t->tile[0]));
  else
    str_add(out, g->n_tried ? "; left as it was\n" : " not tried\n");
}

static void print_text(const OpenclTuning *t, Arena *a, Str *out) {
  str_printf(out, "%s, tiles of %u gemms, time of 50, 800 and 3200 rows together\n", t->device,
             t->n_gemms);
  if (t->clblast)
    str_printf(out, "clblast is %s%s\n", t->clblast,
               t->clblast_is_old ? "; from 1.6.3 on it is right on more devices" : "");
  for (uint32_t i = 0; i < t->n_gemms; i++) gemm_text(t, &t->gemm[i], a, out);
  if (n_left(t) > 0)
    str_printf(out, "the time was over before all tiles of %u gemms were tried: give more "
                    "--seconds\n", n_left(t));
}

/* ---- JSON ---------------------------------------------------------------- */

static void gemm_json(const OpenclTuning *t, const OpenclGemm *g, Arena *a, Str *out) {
  str_printf(out, "{\"k\":%" PRId64 ",\"n\":%" PRId64 ",\"in\":\"%s\",\"out\":\"%s\"", g->k, g->n,
             dtype_name(g->in), dtype_name(g->out));
  str_printf(out, ",\"turned\":%s,\"tried\":[", g->transposed ? "true" : "false");
  for (uint32_t i = 0; i < g->n_tried; i++) {
    str_printf(out, "%s{\"tile\":\"%s\",\"ns\":", i ? "," : "", tile_text(a, t->tile[i]));
    if (g->ns[i] < 0)
      str_add(out, "null");
    else
      str_printf(out, "%" PRId64, g->ns[i]);
    if (g->why[i]) {
      str_add(out, ",\"why\":");
      str_json(out, g->why[i], strlen(g->why[i]));
    }
    str_add(out, "}");
  }
  str_add(out, "],\"taken\":");
  if (has_choice(g))
    str_printf(out, "\"%s\"}", tile_text(a, t->tile[g->best]));
  else
    str_add(out, "null}");
}

static void print_json(const OpenclTuning *t, Arena *a, Str *out) {
  str_add(out, "{\"device\":");
  str_json(out, t->device, strlen(t->device));
  str_add(out, ",\"clblast\":");
  if (t->clblast)
    str_json(out, t->clblast, strlen(t->clblast));
  else
    str_add(out, "null");
  str_printf(out, ",\"default\":\"%s\",\"unfinished\":%u,\"gemms\":[", tile_text(a, t->tile[0]),
             n_left(t));
  for (uint32_t i = 0; i < t->n_gemms; i++) {
    if (i) str_add(out, ",");
    gemm_json(t, &t->gemm[i], a, out);
  }
  str_add(out, "]}");
}

/* ---- both ---------------------------------------------------------------- */

/* What follows "opencl:"; NULL: the first device. */
static VlStatus number_of(const char *device, Diag *d, const char **out) {
  size_t n = strlen(device_opencl.name);
  *out = NULL;
  if (strncmp(device, device_opencl.name, n) == 0 && (!device[n] || device[n] == ':')) {
    if (device[n]) *out = device + n + 1;
    return VLPC_OK;
  }
  VlStatus s = diag_error(d, DIAG_DEVICE_UNKNOWN, DIAG_NOWHERE, "'%s' has no tiles to tune",
                          device);
  diag_expected(d, "opencl, or opencl:PLATFORM:DEVICE as vlpc devices lists them");
  return s;
}

VlStatus tune_run(const vlpc_tune_options *o, Section kernels, Arena *a, Diag *d, Str *out) {
  char target[DEVICE_TARGET_MAX];
  const char *number;
  OpenclTuning t;
  VL_TRY(number_of(o->device, d, &number));
  VL_TRY(device_opencl.target(number, d, target));
  DeviceLoad l = {.target = target, .kernels = kernels.at, .kernels_bytes = kernels.bytes,
                  .scratch_dir = o->cache_dir};
  OpenclTuneOptions how = {.seconds = o->seconds, .clblast = o->clblast != 0};
  VL_TRY(opencl_tune(&l, &how, a, d, &t));
  (o->format == VLPC_JSON ? print_json : print_text)(&t, a, out);
  return VLPC_OK;
}
