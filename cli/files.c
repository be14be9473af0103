/* SPDX-License-Identifier: Apache-2.0 */
/* files.c - lists of images from folders, and of lines from text files. */
#include "cli/files.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/str.h"

/* --- images --- */

static int by_bytes(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_folder(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* True for names like those of images, and for files that begin like one. */
static bool is_image(const char *path) {
  static const char *const end[] = {".jpg", ".jpeg", ".png"};
  struct stat st;
  if (stat(path, &st) != 0 || !S_ISREG(st.st_mode)) return false;
  const char *dot = strrchr(path, '.');
  for (size_t i = 0; i < VL_COUNT(end) && dot != NULL; i++)
    if (strcasecmp(dot, end[i]) == 0) return true;
  FILE *f = fopen(path, "re");
  if (f == NULL) return false;
  unsigned char head[8] = {0};
  size_t n = fread(head, 1, sizeof head, f);
  fclose(f);
  return (n >= 3 && memcmp(head, "\xff\xd8\xff", 3) == 0) ||
         (n == 8 && memcmp(head, "\x89PNG\r\n\x1a\n", 8) == 0);
}

/* Names in a folder as paths, sorted, hidden ones left out. */
static VlStatus read_folder(Cli *c, const char *path, TextList *out) {
  DIR *dir = opendir(path);
  if (dir == NULL)
    return diag_error(c->diag, DIAG_FOLDER, (DiagAt){path, NULL}, "cannot be read: %s",
                      strerror(errno));
  size_t n = strlen(path);
  bool slash = n > 0 && path[n - 1] == '/';
  for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
    if (e->d_name[0] != '.')
      *vec_push(c->arena, out) =
          arena_printf(c->arena, "%s%s%s", path, slash ? "" : "/", e->d_name);
  closedir(dir);
  if (out->n > 1) qsort(out->at, out->n, sizeof *out->at, by_bytes);
  return VLPC_OK;
}

static VlStatus add_folder(Cli *c, const char *path, int depth, TextList *out) {
  TextList names = {0};
  VL_TRY(read_folder(c, path, &names));
  for (uint32_t i = 0; i < names.n; i++) {
    if (is_folder(names.at[i])) {
      if (depth > 0) VL_TRY(add_folder(c, names.at[i], depth - 1, out));
    } else if (is_image(names.at[i])) {
      *vec_push(c->arena, out) = names.at[i];
    }
  }
  return VLPC_OK;
}

VlStatus list_images(Cli *c, const char *const *arg, uint32_t n, TextList *out) {
  for (uint32_t i = 0; i < n; i++) {
    uint32_t before = out->n;
    if (!is_folder(arg[i])) {
      *vec_push(c->arena, out) = arg[i];
      continue;
    }
    VL_TRY(add_folder(c, arg[i], 1, out));
    if (out->n > before) continue;
    VlStatus s = diag_error(c->diag, DIAG_NO_IMAGES, (DiagAt){arg[i], NULL}, "holds no images");
    diag_expected(c->diag, ".jpg, .jpeg or .png files in it or in its folders");
    return s;
  }
  return VLPC_OK;
}

/* --- lines --- */

VlStatus read_lines(Cli *c, const char *path, Texts *out) {
  uint8_t *bytes;
  size_t n;
  VL_TRY(io_read(path, (uint64_t)64 << 20, c->arena, c->diag, &bytes, &n));
  if (memchr(bytes, 0, n) != NULL)
    return diag_error(c->diag, DIAG_LABELS_FILE, (DiagAt){path, NULL}, "is not a text file");
  VEC(const char *) list = {0};
  char *at = (char *)bytes;
  if (n >= 3 && memcmp(at, "\xef\xbb\xbf", 3) == 0) at += 3;
  while (*at != '\0') {
    size_t line = strcspn(at, "\n");
    bool last = at[line] == '\0';
    at[line] = '\0';
    if (line > 0 && at[line - 1] == '\r') at[line - 1] = '\0';
    *vec_push(c->arena, &list) = at;
    at += line + !last;
  }
  *out = (Texts){list.at, list.n};
  if (list.n > 0) return VLPC_OK;
  return diag_error(c->diag, DIAG_LABELS_FILE, (DiagAt){path, NULL}, "is empty");
}

static const char *trim(Arena *a, const char *s, size_t n) {
  while (n > 0 && (*s == ' ' || *s == '\t')) s++, n--;
  while (n > 0 && (s[n - 1] == ' ' || s[n - 1] == '\t')) n--;
  return arena_strndup(a, s, n);
}

Texts split_text(Cli *c, const char *text) {
  TextList list = {0};
  for (const char *p = text;;) {
    size_t n = strcspn(p, ",");
    *vec_push(c->arena, &list) = arena_strndup(c->arena, p, n);
    p += n;
    if (*p++ == '\0') return (Texts){list.at, list.n};
  }
}

static void split_labels(Cli *c, const char *text, Texts *out) {
  Texts piece = split_text(c, text);
  TextList list = {0};
  for (uint32_t i = 0; i < piece.n; i++)
    *vec_push(c->arena, &list) = trim(c->arena, piece.at[i], strlen(piece.at[i]));
  *out = (Texts){list.at, list.n};
}

static VlStatus check_labels(Cli *c, const char *file, const Texts *t) {
  DiagCode code = file != NULL ? DIAG_LABELS_FILE : DIAG_LABELS;
  const char **sorted = arena_array(c->arena, const char *, t->n);
  memcpy(sorted, t->at, t->n * sizeof *sorted);
  for (uint32_t i = 0; i < t->n; i++) {
    if (*t->at[i] != '\0') continue;
    const char *place = arena_printf(c->arena, "%s %u", file != NULL ? "line" : "label", i + 1);
    return diag_error(c->diag, code, (DiagAt){file, place}, "a label is empty");
  }
  qsort(sorted, t->n, sizeof *sorted, by_bytes);
  for (uint32_t i = 1; i < t->n; i++)
    if (strcmp(sorted[i - 1], sorted[i]) == 0)
      return diag_error(c->diag, code, (DiagAt){file, NULL}, "the label '%s' is given twice",
                        sorted[i]);
  return VLPC_OK;
}

static VlStatus folder_names(Cli *c, const char *path, Texts *out) {
  TextList all = {0}, list = {0};
  VL_TRY(read_folder(c, path, &all));
  for (uint32_t i = 0; i < all.n; i++)
    if (is_folder(all.at[i])) *vec_push(c->arena, &list) = strrchr(all.at[i], '/') + 1;
  *out = (Texts){list.at, list.n};
  if (list.n > 0) return VLPC_OK;
  return diag_error(c->diag, DIAG_LABELS_FILE, (DiagAt){path, NULL}, "holds no folders");
}

VlStatus read_classes(Cli *c, const char *path, Texts *out) {
  VL_TRY(is_folder(path) ? folder_names(c, path, out) : read_lines(c, path, out));
  const char **name = arena_array(c->arena, const char *, out->n);
  for (uint32_t i = 0; i < out->n; i++) {
    char *text = arena_strdup(c->arena, out->at[i]);
    for (char *p = text; *p != '\0'; p++)
      if (*p == '_') *p = ' ';
    name[i] = text;
  }
  out->at = name;
  return check_labels(c, path, out);
}

VlStatus read_labels(Cli *c, Texts *out) {
  const char *list = opt(c, labels), *file = opt(c, labels_file), *classes = opt(c, classes);
  int given = (list != NULL) + (file != NULL) + (classes != NULL);
  if (given != 1) {
    VlStatus s = diag_error(c->diag, DIAG_LABELS, DIAG_NOWHERE,
                            given == 0        ? "there are no labels"
                            : classes != NULL ? "--classes excludes --labels and --labels-file"
                                              : "--labels and --labels-file exclude each other");
    diag_fix(c->diag, "add --labels \"a cat,a dog\" or --labels-file FILE");
    return s;
  }
  if (classes != NULL) return read_classes(c, classes, out);
  if (list != NULL)
    split_labels(c, list, out);
  else
    VL_TRY(read_lines(c, file, out));
  return check_labels(c, file, out);
}

/* --- expected labels --- */

/* Cuts the next field off a line; quotes may hold commas. */
static char *next_field(char **at) {
  char *p = *at, *out = p, *to = p;
  if (p == NULL) return NULL;
  bool quoted = false;
  for (; *p != '\0' && (quoted || *p != ','); p++) {
    if (*p != '"')
      *to++ = *p;
    else if (quoted && p[1] == '"')
      *to++ = *p++;
    else
      quoted = !quoted;
  }
  *at = *p == ',' ? p + 1 : NULL;
  *to = '\0';
  return out;
}

static int32_t column(Cli *c, const char *head, const char *name) {
  char *at = arena_strdup(c->arena, head);
  int32_t i = 0;
  for (char *f = next_field(&at); f != NULL; f = next_field(&at), i++)
    if (strcmp(f, name) == 0) return i;
  return -1;
}

static int32_t label_index(const Texts *labels, const char *text) {
  int64_t v;
  for (uint32_t i = 0; i < labels->n; i++)
    if (strcmp(labels->at[i], text) == 0) return (int32_t)i;
  return parse_i64(text, &v) && v >= 0 && v < labels->n ? (int32_t)v : -1;
}

static const char *resolved(Arena *a, const char *path) {
  char real[PATH_MAX];
  return arena_strdup(a, realpath(path, real) != NULL ? real : path);
}

static int by_path(const void *a, const void *b) {
  return strcmp(((const ExpectRow *)a)->path, ((const ExpectRow *)b)->path);
}

typedef struct {
  const char *path, *folder;
  int32_t file, label; /* columns */
} Csv;

static VlStatus expect_row(Cli *c, const Csv *csv, const char *line, uint32_t i,
                           const Texts *labels, ExpectRow *out) {
  char *at = arena_strdup(c->arena, line);
  const char *file = NULL, *label = NULL, *place = arena_printf(c->arena, "line %u", i + 1);
  int32_t k = 0;
  for (char *f = next_field(&at); f != NULL; f = next_field(&at), k++) {
    if (k == csv->file) file = f;
    if (k == csv->label) label = f;
  }
  if (file == NULL || label == NULL)
    return diag_error(c->diag, DIAG_EXPECT_FILE, (DiagAt){csv->path, place}, "has too few columns");
  out->label = label_index(labels, label);
  if (out->label < 0) {
    VlStatus s = diag_error(c->diag, DIAG_EXPECT_FILE, (DiagAt){csv->path, place},
                            "'%s' is no label", label);
    diag_expected(c->diag, "one of the %u labels, or its number from 0", labels->n);
    return s;
  }
  const char *full = *file == '/' ? file : arena_printf(c->arena, "%s/%s", csv->folder, file);
  out->path = resolved(c->arena, full);
  return VLPC_OK;
}

VlStatus read_expect(Cli *c, const char *path, const Texts *labels, Expect *out) {
  Texts lines;
  VL_TRY(read_lines(c, path, &lines));
  const char *slash = strrchr(path, '/');
  Csv csv = {.path = path,
             .folder = slash ? arena_strndup(c->arena, path, (size_t)(slash - path) + 1) : ".",
             .file = column(c, lines.at[0], "file"),
             .label = column(c, lines.at[0], "label")};
  if (csv.file < 0 || csv.label < 0) {
    VlStatus s = diag_error(c->diag, DIAG_EXPECT_FILE, (DiagAt){path, "line 1"},
                            "does not name the columns");
    diag_found(c->diag, "%s", lines.at[0]);
    diag_expected(c->diag, "file,label");
    return s;
  }
  *out = (Expect){arena_array(c->arena, ExpectRow, lines.n), 0};
  for (uint32_t i = 1; i < lines.n; i++)
    if (*lines.at[i] != '\0')
      VL_TRY(expect_row(c, &csv, lines.at[i], i, labels, &out->at[out->n++]));
  qsort(out->at, out->n, sizeof *out->at, by_path);
  return VLPC_OK;
}

int32_t expect_find(Cli *c, const Expect *e, const char *image) {
  ExpectRow key = {resolved(c->arena, image), 0};
  const ExpectRow *row = e->n > 0 ? bsearch(&key, e->at, e->n, sizeof key, by_path) : NULL;
  return row != NULL ? row->label : -1;
}
