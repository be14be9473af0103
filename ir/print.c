/* SPDX-License-Identifier: Apache-2.0 */
/* print.c - the text form (grammar in docs/ir.md).
**
** The plain form prints values in their order and is read back by parse.c.
** The normal form shows what a graph computes and nothing of how it came
** about: values are numbered as a depth-first walk from the outputs leaves
** them, operands of commutative ops stand in order of a hash of what computes
** them, symbols are numbered as the inputs use them, and constants show a hash
** of their bytes. */
#include <inttypes.h>
#include <string.h>

#include "ir/graph_int.h"

#define INLINE_MAX 8 /* elements of a constant that stand in the text */

typedef struct {
  const Graph *g;
  uint32_t flags;
  Arena *a;
  DimTable *dims; /* sizes in the symbols that are printed */
  SymId sym[DIM_MAX_SYMS];
  bool has_sym[DIM_MAX_SYMS];
  uint32_t *number; /* of each value in the text */
  Val *order;       /* values as they are printed */
  uint32_t n_order;
  uint64_t *hash; /* normal form: of what computes each value */
} Printer;

static bool is_normal(const Printer *p) { return (p->flags & PRINT_NORMAL) != 0; }

/* ---- sizes and types ------------------------------------------------------ */

static SymId printed_symbol(Printer *p, SymId s) {
  if (p->has_sym[s]) return p->sym[s];
  const char *name = is_normal(p) ? arena_printf(p->a, "s%u", dim_n_symbols(p->dims))
                                  : dim_symbol_name(p->g->dims, s);
  p->has_sym[s] = true;
  p->sym[s] = dim_symbol(p->dims, name);
  return p->sym[s];
}

static void put_dim(Printer *p, DimId d, Str *out) {
  Dim x = dim_get(p->g->dims, d), y = {.c = x.c};
  for (uint32_t i = 0; i < x.n; i++) {
    SymId s = printed_symbol(p, x.term[i].sym);
    uint32_t at = y.n++;
    for (; at > 0 && y.term[at - 1].sym > s; at--) y.term[at] = y.term[at - 1];
    y.term[at].sym = s;
    y.term[at].k = x.term[i].k;
  }
  dim_print(p->dims, dim_intern(p->dims, &y), out);
}

static void put_dims(Printer *p, const DimId *dim, uint32_t n, Str *out) {
  str_add(out, "[");
  for (uint32_t i = 0; i < n; i++) {
    if (i > 0) str_add(out, ",");
    put_dim(p, dim[i], out);
  }
  str_add(out, "]");
}

static void put_type(Printer *p, Val v, Str *out) {
  const Type *t = ir_type_of(p->g, v);
  str_add(out, dtype_name(t->dtype));
  put_dims(p, t->dim, t->rank, out);
}

/* ---- attributes ----------------------------------------------------------- */

static void put_element(VlDtype dtype, const void *data, int64_t i, Str *out) {
  if (dtype == VLPC_F64) str_f64(out, dtype_load(dtype, data, i));
  else if (dtype_is_float(dtype)) str_f32(out, (float)dtype_load(dtype, data, i));
  else str_printf(out, "%" PRId64, dtype_load_i64(dtype, data, i));
}

/* Any byte but 0 is true: a bool's canonical bytes are 0 and 1. */
static const void *canonical_bytes(Printer *p, VlDtype dtype, const Blob *b) {
  if (dtype != VLPC_BOOL || b->bytes == 0) return b->data;
  uint8_t *to = arena_array(p->a, uint8_t, b->bytes);
  for (uint64_t i = 0; i < b->bytes; i++) to[i] = ((const uint8_t *)b->data)[i] != 0;
  return to;
}

static void put_blob(Printer *p, Val v, BlobId id, Str *out) {
  const Blob *b = ir_blob_get(p->g, id);
  VlDtype dtype = ir_type_of(p->g, v)->dtype;
  int64_t count = 0;
  if (ir_count_const(p->g, v, &count) && count <= INLINE_MAX) {
    str_add(out, "value=[");
    for (int64_t i = 0; i < count; i++) {
      if (i > 0) str_add(out, ",");
      put_element(dtype, b->data, i, out);
    }
    str_add(out, "]");
  } else if (is_normal(p)) {
    char hex[33];
    hash_hex128(canonical_bytes(p, dtype, b), (size_t)b->bytes, hex);
    str_printf(out, "blob=xxh3#%s", hex);
  } else {
    str_printf(out, "blob=blob#%u", id.i);
  }
}

