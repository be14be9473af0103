/* SPDX-License-Identifier: Apache-2.0 */
/* cache.c - the private folder, by descriptor.
**
** After the folder was opened and checked, everything goes through its
** descriptor, so replacing the path changes nothing.  An entry is read into
** memory before it is judged: what is checked is what is used. */
#include "base/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/map.h"
#include "vlpc/vlpc.h"

#define NAME_MAX_BYTES 96

static void entry_name(const Cache *c, const uint8_t key[16], char out[NAME_MAX_BYTES]) {
  char hex[33];
  hash_hex(key, hex);
  snprintf(out, NAME_MAX_BYTES, "%s-%d.%d.%d.%.16s", hex, VLPC_VERSION_MAJOR, VLPC_VERSION_MINOR,
           VLPC_VERSION_PATCH, c->kind);
}

/* ---- one entry ---------------------------------------------------------- */

static Hash128 stored_hash(const StoredHeader *h, const void *payload) {
  uint64_t seed = hash_bytes(h, offsetof(StoredHeader, hash), 0);
  return hash_128(payload, (size_t)h->bytes, seed);
}

StoredHeader stored_header(const uint8_t key[16], uint64_t maker, const void *payload,
                           uint64_t bytes) {
  StoredHeader h = {.magic = STORED_MAGIC, .version = STORED_VERSION, .bytes = bytes,
                    .maker = maker};
  memcpy(h.key, key, sizeof h.key);
  Hash128 hash = stored_hash(&h, payload);
  memcpy(h.hash, hash.at, sizeof h.hash);
  return h;
}

bool stored_check(const uint8_t *at, uint64_t n, StoredHeader *h) {
  if (n < sizeof *h) return false;
  memcpy(h, at, sizeof *h);
  if (h->magic != STORED_MAGIC || h->version != STORED_VERSION || h->zero != 0 ||
      h->bytes > n - sizeof *h)
    return false;
  Hash128 hash = stored_hash(h, at + sizeof *h);
  return memcmp(hash.at, h->hash, sizeof h->hash) == 0;
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
                          "the cache folder is not private, so nothing in it is used");
  diag_found(d, "%s", found);
  diag_expected(d, "a folder of this user with mode 0700");
  diag_fix(d, "chmod 700 it when it is yours, or name another folder (--cache-dir)");
  return s;
}

VlStatus cache_open(const char *dir, const char *kind, Diag *d, Cache *out) {
  struct stat st;
  char found[80];
  *out = (Cache){-1, kind};
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

bool cache_is_open(const Cache *c) { return c->fd >= 0; }

void cache_close(Cache *c) {
  if (c->fd >= 0) close(c->fd);
  *c = CACHE_NONE;
}

/* ---- entries ------------------------------------------------------------ */

static CacheRead read_entry(int fd, uint8_t **out, uint64_t *n) {
  struct stat st;
  if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
      (st.st_mode & 022) != 0 || (uint64_t)st.st_size > CACHE_MAX_ENTRY || st.st_size == 0)
    return CACHE_BAD;
  size_t size = (size_t)st.st_size, done = 0;
  uint8_t *at = malloc(size);
  if (!at || !io_read_fd(fd, 0, at, size, &done) || done != size) {
    free(at);
    return CACHE_BAD;
  }
  *out = at;
  *n = size;
  return CACHE_READ;
}

CacheRead cache_read(Cache *c, const uint8_t key[16], uint8_t **out, StoredHeader *h) {
  char name[NAME_MAX_BYTES];
  uint64_t n = 0;
  entry_name(c, key, name);
  *out = NULL;
  int fd = openat(c->fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0 && errno == ENOENT) return CACHE_ABSENT;
  CacheRead r = fd < 0 ? CACHE_BAD : read_entry(fd, out, &n);
  if (fd >= 0) close(fd);
  if (r == CACHE_READ && stored_check(*out, n, h) && n - sizeof *h == h->bytes &&
      memcmp(h->key, key, sizeof h->key) == 0)
    return CACHE_READ;
  free(*out);
  *out = NULL;
  cache_remove(c, key);
  return CACHE_BAD;
}

void cache_remove(Cache *c, const uint8_t key[16]) {
  char name[NAME_MAX_BYTES];
  entry_name(c, key, name);
  unlinkat(c->fd, name, 0);
}

bool cache_write(Cache *c, const StoredHeader *h, const void *payload) {
  char name[NAME_MAX_BYTES], part[NAME_MAX_BYTES + 24];
  uint64_t salt = 0;
  if (getrandom(&salt, sizeof salt, 0) != (ssize_t)sizeof salt) return false;
  entry_name(c, h->key, name);
  snprintf(part, sizeof part, ".%s.%016llx", name, (unsigned long long)salt);
  int fd = openat(c->fd, part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  bool ok = io_write_fd(fd, 0, h, sizeof *h) &&
            io_write_fd(fd, sizeof *h, payload, (size_t)h->bytes);
  ok = close(fd) == 0 && ok;
  ok = ok && renameat(c->fd, part, c->fd, name) == 0;
  if (!ok) unlinkat(c->fd, part, 0);
  return ok;
}
