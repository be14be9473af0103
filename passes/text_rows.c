/* SPDX-License-Identifier: Apache-2.0 */
/* text_rows.c - a text tower on the rows that count.
**
** in:      a lowered graph whose texts are [classes, length] ids, causal, read
**          at one row each (the end of the text); an entry, such as their features or
**          a loss
** adds:    the same outputs computed from packed rows: rows after a text's end
**          are not there, and a prefix that all texts share is there once
** method:  one walk; each value that depends on the texts gets a twin, on
**          [rows, …] before the read-out and on [classes, …] after it
** learned: rows that a prompt set gives are in the common prefix where they are; when each
**          class has its own, or they stand around or behind a name, each row of the
**          texts says where it comes from
** exact:   a causal row depends only on the rows before it in its own text, and
**          everything but attention works row by row
** leaves:  the graph as it was; the twin shares its weights */
#include "passes/pass_int.h"

#include <string.h>

typedef enum {
  TWIN_SAME = 0, /* does not depend on the texts */
  TWIN_IDS,      /* the ids */
  TWIN_MASK,     /* depends on attention_mask only */
  TWIN_NAMES,    /* depends on name_lengths only */
  TWIN_IS_END,   /* ids == the end's id */
  TWIN_END,      /* index of each text's end */
  TWIN_ROWS,     /* has a twin on rows */
  TWIN_PART,     /* rows [from, to) of each text: a twin on some of the rows */
  TWIN_UNPLACED, /* its twin is on rows as they are once they are put in their places */
  TWIN_TEXTS,    /* has a twin on texts */
  TWIN_NONE      /* cannot be had on rows */
} TwinKind;

typedef struct {
  Graph *g;
  TwinKind *kind;
  Val *twin;
  Val ids, positions, bounds, ends; /* the new inputs */
  Val sources; /* and when rows say where they come from; VAL_NONE: they do not */
  bool placed; /* learned rows are moved once they are there */
  DimId rows, classes, length;
  int64_t eot; /* id that ends a text; -1: the largest of the text */
  int64_t *from, *to; /* by value: rows of a part; to -1: up to the end */
  int64_t prefix;     /* rows that the texts are to share at least */
} Twins;

static TwinKind kind_of(const Twins *w, Val v) {
  return val_ok(v) ? w->kind[v.i] : TWIN_SAME;
}

static Val twin_of(const Twins *w, Val v) {
  return kind_of(w, v) == TWIN_SAME ? v : w->twin[v.i];
}

/* The kinds of the operands that depend on the texts, as a set. */
static uint32_t operand_kinds(const Twins *w, Val v) {
  uint32_t kinds = 0;
  for (uint32_t i = 0; i < ir_n_in(w->g, v); i++) kinds |= 1u << kind_of(w, ir_in(w->g, v, i));
  return kinds & ~(1u << TWIN_SAME);
}

static bool is_stream(const Twins *w, Val v) {
  const Type *t = ir_type_of(w->g, v);
  return t->rank == 3 && t->dim[0] == w->classes && t->dim[1] == w->length;
}

/* ---- values on rows ------------------------------------------------------ */

/* A value that is the same for all texts, for each row: [length, w] or a part of
** a longer table by the rows' positions, anything without the row axis as it is. */
static Val same_for_rows(Twins *w, Val v) {
  const Type *t = ir_type_of(w->g, v);
  if (t->rank <= 1) return v;
  uint32_t row = t->rank - 2;
  int64_t one = 0;
  for (uint32_t i = 0; i < row; i++) {
    if (!dim_is_const(ir_dims(w->g), t->dim[i], &one) || one != 1) return VAL_NONE;
  }
  DimId table[2] = {t->dim[row], t->dim[row + 1]};
  if (table[0] != w->length) return VAL_NONE;
  if (ir_op(w->g, v) == OP_slice && t->rank == 2) {
    Val whole = ir_in(w->g, v, 0);
    const Attr *starts = ir_attr(w->g, v, A_starts), *steps = ir_attr(w->g, v, A_steps);
    int64_t first = 0;
    bool plain = dim_is_const(ir_dims(w->g), starts->dims[0], &first) && first == 0;
    plain = plain && (!steps || steps->ints[0] == 1) && ir_type_of(w->g, whole)->dim[1] == table[1];
    if (plain) v = whole;
  } else {
    v = ir_reshape(w->g, v, table, 2);
  }
  Attr axis = attr_int(A_axis, 0);
  return val_ok(v) ? ir_node(w->g, OP_gather, 2, (Val[]){v, w->positions}, 1, &axis) : VAL_NONE;
}

