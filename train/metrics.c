/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.c - accuracies, confusion, calibration; sums in double, in the order of
** the photos. */
#include "train/metrics.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

struct ScoreSum {
  uint32_t n_classes;
  uint64_t n, top1, top5;
  double loss;
  uint64_t *confusion;
  ScoreBin bin[ECE_BINS];
};

ScoreSum *scores_new(uint32_t n_classes, Arena *a) {
  ScoreSum *s = arena_one(a, ScoreSum);
  s->n_classes = n_classes;
  s->confusion = arena_array_bytes(a, (uint64_t)n_classes * n_classes, sizeof *s->confusion);
  return s;
}

static VlStatus check(const ScoreSum *s, const float *logit, uint32_t label, uint64_t row,
                      Diag *d) {
  bool finite = true;
  for (uint32_t c = 0; c < s->n_classes; c++) finite = finite && isfinite(logit[c]);
  if (finite && label < s->n_classes) return VLPC_OK;
  char place[40];
  snprintf(place, sizeof place, "photo %" PRIu64, s->n + row);
  if (!finite)
    return diag_error(d, DIAG_NOT_FINITE, (DiagAt){NULL, place}, "a score is not finite");
  VlStatus st = diag_error(d, DIAG_METRICS, (DiagAt){NULL, place},
                           "its label is none of the classes");
  diag_found(d, "label %" PRIu32, label);
  diag_expected(d, "below %" PRIu32, s->n_classes);
  return st;
}

/* The lower of equals is before. */
static bool before(const float *logit, uint32_t a, uint32_t b) {
  return logit[a] > logit[b] || (logit[a] == logit[b] && a < b);
}

static void add_row(ScoreSum *s, const float *logit, uint32_t label) {
  uint32_t best = 0, rank = 0;
  double sum = 0.0;
  for (uint32_t c = 0; c < s->n_classes; c++) {
    if (before(logit, c, best)) best = c;
    rank += before(logit, c, label);
  }
  for (uint32_t c = 0; c < s->n_classes; c++) sum += exp((double)logit[c] - (double)logit[best]);
  double confidence = 1.0 / sum;
  int b = (int)ceil(confidence * ECE_BINS) - 1; /* (lo, hi] */
  ScoreBin *bin = &s->bin[VL_MAX(0, VL_MIN(b, ECE_BINS - 1))];
  s->top1 += rank == 0;
  s->top5 += rank < 5;
  s->loss += log(sum) + (double)logit[best] - (double)logit[label];
  s->confusion[(uint64_t)label * s->n_classes + best]++;
  bin->n++;
  bin->right += rank == 0;
  bin->confidence += confidence;
}

VlStatus scores_add(ScoreSum *s, const float *logits, const uint32_t *label, uint64_t n,
                    Diag *d) {
  for (uint64_t i = 0; i < n; i++) VL_TRY(check(s, logits + i * s->n_classes, label[i], i, d));
  for (uint64_t i = 0; i < n; i++) add_row(s, logits + i * s->n_classes, label[i]);
  s->n += n;
  return VLPC_OK;
}

static double calibration_error(const ScoreSum *s) {
  double sum = 0.0;
  for (int b = 0; b < ECE_BINS; b++) sum += fabs((double)s->bin[b].right - s->bin[b].confidence);
  return s->n > 0 ? sum / (double)s->n : 0.0;
}

/* F1 over the classes that occur; fills class_accuracy. */
static double by_class(const ScoreSum *s, double *accuracy) {
  double sum = 0.0;
  uint32_t occur = 0;
  for (uint32_t c = 0; c < s->n_classes; c++) {
    uint64_t labelled = 0, answered = 0, right = s->confusion[(uint64_t)c * s->n_classes + c];
    for (uint32_t k = 0; k < s->n_classes; k++) {
      labelled += s->confusion[(uint64_t)c * s->n_classes + k];
      answered += s->confusion[(uint64_t)k * s->n_classes + c];
    }
    accuracy[c] = labelled > 0 ? (double)right / (double)labelled : (double)NAN;
    if (labelled + answered == 0) continue;
    sum += 2.0 * (double)right / (double)(labelled + answered);
    occur++;
  }
  return occur > 0 ? sum / occur : 0.0;
}

void scores_finish(const ScoreSum *s, Arena *a, Scores *out) {
  double n = s->n > 0 ? (double)s->n : 1.0;
  *out = (Scores){.n = s->n,
                  .n_classes = s->n_classes,
                  .top1 = (double)s->top1 / n,
                  .top5 = (double)s->top5 / n,
                  .ece = calibration_error(s),
                  .loss = s->loss / n,
                  .confusion = s->confusion,
                  .class_accuracy = arena_array(a, double, s->n_classes)};
  out->macro_f1 = by_class(s, out->class_accuracy);
  memcpy(out->bin, s->bin, sizeof out->bin);
}

double harmonic_mean(double a, double b) { return a + b > 0.0 ? 2.0 * a * b / (a + b) : 0.0; }

void mean_and_sd(const double *x, uint32_t n, double *mean, double *sd) {
  double sum = 0.0, squares = 0.0;
  for (uint32_t i = 0; i < n; i++) sum += x[i];
  *mean = n > 0 ? sum / n : 0.0;
  for (uint32_t i = 0; i < n; i++) squares += (x[i] - *mean) * (x[i] - *mean);
  *sd = n > 1 ? sqrt(squares / (n - 1)) : 0.0;
}
