/* SPDX-License-Identifier: Apache-2.0 */
/* program.c - the planned program as bytes, and its invariants.
**
** Layout: version · symbols · dims (each refers to symbols only) · buffers ·
** args · sizes · steps · ports · entries · number of kernels.  Reading builds
** the tables first, each count bounded by the bytes that are left, and then
** checks every reference with program_verify; nothing is used before that. */
#include "base/program.h"

#include <string.h>

#include "base/bytes.h"

#define PROG_VERSION 1u
#define TEXT_MAX 4096u

/* ---- writing ------------------------------------------------------------ */

static void put_dims(ByteWriter *w, const DimTable *t) {
  put_u32(w, dim_n_symbols(t));
  for (uint32_t s = 0; s < dim_n_symbols(t); s++) put_text(w, dim_symbol_name(t, s));
  put_u32(w, dim_count(t));
  for (uint32_t i = 1; i <= dim_count(t); i++) {
    Dim d = dim_get(t, i);
    put_i64(w, d.c);
    put_u8(w, (uint8_t)d.n);
    for (uint32_t k = 0; k < d.n; k++) put_u32(w, d.term[k].sym), put_i64(w, d.term[k].k);
  }
}

static void put_buf(ByteWriter *w, const ProgBuf *b) {
  put_u8(w, (uint8_t)b->kind);
  put_u8(w, (uint8_t)b->dtype);
  put_u8(w, (uint8_t)b->rank);
  for (uint32_t i = 0; i < b->rank; i++) put_u32(w, b->size[i]);
  put_u64(w, b->offset);
  put_u64(w, b->bytes);
  put_u32(w, b->first);
  put_u32(w, b->last);
}

static void put_step(ByteWriter *w, const ProgStep *s) {
  put_u32(w, s->kernel);
  put_u32(w, s->arg);
  put_u32(w, s->n_args);
  put_u32(w, s->size);
  put_u32(w, s->n_sizes);
  put_text(w, s->place);
}

static void put_entry(ByteWriter *w, const ProgEntry *e) {
  put_text(w, e->name);
  put_u32(w, e->in);
  put_u32(w, e->n_in);
  put_u32(w, e->out);
  put_u32(w, e->n_out);
  put_u32(w, e->step);
  put_u32(w, e->n_steps);
}

void program_write(const Program *p, Arena *a, const uint8_t **out, size_t *n) {
  ByteWriter w = {.out = {.arena = a}};
  put_u32(&w, PROG_VERSION);
  put_dims(&w, p->dims);
  put_u32(&w, p->n_bufs);
  for (uint32_t i = 0; i < p->n_bufs; i++) put_buf(&w, &p->bufs[i]);
  put_u32(&w, p->n_args);
  for (uint32_t i = 0; i < p->n_args; i++)
    put_u32(&w, p->args[i].buf), put_u32(&w, p->args[i].offset);
  put_u32(&w, p->n_sizes);
  for (uint32_t i = 0; i < p->n_sizes; i++) put_u32(&w, p->sizes[i]);
  put_u32(&w, p->n_steps);
  for (uint32_t i = 0; i < p->n_steps; i++) put_step(&w, &p->steps[i]);
  put_u32(&w, p->n_ports);
  for (uint32_t i = 0; i < p->n_ports; i++)
    put_text(&w, p->ports[i].name), put_u32(&w, p->ports[i].buf);
  put_u32(&w, p->n_entries);
  for (uint32_t i = 0; i < p->n_entries; i++) put_entry(&w, &p->entries[i]);
  put_u32(&w, p->n_kernels);
  *out = (const uint8_t *)w.out.at;
  *n = w.out.n;
}

/* ---- reading ------------------------------------------------------------ */

static bool get_dim(ByteReader *r, DimTable *t, uint32_t id) {
  Dim d = {.c = get_i64(r), .n = get_u8(r)};
  if (d.n > DIM_MAX_TERMS) return false;
  for (uint32_t k = 0; k < d.n; k++) d.term[k].sym = get_u32(r), d.term[k].k = get_i64(r);
  return r->ok && dim_intern(t, &d) == id;
}

static bool get_dims(ByteReader *r, Arena *a, DimTable *t) {
  uint32_t n_syms = get_count(r, 4);
  if (n_syms > DIM_MAX_SYMS) return false;
  for (uint32_t s = 0; s < n_syms; s++) {
    const char *name = get_text(r, a, TEXT_MAX);
    if (!r->ok || dim_symbol(t, name) != s) return false;
  }
  uint32_t n_dims = get_count(r, 9);
  for (uint32_t i = 1; i <= n_dims; i++) {
    if (!get_dim(r, t, i)) return false;
  }
  return r->ok;
}

static void get_buf(ByteReader *r, ProgBuf *b) {
  b->kind = (BufKind)get_u8(r);
  b->dtype = (VlDtype)get_u8(r);
  b->rank = get_u8(r);
  if (b->rank > VLPC_MAX_RANK) {
    r->ok = false;
    return;
  }
  for (uint32_t i = 0; i < b->rank; i++) b->size[i] = get_u32(r);
  b->offset = get_u64(r);
  b->bytes = get_u64(r);
  b->first = get_u32(r);
  b->last = get_u32(r);
}

