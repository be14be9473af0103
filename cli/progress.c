/* SPDX-License-Identifier: Apache-2.0 */
/* progress.c - the progress line and the signals; the program's only state of
** its own, because a signal handler reaches nothing else. */
#include "cli/progress.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/machine.h"

static volatile sig_atomic_t stop_signal;
static struct {
  bool quiet, terminal, drawn;
  int64_t last_ns;
} line;

static void on_signal(int number) {
  stop_signal = number;
}

void progress_start(bool quiet) {
  struct sigaction stop = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
  sigaction(SIGINT, &stop, NULL);
  sigaction(SIGTERM, &stop, NULL);
  signal(SIGXFSZ, SIG_IGN); /* a write past a limit fails, and its file is removed */
  const char *term = getenv("TERM");
  line.quiet = quiet;
  line.terminal = isatty(STDERR_FILENO) && term != NULL && strcmp(term, "dumb") != 0;
  line.last_ns = clock_ns();
}

void progress_show(const char *what, uint64_t done, uint64_t total) {
  int64_t now = clock_ns();
  if (line.quiet || now - line.last_ns < (line.terminal ? 100000000 : 30000000000)) return;
  line.last_ns = now;
  fprintf(stderr, "%svlpc: %s", line.terminal ? "\r\033[K" : "", what);
  if (total > 0)
    fprintf(stderr, " %" PRIu64 "/%" PRIu64 " (%" PRIu64 " %%)", done, total, done * 100 / total);
  if (!line.terminal) fputc('\n', stderr);
  line.drawn = line.terminal;
  fflush(stderr);
}

void progress_clear(void) {
  if (line.drawn) fputs("\r\033[K", stderr);
  line.drawn = false;
}

int progress_signal(void) {
  return stop_signal;
}

VlStatus progress_check(Cli *c) {
  if (stop_signal == 0) return VLPC_OK;
  return diag_error(c->diag, DIAG_CANCELLED, DIAG_NOWHERE, "stopped on request");
}
