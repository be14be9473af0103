/* SPDX-License-Identifier: Apache-2.0 */
/* test_tokenizer.c - ids equal OpenAI's and Hugging Face's on every class name
** and template and on 10,000 random strings (data/tokens.txt.gz, made by
** scripts/golden/tokens.py); files and bytes that are wrong are refused. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <zlib.h>

#include "base/map.h"
#include "golden.h"
#include "runtime/tokenizer.h"

#define CONTEXT 77

static Diag *diag;

static Tokenizer *load(const char *path) {
  Tokenizer *t;
  diag_clear(diag);
  if (tokenizer_load(path, diag, &t) != VLPC_OK) fail_msg("%s", diag_text(diag));
  return t;
}

static Tokenizer *load_small(const char *file) {
  char rel[300], path[512];
  snprintf(rel, sizeof rel, "models/small_clip/%s", file);
  source_path(rel, path);
  return load(path);
}

static Tokenizer *load_shared(const char *rel) {
  char path[512];
  if (!shared_path(rel, path)) return NULL;
  return load(path);
}

typedef struct {
  int64_t ids[CONTEXT];
  Encoded e;
} Ids;

static Ids encode(const Tokenizer *t, const char *text, size_t n) {
  Ids r;
  r.e = (Encoded){.ids = r.ids, .context = CONTEXT};
  if (tokenizer_encode(t, text, n, diag, &r.e) != VLPC_OK) fail_msg("%s", diag_text(diag));
  r.e.ids = NULL; /* r is copied on return */
  return r;
}

/* Undoes the golden file's escapes in place. */
static size_t unescape(char *text) {
  size_t n = 0;
  for (char *p = text; *p; p++) {
    if (*p != '\\') {
      text[n++] = *p;
      continue;
    }
    char hex[3] = {p[1], p[2], 0};
    text[n++] = (char)strtoul(hex, NULL, 16);
    p += 2;
  }
  return n;
}

typedef struct {
  Tokenizer *t[4]; /* small OpenAI, small HF, full OpenAI, full HF; NULL: not here */
  long compared, left_out, marked, marked_needlessly;
} Golden;

static void check_text(Golden *g, char *line) {
  char *text = golden_field(&line, '\t');
  size_t n = unescape(text);
  for (int k = 0; k < 4; k++) {
    const char *want = golden_field(&line, ' ');
    if (!g->t[k]) continue;
    Ids got = encode(g->t[k], text, n);
    if (strcmp(want, "-") == 0) {
      g->left_out += k == 0;
      g->marked += k == 0 && got.e.guess;
      continue;
    }
    uint32_t hash = (uint32_t)hash_bytes(got.ids, (size_t)got.e.n * sizeof got.ids[0], 0);
    if (hash != (uint32_t)strtoul(want, NULL, 16))
      fail_msg("tokenizer %d differs on \"%.*s\" (%d ids)", k, (int)n, text, got.e.n);
    g->compared++;
    g->marked_needlessly += k == 0 && got.e.guess;
  }
}

static void ids_equal_both_libraries(void **state) {
  (void)state;
  Golden g = {.t = {load_small("bpe_small_vocab_4000.txt.gz"), load_small("tokenizer.json"),
                    load_shared("tokenizer/bpe_simple_vocab_16e6.txt.gz"),
                    load_shared("tokenizer/hf_tokenizer.json")}};
  char path[512];
  size_t n;
  source_path("tests/runtime/data/tokens.txt.gz", path);
  char *text = golden_read(path, &n), *at = text, *line = golden_line(&at);
  assert_non_null(text);
  long texts = strtol(line, &line, 10), left_out = strtol(line, NULL, 10), seen = 0;
  while ((line = golden_line(&at))) {
    check_text(&g, line);
    seen++;
  }
  print_message("%ld texts, %ld comparisons; %ld left out, %ld of them marked; %ld others marked\n",
                seen, g.compared, g.left_out, g.marked, g.marked_needlessly);
  if (!g.t[2]) print_message("the full vocabulary is not on this machine: skipped\n");
  assert_int_equal(seen, texts);
  assert_int_equal(g.left_out, left_out);
  free(text);
  for (int k = 0; k < 4; k++) tokenizer_free(g.t[k]);
}

/* Arrays of ids are written as the tests of other libraries print them. */
static void assert_ids(const Tokenizer *t, const char *text, const char *want) {
  Ids got = encode(t, text, strlen(text));
  char buf[1024] = "";
  size_t at = 0;
  for (int i = 0; i < got.e.n; i++)
    at += (size_t)snprintf(buf + at, sizeof buf - at, "%s%d", i ? " " : "", (int)got.ids[i]);
  assert_string_equal(buf, want);
}

