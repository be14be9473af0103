/* SPDX-License-Identifier: Apache-2.0 */
/* easy.c - photos and labels in, probabilities out: the functions of vlpc.h
** above set, run and get.
**
** Photos go through the image entry in chunks, texts through the text entry;
** a chunk's size changes no result.  Photos of a chunk are decoded and resized
** on the session's threads; the first that fails is done again alone, for its
** message. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/session.h"

#define IMAGE_CHUNK 16
#define TEXT_CHUNK 64
#define MAX_CHUNK 4096 /* of an entry with a fixed number of rows */
#define DEFAULT_CONTEXT 77
#define PATTERN_MAX (2 * MANIFEST_MAX_SLOT + 16)

static DiagAt here(const vlpc_session *s) { return (DiagAt){s->model->path, NULL}; }

static VlStatus no_memory(vlpc_session *s, const char *what) {
  return diag_error(s->diag, DIAG_NOMEM, here(s), "no memory for %s", what);
}

/* ---- roles -------------------------------------------------------------- */

/* An entry that makes features, with what a chunk needs. */
typedef struct {
  const ManifestRole *role;
  Bound *bound;
  const ProgBuf *in, *mask, *out; /* mask may be NULL */
  uint32_t chunk;                 /* rows of one run */
  bool fixed;                     /* always runs whole chunks */
  int32_t context;                /* texts: ids of a row */
} Role;

static const ProgBuf *port_buf(vlpc_session *s, const Bound *b, vlpc_direction dir,
                               const char *name) {
  const Program *p = &s->model->program;
  int i = model_port(s->model, b->e, dir, name, s->diag);
  VL_CHECK(i >= 0, "manifest_read checked the roles");
  return &p->bufs[p->ports[(dir == VLPC_INPUT ? b->e->in : b->e->out) + (uint32_t)i].buf];
}

static VlStatus lacks(vlpc_session *s, const char *what, const char *fix) {
  VlStatus st = diag_error(s->diag, DIAG_NOT_CLASSIFIER, here(s), "the artifact has no %s", what);
  diag_fix(s->diag, "%s", fix);
  return st;
}

static VlStatus open_role(vlpc_session *s, const ManifestRole *role, const char *what,
                          uint32_t chunk, Role *r) {
  const DimTable *t = s->model->program.dims;
  int64_t n;
  *r = (Role){.role = role, .chunk = chunk};
  if (!role->entry)
    return lacks(s, what, "compile a model with this tower: vlpc compile IMAGE.onnx TEXT.onnx");
  r->bound = session_bound(s, role->entry);
  if (!r->bound) return diag_status(s->diag);
  r->in = port_buf(s, r->bound, VLPC_INPUT, role->input);
  r->out = port_buf(s, r->bound, VLPC_OUTPUT, role->output);
  if (role->mask) r->mask = port_buf(s, r->bound, VLPC_INPUT, role->mask);
  if (r->out->rank != 2 || r->out->dtype != VLPC_F32 || r->in->rank < 2)
    return lacks(s, what, "its entry does not give one row of f32 features per input");
  if (dim_is_const(t, r->in->size[0], &n)) {
    if (n < 1 || n > MAX_CHUNK) return lacks(s, what, "its entry takes a fixed number of rows");
    r->chunk = (uint32_t)n;
    r->fixed = true;
  }
  return VLPC_OK;
}

