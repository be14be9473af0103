/* SPDX-License-Identifier: Apache-2.0 */
/* link.c - walks what the outputs of the linked graph need, and makes it.
**
** in:     lowered towers with their points, a module and where it reads and writes
** out:    one graph
** method: depth first over values of the towers (before and after the writes at
**         their points, and without any), and of the module.  So the order of the
**         towers comes out of what is tapped, and a tap that depends on what is
**         written with it shows as a circle. */
#include "passes/link_int.h"

#include <string.h>

#include "base/vec.h"

DiagAt link_at(const Link *l) { return (DiagAt){l->spec->file, NULL}; }

Val link_made(const Link *l, Item it) { return l->made[it.kind][it.v.i]; }

Val link_value(const Link *l, const char *name) {
  return ir_output_named(l->module, name);
}

const LinkTap *link_tap(const Link *l, Val input) {
  const char *name = ir_attr(l->module, input, A_name)->str;
  for (uint32_t i = 0; i < l->spec->n_taps; i++)
    if (strcmp(l->spec->tap[i].input, name) == 0) return &l->spec->tap[i];
  return NULL;
}

/* ---- what an item needs ---------------------------------------------------------- */

/* Operand i, counting those that are there. */
static bool operand_item(const Graph *g, Val v, ItemKind kind, uint32_t i, Item *out) {
  for (uint32_t k = 0; k < ir_n_in(g, v); k++) {
    Val x = ir_in(g, v, k);
    if (!val_ok(x) || i-- > 0) continue;
    *out = (Item){kind, x};
    return true;
  }
  return false;
}

/* The i-th value that is written at a point of v. */
static bool written_item(const Link *l, Val v, uint32_t i, Item *out) {
  for (uint32_t p = 0; p < l->n_points; p++) {
    if (!val_eq(l->point[p].v, v)) continue;
    for (uint32_t w = 0; w < l->spec->n_writes; w++) {
      const LinkWrite *at = &l->spec->write[w];
      if (at->value == NULL || strcmp(at->point, l->point[p].name) != 0 || i-- > 0) continue;
      *out = (Item){ITEM_module, link_value(l, at->value)};
      return true;
    }
  }
  return false;
}

static bool needs(Link *l, Item it, uint32_t i, Item *out) {
  switch (it.kind) {
  case ITEM_before: return operand_item(l->base, it.v, ITEM_after, i, out);
  case ITEM_frozen: return operand_item(l->base, it.v, ITEM_frozen, i, out);
  case ITEM_after:
    if (i > 0) return written_item(l, it.v, i - 1, out);
    *out = (Item){ITEM_before, it.v};
    return true;
  case ITEM_module:
    if (ir_op(l->module, it.v) != OP_input)
      return operand_item(l->module, it.v, ITEM_module, i, out);
    return link_tap(l, it.v) != NULL && link_tap_needs(l, link_tap(l, it.v), i, out);
  case ITEM__COUNT:
  default: VL_UNREACHABLE("item kind");
  }
}

/* ---- making one ------------------------------------------------------------------- */

static const Graph *graph_of(const Link *l, ItemKind kind) {
  return kind == ITEM_module ? l->module : l->base;
}

static VlStatus unfit(Link *l, Item it) {
  const Graph *g = graph_of(l, it.kind);
  DiagAt at = ir_at(g, ir_loc(g, it.v));
  if (at.file == NULL) at.file = l->spec->file;
  Why why = ir_why(l->dst);
  VlStatus s = diag_error(l->d, DIAG_LINK_TOWER, at, "%s does not take the rows of the module: %s",
                          op_info(ir_op(g, it.v))->name, why.sentence ? why.sentence : "its form");
  if (why.found) diag_found(l->d, "%s", why.found);
  if (why.expected) diag_expected(l->d, "%s", why.expected);
  return s;
}

/* A slice of the stream, which may have other rows now: what was whole stays so. */
static Val slice_again(Link *l, Val v, Val x) {
  Graph *g = l->dst;
  const Attr *starts = ir_attr(l->base, v, A_starts), *steps = ir_attr(l->base, v, A_steps);
  const Type *was = ir_type_of(l->base, ir_in(l->base, v, 0)), *is = ir_type_of(l->base, v);
  Type now = *ir_type_of(g, x);
  DimId from[VLPC_MAX_RANK];
  for (uint32_t i = 0; i < now.rank; i++) {
    from[i] = graft_dim(&l->from_base, starts->dims[i]);
    if (!m_dim_is(l->base, starts->dims[i], 0) || was->dim[i] != is->dim[i])
      now.dim[i] = graft_dim(&l->from_base, is->dim[i]);
  }
  Attr at[3] = {attr_dims(A_starts, from, now.rank), attr_dims(A_dims, now.dim, now.rank)};
  if (steps != NULL) at[2] = *steps;
  return ir_node(g, OP_slice, 1, &x, steps != NULL ? 3 : 2, at);
}

