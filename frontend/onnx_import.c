/* SPDX-License-Identifier: Apache-2.0 */
/* onnx_import.c - walks nodes in file order, turns names into values and calls
** the importer of each node's table row.
**
** A node that fails marks its results as bad; nodes that read a bad value are
** still looked up in the table, so one run reports every unsupported node, but
** nothing else is said about them.  Local functions are inlined: a call opens a
** scope of its own with the arguments under the parameters' names. */
#include <inttypes.h>
#include <string.h>

#include "frontend/fe_int.h"

/* ---- scopes ------------------------------------------------------------- */

Scope *scope_new(Import *im, Scope *outer) {
  Scope *s = arena_one(im->a, Scope);
  s->outer = outer;
  s->names = names_new(im->a);
  return s;
}

bool scope_set(Import *im, Scope *s, const char *name, Slot v) {
  uint32_t id = names_add(s->names, name, strlen(name));
  while (s->slot.n <= id) *vec_push(im->a, &s->slot) = (Slot){0};
  if (s->slot.at[id].is_set) return false;
  v.is_set = true;
  s->slot.at[id] = v;
  return true;
}

Slot *scope_find(Scope *s, const char *name) {
  for (; s; s = s->outer) {
    uint32_t id = 0;
    if (!names_find(s->names, name, strlen(name), &id)) continue;
    if (s->slot.at[id].is_set) return &s->slot.at[id];
  }
  return NULL;
}

/* ---- initializers ------------------------------------------------------- */

/* The initializer's value, or the input that takes its place. */
static Val as_input(const Import *im, const Scope *s, const char *name, Val v) {
  for (uint32_t i = 0; i < im->m->n_inputs && !s->outer; i++) {
    const FeInput *in = &im->m->input[i];
    if (!str_is(name, in->name)) continue;
    Type t = *ir_type_of(im->g, v);
    DimTable *dims = ir_dims(im->g);
    if (in->size0 && t.rank > 0) t.dim[0] = dim_of_symbol(dims, dim_symbol(dims, in->size0));
    return ir_input(im->g, name, ir_type(im->g, t.dtype, t.rank, t.dim));
  }
  return v;
}

static void import_initializer(Import *im, Scope *s, const Onnx__TensorProto *t, size_t i) {
  Slot slot = {0};
  const char *name = t->name ? t->name : "";
  DiagAt at = {im->m->path, arena_printf(im->a, "initializer %zu '%.200s'", i, name)};
  if (!*name) {
    VL_IGNORE(diag_error(im->d, DIAG_ONNX_STRUCTURE, at, "the initializer has no name"));
    return; /* nothing can refer to it */
  }
  slot.is_initializer = true;
  slot.bad = tensor_import(im->m, im->g, t, at, &slot.v) != VLPC_OK;
  if (!slot.bad) slot.v = as_input(im, s, name, slot.v);
  if (scope_set(im, s, name, slot)) return;
  VL_IGNORE(diag_error(im->d, DIAG_ONNX_DUPLICATE, at, "the name is defined twice"));
}

void initializers_import(Import *im, Scope *s, Onnx__GraphProto *g) {
  for (size_t i = 0; i < g->n_initializer && diag_count(im->d) < FE_MAX_ERRORS; i++) {
    import_initializer(im, s, g->initializer[i], i);
  }
  if (g->n_sparse_initializer) {
    VL_IGNORE(diag_error(im->d, DIAG_ONNX_TENSOR_TYPE, (DiagAt){im->m->path, NULL},
                         "sparse initializers are not supported"));
    diag_found(im->d, "%zu", g->n_sparse_initializer);
    diag_fix(im->d, "export with dense weights");
  }
}

/* ---- one node ----------------------------------------------------------- */

static const char *text_or(const char *s, const char *otherwise) {
  return s && *s ? s : otherwise;
}

