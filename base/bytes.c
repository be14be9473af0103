/* SPDX-License-Identifier: Apache-2.0 */
/* bytes.c - see bytes.h. */
#include "base/bytes.h"

#include <string.h>

static void put_le(ByteWriter *w, uint64_t v, size_t n) {
  char b[8];
  for (size_t i = 0; i < n; i++) b[i] = (char)(v >> (8 * i));
  str_addn(&w->out, b, n);
}

void put_u8(ByteWriter *w, uint8_t v) {
  put_le(w, v, 1);
}
void put_u32(ByteWriter *w, uint32_t v) {
  put_le(w, v, 4);
}
void put_u64(ByteWriter *w, uint64_t v) {
  put_le(w, v, 8);
}
void put_i64(ByteWriter *w, int64_t v) {
  put_le(w, (uint64_t)v, 8);
}

void put_f64(ByteWriter *w, double v) {
  uint64_t u;
  memcpy(&u, &v, 8);
  put_u64(w, u);
}

void put_text(ByteWriter *w, const char *s) {
  size_t n = s ? strlen(s) : 0;
  put_u32(w, (uint32_t)n);
  if (n) str_addn(&w->out, s, n);
}

static uint64_t get_le(ByteReader *r, size_t n) {
  if (!r->ok || r->n - r->pos < n) {
    r->ok = false;
    return 0;
  }
  uint64_t v = 0;
  for (size_t i = 0; i < n; i++) v |= (uint64_t)r->at[r->pos + i] << (8 * i);
  r->pos += n;
  return v;
}

uint8_t get_u8(ByteReader *r) {
  return (uint8_t)get_le(r, 1);
}
uint32_t get_u32(ByteReader *r) {
  return (uint32_t)get_le(r, 4);
}
uint64_t get_u64(ByteReader *r) {
  return get_le(r, 8);
}
int64_t get_i64(ByteReader *r) {
  return (int64_t)get_le(r, 8);
}

double get_f64(ByteReader *r) {
  uint64_t u = get_le(r, 8);
  double v;
  memcpy(&v, &u, 8);
  return v;
}

uint32_t get_count(ByteReader *r, size_t min_bytes) {
  uint32_t n = get_u32(r);
  if (r->ok && (uint64_t)n * min_bytes > r->n - r->pos) r->ok = false;
  return r->ok ? n : 0;
}

const char *get_text(ByteReader *r, Arena *a, uint32_t max) {
  uint32_t n = get_count(r, 1);
  if (!r->ok || n > max || memchr(r->at + r->pos, 0, n)) {
    r->ok = false;
    return "";
  }
  const char *s = arena_strndup(a, (const char *)r->at + r->pos, n);
  r->pos += n;
  return s;
}
