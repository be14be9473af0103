/* SPDX-License-Identifier: Apache-2.0 */
/* text_rows.c - texts on the rows that count: packed without what follows their end and
** without a prefix that all share, for the entry on rows that stands in.  Ids that
** cannot be packed (a mask with holes, another shape) go the ordinary way. */
#include <stdlib.h>
#include <string.h>

#include "runtime/session.h"

typedef struct {
  TextRange of;           /* which of those that were given */
  int64_t all;            /* that were */
  vlpc_tensor of_each[3]; /* what follows points to */
  const vlpc_tensor *ids, *mask;
  int64_t n, length; /* texts and ids of each */
  int64_t eot;
  /* rows 1 … learned of every text are a prompt set's, whatever the ids */
  int64_t learned;
  bool sourced; /* each row says where it comes from, so that … */
  bool own;     /* … learned rows may be each text's own, or … */
  int64_t before; /* … all but so many of them stand behind the text's name */
  const vlpc_tensor *names; /* its length; NULL: they stand where they are in the ids */
} Texts;

vlpc_tensor text_rows_of(const vlpc_tensor *t, TextRange of) {
  vlpc_tensor x = *t;
  uint64_t row = dtype_size(t->dtype);
  for (int32_t i = 1; i < t->rank; i++) row *= (uint64_t)t->shape[i];
  x.shape[0] = of.n;
  if (x.data) x.data = (uint8_t *)x.data + (uint64_t)of.first * row;
  return x;
}

static int64_t value_at(const vlpc_tensor *t, int64_t i) {
  return t->dtype == VLPC_I32 ? ((const int32_t *)t->data)[i] : ((const int64_t *)t->data)[i];
}

static bool is_ids(const vlpc_tensor *t, bool set) {
  bool int_type = t->dtype == VLPC_I64 || t->dtype == VLPC_I32;
  return set && int_type && t->rank == 2 && t->shape[0] > 0 && t->shape[1] > 0;
}

/* The texts' part of what was given for all of them, as its k-th; NULL: that is of others. */
static const vlpc_tensor *part_of(Texts *t, const vlpc_tensor *v, int k) {
  if (v->rank < 1 || v->shape[0] != t->all) return NULL;
  t->of_each[k] = text_rows_of(v, t->of);
  return &t->of_each[k];
}

/* Names and learned rows behind the start, of all texts. */
static bool names_fit(const Texts *t) {
  bool fit = t->names && t->names->dtype == VLPC_I64 && t->names->rank == 1;
  for (int64_t i = 0; fit && i < t->n; i++) {
    int64_t name = value_at(t->names, i);
    fit = name >= 0 && name < t->length - t->learned;
  }
  return fit;
}

/* Where learned rows stand; false when the lengths of names are not as they should be. */
static bool read_slot(const vlpc_session *s, const Bound *b, const Bound *rows, Texts *t) {
  const ManifestPrompts *m = &s->model->manifest.prompts;
  int names = session_port(s, b, "name_lengths");
  t->learned = m->method ? m->slot_rows : 0;
  t->own = m->slot_own;
  t->sourced = session_port(s, rows, "row_sources") >= 0;
  t->before = t->learned;
  if (names < 0 || !t->learned) return names < 0;
  if (strcmp(m->slot_place, "middle") == 0) t->before = t->learned / 2;
  if (strcmp(m->slot_place, "front") == 0) t->before = 0;
  t->names = b->in[names].set ? part_of(t, &b->in[names].value, 2) : NULL;
  return t->sourced && names_fit(t);
}

