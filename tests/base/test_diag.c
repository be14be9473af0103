/* SPDX-License-Identifier: Apache-2.0 */
/* test_diag.c - the exact text of messages, escapes, and what is kept. */
#include "base/diag.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static Diag *diag;

static int set_up(void **state) {
  (void)state;
  diag = diag_new();
  return diag == NULL;
}

static int tear_down(void **state) {
  (void)state;
  diag_free(diag);
  return 0;
}

static void test_empty(void **state) {
  (void)state;
  assert_int_equal(diag_count(diag), 0);
  assert_int_equal(diag_status(diag), VLPC_OK);
  assert_string_equal(diag_text(diag), "");
  assert_string_equal(diag_json(diag), "[]");
}

static void test_all_parts(void **state) {
  (void)state;
  DiagAt at = {"clip.onnx", "node 412 '/text/MatMul'"};
  VlStatus status = diag_error(diag, DIAG_NOT_REGULAR, at, "inner sizes %s", "differ");
  diag_found(diag, "%d and %d", 512, 768);
  diag_expected(diag, "equal");
  diag_note(diag, "the weights say 512");
  diag_fix(diag, "export the model again");
  assert_int_equal(status, VLPC_E_BAD_FILE);
  assert_int_equal(diag_status(diag), VLPC_E_BAD_FILE);
  assert_string_equal(diag_text(diag),
                      "vlpc: error[E0106]: clip.onnx: node 412 '/text/MatMul': inner sizes differ\n"
                      "  found:    512 and 768\n"
                      "  expected: equal\n"
                      "  note:     the weights say 512\n"
                      "  fix:      export the model again\n");
  assert_string_equal(diag_json(diag),
                      "[{\"code\":\"E0106\",\"status\":\"BAD_FILE\",\"file\":\"clip.onnx\","
                      "\"place\":\"node 412 '/text/MatMul'\",\"message\":\"inner sizes differ\","
                      "\"found\":\"512 and 768\",\"expected\":\"equal\","
                      "\"note\":\"the weights say 512\",\"fix\":\"export the model again\"}]");
}

static void test_absent_parts(void **state) {
  (void)state;
  diag_found(diag, "dropped: no message yet");
  diag_error(diag, DIAG_USAGE, DIAG_NOWHERE, "no command");
  diag_error(diag, DIAG_OPEN, (DiagAt){"a.onnx", NULL}, "is missing");
  diag_fix(diag, "first");
  diag_fix(diag, "second");
  assert_int_equal(diag_count(diag), 2);
  assert_int_equal(diag_status(diag), VLPC_E_INVALID_ARG);
  assert_string_equal(diag_text(diag), "vlpc: error[E0001]: no command\n"
                                       "vlpc: error[E0101]: a.onnx: is missing\n"
                                       "  fix:      second\n");
  assert_string_equal(diag_json(diag),
                      "[{\"code\":\"E0001\",\"status\":\"INVALID_ARG\",\"file\":null,"
                      "\"place\":null,\"message\":\"no command\",\"found\":null,"
                      "\"expected\":null,\"note\":null,\"fix\":null},"
                      "{\"code\":\"E0101\",\"status\":\"IO\",\"file\":\"a.onnx\","
                      "\"place\":null,\"message\":\"is missing\",\"found\":null,"
                      "\"expected\":null,\"note\":null,\"fix\":\"second\"}]");
}

static void test_hostile_names_stay_on_their_line(void **state) {
  (void)state;
  DiagAt at = {"a\nvlpc: error[E0001]: forged", "\x1b[31m\x7f\t\r"};
  diag_error(diag, DIAG_READ, at, "%s", "\xff\xc3\xa9\xe2\x80\xae\xc2\x9b\"\\");
  assert_string_equal(diag_text(diag), "vlpc: error[E0102]: a\\nvlpc: error[E0001]: forged: "
                                       "\\x1b[31m\\x7f\\t\\r: "
                                       "\\xff\xc3\xa9\\u202e\\u009b\"\\\n");
  assert_non_null(strstr(diag_json(diag), "\"a\\nvlpc: error[E0001]: forged\""));
  assert_non_null(strstr(diag_json(diag), "\"\\u001b[31m\\u007f\\t\\r\""));
  assert_non_null(strstr(diag_json(diag), "\"\xef\xbf\xbd\xc3\xa9\xe2\x80\xae\xc2\x9b\\\"\\\\\""));
}

static void test_only_the_first_twenty_are_kept(void **state) {
  (void)state;
  for (int i = 1; i <= 23; i++) {
    diag_error(diag, DIAG_READ, DIAG_NOWHERE, "error %d", i);
    diag_note(diag, "note %d", i);
  }
  const char *text = diag_text(diag);
  assert_int_equal(diag_count(diag), 23);
  assert_non_null(strstr(text, "error 20\n  note:     note 20\nvlpc: and 3 more errors\n"));
  assert_null(strstr(text, "error 21"));
  assert_null(strstr(text, "note 21"));
  assert_null(strstr(diag_json(diag), "error 21"));
}

static void test_one_more(void **state) {
  (void)state;
  for (int i = 1; i <= DIAG_MAX + 1; i++) diag_error(diag, DIAG_READ, DIAG_NOWHERE, "x");
  const char *text = diag_text(diag), *end = "x\nvlpc: and 1 more error\n";
  assert_string_equal(text + strlen(text) - strlen(end), end);
}

