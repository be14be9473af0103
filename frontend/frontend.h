/* SPDX-License-Identifier: Apache-2.0 */
/* frontend.h - ONNX files in, graphs out.
**
** fe_read maps a file, checks its structure and reads it; fe_import lowers it
** to a Graph of core ops.  Weights above 1 KiB are never copied: the graph's
** blobs are views of the mapped files, which the model keeps mapped until
** fe_close or until its arena is freed, whichever comes first.
**
** An import collects its errors: every unsupported node of a file is in one
** report.  Protobuf types do not leave this folder. */
#ifndef VLPC_FRONTEND_FRONTEND_H
#define VLPC_FRONTEND_FRONTEND_H

#include "ir/ir.h"

enum { FE_OPSET_MIN = 11, FE_OPSET_MAX = 27 };

typedef struct {
  /* External data may also lie below this folder (--allow-external-root);
  ** NULL: only below the model's own folder, or in the blobs folder of a
  ** Hugging Face cache that holds the model itself. */
  const char *external_root;
  uint64_t memory; /* bytes the reader may take; 0: 3 × file + 64 MiB */
} FeOptions;

typedef struct FeModel FeModel;

/* The model lies on the arena and borrows d and opt's texts.  opt may be NULL.
** Errors: E0101 … E0106, E0201, E0202, E0204, E0205, E0206. */
VL_MUST_USE VlStatus fe_read(Arena *a, const char *path, const FeOptions *opt, Diag *d,
                             FeModel **out);
/* The model's graph, on the model's arena: inputs and outputs in file order,
** one place per file node.  Named sizes become symbols; float inputs of rank 3
** and more do not share symbols with integer inputs, because exports call both
** batches "batch".  Sizes that an operator
** needs equal become one symbol, or the number that the export has baked in.
** Errors: E0203 … E0224, all that are found. */
VL_MUST_USE VlStatus fe_import(FeModel *m, Graph **out);
/* Initializers that are to be inputs of the graph that fe_import makes; the names
** are borrowed.  size0, if given, names the size of axis 0, else it is the file's.  A
** name that is no initializer's is left alone. */
typedef struct {
  const char *name, *size0;
} FeInput;
void fe_inputs(FeModel *m, const FeInput *in, uint32_t n);
/* Tells the system that n bytes of a blob are not needed soon, so that they
** leave the resident set; does nothing for memory that is not a mapped file. */
void fe_forget(const FeModel *m, const void *p, uint64_t n);
/* Unmaps the files.  The graph's large blobs must not be read after it. */
void fe_close(FeModel *m);

/* The text under key in the model's metadata_props, or NULL. */
const char *fe_metadata(const FeModel *m, const char *key);
/* "pytorch 2.13.0": who wrote the file, "" when unknown. */
const char *fe_producer(const FeModel *m);
/* Version of the default operator set. */
int64_t fe_opset(const FeModel *m);

/* The operators that fe_import takes, in table order: a row per range of
** operator-set versions.  i from 0; false past the end. */
typedef struct {
  const char *domain, *op; /* domain "" is ONNX's own */
  int since, until;        /* until 0: the newest that vlpc reads */
  const char *note;        /* what is not covered, or "" */
} FeOp;
bool fe_op_row(uint32_t i, FeOp *out);

#endif
