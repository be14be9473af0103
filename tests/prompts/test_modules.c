/* SPDX-License-Identifier: Apache-2.0 */
/* test_modules.c - every prompt method as vlpc writes it: sizes, bytes, starts,
** and what its graphs compute.
**
** Expected rows and losses come from the formulas in PyTorch (reference/), which
** are held there against the papers' own code. */
#include "prompt_kit.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"

static Kit kit;

static int set_up(void **state) {
  (void)state;
  return kit_open(&kit);
}

static int tear_down(void **state) {
  (void)state;
  return kit_close(&kit);
}

/* ---- sizes ------------------------------------------------------------------ */

/* Published numbers of parameters for ViT-B/16; 100 classes where they count. */
static void test_parameters_are_as_many_as_published(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(kit.arena));
  static const struct {
    const char *options;
    int64_t parameters;
  } row[] = {{"zero-shot", 0},
             {"zero-shot-ensemble", 0},
             {"coop", 8192},
             {"coop --length 4", 2048},
             {"coop --csc --class-count 100", 819200},
             {"cocoop", 35360},
             {"kgcoop", 2048},
             {"deep-text", 24576},
             {"vpt-shallow", 6144},
             {"vpt-deep", 73728},
             {"deep-visual", 73728},
             {"vpt-dpt", 92160},
             {"ivlp", 30720},
             {"ivlp --length 4 --depth 9", 46080},
             {"maple", 3555072},
             {"maple --depth 3", 1185024},
             {"maple-unified", 403200},
             {"provp", 147456},
             {"provp --length 50", 460800},
             {"provp-ref --length 8", 73728},
             {"dpt", 100352},
             {"dpt-cavpt --class-count 100", 1136384 + 768 * 100},
             {"promptsrc", 46080},
             {"promptsrc --depth 3", 15360},
             {"clip-adapter", 2 * 512 * 128},
             {"tip-adapter --class-count 100 --keys 1600", 1600 * 512}};
  for (size_t i = 0; i < VL_COUNT(row); i++) {
    PromptOptions o = kit_options(&kit, "b16", row[i].options);
    int64_t n = kit_count_learned(&kit, kit_write(&kit, &o, "m"));
    if (n != row[i].parameters)
      fail_msg("%s: %lld parameters, not %lld", row[i].options, (long long)n,
               (long long)row[i].parameters);
  }
}

/* Widths that no released model has; every method takes them. */
static void test_any_size_of_clip(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(kit.arena));
  PromptRow r;
  for (uint32_t i = 0; models_prompt_row(i, &r); i++) {
    bool counts = strcmp(r.name, "dpt-cavpt") == 0 || strcmp(r.name, "tip-adapter") == 0;
    PromptOptions o = {.method = r.name, .seed = 1, .classes = counts ? 3 : 0};
    o.host = (PromptHost){.text_width = 36,
                          .vision_width = 52,
                          .embed = 20,
                          .text_layers = 2,
                          .vision_layers = 5,
                          .context = 33};
    if (strcmp(r.name, "tip-adapter") == 0) o.keys = 4;
    const char *path = kit_write(&kit, &o, "m");
    Npz none = {NULL, 0};
    if (json_array_size(json_object_get(kit_declaration(&kit, path), "taps")) == 0)
      (void)kit_run(&kit, path, &none, "tap");
  }
}

/* ---- bytes and starts --------------------------------------------------------- */

static bool same_bytes(const char *a, const char *b) {
  Mapped x, y;
  assert_int_equal(io_map(a, kit.diag, &x), VLPC_OK);
  assert_int_equal(io_map(b, kit.diag, &y), VLPC_OK);
  bool same = x.n == y.n && memcmp(x.at, y.at, x.n) == 0;
  io_unmap(&x);
  io_unmap(&y);
  return same;
}

static void test_a_seed_decides_the_bytes(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(kit.arena));
  PromptOptions o = kit_options(&kit, "tiny", "maple --depth 2");
  const char *a = kit_write(&kit, &o, "a");
  assert_int_equal(rename(a, kit_path(&kit, "old")), 0);
  assert_true(same_bytes(kit_path(&kit, "old"), kit_write(&kit, &o, "a")));
  o.seed = 2;
  assert_false(same_bytes(kit_path(&kit, "old"), kit_write(&kit, &o, "a")));
}

/* Checks that each element lies in ±bound and some near it; or, with sd, how far
** they spread. */
static void check_start(const char *path, const char *name, double bound, double sd) {
  uint64_t n;
  double most = 0, sum = 0;
  const float *x = kit_initializer(&kit, path, name, &n);
  for (uint64_t i = 0; i < n; i++) most = fmax(most, fabs(x[i])), sum += (double)x[i] * x[i];
  if (bound > 0) assert_true(most <= bound * (1 + 1e-6) && most > 0.95 * bound);
  if (sd > 0) assert_true(fabs(sqrt(sum / (double)n) / sd - 1) < 0.1);
}

