/* SPDX-License-Identifier: Apache-2.0 */
/* help.c - help on a terminal, from the tables; vlpc help and vlpc explain. */
#include <string.h>

#include "cli/json.h"

void help_overview(FILE *f) {
  fputs("usage: vlpc COMMAND ...\n\n"
        "Compiles CLIP from ONNX to native CPU code and runs it.\n\ncommands:\n",
        f);
  for (uint32_t i = 0; i < CMD__COUNT; i++)
    fprintf(f, "  %-10s %s\n", cmd_info[i].name, cmd_info[i].what);
  fputs("\nexamples:\n"
        "  vlpc compile clip/model.onnx -o clip.vlpc\n"
        "  vlpc classify clip.vlpc photo.jpg --labels \"a cat,a dog\"\n"
        "  vlpc bench clip.vlpc --tower image\n\n"
        "vlpc help COMMAND tells more; vlpc --version [--json] names the version.\n",
        f);
}

static bool takes(CmdId cmd, uint32_t option) {
  return (opt_info[option].in >> cmd & 1u) != 0;
}

/* Prints text in lines of at most 78 columns. */
static void print_wrapped(FILE *f, const char *text) {
  size_t column = 0;
  for (const char *p = text; *p != '\0';) {
    size_t word = strcspn(p, " ");
    if (column > 0 && column + 1 + word > 78) {
      fputc('\n', f);
      column = 0;
    }
    fprintf(f, "%s%.*s", column > 0 ? " " : "", (int)word, p);
    column += word + (column > 0);
    p += word;
    p += strspn(p, " ");
  }
  fputc('\n', f);
}

static void print_option(FILE *f, const OptInfo *o) {
  char left[96], letter[8] = "";
  bool choice = o->value != NULL && strchr(o->value, '|') != NULL;
  if (o->letter != 0) snprintf(letter, sizeof letter, "-%c, ", o->letter);
  snprintf(left, sizeof left, "%s--%s%s%s%s%s", letter, o->name, o->value ? " " : "",
           choice ? "{" : "", o->value ? o->value : "", choice ? "}" : "");
  if (strlen(left) <= 24)
    fprintf(f, "  %-24s  %s\n", left, o->help);
  else
    fprintf(f, "  %s\n  %-24s  %s\n", left, "", o->help);
}

void help_command(FILE *f, CmdId cmd) {
  const CmdInfo *info = &cmd_info[cmd];
  fprintf(f, "usage: vlpc %s%s%s [OPTION]...\n\n", info->name, *info->args ? " " : "", info->args);
  print_wrapped(f, info->about);
  fputs("\noptions:\n", f);
  for (uint32_t i = 0; i < OPT__COUNT; i++)
    if (takes(cmd, i)) print_option(f, &opt_info[i]);
  fputs("\nexamples:\n", f);
  for (const char *p = info->examples; *p != '\0';) {
    size_t line = strcspn(p, "\n");
    fprintf(f, "  %.*s\n", (int)line, p);
    p += line + (p[line] == '\n');
  }
}

static VlStatus print_completion(const char *shell) {
  if (strcmp(shell, "bash") == 0)
    complete_bash(stdout);
  else if (strcmp(shell, "zsh") == 0)
    complete_zsh(stdout);
  else
    complete_fish(stdout);
  return VLPC_OK;
}

static void print_overview_json(Cli *c) {
  Json j = js_start(c);
  js_list(&j, "commands");
  for (uint32_t i = 0; i < CMD__COUNT; i++) {
    js_object(&j, NULL);
    js_text(&j, "name", cmd_info[i].name);
    js_text(&j, "arguments", cmd_info[i].args);
    js_text(&j, "what", cmd_info[i].what);
    js_list(&j, "options");
    for (uint32_t k = 0; k < OPT__COUNT; k++)
      if (takes((CmdId)i, k)) js_text(&j, NULL, opt_info[k].name);
    js_end(&j);
    js_end(&j);
  }
  js_print(&j);
}

static VlStatus no_command(Cli *c, const char *word) {
  const char *names[CMD__COUNT];
  for (uint32_t i = 0; i < CMD__COUNT; i++) names[i] = cmd_info[i].name;
  const char *near = str_nearest(word, names, CMD__COUNT);
  VlStatus s =
      diag_error(c->diag, DIAG_COMMAND_UNKNOWN, DIAG_NOWHERE, "vlpc has no command '%s'", word);
  if (near != NULL)
    diag_fix(c->diag, "did you mean 'vlpc help %s'?", near);
  else
    diag_fix(c->diag, "see 'vlpc help'");
  return s;
}

VlStatus cmd_help(Cli *c) {
  CmdId cmd = CMD_help;
  bool one = c->n_args > 0 || opt_given(c, help);
  if (opt_given(c, completion)) return print_completion(opt(c, completion));
  if (c->n_args > 0 && !cmd_find(c->arg[0], &cmd)) return no_command(c, c->arg[0]);
  if (c->json)
    print_overview_json(c);
  else if (opt_given(c, man) && one)
    manual_command(stdout, cmd);
  else if (opt_given(c, man))
    manual_overview(stdout);
  else if (one)
    help_command(stdout, cmd);
  else
    help_overview(stdout);
  return VLPC_OK;
}

VlStatus cmd_explain(Cli *c) {
  for (int i = 0; i < DIAG__COUNT; i++) {
    const char *code = diag_code_name((DiagCode)i);
    if (strcmp(code, c->arg[0]) != 0) continue;
    if (!c->json) {
      printf("%s: %s\n", code, diag_code_text((DiagCode)i));
      return VLPC_OK;
    }
    Json j = js_start(c);
    js_text(&j, "code", code);
    js_text(&j, "text", diag_code_text((DiagCode)i));
    js_print(&j);
    return VLPC_OK;
  }
  VlStatus s =
      diag_error(c->diag, DIAG_ARGUMENTS, DIAG_NOWHERE, "'%s' is no error code", c->arg[0]);
  diag_expected(c->diag, "a code as errors show it, such as E0207");
  return s;
}