static void flavours_differ_as_documented(void **state) {
  (void)state;
  Tokenizer *o = load_small("bpe_small_vocab_4000.txt.gz"), *h = load_small("tokenizer.json");
  TokenizerInfo io = tokenizer_info(o), ih = tokenizer_info(h);
  assert_true(io.flavour == TOKENIZER_openai && ih.flavour == TOKENIZER_hf);
  assert_true(io.vocab == 4514 && ih.vocab == 4514 && io.n_merges == 4000 && ih.n_merges == 4000);
  assert_true(io.sot == 4512 && ih.sot == 4512 && io.eot == 4513 && ih.eot == 4513);
  assert_true(io.pad == 0 && ih.pad == 4513 && io.context == 77 && ih.context == 77);
  assert_ids(o, "", "4512 4513");
  assert_ids(h, "", "4512 4513");
  assert_int_equal(encode(o, "a", 1).ids[76], 0);
  assert_int_equal(encode(h, "a", 1).ids[76], 4513);
  assert_ids(o, "<|endoftext|>", "4512 4513 4513");
  assert_ids(h, "<|endoftext|>", "4512 4513 4513");
  Ids oa = encode(o, "&amp;", 5), ha = encode(h, "&amp;", 5);
  assert_int_equal(oa.e.n, 3); /* "&" */
  assert_true(ha.e.n > 3 && oa.e.guess && !ha.e.guess);
  tokenizer_free(o);
  tokenizer_free(h);
}

static void three_forms_agree(void **state) {
  (void)state;
  Tokenizer *json = load_small("tokenizer.json"), *pair = load_small("vocab.json");
  Tokenizer *merges = load_small("merges.txt"), *folder = load_small(".");
  size_t n = tokenizer_n_bytes(json);
  uint8_t *a = malloc(n), *b = malloc(n);
  tokenizer_to_bytes(json, a);
  Tokenizer *const others[] = {pair, merges, folder};
  for (size_t i = 0; i < 3; i++) {
    assert_int_equal(tokenizer_n_bytes(others[i]), n);
    tokenizer_to_bytes(others[i], b);
    uint32_t none = 0; /* only tokenizer.json states the context */
    memcpy(a + 32, i < 2 ? (const void *)&none : b + 32, 4);
    assert_memory_equal(a, b, n);
  }
  free(a);
  free(b);
  tokenizer_free(json);
  for (size_t i = 0; i < 3; i++) tokenizer_free(others[i]);
}

static void long_texts_keep_eot(void **state) {
  (void)state;
  Tokenizer *t = load_small("tokenizer.json");
  char text[400];
  for (int i = 0; i < 200; i++) memcpy(text + 2 * i, "a ", 2);
  for (int32_t context = 2; context <= CONTEXT; context++) {
    int64_t ids[CONTEXT + 1];
    ids[context] = -7; /* stays: nothing is written past the context */
    Encoded e = {.ids = ids, .context = context};
    assert_int_equal(tokenizer_encode(t, text, sizeof text, diag, &e), VLPC_OK);
    assert_true(e.n == context && e.full == 202);
    assert_true(ids[0] == 4512 && ids[context - 1] == 4513 && ids[context] == -7);
  }
  tokenizer_free(t);
}

static void bad_texts_are_refused(void **state) {
  (void)state;
  Tokenizer *t = load_small("bpe_small_vocab_4000.txt.gz");
  int64_t ids[CONTEXT];
  Encoded e = {.ids = ids, .context = CONTEXT};
  static const struct {
    const char *text;
    size_t n;
    const char *words;
  } bad[] = {{"ab\xff", 3, "found:    a bad byte at offset 2"},
             {"\xc3", 1, "offset 0"},
             {"\xed\xa0\x80", 3, "offset 0"},
             {"ok\xc0\x80", 4, "offset 2"}};
  for (size_t i = 0; i < VL_COUNT(bad); i++) {
    diag_clear(diag);
    assert_int_equal(tokenizer_encode(t, bad[i].text, bad[i].n, diag, &e), VLPC_E_BAD_FILE);
    assert_non_null(strstr(diag_text(diag), "error[E0806]: a text is not valid UTF-8"));
    assert_non_null(strstr(diag_text(diag), bad[i].words));
  }
  char *text = malloc(TOKENIZER_MAX_TEXT + 1);
  memset(text, 'x', TOKENIZER_MAX_TEXT + 1);
  diag_clear(diag);
  assert_int_equal(tokenizer_encode(t, text, TOKENIZER_MAX_TEXT + 1, diag, &e), VLPC_E_LIMIT);
  assert_non_null(strstr(diag_text(diag), "error[E0807]: a text is too long"));
  assert_int_equal(tokenizer_encode(t, text, TOKENIZER_MAX_TEXT, diag, &e), VLPC_OK);
  assert_int_equal(tokenizer_encode(t, "a\0b", 3, diag, &e), VLPC_OK);
  free(text);
  tokenizer_free(t);
}

