/* SPDX-License-Identifier: Apache-2.0 */
/* step.c - a batch through the entry of loss and gradients. */
#include "train/step.h"

#include <string.h>

#include "train/parts.h"
#include "train/step_int.h"

struct Step {
  StepSpec spec; /* its batch is that of a shard */
  const char *entry;
  Photos photos;
  Parts parts; /* of shards: loss, then gradients */
  const char **grad_name; /* by tensor */
  float **grad;           /* by tensor; NULL: nothing reaches it */
  bool takes_image, takes_labels; /* pixels, classes of the batch */
  bool lift;                      /* one image at a time */
  float *pixels;                  /* [batch, 3, height, width] */
  size_t floats;                  /* of one photo */
  int64_t *label;                 /* [batch] */
};

/* ---- ports ----------------------------------------------------------------- */

bool step_port(const StepSpec *spec, const char *entry, vlpc_direction dir, uint32_t i,
               vlpc_port *out) {
  out->struct_size = sizeof *out;
  return vlpc_artifact_port(spec->artifact, entry, dir, i, out);
}

bool step_has(const StepSpec *spec, const char *entry, vlpc_direction dir, const char *name) {
  vlpc_port x;
  for (uint32_t i = 0; step_port(spec, entry, dir, i, &x); i++)
    if (strcmp(x.name, name) == 0) return true;
  return false;
}

VlStatus step_misfit(const StepSpec *spec, Diag *d, const char *what) {
  (void)spec;
  VlStatus s = diag_error(d, DIAG_TRAIN_MODULE, DIAG_NOWHERE, "%s", what);
  diag_fix(d, "compile the artifact with --prompt MODULE.onnx --train");
  return s;
}

static VlStatus has_source(const Step *s, const char *name, Diag *d) {
  static const char *const of_labels[] = {"text", "attention_mask", "name_lengths",
                                          "frozen_text_features"};
  const StepSpec *spec = &s->spec;
  bool known = strcmp(name, "image") == 0 || strcmp(name, "labels") == 0;
  for (size_t i = 0; i < VL_COUNT(of_labels); i++)
    known = known || strcmp(name, of_labels[i]) == 0;
  for (uint32_t i = 0; i < spec->n_tensors; i++)
    known = known || strcmp(name, spec->tensor[i].name) == 0;
  for (uint32_t i = 0; i < s->photos.n; i++)
    known = known || strcmp(name, s->photos.in[i].name) == 0;
  if (known || step_has(spec, train_entries[spec->stage].texts, VLPC_OUTPUT, name))
    return VLPC_OK;
  VlStatus st = step_misfit(spec, d, "its step takes an input that training cannot give");
  diag_found(d, "%s", name);
  return st;
}

/* ---- texts that stay ------------------------------------------------------- */

static VlStatus keep_texts(Step *s, Arena *a) {
  const StepSpec *spec = &s->spec;
  const TrainEntries *e = &train_entries[spec->stage];
  vlpc_port x;
  if (!step_port(spec, e->texts, VLPC_OUTPUT, 0, &x)) return VLPC_OK;
  VL_TRY(vlpc_label_inputs(spec->session, e->texts, spec->plain, spec->n_plain));
  VL_TRY(vlpc_session_run(spec->session, e->texts));
  for (uint32_t i = 0; step_port(spec, e->texts, VLPC_OUTPUT, i, &x); i++) {
    vlpc_tensor t;
    VL_TRY(vlpc_session_output(spec->session, e->texts, x.name, &t));
    size_t n = sizeof(float);
    for (int32_t k = 0; k < t.rank; k++) n *= (size_t)t.shape[k];
    float *copy = arena_array(a, float, n / sizeof(float));
    if (n) memcpy(copy, t.data, n);
    t.data = copy;
    VL_TRY(vlpc_session_set_input(spec->session, e->step, x.name, &t));
  }
  return VLPC_OK;
}

/* ---- making ---------------------------------------------------------------- */

