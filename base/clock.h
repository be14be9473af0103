/* SPDX-License-Identifier: Apache-2.0 */
/* clock.h - time that only goes forward, for measuring. */
#ifndef VLPC_BASE_CLOCK_H
#define VLPC_BASE_CLOCK_H

#include <stdint.h>

int64_t clock_ns(void);

#endif
