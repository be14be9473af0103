/* SPDX-License-Identifier: Apache-2.0 */
/* test_config.c - recipes as their papers have them, files over recipes, options
** over files, and the text of every refusal. */
#include "train/config.h"

#include <math.h>
#include <string.h>

#include "train_kit.h"

static Config recipe(Kit *k, const char *name) {
  Config c;
  assert_int_equal(config_recipe(name, k->arena, k->diag, &c), VLPC_OK);
  return c;
}

static const char *printed(Kit *k, const Config *c) {
  Str s = {.arena = k->arena};
  config_print(c, &s);
  return str_text(&s);
}

/* A run prints what it does; the print is a file that does the same. */
static void every_recipe_reads_back(void **state) {
  Kit *k = *state;
  int n = 0;
  for (const char *const *name = config_recipes(); *name != NULL; name++, n++) {
    Config c = recipe(k, *name), other = recipe(k, "coop");
    const char *text = printed(k, &c);
    assert_int_equal(config_parse(&other, text, "printed", k->arena, k->diag), VLPC_OK);
    assert_string_equal(printed(k, &other), text);
    assert_string_equal(other.recipe, *name);
  }
  assert_in_range(n, 20, 60);
}

static void papers(void **state) {
  Kit *k = *state;
  Config c = recipe(k, "maple");
  assert_true(c.epochs == 5 && c.batch == 4 && c.lr == 3.5e-3 && c.warmup_epochs == 1);
  assert_true(c.weight_decay == 5e-4 && c.momentum == 0.9 && c.warmup_lr == 1e-5);
  c = recipe(k, "coop-base");
  assert_string_equal(c.phrase, "a photo of a");
  c = recipe(k, "dpt-cavpt");
  assert_true(c.n_groups == 1 && c.group[0].lr == 2e-3 && c.group[0].warmup_epochs == 1);
  assert_true(c.stage_epochs == 30 && c.loss_aux == 0.3 && c.lr == 1e-2 && c.warmup_epochs == 10);
  c = recipe(k, "promptsrc");
  assert_true(c.loss_text == 25 && c.loss_image == 10 && c.gpa_mean == 15 && c.gpa_std == 1);
}

static void the_whole_print(void **state) {
  Kit *k = *state;
  Config c = recipe(k, "dpt");
  assert_string_equal(printed(k, &c),
                      "recipe: dpt\nmethod: \"dpt\"\nphrase: \"\"\ntemplate: \"\"\n"
                      "prompt_length: 0\nprompt_depth: 0\nseed: 1\nshots: 16\nclasses: all\n"
                      "epochs: 60\nstage_epochs: 30\nbatch: 32\nshards: 1\ntest_batch: 100\n"
                      "precision: any\naugment: papers\nviews: 0\noptimizer: sgd\nlr: 0.01\n"
                      "schedule: cosine\nwarmup_epochs: 10\nwarmup_lr: 1e-05\n"
                      "weight_decay: 0.0005\nmomentum: 0.9\nnesterov: false\nbeta1: 0.9\n"
                      "beta2: 0.999\neps: 1e-08\ngpa_mean: 0\ngpa_std: 0\nloss_text: 0\n"
                      "loss_image: 0\nloss_logit: 0.1\nloss_aux: 0\neval_epochs: 1\n"
                      "save_steps: 0\n"
                      "on_nonfinite: stop\n"
                      "groups:\n  - match: \"ctx\"\n    lr: 0.002\n    warmup_epochs: 1\n"
                      "    weight_decay: 0.0005\n");
}

static void to_the_optimiser(void **state) {
  Kit *k = *state;
  Config c = recipe(k, "dpt");
  OptimSpec s = config_optim(&c);
  assert_true(s.rule == OPTIM_sgd && s.momentum == 0.9 && s.n_groups == 2);
  assert_string_equal(s.group[0].match, "ctx");
  assert_null(s.group[1].match);
  /* Text: one epoch of warm-up; image: ten. */
  assert_true(schedule_lr(&s.group[0].schedule, 1) == 2e-3);
  assert_true(schedule_lr(&s.group[1].schedule, 9) == 1e-5);
  assert_true(schedule_lr(&s.group[1].schedule, 10) == 1e-2);
  assert_true(s.group[0].weight_decay == 5e-4 && s.group[1].weight_decay == 5e-4);
}

static void files_over_recipes(void **state) {
  Kit *k = *state;
  Config c = recipe(k, "coop");
  kit_put_text("c.yaml", "# mine\nepochs: 7\nnesterov: true\ntemplate: 'a {} & \"b\"'\n"
                         "recipe: maple\noptimizer: adamw\n"
                         "groups: [{match: 'visual.*', weight_decay: 0, lr: 1e-1, "
                         "warmup_epochs: 2}]\n");
  assert_int_equal(config_read(&c, "c.yaml", k->arena, k->diag), VLPC_OK);
  assert_string_equal(c.method, "maple");
  assert_true(c.epochs == 7 && c.lr == 3.5e-3 && c.nesterov);
  assert_string_equal(c.template, "a {} & \"b\"");
  assert_true(c.n_groups == 1 && c.group[0].lr == 0.1 && c.group[0].warmup_epochs == 2);
  assert_string_equal(c.group[0].match, "visual.*");
  ConfigItem i = {"groups", "a:b*:1:0:0,c:2:3:4", DIAG_NOWHERE};
  assert_int_equal(config_set(&c, &i, k->arena, k->diag), VLPC_OK);
  assert_string_equal(c.group[0].match, "a:b*");
  assert_true(c.n_groups == 2 && c.group[1].weight_decay == 4);
  assert_int_equal(config_parse(&c, "", "empty", k->arena, k->diag), VLPC_OK);
  assert_int_equal(config_parse(&c, "groups: []", "none", k->arena, k->diag), VLPC_OK);
  assert_int_equal(c.n_groups, 0);
}

