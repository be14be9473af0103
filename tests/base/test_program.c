/* SPDX-License-Identifier: Apache-2.0 */
/* test_program.c - what program_verify refuses: steps that touch arrays of
** another entry, and temporaries that nothing makes.
**
** The sound program has two entries of one step each, y = f(x) and z = g(w). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/program.h"

enum { X, Y, W, Z, T, N_BUFS };

typedef struct {
  Arena *a;
  Program p;
  ProgBuf bufs[N_BUFS];
  ProgArg args[5];
  ProgStep steps[2];
  ProgPort ports[4];
  ProgEntry entries[2];
} Two;

static void two_init(Two *t) {
  memset(t, 0, sizeof *t);
  t->a = arena_new(0);
  DimTable *dims = dim_table_new(t->a);
  DimId four = dim_const(dims, 4), zero = dim_const(dims, 0);
  static const BufKind kind[] = {BUF_INPUT, BUF_OUTPUT, BUF_INPUT, BUF_OUTPUT, BUF_TEMP};
  for (uint32_t i = 0; i < N_BUFS; i++) {
    t->bufs[i] = (ProgBuf){.kind = kind[i], .dtype = VLPC_F32, .rank = 1, .size = {four}};
    if (i < 4) t->ports[i] = (ProgPort){"port", i};
  }
  static const uint32_t buf[] = {Y, X, Z, W, W};
  for (uint32_t i = 0; i < 5; i++) t->args[i] = (ProgArg){buf[i], zero};
  t->steps[0] = (ProgStep){.arg = 0, .n_args = 2, .place = "f"};
  t->steps[1] = (ProgStep){.arg = 2, .n_args = 3, .place = "g"};
  t->entries[0] = (ProgEntry){"one", 0, 1, 1, 1, 0, 1};
  t->entries[1] = (ProgEntry){"two", 2, 1, 3, 1, 1, 1};
  t->bufs[T].last = 1;
  t->p = (Program){dims, N_BUFS, 5, 0, 2, 4, 2, 1, t->bufs, t->args, NULL, t->steps,
                   t->ports, t->entries};
}

/* NULL: sound. */
static void expect(Two *t, const char *fault) {
  Str s = {.arena = t->a};
  bool ok = program_verify(&t->p, &s);
  if (ok != (fault == NULL) || (fault && !strstr(str_text(&s), fault)))
    fail_msg("found '%s', not '%s'", str_text(&s), fault ? fault : "");
  arena_free(t->a);
}

static void entries_keep_to_their_own(void **state) {
  (void)state;
  Two t;
  two_init(&t), expect(&t, NULL);
  two_init(&t), t.args[4].buf = X, expect(&t, "two uses buffer 0, which is not its own");
  two_init(&t), t.args[4].buf = Y, expect(&t, "two uses buffer 1, which is not its own");
  two_init(&t), t.args[2].buf = Y, expect(&t, "two uses buffer 1, which is not its own");
}

static void temporaries_are_made_before_they_are_read(void **state) {
  (void)state;
  Two t;
  two_init(&t), t.args[4].buf = T, expect(&t, "step 1 reads buffer 4 before it is written");
  two_init(&t), t.bufs[T].first = 1, t.args[4].buf = T;
  expect(&t, "step 1 reads buffer 4 before it is written");
  /* made by a step of the other entry, which need not have run */
  two_init(&t), t.entries[0].n_out = 0, t.args[0].buf = T, t.args[4].buf = T;
  expect(&t, "two uses buffer 4, which is not its own");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(entries_keep_to_their_own),
      cmocka_unit_test(temporaries_are_made_before_they_are_read),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
