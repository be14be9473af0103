/* SPDX-License-Identifier: Apache-2.0 */
/* parts.c - whose rows are whose, and their sum.
**
** A row is made alone, whoever makes it, and all are summed in their order by everyone: any
** number of processes gives the same bits. */
#include "train/parts.h"

#include <string.h>

Parts parts_new(const vlpc_team *team, uint32_t n, uint64_t floats, Arena *a) {
  uint32_t size = team ? team->size : 1, rank = team ? team->rank : 0, own = n / size;
  Parts p = {.team = team, .width = PART_FLOATS + floats, .n = n, .first = rank * own, .own = own};
  p.at = arena_array(a, float, n * p.width);
  p.sum = n > 1 ? arena_array(a, float, p.width) : p.at;
  return p;
}

float *parts_row(Parts *p, uint32_t i) {
  float *row = p->at + i * p->width;
  memset(row, 0, (size_t)p->width * sizeof *row);
  row[PART_MADE] = 1;
  return row + PART_FLOATS;
}

static VlStatus gone(Diag *d, uint32_t process) {
  VlStatus s = diag_error(d, DIAG_TRAIN_TEAM, DIAG_NOWHERE, "process %u could not do its part",
                          process);
  diag_fix(d, "see what it says; then go on with --resume");
  return s;
}

VlStatus parts_share(Parts *p, VlStatus mine, Diag *d) {
  if (!p->team) return mine;
  for (uint32_t i = 0; mine != VLPC_OK && i < p->own; i++)
    p->at[(p->first + i) * p->width + PART_MADE] = 0;
  bool all = p->team->gather(p->team->user, p->at, p->own * p->width);
  VL_TRY(mine);
  for (uint32_t i = 0; all && i < p->n; i++)
    if (p->at[i * p->width + PART_MADE] != 1) return gone(d, i / p->own);
  return all ? VLPC_OK : diag_error(d, DIAG_TRAIN_TEAM, DIAG_NOWHERE, "a process is gone");
}

VlStatus parts_sum(Parts *p, VlStatus mine, Diag *d) {
  VL_TRY(parts_share(p, mine, d));
  if (p->n == 1) return VLPC_OK;
  memcpy(p->sum, p->at, (size_t)p->width * sizeof *p->sum);
  for (uint32_t i = 1; i < p->n; i++) {
    const float *row = p->at + i * p->width;
    for (uint64_t k = PART_FLOATS; k < p->width; k++) p->sum[k] += row[k];
  }
  return VLPC_OK;
}
