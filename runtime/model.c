/* SPDX-License-Identifier: Apache-2.0 */
/* model.c - opens an artifact section by section, each checked before the next
** relies on it. */
#include "runtime/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- opening ------------------------------------------------------------ */

static VlStatus read_classes(Model *m, Diag *d) {
  Section s = artifact_section(&m->file, SECTION_classes);
  uint32_t n = 0;
  if (s.bytes == 0) return VLPC_OK;
  if (s.at[s.bytes - 1] != '\n' || memchr(s.at, 0, (size_t)s.bytes))
    return diag_error(d, DIAG_ARTIFACT_LAYOUT, (DiagAt){m->path, "section classes"},
                      "not lines of text");
  for (uint64_t i = 0; i < s.bytes; i++) n += s.at[i] == '\n';
  m->classes = arena_array(m->arena, const char *, n);
  const char *at = (const char *)s.at;
  for (uint32_t i = 0; i < n; i++) {
    size_t len = strcspn(at, "\n");
    m->classes[i] = arena_strndup(m->arena, at, len);
    at += len + 1;
  }
  m->n_classes = n;
  return VLPC_OK;
}

/* Text features of the classes, in the mapping. */
static VlStatus read_features(Model *m, Diag *d) {
  Section s = artifact_section(&m->file, SECTION_features);
  uint64_t n = (uint64_t)m->n_classes * (uint64_t)(uint32_t)m->manifest.embed_dim;
  DiagAt at = {m->path, "section features"};
  if (!s.at) return VLPC_OK;
  if (n == 0 || s.bytes != n * sizeof(float))
    return diag_error(d, DIAG_ARTIFACT_LAYOUT, at, "not one row of features for each class");
  const float *x = (const float *)(const void *)s.at;
  for (uint64_t i = 0; i < n; i++)
    if (!isfinite(x[i])) return diag_error(d, DIAG_ARTIFACT_LAYOUT, at, "a feature is not finite");
  m->class_features = x;
  return VLPC_OK;
}

static void write_dims(Model *m) {
  uint32_t n = dim_count(m->program.dims);
  m->size_text = arena_array(m->arena, const char *, n + 1u);
  for (DimId i = 1; i <= n; i++)
    m->size_text[i] = manifest_size_text(m->program.dims, i, m->arena);
}

static VlStatus read_sections(Model *m, Diag *d) {
  Section program = artifact_section(&m->file, SECTION_program);
  Section manifest = artifact_section(&m->file, SECTION_manifest);
  Section tokenizer = artifact_section(&m->file, SECTION_tokenizer);
  Section preprocess = artifact_section(&m->file, SECTION_preprocess);
  Section weights = artifact_section(&m->file, SECTION_weights);
  DiagAt at = {m->path, "section program"};
  VL_TRY(program_read(program.at, (size_t)program.bytes, weights.bytes, m->arena, at, d,
                      &m->program));
  write_dims(m);
  VL_TRY(manifest_read(manifest.at, (size_t)manifest.bytes, &m->program, m->arena, m->path, d,
                       &m->manifest));
  m->preprocess = preprocess_clip(m->manifest.image_size ? m->manifest.image_size : 224);
  if (preprocess.at)
    VL_TRY(preprocess_from_text(preprocess.at, (size_t)preprocess.bytes, m->path, d,
                                &m->preprocess));
  if (tokenizer.at)
    VL_TRY(tokenizer_from_bytes(tokenizer.at, (size_t)tokenizer.bytes, m->path, d, &m->tokenizer));
  VL_TRY(read_classes(m, d));
  return read_features(m, d);
}

static VlStatus no_memory(const char *path, Diag *d) {
  return diag_error(d, DIAG_NOMEM, (DiagAt){path, NULL}, "no memory for the artifact's tables");
}

static VlStatus open_parts(Model *m, const char *path, bool verify, Diag *d) {
  if (ARENA_GUARD(m->arena)) return no_memory(path, d);
  m->path = arena_strdup(m->arena, path);
  VL_TRY(artifact_map(m->path, d, &m->file));
  if (verify) VL_TRY(artifact_check_weights(&m->file, d));
  return read_sections(m, d);
}

