/* SPDX-License-Identifier: Apache-2.0 */
/* prompts.c - opens prompt sets and holds them against artifacts. */
#include "runtime/prompts.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "runtime/session.h"

/* ---- texts -------------------------------------------------------------- */

static VlStatus bad(vlpc_prompts *p, const char *key, const char *what) {
  VlStatus s = diag_error(p->diag, DIAG_PROMPT_SET, (DiagAt){p->file, key}, "%s", what);
  return s;
}

static void drop_json(void *root) { json_decref(root); }

static VlStatus read_classes(vlpc_prompts *p) {
  const char *text = safetensors_text(&p->set, "classes");
  json_t *list = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
  if (!text) return VLPC_OK;
  if (!list) return bad(p, "classes", "is no sound JSON");
  arena_defer(p->arena, drop_json, list);
  size_t n = json_array_size(list);
  if (!json_is_array(list) || n == 0 || n > PROMPTS_MAX_CLASSES)
    return bad(p, "classes", "is no list of 1 to 100000 names");
  p->classes = arena_array(p->arena, const char *, n);
  for (; p->n_classes < n; p->n_classes++) {
    const char *name = json_string_value(json_array_get(list, p->n_classes));
    if (!name || !name[0] || strlen(name) > PROMPTS_MAX_NAME)
      return bad(p, "classes", "has an element that is no name of 1 to 1024 bytes");
    p->classes[p->n_classes] = name;
  }
  return VLPC_OK;
}

static VlStatus read_texts(vlpc_prompts *p) {
  const char *version = safetensors_text(&p->set, "vlpc_prompt");
  p->method = safetensors_text(&p->set, "method");
  p->base = safetensors_text(&p->set, "base");
  p->pattern = safetensors_text(&p->set, "template");
  if (!version || !p->method || !p->method[0]) {
    VlStatus s = bad(p, NULL, "is no prompt set: its texts lack vlpc_prompt or method");
    diag_fix(p->diag, "import a checkpoint with vlpc prompt import");
    return s;
  }
  if (strcmp(version, "1") != 0) {
    VlStatus s = bad(p, "vlpc_prompt", "is a version that this vlpc does not know");
    diag_found(p->diag, "%s", version);
    diag_expected(p->diag, "1");
    return s;
  }
  if (p->base && !(strlen(p->base) == 32 && strspn(p->base, "0123456789abcdef") == 32))
    return bad(p, "base", "is not 32 hexadecimal digits");
  if (p->pattern && !strstr(p->pattern, "{}"))
    return bad(p, "template", "has no place {} for the class name");
  return read_classes(p);
}

static VlStatus check_tensors(vlpc_prompts *p) {
  for (uint32_t i = 0; i < p->set.n; i++) {
    const SafeTensor *t = &p->set.at[i];
    p->bytes += t->bytes;
    if (t->name[0] && dtype_is_float(t->dtype)) continue;
    const char *place = arena_printf(p->arena, "tensor '%.200s'", t->name);
    return bad(p, place, "a trainable has a name and floats");
  }
  return p->set.n ? VLPC_OK : bad(p, NULL, "holds no tensor");
}

VlStatus prompts_finish(vlpc_prompts *p) {
  VL_TRY(read_texts(p));
  VL_TRY(check_tensors(p));
  p->sound = true;
  return VLPC_OK;
}

/* ---- life --------------------------------------------------------------- */

typedef struct {
  const char *path; /* or NULL: */
  const void *bytes;
  size_t n;
  const char *name;
} From;

static VlStatus read_set(vlpc_prompts *p, const From *from) {
  if (ARENA_GUARD(p->arena))
    return diag_error(p->diag, DIAG_NOMEM, (DiagAt){from->path ? from->path : from->name, NULL},
                      "no memory for the prompt set");
  p->file = arena_strdup(p->arena, from->path ? from->path : from->name);
  if (from->path) {
    VL_TRY(safetensors_read(p->file, p->arena, p->diag, &p->set));
  } else {
    uint8_t *copy = arena_alloc(p->arena, from->n);
    if (from->n) memcpy(copy, from->bytes, from->n);
    VL_TRY(safetensors_parse(copy, from->n, p->file, p->arena, p->diag, &p->set));
  }
  return prompts_finish(p);
}

