/* SPDX-License-Identifier: Apache-2.0 */
/* report_photos.c - photos and maps over them, as pictures inside the page. */
#include <png.h>
#include <stdlib.h>
#include <string.h>

#include "cli/report.h"

/* ---- pictures ---------------------------------------------------------------------- */

uint8_t report_byte(double v) { return (uint8_t)(v >= 255 ? 255 : v > 0 ? v + 0.5 : 0); }

static void add_base64(Str *s, const uint8_t *at, size_t n) {
  static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < n; i += 3) {
    uint32_t left = (uint32_t)VL_MIN(n - i, 3), v = 0;
    for (uint32_t k = 0; k < 3; k++) v = v << 8 | (k < left ? at[i + k] : 0u);
    char four[4] = {digit[v >> 18], digit[v >> 12 & 63], digit[v >> 6 & 63], digit[v & 63]};
    for (uint32_t k = left + 1; k < 4; k++) four[k] = '=';
    str_addn(s, four, 4);
  }
}

typedef struct {
  const uint8_t *at; /* [side, side] pixels */
  uint32_t side, format;
} Picture;

/* As a URL. */
static VlStatus add_url(Str *s, const Picture *p, Diag *d) {
  png_image image = {.version = PNG_IMAGE_VERSION, .width = p->side, .height = p->side,
                     .format = p->format};
  png_alloc_size_t n = PNG_IMAGE_PNG_SIZE_MAX(image);
  uint8_t *png = arena_array(s->arena, uint8_t, n);
  if (!png_image_write_to_memory(&image, png, &n, 0, p->at, 0, NULL)) {
    VlStatus st = diag_error(d, DIAG_NOMEM, DIAG_NOWHERE, "a picture cannot be made");
    diag_found(d, "%s", image.message);
    return st;
  }
  str_add(s, "data:image/png;base64,");
  add_base64(s, png, n);
  return VLPC_OK;
}

/* Patches as one colour, the more opaque the more attention; the most of the map is 230. */
static VlStatus add_heat(Str *s, const float *map, uint32_t patches, Diag *d) {
  size_t n = (size_t)patches * patches;
  uint8_t *at = arena_array(s->arena, uint8_t, 4 * n);
  double most = 0;
  for (size_t i = 0; i < n; i++) most = VL_MAX(most, (double)map[1 + i]);
  for (size_t i = 0; i < n; i++) {
    double part = most > 0 ? (double)map[1 + i] / most : 0;
    const uint8_t colour[4] = {255, 96, 0, report_byte(230 * part)};
    memcpy(at + 4 * i, colour, sizeof colour);
  }
  str_add(s, "<img alt=\"\" src=\"");
  VL_TRY(add_url(s, &(Picture){at, patches, PNG_FORMAT_RGBA}, d));
  str_add(s, "\">");
  return VLPC_OK;
}

/* ---- figures ----------------------------------------------------------------------- */

typedef struct {
  const float *at;
  uint32_t rows;
  const char *title;
} Map;

static VlStatus add_map(Str *s, const Looks *l, const Map *m, Diag *d) {
  double prompts = 0;
  for (uint32_t i = 1 + l->patches * l->patches; i < m->rows; i++) prompts += (double)m->at[i];
  str_add(s, "<figure><div class=\"look\">");
  VL_TRY(add_heat(s, m->at, l->patches, d));
  str_printf(s, "</div><figcaption>%s: class row %.1f %%", m->title, 100 * (double)m->at[0]);
  if (m->rows > 1 + l->patches * l->patches)
    str_printf(s, ", prompt rows %.1f %%", 100 * prompts);
  str_add(s, "</figcaption></figure>\n");
  return VLPC_OK;
}

VlStatus report_photos(const Looks *l, Diag *d, Str *s) {
  str_add(s, "<h2>Where features of photos come from</h2>\n<p class=\"soft\">What the class row "
             "attends to in the last layer of the image tower, mean over its heads; colours are "
             "relative to the most of each map.");
  if (!l->plain_rows) str_add(s, " This method does not change the image tower.");
  str_add(s, "</p>\n<div class=\"grid2\">\n");
  for (uint32_t i = 0; i < l->photo.n; i++) {
    const Look *x = &l->photo.at[i];
    str_add(s, "<div class=\"card\"><h3>");
    chart_escape(s, x->path);
    str_add(s, "</h3><div class=\"looks\" style=\"--photo:url(");
    VL_TRY(add_url(s, &(Picture){x->rgb, l->side, PNG_FORMAT_RGB}, d));
    str_add(s, ")\">\n<figure><div class=\"look\"></div><figcaption>photo</figcaption></figure>\n");
    Map plain = {x->plain, l->plain_rows, "without prompts"};
    Map map = {x->map, l->rows, x->plain ? "with prompts" : "attention"};
    if (x->plain) VL_TRY(add_map(s, l, &plain, d));
    VL_TRY(add_map(s, l, &map, d));
    str_add(s, "</div></div>\n");
  }
  str_add(s, "</div>\n");
  return VLPC_OK;
}
