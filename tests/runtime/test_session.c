/* SPDX-License-Identifier: Apache-2.0 */
/* test_session.c - shapes are bound or refused in words, results do not depend
** on threads, steps that would leave their buffers never run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fenv.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/session.h"
#include "tests/runtime/toy.h"

static char folder[256], artifact[300];
static vlpc_artifact *shared;

static vlpc_session_options options(int threads) {
  return (vlpc_session_options){.struct_size = sizeof(vlpc_session_options), .threads = threads,
                                .compiler_library = toy_compiler()};
}

static int setup(void **state) {
  (void)state;
  toy_folder(folder);
  snprintf(artifact, sizeof artifact, "%s/a.vlpc", folder);
  toy_write(artifact, 0);
  assert_int_equal(vlpc_artifact_open(artifact, NULL, &shared), VLPC_OK);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  vlpc_artifact_close(shared);
  toy_clean(folder);
  return 0;
}

static vlpc_session *new_session(int threads) {
  vlpc_session *s;
  vlpc_session_options o = options(threads);
  assert_int_equal(vlpc_session_new(shared, &o, &s), VLPC_OK);
  return s;
}

static void check_error(vlpc_session *s, VlStatus status, VlStatus want, const char *const *parts) {
  assert_int_equal(status, want);
  for (; *parts; parts++) {
    if (!strstr(vlpc_session_error(s), *parts))
      fail_msg("no '%s' in:\n%s", *parts, vlpc_session_error(s));
  }
}
#define CHECK_ERROR(s, status, want, ...) \
  check_error(s, status, want, (const char *const[]){__VA_ARGS__, NULL})

static VlStatus set_matrix(vlpc_session *s, const char *name, float *x, int64_t m, int64_t k) {
  vlpc_tensor t = {x, VLPC_F32, 2, {m, k}};
  return vlpc_session_set_input(s, "sum", name, &t);
}

/* ---- results ------------------------------------------------------------ */

static void fill(float *x, int64_t n, uint32_t seed) {
  for (int64_t i = 0; i < n; i++) {
    seed = seed * 1664525u + 1013904223u;
    x[i] = (float)(int32_t)seed * 1e-6f;
  }
}

/* total of m rows of k columns, into out. */
static void run_sum(vlpc_session *s, float *a, float *b, int64_t m, int64_t k, float *out) {
  vlpc_tensor t;
  assert_int_equal(set_matrix(s, "a", a, m, k), VLPC_OK);
  assert_int_equal(set_matrix(s, "b", b, m, k), VLPC_OK);
  assert_int_equal(vlpc_session_run(s, "sum"), VLPC_OK);
  assert_int_equal(vlpc_session_output(s, "sum", "total", &t), VLPC_OK);
  assert_int_equal(t.rank, 1);
  assert_int_equal(t.shape[0], m);
  assert_int_equal(t.dtype, VLPC_F32);
  memcpy(out, t.data, (size_t)m * sizeof *out);
}

enum { M = 301, K = 57 };

static void threads_and_batches_give_equal_bits(void **state) {
  static float a[M * K], b[M * K], want[M], got[M];
  static const int threads[] = {1, 2, 3, 8};
  (void)state;
  fill(a, M * K, 1), fill(b, M * K, 2);
  for (int i = 0; i < M; i++) {
    float sa = 0, sb = 0;
    for (int k = 0; k < K; k++) sa += a[i * K + k];
    for (int k = 0; k < K; k++) sb += b[i * K + k];
    want[i] = sa + sb;
  }
  for (size_t t = 0; t < VL_COUNT(threads); t++) {
    vlpc_session *s = new_session(threads[t]);
    run_sum(s, a, b, M, K, got);
    assert_memory_equal(got, want, sizeof want);
    for (int64_t m = 1; m <= M; m *= 3) { /* every batch, also one that shrinks */
      run_sum(s, a, b, m, K, got);
      assert_memory_equal(got, want, (size_t)m * sizeof *got);
    }
    run_sum(s, a, b, M, K, got);
    assert_memory_equal(got, want, sizeof want);
    vlpc_session_free(s);
  }
}

