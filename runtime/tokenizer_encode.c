/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer_encode.c - from a text to ids.
**
** A text becomes code points, is normalised, and falls into words by CLIP's
** regular expression
**   <|startoftext|> | <|endoftext|> | 's|'t|'re|'ve|'m|'ll|'d
**   | letters+ | one number | (neither space, letter nor number)+
** Each word's UTF-8 bytes become symbols, of which the neighbours with the
** lowest rank are merged until none are left.
**
** Flavours differ in small ways, each marked below.  OpenAI's expression
** ignores case after lower-casing, so long s counts as s in it, and leaves out
** U+0345, whose other case is a letter.  Hugging Face takes the special tokens
** out of the text before the expression sees it, and splits a second time
** where a special token appears only through lower-casing. */
#include "runtime/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/tokenizer_int.h"

#define LONG_S 0x17f
#define NO_RANK UINT32_MAX
#define DIRTY (UINT32_MAX - 1)

static const char sot_text[] = "<|startoftext|>", eot_text[] = "<|endoftext|>";

/* One text being encoded. */
typedef struct {
  const Tokenizer *t;
  Encoded *e;
  uint32_t *sym, *rank; /* one word's symbols and the ranks of its pairs */
  bool openai;
} Work;

static void emit(Work *w, uint32_t id) {
  if (w->e->full < w->e->context) w->e->ids[w->e->full] = (int64_t)id;
  w->e->full++;
}

static uint32_t lowest(const uint32_t *rank, size_t n) {
  uint32_t best = NO_RANK;
  for (size_t i = 0; i < n; i++) best = VL_MIN(best, rank[i]);
  return best;
}

/* Merges every pair of the given rank, from the left; returns what is left. */
static size_t merge_round(Work *w, size_t n, uint32_t best) {
  uint32_t *sym = w->sym, *rank = w->rank;
  size_t to = 0, i = 0;
  while (i < n) {
    bool merged = i + 1 < n && rank[i] == best;
    bool next_merged = !merged && i + 2 < n && rank[i + 1] == best;
    sym[to] = merged ? w->t->merges[best].result : sym[i];
    rank[to] = merged || next_merged ? DIRTY : rank[i];
    to++;
    i += merged ? 2 : 1;
  }
  for (i = 0; i + 1 < to; i++)
    if (rank[i] == DIRTY) rank[i] = tokenizer_rank(w->t, sym[i], sym[i + 1]);
  return to;
}

/* Encodes one word, given as code points. */
static void encode_word(Work *w, const int32_t *at, size_t n) {
  uint8_t bytes[4];
  size_t count = 0;
  for (size_t i = 0; i < n; i++) {
    size_t m = rune_to_utf8(at[i], bytes);
    for (size_t k = 0; k < m; k++)
      w->sym[count++] = w->t->byte_id[bytes[k] + (i + 1 == n && k + 1 == m ? 256u : 0u)];
  }
  for (size_t i = 0; i + 1 < count; i++)
    w->rank[i] = tokenizer_rank(w->t, w->sym[i], w->sym[i + 1]);
  uint32_t best;
  while (count > 1 && (best = lowest(w->rank, count - 1)) != NO_RANK)
    count = merge_round(w, count, best);
  for (size_t i = 0; i < count; i++) emit(w, w->sym[i]);
}

/* Whether text begins with what; loosely also with long s for s. */
static bool begins(const int32_t *at, size_t n, const char *what, bool loosely) {
  size_t m = strlen(what);
  if (n < m) return false;
  for (size_t i = 0; i < m; i++) {
    int32_t c = loosely && at[i] == LONG_S ? 's' : at[i];
    if (c != what[i]) return false;
  }
  return true;
}

