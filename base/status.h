/* SPDX-License-Identifier: Apache-2.0 */
/* status.h - the result of anything that can fail because of its input. */
#ifndef VLPC_BASE_STATUS_H
#define VLPC_BASE_STATUS_H

#include "base/base.h"
#include "vlpc/types.h"

typedef vlpc_status VlStatus;

/* Returns from the calling function when expr is not VLPC_OK. */
#define VL_TRY(expr) \
  do { \
    VlStatus vl_status_ = (expr); \
    if (vl_status_ != VLPC_OK) return vl_status_; \
  } while (0)

/* Drops a status on purpose; write the reason beside it. */
#define VL_IGNORE(expr) \
  do { \
    if ((expr) != VLPC_OK) { \
    } \
  } while (0)

/* "INVALID_ARG" …; never NULL. */
const char *status_name(VlStatus s);
/* The command's exit code for a status (table in vlpc/types.h). */
int status_exit_code(VlStatus s);

#endif
