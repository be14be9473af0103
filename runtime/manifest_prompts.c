/* SPDX-License-Identifier: Apache-2.0 */
/* manifest_prompts.c - the manifest's "prompts": method, slot and trainables.
**
** Reading holds each trainable against the ports of its name, and the entry
** that computes from prompts against those that take its results, so that a
** session can bind them without looking again. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/map.h"
#include "runtime/manifest_int.h"

/* Name of a kind, and what the key of that name holds. */
static const struct {
  const char *name;
  bool is_text;
} init_row[INIT__COUNT] = {[INIT_words] = {"words", true},      [INIT_normal] = {"normal", false},
                           [INIT_uniform] = {"uniform", false}, [INIT_copy] = {"copy", true},
                           [INIT_fill] = {"fill", false}};

static const char *const place_words[] = {"end", "middle", "front"};

/* ---- writing ------------------------------------------------------------ */

static void add_text(Str *s, const char *key, const char *text) {
  str_printf(s, "\"%s\": ", key);
  if (text) str_json(s, text, strlen(text));
  else str_add(s, "null");
}

static void write_init(const ManifestInit *x, Str *s) {
  if (x->kind == INIT_none) return;
  str_printf(s, ", \"init\": {\"%s\": ", init_row[x->kind].name);
  if (init_row[x->kind].is_text) str_json(s, x->text, strlen(x->text));
  else str_f64(s, x->value);
  if (x->kind == INIT_words) str_printf(s, ", \"first\": %" PRIu32, x->first);
  str_add(s, "}");
}

static void write_trainable(const ManifestTrainable *t, Str *s) {
  str_add(s, "{"), add_text(s, "name", t->name);
  str_add(s, ", "), add_text(s, "dtype", dtype_name(t->dtype));
  str_add(s, ", \"shape\": [");
  for (uint32_t i = 0; i < t->rank; i++)
    str_printf(s, i ? ", %" PRId64 : "%" PRId64, t->size[i]);
  str_add(s, t->class_rows ? "], \"class_rows\": true" : "]");
  write_init(&t->init, s);
  str_add(s, "}");
}

static void write_layout_row(const ManifestLayoutRow *r, Str *s) {
  str_add(s, "{"), add_text(s, "point", r->point);
  str_add(s, ", "), add_text(s, "action", r->action);
  str_printf(s, ", \"stream\": %" PRId64, r->stream);
  if (strcmp(r->action, "keep") != 0) {
    str_add(s, ", "), add_text(s, "segment", r->segment);
    str_printf(s, ", \"first\": %" PRId64 ", \"rows\": %" PRId64 ", ", r->first, r->rows);
    add_text(s, "value", r->value), str_add(s, ", ");
    add_text(s, "per", r->per), str_add(s, ", "), add_text(s, "time", r->time);
  }
  if (r->mix[0] != 0) {
    str_add(s, ", \"mix\": ["), str_f64(s, r->mix[0]);
    str_add(s, ", "), str_f64(s, r->mix[1]), str_add(s, "]");
  }
  str_add(s, "}");
}

static void write_texts(const char *key, const char *const *text, uint32_t n, Str *s) {
  if (n > 0) str_printf(s, ",\n    \"%s\": [", key);
  for (uint32_t i = 0; i < n; i++) {
    str_add(s, i ? ", " : "");
    str_json(s, text[i], strlen(text[i]));
  }
  if (n > 0) str_add(s, "]");
}

