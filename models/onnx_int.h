/* SPDX-License-Identifier: Apache-2.0 */
/* onnx_int.h - the graph as onnx_build.c makes it and onnx_write.c writes it. */
#ifndef VLPC_MODELS_ONNX_INT_H
#define VLPC_MODELS_ONNX_INT_H

#include "base/map.h"
#include "base/vec.h"
#include "models/onnx_write.h"
#include "onnx.pb-c.h"

enum { ONNX_ATTRIBUTES_MAX = 6 };

typedef struct {
  OnnxWeight w;
  const char *name;  /* of the initializer */
  const char *value; /* of the float32 value */
} Stored;

struct OnnxGraph {
  Arena *arena;
  OnnxOptions o;
  const char *scope;
  VEC(Onnx__NodeProto *) node;
  VEC(Onnx__TensorProto *) constant;
  VEC(Onnx__ValueInfoProto *) input, output;
  VEC(Stored) weight;
  VEC(Onnx__StringStringEntryProto *) metadata;
};

Onnx__StringStringEntryProto *onnx_entry(Arena *a, const char *key, const char *value);

#endif
