/* SPDX-License-Identifier: Apache-2.0 */
/* trainer.c - the functions of vlpc_train.h: they check arguments and pass on. */
#include <stdlib.h>
#include <string.h>

#include "base/options.h"
#include "train/trainer_int.h"

/* ---- life ------------------------------------------------------------------ */

static const char *text(Arena *a, const char *s) { return s ? arena_strdup(a, s) : NULL; }

/* With a NULL behind them. */
static const char *const *texts(Arena *a, const char *const *at, uint32_t n) {
  const char **copy = arena_array(a, const char *, (uint64_t)n + 1);
  for (uint32_t i = 0; i < n; i++) copy[i] = text(a, at[i]);
  return copy;
}

/* The caller's texts may go after the call. */
static void keep_options(vlpc_trainer *t) {
  vlpc_trainer_options *o = &t->o;
  uint32_t n = 0;
  o->recipe = text(t->arena, o->recipe), o->config = text(t->arena, o->config);
  o->data = text(t->arena, o->data), o->data_root = text(t->arena, o->data_root);
  o->start = text(t->arena, o->start), o->run = text(t->arena, o->run);
  o->cache_dir = text(t->arena, o->cache_dir);
  while (o->set && o->set[n]) n++;
  o->set = texts(t->arena, o->set, n);
  if (!o->classes) o->n_classes = 0;
  o->classes = texts(t->arena, o->classes, o->n_classes);
}

static bool keep_team(vlpc_trainer *t) {
  t->team = (vlpc_team){.size = 1};
  if (!t->o.team) return true;
  return options_copy(&t->team, sizeof t->team, t->o.team) && t->team.rank < t->team.size &&
         t->team.gather;
}

static VlStatus no_memory(vlpc_trainer *t) {
  return diag_error(t->diag, DIAG_NOMEM, DIAG_NOWHERE, "memory is out");
}

static VlStatus make(vlpc_trainer *t, const vlpc_trainer_options *options) {
  if (!options_copy(&t->o, sizeof t->o, options) || !t->artifact)
    return diag_error(t->diag, DIAG_ARGUMENT, DIAG_NOWHERE,
                      "the artifact is NULL, or options.struct_size is not a known one");
  if (ARENA_GUARD(t->arena)) return no_memory(t);
  if (!keep_team(t))
    return diag_error(t->diag, DIAG_ARGUMENT, DIAG_NOWHERE,
                      "options.team has a wrong struct_size, rank or size, or no gather");
  keep_options(t);
  VlStatus s = trainer_make(t);
  t->o.session = NULL; /* the caller's */
  return s;
}

vlpc_status vlpc_trainer_new(vlpc_artifact *a, const vlpc_trainer_options *options,
                             vlpc_trainer **out) {
  if (!out) return VLPC_E_INVALID_ARG;
  vlpc_trainer *t = *out = calloc(1, sizeof *t);
  if (t) t->arena = arena_new(0), t->diag = diag_new(), t->artifact = a;
  if (!t || !t->arena || !t->diag) {
    vlpc_trainer_free(t);
    *out = NULL;
    return VLPC_E_NOMEM;
  }
  VlStatus s = make(t, options);
  t->sound = s == VLPC_OK;
  return s;
}

void vlpc_trainer_free(vlpc_trainer *t) {
  if (!t) return;
  trainer_drop(t);
  arena_free(t->arena);
  diag_free(t->diag);
  free(t);
}

/* What the session says when the trainer itself says nothing. */
const char *vlpc_trainer_error(const vlpc_trainer *t) {
  if (!t) return "";
  return diag_count(t->diag) || !t->session ? diag_text(t->diag) : vlpc_session_error(t->session);
}

const char *vlpc_trainer_error_json(const vlpc_trainer *t) {
  if (!t) return "[]";
  return diag_count(t->diag) || !t->session ? diag_json(t->diag)
                                            : vlpc_session_error_json(t->session);
}

/* A call on a sound trainer begins without errors. */
static bool enter(vlpc_trainer *t) {
  if (!t || !t->sound) return false;
  diag_clear(t->diag);
  return true;
}