/* The inputs as texts; false when they are not such. */
static bool read_texts(const vlpc_session *s, const Bound *b, TextRange of, Texts *t) {
  const ManifestRole *role = &s->model->manifest.text;
  const Program *p = &s->model->program;
  int ids = session_port(s, b, role->input);
  int mask = role->mask ? session_port(s, b, role->mask) : -1;
  int64_t fixed = 0;
  *t = (Texts){.eot = role->eot};
  if (ids < 0 || !is_ids(&b->in[ids].value, b->in[ids].set)) return false;
  t->all = b->in[ids].value.shape[0];
  t->of = (TextRange){of.first, VL_MIN(of.n, t->all - of.first)};
  if (t->of.n < 1) return false;
  t->ids = part_of(t, &b->in[ids].value, 0);
  t->n = t->of.n, t->length = t->ids->shape[1];
  DimId length = p->bufs[p->ports[b->e->in + (uint32_t)ids].buf].size[1];
  if (dim_is_const(p->dims, length, &fixed) ? fixed != t->length : t->length > INT32_MAX)
    return false;
  if (mask < 0) return true;
  if (!is_ids(&b->in[mask].value, b->in[mask].set)) return false;
  t->mask = part_of(t, &b->in[mask].value, 1);
  return t->mask && t->mask->shape[1] == t->length;
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

/* The row of text i's ids that comes to stand at j: learned rows go around the name, or
** behind it. */
static int64_t source_of(const Texts *t, int64_t i, int64_t j) {
  if (!t->names || j <= t->before) return j;
  int64_t name = value_at(t->names, i), behind = t->learned - t->before;
  if (j <= name + t->before) return j + behind;
  return j <= name + t->learned ? j - name : j;
}

static bool is_learned(const Texts *t, int64_t source) {
  return source > 0 && source <= t->learned;
}

/* Whether row j of text i is that of the first text, when those before it are. */
static bool is_shared(const Texts *t, int64_t i, int64_t j) {
  int64_t a = source_of(t, 0, j), b = source_of(t, i, j);
  if (is_learned(t, a) || is_learned(t, b)) return a == b && !t->own;
  return value_at(t->ids, a) == value_at(t->ids, i * t->length + b);
}

/* Rows that text i shares with the first text, up to most. */
static int64_t shared_with_first(const Texts *t, int64_t i, int64_t most) {
  int64_t n = 0;
  while (n < most && is_shared(t, i, n)) n++;
  return n;
}

/* ---- packing ------------------------------------------------------------- */

typedef struct {
  int64_t *ids, *positions, *sources, *bounds, *ends;
  int64_t n_rows, prefix;
} Packed;

/* Ends of all texts into p->ends, and the prefix that all share; at least the
** end itself stays each text's own.  Learned rows without sources lie in the prefix. */
static bool measure(const Texts *t, Packed *p) {
  int64_t least = t->learned && !t->sourced ? 1 + t->learned : 0;
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
  int64_t source = source_of(t, text, position);
  p->ids[*row] = value_at(t->ids, text * t->length + source);
  p->sources[*row] =
      is_learned(t, source) ? text * t->learned + source - 1 : t->n * t->learned + *row;
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
  if (session_port(s, rows, "row_sources") >= 0)
    VL_TRY(set_rows(s, rows, "row_sources", p->sources, p->n_rows));
  VL_TRY(set_rows(s, rows, "run_bounds", p->bounds, n + 2));
  return set_rows(s, rows, "row_ends", p->ends, n);
}

/* ---- the entry ----------------------------------------------------------- */

VlStatus text_rows_pack(vlpc_session *s, const Bound *b, const char *entry, TextRange of,
                        Bound **out) {
  Texts t;
  *out = NULL;
  Bound *rows = session_bound(s, entry);
  if (!rows) return diag_status(s->diag);
  if (!read_texts(s, b, of, &t) || !read_slot(s, b, rows, &t)) return VLPC_OK;
  uint64_t ids = 0;
  bool fits = vl_mul_u64((uint64_t)t.n, (uint64_t)t.length, &ids) && ids < UINT64_C(1) << 40;
  int64_t *at = fits ? room(s, 3 * ids + 2 * (uint64_t)t.n + 2) : NULL;
  if (!at) return VLPC_OK; /* the ordinary way says what is wrong */
  Packed p = {.ids = at, .positions = at + ids, .sources = at + 2 * ids, .ends = at + 3 * ids};
  p.bounds = p.ends + t.n;
  if (!measure(&t, &p)) return VLPC_OK;
  pack(&t, &p);
  VL_TRY(set_packed(s, rows, &p, t.n));
  *out = rows;
  return VLPC_OK;
}
