/* SPDX-License-Identifier: Apache-2.0 */
/* test_api.c - the public functions as a program sees them: linked with the
** shared library only. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vlpc/vlpc_compile.h"

/* Written by toy_artifact (an argument of this test) before it starts. */
#define PLAIN TOY_FOLDER "/plain.vlpc"
#define SPEECHLESS TOY_FOLDER "/speechless.vlpc" /* no tokenizer, no roles */

static vlpc_artifact *artifact;
static vlpc_session *session;

static int setup(void **state) {
  (void)state;
  vlpc_session_options o = {.struct_size = sizeof o, .threads = 2,
                            .compiler_library = TOY_COMPILER};
  if (vlpc_artifact_open(PLAIN, NULL, &artifact) != VLPC_OK)
    return print_error("%s", vlpc_artifact_error(artifact)), 1;
  if (vlpc_session_new(artifact, &o, &session) != VLPC_OK)
    return print_error("%s", vlpc_session_error(session)), 1;
  return 0;
}

static int teardown(void **state) {
  (void)state;
  vlpc_session_free(session);
  vlpc_artifact_close(artifact);
  return 0;
}

/* ---- library ------------------------------------------------------------ */

static void the_library_says_what_it_is(void **state) {
  (void)state;
  assert_string_equal(vlpc_version(), "0.1.0");
  assert_string_equal(vlpc_status_name(VLPC_E_MISMATCH), "MISMATCH");
  assert_int_equal(vlpc_status_exit_code(VLPC_E_BAD_FILE), 3);
  vlpc_device_info d = {.struct_size = sizeof d};
  assert_true(vlpc_device(0, &d));
  assert_string_equal(d.name, "cpu");
  assert_true(d.processors >= 1 && strlen(d.target) > 0 && strlen(d.model) > 0);
  assert_true(vlpc_device(1, &d));
  assert_string_equal(d.name, "null");
  assert_false(vlpc_device(2, &d));
}

/* ---- artifact ----------------------------------------------------------- */

static void an_artifact_lists_its_parts(void **state) {
  (void)state;
  static const char *const entries[] = {"sum", "pick", "image", "text", "broken", NULL};
  for (uint32_t i = 0; i < 6; i++) {
    const char *name = vlpc_artifact_entry(artifact, i);
    if (entries[i]) assert_string_equal(name, entries[i]);
    else assert_null(name);
  }
  assert_string_equal(vlpc_artifact_point(artifact, 1), "V.feat");
  assert_null(vlpc_artifact_point(artifact, 2));
  assert_string_equal(vlpc_artifact_class(artifact, 0), "cat");
  assert_string_equal(vlpc_artifact_class(artifact, 1), "dog");
  assert_null(vlpc_artifact_class(artifact, 2));
  vlpc_artifact_info info = {.struct_size = sizeof info};
  assert_true(vlpc_artifact_get_info(artifact, &info));
  assert_string_equal(info.model, "toy");
  assert_string_equal(info.tokenizer, "hf");
  assert_int_equal(info.weight_bytes, 96);
  assert_int_equal(info.n_entries, 5);
  assert_int_equal(info.n_classes, 2);
  assert_int_equal(info.embed_dim, 4);
  assert_true(info.logit_scale == 10);
  assert_false(info.has_code);
  assert_int_equal(vlpc_artifact_verify(artifact), VLPC_OK);
}

static void ports_have_names_and_shapes(void **state) {
  (void)state;
  vlpc_port p = {.struct_size = sizeof p};
  assert_true(vlpc_artifact_port(artifact, "image", VLPC_INPUT, 0, &p));
  assert_string_equal(p.name, "pixels");
  assert_int_equal(p.dtype, VLPC_F32);
  assert_int_equal(p.rank, 4);
  assert_int_equal(p.shape[0], -1);
  assert_string_equal(p.symbol[0], "batch");
  assert_int_equal(p.shape[3], 8);
  assert_null(p.symbol[3]);
  assert_string_equal(p.aliases[0], "pixel_values");
  assert_string_equal(p.aliases[1], "image");
  assert_null(p.aliases[2]);
  assert_false(vlpc_artifact_port(artifact, "image", VLPC_INPUT, 1, &p));
  assert_false(vlpc_artifact_port(artifact, "none", VLPC_INPUT, 0, &p));
  assert_true(vlpc_artifact_port(artifact, "broken", VLPC_OUTPUT, 0, &p));
  assert_string_equal(p.symbol[0], "2*half + 1");
}

