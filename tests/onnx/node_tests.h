/* SPDX-License-Identifier: Apache-2.0 */
/* node_tests.h - ONNX's own tests of its operators, with ONNX's tolerance, for
** any way of running a graph.
**
** data/onnx_node_tests.tar.xz has those of all operators that vlpc claims.  A
** test that cannot pass is in a list with its reason; one that is there and
** passes is wrong too, so the lists stay true. */
#ifndef VLPC_TESTS_ONNX_NODE_TESTS_H
#define VLPC_TESTS_ONNX_NODE_TESTS_H

#include "onnx_run.h"

typedef struct {
  const char *name; /* a word of its own for each program */
  /* Outputs of x's graph, on x's arena; what fails is said in x's diag. */
  VlStatus (*run)(void *ctx, Imported *x, const RefTensor *in, RefTensor *out);
  void *ctx;
} NodeRunner;

typedef struct {
  int passed, skipped, wrong;
} NodeCounts;

/* Runs every `every`-th test and says what is wrong.  lists: up to three files
** of lines "name: reason", NULL-terminated. */
NodeCounts node_tests_run(const NodeRunner *r, const char *const *lists, int every);

#endif