static void refused(Kit *k, const char *yaml, DiagCode code, const char *text) {
  Config c = recipe(k, "coop");
  kit_expect(k, config_parse(&c, yaml, "c.yaml", k->arena, k->diag), code, text);
}

static void wrong_keys(void **state) {
  Kit *k = *state;
  Config c;
  refused(k, "epochs: 1\nepoch: 3\n", DIAG_CONFIG_KEY,
          "vlpc: error[E1113]: c.yaml: line 2: there is no key 'epoch'\n"
          "  fix:      did you mean 'epochs'?\n");
  refused(k, "zzzzzzzzzz: 3\n", DIAG_CONFIG_KEY,
          "vlpc: error[E1113]: c.yaml: line 1: there is no key 'zzzzzzzzzz'\n"
          "  fix:      remove it; a run prints all keys with their values\n");
  refused(k, "lr: 1\nlr: 2\n", DIAG_CONFIG_KEY,
          "vlpc: error[E1113]: c.yaml: line 2: the key 'lr' is there twice\n"
          "  fix:      remove this line or line 1\n");
  refused(k, "\nrecipe: mapel\n", DIAG_RECIPE,
          "vlpc: error[E1111]: c.yaml: line 2: there is no recipe 'mapel'\n"
          "  fix:      did you mean 'maple'?\n");
  kit_expect(k, config_recipe("yolo-nas", k->arena, k->diag, &c), DIAG_RECIPE,
             "vlpc: error[E1111]: there is no recipe 'yolo-nas'\n"
             "  fix:      a recipe is named as its method: coop, maple, vpt-deep, provp-ref, …\n");
}

static void wrong_values(void **state) {
  static const struct {
    const char *yaml, *key, *found, *expected;
  } rows[] = {
      {"epochs: 0", "epochs", "0", "a whole number from 1 to 1000000"},
      {"epochs: 1.5", "epochs", "1.5", "a whole number from 1 to 1000000"},
      {"seed: 9223372036854775808", "seed", "9223372036854775808",
       "a whole number from 0 to 9223372036854775807"},
      {"lr: nan", "lr", "nan", "a number from 0 to 1000000"},
      {"momentum: -0.1", "momentum", "-0.1", "a number from 0 to 1"},
      {"nesterov: yes", "nesterov", "yes", "true or false"},
      {"optimizer: adam", "optimizer", "adam", "one of sgd|adamw"},
      {"optimizer: ''", "optimizer", "", "one of sgd|adamw"},
      {"groups: [{match: a, lr: x, warmup_epochs: 1, weight_decay: 0}]", "groups", "a:x:1:0",
       "up to 8 of MATCH:LR:WARMUP:DECAY with commas between"},
  };
  Kit *k = *state;
  for (size_t i = 0; i < VL_COUNT(rows); i++)
    refused(k, rows[i].yaml, DIAG_CONFIG_VALUE,
            arena_printf(k->arena,
                         "vlpc: error[E1114]: c.yaml: line 1: %s cannot be this\n"
                         "  found:    '%s'\n  expected: %s\n"
                         "  fix:      correct the value, or leave the key out to take the "
                         "recipe's\n",
                         rows[i].key, rows[i].found, rows[i].expected));
}

static void wrong_syntax(void **state) {
  static const struct {
    const char *yaml, *where;
  } rows[] = {
      {"lr: &a 1\nepochs: *a\n", "line 2: an alias is not taken here"},
      {"- lr\n", "line 1: the file is no mapping"},
      {"lr: [1]\n", "line 1: a value is no scalar"},
      {"lr: {a: 1}\n", "line 1: a value is no scalar"},
      {"? [a]\n: 1\n", "line 1: a key is no scalar"},
      {"lr: 1\n---\nlr: 2\n", "line 2: a second document"},
      {"groups: 1\n", "line 1: groups are no list"},
      {"groups:\n- a\n", "line 2: a group is no mapping"},
      {"groups:\n- match: a\n", "line 2: a group lacks a key, or a value has a comma or colon"},
      {"groups:\n- macht: a\n", "line 2: a key that a group does not have, or twice"},
      {"lr: \"1\n", "line 2: found unexpected end of stream"},
  };
  Kit *k = *state;
  for (size_t i = 0; i < VL_COUNT(rows); i++)
    refused(k, rows[i].yaml, DIAG_CONFIG_SYNTAX,
            arena_printf(k->arena,
                         "vlpc: error[E1112]: c.yaml: %s\n"
                         "  expected: lines of KEY: VALUE, and groups as a list of match, lr, "
                         "warmup_epochs and weight_decay\n"
                         "  fix:      correct this line; a run prints its configuration in the "
                         "right form\n",
                         rows[i].where));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      kit_test(every_recipe_reads_back),
      kit_test(papers),
      kit_test(the_whole_print),
      kit_test(to_the_optimiser),
      kit_test(files_over_recipes),
      kit_test(wrong_keys),
      kit_test(wrong_values),
      kit_test(wrong_syntax),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
