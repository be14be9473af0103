/* SPDX-License-Identifier: Apache-2.0 */
/* config.c - keys, recipes, values and their printing; all by the two tables. */
#include "train/config.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/train_entries.h"

typedef enum { KEY_int, KEY_real, KEY_bool, KEY_word, KEY_text } KeyKind;

typedef struct {
  const char *name;
  KeyKind kind;
  size_t at; /* of the field in Config */
  double least, most;
  int64_t most_int; /* as a double it would be rounded */
  const char *words;
} Key;

static const Key keys[] = {
#define INT(key, least, most, what) {#key, KEY_int, offsetof(Config, key), least, 0, most, NULL},
#define REAL(key, least, most, what) {#key, KEY_real, offsetof(Config, key), least, most, 0, NULL},
#define BOOL(key, what) {#key, KEY_bool, offsetof(Config, key), 0, 0, 0, NULL},
#define WORD(key, words, what) {#key, KEY_word, offsetof(Config, key), 0, 0, 0, words},
#define TEXT(key, what) {#key, KEY_text, offsetof(Config, key), 0, 0, 0, NULL},
#include "train/config.def"
};

static const char *const key_names[] = {
    "recipe", "groups",
#define INT(key, least, most, what) #key,
#define REAL(key, least, most, what) #key,
#define BOOL(key, what) #key,
#define WORD(key, words, what) #key,
#define TEXT(key, what) #key,
#include "train/config.def"
};

typedef struct {
  const char *name, *method, *options;
  int64_t epochs, batch, warmup;
  double lr, decay;
} Recipe;

static const Recipe recipes[] = {
#define RECIPE(name, method, epochs, batch, lr, warmup, decay, options, source) \
  {name, method, options, epochs, batch, warmup, lr, decay},
#include "train/recipes.def"
};

static const char *const recipe_names[] = {
#define RECIPE(name, method, epochs, batch, lr, warmup, decay, options, source) name,
#include "train/recipes.def"
    NULL};

const char *const *config_recipes(void) { return recipe_names; }

/* ---- values ------------------------------------------------------------- */

static VlStatus bad_value(const ConfigItem *i, Diag *d, const char *expected) {
  VlStatus st = diag_error(d, DIAG_CONFIG_VALUE, i->at, "%s cannot be this", i->key);
  diag_found(d, "'%s'", i->value);
  diag_expected(d, "%s", expected);
  diag_fix(d, "correct the value, or leave the key out to take the recipe's");
  return st;
}

static bool parse_bool(const char *text, bool *out) {
  *out = strcmp(text, "true") == 0;
  return *out || strcmp(text, "false") == 0;
}

/* The word of a|b|c that text is; NULL when it is none. */
static const char *find_word(const char *words, const char *text, Arena *a) {
  size_t n = strlen(text);
  for (const char *w = words; w != NULL; w = strchr(w, '|')) {
    if (*w == '|') w++;
    if (strcspn(w, "|") == n && memcmp(w, text, n) == 0) return arena_strndup(a, w, n);
  }
  return NULL;
}

/* What is wanted, in words. */
static const char *wanted(const Key *k, Arena *a) {
  Str s = {.arena = a};
  if (k->kind == KEY_bool) return "true or false";
  if (k->kind == KEY_word) return arena_printf(a, "one of %s", k->words);
  if (k->kind == KEY_int)
    str_printf(&s, "a whole number from %" PRId64 " to %" PRId64, (int64_t)k->least, k->most_int);
  if (k->kind == KEY_real) {
    str_add(&s, "a number from ");
    str_f64(&s, k->least);
    str_add(&s, " to ");
    str_f64(&s, k->most);
  }
  return str_text(&s);
}

static VlStatus set_field(Config *c, const Key *k, const ConfigItem *i, Arena *a, Diag *d) {
  char *field = (char *)c + k->at;
  int64_t whole = 0;
  double real = 0;
  bool yes = false, ok = true;
  const char *text = NULL;
  if (k->kind == KEY_int) {
    ok = parse_i64(i->value, &whole) && whole >= (int64_t)k->least && whole <= k->most_int;
    if (ok) memcpy(field, &whole, sizeof whole);
  } else if (k->kind == KEY_real) {
    ok = parse_f64(i->value, &real) && real >= k->least && real <= k->most;
    if (ok) memcpy(field, &real, sizeof real);
  } else if (k->kind == KEY_bool) {
    ok = parse_bool(i->value, &yes);
    if (ok) memcpy(field, &yes, sizeof yes);
  } else {
    text = k->kind == KEY_text ? arena_strdup(a, i->value) : find_word(k->words, i->value, a);
    ok = text != NULL;
    if (ok) memcpy(field, &text, sizeof text);
  }
  return ok ? VLPC_OK : bad_value(i, d, wanted(k, a));
}

