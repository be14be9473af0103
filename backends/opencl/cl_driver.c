/* SPDX-License-Identifier: Apache-2.0 */
/* cl_driver.c - the OpenCL device behind runtime/device.h.
**
** A stream is one in-order queue.  Launches are enqueued and not waited for;
** wait sleeps until the last of them is done.  What a call of OpenCL refuses is
** kept and told by wait, by its name and with its cure; after an error that
** means the device is gone the stream stays lost. */
#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backends/opencl/cl_clblast.h"
#include "backends/opencl/cl_gemm.h"
#include "backends/opencl/cl_staging.h"
#include "backends/opencl/cl_tensor.h"
#include "backends/opencl/cl_tiles.h"
#include "backends/ref/ref.h"

enum { EVENTS_MAX = 64 };

/* What wait sleeps on and reads into.  A copy and its callback on their way hold it too: those
** of a device that is gone may come when the stream is no more, or never. */
typedef struct {
  sem_t done;
  atomic_int holders;
  cl_int fault; /* the stream's, as it was read last */
} Wake;

struct DeviceStream {
  DeviceCode *code;
  ThreadPool *pool; /* the session's; may be NULL */
  cl_command_queue queue;
  cl_kernel *kernels; /* NULL until first launched */
  ClMemory *fault;    /* one int: a step that met a bad index, plus 1 */
  ClStaging staging;
  ClProducts products;
  char words[96]; /* of trouble, where they are made */
  DeviceFault trouble;
  bool failed, lost, profiled;
  Wake *wake;
  cl_event event[EVENTS_MAX]; /* of the last launch, when profiled */
  uint32_t n_events;
};

static VlStatus no_memory(Diag *d) {
  return diag_error(d, DIAG_NOMEM, DIAG_NOWHERE, "no memory for the OpenCL device");
}

/* ---- code ---------------------------------------------------------------- */

/* The target is the device's number, "1:0", so each is loaded once.  A third part
** ("1:0:nvidia") takes the kernels of another class: for tests. */
static VlStatus choose(const char *wanted, Diag *d, ClLib *lib, ClDevice *out) {
  ClDevices *all = malloc(sizeof *all);
  const ClDevice *one = NULL;
  char number[DEVICE_TARGET_MAX] = "";
  const char *colon = wanted ? strchr(wanted, ':') : NULL;
  const char *class = colon ? strchr(colon + 1, ':') : NULL;
  if (!all) return no_memory(d);
  if (class) snprintf(number, sizeof number, "%.*s", (int)(class - wanted), wanted);
  VlStatus s = cl_lib_open(d, lib);
  if (s == VLPC_OK) s = cl_devices(lib, d, all);
  if (s == VLPC_OK) s = cl_choose(all, class ? number : wanted, d, &one);
  if (s == VLPC_OK) *out = *one;
  if (s == VLPC_OK && class && cl_class(class + 1)) out->class = cl_class(class + 1);
  free(all);
  return s;
}

static void name_target(const ClDevice *x, char out[DEVICE_TARGET_MAX]) {
  snprintf(out, DEVICE_TARGET_MAX, "%u:%u:%s", x->platform, x->number, x->class->name);
}

static VlStatus cl_target(const char *wanted, Diag *d, char out[DEVICE_TARGET_MAX]) {
  ClLib lib;
  ClDevice device = {0};
  VL_TRY(choose(wanted, d, &lib, &device));
  name_target(&device, out);
  return VLPC_OK;
}

static void cl_unload(DeviceCode *c) {
  if (!c) return;
  cl_clblast_drop(c);
  cl_weights_free(c);
  cl_programs_free(c);
  if (c->context) c->lib.clReleaseContext(c->context);
  pthread_mutex_destroy(&c->building);
  arena_free(c->arena);
}

