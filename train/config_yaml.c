/* SPDX-License-Identifier: Apache-2.0 */
/* config_yaml.c - a configuration file: one mapping of keys to scalars, and one
** list of groups.  libyaml gives events; anything but the form is refused, and
** aliases too, so a file's meaning is no larger than the file. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "base/io.h"
#include "base/vec.h"
#include "train/config.h"

typedef struct {
  ConfigItem item;
  uint32_t line;
} Entry;

typedef struct {
  yaml_parser_t parser;
  yaml_event_t event;
  const char *name;
  Arena *arena;
  Diag *diag;
  VlStatus st;
  VEC(Entry) entries; /* in the order of the file */
} Reader;

static void release(void *p) {
  Reader *r = p;
  yaml_event_delete(&r->event);
  yaml_parser_delete(&r->parser);
}

static DiagAt at_line(Reader *r, uint32_t line) {
  return (DiagAt){r->name, arena_printf(r->arena, "line %" PRIu32, line)};
}

static uint32_t event_line(const Reader *r) { return (uint32_t)r->event.start_mark.line + 1; }

static bool fault(Reader *r, uint32_t line, const char *what) {
  if (r->st != VLPC_OK) return false;
  r->st = diag_error(r->diag, DIAG_CONFIG_SYNTAX, at_line(r, line), "%s", what);
  diag_expected(r->diag, "lines of KEY: VALUE, and groups as a list of match, lr, warmup_epochs "
                         "and weight_decay");
  diag_fix(r->diag, "correct this line; a run prints its configuration in the right form");
  return false;
}

/* Takes the next event; false, with the message given, when there is none. */
static bool next(Reader *r) {
  if (r->st != VLPC_OK) return false;
  yaml_event_delete(&r->event);
  if (yaml_parser_parse(&r->parser, &r->event) != 0) {
    if (r->event.type != YAML_ALIAS_EVENT) return true;
    return fault(r, event_line(r), "an alias is not taken here");
  }
  memset(&r->event, 0, sizeof r->event);
  uint32_t line = (uint32_t)r->parser.problem_mark.line + 1;
  return fault(r, line, r->parser.problem != NULL ? r->parser.problem : "this is not YAML");
}

static bool want(Reader *r, yaml_event_type_t type, const char *what) {
  return next(r) && (r->event.type == type || fault(r, event_line(r), what));
}

static const char *scalar(Reader *r) {
  const char *text = (const char *)r->event.data.scalar.value;
  size_t n = r->event.data.scalar.length;
  if (memchr(text, '\0', n) != NULL) fault(r, event_line(r), "a zero byte in a value");
  return arena_strndup(r->arena, text, n);
}

/* ---- groups ------------------------------------------------------------- */

typedef enum { GROUP_match, GROUP_lr, GROUP_warmup, GROUP_decay, GROUP__COUNT } GroupKey;

static bool read_group(Reader *r, Str *out) {
  static const char *const names[] = {"match", "lr", "warmup_epochs", "weight_decay"};
  const char *value[GROUP__COUNT] = {NULL};
  uint32_t line = event_line(r);
  while (next(r) && r->event.type == YAML_SCALAR_EVENT) {
    const char *key = scalar(r);
    size_t k = 0;
    while (k < GROUP__COUNT && strcmp(key, names[k]) != 0) k++;
    if (k == GROUP__COUNT || value[k] != NULL)
      return fault(r, event_line(r), "a key that a group does not have, or twice");
    if (!want(r, YAML_SCALAR_EVENT, "a value of a group is no scalar")) return false;
    value[k] = scalar(r);
  }
  if (r->st != VLPC_OK) return false;
  for (size_t k = 0; k < GROUP__COUNT; k++) {
    if (value[k] == NULL || strpbrk(value[k], k == GROUP_match ? "," : ",:") != NULL)
      return fault(r, line, "a group lacks a key, or a value has a comma or colon");
    str_printf(out, "%s%s", k > 0 ? ":" : out->n > 0 ? "," : "", value[k]);
  }
  return r->event.type == YAML_MAPPING_END_EVENT ||
         fault(r, event_line(r), "a key of a group is no scalar");
}

