/* SPDX-License-Identifier: Apache-2.0 */
/* model.c - artifacts, sessions and the compiler, opened as the options say. */
#include "cli/model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/thread.h"
#include "cli/inspect.h"
#include "cli/machine.h"
#include "cli/progress.h"
#include "cli/prompt_sets.h"

VlStatus cli_foreign(Cli *c, VlStatus s, const char *text, const char *json) {
  if (s == VLPC_OK) return s;
  c->foreign = arena_strdup(c->arena, text);
  c->foreign_json = arena_strdup(c->arena, json);
  return s;
}

VlStatus fail_session(Cli *c, const Model *m, VlStatus s) {
  return cli_foreign(c, s, vlpc_session_error(m->session), vlpc_session_error_json(m->session));
}

VlStatus fail_compiler(Cli *c, const vlpc_compiler *k, VlStatus s) {
  return cli_foreign(c, s, vlpc_compiler_error(k), vlpc_compiler_error_json(k));
}

static void log_line(void *user, vlpc_log_level level, const char *line) {
  Cli *c = user;
  if (opt_given(c, quiet) || (level == VLPC_LOG_INFO && !opt_given(c, verbose))) return;
  progress_clear();
  fprintf(stderr, "vlpc: %s%s\n", level == VLPC_LOG_WARNING ? "warning: " : "", line);
}

/* --- the code cache --- */

/* Makes a folder and those above it, for this user alone. */
static bool make_folders(Arena *a, const char *path) {
  char *p = arena_strdup(a, path);
  for (char *end = p + 1; *end != '\0'; end++) {
    if (*end != '/') continue;
    *end = '\0';
    if (mkdir(p, 0700) != 0 && errno != EEXIST) return false;
    *end = '/';
  }
  return mkdir(p, 0700) == 0 || errno == EEXIST;
}

const char *cache_folder(Cli *c) {
  if (opt_given(c, no_cache)) return NULL;
  const char *path = opt(c, cache_dir), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  if (path == NULL && xdg != NULL && *xdg == '/') path = arena_printf(c->arena, "%s/vlpc", xdg);
  if (path == NULL && home != NULL && *home == '/')
    path = arena_printf(c->arena, "%s/.cache/vlpc", home);
  if (path == NULL || *path == '\0') return NULL;
  if (make_folders(c->arena, path)) return path;
  log_line(c, VLPC_LOG_WARNING,
           arena_printf(c->arena, "%s: cannot be made; code is not kept", path));
  return NULL;
}

/* --- opening --- */

static void close_artifact(void *p) {
  vlpc_artifact_close(p);
}
static void free_session(void *p) {
  vlpc_session_free(p);
}
static void close_compiler(void *p) {
  vlpc_compiler_close(p);
}

static VlStatus no_memory(Cli *c) {
  return diag_error(c->diag, DIAG_NOMEM, DIAG_NOWHERE, "memory is out");
}

VlStatus model_open_artifact(Cli *c, const char *path, Model *out) {
  *out = (Model){.info = {.struct_size = sizeof out->info}};
  vlpc_artifact_options o = {.struct_size = sizeof o, .log = log_line, .log_user = c};
  int64_t start = clock_ns();
  VlStatus s = vlpc_artifact_open(path, &o, &out->artifact);
  if (out->artifact == NULL) return no_memory(c);
  arena_defer(c->arena, close_artifact, out->artifact);
  if (s != VLPC_OK)
    return cli_foreign(c, s, vlpc_artifact_error(out->artifact),
                       vlpc_artifact_error_json(out->artifact));
  out->open_ms = (double)(clock_ns() - start) * 1e-6;
  vlpc_artifact_get_info(out->artifact, &out->info);
  return VLPC_OK;
}

/* What a process takes beside weights and activations: code, its making, arrays. */
#define OTHER_MEMORY (UINT64_C(160) << 20)

/* Bytes for activations, 0: no limit. */
static VlStatus read_limit(Cli *c, Model *m, uint64_t *out) {
  uint64_t all;
  VL_TRY(opt_bytes(c, OPT_memory_limit, out));
  VL_TRY(opt_bytes(c, OPT_memory, &all));
  m->other_bytes = m->info.weight_bytes + OTHER_MEMORY;
  if (all > 0) *out = all > m->other_bytes ? all - m->other_bytes : 1;
  return VLPC_OK;
}

VlStatus model_session_options(Cli *c, Model *m, vlpc_session_options *out) {
  int64_t threads;
  uint64_t limit;
  VL_TRY(opt_int(c, OPT_threads, (int64_t[]){1, THREADS_MAX}, 0, &threads));
  VL_TRY(read_limit(c, m, &limit));
  *out = (vlpc_session_options){.struct_size = sizeof *out,
                                .device = opt(c, device),
                                .threads = (int32_t)threads,
                                .isa = opt(c, isa),
                                .cache_dir = cache_folder(c),
                                .compiler_library = opt(c, compiler_library),
                                .trust_code = opt_given(c, trust_code),
                                .pin_threads = opt_given(c, pin),
                                .memory_limit = limit};
  return VLPC_OK;
}

VlStatus model_open(Cli *c, const char *path, Model *out) {
  vlpc_session_options o;
  VL_TRY(model_open_artifact(c, path, out));
  VL_TRY(model_session_options(c, out, &o));
  int64_t start = clock_ns();
  VlStatus s = vlpc_session_new(out->artifact, &o, &out->session);
  if (out->session == NULL) return no_memory(c);
  arena_defer(c->arena, free_session, out->session);
  out->session_ms = (double)(clock_ns() - start) * 1e-6;
  VL_TRY(fail_session(c, out, s));
  /* the session's own threads have the processors after the first */
  if (opt_given(c, pin)) pin_self();
  if (!opt_given(c, prompts)) return VLPC_OK;
  VL_TRY(open_prompts(c, opt(c, prompts), &out->prompts));
  return fail_session(c, out, vlpc_session_set_prompts(out->session, out->prompts));
}

VlStatus compiler_open(Cli *c, vlpc_compiler **out) {
  vlpc_compiler_options o = {
      .struct_size = sizeof o, .library = opt(c, compiler_library), .log = log_line, .log_user = c};
  VlStatus s = vlpc_compiler_open(&o, out);
  if (*out == NULL) return no_memory(c);
  arena_defer(c->arena, close_compiler, *out);
  return fail_compiler(c, *out, s);
}

/* --- files beside a model --- */

/* The file called name in the model's folder, or NULL. */
static const char *beside(Cli *c, const char *name) {
  const char *model = c->arg[0], *slash = strrchr(model, '/');
  int n = slash != NULL ? (int)(slash - model) + 1 : 0;
  const char *path = arena_printf(c->arena, "%.*s%s", n, model, name);
  struct stat st;
  return stat(path, &st) == 0 && S_ISREG(st.st_mode) ? path : NULL;
}

/* An artifact has its own. */
static bool is_artifact(Cli *c, const char *path) {
  FileKind kind;
  struct stat st;
  return stat(path, &st) == 0 && S_ISREG(st.st_mode) && file_kind(c, path, &kind) == VLPC_OK &&
         kind == FILE_ARTIFACT;
}

const char *model_companion(Cli *c, OptId id, const char *name) {
  if (c->value[id] != NULL) return strcmp(c->value[id], "none") == 0 ? NULL : c->value[id];
  const char *path = is_artifact(c, c->arg[0]) ? NULL : beside(c, name);
  if (path != NULL && !opt_given(c, quiet))
    fprintf(stderr, "vlpc: uses %s (--%s none: not)\n", path, opt_info[id].name);
  return path;
}
