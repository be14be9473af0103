/* SPDX-License-Identifier: Apache-2.0 */
/* trainer_save.c - the state of a run as a checkpoint and back, and its result. */
#include <string.h>

#include "train/trainer_int.h"

/* Moments and averages are called kind:NAME. */
enum { ARRAYS = 3 };
static const char *const array_kind[ARRAYS] = {"moment1", "moment2", "average"};

static float *array_of(const vlpc_trainer *t, uint32_t param, int kind) {
  const OptimParam *p = &t->optim->param[param];
  float *at[ARRAYS] = {p->moment1, p->moment2, t->average ? t->average[param] : NULL};
  return at[kind];
}

/* ---- out ------------------------------------------------------------------- */

static RunState state_of(vlpc_trainer *t) {
  Arena *a = t->arena;
  uint32_t n = t->optim->n_params;
  RunArray *value = arena_array(a, RunArray, n), *more = arena_array(a, RunArray, n * ARRAYS);
  uint64_t *steps = arena_array(a, uint64_t, n);
  RunState s = {.prompts = {value, n}, .optim = {more, 0}, .steps = steps,
                .seed = (uint64_t)t->config.seed, .epoch = t->epoch, .batch = t->batch,
                .step = t->done, .best = t->best, .config = t->config_text,
                .model = t->model_hash, .data = t->data_hash};
  for (uint32_t i = 0; i < n; i++) {
    const OptimParam *p = &t->optim->param[i];
    value[i] = (RunArray){p->name, p->n, p->value};
    steps[i] = p->steps;
    for (int k = 0; k < ARRAYS; k++) {
      const float *x = array_of(t, i, k);
      if (x) more[s.optim.n++] =
          (RunArray){arena_printf(a, "%s:%s", array_kind[k], p->name), p->n, x};
    }
  }
  return s;
}

VlStatus trainer_save(vlpc_trainer *t, bool is_best) {
  Arena *a = arena_new(0), *own = t->arena;
  if (!a) return diag_error(t->diag, DIAG_NOMEM, DIAG_NOWHERE, "no memory for a checkpoint");
  if (ARENA_GUARD(a)) {
    t->arena = own;
    arena_free(a);
    return diag_error(t->diag, DIAG_NOMEM, DIAG_NOWHERE, "no memory for a checkpoint");
  }
  t->arena = a; /* what is made for this save goes with it */
  RunState s = state_of(t);
  t->arena = own;
  VlStatus st = run_save(t->o.run, &s, is_best, a, t->diag);
  arena_free(a);
  return st;
}

/* ---- back ------------------------------------------------------------------ */

static VlStatus other(const vlpc_trainer *t, const char *path, const char *what) {
  VlStatus s = diag_error(t->diag, DIAG_RUN_OTHER, (DiagAt){path, NULL}, "%s", what);
  diag_fix(t->diag, "resume with what the run was begun with, or begin another");
  return s;
}

static const RunArray *find(const RunArrays *x, const char *name, uint64_t n) {
  for (uint32_t i = 0; i < x->n; i++)
    if (strcmp(x->at[i].name, name) == 0) return x->at[i].n == n ? &x->at[i] : NULL;
  return NULL;
}

static void copy(float *to, const RunArray *from) {
  if (from->n) memcpy(to, from->data, (size_t)from->n * sizeof *to);
}

static VlStatus other_photos(const vlpc_trainer *t, const char *path) {
  uint32_t n = 0;
  if (!t->o.data) return other(t, path, "the run is of other classes");
  VlStatus s = diag_error(t->diag, DIAG_RUN_OTHER, (DiagAt){path, NULL},
                          "the run is of other photos");
  for (int i = 0; i < SPLIT__COUNT; i++) n += t->data.split[i].n;
  diag_found(t->diag, "%u photos of %u classes", n, t->data.n_classes);
  diag_expected(t->diag, "those it was begun with: classes, names below the folder, bytes of each");
  diag_fix(t->diag, "name the folder that has them now, or begin another run");
  return s;
}

