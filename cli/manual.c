/* SPDX-License-Identifier: Apache-2.0 */
/* manual.c - man pages in roff, from the tables. */
#include <string.h>

#include "cli/cli.h"

/* Prints text so that roff takes none of it for its own. */
static void put(FILE *f, const char *text) {
  for (const char *p = text; *p != '\0'; p++) {
    bool first = p == text || p[-1] == '\n';
    if (first && (*p == '.' || *p == '\'')) fputs("\\&", f);
    if (*p == '\\')
      fputs("\\e", f);
    else if (*p == '-')
      fputs("\\-", f);
    else
      fputc(*p, f);
  }
}

static void head(FILE *f, const char *name, const char *what) {
  fprintf(f, ".TH \"%s\" 1 \"\" \"vlpc %s\" \"vlpc\"\n.SH NAME\n", name, vlpc_version());
  put(f, name);
  fputs(" \\- ", f);
  put(f, what);
  fputc('\n', f);
}

static void put_option(FILE *f, const OptInfo *o) {
  fputs(".TP\n", f);
  if (o->letter != 0) fprintf(f, "\\fB\\-%c\\fR, ", o->letter);
  fputs("\\fB\\-\\-", f);
  put(f, o->name);
  fputs("\\fR", f);
  if (o->value != NULL) {
    fputs(" \\fI", f);
    put(f, o->value);
    fputs("\\fR", f);
  }
  fputc('\n', f);
  put(f, o->help);
  fputc('\n', f);
}

static void exit_codes(FILE *f) {
  static const struct {
    const char *code, *what;
  } row[] = {{"0", "good"},
             {"1", "ran, but the result failed, such as a comparison out of tolerance"},
             {"2", "the command line or an argument is wrong"},
             {"3", "an input file breaks its format or does not fit another"},
             {"4", "a valid model or option that vlpc cannot do"},
             {"5", "no such device, or code for this machine could not be made"},
             {"6", "memory is out, or a stated limit was passed"},
             {"7", "the system refused to read or write"},
             {"8", "a value is not finite where it must be"},
             {"9", "a fault of vlpc: please report it"},
             {"130, 143", "stopped by SIGINT or SIGTERM"}};
  fputs(".SH EXIT STATUS\n", f);
  for (size_t i = 0; i < VL_COUNT(row); i++) fprintf(f, ".TP\n%s\n%s\n", row[i].code, row[i].what);
}

static void environment(FILE *f) {
  fputs(".SH ENVIRONMENT\n"
        "VLPC_THREADS, VLPC_ISA, VLPC_CACHE_DIR and VLPC_COMPILER_LIBRARY stand for the options\n"
        "of these names where those are not given.  Code is kept below XDG_CACHE_HOME or\n"
        "~/.cache.\n",
        f);
}

void manual_overview(FILE *f) {
  head(f, "vlpc", "compile CLIP from ONNX to native code and run it");
  fputs(".SH SYNOPSIS\n\\fBvlpc\\fR \\fICOMMAND\\fR ...\n.SH COMMANDS\n", f);
  for (uint32_t i = 0; i < CMD__COUNT; i++) {
    fprintf(f, ".TP\n\\fBvlpc\\-%s\\fR(1)\n", cmd_info[i].name);
    put(f, cmd_info[i].what);
    fputc('\n', f);
  }
  exit_codes(f);
  environment(f);
}

void manual_command(FILE *f, CmdId cmd) {
  const CmdInfo *info = &cmd_info[cmd];
  char name[32];
  snprintf(name, sizeof name, "vlpc-%s", info->name);
  head(f, name, info->what);
  fprintf(f, ".SH SYNOPSIS\n\\fBvlpc %s\\fR ", info->name);
  put(f, info->args);
  fputs(" [\\fIOPTION\\fR]...\n.SH DESCRIPTION\n", f);
  put(f, info->about);
  fputs("\n.SH OPTIONS\n", f);
  for (uint32_t i = 0; i < OPT__COUNT; i++)
    if ((opt_info[i].in >> cmd & 1u) != 0) put_option(f, &opt_info[i]);
  fputs(".SH EXAMPLES\n.nf\n", f);
  put(f, info->examples);
  fputs("\n.fi\n", f);
  exit_codes(f);
  fputs(".SH SEE ALSO\n\\fBvlpc\\fR(1)\n", f);
}
