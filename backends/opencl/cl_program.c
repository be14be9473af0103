/* SPDX-License-Identifier: Apache-2.0 */
/* cl_program.c - programs of a few kernels built by the driver, each kept as its binary in the
** private cache (unless the driver has a cache of its own, and making a binary
** costs as much as building) under device, driver, options, source and version of vlpc.
**
** A binary that the driver refuses is removed and built again.  A build that
** failed is kept as well: its entry is '!' and the driver's words.
**
** Text with instructions hidden from the driver's compiler (CL_HIDDEN) is built twice: the
** PTX of the first build is the second's binary. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "backends/opencl/cl_code.h"
#include "backends/opencl/cl_tensor.h"
#include "runtime/code_store.h"

enum { LOG_MAX = 400 };

/* Division and square root are rounded as on the processor where the device can. */
static const char *options_of(const ClDevice *x) {
  return x->exact_division ? "-cl-std=CL1.2 -cl-fp32-correctly-rounded-divide-sqrt"
                           : "-cl-std=CL1.2";
}

void cl_identity(Str *s, const ClDevice *x) {
  str_printf(s, "vlpc %s\n%s\n%s\n%s\n%s\n", VLPC_VERSION_TEXT, x->platform_name, x->name,
             x->driver, x->class->name);
}

static VlStatus build_failed(Diag *d, const DeviceCode *c, const char *log) {
  VlStatus s = diag_error(d, DIAG_CL_BUILD, (DiagAt){NULL, c->device.name},
                          "the OpenCL driver could not build the kernels");
  diag_found(d, "%s", log[0] ? log : "no words from the driver");
  diag_fix(d, "update the driver (%s), or run with --device cpu; please report it",
           c->device.driver);
  return s;
}

/* ---- the cache ----------------------------------------------------------- */

typedef struct {
  const char *dir; /* NULL: none */
  uint8_t key[16];
} Entry;

/* With a zero after it; no bytes: there is none. */
static Section binary_of(const DeviceCode *c, cl_program p, Arena *a) {
  size_t n = 0;
  c->lib.clGetProgramInfo(p, CL_PROGRAM_BINARY_SIZES, sizeof n, &n, NULL);
  if (n == 0) return (Section){0};
  unsigned char *at = arena_alloc(a, n + 1);
  at[n] = 0;
  bool got = c->lib.clGetProgramInfo(p, CL_PROGRAM_BINARIES, sizeof at, &at, NULL) == CL_SUCCESS;
  return got ? (Section){at, n} : (Section){0};
}

static void keep_binary(const DeviceCode *c, cl_program p, const Entry *e, Arena *a) {
  if (!e->dir || c->device.keeps_kernels) return;
  Section binary = binary_of(c, p, a);
  if (binary.bytes > 0) store_keep(e->dir, e->key, 0, binary);
}

static void keep_failure(const Entry *e, const char *log) {
  char text[LOG_MAX + 2] = "!";
  if (!e->dir) return;
  strncat(text, log, LOG_MAX);
  store_keep(e->dir, e->key, 0, (Section){(const uint8_t *)text, strlen(text)});
}

/* ---- building ------------------------------------------------------------ */

static cl_int build(const DeviceCode *c, cl_program p) {
  return c->lib.clBuildProgram(p, 1, &c->device.id, options_of(&c->device), NULL, NULL);
}

static void build_log(const DeviceCode *c, cl_program p, char out[LOG_MAX]) {
  size_t n = 0;
  char *all = NULL;
  out[0] = 0;
  c->lib.clGetProgramBuildInfo(p, c->device.id, CL_PROGRAM_BUILD_LOG, 0, NULL, &n);
  if (n > 0 && n < ((size_t)1 << 24)) all = calloc(1, n + 1);
  if (all && c->lib.clGetProgramBuildInfo(p, c->device.id, CL_PROGRAM_BUILD_LOG, n, all, NULL) ==
                 CL_SUCCESS) {
    const char *from = strstr(all, "error");
    strncat(out, from ? from : all, LOG_MAX - 1);
  }
  free(all);
}

/* log: the driver's words where it fails. */
static cl_int from_binary(const DeviceCode *c, Section binary, char log[LOG_MAX],
                          cl_program *out) {
  size_t n = (size_t)binary.bytes;
  const unsigned char *at = binary.at;
  cl_int status = CL_SUCCESS, error = CL_SUCCESS;
  log[0] = 0;
  cl_program p = c->lib.clCreateProgramWithBinary(c->context, 1, &c->device.id, &n, &at, &status,
                                                  &error);
  if (error != CL_SUCCESS) return error;
  error = status == CL_SUCCESS ? build(c, p) : status;
  if (error == CL_SUCCESS) {
    *out = p;
    return CL_SUCCESS;
  }
  build_log(c, p, log);
  c->lib.clReleaseProgram(p);
  return error;
}

/* p again, with its hidden instructions; p where there are none. */
static cl_int shown(const DeviceCode *c, const char *text, Arena *a, char log[LOG_MAX],
                    cl_program *p) {
  if (!strstr(text, CL_HIDDEN)) return CL_SUCCESS;
  Section binary = binary_of(c, *p, a);
  const char *ptx = binary.bytes > 0 ? cl_tensor_shown((const char *)binary.at, a) : NULL;
  cl_program again = NULL;
  log[0] = 0;
  if (!ptx) return CL_INVALID_BINARY;
  cl_int error = from_binary(c, (Section){(const uint8_t *)ptx, strlen(ptx)}, log, &again);
  if (error != CL_SUCCESS) return error;
  c->lib.clReleaseProgram(*p);
  *p = again;
  return CL_SUCCESS;
}

