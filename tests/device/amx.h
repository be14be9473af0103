/* SPDX-License-Identifier: Apache-2.0 */
/* amx.h - AMX for processors that have none: the system's signal for an instruction that is not
** known leads to a computation in C, so that code for AMX runs as it is. */
#ifndef VLPC_TESTS_DEVICE_AMX_H
#define VLPC_TESTS_DEVICE_AMX_H

#include <stdbool.h>
#include <stdint.h>

/* From now on this process runs AMX code: true where the processor has AMX, or all else that
** such code needs. */
bool amx_runs(void);
/* How many tile products were computed in C. */
uint64_t amx_products(void);

#endif
