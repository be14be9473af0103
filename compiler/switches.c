/* SPDX-License-Identifier: Apache-2.0 */
/* switches.c - the text of vlpc_compile_options.passes into options.
**
** Words, separated by blanks:
**   --no-PASS          leaves a pass out (passes.def) or a rewrite of the
**                      scheduler (the table below); with a prompt module, which is
**                      linked at points that passes find, what it recognises is
**                      taken apart behind the link
**   --stop-after=PASS  --bisect=N  --dump=PASS|all  --check=eval,clone,roundtrip */
#include "compiler/compiler.h"

#include <string.h>

static const struct {
  const char *name;
  uint32_t flag;
} sched_switch[] = {
    {"fuse_elementwise", SCHED_NO_FUSE_EW},
    {"epilogue", SCHED_NO_EPILOGUE},
    {"concat", SCHED_NO_CONCAT},
    {"inplace", SCHED_NO_INPLACE},
    {"text_rows", COMPILE_NO_TEXT_ROWS},
    {"recompute", COMPILE_NO_RECOMPUTE},
    {"narrow", COMPILE_NO_NARROW},
    {"absorb", COMPILE_NO_ABSORB},
    {"cut", COMPILE_NO_CUT},
    {"bf16_attention", SCHED_NO_BF16_ATTENTION},
};

static const struct {
  const char *name;
  uint32_t flag;
} check_word[] = {
    {"eval", PASS_CHECK_EVAL}, {"clone", PASS_CHECK_CLONE}, {"roundtrip", PASS_CHECK_ROUNDTRIP}};

static VlStatus unknown(Compile *c, const char *what, const char *word) {
  VlStatus s = diag_error(c->d, DIAG_USAGE, DIAG_NOWHERE, "there is no %s '%s'", what, word);
  Str names = {.arena = c->a};
  for (int p = 1; p < PASS__COUNT; p++)
    str_printf(&names, "%s%s", p > 1 ? ", " : "", pass_name((PassId)p));
  for (size_t i = 0; i < VL_COUNT(sched_switch); i++)
    str_printf(&names, ", %s", sched_switch[i].name);
  diag_expected(c->d, "%s", str_text(&names));
  return s;
}

static VlStatus leave_out(Compile *c, const char *name) {
  PassId p;
  if (pass_find(name, &p)) {
    c->pass.skip |= UINT64_C(1) << p;
    return VLPC_OK;
  }
  for (size_t i = 0; i < VL_COUNT(sched_switch); i++) {
    if (strcmp(sched_switch[i].name, name) == 0) {
      c->sched_flags |= sched_switch[i].flag;
      return VLPC_OK;
    }
  }
  return unknown(c, "pass", name);
}

static VlStatus dump_after(Compile *c, const char *name) {
  PassId p;
  if (strcmp(name, "all") == 0)
    c->pass.dump = UINT64_MAX;
  else if (pass_find(name, &p))
    c->pass.dump |= UINT64_C(1) << p;
  else
    return unknown(c, "pass", name);
  return VLPC_OK;
}

static VlStatus check_words(Compile *c, const char *words) {
  while (*words) {
    size_t n = strcspn(words, ","), i = 0;
    while (i < VL_COUNT(check_word) &&
           (strlen(check_word[i].name) != n || memcmp(check_word[i].name, words, n)))
      i++;
    if (i == VL_COUNT(check_word)) return unknown(c, "check", arena_strndup(c->a, words, n));
    c->pass.check |= check_word[i].flag;
    words += n + (words[n] == ',');
  }
  return VLPC_OK;
}

static const char *after(const char *word, const char *prefix) {
  size_t n = strlen(prefix);
  return strncmp(word, prefix, n) == 0 ? word + n : NULL;
}

static VlStatus one_switch(Compile *c, const char *word) {
  const char *rest = NULL;
  int64_t n = 0;
  if ((rest = after(word, "--no-"))) return leave_out(c, rest);
  if ((rest = after(word, "--dump="))) return dump_after(c, rest);
  if ((rest = after(word, "--check="))) return check_words(c, rest);
  if ((rest = after(word, "--stop-after="))) {
    return pass_find(rest, &c->pass.stop_after) ? VLPC_OK : unknown(c, "pass", rest);
  }
  if ((rest = after(word, "--bisect=")) && parse_i64(rest, &n) && n > 0 && n <= UINT32_MAX) {
    c->pass.bisect = (uint32_t)n;
    return VLPC_OK;
  }
  return unknown(c, "switch", word);
}

VlStatus compile_switches(Compile *c) {
  const char *at = c->o->passes ? c->o->passes : "";
  while (*at) {
    size_t n = strcspn(at, " ");
    if (n) VL_TRY(one_switch(c, arena_strndup(c->a, at, n)));
    at += n + (at[n] == ' ');
  }
  return VLPC_OK;
}
