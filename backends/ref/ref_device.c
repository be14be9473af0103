/* SPDX-License-Identifier: Apache-2.0 */
/* ref_device.c - the reference device behind the driver seam.  Kernels are read
** from the artifact as they are and interpreted. */
#include <stdlib.h>
#include <string.h>

#include "backends/ref/ref.h"
#include "base/program.h"

struct DeviceCode {
  Arena *a;
  KernelList kernels;
  const uint8_t *weights;
  uint64_t weight_bytes;
};

struct DeviceStream {
  DeviceCode *code;
  DeviceFault fault;
};

static VlStatus no_memory(Diag *d) {
  return diag_error(d, DIAG_NOMEM, DIAG_NOWHERE, "no memory is left for the reference device");
}

static VlStatus ref_target(const char *wanted, Diag *d, char out[DEVICE_TARGET_MAX]) {
  (void)wanted, (void)d;
  memcpy(out, "ref", 4);
  return VLPC_OK;
}

static void ref_unload(DeviceCode *c) {
  if (c) arena_free(c->a);
}

static VlStatus load_on(Arena *a, const DeviceLoad *l, Diag *d, DeviceCode **out) {
  DeviceCode *c = arena_one(a, DeviceCode);
  c->a = a;
  c->weights = l->weights;
  c->weight_bytes = l->weight_bytes;
  *out = c;
  return kernels_read(l->kernels, (size_t)l->kernels_bytes, a, (DiagAt){l->artifact, NULL}, d,
                      &c->kernels);
}

static VlStatus ref_load(const DeviceLoad *l, Diag *d, DeviceCode **out) {
  Arena *a = arena_new(0);
  *out = NULL;
  if (!a) return no_memory(d);
  if (ARENA_GUARD(a)) {
    arena_free(a);
    *out = NULL;
    return no_memory(d);
  }
  VlStatus status = load_on(a, l, d, out);
  if (status != VLPC_OK) {
    arena_free(a);
    *out = NULL;
  }
  return status;
}

static DeviceMem ref_weights(DeviceCode *c) {
  return (DeviceMem){(void *)(uintptr_t)c->weights, c->weight_bytes};
}

static bool ref_kernel(const DeviceCode *c, uint32_t i, DeviceKernel *out) {
  if (i >= c->kernels.n) return false;
  *out = (DeviceKernel){c->kernels.at[i].n_operands, c->kernels.at[i].n_sizes};
  return true;
}

static void ref_reach_of(const DeviceCode *c, uint32_t i, const int64_t *sizes, double *lo_hi) {
  ref_reach(&c->kernels.at[i], sizes, lo_hi);
}

static VlStatus ref_stream_new(DeviceCode *c, ThreadPool *pool, Diag *d, DeviceStream **out) {
  (void)pool;
  *out = calloc(1, sizeof **out);
  if (!*out) return no_memory(d);
  (*out)->code = c;
  return VLPC_OK;
}

static void ref_stream_free(DeviceStream *s) {
  free(s);
}

static bool ref_alloc(DeviceStream *s, uint64_t bytes, DeviceMem *out) {
  (void)s;
  void *p = bytes > SIZE_MAX - 64 ? NULL : aligned_alloc(64, vl_align_up(bytes, 64));
  *out = (DeviceMem){p, p ? bytes : 0};
  return p != NULL;
}

static void ref_release(DeviceStream *s, DeviceMem *m) {
  (void)s;
  free(m->handle);
  *m = (DeviceMem){0};
}

static VlStatus ref_write(DeviceStream *s, DeviceSpan to, const void *from, uint64_t n) {
  (void)s;
  if (n) memcpy((uint8_t *)to.handle + to.offset, from, (size_t)n);
  return VLPC_OK;
}

static VlStatus ref_read(DeviceStream *s, void *to, DeviceSpan from, uint64_t n) {
  (void)s;
  if (n) memcpy(to, (const uint8_t *)from.handle + from.offset, (size_t)n);
  return VLPC_OK;
}

/* ---- launches ------------------------------------------------------------ */

static VlStatus ref_launch(DeviceStream *s, const DeviceLaunch *l) {
  void *operand[PROG_MAX_ARGS];
  Arena *a = arena_new(0);
  if (!a) return VLPC_E_NOMEM;
  if (ARENA_GUARD(a)) {
    arena_free(a);
    return VLPC_E_NOMEM;
  }
  for (uint32_t i = 0; i < l->n_args; i++)
    operand[i] = (uint8_t *)l->args[i].handle + l->args[i].offset;
  int fault = ref_run(&s->code->kernels.at[l->kernel], operand, l->sizes, a);
  if (fault && !s->fault.fault) s->fault = (DeviceFault){.step = l->step, .fault = fault};
  arena_free(a);
  return VLPC_OK;
}

static VlStatus ref_wait(DeviceStream *s, DeviceFault *out) {
  *out = s->fault;
  s->fault = (DeviceFault){0};
  return out->fault ? VLPC_E_INVALID_ARG : VLPC_OK;
}

const DeviceDriver device_ref = {
    .name = "ref",
    .what = "runs kernels as they are described, in double; slow",
    .flags = DEVICE_HOST_MEMORY,
    .target = ref_target,
    .load = ref_load,
    .unload = ref_unload,
    .weights = ref_weights,
    .kernel = ref_kernel,
    .reach = ref_reach_of,
    .stream_new = ref_stream_new,
    .stream_free = ref_stream_free,
    .alloc = ref_alloc,
    .release = ref_release,
    .write = ref_write,
    .read = ref_read,
    .launch = ref_launch,
    .wait = ref_wait,
};