static void put_ints(const Attr *a, Str *out) {
  str_add(out, "[");
  for (uint32_t i = 0; i < a->n; i++)
    str_printf(out, "%s%" PRId64, i > 0 ? "," : "", a->ints[i]);
  str_add(out, "]");
}

static void put_attr(Printer *p, Val v, const Attr *a, Str *out) {
  AttrKind kind = attr_kind(a->key);
  if (kind == AK_BLOB) {
    put_blob(p, v, a->blob, out);
    return;
  }
  str_printf(out, "%s=", attr_name(a->key));
  switch (kind) {
  case AK_INT: str_printf(out, "%" PRId64, a->i); break;
  case AK_FLOAT: str_f64(out, a->f); break;
  case AK_INTS: put_ints(a, out); break;
  case AK_DIMS: put_dims(p, a->dims, a->n, out); break;
  case AK_STR: str_json(out, a->str, strlen(a->str)); break;
  case AK_DTYPE: str_add(out, dtype_name((VlDtype)a->i)); break;
  case AK_BLOB: break;
  }
}

static void put_attrs(Printer *p, Val v, Str *out) {
  const Attr *at = NULL;
  uint32_t n = ir_attrs(p->g, v, &at);
  if (n == 0) return;
  str_add(out, " {");
  for (uint32_t i = 0; i < n; i++) {
    if (i > 0) str_add(out, ", ");
    put_attr(p, v, &at[i], out);
  }
  str_add(out, "}");
}

/* ---- lines ---------------------------------------------------------------- */

static bool is_swapped(const Printer *p, Val v) {
  if (!is_normal(p) || ir_n_in(p->g, v) != 2) return false;
  return (op_info(ir_op(p->g, v))->flags & F_COMM) != 0 &&
         p->hash[ir_in(p->g, v, 1).i] < p->hash[ir_in(p->g, v, 0).i];
}

/* Operand i as it is printed. */
static Val printed_operand(const Printer *p, Val v, uint32_t i) {
  return ir_in(p->g, v, is_swapped(p, v) ? 1 - i : i);
}

static void put_place(const Loc *l, Str *out) {
  if (l->name != NULL) {
    str_add(out, "  @");
    str_json(out, l->name, strlen(l->name));
  } else if (l->index >= 0) {
    str_printf(out, "  @%d", (int)l->index);
  }
}

static void put_places(const Printer *p, Val v, Str *out) {
  if (is_normal(p) || (p->flags & PRINT_LOCS) == 0) return;
  for (LocId l = ir_loc(p->g, v); l.i != 0; l = ir_loc_get(p->g, l)->also)
    put_place(ir_loc_get(p->g, l), out);
}

static void put_node(Printer *p, Val v, Str *out) {
  str_printf(out, "  %%%u = %s", p->number[v.i], op_info(ir_op(p->g, v))->name);
  for (uint32_t i = 0; i < ir_n_in(p->g, v); i++) {
    Val in = printed_operand(p, v, i);
    str_add(out, i > 0 ? ", " : " ");
    if (in.i != 0) str_printf(out, "%%%u", p->number[in.i]);
    else str_add(out, "_");
  }
  put_attrs(p, v, out);
  str_add(out, " : ");
  put_type(p, v, out);
  put_places(p, v, out);
  str_add(out, "\n");
}

static void put_named(const Printer *p, const char *word, Named it, Str *out) {
  str_printf(out, "  %s ", word);
  str_json(out, it.name, strlen(it.name));
  str_printf(out, " %%%u\n", p->number[it.v.i]);
}

static void put_symbols(Printer *p, Str *out) {
  for (SymId s = 0; s < dim_n_symbols(p->dims); s++) {
    str_add(out, "  sym ");
    dim_print(p->dims, dim_of_symbol(p->dims, s), out);
    str_add(out, "\n");
  }
}

/* ---- order ---------------------------------------------------------------- */