static Val on_rows(Twins *w, Val v, bool whole_operands) {
  Val in[8];
  const Attr *attr = NULL;
  uint32_t n = ir_n_in(w->g, v), n_attr = ir_attrs(w->g, v, &attr);
  if (n > VL_COUNT(in)) return VAL_NONE;
  for (uint32_t i = 0; i < n; i++) {
    Val x = ir_in(w->g, v, i);
    bool same = kind_of(w, x) == TWIN_SAME;
    in[i] = !same ? twin_of(w, x) : whole_operands || !val_ok(x) ? x : same_for_rows(w, x);
    if (val_ok(x) && !val_ok(in[i])) return VAL_NONE;
  }
  return ir_node(w->g, ir_op(w->g, v), n, in, n_attr, attr);
}

/* A slice of columns. */
static Val columns(Twins *w, Val v) {
  const Type *t = ir_type_of(w->g, v);
  const Attr *starts = ir_attr(w->g, v, A_starts), *steps = ir_attr(w->g, v, A_steps);
  Val x = ir_in(w->g, v, 0);
  int64_t first[2] = {0};
  for (uint32_t i = 0; i < 2; i++) {
    if (!dim_is_const(ir_dims(w->g), starts->dims[i], &first[i]) || first[i] != 0) return VAL_NONE;
  }
  if (kind_of(w, x) != TWIN_ROWS || !is_stream(w, x) || !is_stream(w, v)) return VAL_NONE;
  if (steps && steps->ints[2] != 1) return VAL_NONE;
  return ir_slice_axis(w->g, twin_of(w, x), 1, starts->dims[2], t->dim[2]);
}

/* ---- learned rows in the shared prefix ------------------------------------ */

/* A slice of rows: the first ones, which lie in the prefix, or all from one on. */
static bool is_row_part(Twins *w, Val v, int64_t *from, int64_t *to) {
  const Graph *g = w->g;
  if (ir_op(g, v) != OP_slice || !is_stream(w, ir_in(g, v, 0))) return false;
  const Type *t = ir_type_of(g, v), *x = ir_type_of(g, ir_in(g, v, 0));
  const Attr *starts = ir_attr(g, v, A_starts), *steps = ir_attr(g, v, A_steps);
  for (uint32_t i = 0; steps && i < 3; i++)
    if (steps->ints[i] != 1) return false;
  if (t->dim[0] != x->dim[0] || t->dim[2] != x->dim[2] || t->dim[1] == x->dim[1]) return false;
  if (!dim_is_const(ir_dims(w->g), starts->dims[1], from)) return false;
  DimId end = dim_add(ir_dims(w->g), starts->dims[1], t->dim[1]);
  *to = -1;
  return end == w->length || (*from == 0 && dim_is_const(ir_dims(w->g), end, to));
}

static bool visit_part(Twins *w, Val v) {
  int64_t from = 0, to = 0;
  DimTable *t = ir_dims(w->g);
  Val x = ir_n_in(w->g, v) == 1 ? ir_in(w->g, v, 0) : VAL_NONE;
  if (!val_ok(x) || kind_of(w, x) != TWIN_ROWS || !is_row_part(w, v, &from, &to)) return false;
  DimId first = dim_const(t, from), rows = ir_type_of(w->g, w->ids)->dim[0];
  DimId n = to >= 0 ? ir_type_of(w->g, v)->dim[1] : dim_sub(t, rows, first);
  w->twin[v.i] = ir_slice_axis(w->g, twin_of(w, x), 0, first, n);
  w->kind[v.i] = val_ok(w->twin[v.i]) ? TWIN_PART : TWIN_NONE;
  w->from[v.i] = from, w->to[v.i] = to;
  return true;
}

/* Rows that are the same for all texts, as [k, width]; VAL_NONE for others. */
static Val shared_rows(Graph *g, Val v) {
  if (ir_op(g, v) == OP_broadcast) v = ir_in(g, v, 0);
  const Type *t = ir_type_of(g, v);
  for (uint32_t i = 0; i + 2 < t->rank; i++)
    if (!m_dim_is(g, t->dim[i], 1)) return VAL_NONE;
  return t->rank >= 2 ? ir_reshape(g, v, t->dim + t->rank - 2, 2) : VAL_NONE;
}