static void the_callers_rounding_mode_does_not_matter(void **state) {
  static float a[K], b[K], want[1], got[1];
  (void)state;
  fill(a, K, 3), fill(b, K, 4);
  vlpc_session *s = new_session(1);
  run_sum(s, a, b, 1, K, want);
  fesetround(FE_UPWARD);
  run_sum(s, a, b, 1, K, got);
  assert_int_equal(fegetround(), FE_UPWARD);
  fesetround(FE_TONEAREST);
  assert_memory_equal(got, want, sizeof want);
  vlpc_session_free(s);
}

static void zero_rows_give_zero_rows(void **state) {
  float x[1] = {0}, out[1];
  (void)state;
  vlpc_session *s = new_session(2);
  run_sum(s, x, x, 0, 5, out);
  run_sum(s, x, x, 1, 0, out);
  assert_true(out[0] == 0);
  vlpc_session_free(s);
}

static void outputs_go_to_the_callers_buffer(void **state) {
  float a[] = {1, 2, 3, 4}, out[2] = {0};
  vlpc_tensor t;
  (void)state;
  vlpc_session *s = new_session(1);
  assert_int_equal(vlpc_session_set_output(s, "sum", "total", out, sizeof out), VLPC_OK);
  run_sum(s, a, a, 2, 2, out);
  assert_true(out[0] == 6 && out[1] == 14);
  assert_int_equal(vlpc_session_output(s, "sum", "total", &t), VLPC_OK);
  assert_ptr_equal(t.data, out);
  assert_int_equal(set_matrix(s, "a", a, 4, 1), VLPC_OK);
  assert_int_equal(set_matrix(s, "b", a, 4, 1), VLPC_OK);
  CHECK_ERROR(s, vlpc_session_run(s, "sum"), VLPC_E_INVALID_ARG, "error[E0911]",
              "found:    8 bytes", "expected: 16 bytes", "'total'");
  assert_int_equal(vlpc_session_set_output(s, "sum", "total", NULL, 0), VLPC_OK);
  CHECK_ERROR(s, vlpc_session_output(s, "sum", "total", &t), VLPC_E_INVALID_ARG, "error[E0910]");
  float more[4];
  run_sum(s, a, a, 4, 1, more);
  assert_true(more[3] == 8);
  vlpc_session_free(s);
}

/* ---- refusals ----------------------------------------------------------- */

static void contradicting_shapes_are_named(void **state) {
  float x[64] = {0};
  (void)state;
  vlpc_session *s = new_session(1);
  CHECK_ERROR(s, vlpc_session_run(s, "sum"), VLPC_E_INVALID_ARG, "error[E0906]",
              "input 'a' of entry 'sum' is not set");
  assert_int_equal(set_matrix(s, "a", x, 4, 3), VLPC_OK);
  assert_int_equal(set_matrix(s, "b", x, 4, 5), VLPC_OK);
  CHECK_ERROR(s, vlpc_session_run(s, "sum"), VLPC_E_INVALID_ARG, "error[E0905]",
              "entry 'sum', input 'b'", "axis 1 does not fit", "found:    [4, 5]",
              "expected: [rows, cols]", "makes axis 1 3");
  vlpc_tensor pixels = {x, VLPC_F32, 4, {1, 3, 8, 2}};
  assert_int_equal(vlpc_session_set_input(s, "image", "pixels", &pixels), VLPC_OK);
  CHECK_ERROR(s, vlpc_session_run(s, "image"), VLPC_E_INVALID_ARG, "axis 3 does not fit",
              "found:    [1, 3, 8, 2]", "expected: [batch, 3, 8, 8]");
  vlpc_tensor even = {x, VLPC_F32, 1, {6}};
  assert_int_equal(vlpc_session_set_input(s, "broken", "x", &even), VLPC_OK);
  CHECK_ERROR(s, vlpc_session_run(s, "broken"), VLPC_E_INVALID_ARG, "found:    [6]",
              "expected: [2*half + 1]");
  even.shape[0] = 0; /* half would be negative */
  assert_int_equal(vlpc_session_set_input(s, "broken", "x", &even), VLPC_OK);
  CHECK_ERROR(s, vlpc_session_run(s, "broken"), VLPC_E_INVALID_ARG, "found:    [0]");
  vlpc_session_free(s);
}

