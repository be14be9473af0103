/* SPDX-License-Identifier: Apache-2.0 */
/* metrics_log.c - two append-only files.
**
** An event is a TFRecord: length, its masked CRC, a protobuf Event, its masked
** CRC.  Of Event only four fields are written (wall_time 1, step 2, file_version
** 3, summary 5 with values of tag 1 and simple_value 2), so by hand. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/io.h"
#include "train/metrics.h"

#define LOG_MAX_BYTES ((uint64_t)4 << 30)

struct MetricsLog {
  Arena *scratch; /* emptied with each line */
  const char *lines_path, *events_path;
  int lines, events;
};

/* ---- events ------------------------------------------------------------- */

uint32_t masked_crc32c(const void *p, size_t n) {
  const uint8_t *at = p;
  uint32_t crc = UINT32_MAX;
  for (size_t i = 0; i < n; i++) {
    crc ^= at[i];
    for (int b = 0; b < 8; b++) crc = crc >> 1 ^ (UINT32_C(0x82f63b78) & (0u - (crc & 1)));
  }
  crc = ~crc;
  return (crc >> 15 | crc << 17) + UINT32_C(0xa282ead8);
}

static void put_varint(ByteWriter *w, uint64_t v) {
  for (; v >= 0x80; v >>= 7) put_u8(w, (uint8_t)(v | 0x80));
  put_u8(w, (uint8_t)v);
}

static void put_bytes(ByteWriter *w, uint8_t tag, const char *p, size_t n) {
  put_u8(w, tag);
  put_varint(w, n);
  str_addn(&w->out, p, n);
}

static void put_scalar(ByteWriter *w, const Metric *m) {
  ByteWriter value = {{.arena = w->out.arena}}, summary = {{.arena = w->out.arena}};
  float f = (float)m->value;
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  put_bytes(&value, 0x0a, m->name, strlen(m->name)); /* Value.tag */
  put_u8(&value, 0x15);                              /* Value.simple_value */
  put_u32(&value, bits);
  put_bytes(&summary, 0x0a, value.out.at, value.out.n); /* Summary.value */
  put_bytes(w, 0x2a, summary.out.at, summary.out.n);    /* Event.summary */
}

/* One record; m NULL: the first of a file, which names the version. */
static void put_event(ByteWriter *out, double wall, uint64_t step, const Metric *m) {
  ByteWriter e = {{.arena = out->out.arena}}, length = {{.arena = out->out.arena}};
  put_u8(&e, 0x09); /* Event.wall_time */
  put_f64(&e, wall);
  if (step != 0) {
    put_u8(&e, 0x10); /* Event.step */
    put_varint(&e, step);
  }
  if (m == NULL) put_bytes(&e, 0x1a, "brain.Event:2", 13); /* Event.file_version */
  else put_scalar(&e, m);
  put_u64(&length, e.out.n);
  str_addn(&out->out, length.out.at, 8);
  put_u32(out, masked_crc32c(length.out.at, 8));
  str_addn(&out->out, e.out.at, e.out.n);
  put_u32(out, masked_crc32c(e.out.at, e.out.n));
}

/* ---- files -------------------------------------------------------------- */

static VlStatus cannot_write(const char *path, Diag *d) {
  int error = errno;
  VlStatus st = diag_error(d, DIAG_WRITE, (DiagAt){path, NULL}, "cannot be written");
  diag_found(d, "error %d of the system", error);
  diag_fix(d, error == ENOSPC ? "free some space" : "check that this user may write there");
  return st;
}

/* All of it or nothing: what was written of a failed piece is cut off again. */
static VlStatus append(int fd, const char *path, const Str *s, Diag *d) {
  off_t start = lseek(fd, 0, SEEK_END);
  if (start < 0) return cannot_write(path, d);
  if (io_write_fd(fd, (uint64_t)start, s->at, s->n)) return VLPC_OK;
  VlStatus st = cannot_write(path, d);
  if (ftruncate(fd, start) != 0) diag_note(d, "its last line is cut short");
  return st;
}

