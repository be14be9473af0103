/* SPDX-License-Identifier: Apache-2.0 */
/* e2e_tokens.c - tokens nearest to rows: as a search over the whole table finds them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "runs.h"
#include "runtime/tokenizer.h"

enum { ROWS = 6, K = 7, MOST = 2000 }; /* of tokens in one run of the entry */

static uint32_t vocab, width;
static const float *table; /* [vocab, width] */
static Tokenizer *words;

static Line open_with(const char *tokenizer, const char *prompt, const char *output) {
  vlpc_compile_options o = {.models = {CLIP "model.onnx"}, .tokenizer = tokenizer,
                            .prompt = prompt};
  return line_open(e2e_compile(o, output), (vlpc_session_options){0});
}

static void read_table(const Line *l) {
  int64_t ids[MOST];
  float *at = NULL;
  for (uint32_t from = 0, n; from < vocab; from += n) {
    n = VL_MIN(vocab - from, MOST);
    for (uint32_t i = 0; i < n; i++) ids[i] = from + i;
    vlpc_tensor t = {ids, VLPC_I64, 1, {n}};
    assert_int_equal(vlpc_session_set_input(l->s, "tokens", "token_ids", &t), VLPC_OK);
    assert_int_equal(vlpc_session_run(l->s, "tokens"), VLPC_OK);
    t = line_output(l, "tokens", "token_rows");
    width = (uint32_t)t.shape[1];
    if (!at) at = arena_array(e2e, float, (uint64_t)vocab * width);
    memcpy(at + (size_t)from * width, t.data, (size_t)n * width * sizeof *at);
  }
  table = at;
}

/* ---- the search --------------------------------------------------------------- */

static int nearer(const void *a, const void *b) {
  const vlpc_near_token *x = a, *y = b;
  if (x->distance != y->distance) return x->distance < y->distance ? -1 : 1;
  return (x->id > y->id) - (x->id < y->id);
}

static void expect_nearest(const float *row, uint32_t k, const vlpc_near_token *got) {
  vlpc_near_token *all = arena_array(e2e, vlpc_near_token, vocab);
  for (uint32_t i = 0; i < vocab; i++) {
    double sum = 0;
    for (uint32_t j = 0; j < width; j++)
      sum += pow((double)row[j] - (double)table[(size_t)i * width + j], 2);
    all[i] = (vlpc_near_token){.id = i, .distance = sqrt(sum)};
  }
  qsort(all, vocab, sizeof *all, nearer);
  for (uint32_t i = 0; i < k; i++) {
    tokenizer_token(words, (uint32_t)all[i].id, all[i].text, sizeof all[i].text);
    assert_int_equal(got[i].id, all[i].id);
    assert_true(got[i].distance == all[i].distance);
    assert_string_equal(got[i].text, all[i].text);
  }
}

/* Rows of the table and others near to them and far from all. */
static void as_a_search_over_all_finds_them(void **state) {
  Line *l = *state;
  static const uint32_t most[] = {1, 2, K};
  vlpc_near_token out[ROWS * K];
  float *rows = arena_array(e2e, float, (size_t)ROWS * width);
  Rng r = {11, 2};
  for (uint32_t i = 0; i < ROWS; i++) {
    uint32_t id = i == 0 ? 0 : i == 1 ? vocab - 1 : rng_u32(r, i) % vocab;
    for (uint32_t j = 0; j < width; j++) {
      float noise = (float)(rng_u32(r, 1000u * i + j) % 1000) / 1000 - 0.5f;
      float scale = i < 3 ? 0 : i < 5 ? 0.01f : 3;
      rows[i * width + j] = table[(size_t)id * width + j] + scale * noise;
    }
    if (i == 2) memset(rows + i * width, 0, width * sizeof *rows);
  }
  for (size_t m = 0; m < VL_COUNT(most); m++) {
    uint32_t k = most[m];
    assert_int_equal(vlpc_nearest_tokens(l->s, rows, ROWS, width, k, out), VLPC_OK);
    for (uint32_t i = 0; i < ROWS; i++) expect_nearest(rows + i * width, k, out + i * k);
    assert_true(out[0].id == 0 && out[0].distance == 0 && out[k].id == vocab - 1);
  }
}

