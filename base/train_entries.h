/* SPDX-License-Identifier: Apache-2.0 */
/* train_entries.h - what those who write losses and those who train agree on: the entries of
** training, which compiler/train.c makes and train/step.c runs, for the first loss and for
** the one that takes over from it; and how a module states the weights of its loss. */
#ifndef VLPC_BASE_TRAIN_ENTRIES_H
#define VLPC_BASE_TRAIN_ENTRIES_H

#define TRAIN_ENTRY "train" /* that of the first loss, whole */
#define ATTENTION_ENTRY "attention" /* no step: where features of photos come from */

enum { TRAIN_LOSSES = 2 };

typedef struct {
  const char *whole;  /* loss and gradients of a batch */
  const char *step;   /* the same, with features that do not change as inputs */
  const char *images; /* what gives these of photos */
  const char *texts;  /* and of texts */
} TrainEntries;

#define TRAIN_ENTRIES(name) {name, name "_step", name "_images", name "_texts"}
static const TrainEntries train_entries[TRAIN_LOSSES] = {TRAIN_ENTRIES(TRAIN_ENTRY),
                                                         TRAIN_ENTRIES("train2")};
#undef TRAIN_ENTRIES

/* Entries and ports of a step whose texts run some classes at a time, which
** compiler/train_chunks.c makes and runtime/chunks.c runs. */
#define CHUNKS_AHEAD "train_ahead"
#define CHUNKS_BACK "train_back"
#define CHUNK_FEATURES "class_features"
#define CHUNK_GRADIENT "class_gradient"

/* Of the loss's parts; 0: it has no such part, or does not use it. */
#define TRAIN_WEIGHTS "text=%.9g image=%.9g logit=%.9g aux=%.9g"

#endif
