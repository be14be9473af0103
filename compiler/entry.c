/* SPDX-License-Identifier: Apache-2.0 */
/* entry.c - the library's one exported function and the table behind it.
**
** Each call has an arena of its own; running out of memory lands here and
** becomes VLPC_E_NOMEM. */
#include <stdlib.h>
#include <string.h>

#include "backends/backend.h"
#include "backends/opencl/opencl.h"
#include "backends/ref/ref.h"
#include "compiler/compiler.h"
#include "models/models.h"

static VlStatus no_memory(Diag *d) {
  return diag_error(d, DIAG_NOMEM, DIAG_NOWHERE, "memory is out");
}

/* ---- bytes across the border --------------------------------------------- */

static void free_bytes(CompilerBytes *b) {
  free(b->at);
  *b = (CompilerBytes){0};
}

static VlStatus give(const void *at, size_t n, Diag *d, CompilerBytes *out) {
  free_bytes(out);
  out->at = malloc(n + 1);
  if (!out->at) return no_memory(d);
  if (n) memcpy(out->at, at, n);
  out->at[n] = 0;
  out->n = n;
  return VLPC_OK;
}

static VlStatus give_text(Str *s, Diag *d, CompilerBytes *out) {
  return give(str_text(s), s->n, d, out);
}

/* ---- running a call on an arena ------------------------------------------ */

typedef VlStatus CallFn(void *ctx, Arena *a, Diag *d);

static VlStatus on_arena(CallFn *fn, void *ctx, Diag *d) {
  Arena *a = arena_new(0);
  if (!a) return no_memory(d);
  if (ARENA_GUARD(a)) {
    arena_free(a);
    return no_memory(d);
  }
  VlStatus status = fn(ctx, a, d);
  arena_free(a);
  return status;
}

/* ---- code and kernels ---------------------------------------------------- */

typedef struct {
  const EmitCall *call;
  CompilerBytes *out;
} EmitOn;

static VlStatus emit_on(void *ctx, Arena *a, Diag *d) {
  const EmitOn *c = ctx;
  const EmitCall *call = c->call;
  CodeTarget target = {call->target, call->cache_dir, call->maker};
  KernelList l;
  const uint8_t *code = NULL;
  size_t n = 0;
  VL_TRY(kernels_read(call->kernels, call->n, a, DIAG_NOWHERE, d, &l));
  VL_TRY(backend_find("llvm_cpu")->emit(l, &target, a, d, &code, &n));
  return give(code, n, d, c->out);
}

static VlStatus emit(const EmitCall *call, Diag *d, CompilerBytes *code) {
  EmitOn c = {call, code};
  return on_arena(emit_on, &c, d);
}

typedef struct {
  const uint8_t *kernels;
  size_t n;
  const vlpc_step_info *step;
  CompilerBytes *out;
  int64_t *flops;
} DescribeOn;

static VlStatus describe_on(void *ctx, Arena *a, Diag *d) {
  DescribeOn *c = ctx;
  KernelList l;
  VL_TRY(kernels_read(c->kernels, c->n, a, DIAG_NOWHERE, d, &l));
  uint32_t i = c->step->kernel;
  if (i >= l.n || c->step->n_sizes < l.at[i].n_sizes)
    return diag_error(d, DIAG_PROGRAM, DIAG_NOWHERE, "there is no kernel %u", i);
  Str text = {.arena = a};
  kernel_describe(&l.at[i], &text);
  *c->flops = kernel_flops(&l.at[i], c->step->sizes);
  return give_text(&text, d, c->out);
}

static VlStatus describe(const uint8_t *kernels, size_t n, const vlpc_step_info *step, Diag *d,
                         CompilerBytes *text, int64_t *flops) {
  DescribeOn c = {.kernels = kernels, .n = n, .step = step, .out = text, .flops = flops};
  return on_arena(describe_on, &c, d);
}

static const DeviceDriver *driver(const char *name) {
  static const DeviceDriver *const all[] = {&device_ref, &device_opencl};
  for (size_t i = 0; i < VL_COUNT(all); i++) {
    if (strcmp(name, all[i]->name) == 0) return all[i];
  }
  return NULL;
}

typedef struct {
  uint32_t i;
  CompilerBytes *hold;
  vlpc_found_device *out;
  bool *more;
} DeviceCall;

/* The strings go one behind the other into the bytes given back. */
static VlStatus device_on(void *ctx, Arena *a, Diag *d) {
  DeviceCall *c = ctx;
  Str all = {.arena = a};
  VL_TRY(opencl_device(c->i, a, d, c->out, c->more));
  const char **text[] = {&c->out->name,   &c->out->platform, &c->out->model,
                         &c->out->driver, &c->out->kind,     &c->out->skipped,
                         &c->out->untuned};
  size_t at[VL_COUNT(text)];
  for (size_t i = 0; *c->more && i < VL_COUNT(text); i++) {
    at[i] = all.n;
    if (*text[i]) str_addn(&all, *text[i], strlen(*text[i]) + 1);
  }
  VL_TRY(give(str_text(&all), all.n, d, c->hold));
  for (size_t i = 0; *c->more && i < VL_COUNT(text); i++)
    if (*text[i]) *text[i] = (const char *)c->hold->at + at[i];
  return VLPC_OK;
}

static VlStatus device(uint32_t i, Diag *d, CompilerBytes *hold, vlpc_found_device *out,
                       bool *more) {
  DeviceCall c = {i, hold, out, more};
  return on_arena(device_on, &c, d);
}

/* ---- compiling ----------------------------------------------------------- */

typedef struct {
  const vlpc_compile_options *o;
  const char *what; /* of emit_text; NULL: an artifact */
  CompilerBytes *text, *report;
} CompileCall;

