/* SPDX-License-Identifier: Apache-2.0 */
/* linked_kit.c - see linked_kit.h.
**
** Entries are run in the order in which their inputs come to be there: trainables and what
** they alone decide come with the prompt set, an input that has the name of another
** entry's output is that output. */
#include "tests/prompts/linked_kit.h"

#include <math.h>
#include <string.h>

#include "base/safetensors.h"
#include "tests/e2e/e2e_kit.h"
#include "tests/prompts/prompt_kit.h"

enum { VALUES_MOST = 256 };

typedef struct {
  NpyArray at[VALUES_MOST];
  uint32_t n;
} Values;

/* ---- values by name --------------------------------------------------------- */

static void put(Values *v, const char *name, const NpyArray *x) {
  uint32_t i = 0;
  while (i < v->n && strcmp(v->at[i].name, name) != 0) i++;
  assert_true(i < VALUES_MOST);
  v->at[i] = *x;
  v->at[i].name = name;
  v->n = VL_MAX(v->n, i + 1);
}

/* A copy of an entry's output. */
static NpyArray kept(const vlpc_tensor *t) {
  NpyArray x = {.dtype = t->dtype, .rank = (uint32_t)t->rank};
  memcpy(x.size, t->shape, sizeof x.size);
  x.bytes = (uint64_t)tensor_count(t) * dtype_size(t->dtype);
  void *data = arena_alloc(e2e, x.bytes);
  memcpy(data, t->data, x.bytes);
  x.data = data;
  return x;
}

static const NpyArray *value(const Values *v, const char *name) {
  for (uint32_t i = 0; i < v->n; i++)
    if (strcmp(v->at[i].name, name) == 0) return &v->at[i];
  return NULL;
}

/* ---- entries ----------------------------------------------------------------- */

/* Trainables and outputs of the entry `prompts`. */
static bool is_of_the_set(const Values *v, const char *name) {
  if (strncmp(name, "prompts.", strlen("prompts.")) == 0) return true;
  return value(v, arena_printf(e2e, "param/%s", name)) != NULL;
}

static bool is_ready(const Line *l, const char *entry, const Values *v) {
  vlpc_port p = {.struct_size = sizeof p};
  uint32_t i = 0;
  for (; vlpc_artifact_port(l->a, entry, VLPC_INPUT, i, &p); i++)
    if (!is_of_the_set(v, p.name) && value(v, p.name) == NULL) return false;
  return i > 0;
}

static void session_ok(const Line *l, vlpc_status s) {
  if (s != VLPC_OK) fail_msg("%s", vlpc_session_error(l->s));
}

static void run_entry(const Line *l, const char *entry, Values *v) {
  vlpc_port p = {.struct_size = sizeof p};
  vlpc_tensor t;
  for (uint32_t i = 0; vlpc_artifact_port(l->a, entry, VLPC_INPUT, i, &p); i++) {
    if (is_of_the_set(v, p.name)) continue;
    const NpyArray *x = value(v, p.name);
    t = (vlpc_tensor){.data = (void *)(uintptr_t)x->data, .dtype = x->dtype};
    t.rank = (int32_t)x->rank;
    memcpy(t.shape, x->size, sizeof t.shape);
    session_ok(l, vlpc_session_set_input(l->s, entry, p.name, &t));
  }
  session_ok(l, vlpc_session_run(l->s, entry));
  for (uint32_t i = 0; vlpc_artifact_port(l->a, entry, VLPC_OUTPUT, i, &p); i++) {
    session_ok(l, vlpc_session_output(l->s, entry, p.name, &t));
    NpyArray x = kept(&t);
    put(v, arena_strdup(e2e, p.name), &x);
  }
}

/* The parameters among the values as a prompt set. */
static void set_prompts(const Line *l, const char *method, const Values *v) {
  SafeText text[] = {{"vlpc_prompt", "1"}, {"method", method}};
  Safetensors set = {arena_array(e2e, SafeTensor, v->n + 1), 0, text, VL_COUNT(text)};
  const char *path = e2e_file("set.safetensors");
  vlpc_prompts *p;
  for (uint32_t i = 0; i < v->n; i++) {
    const NpyArray *x = &v->at[i];
    if (strncmp(x->name, "param/", 6) != 0) continue;
    SafeTensor *t = &set.at[set.n++];
    *t = (SafeTensor){.name = x->name + 6, .dtype = x->dtype, .rank = x->rank, .data = x->data};
    t->bytes = x->bytes;
    memcpy(t->size, x->size, sizeof t->size);
  }
  if (set.n == 0) return;
  assert_int_equal(safetensors_write(path, &set, e2e, NULL), VLPC_OK);
  if (vlpc_prompts_open(path, &p) != VLPC_OK) fail_msg("%s", vlpc_prompts_error(p));
  session_ok(l, vlpc_session_set_prompts(l->s, p));
  vlpc_prompts_close(p);
}

