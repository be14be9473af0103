/* SPDX-License-Identifier: Apache-2.0 */
/* augment.h - the papers' training augmentation: torchvision's
** RandomResizedCrop and RandomHorizontalFlip on Pillow images.
**
** What is drawn depends on (seed, epoch, photo) alone, so it is the same for any
** number of threads, any order and after any resume; pixels are bit for bit those
** of Pillow's crop(box).resize(size, BICUBIC).transpose(FLIP_LEFT_RIGHT). */
#ifndef VLPC_TRAIN_AUGMENT_H
#define VLPC_TRAIN_AUGMENT_H

#include "runtime/image.h"
#include "runtime/resize.h"

typedef struct {
  double scale_min, scale_max; /* area of the box over the photo's */
  double ratio_min, ratio_max; /* width over height of the box */
  double flip;                 /* probability */
  int32_t side;                /* of the square result */
  Filter filter;
} Augment;

typedef struct {
  uint64_t seed;
  uint32_t epoch;
  uint64_t photo; /* its number in the data set */
} AugmentKey;

typedef struct {
  int64_t x, y, w, h; /* box inside the photo */
  bool flip;
} AugmentBox;

/* Scale 0.08 to 1, ratio 3/4 to 4/3, flip 0.5, bicubic. */
Augment augment_papers(int32_t side);
AugmentBox augment_draw(const Augment *g, AugmentKey key, int64_t width, int64_t height);
/* out is [side, side, 3]; name is for messages.  Fails with NOMEM only. */
VL_MUST_USE VlStatus augment_pixels(const Augment *g, const AugmentBox *b, const Image *im,
                                    const char *name, Diag *d, uint8_t *out);

#endif