static VlStatus stage_text(Compile *c, const char *what, Str *out) {
  if (strcmp(what, "import") == 0)
    ir_print(c->has_source ? c->towers : c->imported[0], PRINT_LOCS, out);
  else if (strcmp(what, "core") == 0)
    ir_print(c->graph, PRINT_LOCS, out);
  else if (strcmp(what, "normal") == 0)
    return pass_normal_text(c->graph, c->d, out);
  else if (strcmp(what, "kernels") == 0) {
    VL_TRY(compile_schedule(c));
    kernels_text(c->plan.kernels, out);
  } else if (strcmp(what, "program") == 0) {
    VL_TRY(compile_schedule(c));
    program_text(&c->plan.program, c->plan.kernels, out);
  } else if (strcmp(what, "binding") == 0) {
    VL_TRY(compile_schedule(c));
    binding_text(c, out);
  } else {
    VlStatus s = diag_error(c->d, DIAG_USAGE, DIAG_NOWHERE, "there is no stage '%s'", what);
    diag_expected(c->d, "import, normal, core, binding, kernels or program");
    return s;
  }
  return VLPC_OK;
}

static VlStatus compile_stages(Compile *c, const CompileCall *call) {
  VL_TRY(compile_lower(c));
  if (call->what) {
    Str text = {.arena = c->a};
    VL_TRY(stage_text(c, call->what, &text));
    return give_text(&text, c->d, call->text);
  }
  VL_TRY(compile_schedule(c));
  return compile_write(c);
}

static VlStatus compile_on(void *ctx, Arena *a, Diag *d) {
  CompileCall *call = ctx;
  Compile *c = arena_one(a, Compile);
  c->o = call->o;
  c->a = a;
  c->d = d;
  VlStatus status = compile_stages(c, call);
  for (int f = VLPC_TEXT; f <= VLPC_JSON; f++) {
    Str report = {.arena = a};
    compile_report(c, (vlpc_text_format)f, &report);
    VlStatus given = give_text(&report, d, &call->report[f]);
    if (status == VLPC_OK) status = given;
  }
  compile_close(c);
  return status;
}

static VlStatus compile(const vlpc_compile_options *o, Diag *d, CompilerBytes report[2]) {
  CompileCall c = {.o = o, .report = report};
  return on_arena(compile_on, &c, d);
}

static VlStatus emit_text(const vlpc_compile_options *o, const char *what, Diag *d,
                          CompilerBytes *text, CompilerBytes report[2]) {
  CompileCall c = {.o = o, .what = what, .text = text, .report = report};
  return on_arena(compile_on, &c, d);
}

typedef struct {
  const char *path;
  vlpc_text_format format;
  CompilerBytes *text;
} InspectCall;

static VlStatus inspect_on(void *ctx, Arena *a, Diag *d) {
  InspectCall *c = ctx;
  Str out = {.arena = a};
  VL_TRY(inspect_onnx(c->path, c->format, a, d, &out));
  return give_text(&out, d, c->text);
}

static VlStatus inspect(const char *path, vlpc_text_format format, Diag *d, CompilerBytes *text) {
  InspectCall c = {path, format, text};
  return on_arena(inspect_on, &c, d);
}

static VlStatus model_write(const vlpc_model_options *o, Diag *d) {
  ClipOptions c = {.size = o->size,
                   .directory = o->directory,
                   .seed = o->seed,
                   .two_files = o->two_files != 0,
                   .opset = o->opset,
                   .dtype = o->dtype};
  return models_write_clip(&c, d);
}

static VlStatus prompt_write_on(void *ctx, Arena *a, Diag *d) {
  return prompt_write(ctx, a, d);
}

static VlStatus write_prompt(const vlpc_prompt_options *o, Diag *d) {
  vlpc_prompt_options copy = *o;
  return on_arena(prompt_write_on, &copy, d);
}

static VlStatus prompt_list_on(void *ctx, Arena *a, Diag *d) {
  InspectCall *c = ctx;
  Str out = {.arena = a};
  prompt_list(c->format, &out);
  return give_text(&out, d, c->text);
}

static VlStatus list_prompts(vlpc_text_format format, Diag *d, CompilerBytes *text) {
  InspectCall c = {NULL, format, text};
  return on_arena(prompt_list_on, &c, d);
}

typedef struct {
  const vlpc_tune_options *o;
  Section kernels;
  CompilerBytes *text;
} TuneCall;

static VlStatus tune_on(void *ctx, Arena *a, Diag *d) {
  TuneCall *c = ctx;
  Str out = {.arena = a};
  VL_TRY(tune_run(c->o, c->kernels, a, d, &out));
  return give_text(&out, d, c->text);
}

static VlStatus tune(const vlpc_tune_options *o, const uint8_t *kernels, size_t n, Diag *d,
                     CompilerBytes *text) {
  TuneCall c = {o, {kernels, n}, text};
  return on_arena(tune_on, &c, d);
}

static const CompilerApi api = {
    .version = COMPILER_API_VERSION,
    .vlpc_version = VLPC_VERSION_TEXT,
    .build = VLPC_COMPILER_BUILD,
    .free_bytes = free_bytes,
    .emit = emit,
    .driver = driver,
    .device = device,
    .describe = describe,
    .compile = compile,
    .emit_text = emit_text,
    .model_write = model_write,
    .inspect = inspect,
    .prompt_write = write_prompt,
    .prompt_list = list_prompts,
    .tune = tune,
};

VLPC_API const CompilerApi *vlpc_compiler_entry(int version);
VLPC_API const CompilerApi *vlpc_compiler_entry(int version) {
  return version == COMPILER_API_VERSION ? &api : NULL;
}
