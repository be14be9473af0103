/* SPDX-License-Identifier: Apache-2.0 */
/* opencl_ptx_test.c - instructions that are hidden from NVIDIA's OpenCL compiler: their way
** through its PTX (cl_tensor.h).  Needs no device. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "backends/opencl/cl_tensor.h"

static const char ptx[] =
    ".version 9.0\n.target sm_90, texmode_independent\n"
    "\t" CL_HIDDEN "wgmma.fence.sync.aligned;" CL_HIDDEN_END "\n"
    "\tbar.sync 0; /* plain */\n"
    "\t" CL_HIDDEN "{ .reg .pred p; }" CL_HIDDEN_END "\n";

static void shows(const char *from, const char *want) {
  Arena *a = arena_new(0);
  assert_non_null(a);
  if (ARENA_GUARD(a)) fail_msg("no memory");
  const char *got = cl_tensor_shown(from, a);
  if (want)
    assert_string_equal(got, want);
  else
    assert_null(got);
  arena_free(a);
}

static void test_shown(void **state) {
  (void)state;
  shows(ptx, ".version 9.0\n.target sm_90a, texmode_independent\n"
             "\twgmma.fence.sync.aligned;\n"
             "\tbar.sync 0; /* plain */\n\t{ .reg .pred p; }\n");
  shows(".target sm_90a\n", ".target sm_90a\n");
}

/* What another driver calls a program's binary. */
static void test_not_such_ptx(void **state) {
  (void)state;
  shows("", NULL);
  shows("BC\xc0\xde", NULL);
  shows(".target sm_80\n" CL_HIDDEN "x" CL_HIDDEN_END, NULL);
  shows(".target sm_90\n" CL_HIDDEN "cut off", NULL);
}

/* No instruction stands where the driver's compiler would see it, and with all of them out
** no mark is left. */
static void test_all_hidden(void **state) {
  (void)state;
  Arena *a = arena_new(0);
  assert_non_null(a);
  if (ARENA_GUARD(a)) fail_msg("no memory");
  ClTarget t = {.tensor = TENSOR_PTX, .warpgroups = true};
  Str words = {.arena = a}, all = {.arena = a};
  cl_tensor_words(&t, "VL_WG_BEGIN();", &words);
  int hidden = 0;
  for (const char *p = str_text(&words); (p = strstr(p, "wgmma.")) != NULL; p++) {
    const char *before = p;
    while (before > str_text(&words) && strncmp(before, CL_HIDDEN, sizeof CL_HIDDEN - 1) != 0)
      before--;
    const char *end = strstr(before, CL_HIDDEN_END);
    assert_true(end != NULL && end > p);
    hidden++;
  }
  assert_int_equal(hidden, 3 + 2 * 3);
  str_add(&all, ".target sm_90\n");
  str_add(&all, str_text(&words));
  assert_null(strstr(cl_tensor_shown(str_text(&all), a), "sm_90a "));
  Str others = {.arena = a};
  cl_tensor_words(&t, "VL_MMA(c, a, b0, b1);", &others);
  assert_null(strstr(str_text(&others), CL_HIDDEN));
  arena_free(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_shown),
      cmocka_unit_test(test_not_such_ptx),
      cmocka_unit_test(test_all_hidden),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
