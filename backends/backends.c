/* SPDX-License-Identifier: Apache-2.0 */
/* backends.c - the rows of backends.def. */
#include <string.h>

#include "backends/backend.h"
#include "backends/llvm_cpu/llvm_cpu.h"

static const Backend backends[] = {
#define BACKEND(name, emit) {#name, emit},
#include "backends/backends.def"
};

const Backend *backend_find(const char *name) {
  for (size_t i = 0; i < VL_COUNT(backends); i++) {
    if (strcmp(backends[i].name, name) == 0) return &backends[i];
  }
  return NULL;
}
