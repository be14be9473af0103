/* SPDX-License-Identifier: Apache-2.0 */
/* ref.h - the reference device: runs kernels as their descriptions read, in
** double, one element after the other.  It is the judge of every other backend
** and of the scheduler; it is as slow as it looks. */
#ifndef VLPC_BACKENDS_REF_REF_H
#define VLPC_BACKENDS_REF_REF_H

#include "ir/kernel.h"
#include "runtime/device.h"

/* Runs one kernel on host memory; FAULT_* as runtime/code.h.  The operands must
** be large enough (ref_reach).  scratch memory comes from the arena. */
int ref_run(const Kernel *k, void *const *operand, const int64_t *size, Arena *a);

/* The bytes [lo_hi[2i], lo_hi[2i+1]) around operand i's pointer that a run
** touches; both 0 when none. */
void ref_reach(const Kernel *k, const int64_t *size, double *lo_hi);

extern const DeviceDriver device_ref;

#endif
