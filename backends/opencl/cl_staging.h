/* SPDX-License-Identifier: Apache-2.0 */
/* cl_staging.h - large writes to a device with memory of its own, through memory of the host
** that the device reads by itself: a piece is on its way while threads fill the next. */
#ifndef VLPC_BACKENDS_OPENCL_CL_STAGING_H
#define VLPC_BACKENDS_OPENCL_CL_STAGING_H

#include "backends/opencl/cl_code.h"
#include "base/thread.h"

enum { CL_STAGES = 3 };
#define CL_STAGE_BYTES ((size_t)4 << 20)

/* One queue's; its calls are the queue's owner's.  The first three are given, zeros follow. */
typedef struct {
  const DeviceCode *code;
  cl_command_queue queue;
  ThreadPool *pool; /* NULL: none */
  cl_mem mem;
  uint8_t *at;              /* CL_STAGES of CL_STAGE_BYTES; NULL: not taken yet */
  cl_event sent[CL_STAGES]; /* NULL: free */
  uint32_t next;
} ClStaging;

/* Whether a write of n bytes goes through it; takes the memory at the first that does. */
bool cl_staging_ready(ClStaging *g, uint64_t n);
/* from[n] is read when it returns; what is enqueued afterwards finds it at `to`. */
cl_int cl_staging_write(ClStaging *g, cl_mem to, uint64_t at, const void *from, uint64_t n);
void cl_staging_free(ClStaging *g);

#endif
