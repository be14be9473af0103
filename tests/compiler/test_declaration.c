/* SPDX-License-Identifier: Apache-2.0 */
/* test_declaration.c - what a prompt module says of itself: a sound declaration is
** read whole, a malformed one is refused word for word. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "compiler/declaration.h"

static const char sound[] =
    "{\"vlpc_prompt\": 1, \"method\": \"maple\","
    " \"slot\": {\"rows\": 2, \"place\": \"middle\", \"phrase\": \"a photo of a\"},"
    " \"trainable\": [{\"name\": \"ctx\", \"init\": {\"words\": \"a photo of a\", \"first\": 1}},"
    " {\"name\": \"w\", \"init\": {\"uniform\": 0.25}, \"class_rows\": true, \"fixed\": true},"
    " {\"name\": \"w2\", \"init\": {\"copy\": \"w\"}}, {\"name\": \"z\"}],"
    " \"taps\": [{\"input\": \"x\", \"from\": \"V.1\", \"segment\": \"prompt\","
    " \"grad\": \"stop\"}],"
    " \"writes\": [{\"point\": \"V.pre\", \"segment\": \"prompt\", \"value\": \"v0\"},"
    " {\"point\": \"V.1\", \"segment\": \"prompt\", \"drop\": true},"
    " {\"point\": \"logits\", \"value\": \"l\"}],"
    " \"lift\": \"image\", \"loss\": {\"file\": \"loss.onnx\", \"taps\": []}}";

static void test_sound(void **state) {
  (void)state;
  Arena *a = arena_new(0);
  Diag *d = diag_new();
  Declaration x;
  assert_int_equal(declaration_read(sound, strlen(sound), a, "m.onnx", d, &x), VLPC_OK);
  assert_string_equal(x.method, "maple");
  assert_int_equal(x.slot_rows, 2);
  assert_int_equal(x.place, SLOT_MIDDLE);
  assert_string_equal(x.phrase, "a photo of a");
  assert_int_equal(x.n_trainables, 4);
  assert_int_equal(x.trainable[0].init.kind, INIT_words);
  assert_int_equal(x.trainable[0].init.first, 1);
  assert_true(x.trainable[1].class_rows && x.trainable[1].init.value == 0.25);
  assert_string_equal(x.trainable[2].init.text, "w");
  assert_int_equal(x.trainable[3].init.kind, INIT_none);
  assert_int_equal(x.n_taps, 1);
  assert_string_equal(x.tap[0].segment, "prompt");
  assert_int_equal(x.n_writes, 3);
  assert_null(x.write[1].value);
  assert_null(x.write[2].segment);
  assert_true(x.lift);
  diag_free(d);
  arena_free(a);
}

#define HEAD "{\"vlpc_prompt\": 1, \"method\": \"m\", "
static const struct {
  const char *json, *where, *found, *expected;
} refused[] = {
    {"{", "line 1, column 1", "string or '}' expected near end of file", "JSON"},
    {"{\"method\": \"m\", \"method\": \"n\"}", "line 1, column 24",
     "duplicate object key near '\"method\"'", "JSON"},
    {"[]", "the whole", "a list", "an object"},
    {"{\"method\": \"m\"}", "vlpc_prompt", "nothing", "1, the version of declarations"},
    {"{\"vlpc_prompt\": 2, \"method\": \"m\"}", "vlpc_prompt", "a whole number",
     "1, the version of declarations"},
    {"{\"vlpc_prompt\": 1}", "the whole.method", "nothing", "a string of 1 to 512 bytes"},
    {HEAD "\"write\": []}", "the whole", "the key 'write'",
     "vlpc_prompt, method, slot, templates, trainable, taps, writes, lift, loss"},
    {HEAD "\"lift\": \"text\"}", "lift", "text", "image"},
    {HEAD "\"slot\": {\"rows\": 0}}", "slot.rows", "a whole number",
     "a whole number from 1 to 1024"},
    {HEAD "\"slot\": {\"rows\": 2, \"place\": \"back\"}}", "slot.place", "back",
     "end, middle or front"},
    {HEAD "\"trainable\": {}}", "trainable", "an object", "a list"},
    {HEAD "\"trainable\": [3]}", "trainable[0]", "a whole number", "an object"},
    {HEAD "\"trainable\": [{\"name\": \"\"}]}", "trainable[0].name", "a string",
     "a string of 1 to 512 bytes"},
    {HEAD "\"trainable\": [{\"name\": \"a\\u0000b\"}]}", "line 1, column 67",
     "\\u0000 is not allowed without JSON_ALLOW_NUL near '\"a\\u0000b\"'", "JSON"},
    {HEAD "\"trainable\": [{\"name\": \"a\", \"init\": {\"normal\": 1, \"fill\": 2}}]}",
     "trainable[0].init", "more than one kind", "words, normal, uniform, copy or fill"},
    {HEAD "\"trainable\": [{\"name\": \"a\", \"init\": {\"normal\": \"1\"}}]}",
     "trainable[0].init.normal", "a string", "a number"},
    {HEAD "\"trainable\": [{\"name\": \"a\", \"init\": {}}]}", "trainable[0].init", "no kind",
     "words, normal, uniform, copy or fill"},
    {HEAD "\"trainable\": [{\"name\": \"a\", \"class_rows\": 1}]}", "trainable[0].class_rows",
     "a whole number", "true or false"},
    {HEAD "\"trainable\": [{\"name\": \"a\", \"init\": {\"uniform\": -1}}]}",
     "trainable[0].init.uniform", "a negative number", "a number from 0"},
    {HEAD "\"trainable\": [{\"name\": \"a\", \"init\": {\"zeros\": 1}}]}", "trainable[0].init",
     "the key 'zeros'", "words, first, normal, uniform, copy, fill"},
    {HEAD "\"trainable\": [{\"name\": \"a\", \"init\": {\"words\": \"a\", \"first\": -1}}]}",
     "trainable[0].init.first", "a whole number", "a whole number from 0 to 1024"},
    {HEAD "\"trainable\": [{\"name\": \"a\", \"init\": {\"words\": 3}}]}",
     "trainable[0].init.words", "a whole number", "a string of 1 to 512 bytes"},
    {HEAD "\"trainable\": [{\"name\": \"a\", \"init\": \"words\"}]}", "trainable[0].init",
     "a string", "an object"},
    {HEAD "\"trainable\": [{\"name\": \"a\"}, {\"name\": \"b\"}, {\"name\": \"a\"}]}",
     "trainable[2].name", "a", "a name that no other trainable has"},
    {HEAD "\"trainable\": [{\"name\": \"a\", \"init\": {\"copy\": \"a\"}}]}",
     "trainable[0].init.copy", "a", "the name of a trainable before it"},
    {HEAD "\"trainable\": [{\"name\": \"a\", \"init\": {\"copy\": \"b\"}}, {\"name\": \"b\"}]}",
     "trainable[0].init.copy", "b", "the name of a trainable before it"},
    {HEAD "\"trainable\": [{\"name\": \"a\", \"fixed\": null}]}", "trainable[0].fixed", "null",
     "true or false"},
    {HEAD "\"trainable\": [{\"name\": \"a\", \"shape\": [2]}]}", "trainable[0]",
     "the key 'shape'", "name, init, class_rows, fixed"},
    {HEAD "\"slot\": 2}", "slot", "a whole number", "an object"},
    {HEAD "\"slot\": {}}", "slot.rows", "nothing", "a whole number from 1 to 1024"},
    {HEAD "\"slot\": {\"rows\": 1025}}", "slot.rows", "a whole number",
     "a whole number from 1 to 1024"},
    {HEAD "\"slot\": {\"rows\": 2, \"phrase\": \"\"}}", "slot.phrase", "a string",
     "a string of 1 to 512 bytes"},
    {HEAD "\"slot\": {\"rows\": 2, \"at\": 1}}", "slot", "the key 'at'", "rows, place, phrase"},
    {HEAD "\"lift\": true}", "the whole.lift", "true", "a string of 1 to 512 bytes"},
    {HEAD "\"templates\": [\"a photo\"]}", "templates[0]", "a string",
     "a text of up to 512 bytes with {} for the class"},
    {HEAD "\"templates\": [1]}", "templates[0]", "a whole number",
     "a text of up to 512 bytes with {} for the class"},
    {HEAD "\"loss\": {\"taps\": []}}", "loss.file", "nothing", "a string of 1 to 512 bytes"},
    {HEAD "\"loss\": {\"file\": \"../x.onnx\"}}", "loss.file", "../x.onnx",
     "the name of a file in the module's folder"},
    {HEAD "\"loss\": {\"file\": \"x.onnx\", \"weight\": 2}}", "loss", "the key 'weight'",
     "file, taps, per_photo, weights, templates, epochs, next"},
    {HEAD "\"loss\": {\"file\": \"x.onnx\", \"weights\": 8}}", "loss.weights", "a whole number",
     "a string of 1 to 512 bytes"},
    {HEAD "\"loss\": {\"file\": \"x.onnx\", \"templates\": [\"a dog\"]}}", "templates[0]",
     "a string", "a text of up to 512 bytes with {} for the class"},
    {HEAD "\"loss\": {\"file\": \"x.onnx\", \"epochs\": 0, \"next\": {}}}", "loss.epochs",
     "a whole number", "a whole number from 1 to 1000000"},
    {HEAD "\"loss\": {\"file\": \"x.onnx\", \"epochs\": 3}}", "loss.next", "nothing",
     "an object"},
    {HEAD "\"loss\": {\"file\": \"x.onnx\", \"next\": {\"file\": \"y\"}}}", "loss.epochs",
     "nothing", "a whole number from 1 to 1000000"},
    {HEAD "\"loss\": {\"file\": \"x.onnx\", \"epochs\": 3, \"next\": {\"taps\": []}}}",
     "loss.next.file", "nothing", "a string of 1 to 512 bytes"},
    {HEAD "\"loss\": {\"file\": \"x.onnx\", \"epochs\": 3, \"next\": {\"epochs\": 1}}}",
     "loss.next", "the key 'epochs'", "file, taps"},
    {HEAD "\"taps\": [{\"input\": \"x\", \"from\": \"V.1\", \"rows\": 1}]}", "taps[0]",
     "the key 'rows'", "input, from, segment, grad"},
    {HEAD "\"taps\": [{\"from\": \"V.1\"}]}", "taps[0].input", "nothing",
     "a string of 1 to 512 bytes"},
    {HEAD "\"writes\": [{\"value\": \"v\"}]}", "writes[0].point", "nothing",
     "a string of 1 to 512 bytes"},
    {HEAD "\"writes\": [{\"point\": \"V.1\", \"drop\": 1}]}", "writes[0].drop",
     "a whole number", "true or false"},
    {HEAD "\"writes\": [{\"point\": \"V.1\", \"row\": 1}]}", "writes[0]", "the key 'row'",
     "point, segment, value, drop"},
    {HEAD "\"taps\": [{\"input\": \"x\"}]}", "taps[0].from", "nothing",
     "a string of 1 to 512 bytes"},
    {HEAD "\"taps\": [{\"input\": \"x\", \"from\": \"V.1\", \"grad\": \"halt\"}]}", "taps[0].grad",
     "halt", "pass or stop"},
    {HEAD "\"writes\": [{\"point\": \"V.1\"}]}", "writes[0]", "neither a value nor a drop",
     "one of them"},
    {HEAD "\"writes\": [{\"point\": \"V.1\", \"value\": \"v\", \"drop\": true}]}", "writes[0]",
     "a value and a drop", "one of them"},
};

static void test_refused(void **state) {
  (void)state;
  for (size_t i = 0; i < VL_COUNT(refused); i++) {
    Arena *a = arena_new(0);
    Diag *d = diag_new();
    Declaration x;
    const char *json = refused[i].json;
    assert_int_equal(declaration_read(json, strlen(json), a, "m.onnx", d, &x), VLPC_E_BAD_FILE);
    const char *want =
        arena_printf(a,
                     "vlpc: error[E0450]: m.onnx: declaration, %s: this part of the declaration is"
                     " malformed\n  found:    %s\n  expected: %s\n"
                     "  fix:      see docs/prompt-modules.md\n",
                     refused[i].where, refused[i].found, refused[i].expected);
    assert_string_equal(diag_text(d), want);
    diag_free(d);
    arena_free(a);
  }
}

static void check_long(Arena *a, const char *json, const char *error) {
  Diag *d = diag_new();
  Declaration x;
  assert_int_equal(declaration_read(json, strlen(json), a, "m.onnx", d, &x), VLPC_E_BAD_FILE);
  assert_non_null(strstr(diag_text(d), error));
  diag_free(d);
}

/* Lists and texts are bounded as those of the artifact are that is made of them. */
static void test_long(void **state) {
  (void)state;
  static const struct {
    const char *list, *entry, *error;
    int n;
  } row[] = {
      {"templates", "\"{}\"", "templates: this part of the declaration is malformed\n"
       "  found:    1001 entries\n  expected: at most 1000 entries\n", 1001},
      {"trainable", "{}", "found:    4097 entries\n  expected: at most 4096 entries\n", 4097},
      {"taps", "{}", "found:    4097 entries\n  expected: at most 4096 entries\n", 4097},
      {"writes", "{}", "found:    4097 entries\n  expected: at most 4096 entries\n", 4097},
      {"trainable", "{\"name\": \"0123456789012345678901234567890123456789\"}",
       "declaration, the whole: this part of the declaration is malformed\n"
       "  found:    more than 1 MiB\n", 20000},
  };
  Arena *a = arena_new(0);
  for (size_t i = 0; i < VL_COUNT(row); i++) {
    Str s = {.arena = a};
    str_printf(&s, HEAD "\"%s\": [", row[i].list);
    for (int k = 0; k < row[i].n; k++) str_printf(&s, "%s%s", k ? ", " : "", row[i].entry);
    str_add(&s, "]}");
    check_long(a, str_text(&s), row[i].error);
  }
  arena_free(a);
}

/* Cut at every byte, and with bytes changed: an error or a value. */
static void test_hostile(void **state) {
  (void)state;
  char text[sizeof sound];
  for (size_t n = 0; n < sizeof sound - 1; n++) {
    Arena *a = arena_new(0);
    Declaration x;
    assert_int_equal(declaration_read(sound, n, a, "m", NULL, &x), VLPC_E_BAD_FILE);
    for (uint64_t k = 0; k < 4; k++) {
      memcpy(text, sound, sizeof sound);
      text[n] = (char)rng_u32((Rng){n, 9}, k);
      VL_IGNORE(declaration_read(text, sizeof sound - 1, a, "m", NULL, &x));
    }
    arena_free(a);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_sound),
      cmocka_unit_test(test_refused),
      cmocka_unit_test(test_long),
      cmocka_unit_test(test_hostile),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
