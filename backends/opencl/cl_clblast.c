/* SPDX-License-Identifier: Apache-2.0 */
/* cl_clblast.c - see cl_clblast.h. */
#include "backends/opencl/cl_clblast.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/opencl/cl_gemm.h"
#include "backends/opencl/cl_tiles.h"

#define LIBRARY "libclblast.so.1"

enum { ROW_MAJOR = 101, NOT_TURNED = 111, UNPACK_ITEMS = 16 };

typedef struct {
#define FN(name, parameters) int(*name) parameters;
#include "backends/opencl/cl_clblast.def"
  uint32_t version;
  char why[256];        /* version 0: what is missing */
  pthread_mutex_t lock; /* held by every call */
} ClBlast;

/* One for the process, as the programs that CLBlast keeps are. */
static pthread_once_t clblast_once = PTHREAD_ONCE_INIT;
static ClBlast clblast;

/* ---- the library --------------------------------------------------------- */

static uint32_t number_of(uint32_t major, uint32_t minor, uint32_t patch) {
  return major * 10000 + minor * 100 + patch;
}

/* "…/libclblast.so.1.5.3", behind the links; 0: the name does not tell. */
static uint32_t version_of(void *library) {
  struct link_map *map = NULL;
  unsigned v[3] = {0};
  if (dlinfo(library, RTLD_DI_LINKMAP, &map) != 0) return 0;
  char *path = realpath(map->l_name, NULL);
  const char *tail = path ? strstr(path, ".so.") : NULL;
  bool told = tail && sscanf(tail, ".so.%2u.%2u.%2u", &v[0], &v[1], &v[2]) == 3;
  free(path);
  return told ? number_of(v[0], v[1], v[2]) : 0;
}

static void open_library(void) {
  pthread_mutex_init(&clblast.lock, NULL);
  void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (!library) {
    snprintf(clblast.why, sizeof clblast.why, "%s", dlerror());
    return;
  }
  const ClSymbol want[] = {
#define FN(name, parameters) {#name, &clblast.name},
#include "backends/opencl/cl_clblast.def"
  };
  const char *lacks = cl_symbols(library, want, VL_COUNT(want));
  if (lacks) {
    snprintf(clblast.why, sizeof clblast.why, LIBRARY " has no %s", lacks);
    return;
  }
  clblast.version = version_of(library);
  if (clblast.version == 0)
    snprintf(clblast.why, sizeof clblast.why, LIBRARY " does not tell its version by its file");
}

uint32_t cl_clblast(const char **why) {
  pthread_once(&clblast_once, open_library);
  *why = clblast.why;
  return clblast.version;
}

const char *cl_clblast_name(uint32_t v, Arena *a) {
  return arena_printf(a, "CLBlast %u.%u.%u", v / 10000, v / 100 % 100, v % 100);
}

/* Whether a row of a table is one of these kernels'. */
static bool has_gemm(const KernelList *of, ClTuned *row) {
  const ClTable one = {row, 1};
  for (uint32_t i = 0; i < of->n; i++) {
    if (of->at[i].kind != KK_GEMM) continue;
    ClTuned key = cl_tuned_key(&of->at[i].gemm);
    if (cl_tuned_find(&one, &key)) return true;
  }
  return false;
}

const char *cl_clblast_note(const ClTable *t, const KernelList *of, Arena *a) {
  const char *why;
  uint32_t n = 0, wanted = 0;
  for (uint32_t i = 0; i < t->n; i++) {
    uint32_t version = t->at[i].clblast;
    if (version == 0 || version == cl_clblast(&why)) continue;
    if (of && !has_gemm(of, &t->at[i])) continue;
    wanted = version;
    n++;
  }
  if (n == 0) return NULL;
  uint32_t have = cl_clblast(&why);
  return arena_printf(a, "%u matrix products that vlpc tune gave to %s are computed without it: %s",
                      n, cl_clblast_name(wanted, a),
                      have ? arena_printf(a, "%s is installed", cl_clblast_name(have, a)) : why);
}

