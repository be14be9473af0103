/* SPDX-License-Identifier: Apache-2.0 */
/* onnx_scan.h - the pass over an ONNX file's bytes before protobuf-c sees it.
**
** protobuf-c recurses without limit and copies everything.  The scan walks the
** wire format with a stack of its own, refuses what is malformed, too deep or
** would take too much memory, and writes a slimmed message: without texts that
** nobody reads and without raw_data above SCAN_INLINE bytes.  Where such bytes
** were left out, the tensor's `segment` field says where in the file they lie.
** A file that brings a segment of its own is refused, so this cannot be forged. */
#ifndef VLPC_FRONTEND_ONNX_SCAN_H
#define VLPC_FRONTEND_ONNX_SCAN_H

#include "base/diag.h"
#include "base/io.h"

enum { SCAN_INLINE = 1024, SCAN_DEPTH = 100, SCAN_MESSAGES = 4000000 };

typedef struct {
  uint8_t *at;
  size_t n;
} Slim;

/* memory: bytes that reading may take (see FeOptions). */
VL_MUST_USE VlStatus scan_onnx(const Mapped *file, uint64_t memory, Arena *a, Diag *d, Slim *out);

#endif
