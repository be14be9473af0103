/* SPDX-License-Identifier: Apache-2.0 */
/* compiler_lib.h - finds and opens libvlpc_compiler.
**
** It is looked for at a path given by the caller, else beside the file that
** holds this code, else by its soname where the system looks. */
#ifndef VLPC_RUNTIME_COMPILER_LIB_H
#define VLPC_RUNTIME_COMPILER_LIB_H

#include "runtime/compiler_api.h"

typedef struct {
  void *handle;
  const CompilerApi *api;
} CompilerLib;

/* Fails with COMPILER_MISSING, COMPILER_VERSION. */
VL_MUST_USE VlStatus compiler_lib_open(const char *path, Diag *d, CompilerLib *out);
void compiler_lib_close(CompilerLib *l); /* takes an empty one */
/* A number that changes when the library's file does, without opening it; 0
** when it is not at path nor beside this code. */
uint64_t compiler_lib_identity(const char *path);

#endif