static VlStatus count_up(void *ctx, const char *phrase, int64_t rows, float *out, Diag *d) {
  (void)d;
  assert_string_equal(phrase, "a photo of a");
  for (int64_t i = 0; i < rows * *(const int64_t *)ctx; i++) out[i] = (float)i;
  return VLPC_OK;
}

/* Rows that start as words are the model's own embeddings where it is at hand. */
static void test_words_come_from_the_model(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(kit.arena));
  PromptOptions o = kit_options(&kit, "tiny", "ivlp --length 3");
  int64_t width = o.host.text_width;
  uint64_t n;
  o.words = count_up, o.words_ctx = &width;
  const float *ctx = kit_initializer(&kit, kit_write(&kit, &o, "m"), "ctx", &n);
  assert_int_equal(n, 3 * width);
  for (uint64_t i = 0; i < n; i++) assert_true(ctx[i] == (float)i);
}

static void test_values_start_as_published(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(kit.arena));
  PromptOptions o = kit_options(&kit, "b16", "maple --depth 4");
  const char *path = kit_write(&kit, &o, "m");
  uint64_t n;
  const float *words = kit_initializer(&kit, path, "ctx", &n);
  for (uint64_t i = 0; i < n; i++) assert_true(words[i] == 0); /* looked up in the model later */
  check_start(path, "proj.weight", 1 / sqrt(512.0), 0);
  check_start(path, "proj.bias", 1 / sqrt(512.0), 0);
  check_start(path, "compound_prompts_text.1", 0, 0.02);
  const float *first = kit_initializer(&kit, path, "compound_prompt_projections.0.weight", &n);
  const float *copy = kit_initializer(&kit, path, "compound_prompt_projections.2.weight", &n);
  const float *other = kit_initializer(&kit, path, "proj.weight", &n);
  assert_memory_equal(first, copy, n * sizeof *first);
  assert_memory_not_equal(first, other, n * sizeof *first);
  o = kit_options(&kit, "b16", "provp --length 8");
  check_start(kit_write(&kit, &o, "p"), "prompt_embeddings", 0.066536, 0);
}

/* ---- declarations -------------------------------------------------------------- */

static const char *at(const json_t *j, const char *key) {
  const char *s = json_string_value(json_object_get(j, key));
  return s != NULL ? s : "";
}

/* "T.emb.slot=t0 V.2.prompt drop …" */
static const char *layout(const json_t *declaration) {
  const json_t *list = json_object_get(declaration, "writes");
  Str out = {.arena = kit.arena};
  for (size_t i = 0; i < json_array_size(list); i++) {
    const json_t *w = json_array_get(list, i);
    str_printf(&out, "%s%s", out.n > 0 ? " " : "", at(w, "point"));
    if (*at(w, "segment") != '\0') str_printf(&out, ".%s", at(w, "segment"));
    if (json_is_true(json_object_get(w, "drop")))
      str_add(&out, ":drop");
    else
      str_printf(&out, "=%s", at(w, "value"));
  }
  return str_text(&out);
}

static void test_layouts_are_as_published(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(kit.arena));
  static const char *const row[][2] = {
      {"zero-shot", "T.feat=text"},
      {"coop --length 4", "T.emb.slot=t0"},
      {"deep-text", "T.emb.slot=t0 T.1.slot=t1 T.2.slot=t2"},
      {"vpt-shallow", "V.pre.prompt=v0"},
      {"vpt-deep --depth 2", "V.pre.prompt=v0 V.1.prompt=v1"},
      {"vpt-dpt", "V.0.prompt=v0 V.1.prompt=v1 V.2.prompt=v2"},
      {"vpt-dpt --depth 2", "V.0.prompt=v0 V.1.prompt=v1 V.2.prompt:drop"},
      {"maple --depth 2", "T.emb.slot=t0 V.pre.prompt=v0 T.1.slot=t1 V.1.prompt=v1"},
      {"ivlp --depth 1 --vision-depth 2", "T.emb.slot=t0 V.pre.prompt=v0 V.1.prompt=v1"},
      {"provp --depth 2", "V.0.prompt=v0 V.1.prompt=v1"},
      {"provp --depth 12", "V.0.prompt=v0 V.1.prompt=v1 V.2.prompt=v2"},
      {"dpt-cavpt --length 4 --class-count 5",
       "T.emb.slot=t0 V.0.prompt=v0 V.1.prompt=v1 V.2.prompt:drop V.2.prompt=v2"},
      {"clip-adapter", "V.feat=adapted"},
      {"tip-adapter --class-count 5 --keys 2", "logits=scored"}};
  for (size_t i = 0; i < VL_COUNT(row); i++) {
    PromptOptions o = kit_options(&kit, "tiny", row[i][0]);
    const json_t *d = kit_declaration(&kit, kit_write(&kit, &o, "m"));
    assert_string_equal(layout(d), row[i][1]);
  }
}

