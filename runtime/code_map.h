/* SPDX-License-Identifier: Apache-2.0 */
/* code_map.h - checks a code file (code.h) and makes its image executable.
**
** Memory is never writable and executable at once, nor one after the other: the
** image is written to a nameless file (memfd, else an unnamed file in a folder)
** and that is mapped read-execute, which also works under PR_SET_MDWE. */
#ifndef VLPC_RUNTIME_CODE_MAP_H
#define VLPC_RUNTIME_CODE_MAP_H

#include "runtime/code.h"

#define CODE_MAX_KERNELS 65536u
#define CODE_MAX_SCRATCH ((uint64_t)1 << 30)

typedef struct {
  KernelRunFn *run;
  KernelTasksFn *tasks;
  KernelReachFn *reach;
  uint32_t n_operands, n_sizes;
} CodeEntry;

typedef struct {
  void *image;
  uint64_t image_bytes;
  uint32_t n_kernels;
  CodeEntry *kernels;
  uint64_t scratch_bytes; /* of the kernel that needs most */
} CodeMap;

/* file is borrowed for the call and must be made for target; scratch_dir may be
** NULL.  Fails with CODE_IMAGE, CODE_MAP, NOMEM. */
VL_MUST_USE VlStatus code_map(const uint8_t *file, uint64_t n, const char *target,
                              const char *scratch_dir, Diag *d, CodeMap *out);
void code_unmap(CodeMap *m); /* takes an empty one */

#endif
