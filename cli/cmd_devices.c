/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_devices.c - vlpc devices.
**
** A row for each device that --device takes: this library's own, then what
** OpenCL shows, with the reason where one cannot be used.  A machine without
** OpenCL is no fault: what is missing is said. */
#include "cli/devices.h"

#include <inttypes.h>
#include <string.h>

#include "cli/json.h"
#include "cli/model.h"

static const char *dup(Cli *c, const char *text) {
  return text ? arena_strdup(c->arena, text) : NULL;
}

VlStatus devices_find(Cli *c, FoundDevices *out) {
  vlpc_compiler *k = NULL;
  vlpc_found_device d = {.struct_size = sizeof d, .cache_dir = cache_folder(c)};
  int32_t more = 0;
  *out = (FoundDevices){0};
  VL_TRY(compiler_open(c, &k));
  VlStatus s = vlpc_compiler_device(k, 0, &d, &more);
  if (s == VLPC_E_DEVICE) {
    out->missing = dup(c, vlpc_compiler_error(k));
    return VLPC_OK;
  }
  for (uint32_t i = 1; s == VLPC_OK && more && out->n < VL_COUNT(out->at); i++) {
    vlpc_found_device *to = &out->at[out->n++];
    *to = d;
    to->name = dup(c, d.name), to->platform = dup(c, d.platform), to->model = dup(c, d.model);
    to->driver = dup(c, d.driver), to->kind = dup(c, d.kind), to->skipped = dup(c, d.skipped);
    to->untuned = dup(c, d.untuned);
    d.struct_size = sizeof d;
    s = vlpc_compiler_device(k, i, &d, &more);
  }
  return fail_compiler(c, k, s);
}

static void print_own(void) {
  vlpc_device_info info = {.struct_size = sizeof info};
  for (uint32_t i = 0; vlpc_device(i, &info); i++)
    printf("%-12s %s%s%s\n", info.name, info.what, strcmp(info.name, "cpu") == 0 ? ": " : "",
           strcmp(info.name, "cpu") == 0 ? info.model : "");
}

static void print_found(const FoundDevices *f) {
  for (uint32_t i = 0; i < f->n; i++) {
    const vlpc_found_device *d = &f->at[i];
    printf("%-12s %s, %s, %" PRIu64 " MiB, driver %s (%s)\n", d->name, d->model, d->kind,
           d->memory_bytes >> 20, d->driver, d->platform);
    if (d->skipped) printf("%-12s not used: %s\n", "", d->skipped);
  }
}

static void print_json(Cli *c, const FoundDevices *f) {
  Json j = js_start(c);
  vlpc_device_info info = {.struct_size = sizeof info};
  js_list(&j, "devices");
  for (uint32_t i = 0; vlpc_device(i, &info); i++) {
    js_object(&j, NULL);
    js_text(&j, "name", info.name);
    js_text(&j, "what", info.what);
    js_end(&j);
  }
  for (uint32_t i = 0; i < f->n; i++) {
    const vlpc_found_device *d = &f->at[i];
    js_object(&j, NULL);
    js_text(&j, "name", d->name);
    js_text(&j, "model", d->model);
    js_text(&j, "kind", d->kind);
    js_text(&j, "platform", d->platform);
    js_text(&j, "driver", d->driver);
    js_int(&j, "memory_bytes", (int64_t)d->memory_bytes);
    js_text(&j, "skipped", d->skipped);
    js_end(&j);
  }
  js_end(&j);
  js_text(&j, "opencl_missing", f->missing);
  js_print(&j);
}

VlStatus cmd_devices(Cli *c) {
  FoundDevices f;
  VL_TRY(devices_find(c, &f));
  if (c->json) {
    print_json(c, &f);
    return VLPC_OK;
  }
  print_own();
  print_found(&f);
  if (f.missing) printf("%-12s none\n%s", "opencl", f.missing);
  return VLPC_OK;
}
