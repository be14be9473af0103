/* SPDX-License-Identifier: Apache-2.0 */
/* declaration.c - reads a prompt module's declaration.
**
** Strict: a key that is not known, a value of another kind or an index out of
** range is an error that names where it stands, because a word spelt wrong would
** otherwise be a prompt that silently does something else. */
#include "compiler/declaration.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "base/map.h"

typedef struct {
  Arena *a;
  const char *file;
  Diag *d;
} Reader;

static const char *const place_name[] = {
    [SLOT_END] = "end", [SLOT_MIDDLE] = "middle", [SLOT_FRONT] = "front"};

const char *slot_place_name(SlotPlace p) { return place_name[p]; }

static VlStatus bad(Reader *r, const char *where, const char *found, const char *expected) {
  DiagAt at = {r->file, arena_printf(r->a, "declaration, %s", where)};
  VlStatus s = diag_error(r->d, DIAG_LINK_SPEC, at, "this part of the declaration is malformed");
  if (found) diag_found(r->d, "%s", found);
  if (expected) diag_expected(r->d, "%s", expected);
  diag_fix(r->d, "see docs/prompt-modules.md");
  return s;
}

static const char *kind_of(const json_t *v) {
  static const char *const names[] = {"an object", "a list", "a string", "a whole number",
                                      "a number",  "true",   "false",    "null"};
  return v ? names[json_typeof(v)] : "nothing";
}

/* Keys are those of the list, NULL-terminated. */
static VlStatus known_keys(Reader *r, json_t *o, const char *where, const char *const *keys) {
  const char *key = NULL;
  json_t *value = NULL;
  if (!json_is_object(o)) return bad(r, where, kind_of(o), "an object");
  json_object_foreach(o, key, value) {
    uint32_t i = 0;
    while (keys[i] && strcmp(keys[i], key) != 0) i++;
    if (keys[i]) continue;
    Str list = {.arena = r->a};
    for (i = 0; keys[i]; i++) str_printf(&list, "%s%s", i ? ", " : "", keys[i]);
    return bad(r, where, arena_printf(r->a, "the key '%.64s'", key), str_text(&list));
  }
  return VLPC_OK;
}

/* A string that has to be there, or may be missing (need false: NULL). */
static VlStatus text_at(Reader *r, json_t *o, const char *where, const char *key, bool need,
                        const char **out) {
  json_t *v = json_object_get(o, key);
  *out = NULL;
  if (!v && !need) return VLPC_OK;
  const char *s = json_string_value(v);
  if (!s || !*s || json_string_length(v) != strlen(s) || strlen(s) > 512)
    return bad(r, arena_printf(r->a, "%s.%s", where, key), kind_of(v),
               "a string of 1 to 512 bytes");
  *out = arena_strdup(r->a, s);
  return VLPC_OK;
}

static VlStatus flag_at(Reader *r, json_t *o, const char *where, const char *key, bool *out) {
  json_t *v = json_object_get(o, key);
  *out = json_is_true(v);
  if (!v || json_is_boolean(v)) return VLPC_OK;
  return bad(r, arena_printf(r->a, "%s.%s", where, key), kind_of(v), "true or false");
}

static VlStatus count_at(Reader *r, json_t *o, const char *where, const char *key,
                         const uint32_t range[2], uint32_t *out) {
  json_t *v = json_object_get(o, key);
  json_int_t n = json_integer_value(v);
  if (!json_is_integer(v) || n < range[0] || n > range[1])
    return bad(r, arena_printf(r->a, "%s.%s", where, key), kind_of(v),
               arena_printf(r->a, "a whole number from %u to %u", range[0], range[1]));
  *out = (uint32_t)n;
  return VLPC_OK;
}

typedef VlStatus ItemFn(Reader *r, json_t *o, const char *where, void *out);

/* Each object of a list (absent: none) into an array of records. */
typedef struct {
  const char *key;
  size_t record;
  ItemFn *fn;
  uint32_t most; /* entries */
} ListOf;

