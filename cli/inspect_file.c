/* SPDX-License-Identifier: Apache-2.0 */
/* inspect_file.c - kinds of files, and images, arrays and tokenizers. */
#include <inttypes.h>
#include <string.h>

#include <jansson.h>
#include <zlib.h>

#include "base/io.h"
#include "base/safetensors.h"
#include "cli/inspect.h"

VlStatus file_kind(Cli *c, const char *path, FileKind *out) {
  static const struct {
    const char *head;
    size_t n;
    FileKind kind;
  } row[] = {{"VLPC\r\n", 6, FILE_ARTIFACT},
             {"\xff\xd8\xff", 3, FILE_JPEG},
             {"\x89PNG\r\n\x1a\n", 8, FILE_PNG},
             {"\x93NUMPY", 6, FILE_NPY},
             {"PK\3\4", 4, FILE_NPZ},
             {"PK\5\6", 4, FILE_NPZ},
             {"\x1f\x8b", 2, FILE_GZIP}};
  Mapped m;
  VL_TRY(io_map(path, c->diag, &m));
  uint64_t at = 0;
  while (at < m.n && at < 64 && strchr(" \t\r\n", m.at[at]) != NULL && m.at[at] != 0) at++;
  *out = at < m.n && m.at[at] == '{' ? FILE_JSON : FILE_ONNX;
  for (size_t i = 0; i < VL_COUNT(row); i++)
    if (m.n >= row[i].n && memcmp(m.at, row[i].head, row[i].n) == 0) *out = row[i].kind;
  /* the length of a header below 16 MB, then the header */
  if (m.n > 9 && memcmp(m.at + 3, "\0\0\0\0\0{\"", 7) == 0) *out = FILE_SAFETENSORS;
  io_unmap(&m);
  return VLPC_OK;
}

/* --- images --- */

static uint32_t be(const uint8_t *p, int n) {
  uint32_t v = 0;
  for (int i = 0; i < n; i++) v = v << 8 | p[i];
  return v;
}

/* Width and height from a JPEG's frame header; false when there is none. */
static bool jpeg_size(const Mapped *m, uint32_t size[2]) {
  for (uint64_t at = 2; at + 9 < m->n && m->at[at] == 0xff;) {
    uint8_t mark = m->at[at + 1];
    if (mark >= 0xc0 && mark <= 0xcf && mark != 0xc4 && mark != 0xc8 && mark != 0xcc) {
      size[0] = be(m->at + at + 7, 2), size[1] = be(m->at + at + 5, 2);
      return true;
    }
    at += 2 + (mark == 0xff ? 0 : be(m->at + at + 2, 2));
    if (mark == 0xff) at--;
  }
  return false;
}

static bool png_size(const Mapped *m, uint32_t size[2]) {
  if (m->n < 24 || memcmp(m->at + 12, "IHDR", 4) != 0) return false;
  size[0] = be(m->at + 16, 4), size[1] = be(m->at + 20, 4);
  return true;
}

VlStatus inspect_image(Cli *c, const char *path, FileKind kind, Json *j) {
  Mapped m;
  uint32_t size[2];
  const char *name = kind == FILE_JPEG ? "JPEG image" : "PNG image";
  VL_TRY(io_map(path, c->diag, &m));
  bool found = kind == FILE_JPEG ? jpeg_size(&m, size) : png_size(&m, size);
  uint64_t bytes = m.n;
  io_unmap(&m);
  if (!found)
    return diag_error(c->diag, DIAG_IMAGE_BROKEN, (DiagAt){path, NULL},
                      "has no header with its size");
  if (j == NULL) {
    printf("%s: %s, %" PRIu32 " × %" PRIu32 " pixels, %" PRIu64 " bytes\n", path, name, size[0],
           size[1], bytes);
    return VLPC_OK;
  }
  js_text(j, "kind", name);
  js_int(j, "width", size[0]);
  js_int(j, "height", size[1]);
  js_int(j, "file_bytes", (int64_t)bytes);
  return VLPC_OK;
}

/* --- arrays --- */

static void one_array(const NpyArray *x, Json *j) {
  const char *name = x->name != NULL ? x->name : "(array)";
  if (j == NULL) {
    printf("  %-24s %-5s [", name, dtype_name(x->dtype));
    for (uint32_t k = 0; k < x->rank; k++) printf("%s%" PRId64, k > 0 ? ", " : "", x->size[k]);
    puts("]");
    return;
  }
  js_object(j, NULL);
  js_text(j, "name", x->name);
  js_text(j, "dtype", dtype_name(x->dtype));
  js_list(j, "shape");
  for (uint32_t k = 0; k < x->rank; k++) js_int(j, NULL, x->size[k]);
  js_end(j);
  js_end(j);
}

VlStatus inspect_arrays(Cli *c, const char *path, Json *j) {
  Npz z;
  VL_TRY(npz_read_any(path, c->arena, c->diag, &z));
  if (j == NULL)
    printf("%s: numpy, %" PRIu32 " arrays\n", path, z.n);
  else
    js_text(j, "kind", "numpy"), js_list(j, "arrays");
  for (uint32_t i = 0; i < z.n; i++) one_array(&z.at[i], j);
  if (j != NULL) js_end(j);
  return VLPC_OK;
}

