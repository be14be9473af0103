/* SPDX-License-Identifier: Apache-2.0 */
/* sample.h - which photos a few-shot run learns from: the protocol of CoOp and
** its followers, photo for photo the draws of Dassl for the same seed. */
#ifndef VLPC_TRAIN_SAMPLE_H
#define VLPC_TRAIN_SAMPLE_H

#include "train/dataset.h"
#include "train/mt.h"

#define SAMPLE_VAL_SHOTS 4u /* at most so many of each class for validation */

typedef enum { CLASSES_all, CLASSES_base, CLASSES_new } ClassPart;

/* shots photos of each class, in the order drawn; classes in the order of their
** first photo in src.  A class with fewer is taken whole, as it stands. */
void sample_few_shot(const ItemList *src, uint32_t shots, Mt *m, Arena *a, ItemList *out);
/* Draws the train split, then the val split with min(shots, 4), from a generator
** freshly seeded; test stays.  shots = 0: all photos.  Fails with DATA_SPLIT when
** there is nothing to train on. */
VL_MUST_USE VlStatus sample_dataset(const Dataset *in, uint32_t shots, uint64_t seed, Arena *a,
                                    Diag *d, Dataset *out);
/* The classes of the train split in order of their labels; base is the first
** half, rounded up, new the rest.  Photos of other classes are dropped from all
** splits and labels counted from 0 again.  Comes after sampling.  Fails with
** DATA_SPLIT when the part has no class. */
VL_MUST_USE VlStatus sample_classes(const Dataset *in, ClassPart part, Arena *a, Diag *d,
                                    Dataset *out);
/* "all", "base", "new". */
const char *class_part_name(ClassPart p);

#endif
