/* SPDX-License-Identifier: Apache-2.0 */
/* test_report_photos.c - a page whose n-th picture libpng cannot make. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <png.h>

#include "cli/report.h"

enum { SIDE = 4, PATCHES = 2, ROWS = 1 + PATCHES * PATCHES };

static int failing; /* the picture that cannot be made, from 1; 0: none */

int __real_png_image_write_to_memory(png_imagep image, void *to, png_alloc_size_t *n, int by_8,
                                     const void *from, png_int_32 stride, const void *map);
int __wrap_png_image_write_to_memory(png_imagep image, void *to, png_alloc_size_t *n, int by_8,
                                     const void *from, png_int_32 stride, const void *map);

int __wrap_png_image_write_to_memory(png_imagep image, void *to, png_alloc_size_t *n, int by_8,
                                     const void *from, png_int_32 stride, const void *map) {
  if (failing == 0 || --failing > 0)
    return __real_png_image_write_to_memory(image, to, n, by_8, from, stride, map);
  snprintf(image->message, sizeof image->message, "png_create_info_struct: out of memory");
  return 0;
}

/* A photo, and its maps without prompts and with them: three pictures. */
static void a_picture_that_cannot_be_made_is_an_error(void **state) {
  static const uint8_t rgb[3 * SIDE * SIDE] = {255};
  float map[ROWS] = {0.5f, 0.5f}, plain[ROWS] = {1};
  Arena *a = arena_new(0);
  Diag *d = diag_new();
  Looks l = {.side = SIDE, .patches = PATCHES, .rows = ROWS, .plain_rows = ROWS};
  (void)state;
  assert_false(a == NULL || d == NULL || ARENA_GUARD(a));
  *vec_push(a, &l.photo) = (Look){"x.jpg", rgb, map, plain};
  for (int i = 0; i <= 3; i++) {
    Str s = {.arena = a};
    diag_clear(d);
    failing = i;
    assert_int_equal(report_photos(&l, d, &s), i ? VLPC_E_NOMEM : VLPC_OK);
    if (i == 0) assert_non_null(strstr(str_text(&s), "with prompts: class row 50.0 %"));
    if (i == 0) continue;
    assert_string_equal(diag_text(d),
                        "vlpc: error[E0104]: a picture cannot be made\n"
                        "  found:    png_create_info_struct: out of memory\n");
  }
  diag_free(d);
  arena_free(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_picture_that_cannot_be_made_is_an_error),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