/* Gradients lie one behind the other in the sum of the parts. */
static VlStatus find_gradients(Step *s, Arena *a, Diag *d) {
  const StepSpec *spec = &s->spec;
  uint64_t floats = 0, at = PART_FLOATS + 1;
  bool *there = arena_array(a, bool, spec->n_tensors);
  s->grad_name = arena_array(a, const char *, spec->n_tensors);
  s->grad = arena_array(a, float *, spec->n_tensors);
  for (uint32_t i = 0; i < spec->n_tensors; i++) {
    s->grad_name[i] = arena_printf(a, "grad.%s", spec->tensor[i].name);
    there[i] = step_has(spec, s->entry, VLPC_OUTPUT, s->grad_name[i]);
    if (there[i]) floats += spec->tensor[i].n;
  }
  s->parts = parts_new(spec->team, spec->shards, 1 + floats, a);
  for (uint32_t i = 0; i < spec->n_tensors; i++) {
    if (!there[i]) continue;
    s->grad[i] = s->parts.sum + at;
    at += spec->tensor[i].n;
  }
  return floats ? VLPC_OK : step_misfit(spec, d, "the artifact has nothing to train");
}

static void make_room(Step *s, Arena *a) {
  int32_t width, height;
  loader_size(s->spec.loader, &width, &height);
  s->floats = 3 * (size_t)width * (size_t)height;
  s->pixels = arena_array_bytes(a, s->spec.batch, s->floats * sizeof(float));
  s->label = arena_array(a, int64_t, s->spec.batch);
}

VlStatus step_new(const StepSpec *spec, Arena *a, Diag *d, Step **out) {
  vlpc_port x;
  Step *s = *out = arena_one(a, Step);
  *s = (Step){.spec = *spec, .entry = train_entries[spec->stage].whole};
  s->spec.batch = (spec->batch + spec->shards - 1) / spec->shards;
  spec = &s->spec;
  if (step_port(spec, train_entries[spec->stage].step, VLPC_OUTPUT, 0, &x))
    s->entry = train_entries[spec->stage].step;
  if (!step_port(spec, s->entry, VLPC_OUTPUT, 0, &x))
    return step_misfit(spec, d, "the artifact has no entry that computes gradients");
  VL_TRY(photos_new(spec, s->entry, a, d, &s->photos));
  for (uint32_t i = 0; step_port(spec, s->entry, VLPC_INPUT, i, &x); i++) {
    VL_TRY(has_source(s, x.name, d));
    s->takes_image = s->takes_image || strcmp(x.name, "image") == 0;
    s->takes_labels = s->takes_labels || strcmp(x.name, "labels") == 0;
    s->lift = s->lift || strcmp(x.name, "image_features") == 0;
  }
  make_room(s, a);
  VL_TRY(find_gradients(s, a, d));
  return keep_texts(s, a);
}

VlStatus step_begin(const Step *s) {
  const StepSpec *spec = &s->spec;
  return vlpc_label_inputs(spec->session, s->entry, spec->plain, spec->n_plain);
}

bool step_is_there(const vlpc_artifact *a, uint32_t stage) {
  vlpc_port x = {.struct_size = sizeof x};
  return vlpc_artifact_port(a, train_entries[stage].whole, VLPC_OUTPUT, 0, &x);
}

void step_keep(Step *s) { features_keep(s->photos.features); }

void step_count(const Step *s, uint64_t *found, uint64_t *made) {
  features_count(s->photos.features, found, made);
}

bool step_reaches(const Step *s, uint32_t i) { return s->grad[i] != NULL; }

/* ---- a step ---------------------------------------------------------------- */

static VlStatus bind_tensors(const Step *s) {
  for (uint32_t i = 0; i < s->spec.n_tensors; i++) {
    const StepTensor *t = &s->spec.tensor[i];
    if (step_has(&s->spec, s->entry, VLPC_INPUT, t->name))
      VL_TRY(vlpc_session_set_input(s->spec.session, s->entry, t->name, &t->value));
  }
  return VLPC_OK;
}

