/* SPDX-License-Identifier: Apache-2.0 */
/* options.c - the tables of commands and options, and the parser.
**
** Forms: --name VALUE, --name=VALUE, -o VALUE, -oVALUE, and "--", after which
** all words are arguments.  An option may be given once.  VLPC_THREADS,
** VLPC_ISA, VLPC_CACHE_DIR and VLPC_COMPILER_LIBRARY stand for options that are
** not given. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "cli/cli.h"

const CmdInfo cmd_info[CMD__COUNT] = {
#define CMD(id, min, max, args, what, about, examples) {#id, args, what, about, examples, min, max},
#include "cli/commands.def"
};

const OptInfo opt_info[OPT__COUNT] = {
#define OPT(id, name, letter, value, in, help) {name, value, help, letter, in},
#include "cli/options.def"
};
_Static_assert(CMD__COUNT < 32, "options.def keeps commands as bits of 32");

bool cmd_find(const char *name, CmdId *out) {
  for (uint32_t i = 0; i < CMD__COUNT; i++)
    if (strcmp(cmd_info[i].name, name) == 0) {
      *out = (CmdId)i;
      return true;
    }
  return false;
}

/* --- one option --- */

static bool takes(CmdId cmd, uint32_t option) {
  return (opt_info[option].in >> cmd & 1u) != 0;
}

static VlStatus unknown_option(Cli *c, const char *word, size_t n) {
  const char *names[OPT__COUNT];
  uint32_t count = 0;
  for (uint32_t i = 0; i < OPT__COUNT; i++)
    if (takes(c->cmd, i)) names[count++] = opt_info[i].name;
  const char *near = NULL;
  if (n > 2 && word[1] == '-')
    near = str_nearest(arena_strndup(c->arena, word + 2, n - 2), names, count);
  VlStatus s = diag_error(c->diag, DIAG_OPTION_UNKNOWN, DIAG_NOWHERE,
                          "vlpc %s has no option '%.*s'", cmd_info[c->cmd].name, (int)n, word);
  if (near != NULL)
    diag_fix(c->diag, "did you mean '--%s'?", near);
  else
    diag_fix(c->diag, "see 'vlpc help %s'", cmd_info[c->cmd].name);
  return s;
}

/* True when word is one of the words between the bars of a choice. */
static bool is_choice(const char *choice, const char *word) {
  size_t n = strlen(word);
  for (const char *p = choice; p != NULL; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL)
    if (strncmp(p, word, n) == 0 && (p[n] == '|' || p[n] == '\0') && n > 0) return true;
  return false;
}

static VlStatus bad_value(Cli *c, OptId id, const char *expected) {
  VlStatus s = diag_error(c->diag, DIAG_OPTION_VALUE, (DiagAt){NULL, NULL},
                          "the value of --%s is wrong", opt_info[id].name);
  diag_found(c->diag, "'%s'", c->value[id]);
  diag_expected(c->diag, "%s", expected);
  return s;
}

static VlStatus set_option(Cli *c, OptId id, const char *value) {
  const OptInfo *o = &opt_info[id];
  if (c->value[id] != NULL && o->value != NULL)
    return diag_error(c->diag, DIAG_OPTION_VALUE, DIAG_NOWHERE, "--%s is given twice", o->name);
  c->value[id] = value;
  if (o->value != NULL && strchr(o->value, '|') != NULL && !is_choice(o->value, value))
    return bad_value(c, id, arena_printf(c->arena, "one of %s", o->value));
  return VLPC_OK;
}

/* Index of the option that word names, or OPT__COUNT; *name_n is set to the
** bytes of word that name it. */
static uint32_t find_option(const Cli *c, const char *word, size_t *name_n) {
  bool is_long = word[1] == '-';
  *name_n = is_long ? strcspn(word, "=") : 2;
  for (uint32_t i = 0; i < OPT__COUNT; i++) {
    const OptInfo *o = &opt_info[i];
    if (!takes(c->cmd, i)) continue;
    if (!is_long && o->letter != 0 && o->letter == word[1]) return i;
    if (is_long && strlen(o->name) == *name_n - 2 && memcmp(o->name, word + 2, *name_n - 2) == 0)
      return i;
  }
  return OPT__COUNT;
}

/* Reads the option at word[*i], moving *i to the last word it takes. */
static VlStatus read_option(Cli *c, int n, char *const *word, int *i) {
  const char *w = word[*i];
  size_t name_n;
  uint32_t id = find_option(c, w, &name_n);
  if (id == OPT__COUNT) return unknown_option(c, w, name_n);
  const char *rest = w + name_n;
  bool joined = *rest != '\0';
  if (opt_info[id].value == NULL) {
    if (!joined) return set_option(c, (OptId)id, "");
    return diag_error(c->diag, DIAG_OPTION_VALUE, DIAG_NOWHERE, "--%s takes no value",
                      opt_info[id].name);
  }
  if (joined) return set_option(c, (OptId)id, *rest == '=' ? rest + 1 : rest);
  if (*i + 1 == n)
    return diag_error(c->diag, DIAG_OPTION_VALUE, DIAG_NOWHERE, "--%s needs a value: %s",
                      opt_info[id].name, opt_info[id].value);
  return set_option(c, (OptId)id, word[++*i]);
}

