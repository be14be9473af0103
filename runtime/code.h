/* SPDX-License-Identifier: Apache-2.0 */
/* code.h - the form in which a CPU backend hands machine code to the runtime.
**
** A code image is position-independent and complete: text and constants lie in
** one span that is mapped read-execute as it is; there is nothing to relocate
** and nothing is imported.  For kernel i the image holds
**
**   int     run(void *const *operand, const int64_t *size,
**               int64_t begin, int64_t end, void *scratch);
**   int64_t tasks(const int64_t *size);
**   void    reach(const int64_t *size, double *lo_hi);
**
** run does tasks [begin, end) and returns 0 or a FAULT_* code; any division of
** the tasks among threads gives the same bits.  scratch is per thread, 64-byte
** aligned, scratch_bytes(kernel) long.  reach says which BYTES of each
** operand a run touches: lo_hi[2i] … lo_hi[2i+1] - 1 for operand i, relative to
** its pointer, equal when it touches none.  The runtime holds these against
** the buffers before it runs anything, so a damaged or hostile program cannot
** make a kernel leave its buffers; doubles because they cannot wrap. */
#ifndef VLPC_RUNTIME_CODE_H
#define VLPC_RUNTIME_CODE_H

#include "base/diag.h"

enum { FAULT_NONE = 0, FAULT_INDEX = 1 /* an index operand is out of range */ };

typedef int KernelRunFn(void *const *operand, const int64_t *size, int64_t begin, int64_t end,
                        void *scratch);
typedef int64_t KernelTasksFn(const int64_t *size);
typedef void KernelReachFn(const int64_t *size, double *lo_hi);

#define CODE_MAGIC 0x31435056u /* "VPC1" */
#define CODE_VERSION 1u

/* File form: CodeHeader, CodeKernel[n_kernels], padding to image_offset (4096),
** image.  All little-endian. */
typedef struct {
  uint32_t magic, version, n_kernels, reserved;
  uint64_t image_offset, image_bytes;
  char target[32];     /* "x86_64-avx512", NUL-padded */
} CodeHeader;

typedef struct {
  uint64_t run, tasks, reach; /* offsets in the image */
  uint32_t n_operands, n_sizes; /* what run takes */
  uint64_t scratch_bytes;
} CodeKernel;

#endif
