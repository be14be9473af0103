/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer_html.c - HTML character references, as Python's html.unescape
** reads them: with its mending of numbers that no document should hold, and
** with the names that old pages wrote without ";". */
#include <string.h>

#include "runtime/tokenizer_int.h"

typedef struct {
  const char *name;
  uint8_t bare; /* also counts without ";" */
  int32_t a, b;
} HtmlName;

#define H(name, bare, a, b) {name, bare, a, b},
static const HtmlName html_names[] = {
#include "runtime/html_entities.def"
};
#undef H
#define HTML_LONGEST 32

/* Finds a name of n letters, with or without its ";". */
static const HtmlName *find_name(const char *name, size_t n, bool bare) {
  size_t lo = 0, hi = VL_COUNT(html_names);
  while (lo < hi) {
    size_t mid = (lo + hi) / 2;
    int order = strncmp(html_names[mid].name, name, n);
    if (order == 0 && html_names[mid].name[n]) order = 1;
    if (order == 0) return bare && !html_names[mid].bare ? NULL : &html_names[mid];
    if (order < 0)
      lo = mid + 1;
    else
      hi = mid;
  }
  return NULL;
}

/* The code point of &#value; and how it is mended; -1 when it vanishes. */
static int32_t mend_number(uint32_t value) {
  static const uint16_t c1[32] = {/* Windows-1252 */
                                  0x20ac, 0x81,   0x201a, 0x192,  0x201e, 0x2026, 0x2020, 0x2021,
                                  0x2c6,  0x2030, 0x160,  0x2039, 0x152,  0x8d,   0x17d,  0x8f,
                                  0x90,   0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014,
                                  0x2dc,  0x2122, 0x161,  0x203a, 0x153,  0x9d,   0x17e,  0x178};
  if (value == 0 || (value >= 0xd800 && value <= 0xdfff) || value > 0x10ffff) return 0xfffd;
  if (value == '\r') return '\r';
  if (value >= 0x80 && value <= 0x9f) return c1[value - 0x80];
  bool control = value < 9 || value == 0xb || (value >= 0xe && value <= 0x1f) || value == 0x7f;
  bool nonchar = (value >= 0xfdd0 && value <= 0xfdef) || (value & 0xfffe) == 0xfffe;
  return control || nonchar ? -1 : (int32_t)value;
}

static int digit_of(int32_t c, bool hex) {
  if (c >= '0' && c <= '9') return c - '0';
  if (hex && (c | 32) >= 'a' && (c | 32) <= 'f') return (c | 32) - 'a' + 10;
  return -1;
}

/* What a reference stands for. */
typedef struct {
  size_t used; /* code points of it, 0: it is none */
  size_t n;    /* code points it gives */
  int32_t out[2];
} Reference;

/* at[0] is "&", at[1] is "#". */
static Reference read_number(const int32_t *at, size_t n) {
  Reference r = {0, 0, {0, 0}};
  bool hex = n > 2 && (at[2] | 32) == 'x';
  size_t i = hex ? 3 : 2, start = i;
  uint32_t value = 0;
  while (i < n && digit_of(at[i], hex) >= 0) {
    value = value * (hex ? 16u : 10u) + (uint32_t)digit_of(at[i], hex);
    value = VL_MIN(value, 0x110000u);
    i++;
  }
  if (i == start) return r;
  int32_t c = mend_number(value);
  r.used = i + (i < n && at[i] == ';');
  r.n = c >= 0;
  r.out[0] = c;
  return r;
}

static bool ends_name(int32_t c) {
  return c == '\t' || c == '\n' || c == '\f' || c == ' ' || c == '<' || c == '&' || c == '#' ||
         c == ';';
}

/* at[0] is "&": the whole name with ";", else the longest bare beginning. */
static Reference read_name(const int32_t *at, size_t n) {
  Reference r = {0, 0, {0, 0}};
  char name[HTML_LONGEST + 1] = {0};
  size_t m = 0, ascii = 0;
  while (m < HTML_LONGEST && m + 1 < n && !ends_name(at[m + 1])) {
    if (ascii == m && at[m + 1] > 0 && at[m + 1] < 0x80) name[ascii++] = (char)at[m + 1];
    m++;
  }
  const HtmlName *found = NULL;
  size_t used = m + 2;
  if (m > 0 && ascii == m && m + 1 < n && at[m + 1] == ';') found = find_name(name, m, false);
  for (size_t k = ascii; !found && k > 1; k--) {
    found = find_name(name, k, true);
    used = k + 1;
  }
  if (!found) return r;
  r.used = used;
  r.n = found->b ? 2 : 1;
  r.out[0] = found->a;
  r.out[1] = found->b;
  return r;
}

void runes_unescape(Runes *r) {
  size_t i = 0, to = 0;
  while (i < r->n) {
    Reference ref = {0, 0, {0, 0}};
    const int32_t *at = r->at + i;
    if (*at == '&' && i + 1 < r->n)
      ref = at[1] == '#' ? read_number(at, r->n - i) : read_name(at, r->n - i);
    if (ref.used == 0) {
      r->at[to++] = r->at[i++];
    } else {
      i += ref.used;
      for (size_t k = 0; k < ref.n; k++) r->at[to++] = ref.out[k];
    }
  }
  r->n = to;
}
