/* SPDX-License-Identifier: Apache-2.0 */
/* complete.c - completion for bash, zsh and fish, from the tables. */
#include <string.h>

#include "cli/cli.h"

static bool takes(uint32_t cmd, uint32_t option) {
  return (opt_info[option].in >> cmd & 1u) != 0;
}

static bool is_choice(const OptInfo *o) {
  return o->value != NULL && strchr(o->value, '|') != NULL;
}

/* The words of a choice with sep between them. */
static void put_choice(FILE *f, const char *value, char sep) {
  for (const char *p = value; *p != '\0'; p++) fputc(*p == '|' ? sep : *p, f);
}

/* Text in single quotes of a shell. */
static void put_quoted(FILE *f, const char *text) {
  fputc('\'', f);
  for (const char *p = text; *p != '\0'; p++)
    if (*p == '\'')
      fputs("'\\''", f);
    else
      fputc(*p, f);
  fputc('\'', f);
}

void complete_bash(FILE *f) {
  fputs("# bash completion for vlpc\n_vlpc() {\n"
        "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} list=\n"
        "  if [ \"$COMP_CWORD\" = 1 ]; then\n    list='--version --help",
        f);
  for (uint32_t i = 0; i < CMD__COUNT; i++) fprintf(f, " %s", cmd_info[i].name);
  fputs("'\n  else\n    case ${COMP_WORDS[1]}:$before in\n", f);
  for (uint32_t i = 0; i < OPT__COUNT; i++) {
    if (!is_choice(&opt_info[i])) continue;
    fprintf(f, "    *:--%s) list='", opt_info[i].name);
    put_choice(f, opt_info[i].value, ' ');
    fputs("' ;;\n", f);
  }
  for (uint32_t c = 0; c < CMD__COUNT; c++) {
    fprintf(f, "    %s:*) [[ $word == -* ]] && list='", cmd_info[c].name);
    for (uint32_t i = 0; i < OPT__COUNT; i++)
      if (takes(c, i)) fprintf(f, "--%s ", opt_info[i].name);
    fputs("' ;;\n", f);
  }
  fputs("    esac\n  fi\n  COMPREPLY=($(compgen -W \"$list\" -- \"$word\"))\n}\n"
        "complete -o default -F _vlpc vlpc\n",
        f);
}

void complete_zsh(FILE *f) {
  fputs("#compdef vlpc\n_vlpc() {\n  local -a commands=(\n", f);
  for (uint32_t i = 0; i < CMD__COUNT; i++)
    fprintf(f, "    '%s:%s'\n", cmd_info[i].name, cmd_info[i].what);
  fputs("  )\n  if (( CURRENT == 2 )); then _describe command commands; return; fi\n"
        "  case ${words[2]} in\n",
        f);
  for (uint32_t c = 0; c < CMD__COUNT; c++) {
    fprintf(f, "  %s) _arguments", cmd_info[c].name);
    for (uint32_t i = 0; i < OPT__COUNT; i++) {
      const OptInfo *o = &opt_info[i];
      if (!takes(c, i)) continue;
      fprintf(f, " \\\n    '--%s", o->name);
      if (is_choice(o))
        fputs("[choice]:value:(", f), put_choice(f, o->value, ' '), fputc(')', f);
      else if (o->value != NULL)
        fprintf(f, "[%s]:value:_files", o->value);
      fputc('\'', f);
    }
    fputs(" \\\n    '*:file:_files' ;;\n", f);
  }
  fputs("  esac\n}\n_vlpc \"$@\"\n", f);
}

void complete_fish(FILE *f) {
  fputs("# fish completion for vlpc\n", f);
  for (uint32_t c = 0; c < CMD__COUNT; c++) {
    fprintf(f, "complete -c vlpc -n __fish_use_subcommand -a %s -d ", cmd_info[c].name);
    put_quoted(f, cmd_info[c].what);
    fputc('\n', f);
  }
  for (uint32_t c = 0; c < CMD__COUNT; c++)
    for (uint32_t i = 0; i < OPT__COUNT; i++) {
      const OptInfo *o = &opt_info[i];
      if (!takes(c, i)) continue;
      fprintf(f, "complete -c vlpc -n '__fish_seen_subcommand_from %s' -l %s", cmd_info[c].name,
              o->name);
      if (o->letter != 0) fprintf(f, " -s %c", o->letter);
      if (o->value != NULL) fputs(" -r", f);
      if (is_choice(o)) fputs(" -f -a '", f), put_choice(f, o->value, ' '), fputc('\'', f);
      fputs(" -d ", f);
      put_quoted(f, o->help);
      fputc('\n', f);
    }
}