static void get_step(ByteReader *r, Arena *a, ProgStep *s) {
  s->kernel = get_u32(r);
  s->arg = get_u32(r);
  s->n_args = get_u32(r);
  s->size = get_u32(r);
  s->n_sizes = get_u32(r);
  s->place = get_text(r, a, TEXT_MAX);
}

static void get_entry(ByteReader *r, Arena *a, ProgEntry *e) {
  e->name = get_text(r, a, TEXT_MAX);
  e->in = get_u32(r);
  e->n_in = get_u32(r);
  e->out = get_u32(r);
  e->n_out = get_u32(r);
  e->step = get_u32(r);
  e->n_steps = get_u32(r);
}

static bool get_program(ByteReader *r, Arena *a, Program *p) {
  p->dims = dim_table_new(a);
  if (!get_dims(r, a, p->dims)) return false;
  p->bufs = arena_array(a, ProgBuf, p->n_bufs = get_count(r, 27));
  for (uint32_t i = 0; i < p->n_bufs; i++) get_buf(r, &p->bufs[i]);
  p->args = arena_array(a, ProgArg, p->n_args = get_count(r, 8));
  for (uint32_t i = 0; i < p->n_args; i++)
    p->args[i].buf = get_u32(r), p->args[i].offset = get_u32(r);
  p->sizes = arena_array(a, DimId, p->n_sizes = get_count(r, 4));
  for (uint32_t i = 0; i < p->n_sizes; i++) p->sizes[i] = get_u32(r);
  p->steps = arena_array(a, ProgStep, p->n_steps = get_count(r, 24));
  for (uint32_t i = 0; i < p->n_steps; i++) get_step(r, a, &p->steps[i]);
  p->ports = arena_array(a, ProgPort, p->n_ports = get_count(r, 8));
  for (uint32_t i = 0; i < p->n_ports; i++) {
    p->ports[i].name = get_text(r, a, TEXT_MAX);
    p->ports[i].buf = get_u32(r);
  }
  p->entries = arena_array(a, ProgEntry, p->n_entries = get_count(r, 28));
  for (uint32_t i = 0; i < p->n_entries; i++) get_entry(r, a, &p->entries[i]);
  p->n_kernels = get_u32(r);
  return r->ok && r->pos == r->n;
}

static VlStatus bad_program(Diag *d, DiagAt where, const char *found, const char *expected) {
  VlStatus s = diag_error(d, DIAG_PROGRAM, where, "the planned program is damaged");
  diag_found(d, "%s", found);
  diag_expected(d, "%s", expected);
  diag_fix(d, "make the artifact again with vlpc compile");
  return s;
}

static bool spans_ok(const Program *p, uint64_t weight_bytes, Str *faults) {
  for (uint32_t i = 0; i < p->n_bufs; i++) {
    const ProgBuf *b = &p->bufs[i];
    if (b->kind != BUF_CONST) continue;
    if (b->offset % 64 || !vl_range_ok(b->offset, b->bytes, weight_bytes))
      str_printf(faults, "buffer %u lies outside the weights; ", i);
  }
  return faults->n == 0;
}

VlStatus program_read(const uint8_t *at, size_t n, uint64_t weight_bytes, Arena *a, DiagAt where,
                      Diag *d, Program *out) {
  ByteReader r = {.at = at, .n = n, .ok = true};
  uint32_t version = get_u32(&r);
  *out = (Program){0};
  if (!r.ok || version != PROG_VERSION)
    return bad_program(d, where, arena_printf(a, "version %u", version), "version 1");
  if (!get_program(&r, a, out))
    return bad_program(d, where, arena_printf(a, "a bad record at byte %zu of %zu", r.pos, n),
                       "whole records to the end");
  Str faults = {.arena = a};
  if (!program_verify(out, &faults) || !spans_ok(out, weight_bytes, &faults))
    return bad_program(d, where, str_text(&faults), "a program whose parts agree");
  return VLPC_OK;
}

/* ---- invariants --------------------------------------------------------- */

static bool in_range(uint32_t first, uint32_t n, uint32_t total) {
  return first <= total && n <= total - first;
}

static bool dim_ok(const Program *p, DimId d) {
  return d >= 1 && d <= dim_count(p->dims);
}

static void check_buf(const Program *p, uint32_t i, Str *faults) {
  const ProgBuf *b = &p->bufs[i];
  bool ok = b->kind >= BUF_INPUT && b->kind <= BUF_TEMP && dtype_valid((int)b->dtype) &&
            b->rank <= VLPC_MAX_RANK;
  uint64_t bytes = ok ? dtype_size(b->dtype) : 0;
  for (uint32_t k = 0; ok && k < b->rank; k++) {
    int64_t size = 0;
    ok = dim_ok(p, b->size[k]);
    if (ok && b->kind == BUF_CONST)
      ok = dim_is_const(p->dims, b->size[k], &size) && size >= 0 &&
           vl_mul_u64(bytes, (uint64_t)size, &bytes);
  }
  if (ok && b->kind == BUF_CONST) ok = bytes == b->bytes;
  if (ok && b->kind == BUF_TEMP) ok = b->first <= b->last && b->last < p->n_steps;
  if (!ok) str_printf(faults, "buffer %u is malformed; ", i);
}