static void sections_can_be_looked_at(void **state) {
  (void)state;
  vlpc_section s = {.struct_size = sizeof s};
  uint32_t n = 0;
  for (; vlpc_artifact_section(artifact, n, &s); n++) {
    assert_int_equal(strlen(s.hash), 32);
    assert_int_equal(s.offset % 4096, 0);
    if (strcmp(s.name, "kernels") == 0) assert_memory_equal(s.data, "toy!", 4);
  }
  assert_int_equal(n, 7);
}

/* ---- misuse ------------------------------------------------------------- */

static void objects_of_failed_calls_have_a_text(void **state) {
  vlpc_artifact *a;
  vlpc_session *s;
  (void)state;
  assert_int_equal(vlpc_artifact_open("/nowhere/x.vlpc", NULL, &a), VLPC_E_IO);
  assert_non_null(strstr(vlpc_artifact_error(a), "vlpc: error[E0101]: /nowhere/x.vlpc: "));
  assert_non_null(strstr(vlpc_artifact_error_json(a), "\"E0101\""));
  assert_null(vlpc_artifact_entry(a, 0));
  assert_int_equal(vlpc_artifact_verify(a), VLPC_E_INVALID_ARG);
  assert_int_equal(vlpc_session_new(a, NULL, &s), VLPC_E_INVALID_ARG);
  assert_non_null(strstr(vlpc_session_error(s), "the artifact is not open"));
  assert_int_equal(vlpc_session_run(s, "sum"), VLPC_E_INVALID_ARG);
  vlpc_session_free(s);
  vlpc_artifact_close(a);
  assert_int_equal(vlpc_artifact_open(NULL, NULL, &a), VLPC_E_INVALID_ARG);
  assert_non_null(strstr(vlpc_artifact_error(a), "path is NULL"));
  vlpc_artifact_close(a);
}

static void null_is_taken_everywhere(void **state) {
  vlpc_artifact_info ai = {.struct_size = sizeof ai};
  vlpc_session_info si = {.struct_size = sizeof si};
  float f[4];
  (void)state;
  assert_int_equal(vlpc_artifact_open(PLAIN, NULL, NULL), VLPC_E_INVALID_ARG);
  vlpc_artifact_close(NULL);
  assert_string_equal(vlpc_artifact_error(NULL), "");
  assert_false(vlpc_artifact_get_info(NULL, &ai));
  assert_false(vlpc_artifact_get_info(artifact, NULL));
  assert_null(vlpc_artifact_entry(NULL, 0));
  assert_int_equal(vlpc_session_new(artifact, NULL, NULL), VLPC_E_INVALID_ARG);
  vlpc_session_free(NULL);
  assert_string_equal(vlpc_session_error(NULL), "");
  assert_false(vlpc_session_get_info(NULL, &si));
  assert_int_equal(vlpc_session_run(NULL, "sum"), VLPC_E_INVALID_ARG);
  assert_int_equal(vlpc_session_run(session, NULL), VLPC_E_INVALID_ARG);
  assert_int_equal(vlpc_session_set_input(session, "sum", "a", NULL), VLPC_E_INVALID_ARG);
  assert_int_equal(vlpc_session_output(session, NULL, NULL, NULL), VLPC_E_INVALID_ARG);
  assert_int_equal(vlpc_classify(session, NULL, 1, f), VLPC_E_INVALID_ARG);
  assert_int_equal(vlpc_embed_texts(session, NULL, 1, f), VLPC_E_INVALID_ARG);
  assert_int_equal(vlpc_session_set_prompts(NULL, NULL), VLPC_E_INVALID_ARG);
  assert_int_equal(vlpc_session_set_prompts(session, NULL), VLPC_OK);
  assert_int_equal(vlpc_session_forget_prompts(NULL, NULL), VLPC_E_INVALID_ARG);
  assert_int_equal(vlpc_session_forget_prompts(session, NULL), VLPC_OK);
  assert_int_equal(vlpc_prompts_open("x", NULL), VLPC_E_INVALID_ARG);
  assert_false(vlpc_prompts_get_info(NULL, NULL));
  assert_false(vlpc_prompts_tensor(NULL, 0, NULL, NULL));
  assert_null(vlpc_prompts_class(NULL, 0));
  assert_string_equal(vlpc_prompts_error(NULL), "");
  assert_string_equal(vlpc_prompts_error_json(NULL), "[]");
  vlpc_prompts_close(NULL);
  assert_false(vlpc_artifact_module(NULL, NULL));
  assert_false(vlpc_artifact_trainable(NULL, 0, NULL));
  assert_int_equal(vlpc_compile(NULL, NULL), VLPC_E_INVALID_ARG);
  assert_string_equal(vlpc_compiler_error(NULL), "");
  assert_string_equal(vlpc_compiler_version(NULL), "");
  vlpc_compiler_close(NULL);
}

