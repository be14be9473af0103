/* SPDX-License-Identifier: Apache-2.0 */
/* view.c - permutes and reshapes as one rearrangement of a base.
**
** A base's axes are split into atoms; a value's axes are products of atoms.  A
** reshape regroups the atoms, splitting some; a permute moves groups.  So any
** chain of the two has one form: split, permute, merge.  Axes of size 1 have no
** atoms and vanish. */
#include "passes/pass_int.h"

#include <string.h>

View view_whole(const Graph *g, Val v) {
  const Type *t = ir_type_of(g, v);
  View w = {.base = v, .rank = t->rank};
  for (uint32_t i = 0; i < t->rank; i++) {
    if (m_dim_is(g, t->dim[i], 1)) continue;
    w.n_of[i] = 1;
    w.order[w.n] = w.n;
    w.atom[w.n].axis = i;
    w.atom[w.n++].size = t->dim[i];
  }
  return w;
}

uint32_t view_first(const View *w, uint32_t axis) {
  uint32_t at = 0;
  for (uint32_t i = 0; i < axis; i++) at += w->n_of[i];
  return at;
}

bool view_permute(View *w, const int64_t *perm) {
  View to = *w;
  uint32_t at = 0;
  for (uint32_t i = 0; i < w->rank; i++) {
    uint32_t from = (uint32_t)perm[i], first = view_first(w, from);
    to.n_of[i] = w->n_of[from];
    for (uint32_t k = 0; k < w->n_of[from]; k++) to.order[at++] = w->order[first + k];
  }
  *w = to;
  return true;
}

/* Splits the atom at place p of the order into hi × lo; lo follows hi. */
static bool split_atom(View *w, uint32_t p, DimId hi, DimId lo) {
  if (w->n == VIEW_MAX) return false;
  uint32_t a = w->order[p];
  for (uint32_t i = w->n; i > a + 1; i--) w->atom[i] = w->atom[i - 1];
  w->atom[a + 1] = w->atom[a];
  w->atom[a].size = hi;
  w->atom[a + 1].size = lo;
  for (uint32_t i = 0; i < w->n; i++)
    if (w->order[i] > a) w->order[i]++;
  for (uint32_t i = w->n; i > p + 1; i--) w->order[i] = w->order[i - 1];
  w->order[p + 1] = a + 1;
  w->n++;
  return true;
}

/* Takes atoms from place *p on until they make up size. */
static bool take_atoms(Graph *g, View *w, uint32_t *p, DimId size, uint32_t *taken) {
  DimTable *t = ir_dims(g);
  for (*taken = 0; !m_dim_is(g, size, 1); ++*taken, ++*p) {
    if (*p == w->n) return false;
    DimId atom = w->atom[w->order[*p]].size;
    DimId rest = dim_div(t, size, atom);
    if (rest == DIM_NONE) {
      rest = dim_div(t, atom, size);
      if (rest == DIM_NONE || !split_atom(w, *p, size, rest)) return false;
      rest = dim_const(t, 1);
    }
    size = rest;
  }
  return true;
}

static void drop_atom(View *w, uint32_t p) {
  uint32_t a = w->order[p];
  for (uint32_t i = a; i + 1 < w->n; i++) w->atom[i] = w->atom[i + 1];
  for (uint32_t i = p; i + 1 < w->n; i++) w->order[i] = w->order[i + 1];
  w->n--;
  for (uint32_t i = 0; i < w->n; i++)
    if (w->order[i] > a) w->order[i]--;
}

void view_drop_ones(const Graph *g, View *w) {
  for (uint32_t i = 0; i < w->rank; i++)
    for (uint32_t k = 0; k < w->n_of[i];) {
      uint32_t p = view_first(w, i) + k;
      if (m_dim_is(g, w->atom[w->order[p]].size, 1)) {
        drop_atom(w, p);
        w->n_of[i]--;
      } else {
        k++;
      }
    }
}

/* Neighbours in one axis of the base and in one of the value become one. */
static void join_atoms(Graph *g, View *w) {
  for (uint32_t i = 0; i < w->rank; i++) {
    uint32_t p = view_first(w, i);
    for (uint32_t k = 1; k < w->n_of[i];) {
      uint32_t a = w->order[p], b = w->order[p + 1];
      bool are_neighbours = b == a + 1 && w->atom[a].axis == w->atom[b].axis;
      DimId size = dim_mul(ir_dims(g), w->atom[a].size, w->atom[b].size);
      if (are_neighbours && size != DIM_NONE) {
        w->atom[a].size = size;
        drop_atom(w, p + 1);
        w->n_of[i]--;
      } else {
        p++;
        k++;
      }
    }
  }
}

