/* SPDX-License-Identifier: Apache-2.0 */
/* link_taps.c - what a module reads of the towers.
**
**   POINT            the value before the writes there, all rows or a segment's
**   POINT.norm       features of unit length
**   frozen.POINT     the same without any write
**   text.ids, text.name_length
** The frozen towers' texts are other texts (without learned rows), so what
** depends on them comes in as frozen_text_features. */
#include "passes/link_int.h"

#include <string.h>

/* A tap's "from", taken apart. */
typedef struct {
  bool is_frozen, is_norm;
  const char *input;  /* of the texts: "text", "name_lengths"; NULL: a point */
  const Point *point; /* NULL for frozen scores, and inputs */
} Source;

static const char *const text_tap[][2] = {{"text.ids", "text"},
                                          {"text.name_length", "name_lengths"}};

static const char *without(Link *l, const char *name, const char *suffix) {
  size_t n = strlen(name), k = strlen(suffix);
  bool ends = n > k && strcmp(name + n - k, suffix) == 0;
  return ends ? arena_strndup(l->a, name, n - k) : NULL;
}

/* False, and a diagnostic, when there is no such thing. */
static bool source_of(Link *l, const LinkTap *t, Source *out) {
  const char *name = t->from, *plain = NULL;
  *out = (Source){0};
  for (size_t i = 0; i < VL_COUNT(text_tap); i++)
    if (strcmp(name, text_tap[i][0]) == 0) out->input = text_tap[i][1];
  if (out->input != NULL) return true;
  out->is_frozen = strncmp(name, "frozen.", 7) == 0;
  if (out->is_frozen) name += 7;
  plain = without(l, name, ".feat.norm");
  out->is_norm = plain != NULL;
  if (out->is_norm) name = arena_printf(l->a, "%s.feat", plain);
  bool is_made = out->is_frozen && strcmp(name, "logits") == 0;
  if (!is_made) out->point = link_point(l, name);
  return is_made || out->point != NULL;
}

/* ---- types ----------------------------------------------------------------------- */

static const Point *features(Link *l, char tower) {
  return link_point(l, tower == 'T' ? "T.feat" : "V.feat");
}

static Type base_type(Link *l, const Point *p) {
  return *ir_type_get(l->dst, graft_type(&l->from_base, p->v));
}

static bool scores_type(Link *l, Type *out) {
  const Point *v = features(l, 'V'), *t = features(l, 'T');
  if (v == NULL || t == NULL) return false;
  *out = base_type(l, v);
  out->dim[1] = base_type(l, t).dim[0];
  return true;
}

static bool text_type(Link *l, const Source *s, Type *out) {
  Val ids = ir_input_named(l->base, "text");
  if (!val_ok(ids)) {
    VL_IGNORE(diag_error(l->d, DIAG_LINK_POINT, link_at(l), "the model takes no texts"));
    return false;
  }
  *out = *ir_type_get(l->dst, graft_type(&l->from_base, ids));
  if (strcmp(s->input, "text") != 0) *out = (Type){VLPC_I64, 1, {out->dim[0]}};
  return true;
}

static bool tap_type(Link *l, const LinkTap *t, const Source *s, Type *out) {
  RowRange r;
  if (s->input != NULL) return text_type(l, s, out);
  if (s->point == NULL) return scores_type(l, out);
  *out = base_type(l, s->point);
  if (l->spec->lift && !s->point->is_text) out->dim[0] = dim_const(ir_dims(l->dst), 1);
  if (!s->point->is_rows) return true;
  Point p = *s->point;
  if (s->is_frozen) p.prompt = 0;
  if (!link_segment(l, &p, t->segment, &r)) return false;
  out->dim[1] = r.n;
  return true;
}

/* A size that the towers leave open and the module knows, as one with a row for each
** class does: it becomes that number in all. */
static bool fix_size(Link *l, DimId have, int64_t n) {
  Dim h = dim_get(ir_dims(l->dst), have);
  if (h.n != 1 || h.c != 0 || h.term[0].k != 1 || n <= 0) return false;
  l->size[h.term[0].sym] = n;
  return l->is_fixed = true;
}

