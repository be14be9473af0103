/* SPDX-License-Identifier: Apache-2.0 */
/* dataset_list.c - lists of photos: CoOp's JSON and CSV.
**
** Both are read here and not through a JSON library so that every message has
** its line, and because of the JSON only one shape is ever taken:
**   {"train": [["path", 0, "class name"], …], "val": […], "test": […]} */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "train/dataset_int.h"

/* A list being read; the first fault is reported and ends it. */
typedef struct {
  DatasetReader *r;
  const char *path, *dir;
  const char *at, *end;
  uint32_t line;
  VlStatus st;
} List;

static DiagAt here(const List *l, char place[32]) {
  snprintf(place, 32, "line %" PRIu32, l->line);
  return (DiagAt){l->path, place};
}

static bool fault(List *l, const char *what, const char *expected) {
  char place[32];
  if (l->st != VLPC_OK) return false;
  l->st = diag_error(l->r->diag, DIAG_DATA_LIST, here(l, place), "%s", what);
  diag_expected(l->r->diag, "%s", expected);
  diag_fix(l->r->diag, "correct this line of the list");
  return false;
}

/* One row: path and label must be there, name and split may be NULL. */
typedef struct {
  const char *path, *label, *name;
  SplitId split;
} Row;

static bool add_row(List *l, const Row *row) {
  char place[32];
  int64_t number;
  const char *label = row->label;
  if (row->path[0] == '\0') return fault(l, "the photo has no name", "a path of a photo");
  if (label[0] == '\0') return fault(l, "the photo has no label", "a number or a class name");
  if (strlen(row->path) > DATASET_MAX_PATH || strlen(label) > DATASET_MAX_PATH)
    return fault(l, "a text is too long", "at most 4096 bytes");
  if (parse_i64(label, &number)) label = arena_printf(l->r->arena, "%" PRId64, number);
  const char *photo = dataset_join(l->r, l->dir, row->path);
  FoundItem f = {here(l, place), row->split, label, row->name, {.path = photo, .shard = ITEM_FILE}};
  l->st = dataset_add(l->r, &f);
  return l->st == VLPC_OK;
}

static VlStatus open_list(DatasetReader *r, List *l) {
  Mapped *m = NULL;
  VL_TRY(io_map_on(r->source->path, r->arena, r->diag, &m));
  const char *text = m->at != NULL ? (const char *)m->at : "";
  *l = (List){.r = r, .path = r->source->path, .at = text, .end = text + m->n, .line = 1};
  l->dir = r->source->root != NULL ? r->source->root : dataset_folder_of(r, l->path);
  r->root = l->dir;
  if (l->end - l->at >= 3 && memcmp(l->at, "\xef\xbb\xbf", 3) == 0) l->at += 3;
  return VLPC_OK;
}

/* ---- CSV ---------------------------------------------------------------- */

#define FIELDS_MAX 64

/* Reads one field up to its comma or the end of its line (left unread). */
static const char *csv_field(List *l) {
  Str s = {.arena = l->r->arena};
  bool quoted = l->at < l->end && *l->at == '"';
  if (!quoted) {
    const char *start = l->at;
    while (l->at < l->end && *l->at != ',' && *l->at != '\n' && *l->at != '\r') l->at++;
    str_addn(&s, start, (size_t)(l->at - start));
    return str_text(&s);
  }
  for (l->at++; l->at < l->end; l->at++) {
    if (*l->at == '"' && (l->at + 1 == l->end || l->at[1] != '"')) {
      l->at++;
      if (l->at < l->end && *l->at != ',' && *l->at != '\n' && *l->at != '\r')
        fault(l, "text follows a closing quote", "a comma or the end of the line");
      return str_text(&s);
    }
    if (*l->at == '\n') break;
    if (*l->at == '"') l->at++; /* a doubled quote is one */
    str_addn(&s, l->at, 1);
  }
  fault(l, "a quote is not closed on its line", "a second quote");
  return "";
}

/* Fields of the line at *l, which is left behind it; 0 for an empty one. */
static uint32_t csv_line(List *l, const char *field[FIELDS_MAX]) {
  uint32_t n = 0;
  bool more = l->at < l->end && *l->at != '\n' && *l->at != '\r';
  while (more && l->st == VLPC_OK) {
    const char *start = l->at;
    const char *f = csv_field(l);
    if (memchr(start, '\0', (size_t)(l->at - start)) != NULL)
      fault(l, "a zero byte in a line", "text");
    if (n == FIELDS_MAX) fault(l, "too many fields", "file,label and a few more");
    if (l->st == VLPC_OK) field[n++] = f;
    more = l->at < l->end && *l->at == ',';
    if (more) l->at++;
  }
  return n;
}

