/* SPDX-License-Identifier: Apache-2.0 */
/* team.c - opens the library that MPI needs, and lets processes agree. */
#include "cli/team.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "cli/progress.h"

/* ---- start ----------------------------------------------------------------- */

/* Processes as Open MPI's launcher says, or one with a PMI (MPICH, Intel MPI). */
static int64_t launched(void) {
  static const char *const name[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"};
  int64_t n = 1;
  for (size_t i = 0; i < VL_COUNT(name); i++) {
    const char *value = getenv(name[i]);
    if (value != NULL && parse_i64(value, &n)) return n;
  }
  return 1;
}

static VlStatus missing(Cli *c, const char *reason) {
  VlStatus s = diag_error(c->diag, DIAG_TEAM, (DiagAt){TEAM_LIBRARY, NULL},
                          "processes that were started together need MPI");
  diag_found(c->diag, "%s", reason);
  diag_fix(c->diag, "build vlpc where Open MPI is (libopenmpi-dev), or start it without mpirun");
  return s;
}

/* Its symbols are for all: MPI opens libraries of its own that want them. */
static VlStatus open_driver(Cli *c, const TeamDriver **out) {
  void *library = dlopen(TEAM_LIBRARY, RTLD_NOW | RTLD_GLOBAL | RTLD_NODELETE);
  if (library == NULL) return missing(c, dlerror());
  const TeamDriver *d = dlsym(library, TEAM_DRIVER);
  if (d == NULL || d->version != TEAM_VERSION) return missing(c, "that of another vlpc");
  *out = d;
  return VLPC_OK;
}

VlStatus team_start(Cli *c, Team *out) {
  *out = (Team){.size = 1};
  if (launched() > 1) {
    VL_TRY(open_driver(c, &out->driver));
    if (!out->driver->start(&out->rank, &out->size)) return missing(c, "it could not be started");
    c->end = out->driver->stop;
  }
  if (out->rank > 0) c->value[OPT_quiet] = "", progress_start(true);
  out->word = arena_array(c->arena, float, 2 * (uint64_t)out->size);
  return VLPC_OK;
}

/* ---- agreement ------------------------------------------------------------- */

/* Who tells: the first that failed, rather by itself than because another is gone. */
static uint32_t speaker(const Team *t) {
  uint32_t first = t->size;
  for (uint32_t i = t->size; i-- > 0;)
    if (t->word[2 * i] != VLPC_OK && t->word[2 * i] != VLPC_E_DEVICE_LOST) first = i;
  for (uint32_t i = t->size; first == t->size && i-- > 0;)
    if (t->word[2 * i] != VLPC_OK) first = i;
  return first;
}

VlStatus team_gather(const Team *t, Cli *c, float *all, size_t n) {
  if (t->driver == NULL || t->driver->gather(NULL, all, n)) return VLPC_OK;
  return missing(c, "a process is gone");
}

VlStatus team_agree(const Team *t, Cli *c, VlStatus mine, bool *stop) {
  if (t->driver == NULL) {
    if (stop != NULL) *stop |= progress_signal() != 0;
    return mine;
  }
  t->word[2 * t->rank] = (float)mine;
  t->word[2 * t->rank + 1] = progress_signal() != 0;
  if (!t->driver->gather(NULL, t->word, 2))
    return mine != VLPC_OK ? mine : missing(c, "a process is gone");
  for (uint32_t i = 0; stop != NULL && i < t->size; i++) *stop |= t->word[2 * i + 1] != 0;
  uint32_t who = speaker(t);
  if (who == t->size) return VLPC_OK;
  c->mute = who != t->rank;
  return (VlStatus)t->word[2 * who];
}

VlStatus team_same(const Team *t, Cli *c, Hash128 mine, const char *what) {
  enum { WORDS = sizeof mine.at };
  float *all = arena_array(c->arena, float, (uint64_t)t->size * WORDS);
  bool same = true;
  for (uint32_t k = 0; k < WORDS; k++) all[t->rank * WORDS + k] = mine.at[k];
  VL_TRY(team_gather(t, c, all, WORDS));
  for (uint32_t i = 0; i < t->size; i++)
    same = same && memcmp(all, all + i * WORDS, WORDS * sizeof *all) == 0;
  if (same) return VLPC_OK;
  c->mute = t->rank > 0;
  VlStatus s = diag_error(c->diag, DIAG_TEAM, DIAG_NOWHERE, "the processes have other %s", what);
  diag_fix(c->diag, "have all of them see the same files, which nobody changes meanwhile");
  return s;
}

vlpc_team team_to_train(const Team *t) {
  vlpc_team team = {.struct_size = sizeof team, .rank = t->rank, .size = t->size};
  if (t->driver != NULL) team.gather = t->driver->gather;
  return team;
}
