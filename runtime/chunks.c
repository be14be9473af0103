/* SPDX-License-Identifier: Apache-2.0 */
/* chunks.c - a step of training whose texts run some classes at a time: of all classes there
** are features and their gradient alone.
**
** First `ahead` makes the features of each part of the classes; then the head, with them,
** the loss, gradients of what does not go through texts, and that of the features; then
** `back` adds, part by part, what comes through texts.  Features are the bits that they are
** otherwise, and so is the loss; gradients are sums over parts, in their order. */
#include <stdlib.h>
#include <string.h>

#include "base/train_entries.h"
#include "runtime/session.h"

enum { CHUNK_CLASSES = 64 }; /* sums have this order: another number is another result */

typedef struct {
  vlpc_session *s;
  Bound *b; /* what the caller runs */
  Bound *head, *ahead, *back;
  int64_t classes, parts;
  uint64_t row;    /* floats of a class's features */
  InPort *given;   /* of the head: features */
  OutPort *wanted; /* of the head: their gradient */
  InPort *gradient; /* of back */
} Chunks;

/* ---- what fits --------------------------------------------------------------- */

static const ProgBuf *in_buf(const vlpc_session *s, const Bound *x, int i) {
  const Program *p = &s->model->program;
  return i < 0 ? NULL : &p->bufs[p->ports[x->e->in + (uint32_t)i].buf];
}

static const ProgBuf *out_buf(const vlpc_session *s, const Bound *x, int i) {
  const Program *p = &s->model->program;
  return i < 0 ? NULL : &p->bufs[p->ports[x->e->out + (uint32_t)i].buf];
}

static int out_port(const vlpc_session *s, const Bound *x, const char *name) {
  for (uint32_t i = 0; i < x->e->n_out; i++)
    if (strcmp(s->model->program.ports[x->e->out + i].name, name) == 0) return (int)i;
  return -1;
}

static VlStatus unfit(const Chunks *c) {
  vlpc_session *s = c->s;
  return diag_error(s->diag, DIAG_PROGRAM, (DiagAt){s->model->path, NULL},
                    "entries '%s', '%s' and '%s' do not fit each other", c->ahead->e->name,
                    c->head->e->name, c->back->e->name);
}

/* f32 [any, row] */
static bool is_features(const Chunks *c, const ProgBuf *b, int64_t *row) {
  return b && b->dtype == VLPC_F32 && b->rank == 2 &&
         dim_is_const(c->s->model->program.dims, b->size[1], row) && *row > 0;
}

/* Features pass from one entry to the next, all in rows of one length. */
static bool find_features(Chunks *c) {
  vlpc_session *s = c->s;
  int in = session_port(s, c->head, CHUNK_FEATURES);
  int out = out_port(s, c->head, "grad." CHUNK_FEATURES);
  int back = session_port(s, c->back, CHUNK_GRADIENT);
  int made = out_port(s, c->ahead, CHUNK_FEATURES);
  const ProgBuf *at[] = {in_buf(s, c->head, in), out_buf(s, c->head, out),
                         in_buf(s, c->back, back), out_buf(s, c->ahead, made)};
  int64_t first = 0, row = 0;
  for (size_t i = 0; i < VL_COUNT(at); i++) {
    if (!is_features(c, at[i], &row) || (i > 0 && row != first)) return false;
    first = row;
  }
  c->row = (uint64_t)row;
  c->given = &c->head->in[in], c->wanted = &c->head->out[out], c->gradient = &c->back->in[back];
  return made == 0;
}

/* The caller's outputs are f32, and made by the head, by back or by both. */
static bool outputs_fit(const Chunks *c) {
  for (uint32_t i = 0; i < c->b->e->n_out; i++) {
    const char *name = c->s->model->program.ports[c->b->e->out + i].name;
    const ProgBuf *to = out_buf(c->s, c->b, (int)i);
    const ProgBuf *head = out_buf(c->s, c->head, out_port(c->s, c->head, name));
    const ProgBuf *back = out_buf(c->s, c->back, out_port(c->s, c->back, name));
    if (to->dtype != VLPC_F32 || (!head && !back)) return false;
    if (head && (head->dtype != VLPC_F32 || head->rank != to->rank)) return false;
    if (back && (back->dtype != VLPC_F32 || back->rank != to->rank)) return false;
  }
  return true;
}

/* ---- inputs ------------------------------------------------------------------ */

/* The size that is the number of classes, in the entries on rows. */
static bool is_per_class(const Chunks *c, const Bound *x, const ProgBuf *b) {
  const ProgBuf *ends = in_buf(c->s, x, session_port(c->s, x, "row_ends"));
  return ends && ends->rank == 1 && b->rank > 0 && b->size[0] == ends->size[0];
}

