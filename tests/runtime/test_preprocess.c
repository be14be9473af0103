/* SPDX-License-Identifier: Apache-2.0 */
/* test_preprocess.c - decoded pixels, crops and tensors equal Pillow's and
** torchvision's bit for bit (data/pixels.txt.gz, made by
** scripts/golden/pixels.py), and preprocessing files are read or refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/map.h"
#include "golden.h"
#include "runtime/preprocess.h"

static uint64_t hex(const char *s) {
  return strtoull(s, NULL, 16);
}

/* The generator of scripts/golden/pixels.py. */
static Image noise(int32_t w, int32_t h, uint32_t seed) {
  Image im = {malloc((size_t)w * (size_t)h * 3), w, h};
  for (uint32_t i = 0; i < (uint32_t)w * (uint32_t)h * 3; i++) {
    uint32_t x = i * 2654435761u + seed;
    x = (x ^ (x >> 15)) * 2246822519u;
    im.pixels[i] = (uint8_t)((x ^ (x >> 13)) >> 24);
  }
  return im;
}

typedef struct {
  Diag *diag;
  Preprocess small; /* models/small_clip's */
  int decoded, photos, skipped, noises;
} Golden;

static void check_decode(Golden *g, char *line) {
  char path[512], rel[300];
  snprintf(rel, sizeof rel, "tests/runtime/data/images/%s", golden_field(&line, ' '));
  source_path(rel, path);
  Image im;
  assert_int_equal(image_read(path, g->diag, &im), VLPC_OK);
  assert_int_equal(im.width, atoi(golden_field(&line, ' ')));
  assert_int_equal(im.height, atoi(golden_field(&line, ' ')));
  uint64_t got = hash_bytes(im.pixels, (size_t)im.width * (size_t)im.height * 3, 0);
  if (got != hex(line)) fail_msg("%s decodes differently", path);
  image_fini(&im);
  g->decoded++;
}

static void check_photo(Golden *g, char *line) {
  char path[512], rel[300];
  bool shipped = strcmp(golden_field(&line, ' '), "models") == 0;
  snprintf(rel, sizeof rel, "%s/%s", shipped ? "models/photos" : "photos",
           golden_field(&line, ' '));
  if (shipped) {
    source_path(rel, path);
  } else if (!shared_path(rel, path)) {
    g->skipped++;
    return;
  }
  static float tensor[3 * 224 * 224];
  Image im;
  if (image_read(path, g->diag, &im) != VLPC_OK) fail_msg("%s", diag_text(g->diag));
  assert_int_equal(preprocess_image(&g->small, &im, path, g->diag, tensor), VLPC_OK);
  if (hash_bytes(tensor, sizeof tensor, 0) != hex(line)) fail_msg("%s differs", path);
  image_fini(&im);
  g->photos++;
}

static void check_noise(Golden *g, char *line) {
  int32_t w = atoi(golden_field(&line, ' ')), h = atoi(golden_field(&line, ' '));
  Image im = noise(w, h, (uint32_t)strtoul(golden_field(&line, ' '), NULL, 10));
  const char *rule = golden_field(&line, ' ');
  Preprocess p = preprocess_clip(atoi(golden_field(&line, ' ')));
  p.resize = *rule == 's' ? RESIZE_short : *rule == 'e' ? RESIZE_exact : RESIZE_none;
  int32_t crop = p.crop_width = p.crop_height = atoi(golden_field(&line, ' '));
  p.filter = (Filter)atoi(golden_field(&line, ' '));
  size_t n = (size_t)crop * (size_t)crop * 3;
  uint8_t *u8 = malloc(n);
  float *f32 = malloc(n * sizeof *f32);
  assert_int_equal(preprocess_crop(&p, &im, "noise", g->diag, u8), VLPC_OK);
  assert_int_equal(preprocess_image(&p, &im, "noise", g->diag, f32), VLPC_OK);
  bool same = hash_bytes(u8, n, 0) == hex(golden_field(&line, ' '));
  same = same && hash_bytes(f32, n * sizeof *f32, 0) == hex(line);
  if (!same) fail_msg("noise %d x %d, %s, crop %d differs", (int)w, (int)h, rule, (int)crop);
  image_fini(&im);
  free(u8);
  free(f32);
  g->noises++;
}

