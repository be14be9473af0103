/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer_decode.c - the text that a token stands for, for people to read. */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "runtime/tokenizer_int.h"

#define PART_BYTES 256 /* longer tokens are cut */

static const Merge *merge_of(const Tokenizer *t, uint32_t id) {
  for (uint32_t i = 0; i < t->info.n_merges; i++)
    if (t->merges[i].result == id) return &t->merges[i];
  return NULL;
}

/* The byte of a token that is one, with 256 for the end of a word; -1: it is none. */
static int byte_of(const Tokenizer *t, uint32_t id) {
  for (int i = 0; i < 512; i++)
    if (t->byte_id[i] == id) return i;
  return -1;
}

/* Its bytes, as many as fit; *ends: it ends a word.  A hostile table may lead in a circle:
** the stack bounds it. */
static size_t bytes_of(const Tokenizer *t, uint32_t id, char out[PART_BYTES], bool *ends) {
  uint32_t stack[PART_BYTES], depth = 1, turns = 0;
  size_t n = 0;
  *ends = false;
  for (stack[0] = id; depth > 0 && n < PART_BYTES && turns < 2 * PART_BYTES; turns++) {
    uint32_t at = stack[--depth];
    int byte = byte_of(t, at);
    const Merge *m = byte < 0 ? merge_of(t, at) : NULL;
    if (byte >= 0) out[n++] = (char)(byte & 255), *ends = byte > 255;
    if (m == NULL || depth + 2 > PART_BYTES) continue;
    stack[depth++] = m->right, stack[depth++] = m->left;
  }
  return n;
}

static const char *special(const Tokenizer *t, uint32_t id) {
  if (id == t->info.sot) return "<|startoftext|>";
  return id == t->info.eot ? "<|endoftext|>" : NULL;
}

void tokenizer_token(const Tokenizer *t, uint32_t id, char *out, size_t cap) {
  char bytes[PART_BYTES];
  bool ends = false;
  const char *name = special(t, id);
  size_t n = name ? 0 : bytes_of(t, id, bytes, &ends), used = 0, step = 0;
  snprintf(out, cap, "%s", name ? name : "");
  for (size_t i = 0; i < n; i += step) {
    char piece[8];
    step = utf8_length(bytes + i, n - i);
    if (step > 0 && (unsigned char)bytes[i] > ' ')
      snprintf(piece, sizeof piece, "%.*s", (int)step, bytes + i);
    else
      snprintf(piece, sizeof piece, "\\x%02x", (unsigned char)bytes[i]);
    step += step == 0;
    size_t more = strlen(piece);
    if (used + more >= cap) return;
    memcpy(out + used, piece, more + 1);
    used += more;
  }
  if (!name && n > 0 && !ends && used + 1 < cap) memcpy(out + used, "-", 2);
}
