/* SPDX-License-Identifier: Apache-2.0 */
/* test_clip.c - the CLIP that is written: bytes, options, and what it computes.
**
** The expected numbers of the tiny model of seed 1 were computed from its file
** by ONNX Runtime 1.31, which agrees with the formulas in PyTorch. */
#include "models/models.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/io.h"
#include "frontend/frontend.h"

enum { IMAGES = 2, TEXTS = 3, SIDE = 32, CONTEXT = 16, EMBED = 48, END = 511 };

static char folder[] = "vlpc-model-XXXXXX"; /* where the test was started */
static Arena *arena;
static Diag *diag;

static const char *in_folder(const char *name) {
  return arena_printf(arena, "%s/%s", folder, name);
}

static int set_up(void **state) {
  (void)state;
  strcpy(folder + sizeof folder - 7, "XXXXXX");
  arena = arena_new(0);
  diag = diag_new();
  return arena == NULL || diag == NULL || mkdtemp(folder) == NULL;
}

static int tear_down(void **state) {
  (void)state;
  static const char *const name[] = {
      "a/model.onnx", "a/image.onnx", "a/text.onnx", "a", "b/model.onnx", "b"};
  for (size_t i = 0; i < VL_COUNT(name); i++) remove(in_folder(name[i]));
  arena_free(arena);
  diag_free(diag);
  return rmdir(folder);
}

static ClipOptions tiny(const char *directory, uint64_t seed) {
  return (ClipOptions){.size = "tiny", .directory = in_folder(directory), .seed = seed};
}

static void write_clip(const ClipOptions *o) {
  assert_int_equal(models_write_clip(o, diag), VLPC_OK);
}

/* --- bytes --- */

static bool same_bytes(const char *a, const char *b) {
  Mapped x, y;
  assert_int_equal(io_map(in_folder(a), diag, &x), VLPC_OK);
  assert_int_equal(io_map(in_folder(b), diag, &y), VLPC_OK);
  bool same = x.n == y.n && memcmp(x.at, y.at, x.n) == 0;
  io_unmap(&x);
  io_unmap(&y);
  return same;
}

static void test_a_seed_decides_the_bytes(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(arena));
  ClipOptions a = tiny("a", 7), b = tiny("b", 7);
  write_clip(&a);
  write_clip(&b);
  assert_true(same_bytes("a/model.onnx", "b/model.onnx"));
  b.seed = 8;
  write_clip(&b);
  assert_false(same_bytes("a/model.onnx", "b/model.onnx"));
}

static void test_halves_take_half_the_room(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(arena));
  ClipOptions o = tiny("a", 1);
  Mapped full, half;
  write_clip(&o);
  assert_int_equal(io_map(in_folder("a/model.onnx"), diag, &full), VLPC_OK);
  o.directory = in_folder("b");
  o.dtype = "fp16";
  write_clip(&o);
  assert_int_equal(io_map(in_folder("b/model.onnx"), diag, &half), VLPC_OK);
  assert_true(half.n < full.n * 11 / 20);
  io_unmap(&full);
  io_unmap(&half);
}

/* --- values --- */

typedef struct {
  Graph *g;
  RefTensor out[4];
} Evaluated;

/* pixel i is (37 i mod 101) / 50 - 1; token i is 1 + (13 i mod 400), the end
** token at place 9 of each text. */
static RefTensor input_for(const Graph *g, const Named *in) {
  (void)g;
  bool image = strcmp(in->name, "image") == 0 || strcmp(in->name, "pixel_values") == 0;
  if (image) {
    RefTensor t = ref_tensor(arena, VLPC_F32, 4, (int64_t[]){IMAGES, 3, SIDE, SIDE});
    for (int64_t i = 0; i < t.count; i++) t.f[i] = (double)(float)((double)(i * 37 % 101) / 50 - 1);
    return t;
  }
  RefTensor t = ref_tensor(arena, VLPC_I64, 2, (int64_t[]){TEXTS, CONTEXT});
  for (int64_t i = 0; i < t.count; i++) t.i[i] = i % CONTEXT == 9 ? END : 1 + i * 13 % 400;
  return t;
}

static Evaluated evaluate(const char *name) {
  Evaluated e = {0};
  FeModel *m;
  const Named *named;
  RefTensor in[2];
  assert_int_equal(fe_read(arena, in_folder(name), NULL, diag, &m), VLPC_OK);
  VlStatus s = fe_import(m, &e.g);
  assert_string_equal(diag_text(diag), "");
  assert_int_equal(s, VLPC_OK);
  uint32_t n = ir_inputs(e.g, &named);
  assert_in_range(n, 1, 2);
  for (uint32_t i = 0; i < n; i++) in[i] = input_for(e.g, &named[i]);
  assert_int_equal(ir_eval(e.g, arena, EVAL_DOUBLE, in, e.out, diag), VLPC_OK);
  fe_close(m);
  return e;
}

