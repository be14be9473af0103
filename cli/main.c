/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - runs one command and turns its status into text and exit code.
**
** Exit codes: 0 good, 1 ran but the result failed, 128 + n stopped by signal n,
** and those of vlpc_status_exit_code.  An error's text goes to stderr, and with
** --json the same facts to stdout as well. */
#include <errno.h>
#include <string.h>
#include <locale.h>

#include "cli/json.h"
#include "cli/model.h"
#include "cli/progress.h"

static VlStatus print_version(Cli *c) {
  vlpc_compiler *k = NULL;
  bool open = vlpc_compiler_open(NULL, &k) == VLPC_OK;
  const char *compiler = open ? arena_strdup(c->arena, vlpc_compiler_version(k)) : NULL;
  vlpc_compiler_close(k);
  if (!c->json) {
    printf("vlpc %s\n", vlpc_version());
    printf("compiler: %s\n", compiler != NULL ? compiler : "not installed");
    return VLPC_OK;
  }
  Json j = {.out = {.arena = c->arena}};
  str_add(&j.out, "{");
  j.depth = 1, j.close[1] = '}';
  js_int(&j, "schema_version", JSON_SCHEMA);
  js_text(&j, "version", vlpc_version());
  js_text(&j, "compiler", compiler);
  js_list(&j, "devices");
  vlpc_device_info d = {.struct_size = sizeof d};
  for (uint32_t i = 0; vlpc_device(i, &d); i++) js_text(&j, NULL, d.name);
  js_print(&j);
  return VLPC_OK;
}

static VlStatus run_command(Cli *c) {
  static VlStatus (*const fn[CMD__COUNT])(Cli *) = {
#define CMD(id, ...) cmd_##id,
#include "cli/commands.def"
  };
  if (!opt_given(c, help) || c->cmd == CMD_help) return fn[c->cmd](c);
  help_command(stdout, c->cmd);
  return VLPC_OK;
}

static bool is(const char *word, const char *a, const char *b) {
  return strcmp(word, a) == 0 || strcmp(word, b) == 0;
}

static VlStatus run_words(Cli *c, int n, char *const *word) {
  if (n > 0 && is(word[0], "--version", "-V")) {
    c->json = n > 1 && strcmp(word[1], "--json") == 0;
    return print_version(c);
  }
  if (n > 0 && is(word[0], "--help", "-h")) {
    help_overview(stdout);
    return VLPC_OK;
  }
  VL_TRY(cli_parse(c, n, word));
  progress_start(opt_given(c, quiet));
  return run_command(c);
}

/* Writes out what stdout still holds; a full disk or a closed pipe is an error. */
static VlStatus flush_stdout(Cli *c) {
  errno = 0;
  if (fflush(stdout) == 0 && !ferror(stdout)) return VLPC_OK;
  return diag_error(c->diag, DIAG_WRITE, (DiagAt){"standard output", NULL}, "cannot be written: %s",
                    strerror(errno));
}

static void print_error(Cli *c, VlStatus s) {
  const char *own = diag_count(c->diag) > 0 ? diag_text(c->diag) : NULL;
  progress_clear();
  if (c->mute) return;
  if (c->foreign != NULL) fputs(c->foreign, stderr);
  if (own != NULL) fputs(own, stderr);
  if (!c->json) return;
  Str out = {.arena = c->arena};
  str_printf(&out, "{\"schema_version\":%d,\"status\":\"%s\",\"exit_code\":%d,\"errors\":%s}\n",
             JSON_SCHEMA, vlpc_status_name(s), vlpc_status_exit_code(s),
             c->foreign != NULL ? c->foreign_json : diag_json(c->diag));
  fputs(str_text(&out), stdout);
  fflush(stdout);
}

int main(int argc, char **argv) {
  Arena *arena = arena_new(0);
  Diag *diag = diag_new();
  if (arena == NULL || diag == NULL || ARENA_GUARD(arena)) {
    fputs("vlpc: error[E0104]: memory is out\n", stderr);
    arena_free(arena);
    diag_free(diag);
    return vlpc_status_exit_code(VLPC_E_NOMEM);
  }
  Cli *c = arena_one(arena, Cli);
  c->arena = arena, c->diag = diag;
  VlStatus s = run_words(c, argc - 1, argv + 1);
  if (s == VLPC_OK) s = flush_stdout(c);
  if (s != VLPC_OK) print_error(c, s);
  progress_clear();
  if (c->end != NULL) c->end();
  int code = s != VLPC_OK ? vlpc_status_exit_code(s) : c->failed;
  if (s == VLPC_E_CANCELLED && progress_signal() != 0) code = 128 + progress_signal();
  arena_free(arena);
  diag_free(diag);
  return code;
}