VlStatus model_open(const char *path, const vlpc_artifact_options *o, Diag *d, Model **out) {
  Model *m = calloc(1, sizeof *m);
  *out = NULL;
  if (m) m->arena = arena_new(0);
  if (!m || !m->arena) {
    free(m);
    return no_memory(path, d);
  }
  atomic_init(&m->owners, 1);
  pthread_mutex_init(&m->lock, NULL);
  m->log = o->log;
  m->log_user = o->log_user;
  VlStatus s = open_parts(m, path, o->verify_weights != 0, d);
  if (s == VLPC_OK) *out = m;
  else model_release(m);
  return s;
}

Model *model_share(Model *m) {
  atomic_fetch_add(&m->owners, 1);
  return m;
}

void model_release(Model *m) {
  if (!m || atomic_fetch_sub(&m->owners, 1) != 1) return;
  model_code_free(m->loaded);
  tokenizer_free(m->tokenizer);
  artifact_unmap(&m->file);
  pthread_mutex_destroy(&m->lock);
  arena_free(m->arena);
  free(m);
}

/* ---- names -------------------------------------------------------------- */

/* "'image', 'text'" for a message. */
typedef struct {
  char text[400];
  size_t n;
} NameList;

static void list_name(NameList *l, const char *name) {
  size_t room = sizeof l->text - l->n, need = strlen(name) + 4;
  if (need + 4 >= room) {
    if (room > 5) memcpy(l->text + l->n, ", …", sizeof ", …");
    l->n = sizeof l->text;
    return;
  }
  if (l->n) memcpy(l->text + l->n, ", ", 2), l->n += 2;
  l->text[l->n++] = '\'';
  memcpy(l->text + l->n, name, strlen(name)), l->n += strlen(name);
  l->text[l->n++] = '\'';
  l->text[l->n] = 0;
}

uint32_t model_entries(const Model *m) {
  return m->program.n_entries - m->manifest.n_stand_ins - (m->manifest.prompts.entry != NULL);
}

const ProgEntry *model_entry(const Model *m, const char *name, Diag *d) {
  const Program *p = &m->program;
  NameList have = {.n = 0};
  for (uint32_t i = 0; i < p->n_entries; i++) {
    if (strcmp(p->entries[i].name, name) == 0) return &p->entries[i];
    if (i < model_entries(m)) list_name(&have, p->entries[i].name);
  }
  VL_IGNORE(diag_error(d, DIAG_NO_ENTRY, (DiagAt){m->path, NULL}, "no entry '%s'", name));
  diag_expected(d, "one of %s", have.text); /* NULL says it failed */
  return NULL;
}

static bool answers_to(const ManifestPort *p, const char *name) {
  if (strcmp(p->name, name) == 0) return true;
  for (size_t i = 0; p->aliases && p->aliases[i]; i++) {
    if (strcmp(p->aliases[i], name) == 0) return true;
  }
  return false;
}

int model_port(const Model *m, const ProgEntry *e, vlpc_direction dir, const char *name, Diag *d) {
  const ManifestEntry *me = &m->manifest.entries[e - m->program.entries];
  const ManifestPort *ports = dir == VLPC_INPUT ? me->in : me->out;
  uint32_t n = dir == VLPC_INPUT ? me->n_in : me->n_out;
  const char *what = dir == VLPC_INPUT ? "input" : "output";
  NameList have = {.n = 0};
  for (uint32_t i = 0; i < n; i++) {
    if (answers_to(&ports[i], name)) return (int)i;
    list_name(&have, ports[i].name);
  }
  VL_IGNORE(diag_error(d, DIAG_NO_PORT, (DiagAt){m->path, NULL}, "entry '%s' has no %s '%s'",
                       e->name, what, name));
  diag_expected(d, "one of %s", have.text); /* -1 says it failed */
  return -1;
}
