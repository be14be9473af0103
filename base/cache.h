/* SPDX-License-Identifier: Apache-2.0 */
/* cache.h - a private folder on disk with entries under 128-bit keys: machine code
** (runtime/code_store.h), features of photos (train/features.h).
**
** A stored entry is a StoredHeader and a payload.  The folder is made 0700; it must be a
** folder (no link), this user's and closed to all others.  So must each entry be, a regular
** file, and its kind, size, key and hash are checked before a byte of it is used.  One that
** fails is removed.  Entries appear whole, by rename. */
#ifndef VLPC_BASE_CACHE_H
#define VLPC_BASE_CACHE_H

#include "base/diag.h"

#define STORED_MAGIC 0x43435056u /* "VPCC" */
#define STORED_VERSION 1u
#define CACHE_MAX_ENTRY ((uint64_t)1 << 30)

typedef struct {
  uint32_t magic, version;
  uint64_t bytes; /* of the payload */
  uint64_t maker; /* who made it, as its kind tells makers; 0: any */
  uint64_t zero;
  uint8_t key[16];
  uint8_t hash[16]; /* XXH3-128 of the payload, seeded with XXH3-64 of the header up to here */
} StoredHeader;

_Static_assert(sizeof(StoredHeader) == 64, "a stored entry's header is 64 bytes");

StoredHeader stored_header(const uint8_t key[16], uint64_t maker, const void *payload,
                           uint64_t bytes);
/* Whether a sound entry is at the start of n bytes; its header, and payload behind it. */
bool stored_check(const uint8_t *at, uint64_t n, StoredHeader *h);

typedef struct {
  int fd; /* -1: not open */
  const char *kind; /* files are KEY-VERSION.kind; borrowed */
} Cache;

#define CACHE_NONE ((Cache){-1, NULL})

typedef enum {
  CACHE_ABSENT,
  CACHE_READ,
  CACHE_BAD /* it was there, but no sound entry of this key: it is removed */
} CacheRead;

/* Makes the folder (and those above it) when absent.  A folder that is there
** but not private: CACHE_UNSAFE.  One that cannot be made or opened: OK, and not
** open. */
VL_MUST_USE VlStatus cache_open(const char *dir, const char *kind, Diag *d, Cache *out);
bool cache_is_open(const Cache *c);
void cache_close(Cache *c); /* takes one that is not open */
/* An entry from malloc, the payload behind its header; NULL unless CACHE_READ. */
CacheRead cache_read(Cache *c, const uint8_t key[16], uint8_t **out, StoredHeader *h);
void cache_remove(Cache *c, const uint8_t key[16]);
/* Under the key that the header states. */
bool cache_write(Cache *c, const StoredHeader *h, const void *payload);

#endif
