/* SPDX-License-Identifier: Apache-2.0 */
/* evaluate.c - scores of photos, batch by batch.
**
** Where texts are those of one image (CoCoOp) the session classifies, and the logarithms
** of its probabilities serve as scores; else scores are cosines times the model's scale. */
#include "train/evaluate.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "train/parts.h"

typedef vlpc_status PhotosFn(vlpc_session *, const vlpc_image *, uint32_t, float *);

typedef struct {
  const EvaluateSpec *s;
  const ItemList *items;
  vlpc_artifact_info info;
  bool whole; /* scores are made of photos: texts follow them, or a module writes scores */
  float *labels;   /* [classes, embed] */
  float *features; /* [batch, embed] */
  float *made;     /* [batch, embed]: of todo */
  uint32_t *todo;  /* [batch]: photos that the session is to see */
  Hash128 *key;    /* [batch]: theirs */
  Parts parts;     /* of each process in a round: scores [batch, classes] */
  float *scores;   /* this process's */
  uint32_t *label; /* [batch] */
  vlpc_image *image;
  Image *read;     /* those that lie in no files of their own */
} Eval;

static bool has_input(const vlpc_artifact *a, const char *entry, const char *name) {
  vlpc_port p = {.struct_size = sizeof p};
  for (uint32_t i = 0; vlpc_artifact_port(a, entry, VLPC_INPUT, i, &p); i++)
    if (strcmp(p.name, name) == 0) return true;
  return false;
}

bool evaluate_keeps_images(const vlpc_artifact *a) {
  vlpc_port p = {.struct_size = sizeof p};
  bool only_image = true;
  for (uint32_t i = 0; vlpc_artifact_port(a, "image", VLPC_INPUT, i, &p); i++)
    only_image = only_image && strcmp(p.name, "image") == 0;
  return only_image;
}

/* ---- a batch --------------------------------------------------------------- */

/* Photo i of those that the session is to see. */
static VlStatus name_photo(Eval *e, uint32_t i, Diag *d) {
  const Item *it = &e->items->at[e->todo[i]];
  e->image[i] = (vlpc_image){.path = it->path};
  if (it->shard == ITEM_FILE) return VLPC_OK;
  VL_TRY(dataset_open_photo(e->s->data, it, d, &e->read[i]));
  const Image *read = &e->read[i];
  e->image[i] = (vlpc_image){.rgb = read->pixels, .width = read->width, .height = read->height};
  return VLPC_OK;
}

/* fn of n photos, into out. */
static VlStatus run_photos(Eval *e, uint32_t n, PhotosFn *fn, Diag *d, float *out) {
  VlStatus st = VLPC_OK;
  for (uint32_t i = 0; st == VLPC_OK && i < n; i++) st = name_photo(e, i, d);
  if (st == VLPC_OK && n > 0) st = fn(e->s->session, e->image, n, out);
  for (uint32_t i = 0; i < n; i++)
    dataset_close_photo(&e->items->at[e->todo[i]], &e->read[i]);
  return st;
}

/* Takes rows that an earlier run kept, of photos [at, at + *n); how many are left in todo is
** *n. */
static VlStatus take_found(Eval *e, uint32_t at, uint32_t *n, Diag *d, float *out) {
  size_t embed = (size_t)e->info.embed_dim;
  uint32_t left = 0;
  for (uint32_t i = 0; e->s->kept && i < *n; i++) {
    Hash128 key;
    VL_TRY(dataset_hash_photo(e->s->data, &e->items->at[at + i], d, &key));
    const float *row = features_find(e->s->kept, &key);
    if (row) memcpy(out + i * embed, row, embed * sizeof *row);
    else e->key[left] = key, e->todo[left++] = at + i;
  }
  if (e->s->kept) *n = left;
  return VLPC_OK;
}

static VlStatus make_features(Eval *e, uint32_t at, uint32_t n, Diag *d, float **out) {
  const EvaluateSpec *s = e->s;
  size_t embed = (size_t)e->info.embed_dim;
  *out = s->features ? s->features + at * embed : e->features;
  if (s->features && *s->has) return VLPC_OK;
  VL_TRY(take_found(e, at, &n, d, *out));
  VL_TRY(run_photos(e, n, vlpc_embed_images, d, e->made));
  for (uint32_t i = 0; i < n; i++) {
    const float *row = e->made + i * embed;
    memcpy(*out + (e->todo[i] - at) * embed, row, embed * sizeof *row);
    features_add(s->kept, &e->key[i], row);
  }
  return VLPC_OK;
}

static void cosines(const Eval *e, const float *x, uint32_t n) {
  size_t embed = (size_t)e->info.embed_dim, classes = e->s->data->n_classes;
  double scale = e->info.logit_scale > 0 ? e->info.logit_scale : 100;
  for (size_t i = 0; i < n; i++)
    for (size_t c = 0; c < classes; c++) {
      double dot = 0;
      for (size_t k = 0; k < embed; k++)
        dot += (double)x[i * embed + k] * (double)e->labels[c * embed + k];
      e->scores[i * classes + c] = (float)(scale * dot);
    }
}

