/* SPDX-License-Identifier: Apache-2.0 */
/* stand_in.c - runs of entries that stand in for others: on packed rows of texts, and
** with less memory when a limit asks for it.  They take what the caller gave to the
** entry by name, and their results are where the entry's would be. */
#include <string.h>

#include "runtime/session.h"

static const ManifestEntry *about(const vlpc_session *s, const Bound *b) {
  return &s->model->manifest.entries[b->e - s->model->program.entries];
}

int session_port(const vlpc_session *s, const Bound *b, const char *name) {
  for (uint32_t i = 0; i < b->e->n_in; i++)
    if (strcmp(s->model->program.ports[b->e->in + i].name, name) == 0) return (int)i;
  return -1;
}

/* A hostile program may give it outputs of another kind. */
static VlStatus check_outputs(vlpc_session *s, const Bound *x, const Bound *b) {
  const Program *p = &s->model->program;
  for (uint32_t i = 0; i < b->e->n_out; i++) {
    const ProgBuf *to = &p->bufs[p->ports[b->e->out + i].buf];
    const ProgBuf *from = &p->bufs[p->ports[x->e->out + i].buf];
    if (from->dtype != to->dtype || from->rank != to->rank)
      return diag_error(s->diag, DIAG_PROGRAM, (DiagAt){s->model->path, NULL},
                        "entries '%s' and '%s' differ in their outputs", b->e->name, x->e->name);
  }
  return VLPC_OK;
}

static void lend_inputs(const vlpc_session *s, const Bound *b, Bound *x) {
  const Program *p = &s->model->program;
  for (uint32_t i = 0; i < x->e->n_in; i++) {
    int from = session_port(s, b, p->ports[x->e->in + i].name);
    if (from < 0 || !b->in[from].set || b->in[from].of_prompts) continue;
    x->in[i].value = b->in[from].value;
    x->in[i].set = true;
  }
}

/* The entry on rows with its inputs, else b itself. */
static VlStatus on_rows(vlpc_session *s, Bound *b, Bound **out) {
  const char *rows = about(s, b)->rows;
  Bound *x = NULL;
  if (rows && s->model->manifest.text.entry) VL_TRY(text_rows_pack(s, b, rows, &x));
  *out = x ? x : b;
  if (!x) return VLPC_OK;
  lend_inputs(s, b, x);
  return check_outputs(s, x, b);
}

/* The next leaner entry with its inputs; NULL: there is none. */
static VlStatus leaner(vlpc_session *s, const Bound *b, Bound **out) {
  const char *lean = about(s, b)->lean;
  *out = lean ? session_bound(s, lean) : NULL;
  if (!lean) return VLPC_OK;
  if (!*out) return diag_status(s->diag);
  lend_inputs(s, b, *out);
  return check_outputs(s, *out, b);
}

VlStatus stand_in_find(vlpc_session *s, Bound *b, Bound **out) {
  VL_TRY(on_rows(s, b, out));
  while (s->memory_limit > 0) {
    Bound *x = NULL;
    VL_TRY(bound_measure(s, *out));
    if ((*out)->temp_bytes <= s->memory_limit) break;
    VL_TRY(leaner(s, *out, &x));
    if (!x) break;
    *out = x;
  }
  return VLPC_OK;
}

VlStatus stand_in_hand_over(vlpc_session *s, Bound *x, Bound *b) {
  for (uint32_t i = 0; i < b->e->n_out; i++) {
    uint64_t n = x->bufs[x->out_local[i]].bytes;
    memcpy(b->out[i].shape, x->out[i].shape, sizeof b->out[i].shape);
    VL_TRY(session_ready_output(s, b, i, n));
    if (n) memcpy(session_result(&b->out[i]), session_result(&x->out[i]), (size_t)n);
  }
  b->ran = true;
  return VLPC_OK;
}

/* Way i to run b; *out is NULL past the last. */
static VlStatus way(vlpc_session *s, Bound *b, uint32_t i, Bound **out) {
  VL_TRY(on_rows(s, b, out));
  for (uint32_t k = 0; k < i && *out; k++) VL_TRY(leaner(s, *out, out));
  return *out ? bound_measure(s, *out) : VLPC_OK;
}

VlStatus session_plan(vlpc_session *s, const char *entry, uint32_t i, vlpc_plan *out) {
  Bound *b = session_bound(s, entry), *used = NULL, *x = NULL;
  if (!b) return diag_status(s->diag);
  VL_TRY(stand_in_find(s, b, &used));
  VL_TRY(way(s, b, i, &x));
  *out = (vlpc_plan){.struct_size = sizeof *out};
  if (!x) return VLPC_OK;
  out->name = x->e->name;
  out->activation_bytes = x->temp_bytes;
  out->steps = x->e->n_steps;
  out->used = x == used && (s->memory_limit == 0 || x->temp_bytes <= s->memory_limit);
  return VLPC_OK;
}
