/* SPDX-License-Identifier: Apache-2.0 */
/* inspect.c - what an ONNX file is: producer, inputs, outputs, operators. */
#include <string.h>

#include "base/map.h"
#include "compiler/compiler.h"

/* Operators as the file names them, with how often they occur.  A node of the
** file may make several values, or none: places are counted once. */
typedef struct {
  Names *names;
  uint32_t *count;
} OpCounts;

static void type_text_of(const Graph *g, Val v, Str *out) {
  const Type *t = ir_type_of(g, v);
  str_printf(out, "%s[", dtype_name(t->dtype));
  for (uint32_t i = 0; i < t->rank; i++) {
    if (i) str_add(out, ",");
    dim_print(ir_dims(g), t->dim[i], out);
  }
  str_add(out, "]");
}

static void ports_text(const Graph *g, const char *what, const Named *at, uint32_t n, Str *out) {
  for (uint32_t i = 0; i < n; i++) {
    str_printf(out, "%s %s ", what, at[i].name);
    type_text_of(g, at[i].v, out);
    str_add(out, "\n");
  }
}

static void ports_json(const Graph *g, const char *what, const Named *at, uint32_t n, Str *out) {
  str_printf(out, ", \"%s\": [", what);
  for (uint32_t i = 0; i < n; i++) {
    Str type = {.arena = out->arena};
    type_text_of(g, at[i].v, &type);
    str_add(out, i ? ", {\"name\": " : "{\"name\": ");
    str_json(out, at[i].name, strlen(at[i].name));
    str_add(out, ", \"type\": ");
    str_json(out, str_text(&type), type.n);
    str_add(out, "}");
  }
  str_add(out, "]");
}

static OpCounts count_ops(const Graph *g, Arena *a) {
  OpCounts c = {.names = names_new(a), .count = arena_array(a, uint32_t, ir_n_vals(g) + 1)};
  Map *seen = map_new(a);
  for (uint32_t i = 1; i <= ir_n_vals(g); i++) {
    LocId at = ir_loc(g, (Val){i});
    uint32_t before = 0;
    if (!at.i || map_get(seen, at.i, &before)) continue;
    map_set(seen, at.i, 1);
    const Loc *l = ir_loc_get(g, at);
    if (l->op) c.count[names_add(c.names, l->op, strlen(l->op))]++;
  }
  return c;
}

VlStatus inspect_onnx(const char *path, vlpc_text_format format, Arena *a, Diag *d, Str *out) {
  FeModel *m = NULL;
  Graph *g = NULL;
  VL_TRY(fe_read(a, path, NULL, d, &m));
  VlStatus status = fe_import(m, &g);
  if (status == VLPC_OK) {
    const Named *in = NULL, *o = NULL;
    uint32_t n_in = ir_inputs(g, &in), n_out = ir_outputs(g, &o);
    OpCounts c = count_ops(g, a);
    bool json = format == VLPC_JSON;
    const char *producer = fe_producer(m);
    str_add(out, json ? "{\"kind\": \"onnx\", \"producer\": " : "ONNX model from ");
    if (json)
      str_json(out, producer, strlen(producer));
    else
      str_add(out, producer[0] ? producer : "an unnamed producer");
    str_printf(out, json ? ", \"opset\": %lld" : ", opset %lld\n", (long long)fe_opset(m));
    if (json)
      ports_json(g, "inputs", in, n_in, out), ports_json(g, "outputs", o, n_out, out);
    else
      ports_text(g, "input ", in, n_in, out), ports_text(g, "output", o, n_out, out);
    str_add(out, json ? ", \"operators\": {" : "operators that compute:");
    for (uint32_t i = 0; i < names_count(c.names); i++)
      str_printf(out, json ? "%s\"%s\": %u" : "%s %s %u", i ? "," : "", names_text(c.names, i),
                 c.count[i]);
    str_add(out, json ? "}}\n" : "\n");
  }
  fe_close(m);
  return status;
}
