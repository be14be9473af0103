/* SPDX-License-Identifier: Apache-2.0 */
/* lc_backend.c - the llvm_cpu row of backends.def: kernels to one code image. */
#include "backends/llvm_cpu/llvm_cpu.h"

#include "backends/llvm_cpu/lc_emit.h"
#include "backends/llvm_cpu/lc_object.h"
#include "runtime/code.h"

#include <stdio.h>
#include <string.h>

enum { IMAGE_ALIGN = 4096 };

static const LcKind *const kinds[KK__END] = {
    [KK_LOOPS] = &lc_loops,         [KK_GEMM] = &lc_gemm,       [KK_ATTENTION] = &lc_attention,
    [KK_ATTENTION_GRAD] = &lc_attention_grad,
    [KK_LAYERNORM_GRAD] = &lc_layernorm_grad,
    [KK_LAYERNORM] = &lc_layernorm, [KK_SOFTMAX] = &lc_softmax, [KK_L2NORM] = &lc_l2norm,
    [KK_SCAN] = &lc_scan,           [KK_TOPK] = &lc_topk,
};

static const LcKind *kind_of(const Kernel *k) {
  VL_CHECK((size_t)k->kind < VL_COUNT(kinds) && kinds[k->kind], "kernel kind has no emitter");
  return kinds[k->kind];
}

static void emit_run(Emit *e, const Kernel *k, uint32_t i) {
  Lb *b = &e->b;
  char name[24];
  snprintf(name, sizeof name, "run_%u", i);
  Lv fn = lb_function(b, name, b->i32, 5, (Lt[]){b->ptr, b->ptr, b->i64, b->i64, b->ptr}, false);
  e->operands = LLVMGetParam(fn, 0), e->sizes = LLVMGetParam(fn, 1);
  e->begin = LLVMGetParam(fn, 2), e->end = LLVMGetParam(fn, 3);
  e->scratch = LLVMGetParam(fn, 4);
  kind_of(k)->run(e, k);
  LLVMBuildRet(b->b, lb_i32(b, FAULT_NONE));
}

static void emit_tasks(Emit *e, const Kernel *k, uint32_t i) {
  Lb *b = &e->b;
  char name[24];
  snprintf(name, sizeof name, "tasks_%u", i);
  Lv fn = lb_function(b, name, b->i64, 1, (Lt[]){b->ptr}, false);
  e->sizes = LLVMGetParam(fn, 0);
  LLVMBuildRet(b->b, kind_of(k)->tasks(e, k));
}

static void emit_reach(Emit *e, const Kernel *k, uint32_t i) {
  Lb *b = &e->b;
  char name[24];
  snprintf(name, sizeof name, "reach_%u", i);
  Lv fn = lb_function(b, name, b->void_t, 2, (Lt[]){b->ptr, b->ptr}, false);
  e->sizes = LLVMGetParam(fn, 0);
  le_reach(e, k, LLVMGetParam(fn, 1));
  LLVMBuildRetVoid(b->b);
}

static void emit_all(Emit *e, KernelList kernels) {
  for (uint32_t i = 0; i < kernels.n; i++)
    if (kind_of(&kernels.at[i])->need) kind_of(&kernels.at[i])->need(e, &kernels.at[i]);
  for (uint32_t i = 0; i < kernels.n; i++) {
    emit_run(e, &kernels.at[i], i);
    emit_tasks(e, &kernels.at[i], i);
    emit_reach(e, &kernels.at[i], i);
  }
}

static uint64_t entry(const LcImage *image, const char *what, uint32_t i) {
  char name[24];
  snprintf(name, sizeof name, "%s_%u", what, i);
  uint64_t offset = 0;
  VL_CHECK(lc_symbol(image, name, &offset), "kernel function is missing from the image");
  return offset;
}

static void write_code(KernelList kernels, const LcTarget *t, const LcImage *image, Arena *a,
                       const uint8_t **out, size_t *n) {
  size_t table = sizeof(CodeHeader) + kernels.n * sizeof(CodeKernel);
  CodeHeader h = {.magic = CODE_MAGIC, .version = CODE_VERSION, .n_kernels = kernels.n,
                  .image_offset = vl_align_up(table, IMAGE_ALIGN), .image_bytes = image->n};
  snprintf(h.target, sizeof h.target, "%s-%s", cpu_arch(), cpu_isa_name(t->isa));
  *n = h.image_offset + image->n;
  uint8_t *code = arena_array(a, uint8_t, *n);
  memcpy(code, &h, sizeof h);
  for (uint32_t i = 0; i < kernels.n; i++) {
    const Kernel *kernel = &kernels.at[i];
    const LcKind *kind = kind_of(kernel);
    CodeKernel k = {.run = entry(image, "run", i), .tasks = entry(image, "tasks", i),
                    .reach = entry(image, "reach", i), .n_operands = kernel->n_operands,
                    .n_sizes = kernel->n_sizes,
                    .scratch_bytes = kind->scratch ? kind->scratch(kernel) : 0};
    memcpy(code + sizeof h + i * sizeof k, &k, sizeof k);
  }
  memcpy(code + h.image_offset, image->at, image->n);
  *out = code;
}

/* The LLVM side lives outside the arena: it goes when the arena is freed, also
** when memory runs out half-way. */
static void free_emit(void *e) { lb_fini(&((Emit *)e)->b); }

static VlStatus begin(KernelList kernels, const char *target, Arena *a, Diag *d, Emit **out,
                      LcTarget *t) {
  if (!lc_target_parse(target, t)) {
    VlStatus s = diag_error(d, DIAG_TARGET, DIAG_NOWHERE, "no code can be made for this target");
    diag_found(d, "%s", target);
    diag_expected(d, "%s", lc_target_names());
    return s;
  }
  *out = arena_one(a, Emit);
  arena_defer(a, free_emit, *out);
  lb_init(&(*out)->b, t, "vlpc");
  emit_all(*out, kernels);
  return VLPC_OK;
}

VlStatus lc_emit(KernelList kernels, const char *target, Arena *a, Diag *d, const uint8_t **out,
                 size_t *n) {
  Emit *e;
  LcTarget t;
  LcImage image;
  VL_TRY(begin(kernels, target, a, d, &e, &t));
  VlStatus s = lc_assemble(&e->b, a, d, &image);
  lb_fini(&e->b);
  VL_TRY(s);
  write_code(kernels, &t, &image, a, out, n);
  return VLPC_OK;
}

VlStatus lc_print(KernelList kernels, const char *target, bool assembly, Arena *a, Diag *d,
                  const char **out) {
  Emit *e;
  LcTarget t;
  VL_TRY(begin(kernels, target, a, d, &e, &t));
  VlStatus s = lc_listing(&e->b, assembly, a, d, out);
  lb_fini(&e->b);
  return s;
}