static void csv_next(List *l) {
  if (l->at < l->end && *l->at == '\r') l->at++;
  if (l->at < l->end && *l->at == '\n') l->at++;
  l->line++;
}

typedef enum { COL_file, COL_label, COL_name, COL_split, COL__COUNT } Column;

/* Which field is what; true when the line is a header. */
static bool csv_header(const char *const *field, uint32_t n, int32_t column[COL__COUNT]) {
  static const struct {
    const char *text;
    Column column;
  } words[] = {{"file", COL_file},      {"path", COL_file},       {"filename", COL_file},
               {"image", COL_file},     {"filepath", COL_file},   {"impath", COL_file},
               {"label", COL_label},    {"class", COL_label},     {"classname", COL_name},
               {"class_name", COL_name}, {"name", COL_name},      {"split", COL_split}};
  int32_t found[COL__COUNT] = {-1, -1, -1, -1};
  for (uint32_t i = 0; i < n; i++)
    for (size_t w = 0; w < VL_COUNT(words); w++)
      if (strcasecmp(field[i], words[w].text) == 0 && found[words[w].column] < 0)
        found[words[w].column] = (int32_t)i;
  if (found[COL_file] < 0 || found[COL_label] < 0) return false;
  memcpy(column, found, sizeof found);
  return true;
}

static bool csv_split(List *l, const char *text, SplitId *out) {
  for (int s = 0; s < SPLIT__COUNT; s++)
    if (strcmp(text, split_name((SplitId)s)) == 0) {
      *out = (SplitId)s;
      return true;
    }
  return fault(l, "a split of another name", "train, val or test");
}

static bool csv_row(List *l, const char *const *field, uint32_t n, const int32_t *column) {
  Row row = {.split = SPLIT_train};
  if ((int64_t)n <= VL_MAX(column[COL_file], column[COL_label]))
    return fault(l, "the line has too few fields", "file,label");
  row.path = field[column[COL_file]];
  row.label = field[column[COL_label]];
  if (column[COL_name] >= 0 && column[COL_name] < (int64_t)n) row.name = field[column[COL_name]];
  if (column[COL_split] >= 0) {
    if (column[COL_split] >= (int64_t)n) return fault(l, "the line has no split", "a split");
    if (!csv_split(l, field[column[COL_split]], &row.split)) return false;
  }
  return add_row(l, &row);
}

VlStatus dataset_read_csv(DatasetReader *r) {
  List l;
  int32_t column[COL__COUNT] = {0, 1, -1, -1};
  bool first = true;
  VL_TRY(open_list(r, &l));
  for (; l.at < l.end && l.st == VLPC_OK; csv_next(&l)) {
    const char *field[FIELDS_MAX];
    uint32_t n = csv_line(&l, field);
    if (n == 0 || l.st != VLPC_OK) continue;
    bool header = first && csv_header(field, n, column);
    if (first && !header && n > 2) column[COL_name] = 2;
    first = false;
    if (!header) csv_row(&l, field, n, column);
    if (l.st != VLPC_OK) break;
  }
  return l.st;
}

/* ---- JSON --------------------------------------------------------------- */

static void skip_blanks(List *l) {
  for (; l->at < l->end && strchr(" \t\r\n", *l->at) != NULL && *l->at != '\0'; l->at++)
    if (*l->at == '\n') l->line++;
}

/* The next character that is no blank, 0 at the end. */
static char look(List *l) {
  skip_blanks(l);
  return l->at < l->end ? *l->at : '\0';
}

static bool take(List *l, char c, const char *expected) {
  if (l->st != VLPC_OK) return false;
  if (look(l) != c) return fault(l, "the list breaks its form", expected);
  l->at++;
  return true;
}

static int32_t hex4(const List *l) {
  int32_t v = 0;
  if (l->end - l->at < 4) return -1;
  for (int i = 0; i < 4; i++) {
    const char *digits = "0123456789abcdef", *p = NULL;
    char c = l->at[i];
    if (c >= 'A' && c <= 'F') c = (char)(c - 'A' + 'a');
    if (c != '\0') p = strchr(digits, c);
    if (p == NULL) return -1;
    v = v * 16 + (int32_t)(p - digits);
  }
  return v;
}

static void add_utf8(Str *s, int32_t c) {
  char b[4];
  if (c < 0x80) {
    b[0] = (char)c;
    str_addn(s, b, 1);
  } else if (c < 0x800) {
    b[0] = (char)(0xc0 | c >> 6), b[1] = (char)(0x80 | (c & 63));
    str_addn(s, b, 2);
  } else if (c < 0x10000) {
    b[0] = (char)(0xe0 | c >> 12), b[1] = (char)(0x80 | (c >> 6 & 63));
    b[2] = (char)(0x80 | (c & 63));
    str_addn(s, b, 3);
  } else {
    b[0] = (char)(0xf0 | c >> 18), b[1] = (char)(0x80 | (c >> 12 & 63));
    b[2] = (char)(0x80 | (c >> 6 & 63)), b[3] = (char)(0x80 | (c & 63));
    str_addn(s, b, 4);
  }
}

