/* SPDX-License-Identifier: Apache-2.0 */
/* easy.c - photos to features, and the functions of vlpc.h about the easy path.
**
** Photos go through the image entry in chunks; a chunk's size changes no result.
** Photos of a chunk are decoded and resized on the session's threads; the first
** that fails is done again alone, for its message. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/easy_int.h"

#define IMAGE_CHUNK 16

static DiagAt here(const vlpc_session *s) { return (DiagAt){s->model->path, NULL}; }

VlStatus easy_no_memory(vlpc_session *s, const char *what) {
  return diag_error(s->diag, DIAG_NOMEM, here(s), "no memory for %s", what);
}

/* ---- roles -------------------------------------------------------------- */

const ProgBuf *easy_port(const Model *m, const ProgEntry *e, vlpc_direction dir,
                         const char *name) {
  int i = model_port(m, e, dir, name, NULL);
  uint32_t first = dir == VLPC_INPUT ? e->in : e->out;
  return i < 0 ? NULL : &m->program.bufs[m->program.ports[first + (uint32_t)i].buf];
}

static const ProgBuf *port_buf(const vlpc_session *s, const Bound *b, vlpc_direction dir,
                               const char *name) {
  const ProgBuf *buf = easy_port(s->model, b->e, dir, name);
  VL_CHECK(buf != NULL, "manifest_read checked the roles");
  return buf;
}

VlStatus easy_lacks(vlpc_session *s, const char *what, const char *fix) {
  VlStatus st = diag_error(s->diag, DIAG_NOT_CLASSIFIER, here(s), "the artifact has no %s", what);
  diag_fix(s->diag, "%s", fix);
  return st;
}

VlStatus easy_role(vlpc_session *s, const ManifestRole *role, const char *what, uint32_t chunk,
                   Role *r) {
  const DimTable *t = s->model->program.dims;
  int64_t n;
  *r = (Role){.role = role, .chunk = chunk};
  if (!role->entry)
    return easy_lacks(s, what,
                      s->model->class_features
                          ? "its classes are packed in: leave labels out, or pack it anew"
                          : "compile a model with this tower: vlpc compile IMAGE.onnx TEXT.onnx");
  r->bound = session_bound(s, role->entry);
  if (!r->bound) return diag_status(s->diag);
  r->in = port_buf(s, r->bound, VLPC_INPUT, role->input);
  r->out = port_buf(s, r->bound, VLPC_OUTPUT, role->output);
  if (role->mask) r->mask = port_buf(s, r->bound, VLPC_INPUT, role->mask);
  if (r->out->rank != 2 || r->out->dtype != VLPC_F32 || r->in->rank < 2)
    return easy_lacks(s, what, "its entry does not give one row of f32 features per input");
  if (dim_is_const(t, r->in->size[0], &n)) {
    if (n < 1 || n > EASY_MAX_CHUNK)
      return easy_lacks(s, what, "its entry takes a fixed number of rows");
    r->chunk = (uint32_t)n;
    r->fixed = true;
  }
  return VLPC_OK;
}

/* The first n rows of the features, each to unit length. */
static VlStatus normalise_rows(vlpc_session *s, const vlpc_tensor *t, uint32_t n, uint32_t embed,
                               float *out) {
  if (t->shape[1] != (int64_t)embed || t->shape[0] < (int64_t)n)
    return easy_lacks(s, "features of the joint size", "its entry gives rows of another length");
  const float *x = t->data;
  for (uint32_t i = 0; i < n; i++, x += embed, out += embed) {
    double sum = 0;
    for (uint32_t k = 0; k < embed; k++) sum += (double)x[k] * (double)x[k];
    if (!isfinite(sum))
      return diag_error(s->diag, DIAG_NOT_FINITE, here(s), "features of row %u are not finite", i);
    double scale = sum > 0 ? 1 / sqrt(sum) : 0;
    for (uint32_t k = 0; k < embed; k++) out[k] = (float)((double)x[k] * scale);
  }
  return VLPC_OK;
}

VlStatus easy_features(vlpc_session *s, const Role *r, uint32_t n, float *out) {
  vlpc_tensor t;
  uint32_t embed = 0;
  VL_TRY(easy_embed_dim(s, &embed));
  VL_TRY(session_get(s, r->role->entry, r->role->output, &t));
  return normalise_rows(s, &t, n, embed, out);
}