/* MATCH:LR:WARMUP:DECAY,… */
static VlStatus set_groups(Config *c, const ConfigItem *i, Arena *a, Diag *d) {
  static const char form[] = "up to 8 of MATCH:LR:WARMUP:DECAY with commas between";
  c->n_groups = 0;
  for (const char *p = i->value; *p != '\0';) {
    size_t n = strcspn(p, ",");
    char *part[4] = {arena_strndup(a, p, n)};
    for (int f = 3; f > 0; f--) { /* from the end: a pattern may have colons */
      char *colon = strrchr(part[0], ':');
      if (colon == NULL) return bad_value(i, d, form);
      *colon = '\0';
      part[f] = colon + 1;
    }
    ConfigGroup g = {.match = part[0]};
    bool ok = part[0][0] != '\0' && parse_f64(part[1], &g.lr) && g.lr >= 0 && g.lr <= 1e6 &&
              parse_i64(part[2], &g.warmup_epochs) && g.warmup_epochs >= 0 &&
              g.warmup_epochs <= 1000000 && parse_f64(part[3], &g.weight_decay) &&
              g.weight_decay >= 0 && g.weight_decay <= 1e6;
    if (!ok || c->n_groups == CONFIG_GROUPS_MAX) return bad_value(i, d, form);
    c->group[c->n_groups++] = g;
    p += n + (p[n] == ',');
  }
  return VLPC_OK;
}

static VlStatus unknown_key(const ConfigItem *i, Diag *d) {
  const char *near = str_nearest(i->key, key_names, VL_COUNT(key_names));
  VlStatus st = diag_error(d, DIAG_CONFIG_KEY, i->at, "there is no key '%s'", i->key);
  if (near != NULL)
    diag_fix(d, "did you mean '%s'?", near);
  else
    diag_fix(d, "remove it; a run prints all keys with their values");
  return st;
}

static VlStatus set_key(Config *c, const ConfigItem *i, Arena *a, Diag *d) {
  if (strcmp(i->key, "groups") == 0) return set_groups(c, i, a, d);
  for (size_t k = 0; k < VL_COUNT(keys); k++)
    if (strcmp(keys[k].name, i->key) == 0) return set_field(c, &keys[k], i, a, d);
  return unknown_key(i, d);
}

/* ---- recipes ------------------------------------------------------------ */

static Config defaults(const Recipe *r) {
  return (Config){.recipe = r->name, .method = r->method, .phrase = "", .template = "",
                  .seed = 1, .classes = "all", .epochs = r->epochs, .batch = r->batch,
                  .shards = 1, .test_batch = 100, .precision = "any", .augment = "papers",
                  .optimizer = "sgd", .lr = r->lr, .schedule = "cosine",
                  .warmup_epochs = r->warmup, .warmup_lr = 1e-5, .weight_decay = r->decay,
                  .momentum = 0.9, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8,
                  .eval_epochs = 1, .on_nonfinite = "stop"};
}

/* A row's options: key=value with blanks between; underscores are blanks of a
** phrase. */
static void set_options(Config *c, const char *options, Arena *a) {
  for (const char *p = options; *p != '\0';) {
    size_t n = strcspn(p, " ");
    char *key = arena_strndup(a, p, n), *value = strchr(key, '=');
    VL_CHECK(value != NULL, "recipes.def: an option without a value");
    *value++ = '\0';
    for (char *u = value; strcmp(key, "phrase") == 0 && *u != '\0'; u++)
      if (*u == '_') *u = ' ';
    ConfigItem i = {key, value, DIAG_NOWHERE};
    VL_CHECK(set_key(c, &i, a, NULL) == VLPC_OK, "recipes.def: a wrong option");
    p += n + (p[n] == ' ');
  }
}

