/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.c - the tables of a tokenizer and their form in an artifact.
**
** The form is little-endian: 8 bytes of magic, eight u32 (version, flavour,
** vocab, sot, eot, pad, context, merges), 512 u32 of byte ids, three u32 for
** each merge.  Every id is checked against vocab and every pair against the
** others, so that what loads cannot lead encoding astray. */
#include "runtime/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/tokenizer_int.h"

static const char magic[8] = {'V', 'L', 'P', 'C', 'T', 'O', 'K', '\n'};
#define VERSION 1u
#define HEAD_BYTES (8u + 8u * 4u)
#define BYTES_BYTES (512u * 4u)
#define MERGE_BYTES 12u

Tokenizer *tokenizer_new(uint32_t n_merges) {
  Tokenizer *t = calloc(1, sizeof *t);
  uint32_t slots = 16;
  while (slots < n_merges * 2u) slots *= 2;
  if (!t) return NULL;
  t->info.n_merges = n_merges;
  t->merges = calloc((size_t)n_merges + 1, sizeof *t->merges);
  t->slots = calloc(slots, sizeof *t->slots);
  t->mask = slots - 1;
  if (t->merges && t->slots) return t;
  tokenizer_free(t);
  return NULL;
}

void tokenizer_free(Tokenizer *t) {
  if (!t) return;
  free(t->merges);
  free(t->slots);
  free(t);
}

TokenizerInfo tokenizer_info(const Tokenizer *t) {
  return t->info;
}

static uint32_t hash_pair(uint32_t left, uint32_t right) {
  uint64_t x = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u;
  return (uint32_t)(x >> 32);
}

/* The slot that holds a pair, or the empty one where it belongs. */
static uint32_t *find_slot(const Tokenizer *t, uint32_t left, uint32_t right) {
  uint32_t i = hash_pair(left, right) & t->mask;
  while (t->slots[i]) {
    const Merge *m = &t->merges[t->slots[i] - 1];
    if (m->left == left && m->right == right) break;
    i = (i + 1) & t->mask;
  }
  return &t->slots[i];
}

bool tokenizer_index(Tokenizer *t) {
  for (uint32_t i = 0; i < t->info.n_merges; i++) {
    uint32_t *slot = find_slot(t, t->merges[i].left, t->merges[i].right);
    if (*slot) return false;
    *slot = i + 1;
  }
  return true;
}

uint32_t tokenizer_rank(const Tokenizer *t, uint32_t left, uint32_t right) {
  return *find_slot(t, left, right) - 1; /* 0 - 1 is UINT32_MAX */
}

/* Bytes */

static void store_u32(uint8_t **at, uint32_t v) {
  for (int i = 0; i < 4; i++) *(*at)++ = (uint8_t)(v >> (8 * i));
}

static uint32_t fetch_u32(const uint8_t **at) {
  const uint8_t *p = *at;
  *at += 4;
  return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

size_t tokenizer_n_bytes(const Tokenizer *t) {
  return HEAD_BYTES + BYTES_BYTES + (size_t)t->info.n_merges * MERGE_BYTES;
}

void tokenizer_to_bytes(const Tokenizer *t, uint8_t *out) {
  const TokenizerInfo *k = &t->info;
  const uint32_t head[8] = {VERSION, (uint32_t)k->flavour, k->vocab,   k->sot, k->eot,
                            k->pad,  k->context,           k->n_merges};
  memcpy(out, magic, sizeof magic);
  out += sizeof magic;
  for (size_t i = 0; i < 8; i++) store_u32(&out, head[i]);
  for (size_t i = 0; i < 512; i++) store_u32(&out, t->byte_id[i]);
  for (uint32_t i = 0; i < k->n_merges; i++) {
    store_u32(&out, t->merges[i].left);
    store_u32(&out, t->merges[i].right);
    store_u32(&out, t->merges[i].result);
  }
}

static VlStatus damaged(const char *name, Diag *d, const char *what) {
  VlStatus st = diag_error(d, DIAG_TOK_DATA, (DiagAt){name, "tokenizer"},
                           "the embedded tokenizer is damaged");
  diag_found(d, "%s", what);
  diag_fix(d, "compile the model again");
  return st;
}

static const char *head_fault(const uint32_t head[8], size_t n) {
  const uint32_t vocab = head[2];
  if (head[0] != VERSION) return "another version";
  if (head[1] > TOKENIZER_openai) return "an unknown flavour";
  if (vocab == 0 || vocab > TOKENIZER_MAX_VOCAB) return "a vocabulary size out of range";
  for (int i = 3; i < 6; i++)
    if (head[i] >= vocab) return "a special token outside the vocabulary";
  if (head[7] > TOKENIZER_MAX_MERGES) return "too many merges";
  if (n != HEAD_BYTES + BYTES_BYTES + (size_t)head[7] * MERGE_BYTES) return "a wrong length";
  return NULL;
}

/* False when an id is outside the vocabulary or a pair comes twice. */
static bool fill(Tokenizer *t, const uint8_t *at) {
  uint32_t top = 0;
  for (size_t i = 0; i < 512; i++) {
    t->byte_id[i] = fetch_u32(&at);
    top = VL_MAX(top, t->byte_id[i]);
  }
  for (uint32_t i = 0; i < t->info.n_merges; i++) {
    Merge *m = &t->merges[i];
    m->left = fetch_u32(&at);
    m->right = fetch_u32(&at);
    m->result = fetch_u32(&at);
    top = VL_MAX(top, VL_MAX(m->result, VL_MAX(m->left, m->right)));
  }
  return top < t->info.vocab && tokenizer_index(t);
}

VlStatus tokenizer_from_bytes(const void *bytes, size_t n, const char *name, Diag *d,
                              Tokenizer **out) {
  const uint8_t *at = bytes;
  uint32_t head[8];
  *out = NULL;
  if (n < HEAD_BYTES || memcmp(at, magic, sizeof magic) != 0)
    return damaged(name, d, "something else");
  at += sizeof magic;
  for (size_t i = 0; i < 8; i++) head[i] = fetch_u32(&at);
  const char *fault = head_fault(head, n);
  if (fault) return damaged(name, d, fault);
  Tokenizer *t = tokenizer_new(head[7]);
  if (!t) return diag_error(d, DIAG_NOMEM, (DiagAt){name, NULL}, "no memory for the tokenizer");
  t->info = (TokenizerInfo){
      (TokenizerFlavour)head[1], head[2], head[3], head[4], head[5], head[6], head[7]};
  if (!fill(t, at)) {
    tokenizer_free(t);
    return damaged(name, d, "an id outside the vocabulary, or a pair that comes twice");
  }
  *out = t;
  return VLPC_OK;
}
