/* SPDX-License-Identifier: Apache-2.0 */
/* device.h - the driver seam: what a device does for a session.
**
** A driver is a table of functions.  load makes the code and the weights of one
** artifact ready for a target and may be shared by any number of streams and
** threads; a stream is one queue of launches and belongs to one session.
**
** Memory is a handle and a length.  On a device with DEVICE_HOST_MEMORY the
** handle is the address itself, so the session lends the caller's buffers and
** the mapped weights without a copy; on others it allocates and copies.
**
** Launches run in the order given.  launch may return before the work is done;
** wait returns when all of it is, with the first failure.  After a failure the
** stream is usable again, unless the fault says that it is lost.
**
** A new driver is one file and one row in devices.def; a driver that only the
** compiler library has is found through CompilerApi.driver. */
#ifndef VLPC_RUNTIME_DEVICE_H
#define VLPC_RUNTIME_DEVICE_H

#include "base/program.h"
#include "base/thread.h"
#include "runtime/code.h"

#define DEVICE_TARGET_MAX 32

enum {
  DEVICE_HOST_MEMORY = 1 << 0, /* a DeviceMem's handle is its address */
  DEVICE_NEEDS_CODE = 1 << 1   /* load gets a code file made for its target */
};

typedef struct {
  void *handle;
  uint64_t bytes;
} DeviceMem;

typedef struct {
  void *handle;    /* of the memory */
  uint64_t offset; /* bytes from its start */
} DeviceSpan;

typedef struct {
  const char *artifact; /* for messages */
  const char *target;
  const uint8_t *kernels; /* the artifact's KERNELS section */
  uint64_t kernels_bytes;
  const uint8_t *weights; /* mapped; stays until unload */
  uint64_t weight_bytes;
  const uint8_t *code; /* DEVICE_NEEDS_CODE: a code file, borrowed for the call */
  uint64_t code_bytes;
  const char *scratch_dir; /* the private cache folder, for code that is kept and
                              files that never get a name; may be NULL */
  const Program *program;  /* whose constants are spans of the weights; may be NULL */
} DeviceLoad;

typedef struct {
  uint32_t step; /* reported back with a failure */
  uint32_t kernel;
  uint32_t n_args, n_sizes;
  const DeviceSpan *args; /* in the kernel's operand order */
  const int64_t *sizes;
} DeviceLaunch;

typedef struct {
  uint32_t step; /* that failed */
  int fault;     /* FAULT_* of code.h, or 0 when the driver itself failed */
  /* of a driver that failed, where it has words for it */
  const char *what, *fix;
  bool lost; /* the stream stays unusable */
} DeviceFault;

#define DEVICE_ANY UINT32_MAX /* a count that the driver does not mind */

typedef struct {
  uint32_t n_operands, n_sizes;
} DeviceKernel;

typedef struct DeviceCode DeviceCode;     /* each driver's own */
typedef struct DeviceStream DeviceStream; /* each driver's own */

typedef struct DeviceDriver {
  const char *name;
  const char *what; /* one sentence */
  uint32_t flags;
  /* The target that code is made for; wanted may be NULL (the best that runs).
  ** Fails with ISA_UNKNOWN. */
  VlStatus (*target)(const char *wanted, Diag *d, char out[DEVICE_TARGET_MAX]);
  VlStatus (*load)(const DeviceLoad *l, Diag *d, DeviceCode **out);
  void (*unload)(DeviceCode *c); /* takes NULL */
  /* The constants as device memory, bytes = weight_bytes. */
  DeviceMem (*weights)(DeviceCode *c);
  /* What kernel i takes; false: there is none.  Launches fit it. */
  bool (*kernel)(const DeviceCode *c, uint32_t i, DeviceKernel *out);
  /* The bytes of each operand that kernel i touches with these sizes, as reach
  ** of code.h gives them.  NULL: the driver touches no operand. */
  void (*reach)(const DeviceCode *c, uint32_t i, const int64_t *sizes, double *lo_hi);
  /* pool is the session's; it stays longer than the stream. */
  VlStatus (*stream_new)(DeviceCode *c, ThreadPool *pool, Diag *d, DeviceStream **out);
  void (*stream_free)(DeviceStream *s); /* takes NULL */
  /* Before these steps are launched for the first time; NULL: nothing is to be done. */
  VlStatus (*ready)(DeviceStream *s, const ProgStep *steps, uint32_t n, Diag *d);
  /* Memory aligned to 64 bytes; bytes > 0.  false: there is none. */
  bool (*alloc)(DeviceStream *s, uint64_t bytes, DeviceMem *out);
  void (*release)(DeviceStream *s, DeviceMem *m); /* leaves *m empty; takes an empty one */
  /* Copies, in order with the launches; unused with DEVICE_HOST_MEMORY. */
  VlStatus (*write)(DeviceStream *s, DeviceSpan to, const void *from, uint64_t n);
  VlStatus (*read)(DeviceStream *s, void *to, DeviceSpan from, uint64_t n);
  VlStatus (*launch)(DeviceStream *s, const DeviceLaunch *l);
  VlStatus (*wait)(DeviceStream *s, DeviceFault *out);
  /* NULL: the session's clock is all there is.  With profile on, elapsed gives the
  ** device's own time of the last launch, once it was waited for; -1: not known. */
  bool (*profile)(DeviceStream *s, bool on);
  int64_t (*elapsed)(DeviceStream *s);
  /* What the user should know about the code, one line, as long as it; NULL: nothing.  The
  ** function may be NULL. */
  const char *(*note)(const DeviceCode *c);
} DeviceDriver;

/* device.c: the rows of devices.def. */
const DeviceDriver *device_at(uint32_t i);            /* NULL past the last */
const DeviceDriver *device_find(const char *name);    /* NULL when not built in */

/* device_null.c: launches and bytes that the stream was given so far. */
typedef struct {
  uint64_t launches, copied_bytes, live_bytes;
} NullCounts;
NullCounts device_null_counts(const DeviceStream *s);

#endif
