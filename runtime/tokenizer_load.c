/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer_load.c - finds out which kind of tokenizer file a path names. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <utf8proc.h>

#include "base/io.h"
#include "runtime/tokenizer_load_int.h"

#define ADVICE "name a CLIP model's tokenizer.json, vocab.json or bpe_simple_vocab_16e6.txt.gz"

static DiagAt at_place(TokenizerLoad *l, const char *place) {
  return (DiagAt){l->file, place};
}

VlStatus tok_format(TokenizerLoad *l, const char *place, const char *found) {
  VlStatus st =
      diag_error(l->d, DIAG_TOK_FORMAT, at_place(l, place), "this is not a tokenizer file");
  diag_found(l->d, "%s", found);
  diag_fix(l->d, ADVICE);
  return st;
}

VlStatus tok_vocab(TokenizerLoad *l, const char *place, const char *found, const char *expected) {
  VlStatus st = diag_error(l->d, DIAG_TOK_VOCAB, at_place(l, place),
                           "the vocabulary and the merges do not fit together");
  diag_found(l->d, "%s", found);
  diag_expected(l->d, "%s", expected);
  diag_fix(l->d, "fetch the tokenizer files of one model together again");
  return st;
}

VlStatus tok_kind(TokenizerLoad *l, const char *place, const char *found, const char *expected) {
  VlStatus st = diag_error(l->d, DIAG_TOK_KIND, at_place(l, place), "this is not CLIP's tokenizer");
  diag_found(l->d, "%s", found);
  diag_expected(l->d, "%s", expected);
  diag_fix(l->d, "encode the texts yourself and pass the ids as an array");
  return st;
}

VlStatus tok_nomem(TokenizerLoad *l) {
  return diag_error(l->d, DIAG_NOMEM, at_place(l, NULL), "no memory for the tokenizer");
}

/* Bytes that print stand for themselves, the others for U+0100 and on. */
static bool prints(uint32_t byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

void tok_byte_text(uint32_t byte, char out[8]) {
  uint32_t c = byte;
  if (!prints(byte)) {
    c = 256;
    for (uint32_t i = 0; i < byte; i++) c += !prints(i);
  }
  out[rune_to_utf8((int32_t)c, (uint8_t *)out)] = 0;
}

void tok_byte_order(uint32_t order[256]) {
  uint32_t next = 0;
  for (uint32_t i = 0; i < 256; i++)
    if (prints(i)) order[i] = next++;
  for (uint32_t i = 0; i < 256; i++)
    if (!prints(i)) order[i] = next++;
}

bool tok_exists(const char *path) {
  struct stat sb;
  return stat(path, &sb) == 0;
}

static bool is_folder(const char *path) {
  struct stat sb;
  return stat(path, &sb) == 0 && S_ISDIR(sb.st_mode);
}

const char *tok_beside(TokenizerLoad *l, const char *path, const char *from, const char *to) {
  size_t n = strlen(path), m = strlen(from);
  const char *slash = strrchr(path, '/');
  int keep = slash ? (int)(slash + 1 - path) : 0;
  if (n >= m && strcmp(path + n - m, from) == 0) keep = (int)(n - m);
  return arena_printf(l->a, "%.*s%s", keep, path, to);
}

static VlStatus report_missing(TokenizerLoad *l, const char *missing) {
  VlStatus st =
      diag_error(l->d, DIAG_TOK_MISSING, at_place(l, NULL), "a part of the tokenizer is missing");
  diag_expected(l->d, "%s", missing);
  diag_fix(l->d, ADVICE);
  return st;
}

static VlStatus read_pair(TokenizerLoad *l, const char *vocab, const char *merges) {
  if (!tok_exists(merges)) return report_missing(l, merges);
  if (!tok_exists(vocab)) return report_missing(l, vocab);
  return tok_read_pair(l, vocab, merges);
}

static VlStatus read_file(TokenizerLoad *l, const char *path) {
  uint8_t *bytes;
  size_t n;
  l->file = path;
  VL_TRY(io_read(path, TOKENIZER_MAX_FILE, l->a, l->d, &bytes, &n));
  if (n >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b) return tok_read_gzip(l, bytes, n);
  if (n && bytes[0] == '{') {
    /* Only tokenizer.json has these; a vocab.json is one flat object. */
    if (strstr((const char *)bytes, "\"pre_tokenizer\""))
      return tok_read_json(l, (const char *)bytes, n);
    return read_pair(l, path, tok_beside(l, path, "vocab.json", "merges.txt"));
  }
  if (n >= 8 && memcmp(bytes, "#version", 8) == 0)
    return read_pair(l, tok_beside(l, path, "merges.txt", "vocab.json"), path);
  return tok_format(l, NULL, n ? "something else" : "an empty file");
}

static VlStatus read_folder(TokenizerLoad *l, const char *path) {
  static const char *const names[] = {"tokenizer.json", "vocab.json",
                                      "bpe_simple_vocab_16e6.txt.gz",
                                      "bpe_small_vocab_4000.txt.gz"};
  l->file = path;
  for (size_t i = 0; i < VL_COUNT(names); i++) {
    const char *full = arena_printf(l->a, "%s/%s", path, names[i]);
    if (tok_exists(full)) return read_file(l, full);
  }
  return report_missing(l, "tokenizer.json, vocab.json or bpe_simple_vocab_16e6.txt.gz in it");
}

static void drop_result(void *load) {
  tokenizer_free(((TokenizerLoad *)load)->t);
}

static VlStatus load(Arena *a, const char *path, Diag *d, Tokenizer **out) {
  TokenizerLoad *l = arena_one(a, TokenizerLoad);
  *l = (TokenizerLoad){a, d, path, NULL};
  arena_defer(a, drop_result, l);
  VL_TRY(is_folder(path) ? read_folder(l, path) : read_file(l, path));
  if (!tokenizer_index(l->t)) return tok_vocab(l, "merges", "a pair that comes twice", "each once");
  *out = l->t;
  l->t = NULL;
  return VLPC_OK;
}

VlStatus tokenizer_load(const char *path, Diag *d, Tokenizer **out) {
  Arena *a = arena_new(0);
  *out = NULL;
  if (!a || ARENA_GUARD(a)) {
    arena_free(a);
    return diag_error(d, DIAG_NOMEM, (DiagAt){path, NULL}, "no memory for the tokenizer");
  }
  VlStatus st = load(a, path, d, out);
  arena_free(a);
  return st;
}
