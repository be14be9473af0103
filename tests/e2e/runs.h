/* SPDX-License-Identifier: Apache-2.0 */
/* runs.h - runs of training for a test, on the shipped model and photos. */
#ifndef VLPC_TESTS_E2E_RUNS_H
#define VLPC_TESTS_E2E_RUNS_H

#include "e2e_kit.h"
#include "vlpc/vlpc_train.h"

#define CLIP VLPC_SOURCE_DIR "/models/small_clip/"
#define PHOTOS VLPC_SOURCE_DIR "/models/photos/"

/* The small CLIP with a method's module of so many rows (0: the paper's), in the own folder
** under the method's name. */
const char *artifact_of(const char *method, int64_t length);
vlpc_artifact *open_artifact(const char *path);

/* EuroSAT's shipped photos as train and test, with the names that CoOp gives them; a
** photo of each class as "one". */
void eurosat(void);
/* The one photo of each class below a folder, in the order of the classes. */
void only_photos(const char *folder, uint32_t n, const char **out);

typedef struct {
  const char *artifact, *run, *start;
  const char *data; /* NULL: eurosat */
  const char *const *set;
  int32_t threads, resume;
  uint64_t memory; /* of activations; 0: no limit */
  const char *features; /* folder where they are kept; NULL: nowhere */
} Run;

vlpc_trainer_options options_of(const Run *r, vlpc_session_options *s);
vlpc_status open_run(const Run *r, vlpc_artifact *a, vlpc_trainer **out);
/* A trainer that has to be made. */
vlpc_trainer *trainer_of(const Run *r, vlpc_artifact *a);
/* Fails the test with what the trainer says. */
void trainer_ok(const vlpc_trainer *t, vlpc_status s);
/* Goes on for n steps, or to the end and the result; true when it is the end. */
bool go(const Run *r, uint32_t n);
/* Its prompts. */
const char *result(const Run *r);

#endif
