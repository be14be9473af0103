/* SPDX-License-Identifier: Apache-2.0 */
/* api_compile.c - vlpc_compile.h as thin calls through the compiler library. */
#include <stdlib.h>
#include <string.h>

#include <unistd.h>

#include "runtime/calibrate.h"
#include "runtime/compiler_lib.h"
#include "runtime/session.h"

struct vlpc_compiler {
  Diag *diag;
  CompilerLib lib;         /* empty when it could not be opened */
  char *library;           /* where it was asked for; NULL: the usual places */
  CompilerBytes report[2]; /* by vlpc_text_format */
  CompilerBytes text;      /* last text given out */
};

static void drop(vlpc_compiler *c, CompilerBytes *b) {
  if (c->lib.api) c->lib.api->free_bytes(b);
}

static VlStatus argument(vlpc_compiler *c, const char *what) {
  return diag_error(c->diag, DIAG_ARGUMENT, DIAG_NOWHERE, "%s", what);
}

vlpc_status vlpc_compiler_open(const vlpc_compiler_options *options, vlpc_compiler **out) {
  vlpc_compiler_options o;
  if (!out) return VLPC_E_INVALID_ARG;
  vlpc_compiler *c = *out = calloc(1, sizeof *c);
  if (c) c->diag = diag_new();
  if (!c || !c->diag) {
    free(c);
    *out = NULL;
    return VLPC_E_NOMEM;
  }
  if (!options_copy(&o, sizeof o, options))
    return argument(c, "options.struct_size is not that of a known vlpc_compiler_options");
  if (o.library && !(c->library = strdup(o.library))) return VLPC_E_NOMEM;
  return compiler_lib_open(o.library, c->diag, &c->lib);
}

void vlpc_compiler_close(vlpc_compiler *c) {
  if (!c) return;
  drop(c, &c->report[VLPC_TEXT]);
  drop(c, &c->report[VLPC_JSON]);
  drop(c, &c->text);
  compiler_lib_close(&c->lib);
  diag_free(c->diag);
  free(c->library);
  free(c);
}

const char *vlpc_compiler_error(const vlpc_compiler *c) { return c ? diag_text(c->diag) : ""; }

const char *vlpc_compiler_error_json(const vlpc_compiler *c) {
  return c ? diag_json(c->diag) : "[]";
}

const char *vlpc_compiler_version(const vlpc_compiler *c) {
  return c && c->lib.api ? c->lib.api->build : "";
}

/* Starts a call: false when there is no compiler to call. */
static bool begin(vlpc_compiler *c) {
  if (!c || !c->lib.api) return false;
  diag_clear(c->diag);
  return true;
}

static const char *text_of(const CompilerBytes *b) { return b->at ? (const char *)b->at : ""; }

static void drop_reports(vlpc_compiler *c) {
  drop(c, &c->report[VLPC_TEXT]);
  drop(c, &c->report[VLPC_JSON]);
}

/* ---- with a calibration -------------------------------------------------- */

static bool is_calibrated(const vlpc_compile_options *o) {
  bool bf16 = o->precision && strcmp(o->precision, "bf16") == 0;
  return bf16 && !(o->calibrate && strcmp(o->calibrate, "none") == 0);
}

static VlStatus compile_as(vlpc_compiler *c, const vlpc_compile_options *o, const char *precision,
                           const char *output) {
  vlpc_compile_options one = *o;
  one.precision = precision;
  one.output = output;
  if (strcmp(precision, "fp32") == 0) one.seal = NULL;
  drop_reports(c);
  return c->lib.api->compile(&one, c->diag, c->report);
}

/* The model in both precisions, the difference of their answers, and the second
** with it; the first two are removed. */
static VlStatus compile_both(vlpc_compiler *c, const vlpc_compile_options *o, Arena *a) {
  Calibration k = {.exact = arena_printf(a, "%s.fp32.part", o->output),
                   .rounded = arena_printf(a, "%s.bf16.part", o->output),
                   .inputs = o->calibrate,
                   .compiler_library = c->library,
                   .cache_dir = o->cache_dir};
  Str found = {.arena = a};
  VlStatus s = compile_as(c, o, "fp32", k.exact);
  if (s == VLPC_OK) s = compile_as(c, o, o->precision, k.rounded);
  if (s == VLPC_OK) s = calibrate(&k, c->diag, &found);
  if (s == VLPC_OK)
    s = artifact_append(k.rounded, o->output, SECTION_calibration, &found, c->diag);
  unlink(k.exact), unlink(k.rounded);
  return s;
}

static VlStatus compile_calibrated(vlpc_compiler *c, const vlpc_compile_options *o) {
  Arena *a = arena_new(0);
  if (!a || ARENA_GUARD(a)) {
    arena_free(a);
    return diag_error(c->diag, DIAG_NOMEM, DIAG_NOWHERE, "no memory is left to calibrate");
  }
  VlStatus s = compile_both(c, o, a);
  arena_free(a);
  return s;
}

vlpc_status vlpc_compile(vlpc_compiler *c, const vlpc_compile_options *options) {
  vlpc_compile_options o;
  if (!begin(c)) return VLPC_E_INVALID_ARG;
  if (!options_copy(&o, sizeof o, options) || !o.models[0] || !o.output)
    return argument(c, "options need struct_size, models[0] and output");
  drop_reports(c);
  if (is_calibrated(&o)) return compile_calibrated(c, &o);
  return c->lib.api->compile(&o, c->diag, c->report);
}