/* Sizes that the module names are those of what it reads. */
static bool unify(Link *l, const Graph *of, const Type *want, const Type *have, DimId *size) {
  if (want->rank != have->rank || want->dtype != have->dtype) return false;
  for (uint32_t i = 0; i < want->rank; i++) {
    Dim e = dim_get(ir_dims(of), want->dim[i]);
    int64_t n = 0;
    bool is_number = dim_is_const(ir_dims(l->dst), have->dim[i], &n);
    bool may_fix = e.n == 0 && of == l->module;
    if (e.n == 0 && is_number && n == e.c) continue;
    if (!is_number && may_fix && fix_size(l, have->dim[i], e.c)) continue;
    if (e.n != 1 || e.c != 0 || e.term[0].k != 1) return false;
    DimId *known = &size[e.term[0].sym];
    if (*known != DIM_NONE && *known != have->dim[i]) return false;
    *known = have->dim[i];
  }
  return true;
}

static const char *type_text_in(Arena *a, const Graph *g, const Type *t) {
  Str s = {.arena = a};
  str_printf(&s, "%s[", dtype_name(t->dtype));
  for (uint32_t i = 0; i < t->rank; i++) {
    if (i) str_add(&s, ",");
    dim_print(ir_dims(g), t->dim[i], &s);
  }
  str_add(&s, "]");
  return str_text(&s);
}

static VlStatus check_lift(Link *l, const LinkTap *t, const Source *s) {
  bool fits = s->point != NULL && strcmp(s->point->name, "V.feat") == 0 && !s->is_frozen;
  if (!l->spec->lift || fits || s->input != NULL) return VLPC_OK;
  VlStatus st = diag_error(l->d, DIAG_LINK_POINT, link_at(l),
                           "with lift the tap '%s' reads %s", t->input, t->from);
  diag_expected(l->d, "V.feat or V.feat.norm: the texts are made of one image's features");
  return st;
}

VlStatus link_fit(Link *l, LinkFit f, Val in, const Type *have, DimId *size) {
  const Type *want = ir_type_of(f.graph, in);
  if (unify(l, f.graph, want, have, size)) return VLPC_OK;
  VlStatus s = diag_error(l->d, DIAG_LINK_WIDTH, (DiagAt){f.file, NULL},
                          "%s does not fit the %s's input '%s'", f.tap->from,
                          f.graph == l->module ? "module" : "loss", f.tap->input);
  diag_found(l->d, "%s", type_text_in(l->a, l->dst, have));
  diag_expected(l->d, "%s", type_text_in(l->a, f.graph, want));
  return s;
}

static VlStatus check_tap(Link *l, const LinkTap *t, DimId *size) {
  Source s;
  Type have;
  Val in = VAL_NONE;
  const Named *at = NULL;
  uint32_t n = ir_inputs(l->module, &at);
  for (uint32_t i = 0; i < n; i++)
    if (strcmp(at[i].name, t->input) == 0) in = at[i].v;
  if (!val_ok(in)) {
    return diag_error(l->d, DIAG_LINK_VALUE, link_at(l),
                      "the module has no input '%s', to which %s is tapped", t->input, t->from);
  }
  if (!source_of(l, t, &s) || !tap_type(l, t, &s, &have)) return diag_status(l->d);
  VL_TRY(check_lift(l, t, &s));
  return link_fit(l, (LinkFit){t, l->module, l->spec->file}, in, &have, size);
}

static bool is_trainable(const LinkSpec *spec, const char *name) {
  for (uint32_t i = 0; i < spec->n_trainables; i++)
    if (strcmp(spec->trainable[i], name) == 0) return true;
  return false;
}

static VlStatus check_inputs(Link *l) {
  const Named *in = NULL;
  uint32_t n = ir_inputs(l->module, &in);
  for (uint32_t i = 0; i < n; i++) {
    bool known = is_trainable(l->spec, in[i].name) || link_tap(l, in[i].v) != NULL;
    bool clash = is_trainable(l->spec, in[i].name) && val_ok(ir_input_named(l->base, in[i].name));
    if (known && !clash) continue;
    VlStatus s = diag_error(l->d, DIAG_LINK_VALUE, link_at(l), "the module's input '%s' is %s",
                            in[i].name,
                            clash ? "a trainable that has the name of an input of the model"
                                  : "neither tapped nor a trainable");
    diag_fix(l->d, "%s", clash ? "give it another name" : "declare a tap for it");
    return s;
  }
  return VLPC_OK;
}

