/* SPDX-License-Identifier: Apache-2.0 */
/* api.c - the functions of vlpc.h about artifacts and sessions: they check
** their arguments and pass on. */
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "runtime/session.h"

#define STRINGIFY(x) #x
#define TEXT_OF(x) STRINGIFY(x)

struct vlpc_artifact {
  Diag *diag;
  Model *model; /* NULL when it could not be opened */
};

/* ---- library ------------------------------------------------------------ */

const char *vlpc_version(void) {
  return TEXT_OF(VLPC_VERSION_MAJOR) "." TEXT_OF(VLPC_VERSION_MINOR) "." TEXT_OF(
      VLPC_VERSION_PATCH);
}

const char *vlpc_status_name(vlpc_status status) { return status_name(status); }

int vlpc_status_exit_code(vlpc_status status) { return status_exit_code(status); }

static const char *cpu_target_text(void) { return cpu_isa_name(cpu_isa_best()); }

bool vlpc_device(uint32_t i, vlpc_device_info *out) {
  const DeviceDriver *dr = device_at(i);
  if (!dr || !out) return false;
  bool cpu = dr->flags & DEVICE_NEEDS_CODE;
  vlpc_device_info info = {.name = dr->name, .what = dr->what,
                           .target = cpu ? cpu_target_text() : "",
                           .model = cpu ? cpu_model() : "",
                           .processors = cpu ? cpu_count() : 0};
  return options_out(out, &info, sizeof info);
}

/* ---- artifact ----------------------------------------------------------- */

vlpc_status vlpc_artifact_open(const char *path, const vlpc_artifact_options *options,
                               vlpc_artifact **out) {
  vlpc_artifact_options o;
  if (!out) return VLPC_E_INVALID_ARG;
  vlpc_artifact *a = *out = calloc(1, sizeof *a);
  if (a) a->diag = diag_new();
  if (!a || !a->diag) {
    free(a);
    *out = NULL;
    return VLPC_E_NOMEM;
  }
  if (!path || !options_copy(&o, sizeof o, options))
    return diag_error(a->diag, DIAG_ARGUMENT, DIAG_NOWHERE,
                      path ? "options.struct_size is not that of a known vlpc_artifact_options"
                           : "path is NULL");
  return model_open(path, &o, a->diag, &a->model);
}

void vlpc_artifact_close(vlpc_artifact *a) {
  if (!a) return;
  model_release(a->model);
  diag_free(a->diag);
  free(a);
}

const char *vlpc_artifact_error(const vlpc_artifact *a) { return a ? diag_text(a->diag) : ""; }

const char *vlpc_artifact_error_json(const vlpc_artifact *a) {
  return a ? diag_json(a->diag) : "[]";
}

vlpc_status vlpc_artifact_verify(vlpc_artifact *a) {
  if (!a || !a->model) return VLPC_E_INVALID_ARG;
  diag_clear(a->diag);
  return artifact_check_weights(&a->model->file, a->diag);
}

bool vlpc_artifact_section(const vlpc_artifact *a, uint32_t i, vlpc_section *out) {
  static const char digit[] = "0123456789abcdef";
  if (!a || !a->model || i >= a->model->file.header.n_sections) return false;
  const ArtifactRow *r = &a->model->file.row[i];
  vlpc_section s = {.name = section_name(r->kind), .data = a->model->file.file.at + r->offset,
                    .offset = r->offset, .bytes = r->bytes};
  for (int k = 0; k < 16; k++) {
    s.hash[2 * k] = digit[r->hash[k] >> 4];
    s.hash[2 * k + 1] = digit[r->hash[k] & 15];
  }
  return options_out(out, &s, sizeof s);
}