void manifest_write_prompts(const ManifestPrompts *m, Str *s) {
  if (!m->method) return;
  str_add(s, "  \"prompts\": {"), add_text(s, "method", m->method);
  str_add(s, ", "), add_text(s, "base", m->base);
  str_add(s, ", "), add_text(s, "entry", m->entry);
  if (m->loss_per_photo) str_add(s, ", \"loss_per_photo\": true");
  if (m->loss_weights) str_add(s, ", "), add_text(s, "loss_weights", m->loss_weights);
  if (m->slot_rows) {
    str_printf(s, ",\n    \"slot\": {\"rows\": %" PRIu32 ", ", m->slot_rows);
    add_text(s, "place", m->slot_place), str_add(s, ", ");
    add_text(s, "phrase", m->slot_phrase), str_add(s, m->slot_own ? ", \"own\": true}" : "}");
  }
  write_texts("templates", m->templates, m->n_templates, s);
  write_texts("frozen_templates", m->frozen_templates, m->n_frozen_templates, s);
  str_add(s, ",\n    \"trainable\": [");
  for (uint32_t i = 0; i < m->n_trainables; i++) {
    str_add(s, i ? ",\n      " : "\n      ");
    write_trainable(&m->trainable[i], s);
  }
  for (uint32_t i = 0; i < m->n_layout; i++) {
    str_add(s, i ? ",\n      " : "],\n    \"layout\": [\n      ");
    write_layout_row(&m->layout[i], s);
  }
  str_add(s, "]},\n");
}

/* ---- reading ------------------------------------------------------------ */

typedef ManifestReader Reader;

static VlStatus bad(Reader *r, const char *what) { return manifest_bad(r, "prompts", what); }

static bool is_hash(const char *text) {
  return strlen(text) == 32 && strspn(text, "0123456789abcdef") == 32;
}

static VlStatus read_slot(Reader *r, json_t *o) {
  ManifestPrompts *m = &r->m->prompts;
  if (!o || json_is_null(o)) return VLPC_OK;
  json_t *rows = json_object_get(o, "rows");
  json_int_t n = json_integer_value(rows);
  if (!json_is_integer(rows) || n < 1 || n > MANIFEST_MAX_SLOT)
    return bad(r, "the slot's rows are missing or out of range");
  m->slot_rows = (uint32_t)n;
  m->slot_own = json_is_true(json_object_get(o, "own"));
  m->slot_phrase = manifest_text(r, o, "phrase");
  if (m->slot_phrase && strlen(m->slot_phrase) > MANIFEST_MAX_SLOT)
    return bad(r, "the slot's phrase is too long");
  const char *place = manifest_text(r, o, "place");
  for (size_t i = 0; place && i < VL_COUNT(place_words); i++) {
    if (strcmp(place, place_words[i]) == 0) m->slot_place = place_words[i];
  }
  return m->slot_place ? VLPC_OK : bad(r, "the slot's place is not end, middle or front");
}

static VlStatus read_templates(Reader *r, json_t *list, const char ***out, uint32_t *count) {
  size_t n = json_array_size(list);
  if (!list) return VLPC_OK;
  if (!json_is_array(list) || n > MANIFEST_MAX_TEMPLATES)
    return bad(r, "\"templates\" is not a list, or too long");
  *out = arena_array(r->a, const char *, n);
  for (size_t i = 0; i < n; i++) {
    const char *text = json_string_value(json_array_get(list, i));
    if (!text || !strstr(text, "{}") || strlen(text) > MANIFEST_MAX_SLOT)
      return bad(r, "a template is no text with {}");
    (*out)[i] = arena_strdup(r->a, text);
  }
  *count = (uint32_t)n;
  return VLPC_OK;
}

static VlStatus read_init(Reader *r, json_t *o, ManifestInit *out) {
  if (!o || json_is_null(o)) return VLPC_OK;
  for (int k = INIT_words; k < INIT__COUNT; k++) {
    json_t *v = json_object_get(o, init_row[k].name), *first = json_object_get(o, "first");
    if (!v) continue;
    json_int_t row = json_integer_value(first);
    *out = (ManifestInit){.kind = (ManifestInitKind)k, .value = json_number_value(v),
                          .text = manifest_text(r, o, init_row[k].name), .first = (uint32_t)row};
    if (init_row[k].is_text ? !out->text : !json_is_number(v) || !isfinite(out->value)) break;
    if (row < 0 || row > MANIFEST_MAX_SLOT) break;
    return VLPC_OK;
  }
  return bad(r, "a trainable's init is of no known kind");
}

