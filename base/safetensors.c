/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors.c - reads the header with jansson, then holds the spans of all
** tensors, in their order, against the bytes that are there. */
#include "base/safetensors.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"

static const char *const dtype_word[] = {
    [VLPC_F32] = "F32", [VLPC_F16] = "F16",   [VLPC_BF16] = "BF16", [VLPC_F64] = "F64",
    [VLPC_I64] = "I64", [VLPC_I32] = "I32",   [VLPC_I8] = "I8",     [VLPC_U8] = "U8",
    [VLPC_BOOL] = "BOOL", [VLPC_I16] = "I16", [VLPC_U16] = "U16",   [VLPC_U32] = "U32",
    [VLPC_U64] = "U64",
};

const char *safetensors_dtype(VlDtype d) {
  VL_CHECK(dtype_valid((int)d), "not an element type");
  return dtype_word[d];
}

typedef struct {
  const uint8_t *at;
  uint64_t n, start; /* of the tensors' bytes */
  const char *file;
  Arena *a;
  Diag *d;
} Reader;

/* One tensor while it is checked. */
typedef struct {
  SafeTensor t;
  uint64_t begin, end; /* in the tensors' bytes */
} Entry;

static VlStatus broken(const Reader *r, const char *place, const char *what) {
  return diag_error(r->d, DIAG_SAFETENSORS, (DiagAt){r->file, place}, "%s", what);
}

static const char *place_of(const Reader *r, const char *name) {
  return arena_printf(r->a, "tensor '%.200s'", name);
}

/* ---- the header --------------------------------------------------------- */

static uint64_t get64(const uint8_t *p) {
  uint64_t v = 0;
  for (int i = 8; i-- > 0;) v = v << 8 | p[i];
  return v;
}

/* Length of the header, which lies whole in the file. */
static VlStatus header_length(Reader *r, uint64_t *out) {
  uint64_t n = r->n >= 8 ? get64(r->at) : 0;
  if (r->n < 8) return broken(r, NULL, "is too short for a safetensors file");
  if (n > r->n - 8) {
    VlStatus s = broken(r, NULL, "the header is longer than the file");
    diag_found(r->d, "%" PRIu64 " bytes", n);
    diag_expected(r->d, "at most %" PRIu64, r->n - 8);
    return s;
  }
  if (n > SAFETENSORS_MAX_HEADER) {
    VlStatus s = diag_error(r->d, DIAG_TOO_LARGE, (DiagAt){r->file, NULL},
                            "the header is too long");
    diag_found(r->d, "%" PRIu64 " bytes", n);
    diag_expected(r->d, "at most %u", SAFETENSORS_MAX_HEADER);
    return s;
  }
  if (n == 0 || r->at[8] != '{') return broken(r, NULL, "the header is no JSON object");
  r->start = 8 + n;
  *out = n;
  return VLPC_OK;
}

static void drop_json(void *root) { json_decref(root); }

static VlStatus parse_header(Reader *r, uint64_t n, json_t **out) {
  json_error_t error;
  json_t *root = json_loadb((const char *)r->at + 8, (size_t)n, JSON_REJECT_DUPLICATES, &error);
  if (!root) {
    VlStatus s = broken(r, "header", "is no sound JSON");
    diag_found(r->d, "%s (byte %d)", error.text, error.position);
    return s;
  }
  arena_defer(r->a, drop_json, root);
  *out = root;
  return VLPC_OK;
}

static VlStatus read_texts(const Reader *r, json_t *o, Safetensors *out) {
  const char *key;
  json_t *v;
  if (!json_is_object(o)) return broken(r, "__metadata__", "is no object");
  out->text = arena_array(r->a, SafeText, json_object_size(o));
  json_object_foreach(o, key, v) {
    if (!json_is_string(v)) return broken(r, "__metadata__", "has a value that is no text");
    out->text[out->n_texts++] =
        (SafeText){arena_strdup(r->a, key), arena_strdup(r->a, json_string_value(v))};
  }
  return VLPC_OK;
}

/* ---- one tensor --------------------------------------------------------- */

static VlStatus read_dtype(const Reader *r, const char *place, json_t *v, SafeTensor *t) {
  const char *word = json_string_value(v);
  if (!word) return broken(r, place, "has no dtype");
  for (int d = 1; d < (int)VL_COUNT(dtype_word); d++) {
    if (strcmp(dtype_word[d], word) == 0) t->dtype = (VlDtype)d;
  }
  if (t->dtype) return VLPC_OK;
  VlStatus s = diag_error(r->d, DIAG_SAFETENSORS_TYPE, (DiagAt){r->file, place},
                          "the element type is not supported");
  diag_found(r->d, "%s", word);
  diag_expected(r->d, "F32 F16 BF16 F64 I64 I32 I16 I8 U64 U32 U16 U8 BOOL");
  return s;
}

/* A whole number that is not negative. */
static bool whole(json_t *v, uint64_t *out) {
  json_int_t n = json_integer_value(v);
  *out = (uint64_t)n;
  return json_is_integer(v) && n >= 0;
}

static VlStatus read_shape(const Reader *r, const char *place, json_t *list, SafeTensor *t) {
  uint64_t size, bytes = dtype_size(t->dtype);
  bool fits = true;
  if (!json_is_array(list)) return broken(r, place, "has no shape");
  if (json_array_size(list) > VLPC_MAX_RANK) {
    VlStatus s = diag_error(r->d, DIAG_SAFETENSORS_TYPE, (DiagAt){r->file, place},
                            "has too many axes");
    diag_found(r->d, "%zu", json_array_size(list));
    diag_expected(r->d, "at most %d", VLPC_MAX_RANK);
    return s;
  }
  t->rank = (uint32_t)json_array_size(list);
  for (uint32_t i = 0; i < t->rank; i++) {
    if (!whole(json_array_get(list, i), &size))
      return broken(r, place, "the shape has an element that is no size");
    t->size[i] = (int64_t)size;
    fits = fits && vl_mul_u64(bytes, size, &bytes);
  }
  if (!fits) return broken(r, place, "the shape's size overflows");
  t->bytes = bytes;
  return VLPC_OK;
}

