/* SPDX-License-Identifier: Apache-2.0 */
/* exec.c - one run of an entry: bind, lend or copy the inputs, launch the steps
** in order, wait, copy the outputs back.
**
** The caller's floating-point environment is set aside for the run, so results
** do not depend on what the caller's thread rounds or flushes to. */
#include <fenv.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "runtime/code.h"
#include "runtime/session.h"

/* ---- buffers ------------------------------------------------------------ */

static bool grow_own(OutPort *o, uint64_t n) {
  if (o->own_bytes >= n && o->own) return true;
  free(o->own);
  o->own_bytes = 0;
  o->own = aligned_alloc(64, (size_t)vl_align_up(VL_MAX(n, 1u), 64));
  if (o->own) o->own_bytes = n;
  return o->own != NULL;
}

VlStatus session_ready_output(vlpc_session *s, Bound *b, uint32_t i, uint64_t n) {
  OutPort *o = &b->out[i];
  DiagAt at = {s->model->path, b->e->name};
  if (!o->user && !grow_own(o, n))
    return diag_error(s->diag, DIAG_NOMEM, at, "no memory for an output");
  if (!o->user || o->user_bytes >= n) return VLPC_OK;
  VlStatus st = diag_error(s->diag, DIAG_OUTPUT_SMALL, at,
                           "the buffer given for output '%s' is too small",
                           s->model->program.ports[b->e->out + i].name);
  diag_found(s->diag, "%" PRIu64 " bytes", o->user_bytes);
  diag_expected(s->diag, "%" PRIu64 " bytes", n);
  return st;
}

static VlStatus ready_outputs(vlpc_session *s, Bound *b) {
  for (uint32_t i = 0; i < b->e->n_out; i++)
    VL_TRY(session_ready_output(s, b, i, b->bufs[b->out_local[i]].bytes));
  return VLPC_OK;
}

void *session_result(const OutPort *o) { return o->user ? o->user : o->own; }

/* Where each buffer lies in this run, then the same for every argument. */
static void place(vlpc_session *s, Bound *b, bool host) {
  const Program *p = &s->model->program;
  void *weights = s->code->driver->weights(s->code->code).handle;
  for (uint32_t i = 0; i < b->n_bufs; i++) {
    BufKind kind = p->bufs[b->bufs[i].buf].kind;
    b->bufs[i].handle = kind == BUF_CONST ? weights : s->temp.handle;
  }
  for (uint32_t i = 0; i < b->e->n_in; i++)
    b->bufs[b->in_local[i]].handle = host ? b->in[i].value.data : b->in[i].copy.handle;
  for (uint32_t i = 0; i < b->e->n_out; i++)
    b->bufs[b->out_local[i]].handle = host ? session_result(&b->out[i]) : b->out[i].copy.handle;
  for (uint32_t i = 0; i < b->n_args; i++) {
    const LocalBuf *buf = &b->bufs[b->args[i].local];
    b->spans[i] = (DeviceSpan){buf->handle, buf->offset + b->args[i].offset};
  }
}

static VlStatus copy_in(vlpc_session *s, Bound *b) {
  const DeviceDriver *dr = s->code->driver;
  for (uint32_t i = 0; i < b->e->n_in; i++) {
    DeviceSpan to = {b->in[i].copy.handle, 0};
    if (b->bufs[b->in_local[i]].bytes == 0) continue;
    VL_TRY(dr->write(s->stream, to, b->in[i].value.data, b->bufs[b->in_local[i]].bytes));
  }
  return VLPC_OK;
}

static VlStatus copy_out(vlpc_session *s, Bound *b) {
  const DeviceDriver *dr = s->code->driver;
  for (uint32_t i = 0; i < b->e->n_out; i++) {
    DeviceSpan from = {b->out[i].copy.handle, 0};
    if (b->bufs[b->out_local[i]].bytes == 0) continue;
    VL_TRY(dr->read(s->stream, session_result(&b->out[i]), from, b->bufs[b->out_local[i]].bytes));
  }
  return VLPC_OK;
}

/* ---- steps -------------------------------------------------------------- */

static VlStatus driver_failed(vlpc_session *s, DiagAt at, const DeviceFault *f) {
  VlStatus st = diag_error(s->diag, f->lost ? DIAG_DEVICE_LOST : DIAG_STEP_FAILED, at,
                           "device %s: %s", s->code->driver->name, f->what);
  if (f->fix) diag_fix(s->diag, "%s", f->fix);
  return st;
}

