/* SPDX-License-Identifier: Apache-2.0 */
/* prompts_start.c - prompt sets that no file holds: start values as the module
** declares them, and the values of a set replaced by others.
**
** A draw depends on the seed, the number of the trainable and that of the element
** alone.  Words are rows of the model's own token table (tokens.c). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/rng.h"
#include "runtime/easy_int.h"

#define STREAM UINT64_C(0x696e697400000000) /* "init", above the trainable's number */

typedef struct {
  vlpc_session *s;
  const ManifestPrompts *m;
  const vlpc_start_options *o;
  vlpc_prompts *to;
} Start;

static VlStatus cannot(const Start *t, const ManifestTrainable *x, const char *what) {
  char place[240];
  snprintf(place, sizeof place, "trainable '%.200s'", x->name);
  return diag_error(t->s->diag, DIAG_PROMPT_START, (DiagAt){t->s->model->path, place}, "%s", what);
}

static int64_t count_of(const SafeTensor *x) { return (int64_t)(x->bytes / dtype_size(x->dtype)); }

/* ---- words ----------------------------------------------------------------- */

static VlStatus fill_words(const Start *t, const ManifestTrainable *x, const SafeTensor *to) {
  int64_t ids[IDS_MAX], width = to->rank ? to->size[to->rank - 1] : 0;
  int64_t rows = to->rank > 1 ? to->size[to->rank - 2] : 1, first = 1 + (int64_t)x->init.first;
  uint32_t n = 0;
  vlpc_tensor from;
  VL_TRY(easy_tokens(t->s, x->init.text, ids, IDS_MAX, &n));
  if (first + rows + 1 > (int64_t)n) {
    VlStatus st = cannot(t, x, "the words that it starts as are fewer tokens than its rows");
    diag_found(t->s->diag, "%" PRId64 " tokens from number %" PRIu32 " of '%s'",
               VL_MAX((int64_t)n - 1 - first, 0), x->init.first, x->init.text);
    diag_expected(t->s->diag, "%" PRId64, rows);
    return st;
  }
  VL_TRY(tokens_rows(t->s, ids + first, rows, &from));
  if (from.shape[1] != width)
    return cannot(t, x, "starts as words, but is not as wide as the model's tokens");
  for (int64_t i = 0; i < count_of(to); i++)
    dtype_store(to->dtype, (void *)(uintptr_t)to->data, i,
                (double)((const float *)from.data)[i % (rows * width)]);
  return VLPC_OK;
}

/* ---- the other kinds ------------------------------------------------------- */

static VlStatus fill_copy(const Start *t, const ManifestTrainable *x, const SafeTensor *to) {
  const SafeTensor *from = safetensors_find(&t->to->set, x->init.text);
  if (!from || from->bytes != to->bytes || from->dtype != to->dtype)
    return cannot(t, x, "is to start as one that does not stand before it, or is of another size");
  memcpy((void *)(uintptr_t)to->data, from->data, (size_t)to->bytes);
  return VLPC_OK;
}

static VlStatus fill(const Start *t, uint32_t i) {
  const ManifestTrainable *x = &t->m->trainable[i];
  const SafeTensor *to = &t->to->set.at[i];
  Rng r = {t->o->seed, STREAM | i};
  double value = x->init.value;
  if (x->init.kind == INIT_words) return fill_words(t, x, to);
  if (x->init.kind == INIT_copy) return fill_copy(t, x, to);
  for (int64_t k = 0; k < count_of(to); k++) {
    double v = x->init.kind == INIT_fill ? value : 0;
    if (x->init.kind == INIT_normal) v = value * rng_normal(r, (uint64_t)k);
    if (x->init.kind == INIT_uniform) v = value * (2 * rng_uniform(r, (uint64_t)k) - 1);
    dtype_store(to->dtype, (void *)(uintptr_t)to->data, k, v);
  }
  return VLPC_OK;
}

/* ---- the set --------------------------------------------------------------- */

static VlStatus add_tensor(const Start *t, const ManifestTrainable *x) {
  SafeTensor *to = &t->to->set.at[t->to->set.n];
  *to = (SafeTensor){.name = arena_strdup(t->to->arena, x->name), .dtype = x->dtype,
                     .rank = x->rank, .bytes = dtype_size(x->dtype)};
  for (uint32_t k = 0; k < x->rank; k++) {
    to->size[k] = x->size[k] < 0 ? (int64_t)t->o->n_classes : x->size[k];
    if (!vl_mul_u64(to->bytes, (uint64_t)to->size[k], &to->bytes) || to->bytes > INT64_MAX)
      return cannot(t, x, "its size passes all memory");
  }
  if (to->bytes == 0) {
    VlStatus s = cannot(t, x, "has a row for each class, and no classes are given");
    diag_fix(t->s->diag, "give the class names");
    return s;
  }
  to->data = arena_alloc(t->to->arena, (size_t)to->bytes);
  VL_TRY(fill(t, t->to->set.n));
  t->to->set.n++;
  return VLPC_OK;
}

static void add_text(vlpc_prompts *p, const char *key, const char *value) {
  if (value) p->set.text[p->set.n_texts++] = (SafeText){key, arena_strdup(p->arena, value)};
}

