/* SPDX-License-Identifier: Apache-2.0 */
/* arrays.c - arrays of .npz files as inputs of entries. */
#include "cli/arrays.h"

#include <string.h>

#include "base/vec.h"

/* Names that libraries have for one input, beside those an artifact notes. */
static const char *const family[][2] = {{"image", "pixel_values"}, {"text", "input_ids"}};

static bool same_input(const char *a, const char *b) {
  for (size_t i = 0; i < VL_COUNT(family); i++)
    for (int k = 0; k < 2; k++)
      if (strcmp(a, family[i][k]) == 0 && strcmp(b, family[i][1 - k]) == 0) return true;
  return strcmp(a, b) == 0;
}

bool port_answers(const vlpc_port *port, const char *name) {
  if (same_input(port->name, name)) return true;
  for (const char *const *a = port->aliases; a != NULL && *a != NULL; a++)
    if (strcmp(*a, name) == 0) return true;
  return false;
}

const NpyArray *array_for(const Npz *z, const vlpc_port *port) {
  const NpyArray *x = npz_find(z, port->name);
  for (uint32_t i = 0; i < z->n && x == NULL; i++)
    if (port_answers(port, z->at[i].name)) x = &z->at[i];
  return x;
}

/* True when the prompt set in use is its value. */
static bool is_given(const Model *m, const vlpc_port *port) {
  return port->of_prompts && m->prompts != NULL;
}

const char *missing_input(const Model *m, const char *entry, const Npz *z) {
  vlpc_port port = {.struct_size = sizeof port};
  for (uint32_t i = 0; vlpc_artifact_port(m->artifact, entry, VLPC_INPUT, i, &port); i++)
    if (array_for(z, &port) == NULL && !is_given(m, &port)) return port.name;
  return NULL;
}

/* The array with the port's element type: itself, or a copy. */
static const void *converted(Arena *a, const NpyArray *x, VlDtype to) {
  if (x->dtype == to) return x->data;
  int64_t n = 1;
  for (uint32_t k = 0; k < x->rank; k++) n *= x->size[k];
  void *out = arena_array_bytes(a, (uint64_t)n, dtype_size(to));
  bool whole = dtype_is_int(x->dtype) && dtype_is_int(to);
  for (int64_t i = 0; i < n; i++)
    if (whole)
      dtype_store_i64(to, out, i, dtype_load_i64(x->dtype, x->data, i));
    else
      dtype_store(to, out, i, dtype_load(x->dtype, x->data, i));
  return out;
}

/* Integers for floats and floats for integers are left to the library, which
** says what is wrong. */
static bool converts(VlDtype from, VlDtype to) {
  return (dtype_is_float(from) && dtype_is_float(to)) ||
         (!dtype_is_float(from) && !dtype_is_float(to));
}

static VlStatus set_input(Cli *c, Model *m, const char *entry, const vlpc_port *port,
                          const NpyArray *x) {
  VlDtype to = converts(x->dtype, port->dtype) ? port->dtype : x->dtype;
  const void *data = converted(c->arena, x, to);
  vlpc_tensor t = {.dtype = to, .rank = (int32_t)x->rank};
  memcpy(&t.data, &data, sizeof data);
  memcpy(t.shape, x->size, sizeof t.shape);
  return fail_session(c, m, vlpc_session_set_input(m->session, entry, port->name, &t));
}

VlStatus run_entry(Cli *c, Model *m, const char *entry, const Npz *z) {
  vlpc_port port = {.struct_size = sizeof port};
  for (uint32_t i = 0; vlpc_artifact_port(m->artifact, entry, VLPC_INPUT, i, &port); i++) {
    const NpyArray *x = array_for(z, &port);
    if (x != NULL) {
      VL_TRY(set_input(c, m, entry, &port, x));
      continue;
    }
    if (is_given(m, &port)) continue;
    VlStatus s = diag_error(c->diag, DIAG_NOT_COMPARABLE, (DiagAt){opt(c, inputs), NULL},
                            "has no array for the input '%s' of the entry '%s'", port.name, entry);
    if (z->n > 0) diag_found(c->diag, "%s%s", z->at[0].name, z->n > 1 ? ", …" : "");
    if (port.of_prompts) diag_fix(c->diag, "give a prompt set with --prompts FILE");
    return s;
  }
  return fail_session(c, m, vlpc_session_run(m->session, entry));
}

VlStatus entry_outputs(Cli *c, const Model *m, const char *entry, Npz *out) {
  VEC(NpyArray) list = {0};
  vlpc_port port = {.struct_size = sizeof port};
  for (uint32_t i = 0; vlpc_artifact_port(m->artifact, entry, VLPC_OUTPUT, i, &port); i++) {
    vlpc_tensor t;
    VL_TRY(fail_session(c, m, vlpc_session_output(m->session, entry, port.name, &t)));
    NpyArray x = {.name = port.name, .dtype = t.dtype, .rank = (uint32_t)t.rank, .data = t.data};
    x.bytes = dtype_size(t.dtype);
    for (int32_t k = 0; k < t.rank; k++) x.bytes *= (uint64_t)t.shape[k];
    memcpy(x.size, t.shape, sizeof x.size);
    *vec_push(c->arena, &list) = x;
  }
  *out = (Npz){list.at, list.n};
  return VLPC_OK;
}
