/* SPDX-License-Identifier: Apache-2.0 */
/* test_manager.c - the manager's switches and checks, the report, names,
** entries and joining. */
#include "tests/passes/pass_case.h"

static Graph *parsed(Arena *a, const char *text) {
  return graph_of(a, "test.vl", text, strlen(text));
}

/* softmax(q kᵀ + mask) v of one head; the mask hides the keys of row 0 */
static const char hidden_row[] =
    "graph {\n"
    "  sym n\n"
    "  %1 = input {name=\"q\"} : f32[n,2,4]\n"
    "  %2 = permute %1 {perm=[0,2,1]} : f32[n,4,2]\n"
    "  %3 = matmul %1, %2 : f32[n,2,2] @\"/attn/scores\"\n"
    "  %4 = const {value=[-inf,-inf,0,0]} : f32[2,2]\n"
    "  %5 = add %3, %4 : f32[n,2,2]\n"
    "  %6 = softmax %5 {axis=2} : f32[n,2,2] @\"/attn/softmax\"\n"
    "  %7 = matmul %6, %1 : f32[n,2,4]\n"
    "  out \"y\" %7\n"
    "}\n";

/* ---- table and switches ------------------------------------------------------- */

static void test_passes_have_names(void **state) {
  (void)state;
  PassId p = PASS_none;
  assert_true(pass_find("fuse_attention", &p));
  assert_int_equal(p, PASS_fuse_attention);
  assert_false(pass_find("fuse_attention ", &p));
  assert_string_equal(pass_name(PASS_views), "views");
  for (int i = 1; i < PASS__COUNT; i++) assert_true(strlen(pass_what((PassId)i)) > 10);
}

static uint32_t runs_of(const PassResult *r, PassId p) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < r->n_runs; i++) n += r->run[i].pass == p;
  return n;
}

static void test_skipping_skips_what_needs_it(void **state) {
  PassOpts opt = {.skip = PASS_BIT(views)};
  PassResult r = lowered(parsed(*state, hidden_row), &opt);
  assert_int_equal(runs_of(&r, PASS_views), 0);
  assert_int_equal(runs_of(&r, PASS_fuse_attention), 0);
  assert_int_equal(runs_of(&r, PASS_pack_qkv), 0);
  assert_true(runs_of(&r, PASS_algebra) > 0);
  assert_int_equal(r.report.n[FUSE_attention], 0);
}

static void test_stop_and_bisect(void **state) {
  PassOpts stop = {.stop_after = PASS_index};
  PassResult r = lowered(parsed(*state, hidden_row), &stop);
  assert_int_equal(r.n_runs, 2);
  assert_int_equal(r.run[1].pass, PASS_index);
  PassOpts bisect = {.bisect = 5};
  r = lowered(parsed(*state, hidden_row), &bisect);
  assert_int_equal(r.n_runs, 5);
}

typedef struct {
  uint32_t n;
  const char *pass;
  char text[4000];
} Dump;

static void keep(void *ctx, uint32_t step, const char *pass, const char *text) {
  Dump *d = ctx;
  d->n++;
  d->pass = pass;
  assert_true(step >= 1);
  assert_true(strlen(text) < sizeof d->text);
  strcpy(d->text, text);
}

static void test_dump(void **state) {
  Dump d = {0};
  PassOpts opt = {.dump = PASS_BIT(fuse_attention), .on_dump = keep, .dump_ctx = &d};
  PassResult r = lowered(parsed(*state, hidden_row), &opt);
  assert_int_equal(d.n, runs_of(&r, PASS_fuse_attention));
  assert_string_equal(d.pass, "fuse_attention");
  assert_non_null(strstr(d.text, "attention %1, %1, %1"));
}

static void test_eval_check_names_the_pass(void **state) {
  Diag *d = diag_new();
  PassOpts opt = {.check = PASS_CHECK_EVAL};
  PassResult r;
  /* NaN before, zeros after: the one liberty that is seen */
  assert_int_equal(pass_lower(parsed(*state, hidden_row), &opt, d, &r), VLPC_E_INTERNAL);
  assert_non_null(strstr(diag_text(d), "E0403"));
  assert_non_null(strstr(diag_text(d), "pass fuse_attention: an output changes"));
  assert_non_null(strstr(diag_text(d), "--no-fuse_attention"));
  diag_free(d);
}

static void test_approx_is_asked_for(void **state) {
  const char *text = "graph {\n  %1 = input {name=\"x\"} : f32[3]\n"
                     "  %2 = const {value=[3]} : f32[]\n  %3 = const {value=[0.25]} : f32[]\n"
                     "  %4 = mul %1, %2 : f32[3]\n  %5 = mul %4, %3 : f32[3]\n"
                     "  out \"y\" %5\n}\n";
  PassOpts opt = {.approx = true};
  PassResult r = lowered(parsed(*state, text), &opt);
  assert_non_null(strstr(text_of(r.g), "const {value=[0.75]}"));
  r = lowered(parsed(*state, text), NULL);
  assert_null(strstr(text_of(r.g), "0.75"));
}

