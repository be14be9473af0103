/* SPDX-License-Identifier: Apache-2.0 */
/* join.c - the image file and the text file of one model as one graph. */
#include "passes/pass_int.h"

#include <string.h>

static const char *shared_name(const Named *a, uint32_t n_a, const Named *b, uint32_t n_b) {
  for (uint32_t i = 0; i < n_a; i++)
    for (uint32_t k = 0; k < n_b; k++)
      if (strcmp(a[i].name, b[k].name) == 0) return a[i].name;
  return NULL;
}

static VlStatus check_names(const Graph *image, const Graph *text, Diag *d) {
  const Named *a = NULL, *b = NULL;
  uint32_t n_a = ir_inputs(image, &a), n_b = ir_inputs(text, &b);
  const char *name = shared_name(a, n_a, b, n_b);
  if (name == NULL) {
    n_a = ir_outputs(image, &a);
    n_b = ir_outputs(text, &b);
    name = shared_name(a, n_a, b, n_b);
  }
  if (name == NULL) return VLPC_OK;
  VlStatus s = diag_error(d, DIAG_JOIN, DIAG_NOWHERE,
                          "both models have an input or output named '%s'", name);
  diag_expected(d, "an image model and a text model");
  diag_fix(d, "give the image tower first and the text tower second");
  return s;
}

static void add(const Graph *src, Graph *dst, const char *tag) {
  Graft gr = {.src = src, .dst = dst, .tag = tag};
  graft_copy(&gr);
  graft_names(&gr);
}

VlStatus pass_join(const Graph *image, const Graph *text, Arena *a, Diag *d, Graph **out) {
  VL_TRY(check_names(image, text, d));
  *out = ir_graph_new(a);
  add(image, *out, NULL);
  add(text, *out, "text_");
  return VLPC_OK;
}