bool vlpc_artifact_get_info(const vlpc_artifact *a, vlpc_artifact_info *out) {
  if (!a || !a->model) return false;
  const Model *m = a->model;
  vlpc_artifact_info info = {
      .container_version = m->file.header.version,
      .compiler_version = m->manifest.compiler,
      .precision = m->manifest.precision,
      .model = m->manifest.model,
      .file_bytes = m->file.file.n,
      .weight_bytes = artifact_section(&m->file, SECTION_weights).bytes,
      .n_entries = model_entries(m),
      .n_kernels = m->program.n_kernels,
      .n_steps = m->program.n_steps,
      .image_size = m->manifest.image_size,
      .context_length = m->manifest.context_length,
      .embed_dim = m->manifest.embed_dim,
      .logit_scale = m->manifest.logit_scale,
      .n_classes = m->n_classes,
      .has_code = artifact_section(&m->file, SECTION_code).bytes > 0,
  };
  if (m->tokenizer)
    info.tokenizer = tokenizer_info(m->tokenizer).flavour == TOKENIZER_hf ? "hf" : "openai";
  return options_out(out, &info, sizeof info);
}

const char *vlpc_artifact_entry(const vlpc_artifact *a, uint32_t i) {
  return a && a->model && i < model_entries(a->model) ? a->model->program.entries[i].name
                                                          : NULL;
}

const char *vlpc_artifact_point(const vlpc_artifact *a, uint32_t i) {
  return a && a->model && i < a->model->manifest.n_points ? a->model->manifest.points[i] : NULL;
}

const char *vlpc_artifact_class(const vlpc_artifact *a, uint32_t i) {
  return a && a->model && i < a->model->n_classes ? a->model->classes[i] : NULL;
}

bool vlpc_artifact_port(const vlpc_artifact *a, const char *entry, vlpc_direction direction,
                        uint32_t i, vlpc_port *out) {
  static const char *const none[1];
  if (!a || !a->model || !entry) return false;
  const Model *m = a->model;
  const ProgEntry *e = model_entry(m, entry, NULL);
  if (!e || i >= (direction == VLPC_INPUT ? e->n_in : e->n_out)) return false;
  const ManifestEntry *me = &m->manifest.entries[e - m->program.entries];
  const ManifestPort *mp = direction == VLPC_INPUT ? &me->in[i] : &me->out[i];
  const ProgBuf *buf =
      &m->program.bufs[m->program.ports[(direction == VLPC_INPUT ? e->in : e->out) + i].buf];
  vlpc_port p = {.name = mp->name, .dtype = buf->dtype, .rank = (int32_t)buf->rank,
                 .aliases = mp->aliases ? mp->aliases : none,
                 .of_prompts = direction == VLPC_INPUT && prompts_port(m, mp->name)};
  for (uint32_t x = 0; x < buf->rank; x++) {
    if (dim_is_const(m->program.dims, buf->size[x], &p.shape[x])) continue;
    p.shape[x] = -1;
    p.symbol[x] = m->size_text[buf->size[x]];
  }
  return options_out(out, &p, sizeof p);
}

bool vlpc_artifact_module(const vlpc_artifact *a, vlpc_module_info *out) {
  if (!a || !a->model || !a->model->manifest.prompts.method) return false;
  const ManifestPrompts *m = &a->model->manifest.prompts;
  vlpc_module_info info = {.method = m->method, .base = m->base, .slot_rows = m->slot_rows,
                           .slot_place = m->slot_place, .slot_phrase = m->slot_phrase,
                           .n_trainables = m->n_trainables,
                           .loss_weights = m->loss_weights};
  return options_out(out, &info, sizeof info);
}

bool vlpc_artifact_trainable(const vlpc_artifact *a, uint32_t i, vlpc_port *out) {
  static const char *const none[1];
  if (!a || !a->model || i >= a->model->manifest.prompts.n_trainables) return false;
  const ManifestTrainable *t = &a->model->manifest.prompts.trainable[i];
  vlpc_port p = {.name = t->name, .dtype = t->dtype, .rank = (int32_t)t->rank, .aliases = none};
  memcpy(p.shape, t->size, sizeof p.shape);
  if (t->class_rows && t->size[0] < 0) p.symbol[0] = "classes";
  return options_out(out, &p, sizeof p);
}

