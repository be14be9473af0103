/* SPDX-License-Identifier: Apache-2.0 */
/* toy_artifact.c - writes the artifacts that test_api.c reads, since a program
** linked with the shared library cannot make them. */
#include <stdio.h>

#include "tests/runtime/toy.h"

int main(int argc, char **argv) {
  char path[512];
  if (argc != 2) return 2;
  snprintf(path, sizeof path, "%s/plain.vlpc", argv[1]);
  toy_write(path, TOY_TOKENIZER);
  snprintf(path, sizeof path, "%s/speechless.vlpc", argv[1]);
  toy_write(path, TOY_NO_ROLES);
  return 0;
}
