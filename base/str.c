/* SPDX-License-Identifier: Apache-2.0 */
/* str.c - growing text, and numbers as text that no locale changes.
**
** Numbers are printed and read under the "C" locale of the calling thread
** alone; glibc and musl hand that locale out without allocating. */
#include "base/str.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- building --- */

/* Room for n more bytes and the NUL. */
static void str_room(Str *s, size_t n) {
  if (s->cap - s->n > n) return;
  uint64_t cap = 0;
  if (!vl_add_u64(s->n, n, &cap) || cap > SIZE_MAX / 2) cap = UINT64_MAX / 2;
  cap = VL_MAX(cap * 2, 64u);
  char *at = arena_array_bytes(s->arena, cap, 1);
  if (s->n != 0) memcpy(at, s->at, s->n);
  s->at = at;
  s->cap = (size_t)cap;
}

void str_addn(Str *s, const char *text, size_t n) {
  str_room(s, n);
  if (n != 0) memcpy(s->at + s->n, text, n);
  s->n += n;
  s->at[s->n] = '\0';
}

void str_add(Str *s, const char *text) {
  str_addn(s, text, strlen(text));
}

void str_printf(Str *s, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  va_list again;
  va_copy(again, ap);
  int n = vsnprintf(NULL, 0, fmt, again);
  va_end(again);
  if (n > 0) {
    str_room(s, (size_t)n);
    vsnprintf(s->at + s->n, (size_t)n + 1, fmt, ap);
    s->n += (size_t)n;
  }
  va_end(ap);
}

const char *str_text(Str *s) {
  return s->at != NULL ? s->at : "";
}

/* --- numbers out --- */

/* Text of a finite v in the fewest digits that read back; whole values below
** `whole` are written out in full.  Runs under the "C" locale. */
static void shortest(char *out, size_t cap, double v, bool is_float) {
  double whole = is_float ? 1e7 : 1e15;
  if (v == trunc(v) && fabs(v) < whole) {
    snprintf(out, cap, "%.0f", v);
    return;
  }
  for (int digits = 1; digits <= 17; digits++) {
    snprintf(out, cap, "%.*g", digits, v);
    double back = is_float ? (double)strtof(out, NULL) : strtod(out, NULL);
    if (back == v) return;
  }
}

static void add_number(Str *s, double v, bool is_float) {
  char text[64];
  if (isnan(v)) {
    str_add(s, "nan");
  } else if (isinf(v)) {
    str_add(s, v < 0 ? "-inf" : "inf");
  } else {
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    locale_t old = uselocale(c);
    shortest(text, sizeof text, v, is_float);
    uselocale(old);
    if (c != (locale_t)0) freelocale(c);
    str_add(s, text);
  }
}

void str_f64(Str *s, double v) {
  add_number(s, v, false);
}

void str_f32(Str *s, float v) {
  add_number(s, (double)v, true);
}

/* --- characters --- */

size_t utf8_length(const char *s, size_t n) {
  const unsigned char *u = (const unsigned char *)s;
  if (n == 0) return 0;
  if (u[0] < 0x80) return 1;
  size_t len = u[0] < 0xc2 ? 0 : u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : u[0] < 0xf5 ? 4 : 0;
  if (len == 0 || len > n) return 0;
  for (size_t i = 1; i < len; i++)
    if ((u[i] & 0xc0) != 0x80) return 0;
  bool overlong = (u[0] == 0xe0 && u[1] < 0xa0) || (u[0] == 0xf0 && u[1] < 0x90);
  bool surrogate = u[0] == 0xed && u[1] > 0x9f;
  bool too_large = u[0] == 0xf4 && u[1] > 0x8f;
  return overlong || surrogate || too_large ? 0 : len;
}

size_t json_char(const char *s, size_t n, char out[JSON_CHAR_MAX]) {
  unsigned char c = (unsigned char)s[0];
  size_t len = utf8_length(s, n);
  const char *named = len == 1 && c != '\0' ? strchr("\"\"\\\\\bb\ff\nn\rr\tt", c) : NULL;
  if (len == 0) {
    strcpy(out, "\xef\xbf\xbd");
    return 1;
  }
  if (named != NULL && (c < 0x20 || c == '"' || c == '\\')) {
    out[0] = '\\';
    out[1] = named[1];
    out[2] = '\0';
  } else if (c < 0x20 || c == 0x7f) {
    snprintf(out, JSON_CHAR_MAX, "\\u%04x", c);
  } else {
    memcpy(out, s, len);
    out[len] = '\0';
  }
  return len;
}

void str_json(Str *s, const char *text, size_t n) {
  char form[JSON_CHAR_MAX];
  str_addn(s, "\"", 1);
  for (size_t i = 0; i < n;) {
    i += json_char(text + i, n - i, form);
    str_add(s, form);
  }
  str_addn(s, "\"", 1);
}

/* --- numbers in --- */

bool parse_i64(const char *text, int64_t *out) {
  const char *digits = text + (text[0] == '-' || text[0] == '+');
  if (digits[0] < '0' || digits[0] > '9') return false;
  char *end = NULL;
  errno = 0;
  long long v = strtoll(text, &end, 10);
  if (errno != 0 || *end != '\0') return false;
  *out = v;
  return true;
}

/* A decimal number, inf or nan: what strtod takes beyond that (spaces, hex,
** "infinity", "nan(…)") is refused. */
static bool is_decimal(const char *text) {
  const char *t = text + (text[0] == '-' || text[0] == '+');
  if (strcmp(t, "inf") == 0 || strcmp(t, "nan") == 0) return true;
  return *t != '\0' && strspn(t, "0123456789.eE+-") == strlen(t);
}

bool parse_f64(const char *text, double *out) {
  if (!is_decimal(text)) return false;
  locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
  if (c == (locale_t)0) return false;
  char *end = NULL;
  errno = 0;
  double v = strtod_l(text, &end, c);
  bool too_large = errno == ERANGE && isinf(v);
  freelocale(c);
  if (end == text || *end != '\0' || too_large) return false;
  *out = v;
  return true;
}

/* --- did you mean --- */

enum { WORD_MAX = 32 };

/* Least number of insertions, deletions and changes; 99 for long words. */
static uint32_t edits(const char *a, const char *b) {
  size_t n = strlen(a), m = strlen(b);
  uint32_t row[WORD_MAX + 1];
  if (n > WORD_MAX || m > WORD_MAX) return 99;
  for (uint32_t j = 0; j <= m; j++) row[j] = j;
  for (uint32_t i = 1; i <= n; i++) {
    uint32_t corner = row[0];
    row[0] = i;
    for (uint32_t j = 1; j <= m; j++) {
      uint32_t keep = corner + (a[i - 1] != b[j - 1]);
      corner = row[j];
      row[j] = VL_MIN(keep, VL_MIN(row[j], row[j - 1]) + 1);
    }
  }
  return row[m];
}

const char *str_nearest(const char *word, const char *const *names, uint32_t n) {
  uint32_t best = (uint32_t)VL_MIN(strlen(word), 8) / 3 + 2; /* one more than may differ */
  const char *found = NULL;
  for (uint32_t i = 0; i < n; i++) {
    uint32_t e = edits(word, names[i]);
    if (e < best && e < strlen(names[i])) {
      best = e;
      found = names[i];
    }
  }
  return found;
}
