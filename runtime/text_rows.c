/* SPDX-License-Identifier: Apache-2.0 */
/* text_rows.c - texts on the rows that count: packed without what follows their end and
** without a prefix that all share, for the entry on rows that stands in.  Ids that
** cannot be packed (a mask with holes, another shape) go the ordinary way. */
#include <stdlib.h>

#include "runtime/session.h"

typedef struct {
  const vlpc_tensor *ids, *mask;
  int64_t n, length; /* texts and ids of each */
  int64_t eot;
  int64_t learned; /* rows 1 … learned of every text are a prompt set's, whatever the ids */
} Texts;

static int64_t value_at(const vlpc_tensor *t, int64_t i) {
  return t->dtype == VLPC_I32 ? ((const int32_t *)t->data)[i] : ((const int64_t *)t->data)[i];
}

static bool is_ids(const vlpc_tensor *t, bool set) {
  bool int_type = t->dtype == VLPC_I64 || t->dtype == VLPC_I32;
  return set && int_type && t->rank == 2 && t->shape[0] > 0 && t->shape[1] > 0;
}

/* The inputs as texts; false when they are not such. */
static bool read_texts(const vlpc_session *s, const Bound *b, Texts *t) {
  const ManifestRole *role = &s->model->manifest.text;
  const Program *p = &s->model->program;
  int ids = session_port(s, b, role->input);
  int mask = role->mask ? session_port(s, b, role->mask) : -1;
  int64_t fixed = 0;
  *t = (Texts){.eot = role->eot, .learned = s->model->manifest.prompts.slot_rows};
  if (ids < 0 || !is_ids(&b->in[ids].value, b->in[ids].set)) return false;
  t->ids = &b->in[ids].value;
  t->n = t->ids->shape[0], t->length = t->ids->shape[1];
  DimId length = p->bufs[p->ports[b->e->in + (uint32_t)ids].buf].size[1];
  if (dim_is_const(p->dims, length, &fixed) ? fixed != t->length : t->length > INT32_MAX)
    return false;
  if (mask < 0) return true;
  t->mask = &b->in[mask].value;
  return is_ids(t->mask, b->in[mask].set) && t->mask->shape[0] == t->n &&
         t->mask->shape[1] == t->length;
}

/* Index of text i's end, as the graph finds it. */
static int64_t end_of(const Texts *t, int64_t i) {
  int64_t end = 0, first = i * t->length;
  for (int64_t j = 0; j < t->length; j++) {
    int64_t id = value_at(t->ids, first + j);
    if (t->eot >= 0 && id == t->eot) return j;
    if (t->eot < 0 && id > value_at(t->ids, first + end)) end = j;
  }
  return end;
}

static bool is_visible(const Texts *t, int64_t i, int64_t end) {
  for (int64_t j = 0; t->mask && j <= end; j++) {
    if (value_at(t->mask, i * t->length + j) == 0) return false;
  }
  return true;
}

/* Rows that text i shares with the first text, up to most. */
static int64_t shared_with_first(const Texts *t, int64_t i, int64_t most) {
  int64_t n = 0;
  while (n < most && ((n > 0 && n <= t->learned) ||
                      value_at(t->ids, n) == value_at(t->ids, i * t->length + n)))
    n++;
  return n;
}

/* ---- packing ------------------------------------------------------------- */

typedef struct {
  int64_t *ids, *positions, *bounds, *ends;
  int64_t n_rows, prefix;
} Packed;

/* Ends of all texts into p->ends, and the prefix that all share; at least the
** end itself stays each text's own.  Learned rows lie in the prefix. */
static bool measure(const Texts *t, Packed *p) {
  int64_t least = t->learned ? 1 + t->learned : 0;
  p->prefix = t->n > 1 ? t->length : least;
  p->n_rows = 0;
  for (int64_t i = 0; i < t->n; i++) {
    int64_t end = end_of(t, i);
    if (!is_visible(t, i, end)) return false;
    p->ends[i] = end;
    p->prefix = shared_with_first(t, i, VL_MIN(p->prefix, end));
    if (p->prefix < least) return false;
    p->n_rows += end + 1;
  }
  p->n_rows -= p->prefix * (t->n - 1);
  return true;
}

static void pack_row(const Texts *t, Packed *p, int64_t *row, int64_t text, int64_t position) {
  p->ids[*row] = value_at(t->ids, text * t->length + position);
  p->positions[(*row)++] = position;
}

static void pack(const Texts *t, Packed *p) {
  int64_t row = 0;
  for (int64_t j = 0; j < p->prefix; j++) pack_row(t, p, &row, 0, j);
  p->bounds[0] = 0;
  p->bounds[1] = row;
  for (int64_t i = 0; i < t->n; i++) {
    for (int64_t j = p->prefix; j <= p->ends[i]; j++) pack_row(t, p, &row, i, j);
    p->bounds[i + 2] = row;
    p->ends[i] = row - 1;
  }
}

/* Room for n numbers, kept between runs. */
static int64_t *room(vlpc_session *s, uint64_t n) {
  uint64_t bytes = 0;
  if (!vl_mul_u64(n, sizeof(int64_t), &bytes)) return NULL;
  if (bytes <= s->packed_bytes) return s->packed;
  free(s->packed);
  s->packed = malloc((size_t)bytes);
  s->packed_bytes = s->packed ? bytes : 0;
  return s->packed;
}

static VlStatus set_rows(vlpc_session *s, const Bound *rows, const char *name, int64_t *at,
                         int64_t n) {
  vlpc_tensor t = {.data = at, .dtype = VLPC_I64, .rank = 1, .shape = {n}};
  return session_set(s, rows->e->name, name, &t);
}

static VlStatus set_packed(vlpc_session *s, const Bound *rows, const Packed *p, int64_t n) {
  VL_TRY(set_rows(s, rows, "row_ids", p->ids, p->n_rows));
  VL_TRY(set_rows(s, rows, "row_positions", p->positions, p->n_rows));
  VL_TRY(set_rows(s, rows, "run_bounds", p->bounds, n + 2));
  return set_rows(s, rows, "row_ends", p->ends, n);
}

/* ---- the entry ----------------------------------------------------------- */

VlStatus text_rows_pack(vlpc_session *s, const Bound *b, const char *entry, Bound **out) {
  Texts t;
  *out = NULL;
  if (!read_texts(s, b, &t)) return VLPC_OK;
  uint64_t ids = 0;
  bool fits = vl_mul_u64((uint64_t)t.n, (uint64_t)t.length, &ids) && ids < UINT64_C(1) << 40;
  int64_t *at = fits ? room(s, 2 * ids + 2 * (uint64_t)t.n + 2) : NULL;
  if (!at) return VLPC_OK; /* the ordinary way says what is wrong */
  Packed p = {.ids = at, .positions = at + ids, .ends = at + 2 * ids};
  p.bounds = p.ends + t.n;
  if (!measure(&t, &p)) return VLPC_OK;
  pack(&t, &p);
  Bound *rows = session_bound(s, entry);
  if (!rows) return diag_status(s->diag);
  VL_TRY(set_packed(s, rows, &p, t.n));
  *out = rows;
  return VLPC_OK;
}
