/* SPDX-License-Identifier: Apache-2.0 */
/* e2e_again.c - artifacts compiled again: the same results as from the ONNX files,
** with and without prompts, and damaged tables of constants refused. */
#include "tests/e2e/e2e_kit.h"

#include <string.h>

#include "base/str.h"
#include "runtime/artifact.h"

static const char *compiled(const char *model, const char *second, const char *prompt,
                            const char *output) {
  vlpc_compile_options o = {.prompt = prompt, .train = prompt != NULL};
  o.models[0] = model, o.models[1] = second;
  return e2e_compile(o, output);
}

static const char *tiny(const char *tower) {
  return arena_printf(e2e, "%s/%s.onnx", e2e_tiny("tiny", true, 17), tower);
}

static Section section_of(const char *path, SectionKind kind, ArtifactFile *f) {
  Diag *d = diag_new();
  assert_int_equal(artifact_map(path, d, f), VLPC_OK);
  diag_free(d);
  return artifact_section(f, kind);
}

/* ---- results ---------------------------------------------------------------- */

static void equal_outputs(const char *a, const char *b, const char *entry, const char *name) {
  Npz in = tiny_inputs(3, 2);
  Line x = line_open(a, (vlpc_session_options){0}), y = line_open(b, (vlpc_session_options){0});
  line_run(&x, entry, &in);
  line_run(&y, entry, &in);
  vlpc_tensor s = line_output(&x, entry, name), t = line_output(&y, entry, name);
  assert_int_equal(tensor_count(&s), tensor_count(&t));
  same_bits(s.data, t.data, (size_t)tensor_count(&s) * sizeof(float), name);
  line_close(&x);
  line_close(&y);
}

static void an_artifact_compiles_again(void **state) {
  (void)state;
  const char *a = compiled(tiny("image"), tiny("text"), NULL, "a.vlpc");
  const char *b = compiled(a, NULL, NULL, "b.vlpc");
  const char *c = compiled(b, NULL, NULL, "c.vlpc");
  equal_outputs(a, b, "image", "image_features");
  equal_outputs(a, b, "text", "text_features");
  same_files(b, c);
}

static void names_and_companions_stay(void **state) {
  (void)state;
  ArtifactFile x, y;
  const char *a = e2e_small_clip("tokenizer.json");
  const char *b = compiled(a, NULL, NULL, "small_again.vlpc");
  static const SectionKind kinds[] = {SECTION_manifest, SECTION_tokenizer, SECTION_preprocess,
                                      SECTION_provenance};
  for (size_t i = 0; i < VL_COUNT(kinds); i++) {
    Section s = section_of(a, kinds[i], &x), t = section_of(b, kinds[i], &y);
    assert_int_equal(s.bytes, t.bytes);
    assert_true(s.bytes > 0);
    assert_memory_equal(s.at, t.at, s.bytes);
    artifact_unmap(&x);
    artifact_unmap(&y);
  }
}

/* Programs, weights and the base hash are those of the ONNX files. */
static void prompts_link_into_an_artifact(void **state) {
  (void)state;
  vlpc_prompt_options p = {.struct_size = sizeof p, .method = "maple", .depth = 2, .length = 2};
  p.output = e2e_file("maple.onnx");
  const char *a = compiled(tiny("image"), tiny("text"), NULL, "a.vlpc");
  p.models[0] = a;
  e2e_ok(vlpc_prompt_write(e2e_compiler, &p));
  const char *from_onnx = compiled(tiny("image"), tiny("text"), p.output, "onnx.vlpc");
  const char *from_file = compiled(a, NULL, p.output, "file.vlpc");
  static const SectionKind kinds[] = {SECTION_manifest, SECTION_kernels};
  for (size_t i = 0; i < VL_COUNT(kinds); i++) {
    ArtifactFile x, y;
    Section s = section_of(from_onnx, kinds[i], &x), t = section_of(from_file, kinds[i], &y);
    assert_int_equal(s.bytes, t.bytes);
    assert_memory_equal(s.at, t.at, s.bytes);
    artifact_unmap(&x);
    artifact_unmap(&y);
  }
  /* and a prompted artifact still has its towers */
  same_files(compiled(a, NULL, NULL, "b.vlpc"),
             compiled(from_file, NULL, NULL, "unprompted.vlpc"));
}

