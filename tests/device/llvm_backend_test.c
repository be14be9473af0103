/* SPDX-License-Identifier: Apache-2.0 */
/* llvm_backend_test.c - the backend as a whole: targets, the code file's form,
** equal bytes for equal kernels, objects that are kept, the linker's refusals, threads,
** listings. */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "backends/llvm_cpu/lc_object.h"
#include "tests/device/llvm_kit.h"

/* ---- making code ------------------------------------------------------------- */

static Kernel layernorm(int64_t cols) {
  Kernel k = {.kind = KK_LAYERNORM, .n_operands = 2, .n_sizes = 1};
  k.rows = (KRows){.g = ksize(1), .m = {0, 0}, .cols = ksize(cols), .o_m = ksize(cols),
                   .x_m = ksize(cols), .eps = 1e-5f};
  return k;
}

static Kernel gemm(int64_t k, int64_t n) {
  Kernel g = {.kind = KK_GEMM, .n_operands = 3, .n_sizes = 1};
  g.gemm = (KGemm){.g = ksize(1), .m = {0, 0}, .k = k, .n = n, .c_m = ksize(n), .a_m = ksize(k)};
  return g;
}

typedef struct {
  Arena *arena;
  Diag *diag;
  const uint8_t *code;
  size_t n;
  VlStatus status;
} Made;

static void make_for(Made *m, int64_t cols, const CodeTarget *to) {
  Kernel k[2] = {layernorm(cols), gemm(40, 40)};
  m->arena = arena_new(0), m->diag = diag_new();
  m->status = lc_emit((KernelList){k, 2}, to, m->arena, m->diag, &m->code, &m->n);
}

static void make(Made *m, const char *target) { make_for(m, 70, &(CodeTarget){.name = target}); }

static void drop(Made *m) {
  arena_free(m->arena);
  diag_free(m->diag);
}

static void test_unknown_target(void **state) {
  (void)state;
  Made m;
  make(&m, "avx1024");
  assert_int_equal(m.status, VLPC_E_INVALID_ARG);
  assert_non_null(strstr(diag_text(m.diag), "avx1024"));
  assert_non_null(strstr(diag_text(m.diag), "portable, avx2, avx512, avx512bf16 or amx"));
  drop(&m);
}

static void test_same_bytes(void **state) {
  (void)state;
  Made a, b;
  make(&a, "avx512"), make(&b, "avx512");
  assert_int_equal(a.status, VLPC_OK);
  assert_int_equal(a.n, b.n);
  assert_memory_equal(a.code, b.code, a.n);
  drop(&a), drop(&b);
}

static void test_file_form(void **state) {
  (void)state;
  Made m;
  make(&m, "avx2");
  CodeHeader h;
  memcpy(&h, m.code, sizeof h);
  assert_int_equal(h.magic, CODE_MAGIC);
  assert_int_equal(h.n_kernels, 2);
  assert_int_equal(h.image_offset % 4096, 0);
  assert_non_null(strstr(h.target, "avx2"));
  for (uint32_t i = 0; i < 2; i++) {
    CodeKernel k;
    memcpy(&k, m.code + sizeof h + i * sizeof k, sizeof k);
    assert_true(k.run < h.image_bytes && k.tasks < h.image_bytes && k.reach < h.image_bytes);
    assert_int_equal(k.n_operands, 2 + i);
    assert_int_equal(k.n_sizes, 1);
  }
  drop(&m);
}

/* ---- objects that are kept ----------------------------------------------------- */

