/* SPDX-License-Identifier: Apache-2.0 */
/* bind.c - from the shapes of the inputs to launches.
**
** Sizes are affine in a few symbols.  Each input axis with one symbol not yet
** known decides it; every axis is then held against the symbols, so inputs that
** contradict each other are found and named.  With the symbols known: bytes of
** every buffer, offsets of temporaries, arguments and sizes of every step; and
** each step's reach is held against its buffers. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/session.h"

#define UNKNOWN (-1)

/* ---- arrays ------------------------------------------------------------- */

static uint32_t local_of(vlpc_session *s, Bound *b, uint32_t buf) {
  if (s->map[buf]) return s->map[buf] - 1;
  b->bufs[b->n_bufs].buf = buf;
  s->map[buf] = ++b->n_bufs;
  return b->n_bufs - 1;
}

/* Numbers the entry's buffers and turns its arguments to locals. */
static void number_bufs(vlpc_session *s, Bound *b) {
  const Program *p = &s->model->program;
  uint32_t at = 0;
  for (uint32_t i = 0; i < b->e->n_in; i++)
    b->in_local[i] = local_of(s, b, p->ports[b->e->in + i].buf);
  for (uint32_t i = 0; i < b->e->n_out; i++)
    b->out_local[i] = local_of(s, b, p->ports[b->e->out + i].buf);
  for (uint32_t i = 0; i < b->e->n_steps; i++) {
    const ProgStep *step = &p->steps[b->e->step + i];
    for (uint32_t k = 0; k < step->n_args; k++)
      b->args[at++].local = local_of(s, b, p->args[step->arg + k].buf);
  }
  for (uint32_t i = 0; i < b->n_bufs; i++) {
    s->map[b->bufs[i].buf] = 0;
    if (p->bufs[b->bufs[i].buf].kind == BUF_TEMP) b->n_temps++;
  }
}

static void point_launches(vlpc_session *s, Bound *b) {
  const Program *p = &s->model->program;
  uint32_t arg = 0, size = 0;
  for (uint32_t i = 0; i < b->e->n_steps; i++) {
    const ProgStep *step = &p->steps[b->e->step + i];
    b->launch[i] = (DeviceLaunch){.step = b->e->step + i, .kernel = step->kernel,
                                  .n_args = step->n_args, .n_sizes = step->n_sizes,
                                  .args = b->spans + arg, .sizes = b->sizes + size};
    arg += step->n_args;
    size += step->n_sizes;
  }
}

static void count_steps(const Program *p, Bound *b) {
  for (uint32_t i = 0; i < b->e->n_steps; i++) {
    b->n_args += p->steps[b->e->step + i].n_args;
    b->n_sizes += p->steps[b->e->step + i].n_sizes;
  }
}

#define MAKE(n, field) (((field) = calloc((size_t)(n) + 1, sizeof *(field))) != NULL)

VlStatus bound_make(vlpc_session *s, Bound *b) {
  const Program *p = &s->model->program;
  uint32_t n_in = b->e->n_in, n_out = b->e->n_out;
  if (b->made) return VLPC_OK;
  b->n_args = b->n_sizes = b->n_bufs = b->n_temps = 0;
  count_steps(p, b);
  uint64_t most = VL_MIN((uint64_t)p->n_bufs, (uint64_t)b->n_args + n_in + n_out);
  if (MAKE(n_in, b->in) && MAKE(n_out, b->out) && MAKE(n_in, b->bound_shape) &&
      MAKE(most, b->bufs) && MAKE(n_in, b->in_local) && MAKE(n_out, b->out_local) &&
      MAKE(b->n_args, b->args) && MAKE(b->n_args, b->spans) && MAKE(b->n_sizes, b->sizes) &&
      MAKE(b->e->n_steps, b->launch)) {
    number_bufs(s, b);
    point_launches(s, b);
    if (MAKE(b->n_temps, b->temps)) {
      b->made = true;
      return VLPC_OK;
    }
  }
  bound_free(s, b);
  return diag_error(s->diag, DIAG_NOMEM, (DiagAt){s->model->path, b->e->name},
                    "no memory for the entry's tables");
}

