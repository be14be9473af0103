/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_model.c - vlpc model. */
#include <string.h>

#include "cli/json.h"
#include "cli/model.h"
#include "cli/progress.h"

static VlStatus check_kind(Cli *c) {
  if (strcmp(c->arg[0], "clip") == 0) return VLPC_OK;
  VlStatus s =
      diag_error(c->diag, DIAG_MODEL_OPTION, DIAG_NOWHERE, "no model of this kind is made");
  diag_found(c->diag, "%s", c->arg[0]);
  diag_expected(c->diag, "clip");
  return s;
}

VlStatus cmd_model(Cli *c) {
  vlpc_compiler *k;
  VL_TRY(check_kind(c));
  int64_t seed, opset;
  VL_TRY(opt_need(c, OPT_output_dir));
  VL_TRY(opt_int(c, OPT_seed, (int64_t[]){0, INT64_MAX}, 1, &seed));
  VL_TRY(opt_int(c, OPT_opset, (int64_t[]){1, 100}, 0, &opset));
  vlpc_model_options o = {.struct_size = sizeof o,
                          .kind = c->arg[0],
                          .size = opt_given(c, size) ? opt(c, size) : "b32",
                          .directory = opt(c, output_dir),
                          .seed = (uint64_t)seed,
                          .two_files = opt_given(c, two_files),
                          .opset = (int32_t)opset,
                          .dtype = opt(c, dtype)};
  VL_TRY(compiler_open(c, &k));
  VL_TRY(fail_compiler(c, k, vlpc_model_write(k, &o)));
  const char *const files[] = {"image.onnx", "text.onnx", "model.onnx"};
  Json j = js_start(c);
  js_text(&j, "size", o.size);
  js_int(&j, "seed", seed);
  js_list(&j, "files");
  for (int i = o.two_files ? 0 : 2; i < (o.two_files ? 2 : 3); i++) {
    const char *path = arena_printf(c->arena, "%s/%s", o.directory, files[i]);
    js_text(&j, NULL, path);
    if (!c->json && !opt_given(c, quiet)) fprintf(stderr, "vlpc: wrote %s\n", path);
  }
  if (c->json) js_print(&j);
  return VLPC_OK;
}
