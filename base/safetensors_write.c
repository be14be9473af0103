/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors_write.c - writes the bytes that the format's own library writes:
** element types in its order, then by name; texts by key. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/safetensors.h"
#include "base/str.h"

/* Wide types come first, so each tensor lies at a multiple of its element. */
static const uint8_t order_of[] = {
    [VLPC_U64] = 1,  [VLPC_I64] = 2, [VLPC_F64] = 3, [VLPC_F32] = 4,  [VLPC_U32] = 5,
    [VLPC_I32] = 6,  [VLPC_BF16] = 7, [VLPC_F16] = 8, [VLPC_U16] = 9, [VLPC_I16] = 10,
    [VLPC_I8] = 11, [VLPC_U8] = 12, [VLPC_BOOL] = 13,
};

static int by_type_and_name(const void *a, const void *b) {
  const SafeTensor *x = a, *y = b;
  int order = order_of[x->dtype] - order_of[y->dtype];
  return order ? order : strcmp(x->name, y->name);
}

static int by_key(const void *a, const void *b) {
  return strcmp(((const SafeText *)a)->key, ((const SafeText *)b)->key);
}

static void *sorted(Arena *a, const void *from, uint32_t n, size_t size,
                    int (*order)(const void *, const void *)) {
  void *to = arena_array_bytes(a, n, size);
  if (n) memcpy(to, from, n * size);
  if (n > 1) qsort(to, n, size, order);
  return to;
}

static void add_text(Str *s, const char *text) { str_json(s, text, strlen(text)); }

static void add_texts(Str *s, const SafeText *text, uint32_t n) {
  str_add(s, "\"__metadata__\":{");
  for (uint32_t i = 0; i < n; i++) {
    if (i) str_add(s, ",");
    add_text(s, text[i].key), str_add(s, ":"), add_text(s, text[i].value);
  }
  str_add(s, "}");
}

static void add_tensor(Str *s, const SafeTensor *t, uint64_t begin) {
  add_text(s, t->name);
  str_printf(s, ":{\"dtype\":\"%s\",\"shape\":[", safetensors_dtype(t->dtype));
  for (uint32_t i = 0; i < t->rank; i++) str_printf(s, i ? ",%" PRId64 : "%" PRId64, t->size[i]);
  str_printf(s, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", begin, begin + t->bytes);
}

/* Length and header, which spaces bring to a multiple of 8. */
static Str make_header(Arena *a, const Safetensors *s, const SafeTensor *t) {
  Str json = {.arena = a}, out = {.arena = a};
  SafeText *text = sorted(a, s->text, s->n_texts, sizeof *text, by_key);
  str_add(&json, "{");
  if (s->n_texts) add_texts(&json, text, s->n_texts);
  uint64_t at = 0;
  for (uint32_t i = 0; i < s->n; at += t[i++].bytes) {
    if (i || s->n_texts) str_add(&json, ",");
    add_tensor(&json, &t[i], at);
  }
  str_add(&json, "}");
  while (json.n % 8) str_add(&json, " ");
  char length[8];
  for (int i = 0; i < 8; i++) length[i] = (char)((uint64_t)json.n >> (8 * i));
  str_addn(&out, length, sizeof length);
  str_addn(&out, json.at, json.n);
  return out;
}

VlStatus safetensors_write(const char *path, const Safetensors *s, Arena *a, Diag *d) {
  FileWriter *w = NULL;
  const SafeTensor *t = sorted(a, s->at, s->n, sizeof *t, by_type_and_name);
  Str header = make_header(a, s, t);
  VL_TRY(io_create(path, d, &w));
  VL_IGNORE(io_write(w, header.at, header.n)); /* a failed write fails the commit */
  for (uint32_t i = 0; i < s->n; i++) VL_IGNORE(io_write(w, t[i].data, (size_t)t[i].bytes));
  return io_commit(w);
}
