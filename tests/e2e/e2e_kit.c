/* SPDX-License-Identifier: Apache-2.0 */
/* e2e_kit.c - see e2e_kit.h. */
#include "tests/e2e/e2e_kit.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/io.h"

Arena *e2e;
vlpc_compiler *e2e_compiler;

/* ---- folders ------------------------------------------------------------ */

static void empty(const char *folder) {
  DIR *d = opendir(folder);
  if (!d) return;
  for (struct dirent *e; (e = readdir(d));) {
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    const char *path = arena_printf(e2e, "%s/%s", folder, e->d_name);
    if (e->d_type == DT_DIR) empty(path);
    remove(path);
  }
  closedir(d);
}

/* Beside the program. */
static const char *own_folder(void) { return arena_printf(e2e, "%s.dir", program_invocation_name); }

int e2e_set_up(void **state) {
  (void)state;
  e2e = arena_new(0);
  if (!e2e) return 1;
  mkdir(own_folder(), 0777);
  empty(own_folder());
  if (vlpc_compiler_open(NULL, &e2e_compiler) == VLPC_OK) return 0;
  print_error("%s", vlpc_compiler_error(e2e_compiler));
  return 1;
}

int e2e_tear_down(void **state) {
  (void)state;
  vlpc_compiler_close(e2e_compiler);
  empty(own_folder());
  arena_free(e2e);
  return 0;
}

const char *e2e_file(const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  const char *name = arena_vprintf(e2e, fmt, ap);
  va_end(ap);
  return arena_printf(e2e, "%s/%s", own_folder(), name);
}

const char *e2e_shared(const char *name) {
  const char *root = getenv("VLPC_SHARED");
  if (!root || !*root) root = VLPC_SOURCE_DIR "/../shared";
  const char *path = arena_printf(e2e, "%s/data/%s", root, name);
  if (access(path, R_OK) == 0) return path;
  print_message("no shared data: set VLPC_SHARED to their folder\n");
  skip();
  return NULL;
}

bool e2e_is_long(void) {
  const char *s = getenv("VLPC_TEST_LONG");
  return s != NULL && strcmp(s, "1") == 0;
}

const char *e2e_isa(int i) {
  return i < ISA__COUNT && cpu_isa_runs((CpuIsa)i) ? cpu_isa_name((CpuIsa)i) : NULL;
}

/* ---- compiling ---------------------------------------------------------- */

void e2e_ok(vlpc_status status) {
  if (status != VLPC_OK) fail_msg("%s", vlpc_compiler_error(e2e_compiler));
}

const char *e2e_compile(vlpc_compile_options o, const char *output) {
  o.struct_size = sizeof o;
  o.output = e2e_file("%s", output);
  if (o.cache_dir == NULL) o.cache_dir = E2E_CODE;
  e2e_ok(vlpc_compile(e2e_compiler, &o));
  return o.output;
}

#define SMALL_CLIP VLPC_SOURCE_DIR "/models/small_clip/"

const char *e2e_small_clip(const char *tokenizer) {
  vlpc_compile_options o = {.models = {SMALL_CLIP "model.onnx"},
                            .preprocess = SMALL_CLIP "preprocessor_config.json"};
  o.tokenizer = arena_printf(e2e, SMALL_CLIP "%s", tokenizer);
  return e2e_compile(o, "small_clip.vlpc");
}

const char *e2e_tiny(const char *folder, bool two_files, int opset) {
  vlpc_model_options o = {.struct_size = sizeof o, .kind = "clip", .size = "tiny", .seed = 1,
                          .directory = e2e_file("%s", folder), .two_files = two_files,
                          .opset = opset};
  e2e_ok(vlpc_model_write(e2e_compiler, &o));
  return o.directory;
}

/* ---- running ------------------------------------------------------------ */

static vlpc_session *session(vlpc_artifact *a, vlpc_session_options o) {
  vlpc_session *s = NULL;
  o.struct_size = sizeof o;
  if (o.cache_dir == NULL) o.cache_dir = E2E_CODE;
  if (vlpc_session_new(a, &o, &s) != VLPC_OK) fail_msg("%s", vlpc_session_error(s));
  return s;
}

Line line_open(const char *artifact, vlpc_session_options o) {
  Line l = {NULL, NULL};
  if (o.device == NULL) o.device = getenv("VLPC_TEST_DEVICE");
  if (vlpc_artifact_open(artifact, NULL, &l.a) != VLPC_OK)
    fail_msg("%s", vlpc_artifact_error(l.a));
  l.s = session(l.a, o);
  return l;
}

Line line_share(const Line *other, vlpc_session_options o) {
  return (Line){other->a, session(other->a, o)};
}

void line_close(Line *l) {
  vlpc_session_free(l->s);
  vlpc_artifact_close(l->a);
}

static bool answers_to(const vlpc_port *p, const char *name) {
  if (strcmp(p->name, name) == 0) return true;
  for (uint32_t i = 0; p->aliases && p->aliases[i]; i++) {
    if (strcmp(p->aliases[i], name) == 0) return true;
  }
  return false;
}

