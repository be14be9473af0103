/* SPDX-License-Identifier: Apache-2.0 */
/* npz.c - numpy's array files.
**
** An .npz is a zip archive of .npy members.  Members are found through the
** central directory (numpy's local headers may hold no sizes), and a deflated
** member may not claim more than deflate can give, so a small file cannot ask
** for a large allocation. */
#include "base/npz.h"

#include <inttypes.h>
#include <string.h>
#include <zlib.h>

#include "base/io.h"
#include "base/str.h"

enum {
  ZIP_LOCAL = 30,
  ZIP_CENTRAL = 46,
  ZIP_END = 22,
  ZIP64_END = 56,
  ZIP64_LOCATOR = 20,
  NPY_ALIGN = 64,
  DEFLATE_MOST = 1032 /* one byte of a deflate stream gives at most this many */
};

typedef struct {
  const uint8_t *at;
  uint64_t n;
  const char *file, *place;
  Arena *arena;
  Diag *d;
} Source;

static uint32_t get16(const uint8_t *p) { return p[0] | (uint32_t)p[1] << 8; }
static uint32_t get32(const uint8_t *p) { return get16(p) | get16(p + 2) << 16; }
static uint64_t get64(const uint8_t *p) { return get32(p) | (uint64_t)get32(p + 4) << 32; }

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

/* ---- zip ---------------------------------------------------------------- */

typedef struct {
  uint64_t entries, offset, bytes; /* of the central directory */
} Directory;

static VlStatus find_directory(const Source *s, Directory *out) {
  uint64_t least = s->n > ZIP_END + 65535 ? s->n - ZIP_END - 65535 : 0;
  if (s->n < ZIP_END) return broken(s, "not a zip archive");
  uint64_t end = s->n - ZIP_END;
  while (get32(s->at + end) != 0x06054b50) {
    if (end == least) return broken(s, "not a zip archive");
    end--;
  }
  const uint8_t *p = s->at + end;
  *out = (Directory){get16(p + 10), get32(p + 16), get32(p + 12)};
  bool wide = out->entries == 0xffff || out->offset == 0xffffffff || out->bytes == 0xffffffff;
  if (wide && end >= ZIP64_LOCATOR && get32(p - ZIP64_LOCATOR) == 0x07064b50) {
    uint64_t at = get64(p - ZIP64_LOCATOR + 8);
    if (!vl_range_ok(at, ZIP64_END, s->n) || get32(s->at + at) != 0x06064b50) {
      return broken(s, "the archive's directory is damaged");
    }
    *out = (Directory){get64(s->at + at + 32), get64(s->at + at + 48), get64(s->at + at + 40)};
  }
  if (!vl_range_ok(out->offset, out->bytes, s->n)) {
    return broken(s, "the archive's directory lies outside the file");
  }
  return VLPC_OK;
}

typedef struct {
  const char *name;
  uint32_t method, flags, crc;
  uint64_t packed, size, offset; /* offset of the local header */
} Member;

/* The zip64 extra field holds, in this order, those of size, packed size and
** offset that are all ones in the 32-bit fields. */
static bool read_zip64(const uint8_t *extra, uint32_t n, Member *m) {
  for (uint32_t at = 0; at + 4 <= n;) {
    uint32_t id = get16(extra + at), len = get16(extra + at + 2);
    at += 4;
    if (len > n - at) return false;
    if (id == 1) {
      uint64_t *field[3] = {&m->size, &m->packed, &m->offset};
      uint32_t used = 0;
      for (int i = 0; i < 3; i++) {
        if (*field[i] != 0xffffffff) continue;
        if (used + 8 > len) return false;
        *field[i] = get64(extra + at + used);
        used += 8;
      }
      return true;
    }
    at += len;
  }
  return true;
}

static VlStatus read_member(const Source *s, uint64_t *at, uint64_t end, Member *m) {
  if (!vl_range_ok(*at, ZIP_CENTRAL, end) || get32(s->at + *at) != 0x02014b50) {
    return broken(s, "the archive's directory is damaged");
  }
  const uint8_t *p = s->at + *at;
  uint32_t n_name = get16(p + 28), n_extra = get16(p + 30), n_note = get16(p + 32);
  uint64_t all = (uint64_t)ZIP_CENTRAL + n_name + n_extra + n_note;
  if (!vl_range_ok(*at, all, end)) return broken(s, "the archive's directory is damaged");
  *m = (Member){arena_strndup(s->arena, (const char *)p + ZIP_CENTRAL, n_name),
                get16(p + 10), get16(p + 8), get32(p + 16),
                get32(p + 20), get32(p + 24), get32(p + 42)};
  *at += all;
  if (!read_zip64(p + ZIP_CENTRAL + n_name, n_extra, m)) {
    return broken(s, "the archive's directory is damaged");
  }
  return VLPC_OK;
}