static VlStatus open_append(const char *path, Diag *d, int *out) {
  *out = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0666);
  return *out >= 0 ? VLPC_OK : cannot_write(path, d);
}

/* Bytes of whole lines whose step is at most keep, up to the first other. */
static size_t kept_bytes(const char *text, uint64_t keep) {
  static const char head[] = "{\"step\":";
  size_t kept = 0;
  for (const char *end; (end = strchr(text + kept, '\n')) != NULL;) {
    char *after;
    if (strncmp(text + kept, head, sizeof head - 1) != 0) break;
    uint64_t step = strtoull(text + kept + sizeof head - 1, &after, 10);
    if (*after != ',' || step > keep) break;
    kept = (size_t)(end - text) + 1;
  }
  return kept;
}

static VlStatus drop_later(const char *path, uint64_t keep, Arena *a, Diag *d) {
  struct stat st;
  uint8_t *text;
  size_t n;
  if (stat(path, &st) != 0) return VLPC_OK;
  VL_TRY(io_read(path, LOG_MAX_BYTES, a, d, &text, &n));
  size_t kept = kept_bytes((const char *)text, keep);
  return kept == n ? VLPC_OK : io_write_file(path, text, kept, d);
}

static void close_files(void *p) {
  MetricsLog *m = p;
  if (m->lines >= 0) close(m->lines);
  if (m->events >= 0) close(m->events);
  m->lines = m->events = -1;
  arena_free(m->scratch);
  m->scratch = NULL;
}

void metrics_close(MetricsLog *m) { close_files(m); }

VlStatus metrics_open(const MetricsSpec *s, Arena *a, Diag *d, MetricsLog **out) {
  MetricsLog *m = arena_one(a, MetricsLog);
  *m = (MetricsLog){.lines = -1, .events = -1};
  arena_defer(a, close_files, m);
  m->lines_path = arena_printf(a, "%s/metrics.jsonl", s->folder);
  m->events_path = arena_printf(a, "%s/events.out.tfevents.%.0f.vlpc", s->folder, s->wall);
  VL_TRY(drop_later(m->lines_path, s->keep_steps, a, d));
  VL_TRY(open_append(m->lines_path, d, &m->lines));
  VL_TRY(open_append(m->events_path, d, &m->events));
  ByteWriter w = {{.arena = a}};
  put_event(&w, s->wall, 0, NULL);
  if (lseek(m->events, 0, SEEK_END) == 0) VL_TRY(append(m->events, m->events_path, &w.out, d));
  *out = m;
  return VLPC_OK;
}

static void put_line(Str *s, const MetricsLine *l) {
  str_printf(s, "{\"step\":%" PRIu64 ",\"epoch\":%" PRIu32 ",\"wall\":", l->step, l->epoch);
  str_f64(s, l->wall);
  for (uint32_t i = 0; i < l->n; i++) {
    str_add(s, ",");
    str_json(s, l->at[i].name, strlen(l->at[i].name));
    str_add(s, ":");
    if (isfinite(l->at[i].value)) str_f64(s, l->at[i].value);
    else str_add(s, "null");
  }
  str_add(s, "}\n");
}

static VlStatus no_memory(const MetricsLog *m, Diag *d) {
  return diag_error(d, DIAG_NOMEM, (DiagAt){m->lines_path, NULL}, "no memory for a line");
}

VlStatus metrics_add(MetricsLog *m, const MetricsLine *l, Diag *d) {
  arena_free(m->scratch);
  m->scratch = arena_new(0);
  if (m->scratch == NULL) return no_memory(m, d);
  if (ARENA_GUARD(m->scratch)) return no_memory(m, d);
  Str line = {.arena = m->scratch};
  ByteWriter events = {{.arena = m->scratch}};
  put_line(&line, l);
  for (uint32_t i = 0; i < l->n; i++) put_event(&events, l->wall, l->step, &l->at[i]);
  VL_TRY(append(m->lines, m->lines_path, &line, d));
  return append(m->events, m->events_path, &events.out, d);
}
