/* SPDX-License-Identifier: Apache-2.0 */
/* npz.c - numpy's array files.
**
** An .npz is a zip archive of .npy members. */
#include "base/npz.h"

#include <inttypes.h>
#include <string.h>

#include "base/zip.h"

enum { NPY_ALIGN = 64 };

typedef struct {
  const uint8_t *at;
  uint64_t n;
  const char *file, *place;
  Arena *arena;
  Diag *d;
} Source;

static uint32_t get16(const uint8_t *p) { return p[0] | (uint32_t)p[1] << 8; }
static uint32_t get32(const uint8_t *p) { return get16(p) | get16(p + 2) << 16; }

static VlStatus broken(const Source *s, const char *what) {
  return diag_error(s->d, DIAG_NPY_BROKEN, (DiagAt){s->file, s->place}, "%s", what);
}

/* ---- the .npy header ---------------------------------------------------- */

static const struct {
  const char *code;
  VlDtype dtype;
} npy_types[] = {{"<f4", VLPC_F32}, {"<f2", VLPC_F16}, {"<f8", VLPC_F64}, {"<i8", VLPC_I64},
                 {"<i4", VLPC_I32}, {"<i2", VLPC_I16}, {"|i1", VLPC_I8},  {"|u1", VLPC_U8},
                 {"<u2", VLPC_U16}, {"<u4", VLPC_U32}, {"<u8", VLPC_U64}, {"|b1", VLPC_BOOL}};

typedef struct {
  const char *p, *end;
} Text;

static void skip_blank(Text *t) {
  while (t->p < t->end && (*t->p == ' ' || *t->p == '\n' || *t->p == '\t')) t->p++;
}

static bool take(Text *t, const char *word) {
  skip_blank(t);
  size_t n = strlen(word);
  if ((size_t)(t->end - t->p) < n || memcmp(t->p, word, n) != 0) return false;
  t->p += n;
  return true;
}

static bool take_number(Text *t, int64_t *out) {
  skip_blank(t);
  if (t->p == t->end || *t->p < '0' || *t->p > '9') return false;
  int64_t v = 0;
  for (; t->p < t->end && *t->p >= '0' && *t->p <= '9'; t->p++) {
    if (!vl_mul_i64(v, 10, &v) || !vl_add_i64(v, *t->p - '0', &v)) return false;
  }
  *out = v;
  return true;
}

static bool take_shape(Text *t, NpyArray *x) {
  if (!take(t, "(")) return false;
  while (!take(t, ")")) {
    if (x->rank == VLPC_MAX_RANK || !take_number(t, &x->size[x->rank++])) return false;
    if (!take(t, ",")) return take(t, ")");
  }
  return true;
}

static VlStatus take_type(const Source *s, Text *t, NpyArray *x) {
  if (!take(t, "'") && !take(t, "\"")) {
    return diag_error(s->d, DIAG_NPY_UNSUPPORTED, (DiagAt){s->file, s->place},
                      "the array has fields");
  }
  if (t->end - t->p < 3) return broken(s, "the array header is cut short");
  for (size_t i = 0; i < VL_COUNT(npy_types); i++) {
    const char *c = npy_types[i].code;
    bool one_byte = c[2] == '1';
    if (t->p[1] == c[1] && t->p[2] == c[2] && (t->p[0] == c[0] || (one_byte && t->p[0] == '<'))) {
      x->dtype = npy_types[i].dtype;
    }
  }
  const char *word = t->p;
  while (t->p < t->end && *t->p != '\'' && *t->p != '"') t->p++;
  int n = (int)VL_MIN(t->p - word, 32);
  if (!x->dtype || t->p - word != 3) {
    VlStatus st = diag_error(s->d, DIAG_NPY_UNSUPPORTED, (DiagAt){s->file, s->place},
                             "the array's element type is not supported");
    diag_found(s->d, "'%.*s'", n, word);
    diag_expected(s->d, "<f2 <f4 <f8 |i1 <i2 <i4 <i8 |u1 <u2 <u4 <u8 |b1");
    return st;
  }
  return t->p < t->end ? (t->p++, VLPC_OK) : broken(s, "the array header is cut short");
}

