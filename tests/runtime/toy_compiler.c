/* SPDX-License-Identifier: Apache-2.0 */
/* toy_compiler.c - stands in for libvlpc_compiler: a handful of kernels in C.
**
** They lie in a section of their own, use nothing outside it (no constants, no
** calls), and are copied from it as a code image: what a code generator does,
** without one. */
#include <stdlib.h>
#include <string.h>

#include "runtime/code.h"
#include "runtime/compiler_api.h"
#include "tests/runtime/toy.h"

#define KERNEL __attribute__((section("toy_kernels"), used, noinline)) static

/* ---- kernels ------------------------------------------------------------ */

KERNEL int64_t toy_tasks_first(const int64_t *size) { return size[0]; }
KERNEL int64_t toy_tasks_one(const int64_t *size) { return size == NULL ? 0 : 1; }

KERNEL int toy_add(void *const *op, const int64_t *size, int64_t begin, int64_t end, void *s) {
  float *out = op[0];
  const float *a = op[1], *b = op[2];
  (void)size, (void)s;
  for (int64_t i = begin; i < end; i++) out[i] = a[i] + b[i];
  return FAULT_NONE;
}
KERNEL void toy_add_reach(const int64_t *size, double *r) {
  for (int i = 0; i < 3; i++) r[2 * i] = 0, r[2 * i + 1] = (double)(4 * size[0]);
}

KERNEL int toy_sum(void *const *op, const int64_t *size, int64_t begin, int64_t end, void *s) {
  float *out = op[0], *sum = s;
  const float *x = op[1];
  for (int64_t m = begin; m < end; m++) {
    *sum = 0;
    for (int64_t k = 0; k < size[1]; k++) *sum += x[m * size[1] + k];
    out[m] = *sum;
  }
  return FAULT_NONE;
}
KERNEL void toy_sum_reach(const int64_t *size, double *r) {
  r[0] = r[2] = 0;
  r[1] = (double)(4 * size[0]);
  r[3] = (double)(4 * size[0]) * (double)size[1];
}

KERNEL int toy_gather(void *const *op, const int64_t *size, int64_t begin, int64_t end, void *s) {
  float *out = op[0];
  const float *table = op[1];
  const int64_t *ids = op[2];
  (void)s;
  for (int64_t i = begin; i < end; i++) {
    if (ids[i] < 0 || ids[i] >= size[1]) return FAULT_INDEX;
    out[i] = table[ids[i]];
  }
  return FAULT_NONE;
}
KERNEL void toy_gather_reach(const int64_t *size, double *r) {
  r[0] = r[2] = r[4] = 0;
  r[1] = (double)(4 * size[0]);
  r[3] = (double)(4 * size[1]);
  r[5] = (double)(8 * size[0]);
}

KERNEL int toy_fold(void *const *op, const int64_t *size, int64_t begin, int64_t end, void *s) {
  float *out = op[0];
  const float *x = op[1];
  int64_t k = size[1], e = size[2];
  (void)s;
  for (int64_t n = begin; n < end; n++) {
    for (int64_t i = 0; i < e; i++) out[n * e + i] = 0;
    for (int64_t i = 0; i < k; i++) out[n * e + i % e] += x[n * k + i];
  }
  return FAULT_NONE;
}
KERNEL int toy_count(void *const *op, const int64_t *size, int64_t begin, int64_t end, void *s) {
  float *out = op[0];
  const int64_t *x = op[1];
  int64_t k = size[1], e = size[2];
  (void)s;
  for (int64_t n = begin; n < end; n++) {
    for (int64_t i = 0; i < e; i++) out[n * e + i] = 0;
    for (int64_t i = 0; i < k; i++) out[n * e + x[n * k + i] % e] += (float)(i + e);
  }
  return FAULT_NONE;
}
KERNEL void toy_fold_reach(const int64_t *size, double *r) {
  r[0] = r[2] = 0;
  r[1] = (double)(4 * size[0]) * (double)size[2];
  r[3] = (double)(4 * size[0]) * (double)size[1];
}
KERNEL void toy_count_reach(const int64_t *size, double *r) {
  r[0] = r[2] = 0;
  r[1] = (double)(4 * size[0]) * (double)size[2];
  r[3] = (double)(8 * size[0]) * (double)size[1];
}

KERNEL int toy_shift(void *const *op, const int64_t *size, int64_t begin, int64_t end, void *s) {
  float *out = op[0];
  const float *x = op[1], *p = op[2];
  int64_t e = size[1];
  (void)s;
  for (int64_t i = begin * e; i < end * e; i++) out[i] = x[i] + p[i % e];
  return FAULT_NONE;
}
KERNEL void toy_shift_reach(const int64_t *size, double *r) {
  r[0] = r[2] = r[4] = 0;
  r[1] = r[3] = (double)(4 * size[0]) * (double)size[1];
  r[5] = (double)(4 * size[1]);
}

KERNEL int toy_fault(void *const *op, const int64_t *size, int64_t begin, int64_t end, void *s) {
  (void)op, (void)size, (void)begin, (void)end, (void)s;
  return 7;
}
KERNEL void toy_fault_reach(const int64_t *size, double *r) {
  (void)size;
  r[0] = r[1] = r[2] = r[3] = 0;
}

/* ---- the code file ------------------------------------------------------ */