static VlStatus take_recipe(Config *out, const char *name, DiagAt at, Arena *a, Diag *d) {
  for (size_t i = 0; i < VL_COUNT(recipes); i++) {
    if (strcmp(recipes[i].name, name) != 0) continue;
    *out = defaults(&recipes[i]);
    set_options(out, recipes[i].options, a);
    return VLPC_OK;
  }
  const char *near = str_nearest(name, recipe_names, VL_COUNT(recipes));
  VlStatus st = diag_error(d, DIAG_RECIPE, at, "there is no recipe '%s'", name);
  if (near != NULL)
    diag_fix(d, "did you mean '%s'?", near);
  else
    diag_fix(d, "a recipe is named as its method: coop, maple, vpt-deep, provp-ref, …");
  return st;
}

VlStatus config_set(Config *c, const ConfigItem *i, Arena *a, Diag *d) {
  if (strcmp(i->key, "recipe") == 0) return take_recipe(c, i->value, i->at, a, d);
  return set_key(c, i, a, d);
}

VlStatus config_recipe(const char *name, Arena *a, Diag *d, Config *out) {
  return take_recipe(out, name, DIAG_NOWHERE, a, d);
}

/* ---- for the optimiser --------------------------------------------------- */

static OptimGroup optim_group(const Config *c, const ConfigGroup *g) {
  Schedule s = {.shape = strcmp(c->schedule, "cosine") == 0 ? SCHEDULE_cosine : SCHEDULE_constant,
                .lr = g->lr,
                .epochs = (uint32_t)c->epochs, /* below a million, as config.def bounds them */
                .warmup_epochs = (uint32_t)g->warmup_epochs,
                .warmup_lr = c->warmup_lr};
  return (OptimGroup){g->match, s, g->weight_decay};
}

OptimSpec config_optim(const Config *c) {
  ConfigGroup rest = {NULL, c->lr, c->warmup_epochs, c->weight_decay};
  OptimSpec s = {.rule = strcmp(c->optimizer, "adamw") == 0 ? OPTIM_adamw : OPTIM_sgd,
                 .momentum = c->momentum, .nesterov = c->nesterov, .beta1 = c->beta1,
                 .beta2 = c->beta2, .eps = c->eps};
  for (uint32_t i = 0; i < c->n_groups; i++)
    s.group[s.n_groups++] = optim_group(c, &c->group[i]);
  s.group[s.n_groups++] = optim_group(c, &rest);
  return s;
}

_Static_assert(CONFIG_GROUPS_MAX < OPTIM_GROUPS_MAX, "there is room for the rest");

/* ---- printing ----------------------------------------------------------- */

static void print_key(const Config *c, const Key *k, Str *s) {
  const char *field = (const char *)c + k->at, *text;
  str_printf(s, "%s: ", k->name);
  if (k->kind == KEY_int) {
    int64_t v;
    memcpy(&v, field, sizeof v);
    str_printf(s, "%" PRId64, v);
  } else if (k->kind == KEY_real) {
    double v;
    memcpy(&v, field, sizeof v);
    str_f64(s, v);
  } else if (k->kind == KEY_bool) {
    str_add(s, *(const bool *)field ? "true" : "false");
  } else {
    memcpy(&text, field, sizeof text);
    if (k->kind == KEY_word) str_add(s, text);
    else str_json(s, text, strlen(text));
  }
  str_add(s, "\n");
}

const char *config_weights(const Config *c, Arena *a) {
  return arena_printf(a, TRAIN_WEIGHTS, c->loss_text, c->loss_image, c->loss_logit, c->loss_aux);
}

void config_print(const Config *c, Str *s) {
  str_printf(s, "recipe: %s\n", c->recipe);
  for (size_t k = 0; k < VL_COUNT(keys); k++) print_key(c, &keys[k], s);
  str_add(s, c->n_groups == 0 ? "groups: []\n" : "groups:\n");
  for (uint32_t i = 0; i < c->n_groups; i++) {
    const ConfigGroup *g = &c->group[i];
    str_add(s, "  - match: ");
    str_json(s, g->match, strlen(g->match));
    str_add(s, "\n    lr: ");
    str_f64(s, g->lr);
    str_printf(s, "\n    warmup_epochs: %" PRId64 "\n    weight_decay: ", g->warmup_epochs);
    str_f64(s, g->weight_decay);
    str_add(s, "\n");
  }
}
