/* SPDX-License-Identifier: Apache-2.0 */
/* easy_int.h - what the files of the easy path share: easy.c (photos, and the
** outward calls), easy_sets.c (photos of several prompt sets), easy_text.c (texts),
** labels.c (labels), classify.c (probabilities), attention.c (maps) and tokens.c (rows
** of tokens). */
#ifndef VLPC_RUNTIME_EASY_INT_H
#define VLPC_RUNTIME_EASY_INT_H

#include "runtime/session.h"

#define EASY_MAX_CHUNK 4096 /* rows of an entry that takes a fixed number of them */

/* An entry that makes features, with what a chunk needs. */
typedef struct {
  const ManifestRole *role;
  Bound *bound;
  const ProgBuf *in, *mask, *out; /* mask may be NULL */
  uint32_t chunk;                 /* rows of one run */
  bool fixed;                     /* always runs whole chunks */
  int32_t context;                /* texts: ids of a row */
} Role;

/* easy.c */

/* DIAG_NOMEM, and DIAG_NOT_CLASSIFIER with a fix. */
VlStatus easy_no_memory(vlpc_session *s, const char *what);
VlStatus easy_lacks(vlpc_session *s, const char *what, const char *fix);
VL_MUST_USE VlStatus easy_role(vlpc_session *s, const ManifestRole *role, const char *what,
                               uint32_t chunk, Role *r);
/* The first n rows of the output of the entry's last run, each to unit length. */
VL_MUST_USE VlStatus easy_features(vlpc_session *s, const Role *r, uint32_t n, float *out);
/* Before the memory that they point to goes; prompts stay. */
void easy_forget_inputs(Bound *b);
VL_MUST_USE VlStatus easy_embed_dim(vlpc_session *s, uint32_t *out);
/* Takes the first n rows of what a run of an entry made, each of width floats. */
typedef struct {
  VlStatus (*take)(vlpc_session *s, const Role *r, uint32_t n, float *out);
  uint32_t width;
} PhotoRows;
/* Photos through an entry that takes them as the image entry does: out[n, width]. */
VL_MUST_USE VlStatus easy_run_photos(vlpc_session *s, const ManifestRole *role,
                                     const PhotoRows *to, const vlpc_image *images, uint32_t n,
                                     float *out);
/* Features of unit length: out[n, embed]. */
VL_MUST_USE VlStatus easy_photos(vlpc_session *s, const vlpc_image *images, uint32_t n, float *out);
/* What an entry's port of a name, or an alias, is held in; NULL: it has none. */
const ProgBuf *easy_port(const Model *m, const ProgEntry *e, vlpc_direction dir,
                         const char *name);
int easy_input(const Model *m, const ProgEntry *e, const char *name); /* -1: none */

/* tokens.c */

/* Rows of the token table: *out is f32[n, width], until the next call. */
VL_MUST_USE VlStatus tokens_rows(vlpc_session *s, int64_t *ids, int64_t n, vlpc_tensor *out);

/* easy_sets.c */

/* A row of floats for each photo. */
typedef VlStatus PhotosFn(vlpc_session *s, const vlpc_image *images, uint32_t n, float *out);

/* fn on photos that may name prompt sets: out[n, width]. */
VL_MUST_USE VlStatus easy_by_sets(vlpc_session *s, const vlpc_image *images, uint32_t n,
                                  uint32_t width, PhotosFn *fn, float *out);

/* easy_text.c */

/* Texts through an entry that takes them. */
typedef struct {
  const ManifestRole *role;
  const char *const *texts;
  const char *const *names; /* of the texts' classes, for errors; NULL: they have none */
  uint32_t n;
  const int64_t *name_lengths; /* tokens of each text's name; NULL: not known */
  float *image;                /* features of the image that texts are of; NULL: of none */
  float *features;             /* out[n, embed] of unit length, or NULL */
  ClassValue *value;           /* outputs to be kept whole, on the heap */
  uint32_t n_values;
} TextJob;

VL_MUST_USE VlStatus easy_texts(vlpc_session *s, const TextJob *job);
/* The job's texts have as many rows as the model takes, or TEXT_ROWS. */
VL_MUST_USE VlStatus easy_texts_fit(vlpc_session *s, const TextJob *job);
/* Token ids of a text: the model's context, or ids[cap].  *n_used counts those up to
** and with the end token. */
VL_MUST_USE VlStatus easy_tokens(vlpc_session *s, const char *text, int64_t *ids, uint32_t cap,
                                 uint32_t *n_used);
int32_t easy_context(const vlpc_session *s); /* tokens of a text, padded; needs a tokenizer */

#define PATTERN_MAX (2 * MANIFEST_MAX_SLOT + 16)
#define PLAIN_PATTERN "a photo of a {}."
#define IDS_MAX 4096 /* context of a model whose tokens are counted */

/* label_inputs.c */

/* Before the labels go: inputs that point to what is made of them. */
void labels_forget_inputs(vlpc_session *s);

/* labels.c */

/* The labels in a template, on the heap. */
VL_MUST_USE VlStatus labels_fill(vlpc_session *s, const Labels *l, const char *pattern,
                                 char ***out);
void labels_free_texts(char **texts, uint32_t n);
/* Template of labels when the caller gives none. */
const char *labels_own_pattern(const vlpc_session *s, char own[PATTERN_MAX]);
/* An entry of texts, other than e, that has an output of this name; NULL: none. */
const ProgEntry *labels_source(const Model *m, const ProgEntry *e, const char *name);
/* An output of an entry of texts, of the labels in a template. */
VL_MUST_USE VlStatus labels_plain(vlpc_session *s, const Labels *l, const char *pattern,
                                  const ProgEntry *from, ClassValue *v);

VL_MUST_USE VlStatus labels_set(vlpc_session *s, const char *const *labels, uint32_t n,
                                const char *pattern);
/* Features of the labels with the prompts in use. */
VL_MUST_USE VlStatus labels_embed(vlpc_session *s, float *out);
/* When the image entry takes results of the labels' texts, gives it these. */
VL_MUST_USE VlStatus labels_for_photos(vlpc_session *s);
/* True when the texts are those of one image at a time. */
bool labels_follow_images(const Model *m);
/* Features of the labels with the prompts in use: [n, embed], the session's; NULL where
** they follow images.  Fails where there are no labels. */
VL_MUST_USE VlStatus labels_features(vlpc_session *s, const float **out);
/* Those of one image, whose features go in: features[n, embed]. */
VL_MUST_USE VlStatus labels_of_image(vlpc_session *s, float *image, float *features);
/* The labels' template as the caller or the prompt set said it; NULL: the module's. */
const char *labels_pattern(const vlpc_session *s);

/* classify.c */

VL_MUST_USE VlStatus labels_classify(vlpc_session *s, const vlpc_image *images, uint32_t n,
                                     float *out);

#endif
