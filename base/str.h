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
/* Shortest decimal that reads back as the same double; inf, -inf, nan.  Whole
** values below 1e15 (floats: 1e7) have all their digits and no exponent. */
void str_f64(Str *s, double v);
/* The same for a float. */
void str_f32(Str *s, float v);
/* text in double quotes with JSON escapes; each byte that is not UTF-8 becomes
** U+FFFD. */
void str_json(Str *s, const char *text, size_t n);
const char *str_text(Str *s); /* "" when nothing was added */

/* Bytes (1 … 4) of the well-formed UTF-8 character at s, which has n bytes
** left; 0 when there is none. */
size_t utf8_length(const char *s, size_t n);
/* Writes the character at s (n > 0 bytes left) as it stands in a JSON string,
** NUL added; returns how many bytes of s that were. */
#define JSON_CHAR_MAX 8
size_t json_char(const char *s, size_t n, char out[JSON_CHAR_MAX]);

/* Whole-string decimal numbers, independent of the locale: false, and *out
** untouched, when text is not exactly one number in range.  parse_f64 also
** takes inf, -inf and nan; a value too small becomes the nearest double. */
bool parse_i64(const char *text, int64_t *out);
bool parse_f64(const char *text, double *out);

/* "Did you mean": the name that is most like word, or NULL when none is near. */
const char *str_nearest(const char *word, const char *const *names, uint32_t n);

#endif
