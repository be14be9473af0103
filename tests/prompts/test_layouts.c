/* SPDX-License-Identifier: Apache-2.0 */
/* test_layouts.c - what the papers say of where learned rows stand and what reaches them,
** each as a fact about results and gradients of the linked tiny CLIP. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/e2e/e2e_kit.h"
#include "tests/onnx/onnx_build.h"
#include "tests/prompts/linked_kit.h"
#include "tests/prompts/prompt_kit.h"

enum { ARRAYS_MOST = 32 };

/* ---- a method in the towers -------------------------------------------------------- */

/* Trainables are inputs of the entries, so that no prompt set is needed. */
typedef struct {
  Line l;
  NpyArray at[ARRAYS_MOST];
  uint32_t n;
} Linked;

static void put(Linked *x, const char *name, const NpyArray *a) {
  void *data = arena_alloc(e2e, a->bytes);
  assert_true(x->n < ARRAYS_MOST);
  memcpy(data, a->data, a->bytes);
  x->at[x->n] = *a;
  x->at[x->n].name = name;
  x->at[x->n++].data = data;
}

/* An input's elements, to be changed. */
static void *edit(Linked *x, const char *name, uint64_t *bytes) {
  const NpyArray *a = npz_find(&(Npz){x->at, x->n}, name);
  assert_non_null(a);
  if (bytes != NULL) *bytes = a->bytes;
  return (void *)(uintptr_t)a->data;
}

static void scale(Linked *x, const char *name, float by) {
  uint64_t bytes = 0;
  float *at = edit(x, name, &bytes);
  for (uint64_t i = 0; i < bytes / sizeof *at; i++) at[i] *= by;
}

static vlpc_prompt_options method_of(const Host *h, const char *text) {
  vlpc_prompt_options o = prompt_options(e2e, text);
  o.models[0] = h->clip;
  o.output = e2e_file("module.onnx");
  e2e_ok(vlpc_prompt_write(e2e_compiler, &o));
  return o;
}

/* o names models, module and what else is asked for; values are the golden's. */
static Linked *linked(const Host *h, vlpc_compile_options o, const char *golden) {
  Linked *x = arena_one(e2e, Linked);
  Npz z = linked_golden(golden);
  o.models[0] = h->clip, o.passes = "--no-cut";
  o.prompt = e2e_file("module.onnx");
  x->l = line_open(e2e_compile(o, "layout.vlpc"), (vlpc_session_options){.device = "ref"});
  put(x, "image", npz_find(&h->inputs, "pixels"));
  put(x, "text", npz_find(&z, "tokens"));
  for (uint32_t i = 0; i < z.n; i++)
    if (strncmp(z.at[i].name, "param/", 6) == 0) put(x, z.at[i].name + 6, &z.at[i]);
  return x;
}

static Linked *method(const Host *h, const char *options, const char *golden) {
  (void)method_of(h, options);
  return linked(h, (vlpc_compile_options){0}, golden);
}

/* A copy of an entry's output. */
static NpyArray result(const Linked *x, const char *entry, const char *name) {
  line_run(&x->l, entry, &(Npz){(NpyArray *)(uintptr_t)x->at, x->n});
  vlpc_tensor t = line_output(&x->l, entry, name);
  NpyArray a = {.name = name, .dtype = t.dtype, .rank = (uint32_t)t.rank};
  memcpy(a.size, t.shape, sizeof a.size);
  a.bytes = (uint64_t)tensor_count(&t) * sizeof(float);
  void *data = arena_alloc(e2e, a.bytes);
  memcpy(data, t.data, a.bytes);
  a.data = data;
  return a;
}

/* The largest difference, of the largest element. */
static double apart(const NpyArray *a, const NpyArray *b) {
  const float *x = a->data, *y = b->data;
  double most = 0, far = 0;
  assert_int_equal(a->bytes, b->bytes);
  for (uint64_t i = 0; i < a->bytes / sizeof *x; i++) {
    most = fmax(most, fabs((double)x[i]));
    far = fmax(far, fabs((double)x[i] - y[i]));
  }
  return far / most;
}

/* ---- text rows ---------------------------------------------------------------------- */

enum { CONTEXT = 16, CLASSES = 5 };

/* The features when the word at a row of every text is another. */
static double moved_by_word(Linked *x, const NpyArray *before, int64_t row) {
  int64_t *ids = edit(x, "text", NULL);
  for (int64_t c = 0; c < CLASSES; c++) ids[c * CONTEXT + row] += 1;
  NpyArray now = result(x, "text", "text_features");
  for (int64_t c = 0; c < CLASSES; c++) ids[c * CONTEXT + row] -= 1;
  return apart(before, &now);
}

