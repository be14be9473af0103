/* SPDX-License-Identifier: Apache-2.0 */
/* cl_code.h - kernels and weights of one artifact on one device: context,
** programs and memory.  Shared by any number of streams and threads; cl_kernel
** objects are not, so each stream makes its own. */
#ifndef VLPC_BACKENDS_OPENCL_CL_CODE_H
#define VLPC_BACKENDS_OPENCL_CL_CODE_H

#include <pthread.h>

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

/* Kernels go to the driver in programs of CL_GROUP, in the artifact's order, each built
** before the first run that needs it: an artifact has kernels for towers and training, and
** drivers take a third of a second for one.  In its program a kernel is "k" and its number
** there, so that the same kernels of two artifacts are one binary of the cache. */
enum { CL_GROUP = 4 };

typedef struct {
  cl_program program; /* NULL: nothing of it runs on the device */
  bool ready;
} ClGroup;

/* A weight of a gemm of K × N as rows, whose panels begin at offset (cl_clblast.h). */
typedef struct ClRows {
  struct ClRows *next;
  uint64_t offset;
  int64_t k, n;
  cl_mem mem;
} ClRows;

struct DeviceCode {
  Arena *arena;
  ClLib lib;
  ClDevice device;
  ClTarget target;
  KernelList kernels;
  cl_context context;
  pthread_mutex_t building; /* guards groups */
  ClGroup *group;
  const char *cache_dir; /* NULL: none */
  ClMemory *weights;
  uint64_t weight_bytes;
  ClRows *rows;     /* guarded by CLBlast's lock */
  const char *note; /* what a load should say; NULL: nothing */
};

/* The part that holds the byte at offset; NULL: none.  *at is the offset in it. */
const ClPart *cl_part(const ClMemory *m, uint64_t offset, uint64_t *at);

/* cl_program.c: the programs that steps need, side by side on the pool's threads (NULL: this
** one alone), from the private cache or built now and kept there.  A build that failed is
** remembered too.  Fails with CL_BUILD. */
VL_MUST_USE VlStatus cl_programs_ready(DeviceCode *c, const ProgStep *steps, uint32_t n,
                                       ThreadPool *pool, Diag *d);
void cl_programs_free(DeviceCode *c);

/* cl_weights.c: uploads the constants, cut between them where they must be. */
VL_MUST_USE VlStatus cl_weights_make(DeviceCode *c, const DeviceLoad *l, Diag *d);
void cl_weights_free(DeviceCode *c);

/* cl_driver.c: everything of load but the self-test. */
VL_MUST_USE VlStatus cl_code_new(const DeviceLoad *l, Diag *d, DeviceCode **out);
/* Of one part; *out is NULL after an error. */
cl_int cl_memory_new(const DeviceCode *c, uint64_t bytes, ClMemory **out);
void cl_memory_free(const DeviceCode *c, ClMemory *m); /* takes NULL */

/* cl_check.c: small kernels of each kind against the reference, at the first use
** of a device and driver; the verdict is kept in the cache.  Fails with
** CL_SELF_TEST. */
VL_MUST_USE VlStatus cl_check(const ClDevice *device, const DeviceLoad *l, Diag *d);
/* Names device, driver and this vlpc for keys of the cache. */
void cl_identity(Str *s, const ClDevice *device);

#endif