/* Control characters would break an error's lines. */
static const char *clean_name(Arena *a, const char *s) {
  char *t = arena_strndup(a, s, strnlen(s, 200));
  for (char *p = t; *p; p++) {
    if ((unsigned char)*p < 0x20 || *p == 0x7f) *p = '?';
  }
  return t;
}

static void set_place(OnnxNode *x, int32_t index) {
  const Onnx__NodeProto *n = x->proto;
  const char *name = text_or(n->name, n->n_output ? n->output[0] : "");
  const char *full = arena_printf(x->a, "%s%s", x->body->path, name);
  LocId loc = ir_loc_add(x->g, (Loc){.file = x->im->m->path,
                                     .name = clean_name(x->a, full),
                                     .op = clean_name(x->a, text_or(n->op_type, "?")),
                                     .index = x->body->call_index < 0 ? index : x->body->call_index,
                                     .opset = (int32_t)x->opset});
  ir_set_loc(x->g, loc);
  x->at = ir_at(x->g, loc);
}

static const char *domain_of(const char *domain) {
  return !domain || str_is(domain, "ai.onnx") ? "" : domain;
}

/* Functions may import their own version; a domain that is nowhere imported
** counts as version 1. */
static int64_t opset_of(const OnnxNode *x, const char *domain) {
  for (size_t i = 0; i < x->body->n_opset; i++) {
    const Onnx__OperatorSetIdProto *o = x->body->opset[i];
    if (str_is(domain_of(o->domain), domain)) return VL_MAX(VL_MIN(o->version, INT16_MAX), 0);
  }
  return *domain ? 1 : x->im->m->opset;
}

static void mark_bad(OnnxNode *x) {
  for (uint32_t i = 0; i < x->n_out; i++) {
    const char *name = x->proto->output[i];
    if (*name) scope_set(x->im, x->body->scope, name, (Slot){.bad = true});
  }
}

static void bind_outputs(OnnxNode *x) {
  for (uint32_t i = 0; i < x->n_out; i++) {
    const char *name = x->proto->output[i];
    if (!*name) continue;
    Slot slot = {.v = x->out[i], .seq = x->out_seq[i]};
    slot.bad = !val_ok(slot.v) && !slot.seq;
    if (slot.bad && !x->is_reported) {
      n_fail(x, DIAG_ONNX_FORM, "output %" PRIu32 " '%.100s' is not supported", i, name);
    }
    if (scope_set(x->im, x->body->scope, name, slot)) continue;
    n_fail(x, DIAG_ONNX_DUPLICATE, "the name '%.100s' is defined twice", name);
  }
}

/* Says where the name is made when it is made later, perhaps from itself; once
** for each name. */
static void report_missing(OnnxNode *x, const char *name) {
  uint32_t n_before = names_count(x->im->missing);
  if (names_add(x->im->missing, name, strlen(name)) < n_before) return;
  for (size_t i = 0; i < x->body->n_node; i++) {
    const Onnx__NodeProto *n = x->body->node[i];
    for (size_t k = 0; k < n->n_output; k++) {
      if (!str_is(n->output[k], name)) continue;
      n_fail(x, DIAG_ONNX_ORDER, "'%.100s' is used before it is made", name);
      diag_found(x->im->d, "made by node %zu '%.100s'%s", i, text_or(n->name, n->output[0]),
                 n == x->proto ? ", the same node" : "");
      diag_expected(x->im->d, "nodes in topological order, without cycles");
      return;
    }
  }
  n_fail(x, DIAG_ONNX_UNDEFINED, "'%.100s' is used but nothing makes it", name);
  diag_expected(x->im->d, "an input, an initializer or the output of an earlier node");
  scope_set(x->im, x->body->scope, name, (Slot){.bad = true});
}

