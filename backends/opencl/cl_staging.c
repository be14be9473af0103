/* SPDX-License-Identifier: Apache-2.0 */
/* cl_staging.c - see cl_staging.h. */
#include "backends/opencl/cl_staging.h"

#include <string.h>

enum { SLICE_BYTES = 256 << 10 }; /* of a piece, that a thread copies at a time */

bool cl_staging_ready(ClStaging *g, uint64_t n) {
  const DeviceCode *c = g->code;
  const ClLib *lib = &c->lib;
  size_t bytes = CL_STAGES * CL_STAGE_BYTES;
  cl_int error = CL_SUCCESS;
  if (c->target.class->cpu || n < CL_STAGE_BYTES / 4) return false;
  if (g->at) return true;
  g->mem = lib->clCreateBuffer(c->context, CL_MEM_READ_WRITE | CL_MEM_ALLOC_HOST_PTR, bytes, NULL,
                               &error);
  if (error != CL_SUCCESS) return false;
  g->at = lib->clEnqueueMapBuffer(g->queue, g->mem, CL_TRUE, CL_MAP_READ | CL_MAP_WRITE, 0, bytes,
                                  0, NULL, NULL, &error);
  if (error == CL_SUCCESS) return true;
  lib->clReleaseMemObject(g->mem);
  g->mem = NULL;
  g->at = NULL;
  return false;
}

static cl_int wait_for(ClStaging *g, uint32_t slot) {
  const ClLib *lib = &g->code->lib;
  if (!g->sent[slot]) return CL_SUCCESS;
  cl_int error = lib->clWaitForEvents(1, &g->sent[slot]);
  lib->clReleaseEvent(g->sent[slot]);
  g->sent[slot] = NULL;
  return error;
}

typedef struct {
  uint8_t *to;
  const uint8_t *from;
  size_t n;
} Piece;

static void copy(void *ctx, int64_t begin, int64_t end, int thread) {
  const Piece *p = ctx;
  size_t from = (size_t)begin * SLICE_BYTES, to = VL_MIN((size_t)end * SLICE_BYTES, p->n);
  (void)thread;
  memcpy(p->to + from, p->from + from, to - from);
}

cl_int cl_staging_write(ClStaging *g, cl_mem to, uint64_t at, const void *from, uint64_t n) {
  const ClLib *lib = &g->code->lib;
  for (uint64_t done = 0; done < n;) {
    uint32_t slot = g->next++ % CL_STAGES;
    Piece p = {g->at + slot * CL_STAGE_BYTES, (const uint8_t *)from + done,
               (size_t)VL_MIN(n - done, (uint64_t)CL_STAGE_BYTES)};
    int64_t slices = (int64_t)((p.n + SLICE_BYTES - 1) / SLICE_BYTES);
    cl_int error = wait_for(g, slot);
    if (error != CL_SUCCESS) return error;
    if (g->pool)
      threads_run(g->pool, slices, copy, &p);
    else
      copy(&p, 0, slices, 0);
    error = lib->clEnqueueWriteBuffer(g->queue, to, CL_FALSE, (size_t)(at + done), p.n, p.to,
                                      0, NULL, &g->sent[slot]);
    if (error == CL_SUCCESS) error = lib->clFlush(g->queue);
    if (error != CL_SUCCESS) return error;
    done += p.n;
  }
  return CL_SUCCESS;
}

void cl_staging_free(ClStaging *g) {
  if (!g->at) return;
  const ClLib *lib = &g->code->lib;
  for (uint32_t i = 0; i < CL_STAGES; i++) (void)wait_for(g, i);
  lib->clEnqueueUnmapMemObject(g->queue, g->mem, g->at, 0, NULL, NULL);
  lib->clFinish(g->queue);
  lib->clReleaseMemObject(g->mem);
}