/* What the caller gave, of these classes. */
static void lend(const Chunks *c, Bound *x, TextRange of) {
  for (uint32_t i = 0; i < x->e->n_in; i++) {
    int from = session_port(c->s, c->b, c->s->model->program.ports[x->e->in + i].name);
    if (from < 0) continue;
    const InPort *given = &c->b->in[from];
    x->in[i].set = given->set;
    x->in[i].of_prompts = false;
    x->in[i].value = given->value;
    bool cut = given->set && is_per_class(c, x, in_buf(c->s, x, (int)i));
    if (cut && given->value.shape[0] == c->classes)
      x->in[i].value = text_rows_of(&given->value, of);
  }
}

static TextRange part(const Chunks *c, int64_t i) {
  int64_t first = i * CHUNK_CLASSES;
  return (TextRange){first, VL_MIN(CHUNK_CLASSES, c->classes - first)};
}

/* The entry on the packed rows of these classes. */
static VlStatus pack(const Chunks *c, Bound *x, TextRange of) {
  Bound *packed = NULL;
  VL_TRY(text_rows_pack(c->s, c->b, x->e->name, of, &packed));
  if (packed != x)
    return diag_error(c->s->diag, DIAG_NOMEM, (DiagAt){c->s->model->path, x->e->name},
                      "no memory to pack texts");
  lend(c, x, of);
  return VLPC_OK;
}

static void give_gradient(const Chunks *c, TextRange of) {
  float *all = session_result(c->wanted);
  c->gradient->set = true;
  c->gradient->value = (vlpc_tensor){all ? all + (uint64_t)of.first * c->row : NULL, VLPC_F32, 2,
                                     {of.n, (int64_t)c->row}};
}

/* Room for the features of all classes. */
static VlStatus ready_features(Chunks *c) {
  vlpc_session *s = c->s;
  uint64_t bytes = 0;
  bool fits = vl_mul_u64((uint64_t)c->classes, c->row * sizeof(float), &bytes);
  if (fits && bytes > s->class_bytes) {
    free(s->class_features);
    s->class_features = malloc((size_t)bytes);
    s->class_bytes = s->class_features ? bytes : 0;
  }
  if (!fits || bytes > s->class_bytes)
    return diag_error(s->diag, DIAG_NOMEM, (DiagAt){s->model->path, c->head->e->name},
                      "no memory for features of the classes");
  lend(c, c->head, (TextRange){0, c->classes});
  c->given->set = true;
  c->given->value = (vlpc_tensor){s->class_features, VLPC_F32, 2,
                                  {c->classes, (int64_t)c->row}};
  return VLPC_OK;
}

static VlStatus open(vlpc_session *s, Bound *b, Bound *head, Chunks *c) {
  const ManifestEntry *about = session_about(s, head);
  int text = session_port(s, b, s->model->manifest.text.input);
  *c = (Chunks){.s = s, .b = b, .head = head, .ahead = session_bound(s, about->ahead)};
  c->back = session_bound(s, about->back);
  if (!c->ahead || !c->back) return diag_status(s->diag);
  if (text < 0 || !find_features(c) || !outputs_fit(c)) return unfit(c);
  c->classes = b->in[text].set && b->in[text].value.rank == 2 ? b->in[text].value.shape[0] : 0;
  if (c->classes < 1) return unfit(c);
  c->parts = (c->classes + CHUNK_CLASSES - 1) / CHUNK_CLASSES;
  return ready_features(c);
}

/* ---- the plan ---------------------------------------------------------------- */

/* The part with the most rows. */
static VlStatus longest(const Chunks *c, TextRange *out) {
  int64_t most = 0;
  for (int64_t i = 0; i < c->parts; i++) {
    TextRange of = part(c, i);
    VL_TRY(pack(c, c->ahead, of));
    int64_t rows = c->ahead->in[session_port(c->s, c->ahead, "row_ids")].value.shape[0];
    if (rows > most) most = rows, *out = of;
  }
  return VLPC_OK;
}

static VlStatus measure(Chunks *c, uint64_t *bytes) {
  TextRange of = {0, c->classes};
  VL_TRY(longest(c, &of));
  VL_TRY(pack(c, c->ahead, of));
  VL_TRY(bound_measure(c->s, c->ahead));
  VL_TRY(pack(c, c->back, of));
  give_gradient(c, of);
  VL_TRY(bound_measure(c->s, c->back));
  VL_TRY(bound_measure(c->s, c->head));
  *bytes = VL_MAX(VL_MAX(c->ahead->temp_bytes, c->back->temp_bytes), c->head->temp_bytes);
  *bytes += 2 * (uint64_t)c->classes * c->row * sizeof(float);
  return VLPC_OK;
}

