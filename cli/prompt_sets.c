/* SPDX-License-Identifier: Apache-2.0 */
/* prompt_sets.c - official checkpoints to prompt sets and back, and fresh sets. */
#include "cli/prompt_sets.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/str.h"
#include "checkpoint/keys.h"
#include "cli/json.h"
#include "cli/prompt_words.h"
#include "cli/templates.h"

/* ---- import ------------------------------------------------------------- */

static bool is_folder(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The checkpoint in a folder: the one that its file "checkpoint" names, as the
** official trainers write it, else model.pth.tar. */
static VlStatus file_in(Cli *c, const char *folder, const char **out) {
  const char *index = arena_printf(c->arena, "%s/checkpoint", folder), *name = "model.pth.tar";
  struct stat st;
  Texts lines;
  if (stat(index, &st) == 0) {
    VL_TRY(read_lines(c, index, &lines));
    const char *slash = strrchr(lines.at[0], '/');
    name = slash != NULL ? slash + 1 : lines.at[0];
  }
  *out = arena_printf(c->arena, "%s/%s", folder, name);
  return VLPC_OK;
}

/* Files of the arguments behind the first; a folder stands for a checkpoint of each
** folder that the method saves. */
static VlStatus list_checkpoints(Cli *c, const char *method, TextList *out) {
  const char **folder;
  uint32_t n = keys_folders(method, c->arena, &folder);
  for (uint32_t i = 1; i < c->n_args; i++) {
    if (!is_folder(c->arg[i])) *vec_push(c->arena, out) = c->arg[i];
    for (uint32_t k = 0; is_folder(c->arg[i]) && k < n; k++) {
      const char *inner = arena_printf(c->arena, "%s/%s", c->arg[i], folder[k]), *file = NULL;
      VL_TRY(file_in(c, n == 1 && !is_folder(inner) ? c->arg[i] : inner, &file));
      *vec_push(c->arena, out) = file;
    }
  }
  return VLPC_OK;
}

static void add_text(Cli *c, Safetensors *set, const char *key, const char *value) {
  SafeText *text = arena_array(c->arena, SafeText, set->n_texts + 1u);
  if (set->n_texts) memcpy(text, set->text, set->n_texts * sizeof *text);
  text[set->n_texts++] = (SafeText){key, value};
  set->text = text;
}

static const char *json_list(Cli *c, const Texts *t) {
  Str s = {.arena = c->arena};
  str_add(&s, "[");
  for (uint32_t i = 0; i < t->n; i++) {
    if (i) str_add(&s, ",");
    str_json(&s, t->at[i], strlen(t->at[i]));
  }
  str_add(&s, "]");
  return str_text(&s);
}

/* Class-specific rows are as many as the classes. */
static VlStatus check_classes(Cli *c, const Safetensors *set, uint32_t classes) {
  const SafeTensor *t = safetensors_find(set, "ctx");
  if (t == NULL || t->rank != 3 || t->size[0] == (int64_t)classes) return VLPC_OK;
  VlStatus s = diag_error(c->diag, DIAG_PROMPT_SET, (DiagAt){opt(c, classes), NULL},
                          "names another number of classes than the checkpoint has");
  diag_found(c->diag, "%" PRIu32, classes);
  diag_expected(c->diag, "%" PRId64, t->size[0]);
  return s;
}

/* The method, and the hash of the model that the set is for; NULL: not known. */
static VlStatus find_method(Cli *c, const char **method, const char **base) {
  Model m;
  vlpc_module_info info = {.struct_size = sizeof info};
  *method = opt(c, method), *base = NULL;
  if (!opt_given(c, for_artifact)) return opt_need(c, OPT_method);
  VL_TRY(model_open_artifact(c, opt(c, for_artifact), &m));
  DiagAt at = {opt(c, for_artifact), NULL};
  if (!vlpc_artifact_module(m.artifact, &info))
    return diag_error(c->diag, DIAG_PROMPT_FIT, at, "the artifact takes no prompts");
  *base = info.base;
  if (*method == NULL) *method = info.method;
  if (strcmp(*method, info.method) == 0) return VLPC_OK;
  VlStatus s = diag_error(c->diag, DIAG_PROMPT_FIT, at, "the artifact is of another method");
  diag_found(c->diag, "%s", info.method);
  diag_expected(c->diag, "%s", *method);
  return s;
}

static VlStatus add_texts(Cli *c, const char *method, const char *base, Safetensors *set) {
  Texts classes;
  const char *pattern = NULL;
  add_text(c, set, "vlpc_prompt", "1");
  add_text(c, set, "method", method);
  if (base != NULL) add_text(c, set, "base", base);
  VL_TRY(read_template(c, NULL, &pattern));
  if (pattern != NULL) add_text(c, set, "template", pattern);
  if (!opt_given(c, classes)) return VLPC_OK;
  VL_TRY(read_classes(c, opt(c, classes), &classes));
  VL_TRY(check_classes(c, set, classes.n));
  add_text(c, set, "classes", json_list(c, &classes));
  return VLPC_OK;
}

static void tell_file(Cli *c, const char *path) {
  if (!c->json && !opt_given(c, quiet)) fprintf(stderr, "vlpc: wrote %s\n", path);
}

static VlStatus import(Cli *c) {
  Safetensors set;
  TextList files = {0};
  const char *method = NULL, *base = NULL, *path = opt(c, output_prompt);
  VL_TRY(find_method(c, &method, &base));
  VL_TRY(opt_need(c, OPT_output_prompt));
  VL_TRY(list_checkpoints(c, method, &files));
  VL_TRY(keys_import(method, files.at, files.n, c->arena, c->diag, &set));
  VL_TRY(add_texts(c, method, base, &set));
  VL_TRY(safetensors_write(path, &set, c->arena, c->diag));
  tell_file(c, path);
  if (!c->json) return VLPC_OK;
  Json j = js_start(c);
  js_text(&j, "method", method);
  js_text(&j, "file", path);
  js_int(&j, "tensors", set.n);
  js_print(&j);
  return VLPC_OK;
}

/* ---- opening a set ------------------------------------------------------ */

static void close_prompts(void *p) { vlpc_prompts_close(p); }

VlStatus open_prompts(Cli *c, const char *path, vlpc_prompts **out) {
  VlStatus s = vlpc_prompts_open(path, out);
  if (*out == NULL) return diag_error(c->diag, DIAG_NOMEM, DIAG_NOWHERE, "memory is out");
  arena_defer(c->arena, close_prompts, *out);
  return cli_foreign(c, s, vlpc_prompts_error(*out), vlpc_prompts_error_json(*out));
}

static VlStatus one_set(Cli *c, vlpc_prompts **out) {
  if (c->n_args == 2) return open_prompts(c, c->arg[1], out);
  return diag_error(c->diag, DIAG_ARGUMENTS, DIAG_NOWHERE, "vlpc prompt %s takes one file",
                    c->arg[0]);
}

static SafeTensor tensor_at(const vlpc_prompts *p, uint32_t i) {
  SafeTensor t = {0};
  vlpc_tensor v;
  if (!vlpc_prompts_tensor(p, i, &t.name, &v)) return t;
  t.dtype = v.dtype, t.rank = (uint32_t)v.rank, t.data = v.data;
  t.bytes = dtype_size(v.dtype);
  for (uint32_t k = 0; k < t.rank; k++) t.size[k] = v.shape[k], t.bytes *= (uint64_t)v.shape[k];
  return t;
}

/* ---- start ---------------------------------------------------------------- */

/* A fresh set for an artifact, as its module declares. */
static VlStatus start(Cli *c) {
  Model m;
  Texts classes = {0};
  vlpc_prompts *p = NULL;
  int64_t seed;
  const char *path = opt(c, output_prompt);
  vlpc_start_options o = {.struct_size = sizeof o};
  VL_TRY(opt_need(c, OPT_output_prompt));
  VL_TRY(opt_int(c, OPT_seed, (int64_t[]){0, INT64_MAX}, 1, &seed));
  if (opt_given(c, classes)) VL_TRY(read_classes(c, opt(c, classes), &classes));
  VL_TRY(read_template(c, NULL, &o.template_text));
  o.seed = (uint64_t)seed, o.classes = classes.at, o.n_classes = classes.n;
  VL_TRY(model_open(c, c->arg[1], &m));
  VL_TRY(fail_session(c, &m, vlpc_prompts_start(m.session, &o, &p)));
  arena_defer(c->arena, close_prompts, p);
  VL_TRY(cli_foreign(c, vlpc_prompts_write(p, path), vlpc_prompts_error(p),
                     vlpc_prompts_error_json(p)));
  tell_file(c, path);
  if (!c->json) return VLPC_OK;
  vlpc_prompts_info info = {.struct_size = sizeof info};
  vlpc_prompts_get_info(p, &info);
  Json j = js_start(c);
  js_text(&j, "method", info.method);
  js_text(&j, "file", path);
  js_int(&j, "tensors", info.n_tensors);
  js_print(&j);
  return VLPC_OK;
}

/* ---- export ------------------------------------------------------------- */

static VlStatus export(Cli *c) {
  vlpc_prompts *p;
  vlpc_prompts_info info = {.struct_size = sizeof info};
  const char **files;
  VL_TRY(opt_need(c, OPT_output_prompt));
  VL_TRY(one_set(c, &p));
  vlpc_prompts_get_info(p, &info);
  Safetensors set = {.at = arena_array(c->arena, SafeTensor, info.n_tensors)};
  for (; set.n < info.n_tensors; set.n++) set.at[set.n] = tensor_at(p, set.n);
  const char *method = opt_given(c, method) ? opt(c, method) : info.method;
  VL_TRY(keys_export(method, &set, c->arg[1], opt(c, output_prompt), c->arena, c->diag, &files));
  Json j = js_start(c);
  js_text(&j, "method", method);
  js_list(&j, "files");
  for (uint32_t i = 0; files[i] != NULL; i++) tell_file(c, files[i]), js_text(&j, NULL, files[i]);
  if (c->json) js_print(&j);
  return VLPC_OK;
}

/* ---- info --------------------------------------------------------------- */

static void print_text(const char *file, const vlpc_prompts *p, const vlpc_prompts_info *info) {
  printf("%s: prompt set of method %s, %" PRIu32 " tensors, %" PRIu64 " bytes\n", file,
         info->method, info->n_tensors, info->bytes);
  if (info->base != NULL) printf("  base       %s\n", info->base);
  if (info->template_text != NULL) printf("  template   %s\n", info->template_text);
  if (info->n_classes > 0) printf("  classes    %" PRIu32 ":", info->n_classes);
  for (uint32_t i = 0; i < info->n_classes && i < 8; i++)
    printf("%s %s", i ? "," : "", vlpc_prompts_class(p, i));
  if (info->n_classes > 0) puts(info->n_classes > 8 ? ", …" : "");
  for (uint32_t i = 0; i < info->n_tensors; i++) {
    SafeTensor t = tensor_at(p, i);
    printf("  %-40s %-4s [", t.name, dtype_name(t.dtype));
    for (uint32_t k = 0; k < t.rank; k++) printf("%s%" PRId64, k ? ", " : "", t.size[k]);
    puts("]");
  }
}

static void print_json(Cli *c, const vlpc_prompts *p, const vlpc_prompts_info *info) {
  Json j = js_start(c);
  js_text(&j, "file", c->arg[1]);
  js_text(&j, "method", info->method);
  js_text(&j, "base", info->base);
  js_text(&j, "template", info->template_text);
  js_list(&j, "classes");
  for (uint32_t i = 0; i < info->n_classes; i++) js_text(&j, NULL, vlpc_prompts_class(p, i));
  js_end(&j);
  js_list(&j, "tensors");
  for (uint32_t i = 0; i < info->n_tensors; i++) {
    SafeTensor t = tensor_at(p, i);
    js_object(&j, NULL);
    js_text(&j, "name", t.name);
    js_text(&j, "dtype", dtype_name(t.dtype));
    js_list(&j, "shape");
    for (uint32_t k = 0; k < t.rank; k++) js_int(&j, NULL, t.size[k]);
    js_end(&j);
    js_end(&j);
  }
  js_print(&j);
}

static VlStatus info(Cli *c) {
  vlpc_prompts *p;
  vlpc_prompts_info about = {.struct_size = sizeof about};
  VL_TRY(one_set(c, &p));
  vlpc_prompts_get_info(p, &about);
  if (c->json)
    print_json(c, p, &about);
  else
    print_text(c->arg[1], p, &about);
  return VLPC_OK;
}

VlStatus prompt_sets(Cli *c, bool *done) {
  static const struct {
    const char *name;
    VlStatus (*run)(Cli *c);
  } row[] = {{"import", import}, {"export", export}, {"info", info}, {"start", start},
             {"words", prompt_words}};
  *done = false;
  for (size_t i = 0; c->n_args > 0 && i < VL_COUNT(row); i++) {
    if (strcmp(c->arg[0], row[i].name) != 0) continue;
    *done = true;
    if (c->n_args >= 2) return row[i].run(c);
    return diag_error(c->diag, DIAG_ARGUMENTS, DIAG_NOWHERE, "vlpc prompt %s needs a file",
                      row[i].name);
  }
  return VLPC_OK;
}

/* ---- with an artifact ---------------------------------------------------------- */

VlStatus open_fitting(Cli *c, const char *artifact, const char *set, Model *m,
                      vlpc_prompts **p) {
  VL_TRY(model_open(c, artifact, m));
  VL_TRY(open_prompts(c, set, p));
  return fail_session(c, m, vlpc_session_set_prompts(m->session, *p));
}

/* ---- classes ------------------------------------------------------------------ */

Texts classes_of_set(Cli *c, const vlpc_prompts *p) {
  vlpc_prompts_info info = {.struct_size = sizeof info};
  vlpc_prompts_get_info(p, &info);
  const char **name = arena_array(c->arena, const char *, info.n_classes);
  for (uint32_t i = 0; i < info.n_classes; i++) name[i] = vlpc_prompts_class(p, i);
  return (Texts){name, info.n_classes};
}

VlStatus labels_of_set(Cli *c, const Model *m, Texts *out) {
  *out = classes_of_set(c, m->prompts);
  if (out->n > 0) return VLPC_OK;
  VlStatus s = diag_error(c->diag, DIAG_LABELS, (DiagAt){opt(c, prompts), NULL},
                          "the prompt set names no classes");
  diag_fix(c->diag, "add --labels, --labels-file or --classes");
  return s;
}
