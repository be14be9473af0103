/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer_hf.c - Hugging Face's files: tokenizer.json, or vocab.json with
** merges.txt.
**
** tokenizer.json can describe any tokenizer; only CLIP's is done, so the parts
** that say how a text is prepared are compared with CLIP's, and any other is
** refused by name.  Ids are the file's own. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "runtime/tokenizer_load_int.h"

#define SOT "<|startoftext|>"
#define EOT "<|endoftext|>"
#define WORDS "'s|'t|'re|'ve|'m|'ll|'d|[\\\\p{L}]+|[\\\\p{N}]|[^\\\\s\\\\p{L}\\\\p{N}]+"

static void release(void *root) {
  json_decref(root);
}

/* Parses JSON; the value lives as long as the arena. */
static json_t *parse(TokenizerLoad *l, const char *text, size_t n, json_error_t *err) {
  json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, err);
  if (root) arena_defer(l->a, release, root);
  return root;
}

static VlStatus parse_object(TokenizerLoad *l, const char *text, size_t n, json_t **out) {
  json_error_t err;
  *out = parse(l, text, n, &err);
  if (!*out) {
    const char *place = arena_printf(l->a, "line %d, column %d", err.line, err.column);
    return tok_format(l, place, arena_strdup(l->a, err.text));
  }
  return json_is_object(*out) ? VLPC_OK : tok_format(l, NULL, "JSON that is not an object");
}

/* The vocabulary */

/* Id of a token; false when there is none or it is out of range. */
static bool find_id(const json_t *vocab, const char *token, uint32_t *out) {
  const json_t *v = json_object_get(vocab, token);
  json_int_t id = json_integer_value(v);
  if (!json_is_integer(v) || id < 0 || id >= (json_int_t)TOKENIZER_MAX_VOCAB) return false;
  *out = (uint32_t)id;
  return true;
}

static VlStatus read_ids(TokenizerLoad *l, json_t *vocab) {
  const char *key;
  json_t *v;
  uint32_t top = 0, id;
  json_object_foreach(vocab, key, v) {
    if (!find_id(vocab, key, &id))
      return tok_vocab(l, "vocab", arena_printf(l->a, "token '%.40s' without a fit id", key),
                       "an id from 0 to 2097151");
    top = VL_MAX(top, id);
  }
  l->t->info.vocab = top + 1;
  for (uint32_t b = 0; b < 512; b++) {
    char text[16];
    tok_byte_text(b % 256, text);
    if (b >= 256) strcat(text, "</w>");
    if (!find_id(vocab, text, &l->t->byte_id[b]))
      return tok_vocab(l, "vocab", arena_printf(l->a, "no token '%s'", text),
                       "every byte, alone and ending a word");
  }
  return VLPC_OK;
}

static VlStatus set_merge(TokenizerLoad *l, const json_t *vocab, uint32_t rank,
                          const char *const pair[2]) {
  Merge *m = &l->t->merges[rank];
  const char *sum = arena_printf(l->a, "%s%s", pair[0], pair[1]);
  if (find_id(vocab, pair[0], &m->left) && find_id(vocab, pair[1], &m->right) &&
      find_id(vocab, sum, &m->result))
    return VLPC_OK;
  const char *place = arena_printf(l->a, "merge %u", rank);
  const char *found = arena_printf(l->a, "'%.40s' and '%.40s'", pair[0], pair[1]);
  return tok_vocab(l, place, found, "two tokens of the vocabulary, and their sum in it");
}

/* "left right" to its halves; false when it is not two words. */
static bool split_pair(TokenizerLoad *l, const char *line, size_t n, const char *pair[2]) {
  const char *gap = memchr(line, ' ', n);
  if (!gap || gap == line || gap + 1 == line + n) return false;
  pair[0] = arena_strndup(l->a, line, (size_t)(gap - line));
  pair[1] = arena_strndup(l->a, gap + 1, n - (size_t)(gap + 1 - line));
  return strchr(pair[1], ' ') == NULL;
}

