/* SPDX-License-Identifier: Apache-2.0 */
/* prompt_sets.h - vlpc prompt import, export and info. */
#ifndef VLPC_CLI_PROMPT_SETS_H
#define VLPC_CLI_PROMPT_SETS_H

#include "cli/files.h"
#include "cli/model.h"

/* Does what the first argument says; *done is false, and nothing was done, when it is
** none of those that work on sets. */
VL_MUST_USE VlStatus prompt_sets(Cli *c, bool *done);
/* A set that is closed with c's arena.  Errors are the library's. */
VL_MUST_USE VlStatus open_prompts(Cli *c, const char *path, vlpc_prompts **out);
/* An artifact, and a set that fits it. */
VL_MUST_USE VlStatus open_fitting(Cli *c, const char *artifact, const char *set, Model *m,
                                  vlpc_prompts **p);
/* The class names that a set was trained on; none: it does not say. */
Texts classes_of_set(Cli *c, const vlpc_prompts *p);
/* The same of m's prompt set.  Errors: LABELS when it names none. */
VL_MUST_USE VlStatus labels_of_set(Cli *c, const Model *m, Texts *out);

#endif
