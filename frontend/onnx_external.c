/* SPDX-License-Identifier: Apache-2.0 */
/* onnx_external.c - the one place that opens external data.
**
** A location is opened relative to the model's folder as the user named it and
** may not leave it, by "..", by an absolute path or by a link: the kernel holds
** that (openat2, RESOLVE_BENEATH), so there is no moment between check and use.
** One exception is Hugging Face's cache, where model and data are both links
** into one "blobs" folder: the data are then opened in that folder by their
** plain name.  Offsets are compared with the open file's size before use. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/str.h"
#include "frontend/fe_int.h"

enum { OPEN_FLAGS = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY };

typedef struct {
  const char *location;
  int64_t offset, length; /* -1: not given */
} ExtEntry;

static VlStatus bad_entry(FeModel *m, DiagAt at, const char *what, const char *found) {
  VlStatus st = diag_error(m->d, DIAG_ONNX_EXT_KEY, at, "%s", what);
  if (found) diag_found(m->d, "'%.100s'", found);
  return st;
}

static VlStatus read_number(FeModel *m, DiagAt at, const char *key, const char *text,
                            int64_t *out) {
  if (*out >= 0) return bad_entry(m, at, "an external data key comes twice", key);
  if (!parse_i64(text, out) || *out < 0) {
    VlStatus st =
        bad_entry(m, at, "external data's offset or length is not a count of bytes", text);
    diag_expected(m->d, "a decimal number, 0 or more");
    return st;
  }
  return VLPC_OK;
}

static VlStatus read_entry(FeModel *m, const Onnx__TensorProto *t, DiagAt at, ExtEntry *e) {
  *e = (ExtEntry){NULL, -1, -1};
  for (size_t i = 0; i < t->n_external_data; i++) {
    const char *key = t->external_data[i]->key, *value = t->external_data[i]->value;
    if (!key || !value) return bad_entry(m, at, "an external data entry has no key or value", NULL);
    if (str_is(key, "location")) {
      if (e->location) return bad_entry(m, at, "an external data key comes twice", key);
      e->location = value;
    } else if (str_is(key, "offset")) {
      VL_TRY(read_number(m, at, key, value, &e->offset));
    } else if (str_is(key, "length")) {
      VL_TRY(read_number(m, at, key, value, &e->length));
    } else if (!str_is(key, "checksum")) {
      VlStatus st = bad_entry(m, at, "an external data key is not known", key);
      diag_expected(m->d, "location, offset, length or checksum");
      return st;
    }
  }
  return e->location ? VLPC_OK : bad_entry(m, at, "external data name no location", NULL);
}

/* ---- opening ------------------------------------------------------------ */

static VlStatus refuse(FeModel *m, DiagAt at, const char *location, const char *why) {
  VlStatus st = diag_error(m->d, DIAG_ONNX_EXT_PATH, at, "external data %s", why);
  diag_found(m->d, "location '%.200s'", location);
  diag_expected(m->d, "a file in the model's folder, named relative to it");
  diag_fix(m->d, "put the file beside the model, or allow its folder with --allow-external-root");
  return st;
}

/* A location that no file system could make good; NULL when it may be tried. */
static const char *fault_of(const char *location) {
  if (!*location) return "name no file";
  if (location[0] == '/') return "have an absolute path";
  for (const char *p = location; p; p = strchr(p, '/')) {
    if (*p == '/') p++;
    if (p[0] == '.' && p[1] == '.' && (p[2] == '/' || !p[2])) return "leave the model's folder";
  }
  return NULL;
}

/* The last folder of path; "." when there is none. */
static char *folder_of(Arena *a, const char *path) {
  const char *cut = strrchr(path, '/');
  if (!cut) return arena_strdup(a, ".");
  return arena_strndup(a, path, cut == path ? 1 : (size_t)(cut - path));
}

/* One plain step at a time, for kernels without openat2. */
static int open_by_steps(int dir, const char *location) {
  int at = dup(dir);
  char step[NAME_MAX + 1];
  while (at >= 0) {
    size_t n = strcspn(location, "/");
    bool last = location[n] == 0;
    if (n > NAME_MAX) {
      close(at);
      errno = ENAMETOOLONG;
      return -1;
    }
    memcpy(step, location, n);
    step[n] = 0;
    int flags = last ? OPEN_FLAGS : O_PATH | O_DIRECTORY | O_CLOEXEC;
    int next = n ? openat(at, step, flags | O_NOFOLLOW) : dup(at);
    int error = errno;
    close(at);
    errno = error == ELOOP ? EXDEV : error;
    if (last || next < 0) return next;
    at = next;
    location += n + 1;
  }
  return -1;
}

static int open_beneath(int dir, const char *location, uint64_t more) {
  struct open_how how = {.flags = OPEN_FLAGS,
                         .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | more};
  long fd;
  do {
    fd = syscall(SYS_openat2, dir, location, &how, sizeof how);
  } while (fd < 0 && (errno == EINTR || errno == EAGAIN));
  if (fd < 0 && (errno == ENOSYS || errno == EPERM)) return open_by_steps(dir, location);
  return (int)fd;
}

static char *real_path(Arena *a, const char *path) {
  char buf[PATH_MAX];
  return realpath(path, buf) ? arena_strdup(a, buf) : NULL;
}