void easy_forget_inputs(Bound *b) {
  for (uint32_t i = 0; i < b->e->n_in; i++)
    if (!b->in[i].of_prompts) b->in[i].set = false;
}

VlStatus easy_embed_dim(vlpc_session *s, uint32_t *out) {
  *out = (uint32_t)s->model->manifest.embed_dim;
  return *out ? VLPC_OK : easy_lacks(s, "joint features", "compile a CLIP with both towers");
}

int easy_input(const Model *m, const ProgEntry *e, const char *name) {
  for (uint32_t i = 0; i < e->n_in; i++)
    if (strcmp(m->program.ports[e->in + i].name, name) == 0) return (int)i;
  return -1;
}

/* ---- photos ------------------------------------------------------------- */

typedef struct {
  const Preprocess *pre;
  const vlpc_image *images;
  float *out;
  size_t each; /* floats of one image */
  VlStatus status[EASY_MAX_CHUNK];
} Photos;

static Image in_memory(const vlpc_image *im) {
  return (Image){(uint8_t *)(uintptr_t)im->rgb, im->width, im->height};
}

static VlStatus read_photo(const Preprocess *pre, const vlpc_image *im, Diag *d, float *out) {
  Image read = in_memory(im);
  if (im->path) VL_TRY(image_read(im->path, d, &read));
  VlStatus s = preprocess_image(pre, &read, im->path ? im->path : "image", d, out);
  if (im->path) image_fini(&read);
  return s;
}

static void read_photos(void *ctx, int64_t begin, int64_t end, int thread) {
  Photos *p = ctx;
  (void)thread;
  for (int64_t i = begin; i < end; i++)
    p->status[i] = read_photo(p->pre, &p->images[i], NULL, p->out + (size_t)i * p->each);
}

static VlStatus check_images(vlpc_session *s, const vlpc_image *images, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    Image im = in_memory(&images[i]);
    if (!images[i].path && !image_is_sane(&im))
      return session_argument(s, "an image has neither a path nor pixels of a sane size");
  }
  return VLPC_OK;
}

static size_t photo_floats(const Model *m) {
  int32_t w, h;
  preprocess_size(&m->preprocess, &w, &h);
  return 3 * (size_t)w * (size_t)h;
}

/* out: n · photo_floats. */
static VlStatus preprocess_all(vlpc_session *s, const vlpc_image *images, uint32_t n, Photos *p,
                               float *out) {
  p->pre = &s->model->preprocess;
  p->images = images;
  p->out = out;
  p->each = photo_floats(s->model);
  threads_run(s->pool, n, read_photos, p);
  for (uint32_t i = 0; i < n; i++) {
    if (p->status[i] == VLPC_OK) continue;
    return read_photo(p->pre, &images[i], s->diag, out + (size_t)i * p->each);
  }
  return VLPC_OK;
}

static VlStatus set_photos(vlpc_session *s, const Role *r, uint32_t rows, float *pixels) {
  int32_t w, h;
  preprocess_size(&s->model->preprocess, &w, &h);
  vlpc_tensor t = {pixels, VLPC_F32, 4, {(int64_t)rows, 3, h, w}};
  return session_set(s, r->role->entry, r->role->input, &t);
}

/* Memory for pixels, which the session keeps: a server asks for the same again and again. */
static float *ready_pixels(vlpc_session *s, uint64_t bytes) {
  if (s->pixels && s->pixels_bytes >= bytes) return s->pixels;
  free(s->pixels);
  s->pixels = aligned_alloc(64, (size_t)vl_align_up(bytes + 1, 64));
  s->pixels_bytes = s->pixels ? bytes : 0;
  return s->pixels;
}