static void order_plain(Printer *p) {
  for (SymId s = 0; s < dim_n_symbols(p->g->dims); s++) printed_symbol(p, s);
  for (uint32_t i = 1; i < p->g->node.n; i++) {
    p->number[i] = i;
    p->order[p->n_order++] = (Val){i};
  }
}

static void hash_node(Printer *p, Val v, Str *text) {
  text->n = 0;
  str_add(text, op_info(ir_op(p->g, v))->name);
  put_attrs(p, v, text);
  put_type(p, v, text);
  uint64_t h = hash_bytes(text->at, text->n, ir_n_in(p->g, v));
  for (uint32_t i = 0; i < ir_n_in(p->g, v); i++) {
    uint64_t in = p->hash[printed_operand(p, v, i).i];
    h = hash_bytes(&in, sizeof in, h);
  }
  p->hash[v.i] = h;
}

static void number_value(Printer *p, Val v) {
  p->order[p->n_order++] = v;
  p->number[v.i] = p->n_order;
}

typedef struct {
  Val v;
  uint32_t next; /* operand to look at */
} Step;

/* Numbers v after all it needs; depth is bounded by memory, not by the stack. */
static void number_from(Printer *p, Val v, Step *stack) {
  uint32_t n = 0;
  if (p->number[v.i] == 0) stack[n++] = (Step){v, 0};
  while (n > 0) {
    Step *top = &stack[n - 1];
    if (top->next == ir_n_in(p->g, top->v)) {
      number_value(p, top->v);
      n--;
      continue;
    }
    Val in = printed_operand(p, top->v, top->next++);
    if (in.i != 0 && p->number[in.i] == 0) stack[n++] = (Step){in, 0};
  }
}

static void order_normal(Printer *p) {
  const Graph *g = p->g;
  Str text = {.arena = p->a};
  bool *live = graph_live(g, p->a, g->output.at, g->output.n);
  p->hash = arena_array(p->a, uint64_t, g->node.n);
  for (uint32_t i = 0; i < g->input.n; i++) hash_node(p, g->input.at[i].v, &text);
  for (uint32_t i = 1; i < g->node.n; i++)
    if (live[i]) hash_node(p, (Val){i}, &text);
  for (uint32_t i = 0; i < g->input.n; i++) number_value(p, g->input.at[i].v);
  Step *stack = arena_array(p->a, Step, g->node.n);
  for (uint32_t i = 0; i < g->output.n; i++) number_from(p, g->output.at[i].v, stack);
}

/* ---- the whole ------------------------------------------------------------ */

static bool stands_before(const Printer *p, Named a, Named b) {
  uint32_t x = p->number[a.v.i], y = p->number[b.v.i];
  return x != y ? x < y : strcmp(a.name, b.name) < 0;
}

/* The points whose value is printed; in the normal form in its order. */
static void put_points(const Printer *p, Str *out) {
  const Graph *g = p->g;
  Named *at = arena_array(p->a, Named, g->point.n);
  uint32_t n = 0;
  for (uint32_t i = 0; i < g->point.n; i++) {
    if (p->number[g->point.at[i].v.i] == 0) continue;
    uint32_t j = n++;
    for (; is_normal(p) && j > 0 && stands_before(p, g->point.at[i], at[j - 1]); j--)
      at[j] = at[j - 1];
    at[j] = g->point.at[i];
  }
  for (uint32_t i = 0; i < n; i++) put_named(p, "point", at[i], out);
}

void ir_print(const Graph *g, uint32_t flags, Str *out) {
  Printer p = {.g = g, .flags = flags, .a = out->arena};
  p.dims = dim_table_new(p.a);
  p.number = arena_array(p.a, uint32_t, g->node.n);
  p.order = arena_array(p.a, Val, g->node.n);
  if (is_normal(&p)) order_normal(&p);
  else order_plain(&p);
  Str body = {.arena = p.a};
  for (uint32_t i = 0; i < p.n_order; i++) put_node(&p, p.order[i], &body);
  for (uint32_t i = 0; i < g->output.n; i++) put_named(&p, "out", g->output.at[i], &body);
  put_points(&p, &body);
  str_add(out, "graph {\n");
  put_symbols(&p, out);
  str_addn(out, str_text(&body), body.n);
  str_add(out, "}\n");
}
