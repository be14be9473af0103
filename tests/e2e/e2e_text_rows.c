/* SPDX-License-Identifier: Apache-2.0 */
/* e2e_text_rows.c - texts run on the rows that count: the same bits as without,
** for any ends, shared prefixes, batches and masks. */
#include "tests/e2e/e2e_kit.h"

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

enum { CONTEXT = 16, EMBED = 48, WIDTH = 64, VOCAB = 512, END = VOCAB - 1, MOST = 40 };

static const char *folder; /* of the tiny model in two files */

static const char *compiled(const char *switches, const char *output) {
  const char *image = arena_printf(e2e, "%s/image.onnx", folder);
  const char *text = arena_printf(e2e, "%s/text.onnx", folder);
  return e2e_compile((vlpc_compile_options){.models = {image, text}, .passes = switches}, output);
}

/* Texts whose first `shared` ids are alike, each with its end somewhere after. */
static void draw_texts(uint64_t seed, int64_t n, int64_t shared, int64_t *ids) {
  Rng r = {seed, 3};
  for (int64_t i = 0; i < n; i++) {
    int64_t end = shared + rng_u32(r, (uint64_t)(1000 + i)) % (uint32_t)(CONTEXT - shared);
    for (int64_t j = 0; j < CONTEXT; j++) {
      uint64_t at = (uint64_t)(j < shared ? j : (i + 1) * CONTEXT + j);
      ids[i * CONTEXT + j] = j == end ? END : rng_u32(r, at) % END;
    }
  }
}

static vlpc_tensor run_texts(const Line *l, const char *name, void *ids, int64_t n,
                             vlpc_dtype dtype) {
  vlpc_tensor t = {.data = ids, .dtype = dtype, .rank = 2, .shape = {n, CONTEXT}};
  if (vlpc_session_set_input(l->s, "text", name, &t) != VLPC_OK ||
      vlpc_session_run(l->s, "text") != VLPC_OK)
    fail_msg("%s", vlpc_session_error(l->s));
  return line_output(l, "text", "text_features");
}

static void gives_the_same_bits(void **state) {
  (void)state;
  Line with = line_open(compiled(NULL, "with.vlpc"), (vlpc_session_options){.threads = 2});
  Line without =
      line_open(compiled("--no-text_rows", "without.vlpc"), (vlpc_session_options){.threads = 2});
  static const int64_t count[] = {1, 2, 7, MOST};
  int64_t ids[MOST * CONTEXT];
  for (uint64_t seed = 0; seed < 48; seed++) {
    int64_t n = count[seed % VL_COUNT(count)], shared = (int64_t)(seed / 4) % CONTEXT;
    draw_texts(seed, n, shared, ids);
    vlpc_tensor a = run_texts(&with, "text", ids, n, VLPC_I64);
    vlpc_tensor b = run_texts(&without, "text", ids, n, VLPC_I64);
    assert_int_equal(a.rank, 2);
    assert_int_equal(a.shape[0], n);
    assert_int_equal(a.shape[1], EMBED);
    same_bits(a.data, b.data, (size_t)(n * EMBED) * sizeof(float), "texts on rows");
  }
  line_close(&with);
  line_close(&without);
}

/* Fewer rows are worked on, which the launches' sizes show. */
typedef struct {
  int64_t most;
} Seen;

static void note_size(void *user, const vlpc_step_info *step) {
  Seen *s = user;
  for (uint32_t i = 0; i < step->n_sizes; i++) s->most = VL_MAX(s->most, step->sizes[i]);
}

static void works_on_fewer_rows(void **state) {
  (void)state;
  Line l = line_open(compiled(NULL, "fewer.vlpc"), (vlpc_session_options){.threads = 1});
  int64_t ids[MOST * CONTEXT] = {0};
  Seen seen = {0};
  for (int64_t i = 0; i < MOST; i++) { /* 4 ids that all share, one of its own, the end */
    for (int64_t j = 0; j < 4; j++) ids[i * CONTEXT + j] = 100 + j;
    ids[i * CONTEXT + 4] = 200 + i;
    ids[i * CONTEXT + 5] = END;
  }
  assert_int_equal(vlpc_session_on_step(l.s, note_size, &seen), VLPC_OK);
  (void)run_texts(&l, "text", ids, MOST, VLPC_I64);
  assert_int_equal(seen.most, (4 + 2 * MOST) * WIDTH); /* of all rows' elements */
  line_close(&l);
}

