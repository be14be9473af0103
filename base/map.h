/* SPDX-License-Identifier: Apache-2.0 */
/* map.h - a hash map from u64 to u32 and a string interner, both on an arena.
** Iteration order is never exposed, so results cannot depend on it. */
#ifndef VLPC_BASE_MAP_H
#define VLPC_BASE_MAP_H

#include "base/arena.h"

typedef struct Map Map;
Map *map_new(Arena *a);
void map_set(Map *m, uint64_t key, uint32_t value);
bool map_get(const Map *m, uint64_t key, uint32_t *out);
uint32_t map_count(const Map *m);

/* Strings to dense ids 0, 1, 2 …; the text is copied and lives as the arena. */
typedef struct Names Names;
Names *names_new(Arena *a);
uint32_t names_add(Names *t, const char *s, size_t n); /* id of s, old or new */
bool names_find(const Names *t, const char *s, size_t n, uint32_t *out);
const char *names_text(const Names *t, uint32_t id);
uint32_t names_count(const Names *t);

/* XXH3-64 of bytes. */
uint64_t hash_bytes(const void *p, size_t n, uint64_t seed);
/* XXH3-128 of bytes. */
typedef struct {
  uint8_t at[16];
} Hash128;
Hash128 hash_128(const void *p, size_t n, uint64_t seed);
/* 128 bits as 32 lower-case hex digits and a NUL. */
void hash_hex(const uint8_t hash[16], char out[33]);
/* XXH3-128 unseeded, as 32 lower-case hex digits and a NUL. */
void hash_hex128(const void *p, size_t n, char out[33]);

#endif
