/* SPDX-License-Identifier: Apache-2.0 */
/* checkpoint.c - one file, written whole and read with suspicion. */
#include "train/checkpoint.h"

#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "base/map.h"

static const char magic[8] = "VLPCKPT\n";

#define HEADER 40u    /* magic, version, sections, length, hash, zero */
#define ROW 32u       /* kind, zero, offset, bytes, hash */
#define HASH_AT 24u   /* of the header's hash; covers all of header and table but itself */
#define NAME_MAX_BYTES 1024u
#define CONFIG_MAX_BYTES (1u << 20)

/* In the order that they have in a file. */
typedef enum { PART_state = 1, PART_config, PART_prompts, PART_optim, PART__END } Part;
#define PARTS (PART__END - 1u)

/* ---- writing ------------------------------------------------------------ */

static void put_arrays(ByteWriter *w, const RunArrays *x) {
  put_u32(w, x->n);
  for (uint32_t i = 0; i < x->n; i++) {
    put_text(w, x->at[i].name);
    put_u64(w, x->at[i].n);
    str_addn(&w->out, (const char *)x->at[i].data, (size_t)x->at[i].n * sizeof(float));
  }
}

static void put_state(ByteWriter *w, const RunState *c) {
  put_u64(w, c->seed);
  put_u64(w, c->draws);
  put_u32(w, c->epoch);
  put_u32(w, c->batch);
  put_u64(w, c->step);
  put_f64(w, c->best);
  put_text(w, c->model);
  put_text(w, c->data);
  put_u32(w, c->prompts.n);
  for (uint32_t i = 0; i < c->prompts.n; i++) put_u64(w, c->steps != NULL ? c->steps[i] : 0);
}

static void put_part(ByteWriter *w, Part part, const RunState *c) {
  if (part == PART_state) put_state(w, c);
  if (part == PART_config) put_text(w, c->config);
  if (part == PART_prompts) put_arrays(w, &c->prompts);
  if (part == PART_optim) put_arrays(w, &c->optim);
}

/* The hash of header and table, without the eight bytes it stands in. */
static uint64_t head_hash(const uint8_t *head, uint32_t n_parts) {
  uint64_t first = hash_bytes(head, HASH_AT, 0);
  return hash_bytes(head + HASH_AT + 8, HEADER - HASH_AT - 8 + ROW * n_parts, first);
}

VlStatus run_state_write(const char *path, const RunState *c, Arena *a, Diag *d) {
  ByteWriter body = {{.arena = a}}, head = {{.arena = a}}, hash = {{.arena = a}};
  uint64_t end[PART__END] = {HEADER + ROW * PARTS};
  for (uint32_t p = PART_state; p < PART__END; p++) {
    put_part(&body, (Part)p, c);
    end[p] = end[0] + body.out.n;
  }
  str_addn(&head.out, magic, sizeof magic);
  put_u32(&head, RUN_VERSION);
  put_u32(&head, PARTS);
  put_u64(&head, end[PARTS]);
  put_u64(&head, 0);
  put_u64(&head, 0);
  for (uint32_t p = PART_state; p < PART__END; p++) {
    put_u32(&head, p);
    put_u32(&head, 0);
    put_u64(&head, end[p - 1]);
    put_u64(&head, end[p] - end[p - 1]);
    put_u64(&head, hash_bytes(body.out.at + (end[p - 1] - end[0]), end[p] - end[p - 1], p));
  }
  put_u64(&hash, head_hash((const uint8_t *)head.out.at, PARTS));
  memcpy(head.out.at + HASH_AT, hash.out.at, 8);
  FileWriter *w = NULL;
  VL_TRY(io_create(path, d, &w));
  /* A failed write makes the commit fail with the same status. */
  VL_IGNORE(io_write(w, head.out.at, head.out.n));
  VL_IGNORE(io_write(w, body.out.at, body.out.n));
  return io_commit(w);
}

/* ---- checking ----------------------------------------------------------- */

typedef struct {
  const char *path;
  const uint8_t *at;
  uint64_t n;
  Diag *diag;
  ByteReader part[PART__END];
} File;

static VlStatus unsound(const File *f, DiagCode code, const char *what) {
  VlStatus st = diag_error(f->diag, code, (DiagAt){f->path, NULL}, "%s", what);
  diag_fix(f->diag, "resume from the checkpoint before it");
  return st;
}

