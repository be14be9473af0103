/* SPDX-License-Identifier: Apache-2.0 */
/* checkpoint.c - finds the state dictionary and turns views of storages into
** arrays. */
#include "checkpoint/checkpoint.h"

#include <inttypes.h>
#include <string.h>

#include "base/map.h"
#include "base/zip.h"
#include "checkpoint/pickle.h"

typedef struct {
  Zip zip;
  Names *names; /* of members: id = index */
  const char *prefix;
} Archive;

static VlStatus broken(const Zip *z, const char *place, const char *what) {
  return diag_error(z->d, DIAG_CHECKPOINT, (DiagAt){z->file, place}, "%s", what);
}

/* ---- the archive -------------------------------------------------------- */

static VlStatus old_format(const Zip *z) {
  VlStatus s = diag_error(z->d, DIAG_CHECKPOINT_KIND, (DiagAt){z->file, NULL},
                          "was saved in PyTorch's old format");
  diag_expected(z->d, "a zip archive, as torch.save writes since 1.6");
  diag_fix(z->d,
           "write it anew: python3 -c \"import sys, torch; f = sys.argv[1]; "
           "torch.save(torch.load(f, 'cpu', weights_only=False), f)\" FILE (it runs what the "
           "file asks for: only when you trust it)");
  return s;
}

static VlStatus list_members(Archive *ar) {
  Zip *z = &ar->zip;
  if (z->n >= 2 && z->at[0] == 0x80 && z->at[1] <= 5) return old_format(z);
  if (z->n < 4 || memcmp(z->at, "PK\3\4", 4) != 0)
    return broken(z, NULL, "is no PyTorch checkpoint: not a zip archive");
  VL_TRY(zip_list(z));
  ar->names = names_new(z->arena);
  for (uint32_t i = 0; i < z->n_members; i++) {
    const ZipMember *m = &z->member[i];
    size_t n = strlen(m->name), tail = strlen("/data.pkl");
    names_add(ar->names, m->name, n);
    if (n <= tail || strcmp(m->name + n - tail, "/data.pkl") != 0) continue;
    if (ar->prefix) return broken(z, NULL, "the archive has two members data.pkl");
    ar->prefix = arena_strndup(z->arena, m->name, n - tail);
  }
  return ar->prefix ? VLPC_OK : broken(z, NULL, "the archive has no member data.pkl");
}

/* The member of this name below the prefix; NULL when there is none. */
static const ZipMember *find_member(const Archive *ar, const char *name) {
  uint32_t i;
  const char *full = arena_printf(ar->zip.arena, "%s/%s", ar->prefix, name);
  return names_find(ar->names, full, strlen(full), &i) ? &ar->zip.member[i] : NULL;
}

static VlStatus member_bytes(const Archive *ar, const ZipMember *m, const uint8_t **out) {
  if (m->method == ZIP_STORED) return zip_bytes(&ar->zip, m, out);
  const char *place = arena_printf(ar->zip.arena, "member '%.200s'", m->name);
  return diag_error(ar->zip.d, DIAG_CHECKPOINT_KIND, (DiagAt){ar->zip.file, place},
                    "the member is compressed, which torch.save never does");
}

static VlStatus check_byte_order(const Archive *ar) {
  const ZipMember *m = find_member(ar, "byteorder");
  const uint8_t *text = NULL;
  if (!m) return VLPC_OK;
  VL_TRY(member_bytes(ar, m, &text));
  if (m->size == 6 && memcmp(text, "little", 6) == 0) return VLPC_OK;
  return diag_error(ar->zip.d, DIAG_CHECKPOINT_KIND, (DiagAt){ar->zip.file, "member 'byteorder'"},
                    "the byte order is not little-endian");
}

/* ---- the state dictionary ----------------------------------------------- */

static VlStatus no_tensor(const Archive *ar, const char *name, const PickleValue *v) {
  const char *place = arena_printf(ar->zip.arena, "state_dict, key '%.200s'", name);
  VlStatus s = broken(&ar->zip, place, "the value is no tensor");
  diag_found(ar->zip.d, "%s", pickle_kind_text(v->kind));
  return s;
}

static VlStatus read_state(const Archive *ar, const PickleValue *state, Checkpoint *out) {
  const Zip *z = &ar->zip;
  Names *names = names_new(z->arena);
  out->at = arena_array(z->arena, CheckpointTensor, state->n / 2);
  for (uint32_t i = 0; i + 1 < state->n; i += 2) {
    const PickleValue *key = state->as.item[i], *v = state->as.item[i + 1];
    if (key->kind != PICKLE_text) return broken(z, "state_dict", "a key is no text");
    const char *name = key->as.text;
    if (v->kind != PICKLE_tensor) return no_tensor(ar, name, v);
    if (strncmp(name, "module.", 7) == 0) name += 7;
    if (names_add(names, name, strlen(name)) != out->n)
      return broken(z, arena_printf(z->arena, "state_dict, key '%.200s'", name),
                    "the key is there twice");
    const PickleTensor *t = v->as.tensor;
    CheckpointTensor *to = &out->at[out->n++];
    *to = (CheckpointTensor){name, t->storage->dtype, t->rank, {0}, t};
    memcpy(to->size, t->size, sizeof to->size);
  }
  return VLPC_OK;
}