/* "x1=V.1.prompt g=T.feat:stop" */
static const char *taps(const json_t *declaration) {
  const json_t *list = json_object_get(declaration, "taps");
  Str out = {.arena = kit.arena};
  for (size_t i = 0; i < json_array_size(list); i++) {
    const json_t *t = json_array_get(list, i);
    str_printf(&out, "%s%s=%s", out.n > 0 ? " " : "", at(t, "input"), at(t, "from"));
    if (*at(t, "segment") != '\0') str_printf(&out, ".%s", at(t, "segment"));
    if (*at(t, "grad") != '\0') str_printf(&out, ":%s", at(t, "grad"));
  }
  return str_text(&out);
}

/* No gradient enters the keys of DPT's class-aware rows, nor CoCoOp's images; it
** does enter ProVP's rows of the layer before and DPT's texts. */
static void test_taps_are_as_published(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(kit.arena));
  static const char *const row[][2] = {
      {"maple", ""},
      {"cocoop", "f=V.feat.norm:stop"},
      {"provp", "x1=V.1.prompt x2=V.2.prompt"},
      {"dpt-cavpt --length 4 --class-count 5",
       "scores=frozen.logits:stop x=V.2.cls+patch:stop g=T.feat"},
      {"clip-adapter", "f=V.feat"},
      {"tip-adapter --class-count 5 --keys 2", "f=V.feat.norm scores=logits"}};
  for (size_t i = 0; i < VL_COUNT(row); i++) {
    PromptOptions o = kit_options(&kit, "tiny", row[i][0]);
    assert_string_equal(taps(kit_declaration(&kit, kit_write(&kit, &o, "m"))), row[i][1]);
  }
}

/* MaPLe with 2 rows learns "a photo" and keeps "of a"; CoOp's rows start anywhere;
** CoCoOp has texts for each image. */
static void test_slots_and_lift(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(kit.arena));
  PromptOptions o = kit_options(&kit, "tiny", "maple");
  const json_t *d = kit_declaration(&kit, kit_write(&kit, &o, "m"));
  const json_t *slot = json_object_get(d, "slot");
  assert_int_equal(json_integer_value(json_object_get(slot, "rows")), 2);
  assert_string_equal(at(slot, "phrase"), "a photo of a");
  o = kit_options(&kit, "tiny", "coop --length 5 --place middle");
  d = kit_declaration(&kit, kit_write(&kit, &o, "m"));
  slot = json_object_get(d, "slot");
  assert_string_equal(at(slot, "place"), "middle");
  assert_null(json_object_get(slot, "phrase"));
  o = kit_options(&kit, "tiny", "coop");
  o.length = 0, o.phrase = "a blurry photo of a";
  d = kit_declaration(&kit, kit_write(&kit, &o, "m"));
  assert_int_equal(json_integer_value(json_object_get(json_object_get(d, "slot"), "rows")), 5);
  o = kit_options(&kit, "tiny", "cocoop");
  assert_string_equal(at(kit_declaration(&kit, kit_write(&kit, &o, "m")), "lift"), "image");
}

/* ---- what the graphs compute ---------------------------------------------------- */

static void check_case(const PromptCase *c) {
  Npz z;
  PromptOptions o = kit_inner(&kit, "tiny", &c->o);
  const char *golden = arena_printf(kit.arena, VLPC_TEST_DIR "/data/%s.npz", c->name);
  assert_int_equal(npz_read(golden, kit.arena, kit.diag, &z), VLPC_OK);
  const char *path = kit_with_params(&kit, kit_write(&kit, &o, "m"), &z, "changed");
  Ran r = kit_run(&kit, path, &z, "tap");
  kit_expect(&kit, &r, &z, "value/");
  static const char *const loss[][2] = {{"m.loss.onnx", "loss"}, {"m.loss2.onnx", "loss2"}};
  for (size_t i = 0; i < VL_COUNT(loss); i++) {
    const char *file = kit_path(&kit, loss[i][0]);
    const NpyArray *want = npz_find(&z, loss[i][1]);
    assert_int_equal(access(file, F_OK) == 0, want != NULL);
    if (want == NULL) continue;
    r = kit_run(&kit, file, &z, "loss_tap");
    kit_near(arena_printf(kit.arena, "%s of %s", loss[i][1], c->name), &r.out[0], want, kit.arena);
    assert_int_equal(remove(file), 0);
  }
}

