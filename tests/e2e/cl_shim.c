/* SPDX-License-Identifier: Apache-2.0 */
/* cl_shim.c - see cl_shim.h.  It is a libOpenCL.so.1 itself, found before the real one; that
** is opened by its path.  Functions that tests have fail are wrapped here, the others jump on. */
#define CL_TARGET_OPENCL_VERSION 120
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#include <CL/cl.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "tests/e2e/cl_shim.h"

extern ClShim vlpc_cl_shim;
ClShim vlpc_cl_shim;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define FN(name) void *real_##name __attribute__((visibility("hidden")));
#include "backends/opencl/cl_functions.def"

__attribute__((constructor)) static void open_real(void) {
  void *lib = dlopen(VLPC_REAL_OPENCL, RTLD_NOW | RTLD_LOCAL);
  if (lib == NULL) abort();
#define FN(name) real_##name = dlsym(lib, #name);
#include "backends/opencl/cl_functions.def"
}

/* The error of a call that is to fail; CL_SUCCESS: it is not. */
static cl_int fault(const char *function) {
  ClShim *s = &vlpc_cl_shim;
  pthread_mutex_lock(&lock);
  s->builds += strcmp(function, "clBuildProgram") == 0;
  int is_it = s->function != NULL && strcmp(s->function, function) == 0;
  s->calls += is_it;
  int fails = is_it && (s->once ? s->calls == s->nth : s->calls >= s->nth);
  pthread_mutex_unlock(&lock);
  return fails ? s->error : CL_SUCCESS;
}

/* ---- functions that fail by their result --------------------------------- */

#define FAILING(name, parameters, arguments)              \
  cl_int CL_API_CALL name parameters {                    \
    cl_int error = fault(#name);                          \
    if (error != CL_SUCCESS) return error;                \
    __typeof__(name) *real;                               \
    memcpy(&real, &real_##name, sizeof real);             \
    return real arguments;                                \
  }

FAILING(clGetPlatformIDs, (cl_uint n, cl_platform_id *ids, cl_uint *found), (n, ids, found))
FAILING(clGetDeviceIDs,
        (cl_platform_id p, cl_device_type t, cl_uint n, cl_device_id *ids, cl_uint *found),
        (p, t, n, ids, found))
FAILING(clBuildProgram,
        (cl_program p, cl_uint n, const cl_device_id *d, const char *o,
         void(CL_CALLBACK *fn)(cl_program, void *), void *user),
        (p, n, d, o, fn, user))
FAILING(clSetKernelArg, (cl_kernel k, cl_uint i, size_t n, const void *v), (k, i, n, v))
FAILING(clEnqueueWriteBuffer,
        (cl_command_queue q, cl_mem m, cl_bool b, size_t at, size_t n, const void *p, cl_uint w,
         const cl_event *l, cl_event *e),
        (q, m, b, at, n, p, w, l, e))
FAILING(clEnqueueNDRangeKernel,
        (cl_command_queue q, cl_kernel k, cl_uint d, const size_t *o, const size_t *g,
         const size_t *s, cl_uint w, const cl_event *l, cl_event *e),
        (q, k, d, o, g, s, w, l, e))
FAILING(clSetEventCallback,
        (cl_event e, cl_int t, void(CL_CALLBACK *fn)(cl_event, cl_int, void *), void *user),
        (e, t, fn, user))
FAILING(clGetEventInfo,
        (cl_event e, cl_event_info what, size_t n, void *to, size_t *used), (e, what, n, to, used))
FAILING(clFlush, (cl_command_queue q), (q))

cl_int CL_API_CALL clEnqueueReadBuffer(cl_command_queue q, cl_mem m, cl_bool b, size_t at, size_t n,
                                       void *p, cl_uint w, const cl_event *l, cl_event *e) {
  ClShim *s = &vlpc_cl_shim;
  cl_int error = fault("clEnqueueReadBuffer");
  __typeof__(clEnqueueReadBuffer) *real;
  memcpy(&real, &real_clEnqueueReadBuffer, sizeof real);
  if (error == CL_SUCCESS) error = real(q, m, b, at, n, p, w, l, e);
  if (b && error == CL_SUCCESS && ++s->reads == s->spoilt)
    for (size_t i = 0; i < n && i < sizeof(float); i++) ((unsigned char *)p)[i] ^= 0x41;
  return error;
}

/* ---- functions that make something --------------------------------------- */

#define MAKING(type, name, parameters, arguments)         \
  type CL_API_CALL name parameters {                      \
    cl_int failed = fault(#name);                         \
    if (failed != CL_SUCCESS) {                           \
      *error = failed;                                    \
      return NULL;                                        \
    }                                                     \
    __typeof__(name) *real;                               \
    memcpy(&real, &real_##name, sizeof real);             \
    return real arguments;                                \
  }

MAKING(cl_context, clCreateContext,
       (const cl_context_properties *p, cl_uint n, const cl_device_id *d,
        void(CL_CALLBACK *fn)(const char *, const void *, size_t, void *), void *user,
        cl_int *error),
       (p, n, d, fn, user, error))
MAKING(cl_command_queue, clCreateCommandQueue,
       (cl_context c, cl_device_id d, cl_command_queue_properties p, cl_int *error),
       (c, d, p, error))
MAKING(cl_program, clCreateProgramWithSource,
       (cl_context c, cl_uint n, const char **s, const size_t *l, cl_int *error),
       (c, n, s, l, error))
MAKING(cl_kernel, clCreateKernel, (cl_program p, const char *name, cl_int *error),
       (p, name, error))
MAKING(cl_mem, clCreateBuffer,
       (cl_context c, cl_mem_flags f, size_t n, void *p, cl_int *error), (c, f, n, p, error))

/* ---- the others ---------------------------------------------------------- */

#define JUMP(name)                                        \
  __asm__(".globl " #name "\n.type " #name ", @function\n" #name ":\n" \
          "\tjmp *real_" #name "(%rip)\n.size " #name ", .-" #name "\n");

JUMP(clGetPlatformInfo)
JUMP(clGetDeviceInfo)
JUMP(clReleaseContext)
JUMP(clReleaseCommandQueue)
JUMP(clCreateProgramWithBinary)
JUMP(clGetProgramBuildInfo)
JUMP(clGetProgramInfo)
JUMP(clReleaseProgram)
JUMP(clReleaseKernel)
JUMP(clReleaseMemObject)
JUMP(clEnqueueMapBuffer)
JUMP(clEnqueueMarkerWithWaitList)
JUMP(clEnqueueUnmapMemObject)
JUMP(clWaitForEvents)
JUMP(clGetEventProfilingInfo)
JUMP(clReleaseEvent)
JUMP(clFinish)

/* One that is missing fails the link, where the test would be skipped. */
static void (*const all[])(void) __attribute__((used)) = {
#define FN(name) (void (*)(void))name,
#include "backends/opencl/cl_functions.def"
};
