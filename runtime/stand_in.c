/* SPDX-License-Identifier: Apache-2.0 */
/* stand_in.c - runs of entries that stand in for others: on packed rows of texts, and
** with less memory when a limit asks for it, in the end in parts (chunks.c).  They take what
** the caller gave to the entry by name, and their results are where the entry's would be. */
#include <string.h>

#include "runtime/session.h"

const ManifestEntry *session_about(const vlpc_session *s, const Bound *b) {
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
  static const TextRange all = {0, INT64_MAX};
  const char *rows = session_about(s, b)->rows;
  Bound *x = NULL;
  if (rows && s->model->manifest.text.entry) VL_TRY(text_rows_pack(s, b, rows, all, &x));
  *out = x ? x : b;
  if (!x) return VLPC_OK;
  lend_inputs(s, b, x);
  return check_outputs(s, x, b);
}

/* The next leaner entry with its inputs; NULL: there is none. */
static VlStatus leaner(vlpc_session *s, const Bound *b, Bound **out) {
  const char *lean = session_about(s, b)->lean;
  *out = lean ? session_bound(s, lean) : NULL;
  if (!lean) return VLPC_OK;
  if (!*out) return diag_status(s->diag);
  if (session_about(s, *out)->ahead) return VLPC_OK; /* open in chunks.c does more */
  lend_inputs(s, b, *out);
  return check_outputs(s, *out, b);
}

/* What x takes in place of b. */
static VlStatus measure(vlpc_session *s, Bound *b, Bound *x, ChunksPlan *out) {
  if (x != b && session_about(s, x)->ahead) return chunks_measure(s, b, x, out);
  VL_TRY(bound_measure(s, x));
  *out = (ChunksPlan){x->temp_bytes, x->e->n_steps};
  return VLPC_OK;
}

VlStatus stand_in_find(vlpc_session *s, Bound *b, Bound **out) {
  VL_TRY(on_rows(s, b, out));
  while (s->memory_limit > 0) {
    Bound *x = NULL;
    ChunksPlan p;
    VL_TRY(measure(s, b, *out, &p));
    if (p.bytes <= s->memory_limit) break;
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
  return VLPC_OK;
}

VlStatus session_plan(vlpc_session *s, const char *entry, uint32_t i, vlpc_plan *out) {
  Bound *b = session_bound(s, entry), *used = NULL, *x = NULL;
  ChunksPlan p;
  if (!b) return diag_status(s->diag);
  VL_TRY(stand_in_find(s, b, &used));
  VL_TRY(way(s, b, i, &x));
  *out = (vlpc_plan){.struct_size = sizeof *out};
  if (!x) return VLPC_OK;
  VL_TRY(measure(s, b, x, &p));
  out->name = x->e->name;
  out->activation_bytes = p.bytes;
  out->steps = (uint32_t)VL_MIN(p.steps, (uint64_t)UINT32_MAX);
  out->used = x == used && (s->memory_limit == 0 || p.bytes <= s->memory_limit);
  return VLPC_OK;
}
