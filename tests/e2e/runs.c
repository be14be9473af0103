/* SPDX-License-Identifier: Apache-2.0 */
#include "runs.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

const char *artifact_of(const char *method, int64_t length) {
  const char *module = e2e_file("%s.onnx", method);
  vlpc_prompt_options p = {.struct_size = sizeof p, .method = method, .output = module,
                           .models = {CLIP "model.onnx"}, .length = length,
                           .tokenizer = CLIP "tokenizer.json"};
  e2e_ok(vlpc_prompt_write(e2e_compiler, &p));
  vlpc_compile_options o = {.models = {CLIP "model.onnx"}, .tokenizer = CLIP "tokenizer.json",
                            .preprocess = CLIP "preprocessor_config.json", .prompt = module,
                            .train = 1};
  return e2e_compile(o, arena_printf(e2e, "%s.vlpc", method));
}

/* Up to n photos of each class of a folder. */
static void few(const char *from, const char *to, uint32_t n) {
  struct dirent **class = NULL, **photo = NULL;
  int classes = scandir(arena_printf(e2e, PHOTOS "%s", from), &class, NULL, alphasort);
  mkdir(e2e_file("%s", to), 0777);
  for (int i = 0; i < classes; i++) {
    const char *source = arena_printf(e2e, PHOTOS "%s/%s", from, class[i]->d_name);
    int photos = class[i]->d_name[0] == '.' ? 0 : scandir(source, &photo, NULL, alphasort);
    uint32_t taken = 0;
    if (photos > 0) mkdir(e2e_file("%s/%s", to, class[i]->d_name), 0777);
    for (int k = 0; k < photos; k++) {
      const char *name = photo[k]->d_name;
      if (name[0] != '.' && taken++ < n)
        assert_int_equal(symlink(arena_printf(e2e, "%s/%s", source, name),
                                 e2e_file("%s/%s/%s", to, class[i]->d_name, name)), 0);
      free(photo[k]);
    }
    if (photos > 0) free(photo);
    free(class[i]);
  }
  free(class);
}

void only_photos(const char *folder, uint32_t n, const char **out) {
  struct dirent **class = NULL, **photo = NULL;
  int classes = scandir(folder, &class, NULL, alphasort);
  uint32_t taken = 0;
  for (int i = 0; i < classes; i++) {
    const char *at = arena_printf(e2e, "%s/%s", folder, class[i]->d_name);
    int photos = class[i]->d_name[0] == '.' ? 0 : scandir(at, &photo, NULL, alphasort);
    if (photos > 0) assert_true(photos == 3 && taken < n); /* with . and .. */
    if (photos > 0) out[taken++] = arena_printf(e2e, "%s/%s", at, photo[2]->d_name);
    for (int k = 0; k < photos; k++) free(photo[k]);
    if (photos > 0) free(photo);
    free(class[i]);
  }
  free(class);
  assert_int_equal(taken, n);
}

void eurosat(void) {
  mkdir(e2e_file("one"), 0777);
  few("eurosat_train16", "one/train", 1);
  few("eurosat_test", "one/val", 2);
  assert_int_equal(symlink(PHOTOS "eurosat_test/labels.txt", e2e_file("one/classes.txt")), 0);
  mkdir(e2e_file("eurosat"), 0777);
  assert_int_equal(symlink(PHOTOS "eurosat_train16", e2e_file("eurosat/train")), 0);
  few("eurosat_test", "eurosat/test", 20);
  assert_int_equal(symlink(PHOTOS "eurosat_test/labels.txt", e2e_file("eurosat/classes.txt")), 0);
}

vlpc_artifact *open_artifact(const char *path) {
  vlpc_artifact *a = NULL;
  assert_int_equal(vlpc_artifact_open(path, NULL, &a), VLPC_OK);
  return a;
}

vlpc_trainer_options options_of(const Run *r, vlpc_session_options *s) {
  *s = (vlpc_session_options){.struct_size = sizeof *s, .threads = r->threads,
                              .memory_limit = r->memory,
                              .cache_dir = E2E_CODE};
  return (vlpc_trainer_options){.struct_size = sizeof(vlpc_trainer_options),
                                .data = e2e_file("%s", r->data ? r->data : "eurosat"),
                                .run = r->run,
                                .set = r->set,
                                .start = r->start,
                                .resume = r->resume,
                                .session = s,
                                .cache_dir = r->features};
}

vlpc_status open_run(const Run *r, vlpc_artifact *a, vlpc_trainer **out) {
  vlpc_session_options s;
  vlpc_trainer_options o = options_of(r, &s);
  return vlpc_trainer_new(a, &o, out);
}

void trainer_ok(const vlpc_trainer *t, vlpc_status s) {
  if (s != VLPC_OK) fail_msg("%s", vlpc_trainer_error(t));
}

vlpc_trainer *trainer_of(const Run *r, vlpc_artifact *a) {
  vlpc_trainer *t = NULL;
  vlpc_status s = open_run(r, a, &t);
  trainer_ok(t, s);
  return t;
}

bool go(const Run *r, uint32_t n) {
  vlpc_artifact *a = open_artifact(r->artifact);
  vlpc_train_step step = {.struct_size = sizeof step};
  vlpc_trainer *t = trainer_of(r, a);
  while (n-- > 0 && !step.done) trainer_ok(t, vlpc_trainer_step(t, &step));
  if (step.done) trainer_ok(t, vlpc_trainer_finish(t));
  vlpc_trainer_free(t);
  vlpc_artifact_close(a);
  return step.done;
}

const char *result(const Run *r) {
  return arena_printf(e2e, "%s/prompts.safetensors", r->run);
}