/* All there are, each once. */
static void all_tokens_may_be_asked_for(void **state) {
  Line *l = *state;
  vlpc_near_token *out = arena_array(e2e, vlpc_near_token, vocab);
  bool *seen = arena_array(e2e, bool, vocab);
  assert_int_equal(vlpc_nearest_tokens(l->s, table, 1, width, vocab, out), VLPC_OK);
  for (uint32_t i = 0; i < vocab; i++) {
    assert_false(seen[out[i].id]);
    seen[out[i].id] = true;
    assert_true(i == 0 || nearer(&out[i - 1], &out[i]) < 0);
  }
}

/* ---- what cannot be ------------------------------------------------------------ */

static void expect_error(vlpc_session *s, vlpc_status got, vlpc_status want, const char *text) {
  assert_int_equal(got, want);
  assert_string_equal(vlpc_session_error(s), text);
}

static void wrong_arguments_are_told(void **state) {
  static const char none[] =
      "vlpc: error[E0909]: rows or out is NULL, or n or k is 0\n";
  Line *l = *state;
  vlpc_near_token out[K], *many = arena_array(e2e, vlpc_near_token, vocab + 1);
  vlpc_session *s = l->s;
  const vlpc_status wrong = VLPC_E_INVALID_ARG;
  assert_int_equal(vlpc_nearest_tokens(NULL, table, 1, width, K, out), wrong);
  expect_error(s, vlpc_nearest_tokens(s, NULL, 1, width, K, out), wrong, none);
  expect_error(s, vlpc_nearest_tokens(s, table, 1, width, K, NULL), wrong, none);
  expect_error(s, vlpc_nearest_tokens(s, table, 0, width, K, out), wrong, none);
  expect_error(s, vlpc_nearest_tokens(s, table, 1, width, 0, out), wrong, none);
  expect_error(s, vlpc_nearest_tokens(s, table, 1, width - 1, K, out), wrong,
               arena_printf(e2e,
                            "vlpc: error[E0909]: the rows are not as wide as the model's tokens\n"
                            "  found:    %u\n"
                            "  expected: %u\n",
                            width - 1, width));
  expect_error(s, vlpc_nearest_tokens(s, table, 1, width, vocab + 1, many), wrong,
               arena_printf(e2e,
                            "vlpc: error[E0909]: %s: the vocabulary has fewer tokens than are "
                            "asked for\n",
                            e2e_file("coop.vlpc")));
  assert_int_equal(vlpc_nearest_tokens(s, table, 1, width, K, out), VLPC_OK); /* it goes on */
}

static void what_an_artifact_lacks_is_told(void **state) {
  vlpc_near_token out[K];
  (void)state;
  Line plain = open_with(CLIP "tokenizer.json", NULL, "plain.vlpc");
  expect_error(plain.s, vlpc_nearest_tokens(plain.s, table, 1, width, K, out),
               VLPC_E_UNSUPPORTED,
               arena_printf(e2e,
                            "vlpc: error[E0913]: %s: the artifact has no rows of tokens\n"
                            "  fix:      compile it with --prompt MODULE.onnx\n",
                            e2e_file("plain.vlpc")));
  line_close(&plain);
  Line mute = open_with(NULL, e2e_file("coop.onnx"), "mute.vlpc");
  expect_error(mute.s, vlpc_nearest_tokens(mute.s, table, 1, width, K, out), VLPC_E_UNSUPPORTED,
               arena_printf(e2e,
                            "vlpc: error[E0913]: %s: the artifact has no tokenizer\n"
                            "  fix:      compile with --tokenizer FILE\n",
                            e2e_file("mute.vlpc")));
  line_close(&mute);
}

static int set_up(void **state) {
  static Line l;
  int failed = e2e_set_up(state);
  if (failed) return failed;
  assert_int_equal(tokenizer_load(CLIP "tokenizer.json", NULL, &words), VLPC_OK);
  vocab = tokenizer_info(words).vocab;
  l = line_open(artifact_of("coop", 0), (vlpc_session_options){0});
  read_table(&l);
  *state = &l;
  return 0;
}

static int tear_down(void **state) {
  if (*state) line_close(*state);
  tokenizer_free(words);
  return e2e_tear_down(state);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(as_a_search_over_all_finds_them),
      cmocka_unit_test(all_tokens_may_be_asked_for),
      cmocka_unit_test(wrong_arguments_are_told),
      cmocka_unit_test(what_an_artifact_lacks_is_told),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
