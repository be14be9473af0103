/* SPDX-License-Identifier: Apache-2.0 */
/* trainer_int.h - a run of training, shared by trainer_new.c (what it is made of),
** trainer_photos.c (photos of a call), trainer_run.c (steps), trainer_evaluate.c,
** trainer_save.c (checkpoints, result) and trainer.c (the outward calls). */
#ifndef VLPC_TRAIN_TRAINER_INT_H
#define VLPC_TRAIN_TRAINER_INT_H

#include "train/checkpoint.h"
#include "train/config.h"
#include "train/evaluate.h"
#include "train/loader.h"
#include "train/metrics.h"
#include "train/step.h"
#include "vlpc/vlpc_train.h"

struct vlpc_trainer {
  Arena *arena;
  Diag *diag;
  bool sound; /* made without an error */
  vlpc_trainer_options o; /* its texts are copied */
  vlpc_artifact *artifact; /* the caller's */
  vlpc_team team; /* size 1: this process alone */
  vlpc_session *session;
  vlpc_prompts *start;
  Config config;
  const char *config_text;
  Dataset data; /* sampled; without options.data: classes alone */
  Dataset given; /* its classes, and the photos of a call while it lasts */
  Arena *call;   /* where those are; NULL: there are none */
  const Dataset *source; /* of steps: one of these */
  char data_hash[33], model_hash[33];
  const char *template_text; /* NULL: the module's own */
  ThreadPool *pool;
  Augment augment;
  Loader *loader;
  StepTensor *tensor; /* of the set, in its order */
  uint32_t n_tensors;
  const void **value_at; /* room for where their values lie (trainer_prompts) */
  uint32_t *learned;  /* by parameter of the optimiser: its tensor */
  float **average;    /* by parameter; NULL: no averaging */
  double *weight;     /* of each epoch's values in it */
  Optim *optim;
  Step *step[TRAIN_LOSSES]; /* of the second loss: NULL where it is not needed */
  Step *begun; /* that of them which ran last */
  MetricsLog *log; /* NULL: nothing is written */
  uint32_t epoch, batch, batches; /* the next batch, and how many an epoch has */
  uint32_t *order;                /* of the photos in this epoch */
  bool ordered;
  uint32_t *label; /* [batch] */
  uint64_t done;
  double best;
  const char *warning;
  float *features[SPLIT__COUNT]; /* of a split's images, kept where prompts do not matter */
  bool has_features[SPLIT__COUNT];
  FeaturesSpec kept;  /* where features stay between runs, and what makes them */
  Features *scored;   /* those of evaluations; NULL: not kept, or not asked for yet */
};

/* It writes the run's folder. */
static inline bool trainer_leads(const vlpc_trainer *t) { return t->o.run && t->team.rank == 0; }

/* trainer_new.c: fills a trainer with its arena, diag and options. */
VL_MUST_USE VlStatus trainer_make(vlpc_trainer *t);

/* trainer_photos.c: given gets photos of a call, checked; trainer_drop follows always. */
VL_MUST_USE VlStatus trainer_take(vlpc_trainer *t, const vlpc_photos *photos);
void trainer_drop(vlpc_trainer *t);

/* trainer_run.c: on a batch of the source. */
VL_MUST_USE VlStatus trainer_step(vlpc_trainer *t, vlpc_train_step *out);
/* Way i of the step of a loss; out->name is NULL past the last, and of a loss not had. */
VL_MUST_USE VlStatus trainer_plan(vlpc_trainer *t, uint32_t loss, uint32_t i, vlpc_plan *out);

/* trainer_evaluate.c: figures alone, no tables; data: the trainer's or those given; ready: as
** EvaluateSpec's. */
VL_MUST_USE VlStatus trainer_evaluate(vlpc_trainer *t, const Dataset *data, SplitId split,
                                      VlStatus ready, Scores *out);

/* trainer_save.c */
VL_MUST_USE VlStatus trainer_save(vlpc_trainer *t, bool is_best);
/* Takes up the newest sound checkpoint of the run's folder. */
VL_MUST_USE VlStatus trainer_resume(vlpc_trainer *t);
/* Values of the last save, the place in the run stays. */
VL_MUST_USE VlStatus trainer_rewind(vlpc_trainer *t);
VL_MUST_USE VlStatus trainer_prompts(vlpc_trainer *t, vlpc_prompts **out);
VL_MUST_USE VlStatus trainer_finish(vlpc_trainer *t);

#endif
