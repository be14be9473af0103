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
  /* Entries that stand in for it, with the same outputs in the same order; they are the
  ** last and not for callers; NULL: none.
  **   rows  on packed rows of texts: inputs row_ids, row_positions, run_bounds, row_ends,
  **         perhaps row_sources, and others of this one's (passes/pass.h says what they are)
  **   lean  with less memory, in more steps: with the same inputs; or the head of …
  **   ahead, back  of such a head: what runs before it and after it on packed rows, some
  **         classes at a time (runtime/chunks.c), with inputs and outputs of the entry that the
  **         head stands in for, and CHUNK_FEATURES and CHUNK_GRADIENT of base/train_entries.h
  **         between the three; they may be those of several heads */
  const char *rows, *lean, *ahead, *back;
  uint32_t n_in, n_out; /* ports in the program's order */
  ManifestPort *in, *out;
} ManifestEntry;

/* The entry that turns photos or texts into features. */
typedef struct {
  const char *entry; /* NULL: the artifact has none */
  const char *input; /* f32 [n, 3, size, size], or i64 / i32 [n, context] */
  const char *mask;  /* of texts: 1 up to the end token, then 0; NULL: none */
  const char *output; /* f32 [n, embed] */
  int64_t eot; /* of texts, with entries on rows: a text ends at the first id of this
                  value; -1: at the first of its largest */
} ManifestRole;

/* How a trainable of a fresh prompt set is filled. */
typedef enum {
  INIT_none,    /* not said: zeros */
  INIT_words,   /* token embeddings of text, from row `first` of them */
  INIT_normal,  /* normal with deviation value */
  INIT_uniform, /* uniform in (-value, value) */
  INIT_copy,    /* as the trainable that text names */
  INIT_fill,    /* value everywhere */
  INIT__COUNT
} ManifestInitKind;

typedef struct {
  ManifestInitKind kind;
  double value;
  const char *text;
  uint32_t first;
} ManifestInit;

/* A tensor of a prompt set.  It is an input, by this name, of every entry that
** depends on it; entries that only need what `prompts` makes of it do not have
** that input, and one for losses only is an input of none. */
typedef struct {
  const char *name;
  VlDtype dtype;
  uint32_t rank;
  int64_t size[VLPC_MAX_RANK];
  bool class_rows; /* axis 0 is the classes; size[0] may be -1: any number of them */
  ManifestInit init;
} ManifestTrainable;

/* What the module does at a point, for people (passes/link.h).  Numbers are -1 where
** they are not fixed. */
typedef struct {
  const char *point, *action; /* "keep", "insert", "overwrite", "drop", "replace" */
  const char *segment, *value, *per, *time; /* NULL: none */
  int64_t stream, first, rows;
  double mix[2];
} ManifestLayoutRow;

/* The prompt module that was linked in. */
typedef struct {
  const char *method; /* NULL: none, and nothing else here counts */
  const char *base;   /* hash of the model without prompts, 32 hex digits; NULL: not known */
  /* Learned rows of each text, behind its start token ("end": before the name,
  ** as in the papers), around the name ("middle"), or behind it ("front"). */
  uint32_t slot_rows;       /* 0: texts have none */
  const char *slot_place;   /* "end", "middle", "front"; NULL without slot_rows */
  bool slot_own;            /* the rows of each class are, or may be, its own */
  const char *slot_phrase;  /* words before a name, of which the slot replaces the first
                               rows; NULL: slot_rows words that stand for nothing ("X") */
  /* Texts of a class, "{}" its name, of which the features are averaged; 0: the slot's
  ** words before the name. */
  uint32_t n_templates;
  const char **templates;
  /* The entry that computes what depends on trainables only.  Its inputs are
  ** trainables; each of its outputs is an input, by the same name, of other entries.
  ** It stands behind the entries for callers; NULL: none. */
  const char *entry;
  bool loss_per_photo; /* its loss is the mean of those of the photos */
  const char *loss_weights; /* as the module states them; NULL: it does not */
  /* Texts of a class of which its loss takes the mean, without learned rows; 0: one text */
  uint32_t n_frozen_templates;
  const char **frozen_templates;
  uint32_t n_trainables;
  ManifestTrainable *trainable;
  uint32_t n_layout;
  ManifestLayoutRow *layout; /* point after point */
} ManifestPrompts;

#define MANIFEST_MAX_TRAINABLES 4096u
#define MANIFEST_MAX_LAYOUT 65536u
#define MANIFEST_MAX_TEMPLATES 1000u
#define MANIFEST_MAX_SLOT 1024u /* rows, and bytes of the phrase */

typedef struct {
  const char *compiler;  /* version of vlpc */
  const char *model;     /* "clip" */
  const char *precision; /* "fp32" */
  int32_t image_size, context_length, embed_dim; /* 0: not known */
  double logit_scale; /* factor of cosines; 0: not known */
  ManifestRole image, text;
  /* Scores of features, where a module changes them: input [n, embed] of images, and
  ** text_features beside it; output f32 [n, classes].  No entry: scaled cosines. */
  ManifestRole scores;
  ManifestPrompts prompts;
  uint32_t n_entries, n_points;
  uint32_t n_stand_ins;   /* of the entries */
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
