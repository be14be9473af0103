/* SPDX-License-Identifier: Apache-2.0 */
/* test_code.c - where code comes from, the private cache, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cpu.h"
#include "runtime/code_map.h"
#include "runtime/code_store.h"
#include "runtime/session.h"
#include "tests/runtime/toy.h"

static char folder[256], artifact[300], sealed[300], cache[300];

static int setup(void **state) {
  (void)state;
  toy_folder(folder);
  snprintf(artifact, sizeof artifact, "%s/a.vlpc", folder);
  snprintf(sealed, sizeof sealed, "%s/s.vlpc", folder);
  snprintf(cache, sizeof cache, "%s/deep/cache", folder);
  toy_write(artifact, 0);
  toy_write(sealed, TOY_SEALED);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  toy_clean(folder);
  return 0;
}

/* A new session each time, as a new process would make it. */
typedef struct {
  vlpc_artifact *a;
  vlpc_session *s;
  VlStatus status;
  vlpc_session_info info;
} Opened;

static char last_log[200];
static void keep_log(void *user, vlpc_log_level level, const char *line) {
  (void)user;
  assert_int_equal(level, VLPC_LOG_WARNING);
  snprintf(last_log, sizeof last_log, "%s", line);
}

static Opened open_with(const char *path, vlpc_session_options o) {
  Opened r = {.info = {.struct_size = sizeof r.info}};
  vlpc_artifact_options ao = {.struct_size = sizeof ao, .log = keep_log};
  last_log[0] = 0;
  o.struct_size = sizeof o;
  o.threads = 2;
  assert_int_equal(vlpc_artifact_open(path, &ao, &r.a), VLPC_OK);
  r.status = vlpc_session_new(r.a, &o, &r.s);
  assert_true(vlpc_session_get_info(r.s, &r.info) == (r.status == VLPC_OK));
  return r;
}

static Opened open_cached(const char *dir) {
  return open_with(artifact, (vlpc_session_options){.cache_dir = dir,
                                                    .compiler_library = toy_compiler()});
}

static void finish(Opened *o) {
  vlpc_session_free(o->s);
  vlpc_artifact_close(o->a);
}

/* The code works: picks weights 3 and 0 of the toy's table. */
static void check_works(vlpc_session *s) {
  int64_t ids[] = {3, 0};
  vlpc_tensor in = {ids, VLPC_I64, 1, {2}}, out;
  assert_int_equal(vlpc_session_set_input(s, "pick", "ids", &in), VLPC_OK);
  assert_int_equal(vlpc_session_run(s, "pick"), VLPC_OK);
  assert_int_equal(vlpc_session_output(s, "pick", "picked", &out), VLPC_OK);
  assert_true(((float *)out.data)[0] == 13.0f && ((float *)out.data)[1] == 10.0f);
}

/* The only entry of the cache folder. */
static void entry_path(char out[700]) {
  DIR *d = opendir(cache);
  int n = 0;
  assert_non_null(d);
  for (struct dirent *e; (e = readdir(d));) {
    if (e->d_name[0] == '.' && strlen(e->d_name) <= 2) continue;
    snprintf(out, 700, "%s/%s", cache, e->d_name);
    n++;
  }
  closedir(d);
  assert_int_equal(n, 1);
}