/* ---- report ---------------------------------------------------------------------- */

static void test_report_gives_the_reason(void **state) {
  const char *text = "graph {\n  sym n\n  %1 = input {name=\"q\"} : f32[n,2,4]\n"
                     "  %2 = permute %1 {perm=[0,2,1]} : f32[n,4,2]\n"
                     "  %3 = matmul %1, %2 : f32[n,2,2]\n"
                     "  %4 = softmax %3 {axis=1} : f32[n,2,2]  @\"/attn/softmax\"\n"
                     "  %5 = matmul %4, %1 : f32[n,2,4]\n"
                     "  %6 = const {value=[1.5]} : f32[]\n  %7 = mul %5, %6 : f32[n,2,4]\n"
                     "  %8 = sigmoid %7 : f32[n,2,4]  @\"/mlp/gate\"\n"
                     "  %9 = mul %5, %8 : f32[n,2,4]\n  out \"y\" %9\n}\n";
  PassResult r = lowered(parsed(*state, text), NULL);
  Str s = {.arena = *state};
  pass_report_text(&r.report, &s);
  assert_non_null(strstr(str_text(&s), "fused: attention 0/1, gelu 0/1\n"));
  assert_non_null(strstr(str_text(&s), "'/attn/softmax'"));
  assert_non_null(strstr(str_text(&s), ": the softmax does not run over the keys\n"));
  assert_non_null(strstr(str_text(&s), "'/mlp/gate'"));
  assert_non_null(strstr(str_text(&s), ": sigmoid is not taken of 1.702 x\n"));

  Diag *d = diag_new();
  assert_int_equal(pass_require(&r.report, 1u << FUSE_layernorm, d), VLPC_OK);
  assert_int_equal(pass_require(&r.report, 1u << FUSE_attention, d), VLPC_E_UNSUPPORTED);
  assert_int_equal(diag_count(d), 1);
  assert_non_null(strstr(diag_text(d), "E0401"));
  assert_non_null(strstr(diag_text(d), "'/attn/softmax'"));
  assert_non_null(strstr(diag_text(d), "found:    the softmax does not run over the keys"));
  diag_free(d);
}

static void test_a_classifier_is_no_missed_attention(void **state) {
  PassResult r = lowered(parsed(*state, "graph {\n  sym n\n  %1 = input {name=\"x\"} : f32[n,5]\n"
                                        "  %2 = softmax %1 {axis=1} : f32[n,5]\n"
                                        "  %3 = sigmoid %1 : f32[n,5]\n"
                                        "  out \"p\" %2\n  out \"s\" %3\n}\n"), NULL);
  assert_int_equal(r.report.n_miss, 0);
}

static void test_required_kinds_are_words(void **state) {
  (void)state;
  uint32_t set = 0;
  Diag *d = diag_new();
  assert_int_equal(pass_require_parse("attention,gelu", d, &set), VLPC_OK);
  assert_int_equal(set, 1u << FUSE_attention | 1u << FUSE_gelu);
  assert_int_equal(pass_require_parse("attention,gelus", d, &set), VLPC_E_INVALID_ARG);
  assert_non_null(strstr(diag_text(d), "E0402"));
  assert_non_null(strstr(diag_text(d), "'gelus' is nothing that is fused"));
  diag_free(d);
}

/* ---- names, entries, joining -------------------------------------------------------- */

static const char joint[] =
    "graph {\n"
    "  sym a\n  sym b\n  sym m\n"
    "  %1 = input {name=\"pixel_values\"} : f32[a,2,1,1]\n"
    "  %2 = input {name=\"input_ids\"} : i64[b,1]\n"
    "  %3 = input {name=\"mask\"} : i64[m,1]\n"
    "  %4 = const {value=[1,2,3,4]} : f32[2,2]\n"
    "  %5 = gather %4, %2 {axis=0} : f32[b,1,2]\n"
    "  %6 = reshape %5 {dims=[b,2]} : f32[b,2]\n"
    "  %7 = matmul %6, %4 : f32[b,2]\n"
    "  %8 = reshape %1 {dims=[a,2]} : f32[a,2]\n"
    "  %9 = matmul %8, %4 : f32[a,2]\n"
    "  %10 = l2norm %9 {eps=0} : f32[a,2]\n"
    "  %11 = permute %7 {perm=[1,0]} : f32[2,b]\n"
    "  %12 = matmul %10, %11 : f32[a,b]\n"
    "  out \"scores\" %12\n"
    "  out \"txt\" %7\n"
    "}\n";

