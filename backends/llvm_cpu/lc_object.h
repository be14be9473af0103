/* SPDX-License-Identifier: Apache-2.0 */
/* lc_object.h - from LLVM modules to an image that runs where it is mapped.
**
** Each module becomes an object.  Objects are linked here, at compile time: sections are laid
** out in one span and every reference inside it is resolved relative to itself.  A
** reference that cannot be (an absolute address, a writable section, a call to
** something outside) is a fault of the emitters and is reported as CODEGEN. */
#ifndef VLPC_BACKENDS_LLVM_CPU_LC_OBJECT_H
#define VLPC_BACKENDS_LLVM_CPU_LC_OBJECT_H

#include "backends/llvm_cpu/lc_build.h"
#include "base/arena.h"
#include "base/diag.h"

/* An ELF64 object that LLVM wrote, aligned as ELF's records need. */
typedef struct {
  const uint8_t *at;
  size_t n;
} LcObject;

typedef struct {
  const char *name;
  uint32_t object;
  uint64_t offset; /* in the image */
} LcSymbol;

typedef struct {
  uint8_t *at;
  uint64_t n;
  LcSymbol *symbol; /* the modules' external functions */
  uint32_t n_symbols;
} LcImage;

/* Checks, optimises and assembles the module. */
VL_MUST_USE VlStatus lc_assemble(Lb *module, Arena *a, Diag *d, LcObject *out);
/* The same up to the assembly text (or the optimised IR), for people. */
VL_MUST_USE VlStatus lc_listing(Lb *module, bool assembly, Arena *a, Diag *d, const char **out);
/* Lays out and links objects, which may call each other's external functions. */
VL_MUST_USE VlStatus lc_link(const LcObject *objects, uint32_t n, Arena *a, Diag *d, LcImage *out);
/* Where the image has a function of an object. */
bool lc_symbol(const LcImage *image, uint32_t object, const char *name, uint64_t *offset);

#endif
