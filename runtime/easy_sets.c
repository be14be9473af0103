/* SPDX-License-Identifier: Apache-2.0 */
/* easy_sets.c - photos of several prompt sets in one call.
**
** Photos of one set run together, set after set; rows go back to where their photos
** stand.  What else is in a batch changes no result, so each row is what its photo
** alone would give. */
#include <stdlib.h>
#include <string.h>

#include "runtime/easy_int.h"

typedef struct {
  vlpc_session *s;
  const vlpc_image *images;
  uint32_t n, width; /* photos, floats of a row */
  PhotosFn *fn;
  vlpc_prompts *own; /* of photos that name no set */
  bool *done;
  uint32_t *from;    /* of the group: where its photos stand */
  vlpc_image *group;
  float *rows, *out;
} Batch;

static vlpc_prompts *set_of(const Batch *b, uint32_t i) {
  return b->images[i].prompts ? b->images[i].prompts : b->own;
}

/* All photos of the first one's set. */
static VlStatus run_group(Batch *b, uint32_t first) {
  vlpc_prompts *set = set_of(b, first);
  uint32_t n = 0;
  for (uint32_t i = first; i < b->n; i++) {
    if (set_of(b, i) != set) continue;
    b->done[i] = true;
    b->group[n] = b->images[i];
    b->from[n++] = i;
  }
  VL_TRY(prompts_use(b->s, set));
  VL_TRY(b->fn(b->s, b->group, n, b->rows));
  for (uint32_t i = 0; i < n; i++)
    memcpy(b->out + (size_t)b->from[i] * b->width, b->rows + (size_t)i * b->width,
           b->width * sizeof *b->out);
  return VLPC_OK;
}

static VlStatus run_groups(Batch *b) {
  VlStatus st = VLPC_OK;
  for (uint32_t i = 0; st == VLPC_OK && i < b->n; i++)
    if (!b->done[i]) st = run_group(b, i);
  VlStatus back = prompts_use(b->s, b->own); /* a set that is known: nothing to fail */
  return st == VLPC_OK ? back : st;
}

VlStatus easy_by_sets(vlpc_session *s, const vlpc_image *images, uint32_t n, uint32_t width,
                      PhotosFn *fn, float *out) {
  uint32_t first = 0;
  while (first < n && !images[first].prompts) first++;
  if (first == n) return fn(s, images, n, out);
  Batch b = {s, images, n, width, fn, s->prompts ? s->prompts->set : NULL,
             calloc(n, sizeof *b.done), malloc(n * sizeof *b.from), malloc(n * sizeof *b.group),
             malloc((size_t)n * width * sizeof *b.rows + 1), out};
  VlStatus st = b.done && b.from && b.group && b.rows ? run_groups(&b)
                                                      : easy_no_memory(s, "a batch of sets");
  free(b.done), free(b.from), free(b.group), free(b.rows);
  return st;
}
