/* SPDX-License-Identifier: Apache-2.0 */
/* map.c - open addressing with linear probing, at most half full.
**
** Both tables keep a power of two of slots and double them; nothing is ever
** removed, so a probe ends at the first empty slot. */
#include "base/map.h"

#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "base/vec.h"

#define FIRST_SLOTS 16u

/* --- u64 to u32 --- */

typedef struct {
  uint64_t key;
  uint32_t value;
  bool used;
} Slot;

struct Map {
  Arena *arena;
  Slot *slots;
  uint64_t n_slots;
  uint32_t count;
};

/* The finaliser of SplitMix64: spreads keys that differ in few bits. */
static uint64_t mix(uint64_t k) {
  k = (k ^ (k >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  k = (k ^ (k >> 27)) * UINT64_C(0x94d049bb133111eb);
  return k ^ (k >> 31);
}

/* The slot of key, or the empty one where it belongs. */
static Slot *map_slot(Slot *slots, uint64_t n_slots, uint64_t key) {
  uint64_t i = mix(key) & (n_slots - 1);
  while (slots[i].used && slots[i].key != key) i = (i + 1) & (n_slots - 1);
  return &slots[i];
}

Map *map_new(Arena *a) {
  Map *m = arena_one(a, Map);
  m->arena = a;
  m->n_slots = FIRST_SLOTS;
  m->slots = arena_array(a, Slot, m->n_slots);
  return m;
}

static void map_double(Map *m) {
  uint64_t n = m->n_slots * 2;
  Slot *slots = arena_array(m->arena, Slot, n);
  for (uint64_t i = 0; i < m->n_slots; i++)
    if (m->slots[i].used) *map_slot(slots, n, m->slots[i].key) = m->slots[i];
  m->slots = slots;
  m->n_slots = n;
}

void map_set(Map *m, uint64_t key, uint32_t value) {
  if (m->count >= m->n_slots / 2) map_double(m);
  Slot *s = map_slot(m->slots, m->n_slots, key);
  if (!s->used) m->count++;
  *s = (Slot){key, value, true};
}

bool map_get(const Map *m, uint64_t key, uint32_t *out) {
  const Slot *s = map_slot(m->slots, m->n_slots, key);
  if (!s->used) return false;
  *out = s->value;
  return true;
}

uint32_t map_count(const Map *m) {
  return m->count;
}

/* --- strings to ids --- */

typedef struct {
  const char *text;
  size_t n;
  uint64_t hash;
} Name;

struct Names {
  Arena *arena;
  VEC(Name) names;
  uint32_t *slots; /* id + 1; 0 is empty */
  uint64_t n_slots;
};

Names *names_new(Arena *a) {
  Names *t = arena_one(a, Names);
  t->arena = a;
  t->n_slots = FIRST_SLOTS;
  t->slots = arena_array(a, uint32_t, t->n_slots);
  return t;
}

/* The slot of the text, or the empty one where it belongs. */
static uint32_t *names_slot(const Names *t, const char *s, size_t n, uint64_t hash) {
  uint64_t i = hash & (t->n_slots - 1);
  for (; t->slots[i] != 0; i = (i + 1) & (t->n_slots - 1)) {
    const Name *it = &t->names.at[t->slots[i] - 1];
    if (it->hash == hash && it->n == n && (n == 0 || memcmp(it->text, s, n) == 0)) break;
  }
  return &t->slots[i];
}

static void names_double(Names *t) {
  uint64_t n = t->n_slots * 2;
  uint32_t *slots = arena_array(t->arena, uint32_t, n);
  for (uint32_t id = 0; id < t->names.n; id++) {
    uint64_t i = t->names.at[id].hash & (n - 1);
    while (slots[i] != 0) i = (i + 1) & (n - 1);
    slots[i] = id + 1;
  }
  t->slots = slots;
  t->n_slots = n;
}

uint32_t names_add(Names *t, const char *s, size_t n) {
  if (t->names.n >= t->n_slots / 2) names_double(t);
  uint64_t hash = hash_bytes(s, n, 0);
  uint32_t *slot = names_slot(t, s, n, hash);
  if (*slot != 0) return *slot - 1;
  const char *text = arena_strndup(t->arena, s, n);
  *vec_push(t->arena, &t->names) = (Name){text, n, hash};
  *slot = t->names.n;
  return t->names.n - 1;
}

bool names_find(const Names *t, const char *s, size_t n, uint32_t *out) {
  uint32_t slot = *names_slot(t, s, n, hash_bytes(s, n, 0));
  if (slot == 0) return false;
  *out = slot - 1;
  return true;
}

const char *names_text(const Names *t, uint32_t id) {
  VL_CHECK(id < t->names.n, "names_text: no such id");
  return t->names.at[id].text;
}

uint32_t names_count(const Names *t) {
  return t->names.n;
}

/* --- hashes --- */

uint64_t hash_bytes(const void *p, size_t n, uint64_t seed) {
  return XXH3_64bits_withSeed(p, n, seed);
}

Hash128 hash_128(const void *p, size_t n, uint64_t seed) {
  Hash128 out;
  XXH128_canonical_t c;
  XXH128_canonicalFromHash(&c, XXH3_128bits_withSeed(p, n, seed));
  memcpy(out.at, c.digest, sizeof out.at);
  return out;
}

void hash_hex(const uint8_t hash[16], char out[33]) {
  for (size_t i = 0; i < 16; i++) snprintf(out + 2 * i, 3, "%02x", hash[i]);
}

void hash_hex128(const void *p, size_t n, char out[33]) {
  Hash128 h = hash_128(p, n, 0);
  hash_hex(h.at, out);
}
