/* SPDX-License-Identifier: Apache-2.0 */
/* keys.c - the table of keys, and names by its patterns. */
#include "checkpoint/keys_int.h"

#include <string.h>

#include "base/vec.h"

enum { MAY = false, NEED = true };

static const KeyRow row[] = {
#define KEY(method, folder, official, trainable, first, needed) \
  {method, folder, official, trainable, first, needed},
#include "checkpoint/keys.def"
};

const KeyRow *keys_of(const char *method, uint32_t *n) {
  const KeyRow *first = NULL;
  *n = 0;
  for (size_t i = 0; i < VL_COUNT(row); i++) {
    if (strcmp(row[i].method, method) != 0) continue;
    if (!first) first = &row[i];
    ++*n;
  }
  return first;
}

typedef VEC(const char *) NameList;

static void add_once(Arena *a, NameList *l, const char *name) {
  for (uint32_t i = 0; i < l->n; i++)
    if (strcmp(l->at[i], name) == 0) return;
  *vec_push(a, l) = name;
}

uint32_t keys_methods(Arena *a, const char ***out) {
  NameList l = {0};
  for (size_t i = 0; i < VL_COUNT(row); i++) add_once(a, &l, row[i].method);
  *out = l.at;
  return l.n;
}

uint32_t keys_folders(const char *method, Arena *a, const char ***out) {
  NameList l = {0};
  uint32_t n;
  const KeyRow *r = keys_of(method, &n);
  for (uint32_t i = 0; i < n; i++) add_once(a, &l, r[i].folder);
  *out = l.at;
  return l.n;
}

/* A number without leading zeros at *s, which moves behind it. */
static bool take_number(const char **s, uint32_t *out) {
  const char *p = *s;
  uint32_t v = 0;
  if (*p == '0' && p[1] >= '0' && p[1] <= '9') return false;
  for (; *p >= '0' && *p <= '9' && p - *s < 5; p++) v = 10 * v + (uint32_t)(*p - '0');
  if (p == *s || (*p >= '0' && *p <= '9')) return false;
  *s = p;
  *out = v;
  return true;
}

bool keys_match(const char *pattern, const char *name, uint32_t *number) {
  *number = 0;
  for (; *pattern; pattern++) {
    if (*pattern == '*') return true;
    if (*pattern == '#') {
      if (!take_number(&name, number)) return false;
    } else if (*pattern != *name++) {
      return false;
    }
  }
  return *name == 0;
}

const char *keys_name(const char *pattern, uint32_t number, Arena *a) {
  const char *hash = strchr(pattern, '#');
  if (!hash) return arena_strdup(a, pattern);
  return arena_printf(a, "%.*s%u%s", (int)(hash - pattern), pattern, (unsigned)number, hash + 1);
}

VlStatus keys_no_method(const char *method, Arena *a, Diag *d) {
  const char **name;
  uint32_t n = keys_methods(a, &name);
  Str list = {.arena = a};
  for (uint32_t i = 0; i < n; i++) str_printf(&list, i ? ", %s" : "%s", name[i]);
  VlStatus s = diag_error(d, DIAG_PROMPT_METHOD, DIAG_NOWHERE,
                          "no method of this name has official checkpoints");
  diag_found(d, "%s", method);
  diag_expected(d, "one of %s", str_text(&list));
  return s;
}