void bound_free(vlpc_session *s, Bound *b) {
  for (uint32_t i = 0; b->in && i < b->e->n_in; i++)
    if (b->in[i].copy.handle) s->code->driver->release(s->stream, &b->in[i].copy);
  for (uint32_t i = 0; b->out && i < b->e->n_out; i++) {
    free(b->out[i].own);
    if (b->out[i].copy.handle) s->code->driver->release(s->stream, &b->out[i].copy);
  }
  free(b->in), free(b->out), free(b->bound_shape), free(b->bufs), free(b->in_local);
  free(b->out_local), free(b->temps), free(b->args), free(b->spans), free(b->sizes);
  free(b->launch);
  *b = (Bound){.e = b->e};
}

/* ---- symbols ------------------------------------------------------------ */

/* Value of a size; false when it overflows or a symbol is not known. */
static bool value_of(const vlpc_session *s, DimId id, int64_t *out) {
  Dim d = dim_get(s->model->program.dims, id);
  int64_t sum = d.c;
  for (uint32_t i = 0; i < d.n; i++) {
    int64_t part, v = s->symbol[d.term[i].sym];
    if (v == UNKNOWN || !vl_mul_i64(d.term[i].k, v, &part) || !vl_add_i64(sum, part, &sum))
      return false;
  }
  *out = sum;
  return true;
}

/* Decides the only unknown symbol of an axis from its size; *left says how many
** are unknown.  A size that no whole symbol gives leaves it unknown. */
static bool solve_axis(vlpc_session *s, DimId id, int64_t size, uint32_t *left) {
  Dim d = dim_get(s->model->program.dims, id);
  int64_t rest, k = 0;
  SymId sym = 0;
  *left = 0;
  if (!vl_add_i64(size, d.c == INT64_MIN ? 0 : -d.c, &rest)) return false;
  for (uint32_t i = 0; i < d.n; i++) {
    int64_t part, v = s->symbol[d.term[i].sym];
    if (v == UNKNOWN) {
      sym = d.term[i].sym, k = d.term[i].k;
      ++*left;
    } else if (!vl_mul_i64(d.term[i].k, v, &part) || part == INT64_MIN ||
               !vl_add_i64(rest, -part, &rest)) {
      return false;
    }
  }
  if (*left != 1) return *left == 0;
  if (rest == INT64_MIN || rest % k != 0 || rest / k < 0) return false;
  s->symbol[sym] = rest / k;
  *left = 0;
  return true;
}

/* "[batch, 3, 224, 224]", or numbers where shape is given. */
static void shape_text(const vlpc_session *s, const ProgBuf *b, const int64_t *shape, char *out,
                       size_t cap) {
  size_t n = (size_t)snprintf(out, cap, "[");
  for (uint32_t i = 0; i < b->rank && n < cap; i++) {
    const char *comma = i ? ", " : "", *text = s->model->size_text[b->size[i]];
    n += (size_t)(shape ? snprintf(out + n, cap - n, "%s%" PRId64, comma, shape[i])
                        : snprintf(out + n, cap - n, "%s%s", comma, text));
  }
  if (n < cap) snprintf(out + n, cap - n, "]");
}

static VlStatus bad_shape(vlpc_session *s, const Bound *b, uint32_t i, uint32_t axis) {
  const Program *p = &s->model->program;
  const ProgPort *port = &p->ports[b->e->in + i];
  const ProgBuf *buf = &p->bufs[port->buf];
  char text[256], place[160];
  int64_t want;
  snprintf(place, sizeof place, "entry '%s', input '%s'", b->e->name, port->name);
  VlStatus st = diag_error(s->diag, DIAG_INPUT_SHAPE, (DiagAt){s->model->path, place},
                           "axis %" PRIu32 " does not fit", axis);
  shape_text(s, buf, b->in[i].value.shape, text, sizeof text);
  diag_found(s->diag, "%s", text);
  shape_text(s, buf, NULL, text, sizeof text);
  diag_expected(s->diag, "%s", text);
  if (value_of(s, buf->size[axis], &want) && !dim_is_const(p->dims, buf->size[axis], &want))
    diag_note(s->diag, "another input or axis makes axis %" PRIu32 " %" PRId64, axis, want);
  return st;
}

