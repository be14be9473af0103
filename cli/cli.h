/* SPDX-License-Identifier: Apache-2.0 */
/* cli.h - the parts that the commands share.
**
** A command is a function of a Cli: it reads options and arguments, calls the
** library, prints its result on stdout and returns a status.  A failure leaves
** its text in c->diag (the command's own) or by cli_foreign (a library
** object's); main prints it and turns the status into the exit code.  What is
** opened is registered with the arena, which main frees, so a command may
** return at any point. */
#ifndef VLPC_CLI_CLI_H
#define VLPC_CLI_CLI_H

#include <stdio.h>

#include "base/arena.h"
#include "base/diag.h"
#include "vlpc/vlpc_compile.h"

#define MANY UINT32_MAX

typedef enum {
#define CMD(id, ...) CMD_##id,
#include "cli/commands.def"
  CMD__COUNT
} CmdId;

typedef enum {
#define OPT(id, ...) OPT_##id,
#include "cli/options.def"
  OPT__COUNT
} OptId;

typedef struct {
  const char *name, *args, *what, *about, *examples;
  uint32_t min, max;
} CmdInfo;
extern const CmdInfo cmd_info[CMD__COUNT];

typedef struct {
  const char *name, *value, *help;
  char letter;
  uint32_t in; /* bit k: CmdId k */
} OptInfo;
extern const OptInfo opt_info[OPT__COUNT];

typedef struct {
  Arena *arena;
  Diag *diag;
  CmdId cmd;
  const char *value[OPT__COUNT]; /* NULL: not given; "" when it takes none */
  const char **arg;
  uint32_t n_args;
  bool json;
  bool mute;                          /* another process tells the error */
  void (*end)(void);                  /* once the error is told; NULL: nothing */
  bool failed;                        /* ran, but the result is bad: exit code 1 */
  const char *foreign, *foreign_json; /* a library object's error, or NULL */
} Cli;

/* ---- options (options.c) ------------------------------------------------- */

/* Fills c from the words after the program's name.  Errors: E0002 … E0005. */
VL_MUST_USE VlStatus cli_parse(Cli *c, int n, char *const *word);
/* False when no command has that name. */
bool cmd_find(const char *name, CmdId *out);

#define opt(c, id) ((c)->value[OPT_##id])
#define opt_given(c, id) ((c)->value[OPT_##id] != NULL)
/* The value of a number option, absent where it is not given.  Errors: E0004. */
VL_MUST_USE VlStatus opt_int(Cli *c, OptId id, int64_t range[2], int64_t absent, int64_t *out);
VL_MUST_USE VlStatus opt_real(Cli *c, OptId id, double absent, double *out); /* finite, ≥ 0 */
VL_MUST_USE VlStatus opt_bytes(Cli *c, OptId id, uint64_t *out);             /* 0: not given */
/* E0004 when a needed option is not given. */
VL_MUST_USE VlStatus opt_need(Cli *c, OptId id);

/* ---- help (help.c, manual.c, complete.c) ---------------------------------- */

void help_overview(FILE *f);
void help_command(FILE *f, CmdId cmd);
void manual_overview(FILE *f);
void manual_command(FILE *f, CmdId cmd);
void complete_bash(FILE *f);
void complete_zsh(FILE *f);
void complete_fish(FILE *f);

/* ---- commands -------------------------------------------------------------- */

#define CMD(id, ...) VlStatus cmd_##id(Cli *c);
#include "cli/commands.def"

#endif
