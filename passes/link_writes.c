/* SPDX-License-Identifier: Apache-2.0 */
/* link_writes.c - values of a module take the place of rows, features, scores.
**
** Everything that may be wrong with a write is said beforehand: each value's type
** against its segment, and the prompt rows followed from point to point. */
#include "passes/link_int.h"

#include <string.h>

/* ---- one value against one place ----------------------------------------------- */

static Type type_in_dst(Link *l, const Graft *from, Val v) {
  return *ir_type_get(l->dst, graft_type(from, v));
}

static const char *type_of_text(Link *l, const Type *t) {
  Str s = {.arena = l->a};
  str_printf(&s, "%s[", dtype_name(t->dtype));
  for (uint32_t i = 0; i < t->rank; i++) {
    if (i) str_add(&s, ",");
    dim_print(ir_dims(l->dst), t->dim[i], &s);
  }
  str_add(&s, "]");
  return str_text(&s);
}

static VlStatus misfit(Link *l, const LinkWrite *w, const Type *found, const char *expected) {
  VlStatus s = diag_error(l->d, DIAG_LINK_WIDTH, link_at(l),
                          "'%s' does not fit what it is written to at %s", w->value, w->point);
  diag_found(l->d, "%s", type_of_text(l, found));
  diag_expected(l->d, "%s", expected);
  return s;
}

/* A value of the module that is written; its type in the linked graph. */
static VlStatus value_type(Link *l, const LinkWrite *w, const Point *p, Type *out) {
  Val v = link_value(l, w->value);
  if (!val_ok(v)) {
    VlStatus s = diag_error(l->d, DIAG_LINK_VALUE, link_at(l),
                            "the module has no output '%s', which is written at %s", w->value,
                            w->point);
    diag_fix(l->d, "name an output of the module's graph");
    return s;
  }
  *out = type_in_dst(l, &l->from_module, v);
  VlDtype want = ir_type_of(l->base, p->v)->dtype;
  if (out->dtype == want) return VLPC_OK;
  VlStatus s = diag_error(l->d, DIAG_LINK_DTYPE, link_at(l),
                          "'%s' has not the element type of the stream at %s", w->value, w->point);
  diag_found(l->d, "%s", dtype_name(out->dtype));
  diag_expected(l->d, "%s", dtype_name(want));
  diag_fix(l->d, "cast it in the module");
  return s;
}

static bool is_one(Link *l, DimId d) { return m_dim_is(l->dst, d, 1); }

/* [k,D], [1 or batch,k,D], or with lift [1,1 or classes,k,D]: its rows, when it fits the
** stream's width and batch. */
static bool rows_fit(Link *l, const Type *v, const Type *stream, int64_t *rows) {
  uint32_t lead = v->rank < 2 ? 0 : v->rank - 2;
  if (v->rank < 2 || v->rank > (l->spec->lift ? 4u : 3u)) return false;
  if (v->dim[v->rank - 1] != stream->dim[2]) return false;
  if (lead == 2 && !is_one(l, v->dim[0])) return false;
  if (lead > 0 && !is_one(l, v->dim[lead - 1]) && v->dim[lead - 1] != stream->dim[0]) return false;
  return dim_is_const(ir_dims(l->dst), v->dim[lead], rows) && *rows > 0;
}

static const char *rows_wanted(Link *l, const Point *p, int64_t rows) {
  Type t = type_in_dst(l, &l->from_base, p->v);
  Str s = {.arena = l->a};
  const char *k = rows > 0 ? arena_printf(l->a, "%lld", (long long)rows) : "k";
  str_printf(&s, "%s[%s,", dtype_name(t.dtype), k);
  dim_print(ir_dims(l->dst), t.dim[2], &s);
  str_printf(&s, "], or one of these for each %s", p->is_text ? "class" : "image");
  return str_text(&s);
}

/* ---- the writes at a point ------------------------------------------------------ */

static VlStatus check_prompt(Link *l, const LinkWrite *w, const Point *p, int64_t *rows) {
  Type v, stream = type_in_dst(l, &l->from_base, p->v);
  int64_t k = 0;
  if (w->value == NULL && *rows == 0) {
    VlStatus s = diag_error(l->d, DIAG_LINK_ABSENT, link_at(l),
                            "the segment prompt is dropped at %s, where it is absent", w->point);
    diag_fix(l->d, "insert rows at an earlier point, or leave the drop out");
    return s;
  }
  if (w->value == NULL) {
    *rows = 0;
    return VLPC_OK;
  }
  VL_TRY(value_type(l, w, p, &v));
  if (!rows_fit(l, &v, &stream, &k)) return misfit(l, w, &v, rows_wanted(l, p, *rows));
  if (*rows != 0 && *rows != k) {
    VlStatus s = diag_error(l->d, DIAG_LINK_LENGTH, link_at(l),
                            "the segment prompt changes its length at %s", w->point);
    diag_found(l->d, "%lld rows after %lld", (long long)k, (long long)*rows);
    diag_fix(l->d, "drop it first: {\"point\": \"%s\", \"segment\": \"prompt\", \"drop\": true}",
             w->point);
    return s;
  }
  *rows = k;
  return VLPC_OK;
}

