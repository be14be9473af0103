/* SPDX-License-Identifier: Apache-2.0 */
/* str.h - a string builder on an arena, and locale-free number text. */
#ifndef VLPC_BASE_STR_H
#define VLPC_BASE_STR_H

#include "base/arena.h"

typedef struct {
  Arena *arena;
  char *at; /* NUL-terminated once anything was added */
  size_t n, cap;
} Str;

void str_add(Str *s, const char *text);
void str_addn(Str *s, const char *text, size_t n);
void str_printf(Str *s, const char *fmt, ...) VL_PRINTF(2, 3);
/* Shortest decimal that reads back as the same double; inf, -inf, nan. */
void str_f64(Str *s, double v);
/* The same for a float. */
void str_f32(Str *s, float v);
/* "…" with JSON escapes; invalid UTF-8 becomes U+FFFD. */
void str_json(Str *s, const char *text, size_t n);
const char *str_text(Str *s); /* "" when nothing was added */

/* Whole-string numbers, independent of the locale: false when text is not
** exactly one number in range. */
bool parse_i64(const char *text, int64_t *out);
bool parse_f64(const char *text, double *out);

#endif
