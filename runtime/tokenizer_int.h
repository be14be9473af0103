/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer_int.h - what the tokenizer's files share: its tables, and texts as
** arrays of code points. */
#ifndef VLPC_RUNTIME_TOKENIZER_INT_H
#define VLPC_RUNTIME_TOKENIZER_INT_H

#include "runtime/tokenizer.h"

#define TOKENIZER_MAX_MERGES (1u << 20)
#define TOKENIZER_MAX_VOCAB (1u << 21)

/* Two neighbours that become one; the index in the list is the rank. */
typedef struct {
  uint32_t left, right, result;
} Merge;

struct Tokenizer {
  TokenizerInfo info;
  uint32_t byte_id[512]; /* of each byte, then of each byte that ends a word */
  Merge *merges;
  uint32_t *slots; /* hash table: 1 + rank, 0 for empty */
  uint32_t mask;   /* slots - 1, a power of two less one */
};

/* An empty tokenizer with room for n merges; NULL: no memory. */
Tokenizer *tokenizer_new(uint32_t n_merges);
/* Fills the hash table; false when a pair comes twice. */
VL_MUST_USE bool tokenizer_index(Tokenizer *t);
/* Rank of a pair; UINT32_MAX when there is no such merge. */
uint32_t tokenizer_rank(const Tokenizer *t, uint32_t left, uint32_t right);

/* tokenizer_text.c */

typedef struct {
  int32_t *at;
  size_t n;
} Runes;

/* Code points of n bytes of UTF-8 into at, which has room for n.  Returns the
** place of the first bad byte, n when all are good. */
size_t runes_from_utf8(const char *text, size_t n, Runes *out);
size_t rune_to_utf8(int32_t c, uint8_t out[4]); /* bytes written */

bool rune_is_in(int32_t c, const int32_t (*ranges)[2], size_t n); /* inclusive ranges */
bool rune_is_space(int32_t c);                                    /* \s of a regular expression */
bool rune_is_letter(int32_t c);                                   /* \p{L} */
bool rune_is_number(int32_t c);                                   /* \p{N} */

/* In place, in the room stated; false when memory is out. */
VL_MUST_USE bool runes_nfc(Runes *r);          /* 4 n; normal form C */
VL_MUST_USE bool runes_nfc_unicode9(Runes *r); /* 4 n; that knows no later marks, as
                                                  Hugging Face's library does it */
VL_MUST_USE bool runes_lower_each(Runes *r);   /* 2 n; letter by letter */
VL_MUST_USE bool runes_lower_python(Runes *r); /* 2 n; with the final sigma */
void runes_strip(Runes *r);                    /* n; str.strip; moves at */

/* tokenizer_html.c */

void runes_unescape(Runes *r); /* n; html.unescape */

/* tokenizer_mend.c */

VL_MUST_USE bool runes_mend(Runes *r); /* 4 n; ftfy's plain fixes */
/* Whether one of ftfy's guesses might change the text. */
bool runes_need_guess(const Runes *r);

#endif
