/* SPDX-License-Identifier: Apache-2.0 */
/* prompt.c - writes a prompt module for a model, and lists the methods. */
#include <string.h>

#include "compiler/compiler.h"
#include "runtime/tokenizer.h"

/* ---- words ------------------------------------------------------------------ */

enum { WORDS_MOST = 1022 };

typedef struct {
  const Graph *g;
  const char *tokenizer;
} Words;

/* The constant table that token ids point into; NULL when it is no such. */
static const Blob *token_table(const Graph *g, VlDtype *dtype, int64_t *rows) {
  const Named *p = NULL;
  uint32_t n = ir_points(g, &p);
  for (uint32_t i = 0; i < n; i++) {
    if (strcmp(p[i].name, "T.emb") != 0 || ir_op(g, p[i].v) != OP_embedding) continue;
    Val table = ir_in(g, p[i].v, 0);
    while (ir_op(g, table) == OP_cast) table = ir_in(g, table, 0);
    if (ir_op(g, table) != OP_const || !ir_size_const(g, table, 0, rows)) return NULL;
    *dtype = ir_type_of(g, table)->dtype;
    return ir_blob_get(g, ir_attr(g, table, A_blob)->blob);
  }
  return NULL;
}

static VlStatus encode(const Words *w, const char *phrase, int64_t rows, Diag *d, int64_t *ids) {
  Tokenizer *t = NULL;
  Encoded e = {.ids = ids, .context = WORDS_MOST + 2};
  VL_TRY(tokenizer_load(w->tokenizer, d, &t));
  VlStatus s = tokenizer_encode(t, phrase, strlen(phrase), d, &e);
  tokenizer_free(t);
  VL_TRY(s);
  if (rows + 2 <= e.n) return VLPC_OK;
  s = diag_error(d, DIAG_PROMPT_OPTION, DIAG_NOWHERE, "the phrase has fewer tokens than rows");
  diag_found(d, "%d tokens", e.n - 2);
  diag_expected(d, "%lld", (long long)rows);
  return s;
}

static VlStatus find_words(void *ctx, const char *phrase, int64_t rows, float *out, Diag *d) {
  const Words *w = ctx;
  int64_t ids[WORDS_MOST + 2], n = 0;
  VlDtype dtype = VLPC_F32;
  const Blob *table = token_table(w->g, &dtype, &n);
  if (!table)
    return diag_error(d, DIAG_PROMPT_HOST, DIAG_NOWHERE, "the model has no table of tokens");
  VL_TRY(encode(w, phrase, rows, d, ids));
  int64_t width = (int64_t)(table->bytes / dtype_size(dtype)) / n;
  for (int64_t i = 0; i < rows; i++) {
    if (ids[i + 1] >= n)
      return diag_error(d, DIAG_TOK_SIZE, (DiagAt){w->tokenizer, NULL},
                        "the tokenizer has ids that the model has no embedding for");
    for (int64_t k = 0; k < width; k++)
      out[i * width + k] = (float)dtype_load(dtype, table->data, ids[i + 1] * width + k);
  }
  return VLPC_OK;
}

/* ---- writing ---------------------------------------------------------------- */

static VlStatus write_for(const vlpc_prompt_options *o, Compile *k) {
  PromptOptions p = {.method = o->method,
                     .output = o->output,
                     .length = o->length,
                     .depth = o->depth,
                     .vision_length = o->vision_length,
                     .vision_depth = o->vision_depth,
                     .place = o->place,
                     .phrase = o->phrase,
                     .class_rows = o->class_rows != 0,
                     .classes = o->classes,
                     .known_classes = o->known_classes,
                     .top = o->top_classes,
                     .keys = o->keys,
                     .loss_weights = o->loss_weights,
                     .seed = o->seed};
  VL_TRY(prompt_host(o, k, &p.host));
  Words w = {k->graph, o->tokenizer};
  if (k->graph && o->tokenizer) p.words = find_words, p.words_ctx = &w;
  return models_write_prompt(&p, k->d);
}

VlStatus prompt_write(const vlpc_prompt_options *o, Arena *a, Diag *d) {
  Compile *k = arena_one(a, Compile);
  k->a = a, k->d = d;
  VlStatus s = write_for(o, k);
  compile_close(k);
  return s;
}

/* ---- the methods ---------------------------------------------------------- */

static void size_text(int64_t rows, int64_t depth, const char *what, Str *out) {
  if (rows == 0) return;
  str_printf(out, ", %lld %s rows", (long long)rows, what);
  if (depth < 0)
    str_add(out, " at every layer");
  else if (depth > 1)
    str_printf(out, " at %lld layers", (long long)depth);
}

static void row_text(const PromptRow *r, Str *out) {
  Str size = {.arena = out->arena};
  size_text(r->length, r->depth, "text", &size);
  size_text(r->vision_length, r->vision_depth, "image", &size);
  str_printf(out, "%-19s %s\n", r->name, r->what);
  str_printf(out, "%-19s %s%s\n", "", r->source, str_text(&size));
}

static void json_text(const char *key, const char *value, Str *out) {
  str_printf(out, "\"%s\": ", key);
  if (value)
    str_json(out, value, strlen(value));
  else
    str_add(out, "null");
}

static void row_json(const PromptRow *r, Str *out) {
  str_add(out, "{");
  json_text("name", r->name, out);
  str_add(out, ", ");
  json_text("what", r->what, out);
  str_add(out, ", ");
  json_text("source", r->source, out);
  str_add(out, ", ");
  json_text("phrase", r->phrase, out);
  str_printf(out, ", \"length\": %lld, \"depth\": %lld", (long long)r->length,
             (long long)r->depth);
  str_printf(out, ", \"vision_length\": %lld, \"vision_depth\": %lld}",
             (long long)r->vision_length, (long long)r->vision_depth);
}

void prompt_list(vlpc_text_format format, Str *out) {
  PromptRow r;
  if (format == VLPC_JSON) str_add(out, "[");
  for (uint32_t i = 0; models_prompt_row(i, &r); i++) {
    if (format != VLPC_JSON) {
      row_text(&r, out);
      continue;
    }
    if (i > 0) str_add(out, ", ");
    row_json(&r, out);
  }
  if (format == VLPC_JSON) str_add(out, "]");
}
