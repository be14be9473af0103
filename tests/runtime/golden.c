/* SPDX-License-Identifier: Apache-2.0 */
#include "golden.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

char *golden_read(const char *path, size_t *n) {
  gzFile f = gzopen(path, "rb");
  size_t cap = 1 << 20, used = 0;
  char *text = f ? malloc(cap + 1) : NULL;
  while (text) {
    int got = gzread(f, text + used, (unsigned)(cap - used));
    if (got <= 0) break;
    used += (size_t)got;
    if (used == cap) text = realloc(text, (cap *= 2) + 1);
  }
  if (f) gzclose(f);
  if (text) text[used] = 0;
  *n = used;
  return text;
}

char *golden_field(char **at, char sep) {
  char *start = *at, *end;
  if (!start || !*start) return NULL;
  end = strchr(start, sep);
  *at = end ? end + 1 : start + strlen(start);
  if (end) *end = 0;
  return start;
}

char *golden_line(char **at) {
  return golden_field(at, '\n');
}

bool shared_path(const char *rel, char out[512]) {
  const char *root = getenv("VLPC_SHARED");
  struct stat sb;
  if (root)
    snprintf(out, 512, "%s/data/%s", root, rel);
  else
    snprintf(out, 512, "%s/../shared/data/%s", VLPC_SOURCE_DIR, rel);
  return stat(out, &sb) == 0;
}

void source_path(const char *rel, char out[512]) {
  snprintf(out, 512, "%s/%s", VLPC_SOURCE_DIR, rel);
}