/* The entry behind it is not for callers; outputs go where they want them. */
static void stays_behind_the_text_entry(void **state) {
  (void)state;
  Line l = line_open(compiled(NULL, "behind.vlpc"), (vlpc_session_options){.threads = 1});
  assert_string_equal(vlpc_artifact_entry(l.a, 0), "image");
  assert_string_equal(vlpc_artifact_entry(l.a, 1), "text");
  assert_null(vlpc_artifact_entry(l.a, 2));
  int64_t ids[2 * CONTEXT];
  float own[2 * EMBED] = {0}, first[2 * EMBED];
  draw_texts(1, 2, 3, ids);
  memcpy(first, run_texts(&l, "text", ids, 2, VLPC_I64).data, sizeof first);
  assert_int_equal(vlpc_session_set_output(l.s, "text", "text_features", own, sizeof own), VLPC_OK);
  assert_ptr_equal(run_texts(&l, "text", ids, 2, VLPC_I64).data, own);
  same_bits(own, first, sizeof own, "the caller's buffer");
  assert_int_equal(vlpc_session_set_output(l.s, "text", "text_features", own, 8), VLPC_OK);
  assert_int_equal(vlpc_session_run(l.s, "text"), VLPC_E_INVALID_ARG);
  assert_non_null(strstr(vlpc_session_error(l.s), "too small"));
  line_close(&l);
}

static void refuses_ids_outside_the_table(void **state) {
  (void)state;
  Line l = line_open(compiled(NULL, "refuses.vlpc"), (vlpc_session_options){.threads = 1});
  int64_t ids[CONTEXT] = {1, VOCAB};
  vlpc_tensor t = {.data = ids, .dtype = VLPC_I64, .rank = 2, .shape = {1, CONTEXT}};
  assert_int_equal(vlpc_session_set_input(l.s, "text", "text", &t), VLPC_OK);
  assert_int_equal(vlpc_session_run(l.s, "text"), VLPC_E_INVALID_ARG);
  assert_non_null(strstr(vlpc_session_error(l.s), "an index is out of range"));
  t.shape[1] = CONTEXT - 1;
  assert_int_equal(vlpc_session_set_input(l.s, "text", "text", &t), VLPC_OK);
  assert_int_equal(vlpc_session_run(l.s, "text"), VLPC_E_INVALID_ARG);
  assert_non_null(strstr(vlpc_session_error(l.s), "E09"));
  line_close(&l);
}

/* A mask with a hole before the end goes the ordinary way. */
static void heeds_the_mask(void **state) {
  (void)state;
  const char *model = e2e_shared("exports/hf_eager_joint_legacy17.onnx");
  vlpc_session_options one = {.threads = 1};
  Line with = line_open(e2e_compile((vlpc_compile_options){.models = {model}}, "mask.vlpc"), one);
  Line without =
      line_open(e2e_compile((vlpc_compile_options){.models = {model}, .passes = "--no-text_rows"},
                            "mask_without.vlpc"),
                one);
  int64_t ids[3 * CONTEXT], mask[3 * CONTEXT];
  for (int hole = 0; hole < 2; hole++) {
    draw_texts(9, 3, 2, ids);
    for (int64_t i = 0; i < 3 * CONTEXT; i++) mask[i] = 1;
    if (hole) mask[CONTEXT + 1] = 0;
    const Line *line[2] = {&with, &without};
    float out[2][3 * EMBED];
    for (int k = 0; k < 2; k++) {
      vlpc_tensor m = {.data = mask, .dtype = VLPC_I64, .rank = 2, .shape = {3, CONTEXT}};
      assert_int_equal(vlpc_session_set_input(line[k]->s, "text", "attention_mask", &m), VLPC_OK);
      memcpy(out[k], run_texts(line[k], "text", ids, 3, VLPC_I64).data, sizeof out[k]);
    }
    same_bits(out[0], out[1], sizeof out[0], hole ? "mask with a hole" : "mask of ones");
  }
  line_close(&with);
  line_close(&without);
}

static int set_up(void **state) {
  if (e2e_set_up(state)) return 1;
  folder = e2e_tiny("tiny", true, 17);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gives_the_same_bits),
      cmocka_unit_test(works_on_fewer_rows),
      cmocka_unit_test(stays_behind_the_text_entry),
      cmocka_unit_test(refuses_ids_outside_the_table),
      cmocka_unit_test(heeds_the_mask),
  };
  return cmocka_run_group_tests(tests, set_up, e2e_tear_down);
}
