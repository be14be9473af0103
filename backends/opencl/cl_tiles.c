/* SPDX-License-Identifier: Apache-2.0 */
/* cl_tiles.c - which tile a gemm has: its row of the device's table, or the class's.
**
** The table is an entry of the private cache, made by `vlpc tune`, whose key is the device's
** identity.  What the cache does not vouch for, and a tile that is not in cl_tiles.def, is
** not used. */
#include "backends/opencl/cl_tiles.h"

#include <string.h>

#include "runtime/code_store.h"

enum { TURNED_COLS = 3 };

typedef struct {
  bool cpu;
  ClTile tile;
} TileRow;

static const TileRow tile_rows[] = {
#define TILE(cpu, rows, cols, depth) {cpu, {rows, cols, depth}},
#include "backends/opencl/cl_tiles.def"
};
#define TILE(cpu, rows, cols, depth)                                                             \
  _Static_assert((cpu) || (2 * (depth) * ((rows) + 4 + (cols) + 16) * 4 <= CL_LOCAL_BYTES &&     \
                           (rows) / 8 * ((cols) / 8) <= 256),                                    \
                 "a tile fits into the local memory and the groups that every device has");
#include "backends/opencl/cl_tiles.def"

bool cl_tile_at(const ClClass *c, uint32_t i, ClTile *out) {
  for (size_t j = 0; j < VL_COUNT(tile_rows); j++) {
    if (tile_rows[j].cpu != c->cpu) continue;
    *out = tile_rows[j].tile;
    if (i-- == 0) return true;
  }
  return false;
}

bool cl_tile_same(ClTile a, ClTile b) {
  return a.rows == b.rows && a.cols == b.cols && a.depth == b.depth;
}

static bool is_known(const ClClass *c, ClTile tile) {
  ClTile known;
  for (uint32_t i = 0; cl_tile_at(c, i, &known); i++)
    if (cl_tile_same(known, tile)) return true;
  return false;
}

/* ---- of a gemm ----------------------------------------------------------- */

ClTuned cl_tuned_key(const KGemm *g) {
  return (ClTuned){.k = g->k, .n = g->n, .in = (uint16_t)g->in, .out = (uint16_t)g->out,
                   .transposed = g->transposed};
}

ClTuned *cl_tuned_find(const ClTable *t, const ClTuned *key) {
  for (uint32_t i = 0; i < t->n; i++) {
    ClTuned *r = &t->at[i];
    if (r->k == key->k && r->n == key->n && r->in == key->in && r->out == key->out &&
        r->transposed == key->transposed)
      return r;
  }
  return NULL;
}

ClTile cl_tile(const ClTarget *t, const KGemm *g) {
  ClTile tile = t->class->tile;
  if (t->class->cpu && g->transposed) {
    tile.cols = TURNED_COLS;
    return tile;
  }
  ClTuned key = cl_tuned_key(g);
  const ClTuned *r = t->tuned ? cl_tuned_find(t->tuned, &key) : NULL;
  return r ? r->tile : tile;
}

/* ---- the table ----------------------------------------------------------- */

static void table_key(const ClDevice *x, Arena *a, uint8_t key[16]) {
  Str s = {.arena = a};
  cl_identity(&s, x);
  str_add(&s, "gemms");
  store_key(s.at, s.n, key);
}

VlStatus cl_table_read(const ClDevice *x, const char *dir, Arena *a, Diag *d, ClTable *out) {
  uint8_t key[16];
  CodeFound found;
  *out = (ClTable){.at = arena_array(a, ClTuned, CL_TUNED_MAX)};
  table_key(x, a, key);
  VL_TRY(store_find(dir, key, 0, d, &found));
  uint64_t n = found.code_bytes / sizeof(ClTuned);
  for (uint64_t i = 0; i < n && out->n < CL_TUNED_MAX; i++) {
    ClTuned *r = &out->at[out->n];
    memcpy(r, found.code + i * sizeof *r, sizeof *r);
    out->n += is_known(x->class, r->tile);
  }
  code_release(&found);
  return VLPC_OK;
}

bool cl_table_names_clblast(const ClTable *t) {
  for (uint32_t i = 0; i < t->n; i++)
    if (t->at[i].clblast) return true;
  return false;
}

bool cl_table_put(ClTable *t, const ClTuned *row) {
  ClTuned *r = cl_tuned_find(t, row);
  if (!r && t->n == CL_TUNED_MAX) return false;
  if (!r) r = &t->at[t->n++];
  *r = *row;
  return true;
}

void cl_table_keep(const ClDevice *x, const char *dir, Arena *a, const ClTable *t) {
  uint8_t key[16];
  table_key(x, a, key);
  store_keep(dir, key, 0, (Section){(const uint8_t *)t->at, t->n * sizeof *t->at});
}
