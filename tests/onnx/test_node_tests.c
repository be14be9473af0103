/* SPDX-License-Identifier: Apache-2.0 */
/* test_node_tests.c - ONNX's own tests of its operators through import and the
** reference interpreter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "node_tests.h"

static VlStatus interpret(void *ctx, Imported *x, const RefTensor *in, RefTensor *out) {
  (void)ctx;
  return imported_run(x, EVAL_ROUND, in, out);
}

static void test_onnx_node_tests(void **state) {
  (void)state;
  static const char *const lists[] = {VLPC_TEST_DIR "/data/node_test_skips.txt", NULL};
  NodeCounts n = node_tests_run(&(NodeRunner){"interpreter", interpret, NULL}, lists, 1);
  assert_int_equal(n.wrong, 0);
  assert_true(n.passed > 600);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_onnx_node_tests)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