static VlStatus open_device(DeviceCode *c, const DeviceLoad *l, Diag *d) {
  cl_int error = CL_SUCCESS;
  VL_TRY(choose(l->target, d, &c->lib, &c->device));
  c->cache_dir = l->scratch_dir ? arena_strdup(c->arena, l->scratch_dir) : NULL;
  ClTable *tuned = arena_one(c->arena, ClTable);
  VL_TRY(cl_table_read(&c->device, c->cache_dir, c->arena, d, tuned));
  c->target = cl_target_of(&c->device, tuned);
  if (l->weight_bytes > 0 && cl_table_names_clblast(tuned)) cl_clblast_hold(c);
  VL_TRY(kernels_read(l->kernels, (size_t)l->kernels_bytes, c->arena, (DiagAt){l->artifact, NULL},
                      d, &c->kernels));
  const char *note = cl_clblast_note(tuned, &c->kernels, c->arena);
  if (note) c->note = arena_printf(c->arena, "%s; run vlpc tune again", note);
  c->group = arena_array(c->arena, ClGroup, c->kernels.n + 1);
  cl_context_properties p[] = {CL_CONTEXT_PLATFORM, (cl_context_properties)c->device.platform_id,
                               0};
  c->context = c->lib.clCreateContext(p, 1, &c->device.id, NULL, NULL, &error);
  return error == CL_SUCCESS ? VLPC_OK : cl_fail(d, "clCreateContext", error);
}

static VlStatus fill(DeviceCode *c, const DeviceLoad *l, Diag *d) {
  if (ARENA_GUARD(c->arena)) return no_memory(d);
  VL_TRY(open_device(c, l, d));
  return cl_weights_make(c, l, d);
}

VlStatus cl_code_new(const DeviceLoad *l, Diag *d, DeviceCode **out) {
  Arena *a = arena_new(0);
  *out = NULL;
  if (!a) return no_memory(d);
  if (ARENA_GUARD(a)) {
    arena_free(a);
    return no_memory(d);
  }
  DeviceCode *c = arena_one(a, DeviceCode);
  c->arena = a;
  pthread_mutex_init(&c->building, NULL);
  VlStatus s = fill(c, l, d);
  if (s == VLPC_OK)
    *out = c;
  else
    cl_unload(c);
  return s;
}

/* A class's spare is for drivers that do not build what the class is for; other errors pass. */
static VlStatus check_class(ClDevice *x, DeviceLoad *l, char target[DEVICE_TARGET_MAX], Diag *d) {
  if (x->class->spare && x->capability != 0) {
    VlStatus s = cl_check(x, l, NULL);
    if (s == VLPC_OK) return s;
    if (s == VLPC_E_CODEGEN) {
      x->class = cl_class(x->class->spare);
      name_target(x, target);
      l->target = target;
    }
  }
  return cl_check(x, l, d);
}

static VlStatus cl_load_code(const DeviceLoad *l, Diag *d, DeviceCode **out) {
  ClLib lib;
  ClDevice device = {0};
  DeviceLoad load = *l;
  char target[DEVICE_TARGET_MAX];
  *out = NULL;
  VL_TRY(choose(l->target, d, &lib, &device));
  const ClClass *wanted = device.class;
  VL_TRY(check_class(&device, &load, target, d));
  VL_TRY(cl_code_new(&load, d, out));
  if (device.class != wanted)
    (*out)->note = arena_printf((*out)->arena, "the driver does not build kernels of class %s; "
                                "those of %s are used", wanted->name, device.class->name);
  return VLPC_OK;
}

static DeviceMem cl_weights(DeviceCode *c) { return (DeviceMem){c->weights, c->weight_bytes}; }

static const char *cl_note(const DeviceCode *c) { return c->note; }

static bool cl_kernel_of(const DeviceCode *c, uint32_t i, DeviceKernel *out) {
  if (i >= c->kernels.n) return false;
  *out = (DeviceKernel){c->kernels.at[i].n_operands, c->kernels.at[i].n_sizes};
  return true;
}

