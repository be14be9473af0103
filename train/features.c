/* SPDX-License-Identifier: Apache-2.0 */
/* features.c - the entry in memory: rows as they were read, rows added, and an index. */
#include "train/features.h"

#include <stdlib.h>
#include <string.h>

#include "base/vec.h"

/* Rows of an entry as cache_read gives it. */
typedef struct {
  uint8_t *entry;    /* NULL: none */
  const uint8_t *at; /* the payload */
  uint64_t n;
} OldRows;

struct Features {
  Cache cache;
  uint8_t key[16];
  Arena *arena; /* its own: when memory is out, a row is not kept */
  uint64_t row_bytes; /* with its key */
  uint64_t most;      /* rows of the entry */
  OldRows old;
  VEC(uint8_t *) added;
  Map *place;      /* by the first half of a key: the row, those added behind the old ones */
  uint32_t n_kept; /* of those added: they are on disk */
  uint64_t n_found;
};

static void close_features(void *p) {
  Features *f = p;
  free(f->old.entry);
  arena_free(f->arena);
  cache_close(&f->cache);
}

/* ---- rows ------------------------------------------------------------------ */

static uint64_t half(const uint8_t *key) {
  uint64_t h;
  memcpy(&h, key, sizeof h);
  return h;
}

static const uint8_t *row_at(const Features *f, uint32_t i) {
  return i < f->old.n ? f->old.at + i * f->row_bytes : f->added.at[i - f->old.n];
}

/* A key behind another with the same half is not found. */
static bool find(const Features *f, const uint8_t *key, uint32_t *i) {
  return map_get(f->place, half(key), i) && memcmp(row_at(f, *i), key, sizeof(Hash128)) == 0;
}

const float *features_find(Features *f, const Hash128 *key) {
  uint32_t i;
  if (!f || !find(f, key->at, &i)) return NULL;
  f->n_found++;
  return (const float *)(const void *)(row_at(f, i) + sizeof *key);
}

void features_add(Features *f, const Hash128 *key, const float *row) {
  if (!f || f->added.n >= f->most || ARENA_GUARD(f->arena)) return;
  uint8_t *to = arena_alloc(f->arena, (size_t)f->row_bytes);
  memcpy(to, key, sizeof *key);
  memcpy(to + sizeof *key, row, (size_t)f->row_bytes - sizeof *key);
  *vec_push(f->arena, &f->added) = to;
  map_set(f->place, half(key->at), (uint32_t)f->old.n + f->added.n - 1);
}

void features_count(const Features *f, uint64_t *found, uint64_t *made) {
  *found += f ? f->n_found : 0;
  *made += f ? f->added.n : 0;
}

/* ---- the entry ------------------------------------------------------------- */

/* An entry of another length than whole rows is none. */
static OldRows read_rows(Features *f) {
  OldRows r = {0};
  StoredHeader h;
  if (!cache_is_open(&f->cache) || cache_read(&f->cache, f->key, &r.entry, &h) != CACHE_READ)
    return r;
  if (h.bytes % f->row_bytes == 0 && h.bytes / f->row_bytes <= f->most) {
    r.at = r.entry + sizeof h;
    r.n = h.bytes / f->row_bytes;
  }
  return r;
}

static bool index_rows(Features *f) {
  f->arena = arena_new(0);
  if (!f->arena || ARENA_GUARD(f->arena)) return false;
  f->place = map_new(f->arena);
  f->old = read_rows(f);
  for (uint32_t i = 0; i < f->old.n; i++) map_set(f->place, half(row_at(f, i)), i);
  return true;
}

VlStatus features_open(const FeaturesSpec *spec, Arena *a, Diag *d, Features **out) {
  *out = NULL;
  if (!(spec->dir || spec->in_memory) || spec->width > FEATURES_MAX / sizeof(float))
    return VLPC_OK;
  Features *f = arena_one(a, Features);
  Hash128 key = hash_128(spec->of, strlen(spec->of), spec->width);
  *f = (Features){.cache = CACHE_NONE,
                  .row_bytes = sizeof(Hash128) + spec->width * sizeof(float)};
  f->most = spec->most / f->row_bytes;
  memcpy(f->key, key.at, sizeof f->key);
  arena_defer(a, close_features, f);
  if (spec->dir) VL_TRY(cache_open(spec->dir, "features", d, &f->cache));
  if ((cache_is_open(&f->cache) || spec->in_memory) && index_rows(f)) *out = f;
  return VLPC_OK;
}

/* The rows added, then those of the entry that are not among them; their number is *n. */
static uint8_t *gather(const Features *f, const OldRows *now, uint64_t *n) {
  uint64_t all = VL_MIN(now->n + f->added.n, f->most);
  uint8_t *to = malloc((size_t)(all * f->row_bytes) + 1);
  uint32_t is;
  *n = 0;
  for (uint32_t i = f->added.n; to && i-- > 0 && *n < all;)
    memcpy(to + (*n)++ * f->row_bytes, f->added.at[i], (size_t)f->row_bytes);
  for (uint64_t i = 0; to && i < now->n && *n < all; i++) {
    const uint8_t *row = now->at + i * f->row_bytes;
    if (find(f, row, &is) && is >= f->old.n) continue;
    memcpy(to + (*n)++ * f->row_bytes, row, (size_t)f->row_bytes);
  }
  return to;
}

void features_keep(Features *f) {
  if (!f || f->n_kept == f->added.n || !cache_is_open(&f->cache)) return;
  OldRows now = read_rows(f); /* another run may have added some */
  uint64_t n = 0;
  uint8_t *rows = gather(f, &now, &n);
  if (rows) {
    StoredHeader h = stored_header(f->key, 0, rows, n * f->row_bytes);
    if (cache_write(&f->cache, &h, rows)) f->n_kept = f->added.n;
  }
  free(rows);
  free(now.entry);
}
