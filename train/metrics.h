/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.h - how good scores are, and the files that say how a run went. */
#ifndef VLPC_TRAIN_METRICS_H
#define VLPC_TRAIN_METRICS_H

#include "base/arena.h"
#include "base/diag.h"

/* metrics.c: scores [n, classes] (logits) against labels [n]. */

#define ECE_BINS 15

/* Photos by the probability of their answer: bin b of ECE_BINS is (b, b + 1] / ECE_BINS. */
typedef struct {
  uint64_t n, right;
  double confidence; /* the sum */
} ScoreBin;

typedef struct {
  uint64_t n;            /* photos */
  uint32_t n_classes;
  double top1, top5;     /* in [0, 1]; with equal scores the lower class wins */
  double macro_f1;       /* mean over the classes that occur, as label or answer */
  double ece;            /* expected calibration error, 15 bins of equal width */
  double loss;           /* mean cross-entropy */
  uint64_t *confusion;   /* [label, answer] */
  double *class_accuracy; /* [class]; NaN where no photo has it */
  ScoreBin bin[ECE_BINS];
} Scores;

/* Collects batches; scores_finish gives the figures.  Fails with METRICS when a
** label is not below n_classes, and with NOT_FINITE. */
typedef struct ScoreSum ScoreSum;
ScoreSum *scores_new(uint32_t n_classes, Arena *a);
VL_MUST_USE VlStatus scores_add(ScoreSum *s, const float *logits, const uint32_t *label, uint64_t n,
                                Diag *d);
void scores_finish(const ScoreSum *s, Arena *a, Scores *out);

/* 2ab / (a + b), 0 when both are 0: of base and new accuracies. */
double harmonic_mean(double a, double b);
/* Mean and sample standard deviation (n - 1; 0 for one value) over seeds. */
void mean_and_sd(const double *x, uint32_t n, double *mean, double *sd);

/* metrics_log.c: metrics.jsonl, one object a line, and TensorBoard's events. */

typedef struct {
  const char *name; /* "train/loss" */
  double value;     /* not finite: null in the file */
} Metric;

typedef struct MetricsLog MetricsLog;

/* Opens folder/metrics.jsonl and folder/events.out.tfevents.<wall>.vlpc, making
** the latter; lines of steps after keep_steps, and a torn last line, are dropped
** first, so a resumed run does not say things twice.  wall is the time in
** seconds.  Fails with WRITE and as io_read does. */
typedef struct {
  const char *folder;
  uint64_t keep_steps;
  double wall;
} MetricsSpec;
VL_MUST_USE VlStatus metrics_open(const MetricsSpec *s, Arena *a, Diag *d, MetricsLog **out);
/* Adds one line {"step":S,"epoch":E,"wall":W,NAME:VALUE,…} and one event each.  A
** file that could not be written (WRITE) stays as it was up to this line. */
typedef struct {
  uint64_t step;
  uint32_t epoch;
  double wall;
  const Metric *at;
  uint32_t n;
} MetricsLine;
VL_MUST_USE VlStatus metrics_add(MetricsLog *m, const MetricsLine *l, Diag *d);
void metrics_close(MetricsLog *m); /* also when the arena is freed */

/* CRC-32C as TFRecord masks it. */
uint32_t masked_crc32c(const void *p, size_t n);

#endif