/* "a photo of a NAME.": rows 1 and 2 are learned, whatever words stand there; "of a" and
** the name are the text's own. */
static void maple_learns_a_photo_and_keeps_of_a(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(e2e));
  Host h = linked_tiny("ref");
  Linked *x = method(&h, "maple", "maple");
  NpyArray f = result(x, "text", "text_features");
  assert_true(moved_by_word(x, &f, 1) == 0 && moved_by_word(x, &f, 2) == 0);
  for (int64_t row = 3; row < 6; row++) assert_true(moved_by_word(x, &f, row) > 1e-3);
  scale(x, "ctx", 2);
  NpyArray now = result(x, "text", "text_features");
  assert_true(apart(&f, &now) > 1e-3);
  vlpc_module_info info = {.struct_size = sizeof info};
  assert_true(vlpc_artifact_module(x->l.a, &info));
  assert_int_equal(info.slot_rows, 2);
  assert_string_equal(info.slot_phrase, "a photo of a");
  line_close(&x->l);
}

/* Texts are one image's own: the entry takes its features, and gives other texts for
** another image. */
static void cocoop_lifts_the_texts(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(e2e));
  Host h = linked_tiny("ref");
  Linked *x = method(&h, "cocoop", "cocoop");
  NpyArray images = result(x, "image", "image_features"), one = images, text[3];
  one.size[0] = 1, one.bytes /= 3;
  put(x, "image_features", &one);
  for (int i = 0; i < 3; i++) {
    memcpy(edit(x, "image_features", NULL), (const uint8_t *)images.data + i * one.bytes,
           one.bytes);
    text[i] = result(x, "text", "text_features");
    assert_true(text[i].rank == 2 && text[i].size[0] == CLASSES);
  }
  assert_true(apart(&text[0], &text[1]) > 1e-3 && apart(&text[1], &text[2]) > 1e-3);
  scale(x, "meta_net.linear2.weight", 0); /* the shift is the bias, the same for all */
  scale(x, "image_features", -1);
  text[0] = result(x, "text", "text_features");
  scale(x, "image_features", -1);
  text[1] = result(x, "text", "text_features");
  assert_true(apart(&text[0], &text[1]) == 0);
  line_close(&x->l);
}

/* ---- image rows --------------------------------------------------------------------- */

/* A LayerNorm does not see its rows' scale, so V_0's does not matter, though its rows flow
** on through the blocks.  That of rows which enter behind it does. */
static void first_rows_enter_before_ln_pre(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(e2e));
  static const struct {
    const char *options, *golden, *rows;
    bool before;
  } row[] = {{"vpt-shallow", "vpt_shallow", "VPT", true},
             {"maple --depth 1", "maple_d1", "proj.weight", true},
             {"provp --length 3 --depth 2", "provp_m3_d2", "prompt_embeddings", false}};
  Host h = linked_tiny("ref");
  for (size_t i = 0; i < VL_COUNT(row); i++) {
    Linked *x = method(&h, row[i].options, row[i].golden);
    NpyArray f[2];
    for (int k = 0; k < 2; k++) { /* first so large that eps counts for nothing */
      scale(x, row[i].rows, k == 0 ? 10 : 4);
      if (i == 1) scale(x, "proj.bias", k == 0 ? 10 : 4);
      f[k] = result(x, "image", "image_features");
    }
    double far = apart(&f[0], &f[1]);
    if (row[i].before ? far > 1e-5 : far < 1e-3) fail_msg("%s: %g", row[i].options, far);
    vlpc_layout_row at = {.struct_size = sizeof at};
    uint32_t k = 0;
    while (vlpc_artifact_layout(x->l.a, k++, &at) && strcmp(at.action, "insert") != 0) continue;
    assert_string_equal(at.point, row[i].before ? "V.pre" : "V.0");
    line_close(&x->l);
  }
}

