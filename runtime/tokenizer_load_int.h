/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer_load_int.h - what the readers of tokenizer files share. */
#ifndef VLPC_RUNTIME_TOKENIZER_LOAD_INT_H
#define VLPC_RUNTIME_TOKENIZER_LOAD_INT_H

#include "base/arena.h"
#include "runtime/tokenizer_int.h"

#define TOKENIZER_MAX_FILE ((uint64_t)64 << 20)

/* One tokenizer being read.  Everything but the result is on the arena. */
typedef struct {
  Arena *a;
  Diag *d;
  const char *file; /* the one being read, for messages */
  Tokenizer *t;     /* the result; freed with the arena unless handed out */
} TokenizerLoad;

/* tokenizer_load.c */

/* Each reports and gives the status of its code; place may be NULL. */
VlStatus tok_format(TokenizerLoad *l, const char *place, const char *found);
VlStatus tok_vocab(TokenizerLoad *l, const char *place, const char *found, const char *expected);
VlStatus tok_kind(TokenizerLoad *l, const char *place, const char *found, const char *expected);
VlStatus tok_nomem(TokenizerLoad *l);
/* UTF-8 of the character that stands for a byte in vocabulary files, NUL added. */
void tok_byte_text(uint32_t byte, char out[8]);
/* The place of each byte in the order of OpenAI's vocabulary. */
void tok_byte_order(uint32_t order[256]);
/* Path of a file beside path: its name with the ending `from` replaced by `to`,
** or `to` when it does not end so. */
const char *tok_beside(TokenizerLoad *l, const char *path, const char *from, const char *to);
bool tok_exists(const char *path);

/* tokenizer_hf.c: text is the file's bytes. */
VL_MUST_USE VlStatus tok_read_json(TokenizerLoad *l, const char *text, size_t n);
VL_MUST_USE VlStatus tok_read_pair(TokenizerLoad *l, const char *vocab_path,
                                   const char *merges_path);

/* tokenizer_openai.c */
VL_MUST_USE VlStatus tok_read_gzip(TokenizerLoad *l, const uint8_t *bytes, size_t n);

#endif