/* False when an operand is bad or missing. */
static bool resolve_inputs(OnnxNode *x) {
  bool ok = true;
  x->n_in = (uint32_t)x->proto->n_input;
  while (x->n_in && !x->proto->input[x->n_in - 1][0]) x->n_in--;
  x->in = arena_array(x->a, Val, x->n_in + 1);
  x->seq = arena_array(x->a, Seq *, x->n_in + 1);
  for (uint32_t i = 0; i < x->n_in; i++) {
    const char *name = x->proto->input[i];
    if (!*name) continue;
    const Slot *s = scope_find(x->body->scope, name);
    if (!s) report_missing(x, name);
    ok = ok && s && !s->bad;
    if (s) {
      x->in[i] = s->v;
      x->seq[i] = s->seq;
    }
  }
  return ok;
}

/* Attributes as they are after the call's are put in for ref_attr_name. */
static bool resolve_attrs(OnnxNode *x) {
  if (x->proto->n_attribute > FE_MAX_ATTRS) {
    return n_fail(x, DIAG_ONNX_ATTRIBUTE, "the node has %zu attributes", x->proto->n_attribute);
  }
  x->n_attr = (uint32_t)x->proto->n_attribute;
  x->attr = arena_array(x->a, const Onnx__AttributeProto *, x->n_attr + 1);
  for (uint32_t i = 0; i < x->n_attr; i++) {
    const Onnx__AttributeProto *a = x->proto->attribute[i];
    if (!a->name || !*a->name) {
      return n_fail(x, DIAG_ONNX_STRUCTURE, "attribute %" PRIu32 " has no name", i);
    }
    x->attr[i] = a;
    if (!a->ref_attr_name || !*a->ref_attr_name) continue;
    if (!x->body->fn) {
      return n_fail(x, DIAG_ONNX_STRUCTURE, "attribute '%.60s' refers to a function's attribute",
                    a->name);
    }
    x->attr[i] = NULL;
    for (uint32_t k = 0; k < x->body->n_call_attr; k++) {
      const CallAttr *c = &x->body->call_attr[k];
      if (str_is(c->name, a->ref_attr_name)) x->attr[i] = c->a;
    }
  }
  return true;
}

/* ---- calls of local functions ------------------------------------------- */

static const char *function_key(Arena *a, const char *domain, const char *name, const char *over) {
  return arena_printf(a, "%s:%s:%s", domain_of(domain), name, over ? over : "");
}

static const Onnx__FunctionProto *find_function(const OnnxNode *x) {
  const Onnx__NodeProto *n = x->proto;
  uint32_t id = 0;
  if (!x->im->m->proto->n_functions) return NULL;
  const char *key = function_key(x->a, n->domain, n->op_type, n->overload);
  return names_find(x->im->fn_names, key, strlen(key), &id) ? x->im->m->proto->functions[id] : NULL;
}

static bool is_calling(const Body *b, const Onnx__FunctionProto *f) {
  for (; b; b = b->outer) {
    if (b->fn == f) return true;
  }
  return false;
}

/* The call's attributes, then the function's defaults. */
static void collect_attrs(OnnxNode *x, const Onnx__FunctionProto *f, Body *b) {
  CallAttr *list = arena_array(x->a, CallAttr, x->n_attr + f->n_attribute_proto + 1);
  for (size_t i = 0; i < f->n_attribute_proto; i++) {
    const Onnx__AttributeProto *a = f->attribute_proto[i];
    if (a->name) list[b->n_call_attr++] = (CallAttr){a->name, a};
  }
  for (uint32_t i = 0; i < x->n_attr; i++) {
    if (x->attr[i]) list[b->n_call_attr++] = (CallAttr){x->proto->attribute[i]->name, x->attr[i]};
  }
  b->call_attr = list;
}

