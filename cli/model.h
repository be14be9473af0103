/* SPDX-License-Identifier: Apache-2.0 */
/* model.h - opens artifacts, sessions and the compiler as the options say. */
#ifndef VLPC_CLI_MODEL_H
#define VLPC_CLI_MODEL_H

#include "cli/cli.h"

typedef struct {
  vlpc_artifact *artifact;
  vlpc_session *session;
  vlpc_prompts *prompts; /* of --prompts, bound in the session; NULL: none */
  vlpc_artifact_info info;
  double open_ms, session_ms; /* time each took */
  uint64_t other_bytes;       /* of memory that are no activations */
} Model;

/* Both are closed with c's arena.  Errors are the library's. */
VL_MUST_USE VlStatus model_open(Cli *c, const char *path, Model *out);
/* The artifact alone; out->session is NULL. */
VL_MUST_USE VlStatus model_open_artifact(Cli *c, const char *path, Model *out);
VL_MUST_USE VlStatus compiler_open(Cli *c, vlpc_compiler **out);

/* Each keeps a library object's error for main and returns s.  They are functions
** because s, often a call that sets the error, must come before it is read. */
VlStatus cli_foreign(Cli *c, VlStatus s, const char *text, const char *json);
VlStatus fail_session(Cli *c, const Model *m, VlStatus s);
VlStatus fail_compiler(Cli *c, const vlpc_compiler *k, VlStatus s);

/* The file of an option, the one of that name beside the model of the first argument, or
** NULL for "none". */
const char *model_companion(Cli *c, OptId id, const char *name);
/* Options for a session of an opened artifact, as the command line says; errors are E0004. */
VL_MUST_USE VlStatus model_session_options(Cli *c, Model *m, vlpc_session_options *out);

/* Folder of the code cache, made when absent; NULL: none wanted or none
** possible. */
const char *cache_folder(Cli *c);

#endif
