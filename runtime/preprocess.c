/* SPDX-License-Identifier: Apache-2.0 */
/* preprocess.c - resize, centre crop and normalise.
**
** There are only 256 values a channel, so normalising is a table look-up; the
** table is made with the divisions of the definition (multiplying by 1/255
** gives other bits for a third of the values). */
#include "runtime/preprocess.h"

#include <stdlib.h>
#include <string.h>

Preprocess preprocess_clip(int32_t side) {
  return (Preprocess){
      .resize = RESIZE_short,
      .width = side,
      .height = side,
      .filter = FILTER_bicubic,
      .crop = true,
      .crop_width = side,
      .crop_height = side,
      .divisor = 255.0f,
      .mean = {0.48145466f, 0.4578275f, 0.40821073f},
      .std = {0.26862954f, 0.26130258f, 0.27577711f},
  };
}

void preprocess_size(const Preprocess *p, int32_t *width, int32_t *height) {
  *width = p->crop ? p->crop_width : p->width;
  *height = p->crop ? p->crop_height : p->height;
}

/* The size the whole image takes before the crop. */
static void resized_size(const Preprocess *p, const Image *im, int64_t *w, int64_t *h) {
  *w = p->width;
  *h = p->height;
  if (p->resize == RESIZE_none) {
    *w = im->width;
    *h = im->height;
  } else if (p->resize == RESIZE_short) {
    if (im->width <= im->height)
      *h = (int64_t)p->width * im->height / im->width;
    else
      *w = (int64_t)p->width * im->width / im->height;
  }
}

/* One axis of a centre crop: length [at, at + n) of the image goes to `to`. */
typedef struct {
  int64_t at, n, to;
} Span;

static Span centre(int64_t have, int64_t want) {
  if (have < want) return (Span){0, have, (want - have) / 2};
  int64_t spare = have - want, half = spare / 2;
  if (spare % 2) half += half % 2; /* round((have - want) / 2.0): halves to even */
  return (Span){half, want, 0};
}

VlStatus preprocess_crop(const Preprocess *p, const Image *im, const char *name, Diag *d,
                         uint8_t *out) {
  int32_t width, height;
  int64_t w, h;
  preprocess_size(p, &width, &height);
  resized_size(p, im, &w, &h);
  Span sx = {0, w, 0}, sy = {0, h, 0};
  if (p->crop) {
    sx = centre(w, width);
    sy = centre(h, height);
  }
  if (sx.n < width || sy.n < height) memset(out, 0, (size_t)width * (size_t)height * 3);
  Resize r = {.src = im->pixels,
              .src_w = im->width,
              .src_h = im->height,
              .out_w = w,
              .out_h = h,
              .x = sx.at,
              .y = sy.at,
              .w = sx.n,
              .h = sy.n,
              .filter = p->filter};
  size_t stride = (size_t)width * 3;
  if (resize_window(&r, out + stride * (size_t)sy.to + (size_t)sx.to * 3, stride) == VLPC_OK)
    return VLPC_OK;
  return diag_error(d, DIAG_NOMEM, (DiagAt){name, NULL}, "no memory to resize this image");
}

void preprocess_normalise(const Preprocess *p, const uint8_t *pixels, size_t n, float *out) {
  for (int c = 0; c < 3; c++) {
    float table[256];
    for (int v = 0; v < 256; v++) {
      float scaled = (float)v / p->divisor, centred = scaled - p->mean[c];
      table[v] = centred / p->std[c];
    }
    for (size_t i = 0; i < n; i++) out[(size_t)c * n + i] = table[pixels[i * 3 + (size_t)c]];
  }
}

VlStatus preprocess_image(const Preprocess *p, const Image *im, const char *name, Diag *d,
                          float *out) {
  int32_t width, height;
  preprocess_size(p, &width, &height);
  size_t n = (size_t)width * (size_t)height;
  uint8_t *pixels = malloc(n * 3);
  if (!pixels)
    return diag_error(d, DIAG_NOMEM, (DiagAt){name, NULL}, "no memory to resize this image");
  VlStatus st = preprocess_crop(p, im, name, d, pixels);
  if (st == VLPC_OK) preprocess_normalise(p, pixels, n, out);
  free(pixels);
  return st;
}