/* Texts of one image after the other: [images, classes, width]. */
static void run_lifted(const Line *l, Values *v) {
  NpyArray images = *value(v, "image_features"), one = images, all = {0};
  uint64_t row = images.bytes / (uint64_t)images.size[0];
  one.size[0] = 1, one.bytes = row;
  for (int64_t b = 0; b < images.size[0]; b++) {
    one.data = (const uint8_t *)images.data + (uint64_t)b * row;
    put(v, "image_features", &one);
    run_entry(l, "text", v);
    NpyArray texts = *value(v, "text_features");
    if (b == 0) {
      all = (NpyArray){.dtype = VLPC_F32, .rank = 3};
      all.bytes = texts.bytes * (uint64_t)images.size[0];
      all.size[0] = images.size[0], all.size[1] = texts.size[0], all.size[2] = texts.size[1];
      all.data = arena_alloc(e2e, all.bytes);
    }
    memcpy((uint8_t *)(uintptr_t)all.data + (uint64_t)b * texts.bytes, texts.data, texts.bytes);
  }
  put(v, "image_features", &images);
  put(v, "text_features", &all);
}

/* The frozen texts are the templates', not those with a slot. */
static void run_frozen(const Line *l, const Npz *golden, Values *v) {
  NpyArray slot = *value(v, "text");
  const NpyArray *plain = npz_find(golden, "template_tokens");
  if (plain != NULL) put(v, "text", plain);
  run_entry(l, "frozen_text", v);
  put(v, "text", &slot);
}

/* Runs what can be run until nothing more can. */
static void run_all(const Line *l, const Npz *golden, bool lift, Values *v) {
  static const char *const name[] = {"frozen_text", "image", "text", "model"};
  bool done[VL_COUNT(name)] = {0}, more = true;
  while (more) {
    more = false;
    for (size_t i = 0; i < VL_COUNT(name); i++) {
      if (done[i] || !is_ready(l, name[i], v)) continue;
      done[i] = more = true;
      if (strcmp(name[i], "frozen_text") == 0)
        run_frozen(l, golden, v);
      else if (lift && strcmp(name[i], "text") == 0)
        run_lifted(l, v);
      else
        run_entry(l, name[i], v);
    }
  }
}

/* ---- one case ---------------------------------------------------------------- */

static void near_largest(const Host *h, const NpyArray *got, const NpyArray *want,
                         const char *what) {
  const float *g, *w;
  double most = 0, apart = 0;
  if (got == NULL || want == NULL) fail_msg("%s: not there", what);
  g = got->data, w = want->data;
  assert_int_equal(got->rank, want->rank);
  for (uint32_t i = 0; i < got->rank; i++) assert_int_equal(got->size[i], want->size[i]);
  for (uint64_t i = 0; i < want->bytes / sizeof *w; i++) {
    most = fmax(most, fabs((double)w[i]));
    apart = fmax(apart, fabs((double)g[i] - w[i]));
  }
  if (apart <= h->near * most) return;
  fail_msg("%s: %.3g of the largest element apart", what, apart / most);
}

const char *linked_module(const Host *h, const PromptCase *c) {
  vlpc_prompt_options o = c->o;
  o.models[0] = h->clip;
  o.output = e2e_file("module.onnx");
  e2e_ok(vlpc_prompt_write(e2e_compiler, &o));
  return o.output;
}

/* How many there are. */
static uint32_t take_params(const Npz *z, Values *v) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < z->n; i++) {
    if (strncmp(z->at[i].name, "param/", 6) != 0) continue;
    put(v, z->at[i].name, &z->at[i]);
    n++;
  }
  return n;
}

