/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_tune.c - vlpc tune. */
#include <stdio.h>

#include "cli/json.h"
#include "cli/model.h"

static VlStatus no_folder(Cli *c) {
  VlStatus s = diag_error(c->diag, DIAG_WRITE, DIAG_NOWHERE, "there is no folder for the table");
  diag_fix(c->diag, "name a folder that can be written with --cache-dir");
  return s;
}

VlStatus cmd_tune(Cli *c) {
  Model m;
  vlpc_compiler *k;
  const char *text;
  double seconds;
  VL_TRY(opt_need(c, OPT_device));
  VL_TRY(opt_real(c, OPT_tune_seconds, 30, &seconds));
  VL_TRY(model_open_artifact(c, c->arg[0], &m));
  VL_TRY(compiler_open(c, &k));
  vlpc_tune_options o = {.struct_size = sizeof o, .device = opt(c, device),
                         .cache_dir = cache_folder(c), .seconds = seconds,
                         .format = c->json ? VLPC_JSON : VLPC_TEXT,
                         .clblast = opt_given(c, clblast)};
  if (o.cache_dir == NULL) return no_folder(c);
  VL_TRY(fail_compiler(c, k, vlpc_tune(k, m.artifact, &o, &text)));
  if (!c->json) {
    fputs(text, stdout);
    return VLPC_OK;
  }
  Json j = js_start(c);
  js_text(&j, "file", c->arg[0]);
  js_raw(&j, "tuning", text);
  js_print(&j);
  return VLPC_OK;
}
