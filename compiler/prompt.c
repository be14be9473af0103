/* SPDX-License-Identifier: Apache-2.0 */
/* prompt.c - writes a prompt module for a model, and lists the methods. */
#include <string.h>

#include "compiler/compiler.h"

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
  VL_TRY(prompt_host(o, a, d, &p.host));
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
