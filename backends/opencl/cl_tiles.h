/* SPDX-License-Identifier: Apache-2.0 */
/* cl_tiles.h - tiles that can be tried, and the table of those that `vlpc tune` chose for a
** device. */
#ifndef VLPC_BACKENDS_OPENCL_CL_TILES_H
#define VLPC_BACKENDS_OPENCL_CL_TILES_H

#include "backends/opencl/cl_code.h"

enum { CL_TUNED_MAX = 512 };

/* The i-th tile of cl_tiles.def for a class; false: past the last. */
bool cl_tile_at(const ClClass *c, uint32_t i, ClTile *out);
bool cl_tile_same(ClTile a, ClTile b);

/* A row without its tile: what tells one gemm's text from another's. */
ClTuned cl_tuned_key(const KGemm *g);
/* NULL: the table has none. */
ClTuned *cl_tuned_find(const ClTable *t, const ClTuned *key);

/* The device's table, on the arena with room for CL_TUNED_MAX rows; empty where dir is NULL or
** holds none that is sound.  Fails with CACHE_UNSAFE. */
VL_MUST_USE VlStatus cl_table_read(const ClDevice *x, const char *dir, Arena *a, Diag *d,
                                   ClTable *out);
bool cl_table_names_clblast(const ClTable *t);
/* In the place of the row with the same key; false: the table is full. */
bool cl_table_put(ClTable *t, const ClTuned *row);
/* Does its best, as store_keep. */
void cl_table_keep(const ClDevice *x, const char *dir, Arena *a, const ClTable *t);

#endif
