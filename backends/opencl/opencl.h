/* SPDX-License-Identifier: Apache-2.0 */
/* opencl.h - the OpenCL device behind the driver seam ("opencl", with
** ":platform:device" after it to choose one), and what `vlpc devices` lists. */
#ifndef VLPC_BACKENDS_OPENCL_OPENCL_H
#define VLPC_BACKENDS_OPENCL_OPENCL_H

#include "base/str.h"
#include "runtime/compiler_api.h"

extern const DeviceDriver device_opencl;

/* The i-th device of the machine, *out with cache_dir; strings on the arena.  false: past the last.
** Fails (OK never with *more false and i 0) when there is no loader or
** platform. */
VL_MUST_USE VlStatus opencl_device(uint32_t i, Arena *a, Diag *d, vlpc_found_device *out,
                                   bool *more);

/* ---- vlpc tune ----------------------------------------------------------- */

#define OPENCL_TILES_MAX 16

/* CLBlast in the place of a tile has no rows. */
typedef struct {
  uint32_t rows, cols, depth;
} OpenclTile;

/* A gemm whatever its rows and what is fused into it; ns[i]: its time with tile i, -1: it is
** not usable, because of why[i] (NULL: the device does not take the tile, or its bits differ). */
typedef struct {
  int64_t k, n;
  bool transposed;
  VlDtype in, out;
  uint32_t n_tried, best; /* none tried: the time was over */
  int64_t ns[OPENCL_TILES_MAX];
  const char *why[OPENCL_TILES_MAX];
} OpenclGemm;

typedef struct {
  const char *device, *clblast;      /* "CLBlast 1.5.3"; NULL: not asked for */
  bool clblast_is_old;               /* known for wrong results on some devices */
  OpenclTile tile[OPENCL_TILES_MAX]; /* the first is the class's own, CLBlast the last */
  OpenclGemm *gemm;
  uint32_t n_tiles, n_gemms;
} OpenclTuning;

/* Times the artifact's gemms with each tile, and with CLBlast where that is asked for, until
** the seconds are over (what runs is finished), and keeps the fastest in the table of
** l->scratch_dir, which later loads read.  Strings and arrays on the arena.  Fails as a load
** does, with CLBLAST and with WRITE. */
typedef struct {
  double seconds;
  bool clblast;
} OpenclTuneOptions;
VL_MUST_USE VlStatus opencl_tune(const DeviceLoad *l, const OpenclTuneOptions *o, Arena *a,
                                 Diag *d, OpenclTuning *out);

#endif
