/* SPDX-License-Identifier: Apache-2.0 */
/* device_cpu.c - the CPU driver: kernels are functions of a mapped code image,
** memory is the host's, a stream runs each launch on the session's threads and
** returns when it is done.
**
** A launch is divided into tasks by the kernel itself and into pieces of tasks
** by the pool; results do not depend on either. */
#include <stdatomic.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/program.h"
#include "runtime/code_map.h"
#include "runtime/device_int.h"

#define HUGE_PAGE ((uint64_t)2 << 20)

struct DeviceCode {
  CodeMap map;
  const uint8_t *weights;
  uint64_t weight_bytes;
};

struct DeviceStream {
  DeviceCode *code;
  ThreadPool *pool;
  uint8_t *scratch; /* scratch_stride bytes per thread */
  uint64_t scratch_stride;
  DeviceFault fault; /* first since the last wait */
  bool failed;
};

/* ---- code --------------------------------------------------------------- */

static VlStatus cpu_target(const char *wanted, Diag *d, char out[DEVICE_TARGET_MAX]) {
  CpuIsa isa = cpu_isa_best();
  if (wanted && (!cpu_isa_parse(wanted, &isa) || !cpu_isa_runs(isa))) {
    VlStatus s = diag_error(d, DIAG_ISA_UNKNOWN, (DiagAt){NULL, "device cpu"},
                            "instruction set '%s' does not run here", wanted);
    char names[96] = "";
    for (int i = 0; i <= (int)cpu_isa_best(); i++) { /* each includes those below it */
      size_t n = strlen(names);
      snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", cpu_isa_name((CpuIsa)i));
    }
    diag_expected(d, "%s", names);
    return s;
  }
  snprintf(out, DEVICE_TARGET_MAX, "%s-%s", cpu_arch(), cpu_isa_name(isa));
  return VLPC_OK;
}

/* Enters the weights that the page cache holds into this process's page tables,
** so that the first run does not stop at each of their pages.  What is not in
** memory is left for the run that needs it. */
static void map_resident(const uint8_t *weights, uint64_t bytes) {
  uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), skip = (uintptr_t)weights % page;
  uint64_t n = (bytes + skip + page - 1) / page;
  unsigned char resident[512];
  for (uint64_t i = 0; i < n; i += VL_COUNT(resident)) {
    const uint8_t *from = weights - skip + i * page;
    uint64_t count = VL_MIN(n - i, (uint64_t)VL_COUNT(resident));
    if (mincore((void *)(uintptr_t)from, (size_t)(count * page), resident) != 0) return;
    for (uint64_t k = 0; k < count; k++)
      if (resident[k] & 1) *(const volatile uint8_t *)(from + k * page);
  }
}

static VlStatus cpu_load(const DeviceLoad *l, Diag *d, DeviceCode **out) {
  DeviceCode *c = calloc(1, sizeof *c);
  *out = NULL;
  if (!c) return diag_error(d, DIAG_NOMEM, DIAG_NOWHERE, "no memory for the cpu device");
  VlStatus s = code_map(l->code, l->code_bytes, l->target, l->scratch_dir, d, &c->map);
  if (s != VLPC_OK) {
    free(c);
    return s;
  }
  c->weights = l->weights;
  c->weight_bytes = l->weight_bytes;
  map_resident(l->weights, l->weight_bytes);
  *out = c;
  return VLPC_OK;
}

static void cpu_unload(DeviceCode *c) {
  if (!c) return;
  code_unmap(&c->map);
  free(c);
}

/* The handle is only ever read: no step may write a constant (program.h). */
static DeviceMem cpu_weights(DeviceCode *c) {
  return (DeviceMem){(void *)(uintptr_t)c->weights, c->weight_bytes};
}

static bool cpu_kernel(const DeviceCode *c, uint32_t i, DeviceKernel *out) {
  if (i >= c->map.n_kernels) return false;
  const CodeEntry *k = &c->map.kernels[i];
  *out = (DeviceKernel){k->n_operands, k->n_sizes};
  return true;
}

static void cpu_reach(const DeviceCode *c, uint32_t i, const int64_t *sizes, double *lo_hi) {
  c->map.kernels[i].reach(sizes, lo_hi);
}