/* --- the command line --- */

static VlStatus find_command(Cli *c, const char *word) {
  if (cmd_find(word, &c->cmd)) return VLPC_OK;
  const char *names[CMD__COUNT];
  for (uint32_t i = 0; i < CMD__COUNT; i++) names[i] = cmd_info[i].name;
  const char *near = str_nearest(word, names, CMD__COUNT);
  VlStatus s =
      diag_error(c->diag, DIAG_COMMAND_UNKNOWN, DIAG_NOWHERE, "vlpc has no command '%s'", word);
  if (near != NULL)
    diag_fix(c->diag, "did you mean 'vlpc %s'?", near);
  else
    diag_fix(c->diag, "see 'vlpc help'");
  return s;
}

static VlStatus check_arguments(Cli *c) {
  const CmdInfo *info = &cmd_info[c->cmd];
  if (opt_given(c, help) || (c->n_args >= info->min && c->n_args <= info->max)) return VLPC_OK;
  VlStatus s = diag_error(c->diag, DIAG_ARGUMENTS, DIAG_NOWHERE,
                          c->n_args < info->min ? "vlpc %s needs more arguments"
                                                : "vlpc %s takes fewer arguments",
                          info->name);
  diag_found(c->diag, "%u", c->n_args);
  diag_expected(c->diag, "vlpc %s %s", info->name, info->args);
  return s;
}

static void add_environment(Cli *c) {
  static const struct {
    OptId id;
    const char *variable;
  } row[] = {{OPT_threads, "VLPC_THREADS"},
             {OPT_isa, "VLPC_ISA"},
             {OPT_cache_dir, "VLPC_CACHE_DIR"},
             {OPT_compiler_library, "VLPC_COMPILER_LIBRARY"}};
  for (size_t i = 0; i < VL_COUNT(row); i++) {
    const char *value = getenv(row[i].variable);
    if (value != NULL && *value != '\0' && c->value[row[i].id] == NULL && takes(c->cmd, row[i].id))
      c->value[row[i].id] = value;
  }
}

VlStatus cli_parse(Cli *c, int n, char *const *word) {
  c->arg = arena_array(c->arena, const char *, n);
  for (int i = 0; i < n; i++) c->json |= strcmp(word[i], "--json") == 0;
  if (n == 0) return diag_error(c->diag, DIAG_USAGE, DIAG_NOWHERE, "no command; see 'vlpc help'");
  VL_TRY(find_command(c, word[0]));
  bool only_arguments = false;
  for (int i = 1; i < n; i++) {
    if (!only_arguments && strcmp(word[i], "--") == 0)
      only_arguments = true;
    else if (!only_arguments && word[i][0] == '-' && word[i][1] != '\0')
      VL_TRY(read_option(c, n, word, &i));
    else
      c->arg[c->n_args++] = word[i];
  }
  add_environment(c);
  c->json = opt_given(c, json);
  return check_arguments(c);
}

/* --- values --- */

VlStatus opt_int(Cli *c, OptId id, int64_t range[2], int64_t absent, int64_t *out) {
  *out = absent;
  if (c->value[id] == NULL) return VLPC_OK;
  if (parse_i64(c->value[id], out) && *out >= range[0] && *out <= range[1]) return VLPC_OK;
  return bad_value(c, id,
                   arena_printf(c->arena, "a whole number from %lld to %lld", (long long)range[0],
                                (long long)range[1]));
}

VlStatus opt_real(Cli *c, OptId id, double absent, double *out) {
  *out = absent;
  if (c->value[id] == NULL) return VLPC_OK;
  if (parse_f64(c->value[id], out) && isfinite(*out) && *out >= 0) return VLPC_OK;
  return bad_value(c, id, "a number that is not negative");
}

VlStatus opt_bytes(Cli *c, OptId id, uint64_t *out) {
  *out = 0;
  const char *text = c->value[id];
  if (text == NULL) return VLPC_OK;
  size_t n = strlen(text);
  const char *units = "KMG", *unit = n > 1 ? strchr(units, text[n - 1]) : NULL;
  int shift = unit != NULL ? 10 * (int)(unit - units + 1) : 0;
  int64_t v;
  if (parse_i64(arena_strndup(c->arena, text, unit != NULL ? n - 1 : n), &v) && v > 0 &&
      v <= INT64_MAX >> shift) {
    *out = (uint64_t)v << shift;
    return VLPC_OK;
  }
  return bad_value(c, id, "a number of bytes, such as 512M");
}

VlStatus opt_need(Cli *c, OptId id) {
  if (c->value[id] != NULL && c->value[id][0] != '\0') return VLPC_OK;
  VlStatus s = diag_error(c->diag, DIAG_OPTION_VALUE, DIAG_NOWHERE, "vlpc %s needs --%s",
                          cmd_info[c->cmd].name, opt_info[id].name);
  diag_fix(c->diag, "add --%s %s", opt_info[id].name, opt_info[id].value);
  return s;
}
