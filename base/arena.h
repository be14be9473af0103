/* SPDX-License-Identifier: Apache-2.0 */
/* arena.h - memory that is freed together.
**
** arena_alloc zeroes what it returns, aligns it to 16 bytes and never returns
** NULL: when memory or the arena's limit is out it jumps to the handler that
** the public entry has set with ARENA_GUARD.  Foreign handles are registered
** with arena_defer and released newest first when the arena is freed.
**
**   Arena *a = arena_new(0);                 (NULL when memory is out)
**   if (ARENA_GUARD(a)) { arena_free(a); return VLPC_E_NOMEM; }
**   … arena_alloc(a, n) …
**   arena_free(a);
**
** A guard holds until the next one on the same arena, and only while the
** function that set it has not returned.  Running out with no guard set is a
** fault of vlpc.  Locals changed between the guard and a jump must be volatile or live in the
** arena.  Threads: one thread at a time. */
#ifndef VLPC_BASE_ARENA_H
#define VLPC_BASE_ARENA_H

#include <setjmp.h>
#include <stdarg.h>

#include "base/base.h"

typedef struct Arena Arena;

Arena *arena_new(size_t limit_bytes); /* 0: no limit */
void arena_free(Arena *a);            /* takes NULL */

jmp_buf *arena_escape(Arena *a); /* used by ARENA_GUARD only */
#define ARENA_GUARD(a) (setjmp(*arena_escape(a)) != 0)

void *arena_alloc(Arena *a, size_t bytes);
/* n elements of size bytes; an overflowing product counts as out of memory. */
void *arena_array_bytes(Arena *a, uint64_t n, size_t size);
#define arena_array(a, T, n) ((T *)arena_array_bytes((a), (uint64_t)(n), sizeof(T)))
#define arena_one(a, T) arena_array(a, T, 1)
char *arena_strdup(Arena *a, const char *s);
char *arena_strndup(Arena *a, const char *s, size_t n);
char *arena_printf(Arena *a, const char *fmt, ...) VL_PRINTF(2, 3);
char *arena_vprintf(Arena *a, const char *fmt, va_list ap) VL_PRINTF(2, 0);
/* fn(p) runs when a is freed, before its memory goes, newest first.  When the
** record itself finds no memory, fn(p) runs at once and then the arena jumps.
** fn must not allocate from a. */
void arena_defer(Arena *a, void (*fn)(void *), void *p);
size_t arena_bytes(const Arena *a); /* handed out so far, in steps of 16 */

#endif