/* The text that grows most in every step: 2 bytes to 3 code points, and so on. */
static void growing_texts_fit(void **state) {
  (void)state;
  static const char *const units[] = {"\u0390", "\u1f82", "\u0130", "\ufb03", "\U0001d160",
                                      "\uffe3", "&nGt;",  "\u023a", "\ufb2c", "\u0345\u0301"};
  Tokenizer *t[2] = {load_small("bpe_small_vocab_4000.txt.gz"), load_small("tokenizer.json")};
  for (size_t i = 0; i < VL_COUNT(units); i++) {
    size_t m = strlen(units[i]), n = TOKENIZER_MAX_TEXT / m * m;
    char *text = malloc(n);
    for (size_t at = 0; at < n; at += m) memcpy(text + at, units[i], m);
    for (int k = 0; k < 2; k++) {
      Ids got = encode(t[k], text, n);
      assert_true(got.e.full >= got.e.n);
    }
    free(text);
  }
  tokenizer_free(t[0]);
  tokenizer_free(t[1]);
}

static void expect_bytes(const uint8_t *bytes, size_t n, const char *words) {
  Tokenizer *t;
  diag_clear(diag);
  VlStatus st = tokenizer_from_bytes(bytes, n, "a.vlpc", diag, &t);
  if (st != VLPC_E_CORRUPT || !strstr(diag_text(diag), words) || t)
    fail_msg("status %d, not '%s': %s", st, words, diag_text(diag));
}

static void bytes_return_and_are_checked(void **state) {
  (void)state;
  Tokenizer *t = load_small("tokenizer.json"), *u;
  size_t n = tokenizer_n_bytes(t);
  uint8_t *bytes = malloc(n), *again = malloc(n);
  tokenizer_to_bytes(t, bytes);
  assert_int_equal(tokenizer_from_bytes(bytes, n, "a.vlpc", diag, &u), VLPC_OK);
  tokenizer_to_bytes(u, again);
  assert_memory_equal(bytes, again, n);
  assert_int_equal(encode(u, "a cat", 5).e.n, encode(t, "a cat", 5).e.n);
  tokenizer_free(u);
  tokenizer_free(t);
  expect_bytes(bytes, 0, "error[E0805]: a.vlpc: tokenizer: the embedded tokenizer is damaged");
  for (size_t cut = 1; cut < n; cut += cut < 3000 ? 1 : 997) {
    memcpy(again, bytes, cut);
    expect_bytes(again, cut, "error[E0805]");
  }
  static const struct {
    size_t at;
    const char *words;
  } wrong[] = {{0, "something else"},
               {8, "another version"},
               {12, "an unknown flavour"},
               {16, "a vocabulary size out of range"},
               {20, "a special token outside the vocabulary"},
               {28, "a special token outside the vocabulary"},
               {36, "too many merges"},
               {40, "an id outside the vocabulary"},
               {2088, "an id outside the vocabulary"}};
  for (size_t i = 0; i < VL_COUNT(wrong); i++) {
    memcpy(again, bytes, n);
    memset(again + wrong[i].at, 0xff, 4);
    expect_bytes(again, n, wrong[i].words);
  }
  memcpy(again, bytes, n);
  memcpy(again + 2088 + 12, again + 2088, 8); /* the same pair twice */
  expect_bytes(again, n, "a pair that comes twice");
  free(bytes);
  free(again);
}

