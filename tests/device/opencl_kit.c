/* SPDX-License-Identifier: Apache-2.0 */
/* opencl_kit.c - llvm_kit.h's functions on an OpenCL device, so that the same
** tests hold both backends.  A kernel's operands are copied to the device as far
** as it reaches, and what it wrote back.  Without a device the program skips. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/opencl/opencl.h"
#include "backends/ref/ref.h"
#include "tests/device/llvm_kit.h"

enum { KIT_OPERANDS = 16, SKIPPED = 77, SMALL_FLOPS = 600000 };

typedef struct {
  DeviceCode *code;
  DeviceStream *stream;
  Kernel *kernels;
} Device;

static char target[DEVICE_TARGET_MAX];

const char *kit_target(int i) {
  Diag *d = diag_new();
  if (!target[0] && device_opencl.target(getenv("VLPC_TEST_OPENCL"), d, target) != VLPC_OK) {
    printf("skipped: %s", diag_text(d));
    exit(SKIPPED);
  }
  diag_free(d);
  return i == 0 ? target : NULL;
}

const char *kit_bf16_target(int i) { return kit_target(i); }

/* A driver takes a tenth of a second for each of hundreds of kernels. */
bool kit_every_dtype(int i) {
  (void)i;
  return getenv("VLPC_TEST_LONG") != NULL;
}

bool kit_has_time(const Kernel *k, const int64_t *sizes) {
  return !getenv("VLPC_TEST_SMALL") || kernel_flops(k, sizes) <= SMALL_FLOPS;
}

int64_t kit_keys(void) { return 8; }

Kit kit_open(const char *name, Kernel *kernels, uint32_t n) {
  Kit k = {.arena = arena_new(0), .diag = diag_new()};
  assert_non_null(k.arena);
  Device *dev = arena_one(k.arena, Device);
  Str faults = {.arena = k.arena};
  for (uint32_t i = 0; i < n; i++)
    if (!kernel_verify(&kernels[i], &faults)) fail_msg("%s", str_text(&faults));
  size_t bytes = 0;
  (void)name; /* "portable" in a test of reach stands for any */
  DeviceLoad l = {.artifact = "kit", .target = kit_target(0),
                  .scratch_dir = VLPC_TEST_CACHE};
  kernels_write((KernelList){kernels, n}, k.arena, &l.kernels, &bytes);
  l.kernels_bytes = bytes;
  if (device_opencl.load(&l, k.diag, &dev->code) != VLPC_OK) fail_msg("%s", diag_text(k.diag));
  if (device_opencl.stream_new(dev->code, NULL, k.diag, &dev->stream) != VLPC_OK)
    fail_msg("%s", diag_text(k.diag));
  dev->kernels = kernels;
  k.image = dev;
  return k;
}

void kit_close(Kit *k) {
  Device *dev = k->image;
  device_opencl.stream_free(dev->stream);
  device_opencl.unload(dev->code);
  arena_free(k->arena);
  diag_free(k->diag);
}

int64_t kit_tasks(const Kit *k, uint32_t kernel, const int64_t *sizes) {
  (void)k, (void)kernel, (void)sizes;
  return 1;
}

void kit_reach(const Kit *k, uint32_t kernel, uint32_t operand, const int64_t *sizes, double *lo,
               double *hi) {
  double span[2 * KIT_OPERANDS];
  Device *dev = k->image;
  device_opencl.reach(dev->code, kernel, sizes, span);
  *lo = span[2 * operand], *hi = span[2 * operand + 1];
}

/* Host bytes [lo, hi) around an operand, and where they are on the device. */
typedef struct {
  uint8_t *lo, *hi;
  DeviceMem mem;
  uint64_t skew; /* the device's alignment is the host's */
} Span;

static Span span_of(void *operand, const double *reach) {
  uint8_t *p = operand;
  if (reach[0] == reach[1]) return (Span){.lo = p, .hi = p};
  return (Span){.lo = p + (ptrdiff_t)reach[0], .hi = p + (ptrdiff_t)reach[1]};
}

static void upload(DeviceStream *s, Span *x) {
  x->skew = (uintptr_t)x->lo % 64;
  uint64_t n = (uint64_t)(x->hi - x->lo);
  assert_true(device_opencl.alloc(s, x->skew + (n ? n : 1), &x->mem)); /* no gap to hide in */
  DeviceSpan to = {x->mem.handle, x->skew};
  assert_int_equal(device_opencl.write(s, to, x->lo, n), VLPC_OK);
}

/* The operand that an earlier one overlaps uses its memory: in place is in place. */
static uint32_t owner_of(const Span *spans, uint32_t i) {
  for (uint32_t j = 0; j < i; j++) {
    if (spans[i].lo >= spans[j].lo && spans[i].hi <= spans[j].hi && spans[i].hi > spans[i].lo)
      return j;
  }
  return i;
}

int kit_run(const Kit *k, uint32_t kernel, void *const *operands, const int64_t *sizes,
            int pieces) {
  Device *dev = k->image;
  const Kernel *what = &dev->kernels[kernel];
  double reach[2 * KIT_OPERANDS];
  Span span[KIT_OPERANDS];
  DeviceSpan args[KIT_OPERANDS];
  DeviceFault fault;
  (void)pieces;
  device_opencl.reach(dev->code, kernel, sizes, reach);
  for (uint32_t i = 0; i < what->n_operands; i++) {
    span[i] = span_of(operands[i], reach + 2 * i);
    uint32_t own = owner_of(span, i);
    if (own == i) upload(dev->stream, &span[i]);
    ptrdiff_t at = (uint8_t *)operands[i] - span[own].lo;
    args[i] = (DeviceSpan){span[own].mem.handle, span[own].skew + (uint64_t)at};
  }
  if (device_opencl.ready(dev->stream, &(ProgStep){.kernel = kernel}, 1, k->diag) != VLPC_OK)
    fail_msg("%s", diag_text(k->diag));
  DeviceLaunch l = {.step = 3, .kernel = kernel, .n_args = what->n_operands,
                    .n_sizes = what->n_sizes, .args = args, .sizes = sizes};
  VlStatus launched = device_opencl.launch(dev->stream, &l);
  VlStatus status = device_opencl.wait(dev->stream, &fault);
  if ((status != VLPC_OK || launched != VLPC_OK) && fault.what) fail_msg("%s", fault.what);
  if (fault.fault) assert_int_equal(fault.step, 3);
  DeviceSpan from = {span[0].mem.handle, span[0].skew};
  uint64_t n = (uint64_t)(span[0].hi - span[0].lo);
  assert_int_equal(device_opencl.read(dev->stream, span[0].lo, from, n), VLPC_OK);
  for (uint32_t i = 0; i < what->n_operands; i++)
    if (owner_of(span, i) == i) device_opencl.release(dev->stream, &span[i].mem);
  return fault.fault;
}