static const char *class_list(const Start *t) {
  Str s = {.arena = t->to->arena};
  for (uint32_t i = 0; i < t->o->n_classes; i++) {
    str_add(&s, i ? "," : "[");
    str_json(&s, t->o->classes[i], strlen(t->o->classes[i]));
  }
  if (s.n) str_add(&s, "]");
  return s.n ? str_text(&s) : NULL;
}

static VlStatus build(const Start *t) {
  vlpc_prompts *p = t->to;
  DiagAt at = {t->s->model->path, NULL};
  if (ARENA_GUARD(p->arena))
    return diag_error(t->s->diag, DIAG_NOMEM, at, "no memory for the prompt set");
  p->file = "prompts";
  p->set.at = arena_array(p->arena, SafeTensor, t->m->n_trainables);
  p->set.text = arena_array(p->arena, SafeText, 5);
  add_text(p, "vlpc_prompt", "1");
  add_text(p, "method", t->m->method);
  add_text(p, "base", t->m->base);
  add_text(p, "template", t->o->template_text);
  add_text(p, "classes", class_list(t));
  for (uint32_t i = 0; i < t->m->n_trainables; i++) VL_TRY(add_tensor(t, &t->m->trainable[i]));
  if (prompts_finish(p) == VLPC_OK) return VLPC_OK;
  return diag_error(t->s->diag, DIAG_PROMPT_START, at, "the classes or the template are not sound");
}

static VlStatus start(vlpc_session *s, const vlpc_start_options *options, vlpc_prompts **out) {
  vlpc_start_options o;
  if (!out || !options_copy(&o, sizeof o, options))
    return session_argument(s, "out is NULL, or options.struct_size is not a known one");
  Start t = {s, &s->model->manifest.prompts, &o, NULL};
  *out = NULL;
  if (!t.m->method) {
    VlStatus st = diag_error(s->diag, DIAG_NO_MODULE, (DiagAt){s->model->path, NULL},
                             "the artifact has no prompt module");
    diag_fix(s->diag, "compile it with --prompt MODULE.onnx");
    return st;
  }
  if (o.n_classes && !o.classes) return session_argument(s, "options.classes is NULL");
  for (uint32_t i = 0; i < o.n_classes; i++)
    if (!o.classes[i]) return session_argument(s, "a class name is NULL");
  t.to = prompts_new();
  if (!t.to) return easy_no_memory(s, "a prompt set");
  VlStatus st = build(&t);
  if (st == VLPC_OK) *out = t.to;
  else vlpc_prompts_close(t.to);
  return st;
}

vlpc_status vlpc_prompts_start(vlpc_session *s, const vlpc_start_options *options,
                               vlpc_prompts **out) {
  if (!session_enter(s)) return VLPC_E_INVALID_ARG;
  return session_leave(s, start(s, options, out));
}

/* ---- other values ---------------------------------------------------------- */

static void copy_set(const vlpc_prompts *p, const void *const *data, vlpc_prompts *to) {
  to->file = arena_strdup(to->arena, p->file);
  to->set = p->set;
  to->set.at = arena_array(to->arena, SafeTensor, p->set.n);
  to->set.text = arena_array(to->arena, SafeText, p->set.n_texts);
  for (uint32_t i = 0; i < p->set.n; i++) {
    const SafeTensor *x = &p->set.at[i];
    void *copy = arena_alloc(to->arena, (size_t)x->bytes);
    if (x->bytes) memcpy(copy, data && data[i] ? data[i] : x->data, (size_t)x->bytes);
    to->set.at[i] = *x;
    to->set.at[i].name = arena_strdup(to->arena, x->name);
    to->set.at[i].data = copy;
  }
  for (uint32_t i = 0; i < p->set.n_texts; i++)
    to->set.text[i] = (SafeText){arena_strdup(to->arena, p->set.text[i].key),
                                 arena_strdup(to->arena, p->set.text[i].value)};
}

static VlStatus fill_copy_of(const vlpc_prompts *p, const void *const *data, vlpc_prompts *to) {
  if (ARENA_GUARD(to->arena)) return VLPC_E_NOMEM;
  copy_set(p, data, to);
  return prompts_finish(to);
}

vlpc_status vlpc_prompts_copy(const vlpc_prompts *p, const void *const *data,
                              vlpc_prompts **out) {
  if (!p || !p->sound || !out) return VLPC_E_INVALID_ARG;
  vlpc_prompts *to = *out = prompts_new();
  VlStatus s = to ? fill_copy_of(p, data, to) : VLPC_E_NOMEM;
  if (s == VLPC_OK) return s;
  vlpc_prompts_close(to);
  *out = NULL;
  return s;
}

vlpc_status vlpc_prompts_write(vlpc_prompts *p, const char *path) {
  if (!p || !p->sound || !path) return VLPC_E_INVALID_ARG;
  Arena *a = arena_new(0);
  diag_clear(p->diag);
  VlStatus s = !a || ARENA_GUARD(a) ? diag_error(p->diag, DIAG_NOMEM, (DiagAt){path, NULL},
                                                 "no memory to write the prompt set")
                                    : safetensors_write(path, &p->set, a, p->diag);
  arena_free(a);
  return s;
}
