/* SPDX-License-Identifier: Apache-2.0 */
/* json_look.c - reads one JSON object on stdin; prints its keys in order, or
** with arguments the values at paths such as images.0.top.0.label.  Exit code 1
** and the reason when the text is no JSON or a path leads nowhere. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

static const json_t *step(const json_t *at, const char *key, size_t n) {
  char name[64];
  snprintf(name, sizeof name, "%.*s", (int)n, key);
  return json_is_array(at) ? json_array_get(at, strtoul(name, NULL, 10))
                           : json_object_get(at, name);
}

static const json_t *look(const json_t *at, const char *path) {
  for (const char *p = path; at != NULL && *p != '\0';) {
    size_t n = strcspn(p, ".");
    at = step(at, p, n);
    p += n + (p[n] == '.');
  }
  return at;
}

static int print_value(const json_t *root, const char *path) {
  const json_t *v = look(root, path);
  if (v == NULL) {
    fprintf(stderr, "nothing at %s\n", path);
    return 1;
  }
  char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(4));
  printf("%s = %s\n", path, text);
  free(text);
  return 0;
}

static void print_keys(json_t *root) {
  const char *key;
  json_t *value;
  json_object_foreach(root, key, value) printf("%s ", key);
  putchar('\n');
}

int main(int argc, char **argv) {
  json_error_t error;
  json_t *root = json_loadf(stdin, JSON_REJECT_DUPLICATES, &error);
  if (root == NULL) {
    fprintf(stderr, "no JSON: %s\n", error.text);
    return 1;
  }
  int bad = 0;
  if (argc == 1) print_keys(root);
  for (int i = 1; i < argc; i++) bad |= print_value(root, argv[i]);
  json_decref(root);
  return bad;
}
