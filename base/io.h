/* SPDX-License-Identifier: Apache-2.0 */
/* io.h - files: map for reading, read whole, write atomically.
**
** A file is opened without following a FIFO or device (not regular: an error),
** and mapped read-only.  Writing goes to a temporary file in the same folder,
** then fsync, rename, fsync of the folder: an existing file is replaced whole
** or not at all. */
#ifndef VLPC_BASE_IO_H
#define VLPC_BASE_IO_H

#include "base/arena.h"
#include "base/diag.h"

typedef struct {
  const uint8_t *at; /* NULL for an empty file */
  uint64_t n;
  const char *path; /* as the user named it; borrowed */
} Mapped;

/* Maps a regular file.  Fails with OPEN, NOT_REGULAR, READ. */
VL_MUST_USE VlStatus io_map(const char *path, Diag *d, Mapped *out);
void io_unmap(Mapped *m);
/* Maps what an open descriptor holds; path is only for messages.  The
** descriptor stays the caller's. */
VL_MUST_USE VlStatus io_map_fd(int fd, const char *path, Diag *d, Mapped *out);
/* Tells the system that [off, off + n) of a mapping is not needed soon, so it
** leaves the resident set. */
void io_forget(const Mapped *m, uint64_t off, uint64_t n);

/* Reads a regular file of at most limit bytes into the arena, NUL added. */
VL_MUST_USE VlStatus io_read(const char *path, uint64_t limit, Arena *a, Diag *d,
                             uint8_t **out, size_t *out_n);

/* A file being written.  Every write is at an offset; io_commit makes it
** visible under its name, io_abandon leaves nothing behind. */
typedef struct FileWriter FileWriter;
VL_MUST_USE VlStatus io_create(const char *path, Diag *d, FileWriter **out);
VL_MUST_USE VlStatus io_write(FileWriter *w, const void *p, size_t n);          /* append */
VL_MUST_USE VlStatus io_write_at(FileWriter *w, uint64_t off, const void *p, size_t n);
VL_MUST_USE VlStatus io_pad_to(FileWriter *w, uint64_t align);                  /* zeroes */
uint64_t io_offset(const FileWriter *w);                                        /* of the next append */
VL_MUST_USE VlStatus io_commit(FileWriter *w); /* frees w, also on failure */
void io_abandon(FileWriter *w);                /* frees w; takes NULL */
/* io_create + io_write + io_commit. */
VL_MUST_USE VlStatus io_write_file(const char *path, const void *p, size_t n, Diag *d);

#endif
