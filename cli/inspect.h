/* SPDX-License-Identifier: Apache-2.0 */
/* inspect.h - what a file is, by its first bytes, and what it holds. */
#ifndef VLPC_CLI_INSPECT_H
#define VLPC_CLI_INSPECT_H

#include "base/npz.h"
#include "cli/json.h"
#include "cli/model.h"

typedef enum {
  FILE_ARTIFACT,
  FILE_ONNX, /* also what has no mark of its own */
  FILE_JPEG,
  FILE_PNG,
  FILE_NPY,
  FILE_NPZ,
  FILE_JSON,
  FILE_SAFETENSORS,
  FILE_GZIP,
} FileKind;

/* Errors: those of io_map. */
VL_MUST_USE VlStatus file_kind(Cli *c, const char *path, FileKind *out);
/* Each prints about one kind of file, on j when it is not NULL. */
VL_MUST_USE VlStatus inspect_image(Cli *c, const char *path, FileKind kind, Json *j);
VL_MUST_USE VlStatus inspect_arrays(Cli *c, const char *path, Json *j);
VL_MUST_USE VlStatus inspect_safetensors(Cli *c, const char *path, Json *j);
VL_MUST_USE VlStatus inspect_json(Cli *c, const char *path, Json *j);
VL_MUST_USE VlStatus inspect_vocabulary(Cli *c, const char *path, Json *j);

/* What an artifact states about its error against fp32; nothing when it does not. */
void print_calibration(const Model *m);
void calibration_json(const Model *m, Json *j);

/* The layout of a linked prompt module.  Errors: E1026 where there is none. */
VL_MUST_USE VlStatus inspect_prompts(Cli *c, const Model *m, Json *j);

#endif
