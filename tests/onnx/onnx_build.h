/* SPDX-License-Identifier: Apache-2.0 */
/* onnx_build.h - small ONNX models for the tests, as protobuf-c structs on an
** arena.  Names and sizes are given as comma-separated text: "x,w", "batch,3,8". */
#ifndef VLPC_TESTS_ONNX_ONNX_BUILD_H
#define VLPC_TESTS_ONNX_ONNX_BUILD_H

#include "base/arena.h"
#include "onnx.pb-c.h"

enum { ONNX_FLOAT = 1, ONNX_INT64 = 7, ONNX_BOOL = 9, ONNX_FLOAT16 = 10 };

typedef struct {
  Arena *a;
  Onnx__ModelProto model;
  Onnx__GraphProto *graph;
} Build;

/* An empty model with one operator set of this version. */
Build build_new(Arena *a, int64_t opset);
Onnx__GraphProto *build_graph(Arena *a);
void build_input(Build *b, const char *name, int dtype, const char *sizes);
void build_output(Build *b, const char *name, int dtype, const char *sizes);
/* Initializers; the data are copied. */
Onnx__TensorProto *build_tensor(Arena *a, const char *name, int dtype, const char *sizes,
                                const void *data, size_t bytes);
void build_initializer(Arena *a, Onnx__GraphProto *g, Onnx__TensorProto *t);
void build_ints(Build *b, const char *name, const char *sizes, const int64_t *v, size_t n);
/* n floats, all of this value. */
void build_floats(Build *b, const char *name, const char *sizes, float v, size_t n);
void build_external(Onnx__TensorProto *t, Arena *a, const char *key, const char *value);

Onnx__NodeProto *build_node(Build *b, const char *op, const char *in, const char *out);
Onnx__NodeProto *build_node_in(Arena *a, Onnx__GraphProto *g, const char *op, const char *in,
                               const char *out);
Onnx__AttributeProto *build_attr(Arena *a, Onnx__NodeProto *n, const char *name,
                                 Onnx__AttributeProto__AttributeType type);
void build_attr_int(Arena *a, Onnx__NodeProto *n, const char *name, int64_t v);

/* Adds a local function and returns it; its body is f->node. */
Onnx__FunctionProto *build_function(Build *b, const char *domain, const char *name,
                                    const char *in, const char *out);
Onnx__NodeProto *build_function_node(Build *b, Onnx__FunctionProto *f, const char *op,
                                     const char *in, const char *out);

uint8_t *build_bytes(Build *b, size_t *n);
void build_write(Build *b, const char *path);
/* Bytes to a file; fails the test when that is impossible. */
void write_file(const char *path, const void *p, size_t n);
/* A fresh folder, made once for each test program. */
const char *scratch_folder(void);

#endif
