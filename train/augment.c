/* SPDX-License-Identifier: Apache-2.0 */
/* augment.c - torchvision's RandomResizedCrop.get_params (ten tries, then the
** largest centred box within the ratios) on Philox draws. */
#include "train/augment.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

#define TRIES 10
#define DRAWS_PER_TRY 4                /* area, ratio, y, x */
#define DRAWS_PER_PHOTO 64             /* room for tries and flip */
#define STREAM UINT64_C(0x61756700000000) /* "aug", above the epoch */

Augment augment_papers(int32_t side) {
  return (Augment){0.08, 1.0, 3.0 / 4.0, 4.0 / 3.0, 0.5, side, FILTER_bicubic};
}

static double draw(AugmentKey key, uint32_t i) {
  return rng_uniform((Rng){key.seed, STREAM | key.epoch}, key.photo * DRAWS_PER_PHOTO + i);
}

/* A place for n of have, each equally likely. */
static int64_t place(AugmentKey key, uint32_t i, int64_t have, int64_t n) {
  return (int64_t)(draw(key, i) * (double)(have - n + 1));
}

/* Rounded half to even, as Python's round. */
static int64_t rounded(double v) { return (int64_t)nearbyint(v); }

static AugmentBox centred(const Augment *g, int64_t width, int64_t height) {
  double ratio = (double)width / (double)height;
  AugmentBox b = {0, 0, width, height, false};
  if (ratio < g->ratio_min) b.h = rounded((double)width / g->ratio_min);
  if (ratio > g->ratio_max) b.w = rounded((double)height * g->ratio_max);
  b.w = VL_MAX(VL_MIN(b.w, width), 1);
  b.h = VL_MAX(VL_MIN(b.h, height), 1);
  b.x = (width - b.w) / 2;
  b.y = (height - b.h) / 2;
  return b;
}

AugmentBox augment_draw(const Augment *g, AugmentKey key, int64_t width, int64_t height) {
  double lo = log(g->ratio_min), hi = log(g->ratio_max), area = (double)(width * height);
  AugmentBox b = {0};
  bool found = false;
  for (uint32_t t = 0; t < TRIES && !found; t++) {
    uint32_t i = t * DRAWS_PER_TRY;
    double target = area * (g->scale_min + draw(key, i) * (g->scale_max - g->scale_min));
    double ratio = exp(lo + draw(key, i + 1) * (hi - lo));
    b.w = rounded(sqrt(target * ratio));
    b.h = rounded(sqrt(target / ratio));
    found = b.w > 0 && b.w <= width && b.h > 0 && b.h <= height;
    if (!found) continue;
    b.y = place(key, i + 2, height, b.h);
    b.x = place(key, i + 3, width, b.w);
  }
  if (!found) b = centred(g, width, height);
  b.flip = draw(key, TRIES * DRAWS_PER_TRY) < g->flip;
  return b;
}

static void flip_rows(uint8_t *pixels, int64_t side) {
  for (int64_t y = 0; y < side; y++) {
    uint8_t *l = pixels + y * side * 3, *r = l + (side - 1) * 3;
    for (; l < r; l += 3, r -= 3)
      for (int c = 0; c < 3; c++) {
        uint8_t t = l[c];
        l[c] = r[c];
        r[c] = t;
      }
  }
}

VlStatus augment_pixels(const Augment *g, const AugmentBox *b, const Image *im, const char *name,
                        Diag *d, uint8_t *out) {
  VL_ASSERT(b->x >= 0 && b->w > 0 && b->x + b->w <= im->width);
  VL_ASSERT(b->y >= 0 && b->h > 0 && b->y + b->h <= im->height);
  size_t row = (size_t)b->w * 3, stride = (size_t)im->width * 3;
  /* The box alone: what lies beside it must not weigh in at its edges. */
  uint8_t *box = malloc(row * (size_t)b->h);
  VlStatus st = box != NULL ? VLPC_OK : VLPC_E_NOMEM;
  for (int64_t y = 0; box != NULL && y < b->h; y++)
    memcpy(box + row * (size_t)y, im->pixels + stride * (size_t)(b->y + y) + b->x * 3, row);
  Resize r = {.src = box, .src_w = b->w, .src_h = b->h, .out_w = g->side, .out_h = g->side,
              .w = g->side, .h = g->side, .filter = g->filter};
  if (st == VLPC_OK) st = resize_window(&r, out, (size_t)g->side * 3);
  free(box);
  if (st != VLPC_OK)
    return diag_error(d, DIAG_NOMEM, (DiagAt){name, NULL}, "no memory to resize this image");
  if (b->flip) flip_rows(out, g->side);
  return VLPC_OK;
}
