/* SPDX-License-Identifier: Apache-2.0 */
/* train_entries.h - the entries of training, which compiler/train.c makes and train/step.c runs:
** for the first loss, and for the one that takes over from it. */
#ifndef VLPC_BASE_TRAIN_ENTRIES_H
#define VLPC_BASE_TRAIN_ENTRIES_H

#define TRAIN_ENTRY "train" /* that of the first loss, whole */

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

#endif
