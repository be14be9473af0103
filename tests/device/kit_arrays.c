/* SPDX-License-Identifier: Apache-2.0 */
/* kit_arrays.c - the arrays of llvm_kit.h, for every device. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "tests/device/llvm_kit.h"

float *kit_floats(const Kit *k, uint64_t seed, int64_t n) {
  float *v = arena_array(k->arena, float, n + 16);
  Rng r = {seed, 1};
  for (int64_t i = 0; i < n; i++) v[i] = (float)(2 * rng_uniform(r, (uint64_t)i) - 1);
  return v;
}

float *kit_filled(const Kit *k, int64_t n, float value) {
  float *v = arena_array(k->arena, float, n + 16);
  for (int64_t i = 0; i < n; i++) v[i] = value;
  return v;
}

void kit_same(const float *a, const float *b, int64_t n, const char *what) {
  for (int64_t i = 0; i < n; i++)
    if (memcmp(&a[i], &b[i], sizeof *a) != 0)
      fail_msg("%s: element %lld is %a and %a", what, (long long)i, (double)a[i], (double)b[i]);
}

void kit_near(const float *got, const double *want, int64_t n, double abs_error, const char *what) {
  for (int64_t i = 0; i < n; i++) {
    if (isnan(want[i]) && isnan(got[i])) continue;
    if (want[i] == (double)got[i]) continue;
    if (!(fabs((double)got[i] - want[i]) <= abs_error * (1 + fabs(want[i]))))
      fail_msg("%s: element %lld is %.9g, should be %.9g", what, (long long)i, (double)got[i],
               want[i]);
  }
}