bool view_reshape(Graph *g, View *w, const DimId *dim, uint32_t rank) {
  View to = *w;
  uint32_t p = 0;
  for (uint32_t i = 0; i < rank; i++) {
    if (m_dim_is(g, dim[i], 0)) return false;
    if (!take_atoms(g, &to, &p, dim[i], &to.n_of[i])) return false;
  }
  if (p != to.n) return false;
  to.rank = rank;
  join_atoms(g, &to);
  *w = to;
  return true;
}

static bool apply_move(Graph *g, View *w, Val v) {
  if (ir_op(g, v) == OP_permute) return view_permute(w, ir_attr(g, v, A_perm)->ints);
  const Type *t = ir_type_of(g, v);
  return view_reshape(g, w, t->dim, t->rank);
}

View view_of(Graph *g, Val v) {
  Val chain[CHAIN_MAX];
  uint32_t n = 0;
  while (n < CHAIN_MAX && (m_is(g, v, OP_permute) || m_is(g, v, OP_reshape))) {
    chain[n++] = v;
    v = ir_in(g, v, 0);
  }
  View w = view_whole(g, v);
  while (n-- > 0)
    if (!apply_move(g, &w, chain[n])) w = view_whole(g, chain[n]);
  return w;
}

DimId view_dim(Graph *g, const View *w, uint32_t axis) {
  DimId d = dim_const(ir_dims(g), 1);
  uint32_t first = view_first(w, axis);
  for (uint32_t k = 0; k < w->n_of[axis]; k++)
    d = dim_mul(ir_dims(g), d, w->atom[w->order[first + k]].size);
  return d;
}

/* ---- emission -------------------------------------------------------------- */

/* Runs of atoms that stay neighbours, in base order. */
typedef struct {
  uint32_t n;
  uint32_t first[VIEW_MAX]; /* atom, in base order */
  DimId size[VIEW_MAX];
} Runs;

static uint32_t place_of(const View *w, uint32_t atom) {
  uint32_t p = 0;
  while (w->order[p] != atom) p++;
  return p;
}

static Runs runs_of(Graph *g, const View *w) {
  Runs r = {0};
  for (uint32_t a = 0; a < w->n; a++) {
    DimId joined = DIM_NONE;
    if (a > 0 && place_of(w, a) == place_of(w, a - 1) + 1)
      joined = dim_mul(ir_dims(g), r.size[r.n - 1], w->atom[a].size);
    if (joined != DIM_NONE) {
      r.size[r.n - 1] = joined;
      continue;
    }
    r.first[r.n] = a;
    r.size[r.n++] = w->atom[a].size;
  }
  return r;
}

Val view_emit(Graph *g, const View *w, const DimId *dim) {
  Runs r = runs_of(g, w);
  if (r.n > VLPC_MAX_RANK) return VAL_NONE;
  bool moves = false;
  int64_t perm[VLPC_MAX_RANK];
  uint32_t at = 0;
  for (uint32_t p = 0; p < w->n; p++)
    for (uint32_t k = 0; k < r.n; k++)
      if (r.first[k] == w->order[p]) perm[at++] = k;
  for (uint32_t k = 0; k < r.n; k++) moves = moves || perm[k] != k;
  Val v = w->base;
  if (moves) {
    v = ir_reshape(g, v, r.size, r.n);
    if (val_ok(v)) v = ir_permute(g, v, perm, r.n);
  }
  return val_ok(v) ? ir_reshape(g, v, dim, w->rank) : VAL_NONE;
}

bool view_moves(const Graph *g, const View *w) {
  if (w->rank > ir_type_of(g, w->base)->rank) return true;
  for (uint32_t i = 0; i < w->n; i++)
    if (w->order[i] != i || (i > 0 && w->atom[i].axis == w->atom[i - 1].axis)) return true;
  for (uint32_t i = 0; i < w->rank; i++)
    if (w->n_of[i] > 1) return true;
  return false;
}

