/* SPDX-License-Identifier: Apache-2.0 */
/* test_switches.c - linked prompt methods with every pass and rewrite left out, one after
** another: the results stay those of the formulas.
**
** The compiler itself says which switches there are, so none is forgotten. */
#include <stdlib.h>
#include <string.h>

#include "tests/e2e/e2e_kit.h"
#include "tests/prompts/linked_kit.h"

enum { SWITCHES_MOST = 64, EACH = 20 /* of the pairs, unless the test is long */ };

/* The names that "expected: a, b, …" lists when one is asked for that there is not. */
static uint32_t list_switches(const Host *h, const char **out) {
  vlpc_compile_options o = {.struct_size = sizeof o, .models = {h->clip}, .passes = "--no-?"};
  uint32_t n = 0;
  o.output = e2e_file("none.vlpc");
  assert_int_equal(vlpc_compile(e2e_compiler, &o), VLPC_E_INVALID_ARG);
  char *at = strstr(arena_strdup(e2e, vlpc_compiler_error(e2e_compiler)), "expected: ");
  assert_non_null(at);
  for (char *rest, *word = strtok_r(at + strlen("expected: "), ", \n", &rest); word != NULL;
       word = strtok_r(NULL, ", \n", &rest)) {
    assert_true(n < SWITCHES_MOST);
    out[n++] = arena_printf(e2e, "--no-%s", word);
  }
  return n;
}

/* Cases and switches go round, so that each switch meets a few methods, and each method a
** few switches. */
static void test_every_switch_keeps_the_results(void **state) {
  (void)state;
  assert_false(ARENA_GUARD(e2e));
  const char *want = getenv("VLPC_TEST_LONG"), *off[SWITCHES_MOST];
  uint32_t each = want != NULL && strcmp(want, "1") == 0 ? 1 : EACH, n_ran = 0;
  Host h = linked_tiny("ref");
  PromptCase *c;
  uint32_t n_off = list_switches(&h, off), n = prompt_cases(e2e, LINKED_DATA "cases.txt", &c);
  assert_true(n_off > 20 && n > 30);
  for (uint32_t i = 0; i < n; i++) {
    const char *module = linked_module(&h, &c[i]), *name = c[i].name;
    Npz z = linked_golden(name);
    for (uint32_t k = (each - i % each) % each; k < n_off; k += each, n_ran++) {
      h.passes = off[k];
      c[i].name = arena_printf(e2e, "%s %s", name, off[k]);
      linked_case(&h, &c[i], module, &z);
    }
  }
  assert_true(n_ran >= n * n_off / EACH - n);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_switch_keeps_the_results)};
  return cmocka_run_group_tests(tests, e2e_set_up, e2e_tear_down);
}
