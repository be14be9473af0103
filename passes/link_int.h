/* SPDX-License-Identifier: Apache-2.0 */
/* link_int.h - what the files of linking share.
**
** Values of the linked graph are made on demand.  An Item names one: a value of
** the towers before or after the writes at its points, one of the frozen towers,
** or one of the module.  link.c walks them depth first; the others make them. */
#ifndef VLPC_PASSES_LINK_INT_H
#define VLPC_PASSES_LINK_INT_H

#include "passes/link.h"
#include "passes/pass_int.h"

typedef enum { ITEM_before, ITEM_after, ITEM_frozen, ITEM_module, ITEM__COUNT } ItemKind;
typedef struct {
  ItemKind kind;
  Val v; /* of base, or of the module */
} Item;

/* A point of the towers: its value, and where it stands in its stream. */
typedef struct {
  const char *name;
  Val v;
  bool is_text, is_rows; /* rows: a stream, not features or scores */
  uint32_t order;        /* T.emb, T.0, … T.feat, V.pre, V.0, … V.feat, logits */
  int64_t prompt;        /* rows of the segment prompt when the stream comes here */
} Point;

typedef struct {
  const Graph *base, *module;
  Graph *dst;
  const LinkSpec *spec;
  Arena *a;
  Diag *d;
  Point *point;
  uint32_t n_points;
  Graft from_base, from_module;
  int64_t *size; /* by symbol of base: the number that the module fixes it to, or 0 */
  bool is_fixed; /* a number was found: link once more */
  Val *made[ITEM__COUNT]; /* by value index of the item's graph */
  Val frozen_text, image_row; /* the linked graph's own inputs, once made */
} Link;

/* A stretch of rows [from, from + n) of a stream. */
typedef struct {
  DimId from, n;
} RowRange;

/* link.c */
DiagAt link_at(const Link *l);
Val link_made(const Link *l, Item it);
/* The module's output of that name; VAL_NONE when there is none. */
Val link_value(const Link *l, const char *name);
const LinkTap *link_tap(const Link *l, Val input);

/* link_points.c: names, the order of points, and what stands at each */
void link_points(Link *l);
/* NULL and a diagnostic that lists the points when there is none. */
const Point *link_point(Link *l, const char *name);
/* Rows of a segment at a point; false and a diagnostic when there is none. */
bool link_segment(Link *l, const Point *p, const char *segment, RowRange *out);

/* link_writes.c */
/* How many prompt rows there are at each point. */
VL_MUST_USE VlStatus link_count_prompts(Link *l);
VL_MUST_USE VlStatus link_check_writes(Link *l);
/* x after all writes at points of value v of the towers. */
Val link_write(Link *l, Val v, Val x);

/* link_loss.c */
VL_MUST_USE VlStatus link_check_loss(Link *l, const LinkLoss *loss);
/* The k-th value that a tap of the loss waits for; false: there is none. */
bool link_loss_needs(Link *l, const LinkTap *t, uint32_t k, Item *out);
/* Adds a loss, once what its taps wait for is made. */
VL_MUST_USE VlStatus link_loss(Link *l, const LinkLoss *loss);
/* link_layout.c: once all is made */
LinkLayout link_layout(const Link *l);

/* link_taps.c */
typedef struct {
  const LinkTap *tap;
  const Graph *graph; /* whose input it is */
  const char *file;
} LinkFit;
/* Has sizes that the input names be those of what it reads. */
VL_MUST_USE VlStatus link_fit(Link *l, LinkFit f, Val in, const Type *have, DimId *size);
VL_MUST_USE VlStatus link_check_taps(Link *l);
/* The k-th value that a tap waits for; false: there is none. */
bool link_tap_needs(Link *l, const LinkTap *t, uint32_t k, Item *out);
Val link_tapped(Link *l, const LinkTap *t);
/* scale · images · textsᵀ of features. */
Val link_scores(Graph *g, double scale, Val image, Val text);

#endif
