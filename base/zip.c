/* SPDX-License-Identifier: Apache-2.0 */
/* zip.c - reads the central directory and members. */
#include "base/zip.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/map.h"

enum {
  ZIP_LOCAL = 30,
  ZIP_CENTRAL = 46,
  ZIP_END = 22,
  ZIP64_END = 56,
  ZIP64_LOCATOR = 20,
  DEFLATE_MOST = 1032 /* one byte of a deflate stream gives at most this many */
};

static uint32_t get16(const uint8_t *p) { return p[0] | (uint32_t)p[1] << 8; }
static uint32_t get32(const uint8_t *p) { return get16(p) | get16(p + 2) << 16; }
static uint64_t get64(const uint8_t *p) { return get32(p) | (uint64_t)get32(p + 4) << 32; }

static VlStatus broken(const Zip *z, const char *name, const char *what) {
  const char *place = name ? arena_printf(z->arena, "member '%.200s'", name) : NULL;
  return diag_error(z->d, z->code, (DiagAt){z->file, place}, "%s", what);
}

/* ---- directory ---------------------------------------------------------- */

typedef struct {
  uint64_t entries, offset, bytes; /* of the central directory */
} Directory;

static VlStatus find_directory(const Zip *z, Directory *out) {
  uint64_t least = z->n > ZIP_END + 65535 ? z->n - ZIP_END - 65535 : 0;
  if (z->n < ZIP_END) return broken(z, NULL, "not a zip archive");
  uint64_t end = z->n - ZIP_END;
  while (get32(z->at + end) != 0x06054b50) {
    if (end == least) return broken(z, NULL, "not a zip archive");
    end--;
  }
  const uint8_t *p = z->at + end;
  *out = (Directory){get16(p + 10), get32(p + 16), get32(p + 12)};
  bool wide = out->entries == 0xffff || out->offset == 0xffffffff || out->bytes == 0xffffffff;
  if (wide && end >= ZIP64_LOCATOR && get32(p - ZIP64_LOCATOR) == 0x07064b50) {
    uint64_t at = get64(p - ZIP64_LOCATOR + 8);
    if (!vl_range_ok(at, ZIP64_END, z->n) || get32(z->at + at) != 0x06064b50) {
      return broken(z, NULL, "the archive's directory is damaged");
    }
    *out = (Directory){get64(z->at + at + 32), get64(z->at + at + 48), get64(z->at + at + 40)};
  }
  if (!vl_range_ok(out->offset, out->bytes, z->n)) {
    return broken(z, NULL, "the archive's directory lies outside the file");
  }
  return VLPC_OK;
}