static VlStatus take_dict(const Source *s, Text *t, NpyArray *x, bool *fortran) {
  int seen = 0;
  if (!take(t, "{")) return broken(s, "the array header is not a dictionary");
  while (!take(t, "}")) {
    if (take(t, "'descr'") && take(t, ":")) {
      VL_TRY(take_type(s, t, x));
      seen |= 1;
    } else if (take(t, "'fortran_order'") && take(t, ":")) {
      *fortran = take(t, "True");
      if (!*fortran && !take(t, "False")) return broken(s, "the array header is malformed");
      seen |= 2;
    } else if (take(t, "'shape'") && take(t, ":") && !(seen & 4)) {
      if (!take_shape(t, x)) return broken(s, "the array's shape is malformed or beyond rank 8");
      seen |= 4;
    } else {
      return broken(s, "the array header is malformed");
    }
    if (!take(t, ",")) {
      if (!take(t, "}")) return broken(s, "the array header is malformed");
      break;
    }
  }
  return seen == 7 ? VLPC_OK : broken(s, "the array header lacks a field");
}

static VlStatus count_bytes(const Source *s, NpyArray *x, uint64_t *count) {
  uint64_t n = 1;
  for (uint32_t i = 0; i < x->rank; i++) {
    if (x->size[i] && !vl_mul_u64(n, (uint64_t)x->size[i], &n)) {
      return broken(s, "the array's size overflows");
    }
  }
  for (uint32_t i = 0; i < x->rank; i++) {
    if (!x->size[i]) n = 0;
  }
  *count = n;
  if (!vl_mul_u64(n, dtype_size(x->dtype), &x->bytes)) {
    return broken(s, "the array's size overflows");
  }
  return VLPC_OK;
}

/* Element i in C order lies at sum(index[k] * stride[k]) in Fortran order. */
static void copy_fortran(const NpyArray *x, uint64_t count, const uint8_t *src, uint8_t *dst) {
  size_t size = dtype_size(x->dtype);
  uint64_t index[VLPC_MAX_RANK] = {0};
  for (uint64_t i = 0; i < count; i++) {
    uint64_t at = 0;
    for (uint32_t k = x->rank; k-- > 0;) at = at * (uint64_t)x->size[k] + index[k];
    memcpy(dst + i * size, src + at * size, size);
    for (uint32_t k = x->rank; k-- > 0;) {
      if (++index[k] < (uint64_t)x->size[k]) break;
      index[k] = 0;
    }
  }
}

static VlStatus parse_npy(const Source *s, NpyArray *x) {
  if (s->n < 10 || memcmp(s->at, "\x93NUMPY", 6) != 0) return broken(s, "not a numpy array");
  uint32_t version = s->at[6];
  uint64_t start = version == 1 ? 10 : 12;
  if (version < 1 || version > 3) return broken(s, "the array format's version is unknown");
  if (s->n < start) return broken(s, "the array header is cut short");
  uint64_t header = version == 1 ? get16(s->at + 8) : get32(s->at + 8);
  if (!vl_range_ok(start, header, s->n)) return broken(s, "the array header is cut short");
  Text t = {(const char *)s->at + start, (const char *)s->at + start + header};
  bool fortran = false;
  uint64_t count = 0;
  VL_TRY(take_dict(s, &t, x, &fortran));
  VL_TRY(count_bytes(s, x, &count));
  if (x->bytes != s->n - start - header) {
    VlStatus st = broken(s, "the array's bytes do not match its shape");
    diag_found(s->d, "%" PRIu64 " bytes", s->n - start - header);
    diag_expected(s->d, "%" PRIu64, x->bytes);
    return st;
  }
  uint8_t *data = arena_alloc(s->arena, x->bytes);
  const uint8_t *src = s->at + start + header;
  if (fortran && x->rank > 1) {
    copy_fortran(x, count, src, data);
  } else if (x->bytes) {
    memcpy(data, src, x->bytes);
  }
  if (x->dtype == VLPC_BOOL) {
    for (uint64_t i = 0; i < count; i++) data[i] = data[i] != 0;
  }
  x->data = data;
  return VLPC_OK;
}

/* ---- archives -------------------------------------------------------- */