static void cl_reach(const DeviceCode *c, uint32_t i, const int64_t *sizes, double *lo_hi) {
  ref_reach(&c->kernels.at[i], sizes, lo_hi);
}

/* ---- trouble ------------------------------------------------------------- */

static VlStatus failed(DeviceStream *s, uint32_t step, const char *what, const char *fix) {
  if (!s->failed) s->trouble = (DeviceFault){.step = step, .what = what, .fix = fix};
  s->failed = true;
  s->trouble.lost = s->lost;
  return s->lost ? VLPC_E_DEVICE_LOST : VLPC_E_DEVICE;
}

static VlStatus refused(DeviceStream *s, uint32_t step, cl_int error) {
  s->lost = s->lost || cl_error_is_loss(error);
  return failed(s, step, cl_error_name(error), cl_error_cure(error));
}

/* ---- memory -------------------------------------------------------------- */

cl_int cl_memory_new(const DeviceCode *c, uint64_t bytes, ClMemory **out) {
  cl_int error = CL_OUT_OF_HOST_MEMORY;
  ClMemory *m = calloc(1, sizeof *m + sizeof *m->part);
  *out = NULL;
  if (!m) return error;
  m->n = 1;
  m->part[0] = (ClPart){NULL, 0, bytes};
  m->part[0].mem =
      c->lib.clCreateBuffer(c->context, CL_MEM_READ_WRITE, (size_t)bytes, NULL, &error);
  if (error == CL_SUCCESS)
    *out = m;
  else
    free(m);
  return error;
}

void cl_memory_free(const DeviceCode *c, ClMemory *m) {
  if (m) c->lib.clReleaseMemObject(m->part[0].mem);
  free(m);
}

static bool cl_alloc(DeviceStream *s, uint64_t bytes, DeviceMem *out) {
  ClMemory *m = NULL;
  *out = (DeviceMem){0};
  if (bytes > s->code->device.max_alloc || cl_memory_new(s->code, bytes, &m) != CL_SUCCESS)
    return false;
  *out = (DeviceMem){m, bytes};
  return true;
}

static void cl_release(DeviceStream *s, DeviceMem *m) {
  cl_memory_free(s->code, m->handle);
  *m = (DeviceMem){0};
}

static cl_int write_part(DeviceStream *s, const ClPart *p, uint64_t at, const void *from,
                         uint64_t n) {
  if (cl_staging_ready(&s->staging, n)) return cl_staging_write(&s->staging, p->mem, at, from, n);
  return s->code->lib.clEnqueueWriteBuffer(s->queue, p->mem, CL_TRUE, (size_t)at, (size_t)n, from,
                                           0, NULL, NULL);
}

static VlStatus cl_write(DeviceStream *s, DeviceSpan to, const void *from, uint64_t n) {
  uint64_t at = 0;
  if (n == 0 || s->lost) return s->lost ? VLPC_E_DEVICE_LOST : VLPC_OK;
  const ClPart *p = cl_part(to.handle, to.offset, &at);
  cl_int error = p ? write_part(s, p, at, from, n) : CL_INVALID_MEM_OBJECT;
  return error == CL_SUCCESS ? VLPC_OK : refused(s, DEVICE_ANY, error);
}

static VlStatus cl_read(DeviceStream *s, void *to, DeviceSpan from, uint64_t n) {
  uint64_t at = 0;
  if (n == 0 || s->lost) return s->lost ? VLPC_E_DEVICE_LOST : VLPC_OK;
  const ClPart *p = cl_part(from.handle, from.offset, &at);
  cl_int error = p ? s->code->lib.clEnqueueReadBuffer(s->queue, p->mem, CL_TRUE, (size_t)at,
                                                      (size_t)n, to, 0, NULL, NULL)
                   : CL_INVALID_MEM_OBJECT;
  return error == CL_SUCCESS ? VLPC_OK : refused(s, DEVICE_ANY, error);
}