/* Goes over the axes until nothing more is decided. */
static VlStatus solve_symbols(vlpc_session *s, const Bound *b) {
  const Program *p = &s->model->program;
  uint32_t unknown, before = UINT32_MAX;
  for (;; before = unknown) {
    unknown = 0;
    for (uint32_t i = 0; i < b->e->n_in; i++) {
      const ProgBuf *buf = &p->bufs[p->ports[b->e->in + i].buf];
      for (uint32_t x = 0; x < buf->rank; x++) {
        uint32_t left;
        if (!solve_axis(s, buf->size[x], b->in[i].value.shape[x], &left))
          return bad_shape(s, b, i, x);
        unknown += left;
      }
    }
    if (unknown == 0 || unknown >= before) return VLPC_OK;
  }
}

static VlStatus check_axes(vlpc_session *s, const Bound *b) {
  const Program *p = &s->model->program;
  for (uint32_t i = 0; i < b->e->n_in; i++) {
    const ProgBuf *buf = &p->bufs[p->ports[b->e->in + i].buf];
    for (uint32_t x = 0; x < buf->rank; x++) {
      int64_t want;
      if (!value_of(s, buf->size[x], &want) || want != b->in[i].value.shape[x])
        return bad_shape(s, b, i, x);
    }
  }
  return VLPC_OK;
}

static VlStatus bind_symbols(vlpc_session *s, const Bound *b) {
  for (uint32_t i = 0; i < dim_n_symbols(s->model->program.dims); i++) s->symbol[i] = UNKNOWN;
  VL_TRY(solve_symbols(s, b));
  return check_axes(s, b);
}

/* ---- buffers ------------------------------------------------------------ */

static VlStatus bad_program(vlpc_session *s, const char *place, const char *what) {
  VlStatus st = diag_error(s->diag, DIAG_BOUNDS, (DiagAt){s->model->path, place}, "%s", what);
  diag_fix(s->diag, "make the artifact again with vlpc compile");
  return st;
}

static VlStatus size_bufs(vlpc_session *s, Bound *b) {
  const Program *p = &s->model->program;
  for (uint32_t i = 0; i < b->n_bufs; i++) {
    const ProgBuf *buf = &p->bufs[b->bufs[i].buf];
    uint64_t bytes = dtype_size(buf->dtype);
    for (uint32_t x = 0; x < buf->rank; x++) {
      int64_t size;
      if (!value_of(s, buf->size[x], &size) || size < 0 ||
          !vl_mul_u64(bytes, (uint64_t)size, &bytes) || bytes > INT64_MAX)
        return bad_program(s, b->e->name, "the inputs do not decide a sound size for a buffer");
    }
    b->bufs[i].bytes = bytes;
    b->bufs[i].offset = buf->kind == BUF_CONST ? buf->offset : 0;
  }
  return VLPC_OK;
}

VlStatus bound_check_limit(vlpc_session *s, const Bound *b, uint64_t bytes) {
  if (s->memory_limit == 0 || bytes <= s->memory_limit) return VLPC_OK;
  VlStatus st = diag_error(s->diag, DIAG_MEMORY_LIMIT, (DiagAt){s->model->path, b->e->name},
                           "the activations pass the memory limit");
  diag_found(s->diag, "%" PRIu64 " bytes", bytes);
  diag_expected(s->diag, "at most %" PRIu64, s->memory_limit);
  diag_fix(s->diag, "run a smaller batch, or raise the limit");
  return st;
}

static VlStatus no_memory(vlpc_session *s, const Bound *b, uint64_t bytes) {
  VlStatus st = diag_error(s->diag, DIAG_NOMEM, (DiagAt){s->model->path, b->e->name},
                           "no memory for %" PRIu64 " bytes", bytes);
  diag_fix(s->diag, "run a smaller batch");
  return st;
}

