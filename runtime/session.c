/* SPDX-License-Identifier: Apache-2.0 */
/* session.c - life of a session, its inputs and outputs, one thread at a time. */
#include "runtime/session.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"

/* ---- one thread at a time ----------------------------------------------- */

/* The session that this thread last found busy: its error text is ours, not
** that of the thread inside. */
static _Thread_local const vlpc_session *found_busy;

static const char busy_text[] =
    "vlpc: error[E0907]: the session is used by another thread\n"
    "  fix:      give each thread its own session; they may share the artifact\n";
static const char busy_json[] =
    "[{\"code\":\"E0907\",\"status\":\"INVALID_ARG\",\"message\":"
    "\"the session is used by another thread\","
    "\"fix\":\"give each thread its own session; they may share the artifact\"}]";

bool session_enter(vlpc_session *s) {
  if (!s || !s->model) return false;
  bool free_now = false;
  if (!atomic_compare_exchange_strong(&s->busy, &free_now, true)) {
    found_busy = s;
    return false;
  }
  found_busy = NULL;
  diag_clear(s->diag);
  return true;
}

VlStatus session_leave(vlpc_session *s, VlStatus status) {
  atomic_store(&s->busy, false);
  return status;
}

const char *vlpc_session_error(const vlpc_session *s) {
  if (!s) return "";
  return found_busy == s ? busy_text : diag_text(s->diag);
}

const char *vlpc_session_error_json(const vlpc_session *s) {
  if (!s) return "[]";
  return found_busy == s ? busy_json : diag_json(s->diag);
}

VlStatus session_argument(vlpc_session *s, const char *what) {
  return diag_error(s->diag, DIAG_ARGUMENT, DIAG_NOWHERE, "%s", what);
}

/* ---- life --------------------------------------------------------------- */

static VlStatus make_pool(vlpc_session *s, const vlpc_session_options *o) {
  if (o->share_threads && o->share_threads->pool) {
    s->pool = threads_share(o->share_threads->pool);
    return VLPC_OK;
  }
  if (o->threads < 0 || o->threads > THREADS_MAX)
    return session_argument(s, "options.threads is out of range (0 … 1024)");
  s->pool = threads_new(o->threads ? o->threads : cpu_count(), o->pin_threads != 0);
  return s->pool ? VLPC_OK
                 : diag_error(s->diag, DIAG_NOMEM, DIAG_NOWHERE, "no memory for the threads");
}

static VlStatus make_tables(vlpc_session *s) {
  const Program *p = &s->model->program;
  s->bound = calloc(p->n_entries + 1u, sizeof *s->bound);
  s->symbol = calloc(dim_n_symbols(p->dims) + 1u, sizeof *s->symbol);
  s->map = calloc(p->n_bufs + 1u, sizeof *s->map);
  if (!s->bound || !s->symbol || !s->map)
    return diag_error(s->diag, DIAG_NOMEM, (DiagAt){s->model->path, NULL},
                      "no memory for the session's tables");
  for (uint32_t i = 0; i < p->n_entries; i++) s->bound[i].e = &p->entries[i];
  return VLPC_OK;
}

static VlStatus make_session(vlpc_session *s, const vlpc_session_options *o) {
  VL_TRY(make_tables(s));
  VL_TRY(make_pool(s, o));
  VL_TRY(model_code(s->model, o, s->diag, &s->code));
  s->memory_limit = o->memory_limit;
  return s->code->driver->stream_new(s->code->code, s->pool, s->diag, &s->stream);
}

/* Everything but the handle and its error text. */
static void empty_session(vlpc_session *s) {
  if (s->stream) {
    for (uint32_t i = 0; i < s->model->program.n_entries; i++) bound_free(s, &s->bound[i]);
    if (s->temp.handle) s->code->driver->release(s->stream, &s->temp);
    s->code->driver->stream_free(s->stream);
  }
  labels_free(&s->labels);
  prompts_release(s);
  free(s->packed), free(s->class_features), free(s->pixels);
  free(s->bound), free(s->symbol), free(s->map);
  threads_free(s->pool);
  model_release(s->model);
  *s = (vlpc_session){.diag = s->diag};
}

VlStatus session_open(Model *m, const vlpc_session_options *options, vlpc_session *s) {
  vlpc_session_options o;
  if (!options_copy(&o, sizeof o, options))
    return session_argument(s, "options.struct_size is not that of a known vlpc_session_options");
  s->model = model_share(m);
  VlStatus st = make_session(s, &o);
  if (st == VLPC_OK) st = labels_of_model(s);
  if (st != VLPC_OK) empty_session(s);
  return st;
}

