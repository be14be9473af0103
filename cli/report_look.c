/* SPDX-License-Identifier: Apache-2.0 */
/* report_look.c - photos as the model sees them, and where their features come from. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/files.h"
#include "cli/prompt_sets.h"
#include "cli/report.h"

/* ---- the artifact ------------------------------------------------------------------ */

/* Rows of a map; 0: there is no such map. */
static uint32_t map_rows(const Model *m, const char *output) {
  vlpc_port p = {.struct_size = sizeof p};
  for (uint32_t i = 0; vlpc_artifact_port(m->artifact, "attention", VLPC_OUTPUT, i, &p); i++)
    if (strcmp(p.name, output) == 0 && p.rank == 2 && p.shape[1] > 0 && p.shape[1] < UINT16_MAX)
      return (uint32_t)p.shape[1];
  return 0;
}

/* Patches of a side, and the photo's side; false: the tower is not of square patches. */
static bool sizes_of(const Model *m, Looks *to) {
  vlpc_port p = {.struct_size = sizeof p};
  uint32_t rows = to->plain_rows ? to->plain_rows : to->rows, side = 0;
  while (side * side + 1 < rows) side++;
  to->patches = side;
  if (rows < 2 || side * side + 1 != rows || rows > to->rows) return false;
  for (uint32_t i = 0; vlpc_artifact_port(m->artifact, "attention", VLPC_INPUT, i, &p); i++)
    if (strcmp(p.name, "image") == 0 && p.rank == 4 && p.shape[3] > 0 && p.shape[3] <= 4096 &&
        p.shape[2] == p.shape[3])
      to->side = (uint32_t)p.shape[3];
  return to->side > 0;
}

static VlStatus no_maps(Cli *c, const char *artifact) {
  VlStatus s = diag_error(c->diag, DIAG_NOT_CLASSIFIER, (DiagAt){artifact, NULL},
                          "has no maps of attention for --photos");
  diag_fix(c->diag, "compile it with --prompt MODULE.onnx --train, as vlpc train does");
  return s;
}

/* What makes a byte of a number of the model's input. */
typedef struct {
  double mean[3], sd[3];
} Scale;

/* Three numbers of the preprocessing; as they are where it does not say. */
static void read_three(const json_t *o, const char *key, double out[3]) {
  const json_t *list = json_object_get(o, key);
  for (size_t i = 0; i < 3 && json_array_size(list) == 3; i++)
    out[i] = json_number_value(json_array_get(list, i));
}

/* CLIP's, or those that the artifact says. */
static Scale read_scale(const Model *m) {
  Scale x = {{0.48145466, 0.4578275, 0.40821073}, {0.26862954, 0.26130258, 0.27577711}};
  vlpc_section s = {.struct_size = sizeof s};
  for (uint32_t i = 0; vlpc_artifact_section(m->artifact, i, &s); i++) {
    if (strcmp(s.name, "preprocess") != 0) continue;
    json_t *o = json_loadb(s.data, (size_t)s.bytes, 0, NULL);
    read_three(o, "image_mean", x.mean);
    read_three(o, "image_std", x.sd);
    json_decref(o);
  }
  return x;
}

/* ---- photos ------------------------------------------------------------------------ */

/* The model's input as bytes, [side, side, 3]. */
static const uint8_t *as_bytes(Cli *c, const Looks *l, const float *x, const Scale *s) {
  size_t n = (size_t)l->side * l->side;
  uint8_t *out = arena_array(c->arena, uint8_t, 3 * n);
  for (size_t i = 0; i < n; i++)
    for (size_t k = 0; k < 3; k++) {
      double v = 255 * ((double)x[k * n + i] * s->sd[k] + s->mean[k]);
      out[3 * i + k] = report_byte(v);
    }
  return out;
}

/* The maps first: they fail where the artifact's photos are not of l->side. */
static VlStatus add_photo(Cli *c, const Model *m, const Scale *scale, const char *path,
                          Looks *l) {
  vlpc_image image = {.path = path};
  float *x = arena_array_bytes(c->arena, (uint64_t)l->side * l->side, 3 * sizeof *x);
  Look to = {.path = path, .map = arena_array(c->arena, float, l->rows)};
  VL_TRY(fail_session(c, m, vlpc_attention_maps(m->session, &image, 1, "attention", to.map)));
  VL_TRY(fail_session(c, m, vlpc_preprocess(m->session, &image, x)));
  to.rgb = as_bytes(c, l, x, scale);
  if (l->plain_rows) {
    to.plain = arena_array(c->arena, float, l->plain_rows);
    VL_TRY(fail_session(c, m, vlpc_attention_maps(m->session, &image, 1, "plain_attention",
                                                  to.plain)));
  }
  *vec_push(c->arena, &l->photo) = to;
  return VLPC_OK;
}

/* Classes of the set, where the image tower may read their texts. */
static VlStatus set_classes(Cli *c, const Model *m, const vlpc_prompts *p) {
  Texts t = classes_of_set(c, p);
  if (t.n == 0) return VLPC_OK;
  return fail_session(c, m, vlpc_set_labels(m->session, t.at, t.n, NULL));
}

VlStatus report_read_looks(Cli *c, const RunModel *run, Looks *out) {
  const char *photos = opt(c, photos);
  TextList list = {0};
  *out = (Looks){.rows = map_rows(&run->m, "attention"),
                 .plain_rows = map_rows(&run->m, "plain_attention")};
  if (out->rows == 0 || !sizes_of(&run->m, out)) return no_maps(c, run->file);
  VL_TRY(list_images(c, &photos, 1, &list));
  VL_TRY(set_classes(c, &run->m, run->set));
  uint32_t n = VL_MIN(list.n, LOOKS_MAX);
  Scale scale = read_scale(&run->m);
  for (uint32_t i = 0; i < n; i++) /* spread over the list, in which classes lie together */
    VL_TRY(add_photo(c, &run->m, &scale, list.at[(uint64_t)i * list.n / n], out));
  return VLPC_OK;
}