static VlStatus parse_npz(Source *s, Npz *out) {
  Zip z = {s->at, s->n, s->file, s->arena, DIAG_NPY_BROKEN, s->d, NULL, 0};
  VL_TRY(zip_list(&z));
  out->at = arena_array(s->arena, NpyArray, z.n_members);
  for (uint32_t i = 0; i < z.n_members; i++) {
    const ZipMember *m = &z.member[i];
    Source one = *s;
    one.place = arena_printf(s->arena, "member '%s'", m->name);
    one.n = m->size;
    VL_TRY(zip_bytes(&z, m, &one.at));
    NpyArray *x = &out->at[out->n++];
    VL_TRY(parse_npy(&one, x));
    size_t n = strlen(m->name);
    bool tail = n > 4 && memcmp(m->name + n - 4, ".npy", 4) == 0;
    x->name = arena_strndup(s->arena, m->name, tail ? n - 4 : n);
  }
  return VLPC_OK;
}

/* ---- reading files ------------------------------------------------------ */

typedef enum { NPY_ONE, NPY_MANY, NPY_EITHER } NpyKind;

static VlStatus read_kind(const char *path, NpyKind kind, Source *s, Npz *out) {
  Mapped *m = NULL;
  VL_TRY(io_map_on(path, s->arena, s->d, &m));
  *s = (Source){m->at, m->n, path, NULL, s->arena, s->d};
  *out = (Npz){0};
  bool one = kind == NPY_ONE || (kind == NPY_EITHER && s->n && s->at[0] == 0x93);
  if (!one) return parse_npz(s, out);
  out->at = arena_one(s->arena, NpyArray);
  out->n = 1;
  return parse_npy(s, out->at);
}

VlStatus npy_read(const char *path, Arena *a, Diag *d, NpyArray *out) {
  Source s = {.arena = a, .d = d};
  Npz z;
  VL_TRY(read_kind(path, NPY_ONE, &s, &z));
  *out = z.at[0];
  return VLPC_OK;
}

VlStatus npz_read(const char *path, Arena *a, Diag *d, Npz *out) {
  Source s = {.arena = a, .d = d};
  return read_kind(path, NPY_MANY, &s, out);
}

VlStatus npz_read_any(const char *path, Arena *a, Diag *d, Npz *out) {
  Source s = {.arena = a, .d = d};
  return read_kind(path, NPY_EITHER, &s, out);
}

const NpyArray *npz_find(const Npz *z, const char *name) {
  for (uint32_t i = 0; i < z->n; i++) {
    if (z->at[i].name && strcmp(z->at[i].name, name) == 0) return &z->at[i];
  }
  return NULL;
}

/* ---- writing ------------------------------------------------------------ */

static const char *type_code(VlDtype t) {
  for (size_t i = 0; i < VL_COUNT(npy_types); i++) {
    if (npy_types[i].dtype == t) return npy_types[i].code;
  }
  return NULL;
}

/* Magic, version, length and the dictionary, padded to 64 bytes. */
static VlStatus npy_header(const char *path, const NpyArray *x, Str *out, Diag *d) {
  const char *code = type_code(x->dtype);
  if (!code) {
    return diag_error(d, DIAG_NPY_UNSUPPORTED, (DiagAt){path, NULL},
                      "numpy has no name for element type %s", dtype_name(x->dtype));
  }
  Str dict = {.arena = out->arena};
  str_printf(&dict, "{'descr': '%s', 'fortran_order': False, 'shape': (", code);
  for (uint32_t i = 0; i < x->rank; i++) {
    str_printf(&dict, "%s%" PRId64, i ? ", " : "", x->size[i]);
  }
  str_add(&dict, x->rank == 1 ? ",), }" : "), }");
  while ((10 + dict.n + 1) % NPY_ALIGN) str_add(&dict, " ");
  str_add(&dict, "\n");
  const char lead[10] = {'\x93', 'N', 'U', 'M', 'P', 'Y', 1, 0, (char)(dict.n & 255),
                         (char)(dict.n >> 8)};
  str_addn(out, lead, sizeof lead);
  str_addn(out, dict.at, dict.n);
  return VLPC_OK;
}

static VlStatus finish(FileWriter *w, VlStatus st) {
  if (st == VLPC_OK) return io_commit(w);
  io_abandon(w);
  return st;
}