static voidpf z_alloc(voidpf arena, uInt n, uInt size) {
  return arena_array_bytes(arena, n, size);
}
static void z_free(voidpf arena, voidpf p) {
  (void)arena;
  (void)p;
}

static VlStatus inflate_member(const Source *s, const Member *m, const uint8_t *src,
                               uint8_t *dst) {
  z_stream z = {.zalloc = z_alloc, .zfree = z_free, .opaque = s->arena};
  VL_CHECK(inflateInit2(&z, -MAX_WBITS) == Z_OK, "zlib cannot start");
  uint64_t in = 0, out = 0;
  int rc = Z_OK;
  while (rc == Z_OK) {
    uInt step_in = (uInt)VL_MIN(m->packed - in, 1u << 30);
    uInt step_out = (uInt)VL_MIN(m->size - out, 1u << 30);
    z.next_in = (z_const Bytef *)(src + in);
    z.avail_in = step_in;
    z.next_out = dst + out;
    z.avail_out = step_out;
    rc = inflate(&z, Z_NO_FLUSH);
    in += step_in - z.avail_in;
    out += step_out - z.avail_out;
    if (rc == Z_OK && step_in == z.avail_in && step_out == z.avail_out) break;
  }
  inflateEnd(&z);
  if (rc != Z_STREAM_END || out != m->size) return broken(s, "a member cannot be decompressed");
  return VLPC_OK;
}

static uint32_t checksum(const uint8_t *p, uint64_t n) {
  uLong c = crc32(0, Z_NULL, 0);
  for (uint64_t at = 0; at < n;) {
    uInt step = (uInt)VL_MIN(n - at, 1u << 30);
    c = crc32(c, p + at, step);
    at += step;
  }
  return (uint32_t)c;
}

static VlStatus unpack_member(const Source *s, const Member *m, Source *out) {
  if (!vl_range_ok(m->offset, ZIP_LOCAL, s->n) || get32(s->at + m->offset) != 0x04034b50) {
    return broken(s, "the member's header lies outside the file");
  }
  const uint8_t *p = s->at + m->offset;
  uint64_t data = m->offset + ZIP_LOCAL + get16(p + 26) + get16(p + 28);
  if (!vl_range_ok(data, m->packed, s->n)) return broken(s, "the member is cut short");
  if (m->flags & 1) return broken(s, "the member is encrypted");
  *out = *s;
  out->n = m->size;
  if (m->method == 0) {
    if (m->packed != m->size) return broken(s, "the member's sizes differ");
    out->at = s->at + data;
  } else if (m->method == 8) {
    if (m->size / DEFLATE_MOST > m->packed) return broken(s, "the member's size is impossible");
    uint8_t *dst = arena_alloc(s->arena, m->size);
    VL_TRY(inflate_member(s, m, s->at + data, dst));
    out->at = dst;
  } else {
    return broken(s, "the member is compressed by an unknown method");
  }
  if (checksum(out->at, out->n) != m->crc) return broken(s, "the member's checksum differs");
  return VLPC_OK;
}

static VlStatus parse_npz(Source *s, Npz *out) {
  Directory dir = {0};
  VL_TRY(find_directory(s, &dir));
  if (dir.entries > dir.bytes / ZIP_CENTRAL) {
    return broken(s, "the archive's directory is damaged");
  }
  out->at = arena_array(s->arena, NpyArray, dir.entries);
  uint64_t at = dir.offset;
  for (uint64_t i = 0; i < dir.entries; i++) {
    Member m = {0};
    Source one;
    s->place = NULL;
    VL_TRY(read_member(s, &at, dir.offset + dir.bytes, &m));
    s->place = arena_printf(s->arena, "member '%s'", m.name);
    VL_TRY(unpack_member(s, &m, &one));
    NpyArray *x = &out->at[out->n++];
    VL_TRY(parse_npy(&one, x));
    size_t n = strlen(m.name);
    bool tail = n > 4 && memcmp(m.name + n - 4, ".npy", 4) == 0;
    x->name = arena_strndup(s->arena, m.name, tail ? n - 4 : n);
  }
  return VLPC_OK;
}

/* ---- reading files ------------------------------------------------------ */

static void unmap(void *m) { io_unmap(m); }

typedef enum { NPY_ONE, NPY_MANY, NPY_EITHER } NpyKind;