static void wrong_inputs_are_named(void **state) {
  float x[8] = {0};
  (void)state;
  vlpc_session *s = new_session(1);
  vlpc_tensor t = {x, VLPC_F32, 1, {2}};
  CHECK_ERROR(s, vlpc_session_set_input(s, "pick", "ids", &t), VLPC_E_INVALID_ARG, "error[E0903]",
              "found:    f32", "expected: i64");
  t.dtype = (vlpc_dtype)99;
  CHECK_ERROR(s, vlpc_session_set_input(s, "pick", "ids", &t), VLPC_E_INVALID_ARG, "no known type");
  t.dtype = VLPC_F32;
  CHECK_ERROR(s, vlpc_session_set_input(s, "sum", "a", &t), VLPC_E_INVALID_ARG, "error[E0904]",
              "found:    1", "expected: 2");
  t = (vlpc_tensor){x, VLPC_F32, 2, {-1, 2}};
  CHECK_ERROR(s, vlpc_session_set_input(s, "sum", "a", &t), VLPC_E_INVALID_ARG, "axis 0 is -1");
  t = (vlpc_tensor){x, VLPC_F32, 2, {INT64_MAX, INT64_MAX}};
  CHECK_ERROR(s, vlpc_session_set_input(s, "sum", "a", &t), VLPC_E_INVALID_ARG, "error[E0905]");
  t = (vlpc_tensor){(char *)x + 1, VLPC_F32, 2, {1, 2}};
  CHECK_ERROR(s, vlpc_session_set_input(s, "sum", "a", &t), VLPC_E_INVALID_ARG, "not aligned");
  t.data = NULL;
  CHECK_ERROR(s, vlpc_session_set_input(s, "sum", "a", &t), VLPC_E_INVALID_ARG, "NULL");
  CHECK_ERROR(s, vlpc_session_set_input(s, "sum", "c", &t), VLPC_E_INVALID_ARG, "error[E0902]",
              "entry 'sum' has no input 'c'", "one of 'a', 'b'");
  CHECK_ERROR(s, vlpc_session_run(s, "sun"), VLPC_E_INVALID_ARG, "error[E0901]", "no entry 'sun'",
              "'sum', 'pick', 'image', 'text', 'broken'");
  vlpc_session_free(s);
}

static void huge_batches_are_refused_before_memory_is_taken(void **state) {
  float x[1];
  (void)state;
  vlpc_session *s;
  vlpc_session_options o = options(1);
  o.memory_limit = 1 << 20;
  assert_int_equal(vlpc_session_new(shared, &o, &s), VLPC_OK);
  assert_int_equal(set_matrix(s, "a", x, 1 << 20, 1), VLPC_OK);
  assert_int_equal(set_matrix(s, "b", x, 1 << 20, 1), VLPC_OK);
  CHECK_ERROR(s, vlpc_session_run(s, "sum"), VLPC_E_LIMIT, "error[E0912]",
              "found:    8388608 bytes", "at most 1048576");
  assert_int_equal(set_matrix(s, "a", x, INT64_MAX / 8, 1), VLPC_OK);
  assert_int_equal(set_matrix(s, "b", x, INT64_MAX / 8, 1), VLPC_OK);
  assert_int_equal(vlpc_session_run(s, "sum"), VLPC_E_LIMIT);
  vlpc_session_free(s);
}

