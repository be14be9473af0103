/* SPDX-License-Identifier: Apache-2.0 */
/* machine.h - this process's memory, and what its processors can do. */
#ifndef VLPC_CLI_MACHINE_H
#define VLPC_CLI_MACHINE_H

#include "base/base.h"
#include "base/clock.h"
#include "base/cpu.h"

/* Largest resident set so far, mapped files included (VmHWM); 0: unknown. */
uint64_t memory_peak(void);
/* Resident bytes of this process alone: what it has written, not the clean pages
** of files, which all processes share; 0: unknown. */
uint64_t memory_private(void);

/* Keeps the calling thread on the first processor that it may use. */
void pin_self(void);

/* Best rate of multiply-adds of f32, or of bf16 with f32 sums, that threads threads
** reach together within `seconds`, in FLOP/s (2 per multiply-add), from loops that touch
** no memory; 0 when memory is out. */
double arithmetic_peak(CpuIsa isa, bool bf16, int threads, double seconds);

#endif
