/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_compile.c - vlpc compile. */
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/json.h"
#include "cli/machine.h"
#include "cli/model.h"
#include "cli/progress.h"

static int on_progress(void *user, const char *stage, uint64_t done, uint64_t total) {
  (void)user;
  progress_show(stage, done, total);
  return progress_signal() != 0;
}

static uint64_t file_bytes(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static VlStatus print_stage(Cli *c, vlpc_compiler *k, const vlpc_compile_options *o) {
  const char *text;
  VL_TRY(fail_compiler(c, k, vlpc_compile_emit(k, o, opt(c, emit), &text)));
  progress_clear();
  if (!c->json) {
    fputs(text, stdout);
    return VLPC_OK;
  }
  Json j = js_start(c);
  js_text(&j, "stage", opt(c, emit));
  js_text(&j, "text", text);
  js_print(&j);
  return VLPC_OK;
}

static void print_result(Cli *c, vlpc_compiler *k, const char *output, double seconds) {
  progress_clear();
  if (!c->json) {
    fputs(vlpc_compile_report(k, VLPC_TEXT), stdout);
    if (!opt_given(c, quiet))
      fprintf(stderr, "vlpc: wrote %s (%.1f MiB) in %.2f s\n", output,
              (double)file_bytes(output) / 1048576.0, seconds);
    return;
  }
  Json j = js_start(c);
  js_text(&j, "output", output);
  js_int(&j, "file_bytes", (int64_t)file_bytes(output));
  js_real(&j, "compile_s", seconds);
  js_int(&j, "peak_rss_bytes", (int64_t)memory_peak());
  js_text(&j, "compiler", vlpc_compiler_version(k));
  js_raw(&j, "report", vlpc_compile_report(k, VLPC_JSON));
  js_print(&j);
}

VlStatus cmd_compile(Cli *c) {
  vlpc_compile_options o = {.struct_size = sizeof o,
                            .models = {c->arg[0], c->n_args > 1 ? c->arg[1] : NULL},
                            .output = opt(c, output),
                            .require_fused = opt(c, require_fused),
                            .seal = opt(c, seal),
                            .passes = opt(c, passes),
                            .external_root = opt(c, external_root),
                            .progress = on_progress,
                             .prompt = opt(c, prompt),
                             .prompt_spec = opt(c, prompt_spec),
                             .train = opt_given(c, train),
                             .precision = opt(c, precision),
                             .calibrate = opt(c, calibrate)};
  if (o.precision != NULL) o.cache_dir = cache_folder(c);
  VL_TRY(opt_bytes(c, OPT_memory_limit, &o.memory_limit));
  VL_TRY(opt_real(c, OPT_logit_scale, 0, &o.logit_scale));
  if (!opt_given(c, emit)) {
    VL_TRY(opt_need(c, OPT_output));
    o.tokenizer = model_companion(c, OPT_tokenizer, "tokenizer.json");
    o.preprocess = model_companion(c, OPT_preprocess, "preprocessor_config.json");
  }
  vlpc_compiler *k;
  int64_t start = clock_ns();
  VL_TRY(compiler_open(c, &k));
  if (opt_given(c, emit)) return print_stage(c, k, &o);
  VlStatus s = vlpc_compile(k, &o);
  if (s != VLPC_OK) {
    progress_clear();
    if (!opt_given(c, quiet)) fputs(vlpc_compile_report(k, VLPC_TEXT), stderr);
    return fail_compiler(c, k, s);
  }
  print_result(c, k, o.output, (double)(clock_ns() - start) * 1e-9);
  return VLPC_OK;
}
