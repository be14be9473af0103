/* SPDX-License-Identifier: Apache-2.0 */
/* mt.h - Python's random module: the Mersenne twister MT19937 (Matsumoto and
** Nishimura 1998) with CPython's seeding and its ways to draw.  For drawing the
** same photos as programs in Python do, and for nothing else: rng.h is the
** generator of vlpc's own draws. */
#ifndef VLPC_TRAIN_MT_H
#define VLPC_TRAIN_MT_H

#include "base/arena.h"

#define MT_WORDS 624

typedef struct {
  uint32_t word[MT_WORDS];
  uint32_t at; /* next word to give out; MT_WORDS: make new ones first */
} Mt;

void mt_seed(Mt *m, uint64_t seed);   /* random.seed(seed) */
uint32_t mt_u32(Mt *m);               /* random.getrandbits(32) */
double mt_random(Mt *m);              /* random.random() */
uint32_t mt_below(Mt *m, uint32_t n); /* random.randrange(n); n > 0 */
/* random.shuffle(x) */
void mt_shuffle(Mt *m, uint32_t *x, uint32_t n);
/* random.sample(range(n), k) into out[k]; k <= n.  Scratch is on a. */
void mt_sample(Mt *m, uint32_t n, uint32_t k, uint32_t *out, Arena *a);

#endif