static void indices_out_of_range_name_the_node(void **state) {
  int64_t ids[] = {3, 8, 1};
  vlpc_tensor t = {ids, VLPC_I64, 1, {3}};
  (void)state;
  vlpc_session *s = new_session(2);
  assert_int_equal(vlpc_session_set_input(s, "pick", "ids", &t), VLPC_OK);
  CHECK_ERROR(s, vlpc_session_run(s, "pick"), VLPC_E_INVALID_ARG, "error[E0908]",
              "entry 'pick', node 7 'pick' (Gather, opset 17)", "index is out of range");
  ids[1] = 7; /* the session goes on after a fault */
  assert_int_equal(vlpc_session_run(s, "pick"), VLPC_OK);
  assert_int_equal(vlpc_session_output(s, "pick", "picked", &t), VLPC_OK);
  assert_true(((float *)t.data)[1] == 17);
  vlpc_session_free(s);
}

static void failing_steps_name_the_node(void **state) {
  float x[3];
  vlpc_tensor t = {x, VLPC_F32, 1, {3}};
  (void)state;
  vlpc_session *s = new_session(1);
  assert_int_equal(vlpc_session_set_input(s, "broken", "x", &t), VLPC_OK);
  CHECK_ERROR(s, vlpc_session_run(s, "broken"), VLPC_E_DEVICE, "error[E0609]", "node 9 'fault'",
              "fault 7");
  CHECK_ERROR(s, vlpc_session_output(s, "broken", "y", &t), VLPC_E_INVALID_ARG, "error[E0910]");
  vlpc_session_free(s);
}

static void steps_that_leave_their_buffers_never_run(void **state) {
  char path[300];
  vlpc_artifact *a;
  vlpc_session *s;
  float x[4] = {0};
  vlpc_session_options o = options(1);
  (void)state;
  snprintf(path, sizeof path, "%s/leaves.vlpc", folder);
  toy_write(path, TOY_LEAVES);
  assert_int_equal(vlpc_artifact_open(path, NULL, &a), VLPC_OK);
  assert_int_equal(vlpc_session_new(a, &o, &s), VLPC_OK);
  assert_int_equal(set_matrix(s, "a", x, 2, 2), VLPC_OK);
  assert_int_equal(set_matrix(s, "b", x, 2, 2), VLPC_OK);
  CHECK_ERROR(s, vlpc_session_run(s, "sum"), VLPC_E_CORRUPT, "error[E0608]", "leaves.vlpc",
              "node 2 'sum b'", "would leave one of its buffers");
  /* nothing is touched where there are no rows */
  assert_int_equal(set_matrix(s, "a", x, 0, 2), VLPC_OK);
  assert_int_equal(set_matrix(s, "b", x, 0, 2), VLPC_OK);
  assert_int_equal(vlpc_session_run(s, "sum"), VLPC_OK);
  vlpc_session_free(s);
  vlpc_artifact_close(a);
}

/* ---- threads ------------------------------------------------------------ */

static pthread_barrier_t inside, asked;
static void meet(void *user, const vlpc_step_info *step) {
  (void)user;
  if (step->step != 0) return;
  pthread_barrier_wait(&inside);
  pthread_barrier_wait(&asked);
}

static void *run_slowly(void *session) {
  float x[4] = {1, 2, 3, 4}, out[2];
  run_sum(session, x, x, 2, 2, out);
  return out[1] == 14 ? session : NULL;
}

static void a_second_thread_is_told(void **state) {
  pthread_t t;
  void *worked;
  (void)state;
  vlpc_session *s = new_session(1);
  pthread_barrier_init(&inside, NULL, 2);
  pthread_barrier_init(&asked, NULL, 2);
  vlpc_session_on_step(s, meet, NULL);
  assert_int_equal(pthread_create(&t, NULL, run_slowly, s), 0);
  pthread_barrier_wait(&inside);
  CHECK_ERROR(s, vlpc_session_run(s, "sum"), VLPC_E_INVALID_ARG, "error[E0907]",
              "used by another thread", "its own session");
  assert_non_null(strstr(vlpc_session_error_json(s), "\"E0907\""));
  pthread_barrier_wait(&asked);
  pthread_join(t, &worked);
  assert_ptr_equal(worked, s); /* and the run inside was not disturbed */
  vlpc_session_on_step(s, NULL, NULL);
  float x[4] = {1, 2, 3, 4}, out[2];
  run_sum(s, x, x, 2, 2, out);
  assert_string_equal(vlpc_session_error(s), "");
  vlpc_session_free(s);
}

