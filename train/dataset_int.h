/* SPDX-License-Identifier: Apache-2.0 */
/* dataset_int.h - how the readers of a data set hand over what they find:
** photos with the text of their label; dataset.c numbers the classes last. */
#ifndef VLPC_TRAIN_DATASET_INT_H
#define VLPC_TRAIN_DATASET_INT_H

#include "base/map.h"
#include "base/str.h"
#include "base/vec.h"
#include "train/dataset.h"

typedef struct {
  Item item; /* label: id in DatasetReader.labels */
  SplitId split;
} Found;

typedef struct {
  const DatasetSource *source;
  const char *root; /* that of Dataset */
  Arena *arena;
  Diag *diag;
  Names *labels;
  VEC(Found) found;
  VEC(const char *) names; /* of label i, where a list gives them, else NULL */
  VEC(Mapped) shards;
} DatasetReader;

/* A photo; label_name may be NULL.  Fails with DATA_LIMIT, and with DATA_LABEL
** when the label has another name elsewhere (at says where this one is). */
typedef struct {
  DiagAt at;
  SplitId split;
  const char *label, *label_name;
  Item item;
} FoundItem;
VL_MUST_USE VlStatus dataset_add(DatasetReader *r, const FoundItem *f);
/* dir/name on the arena; name alone when it is absolute. */
const char *dataset_join(DatasetReader *r, const char *dir, const char *name);
/* The folder that a file lies in, with its slash; "" for one without. */
const char *dataset_folder_of(DatasetReader *r, const char *path);
/* Whether a name ends in .jpg, .jpeg or .png, in any case. */
bool dataset_is_photo(const char *name);

/* dataset_list.c */
VL_MUST_USE VlStatus dataset_read_csv(DatasetReader *r);
VL_MUST_USE VlStatus dataset_read_json(DatasetReader *r);
/* dataset_tar.c: all photos of one shard go to split. */
VL_MUST_USE VlStatus dataset_read_tar(DatasetReader *r, const char *path, SplitId split);

#endif