/* ---- what it is ------------------------------------------------------------ */

bool vlpc_trainer_get_info(const vlpc_trainer *t, vlpc_trainer_info *out) {
  if (!t || !t->sound) return false;
  vlpc_trainer_info info = {.config = t->config_text,
                            .steps = (uint64_t)t->batches * (uint64_t)t->config.epochs,
                            .step = t->done, .epochs = (uint32_t)t->config.epochs,
                            .batch = (uint32_t)t->config.batch,
                            .photos = t->data.split[SPLIT_train].n, .n_classes = t->data.n_classes,
                            .n_trainables = t->n_tensors, .warning = t->warning};
  for (uint32_t i = 0; i < TRAIN_LOSSES; i++)
    if (t->step[i]) step_count(t->step[i], &info.features_found, &info.features_made);
  features_count(t->scored, &info.features_found, &info.features_made);
  return options_out(out, &info, sizeof info);
}

const char *vlpc_trainer_class(const vlpc_trainer *t, uint32_t i) {
  return t && t->sound && i < t->data.n_classes ? t->data.classes[i] : NULL;
}

bool vlpc_trainer_tensor(const vlpc_trainer *t, uint32_t i, const char **name,
                         vlpc_tensor *value, vlpc_tensor *grad) {
  if (!t || !t->sound || i >= t->n_tensors) return false;
  const StepTensor *x = &t->tensor[i];
  if (name) *name = x->name;
  if (value) *value = x->value;
  if (grad) *grad = x->value, grad->data = x->grad;
  return true;
}

/* ---- what it does ---------------------------------------------------------- */

typedef VlStatus TrainerFn(vlpc_trainer *t, void *out);

/* fn while the photos are given. */
static VlStatus with_photos(vlpc_trainer *t, const vlpc_photos *photos, TrainerFn *fn, void *out) {
  if (ARENA_GUARD(t->arena)) {
    trainer_drop(t);
    return no_memory(t);
  }
  VlStatus s = trainer_take(t, photos);
  if (s == VLPC_OK) s = fn(t, out);
  trainer_drop(t);
  return s;
}

static VlStatus give_step(vlpc_trainer *t, const vlpc_train_step *did, vlpc_train_step *out) {
  if (!out || options_out(out, did, sizeof *did)) return VLPC_OK;
  return diag_error(t->diag, DIAG_ARGUMENT, DIAG_NOWHERE, "out->struct_size is not set");
}

/* Whether a step is to be given photos is the trainer's. */
static VlStatus check_call(const vlpc_trainer *t, bool given) {
  if (given == !t->o.data) return VLPC_OK;
  VlStatus s = diag_error(t->diag, DIAG_ARGUMENT, DIAG_NOWHERE,
                          given ? "the trainer has photos of its own: options.data"
                                : "the trainer has no photos of its own: options.data is NULL");
  diag_fix(t->diag, given ? "call vlpc_trainer_step" : "call vlpc_trainer_step_on");
  return s;
}

vlpc_status vlpc_trainer_step(vlpc_trainer *t, vlpc_train_step *out) {
  vlpc_train_step did;
  if (!enter(t)) return VLPC_E_INVALID_ARG;
  VL_TRY(check_call(t, false));
  if (ARENA_GUARD(t->arena)) return no_memory(t);
  VL_TRY(trainer_step(t, &did));
  return give_step(t, &did, out);
}

static VlStatus step_given(vlpc_trainer *t, void *out) {
  uint32_t n = t->given.split[SPLIT_train].n;
  if (n <= (uint64_t)t->config.batch) return trainer_step(t, out);
  VlStatus s = diag_error(t->diag, DIAG_ARGUMENT, DIAG_NOWHERE, "a step takes one batch of photos");
  diag_found(t->diag, "%u photos", n);
  diag_expected(t->diag, "at most %lld", (long long)t->config.batch);
  diag_fix(t->diag, "give fewer, or set batch");
  return s;
}

