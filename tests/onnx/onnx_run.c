/* SPDX-License-Identifier: Apache-2.0 */
/* onnx_run.c - import and reference run of one file. */
#include "onnx_run.h"

#include <stdlib.h>
#include <sys/stat.h>

static VlStatus import_file(Imported *x, const char *path, const FeOptions *opt) {
  VL_TRY(fe_read(x->a, path, opt, x->d, &x->m));
  Graph *g = NULL;
  VL_TRY(fe_import(x->m, &g));
  Str faults = {.arena = x->a};
  if (!ir_verify(g, SPEC_IMPORT, &faults)) {
    return diag_error(x->d, DIAG_ONNX_STRUCTURE, (DiagAt){path, NULL}, "unsound graph: %.400s",
                      str_text(&faults));
  }
  x->g = g;
  return VLPC_OK;
}

static VlStatus import_guarded(Imported *x, const char *path, const FeOptions *opt) {
  if (ARENA_GUARD(x->a)) return VLPC_E_NOMEM;
  return import_file(x, path, opt);
}

Imported imported_new(const char *path, const FeOptions *opt) {
  Imported x = {.a = arena_new((size_t)2 << 30), .d = diag_new()};
  VL_CHECK(x.a && x.d, "no memory for a test");
  x.status = import_guarded(&x, path, opt);
  return x;
}

void imported_free(Imported *x) {
  arena_free(x->a);
  diag_free(x->d);
}

VlStatus imported_run(Imported *x, uint32_t mode, const RefTensor *in, RefTensor *out) {
  if (ARENA_GUARD(x->a)) return VLPC_E_NOMEM;
  return ir_eval(x->g, x->a, mode, in, out, x->d);
}

RefTensor tensor_of_npy(Arena *a, const NpyArray *y) {
  return ref_from_bytes(a, y->dtype, y->rank, y->size, y->data);
}

const char *shared_data(void) {
  const char *s = getenv("VLPC_SHARED");
  struct stat st;
  if (!s || !*s) s = VLPC_SOURCE_DIR "/../shared";
  return stat(s, &st) == 0 ? s : NULL;
}

const char *test_path(Arena *a, const char *folder, const char *name) {
  return arena_printf(a, "%s/%s", folder, name);
}
