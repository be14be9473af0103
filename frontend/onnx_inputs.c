/* SPDX-License-Identifier: Apache-2.0 */
/* onnx_inputs.c - the model's inputs, its symbols, and its outputs.
**
** A named size is a symbol.  The same name on an integer input and on an
** image-like one (float, rank 3 or more) gives two symbols: exports call both
** batches "batch", but a caller may well give 1 image and 100 texts.  A size
** without a name gets a symbol of its own, "INPUT_AXIS". */
#include <inttypes.h>
#include <string.h>

#include "frontend/fe_int.h"

typedef enum { CLASS_INTEGER, CLASS_IMAGE, CLASS_OTHER } InputClass;

typedef struct {
  const char *name; /* as the file has it */
  InputClass kind;
  const char *symbol;
} NamedSize;

typedef VEC(NamedSize) NamedSizes;

static void fail(Import *im, DiagAt at, DiagCode code, const char *what) {
  VL_IGNORE(diag_error(im->d, code, at, "%s", what)); /* counted in the Diag */
}

/* A symbol's name has letters, digits and '_' only. */
static const char *symbol_name(Arena *a, const char *text) {
  char *s = arena_printf(a, "%s%.60s", *text >= '0' && *text <= '9' ? "d" : "", text);
  for (char *p = s; *p; p++) {
    bool ok = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9');
    if (!ok) *p = '_';
  }
  return *s ? s : "n";
}

/* The size that a symbol stands for: itself, or what the graph said of it. */
static DimId size_of_symbol(const Import *im, const char *symbol) {
  DimTable *t = ir_dims(im->g);
  for (uint32_t i = 0; i < im->alias.n; i++) {
    const Alias *a = &im->alias.at[i];
    if (!str_is(a->from, symbol)) continue;
    if (!a->to) return dim_const(t, a->size);
    symbol = a->to;
    i = (uint32_t)-1;
  }
  SymId s = dim_symbol(t, symbol);
  return s < DIM_MAX_SYMS ? dim_of_symbol(t, s) : DIM_NONE;
}

static bool is_taken(const NamedSizes *list, const char *symbol) {
  for (uint32_t i = 0; i < list->n; i++) {
    if (str_is(list->at[i].symbol, symbol)) return true;
  }
  return false;
}

static const char *symbol_for(Import *im, NamedSizes *list, const char *input, InputClass kind,
                              const char *name) {
  for (uint32_t i = 0; i < list->n; i++) {
    if (str_is(list->at[i].name, name) && list->at[i].kind == kind) return list->at[i].symbol;
  }
  const char *symbol = symbol_name(im->a, name);
  if (is_taken(list, symbol)) {
    symbol = symbol_name(im->a, arena_printf(im->a, "%.30s_%.28s", name, input));
  }
  for (int k = 2; is_taken(list, symbol); k++) {
    symbol = arena_printf(im->a, "%.50s_%d", symbol_name(im->a, name), k);
  }
  *vec_push(im->a, list) = (NamedSize){name, kind, symbol};
  return symbol;
}

static DimId size_of(Import *im, NamedSizes *list, const Onnx__ValueInfoProto *v, InputClass kind,
                     size_t axis) {
  const Onnx__TensorShapeProto__Dimension *d = v->type->tensor_type->shape->dim[axis];
  DimTable *t = ir_dims(im->g);
  bool is_value = d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
  bool is_name = d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
  if (is_value && d->dim_value >= 0) return dim_const(t, d->dim_value);
  const char *name = is_name && d->dim_param && *d->dim_param
                         ? d->dim_param
                         : arena_printf(im->a, "%.50s_%zu", v->name, axis);
  return size_of_symbol(im, symbol_for(im, list, v->name, kind, name));
}

/* The tensor type of a value, or NULL with a report. */
static const Onnx__TypeProto__Tensor *tensor_type(Import *im, const Onnx__ValueInfoProto *v,
                                                  DiagAt at, VlDtype *dtype) {
  const Onnx__TypeProto *t = v->type;
  if (!t || t->value_case == ONNX__TYPE_PROTO__VALUE__NOT_SET) {
    fail(im, at, DIAG_ONNX_INPUT, "its type is missing");
    return NULL;
  }
  if (t->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE) {
    fail(im, at, DIAG_ONNX_INPUT, "only tensors are supported");
    diag_fix(im->d, "export with tensor inputs and outputs");
    return NULL;
  }
  if (!onnx_dtype(t->tensor_type->elem_type, dtype)) {
    fail(im, at, DIAG_ONNX_INPUT, "its element type is not supported");
    diag_found(im->d, "%s (%" PRId32 ")", onnx_dtype_name(t->tensor_type->elem_type),
               t->tensor_type->elem_type);
    return NULL;
  }
  return t->tensor_type;
}

