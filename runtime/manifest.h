/* SPDX-License-Identifier: Apache-2.0 */
/* manifest.h - what a user may know of an artifact without its program: facts
** of the model, names of entries, inputs and outputs, stream points, and which
** entry does what for the easy path.
**
** It is JSON.  Types and shapes in it are for people; the program's are what
** counts. */
#ifndef VLPC_RUNTIME_MANIFEST_H
#define VLPC_RUNTIME_MANIFEST_H

#include "base/program.h"
#include "base/str.h"

typedef struct {
  const char *name;           /* as in the program */
  const char *const *aliases; /* NULL-terminated; NULL: none */
} ManifestPort;

typedef struct {
  const char *name;
  uint32_t n_in, n_out; /* ports in the program's order */
  ManifestPort *in, *out;
} ManifestEntry;

/* The entry that turns photos or texts into features. */
typedef struct {
  const char *entry; /* NULL: the artifact has none */
  const char *input; /* f32 [n, 3, size, size], or i64 / i32 [n, context] */
  const char *mask;  /* of texts: 1 up to the end token, then 0; NULL: none */
  const char *output; /* f32 [n, embed] */
  /* of texts: the entry that does the same on packed rows (inputs row_ids,
  ** row_positions, run_bounds, row_ends; outputs in the same order).  It is the last entry
  ** and not for callers; NULL: none */
  const char *rows;
  int64_t eot; /* with rows: a text ends at the first id of this value; -1: at the
                  first of its largest */
} ManifestRole;

typedef struct {
  const char *compiler;  /* version of vlpc */
  const char *model;     /* "clip" */
  const char *precision; /* "fp32" */
  int32_t image_size, context_length, embed_dim; /* 0: not known */
  double logit_scale; /* factor of cosines; 0: not known */
  ManifestRole image, text;
  uint32_t n_entries, n_points;
  ManifestEntry *entries; /* in the program's order */
  const char **points;
} Manifest;

void manifest_write(const Manifest *m, const Program *p, Str *out);
/* Reads hostile JSON and checks every name against the program.  Texts are on
** the arena.  Fails with MANIFEST, NOMEM. */
VL_MUST_USE VlStatus manifest_read(const void *bytes, size_t n, const Program *p, Arena *a,
                                   const char *file, Diag *d, Manifest *out);

/* Text of a size: "77", "batch", "2*batch + 1". */
const char *manifest_size_text(const DimTable *t, DimId d, Arena *a);

#endif
