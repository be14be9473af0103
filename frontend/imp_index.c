/* SPDX-License-Identifier: Apache-2.0 */
/* imp_index.c - reading and writing by index. */
#include <string.h>

#include "frontend/fe_int.h"

/* ---- gathering merged rows ---------------------------------------------- */

/* The value behind views and casts that keep every element. */
static Val behind(const OnnxNode *x, Val v) {
  while (ir_op(x->g, v) == OP_reshape || ir_op(x->g, v) == OP_cast) v = ir_in(x->g, v, 0);
  return v;
}

/* Is v the position of a largest element along an axis of this size? */
static bool is_position(const OnnxNode *x, Val v, DimId size) {
  v = behind(x, v);
  if (ir_op(x->g, v) != OP_argmax) return false;
  return n_dim(x, ir_in(x->g, v, 0), (uint32_t)ir_attr_int(x->g, v, A_axis, 0)) == size;
}

/* v = row * size, as exporters write it. */
static Val row_of(const OnnxNode *x, Val v, DimId size) {
  if (ir_op(x->g, v) != OP_mul) return VAL_NONE;
  for (uint32_t i = 0; i < 2; i++) {
    DimId d = DIM_NONE;
    uint32_t n = 0;
    bool is_size = ir_known_dims(x->g, ir_in(x->g, v, i), &d, 1, &n) && n == 1 && d == size;
    if (is_size) return ir_in(x->g, v, 1 - i);
  }
  return VAL_NONE;
}

typedef struct {
  Val row, column;
} Place;

/* index = row * size + column.  Taken apart as written when the column is surely
** below size, else by division; an index below zero counts from the end. */
static Place place_of(OnnxNode *x, Val index, DimId size) {
  for (uint32_t i = 0; i < 2 && ir_op(x->g, index) == OP_add; i++) {
    Val row = row_of(x, ir_in(x->g, index, i), size), column = ir_in(x->g, index, 1 - i);
    if (val_ok(row) && is_position(x, column, size)) return (Place){row, column};
  }
  Val n = n_cast(x, n_reshape(x, ir_dims_vec(x->g, &size, 1), NULL, 0), n_dtype(x, index));
  Val column = n_ew2(x, OP_mod, index, n);
  return (Place){n_ew2(x, OP_div, n_ew2(x, OP_sub, index, column), n), column};
}

static bool gather_rows(OnnxNode *x, Val rows) {
  if (get_int(x, "axis", 0) != 0)
    return n_fail(x, DIAG_ONNX_FORM, "only whole rows can be gathered");
  Place p = place_of(x, x->in[1], n_dim(x, rows, 1));
  if (!val_ok(p.row) || !val_ok(p.column)) return n_out(x, 0, VAL_NONE);
  const Type *t = n_type(x, x->in[1]);
  DimId dim[VLPC_MAX_RANK];
  uint32_t rank = t->rank;
  for (uint32_t i = 0; i < rank; i++) dim[i] = t->dim[i];
  Val part[2] = {n_cast(x, p.row, VLPC_I64), n_cast(x, p.column, VLPC_I64)};
  for (int i = 0; i < 2; i++) part[i] = n_unsqueeze(x, n_broadcast(x, part[i], dim, rank), rank);
  Attr batch = attr_int(A_batch_dims, 0);
  return n_out(x, 0,
               n_node(x, OP_gather_nd, 2, (Val[]){rows, n_concat(x, part, 2, rank)}, 1, &batch));
}

bool imp_gather(OnnxNode *x) {
  uint32_t axis;
  if (val_ok(n_rows(x, 0))) return gather_rows(x, n_rows(x, 0));
  if (!n_axis(x, get_int(x, "axis", 0), n_rank(x, x->in[0]), &axis)) return false;
  Attr attr = attr_int(A_axis, axis);
  return n_out(x, 0, n_node(x, (OpCode)x->row->arg, 2, x->in, 1, &attr));
}

bool imp_gather_nd(OnnxNode *x) {
  int64_t batch = get_int(x, "batch_dims", 0);
  uint32_t most = VL_MIN(n_rank(x, x->in[0]), n_rank(x, x->in[1]));
  for (int64_t i = 0; i < batch && i < most; i++) {
    n_agree(x, n_dim(x, x->in[0], (uint32_t)i), n_dim(x, x->in[1], (uint32_t)i));
  }
  Attr attr = attr_int(A_batch_dims, batch);
  return n_out(x, 0, n_node(x, OP_gather_nd, 2, x->in, 1, &attr));
}

