/* SPDX-License-Identifier: Apache-2.0 */
/* prompt_kit.c - see prompt_kit.h. */
#include "prompt_kit.h"

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/io.h"
#include "onnx.pb-c.h"

#define NEAR 2e-6 /* of the largest element: goldens are float32 */

/* ---- folder ----------------------------------------------------------------- */

int kit_open(Kit *k) {
  *k = (Kit){.arena = arena_new(0), .diag = diag_new(), .folder = "vlpc-prompts-XXXXXX"};
  return k->arena == NULL || k->diag == NULL || mkdtemp(k->folder) == NULL;
}

const char *kit_path(const Kit *k, const char *name) {
  return arena_printf(k->arena, "%s/%s", k->folder, name);
}

int kit_close(Kit *k) {
  DIR *d = opendir(k->folder);
  for (const struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
    if (e->d_name[0] != '.') remove(kit_path(k, e->d_name));
  if (d != NULL) closedir(d);
  arena_free(k->arena);
  diag_free(k->diag);
  return rmdir(k->folder);
}

/* ---- options ---------------------------------------------------------------- */

PromptOptions kit_inner(Kit *k, const char *size, const vlpc_prompt_options *p) {
  PromptOptions o = {.method = p->method,
                     .length = p->length,
                     .depth = p->depth,
                     .vision_length = p->vision_length,
                     .vision_depth = p->vision_depth,
                     .place = p->place,
                     .phrase = p->phrase,
                     .class_rows = p->class_rows != 0,
                     .classes = p->classes,
                     .top = p->top_classes,
                     .keys = p->keys,
                     .seed = p->seed};
  assert_int_equal(models_clip_host(size, k->diag, &o.host), VLPC_OK);
  return o;
}

PromptOptions kit_options(Kit *k, const char *size, const char *text) {
  vlpc_prompt_options p = prompt_options(k->arena, text);
  return kit_inner(k, size, &p);
}

/* ---- files ------------------------------------------------------------------ */

const char *kit_write(Kit *k, const PromptOptions *o, const char *name) {
  PromptOptions p = *o;
  p.output = kit_path(k, arena_printf(k->arena, "%s.onnx", name));
  VlStatus s = models_write_prompt(&p, k->diag);
  assert_string_equal(diag_text(k->diag), "");
  assert_int_equal(s, VLPC_OK);
  return p.output;
}

static Onnx__ModelProto *unpack(Kit *k, const char *path) {
  uint8_t *bytes;
  size_t n;
  assert_int_equal(io_read(path, (uint64_t)1 << 30, k->arena, k->diag, &bytes, &n), VLPC_OK);
  Onnx__ModelProto *m = onnx__model_proto__unpack(NULL, n, bytes);
  assert_non_null(m);
  return m;
}

static void drop(Onnx__ModelProto *m) {
  onnx__model_proto__free_unpacked(m, NULL);
}

static void drop_json(void *j) {
  json_decref(j);
}

const json_t *kit_declaration(Kit *k, const char *path) {
  Onnx__ModelProto *m = unpack(k, path);
  assert_int_equal(m->n_metadata_props, 1);
  assert_string_equal(m->metadata_props[0]->key, "vlpc.prompt");
  json_t *j = json_loads(m->metadata_props[0]->value, JSON_REJECT_DUPLICATES, NULL);
  assert_non_null(j);
  arena_defer(k->arena, drop_json, j);
  drop(m);
  return j;
}

const char *kit_with_params(Kit *k, const char *path, const Npz *z, const char *name) {
  Onnx__ModelProto *m = unpack(k, path);
  uint32_t replaced = 0, given = 0;
  for (uint32_t i = 0; i < z->n; i++) given += strncmp(z->at[i].name, "param/", 6) == 0;
  for (size_t i = 0; i < m->graph->n_initializer; i++) {
    Onnx__TensorProto *t = m->graph->initializer[i];
    const NpyArray *p = npz_find(z, arena_printf(k->arena, "param/%s", t->name));
    if (p == NULL) continue;
    assert_int_equal(p->bytes, t->raw_data.len);
    assert_int_equal(p->rank, t->n_dims);
    for (uint32_t d = 0; d < p->rank; d++) assert_int_equal(p->size[d], t->dims[d]);
    memcpy(t->raw_data.data, p->data, p->bytes);
    replaced++;
  }
  assert_int_equal(replaced, given);
  size_t n = onnx__model_proto__get_packed_size(m);
  uint8_t *bytes = arena_alloc(k->arena, n);
  onnx__model_proto__pack(m, bytes);
  drop(m);
  const char *to = kit_path(k, arena_printf(k->arena, "%s.onnx", name));
  assert_int_equal(io_write_file(to, bytes, n, k->diag), VLPC_OK);
  return to;
}

static uint64_t tensor_count(const Onnx__TensorProto *t) {
  uint64_t n = 1;
  for (size_t d = 0; d < t->n_dims; d++) n *= (uint64_t)t->dims[d];
  return n;
}

static const Onnx__TensorProto *find(const Onnx__ModelProto *m, const char *name) {
  for (size_t i = 0; i < m->graph->n_initializer; i++)
    if (strcmp(m->graph->initializer[i]->name, name) == 0) return m->graph->initializer[i];
  fail_msg("no initializer %s", name);
  return NULL;
}

int64_t kit_count_learned(Kit *k, const char *path) {
  Onnx__ModelProto *m = unpack(k, path);
  const json_t *list = json_object_get(kit_declaration(k, path), "trainable");
  int64_t n = 0;
  for (size_t i = 0; i < json_array_size(list); i++) {
    const json_t *t = json_array_get(list, i);
    if (json_is_true(json_object_get(t, "fixed"))) continue;
    n += (int64_t)tensor_count(find(m, json_string_value(json_object_get(t, "name"))));
  }
  drop(m);
  return n;
}

const float *kit_initializer(Kit *k, const char *path, const char *name, uint64_t *n) {
  Onnx__ModelProto *m = unpack(k, path);
  const Onnx__TensorProto *t = find(m, name);
  *n = tensor_count(t);
  float *out = arena_array(k->arena, float, *n);
  memcpy(out, t->raw_data.data, *n * sizeof *out);
  drop(m);
  return out;
}

Npz kit_start(Kit *k, const char *path) {
  Onnx__ModelProto *m = unpack(k, path);
  const json_t *list = json_object_get(kit_declaration(k, path), "trainable");
  Npz z = {arena_array(k->arena, NpyArray, json_array_size(list) + 1), 0};
  for (size_t i = 0; i < json_array_size(list); i++) {
    const char *name = json_string_value(json_object_get(json_array_get(list, i), "name"));
    const Onnx__TensorProto *t = find(m, name);
    NpyArray *x = &z.at[z.n++];
    *x = (NpyArray){.dtype = VLPC_F32, .rank = (uint32_t)t->n_dims, .bytes = t->raw_data.len};
    x->name = arena_printf(k->arena, "param/%s", name);
    for (size_t d = 0; d < t->n_dims; d++) x->size[d] = t->dims[d];
    void *data = arena_alloc(k->arena, x->bytes);
    if (x->bytes > 0) memcpy(data, t->raw_data.data, x->bytes);
    x->data = data;
  }
  drop(m);
  return z;
}

/* ---- computing -------------------------------------------------------------- */

Ran kit_run(Kit *k, const char *path, const Npz *z, const char *prefix) {
  FeModel *m;
  Ran r = {NULL, NULL};
  const Named *in;
  assert_int_equal(fe_read(k->arena, path, NULL, k->diag, &m), VLPC_OK);
  VlStatus s = fe_import(m, &r.g);
  assert_string_equal(diag_text(k->diag), "");
  assert_int_equal(s, VLPC_OK);
  uint32_t n = ir_inputs(r.g, &in);
  RefTensor *at = arena_array(k->arena, RefTensor, n + 1);
  for (uint32_t i = 0; i < n; i++) {
    const NpyArray *a = npz_find(z, arena_printf(k->arena, "%s/%s", prefix, in[i].name));
    if (a == NULL) fail_msg("%s: nothing for the input %s", path, in[i].name);
    at[i] = ref_from_bytes(k->arena, a->dtype, a->rank, a->size, a->data);
  }
  const Named *named;
  RefTensor *out = arena_array(k->arena, RefTensor, ir_outputs(r.g, &named) + 1);
  s = ir_eval(r.g, k->arena, EVAL_DOUBLE, at, out, k->diag);
  assert_string_equal(diag_text(k->diag), "");
  assert_int_equal(s, VLPC_OK);
  r.out = out;
  fe_close(m);
  return r;
}

void kit_near(const char *what, const RefTensor *got, const NpyArray *want, Arena *a) {
  RefTensor w = ref_from_bytes(a, want->dtype, want->rank, want->size, want->data);
  double most = 0;
  assert_int_equal(got->rank, w.rank);
  for (uint32_t d = 0; d < w.rank; d++) assert_int_equal(got->size[d], w.size[d]);
  for (int64_t i = 0; i < w.count && w.f != NULL; i++) most = fmax(most, fabs(w.f[i]));
  for (int64_t i = 0; i < w.count; i++) {
    if (w.f == NULL) {
      assert_int_equal(got->i[i], w.i[i]);
      continue;
    }
    if (!(fabs(got->f[i] - w.f[i]) <= NEAR * most))
      fail_msg("%s: element %d is %.9g, not %.9g", what, (int)i, got->f[i], w.f[i]);
  }
}

void kit_expect(Kit *k, const Ran *r, const Npz *z, const char *prefix) {
  const Named *named;
  uint32_t n = ir_outputs(r->g, &named), given = 0;
  for (uint32_t i = 0; i < n; i++) {
    const char *name = arena_printf(k->arena, "%s%s", prefix, named[i].name);
    const NpyArray *want = npz_find(z, name);
    if (want == NULL) fail_msg("nothing is known of the output %s", name);
    kit_near(name, &r->out[i], want, k->arena);
  }
  for (uint32_t i = 0; i < z->n && *prefix != '\0'; i++)
    given += strncmp(z->at[i].name, prefix, strlen(prefix)) == 0;
  if (*prefix != '\0') assert_int_equal(n, given);
}

NpyArray kit_name_lengths(Arena *a, const NpyArray *tokens, int64_t rows) {
  const int64_t *ids = tokens->data;
  int64_t n = tokens->size[0], context = tokens->size[1], *out = arena_array(a, int64_t, n);
  for (int64_t c = 0; c < n; c++) {
    int64_t end = 0;
    for (int64_t i = 0; i < context; i++)
      if (ids[c * context + i] > ids[c * context + end]) end = i;
    out[c] = end - 2 - rows;
  }
  return (NpyArray){.dtype = VLPC_I64, .rank = 1, .size = {n}, .data = out,
                    .bytes = (uint64_t)n * sizeof *out};
}
