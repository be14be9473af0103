/* SPDX-License-Identifier: Apache-2.0 */
/* manifest_int.h - the reader that manifest.c and manifest_prompts.c share. */
#ifndef VLPC_RUNTIME_MANIFEST_INT_H
#define VLPC_RUNTIME_MANIFEST_INT_H

#include <jansson.h>

#include "runtime/manifest.h"

typedef struct {
  const Program *p;
  Arena *a;
  const char *file;
  Diag *d;
  Manifest *m;
} ManifestReader;

/* manifest.c */

/* DIAG_MANIFEST at a key. */
VlStatus manifest_bad(ManifestReader *r, const char *place, const char *what);
/* A text of the object; NULL when it is null, absent or no text. */
const char *manifest_text(ManifestReader *r, json_t *o, const char *key);
/* NULL when there is none. */
const ManifestEntry *manifest_entry(const ManifestReader *r, const char *name);

/* manifest_prompts.c */

/* Nothing when there is no method. */
void manifest_write_prompts(const ManifestPrompts *m, Str *out);
/* Fills r->m->prompts from o, which may be NULL; the entries have been read. */
VL_MUST_USE VlStatus manifest_read_prompts(ManifestReader *r, json_t *o);

#endif
