/* SPDX-License-Identifier: Apache-2.0 */
/* e2e_prompts.c - rewrites of prompted towers, one by one off: features as an
** independent implementation gives them, and where it should be the same bits.
**
** (tests/prompts runs every method.)  Trainables are inputs here (--no-cut), so that
** no prompt set is needed. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/e2e/e2e_kit.h"

static const char *folder; /* of the tiny model */

static Line open_case(const char *name, const char *passes) {
  static int n;
  const char *model = arena_printf(e2e, "%s/model.onnx", folder);
  vlpc_compile_options o = {.models = {model}, .passes = passes};
  o.prompt = arena_printf(e2e, "%s/data/prompts/%s.onnx", VLPC_TEST_DIR, name);
  const char *file = arena_printf(e2e, "%s%d.vlpc", name, n++);
  return line_open(e2e_compile(o, file), (vlpc_session_options){.threads = 2});
}

static Npz inputs_of(const char *name) {
  Npz z;
  const char *path = arena_printf(e2e, "%s/data/prompts/%s.npz", VLPC_TEST_DIR, name);
  assert_int_equal(npz_read(path, e2e, NULL, &z), VLPC_OK);
  return z;
}

static void near_want(vlpc_tensor got, const NpyArray *want, const char *what) {
  double most = 0;
  for (uint64_t i = 0; i < want->bytes / 4; i++)
    most = fmax(most, fabs((double)((const float *)want->data)[i]));
  near_array(&got, want, 1e-5 * most, what);
}

static void with_rewrites_off(void **state) {
  static const char *const off[] = {"cut", "segments", "prune_rows", "narrow", "text_rows"};
  (void)state;
  Npz in = inputs_of("maple");
  for (size_t i = 0; i < VL_COUNT(off); i++) {
    Line l = open_case("maple", arena_printf(e2e, "--no-cut --no-%s", off[i]));
    line_run(&l, "image", &in);
    near_want(line_output(&l, "image", "image_features"), npz_find(&in, "want_image"), off[i]);
    line_run(&l, "text", &in);
    near_want(line_output(&l, "text", "text_features"), npz_find(&in, "want_text"), off[i]);
    line_close(&l);
  }
}

/* Segments and narrow products give the bits that whole ones give. */
static void keeps_the_bits(void **state) {
  static const char *const off[] = {"--no-segments", "--no-narrow"};
  (void)state;
  Npz in = inputs_of("vpt_deep");
  Line on = open_case("vpt_deep", "--no-cut --no-absorb");
  line_run(&on, "image", &in);
  vlpc_tensor a = line_output(&on, "image", "image_features");
  near_want(a, npz_find(&in, "want_image"), "images");
  for (size_t i = 0; i < VL_COUNT(off); i++) {
    Line without = open_case("vpt_deep", arena_printf(e2e, "--no-cut --no-absorb %s", off[i]));
    line_run(&without, "image", &in);
    vlpc_tensor b = line_output(&without, "image", "image_features");
    same_bits(a.data, b.data, (size_t)tensor_count(&a) * sizeof(float), off[i]);
    line_close(&without);
  }
  line_close(&on);
}

/* What trainables alone decide is computed apart: an entry that callers do not see. */
static void cuts_prompts_out(void **state) {
  (void)state;
  Line l = open_case("vpt_deep", NULL);
  vlpc_port p = {.struct_size = sizeof p};
  uint32_t cut = 0, trainables = 0;
  for (uint32_t i = 0; vlpc_artifact_port(l.a, "image", VLPC_INPUT, i, &p); i++) {
    cut += strncmp(p.name, "prompts.", 8) == 0;
    trainables += strstr(p.name, "VPT") != NULL;
  }
  assert_int_equal(cut, 3); /* keys and values of each block */
  assert_int_equal(trainables, 0);
  assert_null(vlpc_artifact_entry(l.a, 4)); /* image, text, model, tokens */
  line_close(&l);
}

static int set_up(void **state) {
  if (e2e_set_up(state)) return 1;
  folder = e2e_tiny("tiny", false, 17);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(with_rewrites_off),
      cmocka_unit_test(keeps_the_bits),
      cmocka_unit_test(cuts_prompts_out),
  };
  return cmocka_run_group_tests(tests, set_up, e2e_tear_down);
}
