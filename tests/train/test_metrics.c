/* SPDX-License-Identifier: Apache-2.0 */
/* test_metrics.c - figures against numpy and PyTorch, the two files byte by byte. */
#include "train/metrics.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "train_kit.h"

#define N 40
#define C 6

static void fill(float *logit, uint32_t *label) {
  for (int i = 0; i < N; i++) {
    label[i] = (uint32_t)(i * 3 + i / 5) % C;
    for (int c = 0; c < C; c++)
      logit[i * C + c] = (float)((i * 7 + c * 5 + i * c * 3) % 17 - 8) / 4;
  }
}

static bool near(double a, double b) { return fabs(a - b) < 1e-13; }

/* numpy and PyTorch in double, on the same scores; three rows have ties. */
static void figures(void **state) {
  Kit *k = *state;
  static const uint64_t answered_1[C] = {1, 0, 0, 2, 1, 3};
  float logit[N * C];
  uint32_t label[N];
  Scores s;
  fill(logit, label);
  ScoreSum *sum = scores_new(C, k->arena);
  assert_int_equal(scores_add(sum, logit, label, 7, k->diag), VLPC_OK);
  assert_int_equal(scores_add(sum, logit + 7 * C, label + 7, N - 7, k->diag), VLPC_OK);
  scores_finish(sum, k->arena, &s);
  assert_int_equal(s.n, N);
  assert_true(near(s.top1, 0.125) && near(s.top5, 0.775));
  assert_true(near(s.loss, 2.3353776150551497));
  assert_true(near(s.ece, 0.3479012322469497));
  assert_true(near(s.macro_f1, 0.11323763955342903));
  for (int c = 0; c < C; c++) {
    assert_int_equal(s.confusion[c * C + 1], answered_1[c]);
    assert_true(near(s.class_accuracy[c], c % 3 == 0 ? 1.0 / 3 : 0.0));
  }
}

static void odd_scores(void **state) {
  Kit *k = *state;
  float logit[4] = {0, 0, 1, NAN};
  uint32_t label[2] = {1, 2};
  Scores s;
  ScoreSum *sum = scores_new(2, k->arena);
  scores_finish(sum, k->arena, &s);
  assert_true(s.top1 == 0 && s.ece == 0 && s.macro_f1 == 0 && isnan(s.class_accuracy[0]));
  assert_int_equal(scores_add(sum, logit, label, 1, k->diag), VLPC_OK);
  scores_finish(sum, k->arena, &s);
  assert_true(s.top1 == 0 && s.top5 == 1 && near(s.ece, 0.5)); /* a tie goes to class 0 */
  kit_expect(k, scores_add(sum, logit, label + 1, 1, k->diag), DIAG_METRICS,
             "vlpc: error[E1131]: photo 1: its label is none of the classes\n"
             "  found:    label 2\n  expected: below 2\n");
  kit_expect(k, scores_add(sum, logit + 2, label, 1, k->diag), DIAG_NOT_FINITE,
             "vlpc: error[E0914]: photo 1: a score is not finite\n");
}

/* Bins are open below and closed above: 1/3 is in the fifth of 15, with 0.3. */
static void edge_of_a_bin(void **state) {
  Kit *k = *state;
  float logit[8] = {0, 0, 0, -1000, 0, 0, 0, 0};
  uint32_t label[2] = {0, 1};
  Scores s;
  logit[4] = (float)log(0.3 / 0.7 * 3);
  ScoreSum *sum = scores_new(4, k->arena);
  assert_int_equal(scores_add(sum, logit, label, 2, k->diag), VLPC_OK);
  scores_finish(sum, k->arena, &s);
  assert_true(fabs(s.ece - (1 - 1.0 / 3 - 0.3) / 2) < 1e-7);
  for (int b = 0; b < ECE_BINS; b++) assert_int_equal(s.bin[b].n, b == 4 ? 2 : 0);
  assert_int_equal(s.bin[4].right, 1);
  assert_true(fabs(s.bin[4].confidence - (1.0 / 3 + 0.3)) < 1e-7);
}

/* CoCoOp's averages: 80.47 base, 71.69 new, 75.83 harmonic. */
static void over_runs(void **state) {
  (void)state;
  static const double x[] = {1, 2, 4};
  double mean, sd;
  assert_true(fabs(harmonic_mean(80.47, 71.69) - 75.83) < 0.005);
  assert_true(harmonic_mean(0, 0) == 0);
  mean_and_sd(x, 3, &mean, &sd);
  assert_true(near(mean, 7.0 / 3) && near(sd, sqrt(7.0 / 3)));
  mean_and_sd(x, 1, &mean, &sd);
  assert_true(mean == 1 && sd == 0);
}

static void expect_file(Kit *k, const char *path, const void *bytes, size_t n) {
  uint8_t *text;
  size_t got;
  assert_int_equal(io_read(path, 1 << 20, k->arena, k->diag, &text, &got), VLPC_OK);
  assert_int_equal(got, n);
  assert_memory_equal(text, bytes, n);
}

static void add(Kit *k, MetricsLog *m, uint64_t step, double wall, double loss) {
  Metric at[] = {{"loss", loss}, {"lr", 2e-3}};
  MetricsLine l = {step, 3, wall, at, 2};
  assert_int_equal(metrics_add(m, &l, k->diag), VLPC_OK);
}

static const uint8_t events[] = {
#include "data/events.inc"
};

static void files(void **state) {
  Kit *k = *state;
  MetricsLog *m;
  MetricsSpec s = {".", UINT64_MAX, 1000};
  uint32_t crc = UINT32_C(0xe3069283); /* CRC-32C's published check value */
  crc = (crc >> 15 | crc << 17) + UINT32_C(0xa282ead8);
  assert_true(masked_crc32c("123456789", 9) == crc);
  assert_int_equal(metrics_open(&s, k->arena, k->diag, &m), VLPC_OK);
  add(k, m, 300, 1001.5, 0.25);
  metrics_close(m);
  static const char line[] = "{\"step\":300,\"epoch\":3,\"wall\":1001.5,"
                             "\"loss\":0.25,\"lr\":0.002}\n";
  expect_file(k, "metrics.jsonl", line, strlen(line));
  expect_file(k, "events.out.tfevents.1000.vlpc", events, sizeof events);
}

/* A run resumed at step 2 drops what was said of step 3 and a torn line. */
static void resumed(void **state) {
  Kit *k = *state;
  MetricsLog *m;
  MetricsSpec s = {".", 2, 1000};
  kit_put_text("metrics.jsonl", "{\"step\":1,\"a\":1}\n{\"step\":2,\"a\":1}\n{\"step\":3,\"a\":1}\n"
                                "{\"step\":2,\"a\":");
  assert_int_equal(metrics_open(&s, k->arena, k->diag, &m), VLPC_OK);
  add(k, m, 3, 5, INFINITY);
  metrics_close(m);
  static const char text[] = "{\"step\":1,\"a\":1}\n{\"step\":2,\"a\":1}\n"
                             "{\"step\":3,\"epoch\":3,\"wall\":5,\"loss\":null,\"lr\":0.002}\n";
  expect_file(k, "metrics.jsonl", text, strlen(text));
  s.folder = "none";
  assert_int_equal(metrics_open(&s, k->arena, k->diag, &m), VLPC_E_IO);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      kit_test(figures),   kit_test(odd_scores), kit_test(edge_of_a_bin),
      kit_test(over_runs), kit_test(files),      kit_test(resumed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
