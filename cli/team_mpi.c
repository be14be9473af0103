/* SPDX-License-Identifier: Apache-2.0 */
/* team_mpi.c - libvlpc_mpi: a team by MPI. */
#include <limits.h>
#include <mpi.h>

#include "cli/team.h"

static bool start(uint32_t *rank, uint32_t *size) {
  int r = 0, n = 0;
  if (MPI_Init(NULL, NULL) != MPI_SUCCESS) return false;
  if (MPI_Comm_rank(MPI_COMM_WORLD, &r) != MPI_SUCCESS ||
      MPI_Comm_size(MPI_COMM_WORLD, &n) != MPI_SUCCESS)
    return false;
  *rank = (uint32_t)r, *size = (uint32_t)n;
  return true;
}

static bool gather(void *user, float *all, size_t n) {
  (void)user;
  return n <= INT_MAX && MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, all, (int)n, MPI_FLOAT,
                                       MPI_COMM_WORLD) == MPI_SUCCESS;
}

static void stop(void) { MPI_Finalize(); }

__attribute__((visibility("default"))) extern const TeamDriver vlpc_team_driver;
const TeamDriver vlpc_team_driver = {TEAM_VERSION, start, gather, stop};
