/* SPDX-License-Identifier: Apache-2.0 */
/* mt.c - after CPython's _randommodule.c and random.py (3.2 and later draw
** alike), step by step: the same numbers need the same words in the same order. */
#include "train/mt.h"

#include <math.h>

#define SHIFT 397
#define MATRIX UINT32_C(0x9908b0df)

static void seed_one(Mt *m, uint32_t s) {
  m->word[0] = s;
  for (uint32_t i = 1; i < MT_WORDS; i++)
    m->word[i] = UINT32_C(1812433253) * (m->word[i - 1] ^ m->word[i - 1] >> 30) + i;
  m->at = MT_WORDS;
}

void mt_seed(Mt *m, uint64_t seed) {
  uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)}, *w = m->word;
  uint32_t n = key[1] != 0 ? 2 : 1, i = 1, j = 0;
  seed_one(m, UINT32_C(19650218));
  for (uint32_t k = MT_WORDS; k > 0; k--) {
    w[i] = (w[i] ^ (w[i - 1] ^ w[i - 1] >> 30) * UINT32_C(1664525)) + key[j] + j;
    if (++i == MT_WORDS) w[0] = w[MT_WORDS - 1], i = 1;
    if (++j == n) j = 0;
  }
  for (uint32_t k = MT_WORDS - 1; k > 0; k--) {
    w[i] = (w[i] ^ (w[i - 1] ^ w[i - 1] >> 30) * UINT32_C(1566083941)) - i;
    if (++i == MT_WORDS) w[0] = w[MT_WORDS - 1], i = 1;
  }
  w[0] = UINT32_C(0x80000000);
}

static void make_words(Mt *m) {
  uint32_t *w = m->word;
  for (uint32_t i = 0; i < MT_WORDS; i++) {
    uint32_t y = (w[i] & UINT32_C(0x80000000)) | (w[(i + 1) % MT_WORDS] & UINT32_C(0x7fffffff));
    w[i] = w[(i + SHIFT) % MT_WORDS] ^ y >> 1 ^ ((y & 1) != 0 ? MATRIX : 0);
  }
  m->at = 0;
}

uint32_t mt_u32(Mt *m) {
  if (m->at >= MT_WORDS) make_words(m);
  uint32_t y = m->word[m->at++];
  y ^= y >> 11;
  y ^= y << 7 & UINT32_C(0x9d2c5680);
  y ^= y << 15 & UINT32_C(0xefc60000);
  return y ^ y >> 18;
}

double mt_random(Mt *m) {
  uint32_t a = mt_u32(m) >> 5, b = mt_u32(m) >> 6;
  return ((double)a * 67108864.0 + (double)b) * (1.0 / 9007199254740992.0);
}

uint32_t mt_below(Mt *m, uint32_t n) {
  uint32_t bits = 32 - (uint32_t)__builtin_clz(n), r;
  do r = mt_u32(m) >> (32 - bits);
  while (r >= n);
  return r;
}

void mt_shuffle(Mt *m, uint32_t *x, uint32_t n) {
  for (uint32_t i = n; i-- > 1;) {
    uint32_t j = mt_below(m, i + 1), t = x[i];
    x[i] = x[j];
    x[j] = t;
  }
}

/* The size up to which CPython copies the population instead of keeping a set
** of what was drawn: the two draw differently. */
static double copied_up_to(uint32_t k) {
  return k > 5 ? 21.0 + pow(4.0, ceil(log((double)k * 3.0) / log(4.0))) : 21.0;
}

void mt_sample(Mt *m, uint32_t n, uint32_t k, uint32_t *out, Arena *a) {
  if (n <= copied_up_to(k)) {
    uint32_t *pool = arena_array(a, uint32_t, n);
    for (uint32_t i = 0; i < n; i++) pool[i] = i;
    for (uint32_t i = 0; i < k; i++) {
      uint32_t j = mt_below(m, n - i);
      out[i] = pool[j];
      pool[j] = pool[n - i - 1];
    }
    return;
  }
  uint8_t *drawn = arena_array(a, uint8_t, n);
  for (uint32_t i = 0; i < k; i++) {
    do out[i] = mt_below(m, n);
    while (drawn[out[i]]);
    drawn[out[i]] = 1;
  }
}
