/* SPDX-License-Identifier: Apache-2.0 */
/* dataset_tar.c - shards: a walk over ustar headers in a mapped file.
**
** Every header's checksum is held, and its size against the bytes that are
** left, before anything of it is used.  pax records and GNU long names only
** give the next member its name and size.  Nothing is ever written, so a name
** such as ../../x is a name like any other. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "train/dataset_int.h"

#define BLOCK 512u
#define PAX_MAX 65536u

typedef struct {
  const char *path;
  uint64_t at, bytes; /* of its data */
} Member;

typedef struct {
  DatasetReader *r;
  const char *file;
  const uint8_t *at;
  uint64_t n, pos;
  const char *next_path; /* from a pax or GNU record; NULL */
  uint64_t next_size;    /* UINT64_MAX: none */
  VEC(Member) photos;
  VEC(Member) labels;
  Names *label_keys; /* id: index in labels */
} Tar;

static VlStatus broken(Tar *t, const char *what, const char *expected) {
  char place[40];
  snprintf(place, sizeof place, "byte %" PRIu64, t->pos);
  VlStatus st = diag_error(t->r->diag, DIAG_DATA_SHARD, (DiagAt){t->file, place}, "%s", what);
  diag_expected(t->r->diag, "%s", expected);
  diag_fix(t->r->diag, "fetch or pack the shard again");
  return st;
}

/* ---- headers ------------------------------------------------------------ */

/* An octal field, blanks or zeroes around it; or GNU's base 256. */
static bool field_number(const uint8_t *p, size_t n, uint64_t *out) {
  uint64_t v = 0;
  size_t i = 0;
  if (p[0] & 0x80) {
    for (i = 0; i < n; i++) {
      uint8_t byte = i == 0 ? p[0] & 0x7f : p[i];
      if (v >> 55) return false;
      v = v << 8 | byte;
    }
    *out = v;
    return true;
  }
  while (i < n && p[i] == ' ') i++;
  size_t digits = 0;
  for (; i < n && p[i] >= '0' && p[i] <= '7'; i++, digits++) {
    if (v >> 60) return false;
    v = v << 3 | (uint64_t)(p[i] - '0');
  }
  for (; i < n; i++)
    if (p[i] != ' ' && p[i] != '\0') return false;
  *out = v;
  return digits > 0;
}

static bool checksum_ok(const uint8_t *h) {
  uint64_t want, sum = 0;
  if (!field_number(h + 148, 8, &want)) return false;
  for (size_t i = 0; i < BLOCK; i++) sum += i >= 148 && i < 156 ? ' ' : h[i];
  return sum == want;
}

static bool is_zero(const uint8_t *h) {
  for (size_t i = 0; i < BLOCK; i++)
    if (h[i] != 0) return false;
  return true;
}

/* prefix/name of a header. */
static const char *header_path(Tar *t, const uint8_t *h) {
  size_t n = strnlen((const char *)h, 100), m = 0;
  if (memcmp(h + 257, "ustar\0", 6) == 0) m = strnlen((const char *)h + 345, 155);
  if (m == 0) return arena_strndup(t->r->arena, (const char *)h, n);
  return arena_printf(t->r->arena, "%.*s/%.*s", (int)m, (const char *)h + 345, (int)n,
                      (const char *)h);
}

/* One "LENGTH KEY=VALUE\n" of a pax header; bytes it takes, 0 when wrong. */
static size_t pax_record(Tar *t, const char *p, size_t n) {
  size_t len = 0, i = 0;
  while (i < n && i < 6 && p[i] >= '0' && p[i] <= '9') len = len * 10 + (size_t)(p[i++] - '0');
  if (i == 0 || i >= n || p[i] != ' ' || len > n || len < i + 4 || p[len - 1] != '\n') return 0;
  const char *key = p + i + 1, *eq = memchr(key, '=', len - i - 2);
  if (eq == NULL) return 0;
  size_t key_n = (size_t)(eq - key), value_n = len - 1 - (size_t)(eq + 1 - p);
  if (memchr(eq + 1, '\0', value_n) != NULL) return 0;
  const char *value = arena_strndup(t->r->arena, eq + 1, value_n);
  int64_t size;
  if (key_n == 4 && memcmp(key, "path", 4) == 0) t->next_path = value;
  if (key_n == 4 && memcmp(key, "size", 4) == 0) {
    if (!parse_i64(value, &size) || size < 0) return 0;
    t->next_size = (uint64_t)size;
  }
  return len;
}

static VlStatus read_extension(Tar *t, char type, const uint8_t *data, uint64_t bytes) {
  if (bytes > PAX_MAX) return broken(t, "an extended header is too long", "at most 64 KiB");
  if (type == 'L') {
    size_t n = strnlen((const char *)data, (size_t)bytes);
    t->next_path = arena_strndup(t->r->arena, (const char *)data, n);
    return VLPC_OK;
  }
  for (size_t i = 0; i < bytes;) {
    size_t n = pax_record(t, (const char *)data + i, (size_t)bytes - i);
    if (n == 0) return broken(t, "an extended header is malformed", "records of LENGTH KEY=VALUE");
    i += n;
  }
  return VLPC_OK;
}

/* ---- members ------------------------------------------------------------ */

