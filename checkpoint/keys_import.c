/* SPDX-License-Identifier: Apache-2.0 */
/* keys_import.c - official checkpoints to the tensors of a prompt set. */
#include <string.h>

#include "base/vec.h"
#include "checkpoint/keys_int.h"

typedef struct {
  const char *method;
  const KeyRow *row;
  uint32_t n_rows;
  Arena *a;
  Diag *d;
  VEC(SafeTensor) tensor;
  VEC(const KeyRow *) from; /* parallel: the row of each */
  VEC(uint32_t) number;     /* parallel */
} Import;

/* The folder that holds a file: the last but one part of its path. */
static const char *folder_of(const char *path, Arena *a) {
  const char *end = strrchr(path, '/');
  if (!end) return ".";
  const char *start = end;
  while (start > path && start[-1] != '/') start--;
  return arena_strndup(a, start, (size_t)(end - start));
}

/* The folder of the table that a file stands for. */
static VlStatus find_folder(Import *im, const char *path, const char **out) {
  const char **folder, *own = folder_of(path, im->a);
  uint32_t n = keys_folders(im->method, im->a, &folder);
  Str list = {.arena = im->a};
  *out = folder[0];
  if (n == 1) return VLPC_OK;
  for (uint32_t i = 0; i < n; i++) {
    *out = folder[i];
    if (strcmp(folder[i], own) == 0) return VLPC_OK;
    str_printf(&list, i ? ", %s" : "%s", folder[i]);
  }
  VlStatus s = diag_error(im->d, DIAG_PROMPT_KEYS, (DiagAt){path, NULL},
                          "which part of method %s it holds is not clear", im->method);
  diag_found(im->d, "in the folder '%s'", own);
  diag_expected(im->d, "a folder of %s", str_text(&list));
  return s;
}

static VlStatus unknown_key(const Import *im, const char *path, const char *key) {
  const char *place = arena_printf(im->a, "key '%.200s'", key);
  Str list = {.arena = im->a};
  for (uint32_t i = 0; i < im->n_rows; i++) {
    if (!im->row[i].trainable) continue;
    str_printf(&list, list.n ? ", %s" : "%s", im->row[i].official);
  }
  VlStatus s = diag_error(im->d, DIAG_PROMPT_KEYS, (DiagAt){path, place},
                          "method %s has no such key", im->method);
  diag_expected(im->d, "%s", str_text(&list));
  diag_fix(im->d, "name the method that the checkpoint was trained with");
  return s;
}

static const KeyRow *find_row(const Import *im, const char *folder, const char *key,
                              uint32_t *number) {
  for (uint32_t i = 0; i < im->n_rows; i++) {
    const KeyRow *r = &im->row[i];
    if (strcmp(r->folder, folder) == 0 && keys_match(r->official, key, number)) return r;
  }
  return NULL;
}

static VlStatus take_tensor(Import *im, const Checkpoint *c, const CheckpointTensor *t,
                            const KeyRow *r, uint32_t number) {
  float *data = NULL;
  VL_TRY(checkpoint_floats(c, t, im->d, &data));
  SafeTensor *to = vec_push(im->a, &im->tensor);
  *to = (SafeTensor){.name = keys_name(r->trainable, number, im->a), .dtype = VLPC_F32,
                     .rank = t->rank, .data = data, .bytes = sizeof *data};
  memcpy(to->size, t->size, sizeof to->size);
  for (uint32_t i = 0; i < t->rank; i++) to->bytes *= (uint64_t)t->size[i];
  *vec_push(im->a, &im->from) = r;
  *vec_push(im->a, &im->number) = number;
  return VLPC_OK;
}

static VlStatus read_file(Import *im, const char *path) {
  const char *folder = NULL;
  Checkpoint c;
  uint32_t number;
  VL_TRY(find_folder(im, path, &folder));
  VL_TRY(checkpoint_read(path, im->a, im->d, &c));
  for (uint32_t i = 0; i < c.n; i++) {
    const KeyRow *r = find_row(im, folder, c.at[i].name, &number);
    if (!r) return unknown_key(im, path, c.at[i].name);
    if (r->trainable) VL_TRY(take_tensor(im, &c, &c.at[i], r, number));
  }
  return VLPC_OK;
}

/* Whether a row gave the tensor of this number. */
static bool has(const Import *im, const KeyRow *r, uint32_t number) {
  for (uint32_t i = 0; i < im->tensor.n; i++)
    if (im->from.at[i] == r && im->number.at[i] == number) return true;
  return false;
}

/* How many a row gave. */
static uint32_t count(const Import *im, const KeyRow *r) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < im->tensor.n; i++) n += im->from.at[i] == r;
  return n;
}

/* What a method needs is there, and numbers have no gaps. */
static VlStatus check_all(const Import *im, const char *path) {
  for (uint32_t i = 0; i < im->n_rows; i++) {
    const KeyRow *r = &im->row[i];
    uint32_t n = count(im, r), k = 0;
    if (!r->trainable) continue;
    while (k < n && has(im, r, r->first + k)) k++;
    if (k == n && (n > 0 || !r->needed)) continue;
    const char *key = keys_name(r->official, r->first + k, im->a);
    VlStatus s = diag_error(im->d, DIAG_PROMPT_KEYS, (DiagAt){path, NULL},
                            "lacks a key of method %s", im->method);
    diag_expected(im->d, "%s, saved in %s", key, r->folder);
    return s;
  }
  return VLPC_OK;
}

/* Two files of one folder give a name twice. */
static VlStatus check_twice(const Import *im, const char *path) {
  for (uint32_t i = 0; i < im->tensor.n; i++) {
    for (uint32_t k = 0; k < i; k++) {
      if (im->from.at[i] != im->from.at[k] || im->number.at[i] != im->number.at[k]) continue;
      return diag_error(im->d, DIAG_PROMPT_KEYS, (DiagAt){path, NULL},
                        "two checkpoints hold '%s'", im->tensor.at[i].name);
    }
  }
  return VLPC_OK;
}

VlStatus keys_import(const char *method, const char *const *path, uint32_t n, Arena *a, Diag *d,
                     Safetensors *out) {
  Import im = {.method = method, .a = a, .d = d};
  im.row = keys_of(method, &im.n_rows);
  if (!im.row) return keys_no_method(method, a, d);
  for (uint32_t i = 0; i < n; i++) {
    VL_TRY(read_file(&im, path[i]));
    VL_TRY(check_twice(&im, path[i]));
  }
  VL_TRY(check_all(&im, path[n - 1]));
  *out = (Safetensors){.at = im.tensor.at, .n = im.tensor.n};
  return VLPC_OK;
}
