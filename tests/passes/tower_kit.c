/* SPDX-License-Identifier: Apache-2.0 */
/* tower_kit.c - see tower_kit.h. */
#include "tests/passes/tower_kit.h"

#include <math.h>

#include "base/map.h"
#include "base/rng.h"

/* ---- parts ----------------------------------------------------------------------- */

Val kit_weights(Graph *g, uint64_t seed, int64_t k, int64_t n) {
  float *w = arena_array(ir_arena(g), float, k * n);
  double scale = 1 / sqrt((double)k);
  for (int64_t i = 0; i < k * n; i++)
    w[i] = (float)(rng_normal((Rng){seed, 1}, (uint64_t)i) * scale);
  TypeId t = ir_type_fixed(g, VLPC_F32, 2, (int64_t[]){k, n});
  return ir_const(g, t, ir_blob(g, w, (uint64_t)(k * n) * sizeof *w, NULL));
}

Val kit_norm(Graph *g, Val x) {
  Attr eps = attr_float(A_eps, 1e-5);
  return ir_node(g, OP_layernorm, 1, &x, 1, &eps);
}

Val kit_linear(Graph *g, Val x, uint64_t seed, int64_t n) {
  int64_t k = 0;
  assert_true(ir_size_const(g, x, -1, &k));
  return ir_node(g, OP_linear, 2, (Val[]){x, kit_weights(g, seed, k, n)}, 0, NULL);
}

Val kit_block(Graph *g, Val x, uint64_t seed, int64_t heads, bool causal) {
  DimTable *t = ir_dims(g);
  int64_t d = 0;
  assert_true(ir_size_const(g, x, -1, &d));
  Val qkv = kit_linear(g, kit_norm(g, x), seed, 3 * d), in[3];
  Attr at[3] = {attr_int(A_heads, heads), attr_float(A_scale, 0.25), attr_int(A_causal, causal)};
  for (int i = 0; i < 3; i++)
    in[i] = ir_slice_axis(g, qkv, 2, dim_const(t, i * d), dim_const(t, d));
  Val mixed = kit_linear(g, ir_node(g, OP_attention, 3, in, 3, at), seed + 1, d);
  x = ir_ew2(g, OP_add, x, mixed);
  Attr quick = attr_str(A_approx, "quick");
  Val h = kit_linear(g, kit_norm(g, x), seed + 2, 4 * d);
  h = ir_node(g, OP_gelu, 1, &h, 1, &quick);
  return ir_ew2(g, OP_add, x, kit_linear(g, h, seed + 3, d));
}

/* ---- the towers ------------------------------------------------------------------- */

typedef struct {
  Graph *g;
  PointFn *at;
  void *ctx;
} Tower;

static Val point(const Tower *w, const char *name, Val x) {
  return w->at ? w->at(w->ctx, w->g, name, x) : x;
}

static Val blocks(const Tower *w, char tower, Val x) {
  for (int i = 0; i < T_BLOCKS; i++) {
    x = point(w, arena_printf(ir_arena(w->g), "%c.%d", tower, i), x);
    x = kit_block(w->g, x, (uint64_t)(tower * 100 + i * 10), T_HEADS, tower == 'T');
  }
  return x;
}

static DimId symbol(Graph *g, const char *name) {
  return dim_of_symbol(ir_dims(g), dim_symbol(ir_dims(g), name));
}

static Val image_tower(const Tower *w) {
  Graph *g = w->g;
  DimTable *t = ir_dims(g);
  DimId batch = symbol(g, "batch"), side = dim_const(t, 4);
  DimId size[4] = {batch, dim_const(t, 3), side, side};
  DimId one[3] = {batch, dim_const(t, 1), dim_const(t, T_WIDTH)};
  Attr patch = attr_ints(A_patch, (int64_t[]){2, 2}, 2);
  Val in[2] = {ir_input(g, "image", ir_type(g, VLPC_F32, 4, size)), kit_weights(g, 1, 12, T_WIDTH)};
  Val cls = ir_broadcast(g, kit_weights(g, 2, 1, T_WIDTH), one, 3);
  Val x = ir_concat(g, (Val[]){cls, ir_node(g, OP_patch_embed, 2, in, 1, &patch)}, 2, 1);
  x = ir_ew2(g, OP_add, x, kit_weights(g, 3, T_ROWS, T_WIDTH));
  x = blocks(w, 'V', kit_norm(g, point(w, "V.pre", x)));
  x = ir_slice_axis(g, x, 1, dim_const(t, 0), dim_const(t, 1));
  x = ir_reshape(g, x, (DimId[]){batch, dim_const(t, T_WIDTH)}, 2);
  return point(w, "V.feat", kit_linear(g, kit_norm(g, x), 4, T_EMBED));
}

