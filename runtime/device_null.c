/* SPDX-License-Identifier: Apache-2.0 */
/* device_null.c - a device that computes nothing: it counts launches and bytes,
** so plans and the session's own cost can be looked at; and it is the file to
** copy for a new driver.  Its memory is not the host's, so the session goes the
** way of copies.  Results read back are zeros. */
#include <stdlib.h>
#include <string.h>

#include "runtime/device_int.h"

struct DeviceCode {
  uint64_t weight_bytes;
};

struct DeviceStream {
  NullCounts counts;
};

static VlStatus null_target(const char *wanted, Diag *d, char out[DEVICE_TARGET_MAX]) {
  (void)wanted, (void)d;
  memcpy(out, "null", 5);
  return VLPC_OK;
}

static VlStatus no_memory(Diag *d) {
  return diag_error(d, DIAG_NOMEM, DIAG_NOWHERE, "no memory for the null device");
}

static VlStatus null_load(const DeviceLoad *l, Diag *d, DeviceCode **out) {
  *out = malloc(sizeof **out);
  if (!*out) return no_memory(d);
  (*out)->weight_bytes = l->weight_bytes;
  return VLPC_OK;
}

static void null_unload(DeviceCode *c) { free(c); }

static DeviceMem null_weights(DeviceCode *c) { return (DeviceMem){c, c->weight_bytes}; }

static bool null_kernel(const DeviceCode *c, uint32_t i, DeviceKernel *out) {
  (void)c, (void)i;
  *out = (DeviceKernel){DEVICE_ANY, DEVICE_ANY};
  return true;
}

static VlStatus null_stream_new(DeviceCode *c, ThreadPool *pool, Diag *d, DeviceStream **out) {
  (void)c, (void)pool;
  *out = calloc(1, sizeof **out);
  return *out ? VLPC_OK : no_memory(d);
}

static void null_stream_free(DeviceStream *s) { free(s); }

static bool null_alloc(DeviceStream *s, uint64_t bytes, DeviceMem *out) {
  s->counts.live_bytes += bytes;
  *out = (DeviceMem){s, bytes};
  return true;
}

static void null_release(DeviceStream *s, DeviceMem *m) {
  s->counts.live_bytes -= m->bytes;
  *m = (DeviceMem){0};
}

static VlStatus null_write(DeviceStream *s, DeviceSpan to, const void *from, uint64_t n) {
  (void)to, (void)from;
  s->counts.copied_bytes += n;
  return VLPC_OK;
}

static VlStatus null_read(DeviceStream *s, void *to, DeviceSpan from, uint64_t n) {
  (void)from;
  s->counts.copied_bytes += n;
  if (n) memset(to, 0, (size_t)n);
  return VLPC_OK;
}

static VlStatus null_launch(DeviceStream *s, const DeviceLaunch *l) {
  (void)l;
  s->counts.launches++;
  return VLPC_OK;
}

static VlStatus null_wait(DeviceStream *s, DeviceFault *out) {
  (void)s;
  *out = (DeviceFault){0};
  return VLPC_OK;
}

NullCounts device_null_counts(const DeviceStream *s) { return s->counts; }

const DeviceDriver device_null = {
    .name = "null",
    .what = "computes nothing; counts launches and bytes",
    .target = null_target,
    .load = null_load,
    .unload = null_unload,
    .weights = null_weights,
    .kernel = null_kernel,
    .stream_new = null_stream_new,
    .stream_free = null_stream_free,
    .alloc = null_alloc,
    .release = null_release,
    .write = null_write,
    .read = null_read,
    .launch = null_launch,
    .wait = null_wait,
};
