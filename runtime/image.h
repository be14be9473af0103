/* SPDX-License-Identifier: Apache-2.0 */
/* image.h - photos: JPEG and PNG bytes to RGB pixels.
**
** The pixels are those of Pillow's Image.open(x).convert("RGB"): alpha is
** dropped, EXIF rotation is not applied, 16-bit colour keeps its high byte,
** 16-bit grey above 255 is white, CMYK is taken as Adobe's (inverted).  The
** format is decided by the content.  A damaged or cut file is an error, also
** where a viewer would show the part that is left. */
#ifndef VLPC_RUNTIME_IMAGE_H
#define VLPC_RUNTIME_IMAGE_H

#include "base/diag.h"

#define IMAGE_MAX_PIXELS ((uint64_t)64 << 20)
#define IMAGE_MAX_SIDE 65535
#define IMAGE_MAX_BYTES ((uint64_t)128 << 20)

typedef struct {
  uint8_t *pixels; /* [height, width, 3], owned */
  int32_t width, height;
} Image;

/* Decodes n bytes; name is for messages.  *out is {NULL, 0, 0} on failure.
** Fails with IMAGE_FORMAT, IMAGE_BROKEN, IMAGE_LIMIT, IMAGE_KIND, NOMEM. */
VL_MUST_USE VlStatus image_decode(const void *bytes, size_t n, const char *name, Diag *d,
                                  Image *out);
/* Maps and decodes a file; also fails as io_map does. */
VL_MUST_USE VlStatus image_read(const char *path, Diag *d, Image *out);
void image_fini(Image *im); /* takes an empty one */
/* Sides and pixels that are there and within the limits. */
bool image_is_sane(const Image *im);

#endif
