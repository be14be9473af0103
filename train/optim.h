/* SPDX-License-Identifier: Apache-2.0 */
/* optim.h - what turns gradients into new values: SGD and AdamW by PyTorch's
** rules, learning rates by epoch, groups of parameters, weight averaging.
**
** All arithmetic is fp32, element by element in a fixed order with fused
** multiply-adds where PyTorch has them, so it does not depend on the CPU; scalars
** are computed in double and rounded once. */
#ifndef VLPC_TRAIN_OPTIM_H
#define VLPC_TRAIN_OPTIM_H

#include "base/arena.h"
#include "base/diag.h"

typedef enum { OPTIM_sgd, OPTIM_adamw } OptimRule;

typedef enum { SCHEDULE_cosine, SCHEDULE_constant } ScheduleShape;

/* schedule.c */

typedef struct {
  ScheduleShape shape;
  double lr;        /* after warm-up */
  uint32_t epochs;  /* the cosine's half period, warm-up not deducted */
  uint32_t warmup_epochs;
  double warmup_lr; /* constant during warm-up */
} Schedule;

/* The rate of epoch 0, 1, …, as Dassl has it: warmup_lr for e < w, then
** lr/2 (1 + cos(pi (e - w) / epochs)), which never reaches zero for w > 0. */
double schedule_lr(const Schedule *s, uint32_t epoch);

/* Which of two losses an epoch has: 0 for the first stage_epochs, then 1. */
uint32_t schedule_stage(uint32_t stage_epochs, uint32_t epoch);

/* Weights of epochs 1 … n for Gaussian prompt averaging: a normal density with
** mean and sd, made to sum to one. */
void gpa_weights(double mean, double sd, uint32_t n, double *out);
/* sum[i] += weight * value[i] in fp32; the first call of a run has first set and
** overwrites sum. */
void gpa_add(float *sum, const float *value, uint64_t n, double weight, bool first);

/* optim.c */

#define OPTIM_GROUPS_MAX 16

typedef struct {
  const char *match; /* of parameter names, with * and ?; NULL: all others */
  Schedule schedule;
  double weight_decay;
} OptimGroup;

typedef struct {
  OptimRule rule;
  double momentum;            /* sgd */
  bool nesterov;              /* sgd */
  double beta1, beta2, eps;   /* adamw */
  OptimGroup group[OPTIM_GROUPS_MAX]; /* the first that matches counts */
  uint32_t n_groups;
} OptimSpec;

/* One trainable.  grad is set before each step: NULL when nothing reaches it
** in this step, and then it is passed over entirely: no decay, no momentum. */
typedef struct {
  const char *name;
  float *value;
  const float *grad;
  uint64_t n;
  /* private, but saved and restored with a checkpoint */
  uint32_t group;
  uint64_t steps;  /* that it took part in */
  float *moment1;  /* momentum, or AdamW's mean */
  float *moment2;  /* AdamW's mean of squares; NULL for SGD */
} OptimParam;

typedef struct {
  OptimSpec spec;
  OptimParam *param;
  uint32_t n_params;
} Optim;

/* Copies the parameters (name, value, n) and finds their groups.  Fails with
** OPTIM_GROUP when a group matches nothing, or a parameter no group. */
VL_MUST_USE VlStatus optim_new(const OptimSpec *spec, const OptimParam *param, uint32_t n, Arena *a,
                               Diag *d, Optim **out);
/* The learning rate of a parameter in an epoch. */
double optim_lr(const Optim *o, uint32_t param, uint32_t epoch);
/* One step with the learning rates of this epoch. */
void optim_step(Optim *o, uint32_t epoch);

#endif