static vlpc_tensor tensor_of(const NpyArray *x) {
  vlpc_tensor t = {.data = (void *)(uintptr_t)x->data, .dtype = x->dtype, .rank = (int32_t)x->rank};
  memcpy(t.shape, x->size, sizeof t.shape);
  return t;
}

void line_set(const Line *l, const char *entry, const Npz *in) {
  vlpc_port p = {.struct_size = sizeof p};
  for (uint32_t i = 0; vlpc_artifact_port(l->a, entry, VLPC_INPUT, i, &p); i++) {
    uint32_t k = 0;
    while (k < in->n && !answers_to(&p, in->at[k].name)) k++;
    if (k == in->n) fail_msg("no array for input %s", p.name);
    vlpc_tensor t = tensor_of(&in->at[k]);
    if (vlpc_session_set_input(l->s, entry, p.name, &t) != VLPC_OK)
      fail_msg("%s", vlpc_session_error(l->s));
  }
}

void line_run(const Line *l, const char *entry, const Npz *in) {
  line_set(l, entry, in);
  if (vlpc_session_run(l->s, entry) != VLPC_OK) fail_msg("%s", vlpc_session_error(l->s));
}

vlpc_tensor line_output(const Line *l, const char *entry, const char *name) {
  vlpc_tensor t;
  if (vlpc_session_output(l->s, entry, name, &t) != VLPC_OK)
    fail_msg("%s", vlpc_session_error(l->s));
  assert_int_equal(t.dtype, VLPC_F32);
  return t;
}

bool line_find(const Line *l, const char *entry, const char *name, vlpc_tensor *out) {
  vlpc_port p = {.struct_size = sizeof p};
  for (uint32_t i = 0; vlpc_artifact_port(l->a, entry, VLPC_OUTPUT, i, &p); i++) {
    if (!answers_to(&p, name)) continue;
    *out = line_output(l, entry, p.name);
    return true;
  }
  return false;
}

/* ---- values ------------------------------------------------------------- */

enum { TINY_SIDE = 32, TINY_CONTEXT = 16, TINY_END = 511 };

Npz tiny_inputs(int64_t images, int64_t texts) {
  int64_t n_image = images * 3 * TINY_SIDE * TINY_SIDE, n_text = texts * TINY_CONTEXT;
  float *image = arena_array(e2e, float, n_image);
  int64_t *text = arena_array(e2e, int64_t, n_text);
  for (int64_t i = 0; i < n_image; i++) image[i] = (float)((double)(i * 37 % 101) / 50 - 1);
  for (int64_t i = 0; i < n_text; i++)
    text[i] = i % TINY_CONTEXT == 9 ? TINY_END : 1 + i * 13 % 400;
  NpyArray *at = arena_array(e2e, NpyArray, 2);
  at[0] = (NpyArray){"image", VLPC_F32, 4, {images, 3, TINY_SIDE, TINY_SIDE}, image,
                     (uint64_t)n_image * sizeof *image};
  at[1] = (NpyArray){"text", VLPC_I64, 2, {texts, TINY_CONTEXT}, text,
                     (uint64_t)n_text * sizeof *text};
  return (Npz){at, 2};
}

int64_t tensor_count(const vlpc_tensor *t) {
  int64_t n = 1;
  for (int32_t i = 0; i < t->rank; i++) n *= t->shape[i];
  return n;
}

double cosine(const float *a, const float *b, int64_t n) {
  double ab = 0, aa = 0, bb = 0;
  for (int64_t i = 0; i < n; i++) {
    ab += (double)a[i] * b[i];
    aa += (double)a[i] * a[i];
    bb += (double)b[i] * b[i];
  }
  return ab / sqrt(aa * bb);
}

void near_array(const vlpc_tensor *got, const NpyArray *want, double atol, const char *what) {
  const float *g = got->data, *w = want->data;
  int64_t n = tensor_count(got);
  assert_int_equal(want->dtype, VLPC_F32);
  assert_int_equal(got->rank, want->rank);
  for (uint32_t i = 0; i < want->rank; i++) assert_int_equal(got->shape[i], want->size[i]);
  for (int64_t i = 0; i < n; i++) {
    if (!(fabs((double)g[i] - w[i]) <= atol))
      fail_msg("%s, %s: element %lld is %.9g, not %.9g", what, want->name, (long long)i,
               (double)g[i], (double)w[i]);
  }
  if (!(cosine(g, w, n) >= 0.999999))
    fail_msg("%s, %s: cosine %.9f", what, want->name, cosine(g, w, n));
}

void same_bits(const void *a, const void *b, size_t n, const char *what) {
  const uint8_t *x = a, *y = b;
  for (size_t i = 0; i < n; i++) {
    if (x[i] != y[i]) fail_msg("%s: byte %zu is %02x and %02x", what, i, x[i], y[i]);
  }
}

void same_files(const char *a, const char *b) {
  Mapped x, y;
  assert_int_equal(io_map(a, NULL, &x), VLPC_OK);
  assert_int_equal(io_map(b, NULL, &y), VLPC_OK);
  assert_int_equal(x.n, y.n);
  same_bits(x.at, y.at, x.n, arena_printf(e2e, "%s and %s", a, b));
  io_unmap(&x);
  io_unmap(&y);
}
