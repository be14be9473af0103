/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_prompt.c - vlpc prompt. */
#include "cli/prompt_sets.h"

VlStatus cmd_prompt(Cli *c) {
  bool done;
  VL_TRY(prompt_sets(c, &done));
  if (done) return VLPC_OK;
  VlStatus s = diag_error(c->diag, DIAG_ARGUMENTS, DIAG_NOWHERE, "vlpc prompt has no action '%s'",
                          c->arg[0]);
  diag_expected(c->diag, "import, export or info");
  return s;
}
