/* SPDX-License-Identifier: Apache-2.0 */
/* opencl.h - the OpenCL device behind the driver seam ("opencl", with
** ":platform:device" after it to choose one), and what `vlpc devices` lists. */
#ifndef VLPC_BACKENDS_OPENCL_OPENCL_H
#define VLPC_BACKENDS_OPENCL_OPENCL_H

#include "base/str.h"
#include "runtime/compiler_api.h"

extern const DeviceDriver device_opencl;

/* The i-th device of the machine; strings on the arena.  false: past the last.
** Fails (OK never with *more false and i 0) when there is no loader or
** platform. */
VL_MUST_USE VlStatus opencl_device(uint32_t i, Arena *a, Diag *d, vlpc_found_device *out,
                                   bool *more);

#endif