static void test_clear(void **state) {
  (void)state;
  diag_error(diag, DIAG_READ, DIAG_NOWHERE, "old");
  diag_note(diag, "old");
  diag_clear(diag);
  assert_string_equal(diag_text(diag), "");
  diag_error(diag, DIAG_OPEN, DIAG_NOWHERE, "new");
  assert_string_equal(diag_text(diag), "vlpc: error[E0101]: new\n");
}

static void test_long_parts_are_cut_between_characters(void **state) {
  (void)state;
  char name[3000], want[600];
  for (size_t i = 0; i + 1 < sizeof name; i += 2) memcpy(name + i, "\xc3\xa9", 2);
  name[sizeof name - 2] = '\0';
  diag_error(diag, DIAG_READ, DIAG_NOWHERE, "%s", name);
  snprintf(want, sizeof want, "vlpc: error[E0102]: %.508s\xe2\x80\xa6\n", name);
  assert_string_equal(diag_text(diag), want);
}

/* A part shows 511 bytes; one byte more and the text is cut to make room. */
static void test_the_longest_part_that_is_whole(void **state) {
  (void)state;
  char name[513], want[600];
  memset(name, 'n', 512);
  name[512] = '\0';
  diag_error(diag, DIAG_READ, DIAG_NOWHERE, "%s", name + 1);
  snprintf(want, sizeof want, "vlpc: error[E0102]: %s\n", name + 1);
  assert_string_equal(diag_text(diag), want);
  diag_clear(diag);
  diag_error(diag, DIAG_READ, DIAG_NOWHERE, "%s", name);
  snprintf(want, sizeof want, "vlpc: error[E0102]: %.508s\xe2\x80\xa6\n", name);
  assert_string_equal(diag_text(diag), want);
}

/* Every part full of what takes the most room when shown. */
static void test_the_worst_fits(void **state) {
  (void)state;
  char name[3000];
  memset(name, 1, sizeof name - 1);
  name[sizeof name - 1] = '\0';
  for (int i = 0; i < DIAG_MAX + 5; i++) {
    diag_error(diag, DIAG_NOT_REGULAR, (DiagAt){name, name}, "%s", name);
    diag_found(diag, "%s", name);
    diag_expected(diag, "%s", name);
    diag_note(diag, "%s", name);
    diag_fix(diag, "%s", name);
  }
  assert_true(strlen(diag_text(diag)) > 20000);
  const char *json = diag_json(diag);
  assert_string_equal(json + strlen(json) - 6, "\xe2\x80\xa6\"}]");
}

static void test_null_is_taken(void **state) {
  (void)state;
  assert_int_equal(diag_error(NULL, DIAG_NOMEM, DIAG_NOWHERE, "x"), VLPC_E_NOMEM);
  diag_found(NULL, "x");
  diag_expected(NULL, "x");
  diag_note(NULL, "x");
  diag_fix(NULL, "x");
  diag_clear(NULL);
  diag_free(NULL);
  assert_int_equal(diag_count(NULL), 0);
  assert_int_equal(diag_status(NULL), VLPC_OK);
  assert_string_equal(diag_text(NULL), "");
  assert_string_equal(diag_json(NULL), "[]");
}

/* Codes are E and four digits, each used once; every row has its sentence. */
static void test_rows(void **state) {
  (void)state;
  assert_string_equal(diag_code_name(DIAG_OPEN), "E0101");
  assert_string_equal(diag_code_text(DIAG_OPEN), "a file cannot be opened");
  for (DiagCode i = 0; i < DIAG__COUNT; i++) {
    assert_int_equal(strlen(diag_code_name(i)), 5);
    assert_int_equal(strspn(diag_code_name(i) + 1, "0123456789"), 4);
    assert_true(strlen(diag_code_text(i)) > 8);
    for (DiagCode j = 0; j < i; j++) assert_string_not_equal(diag_code_name(i), diag_code_name(j));
  }
}

static void test_statuses(void **state) {
  (void)state;
  static const int exit_code[] = {0, 2, 3, 4, 6, 6, 7, 5, 5, 5, 8, 130, 3, 3, 9};
  for (int s = VLPC_OK; s <= VLPC_E_INTERNAL; s++)
    assert_int_equal(status_exit_code((VlStatus)s), exit_code[s]);
  assert_string_equal(status_name(VLPC_OK), "OK");
  assert_string_equal(status_name(VLPC_E_DEVICE_LOST), "DEVICE_LOST");
  assert_string_equal(status_name((VlStatus)99), "INTERNAL");
}

#define DIAG_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      DIAG_TEST(test_empty),
      DIAG_TEST(test_all_parts),
      DIAG_TEST(test_absent_parts),
      DIAG_TEST(test_hostile_names_stay_on_their_line),
      DIAG_TEST(test_only_the_first_twenty_are_kept),
      DIAG_TEST(test_one_more),
      DIAG_TEST(test_clear),
      DIAG_TEST(test_long_parts_are_cut_between_characters),
      DIAG_TEST(test_the_longest_part_that_is_whole),
      DIAG_TEST(test_the_worst_fits),
      cmocka_unit_test(test_null_is_taken),
      cmocka_unit_test(test_rows),
      cmocka_unit_test(test_statuses),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
