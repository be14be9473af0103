/* SPDX-License-Identifier: Apache-2.0 */
/* checkpoint_write.c - writes a checkpoint as torch.save lays it out: a pickle
** of protocol 2, the byte order, one member a tensor, the format's version. */
#include <inttypes.h>
#include <string.h>

#include "base/zip.h"
#include "checkpoint/checkpoint.h"

enum { STORAGE_ALIGN = 64 };

/* ---- the pickle --------------------------------------------------------- */

static void put(Str *s, char op) { str_addn(s, &op, 1); }

static void put4(Str *s, uint32_t v) {
  const char b[4] = {(char)v, (char)(v >> 8), (char)(v >> 16), (char)(v >> 24)};
  str_addn(s, b, 4);
}

static void put_text(Str *s, const char *text) {
  put(s, 'X'), put4(s, (uint32_t)strlen(text));
  str_add(s, text);
}

/* A whole number of up to 64 bits in as few bytes as the format has. */
static void put_int(Str *s, int64_t v) {
  if (v >= 0 && v < 256) {
    put(s, 'K'), put(s, (char)v);
  } else if (v >= INT32_MIN && v <= INT32_MAX) {
    put(s, 'J'), put4(s, (uint32_t)v);
  } else {
    str_addn(s, "\x8a\x08", 2), put4(s, (uint32_t)v), put4(s, (uint32_t)((uint64_t)v >> 32));
  }
}

static void put_ints(Str *s, const int64_t *v, uint32_t n) {
  put(s, '(');
  for (uint32_t i = 0; i < n; i++) put_int(s, v[i]);
  put(s, 't');
}

static int64_t count_of(const CheckpointFloats *t) {
  int64_t n = 1;
  for (uint32_t i = 0; i < t->rank; i++) n *= t->size[i];
  return n;
}

/* _rebuild_tensor_v2(storage, 0, size, stride, False, OrderedDict()) */
static void put_tensor(Str *s, const CheckpointFloats *t, uint32_t key) {
  int64_t stride[VLPC_MAX_RANK], step = 1;
  for (uint32_t i = t->rank; i-- > 0; step *= t->size[i]) stride[i] = step;
  str_add(s, "ctorch._utils\n_rebuild_tensor_v2\n((");
  put_text(s, "storage");
  str_add(s, "ctorch\nFloatStorage\n");
  put_text(s, arena_printf(s->arena, "%" PRIu32, key));
  put_text(s, "cpu");
  put_int(s, count_of(t));
  str_add(s, "tQ");
  put_int(s, 0);
  put_ints(s, t->size, t->rank);
  put_ints(s, stride, t->rank);
  str_add(s, "\x89" "ccollections\nOrderedDict\n)RtR");
}

static Str make_pickle(const CheckpointFloats *t, uint32_t n, int64_t epoch, Arena *a) {
  Str s = {.arena = a};
  str_addn(&s, "\x80\x02}(", 4);
  put_text(&s, "state_dict");
  str_add(&s, "ccollections\nOrderedDict\n)R(");
  for (uint32_t i = 0; i < n; i++) put_text(&s, t[i].name), put_tensor(&s, &t[i], i);
  put(&s, 'u');
  put_text(&s, "epoch"), put_int(&s, epoch);
  str_add(&s, "u.");
  return s;
}

/* ---- the archive -------------------------------------------------------- */

static VlStatus add_all(ZipWriter *z, const Str *pickle, const CheckpointFloats *t, uint32_t n) {
  VL_TRY(zip_add(z, "checkpoint/data.pkl", STORAGE_ALIGN, &(ZipSpan){pickle->at, pickle->n}, 1));
  VL_TRY(zip_add(z, "checkpoint/byteorder", STORAGE_ALIGN, &(ZipSpan){"little", 6}, 1));
  for (uint32_t i = 0; i < n; i++) {
    const char *name = arena_printf(z->arena, "checkpoint/data/%" PRIu32, i);
    ZipSpan span = {t[i].data, (uint64_t)count_of(&t[i]) * sizeof(float)};
    VL_TRY(zip_add(z, name, STORAGE_ALIGN, &span, 1));
  }
  VL_TRY(zip_add(z, "checkpoint/version", STORAGE_ALIGN, &(ZipSpan){"3\n", 2}, 1));
  return zip_finish(z);
}

VlStatus checkpoint_write(const char *path, const CheckpointFloats *t, uint32_t n, int64_t epoch,
                          Arena *a, Diag *d) {
  Str pickle = make_pickle(t, n, epoch, a);
  uint64_t total = pickle.n + 4096;
  for (uint32_t i = 0; i < n; i++) total += (uint64_t)count_of(&t[i]) * sizeof(float) + 512;
  if (total > ZIP_MAX_BYTES || n + 3 > ZIP_MAX_MEMBERS)
    return diag_error(d, DIAG_TOO_LARGE, (DiagAt){path, NULL},
                      "a checkpoint must stay below 4 GiB");
  ZipWriter z = {.arena = a};
  VL_TRY(io_create(path, d, &z.file));
  VL_IGNORE(add_all(&z, &pickle, t, n)); /* a failed write fails the commit */
  return io_commit(z.file);
}
