/* SPDX-License-Identifier: Apache-2.0 */
/* graft.c - copying one graph into another.
**
** ir_rewrite keeps names and size table; here both are new, so that inputs can
** be renamed and two graphs can stand in one. */
#include "passes/pass_int.h"

#include <string.h>

typedef struct {
  Graft *gr;
  Arena *a;
  SymId sym[DIM_MAX_SYMS]; /* by source symbol */
} Job;

/* ---- sizes ------------------------------------------------------------------ */

static bool has_symbol(const DimTable *t, const char *name, uint32_t below) {
  for (SymId s = 0; s < below; s++)
    if (strcmp(dim_symbol_name(t, s), name) == 0) return true;
  return false;
}

static void map_symbols(Job *j) {
  const DimTable *from = ir_dims(j->gr->src);
  DimTable *to = ir_dims(j->gr->dst);
  uint32_t had = dim_n_symbols(to);
  for (SymId s = 0; s < dim_n_symbols(from); s++) {
    const char *name = j->gr->size_name != NULL ? j->gr->size_name[s] : NULL;
    if (name == NULL) name = dim_symbol_name(from, s);
    if (j->gr->tag != NULL && has_symbol(to, name, had))
      name = arena_printf(j->a, "%s%s", j->gr->tag, name);
    j->sym[s] = dim_symbol(to, name);
  }
}

static DimId map_dim(Job *j, DimId d) {
  if (d == DIM_NONE) return DIM_NONE;
  DimTable *t = ir_dims(j->gr->dst);
  Dim e = dim_get(ir_dims(j->gr->src), d);
  DimId sum = dim_const(t, e.c);
  for (uint32_t i = 0; i < e.n; i++) {
    DimId term = dim_mul(t, dim_const(t, e.term[i].k), dim_of_symbol(t, j->sym[e.term[i].sym]));
    sum = dim_add(t, sum, term);
  }
  return sum;
}

static DimId *map_dims(Job *j, const DimId *dim, uint32_t n) {
  DimId *to = arena_array(j->a, DimId, n);
  for (uint32_t i = 0; i < n; i++) to[i] = map_dim(j, dim[i]);
  return to;
}

static TypeId map_type(Job *j, Val v) {
  const Type *t = ir_type_of(j->gr->src, v);
  return ir_type(j->gr->dst, t->dtype, t->rank, map_dims(j, t->dim, t->rank));
}

/* ---- places ------------------------------------------------------------------- */

static LocId map_loc(Job *j, LocId l) {
  LocId to = {0};
  for (; l.i != 0; l = ir_loc_get(j->gr->src, l)->also) {
    Loc one = *ir_loc_get(j->gr->src, l);
    one.also = (LocId){0};
    to = ir_loc_merge(j->gr->dst, to, ir_loc_add(j->gr->dst, one));
  }
  return to;
}

/* ---- nodes -------------------------------------------------------------------- */

static Val copy_source(Job *j, Val v) {
  const Graph *src = j->gr->src;
  Graph *dst = j->gr->dst;
  OpCode op = ir_op(src, v);
  TypeId t = map_type(j, v);
  if (op == OP_input) {
    const char *name = j->gr->input_name != NULL ? j->gr->input_name[v.i] : NULL;
    return ir_input(dst, name != NULL ? name : ir_attr(src, v, A_name)->str, t);
  }
  if (op == OP_const) {
    const Blob *b = ir_blob_get(src, ir_attr(src, v, A_blob)->blob);
    return ir_const(dst, t, ir_blob(dst, b->data, b->bytes, b->name));
  }
  const Attr *a = ir_attr(src, v, A_dims);
  DimId *dim = map_dims(j, a->dims, a->n);
  if (op == OP_dims) {
    const Type *to = ir_type_get(dst, t);
    Val list = ir_dims_vec(dst, dim, a->n);
    return ir_cast(dst, ir_reshape(dst, list, to->dim, to->rank), to->dtype);
  }
  Attr at = attr_dims(A_dims, dim, a->n);
  return ir_node(dst, op, 0, NULL, 1, &at);
}

static bool is_dims_key(AttrKey k) {
  return k == A_dims || k == A_starts || k == A_before || k == A_after;
}

static Val copy_node(Job *j, Val v) {
  const Graph *src = j->gr->src;
  if (op_info(ir_op(src, v))->kind == K_SOURCE) return copy_source(j, v);
  const Attr *a = NULL;
  uint32_t n = ir_attrs(src, v, &a), n_in = ir_n_in(src, v);
  Attr *attr = arena_array(j->a, Attr, n);
  for (uint32_t i = 0; i < n; i++) {
    attr[i] = a[i];
    if (is_dims_key(a[i].key)) attr[i].dims = map_dims(j, a[i].dims, a[i].n);
  }
  Val *in = arena_array(j->a, Val, n_in);
  for (uint32_t i = 0; i < n_in; i++) in[i] = j->gr->map[ir_in(src, v, i).i];
  return ir_node(j->gr->dst, ir_op(src, v), n_in, in, n, attr);
}

void graft_copy(Graft *gr) {
  Job j = {.gr = gr, .a = ir_arena(gr->dst)};
  uint32_t n = ir_n_vals(gr->src);
  gr->map = arena_array(j.a, Val, n + 1);
  map_symbols(&j);
  for (uint32_t i = 1; i <= n; i++) {
    ir_set_loc(gr->dst, map_loc(&j, ir_loc(gr->src, (Val){i})));
    gr->map[i] = copy_node(&j, (Val){i});
    VL_CHECK(val_ok(gr->map[i]), "graft: a node does not fit in the other graph");
  }
  ir_set_loc(gr->dst, (LocId){0});
}