static VlStatus each(Reader *r, json_t *root, ListOf of, void **out, uint32_t *n) {
  const char *key = of.key;
  json_t *list = json_object_get(root, key);
  *n = 0;
  if (!list) return VLPC_OK;
  if (!json_is_array(list)) return bad(r, key, kind_of(list), "a list");
  if (json_array_size(list) > of.most)
    return bad(r, key, arena_printf(r->a, "%zu entries", json_array_size(list)),
               arena_printf(r->a, "at most %u entries", of.most));
  *n = (uint32_t)json_array_size(list);
  uint8_t *at = arena_array_bytes(r->a, *n, of.record);
  *out = at;
  for (uint32_t i = 0; i < *n; i++) {
    json_t *o = json_array_get(list, i);
    VL_TRY(of.fn(r, o, arena_printf(r->a, "%s[%u]", key, i), at + i * of.record));
  }
  return VLPC_OK;
}

/* ---- trainables ------------------------------------------------------------------ */

static const struct {
  const char *key;
  bool is_text;
} init_kind[INIT__COUNT] = {[INIT_words] = {"words", true},      [INIT_normal] = {"normal", false},
                            [INIT_uniform] = {"uniform", false}, [INIT_copy] = {"copy", true},
                            [INIT_fill] = {"fill", false}};

static VlStatus read_init(Reader *r, json_t *o, const char *where, ManifestInit *out) {
  static const char *const keys[] = {"words",   "first", "normal", "uniform",
                                     "copy",    "fill",  NULL};
  uint32_t n = 0;
  *out = (ManifestInit){0};
  if (!o) return VLPC_OK;
  VL_TRY(known_keys(r, o, where, keys));
  for (int k = INIT_words; k < INIT__COUNT; k++) {
    json_t *v = json_object_get(o, init_kind[k].key);
    if (!v) continue;
    n++;
    out->kind = (ManifestInitKind)k;
    out->value = json_number_value(v);
    if (init_kind[k].is_text) VL_TRY(text_at(r, o, where, init_kind[k].key, true, &out->text));
    else if (!json_is_number(v) || !isfinite(out->value))
      return bad(r, arena_printf(r->a, "%s.%s", where, init_kind[k].key), kind_of(v), "a number");
    else if (k != INIT_fill && out->value < 0)
      return bad(r, arena_printf(r->a, "%s.%s", where, init_kind[k].key), "a negative number",
                 "a number from 0");
  }
  if (n != 1)
    return bad(r, where, n ? "more than one kind" : "no kind",
               "words, normal, uniform, copy or fill");
  static const uint32_t range[] = {0, MANIFEST_MAX_SLOT};
  return json_object_get(o, "first") ? count_at(r, o, where, "first", range, &out->first)
                                     : VLPC_OK;
}

static VlStatus read_trainable(Reader *r, json_t *o, const char *where, void *out) {
  static const char *const keys[] = {"name", "init", "class_rows", "fixed", NULL};
  DeclaredTrainable *t = out;
  VL_TRY(known_keys(r, o, where, keys));
  VL_TRY(text_at(r, o, where, "name", true, &t->name));
  VL_TRY(flag_at(r, o, where, "class_rows", &t->class_rows));
  VL_TRY(flag_at(r, o, where, "fixed", &t->fixed));
  return read_init(r, json_object_get(o, "init"), arena_printf(r->a, "%s.init", where), &t->init);
}

/* Names are each one's own, and what is copied comes before. */
static VlStatus check_names(Reader *r, const Declaration *x) {
  Names *names = names_new(r->a);
  uint32_t from = 0;
  for (uint32_t i = 0; i < x->n_trainables; i++) {
    const DeclaredTrainable *t = &x->trainable[i];
    const char *copied = t->init.kind == INIT_copy ? t->init.text : NULL;
    if (copied && !names_find(names, copied, strlen(copied), &from))
      return bad(r, arena_printf(r->a, "trainable[%u].init.copy", i), copied,
                 "the name of a trainable before it");
    if (names_add(names, t->name, strlen(t->name)) != i)
      return bad(r, arena_printf(r->a, "trainable[%u].name", i), t->name,
                 "a name that no other trainable has");
  }
  return VLPC_OK;
}