VlStatus inspect_safetensors(Cli *c, const char *path, Json *j) {
  Safetensors s;
  VL_TRY(safetensors_read(path, c->arena, c->diag, &s));
  if (j == NULL)
    printf("%s: safetensors, %" PRIu32 " tensors\n", path, s.n);
  else
    js_text(j, "kind", "safetensors"), js_object(j, "texts");
  for (uint32_t i = 0; i < s.n_texts; i++) {
    if (j == NULL)
      printf("  %s: %s\n", s.text[i].key, s.text[i].value);
    else
      js_text(j, s.text[i].key, s.text[i].value);
  }
  if (j != NULL) js_end(j), js_list(j, "tensors");
  for (uint32_t i = 0; i < s.n; i++) {
    const SafeTensor *t = &s.at[i];
    NpyArray x = {.name = t->name, .dtype = t->dtype, .rank = t->rank};
    memcpy(x.size, t->size, sizeof x.size);
    one_array(&x, j);
  }
  if (j != NULL) js_end(j);
  return VLPC_OK;
}

/* --- tokenizers and preprocessing --- */

static void print_tokenizer(const char *path, json_t *root, Json *j) {
  json_t *model = json_object_get(root, "model");
  const char *type = json_string_value(json_object_get(model, "type"));
  size_t vocab = json_object_size(json_object_get(model, "vocab"));
  size_t merges = json_array_size(json_object_get(model, "merges"));
  if (j == NULL) {
    printf("%s: tokenizer (%s), %zu ids, %zu merges\n", path, type ? type : "?", vocab, merges);
    return;
  }
  js_text(j, "kind", "tokenizer");
  js_text(j, "type", type);
  js_int(j, "ids", (int64_t)vocab);
  js_int(j, "merges", (int64_t)merges);
}

static void print_preprocess(const char *path, json_t *root, Json *j) {
  char *crop = json_dumps(json_object_get(root, "crop_size"),
                          JSON_REAL_PRECISION(6) | JSON_COMPACT | JSON_ENCODE_ANY);
  char *mean = json_dumps(json_object_get(root, "image_mean"),
                          JSON_REAL_PRECISION(6) | JSON_COMPACT | JSON_ENCODE_ANY);
  char *std = json_dumps(json_object_get(root, "image_std"),
                         JSON_REAL_PRECISION(6) | JSON_COMPACT | JSON_ENCODE_ANY);
  if (j == NULL) {
    printf("%s: image preprocessing, crop %s, mean %s, std %s\n", path, crop ? crop : "?",
           mean ? mean : "?", std ? std : "?");
  } else {
    js_text(j, "kind", "preprocess");
    js_raw(j, "crop_size", crop ? crop : "");
    js_raw(j, "image_mean", mean ? mean : "");
    js_raw(j, "image_std", std ? std : "");
  }
  free(crop), free(mean), free(std);
}

VlStatus inspect_json(Cli *c, const char *path, Json *j) {
  uint8_t *bytes;
  size_t n;
  json_error_t error;
  VL_TRY(io_read(path, (uint64_t)64 << 20, c->arena, c->diag, &bytes, &n));
  json_t *root = json_loadb((const char *)bytes, n, 0, &error);
  if (root == NULL)
    return diag_error(c->diag, DIAG_TOK_FORMAT, (DiagAt){path, NULL},
                      "is no sound JSON: %s (line %d)", error.text, error.line);
  VlStatus s = VLPC_OK;
  if (json_object_get(root, "model") != NULL)
    print_tokenizer(path, root, j);
  else if (json_object_get(root, "image_mean") != NULL)
    print_preprocess(path, root, j);
  else
    s = diag_error(c->diag, DIAG_FILE_KIND, (DiagAt){path, NULL},
                   "is JSON, but neither a tokenizer nor preprocessing");
  json_decref(root);
  return s;
}

VlStatus inspect_vocabulary(Cli *c, const char *path, Json *j) {
  gzFile f = gzopen(path, "rbe");
  char buffer[4096];
  int64_t lines = 0, bytes = 0;
  int n = 0;
  while (f != NULL && (n = gzread(f, buffer, sizeof buffer)) > 0 && bytes < INT64_C(1) << 28) {
    bytes += n;
    for (int i = 0; i < n; i++) lines += buffer[i] == '\n';
  }
  if (f != NULL) gzclose(f);
  if (f == NULL || n < 0)
    return diag_error(c->diag, DIAG_FILE_KIND, (DiagAt){path, NULL}, "is a damaged gzip file");
  if (j == NULL) {
    printf("%s: gzip text, %" PRId64 " lines; OpenAI's vocabulary has one merge a line\n", path,
           lines);
    return VLPC_OK;
  }
  js_text(j, "kind", "gzip text");
  js_int(j, "lines", lines);
  return VLPC_OK;
}
