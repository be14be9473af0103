/* SPDX-License-Identifier: Apache-2.0 */
/* lc_backend.c - the llvm_cpu row of backends.def: kernels to one code image.
**
** Each kernel is a module, and so is what kernels call; the objects that LLVM makes of them are
** kept, as most kernels of a program are those of another: prompt methods on one CLIP, with
** training and without. */
#include "backends/llvm_cpu/llvm_cpu.h"

#include "backends/llvm_cpu/lc_emit.h"
#include "backends/llvm_cpu/lc_object.h"
#include "runtime/code.h"
#include "runtime/code_store.h"

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

/* ---- modules --------------------------------------------------------------- */

static void emit_run(Emit *e, const Kernel *k) {
  Lb *b = &e->b;
  Lv fn = lb_function(b, "run", b->i32, 5, (Lt[]){b->ptr, b->ptr, b->i64, b->i64, b->ptr}, false);
  e->operands = LLVMGetParam(fn, 0), e->sizes = LLVMGetParam(fn, 1);
  e->begin = LLVMGetParam(fn, 2), e->end = LLVMGetParam(fn, 3);
  e->scratch = LLVMGetParam(fn, 4);
  kind_of(k)->run(e, k);
  LLVMBuildRet(b->b, lb_i32(b, FAULT_NONE));
}

static void emit_tasks(Emit *e, const Kernel *k) {
  Lb *b = &e->b;
  Lv fn = lb_function(b, "tasks", b->i64, 1, (Lt[]){b->ptr}, false);
  e->sizes = LLVMGetParam(fn, 0);
  LLVMBuildRet(b->b, kind_of(k)->tasks(e, k));
}

static void emit_reach(Emit *e, const Kernel *k) {
  Lb *b = &e->b;
  Lv fn = lb_function(b, "reach", b->void_t, 2, (Lt[]){b->ptr, b->ptr}, false);
  e->sizes = LLVMGetParam(fn, 0);
  le_reach(e, k, LLVMGetParam(fn, 1));
  LLVMBuildRetVoid(b->b);
}

/* A module: a kernel's functions, or those that kernels share. */
typedef struct {
  const Kernel *kernel; /* NULL: shared */
  LeShared shared;
} Part;

static void emit_part(Emit *e, const Part *p) {
  if (p->kernel) {
    emit_run(e, p->kernel);
    emit_tasks(e, p->kernel);
    emit_reach(e, p->kernel);
  } else if (p->shared == LE_TILES_AMX) {
    le_emit_amx(e);
  } else {
    le_emit_tiles(e, p->shared == LE_TILES_BF16 ? VLPC_BF16 : VLPC_F32);
  }
}

typedef struct {
  KernelList kernels;
  LcTarget target;
  Arena *a;
  Diag *d;
  Emit *e;    /* of the part being made */
  Part *part; /* of the kernels in order, then what they call */
  uint32_t n;
} Job;

/* The LLVM side lives outside the arena: it goes when the arena is freed, also
** when memory runs out half-way. */
static void free_emit(void *e) { lb_fini(&((Emit *)e)->b); }

static void list_parts(Job *j) {
  bool called[LE_SHARED__END] = {false};
  j->part = arena_array(j->a, Part, (uint64_t)j->kernels.n + LE_SHARED__END);
  for (; j->n < j->kernels.n; j->n++) {
    const Kernel *k = &j->kernels.at[j->n];
    j->part[j->n].kernel = k;
    if (kind_of(k)->calls) called[kind_of(k)->calls(&j->target, k)] = true;
  }
  for (int i = LE_NOTHING + 1; i < LE_SHARED__END; i++)
    if (called[i]) j->part[j->n++].shared = (LeShared)i;
}

static VlStatus begin(Job *j, const char *target) {
  if (!lc_target_parse(target, &j->target)) {
    VlStatus s = diag_error(j->d, DIAG_TARGET, DIAG_NOWHERE, "no code can be made for this target");
    diag_found(j->d, "%s", target);
    diag_expected(j->d, "%s", lc_target_names());
    return s;
  }
  j->e = arena_one(j->a, Emit);
  arena_defer(j->a, free_emit, j->e);
  list_parts(j);
  return VLPC_OK;
}

static void build_part(Job *j, const Part *p) {
  *j->e = (Emit){0};
  lb_init(&j->e->b, &j->target, "vlpc");
  emit_part(j->e, p);
}

static VlStatus make_object(Job *j, const Part *p, LcObject *out) {
  build_part(j, p);
  VlStatus s = lc_assemble(&j->e->b, j->a, j->d, out);
  lb_fini(&j->e->b);
  return s;
}

/* ---- objects that are kept -------------------------------------------------- */

static void key_of(const Job *j, const Part *p, uint8_t out[16]) {
  Str text = {.arena = j->a};
  str_printf(&text, "object %s-%s %d ", cpu_arch(), cpu_isa_name(j->target.isa), (int)p->shared);
  if (p->kernel) {
    const uint8_t *at;
    size_t n;
    kernels_write((KernelList){(Kernel *)(uintptr_t)p->kernel, 1}, j->a, &at, &n);
    str_addn(&text, (const char *)at, n);
  }
  store_key(text.at, text.n, out);
}

static void release_found(void *f) { code_release(f); }

/* A part's object, as it was made for another program or made now. */
static VlStatus object_of(Job *j, const CodeTarget *t, const Part *p, LcObject *out) {
  uint8_t key[16];
  CodeFound *found = arena_one(j->a, CodeFound);
  if (!t->cache_dir) return make_object(j, p, out);
  key_of(j, p, key);
  arena_defer(j->a, release_found, found);
  VL_TRY(store_find(t->cache_dir, key, t->maker, j->d, found));
  *out = (LcObject){found->code, (size_t)found->code_bytes};
  if (out->n) return VLPC_OK;
  VL_TRY(make_object(j, p, out));
  store_keep(t->cache_dir, key, t->maker, (Section){out->at, out->n});
  return VLPC_OK;
}

/* ---- code -------------------------------------------------------------------- */

static uint64_t entry(const LcImage *image, const char *what, uint32_t i) {
  uint64_t offset = 0;
  VL_CHECK(lc_symbol(image, i, what, &offset), "kernel function is missing from the image");
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

VlStatus lc_emit(KernelList kernels, const CodeTarget *target, Arena *a, Diag *d,
                 const uint8_t **out, size_t *n) {
  Job j = {.kernels = kernels, .a = a, .d = d};
  LcImage image;
  VL_TRY(begin(&j, target->name));
  LcObject *object = arena_array(a, LcObject, j.n);
  for (uint32_t i = 0; i < j.n; i++) VL_TRY(object_of(&j, target, &j.part[i], &object[i]));
  VL_TRY(lc_link(object, j.n, a, d, &image));
  write_code(kernels, &j.target, &image, a, out, n);
  return VLPC_OK;
}

VlStatus lc_print(KernelList kernels, const char *target, bool assembly, Arena *a, Diag *d,
                  const char **out) {
  Job j = {.kernels = kernels, .a = a, .d = d};
  Str all = {.arena = a};
  VL_TRY(begin(&j, target));
  for (uint32_t i = 0; i < j.n; i++) {
    const char *text;
    build_part(&j, &j.part[i]);
    VlStatus s = lc_listing(&j.e->b, assembly, a, d, &text);
    lb_fini(&j.e->b);
    VL_TRY(s);
    str_add(&all, text);
  }
  *out = str_text(&all);
  return VLPC_OK;
}
