/* SPDX-License-Identifier: Apache-2.0 */
/* step_photos.c - rows of photos that do not depend on what is learned: made once
** for each view that is kept, or for each batch. */
#include <string.h>

#include "train/step_int.h"

/* ---- what the step takes --------------------------------------------------- */

static VlStatus add_input(Photos *p, const char *entry, const vlpc_port *x, const StepSpec *spec,
                          Diag *d) {
  if (p->n == PHOTO_INPUTS || x->rank != 2 || x->dtype != VLPC_F32 || x->shape[1] < 1)
    return step_misfit(spec, d, "its step takes rows of photos that are not kept");
  p->in[p->n++] = (PhotoRows){.name = x->name, .entry = entry, .width = (uint64_t)x->shape[1]};
  return VLPC_OK;
}

static void make_room(Photos *p, const StepSpec *spec, Arena *a) {
  uint64_t photos = loader_passes(spec->loader) ? 0 : loader_count(spec->loader);
  uint64_t kept = photos * spec->views;
  for (uint32_t i = 0; i < p->n; i++) {
    p->in[i].rows = arena_array(a, float, spec->batch * p->in[i].width);
    if (kept) p->in[i].kept = arena_array(a, float, kept * p->in[i].width);
  }
  p->by_number = kept > 0;
  p->has = arena_array(a, bool, kept);
  p->slot = arena_array(a, uint32_t, spec->batch);
  p->todo = arena_array(a, uint32_t, spec->batch);
  p->place = arena_array(a, uint32_t, spec->batch);
}

/* Views that no epoch takes again are not worth keeping. */
static VlStatus open_features(Photos *p, const StepSpec *spec, Arena *a, Diag *d) {
  FeaturesSpec kept = {.dir = spec->kept.dir, .most = spec->kept.most,
                       .in_memory = !p->by_number};
  Str of = {.arena = a};
  if (!spec->views) return VLPC_OK;
  str_printf(&of, "%s", spec->kept.of);
  for (uint32_t i = 0; i < p->n; i++) {
    str_printf(&of, "\n%s %s", p->in[i].entry, p->in[i].name);
    kept.width += p->in[i].width;
  }
  kept.of = str_text(&of);
  p->key = arena_array(a, Hash128, spec->batch);
  p->row = arena_array(a, float, kept.width);
  return features_open(&kept, a, d, &p->features);
}

VlStatus photos_new(const StepSpec *spec, const char *entry, Arena *a, Diag *d, Photos *out) {
  vlpc_port x = {.struct_size = sizeof x};
  const char *images = train_entries[spec->stage].images;
  *out = (Photos){.n = 0};
  for (uint32_t i = 0; step_port(spec, entry, VLPC_INPUT, i, &x); i++) {
    const char *from = NULL;
    if (step_has(spec, images, VLPC_OUTPUT, x.name)) from = images;
    if (strcmp(x.name, "image_features") == 0) from = "image";
    if (from) VL_TRY(add_input(out, from, &x, spec, d));
  }
  if (out->n == 0) return VLPC_OK;
  make_room(out, spec, a);
  return open_features(out, spec, a, d);
}

/* ---- making rows ----------------------------------------------------------- */

static size_t row_bytes(const PhotoRows *x) { return (size_t)x->width * sizeof(float); }

static float *kept_row(const PhotoRows *x, uint32_t slot) { return x->kept + slot * x->width; }

static float *row_of(const PhotoRows *x, uint32_t place) { return x->rows + place * x->width; }

/* Takes rows that are kept; which photos of the batch have none is in todo. */
static uint32_t find_todo(Photos *p, const StepSpec *spec, const StepBatch *b) {
  uint32_t n = 0, view = spec->views ? b->epoch % spec->views : 0;
  for (uint32_t i = 0; i < b->n; i++) {
    p->slot[i] = b->photo[i] * spec->views + view;
    if (p->by_number && p->has[p->slot[i]]) {
      for (uint32_t k = 0; k < p->n; k++)
        memcpy(row_of(&p->in[k], i), kept_row(&p->in[k], p->slot[i]), row_bytes(&p->in[k]));
    } else {
      p->todo[n] = b->photo[i];
      p->place[n++] = i;
    }
  }
  return n;
}

/* Runs an entry on n photos; true outputs go to the rows of the batch. */
static VlStatus run_entry(Photos *p, const StepSpec *spec, const char *entry, uint32_t n) {
  VL_TRY(vlpc_session_run(spec->session, entry));
  for (uint32_t i = 0; i < p->n; i++) {
    PhotoRows *x = &p->in[i];
    vlpc_tensor t;
    if (strcmp(x->entry, entry) != 0) continue;
    VL_TRY(vlpc_session_output(spec->session, entry, x->name, &t));
    for (uint32_t k = 0; k < n; k++)
      memcpy(row_of(x, p->place[k]), (const float *)t.data + k * x->width, row_bytes(x));
  }
  return VLPC_OK;
}

