/* SPDX-License-Identifier: Apache-2.0 */
/* prompt.c - a prompt module and its losses as files.
**
** The declaration goes into the module's metadata (docs/prompt-modules.md). */
#include <string.h>

#include "models/prompt_int.h"

enum { PROMPT_VERSION = 1 };

static const char *const ensemble[] = {
#define ENSEMBLE(text) text,
#include "models/prompt_templates.def"
};

static const char *const teacher[] = {
#define TEACHER(text) text,
#include "models/prompt_templates.def"
};

typedef struct {
  Arena *arena;
  Diag *d;
  const PromptPlan *plan;
  const char *stem; /* of the files: the output without ".onnx" */
  bool whole_batch; /* some loss needs it */
  bool incomplete;
} Writer;

static void set(Writer *w, json_t *object, const char *key, json_t *value) {
  if (json_object_set_new(object, key, value) != 0) w->incomplete = true;
}

static void free_json(void *j) {
  json_decref(j);
}

/* An object that goes with the arena. */
static json_t *object(Writer *w) {
  json_t *j = json_object();
  if (j != NULL) arena_defer(w->arena, free_json, j);
  return j;
}

static const char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash != NULL ? slash + 1 : path;
}

/* ---- the declaration -------------------------------------------------------- */

static json_t *slot(Writer *w) {
  const PromptPlan *p = w->plan;
  json_t *j = json_object();
  set(w, j, "rows", json_integer(p->text.rows));
  set(w, j, "place", json_string(p->place));
  if (p->phrase != NULL) set(w, j, "phrase", json_string(p->phrase));
  return j;
}

static json_t *template_list(Writer *w, const char *const *text, size_t n) {
  json_t *j = json_array();
  for (size_t i = 0; i < n; i++)
    if (json_array_append_new(j, json_string(text[i])) != 0) w->incomplete = true;
  return j;
}

static json_t *declaration(Writer *w, Module *m, json_t *loss) {
  json_t *j = object(w);
  set(w, j, "vlpc_prompt", json_integer(PROMPT_VERSION));
  set(w, j, "method", json_string(w->plan->method->name));
  if (w->plan->text.rows > 0) set(w, j, "slot", slot(w));
  size_t n = w->plan->method->build == prompt_ensemble ? VL_COUNT(ensemble) : 1;
  if (w->plan->method->loss == loss_none) set(w, j, "templates", template_list(w, ensemble, n));
  set(w, j, "trainable", json_incref(m->trainable));
  set(w, j, "taps", json_incref(m->taps));
  set(w, j, "writes", json_incref(m->writes));
  if (m->lift) set(w, j, "lift", json_string("image"));
  if (loss != NULL) set(w, j, "loss", json_incref(loss));
  return j;
}

static VlStatus no_memory(Diag *d) {
  return diag_error(d, DIAG_NOMEM, DIAG_NOWHERE, "memory is out");
}

static VlStatus add_declaration(Writer *w, Module *m, json_t *loss) {
  json_t *j = declaration(w, m, loss);
  const size_t form = JSON_COMPACT | JSON_REAL_PRECISION(9);
  size_t n = json_dumpb(j, NULL, 0, form);
  char *text = arena_alloc(w->arena, n + 1);
  if (n == 0 || json_dumpb(j, text, n, form) != n || w->incomplete || m->incomplete)
    return no_memory(w->d);
  onnx_metadata(m->g, "vlpc.prompt", text);
  return VLPC_OK;
}

/* ---- files ------------------------------------------------------------------ */

/* Writes a loss beside the module; *out says so in the declaration. */
static VlStatus write_loss(Writer *w, PromptBuild *build, const char *suffix, json_t **out) {
  const char *path = arena_printf(w->arena, "%s%s", w->stem, suffix);
  Module *m = module_new(w->arena, w->plan, "loss");
  build(m);
  *out = object(w);
  set(w, *out, "file", json_string(base_name(path)));
  set(w, *out, "taps", json_incref(m->taps));
  w->whole_batch |= m->whole_batch;
  if (m->incomplete) return no_memory(w->d);
  return onnx_write(m->g, path, w->d);
}

static VlStatus write_losses(Writer *w, json_t **out) {
  const PromptMethod *m = w->plan->method;
  json_t *later = NULL;
  if (m->loss == loss_none) return VLPC_OK;
  VL_TRY(write_loss(w, m->loss, ".loss.onnx", out));
  if (m->later != loss_none) VL_TRY(write_loss(w, m->later, ".loss2.onnx", &later));
  if (!w->whole_batch) set(w, *out, "per_photo", json_true());
  if (w->plan->weights_text != NULL) set(w, *out, "weights", json_string(w->plan->weights_text));
  if (m->loss == loss_promptsrc)
    set(w, *out, "templates", template_list(w, teacher, VL_COUNT(teacher)));
  if (later == NULL) return VLPC_OK;
  set(w, *out, "epochs", json_integer(PROMPT_STAGE));
  set(w, *out, "next", json_incref(later));
  return VLPC_OK;
}

static VlStatus write_module(Writer *w, json_t *loss) {
  Module *m = module_new(w->arena, w->plan, w->plan->method->name);
  w->plan->method->build(m);
  VL_TRY(add_declaration(w, m, loss));
  return onnx_write(m->g, arena_printf(w->arena, "%s.onnx", w->stem), w->d);
}

static const char *stem_of(Arena *a, const char *path) {
  size_t n = strlen(path), suffix = strlen(".onnx");
  if (n > suffix && strcmp(path + n - suffix, ".onnx") == 0) n -= suffix;
  return arena_strndup(a, path, n);
}

static VlStatus write_on(const PromptOptions *o, Arena *a, Diag *d) {
  PromptPlan plan;
  json_t *loss = NULL;
  VL_TRY(prompt_plan(o, a, d, &plan));
  if (plan.phrase != NULL && o->words != NULL) {
    float *rows = arena_array(a, float, (uint64_t)(plan.text.rows * plan.host.text_width));
    VL_TRY(o->words(o->words_ctx, plan.phrase, plan.text.rows, rows, d));
    plan.words = rows;
  }
  Writer w = {.arena = a, .d = d, .plan = &plan, .stem = stem_of(a, o->output)};
  VL_TRY(write_losses(&w, &loss));
  return write_module(&w, loss);
}

VlStatus models_write_prompt(const PromptOptions *o, Diag *d) {
  Arena *a = arena_new(0);
  if (a == NULL) return no_memory(d);
  if (ARENA_GUARD(a)) {
    arena_free(a);
    return no_memory(d);
  }
  VlStatus s = write_on(o, a, d);
  arena_free(a);
  return s;
}
