/* SPDX-License-Identifier: Apache-2.0 */
/* onnx_run.h - what the tests of this folder share: a file imported and run in
** the reference interpreter, with everything on one arena. */
#ifndef VLPC_TESTS_ONNX_ONNX_RUN_H
#define VLPC_TESTS_ONNX_ONNX_RUN_H

#include "base/npz.h"
#include "frontend/frontend.h"

typedef struct {
  Arena *a;
  Diag *d;
  FeModel *m;
  Graph *g; /* NULL when the import failed */
  VlStatus status;
} Imported;

/* Reads, imports and verifies; free with imported_free in every case. */
Imported imported_new(const char *path, const FeOptions *opt);
void imported_free(Imported *x);

/* Runs the graph; in and out in graph order, out on x's arena. */
VlStatus imported_run(Imported *x, uint32_t mode, const RefTensor *in, RefTensor *out);
RefTensor tensor_of_npy(Arena *a, const NpyArray *y);

/* Folder of shared test data, or NULL when there is none. */
const char *shared_data(void);
const char *test_path(Arena *a, const char *folder, const char *name);

#endif