/* 0.01 of the rows as the block before left them, 0.99 of the layer's own. */
static void provp_mixes_1_and_99_of_100(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(e2e));
  enum { ROWS = 3, WIDTH = 64, IMAGES = 3 };
  Host h = linked_tiny("ref");
  Kit kit;
  assert_int_equal(kit_open(&kit), 0);
  Npz z = linked_golden("provp_m3_d2");
  vlpc_prompt_options o = method_of(&h, "provp --length 3 --depth 2");
  Ran r = kit_run(&kit, kit_with_params(&kit, o.output, &z, "m"), &z, "tap");
  const float *own = npz_find(&z, "param/prompt_embeddings")->data;
  const float *there = npz_find(&z, "tap/x1")->data;
  assert_int_equal(r.out[1].count, IMAGES * ROWS * WIDTH);
  for (int i = 0; i < IMAGES * ROWS * WIDTH; i++) {
    double p = own[ROWS * WIDTH + i % (ROWS * WIDTH)], want = 0.01 * there[i] + 0.99 * p;
    assert_true(fabs(r.out[1].f[i] - want) < 1e-6);
  }
  kit_close(&kit);
  Linked *x = linked(&h, (vlpc_compile_options){0}, "provp_m3_d2");
  vlpc_layout_row at = {.struct_size = sizeof at};
  uint32_t mixes = 0;
  for (uint32_t i = 0; vlpc_artifact_layout(x->l.a, i, &at); i++) {
    if (at.mix[0] == 0) continue;
    mixes++;
    assert_string_equal(at.point, "V.1");
    assert_true(fabs(at.mix[0] - 0.99) < 1e-6 && fabs(at.mix[1] - 0.01) < 1e-6);
  }
  assert_int_equal(mixes, 1);
  line_close(&x->l);
}

/* ---- class-aware rows ---------------------------------------------------------------- */

#define CAVPT "dpt-cavpt --length 3 --vision-length 4 --class-count 5 --top-classes 3"
enum { TOP = 3, WIDTH = 64, EMBED = 48 };

/* Rows of image 0 that change with the features of class c, a bit each. */
static unsigned changed_rows(Kit *kit, const char *module, const Npz *z, int c) {
  unsigned bits = 0;
  Ran first = kit_run(kit, module, z, "tap");
  float *g = (float *)(uintptr_t)npz_find(z, "tap/g")->data;
  for (int i = 0; i < EMBED; i++) g[c * EMBED + i] += 1;
  Ran now = kit_run(kit, module, z, "tap");
  for (int i = 0; i < EMBED; i++) g[c * EMBED + i] -= 1;
  const Named *name;
  uint32_t out = 0, n = ir_outputs(now.g, &name);
  while (out < n && strcmp(name[out].name, "v2") != 0) out++;
  assert_true(out < n && now.out[out].size[1] == TOP);
  for (int i = 0; i < TOP * WIDTH; i++)
    if (first.out[out].f[i] != now.out[out].f[i]) bits |= 1u << i / WIDTH;
  return bits;
}

/* A row for each of the likeliest classes, in their order; the others have none. */
static void cavpt_asks_for_the_likeliest_classes(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(e2e));
  static const float scores[CLASSES] = {1, 4, 3, 0, 5};
  static const unsigned rows[CLASSES] = {0, 2, 4, 0, 1};
  Host h = linked_tiny("ref");
  Kit kit;
  assert_int_equal(kit_open(&kit), 0);
  Npz z = linked_golden("dpt_cavpt");
  const char *module = kit_with_params(&kit, method_of(&h, CAVPT).output, &z, "m");
  memcpy((void *)(uintptr_t)npz_find(&z, "tap/scores")->data, scores, sizeof scores);
  for (int c = 0; c < CLASSES; c++)
    assert_int_equal(changed_rows(&kit, module, &z, c), rows[c]);
  kit_close(&kit);
}

/* The values' projection takes the mixed rows, as many as classes, not the keys. */
static void cavpt_projects_what_is_mixed(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(e2e));
  static const FeInput weight = {"extractor.attns.0.vmlp.weight", NULL};
  Host h = linked_tiny("ref");
  FeModel *m;
  Graph *g;
  uint32_t products = 0;
  assert_int_equal(fe_read(e2e, method_of(&h, CAVPT).output, NULL, NULL, &m), VLPC_OK);
  fe_inputs(m, &weight, 1);
  assert_int_equal(fe_import(m, &g), VLPC_OK);
  bool *of_weight = arena_array(e2e, bool, ir_n_vals(g) + 1);
  for (uint32_t i = 1; i <= ir_n_vals(g); i++) {
    const Named *in;
    Val v = {i};
    ir_inputs(g, &in);
    for (uint32_t k = 0; k < ir_n_in(g, v); k++) of_weight[i] |= of_weight[ir_in(g, v, k).i];
    for (uint32_t k = 0; k < ir_inputs(g, &in); k++)
      of_weight[i] |= in[k].v.i == i && strcmp(in[k].name, weight.name) == 0;
    if (ir_op(g, v) != OP_matmul || !of_weight[ir_in(g, v, 1).i]) continue;
    int64_t rows = 0;
    assert_true(!of_weight[ir_in(g, v, 0).i] && ir_size_const(g, ir_in(g, v, 0), 1, &rows));
    assert_int_equal(rows, TOP);
    products++;
  }
  assert_int_equal(products, 1);
  fe_close(m);
}