/* All arrays are there before one is changed. */
static bool has_all(vlpc_trainer *t, const RunState *s) {
  bool all = s->prompts.n == t->optim->n_params;
  for (uint32_t i = 0; all && i < t->optim->n_params; i++) {
    const OptimParam *p = &t->optim->param[i];
    all = find(&s->prompts, p->name, p->n) != NULL;
    for (int k = 0; all && k < ARRAYS; k++)
      all = !array_of(t, i, k) ||
            find(&s->optim, arena_printf(t->arena, "%s:%s", array_kind[k], p->name), p->n);
  }
  return all;
}

static void take_values(vlpc_trainer *t, const RunState *s) {
  for (uint32_t i = 0; i < t->optim->n_params; i++) {
    OptimParam *p = &t->optim->param[i];
    copy(p->value, find(&s->prompts, p->name, p->n));
    for (int k = 0; k < ARRAYS; k++) {
      float *x = array_of(t, i, k);
      if (x) copy(x, find(&s->optim, arena_printf(t->arena, "%s:%s", array_kind[k], p->name),
                          p->n));
    }
    for (uint32_t k = 0; k < s->prompts.n; k++)
      if (strcmp(s->prompts.at[k].name, p->name) == 0) p->steps = s->steps[k];
  }
}

static VlStatus check_state(vlpc_trainer *t, const char *path, const RunState *s) {
  if (strcmp(s->model, t->model_hash) != 0) return other(t, path, "the run is of another artifact");
  if (strcmp(s->data, t->data_hash) != 0) return other_photos(t, path);
  if (strcmp(s->config, t->config_text) != 0)
    return other(t, path, "the run is of another configuration");
  bool inside = s->epoch < (uint32_t)t->config.epochs ? s->batch < t->batches
                                                      : s->epoch == (uint32_t)t->config.epochs;
  if (inside && has_all(t, s)) return VLPC_OK;
  return other(t, path, "the checkpoint has not the place or the values of this run");
}

VlStatus trainer_resume(vlpc_trainer *t) {
  RunFound found;
  VL_TRY(run_latest(t->o.run, t->arena, t->diag, &found));
  VL_TRY(check_state(t, found.path, &found.state));
  take_values(t, &found.state);
  t->epoch = found.state.epoch;
  t->batch = found.state.batch;
  t->done = found.state.step;
  t->best = found.state.best;
  t->warning = found.warning;
  return VLPC_OK;
}

VlStatus trainer_rewind(vlpc_trainer *t) {
  RunFound found;
  if (!t->o.run || run_latest(t->o.run, t->arena, NULL, &found) != VLPC_OK) return VLPC_OK;
  VL_TRY(check_state(t, found.path, &found.state));
  take_values(t, &found.state);
  return VLPC_OK;
}

/* ---- the result ------------------------------------------------------------ */

/* At the end, averages stand in for values. */
VlStatus trainer_prompts(vlpc_trainer *t, vlpc_prompts **out) {
  bool averaged = t->average && t->epoch == (uint32_t)t->config.epochs;
  for (uint32_t i = 0; i < t->n_tensors; i++) t->value_at[i] = t->tensor[i].value.data;
  for (uint32_t i = 0; averaged && i < t->optim->n_params; i++)
    t->value_at[t->learned[i]] = t->average[i];
  VlStatus s = vlpc_prompts_copy(t->start, t->value_at, out);
  if (s == VLPC_OK) return s;
  return diag_error(t->diag, DIAG_NOMEM, DIAG_NOWHERE, "no memory for a prompt set");
}

VlStatus trainer_finish(vlpc_trainer *t) {
  vlpc_prompts *p = NULL;
  const char *path = arena_printf(t->arena, "%s/prompts.safetensors", t->o.run);
  VL_TRY(trainer_save(t, false));
  VL_TRY(trainer_prompts(t, &p));
  VlStatus s = vlpc_prompts_write(p, path);
  if (s != VLPC_OK) {
    VL_IGNORE(diag_error(t->diag, DIAG_WRITE, (DiagAt){path, NULL}, "cannot be written"));
    diag_note(t->diag, "%s", vlpc_prompts_error(p));
  }
  vlpc_prompts_close(p);
  return s;
}
