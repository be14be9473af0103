/* SPDX-License-Identifier: Apache-2.0 */
/* base.h - the words every file may use: attributes, checks, min and max.
**
** VL_CHECK guards an invariant of vlpc itself and stays in release builds; it
** is never applied to a user's input (that is diag.h's work).  VL_ASSERT is
** the cheap inner form and vanishes with NDEBUG. */
#ifndef VLPC_BASE_BASE_H
#define VLPC_BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VL_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define VL_MUST_USE __attribute__((warn_unused_result))
#define VL_NORETURN __attribute__((noreturn))
#define VL_UNUSED __attribute__((unused))

#define VL_COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define VL_MIN(a, b) ((a) < (b) ? (a) : (b))
#define VL_MAX(a, b) ((a) > (b) ? (a) : (b))

/* Reports a fault of vlpc (file, line, text) on stderr and aborts. */
VL_NORETURN void vl_fault(const char *file, int line, const char *text);

#define VL_CHECK(cond, text) \
  do { \
    if (!(cond)) vl_fault(__FILE__, __LINE__, text); \
  } while (0)
#define VL_UNREACHABLE(text) vl_fault(__FILE__, __LINE__, text)

#ifdef NDEBUG
#define VL_ASSERT(cond) ((void)0)
#else
#define VL_ASSERT(cond) VL_CHECK(cond, #cond)
#endif

/* Checked 64-bit arithmetic: true when *out holds the exact result. */
static inline bool vl_mul_u64(uint64_t a, uint64_t b, uint64_t *out) {
  return !__builtin_mul_overflow(a, b, out);
}
static inline bool vl_add_u64(uint64_t a, uint64_t b, uint64_t *out) {
  return !__builtin_add_overflow(a, b, out);
}
static inline bool vl_mul_i64(int64_t a, int64_t b, int64_t *out) {
  return !__builtin_mul_overflow(a, b, out);
}
static inline bool vl_add_i64(int64_t a, int64_t b, int64_t *out) {
  return !__builtin_add_overflow(a, b, out);
}
/* True when [off, off + len) lies in [0, size). */
static inline bool vl_range_ok(uint64_t off, uint64_t len, uint64_t size) {
  return off <= size && len <= size - off;
}
static inline uint64_t vl_align_up(uint64_t n, uint64_t to) {
  return (n + to - 1) / to * to;
}

#endif
