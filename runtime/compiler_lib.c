/* SPDX-License-Identifier: Apache-2.0 */
/* compiler_lib.c - dlopen of the compiler, once per need.
**
** RTLD_LOCAL keeps its LLVM out of the process's symbols, RTLD_NODELETE keeps
** it mapped: LLVM does not bear being unloaded. */
#include "runtime/compiler_lib.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/map.h"

/* The file name beside the object that holds this function. */
static bool path_beside(char out[PATH_MAX]) {
  Dl_info info;
  if (!dladdr(COMPILER_SONAME, &info) || !info.dli_fname) return false;
  const char *slash = strrchr(info.dli_fname, '/');
  if (!slash) return false;
  int n = snprintf(out, PATH_MAX, "%.*s/%s", (int)(slash - info.dli_fname), info.dli_fname,
                   COMPILER_SONAME);
  return n > 0 && n < PATH_MAX;
}

static bool is_file(const char *path, struct stat *st) {
  return stat(path, st) == 0 && S_ISREG(st->st_mode);
}

uint64_t compiler_lib_identity(const char *path) {
  char beside[PATH_MAX];
  struct stat st;
  if (!path) path = path_beside(beside) ? beside : NULL;
  if (!path || !is_file(path, &st)) return 0;
  uint64_t id[] = {(uint64_t)st.st_size, (uint64_t)st.st_mtim.tv_sec,
                   (uint64_t)st.st_mtim.tv_nsec};
  return hash_bytes(id, sizeof id, COMPILER_API_VERSION);
}

static VlStatus missing(const char *path, const char *reason, Diag *d) {
  VlStatus s = diag_error(d, DIAG_COMPILER_MISSING, (DiagAt){path ? path : COMPILER_SONAME, NULL},
                          "the compiler library cannot be opened");
  diag_found(d, "%s", reason ? reason : "no file");
  diag_fix(d, "install libvlpc-compiler, or make the artifact with vlpc compile --seal on a "
              "machine that has it");
  return s;
}

static VlStatus check_api(CompilerLib *l, const char *path, Diag *d) {
  char here[32];
  snprintf(here, sizeof here, "%d.%d.%d", VLPC_VERSION_MAJOR, VLPC_VERSION_MINOR,
           VLPC_VERSION_PATCH);
  CompilerEntryFn *entry = NULL;
  void *symbol = dlsym(l->handle, COMPILER_ENTRY);
  memcpy(&entry, &symbol, sizeof entry); /* ISO C has no cast from object to function */
  if (entry) l->api = entry(COMPILER_API_VERSION);
  if (l->api && l->api->version == COMPILER_API_VERSION &&
      strcmp(l->api->vlpc_version, here) == 0)
    return VLPC_OK;
  VlStatus s = diag_error(d, DIAG_COMPILER_VERSION, (DiagAt){path, NULL},
                          "the compiler library belongs to another vlpc");
  diag_found(d, "%s", l->api ? l->api->vlpc_version : "no table that this libvlpc knows");
  diag_expected(d, "vlpc %s", here);
  diag_fix(d, "install libvlpc and libvlpc-compiler of one version");
  return s;
}

VlStatus compiler_lib_open(const char *path, Diag *d, CompilerLib *out) {
  char beside[PATH_MAX];
  struct stat st;
  *out = (CompilerLib){0};
  if (!path) path = path_beside(beside) && is_file(beside, &st) ? beside : COMPILER_SONAME;
  out->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (!out->handle) return missing(path, dlerror(), d);
  VlStatus s = check_api(out, path, d);
  if (s != VLPC_OK) compiler_lib_close(out);
  return s;
}

void compiler_lib_close(CompilerLib *l) {
  if (l->handle) dlclose(l->handle);
  *l = (CompilerLib){0};
}