static bool read_sizes(json_t *list, ManifestTrainable *t) {
  uint64_t bytes = dtype_size(t->dtype);
  if (!json_is_array(list) || json_array_size(list) > VLPC_MAX_RANK) return false;
  t->rank = (uint32_t)json_array_size(list);
  if (t->class_rows && t->rank == 0) return false;
  for (uint32_t i = 0; i < t->rank; i++) {
    json_t *v = json_array_get(list, i);
    t->size[i] = json_integer_value(v);
    bool open = i == 0 && t->class_rows && t->size[0] == -1;
    if (!json_is_integer(v) || (!open && t->size[i] < 1) || t->size[i] > INT32_MAX ||
        !vl_mul_u64(bytes, open ? 1 : (uint64_t)t->size[i], &bytes) || bytes > INT64_MAX)
      return false;
  }
  return true;
}

static VlStatus read_trainable(Reader *r, json_t *o, Names *names, ManifestTrainable *t) {
  uint32_t known = names_count(names);
  const char *dtype = manifest_text(r, o, "dtype");
  *t = (ManifestTrainable){.name = manifest_text(r, o, "name"),
                           .class_rows = json_is_true(json_object_get(o, "class_rows"))};
  if (!t->name || !t->name[0] || names_add(names, t->name, strlen(t->name)) != known)
    return bad(r, "a trainable has no name, or the name of another");
  if (!dtype || !dtype_parse(dtype, strlen(dtype), &t->dtype) || !dtype_is_float(t->dtype))
    return bad(r, "a trainable's element type is none of f32, f16, bf16, f64");
  if (!read_sizes(json_object_get(o, "shape"), t))
    return bad(r, "a trainable's shape is missing or out of range");
  return read_init(r, json_object_get(o, "init"), &t->init);
}

/* A number of rows, or -1; absent: 0. */
static bool read_rows(json_t *o, const char *key, int64_t *out) {
  json_t *v = json_object_get(o, key);
  *out = json_integer_value(v);
  return (!v || json_is_integer(v)) && *out >= -1 && *out <= INT32_MAX;
}

static VlStatus read_layout_row(Reader *r, json_t *o, ManifestLayoutRow *x) {
  json_t *mix = json_object_get(o, "mix");
  *x = (ManifestLayoutRow){.point = manifest_text(r, o, "point"),
                           .action = manifest_text(r, o, "action"),
                           .segment = manifest_text(r, o, "segment"),
                           .value = manifest_text(r, o, "value"),
                           .per = manifest_text(r, o, "per"),
                           .time = manifest_text(r, o, "time")};
  for (size_t i = 0; i < VL_COUNT(x->mix); i++)
    x->mix[i] = json_number_value(json_array_get(mix, i));
  bool whole = x->point && x->action && isfinite(x->mix[0]) && isfinite(x->mix[1]);
  if (whole && read_rows(o, "stream", &x->stream) && read_rows(o, "first", &x->first) &&
      read_rows(o, "rows", &x->rows))
    return VLPC_OK;
  return bad(r, "a row of \"layout\" lacks its point or action, or a number is out of range");
}

static VlStatus read_layout(Reader *r, json_t *list) {
  ManifestPrompts *m = &r->m->prompts;
  if (!list) return VLPC_OK;
  if (!json_is_array(list) || json_array_size(list) > MANIFEST_MAX_LAYOUT)
    return bad(r, "\"layout\" is not a list, or too long");
  m->layout = arena_array(r->a, ManifestLayoutRow, json_array_size(list));
  for (; m->n_layout < json_array_size(list); m->n_layout++)
    VL_TRY(read_layout_row(r, json_array_get(list, m->n_layout), &m->layout[m->n_layout]));
  return VLPC_OK;
}

/* ---- against the program ------------------------------------------------ */

static bool same_size(const Program *p, DimId id, int64_t size) {
  int64_t n;
  return size < 0 || !dim_is_const(p->dims, id, &n) || n == size;
}

/* Every input of a trainable's name has its type and shape. */
static bool ports_fit(const Program *p, const ManifestTrainable *t) {
  for (uint32_t i = 0; i < p->n_entries; i++) {
    const ProgEntry *e = &p->entries[i];
    for (uint32_t k = e->in; k < e->in + e->n_in; k++) {
      const ProgBuf *b = &p->bufs[p->ports[k].buf];
      if (strcmp(p->ports[k].name, t->name) != 0) continue;
      if (b->dtype != t->dtype || b->rank != t->rank) return false;
      for (uint32_t x = 0; x < b->rank; x++)
        if (!same_size(p, b->size[x], t->size[x])) return false;
    }
  }
  return true;
}

