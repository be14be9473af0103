/* SPDX-License-Identifier: Apache-2.0 */
/* compiler_api.h - what libvlpc asks of libvlpc_compiler.
**
** libvlpc opens the library with dlopen(RTLD_NOW | RTLD_LOCAL) and calls its
** only exported function, vlpc_compiler_entry.  Both libraries carry the same
** base/ code; a table is used only when its vlpc_version equals libvlpc's, so
** Diag and the option structs are the same on both sides.
** Strings in option structs are borrowed for the call.  struct_size was checked
** and shorter structs filled up before a call comes here. */
#ifndef VLPC_RUNTIME_COMPILER_API_H
#define VLPC_RUNTIME_COMPILER_API_H

#include "runtime/device.h"
#include "vlpc/vlpc_compile.h"

#define COMPILER_API_VERSION 4
#define COMPILER_ENTRY "vlpc_compiler_entry"
#define COMPILER_SONAME "libvlpc_compiler.so.0"

/* Bytes made by the compiler library; free_bytes gives them back.  Texts have
** a NUL behind their n bytes. */
typedef struct {
  uint8_t *at;
  size_t n;
} CompilerBytes;

typedef struct {
  const uint8_t *kernels; /* a KERNELS section, hostile */
  size_t n;
  const char *target;    /* "x86_64-avx512" */
  const char *cache_dir; /* where parts of code are kept; NULL: nowhere */
  uint64_t maker;        /* compiler_lib_identity */
} EmitCall;

typedef struct CompilerApi {
  int version; /* COMPILER_API_VERSION */
  const char *vlpc_version;
  const char *build; /* "LLVM 19.1.7 …", for people; a cache tells compilers
                        apart by their file (compiler_lib_identity) */
  void (*free_bytes)(CompilerBytes *b); /* leaves *b empty; takes an empty one */

  /* Code for every kernel for a CPU target: a code file (code.h). */
  VlStatus (*emit)(const EmitCall *call, Diag *d, CompilerBytes *code);
  /* Driver of a device that only the compiler library has ("ref"); NULL when it
  ** has none of this name. */
  const DeviceDriver *(*driver)(const char *name);
  /* The i-th device of such drivers; strings in *hold.  *out has cache_dir.  *more is false
  ** past the last.  Fails with CL_MISSING. */
  VlStatus (*device)(uint32_t i, Diag *d, CompilerBytes *hold, vlpc_found_device *out, bool *more);
  /* Text of a step's kernel, and its operations with the step's sizes. */
  VlStatus (*describe)(const uint8_t *kernels, size_t n, const vlpc_step_info *step, Diag *d,
                       CompilerBytes *text, int64_t *flops);

  /* vlpc_compile.h.  report[VLPC_TEXT] and report[VLPC_JSON] are filled also on
  ** failure as far as they got. */
  VlStatus (*compile)(const vlpc_compile_options *o, Diag *d, CompilerBytes report[2]);
  VlStatus (*emit_text)(const vlpc_compile_options *o, const char *what, Diag *d,
                        CompilerBytes *text, CompilerBytes report[2]);
  VlStatus (*model_write)(const vlpc_model_options *o, Diag *d);
  VlStatus (*inspect)(const char *path, vlpc_text_format format, Diag *d, CompilerBytes *text);
  VlStatus (*prompt_write)(const vlpc_prompt_options *o, Diag *d);
  VlStatus (*prompt_list)(vlpc_text_format format, Diag *d, CompilerBytes *text);
  VlStatus (*tune)(const vlpc_tune_options *o, const uint8_t *kernels, size_t n, Diag *d,
                   CompilerBytes *text);
} CompilerApi;

/* NULL when the library does not have this version of the table. */
typedef const CompilerApi *CompilerEntryFn(int version);

#endif
