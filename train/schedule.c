/* SPDX-License-Identifier: Apache-2.0 */
/* schedule.c - learning rates and weights that depend on the epoch alone. */
#include <math.h>

#include "train/optim.h"

#define PI 3.14159265358979323846

double schedule_lr(const Schedule *s, uint32_t epoch) {
  if (epoch < s->warmup_epochs) return s->warmup_lr;
  if (s->shape == SCHEDULE_constant || s->epochs == 0) return s->lr;
  return 0.5 * s->lr * (1.0 + cos(PI * (double)(epoch - s->warmup_epochs) / (double)s->epochs));
}

uint32_t schedule_stage(uint32_t stage_epochs, uint32_t epoch) { return epoch >= stage_epochs; }

void gpa_weights(double mean, double sd, uint32_t n, double *out) {
  double sum = 0.0;
  for (uint32_t i = 0; i < n; i++) {
    double z = ((double)(i + 1) - mean) / sd;
    out[i] = exp(-0.5 * z * z);
    sum += out[i];
  }
  /* All so far from the mean that nothing is left: the last epoch counts. */
  if (n > 0 && sum == 0.0) out[n - 1] = sum = 1.0;
  for (uint32_t i = 0; i < n; i++) out[i] /= sum;
}

void gpa_add(float *sum, const float *value, uint64_t n, double weight, bool first) {
  float w = (float)weight;
  for (uint64_t i = 0; i < n; i++) {
    float part = w * value[i];
    sum[i] = first ? part : sum[i] + part;
  }
}