bool vlpc_artifact_layout(const vlpc_artifact *a, uint32_t i, vlpc_layout_row *out) {
  if (!a || !a->model || i >= a->model->manifest.prompts.n_layout) return false;
  const ManifestLayoutRow *r = &a->model->manifest.prompts.layout[i];
  vlpc_layout_row row = {.point = r->point, .action = r->action, .segment = r->segment,
                         .value = r->value, .per = r->per, .time = r->time,
                         .stream = r->stream, .first = r->first, .rows = r->rows,
                         .mix = {r->mix[0], r->mix[1]}};
  return options_out(out, &row, sizeof row);
}

/* ---- session ------------------------------------------------------------ */

vlpc_status vlpc_session_new(vlpc_artifact *a, const vlpc_session_options *options,
                             vlpc_session **out) {
  if (!out) return VLPC_E_INVALID_ARG;
  vlpc_session *s = *out = calloc(1, sizeof *s);
  if (s) s->diag = diag_new();
  if (!s || !s->diag) {
    free(s);
    *out = NULL;
    return VLPC_E_NOMEM;
  }
  if (!a || !a->model) return session_argument(s, "the artifact is not open");
  return session_open(a->model, options, s);
}

vlpc_status vlpc_session_set_input(vlpc_session *s, const char *entry, const char *name,
                                   const vlpc_tensor *value) {
  if (!session_enter(s)) return VLPC_E_INVALID_ARG;
  if (!entry || !name || !value)
    return session_leave(s, session_argument(s, "entry, name or value is NULL"));
  return session_leave(s, session_set(s, entry, name, value));
}

vlpc_status vlpc_session_set_output(vlpc_session *s, const char *entry, const char *name,
                                    void *data, uint64_t bytes) {
  if (!session_enter(s)) return VLPC_E_INVALID_ARG;
  if (!entry || !name) return session_leave(s, session_argument(s, "entry or name is NULL"));
  return session_leave(s, session_set_out(s, entry, name, data, bytes));
}

vlpc_status vlpc_session_run(vlpc_session *s, const char *entry) {
  if (!session_enter(s)) return VLPC_E_INVALID_ARG;
  if (!entry) return session_leave(s, session_argument(s, "entry is NULL"));
  Bound *b = session_bound(s, entry);
  return session_leave(s, b ? session_run(s, b) : diag_status(s->diag));
}

vlpc_status vlpc_session_plan(vlpc_session *s, const char *entry, uint32_t i, vlpc_plan *out) {
  vlpc_plan plan = {.struct_size = sizeof plan};
  if (!session_enter(s)) return VLPC_E_INVALID_ARG;
  if (!entry || !out) return session_leave(s, session_argument(s, "entry or out is NULL"));
  VlStatus st = session_plan(s, entry, i, &plan);
  if (st == VLPC_OK && !options_out(out, &plan, sizeof plan))
    st = session_argument(s, "out->struct_size is not set");
  return session_leave(s, st);
}

vlpc_status vlpc_session_output(vlpc_session *s, const char *entry, const char *name,
                                vlpc_tensor *out) {
  if (!session_enter(s)) return VLPC_E_INVALID_ARG;
  if (!entry || !name || !out)
    return session_leave(s, session_argument(s, "entry, name or out is NULL"));
  return session_leave(s, session_get(s, entry, name, out));
}

vlpc_status vlpc_session_on_step(vlpc_session *s, vlpc_step_fn *fn, void *user) {
  if (!session_enter(s)) return VLPC_E_INVALID_ARG;
  s->on_step = fn;
  s->on_step_user = user;
  return session_leave(s, VLPC_OK);
}

bool vlpc_session_get_info(const vlpc_session *s, vlpc_session_info *out) {
  if (!s || !s->model) return false;
  vlpc_session_info info = {.device = s->code->driver->name, .target = s->code->target,
                            .threads = threads_count(s->pool), .code = s->code->origin,
                            .code_bytes = s->code->code_bytes, .activation_bytes = s->temp.bytes,
                            .cache_rebuilt = s->code->rebuilt, .launches = s->launches,
                            .code_ns = s->code->ns};
  memcpy(info.code_hash, s->code->code_hash, sizeof info.code_hash);
  return options_out(out, &info, sizeof info);
}
