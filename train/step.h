/* SPDX-License-Identifier: Apache-2.0 */
/* step.h - loss and gradients of a batch, by the entries of an artifact that was
** compiled with --train.
**
** What does not change is computed once: features of texts that nothing is learned of, and
** features of photos, which are kept (step_photos.c) where the entry `train_step` takes
** them.  Texts that follow an image (CoCoOp) go image by image.  A batch may be cut into
** shards, which several processes share (parts.h).  The results are the mean over
** photos, summed in the order of the batch.  A loss that takes over from the first has
** entries of its own, and so a step. */
#ifndef VLPC_TRAIN_STEP_H
#define VLPC_TRAIN_STEP_H

#include "base/train_entries.h"
#include "train/features.h"
#include "train/loader.h"
#include "vlpc/vlpc_train.h"

/* A tensor that is bound to inputs of its name. */
typedef struct {
  const char *name;
  vlpc_tensor value; /* f32 */
  float *grad;       /* of the last step; NULL: it is not learned, or nothing reaches it */
  uint64_t n;
} StepTensor;

typedef struct {
  const vlpc_artifact *artifact;
  vlpc_session *session; /* its labels are the classes */
  Loader *loader;
  uint32_t batch;
  uint32_t views; /* of each photo that are kept: view v is that of epochs v, v + views …;
                     0: each epoch has its own, and none is kept */
  /* Where views are kept between runs, and what makes them but the entries; its width is
  ** not looked at. */
  FeaturesSpec kept;
  const char *const *plain; /* templates of texts without learned rows (vlpc_label_inputs) */
  uint32_t n_plain;
  StepTensor *tensor; /* gets its grad */
  uint32_t n_tensors;
  uint32_t shards;       /* of a batch; a multiple of the team's processes */
  const vlpc_team *team; /* NULL: this process alone */
  uint32_t stage; /* of train_entries: 0 the first loss, 1 the one that takes over */
} StepSpec;

typedef struct {
  uint32_t epoch;
  const uint32_t *photo; /* numbers in the loader's split */
  const uint32_t *label;
  uint32_t n;
} StepBatch;

typedef struct Step Step;

/* What spec points to must outlive the step, which is on the arena.  Fails with
** TRAIN_MODULE and as the session does, whose message is copied. */
VL_MUST_USE VlStatus step_new(const StepSpec *spec, Arena *a, Diag *d, Step **out);
/* The artifact has entries for the stage. */
bool step_is_there(const vlpc_artifact *a, uint32_t stage);
/* The stage's loss reaches tensor i. */
bool step_reaches(const Step *s, uint32_t i);
/* Gives the entry the labels' texts, which the session keeps for one entry at a time: before
** the first run, and when another step has run since. */
VL_MUST_USE VlStatus step_begin(const Step *s);
/* The i-th way to run a whole batch, as vlpc_session_plan tells it, with room for the
** features of its photos; begun before.  Nothing runs. */
VL_MUST_USE VlStatus step_plan(const Step *s, uint32_t i, vlpc_plan *out);
/* Writes rows of photos that were made to where they are kept between runs. */
void step_keep(Step *s);
/* Adds how many rows of photos were kept from earlier runs, and how many were made. */
void step_count(const Step *s, uint64_t *found, uint64_t *made);
/* Loss, and the gradients in the tensors.  Fails with TRAIN_TEAM when another process does. */
VL_MUST_USE VlStatus step_run(Step *s, const StepBatch *b, Diag *d, float *loss);

#endif