/* The first n rows of the features, each to unit length. */
static VlStatus normalise_rows(vlpc_session *s, const vlpc_tensor *t, uint32_t n, uint32_t embed,
                               float *out) {
  if (t->shape[1] != (int64_t)embed || t->shape[0] < (int64_t)n)
    return lacks(s, "features of the joint size", "its entry gives rows of another length");
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

static VlStatus run_role(vlpc_session *s, const Role *r, uint32_t n, uint32_t embed, float *out) {
  vlpc_tensor t;
  VL_TRY(session_run(s, r->bound));
  VL_TRY(session_get(s, r->role->entry, r->role->output, &t));
  return normalise_rows(s, &t, n, embed, out);
}

/* Before the memory that they point to goes. */
static void forget_inputs(Bound *b) {
  for (uint32_t i = 0; i < b->e->n_in; i++)
    if (!b->in[i].of_prompts) b->in[i].set = false;
}

static VlStatus embed_dim(vlpc_session *s, uint32_t *out) {
  *out = (uint32_t)s->model->manifest.embed_dim;
  return *out ? VLPC_OK : lacks(s, "joint features", "compile a CLIP with both towers");
}

/* ---- photos ------------------------------------------------------------- */

typedef struct {
  const Preprocess *pre;
  const vlpc_image *images;
  float *out;
  size_t each; /* floats of one image */
  VlStatus status[MAX_CHUNK];
} Photos;

static VlStatus read_photo(const Preprocess *pre, const vlpc_image *im, Diag *d, float *out) {
  Image read = {0};
  if (im->path) VL_TRY(image_read(im->path, d, &read));
  else read = (Image){(uint8_t *)(uintptr_t)im->rgb, im->width, im->height};
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
    const vlpc_image *im = &images[i];
    if (im->path) continue;
    if (!im->rgb || im->width < 1 || im->height < 1 || im->width > IMAGE_MAX_SIDE ||
        im->height > IMAGE_MAX_SIDE ||
        (uint64_t)im->width * (uint64_t)im->height > IMAGE_MAX_PIXELS)
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

static VlStatus embed_photos(vlpc_session *s, const vlpc_image *images, uint32_t n, float *out) {
  Role r;
  uint32_t embed;
  VL_TRY(open_role(s, &s->model->manifest.image, "image entry", IMAGE_CHUNK, &r));
  VL_TRY(embed_dim(s, &embed));
  VL_TRY(check_images(s, images, n));
  size_t each = photo_floats(s->model);
  uint32_t most = r.fixed ? r.chunk : VL_MIN(n, r.chunk);
  float *pixels = aligned_alloc(64, (size_t)vl_align_up((uint64_t)most * each * 4 + 1, 64));
  Photos *p = malloc(sizeof *p);
  VlStatus st = pixels && p ? VLPC_OK : no_memory(s, "photos");
  if (st == VLPC_OK) memset(pixels, 0, (size_t)most * each * 4);
  for (uint32_t at = 0; st == VLPC_OK && at < n; at += r.chunk) {
    uint32_t rows = VL_MIN(n - at, r.chunk);
    st = preprocess_all(s, images + at, rows, p, pixels);
    if (st == VLPC_OK) st = set_photos(s, &r, r.fixed ? r.chunk : rows, pixels);
    if (st == VLPC_OK) st = run_role(s, &r, rows, embed, out + (size_t)at * embed);
  }
  forget_inputs(r.bound);
  free(pixels);
  free(p);
  return st;
}

/* ---- texts -------------------------------------------------------------- */

static VlStatus need_tokenizer(vlpc_session *s) {
  if (s->model->tokenizer) return VLPC_OK;
  return lacks(s, "tokenizer", "compile with --tokenizer FILE");
}

static int32_t context_of(const vlpc_session *s) {
  int32_t n = s->model->manifest.context_length;
  if (n == 0) n = (int32_t)tokenizer_info(s->model->tokenizer).context;
  return n >= 2 ? n : DEFAULT_CONTEXT;
}

/* One row: ids as the entry's integer type, and the mask beside it. */
typedef struct {
  int64_t *ids; /* [context] */
  void *in, *mask;
} TextRows;

static VlStatus encode_row(vlpc_session *s, const Role *r, const char *text, TextRows *t,
                           uint32_t row) {
  Encoded e = {.ids = t->ids, .context = r->context};
  VL_TRY(tokenizer_encode(s->model->tokenizer, text, strlen(text), s->diag, &e));
  for (int32_t i = 0; i < r->context; i++) {
    int64_t at = (int64_t)row * r->context + i;
    dtype_store_i64(r->in->dtype, t->in, at, e.ids[i]);
    if (r->mask) dtype_store(r->mask->dtype, t->mask, at, i < e.n);
  }
  return VLPC_OK;
}

static VlStatus set_texts(vlpc_session *s, const Role *r, uint32_t rows, const TextRows *t) {
  vlpc_tensor v = {t->in, r->in->dtype, 2, {(int64_t)rows, r->context}};
  VL_TRY(session_set(s, r->role->entry, r->role->input, &v));
  if (!r->mask) return VLPC_OK;
  v.data = t->mask;
  v.dtype = r->mask->dtype;
  return session_set(s, r->role->entry, r->role->mask, &v);
}

static VlStatus embed_chunks(vlpc_session *s, const Role *r, const char *const *texts, uint32_t n,
                             TextRows *t, float *out) {
  uint32_t embed;
  VL_TRY(embed_dim(s, &embed));
  for (uint32_t at = 0; at < n; at += r->chunk) {
    uint32_t rows = VL_MIN(n - at, r->chunk);
    for (uint32_t i = 0; i < rows; i++) VL_TRY(encode_row(s, r, texts[at + i], t, i));
    VL_TRY(set_texts(s, r, r->fixed ? r->chunk : rows, t));
    VL_TRY(run_role(s, r, rows, embed, out + (size_t)at * embed));
  }
  return VLPC_OK;
}

static VlStatus embed_all_texts(vlpc_session *s, const char *const *texts, uint32_t n,
                                float *out) {
  Role r;
  VL_TRY(open_role(s, &s->model->manifest.text, "text entry", TEXT_CHUNK, &r));
  VL_TRY(need_tokenizer(s));
  if (!dtype_is_int(r.in->dtype) || r.in->rank != 2)
    return lacks(s, "text entry that takes token ids", "compile a CLIP text tower");
  r.context = context_of(s);
  size_t most = (size_t)r.chunk * (size_t)r.context;
  TextRows t = {calloc((size_t)r.context, sizeof *t.ids), calloc(most, 8), calloc(most, 8)};
  VlStatus st = t.ids && t.in && t.mask ? embed_chunks(s, &r, texts, n, &t, out)
                                        : no_memory(s, "texts");
  forget_inputs(r.bound);
  free(t.ids), free(t.in), free(t.mask);
  return st;
}

/* ---- labels ------------------------------------------------------------- */

/* template with label for each "{}"; from malloc. */
static char *fill_template(const char *pattern, const char *label) {
  size_t n = 1, label_n = strlen(label);
  for (const char *c = pattern; *c; c++) n += c[0] == '{' && c[1] == '}' ? label_n : 1;
  char *out = malloc(n + 1), *at = out;
  for (const char *c = pattern; out && *c; c++) {
    if (c[0] == '{' && c[1] == '}') {
      memcpy(at, label, label_n);
      at += label_n;
      c++;
    } else {
      *at++ = *c;
    }
  }
  if (out) *at = 0;
  return out;
}

void labels_free(Labels *l) {
  for (uint32_t i = 0; l->texts && i < l->n; i++) free(l->texts[i]);
  free(l->texts), free(l->features);
  *l = (Labels){.version = l->version};
}

static VlStatus label_texts(vlpc_session *s, const char *const *labels, uint32_t n,
                            const char *pattern, Labels *out) {
  VL_TRY(embed_dim(s, &out->embed));
  out->texts = calloc(n, sizeof *out->texts);
  out->n = n;
  for (uint32_t i = 0; out->texts && i < n; i++) {
    out->texts[i] = fill_template(pattern, labels[i]);
    if (!out->texts[i]) return no_memory(s, "labels");
  }
  return out->texts ? VLPC_OK : no_memory(s, "labels");
}

/* True when the text entry has inputs that are prompts. */
static bool texts_are_prompted(const vlpc_session *s) {
  const ManifestRole *role = &s->model->manifest.text;
  const ProgEntry *e = role->entry ? model_entry(s->model, role->entry, NULL) : NULL;
  return e && prompts_ports(s->model, e) > 0;
}

/* Features of l's texts with the prompts in use, on the heap. */
static VlStatus embed_labels(vlpc_session *s, const Labels *l, float **out) {
  float *features = calloc((size_t)l->n * l->embed, sizeof *features);
  if (!features) return no_memory(s, "labels");
  VlStatus st = embed_all_texts(s, (const char *const *)l->texts, l->n, features);
  if (st == VLPC_OK) *out = features;
  else free(features);
  return st;
}

/* Keeps features of the labels with the prompts in use. */
static void keep_features(vlpc_session *s, float *features) {
  free(s->prompts->features);
  s->prompts->features = features;
  s->prompts->version = s->labels.version;
}

/* Features of the labels, made now when the prompts in use have none of them. */
static VlStatus label_features(vlpc_session *s, const float **out) {
  float *made = NULL;
  *out = s->labels.features;
  if (*out) return VLPC_OK;
  if (!s->prompts || s->prompts->version != s->labels.version) {
    VL_TRY(embed_labels(s, &s->labels, &made)); /* says so when there are no prompts */
    keep_features(s, made);
  }
  *out = s->prompts->features;
  return VLPC_OK;
}

/* Template of labels when the caller gives none. */
static const char *own_pattern(const vlpc_session *s, char own[PATTERN_MAX]) {
  const ManifestPrompts *m = &s->model->manifest.prompts;
  if (s->prompts && s->prompts->set->pattern) return s->prompts->set->pattern;
  if (!m->method || !m->slot_rows) return "{}";
  size_t n = 0;
  for (uint32_t i = 0; !m->slot_phrase && i < m->slot_rows; i++)
    own[n++] = 'X', own[n++] = ' ';
  snprintf(own + n, PATTERN_MAX - n, "%s%s{}.", m->slot_phrase ? m->slot_phrase : "",
           m->slot_phrase ? " " : "");
  return own;
}

static VlStatus make_labels(vlpc_session *s, const char *const *labels, uint32_t n,
                            const char *pattern) {
  Labels made = {.version = s->labels.version + 1};
  bool prompted = texts_are_prompted(s);
  float *features = NULL;
  VlStatus st = label_texts(s, labels, n, pattern, &made);
  if (st == VLPC_OK && (s->prompts || !prompted)) st = embed_labels(s, &made, &features);
  if (st != VLPC_OK) {
    labels_free(&made);
    return st;
  }
  labels_free(&s->labels);
  s->labels = made;
  if (!prompted) s->labels.features = features;
  else if (features) keep_features(s, features);
  return VLPC_OK;
}

static VlStatus set_labels(vlpc_session *s, const char *const *labels, uint32_t n,
                           const char *pattern) {
  char own[PATTERN_MAX];
  if (!labels || n == 0) return session_argument(s, "there are no labels");
  for (uint32_t i = 0; i < n; i++) {
    if (!labels[i] || !labels[i][0]) return session_argument(s, "a label is empty");
  }
  if (pattern && !strstr(pattern, "{}")) {
    VlStatus st = session_argument(s, "the template has no place for the label");
    diag_found(s->diag, "%s", pattern);
    diag_expected(s->diag, "a text with {}, such as \"a photo of a {}.\"");
    return st;
  }
  if (!pattern) pattern = own_pattern(s, own);
  return make_labels(s, labels, n, pattern);
}

/* out[i] = softmax over the labels; p is one row of features. */
static void probabilities(const Labels *l, const float *features, double scale, const float *p,
                          float *out) {
  double most = -INFINITY, sum = 0;
  for (uint32_t i = 0; i < l->n; i++) {
    double dot = 0;
    for (uint32_t k = 0; k < l->embed; k++)
      dot += (double)p[k] * (double)features[(size_t)i * l->embed + k];
    out[i] = (float)(scale * dot);
    most = VL_MAX(most, (double)out[i]);
  }
  for (uint32_t i = 0; i < l->n; i++) sum += exp((double)out[i] - most);
  for (uint32_t i = 0; i < l->n; i++) out[i] = (float)(exp((double)out[i] - most) / sum);
}

static VlStatus classify(vlpc_session *s, const vlpc_image *images, uint32_t n, float *out) {
  const Labels *l = &s->labels;
  const float *of_labels = NULL;
  if (l->n == 0) return session_argument(s, "no labels are set: call vlpc_set_labels first");
  VL_TRY(label_features(s, &of_labels));
  double scale = s->model->manifest.logit_scale > 0 ? s->model->manifest.logit_scale : 100;
  float *features = malloc((size_t)n * l->embed * sizeof *features + 1);
  if (!features) return no_memory(s, "features");
  VlStatus st = embed_photos(s, images, n, features);
  for (uint32_t i = 0; st == VLPC_OK && i < n; i++)
    probabilities(l, of_labels, scale, features + (size_t)i * l->embed, out + (size_t)i * l->n);
  free(features);
  return st;
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
  VlStatus st = need_tokenizer(s);
  if (st != VLPC_OK) return session_leave(s, st);
  Encoded e = {.ids = ids, .context = context_of(s)};
  if (cap < (uint32_t)e.context) {
    st = diag_error(s->diag, DIAG_TOO_LARGE, here(s), "the ids do not fit the caller's array");
    diag_found(s->diag, "room for %u", cap);
    diag_expected(s->diag, "room for %d", e.context);
    return session_leave(s, st);
  }
  st = tokenizer_encode(s->model->tokenizer, text, strlen(text), s->diag, &e);
  *n_used = (uint32_t)e.n;
  return session_leave(s, st);
}

vlpc_status vlpc_embed_images(vlpc_session *s, const vlpc_image *images, uint32_t n, float *out) {
  if (!session_enter(s)) return VLPC_E_INVALID_ARG;
  if (!images || !out) return session_leave(s, session_argument(s, "images or out is NULL"));
  return session_leave(s, embed_photos(s, images, n, out));
}

vlpc_status vlpc_embed_texts(vlpc_session *s, const char *const *texts, uint32_t n, float *out) {
  if (!session_enter(s)) return VLPC_E_INVALID_ARG;
  if (!texts || !out) return session_leave(s, session_argument(s, "texts or out is NULL"));
  for (uint32_t i = 0; i < n; i++) {
    if (!texts[i]) return session_leave(s, session_argument(s, "a text is NULL"));
  }
  return session_leave(s, embed_all_texts(s, texts, n, out));
}

vlpc_status vlpc_set_labels(vlpc_session *s, const char *const *labels, uint32_t n,
                            const char *template_text) {
  if (!session_enter(s)) return VLPC_E_INVALID_ARG;
  return session_leave(s, set_labels(s, labels, n, template_text));
}

vlpc_status vlpc_classify(vlpc_session *s, const vlpc_image *images, uint32_t n, float *out) {
  if (!session_enter(s)) return VLPC_E_INVALID_ARG;
  if (!images || !out) return session_leave(s, session_argument(s, "images or out is NULL"));
  return session_leave(s, classify(s, images, n, out));
}