/* ---- taps and writes ---------------------------------------------------------------- */

static VlStatus read_tap(Reader *r, json_t *o, const char *where, void *out) {
  static const char *const keys[] = {"input", "from", "segment", "grad", NULL};
  LinkTap *t = out;
  const char *grad = NULL;
  VL_TRY(known_keys(r, o, where, keys));
  VL_TRY(text_at(r, o, where, "input", true, &t->input));
  VL_TRY(text_at(r, o, where, "from", true, &t->from));
  VL_TRY(text_at(r, o, where, "segment", false, &t->segment));
  VL_TRY(text_at(r, o, where, "grad", false, &grad));
  t->stop = grad && strcmp(grad, "stop") == 0;
  if (!grad || t->stop || strcmp(grad, "pass") == 0) return VLPC_OK;
  return bad(r, arena_printf(r->a, "%s.grad", where), grad, "pass or stop");
}

static const ListOf list_of_taps = {"taps", sizeof(LinkTap), read_tap, DECLARATION_LIST};

static VlStatus read_write(Reader *r, json_t *o, const char *where, void *out) {
  static const char *const keys[] = {"point", "segment", "value", "drop", NULL};
  LinkWrite *w = out;
  bool drop = false;
  VL_TRY(known_keys(r, o, where, keys));
  VL_TRY(text_at(r, o, where, "point", true, &w->point));
  VL_TRY(text_at(r, o, where, "segment", false, &w->segment));
  VL_TRY(text_at(r, o, where, "value", false, &w->value));
  VL_TRY(flag_at(r, o, where, "drop", &drop));
  if (drop == (w->value == NULL)) return VLPC_OK;
  return bad(r, where, drop ? "a value and a drop" : "neither a value nor a drop", "one of them");
}

/* ---- the whole ---------------------------------------------------------------------- */

static VlStatus read_slot(Reader *r, json_t *o, Declaration *out) {
  static const char *const keys[] = {"rows", "place", "phrase", NULL};
  const char *place = NULL;
  if (!o) return VLPC_OK;
  VL_TRY(known_keys(r, o, "slot", keys));
  VL_TRY(count_at(r, o, "slot", "rows", (const uint32_t[]){1, MANIFEST_MAX_SLOT},
                  &out->slot_rows));
  VL_TRY(text_at(r, o, "slot", "place", false, &place));
  VL_TRY(text_at(r, o, "slot", "phrase", false, &out->phrase));
  for (uint32_t i = 0; place && i <= VL_COUNT(place_name); i++) {
    if (i == VL_COUNT(place_name)) return bad(r, "slot.place", place, "end, middle or front");
    if (strcmp(place, place_name[i]) != 0) continue;
    out->place = (SlotPlace)i;
    break;
  }
  return VLPC_OK;
}

static VlStatus read_template(Reader *r, json_t *o, const char *where, void *out) {
  const char *s = json_string_value(o);
  if (!s || !strstr(s, "{}") || strlen(s) > 512)
    return bad(r, where, kind_of(o), "a text of up to 512 bytes with {} for the class");
  *(const char **)out = arena_strdup(r->a, s);
  return VLPC_OK;
}

static const ListOf list_of_templates = {"templates", sizeof(const char *), read_template,
                                         MANIFEST_MAX_TEMPLATES};

static VlStatus read_loss(Reader *r, json_t *o, const char *where, DeclaredLoss *out) {
  void *at = NULL;
  VL_TRY(text_at(r, o, where, "file", true, &out->file));
  if (strchr(out->file, '/'))
    return bad(r, arena_printf(r->a, "%s.file", where), out->file,
               "the name of a file in the module's folder");
  VL_TRY(each(r, o, list_of_taps, &at, &out->n_taps));
  out->tap = at;
  return VLPC_OK;
}

