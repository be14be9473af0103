/* SPDX-License-Identifier: Apache-2.0 */
/* json.h - writes one JSON object; commas are put where they belong.
**
**   Json j = js_start(c);            {"schema_version":1,"command":"bench"
**   js_real(&j, "best_ms", 1.5);      ,"best_ms":1.5
**   js_list(&j, "top");               ,"top":[
**   js_text(&j, NULL, "a cat");         "a cat"
**   js_end(&j);                       ]
**   js_print(&j);                     }  */
#ifndef VLPC_CLI_JSON_H
#define VLPC_CLI_JSON_H

#include "base/str.h"
#include "cli/cli.h"

#define JSON_SCHEMA 1
enum { JSON_DEPTH = 12 };

typedef struct {
  Str out;
  int depth;
  char close[JSON_DEPTH];
  bool more[JSON_DEPTH]; /* a comma comes before the next one */
} Json;

/* An object open at its first two keys. */
Json js_start(Cli *c);
/* key is NULL inside a list. */
void js_object(Json *j, const char *key);
void js_list(Json *j, const char *key);
void js_end(Json *j);
void js_text(Json *j, const char *key, const char *text); /* null for NULL */
void js_int(Json *j, const char *key, int64_t v);
void js_real(Json *j, const char *key, double v); /* null when not finite */
void js_bool(Json *j, const char *key, bool v);
/* text is JSON; "" becomes null. */
void js_raw(Json *j, const char *key, const char *text);
/* Closes what is open and prints it on stdout with a newline, or writes it to a file. */
void js_print(Json *j);
VL_MUST_USE VlStatus js_write(Json *j, const char *path, Diag *d);

#endif
