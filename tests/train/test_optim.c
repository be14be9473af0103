/* SPDX-License-Identifier: Apache-2.0 */
/* test_optim.c - steps against torch.optim, rates against Dassl's schedulers,
** groups, and the parameter that has no gradient. */
#include "train/optim.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/runtime/golden.h"
#include "train_kit.h"

static char *read_data(const char *name) {
  char path[512], rel[64];
  size_t n;
  snprintf(rel, sizeof rel, "tests/train/data/%s", name);
  source_path(rel, path);
  char *text = golden_read(path, &n);
  assert_non_null(text);
  return text;
}

static Schedule constant(double lr) {
  return (Schedule){.shape = SCHEDULE_constant, .lr = lr, .epochs = 1};
}

typedef struct {
  const char *name;
  OptimSpec spec;
} Case;

#define GROUP(rate, wd) .group = {{NULL, {SCHEDULE_constant, rate, 1, 0, 0}, wd}}, .n_groups = 1
#define BETAS .beta1 = 0.9, .beta2 = 0.999
static const Case cases[] = {
    {"sgd", {OPTIM_sgd, .momentum = 0.9, GROUP(0.0035, 5e-4)}},
    {"sgd_plain", {OPTIM_sgd, GROUP(0.1, 0)}},
    {"sgd_decay", {OPTIM_sgd, GROUP(0.1, 1e-3)}},
    {"sgd_nesterov", {OPTIM_sgd, .momentum = 0.9, .nesterov = true, GROUP(0.002, 5e-4)}},
    {"adamw", {OPTIM_adamw, BETAS, .eps = 1e-8, GROUP(1e-3, 1e-2)}},
    {"adamw_tip", {OPTIM_adamw, BETAS, .eps = 1e-4, GROUP(1e-3, 0)}},
};

static void check_step(const Case *c, char *line, const float w[8]) {
  assert_string_equal(golden_field(&line, ' '), c->name);
  for (int i = 0; i < 8; i++) {
    uint32_t bits = (uint32_t)strtoul(golden_field(&line, ' '), NULL, 16);
    float want;
    memcpy(&want, &bits, 4);
    if (memcmp(&w[i], &want, 4) != 0)
      fail_msg("%s: %.9g is not %.9g", c->name, (double)w[i], (double)want);
  }
}

/* Bit for bit. */
static void same_as_pytorch(void **state) {
  Kit *k = *state;
  char *text = read_data("optim.txt"), *at = text;
  for (size_t c = 0; c < VL_COUNT(cases); c++) {
    float w[8], g[8];
    Optim *o;
    for (int i = 0; i < 8; i++) w[i] = ((float)i - 3.5f) / 7.0f;
    OptimParam p = {.name = "w", .value = w, .n = 8};
    assert_int_equal(optim_new(&cases[c].spec, &p, 1, k->arena, k->diag, &o), VLPC_OK);
    for (int t = 0; t < 5; t++) {
      for (int i = 0; i < 8; i++) g[i] = (float)((i * 5 + t * 3) % 11 - 5) / 16.0f;
      o->param[0].grad = t == 2 ? NULL : g;
      optim_step(o, 0);
      check_step(&cases[c], golden_line(&at), w);
    }
  }
  free(text);
}

/* No gradient: nothing moves, also no decay.  A zero gradient decays. */
static void no_gradient(void **state) {
  Kit *k = *state;
  float a[1] = {1.0f}, b[1] = {1.0f}, zero[1] = {0.0f};
  OptimSpec s = {OPTIM_sgd, .momentum = 0.9, GROUP(0.1, 0.5)};
  OptimParam p[] = {{.name = "a", .value = a, .n = 1}, {.name = "b", .value = b, .n = 1}};
  Optim *o;
  assert_int_equal(optim_new(&s, p, 2, k->arena, k->diag, &o), VLPC_OK);
  o->param[1].grad = zero;
  optim_step(o, 0);
  assert_true(a[0] == 1.0f && o->param[0].steps == 0);
  assert_true(b[0] == 0.95f && o->param[1].steps == 1);
}