static void equals_pillow(void **state) {
  (void)state;
  char path[512];
  Golden g = {.diag = diag_new()};
  source_path("models/small_clip/preprocessor_config.json", path);
  assert_int_equal(preprocess_load(path, g.diag, &g.small), VLPC_OK);
  size_t n;
  source_path("tests/runtime/data/pixels.txt.gz", path);
  char *text = golden_read(path, &n), *at = text, *line;
  assert_non_null(text);
  while ((line = golden_line(&at))) {
    const char *what = golden_field(&line, ' ');
    if (strcmp(what, "decode") == 0)
      check_decode(&g, line);
    else if (strcmp(what, "photo") == 0)
      check_photo(&g, line);
    else
      check_noise(&g, line);
  }
  print_message("%d files decoded, %d photos (%d not on this machine), %d generated images\n",
                g.decoded, g.photos, g.skipped, g.noises);
  assert_int_equal(g.decoded, 45);
  assert_int_equal(g.noises, 200);
  assert_int_equal(g.photos + g.skipped, 3411);
  assert_true(g.photos >= 1660);
  free(text);
  diag_free(g.diag);
}

/* The largest permitted and absurdly long images cost their crop only. */
static void long_images_are_cropped_first(void **state) {
  (void)state;
  Diag *d = diag_new();
  Image im = {calloc(65535, 3), 65535, 1};
  memset(im.pixels, 200, 65535 * 3);
  Preprocess p = preprocess_clip(224);
  uint8_t *out = malloc(224 * 224 * 3);
  assert_int_equal(preprocess_crop(&p, &im, "long", d, out), VLPC_OK);
  for (size_t i = 0; i < 224 * 224 * 3; i++) assert_int_equal(out[i], 200);
  free(out);
  image_fini(&im);
  diag_free(d);
}

static VlStatus parse(Diag *d, const char *text, Preprocess *p) {
  diag_clear(d);
  return preprocess_parse(text, strlen(text), "p.json", d, p);
}

static void reads_hugging_face(void **state) {
  (void)state;
  Diag *d = diag_new();
  Preprocess p;
  assert_int_equal(parse(d, "{\"size\":336,\"crop_size\":336,\"do_normalize\":true}", &p), VLPC_OK);
  assert_true(p.resize == RESIZE_short && p.width == 336 && p.crop && p.crop_width == 336);
  assert_true(p.mean[0] == 0.48145466f && p.std[2] == 0.27577711f && p.divisor == 255.0f);
  assert_int_equal(parse(d,
                         "{\"size\":{\"height\":32,\"width\":64},\"do_center_crop\":false,"
                         "\"resample\":2,\"image_mean\":[0.5,0.5,0.5],\"image_std\":[1,2,3],"
                         "\"do_rescale\":false}",
                         &p),
                   VLPC_OK);
  int32_t w, h;
  preprocess_size(&p, &w, &h);
  assert_true(p.resize == RESIZE_exact && w == 64 && h == 32 && p.filter == FILTER_bilinear);
  assert_true(p.mean[1] == 0.5f && p.std[2] == 3.0f && p.divisor == 1.0f);
  diag_free(d);
}

static void reads_open_clip(void **state) {
  (void)state;
  Diag *d = diag_new();
  Preprocess p;
  assert_int_equal(parse(d,
                         "{\"model_cfg\":{\"vision_cfg\":{\"image_size\":256}},\"preprocess_cfg\":"
                         "{\"mean\":[0.5,0.25,0.125],\"std\":[0.5,0.5,0.5],"
                         "\"interpolation\":\"bilinear\",\"resize_mode\":\"squash\"}}",
                         &p),
                   VLPC_OK);
  assert_true(p.resize == RESIZE_exact && p.width == 256 && p.crop_height == 256);
  assert_true(p.filter == FILTER_bilinear && p.mean[2] == 0.125f);
  diag_free(d);
}

