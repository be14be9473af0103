/* SPDX-License-Identifier: Apache-2.0 */
/* layout.c - where temporaries lie in the arena.
**
** Largest first (ties by number), each at the lowest 64-byte aligned offset at
** which it meets nothing that lives at the same time.  The order depends on
** sizes only, so a layout is the same every time. */
#include <stdlib.h>

#include "runtime/session.h"

#define MAX_TEMPS 32768u
#define ALIGN 64u

typedef struct {
  uint64_t bytes;
  uint32_t local;
} Sized;

static int larger_first(const void *x, const void *y) {
  const Sized *a = x, *b = y;
  if (a->bytes != b->bytes) return a->bytes < b->bytes ? 1 : -1;
  return a->local < b->local ? -1 : a->local > b->local;
}

static bool live_together(const ProgBuf *a, const ProgBuf *b) {
  return a->first <= b->last && b->first <= a->last;
}

/* placed: locals in the order of their offsets. */
static uint64_t find_place(const Program *p, const Bound *b, const uint32_t *placed, uint32_t n,
                           const LocalBuf *x) {
  uint64_t at = 0;
  for (uint32_t i = 0; i < n; i++) {
    const LocalBuf *y = &b->bufs[placed[i]];
    if (!live_together(&p->bufs[x->buf], &p->bufs[y->buf])) continue;
    if (y->offset >= at && y->offset - at >= x->bytes) return at;
    at = VL_MAX(at, vl_align_up(y->offset + y->bytes, ALIGN));
  }
  return at;
}

static void insert(const Bound *b, uint32_t *placed, uint32_t n, uint32_t local) {
  uint32_t i = n;
  for (; i > 0 && b->bufs[placed[i - 1]].offset > b->bufs[local].offset; i--)
    placed[i] = placed[i - 1];
  placed[i] = local;
}

static VlStatus place_all(const Program *p, Bound *b, const Sized *sorted, Diag *d,
                          uint64_t *total) {
  uint64_t sum = 0;
  *total = 0;
  for (uint32_t i = 0; i < b->n_temps; i++) { /* no offset can pass the sum */
    if (!vl_add_u64(sum, sorted[i].bytes, &sum) || !vl_add_u64(sum, ALIGN, &sum))
      return diag_error(d, DIAG_TOO_LARGE, DIAG_NOWHERE, "the temporaries pass 2^64 bytes");
  }
  for (uint32_t i = 0; i < b->n_temps; i++) {
    LocalBuf *x = &b->bufs[sorted[i].local];
    x->offset = find_place(p, b, b->temps, i, x);
    insert(b, b->temps, i, sorted[i].local);
    *total = VL_MAX(*total, x->offset + x->bytes);
  }
  return VLPC_OK;
}

VlStatus layout_temps(const Program *p, Bound *b, Diag *d, uint64_t *total) {
  uint32_t n = 0;
  if (b->n_temps > MAX_TEMPS) {
    VlStatus s = diag_error(d, DIAG_TOO_LARGE, DIAG_NOWHERE, "too many temporaries in one entry");
    diag_found(d, "%u", b->n_temps);
    diag_expected(d, "at most %u", MAX_TEMPS);
    return s;
  }
  Sized *sorted = malloc((b->n_temps + 1u) * sizeof *sorted);
  if (!sorted) return diag_error(d, DIAG_NOMEM, DIAG_NOWHERE, "no memory to lay out an entry");
  for (uint32_t i = 0; i < b->n_bufs; i++) {
    if (p->bufs[b->bufs[i].buf].kind == BUF_TEMP) sorted[n++] = (Sized){b->bufs[i].bytes, i};
  }
  qsort(sorted, n, sizeof *sorted, larger_first);
  VlStatus s = place_all(p, b, sorted, d, total);
  free(sorted);
  return s;
}