void vlpc_session_free(vlpc_session *s) {
  if (!s) return;
  empty_session(s);
  diag_free(s->diag);
  free(s);
}

/* ---- inputs and outputs ------------------------------------------------- */

Bound *session_bound(vlpc_session *s, const char *entry) {
  const ProgEntry *e = model_entry(s->model, entry, s->diag);
  if (!e) return NULL;
  Bound *b = &s->bound[e - s->model->program.entries];
  bool made = b->made;
  if (bound_make(s, b) != VLPC_OK) return NULL;
  if (!made) prompts_apply(s, b);
  return b;
}

static VlStatus check_value(vlpc_session *s, const ProgEntry *e, const ProgPort *port,
                            const vlpc_tensor *v) {
  const ProgBuf *buf = &s->model->program.bufs[port->buf];
  char place[160];
  snprintf(place, sizeof place, "entry '%s', input '%s'", e->name, port->name);
  DiagAt at = {s->model->path, place};
  if (v->dtype != buf->dtype) {
    VlStatus st = diag_error(s->diag, DIAG_INPUT_DTYPE, at, "the element type does not fit");
    diag_found(s->diag, "%s", dtype_valid((int)v->dtype) ? dtype_name(v->dtype) : "no known type");
    diag_expected(s->diag, "%s", dtype_name(buf->dtype));
    return st;
  }
  if (v->rank != (int32_t)buf->rank) {
    VlStatus st = diag_error(s->diag, DIAG_INPUT_RANK, at, "the number of axes does not fit");
    diag_found(s->diag, "%" PRId32, v->rank);
    diag_expected(s->diag, "%" PRIu32, buf->rank);
    return st;
  }
  uint64_t bytes = dtype_size(buf->dtype);
  for (uint32_t i = 0; i < buf->rank; i++) {
    if (v->shape[i] < 0 || !vl_mul_u64(bytes, (uint64_t)v->shape[i], &bytes))
      return diag_error(s->diag, DIAG_INPUT_SHAPE, at, "axis %" PRIu32 " is %" PRId64, i,
                        v->shape[i]);
  }
  if ((bytes > 0 && !v->data) || (uintptr_t)v->data % dtype_size(buf->dtype) != 0)
    return diag_error(s->diag, DIAG_ARGUMENT, at,
                      "data is NULL or not aligned to its element type");
  return VLPC_OK;
}

VlStatus session_set(vlpc_session *s, const char *entry, const char *name,
                     const vlpc_tensor *value) {
  Bound *b = session_bound(s, entry);
  if (!b) return diag_status(s->diag);
  int i = model_port(s->model, b->e, VLPC_INPUT, name, s->diag);
  if (i < 0) return diag_status(s->diag);
  VL_TRY(check_value(s, b->e, &s->model->program.ports[b->e->in + (uint32_t)i], value));
  InPort *in = &b->in[i];
  in->of_prompts = false;
  in->value = *value;
  for (int32_t x = value->rank; x < VLPC_MAX_RANK; x++) in->value.shape[x] = 0;
  in->set = true;
  return VLPC_OK;
}

VlStatus session_set_out(vlpc_session *s, const char *entry, const char *name, void *data,
                         uint64_t bytes) {
  Bound *b = session_bound(s, entry);
  if (!b) return diag_status(s->diag);
  int i = model_port(s->model, b->e, VLPC_OUTPUT, name, s->diag);
  if (i < 0) return diag_status(s->diag);
  const ProgBuf *buf = &s->model->program.bufs[b->bufs[b->out_local[i]].buf];
  if ((uintptr_t)data % dtype_size(buf->dtype) != 0)
    return session_argument(s, "the output's buffer is not aligned to its element type");
  b->out[i].user = data;
  b->out[i].user_bytes = data ? bytes : 0;
  b->ran = false;
  return VLPC_OK;
}

VlStatus session_get(vlpc_session *s, const char *entry, const char *name, vlpc_tensor *out) {
  Bound *b = session_bound(s, entry);
  if (!b) return diag_status(s->diag);
  int i = model_port(s->model, b->e, VLPC_OUTPUT, name, s->diag);
  if (i < 0) return diag_status(s->diag);
  if (!b->ran)
    return diag_error(s->diag, DIAG_NO_RESULT, (DiagAt){s->model->path, NULL},
                      "entry '%s' has not run since its outputs were set", entry);
  const ProgBuf *buf = &s->model->program.bufs[b->bufs[b->out_local[i]].buf];
  const OutPort *o = &b->out[i];
  *out = (vlpc_tensor){.data = o->user ? o->user : o->own, .dtype = buf->dtype,
                       .rank = (int32_t)buf->rank};
  memcpy(out->shape, o->shape, sizeof out->shape);
  return VLPC_OK;
}