/* How many epochs the first one takes is the recipe's to say: the number here is for
** readers of the file. */
static VlStatus read_losses(Reader *r, json_t *o, DeclaredLoss out[TRAIN_LOSSES]) {
  static const char *const keys[] = {"file", "taps", "per_photo", "weights",
                                     "templates", "epochs", "next", NULL};
  json_t *next = json_object_get(o, "next");
  uint32_t epochs;
  void *at = NULL;
  if (!o) return VLPC_OK;
  VL_TRY(known_keys(r, o, "loss", keys));
  VL_TRY(read_loss(r, o, "loss", &out[0]));
  VL_TRY(flag_at(r, o, "loss", "per_photo", &out[0].per_photo));
  VL_TRY(text_at(r, o, "loss", "weights", false, &out[0].weights));
  VL_TRY(each(r, o, list_of_templates, &at, &out[0].n_templates));
  out[0].templates = at;
  if (!next && !json_object_get(o, "epochs")) return VLPC_OK;
  VL_TRY(count_at(r, o, "loss", "epochs", (const uint32_t[]){1, 1000000}, &epochs));
  if (!json_is_object(next)) return bad(r, "loss.next", kind_of(next), "an object");
  VL_TRY(known_keys(r, next, "loss.next", (const char *const[]){"file", "taps", NULL}));
  return read_loss(r, next, "loss.next", &out[1]);
}

static VlStatus read_root(Reader *r, json_t *o, Declaration *out) {
  static const char *const keys[] = {"vlpc_prompt", "method", "slot", "templates", "trainable",
                                     "taps",        "writes", "lift", "loss",      NULL};
  json_t *version = json_object_get(o, "vlpc_prompt");
  const char *lift = NULL;
  void *at = NULL;
  VL_TRY(known_keys(r, o, "the whole", keys));
  if (json_integer_value(version) != DECLARATION_VERSION)
    return bad(r, "vlpc_prompt", kind_of(version), "1, the version of declarations");
  VL_TRY(text_at(r, o, "the whole", "method", true, &out->method));
  VL_TRY(text_at(r, o, "the whole", "lift", false, &lift));
  if (lift && strcmp(lift, "image") != 0) return bad(r, "lift", lift, "image");
  out->lift = lift != NULL;
  VL_TRY(read_slot(r, json_object_get(o, "slot"), out));
  VL_TRY(each(r, o, list_of_templates, &at, &out->n_templates));
  out->templates = at, at = NULL;
  ListOf trainables = {"trainable", sizeof(DeclaredTrainable), read_trainable, DECLARATION_LIST};
  VL_TRY(each(r, o, trainables, &at, &out->n_trainables));
  out->trainable = at, at = NULL;
  VL_TRY(check_names(r, out));
  VL_TRY(each(r, o, list_of_taps, &at, &out->n_taps));
  out->tap = at, at = NULL;
  ListOf writes = {"writes", sizeof(LinkWrite), read_write, DECLARATION_LIST};
  VL_TRY(each(r, o, writes, &at, &out->n_writes));
  out->write = at;
  return read_losses(r, json_object_get(o, "loss"), out->loss);
}

static void drop_json(void *root) { json_decref(root); }

VlStatus declaration_read(const char *text, size_t n, Arena *a, const char *file, Diag *d,
                          Declaration *out) {
  Reader r = {a, file, d};
  json_error_t error;
  *out = (Declaration){0};
  if (n > DECLARATION_MAX) return bad(&r, "the whole", "more than 1 MiB", "at most 1 MiB");
  json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
  if (!root)
    return bad(&r, arena_printf(a, "line %d, column %d", error.line, error.column),
               arena_strndup(a, error.text, strnlen(error.text, 120)), "JSON");
  arena_defer(a, drop_json, root);
  return read_root(&r, root, out);
}
