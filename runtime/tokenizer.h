/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.h - CLIP's byte-pair encoding, in its two flavours.
**
**   hf      Hugging Face's tokenizer.json or vocab.json + merges.txt: NFC,
**           lower case letter by letter; "<|endoftext|>" in a text is the token
**           only as written; pads with the file's pad token
**   openai  the *.txt.gz vocabulary: ftfy's plain fixes, HTML references undone
**           twice, lower case as Python's str.lower; pads with 0.  ftfy also
**           guesses at wrong encodings, which vlpc does not: a text that may be
**           concerned is marked
**
** A Tokenizer is immutable once made; any number of threads may share it. */
#ifndef VLPC_RUNTIME_TOKENIZER_H
#define VLPC_RUNTIME_TOKENIZER_H

#include "base/diag.h"

#define TOKENIZER_MAX_TEXT 16384u /* bytes of one text */

typedef enum { TOKENIZER_hf = 0, TOKENIZER_openai = 1 } TokenizerFlavour;

typedef struct {
  TokenizerFlavour flavour;
  uint32_t vocab;         /* ids are below this */
  uint32_t sot, eot, pad; /* ids */
  uint32_t context;       /* tokens of a text as its file says; 0: it does not say */
  uint32_t n_merges;
} TokenizerInfo;

typedef struct Tokenizer Tokenizer;

/* tokenizer_load.c */

/* path is tokenizer.json, vocab.json or merges.txt (the other lies beside it),
** OpenAI's *.txt.gz, or a folder that holds one of these (sought in this
** order).  Fails with TOK_FORMAT, TOK_VOCAB, TOK_KIND, TOK_MISSING, NOMEM and
** as io_read does. */
VL_MUST_USE VlStatus tokenizer_load(const char *path, Diag *d, Tokenizer **out);

/* tokenizer.c */

void tokenizer_free(Tokenizer *t); /* takes NULL */
TokenizerInfo tokenizer_info(const Tokenizer *t);
/* The form that artifacts hold: equal tokenizers give equal bytes. */
size_t tokenizer_n_bytes(const Tokenizer *t);
void tokenizer_to_bytes(const Tokenizer *t, uint8_t *out);
/* Fails with TOK_DATA when any of it is not as tokenizer_to_bytes writes it. */
VL_MUST_USE VlStatus tokenizer_from_bytes(const void *bytes, size_t n, const char *name, Diag *d,
                                          Tokenizer **out);

/* tokenizer_decode.c */

/* What a token stands for, whole characters of it in out[cap], cap at least 1: a part of
** a word that others go on from ends in "-", a byte that is no character by itself is \xNN;
** "" for an id that stands for nothing. */
void tokenizer_token(const Tokenizer *t, uint32_t id, char *out, size_t cap);

/* tokenizer_encode.c */

typedef struct {
  int64_t *ids;    /* in: room for context ids */
  int32_t context; /* in: at least 2 */
  int32_t n;       /* out: ids up to and with EOT; the rest is padding */
  int32_t full;    /* out: ids the whole text takes; above context: it was cut,
                      keeping SOT first and EOT last */
  bool guess;      /* out: OpenAI's tokenizer may have changed this text first */
} Encoded;

/* Encodes n bytes of UTF-8.  Fails with TEXT_UTF8, TEXT_LIMIT, NOMEM. */
VL_MUST_USE VlStatus tokenizer_encode(const Tokenizer *t, const char *text, size_t n, Diag *d,
                                      Encoded *e);

#endif
