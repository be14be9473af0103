/* SPDX-License-Identifier: Apache-2.0 */
/* link_layout.c - what happens at each point, as data for people.
**
** in:   towers and module, linked
** out:  a row for each write, or one for a point without
** The times are those of pass_binding on the linked graph. */
#include "passes/link_int.h"

#include <string.h>

typedef struct {
  const Link *l;
  const BindTime *at; /* by value of the linked graph */
  LinkRow *row;
  uint32_t n;
} Layout;

static int64_t number(const Link *l, DimId d) {
  int64_t n = -1;
  return dim_is_const(ir_dims(l->dst), d, &n) ? n : -1;
}

/* "all" when one value serves every text or image of a run. */
static const char *per_what(const Layout *y, const Point *p, Val v, bool is_segment) {
  const Link *l = y->l;
  const Type *t = ir_type_of(l->dst, v);
  bool lifted = p->is_text && y->at[v.i] == BIND_image;
  bool each = !is_segment || (t->rank > 2 && number(l, t->dim[t->rank - 3]) != 1);
  if (!each) return lifted ? "image" : "all";
  if (lifted || p->order >= 1u << 20) return "image and class";
  return p->is_text ? "class" : "image";
}

/* A value times a number, the same for all elements. */
static bool scaled(const Graph *g, Val v, Val *of, double *factor) {
  for (uint32_t i = 0; ir_op(g, v) == OP_mul && i < 2; i++) {
    *of = ir_in(g, v, 1 - i);
    if (ir_is_splat(g, ir_in(g, v, i), factor)) return true;
  }
  return false;
}

static void find_mix(const Layout *y, Val v, double mix[2]) {
  const Graph *g = y->l->dst;
  Val of[2];
  double factor[2];
  if (ir_op(g, v) != OP_add || !scaled(g, ir_in(g, v, 0), &of[0], &factor[0]) ||
      !scaled(g, ir_in(g, v, 1), &of[1], &factor[1]) || y->at[of[0].i] == y->at[of[1].i])
    return; /* of two that are known at once, it cannot be told which is learned */
  bool swapped = y->at[of[1].i] < y->at[of[0].i];
  mix[0] = factor[swapped], mix[1] = factor[!swapped];
}

static void add_value(const Layout *y, const Point *p, const LinkWrite *w, LinkRow *r) {
  Val v = w->value ? link_made(y->l, (Item){ITEM_module, link_value(y->l, w->value)}) : VAL_NONE;
  r->segment = w->segment, r->value = w->value;
  if (!val_ok(v)) return; /* dropped, or computed by whoever puts scores together */
  r->time = bind_name(y->at[v.i]);
  r->per = per_what(y, p, v, w->segment != NULL);
  find_mix(y, v, r->mix);
  const Type *t = ir_type_of(y->l->dst, v);
  if (w->segment) r->rows = number(y->l, t->dim[t->rank - 2]);
}

/* One write; *prompt is how many prompt rows there are before it, and then after. */
static void add_write(Layout *y, const Point *p, const LinkWrite *w, int64_t base,
                      int64_t *prompt) {
  LinkRow *r = &y->row[y->n++];
  *r = (LinkRow){.point = p->name, .action = w->segment ? "overwrite" : "replace"};
  add_value(y, p, w, r);
  if (w->segment && p->is_text) {
    r->first = strcmp(w->segment, "slot") == 0 ? 1 : 1 + (int64_t)y->l->spec->slot_rows;
  } else if (w->segment && strcmp(w->segment, "prompt") == 0) {
    r->first = base;
    if (!w->value) r->action = "drop", r->rows = *prompt;
    else if (*prompt == 0) r->action = "insert";
    *prompt = w->value ? r->rows : 0;
  } else if (w->segment) {
    r->first = strcmp(w->segment, "patch") == 0;
  }
  r->stream = !p->is_rows ? 0 : base < 0 ? -1 : base + *prompt;
}

static void add_point(Layout *y, const Point *p) {
  const LinkSpec *spec = y->l->spec;
  const Type *t = ir_type_of(y->l->base, p->v);
  int64_t prompt = p->prompt, base = -1;
  uint32_t before = y->n;
  if (!p->is_rows || !dim_is_const(ir_dims(y->l->base), t->dim[1], &base)) base = -1;
  for (uint32_t i = 0; i < spec->n_writes; i++)
    if (strcmp(spec->write[i].point, p->name) == 0)
      add_write(y, p, &spec->write[i], base, &prompt);
  if (y->n > before) return;
  y->row[y->n++] = (LinkRow){.point = p->name, .action = "keep",
                             .stream = !p->is_rows ? 0 : base < 0 ? -1 : base + prompt};
}

LinkLayout link_layout(const Link *l) {
  TrainableNames names = {l->spec->trainable, l->spec->n_trainables};
  Layout y = {.l = l, .at = pass_binding(l->dst, l->a, &names, BIND_prompts),
              .row = arena_array(l->a, LinkRow, l->n_points + l->spec->n_writes)};
  for (uint32_t i = 0; i < l->n_points; i++) add_point(&y, &l->point[i]);
  return (LinkLayout){y.row, y.n};
}
