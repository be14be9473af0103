/* SPDX-License-Identifier: Apache-2.0 */
/* e2e_node_tests.c - ONNX's own tests of its operators through the whole line:
** import, passes, schedule, and the code emitted for this processor.
**
** Every test that the interpreter passes must pass here too.  Every fourth is
** run, all when VLPC_TEST_LONG is set. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "passes/pass.h"
#include "tests/device/llvm_kit.h"
#include "tests/device/plan_kit.h"
#include "tests/onnx/node_tests.h"

static int run_code(void *ctx, uint32_t kernel, const Kernel *k, void *const *operand,
                    const int64_t *size, Arena *a) {
  (void)k, (void)a;
  return kit_run(ctx, kernel, operand, size, 2);
}

static VlStatus lower(Imported *x, const Graph **g, Schedule *p) {
  PassResult r;
  VL_TRY(pass_lower(x->g, NULL, x->d, &r));
  *g = sched_expand(r.g, x->a);
  const Named *out = NULL;
  SchedEntry e = {.name = "all", .n_out = ir_outputs(*g, &out)};
  e.out = out;
  return sched_run(*g, &e, 1, 0, x->a, x->d, p);
}

static VlStatus run_natively(void *ctx, Imported *x, const RefTensor *in, RefTensor *out) {
  const Graph *g = NULL;
  const Named *named = NULL;
  Schedule p;
  int64_t sym[DIM_MAX_SYMS] = {0};
  if (ARENA_GUARD(x->a)) return VLPC_E_NOMEM;
  uint32_t n_in = ir_inputs(x->g, &named);
  VL_TRY(lower(x, &g, &p));
  assert_int_equal(ir_inputs(g, &named), n_in);
  plan_bind(g, in, sym);
  Kit kit = kit_open(ctx, p.kernels.at, p.kernels.n);
  plan_run(g, &p, sym, in, out, x->a, run_code, &kit);
  kit_close(&kit);
  return VLPC_OK;
}

static void onnx_node_tests_by_native_code(void **state) {
  (void)state;
  static const char *const lists[] = {VLPC_SOURCE_DIR "/tests/onnx/data/node_test_skips.txt",
                                      NULL};
  char target[16] = "";
  for (int i = 0; kit_target(i); i++) strcpy(target, kit_target(i));
  int every = getenv("VLPC_TEST_LONG") ? 1 : 4;
  NodeCounts n = node_tests_run(&(NodeRunner){"native", run_natively, target}, lists, every);
  assert_int_equal(n.wrong, 0);
  assert_true(n.passed * every > 600);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(onnx_node_tests_by_native_code)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
