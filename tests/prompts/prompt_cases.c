/* SPDX-License-Identifier: Apache-2.0 */
/* prompt_cases.c - see prompt_cases.h. */
#include "tests/prompts/prompt_cases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/str.h"

enum { CASES_MOST = 64 };

static char *cut(char **at, char sep) {
  char *word = *at, *end = strchr(word, sep);
  *at = end != NULL ? end + 1 : word + strlen(word);
  if (end != NULL) *end = '\0';
  return word;
}

static bool take_word(vlpc_prompt_options *o, const char *word, char **rest) {
  if (strcmp(word, "--csc") == 0)
    o->class_rows = 1;
  else if (strcmp(word, "--place") == 0)
    o->place = cut(rest, ' ');
  else if (strcmp(word, "--phrase") == 0)
    o->phrase = strcmp(cut(rest, ' '), "-") == 0 ? "" : "a photo of a";
  else
    return false;
  return true;
}

static void take_number(vlpc_prompt_options *o, const char *word, char **rest) {
  const struct {
    const char *name;
    int64_t *at;
  } number[] = {{"--length", &o->length},
                {"--depth", &o->depth},
                {"--vision-length", &o->vision_length},
                {"--vision-depth", &o->vision_depth},
                {"--class-count", &o->classes},
                {"--top-classes", &o->top_classes},
                {"--keys", &o->keys}};
  for (size_t i = 0; i < VL_COUNT(number); i++)
    if (strcmp(word, number[i].name) == 0) {
      assert_true(parse_i64(cut(rest, ' '), number[i].at));
      return;
    }
  fail_msg("unknown option %s", word);
}

vlpc_prompt_options prompt_options(Arena *a, const char *text) {
  char *rest = arena_strdup(a, text);
  vlpc_prompt_options o = {.struct_size = sizeof o, .method = cut(&rest, ' '), .seed = 1};
  while (*rest != '\0') {
    const char *word = cut(&rest, ' ');
    if (!take_word(&o, word, &rest)) take_number(&o, word, &rest);
  }
  return o;
}

uint32_t prompt_cases(Arena *a, const char *path, PromptCase **out) {
  uint8_t *bytes;
  size_t n;
  uint32_t count = 0;
  assert_int_equal(io_read(path, 1 << 16, a, NULL, &bytes, &n), VLPC_OK);
  char *text = arena_strndup(a, (const char *)bytes, n);
  *out = arena_array(a, PromptCase, CASES_MOST);
  while (*text != '\0') {
    char *line = cut(&text, '\n');
    assert_true(count < CASES_MOST);
    (*out)[count].name = cut(&line, ' ');
    (*out)[count++].o = prompt_options(a, line);
  }
  return count;
}
