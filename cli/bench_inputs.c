/* SPDX-License-Identifier: Apache-2.0 */
/* bench_inputs.c - random inputs for an entry. */
#include <string.h>

#include "base/dtype.h"
#include "base/rng.h"
#include "cli/bench.h"

enum { TOKENS_MAX = 400, TEXT_TOKENS = 77, SHARED_WORDS = 4, FULL_STOP = 269 };

typedef struct {
  Cli *c;
  Model *m;
  const BenchSpec *spec;
} Inputs;

/* The end token: the artifact's own, or without a tokenizer that of CLIP's
** vocabulary, of 512 ids in the small test models. */
static int64_t end_token(const Inputs *x) {
  int64_t ids[128];
  uint32_t used = 0;
  if (x->m->info.tokenizer != NULL &&
      vlpc_tokenize(x->m->session, "", ids, 128, &used) == VLPC_OK && used > 0)
    return ids[used - 1];
  return x->m->info.context_length == TEXT_TOKENS ? 49407 : 511;
}

/* Token `at` of a class prompt: start, words that all prompts share, a name of 1
** to 3 tokens (2.1 on average, as ImageNet's names have), full stop, end, zeros. */
static int64_t prompt_token(uint32_t name, int64_t at, int64_t width, int64_t end) {
  static const uint8_t name_tokens[8] = {1, 1, 2, 2, 2, 3, 3, 3};
  int64_t first = 1 + SHARED_WORDS, stop = first + name_tokens[name % 8];
  if (at == VL_MIN(stop + 1, width - 1)) return end;
  if (at > stop) return 0;
  if (at == stop) return VL_MIN(FULL_STOP, end - 2);
  if (at < first) return at == 0 ? end - 1 : at;
  return SHARED_WORDS + 1 + (name >> 3 * (at - first + 1)) % (TOKENS_MAX / 2);
}

static void fill_ids(const Inputs *x, const vlpc_tensor *t, uint32_t stream) {
  int64_t width = t->shape[t->rank - 1], n = 1, end = end_token(x);
  for (int32_t k = 0; k < t->rank; k++) n *= t->shape[k];
  for (int64_t i = 0; i < n; i++) {
    uint32_t name = rng_u32((Rng){(uint64_t)x->spec->seed, stream}, (uint64_t)(i / width));
    dtype_store_i64(t->dtype, t->data, i, prompt_token(name, i % width, width, end));
  }
}

/* Values of what training changes are as small as they start. */
static double scale_of(const Model *m, const char *name) {
  vlpc_port p = {.struct_size = sizeof p};
  for (uint32_t i = 0; vlpc_artifact_trainable(m->artifact, i, &p); i++)
    if (strcmp(p.name, name) == 0) return 0.02;
  return 1;
}

static void fill_floats(const Inputs *x, const vlpc_tensor *t, uint32_t stream, double scale) {
  Rng r = {(uint64_t)x->spec->seed, stream};
  int64_t n = 1;
  for (int32_t k = 0; k < t->rank; k++) n *= t->shape[k];
  for (int64_t i = 0; i < n; i++)
    dtype_store(t->dtype, t->data, i, scale * rng_normal(r, (uint64_t)i));
}

static void fill_labels(const Inputs *x, const vlpc_tensor *t, uint32_t stream) {
  Rng r = {(uint64_t)x->spec->seed, stream};
  for (int64_t i = 0; i < t->shape[0]; i++)
    dtype_store_i64(t->dtype, t->data, i, rng_u32(r, (uint64_t)i) % x->spec->classes);
}

static bool is_mask(const vlpc_port *port) {
  return strstr(port->name, "mask") != NULL;
}

static bool is_labels(const Inputs *x, const vlpc_port *port) {
  return x->spec->classes > 0 && strcmp(port->name, "labels") == 0;
}

/* Size of an axis that the caller decides: the batch or the classes first, then an
** image's pixels or a text's tokens, CLIP's 77 where the artifact takes any number. */
static int64_t free_size(const Inputs *x, const vlpc_port *port, int32_t axis) {
  bool of_classes = x->spec->classes > 0 && strcmp(port->symbol[axis], "classes") == 0;
  if (axis == 0) return of_classes ? x->spec->classes : x->spec->batch;
  if (port->rank == 4) return VL_MAX(x->m->info.image_size, 1);
  return x->m->info.context_length > 0 ? x->m->info.context_length : TEXT_TOKENS;
}

static void fill_ones(const vlpc_tensor *t, uint64_t n) {
  for (uint64_t k = 0; k < n; k++) dtype_store_i64(t->dtype, t->data, (int64_t)k, 1);
}

static VlStatus set_input(const Inputs *x, const vlpc_port *port, uint32_t i) {
  const char *entry = x->spec->entry;
  vlpc_tensor t = {.dtype = port->dtype, .rank = port->rank};
  uint64_t bytes = dtype_size(port->dtype);
  for (int32_t k = 0; k < port->rank; k++) {
    t.shape[k] = port->shape[k] < 0 ? free_size(x, port, k) : port->shape[k];
    if (!vl_mul_u64(bytes, (uint64_t)t.shape[k], &bytes)) bytes = SIZE_MAX;
  }
  t.data = arena_alloc(x->c->arena, bytes);
  if (dtype_is_float(port->dtype))
    fill_floats(x, &t, i, scale_of(x->m, port->name));
  else if (is_mask(port))
    fill_ones(&t, bytes / dtype_size(port->dtype));
  else if (is_labels(x, port))
    fill_labels(x, &t, i);
  else
    fill_ids(x, &t, i);
  return fail_session(x->c, x->m, vlpc_session_set_input(x->m->session, entry, port->name, &t));
}

VlStatus bench_set_inputs(Cli *c, Model *m, const BenchSpec *spec) {
  Inputs x = {c, m, spec};
  vlpc_port port = {.struct_size = sizeof port};
  for (uint32_t i = 0; vlpc_artifact_port(m->artifact, spec->entry, VLPC_INPUT, i, &port); i++)
    if (!port.of_prompts || m->prompts == NULL) VL_TRY(set_input(&x, &port, i));
  return VLPC_OK;
}
