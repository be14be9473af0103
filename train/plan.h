/* SPDX-License-Identifier: Apache-2.0 */
/* plan.h - what a run is to do, resolved from what a user says: the configuration and
** the photos. */
#ifndef VLPC_TRAIN_PLAN_H
#define VLPC_TRAIN_PLAN_H

#include "train/config.h"
#include "train/dataset.h"

typedef struct {
  const char *recipe, *method; /* recipe NULL: that of the method */
  const char *file;            /* YAML over it; NULL: none */
  const char *const *set;      /* "key=value" over both, NULL-terminated; NULL: none */
} PlanSource;

/* Fails as the functions of config.h do. */
VL_MUST_USE VlStatus plan_config(const PlanSource *s, Arena *a, Diag *d, Config *out);
/* Opens, draws and takes the part of the classes, as the configuration says. */
VL_MUST_USE VlStatus plan_data(const Config *c, const DatasetSource *from, Arena *a, Diag *d,
                               Dataset *out);

#endif