/* ---- streams ------------------------------------------------------------ */

static void *host_alloc(uint64_t bytes) {
  uint64_t align = bytes >= HUGE_PAGE ? HUGE_PAGE : 64;
  uint64_t rounded;
  if (!vl_add_u64(bytes, align - 1, &rounded)) return NULL;
  rounded -= rounded % align;
  void *p = aligned_alloc((size_t)align, (size_t)rounded);
  if (p && align == HUGE_PAGE) madvise(p, (size_t)rounded, MADV_HUGEPAGE);
  return p;
}

static VlStatus cpu_stream_new(DeviceCode *c, ThreadPool *pool, Diag *d, DeviceStream **out) {
  DeviceStream *s = calloc(1, sizeof *s);
  uint64_t stride = vl_align_up(c->map.scratch_bytes, 64);
  *out = NULL;
  if (s && stride) {
    s->scratch = host_alloc(stride * (uint64_t)threads_count(pool));
    s->scratch_stride = stride;
  }
  if (!s || (stride && !s->scratch)) {
    free(s);
    return diag_error(d, DIAG_NOMEM, DIAG_NOWHERE, "no memory for the threads' scratch");
  }
  s->code = c;
  s->pool = pool;
  *out = s;
  return VLPC_OK;
}

static void cpu_stream_free(DeviceStream *s) {
  if (!s) return;
  free(s->scratch);
  free(s);
}

static bool cpu_alloc(DeviceStream *s, uint64_t bytes, DeviceMem *out) {
  (void)s;
  *out = (DeviceMem){host_alloc(bytes), bytes};
  return out->handle != NULL;
}

static void cpu_release(DeviceStream *s, DeviceMem *m) {
  (void)s;
  free(m->handle);
  *m = (DeviceMem){0};
}

/* ---- launches ----------------------------------------------------------- */

typedef struct {
  KernelRunFn *run;
  void *operand[PROG_MAX_ARGS];
  const int64_t *sizes;
  const DeviceStream *stream;
  atomic_int fault;
} Launch;

static void run_piece(void *ctx, int64_t begin, int64_t end, int thread) {
  Launch *l = ctx;
  const DeviceStream *s = l->stream;
  uint8_t *scratch = s->scratch ? s->scratch + (uint64_t)thread * s->scratch_stride : NULL;
  int fault = l->run(l->operand, l->sizes, begin, end, scratch);
  if (fault != FAULT_NONE) atomic_store(&l->fault, fault);
}

static VlStatus cpu_launch(DeviceStream *s, const DeviceLaunch *l) {
  VL_CHECK(l->kernel < s->code->map.n_kernels && l->n_args <= PROG_MAX_ARGS,
           "the session checks launches");
  const CodeEntry *k = &s->code->map.kernels[l->kernel];
  Launch run = {.run = k->run, .sizes = l->sizes, .stream = s};
  for (uint32_t i = 0; i < l->n_args; i++)
    run.operand[i] = (uint8_t *)l->args[i].handle + l->args[i].offset;
  threads_run(s->pool, k->tasks(l->sizes), run_piece, &run);
  int fault = atomic_load(&run.fault);
  if (fault == FAULT_NONE) return VLPC_OK;
  if (!s->failed) s->fault = (DeviceFault){.step = l->step, .fault = fault};
  s->failed = true;
  return VLPC_E_DEVICE;
}

static VlStatus cpu_wait(DeviceStream *s, DeviceFault *out) {
  bool failed = s->failed;
  *out = s->fault;
  s->failed = false;
  return failed ? VLPC_E_DEVICE : VLPC_OK;
}

const DeviceDriver device_cpu = {
    .name = "cpu",
    .what = "this processor, through code made for it",
    .flags = DEVICE_HOST_MEMORY | DEVICE_NEEDS_CODE,
    .target = cpu_target,
    .load = cpu_load,
    .unload = cpu_unload,
    .weights = cpu_weights,
    .kernel = cpu_kernel,
    .reach = cpu_reach,
    .stream_new = cpu_stream_new,
    .stream_free = cpu_stream_free,
    .alloc = cpu_alloc,
    .release = cpu_release,
    .launch = cpu_launch,
    .wait = cpu_wait,
};
