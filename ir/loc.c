/* SPDX-License-Identifier: Apache-2.0 */
/* loc.c - where nodes come from in the user's file.
**
** A place is one node of the file and, through `also`, the others that were
** merged into it: a set in the order of merging, each member once.  Chains end
** after LOC_CHAIN members, enough for any fused pattern. */
#include <string.h>

#include "ir/graph_int.h"

#define LOC_CHAIN 32

static bool same_loc(const Graph *g, uint32_t id, const void *item) {
  const Loc *a = &g->loc.at[id], *b = item; /* strings are interned */
  return a->file == b->file && a->name == b->name && a->op == b->op && a->index == b->index &&
         a->opset == b->opset && a->also.i == b->also.i;
}

static uint64_t hash_loc(const Loc *l) {
  uint64_t h = hash_bytes(&l->index, sizeof l->index, l->also.i);
  if (l->name != NULL) h = hash_bytes(l->name, strlen(l->name), h);
  return h;
}

LocId ir_loc_add(Graph *g, Loc l) {
  VL_CHECK(l.also.i < g->loc.n, "ir_loc_add: no such place");
  l.file = graph_text(g, l.file);
  l.name = graph_text(g, l.name);
  l.op = graph_text(g, l.op);
  Lookup look = {g->loc_index, hash_loc(&l), same_loc, &l, g->loc.n};
  uint32_t id = graph_intern(g, &look);
  if (id == look.next) *vec_push(g->arena, &g->loc) = l;
  return (LocId){id};
}

/* Members of chain l behind the n already in out, each once. */
static uint32_t gather_chain(const Graph *g, LocId l, Loc *out, uint32_t n) {
  for (; l.i != 0 && n < LOC_CHAIN; l = g->loc.at[l.i].also) {
    Loc one = g->loc.at[l.i];
    one.also.i = 0;
    uint32_t j = 0;
    while (j < n && (out[j].index != one.index || out[j].name != one.name ||
                     out[j].op != one.op || out[j].file != one.file))
      j++;
    if (j == n) out[n++] = one;
  }
  return n;
}

LocId ir_loc_merge(Graph *g, LocId a, LocId b) {
  if (a.i == b.i || b.i == 0) return a;
  Loc set[LOC_CHAIN];
  uint32_t n = gather_chain(g, b, set, gather_chain(g, a, set, 0));
  LocId id = {0};
  while (n-- > 0) {
    set[n].also = id;
    id = ir_loc_add(g, set[n]);
  }
  return id;
}

const Loc *ir_loc_get(const Graph *g, LocId l) {
  VL_CHECK(l.i < g->loc.n, "ir_loc_get: no such place");
  return &g->loc.at[l.i];
}

DiagAt ir_at(const Graph *g, LocId l) {
  if (l.i == 0) return DIAG_NOWHERE;
  const Loc *at = ir_loc_get(g, l);
  Str s = {.arena = g->arena};
  str_add(&s, "node");
  if (at->index >= 0) str_printf(&s, " %d", (int)at->index);
  if (at->name != NULL) str_printf(&s, " '%s'", at->name);
  if (at->op != NULL) str_printf(&s, " (%s", at->op);
  if (at->op != NULL && at->opset > 0) str_printf(&s, ", opset %d", (int)at->opset);
  if (at->op != NULL) str_add(&s, ")");
  return (DiagAt){at->file, str_text(&s)};
}
