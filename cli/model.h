/* SPDX-License-Identifier: Apache-2.0 */
/* model.h - opens artifacts, sessions and the compiler as the options say. */
#ifndef VLPC_CLI_MODEL_H
#define VLPC_CLI_MODEL_H

#include "cli/cli.h"

typedef struct {
  vlpc_artifact *artifact;
  vlpc_session *session;
  vlpc_artifact_info info;
  double open_ms, session_ms; /* time each took */
} Model;

/* Both are closed with c's arena.  Errors are the library's. */
VL_MUST_USE VlStatus model_open(Cli *c, const char *path, Model *out);
/* The artifact alone; out->session is NULL. */
VL_MUST_USE VlStatus model_open_artifact(Cli *c, const char *path, Model *out);
VL_MUST_USE VlStatus compiler_open(Cli *c, vlpc_compiler **out);

/* Keeps a library object's error for main and returns s. */
VlStatus cli_foreign(Cli *c, VlStatus s, const char *text, const char *json);
#define fail_session(c, m, s)                                                                      \
  cli_foreign(c, s, vlpc_session_error((m)->session), vlpc_session_error_json((m)->session))
#define fail_compiler(c, k, s)                                                                     \
  cli_foreign(c, s, vlpc_compiler_error(k), vlpc_compiler_error_json(k))

/* Folder of the code cache, made when absent; NULL: none wanted or none
** possible. */
const char *cache_folder(Cli *c);

#endif
