/* SPDX-License-Identifier: Apache-2.0 */
/* test_grad.c - what differentiation builds, and what it does not.
**
** A file of golden_grad/ is a graph whose last output is the loss, and after
** `; EXPECT` the graph with the gradients of its float inputs whose names begin
** with p.  What is kept of the way there is all, unless the file's name begins with
** narrow or sums.  With VLPC_BLESS set, the files are rewritten. */
#include "tests/passes/golden_files.h"

static VlStatus differentiate(Graph *g, GradKeep keep, Diag *d, Graph **to) {
  const Named *in = NULL, *out = NULL;
  uint32_t n_in = ir_inputs(g, &in), n_out = ir_outputs(g, &out), n = 0;
  Named *of = arena_array(ir_arena(g), Named, n_in);
  for (uint32_t i = 0; i < n_in; i++)
    if (in[i].name[0] == 'p') of[n++] = in[i];
  return pass_grad(g, &(GradSpec){out[n_out - 1].v, of, n, PASS_GRAD, keep, 0}, d, to);
}

static GradKeep keep_of(const char *file) {
  return strncmp(file, "narrow", 6) == 0 ? GRAD_KEEP_narrow
         : strncmp(file, "sums", 4) == 0 ? GRAD_KEEP_sums
                                         : GRAD_KEEP_all;
}

/* ---- golden files --------------------------------------------------------- */

static const char *outcome(Arena *a, const char *name, const char *text, size_t n) {
  Graph *to = NULL;
  Diag *d = diag_new();
  Graph *g = graph_of(a, name, text, n);
  if (differentiate(g, keep_of(name), d, &to) != VLPC_OK) fail_msg("%s", diag_text(d));
  diag_free(d);
  Str faults = {.arena = a};
  if (!ir_verify(to, SPEC_CORE, &faults)) fail_msg("%s: %s", name, str_text(&faults));
  return text_of(to);
}

static void test_golden_files(void **state) {
  golden_files(*state, VLPC_TEST_DIR "/golden_grad", 7, outcome);
}

/* ---- what is refused ------------------------------------------------------ */

static void refused(Arena *a, const char *text, const char *want) {
  Graph *to = NULL;
  Diag *d = diag_new();
  Graph *g = graph_of(a, "t.vl", text, strlen(text));
  assert_int_not_equal(differentiate(g, GRAD_KEEP_all, d, &to), VLPC_OK);
  assert_string_equal(diag_text(d), want);
  diag_free(d);
}

static void test_refusals(void **state) {
  refused(*state,
          "graph {\n %p = input {name=\"p\"} : f32[2,3]\n"
          " %q = reduce_prod %p {axes=[1]} : f32[2] @\"/head/Prod\"\n"
          " %l = reduce_sum %q {axes=[0]} : f32[]\n out \"loss\" %l\n}\n",
          "vlpc: error[E0480]: t.vl: node '/head/Prod': no gradient passes reduce_prod\n"
          "  found:    it lies between the trainable 'p' and the loss\n"
          "  fix:      stop the gradient before it, or compute the same without it\n");
  refused(*state,
          "graph {\n sym n\n %p = input {name=\"p\"} : f32[n,1]\n out \"loss\" %p\n}\n",
          "vlpc: error[E0481]: the loss is not one float number\n"
          "  found:    f32[n,1]\n"
          "  expected: a float type with one element\n"
          "  fix:      end the loss with a sum or a mean\n");
  refused(*state,
          "graph {\n %p = input {name=\"p\"} : i64[]\n %x = input {name=\"x\"} : f32[]\n"
          " out \"loss\" %x\n}\n",
          "vlpc: error[E0482]: 'p' cannot be trained\n"
          "  found:    i64\n"
          "  expected: a float type\n");
}

/* A node without a rule that only frozen values pass, or that leads past the
** loss, is nobody's business. */
static void test_inactive_nodes_need_no_rule(void **state) {
  static const char text[] =
      "graph {\n %p = input {name=\"p\"} : f32[2]\n %x = input {name=\"x\"} : f32[2,3]\n"
      " %f = reduce_prod %x {axes=[1]} : f32[2]\n %side = reduce_prod %p {axes=[0]} : f32[]\n"
      " %y = mul %p, %f : f32[2]\n %l = reduce_sum %y {axes=[0]} : f32[]\n"
      " out \"side\" %side\n out \"loss\" %l\n}\n";
  Graph *to = NULL;
  Graph *g = graph_of(*state, "t.vl", text, strlen(text));
  assert_int_equal(differentiate(g, GRAD_KEEP_all, NULL, &to), VLPC_OK);
  const Named *out = NULL;
  assert_int_equal(ir_outputs(to, &out), 3);
  assert_string_equal(out[2].name, "grad.p");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_golden_files),
      TEST(test_refusals),
      TEST(test_inactive_nodes_need_no_rule),
  };
  return cmocka_run_group_tests_name("passes_grad", tests, NULL, NULL);
}
