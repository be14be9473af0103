/* SPDX-License-Identifier: Apache-2.0 */
/* zip.h - zip archives: .npz files and PyTorch's checkpoints.
**
** Members are found through the central directory (some writers leave the sizes
** out of the local headers).  Every offset and size is checked against the
** bytes that are there, members may not share bytes or names, and a deflated
** one may not claim more than deflate can give, so a small file cannot ask for
** a large allocation.  Writing stores members as they are, without time stamps. */
#ifndef VLPC_BASE_ZIP_H
#define VLPC_BASE_ZIP_H

#include "base/diag.h"
#include "base/io.h"
#include "base/str.h"

#define ZIP_STORED 0u

typedef struct {
  const char *name;
  uint32_t method, flags, crc;
  uint64_t packed, size, offset; /* offset of the local header */
} ZipMember;

/* Set the first five fields before zip_list. */
typedef struct {
  const uint8_t *at;
  uint64_t n;
  const char *file; /* for messages */
  Arena *arena;
  DiagCode code; /* of the messages */
  Diag *d;
  ZipMember *member; /* in the directory's order */
  uint32_t n_members;
} Zip;

/* Reads the directory.  Fails with z->code. */
VL_MUST_USE VlStatus zip_list(Zip *z);
/* m->size bytes, their checksum compared: in the archive where they are stored,
** else on the arena.  Fails with z->code. */
VL_MUST_USE VlStatus zip_bytes(const Zip *z, const ZipMember *m, const uint8_t **out);

/* zip_write.c */

typedef struct {
  const void *at;
  uint64_t n;
} ZipSpan;

/* Set the first two fields before the first zip_add. */
typedef struct {
  FileWriter *file; /* archive and members are below 4 GiB, members below 65535 */
  Arena *arena;
  Str directory;
  uint32_t n;
} ZipWriter;

#define ZIP_MAX_BYTES 0xfffffffeu
#define ZIP_MAX_MEMBERS 65534u

/* Adds a member of the spans one behind the other, whose first byte lies at a
** multiple of align in the file (1: anywhere).  Fails with WRITE. */
VL_MUST_USE VlStatus zip_add(ZipWriter *z, const char *name, uint32_t align, const ZipSpan *span,
                             uint32_t n_spans);
/* Writes the directory; the file is not yet committed.  Fails with WRITE. */
VL_MUST_USE VlStatus zip_finish(ZipWriter *z);

#endif
