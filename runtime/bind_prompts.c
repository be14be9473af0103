/* SPDX-License-Identifier: Apache-2.0 */
/* bind_prompts.c - prompt sets in a session.
**
** Inputs of entries that are trainables point to the set's tensors; those that
** the manifest's entry for prompts computes point to its results, which the first
** run that takes them computes, once per set.  Inputs of the image entry that are
** made of the labels' texts point to what labels.c made of them. */
#include <stdlib.h>
#include <string.h>

#include "runtime/session.h"

/* ---- names -------------------------------------------------------------- */

static const ProgEntry *entry_of(const Model *m) {
  return m->manifest.prompts.entry ? model_entry(m, m->manifest.prompts.entry, NULL) : NULL;
}

/* Output of the entry for prompts; -1 when there is none of the name. */
static int result_of(const Model *m, const char *name) {
  const ProgEntry *e = entry_of(m);
  for (uint32_t i = 0; e && i < e->n_out; i++)
    if (strcmp(m->program.ports[e->out + i].name, name) == 0) return (int)i;
  return -1;
}

static bool is_trainable(const Model *m, const char *name) {
  const ManifestPrompts *p = &m->manifest.prompts;
  for (uint32_t i = 0; i < p->n_trainables; i++)
    if (strcmp(p->trainable[i].name, name) == 0) return true;
  return false;
}

bool prompts_port(const Model *m, const char *name) {
  return is_trainable(m, name) || result_of(m, name) >= 0;
}

uint32_t prompts_ports(const Model *m, const ProgEntry *e) {
  uint32_t n = 0;
  for (uint32_t i = 0; m->manifest.prompts.method && i < e->n_in; i++)
    n += prompts_port(m, m->program.ports[e->in + i].name);
  return n;
}

/* ---- values ------------------------------------------------------------- */

static void set_port(InPort *in, void *data, const ProgBuf *buf, const int64_t *shape) {
  in->value = (vlpc_tensor){.data = data, .dtype = buf->dtype, .rank = (int32_t)buf->rank};
  memcpy(in->value.shape, shape, buf->rank * sizeof *shape);
  in->set = in->of_prompts = true;
}

/* What the labels' texts gave for an input; NULL: nothing that fits it. */
static const ClassValue *value_of(const BoundPrompts *b, const ProgPort *port,
                                  const ProgBuf *buf) {
  for (uint32_t i = 0; b && i < b->n_values; i++) {
    const vlpc_tensor *v = &b->value[i].value;
    if (strcmp(b->value[i].name, port->name) == 0 && v->dtype == buf->dtype &&
        v->rank == (int32_t)buf->rank)
      return &b->value[i];
  }
  return NULL;
}

void prompts_apply(vlpc_session *s, Bound *b) {
  const Program *p = &s->model->program;
  const BoundPrompts *now = s->prompts;
  for (uint32_t i = 0; s->model->manifest.prompts.method && i < b->e->n_in; i++) {
    const ProgPort *port = &p->ports[b->e->in + i];
    const SafeTensor *t = now ? safetensors_find(&now->set->set, port->name) : NULL;
    int k = now && now->result ? result_of(s->model, port->name) : -1;
    const ClassValue *v = value_of(now, port, &p->bufs[port->buf]);
    if (t && is_trainable(s->model, port->name)) {
      set_port(&b->in[i], (void *)(uintptr_t)t->data, &p->bufs[port->buf], t->size);
    } else if (k >= 0) {
      set_port(&b->in[i], now->result[k], &p->bufs[port->buf], now->shape[k]);
    } else if (v) {
      set_port(&b->in[i], v->value.data, &p->bufs[port->buf], v->value.shape);
    } else if (b->in[i].of_prompts) {
      b->in[i].set = b->in[i].of_prompts = false;
    }
  }
}

void prompts_refresh(vlpc_session *s) {
  for (uint32_t i = 0; i < s->model->program.n_entries; i++)
    if (s->bound[i].made) prompts_apply(s, &s->bound[i]);
}

/* ---- results ------------------------------------------------------------ */

static void drop_results(const Model *m, BoundPrompts *b) {
  const ProgEntry *e = entry_of(m);
  for (uint32_t i = 0; b->result && e && i < e->n_out; i++) free(b->result[i]);
  free(b->result), free(b->shape);
  b->result = NULL, b->shape = NULL;
}

static void bound_prompts_free(const Model *m, BoundPrompts *b) {
  drop_results(m, b);
  for (uint32_t i = 0; i < b->n_values; i++) free(b->value[i].value.data);
  free(b->features), free(b->value);
  vlpc_prompts_close(b->set);
  free(b);
}

