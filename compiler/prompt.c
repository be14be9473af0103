/* SPDX-License-Identifier: Apache-2.0 */
/* prompt.c - writes a prompt module for a model, and lists the methods. */
#include <string.h>

#include "compiler/compiler.h"
#include "models/models.h"

/* ---- sizes of the model --------------------------------------------------- */

static bool is_layer(const char *name, char tower) {
  return name[0] == tower && name[1] == '.' && name[2] >= '0' && name[2] <= '9';
}

/* Rows of positions: of what is added to the embeddings, or of the table that it is
** a part of when a text may have any length. */
static int64_t positions(const Graph *g, Val v) {
  int64_t rows = 0;
  while (v.i && !ir_size_const(g, v, -2, &rows)) v = ir_n_in(g, v) > 0 ? ir_in(g, v, 0) : VAL_NONE;
  return rows;
}

static int64_t context_of(const Graph *g, Val emb, Val first) {
  int64_t n = 0;
  if (ir_size_const(g, emb, 1, &n) || ir_op(g, first) != OP_add) return n;
  return positions(g, ir_in(g, first, ir_in(g, first, 0).i == emb.i));
}

/* Layers and widths are read from the points that recognition names. */
static void host_of(const Graph *g, PromptHost *h) {
  const Named *p = NULL;
  Val emb = VAL_NONE, first = VAL_NONE;
  uint32_t n = ir_points(g, &p);
  for (uint32_t i = 0; i < n; i++) {
    int64_t width = 0;
    if (!ir_size_const(g, p[i].v, -1, &width)) continue;
    if (strcmp(p[i].name, "V.feat") == 0 || strcmp(p[i].name, "T.feat") == 0) h->embed = width;
    if (is_layer(p[i].name, 'V')) h->vision_layers++, h->vision_width = width;
    if (is_layer(p[i].name, 'T')) h->text_layers++, h->text_width = width;
    if (strcmp(p[i].name, "T.emb") == 0) emb = p[i].v;
    if (strcmp(p[i].name, "T.0") == 0) first = p[i].v;
  }
  if (emb.i && first.i) h->context = context_of(g, emb, first);
}

static VlStatus read_host(const vlpc_prompt_options *o, Arena *a, Diag *d, PromptHost *h) {
  vlpc_compile_options c = {.struct_size = sizeof c, .models = {o->models[0], o->models[1]}};
  Compile *k = arena_one(a, Compile);
  k->o = &c, k->a = a, k->d = d;
  VlStatus status = compile_lower(k);
  if (status == VLPC_OK) host_of(k->graph, h);
  compile_close(k);
  VL_TRY(status);
  if (h->text_layers > 0 && h->vision_layers > 0 && h->context > 0) return VLPC_OK;
  VlStatus s = diag_error(d, DIAG_PROMPT_HOST, (DiagAt){o->models[0], NULL},
                          "no two towers of CLIP were recognised in the model");
  diag_found(d, "%lld text and %lld image layers, texts of %lld tokens", (long long)h->text_layers,
             (long long)h->vision_layers, (long long)h->context);
  diag_fix(d, "give both towers, or the sizes themselves");
  return s;
}

static VlStatus find_host(const vlpc_prompt_options *o, Arena *a, Diag *d, PromptHost *h) {
  if (o->models[0]) return read_host(o, a, d, h);
  if (o->size) return models_clip_host(o->size, d, h);
  *h = (PromptHost){o->text_width,  o->vision_width,  o->embed,
                    o->text_layers, o->vision_layers, o->context};
  return VLPC_OK;
}

VlStatus prompt_write(const vlpc_prompt_options *o, Arena *a, Diag *d) {
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
                     .top = o->top_classes,
                     .keys = o->keys,
                     .seed = o->seed};
  VL_TRY(find_host(o, a, d, &p.host));
  return models_write_prompt(&p, d);
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