/* The token of each whole word is what the word becomes. */
static void tokens_read_as_they_are_written(void **state) {
  (void)state;
  Tokenizer *t = load_small("tokenizer.json"), *u;
  TokenizerInfo info = tokenizer_info(t);
  uint32_t words = 0;
  char text[64];
  for (uint32_t id = 0; id < info.vocab; id++) {
    tokenizer_token(t, id, text, sizeof text);
    size_t n = strlen(text);
    if (n < 2 || strspn(text, "abcdefghijklmnopqrstuvwxyz") != n) continue;
    Ids r = encode(t, text, n);
    assert_int_equal(r.e.n, 3);
    assert_int_equal(r.ids[1], id);
    words++;
  }
  assert_true(words > 1000);
  tokenizer_token(t, info.sot, text, sizeof text);
  assert_string_equal(text, "<|startoftext|>");
  tokenizer_token(t, info.vocab, text, sizeof text);
  assert_string_equal(text, "");
  tokenizer_token(t, info.eot, text, 5);
  assert_string_equal(text, "<|en");
  size_t n = tokenizer_n_bytes(t);
  uint8_t *bytes = malloc(n);
  tokenizer_to_bytes(t, bytes);
  memcpy(bytes + 2088, bytes + 2096, 4); /* a merge of itself with itself */
  memcpy(bytes + 2092, bytes + 2096, 4);
  assert_int_equal(tokenizer_from_bytes(bytes, n, "a.vlpc", diag, &u), VLPC_OK);
  for (uint32_t id = 0; id < info.vocab; id++) tokenizer_token(u, id, text, sizeof text);
  free(bytes);
  tokenizer_free(u);
  tokenizer_free(t);
}

static void expect_file(const char *name, const void *bytes, size_t n, VlStatus status,
                        const char *words) {
  char path[256];
  Tokenizer *t;
  snprintf(path, sizeof path, "tok_%ld_%s", (long)getpid(), name);
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, n, f), n);
  fclose(f);
  diag_clear(diag);
  VlStatus st = tokenizer_load(path, diag, &t);
  remove(path);
  if (st != status || !strstr(diag_text(diag), words) || t)
    fail_msg("%s: status %d, not %d with '%s': %s", name, st, status, words, diag_text(diag));
}

/* The small tokenizer.json with one piece of its text replaced. */
static void expect_edit(const char *from, const char *to, VlStatus status, const char *words) {
  char path[512];
  size_t n;
  source_path("models/small_clip/tokenizer.json", path);
  char *text = golden_read(path, &n), *edited = malloc(n + 200), *at = strstr(text, from);
  if (!at) fail_msg("no '%s' in tokenizer.json", from);
  size_t before = (size_t)(at - text), skip = strlen(from), put = strlen(to);
  memcpy(edited, text, before);
  memcpy(edited + before, to, put);
  memcpy(edited + before + put, at + skip, n - before - skip);
  expect_file("t.json", edited, n - skip + put, status, words);
  free(text);
  free(edited);
}

static void other_tokenizers_are_refused(void **state) {
  (void)state;
  const VlStatus kind = VLPC_E_UNSUPPORTED, bad = VLPC_E_BAD_FILE;
  expect_edit("\"NFC\"", "\"NFKC\"", kind, "error[E0803]");
  expect_edit("\"Lowercase\"", "\"Strip\"", kind, "key 'normalizer'");
  expect_edit("'ll|'d|", "'ll|", kind, "key 'pre_tokenizer'");
  expect_edit("\"add_prefix_space\": false", "\"add_prefix_space\": true", kind, "pre_tokenizer");
  expect_edit("\"type\": \"BPE\"", "\"type\": \"WordPiece\"", kind, "found:    WordPiece");
  expect_edit("\"</w>\"", "\"\"", kind, "end_of_word_suffix");
  expect_edit("\"dropout\": null", "\"dropout\": 0.1", kind, "found:    dropout");
  expect_edit("\"RobertaProcessing\"", "\"X\",\"cls\":3,\"c\":\"X\"", bad, "duplicate");
  expect_edit("\"cls\"", "\"class\"", kind, "key 'post_processor'");
  expect_edit("\"content\": \"<|startoftext|>\"", "\"content\": \"<cat>\"", kind, "added_tokens");
  expect_edit("\"direction\": \"Right\"", "\"direction\": \"Left\"", kind, "another direction");
  expect_edit("\"pad_id\": 4513", "\"pad_id\": 4514", bad, "key 'padding'");
  expect_edit("\"!\": 0", "\"!\": -1", bad, "token '!' without a fit id");
  expect_edit("\"!\": 0,", "", bad, "no token '!'");
  expect_edit("\"!\": 0", "\"!\": 5000000", bad, "an id from 0 to 2097151");
  expect_edit("\"merges\": [", "\"merges\": [[\"i\"],", bad, "merge 0");
  expect_edit("\"merges\": [", "\"merges\": [\"i\",", bad, "merge 0");
  expect_edit("\"merges\": [", "\"merges\": [\"z zz\",", bad, "error[E0802]");
  expect_edit("\"merges\": [", "\"merges\": [\"t h\",", bad, "a pair that comes twice");
  expect_edit("\"version\"", "version", bad, "error[E0801]");
}

