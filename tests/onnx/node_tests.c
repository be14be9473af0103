/* SPDX-License-Identifier: Apache-2.0 */
/* node_tests.c - see node_tests.h. */
#include "node_tests.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "onnx.pb-c.h"

enum { MOST_TENSORS = 16, MOST_LISTS = 4 };

/* ---- tensors of the test files ------------------------------------------ */

static const VlDtype dtype_of_code[17] = {
    [1] = VLPC_F32, [2] = VLPC_U8,   [3] = VLPC_I8,   [4] = VLPC_U16, [5] = VLPC_I16,
    [6] = VLPC_I32, [7] = VLPC_I64,  [9] = VLPC_BOOL, [10] = VLPC_F16, [11] = VLPC_F64,
    [12] = VLPC_U32, [13] = VLPC_U64, [16] = VLPC_BF16};

static Onnx__TensorProto *read_proto(Arena *a, Diag *d, const char *path) {
  uint8_t *bytes = NULL;
  size_t n = 0;
  if (io_read(path, 1 << 26, a, d, &bytes, &n) != VLPC_OK) return NULL;
  return onnx__tensor_proto__unpack(NULL, n, bytes);
}

/* The files of the suite hold raw_data, and narrow types in int32_data. */
static bool read_tensor(Imported *x, const char *path, RefTensor *out) {
  Onnx__TensorProto *t = read_proto(x->a, x->d, path);
  bool ok = t && t->data_type > 0 && t->data_type < 17 && dtype_of_code[t->data_type] &&
            t->n_dims <= VLPC_MAX_RANK;
  if (ok) {
    VlDtype dtype = dtype_of_code[t->data_type];
    *out = ref_tensor(x->a, dtype, (uint32_t)t->n_dims, t->dims);
    uint64_t bytes_wanted = (uint64_t)out->count * dtype_size(dtype);
    if (t->raw_data.len == bytes_wanted && bytes_wanted) {
      *out = ref_from_bytes(x->a, dtype, (uint32_t)t->n_dims, t->dims, t->raw_data.data);
    } else {
      for (int64_t i = 0; i < out->count && ok; i++) {
        ok = (size_t)i < t->n_int32_data && !dtype_is_float(dtype);
        if (ok) out->i[i] = t->int32_data[i];
      }
    }
  }
  if (t) onnx__tensor_proto__free_unpacked(t, NULL);
  return ok;
}

/* NULL, or what differs. */
static const char *difference(Arena *a, const RefTensor *got, const RefTensor *want) {
  if (got->dtype != want->dtype) {
    return arena_printf(a, "type %s, expected %s", dtype_name(got->dtype), dtype_name(want->dtype));
  }
  bool same = got->rank == want->rank;
  for (uint32_t i = 0; same && i < got->rank; i++) same = got->size[i] == want->size[i];
  if (!same) return arena_printf(a, "rank %u or sizes differ from rank %u", got->rank, want->rank);
  double rtol = got->dtype == VLPC_BF16 ? 1e-2 : 1e-3;
  double atol = dtype_size(got->dtype) == 2 ? 1e-3 : 1e-7;
  for (int64_t i = 0; i < got->count; i++) {
    if (!want->f) {
      if (got->i[i] != want->i[i]) {
        return arena_printf(a, "element %lld is %lld, expected %lld", (long long)i,
                            (long long)got->i[i], (long long)want->i[i]);
      }
      continue;
    }
    double g = got->f[i], w = want->f[i];
    bool close = g == w || (isnan(g) && isnan(w)) || fabs(g - w) <= atol + rtol * fabs(w);
    if (!close) return arena_printf(a, "element %lld is %.9g, expected %.9g", (long long)i, g, w);
  }
  return NULL;
}

/* ---- one test ----------------------------------------------------------- */

static const char *tensor_path(Arena *a, const char *folder, const char *kind, uint32_t i) {
  return arena_printf(a, "%s/test_data_set_0/%s_%u.pb", folder, kind, i);
}

static bool read_all(Imported *x, const char *folder, const char *kind, uint32_t n,
                     RefTensor *out) {
  for (uint32_t i = 0; i < n; i++) {
    if (!read_tensor(x, tensor_path(x->a, folder, kind, i), &out[i])) return false;
  }
  return true;
}

static const char *run_imported(const NodeRunner *r, Imported *x, const char *folder) {
  RefTensor in[MOST_TENSORS], got[MOST_TENSORS], want[MOST_TENSORS];
  const Named *names;
  uint32_t n_in = ir_inputs(x->g, &names), n_out = ir_outputs(x->g, &names);
  if (n_in > MOST_TENSORS || n_out > MOST_TENSORS) return "too many tensors";
  if (!read_all(x, folder, "input", n_in, in) || !read_all(x, folder, "output", n_out, want)) {
    return "the test's tensors cannot be read";
  }
  if (r->run(r->ctx, x, in, got) != VLPC_OK) return diag_text(x->d);
  for (uint32_t i = 0; i < n_out; i++) {
    const char *what = difference(x->a, &got[i], &want[i]);
    if (what) return arena_printf(x->a, "output %u: %s", i, what);
  }
  return NULL;
}

