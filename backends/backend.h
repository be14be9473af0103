/* SPDX-License-Identifier: Apache-2.0 */
/* backend.h - the compile side of a device: kernels in, code for it out.
**
** A backend sees kernels only (ir/kernel.h).  Its run side is a driver behind
** runtime/device.h.  Rows are in backends.def. */
#ifndef VLPC_BACKENDS_BACKEND_H
#define VLPC_BACKENDS_BACKEND_H

#include "ir/kernel.h"

typedef struct {
  const char *name;      /* the driver's text for what it runs on ("avx512") */
  const char *cache_dir; /* where parts of code are kept for other programs; NULL: nowhere */
  uint64_t maker;        /* of parts: those of another library count as absent */
} CodeTarget;

typedef struct {
  const char *name; /* "llvm_cpu" */
  /* Code for every kernel of the list, in order, on the arena. */
  VlStatus (*emit)(KernelList kernels, const CodeTarget *target, Arena *a, Diag *d,
                   const uint8_t **out, size_t *n);
} Backend;

const Backend *backend_find(const char *name); /* NULL when not built in */

#endif