static bool has_sizes(const Graph *g, Val v) {
  return ir_attr(g, v, A_dims) != NULL || ir_attr(g, v, A_before) != NULL;
}

static Val tower_node(Link *l, Val v, const Val *in) {
  bool same = true;
  for (uint32_t i = 0; i < ir_n_in(l->base, v); i++) {
    Val x = ir_in(l->base, v, i);
    same = same && (!val_ok(x) || ir_type_id(l->dst, in[i]).i == graft_type(&l->from_base, x).i);
  }
  if (!same && ir_op(l->base, v) == OP_slice) return slice_again(l, v, in[0]);
  if (!same && has_sizes(l->base, v)) return VAL_NONE;
  return graft_node(&l->from_base, v, in);
}

/* Where there are gradients, a tap may let none through. */
static Val module_input(Link *l, const LinkTap *t) {
  Val v = link_tapped(l, t);
  bool stops = l->spec->n_losses > 0 && t->stop && val_ok(v);
  return stops && dtype_is_float(ir_type_of(l->dst, v)->dtype) ? ir_ew1(l->dst, OP_stop, v) : v;
}

static VlStatus make(Link *l, Item it, Val *in) {
  const Graph *g = graph_of(l, it.kind);
  ItemKind from = it.kind == ITEM_before ? ITEM_after : it.kind;
  Val v = VAL_NONE;
  for (uint32_t i = 0; i < ir_n_in(g, it.v); i++) {
    Val x = ir_in(g, it.v, i);
    in[i] = val_ok(x) ? l->made[from][x.i] : VAL_NONE;
  }
  graft_place(it.kind == ITEM_module ? &l->from_module : &l->from_base, it.v);
  if (it.kind == ITEM_after) v = link_write(l, it.v, l->made[ITEM_before][it.v.i]);
  else if (it.kind == ITEM_before) v = tower_node(l, it.v, in);
  else if (it.kind == ITEM_frozen) v = graft_node(&l->from_base, it.v, in);
  else if (ir_op(g, it.v) == OP_input) v = module_input(l, link_tap(l, it.v));
  else v = graft_node(&l->from_module, it.v, in);
  l->made[it.kind][it.v.i] = v;
  return val_ok(v) ? VLPC_OK : unfit(l, it);
}

/* ---- the walk ---------------------------------------------------------------------- */

typedef struct {
  Item it;
  uint32_t next;
} Frame;

typedef struct {
  Link *l;
  VEC(Frame) stack;
  bool *open[ITEM__COUNT];
  Val *in; /* room for operands */
} Walk;

static const char *name_of(const Link *l, Item it) {
  if (it.kind == ITEM_module) return NULL;
  for (uint32_t i = 0; i < l->n_points; i++)
    if (val_eq(l->point[i].v, it.v)) return l->point[i].name;
  return NULL;
}

static VlStatus circle(const Walk *w, Item at) {
  Link *l = w->l;
  Str names = {.arena = l->a};
  const char *last = NULL, *first = NULL;
  bool inside = false;
  for (uint32_t i = 0; i < w->stack.n; i++) {
    Item it = w->stack.at[i].it;
    inside = inside || (it.kind == at.kind && val_eq(it.v, at.v));
    const char *name = inside ? name_of(l, it) : NULL;
    if (name == NULL || (last != NULL && strcmp(last, name) == 0)) continue;
    str_printf(&names, "%s%s", names.n ? " needs " : "", name);
    last = name;
    if (first == NULL) first = name;
  }
  VlStatus s = diag_error(l->d, DIAG_LINK_CYCLE, link_at(l), "taps and writes run in a circle");
  diag_found(l->d, "%s needs %s", first ? str_text(&names) : "a value", first ? first : "itself");
  diag_fix(l->d, "tap an earlier point, or the frozen towers");
  return s;
}

static void push(Walk *w, Item it) {
  w->open[it.kind][it.v.i] = true;
  *vec_push(w->l->a, &w->stack) = (Frame){it, 0};
}