Val view_unscaled(Graph *g, Val v, double *c) {
  Type t = *ir_type_of(g, v);
  for (int i = 0; i < CHAIN_MAX; i++) {
    View w = view_of(g, v);
    double s = 1;
    Val x = VAL_NONE;
    m_scaled(g, w.base, &x, &s);
    if (val_eq(x, w.base)) break;
    w.base = x; /* of the same type */
    x = view_emit(g, &w, t.dim);
    if (!val_ok(x)) break;
    *c *= s;
    v = x;
  }
  return v;
}

/* ---- comparing and turning round ------------------------------------------- */

bool view_keeps_rows(const Graph *g, const View *w) {
  const Type *b = ir_type_of(g, w->base);
  if (w->rank == 0 || b->rank == 0 || w->n_of[w->rank - 1] == 0) return false;
  uint32_t in_base = 0;
  for (uint32_t a = 0; a < w->n; a++) in_base += w->atom[a].axis == b->rank - 1;
  if (in_base != w->n_of[w->rank - 1]) return false;
  for (uint32_t k = 0; k < in_base; k++)
    if (w->order[w->n - in_base + k] != w->n - in_base + k) return false;
  return true;
}

bool view_same(const Graph *g, const View *a, const View *b) {
  const Type *s = ir_type_of(g, a->base), *t = ir_type_of(g, b->base);
  if (a->n != b->n || a->rank != b->rank || s->rank != t->rank) return false;
  if (memcmp(s->dim, t->dim, s->rank * sizeof *s->dim) != 0) return false;
  if (memcmp(a->n_of, b->n_of, a->rank * sizeof *a->n_of) != 0) return false;
  for (uint32_t i = 0; i < a->n; i++)
    if (a->order[i] != b->order[i] || a->atom[i].axis != b->atom[i].axis ||
        a->atom[i].size != b->atom[i].size)
      return false;
  return true;
}

/* What is known of c while it is turned round. */
typedef struct {
  bool is_full[VIEW_MAX]; /* by atom: c has its size, not 1 */
  uint32_t n;             /* full atoms */
  DimId size[VIEW_MAX];   /* of the full atoms, in the value's order */
  int64_t perm[VIEW_MAX]; /* base order from the value's order */
} Turn;

static bool turn_sizes(Graph *g, const View *w, const Type *c, Turn *t) {
  for (uint32_t i = 0; i < w->rank; i++) {
    bool has_axis = i + c->rank >= w->rank;
    bool is_full = has_axis && !m_dim_is(g, c->dim[i + c->rank - w->rank], 1);
    for (uint32_t k = 0; k < w->n_of[i] && is_full; k++) {
      uint32_t a = w->order[view_first(w, i) + k];
      t->is_full[a] = true;
      t->size[t->n++] = w->atom[a].size;
    }
  }
  uint32_t at = 0;
  for (uint32_t a = 0; a < w->n; a++) {
    uint32_t before = 0;
    for (uint32_t p = 0; w->order[p] != a; p++) before += t->is_full[w->order[p]];
    if (t->is_full[a]) t->perm[at++] = before;
  }
  return t->n <= VLPC_MAX_RANK;
}

Val view_invert(Graph *g, const View *w, Val c) {
  const Type *b = ir_type_of(g, w->base);
  Type ct = *ir_type_of(g, c);
  Turn t = {0};
  if (ct.rank == 0) return c;
  if (ct.rank > w->rank || !turn_sizes(g, w, &ct, &t)) return VAL_NONE;
  DimId dim[VLPC_MAX_RANK];
  uint32_t from = b->rank;
  for (uint32_t i = 0; i < b->rank; i++) {
    uint32_t full = 0, all = 0;
    for (uint32_t a = 0; a < w->n; a++) {
      if (w->atom[a].axis != i) continue;
      all++;
      full += t.is_full[a];
    }
    if (full != 0 && full != all) return VAL_NONE;
    dim[i] = full != 0 ? b->dim[i] : dim_const(ir_dims(g), 1);
    if (full != 0 && from == b->rank) from = i;
  }
  Val v = ir_reshape(g, c, t.size, t.n);
  if (val_ok(v) && t.n > 1) v = ir_permute(g, v, t.perm, t.n);
  return val_ok(v) ? ir_reshape(g, v, dim + from, b->rank - from) : VAL_NONE;
}
