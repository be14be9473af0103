/* SPDX-License-Identifier: Apache-2.0 */
/* e2e_prompts.c - prompt modules, from ONNX to features: as an independent
** implementation gives them, and the same with each rewrite off.
**
** Trainables are inputs here (--no-cut), so that no prompt set is needed. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/e2e/e2e_kit.h"

static const char *folder; /* of the tiny model */

typedef struct {
  const char *name;
  bool is_lifted;   /* texts are those of one image */
  bool reads_texts; /* the image tower does, and those of the frozen towers */
} Case;

static const Case cases[] = {{"coop_middle", false, false}, {"maple", false, false},
                             {"vpt_deep", false, false},    {"provp", false, false},
                             {"cocoop", true, false},       {"dpt_cavpt", false, true}};

static Line open_case(const Case *c, const char *passes) {
  static int n;
  const char *model = arena_printf(e2e, "%s/model.onnx", folder);
  vlpc_compile_options o = {.models = {model}, .passes = passes};
  o.prompt = arena_printf(e2e, "%s/data/prompts/%s.onnx", VLPC_TEST_DIR, c->name);
  const char *file = arena_printf(e2e, "%s%d.vlpc", c->name, n++);
  return line_open(e2e_compile(o, file), (vlpc_session_options){.threads = 2});
}

static Npz inputs_of(const Case *c) {
  Npz z;
  const char *path = arena_printf(e2e, "%s/data/prompts/%s.npz", VLPC_TEST_DIR, c->name);
  assert_int_equal(npz_read(path, e2e, NULL, &z), VLPC_OK);
  NpyArray *more = arena_array(e2e, NpyArray, z.n + 4);
  memcpy(more, z.at, z.n * sizeof *more);
  return (Npz){more, z.n}; /* with room for results that are inputs */
}

/* An output as the input of that name, copied. */
static void hand_on(Npz *in, const char *name, vlpc_tensor t, int64_t row) {
  NpyArray x = {.name = name, .dtype = VLPC_F32, .rank = (uint32_t)t.rank};
  const uint8_t *at = t.data;
  for (int i = 0; i < t.rank; i++) x.size[i] = t.shape[i];
  x.bytes = (uint64_t)tensor_count(&t) * sizeof(float);
  if (row >= 0) x.bytes /= (uint64_t)x.size[0], at += (uint64_t)row * x.bytes, x.size[0] = 1;
  void *copy = arena_array(e2e, uint8_t, x.bytes);
  memcpy(copy, at, x.bytes);
  x.data = copy;
  uint32_t i = 0;
  while (i < in->n && strcmp(in->at[i].name, name) != 0) i++;
  in->at[i] = x;
  in->n = VL_MAX(in->n, i + 1);
}

static void near_want(vlpc_tensor got, const NpyArray *want, int64_t row, const char *what) {
  NpyArray x = *want;
  double most = 0;
  if (row >= 0) { /* [images, classes, E]: of one image */
    x.bytes /= (uint64_t)x.size[0];
    x.data = (const uint8_t *)want->data + (uint64_t)row * x.bytes;
    x.rank--, x.size[0] = x.size[1], x.size[1] = x.size[2];
  }
  for (uint64_t i = 0; i < x.bytes / 4; i++)
    most = fmax(most, fabs((double)((const float *)x.data)[i]));
  near_array(&got, &x, 1e-5 * most, what);
}

/* Results of the text entry that the image entry reads. */
static void hand_on_classes(const Line *l, Npz *in) {
  vlpc_port p = {.struct_size = sizeof p};
  for (uint32_t i = 0; vlpc_artifact_port(l->a, "text", VLPC_OUTPUT, i, &p); i++) {
    const char *name = arena_strdup(e2e, p.name);
    hand_on(in, name, line_output(l, "text", name), -1);
  }
}

