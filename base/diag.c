/* SPDX-License-Identifier: Apache-2.0 */
/* diag.c - messages kept in fixed fields and shown on request.
**
** A part is kept as it came and escaped when shown, in text one way and in
** JSON another.  Each part is cut so that its longer form fits its share; the
** shares of all parts of DIAG_MAX messages and the words around them fit the
** two output buffers, so showing never runs out of room.  Pages of the block
** that no message has used are never touched. */
#include "base/diag.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

typedef enum {
  PART_FILE,
  PART_PLACE,
  PART_MESSAGE,
  PART_FOUND,
  PART_EXPECTED,
  PART_NOTE,
  PART_FIX,
  PART__COUNT
} Part;

/* Bytes a part may take when shown. */
#define SHARE_FILE 1024u
#define SHARE 512u
#define SHARES (SHARE_FILE + (PART__COUNT - 1) * SHARE)
#define WORDS 256u /* labels, code, status, quotes and commas of one message */
#define OUT_SIZE (DIAG_MAX * (SHARES + WORDS) + WORDS)
#define ELLIPSIS "\xe2\x80\xa6"

typedef struct {
  DiagCode code;
  bool has[PART__COUNT];
  char file[SHARE_FILE];
  char rest[PART__COUNT - 1][SHARE];
} Message;

struct Diag {
  int count;  /* errors so far */
  char *text; /* OUT_SIZE bytes each, within the same block */
  char *json;
  Message message[DIAG_MAX];
};

/* --- the rows of errors.def --- */

typedef struct {
  const char *code, *text;
  VlStatus status;
} CodeRow;

static const CodeRow code_rows[] = {
#define E(code, name, status, text) [DIAG_##name] = {#code, text, status},
#include "base/errors.def"
#undef E
};

static const CodeRow *code_row(DiagCode c) {
  VL_CHECK((int)c >= 0 && c < DIAG__COUNT, "no such diagnostic");
  return &code_rows[c];
}

const char *diag_code_name(DiagCode c) {
  return code_row(c)->code;
}

const char *diag_code_text(DiagCode c) {
  return code_row(c)->text;
}

/* --- escapes --- */

#define CHAR_MAX_SHOWN 12

/* A character that moves, hides or reorders what stands beside it: controls,
** line and paragraph separators, bidirectional marks.  u is one well-formed
** character of len bytes. */
static bool is_unseen(const unsigned char *u, size_t len) {
  if (len == 1) return u[0] < 0x20 || u[0] == 0x7f;
  if (len == 2) return u[0] == 0xc2 && u[1] < 0xa0;
  if (len != 3 || u[0] != 0xe2) return false;
  bool separators = u[1] == 0x80 && u[2] >= 0xa8 && u[2] <= 0xae;
  bool marks = u[1] == 0x80 && (u[2] == 0x8e || u[2] == 0x8f);
  bool isolates = u[1] == 0x81 && u[2] >= 0xa6 && u[2] <= 0xa9;
  return separators || marks || isolates;
}

static unsigned code_point(const unsigned char *u, size_t len) {
  return len == 2 ? (u[0] & 0x1fu) << 6 | (u[1] & 0x3fu)
                  : (u[0] & 0x0fu) << 12 | (u[1] & 0x3fu) << 6 | (u[2] & 0x3fu);
}

/* The character at s as text shows it; returns the bytes of s that were it. */
static size_t text_char(const char *s, size_t n, char out[CHAR_MAX_SHOWN]) {
  const unsigned char *u = (const unsigned char *)s;
  size_t len = utf8_length(s, n);
  if (len == 0) {
    snprintf(out, CHAR_MAX_SHOWN, "\\x%02x", u[0]);
    return 1;
  }
  if (!is_unseen(u, len)) {
    memcpy(out, s, len);
    out[len] = '\0';
  } else if (len > 1) {
    snprintf(out, CHAR_MAX_SHOWN, "\\u%04x", code_point(u, len));
  } else if (u[0] == '\n' || u[0] == '\r' || u[0] == '\t') {
    snprintf(out, CHAR_MAX_SHOWN, "\\%c", u[0] == '\n' ? 'n' : u[0] == '\r' ? 'r' : 't');
  } else {
    snprintf(out, CHAR_MAX_SHOWN, "\\x%02x", u[0]);
  }
  return len;
}

