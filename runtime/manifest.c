/* SPDX-License-Identifier: Apache-2.0 */
/* manifest.c - writes and reads the manifest.
**
** Writing has one order of keys, so equal manifests are equal bytes.  Reading
** goes through jansson (depth-limited, duplicate keys refused) and copies what
** it keeps, so nothing of the library's stays. */
#include <inttypes.h>
#include <string.h>

#include "base/train_entries.h"
#include "runtime/manifest_int.h"

/* ---- writing ------------------------------------------------------------ */

const char *manifest_size_text(const DimTable *t, DimId d, Arena *a) {
  Dim v = dim_get(t, d);
  Str s = {.arena = a};
  for (uint32_t i = 0; i < v.n; i++) {
    if (s.n) str_add(&s, " + ");
    if (v.term[i].k != 1) str_printf(&s, "%" PRId64 "*", v.term[i].k);
    str_add(&s, dim_symbol_name(t, v.term[i].sym));
  }
  if (v.c != 0 || v.n == 0) str_printf(&s, s.n ? " + %" PRId64 : "%" PRId64, v.c);
  return str_text(&s);
}

static void add_text(Str *s, const char *text) { str_json(s, text, strlen(text)); }

static void add_key(Str *s, const char *key, const char *text) {
  str_printf(s, "\"%s\": ", key);
  if (text) add_text(s, text);
  else str_add(s, "null");
}

static void write_port(const ManifestPort *m, const Program *p, const ProgPort *port, Str *s) {
  const ProgBuf *b = &p->bufs[port->buf];
  str_add(s, "{");
  add_key(s, "name", m->name);
  str_add(s, ", \"aliases\": [");
  for (size_t i = 0; m->aliases && m->aliases[i]; i++) {
    if (i) str_add(s, ", ");
    add_text(s, m->aliases[i]);
  }
  str_add(s, "], ");
  add_key(s, "dtype", dtype_name(b->dtype));
  str_add(s, ", \"shape\": [");
  for (uint32_t i = 0; i < b->rank; i++) {
    if (i) str_add(s, ", ");
    add_text(s, manifest_size_text(p->dims, b->size[i], s->arena));
  }
  str_add(s, "]}");
}

static void write_ports(const char *key, const ManifestPort *m, uint32_t n, const Program *p,
                        uint32_t first, Str *s) {
  str_printf(s, "     \"%s\": [", key);
  for (uint32_t i = 0; i < n; i++) {
    str_add(s, i ? ",\n       " : "\n       ");
    write_port(&m[i], p, &p->ports[first + i], s);
  }
  str_add(s, "]");
}

static void write_role(const char *key, const ManifestRole *r, Str *s) {
  str_printf(s, "  \"%s\": ", key);
  if (!r->entry) {
    str_add(s, "null,\n");
    return;
  }
  str_add(s, "{");
  add_key(s, "entry", r->entry), str_add(s, ", ");
  add_key(s, "input", r->input), str_add(s, ", ");
  add_key(s, "mask", r->mask), str_add(s, ", ");
  add_key(s, "output", r->output);
  if (r->eot) str_printf(s, ", \"eot\": %" PRId64, r->eot);
  str_add(s, "},\n");
}

void manifest_write(const Manifest *m, const Program *p, Str *s) {
  VL_CHECK(m->n_entries == p->n_entries, "the manifest lists every entry");
  str_add(s, "{\n  "), add_key(s, "compiler", m->compiler);
  str_add(s, ",\n  "), add_key(s, "model", m->model);
  str_add(s, ",\n  "), add_key(s, "precision", m->precision);
  str_printf(s, ",\n  \"image_size\": %" PRId32 ",\n  \"context_length\": %" PRId32, m->image_size,
             m->context_length);
  str_printf(s, ",\n  \"embed_dim\": %" PRId32 ",\n  \"logit_scale\": ", m->embed_dim);
  str_f64(s, m->logit_scale);
  str_add(s, ",\n");
  write_role("image", &m->image, s);
  write_role("text", &m->text, s);
  if (m->scores.entry) write_role("scores", &m->scores, s);
  manifest_write_prompts(&m->prompts, s);
  str_add(s, "  \"entries\": [");
  for (uint32_t i = 0; i < m->n_entries; i++) {
    const ManifestEntry *e = &m->entries[i];
    str_add(s, i ? ",\n    {" : "\n    {"), add_key(s, "name", e->name), str_add(s, ",\n");
    if (e->rows) add_key(s, "rows", e->rows), str_add(s, ", ");
    if (e->lean) add_key(s, "lean", e->lean), str_add(s, ", ");
    if (e->ahead) add_key(s, "ahead", e->ahead), str_add(s, ", ");
    if (e->back) add_key(s, "back", e->back), str_add(s, ", ");
    write_ports("inputs", e->in, e->n_in, p, p->entries[i].in, s), str_add(s, ",\n");
    write_ports("outputs", e->out, e->n_out, p, p->entries[i].out, s), str_add(s, "}");
  }
  str_add(s, "],\n  \"points\": [");
  for (uint32_t i = 0; i < m->n_points; i++) {
    if (i) str_add(s, ", ");
    add_text(s, m->points[i]);
  }
  str_add(s, "]\n}\n");
}

