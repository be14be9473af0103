/* SPDX-License-Identifier: Apache-2.0 */
/* label_inputs.c - inputs of an entry that follow from the labels, for entries that
** the easy path does not run itself, such as those of training. */
#include <stdlib.h>
#include <string.h>

#include "runtime/easy_int.h"

/* ---- token ids ------------------------------------------------------------- */

/* Room for context values of each label, in an entry's integer type. */
static VlStatus make_ids(vlpc_session *s, Labels *l, VlDtype ids, VlDtype mask,
                         const char *const *texts) {
  int64_t row[IDS_MAX];
  uint32_t used = 0, context = (uint32_t)easy_context(s);
  size_t n = (size_t)l->n * context;
  free(l->ids), free(l->mask);
  l->ids = calloc(n, dtype_size(ids));
  l->mask = calloc(n, dtype_size(mask));
  if (!l->ids || !l->mask) return easy_no_memory(s, "token ids");
  for (uint32_t i = 0; i < l->n; i++) {
    VL_TRY(easy_tokens(s, texts[i], row, IDS_MAX, &used));
    for (uint32_t k = 0; k < context; k++) {
      dtype_store_i64(ids, l->ids, (int64_t)i * context + k, row[k]);
      dtype_store(mask, l->mask, (int64_t)i * context + k, k < used);
    }
  }
  return VLPC_OK;
}

static VlDtype input_dtype(const Model *m, const ProgEntry *e, const char *name) {
  int i = name ? easy_input(m, e, name) : -1;
  return i < 0 ? VLPC_I64 : m->program.bufs[m->program.ports[e->in + (uint32_t)i].buf].dtype;
}

static VlStatus set_rows(vlpc_session *s, const ProgEntry *e, const char *name, void *data) {
  const Labels *l = &s->labels;
  if (!name || easy_input(s->model, e, name) < 0) return VLPC_OK;
  vlpc_tensor v = {data, input_dtype(s->model, e, name), 2, {l->n, easy_context(s)}};
  return session_set(s, e->name, name, &v);
}

static VlStatus give_ids(vlpc_session *s, const ProgEntry *e) {
  const ManifestRole *role = &s->model->manifest.text;
  Labels *l = &s->labels;
  char own[PATTERN_MAX], **texts = NULL;
  if (!role->entry || easy_input(s->model, e, role->input) < 0) return VLPC_OK;
  if (!s->model->tokenizer)
    return easy_lacks(s, "tokenizer", "compile with --tokenizer FILE");
  VL_TRY(labels_fill(s, l, l->pattern ? l->pattern : labels_own_pattern(s, own), &texts));
  VlStatus st = make_ids(s, l, input_dtype(s->model, e, role->input),
                         input_dtype(s->model, e, role->mask), (const char *const *)texts);
  labels_free_texts(texts, l->n);
  VL_TRY(st);
  VL_TRY(set_rows(s, e, role->input, l->ids));
  return set_rows(s, e, role->mask, l->mask);
}

static VlStatus give_lengths(vlpc_session *s, const ProgEntry *e) {
  const Labels *l = &s->labels;
  vlpc_tensor v = {l->name_lengths, VLPC_I64, 1, {l->n}};
  if (easy_input(s->model, e, "name_lengths") < 0) return VLPC_OK;
  if (!l->name_lengths) return easy_lacks(s, "lengths of names", "compile it again");
  return session_set(s, e->name, "name_lengths", &v);
}

/* ---- texts without learned rows -------------------------------------------- */

typedef struct {
  const char *const *text;
  uint32_t n;
} Templates;

static VlStatus check_rows(vlpc_session *s, const ClassValue *v) {
  const Labels *l = &s->labels;
  if (v->value.dtype == VLPC_F32 && v->value.rank == 2 && v->value.shape[1] == (int64_t)l->embed)
    return VLPC_OK;
  return easy_lacks(s, "features of plain texts", "compile it again");
}

