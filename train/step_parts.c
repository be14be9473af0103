/* SPDX-License-Identifier: Apache-2.0 */
/* step_parts.c - shards of a batch: whose they are, and their sum.
**
** A shard's loss and gradients are made alone, whoever makes them, and all are summed in
** their order by everyone: any number of processes gives the same bits. */
#include <string.h>

#include "train/step_int.h"

void parts_new(const StepSpec *spec, uint64_t floats, Arena *a, Parts *out) {
  uint32_t size = spec->team ? spec->team->size : 1, rank = spec->team ? spec->team->rank : 0;
  uint32_t own = spec->shards / size;
  *out = (Parts){.width = PART_GRADIENTS + floats, .n = spec->shards, .first = rank * own,
                 .own = own};
  out->at = arena_array(a, float, out->n * out->width);
  out->sum = out->n > 1 ? arena_array(a, float, out->width) : out->at;
}

float *parts_row(Parts *p, uint32_t i) {
  float *row = p->at + i * p->width;
  memset(row, 0, (size_t)p->width * sizeof *row);
  row[PART_MADE] = 1;
  return row;
}

static VlStatus gone(Diag *d, uint32_t process) {
  VlStatus s = diag_error(d, DIAG_TRAIN_TEAM, DIAG_NOWHERE, "process %u could not do its part",
                          process);
  diag_fix(d, "see what it says; then go on with --resume");
  return s;
}

static VlStatus share(Parts *p, const vlpc_team *team, VlStatus mine, Diag *d) {
  for (uint32_t i = 0; mine != VLPC_OK && i < p->own; i++)
    p->at[(p->first + i) * p->width + PART_MADE] = 0;
  bool all = team->gather(team->user, p->at, p->own * p->width);
  VL_TRY(mine);
  for (uint32_t i = 0; all && i < p->n; i++)
    if (p->at[i * p->width + PART_MADE] != 1) return gone(d, i / p->own);
  return all ? VLPC_OK : diag_error(d, DIAG_TRAIN_TEAM, DIAG_NOWHERE, "a process is gone");
}

VlStatus parts_sum(Parts *p, const StepSpec *spec, VlStatus mine, Diag *d) {
  if (spec->team) VL_TRY(share(p, spec->team, mine, d));
  VL_TRY(mine);
  if (p->n == 1) return VLPC_OK;
  memcpy(p->sum, p->at, (size_t)p->width * sizeof *p->sum);
  for (uint32_t i = 1; i < p->n; i++) {
    const float *row = p->at + i * p->width;
    for (uint64_t k = PART_LOSS; k < p->width; k++) p->sum[k] += row[k];
  }
  return VLPC_OK;
}