static void broken_files_are_refused(void **state) {
  (void)state;
  char path[512];
  size_t n, packed_n;
  expect_file("a", "", 0, VLPC_E_BAD_FILE, "found:    an empty file");
  expect_file("a", "hello", 5, VLPC_E_BAD_FILE, "error[E0801]");
  expect_file("vocab.json", "{}", 2, VLPC_E_IO, "error[E0804]");
  expect_file("merges.txt", "#version: 0.2\n", 14, VLPC_E_IO, "vocab.json");
  expect_file("a", "\x1f\x8b\x08zzzz", 7, VLPC_E_BAD_FILE, "gzip data that is cut short");
  diag_clear(diag);
  Tokenizer *t;
  assert_int_equal(tokenizer_load("no/such", diag, &t), VLPC_E_IO);
  source_path("tests/runtime", path); /* a folder without a tokenizer */
  assert_int_equal(tokenizer_load(path, diag, &t), VLPC_E_IO);
  source_path("models/small_clip/bpe_small_vocab_4000.txt.gz", path);
  FILE *f = fopen(path, "rb"); /* as it is, not inflated */
  uint8_t packed[20000];
  packed_n = fread(packed, 1, sizeof packed, f);
  fclose(f);
  for (n = 2; n < packed_n; n += 997)
    expect_file("a.gz", packed, n, VLPC_E_BAD_FILE, "error[E0801]");
  packed[packed_n] = 0;
  expect_file("a.gz", packed, packed_n + 1, VLPC_E_BAD_FILE, "error[E0801]");
}

static void expect_gzip(const char *text, VlStatus status, const char *words) {
  uint8_t out[4096];
  z_stream z = {.next_in = (Bytef *)(uintptr_t)text,
                .avail_in = (uInt)strlen(text),
                .next_out = out,
                .avail_out = sizeof out};
  assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
  assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
  deflateEnd(&z);
  expect_file("b.gz", out, sizeof out - z.avail_out, status, words);
}

static void bad_merge_lines_are_named(void **state) {
  (void)state;
  expect_gzip("heading", VLPC_E_BAD_FILE, "gzip data without lines");
  expect_gzip("heading\ni n\nt  h\n", VLPC_E_BAD_FILE, "line 3: the vocabulary and the merges");
  expect_gzip("heading\ni n\nin\n", VLPC_E_BAD_FILE, "no space");
  expect_gzip("heading\ni n\ni nn\n", VLPC_E_BAD_FILE, "a token that is not in the vocabulary");
  expect_gzip("heading\ni n\ni n\n", VLPC_E_BAD_FILE, "a token that is already made");
}

/* One tokenizer, many threads, the same ids. */
typedef struct {
  const Tokenizer *t;
  uint64_t hash;
} Thread;

static void *run_thread(void *arg) {
  Thread *th = arg;
  Diag *d = diag_new();
  th->hash = 0;
  for (int i = 0; i < 300; i++) {
    char text[64];
    int64_t ids[CONTEXT];
    Encoded e = {.ids = ids, .context = CONTEXT};
    int n = snprintf(text, sizeof text, "a photo of %d r\u00e9sum\u00e9s, \u03a3\u0391\u03a3!", i);
    if (tokenizer_encode(th->t, text, (size_t)n, d, &e) != VLPC_OK) break;
    th->hash = hash_bytes(ids, sizeof ids, th->hash);
  }
  diag_free(d);
  return NULL;
}

static void threads_share_one(void **state) {
  (void)state;
  Tokenizer *t = load_small("bpe_small_vocab_4000.txt.gz");
  Thread th[4];
  pthread_t id[4];
  for (int i = 0; i < 4; i++) {
    th[i].t = t;
    assert_int_equal(pthread_create(&id[i], NULL, run_thread, &th[i]), 0);
  }
  for (int i = 0; i < 4; i++) pthread_join(id[i], NULL);
  for (int i = 1; i < 4; i++) assert_true(th[i].hash == th[0].hash && th[0].hash != 0);
  tokenizer_free(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ids_equal_both_libraries),
      cmocka_unit_test(flavours_differ_as_documented),
      cmocka_unit_test(three_forms_agree),
      cmocka_unit_test(long_texts_keep_eot),
      cmocka_unit_test(bad_texts_are_refused),
      cmocka_unit_test(growing_texts_fit),
      cmocka_unit_test(bytes_return_and_are_checked),
      cmocka_unit_test(tokens_read_as_they_are_written),
      cmocka_unit_test(other_tokenizers_are_refused),
      cmocka_unit_test(broken_files_are_refused),
      cmocka_unit_test(bad_merge_lines_are_named),
      cmocka_unit_test(threads_share_one),
  };
  diag = diag_new();
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  diag_free(diag);
  return failed;
}