static VlStatus walk(Walk *w, Item root) {
  Link *l = w->l;
  if (!val_ok(link_made(l, root))) push(w, root);
  while (w->stack.n > 0) {
    Frame *f = &w->stack.at[w->stack.n - 1];
    Item it = f->it, need;
    if (needs(l, it, f->next++, &need)) {
      if (val_ok(link_made(l, need))) continue;
      if (w->open[need.kind][need.v.i]) return circle(w, need);
      push(w, need);
      continue;
    }
    VL_TRY(make(l, it, w->in));
    w->open[it.kind][it.v.i] = false;
    w->stack.n--;
  }
  return VLPC_OK;
}

/* ---- the graph ------------------------------------------------------------------------ */

static void copy_inputs(Link *l) {
  const Named *in = NULL;
  uint32_t n = ir_inputs(l->base, &in);
  for (uint32_t i = 0; i < n; i++) {
    Val v = graft_node(&l->from_base, in[i].v, NULL);
    l->made[ITEM_before][in[i].v.i] = l->made[ITEM_frozen][in[i].v.i] = v;
  }
  n = ir_inputs(l->module, &in);
  for (uint32_t i = 0; i < n; i++) {
    if (link_tap(l, in[i].v) != NULL) continue;
    l->made[ITEM_module][in[i].v.i] = graft_node(&l->from_module, in[i].v, NULL);
  }
}

/* Constants, and all that no write reaches, are the same in the frozen towers: made
** once, so that nothing that is computed of them is there twice. */
static VlStatus share_frozen(Walk *w) {
  Link *l = w->l;
  uint32_t n = ir_n_vals(l->base);
  bool *reached = arena_array(l->a, bool, n + 1);
  for (uint32_t i = 1; i <= n; i++) {
    for (uint32_t k = 0; k < ir_n_in(l->base, (Val){i}); k++)
      reached[i] = reached[i] || reached[ir_in(l->base, (Val){i}, k).i];
    if (!reached[i]) {
      VL_TRY(walk(w, (Item){ITEM_before, {i}}));
      l->made[ITEM_frozen][i] = l->made[ITEM_before][i];
    }
    for (uint32_t p = 0; p < l->n_points; p++)
      for (uint32_t s = 0; s < l->spec->n_writes && l->point[p].v.i == i; s++)
        reached[i] = reached[i] || strcmp(l->spec->write[s].point, l->point[p].name) == 0;
  }
  return VLPC_OK;
}

static Val point_value(const Link *l, const char *name) {
  for (uint32_t i = 0; i < l->n_points; i++)
    if (strcmp(l->point[i].name, name) == 0) return l->point[i].v;
  return VAL_NONE;
}

static VlStatus put_outputs(Walk *w) {
  Link *l = w->l;
  const Named *out = NULL;
  uint32_t n = ir_outputs(l->base, &out);
  uint8_t *depends = tower_depends(l->base, l->a);
  for (uint32_t i = 0; i < n; i++) {
    bool of_both = (depends[out[i].v.i] & DEPENDS_IMAGE) && (depends[out[i].v.i] & DEPENDS_TEXT);
    if (l->spec->lift && of_both) continue;
    VL_TRY(walk(w, (Item){ITEM_after, out[i].v}));
    ir_output(l->dst, out[i].name, link_made(l, (Item){ITEM_after, out[i].v}));
  }
  for (uint32_t i = 0; i < l->n_points; i++) {
    Item it = {ITEM_after, l->point[i].v};
    bool is_scores = strcmp(l->point[i].name, "logits") == 0;
    if (l->spec->lift && is_scores) continue;
    VL_TRY(walk(w, it));
    ir_point(l->dst, l->point[i].name, link_made(l, it));
  }
  return VLPC_OK;
}

/* What makes frozen_text_features, when something reads them. */
static VlStatus put_frozen_text(Walk *w) {
  Link *l = w->l;
  Item it = {ITEM_frozen, point_value(l, "T.feat")};
  if (!val_ok(l->frozen_text)) return VLPC_OK;
  VL_TRY(walk(w, it));
  ir_output(l->dst, LINK_FROZEN_TEXT, link_made(l, it));
  return VLPC_OK;
}

