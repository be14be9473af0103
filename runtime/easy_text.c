/* SPDX-License-Identifier: Apache-2.0 */
/* easy_text.c - texts through an entry that takes token ids, in chunks; a chunk's
** size changes no result. */
#include <stdlib.h>
#include <string.h>

#include "runtime/easy_int.h"

#define TEXT_CHUNK 64
#define DEFAULT_CONTEXT 77

static VlStatus need_tokenizer(vlpc_session *s) {
  if (s->model->tokenizer) return VLPC_OK;
  return easy_lacks(s, "tokenizer", "compile with --tokenizer FILE");
}

int32_t easy_context(const vlpc_session *s) {
  int32_t n = s->model->manifest.context_length;
  if (n == 0) n = (int32_t)tokenizer_info(s->model->tokenizer).context;
  return n >= 2 ? n : DEFAULT_CONTEXT;
}

static VlStatus too_many_rows(vlpc_session *s, const TextJob *job, uint32_t i, const Encoded *e) {
  const char *whose = job->names ? "of class '" : "'";
  VlStatus st = diag_error(s->diag, DIAG_TEXT_ROWS, (DiagAt){s->model->path, NULL},
                           "the text %s%s' has more rows than the model takes", whose,
                           job->names ? job->names[i] : job->texts[i]);
  diag_found(s->diag, "%d rows: start, %u learned, %d of words, end", e->full,
             s->model->manifest.prompts.slot_rows,
             e->full - 2 - (int32_t)s->model->manifest.prompts.slot_rows);
  diag_expected(s->diag, "at most %d", e->context);
  diag_fix(s->diag, "shorten the %s, or learn fewer rows",
           job->names ? "name or template" : "text");
  return st;
}

/* Text i of the job.  A text that is too long is cut, but not behind learned rows: where
** these stand around a name, that would take some of them away. */
static VlStatus encode(vlpc_session *s, const TextJob *job, uint32_t i, Encoded *e) {
  const ManifestPrompts *m = &s->model->manifest.prompts;
  const char *text = job->texts[i];
  VL_TRY(tokenizer_encode(s->model->tokenizer, text, strlen(text), s->diag, e));
  bool learned = m->method && m->slot_rows > 0 && job->role == &s->model->manifest.text;
  return learned && e->full > e->context ? too_many_rows(s, job, i, e) : VLPC_OK;
}

/* One row: ids as the entry's integer type, and the mask beside it. */
typedef struct {
  int64_t *ids; /* [context] */
  void *in, *mask;
  int64_t *lengths; /* of names, [chunk] */
} TextRows;

static void store_row(const Role *r, const TextRows *t, uint32_t row, const Encoded *e) {
  for (int32_t i = 0; i < r->context; i++) {
    int64_t at = (int64_t)row * r->context + i;
    dtype_store_i64(r->in->dtype, t->in, at, e->ids[i]);
    if (r->mask) dtype_store(r->mask->dtype, t->mask, at, i < e->n);
  }
}

static VlStatus set_texts(vlpc_session *s, const Role *r, uint32_t rows, const TextRows *t) {
  vlpc_tensor v = {t->in, r->in->dtype, 2, {(int64_t)rows, r->context}};
  VL_TRY(session_set(s, r->role->entry, r->role->input, &v));
  if (!r->mask) return VLPC_OK;
  v.data = t->mask;
  v.dtype = r->mask->dtype;
  return session_set(s, r->role->entry, r->role->mask, &v);
}

/* What an entry with a prompt module may take besides: where names end, and the image
** that texts are of. */
static VlStatus set_more(vlpc_session *s, const Role *r, const TextJob *job, uint32_t at,
                         uint32_t rows, int64_t *lengths) {
  const char *entry = r->role->entry;
  if (easy_input(s->model, r->bound->e, "name_lengths") >= 0) {
    if (!job->name_lengths)
      return easy_lacks(s, "way to tell names in these texts", "set them as labels");
    memcpy(lengths, job->name_lengths + at, VL_MIN(rows, job->n - at) * sizeof *lengths);
    vlpc_tensor v = {lengths, VLPC_I64, 1, {(int64_t)rows}};
    VL_TRY(session_set(s, entry, "name_lengths", &v));
  }
  if (easy_input(s->model, r->bound->e, "image_features") < 0) return VLPC_OK;
  if (!job->image)
    return easy_lacks(s, "text features without an image", "classify photos: texts follow them");
  vlpc_tensor v = {job->image, VLPC_F32, 2, {1, s->model->manifest.embed_dim}};
  return session_set(s, entry, "image_features", &v);
}

