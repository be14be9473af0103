/* SPDX-License-Identifier: Apache-2.0 */
/* labels.c - labels to text features.
**
** What depends on labels and prompts is made once for both and kept with the
** prompt set: text features, and results of texts that the image entry takes (the
** model's inputs of binding time `classes`).  Texts that depend on the image are
** made for each image. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/easy_int.h"

/* ---- texts -------------------------------------------------------------- */

/* template with label for each "{}"; from malloc. */
static char *fill_template(const char *pattern, const char *label) {
  size_t n = 1, label_n = strlen(label);
  for (const char *c = pattern; *c; c++) n += c[0] == '{' && c[1] == '}' ? label_n : 1;
  char *out = malloc(n + 1), *at = out;
  for (const char *c = pattern; out && *c; c++) {
    if (c[0] == '{' && c[1] == '}') {
      memcpy(at, label, label_n);
      at += label_n;
      c++;
    } else {
      *at++ = *c;
    }
  }
  if (out) *at = 0;
  return out;
}

void labels_free(Labels *l) {
  for (uint32_t i = 0; l->names && i < l->n; i++) free(l->names[i]);
  free(l->names), free(l->pattern), free(l->features), free(l->name_lengths);
  free(l->ids), free(l->mask), free(l->plain);
  *l = (Labels){.version = l->version};
}

void labels_free_texts(char **texts, uint32_t n) {
  for (uint32_t i = 0; texts && i < n; i++) free(texts[i]);
  free(texts);
}

VlStatus labels_fill(vlpc_session *s, const Labels *l, const char *pattern, char ***out) {
  char **texts = calloc(l->n, sizeof *texts);
  bool whole = texts != NULL;
  for (uint32_t i = 0; whole && i < l->n; i++) {
    texts[i] = fill_template(pattern, l->names[i]);
    whole = texts[i] != NULL;
  }
  *out = texts;
  if (whole) return VLPC_OK;
  labels_free_texts(texts, l->n);
  return easy_no_memory(s, "labels");
}

/* As the caller or the prompt set said it. */
static const char *said_pattern(const vlpc_session *s, const Labels *l) {
  if (l->pattern) return l->pattern;
  return s->prompts ? s->prompts->set->pattern : NULL;
}

const char *labels_pattern(const vlpc_session *s) { return said_pattern(s, &s->labels); }

const char *labels_own_pattern(const vlpc_session *s, char own[PATTERN_MAX]) {
  const ManifestPrompts *m = &s->model->manifest.prompts;
  if (s->prompts && s->prompts->set->pattern) return s->prompts->set->pattern;
  if (m->n_templates > 0) return m->templates[0];
  if (!m->method) return "{}";
  if (!m->slot_rows) return PLAIN_PATTERN;
  size_t n = 0;
  for (uint32_t i = 0; !m->slot_phrase && i < m->slot_rows; i++)
    own[n++] = 'X', own[n++] = ' ';
  snprintf(own + n, PATTERN_MAX - n, "%s%s{}.", m->slot_phrase ? m->slot_phrase : "",
           m->slot_phrase ? " " : "");
  return own;
}

/* ---- results that the image entry takes ----------------------------------- */

const ProgEntry *labels_source(const Model *m, const ProgEntry *e, const char *name) {
  for (uint32_t i = 0; i < model_entries(m); i++) {
    const ProgEntry *from = &m->program.entries[i];
    for (uint32_t k = 0; from != e && k < from->n_out; k++)
      if (strcmp(m->program.ports[from->out + k].name, name) == 0 && m->manifest.text.entry &&
          easy_input(m, from, m->manifest.text.input) >= 0)
        return from;
  }
  return NULL;
}

static const ProgEntry *role_entry(const Model *m, const ManifestRole *role) {
  return role->entry ? model_entry(m, role->entry, NULL) : NULL;
}

/* Inputs of the image entry that are results of texts; value may be NULL. */
static uint32_t class_inputs(const Model *m, ClassValue *value) {
  const ProgEntry *e = role_entry(m, &m->manifest.image);
  uint32_t n = 0;
  for (uint32_t i = 0; m->manifest.prompts.method && e && i < e->n_in; i++) {
    const char *name = m->program.ports[e->in + i].name;
    if (prompts_port(m, name) || !labels_source(m, e, name)) continue;
    if (value) value[n] = (ClassValue){.name = name};
    n++;
  }
  return n;
}

