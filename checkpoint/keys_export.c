/* SPDX-License-Identifier: Apache-2.0 */
/* keys_export.c - the tensors of a prompt set to official checkpoints. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/vec.h"
#include "checkpoint/keys_int.h"

typedef struct {
  const char *folder;
  VEC(CheckpointFloats) tensor;
} Part;

typedef struct {
  const char *method, *file; /* file: of the prompt set, for messages */
  Arena *a;
  Diag *d;
  Part *part; /* per folder */
  uint32_t n_parts;
} Export;

static VlStatus unknown_name(const Export *ex, const SafeTensor *t) {
  const char *place = arena_printf(ex->a, "tensor '%.200s'", t->name);
  VlStatus s = diag_error(ex->d, DIAG_PROMPT_KEYS, (DiagAt){ex->file, place},
                          "method %s has no such trainable", ex->method);
  diag_fix(ex->d, "name the method that the prompt set was trained with");
  return s;
}

static VlStatus floats_of(const Export *ex, const SafeTensor *t, const float **out) {
  if (!dtype_is_float(t->dtype)) {
    const char *place = arena_printf(ex->a, "tensor '%.200s'", t->name);
    return diag_error(ex->d, DIAG_PROMPT_KEYS, (DiagAt){ex->file, place},
                      "a trainable of %s elements", dtype_name(t->dtype));
  }
  uint64_t n = t->bytes / dtype_size(t->dtype);
  float *data = arena_array(ex->a, float, n);
  dtype_to_f32(t->dtype, t->data, data, (int64_t)n);
  *out = data;
  return VLPC_OK;
}

static Part *part_of(const Export *ex, const char *folder) {
  for (uint32_t i = 0; i < ex->n_parts; i++)
    if (strcmp(ex->part[i].folder, folder) == 0) return &ex->part[i];
  VL_UNREACHABLE("every folder of the table has a part");
}

/* Under its official name, in the part of its folder. */
static VlStatus place_tensor(const Export *ex, const KeyRow *row, uint32_t n_rows,
                             const SafeTensor *t) {
  uint32_t number;
  for (uint32_t i = 0; i < n_rows; i++) {
    if (!row[i].trainable || !keys_match(row[i].trainable, t->name, &number)) continue;
    CheckpointFloats x = {.name = keys_name(row[i].official, number, ex->a), .rank = t->rank};
    memcpy(x.size, t->size, sizeof x.size);
    VL_TRY(floats_of(ex, t, &x.data));
    *vec_push(ex->a, &part_of(ex, row[i].folder)->tensor) = x;
    return VLPC_OK;
  }
  return unknown_name(ex, t);
}

/* What the method needs is in the set. */
static VlStatus check_needed(const Export *ex, const KeyRow *row, uint32_t n_rows,
                             const Safetensors *set) {
  for (uint32_t i = 0; i < n_rows; i++) {
    const char *name = row[i].needed ? keys_name(row[i].trainable, row[i].first, ex->a) : NULL;
    if (!name || safetensors_find(set, name)) continue;
    VlStatus s = diag_error(ex->d, DIAG_PROMPT_KEYS, (DiagAt){ex->file, NULL},
                            "lacks a trainable of method %s", ex->method);
    diag_expected(ex->d, "%s", name);
    diag_fix(ex->d, "name the method that the prompt set was trained with");
    return s;
  }
  return VLPC_OK;
}

static VlStatus make_folder(const Export *ex, const char *path) {
  if (mkdir(path, 0777) == 0 || errno == EEXIST) return VLPC_OK;
  return diag_error(ex->d, DIAG_FOLDER, (DiagAt){path, NULL}, "cannot be made: %s",
                    strerror(errno));
}

/* Where part i goes. */
static VlStatus place_file(const Export *ex, uint32_t i, const char *path, const char **out) {
  *out = path;
  if (ex->n_parts == 1) return VLPC_OK;
  const char *folder = arena_printf(ex->a, "%s/%s", path, ex->part[i].folder);
  *out = arena_printf(ex->a, "%s/model.pth.tar", folder);
  VL_TRY(make_folder(ex, path));
  return make_folder(ex, folder);
}

VlStatus keys_export(const char *method, const Safetensors *set, const char *file,
                     const char *path, Arena *a, Diag *d, const char ***files) {
  Export ex = {.method = method, .file = file, .a = a, .d = d};
  uint32_t n_rows;
  const char **folder;
  const KeyRow *row = keys_of(method, &n_rows);
  if (!row) return keys_no_method(method, a, d);
  ex.n_parts = keys_folders(method, a, &folder);
  ex.part = arena_array(a, Part, ex.n_parts);
  *files = arena_array(a, const char *, ex.n_parts + 1u);
  for (uint32_t i = 0; i < ex.n_parts; i++) ex.part[i].folder = folder[i];
  for (uint32_t i = 0; i < set->n; i++) VL_TRY(place_tensor(&ex, row, n_rows, &set->at[i]));
  VL_TRY(check_needed(&ex, row, n_rows, set));
  for (uint32_t i = 0; i < ex.n_parts; i++) {
    const Part *p = &ex.part[i];
    VL_TRY(place_file(&ex, i, path, &(*files)[i]));
    VL_TRY(checkpoint_write((*files)[i], p->tensor.at, p->tensor.n, 0, a, d));
  }
  return VLPC_OK;
}
