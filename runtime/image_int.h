/* SPDX-License-Identifier: Apache-2.0 */
/* image_int.h - what the JPEG and PNG readers share. */
#ifndef VLPC_RUNTIME_IMAGE_INT_H
#define VLPC_RUNTIME_IMAGE_INT_H

#include "runtime/image.h"

/* One file being decoded. */
typedef struct {
  const uint8_t *at;
  size_t n;
  const char *name;
  Diag *diag;
  Image *out; /* pixels are freed by image_decode when a reader fails */
} ImageSource;

VL_MUST_USE VlStatus image_decode_jpeg(ImageSource *s);
VL_MUST_USE VlStatus image_decode_png(ImageSource *s);

/* Checks the size a header declares and allocates out's pixels. */
VL_MUST_USE VlStatus image_allocate(ImageSource *s, uint64_t width, uint64_t height);
/* IMAGE_BROKEN with the decoder's own words. */
VlStatus image_broken(ImageSource *s, const char *format, const char *words);
VlStatus image_nomem(ImageSource *s);

#endif