static bool check_call(OnnxNode *x, const Onnx__FunctionProto *f) {
  if (is_calling(x->body, f)) return n_fail(x, DIAG_ONNX_FUNCTION, "the function calls itself");
  if (x->im->depth >= FE_MAX_NESTING) {
    return n_fail(x, DIAG_ONNX_FUNCTION, "functions call each other more than %d deep",
                  FE_MAX_NESTING);
  }
  if (x->n_in <= f->n_input && x->n_out <= f->n_output) return true;
  n_fail(x, DIAG_ONNX_COUNT, "the call does not fit the function");
  diag_found(x->im->d, "%" PRIu32 " inputs, %" PRIu32 " outputs", x->n_in, x->n_out);
  diag_expected(x->im->d, "at most %zu and %zu", f->n_input, f->n_output);
  return false;
}

static void import_call(OnnxNode *x, const Onnx__FunctionProto *f, int32_t index, bool is_bad) {
  if (!check_call(x, f)) return;
  Body b = {.scope = scope_new(x->im, NULL),
            .node = f->node,
            .n_node = f->n_node,
            .opset = f->opset_import,
            .n_opset = f->n_opset_import,
            .outer = x->body,
            .fn = f,
            .call_index = x->body->call_index < 0 ? index : x->body->call_index};
  const char *name = text_or(x->proto->name, x->proto->op_type);
  b.path = arena_printf(x->a, "%s%.100s/", x->body->path, name);
  collect_attrs(x, f, &b);
  for (size_t i = 0; i < f->n_input; i++) {
    Slot s = {.bad = is_bad};
    if (i < x->n_in) s = (Slot){.v = x->in[i], .seq = x->seq[i], .bad = is_bad};
    if (!scope_set(x->im, b.scope, f->input[i], s)) {
      n_fail(x, DIAG_ONNX_DUPLICATE, "the function has two inputs '%.100s'", f->input[i]);
      return;
    }
  }
  int errors = diag_count(x->im->d);
  x->im->depth++;
  body_import(x->im, &b);
  x->im->depth--;
  x->is_reported = diag_count(x->im->d) > errors;
  for (uint32_t i = 0; i < x->n_out; i++) {
    const Slot *s = scope_find(b.scope, f->output[i]);
    if (s) {
      x->out[i] = s->v;
      x->out_seq[i] = s->seq;
    } else if (!x->is_reported && n_wants(x, i) && !x->im->is_restart) {
      n_fail(x, DIAG_ONNX_FUNCTION, "the function does not make its output '%.100s'", f->output[i]);
    }
  }
}

/* ---- the walk ----------------------------------------------------------- */

static void report_unsupported(OnnxNode *x, const char *domain, bool known) {
  const char *op = x->proto->op_type;
  Diag *d = x->im->d;
  if (known) {
    int since = op_row_since(domain, op);
    n_fail(x, DIAG_ONNX_OP, "this version of the operator is not supported");
    if (x->opset < since) diag_fix(d, "export again with opset_version=%d or later", since);
    else diag_fix(d, "export again with opset_version=17");
    return;
  }
  const char *near = op_row_near(op);
  n_fail(x, DIAG_ONNX_OP, "the operator is not supported");
  if (*domain) diag_found(d, "%.60s of domain '%.60s'", op, domain);
  if (near && !str_is(near, op)) diag_note(d, "a supported operator has a similar name: %s", near);
  if (str_is(domain, "com.microsoft")) {
    diag_fix(d, "use the model as exported, before ONNX Runtime optimised it");
  } else {
    diag_fix(d,
             "export for inference with opset_version=17; docs/onnx.md lists what is supported");
  }
}

/* Values and errors of one node; false when its results are bad. */
static bool import_op(OnnxNode *x, const char *domain, bool inputs_ok) {
  bool known = false;
  x->row = op_row_find(domain, x->proto->op_type, x->opset, &known);
  if (!x->row) {
    report_unsupported(x, domain, known);
    return false;
  }
  if (!inputs_ok || !op_row_check(x)) return false;
  bool ok = x->row->fn(x);
  VL_CHECK(ok || x->is_reported || x->im->is_restart, "an importer that fails says why");
  return ok;
}

