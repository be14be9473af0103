/* SPDX-License-Identifier: Apache-2.0 */
/* devices.h - what OpenCL shows, for vlpc devices and vlpc doctor. */
#ifndef VLPC_CLI_DEVICES_H
#define VLPC_CLI_DEVICES_H

#include "cli/cli.h"

typedef struct {
  vlpc_found_device at[32];
  uint32_t n;
  const char *missing; /* why there is none: the library's words; or NULL */
} FoundDevices;

/* Strings are on c's arena.  Fails when the compiler library is not there. */
VL_MUST_USE VlStatus devices_find(Cli *c, FoundDevices *out);

#endif
