/* SPDX-License-Identifier: Apache-2.0 */
/* classify.c - photos to probabilities of the labels.
**
** Scores are scaled cosines of the features, or what the model's entry for scores makes
** of them.  Texts that follow the image (CoCoOp) are made anew for each photo. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/easy_int.h"

#define SCORES_CHUNK 256 /* photos of one run of the entry for scores */

/* Features that scores are made of, each row of unit length. */
typedef struct {
  const float *of_labels;
  float *of_photos; /* with room for whole chunks */
  uint32_t n;       /* photos */
} Rows;

/* ---- scores ------------------------------------------------------------- */

/* p is one row of features. */
static void cosines(const Labels *l, const float *features, double scale, const float *p,
                    float *out) {
  for (uint32_t i = 0; i < l->n; i++) {
    double dot = 0;
    for (uint32_t k = 0; k < l->embed; k++)
      dot += (double)p[k] * (double)features[(size_t)i * l->embed + k];
    out[i] = (float)(scale * dot);
  }
}

static void softmax(float *x, uint32_t n) {
  double most = -INFINITY, sum = 0;
  for (uint32_t i = 0; i < n; i++) most = VL_MAX(most, (double)x[i]);
  for (uint32_t i = 0; i < n; i++) sum += exp((double)x[i] - most);
  for (uint32_t i = 0; i < n; i++) x[i] = (float)(exp((double)x[i] - most) / sum);
}

static void scale_cosines(const vlpc_session *s, const Rows *x, float *out) {
  const Labels *l = &s->labels;
  double scale = s->model->manifest.logit_scale > 0 ? s->model->manifest.logit_scale : 100;
  for (uint32_t i = 0; i < x->n; i++)
    cosines(l, x->of_labels, scale, x->of_photos + (size_t)i * l->embed, out + (size_t)i * l->n);
}

static VlStatus score_chunk(vlpc_session *s, const Role *r, float *of_photos, const Rows *x) {
  const Labels *l = &s->labels;
  const char *entry = r->role->entry;
  vlpc_tensor photos = {of_photos, VLPC_F32, 2, {(int64_t)x->n, l->embed}};
  vlpc_tensor texts = {(void *)(uintptr_t)x->of_labels, VLPC_F32, 2, {l->n, l->embed}};
  VL_TRY(session_set(s, entry, r->role->input, &photos));
  if (easy_input(s->model, r->bound->e, "text_features") >= 0)
    VL_TRY(session_set(s, entry, "text_features", &texts));
  return session_run(s, r->bound);
}

static VlStatus run_scores(vlpc_session *s, const Role *r, const Rows *x, float *out) {
  const Labels *l = &s->labels;
  for (uint32_t at = 0; at < x->n; at += r->chunk) {
    uint32_t rows = VL_MIN(x->n - at, r->chunk);
    Rows chunk = {x->of_labels, NULL, r->fixed ? r->chunk : rows};
    vlpc_tensor t;
    VL_TRY(score_chunk(s, r, x->of_photos + (size_t)at * l->embed, &chunk));
    VL_TRY(session_get(s, r->role->entry, r->role->output, &t));
    if (t.shape[0] < (int64_t)rows || t.shape[1] != (int64_t)l->n)
      return easy_lacks(s, "score for each label", "give as many labels as its module has");
    memcpy(out + (size_t)at * l->n, t.data, (size_t)rows * l->n * sizeof *out);
  }
  return VLPC_OK;
}

static VlStatus scores(vlpc_session *s, const Rows *x, float *out) {
  Role r;
  if (!s->model->manifest.scores.entry) {
    scale_cosines(s, x, out);
    return VLPC_OK;
  }
  VL_TRY(easy_role(s, &s->model->manifest.scores, "scores", SCORES_CHUNK, &r));
  VlStatus st = run_scores(s, &r, x, out);
  easy_forget_inputs(r.bound);
  return st;
}

/* ---- texts of one image --------------------------------------------------- */

/* The image's features as its entry gave them go into the texts. */
static VlStatus follow_image(vlpc_session *s, const vlpc_image *image, float *photo,
                             float *features) {
  const ManifestRole *role = &s->model->manifest.image;
  vlpc_tensor raw;
  VL_TRY(easy_photos(s, image, 1, photo));
  VL_TRY(session_get(s, role->entry, role->output, &raw));
  return labels_of_image(s, raw.data, features);
}

static VlStatus classify_each(vlpc_session *s, const vlpc_image *images, uint32_t n, float *out) {
  const Labels *l = &s->labels;
  float *features = calloc((size_t)l->n * l->embed, sizeof *features);
  float *photo = malloc(l->embed * sizeof *photo);
  VlStatus st = photo && features ? VLPC_OK : easy_no_memory(s, "features");
  for (uint32_t i = 0; st == VLPC_OK && i < n; i++) {
    st = follow_image(s, &images[i], photo, features);
    if (st == VLPC_OK) scale_cosines(s, &(Rows){features, photo, 1}, out + (size_t)i * l->n);
  }
  free(photo), free(features);
  return st;
}

/* ---- together --------------------------------------------------------------- */

static VlStatus classify_all(vlpc_session *s, const vlpc_image *images, uint32_t n, float *out) {
  Rows x = {.n = n};
  VL_TRY(labels_features(s, &x.of_labels));
  size_t room = (size_t)n + EASY_MAX_CHUNK;
  x.of_photos = calloc(room * s->labels.embed + 1, sizeof *x.of_photos);
  VlStatus st = x.of_photos ? VLPC_OK : easy_no_memory(s, "features");
  if (st == VLPC_OK) st = easy_photos(s, images, n, x.of_photos);
  if (st == VLPC_OK) st = scores(s, &x, out);
  free(x.of_photos);
  return st;
}

VlStatus labels_classify(vlpc_session *s, const vlpc_image *images, uint32_t n, float *out) {
  uint32_t labels = s->labels.n;
  if (labels == 0)
    return session_argument(s, "no labels are set: call vlpc_set_labels first");
  VL_TRY((labels_follow_images(s->model) ? classify_each : classify_all)(s, images, n, out));
  for (uint32_t i = 0; i < n; i++) softmax(out + (size_t)i * labels, labels);
  return VLPC_OK;
}
