/* SPDX-License-Identifier: Apache-2.0 */
/* known.c - what is known about a value while compiling: its elements when it
** is a constant, its sizes when it is a vector of sizes. */
#include <string.h>

#include "ir/graph_int.h"

bool ir_is_const(const Graph *g, Val v) { return ir_op(g, v) == OP_const; }

/* The bytes of a constant with at most cap elements. */
static bool const_data(const Graph *g, Val v, uint32_t cap, const void **data, uint32_t *n) {
  int64_t count = 0;
  if (ir_op(g, v) != OP_const || !ir_count_const(g, v, &count) || count > cap) return false;
  *data = ir_blob_get(g, ir_attr(g, v, A_blob)->blob)->data;
  *n = (uint32_t)count;
  return true;
}

bool ir_const_f64(const Graph *g, Val v, double *out, uint32_t cap, uint32_t *n) {
  const void *data = NULL;
  if (!const_data(g, v, cap, &data, n)) return false;
  for (uint32_t i = 0; i < *n; i++) out[i] = dtype_load(ir_type_of(g, v)->dtype, data, i);
  return true;
}

bool ir_const_ints(const Graph *g, Val v, int64_t *out, uint32_t cap, uint32_t *n) {
  const void *data = NULL;
  VlDtype dtype = ir_type_of(g, v)->dtype;
  if (dtype_is_float(dtype) || !const_data(g, v, cap, &data, n)) return false;
  for (uint32_t i = 0; i < *n; i++) out[i] = dtype_load_i64(dtype, data, i);
  return true;
}

bool ir_is_splat(const Graph *g, Val v, double *out) {
  int64_t count = 0;
  if (ir_op(g, v) != OP_const || !ir_count_const(g, v, &count) || count == 0) return false;
  const Blob *b = ir_blob_get(g, ir_attr(g, v, A_blob)->blob);
  VlDtype dtype = ir_type_of(g, v)->dtype;
  size_t one = dtype_size(dtype);
  if (memcmp(b->data, (const char *)b->data + one, (size_t)b->bytes - one) != 0) return false;
  *out = dtype_load(dtype, b->data, 0);
  return true;
}

bool ir_known_dims(const Graph *g, Val v, DimId *out, uint32_t cap, uint32_t *n) {
  const Type *t = ir_type_of(g, v);
  if (t->rank > 1 || !dtype_is_int(t->dtype)) return false;
  if (ir_op(g, v) == OP_dims) {
    const Attr *a = ir_attr(g, v, A_dims);
    *n = a->n;
    for (uint32_t i = 0; i < a->n && a->n <= cap; i++) out[i] = a->dims[i];
    return a->n <= cap;
  }
  const void *data = NULL;
  if (!const_data(g, v, cap, &data, n)) return false;
  for (uint32_t i = 0; i < *n; i++)
    out[i] = dim_const(g->dims, dtype_load_i64(t->dtype, data, i));
  return true;
}