static void test_graphs_compute_the_formulas(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(kit.arena));
  PromptCase *c;
  uint32_t n = prompt_cases(kit.arena, VLPC_TEST_DIR "/data/cases.txt", &c);
  assert_true(n >= 30);
  for (uint32_t i = 0; i < n; i++) check_case(&c[i]);
}

/* Learners written in plain PyTorch, by both of its exporters (examples/). */
static void test_exported_learners_compute_the_same(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(kit.arena));
  static const char *const row[][2] = {{"maple_legacy", "maple"},
                                       {"maple_dynamo", "maple"},
                                       {"vpt_legacy", "vpt_deep_m3_d2"},
                                       {"vpt_dynamo", "vpt_deep_m3_d2"}};
  for (size_t i = 0; i < VL_COUNT(row); i++) {
    Npz z;
    const char *golden = arena_printf(kit.arena, VLPC_TEST_DIR "/data/%s.npz", row[i][1]);
    const char *file = arena_printf(kit.arena, VLPC_TEST_DIR "/data/exported/%s.onnx", row[i][0]);
    assert_int_equal(npz_read(golden, kit.arena, kit.diag, &z), VLPC_OK);
    Ran r = kit_run(&kit, kit_with_params(&kit, file, &z, "changed"), &z, "tap");
    kit_expect(&kit, &r, &z, "value/");
  }
  const char *maple = VLPC_TEST_DIR "/data/exported/maple_dynamo.onnx";
  PromptOptions o = kit_options(&kit, "tiny", "maple");
  assert_string_equal(layout(kit_declaration(&kit, maple)),
                      layout(kit_declaration(&kit, kit_write(&kit, &o, "m"))));
}

/* ---- what is refused -------------------------------------------------------------- */

static void refused(const PromptOptions *o, const char *text) {
  PromptOptions p = *o;
  p.output = kit_path(&kit, "refused.onnx");
  assert_int_equal(models_write_prompt(&p, kit.diag), VLPC_E_INVALID_ARG);
  assert_string_equal(diag_text(kit.diag), text);
  diag_clear(kit.diag);
  assert_int_not_equal(access(p.output, F_OK), 0);
}

static void test_what_cannot_be_is_refused(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(kit.arena));
  PromptOptions o = kit_options(&kit, "b16", "mapel");
  refused(&o, "vlpc: error[E0015]: no prompt method is called 'mapel'\n"
              "  fix:      did you mean 'maple'?\n");
  o = kit_options(&kit, "b16", "maple --depth 13");
  refused(&o, "vlpc: error[E0016]: the depth of maple is out of range\n"
              "  found:    13\n"
              "  expected: 1 to 12, the layers of the text tower\n");
  o = kit_options(&kit, "b16", "coop --length 77");
  refused(&o, "vlpc: error[E0016]: the length of coop is out of range\n"
              "  found:    77\n"
              "  expected: 1 to 73 rows: a text also holds its begin, a name, a full stop and its "
              "end\n");
  o = kit_options(&kit, "b16", "coop --place back");
  refused(&o, "vlpc: error[E0016]: there is no such place in a text\n"
              "  found:    'back'\n"
              "  expected: end, middle or front\n");
  o = kit_options(&kit, "b16", "kgcoop");
  o.phrase = "a \xff of a";
  refused(&o, "vlpc: error[E0016]: the phrase cannot start the rows\n"
              "  found:    'a \\xff of a' for 4 rows\n"
              "  expected: UTF-8 with at least one word a row\n");
  o = kit_options(&kit, "b16", "maple");
  o.host.embed = 0;
  refused(&o, "vlpc: error[E0017]: the model's sizes are not known or make no CLIP\n"
              "  found:    widths 512, 768, 0; layers 12, 12; 77 tokens\n"
              "  expected: widths of text, image, joint space; layers of text, image; tokens of a "
              "text\n");
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      T(test_parameters_are_as_many_as_published),
      T(test_any_size_of_clip),
      T(test_a_seed_decides_the_bytes),
      T(test_values_start_as_published),
      T(test_words_come_from_the_model),
      T(test_layouts_are_as_published),
      T(test_taps_are_as_published),
      T(test_slots_and_lift),
      T(test_graphs_compute_the_formulas),
      T(test_exported_learners_compute_the_same),
      T(test_what_cannot_be_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
