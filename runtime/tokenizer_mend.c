/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer_mend.c - what OpenAI's tokenizer has ftfy do to a text first.
**
** ftfy's plain fixes are done here as it does them: ligatures taken apart,
** full-width and half-width forms brought to the usual width, curly quotes
** made straight, control characters dropped, normal form C.  Its guesses are
** not: text decoded with the wrong encoding, HTML in plain text, terminal
** colours.  A text that such a guess may concern is marked instead. */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "runtime/tokenizer_int.h"

/* Controls that show nothing; those that make white space stay. */
static bool is_dropped(int32_t c) {
  static const int32_t set[][2] = {{0, 8},          {0xb, 0xb},       {0xe, 0x1f},
                                   {0x7f, 0x7f},    {0x206a, 0x206f}, {0xfeff, 0xfeff},
                                   {0xfff9, 0xfffc}};
  return rune_is_in(c, set, VL_COUNT(set));
}

typedef struct {
  int32_t from, to[3];
} Ligature;

static const Ligature ligatures[] = {
    {0x132, {'I', 'J'}},       {0x133, {'i', 'j'}},       {0x149, {0x2bc, 'n'}},
    {0x1c4, {'D', 0x17d}},     {0x1c5, {'D', 0x17e}},     {0x1c6, {'d', 0x17e}},
    {0x1c7, {'L', 'J'}},       {0x1c8, {'L', 'j'}},       {0x1c9, {'l', 'j'}},
    {0x1ca, {'N', 'J'}},       {0x1cb, {'N', 'j'}},       {0x1cc, {'n', 'j'}},
    {0x1f1, {'D', 'Z'}},       {0x1f2, {'D', 'z'}},       {0x1f3, {'d', 'z'}},
    {0xfb00, {'f', 'f'}},      {0xfb01, {'f', 'i'}},      {0xfb02, {'f', 'l'}},
    {0xfb03, {'f', 'f', 'i'}}, {0xfb04, {'f', 'f', 'l'}}, {0xfb05, {0x17f, 't'}},
    {0xfb06, {'s', 't'}}};

/* Writes c without ligature and in its usual width; returns the code points. */
static size_t widen(int32_t c, int32_t out[4]) {
  out[0] = c == 0x3000 ? ' ' : c;
  if (c >= 0xff01 && c <= 0xffef) {
    int boundary = 0;
    utf8proc_ssize_t n =
        utf8proc_decompose_char(c, out, 4, UTF8PROC_COMPAT | UTF8PROC_DECOMPOSE, &boundary);
    VL_CHECK(n >= 1 && n <= 4, "a width form stands for at most 4 code points");
    return (size_t)n;
  }
  for (size_t i = 0; i < VL_COUNT(ligatures); i++) {
    if (ligatures[i].from != c) continue;
    memcpy(out, ligatures[i].to, sizeof ligatures[i].to);
    return out[2] ? 3 : 2;
  }
  return 1;
}

static int32_t straighten(int32_t c) {
  if (c == 0x2bc || (c >= 0x2018 && c <= 0x201b)) return '\'';
  if (c >= 0x201c && c <= 0x201f) return '"';
  return c;
}

static void mend_into(Runes *r, const int32_t *from, size_t n) {
  r->n = 0;
  for (size_t i = 0; i < n; i++) {
    int32_t out[4];
    size_t m = widen(from[i], out);
    for (size_t k = 0; k < m; k++) {
      int32_t c = straighten(out[k]);
      if (!is_dropped(c)) r->at[r->n++] = c;
    }
  }
}

bool runes_mend(Runes *r) {
  size_t n = r->n;
  int32_t *copy = malloc((n + 1) * sizeof *copy);
  if (!copy) return false;
  memcpy(copy, r->at, n * sizeof *copy);
  mend_into(r, copy, n);
  free(copy);
  return runes_nfc(r);
}

/* The byte that Windows-1252 or Latin-1 would have had for c; -1: none. */
static int byte_of(int32_t c) {
  static const int32_t high[][2] = {/* the rows of Windows-1252 above Latin-1 */
                                    {0x20ac, 0x80}, {0x201a, 0x82}, {0x192, 0x83},  {0x201e, 0x84},
                                    {0x2026, 0x85}, {0x2020, 0x86}, {0x2021, 0x87}, {0x2c6, 0x88},
                                    {0x2030, 0x89}, {0x160, 0x8a},  {0x2039, 0x8b}, {0x152, 0x8c},
                                    {0x17d, 0x8e},  {0x2018, 0x91}, {0x2019, 0x92}, {0x201c, 0x93},
                                    {0x201d, 0x94}, {0x2022, 0x95}, {0x2013, 0x96}, {0x2014, 0x97},
                                    {0x2dc, 0x98},  {0x2122, 0x99}, {0x161, 0x9a},  {0x203a, 0x9b},
                                    {0x153, 0x9c},  {0x17e, 0x9e},  {0x178, 0x9f}};
  if (c < 0x100) return c;
  for (size_t i = 0; i < VL_COUNT(high); i++)
    if (high[i][0] == c) return high[i][1];
  return -1;
}

/* A lead byte of UTF-8 and a continuation, both read as single characters. */
static bool is_mojibake(int32_t c, int32_t next) {
  int a = byte_of(c), b = byte_of(next);
  return a >= 0xc2 && a <= 0xf4 && b >= 0x80 && b <= 0xbf;
}

bool runes_need_guess(const Runes *r) {
  for (size_t i = 0; i < r->n; i++) {
    int32_t c = r->at[i], next = i + 1 < r->n ? r->at[i + 1] : 0;
    if (c == 0x1b || (c >= 0x80 && c <= 0x9f) || is_mojibake(c, next)) return true;
    if (c == '&' && next != ' ' && next != 0 && next != '&') return true;
  }
  return false;
}
