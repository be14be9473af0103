/* SPDX-License-Identifier: Apache-2.0 */
/* images.c - images in rounds, of which each process makes one batch.  When a batch fails,
** its images are done one by one, so that a bad one is known by itself. */
#include "cli/images.h"

#include <string.h>

#include "base/str.h"
#include "cli/progress.h"

/* True for what can be wrong with an image itself. */
static bool is_image_fault(VlStatus s) {
  return s == VLPC_E_BAD_FILE || s == VLPC_E_UNSUPPORTED || s == VLPC_E_LIMIT || s == VLPC_E_IO;
}

/* The rows that process i makes in a round; before them, 1 for each that is there. */
static float *rows_of(const ImageWalk *w, uint32_t i) {
  return w->made + (size_t)i * w->batch * (1 + (size_t)w->width) + w->batch;
}

static float *there(const ImageWalk *w, uint32_t i) { return rows_of(w, i) - w->batch; }

static VlStatus one_image(ImageWalk *w, const char *path, float *is_there, float *row) {
  Cli *c = w->c;
  VlStatus s = w->fn(w->model->session, &(vlpc_image){.path = path}, 1, row);
  if (s == VLPC_OK) {
    *is_there = 1;
    return VLPC_OK;
  }
  bool skip = opt_given(c, on_bad_image) && strcmp(opt(c, on_bad_image), "skip") == 0;
  if (!skip || !is_image_fault(s)) return fail_session(c, w->model, s);
  progress_clear();
  fputs(vlpc_session_error(w->model->session), stderr);
  return VLPC_OK;
}

/* This process's n images. */
static VlStatus make_batch(ImageWalk *w, const char *const *path, uint32_t n) {
  float *is_there = there(w, w->team->rank), *rows = rows_of(w, w->team->rank);
  VL_TRY(progress_check(w->c));
  for (uint32_t i = 0; i < n; i++) w->image[i] = (vlpc_image){.path = path[i]};
  bool whole = n == 0 || w->fn(w->model->session, w->image, n, rows) == VLPC_OK;
  for (uint32_t i = 0; i < n; i++) {
    if (whole) is_there[i] = 1;
    else VL_TRY(one_image(w, path[i], &is_there[i], rows + (size_t)i * w->width));
  }
  return VLPC_OK;
}

/* A round of n images, which all processes have in the end, unless one could not do its part
** or not take what the round before gave. */
static VlStatus make_round(ImageWalk *w, const TextList *list, uint32_t begin, uint32_t n,
                           VlStatus taken) {
  const Team *t = w->team;
  for (uint32_t i = 0; i < t->size; i++) memset(there(w, i), 0, w->batch * sizeof(float));
  uint32_t from = VL_MIN(t->rank * w->batch, n), to = VL_MIN(from + w->batch, n);
  VlStatus s = taken == VLPC_OK ? make_batch(w, list->at + begin + from, to - from) : taken;
  VL_TRY(team_agree(t, w->c, s, NULL));
  return team_gather(t, w->c, w->made, w->batch * (1 + (size_t)w->width));
}

/* The first process takes those of a round that are there, in order. */
static VlStatus take_round(ImageWalk *w, const TextList *list, uint32_t begin, uint32_t n) {
  for (uint32_t i = 0; w->team->rank == 0 && i < n; i++) {
    uint32_t process = i / w->batch, k = i % w->batch;
    const float *row = rows_of(w, process) + (size_t)k * w->width;
    if (there(w, process)[k] == 1) VL_TRY(w->take(w->user, begin + i, list->at[begin + i], row));
    else w->skipped++;
  }
  return VLPC_OK;
}

static VlStatus make_room(ImageWalk *w) {
  int64_t batch;
  uint64_t floats;
  VL_TRY(opt_int(w->c, OPT_batch, (int64_t[]){1, 1024}, 8, &batch));
  w->batch = (uint32_t)batch;
  if (!vl_mul_u64((uint64_t)batch * w->team->size, 1 + (uint64_t)w->width, &floats))
    floats = UINT64_MAX;
  w->made = arena_array(w->c->arena, float, floats);
  w->image = arena_array(w->c->arena, vlpc_image, batch);
  return VLPC_OK;
}

static VlStatus walk(ImageWalk *w, const TextList *list) {
  VlStatus taken = VLPC_OK;
  for (uint32_t i = 0, n; i < list->n; i += n) {
    n = (uint32_t)VL_MIN((uint64_t)w->batch * w->team->size, (uint64_t)(list->n - i));
    VlStatus s = make_round(w, list, i, n, taken);
    taken = take_round(w, list, i, n); /* also those before one that stops the walk */
    VL_TRY(s);
    progress_show(w->what, i + n, list->n);
  }
  return team_agree(w->team, w->c, taken, NULL);
}

static Hash128 hash_of(const TextList *list, Arena *a) {
  Str s = {.arena = a};
  for (uint32_t i = 0; i < list->n; i++) str_printf(&s, "%s\n", list->at[i]);
  return hash_128(str_text(&s), s.n, 0);
}

VlStatus images_walk(ImageWalk *w, const TextList *list) {
  VL_TRY(team_agree(w->team, w->c, make_room(w), NULL));
  VL_TRY(team_same(w->team, w->c, hash_of(list, w->c->arena), "images"));
  VL_TRY(walk(w, list));
  progress_clear();
  if (w->skipped > 0) fprintf(stderr, "vlpc: skipped %u of %u images\n", w->skipped, list->n);
  return VLPC_OK;
}
