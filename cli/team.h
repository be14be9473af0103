/* SPDX-License-Identifier: Apache-2.0 */
/* team.h - processes that mpirun has started together.
**
** What MPI does is in libvlpc_mpi, made of team_mpi.c where the build found MPI; it is
** opened when a launcher has set the number of processes, so that the command runs
** without MPI otherwise.  All processes of a team make the same calls here in the same
** order.  They end together when one has told what there is to tell: a launcher ends the
** others once the first fails. */
#ifndef VLPC_CLI_TEAM_H
#define VLPC_CLI_TEAM_H

#include "base/map.h"
#include "cli/cli.h"
#include "vlpc/vlpc_train.h"

#define TEAM_LIBRARY "libvlpc_mpi.so"
#define TEAM_DRIVER "vlpc_team_driver"
enum { TEAM_VERSION = 1 };

typedef struct {
  uint32_t version;
  bool (*start)(uint32_t *rank, uint32_t *size);
  bool (*gather)(void *user, float *all, size_t n); /* as vlpc_team has it; user is not used */
  void (*stop)(void); /* returns when all are there */
} TeamDriver;

typedef struct {
  const TeamDriver *driver; /* NULL: one process */
  uint32_t rank, size;
  float *word; /* [size, 2]: what they say to each other */
} Team;

#define TEAM_ALONE ((Team){.size = 1})

/* The team of this process, until the command ends; size 1 without a launcher.  Processes but
** the first say nothing
** of work that goes well from now on.  Errors: E0018. */
VL_MUST_USE VlStatus team_start(Cli *c, Team *out);
/* Goes on where all do.  Otherwise one tells its error, and the others end with its status
** and without a word.  *stop, which may be NULL: some process was asked to stop. */
VL_MUST_USE VlStatus team_agree(const Team *t, Cli *c, VlStatus mine, bool *stop);
/* all[size][n], of which each has made its row, for all. */
VL_MUST_USE VlStatus team_gather(const Team *t, Cli *c, float *all, size_t n);
/* Whether all have the same; what, in words, for the message. */
VL_MUST_USE VlStatus team_same(const Team *t, Cli *c, Hash128 mine, const char *what);
/* As libvlpc_train takes it. */
vlpc_team team_to_train(const Team *t);

#endif
