/* SPDX-License-Identifier: Apache-2.0 */
/* image_png.c - PNG through libpng's low-level reader.
**
** Only IHDR, PLTE, IDAT and IEND matter to the pixels, so every other chunk is
** skipped unread: colour profiles, text and transparency never reach their
** parsers.  Errors leave by longjmp to one place; warnings are let pass, since
** libpng makes errors of what damages the picture. */
#include <png.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/image_int.h"

typedef struct {
  png_structp png;
  png_infop info;
  const uint8_t *at;
  size_t left;
  char words[160];
  uint8_t *grey16; /* [height, width] big-endian, for 16-bit grey only */
} Png;

static void on_read(png_structp png, png_bytep to, size_t n) {
  Png *p = png_get_io_ptr(png);
  if (n > p->left) png_error(png, "the file ends too early");
  memcpy(to, p->at, n);
  p->at += n;
  p->left -= n;
}

VL_NORETURN static void on_error(png_structp png, png_const_charp words) {
  Png *p = png_get_error_ptr(png);
  size_t n = strlen(words);
  n = VL_MIN(n, sizeof p->words - 1);
  memcpy(p->words, words, n);
  p->words[n] = 0;
  png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp words) {
  (void)png;
  (void)words;
}

static void set_limits(Png *p) {
  static const char skip[] = "bKGD\0cHRM\0eXIf\0gAMA\0hIST\0iCCP\0iTXt\0oFFs\0pCAL\0pHYs\0"
                             "sBIT\0sCAL\0sPLT\0sRGB\0sTER\0tEXt\0tIME\0tRNS\0zTXt";
  png_set_user_limits(p->png, 0x7fffffff, 0x7fffffff);
  png_set_chunk_malloc_max(p->png, 1 << 20);
  png_set_chunk_cache_max(p->png, 16);
  png_set_crc_action(p->png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
  png_set_keep_unknown_chunks(p->png, PNG_HANDLE_CHUNK_NEVER, NULL, 0);
  png_set_keep_unknown_chunks(p->png, PNG_HANDLE_CHUNK_NEVER, (png_const_bytep)skip,
                              (int)(sizeof skip / 5));
}

/* 8-bit RGB from every kind but 16-bit grey, which stays as it is. */
static void set_transforms(Png *p) {
  int depth = png_get_bit_depth(p->png, p->info);
  int colour = png_get_color_type(p->png, p->info);
  if (depth == 16 && colour == PNG_COLOR_TYPE_GRAY) return;
  if (colour == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(p->png);
  if (colour == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(p->png);
  if (depth == 16) png_set_strip_16(p->png);
  if (colour & PNG_COLOR_MASK_ALPHA) png_set_strip_alpha(p->png);
  if (!(colour & PNG_COLOR_MASK_COLOR)) png_set_gray_to_rgb(p->png);
}

static VlStatus begin(ImageSource *s, Png *p) {
  set_limits(p);
  png_read_info(p->png, p->info);
  uint32_t w = png_get_image_width(p->png, p->info), h = png_get_image_height(p->png, p->info);
  VL_TRY(image_allocate(s, w, h));
  set_transforms(p);
  if (png_get_bit_depth(p->png, p->info) == 16 &&
      png_get_color_type(p->png, p->info) == PNG_COLOR_TYPE_GRAY) {
    p->grey16 = malloc((size_t)w * h * 2);
    if (!p->grey16) return image_nomem(s);
  }
  return VLPC_OK;
}

static void read_rows(ImageSource *s, Png *p) {
  int passes = png_set_interlace_handling(p->png);
  png_read_update_info(p->png, p->info);
  size_t stride = (size_t)s->out->width * (p->grey16 ? 2 : 3);
  if (png_get_rowbytes(p->png, p->info) != stride) png_error(p->png, "rows of a wrong size");
  uint8_t *base = p->grey16 ? p->grey16 : s->out->pixels;
  for (int pass = 0; pass < passes; pass++)
    for (int32_t y = 0; y < s->out->height; y++)
      png_read_row(p->png, base + stride * (size_t)y, NULL);
  png_read_end(p->png, NULL);
}

static void spread_grey16(ImageSource *s, const uint8_t *grey) {
  size_t n = (size_t)s->out->width * (size_t)s->out->height;
  for (size_t i = 0; i < n; i++) {
    uint8_t v = grey[i * 2] ? 255 : grey[i * 2 + 1];
    memset(s->out->pixels + i * 3, v, 3);
  }
}

static VlStatus decode(ImageSource *s, Png *p) {
  if (setjmp(png_jmpbuf(p->png))) return image_broken(s, "PNG", p->words);
  png_set_read_fn(p->png, p, on_read);
  VL_TRY(begin(s, p));
  read_rows(s, p);
  if (p->grey16) spread_grey16(s, p->grey16);
  return VLPC_OK;
}

VlStatus image_decode_png(ImageSource *s) {
  Png *p = calloc(1, sizeof *p);
  if (!p) return image_nomem(s);
  p->at = s->at;
  p->left = s->n;
  VlStatus st = VLPC_E_NOMEM;
  p->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, p, on_error, on_warning);
  if (p->png) p->info = png_create_info_struct(p->png);
  st = p->info ? decode(s, p) : image_nomem(s);
  png_destroy_read_struct(&p->png, &p->info, NULL);
  free(p->grey16);
  free(p);
  return st;
}
