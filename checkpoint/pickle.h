/* SPDX-License-Identifier: Apache-2.0 */
/* pickle.h - reads the pickle of a PyTorch checkpoint as data.
**
** A pickle is a program for a stack machine that may call any function.  Here
** nothing is ever called: an opcode outside a short list is an error, tensors,
** storages and ordered dictionaries are made by name, and every other class or
** function stays a name whose results are opaque values without parts.  So an
** official checkpoint, with its pickled scheduler, is read, and a hostile one
** is at worst an error.  Nothing recurses; memory is bounded by a small
** multiple of the bytes. */
#ifndef VLPC_CHECKPOINT_PICKLE_H
#define VLPC_CHECKPOINT_PICKLE_H

#include "base/arena.h"
#include "base/diag.h"
#include "base/dtype.h"

#define PICKLE_MAX_BYTES (16u << 20)

typedef enum {
  PICKLE_none,
  PICKLE_bool,
  PICKLE_int,
  PICKLE_real,
  PICKLE_text,
  PICKLE_tuple,
  PICKLE_list,
  PICKLE_dict,
  PICKLE_global, /* a class or function, by name only */
  PICKLE_storage,
  PICKLE_tensor,
  PICKLE_opaque, /* what an unknown function or class would give */
  PICKLE__COUNT
} PickleKind;

/* Bytes of one or more tensors, in the archive's member "data/KEY". */
typedef struct {
  const char *key; /* decimal digits */
  VlDtype dtype;
  uint64_t n; /* elements */
} PickleStorage;

/* A view that lies whole in its storage. */
typedef struct {
  const PickleStorage *storage;
  uint64_t offset; /* in elements */
  uint32_t rank;
  int64_t size[VLPC_MAX_RANK], stride[VLPC_MAX_RANK];
} PickleTensor;

typedef struct PickleValue PickleValue;
struct PickleValue {
  PickleKind kind;
  uint32_t n, cap; /* items */
  union {
    int64_t i; /* bool, int */
    double f;
    const char *text;   /* UTF-8 without NUL; of a global "module name" */
    PickleValue **item; /* tuple, list; dict: key, value, key, … as they came */
    const PickleStorage *storage;
    const PickleTensor *tensor;
  } as;
};

/* The value that n bytes describe, on the arena.  where.place names them in messages.
** Fails with CHECKPOINT, CHECKPOINT_KIND, TOO_LARGE. */
VL_MUST_USE VlStatus pickle_read(const uint8_t *at, uint64_t n, DiagAt where, Arena *a, Diag *d,
                                 const PickleValue **out);
/* "a dictionary", "a tensor", … */
const char *pickle_kind_text(PickleKind kind);
/* The last value of a text key; NULL when there is none or v is no dictionary. */
const PickleValue *pickle_find(const PickleValue *v, const char *key);

#endif
