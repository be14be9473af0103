/* SPDX-License-Identifier: Apache-2.0 */
/* inspect_calibration.c - the error against fp32 that an artifact states. */
#include <inttypes.h>
#include <string.h>

#include <jansson.h>

#include "cli/inspect.h"

/* The section as JSON; NULL when there is none or it is damaged. */
static json_t *read_section(const Model *m) {
  vlpc_section s = {.struct_size = sizeof s};
  json_error_t error;
  for (uint32_t i = 0; vlpc_artifact_section(m->artifact, i, &s); i++) {
    if (strcmp(s.name, "calibration") == 0)
      return json_loadb(s.data, (size_t)s.bytes, JSON_REJECT_DUPLICATES, &error);
  }
  return NULL;
}

static void print_side(json_t *root, const char *name) {
  json_t *side = json_object_get(root, name);
  if (!json_is_object(side)) return;
  printf(", %s cosine %.5f at least, %.5f on average (%" JSON_INTEGER_FORMAT ")", name,
         json_number_value(json_object_get(side, "cosine_min")),
         json_number_value(json_object_get(side, "cosine_mean")),
         json_integer_value(json_object_get(side, "rows")));
}

void print_calibration(const Model *m) {
  json_t *root = read_section(m), *top1 = json_object_get(root, "top1");
  const char *inputs = json_string_value(json_object_get(root, "inputs"));
  if (!root) return;
  printf("  error          against fp32, inputs: %s", inputs ? inputs : "?");
  print_side(root, "image");
  print_side(root, "text");
  if (json_is_object(top1))
    printf(", the same first of %" JSON_INTEGER_FORMAT " answers in %" JSON_INTEGER_FORMAT
           " of %" JSON_INTEGER_FORMAT,
           json_integer_value(json_object_get(top1, "classes")),
           json_integer_value(json_object_get(top1, "same")),
           json_integer_value(json_object_get(top1, "rows")));
  puts("");
  json_decref(root);
}

void calibration_json(const Model *m, Json *j) {
  json_t *root = read_section(m);
  char *text = root ? json_dumps(root, JSON_REAL_PRECISION(6) | JSON_COMPACT) : NULL;
  js_raw(j, "calibration", text ? text : "");
  free(text);
  json_decref(root);
}
