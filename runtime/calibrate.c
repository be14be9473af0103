/* SPDX-License-Identifier: Apache-2.0 */
/* calibrate.c - see calibrate.h. */
#include "runtime/calibrate.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/npz.h"
#include "base/rng.h"
#include "base/vec.h"
#include "runtime/session.h"

enum { MOST_PHOTOS = 64, MOST_CLASSES = 1000, SEEDED_IMAGES = 8, SEEDED_TEXTS = 16 };

/* Rows of one tower's input and what the artifacts make of them. */
typedef struct {
  const ManifestRole *role;
  vlpc_tensor in; /* rows; rank 0: there are none */
  int64_t width;
  float *features[2]; /* exact, rounded */
} Side;

typedef struct {
  const Calibration *c;
  Arena *a;
  Diag *d;
  vlpc_artifact *artifact[2];
  vlpc_session *session[2];
  const char *from; /* kind of inputs */
  Side image, text;
} Run;

static VlStatus fails(Run *r, const char *what, const char *why) {
  VlStatus s = diag_error(r->d, DIAG_CALIBRATE, (DiagAt){r->c->inputs, NULL}, "%s", what);
  if (why) diag_note(r->d, "%.*s", (int)strcspn(why, "\n"), why);
  diag_fix(r->d, "give other inputs, or leave the measuring out with --calibrate none");
  return s;
}

static VlStatus session_fails(Run *r, int which) {
  return fails(r, "the calibration cannot run", vlpc_session_error(r->session[which]));
}

/* ---- artifacts ----------------------------------------------------------- */

static VlStatus open_one(Run *r, int which) {
  const char *path = which ? r->c->rounded : r->c->exact;
  vlpc_session_options so = {.struct_size = sizeof so, .cache_dir = r->c->cache_dir,
                             .compiler_library = r->c->compiler_library};
  if (vlpc_artifact_open(path, NULL, &r->artifact[which]) != VLPC_OK)
    return fails(r, "an artifact cannot be opened", vlpc_artifact_error(r->artifact[which]));
  if (vlpc_session_new(r->artifact[which], &so, &r->session[which]) != VLPC_OK)
    return session_fails(r, which);
  return VLPC_OK;
}

static const Manifest *manifest(const Run *r) { return &r->session[0]->model->manifest; }

/* Prompts as they start, of as many classes as there are seeded texts. */
static VlStatus give_prompts(Run *r) {
  const char *name[SEEDED_TEXTS];
  vlpc_start_options o = {
      .struct_size = sizeof o, .seed = 1, .classes = name, .n_classes = SEEDED_TEXTS};
  vlpc_prompts *p = NULL;
  if (!manifest(r)->prompts.method) return VLPC_OK;
  for (uint32_t i = 0; i < SEEDED_TEXTS; i++) name[i] = arena_printf(r->a, "class %u", i);
  if (vlpc_prompts_start(r->session[0], &o, &p) != VLPC_OK) return session_fails(r, 0);
  VlStatus s = VLPC_OK;
  for (int which = 0; which < 2 && s == VLPC_OK; which++)
    if (vlpc_session_set_prompts(r->session[which], p) != VLPC_OK) s = session_fails(r, which);
  vlpc_prompts_close(p);
  return s;
}

static const ProgBuf *port(const Run *r, const char *entry, const char *name) {
  const Model *m = r->session[0]->model;
  const ProgEntry *e = model_entry(m, entry, NULL);
  int i = e ? model_port(m, e, VLPC_INPUT, name, NULL) : -1;
  VL_CHECK(i >= 0, "manifest_read checked the roles");
  return &m->program.bufs[m->program.ports[e->in + (uint32_t)i].buf];
}

/* n rows of a role's input, sizes that are open as CLIP has them. */
static void make_rows(Run *r, Side *s, int64_t n) {
  const DimTable *t = r->session[0]->model->program.dims;
  const ProgBuf *b = port(r, s->role->entry, s->role->input);
  int64_t open = b->rank == 4 ? manifest(r)->image_size : manifest(r)->context_length;
  if (open <= 0) open = b->rank == 4 ? 224 : 77;
  s->in = (vlpc_tensor){.dtype = b->dtype, .rank = (int32_t)b->rank};
  uint64_t bytes = dtype_size(b->dtype);
  for (uint32_t i = 0; i < b->rank; i++) {
    if (!dim_is_const(t, b->size[i], &s->in.shape[i])) s->in.shape[i] = i ? open : n;
    if (i && !vl_mul_u64(bytes, (uint64_t)s->in.shape[i], &bytes)) bytes = SIZE_MAX;
  }
  s->in.shape[0] = VL_MAX(n, s->in.shape[0]);
  s->in.data = arena_array_bytes(r->a, (uint64_t)s->in.shape[0], bytes);
}