/* Does something to each file of a folder; in how many it was done. */
static int each_file(const char *dir, bool (*fn)(const char *path)) {
  char path[512];
  int n = 0;
  DIR *d = opendir(dir);
  assert_non_null(d);
  for (struct dirent *e; (e = readdir(d)) != NULL;) {
    if (e->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
    n += fn(path);
  }
  closedir(d);
  return n;
}

static bool drop_file(const char *path) { return unlink(path) == 0; }
static bool cut_short(const char *path) { return truncate(path, 100) == 0; }

/* Whether it was written since it was aged. */
static bool is_new(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && st.st_mtim.tv_sec != 0;
}

static bool age(const char *path) {
  return utimensat(AT_FDCWD, path, (struct timespec[2]){{0, 0}, {0, 0}}, 0) == 0;
}

/* With objects of another program, of another library, damaged or none: the same code. */
static void test_objects_are_kept(void **state) {
  (void)state;
  char dir[] = "objects.XXXXXX";
  assert_non_null(mkdtemp(dir));
  CodeTarget to = {.name = "avx2", .cache_dir = dir, .maker = 1};
  static const struct {
    int64_t cols; /* of the layernorm */
    uint64_t maker;
    int files, made;
    bool damage;
  } rows[] = {{80, 1, 3, 3, false}, /* two kernels, and the tiles of one */
              {70, 1, 4, 1, false},
              {70, 1, 4, 0, false},
              {70, 2, 4, 3, false},
              {70, 2, 4, 3, true}};
  for (size_t i = 0; i < VL_COUNT(rows); i++) {
    Made kept, plain;
    if (rows[i].damage) each_file(dir, cut_short), each_file(dir, age);
    to.maker = rows[i].maker;
    make_for(&kept, rows[i].cols, &to);
    make_for(&plain, rows[i].cols, &(CodeTarget){.name = "avx2"});
    assert_int_equal(kept.status, VLPC_OK);
    assert_int_equal(kept.n, plain.n);
    assert_memory_equal(kept.code, plain.code, plain.n);
    assert_int_equal(each_file(dir, is_new), rows[i].made);
    assert_int_equal(each_file(dir, age), rows[i].files);
    drop(&kept), drop(&plain);
  }
  each_file(dir, drop_file);
  assert_int_equal(rmdir(dir), 0);
}

/* ---- listings, the linker -------------------------------------------------------- */

/* No wider instruction than the target has: zmm and ymm registers appear in
** the listings only where they may. */
static void test_listing_keeps_level(void **state) {
  (void)state;
  static const struct {
    const char *target;
    bool ymm, zmm;
  } rows[] = {{"portable", false, false}, {"avx2", true, false}, {"avx512", true, true},
              {"avx512bf16", true, true}, {"amx", true, true}};
  for (size_t i = 0; i < VL_COUNT(rows); i++) {
    Arena *a = arena_new(0);
    Diag *d = diag_new();
    Kernel k = gemm(64, 96);
    const char *text = "";
    assert_int_equal(lc_print((KernelList){&k, 1}, rows[i].target, true, a, d, &text), VLPC_OK);
    if (!rows[i].ymm) assert_null(strstr(text, "%ymm"));
    assert_int_equal(strstr(text, "%zmm") != NULL, rows[i].zmm);
    assert_null(strstr(text, "callq\tfma"));
    arena_free(a);
    diag_free(d);
  }
}

static VlStatus link_one(Lb *b, Arena *a, Diag *d) {
  LcObject object;
  LcImage image;
  VL_TRY(lc_assemble(b, a, d, &object));
  return lc_link(&object, 1, a, d, &image);
}

/* A call to something outside must be refused, not left for the loader. */
static void test_linker_refuses_outside(void **state) {
  (void)state;
  Arena *a = arena_new(0);
  Diag *d = diag_new();
  LcTarget t = lc_target(ISA_PORTABLE);
  Lb b;
  lb_init(&b, &t, "outside");
  Lt type = LLVMFunctionType(b.f32, &b.f32, 1, 0);
  Lv callee = LLVMAddFunction(b.mod, "somewhere", type);
  Lv fn = lb_function(&b, "caller", b.f32, 1, &b.f32, false);
  Lv x = LLVMGetParam(fn, 0);
  LLVMBuildRet(b.b, lb_call(&b, callee, 1, &x));
  assert_int_equal(link_one(&b, a, d), VLPC_E_CODEGEN);
  assert_non_null(strstr(diag_text(d), "somewhere"));
  lb_fini(&b);
  arena_free(a);
  diag_free(d);
}

/* So must a variable: the image is never writable. */
static void test_linker_refuses_variables(void **state) {
  (void)state;
  Arena *a = arena_new(0);
  Diag *d = diag_new();
  LcTarget t = lc_target(ISA_PORTABLE);
  Lb b;
  lb_init(&b, &t, "variable");
  Lv g = LLVMAddGlobal(b.mod, b.i64, "counter");
  LLVMSetInitializer(g, lb_i64(&b, 3));
  lb_function(&b, "count", b.void_t, 0, NULL, false);
  lb_store(&b, lb_i64(&b, 4), g, 8);
  LLVMBuildRetVoid(b.b);
  assert_int_equal(link_one(&b, a, d), VLPC_E_CODEGEN);
  lb_fini(&b);
  arena_free(a);
  diag_free(d);
}

/* Broken IR becomes a diagnostic. */
static void test_verifier_speaks(void **state) {
  (void)state;
  Arena *a = arena_new(0);
  Diag *d = diag_new();
  LcTarget t = lc_target(ISA_PORTABLE);
  Lb b;
  lb_init(&b, &t, "broken");
  lb_function(&b, "no_end", b.void_t, 0, NULL, false);
  assert_int_equal(link_one(&b, a, d), VLPC_E_CODEGEN);
  assert_non_null(strstr(diag_text(d), "terminator"));
  lb_fini(&b);
  arena_free(a);
  diag_free(d);
}

static void *make_one(void *m) {
  make(m, "avx2");
  return NULL;
}

static void test_threads(void **state) {
  (void)state;
  Made m[4];
  pthread_t id[4];
  for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&id[i], NULL, make_one, &m[i]), 0);
  for (int i = 0; i < 4; i++) pthread_join(id[i], NULL);
  for (int i = 1; i < 4; i++) {
    assert_int_equal(m[i].status, VLPC_OK);
    assert_int_equal(m[i].n, m[0].n);
    assert_memory_equal(m[i].code, m[0].code, m[0].n);
  }
  for (int i = 0; i < 4; i++) drop(&m[i]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_unknown_target),
      cmocka_unit_test(test_same_bytes),
      cmocka_unit_test(test_file_form),
      cmocka_unit_test(test_objects_are_kept),
      cmocka_unit_test(test_listing_keeps_level),
      cmocka_unit_test(test_linker_refuses_outside),
      cmocka_unit_test(test_linker_refuses_variables),
      cmocka_unit_test(test_verifier_speaks),
      cmocka_unit_test(test_threads),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