static const char *alias_of(const PassResult *r, const char *file_name) {
  for (uint32_t i = 0; i < r->n_alias; i++)
    if (strcmp(r->alias[i].file_name, file_name) == 0) return r->alias[i].name;
  return "";
}

static void test_names_and_aliases(void **state) {
  PassResult r = lowered(parsed(*state, joint), NULL);
  assert_string_equal(alias_of(&r, "pixel_values"), "image");
  assert_string_equal(alias_of(&r, "input_ids"), "text");
  assert_string_equal(alias_of(&r, "mask"), "attention_mask");
  assert_string_equal(alias_of(&r, "scores"), "logits_per_image");
  assert_string_equal(alias_of(&r, "txt"), "text_features");
  assert_string_equal(alias_of(&r, "a"), "batch");
  assert_string_equal(alias_of(&r, "b"), "classes");
  assert_int_equal(r.n_alias, 7);
  assert_non_null(strstr(text_of(r.g), "input {name=\"attention_mask\"} : i64[classes,1]"));
}

static void test_entries(void **state) {
  PassResult r = lowered(parsed(*state, joint), NULL);
  PassEntry e[ENTRY_MAX];
  assert_int_equal(pass_entries(r.g, e), 3);
  assert_string_equal(e[0].name, "image");
  assert_int_equal(e[0].n_out, 1);
  assert_string_equal(e[0].out[0].name, "image_features"); /* not an output of the file */
  assert_int_equal(ir_op(r.g, e[0].out[0].v), OP_linear);  /* before normalisation */
  assert_string_equal(e[1].name, "text");
  assert_string_equal(e[1].out[0].name, "text_features");
  assert_string_equal(e[2].name, "model");
  assert_int_equal(e[2].n_out, 2);

  r = lowered(parsed(*state, hidden_row), NULL);
  assert_int_equal(pass_entries(r.g, e), 1);
  assert_string_equal(e[0].name, "model");
}

static void test_join_keeps_sizes_apart(void **state) {
  Graph *x = parsed(*state, "graph {\n  sym n\n  %1 = input {name=\"x\"} : f32[n,2]\n"
                            "  %2 = neg %1 : f32[n,2]\n  out \"u\" %2\n}\n");
  Graph *y = parsed(*state, "graph {\n  sym n\n  %1 = input {name=\"y\"} : f32[n,3]\n"
                            "  %2 = iota {dims=[n]} : i64[n]\n"
                            "  out \"v\" %1\n  out \"w\" %2\n}\n");
  Graph *both = NULL;
  assert_int_equal(pass_join(x, y, *state, NULL, &both), VLPC_OK);
  assert_non_null(strstr(text_of(both), "input {name=\"y\"} : f32[text_n,3]"));
  assert_non_null(strstr(text_of(both), "iota {dims=[text_n]}"));

  Diag *d = diag_new();
  assert_int_equal(pass_join(x, x, *state, d, &both), VLPC_E_MISMATCH);
  assert_non_null(strstr(diag_text(d), "E0404"));
  assert_non_null(strstr(diag_text(d), "named 'x'"));
  diag_free(d);
}

/* ---- graphs that no exporter writes ---------------------------------------------------- */

static void test_long_chains_end(void **state) {
  enum { LONG = 20000 };
  Graph *g = ir_graph_new(*state);
  Val x = ir_input(g, "x", ir_type_fixed(g, VLPC_F32, 3, (int64_t[]){2, 3, 4}));
  Val two = ir_scalar(g, VLPC_F32, 2), sum = x, turned = x, scaled = x;
  for (int i = 0; i < LONG; i++) {
    sum = ir_ew2(g, OP_add, sum, sum);
    scaled = ir_ew2(g, OP_mul, scaled, two);
    turned = ir_permute(g, turned, (int64_t[]){1, 0, 2}, 3);
    turned = ir_reshape(g, turned, ir_type_of(g, x)->dim, 3);
  }
  ir_output(g, "sum", ir_ew1(g, OP_erf, sum));
  ir_output(g, "scaled", scaled);
  ir_output(g, "turned", turned);
  PassOpts opt = {.stop_after = PASS_fuse_attention};
  PassResult r = lowered(g, &opt);
  assert_int_equal(r.report.n[FUSE_gelu], 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_passes_have_names),
      TEST(test_skipping_skips_what_needs_it),
      TEST(test_stop_and_bisect),
      TEST(test_dump),
      TEST(test_eval_check_names_the_pass),
      TEST(test_approx_is_asked_for),
      TEST(test_report_gives_the_reason),
      TEST(test_a_classifier_is_no_missed_attention),
      TEST(test_required_kinds_are_words),
      TEST(test_names_and_aliases),
      TEST(test_entries),
      TEST(test_join_keeps_sizes_apart),
      TEST(test_long_chains_end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