/* Length of a member's key: the path up to the first dot of its last part. */
static size_t key_length(const char *path) {
  const char *slash = strrchr(path, '/');
  size_t from = slash == NULL ? 0 : (size_t)(slash - path) + 1;
  return from + strcspn(path + from, ".");
}

static VlStatus read_member(Tar *t, const Member *m) {
  size_t n = strlen(m->path), key = key_length(m->path);
  if (n > DATASET_MAX_PATH) return broken(t, "a name is too long", "at most 4096 bytes");
  if (n == 0) return broken(t, "a member has no name", "a name");
  if (t->photos.n >= DATASET_MAX_ITEMS || t->labels.n >= DATASET_MAX_ITEMS)
    return broken(t, "there are too many members", "at most 16777216 photos");
  if (dataset_is_photo(m->path)) *vec_push(t->r->arena, &t->photos) = *m;
  if (strcmp(m->path + key, ".cls") != 0) return VLPC_OK;
  if (m->bytes > DATASET_MAX_PATH) return broken(t, "a label is too long", "at most 4096 bytes");
  if (names_add(t->label_keys, m->path, key) != t->labels.n)
    return broken(t, "a photo has two labels", "one .cls for each key");
  *vec_push(t->r->arena, &t->labels) = *m;
  return VLPC_OK;
}

static VlStatus read_header(Tar *t) {
  const uint8_t *h = t->at + t->pos;
  uint64_t bytes = 0, data = t->pos + BLOCK;
  char type = (char)h[156];
  bool extension = type == 'x' || type == 'g' || type == 'L' || type == 'K';
  if (!checksum_ok(h)) return broken(t, "a header's checksum does not match", "a ustar header");
  if (!field_number(h + 124, 12, &bytes)) return broken(t, "a size is no number", "octal digits");
  if (!extension && t->next_size != UINT64_MAX) bytes = t->next_size;
  if (!vl_range_ok(data, bytes, t->n))
    return broken(t, "a member passes the end of the shard", "all of its bytes");
  if (type == 'x' || type == 'L') {
    VL_TRY(read_extension(t, type, t->at + data, bytes));
  } else if (!extension) {
    Member m = {t->next_path != NULL ? t->next_path : header_path(t, h), data, bytes};
    if (type == '0' || type == '\0') VL_TRY(read_member(t, &m));
    t->next_path = NULL;
    t->next_size = UINT64_MAX;
  }
  /* The padding of the last member may be missing. */
  uint64_t padded = vl_align_up(bytes, BLOCK);
  t->pos = padded > t->n - data ? t->n : data + padded;
  return VLPC_OK;
}

/* The label's text: of the .cls file, else the member's folder. */
static const char *label_of(Tar *t, const Member *photo) {
  uint32_t id;
  if (names_find(t->label_keys, photo->path, key_length(photo->path), &id)) {
    const Member *m = &t->labels.at[id];
    const char *p = (const char *)t->at + m->at;
    size_t n = (size_t)m->bytes;
    while (n > 0 && strchr(" \t\r\n", p[n - 1]) != NULL) n--;
    return memchr(p, '\0', n) != NULL ? "" : arena_strndup(t->r->arena, p, n);
  }
  const char *end = strrchr(photo->path, '/'), *start = end;
  if (end == NULL) return "";
  while (start > photo->path && start[-1] != '/') start--;
  return arena_strndup(t->r->arena, start, (size_t)(end - start));
}

static VlStatus give_photos(Tar *t, SplitId split, int32_t shard) {
  for (uint32_t i = 0; i < t->photos.n; i++) {
    const Member *m = &t->photos.at[i];
    const char *label = label_of(t, m);
    int64_t number;
    t->pos = m->at;
    if (label[0] == '\0' || strcmp(label, ".") == 0)
      return broken(t, "a photo has no label", "a .cls beside it, or a folder named as its class");
    if (parse_i64(label, &number)) label = arena_printf(t->r->arena, "%" PRId64, number);
    const char *path = arena_printf(t->r->arena, "%s:%s", t->file, m->path);
    Item item = {path, 0, shard, m->at, m->bytes};
    FoundItem f = {{t->file, m->path}, split, label, NULL, item};
    VL_TRY(dataset_add(t->r, &f));
  }
  return VLPC_OK;
}

VlStatus dataset_read_tar(DatasetReader *r, const char *path, SplitId split) {
  Mapped *m = NULL;
  VL_TRY(io_map_on(path, r->arena, r->diag, &m));
  Tar t = {.r = r, .file = path, .at = m->at, .n = m->n, .next_size = UINT64_MAX};
  t.label_keys = names_new(r->arena);
  if (r->shards.n >= DATASET_MAX_SHARDS)
    return diag_error(r->diag, DIAG_DATA_LIMIT, (DiagAt){path, NULL}, "there are too many shards");
  while (t.pos < t.n) {
    if (t.n - t.pos < BLOCK) return broken(&t, "the shard ends inside a header", "512 bytes");
    if (is_zero(t.at + t.pos)) break;
    VL_TRY(read_header(&t));
  }
  *vec_push(r->arena, &r->shards) = *m;
  return give_photos(&t, split, (int32_t)r->shards.n - 1);
}