static VlStatus write_one(FileWriter *w, const Str *head, const NpyArray *x) {
  VL_TRY(io_write(w, head->at, head->n));
  return io_write(w, x->data, (size_t)x->bytes);
}

VlStatus npy_write(const char *path, const NpyArray *x, Arena *a, Diag *d) {
  Str head = {.arena = a};
  FileWriter *w = NULL;
  VL_TRY(npy_header(path, x, &head, d));
  VL_TRY(io_create(path, d, &w));
  return finish(w, write_one(w, &head, x));
}

struct NpyRows {
  NpyArray x; /* without data */
  const char *path;
  Arena *arena;
  Diag *diag;
  FileWriter *file; /* NULL once committed */
  size_t head;
};

/* The header with the rows there are so far.  Its padding makes up for the digits of any
** number of rows, so it can be written again over itself. */
static VlStatus rows_header(NpyRows *r) {
  Str head = {.arena = r->arena};
  VL_TRY(npy_header(r->path, &r->x, &head, r->diag));
  VL_CHECK(r->head == 0 || r->head == head.n, "npy_rows: the header has changed its length");
  r->head = head.n;
  return io_write_at(r->file, 0, head.at, head.n);
}

static void rows_abandon(void *p) {
  NpyRows *r = p;
  io_abandon(r->file);
}

VlStatus npy_rows_create(const char *path, uint32_t width, Arena *a, Diag *d, NpyRows **out) {
  NpyRows *r = arena_one(a, NpyRows);
  *r = (NpyRows){.x = {.dtype = VLPC_F32, .rank = 2, .size = {0, width}},
                 .path = arena_strdup(a, path),
                 .arena = a,
                 .diag = d};
  arena_defer(a, rows_abandon, r);
  VL_TRY(io_create(path, d, &r->file));
  *out = r;
  return rows_header(r);
}

VlStatus npy_rows_add(NpyRows *r, const float *rows, uint64_t n) {
  r->x.size[0] += (int64_t)n;
  return io_write(r->file, rows, (size_t)n * (size_t)r->x.size[1] * sizeof *rows);
}

uint64_t npy_rows_count(const NpyRows *r) {
  return (uint64_t)r->x.size[0];
}

VlStatus npy_rows_commit(NpyRows *r) {
  VlStatus s = rows_header(r);
  FileWriter *w = r->file;
  r->file = NULL;
  return finish(w, s);
}

static VlStatus plan_member(const char *path, const NpyArray *x, Str *head, Diag *d) {
  VL_TRY(npy_header(path, x, head, d));
  uint64_t all = head->n + x->bytes;
  if (all > ZIP_MAX_BYTES || strlen(x->name) > 65000) {
    VlStatus st = diag_error(d, DIAG_TOO_LARGE, (DiagAt){path, NULL},
                             "an .npz member must stay below 4 GiB");
    diag_found(d, "'%.100s', %" PRIu64 " bytes", x->name, all);
    diag_fix(d, "write it as a single .npy");
    return st;
  }
  return VLPC_OK;
}

static VlStatus write_members(ZipWriter *w, const Npz *z, const Str *head) {
  for (uint32_t i = 0; i < z->n; i++) {
    const ZipSpan span[] = {{head[i].at, head[i].n}, {z->at[i].data, z->at[i].bytes}};
    VL_TRY(zip_add(w, arena_printf(w->arena, "%s.npy", z->at[i].name), 1, span, 2));
  }
  return zip_finish(w);
}

VlStatus npz_write(const char *path, const Npz *z, Arena *a, Diag *d) {
  Str *head = arena_array(a, Str, VL_MAX(z->n, 1u));
  uint64_t total = 0;
  for (uint32_t i = 0; i < z->n; i++) {
    head[i].arena = a;
    VL_TRY(plan_member(path, &z->at[i], &head[i], d));
    total += head[i].n + z->at[i].bytes + strlen(z->at[i].name) * 2 + 200;
  }
  if (total > ZIP_MAX_BYTES || z->n > ZIP_MAX_MEMBERS) {
    return diag_error(d, DIAG_TOO_LARGE, (DiagAt){path, NULL}, "an .npz must stay below 4 GiB");
  }
  ZipWriter w = {.arena = a};
  VL_TRY(io_create(path, d, &w.file));
  return finish(w.file, write_members(&w, z, head));
}
