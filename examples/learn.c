/* SPDX-License-Identifier: Apache-2.0 */
/* learn.c - learns prompts from photos inside a program, with the public API alone.
**
**   vlpc compile clip.onnx --prompt coop.onnx --train -o coop.vlpc
**   ./learn coop.vlpc photos/ prompts.safetensors
**
** photos/ has a folder of photos for each class.  Nothing is written but the result. */
#include <math.h>
#include <stdio.h>

#include <vlpc/vlpc_train.h>

static int fail(const char *text) {
  fputs(text && *text ? text : "memory is out\n", stderr);
  return 1;
}

/* Euclidean length of the last step's gradient of everything that is learned. */
static double gradient_norm(const vlpc_trainer *t) {
  vlpc_tensor value, grad;
  double sum = 0;
  for (uint32_t i = 0; vlpc_trainer_tensor(t, i, NULL, &value, &grad); i++) {
    const float *g = grad.data;
    int64_t n = 1;
    for (int32_t k = 0; k < grad.rank; k++) n *= grad.shape[k];
    for (int64_t k = 0; g && k < n; k++) sum += (double)g[k] * (double)g[k];
  }
  return sqrt(sum);
}

int main(int argc, char **argv) {
  static const char *const set[] = {"epochs=5", "shots=0", "augment=none", NULL};
  vlpc_trainer_options o = {.struct_size = sizeof o, .set = set};
  vlpc_train_step step = {.struct_size = sizeof step};
  vlpc_train_scores scores = {.struct_size = sizeof scores};
  vlpc_artifact *artifact;
  vlpc_trainer *trainer;
  vlpc_prompts *prompts;

  if (argc != 4) {
    fprintf(stderr, "usage: %s MODEL.vlpc PHOTOS RESULT.safetensors\n", argv[0]);
    return 2;
  }
  o.data = argv[2];
  if (vlpc_artifact_open(argv[1], NULL, &artifact) != VLPC_OK)
    return fail(vlpc_artifact_error(artifact));
  if (vlpc_trainer_new(artifact, &o, &trainer) != VLPC_OK)
    return fail(vlpc_trainer_error(trainer));

  while (!step.done) {
    if (vlpc_trainer_step(trainer, &step) != VLPC_OK) return fail(vlpc_trainer_error(trainer));
    if (step.epoch_done)
      printf("epoch %u: loss %.4f, gradient %.4f\n", step.epoch + 1, step.loss,
             gradient_norm(trainer));
  }
  if (vlpc_trainer_evaluate(trainer, VLPC_TRAIN, &scores) != VLPC_OK)
    return fail(vlpc_trainer_error(trainer));
  printf("%.1f %% of the photos learned from\n", 100 * scores.top1);

  if (vlpc_trainer_prompts(trainer, &prompts) != VLPC_OK)
    return fail(vlpc_trainer_error(trainer));
  if (vlpc_prompts_write(prompts, argv[3]) != VLPC_OK) return fail(vlpc_prompts_error(prompts));
  vlpc_prompts_close(prompts);
  vlpc_trainer_free(trainer);
  vlpc_artifact_close(artifact);
  return 0;
}