static VlStatus check_rows(Link *l, const LinkWrite *w, const Point *p) {
  Type v, stream = type_in_dst(l, &l->from_base, p->v);
  RowRange r;
  int64_t k = 0, n = -1;
  if (p->is_text && strcmp(w->segment, "sos") == 0) {
    VlStatus s = diag_error(l->d, DIAG_LINK_ROW0, link_at(l),
                            "row 0 of the texts is written at %s", w->point);
    diag_fix(l->d, "write to the slot, which begins at row 1");
    return s;
  }
  if (!link_segment(l, p, w->segment, &r)) return diag_status(l->d);
  if (p->is_text && l->spec->place != SLOT_END && strcmp(w->point, "T.emb") != 0) {
    VlStatus s = diag_error(l->d, DIAG_LINK_POINT, link_at(l),
                            "a slot in the middle or front is written at %s", w->point);
    diag_expected(l->d, "T.emb, or the place end");
    return s;
  }
  if (w->value == NULL)
    return diag_error(l->d, DIAG_LINK_POINT, link_at(l),
                      "the segment %s is dropped at %s: only prompt can be", w->segment, w->point);
  VL_TRY(value_type(l, w, p, &v));
  bool known = dim_is_const(ir_dims(l->dst), r.n, &n);
  if (!known || !rows_fit(l, &v, &stream, &k) || k != n)
    return misfit(l, w, &v, rows_wanted(l, p, n));
  return VLPC_OK;
}

/* With lift the texts of one image are made, and nothing scores all images at once. */
static VlStatus no_scores(Link *l, const LinkWrite *w) {
  VlStatus s = diag_error(l->d, DIAG_LINK_POINT, link_at(l), "with lift '%s' is written at %s",
                          w->value, w->point);
  diag_fix(l->d, "write the features instead, or leave lift out");
  return s;
}

static VlStatus check_value(Link *l, const LinkWrite *w, const Point *p) {
  Type v, want = type_in_dst(l, &l->from_base, p->v);
  if (p->is_rows || w->value == NULL)
    return diag_error(l->d, DIAG_LINK_POINT, link_at(l), "the write at %s names no segment",
                      w->point);
  if (l->spec->lift && strcmp(p->name, "logits") == 0) return no_scores(l, w);
  VL_TRY(value_type(l, w, p, &v));
  bool fits = v.rank == want.rank;
  for (uint32_t i = 0; fits && i < v.rank; i++) fits = v.dim[i] == want.dim[i];
  return fits ? VLPC_OK : misfit(l, w, &v, type_of_text(l, &want));
}

static VlStatus check_at(Link *l, const Point *p, int64_t *rows) {
  for (uint32_t i = 0; i < l->spec->n_writes; i++) {
    const LinkWrite *w = &l->spec->write[i];
    if (strcmp(w->point, p->name) != 0) continue;
    if (w->segment == NULL) VL_TRY(check_value(l, w, p));
    else if (!p->is_rows)
      return diag_error(l->d, DIAG_LINK_POINT, link_at(l), "%s has no rows to write", w->point);
    else if (!p->is_text && strcmp(w->segment, "prompt") == 0)
      VL_TRY(check_prompt(l, w, p, rows));
    else VL_TRY(check_rows(l, w, p));
  }
  return VLPC_OK;
}

VlStatus link_check_writes(Link *l) {
  int64_t rows = 0;
  for (uint32_t i = 0; i < l->n_points; i++) VL_TRY(check_at(l, &l->point[i], &rows));
  return VLPC_OK;
}

/* Rows of a value of the module, 0 when they cannot be told. */
static int64_t rows_in_module(const Link *l, const char *value) {
  Val v = value ? link_value(l, value) : VAL_NONE;
  const Type *t = val_ok(v) ? ir_type_of(l->module, v) : NULL;
  int64_t n = 0;
  if (t != NULL && t->rank >= 2) (void)ir_size_const(l->module, v, -2, &n);
  return n;
}

VlStatus link_count_prompts(Link *l) {
  int64_t rows = 0;
  for (uint32_t i = 0; i < l->spec->n_writes; i++)
    if (link_point(l, l->spec->write[i].point) == NULL) return diag_status(l->d);
  for (uint32_t i = 0; i < l->n_points; i++) { /* points are in order */
    Point *p = &l->point[i];
    if (p->is_text || !p->is_rows) continue;
    p->prompt = rows;
    for (uint32_t w = 0; w < l->spec->n_writes; w++) {
      const LinkWrite *at = &l->spec->write[w];
      if (strcmp(at->point, p->name) == 0 && at->segment && strcmp(at->segment, "prompt") == 0)
        rows = rows_in_module(l, at->value);
    }
  }
  return VLPC_OK;
}

/* ---- making them ------------------------------------------------------------------ */