/* ---- waking -------------------------------------------------------------- */

static Wake *wake_new(void) {
  Wake *w = calloc(1, sizeof *w);
  if (!w) return NULL;
  sem_init(&w->done, 0, 0);
  atomic_init(&w->holders, 1);
  return w;
}

static void wake_release(Wake *w) {
  if (!w || atomic_fetch_sub(&w->holders, 1) > 1) return;
  sem_destroy(&w->done);
  free(w);
}

static void CL_CALLBACK wake(cl_event event, cl_int status, void *user) {
  Wake *w = user;
  (void)event, (void)status;
  sem_post(&w->done);
  wake_release(w);
}

/* ---- streams ------------------------------------------------------------- */

static void drop_events(DeviceStream *s) {
  for (uint32_t i = 0; i < s->n_events; i++) s->code->lib.clReleaseEvent(s->event[i]);
  s->n_events = 0;
}

static void cl_stream_free(DeviceStream *s) {
  if (!s) return;
  const ClLib *lib = &s->code->lib;
  drop_events(s);
  for (uint32_t i = 0; s->kernels && i < s->code->kernels.n; i++) {
    if (s->kernels[i]) lib->clReleaseKernel(s->kernels[i]);
  }
  cl_memory_free(s->code, s->fault);
  cl_staging_free(&s->staging);
  cl_products_free(&s->products);
  if (s->queue) lib->clReleaseCommandQueue(s->queue);
  wake_release(s->wake);
  free(s->kernels);
  free(s);
}

static VlStatus stream_parts(DeviceStream *s, Diag *d) {
  DeviceCode *c = s->code;
  cl_int error = CL_SUCCESS, none = 0;
  s->queue = c->lib.clCreateCommandQueue(c->context, c->device.id, 0, &error);
  if (error != CL_SUCCESS) return cl_fail(d, "clCreateCommandQueue", error);
  s->staging = (ClStaging){.code = c, .queue = s->queue, .pool = s->pool};
  s->products = (ClProducts){.code = c, .queue = s->queue};
  error = cl_memory_new(c, sizeof none, &s->fault);
  if (error == CL_SUCCESS)
    error = c->lib.clEnqueueWriteBuffer(s->queue, s->fault->part[0].mem, CL_TRUE, 0, sizeof none,
                                        &none, 0, NULL, NULL);
  return error == CL_SUCCESS ? VLPC_OK : cl_fail(d, "clCreateBuffer", error);
}

static VlStatus cl_stream_new(DeviceCode *c, ThreadPool *pool, Diag *d, DeviceStream **out) {
  DeviceStream *s = calloc(1, sizeof *s);
  *out = NULL;
  if (!s) return no_memory(d);
  s->code = c;
  s->pool = pool;
  s->wake = wake_new();
  s->kernels = calloc((size_t)c->kernels.n + 1, sizeof(cl_kernel));
  VlStatus status = s->kernels && s->wake ? stream_parts(s, d) : no_memory(d);
  if (status == VLPC_OK)
    *out = s;
  else
    cl_stream_free(s);
  return status;
}

static VlStatus cl_ready(DeviceStream *s, const ProgStep *steps, uint32_t n, Diag *d) {
  return cl_programs_ready(s->code, steps, n, s->pool, d);
}

/* ---- launches ------------------------------------------------------------ */

typedef struct {
  const ClLib *lib;
  cl_kernel kernel;
  cl_uint next;
  cl_int error;
} Args;

static void arg(Args *a, size_t n, const void *value) {
  if (a->error == CL_SUCCESS) a->error = a->lib->clSetKernelArg(a->kernel, a->next++, n, value);
}