static void take_inputs(const Host *h, const PromptCase *c, const Npz *golden, Values *v) {
  const NpyArray *tokens = npz_find(golden, "tokens");
  NpyArray lengths = kit_name_lengths(e2e, tokens, c->o.place != NULL ? c->o.length : 0);
  put(v, "image", npz_find(&h->inputs, "pixels"));
  put(v, "text", tokens);
  put(v, "name_lengths", &lengths);
}

static double norm(const float *x, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
  return sqrt(sum);
}

/* Scores of texts that each image has of its own, which no entry gives. */
static void score_lifted(const Host *h, Values *v) {
  const NpyArray *image = value(v, "image_features"), *text = value(v, "text_features");
  int64_t images = text->size[0], classes = text->size[1], width = text->size[2];
  float *out = arena_array(e2e, float, images * classes);
  for (int64_t i = 0; i < images * classes; i++) {
    const float *f = (const float *)image->data + i / classes * width;
    const float *g = (const float *)text->data + i * width;
    double dot = 0;
    for (int64_t k = 0; k < width; k++) dot += (double)f[k] * g[k];
    out[i] = (float)(h->scale * dot / (norm(f, width) * norm(g, width)));
  }
  NpyArray x = {.dtype = VLPC_F32, .rank = 2, .size = {images, classes}, .data = out};
  x.bytes = (uint64_t)(images * classes) * sizeof *out;
  put(v, "logits_per_image", &x);
}

/* Whatever the goldens have of these. */
static void check_results(const Host *h, const PromptCase *c, const Npz *z, Values *v) {
  static const struct {
    const char *golden, *value, *title;
  } row[] = {{"image", "image_features", "image features"},
             {"text", "text_features", "text features"},
             {"logits", "logits_per_image", "scores"}};
  uint32_t held = 0;
  for (size_t i = 0; i < VL_COUNT(row); i++) {
    const NpyArray *want = npz_find(z, row[i].golden);
    if (want == NULL) continue;
    if (i > 0 && strcmp(c->o.method, "zero-shot-ensemble") == 0) continue; /* averaged outside */
    near_largest(h, value(v, row[i].value), want,
                 arena_printf(e2e, "%s, %s", c->name, row[i].title));
    held++;
  }
  assert_true(held > 0);
}

const char *linked_artifact(const Host *h, const char *module) {
  vlpc_compile_options k = {.models = {h->clip}, .prompt = module, .passes = h->passes};
  return e2e_compile(k, "prompted.vlpc");
}

void linked_run(const Host *h, const PromptCase *c, const char *artifact, const char *module,
                const Npz *z) {
  Values *v = arena_one(e2e, Values);
  Line l = line_open(artifact, (vlpc_session_options){.device = h->device});
  take_inputs(h, c, z, v);
  if (take_params(z, v) == 0) {
    Kit kit = {.arena = e2e};
    Npz start = kit_start(&kit, module);
    (void)take_params(&start, v);
  }
  set_prompts(&l, c->o.method, v);
  bool lift = strcmp(c->o.method, "cocoop") == 0;
  run_all(&l, z, lift, v);
  if (lift) score_lifted(h, v);
  check_results(h, c, z, v);
  line_close(&l);
}

void linked_case(const Host *h, const PromptCase *c, const char *module, const Npz *z) {
  linked_run(h, c, linked_artifact(h, module), module, z);
}

/* ---- the tiny CLIP --------------------------------------------------------------- */

Host linked_tiny(const char *device) {
  Host h = {.device = device, .near = LINKED_NEAR, .scale = 100};
  h.clip = arena_printf(e2e, "%s/model.onnx", e2e_tiny("tiny", false, 0));
  assert_int_equal(npz_read(LINKED_DATA "inputs.npz", e2e, NULL, &h.inputs), VLPC_OK);
  return h;
}

Npz linked_golden(const char *name) {
  Npz z;
  assert_int_equal(npz_read(arena_printf(e2e, LINKED_DATA "%s.npz", name), e2e, NULL, &z), VLPC_OK);
  return z;
}

Npz linked_part(const Npz *all, const char *name) {
  Npz z = {arena_array(e2e, NpyArray, all->n), 0};
  size_t n = strlen(name);
  for (uint32_t i = 0; i < all->n; i++) {
    if (strncmp(all->at[i].name, name, n) != 0 || all->at[i].name[n] != '/') continue;
    z.at[z.n] = all->at[i];
    z.at[z.n++].name += n + 1;
  }
  return z;
}
