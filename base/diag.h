/* SPDX-License-Identifier: Apache-2.0 */
/* diag.h - diagnostics: what is wrong with a user's input, in words.
**
** A Diag collects up to DIAG_MAX messages; an importer goes on after an error
** and reports all it finds.  Each message has a code (a row of errors.def), a
** place, one sentence, and optional found / expected / note / fix parts:
**
**   vlpc: error[E0203]: clip.onnx: node 412 '/text/MatMul' (MatMul, opset 17): inner sizes differ
**     found:    512 and 768
**     expected: equal
**     note:     …
**     fix:      …
**
** diag_error returns the status of its row, so `return diag_error(…)` is one
** line.  The parts added next belong to the last message; a part given twice
** keeps the later text.  Each part is one line: control characters and bytes
** that are no UTF-8 are shown as escapes (\n, \x1b, \u202e), so a name in a
** hostile file cannot forge a line, and what passes its share (1024 bytes for
** the file, 512 for any other part) ends in "…".  A Diag never allocates beyond
** its own bounded buffer, so it works when memory is out.
** Threads: a Diag belongs to one thread at a time. */
#ifndef VLPC_BASE_DIAG_H
#define VLPC_BASE_DIAG_H

#include "base/status.h"

#define DIAG_MAX 20

typedef enum {
#define E(code, name, status, text) DIAG_##name,
#include "base/errors.def"
#undef E
  DIAG__COUNT
} DiagCode;

typedef struct {
  const char *file;  /* as the user named it; NULL when there is none */
  const char *place; /* "node 412 '/text/MatMul' (MatMul, opset 17)", "byte
                        80", …; NULL when the whole file is meant */
} DiagAt;

#define DIAG_NOWHERE ((DiagAt){NULL, NULL})

typedef struct Diag Diag;

/* A Diag on the heap; NULL when memory is out (every diag_ call takes NULL). */
Diag *diag_new(void);
void diag_free(Diag *d);
void diag_clear(Diag *d);

/* Adds an error and returns the status of its row.  Messages after the
** DIAG_MAX-th are counted, not kept. */
VlStatus diag_error(Diag *d, DiagCode code, DiagAt at, const char *fmt, ...) VL_PRINTF(4, 5);
/* Parts of the last error. */
void diag_found(Diag *d, const char *fmt, ...) VL_PRINTF(2, 3);
void diag_expected(Diag *d, const char *fmt, ...) VL_PRINTF(2, 3);
void diag_note(Diag *d, const char *fmt, ...) VL_PRINTF(2, 3);
void diag_fix(Diag *d, const char *fmt, ...) VL_PRINTF(2, 3);

int diag_count(const Diag *d);        /* errors so far, kept or only counted */
VlStatus diag_status(const Diag *d);  /* status of the first error, or OK */
/* All messages as text, "" when there are none; "vlpc: and 3 more errors" at
** the end when some were only counted.  Valid until d changes. */
const char *diag_text(const Diag *d);
/* The kept messages as one JSON array (for --json) of objects with the keys
** code, status, file, place, message, found, expected, note and fix, null where
** a part is absent; "[]" when there are none.  Valid until d changes. */
const char *diag_json(const Diag *d);

const char *diag_code_name(DiagCode c); /* "E0203" */
const char *diag_code_text(DiagCode c); /* the row's sentence */

#endif
