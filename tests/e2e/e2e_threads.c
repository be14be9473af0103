/* SPDX-License-Identifier: Apache-2.0 */
/* e2e_threads.c - one artifact, a session in each of several threads at once:
** made at once, run at once, freed at once, with equal results. */
#include "tests/e2e/e2e_kit.h"

#include <pthread.h>
#include <string.h>

enum { THREADS = 6, ROUNDS = 8, IMAGES = 3, TEXTS = 5, EMBED = 48 };

typedef struct {
  vlpc_artifact *a;
  const Npz *in;
  int number;
  const char *cache, *isa;
  const char *fault; /* NULL: none */
  float image[IMAGES * EMBED], text[TEXTS * EMBED], logits[IMAGES * TEXTS];
} Worker;

/* As line_run, but cmocka's failures belong to the main thread. */
static const char *run(vlpc_session *s, const char *entry, const Npz *in, const char *output,
                       float *to, size_t n) {
  bool image = strcmp(entry, "text") != 0, text = strcmp(entry, "image") != 0;
  for (uint32_t i = 0; i < in->n; i++) {
    if (!(i == 0 ? image : text)) continue;
    vlpc_tensor t = {.data = (void *)(uintptr_t)in->at[i].data, .dtype = in->at[i].dtype,
                     .rank = (int32_t)in->at[i].rank};
    memcpy(t.shape, in->at[i].size, sizeof t.shape);
    if (vlpc_session_set_input(s, entry, in->at[i].name, &t) != VLPC_OK) return "set_input";
  }
  if (vlpc_session_set_output(s, entry, output, to, n) != VLPC_OK) return "set_output";
  return vlpc_session_run(s, entry) == VLPC_OK ? NULL : "run";
}

static const char *run_all(Worker *w, vlpc_session *s) {
  const char *fault = run(s, "image", w->in, "image_features", w->image, sizeof w->image);
  if (!fault) fault = run(s, "text", w->in, "text_features", w->text, sizeof w->text);
  if (!fault) fault = run(s, "model", w->in, "logits_per_image", w->logits, sizeof w->logits);
  return fault;
}

static void *work(void *arg) {
  Worker *w = arg, first;
  vlpc_session_options o = {.struct_size = sizeof o, .threads = 1 + w->number % 3,
                            .cache_dir = w->cache, .isa = w->isa};
  vlpc_session *s = NULL;
  if (vlpc_session_new(w->a, &o, &s) != VLPC_OK) w->fault = "session_new";
  if (!w->fault) w->fault = run_all(w, s);
  first = *w;
  for (int i = 1; i < ROUNDS && !w->fault; i++) {
    w->fault = run_all(w, s);
    if (memcmp(first.image, w->image, sizeof w->image) ||
        memcmp(first.text, w->text, sizeof w->text) ||
        memcmp(first.logits, w->logits, sizeof w->logits))
      w->fault = "a later round differs";
  }
  vlpc_session_free(s);
  return NULL;
}

static void run_workers(vlpc_artifact *a, const Npz *in, const char *cache, const char *isa) {
  Worker *w = arena_array(e2e, Worker, THREADS);
  pthread_t id[THREADS];
  for (int i = 0; i < THREADS; i++) {
    w[i] = (Worker){.a = a, .in = in, .number = i, .cache = cache, .isa = isa};
    assert_int_equal(pthread_create(&id[i], NULL, work, &w[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) pthread_join(id[i], NULL);
  for (int i = 0; i < THREADS; i++) {
    if (w[i].fault) fail_msg("thread %d: %s", i, w[i].fault);
    same_bits(w[i].image, w[0].image, sizeof w[0].image, "image_features");
    same_bits(w[i].text, w[0].text, sizeof w[0].text, "text_features");
    same_bits(w[i].logits, w[0].logits, sizeof w[0].logits, "logits_per_image");
  }
}

static vlpc_artifact *tiny_artifact(void) {
  vlpc_compile_options o = {0};
  vlpc_artifact *a = NULL;
  o.models[0] = arena_printf(e2e, "%s/model.onnx", e2e_tiny("tiny", false, 17));
  const char *path = e2e_compile(o, "tiny.vlpc");
  assert_int_equal(vlpc_artifact_open(path, NULL, &a), VLPC_OK);
  return a;
}

static void sessions_at_once_give_equal_results(void **state) {
  (void)state;
  Npz in = tiny_inputs(IMAGES, TEXTS);
  vlpc_artifact *a = tiny_artifact();
  run_workers(a, &in, NULL, NULL);
  run_workers(a, &in, NULL, "portable");
  vlpc_artifact_close(a);
}

/* The code is made once and the cache written while others read it. */
static void sessions_at_once_share_a_cache(void **state) {
  (void)state;
  Npz in = tiny_inputs(IMAGES, TEXTS);
  for (int round = 0; round < 2; round++) {
    vlpc_artifact *a = tiny_artifact();
    run_workers(a, &in, e2e_file("cache"), NULL);
    vlpc_artifact_close(a);
  }
}

/* Artifacts of their own in each thread, compiled there. */
static void *compile_one(void *arg) {
  const char **path = arg;
  vlpc_compiler *c = NULL;
  vlpc_compile_options o = {.struct_size = sizeof o, .output = path[1]};
  o.models[0] = path[0];
  bool ok = vlpc_compiler_open(NULL, &c) == VLPC_OK && vlpc_compile(c, &o) == VLPC_OK;
  vlpc_compiler_close(c);
  return ok ? NULL : arg;
}

static void compilers_at_once_write_equal_files(void **state) {
  (void)state;
  const char *path[THREADS][2];
  pthread_t id[THREADS];
  const char *model = arena_printf(e2e, "%s/model.onnx", e2e_tiny("tiny", false, 17));
  for (int i = 0; i < THREADS; i++) {
    path[i][0] = model, path[i][1] = e2e_file("own%d.vlpc", i);
    assert_int_equal(pthread_create(&id[i], NULL, compile_one, path[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) {
    void *fault = NULL;
    pthread_join(id[i], &fault);
    assert_null(fault);
  }
  for (int i = 1; i < THREADS; i++) same_files(path[0][1], path[i][1]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sessions_at_once_give_equal_results),
      cmocka_unit_test(sessions_at_once_share_a_cache),
      cmocka_unit_test(compilers_at_once_write_equal_files),
  };
  return cmocka_run_group_tests(tests, e2e_set_up, e2e_tear_down);
}