static VlStatus score(Eval *e, uint32_t at, uint32_t n, Diag *d) {
  float *x = NULL;
  for (uint32_t i = 0; i < n; i++) e->todo[i] = at + i;
  if (!e->whole) {
    VL_TRY(make_features(e, at, n, d, &x));
    cosines(e, x, n);
    return VLPC_OK;
  }
  VL_TRY(run_photos(e, n, vlpc_classify, d, e->scores));
  for (size_t i = 0; i < (size_t)n * e->s->data->n_classes; i++)
    e->scores[i] = logf(fmaxf(e->scores[i], FLT_MIN));
  return VLPC_OK;
}

/* ---- all of them ----------------------------------------------------------- */

static void make_room(Eval *e, Arena *a) {
  size_t batch = e->s->batch, classes = e->s->data->n_classes, embed = (size_t)e->info.embed_dim;
  e->labels = arena_array(a, float, classes * embed);
  e->features = arena_array(a, float, batch * embed);
  e->made = arena_array(a, float, batch * embed);
  e->todo = arena_array(a, uint32_t, batch);
  e->key = arena_array(a, Hash128, batch);
  e->parts = parts_new(e->s->team, e->s->team ? e->s->team->size : 1, batch * classes, a);
  e->label = arena_array(a, uint32_t, batch);
  e->image = arena_array(a, vlpc_image, batch);
  e->read = arena_array(a, Image, batch);
}

/* Photos of a round that are a process's: [*from, *from + n). */
static uint32_t share_of(const Eval *e, uint32_t process, uint32_t at, uint32_t *from) {
  uint64_t size = e->parts.n, n = VL_MIN(e->s->batch * size, (uint64_t)e->items->n - at);
  uint32_t begin = (uint32_t)(n * process / size), end = (uint32_t)(n * (process + 1) / size);
  *from = at + begin;
  return end - begin;
}

/* Counts what all have made of a round. */
static VlStatus add_round(Eval *e, uint32_t at, ScoreSum *sum, Diag *d) {
  for (uint32_t i = 0; i < e->parts.n; i++) {
    uint32_t from, n = share_of(e, i, at, &from);
    for (uint32_t k = 0; k < n; k++) e->label[k] = e->items->at[from + k].label;
    VL_TRY(scores_add(sum, e->parts.at + i * e->parts.width + PART_FLOATS, e->label, n, d));
  }
  return VLPC_OK;
}

/* This process's photos of a round.  What is not finite is a score, so that all hear of it. */
static VlStatus score_share(Eval *e, uint32_t at, uint32_t n, Diag *d) {
  VlStatus s = score(e, at, n, d);
  if (s != VLPC_E_NUMERIC) return s;
  for (size_t i = 0; i < (size_t)n * e->s->data->n_classes; i++) e->scores[i] = NAN;
  return VLPC_OK;
}

/* ready: whether this process can. */
static VlStatus score_all(Eval *e, VlStatus ready, ScoreSum *sum, Diag *d) {
  for (uint64_t at = 0; at < e->items->n; at += e->s->batch * (uint64_t)e->parts.n) {
    uint32_t from, n = share_of(e, e->parts.first, (uint32_t)at, &from);
    e->scores = parts_row(&e->parts, e->parts.first);
    VlStatus mine = ready == VLPC_OK && n > 0 ? score_share(e, from, n, d) : ready;
    VL_TRY(parts_share(&e->parts, mine, d));
    VL_TRY(add_round(e, (uint32_t)at, sum, d));
  }
  return VLPC_OK;
}

static VlStatus embed_labels(Eval *e, Diag *d) {
  VlStatus s = vlpc_embed_labels(e->s->session, e->labels);
  if (s != VLPC_E_NUMERIC) return s;
  return diag_error(d, DIAG_NOT_FINITE, DIAG_NOWHERE, "features of the classes are not finite");
}

VlStatus evaluate(const EvaluateSpec *s, Arena *a, Diag *d, Scores *out) {
  Eval e = {.s = s, .items = &s->data->split[s->split], .info = {.struct_size = sizeof e.info}};
  ScoreSum *sum = scores_new(s->data->n_classes, a);
  if (e.items->n == 0)
    return diag_error(d, DIAG_DATA_SPLIT, DIAG_NOWHERE, "the %s split has no photos",
                      split_name(s->split));
  vlpc_artifact_get_info(s->artifact, &e.info);
  vlpc_port scores = {.struct_size = sizeof scores};
  e.whole = has_input(s->artifact, "text", "image_features") ||
           vlpc_artifact_port(s->artifact, "scores", VLPC_OUTPUT, 0, &scores);
  make_room(&e, a);
  VlStatus ready = s->ready;
  if (ready == VLPC_OK && !e.whole) ready = embed_labels(&e, d);
  VL_TRY(score_all(&e, ready, sum, d));
  if (s->has) *s->has = true;
  features_keep(s->kept);
  scores_finish(sum, a, out);
  return VLPC_OK;
}