static bool is_trainable(const ManifestPrompts *m, const char *name) {
  for (uint32_t i = 0; i < m->n_trainables; i++)
    if (strcmp(m->trainable[i].name, name) == 0) return true;
  return false;
}

static bool buffers_agree(const Program *p, const ProgBuf *a, const ProgBuf *b) {
  int64_t n;
  if (a->dtype != b->dtype || a->rank != b->rank) return false;
  for (uint32_t x = 0; x < a->rank; x++)
    if (dim_is_const(p->dims, a->size[x], &n) && !same_size(p, b->size[x], n)) return false;
  return true;
}

/* Each input of the name that an output of the prompts' entry has. */
static bool results_fit(const Program *p, const ProgEntry *from, uint32_t out) {
  const ProgPort *made = &p->ports[from->out + out];
  for (uint32_t i = 0; i < p->n_entries; i++) {
    const ProgEntry *e = &p->entries[i];
    for (uint32_t k = e->in; k < e->in + e->n_in; k++) {
      if (strcmp(p->ports[k].name, made->name) == 0 &&
          (e == from || !buffers_agree(p, &p->bufs[made->buf], &p->bufs[p->ports[k].buf])))
        return false;
    }
  }
  return true;
}

static VlStatus check_entry(Reader *r) {
  const ManifestPrompts *m = &r->m->prompts;
  const ManifestEntry *e = m->entry ? manifest_entry(r, m->entry) : NULL;
  if (!m->entry) return VLPC_OK;
  if (!e) return bad(r, "it names an entry that the program does not have");
  if ((uint32_t)(e - r->m->entries) + 1u + r->m->n_stand_ins != r->m->n_entries)
    return bad(r, "its entry does not stand behind the entries for callers");
  const ProgEntry *pe = &r->p->entries[e - r->m->entries];
  for (uint32_t i = 0; i < pe->n_in; i++) {
    if (!is_trainable(m, r->p->ports[pe->in + i].name))
      return bad(r, "its entry has an input that is no trainable");
  }
  for (uint32_t i = 0; i < pe->n_out; i++) {
    if (!results_fit(r->p, pe, i))
      return bad(r, "a result of its entry does not fit the input of its name");
  }
  return VLPC_OK;
}

VlStatus manifest_read_prompts(Reader *r, json_t *o) {
  ManifestPrompts *m = &r->m->prompts;
  if (!o || json_is_null(o)) return VLPC_OK;
  m->method = manifest_text(r, o, "method");
  m->base = manifest_text(r, o, "base");
  m->entry = manifest_text(r, o, "entry");
  m->loss_per_photo = json_is_true(json_object_get(o, "loss_per_photo"));
  m->loss_weights = manifest_text(r, o, "loss_weights");
  if (!m->method || !m->method[0]) return bad(r, "\"method\" is missing");
  if (m->base && !is_hash(m->base)) return bad(r, "\"base\" is not 32 hexadecimal digits");
  VL_TRY(read_slot(r, json_object_get(o, "slot")));
  VL_TRY(read_templates(r, json_object_get(o, "templates"), &m->templates, &m->n_templates));
  VL_TRY(read_templates(r, json_object_get(o, "frozen_templates"), &m->frozen_templates,
                        &m->n_frozen_templates));
  VL_TRY(read_layout(r, json_object_get(o, "layout")));
  json_t *list = json_object_get(o, "trainable");
  if (!json_is_array(list) || json_array_size(list) > MANIFEST_MAX_TRAINABLES)
    return bad(r, "\"trainable\" is not a list, or too long");
  m->n_trainables = (uint32_t)json_array_size(list);
  m->trainable = arena_array(r->a, ManifestTrainable, m->n_trainables);
  Names *names = names_new(r->a);
  for (uint32_t i = 0; i < m->n_trainables; i++) {
    VL_TRY(read_trainable(r, json_array_get(list, i), names, &m->trainable[i]));
    if (!ports_fit(r->p, &m->trainable[i]))
      return bad(r, "a trainable does not fit the input of its name");
  }
  return check_entry(r);
}
