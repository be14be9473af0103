/* SPDX-License-Identifier: Apache-2.0 */
/* step_int.h - what step.c takes from step_photos.c, rows of photos. */
#ifndef VLPC_TRAIN_STEP_INT_H
#define VLPC_TRAIN_STEP_INT_H

#include "train/step.h"

/* An input of the step with a row for each photo, which another entry gives. */
typedef struct {
  const char *name, *entry;
  uint64_t width;
  float *kept; /* [photos · views, width]; NULL: rows are not kept by number */
  float *rows; /* [batch, width], of the batch */
} PhotoRows;

#define PHOTO_INPUTS 8

typedef struct {
  PhotoRows in[PHOTO_INPUTS];
  uint32_t n;
  bool by_number;  /* rows are kept by the photo's number */
  bool *has;       /* [photos · views]: kept rows are there */
  uint32_t *slot;  /* [batch]: row of kept */
  uint32_t *todo;  /* [batch]: photos whose rows are to be made */
  uint32_t *place; /* [batch]: of which row of the batch each is */
  Features *features; /* rows of all inputs side by side, by what photos show; NULL: none */
  Hash128 *key;       /* [batch]: of todo */
  float *row;         /* [sum of widths] */
} Photos;

typedef struct {
  float *at; /* [n, 3, height, width] */
  uint32_t n;
} PhotoPixels;

/* Finds the inputs of `entry` that are such rows.  Fails with TRAIN_MODULE. */
VL_MUST_USE VlStatus photos_new(const StepSpec *spec, const char *entry, Arena *a, Diag *d,
                                Photos *out);
/* Rows of a batch in every in[i].rows; pixels is room for a batch. */
VL_MUST_USE VlStatus photos_rows(Photos *p, const StepSpec *spec, const StepBatch *b,
                                 float *pixels, Diag *d);
/* Makes a way to run the step one that has room for the rows of a whole batch too. */
VL_MUST_USE VlStatus photos_plan(const Photos *p, const StepSpec *spec, float *pixels,
                                 vlpc_plan *out);

/* Input number i of an entry; false past the last. */
bool step_port(const StepSpec *spec, const char *entry, vlpc_direction dir, uint32_t i,
               vlpc_port *out);
bool step_has(const StepSpec *spec, const char *entry, vlpc_direction dir, const char *name);
VlStatus step_misfit(const StepSpec *spec, Diag *d, const char *what);

#endif
