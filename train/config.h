/* SPDX-License-Identifier: Apache-2.0 */
/* config.h - what a run does, in one value: a paper's recipe, changed by a YAML
** file, changed by options.  Printed as YAML it reads back as the same value.
**
**   recipe: maple            # first of all, wherever it stands
**   epochs: 10
**   groups:                  # the first that matches a parameter's name counts
**     - match: "visual.*"
**       lr: 0.002
**       warmup_epochs: 1
**       weight_decay: 0.0005
**
** Parameters in no group have the rates of the file's own keys.  As an option a
** group is MATCH:LR:WARMUP:DECAY, several with commas between. */
#ifndef VLPC_TRAIN_CONFIG_H
#define VLPC_TRAIN_CONFIG_H

#include "base/diag.h"
#include "base/str.h"
#include "train/optim.h"

#define CONFIG_GROUPS_MAX 8u
#define CONFIG_FILE_MAX ((uint64_t)1 << 20)

typedef struct {
  const char *match;
  double lr;
  int64_t warmup_epochs;
  double weight_decay;
} ConfigGroup;

typedef struct {
  const char *recipe;
#define INT(key, least, most, what) int64_t key;
#define REAL(key, least, most, what) double key;
#define BOOL(key, what) bool key;
#define WORD(key, words, what) const char *key;
#define TEXT(key, what) const char *key;
#include "train/config.def"
  ConfigGroup group[CONFIG_GROUPS_MAX];
  uint32_t n_groups;
} Config;

/* config.c */

/* A recipe's values.  Fails with RECIPE, which names a near one. */
VL_MUST_USE VlStatus config_recipe(const char *name, Arena *a, Diag *d, Config *out);
/* Names of the recipes, NULL behind the last. */
const char *const *config_recipes(void);
/* Sets one key; "recipe" begins again.  at is where the value stands, for
** messages.  Fails with CONFIG_KEY, CONFIG_VALUE, RECIPE. */
typedef struct {
  const char *key, *value;
  DiagAt at;
} ConfigItem;
VL_MUST_USE VlStatus config_set(Config *c, const ConfigItem *i, Arena *a, Diag *d);
/* The whole value as YAML. */
void config_print(const Config *c, Str *s);

/* Weights of the loss's parts, as TRAIN_WEIGHTS has them. */
const char *config_weights(const Config *c, Arena *a);

/* The optimiser of a configuration: its groups, then one for all others with the
** configuration's own rates.  Borrows the patterns. */
OptimSpec config_optim(const Config *c);

/* config_yaml.c */

/* Changes *c by a file, or by text (name is for messages).  Aliases, nesting and
** more than one document are refused.  Fails with CONFIG_SYNTAX, CONFIG_KEY (also
** for a key given twice), CONFIG_VALUE, RECIPE and as io_read does. */
VL_MUST_USE VlStatus config_read(Config *c, const char *path, Arena *a, Diag *d);
VL_MUST_USE VlStatus config_parse(Config *c, const char *text, const char *name, Arena *a, Diag *d);

#endif