VlStatus labels_plain(vlpc_session *s, const Labels *l, const char *pattern,
                      const ProgEntry *from, ClassValue *v) {
  const Model *m = s->model;
  ManifestRole role = m->manifest.text;
  char **texts = NULL;
  role.entry = from->name, role.output = v->name;
  if (role.mask && easy_input(m, from, role.mask) < 0) role.mask = NULL;
  VL_TRY(labels_fill(s, l, pattern, &texts));
  TextJob job = {.role = &role, .texts = (const char *const *)texts, .n = l->n,
                 .name_lengths = l->name_lengths, .value = v, .n_values = 1};
  VlStatus st = easy_texts(s, &job);
  labels_free_texts(texts, l->n);
  return st;
}

/* One value by an entry that is not the text entry: of the plain texts. */
static VlStatus plain_value(vlpc_session *s, const Labels *l, ClassValue *v) {
  const Model *m = s->model;
  const char *own = s->prompts ? s->prompts->set->pattern : NULL;
  return labels_plain(s, l, own ? own : PLAIN_PATTERN,
                      labels_source(m, role_entry(m, &m->manifest.image), v->name), v);
}

/* ---- what is made of labels ----------------------------------------------- */

/* Made of one label set with one prompt set. */
typedef struct {
  float *features;
  ClassValue *value; /* those of the text entry first */
  uint32_t n_values;
} Made;

static void made_free(Made *m) {
  for (uint32_t i = 0; i < m->n_values; i++) free(m->value[i].value.data);
  free(m->value), free(m->features);
  *m = (Made){0};
}

/* Puts the values of the text entry first; returns how many they are. */
static uint32_t sort_values(const Model *m, Made *x) {
  const ProgEntry *image = role_entry(m, &m->manifest.image);
  const ProgEntry *text = role_entry(m, &m->manifest.text);
  uint32_t n = 0;
  for (uint32_t i = 0; i < x->n_values; i++) {
    if (labels_source(m, image, x->value[i].name) != text) continue;
    ClassValue swap = x->value[n];
    x->value[n++] = x->value[i];
    x->value[i] = swap;
  }
  return n;
}

/* The text entry with the labels in one template; without room for features it is only
** seen whether the texts fit. */
static VlStatus run_template(vlpc_session *s, const Labels *l, const char *pattern, float *image,
                             const Made *to) {
  char **texts = NULL;
  VL_TRY(labels_fill(s, l, pattern, &texts));
  TextJob job = {.role = &s->model->manifest.text, .texts = (const char *const *)texts,
                 .names = (const char *const *)l->names, .n = l->n,
                 .name_lengths = l->name_lengths, .image = image,
                 .features = to->features, .value = to->value, .n_values = to->n_values};
  VlStatus st = to->features ? easy_texts(s, &job) : easy_texts_fit(s, &job);
  labels_free_texts(texts, l->n);
  return st;
}

static void add_rows(double *sum, const float *x, size_t n) {
  for (size_t i = 0; i < n; i++) sum[i] += (double)x[i];
}

static void unit_rows(const double *sum, uint32_t n, uint32_t embed, float *out) {
  for (uint32_t i = 0; i < n; i++, sum += embed, out += embed) {
    double square = 0;
    for (uint32_t k = 0; k < embed; k++) square += sum[k] * sum[k];
    double scale = square > 0 ? 1 / sqrt(square) : 0;
    for (uint32_t k = 0; k < embed; k++) out[k] = (float)(sum[k] * scale);
  }
}

/* The module's templates: features of unit length are averaged. */
static VlStatus run_ensemble(vlpc_session *s, const Labels *l, float *image, const Made *x) {
  const ManifestPrompts *m = &s->model->manifest.prompts;
  Made to = *x; /* results of texts are those of the first template */
  size_t n = (size_t)l->n * l->embed;
  double *sum = calloc(n, sizeof *sum);
  VlStatus st = sum ? VLPC_OK : easy_no_memory(s, "labels");
  for (uint32_t i = 0; st == VLPC_OK && i < m->n_templates; i++) {
    st = run_template(s, l, m->templates[i], image, &to);
    if (st == VLPC_OK) add_rows(sum, x->features, n);
    to.n_values = 0;
  }
  if (st == VLPC_OK) unit_rows(sum, l->n, l->embed, x->features);
  free(sum);
  return st;
}

/* The module's templates are for labels that nobody gives another. */
static bool is_ensemble(const vlpc_session *s, const Labels *l) {
  return !said_pattern(s, l) && s->model->manifest.prompts.n_templates > 1;
}

