/* SPDX-License-Identifier: Apache-2.0 */
/* parts.h - rows of floats that the processes of a team make for each other: loss and
** gradients of the shards of a batch, scores of photos. */
#ifndef VLPC_TRAIN_PARTS_H
#define VLPC_TRAIN_PARTS_H

#include "base/arena.h"
#include "base/diag.h"
#include "vlpc/vlpc_train.h"

typedef struct {
  const vlpc_team *team; /* NULL: this process alone */
  float *at;             /* [n, width] */
  uint64_t width;
  uint32_t n, first, own; /* rows; of them this process's */
  float *sum;             /* as a row */
} Parts;

/* What a row holds: whether it is made, and its floats. */
enum { PART_MADE, PART_FLOATS };

/* Room for n rows, a multiple of the team's processes, with so many floats each. */
Parts parts_new(const vlpc_team *team, uint32_t n, uint64_t floats, Arena *a);
/* The floats of row i, now 0. */
float *parts_row(Parts *p, uint32_t i);
/* Has all rows made.  mine: whether this process's are; its error passes.  Fails with
** TRAIN_TEAM where another's are not. */
VL_MUST_USE VlStatus parts_share(Parts *p, VlStatus mine, Diag *d);
/* The same, and sums them in their order. */
VL_MUST_USE VlStatus parts_sum(Parts *p, VlStatus mine, Diag *d);

#endif