static VlStatus check_head(const File *f) {
  ByteReader r = {f->at, (size_t)f->n, sizeof magic, true};
  if (f->n < sizeof magic || memcmp(f->at, magic, sizeof magic) != 0) {
    VlStatus st = diag_error(f->diag, DIAG_RUN_FORMAT, (DiagAt){f->path, NULL},
                             "this is not a vlpc checkpoint");
    diag_fix(f->diag, "name a .ckpt file that vlpc train wrote");
    return st;
  }
  uint32_t version = get_u32(&r), n_parts = get_u32(&r);
  uint64_t length = get_u64(&r), hash = get_u64(&r);
  if (f->n < HEADER + ROW * PARTS)
    return unsound(f, DIAG_RUN_FORMAT, "the checkpoint is cut short");
  if (version != RUN_VERSION) {
    VlStatus st = diag_error(f->diag, DIAG_RUN_VERSION, (DiagAt){f->path, NULL},
                             "this checkpoint is of another version");
    diag_found(f->diag, "version %" PRIu32, version);
    diag_expected(f->diag, "version %" PRIu32, RUN_VERSION);
    diag_fix(f->diag, "resume with the vlpc that wrote it");
    return st;
  }
  if (n_parts != PARTS)
    return unsound(f, DIAG_RUN_FORMAT, "the checkpoint has another number of sections");
  if (head_hash(f->at, PARTS) != hash)
    return unsound(f, DIAG_RUN_HASH, "the checkpoint's header is damaged");
  if (length != f->n)
    return unsound(f, DIAG_RUN_FORMAT, "the checkpoint is cut short, or too long");
  return VLPC_OK;
}

/* Sections lie one behind the other up to the end, each as its hash says. */
static VlStatus check_table(File *f) {
  ByteReader r = {f->at, (size_t)f->n, HEADER, true};
  uint64_t at = HEADER + ROW * PARTS;
  for (uint32_t p = PART_state; p < PART__END; p++) {
    uint32_t kind = get_u32(&r), zero = get_u32(&r);
    uint64_t off = get_u64(&r), bytes = get_u64(&r), hash = get_u64(&r);
    if (kind != p || zero != 0 || off != at || !vl_range_ok(off, bytes, f->n))
      return unsound(f, DIAG_RUN_FORMAT, "the checkpoint's table is malformed");
    if (hash_bytes(f->at + off, (size_t)bytes, p) != hash)
      return unsound(f, DIAG_RUN_HASH, "a section of the checkpoint is damaged");
    f->part[p] = (ByteReader){f->at + off, (size_t)bytes, 0, true};
    at = off + bytes;
  }
  if (at != f->n) return unsound(f, DIAG_RUN_FORMAT, "the checkpoint's table is malformed");
  return VLPC_OK;
}

/* ---- reading ------------------------------------------------------------ */

/* Numbers are copied: a mapped file could change under them. */
static void get_arrays(ByteReader *r, Arena *a, RunArrays *out) {
  out->n = get_count(r, 12);
  out->at = arena_array(a, RunArray, out->n);
  for (uint32_t i = 0; i < out->n && r->ok; i++) {
    RunArray *x = &out->at[i];
    x->name = get_text(r, a, NAME_MAX_BYTES);
    x->n = get_u64(r);
    if (!r->ok || x->n > (r->n - r->pos) / sizeof(float)) {
      r->ok = false;
      return;
    }
    size_t bytes = (size_t)x->n * sizeof(float);
    float *data = arena_array(a, float, x->n);
    if (bytes > 0) memcpy(data, r->at + r->pos, bytes);
    x->data = data;
    r->pos += bytes;
  }
}

static void get_state(ByteReader *r, Arena *a, RunState *c) {
  c->seed = get_u64(r);
  c->draws = get_u64(r);
  c->epoch = get_u32(r);
  c->batch = get_u32(r);
  c->step = get_u64(r);
  c->best = get_f64(r);
  c->model = get_text(r, a, RUN_HASH);
  c->data = get_text(r, a, RUN_HASH);
  uint32_t n = get_count(r, 8);
  uint64_t *steps = arena_array(a, uint64_t, n);
  for (uint32_t i = 0; i < n; i++) steps[i] = get_u64(r);
  c->steps = steps;
  c->prompts.n = n; /* held against the prompts' own count */
}

static VlStatus read_parts(File *f, Arena *a, RunState *out) {
  bool whole = true;
  get_state(&f->part[PART_state], a, out);
  uint32_t n = out->prompts.n;
  out->config = get_text(&f->part[PART_config], a, CONFIG_MAX_BYTES);
  get_arrays(&f->part[PART_prompts], a, &out->prompts);
  get_arrays(&f->part[PART_optim], a, &out->optim);
  for (uint32_t p = PART_state; p < PART__END; p++)
    whole = whole && f->part[p].ok && f->part[p].pos == f->part[p].n;
  if (!whole || n != out->prompts.n)
    return unsound(f, DIAG_RUN_FORMAT, "a section of the checkpoint is malformed");
  return VLPC_OK;
}

VlStatus run_state_read(const char *path, Arena *a, Diag *d, RunState *out) {
  Mapped *m = NULL;
  *out = (RunState){0};
  VL_TRY(io_map_on(path, a, d, &m));
  File f = {.path = path, .at = m->at, .n = m->n, .diag = d};
  VlStatus st = check_head(&f);
  if (st == VLPC_OK) st = check_table(&f);
  if (st == VLPC_OK) st = read_parts(&f, a, out);
  io_unmap(m);
  return st;
}
