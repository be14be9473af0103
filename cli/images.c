/* SPDX-License-Identifier: Apache-2.0 */
/* images.c - images in batches.  When a batch fails, its images are done one by
** one, so that a bad one is known by itself. */
#include "cli/images.h"

#include <string.h>

#include "cli/progress.h"

/* True for what can be wrong with an image itself. */
static bool is_image_fault(VlStatus s) {
  return s == VLPC_E_BAD_FILE || s == VLPC_E_UNSUPPORTED || s == VLPC_E_LIMIT || s == VLPC_E_IO;
}

static VlStatus one_image(ImageWalk *w, uint32_t i, const char *path, float *row) {
  Cli *c = w->c;
  VlStatus s = w->fn(w->model->session, &(vlpc_image){.path = path}, 1, row);
  if (s == VLPC_OK) {
    w->done++;
    return w->take(w->user, i, path, row);
  }
  bool skip = opt_given(c, on_bad_image) && strcmp(opt(c, on_bad_image), "skip") == 0;
  if (!skip || !is_image_fault(s)) return fail_session(c, w->model, s);
  progress_clear();
  fputs(vlpc_session_error(w->model->session), stderr);
  w->skipped++;
  return VLPC_OK;
}

static VlStatus one_batch(ImageWalk *w, const TextList *list, uint32_t begin, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) w->image[i] = (vlpc_image){.path = list->at[begin + i]};
  bool whole = w->fn(w->model->session, w->image, n, w->rows) == VLPC_OK;
  for (uint32_t i = 0; i < n; i++) {
    float *row = w->rows + (size_t)i * w->width;
    if (!whole)
      VL_TRY(one_image(w, begin + i, list->at[begin + i], row));
    else
      VL_TRY(w->take(w->user, begin + i, list->at[begin + i], row));
  }
  if (whole) w->done += n;
  return VLPC_OK;
}

VlStatus images_walk(ImageWalk *w, const TextList *list) {
  int64_t batch;
  VL_TRY(opt_int(w->c, OPT_batch, (int64_t[]){1, 1024}, 8, &batch));
  uint64_t floats;
  if (!vl_mul_u64((uint64_t)batch, w->width, &floats)) floats = UINT64_MAX;
  w->rows = arena_array(w->c->arena, float, floats);
  w->image = arena_array(w->c->arena, vlpc_image, batch);
  for (uint32_t i = 0; i < list->n;) {
    uint32_t n = (uint32_t)VL_MIN((uint64_t)batch, (uint64_t)(list->n - i));
    VL_TRY(progress_check(w->c));
    VL_TRY(one_batch(w, list, i, n));
    i += n;
    progress_show(w->what, i, list->n);
  }
  progress_clear();
  if (w->skipped > 0) fprintf(stderr, "vlpc: skipped %u of %u images\n", w->skipped, list->n);
  return VLPC_OK;
}