/* Hugging Face's cache: snapshots/REV/model.onnx -> ../../blobs/HASH, and the
** data likewise.  -1 when this is not that. */
static int open_in_blobs(FeModel *m, const char *joined) {
  struct stat st;
  char *model = real_path(m->a, m->path), *data = real_path(m->a, joined);
  if (lstat(m->path, &st) != 0 || !S_ISLNK(st.st_mode) || !model || !data) return -1;
  char *blobs = folder_of(m->a, model), *home = folder_of(m->a, data);
  const char *tail = strrchr(blobs, '/');
  if (!tail || !str_is(tail + 1, "blobs") || !str_is(blobs, home)) return -1;
  int dir = open(blobs, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (dir < 0) return -1;
  int fd = openat(dir, strrchr(data, '/') + 1, OPEN_FLAGS | O_NOFOLLOW);
  close(dir);
  return fd;
}

static int open_in_root(FeModel *m, const char *joined) {
  char *data = real_path(m->a, joined);
  char *root = m->opt.external_root ? real_path(m->a, m->opt.external_root) : NULL;
  size_t n = root ? strlen(root) : 0;
  if (!data || !root || strncmp(data, root, n) != 0 || data[n] != '/') return -1;
  int dir = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (dir < 0) return -1;
  int fd = open_beneath(dir, data + n + 1, RESOLVE_NO_SYMLINKS);
  close(dir);
  return fd;
}

static VlStatus open_location(FeModel *m, const char *location, DiagAt at, int *out) {
  const char *fault = fault_of(location);
  char *folder = folder_of(m->a, m->path);
  char *joined = arena_printf(m->a, "%s/%s", folder, location);
  *out = -1;
  if (fault && m->opt.external_root) {
    *out = open_in_root(m, location[0] == '/' ? location : joined);
  }
  if (fault) return *out >= 0 ? VLPC_OK : refuse(m, at, location, fault);
  if (m->dir_fd < 0) m->dir_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
  *out = m->dir_fd < 0 ? -1 : open_beneath(m->dir_fd, location, 0);
  int error = errno;
  if (*out < 0 && (error == EXDEV || error == ELOOP)) {
    *out = open_in_blobs(m, joined);
    if (*out < 0) *out = open_in_root(m, joined);
    if (*out < 0) return refuse(m, at, location, "leave the model's folder through a link");
  }
  if (*out >= 0) return VLPC_OK;
  VlStatus st = diag_error(m->d, DIAG_ONNX_EXT_OPEN, at, "external data cannot be opened: %s",
                           error == ENOENT ? "no such file" : strerrordesc_np(error));
  diag_found(m->d, "location '%.200s'", location);
  diag_fix(m->d, "copy the data file to the model's folder; it belongs to the model");
  return st;
}

/* A link to somebody else's file could be a way to read it. */
static VlStatus check_owner(FeModel *m, int fd, const char *location, DiagAt at) {
  struct stat st;
  if (fstat(fd, &st) == 0 && st.st_nlink > 1 && st.st_uid != geteuid()) {
    return refuse(m, at, location, "are a hard link to another user's file");
  }
  return VLPC_OK;
}

static VlStatus map_location(FeModel *m, const char *location, DiagAt at, const Mapped **out) {
  for (uint32_t i = 0; i < m->ext.n; i++) {
    if (str_is(m->ext.at[i].location, location)) {
      *out = &m->ext.at[i].map;
      return VLPC_OK;
    }
  }
  int fd = -1;
  Mapped map = {0};
  VL_TRY(open_location(m, location, at, &fd));
  VlStatus st = check_owner(m, fd, location, at);
  char *path = arena_printf(m->a, "%s/%s", folder_of(m->a, m->path), location);
  if (st == VLPC_OK) st = io_map_fd(fd, path, m->d, &map);
  close(fd);
  VL_TRY(st);
  *vec_push(m->a, &m->ext) = (ExtFile){location, map};
  *out = &m->ext.at[m->ext.n - 1].map;
  return VLPC_OK;
}

VlStatus ext_find(FeModel *m, const Onnx__TensorProto *t, uint64_t want, DiagAt at,
                  const void **out) {
  ExtEntry e;
  const Mapped *map = NULL;
  VL_TRY(read_entry(m, t, at, &e));
  VL_TRY(map_location(m, e.location, at, &map));
  uint64_t offset = e.offset < 0 ? 0 : (uint64_t)e.offset;
  uint64_t length = e.length < 0 ? want : (uint64_t)e.length;
  if (!vl_range_ok(offset, length, map->n)) {
    VlStatus st = diag_error(m->d, DIAG_ONNX_EXT_RANGE, at, "external data end before the tensor");
    diag_found(m->d, "'%.200s' has %" PRIu64 " bytes", e.location, map->n);
    diag_expected(m->d, "%" PRIu64 " bytes from byte %" PRIu64, length, offset);
    diag_fix(m->d, "copy the data file again; it belongs to this model");
    return st;
  }
  if (length != want) {
    VlStatus st =
        diag_error(m->d, DIAG_ONNX_TENSOR, at, "external data do not fit the tensor's shape");
    diag_found(m->d, "%" PRIu64 " bytes", length);
    diag_expected(m->d, "%" PRIu64, want);
    return st;
  }
  *out = want ? map->at + offset : (const void *)"";
  return VLPC_OK;
}
