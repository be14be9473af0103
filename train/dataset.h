/* SPDX-License-Identifier: Apache-2.0 */
/* dataset.h - photos with labels, from whatever a user has:
**
**   FOLDER/<class>/X.jpg|jpeg|png        all of it is the train split
**   FOLDER/{train,val,test}/<class>/X    the three splits (valid, validation too)
**   FOLDER/X.tar, FOLDER/train/X.tar …   shards in the WebDataset layout
**   split_zhou_X.json                    CoOp's lists of [path, label, class name]
**   X.csv                                file,label[,classname]; a header is optional
**   X.tar                                one shard
**
** In a shard the label of `k.jpg` is the text of `k.cls`, else the name of the
** folder that the member lies in.  Labels that are all whole numbers are in the
** order of the numbers, others in the order of their bytes; so are files.  A
** `classes.txt` in FOLDER gives the names, one a line, in that order.  Blanks
** stand for underscores in class names.
**
** Nothing is decoded here.  A list is held to its grammar, a shard to ustar
** (with pax and GNU long names) before anything is taken from it; links and
** devices in a shard are passed over.  Messages name file and line or byte. */
#ifndef VLPC_TRAIN_DATASET_H
#define VLPC_TRAIN_DATASET_H

#include "base/io.h"
#include "base/map.h"
#include "runtime/image.h"

#define DATASET_MAX_ITEMS 16777216u
#define DATASET_MAX_CLASSES 1048576u
#define DATASET_MAX_SHARDS 65536u
#define DATASET_MAX_PATH 4096u

typedef enum { SPLIT_train, SPLIT_val, SPLIT_test, SPLIT__COUNT } SplitId;

/* Where a photo is that lies in no shard. */
enum { ITEM_FILE = -1, ITEM_MEMORY = -2 };

typedef struct {
  const char *path; /* of the photo, or of the member inside its shard; a name, in memory */
  uint32_t label;   /* below n_classes */
  int32_t shard;    /* where its bytes lie, or one of the above */
  uint64_t offset, bytes; /* in the shard; in memory: number of the image, and its bytes */
} Item;

typedef struct {
  Item *at;
  uint32_t n;
} ItemList;

typedef struct {
  ItemList split[SPLIT__COUNT];
  const char **classes; /* names to make texts of */
  uint32_t n_classes;
  const Mapped *shards; /* unmapped when the arena is freed */
  uint32_t n_shards;
  const Image *images; /* of photos in memory */
  const char *root;    /* folder that the paths of photos begin with; NULL: none */
} Dataset;

typedef struct {
  const char *path; /* a folder or a file, above */
  const char *root; /* folder that a list's paths are in; NULL: the list's own */
} DatasetSource;

/* Reads folders or a list; everything in *out is on the arena, in an order that
** depends on names alone.  Fails with OPEN, FOLDER, DATA_LAYOUT, DATA_LIST,
** DATA_LABEL, DATA_SHARD, DATA_LIMIT and as io_map does. */
VL_MUST_USE VlStatus dataset_open(const DatasetSource *s, Arena *a, Diag *d, Dataset *out);
/* 32 hex digits and a NUL of what the photos are called below the root, how many bytes they
** have and how they are labelled; not of their pixels.  Scratch is on a. */
void dataset_hash(const Dataset *d, Arena *a, char out[33]);
/* The pixels of a photo, which dataset_close_photo lets go.  Fails as image_decode and
** image_read do; diag may be NULL. */
VL_MUST_USE VlStatus dataset_open_photo(const Dataset *d, const Item *it, Diag *diag, Image *out);
/* Takes an empty image. */
void dataset_close_photo(const Item *it, Image *im);
/* Hash of a photo's bytes.  Fails as io_map does. */
VL_MUST_USE VlStatus dataset_hash_photo(const Dataset *d, const Item *it, Diag *diag,
                                        Hash128 *out);
/* "train", "val", "test". */
const char *split_name(SplitId s);

#endif