/* text, status, and what the message must hold */
static const struct {
  const char *text;
  VlStatus status;
  const char *words;
} refused[] = {
    {"", VLPC_E_BAD_FILE, "E0711]: p.json: line 1, column 0: this is not JSON"},
    {"[1]", VLPC_E_BAD_FILE, "E0711]: p.json: this does not say how photos are prepared"},
    {"{\"a\":1}", VLPC_E_BAD_FILE, "an object without any of their keys"},
    {"{\"size\":1,\"size\":2}", VLPC_E_BAD_FILE, "duplicate object key"},
    {"{\"size\":0}", VLPC_E_BAD_FILE, "E0712]: p.json: key 'size'"},
    {"{\"size\":4097}", VLPC_E_BAD_FILE, "a whole number from 1 to 4096"},
    {"{\"size\":\"224\"}", VLPC_E_BAD_FILE, "found:    a string"},
    {"{\"size\":224,\"image_processor_type\":\"ViTImageProcessor\"}", VLPC_E_UNSUPPORTED, "E0713"},
    {"{\"size\":{\"longest_edge\":224}}", VLPC_E_UNSUPPORTED, "key 'size'"},
    {"{\"size\":{\"shortest_edge\":224,\"longest_edge\":300}}", VLPC_E_UNSUPPORTED, "key 'size'"},
    {"{\"resample\":1}", VLPC_E_UNSUPPORTED, "key 'resample'"},
    {"{\"crop_size\":{\"height\":3}}", VLPC_E_BAD_FILE, "key 'crop_size.width'"},
    {"{\"image_mean\":[1,2]}", VLPC_E_BAD_FILE, "a list of another length"},
    {"{\"image_mean\":[1,2,\"3\"]}", VLPC_E_BAD_FILE, "expected: a number"},
    {"{\"image_mean\":[1,2,1e300]}", VLPC_E_BAD_FILE, "key 'mean'"},
    {"{\"image_std\":[1,0,1]}", VLPC_E_BAD_FILE, "key 'std'"},
    {"{\"image_std\":[1,-1,1]}", VLPC_E_BAD_FILE, "above 0"},
    {"{\"do_resize\":1}", VLPC_E_BAD_FILE, "true or false"},
    {"{\"do_resize\":true,\"do_pad\":true}", VLPC_E_UNSUPPORTED, "key 'do_pad'"},
    {"{\"rescale_factor\":0.5,\"size\":224}", VLPC_E_UNSUPPORTED, "key 'rescale_factor'"},
    {"{\"do_center_crop\":false,\"size\":224}", VLPC_E_UNSUPPORTED, "key 'do_center_crop'"},
    {"{\"preprocess_cfg\":3}", VLPC_E_BAD_FILE, "key 'preprocess_cfg'"},
    {"{\"preprocess_cfg\":{\"resize_mode\":\"longest\"}}", VLPC_E_UNSUPPORTED, "longest"},
    {"{\"preprocess_cfg\":{\"size\":[224,112]}}", VLPC_E_UNSUPPORTED, "a rectangle"},
};

static void refuses_with_reason(void **state) {
  (void)state;
  Diag *d = diag_new();
  Preprocess p;
  for (size_t i = 0; i < VL_COUNT(refused); i++) {
    VlStatus st = parse(d, refused[i].text, &p);
    if (st != refused[i].status || !strstr(diag_text(d), refused[i].words))
      fail_msg("%s: status %d, %s", refused[i].text, st, diag_text(d));
  }
  diag_free(d);
}

static void own_text_returns(void **state) {
  (void)state;
  Diag *d = diag_new();
  Arena *a = arena_new(0);
  Preprocess p = preprocess_clip(224), q;
  Str s = {.arena = a}, again = {.arena = a};
  preprocess_to_text(&p, &s);
  assert_int_equal(preprocess_from_text(s.at, s.n, "artifact", d, &q), VLPC_OK);
  preprocess_to_text(&q, &again);
  assert_string_equal(str_text(&s), str_text(&again));
  assert_true(q.mean[1] == p.mean[1] && q.std[0] == p.std[0] && q.crop_width == 224);
  p = (Preprocess){.resize = RESIZE_exact,
                   .width = 64,
                   .height = 32,
                   .filter = FILTER_bilinear,
                   .divisor = 1.0f,
                   .std = {1, 1, 1e-3f}};
  s = (Str){.arena = a};
  preprocess_to_text(&p, &s);
  assert_string_equal(str_text(&s),
                      "{\"resize\":\"exact\",\"width\":64,\"height\":32,\"filter\":\"bilinear\","
                      "\"divisor\":1,\"mean\":[0,0,0],\"std\":[1,1,0.0010000000474974513]}");
  assert_int_equal(preprocess_from_text(s.at, s.n, "artifact", d, &q), VLPC_OK);
  assert_true(q.resize == RESIZE_exact && q.height == 32 && !q.crop && q.divisor == 1.0f);
  assert_true(q.filter == FILTER_bilinear && q.std[2] == 1e-3f);
  for (size_t n = 0; n < s.n; n++)
    assert_int_not_equal(preprocess_from_text(s.at, n, "artifact", d, &q), VLPC_OK);
  static const char *const wrong[] = {
      "{}",
      "{\"resize\":\"long\"}",
      "{\"resize\":\"short\",\"width\":224,\"height\":224}",
      "{\"resize\":\"none\",\"crop\":[8],\"divisor\":1,\"mean\":[0,0,0],\"std\":[1,1,1]}",
      "{\"resize\":\"none\",\"crop\":[8,8],\"divisor\":2,\"mean\":[0,0,0],\"std\":[1,1,1]}",
      "{\"resize\":\"none\",\"crop\":[8,8],\"divisor\":1,\"std\":[1,1,1]}"};
  for (size_t i = 0; i < VL_COUNT(wrong); i++)
    assert_int_equal(preprocess_from_text(wrong[i], strlen(wrong[i]), "artifact", d, &q),
                     VLPC_E_BAD_FILE);
  arena_free(a);
  diag_free(d);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(equals_pillow),       cmocka_unit_test(long_images_are_cropped_first),
      cmocka_unit_test(reads_hugging_face),  cmocka_unit_test(reads_open_clip),
      cmocka_unit_test(refuses_with_reason), cmocka_unit_test(own_text_returns),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