static void option_structs_of_other_ages_work(void **state) {
  (void)state;
  vlpc_session *s;
  struct {
    vlpc_session_options o;
    uint64_t later;
  } newer = {.o = {.struct_size = sizeof newer, .compiler_library = TOY_COMPILER}};
  assert_int_equal(vlpc_session_new(artifact, &newer.o, &s), VLPC_OK); /* unset: fine */
  vlpc_session_free(s);
  newer.later = 1;
  assert_int_equal(vlpc_session_new(artifact, &newer.o, &s), VLPC_E_INVALID_ARG);
  assert_non_null(strstr(vlpc_session_error(s), "vlpc_session_options"));
  vlpc_session_free(s);
  newer.o.struct_size = 0;
  assert_int_equal(vlpc_session_new(artifact, &newer.o, &s), VLPC_E_INVALID_ARG);
  vlpc_session_free(s);
  newer.o.struct_size = offsetof(vlpc_session_options, threads); /* an older program */
  newer.o.threads = -7;
  assert_int_equal(vlpc_session_new(artifact, &newer.o, &s), VLPC_OK);
  vlpc_session_free(s);
  struct {
    size_t struct_size;
    const char *device;
  } older = {.struct_size = sizeof older};
  assert_true(vlpc_session_get_info(session, (vlpc_session_info *)(void *)&older));
  assert_string_equal(older.device, "cpu");
}

/* ---- the easy path ------------------------------------------------------ */

/* Features the toy makes of 8 x 8 pixels that are all v: four equal numbers. */
static void photos_become_unit_features(void **state) {
  uint8_t rgb[20 * 10 * 3];
  float out[40 * 4], one[4], pixels[3 * 8 * 8];
  vlpc_image im[40];
  (void)state;
  for (size_t i = 0; i < sizeof rgb; i++) rgb[i] = (uint8_t)(i * 7 % 251);
  for (int i = 0; i < 40; i++) im[i] = (vlpc_image){.rgb = rgb, .width = 20, .height = 10};
  im[39].width = 10, im[39].height = 20;
  assert_int_equal(vlpc_preprocess(session, &im[0], pixels), VLPC_OK);
  double sum[4] = {0}, norm = 0;
  float fold[4] = {0};
  for (int i = 0; i < 192; i++) fold[i % 4] += pixels[i];
  for (int i = 0; i < 4; i++) sum[i] = (double)fold[i], norm += sum[i] * sum[i];
  assert_int_equal(vlpc_embed_images(session, im, 40, out), VLPC_OK);
  for (int i = 0; i < 4; i++) assert_true(fabs((double)out[i] - sum[i] / sqrt(norm)) < 1e-7);
  for (int i = 1; i < 39; i++) assert_memory_equal(out + 4 * i, out, 16);
  assert_int_equal(vlpc_embed_images(session, &im[39], 1, one), VLPC_OK);
  assert_memory_equal(out + 4 * 39, one, 16); /* alone or in a batch */
}

static void labels_give_probabilities(void **state) {
  static const char *const labels[] = {"cat", "dog", "airplane"};
  uint8_t rgb[8 * 8 * 3];
  float p[6], t[3 * 4], f[4];
  (void)state;
  for (size_t i = 0; i < sizeof rgb; i++) rgb[i] = (uint8_t)(i * 31 % 256);
  vlpc_image im[2] = {{.rgb = rgb, .width = 8, .height = 8}, {.rgb = rgb, .width = 8, .height = 8}};
  assert_int_equal(vlpc_classify(session, im, 1, p), VLPC_E_INVALID_ARG);
  assert_non_null(strstr(vlpc_session_error(session), "call vlpc_set_labels first"));
  assert_int_equal(vlpc_set_labels(session, labels, 3, "a photo of a {}."), VLPC_OK);
  assert_int_equal(vlpc_classify(session, im, 2, p), VLPC_OK);
  static const char *const texts[] = {"a photo of a cat.", "a photo of a dog.",
                                      "a photo of a airplane."};
  assert_int_equal(vlpc_embed_texts(session, texts, 3, t), VLPC_OK);
  assert_int_equal(vlpc_embed_images(session, im, 1, f), VLPC_OK);
  double e[3], sum = 0;
  for (int i = 0; i < 3; i++) {
    double dot = 0;
    for (int k = 0; k < 4; k++) dot += (double)f[k] * (double)t[4 * i + k];
    sum += e[i] = exp(10 * dot);
  }
  for (int i = 0; i < 3; i++) assert_true(fabs((double)p[i] - e[i] / sum) < 1e-5);
  assert_memory_equal(p, p + 3, 12);
}

