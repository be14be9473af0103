/* SPDX-License-Identifier: Apache-2.0 */
/* images.h - a list of images taken in batches, bad ones stopping or skipped. */
#ifndef VLPC_CLI_IMAGES_H
#define VLPC_CLI_IMAGES_H

#include "cli/files.h"
#include "cli/model.h"
#include "cli/team.h"

/* Computes `width` floats for each of n images. */
typedef vlpc_status ImagesFn(vlpc_session *s, const vlpc_image *images, uint32_t n, float *out);

typedef struct {
  Cli *c;
  Model *model;
  const Team *team; /* its processes share the images out; they all walk the same list */
  ImagesFn *fn;
  uint32_t width;
  const char *what; /* for the progress line */
  /* Takes the floats of image i; called in the first process. */
  VlStatus (*take)(void *user, uint32_t i, const char *path, const float *row);
  void *user;
  uint32_t skipped; /* known in the first process */
  /* private: a round */
  uint32_t batch;
  vlpc_image *image; /* [batch] */
  float *made;       /* [processes, batch · (1 + width)] */
} ImageWalk;

/* Calls take for each image that can be read, in order.  Memory does not grow with the
** number of images.  All processes get the same status. */
VL_MUST_USE VlStatus images_walk(ImageWalk *w, const TextList *list);

#endif