/* ---- what reaches the keys ------------------------------------------------------------ */

/* A loss that reads what the class-aware rows say, and nothing else. */
static void write_loss(const char *path) {
  Build b = build_new(e2e, 17);
  build_input(&b, "said", ONNX_FLOAT, "images,3,classes");
  build_node(&b, "Mul", "said,said", "square");
  Onnx__NodeProto *mean = build_node(&b, "ReduceMean", "square", "loss");
  build_attr_int(e2e, mean, "keepdims", 0);
  build_output(&b, "loss", ONNX_FLOAT, "");
  build_write(&b, path);
}

/* The module's declaration with that loss, and with another word for the keys' gradient. */
static const char *write_spec(const char *module, const char *grad) {
  Kit kit = {.arena = e2e};
  json_t *d = json_deep_copy(kit_declaration(&kit, module));
  json_t *loss = json_pack("{s:s, s:[{s:s, s:s}]}", "file", "said.loss.onnx", "taps", "input",
                           "said", "from", "aux.layer_logits");
  size_t i = 0;
  json_t *tap;
  json_array_foreach(json_object_get(d, "taps"), i, tap)
    if (strcmp(json_string_value(json_object_get(tap, "input")), "x") == 0)
      json_object_set_new(tap, "grad", json_string(grad));
  json_object_set_new(d, "loss", loss);
  const char *path = e2e_file("%s.json", grad);
  assert_int_equal(json_dump_file(d, path, 0), 0);
  json_decref(d);
  return path;
}

static bool is_zero(const Linked *x, const char *name) {
  NpyArray g = result(x, "train", name);
  for (uint64_t i = 0; i < g.bytes / sizeof(float); i++)
    if (((const float *)g.data)[i] != 0) return false;
  return true;
}

static bool has_output(const Linked *x, const char *entry, const char *name) {
  vlpc_port p = {.struct_size = sizeof p};
  for (uint32_t i = 0; vlpc_artifact_port(x->l.a, entry, VLPC_OUTPUT, i, &p); i++)
    if (strcmp(p.name, name) == 0) return true;
  return false;
}

/* The image tower's rows reach the class-aware ones through the keys alone, which are
** detached: they have no gradient.  They have one where the keys pass it. */
static void cavpt_detaches_its_keys(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(e2e));
  Host h = linked_tiny("ref");
  const char *module = method_of(&h, CAVPT).output;
  write_loss(e2e_file("said.loss.onnx"));
  for (int pass = 0; pass < 2; pass++) {
    const char *spec = write_spec(module, pass ? "pass" : "stop");
    Linked *x = linked(&h, (vlpc_compile_options){.prompt_spec = spec, .train = 1}, "dpt_cavpt");
    Npz z = linked_golden("dpt_cavpt");
    put(x, "labels", npz_find(&z, "labels"));
    NpyArray frozen = result(x, "frozen_text", "frozen_text_features");
    put(x, "frozen_text_features", &frozen);
    assert_true(has_output(x, "train", "grad.visual.ctx") == pass); /* nothing else reaches it */
    if (pass) assert_false(is_zero(x, "grad.visual.ctx"));
    assert_false(is_zero(x, "grad.extractor.attns.0.vmlp.weight"));
    assert_false(is_zero(x, "grad.extractor.ctx"));
    assert_false(is_zero(x, "grad.ctx")); /* queries are not detached */
    line_close(&x->l);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(maple_learns_a_photo_and_keeps_of_a),
      cmocka_unit_test(cocoop_lifts_the_texts),
      cmocka_unit_test(first_rows_enter_before_ln_pre),
      cmocka_unit_test(provp_mixes_1_and_99_of_100),
      cmocka_unit_test(cavpt_asks_for_the_likeliest_classes),
      cmocka_unit_test(cavpt_projects_what_is_mixed),
      cmocka_unit_test(cavpt_detaches_its_keys),
  };
  return cmocka_run_group_tests(tests, e2e_set_up, e2e_tear_down);
}