/* \uXXXX, a surrogate pair being one character. */
static bool unicode_escape(List *l, Str *s) {
  int32_t c = hex4(l);
  if (c <= 0) return fault(l, "an escape is wrong", "\\u and four hex digits, not 0000");
  l->at += 4;
  if (c >= 0xd800 && c < 0xdc00) {
    if (l->end - l->at < 6 || l->at[0] != '\\' || l->at[1] != 'u')
      return fault(l, "half a character", "a second surrogate");
    l->at += 2;
    int32_t low = hex4(l);
    if (low < 0xdc00 || low > 0xdfff) return fault(l, "half a character", "a second surrogate");
    l->at += 4;
    c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
  } else if (c >= 0xdc00 && c < 0xe000) {
    return fault(l, "half a character", "a first surrogate before it");
  }
  add_utf8(s, c);
  return true;
}

static bool escape(List *l, Str *s) {
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  if (l->at == l->end) return fault(l, "a text is not closed", "a quote");
  char c = *l->at++;
  const char *p = c != '\0' ? strchr(from, c) : NULL;
  if (p != NULL) str_addn(s, &to[p - from], 1);
  else if (c != 'u') return fault(l, "an escape is wrong", "one of \" \\ / b f n r t u");
  return c != 'u' || unicode_escape(l, s);
}

static const char *json_string(List *l, const char *expected) {
  Str s = {.arena = l->r->arena};
  if (!take(l, '"', expected)) return "";
  while (l->at < l->end && *l->at != '"') {
    if (s.n > DATASET_MAX_PATH) {
      fault(l, "a text is too long", "at most 4096 bytes");
      return "";
    }
    if ((uint8_t)*l->at < 32) {
      fault(l, "a control character in a text", "an escape");
      return "";
    }
    if (*l->at == '\\') {
      l->at++;
      if (!escape(l, &s)) return "";
    } else {
      const char *start = l->at;
      while (l->at < l->end && *l->at != '"' && *l->at != '\\' && (uint8_t)*l->at >= 32 &&
             l->at - start <= (int64_t)DATASET_MAX_PATH)
        l->at++;
      str_addn(&s, start, (size_t)(l->at - start));
    }
  }
  take(l, '"', "a quote");
  return str_text(&s);
}

/* A label: a whole number, not negative, as text. */
static const char *json_label(List *l) {
  char digits[20];
  size_t n = 0;
  look(l);
  while (l->at < l->end && *l->at >= '0' && *l->at <= '9' && n < sizeof digits - 1)
    digits[n++] = *l->at++;
  digits[n] = '\0';
  int64_t number;
  if (!parse_i64(digits, &number)) fault(l, "a label is no number", "a whole number from 0 on");
  return arena_strdup(l->r->arena, digits);
}

static void json_rows(List *l, SplitId split) {
  static const char form[] = "[\"path\", label, \"class name\"]";
  if (!take(l, '[', "a list of photos")) return;
  if (look(l) == ']') {
    l->at++;
    return;
  }
  for (bool more = true; more && l->st == VLPC_OK;) {
    Row row = {.split = split};
    take(l, '[', form);
    row.path = json_string(l, form);
    take(l, ',', form);
    row.label = json_label(l);
    take(l, ',', form);
    row.name = json_string(l, form);
    take(l, ']', form);
    if (l->st != VLPC_OK || !add_row(l, &row)) return;
    more = look(l) == ',';
    if (more) l->at++;
  }
  take(l, ']', "a comma or the end of the list");
}

static void json_splits(List *l) {
  bool seen[SPLIT__COUNT] = {false};
  take(l, '{', "{\"train\": …, \"val\": …, \"test\": …}");
  for (bool more = l->st == VLPC_OK; more;) {
    const char *key = json_string(l, "\"train\", \"val\" or \"test\"");
    SplitId split = SPLIT_train;
    if (l->st == VLPC_OK && csv_split(l, key, &split) && seen[split])
      fault(l, "a split is there twice", "train, val and test once each");
    seen[split] = true;
    take(l, ':', "a colon");
    if (l->st == VLPC_OK) json_rows(l, split);
    more = l->st == VLPC_OK && look(l) == ',';
    if (more) l->at++;
  }
  take(l, '}', "a comma or the end of the splits");
  if (l->st == VLPC_OK && (look(l) != '\0' || l->at < l->end))
    fault(l, "text follows the end of the splits", "the end of the file");
}

VlStatus dataset_read_json(DatasetReader *r) {
  List l;
  VL_TRY(open_list(r, &l));
  json_splits(&l);
  return l.st;
}