static VlStatus read_span(const Reader *r, const char *place, json_t *list, Entry *e) {
  if (!json_is_array(list) || json_array_size(list) != 2 ||
      !whole(json_array_get(list, 0), &e->begin) || !whole(json_array_get(list, 1), &e->end))
    return broken(r, place, "data_offsets are not two sizes");
  if (e->begin > e->end) return broken(r, place, "data_offsets end before they begin");
  if (e->end - e->begin == e->t.bytes) return VLPC_OK;
  VlStatus s = broken(r, place, "the bytes do not match type and shape");
  diag_found(r->d, "%" PRIu64 " bytes", e->end - e->begin);
  diag_expected(r->d, "%" PRIu64, e->t.bytes);
  return s;
}

static VlStatus read_tensor(const Reader *r, const char *name, json_t *o, Entry *e) {
  const char *place = place_of(r, name);
  *e = (Entry){.t.name = arena_strdup(r->a, name)};
  if (!json_is_object(o)) return broken(r, place, "is no object");
  VL_TRY(read_dtype(r, place, json_object_get(o, "dtype"), &e->t));
  VL_TRY(read_shape(r, place, json_object_get(o, "shape"), &e->t));
  VL_TRY(read_span(r, place, json_object_get(o, "data_offsets"), e));
  return json_object_size(o) == 3 ? VLPC_OK : broken(r, place, "has a key that is not known");
}

/* ---- all together ------------------------------------------------------- */

static int by_span(const void *a, const void *b) {
  const Entry *x = a, *y = b;
  if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
  if (x->end != y->end) return x->end < y->end ? -1 : 1;
  return strcmp(x->t.name, y->t.name);
}

/* The spans, in their order, cover the bytes behind the header exactly. */
static VlStatus check_spans(const Reader *r, const Entry *e, uint32_t n) {
  uint64_t at = 0;
  for (uint32_t i = 0; i < n; at = e[i++].end) {
    if (e[i].begin == at) continue;
    VlStatus s = broken(r, place_of(r, e[i].t.name),
                        e[i].begin < at ? "overlaps another tensor" : "lies behind a hole");
    diag_found(r->d, "begins at %" PRIu64, e[i].begin);
    diag_expected(r->d, "%" PRIu64, at);
    return s;
  }
  if (at == r->n - r->start) return VLPC_OK;
  VlStatus s = broken(r, NULL, "the tensors do not fill the file");
  diag_found(r->d, "%" PRIu64 " bytes behind the header", r->n - r->start);
  diag_expected(r->d, "%" PRIu64, at);
  return s;
}

/* In the file where it is aligned there; a bool is made 0 or 1. */
static const void *data_of(const Reader *r, const Entry *e) {
  const uint8_t *at = r->at + r->start + e->begin;
  bool as_it_is = e->t.dtype != VLPC_BOOL && (uintptr_t)at % dtype_size(e->t.dtype) == 0;
  if (as_it_is) return at;
  uint8_t *copy = arena_alloc(r->a, (size_t)e->t.bytes);
  if (e->t.bytes) memcpy(copy, at, (size_t)e->t.bytes);
  for (uint64_t i = 0; e->t.dtype == VLPC_BOOL && i < e->t.bytes; i++) copy[i] = copy[i] != 0;
  return copy;
}

static VlStatus read_all(const Reader *r, json_t *root, Safetensors *out) {
  const char *name;
  json_t *v;
  uint32_t n = 0;
  Entry *e = arena_array(r->a, Entry, json_object_size(root));
  json_object_foreach(root, name, v) {
    if (strcmp(name, "__metadata__") == 0) VL_TRY(read_texts(r, v, out));
    else VL_TRY(read_tensor(r, name, v, &e[n++]));
  }
  if (n > 1) qsort(e, n, sizeof *e, by_span);
  VL_TRY(check_spans(r, e, n));
  out->at = arena_array(r->a, SafeTensor, n);
  for (out->n = 0; out->n < n; out->n++) {
    e[out->n].t.data = data_of(r, &e[out->n]);
    out->at[out->n] = e[out->n].t;
  }
  return VLPC_OK;
}

VlStatus safetensors_parse(const uint8_t *at, uint64_t n, const char *file, Arena *a, Diag *d,
                           Safetensors *out) {
  Reader r = {.at = at, .n = n, .file = file, .a = a, .d = d};
  uint64_t header = 0;
  json_t *root = NULL;
  *out = (Safetensors){0};
  VL_TRY(header_length(&r, &header));
  VL_TRY(parse_header(&r, header, &root));
  return read_all(&r, root, out);
}

VlStatus safetensors_read(const char *path, Arena *a, Diag *d, Safetensors *out) {
  Mapped *m = NULL;
  VL_TRY(io_map_on(path, a, d, &m));
  return safetensors_parse(m->at, m->n, path, a, d, out);
}

const SafeTensor *safetensors_find(const Safetensors *s, const char *name) {
  for (uint32_t i = 0; i < s->n; i++) {
    if (strcmp(s->at[i].name, name) == 0) return &s->at[i];
  }
  return NULL;
}

const char *safetensors_text(const Safetensors *s, const char *key) {
  for (uint32_t i = 0; i < s->n_texts; i++) {
    if (strcmp(s->text[i].key, key) == 0) return s->text[i].value;
  }
  return NULL;
}