static VlStatus bad_merge(TokenizerLoad *l, uint32_t rank) {
  const char *place = arena_printf(l->a, "merge %u", rank);
  return tok_vocab(l, place, "something else", "two tokens");
}

static VlStatus read_merge_list(TokenizerLoad *l, const json_t *vocab, const json_t *merges) {
  for (uint32_t i = 0; i < l->t->info.n_merges; i++) {
    const json_t *v = json_array_get(merges, i);
    const char *pair[2] = {json_string_value(json_array_get(v, 0)),
                           json_string_value(json_array_get(v, 1))};
    if (json_is_string(v)) {
      if (!split_pair(l, json_string_value(v), json_string_length(v), pair)) return bad_merge(l, i);
    } else if (json_array_size(v) != 2 || !pair[0] || !pair[1]) {
      return bad_merge(l, i);
    }
    VL_TRY(set_merge(l, vocab, i, pair));
  }
  return VLPC_OK;
}

/* The steps that must be CLIP's */

static bool equals(TokenizerLoad *l, const json_t *v, const char *text) {
  json_error_t err;
  const json_t *want = parse(l, text, strlen(text), &err);
  VL_CHECK(want, "the expected form is JSON");
  return json_equal(v, want);
}

static bool is_off(const json_t *o, const char *key) {
  const json_t *v = json_object_get(o, key);
  return !v || json_is_null(v) || json_is_false(v) ||
         (json_is_string(v) && json_string_length(v) == 0);
}

static bool is_text(const json_t *o, const char *key, const char *text) {
  const char *s = json_string_value(json_object_get(o, key));
  return s && strcmp(s, text) == 0;
}

static const char *type_of(const json_t *o) {
  const char *s = json_string_value(json_object_get(o, "type"));
  return s ? s : "nothing";
}

static VlStatus check_normalizer(TokenizerLoad *l, const json_t *root) {
  const json_t *v = json_object_get(root, "normalizer");
  if (equals(l, v,
             "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Replace\","
             "\"pattern\":{\"Regex\":\"\\\\s+\"},\"content\":\" \"},{\"type\":\"Lowercase\"}]}"))
    return VLPC_OK;
  return tok_kind(l, "key 'normalizer'", type_of(v),
                  "a sequence of NFC, white space to one blank, Lowercase");
}

static VlStatus check_words(TokenizerLoad *l, const json_t *root) {
  static const char *const splits[] = {"{\"type\":\"Split\",\"pattern\":{\"Regex\":\"<\\\\|"
                                       "startoftext\\\\|>|<\\\\|endoftext\\\\|>|" WORDS
                                       "\"},\"behavior\":\"Removed\",\"invert\":true}",
                                       "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" WORDS
                                       "\"},\"behavior\":\"Removed\",\"invert\":true}"};
  const json_t *v = json_object_get(root, "pre_tokenizer");
  const json_t *steps = json_object_get(v, "pretokenizers");
  const json_t *first = json_array_get(steps, 0), *second = json_array_get(steps, 1);
  bool same = json_array_size(steps) == 2 && strcmp(type_of(second), "ByteLevel") == 0 &&
              is_off(second, "add_prefix_space") &&
              !json_is_false(json_object_get(second, "use_regex"));
  if (same && (equals(l, first, splits[0]) || equals(l, first, splits[1]))) return VLPC_OK;
  return tok_kind(l, "key 'pre_tokenizer'", type_of(v),
                  "a sequence of CLIP's Split and ByteLevel with its regular expression");
}

static VlStatus check_model(TokenizerLoad *l, const json_t *model) {
  if (!is_text(model, "type", "BPE")) return tok_kind(l, "key 'model'", type_of(model), "BPE");
  if (!is_text(model, "end_of_word_suffix", "</w>"))
    return tok_kind(l, "key 'model'", "another end_of_word_suffix", "</w>");
  static const char *const off[] = {"dropout", "continuing_subword_prefix", "byte_fallback",
                                    "ignore_merges"};
  for (size_t i = 0; i < VL_COUNT(off); i++)
    if (!is_off(model, off[i])) return tok_kind(l, "key 'model'", off[i], "this option off");
  return VLPC_OK;
}

