/* SPDX-License-Identifier: Apache-2.0 */
/* op.c - the op table's columns as arrays, read from ops.def. */
#include <string.h>

#include "ir/ir_int.h"

static const OpInfo info[OP__COUNT] = {
    [OP_none] = {"none", 0, 0, K_SOURCE, 0},
#define OP(id, min_in, max_in, kind, shape, ref, grad, flags) \
  [OP_##id] = {#id, min_in, max_in, kind, flags},
#include "ir/ops.def"
};

static ShapeFn *const shape_rule[OP__COUNT] = {
#define OP(id, min_in, max_in, kind, shape, ref, grad, flags) [OP_##id] = shape_##shape,
#include "ir/ops.def"
};

static RefFn *const ref_kernel[OP__COUNT] = {
#define OP(id, min_in, max_in, kind, shape, ref, grad, flags) [OP_##id] = ref_##ref,
#include "ir/ops.def"
};

static GradFn *const grad_rule[OP__COUNT] = {
#define OP(id, min_in, max_in, kind, shape, ref, grad, flags) [OP_##id] = grad_##grad,
#include "ir/ops.def"
};

static bool is_op(OpCode op) { return op > OP_none && op < OP__COUNT; }

const OpInfo *op_info(OpCode op) {
  VL_CHECK(op < OP__COUNT, "op_info: no such op");
  return &info[op];
}

bool op_find(const char *name, size_t n, OpCode *out) {
  for (OpCode op = OP_none + 1; op < OP__COUNT; op++) {
    if (strlen(info[op].name) != n || memcmp(info[op].name, name, n) != 0) continue;
    *out = op;
    return true;
  }
  return false;
}

ShapeFn *op_shape(OpCode op) {
  VL_CHECK(is_op(op), "op_shape: no such op");
  return shape_rule[op];
}

RefFn *op_ref(OpCode op) {
  VL_CHECK(is_op(op), "op_ref: no such op");
  return ref_kernel[op];
}

GradFn *op_grad(OpCode op) {
  VL_CHECK(is_op(op), "op_grad: no such op");
  return grad_rule[op];
}