/* Some text has rows between its own that are not the same for all texts. */
static bool has_class_rows(const Twins *w, uint32_t n) {
  for (uint32_t i = 1; i <= n; i++) {
    Val v = {i};
    if (ir_op(w->g, v) != OP_concat || !is_stream(w, v)) continue;
    for (uint32_t k = 0; k < ir_n_in(w->g, v); k++) {
      Val x = ir_in(w->g, v, k);
      if (ir_op(w->g, x) != OP_slice && !val_ok(shared_rows(w->g, x))) return true;
    }
  }
  return false;
}

/* Row 0, learned rows, the rest: learned rows of all classes and the texts' packed rows
** one behind the other, of which each row is taken from its source. */
static Val sourced_rows(Twins *w, Val v) {
  Graph *g = w->g;
  Val a = ir_in(g, v, 0), x = ir_n_in(g, v) == 3 ? ir_in(g, v, 1) : VAL_NONE;
  Val c = val_ok(x) ? ir_in(g, v, 2) : VAL_NONE;
  int64_t k = 0;
  if (ir_attr_int(g, v, A_axis, 0) != 1) return VAL_NONE;
  if (!val_ok(x) || kind_of(w, a) != TWIN_PART || kind_of(w, c) != TWIN_PART) return VAL_NONE;
  if (kind_of(w, x) != TWIN_SAME || !ir_size_const(g, x, 1, &k)) return VAL_NONE;
  if (w->to[a.i] != 1 || w->from[c.i] != 1 + k || !val_eq(ir_in(g, a, 0), ir_in(g, c, 0)))
    return VAL_NONE;
  const Type *t = ir_type_of(g, x);
  DimId each[3] = {w->classes, t->dim[1], t->dim[2]};
  DimId flat[2] = {dim_mul(ir_dims(g), w->classes, t->dim[1]), t->dim[2]};
  Val all[2] = {ir_reshape(g, ir_broadcast(g, x, each, 3), flat, 2), twin_of(w, ir_in(g, a, 0))};
  Attr axis = attr_int(A_axis, 0);
  return ir_node(g, OP_gather, 2, (Val[]){ir_concat(g, all, 2, 0), w->sources}, 1, &axis);
}

/* The first rows, learned rows, the rest: joined as they were, once for all texts. */
static Val joined_parts(Twins *w, Val v) {
  Graph *g = w->g;
  uint32_t n = ir_n_in(g, v);
  Val part[8];
  int64_t at = 0;
  if (ir_attr_int(g, v, A_axis, 0) != 1 || n > VL_COUNT(part)) return VAL_NONE;
  for (uint32_t i = 0; i < n; i++) {
    Val x = ir_in(g, v, i);
    int64_t k = 0;
    bool is_part = kind_of(w, x) == TWIN_PART;
    if (at < 0 || (!is_part && kind_of(w, x) != TWIN_SAME)) return VAL_NONE;
    if (is_part && w->from[x.i] != at) return VAL_NONE;
    part[i] = is_part ? twin_of(w, x) : shared_rows(g, x);
    if (!val_ok(part[i]) || (!is_part && !ir_size_const(g, x, 1, &k))) return VAL_NONE;
    at = is_part ? w->to[x.i] : at + k;
    w->prefix = VL_MAX(w->prefix, at);
  }
  return at < 0 ? ir_concat(g, part, n, 0) : VAL_NONE;
}

static Val over_runs(Twins *w, Val v) {
  Val in[4] = {VAL_NONE, VAL_NONE, VAL_NONE, w->bounds};
  bool masked = ir_n_in(w->g, v) > 3 && val_ok(ir_in(w->g, v, 3));
  if (!ir_attr_int(w->g, v, A_causal, 0)) return VAL_NONE;
  if (masked && kind_of(w, ir_in(w->g, v, 3)) != TWIN_MASK) return VAL_NONE;
  for (uint32_t i = 0; i < 3; i++) {
    Val x = ir_in(w->g, v, i);
    if (kind_of(w, x) != TWIN_ROWS || !is_stream(w, x)) return VAL_NONE;
    in[i] = twin_of(w, x);
  }
  Attr attr[2] = {attr_int(A_heads, ir_attr_int(w->g, v, A_heads, 1)),
                  attr_float(A_scale, ir_attr_float(w->g, v, A_scale, 1))};
  return ir_node(w->g, OP_attention_varlen, 4, in, 2, attr);
}