vlpc_prompts *prompts_new(void) {
  vlpc_prompts *p = calloc(1, sizeof *p);
  if (!p) return NULL;
  atomic_init(&p->owners, 1);
  p->arena = arena_new(0);
  p->diag = diag_new();
  if (p->arena && p->diag) return p;
  vlpc_prompts_close(p);
  return NULL;
}

static VlStatus open_set(const From *from, vlpc_prompts **out) {
  if (!out) return VLPC_E_INVALID_ARG;
  vlpc_prompts *p = *out = prompts_new();
  if (!p) return VLPC_E_NOMEM;
  if (!from->path && !from->bytes)
    return diag_error(p->diag, DIAG_ARGUMENT, DIAG_NOWHERE, "path or bytes is NULL");
  return read_set(p, from);
}

vlpc_status vlpc_prompts_open(const char *path, vlpc_prompts **out) {
  return open_set(&(From){.path = path}, out);
}

vlpc_status vlpc_prompts_open_memory(const void *bytes, size_t n, const char *name,
                                     vlpc_prompts **out) {
  return open_set(&(From){.bytes = bytes, .n = n, .name = name ? name : "prompts"}, out);
}

vlpc_prompts *prompts_share(vlpc_prompts *p) {
  atomic_fetch_add(&p->owners, 1);
  return p;
}

void vlpc_prompts_close(vlpc_prompts *p) {
  if (!p || atomic_fetch_sub(&p->owners, 1) != 1) return;
  arena_free(p->arena);
  diag_free(p->diag);
  free(p);
}

const char *vlpc_prompts_error(const vlpc_prompts *p) { return p ? diag_text(p->diag) : ""; }

const char *vlpc_prompts_error_json(const vlpc_prompts *p) {
  return p ? diag_json(p->diag) : "[]";
}

/* ---- what it holds ------------------------------------------------------ */

bool vlpc_prompts_get_info(const vlpc_prompts *p, vlpc_prompts_info *out) {
  if (!p || !p->sound) return false;
  vlpc_prompts_info info = {.method = p->method, .base = p->base, .template_text = p->pattern,
                            .n_classes = p->n_classes, .n_tensors = p->set.n,
                            .bytes = p->bytes};
  return options_out(out, &info, sizeof info);
}

const char *vlpc_prompts_class(const vlpc_prompts *p, uint32_t i) {
  return p && p->sound && i < p->n_classes ? p->classes[i] : NULL;
}

static vlpc_tensor tensor_of(const SafeTensor *t) {
  vlpc_tensor v = {.data = (void *)(uintptr_t)t->data, .dtype = t->dtype,
                   .rank = (int32_t)t->rank};
  memcpy(v.shape, t->size, sizeof v.shape);
  return v;
}

bool vlpc_prompts_tensor(const vlpc_prompts *p, uint32_t i, const char **name, vlpc_tensor *out) {
  if (!p || !p->sound || i >= p->set.n || !out) return false;
  if (name) *name = p->set.at[i].name;
  *out = tensor_of(&p->set.at[i]);
  return true;
}

/* ---- against an artifact ------------------------------------------------ */

typedef struct {
  const vlpc_prompts *p;
  const ManifestPrompts *m;
  const char *artifact;
  Diag *d;
} Fit;

static void shape_text(char *out, size_t cap, VlDtype dtype, uint32_t rank, const int64_t *size) {
  size_t n = (size_t)snprintf(out, cap, "%s[", dtype_name(dtype));
  for (uint32_t i = 0; i < rank && n < cap; i++) {
    const char *comma = i ? ", " : "";
    n += (size_t)(size[i] < 0 ? snprintf(out + n, cap - n, "%sclasses", comma)
                              : snprintf(out + n, cap - n, "%s%" PRId64, comma, size[i]));
  }
  if (n < cap) snprintf(out + n, cap - n, "]");
}

