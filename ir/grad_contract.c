/* SPDX-License-Identifier: Apache-2.0 */
/* grad_contract.c - gradients of products: da = dy·bᵀ, db = aᵀ·dy, summed over
** the batch axes that an operand was repeated on. */
#include "ir/ir_int.h"
#include "ir/words.h"

/* ---- matmul -------------------------------------------------------------- */

/* A vector as the row or column that it stands for. */
static Val as_matrix(Graph *g, Val a, bool left) {
  Type t = w_type(g, a);
  DimId one = dim_const(ir_dims(g), 1);
  if (t.rank != 1) return a;
  return w_reshape(g, a, (Type){t.dtype, 2, {left ? one : t.dim[0], left ? t.dim[0] : one}});
}

/* dy with the row and column that vectors do not have. */
static Val full_result(const GradCtx *c) {
  Type t = w_type(c->g, c->dy);
  DimId one = dim_const(ir_dims(c->g), 1);
  if (ir_type_of(c->g, ir_in(c->g, c->v, 1))->rank == 1) t.dim[t.rank++] = one;
  if (ir_type_of(c->g, ir_in(c->g, c->v, 0))->rank == 1) {
    t.dim[t.rank] = t.dim[t.rank - 1];
    t.dim[t.rank - 1] = one;
    t.rank++;
  }
  return w_reshape(c->g, c->dy, t);
}

/* aᵀ·dy for a matrix b that every batch of a reads: one product over all rows. */
static Val shared_right(Graph *g, Val a, Val dy) {
  return w_matmul(g, w_transpose(g, w_rows(g, a)), w_rows(g, dy));
}

Val grad_matmul(const GradCtx *c) {
  Graph *g = c->g;
  Val a = as_matrix(g, ir_in(g, c->v, 0), true), b = as_matrix(g, ir_in(g, c->v, 1), false);
  Val dy = full_result(c), dx = VAL_NONE;
  if (!val_ok(a) || !val_ok(b) || !val_ok(dy)) return VAL_NONE;
  if (c->i == 1 && ir_type_of(g, b)->rank == 2 && ir_type_of(g, a)->rank > 2)
    dx = shared_right(g, a, dy);
  if (val_ok(dx)) return w_reshape(g, dx, w_type(g, ir_in(g, c->v, 1)));
  dx = c->i == 0 ? w_matmul(g, dy, w_transpose(g, b)) : w_matmul(g, w_transpose(g, a), dy);
  dx = val_ok(dx) ? w_sum_to(g, dx, w_type(g, c->i == 0 ? a : b)) : VAL_NONE;
  return w_reshape(g, dx, w_type(g, ir_in(g, c->v, c->i)));
}

/* ---- weights ------------------------------------------------------------- */

/* dy·wᵀ; linear reads a constant wᵀ packed. */
static Val times_transposed(const GradCtx *c) {
  Val in[2] = {c->dy, w_transpose(c->g, ir_in(c->g, c->v, 1))};
  return val_ok(in[1]) ? ir_node(c->g, OP_linear, 2, in, 0, NULL) : VAL_NONE;
}

/* xᵀ·dy over all rows, or batch by batch where their number is no affine size. */
static Val weight_gradient(const GradCtx *c, Val x) {
  Graph *g = c->g;
  Val dw = shared_right(g, x, c->dy);
  if (val_ok(dw) || !val_ok(x) || ir_type_of(g, x)->rank < 2) return dw;
  dw = w_matmul(g, w_transpose(g, x), c->dy);
  return val_ok(dw) ? w_sum_to(g, dw, w_type(g, ir_in(g, c->v, 1))) : VAL_NONE;
}

Val grad_linear(const GradCtx *c) {
  if (c->i == 0) return times_transposed(c);
  return c->i == 1 ? weight_gradient(c, ir_in(c->g, c->v, 0)) : c->dy;
}

/* ---- patches ------------------------------------------------------------- */

/* The image's axes apart, [b, c, rows, ph, columns, pw], and as rows of patches,
** [b, rows, columns, c, ph, pw]. */
typedef struct {
  Type image, apart, patches, rows;
} Tiling;

static Tiling tiling_of(const GradCtx *c) {
  DimTable *d = ir_dims(c->g);
  const int64_t *patch = ir_attr(c->g, c->v, A_patch)->ints;
  Type t = w_type(c->g, ir_in(c->g, c->v, 0)), y = w_type(c->g, c->v);
  DimId ph = dim_const(d, patch[0]), pw = dim_const(d, patch[1]);
  DimId rows = dim_div(d, t.dim[2], ph), columns = dim_div(d, t.dim[3], pw);
  Tiling s = {.image = t, .rows = y};
  s.apart = (Type){t.dtype, 6, {t.dim[0], t.dim[1], rows, ph, columns, pw}};
  s.patches = (Type){t.dtype, 6, {t.dim[0], rows, columns, t.dim[1], ph, pw}};
  s.rows.dim[2] = ir_type_of(c->g, ir_in(c->g, c->v, 1))->dim[0];
  return s;
}

Val grad_patch_embed(const GradCtx *c) {
  Tiling s = tiling_of(c);
  if (c->i == 2) return c->dy;
  if (c->i == 0) {
    Val patches = w_reshape(c->g, times_transposed(c), s.patches);
    Val apart = w_permute(c->g, patches, (int64_t[]){0, 3, 1, 4, 2, 5});
    return w_reshape(c->g, apart, s.image);
  }
  Val apart = w_reshape(c->g, ir_in(c->g, c->v, 0), s.apart);
  Val patches = w_permute(c->g, apart, (int64_t[]){0, 2, 4, 1, 3, 5});
  return weight_gradient(c, w_reshape(c->g, patches, s.rows));
}
