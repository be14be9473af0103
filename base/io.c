/* SPDX-License-Identifier: Apache-2.0 */
/* io.c - mapping, reading and atomic writing.
**
** Files are opened without blocking and looked at before anything else, so a
** FIFO or a device cannot hold the program.  A file being written lives under
** ".<name>.<6 letters>.tmp" beside its target until io_commit renames it; its
** mode is that of the file it replaces, or what the umask allows. */
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- messages --- */

/* The next step for a reason the system gave; NULL when none can be named. */
static const char *next_step(int error) {
  switch (error) {
  case ENOENT:
    return "check the spelling of the path and of its folders";
  case EACCES:
  case EPERM:
    return "allow this user to use the file and its folder";
  case ENOSPC:
  case EDQUOT:
    return "free some space, or name a path on another disk";
  case EROFS:
    return "name a path on a disk that can be written";
  case EMFILE:
  case ENFILE:
    return "raise the limit of open files (ulimit -n)";
  case ENOMEM:
    return "free some memory, or raise the limit (ulimit -v)";
  case EFBIG:
    return "raise the limit of file sizes (ulimit -f)";
  case ENAMETOOLONG:
    return "name a shorter path";
  default:
    return NULL;
  }
}

/* "file: <what>: <reason of the system>", with the next step. */
static VlStatus fail(Diag *d, DiagCode code, const char *path, const char *what, int error) {
  locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
  const char *reason = c != (locale_t)0 ? strerror_l(error, c) : "unknown error";
  VlStatus status = diag_error(d, code, (DiagAt){path, NULL}, "%s: %s", what, reason);
  if (c != (locale_t)0) freelocale(c);
  if (next_step(error) != NULL) diag_fix(d, "%s", next_step(error));
  return status;
}

static const char *file_kind(mode_t mode) {
  return S_ISDIR(mode)    ? "a folder"
         : S_ISFIFO(mode) ? "a pipe"
         : S_ISSOCK(mode) ? "a socket"
                          : "a device";
}

static VlStatus not_regular(Diag *d, const char *path, mode_t mode) {
  VlStatus status = diag_error(d, DIAG_NOT_REGULAR, (DiagAt){path, NULL}, "not a regular file");
  diag_found(d, "%s", file_kind(mode));
  diag_expected(d, "a regular file");
  diag_fix(d, "%s", S_ISDIR(mode) ? "name a file in this folder" : "name a file on disk");
  return status;
}

/* --- reading --- */

static VlStatus regular_size(int fd, const char *path, Diag *d, uint64_t *out) {
  struct stat st;
  if (fstat(fd, &st) != 0) return fail(d, DIAG_READ, path, "cannot be read", errno);
  if (!S_ISREG(st.st_mode)) return not_regular(d, path, st.st_mode);
  *out = (uint64_t)st.st_size;
  return VLPC_OK;
}

static VlStatus open_for_reading(const char *path, Diag *d, int *out) {
  do {
    *out = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  } while (*out < 0 && errno == EINTR);
  return *out < 0 ? fail(d, DIAG_OPEN, path, "cannot be opened", errno) : VLPC_OK;
}

VlStatus io_map_fd(int fd, const char *path, Diag *d, Mapped *out) {
  uint64_t n = 0;
  *out = (Mapped){.path = path};
  VL_TRY(regular_size(fd, path, d, &n));
  if (n == 0) return VLPC_OK;
  if (n > SIZE_MAX) return fail(d, DIAG_READ, path, "cannot be mapped", ENOMEM);
  void *at = mmap(NULL, (size_t)n, PROT_READ, MAP_PRIVATE, fd, 0);
  if (at == MAP_FAILED) return fail(d, DIAG_READ, path, "cannot be mapped", errno);
  out->at = at;
  out->n = n;
  return VLPC_OK;
}

VlStatus io_map(const char *path, Diag *d, Mapped *out) {
  int fd = -1;
  *out = (Mapped){.path = path};
  VL_TRY(open_for_reading(path, d, &fd));
  VlStatus status = io_map_fd(fd, path, d, out);
  close(fd);
  return status;
}

void io_unmap(Mapped *m) {
  if (m->at != NULL) munmap((void *)(uintptr_t)m->at, (size_t)m->n);
  *m = (Mapped){0};
}

static void unmap_kept(void *m) { io_unmap(m); }

/* The end of the mapping is arranged first: taking memory may leave by a jump. */
VlStatus io_map_on(const char *path, Arena *a, Diag *d, Mapped **out) {
  *out = arena_one(a, Mapped);
  arena_defer(a, unmap_kept, *out);
  return io_map(path, d, *out);
}

void io_forget(const Mapped *m, uint64_t off, uint64_t n) {
  if (m->at == NULL || !vl_range_ok(off, n, m->n)) return;
  uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
  uint64_t first = vl_align_up(off, page);
  uint64_t end = off + n == m->n ? vl_align_up(m->n, page) : (off + n) / page * page;
  /* Advice: when it is refused the pages merely stay. */
  if (first < end) (void)madvise((void *)(uintptr_t)(m->at + first), end - first, MADV_DONTNEED);
}