extern const uint8_t __start_toy_kernels[], __stop_toy_kernels[];

static uint64_t offset_of(uintptr_t f) { return f - (uintptr_t)__start_toy_kernels; }

#define ROW(f, t, n_op, n_size, bytes) \
  {offset_of((uintptr_t)toy_##f), offset_of((uintptr_t)toy_tasks_##t), \
   offset_of((uintptr_t)toy_##f##_reach), n_op, n_size, bytes}

static VlStatus emit(const EmitCall *call, Diag *d, CompilerBytes *code) {
  const CodeKernel rows[TOY_KERNELS] = {
      [TOY_ADD] = ROW(add, first, 3, 1, 0),       [TOY_SUM] = ROW(sum, first, 2, 2, 4),
      [TOY_GATHER] = ROW(gather, first, 3, 2, 0), [TOY_FOLD] = ROW(fold, first, 2, 3, 0),
      [TOY_COUNT] = ROW(count, first, 2, 3, 0),   [TOY_FAULT] = ROW(fault, one, 2, 0, 0),
      [TOY_SHIFT] = ROW(shift, first, 3, 2, 0),
  };
  size_t image = (size_t)(__stop_toy_kernels - __start_toy_kernels);
  if (call->n < 4 || memcmp(call->kernels, "toy!", 4) != 0)
    return diag_error(d, DIAG_CODEGEN, DIAG_NOWHERE, "not the toy's kernels");
  CodeHeader h = {.magic = CODE_MAGIC, .version = CODE_VERSION, .n_kernels = TOY_KERNELS,
                  .image_offset = 4096, .image_bytes = image};
  strncpy(h.target, call->target, sizeof h.target - 1);
  code->n = 4096 + image;
  code->at = calloc(1, code->n);
  if (!code->at) return VLPC_E_NOMEM;
  memcpy(code->at, &h, sizeof h);
  memcpy(code->at + sizeof h, rows, sizeof rows);
  memcpy(code->at + 4096, __start_toy_kernels, image);
  return VLPC_OK;
}

/* ---- the rest of the table ---------------------------------------------- */

static void free_bytes(CompilerBytes *b) {
  free(b->at);
  *b = (CompilerBytes){0};
}

static const DeviceDriver *driver(const char *name) {
  (void)name;
  return NULL;
}

static VlStatus text(const char *from, CompilerBytes *out);

/* One device. */
static VlStatus device(uint32_t i, Diag *d, CompilerBytes *hold, vlpc_found_device *out,
                       bool *more) {
  (void)d;
  *more = i == 0;
  VlStatus s = text("toy:0", hold);
  *out = (vlpc_found_device){.name = (const char *)hold->at, .kind = "toy", .memory_bytes = 7};
  return s;
}

static VlStatus text(const char *from, CompilerBytes *out) {
  out->n = strlen(from);
  out->at = calloc(1, out->n + 1);
  if (!out->at) return VLPC_E_NOMEM;
  memcpy(out->at, from, out->n);
  return VLPC_OK;
}

static VlStatus describe(const uint8_t *kernels, size_t n, const vlpc_step_info *step, Diag *d,
                         CompilerBytes *out, int64_t *flops) {
  (void)kernels, (void)n, (void)d;
  *flops = step->n_sizes ? step->sizes[0] : 0;
  return text(step->kernel == TOY_ADD ? "toy add" : "toy", out);
}

static VlStatus compile(const vlpc_compile_options *o, Diag *d, CompilerBytes report[2]) {
  VlStatus s = text("nothing fused", &report[VLPC_TEXT]);
  if (s == VLPC_OK) s = text("{}", &report[VLPC_JSON]);
  if (s != VLPC_OK) return s;
  return diag_error(d, DIAG_OPEN, (DiagAt){o->models[0], NULL}, "the toy compiles nothing");
}

static VlStatus emit_text(const vlpc_compile_options *o, const char *what, Diag *d,
                          CompilerBytes *out, CompilerBytes report[2]) {
  (void)o, (void)d, (void)report;
  return text(what, out);
}

static VlStatus model_write(const vlpc_model_options *o, Diag *d) {
  (void)o, (void)d;
  return VLPC_OK;
}

static VlStatus inspect(const char *path, vlpc_text_format format, Diag *d, CompilerBytes *out) {
  (void)format, (void)d;
  return text(path, out);
}

static VlStatus prompt_write(const vlpc_prompt_options *o, Diag *d) {
  (void)o, (void)d;
  return VLPC_OK;
}

static VlStatus prompt_list(vlpc_text_format format, Diag *d, CompilerBytes *out) {
  (void)format, (void)d;
  return text("toy", out);
}

static const CompilerApi api = {
    .version = COMPILER_API_VERSION, .vlpc_version = TOY_VERSION, .build = "toy",
    .free_bytes = free_bytes,        .emit = emit,                .driver = driver,
    .describe = describe,            .compile = compile,          .emit_text = emit_text,
    .model_write = model_write,      .inspect = inspect,          .prompt_write = prompt_write,
    .prompt_list = prompt_list,      .device = device,
};

VLPC_API CompilerEntryFn vlpc_compiler_entry;
const CompilerApi *vlpc_compiler_entry(int version) {
  return version == COMPILER_API_VERSION ? &api : NULL;
}
