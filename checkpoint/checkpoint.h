/* SPDX-License-Identifier: Apache-2.0 */
/* checkpoint.h - PyTorch checkpoints (.pth.tar, .pt): the state dictionary of a
** file that torch.save wrote, and files that torch.load(weights_only=True)
** reads.
**
** The file is a zip archive: "X/data.pkl" (pickle.h) and one member "X/data/N"
** for each storage.  Only "state_dict", or a dictionary of tensors as a whole,
** is looked at.  PyTorch's format before 1.6, which is no archive, is refused
** with the line that converts it. */
#ifndef VLPC_CHECKPOINT_CHECKPOINT_H
#define VLPC_CHECKPOINT_CHECKPOINT_H

#include "base/arena.h"
#include "base/diag.h"
#include "base/dtype.h"

typedef struct {
  const char *name; /* without a leading "module." */
  VlDtype dtype;
  uint32_t rank;
  int64_t size[VLPC_MAX_RANK];
  const void *inner; /* private */
} CheckpointTensor;

typedef struct {
  CheckpointTensor *at; /* in the order of the file */
  uint32_t n;
  int64_t epoch;     /* -1: not said */
  const void *inner; /* private */
} Checkpoint;

/* Everything is on the arena; the file stays mapped as long.  Fails with OPEN,
** NOT_REGULAR, READ, TOO_LARGE, CHECKPOINT, CHECKPOINT_KIND. */
VL_MUST_USE VlStatus checkpoint_read(const char *path, Arena *a, Diag *d, Checkpoint *out);
/* The same for bytes in memory, which must stay as long as the tensors are used.
** file is for messages. */
VL_MUST_USE VlStatus checkpoint_parse(const uint8_t *at, uint64_t n, const char *file, Arena *a,
                                      Diag *d, Checkpoint *out);
/* The elements of a tensor of floats as f32, row-major.  Fails with CHECKPOINT,
** CHECKPOINT_KIND. */
VL_MUST_USE VlStatus checkpoint_floats(const Checkpoint *c, const CheckpointTensor *t, Diag *d,
                                       float **out);
const CheckpointTensor *checkpoint_find(const Checkpoint *c, const char *name); /* NULL: none */

/* checkpoint_write.c */

typedef struct {
  const char *name;
  uint32_t rank;
  int64_t size[VLPC_MAX_RANK];
  const float *data;
} CheckpointFloats;

/* Writes {"state_dict": OrderedDict(the tensors in their order), "epoch": epoch}.
** Equal values give equal bytes.  Fails with WRITE, NOT_REGULAR, TOO_LARGE. */
VL_MUST_USE VlStatus checkpoint_write(const char *path, const CheckpointFloats *t, uint32_t n,
                                      int64_t epoch, Arena *a, Diag *d);

#endif