/* ---- damage ------------------------------------------------------------------- */

/* The artifact `from` with other text in its section graph. */
static const char *with_graph(const char *from, const char *text, size_t n) {
  ArtifactFile f;
  ArtifactWriter *w = NULL;
  Diag *d = diag_new();
  const char *to = e2e_file("damaged.vlpc");
  assert_int_equal(artifact_map(from, d, &f), VLPC_OK);
  assert_int_equal(artifact_writer_open(to, d, &w), VLPC_OK);
  for (SectionKind k = SECTION_manifest; k < SECTION__END; k++) {
    Section s = artifact_section(&f, k);
    if (k == SECTION_graph) s = (Section){(const uint8_t *)text, n};
    if (s.at) assert_int_equal(artifact_writer_section(w, k, s.at, (size_t)s.bytes), VLPC_OK);
  }
  assert_int_equal(artifact_writer_commit(w), VLPC_OK);
  artifact_unmap(&f);
  diag_free(d);
  return to;
}

static void refused(const char *model, const char *want) {
  vlpc_compile_options o = {.struct_size = sizeof o, .output = e2e_file("no.vlpc")};
  o.models[0] = model;
  assert_int_not_equal(vlpc_compile(e2e_compiler, &o), VLPC_OK);
  const char *got = vlpc_compiler_error(e2e_compiler);
  if (!strstr(got, want)) fail_msg("%s\nlacks %s", got, want);
}

static void damaged_tables_are_refused(void **state) {
  (void)state;
  static const char malformed[] =
      "error[E0507]: %s: section graph: a row of the table of constants is malformed";
  static const struct {
    const char *from, *to; /* in the text; from "": to goes before all of it */
  } damage[] = {
      {"", "; weight\n"},
      {"", "; weight %1 plain 0 4 more\n"},
      {"", "; weight %0 plain 0 4\n"},
      {"", "; weight %999999 plain 0 4\n"},
      {"", "; weight 1 plain 0 4\n"},
      {"", "; wait %1 plain 0 4\n"},
      {"", "; weight %1 sideways 0 4\n"},
      {"", "; weight %1 plain 1 4\n"},
      {"", "; weight %1 plain -64 4\n"},
      {"", "; weight %1 plain 9223372036854775807 4\n"},
      {"", "; kept %1 plain 0 99999999999999\n"},
      {"", "; weight %1 plain 0 4\n"}, /* not the value's bytes */
  };
  ArtifactFile f;
  const char *a = compiled(tiny("image"), tiny("text"), NULL, "a.vlpc");
  Section s = section_of(a, SECTION_graph, &f);
  const char *text = arena_strndup(e2e, (const char *)s.at, (size_t)s.bytes);
  artifact_unmap(&f);
  const char *want = arena_printf(e2e, malformed, e2e_file("damaged.vlpc"));
  for (size_t i = 0; i < VL_COUNT(damage); i++) {
    const char *at = strstr(text, damage[i].from), *rest = at + strlen(damage[i].from);
    assert_non_null(at);
    const char *bad = arena_printf(e2e, "%.*s%s%s", (int)(at - text), text, damage[i].to, rest);
    refused(with_graph(a, bad, strlen(bad)), want);
  }
  const char *second = strchr(text, '\n') + 1;
  refused(with_graph(a, second, strlen(second)), "the table of constants is not whole");
}

static void what_was_rounded_or_packed_is_refused(void **state) {
  (void)state;
  vlpc_compile_options o = {.precision = "bf16", .calibrate = "none"};
  o.models[0] = tiny("image"), o.models[1] = tiny("text");
  refused(e2e_compile(o, "half.vlpc"), "error[E0510]");
  refused(e2e_file("half.vlpc"), "the artifact has rounded weights only (bf16)");
  refused(with_graph(compiled(tiny("image"), tiny("text"), NULL, "a.vlpc"), "", 0),
          "the artifact has no graph of its towers: it was packed");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_artifact_compiles_again),
      cmocka_unit_test(names_and_companions_stay),
      cmocka_unit_test(prompts_link_into_an_artifact),
      cmocka_unit_test(damaged_tables_are_refused),
      cmocka_unit_test(what_was_rounded_or_packed_is_refused),
  };
  return cmocka_run_group_tests(tests, e2e_set_up, e2e_tear_down);
}
