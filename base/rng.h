/* SPDX-License-Identifier: Apache-2.0 */
/* rng.h - a counter-based generator (Philox4x32-10, Salmon et al. 2011): the
** value at (seed, stream, index) depends on nothing else, so draws are the
** same for any thread count and order.  The draws below at one (seed, stream,
** index) come from the same block, so give each use its own stream. */
#ifndef VLPC_BASE_RNG_H
#define VLPC_BASE_RNG_H

#include <stdint.h>

typedef struct {
  uint64_t seed, stream;
} Rng;

/* The four words that Philox gives for key = seed and counter = (index, stream),
** low words first; the draws below are made of them. */
void rng_block(Rng r, uint64_t index, uint32_t out[4]);
uint32_t rng_u32(Rng r, uint64_t index);
double rng_uniform(Rng r, uint64_t index); /* [0, 1), 53 bits */
double rng_normal(Rng r, uint64_t index);  /* mean 0, sd 1 (Box-Muller) */

#endif