static void bad_labels_are_refused(void **state) {
  static const char *const empty[] = {"cat", ""};
  static const char *const bytes[] = {"\xff\xfe"};
  (void)state;
  assert_int_equal(vlpc_set_labels(session, NULL, 0, NULL), VLPC_E_INVALID_ARG);
  assert_int_equal(vlpc_set_labels(session, empty, 2, NULL), VLPC_E_INVALID_ARG);
  assert_non_null(strstr(vlpc_session_error(session), "a label is empty"));
  assert_int_equal(vlpc_set_labels(session, empty, 1, "no place"), VLPC_E_INVALID_ARG);
  assert_non_null(strstr(vlpc_session_error(session), "a text with {}"));
  assert_int_equal(vlpc_set_labels(session, bytes, 1, NULL), VLPC_E_BAD_FILE);
  assert_non_null(strstr(vlpc_session_error(session), "error[E0806]"));
}

static void the_bad_photo_of_many_is_named(void **state) {
  uint8_t rgb[3] = {0};
  float out[3 * 4];
  vlpc_image im[3] = {{.rgb = rgb, .width = 1, .height = 1}, {.path = "/nowhere/p.jpg"}, {0}};
  (void)state;
  assert_int_equal(vlpc_embed_images(session, im, 2, out), VLPC_E_IO);
  assert_non_null(strstr(vlpc_session_error(session), "/nowhere/p.jpg"));
  assert_int_equal(vlpc_embed_images(session, im, 3, out), VLPC_E_INVALID_ARG);
  assert_non_null(strstr(vlpc_session_error(session), "neither a path nor pixels"));
  im[2] = (vlpc_image){.rgb = rgb, .width = 1, .height = 100000};
  assert_int_equal(vlpc_embed_images(session, im + 2, 1, out), VLPC_E_INVALID_ARG);
}

static void texts_become_ids(void **state) {
  int64_t ids[16];
  uint32_t n;
  (void)state;
  assert_int_equal(vlpc_tokenize(session, "a photo of a cat.", ids, 16, &n), VLPC_OK);
  assert_true(n > 3 && n <= 16);
  assert_int_equal(vlpc_tokenize(session, "a", ids, 15, &n), VLPC_E_LIMIT);
  assert_non_null(strstr(vlpc_session_error(session), "room for 15"));
}

static void missing_parts_are_named(void **state) {
  vlpc_artifact *a;
  vlpc_session *s;
  vlpc_session_options o = {.struct_size = sizeof o, .compiler_library = TOY_COMPILER};
  static const char *const labels[] = {"cat"};
  float out[4];
  int64_t ids[16];
  uint32_t n;
  (void)state;
  assert_int_equal(vlpc_artifact_open(SPEECHLESS, NULL, &a), VLPC_OK);
  assert_int_equal(vlpc_session_new(a, &o, &s), VLPC_OK);
  assert_int_equal(vlpc_set_labels(s, labels, 1, NULL), VLPC_E_UNSUPPORTED);
  assert_non_null(strstr(vlpc_session_error(s), "error[E0913]"));
  assert_non_null(strstr(vlpc_session_error(s), "no text entry"));
  assert_int_equal(vlpc_embed_images(s, NULL, 0, out), VLPC_E_INVALID_ARG);
  assert_int_equal(vlpc_tokenize(s, "a", ids, 16, &n), VLPC_E_UNSUPPORTED);
  assert_non_null(strstr(vlpc_session_error(s), "--tokenizer FILE"));
  vlpc_session_free(s);
  vlpc_artifact_close(a);
}

/* ---- the compiler ------------------------------------------------------- */

