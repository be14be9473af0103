/* SPDX-License-Identifier: Apache-2.0 */
/* resize.h - antialiased resampling of RGB pixels, bit for bit as Pillow's
** Image.resize on 8-bit images: two passes (rows first) with weights in
** 22-bit fixed point, each pass rounded to 8 bits.
**
** Only a window of the result is computed, so a centre crop costs its own
** pixels: what lies outside never exists, however long and thin the photo. */
#ifndef VLPC_RUNTIME_RESIZE_H
#define VLPC_RUNTIME_RESIZE_H

#include "base/status.h"

typedef enum { FILTER_bilinear = 2, FILTER_bicubic = 3 } Filter; /* Pillow's numbers */

typedef struct {
  const uint8_t *src; /* [src_h, src_w, 3] */
  int64_t src_w, src_h;
  int64_t out_w, out_h; /* size the whole image is resized to, >= 1 */
  int64_t x, y, w, h;   /* window of it, inside and not empty */
  Filter filter;
} Resize;

/* dst: [h, w, 3] with dst_stride bytes between rows.  Fails with NOMEM only. */
VL_MUST_USE VlStatus resize_window(const Resize *r, uint8_t *dst, size_t dst_stride);

#endif
