/* SPDX-License-Identifier: Apache-2.0 */
/* progress.h - a line on stderr during long work, and stopping on request.
**
** On a terminal the line is redrawn ten times a second at most; elsewhere a new
** one comes every 30 seconds.  SIGINT and SIGTERM ask the work to stop; the
** second one ends the program at once. */
#ifndef VLPC_CLI_PROGRESS_H
#define VLPC_CLI_PROGRESS_H

#include "cli/cli.h"

/* Catches the signals; quiet: no lines. */
void progress_start(bool quiet);
/* Shows "what done/total"; total 0: not known. */
void progress_show(const char *what, uint64_t done, uint64_t total);
/* Takes the line away, so that other text can be printed. */
void progress_clear(void);
/* The signal that asked to stop, or 0. */
int progress_signal(void);
/* E0010 when asked to stop. */
VL_MUST_USE VlStatus progress_check(Cli *c);

#endif
