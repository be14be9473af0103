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
  bool on_rows;
} Seen;

static void note_size(void *user, const vlpc_step_info *step) {
  Seen *s = user;
  for (uint32_t i = 0; i < step->n_sizes; i++) s->most = VL_MAX(s->most, step->sizes[i]);
  s->on_rows = strcmp(step->entry, "text_rows") == 0;
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

/* ---- learned rows ---------------------------------------------------------------- */

enum { SLOT = 4 };
typedef struct {
  const char *place;
  int own; /* rows of each class's own */
} Place;

/* The text tower with CoOp's rows; they are an input (--no-cut). */
static Line open_slot(Place at, const char *switches) {
  vlpc_prompt_options o = {.struct_size = sizeof o, .method = "coop", .place = at.place,
                           .length = SLOT, .class_rows = at.own, .classes = at.own ? 3 : 0};
  o.models[0] = arena_printf(e2e, "%s/image.onnx", folder);
  o.models[1] = arena_printf(e2e, "%s/text.onnx", folder);
  o.output = e2e_file("slot.onnx");
  e2e_ok(vlpc_prompt_write(e2e_compiler, &o));
  vlpc_compile_options c = {.models = {o.models[0], o.models[1]}, .prompt = o.output,
                            .passes = arena_printf(e2e, "--no-cut %s", switches)};
  static int n;
  return line_open(e2e_compile(c, arena_printf(e2e, "slot%d.vlpc", n++)),
                   (vlpc_session_options){.threads = 2});
}

/* Names of other lengths, of which some begin alike. */
static Npz draw_slot(uint64_t seed, int64_t n, bool own) {
  Rng r = {seed, 5};
  NpyArray *at = arena_array(e2e, NpyArray, 3);
  int64_t *ids = arena_array(e2e, int64_t, n * CONTEXT), *names = arena_array(e2e, int64_t, n);
  int64_t rows = own ? n * SLOT : SLOT;
  float *ctx = arena_array(e2e, float, rows * WIDTH);
  for (int64_t i = 0; i < n; i++) {
    names[i] = 1 + rng_u32(r, (uint64_t)i) % (CONTEXT - SLOT - 3);
    for (int64_t j = 0; j < 1 + SLOT + names[i]; j++)
      ids[i * CONTEXT + j] = j < 7 ? 100 + j : rng_u32(r, (uint64_t)((i + 1) * CONTEXT + j)) % END;
    ids[i * CONTEXT + 1 + SLOT + names[i]] = 13; /* full stop */
    ids[i * CONTEXT + 2 + SLOT + names[i]] = END;
  }
  for (int64_t i = 0; i < rows * WIDTH; i++) ctx[i] = rng_normal(r, (uint64_t)(4096 + i));
  at[0] = (NpyArray){"text", VLPC_I64, 2, {n, CONTEXT}, ids, (uint64_t)(n * CONTEXT) * 8};
  at[1] = (NpyArray){"name_lengths", VLPC_I64, 1, {n}, names, (uint64_t)n * 8};
  at[2] = (NpyArray){"ctx", VLPC_F32, 2, {SLOT, WIDTH}, ctx, (uint64_t)(rows * WIDTH) * 4};
  if (own) at[2].rank = 3, at[2].size[0] = n, at[2].size[1] = SLOT, at[2].size[2] = WIDTH;
  return (Npz){at, 3};
}

/* Runs the texts; true when it was on packed rows. */
static bool is_packed(const Line *l, const Npz *in, vlpc_tensor *out) {
  Seen seen = {0};
  assert_int_equal(vlpc_session_on_step(l->s, note_size, &seen), VLPC_OK);
  line_run(l, "text", in);
  *out = line_output(l, "text", "text_features");
  return seen.on_rows;
}

/* In each place, shared by all classes and of each class's own: the same bits on rows as
** without. */
static void learned_rows_keep_the_bits(void **state) {
  (void)state;
  static const Place place[] = {{"end", 0},    {"end", 1},   {"middle", 0},
                                {"middle", 1}, {"front", 0}, {"front", 1}};
  static const int64_t count[] = {1, 2, 7, MOST};
  for (size_t k = 0; k < VL_COUNT(place); k++) {
    Line with = open_slot(place[k], ""), without = open_slot(place[k], "--no-text_rows");
    for (uint64_t seed = 0; seed < 12; seed++) {
      int64_t n = count[seed % VL_COUNT(count)];
      Npz in = draw_slot(seed, n, place[k].own != 0);
      vlpc_tensor a, b;
      assert_true(is_packed(&with, &in, &a));
      assert_false(is_packed(&without, &in, &b));
      assert_int_equal(a.shape[0], n);
      same_bits(a.data, b.data, (size_t)(n * EMBED) * sizeof(float), place[k].place);
    }
    line_close(&with);
    line_close(&without);
  }
}

/* Lengths of names that cannot be are refused as without packing. */
static void refuses_lengths_outside_the_text(void **state) {
  (void)state;
  static const int64_t length[] = {-1, CONTEXT, INT64_MAX, INT64_MIN};
  Line l = open_slot((Place){"middle", 0}, "");
  for (size_t i = 0; i < VL_COUNT(length); i++) {
    Npz in = draw_slot(1, 2, false);
    ((int64_t *)(uintptr_t)in.at[1].data)[1] = length[i];
    for (uint32_t k = 0; k < in.n; k++) {
      vlpc_tensor t = {.data = (void *)(uintptr_t)in.at[k].data, .dtype = in.at[k].dtype,
                       .rank = (int32_t)in.at[k].rank};
      memcpy(t.shape, in.at[k].size, sizeof t.shape);
      assert_int_equal(vlpc_session_set_input(l.s, "text", in.at[k].name, &t), VLPC_OK);
    }
    if (vlpc_session_run(l.s, "text") != VLPC_OK)
      assert_non_null(strstr(vlpc_session_error(l.s), "an index is out of range"));
  }
  line_close(&l);
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
      cmocka_unit_test(learned_rows_keep_the_bits),
      cmocka_unit_test(refuses_lengths_outside_the_text),
  };
  return cmocka_run_group_tests(tests, set_up, e2e_tear_down);
}