/* ---- reading ------------------------------------------------------------ */

typedef ManifestReader Reader;

VlStatus manifest_bad(Reader *r, const char *place, const char *what) {
  DiagAt at = {r->file, "manifest"};
  VlStatus s = diag_error(r->d, DIAG_MANIFEST, at, "%s: %s", place, what);
  diag_fix(r->d, "make the artifact again with vlpc compile");
  return s;
}

const char *manifest_text(Reader *r, json_t *o, const char *key) {
  const char *v = json_string_value(json_object_get(o, key));
  return v ? arena_strdup(r->a, v) : NULL;
}

static bool count_of(json_t *o, const char *key, int32_t *out) {
  json_t *v = json_object_get(o, key);
  json_int_t n = json_integer_value(v);
  if (!json_is_integer(v) || n < 0 || n > 1 << 16) return false;
  *out = (int32_t)n;
  return true;
}

/* A list of texts; the result has a NULL behind its last. */
static bool texts_of(Reader *r, json_t *list, const char ***out, uint32_t *n) {
  if (!json_is_array(list) || json_array_size(list) > 1 << 16) return false;
  *n = (uint32_t)json_array_size(list);
  *out = arena_array(r->a, const char *, *n + 1u);
  for (uint32_t i = 0; i < *n; i++) {
    const char *v = json_string_value(json_array_get(list, i));
    if (!v) return false;
    (*out)[i] = arena_strdup(r->a, v);
  }
  return true;
}

static VlStatus read_ports(Reader *r, json_t *list, uint32_t first, uint32_t n,
                           ManifestPort **out) {
  if (!json_is_array(list) || json_array_size(list) != n)
    return manifest_bad(r, "entries", "the ports are not those of the program");
  *out = arena_array(r->a, ManifestPort, n);
  for (uint32_t i = 0; i < n; i++) {
    json_t *o = json_array_get(list, i);
    const char **aliases;
    uint32_t n_aliases;
    (*out)[i].name = manifest_text(r, o, "name");
    if (!(*out)[i].name || strcmp((*out)[i].name, r->p->ports[first + i].name) != 0)
      return manifest_bad(r, "entries", "a port's name is not that of the program");
    if (!texts_of(r, json_object_get(o, "aliases"), &aliases, &n_aliases))
      return manifest_bad(r, "entries", "\"aliases\" is not a list of names");
    (*out)[i].aliases = aliases;
  }
  return VLPC_OK;
}

static VlStatus read_entries(Reader *r, json_t *list) {
  Manifest *m = r->m;
  if (!json_is_array(list) || json_array_size(list) != r->p->n_entries)
    return manifest_bad(r, "entries", "not a list of the program's entries");
  m->n_entries = r->p->n_entries;
  m->entries = arena_array(r->a, ManifestEntry, m->n_entries);
  for (uint32_t i = 0; i < m->n_entries; i++) {
    json_t *o = json_array_get(list, i);
    const ProgEntry *p = &r->p->entries[i];
    ManifestEntry *e = &m->entries[i];
    *e = (ManifestEntry){.name = manifest_text(r, o, "name"),
                         .rows = manifest_text(r, o, "rows"),
                         .lean = manifest_text(r, o, "lean"),
                         .ahead = manifest_text(r, o, "ahead"),
                         .back = manifest_text(r, o, "back"),
                         .n_in = p->n_in,
                         .n_out = p->n_out};
    if (!e->name || strcmp(e->name, p->name) != 0)
      return manifest_bad(r, "entries", "an entry's name is not that of the program");
    VL_TRY(read_ports(r, json_object_get(o, "inputs"), p->in, p->n_in, &e->in));
    VL_TRY(read_ports(r, json_object_get(o, "outputs"), p->out, p->n_out, &e->out));
  }
  return VLPC_OK;
}