/* The mean over the templates, whose rows keep their lengths (PromptSRC). */
static VlStatus plain_rows(vlpc_session *s, const ProgEntry *from, ClassValue *v,
                           const Templates *of, double *sum) {
  const Labels *l = &s->labels;
  size_t count = (size_t)l->n * l->embed;
  for (uint32_t i = 0; i < of->n; i++) {
    VL_TRY(labels_plain(s, l, of->text[i], from, v));
    VL_TRY(check_rows(s, v));
    for (size_t k = 0; k < count; k++) sum[k] += (double)((const float *)v->value.data)[k];
  }
  for (size_t k = 0; k < count; k++) l->plain[k] = (float)(sum[k] / of->n);
  return VLPC_OK;
}

/* The module's own for its frozen texts, else the caller's, else the usual one. */
static Templates templates_of(const vlpc_session *s, const Templates *callers) {
  static const char *const usual[] = {PLAIN_PATTERN};
  const ManifestPrompts *m = &s->model->manifest.prompts;
  if (m->n_frozen_templates > 0) return (Templates){m->frozen_templates, m->n_frozen_templates};
  return callers->n > 0 ? *callers : (Templates){usual, 1};
}

static VlStatus give_plain(vlpc_session *s, const ProgEntry *e, const char *name,
                           const Templates *callers) {
  Labels *l = &s->labels;
  size_t count = (size_t)l->n * l->embed;
  ClassValue v = {.name = name};
  Templates of = templates_of(s, callers);
  double *sum = calloc(count, sizeof *sum);
  free(l->plain);
  l->plain = calloc(count, sizeof *l->plain);
  VlStatus st = sum && l->plain ? VLPC_OK : easy_no_memory(s, "features of texts");
  if (st == VLPC_OK) st = plain_rows(s, labels_source(s->model, e, name), &v, &of, sum);
  free(v.value.data), free(sum);
  VL_TRY(st);
  vlpc_tensor t = {l->plain, VLPC_F32, 2, {l->n, l->embed}};
  return session_set(s, e->name, name, &t);
}

/* ---- all of them ----------------------------------------------------------- */

static bool points_to(const Labels *l, const void *p) {
  return p && (p == l->ids || p == l->mask || p == l->plain || p == l->name_lengths);
}

void labels_forget_inputs(vlpc_session *s) {
  for (uint32_t e = 0; e < s->model->program.n_entries; e++)
    for (uint32_t i = 0; s->bound[e].made && i < s->bound[e].e->n_in; i++)
      if (s->bound[e].in[i].set && points_to(&s->labels, s->bound[e].in[i].value.data))
        s->bound[e].in[i].set = false;
}

static VlStatus give(vlpc_session *s, const char *entry, const Templates *plain) {
  Bound *b = session_bound(s, entry);
  if (!b) return diag_status(s->diag);
  if (s->labels.n == 0)
    return session_argument(s, "no labels are set: call vlpc_set_labels first");
  labels_forget_inputs(s); /* what they point to is made anew */
  VL_TRY(give_ids(s, b->e));
  VL_TRY(give_lengths(s, b->e));
  for (uint32_t i = 0; i < b->e->n_in; i++) {
    const char *name = s->model->program.ports[b->e->in + i].name;
    const ProgEntry *text = s->model->manifest.text.entry
                                ? model_entry(s->model, s->model->manifest.text.entry, NULL)
                                : NULL;
    const ProgEntry *from = labels_source(s->model, b->e, name);
    if (from && from != text && !prompts_port(s->model, name))
      VL_TRY(give_plain(s, b->e, name, plain));
  }
  return VLPC_OK;
}

vlpc_status vlpc_label_inputs(vlpc_session *s, const char *entry, const char *const *plain,
                              uint32_t n_plain) {
  if (!session_enter(s)) return VLPC_E_INVALID_ARG;
  if (!entry || (n_plain && !plain))
    return session_leave(s, session_argument(s, "entry or plain is NULL"));
  for (uint32_t i = 0; i < n_plain; i++)
    if (!plain[i] || !strstr(plain[i], "{}"))
      return session_leave(s, session_argument(s, "a template has no place {} for the label"));
  return session_leave(s, give(s, entry, &(Templates){plain, n_plain}));
}