static bool kernel_at(DeviceStream *s, uint32_t i, cl_int *error) {
  char name[16];
  *error = CL_SUCCESS;
  if (s->kernels[i]) return true;
  snprintf(name, sizeof name, "k%u", i % CL_GROUP);
  s->kernels[i] = s->code->lib.clCreateKernel(s->code->group[i / CL_GROUP].program, name, error);
  if (*error != CL_SUCCESS) s->kernels[i] = NULL;
  return *error == CL_SUCCESS;
}

enum { VECTOR_BYTES = 16 };

static cl_int set_args(DeviceStream *s, const DeviceLaunch *l) {
  const Kernel *k = &s->code->kernels.at[l->kernel];
  Args a = {&s->code->lib, s->kernels[l->kernel], 0, CL_SUCCESS};
  for (uint32_t i = 0; i < l->n_args; i++) {
    uint64_t at = 0;
    const ClPart *p = cl_part(l->args[i].handle, l->args[i].offset, &at);
    bool aligned = !cl_wants_vectors(&s->code->target, k, i) || at % VECTOR_BYTES == 0;
    if (!p || !aligned) return CL_INVALID_MEM_OBJECT;
    cl_long offset = (cl_long)(at / dtype_size(kernel_operand_dtype(k, i)));
    arg(&a, sizeof p->mem, &p->mem);
    arg(&a, sizeof offset, &offset);
  }
  for (uint32_t i = 0; i < l->n_sizes; i++) {
    cl_long size = l->sizes[i];
    arg(&a, sizeof size, &size);
  }
  cl_int step = (cl_int)l->step + 1;
  arg(&a, sizeof(cl_mem), &s->fault->part[0].mem);
  arg(&a, sizeof step, &step);
  return a.error;
}

/* How much faster than others gemms of matrix instructions are, at least. */
enum { TENSOR_SPEED = 4 };

/* NULL: none, or no room for it. */
static cl_event *next_event(DeviceStream *s) {
  return s->profiled && s->n_events < EVENTS_MAX ? &s->event[s->n_events] : NULL;
}

/* Launches of the last dimension's pieces, each of bounded work. */
static cl_int enqueue(DeviceStream *s, const DeviceLaunch *l, const ClGrid *g) {
  const ClClass *class = s->code->target.class;
  const Kernel *k = &s->code->kernels.at[l->kernel];
  double flops = (double)kernel_flops(k, l->sizes);
  uint64_t groups = g->global[1] / g->local[1], pieces = 1;
  double most = class->launch_flops;
  if (k->kind == KK_GEMM && cl_gemm_is_tensor(&s->code->target, &k->gemm)) most *= TENSOR_SPEED;
  if (most > 0 && flops > most) pieces = VL_MIN((uint64_t)(flops / most) + 1, groups);
  uint64_t each = (groups + pieces - 1) / pieces * g->local[1];
  size_t local[2] = {(size_t)g->local[0], (size_t)g->local[1]};
  for (uint64_t at = 0; at < g->global[1]; at += each) {
    size_t offset[2] = {0, (size_t)at};
    size_t global[2] = {(size_t)g->global[0], (size_t)VL_MIN(each, g->global[1] - at)};
    cl_event *timed = next_event(s);
    cl_int error = s->code->lib.clEnqueueNDRangeKernel(s->queue, s->kernels[l->kernel], 2, offset,
                                                       global, local, 0, NULL, timed);
    if (error != CL_SUCCESS) return error;
    s->n_events += timed != NULL;
  }
  return CL_SUCCESS;
}

/* Memory for its copies too: without it there are none. */
static VlStatus refused_by_clblast(DeviceStream *s, uint32_t step, cl_int error) {
  s->lost = s->lost || cl_error_is_loss(error);
  if (!s->failed)
    snprintf(s->words, sizeof s->words, "CLBlast failed with %s (%d)", cl_error_name(error),
             (int)error);
  return failed(s, step, s->words, "run vlpc tune again without --clblast, or with --device cpu");
}