/* --- keeping --- */

static char *part_of(Message *m, Part p, size_t *share) {
  *share = p == PART_FILE ? SHARE_FILE : SHARE;
  return p == PART_FILE ? m->file : m->rest[p - 1];
}

/* Keeps as much of s as its share can show, "…" behind what was cut. */
static void keep(Message *m, Part p, const char *s) {
  size_t share, n = strlen(s), i = 0, shown = 0, room = 0;
  char *to = part_of(m, p, &share);
  char text[CHAR_MAX_SHOWN], json[JSON_CHAR_MAX];
  while (i < n) {
    size_t next = i + text_char(s + i, n - i, text);
    json_char(s + i, n - i, json);
    shown += VL_MAX(strlen(text), strlen(json));
    if (shown >= share) break;
    i = next;
    if (shown + strlen(ELLIPSIS) < share) room = i;
  }
  bool cut = i < n;
  size_t kept = cut ? room : i;
  memcpy(to, s, kept);
  strcpy(to + kept, cut ? ELLIPSIS : "");
  m->has[p] = true;
}

VL_PRINTF(3, 0)
static void keep_formatted(Message *m, Part p, const char *fmt, va_list ap) {
  char s[2 * SHARE];
  if (vsnprintf(s, sizeof s, fmt, ap) < 0) strcpy(s, "(this text cannot be shown)");
  keep(m, p, s);
}

/* The message that parts are added to; NULL when the last was only counted. */
static Message *last(Diag *d) {
  return d == NULL || d->count == 0 || d->count > DIAG_MAX ? NULL : &d->message[d->count - 1];
}

VlStatus diag_error(Diag *d, DiagCode code, DiagAt at, const char *fmt, ...) {
  VlStatus status = code_row(code)->status;
  if (d == NULL) return status;
  if (d->count < INT32_MAX) d->count++;
  Message *m = last(d);
  if (m == NULL) return status;
  memset(m->has, 0, sizeof m->has);
  m->code = code;
  if (at.file != NULL) keep(m, PART_FILE, at.file);
  if (at.place != NULL) keep(m, PART_PLACE, at.place);
  va_list ap;
  va_start(ap, fmt);
  keep_formatted(m, PART_MESSAGE, fmt, ap);
  va_end(ap);
  return status;
}

#define DEFINE_PART(function, part)                                                                \
  void function(Diag *d, const char *fmt, ...) {                                                   \
    Message *m = last(d);                                                                          \
    if (m == NULL) return;                                                                         \
    va_list ap;                                                                                    \
    va_start(ap, fmt);                                                                             \
    keep_formatted(m, part, fmt, ap);                                                              \
    va_end(ap);                                                                                    \
  }

DEFINE_PART(diag_found, PART_FOUND)
DEFINE_PART(diag_expected, PART_EXPECTED)
DEFINE_PART(diag_note, PART_NOTE)
DEFINE_PART(diag_fix, PART_FIX)

Diag *diag_new(void) {
  char *block = malloc(sizeof(Diag) + 2 * OUT_SIZE);
  if (block == NULL) return NULL;
  Diag *d = (Diag *)(void *)block;
  d->text = block + sizeof(Diag);
  d->json = d->text + OUT_SIZE;
  diag_clear(d);
  return d;
}

void diag_free(Diag *d) {
  free(d);
}

void diag_clear(Diag *d) {
  if (d != NULL) d->count = 0;
}

int diag_count(const Diag *d) {
  return d == NULL ? 0 : d->count;
}

