/* SPDX-License-Identifier: Apache-2.0 */
/* cl_code.h - kernels and weights of one artifact on one device: context,
** program and memory.  Shared by any number of streams and threads; cl_kernel
** objects are not, so each stream makes its own. */
#ifndef VLPC_BACKENDS_OPENCL_CL_CODE_H
#define VLPC_BACKENDS_OPENCL_CL_CODE_H

#include "backends/opencl/cl_device.h"
#include "base/program.h"

/* What a DeviceMem's handle points to: spans of device memory that stand for one
** range of bytes.  More than one where weights pass the largest allocation. */
typedef struct {
  cl_mem mem;
  uint64_t from, bytes;
} ClPart;

typedef struct {
  uint32_t n;
  ClPart part[];
} ClMemory;

struct DeviceCode {
  Arena *arena;
  ClLib lib;
  ClDevice device;
  ClTarget target;
  KernelList kernels;
  cl_context context;
  cl_program program;
  ClMemory *weights;
  uint64_t weight_bytes;
};

/* The part that holds the byte at offset; NULL: none.  *at is the offset in it. */
const ClPart *cl_part(const ClMemory *m, uint64_t offset, uint64_t *at);

/* cl_program.c: from the private cache, or built now and kept there.  A build
** that failed is remembered too.  Fails with CL_BUILD. */
VL_MUST_USE VlStatus cl_program_make(DeviceCode *c, const char *cache_dir, Diag *d);

/* cl_weights.c: uploads the constants, cut between them where they must be. */
VL_MUST_USE VlStatus cl_weights_make(DeviceCode *c, const DeviceLoad *l, Diag *d);
void cl_weights_free(DeviceCode *c);

/* cl_driver.c: everything of load but the self-test. */
VL_MUST_USE VlStatus cl_code_new(const DeviceLoad *l, Diag *d, DeviceCode **out);

/* cl_check.c: small kernels of each kind against the reference, at the first use
** of a device and driver; the verdict is kept in the cache.  Fails with
** CL_SELF_TEST. */
VL_MUST_USE VlStatus cl_check(const ClDevice *device, const DeviceLoad *l, Diag *d);
/* Names device, driver and this vlpc for keys of the cache. */
void cl_identity(Str *s, const ClDevice *device);

#endif
