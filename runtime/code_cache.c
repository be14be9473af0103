/* SPDX-License-Identifier: Apache-2.0 */
/* code_cache.c - the private folder, by descriptor.
**
** After the folder was opened and checked, everything goes through its
** descriptor, so replacing the path changes nothing.  An entry is read into
** memory before it is judged: what is checked is what is used. */
#include "runtime/code_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vlpc/vlpc.h"

#define NAME_MAX_BYTES 96

static void entry_name(const uint8_t key[16], char out[NAME_MAX_BYTES]) {
  char hex[33];
  for (int i = 0; i < 16; i++) snprintf(hex + 2 * i, 3, "%02x", key[i]);
  snprintf(out, NAME_MAX_BYTES, "%s-%d.%d.%d.code", hex, VLPC_VERSION_MAJOR, VLPC_VERSION_MINOR,
           VLPC_VERSION_PATCH);
}

/* ---- folder ------------------------------------------------------------- */

static void make_folders(const char *dir) {
  char path[PATH_MAX];
  size_t n = strlen(dir);
  if (n == 0 || n >= sizeof path) return;
  memcpy(path, dir, n + 1);
  for (size_t i = 1; i <= n; i++) {
    if (path[i] != '/' && path[i] != 0) continue;
    char c = path[i];
    path[i] = 0;
    mkdir(path, 0700);
    path[i] = c;
  }
}

static VlStatus unsafe(const char *dir, const char *found, Diag *d) {
  VlStatus s = diag_error(d, DIAG_CACHE_UNSAFE, (DiagAt){dir, NULL},
                          "the code cache folder is not private, so code in it is not run");
  diag_found(d, "%s", found);
  diag_expected(d, "a folder of this user with mode 0700");
  diag_fix(d, "chmod 700 it when it is yours, or name another folder (--cache-dir)");
  return s;
}

VlStatus code_cache_open(const char *dir, Diag *d, CodeCache *out) {
  struct stat st;
  char found[80];
  *out = CODE_CACHE_NONE;
  make_folders(dir);
  int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) {
    if (lstat(dir, &st) == 0 && S_ISLNK(st.st_mode)) return unsafe(dir, "a symbolic link", d);
    return VLPC_OK;
  }
  if (fstat(fd, &st) == 0 && st.st_uid == geteuid() && (st.st_mode & 077) == 0) {
    out->fd = fd;
    return VLPC_OK;
  }
  close(fd);
  snprintf(found, sizeof found, "owner %ld, mode %04o", (long)st.st_uid,
           (unsigned)st.st_mode & 07777u);
  return unsafe(dir, found, d);
}

bool code_cache_is_open(const CodeCache *c) { return c->fd >= 0; }

void code_cache_close(CodeCache *c) {
  if (c->fd >= 0) close(c->fd);
  *c = CODE_CACHE_NONE;
}

/* ---- entries ------------------------------------------------------------ */

static bool read_all(int fd, uint8_t *at, uint64_t n) {
  for (uint64_t done = 0; done < n;) {
    ssize_t got = read(fd, at + done, (size_t)(n - done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    done += (uint64_t)got;
  }
  return true;
}

static bool write_all(int fd, const uint8_t *at, uint64_t n) {
  for (uint64_t done = 0; done < n;) {
    ssize_t put = write(fd, at + done, (size_t)(n - done));
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return false;
    done += (uint64_t)put;
  }
  return true;
}

static CacheRead read_entry(int fd, uint8_t **out, uint64_t *n) {
  struct stat st;
  if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
      (st.st_mode & 022) != 0 || (uint64_t)st.st_size > CODE_CACHE_MAX_ENTRY || st.st_size == 0)
    return CACHE_BAD;
  uint8_t *at = malloc((size_t)st.st_size);
  if (!at || !read_all(fd, at, (uint64_t)st.st_size)) {
    free(at);
    return CACHE_BAD;
  }
  *out = at;
  *n = (uint64_t)st.st_size;
  return CACHE_READ;
}

CacheRead code_cache_read(CodeCache *c, const uint8_t key[16], uint8_t **out, uint64_t *n) {
  char name[NAME_MAX_BYTES];
  entry_name(key, name);
  *out = NULL;
  int fd = openat(c->fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return errno == ENOENT ? CACHE_ABSENT : CACHE_BAD;
  CacheRead r = read_entry(fd, out, n);
  close(fd);
  return r;
}

void code_cache_remove(CodeCache *c, const uint8_t key[16]) {
  char name[NAME_MAX_BYTES];
  entry_name(key, name);
  unlinkat(c->fd, name, 0);
}

bool code_cache_write(CodeCache *c, const uint8_t key[16], const uint8_t *at, uint64_t n) {
  char name[NAME_MAX_BYTES], part[NAME_MAX_BYTES + 24];
  uint64_t salt = 0;
  if (getrandom(&salt, sizeof salt, 0) != (ssize_t)sizeof salt) return false;
  entry_name(key, name);
  snprintf(part, sizeof part, ".%s.%016llx", name, (unsigned long long)salt);
  int fd = openat(c->fd, part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  bool ok = write_all(fd, at, n);
  ok = close(fd) == 0 && ok;
  ok = ok && renameat(c->fd, part, c->fd, name) == 0;
  if (!ok) unlinkat(c->fd, part, 0);
  return ok;
}