static void the_compiler_is_opened_when_asked_for(void **state) {
  vlpc_compiler *c;
  const char *text;
  vlpc_compiler_options o = {.struct_size = sizeof o, .library = TOY_COMPILER};
  (void)state;
  assert_int_equal(vlpc_compiler_open(&o, &c), VLPC_OK);
  assert_string_equal(vlpc_compiler_version(c), "toy");
  assert_string_equal(vlpc_compile_report(c, VLPC_TEXT), "");
  vlpc_compile_options co = {.struct_size = sizeof co, .models = {"m.onnx"}, .output = "o.vlpc"};
  assert_int_equal(vlpc_compile(c, &co), VLPC_E_IO);
  assert_non_null(strstr(vlpc_compiler_error(c), "m.onnx: the toy compiles nothing"));
  assert_string_equal(vlpc_compile_report(c, VLPC_TEXT), "nothing fused");
  assert_string_equal(vlpc_compile_report(c, VLPC_JSON), "{}");
  assert_int_equal(vlpc_compile_emit(c, &co, "normal", &text), VLPC_OK);
  assert_string_equal(text, "normal");
  assert_int_equal(vlpc_compile_inspect(c, "x.onnx", VLPC_TEXT, &text), VLPC_OK);
  assert_string_equal(text, "x.onnx");
  co.models[0] = NULL;
  assert_int_equal(vlpc_compile(c, &co), VLPC_E_INVALID_ARG);
  vlpc_prompt_options po = {.struct_size = sizeof po, .method = "coop", .output = "coop.onnx"};
  assert_int_equal(vlpc_prompt_write(c, &po), VLPC_OK);
  po.output = NULL;
  assert_int_equal(vlpc_prompt_write(c, &po), VLPC_E_INVALID_ARG);
  assert_non_null(strstr(vlpc_compiler_error(c), "struct_size, method and output"));
  assert_int_equal(vlpc_prompt_list(c, VLPC_JSON, &text), VLPC_OK);
  assert_string_equal(text, "toy");
  assert_int_equal(vlpc_prompt_list(c, VLPC_JSON, NULL), VLPC_E_INVALID_ARG);
  const int64_t sizes[] = {5};
  vlpc_step_info step = {.kernel = 0, .sizes = sizes, .n_sizes = 1};
  vlpc_kernel_info ki = {.struct_size = sizeof ki};
  assert_int_equal(vlpc_kernel_describe(c, artifact, &step, &ki), VLPC_OK);
  assert_string_equal(ki.text, "toy add");
  assert_int_equal(ki.flops, 5);
  vlpc_found_device d = {.struct_size = sizeof d};
  int32_t more = 0;
  assert_int_equal(vlpc_compiler_device(c, 0, &d, &more), VLPC_OK);
  assert_true(more == 1 && strcmp(d.name, "toy:0") == 0 && d.memory_bytes == 7);
  assert_int_equal(vlpc_compiler_device(c, 1, &d, &more), VLPC_OK);
  assert_int_equal(more, 0);
  assert_int_equal(vlpc_compiler_device(c, 0, NULL, &more), VLPC_E_INVALID_ARG);
  assert_int_equal(vlpc_compiler_device(NULL, 0, &d, &more), VLPC_E_INVALID_ARG);
  d.struct_size = 1;
  assert_int_equal(vlpc_compiler_device(c, 0, &d, &more), VLPC_E_INVALID_ARG);
  vlpc_compiler_close(c);
}

static void a_missing_compiler_says_what_to_do(void **state) {
  vlpc_compiler *c;
  vlpc_compiler_options o = {.struct_size = sizeof o, .library = "/nowhere/lib.so"};
  (void)state;
  assert_int_equal(vlpc_compiler_open(&o, &c), VLPC_E_CODEGEN);
  assert_non_null(strstr(vlpc_compiler_error(c), "error[E0604]: /nowhere/lib.so"));
  assert_non_null(strstr(vlpc_compiler_error(c), "install libvlpc-compiler"));
  assert_string_equal(vlpc_compiler_version(c), "");
  assert_int_equal(vlpc_compile(c, NULL), VLPC_E_INVALID_ARG);
  vlpc_compiler_close(c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_library_says_what_it_is),
      cmocka_unit_test(an_artifact_lists_its_parts),
      cmocka_unit_test(ports_have_names_and_shapes),
      cmocka_unit_test(sections_can_be_looked_at),
      cmocka_unit_test(objects_of_failed_calls_have_a_text),
      cmocka_unit_test(null_is_taken_everywhere),
      cmocka_unit_test(option_structs_of_other_ages_work),
      cmocka_unit_test(photos_become_unit_features),
      cmocka_unit_test(labels_give_probabilities),
      cmocka_unit_test(bad_labels_are_refused),
      cmocka_unit_test(the_bad_photo_of_many_is_named),
      cmocka_unit_test(texts_become_ids),
      cmocka_unit_test(missing_parts_are_named),
      cmocka_unit_test(the_compiler_is_opened_when_asked_for),
      cmocka_unit_test(a_missing_compiler_says_what_to_do),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
