/* SPDX-License-Identifier: Apache-2.0 */
/* image_jpeg.c - JPEG through libjpeg-turbo with its default (exact integer)
** transform and smooth chroma upsampling, as Pillow uses it.
**
** The library reports by callbacks: errors, and those warnings that mean lost
** picture data, leave by longjmp to one place.  Warnings that do not touch the
** picture (stray bytes between segments, odd markers) are let pass.  The
** number of scans is limited, because a progressive file of a few hundred
** kilobytes can otherwise keep the decoder busy for hours. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

#include "runtime/image_int.h"

#define MAX_SCANS 200

typedef struct {
  struct jpeg_error_mgr mgr; /* first: the library hands back a pointer to it */
  struct jpeg_progress_mgr progress;
  struct jpeg_decompress_struct cx;
  jmp_buf escape;
  char words[JMSG_LENGTH_MAX];
  uint8_t *row; /* one CMYK row */
  bool too_many_scans;
} Jpeg;

static Jpeg *jpeg_of(j_common_ptr cx) {
  return (Jpeg *)(void *)cx->err;
}

VL_NORETURN static void leave(j_common_ptr cx) {
  Jpeg *j = jpeg_of(cx);
  cx->err->format_message(cx, j->words);
  longjmp(j->escape, 1);
}

static bool loses_picture(int code) {
  switch (code) {
  case JWRN_ADOBE_XFORM:
  case JWRN_EXTRANEOUS_DATA:
  case JWRN_JFIF_MAJOR:
  case JWRN_TOO_MUCH_DATA:
    return false;
  default:
    return true;
  }
}

static void on_message(j_common_ptr cx, int level) {
  if (level < 0 && loses_picture(cx->err->msg_code)) leave(cx);
}

static void on_output(j_common_ptr cx) {
  (void)cx;
}

static void on_progress(j_common_ptr cx) {
  Jpeg *j = jpeg_of(cx);
  if (cx->is_decompressor && j->cx.input_scan_number > MAX_SCANS) {
    j->too_many_scans = true;
    longjmp(j->escape, 1);
  }
}

static VlStatus report(ImageSource *s, const Jpeg *j) {
  DiagAt at = {s->name, NULL};
  if (j->too_many_scans) {
    VlStatus st = diag_error(s->diag, DIAG_IMAGE_LIMIT, at, "the JPEG has too many scans");
    diag_expected(s->diag, "at most %d", MAX_SCANS);
    diag_fix(s->diag, "open and save the photo with an image editor");
    return st;
  }
  switch (j->mgr.msg_code) {
  case JERR_OUT_OF_MEMORY:
    return image_nomem(s);
  case JERR_BAD_PRECISION:
  case JERR_CONVERSION_NOTIMPL:
  case JERR_SOF_UNSUPPORTED:
  case JERR_ARITH_NOTIMPL: {
    VlStatus st = diag_error(s->diag, DIAG_IMAGE_KIND, at, "this kind of JPEG is not read");
    diag_found(s->diag, "%s", j->words);
    diag_expected(s->diag, "8 bits a sample; grey, RGB, YCbCr, CMYK or YCCK");
    diag_fix(s->diag, "convert the photo to an ordinary JPEG or PNG");
    return st;
  }
  default:
    return image_broken(s, "JPEG", j->words);
  }
}

/* Header to an allocated picture and a started decoder. */
static VlStatus begin(ImageSource *s, Jpeg *j) {
  jpeg_mem_src(&j->cx, s->at, (unsigned long)s->n);
  jpeg_read_header(&j->cx, TRUE);
  VL_TRY(image_allocate(s, j->cx.image_width, j->cx.image_height));
  j->cx.out_color_space = j->cx.num_components == 4 ? JCS_CMYK : JCS_RGB;
  jpeg_start_decompress(&j->cx);
  if (j->cx.num_components == 4) {
    j->row = malloc((size_t)j->cx.output_width * 4);
    if (!j->row) return image_nomem(s);
  }
  return VLPC_OK;
}

static uint8_t mul_255(uint32_t a, uint32_t b) {
  uint32_t t = a * b + 128;
  return (uint8_t)(((t >> 8) + t) >> 8);
}

/* Adobe writes CMYK inverted: 255 is no ink. */
static void cmyk_to_rgb(const uint8_t *in, uint8_t *out, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    uint32_t k = in[i * 4 + 3]; /* 255 - ink */
    for (uint32_t c = 0; c < 3; c++) {
      out[i * 3 + c] = (uint8_t)(k - mul_255(255u - in[i * 4 + c], k));
    }
  }
}

static void read_rows(ImageSource *s, Jpeg *j) {
  size_t stride = (size_t)s->out->width * 3;
  while (j->cx.output_scanline < j->cx.output_height) {
    uint8_t *to = s->out->pixels + stride * j->cx.output_scanline;
    JSAMPROW row = j->row ? j->row : to;
    jpeg_read_scanlines(&j->cx, &row, 1);
    if (j->row) cmyk_to_rgb(j->row, to, j->cx.output_width);
  }
  jpeg_finish_decompress(&j->cx);
}

static VlStatus decode(ImageSource *s, Jpeg *j) {
  if (setjmp(j->escape)) return report(s, j);
  jpeg_create_decompress(&j->cx);
  j->cx.progress = &j->progress;
  VL_TRY(begin(s, j));
  read_rows(s, j);
  return VLPC_OK;
}

VlStatus image_decode_jpeg(ImageSource *s) {
  Jpeg *j = calloc(1, sizeof *j);
  if (!j) return image_nomem(s);
  j->cx.err = jpeg_std_error(&j->mgr);
  j->mgr.error_exit = leave;
  j->mgr.emit_message = on_message;
  j->mgr.output_message = on_output;
  j->progress.progress_monitor = on_progress;
  VlStatus st = decode(s, j);
  jpeg_destroy_decompress(&j->cx);
  free(j->row);
  free(j);
  return st;
}