void cl_clblast_hold(DeviceCode *c) {
  const char *why;
  c->target.clblast = cl_clblast(&why);
}

/* What CLBlast keeps would hold the context and its memory for ever.  It keeps all contexts'
** programs in one place, so another code's are built anew when they are called next. */
void cl_clblast_drop(DeviceCode *c) {
  if (c->target.clblast == 0) return;
  for (ClRows *r = c->rows, *next; r; r = next) {
    next = r->next;
    c->lib.clReleaseMemObject(r->mem);
    free(r);
  }
  c->rows = NULL;
  pthread_mutex_lock(&clblast.lock);
  clblast.CLBlastClearCache();
  pthread_mutex_unlock(&clblast.lock);
}

/* ---- weights as rows ------------------------------------------------------ */

static cl_int unpack(ClProducts *p, uint32_t kernel, const KGemm *g, DeviceSpan w, cl_mem to) {
  const ClLib *lib = &p->code->lib;
  char name[16];
  uint64_t at = 0;
  cl_int error = CL_SUCCESS;
  const ClPart *part = cl_part(w.handle, w.offset, &at);
  if (!part) return CL_INVALID_MEM_OBJECT;
  snprintf(name, sizeof name, "u%u", kernel % CL_GROUP);
  cl_kernel k = lib->clCreateKernel(p->code->group[kernel / CL_GROUP].program, name, &error);
  if (error != CL_SUCCESS) return error;
  cl_long first = (cl_long)(at / sizeof(float));
  size_t local[2] = {UNPACK_ITEMS, 1};
  size_t global[2] = {(size_t)vl_align_up((uint64_t)g->n, UNPACK_ITEMS), (size_t)g->k};
  error = lib->clSetKernelArg(k, 0, sizeof part->mem, &part->mem);
  if (error == CL_SUCCESS) error = lib->clSetKernelArg(k, 1, sizeof first, &first);
  if (error == CL_SUCCESS) error = lib->clSetKernelArg(k, 2, sizeof to, &to);
  if (error == CL_SUCCESS)
    error = lib->clEnqueueNDRangeKernel(p->queue, k, 2, NULL, global, local, 0, NULL, NULL);
  if (error == CL_SUCCESS) error = lib->clFinish(p->queue); /* other queues may read it next */
  lib->clReleaseKernel(k);
  return error;
}

static cl_int make_rows(ClProducts *p, uint32_t kernel, const KGemm *g, DeviceSpan w, ClRows *r) {
  cl_int error = CL_SUCCESS;
  size_t bytes = (size_t)g->k * (size_t)g->n * sizeof(float);
  *r = (ClRows){.next = p->code->rows, .offset = w.offset, .k = g->k, .n = g->n};
  r->mem = p->code->lib.clCreateBuffer(p->code->context, CL_MEM_READ_WRITE, bytes, NULL, &error);
  if (error != CL_SUCCESS) return error;
  error = unpack(p, kernel, g, w, r->mem);
  if (error != CL_SUCCESS) p->code->lib.clReleaseMemObject(r->mem);
  return error;
}

/* The weight as rows, made at its first use.  Called with the lock held. */
static cl_int find_rows(ClProducts *p, uint32_t kernel, const KGemm *g, DeviceSpan w,
                        cl_mem *out) {
  if (w.handle != p->code->weights) return CL_INVALID_MEM_OBJECT; /* may change */
  for (const ClRows *r = p->code->rows; r; r = r->next) {
    if (r->offset != w.offset || r->k != g->k || r->n != g->n) continue;
    *out = r->mem;
    return CL_SUCCESS;
  }
  ClRows *r = malloc(sizeof *r);
  cl_int error = r ? make_rows(p, kernel, g, w, r) : CL_OUT_OF_HOST_MEMORY;
  if (error != CL_SUCCESS) {
    free(r);
    return error;
  }
  p->code->rows = r;
  *out = r->mem;
  return CL_SUCCESS;
}