vlpc_status vlpc_trainer_step_on(vlpc_trainer *t, const vlpc_photos *photos,
                                 vlpc_train_step *out) {
  vlpc_train_step did;
  if (!enter(t)) return VLPC_E_INVALID_ARG;
  VL_TRY(check_call(t, true));
  VL_TRY(with_photos(t, photos, step_given, &did));
  return give_step(t, &did, out);
}

vlpc_status vlpc_trainer_plan(vlpc_trainer *t, uint32_t loss, uint32_t i, vlpc_plan *out) {
  vlpc_plan plan;
  if (!enter(t)) return VLPC_E_INVALID_ARG;
  if (ARENA_GUARD(t->arena)) return no_memory(t);
  VL_TRY(trainer_plan(t, loss, i, &plan));
  if (options_out(out, &plan, sizeof plan)) return VLPC_OK;
  return diag_error(t->diag, DIAG_ARGUMENT, DIAG_NOWHERE, "out is NULL or has no struct_size");
}

uint32_t vlpc_trainer_split(const vlpc_trainer *t, vlpc_split split) {
  return t && t->sound && (uint32_t)split < SPLIT__COUNT ? t->data.split[split].n : 0;
}

static VlStatus give_scores(vlpc_trainer *t, const Scores *x, vlpc_train_scores *out) {
  vlpc_train_scores scores = {.n = x->n, .top1 = x->top1, .top5 = x->top5,
                              .macro_f1 = x->macro_f1, .ece = x->ece, .loss = x->loss};
  if (options_out(out, &scores, sizeof scores)) return VLPC_OK;
  return diag_error(t->diag, DIAG_ARGUMENT, DIAG_NOWHERE, "out is NULL or has no struct_size");
}

vlpc_status vlpc_trainer_evaluate(vlpc_trainer *t, vlpc_split split, vlpc_train_scores *out) {
  Scores x;
  if (!enter(t)) return VLPC_E_INVALID_ARG;
  if ((uint32_t)split >= SPLIT__COUNT)
    return diag_error(t->diag, DIAG_ARGUMENT, DIAG_NOWHERE, "there is no such split");
  if (ARENA_GUARD(t->arena)) return no_memory(t);
  VL_TRY(trainer_evaluate(t, &t->data, (SplitId)split, VLPC_OK, &x));
  return give_scores(t, &x, out);
}

static VlStatus evaluate_given(vlpc_trainer *t, void *out) {
  return trainer_evaluate(t, &t->given, SPLIT_train, VLPC_OK, out);
}

vlpc_status vlpc_trainer_evaluate_on(vlpc_trainer *t, const vlpc_photos *photos,
                                     vlpc_train_scores *out) {
  Scores x;
  if (!enter(t)) return VLPC_E_INVALID_ARG;
  VL_TRY(with_photos(t, photos, evaluate_given, &x));
  return give_scores(t, &x, out);
}

vlpc_status vlpc_trainer_prompts(vlpc_trainer *t, vlpc_prompts **out) {
  if (!enter(t) || !out) return VLPC_E_INVALID_ARG;
  if (ARENA_GUARD(t->arena)) return no_memory(t);
  return trainer_prompts(t, out);
}

static VlStatus need_folder(const vlpc_trainer *t) {
  if (t->o.run) return VLPC_OK;
  return diag_error(t->diag, DIAG_ARGUMENT, DIAG_NOWHERE, "the trainer has no folder: options.run");
}

vlpc_status vlpc_trainer_save(vlpc_trainer *t) {
  if (!enter(t)) return VLPC_E_INVALID_ARG;
  VL_TRY(need_folder(t));
  if (ARENA_GUARD(t->arena)) return no_memory(t);
  return trainer_leads(t) ? trainer_save(t, false) : VLPC_OK;
}

vlpc_status vlpc_trainer_finish(vlpc_trainer *t) {
  if (!enter(t)) return VLPC_E_INVALID_ARG;
  VL_TRY(need_folder(t));
  if (ARENA_GUARD(t->arena)) return no_memory(t);
  return trainer_leads(t) ? trainer_finish(t) : VLPC_OK;
}
