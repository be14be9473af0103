/* SPDX-License-Identifier: Apache-2.0 */
/* cl_device.h - the OpenCL loader opened at run time, its platforms and devices.
**
** Nothing here is linked: without a loader or a driver the calls fail with
** CL_MISSING and say what to install.  The loader stays mapped once opened, for
** drivers do not bear being unloaded. */
#ifndef VLPC_BACKENDS_OPENCL_CL_DEVICE_H
#define VLPC_BACKENDS_OPENCL_CL_DEVICE_H

#define CL_TARGET_OPENCL_VERSION 120
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#include <CL/cl.h>

#include "backends/opencl/cl_text.h"
#include "backends/opencl/opencl.h"

typedef struct {
  void *handle;
#define FN(name) __typeof__(name) *name;
#include "backends/opencl/cl_functions.def"
} ClLib;

VL_MUST_USE VlStatus cl_lib_open(Diag *d, ClLib *out);

typedef struct {
  const char *name;
  void *to; /* a pointer to a function */
} ClSymbol;

/* Finds functions of an open library; the name of the first that it lacks, NULL: of none. */
const char *cl_symbols(void *library, const ClSymbol *want, size_t n);

#define CL_TEXT_MAX 128

typedef struct {
  uint32_t platform, number; /* "opencl:platform:number" */
  cl_platform_id platform_id;
  cl_device_id id;
  cl_device_type type;
  char platform_name[CL_TEXT_MAX], name[CL_TEXT_MAX], driver[CL_TEXT_MAX];
  uint64_t memory, max_alloc, local_memory;
  uint64_t max_items;
  uint32_t units;
  uint32_t capability; /* NVIDIA's compute capability, its major number; 0: another's device */
  const ClClass *class;
  bool fp64, keeps_kernels; /* has double; has a cache of its own */
  bool exact_division;
  char skipped[CL_TEXT_MAX]; /* why it cannot be used; "": it can */
} ClDevice;

/* A processor, of whichever class its kernels are. */
bool cl_is_cpu(const ClDevice *x);

#define CL_DEVICES_MAX 32

typedef struct {
  ClDevice at[CL_DEVICES_MAX];
  uint32_t n;
} ClDevices;

/* Every device of every platform.  Fails when there is no platform. */
VL_MUST_USE VlStatus cl_devices(const ClLib *lib, Diag *d, ClDevices *out);
/* "0:1", "1" (platform 1), or NULL: a GPU before a processor. */
VL_MUST_USE VlStatus cl_choose(const ClDevices *all, const char *wanted, Diag *d,
                               const ClDevice **out);

/* For text and grids.  tuned: NULL: none.  Matrix instructions are in plain words where the
** class of NVIDIA is looked at on another's device. */
ClTarget cl_target_of(const ClDevice *x, const ClTable *tuned);

/* A class by its name, for looking at another device's kernels; NULL: none. */
const ClClass *cl_class(const char *name);

/* "CL_OUT_OF_RESOURCES" and what to do. */
const char *cl_error_name(cl_int error);
const char *cl_error_cure(cl_int error);
/* Whether the queue is of no more use after it. */
bool cl_error_is_loss(cl_int error);
/* CL_CALL with the error's name and cure; what: "clCreateContext". */
VlStatus cl_fail(Diag *d, const char *what, cl_int error);

#endif
