/* SPDX-License-Identifier: Apache-2.0 */
/* test_image.c - damaged, cut, huge and foreign images: each gives its code
** and text, and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#include "golden.h"
#include "runtime/image.h"

static Diag *diag;

static VlStatus decode(const void *bytes, size_t n) {
  Image im;
  diag_clear(diag);
  VlStatus st = image_decode(bytes, n, "photo.jpg", diag, &im);
  assert_true((st == VLPC_OK) == (im.pixels != NULL));
  assert_int_equal(diag_count(diag), st != VLPC_OK);
  image_fini(&im);
  return st;
}

static void expect(const void *bytes, size_t n, VlStatus status, const char *words) {
  VlStatus st = decode(bytes, n);
  if (st != status || !strstr(diag_text(diag), words))
    fail_msg("status %d, not %d with '%s': %s", st, status, words, diag_text(diag));
}

static uint8_t *load(const char *name, size_t *n) {
  char rel[300], path[512];
  snprintf(rel, sizeof rel, "tests/runtime/data/images/%s", name);
  source_path(rel, path);
  char *bytes = golden_read(path, n); /* also reads what is not gzip */
  assert_non_null(bytes);
  return (uint8_t *)bytes;
}

#define TEXT(s) s, sizeof s - 1

static void names_foreign_formats(void **state) {
  (void)state;
  const char *code = "error[E0701]: photo.jpg: this is not a JPEG or PNG image";
  expect("", 0, VLPC_E_BAD_FILE, code);
  assert_non_null(strstr(diag_text(diag), "found:    an empty file"));
  expect(TEXT("<!DOCTYPE html><html>"), VLPC_E_BAD_FILE, "a web page or XML text");
  expect(TEXT("\xef\xbb\xbf\n <svg>"), VLPC_E_BAD_FILE, "a web page or XML text");
  expect(TEXT("GIF89a\1\0\1\0"), VLPC_E_BAD_FILE, "a GIF image");
  expect(TEXT("RIFF\1\1\1\1WEBPVP8 "), VLPC_E_BAD_FILE, "a WebP image");
  expect(TEXT("\0\0\0\x18"
              "ftypheic"),
         VLPC_E_BAD_FILE, "a HEIC image");
  expect(TEXT("hello"), VLPC_E_BAD_FILE, "5 bytes that begin with 68");
  expect(TEXT("\xff\xd8"), VLPC_E_BAD_FILE, "2 bytes that begin with ff");
  expect(TEXT("\x89PNG\r\n"), VLPC_E_BAD_FILE, "6 bytes that begin with 89");
}

/* A file cut anywhere is an error, unless what is lost comes after its end. */
static void cut_anywhere_is_an_error(void **state) {
  (void)state;
  static const char *const names[] = {
      "jpeg_sub2.jpg", "jpeg_progressive.jpg", "jpeg_cmyk.jpg",       "jpeg_restart.jpg",
      "png_c2_d8.png", "png_c3_d4.png",        "png_c0_d16_adam7.png"};
  for (size_t i = 0; i < VL_COUNT(names); i++) {
    size_t n;
    uint8_t *bytes = load(names[i], &n);
    assert_int_equal(decode(bytes, n), VLPC_OK);
    for (size_t cut = 0; cut < n; cut++) {
      uint8_t *part = malloc(cut ? cut : 1); /* its own block: reading past is seen */
      memcpy(part, bytes, cut);
      VlStatus st = decode(part, cut);
      if (st != VLPC_E_BAD_FILE && st != VLPC_E_UNSUPPORTED)
        fail_msg("%s cut to %zu of %zu bytes: status %d", names[i], cut, n, st);
      free(part);
    }
    free(bytes);
  }
}

static void cut_photo_says_so(void **state) {
  (void)state;
  size_t n;
  uint8_t *jpeg = load("jpeg_sub2.jpg", &n);
  expect(jpeg, n - 2, VLPC_E_BAD_FILE,
         "error[E0702]: photo.jpg: the JPEG data is damaged or cut short\n"
         "  found:    Premature end of JPEG file\n"
         "  fix:      fetch the photo again, or open and save it with an image editor");
  free(jpeg);
  uint8_t *png = load("png_c2_d8.png", &n);
  expect(png, n - 20, VLPC_E_BAD_FILE,
         "error[E0702]: photo.jpg: the PNG data is damaged or cut short\n"
         "  found:    the file ends too early");
  free(png);
}

/* Any byte may be wrong: an error or a picture, never more. */
static void flipped_bytes_are_survived(void **state) {
  (void)state;
  static const char *const names[] = {"jpeg_sub1.jpg", "jpeg_progressive.jpg", "jpeg_ycck.jpg",
                                      "png_c3_d8_adam7.png", "png_c6_d16.png"};
  for (size_t i = 0; i < VL_COUNT(names); i++) {
    size_t n;
    uint8_t *bytes = load(names[i], &n);
    for (size_t at = 3; at < n; at++) {
      uint8_t old = bytes[at];
      bytes[at] = (uint8_t)~old;
      VL_IGNORE(decode(bytes, n)); /* either way; the harness watches memory */
      bytes[at] = old ^ 1;
      VL_IGNORE(decode(bytes, n)); /* likewise */
      bytes[at] = old;
    }
    free(bytes);
  }
}