/* The special tokens */

static VlStatus end_token(TokenizerLoad *l, const json_t *post, const char *key, const char *text,
                          uint32_t *out) {
  const json_t *pair = json_object_get(post, key), *v = json_array_get(pair, 1);
  const char *s = json_string_value(json_array_get(pair, 0));
  json_int_t id = json_integer_value(v);
  if (!s || strcmp(s, text) != 0 || !json_is_integer(v))
    return tok_kind(l, "key 'post_processor'", type_of(post),
                    "RobertaProcessing that adds " SOT " and " EOT);
  if (id < 0 || id >= (json_int_t)TOKENIZER_MAX_VOCAB)
    return tok_vocab(l, "key 'post_processor'", "an id out of range", "0 to 2097151");
  *out = (uint32_t)id;
  l->t->info.vocab = VL_MAX(l->t->info.vocab, *out + 1);
  return VLPC_OK;
}

static VlStatus check_added(TokenizerLoad *l, const json_t *root) {
  const json_t *list = json_object_get(root, "added_tokens");
  for (size_t i = 0; i < json_array_size(list); i++) {
    const json_t *v = json_array_get(list, i);
    bool sot = is_text(v, "content", SOT), eot = is_text(v, "content", EOT);
    const char *text = json_string_value(json_object_get(v, "content"));
    if ((!sot && !eot) || !is_off(v, "single_word") || !is_off(v, "lstrip") ||
        !is_off(v, "rstrip") || is_off(v, "normalized") != eot)
      return tok_kind(l, "key 'added_tokens'", text ? text : "nothing",
                      "only " SOT " and " EOT ", matched as CLIP's");
  }
  return VLPC_OK;
}

/* pad_token and model_max_length of a tokenizer_config.json, when there is one. */
static VlStatus read_config(TokenizerLoad *l, const char *path, const json_t *vocab) {
  uint8_t *bytes;
  size_t n;
  json_t *root;
  if (!tok_exists(path)) return VLPC_OK;
  l->file = path;
  VL_TRY(io_read(path, (uint64_t)1 << 20, l->a, l->d, &bytes, &n));
  VL_TRY(parse_object(l, (const char *)bytes, n, &root));
  const json_t *pad = json_object_get(root, "pad_token");
  const json_t *most = json_object_get(root, "model_max_length");
  if (json_is_object(pad)) pad = json_object_get(pad, "content");
  if (json_is_string(pad) && strcmp(json_string_value(pad), EOT) != 0 &&
      !find_id(vocab, json_string_value(pad), &l->t->info.pad))
    return tok_vocab(l, "key 'pad_token'", json_string_value(pad), "a token of the vocabulary");
  json_int_t length = json_integer_value(most);
  if (length >= 2 && length <= 65536) l->t->info.context = (uint32_t)length;
  return VLPC_OK;
}

static VlStatus check_right(TokenizerLoad *l, const json_t *root, const char *key) {
  const json_t *v = json_object_get(root, key);
  if (json_is_object(v) && !is_text(v, "direction", "Right"))
    return tok_kind(l, key, "another direction", "Right");
  return VLPC_OK;
}

static VlStatus read_lengths(TokenizerLoad *l, const json_t *root) {
  TokenizerInfo *k = &l->t->info;
  const json_t *pad = json_object_get(json_object_get(root, "padding"), "pad_id");
  const json_t *most = json_object_get(json_object_get(root, "truncation"), "max_length");
  VL_TRY(check_right(l, root, "padding"));
  VL_TRY(check_right(l, root, "truncation"));
  json_int_t id = json_integer_value(pad), length = json_integer_value(most);
  if (json_is_integer(pad)) {
    if (id < 0 || id >= (json_int_t)k->vocab)
      return tok_vocab(l, "key 'padding'", "an id out of range", "one of the vocabulary");
    k->pad = (uint32_t)id;
  }
  if (length >= 2 && length <= 65536) k->context = (uint32_t)length;
  return VLPC_OK;
}

