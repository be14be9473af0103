/* SPDX-License-Identifier: Apache-2.0 */
/* checkpoint.h - the state of a run as one file, and the files of a run.
**
** Bytes, little-endian: the header (magic, version, number of sections, length
** of the file, XXH3-64 of header and table), the table (kind, offset, bytes,
** XXH3-64 of each section), the sections one behind the other, and nothing else;
** so every byte is under some checksum.  A file appears whole under its name or
** not at all.
**
** A run keeps step-N.ckpt for its last two saves, and best.ckpt.  One process at a time writes
** into its folder: it holds a lock on the file `lock` there. */
#ifndef VLPC_TRAIN_CHECKPOINT_H
#define VLPC_TRAIN_CHECKPOINT_H

#include "base/io.h"

#define RUN_VERSION 1u
#define RUN_KEPT 2u
#define RUN_HASH 32u /* hex digits of a hash */

typedef struct {
  const char *name;
  uint64_t n;
  const float *data;
} RunArray;

typedef struct {
  RunArray *at;
  uint32_t n;
} RunArrays;

typedef struct {
  RunArrays prompts;  /* values of the trainables */
  RunArrays optim;    /* moments, averages */
  const uint64_t *steps;     /* of each prompt: steps it took part in */
  uint64_t seed, draws;      /* of the generator, and how far it is */
  uint32_t epoch, batch;     /* the next batch to learn from */
  uint64_t step;             /* steps done */
  double best;               /* best score so far; not finite: none */
  const char *config;        /* resolved, as YAML */
  const char *model, *data;  /* hashes, RUN_HASH hex digits each */
} RunState;

/* checkpoint.c */

VL_MUST_USE VlStatus run_state_write(const char *path, const RunState *c, Arena *a, Diag *d);
/* Checks everything before anything is allocated for it.  Fails with
** RUN_FORMAT, RUN_VERSION, RUN_HASH and as io_map does. */
VL_MUST_USE VlStatus run_state_read(const char *path, Arena *a, Diag *d, RunState *out);

/* run_folder.c */

/* Makes a run's folder unless it is there, and locks it until *lock is given back, or the
** process ends, however it does.  A file system that has no locks is taken without.  Fails with
** FOLDER, and RUN_BUSY where another process, or another trainer of this one, has the lock. */
VL_MUST_USE VlStatus run_take(const char *folder, Diag *d, int *lock);
void run_give_back(int lock); /* takes -1 */
/* Fails with RUN_THERE where the folder holds a checkpoint that is sound. */
VL_MUST_USE VlStatus run_is_new(const char *folder, Arena *a, Diag *d);

/* checkpoint_run.c */

/* Saves into a run's folder, also as the best when is_best, and then removes what
** is older than the last RUN_KEPT and what killed writers left.  When a
** write fails, nothing is removed. */
VL_MUST_USE VlStatus run_save(const char *folder, const RunState *c, bool is_best,
                                     Arena *a, Diag *d);

typedef struct {
  RunState state;
  const char *path;    /* of the file that was read */
  const char *warning; /* NULL, or a line that names the damaged newer file too */
} RunFound;

/* The newest checkpoint that is sound; file names are looked at, not trusted.
** Fails with RUN_NONE when there is none, as FOLDER when there is no
** folder; messages of damaged files are only in the warning. */
VL_MUST_USE VlStatus run_latest(const char *folder, Arena *a, Diag *d,
                                       RunFound *out);

#endif