static Val text_tower(const Tower *w) {
  Graph *g = w->g;
  DimTable *t = ir_dims(g);
  DimId size[2] = {symbol(g, "classes"), dim_const(t, T_CONTEXT)};
  Val ids = ir_input(g, "text", ir_type(g, VLPC_I64, 2, size));
  Val in[2] = {kit_weights(g, 5, T_VOCAB, T_WIDTH), ids};
  Val x = point(w, "T.emb", ir_node(g, OP_embedding, 2, in, 0, NULL));
  x = ir_ew2(g, OP_add, x, kit_weights(g, 6, T_CONTEXT, T_WIDTH));
  x = kit_norm(g, blocks(w, 'T', x));
  Attr row[2] = {attr_int(A_axis, 1), attr_int(A_keepdims, 1)}, batch = attr_int(A_batch_dims, 1);
  Val end = ir_node(g, OP_argmax, 1, &ids, 2, row);
  x = ir_node(g, OP_gather_nd, 2, (Val[]){x, end}, 1, &batch);
  return point(w, "T.feat", kit_linear(g, x, 7, T_EMBED));
}

static Val unit(Graph *g, Val x) {
  Attr eps = attr_float(A_eps, 0);
  return ir_node(g, OP_l2norm, 1, &x, 1, &eps);
}

Graph *kit_clip(Arena *a, PointFn *at, void *ctx) {
  Tower w = {ir_graph_new(a), at, ctx};
  Graph *g = w.g;
  Val text = text_tower(&w), image = image_tower(&w);
  Val turned = ir_permute(g, unit(g, text), (int64_t[]){1, 0}, 2);
  Val scores = ir_ew2(g, OP_matmul, unit(g, image), turned);
  scores = point(&w, "logits", ir_ew2(g, OP_mul, scores, ir_scalar(g, VLPC_F32, 50)));
  ir_output(g, "image_features", image);
  ir_output(g, "text_features", text);
  ir_output(g, "logits_per_image", scores);
  return g;
}

/* ---- running ------------------------------------------------------------------------ */

/* Source rows of a context of 3 rows, `half` of them before a name of n tokens. */
static void fill_map(RefTensor *x, int64_t half) {
  for (int64_t text = 0; text < x->size[0]; text++) {
    int64_t n = 1 + text % 2, at = 0, *row = x->i + text * T_CONTEXT;
    row[at++] = 0;
    for (int64_t i = 0; i < half; i++) row[at++] = 1 + i;
    for (int64_t i = 0; i < n; i++) row[at++] = 4 + i;
    for (int64_t i = half; i < 3; i++) row[at++] = 1 + i;
    for (; at < T_CONTEXT; at++) row[at] = at;
  }
}

static void fill(RefTensor *x, const char *name) {
  Rng r = {11, hash_bytes(name, strlen(name), 0)};
  int64_t cols = x->rank > 0 ? x->size[x->rank - 1] : 1;
  bool is_middle = strcmp(name, "middle") == 0;
  if (is_middle || strcmp(name, "front") == 0) {
    fill_map(x, is_middle);
    return;
  }
  for (int64_t i = 0; i < x->count; i++) {
    if (x->f) x->f[i] = rng_normal(r, (uint64_t)i);
    else if (strcmp(name, "name_lengths") == 0) x->i[i] = 1 + i % 2;
    else {
      int64_t text = i / cols, at = i % cols, end = 6 + text % 3;
      uint64_t key = (uint64_t)(at < 4 ? at : i);
      x->i[i] = at == end ? T_VOCAB - 1 : rng_u32(r, key) % (T_VOCAB - 1);
    }
  }
}

void kit_eval(Graph *g, Arena *a, RefTensor *out) {
  const Named *in = NULL;
  uint32_t n = ir_inputs(g, &in);
  RefTensor *x = arena_array(a, RefTensor, n);
  int64_t sym[DIM_MAX_SYMS], size[VLPC_MAX_RANK];
  for (int s = 0; s < DIM_MAX_SYMS; s++) sym[s] = 0;
  for (SymId s = 0; s < dim_n_symbols(ir_dims(g)); s++)
    sym[s] = strcmp(dim_symbol_name(ir_dims(g), s), "classes") == 0 ? 3 : 2;
  for (uint32_t i = 0; i < n; i++) {
    const Type *t = ir_type_of(g, in[i].v);
    for (uint32_t k = 0; k < t->rank; k++)
      assert_true(dim_eval(ir_dims(g), t->dim[k], sym, &size[k]));
    x[i] = ref_tensor(a, t->dtype, t->rank, size);
    fill(&x[i], in[i].name);
  }
  Diag *d = diag_new();
  if (ir_eval(g, a, EVAL_DOUBLE, x, out, d) != VLPC_OK) fail_msg("%s", diag_text(d));
  diag_free(d);
}

void kit_equal(Graph *got, Graph *want, Arena *a) {
  const Named *x = NULL, *y = NULL;
  uint32_t n = ir_outputs(got, &x), m = ir_outputs(want, &y);
  RefTensor *gx = arena_array(a, RefTensor, n), *wy = arena_array(a, RefTensor, m);
  kit_eval(got, a, gx);
  kit_eval(want, a, wy);
  for (uint32_t k = 0; k < m; k++) {
    uint32_t i = 0;
    while (i < n && strcmp(x[i].name, y[k].name) != 0) i++;
    if (i == n) fail_msg("there is no output %s", y[k].name);
    assert_int_equal(gx[i].count, wy[k].count);
    for (int64_t e = 0; e < wy[k].count; e++) {
      double p = gx[i].f[e], q = wy[k].f[e];
      if (!(fabs(p - q) <= 1e-9 * (1 + fabs(q))))
        fail_msg("%s, element %d: %.17g and %.17g", y[k].name, (int)e, p, q);
    }
  }
}