VlStatus diag_status(const Diag *d) {
  return diag_count(d) == 0 ? VLPC_OK : code_row(d->message[0].code)->status;
}

/* --- showing --- */

/* Where the next character of an output goes.  The shares leave room for all. */
typedef struct {
  char *at, *end;
} Out;

static void put(Out *o, const char *s) {
  size_t n = strlen(s);
  VL_CHECK(n < (size_t)(o->end - o->at), "a diagnostic passes its share");
  memcpy(o->at, s, n + 1);
  o->at += n;
}

static const char *kept_part(const Message *m, Part p) {
  return p == PART_FILE ? m->file : m->rest[p - 1];
}

static void put_text(Out *o, const Message *m, Part p) {
  const char *s = kept_part(m, p);
  char shown[CHAR_MAX_SHOWN];
  for (size_t i = 0, n = strlen(s); i < n;) {
    i += text_char(s + i, n - i, shown);
    put(o, shown);
  }
}

static const char *const labels[PART__COUNT] = {
    [PART_FOUND] = "  found:    ",
    [PART_EXPECTED] = "  expected: ",
    [PART_NOTE] = "  note:     ",
    [PART_FIX] = "  fix:      ",
};

static void put_message(Out *o, const Message *m) {
  put(o, "vlpc: error[");
  put(o, diag_code_name(m->code));
  put(o, "]: ");
  for (Part p = PART_FILE; p <= PART_MESSAGE; p++) {
    if (!m->has[p]) continue;
    put_text(o, m, p);
    put(o, p == PART_MESSAGE ? "\n" : ": ");
  }
  for (Part p = PART_FOUND; p < PART__COUNT; p++) {
    if (!m->has[p]) continue;
    put(o, labels[p]);
    put_text(o, m, p);
    put(o, "\n");
  }
}

const char *diag_text(const Diag *d) {
  if (diag_count(d) == 0) return "";
  Out o = {d->text, d->text + OUT_SIZE};
  int kept = VL_MIN(d->count, DIAG_MAX), more = d->count - kept;
  for (int i = 0; i < kept; i++) put_message(&o, &d->message[i]);
  if (more > 0) {
    char line[64];
    snprintf(line, sizeof line, "vlpc: and %d more error%s\n", more, more == 1 ? "" : "s");
    put(&o, line);
  }
  return d->text;
}

static void put_json(Out *o, const char *s) {
  char shown[JSON_CHAR_MAX];
  put(o, "\"");
  for (size_t i = 0, n = strlen(s); i < n;) {
    i += json_char(s + i, n - i, shown);
    put(o, shown);
  }
  put(o, "\"");
}

static const char *const keys[PART__COUNT] = {
    [PART_FILE] = ",\"file\":",         [PART_PLACE] = ",\"place\":",
    [PART_MESSAGE] = ",\"message\":",   [PART_FOUND] = ",\"found\":",
    [PART_EXPECTED] = ",\"expected\":", [PART_NOTE] = ",\"note\":",
    [PART_FIX] = ",\"fix\":",
};

static void put_object(Out *o, const Message *m) {
  put(o, "{\"code\":");
  put_json(o, diag_code_name(m->code));
  put(o, ",\"status\":");
  put_json(o, status_name(code_row(m->code)->status));
  for (Part p = PART_FILE; p < PART__COUNT; p++) {
    put(o, keys[p]);
    if (m->has[p]) {
      put_json(o, kept_part(m, p));
    } else {
      put(o, "null");
    }
  }
  put(o, "}");
}

const char *diag_json(const Diag *d) {
  if (diag_count(d) == 0) return "[]";
  Out o = {d->json, d->json + OUT_SIZE};
  for (int i = 0; i < d->count && i < DIAG_MAX; i++) {
    put(&o, i == 0 ? "[" : ",");
    put_object(&o, &d->message[i]);
  }
  put(&o, "]");
  return d->json;
}