static void import_node(Import *im, const Body *b, size_t index) {
  const Onnx__NodeProto *n = b->node[index];
  OnnxNode x = {.im = im, .body = b, .proto = n, .a = im->a, .g = im->g};
  const char *domain = domain_of(n->domain);
  x.opset = opset_of(&x, domain);
  x.n_out = (uint32_t)n->n_output;
  x.out = arena_array(im->a, Val, x.n_out + 1);
  x.out_seq = arena_array(im->a, Seq *, x.n_out + 1);
  set_place(&x, (int32_t)index);
  if (!n->op_type || !*n->op_type) {
    n_fail(&x, DIAG_ONNX_STRUCTURE, "the node has no operator");
    mark_bad(&x);
    return;
  }
  bool inputs_ok = resolve_inputs(&x), ok = resolve_attrs(&x);
  const Onnx__FunctionProto *f = find_function(&x);
  if (ok && f) {
    import_call(&x, f, (int32_t)index, !inputs_ok);
    ok = !x.is_reported && inputs_ok;
  } else if (ok) {
    ok = import_op(&x, domain, inputs_ok);
  }
  if (im->is_restart) return;
  if (ok) bind_outputs(&x);
  else mark_bad(&x);
}

void body_import(Import *im, const Body *b) {
  for (size_t i = 0; i < b->n_node && !im->is_restart && !im->is_over; i++) {
    if (++im->n_nodes > FE_MAX_NODES) {
      VL_IGNORE(diag_error(im->d, DIAG_ONNX_SIZE, (DiagAt){im->m->path, NULL},
                           "the graph has more than %d nodes once functions are inlined",
                           FE_MAX_NODES));
      im->is_over = true;
      return;
    }
    import_node(im, b, i);
    im->is_over = im->is_over || diag_count(im->d) >= FE_MAX_ERRORS;
  }
}

/* ---- the model ---------------------------------------------------------- */

static void name_functions(Import *im) {
  const Onnx__ModelProto *p = im->m->proto;
  im->fn_names = names_new(im->a);
  for (size_t i = 0; i < p->n_functions; i++) {
    const Onnx__FunctionProto *f = p->functions[i];
    const char *key = function_key(im->a, f->domain, f->name ? f->name : "", f->overload);
    if (names_add(im->fn_names, key, strlen(key)) == i) continue;
    VL_IGNORE(diag_error(im->d, DIAG_ONNX_DUPLICATE, (DiagAt){im->m->path, NULL},
                         "the function '%.200s' is defined twice", key));
    return; /* later indices would be off */
  }
}

static Graph *import_once(Import *im) {
  const Onnx__ModelProto *p = im->m->proto;
  im->g = ir_graph_new(im->a);
  im->is_restart = false;
  im->missing = names_new(im->a);
  im->n_nodes = 0;
  Scope *s = scope_new(im, NULL);
  Body b = {.scope = s,
            .node = p->graph->node,
            .n_node = p->graph->n_node,
            .opset = p->opset_import,
            .n_opset = p->n_opset_import,
            .path = "",
            .call_index = -1};
  initializers_import(im, s, p->graph);
  inputs_import(im, s, p->graph);
  body_import(im, &b);
  ir_set_loc(im->g, (LocId){0});
  if (!im->is_restart) outputs_import(im, s, p->graph);
  return im->g;
}

VlStatus fe_import(FeModel *m, Graph **out) {
  Import im = {.m = m, .a = m->a, .d = m->d};
  int before = diag_count(m->d);
  name_functions(&im);
  if (diag_count(m->d) > before) return diag_status(m->d);
  do {
    *out = import_once(&im);
  } while (im.is_restart && diag_count(m->d) == before);
  if (diag_count(m->d) > before) *out = NULL;
  return diag_count(m->d) > before ? diag_status(m->d) : VLPC_OK;
}
