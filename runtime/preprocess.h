/* SPDX-License-Identifier: Apache-2.0 */
/* preprocess.h - from a photo to the image tower's input, bit for bit as
** torchvision does it on a Pillow image: resize, centre crop, u8 / divisor,
** minus mean, over std, every step rounded to float32.
**
** A Preprocess is a plain value, immutable after it is made; threads share it. */
#ifndef VLPC_RUNTIME_PREPROCESS_H
#define VLPC_RUNTIME_PREPROCESS_H

#include "base/str.h"
#include "runtime/image.h"
#include "runtime/resize.h"

#define PREPROCESS_MAX_SIDE 4096
#define PREPROCESS_MAX_BYTES ((uint64_t)1 << 20) /* of a JSON file */

typedef enum {
  RESIZE_none,
  RESIZE_short, /* the short side becomes width (= height), ratio kept */
  RESIZE_exact  /* to width x height */
} ResizeRule;

typedef struct {
  ResizeRule resize;
  int32_t width, height; /* unused with RESIZE_none */
  Filter filter;
  bool crop; /* centre crop, zero padding where the image is smaller */
  int32_t crop_width, crop_height;
  float divisor; /* 255, or 1: values stay 0 … 255 */
  float mean[3], std[3];
} Preprocess;

/* preprocess.c */

/* CLIP's: short side 224, bicubic, crop 224, CLIP's mean and std. */
Preprocess preprocess_clip(int32_t side);
/* Size of the result: [3, height, width]. */
void preprocess_size(const Preprocess *p, int32_t *width, int32_t *height);
/* The pixels before normalisation: out is [height, width, 3].  name is for
** messages.  Fails with NOMEM only. */
VL_MUST_USE VlStatus preprocess_crop(const Preprocess *p, const Image *im, const char *name,
                                     Diag *d, uint8_t *out);
/* n pixels [n, 3] to [3, n]: over the divisor, minus mean, over std. */
void preprocess_normalise(const Preprocess *p, const uint8_t *pixels, size_t n, float *out);
/* The whole way: out is [3, height, width]. */
VL_MUST_USE VlStatus preprocess_image(const Preprocess *p, const Image *im, const char *name,
                                      Diag *d, float *out);

/* preprocess_json.c */

/* Reads a preprocessor_config.json of Hugging Face, an open_clip_config.json
** with a preprocess_cfg, or a folder that holds one of them.  Fails with
** PRE_FORMAT, PRE_VALUE, PRE_KIND and as io_read does. */
VL_MUST_USE VlStatus preprocess_load(const char *path, Diag *d, Preprocess *out);
/* The same from bytes; name is for messages. */
VL_MUST_USE VlStatus preprocess_parse(const void *bytes, size_t n, const char *name, Diag *d,
                                      Preprocess *out);
/* vlpc's own form, for the artifact: equal values give equal text, and
** preprocess_from_text gives back the same value. */
void preprocess_to_text(const Preprocess *p, Str *s);
VL_MUST_USE VlStatus preprocess_from_text(const void *bytes, size_t n, const char *name, Diag *d,
                                          Preprocess *out);

#endif
