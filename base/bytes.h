/* SPDX-License-Identifier: Apache-2.0 */
/* bytes.h - little-endian records: a writer on an arena and a reader that
** never leaves its span.  A reader that ran out or met a bad count gives zeros
** from then on and says so once, in ok. */
#ifndef VLPC_BASE_BYTES_H
#define VLPC_BASE_BYTES_H

#include "base/str.h"

typedef struct {
  Str out; /* set out.arena before use */
} ByteWriter;

void put_u8(ByteWriter *w, uint8_t v);
void put_u32(ByteWriter *w, uint32_t v);
void put_u64(ByteWriter *w, uint64_t v);
void put_i64(ByteWriter *w, int64_t v);
void put_f64(ByteWriter *w, double v); /* bit pattern */
void put_text(ByteWriter *w, const char *s); /* u32 length and bytes; NULL as "" */

typedef struct {
  const uint8_t *at;
  size_t n, pos;
  bool ok;
} ByteReader;

uint8_t get_u8(ByteReader *r);
uint32_t get_u32(ByteReader *r);
uint64_t get_u64(ByteReader *r);
int64_t get_i64(ByteReader *r);
double get_f64(ByteReader *r);
/* A count of records that take at least min_bytes each in what is left. */
uint32_t get_count(ByteReader *r, size_t min_bytes);
/* Text copied to the arena; a NUL inside makes the reader not ok. */
const char *get_text(ByteReader *r, Arena *a, uint32_t max);

#endif