static VlStatus from_source(const DeviceCode *c, const char *text, const Entry *e, Arena *a,
                            Diag *d, cl_program *out) {
  cl_int error = CL_SUCCESS;
  char log[LOG_MAX];
  cl_program p = c->lib.clCreateProgramWithSource(c->context, 1, &text, NULL, &error);
  if (error != CL_SUCCESS) return cl_fail(d, "clCreateProgramWithSource", error);
  error = build(c, p);
  if (error == CL_SUCCESS)
    error = shown(c, text, a, log, &p);
  else
    build_log(c, p, log);
  if (error == CL_SUCCESS) {
    *out = p;
    return VLPC_OK;
  }
  c->lib.clReleaseProgram(p);
  if (error != CL_BUILD_PROGRAM_FAILURE && error != CL_INVALID_BINARY)
    return cl_fail(d, "clBuildProgram", error);
  keep_failure(e, log);
  return build_failed(d, c, log);
}

static VlStatus make(const DeviceCode *c, KernelList kernels, Arena *a, Diag *d,
                     cl_program *out) {
  Entry e = {.dir = c->cache_dir};
  CodeFound found;
  const char *text = cl_program_text(kernels, &c->target, a);
  Str all = {.arena = a};
  cl_identity(&all, &c->device);
  str_printf(&all, "%s\n%s", options_of(&c->device), text);
  store_key(all.at, all.n, e.key);
  VL_TRY(store_find(e.dir, e.key, 0, d, &found));
  VlStatus s = VLPC_OK;
  char log[LOG_MAX + 1] = "";
  if (found.code_bytes && found.code[0] == '!') {
    strncat(log, (const char *)found.code + 1,
            (size_t)VL_MIN(found.code_bytes - 1, (uint64_t)LOG_MAX));
    s = build_failed(d, c, log);
  } else if (!found.code_bytes ||
             from_binary(c, (Section){found.code, found.code_bytes}, log, out) != CL_SUCCESS) {
    s = from_source(c, text, &e, a, d, out);
    if (s == VLPC_OK) keep_binary(c, *out, &e, a);
  }
  code_release(&found);
  return s;
}

/* ---- groups -------------------------------------------------------------- */

static KernelList kernels_of(const DeviceCode *c, uint32_t group) {
  uint32_t first = group * CL_GROUP;
  return (KernelList){c->kernels.at + first, VL_MIN(CL_GROUP, c->kernels.n - first)};
}

static bool runs(const DeviceCode *c, KernelList l) {
  for (uint32_t i = 0; i < l.n; i++)
    if (!cl_cannot_run(&c->target, &l.at[i])) return true;
  return false;
}

static VlStatus make_group(const DeviceCode *c, uint32_t group, Diag *d, cl_program *out) {
  KernelList kernels = kernels_of(c, group);
  if (!runs(c, kernels)) return VLPC_OK; /* a launch will say why */
  Arena *a = arena_new(0);
  if (!a || ARENA_GUARD(a)) {
    arena_free(a);
    return diag_error(d, DIAG_NOMEM, DIAG_NOWHERE, "no memory for the kernels' text");
  }
  VlStatus s = make(c, kernels, a, d, out);
  arena_free(a);
  return s;
}

static VlStatus ready_group(DeviceCode *c, uint32_t group, Diag *d) {
  ClGroup *g = &c->group[group];
  VlStatus s = make_group(c, group, d, &g->program);
  g->ready = s == VLPC_OK;
  return s;
}

typedef struct {
  DeviceCode *code;
  const uint32_t *group;
} Work;

static void ready_groups(void *ctx, int64_t begin, int64_t end, int thread) {
  const Work *w = ctx;
  (void)thread;
  for (int64_t i = begin; i < end; i++) VL_IGNORE(ready_group(w->code, w->group[i], NULL));
}

/* Those that failed are done again, one by one, for their message. */
static VlStatus ready_all(DeviceCode *c, const uint32_t *group, uint32_t n, ThreadPool *pool,
                          Diag *d) {
  Work w = {c, group};
  if (pool && n > 1) threads_run(pool, n, ready_groups, &w);
  for (uint32_t i = 0; i < n; i++)
    if (!c->group[group[i]].ready) VL_TRY(ready_group(c, group[i], d));
  return VLPC_OK;
}

VlStatus cl_programs_ready(DeviceCode *c, const ProgStep *steps, uint32_t n, ThreadPool *pool,
                           Diag *d) {
  uint32_t n_groups = (c->kernels.n + CL_GROUP - 1) / CL_GROUP, n_wanted = 0;
  uint32_t *wanted = calloc(n_groups + 1u, sizeof *wanted);
  bool *seen = calloc(n_groups + 1u, sizeof *seen);
  VlStatus s = wanted && seen ? VLPC_OK
                              : diag_error(d, DIAG_NOMEM, DIAG_NOWHERE, "no memory for kernels");
  pthread_mutex_lock(&c->building);
  for (uint32_t i = 0; s == VLPC_OK && i < n; i++) {
    uint32_t g = steps[i].kernel / CL_GROUP;
    if (!seen[g] && !c->group[g].ready) wanted[n_wanted++] = g;
    seen[g] = true;
  }
  if (s == VLPC_OK) s = ready_all(c, wanted, n_wanted, pool, d);
  pthread_mutex_unlock(&c->building);
  free(wanted), free(seen);
  return s;
}

void cl_programs_free(DeviceCode *c) {
  for (uint32_t i = 0; c->group && i < c->kernels.n; i += CL_GROUP)
    if (c->group[i / CL_GROUP].program) c->lib.clReleaseProgram(c->group[i / CL_GROUP].program);
}