static VlStatus misfit(const Fit *f, const char *what) {
  VlStatus s = diag_error(f->d, DIAG_PROMPT_FIT, (DiagAt){f->p->file, NULL}, "%s", what);
  diag_note(f->d, "the artifact is %s", f->artifact);
  return s;
}

static VlStatus wrong_shape(const Fit *f, const ManifestTrainable *t, const SafeTensor *x) {
  char text[200], place[240];
  snprintf(place, sizeof place, "tensor '%.200s'", t->name);
  VlStatus s = diag_error(f->d, DIAG_PROMPT_FIT, (DiagAt){f->p->file, place},
                          "does not fit the artifact's trainable");
  shape_text(text, sizeof text, x->dtype, x->rank, x->size);
  diag_found(f->d, "%s", text);
  shape_text(text, sizeof text, t->dtype, t->rank, t->size);
  diag_expected(f->d, "%s", text);
  diag_note(f->d, "the artifact is %s", f->artifact);
  return s;
}

static VlStatus fit_tensor(const Fit *f, const ManifestTrainable *t, const SafeTensor *x,
                           int64_t *classes) {
  bool same = x->dtype == t->dtype && x->rank == t->rank;
  for (uint32_t i = 0; same && i < t->rank; i++)
    same = t->size[i] < 0 || t->size[i] == x->size[i];
  if (!same) return wrong_shape(f, t, x);
  if (!t->class_rows) return VLPC_OK;
  if (*classes < 0) *classes = x->size[0];
  if (*classes == x->size[0]) return VLPC_OK;
  return misfit(f, "its tensors with a row for each class differ in the number of classes");
}

static bool is_input(const Program *p, const char *name) {
  for (uint32_t i = 0; i < p->n_entries; i++) {
    const ProgEntry *e = &p->entries[i];
    for (uint32_t k = e->in; k < e->in + e->n_in; k++)
      if (strcmp(p->ports[k].name, name) == 0) return true;
  }
  return false;
}

static bool takes(const ManifestPrompts *m, const char *name) {
  for (uint32_t i = 0; i < m->n_trainables; i++)
    if (strcmp(m->trainable[i].name, name) == 0) return true;
  return false;
}

static VlStatus fit_tensors(const Fit *f, const Program *program) {
  int64_t classes = f->p->n_classes ? (int64_t)f->p->n_classes : -1;
  for (uint32_t i = 0; i < f->m->n_trainables; i++) {
    const ManifestTrainable *t = &f->m->trainable[i];
    const SafeTensor *x = safetensors_find(&f->p->set, t->name);
    if (x) VL_TRY(fit_tensor(f, t, x, &classes));
    if (x || !is_input(program, t->name)) continue;
    VlStatus s = misfit(f, "lacks a tensor that the artifact takes");
    diag_expected(f->d, "%s", t->name);
    return s;
  }
  for (uint32_t i = 0; i < f->p->set.n; i++) {
    if (takes(f->m, f->p->set.at[i].name)) continue;
    VlStatus s = misfit(f, "has a tensor that the artifact does not take");
    diag_found(f->d, "%s", f->p->set.at[i].name);
    return s;
  }
  return VLPC_OK;
}

VlStatus prompts_fit(const vlpc_prompts *p, const ManifestPrompts *m, const Program *program,
                     const char *artifact, Diag *d) {
  Fit f = {p, m, artifact, d};
  if (!m->method) {
    VlStatus s = misfit(&f, "the artifact takes no prompts");
    diag_fix(d, "compile it with --prompt MODULE.onnx");
    return s;
  }
  if (strcmp(p->method, m->method) != 0) {
    VlStatus s = misfit(&f, "is of another method than the artifact");
    diag_found(d, "%s", p->method);
    diag_expected(d, "%s", m->method);
    return s;
  }
  if (p->base && m->base && strcmp(p->base, m->base) != 0) {
    VlStatus s = misfit(&f, "was trained on another model");
    diag_found(d, "base %s", p->base);
    diag_expected(d, "%s", m->base);
    return s;
  }
  return fit_tensors(&f, program);
}