static void put_u32(uint8_t *at, uint32_t v) {
  for (int i = 0; i < 4; i++) at[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* Gives a PNG's header another size and mends the checksum. */
static void set_png_size(uint8_t *png, uint32_t w, uint32_t h) {
  put_u32(png + 16, w);
  put_u32(png + 20, h);
  put_u32(png + 29, (uint32_t)crc32(0, png + 12, 17));
}

static void sizes_are_limited(void **state) {
  (void)state;
  size_t n;
  uint8_t *png = load("png_c2_d8.png", &n);
  set_png_size(png, 65535, 65535);
  expect(png, n, VLPC_E_LIMIT,
         "error[E0703]: photo.jpg: the image is too large\n"
         "  found:    65535 x 65535\n"
         "  expected: at most 67108864 pixels, at most 65535 a side");
  set_png_size(png, 65536, 1);
  expect(png, n, VLPC_E_LIMIT, "65536 x 1");
  set_png_size(png, 0x7fffffff, 0x7fffffff);
  expect(png, n, VLPC_E_LIMIT, "2147483647 x 2147483647");
  set_png_size(png, 0, 9);
  expect(png, n, VLPC_E_BAD_FILE, "error[E0702]");
  set_png_size(png, 8192, 8192); /* within the limits, but the data is not there */
  expect(png, n, VLPC_E_BAD_FILE, "error[E0702]");
  free(png);
  uint8_t *jpeg = load("jpeg_sub2.jpg", &n);
  uint8_t *sof = jpeg + 2;
  while (sof[1] != 0xc0) sof += 2 + (sof[2] << 8 | sof[3]);
  memcpy(sof + 5, "\xff\x00\xff\x00", 4);
  expect(jpeg, n, VLPC_E_LIMIT, "65280 x 65280");
  memcpy(sof + 5, "\0\0\0\0", 4);
  expect(jpeg, n, VLPC_E_BAD_FILE, "error[E0702]");
  memcpy(sof + 5, "\xff\xff\0\1", 4); /* past what the decoder can do */
  expect(jpeg, n, VLPC_E_BAD_FILE, "error[E0702]");
  sof[4] = 12;
  expect(jpeg, n, VLPC_E_BAD_FILE, "error[E070");
  memcpy(sof + 5, "\0\x0b\0\x13", 4);
  expect(jpeg, n, VLPC_E_UNSUPPORTED,
         "error[E0704]: photo.jpg: this kind of JPEG is not read\n"
         "  found:    Unsupported JPEG data precision 12");
  free(jpeg);
}

/* A file of one kilobyte a scan may go on for hours: its first component as
** a flat scan of six blocks, again and again. */
static void scans_are_limited(void **state) {
  (void)state;
  static const uint8_t scan[] = {0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0, 0x28, 0xa2, 0x8a, 0x28, 0xaf};
  size_t n, at = 2, times = 1000;
  uint8_t *jpeg = load("jpeg_sub0.jpg", &n);
  while (jpeg[at + 1] != 0xda) at += 2 + (size_t)(jpeg[at + 2] << 8 | jpeg[at + 3]);
  uint8_t *bomb = malloc(at + sizeof scan * times);
  memcpy(bomb, jpeg, at);
  for (size_t i = 0; i < times; i++) memcpy(bomb + at + sizeof scan * i, scan, sizeof scan);
  expect(bomb, at + sizeof scan * times, VLPC_E_LIMIT,
         "error[E0703]: photo.jpg: the JPEG has too many scans\n  expected: at most 200");
  free(bomb);
  free(jpeg);
}

static void paths_are_checked(void **state) {
  (void)state;
  Image im;
  diag_clear(diag);
  assert_int_equal(image_read("no/such/photo.jpg", diag, &im), VLPC_E_IO);
  assert_non_null(strstr(diag_text(diag), "error[E0101]: no/such/photo.jpg"));
  diag_clear(diag);
  assert_int_equal(image_read("/", diag, &im), VLPC_E_BAD_FILE);
  assert_null(im.pixels);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(names_foreign_formats), cmocka_unit_test(cut_anywhere_is_an_error),
      cmocka_unit_test(cut_photo_says_so),     cmocka_unit_test(flipped_bytes_are_survived),
      cmocka_unit_test(sizes_are_limited),     cmocka_unit_test(scans_are_limited),
      cmocka_unit_test(paths_are_checked),
  };
  diag = diag_new();
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  diag_free(diag);
  return failed;
}
