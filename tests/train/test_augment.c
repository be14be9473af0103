/* SPDX-License-Identifier: Apache-2.0 */
/* test_augment.c - pixels against Pillow, and what the draws are. */
#include "train/augment.h"

#include <math.h>
#include <stdlib.h>

#include "base/map.h"
#include "tests/runtime/golden.h"
#include "train_kit.h"

/* As pixels.py makes them. */
static Image noise(int32_t w, int32_t h, uint32_t seed) {
  Image im = {malloc((size_t)w * (size_t)h * 3), w, h};
  for (uint32_t i = 0; i < (uint32_t)w * (uint32_t)h * 3; i++) {
    uint32_t x = i * 2654435761u + seed;
    x = (x ^ (x >> 15)) * 2246822519u;
    im.pixels[i] = (uint8_t)((x ^ (x >> 13)) >> 24);
  }
  return im;
}

static uint64_t number(char **line) { return strtoull(golden_field(line, ' '), NULL, 10); }

static void same_as_pillow(void **state) {
  Kit *k = *state;
  char path[512];
  size_t n = 0;
  int lines = 0;
  source_path("tests/train/data/crops.txt", path);
  char *text = golden_read(path, &n), *at = text;
  for (char *line = golden_line(&at); line != NULL; line = golden_line(&at), lines++) {
    int32_t w = (int32_t)number(&line), h = (int32_t)number(&line);
    Image im = noise(w, h, (uint32_t)number(&line));
    AugmentBox b = {0};
    b.x = (int64_t)number(&line), b.y = (int64_t)number(&line);
    b.w = (int64_t)number(&line), b.h = (int64_t)number(&line);
    Augment g = augment_papers((int32_t)number(&line));
    b.flip = number(&line) != 0;
    size_t bytes = (size_t)g.side * (size_t)g.side * 3;
    uint8_t *out = malloc(bytes);
    assert_int_equal(augment_pixels(&g, &b, &im, "noise", k->diag, out), VLPC_OK);
    assert_true(hash_bytes(out, bytes, 0) == strtoull(line, NULL, 16));
    free(out);
    image_fini(&im);
  }
  assert_int_equal(lines, 60);
  free(text);
}

/* Area, ratio, place and flip of 20000 draws have the means of their laws. */
static void laws_of_the_draws(void **state) {
  (void)state;
  Augment g = augment_papers(224);
  const int64_t side = 1000; /* nothing is refused often on a square photo */
  double area = 0, ratio = 0, x = 0, flips = 0;
  const int n = 20000;
  for (int i = 0; i < n; i++) {
    AugmentBox b = augment_draw(&g, (AugmentKey){1, 2, (uint64_t)i}, side, side);
    assert_true(b.x >= 0 && b.y >= 0 && b.x + b.w <= side && b.y + b.h <= side);
    double s = (double)(b.w * b.h) / 1e6, r = (double)b.w / (double)b.h;
    assert_true(s > 0.079 && s <= 1.0 && r > 0.74 && r < 1.34);
    area += s / n;
    ratio += log(r) / n;
    x += b.w < side ? (double)b.x / (double)(side - b.w) / n : 0.5 / n;
    flips += (double)b.flip / n;
  }
  /* A box of area s fits a square with probability min(1, -log s / log(4/3)). */
  assert_true(fabs(area - 0.47780) < 0.006);
  assert_true(fabs(ratio) < 0.005);
  assert_true(fabs(x - 0.5) < 0.01);
  assert_true(fabs(flips - 0.5) < 0.011);
}

static bool same_box(AugmentBox a, AugmentBox b) {
  return a.x == b.x && a.y == b.y && a.w == b.w && a.h == b.h && a.flip == b.flip;
}

static void draws_by_key(void **state) {
  (void)state;
  Augment g = augment_papers(224);
  AugmentBox b = augment_draw(&g, (AugmentKey){1, 2, 3}, 640, 480);
  assert_true(same_box(b, augment_draw(&g, (AugmentKey){1, 2, 3}, 640, 480)));
  assert_false(same_box(b, augment_draw(&g, (AugmentKey){2, 2, 3}, 640, 480)));
  assert_false(same_box(b, augment_draw(&g, (AugmentKey){1, 3, 3}, 640, 480)));
  assert_false(same_box(b, augment_draw(&g, (AugmentKey){1, 2, 4}, 640, 480)));
}

/* Photos too long for any try get the largest centred box within the ratios. */
static void long_photos(void **state) {
  (void)state;
  Augment g = augment_papers(224);
  AugmentBox b = augment_draw(&g, (AugmentKey){1, 1, 1}, 3, 4000);
  assert_true(b.w == 3 && b.h == 4 && b.x == 0 && b.y == 1998);
  b = augment_draw(&g, (AugmentKey){1, 1, 1}, 4000, 3);
  assert_true(b.w == 4 && b.h == 3 && b.x == 1998 && b.y == 0);
  b = augment_draw(&g, (AugmentKey){1, 1, 1}, 1, 1);
  assert_true(b.w == 1 && b.h == 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      kit_test(same_as_pillow),
      kit_test(laws_of_the_draws),
      kit_test(draws_by_key),
      kit_test(long_photos),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
