/* SPDX-License-Identifier: Apache-2.0 */
/* image.c - chooses the reader by content and holds the limits.
**
** Files that are not JPEG or PNG are named for what they seem to be, since the
** common cases (a web page saved as .jpg, a WebP renamed) have different cures. */
#include "runtime/image.h"

#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "runtime/image_int.h"

typedef struct {
  const char *magic;
  uint32_t at, n;   /* where the magic lies and its length */
  const char *what; /* in words */
} Look;

static const Look looks[] = {
    {"GIF8", 0, 4, "a GIF image"},     {"WEBP", 8, 4, "a WebP image"},
    {"BM", 0, 2, "a BMP image"},       {"II*\0", 0, 4, "a TIFF image"},
    {"MM\0*", 0, 4, "a TIFF image"},   {"ftypavif", 4, 8, "an AVIF image"},
    {"ftyphei", 4, 7, "a HEIC image"}, {"\x76\x2f\x31\x01", 0, 4, "an OpenEXR image"},
    {"%PDF", 0, 4, "a PDF document"},  {"PK\3\4", 0, 4, "a zip archive"},
};

static bool begins(const uint8_t *at, size_t n, const Look *k) {
  return n >= (size_t)k->at + k->n && memcmp(at + k->at, k->magic, k->n) == 0;
}

/* Skips white space and a byte-order mark, then looks for "<". */
static bool is_markup(const uint8_t *at, size_t n) {
  size_t i = n >= 3 && memcmp(at, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
  while (i < n && (at[i] == ' ' || (at[i] >= 9 && at[i] <= 13))) i++;
  return i + 1 < n && at[i] == '<';
}

static VlStatus report_format(ImageSource *s) {
  DiagAt at = {s->name, NULL};
  VlStatus st = diag_error(s->diag, DIAG_IMAGE_FORMAT, at, "this is not a JPEG or PNG image");
  if (s->n == 0) {
    diag_found(s->diag, "an empty file");
  } else if (is_markup(s->at, s->n)) {
    diag_found(s->diag, "a web page or XML text");
  } else {
    const char *what = NULL;
    for (size_t i = 0; i < VL_COUNT(looks) && !what; i++)
      if (begins(s->at, s->n, &looks[i])) what = looks[i].what;
    if (what)
      diag_found(s->diag, "%s", what);
    else
      diag_found(s->diag, "%zu bytes that begin with %02x", s->n, s->at[0]);
  }
  diag_expected(s->diag, "a file that begins with ff d8 ff (JPEG) or 89 50 4e 47 (PNG)");
  diag_fix(s->diag, "convert the photo to JPEG or PNG, or fetch it again");
  return st;
}

VlStatus image_broken(ImageSource *s, const char *format, const char *words) {
  DiagAt at = {s->name, NULL};
  VlStatus st =
      diag_error(s->diag, DIAG_IMAGE_BROKEN, at, "the %s data is damaged or cut short", format);
  diag_found(s->diag, "%s", words);
  diag_fix(s->diag, "fetch the photo again, or open and save it with an image editor");
  return st;
}

VlStatus image_nomem(ImageSource *s) {
  return diag_error(s->diag, DIAG_NOMEM, (DiagAt){s->name, NULL}, "no memory to decode this image");
}

static VlStatus report_limit(ImageSource *s, uint64_t width, uint64_t height) {
  DiagAt at = {s->name, NULL};
  VlStatus st = diag_error(s->diag, DIAG_IMAGE_LIMIT, at, "the image is too large");
  diag_found(s->diag, "%llu x %llu", (unsigned long long)width, (unsigned long long)height);
  diag_expected(s->diag, "at most %llu pixels, at most %d a side",
                (unsigned long long)IMAGE_MAX_PIXELS, IMAGE_MAX_SIDE);
  diag_fix(s->diag, "make the photo smaller");
  return st;
}

static bool is_within(uint64_t width, uint64_t height) {
  return width <= IMAGE_MAX_SIDE && height <= IMAGE_MAX_SIDE && width * height <= IMAGE_MAX_PIXELS;
}

bool image_is_sane(const Image *im) {
  return im->pixels && im->width > 0 && im->height > 0 &&
         is_within((uint64_t)im->width, (uint64_t)im->height);
}

VlStatus image_allocate(ImageSource *s, uint64_t width, uint64_t height) {
  if (width == 0 || height == 0) return image_broken(s, "image", "a width or height of 0");
  if (!is_within(width, height)) return report_limit(s, width, height);
  s->out->pixels = malloc((size_t)(width * height) * 3);
  if (!s->out->pixels) return image_nomem(s);
  s->out->width = (int32_t)width;
  s->out->height = (int32_t)height;
  return VLPC_OK;
}

static VlStatus report_bytes(ImageSource *s) {
  DiagAt at = {s->name, NULL};
  VlStatus st = diag_error(s->diag, DIAG_IMAGE_LIMIT, at, "the image file is too large");
  diag_found(s->diag, "%zu bytes", s->n);
  diag_expected(s->diag, "at most %llu bytes", (unsigned long long)IMAGE_MAX_BYTES);
  diag_fix(s->diag, "make the photo smaller");
  return st;
}

VlStatus image_decode(const void *bytes, size_t n, const char *name, Diag *d, Image *out) {
  static const uint8_t png[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  ImageSource s = {bytes, n, name, d, out};
  VlStatus st;
  *out = (Image){NULL, 0, 0};
  if (n > IMAGE_MAX_BYTES)
    st = report_bytes(&s);
  else if (n >= 3 && memcmp(bytes, "\xff\xd8\xff", 3) == 0)
    st = image_decode_jpeg(&s);
  else if (n >= 8 && memcmp(bytes, png, 8) == 0)
    st = image_decode_png(&s);
  else
    st = report_format(&s);
  if (st != VLPC_OK) image_fini(out);
  return st;
}

VlStatus image_read(const char *path, Diag *d, Image *out) {
  Mapped m;
  *out = (Image){NULL, 0, 0};
  VL_TRY(io_map(path, d, &m));
  VlStatus st = image_decode(m.at, (size_t)m.n, path, d, out);
  io_unmap(&m);
  return st;
}

void image_fini(Image *im) {
  free(im->pixels);
  *im = (Image){NULL, 0, 0};
}