static int64_t row_elements(const vlpc_tensor *t) {
  int64_t n = 1;
  for (int32_t i = 1; i < t->rank; i++) n *= t->shape[i];
  return n;
}

/* ---- seeded inputs -------------------------------------------------------- */

static void seed_images(Run *r) {
  Side *s = &r->image;
  make_rows(r, s, SEEDED_IMAGES);
  int64_t n = s->in.shape[0] * row_elements(&s->in);
  for (int64_t i = 0; i < n; i++)
    dtype_store(s->in.dtype, s->in.data, i, rng_normal((Rng){1, 1}, (uint64_t)i));
}

/* The artifact's end token, or CLIP's; of small test models the last of 512. */
static int64_t end_token(Run *r, int64_t context) {
  int64_t ids[128];
  uint32_t used = 0;
  bool has = r->session[0]->model->tokenizer != NULL;
  if (has && vlpc_tokenize(r->session[0], "", ids, 128, &used) == VLPC_OK && used)
    return ids[used - 1];
  return context == 77 ? 49407 : 511;
}

/* Start, 2 to 8 words, end, zeros. */
static void seed_texts(Run *r) {
  Side *s = &r->text;
  make_rows(r, s, SEEDED_TEXTS);
  int64_t width = s->in.shape[1], end = end_token(r, width);
  for (int64_t i = 0; i < s->in.shape[0] * width; i++) {
    int64_t at = i % width, words = 2 + i / width % 7, stop = VL_MIN(words + 1, width - 1);
    int64_t id = 1 + (int64_t)(rng_u32((Rng){1, 2}, (uint64_t)i) % 400);
    if (at == 0) id = end - 1;
    if (at >= stop) id = at == stop ? end : 0;
    dtype_store_i64(s->in.dtype, s->in.data, i, VL_MIN(id, end));
  }
}

/* ---- photos --------------------------------------------------------------- */

typedef VEC(const char *) Names;