VlStatus link_check_taps(Link *l) {
  DimId *size = arena_array(l->a, DimId, DIM_MAX_SYMS);
  VL_TRY(check_inputs(l));
  for (uint32_t i = 0; i < l->spec->n_taps; i++) VL_TRY(check_tap(l, &l->spec->tap[i], size));
  l->from_module.size = size;
  graft_begin(&l->from_module);
  return VLPC_OK;
}

/* ---- values ------------------------------------------------------------------------ */

bool link_tap_needs(Link *l, const LinkTap *t, uint32_t k, Item *out) {
  Source s;
  VL_CHECK(source_of(l, t, &s), "taps were checked");
  if (s.input != NULL) return false;
  const Point *p = s.point != NULL ? s.point : features(l, 'V'); /* frozen scores */
  bool is_texts = s.is_frozen && p->is_text, is_lifted = l->spec->lift && !p->is_text;
  if (k > 0 || is_texts || is_lifted) return false;
  *out = (Item){s.is_frozen ? ITEM_frozen : ITEM_before, p->v};
  return true;
}

/* The linked graph's own input, in the type of a tower's features. */
static Val own_input(Link *l, const char *name, char tower, Val *made) {
  Type t = base_type(l, features(l, tower));
  if (tower == 'V') t.dim[0] = dim_const(ir_dims(l->dst), 1);
  if (!val_ok(*made)) *made = ir_input(l->dst, name, ir_type(l->dst, t.dtype, t.rank, t.dim));
  return *made;
}

static Val frozen_text(Link *l) { return own_input(l, LINK_FROZEN_TEXT, 'T', &l->frozen_text); }

static Val unit(Graph *g, Val v) {
  Attr eps = attr_float(A_eps, 0);
  return ir_node(g, OP_l2norm, 1, &v, 1, &eps);
}

Val link_scores(Graph *g, double scale, Val image, Val text) {
  Val turned = ir_permute(g, unit(g, text), (int64_t[]){1, 0}, 2);
  Val cosines = ir_ew2(g, OP_matmul, unit(g, image), turned);
  return ir_ew2(g, OP_mul, cosines, ir_scalar(g, VLPC_F32, scale));
}

static Val text_input(Link *l, const Source *s) {
  const Named *in = NULL;
  uint32_t n = ir_inputs(l->dst, &in);
  for (uint32_t i = 0; i < n; i++)
    if (strcmp(in[i].name, s->input) == 0) return in[i].v;
  Type t;
  return text_type(l, s, &t) ? ir_input(l->dst, s->input, ir_type(l->dst, t.dtype, t.rank, t.dim))
                             : VAL_NONE;
}

static Val source_value(Link *l, const LinkTap *t, const Source *s) {
  Item it;
  if (s->input != NULL) return text_input(l, s);
  bool is_of_towers = link_tap_needs(l, t, 0, &it);
  if (s->point == NULL)
    return link_scores(l->dst, l->spec->logit_scale, link_made(l, it), frozen_text(l));
  if (s->is_frozen && s->point->is_text) return frozen_text(l);
  if (!is_of_towers) return own_input(l, "image_features", 'V', &l->image_row);
  return link_made(l, it);
}

Val link_tapped(Link *l, const LinkTap *t) {
  Source s;
  VL_CHECK(source_of(l, t, &s), "taps were checked");
  Val v = source_value(l, t, &s);
  if (!val_ok(v)) return v;
  if (s.is_norm) return unit(l->dst, v);
  if (s.point == NULL || !s.point->is_rows) return v;
  Point p = *s.point;
  RowRange r;
  if (s.is_frozen) p.prompt = 0;
  if (!link_segment(l, &p, t->segment, &r)) return VAL_NONE;
  return ir_slice_axis(l->dst, v, 1, r.from, r.n);
}
