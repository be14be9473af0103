/* SPDX-License-Identifier: Apache-2.0 */
/* model_code.c - code and weights on a device, once per device and target.
**
** Sessions that start at the same time wait for the first to make the code. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/map.h"
#include "runtime/model.h"

/* "opencl:0:1": the driver's name, and behind the colon which of its devices,
** which its target is chosen by. */
static const char *split_name(const char *device, char name[DEVICE_TARGET_MAX]) {
  const char *colon = strchr(device, ':');
  size_t n = colon ? (size_t)(colon - device) : strlen(device);
  n = VL_MIN(n, (size_t)DEVICE_TARGET_MAX - 1);
  memcpy(name, device, n);
  name[n] = 0;
  return colon ? colon + 1 : NULL;
}

/* A driver of this library, or of the compiler library, which then stays open. */
static VlStatus find_driver(const vlpc_session_options *o, Diag *d, LoadedCode *c,
                            const char **which) {
  char name[DEVICE_TARGET_MAX];
  *which = split_name(o->device ? o->device : device_at(0)->name, name);
  c->driver = device_find(name);
  if (c->driver) return VLPC_OK;
  Diag *quiet = NULL; /* a missing compiler is not what the user asked about */
  if (compiler_lib_open(o->compiler_library, quiet, &c->lib) == VLPC_OK)
    c->driver = c->lib.api->driver(name);
  if (c->driver) return VLPC_OK;
  VlStatus s = diag_error(d, DIAG_DEVICE_UNKNOWN, DIAG_NOWHERE, "no device '%s'", o->device);
  diag_expected(d, c->lib.api ? "cpu, opencl, null or ref" : "cpu or null");
  return s;
}

/* Where code cannot be made and no level is asked for, sealed code of another will do. */
static VlStatus get_code(const vlpc_session_options *o, CodeRequest *r, LoadedCode *c, Diag *d,
                         CodeFound *out) {
  VlStatus s = code_get(r, d, out);
  for (int i = cpu_isa_best() + 1; s == VLPC_E_CODEGEN && !o->isa && i-- > ISA_PORTABLE;) {
    VL_TRY(c->driver->target(cpu_isa_name((CpuIsa)i), d, c->target));
    if (!code_sealed(r, out)) continue;
    diag_clear(d);
    return VLPC_OK;
  }
  return s;
}

static VlStatus load(Model *m, const vlpc_session_options *o, Diag *d, LoadedCode *c) {
  Section kernels = artifact_section(&m->file, SECTION_kernels);
  Section weights = artifact_section(&m->file, SECTION_weights);
  CodeRequest r = {.artifact = m->path, .kernels = kernels, .target = c->target,
                   .sealed = artifact_section(&m->file, SECTION_code),
                   .cache_dir = o->cache_dir, .compiler_library = o->compiler_library,
                   .trust_sealed = o->trust_code != 0, .log = m->log, .log_user = m->log_user};
  CodeFound found = {0};
  if (c->driver->flags & DEVICE_NEEDS_CODE) VL_TRY(get_code(o, &r, c, d, &found));
  c->origin = found.origin;
  c->code_bytes = found.code_bytes;
  if (found.code) hash_hex128(found.code, (size_t)found.code_bytes, c->code_hash);
  c->rebuilt = found.rebuilt;
  DeviceLoad l = {.artifact = m->path, .target = c->target,
                  .kernels = kernels.at, .kernels_bytes = kernels.bytes,
                  .weights = weights.at, .weight_bytes = weights.bytes,
                  .code = found.code, .code_bytes = found.code_bytes,
                  .scratch_dir = o->cache_dir, .program = &m->program};
  VlStatus s = c->driver->load(&l, d, &c->code);
  code_release(&found);
  const char *note = s == VLPC_OK && c->driver->note ? c->driver->note(c->code) : NULL;
  if (note && m->log) m->log(m->log_user, VLPC_LOG_WARNING, note);
  return s;
}

static void free_one(LoadedCode *c) {
  if (c->code) c->driver->unload(c->code);
  compiler_lib_close(&c->lib);
  free(c);
}

static const char *wanted_isa(const Model *m, const vlpc_session_options *o) {
  return o->isa ? o->isa : cpu_isa_name(cpu_isa_for(strcmp(m->manifest.precision, "bf16") == 0));
}

/* Called with the lock held. */
static VlStatus find_or_load(Model *m, const vlpc_session_options *o, LoadedCode *c, Diag *d,
                             const LoadedCode **out) {
  const char *which = NULL;
  VL_TRY(find_driver(o, d, c, &which));
  if (!which && (c->driver->flags & DEVICE_NEEDS_CODE)) which = wanted_isa(m, o);
  VL_TRY(c->driver->target(which, d, c->asked));
  memcpy(c->target, c->asked, sizeof c->target);
  for (const LoadedCode *have = m->loaded; have; have = have->next) {
    if (have->driver != c->driver || strcmp(have->asked, c->asked) != 0) continue;
    *out = have;
    return VLPC_OK;
  }
  int64_t start = clock_ns();
  VL_TRY(load(m, o, d, c));
  c->ns = clock_ns() - start;
  c->next = m->loaded;
  m->loaded = c;
  *out = c;
  return VLPC_OK;
}

VlStatus model_code(Model *m, const vlpc_session_options *o, Diag *d, const LoadedCode **out) {
  LoadedCode *c = calloc(1, sizeof *c);
  *out = NULL;
  if (!c) return diag_error(d, DIAG_NOMEM, (DiagAt){m->path, NULL}, "no memory for code");
  pthread_mutex_lock(&m->lock);
  VlStatus s = find_or_load(m, o, c, d, out);
  pthread_mutex_unlock(&m->lock);
  if (*out != c) free_one(c);
  return s;
}

void model_code_free(LoadedCode *list) {
  while (list) {
    LoadedCode *next = list->next;
    free_one(list);
    list = next;
  }
}