static void code_is_made_then_found(void **state) {
  (void)state;
  struct stat st;
  char entry[700];
  Opened o = open_cached(cache);
  assert_int_equal(o.status, VLPC_OK);
  assert_int_equal(o.info.code, VLPC_CODE_MADE);
  check_works(o.s);
  finish(&o);
  assert_int_equal(stat(cache, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0700);
  entry_path(entry);
  assert_int_equal(stat(entry, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
  o = open_cached(cache);
  assert_int_equal(o.info.code, VLPC_CODE_CACHE);
  assert_int_equal(o.info.cache_rebuilt, 0);
  check_works(o.s);
  finish(&o);
}

static void a_warm_cache_needs_no_compiler(void **state) {
  (void)state;
  Opened o = open_with(artifact, (vlpc_session_options){.cache_dir = cache,
                                                        .compiler_library = "/nowhere/lib.so"});
  assert_int_equal(o.status, VLPC_OK);
  assert_int_equal(o.info.code, VLPC_CODE_CACHE);
  finish(&o);
}

static void sessions_of_one_artifact_share_code(void **state) {
  (void)state;
  vlpc_session *second;
  Opened o = open_cached(NULL);
  vlpc_session_options so = {.struct_size = sizeof so, .compiler_library = "/nowhere/lib.so"};
  assert_int_equal(vlpc_session_new(o.a, &so, &second), VLPC_OK);
  check_works(second);
  vlpc_artifact_close(o.a); /* the sessions hold what they need */
  check_works(o.s);
  vlpc_session_free(o.s);
  check_works(second);
  vlpc_session_free(second);
}

/* Every byte of an entry: it is removed, counted, made again. */
static void damaged_entries_are_made_again(void **state) {
  (void)state;
  char entry[700];
  uint8_t *bytes;
  size_t n;
  Arena *a = arena_new(0);
  entry_path(entry);
  assert_int_equal(io_read(entry, 1 << 20, a, NULL, &bytes, &n), VLPC_OK);
  for (size_t at = 0; at < n; at += at < 400 ? 1 : 97) {
    bytes[at] ^= 0x10;
    FILE *f = fopen(entry, "wb"); /* keeps mode and owner */
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
    Opened o = open_cached(cache);
    assert_int_equal(o.status, VLPC_OK);
    assert_int_equal(o.info.code, VLPC_CODE_MADE);
    /* flips of the maker's number are found by the hash as well */
    assert_int_equal(o.info.cache_rebuilt, 1);
    assert_non_null(strstr(last_log, "damaged entry of the code cache"));
    finish(&o);
    bytes[at] ^= 0x10;
  }
  arena_free(a);
}

static void cut_and_strange_entries_are_made_again(void **state) {
  (void)state;
  char entry[700];
  entry_path(entry);
  for (int k = 0; k < 4; k++) {
    if (k == 0) assert_int_equal(truncate(entry, 100), 0);
    if (k == 1) assert_int_equal(truncate(entry, 0), 0);
    if (k == 2) assert_int_equal(chmod(entry, 0622), 0);
    if (k == 3) assert_int_equal(unlink(entry) | symlink("/etc/passwd", entry), 0);
    Opened o = open_cached(cache);
    assert_int_equal(o.info.code, VLPC_CODE_MADE);
    assert_int_equal(o.info.cache_rebuilt, 1);
    check_works(o.s);
    finish(&o);
    entry_path(entry);
  }
}

/* An entry that another build of the compiler made is not damage. */
static void another_compilers_entry_is_replaced_quietly(void **state) {
  (void)state;
  char other[300], entry[700];
  snprintf(other, sizeof other, "%s/copy.so", folder);
  Arena *a = arena_new(0);
  uint8_t *bytes;
  size_t n;
  assert_int_equal(io_read(toy_compiler(), 1 << 26, a, NULL, &bytes, &n), VLPC_OK);
  assert_int_equal(io_write_file(other, bytes, n, NULL), VLPC_OK);
  arena_free(a);
  vlpc_session_options so = {.cache_dir = cache, .compiler_library = other};
  Opened o = open_with(artifact, so);
  assert_int_equal(o.info.code, VLPC_CODE_MADE);
  assert_int_equal(o.info.cache_rebuilt, 0);
  finish(&o);
  entry_path(entry);
  o = open_with(artifact, so);
  assert_int_equal(o.info.code, VLPC_CODE_CACHE);
  finish(&o);
}

static void check_unsafe(const char *dir, const char *found) {
  Opened o = open_cached(dir);
  assert_int_equal(o.status, VLPC_E_IO);
  assert_non_null(strstr(vlpc_session_error(o.s), "error[E0607]"));
  assert_non_null(strstr(vlpc_session_error(o.s), dir));
  assert_non_null(strstr(vlpc_session_error(o.s), found));
  assert_non_null(strstr(vlpc_session_error(o.s), "chmod 700"));
  finish(&o);
}

static void folders_of_others_are_refused(void **state) {
  (void)state;
  char dir[300], text[64];
  static const mode_t modes[] = {0755, 0770, 0701, 0720};
  snprintf(dir, sizeof dir, "%s/open", folder);
  assert_int_equal(mkdir(dir, 0700), 0);
  for (size_t i = 0; i < VL_COUNT(modes); i++) {
    assert_int_equal(chmod(dir, modes[i]), 0);
    snprintf(text, sizeof text, "mode %04o", (unsigned)modes[i]);
    check_unsafe(dir, text);
  }
  assert_int_equal(chmod(dir, 0700), 0);
  if (chown(dir, 12345, (gid_t)-1) == 0) { /* root only */
    check_unsafe(dir, "owner 12345");
    assert_int_equal(chown(dir, geteuid(), (gid_t)-1), 0);
  }
  rmdir(dir);
  assert_int_equal(symlink(cache, dir), 0);
  check_unsafe(dir, "a symbolic link");
  unlink(dir);
}

static void a_folder_that_cannot_be_is_a_warning(void **state) {
  (void)state;
  Opened o = open_cached("/proc/nowhere/vlpc");
  assert_int_equal(o.status, VLPC_OK);
  assert_int_equal(o.info.code, VLPC_CODE_MADE);
  assert_string_equal(last_log, "the code cache folder cannot be made or opened");
  finish(&o);
}

static void sealed_code_runs_only_when_trusted(void **state) {
  (void)state;
  vlpc_session_options so = {.compiler_library = "/nowhere/lib.so"};
  Opened o = open_with(sealed, so);
  assert_int_equal(o.status, VLPC_E_CODEGEN);
  assert_non_null(strstr(vlpc_session_error(o.s), "error[E0604]: /nowhere/lib.so: "));
  assert_non_null(strstr(vlpc_session_error(o.s), "holds sealed native code"));
  assert_non_null(strstr(vlpc_session_error(o.s), "--seal"));
  finish(&o);
  so.trust_code = 1;
  o = open_with(sealed, so);
  assert_int_equal(o.info.code, VLPC_CODE_SEALED);
  check_works(o.s);
  finish(&o);
}

/* It is shared by sessions as code of the level asked for is. */
static void sealed_code_of_a_lower_level_will_do(void **state) {
  (void)state;
  char low[300];
  snprintf(low, sizeof low, "%s/low.vlpc", folder);
  toy_write(low, TOY_SEALED | TOY_SEALED_LOW);
  vlpc_session_options so = {.compiler_library = "/nowhere/lib.so", .trust_code = 1};
  Opened o = open_with(low, so);
  assert_int_equal(o.status, VLPC_OK);
  assert_int_equal(o.info.code, VLPC_CODE_SEALED);
  assert_non_null(strstr(o.info.target, "-portable"));
  assert_string_equal(vlpc_session_error(o.s), "");
  check_works(o.s);
  vlpc_session *second;
  vlpc_session_options again = so;
  again.struct_size = sizeof again;
  assert_int_equal(vlpc_session_new(o.a, &again, &second), VLPC_OK);
  assert_ptr_equal(second->code, o.s->code);
  vlpc_session_free(second);
  finish(&o);
  if (!cpu_isa_runs(ISA_AVX2)) return;
  so.isa = "avx2"; /* asked for by name */
  o = open_with(low, so);
  assert_int_equal(o.status, VLPC_E_CODEGEN);
  finish(&o);
}

static void each_level_has_its_own_code(void **state) {
  (void)state;
  vlpc_session_options so = {.trust_code = 1, .isa = "portable"};
  Opened o = open_with(sealed, so);
  assert_int_equal(o.status, VLPC_OK);
  assert_non_null(strstr(o.info.target, "-portable"));
  finish(&o);
  so.isa = "sse9";
  o = open_with(sealed, so);
  assert_int_equal(o.status, VLPC_E_INVALID_ARG);
  assert_non_null(strstr(vlpc_session_error(o.s), "error[E0612]"));
  assert_non_null(strstr(vlpc_session_error(o.s), "expected: portable"));
  finish(&o);
}

static void wrong_compilers_are_named(void **state) {
  (void)state;
  char failing[300];
  vlpc_session_options so = {.compiler_library = TOY_OLD_COMPILER};
  Opened o = open_with(artifact, so);
  assert_int_equal(o.status, VLPC_E_MISMATCH);
  assert_non_null(strstr(vlpc_session_error(o.s), "found:    0.0.9"));
  assert_non_null(strstr(vlpc_session_error(o.s), "expected: vlpc 0.1.0"));
  finish(&o);
  snprintf(failing, sizeof failing, "%s/f.vlpc", folder);
  toy_write(failing, TOY_EMIT_FAILS);
  so.compiler_library = toy_compiler();
  o = open_with(failing, so);
  assert_int_equal(o.status, VLPC_E_CODEGEN);
  assert_non_null(strstr(vlpc_session_error(o.s), "not the toy's kernels"));
  finish(&o);
}

static void unknown_devices_are_named(void **state) {
  (void)state;
  Opened o = open_with(artifact, (vlpc_session_options){.device = "gpu"});
  assert_int_equal(o.status, VLPC_E_DEVICE);
  assert_non_null(strstr(vlpc_session_error(o.s), "error[E0611]: no device 'gpu'"));
  assert_non_null(strstr(vlpc_session_error(o.s), "cpu"));
  finish(&o);
}

/* ---- code files --------------------------------------------------------- */

/* A code file with one kernel that is never called. */
static void make_code(uint8_t out[8192], CodeHeader h, CodeKernel k) {
  memset(out, 0, 8192);
  memcpy(out, &h, sizeof h);
  memcpy(out + sizeof h, &k, sizeof k);
}

static void broken_code_files_are_refused(void **state) {
  (void)state;
  const CodeHeader good = {CODE_MAGIC, CODE_VERSION, 1, 0, 4096, 64, "t-x"};
  const CodeKernel k = {0, 16, 32, 2, 1, 64};
  CodeHeader h[8];
  CodeKernel bad = k;
  uint8_t file[8192];
  CodeMap m;
  make_code(file, good, k);
  assert_int_equal(code_map(file, sizeof file, "t-x", NULL, NULL, &m), VLPC_OK);
  assert_int_equal(m.scratch_bytes, 64);
  code_unmap(&m);
  assert_int_equal(code_map(file, sizeof file, "t-y", NULL, NULL, &m), VLPC_E_CORRUPT);
  assert_int_equal(code_map(file, 20, "t-x", NULL, NULL, &m), VLPC_E_CORRUPT);
  assert_int_equal(code_map(file, 4096 + 63, "t-x", NULL, NULL, &m), VLPC_E_CORRUPT);
  for (int i = 0; i < 8; i++) h[i] = good;
  h[0].magic ^= 1, h[1].version = 9, h[2].reserved = 1, h[3].n_kernels = UINT32_MAX;
  h[4].image_offset = 0, h[5].image_offset = 4097, h[6].image_bytes = UINT64_MAX;
  memset(h[7].target, 'x', sizeof h[7].target);
  for (int i = 0; i < 8; i++) {
    make_code(file, h[i], k);
    assert_int_equal(code_map(file, sizeof file, "t-x", NULL, NULL, &m), VLPC_E_CORRUPT);
  }
  bad.run = 64;
  make_code(file, good, bad);
  assert_int_equal(code_map(file, sizeof file, "t-x", NULL, NULL, &m), VLPC_E_CORRUPT);
  bad = k, bad.scratch_bytes = UINT64_MAX;
  make_code(file, good, bad);
  assert_int_equal(code_map(file, sizeof file, "t-x", NULL, NULL, &m), VLPC_E_CORRUPT);
}

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#endif

/* A process that may never gain executable memory by mprotect. */
static void runs_where_memory_may_not_become_executable(void **state) {
  (void)state;
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    if (prctl(PR_SET_MDWE, 1UL, 0UL, 0UL, 0UL) != 0) _exit(77);
    Opened o = open_with(sealed, (vlpc_session_options){.trust_code = 1});
    if (o.status == VLPC_OK) check_works(o.s);
    _exit(o.status == VLPC_OK ? 0 : 1);
  }
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) {
    print_message("this kernel has no PR_SET_MDWE\n");
    skip();
  }
  assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(code_is_made_then_found),
      cmocka_unit_test(a_warm_cache_needs_no_compiler),
      cmocka_unit_test(sessions_of_one_artifact_share_code),
      cmocka_unit_test(damaged_entries_are_made_again),
      cmocka_unit_test(cut_and_strange_entries_are_made_again),
      cmocka_unit_test(another_compilers_entry_is_replaced_quietly),
      cmocka_unit_test(folders_of_others_are_refused),
      cmocka_unit_test(a_folder_that_cannot_be_is_a_warning),
      cmocka_unit_test(sealed_code_runs_only_when_trusted),
      cmocka_unit_test(sealed_code_of_a_lower_level_will_do),
      cmocka_unit_test(each_level_has_its_own_code),
      cmocka_unit_test(wrong_compilers_are_named),
      cmocka_unit_test(unknown_devices_are_named),
      cmocka_unit_test(broken_code_files_are_refused),
      cmocka_unit_test(runs_where_memory_may_not_become_executable),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
