/* SPDX-License-Identifier: Apache-2.0 */
/* link.h - a prompt module becomes part of the towers.
**
** A module is a graph that makes rows, features or scores.  Its inputs are
** trainables and taps: values of the towers.  Its outputs are written at points:
** from there on the segment of the stream is the value.
**
**   insert     the segment is absent: the rows come behind the stream's
**   overwrite  the segment is there: as many rows take its place
**   drop       the rows go; another number of rows may follow at the same point
**
** Vision rows are the segments cls, patch and, absent at first, prompt; text rows
** are sos, slot (rows 1 … slot_rows) and rest.  A tap sees its point before the
** writes there.  "frozen.POINT" is the towers without any write; what is equal in
** both is there once, because equal nodes are one.
**
** Inputs that the linked graph may have besides those of the two:
**   frozen_text_features  f32[classes, E] where a tap reads frozen.T.feat or
**                         frozen.logits: of the plain texts, by the text tower
**   image_features        f32[1, E] with lift: the texts are those of one image
**   labels                i64[batch] with a loss: the images' classes
**   name_lengths          i64[classes] for a slot in the middle or front: tokens of
**                         each class's name
** With lift what depends on images and texts at once is no output. */
#ifndef VLPC_PASSES_LINK_H
#define VLPC_PASSES_LINK_H

#include "passes/pass.h"

typedef struct {
  const char *input, *from, *segment; /* segment NULL: all rows, or a value without */
  bool stop;                          /* no gradient passes */
} LinkTap;

typedef struct {
  const char *point, *segment, *value; /* value NULL: drop; segment NULL: features, scores */
} LinkWrite;

/* A graph of one number that says how wrong the result is, and the output that it becomes. */
typedef struct {
  const Graph *graph;
  const char *file;
  uint32_t n_taps;
  const LinkTap *tap;
  const char *output; /* LINK_LOSS, or LINK_NEXT LINK_LOSS */
} LinkLoss;

typedef enum { SLOT_END, SLOT_MIDDLE, SLOT_FRONT } SlotPlace;

/* What happens at a point, for people.  Numbers are -1 where they are not fixed. */
typedef struct {
  const char *point, *action; /* "keep", "insert", "overwrite", "drop", "replace" */
  const char *segment, *value; /* NULL: none */
  const char *per;  /* a value each: "all", "class", "image", "image and class"; NULL: none */
  const char *time; /* when the value is known (bind_name); NULL: there is none */
  int64_t stream;   /* rows of the stream behind the write; 0: it has none */
  int64_t first, rows; /* those written */
  double mix[2]; /* the value is mix[0] · what is known first + mix[1] · the other; 0: no mix */
} LinkRow;

typedef struct {
  const LinkRow *at; /* point after point, write after write */
  uint32_t n;
} LinkLayout;

typedef struct {
  const Graph *module;
  const char *file;
  uint32_t n_taps, n_writes, n_trainables;
  const LinkTap *tap;
  const LinkWrite *write;
  const char *const *trainable;
  uint32_t slot_rows; /* 0: texts have none */
  SlotPlace place;
  double logit_scale; /* for scores that the towers' file does not have */
  bool lift;
  const LinkLoss *loss; /* with them taps stop gradients that are to be stopped */
  uint32_t n_losses;
  bool frozen_image; /* also features of the image tower without any write */
  LinkLayout *layout; /* filled on success; NULL: not asked for */
} LinkSpec;

/* The linked graph on arena a; base is a lowered graph with its points, to which
** scores are added when the module speaks of them and there are none.  It has
** to be lowered again (pass_relower).  Errors: E0450 … E0459, with the module's
** file. */
VL_MUST_USE VlStatus pass_link(Graph *base, const LinkSpec *spec, Arena *a, Diag *d, Graph **out);
/* The input, and the output that makes it of other texts (not of the text entry). */
#define LINK_FROZEN_TEXT "frozen_text_features"
#define LINK_FROZEN_IMAGE "frozen_image_features" /* the output */
#define LINK_LOSS "train.loss"
#define LINK_NEXT "next." /* outputs of the loss that takes over from the first */
#define LINK_LOOK "look." /* outputs that show where features come from */
#define LINK_STEP "step." /* outputs of entries that stand in for training's */

#endif
