/* SPDX-License-Identifier: Apache-2.0 */
/* arena.c - blocks of zeroed memory in a list, and what to release with them.
**
** Small requests are cut from the newest block, whose size doubles up to
** BLOCK_MAX.  A request that would waste most of a block gets one of its own,
** put behind the newest so that the free rest of that one stays in use.  All
** blocks come from calloc, which leaves large ones untouched until used. */
#include "base/arena.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGN 16u
#define BLOCK_MIN ((size_t)16 << 10)
#define BLOCK_MAX ((size_t)1 << 20)

typedef struct Block {
  struct Block *next;
  size_t used, size; /* of the bytes behind the header */
} Block;

#define HEADER ((sizeof(Block) + ALIGN - 1) / ALIGN * ALIGN)

typedef struct Deferred {
  struct Deferred *next;
  void (*fn)(void *);
  void *p;
} Deferred;

struct Arena {
  Block *newest;
  Deferred *deferred;
  size_t limit, handed_out, block_size;
  bool guarded;
  jmp_buf escape;
};

Arena *arena_new(size_t limit_bytes) {
  Arena *a = calloc(1, sizeof *a);
  if (a == NULL) return NULL;
  a->limit = limit_bytes ? limit_bytes : SIZE_MAX;
  a->block_size = BLOCK_MIN;
  return a;
}

void arena_free(Arena *a) {
  if (a == NULL) return;
  for (Deferred *f = a->deferred; f != NULL; f = f->next) f->fn(f->p);
  for (Block *b = a->newest, *next; b != NULL; b = next) {
    next = b->next;
    free(b);
  }
  free(a);
}

jmp_buf *arena_escape(Arena *a) {
  a->guarded = true;
  return &a->escape;
}

VL_NORETURN static void out_of_memory(Arena *a) {
  VL_CHECK(a->guarded, "an arena without ARENA_GUARD is out of memory");
  longjmp(a->escape, 1);
}

/* Takes n bytes off b, or NULL when they do not fit. */
static void *block_take(Block *b, size_t n) {
  if (b == NULL || b->size - b->used < n) return NULL;
  void *p = (char *)b + HEADER + b->used;
  b->used += n;
  return p;
}

/* A block with room for n bytes in the list, or NULL. */
static Block *block_add(Arena *a, size_t n) {
  bool own = n > a->block_size / 4;
  size_t size = own ? n : a->block_size;
  if (size > SIZE_MAX - HEADER) return NULL;
  Block *b = calloc(1, HEADER + size);
  if (b == NULL) return NULL;
  b->size = size;
  Block **at = own && a->newest != NULL ? &a->newest->next : &a->newest;
  b->next = *at;
  *at = b;
  if (!own && a->block_size < BLOCK_MAX) a->block_size *= 2;
  return b;
}

/* NULL instead of the jump. */
static void *try_alloc(Arena *a, size_t bytes) {
  if (bytes > SIZE_MAX - ALIGN) return NULL;
  size_t n = (size_t)vl_align_up(VL_MAX(bytes, 1u), ALIGN);
  if (n > a->limit - a->handed_out) return NULL;
  void *p = block_take(a->newest, n);
  if (p == NULL) p = block_take(block_add(a, n), n);
  if (p != NULL) a->handed_out += n;
  return p;
}

void *arena_alloc(Arena *a, size_t bytes) {
  void *p = try_alloc(a, bytes);
  if (p == NULL) out_of_memory(a);
  return p;
}

void *arena_array_bytes(Arena *a, uint64_t n, size_t size) {
  uint64_t bytes = 0;
  if (!vl_mul_u64(n, size, &bytes) || bytes > SIZE_MAX) out_of_memory(a);
  return arena_alloc(a, (size_t)bytes);
}

char *arena_strndup(Arena *a, const char *s, size_t n) {
  if (n == SIZE_MAX) out_of_memory(a);
  char *p = arena_alloc(a, n + 1);
  if (n != 0) memcpy(p, s, n);
  return p;
}

char *arena_strdup(Arena *a, const char *s) {
  return arena_strndup(a, s, strlen(s));
}

char *arena_vprintf(Arena *a, const char *fmt, va_list ap) {
  va_list again;
  va_copy(again, ap);
  int n = vsnprintf(NULL, 0, fmt, again);
  va_end(again);
  if (n < 0) out_of_memory(a);
  char *p = arena_alloc(a, (size_t)n + 1);
  vsnprintf(p, (size_t)n + 1, fmt, ap);
  return p;
}

char *arena_printf(Arena *a, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  char *p = arena_vprintf(a, fmt, ap);
  va_end(ap);
  return p;
}

void arena_defer(Arena *a, void (*fn)(void *), void *p) {
  Deferred *f = try_alloc(a, sizeof *f);
  if (f == NULL) {
    fn(p);
    out_of_memory(a);
  }
  *f = (Deferred){a->deferred, fn, p};
  a->deferred = f;
}

size_t arena_bytes(const Arena *a) {
  return a->handed_out;
}