typedef struct {
  float *a, *want;
  vlpc_session *share;
} Job;

static void *run_own_session(void *arg) {
  const Job *j = arg;
  float got[M];
  vlpc_session *s;
  vlpc_session_options o = options(2);
  o.share_threads = j->share;
  if (vlpc_session_new(shared, &o, &s) != VLPC_OK) return NULL;
  for (int i = 0; i < 20; i++) {
    run_sum(s, j->a, j->a, M, K, got);
    if (memcmp(got, j->want, sizeof got) != 0) return NULL;
  }
  vlpc_session_free(s);
  return arg;
}

static void sessions_in_threads_share_an_artifact(void **state) {
  static float a[M * K], want[M];
  pthread_t t[4];
  void *good;
  (void)state;
  fill(a, M * K, 9);
  vlpc_session *s = new_session(2);
  run_sum(s, a, a, M, K, want);
  for (int share = 0; share < 2; share++) {
    Job j = {a, want, share ? s : NULL};
    for (int i = 0; i < 4; i++)
      assert_int_equal(pthread_create(&t[i], NULL, run_own_session, &j), 0);
    for (int i = 0; i < 4; i++) {
      pthread_join(t[i], &good);
      assert_ptr_equal(good, &j);
    }
  }
  vlpc_session_free(s);
}

/* ---- devices, profile, layout ------------------------------------------- */

static void the_null_device_counts(void **state) {
  float x[6] = {0}, out[2];
  (void)state;
  vlpc_session *s;
  vlpc_session_options o = {.struct_size = sizeof o, .device = "null"};
  vlpc_session_info info = {.struct_size = sizeof info};
  assert_int_equal(vlpc_session_new(shared, &o, &s), VLPC_OK);
  run_sum(s, x, x, 2, 3, out);
  assert_true(vlpc_session_get_info(s, &info));
  assert_string_equal(info.device, "null");
  assert_int_equal(info.code, VLPC_CODE_NONE);
  assert_int_equal(info.launches, 3);
  NullCounts c = device_null_counts(s->stream);
  assert_int_equal(c.launches, 3);
  assert_int_equal(c.copied_bytes, 24 + 24 + 8);
  assert_int_equal(c.live_bytes, 64 + 8 + 24 + 24 + 8); /* two temporaries, ports */
  vlpc_session_free(s);
}

typedef struct {
  uint32_t n;
  int64_t last;
} Profile;
static void on_step(void *user, const vlpc_step_info *step) {
  static const char *const places[] = {"node 1 'sum a'", "node 2 'sum b'", "node 3 'add'"};
  Profile *p = user;
  assert_string_equal(step->entry, "sum");
  assert_string_equal(step->place, places[p->n]);
  assert_int_equal(step->kernel, p->n < 2 ? TOY_SUM : TOY_ADD);
  assert_int_equal(step->sizes[0], 2);
  assert_true(step->start_ns >= p->last && step->end_ns >= step->start_ns);
  p->last = step->end_ns;
  p->n++;
}

static void steps_are_reported_in_order(void **state) {
  float x[6] = {0}, out[2];
  Profile p = {0};
  (void)state;
  vlpc_session *s = new_session(1);
  vlpc_session_on_step(s, on_step, &p);
  run_sum(s, x, x, 2, 3, out);
  assert_int_equal(p.n, 3);
  vlpc_session_free(s);
}