VlStatus chunks_measure(vlpc_session *s, Bound *b, Bound *head, ChunksPlan *out) {
  Chunks c;
  VL_TRY(open(s, b, head, &c));
  VL_TRY(measure(&c, &out->bytes));
  out->steps = (uint64_t)c.parts * (c.ahead->e->n_steps + (uint64_t)c.back->e->n_steps) +
               head->e->n_steps;
  return VLPC_OK;
}

/* ---- a run ------------------------------------------------------------------- */

static VlStatus run_ahead(const Chunks *c) {
  for (int64_t i = 0; i < c->parts; i++) {
    TextRange of = part(c, i);
    VL_TRY(pack(c, c->ahead, of));
    VL_TRY(session_run_itself(c->s, c->ahead));
    if (c->ahead->out[0].shape[0] != of.n) return unfit(c);
    memcpy(c->s->class_features + (uint64_t)of.first * c->row, session_result(&c->ahead->out[0]),
           (size_t)((uint64_t)of.n * c->row * sizeof(float)));
  }
  return VLPC_OK;
}

/* Floats of an output; a product that is too large is all there could be. */
static uint64_t count_of(const OutPort *o, uint32_t rank) {
  uint64_t n = 1;
  for (uint32_t i = 0; i < rank; i++)
    if (!vl_mul_u64(n, (uint64_t)o->shape[i], &n)) return UINT64_MAX;
  return n;
}

/* What the head gives of output i of the caller's, else zeros of the shape that back's parts
** make. */
static VlStatus begin_output(const Chunks *c, uint32_t i) {
  vlpc_session *s = c->s;
  const char *name = s->model->program.ports[c->b->e->out + i].name;
  int head = out_port(s, c->head, name), back = out_port(s, c->back, name);
  OutPort *to = &c->b->out[i];
  const OutPort *from = head >= 0 ? &c->head->out[head] : &c->back->out[back];
  uint64_t bytes = 0;
  memcpy(to->shape, from->shape, sizeof to->shape);
  if (head < 0 && is_per_class(c, c->back, out_buf(s, c->back, back))) to->shape[0] = c->classes;
  uint64_t n = count_of(to, out_buf(s, c->b, (int)i)->rank);
  if (!vl_mul_u64(n, sizeof(float), &bytes)) return unfit(c);
  VL_TRY(session_ready_output(s, c->b, i, bytes));
  if (head >= 0) memcpy(session_result(to), session_result(from), (size_t)bytes);
  else memset(session_result(to), 0, (size_t)bytes);
  return VLPC_OK;
}

/* Adds what back gave for a part. */
static VlStatus add_output(const Chunks *c, uint32_t i, TextRange of) {
  vlpc_session *s = c->s;
  int to = out_port(s, c->b, s->model->program.ports[c->back->e->out + i].name);
  const ProgBuf *buf = out_buf(s, c->back, (int)i);
  uint64_t n = count_of(&c->back->out[i], buf->rank), at = 0;
  if (to < 0) return unfit(c);
  uint64_t all = count_of(&c->b->out[to], buf->rank);
  if (is_per_class(c, c->back, buf)) at = n / (uint64_t)of.n * (uint64_t)of.first;
  if (!vl_range_ok(at, n, all)) return unfit(c);
  float *sum = (float *)session_result(&c->b->out[to]) + at;
  const float *x = session_result(&c->back->out[i]);
  for (uint64_t k = 0; k < n; k++) sum[k] += x[k];
  return VLPC_OK;
}

static VlStatus run_back(const Chunks *c) {
  for (int64_t i = 0; i < c->parts; i++) {
    TextRange of = part(c, i);
    VL_TRY(pack(c, c->back, of));
    give_gradient(c, of);
    VL_TRY(session_run_itself(c->s, c->back));
    for (uint32_t k = 0; i == 0 && k < c->b->e->n_out; k++) VL_TRY(begin_output(c, k));
    for (uint32_t k = 0; k < c->back->e->n_out; k++) VL_TRY(add_output(c, k, of));
  }
  return VLPC_OK;
}

VlStatus chunks_run(vlpc_session *s, Bound *b, Bound *head) {
  Chunks c;
  uint64_t bytes = 0;
  VL_TRY(open(s, b, head, &c));
  VL_TRY(measure(&c, &bytes));
  VL_TRY(bound_check_limit(s, head, bytes));
  VL_TRY(run_ahead(&c));
  VL_TRY(session_run_itself(s, head));
  if (c.wanted->shape[0] != c.classes) return unfit(&c);
  VL_TRY(run_back(&c));
  b->ran = true;
  return VLPC_OK;
}
