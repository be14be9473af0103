/* SPDX-License-Identifier: Apache-2.0 */
/* loader.h - batches of photos as the image tower takes them.
**
** A batch is asked for by (epoch, number); what is in it depends on the seed and
** these alone, so a resumed run sees what the unbroken one would have, and any
** number of threads gives the same bytes.  Photos of one batch are decoded,
** augmented and normalised in parallel. */
#ifndef VLPC_TRAIN_LOADER_H
#define VLPC_TRAIN_LOADER_H

#include "base/thread.h"
#include "runtime/preprocess.h"
#include "train/augment.h"
#include "train/dataset.h"

typedef struct {
  const Dataset *data;
  SplitId split;
  uint64_t seed;
  uint32_t batch;         /* photos, at least 1 */
  bool train;             /* shuffled, augmented, last partial batch dropped */
  /* The photos of the split are those of the next batch, and others for each: an epoch is
  ** one batch, in their order. */
  bool passing;
  const Augment *augment; /* NULL: as in evaluation, also while training */
  Preprocess preprocess;
  ThreadPool *pool;
} LoaderSpec;

typedef struct {
  uint32_t n;            /* photos in it */
  float *pixels;         /* [n, 3, height, width] */
  uint32_t *label;       /* [n] */
  uint32_t *item;        /* [n] numbers in the split */
} Batch;

typedef struct Loader Loader;

/* What spec points to must outlive the loader, which is on the arena.  Fails
** with DATA_SPLIT when the split is empty. */
VL_MUST_USE VlStatus loader_new(const LoaderSpec *spec, Arena *a, Diag *d, Loader **out);
/* Batches of an epoch: n / batch when training and n >= batch; otherwise the
** last may be partial. */
uint32_t loader_batches(const Loader *l);
/* The order of an epoch's photos: out[loader_count] numbers in the split, a batch at most
** where they pass. */
uint32_t loader_count(const Loader *l);
bool loader_passes(const Loader *l);
void loader_order(const Loader *l, uint32_t epoch, uint32_t *out);
/* Sides of a photo as it is given out. */
void loader_size(const Loader *l, int32_t *width, int32_t *height);
/* Some photos, n at most a batch, as an epoch sees them: out[n, 3, height, width].  Fails as
** loader_batch does. */
typedef struct {
  uint32_t epoch;
  const uint32_t *photo; /* numbers in the split */
  uint32_t n;
} LoaderPhotos;
/* Of each of them, a hash of all that decides its pixels but the preprocessing. */
VL_MUST_USE VlStatus loader_keys(Loader *l, const LoaderPhotos *p, Diag *d, Hash128 *out);
VL_MUST_USE VlStatus loader_photos(Loader *l, const LoaderPhotos *p, Diag *d, float *out);
/* Batch number i of an epoch.  *out holds until the next call.  A photo that
** cannot be read fails the batch, with the message of the first such photo. */
VL_MUST_USE VlStatus loader_batch(Loader *l, uint32_t epoch, uint32_t i, Diag *d, Batch *out);

#endif