static VlStatus no_memory(vlpc_session *s) {
  return diag_error(s->diag, DIAG_NOMEM, (DiagAt){s->model->path, NULL},
                    "no memory for a prompt set");
}

/* Copies of the entry's outputs, which stay while another set is computed. */
static VlStatus keep_results(vlpc_session *s, const Bound *b, BoundPrompts *to) {
  uint32_t n = b->e->n_out;
  void **result = calloc(n + 1u, sizeof *result);
  to->shape = calloc(n + 1u, sizeof *to->shape);
  to->result = result;
  if (!result || !to->shape) return no_memory(s);
  for (uint32_t i = 0; i < n; i++) {
    uint64_t bytes = b->bufs[b->out_local[i]].bytes;
    result[i] = aligned_alloc(64, (size_t)vl_align_up(VL_MAX(bytes, 1u), 64));
    if (!result[i]) return no_memory(s);
    if (bytes) memcpy(result[i], session_result(&b->out[i]), (size_t)bytes);
    memcpy(to->shape[i], b->out[i].shape, sizeof to->shape[i]);
  }
  return VLPC_OK;
}

/* What the set in use decides alone. */
static VlStatus compute(vlpc_session *s) {
  BoundPrompts *now = s->prompts;
  Bound *b = session_bound(s, s->model->manifest.prompts.entry);
  if (!b) return diag_status(s->diag);
  VL_TRY(session_run(s, b));
  VL_TRY(keep_results(s, b, now));
  prompts_refresh(s);
  return VLPC_OK;
}

static bool takes_results(const Model *m, const ProgEntry *e) {
  for (uint32_t i = 0; i < e->n_in; i++)
    if (result_of(m, m->program.ports[e->in + i].name) >= 0) return true;
  return false;
}

VlStatus prompts_ready(vlpc_session *s, const Bound *b) {
  BoundPrompts *now = s->prompts;
  if (!now || now->begun || !takes_results(s->model, b->e)) return VLPC_OK;
  now->begun = true; /* a hostile entry for prompts may take its own results */
  VlStatus st = compute(s);
  if (st == VLPC_OK) return VLPC_OK;
  drop_results(s->model, now);
  now->begun = false;
  return st;
}

/* ---- the set in use ----------------------------------------------------- */

static BoundPrompts **find(vlpc_session *s, const vlpc_prompts *p) {
  BoundPrompts **at = &s->known;
  while (*at && (*at)->set != p) at = &(*at)->next;
  return at;
}

static VlStatus add(vlpc_session *s, vlpc_prompts *p, BoundPrompts **out) {
  const Model *m = s->model;
  VL_TRY(prompts_fit(p, &m->manifest.prompts, &m->program, m->path, s->diag));
  BoundPrompts *b = calloc(1, sizeof *b);
  if (!b) return no_memory(s);
  b->set = prompts_share(p);
  b->next = s->known;
  *out = s->known = b;
  return VLPC_OK;
}

VlStatus prompts_use(vlpc_session *s, vlpc_prompts *p) {
  BoundPrompts *b = NULL;
  if (p && !p->sound) return session_argument(s, "the prompt set is not open");
  if (p) b = *find(s, p);
  if (p && !b) VL_TRY(add(s, p, &b));
  s->prompts = b;
  prompts_refresh(s);
  return VLPC_OK;
}

static void forget(vlpc_session *s, const vlpc_prompts *p) {
  BoundPrompts **at = find(s, p), *b = *at;
  if (!b) return;
  if (s->prompts == b) {
    s->prompts = NULL;
    prompts_refresh(s);
  }
  *at = b->next;
  bound_prompts_free(s->model, b);
}

void prompts_release(vlpc_session *s) {
  while (s->known) {
    BoundPrompts *next = s->known->next;
    bound_prompts_free(s->model, s->known);
    s->known = next;
  }
  s->prompts = NULL;
}

vlpc_status vlpc_session_set_prompts(vlpc_session *s, vlpc_prompts *p) {
  if (!session_enter(s)) return VLPC_E_INVALID_ARG;
  return session_leave(s, prompts_use(s, p));
}

vlpc_status vlpc_session_forget_prompts(vlpc_session *s, vlpc_prompts *p) {
  if (!session_enter(s)) return VLPC_E_INVALID_ARG;
  if (p) forget(s, p);
  return session_leave(s, VLPC_OK);
}
