/* SPDX-License-Identifier: Apache-2.0 */
/* clblast_shim.c - see clblast_shim.h.  It is a libclblast.so.1 itself, found before the real
** one; that is opened by its path. */
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tests/e2e/clblast_shim.h"

extern ClBlastShim vlpc_clblast_shim;
ClBlastShim vlpc_clblast_shim = {.alpha = 1};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define FN(name, parameters) static int(*real_##name) parameters;
#include "backends/opencl/cl_clblast.def"
#define FN(name, parameters) int name parameters;
#include "backends/opencl/cl_clblast.def"

static void find(void *lib, const char *name, void *to) {
  void *symbol = dlsym(lib, name);
  if (symbol == NULL) abort();
  memcpy(to, &symbol, sizeof symbol);
}

__attribute__((constructor)) static void open_real(void) {
  void *lib = dlopen(VLPC_REAL_CLBLAST, RTLD_NOW | RTLD_LOCAL);
  if (lib == NULL) abort();
#define FN(name, parameters) find(lib, #name, &real_##name);
#include "backends/opencl/cl_clblast.def"
}

static void enter(int *count) {
  ClBlastShim *s = &vlpc_clblast_shim;
  pthread_mutex_lock(&lock);
  *count += 1;
  s->overlaps += s->within++ > 0;
  pthread_mutex_unlock(&lock);
}

static void leave(void) {
  pthread_mutex_lock(&lock);
  vlpc_clblast_shim.within--;
  pthread_mutex_unlock(&lock);
}

int CLBlastSgemmWithTempBuffer(int layout, int turned_a, int turned_b, size_t m, size_t n, size_t k,
                               float alpha, cl_mem a, size_t a_at, size_t a_row, cl_mem b,
                               size_t b_at, size_t b_row, float beta, cl_mem c, size_t c_at,
                               size_t c_row, cl_command_queue *queue, cl_event *event,
                               cl_mem temp) {
  ClBlastShim *s = &vlpc_clblast_shim;
  enter(&s->products);
  if (m > s->rows) alpha *= s->alpha;
  int error = s->error;
  if (error == 0 && !s->idle)
    error = real_CLBlastSgemmWithTempBuffer(layout, turned_a, turned_b, m, n, k, alpha, a, a_at,
                                            a_row, b, b_at, b_row, beta, c, c_at, c_row, queue,
                                            event, temp);
  leave();
  return error;
}

int CLBlastSGemmTempBufferSize(int layout, int turned_a, int turned_b, size_t m, size_t n, size_t k,
                               size_t a_at, size_t a_row, size_t b_at, size_t b_row, size_t c_at,
                               size_t c_row, cl_command_queue *queue, size_t *bytes) {
  return real_CLBlastSGemmTempBufferSize(layout, turned_a, turned_b, m, n, k, a_at, a_row, b_at,
                                         b_row, c_at, c_row, queue, bytes);
}

int CLBlastClearCache(void) {
  enter(&vlpc_clblast_shim.clears);
  int error = real_CLBlastClearCache();
  leave();
  return error;
}
