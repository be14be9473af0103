/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer_openai.c - OpenAI's vocabulary: gzip text, a line of heading, then
** one merge a line.  Ids follow from the order: 256 bytes, the same ending a
** word, one for each merge, then the two special tokens.  The file of the
** original CLIP is longer than its vocabulary, which ends at 48,894 merges. */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/map.h"
#include "runtime/tokenizer_load_int.h"

#define MOST_MERGES 48894u
#define MOST_TEXT ((size_t)16 << 20)

/* Inflates into the arena, NUL added; NULL when it is broken or too long. */
static char *inflate_text(TokenizerLoad *l, const uint8_t *bytes, size_t n, size_t *out_n) {
  z_stream z = {.next_in = (Bytef *)(uintptr_t)bytes, .avail_in = (uInt)n};
  char *text = arena_alloc(l->a, MOST_TEXT + 1);
  if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK) return NULL;
  z.next_out = (Bytef *)text;
  z.avail_out = (uInt)MOST_TEXT;
  int rc = inflate(&z, Z_FINISH);
  *out_n = MOST_TEXT - z.avail_out;
  bool whole = rc == Z_STREAM_END && z.avail_in == 0;
  inflateEnd(&z);
  text[*out_n] = 0;
  return whole ? text : NULL;
}

static uint32_t count_merges(const char *text, size_t n) {
  uint32_t lines = 0;
  for (size_t i = 0; i + 1 < n && lines < MOST_MERGES; i++) lines += text[i] == '\n';
  return lines;
}

/* The tokens so far; ids are dense in the order of adding. */
static VlStatus add_bytes(TokenizerLoad *l, Names *tokens) {
  uint32_t order[256], byte_at[256];
  char text[16];
  tok_byte_order(order);
  for (uint32_t b = 0; b < 256; b++) byte_at[order[b]] = b;
  for (uint32_t i = 0; i < 512; i++) {
    tok_byte_text(byte_at[i % 256], text);
    if (i >= 256) strcat(text, "</w>");
    uint32_t id = names_add(tokens, text, strlen(text));
    l->t->byte_id[byte_at[i % 256] + (i >= 256 ? 256u : 0u)] = id;
  }
  return VLPC_OK;
}

static VlStatus bad_line(TokenizerLoad *l, uint32_t rank, const char *found) {
  const char *place = arena_printf(l->a, "line %u", rank + 2);
  return tok_vocab(l, place, found, "two tokens made by earlier lines, whose sum is new");
}

/* One line, "left right", of n bytes. */
static VlStatus add_merge(TokenizerLoad *l, Names *tokens, uint32_t rank, const char *line,
                          size_t n) {
  Merge *m = &l->t->merges[rank];
  const char *gap = memchr(line, ' ', n);
  if (!gap) return bad_line(l, rank, "no space");
  size_t left = (size_t)(gap - line), right = n - left - 1;
  if (!names_find(tokens, line, left, &m->left) || !names_find(tokens, gap + 1, right, &m->right))
    return bad_line(l, rank, "a token that is not in the vocabulary");
  char *sum = arena_alloc(l->a, n);
  memcpy(sum, line, left);
  memcpy(sum + left, gap + 1, right);
  m->result = names_add(tokens, sum, n - 1);
  if (m->result != 512 + rank) return bad_line(l, rank, "a token that is already made");
  return VLPC_OK;
}

static VlStatus add_merges(TokenizerLoad *l, const char *text, size_t n) {
  Names *tokens = names_new(l->a);
  VL_TRY(add_bytes(l, tokens));
  const char *at = memchr(text, '\n', n), *end = text + n;
  for (uint32_t i = 0; i < l->t->info.n_merges; i++) {
    const char *line = at + 1;
    at = memchr(line, '\n', (size_t)(end - line));
    if (!at) at = end;
    size_t len = (size_t)(at - line);
    if (len && line[len - 1] == '\r') len--;
    VL_TRY(add_merge(l, tokens, i, line, len));
  }
  return VLPC_OK;
}

VlStatus tok_read_gzip(TokenizerLoad *l, const uint8_t *bytes, size_t n) {
  size_t text_n;
  const char *text = inflate_text(l, bytes, n, &text_n);
  if (!text) return tok_format(l, NULL, "gzip data that is cut short, damaged or above 16 MiB");
  uint32_t merges = count_merges(text, text_n);
  if (merges == 0) return tok_format(l, NULL, "gzip data without lines");
  l->t = tokenizer_new(merges);
  if (!l->t) return tok_nomem(l);
  TokenizerInfo *k = &l->t->info;
  k->flavour = TOKENIZER_openai;
  k->vocab = 512 + merges + 2;
  k->sot = k->vocab - 2;
  k->eot = k->vocab - 1;
  k->pad = 0;
  k->context = 77;
  return add_merges(l, text, text_n);
}