/* Photos [at, at + n) of the batch. */
static VlStatus bind_photos(const Step *s, uint32_t at, uint32_t n) {
  vlpc_session *session = s->spec.session;
  int32_t width, height;
  loader_size(s->spec.loader, &width, &height);
  vlpc_tensor image = {s->pixels + at * s->floats, VLPC_F32, 4, {n, 3, height, width}};
  vlpc_tensor label = {s->label + at, VLPC_I64, 1, {n}};
  if (s->takes_image) VL_TRY(vlpc_session_set_input(session, s->entry, "image", &image));
  if (s->takes_labels) VL_TRY(vlpc_session_set_input(session, s->entry, "labels", &label));
  for (uint32_t i = 0; i < s->photos.n; i++) {
    const PhotoRows *x = &s->photos.in[i];
    vlpc_tensor t = {x->rows + at * x->width, VLPC_F32, 2, {n, (int64_t)x->width}};
    VL_TRY(vlpc_session_set_input(session, s->entry, x->name, &t));
  }
  return VLPC_OK;
}

VlStatus step_plan(const Step *s, uint32_t i, vlpc_plan *out) {
  VL_TRY(bind_tensors(s));
  VL_TRY(bind_photos(s, 0, s->lift ? 1 : s->spec.batch));
  out->struct_size = sizeof *out;
  VL_TRY(vlpc_session_plan(s->spec.session, s->entry, i, out));
  return out->name ? photos_plan(&s->photos, &s->spec, s->pixels, out) : VLPC_OK;
}

/* Adds what the entry gave for n of the batch's photos to a row. */
static VlStatus add_part(const Step *s, uint32_t n, uint32_t batch, float *row) {
  vlpc_session *session = s->spec.session;
  double share = (double)n / batch;
  vlpc_tensor t;
  VL_TRY(vlpc_session_output(session, s->entry, "loss", &t));
  *row += (float)(share * (double)*(const float *)t.data);
  for (uint32_t i = 0; i < s->spec.n_tensors; i++) {
    if (!s->grad[i]) continue;
    VL_TRY(vlpc_session_output(session, s->entry, s->grad_name[i], &t));
    const float *from = t.data;
    float *to = row + (s->grad[i] - s->parts.sum) - PART_FLOATS;
    for (uint64_t k = 0; k < s->spec.tensor[i].n; k++) to[k] += (float)(share * (double)from[k]);
  }
  return VLPC_OK;
}

/* Shard i of a batch. */
static VlStatus run_shard(Step *s, const StepBatch *b, uint32_t i, Diag *d) {
  const StepSpec *spec = &s->spec;
  uint32_t from = (uint32_t)((uint64_t)b->n * i / spec->shards);
  uint32_t n = (uint32_t)((uint64_t)b->n * (i + 1) / spec->shards) - from;
  StepBatch shard = {b->epoch, b->photo + from, b->label + from, n};
  float *row = parts_row(&s->parts, i);
  if (n == 0) return VLPC_OK;
  VL_TRY(photos_rows(&s->photos, spec, &shard, s->pixels, d));
  if (s->takes_image)
    VL_TRY(loader_photos(spec->loader, &(LoaderPhotos){b->epoch, shard.photo, n}, d, s->pixels));
  for (uint32_t k = 0; k < n; k++) s->label[k] = shard.label[k];
  uint32_t each = s->lift ? 1 : n;
  for (uint32_t at = 0; at < n; at += each) {
    VL_TRY(bind_photos(s, at, each));
    VL_TRY(vlpc_session_run(spec->session, s->entry));
    VL_TRY(add_part(s, each, b->n, row));
  }
  return VLPC_OK;
}

VlStatus step_run(Step *s, const StepBatch *b, Diag *d, float *loss) {
  VL_CHECK(b->n > 0 && b->n <= (uint64_t)s->spec.batch * s->spec.shards, "step_run: no batch");
  VlStatus st = bind_tensors(s);
  for (uint32_t i = 0; st == VLPC_OK && i < s->parts.own; i++)
    st = run_shard(s, b, s->parts.first + i, d);
  VL_TRY(parts_sum(&s->parts, st, d));
  *loss = s->parts.sum[PART_FLOATS];
  for (uint32_t i = 0; i < s->spec.n_tensors; i++) s->spec.tensor[i].grad = s->grad[i];
  return VLPC_OK;
}