VlStatus easy_run_photos(vlpc_session *s, const ManifestRole *role, const PhotoRows *to,
                         const vlpc_image *images, uint32_t n, float *out) {
  Role r;
  VL_TRY(easy_role(s, role, "image entry", IMAGE_CHUNK, &r));
  VL_TRY(check_images(s, images, n));
  VL_TRY(labels_for_photos(s));
  size_t each = photo_floats(s->model);
  uint32_t most = r.fixed ? r.chunk : VL_MIN(n, r.chunk);
  float *pixels = ready_pixels(s, (uint64_t)most * each * 4);
  Photos *p = malloc(sizeof *p);
  VlStatus st = pixels && p ? VLPC_OK : easy_no_memory(s, "photos");
  if (st == VLPC_OK) memset(pixels, 0, (size_t)most * each * 4);
  for (uint32_t at = 0; st == VLPC_OK && at < n; at += r.chunk) {
    uint32_t rows = VL_MIN(n - at, r.chunk);
    st = preprocess_all(s, images + at, rows, p, pixels);
    if (st == VLPC_OK) st = set_photos(s, &r, r.fixed ? r.chunk : rows, pixels);
    if (st == VLPC_OK) st = session_run(s, r.bound);
    if (st == VLPC_OK) st = to->take(s, &r, rows, out + (size_t)at * to->width);
  }
  easy_forget_inputs(r.bound);
  free(p);
  return st;
}

VlStatus easy_photos(vlpc_session *s, const vlpc_image *images, uint32_t n, float *out) {
  PhotoRows to = {.take = easy_features};
  VL_TRY(easy_embed_dim(s, &to.width));
  return easy_run_photos(s, &s->model->manifest.image, &to, images, n, out);
}

/* ---- outward ------------------------------------------------------------ */

vlpc_status vlpc_preprocess(vlpc_session *s, const vlpc_image *image, float *out) {
  if (!session_enter(s)) return VLPC_E_INVALID_ARG;
  if (!image || !out) return session_leave(s, session_argument(s, "image or out is NULL"));
  VlStatus st = check_images(s, image, 1);
  if (st == VLPC_OK) st = read_photo(&s->model->preprocess, image, s->diag, out);
  return session_leave(s, st);
}

vlpc_status vlpc_tokenize(vlpc_session *s, const char *text, int64_t *ids, uint32_t cap,
                          uint32_t *n_used) {
  if (!session_enter(s)) return VLPC_E_INVALID_ARG;
  if (!text || !ids || !n_used)
    return session_leave(s, session_argument(s, "text, ids or n_used is NULL"));
  return session_leave(s, easy_tokens(s, text, ids, cap, n_used));
}

vlpc_status vlpc_embed_images(vlpc_session *s, const vlpc_image *images, uint32_t n, float *out) {
  if (!session_enter(s)) return VLPC_E_INVALID_ARG;
  if (!images || !out) return session_leave(s, session_argument(s, "images or out is NULL"));
  uint32_t embed = 0;
  VlStatus st = easy_embed_dim(s, &embed);
  if (st == VLPC_OK) st = easy_by_sets(s, images, n, embed, easy_photos, out);
  return session_leave(s, st);
}

vlpc_status vlpc_embed_texts(vlpc_session *s, const char *const *texts, uint32_t n, float *out) {
  if (!session_enter(s)) return VLPC_E_INVALID_ARG;
  if (!texts || !out) return session_leave(s, session_argument(s, "texts or out is NULL"));
  for (uint32_t i = 0; i < n; i++) {
    if (!texts[i]) return session_leave(s, session_argument(s, "a text is NULL"));
  }
  TextJob job = {.role = &s->model->manifest.text, .texts = texts, .n = n, .features = out};
  return session_leave(s, easy_texts(s, &job));
}

vlpc_status vlpc_set_labels(vlpc_session *s, const char *const *labels, uint32_t n,
                            const char *template_text) {
  if (!session_enter(s)) return VLPC_E_INVALID_ARG;
  return session_leave(s, labels_set(s, labels, n, template_text));
}

vlpc_status vlpc_embed_labels(vlpc_session *s, float *out) {
  if (!session_enter(s)) return VLPC_E_INVALID_ARG;
  if (!out) return session_leave(s, session_argument(s, "out is NULL"));
  return session_leave(s, labels_embed(s, out));
}

vlpc_status vlpc_pack(vlpc_session *s, const char *path) {
  if (!session_enter(s)) return VLPC_E_INVALID_ARG;
  if (!path) return session_leave(s, session_argument(s, "path is NULL"));
  return session_leave(s, session_pack(s, path));
}

vlpc_status vlpc_classify(vlpc_session *s, const vlpc_image *images, uint32_t n, float *out) {
  if (!session_enter(s)) return VLPC_E_INVALID_ARG;
  if (!images || !out) return session_leave(s, session_argument(s, "images or out is NULL"));
  return session_leave(s, easy_by_sets(s, images, n, s->labels.n, labels_classify, out));
}