/* The list as the text that config_set takes. */
static const char *read_groups(Reader *r) {
  Str s = {.arena = r->arena};
  if (!want(r, YAML_SEQUENCE_START_EVENT, "groups are no list")) return "";
  while (next(r) && r->event.type == YAML_MAPPING_START_EVENT)
    if (!read_group(r, &s)) return "";
  if (r->st == VLPC_OK && r->event.type != YAML_SEQUENCE_END_EVENT)
    fault(r, event_line(r), "a group is no mapping");
  return str_text(&s);
}

/* ---- the file ----------------------------------------------------------- */

static bool read_entry(Reader *r) {
  Entry e = {.line = event_line(r)};
  if (r->event.type != YAML_SCALAR_EVENT) return fault(r, e.line, "a key is no scalar");
  e.item.key = scalar(r);
  e.item.at = at_line(r, e.line);
  for (uint32_t i = 0; i < r->entries.n; i++) {
    if (strcmp(r->entries.at[i].item.key, e.item.key) != 0) continue;
    r->st = diag_error(r->diag, DIAG_CONFIG_KEY, e.item.at, "the key '%s' is there twice",
                       e.item.key);
    diag_fix(r->diag, "remove this line or line %" PRIu32, r->entries.at[i].line);
    return false;
  }
  if (strcmp(e.item.key, "groups") == 0) e.item.value = read_groups(r);
  else if (want(r, YAML_SCALAR_EVENT, "a value is no scalar")) e.item.value = scalar(r);
  if (r->st == VLPC_OK) *vec_push(r->arena, &r->entries) = e;
  return r->st == VLPC_OK;
}

static void read_document(Reader *r) {
  if (!want(r, YAML_STREAM_START_EVENT, "this is not YAML") || !next(r)) return;
  if (r->event.type == YAML_STREAM_END_EVENT) return; /* empty: nothing changes */
  if (!want(r, YAML_MAPPING_START_EVENT, "the file is no mapping")) return;
  while (next(r) && r->event.type != YAML_MAPPING_END_EVENT)
    if (!read_entry(r)) return;
  if (r->st != VLPC_OK || !want(r, YAML_DOCUMENT_END_EVENT, "text follows the mapping")) return;
  want(r, YAML_STREAM_END_EVENT, "a second document");
}

/* The recipe first, wherever it stands. */
static VlStatus apply(Reader *r, Config *c) {
  for (int recipe = 1; recipe >= 0; recipe--)
    for (uint32_t i = 0; i < r->entries.n; i++) {
      const ConfigItem *item = &r->entries.at[i].item;
      if ((strcmp(item->key, "recipe") == 0) == recipe)
        VL_TRY(config_set(c, item, r->arena, r->diag));
    }
  return VLPC_OK;
}

VlStatus config_parse(Config *c, const char *text, const char *name, Arena *a, Diag *d) {
  Reader *r = arena_one(a, Reader);
  *r = (Reader){.name = name, .arena = a, .diag = d};
  if (!yaml_parser_initialize(&r->parser))
    return diag_error(d, DIAG_NOMEM, (DiagAt){name, NULL}, "no memory to read it");
  arena_defer(a, release, r);
  yaml_parser_set_input_string(&r->parser, (const unsigned char *)text, strlen(text));
  read_document(r);
  VL_TRY(r->st);
  return apply(r, c);
}

VlStatus config_read(Config *c, const char *path, Arena *a, Diag *d) {
  uint8_t *text = NULL;
  size_t n = 0;
  VL_TRY(io_read(path, CONFIG_FILE_MAX, a, d, &text, &n));
  if (memchr(text, '\0', n) != NULL) {
    VlStatus st = diag_error(d, DIAG_CONFIG_SYNTAX, (DiagAt){path, NULL}, "this is no text");
    diag_fix(d, "name a YAML file");
    return st;
  }
  return config_parse(c, (const char *)text, path, a, d);
}
