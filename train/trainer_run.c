/* SPDX-License-Identifier: Apache-2.0 */
/* trainer_run.c - one step after the other, and what is due between them. */
#include <math.h>
#include <string.h>
#include <time.h>

#include "train/trainer_int.h"

/* ---- results that are no numbers ------------------------------------------- */

static bool all_finite(const float *x, uint64_t n) {
  bool ok = true;
  for (uint64_t i = 0; i < n && ok; i++) ok = isfinite(x[i]) != 0;
  return ok;
}

/* NULL, "loss", or the first trainable whose gradient is not finite. */
static const char *not_finite(const vlpc_trainer *t, float loss) {
  if (!isfinite(loss)) return "the loss";
  for (uint32_t i = 0; i < t->n_tensors; i++) {
    const StepTensor *x = &t->tensor[i];
    if (x->grad && !all_finite(x->grad, x->n))
      return arena_printf(t->arena, "the gradient of '%s'", x->name);
  }
  return NULL;
}

static VlStatus tell_not_finite(const vlpc_trainer *t, const char *what, const StepBatch *b) {
  VlStatus s = diag_error(t->diag, DIAG_LOSS_NUMBER, (DiagAt){t->o.run, NULL},
                          "%s is not finite in step %llu", what, (unsigned long long)t->done + 1);
  Str photos = {.arena = t->arena};
  for (uint32_t i = 0; i < b->n && i < 8; i++)
    str_printf(&photos, "%s%s", i ? ", " : "", t->source->split[SPLIT_train].at[b->photo[i]].path);
  diag_found(t->diag, "epoch %u, photos %s%s", b->epoch, str_text(&photos), b->n > 8 ? ", …" : "");
  diag_note(t->diag, "the values of the step before are kept");
  diag_fix(t->diag, "lower lr, or set on_nonfinite to skip or rewind");
  return s;
}

/* ---- a batch --------------------------------------------------------------- */

static StepBatch next_batch(vlpc_trainer *t) {
  uint32_t size = (uint32_t)t->config.batch, from = t->batch * size;
  const ItemList *photos = &t->source->split[SPLIT_train];
  if (!t->ordered) loader_order(t->loader, t->epoch, t->order);
  t->ordered = t->source == &t->data; /* photos given may be given anew */
  uint32_t n = VL_MIN(size, photos->n - from);
  for (uint32_t i = 0; i < n; i++) t->label[i] = photos->at[t->order[from + i]].label;
  return (StepBatch){t->epoch, t->order + from, t->label, n};
}

static VlStatus begin(vlpc_trainer *t, Step *now) {
  if (now == t->begun) return VLPC_OK;
  t->begun = now;
  return step_begin(now);
}

/* The step of the loss that this epoch has. */
static Step *step_of_epoch(const vlpc_trainer *t) {
  return t->step[t->step[1] ? schedule_stage((uint32_t)t->config.stage_epochs, t->epoch) : 0];
}

VlStatus trainer_plan(vlpc_trainer *t, uint32_t loss, uint32_t i, vlpc_plan *out) {
  Step *s = loss < TRAIN_LOSSES ? t->step[loss] : NULL;
  *out = (vlpc_plan){.name = NULL};
  if (!s) return VLPC_OK;
  VL_TRY(begin(t, s));
  return step_plan(s, i, out);
}

static void learn(vlpc_trainer *t, uint32_t epoch) {
  for (uint32_t i = 0; i < t->optim->n_params; i++)
    t->optim->param[i].grad = t->tensor[t->learned[i]].grad;
  optim_step(t->optim, epoch);
}

/* The place behind this batch. */
static void advance(vlpc_trainer *t) {
  t->done++;
  if (++t->batch < t->batches) return;
  for (uint32_t i = 0; t->average && i < t->optim->n_params; i++) {
    const OptimParam *p = &t->optim->param[i];
    gpa_add(t->average[i], p->value, p->n, t->weight[t->epoch], t->epoch == 0);
  }
  step_keep(t->begun);
  t->batch = 0;
  t->epoch++;
  t->ordered = false;
}

/* Seconds since 1970: for people, results do not depend on it. */
static double wall(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static VlStatus write_metrics(vlpc_trainer *t, const vlpc_train_step *x, const Metric m[2]) {
  MetricsLine line = {x->step, x->epoch, wall(), m, 2};
  return t->log ? metrics_add(t->log, &line, t->diag) : VLPC_OK;
}

static bool is_mode(const vlpc_trainer *t, const char *mode) {
  return strcmp(t->config.on_nonfinite, mode) == 0;
}

/* Scores that are not finite: the run stops, or the epoch has no figures. */
static VlStatus no_scores(vlpc_trainer *t) {
  if (is_mode(t, "stop")) {
    diag_fix(t->diag, "lower lr, or set on_nonfinite to skip or rewind");
    return VLPC_E_NUMERIC;
  }
  diag_clear(t->diag);
  return is_mode(t, "rewind") ? trainer_rewind(t) : VLPC_OK;
}

/* After the last step of an epoch, where there are photos to validate on: their line among
** the metrics, and whether it is the best so far.  ready: whether this process goes on. */
static VlStatus validate(vlpc_trainer *t, vlpc_train_step *x, VlStatus ready, bool *is_best) {
  uint32_t every = (uint32_t)t->config.eval_epochs;
  Scores s;
  if (!x->epoch_done || !every || t->epoch % every != 0 || t->data.split[SPLIT_val].n == 0)
    return ready;
  VlStatus st = trainer_evaluate(t, &t->data, SPLIT_val, ready, &s);
  if (st == VLPC_E_NUMERIC) return no_scores(t);
  VL_TRY(st);
  *is_best = !(s.top1 <= t->best); /* NaN: the first */
  if (*is_best) t->best = s.top1;
  x->val_top1 = s.top1;
  return write_metrics(t, x, (Metric[]){{"val/top1", s.top1}, {"val/loss", s.loss}});
}

static bool save_is_due(const vlpc_trainer *t) {
  uint64_t every = (uint64_t)t->config.save_steps;
  return every ? t->done % every == 0 : t->batch == 0;
}

VlStatus trainer_step(vlpc_trainer *t, vlpc_train_step *out) {
  float loss = 0;
  if (t->epoch == (uint32_t)t->config.epochs) {
    *out = (vlpc_train_step){.step = t->done, .epoch = t->epoch, .done = true,
                             .val_top1 = NAN};
    return VLPC_OK;
  }
  StepBatch b = next_batch(t);
  VL_TRY(begin(t, step_of_epoch(t)));
  VL_TRY(step_run(t->begun, &b, t->diag, &loss));
  *out = (vlpc_train_step){.step = t->done + 1, .epoch = t->epoch, .n = b.n,
                           .loss = (double)loss, .lr = optim_lr(t->optim, 0, t->epoch),
                           .val_top1 = NAN};
  const char *bad = not_finite(t, loss);
  if (bad && is_mode(t, "stop")) return tell_not_finite(t, bad, &b);
  if (bad && is_mode(t, "rewind")) VL_TRY(trainer_rewind(t));
  if (!bad) learn(t, t->epoch);
  advance(t);
  out->epoch_done = t->batch == 0;
  VlStatus written =
      write_metrics(t, out, (Metric[]){{"train/loss", out->loss}, {"train/lr", out->lr}});
  bool is_best = false;
  VL_TRY(validate(t, out, written, &is_best));
  if (!trainer_leads(t) || !(is_best || save_is_due(t))) return VLPC_OK;
  return trainer_save(t, is_best);
}
