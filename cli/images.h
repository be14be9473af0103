/* SPDX-License-Identifier: Apache-2.0 */
/* images.h - a list of images taken in batches, bad ones stopping or skipped. */
#ifndef VLPC_CLI_IMAGES_H
#define VLPC_CLI_IMAGES_H

#include "cli/files.h"
#include "cli/model.h"

/* Computes `width` floats for each of n images. */
typedef vlpc_status ImagesFn(vlpc_session *s, const vlpc_image *images, uint32_t n, float *out);

typedef struct {
  Cli *c;
  Model *model;
  ImagesFn *fn;
  uint32_t width;
  const char *what; /* for the progress line */
  /* Takes the floats of image i. */
  VlStatus (*take)(void *user, uint32_t i, const char *path, const float *row);
  void *user;
  uint32_t done, skipped;
  /* private: a batch */
  vlpc_image *image;
  float *rows;
} ImageWalk;

/* Calls take for each image that can be read, in order.  Memory does not grow with the
** number of images. */
VL_MUST_USE VlStatus images_walk(ImageWalk *w, const TextList *list);

#endif