static VlStatus read_kind(const char *path, NpyKind kind, Source *s, Npz *out) {
  Mapped m = {0};
  VL_TRY(io_map(path, s->d, &m));
  Mapped *keep = arena_one(s->arena, Mapped);
  *keep = m;
  arena_defer(s->arena, unmap, keep);
  *s = (Source){keep->at, keep->n, path, NULL, s->arena, s->d};
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

static void put16(Str *s, uint32_t v) {
  char b[2] = {(char)v, (char)(v >> 8)};
  str_addn(s, b, 2);
}
static void put32(Str *s, uint32_t v) {
  put16(s, v);
  put16(s, v >> 16);
}

typedef struct {
  Str head; /* .npy header */
  uint32_t crc, bytes, offset;
} Packed;

/* The fields shared by a member's local and central headers. */
static void put_common(Str *s, const Packed *p, const char *name) {
  put16(s, 20);
  put16(s, 0);
  put16(s, 0);
  put16(s, 0);
  put16(s, 0x21); /* 1980-01-01 */
  put32(s, p->crc);
  put32(s, p->bytes);
  put32(s, p->bytes);
  put16(s, (uint32_t)strlen(name) + 4);
  put16(s, 0);
}

static VlStatus plan_member(const char *path, const NpyArray *x, Packed *p, Diag *d) {
  VL_TRY(npy_header(path, x, &p->head, d));
  uint64_t all = p->head.n + x->bytes;
  if (all > 0xfffffffe || strlen(x->name) > 65000) {
    VlStatus st = diag_error(d, DIAG_TOO_LARGE, (DiagAt){path, NULL},
                             "an .npz member must stay below 4 GiB");
    diag_found(d, "'%.100s', %" PRIu64 " bytes", x->name, all);
    diag_fix(d, "write it as a single .npy");
    return st;
  }
  p->bytes = (uint32_t)all;
  p->crc = checksum((const uint8_t *)p->head.at, p->head.n);
  p->crc = (uint32_t)crc32_combine(p->crc, checksum(x->data, x->bytes), (z_off_t)x->bytes);
  return VLPC_OK;
}

static VlStatus write_member(FileWriter *w, const NpyArray *x, Packed *p) {
  Str local = {.arena = p->head.arena};
  p->offset = (uint32_t)io_offset(w);
  put32(&local, 0x04034b50);
  put_common(&local, p, x->name);
  str_printf(&local, "%s.npy", x->name);
  VL_TRY(io_write(w, local.at, local.n));
  return write_one(w, &p->head, x);
}

static VlStatus write_directory(FileWriter *w, const Npz *z, const Packed *p, Arena *a) {
  Str dir = {.arena = a};
  uint32_t start = (uint32_t)io_offset(w);
  for (uint32_t i = 0; i < z->n; i++) {
    put32(&dir, 0x02014b50);
    put16(&dir, 20);
    put_common(&dir, &p[i], z->at[i].name);
    put16(&dir, 0);
    put16(&dir, 0);
    put16(&dir, 0);
    put32(&dir, 0);
    put32(&dir, p[i].offset);
    str_printf(&dir, "%s.npy", z->at[i].name);
  }
  uint32_t bytes = (uint32_t)dir.n;
  put32(&dir, 0x06054b50);
  put32(&dir, 0);
  put16(&dir, z->n);
  put16(&dir, z->n);
  put32(&dir, bytes);
  put32(&dir, start);
  put16(&dir, 0);
  return io_write(w, dir.at, dir.n);
}

VlStatus npz_write(const char *path, const Npz *z, Arena *a, Diag *d) {
  Packed *p = arena_array(a, Packed, VL_MAX(z->n, 1u));
  uint64_t total = 0;
  for (uint32_t i = 0; i < z->n; i++) {
    p[i].head.arena = a;
    VL_TRY(plan_member(path, &z->at[i], &p[i], d));
    total += p[i].bytes + strlen(z->at[i].name) * 2 + 200;
  }
  if (total > 0xfffffffe || z->n > 65534) {
    return diag_error(d, DIAG_TOO_LARGE, (DiagAt){path, NULL}, "an .npz must stay below 4 GiB");
  }
  FileWriter *w = NULL;
  VL_TRY(io_create(path, d, &w));
  VlStatus st = VLPC_OK;
  for (uint32_t i = 0; i < z->n && st == VLPC_OK; i++) st = write_member(w, &z->at[i], &p[i]);
  if (st == VLPC_OK) st = write_directory(w, z, p, a);
  return finish(w, st);
}
