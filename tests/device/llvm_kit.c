/* SPDX-License-Identifier: Apache-2.0 */
/* llvm_kit.c - see llvm_kit.h. */
#include "tests/device/llvm_kit.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/cpu.h"
#include "base/rng.h"
#include "runtime/compiler_lib.h"

enum { KIT_OPERANDS = 16 };

/* The number of levels that run, asked for once: a virtual machine takes long to say. */
static int levels(void) {
  static int n;
  if (n == 0) n = cpu_isa_best() + 1;
  return n;
}

const char *kit_bf16_target(int i) { return i < levels() ? cpu_isa_name((CpuIsa)i) : NULL; }

const char *kit_target(int i) {
  if (i < ISA_AVX512 || getenv("VLPC_TEST_LONG")) return kit_bf16_target(i);
  if (i > ISA_AVX512) return NULL;
  while (kit_bf16_target(i + 1)) i++;
  return kit_bf16_target(i);
}

bool kit_every_dtype(int i) { return !kit_target(i + 1); }

bool kit_has_time(const Kernel *k, const int64_t *sizes) {
  (void)k, (void)sizes;
  return true;
}

int64_t kit_keys(void) { return 512; }

Kit kit_open(const char *target, Kernel *kernels, uint32_t n) {
  Kit k = {.arena = arena_new(0), .diag = diag_new()};
  assert_non_null(k.arena);
  Str faults = {.arena = k.arena};
  for (uint32_t i = 0; i < n; i++)
    if (!kernel_verify(&kernels[i], &faults)) fail_msg("%s", str_text(&faults));
  CodeTarget to = {.name = target, .maker = compiler_lib_identity("/proc/self/exe")};
  to.cache_dir = arena_printf(k.arena, VLPC_TEST_CODE "/%s", program_invocation_short_name);
  size_t bytes;
  if (lc_emit((KernelList){kernels, n}, &to, k.arena, k.diag, &k.code, &bytes) != VLPC_OK)
    fail_msg("%s", diag_text(k.diag));
  CodeHeader h;
  memcpy(&h, k.code, sizeof h);
  assert_int_equal(h.magic, CODE_MAGIC);
  assert_int_equal(h.n_kernels, n);
  assert_int_equal(h.image_offset + h.image_bytes, bytes);
  k.image_bytes = h.image_bytes;
  k.image = mmap(NULL, k.image_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(k.image != MAP_FAILED);
  memcpy(k.image, k.code + h.image_offset, h.image_bytes);
  assert_int_equal(mprotect(k.image, k.image_bytes, PROT_READ | PROT_EXEC), 0);
  return k;
}

void kit_close(Kit *k) {
  munmap(k->image, k->image_bytes);
  arena_free(k->arena);
  diag_free(k->diag);
}

static CodeKernel entry(const Kit *k, uint32_t kernel) {
  CodeKernel c;
  memcpy(&c, k->code + sizeof(CodeHeader) + kernel * sizeof c, sizeof c);
  return c;
}

static void *function_at(const Kit *k, uint64_t offset) { return (char *)k->image + offset; }

int64_t kit_tasks(const Kit *k, uint32_t kernel, const int64_t *sizes) {
  KernelTasksFn *fn;
  void *at = function_at(k, entry(k, kernel).tasks);
  memcpy(&fn, &at, sizeof fn);
  return fn(sizes);
}

void kit_reach(const Kit *k, uint32_t kernel, uint32_t operand, const int64_t *sizes, double *lo,
               double *hi) {
  double span[2 * KIT_OPERANDS];
  KernelReachFn *fn;
  void *at = function_at(k, entry(k, kernel).reach);
  memcpy(&fn, &at, sizeof fn);
  fn(sizes, span);
  *lo = span[2 * operand], *hi = span[2 * operand + 1];
}

int kit_run(const Kit *k, uint32_t kernel, void *const *operands, const int64_t *sizes,
            int pieces) {
  CodeKernel c = entry(k, kernel);
  KernelRunFn *fn;
  void *at = function_at(k, c.run);
  memcpy(&fn, &at, sizeof fn);
  int64_t tasks = kit_tasks(k, kernel, sizes);
  size_t bytes = vl_align_up(c.scratch_bytes + 64, 64);
  float *scratch = aligned_alloc(64, bytes);
  assert_non_null(scratch);
  int fault = 0;
  for (int i = pieces - 1; i >= 0 && fault == 0; i--) {
    for (size_t j = 0; j < bytes / sizeof *scratch; j++) scratch[j] = NAN;
    fault = fn(operands, sizes, tasks * i / pieces, tasks * (i + 1) / pieces, scratch);
  }
  free(scratch);
  return fault;
}
