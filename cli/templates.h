/* SPDX-License-Identifier: Apache-2.0 */
/* templates.h - the text that a class name is put into. */
#ifndef VLPC_CLI_TEMPLATES_H
#define VLPC_CLI_TEMPLATES_H

#include "cli/cli.h"

/* --template: a text with "{}", or the name of a data set in templates.def; absent when
** it is not given.  Errors: E0004. */
VL_MUST_USE VlStatus read_template(Cli *c, const char *absent, const char **out);

#endif
