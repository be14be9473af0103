/* SPDX-License-Identifier: Apache-2.0 */
/* resize.c - the two passes.
**
** An output pixel is a weighted sum of the source pixels under the filter,
** which is stretched by the scale when the image gets smaller (that is the
** antialiasing).  Weights are computed in double, made to sum to one, and
** rounded to integers of 22 fractional bits; sums start at one half and are
** shifted back with saturation.  The order of the roundings is what makes the
** result equal to Pillow's, so it must not be "improved".
**
** The horizontal pass works on blocks of 16 rows turned on their side, so its
** inner loop runs over 48 neighbouring bytes as the vertical one does over a
** row; both are plain loops that a compiler turns into vector code, built once
** for the baseline CPU and once for AVX2. */
#include "runtime/resize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BITS 22
#define ROWS 16                  /* rows in a block of the horizontal pass */
#define BLOCK ((size_t)ROWS * 3) /* bytes of one turned column */

/* Weights of the outputs [first, first + n) along one axis. */
typedef struct {
  int32_t *weight; /* [n, taps] */
  int64_t *from;   /* [n] first source index */
  int32_t *count;  /* [n] taps used */
  int64_t n, taps;
  int64_t lo, hi; /* source indices read by any of them: [lo, hi) */
} Axis;

static double bilinear(double x) {
  x = fabs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

/* Keys' cubic with a = -1/2. */
static double bicubic(double x) {
  const double a = -0.5;
  x = fabs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

static int32_t fixed(double w) {
  return (int32_t)((w < 0 ? -0.5 : 0.5) + w * (1 << BITS));
}

typedef struct {
  double (*f)(double);
  double scale, stretch, support;
  int64_t in;
} Kernel;

/* Weights of output i into w[taps]. */
static void fill_output(const Kernel *k, int64_t i, double *w, Axis *ax, int64_t slot) {
  double centre = ((double)i + 0.5) * k->scale, sum = 0.0, inverse = 1.0 / k->stretch;
  int64_t lo = (int64_t)(centre - k->support + 0.5), hi = (int64_t)(centre + k->support + 0.5);
  lo = VL_MAX(lo, 0);
  hi = VL_MIN(hi, k->in);
  for (int64_t j = lo; j < hi; j++) {
    w[j - lo] = k->f(((double)j - centre + 0.5) * inverse);
    sum += w[j - lo];
  }
  int32_t *out = ax->weight + slot * ax->taps;
  for (int64_t j = 0; j < hi - lo; j++) out[j] = fixed(sum != 0.0 ? w[j] / sum : w[j]);
  ax->from[slot] = lo;
  ax->count[slot] = (int32_t)(hi - lo);
  ax->lo = slot == 0 ? lo : VL_MIN(ax->lo, lo);
  ax->hi = slot == 0 ? hi : VL_MAX(ax->hi, hi);
}

static void axis_fini(Axis *ax) {
  free(ax->weight);
  free(ax->from);
  free(ax->count);
}

typedef struct {
  int64_t in, out, first, n;
  Filter filter;
} AxisSpec;

static bool axis_init(Axis *ax, const AxisSpec *s) {
  Kernel k = {.f = s->filter == FILTER_bicubic ? bicubic : bilinear, .in = s->in};
  k.scale = (double)s->in / (double)s->out;
  k.stretch = k.scale < 1.0 ? 1.0 : k.scale;
  k.support = (s->filter == FILTER_bicubic ? 2.0 : 1.0) * k.stretch;
  *ax = (Axis){.n = s->n, .taps = (int64_t)ceil(k.support) * 2 + 1};
  double *w = malloc((size_t)ax->taps * sizeof *w);
  ax->weight = calloc((size_t)s->n, (size_t)ax->taps * sizeof *ax->weight);
  ax->from = malloc((size_t)s->n * sizeof *ax->from);
  ax->count = malloc((size_t)s->n * sizeof *ax->count);
  bool ok = w && ax->weight && ax->from && ax->count;
  for (int64_t i = 0; ok && i < s->n; i++) fill_output(&k, s->first + i, w, ax, i);
  free(w);
  return ok;
}

/* Rows of RGB bytes. */
typedef struct {
  const uint8_t *at;
  size_t stride;
} Pixels;

static inline uint8_t clip(int32_t v) {
  v >>= BITS;
  return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* acc[0 … n) += weight * src[0 … n). */
static inline __attribute__((always_inline)) void sum_taps(int32_t *acc, size_t n,
                                                           const uint8_t *src, size_t stride,
                                                           const int32_t *weight, int32_t taps) {
  for (size_t j = 0; j < n; j++) acc[j] = 1 << (BITS - 1);
  for (int32_t t = 0; t < taps; t++) {
    const uint8_t *p = src + stride * (size_t)t;
    int32_t w = weight[t];
    for (size_t j = 0; j < n; j++) acc[j] += p[j] * w;
  }
}

/* One output column of a turned block: 48 sums at once. */
static inline __attribute__((always_inline)) void columns(const Axis *ax, const uint8_t *turned,
                                                          uint8_t *out) {
  for (int64_t i = 0; i < ax->n; i++) {
    int32_t acc[BLOCK];
    const uint8_t *src = turned + (size_t)(ax->from[i] - ax->lo) * BLOCK;
    sum_taps(acc, BLOCK, src, BLOCK, ax->weight + i * ax->taps, ax->count[i]);
    for (size_t j = 0; j < BLOCK; j++) out[(size_t)i * BLOCK + j] = clip(acc[j]);
  }
}

/* Output row i from source rows of n bytes, in pieces that stay in registers. */
static inline __attribute__((always_inline)) void one_row(const Axis *ax, int64_t i, Pixels src,
                                                          size_t n, uint8_t *out) {
  const uint8_t *from = src.at + src.stride * (size_t)(ax->from[i] - ax->lo);
  const int32_t *weight = ax->weight + i * ax->taps;
  for (size_t at = 0; at < n; at += 64) {
    int32_t acc[64];
    size_t m = VL_MIN(n - at, 64);
    if (m == 64)
      sum_taps(acc, 64, from + at, src.stride, weight, ax->count[i]);
    else
      sum_taps(acc, m, from + at, src.stride, weight, ax->count[i]);
    for (size_t j = 0; j < m; j++) out[at + j] = clip(acc[j]);
  }
}

static void columns_base(const Axis *ax, const uint8_t *turned, uint8_t *out) {
  columns(ax, turned, out);
}
static void row_base(const Axis *ax, int64_t i, Pixels src, size_t n, uint8_t *out) {
  one_row(ax, i, src, n, out);
}

typedef struct {
  void (*columns)(const Axis *, const uint8_t *, uint8_t *);
  void (*row)(const Axis *, int64_t, Pixels, size_t, uint8_t *);
} Loops;

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void columns_avx2(const Axis *ax, const uint8_t *turned,
                                                         uint8_t *out) {
  columns(ax, turned, out);
}
__attribute__((target("avx2"))) static void row_avx2(const Axis *ax, int64_t i, Pixels src,
                                                     size_t n, uint8_t *out) {
  one_row(ax, i, src, n, out);
}
static Loops choose_loops(void) {
  if (__builtin_cpu_supports("avx2")) return (Loops){columns_avx2, row_avx2};
  return (Loops){columns_base, row_base};
}
#else
static Loops choose_loops(void) {
  return (Loops){columns_base, row_base};
}
#endif

/* [rows, n, 3] to [n, 3 * 16]: byte c * 16 + row of column x. */
static void turn_in(Pixels src, int64_t n, int64_t rows, uint8_t *out) {
  for (int64_t r = 0; r < rows; r++) {
    const uint8_t *from = src.at + src.stride * (size_t)r;
    for (int64_t x = 0; x < n; x++)
      for (int c = 0; c < 3; c++) out[x * (int64_t)BLOCK + c * ROWS + r] = from[x * 3 + c];
  }
}

static void turn_out(const uint8_t *turned, int64_t n, int64_t rows, uint8_t *dst, size_t stride) {
  for (int64_t r = 0; r < rows; r++) {
    uint8_t *to = dst + stride * (size_t)r;
    for (int64_t x = 0; x < n; x++)
      for (int c = 0; c < 3; c++) to[x * 3 + c] = turned[x * (int64_t)BLOCK + c * ROWS + r];
  }
}

/* Rows of columns [ax->lo, ax->hi) to rows of ax->n pixels. */
static bool pass_across(const Axis *ax, Pixels src, int64_t rows, uint8_t *dst, size_t stride) {
  uint8_t *turned = calloc((size_t)(ax->hi - ax->lo), BLOCK), *done = malloc((size_t)ax->n * BLOCK);
  bool ok = turned && done;
  Loops loops = choose_loops();
  for (int64_t y = 0; ok && y < rows; y += ROWS) {
    int64_t n = VL_MIN(rows - y, ROWS);
    Pixels block = {src.at + src.stride * (size_t)y, src.stride};
    turn_in(block, ax->hi - ax->lo, n, turned);
    loops.columns(ax, turned, done);
    turn_out(done, ax->n, n, dst + stride * (size_t)y, stride);
  }
  free(turned);
  free(done);
  return ok;
}

/* Rows [ax->lo, ax->hi) of width pixels to ax->n rows. */
static void pass_down(const Axis *ax, Pixels src, int64_t width, uint8_t *dst, size_t stride) {
  Loops loops = choose_loops();
  for (int64_t i = 0; i < ax->n; i++)
    loops.row(ax, i, src, (size_t)width * 3, dst + stride * (size_t)i);
}

/* Pillow 13 goes down first where the height shrinks by more than twice what
** the width does (older ones never do); the rounding between the passes makes
** the two orders differ by a level here and there. */
static bool down_first(const Resize *r) {
  return r->out_h < r->src_h && r->src_h - r->out_h > 2 * (r->src_w - r->out_w);
}

/* Both passes, with one intermediate image of just the pixels needed. */
static bool run(const Resize *r, const Axis *across, const Axis *down, uint8_t *dst,
                size_t stride) {
  size_t src_stride = (size_t)r->src_w * 3;
  Pixels src = {r->src + src_stride * (size_t)down->lo + (size_t)across->lo * 3, src_stride};
  bool first = down_first(r), ok = true;
  int64_t mid_w = first ? across->hi - across->lo : across->n;
  int64_t mid_h = first ? down->n : down->hi - down->lo;
  Pixels mid = {NULL, (size_t)mid_w * 3};
  uint8_t *space = malloc(mid.stride * (size_t)mid_h);
  if (!space) return false;
  mid.at = space;
  if (first) {
    pass_down(down, src, mid_w, space, mid.stride);
    ok = pass_across(across, mid, mid_h, dst, stride);
  } else {
    ok = pass_across(across, src, mid_h, space, mid.stride);
    if (ok) pass_down(down, mid, mid_w, dst, stride);
  }
  free(space);
  return ok;
}

VlStatus resize_window(const Resize *r, uint8_t *dst, size_t dst_stride) {
  VL_ASSERT(r->x >= 0 && r->y >= 0 && r->w > 0 && r->h > 0);
  VL_ASSERT(r->x + r->w <= r->out_w && r->y + r->h <= r->out_h);
  Axis across = {0}, down = {0};
  bool ok = axis_init(&across, &(AxisSpec){r->src_w, r->out_w, r->x, r->w, r->filter}) &&
            axis_init(&down, &(AxisSpec){r->src_h, r->out_h, r->y, r->h, r->filter}) &&
            run(r, &across, &down, dst, dst_stride);
  axis_fini(&across);
  axis_fini(&down);
  return ok ? VLPC_OK : VLPC_E_NOMEM;
}
