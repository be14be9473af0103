/* SPDX-License-Identifier: Apache-2.0 */
/* report_charts.c - curves, the matrix of confusions, calibration, as SVG. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "cli/report.h"
#include "train/metrics.h"

/* Control characters, and those that turn the direction of writing (U+202A…, U+2066…). */
static bool is_control(const char *s, size_t n) {
  bool turns = n == 3 && (uint8_t)s[0] == 0xe2 &&
               (((uint8_t)s[1] == 0x80 && (uint8_t)s[2] >= 0xaa && (uint8_t)s[2] <= 0xae) ||
                ((uint8_t)s[1] == 0x81 && (uint8_t)s[2] >= 0xa6 && (uint8_t)s[2] <= 0xa9));
  return turns || (uint8_t)*s < 32 || *s == 127;
}

/* U+FFFD stands for them, and for bytes that are not UTF-8. */
void chart_escape(Str *s, const char *text) {
  static const char special[] = "&<>\"'";
  static const char *const named[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
  size_t left = strlen(text);
  for (size_t n; left > 0; text += n, left -= n) {
    const char *at = strchr(special, *text);
    size_t length = utf8_length(text, left);
    n = length ? length : 1;
    if (at) str_add(s, named[at - special]);
    else if (length == 0 || is_control(text, n)) str_add(s, "\xef\xbf\xbd");
    else str_addn(s, text, n);
  }
}

static void open_svg(Str *s, double width, double height, const char *label) {
  str_printf(s, "<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"", width, height);
  chart_escape(s, label);
  str_add(s, "\">\n");
}

/* ---- axes ---------------------------------------------------------------------- */

typedef struct {
  double lo, hi, step; /* of what is shown; ticks are whole multiples of step */
  double from, to;     /* of the picture */
} Axis;

/* Room for values from lo to hi with about five ticks. */
static Axis make_axis(double lo, double hi, double from, double to) {
  double size = fmax(fabs(lo), fabs(hi));
  if (hi - lo <= 1e-9 * size || hi - lo < 1e-290) {
    double room = size > 1e-280 ? size / 10 : 1;
    lo -= room, hi += room;
  }
  double raw = (hi - lo) / 4, unit = pow(10, floor(log10(raw))), m = raw / unit;
  return (Axis){lo, hi, unit * (m <= 1 ? 1 : m <= 2 ? 2 : m <= 5 ? 5 : 10), from, to};
}

static double at(const Axis *a, double v) {
  return a->from + (v - a->lo) / (a->hi - a->lo) * (a->to - a->from);
}

static void draw_axes(Str *s, const Axis *x, const Axis *y) {
  for (double k = ceil(y->lo / y->step); k * y->step <= y->hi; k++)
    str_printf(s, "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/><text class=\"tick\" x=\"%.1f\" "
               "y=\"%.1f\" text-anchor=\"end\">%.6g</text>\n", x->from, at(y, k * y->step), x->to,
               x->from - 6, at(y, k * y->step) + 4, k * y->step + 0.0); /* no -0 */
  for (double k = ceil(x->lo / x->step); k * x->step <= x->hi; k++)
    str_printf(s, "<text class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%.6g</text>\n",
               at(x, k * x->step), y->from + 18, k * x->step + 0.0);
  str_printf(s, "<path class=\"axis\" d=\"M%.1f %.1fH%.1f\"/>\n", x->from, y->from, x->to);
}

/* ---- curves ------------------------------------------------------------------------ */

enum { BUCKETS = 400 };

/* Points that share one place of a curve; n counts those that are finite. */
typedef struct {
  double step, mean, lo, hi;
  uint64_t n;
} Bucket;

static Bucket make_bucket(const Series *x, uint64_t from, uint64_t to) {
  Bucket b = {.lo = HUGE_VAL, .hi = -HUGE_VAL};
  double sum = 0;
  b.step = ((double)x->point.at[from].step + (double)x->point.at[to - 1].step) / 2;
  for (uint64_t i = from; i < to; i++) {
    double v = fmax(-1e300, fmin(1e300, x->point.at[i].value));
    if (!isfinite(x->point.at[i].value)) continue;
    sum += v;
    b.lo = fmin(b.lo, v), b.hi = fmax(b.hi, v);
    b.n++;
  }
  if (b.n) b.mean = sum / (double)b.n;
  return b;
}

static uint32_t make_buckets(const Series *x, Bucket *out) {
  uint32_t n = VL_MIN(x->point.n, BUCKETS);
  for (uint64_t b = 0; b < n; b++)
    out[b] = make_bucket(x, b * x->point.n / n, (b + 1) * x->point.n / n);
  return n;
}

static void draw_spread(Str *s, const Bucket *b, uint32_t n, const Axis *x, const Axis *y) {
  str_add(s, "<path class=\"spread\" d=\"");
  for (uint32_t i = 0; i < n; i++)
    if (b[i].n > 1)
      str_printf(s, "M%.1f %.1fV%.1f", at(x, b[i].step), at(y, b[i].lo), at(y, b[i].hi));
  str_add(s, "\"/>\n");
}

/* The line breaks where nothing is finite; a point alone is a dot. */
static void draw_line(Str *s, const Bucket *b, uint32_t n, const Axis *x, const Axis *y) {
  str_add(s, "<path class=\"curve\" d=\"");
  for (uint32_t i = 0; i < n; i++) {
    bool first = i == 0 || b[i - 1].n == 0, last = i + 1 == n || b[i + 1].n == 0;
    if (b[i].n == 0) continue;
    str_printf(s, "%c%.1f %.1f", first ? 'M' : 'L', at(x, b[i].step), at(y, b[i].mean));
    if (first && last) str_add(s, "h0");
  }
  str_add(s, "\"/>\n");
}

void chart_series(Str *s, const Series *series) {
  Bucket b[BUCKETS];
  uint32_t n = make_buckets(series, b);
  double lo = HUGE_VAL, hi = -HUGE_VAL;
  for (uint32_t i = 0; i < n; i++) lo = fmin(lo, b[i].lo), hi = fmax(hi, b[i].hi);
  if (!isfinite(lo)) {
    str_add(s, "<p class=\"soft\">No value is finite.</p>\n");
    return;
  }
  Axis x = make_axis(b[0].step, b[n - 1].step, 68, 628), y = make_axis(lo, hi, 214, 14);
  x.step = fmax(x.step, 1); /* there is no half of a step */
  open_svg(s, 640, 240, series->name);
  draw_axes(s, &x, &y);
  if (series->point.n > BUCKETS) draw_spread(s, b, n, &x, &y);
  draw_line(s, b, n, &x, &y);
  str_add(s, "</svg>\n");
}

/* ---- confusions --------------------------------------------------------------------- */

enum { NAMED_MAX = 30, NAME_CHARS = 22, NAME_ROOM = 160 };

static void short_name(Str *s, const char *name) {
  size_t left = strlen(name), n = 0;
  for (int i = 0; i < NAME_CHARS && n < left; i++) n += VL_MAX(utf8_length(name + n, left - n), 1u);
  chart_escape(s, arena_strndup(s->arena, name, n));
  if (n < left) str_add(s, "…");
}

/* Where the matrix is drawn: cells of size, names in a room left of it and above. */
typedef struct {
  double size, room;
} Grid;

static void draw_cell(Str *s, const PartScore *p, Grid g, uint32_t i, uint32_t k) {
  const ClassScore *c = &p->class[i];
  double share = (double)c->answers[k] / (double)c->photos;
  double x = g.room + k * g.size, y = g.room + i * g.size;
  str_printf(s, "<g><title>%" PRIu64 " of %" PRIu64 " photos of ", c->answers[k], c->photos);
  chart_escape(s, c->name);
  str_add(s, " taken for ");
  chart_escape(s, p->class[k].name);
  str_printf(s, "</title><rect class=\"%s\" x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" "
             "fill-opacity=\"%.3f\"/>", i == k ? "right" : "wrong", x, y, g.size, g.size,
             0.12 + 0.88 * share);
  if (g.room > 0)
    str_printf(s, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%" PRIu64
               "</text>", share > 0.5 ? "count on" : "count", x + g.size / 2, y + g.size / 2 + 4,
               c->answers[k]);
  str_add(s, "</g>\n");
}

static void draw_names(Str *s, const PartScore *p, Grid g) {
  for (uint32_t i = 0; i < p->n_classes; i++) {
    double middle = g.room + (i + 0.5) * g.size;
    str_printf(s, "<text class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">", g.room - 6,
               middle + 4);
    short_name(s, p->class[i].name);
    str_printf(s, "</text><text class=\"tick\" transform=\"translate(%.1f %.1f) rotate(-60)\">",
               middle + 4, g.room - 6);
    short_name(s, p->class[i].name);
    str_add(s, "</text>\n");
  }
}

void chart_confusion(Str *s, const PartScore *p) {
  bool named = p->n_classes <= NAMED_MAX;
  Grid g = {1000.0 / p->n_classes, 0};
  if (named) g = (Grid){fmin(44, 900.0 / p->n_classes), NAME_ROOM};
  double side = g.size * p->n_classes;
  open_svg(s, side + 1.5 * g.room, side + g.room, "confusions: classes by answers");
  for (uint32_t i = 0; i < p->n_classes; i++)
    for (uint32_t k = 0; k < p->n_classes; k++)
      if (p->class[i].answers[k]) draw_cell(s, p, g, i, k);
  if (named) draw_names(s, p, g);
  str_printf(s, "<rect class=\"frame\" x=\"%.0f\" y=\"%.0f\" width=\"%.2f\" "
             "height=\"%.2f\"/>\n</svg>\n", g.room, g.room, side, side);
}

/* ---- calibration ---------------------------------------------------------------------- */

void chart_calibration(Str *s, const PartScore *p) {
  Axis x = {0, 1, 0.2, 48, 388}, y = {0, 1, 0.2, 354, 14};
  double width = (x.to - x.from) / ECE_BINS;
  open_svg(s, 400, 384, "calibration: accuracy over the probability of the answer");
  draw_axes(s, &x, &y);
  for (uint32_t i = 0; i < p->n_bins; i++) {
    const BinScore *b = &p->bin[i];
    double left = x.from + width * fmax(0, ceil(b->confidence * ECE_BINS) - 1);
    str_printf(s, "<g><title>%" PRIu64 " photos: probability %.1f %%, accuracy %.1f %%</title>"
               "<rect class=\"bin\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>"
               "<circle class=\"mean\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/></g>\n", b->photos,
               100 * b->confidence, 100 * b->accuracy, left + 1, at(&y, b->accuracy), width - 2,
               y.from - at(&y, b->accuracy), at(&x, b->confidence), at(&y, b->accuracy));
  }
  str_printf(s, "<path class=\"ideal\" d=\"M%.0f %.0fL%.0f %.0f\"/>\n</svg>\n", x.from, y.from,
             x.to, y.to);
}
