/* SPDX-License-Identifier: Apache-2.0 */
/* onnx_write.h - builds an ONNX graph node by node and writes it.
**
** Values are names.  onnx_op gives the name of a node's output; attributes
** added next belong to that node.  Weights are described, not held: their
** elements are made in pieces while the file is written, so a model of any size
** needs little memory.  All lies on the graph's arena.  Nothing here checks
** that the graph makes sense; that is the caller's work. */
#ifndef VLPC_MODELS_ONNX_WRITE_H
#define VLPC_MODELS_ONNX_WRITE_H

#include "base/arena.h"
#include "base/diag.h"
#include "base/dtype.h"

#define ONNX_EXTERNAL_ABOVE ((uint64_t)1 << 30) /* bytes of weights inside the file */

typedef struct OnnxGraph OnnxGraph;
typedef struct OnnxWeight OnnxWeight;

/* Makes elements [begin, begin + n) of a weight. */
typedef void OnnxFill(const OnnxWeight *w, uint64_t begin, uint32_t n, float *out);

struct OnnxWeight {
  const char *name;
  uint32_t rank;
  int64_t size[4];
  OnnxFill *fill;
  double center, spread; /* of onnx_uniform, onnx_normal; center alone: of onnx_fill */
  const char *stream;    /* whose random numbers these are; NULL: its own name's */
  const float *data;     /* of onnx_copy: its elements, which live as long as the graph */
  uint64_t seed;         /* set by onnx_weight */
};

typedef struct {
  const char *name; /* of the graph */
  int opset;
  VlDtype dtype; /* VLPC_F32, or VLPC_F16: weights are halves with a Cast */
  uint64_t seed;
} OnnxOptions;

OnnxGraph *onnx_new(Arena *a, const OnnxOptions *o);
/* Nodes made from now on are called "<scope>/<op>_<n>"; "" at first. */
void onnx_scope(OnnxGraph *g, const char *fmt, ...) VL_PRINTF(2, 3);

/* A node with one output and up to three inputs, of which NULL ends the list. */
const char *onnx_op(OnnxGraph *g, const char *op, const char *a, const char *b, const char *c);
/* Names the last node's output. */
const char *onnx_rename(OnnxGraph *g, const char *name);
/* Gives the last node a second output and makes that its result: the old first
** one is still there, but has no use. */
const char *onnx_second(OnnxGraph *g);
void onnx_attr_int(OnnxGraph *g, const char *name, int64_t v);
void onnx_attr_ints(OnnxGraph *g, const char *name, uint32_t n, const int64_t *v);
void onnx_attr_float(OnnxGraph *g, const char *name, float v);

/* A weight of float32 values (through a Cast where the graph stores halves).
** A name that was given before stands for the same weight. */
const char *onnx_weight(OnnxGraph *g, const OnnxWeight *w);
/* Uniform in center ± spread; never a denormal number. */
void onnx_uniform(const OnnxWeight *w, uint64_t begin, uint32_t n, float *out);
void onnx_normal(const OnnxWeight *w, uint64_t begin, uint32_t n, float *out); /* sd: spread */
void onnx_fill(const OnnxWeight *w, uint64_t begin, uint32_t n, float *out);
void onnx_copy(const OnnxWeight *w, uint64_t begin, uint32_t n, float *out);
/* Constants in the file itself; rank 0 and 1. */
const char *onnx_float(OnnxGraph *g, float v);
const char *onnx_int(OnnxGraph *g, int64_t v);
const char *onnx_ints(OnnxGraph *g, uint32_t n, const int64_t *v);

/* Nodes that need a constant or an attribute. */
const char *onnx_reshape(OnnxGraph *g, const char *x, uint32_t n, const int64_t *to);
const char *onnx_transpose(OnnxGraph *g, const char *x, uint32_t n, const int64_t *perm);
const char *onnx_gather(OnnxGraph *g, const char *x, const char *index, int64_t axis);

/* A size of -1 is shown as the symbol. */
typedef struct {
  const char *name;
  VlDtype dtype; /* VLPC_F32 or VLPC_I64 */
  uint32_t rank;
  int64_t size[4];
  const char *symbol[4];
} OnnxPort;
void onnx_input(OnnxGraph *g, const OnnxPort *p);
void onnx_output(OnnxGraph *g, const OnnxPort *p);

/* A text of the model's metadata_props; a key is given once. */
void onnx_metadata(OnnxGraph *g, const char *key, const char *value);

/* Writes the file, and path.data when the weights pass ONNX_EXTERNAL_ABOVE. */
VL_MUST_USE VlStatus onnx_write(OnnxGraph *g, const char *path, Diag *d);

#endif
