/* SPDX-License-Identifier: Apache-2.0 */
/* test_thread.c - the pool does every task once, whatever its size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/thread.h"

enum { MOST = 5000 };

typedef struct {
  unsigned char seen[MOST];
  atomic_int bad;
  int threads;
} Count;

static void mark(void *ctx, int64_t begin, int64_t end, int thread) {
  Count *c = ctx;
  if (thread < 0 || thread >= c->threads || begin > end) atomic_fetch_add(&c->bad, 1);
  for (int64_t i = begin; i < end; i++) c->seen[i]++;
}

static void check_run(ThreadPool *p, int64_t n) {
  Count c = {.threads = threads_count(p)};
  threads_run(p, n, mark, &c);
  assert_int_equal(atomic_load(&c.bad), 0);
  for (int64_t i = 0; i < MOST; i++) assert_int_equal(c.seen[i], i < n);
}

static void each_task_is_done_once(void **state) {
  static const int64_t sizes[] = {-3, 0, 1, 2, 3, 7, 8, 9, 63, 64, 65, 1000, MOST};
  (void)state;
  for (int n = 1; n <= 9; n++) {
    ThreadPool *p = threads_new(n, n % 2);
    assert_int_equal(threads_count(p), n);
    for (int round = 0; round < 20; round++) {
      for (size_t i = 0; i < VL_COUNT(sizes); i++) check_run(p, sizes[i]);
      if (round == 10) usleep(3000); /* let the workers fall asleep */
    }
    threads_free(p);
  }
}

static void *run_many(void *pool) {
  for (int i = 0; i < 200; i++) check_run(pool, 37 + i);
  return NULL;
}

static void callers_take_turns(void **state) {
  (void)state;
  ThreadPool *p = threads_new(3, false);
  pthread_t t[4];
  for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&t[i], NULL, run_many, p), 0);
  for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
  threads_free(p);
}

static void a_shared_pool_outlives_its_first_owner(void **state) {
  (void)state;
  ThreadPool *p = threads_new(2, false), *q = threads_share(p);
  threads_free(p);
  check_run(q, 100);
  threads_free(q);
  threads_free(NULL);
}

static void a_forked_child_works_alone(void **state) {
  (void)state;
  ThreadPool *p = threads_new(4, false);
  check_run(p, 100);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    Count *c = calloc(1, sizeof *c);
    c->threads = 1;
    threads_run(p, 100, mark, c);
    _exit(c->seen[99] == 1 && c->seen[100] == 0 ? 0 : 1);
  }
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  threads_free(p);
}

static void counts_are_clamped(void **state) {
  (void)state;
  ThreadPool *p = threads_new(-5, false);
  assert_int_equal(threads_count(p), 1);
  threads_free(p);
}

static void the_processor_is_known(void **state) {
  CpuIsa isa;
  (void)state;
  assert_true(cpu_count() >= 1);
  assert_true(cpu_isa_runs(ISA_PORTABLE));
  assert_true(cpu_isa_runs(cpu_isa_best()));
  for (int i = 0; i < ISA__COUNT; i++) {
    assert_true(cpu_isa_parse(cpu_isa_name((CpuIsa)i), &isa));
    assert_int_equal(isa, i);
  }
  assert_false(cpu_isa_parse("sse9", &isa));
  assert_true(strlen(cpu_model()) > 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_task_is_done_once),
      cmocka_unit_test(callers_take_turns),
      cmocka_unit_test(a_shared_pool_outlives_its_first_owner),
      cmocka_unit_test(a_forked_child_works_alone),
      cmocka_unit_test(counts_are_clamped),
      cmocka_unit_test(the_processor_is_known),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
