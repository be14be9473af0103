/* SPDX-License-Identifier: Apache-2.0 */
/* base.c - the end of a program that has found a fault in itself.  The one
** place where a library of vlpc writes to stderr: nothing it holds can be
** trusted any more, so there is no caller to hand a message to. */
#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>

void vl_fault(const char *file, int line, const char *text) {
  fprintf(stderr, "vlpc: fault at %s:%d: %s\n  fix:      please report this with the input\n", file,
          line, text);
  abort();
}