/* Device memory of at least n bytes; what was there is lost when it grows. */
static bool grow(vlpc_session *s, DeviceMem *m, uint64_t n) {
  const DeviceDriver *dr = s->code->driver;
  if (n == 0 || (m->handle && m->bytes >= n)) return true;
  if (m->handle) dr->release(s->stream, m);
  if (dr->alloc(s->stream, n, m)) return true;
  *m = (DeviceMem){0};
  return false;
}

static VlStatus allocate(vlpc_session *s, Bound *b) {
  bool host = s->code->driver->flags & DEVICE_HOST_MEMORY;
  VL_TRY(bound_check_limit(s, b, b->temp_bytes));
  if (!grow(s, &s->temp, b->temp_bytes)) return no_memory(s, b, b->temp_bytes);
  for (uint32_t i = 0; i < b->e->n_in && !host; i++) {
    uint64_t n = b->bufs[b->in_local[i]].bytes;
    if (!grow(s, &b->in[i].copy, n)) return no_memory(s, b, n);
  }
  for (uint32_t i = 0; i < b->e->n_out; i++) {
    uint64_t n = b->bufs[b->out_local[i]].bytes;
    if (!host && !grow(s, &b->out[i].copy, n)) return no_memory(s, b, n);
  }
  return VLPC_OK;
}

/* ---- steps -------------------------------------------------------------- */

/* Bytes [lo, hi) around an argument against its buffer.  What is not touched
** points to the buffer's start, for an empty one has nothing behind it. */
static bool reach_fits(const LocalBuf *buf, LocalArg *arg, double lo, double hi) {
  if (lo == hi) arg->offset = 0;
  if (!(lo < hi)) return lo == hi; /* NaN is damage */
  double at = (double)arg->offset;
  return at + lo >= 0 && at + hi <= (double)buf->bytes;
}

static VlStatus check_reach(vlpc_session *s, const Bound *b, const DeviceLaunch *l,
                            LocalArg *args) {
  const Program *p = &s->model->program;
  const char *place = p->steps[l->step].place;
  DeviceKernel k;
  double reach[2 * PROG_MAX_ARGS];
  if (!s->code->driver->kernel(s->code->code, l->kernel, &k) ||
      (k.n_operands != DEVICE_ANY && k.n_operands != l->n_args) ||
      (k.n_sizes != DEVICE_ANY && k.n_sizes != l->n_sizes))
    return bad_program(s, place, "the step does not fit its kernel");
  if (!s->code->driver->reach) return VLPC_OK;
  s->code->driver->reach(s->code->code, l->kernel, l->sizes, reach);
  for (uint32_t i = 0; i < l->n_args; i++) {
    const LocalBuf *buf = &b->bufs[args[i].local];
    if (!reach_fits(buf, &args[i], reach[2 * i], reach[2 * i + 1]))
      return bad_program(s, place, "the step would leave one of its buffers");
  }
  return VLPC_OK;
}

static VlStatus bind_step(vlpc_session *s, Bound *b, uint32_t i, LocalArg *args) {
  const Program *p = &s->model->program;
  const DeviceLaunch *l = &b->launch[i];
  const ProgStep *step = &p->steps[l->step];
  int64_t *sizes = b->sizes + (l->sizes - b->sizes);
  for (uint32_t k = 0; k < step->n_sizes; k++) {
    if (!value_of(s, p->sizes[step->size + k], &sizes[k]))
      return bad_program(s, step->place, "the inputs do not decide a size of the step");
  }
  for (uint32_t k = 0; k < step->n_args; k++) {
    const LocalBuf *buf = &b->bufs[args[k].local];
    uint64_t elem = dtype_size(p->bufs[buf->buf].dtype);
    int64_t at;
    if (!value_of(s, p->args[step->arg + k].offset, &at) || at < 0 ||
        !vl_mul_u64((uint64_t)at, elem, &args[k].offset) ||
        (buf->bytes > 0 && args[k].offset > buf->bytes))
      return bad_program(s, step->place, "an argument of the step lies outside its buffer");
  }
  return check_reach(s, b, l, args);
}