/* The suite feeds shapes and axes as inputs.  Writes the model again with the
** inputs from `first` on as initializers. */
static bool freeze_inputs(const char *folder, uint32_t first, const char *path) {
  char model[1100];
  Arena *a = arena_new(0);
  Diag *d = diag_new();
  uint8_t *bytes = NULL;
  size_t n = 0;
  snprintf(model, sizeof model, "%s/model.onnx", folder);
  bool ok = io_read(model, 1 << 26, a, d, &bytes, &n) == VLPC_OK;
  Onnx__ModelProto *m = ok ? onnx__model_proto__unpack(NULL, n, bytes) : NULL;
  ok = m && m->graph && m->graph->n_input > first;
  if (ok) {
    Onnx__GraphProto *g = m->graph;
    size_t n_old = g->n_initializer, n_new = g->n_input - first;
    g->initializer = realloc(g->initializer, (n_old + n_new) * sizeof *g->initializer);
    for (uint32_t i = first; i < g->n_input && ok; i++) {
      Onnx__TensorProto *t = read_proto(a, d, tensor_path(a, folder, "input", i));
      ok = t != NULL;
      if (!t) break;
      if (t->name && t->name != (char *)protobuf_c_empty_string) free(t->name);
      t->name = strdup(g->input[i]->name);
      g->initializer[g->n_initializer++] = t;
    }
    uint8_t *out = arena_alloc(a, onnx__model_proto__get_packed_size(m));
    n = onnx__model_proto__pack(m, out);
    ok = ok && io_write_file(path, out, n, d) == VLPC_OK;
  }
  if (m) onnx__model_proto__free_unpacked(m, NULL);
  arena_free(a);
  diag_free(d);
  return ok;
}

static bool run_file(const NodeRunner *r, const char *path, const char *folder, char *text,
                     size_t room) {
  Imported x = imported_new(path, NULL);
  const char *what = x.g ? run_imported(r, &x, folder) : diag_text(x.d);
  snprintf(text, room, "%s", what ? what : "");
  imported_free(&x);
  return !what;
}

/* True when it passes; text gets the reason otherwise.  When a value must be
** known at compile time, the inputs after the first become constants, then all. */
static bool run_folder(const NodeRunner *r, const char *folder, char *text, size_t room) {
  char path[1100], frozen[1100];
  snprintf(frozen, sizeof frozen, VLPC_NODE_TESTS "/frozen_%s.onnx", r->name);
  snprintf(path, sizeof path, "%s/model.onnx", folder);
  bool ok = run_file(r, path, folder, text, room);
  for (uint32_t first = 2; first-- > 0 && !ok;) {
    if (!strstr(text, "E0220") && !strstr(text, "E0213")) break;
    if (freeze_inputs(folder, first, frozen)) ok = run_file(r, frozen, folder, text, room);
  }
  return ok;
}

/* ---- all tests ---------------------------------------------------------- */

/* Lines "name: reason"; # begins a comment. */
static const char *skip_reason(const char *list, const char *name) {
  size_t n = strlen(name);
  for (const char *p = list; p; p = strchr(p, '\n')) {
    p += *p == '\n';
    if (strncmp(p, name, n) == 0 && p[n] == ':') return p + n + 1;
  }
  return NULL;
}

static int is_test(const struct dirent *e) { return strncmp(e->d_name, "test_", 5) == 0; }

static const char *read_list(Arena *a, const char *path) {
  uint8_t *list = NULL;
  size_t n = 0;
  VL_CHECK(io_read(path, 1 << 20, a, NULL, &list, &n) == VLPC_OK, path);
  return (const char *)list;
}

NodeCounts node_tests_run(const NodeRunner *r, const char *const *lists, int every) {
  NodeCounts counts = {0, 0, 0};
  Arena *a = arena_new(0);
  const char *list[MOST_LISTS] = {NULL};
  for (int i = 0; i < MOST_LISTS && lists[i]; i++) list[i] = read_list(a, lists[i]);
  struct dirent **entry = NULL;
  int n = scandir(VLPC_NODE_TESTS, &entry, is_test, alphasort);
  for (int i = 0; i < n; i++) {
    char folder[1024], text[4096];
    const char *reason = NULL, *name = entry[i]->d_name;
    snprintf(folder, sizeof folder, "%s/%s", VLPC_NODE_TESTS, name);
    for (int k = 0; k < MOST_LISTS && !reason; k++) reason = skip_reason(list[k], name);
    if (i % every == 0) {
      bool ok = run_folder(r, folder, text, sizeof text);
      counts.passed += ok && !reason;
      counts.skipped += !ok && reason;
      counts.wrong += ok == !!reason;
      if (ok && reason) printf("%s: passes, but a list skips it:%.60s\n", name, reason);
      if (!ok && !reason) printf("%s: %s\n", name, text);
    }
    free(entry[i]);
  }
  free(entry);
  arena_free(a);
  printf("%d passed, %d skipped with a reason, %d wrong\n", counts.passed, counts.skipped,
         counts.wrong);
  return counts;
}