/* Whether the step at which a temporary's life begins writes it. */
static bool born(const Program *p, uint32_t buf) {
  const ProgStep *s = &p->steps[p->bufs[buf].first];
  return s->arg < p->n_args && p->args[s->arg].buf == buf;
}

static void check_step(const Program *p, uint32_t i, Str *faults) {
  const ProgStep *s = &p->steps[i];
  if (s->kernel >= p->n_kernels || s->n_args == 0 || s->n_args > PROG_MAX_ARGS ||
      s->n_sizes > PROG_MAX_SIZES || !in_range(s->arg, s->n_args, p->n_args) ||
      !in_range(s->size, s->n_sizes, p->n_sizes)) {
    str_printf(faults, "step %u is malformed; ", i);
    return;
  }
  for (uint32_t k = 0; k < s->n_args; k++) {
    const ProgArg *a = &p->args[s->arg + k];
    if (a->buf >= p->n_bufs || !dim_ok(p, a->offset)) {
      str_printf(faults, "step %u has a bad argument %u; ", i, k);
      continue;
    }
    const ProgBuf *b = &p->bufs[a->buf];
    if (k == 0 && (b->kind == BUF_CONST || b->kind == BUF_INPUT))
      str_printf(faults, "step %u writes buffer %u, which is read-only; ", i, a->buf);
    if (b->kind != BUF_TEMP) continue;
    if (i < b->first || i > b->last)
      str_printf(faults, "step %u uses buffer %u outside its life; ", i, a->buf);
    if (k > 0 && !born(p, a->buf))
      str_printf(faults, "step %u reads buffer %u before it is written; ", i, a->buf);
  }
  for (uint32_t k = 0; k < s->n_sizes; k++) {
    if (!dim_ok(p, p->sizes[s->size + k])) str_printf(faults, "step %u has a bad size; ", i);
  }
}

static bool step_writes(const Program *p, const ProgEntry *e, uint32_t buf) {
  for (uint32_t i = 0; i < e->n_steps; i++) {
    if (p->args[p->steps[e->step + i].arg].buf == buf) return true;
  }
  return false;
}

static bool has_port(const Program *p, uint32_t first, uint32_t n, uint32_t buf) {
  for (uint32_t i = 0; i < n; i++) {
    if (p->ports[first + i].buf == buf) return true;
  }
  return false;
}

/* What a step of an entry touches is the entry's: its ports, constants, and
** temporaries that it makes. */
static void check_owner(const Program *p, const ProgEntry *e, uint32_t buf, Str *faults) {
  const ProgBuf *b = &p->bufs[buf];
  bool ok = b->kind == BUF_CONST || (b->kind == BUF_TEMP && b->first >= e->step) ||
            (b->kind == BUF_INPUT && has_port(p, e->in, e->n_in, buf)) ||
            (b->kind == BUF_OUTPUT && has_port(p, e->out, e->n_out, buf));
  if (!ok) str_printf(faults, "%s uses buffer %u, which is not its own; ", e->name, buf);
}

static void check_entry(const Program *p, uint32_t i, Str *faults) {
  const ProgEntry *e = &p->entries[i];
  if (!in_range(e->in, e->n_in, p->n_ports) || !in_range(e->out, e->n_out, p->n_ports) ||
      !in_range(e->step, e->n_steps, p->n_steps) || !e->name[0]) {
    str_printf(faults, "entry %u is malformed; ", i);
    return;
  }
  for (uint32_t k = 0; k < e->n_in; k++) {
    uint32_t buf = p->ports[e->in + k].buf;
    if (p->bufs[buf].kind != BUF_INPUT) str_printf(faults, "input %u of %s is none; ", k, e->name);
  }
  for (uint32_t k = 0; k < e->n_out; k++) {
    uint32_t buf = p->ports[e->out + k].buf;
    if (p->bufs[buf].kind != BUF_OUTPUT || !step_writes(p, e, buf))
      str_printf(faults, "output %u of %s is never written; ", k, e->name);
  }
  for (uint32_t x = 0; x < e->n_steps; x++) {
    const ProgStep *s = &p->steps[e->step + x];
    for (uint32_t k = 0; k < s->n_args; k++)
      check_owner(p, e, p->args[s->arg + k].buf, faults);
  }
}

bool program_verify(const Program *p, Str *faults) {
  size_t before = faults->n;
  for (uint32_t i = 0; i < p->n_bufs; i++) check_buf(p, i, faults);
  for (uint32_t i = 0; i < p->n_ports; i++) {
    if (p->ports[i].buf >= p->n_bufs) str_printf(faults, "port %u is malformed; ", i);
  }
  if (faults->n != before) return false;
  for (uint32_t i = 0; i < p->n_steps; i++) check_step(p, i, faults);
  if (faults->n != before) return false;
  for (uint32_t i = 0; i < p->n_entries; i++) check_entry(p, i, faults);
  return faults->n == before;
}