/* Rows for the whole batch of the stream: [k,D] and [1,k,D] are spread. */
static Val spread(Link *l, Val v, const Type *stream) {
  Type t = *ir_type_of(l->dst, v);
  if (t.rank == 4) v = ir_reshape(l->dst, v, t.dim + 1, 3);
  DimId full[3] = {stream->dim[0], t.dim[t.rank - 2], stream->dim[2]};
  return ir_broadcast(l->dst, v, full, 3);
}

/* x with v instead of rows r; r.n may be nothing at the end. */
static Val replace_rows(Link *l, Val x, RowRange r, Val v) {
  Graph *g = l->dst;
  DimTable *t = ir_dims(g);
  Type stream = *ir_type_of(g, x);
  DimId end = dim_add(t, r.from, r.n), left = dim_sub(t, stream.dim[1], end);
  Val part[3];
  uint32_t n = 0;
  if (!m_dim_is(g, r.from, 0)) part[n++] = ir_slice_axis(g, x, 1, dim_const(t, 0), r.from);
  if (val_ok(v)) part[n++] = spread(l, v, &stream);
  if (!m_dim_is(g, left, 0)) part[n++] = ir_slice_axis(g, x, 1, end, left);
  return ir_concat(g, part, n, 1);
}

/* The source row of row j of a text of a class whose name has n tokens: learned
** rows stand around the name (half of them before it) or behind it. */
static Val row_map(Link *l, DimId classes, DimId length) {
  Graph *g = l->dst;
  int64_t m = l->spec->slot_rows, half = l->spec->place == SLOT_MIDDLE ? m / 2 : 0;
  DimId column[2] = {classes, dim_const(ir_dims(g), 1)};
  Attr dims = attr_dims(A_dims, &length, 1);
  Val names = ir_input(g, "name_lengths", ir_type(g, VLPC_I64, 1, &classes));
  Val j = ir_node(g, OP_iota, 0, NULL, 1, &dims), n = ir_reshape(g, names, column, 2);
#define NUMBER(v) ir_cast(g, ir_scalar(g, VLPC_F64, (double)(v)), VLPC_I64)
  Val in_name = ir_ew2(g, OP_add, j, NUMBER(m - half)), behind = ir_ew2(g, OP_sub, j, n);
  Val before_name = ir_ew2(g, OP_le, j, NUMBER(half));
  Val to_name = ir_ew2(g, OP_le, j, ir_ew2(g, OP_add, n, NUMBER(half)));
  Val to_slot = ir_ew2(g, OP_le, j, ir_ew2(g, OP_add, n, NUMBER(m)));
#undef NUMBER
  Val map = ir_node(g, OP_where, 3, (Val[]){to_slot, behind, j}, 0, NULL);
  map = ir_node(g, OP_where, 3, (Val[]){to_name, in_name, map}, 0, NULL);
  return ir_node(g, OP_where, 3, (Val[]){before_name, j, map}, 0, NULL);
}

static Val place_slot(Link *l, const Point *p, Val x) {
  Graph *g = l->dst;
  const Type *t = ir_type_of(g, x);
  if (l->spec->place == SLOT_END || strcmp(p->name, "T.emb") != 0) return x;
  Val map = row_map(l, t->dim[0], t->dim[1]);
  const Type *m = ir_type_of(g, map);
  DimId index[3] = {m->dim[0], m->dim[1], dim_const(ir_dims(g), 1)};
  Attr one = attr_int(A_batch_dims, 1);
  return ir_node(g, OP_gather_nd, 2, (Val[]){x, ir_reshape(g, map, index, 3)}, 1, &one);
}

static Val write_at(Link *l, const Point *p, Val x) {
  Point now = *p; /* how many prompt rows there are, write after write */
  for (uint32_t i = 0; i < l->spec->n_writes && val_ok(x); i++) {
    const LinkWrite *w = &l->spec->write[i];
    if (strcmp(w->point, p->name) != 0) continue;
    Val v = w->value ? link_made(l, (Item){ITEM_module, link_value(l, w->value)}) : VAL_NONE;
    if (w->segment == NULL) {
      x = v;
      continue;
    }
    RowRange r;
    bool is_prompt = !p->is_text && strcmp(w->segment, "prompt") == 0;
    if (is_prompt && now.prompt == 0) (void)link_segment(l, &now, "all", &r), r.from = r.n;
    else if (!link_segment(l, &now, w->segment, &r)) return VAL_NONE;
    if (is_prompt && now.prompt == 0) r.n = dim_const(ir_dims(l->dst), 0);
    x = replace_rows(l, x, r, v);
    if (p->is_text && val_ok(x)) x = place_slot(l, p, x);
    if (is_prompt && val_ok(v)) {
      const Type *t = ir_type_of(l->dst, v);
      (void)dim_is_const(ir_dims(l->dst), t->dim[t->rank - 2], &now.prompt);
    } else if (is_prompt) now.prompt = 0;
  }
  return x;
}

Val link_write(Link *l, Val v, Val x) {
  for (uint32_t i = 0; i < l->n_points; i++)
    if (val_eq(l->point[i].v, v)) x = write_at(l, &l->point[i], x);
  return x;
}