static Val rows_value(Twins *w, Val v) {
  OpCode op = ir_op(w->g, v);
  Val first = ir_in(w->g, v, 0);
  if (op == OP_embedding && kind_of(w, ir_in(w->g, v, 1)) == TWIN_IDS)
    return ir_node(w->g, OP_embedding, 2, (Val[]){first, w->ids}, 0, NULL);
  if (op == OP_attention) return over_runs(w, v);
  if (op == OP_slice) return columns(w, v);
  if (!is_stream(w, v)) return VAL_NONE;
  if (op == OP_concat) return val_ok(w->sources) ? sourced_rows(w, v) : joined_parts(w, v);
  if (op_info(op)->kind == K_EW || op == OP_gelu) return on_rows(w, v, false);
  bool row_wise = op == OP_linear || op == OP_layernorm || op == OP_l2norm;
  return row_wise && kind_of(w, first) == TWIN_ROWS ? on_rows(w, v, true) : VAL_NONE;
}

/* ---- the end of a text and what comes after ------------------------------ */

static bool is_end_test(Twins *w, Val v) {
  if (ir_op(w->g, v) != OP_eq) return false;
  for (uint32_t i = 0; i < 2; i++) {
    bool ids = kind_of(w, ir_in(w->g, v, i)) == TWIN_IDS;
    int64_t end = 0;
    uint32_t n = 0;
    if (ids && ir_const_ints(w->g, ir_in(w->g, v, 1 - i), &end, 1, &n) && n == 1) {
      w->eot = end;
      return true;
    }
  }
  return false;
}

static TwinKind end_kind(Twins *w, Val v, uint32_t kinds) {
  OpCode op = ir_op(w->g, v);
  if (kinds == 1u << TWIN_IDS && op == OP_cast) return TWIN_IDS;
  if (kinds == 1u << TWIN_IDS && is_end_test(w, v)) return TWIN_IS_END;
  if (kinds == 1u << TWIN_IS_END && op == OP_cast) return TWIN_IS_END;
  bool first_of_row =
      op == OP_argmax && ir_attr_int(w->g, v, A_axis, 0) == 1 && !ir_attr_int(w->g, v, A_last, 0);
  if (first_of_row && (kinds == 1u << TWIN_IDS || kinds == 1u << TWIN_IS_END)) return TWIN_END;
  return kinds == 1u << TWIN_END && op == OP_reshape ? TWIN_END : TWIN_NONE;
}

static bool reads_out(const Twins *w, Val v) {
  return ir_op(w->g, v) == OP_gather_nd && ir_attr_int(w->g, v, A_batch_dims, 0) == 1 &&
         kind_of(w, ir_in(w->g, v, 0)) == TWIN_ROWS && is_stream(w, ir_in(w->g, v, 0)) &&
         kind_of(w, ir_in(w->g, v, 1)) == TWIN_END;
}

static void set_twin(Twins *w, Val v, TwinKind kind, Val twin) {
  w->kind[v.i] = val_ok(twin) ? kind : TWIN_NONE;
  w->twin[v.i] = twin;
}

/* Learned rows and names change places: rows that know their source have done so. */
static bool visit_place(Twins *w, Val v, uint32_t kinds) {
  OpCode op = ir_op(w->g, v);
  if (kinds == 1u << TWIN_NAMES) {
    w->kind[v.i] = TWIN_NAMES;
  } else if (op == OP_concat && (kinds & 1u << TWIN_PART) != 0) {
    set_twin(w, v, TWIN_UNPLACED, rows_value(w, v));
  } else if (op == OP_gather_nd && ir_attr_int(w->g, v, A_batch_dims, 0) == 1 &&
             kind_of(w, ir_in(w->g, v, 0)) == TWIN_UNPLACED &&
             kind_of(w, ir_in(w->g, v, 1)) == TWIN_NAMES && is_stream(w, v)) {
    set_twin(w, v, TWIN_ROWS, twin_of(w, ir_in(w->g, v, 0)));
  } else {
    return false;
  }
  return true;
}

