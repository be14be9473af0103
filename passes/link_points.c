/* SPDX-License-Identifier: Apache-2.0 */
/* link_points.c - points and segments: what a module may name, and how many
** prompt rows stand at each point of the image's stream. */
#include "passes/link_int.h"

#include <string.h>

/* ---- points ------------------------------------------------------------------ */

static Point read_point(const Graph *g, Named from) {
  Point p = {.name = from.name, .v = from.v, .is_text = from.name[0] == 'T'};
  const char *rest = from.name + 2;
  int64_t block = 0;
  bool is_first = strcmp(rest, "pre") == 0 || strcmp(rest, "emb") == 0;
  bool is_block = !is_first && parse_i64(rest, &block);
  p.is_rows = strlen(from.name) > 2 && from.name[1] == '.' && (is_first || is_block) &&
              ir_type_of(g, from.v)->rank == 3;
  bool is_scores = from.name[1] != '.';
  p.order = is_block ? (uint32_t)block + 1 : is_first ? 0 : UINT16_MAX;
  p.order += is_scores ? 1u << 20 : p.is_text ? 0 : 1u << 16;
  return p;
}

static const char *point_names(Link *l) {
  Str s = {.arena = l->a};
  for (uint32_t i = 0; i < l->n_points; i++)
    str_printf(&s, "%s%s", i ? ", " : "", l->point[i].name);
  return s.n ? str_text(&s) : "no point: the towers were not recognised";
}

const Point *link_point(Link *l, const char *name) {
  for (uint32_t i = 0; i < l->n_points; i++)
    if (strcmp(l->point[i].name, name) == 0) return &l->point[i];
  VL_IGNORE(diag_error(l->d, DIAG_LINK_POINT, link_at(l), "the model has no point '%s'", name));
  diag_expected(l->d, "%s", point_names(l));
  return NULL;
}

/* ---- segments ----------------------------------------------------------------- */

static DimId rows_of(Link *l, const Point *p) {
  return graft_dim(&l->from_base, ir_type_of(l->base, p->v)->dim[1]);
}

static bool no_segment(Link *l, const Point *p, const char *segment) {
  VL_IGNORE(diag_error(l->d, DIAG_LINK_POINT, link_at(l), "rows at %s have no segment '%s'",
                       p->name, segment));
  diag_expected(l->d, "%s", p->is_text ? "sos, slot, rest" : "cls, patch, cls+patch, prompt");
  return false;
}

static bool text_segment(Link *l, const Point *p, const char *segment, RowRange *out) {
  DimTable *t = ir_dims(l->dst);
  DimId m = dim_const(t, l->spec->slot_rows), one = dim_const(t, 1), all = rows_of(l, p);
  int64_t n = 0;
  if (dim_is_const(t, all, &n) && (int64_t)l->spec->slot_rows > n - 3) {
    VL_IGNORE(diag_error(l->d, DIAG_LINK_WIDTH, link_at(l), "the slot leaves no room for a text"));
    diag_found(l->d, "%u rows of %lld", l->spec->slot_rows, (long long)n);
    diag_expected(l->d, "at most %lld: a text also has its start, a word and its end",
                  (long long)(n - 3));
    return false;
  }
  if (strcmp(segment, "sos") == 0) *out = (RowRange){dim_const(t, 0), one};
  else if (strcmp(segment, "slot") == 0 && l->spec->slot_rows > 0) *out = (RowRange){one, m};
  else if (strcmp(segment, "rest") == 0) {
    DimId from = dim_add(t, one, m);
    *out = (RowRange){from, dim_sub(t, all, from)};
  } else return no_segment(l, p, segment);
  return true;
}

static bool image_segment(Link *l, const Point *p, const char *segment, RowRange *out) {
  DimTable *t = ir_dims(l->dst);
  DimId zero = dim_const(t, 0), one = dim_const(t, 1), all = rows_of(l, p);
  if (strcmp(segment, "cls") == 0) *out = (RowRange){zero, one};
  else if (strcmp(segment, "patch") == 0) *out = (RowRange){one, dim_sub(t, all, one)};
  else if (strcmp(segment, "cls+patch") == 0) *out = (RowRange){zero, all};
  else if (strcmp(segment, "prompt") == 0) *out = (RowRange){all, dim_const(t, p->prompt)};
  else return no_segment(l, p, segment);
  if (p->prompt > 0 || strcmp(segment, "prompt") != 0) return true;
  VL_IGNORE(diag_error(l->d, DIAG_LINK_ABSENT, link_at(l),
                       "the segment prompt is read at %s, where it is absent", p->name));
  diag_fix(l->d, "insert rows at an earlier point");
  return false;
}

bool link_segment(Link *l, const Point *p, const char *segment, RowRange *out) {
  DimTable *t = ir_dims(l->dst);
  if (segment == NULL || strcmp(segment, "all") == 0) {
    *out = (RowRange){dim_const(t, 0), dim_add(t, rows_of(l, p), dim_const(t, p->prompt))};
    return true;
  }
  return p->is_text ? text_segment(l, p, segment, out) : image_segment(l, p, segment, out);
}

/* ---- in order ------------------------------------------------------------------ */

static void sort_points(Link *l) {
  for (uint32_t i = 1; i < l->n_points; i++)
    for (uint32_t k = i; k > 0 && l->point[k].order < l->point[k - 1].order; k--) {
      Point p = l->point[k];
      l->point[k] = l->point[k - 1];
      l->point[k - 1] = p;
    }
}

void link_points(Link *l) {
  const Named *at = NULL;
  l->n_points = ir_points(l->base, &at);
  l->point = arena_array(l->a, Point, l->n_points);
  for (uint32_t i = 0; i < l->n_points; i++) l->point[i] = read_point(l->base, at[i]);
  sort_points(l);
}