/* Length of 's, 't, 're, 've, 'm, 'll or 'd; 0 when there is none. */
static size_t contraction(const int32_t *at, size_t n, bool loosely) {
  static const char *const ends[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
  if (at[0] != '\'') return 0;
  for (size_t i = 0; i < VL_COUNT(ends); i++)
    if (begins(at, n, ends[i], loosely)) return strlen(ends[i]);
  return 0;
}

static bool is_skipped(const Work *w, int32_t c) {
  return rune_is_space(c) || (w->openai && c == 0x345);
}

static bool is_other(const Work *w, int32_t c) {
  return !is_skipped(w, c) && !rune_is_letter(c) && !rune_is_number(c);
}

/* Length of the run of letters, the number or the run of others at at[0]. */
static size_t run_length(const Work *w, const int32_t *at, size_t n) {
  size_t i = 1;
  if (rune_is_number(at[0])) return 1;
  bool letters = rune_is_letter(at[0]);
  while (i < n && (letters ? rune_is_letter(at[i]) : is_other(w, at[i]))) i++;
  return i;
}

/* A special token inside the text. */
static void encode_special(Work *w, const int32_t *at, size_t n) {
  if (w->openai && begins(at, n, sot_text, false)) {
    emit(w, w->t->info.sot);
  } else if (w->openai && begins(at, n, eot_text, false)) {
    emit(w, w->t->info.eot);
  } else if (w->openai) { /* with a long s: an ordinary word */
    encode_word(w, at, n);
  } else { /* split a second time: "<|", "endoftext", "|>" */
    encode_word(w, at, 2);
    encode_word(w, at + 2, n - 4);
    encode_word(w, at + n - 2, 2);
  }
}

static void encode_words(Work *w, const int32_t *at, size_t n) {
  size_t i = 0;
  while (i < n) {
    const int32_t *p = at + i;
    size_t left = n - i, m = 0;
    if (is_skipped(w, *p)) {
      i++;
      continue;
    }
    if (begins(p, left, sot_text, w->openai))
      m = sizeof sot_text - 1;
    else if (begins(p, left, eot_text, w->openai))
      m = sizeof eot_text - 1;
    if (m) {
      encode_special(w, p, m);
    } else {
      m = contraction(p, left, w->openai);
      if (!m) m = run_length(w, p, left);
      encode_word(w, p, m);
    }
    i += m;
  }
}

/* First place of what in the text; n when it is not there. */
static size_t find(const int32_t *at, size_t n, const char *what) {
  size_t i = 0;
  while (i < n && !begins(at + i, n - i, what, false)) i++;
  return i;
}

/* Hugging Face: the text between two "<|endoftext|>" as written. */
static bool encode_hf_piece(Work *w, const int32_t *at, size_t n, int32_t *space) {
  Runes r = {space, n};
  memcpy(space, at, n * sizeof *at);
  if (!runes_nfc_unicode9(&r) || !runes_lower_each(&r)) return false;
  size_t i = 0;
  for (;;) {
    size_t m = find(r.at + i, r.n - i, sot_text);
    encode_words(w, r.at + i, m);
    i += m;
    if (i == r.n) return true;
    emit(w, w->t->info.sot);
    i += sizeof sot_text - 1;
  }
}

static bool encode_hf(Work *w, const Runes *text, int32_t *space) {
  size_t i = 0;
  for (;;) {
    size_t m = find(text->at + i, text->n - i, eot_text);
    if (!encode_hf_piece(w, text->at + i, m, space)) return false;
    i += m;
    if (i == text->n) return true;
    emit(w, w->t->info.eot);
    i += sizeof eot_text - 1;
  }
}

static bool encode_openai(Work *w, Runes *text) {
  w->e->guess = runes_need_guess(text);
  if (!runes_mend(text)) return false;
  w->e->guess |= runes_need_guess(text);
  runes_unescape(text);
  runes_unescape(text);
  runes_strip(text);
  if (!runes_lower_python(text)) return false;
  encode_words(w, text->at, text->n);
  return true;
}

/* Cuts to the context keeping EOT last, and pads. */
static void finish(Work *w) {
  Encoded *e = w->e;
  emit(w, w->t->info.eot);
  e->n = VL_MIN(e->full, e->context);
  e->ids[e->n - 1] = (int64_t)w->t->info.eot;
  for (int32_t i = e->n; i < e->context; i++) e->ids[i] = (int64_t)w->t->info.pad;
}

static VlStatus report_text(Diag *d, size_t n, size_t bad) {
  VlStatus st;
  if (n > TOKENIZER_MAX_TEXT) {
    st = diag_error(d, DIAG_TEXT_LIMIT, DIAG_NOWHERE, "a text is too long");
    diag_found(d, "%zu bytes", n);
    diag_expected(d, "at most %u bytes", TOKENIZER_MAX_TEXT);
    diag_fix(d, "shorten the text: only its first tokens are read anyway");
  } else {
    st = diag_error(d, DIAG_TEXT_UTF8, DIAG_NOWHERE, "a text is not valid UTF-8");
    diag_found(d, "a bad byte at offset %zu", bad);
    diag_fix(d, "save the labels as UTF-8");
  }
  return st;
}

VlStatus tokenizer_encode(const Tokenizer *t, const char *text, size_t n, Diag *d, Encoded *e) {
  VL_CHECK(e->context >= 2, "a context holds SOT and EOT");
  e->n = e->full = 0;
  e->guess = false;
  if (n > TOKENIZER_MAX_TEXT) return report_text(d, n, 0);
  /* The text and a normal form of it, at most 4 code points for each; then a
  ** word's symbols and ranks: normalising makes at most 6 bytes of one. */
  size_t room = 4 * n + 16;
  int32_t *space = malloc(room * 5 * sizeof *space);
  if (!space) return diag_error(d, DIAG_NOMEM, DIAG_NOWHERE, "no memory to encode a text");
  Runes runes = {space, 0};
  size_t bad = runes_from_utf8(text, n, &runes);
  VlStatus st = VLPC_OK;
  if (bad < n) {
    st = report_text(d, n, bad);
  } else {
    uint32_t *words = (uint32_t *)(space + 2 * room);
    Work w = {t, e, words, words + room + room / 2, t->info.flavour == TOKENIZER_openai};
    emit(&w, t->info.sot);
    bool ok = w.openai ? encode_openai(&w, &runes) : encode_hf(&w, &runes, space + room);
    finish(&w);
    if (!ok) st = diag_error(d, DIAG_NOMEM, DIAG_NOWHERE, "no memory to encode a text");
  }
  free(space);
  return st;
}