static void import_input(Import *im, Scope *s, NamedSizes *list, const Onnx__ValueInfoProto *v,
                         DiagAt at) {
  VlDtype dtype = VLPC_F32;
  DimId dim[VLPC_MAX_RANK];
  scope_set(im, s, v->name, (Slot){.bad = true});
  const Onnx__TypeProto__Tensor *t = tensor_type(im, v, at, &dtype);
  if (!t) return;
  if (!t->shape) {
    fail(im, at, DIAG_ONNX_INPUT, "its shape is missing");
    diag_fix(im->d, "export with the input's rank known; sizes may be named");
    return;
  }
  if (t->shape->n_dim > VLPC_MAX_RANK) {
    fail(im, at, DIAG_ONNX_INPUT, "it has too many axes");
    diag_found(im->d, "%zu", t->shape->n_dim);
    diag_expected(im->d, "at most %d", VLPC_MAX_RANK);
    return;
  }
  uint32_t rank = (uint32_t)t->shape->n_dim;
  InputClass kind = !dtype_is_float(dtype) ? CLASS_INTEGER : rank >= 3 ? CLASS_IMAGE : CLASS_OTHER;
  for (uint32_t i = 0; i < rank; i++) {
    dim[i] = size_of(im, list, v, kind, i);
    if (dim[i] != DIM_NONE) continue;
    fail(im, at, DIAG_ONNX_SIZE, "the model has too many named sizes");
    diag_expected(im->d, "at most %d", DIM_MAX_SYMS);
    return;
  }
  Slot *slot = scope_find(s, v->name);
  slot->v = ir_input(im->g, v->name, ir_type(im->g, dtype, rank, dim));
  slot->bad = !val_ok(slot->v);
  if (!slot->bad) return;
  Why why = ir_why(im->g);
  fail(im, at, DIAG_ONNX_INPUT, why.sentence ? why.sentence : "its type is not sound");
  if (why.found) diag_found(im->d, "%s", why.found);
  if (why.expected) diag_expected(im->d, "%s", why.expected);
}

static bool names_constant(Scope *s, const char *name) {
  const Slot *slot = scope_find(s, name);
  return slot && slot->is_initializer;
}

void inputs_import(Import *im, Scope *s, const Onnx__GraphProto *g) {
  NamedSizes list = {0};
  for (size_t i = 0; i < g->n_input && diag_count(im->d) < FE_MAX_ERRORS; i++) {
    const Onnx__ValueInfoProto *v = g->input[i];
    const char *name = v->name ? v->name : "";
    DiagAt at = {im->m->path, arena_printf(im->a, "input %zu '%.200s'", i, name)};
    if (!*name) fail(im, at, DIAG_ONNX_STRUCTURE, "the input has no name");
    else if (names_constant(s, name)) continue; /* as since IR version 4 */
    else if (scope_find(s, name)) fail(im, at, DIAG_ONNX_DUPLICATE, "the name is defined twice");
    else import_input(im, s, &list, v, at);
  }
}

/* ---- outputs ------------------------------------------------------------ */

static bool output_fits(Import *im, const Onnx__ValueInfoProto *o, Val v, DiagAt at) {
  VlDtype dtype = VLPC_F32;
  const Type *t = ir_type_of(im->g, v);
  if (!o->type || o->type->value_case == ONNX__TYPE_PROTO__VALUE__NOT_SET) return true;
  const Onnx__TypeProto__Tensor *said = tensor_type(im, o, at, &dtype);
  if (!said) return false;
  if (dtype != t->dtype) {
    fail(im, at, DIAG_ONNX_INPUT, "the output's declared element type is not what its node makes");
    diag_found(im->d, "%s", dtype_name(t->dtype));
    diag_expected(im->d, "%s", dtype_name(dtype));
    return false;
  }
  if (said->shape && said->shape->n_dim != t->rank) {
    fail(im, at, DIAG_ONNX_INPUT, "the output's declared rank is not what its node makes");
    diag_found(im->d, "rank %" PRIu32, t->rank);
    diag_expected(im->d, "rank %zu", said->shape->n_dim);
    return false;
  }
  return true;
}

void outputs_import(Import *im, Scope *s, const Onnx__GraphProto *g) {
  if (!g->n_output) {
    fail(im, (DiagAt){im->m->path, NULL}, DIAG_ONNX_STRUCTURE, "the graph has no outputs");
  }
  Names *seen = names_new(im->a);
  uint32_t n = 0;
  for (size_t i = 0; i < g->n_output && diag_count(im->d) < FE_MAX_ERRORS; i++) {
    const Onnx__ValueInfoProto *o = g->output[i];
    const char *name = o->name ? o->name : "";
    DiagAt at = {im->m->path, arena_printf(im->a, "output %zu '%.200s'", i, name)};
    const Slot *slot = *name ? scope_find(s, name) : NULL;
    if (!slot) {
      fail(im, at, DIAG_ONNX_UNDEFINED, "nothing makes this output");
    } else if (names_add(seen, name, strlen(name)) != n++) {
      fail(im, at, DIAG_ONNX_DUPLICATE, "the output is named twice");
    } else if (slot->seq) {
      fail(im, at, DIAG_ONNX_INPUT, "only tensors are supported");
    } else if (!slot->bad && output_fits(im, o, slot->v, at)) {
      ir_output(im->g, name, slot->v);
    }
  }
}
