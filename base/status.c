/* SPDX-License-Identifier: Apache-2.0 */
/* status.c - names and exit codes of the public statuses, one row each. */
#include "base/status.h"

typedef struct {
  const char *name;
  int exit_code;
} StatusRow;

static const StatusRow status_rows[] = {
    [VLPC_OK] = {"OK", 0},
    [VLPC_E_INVALID_ARG] = {"INVALID_ARG", 2},
    [VLPC_E_BAD_FILE] = {"BAD_FILE", 3},
    [VLPC_E_UNSUPPORTED] = {"UNSUPPORTED", 4},
    [VLPC_E_LIMIT] = {"LIMIT", 6},
    [VLPC_E_NOMEM] = {"NOMEM", 6},
    [VLPC_E_IO] = {"IO", 7},
    [VLPC_E_CODEGEN] = {"CODEGEN", 5},
    [VLPC_E_DEVICE] = {"DEVICE", 5},
    [VLPC_E_DEVICE_LOST] = {"DEVICE_LOST", 5},
    [VLPC_E_NUMERIC] = {"NUMERIC", 8},
    [VLPC_E_CANCELLED] = {"CANCELLED", 130},
    [VLPC_E_CORRUPT] = {"CORRUPT", 3},
    [VLPC_E_MISMATCH] = {"MISMATCH", 3},
    [VLPC_E_INTERNAL] = {"INTERNAL", 9},
};

/* A number that is no status counts as a fault of vlpc. */
static const StatusRow *status_row(VlStatus s) {
  bool known = (int)s >= 0 && (size_t)s < VL_COUNT(status_rows);
  return &status_rows[known ? s : VLPC_E_INTERNAL];
}

const char *status_name(VlStatus s) {
  return status_row(s)->name;
}

int status_exit_code(VlStatus s) {
  return status_row(s)->exit_code;
}
