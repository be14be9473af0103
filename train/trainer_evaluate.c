/* SPDX-License-Identifier: Apache-2.0 */
/* trainer_evaluate.c - how the prompts of now do on photos. */
#include "train/trainer_int.h"

/* Features of a split's images are kept by number. */
static void keep_split(vlpc_trainer *t, EvaluateSpec *e, uint64_t width) {
  uint64_t n = t->data.split[e->split].n;
  if (!t->features[e->split]) t->features[e->split] = arena_array(t->arena, float, n * width);
  e->features = t->features[e->split], e->has = &t->has_features[e->split];
}

/* Features are kept where prompts do not change them. */
static VlStatus keep_features(vlpc_trainer *t, EvaluateSpec *e) {
  vlpc_artifact_info info = {.struct_size = sizeof info};
  if (!evaluate_keeps_images(t->artifact)) return VLPC_OK;
  vlpc_artifact_get_info(t->artifact, &info);
  FeaturesSpec kept = {.dir = t->kept.dir, .width = (uint64_t)info.embed_dim,
                       .most = t->kept.most, .in_memory = e->data == &t->given};
  if (e->data == &t->data) keep_split(t, e, kept.width);
  if (!t->scored) {
    kept.of = arena_printf(t->arena, "%s\nunit image", t->kept.of);
    VL_TRY(features_open(&kept, t->arena, t->diag, &t->scored));
  }
  e->kept = t->scored;
  return VLPC_OK;
}

static VlStatus take_prompts(vlpc_trainer *t, vlpc_prompts **out) {
  VL_TRY(trainer_prompts(t, out));
  return vlpc_session_set_prompts(t->session, *out);
}

static VlStatus score(vlpc_trainer *t, EvaluateSpec *e, Arena *a, Scores *out) {
  vlpc_prompts *p = NULL;
  if (e->ready == VLPC_OK) e->ready = take_prompts(t, &p);
  VlStatus s = evaluate(e, a, t->diag, out);
  bool own = s != VLPC_OK && diag_count(t->diag) > 0; /* else what the session says is kept */
  VlStatus f = s == VLPC_OK || own ? vlpc_session_forget_prompts(t->session, p) : s;
  vlpc_prompts_close(p);
  return s == VLPC_OK ? f : s;
}

VlStatus trainer_evaluate(vlpc_trainer *t, const Dataset *data, SplitId split, VlStatus ready,
                          Scores *out) {
  EvaluateSpec e = {.artifact = t->artifact, .session = t->session, .data = data,
                    .split = split, .batch = (uint32_t)t->config.test_batch,
                    .team = t->team.size > 1 ? &t->team : NULL};
  e.ready = ready == VLPC_OK ? keep_features(t, &e) : ready;
  Arena *a = arena_new(0); /* what one evaluation makes goes with it */
  if (!a || ARENA_GUARD(a)) {
    arena_free(a);
    return diag_error(t->diag, DIAG_NOMEM, DIAG_NOWHERE, "no memory to evaluate");
  }
  VlStatus s = score(t, &e, a, out);
  arena_free(a);
  out->confusion = NULL, out->class_accuracy = NULL;
  return s;
}
