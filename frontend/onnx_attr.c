/* SPDX-License-Identifier: Apache-2.0 */
/* onnx_attr.c - attributes by name, with defaults.  The only place that
** compares attribute names. */
#include <string.h>

#include "frontend/fe_int.h"

bool str_is(const char *a, const char *b) { return strcmp(a, b) == 0; }

const Onnx__AttributeProto *find_attr(const OnnxNode *x, const char *name) {
  for (uint32_t i = 0; i < x->n_attr; i++) {
    if (str_is(x->proto->attribute[i]->name, name)) return x->attr[i];
  }
  return NULL;
}

bool has_attr(const OnnxNode *x, const char *name) { return find_attr(x, name) != NULL; }

int64_t get_int(const OnnxNode *x, const char *name, int64_t otherwise) {
  const Onnx__AttributeProto *a = find_attr(x, name);
  return a ? a->i : otherwise;
}

double get_float(const OnnxNode *x, const char *name, double otherwise) {
  const Onnx__AttributeProto *a = find_attr(x, name);
  return a ? (double)a->f : otherwise;
}

const char *get_str(const OnnxNode *x, const char *name, const char *otherwise) {
  const Onnx__AttributeProto *a = find_attr(x, name);
  return a ? arena_strndup(x->a, (const char *)a->s.data, a->s.len) : otherwise;
}

int get_choice(OnnxNode *x, const char *name, const char *const *among) {
  const char *s = get_str(x, name, among[0]);
  for (int i = 0; among[i]; i++) {
    if (str_is(s, among[i])) return i;
  }
  n_fail(x, DIAG_ONNX_ATTRIBUTE, "attribute '%s' has no meaning", name);
  diag_found(x->im->d, "'%.40s'", s);
  diag_expected(x->im->d, "'%s', '%s' …", among[0], among[1]);
  return -1;
}

const int64_t *get_ints(const OnnxNode *x, const char *name, uint32_t *n) {
  const Onnx__AttributeProto *a = find_attr(x, name);
  *n = a ? (uint32_t)a->n_ints : 0;
  static const int64_t none[1] = {0};
  return !a ? NULL : a->n_ints ? a->ints : none;
}

const float *get_floats(const OnnxNode *x, const char *name, uint32_t *n) {
  const Onnx__AttributeProto *a = find_attr(x, name);
  *n = a ? (uint32_t)a->n_floats : 0;
  static const float none[1] = {0};
  return !a ? NULL : a->n_floats ? a->floats : none;
}

const Onnx__TensorProto *get_tensor(const OnnxNode *x, const char *name) {
  const Onnx__AttributeProto *a = find_attr(x, name);
  return a ? a->t : NULL;
}

Onnx__GraphProto *get_graph(const OnnxNode *x, const char *name) {
  const Onnx__AttributeProto *a = find_attr(x, name);
  return a ? a->g : NULL;
}