static VlStatus run_texts(vlpc_session *s, const Labels *l, float *image, Made *x) {
  char own[PATTERN_MAX];
  Made of_text = {x->features, x->value, sort_values(s->model, x)};
  const char *pattern = l->pattern ? l->pattern : labels_own_pattern(s, own);
  VlStatus st = is_ensemble(s, l) ? run_ensemble(s, l, image, &of_text)
                                  : run_template(s, l, pattern, image, &of_text);
  for (uint32_t i = of_text.n_values; st == VLPC_OK && i < x->n_values; i++)
    st = plain_value(s, l, &x->value[i]);
  return st;
}

VlStatus labels_of_image(vlpc_session *s, float *image, float *features) {
  Made x = {.features = features};
  return run_texts(s, &s->labels, image, &x);
}

static VlStatus make(vlpc_session *s, const Labels *l, Made *x) {
  uint32_t n = class_inputs(s->model, NULL);
  *x = (Made){calloc((size_t)l->n * l->embed, sizeof(float)), calloc(n + 1u, sizeof *x->value),
              0};
  VlStatus st = x->features && x->value ? VLPC_OK : easy_no_memory(s, "labels");
  if (st == VLPC_OK) {
    x->n_values = class_inputs(s->model, x->value);
    st = run_texts(s, l, NULL, x);
  }
  if (st != VLPC_OK) made_free(x);
  return st;
}

/* What only will be made when prompts or an image are there: its texts as they are now. */
static VlStatus check(vlpc_session *s, const Labels *l) {
  char own[PATTERN_MAX];
  const ManifestPrompts *m = &s->model->manifest.prompts;
  const Made none = {0};
  if (m->slot_rows == 0) return VLPC_OK;
  if (!is_ensemble(s, l))
    return run_template(s, l, l->pattern ? l->pattern : labels_own_pattern(s, own), NULL, &none);
  for (uint32_t i = 0; i < m->n_templates; i++)
    VL_TRY(run_template(s, l, m->templates[i], NULL, &none));
  return VLPC_OK;
}

/* Keeps what was made with the prompts in use. */
static void keep(vlpc_session *s, Made *x) {
  BoundPrompts *b = s->prompts;
  Made old = {b->features, b->value, b->n_values};
  b->features = x->features, b->value = x->value, b->n_values = x->n_values;
  b->version = s->labels.version;
  prompts_refresh(s);
  made_free(&old);
}

/* ---- labels ------------------------------------------------------------- */

bool labels_follow_images(const Model *m) {
  const ProgEntry *e = role_entry(m, &m->manifest.text);
  return e && m->manifest.prompts.method && easy_input(m, e, "image_features") >= 0;
}

/* True when what is made of labels differs from prompt set to prompt set. */
static bool follow_prompts(const vlpc_session *s) {
  const ProgEntry *e = role_entry(s->model, &s->model->manifest.text);
  return e && (prompts_ports(s->model, e) > 0 || class_inputs(s->model, NULL) > 0);
}

static VlStatus needs_prompts(vlpc_session *s) {
  VlStatus st = diag_error(s->diag, DIAG_PROMPTS_MISSING, (DiagAt){s->model->path, NULL},
                           "its photos take results of texts that go with a prompt set");
  diag_fix(s->diag, "give one with --prompts FILE (vlpc_session_set_prompts)");
  return st;
}

static VlStatus ready(vlpc_session *s) {
  Made made;
  if (s->labels.n == 0 || s->labels.features || labels_follow_images(s->model)) return VLPC_OK;
  if (s->prompts && s->prompts->version == s->labels.version) return VLPC_OK;
  VL_TRY(make(s, &s->labels, &made)); /* says so when texts take prompts and there are none */
  if (s->prompts) keep(s, &made);
  else made_free(&made);
  return s->prompts ? VLPC_OK : needs_prompts(s);
}

VlStatus labels_for_photos(vlpc_session *s) {
  return class_inputs(s->model, NULL) > 0 ? ready(s) : VLPC_OK;
}

