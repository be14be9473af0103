/* SPDX-License-Identifier: Apache-2.0 */
/* vec.c - growth by doubling.  The old elements stay in the arena unused, so
** a vector costs at most twice its final size. */
#include "base/vec.h"

#include <string.h>

#define VEC_FIRST 8u

void *vec_grow(Arena *a, void *at, uint32_t n, uint32_t *cap, size_t size) {
  if (n < *cap) return at;
  /* A count beyond 32 bits is asked for as an impossible size: the arena jumps. */
  uint64_t want = *cap > UINT32_MAX / 2 ? UINT64_MAX : VL_MAX(*cap * 2u, VEC_FIRST);
  void *grown = arena_array_bytes(a, want, size);
  if (n != 0) memcpy(grown, at, (size_t)n * size);
  *cap = (uint32_t)want;
  return grown;
}