static int by_name(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_photo(const char *name) {
  static const char *const ends[] = {".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG"};
  const char *dot = strrchr(name, '.');
  for (size_t i = 0; dot && i < VL_COUNT(ends); i++) {
    if (strcmp(dot, ends[i]) == 0) return true;
  }
  return false;
}

/* Photos of a folder and, one level down, of its folders, sorted. */
static void list_folder(Run *r, const char *path, Names *photos, Names *folders) {
  DIR *dir = opendir(path);
  for (struct dirent *e; dir && (e = readdir(dir));) {
    struct stat st;
    const char *at = arena_printf(r->a, "%s/%s", path, e->d_name);
    if (e->d_name[0] == '.' || stat(at, &st) != 0) continue;
    if (S_ISREG(st.st_mode) && is_photo(e->d_name)) *vec_push(r->a, photos) = at;
    if (S_ISDIR(st.st_mode) && folders && folders->n < MOST_CLASSES)
      *vec_push(r->a, folders) = arena_strdup(r->a, e->d_name);
  }
  if (dir) closedir(dir);
  if (folders && folders->n) qsort(folders->at, folders->n, sizeof *folders->at, by_name);
  for (uint32_t i = 0; folders && i < folders->n; i++)
    list_folder(r, arena_printf(r->a, "%s/%s", path, folders->at[i]), photos, NULL);
  if (photos->n) qsort(photos->at, photos->n, sizeof *photos->at, by_name);
}

/* At most MOST_PHOTOS of them, spread over the list. */
static VlStatus read_photos(Run *r, const Names *photos) {
  int64_t n = VL_MIN((int64_t)photos->n, MOST_PHOTOS);
  make_rows(r, &r->image, n);
  int64_t each = row_elements(&r->image.in), rows = r->image.in.shape[0];
  if (r->image.in.dtype != VLPC_F32) return fails(r, "photos need an input of f32", NULL);
  for (int64_t i = 0; i < rows; i++) {
    vlpc_image one = {.path = photos->at[i % n * (int64_t)photos->n / n]};
    float *to = (float *)r->image.in.data + i * each;
    if (vlpc_preprocess(r->session[0], &one, to) != VLPC_OK) return session_fails(r, 0);
  }
  return VLPC_OK;
}

static VlStatus read_classes(Run *r, const Names *folders) {
  make_rows(r, &r->text, folders->n);
  vlpc_tensor *t = &r->text.in;
  int64_t *ids = arena_array(r->a, int64_t, t->shape[1]);
  for (int64_t i = 0; i < t->shape[0]; i++) {
    char *name = arena_strdup(r->a, folders->at[i % folders->n]);
    for (char *c = name; *c; c++) *c = *c == '_' ? ' ' : *c;
    const char *text = arena_printf(r->a, "a photo of a %s.", name);
    uint32_t used = 0;
    if (vlpc_tokenize(r->session[0], text, ids, (uint32_t)t->shape[1], &used) != VLPC_OK)
      return session_fails(r, 0);
    for (int64_t k = 0; k < t->shape[1]; k++)
      dtype_store_i64(t->dtype, t->data, i * t->shape[1] + k, ids[k]);
  }
  return VLPC_OK;
}

static VlStatus from_folder(Run *r) {
  Names photos = {0}, folders = {0};
  r->from = "photos";
  list_folder(r, r->c->inputs, &photos, &folders);
  if (!photos.n || !r->image.role->entry) {
    VlStatus s = fails(r, "there is no photo to calibrate with, or no image tower", NULL);
    diag_expected(r->d, "a folder of .jpg or .png files, or of such folders");
    return s;
  }
  VL_TRY(read_photos(r, &photos));
  if (!r->text.role->entry) return VLPC_OK;
  if (folders.n && r->session[0]->model->tokenizer) return read_classes(r, &folders);
  seed_texts(r);
  return VLPC_OK;
}

/* ---- arrays --------------------------------------------------------------- */

static void from_array(const Npz *z, Side *s) {
  const NpyArray *x = s->role->entry ? npz_find(z, s->role->input) : NULL;
  if (!x || x->rank < 2 || x->size[0] < 1) return;
  s->in = (vlpc_tensor){
      .data = (void *)(uintptr_t)x->data, .dtype = x->dtype, .rank = (int32_t)x->rank};
  memcpy(s->in.shape, x->size, sizeof s->in.shape);
}

static VlStatus from_arrays(Run *r) {
  Npz z;
  r->from = "arrays";
  VL_TRY(npz_read(r->c->inputs, r->a, r->d, &z));
  from_array(&z, &r->image);
  from_array(&z, &r->text);
  if (r->image.in.rank || r->text.in.rank) return VLPC_OK;
  VlStatus s = fails(r, "no array is named like an input of a tower", NULL);
  diag_expected(r->d, "image or text");
  return s;
}

static VlStatus get_inputs(Run *r) {
  struct stat st;
  if (r->c->inputs && stat(r->c->inputs, &st) == 0 && S_ISDIR(st.st_mode)) return from_folder(r);
  if (r->c->inputs) return from_arrays(r);
  r->from = "seeded";
  if (r->image.role->entry) seed_images(r);
  if (r->text.role->entry) seed_texts(r);
  return VLPC_OK;
}

/* ---- features ------------------------------------------------------------- */

static VlStatus set_mask(Run *r, const Side *s, int which, int64_t rows) {
  if (!s->role->mask) return VLPC_OK;
  vlpc_tensor t = s->in;
  t.dtype = port(r, s->role->entry, s->role->mask)->dtype;
  t.shape[0] = rows;
  t.data = arena_array_bytes(r->a, (uint64_t)(rows * t.shape[1]), dtype_size(t.dtype));
  for (int64_t i = 0; i < rows * t.shape[1]; i++) dtype_store_i64(t.dtype, t.data, i, 1);
  VlStatus ok = vlpc_session_set_input(r->session[which], s->role->entry, s->role->mask, &t);
  return ok == VLPC_OK ? VLPC_OK : session_fails(r, which);
}

/* Rows [at, at + n) through the tower. */
static VlStatus run_rows(Run *r, Side *s, int which, int64_t at, int64_t n) {
  vlpc_session *session = r->session[which];
  vlpc_tensor in = s->in, out;
  in.shape[0] = n;
  in.data = (uint8_t *)s->in.data + at * row_elements(&in) * (int64_t)dtype_size(in.dtype);
  VL_TRY(set_mask(r, s, which, n));
  if (vlpc_session_set_input(session, s->role->entry, s->role->input, &in) != VLPC_OK ||
      vlpc_session_run(session, s->role->entry) != VLPC_OK ||
      vlpc_session_output(session, s->role->entry, s->role->output, &out) != VLPC_OK)
    return session_fails(r, which);
  if (out.rank != 2 || out.dtype != VLPC_F32 || out.shape[0] != n)
    return fails(r, "the features are no rows of f32", s->role->output);
  s->width = out.shape[1];
  if (!s->features[which])
    s->features[which] = arena_array(r->a, float, s->in.shape[0] * s->width);
  memcpy(s->features[which] + at * s->width, out.data, (size_t)(n * s->width) * sizeof(float));
  return VLPC_OK;
}

static VlStatus run_side(Run *r, Side *s) {
  int64_t step = 1;
  if (!s->in.rank) return VLPC_OK;
  const DimTable *t = r->session[0]->model->program.dims;
  (void)dim_is_const(t, port(r, s->role->entry, s->role->input)->size[0], &step);
  s->in.shape[0] -= s->in.shape[0] % VL_MAX(step, 1);
  for (int which = 0; which < 2; which++) {
    for (int64_t i = 0; i < s->in.shape[0]; i += step) VL_TRY(run_rows(r, s, which, i, step));
  }
  return VLPC_OK;
}

/* ---- result --------------------------------------------------------------- */

static double cosine(const float *x, const float *y, int64_t n) {
  double xy = 0, xx = 0, yy = 0;
  for (int64_t i = 0; i < n; i++) {
    xy += (double)x[i] * (double)y[i];
    xx += (double)x[i] * (double)x[i], yy += (double)y[i] * (double)y[i];
  }
  return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : 0;
}

static void side_json(const Side *s, const char *name, Str *out) {
  double least = 1, sum = 0;
  int64_t n = s->in.rank ? s->in.shape[0] : 0;
  if (n == 0) {
    str_printf(out, ", \"%s\": null", name);
    return;
  }
  for (int64_t i = 0; i < n; i++) {
    double c = cosine(s->features[0] + i * s->width, s->features[1] + i * s->width, s->width);
    least = fmin(least, c), sum += c;
  }
  str_printf(out, ", \"%s\": {\"rows\": %lld, \"cosine_min\": %.5f, \"cosine_mean\": %.5f}", name,
             (long long)n, least, sum / (double)n);
}

/* The text nearest to image i, in the features of one artifact. */
static int64_t nearest(const Run *r, int which, int64_t i) {
  int64_t best = 0, width = r->image.width;
  double most = -2;
  for (int64_t k = 0; k < r->text.in.shape[0]; k++) {
    double c = cosine(r->image.features[which] + i * width, r->text.features[which] + k * width,
                      width);
    if (c > most) most = c, best = k;
  }
  return best;
}

static void top1_json(const Run *r, Str *out) {
  bool both = r->image.in.rank && r->text.in.rank && r->image.width == r->text.width;
  if (!both) {
    str_add(out, ", \"top1\": null}\n");
    return;
  }
  int64_t same = 0, n = r->image.in.shape[0];
  for (int64_t i = 0; i < n; i++) same += nearest(r, 0, i) == nearest(r, 1, i);
  str_printf(out, ", \"top1\": {\"rows\": %lld, \"classes\": %lld, \"same\": %lld}}\n",
             (long long)n, (long long)r->text.in.shape[0], (long long)same);
}

static VlStatus measure(Run *r, Str *out) {
  VL_TRY(open_one(r, 0));
  VL_TRY(open_one(r, 1));
  r->image.role = &manifest(r)->image, r->text.role = &manifest(r)->text;
  VL_TRY(give_prompts(r));
  VL_TRY(get_inputs(r));
  VL_TRY(run_side(r, &r->image));
  VL_TRY(run_side(r, &r->text));
  str_printf(out, "{\"against\": \"fp32\", \"inputs\": \"%s\"", r->from);
  side_json(&r->image, "image", out);
  side_json(&r->text, "text", out);
  top1_json(r, out);
  return VLPC_OK;
}

static void close_run(void *run) {
  Run *r = run;
  for (int i = 0; i < 2; i++) {
    vlpc_session_free(r->session[i]);
    vlpc_artifact_close(r->artifact[i]);
  }
}

VlStatus calibrate(const Calibration *c, Diag *d, Str *out) {
  Run *r = arena_one(out->arena, Run);
  *r = (Run){.c = c, .a = out->arena, .d = d};
  arena_defer(out->arena, close_run, r);
  return measure(r, out);
}