/* Tokens of each name, where an entry takes them. */
static VlStatus count_names(vlpc_session *s, Labels *l) {
  const ProgEntry *e = role_entry(s->model, &s->model->manifest.text);
  int64_t ids[IDS_MAX];
  if (!e || easy_input(s->model, e, "name_lengths") < 0) return VLPC_OK;
  l->name_lengths = calloc(l->n, sizeof *l->name_lengths);
  if (!l->name_lengths) return easy_no_memory(s, "labels");
  for (uint32_t i = 0; i < l->n; i++) {
    uint32_t n = 0;
    VL_TRY(easy_tokens(s, l->names[i], ids, IDS_MAX, &n));
    l->name_lengths[i] = (int64_t)n - 2; /* without start and end */
  }
  return VLPC_OK;
}

static VlStatus copy_labels(vlpc_session *s, const char *const *labels, uint32_t n,
                            const char *pattern, Labels *out) {
  VL_TRY(easy_embed_dim(s, &out->embed));
  out->names = calloc(n, sizeof *out->names);
  out->pattern = pattern ? strdup(pattern) : NULL;
  bool whole = out->names && (!pattern || out->pattern);
  for (out->n = 0; whole && out->n < n; out->n++) {
    out->names[out->n] = strdup(labels[out->n]);
    whole = out->names[out->n] != NULL;
  }
  return whole ? count_names(s, out) : easy_no_memory(s, "labels");
}

static VlStatus make_labels(vlpc_session *s, const char *const *labels, uint32_t n,
                            const char *pattern) {
  Labels fresh = {.version = s->labels.version + 1};
  Made made = {0};
  bool follow = labels_follow_images(s->model), fixed = !follow_prompts(s) && !follow;
  VlStatus st = copy_labels(s, labels, n, pattern, &fresh);
  bool now = fixed || (s->prompts && !follow);
  if (st == VLPC_OK) st = now ? make(s, &fresh, &made) : check(s, &fresh);
  if (st != VLPC_OK) {
    labels_free(&fresh);
    return st;
  }
  labels_forget_inputs(s);
  labels_free(&s->labels);
  s->labels = fresh;
  if (fixed) s->labels.features = made.features, made.features = NULL, made_free(&made);
  else if (made.features) keep(s, &made);
  return VLPC_OK;
}

VlStatus labels_of_model(vlpc_session *s) {
  const Model *m = s->model;
  Labels fresh = {.version = s->labels.version + 1};
  bool follow = m->n_classes > 0 && labels_follow_images(m);
  if (!m->class_features && !follow) return VLPC_OK;
  VlStatus st = copy_labels(s, m->classes, m->n_classes, NULL, &fresh);
  size_t bytes = (size_t)m->n_classes * (size_t)m->manifest.embed_dim * sizeof(float);
  if (st == VLPC_OK && !follow) fresh.features = malloc(bytes);
  if (st == VLPC_OK && !follow && !fresh.features) st = easy_no_memory(s, "labels");
  if (st != VLPC_OK) {
    labels_free(&fresh);
    return st;
  }
  if (!follow) memcpy(fresh.features, m->class_features, bytes);
  s->labels = fresh;
  return VLPC_OK;
}

VlStatus labels_features(vlpc_session *s, const float **out) {
  *out = NULL;
  if (s->labels.n == 0)
    return session_argument(s, "no labels are set: call vlpc_set_labels first");
  if (labels_follow_images(s->model)) return VLPC_OK;
  VL_TRY(ready(s));
  *out = s->labels.features ? s->labels.features : s->prompts->features;
  return VLPC_OK;
}

VlStatus labels_embed(vlpc_session *s, float *out) {
  const Labels *l = &s->labels;
  if (l->n == 0) return session_argument(s, "no labels are set: call vlpc_set_labels first");
  if (labels_follow_images(s->model))
    return session_argument(s, "the labels' texts differ from image to image: classify instead");
  VL_TRY(ready(s));
  memcpy(out, l->features ? l->features : s->prompts->features,
         (size_t)l->n * l->embed * sizeof *out);
  return VLPC_OK;
}

VlStatus labels_set(vlpc_session *s, const char *const *labels, uint32_t n, const char *pattern) {
  if (!labels || n == 0) return session_argument(s, "there are no labels");
  for (uint32_t i = 0; i < n; i++) {
    if (!labels[i] || !labels[i][0]) return session_argument(s, "a label is empty");
  }
  if (pattern && !strstr(pattern, "{}")) {
    VlStatus st = session_argument(s, "the template has no place for the label");
    diag_found(s->diag, "%s", pattern);
    diag_expected(s->diag, "a text with {}, such as \"" PLAIN_PATTERN "\"");
    return st;
  }
  return make_labels(s, labels, n, pattern);
}