/* Its sums by CLBlast; *finish is the launch that is left, of args[]. */
static VlStatus launch_sums(DeviceStream *s, const DeviceLaunch *l, DeviceSpan *args,
                            DeviceLaunch *finish) {
  cl_int error = CL_SUCCESS;
  cl_event *start = next_event(s); /* CLBlast tells no time of its first kernel */
  if (start) error = s->code->lib.clEnqueueMarkerWithWaitList(s->queue, 0, NULL, start);
  if (error != CL_SUCCESS) return refused(s, l->step, error);
  s->n_events += start != NULL;
  memcpy(args, l->args, l->n_args * sizeof *args);
  *finish = *l;
  finish->args = args;
  error = cl_products_launch(&s->products, l, &args[1]);
  return error == CL_SUCCESS ? VLPC_OK : refused_by_clblast(s, l->step, error);
}

static VlStatus cl_launch(DeviceStream *s, const DeviceLaunch *l) {
  const Kernel *k = &s->code->kernels.at[l->kernel];
  DeviceSpan args[PROG_MAX_ARGS];
  DeviceLaunch finish;
  ClGrid g;
  cl_int error;
  if (s->lost) return VLPC_E_DEVICE_LOST;
  drop_events(s);
  const char *why = cl_cannot_run(&s->code->target, k);
  if (why) return failed(s, l->step, why, "run with --device cpu, or compile in fp32");
  cl_grid(&s->code->target, k, l->sizes, &g);
  if (g.global[0] == 0 || g.global[1] == 0) return VLPC_OK;
  if (g.global[0] > INT32_MAX || g.global[1] > INT32_MAX)
    return failed(s, l->step, "the step has too many elements for one launch",
                  "run a smaller batch");
  if (!kernel_at(s, l->kernel, &error)) return refused(s, l->step, error);
  if (k->kind == KK_GEMM && cl_gemm_is_library(&s->code->target, &k->gemm)) {
    VL_TRY(launch_sums(s, l, args, &finish));
    l = &finish;
  }
  error = set_args(s, l);
  if (error == CL_SUCCESS) error = enqueue(s, l, &g);
  return error == CL_SUCCESS ? VLPC_OK : refused(s, l->step, error);
}

/* ---- waiting ------------------------------------------------------------- */

/* Sleeps until the event is done; now and then looks itself, for a device that
** is gone may never call. */
static cl_int sleep_until(DeviceStream *s, cl_event event) {
  cl_int status = CL_QUEUED;
  for (bool woken = false; !woken;) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += 1;
    woken = sem_timedwait(&s->wake->done, &t) == 0;
    cl_int error = s->code->lib.clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS,
                                               sizeof status, &status, NULL);
    if (error == CL_SUCCESS && status < 0) error = status;
    if (error != CL_SUCCESS) {
      s->lost = true;
      return error;
    }
    if (!woken && status == CL_COMPLETE) {
      while (sem_wait(&s->wake->done) != 0 && errno == EINTR)
        continue; /* the call is on its way */
      woken = true;
    }
  }
  return CL_SUCCESS;
}

static cl_int finish(DeviceStream *s) {
  const ClLib *lib = &s->code->lib;
  Wake *w = s->wake;
  cl_event event;
  cl_int error = lib->clEnqueueReadBuffer(s->queue, s->fault->part[0].mem, CL_FALSE, 0,
                                          sizeof w->fault, &w->fault, 0, NULL, &event);
  if (error != CL_SUCCESS) return error;
  atomic_fetch_add(&w->holders, 1);
  error = lib->clSetEventCallback(event, CL_COMPLETE, wake, w);
  /* not called, the copy lets go of w when it is done; if that cannot be known, never */
  if (error != CL_SUCCESS && lib->clFinish(s->queue) == CL_SUCCESS) wake_release(w);
  if (error == CL_SUCCESS) error = lib->clFlush(s->queue);
  if (error == CL_SUCCESS) error = sleep_until(s, event);
  lib->clReleaseEvent(event);
  return error;
}

