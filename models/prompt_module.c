/* SPDX-License-Identifier: Apache-2.0 */
/* prompt_module.c - graph and declaration of a module, added to together. */
#include <math.h>
#include <string.h>

#include "models/prompt_int.h"

static void free_json(void *j) {
  json_decref(j);
}

static json_t *list(Arena *a) {
  json_t *j = json_array();
  if (j != NULL) arena_defer(a, free_json, j);
  return j;
}

Module *module_new(Arena *a, const PromptPlan *p, const char *name) {
  Module *m = arena_one(a, Module);
  OnnxOptions o = {.name = name, .opset = MODELS_OPSET, .dtype = VLPC_F32, .seed = p->seed};
  m->arena = a;
  m->plan = p;
  m->g = onnx_new(a, &o);
  m->trainable = list(a);
  m->taps = list(a);
  m->writes = list(a);
  m->incomplete = m->trainable == NULL || m->taps == NULL || m->writes == NULL;
  return m;
}

static void set(Module *m, json_t *object, const char *key, json_t *value) {
  if (json_object_set_new(object, key, value) != 0) m->incomplete = true;
}

static void append(Module *m, json_t *array, json_t *value) {
  if (json_array_append_new(array, value) != 0) m->incomplete = true;
}

/* ---- trainables ----------------------------------------------------------- */

PromptInit init_normal(double sd) {
  return (PromptInit){"normal", sd, NULL};
}
PromptInit init_uniform(double bound) {
  return (PromptInit){"uniform", bound, NULL};
}
PromptInit init_linear(int64_t fan_in) {
  return init_uniform(1 / sqrt((double)fan_in));
}
PromptInit init_fill(double value) {
  return (PromptInit){"fill", value, NULL};
}
PromptInit init_words(const char *phrase) {
  return (PromptInit){"words", 0, phrase};
}
PromptInit init_copy(const char *trainable) {
  return (PromptInit){"copy", 0, trainable};
}

static json_t *init_json(Module *m, const PromptInit *i) {
  json_t *j = json_object();
  set(m, j, i->kind, i->source != NULL ? json_string(i->source) : json_real(i->amount));
  if (strcmp(i->kind, "words") == 0) set(m, j, "first", json_integer(0));
  return j;
}

/* Words that are not known yet are zeros. */
static OnnxFill *fill_of(const PromptInit *i) {
  if (strcmp(i->kind, "normal") == 0) return onnx_normal;
  if (strcmp(i->kind, "uniform") == 0) return onnx_uniform;
  return onnx_fill;
}

/* The start that a copy stands for: its source's, with the source's numbers. */
static PromptInit resolve(const Module *m, PromptInit init) {
  if (strcmp(init.kind, "copy") != 0) return init;
  for (size_t k = 0; k < json_array_size(m->trainable); k++) {
    const json_t *t = json_array_get(m->trainable, k), *value = NULL;
    if (strcmp(json_string_value(json_object_get(t, "name")), init.source) != 0) continue;
    value = json_object_get(json_object_get(t, "init"), "uniform");
    return init_uniform(json_real_value(value));
  }
  VL_UNREACHABLE("a copy comes after what it copies");
}

const char *module_trainable(Module *m, const Trainable *t) {
  PromptInit init = resolve(m, t->init);
  bool copied = strcmp(t->init.kind, "copy") == 0;
  OnnxWeight w = {.name = t->name, .rank = t->rank, .fill = fill_of(&init)};
  memcpy(w.size, t->size, sizeof w.size);
  if (w.fill == onnx_fill)
    w.center = init.amount;
  else
    w.spread = init.amount;
  w.stream = copied ? t->init.source : NULL;
  if (strcmp(init.kind, "words") == 0 && m->plan->words != NULL) {
    w.fill = onnx_copy;
    w.data = m->plan->words;
  }
  json_t *j = json_object();
  set(m, j, "name", json_string(t->name));
  set(m, j, "init", init_json(m, &t->init));
  if (t->class_rows) set(m, j, "class_rows", json_true());
  if (t->fixed) set(m, j, "fixed", json_true());
  append(m, m->trainable, j);
  return onnx_weight(m->g, &w);
}

/* ---- taps and writes ------------------------------------------------------ */

const char *module_tap(Module *m, const Tap *t) {
  json_t *j = json_object();
  set(m, j, "input", json_string(t->port.name));
  set(m, j, "from", json_string(t->from));
  if (t->segment != NULL) set(m, j, "segment", json_string(t->segment));
  if (t->stop) set(m, j, "grad", json_string("stop"));
  append(m, m->taps, j);
  onnx_input(m->g, &t->port);
  return t->port.name;
}

const char *module_output(Module *m, const char *x, const OnnxPort *p) {
  M_OP1("Identity", x);
  onnx_rename(m->g, p->name);
  onnx_output(m->g, p);
  return p->name;
}

static json_t *site(Module *m, const char *point, const char *segment) {
  json_t *j = json_object();
  set(m, j, "point", json_string(point));
  if (segment != NULL) set(m, j, "segment", json_string(segment));
  return j;
}

void module_write(Module *m, const char *point, const char *segment, const char *value) {
  json_t *j = site(m, point, segment);
  set(m, j, "value", json_string(value));
  append(m, m->writes, j);
}

void module_drop(Module *m, const char *point) {
  json_t *j = site(m, point, "prompt");
  set(m, j, "drop", json_true());
  append(m, m->writes, j);
}

const char *text_point(Module *m, int64_t layer) {
  return layer == 0 ? "T.emb" : arena_printf(m->arena, "T.%d", (int)layer);
}

const char *vision_point(Module *m, int64_t layer) {
  return arena_printf(m->arena, "V.%d", (int)layer);
}

void module_text_rows(Module *m, int64_t layer, const char *x) {
  const PromptPlan *p = m->plan;
  OnnxPort port = {.name = arena_printf(m->arena, "t%d", (int)layer), .dtype = VLPC_F32};
  if (p->class_rows) port.size[port.rank++] = p->classes;
  port.size[port.rank++] = p->text.rows;
  port.size[port.rank++] = p->host.text_width;
  module_write(m, text_point(m, layer), "slot", module_output(m, x, &port));
}

void module_vision_rows(Module *m, const char *point, int64_t layer, const char *x) {
  const PromptPlan *p = m->plan;
  OnnxPort port = {.name = arena_printf(m->arena, "v%d", (int)layer),
                   .dtype = VLPC_F32,
                   .rank = 2,
                   .size = {p->vision.rows, p->host.vision_width}};
  module_write(m, point, "prompt", module_output(m, x, &port));
}

/* ---- small graphs --------------------------------------------------------- */

const char *module_linear(Module *m, const char *x, const char *weight, const char *bias) {
  const char *y = M_OP2("MatMul", x, onnx_transpose(m->g, weight, 2, (int64_t[]){1, 0}));
  return bias != NULL ? M_OP2("Add", y, bias) : y;
}

const char *module_part(Module *m, const char *x, int64_t i) {
  return onnx_gather(m->g, x, onnx_int(m->g, i), 0);
}

const char *module_unit(Module *m, const char *x) {
  const char *squares = M_OP2("ReduceSum", M_OP2("Mul", x, x), onnx_ints(m->g, 1, (int64_t[]){-1}));
  onnx_attr_int(m->g, "keepdims", 1);
  return M_OP2("Div", x, M_OP1("Sqrt", squares));
}

const char *module_scaled(Module *m, const char *x, double by) {
  return M_OP2("Mul", x, onnx_float(m->g, (float)by));
}
