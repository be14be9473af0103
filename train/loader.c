/* SPDX-License-Identifier: Apache-2.0 */
/* loader.c - order of an epoch, and one photo after the other into its place.
**
** Threads work without a Diag, which belongs to one thread; what failed is done
** again by the caller to have its message, so that the first bad photo of a
** batch is named whichever thread met one first. */
#include "train/loader.h"

#include <stdlib.h>

#include "base/rng.h"

#define STREAM UINT64_C(0x6f726400000000) /* "ord", above the epoch */

struct Loader {
  LoaderSpec spec;
  const ItemList *items;
  uint32_t *order; /* of epoch order_epoch */
  uint32_t order_epoch;
  bool ordered;
  int32_t width, height;
  float *pixels;
  uint32_t *label;
  VlStatus *status;
};

VlStatus loader_new(const LoaderSpec *spec, Arena *a, Diag *d, Loader **out) {
  const ItemList *items = &spec->data->split[spec->split];
  VL_CHECK(spec->batch > 0, "loader_new: no batch");
  uint32_t most = spec->passing ? spec->batch : items->n;
  if (most == 0) {
    VlStatus st = diag_error(d, DIAG_DATA_SPLIT, DIAG_NOWHERE, "the %s split has no photos",
                             split_name(spec->split));
    diag_fix(d, "name a data set that has this split");
    return st;
  }
  Loader *l = arena_one(a, Loader);
  *l = (Loader){.spec = *spec, .items = items};
  uint32_t n = VL_MIN(spec->batch, most);
  preprocess_size(&spec->preprocess, &l->width, &l->height);
  if (spec->train && spec->augment != NULL) l->width = l->height = spec->augment->side;
  l->order = arena_array(a, uint32_t, most);
  l->label = arena_array(a, uint32_t, n);
  l->status = arena_array(a, VlStatus, n);
  uint64_t floats = (uint64_t)l->width * (uint64_t)l->height * 3; /* sides are bounded */
  l->pixels = arena_array_bytes(a, n, (size_t)floats * sizeof(float));
  *out = l;
  return VLPC_OK;
}

void loader_size(const Loader *l, int32_t *width, int32_t *height) {
  *width = l->width;
  *height = l->height;
}

uint32_t loader_count(const Loader *l) { return l->spec.passing ? l->spec.batch : l->items->n; }

bool loader_passes(const Loader *l) { return l->spec.passing; }

uint32_t loader_batches(const Loader *l) {
  uint32_t n = loader_count(l), batch = l->spec.batch, full = n / batch;
  return l->spec.train && full > 0 ? full : full + (n % batch != 0);
}

void loader_order(const Loader *l, uint32_t epoch, uint32_t *out) {
  Rng r = {l->spec.seed, STREAM | epoch};
  for (uint32_t i = 0; i < l->items->n; i++) out[i] = i;
  for (uint32_t i = l->items->n; l->spec.train && !l->spec.passing && i-- > 1;) {
    uint32_t j = (uint32_t)(rng_uniform(r, i) * (double)(i + 1)), t = out[i];
    out[i] = out[j];
    out[j] = t;
  }
}

/* ---- one photo ---------------------------------------------------------- */

/* Crop as drawn, then the normalisation of the artifact. */
static VlStatus augmented(const Loader *l, AugmentKey key, const Image *im, Diag *d, float *out) {
  const Augment *g = l->spec.augment;
  const char *name = l->items->at[key.photo].path;
  AugmentBox b = augment_draw(g, key, im->width, im->height);
  size_t n = (size_t)g->side * (size_t)g->side;
  uint8_t *pixels = malloc(n * 3);
  if (pixels == NULL)
    return diag_error(d, DIAG_NOMEM, (DiagAt){name, NULL}, "no memory to resize this image");
  VlStatus st = augment_pixels(g, &b, im, name, d, pixels);
  if (st == VLPC_OK) preprocess_normalise(&l->spec.preprocess, pixels, n, out);
  free(pixels);
  return st;
}

static bool is_augmented(const Loader *l) { return l->spec.train && l->spec.augment != NULL; }

static VlStatus load_photo(const Loader *l, uint32_t epoch, uint32_t photo, Diag *d, float *out) {
  const Item *it = &l->items->at[photo];
  Image im;
  VL_TRY(dataset_open_photo(l->spec.data, it, d, &im));
  VlStatus st = is_augmented(l)
                    ? augmented(l, (AugmentKey){l->spec.seed, epoch, photo}, &im, d, out)
                    : preprocess_image(&l->spec.preprocess, &im, it->path, d, out);
  dataset_close_photo(it, &im);
  return st;
}

/* ---- a batch ------------------------------------------------------------ */

typedef struct {
  const Loader *loader;
  uint32_t epoch;
  const uint32_t *photo;
  size_t floats; /* of one photo */
  float *out;
} Work;

static void work(void *ctx, int64_t begin, int64_t end, int thread) {
  const Work *w = ctx;
  (void)thread;
  for (int64_t i = begin; i < end; i++)
    w->loader->status[i] =
        load_photo(w->loader, w->epoch, w->photo[i], NULL, w->out + w->floats * (size_t)i);
}

VlStatus loader_photos(Loader *l, const LoaderPhotos *p, Diag *d, float *out) {
  size_t floats = (size_t)l->width * (size_t)l->height * 3;
  Work w = {l, p->epoch, p->photo, floats, out};
  VL_CHECK(p->n <= l->spec.batch, "loader_photos: more than a batch");
  threads_run(l->spec.pool, p->n, work, &w);
  for (uint32_t j = 0; j < p->n; j++)
    if (l->status[j] != VLPC_OK)
      VL_TRY(load_photo(l, p->epoch, p->photo[j], d, out + floats * j));
  return VLPC_OK;
}

/* An augmented photo's key has also what its crop is drawn from. */
static VlStatus key_of(const Loader *l, uint32_t epoch, uint32_t photo, Diag *d, Hash128 *out) {
  const Augment *g = l->spec.augment;
  VL_TRY(dataset_hash_photo(l->spec.data, &l->items->at[photo], d, out));
  if (!is_augmented(l)) return VLPC_OK;
  struct {
    Hash128 photo;
    double range[5];
    uint64_t of[5];
  } drawn = {*out,
             {g->scale_min, g->scale_max, g->ratio_min, g->ratio_max, g->flip},
             {(uint64_t)g->side, g->filter, l->spec.seed, epoch, photo}};
  *out = hash_128(&drawn, sizeof drawn, 0);
  return VLPC_OK;
}

VlStatus loader_keys(Loader *l, const LoaderPhotos *p, Diag *d, Hash128 *out) {
  for (uint32_t j = 0; j < p->n; j++) VL_TRY(key_of(l, p->epoch, p->photo[j], d, &out[j]));
  return VLPC_OK;
}

VlStatus loader_batch(Loader *l, uint32_t epoch, uint32_t i, Diag *d, Batch *out) {
  VL_CHECK(i < loader_batches(l), "loader_batch: no such batch");
  if (!l->ordered || l->order_epoch != epoch) loader_order(l, epoch, l->order);
  l->ordered = true;
  l->order_epoch = epoch;
  uint32_t from = i * l->spec.batch, n = VL_MIN(l->spec.batch, l->items->n - from);
  VL_TRY(loader_photos(l, &(LoaderPhotos){epoch, l->order + from, n}, d, l->pixels));
  for (uint32_t j = 0; j < n; j++) l->label[j] = l->items->at[l->order[from + j]].label;
  *out = (Batch){n, l->pixels, l->label, l->order + from};
  return VLPC_OK;
}
