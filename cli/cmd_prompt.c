/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_prompt.c - vlpc prompt: lists the methods, writes one; what it does with
** prompt sets is in prompt_sets.c. */
#include <string.h>

#include "cli/json.h"
#include "cli/model.h"
#include "cli/prompt_sets.h"

/* ---- options --------------------------------------------------------------- */

/* n whole numbers with commas between them. */
static VlStatus number_list(Cli *c, OptId id, uint32_t n, int64_t *const out[]) {
  if (c->value[id] == NULL) return VLPC_OK;
  Texts list = split_text(c, c->value[id]);
  bool ok = list.n == n;
  for (uint32_t i = 0; ok && i < n; i++) ok = parse_i64(list.at[i], out[i]) && *out[i] >= 1;
  if (ok) return VLPC_OK;
  VlStatus s = diag_error(c->diag, DIAG_OPTION_VALUE, DIAG_NOWHERE, "the value of --%s is wrong",
                          opt_info[id].name);
  diag_found(c->diag, "'%s'", c->value[id]);
  diag_expected(c->diag, "%u whole numbers above 0 with commas between them", n);
  return s;
}

static VlStatus model_sizes(Cli *c, vlpc_prompt_options *o) {
  o->models[0] = opt(c, model);
  o->size = opt(c, size_for);
  o->text_layers = o->vision_layers = 12;
  VL_TRY(opt_int(c, OPT_context, (int64_t[]){1, INT32_MAX}, 77, &o->context));
  VL_TRY(number_list(c, OPT_widths, 3, (int64_t *[]){&o->text_width, &o->vision_width, &o->embed}));
  VL_TRY(number_list(c, OPT_layers, 2, (int64_t *[]){&o->text_layers, &o->vision_layers}));
  if (o->models[0] == NULL && o->size == NULL && opt(c, widths) == NULL) o->size = "b16";
  if ((o->models[0] != NULL) + (o->size != NULL) + (opt(c, widths) != NULL) == 1) return VLPC_OK;
  VlStatus s = diag_error(c->diag, DIAG_OPTION_VALUE, DIAG_NOWHERE,
                          "the model's sizes are given more than once");
  diag_expected(c->diag, "one of --model, --size and --widths");
  return s;
}

static VlStatus counts(Cli *c, vlpc_prompt_options *o) {
  const struct {
    OptId id;
    int64_t *at;
  } count[] = {{OPT_length, &o->length},           {OPT_depth, &o->depth},
               {OPT_vision_length, &o->vision_length}, {OPT_vision_depth, &o->vision_depth},
               {OPT_class_count, &o->classes},     {OPT_top_classes, &o->top_classes},
               {OPT_keys, &o->keys}};
  for (size_t i = 0; i < VL_COUNT(count); i++)
    VL_TRY(opt_int(c, count[i].id, (int64_t[]){1, INT32_MAX}, 0, count[i].at));
  return VLPC_OK;
}

/* ---- what it does ---------------------------------------------------------- */

static VlStatus list_methods(Cli *c, vlpc_compiler *k) {
  const char *text = NULL;
  VL_TRY(fail_compiler(c, k, vlpc_prompt_list(k, c->json ? VLPC_JSON : VLPC_TEXT, &text)));
  if (!c->json) {
    fputs(text, stdout);
    return VLPC_OK;
  }
  Json j = js_start(c);
  js_raw(&j, "methods", text);
  js_print(&j);
  return VLPC_OK;
}

static VlStatus write_method(Cli *c, vlpc_compiler *k) {
  vlpc_prompt_options o = {.struct_size = sizeof o,
                           .method = c->arg[0],
                           .output = opt(c, output_prompt),
                           .tokenizer = opt(c, tokenizer),
                           .place = opt(c, place),
                           .phrase = opt(c, phrase),
                           .loss_weights = opt(c, loss_weights),
                           .class_rows = opt_given(c, csc)};
  int64_t seed;
  VL_TRY(opt_need(c, OPT_output_prompt));
  VL_TRY(opt_int(c, OPT_seed, (int64_t[]){0, INT64_MAX}, 1, &seed));
  VL_TRY(model_sizes(c, &o));
  VL_TRY(counts(c, &o));
  o.seed = (uint64_t)seed;
  VL_TRY(fail_compiler(c, k, vlpc_prompt_write(k, &o)));
  if (!c->json) {
    if (!opt_given(c, quiet)) fprintf(stderr, "vlpc: wrote %s\n", o.output);
    return VLPC_OK;
  }
  Json j = js_start(c);
  js_text(&j, "method", o.method);
  js_text(&j, "file", o.output);
  js_print(&j);
  return VLPC_OK;
}

VlStatus cmd_prompt(Cli *c) {
  vlpc_compiler *k;
  bool done = false;
  if (c->n_args > 0) VL_TRY(prompt_sets(c, &done));
  if (done) return VLPC_OK;
  VL_TRY(compiler_open(c, &k));
  bool list = c->n_args == 0 || strcmp(c->arg[0], "list") == 0;
  if (c->n_args > 1) {
    VlStatus s = diag_error(c->diag, DIAG_ARGUMENTS, DIAG_NOWHERE,
                            "vlpc prompt has no action '%s'", c->arg[0]);
    diag_expected(c->diag, "list, one method, import, start, export, info or words");
    return s;
  }
  return list ? list_methods(c, k) : write_method(c, k);
}
