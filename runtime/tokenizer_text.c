/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer_text.c - texts as code points: UTF-8, classes, normal form, lower
** case.
**
** Classes, cases and normal forms are utf8proc's; what Python adds to them is
** here: the final sigma of str.lower, str.strip's idea of white space. */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "runtime/tokenizer_int.h"

/* UTF-8 */

size_t runes_from_utf8(const char *text, size_t n, Runes *out) {
  size_t i = 0;
  out->n = 0;
  while (i < n) {
    utf8proc_int32_t c;
    utf8proc_ssize_t m =
        utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)(n - i), &c);
    if (m <= 0) return i;
    out->at[out->n++] = c;
    i += (size_t)m;
  }
  return n;
}

size_t rune_to_utf8(int32_t c, uint8_t out[4]) {
  return (size_t)utf8proc_encode_char(c, out);
}

/* Classes */

bool rune_is_space(int32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13);
  return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
         c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool rune_is_letter(int32_t c) {
  if (c < 0x80) return (c | 32) >= 'a' && (c | 32) <= 'z';
  utf8proc_category_t k = utf8proc_category(c);
  return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

bool rune_is_number(int32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  utf8proc_category_t k = utf8proc_category(c);
  return k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO;
}

/* Python's str.isspace: also the four separators of ASCII. */
static bool is_python_space(int32_t c) {
  return rune_is_space(c) || (c >= 0x1c && c <= 0x1f);
}

void runes_strip(Runes *r) {
  while (r->n && is_python_space(r->at[r->n - 1])) r->n--;
  while (r->n && is_python_space(r->at[0])) {
    r->at++;
    r->n--;
  }
}

/* Normal form C */

/* Appends the normal form of n code points to out; from may be where it goes. */
static bool append_nfc(Runes *out, const int32_t *from, size_t n) {
  int32_t *to = out->at + out->n;
  size_t i = 0, bytes = 0;
  while (i < n && from[i] < 0x300) i++;
  if (i == n) { /* nothing below U+0300 composes */
    memmove(to, from, n * sizeof *to);
    out->n += n;
    return true;
  }
  const utf8proc_option_t how = UTF8PROC_COMPOSE | UTF8PROC_STABLE;
  uint8_t *utf8 = malloc(n * 4);
  if (!utf8) return false;
  for (i = 0; i < n; i++) bytes += rune_to_utf8(from[i], utf8 + bytes);
  utf8proc_ssize_t room = (utf8proc_ssize_t)(n * 4);
  utf8proc_ssize_t m = utf8proc_decompose(utf8, (utf8proc_ssize_t)bytes, to, room, how);
  VL_CHECK(m >= 0 && m <= room, "a decomposition is at most 4 code points");
  out->n += (size_t)utf8proc_normalize_utf32(to, m, how);
  free(utf8);
  return true;
}

bool runes_nfc(Runes *r) {
  size_t n = r->n;
  r->n = 0;
  return append_nfc(r, r->at, n);
}

/* Marks that came after Unicode 9 and would move or compose. */
static bool is_newer_mark(int32_t c) {
  static const int32_t set[][2] = {
      {0x7fd, 0x7fd},     {0x898, 0x89f},     {0x8ca, 0x8d3},     {0x9fe, 0x9fe},
      {0xc3c, 0xc3c},     {0xd3b, 0xd3c},     {0xeba, 0xeba},     {0xece, 0xece},
      {0x1715, 0x1715},   {0x1abf, 0x1ace},   {0x1df6, 0x1dfa},   {0xa82c, 0xa82c},
      {0x10d24, 0x10d27}, {0x10eab, 0x10eac}, {0x10efd, 0x10eff}, {0x10f46, 0x10f50},
      {0x10f82, 0x10f85}, {0x11070, 0x11070}, {0x1133b, 0x1133b}, {0x1145e, 0x1145e},
      {0x11839, 0x1183a}, {0x11930, 0x11930}, {0x1193d, 0x1193e}, {0x11943, 0x11943},
      {0x119e0, 0x119e0}, {0x11a34, 0x11a34}, {0x11a47, 0x11a47}, {0x11a99, 0x11a99},
      {0x11d42, 0x11d42}, {0x11d44, 0x11d45}, {0x11d97, 0x11d97}, {0x11f41, 0x11f42},
      {0x16ff0, 0x16ff1}, {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef},
      {0x1e4ec, 0x1e4ef}};
  return c >= 0x7fd && rune_is_in(c, set, VL_COUNT(set));
}

bool runes_nfc_unicode9(Runes *r) {
  size_t n = r->n, i = 0;
  int32_t *copy = malloc((n + 1) * sizeof *copy);
  bool ok = copy != NULL;
  if (ok) memcpy(copy, r->at, n * sizeof *copy);
  r->n = 0;
  while (ok && i < n) {
    size_t end = i;
    while (end < n && !is_newer_mark(copy[end])) end++;
    ok = append_nfc(r, copy + i, end - i);
    if (ok && end < n) r->at[r->n++] = copy[end];
    i = end + 1;
  }
  free(copy);
  return ok;
}

/* Lower case */

#define SIGMA 0x3a3

bool rune_is_in(int32_t c, const int32_t (*ranges)[2], size_t n) {
  for (size_t i = 0; i < n; i++)
    if (c >= ranges[i][0] && c <= ranges[i][1]) return true;
  return false;
}

/* Unicode's Case_Ignorable: does not come between a letter and its word's end. */
static bool is_case_ignorable(int32_t c) {
  static const int32_t more[][2] = {
      {0x27, 0x27},     {0x2e, 0x2e},     {0x3a, 0x3a},     {0xb7, 0xb7},
      {0x387, 0x387},   {0x55f, 0x55f},   {0x5f4, 0x5f4},   {0x2018, 0x2019},
      {0x2024, 0x2024}, {0x2027, 0x2027}, {0xfe13, 0xfe13}, {0xfe52, 0xfe52},
      {0xfe55, 0xfe55}, {0xff07, 0xff07}, {0xff0e, 0xff0e}, {0xff1a, 0xff1a}};
  utf8proc_category_t k = utf8proc_category(c);
  return k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_ME || k == UTF8PROC_CATEGORY_CF ||
         k == UTF8PROC_CATEGORY_LM || k == UTF8PROC_CATEGORY_SK ||
         rune_is_in(c, more, VL_COUNT(more));
}

/* Unicode's Cased, of what is not Case_Ignorable. */
static bool is_cased(int32_t c) {
  static const int32_t more[][2] = {{0xaa, 0xaa},      {0xba, 0xba},       {0x2160, 0x217f},
                                    {0x24b6, 0x24e9},  {0x1f130, 0x1f149}, {0x1f150, 0x1f169},
                                    {0x1f170, 0x1f189}};
  utf8proc_category_t k = utf8proc_category(c);
  return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT ||
         rune_is_in(c, more, VL_COUNT(more));
}

/* A sigma is final after a cased letter and before none. */
static bool is_final_sigma(const int32_t *at, size_t n, size_t i) {
  size_t before = i, after = i + 1;
  while (before > 0 && is_case_ignorable(at[before - 1])) before--;
  if (before == 0 || !is_cased(at[before - 1])) return false;
  while (after < n && is_case_ignorable(at[after])) after++;
  return after == n || !is_cased(at[after]);
}

/* Lower case of every letter; sigmas get their final form where marked by a
** source to look around in. */
static void lower_into(Runes *r, const int32_t *from, size_t n, bool final_sigma) {
  r->n = 0;
  for (size_t i = 0; i < n; i++) {
    int32_t c = from[i];
    if (final_sigma && c == SIGMA && is_final_sigma(from, n, i)) {
      r->at[r->n++] = 0x3c2;
    } else if (c == 0x130) { /* the only letter with a longer lower case */
      r->at[r->n++] = 'i';
      r->at[r->n++] = 0x307;
    } else {
      r->at[r->n++] = c < 0x80 ? c + (c >= 'A' && c <= 'Z' ? 32 : 0) : utf8proc_tolower(c);
    }
  }
}

static bool lower(Runes *r, bool final_sigma) {
  size_t n = r->n;
  int32_t *copy = malloc((n + 1) * sizeof *copy);
  if (!copy) return false;
  memcpy(copy, r->at, n * sizeof *copy);
  lower_into(r, copy, n, final_sigma);
  free(copy);
  return true;
}

bool runes_lower_each(Runes *r) {
  return lower(r, false);
}

bool runes_lower_python(Runes *r) {
  return lower(r, true);
}