static VlStatus bind_steps(vlpc_session *s, Bound *b) {
  LocalArg *args = b->args;
  for (uint32_t i = 0; i < b->e->n_steps; i++) {
    VL_TRY(bind_step(s, b, i, args));
    args += b->launch[i].n_args;
  }
  return VLPC_OK;
}

/* ---- all together ------------------------------------------------------- */

static bool names(const char *a, const char *b) { return a && strcmp(a, b) == 0; }

/* Callers know no entry that stands in for another. */
static const char *callers_name(const vlpc_session *s, const Bound *b) {
  const Manifest *m = &s->model->manifest;
  for (uint32_t i = 0; i < m->n_entries; i++) {
    const ManifestEntry *e = &m->entries[i];
    if (names(e->rows, b->e->name) || names(e->lean, b->e->name) ||
        names(e->ahead, b->e->name) || names(e->back, b->e->name))
      return callers_name(s, &s->bound[i]);
  }
  return b->e->name;
}

static VlStatus no_prompts(vlpc_session *s, const Bound *b) {
  VlStatus st = diag_error(s->diag, DIAG_PROMPTS_MISSING, (DiagAt){s->model->path, NULL},
                           "entry '%s' needs a prompt set", callers_name(s, b));
  diag_expected(s->diag, "one of method %s", s->model->manifest.prompts.method);
  diag_fix(s->diag, "give one with --prompts FILE (vlpc_session_set_prompts)");
  return st;
}

static VlStatus check_set(vlpc_session *s, const Bound *b) {
  const Program *p = &s->model->program;
  for (uint32_t i = 0; i < b->e->n_in; i++) {
    if (b->in[i].set) continue;
    if (prompts_port(s->model, p->ports[b->e->in + i].name)) return no_prompts(s, b);
    return diag_error(s->diag, DIAG_INPUT_MISSING, (DiagAt){s->model->path, NULL},
                      "input '%s' of entry '%s' is not set", p->ports[b->e->in + i].name,
                      callers_name(s, b));
  }
  return VLPC_OK;
}

static bool same_shapes(const Bound *b) {
  for (uint32_t i = 0; i < b->e->n_in; i++) {
    if (memcmp(b->bound_shape[i], b->in[i].value.shape, sizeof b->bound_shape[i]) != 0)
      return false;
  }
  return true;
}

static void keep_shapes(vlpc_session *s, Bound *b) {
  const Program *p = &s->model->program;
  for (uint32_t i = 0; i < b->e->n_in; i++)
    memcpy(b->bound_shape[i], b->in[i].value.shape, sizeof b->bound_shape[i]);
  for (uint32_t i = 0; i < b->e->n_out; i++) {
    const ProgBuf *buf = &p->bufs[p->ports[b->e->out + i].buf];
    for (uint32_t x = 0; x < buf->rank; x++)
      VL_CHECK(value_of(s, buf->size[x], &b->out[i].shape[x]), "a sized output has a shape");
  }
}

VlStatus bound_measure(vlpc_session *s, Bound *b) {
  VL_TRY(prompts_ready(s, b));
  VL_TRY(check_set(s, b));
  if (b->measured && same_shapes(b)) return VLPC_OK;
  b->measured = b->bound = false;
  VL_TRY(bind_symbols(s, b));
  VL_TRY(size_bufs(s, b));
  VL_TRY(bind_steps(s, b));
  VL_TRY(layout_temps(&s->model->program, b, s->diag, &b->temp_bytes));
  keep_shapes(s, b);
  b->measured = true;
  return VLPC_OK;
}

VlStatus bound_bind(vlpc_session *s, Bound *b) {
  VL_TRY(bound_measure(s, b));
  /* another entry's failure may have taken the temporaries' memory */
  if (b->bound && s->temp.bytes >= b->temp_bytes) return VLPC_OK;
  b->bound = false;
  VL_TRY(allocate(s, b));
  b->bound = true;
  return VLPC_OK;
}