static VlStatus put_frozen_image(Walk *w) {
  Link *l = w->l;
  Item it = {ITEM_frozen, point_value(l, "V.feat")};
  if (!l->spec->frozen_image || !val_ok(it.v)) return VLPC_OK;
  VL_TRY(walk(w, it));
  ir_output(l->dst, LINK_FROZEN_IMAGE, link_made(l, it));
  return VLPC_OK;
}

static VlStatus put_loss(Walk *w, const LinkLoss *loss) {
  Item it;
  for (uint32_t i = 0; i < loss->n_taps; i++)
    for (uint32_t k = 0; link_loss_needs(w->l, &loss->tap[i], k, &it); k++) VL_TRY(walk(w, it));
  return link_loss(w->l, loss);
}

static VlStatus link_all(Link *l) {
  Walk w = {.l = l};
  uint32_t most = VL_MAX(ir_most_in(l->base), ir_most_in(l->module));
  w.in = arena_array(l->a, Val, most + 1);
  for (int k = 0; k < ITEM__COUNT; k++) {
    uint32_t n = ir_n_vals(graph_of(l, (ItemKind)k)) + 1;
    l->made[k] = arena_array(l->a, Val, n);
    w.open[k] = arena_array(l->a, bool, n);
  }
  copy_inputs(l);
  VL_TRY(share_frozen(&w));
  VL_TRY(put_outputs(&w));
  for (uint32_t i = 0; i < l->spec->n_losses; i++) VL_TRY(put_loss(&w, &l->spec->loss[i]));
  VL_TRY(put_frozen_text(&w));
  VL_TRY(put_frozen_image(&w));
  ir_set_loc(l->dst, (LocId){0});
  return VLPC_OK;
}

static bool reads_scores(const LinkTap *tap, uint32_t n) {
  bool reads = false;
  for (uint32_t i = 0; i < n; i++) reads = reads || strcmp(tap[i].from, "logits") == 0;
  return reads;
}

/* Scores, when the module speaks of them and the towers' file has none. */
static void add_scores(Link *l, Graph *base) {
  bool wanted = reads_scores(l->spec->tap, l->spec->n_taps);
  for (uint32_t i = 0; i < l->spec->n_writes; i++)
    wanted = wanted || strcmp(l->spec->write[i].point, "logits") == 0;
  for (uint32_t i = 0; i < l->spec->n_losses; i++)
    wanted = wanted || reads_scores(l->spec->loss[i].tap, l->spec->loss[i].n_taps);
  Val image = point_value(l, "V.feat"), text = point_value(l, "T.feat");
  if (!wanted || val_ok(point_value(l, "logits")) || !val_ok(image) || !val_ok(text)) return;
  Val scores = link_scores(base, l->spec->logit_scale, image, text);
  ir_point(base, "logits", scores);
  ir_output(base, "logits_per_image", scores);
  link_points(l);
}

/* The towers' symbols, with numbers where the module fixes them.  dst has base's
** symbols under the same ids, because base comes first. */
static void begin_base(Link *l) {
  DimId *size = arena_array(l->a, DimId, DIM_MAX_SYMS);
  l->dst = ir_graph_new(l->a);
  for (SymId s = 0; s < dim_n_symbols(ir_dims(l->base)); s++) {
    (void)dim_symbol(ir_dims(l->dst), dim_symbol_name(ir_dims(l->base), s));
    if (l->size[s] > 0) size[s] = dim_const(ir_dims(l->dst), l->size[s]);
  }
  l->from_base = (Graft){.src = l->base, .dst = l->dst, .size = size};
  l->from_module = (Graft){.src = l->module, .dst = l->dst};
  l->is_fixed = false;
  graft_begin(&l->from_base);
}

VlStatus pass_link(Graph *base, const LinkSpec *spec, Arena *a, Diag *d, Graph **out) {
  Link l = {.base = base, .module = spec->module, .spec = spec, .a = a, .d = d,
            .size = arena_array(a, int64_t, DIM_MAX_SYMS)};
  link_points(&l);
  add_scores(&l, base);
  VL_TRY(link_count_prompts(&l));
  for (int i = 0; i < 3 && (i == 0 || l.is_fixed); i++) {
    begin_base(&l);
    VL_TRY(link_check_taps(&l));
  }
  VL_TRY(link_check_writes(&l));
  for (uint32_t i = 0; i < spec->n_losses; i++) VL_TRY(link_check_loss(&l, &spec->loss[i]));
  VL_TRY(link_all(&l));
  if (spec->layout) *spec->layout = link_layout(&l);
  *out = l.dst;
  return VLPC_OK;
}
