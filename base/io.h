/* SPDX-License-Identifier: Apache-2.0 */
/* io.h - files: map for reading, read whole, write atomically.
**
** A file is opened without following a FIFO or device (not regular: an error),
** and mapped read-only.  Writing goes to a temporary file in the same folder,
** then fsync, rename, fsync of the folder: an existing file is replaced whole
** or not at all.  Every failure leaves a message in d, which may be NULL. */
#ifndef VLPC_BASE_IO_H
#define VLPC_BASE_IO_H

#include "base/arena.h"
#include "base/diag.h"

typedef struct {
  const uint8_t *at; /* NULL for an empty file */
  uint64_t n;
  const char *path; /* as the user named it; borrowed */
} Mapped;

/* Maps a regular file.  Fails with OPEN, NOT_REGULAR, READ, and leaves *out
** empty then.  Reading a page that another program has cut off the file since
** raises SIGBUS. */
VL_MUST_USE VlStatus io_map(const char *path, Diag *d, Mapped *out);
/* The same, unmapped with the arena, which holds *out; io_unmap may come earlier. */
VL_MUST_USE VlStatus io_map_on(const char *path, Arena *a, Diag *d, Mapped **out);
void io_unmap(Mapped *m);
/* Maps what an open descriptor holds; path is only for messages.  The
** descriptor stays the caller's. */
VL_MUST_USE VlStatus io_map_fd(int fd, const char *path, Diag *d, Mapped *out);
/* Tells the system that the whole pages in [off, off + n) of a mapping are not
** needed soon, so they leave the resident set; they read the same afterwards. */
void io_forget(const Mapped *m, uint64_t off, uint64_t n);

/* All of n bytes from an offset of an open descriptor, and to one (to the end where it was
** opened to append).  *done: bytes read, fewer than n where the file ends before.  False with
** errno set: the system refuses. */
bool io_read_fd(int fd, uint64_t off, void *to, size_t n, size_t *done);
bool io_write_fd(int fd, uint64_t off, const void *p, size_t n);

/* Reads a regular file of at most limit bytes into the arena, NUL added behind
** the *out_n bytes.  Fails with OPEN, NOT_REGULAR, TOO_LARGE, READ. */
VL_MUST_USE VlStatus io_read(const char *path, uint64_t limit, Arena *a, Diag *d,
                             uint8_t **out, size_t *out_n);

/* A file being written.  Every write is at an offset; io_commit makes it
** visible under its name, io_abandon leaves nothing behind.  A link is followed
** and its file replaced, keeping the mode; an existing path that is no regular
** file is refused (NOT_REGULAR).  After a failed call (WRITE) all later ones
** fail with the same status and add no message.  d must outlive the writer. */
typedef struct FileWriter FileWriter;
VL_MUST_USE VlStatus io_create(const char *path, Diag *d, FileWriter **out);
VL_MUST_USE VlStatus io_write(FileWriter *w, const void *p, size_t n); /* append */
/* Bytes skipped over read as zero; io_write goes on behind the furthest byte. */
VL_MUST_USE VlStatus io_write_at(FileWriter *w, uint64_t off, const void *p, size_t n);
VL_MUST_USE VlStatus io_pad_to(FileWriter *w, uint64_t align); /* zeroes; align > 0 */
uint64_t io_offset(const FileWriter *w);                       /* of the next append */
VL_MUST_USE VlStatus io_commit(FileWriter *w); /* frees w, also on failure */
void io_abandon(FileWriter *w);                /* frees w; takes NULL */
/* io_create + io_write + io_commit. */
VL_MUST_USE VlStatus io_write_file(const char *path, const void *p, size_t n, Diag *d);

#endif