static RefTensor output(const Evaluated *e, const char *name) {
  const Named *named;
  uint32_t n = ir_outputs(e->g, &named);
  for (uint32_t i = 0; i < n; i++)
    if (strcmp(named[i].name, name) == 0) return e->out[i];
  fail_msg("no output is called %s", name);
  return (RefTensor){.rank = 0};
}

static void near(const RefTensor *t, int64_t i, double want, double within) {
  if (!(fabs(t->f[i] - want) <= within))
    fail_msg("element %d: %.9g, not %.9g", (int)i, t->f[i], want);
}

static void test_joint_model_computes_the_known_logits(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(arena));
  static const double logits[] = {-21.971642, -25.581305, -28.201725,
                                  -23.423882, -24.919958, -25.80372};
  ClipOptions o = tiny("a", 1);
  write_clip(&o);
  Evaluated e = evaluate("a/model.onnx");
  RefTensor image = output(&e, "logits_per_image"), text = output(&e, "logits_per_text");
  assert_int_equal(image.count, IMAGES * TEXTS);
  for (int64_t i = 0; i < IMAGES * TEXTS; i++) {
    near(&image, i, logits[i], 5e-5);
    near(&text, i % TEXTS * IMAGES + i / TEXTS, logits[i], 5e-5);
  }
  RefTensor row = output(&e, "text_embeds");
  near(&row, 0, 0.06102182, 1e-6);
  near(&row, EMBED, 0.17862463, 1e-6);
}

static void test_two_files_hold_the_same_model(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(arena));
  ClipOptions o = tiny("a", 1);
  write_clip(&o);
  o.two_files = true;
  write_clip(&o);
  Evaluated joint = evaluate("a/model.onnx"), single = evaluate("a/image.onnx");
  RefTensor unit = output(&joint, "image_embeds"), row = output(&single, "image_features");
  assert_int_equal(row.count, IMAGES * EMBED);
  for (int64_t b = 0; b < IMAGES; b++) {
    double sum = 0;
    for (int64_t i = 0; i < EMBED; i++) sum += row.f[b * EMBED + i] * row.f[b * EMBED + i];
    for (int64_t i = 0; i < EMBED; i++)
      near(&unit, b * EMBED + i, row.f[b * EMBED + i] / sqrt(sum), 1e-12);
  }
  single = evaluate("a/text.onnx");
  assert_int_equal(output(&single, "text_features").count, TEXTS * EMBED);
}

static void test_opsets_compute_the_same(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(arena));
  ClipOptions a = tiny("a", 3), b = tiny("b", 3);
  b.opset = 14;
  write_clip(&a);
  write_clip(&b);
  Evaluated x = evaluate("a/model.onnx"), y = evaluate("b/model.onnx");
  RefTensor p = output(&x, "logits_per_image"), q = output(&y, "logits_per_image");
  for (int64_t i = 0; i < p.count; i++) near(&p, i, q.f[i], 1e-6);
}

/* --- what is refused --- */

static void refused(const ClipOptions *o, const char *text) {
  assert_int_equal(models_write_clip(o, diag), VLPC_E_INVALID_ARG);
  assert_string_equal(diag_text(diag), text);
  diag_clear(diag);
}

static void test_unknown_options_are_refused(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(arena));
  ClipOptions o = tiny("a", 1);
  o.size = "b31";
  refused(&o, "vlpc: error[E0014]: no CLIP of this size is made\n"
              "  found:    b31\n"
              "  expected: one of tiny b32 b16 l14 l14-336 official\n");
  o = tiny("a", 1), o.opset = 12;
  refused(&o, "vlpc: error[E0014]: no CLIP of this opset is made\n"
              "  found:    12\n"
              "  expected: 13 to 22\n");
  o = tiny("a", 1), o.dtype = "int4";
  refused(&o, "vlpc: error[E0014]: no CLIP of this element type is made\n"
              "  found:    int4\n"
              "  expected: fp32 or fp16\n");
  assert_int_not_equal(access(in_folder("a"), F_OK), 0);
}

static void test_a_file_in_the_way_is_an_error(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(arena));
  ClipOptions o = tiny("a", 1);
  assert_int_equal(io_write_file(in_folder("a"), "x", 1, diag), VLPC_OK);
  assert_int_equal(models_write_clip(&o, diag), VLPC_E_IO);
}

int main(void) {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      T(test_a_seed_decides_the_bytes),
      T(test_halves_take_half_the_room),
      T(test_joint_model_computes_the_known_logits),
      T(test_two_files_hold_the_same_model),
      T(test_opsets_compute_the_same),
      T(test_unknown_options_are_refused),
      T(test_a_file_in_the_way_is_an_error),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
