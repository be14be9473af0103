/* SPDX-License-Identifier: Apache-2.0 */
/* cl_weights.c - constants in device memory.  Drivers cap one allocation, often
** at a quarter of the memory; weights beyond it are cut between constants. */
#include <stdlib.h>

#include "backends/opencl/cl_code.h"

const ClPart *cl_part(const ClMemory *m, uint64_t offset, uint64_t *at) {
  uint32_t lo = 0, hi = m->n;
  while (hi - lo > 1) {
    uint32_t mid = lo + (hi - lo) / 2;
    if (m->part[mid].from <= offset)
      lo = mid;
    else
      hi = mid;
  }
  if (m->n == 0 || offset < m->part[lo].from || offset - m->part[lo].from > m->part[lo].bytes)
    return NULL;
  *at = offset - m->part[lo].from;
  return &m->part[lo];
}

typedef struct {
  uint64_t from, to;
} Span;

static int by_start(const void *a, const void *b) {
  const Span *x = a, *y = b;
  return (x->from > y->from) - (x->from < y->from);
}

static uint32_t constants(const Program *p, uint64_t end, Span *out) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < p->n_bufs; i++) {
    const ProgBuf *b = &p->bufs[i];
    if (b->kind == BUF_CONST && vl_range_ok(b->offset, b->bytes, end))
      out[n++] = (Span){b->offset, b->offset + b->bytes};
  }
  qsort(out, n, sizeof *out, by_start);
  return n;
}

/* Parts of at most `most` bytes that end between constants; a constant larger
** than that stands alone and will not be allocated. */
static ClMemory *cut(DeviceCode *c, const DeviceLoad *l, uint64_t most) {
  uint32_t n_spans = l->program ? l->program->n_bufs : 0, n = 0;
  Span *spans = arena_array(c->arena, Span, n_spans + 1);
  uint64_t start = 0, end = 0;
  ClMemory *m = arena_alloc(c->arena, sizeof *m + ((size_t)n_spans + 1) * sizeof *m->part);
  if (l->weight_bytes > most && l->program) n = constants(l->program, l->weight_bytes, spans);
  for (uint32_t i = 0; i < n; i++) {
    if (spans[i].from >= end && spans[i].to - start > most && end > start) {
      m->part[m->n++] = (ClPart){NULL, start, end - start};
      start = spans[i].from;
    }
    end = VL_MAX(end, spans[i].to);
  }
  m->part[m->n++] = (ClPart){NULL, start, l->weight_bytes - start};
  return m;
}

static VlStatus upload(DeviceCode *c, cl_command_queue q, const DeviceLoad *l, Diag *d) {
  const ClLib *lib = &c->lib;
  for (uint32_t i = 0; i < c->weights->n; i++) {
    ClPart *p = &c->weights->part[i];
    cl_int error = CL_SUCCESS;
    if (p->bytes == 0) continue;
    p->mem = lib->clCreateBuffer(c->context, CL_MEM_READ_ONLY, (size_t)p->bytes, NULL, &error);
    if (error != CL_SUCCESS) return cl_fail(d, "clCreateBuffer for the weights", error);
    error = lib->clEnqueueWriteBuffer(q, p->mem, CL_TRUE, 0, (size_t)p->bytes, l->weights + p->from,
                                      0, NULL, NULL);
    if (error != CL_SUCCESS) return cl_fail(d, "copying the weights to the device", error);
  }
  return VLPC_OK;
}

VlStatus cl_weights_make(DeviceCode *c, const DeviceLoad *l, Diag *d) {
  cl_int error = CL_SUCCESS;
  c->weight_bytes = l->weight_bytes;
  c->weights = cut(c, l, c->device.max_alloc);
  cl_command_queue q = c->lib.clCreateCommandQueue(c->context, c->device.id, 0, &error);
  if (error != CL_SUCCESS) return cl_fail(d, "clCreateCommandQueue", error);
  VlStatus s = upload(c, q, l, d);
  c->lib.clReleaseCommandQueue(q);
  return s;
}

void cl_weights_free(DeviceCode *c) {
  for (uint32_t i = 0; c->weights && i < c->weights->n; i++) {
    if (c->weights->part[i].mem) c->lib.clReleaseMemObject(c->weights->part[i].mem);
  }
}
