/* SPDX-License-Identifier: Apache-2.0 */
/* features.h - rows of features of photos that are kept between runs, as an entry of a
** private folder (base/cache.h).
**
** What makes rows (code, weights, preprocessing) decides the entry; a photo's bytes and
** what was drawn for it decide a row.  So a row that is found has the very bits that would
** be computed.  The payload is rows one behind the other: a key of 16 bytes and `width`
** floats.  Where its bytes are not enough for all, rows that were made last stay.
**
** Keeping rows is an extra: where the entry is damaged or cannot be written, rows are
** made again. */
#ifndef VLPC_TRAIN_FEATURES_H
#define VLPC_TRAIN_FEATURES_H

#include "base/cache.h"
#include "base/map.h"

#define FEATURES_MAX ((uint64_t)256 << 20)

typedef struct {
  const char *dir; /* NULL: there is no file */
  const char *of;  /* what makes the rows, in full */
  uint64_t width;  /* floats of a row, at least 1 */
  uint64_t most;   /* bytes of the payload, FEATURES_MAX at most */
  bool in_memory;  /* without a file, rows are kept as long as the arena */
} FeaturesSpec;

typedef struct Features Features;

/* On the arena, NULL where nothing is kept.  Fails with CACHE_UNSAFE. */
VL_MUST_USE VlStatus features_open(const FeaturesSpec *spec, Arena *a, Diag *d, Features **out);
/* The row, which stays as it is; NULL: there is none, as for a NULL f. */
const float *features_find(Features *f, const Hash128 *key);
/* Copies a row that is not there, as long as those added are not more than `most` bytes.
** Takes a NULL f. */
void features_add(Features *f, const Hash128 *key, const float *row);
/* Adds how many rows were found, and how many added. */
void features_count(const Features *f, uint64_t *found, uint64_t *made);
/* Writes the entry when rows were added since; others' rows in it stay.  Takes a NULL f. */
void features_keep(Features *f);

#endif