static VlStatus step_failed(vlpc_session *s, const Bound *b, DeviceFault f) {
  char place[512];
  const char *where = f.step < s->model->program.n_steps ? s->model->program.steps[f.step].place
                                                         : "unknown";
  snprintf(place, sizeof place, "entry '%s', %s", b->e->name, where);
  DiagAt at = {s->model->path, place};
  if (f.fault == FAULT_INDEX) {
    VlStatus st = diag_error(s->diag, DIAG_INDEX_RANGE, at, "an index is out of range");
    diag_fix(s->diag, "check the ids among the inputs against the size of the table they point in");
    return st;
  }
  if (f.what) return driver_failed(s, at, &f);
  return diag_error(s->diag, DIAG_STEP_FAILED, at, "device %s could not run the step (fault %d)",
                    s->code->driver->name, f.fault);
}

static void report_step(vlpc_session *s, const Bound *b, uint32_t i, int64_t start) {
  const DeviceLaunch *l = &b->launch[i];
  const DeviceDriver *dr = s->code->driver;
  int64_t end = clock_ns(), own = dr->elapsed ? dr->elapsed(s->stream) : -1;
  if (own >= 0) start = end - own;
  vlpc_step_info info = {.entry = b->e->name, .step = l->step, .kernel = l->kernel,
                         .place = s->model->program.steps[l->step].place,
                         .sizes = l->sizes, .n_sizes = l->n_sizes,
                         .start_ns = start, .end_ns = end};
  s->on_step(s->on_step_user, &info);
}

static VlStatus launch_all(vlpc_session *s, const Bound *b) {
  const DeviceDriver *dr = s->code->driver;
  DeviceFault fault = {0};
  VlStatus st = VLPC_OK;
  if (dr->profile) dr->profile(s->stream, s->on_step != NULL);
  for (uint32_t i = 0; st == VLPC_OK && i < b->e->n_steps; i++) {
    int64_t start = s->on_step ? clock_ns() : 0;
    st = dr->launch(s->stream, &b->launch[i]);
    s->launches++;
    if (!s->on_step || st != VLPC_OK) continue;
    st = dr->wait(s->stream, &fault);
    if (st != VLPC_OK) return step_failed(s, b, fault);
    report_step(s, b, i, start);
  }
  if (dr->wait(s->stream, &fault) != VLPC_OK || st != VLPC_OK) return step_failed(s, b, fault);
  return VLPC_OK;
}

static VlStatus run_bound(vlpc_session *s, Bound *b) {
  bool host = s->code->driver->flags & DEVICE_HOST_MEMORY;
  place(s, b, host);
  VlStatus st = host ? VLPC_OK : copy_in(s, b);
  if (st == VLPC_OK) st = launch_all(s, b);
  if (st == VLPC_OK && !host) st = copy_out(s, b);
  if (st == VLPC_OK || diag_count(s->diag) > 0) return st;
  DiagAt at = {s->model->path, b->e->name};
  DeviceFault fault;
  VL_IGNORE(s->code->driver->wait(s->stream, &fault)); /* for its words */
  if (fault.what) return driver_failed(s, at, &fault);
  return diag_error(s->diag, DIAG_STEP_FAILED, at, "device %s could not copy",
                    s->code->driver->name);
}

/* Kernels that the device builds itself, once. */
static VlStatus ready_kernels(vlpc_session *s, Bound *b) {
  const DeviceDriver *dr = s->code->driver;
  const ProgStep *steps = s->model->program.steps + b->e->step;
  if (!b->ready && dr->ready) VL_TRY(dr->ready(s->stream, steps, b->e->n_steps, s->diag));
  b->ready = true;
  return VLPC_OK;
}

VlStatus session_run_itself(vlpc_session *s, Bound *b) {
  fenv_t callers;
  b->ran = false;
  VL_TRY(bound_bind(s, b));
  VL_TRY(ready_kernels(s, b));
  VL_TRY(ready_outputs(s, b));
  feholdexcept(&callers);
  fesetenv(FE_DFL_ENV);
  VlStatus st = run_bound(s, b);
  fesetenv(&callers);
  b->ran = st == VLPC_OK;
  return st;
}

VlStatus session_run(vlpc_session *s, Bound *b) {
  Bound *x = NULL;
  b->ran = false;
  VL_TRY(stand_in_find(s, b, &x));
  if (x != b && session_about(s, x)->ahead) return chunks_run(s, b, x);
  VL_TRY(session_run_itself(s, x));
  return x == b ? VLPC_OK : stand_in_hand_over(s, x, b);
}