static void close_kept(void *p) {
  int *fd = p;
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

bool io_read_fd(int fd, uint64_t off, void *to, size_t n, size_t *done) {
  for (*done = 0; *done < n;) {
    ssize_t got = pread(fd, (char *)to + *done, n - *done, (off_t)(off + *done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return got == 0;
    *done += (size_t)got;
  }
  return true;
}

static VlStatus read_all(int fd, const char *path, Diag *d, uint8_t *to, size_t n) {
  size_t done;
  if (!io_read_fd(fd, 0, to, n, &done)) return fail(d, DIAG_READ, path, "cannot be read", errno);
  if (done == n) return VLPC_OK;
  VlStatus status = diag_error(d, DIAG_READ, (DiagAt){path, NULL}, "became shorter while read");
  diag_found(d, "%zu bytes", done);
  diag_expected(d, "%zu bytes", n);
  diag_fix(d, "wait until the file is written, then try again");
  return status;
}

static VlStatus too_large(Diag *d, const char *path, uint64_t n, uint64_t limit) {
  VlStatus status = diag_error(d, DIAG_TOO_LARGE, (DiagAt){path, NULL}, "the file is too large");
  diag_found(d, "%" PRIu64 " bytes", n);
  diag_expected(d, "at most %" PRIu64 " bytes", limit);
  return status;
}

VlStatus io_read(const char *path, uint64_t limit, Arena *a, Diag *d, uint8_t **out,
                 size_t *out_n) {
  /* The arena closes the file when it jumps while memory for the text is asked. */
  int *fd = arena_one(a, int);
  uint64_t n = 0;
  *fd = -1;
  arena_defer(a, close_kept, fd);
  limit = VL_MIN(limit, (uint64_t)SIZE_MAX - 1);
  VL_TRY(open_for_reading(path, d, fd));
  VlStatus status = regular_size(*fd, path, d, &n);
  if (status == VLPC_OK && n > limit) status = too_large(d, path, n, limit);
  if (status == VLPC_OK) {
    *out = arena_alloc(a, (size_t)n + 1);
    *out_n = (size_t)n;
    status = read_all(*fd, path, d, *out, (size_t)n);
  }
  close_kept(fd);
  return status;
}

/* --- writing --- */

#define NAME_TRIES 100
#define NAME_KEPT 200 /* bytes of a long name that its temporary name repeats */
#define NEW_FILE_MODE 0666

struct FileWriter {
  Diag *diag;
  char *named;  /* as the user named it, for messages */
  char *target; /* what is replaced: links followed */
  char *temp;   /* NULL until it exists */
  int fd;
  uint64_t end;    /* of what is written */
  VlStatus status; /* of the first failure; everything after it gives the same */
};

static VlStatus write_failed(FileWriter *w, const char *what, int error) {
  w->status = fail(w->diag, DIAG_WRITE, w->named, what, error);
  return w->status;
}

static void writer_free(FileWriter *w) {
  if (w->fd >= 0) close(w->fd);
  if (w->temp != NULL) unlink(w->temp);
  free(w->temp);
  free(w->target);
  free(w->named);
  free(w);
}

/* Where the last part of a path begins. */
static size_t name_start(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash == NULL ? 0 : (size_t)(slash - path) + 1;
}

/* Fills six letters at random; false with errno set. */
static bool random_letters(char *to) {
  static const char letters[] = "abcdefghijklmnopqrstuvwxyz012345";
  uint8_t bytes[6];
  if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) return false;
  for (size_t i = 0; i < sizeof bytes; i++) to[i] = letters[bytes[i] & 31u];
  return true;
}

/* Makes the temporary file; on failure temp stays NULL.  O_EXCL rather than
** mkostemp, so that the umask applies without being read. */
static VlStatus temp_create(FileWriter *w) {
  size_t dir = name_start(w->target), name = strlen(w->target) - dir;
  size_t size = dir + name + sizeof "..XXXXXX.tmp";
  char *temp = malloc(size);
  if (temp == NULL) return write_failed(w, "cannot be written", ENOMEM);
  name = VL_MIN(name, (size_t)NAME_KEPT);
  snprintf(temp, size, "%.*s.%.*s.XXXXXX.tmp", (int)dir, w->target, (int)name, w->target + dir);
  errno = EEXIST;
  for (int i = 0; i < NAME_TRIES && w->fd < 0 && (errno == EEXIST || errno == EINTR); i++) {
    if (random_letters(temp + dir + 1 + name + 1))
      w->fd = open(temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, NEW_FILE_MODE);
  }
  if (w->fd < 0) {
    int error = errno;
    free(temp);
    return write_failed(w, "cannot be written", error);
  }
  w->temp = temp;
  return VLPC_OK;
}

/* Follows links to what a commit shall replace, and takes over its mode. */
static VlStatus writer_begin(FileWriter *w) {
  struct stat old;
  bool exists = stat(w->named, &old) == 0;
  if (!exists && errno != ENOENT) return write_failed(w, "cannot be written", errno);
  if (exists && !S_ISREG(old.st_mode)) return not_regular(w->diag, w->named, old.st_mode);
  if (!exists && w->named[name_start(w->named)] == '\0')
    return write_failed(w, "cannot be written", w->named[0] == '\0' ? ENOENT : EISDIR);
  w->target = exists ? realpath(w->named, NULL) : strdup(w->named);
  if (w->target == NULL) return write_failed(w, "cannot be written", errno);
  VL_TRY(temp_create(w));
  if (exists && fchmod(w->fd, old.st_mode & 0777) != 0)
    return write_failed(w, "cannot be given the mode of the old file", errno);
  return VLPC_OK;
}

VlStatus io_create(const char *path, Diag *d, FileWriter **out) {
  *out = NULL;
  FileWriter *w = calloc(1, sizeof *w);
  char *named = strdup(path);
  if (w == NULL || named == NULL) {
    free(w);
    free(named);
    return fail(d, DIAG_NOMEM, path, "cannot be written", ENOMEM);
  }
  w->diag = d;
  w->named = named;
  w->fd = -1;
  VlStatus status = writer_begin(w);
  if (status != VLPC_OK) {
    writer_free(w);
    return status;
  }
  *out = w;
  return VLPC_OK;
}

bool io_write_fd(int fd, uint64_t off, const void *p, size_t n) {
  for (size_t done = 0; done < n;) {
    ssize_t put = pwrite(fd, (const char *)p + done, n - done, (off_t)(off + done));
    if (put < 0 && errno == EINTR) continue;
    if (put == 0) errno = EIO;
    if (put <= 0) return false;
    done += (size_t)put;
  }
  return true;
}

VlStatus io_write_at(FileWriter *w, uint64_t off, const void *p, size_t n) {
  uint64_t end = 0;
  if (w->status != VLPC_OK) return w->status;
  if (!vl_add_u64(off, n, &end) || end > INT64_MAX)
    return write_failed(w, "cannot be written", EFBIG);
  if (!io_write_fd(w->fd, off, p, n)) return write_failed(w, "cannot be written", errno);
  if (n != 0) w->end = VL_MAX(w->end, end);
  return VLPC_OK;
}

VlStatus io_write(FileWriter *w, const void *p, size_t n) {
  return io_write_at(w, w->end, p, n);
}

VlStatus io_pad_to(FileWriter *w, uint64_t align) {
  static const char zeroes[4096];
  VL_CHECK(align != 0, "io_pad_to: no alignment");
  uint64_t rest = w->end % align;
  for (uint64_t left = rest == 0 ? 0 : align - rest; left != 0;) {
    size_t n = (size_t)VL_MIN(left, (uint64_t)sizeof zeroes);
    VL_TRY(io_write(w, zeroes, n));
    left -= n;
  }
  return w->status;
}

uint64_t io_offset(const FileWriter *w) {
  return w->end;
}

/* Puts the new name on disk.  A folder that cannot be opened, or a file system
** that knows no fsync of folders, is none of the writer's fault. */
static VlStatus sync_folder(FileWriter *w) {
  size_t dir = name_start(w->target);
  char *folder = dir == 0 ? strdup(".") : strndup(w->target, dir);
  if (folder == NULL) return VLPC_OK;
  int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  free(folder);
  if (fd < 0) return VLPC_OK;
  int error = fsync(fd) == 0 || errno == EINVAL || errno == EROFS ? 0 : errno;
  close(fd);
  return error == 0 ? VLPC_OK : write_failed(w, "its folder cannot be written", error);
}

static int close_taken(FileWriter *w) {
  int fd = w->fd;
  w->fd = -1;
  return close(fd) != 0 && errno != EINTR ? -1 : 0;
}

static VlStatus finish(FileWriter *w) {
  if (w->status != VLPC_OK) return w->status;
  if (fsync(w->fd) != 0) return write_failed(w, "cannot be written", errno);
  if (close_taken(w) != 0) return write_failed(w, "cannot be written", errno);
  if (rename(w->temp, w->target) != 0) return write_failed(w, "cannot be replaced", errno);
  free(w->temp);
  w->temp = NULL;
  return sync_folder(w);
}

VlStatus io_commit(FileWriter *w) {
  VlStatus status = finish(w);
  writer_free(w);
  return status;
}

void io_abandon(FileWriter *w) {
  if (w != NULL) writer_free(w);
}

VlStatus io_write_file(const char *path, const void *p, size_t n, Diag *d) {
  FileWriter *w = NULL;
  VL_TRY(io_create(path, d, &w));
  /* A failed write makes the commit fail with the same status. */
  VL_IGNORE(io_write(w, p, n));
  return io_commit(w);
}