static void check_case(const Case *c, const char *passes) {
  Line l = open_case(c, passes);
  Npz in = inputs_of(c);
  if (c->reads_texts) {
    Npz plain = {(NpyArray[]){*npz_find(&in, "frozen_text")}, 1};
    plain.at[0].name = "text";
    line_run(&l, "frozen_text", &plain);
    static const char frozen[] = "frozen_text_features";
    hand_on(&in, frozen, line_output(&l, "frozen_text", frozen), -1);
  }
  if (!c->is_lifted) {
    line_run(&l, "model", &in);
    near_want(line_output(&l, "model", "logits_per_image"), npz_find(&in, "want_logits"), -1,
              "logits");
    line_run(&l, "text", &in);
    near_want(line_output(&l, "text", "text_features"), npz_find(&in, "want_text"), -1, "texts");
    hand_on_classes(&l, &in);
  }
  line_run(&l, "image", &in);
  vlpc_tensor image = line_output(&l, "image", "image_features");
  near_want(image, npz_find(&in, "want_image"), -1, "images");
  for (int64_t i = 0; c->is_lifted && i < image.shape[0]; i++) {
    hand_on(&in, "image_features", image, i);
    line_run(&l, "text", &in);
    near_want(line_output(&l, "text", "text_features"), npz_find(&in, "want_text"), i, "texts");
  }
  line_close(&l);
}

static void gives_what_the_formulas_give(void **state) {
  (void)state;
  for (size_t i = 0; i < VL_COUNT(cases); i++) check_case(&cases[i], "--no-cut");
}

static void with_each_rewrite_off(void **state) {
  static const char *const off[] = {"segments", "prune_rows", "narrow", "absorb", "text_rows",
                                    "concat",   "epilogue"};
  (void)state;
  for (size_t i = 0; i < VL_COUNT(off); i++) {
    check_case(&cases[1], arena_printf(e2e, "--no-cut --no-%s", off[i]));
  }
}

/* Segments and narrow products give the bits that whole ones give. */
static void keeps_the_bits(void **state) {
  static const char *const off[] = {"--no-segments", "--no-narrow", "--no-prune_rows"};
  (void)state;
  for (int k = 1; k <= 2; k++) {
    const Case *c = &cases[k];
    Npz in = inputs_of(c);
    Line on = open_case(c, "--no-cut --no-absorb");
    line_run(&on, "image", &in);
    vlpc_tensor a = line_output(&on, "image", "image_features");
    for (size_t i = 0; i < VL_COUNT(off); i++) {
      Line without = open_case(c, arena_printf(e2e, "--no-cut --no-absorb %s", off[i]));
      line_run(&without, "image", &in);
      vlpc_tensor b = line_output(&without, "image", "image_features");
      same_bits(a.data, b.data, (size_t)tensor_count(&a) * sizeof(float), off[i]);
      line_close(&without);
    }
    line_close(&on);
  }
}

/* What trainables alone decide is computed apart: an entry that callers do not see. */
static void cuts_prompts_out(void **state) {
  (void)state;
  Line l = open_case(&cases[2], NULL);
  vlpc_port p = {.struct_size = sizeof p};
  uint32_t cut = 0, trainables = 0;
  for (uint32_t i = 0; vlpc_artifact_port(l.a, "image", VLPC_INPUT, i, &p); i++) {
    cut += strncmp(p.name, "prompts.", 8) == 0;
    trainables += strstr(p.name, "VPT") != NULL;
  }
  assert_int_equal(cut, 3); /* keys and values of each block */
  assert_int_equal(trainables, 0);
  assert_null(vlpc_artifact_entry(l.a, 3)); /* image, text, model */
  line_close(&l);
}

static int set_up(void **state) {
  if (e2e_set_up(state)) return 1;
  folder = e2e_tiny("tiny", false, 17);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(gives_what_the_formulas_give),
      cmocka_unit_test(with_each_rewrite_off),
      cmocka_unit_test(keeps_the_bits),
      cmocka_unit_test(cuts_prompts_out),
  };
  return cmocka_run_group_tests(tests, set_up, e2e_tear_down);
}
