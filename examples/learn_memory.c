/* SPDX-License-Identifier: Apache-2.0 */
/* learn_memory.c - learns from photos that a program has in memory, and goes on when more
** come, with the public API alone.
**
**   vlpc compile clip.onnx --prompt coop.onnx --train -o coop.vlpc
**   ./learn_memory coop.vlpc prompts.safetensors
**
** In place of a camera it draws its photos: stripes, checks and rings in any colours. */
#include <stdio.h>
#include <stdlib.h>

#include <vlpc/vlpc_train.h>

enum { CLASSES = 3, BATCH = 12, SIDE = 96, STEPS = 15, LOOKS = 5 };
static const char *const names[CLASSES] = {"stripes", "checks", "rings"};

typedef struct {
  uint8_t rgb[BATCH][SIDE * SIDE * 3];
  vlpc_image image[BATCH];
  uint32_t label[BATCH];
} Camera;

static uint32_t draw(uint32_t *state, uint32_t below) {
  *state = *state * 1664525u + 1013904223u;
  return (*state >> 16) % below;
}

/* Whether a point lies on the figure. */
static int is_on(uint32_t label, int x, int y, int width) {
  int dx = x - SIDE / 2, dy = y - SIDE / 2;
  if (label == 0) return x / width % 2;
  if (label == 1) return (x / width + y / width) % 2;
  return (dx * dx + dy * dy) / (width * SIDE / 2) % 2;
}

/* Photos that were never seen before, each of some class. */
static vlpc_photos look(Camera *c, uint32_t *state) {
  for (uint32_t i = 0; i < BATCH; i++) {
    uint32_t colour[2][3], width = 6 + draw(state, 8);
    for (uint32_t k = 0; k < 6; k++) colour[k / 3][k % 3] = draw(state, 256);
    c->label[i] = draw(state, CLASSES);
    c->image[i] = (vlpc_image){.rgb = c->rgb[i], .width = SIDE, .height = SIDE};
    for (int p = 0; p < SIDE * SIDE; p++)
      for (int k = 0; k < 3; k++)
        c->rgb[i][3 * p + k] =
            (uint8_t)colour[is_on(c->label[i], p % SIDE, p / SIDE, (int)width)][k];
  }
  return (vlpc_photos){sizeof(vlpc_photos), c->image, c->label, BATCH};
}

static int fail(const char *text) {
  fputs(text && *text ? text : "memory is out\n", stderr);
  return 1;
}

/* Share of the photos of some batches that is told right. */
static vlpc_status score(vlpc_trainer *t, Camera *c, double *right) {
  uint32_t state = 12345; /* the same photos each time */
  *right = 0;
  for (int i = 0; i < LOOKS; i++) {
    vlpc_train_scores s = {.struct_size = sizeof s};
    vlpc_photos photos = look(c, &state);
    vlpc_status status = vlpc_trainer_evaluate_on(t, &photos, &s);
    if (status != VLPC_OK) return status;
    *right += s.top1 / LOOKS;
  }
  return VLPC_OK;
}

static vlpc_status learn(vlpc_trainer *t, Camera *c) {
  uint32_t state = 1;
  for (int i = 0; i < STEPS; i++) {
    vlpc_train_step step = {.struct_size = sizeof step};
    vlpc_photos photos = look(c, &state);
    vlpc_status status = vlpc_trainer_step_on(t, &photos, &step);
    if (status != VLPC_OK) return status;
    if (i % 5 == 4) printf("step %d: loss %.4f\n", i + 1, step.loss);
  }
  return VLPC_OK;
}

static int run(vlpc_trainer *t, Camera *c, const char *result) {
  double before, after;
  vlpc_prompts *prompts;
  if (score(t, c, &before) != VLPC_OK || learn(t, c) != VLPC_OK ||
      score(t, c, &after) != VLPC_OK || vlpc_trainer_prompts(t, &prompts) != VLPC_OK)
    return fail(vlpc_trainer_error(t));
  printf("%.1f %% of new photos before, %.1f %% after\n", 100 * before, 100 * after);
  int failed = vlpc_prompts_write(prompts, result) != VLPC_OK;
  if (failed) fail(vlpc_prompts_error(prompts));
  vlpc_prompts_close(prompts);
  return failed;
}

int main(int argc, char **argv) {
  static const char *const set[] = {"epochs=15", "batch=12", "augment=none", "lr=0.01", NULL};
  vlpc_trainer_options o = {.struct_size = sizeof o, .set = set, .classes = names,
                            .n_classes = CLASSES};
  vlpc_artifact *artifact;
  vlpc_trainer *trainer;
  if (argc < 3) {
    fprintf(stderr, "usage: %s MODEL.vlpc RESULT.safetensors\n", argv[0]);
    return 2;
  }
  if (vlpc_artifact_open(argv[1], NULL, &artifact) != VLPC_OK)
    return fail(vlpc_artifact_error(artifact));
  if (vlpc_trainer_new(artifact, &o, &trainer) != VLPC_OK)
    return fail(vlpc_trainer_error(trainer));
  Camera *camera = malloc(sizeof *camera);
  int failed = camera ? run(trainer, camera, argv[2]) : fail("");
  free(camera);
  vlpc_trainer_free(trainer);
  vlpc_artifact_close(artifact);
  return failed;
}