/* The zip64 extra field holds, in this order, those of size, packed size and
** offset that are all ones in the 32-bit fields. */
static bool read_zip64(const uint8_t *extra, uint32_t n, ZipMember *m) {
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

static VlStatus read_member(const Zip *z, uint64_t *at, uint64_t end, ZipMember *m) {
  if (!vl_range_ok(*at, ZIP_CENTRAL, end) || get32(z->at + *at) != 0x02014b50) {
    return broken(z, NULL, "the archive's directory is damaged");
  }
  const uint8_t *p = z->at + *at;
  uint32_t n_name = get16(p + 28), n_extra = get16(p + 30), n_note = get16(p + 32);
  uint64_t all = (uint64_t)ZIP_CENTRAL + n_name + n_extra + n_note;
  if (!vl_range_ok(*at, all, end)) return broken(z, NULL, "the archive's directory is damaged");
  *m = (ZipMember){arena_strndup(z->arena, (const char *)p + ZIP_CENTRAL, n_name),
                   get16(p + 10), get16(p + 8), get32(p + 16),
                   get32(p + 20), get32(p + 24), get32(p + 42)};
  *at += all;
  if (!read_zip64(p + ZIP_CENTRAL + n_name, n_extra, m)) {
    return broken(z, NULL, "the archive's directory is damaged");
  }
  return VLPC_OK;
}

/* ---- members ------------------------------------------------------------ */

/* Where a member's bytes begin. */
static VlStatus find_bytes(const Zip *z, const ZipMember *m, uint64_t *out) {
  if (!vl_range_ok(m->offset, ZIP_LOCAL, z->n) || get32(z->at + m->offset) != 0x04034b50) {
    return broken(z, m->name, "the member's header lies outside the file");
  }
  const uint8_t *p = z->at + m->offset;
  *out = m->offset + ZIP_LOCAL + get16(p + 26) + get16(p + 28);
  if (!vl_range_ok(*out, m->packed, z->n)) return broken(z, m->name, "the member is cut short");
  return VLPC_OK;
}

static int by_offset(const void *a, const void *b) {
  const ZipMember *x = *(const ZipMember *const *)a, *y = *(const ZipMember *const *)b;
  return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* No byte belongs to two members, nor to one and the directory. */
static VlStatus check_spans(const Zip *z, uint64_t directory) {
  const ZipMember **m = arena_array(z->arena, const ZipMember *, z->n_members);
  uint64_t end = 0;
  for (uint32_t i = 0; i < z->n_members; i++) m[i] = &z->member[i];
  if (z->n_members > 1) qsort(m, z->n_members, sizeof *m, by_offset);
  for (uint32_t i = 0; i < z->n_members; i++) {
    uint64_t at = 0;
    VL_TRY(find_bytes(z, m[i], &at));
    if (m[i]->offset < end || at + m[i]->packed > directory)
      return broken(z, m[i]->name, "the member shares bytes with another part");
    end = at + m[i]->packed;
  }
  return VLPC_OK;
}

VlStatus zip_list(Zip *z) {
  Directory dir = {0};
  VL_TRY(find_directory(z, &dir));
  if (dir.entries > dir.bytes / ZIP_CENTRAL) {
    return broken(z, NULL, "the archive's directory is damaged");
  }
  uint64_t at = dir.offset;
  Names *names = names_new(z->arena);
  z->member = arena_array(z->arena, ZipMember, dir.entries);
  for (z->n_members = 0; z->n_members < dir.entries; z->n_members++) {
    ZipMember *m = &z->member[z->n_members];
    VL_TRY(read_member(z, &at, dir.offset + dir.bytes, m));
    if (names_add(names, m->name, strlen(m->name)) != z->n_members)
      return broken(z, m->name, "the archive has two members of this name");
  }
  return check_spans(z, dir.offset);
}

static voidpf z_alloc(voidpf arena, uInt n, uInt size) {
  return arena_array_bytes(arena, n, size);
}
static void z_free(voidpf arena, voidpf p) {
  (void)arena;
  (void)p;
}

static VlStatus inflate_member(const Zip *zip, const ZipMember *m, const uint8_t *src,
                               uint8_t *dst) {
  z_stream z = {.zalloc = z_alloc, .zfree = z_free, .opaque = zip->arena};
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
  if (rc != Z_STREAM_END || out != m->size)
    return broken(zip, m->name, "a member cannot be decompressed");
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

VlStatus zip_bytes(const Zip *z, const ZipMember *m, const uint8_t **out) {
  uint64_t data = 0;
  VL_TRY(find_bytes(z, m, &data));
  if (m->flags & 1) return broken(z, m->name, "the member is encrypted");
  if (m->method == ZIP_STORED) {
    if (m->packed != m->size) return broken(z, m->name, "the member's sizes differ");
    *out = z->at + data;
  } else if (m->method == 8) {
    if (m->size / DEFLATE_MOST > m->packed)
      return broken(z, m->name, "the member's size is impossible");
    uint8_t *dst = arena_alloc(z->arena, m->size);
    VL_TRY(inflate_member(z, m, z->at + data, dst));
    *out = dst;
  } else {
    return broken(z, m->name, "the member is compressed by an unknown method");
  }
  if (checksum(*out, m->size) != m->crc)
    return broken(z, m->name, "the member's checksum differs");
  return VLPC_OK;
}