/* Whatever failed, launches end before their memory is given back.  A callback that is late
** would wake the next wait, so that gets a Wake of its own. */
static void settle(DeviceStream *s) {
  Wake *next = wake_new();
  if (s->code->lib.clFinish(s->queue) != CL_SUCCESS || !next) s->lost = true;
  if (!next) return;
  wake_release(s->wake);
  s->wake = next;
}

static void clear_fault(DeviceStream *s) {
  cl_int none = 0;
  cl_int error = s->code->lib.clEnqueueWriteBuffer(s->queue, s->fault->part[0].mem, CL_TRUE, 0,
                                                   sizeof none, &none, 0, NULL, NULL);
  if (error != CL_SUCCESS) VL_IGNORE(refused(s, DEVICE_ANY, error));
}

static VlStatus cl_wait(DeviceStream *s, DeviceFault *out) {
  cl_int error = s->lost ? CL_SUCCESS : finish(s);
  cl_int fault = s->lost || error != CL_SUCCESS ? 0 : s->wake->fault;
  if (s->lost || error != CL_SUCCESS) settle(s);
  if (error != CL_SUCCESS) {
    VL_IGNORE(refused(s, DEVICE_ANY, error));
  } else if (fault != 0 && !s->failed) {
    s->trouble = (DeviceFault){.step = (uint32_t)fault - 1, .fault = FAULT_INDEX};
    s->failed = true;
    clear_fault(s);
  }
  *out = s->trouble;
  bool bad = s->failed;
  s->failed = s->lost;
  return !bad ? VLPC_OK : s->lost ? VLPC_E_DEVICE_LOST : VLPC_E_DEVICE;
}

/* ---- profile ------------------------------------------------------------- */

static bool cl_profile(DeviceStream *s, bool on) {
  DeviceFault ignored;
  const ClLib *lib = &s->code->lib;
  cl_int error = CL_SUCCESS;
  if (s->profiled == on) return true;
  if (cl_wait(s, &ignored) != VLPC_OK) return false;
  cl_command_queue q = lib->clCreateCommandQueue(s->code->context, s->code->device.id,
                                                 on ? CL_QUEUE_PROFILING_ENABLE : 0, &error);
  if (error != CL_SUCCESS) return false;
  drop_events(s);
  lib->clReleaseCommandQueue(s->queue);
  s->queue = s->staging.queue = s->products.queue = q;
  s->profiled = on;
  return true;
}

/* From the start of the first piece to the end of the last. */
static int64_t cl_elapsed(DeviceStream *s) {
  const ClLib *lib = &s->code->lib;
  cl_ulong from = 0, to = 0;
  if (!s->profiled) return -1;
  if (s->n_events == 0) return 0;
  if (lib->clGetEventProfilingInfo(s->event[0], CL_PROFILING_COMMAND_START, sizeof from, &from,
                                   NULL) != CL_SUCCESS ||
      lib->clGetEventProfilingInfo(s->event[s->n_events - 1], CL_PROFILING_COMMAND_END, sizeof to,
                                   &to, NULL) != CL_SUCCESS)
    return -1;
  return (int64_t)(to - from);
}

const DeviceDriver device_opencl = {
    .name = "opencl",
    .what = "a GPU or processor, through its OpenCL driver",
    .target = cl_target,
    .load = cl_load_code,
    .unload = cl_unload,
    .weights = cl_weights,
    .kernel = cl_kernel_of,
    .reach = cl_reach,
    .stream_new = cl_stream_new,
    .stream_free = cl_stream_free,
    .ready = cl_ready,
    .alloc = cl_alloc,
    .release = cl_release,
    .write = cl_write,
    .read = cl_read,
    .launch = cl_launch,
    .wait = cl_wait,
    .profile = cl_profile,
    .elapsed = cl_elapsed,
    .note = cl_note,
};
