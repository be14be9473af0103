/* SPDX-License-Identifier: Apache-2.0 */
/* json.c - the JSON that --json prints. */
#include "cli/json.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/io.h"

static void open_with(Json *j, char open, char close) {
  VL_CHECK(j->depth + 1 < JSON_DEPTH, "JSON is nested too deep");
  str_addn(&j->out, &open, 1);
  j->depth++;
  j->close[j->depth] = close;
  j->more[j->depth] = false;
}

static void lead(Json *j, const char *key) {
  if (j->more[j->depth]) str_add(&j->out, ",");
  j->more[j->depth] = true;
  if (key == NULL) return;
  str_json(&j->out, key, strlen(key));
  str_add(&j->out, ":");
}

Json js_start(Cli *c) {
  Json j = {.out = {.arena = c->arena}};
  open_with(&j, '{', '}');
  js_int(&j, "schema_version", JSON_SCHEMA);
  js_text(&j, "command", cmd_info[c->cmd].name);
  return j;
}

void js_object(Json *j, const char *key) {
  lead(j, key);
  open_with(j, '{', '}');
}

void js_list(Json *j, const char *key) {
  lead(j, key);
  open_with(j, '[', ']');
}

void js_end(Json *j) {
  str_addn(&j->out, &j->close[j->depth], 1);
  j->depth--;
}

void js_text(Json *j, const char *key, const char *text) {
  lead(j, key);
  if (text == NULL)
    str_add(&j->out, "null");
  else
    str_json(&j->out, text, strlen(text));
}

void js_int(Json *j, const char *key, int64_t v) {
  lead(j, key);
  str_printf(&j->out, "%" PRId64, v);
}

void js_real(Json *j, const char *key, double v) {
  lead(j, key);
  if (isfinite(v))
    str_f64(&j->out, v);
  else
    str_add(&j->out, "null");
}

void js_bool(Json *j, const char *key, bool v) {
  lead(j, key);
  str_add(&j->out, v ? "true" : "false");
}

void js_raw(Json *j, const char *key, const char *text) {
  lead(j, key);
  str_add(&j->out, *text != '\0' ? text : "null");
}

static void finish(Json *j) {
  if (j->depth == 0) return;
  while (j->depth > 0) js_end(j);
  str_add(&j->out, "\n");
}

void js_print(Json *j) {
  finish(j);
  fwrite(str_text(&j->out), 1, j->out.n, stdout);
}

VlStatus js_write(Json *j, const char *path, Diag *d) {
  finish(j);
  return io_write_file(path, str_text(&j->out), j->out.n, d);
}