/* Random live ranges: nothing that lives together overlaps, and the result is
** the same each time. */
static void layouts_do_not_overlap(void **state) {
  enum { N = 120 };
  ProgBuf bufs[N];
  LocalBuf local[N], again[N];
  uint32_t temps[N + 1], seed = 5;
  uint64_t total, sum = 0;
  (void)state;
  for (uint32_t i = 0; i < N; i++) {
    seed = seed * 1664525u + 1013904223u;
    uint32_t first = (seed >> 8) % 50;
    bufs[i] = (ProgBuf){.kind = BUF_TEMP, .first = first, .last = first + (seed >> 20) % 9};
    local[i] = (LocalBuf){.buf = i, .bytes = (seed >> 4) % 7 ? (seed >> 12) % 1000 : 0};
    sum += local[i].bytes;
  }
  Program p = {.bufs = bufs, .n_bufs = N};
  Bound b = {.n_bufs = N, .n_temps = N, .bufs = local, .temps = temps};
  memcpy(again, local, sizeof again);
  assert_int_equal(layout_temps(&p, &b, NULL, &total), VLPC_OK);
  assert_true(total < sum / 2);
  for (uint32_t i = 0; i < N; i++) {
    assert_int_equal(local[i].offset % 64, 0);
    assert_true(local[i].offset + local[i].bytes <= total);
    for (uint32_t k = 0; k < i; k++) {
      bool together = bufs[i].first <= bufs[k].last && bufs[k].first <= bufs[i].last;
      bool apart = local[i].offset + local[i].bytes <= local[k].offset ||
                   local[k].offset + local[k].bytes <= local[i].offset;
      assert_true(!together || apart);
    }
  }
  b.bufs = again;
  assert_int_equal(layout_temps(&p, &b, NULL, &total), VLPC_OK);
  for (uint32_t i = 0; i < N; i++) assert_int_equal(again[i].offset, local[i].offset);
}

/* ---- allocation --------------------------------------------------------- */

static void equal_shapes_reuse_everything(void **state) {
  static float a[M * K], out[M];
  vlpc_tensor t;
  (void)state;
  vlpc_session *s = new_session(2);
  run_sum(s, a, a, M, K, out);
  assert_int_equal(vlpc_session_output(s, "sum", "total", &t), VLPC_OK);
  void *temp = s->temp.handle, *result = t.data, *args = s->bound[0].args;
  for (int i = 0; i < 10; i++) {
    run_sum(s, a, a, i % 2 ? M : M / 2, K, out);
    assert_int_equal(vlpc_session_output(s, "sum", "total", &t), VLPC_OK);
    assert_ptr_equal(s->temp.handle, temp);
    assert_ptr_equal(t.data, result);
    assert_ptr_equal(s->bound[0].args, args);
  }
  vlpc_session_free(s);
}

/* Memory that runs out under one entry leaves the session without temporaries. */
static void lost_temporaries_are_taken_again(void **state) {
  static float a[M * K], out[M];
  (void)state;
  vlpc_session *s = new_session(1);
  run_sum(s, a, a, M, K, out);
  s->code->driver->release(s->stream, &s->temp);
  run_sum(s, a, a, M, K, out);
  assert_non_null(s->temp.handle);
  vlpc_session_free(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(threads_and_batches_give_equal_bits),
      cmocka_unit_test(the_callers_rounding_mode_does_not_matter),
      cmocka_unit_test(zero_rows_give_zero_rows),
      cmocka_unit_test(outputs_go_to_the_callers_buffer),
      cmocka_unit_test(contradicting_shapes_are_named),
      cmocka_unit_test(wrong_inputs_are_named),
      cmocka_unit_test(huge_batches_are_refused_before_memory_is_taken),
      cmocka_unit_test(indices_out_of_range_name_the_node),
      cmocka_unit_test(failing_steps_name_the_node),
      cmocka_unit_test(steps_that_leave_their_buffers_never_run),
      cmocka_unit_test(a_second_thread_is_told),
      cmocka_unit_test(sessions_in_threads_share_an_artifact),
      cmocka_unit_test(the_null_device_counts),
      cmocka_unit_test(steps_are_reported_in_order),
      cmocka_unit_test(layouts_do_not_overlap),
      cmocka_unit_test(equal_shapes_reuse_everything),
      cmocka_unit_test(lost_temporaries_are_taken_again),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
