/* SPDX-License-Identifier: Apache-2.0 */
/* rng.c - Philox4x32-10 as published (Salmon, Moraes, Dror, Shaw: "Parallel
** Random Numbers: As Easy as 1, 2, 3", SC 2011).  The seed is the key; index
** and stream are the counter. */
#include "base/rng.h"

#include <math.h>

#define ROUNDS 10
#define MUL_0 UINT64_C(0xd2511f53)
#define MUL_1 UINT64_C(0xcd9e8d57)
#define STEP_0 UINT32_C(0x9e3779b9) /* golden ratio */
#define STEP_1 UINT32_C(0xbb67ae85) /* sqrt(3) - 1 */
#define TWO_PI 6.283185307179586476925286766559

void rng_block(Rng r, uint64_t index, uint32_t out[4]) {
  uint32_t k0 = (uint32_t)r.seed, k1 = (uint32_t)(r.seed >> 32);
  uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32);
  uint32_t c2 = (uint32_t)r.stream, c3 = (uint32_t)(r.stream >> 32);
  for (int i = 0; i < ROUNDS; i++) {
    uint64_t p0 = MUL_0 * c0, p1 = MUL_1 * c2;
    c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
    c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c1 = (uint32_t)p1;
    c3 = (uint32_t)p0;
    k0 += STEP_0;
    k1 += STEP_1;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

/* [0, 1) from the upper 53 of 64 bits. */
static double unit(uint32_t lo, uint32_t hi) {
  uint64_t bits = (uint64_t)hi << 32 | lo;
  return (double)(bits >> 11) * 0x1p-53;
}

uint32_t rng_u32(Rng r, uint64_t index) {
  uint32_t w[4];
  rng_block(r, index, w);
  return w[0];
}

double rng_uniform(Rng r, uint64_t index) {
  uint32_t w[4];
  rng_block(r, index, w);
  return unit(w[0], w[1]);
}

double rng_normal(Rng r, uint64_t index) {
  uint32_t w[4];
  rng_block(r, index, w);
  double radius = sqrt(-2.0 * log(1.0 - unit(w[0], w[1])));
  return radius * cos(TWO_PI * unit(w[2], w[3]));
}
