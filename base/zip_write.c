/* SPDX-License-Identifier: Apache-2.0 */
/* zip_write.c - stored members, then the central directory. */
#include <string.h>
#include <zlib.h>

#include "base/zip.h"

enum { ZIP_LOCAL = 30, EXTRA_HEAD = 4, EXTRA_ID = 0x4246 /* what PyTorch pads with */ };

static void put16(Str *s, uint32_t v) {
  char b[2] = {(char)v, (char)(v >> 8)};
  str_addn(s, b, 2);
}
static void put32(Str *s, uint32_t v) {
  put16(s, v);
  put16(s, v >> 16);
}

typedef struct {
  const char *name;
  uint32_t crc, bytes, offset, extra;
} Member;

/* The fields that local and central header share. */
static void put_fields(Str *s, const Member *m, uint32_t extra) {
  put16(s, 20);
  put16(s, 0);
  put16(s, ZIP_STORED);
  put16(s, 0);
  put16(s, 0x21); /* 1980-01-01 */
  put32(s, m->crc);
  put32(s, m->bytes);
  put32(s, m->bytes);
  put16(s, (uint32_t)strlen(m->name));
  put16(s, extra);
}

static void put_central(Str *s, const Member *m) {
  put32(s, 0x02014b50);
  put16(s, 20);
  put_fields(s, m, 0);
  put16(s, 0);
  put16(s, 0);
  put16(s, 0);
  put32(s, 0);
  put32(s, m->offset);
  str_add(s, m->name);
}

/* Bytes of an extra field that brings what follows to a multiple of align; 0: none
** is needed. */
static uint32_t extra_bytes(uint64_t at, uint32_t align) {
  if (at % align == 0) return 0;
  return (uint32_t)(vl_align_up(at + EXTRA_HEAD, align) - at);
}

static void put_extra(Str *s, uint32_t n) {
  if (n == 0) return;
  put16(s, EXTRA_ID);
  put16(s, n - EXTRA_HEAD);
  for (uint32_t i = EXTRA_HEAD; i < n; i++) str_add(s, "Z");
}

static uint32_t checksum(const ZipSpan *span, uint32_t n) {
  uLong c = crc32(0, Z_NULL, 0);
  for (uint32_t i = 0; i < n; i++) {
    for (uint64_t at = 0; at < span[i].n;) {
      uInt step = (uInt)VL_MIN(span[i].n - at, 1u << 30);
      c = crc32(c, (const Bytef *)span[i].at + at, step);
      at += step;
    }
  }
  return (uint32_t)c;
}

VlStatus zip_add(ZipWriter *z, const char *name, uint32_t align, const ZipSpan *span,
                 uint32_t n_spans) {
  uint64_t bytes = 0, at = io_offset(z->file);
  Str head = {.arena = z->arena};
  z->directory.arena = z->arena;
  for (uint32_t i = 0; i < n_spans; i++) bytes += span[i].n;
  VL_CHECK(bytes + at <= ZIP_MAX_BYTES && z->n < ZIP_MAX_MEMBERS, "a zip archive has its bounds");
  Member m = {.name = name, .crc = checksum(span, n_spans), .bytes = (uint32_t)bytes,
              .offset = (uint32_t)at, .extra = extra_bytes(at + ZIP_LOCAL + strlen(name), align)};
  put32(&head, 0x04034b50);
  put_fields(&head, &m, m.extra);
  str_add(&head, name);
  put_extra(&head, m.extra);
  put_central(&z->directory, &m);
  z->n++;
  VL_TRY(io_write(z->file, head.at, head.n));
  for (uint32_t i = 0; i < n_spans; i++) VL_TRY(io_write(z->file, span[i].at, (size_t)span[i].n));
  return VLPC_OK;
}

VlStatus zip_finish(ZipWriter *z) {
  Str end = {.arena = z->arena};
  uint32_t start = (uint32_t)io_offset(z->file);
  VL_TRY(io_write(z->file, str_text(&z->directory), z->directory.n));
  put32(&end, 0x06054b50);
  put32(&end, 0);
  put16(&end, z->n);
  put16(&end, z->n);
  put32(&end, (uint32_t)z->directory.n);
  put32(&end, start);
  put16(&end, 0);
  return io_write(z->file, end.at, end.n);
}
