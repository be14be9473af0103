/* SPDX-License-Identifier: Apache-2.0 */
/* evaluate.h - how a session's prompts and labels do on photos. */
#ifndef VLPC_TRAIN_EVALUATE_H
#define VLPC_TRAIN_EVALUATE_H

#include "train/dataset.h"
#include "train/features.h"
#include "train/metrics.h"
#include "vlpc/vlpc_train.h"

typedef struct {
  const vlpc_artifact *artifact;
  vlpc_session *session; /* its labels are the classes of data, its prompts are bound */
  const Dataset *data;
  SplitId split;
  uint32_t batch;
  /* Features [photos, embed] where the images do not depend on prompts: made when *has is
  ** false, and kept for the next time.  NULL: not kept. */
  float *features;
  bool *has;
  Features *kept; /* between runs, where they are also kept; NULL: not */
  const vlpc_team *team; /* its processes share the photos out; NULL: this process alone */
  /* Not OK: this process cannot.  It takes part, so that the others hear of it, and gets this. */
  VlStatus ready;
} EvaluateSpec;

/* Photos are read as in inference; all processes of a team get the same scores.  *out is on
** a, which also has the scratch.  Fails with DATA_SPLIT when the split is empty, else as the
** session does (its own message) or a photo that cannot be read, with TRAIN_TEAM when
** another process does, and in all processes with NOT_FINITE. */
VL_MUST_USE VlStatus evaluate(const EvaluateSpec *s, Arena *a, Diag *d, Scores *out);
/* Whether features of images are the same for any prompts. */
bool evaluate_keeps_images(const vlpc_artifact *a);

#endif
