/* SPDX-License-Identifier: Apache-2.0 */
/* pickle_int.h - the stack machine, shared by pickle.c (opcodes) and
** pickle_call.c (what stands for the calls that a pickle asks for). */
#ifndef VLPC_CHECKPOINT_PICKLE_INT_H
#define VLPC_CHECKPOINT_PICKLE_INT_H

#include "base/vec.h"
#include "checkpoint/pickle.h"

typedef struct {
  const uint8_t *at;
  uint64_t n, pos;
  uint64_t op; /* where the opcode of now begins */
  bool done;
  DiagAt where;
  Arena *a;
  Diag *d;
  VEC(PickleValue *) stack;
  VEC(PickleValue *) memo; /* NULL: not set */
  VEC(uint32_t) mark;      /* heights of the stack */
} Pickle;

/* DIAG_CHECKPOINT at the opcode of now. */
VlStatus pickle_bad(const Pickle *p, const char *what);
PickleValue *pickle_new(const Pickle *p, PickleKind kind);

/* pickle_call.c */

/* *out is what calling f with the tuple args would give. */
VL_MUST_USE VlStatus pickle_call(const Pickle *p, const PickleValue *f, const PickleValue *args,
                                 PickleValue **out);
/* *out is the storage that a tuple names. */
VL_MUST_USE VlStatus pickle_storage(const Pickle *p, const PickleValue *id, PickleValue **out);

#endif
