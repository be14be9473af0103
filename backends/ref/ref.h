/* SPDX-License-Identifier: Apache-2.0 */
/* ref.h - the reference device: runs kernels as their descriptions read, in
** double, one element after the other.  It is the judge of every other backend
** and of the scheduler; it is as slow as it looks. */
#ifndef VLPC_BACKENDS_REF_REF_H
#define VLPC_BACKENDS_REF_REF_H

#include "ir/kernel.h"
#include "runtime/device.h"

/* Runs one kernel on host memory; FAULT_* as runtime/code.h.  The operands must
** be large enough (ref_in_bounds).  scratch memory comes from the arena. */
int ref_run(const Kernel *k, void *const *operand, const int64_t *size, Arena *a);

/* False when a run would touch an operand i outside the before[i] bytes below
** its pointer and the after[i] bytes from it on. */
bool ref_in_bounds(const Kernel *k, const uint64_t *before, const uint64_t *after,
                   const int64_t *size);

extern const DeviceDriver device_ref;

#endif