/* Entries that others name. */
static void count_stand_ins(Reader *r) {
  Manifest *m = r->m;
  bool *named = arena_array(r->a, bool, m->n_entries);
  for (uint32_t i = 0; i < m->n_entries; i++) {
    const ManifestEntry *e = &m->entries[i];
    const char *const name[] = {e->rows, e->lean, e->ahead, e->back};
    for (size_t k = 0; k < VL_COUNT(name); k++) {
      const ManifestEntry *x = name[k] ? manifest_entry(r, name[k]) : NULL;
      if (x) named[x - m->entries] = true;
    }
  }
  for (uint32_t i = 0; i < m->n_entries; i++) m->n_stand_ins += named[i];
}

static bool has_port(const ManifestPort *at, uint32_t n, const char *name) {
  for (uint32_t i = 0; name && i < n; i++) {
    if (strcmp(at[i].name, name) == 0) return true;
  }
  return false;
}

const ManifestEntry *manifest_entry(const Reader *r, const char *name) {
  for (uint32_t i = 0; i < r->m->n_entries; i++) {
    if (strcmp(r->m->entries[i].name, name) == 0) return &r->m->entries[i];
  }
  return NULL;
}

/* One of the last entries. */
static const ManifestEntry *not_for_callers(const Reader *r, const char *name) {
  const Manifest *m = r->m;
  const ManifestEntry *e = name ? manifest_entry(r, name) : NULL;
  return e && e - m->entries >= (ptrdiff_t)(m->n_entries - m->n_stand_ins) ? e : NULL;
}

/* Such a one with outputs of the same names in the same order. */
static const ManifestEntry *stand_in(const Reader *r, const ManifestEntry *whole,
                                     const char *name) {
  const ManifestEntry *e = not_for_callers(r, name);
  if (!e || e <= whole || e->n_out != whole->n_out) return NULL;
  for (uint32_t i = 0; i < e->n_out; i++)
    if (strcmp(e->out[i].name, whole->out[i].name) != 0) return NULL;
  return e;
}

static uint32_t inputs_known(const ManifestEntry *e, const ManifestEntry *whole) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < e->n_in; i++) n += has_port(whole->in, whole->n_in, e->in[i].name);
  return n;
}

/* The four inputs, perhaps the rows' sources, and perhaps others of the whole entry's. */
static bool rows_entry_fits(const Reader *r, const ManifestEntry *whole) {
  static const char *const input[] = {"row_ids", "row_positions", "run_bounds", "row_ends"};
  const ManifestEntry *e = stand_in(r, whole, whole->rows);
  if (!e || e->rows) return false;
  for (size_t i = 0; i < VL_COUNT(input); i++)
    if (!has_port(e->in, e->n_in, input[i])) return false;
  bool sourced = has_port(e->in, e->n_in, "row_sources");
  return e->n_in == VL_COUNT(input) + sourced + inputs_known(e, whole);
}

static uint32_t outputs_known(const ManifestEntry *e, const ManifestEntry *whole) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < e->n_out; i++) n += has_port(whole->out, whole->n_out, e->out[i].name);
  return n;
}

/* A head with its two others; that all of the whole entry's outputs are made is for chunks.c to
** see, with their types. */
static bool chunks_fit(const Reader *r, const ManifestEntry *whole, const ManifestEntry *e) {
  const ManifestEntry *ahead = not_for_callers(r, e->ahead), *back = not_for_callers(r, e->back);
  if (!ahead || !back || e <= whole || ahead <= e || back <= e) return false;
  if (e->rows || e->lean || ahead->rows || ahead->lean || back->rows || back->lean) return false;
  return e->n_in == 1 + inputs_known(e, whole) && has_port(e->in, e->n_in, CHUNK_FEATURES) &&
         e->n_out == 1 + outputs_known(e, whole) &&
         has_port(e->out, e->n_out, "grad." CHUNK_FEATURES) &&
         ahead->n_in == inputs_known(ahead, whole) && ahead->n_out == 1 &&
         has_port(ahead->out, ahead->n_out, CHUNK_FEATURES) &&
         back->n_in == 1 + inputs_known(back, whole) &&
         has_port(back->in, back->n_in, CHUNK_GRADIENT) &&
         back->n_out == outputs_known(back, whole) && has_port(ahead->in, ahead->n_in, "row_ids");
}

