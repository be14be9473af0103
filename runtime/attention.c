/* SPDX-License-Identifier: Apache-2.0 */
/* attention.c - photos to maps of where their features come from, which the entry
** `attention` gives. */
#include <string.h>

#include "base/train_entries.h"
#include "runtime/easy_int.h"

static VlStatus take_rows(vlpc_session *s, const Role *r, uint32_t n, float *out) {
  vlpc_tensor t;
  VL_TRY(session_get(s, r->role->entry, r->role->output, &t));
  if (t.shape[0] < (int64_t)n)
    return easy_lacks(s, "map for each photo", "its entry gives fewer: compile it again");
  memcpy(out, t.data, (size_t)n * (size_t)t.shape[1] * sizeof *out);
  return VLPC_OK;
}

/* Rows of a map, a number that is known; false: the artifact has no such map. */
static bool map_rows(const Model *m, const char *output, uint32_t *rows) {
  const ProgEntry *e = model_entry(m, ATTENTION_ENTRY, NULL);
  const char *image = m->manifest.image.input;
  int64_t n = 0;
  if (!e || !image) return false;
  const ProgBuf *in = easy_port(m, e, VLPC_INPUT, image);
  const ProgBuf *out = easy_port(m, e, VLPC_OUTPUT, output);
  bool fits = in && out && in->dtype == VLPC_F32 && in->rank == 4 && out->dtype == VLPC_F32 &&
              out->rank == 2 && dim_is_const(m->program.dims, out->size[1], &n);
  *rows = (uint32_t)n;
  return fits && n > 0 && n <= UINT16_MAX;
}

static VlStatus no_map(vlpc_session *s, const char *output) {
  VlStatus st = diag_error(s->diag, DIAG_NOT_CLASSIFIER, (DiagAt){s->model->path, NULL},
                           "the artifact has no map '%s'", output);
  diag_fix(s->diag, "compile with --prompt MODULE.onnx --train; plain_attention is there where "
                    "prompts change the image tower");
  return st;
}

static VlStatus maps(vlpc_session *s, const vlpc_image *images, uint32_t n, const char *output,
                     float *out) {
  ManifestRole role = {.entry = ATTENTION_ENTRY, .input = s->model->manifest.image.input,
                       .output = output};
  PhotoRows to = {.take = take_rows};
  if (!images || !output || !out)
    return session_argument(s, "images, output or out is NULL");
  for (uint32_t i = 0; i < n; i++)
    if (images[i].prompts) return session_argument(s, "maps are of the session's prompts alone");
  if (!map_rows(s->model, output, &to.width))
    return no_map(s, output);
  return easy_run_photos(s, &role, &to, images, n, out);
}

vlpc_status vlpc_attention_maps(vlpc_session *s, const vlpc_image *images, uint32_t n,
                                const char *output, float *out) {
  if (!session_enter(s)) return VLPC_E_INVALID_ARG;
  return session_leave(s, maps(s, images, n, output, out));
}