static void visit(Twins *w, Val v) {
  uint32_t kinds = operand_kinds(w, v);
  Attr axis = attr_int(A_axis, 0);
  if (kinds == 0) return;
  ir_set_loc(w->g, ir_loc(w->g, v));
  if (kinds == 1u << TWIN_MASK) {
    w->kind[v.i] = TWIN_MASK;
  } else if (w->placed && visit_place(w, v, kinds)) {
    return;
  } else if (reads_out(w, v)) {
    Val rows = twin_of(w, ir_in(w->g, v, 0));
    set_twin(w, v, TWIN_TEXTS, ir_node(w->g, OP_gather, 2, (Val[]){rows, w->ends}, 1, &axis));
  } else if (kinds == 1u << TWIN_ROWS && visit_part(w, v)) {
    return;
  } else if (kinds == 1u << TWIN_TEXTS) {
    set_twin(w, v, TWIN_TEXTS, on_rows(w, v, true));
  } else {
    TwinKind end = end_kind(w, v, kinds);
    if (end != TWIN_NONE)
      w->kind[v.i] = end;
    else
      set_twin(w, v, TWIN_ROWS, rows_value(w, v));
  }
}

/* ---- the entry ----------------------------------------------------------- */

/* The entries on rows share their inputs. */
static Val index_input(Graph *g, const char *name, const char *size) {
  DimTable *t = ir_dims(g);
  Val known = ir_input_named(g, name);
  if (val_ok(known)) return known;
  DimId d = dim_of_symbol(t, dim_symbol(t, size));
  return ir_input(g, name, ir_type(g, VLPC_I64, 1, &d));
}

static bool begin(Twins *w, Graph *g, Val text, Val mask) {
  uint32_t n = ir_n_vals(g);
  const Type *t = ir_type_of(g, text);
  int64_t fixed = 0;
  if (t->rank != 2 || dim_is_const(ir_dims(g), t->dim[0], &fixed)) return false;
  Dim d = dim_get(ir_dims(g), t->dim[0]);
  const char *classes = dim_symbol_name(ir_dims(g), d.term[0].sym);
  if (d.c != 0 || d.n != 1 || d.term[0].k != 1) return false;
  *w = (Twins){.g = g, .classes = t->dim[0], .length = t->dim[1], .eot = -1};
  w->kind = arena_array(ir_arena(g), TwinKind, n + 1);
  w->twin = arena_array(ir_arena(g), Val, n + 1);
  w->from = arena_array(ir_arena(g), int64_t, n + 1);
  w->to = arena_array(ir_arena(g), int64_t, n + 1);
  w->kind[text.i] = TWIN_IDS;
  if (val_ok(mask)) w->kind[mask.i] = TWIN_MASK;
  w->ids = index_input(g, "row_ids", "rows");
  w->positions = index_input(g, "row_positions", "rows");
  w->bounds = index_input(g, "run_bounds", "runs");
  w->ends = index_input(g, "row_ends", classes);
  Val names = ir_input_named(g, "name_lengths");
  w->placed = val_ok(names);
  if (w->placed) w->kind[names.i] = TWIN_NAMES;
  if (w->placed || has_class_rows(w, n)) w->sources = index_input(g, "row_sources", "rows");
  return true;
}

bool pass_text_rows(Graph *g, const PassEntry *of, TextRows *out) {
  Twins w;
  uint32_t n = ir_n_vals(g);
  Val ids = ir_input_named(g, "text");
  if (!val_ok(ids) || !begin(&w, g, ids, ir_input_named(g, "attention_mask"))) return false;
  for (uint32_t i = 1; i <= n; i++) visit(&w, (Val){i});
  ir_set_loc(g, (LocId){0});
  Named *to = arena_array(ir_arena(g), Named, of->n_out);
  for (uint32_t i = 0; i < of->n_out; i++) {
    if (kind_of(&w, of->out[i].v) != TWIN_TEXTS) return false;
    to[i] = (Named){of->out[i].name, twin_of(&w, of->out[i].v)};
  }
  const char *name = arena_printf(ir_arena(g), "%s" PASS_ROWS, of->name);
  *out = (TextRows){{.name = name, .out = to, .n_out = of->n_out, .rows_of = of->name},
                    w.eot, w.prefix};
  return true;
}