static bool lean_entry_fits(const Reader *r, const ManifestEntry *whole) {
  const ManifestEntry *head = not_for_callers(r, whole->lean);
  if (head && (head->ahead || head->back)) return chunks_fit(r, whole, head);
  const ManifestEntry *e = stand_in(r, whole, whole->lean);
  return e && e->n_in == whole->n_in && inputs_known(e, whole) == e->n_in;
}

static bool is_lean(const Manifest *m, const char *name) {
  for (uint32_t i = 0; i < m->n_entries; i++)
    if (m->entries[i].lean && strcmp(m->entries[i].lean, name) == 0) return true;
  return false;
}

static VlStatus check_stand_ins(Reader *r) {
  const Manifest *m = r->m;
  for (uint32_t i = 0; i < m->n_entries; i++) {
    const ManifestEntry *e = &m->entries[i];
    bool lost_head = (e->ahead || e->back) && !is_lean(m, e->name);
    if (lost_head || (e->rows && !rows_entry_fits(r, e)) || (e->lean && !lean_entry_fits(r, e)))
      return manifest_bad(r, "entries", "an entry that stands in for another does not fit it");
  }
  return VLPC_OK;
}

static VlStatus read_role(Reader *r, json_t *o, const char *key, ManifestRole *out) {
  *out = (ManifestRole){0};
  if (!o || json_is_null(o)) return VLPC_OK;
  *out = (ManifestRole){.entry = manifest_text(r, o, "entry"),
                        .input = manifest_text(r, o, "input"),
                        .mask = manifest_text(r, o, "mask"),
                        .output = manifest_text(r, o, "output"),
                        .eot = json_integer_value(json_object_get(o, "eot"))};
  for (uint32_t i = 0; out->entry && i < r->m->n_entries; i++) {
    const ManifestEntry *e = &r->m->entries[i];
    if (strcmp(e->name, out->entry) != 0) continue;
    if (has_port(e->in, e->n_in, out->input) && has_port(e->out, e->n_out, out->output) &&
        (!out->mask || has_port(e->in, e->n_in, out->mask)))
      return VLPC_OK;
  }
  return manifest_bad(r, key, "it names an entry or a port that the program does not have");
}

static VlStatus read_root(Reader *r, json_t *root) {
  Manifest *m = r->m;
  m->compiler = manifest_text(r, root, "compiler");
  m->model = manifest_text(r, root, "model");
  m->precision = manifest_text(r, root, "precision");
  if (!m->compiler || !m->model || !m->precision)
    return manifest_bad(r, "compiler, model, precision", "a text is missing");
  json_t *scale = json_object_get(root, "logit_scale");
  m->logit_scale = json_number_value(scale);
  if (!count_of(root, "image_size", &m->image_size) ||
      !count_of(root, "context_length", &m->context_length) ||
      !count_of(root, "embed_dim", &m->embed_dim) || !json_is_number(scale) ||
      !(m->logit_scale >= 0 && m->logit_scale < 1e6))
    return manifest_bad(r, "image_size, context_length, embed_dim, logit_scale",
               "a number is missing or out of range");
  VL_TRY(read_entries(r, json_object_get(root, "entries")));
  count_stand_ins(r);
  VL_TRY(check_stand_ins(r));
  VL_TRY(read_role(r, json_object_get(root, "image"), "image", &m->image));
  VL_TRY(read_role(r, json_object_get(root, "text"), "text", &m->text));
  VL_TRY(read_role(r, json_object_get(root, "scores"), "scores", &m->scores));
  if (!texts_of(r, json_object_get(root, "points"), &m->points, &m->n_points))
    return manifest_bad(r, "points", "not a list of names");
  return manifest_read_prompts(r, json_object_get(root, "prompts"));
}

static void drop_json(void *root) { json_decref(root); }

VlStatus manifest_read(const void *bytes, size_t n, const Program *p, Arena *a, const char *file,
                       Diag *d, Manifest *out) {
  Reader r = {p, a, file, d, out};
  json_error_t error;
  *out = (Manifest){0};
  json_t *root = json_loadb(bytes, n, JSON_REJECT_DUPLICATES, &error);
  if (!root) {
    VlStatus s = manifest_bad(&r, "JSON", error.text);
    diag_found(d, "line %d, column %d", error.line, error.column);
    return s;
  }
  arena_defer(a, drop_json, root); /* the arena may jump out of what follows */
  return read_root(&r, root);
}
