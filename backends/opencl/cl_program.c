/* SPDX-License-Identifier: Apache-2.0 */
/* cl_program.c - kernels built by the driver, and kept as its binary in the
** private cache (unless the driver has a cache of its own, and making a binary
** costs as much as building) under device, driver, options, source and version of vlpc.
**
** A binary that the driver refuses is removed and built again.  A build that
** failed is kept as well: its entry is '!' and the driver's words. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "backends/opencl/cl_code.h"
#include "runtime/code_store.h"

#define OPTIONS "-cl-std=CL1.2"
enum { LOG_MAX = 400 };

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

static void keep_binary(const DeviceCode *c, const Entry *e, Arena *a) {
  const ClLib *lib = &c->lib;
  size_t n = 0;
  if (!e->dir || c->device.keeps_kernels) return;
  lib->clGetProgramInfo(c->program, CL_PROGRAM_BINARY_SIZES, sizeof n, &n, NULL);
  if (n == 0) return;
  unsigned char *at = arena_alloc(a, n);
  if (lib->clGetProgramInfo(c->program, CL_PROGRAM_BINARIES, sizeof at, &at, NULL) == CL_SUCCESS)
    store_keep(e->dir, e->key, (Section){at, n});
}

static void keep_failure(const Entry *e, const char *log) {
  char text[LOG_MAX + 2] = "!";
  if (!e->dir) return;
  strncat(text, log, LOG_MAX);
  store_keep(e->dir, e->key, (Section){(const uint8_t *)text, strlen(text)});
}

/* ---- building ------------------------------------------------------------ */

static cl_int build(const DeviceCode *c, cl_program p) {
  return c->lib.clBuildProgram(p, 1, &c->device.id, OPTIONS, NULL, NULL);
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

static bool from_binary(DeviceCode *c, const CodeFound *f) {
  size_t n = (size_t)f->code_bytes;
  const unsigned char *at = f->code;
  cl_int status = CL_SUCCESS, error = CL_SUCCESS;
  cl_program p = c->lib.clCreateProgramWithBinary(c->context, 1, &c->device.id, &n, &at, &status,
                                                  &error);
  if (error == CL_SUCCESS && status == CL_SUCCESS && build(c, p) == CL_SUCCESS) {
    c->program = p;
    return true;
  }
  if (error == CL_SUCCESS) c->lib.clReleaseProgram(p);
  return false;
}

static VlStatus from_source(DeviceCode *c, const char *text, const Entry *e, Diag *d) {
  cl_int error = CL_SUCCESS;
  char log[LOG_MAX];
  cl_program p = c->lib.clCreateProgramWithSource(c->context, 1, &text, NULL, &error);
  if (error != CL_SUCCESS) return cl_fail(d, "clCreateProgramWithSource", error);
  error = build(c, p);
  if (error == CL_SUCCESS) {
    c->program = p;
    return VLPC_OK;
  }
  build_log(c, p, log);
  c->lib.clReleaseProgram(p);
  if (error != CL_BUILD_PROGRAM_FAILURE) return cl_fail(d, "clBuildProgram", error);
  keep_failure(e, log);
  return build_failed(d, c, log);
}

static VlStatus make(DeviceCode *c, const char *dir, Arena *a, Diag *d) {
  Entry e = {.dir = dir};
  CodeFound found;
  const char *text = cl_program_text(c->kernels, &c->target, a);
  Str all = {.arena = a};
  cl_identity(&all, &c->device);
  str_printf(&all, "%s\n%s", OPTIONS, text);
  store_key(all.at, all.n, e.key);
  VL_TRY(store_find(dir, e.key, d, &found));
  VlStatus s = VLPC_OK;
  if (found.code_bytes && found.code[0] == '!') {
    char log[LOG_MAX + 1] = "";
    strncat(log, (const char *)found.code + 1,
            (size_t)VL_MIN(found.code_bytes - 1, (uint64_t)LOG_MAX));
    s = build_failed(d, c, log);
  } else if (!found.code_bytes || !from_binary(c, &found)) {
    s = from_source(c, text, &e, d);
    if (s == VLPC_OK) keep_binary(c, &e, a);
  }
  code_release(&found);
  return s;
}

VlStatus cl_program_make(DeviceCode *c, const char *cache_dir, Diag *d) {
  Arena *a = arena_new(0);
  if (!a || ARENA_GUARD(a)) {
    arena_free(a);
    return diag_error(d, DIAG_NOMEM, DIAG_NOWHERE, "no memory for the kernels' text");
  }
  VlStatus s = make(c, cache_dir, a, d);
  arena_free(a);
  return s;
}
