/* SPDX-License-Identifier: Apache-2.0 */
/* checkpoint_run.c - the checkpoints of one run: which are kept, which is taken.
**
** The newest is found by looking into the folder and at the files, not by a
** pointer file, which could name one that is not there. */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "base/vec.h"
#include "train/checkpoint.h"

typedef struct {
  uint64_t step;
  const char *name;
} Saved;
typedef VEC(Saved) SavedList;

static int newest_first(const void *a, const void *b) {
  const Saved *x = a, *y = b;
  return (x->step < y->step) - (x->step > y->step);
}

/* "step-00000042.ckpt" to 42; false for any other name. */
static bool step_of(const char *name, uint64_t *out) {
  char digits[20] = "";
  int64_t step;
  size_t n = strlen(name);
  if (n < 11 || n > 29 || strncmp(name, "step-", 5) != 0 || strcmp(name + n - 5, ".ckpt") != 0)
    return false;
  memcpy(digits, name + 5, n - 10);
  if (strspn(digits, "0123456789") != n - 10 || !parse_i64(digits, &step)) return false;
  *out = (uint64_t)step;
  return true;
}

/* What a killed writer leaves beside a checkpoint. */
static bool is_left_over(const char *name) {
  size_t n = strlen(name);
  bool ours = strncmp(name, ".step-", 6) == 0 || strncmp(name, ".best.", 6) == 0;
  return ours && n > 4 && strcmp(name + n - 4, ".tmp") == 0 && strstr(name, ".ckpt.") != NULL;
}

static VlStatus list_saved(const char *folder, bool clean, Arena *a, Diag *d, SavedList *out) {
  DIR *dir = opendir(folder);
  if (dir == NULL) {
    VlStatus st = diag_error(d, DIAG_FOLDER, (DiagAt){folder, NULL}, "the run cannot be read");
    diag_fix(d, "name the folder that vlpc train wrote into");
    return st;
  }
  for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
    Saved s = {0, NULL};
    if (clean && is_left_over(e->d_name)) (void)unlinkat(dirfd(dir), e->d_name, 0);
    if (!step_of(e->d_name, &s.step)) continue;
    s.name = arena_printf(a, "%s/%s", folder, e->d_name);
    *vec_push(a, out) = s;
  }
  closedir(dir);
  if (out->n > 1) qsort(out->at, out->n, sizeof *out->at, newest_first);
  return VLPC_OK;
}

VlStatus run_save(const char *folder, const RunState *c, bool is_best, Arena *a,
                         Diag *d) {
  SavedList saved = {0};
  /* The best first: who resumes from the step before then writes it again. */
  if (is_best) VL_TRY(run_state_write(arena_printf(a, "%s/best.ckpt", folder), c, a, d));
  VL_TRY(run_state_write(arena_printf(a, "%s/step-%08" PRIu64 ".ckpt", folder, c->step), c, a, d));
  VL_TRY(list_saved(folder, true, a, d, &saved));
  /* Steps after this one are of a run that was taken back: they are older. */
  uint32_t kept = 0;
  for (uint32_t i = 0; i < saved.n; i++) {
    bool keep = saved.at[i].step <= c->step && kept < RUN_KEPT;
    kept += keep;
    if (!keep) (void)unlink(saved.at[i].name); /* one too many is no fault */
  }
  return VLPC_OK;
}

static VlStatus none_sound(const char *folder, uint32_t n, const char *first, Diag *d) {
  VlStatus st = diag_error(d, DIAG_RUN_NONE, (DiagAt){folder, NULL},
                           n == 0 ? "there is no checkpoint" : "no checkpoint is sound");
  if (n > 0) diag_found(d, "%" PRIu32 " damaged, first %s", n, first);
  diag_fix(d, "start the run again, into another folder");
  return st;
}

VlStatus run_latest(const char *folder, Arena *a, Diag *d, RunFound *out) {
  SavedList saved = {0};
  *out = (RunFound){0};
  VL_TRY(list_saved(folder, false, a, d, &saved));
  for (uint32_t i = 0; i < saved.n && out->path == NULL; i++) {
    VlStatus st = run_state_read(saved.at[i].name, a, NULL, &out->state);
    if (st == VLPC_E_NOMEM) return st;
    if (st == VLPC_OK) out->path = saved.at[i].name;
  }
  if (out->path == NULL)
    return none_sound(folder, saved.n, saved.n > 0 ? saved.at[0].name : "", d);
  if (out->path != saved.at[0].name)
    out->warning = arena_printf(a, "%s is damaged; %s is used instead", saved.at[0].name,
                                out->path);
  return VLPC_OK;
}
