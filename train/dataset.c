/* SPDX-License-Identifier: Apache-2.0 */
/* dataset.c - folders of photos, and what all forms share: labels become
** numbers only when all of them are known, so their order depends on names
** alone and not on the order in which a system lists a folder. */
#include "train/dataset.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "train/dataset_int.h"

const char *split_name(SplitId s) {
  static const char *const names[SPLIT__COUNT] = {"train", "val", "test"};
  return s < SPLIT__COUNT ? names[s] : "?";
}

/* What a photo is called below the root. */
static const char *name_below(const Dataset *d, const char *path) {
  size_t n = d->root ? strlen(d->root) : 0;
  if (n == 0 || strncmp(path, d->root, n) != 0) return path;
  return path + n + strspn(path + n, "/");
}

/* 0 of a file that is not there, which its reader tells. */
static uint64_t bytes_of(const Item *it) {
  struct stat st;
  if (it->shard != ITEM_FILE) return it->bytes;
  return stat(it->path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

void dataset_hash(const Dataset *d, Arena *a, char out[33]) {
  Str s = {.arena = a};
  for (uint32_t c = 0; c < d->n_classes; c++) str_printf(&s, "%s\n", d->classes[c]);
  for (int i = 0; i < SPLIT__COUNT; i++)
    for (uint32_t j = 0; j < d->split[i].n; j++) {
      const Item *it = &d->split[i].at[j];
      str_printf(&s, "%d %" PRIu32 " %" PRIu64 " %s\n", i, it->label, bytes_of(it),
                 name_below(d, it->path));
    }
  hash_hex128(str_text(&s), s.n, out);
}

VlStatus dataset_hash_photo(const Dataset *d, const Item *it, Diag *diag, Hash128 *out) {
  if (it->shard == ITEM_MEMORY) {
    const Image *im = &d->images[it->offset];
    *out = hash_128(im->pixels, (size_t)it->bytes, (uint64_t)im->width);
    return VLPC_OK;
  }
  if (it->shard >= 0) {
    *out = hash_128(d->shards[it->shard].at + it->offset, (size_t)it->bytes, 0);
    return VLPC_OK;
  }
  Mapped m;
  VL_TRY(io_map(it->path, diag, &m));
  *out = hash_128(m.at, (size_t)m.n, 0);
  io_unmap(&m);
  return VLPC_OK;
}

VlStatus dataset_open_photo(const Dataset *d, const Item *it, Diag *diag, Image *out) {
  if (it->shard == ITEM_FILE) return image_read(it->path, diag, out);
  if (it->shard == ITEM_MEMORY) {
    *out = d->images[it->offset];
    return VLPC_OK;
  }
  const uint8_t *at = d->shards[it->shard].at + it->offset;
  return image_decode(at, (size_t)it->bytes, it->path, diag, out);
}

void dataset_close_photo(const Item *it, Image *im) {
  if (it->shard != ITEM_MEMORY) image_fini(im);
  *im = (Image){0};
}

/* ---- names and paths ---------------------------------------------------- */

static bool has_ending(const char *name, const char *ending) {
  size_t n = strlen(name), m = strlen(ending);
  return n > m && strcasecmp(name + n - m, ending) == 0;
}

bool dataset_is_photo(const char *name) {
  return has_ending(name, ".jpg") || has_ending(name, ".jpeg") || has_ending(name, ".png");
}

const char *dataset_join(DatasetReader *r, const char *dir, const char *name) {
  if (name[0] == '/' || dir[0] == '\0') return arena_strdup(r->arena, name);
  const char *slash = dir[strlen(dir) - 1] == '/' ? "" : "/";
  return arena_printf(r->arena, "%s%s%s", dir, slash, name);
}

const char *dataset_folder_of(DatasetReader *r, const char *path) {
  const char *slash = strrchr(path, '/');
  return slash == NULL ? "" : arena_strndup(r->arena, path, (size_t)(slash - path) + 1);
}

static bool is_folder(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* ---- collecting --------------------------------------------------------- */

static VlStatus over_limit(DatasetReader *r, DiagAt at, const char *what, uint32_t limit) {
  VlStatus st = diag_error(r->diag, DIAG_DATA_LIMIT, at, "there are too many %s", what);
  diag_expected(r->diag, "at most %" PRIu32, limit);
  return st;
}

/* The name of a label is said once, or the same each time. */
static VlStatus note_name(DatasetReader *r, const FoundItem *f, uint32_t label) {
  const char *old = r->names.at[label];
  if (f->label_name == NULL || (old != NULL && strcmp(old, f->label_name) == 0)) return VLPC_OK;
  if (old == NULL) {
    r->names.at[label] = arena_strdup(r->arena, f->label_name);
    return VLPC_OK;
  }
  VlStatus st =
      diag_error(r->diag, DIAG_DATA_LABEL, f->at, "label %s has two class names", f->label);
  diag_found(r->diag, "'%s'", f->label_name);
  diag_expected(r->diag, "'%s', as before", old);
  diag_fix(r->diag, "give the photos of one class one label and one name");
  return st;
}

VlStatus dataset_add(DatasetReader *r, const FoundItem *f) {
  if (r->found.n >= DATASET_MAX_ITEMS) return over_limit(r, f->at, "photos", DATASET_MAX_ITEMS);
  uint32_t label = names_add(r->labels, f->label, strlen(f->label));
  if (label >= DATASET_MAX_CLASSES) return over_limit(r, f->at, "classes", DATASET_MAX_CLASSES);
  if (label == r->names.n) *vec_push(r->arena, &r->names) = NULL;
  VL_TRY(note_name(r, f, label));
  *vec_push(r->arena, &r->found) = (Found){f->item, f->split};
  r->found.at[r->found.n - 1].item.label = label;
  return VLPC_OK;
}

/* ---- folders ------------------------------------------------------------ */

typedef VEC(const char *) NameList;

static int by_bytes(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Names in a folder that do not begin with a dot, in order of bytes. */
static VlStatus list_folder(DatasetReader *r, const char *path, NameList *out) {
  DIR *dir = opendir(path);
  if (dir == NULL) {
    DiagCode code = errno == ENOENT ? DIAG_OPEN : DIAG_FOLDER;
    VlStatus st = diag_error(r->diag, code, (DiagAt){path, NULL}, "the folder cannot be read");
    diag_fix(r->diag, "check the path, and that this user may read it");
    return st;
  }
  for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
    if (e->d_name[0] != '.') *vec_push(r->arena, out) = arena_strdup(r->arena, e->d_name);
  closedir(dir);
  if (out->n > 1) qsort(out->at, out->n, sizeof *out->at, by_bytes);
  return VLPC_OK;
}

static VlStatus no_photos(DatasetReader *r, const char *path, const char *what) {
  VlStatus st = diag_error(r->diag, DIAG_DATA_LAYOUT, (DiagAt){path, NULL}, "%s", what);
  diag_expected(r->diag, "FOLDER/<class>/*.jpg or *.png, the same below train, val and test, "
                         "*.tar shards, a split_zhou_*.json or a .csv of file,label");
  diag_fix(r->diag, "put the photos of each class into a folder named as the class");
  return st;
}

static VlStatus read_class(DatasetReader *r, const char *dir, const char *name, SplitId split) {
  const char *path = dataset_join(r, dir, name);
  NameList files = {0};
  uint32_t before = r->found.n;
  VL_TRY(list_folder(r, path, &files));
  for (uint32_t i = 0; i < files.n; i++) {
    const char *photo = dataset_join(r, path, files.at[i]);
    if (!dataset_is_photo(files.at[i]) || is_folder(photo)) continue;
    FoundItem f = {{photo, NULL}, split, name, NULL, {.path = photo, .shard = ITEM_FILE}};
    VL_TRY(dataset_add(r, &f));
  }
  if (r->found.n == before) return no_photos(r, path, "this class has no photos");
  return VLPC_OK;
}

/* Class folders or shards of one split; shards win where both are there. */
static VlStatus read_split(DatasetReader *r, const char *dir, SplitId split) {
  NameList names = {0};
  uint32_t n_shards = 0, before = r->found.n;
  VL_TRY(list_folder(r, dir, &names));
  for (uint32_t i = 0; i < names.n; i++) {
    if (!has_ending(names.at[i], ".tar")) continue;
    n_shards++;
    VL_TRY(dataset_read_tar(r, dataset_join(r, dir, names.at[i]), split));
  }
  for (uint32_t i = 0; i < names.n && n_shards == 0; i++)
    if (is_folder(dataset_join(r, dir, names.at[i])))
      VL_TRY(read_class(r, dir, names.at[i], split));
  if (r->found.n == before) return no_photos(r, dir, "there are no photos in class folders here");
  return VLPC_OK;
}

static VlStatus read_folder(DatasetReader *r) {
  static const struct {
    const char *name;
    SplitId split;
  } parts[] = {{"train", SPLIT_train},
               {"val", SPLIT_val},
               {"valid", SPLIT_val},
               {"validation", SPLIT_val},
               {"test", SPLIT_test}};
  const char *root = r->source->path;
  bool any = false;
  for (size_t i = 0; i < VL_COUNT(parts); i++) {
    const char *dir = dataset_join(r, root, parts[i].name);
    if (!is_folder(dir)) continue;
    any = true;
    VL_TRY(read_split(r, dir, parts[i].split));
  }
  return any ? VLPC_OK : read_split(r, root, SPLIT_train);
}

/* ---- classes ------------------------------------------------------------ */

typedef struct {
  const char *text;
  int64_t number;
  uint32_t id;
} Label;

static int by_number(const void *a, const void *b) {
  const Label *x = a, *y = b;
  return (x->number > y->number) - (x->number < y->number);
}
static int by_text(const void *a, const void *b) {
  return strcmp(((const Label *)a)->text, ((const Label *)b)->text);
}

static const char *blank_underscores(Arena *a, const char *text) {
  char *s = arena_strdup(a, text);
  for (char *c = s; *c; c++)
    if (*c == '_') *c = ' ';
  return s;
}

/* Sets the class numbers: rank[id of a label]. */
static const uint32_t *number_classes(DatasetReader *r, Dataset *out) {
  uint32_t n = names_count(r->labels), *rank = arena_array(r->arena, uint32_t, n);
  Label *labels = arena_array(r->arena, Label, n);
  bool numbers = true;
  for (uint32_t i = 0; i < n; i++) {
    labels[i] = (Label){names_text(r->labels, i), 0, i};
    numbers = parse_i64(labels[i].text, &labels[i].number) && numbers;
  }
  if (n > 1) qsort(labels, n, sizeof *labels, numbers ? by_number : by_text);
  out->n_classes = n;
  out->classes = arena_array(r->arena, const char *, n);
  for (uint32_t i = 0; i < n; i++) {
    const char *name = r->names.at[labels[i].id];
    rank[labels[i].id] = i;
    out->classes[i] = blank_underscores(r->arena, name != NULL ? name : labels[i].text);
  }
  return rank;
}

/* classes.txt in the folder, when there is one. */
static VlStatus read_class_names(DatasetReader *r, Dataset *out) {
  const char *path = dataset_join(r, r->source->path, "classes.txt");
  struct stat st;
  uint8_t *text = NULL;
  size_t n = 0;
  uint32_t line = 0;
  if (!is_folder(r->source->path) || stat(path, &st) != 0) return VLPC_OK;
  VL_TRY(io_read(path, (uint64_t)64 << 20, r->arena, r->diag, &text, &n));
  for (char *at = (char *)text, *end; *at != '\0'; at = end) {
    size_t len = strcspn(at, "\r\n");
    end = at + len + strspn(at + len, "\r\n");
    if (line < out->n_classes)
      out->classes[line] = blank_underscores(r->arena, arena_strndup(r->arena, at, len));
    line++;
  }
  if (line == out->n_classes) return VLPC_OK;
  VlStatus status = diag_error(r->diag, DIAG_DATA_LABEL, (DiagAt){path, NULL},
                               "there is not one name for each class");
  diag_found(r->diag, "%" PRIu32 " lines", line);
  diag_expected(r->diag, "%" PRIu32 ", in the order of the class folders", out->n_classes);
  diag_fix(r->diag, "correct the file, or remove it to use the names of the folders");
  return status;
}

static void give_out(DatasetReader *r, Dataset *out) {
  const uint32_t *rank = number_classes(r, out);
  uint32_t count[SPLIT__COUNT] = {0};
  for (uint32_t i = 0; i < r->found.n; i++) count[r->found.at[i].split]++;
  for (int s = 0; s < SPLIT__COUNT; s++)
    out->split[s] = (ItemList){arena_array(r->arena, Item, count[s]), 0};
  for (uint32_t i = 0; i < r->found.n; i++) {
    ItemList *list = &out->split[r->found.at[i].split];
    list->at[list->n] = r->found.at[i].item;
    list->at[list->n++].label = rank[r->found.at[i].item.label];
  }
  out->root = r->root;
  out->shards = r->shards.at;
  out->n_shards = r->shards.n;
}

static VlStatus read_any(DatasetReader *r) {
  const char *path = r->source->path;
  if (is_folder(path)) return read_folder(r);
  if (has_ending(path, ".json")) return dataset_read_json(r);
  if (has_ending(path, ".csv")) return dataset_read_csv(r);
  if (has_ending(path, ".tar")) return dataset_read_tar(r, path, SPLIT_train);
  struct stat st;
  if (stat(path, &st) == 0) return no_photos(r, path, "this is neither a folder nor a list");
  VlStatus status =
      diag_error(r->diag, DIAG_OPEN, (DiagAt){path, NULL}, "there is no such data set");
  diag_fix(r->diag, "check the spelling of the path and of its folders");
  return status;
}

VlStatus dataset_open(const DatasetSource *s, Arena *a, Diag *d, Dataset *out) {
  DatasetReader *r = arena_one(a, DatasetReader);
  *r = (DatasetReader){.source = s, .arena = a, .diag = d, .labels = names_new(a)};
  r->root = is_folder(s->path) ? s->path : dataset_folder_of(r, s->path);
  *out = (Dataset){0};
  VL_TRY(read_any(r));
  if (r->found.n == 0) return no_photos(r, s->path, "there are no photos in it");
  give_out(r, out);
  return read_class_names(r, out);
}