/* ---- products ------------------------------------------------------------- */

static cl_int at_least(const ClProducts *p, uint64_t bytes, ClMemory **m) {
  if (*m && (*m)->part[0].bytes >= bytes) return CL_SUCCESS;
  cl_memory_free(p->code, *m); /* the driver keeps what is still read */
  return cl_memory_new(p->code, bytes, m);
}

typedef struct {
  const KGemm *gemm;
  cl_mem a, w, c;
  uint64_t a_at, c_at, a_row, c_row, rows;
} Piece;

static cl_int multiply(ClProducts *p, const Piece *x) {
  const KGemm *g = x->gemm;
  size_t n = (size_t)g->n, k = (size_t)g->k, bytes = 0;
  int error = clblast.CLBlastSGemmTempBufferSize(ROW_MAJOR, NOT_TURNED, NOT_TURNED, x->rows, n, k,
                                                 x->a_at, x->a_row, 0, n, x->c_at, x->c_row,
                                                 &p->queue, &bytes);
  if (error != CL_SUCCESS) return error;
  if (bytes > 0) error = at_least(p, bytes, &p->temp);
  if (error != CL_SUCCESS) return error;
  return clblast.CLBlastSgemmWithTempBuffer(ROW_MAJOR, NOT_TURNED, NOT_TURNED, x->rows, n, k, 1,
                                            x->a, x->a_at, x->a_row, x->w, 0, n, 0, x->c, x->c_at,
                                            x->c_row, &p->queue, NULL,
                                            bytes > 0 ? p->temp->part[0].mem : NULL);
}

static uint64_t rows_at_once(const ClProducts *p, const KGemm *g) {
  double most = p->code->target.class->launch_flops / (2.0 * (double)g->k * (double)g->n);
  if (most <= 0 || most >= CLBLAST_ROWS) return CLBLAST_ROWS;
  return VL_MAX((uint64_t)most, 1u);
}

static cl_int in_pieces(ClProducts *p, const DeviceLaunch *l, uint64_t rows) {
  const KGemm *g = &p->code->kernels.at[l->kernel].gemm;
  Piece x = {.gemm = g, .a_row = (uint64_t)g->a_m.c, .c_row = cl_gemm_sums_row(g)};
  uint64_t a_at = 0, each = rows_at_once(p, g);
  const ClPart *a = cl_part(l->args[1].handle, l->args[1].offset, &a_at);
  if (!a) return CL_INVALID_MEM_OBJECT;
  cl_int error = at_least(p, rows * x.c_row * sizeof(float), &p->sums);
  if (error == CL_SUCCESS) error = find_rows(p, l->kernel, g, l->args[2], &x.w);
  if (error != CL_SUCCESS) return error;
  x.a = a->mem, x.c = p->sums->part[0].mem;
  for (uint64_t row = 0; error == CL_SUCCESS && row < rows; row += each) {
    x.rows = VL_MIN(each, rows - row);
    x.a_at = a_at / sizeof(float) + row * x.a_row;
    x.c_at = row * x.c_row;
    error = multiply(p, &x);
  }
  return error;
}

cl_int cl_products_launch(ClProducts *p, const DeviceLaunch *l, DeviceSpan *sums) {
  const KGemm *g = &p->code->kernels.at[l->kernel].gemm;
  pthread_mutex_lock(&clblast.lock);
  cl_int error = in_pieces(p, l, (uint64_t)cl_value(g->m, l->sizes));
  pthread_mutex_unlock(&clblast.lock);
  *sums = (DeviceSpan){p->sums, 0};
  return error;
}

void cl_products_free(ClProducts *p) {
  if (!p->code) return;
  cl_memory_free(p->code, p->sums);
  cl_memory_free(p->code, p->temp);
}