static VlStatus start(TokenizerLoad *l, size_t merges) {
  if (merges > TOKENIZER_MAX_MERGES) return tok_vocab(l, "merges", "too many", "at most 1048576");
  l->t = tokenizer_new((uint32_t)merges);
  return l->t ? VLPC_OK : tok_nomem(l);
}

VlStatus tok_read_json(TokenizerLoad *l, const char *text, size_t n) {
  json_t *root;
  VL_TRY(parse_object(l, text, n, &root));
  const json_t *model = json_object_get(root, "model"), *post;
  json_t *vocab = json_object_get(model, "vocab");
  const json_t *merges = json_object_get(model, "merges");
  VL_TRY(check_model(l, model));
  VL_TRY(check_normalizer(l, root));
  VL_TRY(check_words(l, root));
  VL_TRY(check_added(l, root));
  VL_TRY(start(l, json_array_size(merges)));
  VL_TRY(read_ids(l, vocab));
  VL_TRY(read_merge_list(l, vocab, merges));
  post = json_object_get(root, "post_processor");
  VL_TRY(end_token(l, post, "cls", SOT, &l->t->info.sot));
  VL_TRY(end_token(l, post, "sep", EOT, &l->t->info.eot));
  l->t->info.pad = l->t->info.eot;
  const char *config = tok_beside(l, l->file, "tokenizer.json", "tokenizer_config.json");
  VL_TRY(read_config(l, config, vocab));
  return read_lengths(l, root);
}

/* vocab.json and merges.txt */

static uint32_t count_lines(const char *at) {
  uint32_t n = 0;
  while (*at) {
    size_t m = strcspn(at, "\n");
    n += m > 0 && at[0] != '\r' && strncmp(at, "#version", 8) != 0;
    at += m + (at[m] == '\n');
  }
  return n;
}

static VlStatus read_merge_lines(TokenizerLoad *l, const json_t *vocab, const char *at) {
  uint32_t rank = 0;
  while (*at) {
    size_t m = strcspn(at, "\n"), used = m && at[m - 1] == '\r' ? m - 1 : m;
    if (used > 0 && strncmp(at, "#version", 8) != 0) {
      const char *pair[2];
      if (!split_pair(l, at, used, pair)) return bad_merge(l, rank);
      VL_TRY(set_merge(l, vocab, rank, pair));
      rank++;
    }
    at += m + (at[m] == '\n');
  }
  return VLPC_OK;
}

VlStatus tok_read_pair(TokenizerLoad *l, const char *vocab_path, const char *merges_path) {
  uint8_t *bytes, *lines;
  size_t n, lines_n;
  json_t *vocab;
  l->file = vocab_path;
  VL_TRY(io_read(vocab_path, TOKENIZER_MAX_FILE, l->a, l->d, &bytes, &n));
  VL_TRY(parse_object(l, (const char *)bytes, n, &vocab));
  VL_TRY(io_read(merges_path, TOKENIZER_MAX_FILE, l->a, l->d, &lines, &lines_n));
  VL_TRY(start(l, count_lines((const char *)lines)));
  VL_TRY(read_ids(l, vocab));
  TokenizerInfo *k = &l->t->info;
  if (!find_id(vocab, SOT, &k->sot) || !find_id(vocab, EOT, &k->eot))
    return tok_kind(l, NULL, "a vocabulary without " SOT " or " EOT, "both");
  k->pad = k->eot;
  l->file = merges_path;
  VL_TRY(read_merge_lines(l, vocab, (const char *)lines));
  return read_config(l, tok_beside(l, vocab_path, "vocab.json", "tokenizer_config.json"), vocab);
}
