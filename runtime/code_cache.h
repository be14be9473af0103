/* SPDX-License-Identifier: Apache-2.0 */
/* code_cache.h - the folder on disk that keeps stored entries (code_store.h).
**
** Private by force: the folder must be a folder (no link), this user's and
** closed to all others; so must each entry.  Entries appear whole, by rename. */
#ifndef VLPC_RUNTIME_CODE_CACHE_H
#define VLPC_RUNTIME_CODE_CACHE_H

#include "base/diag.h"

typedef struct {
  int fd; /* -1: not open */
} CodeCache;

#define CODE_CACHE_NONE ((CodeCache){-1})
#define CODE_CACHE_MAX_ENTRY ((uint64_t)1 << 30)

typedef enum {
  CACHE_ABSENT,
  CACHE_READ,
  CACHE_BAD /* there, but not a private regular file of a sane size */
} CacheRead;

/* Makes the folder (and those above it) when absent.  A folder that is there
** but not private: CACHE_UNSAFE.  One that cannot be made or opened: OK, and not
** open. */
VL_MUST_USE VlStatus code_cache_open(const char *dir, Diag *d, CodeCache *out);
bool code_cache_is_open(const CodeCache *c);
void code_cache_close(CodeCache *c); /* takes one that is not open */
/* The bytes of an entry, from malloc; NULL unless CACHE_READ. */
CacheRead code_cache_read(CodeCache *c, const uint8_t key[16], uint8_t **out, uint64_t *n);
void code_cache_remove(CodeCache *c, const uint8_t key[16]);
bool code_cache_write(CodeCache *c, const uint8_t key[16], const uint8_t *at, uint64_t n);

#endif