static bool no_reduction(OnnxNode *x) {
  const char *how = get_str(x, "reduction", "none");
  if (str_is(how, "none")) return true;
  n_fail(x, DIAG_ONNX_FORM, "scattering with a reduction is not supported");
  diag_found(x->im->d, "reduction '%.40s'", how);
  diag_expected(x->im->d, "'none'");
  return false;
}

bool imp_scatter_nd(OnnxNode *x) {
  return no_reduction(x) && n_out(x, 0, n_node(x, OP_scatter_nd, 3, x->in, 0, NULL));
}

/* The index of every element along axis k, with a last axis of size 1. */
static Val index_column(OnnxNode *x, Val like, Val along, uint32_t k) {
  DimId dim[VLPC_MAX_RANK + 1], one = n_size(x, 1);
  uint32_t rank = n_rank(x, like);
  Val v = along;
  if (!val_ok(v)) {
    for (uint32_t i = 0; i < rank; i++) dim[i] = i == k ? n_dim(x, like, i) : one;
    v = n_reshape(x, n_iota(x, n_dim(x, like, k)), dim, rank);
    for (uint32_t i = 0; i < rank; i++) dim[i] = n_dim(x, like, i);
    v = n_broadcast(x, v, dim, rank);
  }
  return n_unsqueeze(x, v, rank);
}

/* The same as ScatterND with the other axes' indices written out. */
bool imp_scatter_elements(OnnxNode *x) {
  Val ids = x->in[1], column[VLPC_MAX_RANK];
  uint32_t axis, rank = n_rank(x, x->in[0]);
  if (!no_reduction(x) || !n_axis(x, get_int(x, "axis", 0), rank, &axis)) return false;
  if (n_rank(x, ids) != rank) return n_fail(x, DIAG_ONNX_SHAPE, "data and indices differ in rank");
  for (uint32_t k = 0; k < rank; k++) {
    column[k] = index_column(x, ids, k == axis ? n_cast(x, ids, VLPC_I64) : VAL_NONE, k);
  }
  Val in[3] = {x->in[0], n_concat(x, column, rank, rank), x->in[2]};
  return n_out(x, 0, n_node(x, OP_scatter_nd, 3, in, 0, NULL));
}

/* Positions of the elements that are not zero, of a constant only. */
bool imp_non_zero(OnnxNode *x) {
  Val a = x->in[0];
  int64_t count = 0, size[VLPC_MAX_RANK];
  uint32_t rank = n_rank(x, a), n = 0, hits = 0;
  bool is_known = ir_count_const(x->g, a, &count) && count <= FE_MAX_INTS;
  double *v = arena_array(x->a, double, is_known ? count + 1 : 1);
  if (!is_known || !ir_const_f64(x->g, a, v, (uint32_t)count, &n)) {
    n_fail(x, DIAG_ONNX_NOT_CONST, "NonZero needs a constant operand");
    diag_fix(x->im->d, "export with fixed positions; the result's size depends on data");
    return false;
  }
  for (uint32_t i = 0; i < rank; i++) {
    if (!ir_size_const(x->g, a, (int)i, &size[i])) return n_out(x, 0, VAL_NONE);
  }
  for (uint32_t i = 0; i < n; i++) hits += v[i] != 0;
  int64_t *at = arena_array(x->a, int64_t, (uint64_t)rank * hits + 1);
  for (uint32_t i = 0, k = 0; i < n; i++) {
    if (v[i] == 0) continue;
    int64_t rest = i;
    for (uint32_t axis = rank; axis-- > 0; rest /= size[axis]) {
      at[(uint64_t)axis * hits + k] = rest % size[axis];
    }
    k++;
  }
  int64_t shape[2] = {rank, hits};
  BlobId b = ir_blob_copy(x->g, at, (uint64_t)rank * hits * 8, NULL);
  return n_out(x, 0, ir_const(x->g, ir_type_fixed(x->g, VLPC_I64, 2, shape), b));
}