/* Rows [at, at + rows) of an output that is kept whole. */
static VlStatus keep_value(vlpc_session *s, const Role *r, const TextJob *job, uint32_t at,
                           uint32_t rows, ClassValue *v) {
  vlpc_tensor t;
  VL_TRY(session_get(s, r->role->entry, v->name, &t));
  if (t.rank < 1 || t.shape[0] < (int64_t)rows)
    return easy_lacks(s, "result of texts with a row for each", "compile it again");
  size_t row = dtype_size(t.dtype);
  for (int32_t i = 1; i < t.rank; i++) row *= (size_t)t.shape[i];
  if (!v->value.data) {
    v->value = t;
    v->value.shape[0] = job->n;
    v->value.data = aligned_alloc(64, (size_t)vl_align_up(job->n * (uint64_t)row + 1, 64));
    if (!v->value.data) return easy_no_memory(s, "results of texts");
  }
  if (row) memcpy((char *)v->value.data + at * row, t.data, rows * row);
  return VLPC_OK;
}

static VlStatus run_chunk(vlpc_session *s, const Role *r, const TextJob *job, uint32_t at,
                          TextRows *t) {
  uint32_t embed = 0, rows = VL_MIN(job->n - at, r->chunk), all = r->fixed ? r->chunk : rows;
  for (uint32_t i = 0; i < rows; i++) {
    Encoded e = {.ids = t->ids, .context = r->context};
    VL_TRY(encode(s, job, at + i, &e));
    store_row(r, t, i, &e);
  }
  VL_TRY(set_texts(s, r, all, t));
  VL_TRY(set_more(s, r, job, at, all, t->lengths));
  VL_TRY(session_run(s, r->bound));
  if (job->features) {
    VL_TRY(easy_embed_dim(s, &embed));
    VL_TRY(easy_features(s, r, rows, job->features + (size_t)at * embed));
  }
  for (uint32_t i = 0; i < job->n_values; i++)
    VL_TRY(keep_value(s, r, job, at, rows, &job->value[i]));
  return VLPC_OK;
}

VlStatus easy_texts(vlpc_session *s, const TextJob *job) {
  Role r;
  VL_TRY(easy_role(s, job->role, "text entry", TEXT_CHUNK, &r));
  VL_TRY(need_tokenizer(s));
  if (!dtype_is_int(r.in->dtype) || r.in->rank != 2)
    return easy_lacks(s, "text entry that takes token ids", "compile a CLIP text tower");
  r.context = easy_context(s);
  size_t most = (size_t)r.chunk * (size_t)r.context;
  TextRows t = {calloc((size_t)r.context, sizeof *t.ids), calloc(most, 8), calloc(most, 8),
                calloc(r.chunk, sizeof *t.lengths)};
  VlStatus st =
      t.ids && t.in && t.mask && t.lengths ? VLPC_OK : easy_no_memory(s, "texts");
  for (uint32_t at = 0; st == VLPC_OK && at < job->n; at += r.chunk)
    st = run_chunk(s, &r, job, at, &t);
  easy_forget_inputs(r.bound);
  free(t.ids), free(t.in), free(t.mask), free(t.lengths);
  return st;
}

VlStatus easy_texts_fit(vlpc_session *s, const TextJob *job) {
  VL_TRY(need_tokenizer(s));
  Encoded e = {.context = easy_context(s)};
  e.ids = calloc((size_t)e.context, sizeof *e.ids);
  VlStatus st = e.ids ? VLPC_OK : easy_no_memory(s, "texts");
  for (uint32_t i = 0; st == VLPC_OK && i < job->n; i++) st = encode(s, job, i, &e);
  free(e.ids);
  return st;
}

VlStatus easy_tokens(vlpc_session *s, const char *text, int64_t *ids, uint32_t cap,
                     uint32_t *n_used) {
  VL_TRY(need_tokenizer(s));
  Encoded e = {.ids = ids, .context = easy_context(s)};
  if (cap < (uint32_t)e.context) {
    VlStatus st = diag_error(s->diag, DIAG_TOO_LARGE, (DiagAt){s->model->path, NULL},
                             "the ids do not fit the caller's array");
    diag_found(s->diag, "room for %u", cap);
    diag_expected(s->diag, "room for %d", e.context);
    return st;
  }
  VlStatus st = tokenizer_encode(s->model->tokenizer, text, strlen(text), s->diag, &e);
  *n_used = (uint32_t)e.n;
  return st;
}