/* The seven published schedules, every epoch. */
static void same_as_dassl(void **state) {
  (void)state;
  char *text = read_data("schedules.txt"), *at = text;
  int lines = 0;
  for (char *line = golden_line(&at); line != NULL; line = golden_line(&at), lines++) {
    const char *name = golden_field(&line, ' ');
    Schedule s = {.shape = SCHEDULE_cosine, .warmup_lr = 1e-5};
    s.lr = strtod(golden_field(&line, ' '), NULL);
    s.epochs = (uint32_t)strtoul(golden_field(&line, ' '), NULL, 10);
    s.warmup_epochs = (uint32_t)strtoul(golden_field(&line, ' '), NULL, 10);
    for (uint32_t e = 0; e < s.epochs; e++) {
      double want = strtod(golden_field(&line, ' '), NULL), got = schedule_lr(&s, e);
      /* PyTorch multiplies from epoch to epoch; its roundings add up. */
      if (fabs(got - want) > 1e-11 * s.lr) fail_msg("%s, epoch %u: %.17g", name, e, got);
    }
    assert_null(golden_field(&line, ' '));
  }
  assert_int_equal(lines, 7);
  free(text);
}

/* DPT: the first loss for 30 epochs; no first stage for the others. */
static void stages(void **state) {
  (void)state;
  assert_int_equal(schedule_stage(30, 29), 0);
  assert_int_equal(schedule_stage(30, 30), 1);
  assert_int_equal(schedule_stage(0, 0), 1);
}

/* PromptSRC's averaging with its base-to-new setting: methods' published weights. */
static void averaging(void **state) {
  (void)state;
  static const double want[] = {.054, .242, .399, .242, .054};
  double w[20], sum = 0;
  gpa_weights(15, 1, 20, w);
  for (int i = 0; i < 20; i++) sum += w[i];
  assert_true(fabs(sum - 1.0) < 1e-12);
  for (int i = 0; i < 5; i++) assert_true(fabs(w[12 + i] - want[i]) < 5e-4);
  float average[2], value[2] = {2.0f, -4.0f}, later[2] = {4.0f, 8.0f};
  average[0] = average[1] = NAN;
  gpa_add(average, value, 2, 0.25, true);
  gpa_add(average, later, 2, 0.75, false);
  assert_true(average[0] == 3.5f && average[1] == 5.0f);
  gpa_weights(1e6, 1e-3, 3, w);
  assert_true(w[0] == 0 && w[1] == 0 && w[2] == 1);
}

static void groups(void **state) {
  Kit *k = *state;
  float v[1] = {0};
  OptimParam p[] = {{.name = "text.ctx", .value = v, .n = 1},
                    {.name = "visual.ctx", .value = v, .n = 1}};
  OptimSpec s = {OPTIM_sgd, .group = {{"text.*", constant(2e-3), 0}, {NULL, constant(1e-2), 0}},
                 .n_groups = 2};
  Optim *o;
  assert_int_equal(optim_new(&s, p, 2, k->arena, k->diag, &o), VLPC_OK);
  assert_true(optim_lr(o, 0, 0) == 2e-3 && optim_lr(o, 1, 0) == 1e-2);
  s.group[0].match = "txt.*";
  kit_expect(k, optim_new(&s, p, 2, k->arena, k->diag, &o), DIAG_OPTIM_GROUP,
             "vlpc: error[E1115]: no parameter is in the group 'txt.*'\n"
             "  found:    parameters such as 'text.ctx'\n"
             "  fix:      match names with * and ?; the first group that matches has the "
             "parameter\n");
  s.group[0].match = "text.*";
  s.n_groups = 1;
  kit_expect(k, optim_new(&s, p, 2, k->arena, k->diag, &o), DIAG_OPTIM_GROUP,
             "vlpc: error[E1115]: the parameter 'visual.ctx' is in no group\n"
             "  fix:      add a group that matches '*'\n");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      kit_test(same_as_pytorch), kit_test(no_gradient), kit_test(same_as_dassl),
      kit_test(averaging), kit_test(stages),       kit_test(groups),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
