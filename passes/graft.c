/* SPDX-License-Identifier: Apache-2.0 */
/* graft.c - copying one graph into another.
**
** ir_rewrite keeps names and size table; here both are new, so that inputs can
** be renamed and two graphs can stand in one. */
#include "passes/pass_int.h"

#include <string.h>

/* ---- sizes ------------------------------------------------------------------ */

static bool has_symbol(const DimTable *t, const char *name, uint32_t below) {
  for (SymId s = 0; s < below; s++)
    if (strcmp(dim_symbol_name(t, s), name) == 0) return true;
  return false;
}

void graft_begin(Graft *gr) {
  const DimTable *from = ir_dims(gr->src);
  DimTable *to = ir_dims(gr->dst);
  uint32_t had = dim_n_symbols(to);
  gr->arena = ir_arena(gr->dst);
  gr->map = arena_array(gr->arena, Val, ir_n_vals(gr->src) + 1);
  gr->sym = arena_array(gr->arena, DimId, DIM_MAX_SYMS);
  for (SymId s = 0; s < dim_n_symbols(from); s++) {
    const char *name = gr->size_name != NULL ? gr->size_name[s] : NULL;
    if (name == NULL) name = dim_symbol_name(from, s);
    if (gr->tag != NULL && has_symbol(to, name, had))
      name = arena_printf(gr->arena, "%s%s", gr->tag, name);
    bool is_given = gr->size != NULL && gr->size[s] != DIM_NONE;
    gr->sym[s] = is_given ? gr->size[s] : dim_of_symbol(to, dim_symbol(to, name));
  }
}

DimId graft_dim(const Graft *gr, DimId d) {
  if (d == DIM_NONE) return DIM_NONE;
  DimTable *t = ir_dims(gr->dst);
  Dim e = dim_get(ir_dims(gr->src), d);
  DimId sum = dim_const(t, e.c);
  for (uint32_t i = 0; i < e.n && sum != DIM_NONE; i++) {
    DimId term = dim_mul(t, dim_const(t, e.term[i].k), gr->sym[e.term[i].sym]);
    sum = term == DIM_NONE ? DIM_NONE : dim_add(t, sum, term);
  }
  return sum;
}

static DimId *map_dims(const Graft *gr, const DimId *dim, uint32_t n) {
  DimId *to = arena_array(gr->arena, DimId, n);
  for (uint32_t i = 0; i < n; i++) to[i] = graft_dim(gr, dim[i]);
  return to;
}

TypeId graft_type(const Graft *gr, Val v) {
  const Type *t = ir_type_of(gr->src, v);
  return ir_type(gr->dst, t->dtype, t->rank, map_dims(gr, t->dim, t->rank));
}

/* ---- places ------------------------------------------------------------------- */

static LocId map_loc(const Graft *gr, LocId l) {
  LocId to = {0};
  for (; l.i != 0; l = ir_loc_get(gr->src, l)->also) {
    Loc one = *ir_loc_get(gr->src, l);
    one.also = (LocId){0};
    to = ir_loc_merge(gr->dst, to, ir_loc_add(gr->dst, one));
  }
  return to;
}

/* ---- nodes -------------------------------------------------------------------- */

static Val copy_source(const Graft *gr, Val v) {
  const Graph *src = gr->src;
  Graph *dst = gr->dst;
  OpCode op = ir_op(src, v);
  TypeId t = graft_type(gr, v);
  if (op == OP_input) {
    const char *name = gr->input_name != NULL ? gr->input_name[v.i] : NULL;
    return ir_input(dst, name != NULL ? name : ir_attr(src, v, A_name)->str, t);
  }
  if (op == OP_const) {
    const Blob *b = ir_blob_get(src, ir_attr(src, v, A_blob)->blob);
    return ir_const(dst, t, ir_blob(dst, b->data, b->bytes, b->name));
  }
  const Attr *a = ir_attr(src, v, A_dims);
  DimId *dim = map_dims(gr, a->dims, a->n);
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

void graft_place(const Graft *gr, Val v) {
  ir_set_loc(gr->dst, map_loc(gr, ir_loc(gr->src, v)));
}

Val graft_node(const Graft *gr, Val v, const Val *in) {
  const Graph *src = gr->src;
  graft_place(gr, v);
  if (op_info(ir_op(src, v))->kind == K_SOURCE) return copy_source(gr, v);
  const Attr *a = NULL;
  uint32_t n = ir_attrs(src, v, &a), n_in = ir_n_in(src, v);
  Attr *attr = arena_array(gr->arena, Attr, n);
  for (uint32_t i = 0; i < n; i++) {
    attr[i] = a[i];
    if (is_dims_key(a[i].key)) attr[i].dims = map_dims(gr, a[i].dims, a[i].n);
  }
  return ir_node(gr->dst, ir_op(src, v), n_in, in, n, attr);
}

void graft_copy(Graft *gr) {
  uint32_t n = ir_n_vals(gr->src);
  graft_begin(gr);
  Val *in = arena_array(gr->arena, Val, ir_most_in(gr->src));
  for (uint32_t i = 1; i <= n; i++) {
    for (uint32_t k = 0; k < ir_n_in(gr->src, (Val){i}); k++)
      in[k] = gr->map[ir_in(gr->src, (Val){i}, k).i];
    gr->map[i] = graft_node(gr, (Val){i}, in);
    VL_CHECK(val_ok(gr->map[i]), "graft: a node does not fit in the other graph");
  }
  ir_set_loc(gr->dst, (LocId){0});
}

void graft_names(const Graft *gr) {
  const Named *at = NULL;
  uint32_t n = ir_outputs(gr->src, &at);
  for (uint32_t i = 0; i < n; i++) ir_output(gr->dst, at[i].name, gr->map[at[i].v.i]);
  n = ir_points(gr->src, &at);
  for (uint32_t i = 0; i < n; i++) ir_point(gr->dst, at[i].name, gr->map[at[i].v.i]);
}