static VlStatus read_root(const Archive *ar, const PickleValue *root, Checkpoint *out) {
  const PickleValue *state = pickle_find(root, "state_dict"), *epoch = pickle_find(root, "epoch");
  out->epoch = epoch && epoch->kind == PICKLE_int && epoch->as.i >= 0 ? epoch->as.i : -1;
  if (!state) state = root;
  if (state->kind == PICKLE_dict) return read_state(ar, state, out);
  VlStatus s = broken(&ar->zip, "member 'data.pkl'", "holds no state dictionary");
  diag_found(ar->zip.d, "%s", pickle_kind_text(state->kind));
  return s;
}

VlStatus checkpoint_parse(const uint8_t *at, uint64_t n, const char *file, Arena *a, Diag *d,
                          Checkpoint *out) {
  const uint8_t *bytes = NULL;
  const PickleValue *root = NULL;
  Archive *ar = arena_one(a, Archive);
  *out = (Checkpoint){.inner = ar};
  ar->zip = (Zip){at, n, file, a, DIAG_CHECKPOINT, d, NULL, 0};
  VL_TRY(list_members(ar));
  VL_TRY(check_byte_order(ar));
  const ZipMember *m = find_member(ar, "data.pkl");
  VL_TRY(member_bytes(ar, m, &bytes));
  VL_TRY(pickle_read(bytes, m->size, (DiagAt){file, "data.pkl"}, a, d, &root));
  return read_root(ar, root, out);
}

VlStatus checkpoint_read(const char *path, Arena *a, Diag *d, Checkpoint *out) {
  Mapped *m = NULL;
  VL_TRY(io_map_on(path, a, d, &m));
  return checkpoint_parse(m->at, m->n, path, a, d, out);
}

const CheckpointTensor *checkpoint_find(const Checkpoint *c, const char *name) {
  for (uint32_t i = 0; i < c->n; i++) {
    if (strcmp(c->at[i].name, name) == 0) return &c->at[i];
  }
  return NULL;
}

/* ---- elements ----------------------------------------------------------- */

static VlStatus storage_bytes(const Archive *ar, const CheckpointTensor *t, Diag *d,
                              const uint8_t **out) {
  const PickleTensor *view = t->inner;
  const char *place = arena_printf(ar->zip.arena, "key '%.200s'", t->name);
  const char *name = arena_printf(ar->zip.arena, "data/%s", view->storage->key);
  const ZipMember *m = find_member(ar, name);
  uint64_t want;
  if (!m) {
    VlStatus s = broken(&ar->zip, place, "the archive lacks the tensor's storage");
    diag_expected(d, "a member %s/%s", ar->prefix, name);
    return s;
  }
  bool sound = vl_mul_u64(view->storage->n, dtype_size(view->storage->dtype), &want);
  if (sound && m->size == want) return member_bytes(ar, m, out);
  VlStatus s = broken(&ar->zip, place, "the storage's bytes do not match its elements");
  diag_found(d, "%" PRIu64 " bytes", m->size);
  diag_expected(d, "%" PRIu64 " elements of %s", view->storage->n,
                dtype_name(view->storage->dtype));
  return s;
}

/* Elements in row-major order, along the view's strides. */
static void gather(const PickleTensor *t, const uint8_t *from, uint64_t count, float *to) {
  size_t width = dtype_size(t->storage->dtype);
  int64_t index[VLPC_MAX_RANK] = {0}, at = (int64_t)t->offset;
  for (uint64_t i = 0; i < count; i++) {
    dtype_to_f32(t->storage->dtype, from + (uint64_t)at * width, &to[i], 1);
    for (uint32_t k = t->rank; k-- > 0;) {
      at += t->stride[k];
      if (++index[k] < t->size[k]) break;
      at -= t->size[k] * t->stride[k];
      index[k] = 0;
    }
  }
}

VlStatus checkpoint_floats(const Checkpoint *c, const CheckpointTensor *t, Diag *d, float **out) {
  const Archive *ar = c->inner;
  const uint8_t *from = NULL;
  uint64_t count = 1;
  if (!dtype_is_float(t->dtype)) {
    const char *place = arena_printf(ar->zip.arena, "key '%.200s'", t->name);
    VlStatus s = diag_error(d, DIAG_CHECKPOINT_KIND, (DiagAt){ar->zip.file, place},
                            "the tensor's elements are no floats");
    diag_found(d, "%s", dtype_name(t->dtype));
    return s;
  }
  VL_TRY(storage_bytes(ar, t, d, &from));
  for (uint32_t i = 0; i < t->rank; i++) count *= (uint64_t)t->size[i];
  *out = arena_array(ar->zip.arena, float, count);
  gather(t->inner, from, count, *out);
  return VLPC_OK;
}