/* The entry that input i is the first to need, with n photos set; NULL: it runs already. */
static VlStatus set_entry(const Photos *p, const StepSpec *spec, uint32_t i,
                          const PhotoPixels *photos, const char **out) {
  vlpc_tensor image = {photos->at, VLPC_F32, 4, {photos->n, 3}};
  int32_t width, height;
  *out = NULL;
  for (uint32_t k = 0; k < i; k++)
    if (strcmp(p->in[k].entry, p->in[i].entry) == 0) return VLPC_OK;
  *out = p->in[i].entry;
  loader_size(spec->loader, &width, &height);
  image.shape[2] = height, image.shape[3] = width;
  return vlpc_session_set_input(spec->session, *out, "image", &image);
}

static VlStatus run_entries(Photos *p, const StepSpec *spec, const PhotoPixels *photos) {
  const char *entry;
  for (uint32_t i = 0; i < p->n; i++) {
    VL_TRY(set_entry(p, spec, i, photos, &entry));
    if (entry) VL_TRY(run_entry(p, spec, entry, photos->n));
  }
  return VLPC_OK;
}

VlStatus photos_plan(const Photos *p, const StepSpec *spec, float *pixels, vlpc_plan *out) {
  PhotoPixels photos = {pixels, spec->batch};
  const char *entry;
  for (uint32_t i = 0; i < p->n; i++) {
    vlpc_plan x = {.struct_size = sizeof x};
    VL_TRY(set_entry(p, spec, i, &photos, &entry));
    if (!entry) continue;
    VL_TRY(vlpc_session_plan(spec->session, entry, 0, &x));
    out->activation_bytes = VL_MAX(out->activation_bytes, x.activation_bytes);
    out->used = out->used && x.used;
  }
  return VLPC_OK;
}

/* ---- rows that are kept ---------------------------------------------------- */

/* The rows of a photo of the batch, to where they are found by its number. */
static void keep_row(Photos *p, uint32_t place) {
  uint32_t slot = p->slot[place];
  if (!p->by_number) return;
  for (uint32_t i = 0; i < p->n; i++)
    memcpy(kept_row(&p->in[i], slot), row_of(&p->in[i], place), row_bytes(&p->in[i]));
  p->has[slot] = true;
}

/* Takes those of n photos whose rows are found by what they show; how many are left is *n. */
static VlStatus take_found(Photos *p, const StepSpec *spec, uint32_t view, Diag *d, uint32_t *n) {
  uint32_t left = 0;
  if (!p->features || *n == 0) return VLPC_OK;
  VL_TRY(loader_keys(spec->loader, &(LoaderPhotos){view, p->todo, *n}, d, p->key));
  for (uint32_t k = 0; k < *n; k++) {
    const float *row = features_find(p->features, &p->key[k]);
    uint32_t place = p->place[k];
    for (uint32_t i = 0; row && i < p->n; row += p->in[i++].width)
      memcpy(row_of(&p->in[i], place), row, row_bytes(&p->in[i]));
    if (row) keep_row(p, place);
    else p->todo[left] = p->todo[k], p->place[left] = place, p->key[left++] = p->key[k];
  }
  *n = left;
  return VLPC_OK;
}

/* Keeps rows of the batch that were made, of n photos. */
static void keep_made(Photos *p, uint32_t n) {
  for (uint32_t k = 0; k < n; k++) {
    float *to = p->row;
    keep_row(p, p->place[k]);
    if (!p->features) continue;
    for (uint32_t i = 0; i < p->n; to += p->in[i++].width)
      memcpy(to, row_of(&p->in[i], p->place[k]), row_bytes(&p->in[i]));
    features_add(p->features, &p->key[k], p->row);
  }
}

VlStatus photos_rows(Photos *p, const StepSpec *spec, const StepBatch *b, float *pixels,
                     Diag *d) {
  uint32_t epoch = spec->views ? b->epoch % spec->views : b->epoch;
  if (p->n == 0) return VLPC_OK;
  uint32_t n = find_todo(p, spec, b);
  VL_TRY(take_found(p, spec, epoch, d, &n));
  if (n > 0) {
    VL_TRY(loader_photos(spec->loader, &(LoaderPhotos){epoch, p->todo, n}, d, pixels));
    VL_TRY(run_entries(p, spec, &(PhotoPixels){pixels, n}));
  }
  keep_made(p, n);
  return VLPC_OK;
}