const char *vlpc_compile_report(vlpc_compiler *c, vlpc_text_format format) {
  return c && (format == VLPC_TEXT || format == VLPC_JSON) ? text_of(&c->report[format]) : "";
}

vlpc_status vlpc_compile_emit(vlpc_compiler *c, const vlpc_compile_options *options,
                              const char *what, const char **out_text) {
  vlpc_compile_options o;
  if (!begin(c)) return VLPC_E_INVALID_ARG;
  if (!options_copy(&o, sizeof o, options) || !o.models[0] || !what || !out_text)
    return argument(c, "options need struct_size and models[0]; what and out_text are not NULL");
  drop_reports(c);
  drop(c, &c->text);
  VlStatus s = c->lib.api->emit_text(&o, what, c->diag, &c->text, c->report);
  *out_text = text_of(&c->text);
  return s;
}

vlpc_status vlpc_model_write(vlpc_compiler *c, const vlpc_model_options *options) {
  vlpc_model_options o;
  if (!begin(c)) return VLPC_E_INVALID_ARG;
  if (!options_copy(&o, sizeof o, options) || !o.kind || !o.size || !o.directory)
    return argument(c, "options need struct_size, kind, size and directory");
  return c->lib.api->model_write(&o, c->diag);
}

vlpc_status vlpc_compile_inspect(vlpc_compiler *c, const char *path, vlpc_text_format format,
                                 const char **out_text) {
  if (!begin(c)) return VLPC_E_INVALID_ARG;
  if (!path || !out_text) return argument(c, "path or out_text is NULL");
  drop(c, &c->text);
  VlStatus s = c->lib.api->inspect(path, format, c->diag, &c->text);
  *out_text = text_of(&c->text);
  return s;
}

vlpc_status vlpc_prompt_write(vlpc_compiler *c, const vlpc_prompt_options *options) {
  vlpc_prompt_options o;
  if (!begin(c)) return VLPC_E_INVALID_ARG;
  if (!options_copy(&o, sizeof o, options) || !o.method || !o.output)
    return argument(c, "options need struct_size, method and output");
  return c->lib.api->prompt_write(&o, c->diag);
}

vlpc_status vlpc_prompt_list(vlpc_compiler *c, vlpc_text_format format, const char **out_text) {
  if (!begin(c)) return VLPC_E_INVALID_ARG;
  if (!out_text) return argument(c, "out_text is NULL");
  drop(c, &c->text);
  VlStatus s = c->lib.api->prompt_list(format, c->diag, &c->text);
  *out_text = text_of(&c->text);
  return s;
}

/* The bytes of a named section. */
static Section find_section(const vlpc_artifact *a, const char *name) {
  vlpc_section s = {.struct_size = sizeof s};
  for (uint32_t i = 0; vlpc_artifact_section(a, i, &s); i++) {
    if (strcmp(s.name, name) == 0) return (Section){s.data, s.bytes};
  }
  return (Section){NULL, 0};
}

vlpc_status vlpc_kernel_describe(vlpc_compiler *c, const vlpc_artifact *a,
                                 const vlpc_step_info *step, vlpc_kernel_info *out) {
  if (!begin(c)) return VLPC_E_INVALID_ARG;
  Section kernels = find_section(a, "kernels");
  if (!kernels.at || !step || !out) return argument(c, "artifact, step or out is not usable");
  vlpc_kernel_info info = {0};
  drop(c, &c->text);
  VL_TRY(c->lib.api->describe(kernels.at, (size_t)kernels.bytes, step, c->diag, &c->text,
                              &info.flops));
  info.text = text_of(&c->text);
  return options_out(out, &info, sizeof info)
             ? VLPC_OK
             : argument(c, "out->struct_size is not that of a vlpc_kernel_info");
}

vlpc_status vlpc_compiler_device(vlpc_compiler *c, uint32_t i, vlpc_found_device *out,
                                 int32_t *more) {
  vlpc_found_device found = {0};
  bool some = false;
  if (!begin(c)) return VLPC_E_INVALID_ARG;
  if (!out || !more) return argument(c, "out or more is NULL");
  if (!options_copy(&found, sizeof found, out))
    return argument(c, "out->struct_size is not that of a vlpc_found_device");
  *more = 0;
  drop(c, &c->text);
  VL_TRY(c->lib.api->device(i, c->diag, &c->text, &found, &some));
  if (!some) return VLPC_OK;
  *more = 1;
  return options_out(out, &found, sizeof found)
             ? VLPC_OK
             : argument(c, "out->struct_size is not that of a vlpc_found_device");
}

vlpc_status vlpc_tune(vlpc_compiler *c, const vlpc_artifact *a, const vlpc_tune_options *options,
                      const char **out_text) {
  vlpc_tune_options o;
  if (!begin(c)) return VLPC_E_INVALID_ARG;
  Section kernels = find_section(a, "kernels");
  if (!kernels.at || !out_text) return argument(c, "artifact or out_text is not usable");
  if (!options_copy(&o, sizeof o, options) || !o.device || !o.cache_dir || !(o.seconds >= 0))
    return argument(c, "options need struct_size, device, cache_dir and seconds");
  drop(c, &c->text);
  VlStatus s = c->lib.api->tune(&o, kernels.at, (size_t)kernels.bytes, c->diag, &c->text);
  *out_text = text_of(&c->text);
  return s;
}
